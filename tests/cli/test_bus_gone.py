"""The D-Bus daemon ends while batteries are looked for, connected and read; or is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
import subprocess

from bleak.backends.bluezdbus import manager as bluez_manager
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
from tests.servers import get_json
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


# Pushing once


@pytest.fixture
def push_job(
    pushgateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Return the options of a push to a job that no other test has."""
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return ["-p", "-t", "1", "-u", pushgateway, "--job", tmp_path.name]


async def shown(push_job: list[str]) -> dict[str, float]:
    """Return whether each battery of the job is up, as the Pushgateway shows it."""
    answer = await get_json(f"{push_job[4]}/api/v1/metrics")
    return {
        group["labels"]["instance"]: float(group["up"]["metrics"][0]["value"])
        for group in answer["data"]
        if group["labels"]["job"] == push_job[-1]
    }


@asynccontextmanager
async def bus_gone(folder: Path, bms: VirtualBms) -> AsyncIterator[None]:
    """Have no D-Bus."""
    yield


@asynccontextmanager
async def no_daemon(folder: Path, bms: VirtualBms) -> AsyncIterator[None]:
    """Have D-Bus but no bluetoothd."""
    (folder / "bus").unlink(missing_ok=True)
    with bus_running(folder):
        yield


@asynccontextmanager
async def no_adapter(folder: Path, bms: VirtualBms) -> AsyncIterator[None]:
    """Have bluetoothd but no adapter."""
    # A new process knows no adapter from before
    bluez_manager._global_instances.clear()
    async with adapter_gone(folder, bms):
        yield


@asynccontextmanager
async def adapter_gone(folder: Path, bms: VirtualBms) -> AsyncIterator[None]:
    """Lose the adapter while D-Bus restarts."""
    (folder / "bus").unlink(missing_ok=True)
    with bus_running(folder) as (address, _):
        async with Bluez(address):
            yield


@asynccontextmanager
async def adapter_off(folder: Path, bms: VirtualBms) -> AsyncIterator[None]:
    """Have an adapter that is turned off."""
    async with bluez_running(folder, bms) as (bluez, _):
        bluez.failures["StartDiscovery"] = "org.bluez.Error.NotReady", "Not Ready"
        yield


@asynccontextmanager
async def access_denied(folder: Path, bms: VirtualBms) -> AsyncIterator[None]:
    """Have an adapter that this user must not use."""
    async with bluez_running(folder, bms) as (bluez, _):
        denied = "org.freedesktop.DBus.Error.AccessDenied", "Rejected"
        bluez.failures["StartDiscovery"] = denied
        yield


WITHOUT_BLUETOOTH = {
    bus_gone: "D-Bus is not running",
    no_daemon: "bluetoothd is not running",
    no_adapter: "there is no Bluetooth adapter",
    adapter_gone: "there is no Bluetooth adapter",
    adapter_off: "Bluetooth is turned off",
    access_denied: "this user may not use Bluetooth",
}
"""Ways to be without Bluetooth, and what the command reports."""


@pytest.mark.parametrize("way", WITHOUT_BLUETOOTH)
@pytest.mark.parametrize("is_requested", [True, False], ids=["-d", "all"])
async def test_push_without_bluetooth_reports_the_batteries_as_down(
    tmp_path: Path,
    bms: VirtualBms,
    push_job: list[str],
    capsys: pytest.CaptureFixture[str],
    way: Callable[[Path, VirtualBms], AbstractAsyncContextManager[None]],
    is_requested: bool,
) -> None:
    """A Pushgateway would show `up 1` for ever; the reason is one line."""
    label = bms.address if is_requested else bms.spec.name
    options = parse([*push_job, *(["-d", label] if is_requested else [])])
    async with bluez_running(tmp_path, bms):
        assert await _choose(options)() == ExitCode.GOOD
    assert await shown(push_job) == {label: 1.0}
    async with way(tmp_path, bms):
        assert await _choose(options)() == ExitCode.FAILED
    assert await shown(push_job) == {label: 0.0}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"jkbms: {WITHOUT_BLUETOOTH[way]}")


@pytest.mark.parametrize("is_requested", [True, False], ids=["-d", "all"])
async def test_interrupted_push_reports_what_it_has_not_read_as_down(
    tmp_path: Path, bms: VirtualBms, push_job: list[str], is_requested: bool
) -> None:
    """A time limit on each run would otherwise hide that the battery is gone."""
    label = bms.address if is_requested else bms.spec.name
    options = parse([*push_job, *(["-d", label] if is_requested else [])])
    async with bluez_running(tmp_path, bms):
        assert await _choose(options)() == ExitCode.GOOD
    async with bluez_running(tmp_path, bms) as (bluez, _):
        bluez.adapters[0].reach.clear()
        pushing = asyncio.ensure_future(_choose(options)())
        await until_called(bluez, "StartDiscovery")
        pushing.cancel()
        await asyncio.wait([pushing])
    assert pushing.cancelled()
    assert await shown(push_job) == {label: 0.0}


async def test_continuous_push_without_bluetooth_reports_what_an_earlier_run_pushed(
    tmp_path: Path, bms: VirtualBms, push_job: list[str]
) -> None:
    """A run that was killed cannot have ended its series."""
    async with bluez_running(tmp_path, bms):
        assert await _choose(parse(push_job))() == ExitCode.GOOD
    async with bus_gone(tmp_path, bms):
        options = parse(["-e", "-s", "1", *push_job])
        pushing = asyncio.ensure_future(_choose(options)())
        async with asyncio.timeout(60):
            while await shown(push_job) != {bms.spec.name: 0.0}:
                assert not pushing.done(), pushing
                await asyncio.sleep(0.05)
        pushing.cancel()
        await asyncio.wait([pushing])
