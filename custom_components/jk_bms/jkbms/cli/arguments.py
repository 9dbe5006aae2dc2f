"""What the command can be told."""

import argparse
from collections.abc import Mapping, Sequence
from enum import IntEnum
import logging
from math import inf
import os
from pathlib import Path
import sys
from types import MappingProxyType
from typing import Final, NoReturn, override

from .. import __version__
from ..models import Layout
from .terminal import complain, printing


class ExitCode(IntEnum):
    """How it went."""

    GOOD = 0
    FAILED = 1
    """Any battery, or what its values were meant for."""
    USAGE = 2
    INTERRUPTED = 130
    TERMINATED = 143


FORMATS: Final = {
    "j": "json",
    "J": "json-pretty",
    "y": "yaml",
    "t": "toml",
    "T": "toml-pretty",
    "m": "metrics",
    "r": "repr",
    "R": "repr-pretty",
    "table": "table",
}
"""By what they may be called for short."""
_FORMATS: Final = ", ".join(
    name if letter == name else f"{name} ({letter})" for letter, name in FORMATS.items()
)

_MIN_INTERVAL: Final = 1.0
"""s, in which a battery can just be read."""

_LEVELS: Final = {
    "off": logging.CRITICAL + 1,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}

_EPILOG: Final = """\
examples:
  jkbms                                       list the batteries in reach
  jkbms -f J -i -d UPS_BMS                    device information of one
  jkbms -f t -i -c                            information and cells of all
  jkbms -f metrics -c -d UPS_BMS              cells as Prometheus metrics, once
  jkbms -e -d UPS_BMS -d HOME_BMS             serve the metrics of two
  jkbms -e -p -u http://HOST:8428/api/v1/import/prometheus
                                              push the metrics of all, for ever
  jkbms --watch                               a live table

environment:
  JKBMS_PUSH_USER and JKBMS_PUSH_PASSWORD, or JKBMS_PUSH_TOKEN: for --push

exit codes: 0 all answered, 1 something failed, 2 wrong usage,
  130 interrupted, 143 terminated (with --exporter: 0)
"""


class Options(argparse.Namespace):
    """What it was told; the class knows what goes without saying."""

    log: Mapping[str, int] = MappingProxyType({})
    journal: bool = False
    scan_timeout: float = 30.0
    request_timeout: float = 5.0
    devices: list[str] = []
    format: str | None = None
    device_info: bool = False
    cell_data: bool = False
    settings: bool = False
    secrets: bool = False
    exporter: bool = False
    push: bool = False
    url: str | None = None
    scrape_interval: float = 60.0
    watch: bool = False
    adapter: str | None = None
    decode: str | None = None
    layout: Layout | None = None
    all: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    basic_auth: Path | None = None
    push_kind: str | None = None
    job: str | None = None
    auth_file: Path | None = None

    @property
    def modes(self) -> list[str]:
        """What is to be done other than to print what batteries say, if anything."""
        return [
            name
            for name, is_chosen in (
                ("--decode", self.decode is not None),
                ("--watch", self.watch),
                ("--exporter", self.exporter and not self.push),
                ("--push", self.push),
            )
            if is_chosen
        ]

    @property
    def asked(self) -> list[str]:
        """Each name or address once, in the order asked for."""
        return list(dict.fromkeys(self.devices))

    @property
    def sections(self) -> list[str]:
        """What of each battery is asked for."""
        return [
            name
            for name in ("device_info", "cell_data", "settings")
            if getattr(self, name)
        ]


class _Parser(argparse.ArgumentParser):
    """Complains in one line."""

    @override
    def _print_message(self, message: str, file: object = None) -> None:
        """Print help, and see that it arrives. Raises `OutputError`."""
        with printing():
            sys.stdout.write(message)

    @override
    def error(self, message: str) -> NoReturn:
        complain(f"{message} (jkbms --help tells more)")
        self.exit(ExitCode.USAGE)


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line; ends the process where it is wrong.

    Raises `OutputError` if help cannot be printed.
    """
    parser = _make_parser()
    options = parser.parse_args(arguments, namespace=Options())
    if complaint := _contradiction(options):
        parser.error(complaint)
    return options


def _contradiction(options: Options) -> str | None:
    """Return what of the options does not go together."""
    if not all(options.asked):
        return "--devices needs names or addresses"
    if len(options.modes) > 1:
        return f"{' and '.join(options.modes)} do not go together"
    (mode,) = options.modes or ("",)
    given = [f"--{name.replace('_', '-')}" for name in vars(options)]
    for name in given:
        if mode not in (modes := _ONLY_WITH.get(name, (mode,))):
            return f"{name} is only for {' and '.join(modes)}"
        if name in _OF_NO_USE.get(mode, ()):
            return f"{mode} takes no {name}"
    if options.settings and options.format == "metrics":
        return "--settings are no metrics: choose another --format"
    if mode == "--push" and options.url is None:
        return "--push needs --url, which says where to"
    if options.watch and not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "--watch needs a terminal"
    if options.watch and os.environ.get("TERM") in _DUMB:
        return "--watch needs a terminal that can move its cursor: see TERM"
    if options.tls_key and not options.tls_cert:
        return "--tls-key needs --tls-cert"
    return None


_DUMB: Final = frozenset({"dumb", "unknown"})
_ONLY_WITH: Final = {
    "--layout": ("--decode",),
    "--all": ("--decode",),
    "--url": ("--exporter", "--push"),
    "--tls-cert": ("--exporter",),
    "--tls-key": ("--exporter",),
    "--basic-auth": ("--exporter",),
    "--push-kind": ("--push",),
    "--job": ("--push",),
    "--auth-file": ("--push",),
}
_OF_NO_USE: Final = {
    "--decode": (
        "--devices",
        "--scan-timeout",
        "--request-timeout",
        "--adapter",
        "--scrape-interval",
    ),
    "--watch": (
        "--device-info",
        "--cell-data",
        "--settings",
        "--secrets",
        "--format",
        "--scrape-interval",
    ),
    "--exporter": ("--settings", "--secrets"),
    "--push": ("--settings", "--secrets"),
}
"""What could only be ignored. What `ubmsc` ignores is not among it."""


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="jkbms",
        usage="jkbms [OPTION]...",
        description="Read JiKong (JK) battery management systems over Bluetooth. "
        "Without options: list the batteries in reach.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    general = parser.add_argument_group("general")
    add = general.add_argument
    add("-v", "--version", action="version", version=f"jkbms {__version__}")
    add(
        "-l",
        "--log",
        type=_log_filter,
        metavar="FILTER",
        help="a level (error, warn, info, debug, off), or some: jkbms=debug,bleak=info",
    )
    add("-j", "--journal", action="store_true", help="log to journald, not to stderr")

    radio = parser.add_argument_group("batteries")
    add = radio.add_argument
    add(
        "-d",
        "--devices",
        action="extend",
        type=_names,
        metavar="DEVICE",
        help="name or address, more than one with commas or as -d A -d B; "
        "without it every battery that is found",
    )
    add(
        "-t",
        "--scan-timeout",
        type=_seconds,
        metavar="SECONDS",
        help="look for them so many seconds (30)",
    )
    add(
        "-r",
        "--request-timeout",
        type=_seconds,
        metavar="SECONDS",
        help="wait for an answer so many seconds (5)",
    )
    add("--adapter", type=_text, metavar="NAME", help="Bluetooth adapter, such as hci1")

    output = parser.add_argument_group("output")
    add = output.add_argument
    add("-i", "--device-info", action="store_true", help="show device information")
    add("-c", "--cell-data", action="store_true", help="show live values and cells")
    add("--settings", action="store_true", help="show settings")
    add(
        "-f",
        "--format",
        type=_format,
        help=f"{_FORMATS}; without it a table on a terminal, else json-pretty",
    )
    add("--secrets", action="store_true", help="show passcodes and user data")
    add("--watch", action="store_true", help="show live values until q is pressed")

    export = parser.add_argument_group("export")
    add = export.add_argument
    add("-e", "--exporter", action="store_true", help="serve metrics to Prometheus")
    add(
        "-p",
        "--push",
        action="store_true",
        help="push metrics to --url, once; with -e for ever",
    )
    add(
        "-u",
        "--url",
        type=_text,
        help="where to serve (http://127.0.0.1:9898/metrics; the port is 9898 where "
        "it names none), or where to push: a Pushgateway or a Prometheus import URL",
    )
    add(
        "-s",
        "--scrape-interval",
        type=_interval,
        metavar="SECONDS",
        help="read the batteries every so many seconds (60)",
    )
    add("--tls-cert", type=_path, metavar="FILE", help="serve https with it")
    add("--tls-key", type=_path, metavar="FILE", help="if it is not in --tls-cert")
    add("--basic-auth", type=_path, metavar="FILE", help="user:password of scrapers")
    add(
        "--push-kind",
        choices=("pushgateway", "import"),
        help="what --url is, if it does not show",
    )
    add("--job", type=_text, help="label of what is pushed (jkbms)")
    add(
        "--auth-file",
        type=_path,
        metavar="FILE",
        help="user:password or token to push with; a token with a colon has to be in "
        "JKBMS_PUSH_TOKEN",
    )

    capture = parser.add_argument_group("captured bytes")
    add = capture.add_argument
    add(
        "--decode",
        type=_filled,
        metavar="FILE",
        help="decode them without a radio (- is stdin): hex strings of whole frames or "
        "of notifications as they came, separated by blanks or one a line",
    )
    add(
        "--layout",
        type=_layout,
        metavar=f"{{{','.join(Layout)}}}",
        help="of the frames, if they do not tell it themselves",
    )
    add("--all", action="store_true", help="show all frames, not the last of each type")
    return parser


def _format(text: str) -> str:
    if text in FORMATS:
        return FORMATS[text]
    if text in FORMATS.values():
        return text
    raise argparse.ArgumentTypeError(
        f"invalid choice: {text!r} (choose from {_FORMATS})"
    )


def _layout(text: str) -> Layout:
    try:
        return Layout(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(
            f"invalid choice: {text!r} (choose from {', '.join(Layout)})"
        ) from err


def _filled(text: str) -> str:
    # A variable that is not set is easily taken for a value
    if not text:
        raise argparse.ArgumentTypeError("its value is empty")
    return text


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as err:
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8") from err
    return _filled(text)


def _path(text: str) -> Path:
    return Path(_filled(text))


def _names(text: str) -> list[str]:
    return [name.strip() for name in _text(text).split(",")]


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def _interval(text: str) -> float:
    value = _seconds(text)
    if value < _MIN_INTERVAL:
        raise argparse.ArgumentTypeError(
            f"no battery can be read every {value:g} s; {_MIN_INTERVAL:g} is the least"
        )
    return value


def _log_filter(text: str) -> dict[str, int]:
    """Return levels by logger; the empty name is that of all others."""
    levels = {}
    for part in text.split(","):
        logger, _, level = part.strip().rpartition("=")
        if level.lower() not in _LEVELS:
            raise argparse.ArgumentTypeError(
                f"{level!r} is none of {', '.join(_LEVELS)}"
            )
        levels[logger] = _LEVELS[level.lower()]
    return levels
