"""Tests of the command `jkbms`."""

from collections.abc import Callable
import io
import json
import os
from pathlib import Path
import re
import runpy
import subprocess
import sys
from typing import Any, Final, NamedTuple, override

import pytest

from custom_components.jk_bms.jkbms import __version__
from custom_components.jk_bms.jkbms.cli.arguments import ExitCode
from custom_components.jk_bms.jkbms.cli.main import main
from custom_components.jk_bms.jkbms.protocol.decode import redact
from custom_components.jk_bms.jkbms.protocol.frames import Frame

from ..protocol import (
    ACKNOWLEDGEMENT,
    AT_LINE,
    CELL_DATA,
    DETAIL_LOG,
    DEVICE_INFO,
    LOGBOOK,
    SETTINGS,
    build,
    cut,
)

ROOT = Path(__file__).parents[2]

SECRETS = {
    "device_passcode": "dev-pass",
    "passcode": "4711x",
    "userdata": "private-one",
    "setup_passcode": "set-pass",
    "userdata2": "private-two",
}
DEVICE = build(
    DEVICE_INFO,
    {6: b"JK_PB2A16S15P", 22: b"14.XA", 30: b"14.20", 46: b"garage", 62: b"dev-pass"},
    {86: b"3092572134", 97: b"4711x", 102: b"private-one", 118: b"set-pass"},
    {134: b"private-two"},
)
CELLS = build(
    CELL_DATA,
    {6: "E40C" * 4, 70: "0F", 150: "9033", 158: "9DD6FFFF", 173: "2A", 214: "07"},
    {144: "C800", 162: "C800E1FF", 258: "B400"},
    counter=1,
)
MORE_CELLS = build(
    CELL_DATA,
    {6: "E50C" * 4, 70: "0F", 150: "9433", 173: "2B", 214: "07"},
    counter=2,
)
LIMITS = build(SETTINGS, {10: "C4090000", 114: "04", 118: "01", 278: "20A107"})
LOG = build(LOGBOOK, {6: "01", 11: "0500000001"})
HISTORY = [
    build(DETAIL_LOG, {6: "0C00", 8: "01", 13: "02"}),
    build(DETAIL_LOG, {6: "0000", 8: "01", 13: "01"}),
]
DAMAGED = MORE_CELLS[:100] + b"\xff" + MORE_CELLS[101:]
IMPLAUSIBLE = build(CELL_DATA, {6: "E40C" * 4, 70: "0F", 150: "9033", 173: "65"})
TWO_FAULTS = build(
    CELL_DATA, {6: "E40C" * 4, 70: "0F", 150: "9033", 162: "4006", 173: "65"}
)
FOUR_CELLS = {6: "E40C" * 4, 70: "0F", 150: "9033", 173: "2A"}
# A frame of no layout
NONSENSE = build(CELL_DATA, {6: "A5" * 293})
OLD_DEVICE = build(DEVICE_INFO, {6: b"JK-B2A24S15P", 30: b"10.07"})
OLD_CELLS = build(CELL_DATA, {6: "E40C" * 4, 54: "0F", 118: "9033", 141: "2A"})


class Result(NamedTuple):
    """What a run of the command left."""

    code: int
    out: str
    err: str

    @property
    def output(self) -> dict[str, list[Any]]:
        """Return what it printed."""
        return json.loads(self.out)


type Run = Callable[..., Result]


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Run:
    """Return what runs the command on notifications or a text, in a file or by pipe."""

    def run(capture: str | list[bytes], *arguments: str, pipe: bool = False) -> Result:
        if not isinstance(capture, str):
            capture = "\n".join(chunk.hex() for chunk in capture)
        path = tmp_path / "capture.txt"
        path.write_text(capture, "utf-8")
        raw = capture.encode() if pipe else b""
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        code = main(["--decode", "-" if pipe else str(path), *arguments])
        return Result(code, *capsys.readouterr())

    return run


# What is read


@pytest.mark.parametrize("pipe", [False, True])
@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([DEVICE, CELLS], id="frames"),
        pytest.param([*cut(DEVICE, 128, 22), *cut(CELLS, 128, 22)], id="128+22"),
        pytest.param(cut(DEVICE + CELLS, 20), id="20"),
        pytest.param(
            [*cut(AT_LINE + DEVICE, 128, 26, 128, 22), ACKNOWLEDGEMENT, AT_LINE, CELLS],
            id="with all else",
        ),
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\n".join, id="lines"),
        pytest.param(lambda words: "\n".join(words) + "\n", id="lines, closed"),
        pytest.param("\r\n\r\n".join, id="lines of Windows"),
        pytest.param(" ".join, id="blanks"),
        pytest.param(lambda words: "\t".join(words).upper(), id="tabs, upper case"),
        pytest.param(
            lambda words: " ".join(f"0x{word}," for word in words), id="0x and comma"
        ),
        pytest.param(
            lambda words: "\n".join(bytes.fromhex(word).hex(":") for word in words),
            id="colons",
        ),
        pytest.param(
            lambda words: "\n".join(bytes.fromhex(word).hex("-") for word in words),
            id="dashes",
        ),
    ],
)
def test_capture_is_read_from_file_or_stdin(
    run: Run, chunks: list[bytes], text: Callable[[list[str]], str], pipe: bool
) -> None:
    """Hex strings of frames or notifications come from a file or stdin."""
    result = run(text([chunk.hex() for chunk in chunks]), pipe=pipe)
    assert result.code == 0
    (device,), (cells,) = result.output["device_info"], result.output["cell_data"]
    assert device["device_model"] == "JK_PB2A16S15P"
    assert cells["cell_voltage"] == [3.3] * 4
    assert cells["battery_current"] == -10.595
    assert result.err == "jkbms: 2 frames good, 0 rejected\n"


def test_one_byte_a_word(run: Run) -> None:
    """A dump of single bytes is read as well."""
    result = run(CELLS.hex(" "))
    assert result.code == 0
    assert result.output["cell_data"][0]["frame_counter"] == 1


def test_unreadable_file_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The message names the file and the error of the system."""
    path = tmp_path / "nothing"
    assert main(["--decode", str(path)]) == 2
    assert capsys.readouterr() == ("", f"jkbms: {path}: No such file or directory\n")
    assert main(["--decode", str(tmp_path)]) == 2
    assert capsys.readouterr() == ("", f"jkbms: {tmp_path}: Is a directory\n")


@pytest.mark.parametrize("pipe", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_dump_may_have_another_encoding(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    encoding: str,
    pipe: bool,
) -> None:
    """Windows writes UTF-16, and some editors put a mark in front."""
    raw = f"value: (0x) {CELLS.hex('-')}\r\n".encode(encoding)
    path = tmp_path / "capture.txt"
    path.write_bytes(raw)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert main(["--decode", "-" if pipe else str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["cell_data"][0]["frame_counter"] == 1


def test_binary_file_is_decoded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The bytes themselves are a notation as well."""
    path = tmp_path / "capture.bin"
    path.write_bytes(CELLS + b"\xff")
    assert main(["--decode", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["cell_data"][0]["frame_counter"] == 1


# What is shown


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), lambda output: json.dumps(output, indent=2)),
        (("-f", "json-pretty"), lambda output: json.dumps(output, indent=2)),
        (("-f", "J"), lambda output: json.dumps(output, indent=2)),
        (("--format", "J"), lambda output: json.dumps(output, indent=2)),
        (("-f", "json"), lambda output: json.dumps(output, separators=(",", ":"))),
        (("-f", "j"), lambda output: json.dumps(output, separators=(",", ":"))),
        (("--format=json",), lambda output: json.dumps(output, separators=(",", ":"))),
    ],
)
def test_json_is_one_line_and_its_pretty_form_has_many(
    run: Run, arguments: tuple[str, ...], text: Callable[[Any], str]
) -> None:
    """JSON for programs is one line, the pretty one has many."""
    result = run([DEVICE, CELLS], *arguments)
    assert result.code == 0
    assert result.out == text(result.output) + "\n"
    assert result.output["cell_data"][0]["battery_voltage"] == 13.2


@pytest.mark.parametrize("name", ["yml", "JSON", "", "jJ"])
def test_unknown_format_is_a_usage_error(
    run: Run, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A wrong format is a wrong usage."""
    with pytest.raises(SystemExit) as stop:
        run([CELLS], "-f", name)
    assert stop.value.code == 2
    assert (
        f"invalid choice: {name!r} (choose from rust (r), rust-pretty (R), json (j), json-pretty (J), yaml (y), "
        "toml (t), toml-pretty (T), metrics (m), repr, repr-pretty, table)"
    ) in capsys.readouterr().err


EVERYTHING = [DEVICE, LIMITS, CELLS, LOG, *HISTORY]


@pytest.mark.parametrize(
    ("chunks", "arguments", "sections"),
    [
        (EVERYTHING, [], "device_info cell_data settings logbook detail_log"),
        ([DEVICE, CELLS], [], "device_info cell_data"),
        ([DEVICE], [], "device_info cell_data"),
        (EVERYTHING, ["-i"], "device_info"),
        (EVERYTHING, ["--device-info"], "device_info"),
        (EVERYTHING, ["-c"], "cell_data"),
        (EVERYTHING, ["--cell-data"], "cell_data"),
        (EVERYTHING, ["--settings"], "settings"),
        (EVERYTHING, ["-i", "-c"], "device_info cell_data"),
        (EVERYTHING, ["--settings", "-c"], "cell_data settings"),
    ],
)
def test_requested_sections_are_printed_else_all_that_have_content(
    run: Run, chunks: list[bytes], arguments: list[str], sections: str
) -> None:
    """What is asked for is shown; unasked, what there is besides the main two."""
    result = run(chunks, *arguments)
    assert result.code == 0
    assert [*result.output] == sections.split()


def test_each_section_is_a_list_of_models(run: Run) -> None:
    """Each section is a list with one element a battery."""
    output = run(EVERYTHING).output
    (device,), (cells,) = output["device_info"], output["cell_data"]
    (settings,), (log,) = output["settings"], output["logbook"]
    assert device["serial_number"] == "3092572134"
    assert device["uart1_protocols"] == []
    assert cells["battery_temperature"] == [20.0, -3.1]
    assert cells["mosfet_temperature"] == 20.0
    assert cells["balancer"] == "off"
    assert cells["alarms"] == []
    assert cells["charge_phase"] is None
    assert (settings["cell_uvp"], settings["charging"]) == (2.5, True)
    assert log == [{"time": 5, "code": 1, "event": "boot", "cell": None}]
    (history,) = output["detail_log"]
    # One log of several frames, in the order of its records
    assert [(record["index"], record["event"]) for record in history] == [
        (0, "boot"),
        (12, "shutdown"),
    ]


def test_redacted_frame_decodes_to_all_but_private_values(run: Run) -> None:
    """What is redacted for others to see decodes to all but what is private."""
    known = run([DEVICE], "--secrets").output["device_info"][0]
    redacted = redact(Frame.parse(DEVICE)).data
    (masked,) = run([redacted], "--secrets").output["device_info"]
    assert {name: masked[name] for name in known if known[name] != masked[name]} == {
        name: "*" * len(text)
        for name, text in {
            **SECRETS,
            "serial_number": "3092572134",
            "device_name": "garage",
        }.items()
    }


def test_device_with_an_unknown_version_is_decoded(run: Run) -> None:
    """Values that depend on the layout are absent until cell data prove it."""
    device = build(DEVICE_INFO, {6: b"JK_B2A20S20P", 30: b"beta"})
    result = run([device])
    assert (result.code, result.err) == (0, "jkbms: 1 frame good, 0 rejected\n")
    (info,) = result.output["device_info"]
    assert (info["device_model"], info["uart1_protocol"]) == ("JK_B2A20S20P", None)
    # The data prove it without a version
    assert run([device, CELLS]).output["cell_data"][0]["remain_percent"] == 42


def test_implausible_values_are_not_an_unknown_layout(run: Run, tmp_path: Path) -> None:
    """A broken wire is reported as such, not as an unknown layout."""
    broken = build(CELL_DATA, {6: "E40C0000" * 2, 70: "0F", 150: "9033"})
    result = run([DEVICE, broken])
    assert result.output["cell_data"] == []
    assert result.err == (
        f"jkbms: {tmp_path}/capture.txt, line 2: cell_data frame rejected: "
        "The cells add up to 6.600 V, the pack to 13.200 V\n"
        "jkbms: 1 frame good, 1 rejected\n"
    )


def test_last_frame_of_each_type_is_printed(run: Run) -> None:
    """Of several frames of one type the last is shown."""
    frames = [CELLS, OLD_DEVICE, MORE_CELLS, DEVICE]
    output = run(frames).output
    assert [cells["remain_percent"] for cells in output["cell_data"]] == [43]
    assert [device["software_version"] for device in output["device_info"]] == ["14.20"]


def test_all_option_prints_every_frame_in_order(run: Run) -> None:
    """With --all every frame is shown, in order."""
    frames = [DEVICE, CELLS, MORE_CELLS, CELLS, LIMITS, LIMITS, LOG, *HISTORY]
    output = run(frames, "--all").output
    assert [cells["remain_percent"] for cells in output["cell_data"]] == [42, 43, 42]
    assert len(output["settings"]) == 2
    assert len(output["logbook"]) == 1
    assert [[r["index"] for r in part] for part in output["detail_log"]] == [[12], [0]]


# The layout


def test_layout_from_the_data(run: Run) -> None:
    """Without device information the cell data decide the layout."""
    result = run([CELLS])
    assert result.code == 0
    assert result.output["device_info"] == []
    assert result.output["cell_data"][0]["battery_current"] == -10.595
    # A field of 14 and later
    assert len(result.output["cell_data"][0]["battery_temperature"]) == 2


def test_layout_against_device_information(run: Run) -> None:
    """Where they disagree, data win."""
    result = run([OLD_DEVICE, CELLS])
    assert result.code == 0
    assert result.output["cell_data"][0]["remain_percent"] == 42


def test_layout_option_overrides_detection(run: Run) -> None:
    """A given layout is used, whatever the frames say."""
    empty = build(CELL_DATA, {118: "01", 141: "2A", 150: "01", 173: "2B"})
    assert run([empty]).code == 1
    for layout, percent in (("JK02_24S", 42), ("JK02_32S", 43), ("JK04", None)):
        result = run([empty], "--layout", layout)
        assert (result.code, result.err) == (0, "jkbms: 1 frame good, 0 rejected\n")
        assert result.output["cell_data"][0]["remain_percent"] == percent
    # 24S has its mask of cells elsewhere
    output = run([DEVICE, build(CELL_DATA, FOUR_CELLS)], "--layout", "JK02_24S").output
    assert output["cell_data"][0]["cell_voltage"] == []


def test_unsupported_layout_prints_device_info_and_fails(
    run: Run, tmp_path: Path
) -> None:
    """Device information is all that can be shown then, and it is a failure."""
    result = run([DEVICE, LIMITS, NONSENSE])
    assert result.code == 1
    assert [*result.output] == ["device_info", "cell_data"]
    assert result.output["cell_data"] == []
    assert result.output["device_info"][0]["device_model"] == "JK_PB2A16S15P"
    assert result.err == (
        f"jkbms: {tmp_path}/capture.txt: The cell data fit no known layout; "
        "--layout overrides\n"
        "jkbms: 3 frames good, 0 rejected\n"
    )


def test_logs_decode_without_a_layout(run: Run) -> None:
    """A log is the same in each layout."""
    result = run([LOG, *HISTORY])
    assert result.code == 0
    assert result.err == "jkbms: 3 frames good, 0 rejected\n"
    assert result.output["logbook"] == [
        [{"time": 5, "code": 1, "event": "boot", "cell": None}]
    ]


@pytest.mark.parametrize(
    ("chunks", "arguments", "code"),
    [
        ([DEVICE], ["-i"], 0),
        ([DEVICE], ["-i", "-c"], 1),
        ([CELLS], ["-i"], 1),
        ([DEVICE], ["--settings"], 1),
        ([DEVICE, NONSENSE], ["-i"], 0),
    ],
)
def test_missing_section_is_a_failure(
    run: Run, chunks: list[bytes], arguments: list[str], code: int
) -> None:
    """A section that was requested and that no frame gives makes the exit code 1."""
    assert run(chunks, *arguments).code == code


# What is wrong with the capture


_FRAME = "a frame has 300 bytes and starts with 55 AA EB 90"


@pytest.mark.parametrize(
    ("chunks", "complaint"),
    [
        (
            [],
            (
                f": no frame found: {_FRAME}; bytes can be hexadecimal, decimal, octal "
                "or binary numbers, a string with escapes, or base64"
            ),
        ),
        (
            [AT_LINE, ACKNOWLEDGEMENT],
            f", line 2: 20 bytes that are a command or its acknowledgement: {_FRAME}",
        ),
        ([CELLS[2:]], f", line 1: 298 bytes that are no frame: {_FRAME}"),
    ],
)
def test_dump_without_a_frame_says_what_a_frame_is(
    run: Run, tmp_path: Path, chunks: list[bytes], complaint: str
) -> None:
    """The exit code is that of a failure, and the output is empty."""
    result = run(chunks)
    assert result.code == 1
    assert result.output == {"device_info": [], "cell_data": []}
    assert result.err == (
        f"jkbms: {tmp_path}/capture.txt{complaint}\njkbms: 0 frames good, 0 rejected\n"
    )


def test_rejected_frames_are_named(run: Run, tmp_path: Path) -> None:
    """With their line and the reason; the others are shown."""
    name = tmp_path / "capture.txt"
    total, end = sum(DAMAGED[:299]) & 0xFF, DAMAGED[299]
    reason = (
        f"wrong checksum: the bytes of the frame add up to 0x{total:02X}, "
        f"but it ends with 0x{end:02X}"
    )
    result = run([DAMAGED, DEVICE, DEVICE[:250], CELLS])
    assert result.code == 0
    assert result.err.splitlines() == [
        f"jkbms: {name}, line 1: {reason}",
        f"jkbms: {name}, line 3: the frame has 250 bytes instead of 300",
        "jkbms: 2 frames good, 2 rejected",
    ]
    assert result.output["cell_data"][0]["remain_percent"] == 42
    result = run([DAMAGED])
    assert (result.code, result.output["cell_data"]) == (1, [])
    assert "0 frames good, 1 rejected" in result.err


def test_lost_first_byte_is_restored(run: Run, tmp_path: Path) -> None:
    """The checksum proves that it was the only one."""
    result = run([CELLS[1:]])
    assert result.code == 0
    assert result.err.splitlines() == [
        (
            f"jkbms: {tmp_path}/capture.txt, line 1: the first byte of the frame, 55, "
            "was missing"
        ),
        "jkbms: 1 frame good, 0 rejected",
    ]


def test_implausible_frames_are_named(run: Run, tmp_path: Path) -> None:
    """A frame with a good checksum may be refused as well; the others are shown."""
    result = run([DEVICE, CELLS, IMPLAUSIBLE, LIMITS])
    assert result.code == 0
    assert result.output["cell_data"][0]["remain_percent"] == 42
    assert result.err == (
        f"jkbms: {tmp_path}/capture.txt, line 3: cell_data frame rejected: "
        "remain_percent is 101, not 0 to 100\n"
        "jkbms: 3 frames good, 1 rejected\n"
    )
    for frames in ([IMPLAUSIBLE], [DEVICE, IMPLAUSIBLE, IMPLAUSIBLE]):
        result = run(frames)
        assert (result.code, result.output["cell_data"]) == (1, [])


def test_value_that_is_impossible_in_three_frames_is_left_out(run: Run) -> None:
    """Three frames mean a failing sensor, whose other values are good; two may be damage."""
    result = run([DEVICE, *3 * [IMPLAUSIBLE]])
    (shown,) = result.output["cell_data"]
    assert (shown["implausible"], shown["remain_percent"]) == (["remain_percent"], None)
    assert shown["battery_voltage"] == 13.2
    assert (result.code, result.err.count("rejected:")) == (0, 2)
    result = run([DEVICE, IMPLAUSIBLE, CELLS, *2 * [IMPLAUSIBLE]], "--all")
    assert [cells["remain_percent"] for cells in result.output["cell_data"]] == [42]
    result = run([DEVICE, IMPLAUSIBLE, TWO_FAULTS, IMPLAUSIBLE])
    (shown,) = result.output["cell_data"]
    assert shown["implausible"] == ["remain_percent"]


# Secrets


def leaks(text: str) -> list[str]:
    """Return what of the secrets is in a text, plain or in hexadecimal."""
    return [
        secret
        for secret in SECRETS.values()
        for shown in (secret, secret.encode().hex())
        if shown in text.lower()
    ]


@pytest.mark.parametrize(
    "arguments", [(), ("--all",), ("-i",), ("-f", "j"), ("--layout", "JK04")]
)
@pytest.mark.parametrize("others", [[], [CELLS], [NONSENSE], [DAMAGED, DEVICE[:200]]])
def test_secrets_are_masked_by_default(
    run: Run, others: list[bytes], arguments: tuple[str, ...]
) -> None:
    """Passcodes and what people typed are not shown unasked, but that they are there."""
    result = run([DEVICE, *others, DEVICE, *others], *arguments)
    assert leaks(result.out + result.err) == []
    for device in result.output["device_info"]:
        assert {name: device[name] for name in SECRETS} == dict.fromkeys(
            SECRETS, "********"
        )
        assert device["device_name"] == "garage"
    assert result.output["device_info"]


def test_absent_secrets_are_not_masked(run: Run) -> None:
    """A mask would suggest that the battery has secrets."""
    (device,) = run([OLD_DEVICE]).output["device_info"]
    assert {device[name] for name in SECRETS} == {None}


def test_secrets_are_shown_when_asked_for(run: Run) -> None:
    """The owner of the battery may need them."""
    (device,) = run([DEVICE], "--secrets").output["device_info"]
    assert {name: device[name] for name in SECRETS} == SECRETS


@pytest.mark.parametrize("at", [61, 120, 299])
@pytest.mark.parametrize("arguments", [(), ("--secrets",)])
def test_secrets_are_not_in_remarks(
    run: Run, at: int, arguments: tuple[str, ...]
) -> None:
    """A remark on a damaged frame quotes none of its bytes."""
    damaged = DEVICE[:at] + bytes((DEVICE[at] ^ 1,)) + DEVICE[at + 1 :]
    for text in (damaged.hex(), repr(damaged), DEVICE[:at].hex(" "), str([*damaged])):
        code, out, err = run(text, *arguments)
        assert (code, leaks(out + err)) == (1, [])


# The format of ubmsc


def test_variable_sets_the_default_format(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JKBMS_FORMAT=rust restores the default of ubmsc; --format overrides it."""
    monkeypatch.setenv("JKBMS_FORMAT", "rust")
    assert run([DEVICE]).out.startswith("Outputs { device_info: [DeviceInfo { ")
    assert run([DEVICE], "-f", "j").out.startswith('{"device_info":[{')
    monkeypatch.setenv("JKBMS_FORMAT", "")
    assert run([DEVICE]).out.startswith("{\n")


def test_variable_with_an_unknown_format_is_a_usage_error(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable."""
    monkeypatch.setenv("JKBMS_FORMAT", "xml")
    with pytest.raises(SystemExit) as stop:
        run([DEVICE])
    assert stop.value.code == 2
    assert "jkbms: JKBMS_FORMAT: invalid choice: 'xml'" in capsys.readouterr().err


# The command itself


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        (["-v"], 0, f"jkbms {__version__}\nRead JiKong (JK)", ""),
        (["--version"], 0, f"jkbms {__version__}\nRead JiKong (JK)", ""),
        (["-h"], 0, "--decode <file>", ""),
        (["--help"], 0, "--decode <file>", ""),
        (["--decode"], 2, "", "--decode"),
        (["--decode", "-", "--unknown"], 2, "", "--unknown"),
        (["--decode", "-", "--watch"], 2, "", "--decode and --watch cannot be"),
        (["--decode", "-", "-e"], 2, "", "--decode and --exporter cannot be"),
        (["--decode", "-", "-e", "-p"], 2, "", "--decode and --push cannot be"),
        (["-d", "X", "--decode", "-"], 2, "", "--decode takes no --devices"),
        (["--decode", "-", "-t", "30"], 2, "", "--decode takes no --scan-timeout"),
        (["--decode", "-", "-r", "5"], 2, "", "--decode takes no --request-timeout"),
        (["--decode", "-", "-s", "60"], 2, "", "--decode takes no --scrape-interval"),
        (["--decode", "-", "--adapter", "x"], 2, "", "--decode takes no --adapter"),
        (["--watch", "-f", "j"], 2, "", "--watch takes no --format"),
        (["--watch", "-c"], 2, "", "--watch takes no --cell-data"),
        (["--nonsense\n\x1b[2J"], 2, "", "unrecognized arguments: --nonsense [2J ("),
        (["-d", ""], 2, "", "--devices: its value is empty"),
        (["-d", " "], 2, "", "--devices needs names or addresses"),
        (["-d", "\udcff"], 2, "", r"--devices: '\udcff' is not UTF-8"),
        (["--decode", ""], 2, "", "--decode: its value is empty"),
        (["-e", "-u", ""], 2, "", "--url: its value is empty"),
        (["-e", "--tls-cert", ""], 2, "", "--tls-cert: its value is empty"),
        (["-d", "A,,B"], 2, "", "--devices needs names or addresses"),
        (["-t", "0"], 2, "", "'0' is not a number of seconds above 0"),
        (
            ["-s", "0.9"],
            2,
            "",
            "a battery cannot be read every 0.9 s; the minimum is 1",
        ),
        (["-s", "often"], 2, "", "'often' is not a number of seconds above 0"),
        (["-r", "inf"], 2, "", "'inf' is not a number of seconds above 0"),
        (["-l", "jkbms=loud"], 2, "", "'loud' is not a level: off, error"),
        (
            ["--decode", "-", "--layout", "JK02"],
            2,
            "",
            "invalid choice: 'JK02' (choose from JK04, JK02_24S, JK02_32S)",
        ),
        (["--layout", "JK04"], 2, "", "--layout is only for --decode"),
        (["--decode", "-", "-u", "http://x"], 2, "", "--decode takes no --url"),
        (["--watch", "-u", "http://x"], 2, "", "--watch takes no --url"),
        (["-p"], 2, "", "--push needs --url"),
        (["-e", "-p", "--tls-cert", "x"], 2, "", "--tls-cert is only for --exporter"),
        (["-e", "--tls-key", "x"], 2, "", "--tls-key needs --tls-cert"),
        (["-e", "--settings"], 2, "", "--exporter takes no --settings"),
        (["-e", "--secrets"], 2, "", "--exporter takes no --secrets"),
        (["-p", "-c", "--settings"], 2, "", "--push takes no --settings"),
        (["-f", "m", "--settings"], 2, "", "--settings has no metrics: choose another"),
        (["--watch"], 2, "", "--watch needs a terminal"),
    ],
)
def test_usage_error_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    out: str,
    err: str,
) -> None:
    """A usage error prints the usage and has exit code 2."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    printed = capsys.readouterr()
    assert stop.value.code == code
    assert out in printed.out
    assert err in printed.err
    assert bool(printed.out) is (code == 0)
    assert len(printed.err.splitlines()) == (code == 2)


@pytest.mark.parametrize("name", ["dumb", "unknown"])
def test_watch_on_a_dumb_terminal_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A terminal that cannot move its cursor would show nothing."""
    monkeypatch.setenv("TERM", name)
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    with pytest.raises(SystemExit) as stop:
        main(["--watch"])
    assert stop.value.code == 2
    assert "--watch needs a terminal that can move" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [
        "-v, --version",
        "-l, --log <filter>",
        "-j, --journal",
        "-t, --scan-timeout",
        "-r, --request-timeout",
        "-d, --devices",
        "-f, --format",
        "-i, --device-info",
        "-c, --cell-data",
        "-e, --exporter",
        "-p, --push",
        "-u, --url",
        "-s, --scrape-interval",
        "-h, --help",
    ],
)
def test_help_has_all_of_ubmsc(capsys: pytest.CaptureFixture[str], option: str) -> None:
    """Users of `ubmsc` find the same letters and words."""
    with pytest.raises(SystemExit):
        main(["--help"])
    letter, word, *value = option.split()
    line = " ".join([letter, word, *value])
    assert f"  {line}" in capsys.readouterr().out


def test_help_has_all_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """None comes as a surprise."""
    with pytest.raises(SystemExit):
        main(["--help"])
    _, codes = capsys.readouterr().out.split("exit codes:")
    assert re.findall(r"\b\d+(?= [a-z]+)", codes) == [
        str(int(code)) for code in ExitCode
    ]


def process(command: list[str], text: str = "") -> Result:
    """Run a process in the folder that holds the library."""
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT / "custom_components" / "jk_bms",
        timeout=120,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([sys.executable, "-W", "error", "-m", "jkbms"], id="module"),
        pytest.param([str(ROOT / "scripts" / "jkbms")], id="script"),
    ],
)
def test_process_decodes_pipe_and_file(command: list[str], tmp_path: Path) -> None:
    """As a process it reads a pipe or a file and ends with the code."""
    text = f"{DEVICE.hex()}\n{CELLS.hex()}\n"
    path = tmp_path / "capture.txt"
    path.write_text(text, "utf-8")
    piped = process([*command, "--decode", "-", "-f", "j"], text)
    filed = process([*command, "--decode", str(path), "-f", "j"])
    for result in (piped, filed):
        # The script may have had to set up what it needs
        assert result.err.endswith("jkbms: 2 frames good, 0 rejected\n")
        assert result.code == 0
        assert result.output["cell_data"][0]["remain_percent"] == 42
        assert leaks(result.out + result.err) == []
    assert process([*command, "--decode", str(tmp_path / "nothing")]).code == 2


def test_decoding_imports_neither_home_assistant_nor_bleak() -> None:
    """Decoding needs neither Home Assistant nor a Bluetooth stack."""
    code, out, err = process(
        [
            sys.executable,
            "-c",
            (
                "import sys, jkbms.protocol.decode;"
                "print(*{name.partition('.')[0] for name in sys.modules})"
            ),
        ]
    )
    assert (code, err) == (0, "")
    assert "jkbms" in out.split()
    assert {"homeassistant", "bleak", "habluetooth"}.isdisjoint(out.split())


def test_module_is_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run as a module, it ends with the code of the command."""
    module = "custom_components.jk_bms.jkbms"
    monkeypatch.setattr(sys, "argv", ["jkbms", "--decode", "/nothing/here"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(module, run_name="__main__")
    assert stop.value.code == 2
    assert "/nothing/here" in capsys.readouterr().err


def test_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """`jkbms … | head -1` ends without a complaint."""
    path = tmp_path / "capture.txt"
    path.write_text(CELLS.hex(), "utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "jkbms", "--decode", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as command:
        assert command.stdout
        assert command.stderr
        command.stdout.close()
        assert command.stderr.read() == b"jkbms: 1 frame good, 0 rejected\n"
        assert command.wait(50) == 0


@pytest.mark.parametrize("name", ["j", "table"])
def test_full_disk_is_reported_in_one_line(tmp_path: Path, name: str) -> None:
    """Output that cannot be written is a failure of one line."""
    path = tmp_path / "capture.txt"
    path.write_text(CELLS.hex(), "utf-8")
    command = [sys.executable, "-m", "jkbms", "--decode", str(path), "-f", name]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            command,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "jkbms: 1 frame good, 0 rejected",
        "jkbms: Cannot write the output: No space left on device",
    ]


def test_failed_output_is_not_flushed_again_at_exit(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Otherwise Python would report a second error when it ends."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        result = run([CELLS])
    assert (result.code, result.out) == (1, "")
    assert result.err.endswith("Cannot write the output: No space left on device\n")


@pytest.mark.parametrize("name", ["yaml", "table"])
def test_characters_that_a_terminal_lacks_are_question_marks(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """What it has no characters for is shown as question marks."""
    device = build(
        DEVICE_INFO, {6: b"JK_PB2A16S15P", 30: b"14.20", 46: "Küche".encode()}
    )
    path = tmp_path / "out"
    with path.open("w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert run([device, CELLS], "-f", name).code == 0
    assert "K?che" in path.read_text("ascii")


def test_closed_pipe_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A closed pipe is no failure, neither now nor when Python ends."""
    path = tmp_path / "capture.txt"
    path.write_text(DEVICE.hex(), "utf-8")
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["--decode", str(path)]) == 0
        # What follows goes nowhere
        print("more", flush=True)  # noqa: T201


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_that_cannot_be_written_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """A closed pipe is no failure: its reader has seen enough."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main([option]) == 1
    assert capsys.readouterr().err == (
        "jkbms: Cannot write the output: No space left on device\n"
    )
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(SystemExit) as stop:
            main([option])
    assert stop.value.code == 0
    assert capsys.readouterr().err == ""


def test_closed_standard_streams(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Output for a closed stdout is a failure; stdin and stderr may be closed."""
    path = tmp_path / "capture.txt"
    path.write_text(CELLS.hex(), "utf-8")
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["--decode", str(path), "-f", "table"]) == 1
    assert main(["--decode", "-"]) == 1
    with pytest.raises(SystemExit) as stop:
        main(["--watch"])
    assert stop.value.code == 2
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()
    assert capsys.readouterr() == ("", "")


ONE_GOOD: Final = "jkbms: 1 frame good, 0 rejected"


@pytest.mark.parametrize(
    ("closed", "code", "out", "complaints"),
    [
        (
            ">&-",
            1,
            "",
            [ONE_GOOD, "jkbms: Cannot write the output: Bad file descriptor"],
        ),
        ("2>&-", 0, '{\n  "device_info": []', []),
        ("<&-", 0, '{\n  "device_info": []', [ONE_GOOD]),
    ],
)
def test_process_uses_the_streams_that_are_open(
    tmp_path: Path, closed: str, code: int, out: str, complaints: list[str]
) -> None:
    """Only a closed stdout is a failure, since the output is lost."""
    path = tmp_path / "capture.txt"
    path.write_text(CELLS.hex(), "utf-8")
    command = [sys.executable, "-m", "jkbms", "--decode", str(path)]
    result = process(["sh", "-c", f'exec "$@" {closed}', "sh", *command])
    assert (result.code, result.out[: len(out)]) == (code, out)
    assert result.err.splitlines() == complaints
    assert bool(result.out) is bool(out)


def test_unwritable_stderr_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the message is lost; the exit code still gives the result."""

    class Deaf(io.StringIO):
        @override
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Deaf())
    assert main(["--decode", "/nothing/here"]) == 2


def test_interrupt_at_start_has_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt during the start causes no traceback."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("custom_components.jk_bms.jkbms.cli.main._run", interrupt)
    assert main([]) == 130
