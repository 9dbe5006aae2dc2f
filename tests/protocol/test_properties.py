"""What holds for any bytes: nothing unexpected is raised, little is kept, nothing is lost."""

from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
import json
import pickle
from struct import pack
import sys

from hypothesis import assume, example, given, settings, strategies as st
import pytest

from custom_components.jk_bms.jkbms.errors import (
    ImplausibleFrameError,
    UnsupportedLayoutError,
)
from custom_components.jk_bms.jkbms.models import SECRET_FIELDS, Layout
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_detail_log,
    decode_device_info,
    decode_logbook,
    decode_settings,
    redact,
)
from custom_components.jk_bms.jkbms.protocol.detect import confirm_profile, find_profile
from custom_components.jk_bms.jkbms.protocol.frames import (
    Frame,
    FrameAssembler,
    FrameStatistics,
    FrameType,
)
from custom_components.jk_bms.jkbms.protocol.profile import (
    Profile,
    choose_profile,
    parse_firmware,
)

from . import ACKNOWLEDGEMENT, AT_LINE, HEADER, build, cut

COMMAND_HEADER = bytes.fromhex("AA5590EB")
KIB = 1024

# The same examples each time: what fails here must fail for everyone
many = settings(max_examples=100, derandomize=True, deadline=None, database=None)

kinds = st.sampled_from([0x01, 0x02, 0x03, 0x05, 0x06])
frames = st.builds(
    lambda kind, counter, content: build(kind, {6: content}, counter=counter),
    kinds,
    st.integers(0, 255),
    st.binary(max_size=293),
).filter(lambda data: HEADER not in data[4:])
damaged_frames = st.builds(
    lambda data, position, bit: (
        data[:position] + bytes((data[position] ^ 1 << bit,)) + data[position + 1 :]
    ),
    frames,
    st.integers(0, 299),
    st.integers(0, 7),
)
truncated_frames = st.builds(
    lambda data, start, stop: data[start:stop],
    frames,
    st.integers(0, 20),
    st.integers(0, 299),
)
fragments = st.sampled_from(
    [
        HEADER,
        HEADER[:1],
        HEADER[:2],
        HEADER[:3],
        HEADER + b"\x02",
        COMMAND_HEADER,
        ACKNOWLEDGEMENT,
        ACKNOWLEDGEMENT[:15],
        AT_LINE,
        bytes(20),
        b"",
    ]
)
# What the line carries, frames aside
rubbish = st.one_of(st.binary(max_size=40), fragments, damaged_frames, truncated_frames)
streams = st.lists(st.one_of(frames, rubbish), max_size=8).map(b"".join)
sizes = st.lists(st.integers(1, 320), min_size=1, max_size=6)


def is_plain(chunks: list[bytes]) -> bool:
    """Return a stream in which the borders between notifications mean nothing."""
    return AT_LINE not in chunks and not any(
        a == b and HEADER in a for a, b in pairwise(chunks)
    )


def state(assembler: FrameAssembler) -> tuple[object, ...]:
    """Return all that an assembler has counted and holds of the stream."""
    return asdict(assembler.statistics), assembler.unfinished


def retained(assembler: FrameAssembler) -> int:
    """Return the bytes that an assembler keeps, its own bare objects aside."""
    empty = FrameAssembler(assembler.statistics)
    content = len(pickle.dumps(assembler)) - len(pickle.dumps(empty))
    allocated = sum(
        sys.getsizeof(value) - sys.getsizeof(vars(empty)[name])
        for name, value in vars(assembler).items()
    )
    return max(content, allocated)


def has_good_checksum(data: bytes, before: int) -> bool:
    """Return whether anything that begins before this offset passes for whole."""
    return any(
        data.startswith(header, start)
        and sum(data[start : start + size - 1]) & 0xFF == data[start + size - 1]
        for header, size in ((HEADER, 300), (COMMAND_HEADER, 20))
        for start in range(min(before, len(data) - size + 1))
    )


# Assembly


@given(st.lists(st.one_of(st.binary(max_size=700), frames, rubbish), max_size=12))
@many
def test_assembler_takes_anything(chunks: list[bytes]) -> None:
    """Any bytes are accounted for, raise nothing and need less than 1 KiB."""
    assembler = FrameAssembler()
    fed = 0
    for chunk in chunks:
        found = assembler.feed(chunk)
        fed += len(chunk)
        seen = assembler.statistics
        assert all(Frame.parse(frame.data) == frame for frame in found)
        assert 300 * seen.good + seen.skipped + len(assembler.unfinished) == fed
        assert retained(assembler) < KIB


@given(streams, sizes)
@many
def test_assembler_takes_anything_twice(data: bytes, lengths: list[int]) -> None:
    """The same holds where each notification is doubled."""
    assembler = FrameAssembler()
    for chunk in cut(data, *lengths):
        for _ in range(2):
            assembler.feed(chunk)
            assert retained(assembler) < KIB
    seen = assembler.statistics
    assert 300 * seen.good + seen.skipped + len(assembler.unfinished) == 2 * len(data)


@pytest.mark.parametrize("chunk", [b"", b"\0"])
def test_countless_small_notifications_need_little_memory(chunk: bytes) -> None:
    """A frame may come in hundreds of notifications, even empty ones."""
    assembler = FrameAssembler()
    assembler.feed(build(0x02)[:25])
    for _ in range(270):
        assembler.feed(chunk)
        assert retained(assembler) < KIB


class PlainAssembler:
    """The rules of docs/protocol.md 5.2, applied at once to every notification."""

    def __init__(self) -> None:
        """Start empty."""
        self.seen = FrameStatistics()
        self.held = self.last = b""
        self.is_doubling = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the frames that a notification completes."""
        if self.is_second(chunk) or chunk == AT_LINE:
            self.seen.skipped += len(chunk)
            return []
        self.held += chunk
        found: list[bytes] = []
        while self.begins():
            size = 300 if self.held.startswith(HEADER) else 20
            if len(self.held) < size:
                break
            candidate = self.held[:size]
            is_right = HEADER not in candidate[4:] and (
                sum(candidate[:-1]) & 0xFF == candidate[-1]
            )
            if size == 20:
                self.skip(20 if is_right else 4)
                self.seen.acknowledged += is_right and candidate[4] == 0xC8
            elif is_right and candidate[4] in {1, 2, 3, 5, 6}:
                found.append(candidate)
                self.seen.good += 1
                self.held = self.held[300:]
            else:
                self.seen.rejected += 1
                self.seen.damaged += HEADER not in candidate[4:]
                self.skip(4)
        return found

    def begins(self) -> bool:
        """Skip what stands before a header, or cannot be the beginning of one."""
        starts = {self.held.find(header) for header in (HEADER, COMMAND_HEADER)} - {-1}
        self.skip(min(starts, default=max(0, len(self.held) - 3)))
        return bool(starts)

    def skip(self, count: int) -> None:
        """Let the first bytes go."""
        self.seen.skipped += count
        self.held = self.held[count:]

    def is_second(self, chunk: bytes) -> bool:
        """Return whether this repeats the one before."""
        last, self.last = self.last, chunk if len(chunk) <= 300 else b""
        if not chunk or chunk != last:
            self.is_doubling &= bool(self.last) and not last
            return False
        # A frame begins once
        self.is_doubling |= (
            HEADER in chunk and self.held != b"" and chunk.endswith(self.held)
        )
        if self.is_doubling:
            self.last = b""
        return self.is_doubling


def ends_in(tail: bytes) -> bytes:
    """Return a good frame with these last bytes."""
    missing = (tail[-1] - sum(HEADER + b"\x02" + tail[:-1])) & 0xFF
    return build(0x02, {6: bytes((missing,)), 300 - len(tail): tail[:-1]})


accidents = st.sampled_from(["none"] * 12 + ["lost", "doubled", "damaged", "joined"])
fillers = st.sampled_from([[]] * 12 + [[AT_LINE], [ACKNOWLEDGEMENT], [b""], [HEADER]])
usual_sizes = st.sampled_from(
    [(128, 22), (150,), (20,), (244,), (244, 56), (300,), (128, 128, 44), (296, 4)]
)
sparse_frames = st.sampled_from([build(0x03), build(0x01), ends_in(AT_LINE)])


@st.composite
def mishaps(draw: st.DrawFn) -> list[bytes]:
    """Return the notifications of some frames, to which things have happened."""
    chunks: list[bytes] = []
    of_one_link = st.sampled_from([accidents, st.just("none"), st.just("doubled")])
    accident = draw(of_one_link)
    for frame in draw(st.lists(st.one_of(frames, sparse_frames), max_size=6)):
        for chunk in cut(frame, *draw(st.one_of(usual_sizes, sizes))):
            chunks += draw(fillers)
            match draw(accident):
                case "none":
                    chunks.append(chunk)
                case "doubled":
                    chunks += [chunk, chunk]
                case "damaged":
                    chunks.append(bytes((chunk[0] ^ 1,)) + chunk[1:])
                case "joined":
                    chunks.append((chunks.pop() if chunks else b"") + chunk)
    return chunks


@given(mishaps())
@settings(many, max_examples=400)
@example(cut(ends_in(AT_LINE), 296, 4))
@example([frame for frame in cut(build(0x03), 20) for _ in range(2)] * 2)
def test_haste_changes_nothing(chunks: list[bytes]) -> None:
    """Whether each notification is looked at or a whole frame: all is the same at any time."""
    assembler, plain = FrameAssembler(), PlainAssembler()
    for chunk in chunks:
        assert [frame.data for frame in assembler.feed(chunk)] == plain.feed(chunk)
        seen, held = assembler.statistics, len(assembler.unfinished)
        assert replace(seen, skipped=plain.seen.skipped) == plain.seen
        # What comes twice within a frame is not counted before its end
        assert seen.skipped + held == plain.seen.skipped + len(plain.held)
        assert seen.skipped <= plain.seen.skipped
    assembler.clear()
    plain.skip(len(plain.held))
    assert assembler.statistics == plain.seen


@given(streams, sizes)
@many
def test_slices_mean_nothing(data: bytes, lengths: list[int]) -> None:
    """The same bytes in other notifications give the same frames and counts."""
    chunks = cut(data, *lengths)
    assume(is_plain(chunks) and is_plain([data]))
    whole, parts = FrameAssembler(), FrameAssembler()
    expected = whole.feed(data)
    assert [frame for chunk in chunks for frame in parts.feed(chunk)] == expected
    assert state(parts) == state(whole)


noise = st.binary(max_size=50).filter(
    lambda data: HEADER not in data and COMMAND_HEADER not in data
)


@given(
    st.lists(
        st.tuples(noise, frames), min_size=1, max_size=5, unique_by=lambda p: p[1]
    ),
    noise,
    sizes,
)
@many
def test_good_frames_survive_noise(
    pairs: list[tuple[bytes, bytes]], tail: bytes, lengths: list[int]
) -> None:
    """No good frame is lost, wherever it stands and however it is cut."""
    data = b"".join(lead + frame for lead, frame in pairs) + tail
    # Noise and frame together must not look like the beginning of something else
    headers = [start for start in range(len(data)) if data.startswith(HEADER, start)]
    assume(
        len(headers) == len(pairs) and AT_LINE not in (chunks := cut(data, *lengths))
    )
    assembler = FrameAssembler()
    found = [frame.data for chunk in chunks for frame in assembler.feed(chunk)]
    assert found == [frame for _, frame in pairs]
    assert assembler.statistics.rejected == 0


@given(
    st.lists(st.one_of(damaged_frames, truncated_frames), max_size=4).map(b"".join),
    frames,
    sizes,
)
@many
def test_good_frame_survives_bad_ones(
    bad: bytes, good: bytes, lengths: list[int]
) -> None:
    """What is damaged or cut short takes no good frame along."""
    chunks = cut(bad + good, *lengths)
    assume(is_plain(chunks))
    # One wrong checksum of 8 bits in 256 is right by chance
    assume(not has_good_checksum(bad + good, before=len(bad)))
    assembler = FrameAssembler()
    found = [frame.data for chunk in chunks for frame in assembler.feed(chunk)]
    assert found == [good]


# Decoding

PROFILES = [
    Profile(layout, firmware, model)
    for layout, firmware, model in [
        (Layout.JK04, 0.0, ""),
        (Layout.JK04, 3.3, "JK-B2A16S"),
        (Layout.JK02_24S, 0.0, ""),
        (Layout.JK02_24S, 10.07, "JK-B2A24S15P"),
        (Layout.JK02_32S, 0.0, ""),
        (Layout.JK02_32S, 11.48, "JK_B2A20S20P"),
        (Layout.JK02_32S, 14.2, "JK_PB2A16S15P"),
        (Layout.JK02_32S, 19.31, "JK-PB2A16S20P"),
        (Layout.JK02_32S, 11.55, "JK_DZ11B2A24S"),
    ]
]

floats = st.one_of(
    st.floats(width=32),
    st.sampled_from([0.0, -0.0, 3.3, 6.0, float("nan"), float("inf"), -float("inf")]),
).map(lambda value: pack("<f", value))
patches = st.dictionaries(
    st.one_of(
        st.integers(5, 294),
        # Masks, floats, firmware and what else decides
        st.sampled_from([6, 10, 30, 54, 70, 102, 114, 141, 173, 182, 194, 202, 214]),
        st.sampled_from([215, 222, 226, 234, 240, 256, 275, 280, 286]),
    ),
    st.one_of(
        st.binary(min_size=1, max_size=4),
        floats,
        st.sampled_from(["FF", "FFFF", "FFFFFFFF", "FFFFFF7F", "00000080", "30F8"]),
    ),
    max_size=8,
)
# Four cells of 3.3 V, right where each layout has them
EXAMPLES = [
    {},
    {6: "E40C" * 4, 54: "0F", 118: "9033", 182: "FF", 141: "32"},
    {6: "E40C" * 4, 70: "0F", 150: "9033", 214: "FF", 173: "32"},
    {6: "33335340" * 4, 214: "0F"},
    {6: b"JK_PB2A16S20P", 22: b"19A", 30: b"19.31", 86: b"503214849000643"},
    {6: b"JK-B2A16S", 22: b"3.0", 30: b"3.3.0"},
]
contents = st.one_of(
    st.binary(min_size=294, max_size=294).map(lambda content: {5: content}),
    st.sampled_from(EXAMPLES),
)


@st.composite
def any_frames(draw: st.DrawFn) -> Frame:
    """Return any 294 bytes as content of a frame of any type, with a right checksum."""
    kind = draw(kinds)
    data = build(kind, draw(contents), draw(patches))
    return Frame(FrameType(kind), data[5], data)


def decoders(frame: Frame) -> list[Callable[[], object]]:
    """Return all that can be tried with a frame, whatever its type."""
    return [
        lambda: decode_device_info(frame),
        lambda: decode_logbook(frame),
        lambda: decode_detail_log(frame),
        *(lambda profile=p: decode_cell_data(frame, profile) for p in PROFILES),
        *(lambda profile=p: decode_settings(frame, profile) for p in PROFILES),
    ]


@given(any_frames())
@many
def test_decoders_take_anything(frame: Frame) -> None:
    """Every decoder refuses the frame or returns what JSON can hold."""
    for decode in decoders(frame):
        try:
            decoded = decode()
        except ImplausibleFrameError:
            continue
        json.dumps(decoded, default=asdict, allow_nan=False)


@given(any_frames())
@many
def test_redaction_takes_anything(frame: Frame) -> None:
    """No decoder shows private data afterwards, and no other value changes."""
    redacted = redact(frame)
    assert redacted.data[-1] == sum(redacted.data[:-1]) & 0xFF
    if frame.type is not FrameType.DEVICE_INFO:
        assert redacted == frame
        return
    private = redacted.data[46:78] + redacted.data[86:150]
    assert {*private} <= {0, ord("*")}
    try:
        known = asdict(decode_device_info(frame))
    except ImplausibleFrameError:
        return
    masked = asdict(decode_device_info(redacted))
    hidden = SECRET_FIELDS | {"serial_number", "device_name"}
    assert {name for name in known if known[name] != masked[name]} <= hidden


@given(any_frames())
@many
def test_confirmation_takes_anything(frame: Frame) -> None:
    """The result is a profile or one of the library's errors."""
    for expected in (None, *PROFILES):
        try:
            profile = confirm_profile(frame, expected)
        except UnsupportedLayoutError:
            continue
        except ImplausibleFrameError:
            assert expected or not any(frame.data[6:-1])
            continue
        assert isinstance(profile.layout, Layout)


@given(st.lists(any_frames(), max_size=5), st.sampled_from([None, *Layout]))
@many
def test_finding_takes_anything(found: list[Frame], layout: Layout | None) -> None:
    """A given layout is kept; otherwise one is found or none is reported."""
    try:
        profile = find_profile(found, layout)
    except UnsupportedLayoutError:
        assert layout is None
    else:
        assert layout in {None, profile.layout}


texts = st.text(
    alphabet="0123456789.VvXHJK- \0\N{ARABIC-INDIC DIGIT THREE}", max_size=12
)


@given(texts, texts)
@many
def test_versions_take_anything(model: str, version: str) -> None:
    """A text that begins with a number is a version, all others are refused."""
    number = version[version[:1] in {"V", "v"} :]
    starts_with_number = number.startswith(tuple("0123456789"))
    try:
        profile = choose_profile(model, version)
    except UnsupportedLayoutError:
        assert not starts_with_number
    else:
        assert starts_with_number
        assert 0 <= profile.firmware < 1000
        assert profile.firmware == parse_firmware(version)
