"""Judge frames by those before them, as an 8-bit checksum cannot (docs/protocol.md 13).

One frame in 256 damaged ones has a right checksum. What a frame says twice, and what the
frame before said, tell it from a good one. A frame that they contradict is held back
until the next one confirms or refutes it, so a real change comes half a second later.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from math import frexp, inf
from operator import attrgetter
from typing import Final, NamedTuple

from ..errors import ImplausibleFrameError
from ..models import BalancerState, CellData, Layout
from .decode import decode_cell_data
from .frames import Frame, FrameStatistics
from .layouts import steady_bytes
from .profile import Profile

_MAX_HELD_FRAMES: Final = 2
"""In a row; the next one is believed whatever it says."""
_MAX_DAMAGED_FRAMES: Final = 7
"""In a row; with more, the next good one is more likely one by chance."""
_DOUBT_LIFETIME: Final = 600.0
"""s that a doubt counts towards muting its check."""
_MAX_DOUBTS: Final = 2
"""Of one check and size that are remembered; with one more, the check is mute."""
_BRIEF: Final = 5.0
"""s between two frames within which current and counter bound what else can change."""

type Doubts = dict[str | int, float]
"""Checks that failed and by how many times; a number is the place of a steady byte."""


class CheckValues(NamedTuple):
    """What a frame of cell data says only for the checks; `None` where it does not."""

    enabled_cells: int
    reported_average: float | None
    """V, as the two below, of this frame or the one before."""
    reported_difference: float | None
    reported_power: float | None
    """W, without a sign."""
    voltage_again: float | None
    mosfet_temperature_again: float | None


class _Sample:
    """One frame of cell data and what the checks need of it, computed on demand."""

    def __init__(
        self,
        frame: Frame,
        profile: Profile,
        time: float,
        cell_data: CellData | None = None,
    ) -> None:
        self.time = time
        self.profile = profile
        self.is_of_last_link = False
        self._frame = frame
        self._cell_data = cell_data

    @cached_property
    def is_plausible(self) -> bool:
        """Whether it can be decoded; a frame that is only noted may be anything."""
        try:
            self._cell_data = decode_cell_data(self._frame, self.profile)
        except ImplausibleFrameError:
            return False
        return True

    @cached_property
    def content(self) -> int:
        """The whole frame as one number, the first byte lowest."""
        return int.from_bytes(self._frame.data, "little")

    @property
    def cell_data(self) -> CellData:
        assert self._cell_data or self.is_plausible
        assert self._cell_data
        return self._cell_data

    @cached_property
    def checks(self) -> CheckValues:
        table = self.profile.select(CheckValues._fields)
        return CheckValues._make(table.values(self._frame.data))

    @cached_property
    def cells(self) -> list[float]:
        return [volts for volts in self.cell_data.cell_voltage if volts is not None]

    @cached_property
    def mean(self) -> float:
        return sum(self.cells) / (len(self.cells) or 1)

    @cached_property
    def differences(self) -> tuple[tuple[float, float], ...]:
        """For each redundancy: by how much the two differ, and how much they may."""
        return tuple(
            [
                (reported - computed, slack + slope * abs(reported))
                for reported, computed, slack, slope in [
                    (*compare(self), slack, slope)
                    for _, compare, slack, slope in REDUNDANCY
                ]
            ]
        )


# What a frame says twice


type Compared = tuple[float, float]
"""What the frame reports, and what it comes to by its other values."""

_NOTHING_TO_COMPARE: Final = 0.0, 0.0
_CONTRADICTION: Final = 1.0, 0.0


def _sum(sample: _Sample) -> Compared:
    pack = sample.cell_data.battery_voltage
    return (pack, sum(sample.cells)) if pack else _NOTHING_TO_COMPARE


def _average(sample: _Sample) -> Compared:
    return sample.checks.reported_average or 0.0, sample.mean


def _difference(sample: _Sample) -> Compared:
    cells = sample.cells or [0.0]
    return sample.checks.reported_difference or 0.0, max(cells) - min(cells)


def _voltage(sample: _Sample) -> Compared:
    again, pack = sample.checks.voltage_again, sample.cell_data.battery_voltage
    return (again, pack or 0.0) if again else _NOTHING_TO_COMPARE


def _power(sample: _Sample) -> Compared:
    reported, power = sample.checks.reported_power, sample.cell_data.battery_power
    if reported is None or power is None:
        return _NOTHING_TO_COMPARE
    return reported, abs(power)


def _charge(sample: _Sample) -> Compared:
    cell_data = sample.cell_data
    percent, left = cell_data.remain_percent, cell_data.remain_capacity
    if percent is None or left is None or not cell_data.nominal_capacity:
        return _NOTHING_TO_COMPARE
    return percent, 100 * left / cell_data.nominal_capacity


def _mosfet(sample: _Sample) -> Compared:
    again = sample.checks.mosfet_temperature_again
    measured = sample.cell_data.mosfet_temperature
    if again is None or measured is None:
        return _NOTHING_TO_COMPARE
    return again, measured


def _ranks(sample: _Sample) -> Compared:
    cell_data = sample.cell_data
    sensors = cell_data.battery_temperature
    warmest, coldest = cell_data.warmest_sensor or 0, cell_data.coldest_sensor or 0
    fitted = [reading for reading in sensors if reading is not None]
    if not (warmest or coldest) or not fitted:
        return _NOTHING_TO_COMPARE
    if max(warmest, coldest) >= len(sensors):
        return _CONTRADICTION
    if (sensors[warmest], sensors[coldest]) != (max(fitted), min(fitted)):
        return _CONTRADICTION
    return _NOTHING_TO_COMPARE


def _balancing(sample: _Sample) -> Compared:
    """Compare the balancer's state with its current and its drives."""
    cell_data = sample.cell_data
    current = cell_data.balance_current or 0.0
    drives = (
        bool(cell_data.balancer_charge_drive),
        bool(cell_data.balancer_discharge_drive),
    )
    if sample.profile.layout is Layout.JK04:
        # When the balancer stops, its current fades
        drives = current > 0, current < 0
    match cell_data.balancer:
        case BalancerState.OFF:
            fits = sample.profile.layout is Layout.JK04 or drives == (False, False)
        case BalancerState.CHARGING:
            fits = drives == (True, False) and current >= 0
        case BalancerState.DISCHARGING:
            fits = drives == (False, True) and current <= 0
        case _:
            fits = False
    return _NOTHING_TO_COMPARE if fits else _CONTRADICTION


class Redundancy(NamedTuple):
    """Two values of one frame that have to agree."""

    name: str
    compare: Callable[[_Sample], Compared]
    slack: float
    """Difference that is allowed."""
    slope: float = 0.0
    """More of it, for each unit that is reported."""


REDUNDANCY: Final = (
    # V. Cells and pack are measured some ms apart: up to 9 mV in captures
    Redundancy("sum", _sum, slack=0.015),
    # V. The BMS rounds, or sends that of the frame before
    Redundancy("average", _average, slack=0.0015),
    # V. Often of the frame before: under load, it moves by a third
    Redundancy("difference", _difference, slack=0.004, slope=1 / 3),
    # V. Rounded to 10 mV, and of another moment
    Redundancy("voltage", _voltage, slack=0.025),
    # W. The reported one is taken at another moment: an inverter's ripple is 1 %
    Redundancy("power", _power, slack=0.5, slope=0.03),
    # %. Some firmware rounds, some cuts off
    Redundancy("charge", _charge, slack=1.0),
    # °C. The same sensor, read twice
    Redundancy("mosfet", _mosfet, slack=0.5),
    # Either they agree or they do not
    Redundancy("ranks", _ranks, slack=0.5),
    Redundancy("balancing", _balancing, slack=0.5),
)


# What may change from one frame to the next


def _moved(now: float | None, before: float | None) -> float:
    """Return by how much a value changed; it does not come or go unnoticed."""
    if now is None or before is None:
        return 0.0 if now is before else inf
    return abs(now - before)


def _counter(now: _Sample, before: _Sample, passed: float) -> float:
    """Compare the frames counted with the time that the battery counted meanwhile."""
    if passed > _BRIEF or before.is_of_last_link:
        # It is not known whether frames are counted that are not sent
        return 0.0
    frames = (
        (now.cell_data.frame_counter or 0) - (before.cell_data.frame_counter or 0)
    ) & 0xFF
    boot, was, jitter = now.cell_data.boot_time, before.cell_data.boot_time or 0.0, 0.0
    ticks = boot - was if boot is not None else passed
    if boot is None:
        # Measured here, with the delays of the radio in it
        jitter = 0.25
    excess = max(0.39 * frames - ticks, ticks - 0.58 * frames) - jitter
    return excess if frames else max(excess, 1.0)


def _boot(now: _Sample, before: _Sample, passed: float) -> float:
    """Compare the two clocks of a frame, the life's and that since boot."""
    since, was = (
        None
        if sample.cell_data.boot_time is None
        else (sample.cell_data.up_time or 0) - sample.cell_data.boot_time
        for sample in (now, before)
    )
    return _moved(since, was)


def _up_time(now: _Sample, before: _Sample, passed: float) -> float:
    ran = (now.cell_data.up_time or 0) - (before.cell_data.up_time or 0)
    return abs(ran - passed)


def _clock(now: _Sample, before: _Sample, passed: float) -> float:
    since, was = (
        None
        if sample.cell_data.clock is None
        else sample.cell_data.clock - (sample.cell_data.up_time or 0)
        for sample in (now, before)
    )
    return _moved(since, was)


def _sleep(now: _Sample, before: _Sample, passed: float) -> float:
    """Count down, or start anew at a full hour."""
    left = now.cell_data.sleep_countdown or 0
    was = before.cell_data.sleep_countdown or 0
    return min(abs(was - left), abs(was - left - passed), left % 3600)


def _phase_time(now: _Sample, before: _Sample, passed: float) -> float:
    """Count up, or start anew."""
    time = now.cell_data.charge_phase_time or 0
    counted = time - (before.cell_data.charge_phase_time or 0)
    return min(abs(counted), abs(counted - passed), time)


_COUNTDOWNS: Final = attrgetter(
    "emergency_countdown",
    "discharge_overcurrent_release_time",
    "discharge_short_circuit_release_time",
    "charge_overcurrent_release_time",
    "charge_short_circuit_release_time",
    "cell_undervoltage_release_time",
    "cell_overvoltage_release_time",
)


def _countdowns(now: _Sample, before: _Sample, passed: float) -> float:
    """Count down to 0 and stay there; only what starts or is called off jumps."""
    left, was = _COUNTDOWNS(now.cell_data), _COUNTDOWNS(before.cell_data)
    if left == was:
        return 0.0
    pairs = zip(left, was, strict=True)
    off = [min(abs(t - u), abs(t - max(0.0, u - passed))) for t, u in pairs]
    return max(map(float, off))


def _cells(now: _Sample, before: _Sample, passed: float) -> float:
    """Compare each cell with all others: a load moves them together."""
    if len(now.cells) != len(before.cells):
        return 0.0
    common = now.mean - before.mean
    pairs = zip(now.cells, before.cells, strict=True)
    apart = max([abs(volts - was - common) for volts, was in pairs], default=0.0)
    return apart - abs(common) / 4


def _soc(now: _Sample, before: _Sample, passed: float) -> float:
    return _moved(now.cell_data.remain_percent, before.cell_data.remain_percent)


def _flow(now: _Sample, before: _Sample, passed: float) -> float:
    """Return the Ah that can have flowed meanwhile."""
    currents = now.cell_data.battery_current, before.cell_data.battery_current
    flow = passed * sum(abs(current or 0.0) for current in currents) / 2400
    # Of a longer time the current is not known
    return flow if passed < _BRIEF else flow + 0.1 * passed


def _remaining(now: _Sample, before: _Sample, passed: float) -> float:
    moved = _moved(now.cell_data.remain_capacity, before.cell_data.remain_capacity)
    return moved - _flow(now, before, passed)


def _throughput(now: _Sample, before: _Sample, passed: float) -> float:
    moved = (now.cell_data.cycle_capacity or 0.0) - (
        before.cell_data.cycle_capacity or 0.0
    )
    # It never falls
    return max(moved, -20 * moved) - _flow(now, before, passed)


def _temperature(now: _Sample, before: _Sample, passed: float) -> float:
    pairs = zip_longest(
        (*now.cell_data.battery_temperature, now.cell_data.mosfet_temperature),
        (*before.cell_data.battery_temperature, before.cell_data.mosfet_temperature),
    )
    return max([_moved(reading, was) for reading, was in pairs])


def _balance_current(now: _Sample, before: _Sample, passed: float) -> float:
    if now.cell_data.balancer is not before.cell_data.balancer:
        return 0.0
    moved = _moved(now.cell_data.balance_current, before.cell_data.balance_current)
    is_off = now.cell_data.balancer is BalancerState.OFF
    # It swings while balancing, and fades after that
    return moved if is_off else moved / 20


_DRIVES: Final = attrgetter("balancer_charge_drive", "balancer_discharge_drive")


def _drives(now: _Sample, before: _Sample, passed: float) -> float:
    if now.cell_data.balancer is not before.cell_data.balancer:
        return 0.0
    pairs = zip(_DRIVES(now.cell_data), _DRIVES(before.cell_data), strict=True)
    return max([_moved(drive, was) for drive, was in pairs])


_SENSORS: Final = attrgetter("charge_current_sensor", "discharge_current_sensor")


def _sensors(now: _Sample, before: _Sample, passed: float) -> float:
    """Compare the current sensors' voltages: they follow the current."""
    current, was = now.cell_data.battery_current, before.cell_data.battery_current
    swing = abs((current or 0.0) - (was or 0.0)) / 20
    pairs = zip(_SENSORS(now.cell_data), _SENSORS(before.cell_data), strict=True)
    return max([_moved(volts, u) - swing - (u or 0.0) / 2 for volts, u in pairs])


def _heater(now: _Sample, before: _Sample, passed: float) -> float:
    current, was = now.cell_data.heater_current, before.cell_data.heater_current
    return 0.0 if current is None or was is None else abs(current - was)


class Continuity(NamedTuple):
    """A value that changes by little from one frame to the next."""

    name: str
    change: Callable[[_Sample, _Sample, float], float]
    """Of now, before and the s between: what is not explained by other values."""
    slack: float
    """Change that is allowed at once."""
    slope: float = 0.0
    """More of it, a second."""
    longest: float = inf
    """s after which it does not grow any more."""


CONTINUITY: Final = (
    # s. A frame every 0.39 to 0.58 s of the battery's own clock, in steps of 0.1 s
    Continuity("counter", _counter, slack=0.15),
    # s. Whole seconds beside tenths
    Continuity("boot", _boot, slack=1.2),
    # s. Measured here: delays of the radio, and its clock's error
    Continuity("up_time", _up_time, slack=5.0, slope=0.02),
    # s. Two clocks of the battery
    Continuity("clock", _clock, slack=2.0, slope=0.002),
    # s. As `up_time`, but for a short time only
    Continuity("sleep", _sleep, slack=2.0, slope=0.02),
    Continuity("phase_time", _phase_time, slack=2.0, slope=0.02),
    Continuity("countdowns", _countdowns, slack=2.0, slope=0.02),
    # V. Noise, and cells that drift apart towards full and empty
    Continuity("cells", _cells, slack=0.020, slope=0.002, longest=60.0),
    # %. One step, and 1 % in 5 s: a current of 7 C
    Continuity("soc", _soc, slack=2.0, slope=0.2),
    # Ah. Steps of the BMS's own counting
    Continuity("remaining", _remaining, slack=0.012),
    Continuity("throughput", _throughput, slack=0.012),
    # °C. Noise; a sensor in a flame gains 1 °C in 10 s
    Continuity("temperature", _temperature, slack=0.5, slope=0.1, longest=200.0),
    # A and steps of the converter, in captures of balancing units
    Continuity("balance_current", _balance_current, slack=0.020),
    Continuity("drives", _drives, slack=60.0),
    # V
    Continuity("sensors", _sensors, slack=0.005),
    # A
    Continuity("heater", _heater, slack=0.5),
)


# The engine


def _contradictions(sample: _Sample) -> Doubts:
    """Return what a frame says against itself, where there is none before it."""
    pairs = zip(REDUNDANCY, sample.differences, strict=True)
    found = ((row.name, abs(off) / allowed) for row, (off, allowed) in pairs)
    # In this order, what is not a number is doubted
    return {name: excess for name, excess in found if not excess <= 1}


def _changes(now: _Sample, before: _Sample) -> Doubts:
    """Return by how many times a frame exceeds what each check allows."""
    passed = max(0.0, now.time - before.time)
    doubts: Doubts = {}
    for row, (off, allowed), (was, _) in zip(
        REDUNDANCY, now.differences, before.differences, strict=True
    ):
        # What is off by as much on every frame is this battery's way
        excess = min(abs(off), abs(off - was)) / allowed
        if not excess <= 1:
            doubts[row.name] = excess
    for name, change, slack, slope, longest in CONTINUITY:
        excess = change(now, before, passed) / (slack + slope * min(passed, longest))
        if not excess <= 1:
            doubts[name] = excess
    return doubts | _steady_changes(now, before)


def _steady_changes(now: _Sample, before: _Sample) -> Doubts:
    """Return the places of bytes that have changed and hardly ever do."""
    steady = steady_bytes(before.profile.layout, before.checks.enabled_cells)
    if not (changed := (now.content ^ before.content) & steady):
        return {}
    places = range(changed.bit_length() // 8 + 1)
    return {place: 1.0 for place in places if changed >> 8 * place & 0xFF}


class _Mute:
    """Mutes checks that hold back frame after frame: no damage does that."""

    def __init__(self) -> None:
        self._expiries: dict[tuple[str | int, int], float] = {}
        """When all doubts of a check of about one size will be forgotten."""

    def count(self, doubts: Doubts, time: float) -> None:
        for kind in map(_kind, doubts.items()):
            until = max(time, self._expiries.get(kind, time))
            self._expiries[kind] = until + _DOUBT_LIFETIME

    def remove_muted(self, doubts: Doubts, time: float) -> Doubts:
        limit = time + _MAX_DOUBTS * _DOUBT_LIFETIME
        return {
            name: excess
            for name, excess in doubts.items()
            if not self._expiries.get(_kind((name, excess)), time) > limit
        }


def _kind(doubt: tuple[str | int, float]) -> tuple[str | int, int]:
    """Return a check and the size of its doubt, each sixteen times the one before."""
    name, excess = doubt
    return name, frexp(excess)[1] // 4


@dataclass(frozen=True, slots=True)
class _Held:
    sample: _Sample
    reference: _Sample | None
    doubts: Doubts
    count: int
    """Frames held in a row, this one the last."""


class ConsistencyChecker:
    """Decides of each frame of one battery whether to believe it already.

    It outlives the links: the first frame of one is compared with the last one before.
    """

    def __init__(self, statistics: FrameStatistics | None = None) -> None:
        """Held frames that prove wrong are counted as rejected."""
        self.statistics = statistics or FrameStatistics()
        self._damaged = 0
        """Damaged frames up to the last good one."""
        self._mute = _Mute()
        self._accepted: _Sample | None = None
        self._noted: _Sample | None = None
        """A later frame that was not judged."""
        self._held: _Held | None = None

    def begin_link(self) -> None:
        """Expect frames of a new link."""
        self._damaged = self.statistics.damaged
        self._noted = self._held = None
        if self._accepted:
            self._accepted.is_of_last_link = True

    def line_is_reliable(self) -> bool:
        """Return whether the checksum of the frame that has just arrived may count.

        Ask once for each frame of any type: behind a row of damaged frames the first
        good one is rejected.
        """
        row = self.statistics.damaged - self._damaged
        self._damaged = self.statistics.damaged
        self.statistics.rejected += row > _MAX_DAMAGED_FRAMES
        return row <= _MAX_DAMAGED_FRAMES

    def note(self, frame: Frame, profile: Profile, time: float) -> None:
        """Keep cell data that are not published for later comparison, at next to no cost.

        Whatever was held back until then is forgotten.
        """
        self._noted, self._held = _Sample(frame, profile, time), None

    def accept(
        self, frame: Frame, cell_data: CellData, profile: Profile, time: float
    ) -> bool:
        """Judge cell data that were decoded; `time` is s of a clock that never jumps.

        Where it returns False, wait for the next frame: no more than two in a row are
        held back.
        """
        sample = _Sample(frame, profile, time, cell_data)
        if not self._is_believable(sample):
            return False
        self._accepted, self._noted, self._held = sample, None, None
        return True

    def _is_believable(self, sample: _Sample) -> bool:
        if held := self._held:
            return self._is_settled(sample, held)
        noted = self._noted
        if noted and not (_is_comparable(sample, noted) and noted.is_plausible):
            noted = None
        reference = noted or self._accepted
        if not (doubts := self._doubts(sample, reference)):
            return True
        if noted and (not self._accepted or self._doubts(noted, self._accepted)):
            # The odd one may be the one before
            reference = self._accepted
            if not (doubts := self._doubts(sample, reference)):
                return True
        self._hold(sample, reference, doubts, count=1)
        return False

    def _hold(
        self, sample: _Sample, reference: _Sample | None, doubts: Doubts, count: int
    ) -> None:
        self._mute.count(doubts, sample.time)
        self._held = _Held(sample, reference, doubts, count)

    def _is_settled(self, sample: _Sample, held: _Held) -> bool:
        """Let a frame decide about the one held, if it can."""
        doubts = self._doubts(sample, held.reference)
        if doubts and (
            doubts.keys() <= held.doubts.keys()
            or not self._doubts(sample, held.sample)
            or held.count == _MAX_HELD_FRAMES
        ):
            return True
        self.statistics.rejected += 1
        if doubts:
            self._hold(sample, held.reference, doubts, held.count + 1)
        return not doubts

    def _doubts(self, sample: _Sample, before: _Sample | None) -> Doubts:
        if before and _is_comparable(sample, before):
            doubts = _changes(sample, before)
        else:
            doubts = _contradictions(sample)
        return self._mute.remove_muted(doubts, sample.time) if doubts else doubts


def _is_comparable(sample: _Sample, before: _Sample) -> bool:
    return sample.profile.layout is before.profile.layout
