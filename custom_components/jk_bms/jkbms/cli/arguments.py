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

from ..models import Layout
from .log_setup import LogFilter
from .option_types import BankOption, output_format
from .terminal import print_error, printing
from .usage import make_parser


class ExitCode(IntEnum):
    """The exit codes of the command."""

    GOOD = 0
    FAILED = 1
    """A battery could not be read, or its values could not be delivered."""
    USAGE = 2
    INTERRUPTED = 130
    TERMINATED = 143


_FORMAT_VARIABLE: Final = "JKBMS_FORMAT"


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
    bank: list[BankOption] = []
    pair: bool = False
    unpair: bool = False
    adapter: str | None = None
    decode: str | None = None
    layout: Layout | None = None
    all: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    basic_auth: Path | None = None
    allow_host: list[str] = []
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
        return list(dict.fromkeys([*self.devices, *self.packs]))

    @property
    def packs(self) -> list[str]:
        """The name or address of each pack of a bank, in order."""
        return [pack for bank in self.bank for pack in bank.packs]

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
    called = Path(sys.argv[0]).name
    parser = make_parser(_Parser, called if called == "ubmsc" else "jkbms")
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
    """Return an error for options that cannot be combined, if any."""
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
    if error := _bank_error(options) or _pairing_error(options):
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


def _bank_error(options: Options) -> str | None:
    """Return what is wrong with the banks as a whole, if anything."""
    packs = options.packs
    if twice := [pack for pack in packs if packs.count(pack) > 1]:
        return f"--bank: {twice[0]} is in two banks"
    names = [*options.targets, *(bank.name for bank in options.bank)]
    if taken := [bank.name for bank in options.bank if names.count(bank.name) > 1]:
        return f"--bank: a battery or another bank is called {taken[0]} as well"
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
    "--tls-cert": ("--exporter",),
    "--tls-key": ("--exporter",),
    "--basic-auth": ("--exporter",),
    "--allow-host": ("--exporter",),
    "--push-kind": ("--push",),
    "--job": ("--push",),
    "--auth-file": ("--push",),
}
_IGNORED_BY: Final = {
    "--decode": (
        "--devices",
        "--bank",
        "--scan-timeout",
        "--request-timeout",
        "--adapter",
        "--scrape-interval",
        "--url",
    ),
    "--pair": ("--bank", "--url"),
    "--unpair": (
        "--bank",
        "--url",
        "--scan-timeout",
        "--request-timeout",
        "--adapter",
        *_OUTPUT,
    ),
    "--set": ("--bank", "--url", *_OUTPUT),
    "--apply": ("--bank", "--url", *_OUTPUT),
    "--watch": ("--url", *_OUTPUT),
    "--exporter": ("--settings", "--secrets"),
    "--push": ("--settings", "--secrets"),
}
"""Options that are an error in a mode; those that `ubmsc` ignores stay allowed."""
