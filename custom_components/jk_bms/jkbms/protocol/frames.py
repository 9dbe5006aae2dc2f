"""Converts received bytes to checked 300-byte frames (docs/protocol.md 4.1 and 5)."""

from dataclasses import dataclass, field
from enum import IntEnum
import re
from typing import Final
from zlib import adler32

from ..errors import FrameError

FRAME_SIZE: Final = 300
COMMAND_SIZE: Final = 20
HEADER: Final = bytes.fromhex("55AAEB90")
COMMAND_HEADER: Final = bytes.fromhex("AA5590EB")
IDLE_LINE: Final = b"AT\r\n"
"""Command that some units send to their own radio module while the line is idle."""

_ACKNOWLEDGEMENT: Final = 0xC8
_USUAL_SIZE: Final = 20
"""Minimum bytes of a notification, except the last one of a frame."""
MAX_VALUE_SIZE: Final = COMMAND_SIZE - len(COMMAND_HEADER) - 3
"""Maximum bytes of a written value."""
_START: Final = re.compile(b"|".join(map(re.escape, (HEADER, COMMAND_HEADER))))
_SIZE: Final = {HEADER: FRAME_SIZE, COMMAND_HEADER: COMMAND_SIZE}


class FrameType(IntEnum):
    """Content of a frame from the BMS."""

    SETTINGS = 0x01
    CELL_DATA = 0x02
    DEVICE_INFO = 0x03
    LOGBOOK = 0x05
    DETAIL_LOG = 0x06

    # `IntEnum.__hash__` is slow Python code
    __hash__ = int.__hash__


class ReadCommand(IntEnum):
    """Commands that change nothing (docs/protocol.md 4.2)."""

    CELL_DATA = 0x96
    """The battery sends its settings, then starts the stream of cell data."""
    DEVICE_INFO = 0x97
    LOGBOOK = 0xA1
    DETAIL_LOG = 0xA7


_TYPES: Final = {kind.value: kind for kind in FrameType}
_EXACT_SUM: Final = 256
"""Number of bytes whose sum always stays below the modulus of Adler-32, 65521."""


def checksum(data: bytes) -> int:
    """Return the low 8 bits of the sum of all bytes."""
    # The low half of an Adler-32 that starts at 0 is the sum, in a third of the time
    total = adler32(data[:_EXACT_SUM], 0)
    for start in range(_EXACT_SUM, len(data), _EXACT_SUM):
        total += adler32(data[start : start + _EXACT_SUM], 0)
    return total & 0xFF


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame whose header, type and checksum are correct.

    `data` holds all 300 bytes; it stays out of `repr` because it may contain passcodes.
    """

    type: FrameType
    counter: int
    data: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Frame:
        """Check 300 bytes; raise `FrameError` with the reason if they are not a frame."""
        if len(data) != FRAME_SIZE:
            raise FrameError(f"{len(data)} bytes instead of {FRAME_SIZE}")
        if not data.startswith(HEADER):
            raise FrameError("No frame header")
        if not (kind := _TYPES.get(data[4])):
            raise FrameError(f"Unknown frame type {data[4]}")
        if data.find(HEADER, len(HEADER)) >= 0:
            raise FrameError("Another frame starts inside")
        if COMMAND_HEADER in data:
            raise FrameError("A command or its acknowledgement starts inside")
        if checksum(data[:-1]) != data[-1]:
            raise FrameError("Wrong checksum")
        return cls(kind, data[5], data)


@dataclass(slots=True)
class FrameStatistics:
    """Counters of a `FrameAssembler`."""

    good: int = 0
    """Frames accepted."""
    rejected: int = 0
    """Frames that began but were rejected."""
    damaged: int = 0
    """Rejected frames in which no other frame begins, as it would after lost bytes."""
    skipped: int = 0
    """Bytes that belong to no accepted frame, including acknowledgements."""
    acknowledged: int = 0
    """Acknowledgements of commands."""


class FrameAssembler:
    """Finds the frames in a lossy serial stream (docs/protocol.md 5.2).

    Feed it the notifications of one link, in order; it never raises and keeps less than
    1 KiB. Every byte is counted once: in a good frame, as skipped, or as still held in
    the buffer.
    """

    def __init__(self, statistics: FrameStatistics | None = None) -> None:
        """Start empty; statistics may be shared by the links of one battery."""
        self.statistics = statistics or FrameStatistics()
        self._buffer = b""
        self._wanted = 0
        """Size of the item at the start of the buffer, 0 before a header was found."""
        self._last = b""
        self._doubled = False
        self._unread: list[bytes] = []
        """Notifications that form one frame if nothing goes wrong; else `_buffer` is used."""
        self._missing = 0
        """Size of the rest of that frame, 0 if none has begun."""

    @property
    def unfinished(self) -> bytes:
        """The bytes held of the next frame; they may contain secrets."""
        return self._buffer or b"".join(self._unread)

    def clear(self) -> None:
        """Drop unfinished bytes when a new link begins."""
        self.statistics.skipped += len(self.unfinished)
        self._unread, self._missing = [], 0
        self._buffer = b""
        self._wanted = 0
        self._last = b""
        self._doubled = False

    def feed(self, chunk: bytes | bytearray) -> list[Frame]:
        """Take one notification and return the frames that it completes."""
        size = len(chunk)
        missing = (self._missing or self._begun_by(chunk)) - size
        if missing > 0 and size >= _USUAL_SIZE:
            # Most notifications complete no frame
            self._unread.append(bytes(chunk))
            self._missing = missing
            return []
        chunk = bytes(chunk)
        if chunk == IDLE_LINE and not (self._unread or self._doubled):
            self._last = chunk
            self.statistics.skipped += size
            return []
        chunks = [*self._unread, chunk]
        self._unread, self._missing = [], 0
        if missing == 0 and chunk != IDLE_LINE:
            try:
                frame = Frame.parse(b"".join(chunks))
            except FrameError:
                pass
            else:
                self.statistics.good += 1
                return [frame]
        # The notifications contain something else as well
        frames: list[Frame] = []
        for unread in chunks:
            self._read(unread, frames)
        return frames

    def _begun_by(self, chunk: bytes | bytearray) -> int:
        """Return the size of the frame that cleanly begins with this notification."""
        is_clean = chunk.startswith(HEADER) and not (self._buffer or self._doubled)
        return FRAME_SIZE if is_clean else 0

    def _read(self, chunk: bytes, frames: list[Frame]) -> None:
        """Search a notification that may contain anything."""
        last, self._last = self._last, chunk if len(chunk) <= FRAME_SIZE else b""
        is_repeated = (self._doubled or chunk == last) and self._is_repeated(
            chunk, last
        )
        if is_repeated or chunk == IDLE_LINE:
            self.statistics.skipped += len(chunk)
            return
        while chunk:
            self._buffer += chunk[:FRAME_SIZE]
            chunk = chunk[FRAME_SIZE:]
            self._collect(frames)

    def _collect(self, frames: list[Frame]) -> None:
        while self._find_start() and len(self._buffer) >= self._wanted:
            size, self._wanted = self._wanted, 0
            candidate = self._buffer[:size]
            if size == COMMAND_SIZE:
                self._skip(size if self._is_command(candidate) else len(HEADER))
                continue
            try:
                frames.append(Frame.parse(candidate))
            except FrameError:
                # The next header may be inside the rejected bytes
                self.statistics.rejected += 1
                self.statistics.damaged += HEADER not in candidate[len(HEADER) :]
                self._skip(len(HEADER))
            else:
                self.statistics.good += 1
                self._buffer = self._buffer[size:]

    def _find_start(self) -> bool:
        """Skip all bytes before the first header; return whether there is one."""
        if self._wanted or not self._buffer:
            return self._wanted > 0
        if self._buffer.startswith(HEADER):
            self._wanted = FRAME_SIZE
        elif start := _START.search(self._buffer):
            self._wanted = _SIZE[start.group()]
            self._skip(start.start())
        else:
            self._skip(max(0, len(self._buffer) - len(HEADER) + 1))
        return self._wanted > 0

    def _is_command(self, candidate: bytes) -> bool:
        """Distinguish an acknowledgement or an echo from a damaged start of a frame."""
        if HEADER in candidate or checksum(candidate[:-1]) != candidate[-1]:
            return False
        self.statistics.acknowledged += candidate[4] == _ACKNOWLEDGEMENT
        return True

    def _skip(self, count: int) -> None:
        self.statistics.skipped += count
        self._buffer = self._buffer[count:]

    def _is_repeated(self, chunk: bytes, last: bytes) -> bool:
        """Detect the second of two equal notifications on a link that repeats each.

        Equal neighbours alone mean nothing (a frame may hold two equal chunks), but the
        beginning of a frame never comes twice.
        """
        if not chunk or chunk != last:
            # The last one was not repeated, or this one is undecidable
            if last or not self._last:
                self._doubled = False
            return False
        if HEADER in chunk and self._buffer and chunk.endswith(self._buffer):
            self._doubled = True
        if self._doubled:
            self._last = b""
        return self._doubled
