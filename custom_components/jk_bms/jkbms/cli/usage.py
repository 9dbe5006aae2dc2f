"""The options as help shows them: those of `ubmsc` as it shows them, then ours."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Final

from .. import __version__
from ..models import Layout
from .option_types import (
    bank,
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

_ABOUT: Final = "Read JiKong (JK) battery management systems over Bluetooth Low Energy."
_USAGE: Final = """\
Usage: {name} [-v] [-l <filter>] [-j] [-t <seconds>] [-r <seconds>] [-d <address...>]
             [-f <format>] [-i] [-c] [-e] [-p] [-u <url>] [-s <seconds>]

Battery Management Systems (BMS) interface.

When passed both -e and -p options push client will be run in continuous mode \
with specified interval.
"""
_EPILOG: Final = """\
Without options, list the batteries in range. -d takes several with commas or as -d A -d B.
More formats: repr, repr-pretty and table; the default is table on a terminal, else json-pretty.
The URL to serve on is http://127.0.0.1:9889/metrics by default, and the default port is 9889; the URL
to push to is that of a Pushgateway or a Prometheus import. Log filters: a level (error, warn, info,
debug, off) or targets, and a pattern: jkbms=debug,bleak=info/regex

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

exit codes: 0 all responded, 1 something failed, 2 usage error,
  130 interrupted, 143 terminated (with --exporter: 0)
"""
_HELP_COLUMN: Final = 35
_WIDTH: Final = 100


def make_parser[ParserT: argparse.ArgumentParser](
    parser_class: type[ParserT], name: str
) -> ParserT:
    """Return the parser of all options; `name` is what the command was called by."""
    parser = parser_class(
        prog=name,
        usage=argparse.SUPPRESS,
        description=_USAGE.format(name=name),
        epilog=_EPILOG,
        formatter_class=partial(
            argparse.RawTextHelpFormatter,
            max_help_position=_HELP_COLUMN,
            width=_WIDTH,
        ),
        add_help=False,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        color=False,
    )
    _add_options_of_ubmsc(parser.add_argument_group("Options").add_argument, name)
    _add_battery_options(parser.add_argument_group("Batteries").add_argument)
    _add_output_options(parser.add_argument_group("Output").add_argument)
    _add_change_options(parser.add_argument_group("Settings").add_argument)
    _add_export_options(parser.add_argument_group("Export").add_argument)
    _add_capture_options(parser.add_argument_group("Dump decoding").add_argument)
    return parser


type _Add = Callable[..., argparse.Action]


def _add_options_of_ubmsc(add: _Add, name: str) -> None:
    add(
        "-v",
        "--version",
        action="version",
        version=f"{name} {__version__}\n{_ABOUT}",
        help="Show version and exit.",
    )
    add(
        "-l",
        "--log",
        type=log_filter,
        metavar="<filter>",
        help="Logging filter (example: jk_bms=debug)",
    )
    add(
        "-j",
        "--journal",
        action="store_true",
        help="Enable log to journald (log to stderr by default)",
    )
    add(
        "-t",
        "--scan-timeout",
        type=seconds,
        metavar="<seconds>",
        help="Bluetooth scanning timeout in seconds (30 by default)",
    )
    add(
        "-r",
        "--request-timeout",
        type=seconds,
        metavar="<seconds>",
        help="Bluetooth request timeout in seconds (5 by default)",
    )
    add(
        "-d",
        "--devices",
        action="extend",
        type=device_names,
        metavar="<address>",
        help="Device addresses or names (will try to scan if nothing passed)",
    )
    add(
        "-f",
        "--format",
        type=output_format,
        metavar="<format>",
        help="Data format: rust(r) rust-pretty(R) json(j)\n"
        "json-pretty(J) yaml(y) toml(t) toml-pretty(T) metrics(m)",
    )
    add("-i", "--device-info", action="store_true", help="Show device info")
    add("-c", "--cell-data", action="store_true", help="Show cell data")
    add("-e", "--exporter", action="store_true", help="Run prometheus exporter")
    add("-p", "--push", action="store_true", help="Run prometheus push gateway client")
    add(
        "-u",
        "--url",
        type=utf8_text,
        metavar="<url>",
        help="Prometheus exporter URL to listen/connect",
    )
    add(
        "-s",
        "--scrape-interval",
        type=interval,
        metavar="<seconds>",
        help="Metrics scraping interval (60s by default)",
    )
    add("-h", "--help", action="help", help="Show this help message and exit.")


def _add_battery_options(add: _Add) -> None:
    add(
        "--pair",
        action="store_true",
        help="pair with one battery that requires a code, and read it\n(experimental)",
    )
    add("--unpair", action="store_true", help="remove the pairing with batteries")
    add(
        "--adapter",
        type=utf8_text,
        metavar="<name>",
        help="Bluetooth adapter, such as hci1",
    )
    add(
        "--bank",
        action="append",
        type=bank,
        metavar="<name=A,B>",
        help="show batteries A and B, wired in parallel, as an additional\n"
        "battery; A+B: in series; repeatable",
    )


def _add_output_options(add: _Add) -> None:
    add("--settings", action="store_true", help="show settings")
    add("--secrets", action="store_true", help="show passcodes and user data")
    add("--watch", action="store_true", help="show live values until q is pressed")


def _add_change_options(add: _Add) -> None:
    add(
        "--set",
        action="append",
        type=utf8_text,
        metavar="<name=value>",
        help="change a setting of one battery and read it back; repeatable",
    )
    add(
        "--apply",
        type=utf8_text,
        metavar="<file>",
        help="restore settings that --settings -f toml wrote;\n"
        "protections and calibrations are never written",
    )
    add("--dry-run", action="store_true", help="show what would change, write nothing")
    add("--yes", action="store_true", help="do not ask before writing")


def _add_export_options(add: _Add) -> None:
    add(
        "--tls-cert",
        type=file_path,
        metavar="<file>",
        help="serve HTTPS with this certificate",
    )
    add(
        "--tls-key",
        type=file_path,
        metavar="<file>",
        help="its private key, if not in the --tls-cert file",
    )
    add(
        "--basic-auth",
        type=file_path,
        metavar="<file>",
        help="user:password that scrapers must send",
    )
    add(
        "--allow-host",
        action="append",
        type=utf8_text,
        metavar="<name>",
        help="another name or address under which scrapers may reach\n"
        "this machine; repeatable",
    )
    add(
        "--push-kind",
        choices=("pushgateway", "import"),
        metavar="<kind>",
        help="pushgateway or import: the kind of server at --url,\n"
        "if its path does not show it",
    )
    add(
        "--job",
        type=utf8_text,
        metavar="<label>",
        help="job label of pushed metrics (jkbms)",
    )
    add(
        "--auth-file",
        type=file_path,
        metavar="<file>",
        help="user:password or token to push with; a token that\n"
        "contains a colon must be in JKBMS_PUSH_TOKEN",
    )


def _add_capture_options(add: _Add) -> None:
    add(
        "--decode",
        type=filled_text,
        metavar="<file>",
        help="decode a dump without a radio (- is stdin): a log, a hex\n"
        "dump, a diagnostics file, in any notation of bytes",
    )
    add(
        "--layout",
        type=frame_layout,
        metavar="<layout>",
        help=f"layout of the frames, if it cannot be detected:\n{', '.join(Layout)}",
    )
    add(
        "--all",
        action="store_true",
        help="show all frames, not just the last of each type",
    )
