"""What the checks believe at once, what they hold back, and that it is never for long."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from struct import pack
from typing import Any

from hypothesis import given, settings, strategies as st
import pytest

from custom_components.jk_bms.jkbms.errors import ImplausibleFrameError
from custom_components.jk_bms.jkbms.models import DeviceInfo, Settings
from custom_components.jk_bms.jkbms.protocol.confirmation import Confirmation
from custom_components.jk_bms.jkbms.protocol.consistency import ConsistencyChecker
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_device_info,
    decode_settings,
    lasting_content,
)
from custom_components.jk_bms.jkbms.protocol.frames import (
    Frame,
    FrameAssembler,
    FrameStatistics,
)
from custom_components.jk_bms.jkbms.protocol.profile import choose_profile
from tests.bench.bad_radio import CADENCE, CHUNKS, SPECS, campaign, day, stress
from tests.bench.fuzz import PROFILES, Fuzzer, Subject, corpus
from tests.thorough import THOROUGH
from tests.virtual_bms import MODELS, Battery, Spec, State, frames
from tests.virtual_bms.chemistry import default_settings

from . import mended

GARAGE, CAMPER = MODELS["JK_PB2A16S20P 15.41"], MODELS["JK_B2A20S20P 11.288H"]
OLD, OLDEST = MODELS["JK-B2A24S15P 10.07"], MODELS["JK-B2A16S 3.3.0"]
BALANCER = MODELS["JK_DZ11B2A24S 11.55"]
EVERY = MODELS.values()
EARLIER = 40
"""Frames until it knows the battery."""


def name(spec: Spec) -> str:
    """Return what identifies a battery."""
    return f"{spec.model} {spec.software}"


class Bench:
    """A battery, and the checks that its frames pass."""

    def __init__(self, spec: Spec = GARAGE, *, hour: float = 10.0) -> None:
        """Nothing was seen yet."""
        self.spec = spec
        self.battery = Battery(spec, hour=hour)
        self.profile = choose_profile(spec.model, spec.software)
        self.checker = ConsistencyChecker()
        self.time = 1000.0
        self.counter = 0

    def frame(self, passed: float = CADENCE) -> bytes:
        """Return the next frame, so many s later."""
        self.time += passed
        self.counter += 1
        state = self.battery.advance(passed)
        return frames.cell_frame(self.spec, state, self.counter & 0xFF)

    def accepts(self, raw: bytes) -> bool:
        """Have a frame judged that can be decoded."""
        frame = Frame.parse(raw)
        cell_data = decode_cell_data(frame, self.profile)
        return self.checker.accept(frame, cell_data, self.profile, self.time)

    def note(self, raw: bytes) -> None:
        """Let a frame pass that is not published."""
        self.checker.note(Frame.parse(raw), self.profile, self.time)

    def settle(self) -> Bench:
        """Get to know the battery: all but the first frame are believed at once."""
        judged = [self.accepts(self.frame()) for _ in range(EARLIER)]
        assert judged == [False, *(EARLIER - 1) * [True]]
        return self

    @property
    def rejected(self) -> int:
        """Frames that were held and did not prove true."""
        return self.checker.statistics.rejected


# What batteries do


type Change = Callable[[State], Mapping[str, Any]]


def load(amperes: float) -> Change:
    """Switch a load on, or a charger: all cells give in, one a little more."""

    def change(state: State) -> Mapping[str, Any]:
        sag = [amperes * (0.0006 + 0.0001 * (i == 3)) for i in range(len(state.cells))]
        cells = tuple(
            round(volts + drop, 3) for volts, drop in zip(state.cells, sag, strict=True)
        )
        return {"cells": cells, "current": round(state.current + amperes, 3)}

    return change


def dead_cell(state: State) -> Mapping[str, Any]:
    """Let a cell die."""
    return {"cells": (0.0, *state.cells[1:])}


def one_cell_less(state: State) -> Mapping[str, Any]:
    """Remove a cell, as a reconfigured battery does."""
    return {"cells": state.cells[:-1]}


def charge(soc: int) -> Change:
    """Let the BMS correct the state of charge."""
    return lambda state: {"soc": soc, "remaining": state.full * soc / 100}


EVENTS: dict[str, tuple[Spec, Change]] = {
    "load on": (GARAGE, load(-90.0)),
    "load on, 24S": (OLD, load(-60.0)),
    "charger on": (GARAGE, load(70.0)),
    "charger plugged": (GARAGE, lambda _: {"charger_plugged": True}),
    "cell dies": (GARAGE, dead_cell),
    "cell dies, 24S": (OLD, dead_cell),
    "cell dies, JK04": (OLDEST, dead_cell),
    "cell dies, balancer": (BALANCER, dead_cell),
    "cell taken away": (GARAGE, one_cell_less),
    "no cell left": (GARAGE, lambda _: {"cells": ()}),
    "full": (GARAGE, charge(100)),
    "empty": (OLD, charge(0)),
    "balancer starts": (
        GARAGE,
        lambda _: {"balancer": 1, "balance_current": 1.9},
    ),
    "balancer starts, JK04": (
        OLDEST,
        lambda _: {"balancer": 2, "balance_current": -0.5},
    ),
    "alarm": (GARAGE, lambda _: {"alarms": 1 << 9}),
    "alarm, 24S": (OLD, lambda _: {"alarms": 1 << 11}),
    "wire comes loose": (GARAGE, lambda _: {"wire_alarm": 4}),
    "heater on": (CAMPER, lambda _: {"heating": True, "heater_current": 4.2}),
    "charging off": (GARAGE, lambda _: {"charging": False}),
    "discharging off": (OLD, lambda _: {"discharging": False}),
    "precharging": (GARAGE, lambda _: {"precharging": True}),
    "capacity changed": (
        GARAGE,
        lambda state: {"full": 200.0, "remaining": 2 * state.soc},
    ),
    "clock set": (GARAGE, lambda state: {"clock": state.clock + 3600}),
    "sensor unplugged": (
        GARAGE,
        lambda state: {"temperatures": (None, *state.temperatures[1:])},
    ),
    "all sensors unplugged": (GARAGE, lambda _: {"temperatures": (None,) * 4}),
    "sensor in the sun": (OLD, lambda _: {"temperatures": (55.0, 20.0, None, None)}),
    "next cycle": (GARAGE, lambda state: {"cycles": state.cycles + 1}),
    "older": (GARAGE, lambda state: {"soh": state.soh - 1}),
    "one percent": (GARAGE, lambda state: {"soc": state.soc - 1}),
    "absorption": (GARAGE, lambda _: {"phase": 1, "phase_time": 0}),
    "dry contact": (GARAGE, lambda _: {"dry_contacts": 2}),
    "emergency": (GARAGE, lambda _: {"emergency": 1800}),
    "log entry": (GARAGE, lambda state: {"detail_records": state.detail_records + 1}),
    "awake": (GARAGE, lambda state: {"sleep": 86400}),
}


@pytest.mark.parametrize("event", EVENTS)
def test_event_is_believed_with_the_second_frame(event: str) -> None:
    """What happens to a battery is believed with the second frame that says so."""
    spec, change = EVENTS[event]
    bench = Bench(spec).settle()

    bench.battery.override(**change(bench.battery.state))
    judged = [bench.accepts(bench.frame()) for _ in range(5)]

    assert judged in ([True] * 5, [False, *[True] * 4])
    assert bench.rejected == 0


@pytest.mark.parametrize("spec", [GARAGE, OLD, OLDEST], ids=name)
def test_reboot_is_believed_with_the_second_frame(spec: Spec) -> None:
    """All counters restart, and the total run time is what was stored last."""
    bench = Bench(spec).settle()
    bench.counter = 0
    gone = int(bench.battery.now)
    bench.battery.spec = replace(
        spec, uptime=3 - gone, run_time=spec.run_time - 170, clock_set=False
    )

    assert [bench.accepts(bench.frame()) for _ in range(4)] == [False, True, True, True]
    assert bench.rejected == 0


@pytest.mark.parametrize("amperes", [-90.0, 20.0])
def test_load_is_believed_while_its_power_still_lags(amperes: float) -> None:
    """For two frames the power is still that of before the load."""
    bench = Bench().settle()
    before = bench.battery.state
    bench.battery.override(**load(amperes)(before), power=before.power)
    judged = [bench.accepts(bench.frame()) for _ in range(2)]
    bench.battery.release("power")

    judged += [bench.accepts(bench.frame()) for _ in range(3)]

    assert judged == [False, True, True, True, True]


@pytest.mark.parametrize(("bad_cell", "believed"), [(None, True), (5, False)])
def test_average_may_be_that_of_the_frame_before_if_all_cells_moved(
    bad_cell: int | None, believed: bool
) -> None:
    """A load that is switched delays nothing; what one cell alone says still waits."""
    bench = Bench(OLDEST).settle()
    before = bench.frame()
    bench.battery.override(**load(-30.0)(bench.battery.state))
    frame = bytearray(bench.frame())
    frame[102:210] = before[102:210]
    if bad_cell:
        frame[6 + 4 * bad_cell : 10 + 4 * bad_cell] = pack("<f", 3.9)

    assert bench.accepts(mended(bytes(frame))) is believed


@pytest.mark.parametrize("lost", [1, 2, 5, 9])
def test_lost_frames_do_not_delay_the_next_good_one(lost: int) -> None:
    """The counter has gaps then, which is no contradiction."""
    bench = Bench().settle()
    for _ in range(lost):
        bench.frame()

    assert bench.accepts(bench.frame())


def test_frame_delayed_by_a_response_waits_at_most_once() -> None:
    """The battery sends its response before the frame that is due."""
    bench = Bench().settle()

    assert [bench.accepts(bench.frame(t)) for t in (1.06, CADENCE)] in (
        [False, True],
        [True, True],
    )


@pytest.mark.parametrize("spec", EVERY, ids=name)
@pytest.mark.parametrize("pause", [6.0, 30.0, 300.0, 3600.0])
def test_first_frame_of_the_next_link_is_believed_at_once(
    spec: Spec, pause: float
) -> None:
    """Its counter may have any value, the one of the last frame included."""
    bench = Bench(spec, hour=19.0).settle()

    judged = []
    for counter in (77, 77, 200, 3):
        bench.checker.begin_link()
        bench.counter = counter
        judged.append(bench.accepts(bench.frame(pause)))

    assert judged == [True] * 4


def test_counter_may_jump_between_links_that_follow_at_once() -> None:
    """Nobody knows how frames are counted over a short pause."""
    bench = Bench().settle()
    bench.checker.begin_link()
    bench.counter = 99

    assert bench.accepts(bench.frame(3.0))


def test_first_frame_of_the_first_link_waits() -> None:
    """No earlier frame has been believed that it could be compared with."""
    bench = Bench()
    bench.checker.begin_link()

    assert [bench.accepts(bench.frame()) for _ in range(3)] == [False, True, True]


@pytest.mark.parametrize("spec", EVERY, ids=name)
@pytest.mark.parametrize("hour", [6.0, 12.3, 19.5])
def test_no_frame_waits_in_steady_operation(spec: Spec, hour: float) -> None:
    """In steady operation nothing waits."""
    bench = Bench(spec, hour=hour)

    frame_count = 400 if THOROUGH else 150
    judged = [bench.accepts(bench.frame()) for _ in range(frame_count)]

    assert judged.count(False) <= 1
    assert bench.rejected == 0


@pytest.mark.parametrize("spec", [GARAGE, OLD], ids=name)
def test_discharge_from_full_to_empty_within_a_day_is_believed(spec: Spec) -> None:
    """With a reading every minute, the charge moves by several percent an hour."""
    bench = Bench(spec)
    bench.battery = Battery(spec, hour=18.0, soc=0.99, step=5.0)
    share = spec.capacity / 24
    judged = []
    for minute in range(24 * 60):
        remaining = spec.capacity - share * minute / 60
        soc = round(100 * remaining / spec.capacity)
        bench.battery.override(soc=soc, remaining=remaining, current=-share)
        judged.append(bench.accepts(bench.frame(60.0)))

    assert judged.count(False) <= 0.01 * len(judged)
    assert not any(one is two is False for one, two in pairwise(judged))


@pytest.mark.parametrize("layout", SPECS)
def test_few_good_frames_wait_on_a_rough_day(layout: str) -> None:
    """Of frames with loads, ripple, noise and lag, less than one in a hundred waits."""
    bench = Bench(SPECS[layout])
    judged = []
    for raw in day(bench.spec, 3000, seed=4):
        bench.time += CADENCE
        judged.append(bench.accepts(raw))

    assert judged.count(False) < 0.01 * len(judged)
    assert not any(
        one is two is three is False
        for one, two, three in zip(judged, judged[1:], judged[2:], strict=False)
    )


# What damage does


@dataclass(frozen=True)
class Damage:
    """Bytes that are turned, at an offset; the checksum is right nevertheless."""

    spec: Spec
    offset: int
    bits: str

    def hits(self, raw: bytes) -> bytes:
        """Return the damaged frame."""
        damaged = bytearray(raw)
        for place, bits in enumerate(bytes.fromhex(self.bits), self.offset):
            damaged[place] ^= bits
        return mended(bytes(damaged))


DAMAGES: dict[str, Damage] = {
    "counter": Damage(GARAGE, 5, "04"),
    "counter, 24S": Damage(OLD, 5, "40"),
    "counter, JK04": Damage(OLDEST, 5, "40"),
    "cell": Damage(GARAGE, 10, "20"),
    "cell, 24S": Damage(OLD, 10, "40"),
    "cell, JK04": Damage(OLDEST, 16, "04"),
    "unused cell": Damage(GARAGE, 50, "01"),
    "mask": Damage(GARAGE, 72, "01"),
    "mask, 24S": Damage(OLD, 56, "01"),
    "resistance": Damage(GARAGE, 84, "02"),
    "resistance, 24S": Damage(OLD, 70, "02"),
    "resistance, JK04": Damage(OLDEST, 105, "10"),
    "wire alarm": Damage(GARAGE, 146, "04"),
    "pack": Damage(GARAGE, 150, "40"),
    "pack, 24S": Damage(OLD, 118, "40"),
    "current, by 5 %": Damage(GARAGE, 159, "08"),
    "current, second byte": Damage(GARAGE, 159, "10"),
    "current, high byte": Damage(GARAGE, 160, "10"),
    "current, 24S": Damage(OLD, 127, "10"),
    "temperature": Damage(GARAGE, 162, "20"),
    "temperature, 24S": Damage(OLD, 132, "20"),
    "mosfet": Damage(GARAGE, 144, "20"),
    "alarms": Damage(GARAGE, 167, "02"),
    "alarms, 24S": Damage(OLD, 136, "10"),
    "balance current": Damage(GARAGE, 170, "40"),
    "balancer": Damage(GARAGE, 172, "01"),
    "balancer, no such state": Damage(OLD, 140, "10"),
    "balancer, JK04": Damage(OLDEST, 220, "01"),
    "drive": Damage(GARAGE, 230, "40"),
    "soc": Damage(GARAGE, 173, "04"),
    "soc, 24S": Damage(OLD, 141, "04"),
    "remaining, lowest byte": Damage(GARAGE, 174, "40"),
    "remaining": Damage(GARAGE, 175, "20"),
    "capacity": Damage(GARAGE, 178, "01"),
    "capacity, 24S": Damage(OLD, 148, "01"),
    "cycles": Damage(GARAGE, 182, "01"),
    "moved": Damage(GARAGE, 187, "01"),
    "moved, 24S": Damage(OLD, 154, "80"),
    "health": Damage(GARAGE, 190, "04"),
    "health, 24S": Damage(OLD, 158, "04"),
    "run time": Damage(GARAGE, 194, "08"),
    "run time, 24S": Damage(OLD, 163, "01"),
    "run time, JK04": Damage(OLDEST, 286, "20"),
    "charging": Damage(GARAGE, 198, "01"),
    "discharging, 24S": Damage(OLD, 167, "01"),
    "release time": Damage(GARAGE, 203, "01"),
    "sensor mask": Damage(GARAGE, 214, "02"),
    "heating": Damage(GARAGE, 215, "01"),
    "emergency": Damage(GARAGE, 218, "10"),
    "correction": Damage(GARAGE, 220, "10"),
    "sensor of the current": Damage(GARAGE, 223, "01"),
    "voltage factor": Damage(GARAGE, 227, "10"),
    "charger": Damage(GARAGE, 245, "01"),
    "ticks": Damage(GARAGE, 246, "20"),
    "ticks, 24S": Damage(OLD, 215, "01"),
    "fourth sensor": Damage(GARAGE, 256, "20"),
    "clock": Damage(GARAGE, 262, "10"),
    "log records": Damage(GARAGE, 266, "01"),
    "sleep": Damage(GARAGE, 271, "01"),
    "chemistry": Damage(GARAGE, 275, "01"),
    "warmest": Damage(GARAGE, 276, "01"),
    "warmest, no such sensor": Damage(GARAGE, 276, "40"),
    "coldest": Damage(GARAGE, 277, "01"),
    "phase time": Damage(GARAGE, 279, "10"),
    "phase": Damage(GARAGE, 280, "01"),
    "dry contacts": Damage(GARAGE, 281, "04"),
    "end": Damage(OLD, 280, "01"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_frame_is_held_back_and_the_next_is_not(damage: str) -> None:
    """What one frame alone says is not believed, and nothing else waits for it."""
    hit = DAMAGES[damage]
    bench = Bench(hit.spec, hour=19.0).settle()

    assert not bench.accepts(hit.hits(bench.frame()))
    assert bench.rejected == 0
    assert bench.accepts(bench.frame())
    assert bench.rejected == 1


def test_expected_change_is_believed_at_once() -> None:
    """What a write moves is not held back, for some seconds; all else is."""
    hit = Damage(GARAGE, 198, "01")
    bench = Bench(GARAGE, hour=19.0).settle()
    bench.checker.expect(frozenset({"charging"}), bench.time)
    assert bench.accepts(hit.hits(bench.frame()))
    bench = Bench(GARAGE, hour=19.0).settle()
    bench.checker.expect(frozenset({"discharging"}), bench.time)
    assert not bench.accepts(hit.hits(bench.frame()))
    bench = Bench(GARAGE, hour=19.0).settle()
    bench.checker.expect(frozenset({"charging"}), bench.time - 11.0)
    assert not bench.accepts(hit.hits(bench.frame()))


def test_expected_record_is_believed_at_once() -> None:
    """Settings that differ by what was written only need no second reading."""
    confirmation = Confirmation()
    old, new = Settings(cell_count=16, soc_0=2.7), Settings(cell_count=16, soc_0=2.9)
    confirmation.expect(Settings, "soc_0", 2.9)
    assert confirmation.accept(old, 0.0)
    confirmation.expect(Settings, "soc_0", 2.9)
    assert not confirmation.accept(replace(new, cell_count=8), 1.0)
    assert confirmation.accept(new, 1.0)
    assert not confirmation.accept(old, 2.0)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_frame_that_was_skipped_does_not_delay_the_next(damage: str) -> None:
    """Frames that are not decoded are only compared with, and may be damaged."""
    hit = DAMAGES[damage]
    bench = Bench(hit.spec, hour=19.0).settle()

    bench.note(hit.hits(bench.frame()))

    assert bench.accepts(bench.frame())
    assert bench.rejected == 0


@pytest.mark.parametrize(
    ("spec", "cut"),
    [(GARAGE, 128), (GARAGE, 150), (GARAGE, 244), (OLD, 128), (OLD, 150)],
)
def test_two_halves_of_different_frames_are_held_back(spec: Spec, cut: int) -> None:
    """The head of one frame and the tail of the next are no frame."""
    bench = Bench(spec).settle()
    head, tail = bench.frame(), bench.frame()

    assert not bench.accepts(mended(head[:cut] + tail[cut:]))
    assert bench.accepts(bench.frame())
    assert bench.rejected == 1


@pytest.mark.parametrize(
    "damage", ["cell", "pack", "soc", "current, second byte", "mosfet", "balancer"]
)
def test_damaged_first_frame_is_never_believed(damage: str) -> None:
    """The second frame is, or at the latest the third."""
    hit = DAMAGES[damage]
    bench = Bench(hit.spec, hour=19.0)
    bits = "FF" if damage == "cell" else hit.bits

    assert not bench.accepts(replace(hit, bits=bits).hits(bench.frame()))
    # What no check compares is refuted without being counted
    assert bench.accepts(bench.frame()) or bench.accepts(bench.frame())
    assert bench.rejected <= 1


def test_battery_that_contradicts_itself_is_believed_at_the_second_frame() -> None:
    """Its power and its current do not agree in any frame."""
    bench = Bench()
    bench.battery.override(power=1.0, current=-40.0)

    assert [bench.accepts(bench.frame()) for _ in range(4)] == [False, True, True, True]
    assert bench.rejected == 0


def test_change_of_layout_starts_the_checks_afresh() -> None:
    """A firmware update may change the layout; values of the old one prove nothing."""
    old, new = Bench(OLD).settle(), Bench(GARAGE)
    new.checker = old.checker

    assert [new.accepts(new.frame()) for _ in range(2)] == [False, True]


def test_layout_that_changes_after_the_first_frame_waits_for_its_own_second() -> None:
    """Two frames of different layouts do not agree."""
    old, new = Bench(OLD), Bench(GARAGE)
    new.checker = old.checker
    assert not old.accepts(old.frame())

    assert [new.accepts(new.frame()) for _ in range(2)] == [False, True]


def test_first_frames_that_never_agree_are_believed_at_the_third() -> None:
    """What never agrees is how this battery is; no more than two wait."""
    bench = Bench()
    damages = [DAMAGES[name] for name in ("alarms", "cycles", "capacity")]
    judged = [bench.accepts(damage.hits(bench.frame())) for damage in damages]

    assert judged == [False, False, True]


def test_two_frames_with_different_contradictions_are_held_back() -> None:
    """They contradict the past in different ways, so both may be damaged."""
    bench = Bench().settle()
    cell, cycles, cell_again = (
        DAMAGES[name] for name in ("alarms", "cycles", "capacity")
    )

    judged = [bench.accepts(damage.hits(bench.frame())) for damage in (cell, cycles)]
    assert judged == [False, False]
    assert bench.rejected == 1
    # Not a third time: what never agrees is how this battery is
    assert bench.accepts(cell_again.hits(bench.frame()))


def test_change_right_behind_damage_waits_for_its_own_second_frame() -> None:
    """The damaged frame does not confirm it."""
    bench = Bench().settle()
    assert not bench.accepts(DAMAGES["cycles"].hits(bench.frame()))
    bench.battery.override(alarms=4)

    assert [bench.accepts(bench.frame()) for _ in range(3)] == [False, True, True]
    assert bench.rejected == 1


def test_change_seen_in_a_skipped_frame_is_believed_at_once() -> None:
    """The skipped frame counts as the first of the two that a change needs."""
    bench = Bench().settle()
    bench.battery.override(alarms=4)
    bench.note(bench.frame())

    assert bench.accepts(bench.frame())


def test_change_behind_skipped_frames_waits_for_a_second_frame() -> None:
    """The frames that were skipped are the ones to compare with."""
    bench = Bench().settle()
    for _ in range(60):
        bench.note(bench.frame())
    bench.battery.override(alarms=4)

    assert [bench.accepts(bench.frame()) for _ in range(2)] == [False, True]


def test_odd_first_frame_is_refuted_by_the_next_two() -> None:
    """No frame has been believed yet, so the odd one is all that there is to compare with."""
    bench = Bench()
    bench.note(DAMAGES["cycles"].hits(bench.frame()))

    assert [bench.accepts(bench.frame()) for _ in range(2)] == [False, True]


def test_check_that_holds_back_every_frame_is_muted() -> None:
    """A check that holds back frame after frame is muted, except for gross damage."""
    bench = Bench().settle()
    judged = []
    for number in range(12):
        bench.battery.override(alarms=number % 2)
        judged += [bench.accepts(bench.frame()) for _ in range(4)]

    assert judged.count(False) == 3
    assert judged[-30:] == [True] * 30
    assert not bench.accepts(DAMAGES["alarms"].hits(bench.frame()))


@pytest.mark.parametrize("value", ["0000C07F", "0000807F", "000080FF", "A69B44BC"])
@pytest.mark.parametrize("offset", [202, 206])
def test_reported_average_that_is_no_number_holds_back_three_frames(
    offset: int, value: str
) -> None:
    """After that, its check is mute, and the others still find damage."""
    bench = Bench(OLDEST).settle()
    judged = []
    for _ in range(40):
        raw = bytearray(bench.frame())
        raw[offset : offset + 4] = bytes.fromhex(value)
        judged.append(bench.accepts(mended(bytes(raw))))
    assert judged.count(False) <= 3
    assert judged[-30:] == [True] * 30

    judged = [bench.accepts(bench.frame()) for _ in range(5)]
    assert judged.count(False) <= 1
    hit = DAMAGES["resistance, JK04"]
    assert not bench.accepts(hit.hits(bench.frame()))


bits = st.integers(1, 255)
hits = st.dictionaries(st.integers(5, 298), bits, max_size=8)


@given(st.lists(hits, min_size=1, max_size=12), st.sampled_from(sorted(SPECS)))
@settings(max_examples=150, derandomize=True, deadline=None, database=None)
def test_no_more_than_two_frames_in_a_row_are_held_back(
    damages: list[dict[int, int]], layout: str
) -> None:
    """Whatever the damage is, if the frame is not refused as impossible."""
    bench = Bench(SPECS[layout])
    held = 0
    for damage in damages:
        raw = bytearray(bench.frame())
        for place, turned in damage.items():
            raw[place] ^= turned
        try:
            accepted = bench.accepts(mended(bytes(raw)))
        except ImplausibleFrameError:
            continue
        held = 0 if accepted else held + 1
        assert held <= 2


# Settings and device information


def records(spec: Spec = GARAGE) -> tuple[Settings, DeviceInfo]:
    """Return what a battery says about itself."""
    battery = Battery(spec)
    profile = choose_profile(spec.model, spec.software)
    return (
        decode_settings(
            Frame.parse(frames.settings_frame(spec, battery.settings, 0)), profile
        ),
        decode_device_info(
            Frame.parse(frames.info_frame(spec, battery.settings, battery.state, 0))
        ),
    )


@pytest.mark.parametrize("spec", EVERY, ids=name)
def test_frames_of_every_virtual_battery_are_believed(spec: Spec) -> None:
    """What every battery of the virtual ones says is believed at first sight, and later."""
    confirmation = Confirmation()
    for time in (0.0, 60.0, 7200.0):
        assert all(confirmation.accept(record, time) for record in records(spec))


def test_changed_settings_are_believed_at_the_second_reading() -> None:
    """One reading that differs might be damaged."""
    confirmation, (known, _) = Confirmation(), records()
    changed = replace(known, cell_ovp=3.6)
    assert confirmation.accept(known, 0.0)

    assert not confirmation.accept(changed, 60.0)
    assert confirmation.accept(changed, 61.0)
    assert confirmation.accept(changed, 62.0)


def test_known_settings_are_believed_again_after_damage() -> None:
    """A damaged reading in between does not replace the known one."""
    confirmation, (known, _) = Confirmation(), records()
    confirmation.accept(known, 0.0)
    assert not confirmation.accept(replace(known, cell_ovp=3.906), 60.0)

    assert confirmation.accept(known, 61.0)


def test_settings_never_the_same() -> None:
    """Four readings are held back on one link, not a fifth."""
    confirmation, (known, _) = Confirmation(), records()
    assert [
        confirmation.accept(replace(known, cell_ovp=volts), 0.0)
        for volts in (3.5, 3.51, 3.52, 3.53, 3.54, 3.55)
    ] == [True, False, False, False, False, True]


def test_settings_never_the_same_on_a_damaged_line() -> None:
    """A damaged frame ends the row: what passes the checksum by chance is not believed."""
    statistics, (known, _) = FrameStatistics(), records()
    confirmation = Confirmation(statistics)
    assert confirmation.accept(known, 0.0)
    for number in range(1, 20):
        statistics.damaged += number % 3 == 0
        odd = replace(known, cell_ovp=3.5 + number / 1000)
        assert not confirmation.accept(odd, 0.0)
    assert [
        confirmation.accept(replace(known, cell_ovp=volts), 0.0)
        for volts in (3.6, 3.61, 3.62)
    ] == [False, False, True]


def test_records_alike_by_damage() -> None:
    """A letter that became a blank twice is not believed: what else was hit differs."""
    confirmation, (_, known) = Confirmation(), records()
    assert confirmation.accept(known, 0.0, b"sent")
    short = replace(known, setup_passcode="setup")
    assert [
        confirmation.accept(short, 1.0, content)
        for content in (b"hit here", b"hit there", b"hit here")
    ] == [False, False, True]


def test_lasting_content_leaves_out_counter_and_run_time() -> None:
    """Two readings of the same are the same; any other byte tells them apart."""
    settings, battery = default_settings(GARAGE), Battery(GARAGE)
    state = battery.state
    later = replace(state, run_time=state.run_time + 70_000)
    first, second = (
        frames.info_frame(GARAGE, settings, moment, counter)
        for moment, counter in ((state, 1), (later, 2))
    )
    assert first != second
    assert content(first) == content(second) != content(first, 290)
    first, second = (
        frames.settings_frame(GARAGE, settings, counter) for counter in (1, 2)
    )
    assert content(first) == content(second) != content(first, 38)


def content(raw: bytes, *hit: int) -> bytes:
    """Return what lasts of a frame, in which some bytes may be damaged."""
    if hit:
        raw = frames.damage(raw, *hit, reseal=True)
    return lasting_content(Frame.parse(raw))


def test_settings_never_the_same_on_many_links() -> None:
    """Each link starts from zero: what bad links let through does not add up."""
    confirmation, (known, _) = Confirmation(), records()
    assert confirmation.accept(known, 0.0)
    for number in range(1, 9):
        confirmation.begin_link()
        odd = replace(known, cell_ovp=3.5 + number / 1000)
        assert not confirmation.accept(odd, 60.0 * number)
    assert confirmation.accept(known, 600.0)


@pytest.mark.parametrize(
    "odd",
    [
        {"cell_uvp": 4_194_306.5},
        {"max_charge_current": 16_877.0},
        {"charge_overcurrent_delay": 1 << 24},
        {"charge_undertemperature": -3276.8},
        {"nominal_capacity": 67_000.0},
    ],
)
def test_first_settings_that_no_owner_sets_are_read_twice(odd: dict[str, Any]) -> None:
    """There are no known settings yet to compare them with."""
    confirmation, (known, _) = Confirmation(), records()
    settings = replace(known, **odd)

    assert [confirmation.accept(settings, 0.0) for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    ("change", "passed", "admitted"),
    [
        ({"device_name": "Garden"}, 60.0, False),
        ({"poweron_times": 13}, 60.0, False),
        ({"up_time": 31_557_600 + 300}, 60.0, True),
        ({"up_time": 31_557_600 + 900}, 60.0, False),
        ({"up_time": 31_557_600 + 900}, 600.0, True),
        ({"up_time": 31_557_600 - 256}, 60.0, False),
    ],
)
def test_changed_device_information_waits_unless_only_its_run_time_moved(
    change: dict[str, Any], passed: float, admitted: bool
) -> None:
    """The run time moves on with the clock, within some slack; nothing else may change."""
    confirmation, (_, known) = Confirmation(), records()
    confirmation.accept(known, 0.0)
    changed = replace(known, **change)

    assert confirmation.accept(changed, passed) is admitted
    assert confirmation.accept(changed, passed + 1.0)


# A line on which nearly all is damaged


class Line:
    """A battery, and what an assembler and the checks make of its notifications."""

    def __init__(self) -> None:
        """Begin without a frame."""
        self.bench = Bench()
        self.assembler = FrameAssembler()
        self.checker = ConsistencyChecker(self.assembler.statistics)

    def damaged(self, count: int) -> None:
        """Let frames come with a wrong bit each."""
        for _ in range(count):
            raw = self.bench.frame()
            assert not self.assembler.feed(raw[:90] + bytes((raw[90] ^ 1,)) + raw[91:])

    def is_reliable(self) -> bool:
        """Receive a good frame, and return whether it counts."""
        (_,) = self.assembler.feed(self.bench.frame())
        return self.checker.line_is_reliable()

    @property
    def rejected(self) -> int:
        """Frames that do not count."""
        return self.checker.statistics.rejected


@pytest.mark.parametrize(
    ("damaged", "trusted"), [(0, True), (7, True), (8, False), (300, False)]
)
def test_line_with_many_damaged_frames_needs_a_second_good_one(
    damaged: int, trusted: bool
) -> None:
    """Where hardly any checksum is right, a single right one may be chance."""
    line = Line()
    line.damaged(damaged)

    assert line.is_reliable() is trusted
    assert line.rejected == damaged + (not trusted)
    line.damaged(7)
    assert line.is_reliable()


@pytest.mark.parametrize("settled", [True, False])
def test_row_of_odd_frames_among_damaged_ones_is_not_believed(settled: bool) -> None:
    """Each looks good by chance; a good line then needs no more than two frames."""
    line = Line()
    line.bench.checker = line.checker
    if settled:
        line.bench.settle()
    for name in ("alarms", "cycles", "capacity", "alarms", "cycles"):
        assert not line.bench.accepts(DAMAGES[name].hits(line.bench.frame()))
        line.damaged(1)

    judged = [line.bench.accepts(line.bench.frame()) for _ in range(3)]
    assert judged[1:] == [True, True]


def test_line_that_only_loses_bytes_stays_reliable() -> None:
    """A right checksum counts there, however few frames arrive whole."""
    line = Line()
    for _ in range(30):
        raw = line.bench.frame()
        line.assembler.feed(raw[:128])
        line.assembler.feed(raw[148:])

    assert line.rejected > 20
    assert line.is_reliable()


def test_damage_on_one_link_does_not_count_on_the_next() -> None:
    """The radio path may be a different one."""
    line = Line()
    line.damaged(20)

    line.checker.begin_link()

    assert line.is_reliable()


# A bad radio, in short


@pytest.fixture(scope="module")
def stream() -> list[bytes]:
    """Return frames of a rough afternoon."""
    return list(day(GARAGE, 1000, seed=7))


@pytest.mark.parametrize(
    "faults", [{}, {"lose": 0.03}, {"damage": 0.05}, {"lose": 0.01, "damage": 0.01}]
)
@pytest.mark.parametrize("sizes", CHUNKS)
def test_bad_radio_loses_no_whole_frame_and_believes_nothing_wrong(
    stream: list[bytes], sizes: str, faults: dict[str, float]
) -> None:
    """At most 2 % of the whole frames wait for the next one."""
    outcome = campaign(GARAGE, stream, CHUNKS[sizes], seed=5, **faults)

    assert outcome.kept == outcome.whole > 0
    assert outcome.held <= 0.02 * outcome.whole
    assert outcome.wrong == 0


@pytest.mark.parametrize(("layout", "stopped"), [("32S", 0.99), ("24S", 0.99)])
def test_damage_with_a_right_checksum_is_stopped_by_the_checks(
    layout: str, stopped: float
) -> None:
    """A checksum of one byte misses one damaged frame in 256; the checks stop 99 % of those."""
    spec = SPECS[layout]

    result = stress(spec, list(day(spec, 400, seed=8)), 1000, seed=9)

    assert result.tried > 500
    assert result.believed <= (1 - stopped) * result.tried


def test_right_checksum_of_floats() -> None:
    """The last bits of a float mean nothing, and nothing checks them."""
    spec = SPECS["JK04"]

    result = stress(spec, list(day(spec, 400, seed=8)), 1000, seed=9)

    assert result.gross <= 0.02 * result.tried
    assert {*result.fields} <= {"cell_voltage", "battery_voltage"}


# What the fuzzer found

CORPUS = Path(__file__).parent / "corpus"


def cases() -> Iterator[tuple[str, bytes]]:
    """Return the cases that reached more than those before them."""
    for file in sorted(CORPUS.glob("*.hex")):
        yield file.stem, bytes.fromhex(file.read_text())


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name, case in cases()]
)
def test_corpus_case_raises_nothing(case: bytes) -> None:
    """Cases that once were new raise nothing, alone and after one another."""
    for profile in PROFILES:
        subject = Subject(profile)
        for size in (300, 128, 20):
            for start in range(0, len(case), size):
                subject.feed(case[start : start + size])


def test_fuzzer_runs_and_finds_nothing_new() -> None:
    """A short run raises nothing and keeps little memory."""
    fuzzer = Fuzzer([*corpus(CORPUS)])
    with fuzzer.watching():
        fuzzer.run(1500)

    assert fuzzer.done == 1500
    assert fuzzer.errors == {}
    assert fuzzer.retained < 1024
    assert len(fuzzer.reached) > 100
