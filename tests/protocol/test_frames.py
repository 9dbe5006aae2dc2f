"""Tests of command frames, frames and their assembly from notifications."""

from collections.abc import Iterable
from itertools import pairwise
from random import Random

import pytest

from custom_components.jk_bms.jkbms.errors import FrameError, JkBmsError
from custom_components.jk_bms.jkbms.protocol.frames import (
    Frame,
    FrameAssembler,
    FrameStatistics,
    FrameType,
    ReadCommand,
    checksum,
)

from . import ACKNOWLEDGEMENT, AT_LINE, HEADER, build, cut, mended

ECHO = bytes.fromhex("AA5590EB 96 00 00000000 00000000 00000000 00 10")

# Whole notifications of nothing but zeros, as in device information and settings
SPARSE = build(0x03, {6: b"JK-B2A16S", 22: b"3.0", 30: b"3.3.0", 46: b"BMS"})


def dense(seed: int = 0, kind: int = 0x02) -> bytes:
    """Return a frame that is nowhere the same twice."""
    return build(kind, {5: bytes((seed,)), 6: Random(seed).randbytes(293)})


A, B, C = dense(1), dense(2), dense(3)


def feed(assembler: FrameAssembler, chunks: Iterable[bytes]) -> list[bytes]:
    """Feed all, check that every byte is accounted for and return what was found."""
    held = len(assembler.unfinished)
    before = assembler.statistics.good * 300 + assembler.statistics.skipped
    fed, found = 0, []
    for chunk in chunks:
        found += [frame.data for frame in assembler.feed(chunk)]
        fed += len(chunk)
        seen = assembler.statistics
        assert 300 * seen.good + seen.skipped - before == fed + held - len(
            assembler.unfinished
        )
    return found


def assemble(*chunks: bytes) -> list[bytes]:
    """Return what an assembler finds in these notifications."""
    return feed(FrameAssembler(), chunks)


# Commands


def test_read_commands_are_exactly_these_four() -> None:
    """A byte that changes something must not slip in among them."""
    assert {command.name: int(command) for command in ReadCommand} == {
        "CELL_DATA": 0x96,
        "DEVICE_INFO": 0x97,
        "LOGBOOK": 0xA1,
        "DETAIL_LOG": 0xA7,
    }


def test_checksum_is_the_low_byte_of_the_sum() -> None:
    """The checksum is the low byte of the sum."""
    assert checksum(b"") == 0
    assert checksum(bytes.fromhex("55AAEB90")) == 0x7A


@pytest.mark.parametrize("size", [255, 256, 257, 258, 299, 512, 513, 1000])
def test_checksum_of_many(size: int) -> None:
    """However many bytes, and however large, they are all added up."""
    assert checksum(bytes([0xFF]) * size) == -size % 256
    data = Random(size).randbytes(size)
    assert checksum(data) == sum(data) % 256


# Single frames


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (0x01, FrameType.SETTINGS),
        (0x02, FrameType.CELL_DATA),
        (0x03, FrameType.DEVICE_INFO),
        (0x05, FrameType.LOGBOOK),
        (0x06, FrameType.DETAIL_LOG),
    ],
)
def test_good_frame_has_type_counter_and_bytes(kind: int, expected: FrameType) -> None:
    """A good frame gives its type, its counter and all its bytes."""
    data = build(kind, {298: "99"}, counter=0xA5)
    frame = Frame.parse(data)
    assert (frame.type, frame.counter, frame.data) == (expected, 0xA5, data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes instead of 300"),
        (A[:299], "299 bytes instead of 300"),
        (A + b"\0", "301 bytes instead of 300"),
        (mended(b"\x54" + A[1:]), "No frame header"),
        (ACKNOWLEDGEMENT + bytes(280), "No frame header"),
        (build(0x00), "Unknown frame type 0"),
        (build(0x04), "Unknown frame type 4"),
        (build(0x07), "Unknown frame type 7"),
        (build(0x02, {6: HEADER}), "Another frame starts inside"),
        (build(0x02, {150: HEADER}), "Another frame starts inside"),
        (build(0x02, {295: HEADER}), "Another frame starts inside"),
        (A[:299] + bytes((A[299] ^ 1,)), "Wrong checksum"),
        (A[:120] + bytes((A[120] ^ 0x80,)) + A[121:], "Wrong checksum"),
    ],
)
def test_bytes_that_are_no_frame_are_refused_with_the_reason(
    data: bytes, reason: str
) -> None:
    """The error is one of the library's own."""
    with pytest.raises(FrameError, match=f"^{reason}$") as refusal:
        Frame.parse(data)
    assert isinstance(refusal.value, JkBmsError)


def test_repr_keeps_secrets() -> None:
    """The bytes of a frame hold passcodes and are not for logs."""
    frame = Frame.parse(build(0x03, {62: b"4711"}))
    assert repr(frame) == "Frame(type=<FrameType.DEVICE_INFO: 3>, counter=0)"


# Assembly: frames and notifications


@pytest.mark.parametrize(
    "sizes",
    [
        (300,),
        (128, 128, 44),
        (128, 22, 128, 22),
        (150, 150),
        (20,),
        (80,),
        (115,),
        (1,),
        (2,),
        (3,),
        (7, 290, 3),
        (244,),
        (500,),
        (900,),
        (5000,),
    ],
)
@pytest.mark.parametrize("lead", [b"", b"\0" * 13, b"\x55", HEADER[:3], A[150:]])
def test_frames_are_found_in_notifications_of_any_size(
    lead: bytes, sizes: tuple[int, ...]
) -> None:
    """Even the header may be cut by the end of a notification."""
    assert assemble(*cut(lead + A + B + C, *sizes)) == [A, B, C]


def test_frame_is_there_with_its_last_byte() -> None:
    """A frame is not held back until more arrives."""
    assembler = FrameAssembler()
    assert feed(assembler, [A[:299]]) == []
    assert feed(assembler, [A[299:]]) == [A]
    assert assembler.unfinished == b""


def test_header_across_two_notifications() -> None:
    """A header may be cut anywhere."""
    for position in (1, 2, 3):
        assert assemble(b"\0\0" + A[:position], A[position:]) == [A]


def test_two_frames_in_one_notification_are_both_returned() -> None:
    """The beginning of a third one behind them is kept."""
    assembler = FrameAssembler()
    frames = assembler.feed(A + B + C[:10])
    assert [frame.data for frame in frames] == [A, B]
    assert feed(assembler, [C[10:]]) == [C]
    assert assembler.statistics == FrameStatistics(good=3)


def test_kinds_of_bytes() -> None:
    """Bleak hands over a bytearray, which is its own to change."""
    assembler = FrameAssembler()
    chunk = bytearray(A)
    (frame,) = assembler.feed(chunk)
    chunk[:] = bytes(300)
    assert frame.data == A
    assert type(frame.data) is bytes
    assert hash(frame) == hash(Frame.parse(A))


def test_type_and_counter_are_read() -> None:
    """An assembler gives whole frames, not only bytes."""
    (frame,) = FrameAssembler().feed(dense(0xA5, kind=0x03))
    assert (frame.type, frame.counter) == (FrameType.DEVICE_INFO, 0xA5)


def test_empty_notification_is_ignored() -> None:
    """An empty notification does no harm."""
    assert assemble(A[:128], b"", A[128:]) == [A]


# Assembly: what else is on the line


def test_idle_line_in_front_of_frame() -> None:
    """128+26+128+22: the line in front shifts the frame by four bytes."""
    stream = [*cut(AT_LINE + A, 128, 26, 128, 22), *cut(B, 128, 22, 128, 22)]
    assert [len(chunk) for chunk in stream[:4]] == [128, 26, 128, 22]
    assembler = FrameAssembler()
    assert feed(assembler, stream) == [A, B]
    assert assembler.statistics == FrameStatistics(good=2, skipped=4)


def test_idle_line_inside_a_frame_is_dropped() -> None:
    """A line inside a longer notification is content."""
    assembler = FrameAssembler()
    stream = [AT_LINE, AT_LINE, A[:128], A[128:150], AT_LINE, A[150:], AT_LINE, B]
    assert feed(assembler, stream) == [A, B]
    assert assembler.statistics == FrameStatistics(good=2, skipped=16)


def test_idle_line_inside_a_notification_is_content() -> None:
    """A text in a frame may contain the same four bytes."""
    data = build(0x03, {46: b"\0AT\r\n\0", 124: b"AT\r\n", 128: b"AT\r\n"})
    assert assemble(data[:128], data[128:150], data[150:]) == [data]
    assert assemble(data[:128], data[128:133], data[133:]) == [data]


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([A, ACKNOWLEDGEMENT, B], id="alone"),
        pytest.param([A[:256], A[256:] + ACKNOWLEDGEMENT, B], id="44+20"),
        pytest.param([A, ACKNOWLEDGEMENT + AT_LINE, B], id="20+4"),
        pytest.param([A, ACKNOWLEDGEMENT[:15], ACKNOWLEDGEMENT[15:], B], id="15+5"),
        pytest.param([A + ACKNOWLEDGEMENT[:15], ACKNOWLEDGEMENT[15:] + B], id="cut"),
        pytest.param([A, *cut(ACKNOWLEDGEMENT, 1), B], id="bytewise"),
        pytest.param([A, ACKNOWLEDGEMENT[:2], ACKNOWLEDGEMENT[2:] + B], id="header"),
    ],
)
def test_acknowledgement_is_counted_and_costs_no_frame(chunks: list[bytes]) -> None:
    """However its 20 bytes are cut, the frames before and behind it are found."""
    assembler = FrameAssembler()
    assert feed(assembler, chunks) == [A, B]
    assert assembler.statistics.acknowledged == 1
    assert assembler.statistics.rejected == 0
    assert assembler.statistics.skipped == sum(map(len, chunks)) - 600


def test_acknowledgement_needs_no_frame() -> None:
    """It counts as soon as it is complete, without a frame behind it."""
    assembler = FrameAssembler()
    assembler.feed(ACKNOWLEDGEMENT[:15])
    assert assembler.statistics.acknowledged == 0
    assembler.feed(ACKNOWLEDGEMENT[15:])
    assert assembler.statistics == FrameStatistics(skipped=20, acknowledged=1)
    assembler.feed(ACKNOWLEDGEMENT)
    assert assembler.statistics == FrameStatistics(skipped=40, acknowledged=2)


def test_acknowledgement_with_filler() -> None:
    """Behind its value a command may hold anything, but its checksum is right."""
    head = bytes.fromhex("AA5590EB C8 01 01 0102030405060708090A0B0C")
    assembler = FrameAssembler()
    assembler.feed(head + b"\x92")
    assert assembler.statistics == FrameStatistics(skipped=20, acknowledged=1)
    for wrong in (b"\x91", b"\x86", b"\x00"):
        assembler.feed(head + wrong)
    assert assembler.statistics.acknowledged == 1


def test_own_command_is_neither_acknowledgement_nor_rejected() -> None:
    """What we sent ourselves is no acknowledgement and no refused frame."""
    assembler = FrameAssembler()
    assert feed(assembler, [ECHO, A[:20], A[20:] + ECHO, B]) == [A, B]
    assert assembler.statistics == FrameStatistics(good=2, skipped=40)


def test_frame_behind_a_truncated_command_is_found() -> None:
    """A command is not recognised where a frame begins within its 20 bytes."""
    for length in range(1, 20):
        assembler = FrameAssembler()
        assert feed(assembler, [ACKNOWLEDGEMENT[:length] + A]) == [A], length
        assert assembler.statistics == FrameStatistics(good=1, skipped=length)


def test_command_inside_refused_frame() -> None:
    """The header of a command may be within what is no frame."""
    refused = HEADER + b"\x02" + bytes(200) + ACKNOWLEDGEMENT
    assembler = FrameAssembler()
    assert feed(assembler, [refused, A]) == [A]
    assert assembler.statistics == FrameStatistics(
        good=1, rejected=1, skipped=225, acknowledged=1
    )


def test_damaged_acknowledgement_is_skipped_as_noise() -> None:
    """It counts as skipped bytes, not as a rejected frame."""
    damaged = ACKNOWLEDGEMENT[:8] + b"\x01" + ACKNOWLEDGEMENT[9:]
    assembler = FrameAssembler()
    assert feed(assembler, [damaged, A]) == [A]
    assert assembler.statistics == FrameStatistics(good=1, skipped=20)


def test_command_inside_frame_is_no_content() -> None:
    """Commands stand between frames: with one inside, as many bytes are missing."""
    data = build(0x02, {280: ACKNOWLEDGEMENT[:19]})
    assembler = FrameAssembler()
    assert feed(assembler, [*cut(data, 110), A]) == [A]
    assert assembler.statistics.good == 1
    with pytest.raises(FrameError, match="command"):
        Frame.parse(data)


def test_noise_is_dropped_except_for_the_start_of_a_header() -> None:
    """Bytes that belong to nothing go, save three that may begin a header."""
    assembler = FrameAssembler()
    assert feed(assembler, [b"noise" * 500]) == []
    assert assembler.unfinished == b"ise"
    assert assembler.statistics == FrameStatistics(skipped=2497)
    assert feed(assembler, [A]) == [A]
    assert assembler.statistics == FrameStatistics(good=1, skipped=2500)


# Assembly: damage and loss


@pytest.mark.parametrize("position", [4, 5, 6, 127, 128, 150, 298, 299])
def test_damaged_byte_costs_only_its_own_frame(position: int) -> None:
    """The frame right behind it in the same notification is found."""
    damaged = A[:position] + bytes((A[position] ^ 0x40,)) + A[position + 1 :]
    assembler = FrameAssembler()
    assert feed(assembler, cut(damaged + B, 128, 22)) == [B]
    assert assembler.statistics == FrameStatistics(
        good=1, rejected=1, damaged=1, skipped=300
    )


@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_frame_with_a_damaged_header_is_skipped_unnoticed(position: int) -> None:
    """It does not count as rejected, since nothing shows that it was a frame."""
    damaged = A[:position] + bytes((A[position] ^ 0x40,)) + A[position + 1 :]
    assembler = FrameAssembler()
    assert feed(assembler, cut(damaged + B, 128, 22)) == [B]
    assert assembler.statistics == FrameStatistics(good=1, skipped=300)


@pytest.mark.parametrize("lost", range(4))
def test_lost_notification_costs_only_its_own_frame(lost: int) -> None:
    """Without its first notification the frame has no header and is not even rejected."""
    chunks = cut(A, 128, 22, 128, 22)
    del chunks[lost]
    assembler = FrameAssembler()
    found = feed(assembler, [*cut(C, 128, 22), *chunks, *cut(B, 128, 22)])
    assert found == [C, B]
    assert assembler.statistics.rejected == (lost > 0)


@pytest.mark.parametrize("length", [4, 5, 6, 20, 128, 150, 278, 295, 296, 297, 299])
@pytest.mark.parametrize("sizes", [(128, 22), (20,), (1000,)])
def test_frame_behind_a_truncated_one_is_found(
    length: int, sizes: tuple[int, ...]
) -> None:
    """The 300 bytes of the truncated frame include the start of the good one."""
    assembler = FrameAssembler()
    assert feed(assembler, cut(A[:length] + B, *sizes)) == [B]
    # In what was refused stands the whole header of the next frame, or not
    is_damage = length > 300 - len(HEADER)
    assert assembler.statistics == FrameStatistics(
        good=1, rejected=1, damaged=is_damage, skipped=length
    )


def test_truncated_frames_in_a_row() -> None:
    """Any number of them may stand in front of a good one."""
    assembler = FrameAssembler()
    stream = [A[:100], C[:50], A[:7], A[:4], C[:100], B]
    assert feed(assembler, stream) == [B]
    assert assembler.statistics == FrameStatistics(good=1, rejected=5, skipped=261)


def test_good_frame_does_not_wait_for_another() -> None:
    """The truncated frame is refused as soon as the good one is there."""
    assembler = FrameAssembler()
    assert feed(assembler, [A[:290], B[:299]]) == []
    assert feed(assembler, [B[299:]]) == [B]


def test_header_inside_refused_frame() -> None:
    """A header that begins nothing costs no more than the frame it is in."""
    assembler = FrameAssembler()
    assert feed(assembler, [build(0x02, {80: HEADER}), B, C]) == [B, C]
    assert assembler.statistics == FrameStatistics(good=2, rejected=2, skipped=300)


def test_frame_of_an_unknown_type_is_skipped() -> None:
    """It counts as rejected although its checksum is right."""
    assembler = FrameAssembler()
    assert feed(assembler, [build(0x04, {6: "01"}), B]) == [B]
    assert assembler.statistics == FrameStatistics(
        good=1, rejected=1, damaged=1, skipped=300
    )


# Assembly: doubled notifications


def doubled(chunks: Iterable[bytes]) -> list[bytes]:
    """Deliver each notification twice."""
    return [chunk for chunk in chunks for _ in range(2)]


@pytest.mark.parametrize(
    "sizes", [(128, 22, 128, 22), (128, 128, 44), (150, 150), (20,), (80,), (244,)]
)
@pytest.mark.parametrize("frames", [(A, B, C), (SPARSE, A, SPARSE, B)])
def test_doubled_notifications_give_every_frame_once(
    frames: tuple[bytes, ...], sizes: tuple[int, ...]
) -> None:
    """The second copy of each counts as skipped bytes."""
    assembler = FrameAssembler()
    chunks = [chunk for data in frames for chunk in cut(data, *sizes)]
    assert feed(assembler, doubled(chunks)) == list(frames)
    assert assembler.statistics == FrameStatistics(
        good=len(frames), skipped=300 * len(frames)
    )


@pytest.mark.parametrize("size", [80, 128, 299, 300])
def test_doubled_notifications_without_regard_to_frames(size: int) -> None:
    """The header may stand anywhere in what comes twice."""
    assembler = FrameAssembler()
    stream = doubled(cut(b"\0" * 33 + A + B + C, size))
    assert feed(assembler, stream) == [A, B, C]
    assert assembler.statistics.rejected == 0


def test_doubled_notifications_with_all_else() -> None:
    """Idle lines and acknowledgements come twice as well."""
    chunks = [*cut(AT_LINE + A, 128, 26, 128, 22), ACKNOWLEDGEMENT, AT_LINE]
    chunks += [AT_LINE, *cut(B, 128, 22, 128), B[278:] + ACKNOWLEDGEMENT + AT_LINE]
    assembler = FrameAssembler()
    assert feed(assembler, doubled(chunks)) == [A, B]
    assert assembler.statistics.acknowledged == 2


def test_end_of_doubling() -> None:
    """A notification that comes once ends it: equal neighbours are content again."""
    assembler = FrameAssembler()
    chunks = cut(SPARSE, 20)
    assert feed(assembler, doubled(chunks)) == [SPARSE]
    assert feed(assembler, [*cut(A, 20), *chunks]) == [A, SPARSE]


def test_doubling_may_begin_with_any_frame() -> None:
    """The notifications before were not doubled."""
    chunks = cut(SPARSE, 20)
    assert assemble(*cut(A, 20), *doubled(chunks)) == [A, SPARSE]


def test_doubling_that_begins_within_a_frame_costs_only_that_frame() -> None:
    """Behind the header, doubled notifications cannot be told from content."""
    chunks = cut(A, 20)
    stream = [*chunks[:5], *doubled(chunks[5:]), *doubled(cut(B, 20) + cut(C, 20))]
    assert assemble(*stream) == [B, C]


def test_doubling_behind_truncated_frame() -> None:
    """Where a rest hides the doubling, one frame is lost until it is seen."""
    stream = [A[:150], *doubled([*cut(B, 128, 22), *cut(C, 128, 22), *cut(A, 128, 22)])]
    assert assemble(*stream) == [C, A]


def test_equal_neighbours_within_a_frame_are_not_doubling() -> None:
    """Nine such pairs were captured in one frame."""
    chunks = cut(SPARSE, 20)
    neighbours = [a for a, b in pairwise(chunks) if a == b]
    assert len(neighbours) >= 9
    assembler = FrameAssembler()
    assert feed(assembler, chunks * 3) == [SPARSE] * 3
    assert assembler.statistics == FrameStatistics(good=3)


def test_equal_complete_frames_are_all_returned() -> None:
    """A battery at rest may send the same frame again."""
    assert assemble(A, A, A) == [A, A, A]
    assert assemble(*cut(A, 150) * 2) == [A, A]


def test_equal_chunks_around_idle_line() -> None:
    """What stands between two equal notifications shows that they are two."""
    zeros = build(0x01, {290: "01"})
    assert assemble(*cut(zeros[:100], 20), AT_LINE, *cut(zeros[100:], 20)) == [zeros]


def test_beginning_repeated_after_loss() -> None:
    """The same beginning once more is no reason to lose the frame."""
    assert assemble(A[:128], A[:128], A[128:150], A[150:]) == [A]
    assert assemble(A[:128], C[:22], A[:128], A[128:150], A[150:]) == [A]


@pytest.mark.parametrize("size", [20, 80, 128])
@pytest.mark.parametrize("seed", range(20))
def test_frames_after_doubling(seed: int, size: int) -> None:
    """No frame is lost behind an episode of doubling, however alike its neighbours."""
    random = Random(seed)

    def sparse() -> bytes:
        places = random.sample(range(6, 296), seed % 4)
        return build(0x01, {5: random.randbytes(1)}, dict.fromkeys(places, b"\x2a"))

    follow = [sparse() for _ in range(4)]
    chunks = [chunk for data in follow for chunk in cut(data, size)]
    for episode in (doubled(cut(A, size)), [A[:size], *cut(A, size)]):
        found = assemble(*episode, *chunks)
        assert found[-4:] == follow
        assert found[:-4] == [A]


def test_repeated_beginning_of_sparse_frame() -> None:
    """One beginning that comes twice does not make content of the next frame doubled."""
    chunks = cut(SPARSE, 20)
    for single in range(1, 4):
        assert assemble(A[:128], A[:128], *cut(A[128:], 60)[:single], *chunks) == (
            [A, SPARSE] if single == 3 else [SPARSE]
        )


def test_long_notification_ends_doubling() -> None:
    """One that is too long to be remembered cannot be recognised when it comes again."""
    long = A[150:] + SPARSE + SPARSE[:80]
    stream = [A[:150], A[:150], long, *cut(SPARSE[80:], 20)]
    assert assemble(*stream) == [A, SPARSE, SPARSE]


# Assembly: state


def test_clear_drops_and_counts_an_unfinished_frame() -> None:
    """A new link begins with nothing; what was unfinished is counted."""
    assembler = FrameAssembler()
    assert feed(assembler, [A, B[:100]]) == [A]
    assembler.clear()
    assert assembler.unfinished == b""
    assert assembler.statistics == FrameStatistics(good=1, skipped=100)
    assert feed(assembler, [B[100:], C]) == [C]
    assert assembler.statistics == FrameStatistics(good=2, skipped=300)


def test_clear_forgets_doubling() -> None:
    """The notifications of the next link are not compared with those of this one."""
    chunks = cut(SPARSE, 20)
    assembler = FrameAssembler()
    assert feed(assembler, doubled(chunks)) == [SPARSE]
    assembler.clear()
    assert feed(assembler, chunks) == [SPARSE]
    assert feed(assembler, [A[:128]]) == []
    assembler.clear()
    assert feed(assembler, [A[:128], A[128:]]) == [A]
    assert assembler.statistics.good == 3


def test_assemblers_can_share_their_statistics() -> None:
    """All links of one battery count together."""
    statistics = FrameStatistics()
    FrameAssembler(statistics).feed(A)
    FrameAssembler(statistics).feed(HEADER + bytes(296))
    assert statistics == FrameStatistics(good=1, rejected=1, damaged=1, skipped=297)
    assert FrameAssembler().statistics == FrameStatistics()


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(b"\0", id="zeros"),
        pytest.param(HEADER, id="headers"),
        pytest.param(HEADER[:3], id="half headers"),
        pytest.param(ACKNOWLEDGEMENT[:4], id="command headers"),
        pytest.param(HEADER + b"\x02" + bytes(290), id="short frames"),
        pytest.param(AT_LINE, id="idle lines"),
    ],
)
@pytest.mark.parametrize("size", [20, 244, 512, 100_000])
def test_endless_junk_needs_little_memory(endless: bytes, size: int) -> None:
    """The assembler keeps less than two frames of it."""
    assembler = FrameAssembler()
    for chunk in cut((endless * 100_000)[:100_000], size):
        assert assembler.feed(chunk) == []
        assert len(assembler.unfinished) + len(assembler._last) < 600
