"""Attacks on `jkbms --exporter`: `python -m tests.bench.command '{…}'`.

It prints the result as JSON. The exporter is a process of its own, with few files to open,
above a real D-Bus daemon and an emulated BlueZ; time is that of the world.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
import json
import os
from pathlib import Path
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import Final

import aiohttp

from tests.bluez import Bluez
from tests.bluez.daemon import bus_running
from tests.bluez.stack import Adapter
from tests.servers import free_port
from tests.virtual_bms import MODELS, Battery, Faults, Spec, VirtualBms

COMMAND: Final = """
import resource
import sys

from bleak.backends.bluezdbus.version import BlueZFeatures

from custom_components.jk_bms.jkbms.cli.main import main

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
BlueZFeatures.checked_bluez_version = True
sys.exit(main(sys.argv[1:]))
"""
SPECS: Final = (
    replace(MODELS["JK_BD4A8S4P 15.26"], name="UPS_BMS"),
    replace(MODELS["JK_B2A8S20P 11.48"], name="HOME_BMS"),
)
FAKE: Final = replace(SPECS[0], address="C8:47:8C:99:00:01", serial="3040100099")
START: Final = 300.0
"""s until both must be up first; on a busy machine the imports alone take a minute."""
RECOVERY: Final = 60.0
"""s until both batteries must be up again; a failed attempt to connect takes 25 s."""
ATTACK: Final = 5.0
"""s that one lasts."""
CLIENTS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Attacks:
    """Parameters."""

    rounds: int = 1
    """How often each attack has its turn."""


@dataclass(kw_only=True)
class Result:
    """What was found."""

    attacks: int = 0
    scrapes: int = 0
    wrong: list[str] = field(default_factory=list)
    """Served values that differ from those of the battery."""
    late: list[str] = field(default_factory=list)
    """Attacks after which a battery was not read again in time."""
    lost: list[str] = field(default_factory=list)
    """Scrapes that failed, and batteries that were down although in range."""


class Campaign:
    """An exporter of two batteries, and what happens to it."""

    def __init__(self, folder: Path, session: aiohttp.ClientSession) -> None:
        """Nothing runs yet."""
        self.result = Result()
        self._folder = folder
        self._session = session
        self._port = free_port()
        self._batteries = [_make(spec) for spec in SPECS]
        self._stack = AsyncExitStack()
        self._adapter: Adapter
        self._daemon: subprocess.Popen[str]
        self._now = "start"

    async def run(self, rounds: int) -> None:
        """Attack again and again; the values are checked all the time."""
        await self._start_bluetooth()
        exporter = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", COMMAND, "-e", "-s", "1"),
            *("-u", f"http://127.0.0.1:{self._port}/metrics"),
            *(part for spec in SPECS for part in ("-d", spec.name)),
            env=os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": self._address},
        )
        try:
            await self._until_read(START)
            for _ in range(rounds):
                for attack in (self._bus_gone, self._namesake, self._idle_clients):
                    await self._attack(attack.__name__.strip("_"), attack)
            if exporter.returncode is not None:
                self.result.lost.append(f"The exporter ended: {exporter.returncode}")
        finally:
            with suppress(ProcessLookupError):
                exporter.terminate()
            await exporter.wait()
            await self._stack.aclose()

    async def _attack(
        self, name: str, attack: Callable[[], AsyncIterator[bool]]
    ) -> None:
        self._now = name
        async with asynccontextmanager(attack)() as are_up:
            until = asyncio.get_running_loop().time() + ATTACK
            while asyncio.get_running_loop().time() < until:
                await self._scrape(must_be_up=are_up)
                await asyncio.sleep(0.2)
        await self._until_read(RECOVERY)
        self.result.attacks += 1

    async def _bus_gone(self) -> AsyncIterator[bool]:
        """Kill the D-Bus daemon, and start another one."""
        self._daemon.kill()
        await self._stack.aclose()
        yield False
        await self._start_bluetooth()

    async def _namesake(self) -> AsyncIterator[bool]:
        """Let a device advertise the name of a battery; it never answers."""
        self._adapter.place(_make(FAKE, Faults(silent=True)), rssi=-30)
        yield True
        del self._adapter.reach[FAKE.address]

    async def _idle_clients(self) -> AsyncIterator[bool]:
        """Open more connections than the exporter may open files."""
        writers = []
        for _ in range(CLIENTS):
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writers.append(writer)
        yield True
        for writer in writers:
            writer.close()

    @property
    def _address(self) -> str:
        return f"unix:path={self._folder}/bus"

    async def _start_bluetooth(self) -> None:
        (self._folder / "bus").unlink(missing_ok=True)
        self._stack = AsyncExitStack()
        address, self._daemon = self._stack.enter_context(bus_running(self._folder))
        bluez = await self._stack.enter_async_context(Bluez(address))
        self._adapter = bluez.add_adapter("hci0", "00:1A:7D:DA:71:13")
        for bms in self._batteries:
            self._adapter.place(bms)

    async def _until_read(self, limit: float) -> None:
        """Wait until both are up, at most `limit` s."""
        loop = asyncio.get_running_loop()
        until = loop.time() + limit
        while not await self._scrape(must_be_up=False):
            if loop.time() > until:
                self.result.late.append(self._now)
                return
            await asyncio.sleep(0.2)

    async def _scrape(self, *, must_be_up: bool) -> bool:
        """Check what is served; return whether both batteries are up."""
        try:
            async with self._session.get(
                f"http://127.0.0.1:{self._port}/metrics"
            ) as response:
                lines = (await response.text()).splitlines()
        except (aiohttp.ClientError, TimeoutError) as err:
            if self._now != "start":
                self.result.lost.append(f"{self._now}: {type(err).__name__}")
            return False
        self.result.scrapes += 1
        served = dict(line.rsplit(" ", 1) for line in lines if line[:1] != "#")
        are_up = True
        for bms in self._batteries:
            label = f'{{device="{bms.spec.name}"}}'
            if served.get(f"up{label}") != "1":
                are_up = False
                if must_be_up:
                    self.result.lost.append(f"{self._now}: {bms.spec.name} is down")
                continue
            state = bms.battery.state
            self.result.wrong += [
                f"{self._now}: {name}{label} is {served.get(name + label)}"
                for name, value in (
                    ("battery_voltage", state.voltage),
                    ("remain_percent", state.soc),
                    ("min_cell_voltage", state.cells[state.lowest]),
                )
                if abs(float(served.get(name + label, "nan")) - value) > 0.0006
            ]
        return are_up


def _make(spec: Spec, faults: Faults | None = None) -> VirtualBms:
    """Make a fast battery whose values stay the same."""
    return VirtualBms(Battery(spec, soc=0.6, time_scale=0.0), speed=20, faults=faults)


async def run(attacks: Attacks) -> Result:
    """Run the campaign."""
    with TemporaryDirectory(prefix="command-") as name:
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=10),
            connector=aiohttp.TCPConnector(force_close=True),
        ) as session:
            campaign = Campaign(Path(name), session)
            await campaign.run(attacks.rounds)
    return campaign.result


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(run(Attacks(**json.loads(sys.argv[1])))))))
