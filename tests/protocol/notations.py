"""Notations in which owners post the notifications of a battery."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
import json
from typing import Final

from . import ACKNOWLEDGEMENT, AT_LINE

type Chunks = Sequence[bytes]
type Notation = Callable[[Chunks], str | bytes]

_UUID: Final = "0000ffe1-0000-1000-8000-00805f9b34fb"


def _lines(line: Callable[[bytes], str]) -> Notation:
    """Write each notification on a line of its own."""
    return lambda chunks: "".join(f"{line(chunk)}\n" for chunk in chunks)


def _whole(text: Callable[[bytes], str]) -> Notation:
    """Write all notifications as one."""
    return lambda chunks: text(b"".join(chunks))


def _joined(form: str, separator: str, end: str = "\n") -> Notation:
    """Write each byte in a form, with a separator, a line per notification."""
    return _lines(lambda chunk: separator.join(format(b, form) for b in chunk) + end)


def _shown(row: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)


def _rows(data: bytes, size: int = 16) -> Iterable[tuple[int, bytes]]:
    return ((at, data[at : at + size]) for at in range(0, len(data), size))


def _dumped(
    offset: str, form: Callable[[bytes], str], *, squeeze: bool = True
) -> Notation:
    """Write rows behind their offset, equal ones as an asterisk unless told otherwise."""

    def dump(data: bytes) -> str:
        lines, last = [], b""
        for at, row in _rows(data):
            if squeeze and row == last:
                if lines[-1] != "*":
                    lines.append("*")
                continue
            last = row
            lines.append(f"{at:{offset}}{form(row)}")
        return "\n".join((*lines, f"{len(data):{offset}}" if squeeze else "", ""))

    return _whole(dump)


def _numbers(form: str, size: int) -> Callable[[bytes], str]:
    """Write a row as numbers of some bytes on a small-endian machine."""
    return lambda row: "".join(
        " " + format(int.from_bytes(row[at : at + size], "little"), form)
        for at in range(0, len(row), size)
    )


def _with_text(row: bytes) -> str:
    """Write a row as `hexdump -C` does."""
    return f"  {row[:8].hex(' ')}  {row[8:].hex(' '):23}  |{_shown(row)}|"


def _swapped(row: bytes) -> str:
    """Write a row as `xxd -e` does."""
    words = (row[at : at + 4][::-1].hex() for at in range(0, len(row), 4))
    return f": {' '.join(words):35}  {_shown(row)}"


def _xxd(row: bytes) -> str:
    return f": {row.hex(' ', -2):39}  {_shown(row)}"


def _offsets(form: str, size: int = 16) -> Notation:
    """Write rows behind their offset."""
    return _whole(
        lambda data: "".join(
            f"{at:{form}} {row.hex(' ')}\n" for at, row in _rows(data, size)
        )
    )


def _wrapped(text: str, width: int) -> str:
    return "\n".join(text[at : at + width] for at in range(0, len(text), width))


def _doubled(chunks: Chunks) -> list[bytes]:
    return [chunk for chunk in chunks for _ in range(2)]


def _with_idle_lines(chunks: Chunks) -> list[bytes]:
    return [
        part
        for chunk in chunks
        for part in ((AT_LINE, chunk) if not chunk.startswith(b"\x55") else (chunk,))
    ]


def packet(value: bytes) -> bytes:
    """Return a notification as a radio receives it: HCI, L2CAP, ATT."""
    att = b"\x1b\x10\x00" + value
    l2cap = len(att).to_bytes(2, "little") + b"\x04\x00" + att
    return b"\x02\x40\x20" + len(l2cap).to_bytes(2, "little") + l2cap


def _in_json_text(chunks: Chunks) -> str:
    return json.dumps({"log": "\r\n".join(f"RX {c.hex()}" for c in chunks)})


_escaped: Final = _lines(
    lambda chunk: '"' + "".join(f"\\x{b:02x}" for b in chunk) + '"'
)
_nrf: Final = _lines(
    lambda chunk: (
        f"I\t12:01:02.123\tNotification received from {_UUID}, "
        f"value: (0x) {chunk.hex('-').upper()}"
    )
)
_esphome: Final = _lines(
    lambda chunk: (
        "[15:36:23][D][jk_bms_ble:220]: Notification received: "
        f"{chunk.hex('.').upper()} ({len(chunk)})"
    )
)
_python: Final = _lines(repr)

NOTATIONS: Final[dict[str, Notation]] = {
    "hex": _whole(bytes.hex),
    "hex, a line per notification": _lines(bytes.hex),
    "hex, words": lambda chunks: " ".join(chunk.hex() for chunk in chunks),
    "hex, upper case": _lines(lambda chunk: chunk.hex().upper()),
    "hex, 0x in front": _lines(lambda chunk: f"0x{chunk.hex()}"),
    "blanks": _joined("02X", " "),
    "two blanks": _joined("02X", "  "),
    "tabs": _joined("02x", "\t"),
    "colons": _joined("02x", ":"),
    "dashes": _joined("02X", "-"),
    "dots": _joined("02X", "."),
    "commas": _joined("02x", ","),
    "bars": _joined("02x", " | "),
    "a byte per line": _whole(lambda data: "\n".join(f"{b:02x}" for b in data)),
    "0x and commas": _joined("#04x", ", ", ","),
    "0x and blanks": _joined("#04x", " "),
    "0x without padding": _joined("#x", " "),
    "without padding": _joined("X", " "),
    "suffix h": _lines(lambda chunk: " ".join(f"{b:02X}h" for b in chunk)),
    "dollars": _lines(lambda chunk: " ".join(f"${b:02X}" for b in chunk)),
    "percent": _lines(lambda chunk: "".join(f"%{b:02X}" for b in chunk)),
    "C array": _whole(
        lambda data: (
            "const uint8_t frame[] = {\n"
            + "".join(
                f"    {', '.join(f'0x{b:02X}' for b in row)},\n"
                for _, row in _rows(data, 12)
            )
            + "};\n"
        )
    ),
    "strings of bytes": _lines(lambda chunk: json.dumps([f"{b:02x}" for b in chunk])),
    "strings in single quotes": _lines(lambda chunk: str([f"{b:#04x}" for b in chunk])),
    "decimal list": _whole(lambda data: str([*data])),
    "decimal lists": _lines(lambda chunk: str([*chunk])),
    "decimal, blanks": _joined("d", " "),
    "decimal, padded": _joined("03d", " "),
    "decimal, semicolons": _joined("d", ";"),
    "signed decimal": _lines(lambda chunk: str([(b ^ 0x80) - 0x80 for b in chunk])),
    "decimal in a log": _lines(
        lambda chunk: f"2023-11-03 13:14:38.664371500 DEBUG:Battery:{[*chunk]}"
    ),
    "octal": _joined("03o", " "),
    "binary": _joined("08b", " "),
    "binary literals": _joined("#010b", ", "),
    "assembler": _lines(
        lambda c: " ".join(f"0{b:02X}h" if b >= 0xA0 else f"{b:02X}h" for b in c)
    ),
    "underscores": _joined("02X", "_"),
    "Java": _lines(lambda c: ", ".join(f"(byte) 0x{b:02X}" for b in c)),
    "Java, signed": _lines(lambda c: ",".join(f"(byte){(b ^ 128) - 128}" for b in c)),
    "Kotlin": _lines(lambda c: ", ".join(f"0x{b:02X}.toByte()" for b in c)),
    "C++": _lines(lambda c: ", ".join(f"static_cast<char>(0x{b:02x})" for b in c)),
    "C++, decimal": _lines(lambda c: ", ".join(f"uint8_t({b})" for b in c)),
    "Rust": _lines(lambda c: ", ".join(f"0x{b:02x}_u8" for b in c)),
    "octal escapes": _lines(lambda c: '"' + "".join(f"\\{b:03o}" for b in c) + '"'),
    "hex escapes": _escaped,
    "hex escapes, no quotes": _lines(lambda c: "".join(f"\\x{b:02x}" for b in c)),
    "unicode escapes": _lines(lambda chunk: json.dumps(chunk.decode("latin-1"))),
    "Rust escapes": _lines(lambda c: '"' + "".join(f"\\u{{{b:x}}}" for b in c) + '"'),
    "Python": _python,
    "Python, one literal": _whole(repr),
    "Python bytearray in a log": _lines(
        lambda chunk: (
            "2026-07-30 09:01:23.769 DEBUG (MainThread) [aiobmsble.bms.jikong_bms] "
            f"x|04EA: RX BLE data (cnt.): {bytearray(chunk)!r}"
        )
    ),
    "Python bytearray in a log in JSON": _lines(
        lambda chunk: json.dumps({"log": f"RX BLE data: {bytearray(chunk)!r}\n"})
    ),
    "base64": _lines(lambda chunk: b64encode(chunk).decode()),
    "base64, indented": _whole(
        lambda data: (
            "raw: !!binary |\n  "
            + _wrapped(b64encode(data).decode(), 76).replace("\n", "\n  ")
        )
    ),
    "count in front": _lines(lambda chunk: f"len={len(chunk)} {chunk.hex(' ')}"),
    "count behind": _lines(lambda chunk: f"{chunk.hex(' ')} {len(chunk)}"),
    "address in front": _lines(
        lambda chunk: f"C8:47:80:12:34:56: {chunk.hex(':').upper()}"
    ),
    "base64 for URLs": _lines(lambda chunk: urlsafe_b64encode(chunk).decode()),
    "hexdump -C": _dumped("08x", _with_text),
    "hexdump": _dumped("07x", _numbers("04x", 2)),
    "hexdump -d": _dumped("07x", _numbers(">8d", 2)),
    "hexdump -o": _dumped("07x", _numbers("06o", 2)),
    "hexdump -b": _dumped("07x", _numbers("03o", 1)),
    "xxd": _dumped("08x", _xxd, squeeze=False),
    "xxd -a": _dumped("08x", _xxd),
    "xxd -e": _dumped("08x", _swapped, squeeze=False),
    "od": _dumped("07o", _numbers("06o", 2)),
    "od -b": _dumped("07o", _numbers("03o", 1)),
    "od -d": _dumped("07o", _numbers(">6d", 2)),
    "od -x": _dumped("07o", _numbers("04x", 2)),
    "od -tx4": _dumped("07o", _numbers("08x", 4)),
    "od -Ad -tx1": _dumped("07d", _numbers("02x", 1)),
    "offsets of 4 digits": _offsets("04x"),
    "offsets of 2 digits": _offsets("02x"),
    "offsets with a colon": _offsets("#06x"),
    "decimal offsets": _offsets("4d"),
    "DEBUG of DOS": _whole(
        lambda data: "".join(
            f"1234:{at:04X}  {row[:8].hex(' ')}-{row[8:].hex(' '):23}   {_shown(row)}\n"
            for at, row in _rows(data)
        )
    ),
    "halves of a row": _whole(
        lambda data: "".join(
            f"{row[:8].hex(' ')} | {row[8:].hex(' ')}\n" for _, row in _rows(data)
        )
    ),
    "rows of 13 bytes": _offsets("04x", 13),
    "ESPHome": _esphome,
    "nRF Connect": _nrf,
    "bluetoothctl": _lines(
        lambda chunk: (
            "[CHG] Attribute /org/bluez/hci0/dev_C8_47_80_00_00_01/service000b/char000c "
            "Value:\n"
            + "\n".join(f"  {row.hex(' '):48} {_shown(row)}" for _, row in _rows(chunk))
        )
    ),
    "address and time with colons": _lines(
        lambda chunk: f"09:01:23 C8:47:80:12:34:56 {chunk.hex(':')}"
    ),
    "JSON": _whole(lambda data: json.dumps({"data": {"frames": {"x": data.hex()}}})),
    "JSON of notifications": lambda chunks: json.dumps([c.hex() for c in chunks]),
    "YAML": _lines(lambda chunk: f"  - time: 12\n    data: {chunk.hex()}"),
    "CSV, a handle": _lines(lambda chunk: f"12:00:07;0x0005;{chunk.hex()}"),
    "CSV, a length": _lines(
        lambda chunk: f"{len(chunk):02x}," + ",".join(f"{b:02x}" for b in chunk)
    ),
    "CSV, a number and a length": lambda chunks: "".join(
        f"2026-07-30T12:00:00Z,{n},{len(chunk)},{','.join(map(str, chunk))}\n"
        for n, chunk in enumerate(chunks)
    ),
    "candump": _whole(
        lambda data: "".join(
            f"(1700000000.{at:06}) can0 123#{row.hex().upper()}\n"
            for at, row in _rows(data, 8)
        )
    ),
    "quoted mail": _lines(lambda chunk: f"> {chunk.hex(' ')}"),
    "fenced": _whole(lambda data: f"Here it is:\n```\n{data.hex(' ').upper()}\n```\n"),
    "table": _lines(lambda chunk: f"| 12:03:01 | RX | {chunk.hex(' ')} |"),
    "line numbers": _whole(
        lambda data: "\n".join(
            f"{n:4} {row.hex(' ')}" for n, (_, row) in enumerate(_rows(data), 1)
        )
    ),
    "a byte per line, without padding": _whole(
        lambda data: "\n".join(f"{b:X}" for b in data)
    ),
    "words of four bytes": _whole(
        lambda data: " ".join(row[::-1].hex() for _, row in _rows(data, 4))
    ),
    "HTML": _joined("02X", "&nbsp;", "<br>\n"),
    "HTML, one line": lambda c: "<br/>".join(f"<code>{x.hex(' ')}</code>" for x in c),
    "HTML, a tag per byte": _joined("02x", '</span> <span class="hljs-number">'),
    "HTML, entities": _lines(lambda chunk: "".join(f"&#x{b:02X};" for b in chunk)),
    "characters without width": _lines(
        lambda chunk: "\ufeff" + _wrapped(chunk.hex(), 33).replace("\n", "\u200b")
    ),
    "JSON objects": _lines(
        lambda chunk: json.dumps({str(n): b for n, b in enumerate(chunk)})
    ),
    "JSON, with a type and a length": lambda chunks: json.dumps(
        [{"type": "notify", "length": len(c), "hex": c.hex()} for c in chunks]
    ),
    "JSON, a text of lines": _in_json_text,
    "btmon": _lines(
        lambda chunk: (
            f"> ACL Data RX: Handle 64 flags 0x02 dlen {len(chunk) + 7}  #12 [hci0] 3.4\n"
            f"      ATT: Handle Value Notification (0x1b) len {len(chunk) + 2}\n"
            f"        Handle: 0x0010\n          Data[{len(chunk)}]: {chunk.hex()}"
        )
    ),
    "tshark": _lines(lambda chunk: f"7\t0.045000\t0x1b\t{chunk.hex(':')}"),
    "Wireshark, value": _lines(
        lambda chunk: (
            "Opcode: Handle Value Notification (0x1b)\n"
            f"    Handle: 0x0010 (Unknown)\n    Value: {chunk.hex()}"
        )
    ),
    "Wireshark, hex stream": _lines(lambda chunk: packet(chunk).hex()),
    "Wireshark, hex dump": _lines(
        lambda chunk: "".join(
            f"{at:04x}   {row.hex(' '):47}   {_shown(row)}\n"
            for at, row in _rows(packet(chunk))
        )
    ),
    "hex, wrapped at 75": _whole(lambda data: _wrapped(data.hex(), 75)),
    "hex, wrapped at 76": _whole(lambda data: _wrapped(data.hex(), 76)),
    "blanks, wrapped at 70": _whole(lambda data: _wrapped(data.hex(" "), 70)),
    "blanks, wrapped at 71": _whole(lambda data: _wrapped(data.hex(" "), 71)),
    "0x, wrapped at 77": _whole(
        lambda data: _wrapped(", ".join(f"0x{b:02x}" for b in data), 77)
    ),
    "decimal, wrapped at 79": _whole(lambda data: _wrapped(str([*data]), 79)),
    "Python, wrapped at 80": _whole(lambda data: _wrapped(repr(data), 80)),
    "UTF-16": lambda chunks: _lines(lambda c: c.hex(" "))(chunks).encode("utf-16"),
    "UTF-16, no mark": lambda chunks: str(_esphome(chunks)).encode("utf-16-le"),
    "UTF-16, big end": lambda chunks: str(_nrf(chunks)).encode("utf-16-be"),
    "UTF-8 with a mark": lambda chunks: str(_nrf(chunks)).encode("utf-8-sig"),
    "Windows": lambda chunks: str(_esphome(chunks)).replace("\n", "\r\n"),
    "binary file": b"".join,
    "doubled": lambda chunks: _lines(lambda c: c.hex(" "))(_doubled(chunks)),
    "doubled in Python": lambda chunks: _python(_doubled(chunks)),
    "doubled in a log": lambda chunks: _nrf(_doubled(chunks)),
    "with idle lines": lambda chunks: _nrf(_with_idle_lines(chunks)),
    "with idle lines in Python": lambda chunks: _python(_with_idle_lines(chunks)),
    "with idle lines in hex": lambda chunks: _lines(bytes.hex)(
        _with_idle_lines(chunks)
    ),
    "with acknowledgements": lambda chunks: _esphome([ACKNOWLEDGEMENT, *chunks]),
    "with other lines": lambda chunks: str(_esphome(chunks)).replace(
        "\n", "\n[15:36:23][I][app:100]: 5 clients, RSSI -60, up 12:34:56\n"
    ),
}
"""Notifications as text, or as the content of a file."""
