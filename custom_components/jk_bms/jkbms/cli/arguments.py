"""The options of the command: parse them and reject contradictions."""

import argparse
from collections.abc import Sequence
from enum import IntEnum
import os
from pathlib import Path
from platform import system
import re
import sys
from typing import Final, NoReturn, override

from .. import __version__
from ..models import Layout
from .log_setup import LogFilter
from .option_types import (
    FORMAT_NAMES,
    device_names,
    file_path,
    filled_text,
    frame_layout,
    interval,
    log_filter,
    output_format,
    seconds,
    utf8_text,
)
from .terminal import print_error, printing


class ExitCode(IntEnum):
    """The exit codes of the command."""

    GOOD = 0
    FAILED = 1
    """A battery could not be read, or its values could not be delivered."""
    USAGE = 2
    INTERRUPTED = 130
    TERMINATED = 143


_FORMAT_VARIABLE: Final = "JKBMS_FORMAT"
_DESCRIPTION: Final = (
    "Read JiKong (JK) battery management systems over Bluetooth Low Energy."
)

_EPILOG: Final = """\
examples:
  jkbms                                       list the batteries in range
  jkbms -f J -i -d UPS_BMS                    device information of one
  jkbms -f t -i -c                            information and cells of all
  jkbms -f metrics -c -d UPS_BMS              cells as Prometheus metrics, once
  jkbms -e -d UPS_BMS -d HOME_BMS             serve the metrics of two
  jkbms -e -p -u http://HOST:8428/api/v1/import/prometheus
                                              push the metrics of all, continuously
  jkbms --watch                               a live table
  jkbms -d UPS_BMS --set charging=off         change a setting

environment:
  JKBMS_FORMAT: the default of --format; ubmsc has rust
  JKBMS_PAIRING_CODE: for --pair, instead of typing it
  JKBMS_SETTINGS_PASSCODE: for --set and --apply, instead of typing it
  JKBMS_PUSH_USER and JKBMS_PUSH_PASSWORD, or JKBMS_PUSH_TOKEN: for --push

exit codes: 0 all answered, 1 something failed, 2 usage error,
  130 interrupted, 143 terminated (with --exporter: 0)
"""


class Options(argparse.Namespace):
    """The parsed options; class attributes are the defaults."""

    log: LogFilter = LogFilter()
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
    pair: bool = False
    unpair: bool = False
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
    set: list[str] = []
    apply: str | None = None
    dry_run: bool = False
    yes: bool = False

    @property
    def modes(self) -> list[str]:
        """The options that replace reading batteries once, if any."""
        return [
            name
            for name, is_chosen in (
                ("--decode", self.decode is not None),
                ("--pair", self.pair),
                ("--unpair", self.unpair),
                ("--apply", self.apply is not None),
                ("--set", bool(self.set) and self.apply is None),
                ("--watch", self.watch),
                ("--exporter", self.exporter and not self.push),
                ("--push", self.push),
            )
            if is_chosen
        ]

    @property
    def targets(self) -> list[str]:
        """Each requested name or address once, in order."""
        return list(dict.fromkeys(self.devices))

    @property
    def sections(self) -> list[str]:
        """The sections that are requested of each battery."""
        return [
            name
            for name in ("device_info", "cell_data", "settings")
            if getattr(self, name)
        ]


class _Parser(argparse.ArgumentParser):
    """Prints an error as one line."""

    @override
    def _print_message(self, message: str, file: object = None) -> None:
        """Print help. Raises `OutputError`."""
        with printing():
            sys.stdout.write(message)

    @override
    def error(self, message: str) -> NoReturn:
        print_error(f"{message} (see jkbms --help)")
        self.exit(ExitCode.USAGE)


def parse(arguments: Sequence[str] | None) -> Options:
    """Parse the command line; exit with a message where it is wrong.

    Raises `OutputError` if help cannot be printed.
    """
    parser = _make_parser()
    options = parser.parse_args(arguments, namespace=Options())
    if not (options.format or options.watch) and os.environ.get(_FORMAT_VARIABLE):
        try:
            options.format = output_format(os.environ[_FORMAT_VARIABLE])
        except argparse.ArgumentTypeError as err:
            parser.error(f"{_FORMAT_VARIABLE}: {err}")
    if error := _contradiction(options):
        parser.error(error)
    return options


def _contradiction(options: Options) -> str | None:
    """Return which options cannot be combined, if any."""
    if not all(options.targets):
        return "--devices needs names or addresses"
    if len(options.modes) > 1:
        return f"{' and '.join(options.modes)} cannot be combined"
    (mode,) = options.modes or ("",)
    given = [f"--{name.replace('_', '-')}" for name in vars(options)]
    for name in given:
        if mode not in (modes := _ONLY_WITH.get(name, (mode,))):
            return f"{name} is only for {' and '.join(modes)}"
        if name in _IGNORED_BY.get(mode, ()):
            return f"{mode} takes no {name}"
    if error := _pairing_error(options):
        return error
    if mode in _CHANGING and len(options.targets) != 1:
        return f"{mode} needs --devices with one battery"
    if options.settings and options.format == "metrics":
        return "--settings has no metrics: choose another --format"
    if mode == "--push" and options.url is None:
        return "--push needs --url, the server to push to"
    if options.watch and not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "--watch needs a terminal"
    if options.watch and os.environ.get("TERM") in _DUMB:
        return "--watch needs a terminal that can move its cursor: see TERM"
    if options.tls_key and not options.tls_cert:
        return "--tls-key needs --tls-cert"
    return None


def _pairing_error(options: Options) -> str | None:
    """Return what `--pair` or `--unpair` lacks, if anything."""
    if not (options.pair or options.unpair):
        return None
    if system() != "Linux":
        return "pairing is for Linux: elsewhere, pair in the settings of the system"
    if options.pair and len(options.targets) != 1:
        return "--pair needs --devices with one battery"
    if options.pair and not (os.environ.get(CODE_VARIABLE) or sys.stdin.isatty()):
        return f"--pair needs a terminal, or the code in {CODE_VARIABLE}"
    if options.unpair and not (
        options.targets and all(map(_ADDRESS.fullmatch, options.targets))
    ):
        return "--unpair needs --devices with addresses"
    return None


CODE_VARIABLE: Final = "JKBMS_PAIRING_CODE"
"""The environment variable with the pairing code."""
SETTINGS_PASSCODE_VARIABLE: Final = "JKBMS_SETTINGS_PASSCODE"
"""The environment variable with the settings passcode."""
_CHANGING: Final = ("--set", "--apply")
_OUTPUT: Final = (
    "--device-info",
    "--cell-data",
    "--settings",
    "--secrets",
    "--format",
    "--scrape-interval",
)
_ADDRESS: Final = re.compile(r"([0-9A-F]{2}:){5}[0-9A-F]{2}", re.ASCII | re.IGNORECASE)
_DUMB: Final = frozenset({"dumb", "unknown"})
_ONLY_WITH: Final = {
    "--dry-run": _CHANGING,
    "--yes": _CHANGING,
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
_IGNORED_BY: Final = {
    "--decode": (
        "--devices",
        "--scan-timeout",
        "--request-timeout",
        "--adapter",
        "--scrape-interval",
    ),
    "--unpair": (
        "--scan-timeout",
        "--request-timeout",
        "--adapter",
        *_OUTPUT,
    ),
    "--set": _OUTPUT,
    "--apply": _OUTPUT,
    "--watch": _OUTPUT,
    "--exporter": ("--settings", "--secrets"),
    "--push": ("--settings", "--secrets"),
}
"""Options without a use in a mode, which are refused; not those that `ubmsc` ignores."""


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="jkbms",
        usage="jkbms [OPTION]...",
        description=f"{_DESCRIPTION} Without options, list the batteries in range.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    general = parser.add_argument_group("general")
    add = general.add_argument
    add(
        "-v",
        "--version",
        action="version",
        version=f"jkbms {__version__}\n{_DESCRIPTION}",
    )
    add(
        "-l",
        "--log",
        type=log_filter,
        metavar="FILTER",
        help="a level (error, warn, info, debug, off) or targets, and a pattern: "
        "jkbms=debug,bleak=info/regex",
    )
    add(
        "-j", "--journal", action="store_true", help="log to journald instead of stderr"
    )

    radio = parser.add_argument_group("batteries")
    add = radio.add_argument
    add(
        "-d",
        "--devices",
        action="extend",
        type=device_names,
        metavar="DEVICE",
        help="name or address; several with commas or as -d A -d B; "
        "default: every battery in range",
    )
    add(
        "-t",
        "--scan-timeout",
        type=seconds,
        metavar="SECONDS",
        help="how long to scan for them (30)",
    )
    add(
        "-r",
        "--request-timeout",
        type=seconds,
        metavar="SECONDS",
        help="how long to wait for an answer (5)",
    )
    add(
        "--pair",
        action="store_true",
        help="pair with one battery that requires a code, and read it (experimental)",
    )
    add("--unpair", action="store_true", help="remove the pairing with batteries")
    add(
        "--adapter",
        type=utf8_text,
        metavar="NAME",
        help="Bluetooth adapter, such as hci1",
    )

    output = parser.add_argument_group("output")
    add = output.add_argument
    add("-i", "--device-info", action="store_true", help="show device information")
    add("-c", "--cell-data", action="store_true", help="show live values and cells")
    add("--settings", action="store_true", help="show settings")
    add(
        "-f",
        "--format",
        type=output_format,
        help=f"{FORMAT_NAMES}; default: a table on a terminal, else json-pretty",
    )
    add("--secrets", action="store_true", help="show passcodes and user data")
    add("--watch", action="store_true", help="show live values until q is pressed")

    change = parser.add_argument_group("settings")
    add = change.add_argument
    add(
        "--set",
        action="append",
        type=utf8_text,
        metavar="NAME=VALUE",
        help="change a setting of one battery and read it back; repeats",
    )
    add(
        "--apply",
        type=utf8_text,
        metavar="FILE",
        help="restore settings that --settings -f toml wrote; protections and "
        "calibrations are never written",
    )
    add("--dry-run", action="store_true", help="show what would change, write nothing")
    add("--yes", action="store_true", help="do not ask before writing")

    export = parser.add_argument_group("export")
    add = export.add_argument
    add("-e", "--exporter", action="store_true", help="serve metrics for Prometheus")
    add(
        "-p",
        "--push",
        action="store_true",
        help="push metrics to --url, once; with -e continuously",
    )
    add(
        "-u",
        "--url",
        type=utf8_text,
        help="URL to serve on (http://127.0.0.1:9889/metrics; the default port is 9889) "
        "or to push to: a Pushgateway or a Prometheus import URL",
    )
    add(
        "-s",
        "--scrape-interval",
        type=interval,
        metavar="SECONDS",
        help="interval between readings (60)",
    )
    add(
        "--tls-cert",
        type=file_path,
        metavar="FILE",
        help="serve HTTPS with this certificate",
    )
    add(
        "--tls-key",
        type=file_path,
        metavar="FILE",
        help="its key, if not in --tls-cert",
    )
    add(
        "--basic-auth",
        type=file_path,
        metavar="FILE",
        help="user:password that scrapers must send",
    )
    add(
        "--push-kind",
        choices=("pushgateway", "import"),
        help="kind of server at --url, if its path does not show it",
    )
    add("--job", type=utf8_text, help="job label of pushed metrics (jkbms)")
    add(
        "--auth-file",
        type=file_path,
        metavar="FILE",
        help="user:password or token to push with; a token that contains a colon must be "
        "in JKBMS_PUSH_TOKEN",
    )

    capture = parser.add_argument_group("captured bytes")
    add = capture.add_argument
    add(
        "--decode",
        type=filled_text,
        metavar="FILE",
        help="decode a dump without a radio (- is stdin): a log, a hex dump, a "
        "diagnostics file, in any notation of bytes",
    )
    add(
        "--layout",
        type=frame_layout,
        metavar=f"{{{','.join(Layout)}}}",
        help="layout of the frames, if it cannot be detected",
    )
    add(
        "--all",
        action="store_true",
        help="show all frames, not just the last of each type",
    )
    return parser
