"""Accepts settings and device information once they were read twice (docs/protocol.md 13)."""

from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..models import DeviceInfo, Settings
from .frames import FrameStatistics
from .layouts import LIMITS

_UNSURE_AT_MOST: Final = 4
"""Maximum readings in a row that differ from each other; the next one is accepted unless a
frame in between was damaged.
"""
_INFO_STEP: Final = 600.0
"""Seconds; the run time in the device information is only updated now and then."""

type Record = DeviceInfo | Settings


def _is_sound(read: Record) -> bool:
    """Return whether a first reading may be accepted at once."""
    if isinstance(read, DeviceInfo):
        return True
    values = ((getattr(read, name), limits) for name, limits in LIMITS.items())
    return all(value is None or low <= value <= high for value, (low, high) in values)


def _is_same(read: Record, before: Record, then: float, now: float) -> bool:
    """Return whether two readings agree, apart from the time between them."""
    if not isinstance(read, DeviceInfo) or not isinstance(before, DeviceInfo):
        return read == before
    run = (read.up_time or 0) - (before.up_time or 0)
    is_later = 0 <= run <= now - then + _INFO_STEP
    return is_later and replace(read, up_time=before.up_time) == before


@dataclass(slots=True)
class _History:
    known: tuple[Record, float] | None = None
    """The last accepted record and when it was read."""
    unsure: list[tuple[Record, float, bytes | None]] = field(default_factory=list)
    """The last records of this link that were not accepted, with time and content."""
    held: int = 0
    """Readings in a row that were not accepted."""
    damaged: int = 0
    """Damaged frames counted up to the last of them."""


class Confirmation:
    """Decides whether to accept settings and device information of one battery.

    A record is accepted if it agrees with the last accepted one or was read twice on one
    link.
    """

    def __init__(self, statistics: FrameStatistics | None = None) -> None:
        """Start empty; `statistics` counts damaged frames."""
        self._statistics = statistics or FrameStatistics()
        self._histories: dict[type[Record], _History] = {
            DeviceInfo: _History(),
            Settings: _History(),
        }

    def begin_link(self) -> None:
        """Forget unaccepted records: over many bad links, a damaged one could repeat by chance."""
        for history in self._histories.values():
            history.unsure, history.held = [], 0

    def expect(self, kind: type[Record], name: str, value: Any) -> None:
        """Accept at once a record that differs only by this value, which was just written."""
        history = self._histories[kind]
        if history.known:
            record, time = history.known
            changes: dict[str, Any] = {name: value}
            history.unsure.append((replace(record, **changes), time, None))

    def accept(self, record: Record, time: float, content: bytes = b"") -> bool:
        """Return whether to accept a decoded record; `time` is in monotonic seconds.

        `content` holds its lasting bytes: damage that two readings share, such as a
        letter that became a blank, has hit other bytes as well. If it returns False,
        request the record again: at most four in a row are held back on one link. A
        damaged frame ends the row: if most are damaged, five that look good by chance
        mean nothing.
        """
        history = self._histories[type(record)]
        damaged = self._statistics.damaged
        held = history.held if history.damaged == damaged else 0
        is_expected = (
            _is_same(record, *history.known, time)
            if history.known
            else _is_sound(record)
        )
        was_read_before = any(
            _is_same(record, before, then, time) and said in (content, None)
            for before, then, said in history.unsure
        )
        if is_expected or was_read_before or held == _UNSURE_AT_MOST:
            history.known, history.unsure, history.held = (record, time), [], 0
            return True
        history.unsure = [
            *history.unsure[1 - _UNSURE_AT_MOST :],
            (record, time, content),
        ]
        history.held, history.damaged = held + 1, damaged
        return False
