"""Judge frames by those before them, as an 8-bit checksum cannot (docs/protocol.md 13).

One frame in 256 damaged ones has a right checksum. What a frame says twice, and what the
frame before said, distinguish it from a good one. A frame that they contradict is held back
until the next one confirms or refutes it, so a real change comes half a second later.
"""

from dataclasses import dataclass
from math import frexp, inf
from typing import Final

from ..models import CellData
from .checks import CONTINUITY, REDUNDANCY, Sample
from .frames import Frame, FrameStatistics
from .layouts import moved_bytes, steady_bytes
from .profile import Profile

_MAX_HELD_FRAMES: Final = 2
"""In a row; the next one is believed whatever it says, unless one between was damaged."""
_MAX_DAMAGED_FRAMES: Final = 7
"""In a row; with more, the next good one is more likely one by chance."""
_CHANGE_TIME: Final = 10.0
"""s within which cell data show what a written setting changes."""
_DOUBT_LIFETIME: Final = 600.0
"""s that a doubt counts towards muting its check."""
_MAX_DOUBTS: Final = 2
"""Of one check and size that are remembered; with one more, the check is mute."""

_LAYOUT: Final = "layout"
"""The doubt of a frame whose layout differs from that of the one before."""

type Doubts = dict[str | int, float]
"""Checks that failed and by how many times; a number is the place of a steady byte."""


def _changes(now: Sample, before: Sample) -> Doubts:
    """Return by how many times a frame exceeds what each check allows."""
    passed = max(0.0, now.time - before.time)
    doubts: Doubts = {}
    for row, (off, allowed), (was, _) in zip(
        REDUNDANCY, now.differences, before.differences, strict=True
    ):
        excess = row.excess(now, before, off, was, allowed)
        if not excess <= 1:
            doubts[row.name] = excess
    for name, change, slack, slope, longest in CONTINUITY:
        excess = change(now, before, passed) / (slack + slope * min(passed, longest))
        if not excess <= 1:
            doubts[name] = excess
    return doubts | _steady_changes(now, before)


def _steady_changes(now: Sample, before: Sample) -> Doubts:
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
    sample: Sample
    reference: Sample | None
    """`None` where nothing was believed before: then the next frame has to agree."""
    doubts: Doubts
    count: int
    """Frames held in a row, this one the last."""
    damaged: int
    """Damaged frames up to then."""


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
        self._accepted: Sample | None = None
        self._noted: Sample | None = None
        """A later frame that was not judged."""
        self._held: _Held | None = None
        self._expected: frozenset[str] = frozenset()
        """Fields and checks that may move because a change was asked for."""
        self._expected_until = -inf
        """s of the clock of `accept`."""

    def begin_link(self) -> None:
        """Expect frames of a new link."""
        self._damaged = self.statistics.damaged
        self._noted = self._held = None
        if self._accepted:
            self._accepted.is_of_last_link = True

    def expect(self, moves: frozenset[str], time: float) -> None:
        """Let these fields and checks move for some seconds: a change was asked for."""
        self._expected, self._expected_until = moves, time + _CHANGE_TIME

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
        self._noted, self._held = Sample(frame, profile, time), None

    def accept(
        self, frame: Frame, cell_data: CellData, profile: Profile, time: float
    ) -> bool:
        """Judge cell data that were decoded; `time` is s of a clock that never jumps.

        Where it returns False, wait for the next frame: no more than two in a row are
        held back.
        """
        sample = Sample(frame, profile, time, cell_data)
        if not self._is_believable(sample):
            return False
        self._accepted, self._noted, self._held = sample, None, None
        return True

    def _is_believable(self, sample: Sample) -> bool:
        if held := self._held:
            return self._is_settled(sample, held)
        noted = self._noted
        if noted and not (_is_comparable(sample, noted) and noted.is_plausible):
            noted = None
        accepted = self._accepted
        if accepted and not _is_comparable(sample, accepted):
            accepted = None
        if not accepted:
            self._hold(sample, None, {})
            return False
        reference = noted or accepted
        if not (doubts := self._doubts(sample, reference)):
            return True
        if noted and self._doubts(noted, accepted):
            # The odd one may be the one before
            reference = accepted
            if not (doubts := self._doubts(sample, reference)):
                return True
        self._hold(sample, reference, doubts)
        return False

    def _hold(self, sample: Sample, reference: Sample | None, doubts: Doubts) -> None:
        self._mute.count(doubts, sample.time)
        count, damaged = self._count_held() + 1, self.statistics.damaged
        self._held = _Held(sample, reference, doubts, count, damaged)

    def _count_held(self) -> int:
        """Return how many frames in a row are held; a damaged one ends the row.

        Where most are damaged, three that look good by chance say nothing.
        """
        held = self._held
        return held.count if held and held.damaged == self.statistics.damaged else 0

    def _is_settled(self, sample: Sample, held: _Held) -> bool:
        """Let a frame decide about the one held, if it can."""
        if not held.reference:
            return self._is_confirmed(sample, held)
        doubts = self._doubts(sample, held.reference)
        if doubts and (
            doubts.keys() <= held.doubts.keys()
            or not self._doubts(sample, held.sample)
            or self._count_held() == _MAX_HELD_FRAMES
        ):
            return True
        self.statistics.rejected += 1
        if doubts:
            self._hold(sample, held.reference, doubts)
        return not doubts

    def _is_confirmed(self, sample: Sample, held: _Held) -> bool:
        """Believe a frame without a reference if it agrees with the one before it."""
        doubts = self._doubts(sample, held.sample)
        if not doubts or self._count_held() == _MAX_HELD_FRAMES:
            return True
        self.statistics.rejected += 1
        self._hold(sample, None, doubts)
        return False

    def _doubts(self, sample: Sample, before: Sample) -> Doubts:
        if not _is_comparable(sample, before):
            return {_LAYOUT: 1.0}
        doubts = _changes(sample, before)
        if doubts and sample.time <= self._expected_until:
            expected = self._expected | moved_bytes(
                sample.profile.layout, self._expected
            )
            doubts = {name: off for name, off in doubts.items() if name not in expected}
        return self._mute.remove_muted(doubts, sample.time) if doubts else doubts


def _is_comparable(sample: Sample, before: Sample) -> bool:
    return sample.profile.layout is before.profile.layout
