"""The true energy of a battery in software, to compare what is counted with."""

from itertools import accumulate
from typing import Final, override

from custom_components.jk_bms.jkbms.models import LiveSample
from tests.bluetooth.harness import RecordingBms

from .batteries import SECONDS, CannedBattery

_KWH: Final = 3_600_000.0
"""W s."""


class CountedBms(RecordingBms):
    """A battery whose energy between any two moments is known."""

    _shift: float | None = None
    """s of its own time at second 0 of the loop's clock, once it has sent a frame."""
    _sums: tuple[list[float], list[float]] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether it has sent a frame."""
        return self._shift is not None

    @override
    def live(self, now: float) -> None:
        super().live(now)
        self._shift = self._canned.moment - now

    @property
    def _canned(self) -> CannedBattery:
        assert isinstance(self.battery, CannedBattery)
        return self.battery

    def energy(self, begin: float, end: float) -> tuple[float, float]:
        """Return kWh charged and discharged between two times of the loop's clock."""
        assert self._shift is not None
        if not self._sums:
            watts = [state.voltage * state.current for state in self._canned.day]
            self._sums = (
                [0.0, *accumulate(max(0.0, each) for each in watts)],
                [0.0, *accumulate(max(0.0, -each) for each in watts)],
            )
        moments = begin + self._shift, end + self._shift
        charged, discharged = (
            (_until(sums, moments[1]) - _until(sums, moments[0])) / _KWH
            for sums in self._sums
        )
        return charged, discharged


def _until(sums: list[float], moment: float) -> float:
    """Return W s from second 0 of the first day; the state is that of the second."""
    days, rest = divmod(moment, SECONDS)
    second = int(rest)
    part = (sums[second + 1] - sums[second]) * (rest - second)
    return days * sums[-1] + sums[second] + part


class TrueEnergy:
    """Adds up the energy between samples that are close enough to be counted."""

    def __init__(self, bms: CountedBms, max_gap: float) -> None:
        """`max_gap` is s between two samples."""
        self.charged = self.discharged = 0.0
        """kWh."""
        self._bms = bms
        self._max_gap = max_gap
        self._last: LiveSample | None = None

    def feed(self, sample: LiveSample) -> None:
        """Take a sample that was counted; the time to and from a missing power is not."""
        if sample.power is None:
            self._last = None
            return
        if self._last and 0 < sample.time - self._last.time <= self._max_gap:
            charged, discharged = self._bms.energy(self._last.time, sample.time)
            self.charged += charged
            self.discharged += discharged
        self._last = sample
