"""Redundancy within a frame, and continuity between two frames: two tables.

Each row gives a tolerance and where it comes from (docs/protocol.md 13);
`consistency.py` applies them to frames.
"""

from collections.abc import Callable
from functools import cached_property
from itertools import zip_longest
from math import inf
from operator import attrgetter
from typing import Final, NamedTuple

from ..errors import ImplausibleFrameError
from ..models import BalancerState, CellData, Layout
from .decode import decode_cell_data
from .frames import Frame
from .profile import Profile

_BRIEF: Final = 5.0
"""Seconds between two frames within which current and counter bound other changes."""


class CheckValues(NamedTuple):
    """Values of cell data that only the checks use; `None` where not reported."""

    enabled_cells: int
    reported_average: float | None
    """Volts, like the two below; of this frame or the previous one."""
    reported_difference: float | None
    reported_power: float | None
    """Watts, without a sign."""
    voltage_again: float | None
    mosfet_temperature_again: float | None


class Sample:
    """One frame of cell data and the values that the checks need, computed on demand."""

    def __init__(
        self,
        frame: Frame,
        profile: Profile,
        time: float,
        cell_data: CellData | None = None,
    ) -> None:
        """Wrap a frame; it is decoded on demand unless `cell_data` is given. `time` in seconds."""
        self.time = time
        self.profile = profile
        self.is_of_last_link = False
        self._frame = frame
        self._cell_data = cell_data

    @cached_property
    def is_plausible(self) -> bool:
        """Whether it can be decoded; a frame that was only noted may contain anything."""
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
        """The decoded values; check `is_plausible` first if the frame was only noted."""
        assert self._cell_data or self.is_plausible
        assert self._cell_data
        return self._cell_data

    @cached_property
    def checks(self) -> CheckValues:
        """The values that only the checks use."""
        table = self.profile.select(CheckValues._fields)
        return CheckValues._make(table.values(self._frame.data))

    @cached_property
    def cells(self) -> list[float]:
        """Voltages of the enabled cells."""
        return [volts for volts in self.cell_data.cell_voltage if volts is not None]

    @cached_property
    def mean(self) -> float:
        """Mean voltage of the enabled cells."""
        return sum(self.cells) / (len(self.cells) or 1)

    @cached_property
    def differences(self) -> tuple[tuple[float, float], ...]:
        """The actual and the allowed difference of each redundancy."""
        return tuple(
            [
                (reported - computed, slack + slope * abs(reported))
                for reported, computed, slack, slope in [
                    (*compare(self), slack, slope)
                    for _, compare, slack, slope, _ in REDUNDANCY
                ]
            ]
        )


# Values that a frame contains twice


type Compared = tuple[float, float]
"""The value that the frame reports, and the same computed from its other values."""

_NOTHING_TO_COMPARE: Final = 0.0, 0.0
_CONTRADICTION: Final = 1.0, 0.0


def _sum(sample: Sample) -> Compared:
    pack = sample.cell_data.battery_voltage
    return (pack, sum(sample.cells)) if pack else _NOTHING_TO_COMPARE


def _average(sample: Sample) -> Compared:
    return sample.checks.reported_average or 0.0, sample.mean


def _difference(sample: Sample) -> Compared:
    cells = sample.cells or [0.0]
    return sample.checks.reported_difference or 0.0, max(cells) - min(cells)


def _voltage(sample: Sample) -> Compared:
    again, pack = sample.checks.voltage_again, sample.cell_data.battery_voltage
    return (again, pack or 0.0) if again else _NOTHING_TO_COMPARE


def _power(sample: Sample) -> Compared:
    reported, power = sample.checks.reported_power, sample.cell_data.battery_power
    if reported is None or power is None:
        return _NOTHING_TO_COMPARE
    return reported, abs(power)


def _charge(sample: Sample) -> Compared:
    cell_data = sample.cell_data
    percent, left = cell_data.remain_percent, cell_data.remain_capacity
    if percent is None or left is None or not cell_data.nominal_capacity:
        return _NOTHING_TO_COMPARE
    return percent, 100 * left / cell_data.nominal_capacity


def _mosfet(sample: Sample) -> Compared:
    again = sample.checks.mosfet_temperature_again
    measured = sample.cell_data.mosfet_temperature
    if again is None or measured is None:
        return _NOTHING_TO_COMPARE
    return again, measured


def _ranks(sample: Sample) -> Compared:
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


def _balancing(sample: Sample) -> Compared:
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


def _common_move(now: Sample, before: Sample) -> float:
    """Return how far a load has moved the cells; a median ignores one wrong cell."""
    pairs = zip(now.cells, before.cells, strict=False)
    moves = sorted([volts - was for volts, was in pairs])
    return moves[len(moves) // 2] if moves else 0.0


class Redundancy(NamedTuple):
    """Two values of one frame that have to agree."""

    name: str
    compare: Callable[[Sample], Compared]
    slack: float
    """Allowed difference."""
    slope: float = 0.0
    """Additional allowed difference for each unit of the reported value."""
    move: Callable[[Sample, Sample], float] | None = None
    """How far the computed value moved in this frame; the reported one may lag."""

    def excess(
        self, now: Sample, before: Sample, off: float, was: float, allowed: float
    ) -> float:
        """Return the ratio of the difference to the allowed one.

        `off` is the difference now, `was` the previous one: a constant deviation is a
        property of this battery.
        """
        excess = min(abs(off), abs(off - was)) / allowed
        if excess <= 1 or not self.move:
            return excess
        behind = sorted((0.0, -self.move(now, before)))
        return abs(off - max(behind[0], min(off, behind[1]))) / allowed


REDUNDANCY: Final = (
    # V. Cells and pack are measured some ms apart. Of 59 captured frames, 58 differ by
    # at most 12 mV; one at -8.6 A differs by 19 mV and would wait for the next frame
    Redundancy("sum", _sum, slack=0.015),
    # V. The BMS rounds, or sends the previous frame's: under load, 3 mV less; when a load
    # is switched, as much as the cells move
    Redundancy("average", _average, slack=0.004, move=_common_move),
    # V. Often the previous frame's: under load, it moves by a third
    Redundancy("difference", _difference, slack=0.004, slope=1 / 3),
    # V. Rounded to 10 mV, and measured at another moment: up to 9 mV in captures
    Redundancy("voltage", _voltage, slack=0.025),
    # W. The reported one is taken at another moment: an inverter's ripple is 1 %
    Redundancy("power", _power, slack=0.5, slope=0.03),
    # %. Some firmware rounds, some cuts off: up to 0.9 in captures that report any charge
    Redundancy("charge", _charge, slack=1.0),
    # °C. The same sensor, read twice: equal in 27 captured frames
    Redundancy("mosfet", _mosfet, slack=0.5),
    # Either they agree or they do not
    Redundancy("ranks", _ranks, slack=0.5),
    Redundancy("balancing", _balancing, slack=0.5),
)


# Allowed changes from one frame to the next


def _moved(now: float | None, before: float | None) -> float:
    """Return how much a value changed; one that appears or disappears counts as a change."""
    if now is None or before is None:
        return 0.0 if now is before else inf
    return abs(now - before)


def _counter(now: Sample, before: Sample, passed: float) -> float:
    """Compare the frames counted with the time that the battery counted meanwhile."""
    if passed > _BRIEF or before.is_of_last_link:
        # It is unknown whether the battery counts frames that it does not send
        return 0.0
    frames = (
        (now.cell_data.frame_counter or 0) - (before.cell_data.frame_counter or 0)
    ) & 0xFF
    boot, was, jitter = now.cell_data.boot_time, before.cell_data.boot_time or 0.0, 0.0
    ticks = boot - was if boot is not None else passed
    if boot is None:
        # Measured here, including delays of the radio
        jitter = 0.25
    excess = max(0.39 * frames - ticks, ticks - 0.58 * frames) - jitter
    return excess if frames else max(excess, 1.0)


def _boot(now: Sample, before: Sample, passed: float) -> float:
    """Compare the two clocks of a frame: run time over life and since boot."""
    since, was = (
        None
        if sample.cell_data.boot_time is None
        else (sample.cell_data.up_time or 0) - sample.cell_data.boot_time
        for sample in (now, before)
    )
    return _moved(since, was)


def _up_time(now: Sample, before: Sample, passed: float) -> float:
    ran = (now.cell_data.up_time or 0) - (before.cell_data.up_time or 0)
    return abs(ran - passed)


def _clock(now: Sample, before: Sample, passed: float) -> float:
    since, was = (
        None
        if sample.cell_data.clock is None
        else sample.cell_data.clock - (sample.cell_data.up_time or 0)
        for sample in (now, before)
    )
    return _moved(since, was)


def _sleep(now: Sample, before: Sample, passed: float) -> float:
    """Count down, or restart at a full hour."""
    left = now.cell_data.sleep_countdown or 0
    was = before.cell_data.sleep_countdown or 0
    return min(abs(was - left), abs(was - left - passed), left % 3600)


def _phase_time(now: Sample, before: Sample, passed: float) -> float:
    """Count up, or restart."""
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


def _countdowns(now: Sample, before: Sample, passed: float) -> float:
    """Count down to 0 and stay there; only starting or cancelling makes a jump."""
    left, was = _COUNTDOWNS(now.cell_data), _COUNTDOWNS(before.cell_data)
    if left == was:
        return 0.0
    pairs = zip(left, was, strict=True)
    off = [min(abs(t - u), abs(t - max(0.0, u - passed))) for t, u in pairs]
    return max(map(float, off))


def _cells(now: Sample, before: Sample, passed: float) -> float:
    """Compare each cell with all others: a load moves them together."""
    if len(now.cells) != len(before.cells):
        return 0.0
    common = now.mean - before.mean
    pairs = zip(now.cells, before.cells, strict=True)
    apart = max([abs(volts - was - common) for volts, was in pairs], default=0.0)
    return apart - abs(common) / 4


def _soc(now: Sample, before: Sample, passed: float) -> float:
    return _moved(now.cell_data.remain_percent, before.cell_data.remain_percent)


def _flow(now: Sample, before: Sample, passed: float) -> float:
    """Return the charge in Ah that can have flowed meanwhile."""
    currents = now.cell_data.battery_current, before.cell_data.battery_current
    flow = passed * sum(abs(current or 0.0) for current in currents) / 2400
    # Over a longer time the current is unknown
    return flow if passed < _BRIEF else flow + 0.1 * passed


def _remaining(now: Sample, before: Sample, passed: float) -> float:
    moved = _moved(now.cell_data.remain_capacity, before.cell_data.remain_capacity)
    return moved - _flow(now, before, passed)


def _throughput(now: Sample, before: Sample, passed: float) -> float:
    moved = (now.cell_data.cycle_capacity or 0.0) - (
        before.cell_data.cycle_capacity or 0.0
    )
    # It never falls
    return max(moved, -20 * moved) - _flow(now, before, passed)


def _temperature(now: Sample, before: Sample, passed: float) -> float:
    pairs = zip_longest(
        (*now.cell_data.battery_temperature, now.cell_data.mosfet_temperature),
        (*before.cell_data.battery_temperature, before.cell_data.mosfet_temperature),
    )
    return max([_moved(reading, was) for reading, was in pairs])


def _balance_current(now: Sample, before: Sample, passed: float) -> float:
    if now.cell_data.balancer is not before.cell_data.balancer:
        return 0.0
    moved = _moved(now.cell_data.balance_current, before.cell_data.balance_current)
    is_off = now.cell_data.balancer is BalancerState.OFF
    # It swings while balancing, and fades after that
    return moved if is_off else moved / 20


_DRIVES: Final = attrgetter("balancer_charge_drive", "balancer_discharge_drive")


def _drives(now: Sample, before: Sample, passed: float) -> float:
    if now.cell_data.balancer is not before.cell_data.balancer:
        return 0.0
    pairs = zip(_DRIVES(now.cell_data), _DRIVES(before.cell_data), strict=True)
    return max([_moved(drive, was) for drive, was in pairs])


_SENSORS: Final = attrgetter("charge_current_sensor", "discharge_current_sensor")


def _sensors(now: Sample, before: Sample, passed: float) -> float:
    """Compare the current sensors' voltages: they follow the current."""
    current, was = now.cell_data.battery_current, before.cell_data.battery_current
    swing = abs((current or 0.0) - (was or 0.0)) / 20
    pairs = zip(_SENSORS(now.cell_data), _SENSORS(before.cell_data), strict=True)
    return max([_moved(volts, u) - swing - (u or 0.0) / 2 for volts, u in pairs])


def _heater(now: Sample, before: Sample, passed: float) -> float:
    current, was = now.cell_data.heater_current, before.cell_data.heater_current
    return 0.0 if current is None or was is None else abs(current - was)


class Continuity(NamedTuple):
    """A value that changes by little from one frame to the next."""

    name: str
    change: Callable[[Sample, Sample, float], float]
    """Change not explained by other values, from both samples and the seconds between."""
    slack: float
    """Allowed sudden change."""
    slope: float = 0.0
    """Additional allowed change per second."""
    longest: float = inf
    """Seconds after which it no longer grows."""


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
    # %. Chosen, not measured: two steps at once, and 1 % in 5 s, a current of 7 C
    Continuity("soc", _soc, slack=2.0, slope=0.2),
    # Ah. Steps of the BMS's own counting
    Continuity("remaining", _remaining, slack=0.012),
    Continuity("throughput", _throughput, slack=0.012),
    # °C. Chosen, not measured: a few steps of noise, and 1 °C in 10 s, more than any load
    # heats a battery
    Continuity("temperature", _temperature, slack=0.5, slope=0.1, longest=200.0),
    # A, and steps of the converter's drive. Chosen, not measured: the captures hold no run
    # of frames of a balancing unit
    Continuity("balance_current", _balance_current, slack=0.020),
    Continuity("drives", _drives, slack=60.0),
    # V
    Continuity("sensors", _sensors, slack=0.005),
    # A
    Continuity("heater", _heater, slack=0.5),
)
