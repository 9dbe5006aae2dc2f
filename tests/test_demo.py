"""The demo as a visitor finds it: a process of its own, looked at over HTTP."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
import os
from pathlib import Path
import re
import signal
import socket
import sys
from typing import Any

from aiohttp import ClientSession
import pytest
import yaml

from homeassistant.core import HomeAssistant
from tests.demo.__main__ import FAULT_NAMES
from tests.demo.batteries import KINDS, PASSCODE, make_batteries
from tests.demo.faults import FAULTS, NONE
from tests.demo.home import CONFIGURATION
from tests.demo.incidents import async_register

ROOT = Path(__file__).parents[1]

# In a fresh checkout Python has to compile all of Home Assistant, perhaps beside other tests.
pytestmark = [pytest.mark.usefixtures("socket_enabled"), pytest.mark.timeout(400)]

TIMEOUT = 30
"""s, of which ten are needed."""
LOUD = re.compile(r"^\S+ \S+ (?:WARNING|ERROR|CRITICAL) .*", re.MULTILINE)


class Demo:
    """A demo that is ready."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        """Know it by its process and its port."""
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.log = ROOT / f".cache/demo-{port}.log"

    async def state(self, entity_id: str) -> str:
        """Return the state of an entity."""
        states = await self.ask("get_states")
        (state,) = [each["state"] for each in states if each["entity_id"] == entity_id]
        return str(state)

    async def until(self, entity_id: str, state: str) -> None:
        """Wait for a state of a bank, which follows its packs."""
        async with asyncio.timeout(TIMEOUT):
            while await self.state(entity_id) != state:
                await asyncio.sleep(0.2)

    async def call(self, action: str, entity_id: str, **data: str) -> None:
        """Run an action on an entity, and wait until it is done."""
        domain, _, service = action.partition(".")
        await self.ask(
            "call_service",
            domain=domain,
            service=service,
            target={"entity_id": entity_id},
            service_data=data,
        )

    async def press_refresh(self) -> None:
        """Read the first battery now."""
        await self.call("button.press", "button.house_refresh")

    async def ask(self, command: str, **data: Any) -> Any:
        """Log in as a browser does, where no form may be in the way, and send a command."""
        page = {"client_id": f"{self.url}/", "redirect_uri": f"{self.url}/"}
        login = {**page, "handler": ["trusted_networks", None]}
        async with ClientSession(self.url) as session:
            async with session.post("/auth/login_flow", json=login) as response:
                code = (await response.json())["result"]
            grant = {**page, "grant_type": "authorization_code", "code": code}
            async with session.post("/auth/token", data=grant) as response:
                token = (await response.json())["access_token"]
            async with session.ws_connect("/api/websocket") as websocket:
                await websocket.send_json({"type": "auth", "access_token": token})
                await websocket.send_json({"id": 1, "type": command, **data})
                while (answer := await websocket.receive_json())["type"] != "result":
                    pass
                return answer["result"]

    async def end(self, by: signal.Signals) -> None:
        """End it, and see that it goes in peace."""
        self.process.send_signal(by)
        output, _ = await self.process.communicate()
        assert self.process.returncode == 0
        assert re.fullmatch(r"demo: ended; .*\n", output.decode())
        log = self.log.read_text()
        assert "[custom_components.jk_bms" not in "".join(LOUD.findall(log))
        assert "[demo]" not in "".join(LOUD.findall(log))
        for file in self.log.parent.glob(f"{self.log.name}*"):
            file.unlink()


@asynccontextmanager
async def demo(*arguments: str) -> AsyncGenerator[Demo]:
    """Start what `scripts/demo` starts, and wait until it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    process = await start("--port", str(port), *arguments)
    try:
        assert process.stdout
        assert await process.stdout.readline() == b"demo: starting Home Assistant\n"
        line = await process.stdout.readline()
        ready = (
            f"demo: ready at http://localhost:{port} (settings passcode {PASSCODE}; "
        )
        assert line.startswith(ready.encode())
        yield Demo(process, port)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """Start the package that `scripts/demo` is about."""
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.demo", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env=environment,
    )


async def test_demo_starts_with_a_discovered_battery() -> None:
    """The battery is discovered; a second demo reports that the port is in use."""
    async with demo() as ready:
        flows = await ready.ask("config_entries/flow/progress")
        assert [
            (flow["handler"], flow["context"]["source"], flow["step_id"])
            for flow in flows
        ] == [("jk_bms", "bluetooth", "bluetooth_confirm")]

        second = await start("--port", ready.url.rpartition(":")[2])
        output, _ = await second.communicate()
        assert second.returncode == 1
        assert re.fullmatch(r"demo: cannot listen on localhost, .*\n", output.decode())

        await ready.end(by=signal.SIGTERM)


async def test_demo_shows_a_fault_and_ends_it() -> None:
    """The first battery has the fault until the switch of the demo says otherwise."""
    async with demo("--bank", "--batteries", "2", "--fault", "alarm") as ready:
        await ready.press_refresh()
        assert await ready.state("input_select.demo_fault") == "alarm"
        assert await ready.state("binary_sensor.house_problem") == "on"
        await ready.until("binary_sensor.bank_problem", "on")
        await ready.call(
            "input_select.select_option", "input_select.demo_fault", option="none"
        )
        await ready.press_refresh()
        assert await ready.state("binary_sensor.house_problem") == "off"
        await ready.until("binary_sensor.bank_problem", "off")

        # The bank is the battery of the Energy dashboard, not its packs.
        energy = await ready.ask("energy/get_prefs")
        (source,) = energy["energy_sources"]
        assert source["stat_soc"] == "sensor.bank_state_of_charge"
        checked = await ready.ask("energy/validate")
        assert checked["energy_sources"] == [[]]
        capacity = float(await ready.state("sensor.house_2_full_charge_capacity"))
        total = float(await ready.state("sensor.bank_full_charge_capacity"))
        assert total == 2 * capacity
        await ready.end(by=signal.SIGTERM)


def test_every_fault_can_be_chosen_everywhere() -> None:
    """The command, the switch and the table have the same faults."""
    switch = yaml.safe_load(CONFIGURATION.replace("!include", ""))["input_select"]
    assert switch["demo_fault"]["options"] == [*FAULT_NAMES]
    assert [NONE, *FAULTS] == [*FAULT_NAMES]


def test_batteries_of_the_demo_have_its_passcode() -> None:
    """The others have none: only their switches can be changed."""
    specs = [bms.battery.spec for bms in make_batteries(len(KINDS))]
    assert {spec.setup_passcode for spec in specs} == {PASSCODE, ""}
    assert specs[0].setup_passcode == PASSCODE


async def test_pinned_state_of_charge_has_its_capacity(hass: HomeAssistant) -> None:
    """A picture shows both."""
    (bms,) = make_batteries(1)
    async_register(hass, [bms])
    data = {"battery": bms.battery.spec.name, "state": {"soc": 4}}
    await hass.services.async_call("demo_battery", "let", data, blocking=True)
    state = bms.battery.state
    assert (state.soc, state.remaining) == (4, pytest.approx(0.04 * state.full))


async def test_demo_added_starts_with_values_and_dashboard() -> None:
    """Each battery has values, and the default dashboard is the integration's."""
    async with demo("--added", "--batteries", "3") as ready:
        states = {
            state["entity_id"]: state["state"]
            for state in await ready.ask("get_states")
        }
        assert states["binary_sensor.house_charging"] == "on"
        assert states["switch.house_charging"] == "on"
        assert 50 < float(states["sensor.house_state_of_charge"]) < 70
        for name in ("house", "camper", "shed"):
            assert 51 < float(states[f"sensor.{name}_total_voltage"]) < 55
            assert 3.2 < float(states[f"sensor.{name}_cell_voltage_16"]) < 3.4

        data = await ready.ask("frontend/get_system_data", key="core")
        start_page = data["value"]["default_panel"]
        dashboard = await ready.ask("lovelace/config", url_path=start_page)
        assert dashboard == {"strategy": {"type": "custom:jk-bms"}}

        # A balancer reports no current, so it has no energy.
        energy = await ready.ask("energy/get_prefs")
        sources = energy["energy_sources"]
        assert [source["name"] for source in sources] == ["House", "Camper"]
        assert all(source["stat_energy_from"] in states for source in sources)
        assert await ready.ask("energy/validate") == {
            "energy_sources": [[], []],
            "device_consumption": [],
            "device_consumption_water": [],
        }

        await ready.end(by=signal.SIGINT)
