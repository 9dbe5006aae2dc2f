"""Find the frames in a dump: a log, a hex dump, source code or anything else users paste.

No format is assumed: any bytes with header, length and checksum count as a frame
(docs/protocol.md 5.1), in any notation that `notation` reads.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise, product
import re
from typing import Final, NamedTuple, override

from ..errors import FrameError
from .encoded_text import Chunk
from .frames import (
    COMMAND_HEADER,
    COMMAND_SIZE,
    FRAME_SIZE,
    HEADER,
    IDLE_LINE,
    Frame,
    checksum,
)
from .notation import readings, readings_of_bytes

_FRAME: Final = (
    f"a frame has {FRAME_SIZE} bytes and starts with {HEADER.hex(' ').upper()}"
)
NOTHING_FOUND: Final = (
    f"no frame found: {_FRAME}; bytes can be hexadecimal, decimal, octal or binary "
    "numbers, a string with escapes, or base64"
)
_START: Final = re.compile(re.escape(HEADER[:1]) + b"?" + re.escape(HEADER[1:]))
"""A header, also one that has lost its first byte."""
_LINE_BREAK: Final = re.compile(r"\r?\n")
_INVISIBLE: Final = re.compile("[\\u00ad\\u200b-\\u200f\\u2060\\ufeff]")
"""Soft hyphens and zero-width characters, which chats and web pages insert."""
_ADDRESS: Final = re.compile(
    r"(?:\bdev_|(?<!\w)(?<![0-9A-Fa-f][:-]))"
    r"((?:[0-9A-Fa-f]{2}[:_-]){5}[0-9A-Fa-f]{2})(?!\w|[:-][0-9A-Fa-f])"
)
"""Address of a Bluetooth device, also in the notation of BlueZ."""
_NOTIFICATION: Final = re.compile(
    rb"([\x04-\xff])([\x00-\x02])\x04\x00\x1b..", re.DOTALL
)
"""L2CAP length (low byte first), the channel of ATT, opcode and handle of a notification."""
_NOTIFICATION_HEADER: Final = 3
"""Bytes before the value that the L2CAP length includes."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A problem with a frame. It quotes none of its bytes: they may be a passcode."""

    place: str
    text: str
    is_rejected: bool
    """Whether the frame cannot be used."""

    @override
    def __str__(self) -> str:
        """Return the place and the text."""
        return f"{self.place}: {self.text}"


@dataclass(frozen=True, slots=True)
class Dump:
    """The frames of a dump, in order."""

    frames: tuple[Frame, ...]
    places: tuple[str, ...]
    """Places of the frames in the dump."""
    remarks: tuple[Remark, ...]

    @property
    def rejected(self) -> int:
        """The number of frames that cannot be used."""
        return sum(remark.is_rejected for remark in self.remarks)


class _Found(NamedTuple):
    """A frame, or the reason why there is none, and its place in the text."""

    begin: int
    end: int
    frame: Frame | None
    remark: str = ""
    is_whole: bool = False
    """Whether the bytes up to the next header, or the end, are as many as a frame has."""


def read_dump(dump: str | bytes) -> Dump:
    """Find the frames in a text or in the content of a file, in linear time.

    Raises nothing: the remarks describe the problems of unusable frames.
    """
    if isinstance(dump, bytes):
        if starts := [match.start() for match in _START.finditer(dump)]:
            spans = pairwise([0, *starts, len(dump)])
            chunks = [Chunk(begin, end, dump[begin:end]) for begin, end in spans]
            found = _merge([_find_in_notifications(chunks), _find_frames(chunks)])
            return _dump(found, lambda position: f"byte {position}")
        dump = _decode(dump)
    dump = _INVISIBLE.sub("", dump)
    breaks = [match.start() for match in re.finditer("\n", dump)]

    def line(position: int) -> str:
        return f"line {bisect_left(breaks, position) + 1}"

    found = _find_in_text(dump)
    if breaks:
        certain = [each for each in found if each.frame or each.is_whole]
        found = _merge([certain, _find_in_wrapped_text(dump), found])
        found = max(found, _find_by_address(dump), key=_count_whole)
    if not found and (chunk := _longest_chunk(dump)):
        remark = Remark(line(chunk.begin), _why_no_frame(chunk), is_rejected=False)
        return Dump((), (), (remark,))
    return _dump(found, line)


def _longest_chunk(text: str) -> Chunk | None:
    """Return the longest chunk of bytes, `None` if it is shorter than a command."""
    chunks = [chunk for reading in readings_of_bytes(text) for chunk in reading]
    longest = max(chunks, key=lambda chunk: len(chunk.data), default=None)
    return longest if longest and len(longest.data) >= COMMAND_SIZE else None


def _why_no_frame(chunk: Chunk) -> str:
    is_command = chunk.data.startswith(COMMAND_HEADER)
    what = "a command or its acknowledgement" if is_command else "no frame"
    return f"{len(chunk.data)} bytes that are {what}: {_FRAME}"


def _dump(found: Sequence[_Found], place: Callable[[int], str]) -> Dump:
    return Dump(
        tuple(each.frame for each in found if each.frame),
        tuple(place(each.begin) for each in found if each.frame),
        tuple(
            Remark(place(each.begin), each.remark, each.frame is None)
            for each in found
            if each.remark
        ),
    )


def _decode(raw: bytes) -> str:
    """Return the text of a file, which may be UTF-16 with or without a byte order mark."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace")
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if raw[first::2].count(0) > len(raw) / 4:
            return raw.decode(encoding, "replace")
    return raw.decode("utf-8-sig", "replace")


def _find_in_text(text: str) -> list[_Found]:
    """Find frames in all readings of a text; bytes of packets are searched only as packets."""
    chunks = [*readings(text)]
    packets = _merge(map(_find_in_notifications, chunks))
    ends = [each.end for each in packets]
    others = [
        each
        for each in _merge(map(_find_frames, chunks))
        if (number := bisect_right(ends, each.begin)) == len(packets)
        or packets[number].begin >= each.end
    ]
    return sorted(packets + others, key=lambda each: each.begin)


def _merge(readings: Iterable[Sequence[_Found]]) -> list[_Found]:
    """Merge the frames that several readings of a text find.

    One in 256 wrong readings has a correct checksum by chance. For each place, a reading
    in which a frame has the right length therefore wins, even if its checksum is wrong;
    else the first reading that finds a frame there. Without any frame, the reading with
    the most remarks is kept.
    """
    readings = [*readings]
    useful = [
        found
        for found in readings
        if any(each.frame or each.is_whole for each in found)
    ]
    if not useful:
        return [*max(readings, key=len, default=())]
    merged: list[_Found] = []
    for rank, found in product(sorted({*map(_rank, chain(*useful))}), useful):
        begins, ends = [each.begin for each in merged], [each.end for each in merged]
        for each in found:
            if _rank(each) != rank:
                continue
            # Ends are estimates if a frame ends within a chunk
            middle = (each.begin + each.end) / 2
            before = bisect_right(begins, middle) - 1
            if before < 0 or ends[before] <= middle:
                merged.append(each)
        merged.sort(key=lambda each: each.begin)
    return merged


def _rank(found: _Found) -> tuple[bool, bool]:
    """Return the sort key by which finds take precedence."""
    return not found.is_whole, found.frame is None


def _find_in_wrapped_text(text: str) -> list[_Found]:
    """Find frames as if the text had been wrapped anywhere, even within a number."""
    breaks = [match.span() for match in _LINE_BREAK.finditer(text)]
    removed = [0]
    for begin, end in breaks:
        removed.append(removed[-1] + end - begin)
    joints = [begin - gone for (begin, _), gone in zip(breaks, removed, strict=False)]

    def original(position: int) -> int:
        return position + removed[bisect_right(joints, position)]

    return [
        each._replace(begin=original(each.begin), end=original(each.end))
        for each in _find_in_text(_LINE_BREAK.sub("", text))
        if each.frame
    ]


def _count_whole(found: Sequence[_Found]) -> int:
    return sum(each.is_whole and each.frame is not None for each in found)


def _find_by_address(text: str) -> list[_Found]:
    """Find the frames of several batteries, whose notifications may alternate.

    A line without an address belongs to the line before it.
    """
    parts: dict[frozenset[str], list[tuple[int, str]]] = {}
    addresses = frozenset[str]()
    position = 0
    for line in text.splitlines(keepends=True):
        if found := _ADDRESS.findall(line):
            addresses = frozenset(found)
        parts.setdefault(addresses, []).append((position, line))
        position += len(line)
    parts.pop(frozenset(), None)
    if len(parts) < 2:
        return []
    found = [each for lines in parts.values() for each in _find_in_lines(lines)]
    return sorted(found, key=lambda each: each.begin)


def _find_in_lines(lines: Sequence[tuple[int, str]]) -> list[_Found]:
    """Find frames in some lines of a text, each with its position there."""
    offsets = [*accumulate((len(line) for _, line in lines), initial=0)]

    def original(position: int) -> int:
        number = min(bisect_right(offsets, position), len(lines)) - 1
        return lines[number][0] + position - offsets[number]

    return [
        each._replace(begin=original(each.begin), end=original(each.end))
        for each in _find_in_text("".join(line for _, line in lines))
    ]


def _find_in_notifications(chunks: Sequence[Chunk]) -> list[_Found]:
    """Find frames in the notifications of captured packets (Wireshark, btmon, btsnoop)."""
    data = b"".join(chunk.data for chunk in chunks)
    offsets = [*accumulate((len(chunk.data) for chunk in chunks), initial=0)]

    def position(offset: int) -> int:
        number = min(bisect_right(offsets, offset), len(chunks)) - 1
        chunk = chunks[number]
        return min(chunk.begin + offset - offsets[number], chunk.end)

    values = []
    headers = [*_NOTIFICATION.finditer(data)]
    next_starts = [*(header.start() for header in headers[1:]), len(data)]
    for match, next_start in zip(headers, next_starts, strict=False):
        size = int.from_bytes(match[1] + match[2], "little") - _NOTIFICATION_HEADER
        begin, end = match.end(), min(match.end() + size, next_start)
        values.append(Chunk(position(begin), position(end), data[begin:end]))
    return [each for each in _find_frames(values) if each.frame or each.is_whole]


def _find_frames(chunks: Iterable[Chunk]) -> list[_Found]:
    """Return each frame, and each header without a frame, in order."""
    chunks = _without_repeats([chunk for chunk in chunks if chunk.data != IDLE_LINE])
    data = b"".join(chunk.data for chunk in chunks)
    offsets = [*accumulate((len(chunk.data) for chunk in chunks), initial=0)]

    def place(offset: int) -> int:
        """Return the approximate place of a byte; at the start of a chunk it is exact."""
        number = min(bisect_right(offsets, offset), len(chunks)) - 1
        chunk = chunks[number]
        width = (chunk.end - chunk.begin) / max(1, len(chunk.data))
        return chunk.begin + int((offset - offsets[number]) * width)

    found = []
    done = 0
    doubled = [
        offset
        for offset, (before, chunk) in zip(offsets[1:], pairwise(chunks), strict=False)
        if before.data == chunk.data
    ]
    starts = [match.start() for match in _START.finditer(data)]
    for start, following in pairwise([*starts, len(data)]):
        if start < done:
            continue
        if frame := _without_doubled(data[start:following], start, doubled):
            found.append(_Found(place(start), place(following), frame, is_whole=True))
            continue
        lost = b"" if data.startswith(HEADER, start) else HEADER[:1]
        end = start + FRAME_SIZE - len(lost)
        candidate = lost + data[start:end]
        if IDLE_LINE in candidate:
            end += len(IDLE_LINE)
            candidate = lost + data[start:end].replace(IDLE_LINE, b"", 1)
        try:
            frame = Frame.parse(candidate)
        except FrameError as err:
            if not lost:
                reason = _reason(candidate, following - start, err)
                found.append(
                    _Found(
                        place(start),
                        place(following),
                        None,
                        reason,
                        is_whole=following == end,
                    )
                )
        else:
            remark = f"the first byte of the frame, {lost.hex()}, was missing"
            found.append(
                _Found(
                    place(start),
                    place(end),
                    frame,
                    remark if lost else "",
                    is_whole=following == end,
                )
            )
            done = end
    return found


def _without_doubled(data: bytes, start: int, doubled: Sequence[int]) -> Frame | None:
    """Return the frame after dropping a notification that came twice, `None` if none fits.

    `data` reaches to the next header. `doubled` holds the places of notifications that
    equal the previous one; a frame may have several of those, such as all zeros.
    """
    size = len(data) - FRAME_SIZE
    if not 0 < size <= FRAME_SIZE:
        return None
    first, end = (bisect_left(doubled, start + at) for at in (size, FRAME_SIZE + 1))
    candidates = {
        data[:at] + data[at + size :]
        for at in (place - start for place in doubled[first:end])
        if data[at - size : at] == data[at : at + size]
    }
    frames = [frame for frame in map(_parsed, candidates) if frame]
    return frames[0] if len(frames) == 1 else None


def _parsed(candidate: bytes) -> Frame | None:
    try:
        return Frame.parse(candidate)
    except FrameError:
        return None


def _reason(candidate: bytes, length: int, err: FrameError) -> str:
    """Return why a candidate is not a frame, and what is expected."""
    if length < FRAME_SIZE:
        return f"the frame has {length} bytes instead of {FRAME_SIZE}"
    total = checksum(candidate[:-1])
    if total != candidate[-1]:
        return (
            f"wrong checksum: the bytes of the frame add up to 0x{total:02X}, "
            f"but it ends with 0x{candidate[-1]:02X}"
        )
    return str(err)


def _without_repeats(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Drop the second of two equal chunks where the link or the log doubles them.

    Equal neighbours alone mean nothing, but the start of a frame never comes twice.
    """
    kept: list[Chunk] = []
    is_doubled = is_second = False
    for chunk in chunks:
        is_equal = bool(kept) and not is_second and chunk.data == kept[-1].data
        if is_equal and _START.match(chunk.data) and len(chunk.data) < FRAME_SIZE - 1:
            is_doubled = True
        if is_equal and is_doubled:
            is_second = True
            continue
        # A chunk that comes once ends the doubling, unless it follows a pair
        is_doubled = is_doubled and (is_second or not kept)
        is_second = False
        kept.append(chunk)
    return kept
