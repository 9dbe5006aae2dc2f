"""Outages of batteries: every fault of the virtual battery, alone and mixed, and what must hold.

It uses neither Home Assistant nor any clock but that of the event loop.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import batched, chain
from random import Random
from typing import Any, Final, Protocol, override

from custom_components.jk_bms.jkbms.bluetooth.client import READ_DEADLINE
from custom_components.jk_bms.jkbms.models import Reading
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_device_info,
    decode_settings,
)
from custom_components.jk_bms.jkbms.protocol.frames import Frame
from custom_components.jk_bms.jkbms.protocol.profile import choose_profile
from tests.bluetooth.bench import RememberingBms, measured
from tests.virtual_bms import MODELS, Faults, State, VirtualRadio, frames

INTERVAL: Final = 30.0
RECOVERY: Final = INTERVAL + READ_DEADLINE + 5.0
"""s: a read in progress may still fail; the next one, an interval later, must succeed."""
LAST_DIGIT: Final = 0.0006

INFO, CELLS = 0x97, 0x96


def _left_over() -> tuple[bytes, ...]:
    """Return the notifications of a frame that must never be published."""
    state = State(cells=(1.234,) * 16, enabled=0xFFFF, voltage=19.744, soc=12)
    frame = frames.cell_frame(MODELS["JK_PB2A16S20P 15.41"], state, 99)
    return tuple(bytes(chunk) for chunk in batched(frame, 128, strict=False))


class _Action(Protocol):
    def __call__(self, bms: RememberingBms, radio: VirtualRadio) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Outage:
    """A temporary fault."""

    faults: dict[str, Any] = field(default_factory=dict)
    begin: _Action = lambda bms, radio: None
    end: _Action = lambda bms, radio: None
    name: str = ""

    @override
    def __str__(self) -> str:
        return self.name or ", ".join(f"{k}={v}"[:40] for k, v in self.faults.items())


FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"lose": 0.02},
    {"lose": 0.3},
    {"lose": 1.0},
    # At most one of a frame's four notifications: the checksum detects it
    {"damage": range(2, 2000, 7)},
    {"damage": range(1, 2000, 4)},
    {"delay": 0.5},
    {"delay": 4.0},
    {"delay": 15.0},
    {"double": True},
    {"disconnect_after": 1},
    {"disconnect_after": 3},
    {"disconnect_after": 9},
    {"disconnect_in": 0x01},
    {"disconnect_in": 0x02},
    {"disconnect_in": 0x03},
    {"silent": True},
    {"never_answer": (INFO,)},
    {"never_answer": (CELLS,)},
    {"never_answer": (INFO, CELLS)},
    {"answer_after_attempts": 1},
    {"answer_after_attempts": 5},
    {"refuse_connection": 3},
    {"refuse_connection": True},
    {"refuse_connection": True, "refuse_error": "ESP_GATT_CONN_FAIL_ESTABLISH"},
    {"hang_connection": True},
    {"no_services_first": 1},
    {"no_services_first": 1000},
    {"missing_characteristic": 1},
    {"missing_characteristic": True},
    {"pairing": True},
    {"pairing": "drop"},
    {"garbage": True},
    {"foreign": "neey"},
    {"stale": _left_over()},
    {"stale": _left_over()[:2]},
    {"stream_stops_after": 1},
    {"stream_stops_after": 3},
    {"glitch_every": 1},
    {"glitch_every": 2},
    {"blank_every": 2},
    {"blank_every": 3},
)

ALONE: Final = (
    *(Outage(faults=faults) for faults in FAULTS),
    Outage(
        name="without power",
        begin=lambda bms, radio: bms.power_off(),
        end=lambda bms, radio: bms.power_on(),
    ),
    Outage(
        name="out of reach",
        begin=lambda bms, radio: radio.remove(bms),
        end=lambda bms, radio: radio.place(bms),
    ),
)

DAMAGED: Final = tuple(Outage(faults={"damage": rate}) for rate in (0.1, 0.3, 1.0))
"""Several per frame, so that one in some hundred frames has a correct checksum."""


def mixtures(random: Random) -> Iterator[Outage]:
    """Yield random mixtures of two or three of them, endlessly."""
    while True:
        parts = random.sample(ALONE, random.choice((2, 2, 3)))
        faults = dict(chain.from_iterable(part.faults.items() for part in parts))
        if len(faults) < sum(len(part.faults) for part in parts):
            # Of two of a kind, only one would apply
            continue
        if "glitch_every" in faults and "blank_every" in faults:
            # What is reported three times in a row is accepted
            continue
        yield Outage(
            faults=faults,
            begin=_all([part.begin for part in parts]),
            end=_all([part.end for part in parts]),
            name=" + ".join(map(str, parts)),
        )


def _all(actions: Sequence[_Action]) -> _Action:
    def act(bms: RememberingBms, radio: VirtualRadio) -> None:
        for action in actions:
            action(bms, radio)

    return act


@dataclass(kw_only=True)
class Report:
    """The results of all batteries."""

    outages: int = 0
    readings: int = 0
    wrong: list[str] = field(default_factory=list)
    """Published values that differ from those of the battery."""
    late: list[str] = field(default_factory=list)
    """Batteries that were not read as soon as possible."""


class Witness:
    """Compares published values with those of the battery."""

    def __init__(self, bms: RememberingBms, report: Report) -> None:
        """Start with nothing published."""
        self.bms = bms
        self.last = 0.0
        """s of the event loop's clock when the last published cell data came."""
        self.outage = "no fault"
        self._report = report

    def see(self, reading: Reading) -> None:
        """Check a published reading."""
        if reading.time == self.last:
            return
        self.last = reading.time
        # The battery keeps every command it received
        self.bms.commands.clear()
        self._report.readings += 1
        cells, info = reading.cell_data, reading.device_info
        spec, settings = self.bms.spec, self.bms.battery.settings
        assert cells.frame_counter is not None
        state = self.bms.states[cells.frame_counter]
        expected = measured(spec, state)
        found = {name: getattr(cells, name) for name in expected}
        for name in ("cell_count", "cell_ovp", "cell_uvp") if reading.settings else ():
            expected[name] = getattr(settings, name)
            found[name] = getattr(reading.settings, name)
        profile = choose_profile(spec.model, spec.software)
        raw = frames.cell_frame(spec, state, cells.frame_counter)
        # Everything else: as decoded from the undamaged frame
        for said, sent in (
            (cells, decode_cell_data(Frame.parse(raw), profile)),
            (
                replace(info, up_time=None),
                replace(
                    decode_device_info(
                        Frame.parse(frames.info_frame(spec, settings, state, 0))
                    ),
                    up_time=None,
                ),
            ),
            (
                reading.settings,
                reading.settings
                and decode_settings(
                    Frame.parse(frames.settings_frame(spec, settings, 0)), profile
                ),
            ),
        ):
            for name, value in asdict(sent).items() if sent else ():
                expected.setdefault(name, value)
                found.setdefault(name, getattr(said, name))
        self._report.wrong += [
            f"{self.outage}: {name} is {found[name]}, not {value}"
            for name, value in expected.items()
            if not _equal(found[name], value)
        ]

    async def suffer(
        self, outage: Outage, radio: VirtualRadio, random: Random, *, seed: int
    ) -> None:
        """Cause an outage, and check that the battery is read again afterwards."""
        await asyncio.sleep(random.uniform(0.1, 2 * INTERVAL))
        self.outage = str(outage)
        outage.begin(self.bms, radio)
        self.bms.faults = Faults(seed=seed, **outage.faults)
        await asyncio.sleep(random.choice((20, 70, 300)) * random.uniform(0.5, 1.5))
        outage.end(self.bms, radio)
        self.bms.faults = Faults()
        ended = asyncio.get_running_loop().time()
        await asyncio.sleep(RECOVERY)
        self._report.outages += 1
        if self.last < ended:
            self._report.late.append(self.outage)
        self.outage = f"after {self.outage}"


def _equal(found: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return len(found) == len(expected) and all(map(_equal, found, expected))
    if isinstance(expected, float):
        return found is not None and abs(found - expected) < LAST_DIGIT
    return bool(found == expected)


async def live(
    witnesses: Sequence[Witness],
    outages: Iterator[Outage],
    radio_of: Callable[[RememberingBms], VirtualRadio],
    *,
    seed: int,
) -> None:
    """Let all batteries take outages from one iterator until it is empty."""

    async def live_one(number: int, witness: Witness) -> None:
        random = Random(f"{seed} {number}")
        for turn, outage in enumerate(outages):
            await witness.suffer(
                outage, radio_of(witness.bms), random, seed=1000 * number + turn
            )

    async with asyncio.TaskGroup() as group:
        for number, witness in enumerate(witnesses):
            group.create_task(live_one(number, witness))
