"""Check frames against the previous ones, beyond the 8-bit checksum (docs/protocol.md 13).

One in 256 damaged frames has a correct checksum. Values that a frame contains twice, and the
previous frame, distinguish it from a good one. A frame that contradicts them is held back
until the next one confirms or refutes it, so a real change appears half a second later.
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
"""Maximum in a row; the next one is always accepted, unless one in between was damaged."""
_MAX_DAMAGED_FRAMES: Final = 7
"""Maximum in a row; beyond that, a good checksum is more likely a coincidence."""
_CHANGE_TIME: Final = 10.0
"""Seconds within which cell data show the effects of a written setting."""
_DOUBT_LIFETIME: Final = 600.0
"""Seconds for which a doubt counts towards muting its check."""
_MAX_DOUBTS: Final = 2
"""Doubts of one check and size that are remembered; one more mutes the check."""

_LAYOUT: Final = "layout"
"""The doubt about a frame whose layout differs from the previous one's."""

type Doubts = dict[str | int, float]
"""Excess by failed check; a number stands for the position of a steady byte."""


def _changes(now: Sample, before: Sample) -> Doubts:
    """Return the factor by which a frame exceeds each check that it fails."""
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
    """Return the positions of bytes that have changed although they hardly ever do."""
    steady = steady_bytes(before.profile.layout, before.checks.enabled_cells)
    if not (changed := (now.content ^ before.content) & steady):
        return {}
    places = range(changed.bit_length() // 8 + 1)
    return {place: 1.0 for place in places if changed >> 8 * place & 0xFF}


class _Mute:
    """Mutes checks that hold back frame after frame: that is not caused by damage."""

    def __init__(self) -> None:
        self._expiries: dict[tuple[str | int, int], float] = {}
        """When all doubts of a check with about the same size will be forgotten."""

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
    """Return a check and the size of its doubt, in steps of a factor of sixteen."""
    name, excess = doubt
    return name, frexp(excess)[1] // 4


@dataclass(frozen=True, slots=True)
class _Held:
    sample: Sample
    reference: Sample | None
    """`None` if no frame was accepted before: then the next frame has to agree."""
    doubts: Doubts
    count: int
    """Frames held in a row, including this one."""
    damaged: int
    """Damaged frames counted up to then."""


class ConsistencyChecker:
    """Decides for each frame of one battery whether to accept it now.

    It outlives the links: the first frame of a link is compared with the last frame of
    the previous one.
    """

    def __init__(self, statistics: FrameStatistics | None = None) -> None:
        """Start empty; `statistics` counts held frames that turn out wrong as rejected."""
        self.statistics = statistics or FrameStatistics()
        self._damaged = 0
        """Damaged frames counted up to the last good one."""
        self._mute = _Mute()
        self._accepted: Sample | None = None
        self._noted: Sample | None = None
        """A later frame that was not checked."""
        self._held: _Held | None = None
        self._expected: frozenset[str] = frozenset()
        """Fields and checks that may move because a setting was written."""
        self._expected_until = -inf
        """Seconds of the clock of `accept`."""

    def begin_link(self) -> None:
        """Expect frames of a new link."""
        self._damaged = self.statistics.damaged
        self._noted = self._held = None
        if self._accepted:
            self._accepted.is_of_last_link = True

    def expect(self, moves: frozenset[str], time: float) -> None:
        """Let these fields and checks move for some seconds: a setting was written."""
        self._expected, self._expected_until = moves, time + _CHANGE_TIME

    def line_is_reliable(self) -> bool:
        """Return whether to trust the checksum of the frame that has just arrived.

        Call it once for each frame of any type: the first good frame after a row of
        damaged ones is rejected.
        """
        row = self.statistics.damaged - self._damaged
        self._damaged = self.statistics.damaged
        self.statistics.rejected += row > _MAX_DAMAGED_FRAMES
        return row <= _MAX_DAMAGED_FRAMES

    def note(self, frame: Frame, profile: Profile, time: float) -> None:
        """Keep unpublished cell data for later comparison, at almost no cost.

        A frame that was held back until then is forgotten.
        """
        self._noted, self._held = Sample(frame, profile, time), None

    def accept(
        self, frame: Frame, cell_data: CellData, profile: Profile, time: float
    ) -> bool:
        """Return whether to accept decoded cell data; `time` is in monotonic seconds.

        If it returns False, wait for the next frame: at most two in a row are held back.
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
            # The wrong frame may have been the previous one
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

        If most are damaged, three that look good by chance mean nothing.
        """
        held = self._held
        return held.count if held and held.damaged == self.statistics.damaged else 0

    def _is_settled(self, sample: Sample, held: _Held) -> bool:
        """Let a frame decide about the held one, if it can."""
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
        """Accept a frame without a reference if it agrees with the previous one."""
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
