"""Current and power of every frame of a held link, for the counters (docs/protocol.md 13).

Only the live values are decoded. They are checked against the frame's own power and the
previous frame; a doubtful frame waits until the next one confirms or refutes it.
"""

from dataclasses import dataclass
from typing import Final

from ..models import LiveData, LiveSample, Reading

_SLACK_POWER: Final = 0.5
"""Watts by which V x I may differ from the reported power: the noise of a battery at rest."""
_SLACK_CURRENT: Final = 0.1
"""Amperes by which a current may change suddenly."""
_SLOPE: Final = 0.02
"""Relative tolerance of both; tighter than in the checks of a reading.

A forged frame within these bounds is off by no more than an inverter's ripple.
"""


@dataclass(slots=True)
class _Frame:
    time: float
    voltage: float
    current: float
    reported: float | None
    """Watts, without a sign; on some models that of the previous frame."""

    @property
    def sample(self) -> LiveSample:
        """The sample to count."""
        return LiveSample(self.time, self.current, self.voltage * self.current)

    @property
    def is_consistent(self) -> bool:
        """Whether voltage, current and power of the frame agree."""
        return self.fits_power(self.reported)

    def fits_power(self, reported: float | None) -> bool:
        """Return whether V x I is the power that this or the next frame reports."""
        if reported is None:
            return False
        off = abs(reported - abs(self.voltage * self.current))
        return off <= _SLACK_POWER + _SLOPE * reported

    def is_like(self, other: _Frame) -> bool:
        """Return whether the two differ only by noise."""
        return (
            abs(self.current - other.current)
            <= _SLACK_CURRENT + _SLOPE * abs(other.current)
            and abs(self.voltage - other.voltage) <= _SLOPE * other.voltage
        )

    def has_direction_of(self, other: _Frame) -> bool:
        """Return whether the current has the same sign, which the power lacks."""
        return self.current * other.current >= 0

    def is_mirror_of(self, other: _Frame) -> bool:
        """Return whether only the sign of the current differs, apart from noise."""
        return abs(self.current + other.current) <= _SLOPE * abs(other.current)

    def is_confirmed(self, before: _Frame, after: _Frame) -> bool:
        """Return whether the power and the frames around it confirm a doubtful frame."""
        if self.is_like(after):
            return True
        if not (self.is_consistent or self.fits_power(after.reported)):
            return False
        return (
            self.has_direction_of(before)
            or self.has_direction_of(after)
            or not (self.is_mirror_of(before) or self.is_mirror_of(after))
        )


class LiveChecker:
    """Decides which frames of one link to count."""

    def __init__(self, reading: Reading) -> None:
        """Start with the first reading of the link, which was checked as a whole."""
        cell_data = reading.cell_data
        self._counted = _Frame(
            reading.time,
            cell_data.battery_voltage or 0.0,
            cell_data.battery_current or 0.0,
            None,
        )
        self._doubtful: _Frame | None = None

    def accept(self, live: LiveData, time: float) -> tuple[LiveSample, ...]:
        """Return the samples to count now: none, this one, or also the previous one.

        `time` is in seconds of a monotonic clock. A frame without voltage and current is
        skipped like a lost one: some units send one in between.
        """
        voltage, current = live.battery_voltage, live.battery_current
        if voltage is None or current is None:
            return ()
        frame = _Frame(time, voltage, current, live.reported_power)
        doubtful = self._doubtful
        released: tuple[LiveSample, ...] = ()
        if doubtful and doubtful.is_confirmed(self._counted, frame):
            self._counted = doubtful
            released = (doubtful.sample,)
        before = self._counted
        if frame.is_like(before) or (
            frame.is_consistent and frame.has_direction_of(before)
        ):
            self._counted, self._doubtful = frame, None
            return (*released, frame.sample)
        self._doubtful = frame
        return released
