"""Decode captured bytes without a radio: `jkbms --decode`."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
import re
import sys
from typing import Any, Final

from ..errors import ImplausibleFrameError, UnsupportedLayoutError
from ..models import DeviceInfo
from ..protocol.decode import (
    decode_cell_data,
    decode_detail_log,
    decode_device_info,
    decode_logbook,
    decode_settings,
)
from ..protocol.detect import find_profile
from ..protocol.frames import Frame, FrameAssembler, FrameStatistics, FrameType
from ..protocol.profile import Profile
from .arguments import ExitCode, Options
from .report import BatteryReport, ReadReport, masked
from .terminal import print_error, show

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

type _Output = dict[str, list[Any]]


class _CaptureError(Exception):
    """The capture cannot be read; the text says why."""


def decode_capture(name: str, options: Options) -> ExitCode:
    """Print what the frames in a file say; `-` is stdin."""
    assembler = FrameAssembler()
    try:
        frames = [
            frame for chunk in _read_capture(name) for frame in assembler.feed(chunk)
        ]
    except _CaptureError as err:
        print_error(str(err))
        return ExitCode.USAGE
    assembler.clear()
    seen = assembler.statistics
    profile = None
    needs_profile = not _NEED_PROFILE.isdisjoint(frame.type for frame in frames)
    try:
        profile = find_profile(frames, options.layout)
    except UnsupportedLayoutError as err:
        if needs_profile:
            print_error(f"{err}; --layout overrides")
    output = _decode_all(frames, profile, options, seen)
    frames_good = "1 frame" if seen.good == 1 else f"{seen.good} frames"
    print_error(f"{frames_good} good, {seen.rejected} rejected")
    if not options.all:
        output = _newest(output)
    asked = options.sections
    sections = asked or [
        key for key, decoded in output.items() if decoded or key in _MAIN_SECTIONS
    ]
    show(ReadReport(_reports(output, profile), sections), options.format)
    if asked:
        is_whole = all(output[key] for key in asked)
    else:
        is_whole = all(output[_SECTIONS[frame.type]] for frame in frames)
    return ExitCode.GOOD if frames and is_whole else ExitCode.FAILED


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
    options: Options,
    seen: FrameStatistics,
) -> _Output:
    """Return what the frames say, by section, in the order of the frames."""
    output: _Output = {key: [] for key in _SECTIONS.values()}
    for frame in frames:
        try:
            decoded = _decode(frame, profile)
        except ImplausibleFrameError as err:
            print_error(f"{frame.type.name.lower()} frame rejected: {err}")
            seen.good -= 1
            seen.rejected += 1
            continue
        if isinstance(decoded, DeviceInfo) and not options.secrets:
            decoded = masked(decoded)
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


def _newest(output: _Output) -> _Output:
    """Leave the last of each section; the frames of a detail log are one log."""
    records = {record.index: record for part in output["detail_log"] for record in part}
    newest = {key: decoded[-1:] for key, decoded in output.items()}
    if records:
        newest["detail_log"] = [[records[index] for index in sorted(records)]]
    return newest


def _reports(output: _Output, profile: Profile | None) -> list[BatteryReport]:
    """Return the first of each section together, then the second, and so on."""
    infos = [info.device_name for info in output["device_info"]]
    return [
        BatteryReport(
            device=infos[0] if infos and infos[0] else "capture",
            layout=profile.layout if profile else None,
            **dict(zip(output, row, strict=True)),
        )
        for row in zip_longest(*output.values())
    ]
