"""One Bluetooth link to a battery: connect, read, disconnect (docs/protocol.md 2)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import replace
import logging
from math import inf
import re
from typing import Any, Final, override

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.backends.service import BleakGATTServiceCollection
from bleak.uuids import normalize_uuid_str
import bleak_retry_connector
from bleak_retry_connector import BLEAK_RETRY_EXCEPTIONS, establish_connection

from ..errors import (
    ImplausibleFrameError,
    LinkError,
    LogUnansweredError,
    NoFreeSlotError,
    NotJkBmsError,
    NotReachableError,
    PairingRequiredError,
    SilentError,
    UnsupportedLayoutError,
)
from ..models import DetailLogRecord, DeviceInfo, Log, LogEntry, Reading, Settings
from ..protocol.consistency import Guard
from ..protocol.decode import (
    decode_cell_data,
    decode_detail_log,
    decode_device_info,
    decode_logbook,
    decode_settings,
)
from ..protocol.detect import confirm_profile
from ..protocol.frames import (
    COMMAND_HEADER,
    HEADER,
    IDLE_LINE,
    Frame,
    FrameAssembler,
    FrameStatistics,
    FrameType,
    ReadCommand,
    build_command,
)
from ..protocol.layouts import DETAIL_LOG_CAPACITY
from ..protocol.profile import Profile, choose_profile

_LOGGER = logging.getLogger(__name__)

READ_DEADLINE: Final = 25.0
"""s for one reading, from looking for the battery to the end of the link."""
ANSWER_TIMEOUT: Final = 5.0
"""s until a command that is not answered is sent again."""
DETAIL_LOG_DEADLINE: Final = 90.0
"""s for a reading and the whole detail log behind it."""
LINK_LIFETIME: Final = 3500.0
"""s until a held link is made anew, which reads the settings again without a beep.

With the time that takes it is less than an hour.
"""

_SETTLE_TIME: Final = 0.3
_SUBSCRIBE_TIMEOUT: Final = 8.0
_SEND_TIMEOUT: Final = 5.0
_LOG_PAUSE: Final = 2.0
"""s of silence that end a detail log, which has no end mark."""
_ACKNOWLEDGE_TIMEOUT: Final = 0.5
_UNLIKELY_TIMEOUT: Final = 0.12
"""s for it where it did not come in time on the last link; captured ones take 0.1 s."""
_SILENCE: Final = 6.0
_DISCONNECT_TIMEOUT: Final = 3.0
_ATTEMPTS: Final = 2
"""Of a command that stays unanswered, and of a link that fails."""
_UNFIT_FRAMES: Final = 3
"""Cell data in a row that make no sense, or show no cell, until they are believed."""
_EARLY_FRAMES: Final = 2
"""Cell data before the settings: left over from a stream, or the settings are lost."""

_SERVICE: Final = normalize_uuid_str("ffe0")
_SERIAL: Final = normalize_uuid_str("ffe1")
_EXTRA_WRITE: Final = normalize_uuid_str("ffe2")
_UNACKNOWLEDGED_WRITE: Final = "write-without-response"
_WRITE: Final = frozenset({"write", _UNACKNOWLEDGED_WRITE})

_PAIRING: Final = re.compile(r"authenti|authori|encrypt|pairing", re.IGNORECASE)
_PAIRING_DEMANDED: Final = "It demands to be paired first"
_NO_LOG: Final = "Connected, but it does not answer for its log"
_LOGS: Final = frozenset({FrameType.LOGBOOK, FrameType.DETAIL_LOG})
_NO_ANSWER: Final = "it did not answer in time"
_NO_SLOT: Final = re.compile(r"available connection|connection slot")

type FindDevice = Callable[[], BLEDevice | None]


class JkBmsClient:
    """Reads one battery, on a link that is there while it is needed, or held."""

    def __init__(
        self,
        find_device: FindDevice,
        *,
        name: str,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        """`find_device` is asked anew for every attempt; `name` is for the log."""
        self.statistics = FrameStatistics()
        self.last_frames: dict[FrameType, Frame] = {}
        """The last good frame of each type; they hold secrets."""
        self._guard = Guard(self.statistics)
        self._find_device = find_device
        self._name = name
        self._answer_timeout = answer_timeout
        self._lock = asyncio.Lock()
        self._log_lock = asyncio.Lock()
        self._scopes: set[asyncio.Timeout] = set()
        """The time limits of what uses the link or waits for it."""
        self._link = self._new_link()
        self._held: Reading | None = None
        self._settled = asyncio.Event()
        """Set while a link is held or there is none."""
        self._settled.set()

    async def read(self, *, deadline: float = READ_DEADLINE) -> Reading:
        """Connect, read once and disconnect, all within `deadline` seconds.

        Raises a `LinkError`, `UnsupportedLayoutError` or `ImplausibleFrameError`.
        """
        async with self._open_link(deadline) as (reading, scope):
            # A link that is slow to be released does not take it back
            scope.reschedule(None)
            return reading

    async def hold(
        self,
        publish: Callable[[Reading], None],
        *,
        interval: float,
        since: float = -inf,
        deadline: float = READ_DEADLINE,
        lifetime: float = LINK_LIFETIME,
    ) -> None:
        """Stay connected and publish a reading every `interval` s.

        The first comes at once, unless there was one `since` then (s of the event
        loop's clock) and it is not yet that old. Returns when the link is old enough to be made anew. Raises like `read` if no
        first reading comes within `deadline` s, and a `LinkError` when the link dies.
        """
        async with self._open_link(deadline) as (reading, scope):
            clock = asyncio.get_running_loop().time
            if (scope.when() or 0) > clock():
                # Else `disconnect` has just been called
                scope.reschedule(None)
            try:
                async with (
                    asyncio.timeout(lifetime),
                    aclosing(self._link.follow(reading, interval, since)) as readings,
                ):
                    self._held = reading
                    self._settled.set()
                    async for newest in readings:
                        self._held = newest
                        publish(newest)
            except TimeoutError:
                _LOGGER.debug("%s: the link is made anew", self._name)
            finally:
                self._held = None

    def hurry(self) -> None:
        """Let a held link publish the next cell data whatever the interval."""
        self._link.hurried = True

    async def read_logbook(
        self,
        publish: Callable[[Reading], None] | None = None,
        *,
        deadline: float = READ_DEADLINE,
    ) -> Log[LogEntry]:
        """Read the logbook, on the held link if there is one (docs/protocol.md 10).

        A link that is made for it brings a reading, which is published at once. Raises
        like `read`, and `LogUnansweredError`.
        """
        return await self._read_log(_Link.read_logbook, publish, deadline)

    async def read_detail_log(
        self,
        publish: Callable[[Reading], None] | None = None,
        *,
        deadline: float = DETAIL_LOG_DEADLINE,
    ) -> Log[DetailLogRecord]:
        """Read the detail log, on the held link if there is one (docs/protocol.md 11).

        A link that is made for it brings a reading, which is published at once. Raises
        like `read`, and `LogUnansweredError`, also where the firmware has no such log.
        """
        return await self._read_log(_Link.read_detail_log, publish, deadline)

    async def disconnect(self) -> None:
        """End what uses the link, which then fails, and wait until it is released."""
        for scope in self._scopes:
            if not scope.expired():
                scope.reschedule(asyncio.get_running_loop().time())
        async with self._lock:
            pass

    @asynccontextmanager
    async def _open_link(
        self, deadline: float
    ) -> AsyncIterator[tuple[Reading, asyncio.Timeout]]:
        """Connect and read; what follows shares the link and may move the deadline."""
        async with self._lock:
            self._settled.clear()
            try:
                async with self._limit(deadline) as scope:
                    reading = await self._establish()
                    try:
                        yield reading, scope
                    finally:
                        await self._link.close()
            finally:
                self._settled.set()

    @asynccontextmanager
    async def _limit(self, deadline: float) -> AsyncIterator[asyncio.Timeout]:
        """Leave enough of the time to release the link; `disconnect` leaves none."""
        try:
            async with asyncio.timeout(deadline - _DISCONNECT_TIMEOUT) as scope:
                self._scopes.add(scope)
                try:
                    yield scope
                finally:
                    self._scopes.remove(scope)
        except TimeoutError as err:
            raise self._link.explain() from err

    async def _establish(self) -> Reading:
        """Read on a new link, or else on another, which is there afterwards."""
        is_last = False
        while True:
            last, self._link = self._link, self._new_link()
            self._link.hurried = last.hurried
            self._link.acknowledges = last.acknowledges
            async with AsyncExitStack() as stack:
                stack.push_async_callback(self._link.close)
                try:
                    await self._link.open(self._find_device)
                    reading = await self._link.read()
                except (NotReachableError, SilentError, NotJkBmsError) as err:
                    if not isinstance(err, NotReachableError):
                        # What is remembered may be from before a change of firmware
                        await self._link.forget_services()
                    if is_last or not self._link.was_connected:
                        raise
                    _LOGGER.debug("%s: one more try, for %s", self._name, err)
                else:
                    stack.pop_all()
                    return reading
            is_last = True

    async def _read_log[EntryT](
        self,
        read: Callable[[_Link, Reading], Awaitable[tuple[EntryT, ...]]],
        publish: Callable[[Reading], None] | None,
        deadline: float,
    ) -> Log[EntryT]:
        async with self._limit(deadline) as limit, self._log_lock:
            await self._settled.wait()
            if reading := self._held:
                entries = await read(self._link, reading)
            else:
                async with self._open_link(deadline) as (reading, scope):
                    if publish:
                        publish(reading)
                    entries = await read(self._link, reading)
                    scope.reschedule(None)
                    limit.reschedule(None)
            return Log(reading=reading, entries=entries)

    def _new_link(self) -> _Link:
        return _Link(
            self._name,
            self.statistics,
            self.last_frames,
            self._guard,
            self._answer_timeout,
        )


class _Link:
    """One connection, from the first attempt to the last byte."""

    def __init__(
        self,
        name: str,
        statistics: FrameStatistics,
        last_frames: dict[FrameType, Frame],
        guard: Guard,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        self._name = name
        self._answer_timeout = answer_timeout
        self._statistics = statistics
        self._last_frames = last_frames
        self._guard = guard
        self._assembler = FrameAssembler(statistics)
        self._client: bleak_retry_connector.BleakClientWithServiceCache | None = None
        self._send_to: BleakGATTCharacteristic | None = None
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._log_frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._profile: Profile
        self._acknowledged = asyncio.Event()
        self.acknowledges = True
        """Whether the battery acknowledged the first command of the last link in time."""
        self._connect_error: Exception | None = None
        self._due = -inf
        """s of the loop's clock; cell data that come before are only taken note of."""
        self._noted = -inf
        """When that was the last time."""
        self._repeated = False
        self._settings_are_held = False
        """Whether the latest wait for others to say the same."""
        self.hurried = False
        """Whether to publish the next cell data whatever the interval."""
        self._heard_frame = False
        self._heard_jk = False
        self._heard_other = False

    @property
    def was_connected(self) -> bool:
        """Tell whether the connection came about at all."""
        return self._client is not None

    async def open(self, find_device: FindDevice) -> None:
        """Connect and turn the notifications on."""
        if not (device := find_device()):
            raise NotReachableError("No adapter hears the battery")
        try:
            self._client = await establish_connection(
                self._client_class(),
                device,
                self._name,
                disconnected_callback=self._on_disconnected,
                ble_device_callback=lambda: find_device() or device,
            )
        except BLEAK_RETRY_EXCEPTIONS as err:
            # The last word of the retry connector also holds its advice
            self._connect_error = self._connect_error or err
            raise self.explain() from err
        with _translated_errors():
            chosen = choose_characteristics(self._client.services)
        if not chosen:
            raise NotJkBmsError("It has no serial service of a JK BMS")
        receive_from, self._send_to = chosen
        try:
            with _translated_errors():
                async with asyncio.timeout(_SUBSCRIBE_TIMEOUT):
                    await self._client.start_notify(receive_from, self._on_notification)
        except NotReachableError:
            # Remembered handles may be wrong as well
            await self.forget_services()
            raise

    async def forget_services(self) -> None:
        """Let the next connection find out anew what the battery offers."""
        assert self._client
        with suppress(*BLEAK_RETRY_EXCEPTIONS):
            await self._client.clear_cache()

    async def close(self) -> None:
        """Disconnect, whatever state the connection is in, even if cancelled."""
        if not self._client:
            return
        disconnecting = asyncio.create_task(self._disconnect(self._client))
        cancelled: asyncio.CancelledError | None = None
        while not disconnecting.done():
            try:
                await asyncio.shield(disconnecting)
            except asyncio.CancelledError as err:
                # A link that is not released hides the battery from everyone
                cancelled = err
        if cancelled:
            raise cancelled

    async def _disconnect(self, client: BleakClient) -> None:
        with suppress(*BLEAK_RETRY_EXCEPTIONS):
            async with asyncio.timeout(_DISCONNECT_TIMEOUT):
                await client.disconnect()

    async def read(self) -> Reading:
        """Ask for everything in the order that every unit understands."""
        await asyncio.sleep(_SETTLE_TIME)
        await self._throw_away()
        self._guard.begin()
        info = await self._read_device_info()
        await self._wait_for_acknowledgement()
        await self._send(ReadCommand.CELL_DATA)
        try:
            return await self._read_values(info)
        except UnsupportedLayoutError as err:
            err.device_info = info
            raise

    async def follow(
        self, reading: Reading, interval: float, since: float
    ) -> AsyncGenerator[Reading]:
        """Yield the reading, and new cell data in it as they stream, one an interval."""
        clock = asyncio.get_running_loop().time
        self._due = since + interval
        if reading.time >= self._due or self.hurried:
            self._due, self.hurried = reading.time + interval, False
            yield reading
        unfit = blank = 0
        while True:
            frame = await self._next_streamed_frame()
            if frame.type is FrameType.SETTINGS:
                settings = self._decode_settings(frame, self._profile)
                reading = replace(reading, settings=settings or reading.settings)
                if self._settings_are_held:
                    await self._send(ReadCommand.CELL_DATA)
            # Where two come at once, the second is not due any more
            if frame.type is not FrameType.CELL_DATA or self._passes_over(frame):
                continue
            try:
                cell_data = decode_cell_data(frame, self._profile)
            except ImplausibleFrameError:
                self._statistics.rejected += 1
                unfit += 1
                if unfit < _UNFIT_FRAMES:
                    continue
                raise
            is_blank = reading.cell_data.cell_voltage and not cell_data.cell_voltage
            if is_blank and blank < _UNFIT_FRAMES - 1:
                self._guard.see(frame, self._profile.layout, clock())
                blank += 1
                continue
            if not self._guard.admits(frame, self._profile.layout, clock()):
                continue
            unfit = blank = 0
            self._due, self.hurried = clock() + interval, False
            reading = replace(reading, cell_data=cell_data, time=clock())
            yield reading

    async def read_logbook(self, _: Reading) -> tuple[LogEntry, ...]:
        """Ask for the logbook."""
        self._forget_logs()
        for _attempt in range(_ATTEMPTS):
            await self._send(ReadCommand.LOGBOOK)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._answer_timeout):
                    return decode_logbook(await self._next_log(FrameType.LOGBOOK))
        raise LogUnansweredError(_NO_LOG)

    async def read_detail_log(self, reading: Reading) -> tuple[DetailLogRecord, ...]:
        """Ask for the detail log, and once more if a part of it was lost."""
        self._forget_logs()
        records: dict[int, DetailLogRecord] = {}
        for _attempt in range(_ATTEMPTS):
            await self._send(ReadCommand.DETAIL_LOG)
            with suppress(TimeoutError):
                async for record in self._detail_log_records():
                    records[record.index] = record
            stored = reading.cell_data.detail_log_count or max(records, default=0) + 1
            if len(records) >= stored:
                break
        if not records:
            raise LogUnansweredError(_NO_LOG)
        return tuple(records[index] for index in sorted(records))

    async def _detail_log_records(self) -> AsyncIterator[DetailLogRecord]:
        patience = self._answer_timeout
        while True:
            async with asyncio.timeout(patience):
                frame = await self._next_log(FrameType.DETAIL_LOG)
            try:
                records = decode_detail_log(frame)
            except ImplausibleFrameError:
                self._statistics.rejected += 1
                continue
            for record in records:
                yield record
            if len(records) < DETAIL_LOG_CAPACITY:
                return
            patience = _LOG_PAUSE

    async def _next_log(self, kind: FrameType) -> Frame:
        while True:
            if not (frame := await self._log_frames.get()):
                raise NotReachableError("The connection was lost")
            if frame.type is kind:
                return frame

    def _forget_logs(self) -> None:
        """Drop what came too late for the one who asked."""
        while not self._log_frames.empty():
            self._log_frames.get_nowait()

    def explain(self) -> LinkError:
        """Say why there is no reading, from all that happened so far."""
        if not self.was_connected:
            reason = str(self._connect_error or "") or _NO_ANSWER
            if _NO_SLOT.search(reason):
                return NoFreeSlotError(reason)
            if _PAIRING.search(reason):
                return PairingRequiredError(_PAIRING_DEMANDED)
            return NotReachableError(f"No connection came about: {reason}")
        if self._heard_other and not self._heard_jk:
            return NotJkBmsError("It does not speak the protocol of a JK BMS")
        return SilentError("Connected, but it does not answer")

    async def _throw_away(self) -> None:
        """Forget what an earlier session left in the radio module."""
        self._assembler.clear()
        while not self._frames.empty():
            await self._next_frame()

    async def _read_device_info(self) -> DeviceInfo:
        for _ in range(_ATTEMPTS):
            await self._send(ReadCommand.DEVICE_INFO)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._answer_timeout):
                    return await self._next_device_info()
        raise self.explain()

    async def _next_device_info(self) -> DeviceInfo:
        while True:
            frame = await self._next_frame()
            if frame.type is not FrameType.DEVICE_INFO:
                continue
            try:
                info = decode_device_info(frame)
            except ImplausibleFrameError:
                self._statistics.rejected += 1
                continue
            if self._guard.admits_record(info, asyncio.get_running_loop().time()):
                return info
            await self._send(ReadCommand.DEVICE_INFO)

    async def _wait_for_acknowledgement(self) -> None:
        """Give the battery time for it; some send none, or keep it back."""
        patience = _ACKNOWLEDGE_TIMEOUT if self.acknowledges else _UNLIKELY_TIMEOUT
        try:
            async with asyncio.timeout(patience):
                await self._acknowledged.wait()
        except TimeoutError:
            self.acknowledges = False
        else:
            self.acknowledges = True

    async def _read_values(self, info: DeviceInfo) -> Reading:
        clock = asyncio.get_running_loop().time
        profile = _expected_profile(info)
        settings_frame: Frame | None = None
        early = unfit = blank = 0
        while True:
            frame = await self._next_streamed_frame()
            if frame.type is FrameType.SETTINGS:
                settings_frame = frame
            if frame.type is not FrameType.CELL_DATA:
                continue
            if not settings_frame and early < _EARLY_FRAMES:
                early += 1
                continue
            try:
                confirmed = confirm_profile(frame, profile)
                cell_data = decode_cell_data(frame, confirmed)
            except ImplausibleFrameError, UnsupportedLayoutError:
                self._statistics.rejected += 1
                unfit += 1
                if unfit < _UNFIT_FRAMES:
                    continue
                raise
            if not cell_data.cell_voltage and blank < _UNFIT_FRAMES - 1:
                self._guard.see(frame, confirmed.layout, clock())
                blank += 1
                continue
            if not self._guard.admits(frame, confirmed.layout, clock()):
                continue
            settings = self._decode_settings(settings_frame, confirmed)
            if self._settings_are_held:
                settings_frame, early = None, 0
                await self._send(ReadCommand.CELL_DATA)
                continue
            if confirmed != profile:
                _LOGGER.debug("%s: the data are %s", self._name, confirmed.layout)
            self._profile = confirmed
            return Reading(
                layout=confirmed.layout,
                device_info=info,
                settings=settings,
                cell_data=cell_data,
                time=clock(),
            )

    def _decode_settings(
        self, frame: Frame | None, profile: Profile
    ) -> Settings | None:
        """Return the settings, if there are any that can be believed already."""
        self._settings_are_held = False
        if not frame:
            return None
        try:
            settings = decode_settings(frame, profile)
        except ImplausibleFrameError:
            self._statistics.rejected += 1
            return None
        time = asyncio.get_running_loop().time()
        if self._guard.admits_record(settings, time):
            return settings
        self._settings_are_held = True
        return None

    async def _next_streamed_frame(self) -> Frame:
        clock = asyncio.get_running_loop().time
        heard = clock()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(heard + _SILENCE):
                    frame = await self._next_frame()
                self._repeated &= frame.type is not FrameType.CELL_DATA
                return frame
            if self._noted > heard:
                # There were frames, but none that had to be waited for
                heard = self._noted
                continue
            # Settings alone are an answer to each repetition, but no stream
            if self._repeated:
                raise self.explain()
            self._repeated = True
            await self._send(ReadCommand.CELL_DATA)
            heard = clock()

    async def _next_frame(self) -> Frame:
        if frame := await self._frames.get():
            return frame
        if self._heard_frame:
            raise NotReachableError("The connection was lost")
        # Some drop who is not paired, or whose first command they did not hear
        raise self.explain()

    async def _send(self, command: ReadCommand) -> None:
        assert self._client
        assert self._send_to
        self._acknowledged.clear()
        _LOGGER.debug("%s: sending %s", self._name, command.name)
        needs_response = _UNACKNOWLEDGED_WRITE not in self._send_to.properties
        with _translated_errors():
            async with asyncio.timeout(_SEND_TIMEOUT):
                await self._client.write_gatt_char(
                    self._send_to, build_command(command), response=needs_response
                )

    def _on_notification(self, _: BleakGATTCharacteristic, data: bytearray) -> None:
        if not self._heard_frame:
            self._recognise(bytes(data))
        acknowledged = self._statistics.acknowledged
        for frame in self._assembler.feed(data):
            _LOGGER.debug("%s: received %s", self._name, frame)
            if not self._guard.trusts_line():
                continue
            self._last_frames[frame.type] = frame
            self._heard_frame = self._heard_jk = True
            if self._passes_over(frame):
                continue
            self._frames.put_nowait(frame)
            if frame.type in _LOGS:
                self._log_frames.put_nowait(frame)
        if self._statistics.acknowledged > acknowledged:
            self._heard_jk = True
            self._acknowledged.set()

    def _passes_over(self, frame: Frame) -> bool:
        """Only take note of cell data that are not due, and tell whether these were.

        Nobody is woken for them.
        """
        if frame.type is not FrameType.CELL_DATA or self.hurried:
            return False
        now = asyncio.get_running_loop().time()
        if now >= self._due:
            return False
        self._guard.see(frame, self._profile.layout, now)
        self._noted, self._repeated = now, False
        return True

    def _recognise(self, chunk: bytes) -> None:
        """Keep in mind whose language this is, until a frame begins."""
        self._heard_frame = HEADER in chunk
        if self._heard_frame or COMMAND_HEADER in chunk or chunk == IDLE_LINE:
            self._heard_jk = True
        else:
            self._heard_other = True

    def _on_disconnected(self, _: BleakClient) -> None:
        if not self.was_connected:
            # It is the end of an attempt to connect, after which comes another
            return
        self._frames.put_nowait(None)
        self._log_frames.put_nowait(None)

    def _client_class(self) -> type[bleak_retry_connector.BleakClientWithServiceCache]:
        """Return a client that keeps why it could not connect.

        `establish_connection` tries on for longer than our deadline when every slot is
        taken, so its own verdict would come too late. Home Assistant exchanges the
        class at start: it is looked up when it is needed.
        """
        link = self

        class Client(bleak_retry_connector.BleakClientWithServiceCache):
            @override
            async def connect(self, **kwargs: Any) -> None:
                link._connect_error = None
                try:
                    await super().connect(**kwargs)
                except BLEAK_RETRY_EXCEPTIONS as err:
                    link._connect_error = err
                    raise

            @override
            async def clear_cache(self) -> bool:
                # That of plain bleak can only complain that it cannot
                given = bleak_retry_connector.BleakClientWithServiceCache
                can = hasattr(super(given, self), "clear_cache")
                return can and await super().clear_cache()

        return Client


def _expected_profile(info: DeviceInfo) -> Profile | None:
    """Return what the device information tells; the data decide where it tells none."""
    try:
        return choose_profile(info.device_model, info.software_version)
    except UnsupportedLayoutError:
        return None


def choose_characteristics(
    services: BleakGATTServiceCollection,
) -> tuple[BleakGATTCharacteristic, BleakGATTCharacteristic] | None:
    """Choose what to receive from and what to send to (docs/protocol.md 2.3).

    The UUID may exist twice, so the properties decide; `None` if one is not there.
    """
    characteristics = [
        characteristic
        for service in services
        if service.uuid == _SERVICE
        for characteristic in service.characteristics
    ]
    serial = [found for found in characteristics if found.uuid == _SERIAL]
    receive_from = [found for found in serial if "notify" in found.properties]
    send_to = [
        *(found for found in receive_from if _WRITE & set(found.properties)),
        *(found for found in serial if _WRITE & set(found.properties)),
        *(
            found
            for found in characteristics
            if found.uuid == _EXTRA_WRITE and _UNACKNOWLEDGED_WRITE in found.properties
        ),
    ]
    return (receive_from[0], send_to[0]) if receive_from and send_to else None


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except BLEAK_RETRY_EXCEPTIONS as err:
        if _PAIRING.search(str(err)):
            raise PairingRequiredError(_PAIRING_DEMANDED) from err
        raise NotReachableError(
            f"The connection was lost: {str(err) or _NO_ANSWER}"
        ) from err
