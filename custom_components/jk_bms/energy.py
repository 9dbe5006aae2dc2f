"""Integrates samples: energy, averages, smoothed current.

Times are in seconds of a monotonic clock, the same clock for all calls of one object.
"""

from collections.abc import Callable
from math import exp, inf, isfinite
from typing import Final, Literal

from .jkbms.models import LiveSample

# The time constant of the smoothed current, in seconds: a new current has reached 63 %
# of its weight after it. Five minutes level out a kettle or a passing cloud.
SMOOTHING_TIME: Final = 300.0

_WATT_SECONDS_PER_KWH: Final = 3_600_000.0


class LiveSamples:
    """Passes each sample to everything that integrates it."""

    def __init__(self) -> None:
        """Start without listeners."""
        self._listeners: list[Callable[[LiveSample], None]] = []

    def add_listener(
        self, listener: Callable[[LiveSample], None]
    ) -> Callable[[], None]:
        """Call the listener with each sample; the result removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def feed(self, sample: LiveSample) -> None:
        """Pass on a sample."""
        for listener in self._listeners:
            listener(sample)


class EnergyMeter:
    """Counts the energy of one direction; the total never decreases."""

    def __init__(self, sign: Literal[1, -1], total: float = 0.0) -> None:
        """Count power of this `sign` on top of `total` kWh."""
        self.total = total
        self._sign = sign
        self._time = -inf
        self._power: float | None = None

    def feed(self, time: float, power: float | None, *, max_gap: float) -> None:
        """Count the energy since the last sample; `power` in W, `None` if missing.

        Nothing is counted over a gap of more than `max_gap` s, or if the power at one
        end is missing. A sample that is not finite or not newer is ignored.
        """
        if not self._time < time < inf or not isfinite(power or 0):
            return
        gap = time - self._time
        if self._power is not None and power is not None and gap <= max_gap:
            # If the sign changes, the line is not split at 0: loads change in steps, and
            # splitting would lose 0.6 % of the energy of a house.
            begin, end = self._sign * self._power, self._sign * power
            if begin > 0 or end > 0:
                watts = (max(begin, 0.0) + max(end, 0.0)) / 2
                self.total += watts / _WATT_SECONDS_PER_KWH * gap
        self._time = time
        self._power = power


class SmoothedCurrent:
    """Smooths a current over time, independent of how often it is read."""

    def __init__(self) -> None:
        """Start without a current."""
        self.value: float | None = None
        self._time = -inf

    def feed(self, time: float, current: float | None, *, max_gap: float) -> None:
        """Add a reading of `current` A; restart after a gap or a missing reading."""
        if not self._time < time < inf or not isfinite(current or 0):
            return
        gap = time - self._time
        if self.value is None or current is None or gap > max_gap:
            self.value = current
        else:
            self.value += (current - self.value) * (1 - exp(-gap / SMOOTHING_TIME))
        self._time = time


class IntervalAverage:
    """Averages a value over the time between two readings."""

    def __init__(self) -> None:
        """Start without a value."""
        self._time = -inf
        self._value: float | None = None
        self._sum = 0.0
        self._duration = 0.0

    def feed(self, time: float, value: float | None, *, max_gap: float) -> None:
        """Add a sample; the line to it counts unless it is longer than `max_gap` s."""
        if not self._time < time < inf or not isfinite(value or 0):
            return
        gap = time - self._time
        if self._value is not None and value is not None and gap <= max_gap:
            self._sum += (self._value + value) / 2 * gap
            self._duration += gap
        self._time = time
        self._value = value

    def take(self) -> float | None:
        """Return the average since the last call; with no line, the last value."""
        average = self._sum / self._duration if self._duration else self._value
        self._sum = self._duration = 0.0
        return average
