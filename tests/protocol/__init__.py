"""Tests of the library, and how they build frames: literal bytes at literal offsets."""

from collections.abc import Mapping

from custom_components.jk_bms.jkbms.protocol.frames import Frame

HEADER = bytes.fromhex("55AAEB90")
ACKNOWLEDGEMENT = bytes.fromhex("AA5590EB C8 01 01 00000000 00000000 00000000 44")
AT_LINE = bytes.fromhex("41540D0A")

type Content = Mapping[int, bytes | str]
"""What stands where in a frame; text is hexadecimal. All else is zero."""

SETTINGS, CELL_DATA, DEVICE_INFO, LOGBOOK, DETAIL_LOG = 0x01, 0x02, 0x03, 0x05, 0x06


def mended(data: bytes) -> bytes:
    """Return a frame with the right checksum."""
    return data[:299] + bytes((sum(data[:299]) & 0xFF,))


def build(kind: int, *contents: Content, counter: int = 0) -> bytes:
    """Return the 300 bytes of a frame; later contents overwrite earlier ones."""
    data = bytearray(300)
    data[0:6] = HEADER + bytes((kind, counter))
    for content in contents:
        for offset, value in content.items():
            raw = bytes.fromhex(value) if isinstance(value, str) else value
            data[offset : offset + len(raw)] = raw
    assert len(data) == 300
    return mended(bytes(data))


def build_frame(kind: int, *contents: Content, counter: int = 0) -> Frame:
    """Return the frame that an assembler would make of these bytes."""
    return Frame.parse(build(kind, *contents, counter=counter))


def cut(data: bytes, *sizes: int) -> list[bytes]:
    """Cut bytes into notifications of these sizes, over and over again."""
    chunks = []
    while data:
        for size in sizes:
            chunks.append(data[:size])
            data = data[size:]
    return [chunk for chunk in chunks if chunk]
