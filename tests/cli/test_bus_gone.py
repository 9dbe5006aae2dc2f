"""The D-Bus daemon ends while batteries are looked for, connected and read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
import subprocess

from bleak.backends.bluezdbus.version import BlueZFeatures
import pytest
import pytest_socket

from custom_components.jk_bms.jkbms.cli.arguments import ExitCode, parse
from custom_components.jk_bms.jkbms.cli.commands import _choose
from custom_components.jk_bms.jkbms.cli.monitor import Monitor
from custom_components.jk_bms.jkbms.cli.polling import Poller
from custom_components.jk_bms.jkbms.errors import NoBluetoothError
from tests.bluez import Bluez
from tests.bluez.daemon import bus_running
from tests.virtual_bms import MODELS, Battery, VirtualBms

ADAPTER = "00:1A:7D:DA:71:13"
MOMENTS = ["StartDiscovery", "Connect", "StartNotify", "WriteValue"]
"""Calls of BlueZ after which the D-Bus daemon is killed."""


@pytest.fixture
def bms() -> VirtualBms:
    """Return a fast battery."""
    return VirtualBms(Battery(MODELS["JK_B2A8S20P 11.48"], time_scale=0.0), speed=20)


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
    monkeypatch.setattr(BlueZFeatures, "checked_bluez_version", True)


@asynccontextmanager
async def bluez_running(
    folder: Path, bms: VirtualBms
) -> AsyncIterator[tuple[Bluez, subprocess.Popen[str]]]:
    """Run a D-Bus daemon and BlueZ with the battery in range."""
    (folder / "bus").unlink(missing_ok=True)
    with bus_running(folder) as (address, daemon):
        async with Bluez(address) as bluez:
            bluez.add_adapter("hci0", ADAPTER).place(bms)
            yield bluez, daemon


async def until_called(bluez: Bluez, member: str) -> None:
    """Wait until a method of BlueZ has been called."""
    async with asyncio.timeout(60):
        while not bluez.count(member):
            await asyncio.sleep(0)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_readings_go_on_when_the_bus_is_back(
    tmp_path: Path, bms: VirtualBms, moment: str
) -> None:
    """Whatever is under way fails for this battery, and nothing else ends."""
    poller = Poller(Monitor([bms.address]), scan_timeout=1, answer_timeout=1)
    (battery,) = poller.monitor.batteries
    async with bluez_running(tmp_path, bms) as (bluez, daemon):
        reading = asyncio.create_task(poller.read_every(1))
        await until_called(bluez, moment)
        daemon.kill()
        async with asyncio.timeout(60):
            while not battery.error:
                await asyncio.sleep(0.02)
    assert not reading.done()
    async with bluez_running(tmp_path, bms), asyncio.timeout(60):
        while not battery.up:
            assert not reading.done(), reading
            await asyncio.sleep(0.02)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


async def test_one_shot_names_the_battery_that_was_being_connected(
    tmp_path: Path, bms: VirtualBms, capsys: pytest.CaptureFixture[str]
) -> None:
    """The failure is one line without a traceback."""
    async with bluez_running(tmp_path, bms) as (bluez, daemon):
        options = parse(["-c", "-d", bms.address])
        reading = asyncio.ensure_future(_choose(options)())
        await until_called(bluez, "Connect")
        daemon.kill()
        async with asyncio.timeout(60):
            assert await reading == ExitCode.FAILED
    lines = [line for line in capsys.readouterr().err.splitlines() if "jkbms: " in line]
    assert [line.startswith(f"jkbms: {bms.address}: ") for line in lines] == [True]


async def test_one_shot_that_cannot_scan_any_more_says_that_there_is_no_bluetooth(
    tmp_path: Path, bms: VirtualBms
) -> None:
    """The failure concerns no battery: `run` prints it as one line and exits with 1."""
    async with bluez_running(tmp_path, bms) as (bluez, daemon):
        reading = asyncio.ensure_future(_choose(parse(["-c", "-d", bms.address]))())
        await until_called(bluez, "StartDiscovery")
        daemon.kill()
        async with asyncio.timeout(60):
            with pytest.raises(NoBluetoothError, match=r"^D-Bus is not running \(\w"):
                await reading
