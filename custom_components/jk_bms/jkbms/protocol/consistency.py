"""Judge frames by those before them, as an 8-bit checksum cannot (docs/protocol.md 13).

One frame in 256 damaged ones has a right checksum. What it says of itself twice, and what
the frame before said, tell it from a good one. A frame that they contradict is held back
until the next one has its say, so a change that is real comes half a second later.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import frexp
from typing import Final

from ..models import DeviceInfo, Layout, Settings
from .confirmation import Confirmation, Record
from .fields import has_gaps
from .frames import Frame, FrameStatistics
from .layouts import CELLS, EVIDENCE, Evidence, steady_bytes

_HELD_AT_MOST: Final = 2
"""Frames in a row; the next one is believed whatever it says."""
_BAD_LINE: Final = 8
"""Damaged frames in a row behind which a good one is more likely one by chance."""
_FORGOTTEN_AFTER: Final = 600.0
"""s until an alarm of a check is forgotten."""
_BORNE: Final = 2
"""Alarms of one check and size, remembered; with one more it falls silent."""
_LEEWAY: Final = 2.0
"""Times what a check is usually used up that are tolerated, up to its tolerance."""
_MOST: Final = 1 / _LEEWAY
_MEMORY: Final = 0.995
"""Part of what is usual that is left of it a frame later."""
_FLOOR: Final = 0.125
_BRIEF: Final = 5.0
"""s between two frames within which little changes."""

type Doubts = dict[str | int, float]
"""Which check is exceeded how many times; a number is the place of a steady byte."""


class _View:
    """One frame of cell data and what the checks need of it, computed on demand."""

    def __init__(self, frame: Frame, layout: Layout, time: float) -> None:
        self.time = time
        self.layout = layout
        self.is_of_last_link = False
        self._frame = frame

    @cached_property
    def content(self) -> int:
        """The whole frame as one number, the first byte lowest."""
        return int.from_bytes(self._frame.data, "little")

    @cached_property
    def raw(self) -> Evidence:
        return EVIDENCE[self.layout].read(self._frame.data)

    @cached_property
    def cells(self) -> Sequence[float]:
        """The enabled cells in mV."""
        slots = CELLS[self.layout].voltage.raw(self._frame.data)
        enabled, unit = self.raw.enabled, EVIDENCE[self.layout].unit
        if unit == 1 and not has_gaps(enabled):
            return slots[: enabled.bit_length()]
        return [volts * unit for i, volts in enumerate(slots) if enabled >> i & 1]

    @cached_property
    def total(self) -> float:
        return sum(self.cells)

    @cached_property
    def mean(self) -> float:
        return self.total / (len(self.cells) or 1)

    @property
    def temperatures(self) -> tuple[int, ...]:
        return *self.raw.sensors, self.raw.mosfet

    @cached_property
    def power(self) -> float:
        """Voltage times current in mW, without a sign."""
        return abs(self.raw.pack * self.raw.current) / 1000

    @cached_property
    def witnesses(self) -> tuple[float, ...]:
        return tuple([witness(self) for _, witness in _WITNESSES])


# What a frame says twice. Each returns by how many times its tolerance the two differ.


def _sum(view: _View) -> float:
    return (view.total - view.raw.pack) / 15 if view.raw.pack else 0.0


def _average(view: _View) -> float:
    return (view.mean - view.raw.average * EVIDENCE[view.layout].unit) / 1.5


def _spread(view: _View) -> float:
    cells = view.cells or [0]
    told = view.raw.spread * EVIDENCE[view.layout].unit
    return (max(cells) - min(cells) - told) / (4 + abs(told) / 3)


def _pack_again(view: _View) -> float:
    raw = view.raw
    return (10 * raw.pack_again - raw.pack) / 15 if raw.pack_again else 0.0


def _power(view: _View) -> float:
    return (view.raw.power - view.power) / (30 + view.power / 5000)


def _charge(view: _View) -> float:
    raw = view.raw
    if not raw.full:
        return 0.0
    off = raw.soc - 100 * raw.remaining / raw.full
    # Some round, some cut off
    return off if abs(off) > 1 else 0.0


def _mosfet(view: _View) -> float:
    raw = view.raw
    return (raw.mosfet_again - raw.mosfet) / 5 if raw.mosfet_again else 0.0


def _ranks(view: _View) -> float:
    raw = view.raw
    sensors = raw.sensors
    fitted = [reading for reading in sensors if reading != _NOT_CONNECTED]
    if not (raw.warmest or raw.coldest) or not fitted:
        return 0.0
    if max(raw.warmest, raw.coldest) >= len(sensors):
        return 2.0
    warmest, coldest = sensors[raw.warmest], sensors[raw.coldest]
    return 2.0 * (warmest != max(fitted) or coldest != min(fitted))


def _balancing(view: _View) -> float:
    """Tell whether the balancer's state, current and drives belong together."""
    raw = view.raw
    drives = bool(raw.charge_drive), bool(raw.discharge_drive)
    if view.layout is Layout.JK04:
        # When the balancer stops, its current fades
        drives = (
            raw.balancer == 1 and raw.balance_current > 0,
            raw.balancer == 2 and raw.balance_current < 0,
        )
    match raw.balancer:
        case 0:
            fits = drives == (False, False)
        case 1:
            fits = drives == (True, False) and raw.balance_current >= 0
        case 2:
            fits = drives == (False, True) and raw.balance_current <= 0
        case _:
            fits = False
    return 2.0 * (not fits)


_NOT_CONNECTED: Final = -2000

_WITNESSES: Final[tuple[tuple[str, Callable[[_View], float]], ...]] = (
    ("sum", _sum),
    ("average", _average),
    ("spread", _spread),
    ("pack", _pack_again),
    ("charge", _charge),
    ("mosfet", _mosfet),
    ("ranks", _ranks),
    ("balancing", _balancing),
)
# On its own, it says little: it is taken at another moment when the current changes
_ALONE: Final = (*_WITNESSES, ("power", _power))


# What changes from one frame to the next. Each returns by how many times its tolerance
# something did, given the s between the two.


def _counter(now: _View, before: _View, passed: float) -> float:
    """Compare the frames counted with the time that the battery counted meanwhile."""
    if passed > _BRIEF or before.is_of_last_link:
        # Nobody knows whether frames are counted that are not sent
        return 0.0
    frames = (now.raw.counter - before.raw.counter) & 0xFF
    ticks, tolerance = now.raw.ticks - before.raw.ticks, 1.5
    if not now.raw.ticks:
        ticks, tolerance = round(10 * passed), 4.0
    excess = max(3.9 * frames - ticks, ticks - 5.8 * frames) / tolerance
    return excess if frames else max(excess, 2.0)


def _boot(now: _View, before: _View, passed: float) -> float:
    """Compare the two clocks of a frame, the life's and that since boot."""
    if not now.raw.ticks and not before.raw.ticks:
        return 0.0
    since, was = (10 * view.raw.run_time - view.raw.ticks for view in (now, before))
    return abs(since - was) / 12


def _run_time(now: _View, before: _View, passed: float) -> float:
    run = now.raw.run_time - before.raw.run_time
    return abs(run - passed) / (5 + passed / 50)


def _clock(now: _View, before: _View, passed: float) -> float:
    if not now.raw.clock and not before.raw.clock:
        return 0.0
    since, was = (view.raw.clock - view.raw.run_time for view in (now, before))
    return abs(since - was) / (2 + passed / 500)


def _sleep(now: _View, before: _View, passed: float) -> float:
    return _countdown(before.raw.sleep - now.raw.sleep, now.raw.sleep % 3600, passed)


def _phase_time(now: _View, before: _View, passed: float) -> float:
    time = now.raw.phase_time
    return _countdown(time - before.raw.phase_time, time, passed)


def _countdown(moved: float, beyond_start: float, passed: float) -> float:
    """Judge what moves with time or starts anew."""
    wrong = min(abs(moved), abs(moved - passed), beyond_start)
    return wrong / (2 + passed / 50)


def _cells(now: _View, before: _View, passed: float) -> float:
    """Compare each cell with all others: a load moves them together."""
    if len(now.cells) != len(before.cells):
        return 0.0
    common = now.mean - before.mean
    pairs = zip(now.cells, before.cells, strict=True)
    apart = max([abs(volts - was - common) for volts, was in pairs], default=0.0)
    return apart / (20 + abs(common) / 4 + 2 * min(passed, 60))


def _current(now: _View, before: _View, passed: float) -> float:
    """Ask the power whether the current has changed."""
    if -1 <= _power(now) <= 1:
        return 0.0
    return abs(now.power - before.power) / (500 + before.power / 500)


def _soc(now: _View, before: _View, passed: float) -> float:
    return max(0, abs(now.raw.soc - before.raw.soc) - 1) / (1 + passed / 5)


def _flow(now: _View, before: _View, passed: float) -> float:
    """Return the mAh that can have flowed meanwhile, and some more."""
    current = abs(now.raw.current) + abs(before.raw.current)
    flow = 12 + passed * current / 2400
    # Of a longer time nobody knows the current
    return flow if passed < _BRIEF else flow + 100 * passed


def _remaining(now: _View, before: _View, passed: float) -> float:
    moved = abs(now.raw.remaining - before.raw.remaining)
    return moved / _flow(now, before, passed)


def _moved(now: _View, before: _View, passed: float) -> float:
    moved = now.raw.moved - before.raw.moved
    return max(moved, -20 * moved) / _flow(now, before, passed)


def _temperature(now: _View, before: _View, passed: float) -> float:
    pairs = zip(now.temperatures, before.temperatures, strict=True)
    return max([abs(t - u) for t, u in pairs]) / (5 + min(passed, 200))


def _balance_current(now: _View, before: _View, passed: float) -> float:
    raw, was = now.raw, before.raw
    if raw.balancer != was.balancer:
        return 0.0
    unit = EVIDENCE[now.layout].unit
    current = abs(raw.balance_current - was.balance_current) * unit
    drives = max(
        abs(raw.charge_drive - was.charge_drive),
        abs(raw.discharge_drive - was.discharge_drive),
    )
    return max(current / (400 if raw.balancer else 20), drives / 60)


def _sensors(now: _View, before: _View, passed: float) -> float:
    raw, was = now.raw, before.raw
    swing = 5 + abs(raw.current - was.current) / 20
    return max(
        abs(raw.charge_sensor - was.charge_sensor) / (swing + was.charge_sensor / 2),
        abs(raw.discharge_sensor - was.discharge_sensor)
        / (swing + was.discharge_sensor / 2),
    )


def _heater(now: _View, before: _View, passed: float) -> float:
    if not now.raw.heating or not before.raw.heating:
        return 0.0
    return abs(now.raw.heater_current - before.raw.heater_current) / 500


_STEPS: Final[tuple[tuple[str, Callable[[_View, _View, float], float]], ...]] = (
    ("counter", _counter),
    ("boot", _boot),
    ("run time", _run_time),
    ("clock", _clock),
    ("sleep", _sleep),
    ("phase time", _phase_time),
    ("cells", _cells),
    ("power", _current),
    ("soc", _soc),
    ("remaining", _remaining),
    ("moved", _moved),
    ("temperature", _temperature),
    ("balance current", _balance_current),
    ("sensors", _sensors),
    ("heater", _heater),
)


_CHECKS: Final = tuple(name for name, _ in (*_WITNESSES, *_STEPS))
_NO_DIFFERENCES: Final = [0.0] * len(_CHECKS)


def _alone(view: _View) -> Doubts:
    """Return what a frame says against itself, where there is none before it."""
    found = ((name, abs(witness(view))) for name, witness in _ALONE)
    return {name: off for name, off in found if not off <= 1}


def _differences(now: _View, before: _View) -> list[float]:
    """Return by how many times its tolerance each check is used up."""
    passed = max(0.0, now.time - before.time)
    pairs = zip(now.witnesses, before.witnesses, strict=True)
    # What is off by as much on every frame is this battery's way
    differences = [min(abs(off), abs(off - was)) for off, was in pairs]
    return differences + [step(now, before, passed) for _, step in _STEPS]


def _changed(now: _View, before: _View) -> Doubts:
    """Return the places of bytes that have changed and hardly ever do."""
    steady = steady_bytes(before.layout, before.raw.enabled)
    if not (changed := (now.content ^ before.content) & steady):
        return {}
    places = range(changed.bit_length() // 8 + 1)
    return {place: 1.0 for place in places if changed >> 8 * place & 0xFF}


class _Habits:
    """How much each check is used up by good frames of this battery: mostly little."""

    def __init__(self) -> None:
        self._usual = [_MOST] * len(_CHECKS)

    def doubts(self, differences: list[float]) -> Doubts:
        return {
            name: difference
            for name, difference, usual in zip(
                _CHECKS, differences, self._usual, strict=True
            )
            if not difference <= _LEEWAY * usual
        }

    def learn(self, differences: list[float]) -> None:
        # In this order, what is not a number teaches nothing
        self._usual = [
            min(max(_FLOOR, _MEMORY * usual, difference), _MOST)
            for difference, usual in zip(differences, self._usual, strict=True)
        ]


class _Patience:
    """Silences checks that hold back frame after frame: no damage does that."""

    def __init__(self) -> None:
        self._alarms: dict[tuple[str | int, int], float] = {}
        """When all alarms of a check of about one size will be forgotten."""

    def count(self, doubts: Doubts, time: float) -> None:
        for alarm in map(_alarm, doubts.items()):
            until = max(time, self._alarms.get(alarm, time))
            self._alarms[alarm] = until + _FORGOTTEN_AFTER

    def remove_usual(self, doubts: Doubts, time: float) -> Doubts:
        borne = time + _BORNE * _FORGOTTEN_AFTER
        return {
            name: excess
            for name, excess in doubts.items()
            if not self._alarms.get(_alarm((name, excess)), time) > borne
        }


def _alarm(doubt: tuple[str | int, float]) -> tuple[str | int, int]:
    """Return a check and the size of what it found, each sixteen times the one before."""
    name, excess = doubt
    return name, frexp(excess)[1] // 4


@dataclass(frozen=True, slots=True)
class _Held:
    view: _View
    reference: _View | None
    doubts: Doubts
    count: int
    """Frames held in a row, this one the last."""


class Guard:
    """Says of each frame of one battery whether to believe it already.

    It outlives the links: the first frame of one is compared with the last one before.
    """

    def __init__(self, statistics: FrameStatistics | None = None) -> None:
        """Held frames that prove wrong are counted as rejected."""
        self.statistics = statistics or FrameStatistics()
        self._damaged = 0
        """Damaged frames up to the last good one."""
        self._patience = _Patience()
        self._habits = _Habits()
        self._differences = _NO_DIFFERENCES
        """Of the last comparison."""
        self._believed: _View | None = None
        self._seen: _View | None = None
        """A later frame that was not judged."""
        self._held: _Held | None = None
        self._records: dict[type[Record], Confirmation] = {
            DeviceInfo: Confirmation(),
            Settings: Confirmation(),
        }

    def admits_record(self, read: Record, time: float) -> bool:
        """Judge decoded settings or device information; `time` as in `admits`.

        Where it returns False, ask for them again: no more than four are held
        back on one link.
        """
        return self._records[type(read)].accept(read, time)

    def begin(self) -> None:
        """Expect frames of a new link."""
        self._damaged = self.statistics.damaged
        self._seen = self._held = None
        for confirmation in self._records.values():
            confirmation.begin_link()
        if self._believed:
            self._believed.is_of_last_link = True

    def trusts_line(self) -> bool:
        """Say of a frame of any type that has just come whether its checksum may count.

        Ask once for each: behind a row of damaged frames the first good one is rejected.
        """
        row = self.statistics.damaged - self._damaged
        self._damaged = self.statistics.damaged
        self.statistics.rejected += row >= _BAD_LINE
        return row < _BAD_LINE

    def see(self, frame: Frame, layout: Layout, time: float) -> None:
        """Take note of cell data that nobody needs, at next to no cost.

        Whatever was held back until then is forgotten.
        """
        self._seen, self._held = _View(frame, layout, time), None

    def admits(self, frame: Frame, layout: Layout, time: float) -> bool:
        """Judge decoded cell data; `time` is s of a clock that never jumps.

        Where it returns False, wait for the next frame: no more than two in a row are
        held back.
        """
        view = _View(frame, layout, time)
        if not self._is_believable(view):
            return False
        self._habits.learn(self._differences)
        self._believed, self._seen, self._held = view, None, None
        return True

    def _is_believable(self, view: _View) -> bool:
        if held := self._held:
            return self._is_settled(view, held)
        reference = self._reference(view)
        doubts = self._doubts(view, reference)
        if not doubts:
            return True
        if self._seen and (
            not self._believed or self._doubts(self._seen, self._believed)
        ):
            # The odd one may be the one before
            reference = self._believed
            if not (doubts := self._doubts(view, reference)):
                return True
        self._hold(view, reference, doubts, count=1)
        return False

    def _hold(
        self, view: _View, reference: _View | None, doubts: Doubts, count: int
    ) -> None:
        self._patience.count(doubts, view.time)
        self._held = _Held(view, reference, doubts, count)

    def _is_settled(self, view: _View, held: _Held) -> bool:
        """Let a frame decide about the one held, if it can."""
        doubts = self._doubts(view, held.reference)
        if doubts and (
            doubts.keys() <= held.doubts.keys()
            or not self._doubts(view, held.view)
            or held.count == _HELD_AT_MOST
        ):
            return True
        self.statistics.rejected += 1
        if doubts:
            self._hold(view, held.reference, doubts, held.count + 1)
        return not doubts

    def _reference(self, view: _View) -> _View | None:
        before = self._seen or self._believed
        return before if before and before.layout is view.layout else None

    def _doubts(self, view: _View, before: _View | None) -> Doubts:
        if not before:
            doubts = _alone(view)
        else:
            self._differences = _differences(view, before)
            doubts = self._habits.doubts(self._differences) | _changed(view, before)
        return self._patience.remove_usual(doubts, view.time) if doubts else doubts
