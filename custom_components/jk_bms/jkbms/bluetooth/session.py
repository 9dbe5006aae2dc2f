"""The JK protocol on one connection: request, wait, repeat (docs/protocol.md 4)."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import replace
import logging
from math import inf
from typing import Any, Final

from ..errors import (
    ConnectionLostError,
    ImplausibleFrameError,
    LinkError,
    NoFreeSlotError,
    NotJkBmsError,
    PairingRequiredError,
    SilentError,
    UnsupportedLayoutError,
)
from ..models import CellData, DeviceInfo, LiveSample, Reading, Settings
from ..protocol.changes import Change
from ..protocol.confirmation import Record
from ..protocol.decode import (
    decode_cell_data,
    decode_device_info,
    decode_settings,
    lasting_content,
)
from ..protocol.frames import (
    COMMAND_HEADER,
    HEADER,
    IDLE_LINE,
    Frame,
    FrameAssembler,
    FrameType,
    ReadCommand,
)
from ..protocol.live import LiveChecker
from ..protocol.profile import Profile
from ..protocol.registers import build_command
from .cell_decoder import CellDecoder
from .connection import PAIRING_REQUIRED, ClientMixin, Connection
from .memory import Memory

_LOGGER = logging.getLogger(__name__)

ANSWER_TIMEOUT: Final = 5.0
"""Seconds until an unanswered command is repeated."""
SETTLE_TIME: Final = 0.3
"""Seconds between the subscription and the first command, and before each write."""
SILENCE_TIMEOUT: Final = 6.0
"""Seconds without a frame until 0x96 is repeated; after as long again the session fails."""
_ACKNOWLEDGEMENT_TIMEOUT: Final = 0.5
"""Seconds to wait for the acknowledgement of the first command."""
_UNLIKELY_ACKNOWLEDGEMENT_TIMEOUT: Final = 0.12
"""Seconds to wait for it if the previous one was missing; in captures it takes 0.1 s."""
_WRITE_ACKNOWLEDGEMENT_TIMEOUT: Final = 1.0
"""Seconds to wait for the acknowledgement of a write before the value is read back."""
COMMAND_ATTEMPTS: Final = 2
"""Maximum number of times that a command is sent."""
_UNREAD_LOG_FRAMES: Final = 64
"""Maximum number of queued log frames; further unrequested ones are dropped."""
_COUNTED_TOGETHER: Final = 16
"""Frames of a held link, eight seconds' worth, whose power is counted in one go.

One at a time, each would find the code for it evicted from the processor's caches.
"""
_EARLY_FRAMES: Final = 2
"""Maximum cell data to skip before the settings: they are left over from an earlier stream.

If there are more, the settings were lost.
"""

_REQUESTS: Final = {
    FrameType.SETTINGS: ReadCommand.CELL_DATA,
    FrameType.DEVICE_INFO: ReadCommand.DEVICE_INFO,
}
_RECORDS: Final[dict[FrameType, type[Record]]] = {
    FrameType.SETTINGS: Settings,
    FrameType.DEVICE_INFO: DeviceInfo,
}
_LOG_TYPES: Final = frozenset({FrameType.LOGBOOK, FrameType.DETAIL_LOG})


class Session:
    """Reads the battery on one connection, which the owner opens and closes."""

    def __init__(
        self,
        name: str,
        memory: Memory,
        answer_timeout: float = ANSWER_TIMEOUT,
        client_mixin: ClientMixin | None = None,
    ) -> None:
        """Prepare; `name` is for the log, `client_mixin` for the connection."""
        self.connection = Connection(
            name, self.on_data, self._on_disconnected, client_mixin
        )
        self._name = name
        self._memory = memory
        self._checker = memory.checker
        self._confirmation = memory.confirmation
        self.statistics = memory.statistics
        self.answer_timeout = answer_timeout
        self._assembler = FrameAssembler(memory.statistics)
        # `None` is the end of the connection
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._log_frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._answers: asyncio.Queue[Frame | None] = asyncio.Queue()
        """Frames of the type that `ask` waits for."""
        self._wanted: FrameType | None = None
        self._acknowledged = asyncio.Event()
        self._device_info: DeviceInfo
        self._cells = CellDecoder(name, memory)
        self._settings: Settings | None = None
        self._pending_settings: Frame | None = None
        """Settings that are not decoded yet."""
        self._due = -inf
        """When cell data are due, in seconds of the loop's clock; earlier ones are skipped."""
        self._skipped_at = -inf
        """When cell data were last skipped, in seconds of the loop's clock."""
        self._stream_requested_again = False
        self._live_checker: LiveChecker | None = None
        self._uncounted: list[tuple[Frame, float]] = []
        """Cell data that are not counted yet, and when they arrived."""
        self._on_live: Callable[[LiveSample], None] = lambda _: None
        self._frame_seen = False
        self._jk_bytes_seen = False
        self._foreign_bytes_seen = False

    async def read(self) -> Reading:
        """Request everything in the order that every model understands.

        Raises a `LinkError`, `UnsupportedLayoutError` or `ImplausibleFrameError`.
        """
        await asyncio.sleep(SETTLE_TIME)
        await self._drain()
        self._checker.begin_link()
        self._confirmation.begin_link()
        self._device_info = await self._read_device_info()
        self._cells.expect(self._device_info)
        await self._wait_for_acknowledgement()
        await self.send(ReadCommand.CELL_DATA)
        try:
            return await self._next_reading()
        except UnsupportedLayoutError as err:
            err.device_info = self._device_info
            raise

    async def follow(
        self, reading: Reading, interval: float, since: float
    ) -> AsyncGenerator[Reading]:
        """Yield a reading every `interval` seconds while the battery streams.

        The first is `reading` if the one before it, from `since`, is old enough.
        """
        self._due = since + interval
        try:
            while True:
                if self._memory.publish_next or reading.time >= self._due:
                    self._memory.publish_next = False
                    self._due = reading.time + interval
                    self.count_frames()
                    yield reading
                reading = await self._next_reading()
        finally:
            self.count_frames()

    def count(self, reading: Reading, on_live: Callable[[LiveSample], None]) -> None:
        """Call `on_live` with the first reading, and then for every good frame.

        Frames are queued and counted a few at a time, at the latest with the next reading
        or when `count_frames` is called.
        """
        self._live_checker, self._on_live = LiveChecker(reading), on_live
        on_live(LiveSample.of(reading))

    def count_frames(self) -> None:
        """Report the queued frames to `on_live`."""
        frames, self._uncounted = self._uncounted, []
        for frame, time in frames:
            assert self._live_checker
            for sample in self._live_checker.accept(self._cells.live(frame), time):
                self._on_live(sample)

    async def write(self, change: Change) -> None:
        """Send a change once and wait for the acknowledgement, which confirms nothing."""
        self._acknowledged.clear()
        await self.connection.write(build_command(change.register, change.new))
        with suppress(TimeoutError):
            async with asyncio.timeout(_WRITE_ACKNOWLEDGEMENT_TIMEOUT):
                await self._acknowledged.wait()

    def expect(self, change: Change) -> None:
        """Accept the next frame that shows this change and its side effects."""
        register = change.register
        if record := _RECORDS.get(register.proof):
            self._confirmation.expect(record, register.field, change.new)
        self._checker.expect(register.moves, asyncio.get_running_loop().time())

    def forget(self, change: Change) -> None:
        """Drop the old value of a changed setting until it is read again."""
        register = change.register
        values: dict[str, Any] = {register.field: None}
        if register.proof is FrameType.SETTINGS and self._settings:
            self._settings = replace(self._settings, **values)
        elif register.proof is FrameType.DEVICE_INFO:
            self._device_info = replace(self._device_info, **values)

    async def ask(
        self, kind: FrameType, timeout: float
    ) -> Settings | DeviceInfo | CellData | None:
        """Return what the battery reports now, `None` if it is late or not accepted.

        Cell data stream, the others are requested. Raises a `LinkError`.
        """
        self._wanted, self._answers = kind, asyncio.Queue()
        try:
            async with asyncio.timeout(timeout):
                if request := _REQUESTS.get(kind):
                    await self.send(request)
                frame = await self._answers.get()
        except TimeoutError:
            return None
        finally:
            self._wanted = None
        if not frame:
            raise ConnectionLostError("The connection was lost")
        return self._believed(frame)

    def _believed(self, frame: Frame) -> Settings | DeviceInfo | CellData | None:
        assert self._cells.profile
        record: Settings | DeviceInfo
        try:
            if frame.type is FrameType.CELL_DATA:
                return decode_cell_data(frame, self._cells.profile)
            if frame.type is FrameType.SETTINGS:
                record = decode_settings(frame, self._cells.profile)
            else:
                record = decode_device_info(frame)
        except ImplausibleFrameError:
            self.statistics.rejected += 1
            return None
        if not self._is_confirmed(record, frame):
            return None
        if isinstance(record, Settings):
            self._settings = record
        else:
            self._device_info = record
        return record

    def _is_confirmed(self, record: Record, frame: Frame) -> bool:
        now = asyncio.get_running_loop().time()
        return self._confirmation.accept(record, now, lasting_content(frame))

    def failure(self) -> LinkError:
        """Return why there is no reading, judging by how far this session has come."""
        if not self.connection.was_established:
            return self.connection.connect_failure()
        if self._foreign_bytes_seen and not self._jk_bytes_seen:
            return NotJkBmsError("The device does not use the JK BMS protocol")
        if self.looks_unpaired:
            return PairingRequiredError(PAIRING_REQUIRED)
        if self._frame_seen and self.connection.waited_for_slot:
            return NoFreeSlotError("A connection slot became free too late for a read")
        return SilentError("Connected, but the battery does not respond")

    @property
    def looks_unpaired(self) -> bool:
        """Whether nothing came, and the radio module is of the kind that needs pairing."""
        return (
            self.connection.may_require_pairing
            and self.connection.was_established
            and not (self._jk_bytes_seen or self._foreign_bytes_seen)
        )

    def on_data(self, data: bytearray) -> None:
        """Process one notification."""
        if not self._frame_seen:
            self._detect_protocol(bytes(data))
        acknowledged = self.statistics.acknowledged
        for frame in self._assembler.feed(data):
            _LOGGER.debug("%s: received %s", self._name, frame)
            if self._checker.line_is_reliable():
                self._on_frame(frame)
        if self.statistics.acknowledged > acknowledged:
            self._jk_bytes_seen = True
            self._acknowledged.set()

    def _on_frame(self, frame: Frame) -> None:
        """Process one good frame, due or not: every frame passes here."""
        self._memory.last_frames[frame.type] = frame
        self._frame_seen = self._jk_bytes_seen = True
        now = asyncio.get_running_loop().time()
        if self._live_checker and frame.type is FrameType.CELL_DATA:
            self._uncounted.append((frame, now))
            if len(self._uncounted) >= _COUNTED_TOGETHER:
                self.count_frames()
        if frame.type is self._wanted:
            self._answers.put_nowait(frame)
            if frame.type is not FrameType.CELL_DATA:
                return
        if self._skip(frame, now):
            return
        self._frames.put_nowait(frame)
        if frame.type in _LOG_TYPES and self._log_frames.qsize() < _UNREAD_LOG_FRAMES:
            self._log_frames.put_nowait(frame)

    def _skip(self, frame: Frame, now: float) -> bool:
        """Return whether cell data are not due, so the reading task need not be woken."""
        if frame.type is not FrameType.CELL_DATA or self._memory.publish_next:
            return False
        if now >= self._due:
            return False
        if self._cells.has_new_states(frame):
            self._due = -inf
            return False
        assert self._cells.profile
        self._checker.note(frame, self._cells.profile, now)
        self._skipped_at, self._stream_requested_again = now, False
        return True

    def _detect_protocol(self, chunk: bytes) -> None:
        """Note whether this comes from a JK BMS; not called once a frame has begun."""
        self._frame_seen = HEADER in chunk
        if self._frame_seen or COMMAND_HEADER in chunk or chunk == IDLE_LINE:
            self._jk_bytes_seen = True
        else:
            self._foreign_bytes_seen = True

    def _on_disconnected(self) -> None:
        self._frames.put_nowait(None)
        self._log_frames.put_nowait(None)
        self._answers.put_nowait(None)

    async def _drain(self) -> None:
        """Drop what an earlier session left in the radio module.

        Raises if the connection is already lost.
        """
        self._assembler.clear()
        while not self._frames.empty():
            await self._next_frame()

    async def _read_device_info(self) -> DeviceInfo:
        for _ in range(COMMAND_ATTEMPTS):
            await self.send(ReadCommand.DEVICE_INFO)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.answer_timeout):
                    return await self._next_device_info()
        raise self.failure()

    async def _next_device_info(self) -> DeviceInfo:
        while True:
            frame = await self._next_frame()
            if frame.type is not FrameType.DEVICE_INFO:
                continue
            try:
                info = decode_device_info(frame)
            except ImplausibleFrameError:
                self.statistics.rejected += 1
                continue
            if self._is_confirmed(info, frame):
                return info
            await self.send(ReadCommand.DEVICE_INFO)

    async def _wait_for_acknowledgement(self) -> None:
        """Wait briefly for the acknowledgement: some models send none or delay it."""
        memory = self._memory
        timeout = (
            _ACKNOWLEDGEMENT_TIMEOUT
            if memory.acknowledges
            else _UNLIKELY_ACKNOWLEDGEMENT_TIMEOUT
        )
        try:
            async with asyncio.timeout(timeout):
                await self._acknowledged.wait()
        except TimeoutError:
            memory.acknowledges = False
        else:
            memory.acknowledges = True

    async def _next_reading(self) -> Reading:
        """Wait for cell data that are due and accepted.

        This is the only loop over the stream: the first reading of a session and every
        later one of a held link come from here.
        """
        clock = asyncio.get_running_loop().time
        early = 0
        while True:
            frame = await self._next_streamed_frame()
            if frame.type is FrameType.SETTINGS:
                self._pending_settings = frame
                if self._cells.profile:
                    await self._take_settings(self._cells.profile)
            # The second of two frames in one notification may no longer be due
            if frame.type is not FrameType.CELL_DATA or self._skip(frame, clock()):
                continue
            is_early = not self._cells.profile and not self._pending_settings
            if is_early and early < _EARLY_FRAMES:
                early += 1
                continue
            if not (decoded := self._cells.decode(frame, clock())):
                continue
            profile, cell_data = decoded
            if not self._checker.accept(frame, cell_data, profile, clock()):
                continue
            if not await self._take_settings(profile):
                early = 0
                continue
            self._cells.believe(profile, cell_data)
            return Reading(
                layout=profile.layout,
                device_info=self._device_info,
                settings=self._settings,
                cell_data=cell_data,
                time=clock(),
            )

    async def _take_settings(self, profile: Profile) -> bool:
        """Decode pending settings, if any; request them again if not accepted yet.

        Returns whether there is nothing to wait for.
        """
        frame, self._pending_settings = self._pending_settings, None
        if not frame:
            return True
        try:
            settings = decode_settings(frame, profile)
        except ImplausibleFrameError:
            self.statistics.rejected += 1
            return True
        if self._is_confirmed(settings, frame):
            self._settings = settings
            return True
        await self.send(ReadCommand.CELL_DATA)
        return False

    async def _next_streamed_frame(self) -> Frame:
        """Wait for a frame; after silence request the stream once more, then fail."""
        clock = asyncio.get_running_loop().time
        last_frame_at = clock()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(last_frame_at + SILENCE_TIMEOUT):
                    frame = await self._next_frame()
                self._stream_requested_again &= frame.type is not FrameType.CELL_DATA
                return frame
            if self._skipped_at > last_frame_at:
                last_frame_at = self._skipped_at
                continue
            # Settings answer each request, but do not count as the stream
            if self._stream_requested_again:
                raise self.failure()
            self._stream_requested_again = True
            await self.send(ReadCommand.CELL_DATA)
            last_frame_at = clock()

    async def _next_frame(self) -> Frame:
        if frame := await self._frames.get():
            return frame
        if self._frame_seen:
            raise ConnectionLostError("The connection was lost")
        # Some models disconnect if not paired, or if the first command got lost
        raise self.failure()

    async def next_log_frame(self, kind: FrameType) -> Frame:
        """Wait for a frame of a log; raises a `LinkError` if the connection is lost."""
        while True:
            if not (frame := await self._log_frames.get()):
                raise ConnectionLostError("The connection was lost")
            if frame.type is kind:
                return frame

    def drop_log_frames(self) -> None:
        """Drop late answers to an earlier request."""
        while not self._log_frames.empty():
            self._log_frames.get_nowait()

    async def send(self, command: ReadCommand) -> None:
        """Send a command that changes nothing."""
        self._acknowledged.clear()
        _LOGGER.debug("%s: sending %s", self._name, command.name)
        await self.connection.write(build_command(command))
