"""`--set` and `--apply`: change settings of one battery (docs/controls.md)."""

from collections.abc import Iterable, Mapping
from functools import partial
from getpass import getpass
import logging
import os
from pathlib import Path
import re
import sys
import tomllib
from typing import Any, Final

from ..bluetooth.client import READ_DEADLINE, WRITE_TIME
from ..bluetooth.writing import Outcome, WriteReport
from ..errors import JkBmsError, SettingRefusedError
from ..models import MASK, Reading
from ..protocol.changes import (
    Change,
    accepted_registers,
    needs_passcode,
    passcode_matches,
    plan,
)
from ..protocol.registers import REGISTERS, Kind, Register, Value
from ..text import one_line
from .advice import failure_text
from .arguments import SETTINGS_PASSCODE_VARIABLE, ExitCode, Options
from .monitor import Battery
from .polling import Poller
from .run import exit_code, progress, run
from .terminal import is_confirmed, print_error, print_lines

_LOGGER = logging.getLogger(__name__)

_SWITCH: Final = {
    **dict.fromkeys(("on", "true", "yes", "1"), True),
    **dict.fromkeys(("off", "false", "no", "0"), False),
}
_NOT_RESTORED: Final = "nominal_capacity"
"""Writing it restarts the battery's statistics, so a file alone does not write it."""
_WARNINGS: Final = {
    "discharging": "turning it off cuts the power of everything the battery feeds",
    "nominal_capacity": "it restarts the statistics of the battery",
    **dict.fromkeys(
        ("uart1_protocol", "can_protocol", "uart2_protocol", "uart3_protocol"),
        "a wrong protocol disconnects the inverter",
    ),
}
_NUMBER: Final = re.compile(r"[+-]?\d{1,9}(\.\d{1,9})?", re.ASCII)


class _ChangeError(JkBmsError):
    """The request is wrong; the text gives the reason."""


def change_settings(options: Options) -> ExitCode:
    """Read the battery, show what would change, ask, write and show the outcome."""
    try:
        saved = {} if options.apply is None else _load(options.apply)
        texts = _assignments(options.set)
    except _ChangeError as err:
        print_error(str(err))
        return ExitCode.USAGE
    batteries: list[Battery] = []
    if code := run(partial(_read, options, batteries), options):
        return code
    (battery,) = batteries
    reading = battery.reading
    assert reading
    try:
        target = _parsed(texts, reading)
        target = _restorable(saved, reading, is_all=not target) | target
        changes = plan(target, reading)
        _show_plan(changes)
        if options.dry_run or not changes:
            return ExitCode.GOOD
        if needs_passcode(changes):
            _check_passcode(reading)
        if not (options.yes or _is_wanted()):
            return ExitCode.FAILED
    except (SettingRefusedError, _ChangeError) as err:
        print_error(str(err))
        return ExitCode.FAILED
    wanted = {change.setting: change.new for change in changes}
    return run(partial(_write, options, battery.address, wanted), options)


# The request


def _assignments(arguments: Iterable[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = map(str.strip, argument.partition("="))
        if not (name and equals):
            raise _ChangeError(f"--set needs NAME=VALUE, not {argument}")
        if name in texts:
            raise _ChangeError(f"--set has {name} twice")
        texts[name] = value
    return texts


def _load(path: str) -> dict[str, Any]:
    """Return the settings of a file that `--settings -f toml` wrote."""
    try:
        # Windows editors begin a file with a byte order mark
        document = tomllib.loads(Path(path).read_text("utf-8-sig"))
    except RecursionError as err:
        raise _ChangeError(f"{path}: it is nested too deeply") from err
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise _ChangeError(f"{path}: {reason}") from err
    match document.get("settings"):
        case [dict() as saved]:
            return saved
        case list():
            raise _ChangeError(
                f"{path}: it must contain the settings of exactly one battery"
            )
        case _:
            raise _ChangeError(f"{path}: it has no [[settings]]")


def _restorable(
    saved: Mapping[str, Any], reading: Reading, *, is_all: bool
) -> dict[str, Value]:
    """Return the saved settings that may be written; name the others that differ.

    Raises `_ChangeError` if there are none and they are all that was requested.
    """
    accepted = accepted_registers(reading)
    target: dict[str, Value] = {}
    left_out = []
    for name, value in saved.items():
        now = getattr(reading.settings, name, None)
        if name in accepted and name != _NOT_RESTORED:
            target[name] = value
        elif name != "register_support" and now != value:
            left_out.append(name)
    names = ", ".join(left_out)
    if left_out and is_all and not target:
        raise _ChangeError(f"nothing in the file can be restored: {names}")
    if left_out:
        print_error(f"not restored: {names}")
    return target


def _parsed(texts: Mapping[str, str], reading: Reading) -> dict[str, Value]:
    registers = REGISTERS[reading.layout]
    return {
        # `plan` refuses a name without a register, whatever its value
        name: _value(registers[name], text) if name in registers else text
        for name, text in texts.items()
    }


def _value(register: Register, text: str) -> Value:
    """Return a value in the type of the register; `plan` refuses an invalid one."""
    if register.kind is Kind.SWITCH:
        return _SWITCH.get(text.lower(), text)
    if register.kind is Kind.TEXT:
        return text
    # Python would also accept `1_0` and digits of other scripts
    return float(text) if _NUMBER.fullmatch(text) else text


# Passcode and confirmation


def _check_passcode(reading: Reading) -> None:
    if not reading.device_info.setup_passcode:
        raise _ChangeError(
            "the battery has no settings passcode: only its switches can be changed"
        )
    typed = os.environ.get(SETTINGS_PASSCODE_VARIABLE)
    if typed is None:
        if not sys.stdin.isatty():
            raise _ChangeError(
                "this needs the settings passcode: run it on a terminal, or set "
                + SETTINGS_PASSCODE_VARIABLE
            )
        typed = getpass("Settings passcode (of the JK app): ")
    if not passcode_matches(typed, reading.device_info):
        raise _ChangeError("the settings passcode is wrong")


def _is_wanted() -> bool:
    if not sys.stdin.isatty():
        raise _ChangeError("this needs a terminal to confirm, or --yes")
    return is_confirmed("Change this?")


# On the battery


async def _read(options: Options, batteries: list[Battery]) -> ExitCode:
    poller = Poller.from_options(options)
    with progress(poller):
        await poller.read_once()
    batteries.extend(poller.monitor.batteries)
    return exit_code(poller)


async def _write(
    options: Options, address: str | None, target: Mapping[str, Value]
) -> ExitCode:
    poller = Poller.from_options(options)
    # Another battery with the same name is not the one that was shown and confirmed
    (requested,) = poller.monitor.batteries
    requested.address = address
    codes: list[ExitCode] = []

    async def write(battery: Battery) -> None:
        assert battery.client
        try:
            report = await battery.client.write(
                target, deadline=READ_DEADLINE + WRITE_TIME * len(target)
            )
        except JkBmsError as err:
            print_error(f"{battery.name}: nothing was changed: {failure_text(err)}")
            codes.append(ExitCode.FAILED)
        else:
            _show_results(report)
            is_good = report.is_confirmed
            codes.append(ExitCode.GOOD if is_good else ExitCode.FAILED)

    await poller.find_each(write)
    return exit_code(poller) or codes[0]


# The output


def _show_plan(changes: Iterable[Change]) -> None:
    lines = []
    for change in changes:
        old, new = (_text(change, value) for value in (change.old, change.new))
        warning = _WARNINGS.get(change.setting)
        lines.append(f"{change.setting}: {old} -> {new}")
        if warning and change.new is not True:
            lines.append(f"  {warning}")
    print_lines(lines or ["nothing to change"])


def _show_results(report: WriteReport) -> None:
    lines = []
    for result in report.results:
        change = result.change
        old, new = _text(change, change.old), _text(change, change.new)
        _LOGGER.info("%s: %s -> %s: %s", change.setting, old, new, result.outcome)
        lines.append(f"{change.setting}: {result.outcome.replace('_', ' ')}")
        if result.outcome is not Outcome.CONFIRMED:
            answer, asked = _text(change, result.answer), _text(change, change.new)
            print_error(
                f"{change.setting}: {asked} was requested, the battery last reported "
                f"{answer}: {result.reason}"
            )
    print_lines(lines)


def _text(change: Change, value: Value | None) -> str:
    if value is None:
        return "none"
    if change.is_secret:
        return MASK
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return one_line(value)
    return f"{value:.10g} {change.register.unit}".rstrip()
