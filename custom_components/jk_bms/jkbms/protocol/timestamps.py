"""The wall time of the entries of the battery's own logs (docs/protocol.md 10 and 11).

Neither log knows the time of day: the logbook counts run time, the detail log has the
device's own clock. The current values of these clocks convert the entries to wall time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ..models import DetailLogRecord, Layout, LogEntry, Reading

_CLOCK_SET: Final = "clock_set"
_CORRECTION: Final = 600
"""Seconds by which a clock may be set back and still count as unchanged."""
_PAUSE: Final = 7200
"""Seconds between two records above which a clock change between them explains the gap.

Records are usually an hour apart.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timestamped[EntryT]:
    """An entry of a log and its wall time."""

    time: datetime | None
    """Whole seconds in the time zone of `now`; `None` if unknown."""
    entry: EntryT

    @property
    def isoformat(self) -> str | None:
        """The wall time as text."""
        return self.time.isoformat() if self.time else None


def run_time(reading: Reading) -> int | None:
    """Return the run time over life in seconds (docs/protocol.md 7 and 9).

    JK04 reports it in the device information only, up to 300 s late.
    """
    live = reading.cell_data.up_time
    if reading.layout is Layout.JK04 or live is None:
        return reading.device_info.up_time
    return live


def timestamp_logbook(
    entries: Iterable[LogEntry], *, run_time: float | None, now: datetime
) -> tuple[Timestamped[LogEntry], ...]:
    """Timestamp a logbook by the present run time of the battery in seconds.

    Run time does not advance while the battery is off, so entries from before such a
    pause get a time that is too late.
    """
    return tuple(
        Timestamped(
            time=None if run_time is None else _before(now, run_time - entry.time),
            entry=entry,
        )
        for entry in entries
    )


def timestamp_detail_log(
    records: Sequence[DetailLogRecord], *, clock: float | None, now: datetime
) -> tuple[Timestamped[DetailLogRecord], ...]:
    """Timestamp a detail log, oldest first, by the present value of the battery's clock, in s.

    The clock need not be right, but it must not have been set since: records older than
    a change of more than `_CORRECTION` get no time.
    """
    timestamped: list[Timestamped[DetailLogRecord]] = []
    is_same = bool(clock)
    later, later_event = clock or 0.0, ""
    for record in reversed(records):
        passed = later - record.clock
        was_set = _CLOCK_SET in (record.event, later_event)
        is_same &= passed >= -_CORRECTION and not (was_set and passed > _PAUSE)
        time = _before(now, (clock or 0.0) - record.clock) if is_same else None
        timestamped.append(Timestamped(time=time, entry=record))
        later, later_event = record.clock, record.event
    return tuple(reversed(timestamped))


def _before(now: datetime, seconds: float) -> datetime:
    """Return the time that many seconds ago, in the same zone, also across a DST change.

    A negative number counts as 0: an entry cannot be in the future.
    """
    then = now.astimezone(UTC) - timedelta(seconds=max(0.0, seconds))
    return then.astimezone(now.tzinfo).replace(microsecond=0)
