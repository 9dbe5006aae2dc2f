"""Decode captured bytes without a radio: `jkbms --decode`."""

from itertools import zip_longest
from pathlib import Path
import sys
from typing import Final

from ..protocol.dump import NOTHING_FOUND, read_dump
from ..protocol.dump_contents import SECTIONS, Contents, decode_all
from .arguments import ExitCode, Options
from .report import BatteryReport, ReadReport
from .terminal import print_error, show

_MAIN_SECTIONS: Final = frozenset({"device_info", "cell_data"})


def decode_capture(name: str, options: Options) -> ExitCode:
    """Print the values of the frames in a file; `-` is stdin."""
    try:
        dump = read_dump(_read(name))
    except OSError as err:
        print_error(f"{name}: {err.strerror}")
        return ExitCode.USAGE
    for remark in dump.remarks:
        print_error(f"{name}, {remark}")
    if not dump.frames and not dump.remarks:
        print_error(f"{name}: {NOTHING_FOUND}")
    contents = decode_all(dump.frames, layout=options.layout, secrets=options.secrets)
    if contents.layout_error:
        print_error(f"{name}: {contents.layout_error}; --layout overrides")
    for number, reason in contents.rejected:
        print_error(f"{name}, {dump.places[number]}: {reason}")
    good = len(dump.frames) - len(contents.rejected)
    rejected = dump.rejected + len(contents.rejected)
    print_error(f"{good} frame{'' if good == 1 else 's'} good, {rejected} rejected")
    if not options.all:
        contents = contents.newest()
    decoded = contents.sections
    sections = options.sections or [
        name for name, models in decoded.items() if models or name in _MAIN_SECTIONS
    ]
    show(ReadReport(_reports(contents), sections), options.format)
    expected = options.sections or [SECTIONS[frame.type] for frame in dump.frames]
    is_complete = bool(dump.frames) and all(decoded[name] for name in expected)
    return ExitCode.GOOD if is_complete else ExitCode.FAILED


def _read(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def _reports(contents: Contents) -> list[BatteryReport]:
    """Return the first of each section together, then the second, and so on."""
    names = [info.device_name for info in contents.sections["device_info"]]
    return [
        BatteryReport(
            device=names[0] if names and names[0] else "capture",
            layout=contents.layout,
            **dict(zip(contents.sections, row, strict=True)),
        )
        for row in zip_longest(*contents.sections.values())
    ]
