"""When to read the logbook and the detail log of a battery, and the times of their entries."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
import logging
from math import inf
from typing import Final

from bluetooth_data_tools import monotonic_time_coarse

from homeassistant.core import CALLBACK_TYPE, callback
from homeassistant.util import dt as dt_util

from .jkbms.bluetooth.client import JkBmsClient
from .jkbms.errors import JkBmsError, LogUnansweredError
from .jkbms.models import DetailLogRecord, Log, LogEntry, Reading
from .jkbms.protocol.timestamps import (
    Timestamped,
    run_time,
    timestamp_detail_log,
    timestamp_logbook,
)

_LOGGER = logging.getLogger(__name__)

# The minimum time, in seconds, between two reads of the logbook. It is read every 5
# minutes; the reads of the values that it is combined with may be up to 30 s early.
LOGBOOK_INTERVAL: Final = 270.0

# The time, in seconds, until the logbook is requested again if the battery has never
# answered such a request. Its firmware has no logbook then, and only an update changes
# that.
UNANSWERED_LOGBOOK_INTERVAL: Final = 86400.0

type Publish = Callable[[Reading], None]
type LogbookListener = Callable[[tuple[Timestamped[LogEntry], ...]], None]


class BatteryLogs:
    """Reads the logs of one battery; a link that is opened for it yields a reading."""

    def __init__(self, client: JkBmsClient, name: str) -> None:
        """Read through `client`; `name` is for the log."""
        self._client = client
        self._name = name
        self._listener: LogbookListener | None = None
        self._due = -inf
        """When to read the logbook for the listener, in seconds of a monotonic clock."""
        self._has_logbook = False

    @property
    def is_logbook_due(self) -> bool:
        """Whether to read the logbook for the listener with the next reading."""
        return self._listener is not None and monotonic_time_coarse() >= self._due

    @callback
    def async_add_listener(self, listener: LogbookListener) -> CALLBACK_TYPE:
        """Read the logbook along with the values, for this one listener."""
        self._listener = listener

        @callback
        def remove() -> None:
            self._listener = None

        return remove

    @callback
    def async_postpone_logbook(self, seconds: float = LOGBOOK_INTERVAL) -> None:
        """Do not read the logbook for the listener for this many seconds."""
        self._due = max(self._due, monotonic_time_coarse() + seconds)

    async def async_read_logbook(
        self, publish: Publish
    ) -> tuple[Timestamped[LogEntry], ...]:
        """Read the logbook. Raises a `JkBmsError`."""
        return _timestamp_logbook(await self._client.read_logbook(publish))

    async def async_read_detail_log(
        self, publish: Publish
    ) -> tuple[Timestamped[DetailLogRecord], ...]:
        """Read the detail log. Raises a `JkBmsError`."""
        log = await self._client.read_detail_log(publish)
        return timestamp_detail_log(
            log.entries,
            clock=_extrapolate(log.reading, log.reading.cell_data.clock),
            now=dt_util.now(),
        )

    async def async_update_listener(self, publish: Publish) -> None:
        """Read the logbook for the listener.

        Raises a `JkBmsError` if no reading was published; a failure after that only
        concerns the logbook, which is read again when it is due.
        """
        is_published = False

        @callback
        def publish_reading(reading: Reading) -> None:
            nonlocal is_published
            is_published = True
            self.async_postpone_logbook()
            publish(reading)

        try:
            log = await self._client.read_logbook(publish_reading)
        except JkBmsError as error:
            if isinstance(error, LogUnansweredError) and not self._has_logbook:
                self.async_postpone_logbook(UNANSWERED_LOGBOOK_INTERVAL)
            _LOGGER.debug("%s: the logbook was not read: %s", self._name, error)
            if not is_published:
                raise
            return
        self._has_logbook = True
        if self._listener:
            self._listener(_timestamp_logbook(log))

    async def async_update_listener_held(self, publish: Publish) -> None:
        """Read the logbook on a held link; if the link is lost, its holder reports that."""
        with suppress(JkBmsError):
            await self.async_update_listener(publish)


def _timestamp_logbook(log: Log[LogEntry]) -> tuple[Timestamped[LogEntry], ...]:
    reading = log.reading
    return timestamp_logbook(
        log.entries,
        run_time=_extrapolate(reading, run_time(reading)),
        now=dt_util.now(),
    )


def _extrapolate(reading: Reading, counter: int | None) -> float | None:
    """Return the present value of a counter of seconds from a reading."""
    if counter is None:
        return None
    return counter + asyncio.get_running_loop().time() - reading.time
