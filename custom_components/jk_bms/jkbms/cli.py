"""The command `jkbms`: what a battery says, without Home Assistant."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
import json
import os
from pathlib import Path
import re
import sys
from typing import Any, Final

from . import __version__
from .decode import (
    decode_cell_data,
    decode_detail_log,
    decode_device_info,
    decode_logbook,
    decode_settings,
    find_profile,
)
from .errors import ImplausibleFrameError, UnsupportedLayoutError
from .frames import Frame, FrameAssembler, FrameStatistics, FrameType
from .layouts import Profile
from .models import SECRET_FIELDS, DeviceInfo, Layout

_GOOD: Final = 0
_FAILED: Final = 1
_USAGE: Final = 2

_FORMATS: Final[dict[str, dict[str, Any]]] = {
    "json": {"separators": (",", ":")},
    "json-pretty": {"indent": 2},
}
_FORMAT_LETTERS: Final = {"j": "json", "J": "json-pretty"}

_MASK: Final = "********"
_BYTE_ORDER_MARK: Final = "\N{ZERO WIDTH NO-BREAK SPACE}"
_PUNCTUATION: Final = re.compile(r"\b0x|[:,;-]", re.IGNORECASE)

_SECTIONS: Final = {
    FrameType.DEVICE_INFO: "device_info",
    FrameType.CELL_DATA: "cell_data",
    FrameType.SETTINGS: "settings",
    FrameType.LOGBOOK: "logbook",
    FrameType.DETAIL_LOG: "detail_log",
}
_NEED_PROFILE: Final = frozenset({FrameType.CELL_DATA, FrameType.SETTINGS})
_MAIN_SECTIONS: Final = frozenset({"device_info", "cell_data"})

type Output = dict[str, list[Any]]


class _CaptureError(Exception):
    """The capture cannot be read; the text says why."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 good, 1 failed, 2 usage."""
    options = _parser().parse_args(argv)
    assembler = FrameAssembler()
    try:
        frames = [
            frame
            for chunk in _read_capture(options.decode)
            for frame in assembler.feed(chunk)
        ]
    except _CaptureError as err:
        _complain(str(err))
        return _USAGE
    assembler.clear()
    seen = assembler.statistics
    profile = None
    needs_profile = not _NEED_PROFILE.isdisjoint(frame.type for frame in frames)
    try:
        profile = find_profile(frames, options.layout)
    except UnsupportedLayoutError as err:
        if needs_profile:
            _complain(f"{err}; --layout overrides")
    output = _decode_all(frames, profile, options, seen)
    _complain(f"{seen.good} frames good, {seen.rejected} rejected")
    if not options.all:
        output = _newest(output)
    asked = {key for key in _SECTIONS.values() if getattr(options, key, False)}
    shown = _selected(output, asked)
    _print(json.dumps(shown, default=asdict, **_FORMATS[options.format]))
    if asked:
        return _GOOD if all(shown.values()) else _FAILED
    is_whole = all(output[_SECTIONS[frame.type]] for frame in frames)
    return _GOOD if frames and is_whole else _FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jkbms", description="Read JiKong (JK) battery management systems."
    )
    add = parser.add_argument
    add("-v", "--version", action="version", version=f"jkbms {__version__}")
    add(
        "--decode",
        metavar="FILE",
        required=True,
        help="decode captured bytes (- is stdin): hex strings of whole frames or of "
        "notifications as they came, separated by blanks or one a line",
    )
    add(
        "-f",
        "--format",
        type=lambda name: _FORMAT_LETTERS.get(name, name),
        choices=tuple(_FORMATS),
        default="json-pretty",
        help="json (j) or json-pretty (J), the default",
    )
    add("-i", "--device-info", action="store_true", help="show device information")
    add("-c", "--cell-data", action="store_true", help="show cell data")
    add("--settings", action="store_true", help="show settings")
    add(
        "--layout",
        choices=tuple(Layout),
        type=Layout,
        help="of the frames, if they do not tell it themselves",
    )
    add("--all", action="store_true", help="show all frames, not the last of each type")
    add("--secrets", action="store_true", help="show passcodes and user data")
    return parser


def _complain(text: str) -> None:
    print(f"jkbms: {text}", file=sys.stderr)


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever reads has seen enough, and Python shall not try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _read_capture(name: str) -> Iterator[bytes]:
    """Return the byte strings of a capture in order."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except OSError as err:
        raise _CaptureError(f"{name}: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise _CaptureError(f"{name}: not a text of hexadecimal numbers") from err
    for number, line in enumerate(text.removeprefix(_BYTE_ORDER_MARK).splitlines(), 1):
        for word in line.split():
            try:
                yield bytes.fromhex(_PUNCTUATION.sub("", word))
            except ValueError as err:
                # What stands there may be part of a passcode
                raise _CaptureError(f"{name}, line {number}: not hexadecimal") from err


def _decode_all(
    frames: Sequence[Frame],
    profile: Profile | None,
    options: argparse.Namespace,
    seen: FrameStatistics,
) -> Output:
    """Return what the frames say, by section, in the order of the frames."""
    output: Output = {key: [] for key in _SECTIONS.values()}
    for frame in frames:
        try:
            decoded = _decode(frame, profile)
        except ImplausibleFrameError as err:
            _complain(f"{frame.type.name.lower()} frame rejected: {err}")
            seen.good -= 1
            seen.rejected += 1
            continue
        if isinstance(decoded, DeviceInfo) and not options.secrets:
            decoded = _masked(decoded)
        if decoded is not None:
            output[_SECTIONS[frame.type]].append(decoded)
    return output


def _decode(frame: Frame, profile: Profile | None) -> Any:
    match frame.type:
        case FrameType.DEVICE_INFO:
            return decode_device_info(frame)
        case FrameType.LOGBOOK:
            return decode_logbook(frame)
        case FrameType.DETAIL_LOG:
            return decode_detail_log(frame)
        case FrameType.CELL_DATA if profile:
            return decode_cell_data(frame, profile)
        case FrameType.SETTINGS if profile:
            return decode_settings(frame, profile)
    return None


def _masked(info: DeviceInfo) -> DeviceInfo:
    masks: dict[str, Any] = {
        name: _MASK for name in SECRET_FIELDS if getattr(info, name) is not None
    }
    return replace(info, **masks)


def _newest(output: Output) -> Output:
    """Leave the last of each section; the frames of a detail log are one log."""
    records = {record.index: record for part in output["detail_log"] for record in part}
    newest = {key: decoded[-1:] for key, decoded in output.items()}
    if records:
        newest["detail_log"] = [[records[index] for index in sorted(records)]]
    return newest


def _selected(output: Output, asked: set[str]) -> Output:
    """Leave the sections asked for; if none is, those that say something."""
    return {
        key: decoded
        for key, decoded in output.items()
        if (key in asked if asked else decoded or key in _MAIN_SECTIONS)
    }


if __name__ == "__main__":
    sys.exit(main())
