"""`--pair` and `--unpair`, on a real D-Bus daemon and an emulated BlueZ."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
import json
import os
from pathlib import Path
import sys

from bleak.backends.bluezdbus.version import BlueZFeatures
import pytest

from custom_components.jk_bms.jkbms.cli import arguments, commands, pair
from custom_components.jk_bms.jkbms.cli.arguments import CODE_VARIABLE, ExitCode, parse
from tests.bluez import Bluez, Lock
from tests.virtual_bms import MODELS, Battery, Faults, VirtualBms

ADAPTER = "00:1A:7D:DA:71:13"
ADDRESS = "A4:C1:38:10:00:01"
CODE = "803471"
SPEED = 20.0


@pytest.fixture
def bms() -> VirtualBms:
    """Return a battery that sends nothing to a client that is not paired."""
    spec = replace(MODELS["JK_PB2A16S20P 15.41"], address=ADDRESS)
    battery = Battery(spec, time_scale=0.0)
    faults = Faults(pairing=True)
    return VirtualBms(battery, faults=faults, speed=SPEED)


@pytest.fixture
async def bluez(
    bus_address: str, bms: VirtualBms, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Bluez]:
    """Run BlueZ with the battery in range."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus_address)
    monkeypatch.setenv(CODE_VARIABLE, CODE)
    monkeypatch.setattr(BlueZFeatures, "checked_bluez_version", True)
    async with Bluez(bus_address) as bluez:
        bluez.locks[ADDRESS] = Lock(code=int(CODE))
        bluez.add_adapter("hci0", ADAPTER).place(bms)
        yield bluez


async def run(*options: str) -> ExitCode | None:
    """Run the command in this loop."""
    return await commands._choose(parse(options))()


def command_lines() -> set[bytes]:
    """Return the command lines of all processes; some end meanwhile."""
    lines = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.add(path.read_bytes())
    return lines


async def test_pairs_and_reads(
    bluez: Bluez, bms: VirtualBms, capsys: pytest.CaptureFixture[str]
) -> None:
    """A battery that is paired is read at once the next time, and can be unpaired."""
    for _ in range(2):
        assert await run("--pair", "-d", ADDRESS, "-i", "-f", "j") == ExitCode.GOOD
        shown = json.loads(capsys.readouterr().out)
        assert shown["device_info"][0]["device_model"] == bms.spec.model
    assert bluez.count("Pair") == 1
    assert bluez.bonds == {(ADAPTER, ADDRESS): True}

    assert await run("--unpair", "-d", ADDRESS.lower()) == ExitCode.GOOD
    assert bluez.removed == [(ADDRESS, True)]
    assert await run("--unpair", "-d", ADDRESS) == ExitCode.FAILED
    assert "not paired" in capsys.readouterr().err


async def test_refused_code_gives_advice_and_hides_the_code(
    bluez: Bluez,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Messages end up in logs and in issues."""
    monkeypatch.setenv(CODE_VARIABLE, "803472")
    assert await run("--pair", "-d", ADDRESS) == ExitCode.FAILED
    output = capsys.readouterr()
    assert "AuthenticationFailed" in output.err
    assert "wrong code, or bound to another" in output.err
    assert "80347" not in output.err + output.out
    assert bluez.bonds == {}


async def test_command_asks_for_no_code_on_its_command_line(
    bluez: Bluez, bms: VirtualBms
) -> None:
    """The whole command pairs, and no list of processes shows the code meanwhile."""
    command = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "jkbms",
        *("--pair", "-i", "-f", "j", "-d", ADDRESS, "-l", "debug"),
        env=dict(os.environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    ended = asyncio.create_task(command.communicate())
    listed: set[bytes] = set()
    while not ended.done():
        listed |= command_lines()
        await asyncio.sleep(0.05)
    out, err = await ended
    assert command.returncode == 0, err
    assert any(b"--pair" in line for line in listed)
    assert not [line for line in listed if CODE.encode() in line]
    assert bms.spec.model.encode() in out
    assert CODE.encode() not in err + out
    assert bluez.bonds == {(ADAPTER, ADDRESS): True}


def test_code_is_typed_without_an_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is in the environment."""
    monkeypatch.delenv(CODE_VARIABLE, raising=False)
    monkeypatch.setattr(pair, "getpass", lambda _: CODE)
    assert pair.ask_code() == CODE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pair"], "--devices with one battery"),
        (["--pair", "-d", "A,B"], "--devices with one battery"),
        (["--pair", "-d", "A"], "JKBMS_PAIRING_CODE"),
        (["--pair", "--watch", "-d", "A"], "cannot be combined"),
        (["--unpair"], "--devices with addresses"),
        (["--unpair", "-d", "HOME"], "--devices with addresses"),
        (["--unpair", "-d", ADDRESS, "-i"], "takes no --device-info"),
    ],
)
def test_missing_or_contradicting_arguments_are_a_usage_error(
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is missing or contradicts itself is a usage error."""
    monkeypatch.delenv(CODE_VARIABLE, raising=False)
    with pytest.raises(SystemExit) as ended:
        parse(options)
    assert ended.value.code == ExitCode.USAGE
    assert message in capsys.readouterr().err


def test_other_systems_pair_by_themselves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only BlueZ needs an agent."""
    monkeypatch.setattr(arguments, "system", lambda: "Darwin")
    with pytest.raises(SystemExit):
        parse(["--pair", "-d", "A"])
    assert "settings of the system" in capsys.readouterr().err
