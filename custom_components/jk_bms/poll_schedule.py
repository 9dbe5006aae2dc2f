"""When a battery is due to be read."""

from datetime import timedelta
from math import inf

from .const import RETRY_INTERVAL
from .options import JkBmsOptions


class PollSchedule:
    """Tracks the last attempt and the last advertisement, in seconds of a monotonic clock."""

    def __init__(self, options: JkBmsOptions) -> None:
        """Nothing was attempted or received yet."""
        self._options = options
        self.polled_at = -inf
        """When the last attempt began."""
        self.seen_at = -inf
        """When the last advertisement was received."""

    @property
    def interval(self) -> timedelta:
        """The time between two attempts; on a held link, until a lost one is retried."""
        interval = self._options.interval
        return min(interval, RETRY_INTERVAL) if self._options.is_link_held else interval

    def is_due(self, now: float, *, failed: bool) -> bool:
        """Return whether an advertisement received `now` should start a read.

        A read is due, or the last one `failed` and the battery is back in range.
        """
        interval = self.interval.total_seconds()
        return now - self.polled_at >= interval or (
            failed and now - self.seen_at >= interval
        )
