"""Reads one battery: one connection at a time, and a deadline for every use of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
import logging
from math import inf
from typing import Final

from ..errors import (
    LinkError,
    NotJkBmsError,
    NotReachableError,
    PairingRequiredError,
    SilentError,
)
from ..models import DetailLogRecord, LiveSample, Log, LogEntry, Reading
from ..protocol.registers import Value
from .connection import DISCONNECT_TIMEOUT, PAIRING_REQUIRED, ClientMixin, FindDevice
from .logs import read_detail_log, read_logbook
from .memory import Memory
from .session import ANSWER_TIMEOUT, Session
from .writing import Permit, Prepare, Writer, WriteReport

_LOGGER = logging.getLogger(__name__)

READ_DEADLINE: Final = 25.0
"""Seconds for one reading, from finding the battery to the end of the connection."""
DETAIL_LOG_DEADLINE: Final = 90.0
"""Seconds for a reading and the whole detail log after it."""
WRITE_TIME: Final = 15.0
"""Seconds for one write and reading it back, on top of `READ_DEADLINE`."""
WRITE_DEADLINE: Final = 60.0
"""Seconds for a reading and the writes after it; one write takes up to 12 s."""
FORGET_INTERVAL: Final = 3600.0
"""Minimum seconds before the cached services are cleared again for the same failure.

Clearing them makes the next connection slower, and a silent battery may stay silent. They
are always cleared if they lack the service that every JK BMS has: they were cached while
incomplete.
"""
LINK_LIFETIME: Final = 3500.0
"""Seconds until a held link is re-established, to read the settings again without a beep.

Including the time to reconnect, this is less than an hour.
"""


class JkBmsClient:
    """Reads one battery, on a connection for each reading or on one that is held."""

    def __init__(
        self,
        find_device: FindDevice,
        *,
        name: str,
        answer_timeout: float = ANSWER_TIMEOUT,
        client_mixin: ClientMixin | None = None,
    ) -> None:
        """Create the client; `find_device` is called before every attempt to connect.

        `name` is for the log. `answer_timeout` is the time in seconds until a command is
        repeated.
        """
        self._client_mixin = client_mixin
        self._memory = Memory()
        self.statistics = self._memory.statistics
        self.last_frames = self._memory.last_frames
        """The last good frame of each type; they hold secrets."""
        self._find_device = find_device
        self.name = name
        """For the log."""
        self._answer_timeout = answer_timeout
        self._lock = asyncio.Lock()
        self._log_lock = asyncio.Lock()
        self._timeouts: set[asyncio.Timeout] = set()
        """Timeouts of every current or waiting use of the link."""
        self._session = self._new_session()
        self._held: Reading | None = None
        """The newest reading of a held link; `None` without one."""
        self._services_forgotten_at: dict[type[LinkError], float] = {}
        """When the cached services were last cleared, in seconds of the event loop's clock."""
        self._settled = asyncio.Event()
        """Set while a link is held or there is none, but not while connecting."""
        self._settled.set()

    async def read(self, *, deadline: float = READ_DEADLINE) -> Reading:
        """Connect, read once and disconnect, all within `deadline` seconds.

        Raises a `LinkError`, `UnsupportedLayoutError` or `ImplausibleFrameError`.
        """
        async with self._open_link(deadline) as (reading, timeout):
            # A slow disconnect must not lose the reading
            timeout.reschedule(None)
            return reading

    async def hold(
        self,
        publish: Callable[[Reading], None],
        *,
        on_live: Callable[[LiveSample], None] | None = None,
        interval: float,
        since: float = -inf,
        deadline: float = READ_DEADLINE,
        lifetime: float = LINK_LIFETIME,
    ) -> None:
        """Stay connected and publish a reading every `interval` seconds.

        The first is published at once, or when the one from `since` (s of the event
        loop's clock) is `interval` s old. Returns after `lifetime` s, so that the link
        can be re-established. `on_live` is called for the first reading, and then for
        every good frame in order, whatever the interval: within eight seconds, or when
        `count_frames` is called; of a jump, once a second frame confirms it. Raises like
        `read` if there is no first reading within `deadline` s, and a `LinkError` when
        the connection is lost.
        """
        async with self._open_link(deadline) as (reading, timeout):
            clock = asyncio.get_running_loop().time
            if (timeout.when() or 0) > clock():
                # Otherwise `disconnect` has just been called
                timeout.reschedule(None)
            if on_live:
                self._session.count(reading, on_live)
            try:
                async with (
                    asyncio.timeout(lifetime),
                    aclosing(
                        self._session.follow(reading, interval, since)
                    ) as readings,
                ):
                    self._held = reading
                    self._settled.set()
                    async for newest in readings:
                        self._held = newest
                        publish(newest)
            except TimeoutError:
                _LOGGER.debug("%s: re-establishing the held link", self.name)
            finally:
                self._held = None

    def publish_next(self) -> None:
        """Publish the next cell data of a held link at once, whatever the interval."""
        self._memory.publish_next = True

    def count_frames(self) -> None:
        """Call `on_live` now for the frames of a held link that have arrived."""
        self._session.count_frames()

    async def read_logbook(
        self,
        publish: Callable[[Reading], None] | None = None,
        *,
        deadline: float = READ_DEADLINE,
    ) -> Log[LogEntry]:
        """Read the logbook, on the held link if there is one (docs/protocol.md 10).

        Without one it connects and publishes the reading. Raises like `read`, and
        `LogUnansweredError`.
        """
        return await self._read_log(read_logbook, publish, deadline)

    async def read_detail_log(
        self,
        publish: Callable[[Reading], None] | None = None,
        *,
        deadline: float = DETAIL_LOG_DEADLINE,
    ) -> Log[DetailLogRecord]:
        """Read the detail log, on the held link if there is one (docs/protocol.md 11).

        Without one it connects and publishes the reading. Raises like `read`, and
        `LogUnansweredError`, also if the firmware has no such log.
        """
        return await self._read_log(read_detail_log, publish, deadline)

    async def write(
        self,
        target: Mapping[str, Value],
        publish: Callable[[Reading], None] | None = None,
        *,
        permit: Permit | None = None,
        prepare: Prepare | None = None,
        deadline: float = WRITE_DEADLINE,
    ) -> WriteReport:
        """Change settings, each written once and read back (docs/protocol.md 4.3).

        `target` holds the values by name. Without a held link it connects and publishes
        the reading. `permit` is called with all changes before the first; `prepare` is
        awaited before each write, so that a record of it can be stored first. Both may
        refuse with a `SettingRefusedError`. Raises that before anything is sent, and
        like `read`; once something was sent, the report shows how far it got.
        """
        writer = Writer(target, permit, prepare)
        try:
            async with self._share_link(publish, deadline) as reading:
                await writer.write(self._session, reading)
                if self._held:
                    self.publish_next()
        except LinkError as err:
            return writer.interrupt(err)
        return writer.report()

    async def disconnect(self) -> None:
        """Fail every use of the link and wait until the battery is disconnected."""
        for timeout in self._timeouts:
            if not timeout.expired():
                timeout.reschedule(asyncio.get_running_loop().time())
        async with self._lock:
            pass

    @asynccontextmanager
    async def _open_link(
        self, deadline: float
    ) -> AsyncIterator[tuple[Reading, asyncio.Timeout]]:
        """Connect and read; the body shares the link and may move its timeout."""
        async with self._lock:
            self._settled.clear()
            try:
                async with self._limit(deadline) as timeout:
                    reading = await self._establish()
                    try:
                        yield reading, timeout
                    finally:
                        await self._session.connection.close()
            finally:
                self._settled.set()

    @asynccontextmanager
    async def _share_link(
        self, publish: Callable[[Reading], None] | None, deadline: float
    ) -> AsyncIterator[Reading]:
        """Use the held link, or open one and publish its first reading."""
        async with self._limit(deadline) as limit, self._log_lock:
            await self._settled.wait()
            if reading := self._held:
                yield reading
                return
            async with self._open_link(deadline) as (reading, timeout):
                if publish:
                    publish(reading)
                yield reading
                # A slow disconnect must not lose what was read or written
                timeout.reschedule(None)
                limit.reschedule(None)

    @asynccontextmanager
    async def _limit(self, deadline: float) -> AsyncIterator[asyncio.Timeout]:
        """Limit the body so that it can disconnect within `deadline` seconds."""
        try:
            async with asyncio.timeout(deadline - DISCONNECT_TIMEOUT) as timeout:
                self._timeouts.add(timeout)
                try:
                    yield timeout
                finally:
                    self._timeouts.remove(timeout)
        except TimeoutError as err:
            raise self._session.failure() from err

    async def _establish(self) -> Reading:
        """Connect and read; if that connection fails, retry once on a new one."""
        try:
            return await self._connect_and_read()
        except (NotReachableError, SilentError, NotJkBmsError) as err:
            if not self._session.connection.was_established:
                raise
            _LOGGER.debug("%s: reconnecting once: %s", self.name, err)
        try:
            return await self._connect_and_read()
        except NotReachableError as err:
            if self._session.looks_unpaired:
                raise PairingRequiredError(PAIRING_REQUIRED) from err
            raise

    async def _connect_and_read(self) -> Reading:
        """Return a reading from a new connection, which stays open unless this fails."""
        self._session = self._new_session()
        connection = self._session.connection
        async with AsyncExitStack() as stack:
            stack.push_async_callback(connection.close)
            try:
                await connection.open(self._find_device)
            except NotJkBmsError:
                await connection.forget_services()
                raise
            except NotReachableError as err:
                if connection.was_established:
                    # The subscription failed
                    await self._forget_services(err)
                raise
            try:
                reading = await self._session.read()
            except (SilentError, NotJkBmsError) as err:
                await self._forget_services(err)
                raise
            stack.pop_all()
            return reading

    async def _forget_services(self, error: LinkError) -> None:
        """Clear the cached services, which may be from before a firmware update."""
        now, kind = asyncio.get_running_loop().time(), type(error)
        if now - self._services_forgotten_at.get(kind, -inf) >= FORGET_INTERVAL:
            self._services_forgotten_at[kind] = now
            await self._session.connection.forget_services()

    async def _read_log[EntryT](
        self,
        read: Callable[[Session, Reading], Awaitable[tuple[EntryT, ...]]],
        publish: Callable[[Reading], None] | None,
        deadline: float,
    ) -> Log[EntryT]:
        async with self._share_link(publish, deadline) as reading:
            entries = await read(self._session, reading)
        return Log(reading=reading, entries=entries)

    def _new_session(self) -> Session:
        return Session(
            self.name, self._memory, self._answer_timeout, self._client_mixin
        )
