"""Outages of batteries: every fault of the virtual battery, alone and mixed, and what must hold.

It needs no Home Assistant, and no clock but that of the event loop.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import batched, chain
from random import Random
from typing import Any, Final, Protocol, override

from custom_components.jk_bms.jkbms.bluetooth.client import READ_DEADLINE
from custom_components.jk_bms.jkbms.errors import ImplausibleValuesError
from custom_components.jk_bms.jkbms.models import CellData, Reading
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_device_info,
    decode_settings,
)
from custom_components.jk_bms.jkbms.protocol.frames import Frame
from custom_components.jk_bms.jkbms.protocol.profile import Profile, choose_profile
from tests.bluetooth.harness import RecordingBms, expected_values
from tests.virtual_bms import MODELS, Faults, Spec, State, VirtualRadio, frames

from .batteries import CannedBattery

INTERVAL: Final = 30.0
RECOVERY: Final = INTERVAL + READ_DEADLINE + 5.0
"""s until a reading must come: the current read may still fail, the next one may not."""
LAST_DIGIT: Final = 0.0006

INFO, CELLS = 0x97, 0x96


def _stale_notifications() -> tuple[bytes, ...]:
    """Return the notifications of a frame that must never be published."""
    state = State(cells=(1.234,) * 16, enabled=0xFFFF, voltage=19.744, soc=12)
    frame = frames.cell_frame(MODELS["JK_PB2A16S20P 15.41"], state, 99)
    return tuple(bytes(chunk) for chunk in batched(frame, 128, strict=False))


class _Action(Protocol):
    def __call__(self, bms: RecordingBms, radio: VirtualRadio) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Outage:
    """What fails for a while."""

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
    # Of four notifications of a frame at most one: the checksum sees it
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
    {"only_acknowledge": (CELLS,)},
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
    {"stale": _stale_notifications()},
    {"stale": _stale_notifications()[:2]},
    {"stream_stops_after": 1},
    {"stream_stops_after": 3},
    # Every frame alike would be believed: it is what the battery says
    {"glitch_every": 2},
    {"zeros": True},
    {"blank_every": 2},
    {"blank_every": 3},
    {"forge_cells": 1},
)


def _hot_sensor(state: State) -> State:
    """Return the state with T1 at 160 °C."""
    return replace(state, temperatures=(160.0, *state.temperatures[1:]))


def _wire_off(state: State) -> State:
    """Return the state with cell 2 at 0 V and the pack as it was."""
    return replace(state, cells=(state.cells[0], 0.0, *state.cells[2:]))


def _defect(name: str, defect: Callable[[State], State]) -> Outage:
    return Outage(
        name=name,
        begin=lambda bms, radio: _canned(bms).defects.append(defect),
        end=lambda bms, radio: _canned(bms).defects.remove(defect),
    )


def _canned(bms: RecordingBms) -> CannedBattery:
    assert isinstance(bms.battery, CannedBattery)
    return bms.battery


ALONE: Final = (
    *(Outage(faults=faults) for faults in FAULTS),
    Outage(
        name="no power",
        begin=lambda bms, radio: bms.power_off(),
        end=lambda bms, radio: bms.power_on(),
    ),
    Outage(
        name="out of range",
        begin=lambda bms, radio: radio.remove(bms),
        end=lambda bms, radio: radio.place(bms),
    ),
    _defect("sensor stuck", _hot_sensor),
    _defect("wire off", _wire_off),
)

DAMAGED: Final = tuple(Outage(faults={"damage": rate}) for rate in (0.1, 0.3, 1.0))
"""Several bits of a frame, so that one frame in some hundred has a good checksum."""


def mixtures(random: Random) -> Iterator[Outage]:
    """Yield random mixtures of two or three outages, endlessly."""
    while True:
        parts = random.sample(ALONE, random.choice((2, 2, 3)))
        faults = dict(chain.from_iterable(part.faults.items() for part in parts))
        if len(faults) < sum(len(part.faults) for part in parts):
            # Two values for the same fault
            continue
        if "glitch_every" in faults and "blank_every" in faults:
            # Three bad frames in a row are believed
            continue
        yield Outage(
            faults=faults,
            begin=_all([part.begin for part in parts]),
            end=_all([part.end for part in parts]),
            name=" + ".join(map(str, parts)),
        )


def _all(actions: Sequence[_Action]) -> _Action:
    def act(bms: RecordingBms, radio: VirtualRadio) -> None:
        for action in actions:
            action(bms, radio)

    return act


@dataclass(kw_only=True)
class Report:
    """What happened to all batteries."""

    outages: int = 0
    readings: int = 0
    wrong: list[str] = field(default_factory=list)
    """Published values that differ from what the battery sent."""
    late: list[str] = field(default_factory=list)
    """Outages after which the next due read failed."""


class ReadingChecker:
    """Compares published readings of a battery with its state."""

    def __init__(self, bms: RecordingBms, report: Report) -> None:
        """Nothing has been published yet."""
        self.bms = bms
        self.last = 0.0
        """s of the event loop's clock when the last published cell data came."""
        self.outage = "no fault"
        self._report = report

    def check(self, reading: Reading) -> None:
        """Check a published reading."""
        if reading.time == self.last:
            return
        self.last = reading.time
        # The battery keeps every command
        self.bms.commands.clear()
        self._report.readings += 1
        cells, info = reading.cell_data, reading.device_info
        spec, settings = self.bms.spec, self.bms.battery.settings
        assert cells.frame_counter is not None
        state = self.bms.states[cells.frame_counter]
        expected = _expected_values(spec, state)
        found = {name: getattr(cells, name) for name in expected}
        for name in ("cell_count", "cell_ovp", "cell_uvp") if reading.settings else ():
            expected[name] = getattr(settings, name)
            found[name] = getattr(reading.settings, name)
        profile = choose_profile(spec.model, spec.software)
        raw = frames.cell_frame(spec, state, cells.frame_counter)
        # All other values: as decoded from the undamaged frame
        for said, sent in (
            (cells, _decode(raw, profile)),
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

    async def run_outage(
        self, outage: Outage, radio: VirtualRadio, random: Random, *, seed: int
    ) -> None:
        """Run an outage, and check that the battery is read again afterwards."""
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


def _expected_values(spec: Spec, state: State) -> dict[str, Any]:
    """Return what a reading must have: what a defect makes impossible is left out."""
    values = expected_values(spec, state)
    implausible = []
    if not all(state.cells):
        cells = {place: volts for place, volts in enumerate(state.cells) if volts}
        values["cell_voltage"] = tuple(map(cells.get, range(len(state.cells))))
        values["min_cell"] = 1 + min(cells, key=cells.__getitem__)
        values["max_cell"] = 1 + max(cells, key=cells.__getitem__)
        values["delta_cell_voltage"] = max(cells.values()) - min(cells.values())
        implausible = [
            f"cell_voltage_{number}"
            for number, volts in enumerate(state.cells, 1)
            if not volts
        ]
    if state.temperatures[0] == 160.0:
        implausible.append("battery_temperature_1")
    return values | {"implausible": tuple(implausible)}


def _decode(raw: bytes, profile: Profile) -> CellData:
    try:
        return decode_cell_data(Frame.parse(raw), profile)
    except ImplausibleValuesError as err:
        return err.cell_data


def _equal(found: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return len(found) == len(expected) and all(map(_equal, found, expected))
    if isinstance(expected, float):
        return found is not None and abs(found - expected) < LAST_DIGIT
    return bool(found == expected)


async def run_outages(
    checkers: Sequence[ReadingChecker],
    outages: Iterator[Outage],
    radio_of: Callable[[RecordingBms], VirtualRadio],
    *,
    seed: int,
) -> None:
    """Let the batteries take outages from one iterator until it is exhausted."""

    async def run_for_one(number: int, checker: ReadingChecker) -> None:
        random = Random(f"{seed} {number}")
        for turn, outage in enumerate(outages):
            await checker.run_outage(
                outage, radio_of(checker.bms), random, seed=1000 * number + turn
            )

    async with asyncio.TaskGroup() as group:
        for number, checker in enumerate(checkers):
            group.create_task(run_for_one(number, checker))
