"""What readings add up to: the energy that flowed, and how long the charge lasts.

Moments are s of a clock that is never set; the moments of one object are of one clock.
"""

from math import exp, inf, isfinite
from typing import Final, Literal

SMOOTHING_TIME: Final = 300.0
"""s after which a new current counts for 63 % of the smoothed one."""
REST_TIME: Final = 200.0
"""h; a battery that would take longer from empty to full is at rest."""

_WATT_SECONDS: Final = 3_600_000.0
"""In a kWh."""


class EnergyMeter:
    """Adds up the energy of one direction; it never counts down."""

    def __init__(self, sign: Literal[1, -1], total: float = 0.0) -> None:
        """`sign` is that of the power to count, `total` the kWh counted so far."""
        self.total = total
        self._sign = sign
        self._time = -inf
        self._power: float | None = None

    def feed(self, time: float, power: float | None, *, max_gap: float) -> None:
        """Count up to a reading of `power` W, `None` where it is missing.

        What lies before is not known after more than `max_gap` s, nor is it where one
        of its ends is missing. A value that is not finite or not new is ignored.
        """
        if not self._time < time < inf or not isfinite(power or 0):
            return
        gap = time - self._time
        if self._power is not None and power is not None and gap <= max_gap:
            # Where the sign changes the line between the two is not split at 0: loads
            # jump, and triangles would miss 0.6 % of what a house takes and gives.
            begin, end = max(self._sign * self._power, 0), max(self._sign * power, 0)
            self.total += (begin + end) / 2 / _WATT_SECONDS * gap
        self._time = time
        self._power = power


class SmoothedCurrent:
    """Averages a current over time, however often it is read."""

    def __init__(self) -> None:
        """Start with no current known."""
        self.value: float | None = None
        self._time = -inf

    def feed(self, time: float, current: float | None, *, max_gap: float) -> None:
        """Follow a reading of `current` A; after a gap or a missing one start anew."""
        if not self._time < time < inf or not isfinite(current or 0):
            return
        gap = time - self._time
        if self.value is None or current is None or gap > max_gap:
            self.value = current
        else:
            self.value += (current - self.value) * (1 - exp(-gap / SMOOTHING_TIME))
        self._time = time


def time_to_empty(remaining: float, nominal: float, current: float) -> int | None:
    """Return s, to the minute, until the charge is used up; `None` unless it is used.

    Capacities are in Ah, the current in A (+ charging, - discharging).
    """
    return _time_to_move(remaining, nominal, -current)


def time_to_full(remaining: float, nominal: float, current: float) -> int | None:
    """Return s, to the minute, until the battery is full; `None` unless it charges.

    Capacities are in Ah, the current in A (+ charging, - discharging).
    """
    return _time_to_move(nominal - remaining, nominal, current)


def _time_to_move(charge: float, nominal: float, current: float) -> int | None:
    """Return s for a charge in Ah, `None` while the current is against it or at rest."""
    if not 0 < nominal / REST_TIME <= current:
        return None
    minutes = max(charge, 0) / current * 60
    return round(minutes) * 60 if isfinite(minutes) else None
