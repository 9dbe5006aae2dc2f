"""When what stands in the battery's own logs happened (docs/protocol.md 10 and 11).

Neither log knows the time of day: the logbook counts run time, the detail log has the
device's own clock. What both show now turns the entries into wall time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ..models import CellData, DetailLogRecord, DeviceInfo, Layout, LogEntry

_CLOCK_SET: Final = "clock_set"
_CORRECTION: Final = 600
"""s that a clock may be set back by and still be the same clock."""
_PAUSE: Final = 7200
"""s between two records, an hour apart as a rule, that a clock set then explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated[EntryT]:
    """An entry of a log and the wall time of it."""

    time: datetime | None
    """In the zone of `now`, whole seconds; `None` where the battery does not tell."""
    entry: EntryT

    @property
    def isoformat(self) -> str | None:
        """The wall time as text."""
        return self.time.isoformat() if self.time else None


def run_time(
    layout: Layout, device_info: DeviceInfo, cell_data: CellData
) -> int | None:
    """Return the run time over life in s (docs/protocol.md 7 and 9).

    JK04 tells it in the device information only, up to 300 s late.
    """
    if layout is Layout.JK04 or cell_data.up_time is None:
        return device_info.up_time
    return cell_data.up_time


def date_logbook(
    entries: Iterable[LogEntry], *, run_time: float | None, now: datetime
) -> tuple[Dated[LogEntry], ...]:
    """Date a logbook by the run time in s that the battery has now.

    Run time stands still while the battery is off, so what happened before that seems
    later than it was.
    """
    return tuple(
        Dated(
            time=None if run_time is None else _before(now, run_time - entry.time),
            entry=entry,
        )
        for entry in entries
    )


def date_detail_log(
    records: Sequence[DetailLogRecord], *, clock: float | None, now: datetime
) -> tuple[Dated[DetailLogRecord], ...]:
    """Date a detail log, oldest first, by what the battery's clock shows now, in s.

    Whether that clock is right does not matter, but it must have been the same all the
    time: what is older than a change of more than some minutes stays without a date.
    """
    dated: list[Dated[DetailLogRecord]] = []
    is_same = bool(clock)
    later, later_event = clock or 0.0, ""
    for record in reversed(records):
        passed = later - record.clock
        was_set = _CLOCK_SET in (record.event, later_event)
        is_same &= passed >= -_CORRECTION and not (was_set and passed > _PAUSE)
        time = _before(now, (clock or 0.0) - record.clock) if is_same else None
        dated.append(Dated(time=time, entry=record))
        later, later_event = record.clock, record.event
    return tuple(reversed(dated))


def _before(now: datetime, seconds: float) -> datetime:
    """Return the time so long ago, in the same zone, also across a change of offset.

    Nothing that was written down lies ahead: a counter that was read is behind.
    """
    then = now.astimezone(UTC) - timedelta(seconds=max(0.0, seconds))
    return then.astimezone(now.tzinfo).replace(microsecond=0)
