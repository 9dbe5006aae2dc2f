"""Tests of finding frames in dumps of any notation."""

from itertools import pairwise
import json
from pathlib import Path
import time

from hypothesis import given, settings, strategies as st
import pytest

from custom_components.jk_bms.jkbms.protocol.dump import read_dump
from tests.thorough import THOROUGH
from tests.virtual_bms import MODELS, Battery, frames

from . import ACKNOWLEDGEMENT, CELL_DATA, build, cut, mended
from .notations import NOTATIONS, Notation, packet

CAPTURES = Path(__file__).parents[3] / "shared" / "frames"
PASTED = Path(__file__).parents[3] / "shared" / "pasted"


def virtual_frames() -> list[bytes]:
    """Return frames of every type of several models."""
    found = []
    for spec in MODELS.values():
        battery = Battery(spec, hour=10.0)
        state = battery.advance(1.0)
        found += [
            frames.info_frame(spec, battery.settings, state, 1),
            frames.settings_frame(spec, battery.settings, 2),
            frames.cell_frame(spec, state, 3),
        ]
    return found


FRAMES = virtual_frames()


def captured_frames() -> list[bytes]:
    """Return every whole frame that was captured from a real device."""
    return [
        bytes.fromhex(frame["hex"])
        for path in sorted(CAPTURES.glob("*.json"))
        for frame in json.loads(path.read_text("utf-8"))["frames"]
        if frame["length"] == 300 and frame["checksum_ok"]
    ]


def data_of(dump: str | bytes) -> list[bytes]:
    """Return the frames that are found in a dump."""
    return [frame.data for frame in read_dump(dump).frames]


@pytest.mark.parametrize("notation", NOTATIONS.values(), ids=NOTATIONS)
@pytest.mark.parametrize("sizes", [(128, 22), (20,), (244,), (300,)])
def test_frames_are_found_in_every_notation(
    notation: Notation, sizes: tuple[int, ...]
) -> None:
    """One frame, and two in one dump, whatever the size of the notifications."""
    pairs = list(pairwise(FRAMES[::11]))
    for first, second in pairs if THOROUGH else [pairs[sizes[0] % len(pairs)]]:
        one = cut(first, *sizes)
        assert unique(data_of(notation(one))) == [first]
        assert unique(data_of(notation(one + cut(second, *sizes)))) == [first, second]


def unique(items: list[bytes]) -> list[bytes]:
    """Return each item once: a log may double whole frames."""
    return list(dict.fromkeys(items))


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="../shared/frames is not here")
@pytest.mark.parametrize("notation", list(NOTATIONS)[::2])
def test_every_capture_is_found_in_forty_notations(notation: str) -> None:
    """Frames of real devices, each in several of the notations."""
    frames = captured_frames()
    assert len(frames) > 30
    assert len(NOTATIONS) > 60
    few = slice(list(NOTATIONS).index(notation) // 2 % 6, None, 6)
    for frame in frames if THOROUGH else frames[few]:
        dump = NOTATIONS[notation](cut(frame, 128, 22))
        assert unique(data_of(dump)) == [frame]


@pytest.mark.skipif(not PASTED.is_dir(), reason="../shared/pasted is not here")
def test_posted_dumps_hold_the_same_frame() -> None:
    """Eight dumps as owners posted them, all of one frame."""
    paths = sorted(PASTED.glob("*.txt"))
    assert len(paths) == 8
    (frame,) = {data for path in paths for data in data_of(path.read_bytes())}
    assert frame[4] == CELL_DATA
    for path in paths:
        dump = read_dump(path.read_text("utf-8"))
        assert ([f.data for f in dump.frames], dump.remarks) == ([frame], ()), path


@pytest.mark.parametrize("size", [20, 128, 244])
def test_frames_are_found_in_a_file_of_packets(size: int) -> None:
    """What Android and Wireshark save: a record header in front of each packet."""
    file = b"btsnoop\0\0\0\0\1\0\0\x03\xea" + b"".join(
        bytes(24) + packet(part) for frame in FRAMES[:3] for part in cut(frame, size)
    )
    assert data_of(file) == FRAMES[:3]


def test_numbers_beside_the_data_are_not_read_as_data() -> None:
    """One of 256 frames with foreign bytes in it has the right checksum by chance."""
    for counter in range(256):
        frame = mended(FRAME[:5] + bytes((counter,)) + FRAME[6:])
        assert data_of(NOTATIONS["Wireshark, value"](cut(frame, 128, 22))) == [frame]


def test_column_of_text_with_signs_of_numbers_is_no_data() -> None:
    """`%5` is what bytes look like as characters."""
    frame = mended(FRAME[:16] + b"%5$a#b&h" + FRAME[24:])
    for notation in ("hexdump -C", "bluetoothctl", "Wireshark, hex dump"):
        assert data_of(NOTATIONS[notation]([frame])) == [frame]


# What is not there


def damaged(frame: bytes, at: int, value: int) -> bytes:
    """Return a frame with one other byte."""
    return frame[:at] + bytes((frame[at] ^ value,)) + frame[at + 1 :]


@given(
    frames=st.lists(st.sampled_from(FRAMES), max_size=3),
    bad=st.sampled_from(FRAMES),
    at=st.integers(4, 299),
    value=st.integers(1, 255),
    notation=st.sampled_from(list(NOTATIONS)),
    size=st.sampled_from([20, 128, 244, 300]),
)
@settings(max_examples=100, deadline=None)
def test_damaged_frame_is_never_found(
    frames: list[bytes], bad: bytes, at: int, value: int, notation: str, size: int
) -> None:
    """The checksum decides; the good frames beside it are found."""
    broken = damaged(bad, at, value)
    dump = NOTATIONS[notation](
        [part for frame in (*frames, broken) for part in cut(frame, size)]
    )
    found = read_dump(dump)
    assert unique([frame.data for frame in found.frames]) == unique(frames)


@pytest.mark.parametrize(
    ("notation", "size"),
    [("candump", 300), ("CSV, a handle", 244), ("Wireshark, hex dump", 20)],
)
def test_wrong_reading_with_the_right_checksum_is_not_believed(
    notation: str, size: int
) -> None:
    """Of 256 wrong readings of a damaged frame, one has it by chance."""
    for value in range(1, 256):
        for at in (27, 290):
            dump = NOTATIONS[notation](cut(damaged(FRAME, at, value), size))
            assert data_of(dump) == []


def test_frame_counts_where_another_reading_lacks_a_part_of_it() -> None:
    """The plain alphabet of base64 reads the second frame, and of the first all but a line."""
    first = mended(FRAME[:40] + b"\xff" * 20 + FRAME[60:])
    second = mended(FRAME[:40] + bytes(260))
    dump = NOTATIONS["base64 for URLs"](
        [part for frame in (first, second) for part in cut(frame, 20)]
    )
    assert data_of(dump) == [first, second]


@given(st.one_of(st.text(), st.binary(max_size=2000)))
@settings(max_examples=100, deadline=None)
def test_other_text_holds_no_frame(dump: str | bytes) -> None:
    """No text or bytes raise an error either."""
    assert read_dump(dump).frames == ()


@given(
    st.lists(
        st.sampled_from(
            [
                *("55 AA EB 90", "55aaeb90", "0x55, 0xAA, ", "b'U\\xaa\\xeb\\x90", '"'),
                *(
                    "00 ",
                    "02",
                    "(128)",
                    "\n",
                    "*\n",
                    "12:00:01 ",
                    "|",
                    "85, 170, 235, 144",
                ),
                *("'", "\\", "\\x", "Qk1T" * 9, "0000001 ", "ff" * 40, "\r\n", "  "),
            ]
        )
    )
)
@settings(max_examples=100, deadline=None)
def test_scraps_of_dumps_hold_no_frame(parts: list[str]) -> None:
    """A header alone makes no frame, and nothing raises."""
    assert read_dump("".join(parts)).frames == ()


SCRAPS = {
    "prose": "a battery of 16 cells, ",
    "headers": "55AAEB90",
    "headers with blanks": "55 AA EB 90 ",
    "headers on lines": "55 AA EB 90\n",
    "escapes": "\\'",
    "quotes": "'\"",
    "open literals": "b'",
    "asterisks": "00000000 00 00\n*\n",
    "asterisks between bytes": "00 eb\n01 eb\n*\n0259 eb\n",
    "asterisks between rows": "0000 eb 01 02 03 04 05 06 07\n0008 01\n*\n0130 02\n",
    "decimal": "85, 170, 235, 144, ",
    "one line of hex": "00",
    "columns": "00 41  A",
    "base64": "Qk1T",
    "tags": "<a ",
    "entities": "&#x5&nbsp",
    "indexes": '"1" ',
    "line numbers": "1 55\n",
    "nested quotes": "> " * 50 + "55 AA EB 90\n",
    "packets": "ff020400 1b1000 ",
    "labels": "Value: 55AAEB90 7 ",
    "digits": "1",
    "runs on one line": "55 AA EB 90 01 02 03 04 05 06 07 08 09 0a;x ",
}


@pytest.mark.parametrize("scrap", SCRAPS.values(), ids=SCRAPS)
def test_time_is_linear(scrap: str) -> None:
    """Ten times the text takes about ten times as long, not a hundred times."""
    size = 60_000 if THOROUGH else 20_000
    assert duration(scrap, size) < 35 * max(duration(scrap, size // 10), 0.001)


@pytest.mark.skipif(not THOROUGH, reason="takes half a minute")
@pytest.mark.parametrize("name", ["labels", "escapes", "runs on one line"])
def test_time_is_linear_up_to_two_megabytes(name: str) -> None:
    """Whatever only shows there: a limit of a cache, a text that is copied."""
    scrap = SCRAPS[name]
    assert duration(scrap, 2_000_000) < 35 * duration(scrap, 200_000)


def duration(scrap: str, size: int) -> float:
    """Return the processor time for a text of this size, s."""
    text = scrap * (size // len(scrap))
    times = []
    for _ in range(2 if size < 1_000_000 else 1):
        begin = time.process_time()
        read_dump(text)
        times.append(time.process_time() - begin)
    return min(times)


def test_batteries_whose_notifications_alternate_are_told_apart() -> None:
    """By the address on each line; that of the proxy is the same for all."""
    batteries = [f"C8:47:80:11:22:0{number}" for number in range(3)]
    frames = [
        mended(FRAMES[0][:5] + bytes([number]) + FRAMES[0][6:]) for number in range(30)
    ]
    lines = [
        f"[24:6F:28:AA:BB:CC]: {batteries[number % 3]}: data: {chunk!r}\n"
        for number, frame in enumerate(frames)
        for chunk in cut(frame, 128, 22)
    ]
    alternating = [
        lines[start + number * 4 + part]
        for start in range(0, len(lines), 12)
        for part in range(4)
        for number in range(3)
    ]
    dump = read_dump("".join(alternating))
    assert {frame.data for frame in dump.frames} == {*frames}
    assert dump.remarks == ()


@pytest.mark.parametrize("number", range(1, 15))
def test_notification_that_comes_twice_is_dropped(number: int) -> None:
    """Where the other ones come once; of two without a sum it cannot be told which."""
    chunks = cut(FRAME, 20)
    expected = ([FRAME],) if sum(chunks[number]) & 0xFF else ([FRAME], [])
    chunks.insert(number, chunks[number])
    log = "".join(f"value: {chunk.hex()}\n" for chunk in chunks)
    assert data_of(log) in expected


# What is wrong


def remarks(dump: str | bytes) -> list[str]:
    """Return what is said about the frames that are not there."""
    return [str(remark) for remark in read_dump(dump).remarks]


FRAME = FRAMES[2]
WHOLE_WORDS = {
    *("hexdump", "hexdump -d", "hexdump -o", "xxd -e"),
    *("od", "od -d", "od -x", "od -tx4", "words of four bytes"),
}
"""Notations that can write no odd number of bytes."""


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("", []),
        ("It does not work, please help.\n1.2.3, 192.168.1.1, 12:30:11", []),
        (
            f"Log:\n\n{bytes(range(19)).hex(' ')}\n{bytes(range(30)).hex(' ')}\n",
            ["line 4: 30 bytes that are no frame"],
        ),
        (
            f"{ACKNOWLEDGEMENT.hex()}\n",
            ["line 1: 20 bytes that are a command or its acknowledgement"],
        ),
        (FRAMES[0][2:].hex(), ["line 1: 298 bytes that are no frame"]),
        ("Supercalifragilisticexpialidocious" * 3, []),
    ],
)
def test_dump_without_a_frame_names_the_place_with_the_most_bytes(
    text: str, remark: list[str]
) -> None:
    """The remark also says what a frame looks like."""
    right = ": a frame has 300 bytes and starts with 55 AA EB 90"
    assert remarks(text) == [f"{each}{right}" for each in remark]
    assert read_dump(text).rejected == 0


def test_wrong_checksum_names_both_sums() -> None:
    """The remark also names the line in which the frame begins."""
    total = sum(FRAME[:299]) & 0xFF
    broken = damaged(FRAME, 50, 0x10)
    now = sum(broken[:299]) & 0xFF
    assert now != total
    text = f"Hello,\n\n{broken.hex(' ')}\n{FRAME.hex(' ')}\n"
    assert remarks(text) == [
        (
            f"line 3: wrong checksum: the bytes of the frame add up to 0x{now:02X}, "
            f"but it ends with 0x{total:02X}"
        )
    ]
    assert data_of(text) == [FRAME]
    assert read_dump(text).places == ("line 4",)
    assert read_dump(text).rejected == 1


@pytest.mark.parametrize("size", [4, 20, 128, 299])
@pytest.mark.parametrize("notation", ["hex", "blanks", "decimal list", "Python"])
def test_short_frame_names_its_length(size: int, notation: str) -> None:
    """At the end of the dump, or with another frame behind it."""
    short = FRAME[:size]
    remark = f"line 1: the frame has {size} bytes instead of 300"
    assert remarks(NOTATIONS[notation]([short])) == [remark]
    both = NOTATIONS[notation]([short, FRAME])
    assert (remarks(both), data_of(both)) == ([remark], [FRAME])


@pytest.mark.parametrize(
    "notation", [name for name in NOTATIONS if name not in WHOLE_WORDS]
)
def test_lost_first_byte_is_restored(notation: str) -> None:
    """The checksum proves that nothing else is missing."""
    dump = read_dump(NOTATIONS[notation](cut(FRAME[1:], 128, 22)))
    assert unique([frame.data for frame in dump.frames]) == [FRAME]
    assert dump.rejected == 0
    for remark in dump.remarks:
        assert str(remark).endswith("the first byte of the frame, 55, was missing")
    assert dump.remarks


def test_unknown_type_is_named() -> None:
    """The checksum is right, but the type is unknown."""
    assert remarks(build(7).hex()) == ["line 1: Unknown frame type 7"]


def test_binary_file_is_a_dump() -> None:
    """The place is a byte then."""
    broken = damaged(FRAME, 50, 0x10)
    (remark,) = remarks(b"\xff\x00" + broken)
    assert remark.startswith("byte 2: wrong checksum")
