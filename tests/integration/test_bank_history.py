"""A bank in the recorder, in the Energy dashboard and in Activity."""

from typing import Any

import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
    get_start_time,
)
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from homeassistant.components.recorder import Recorder, get_instance, history
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from tests.virtual_bms import VirtualBms

from . import setup_integration
from .test_bank import add_bank, bank_entry, packs, publish, read, silence

__all__ = ["packs"]

SOURCE = {
    "type": "battery",
    "stat_energy_from": "sensor.bank_energy_discharged",
    "stat_energy_to": "sensor.bank_energy_charged",
    "stat_soc": "sensor.bank_state_of_charge",
    "capacity": 19.5,
    "power_config": {"stat_rate_inverted": "sensor.bank_power"},
}
CELL_UNDERVOLTAGE = 1 << 11


@pytest.fixture(autouse=True)
async def bluetooth(
    recorder_mock: Recorder, enable_custom_integrations: None, enable_bluetooth: None
) -> None:
    """Run the recorder as well; it must be there before Home Assistant."""


async def test_bank_is_recorded_and_is_the_battery_of_the_energy_dashboard(
    hass: HomeAssistant,
    hass_ws_client: WebSocketGenerator,
    packs: list[VirtualBms],
) -> None:
    """Activity names the pack of a fault; the age of the readings is not recorded."""
    for component in ("sensor", "energy", "logbook"):
        assert await async_setup_component(hass, component, {})
    begin = dt_util.utcnow()
    entries = [await setup_integration(hass, bms) for bms in packs]
    bank = await add_bank(hass, bank_entry(packs))
    client = await hass_ws_client(hass)

    async def call(command: str, **values: Any) -> Any:
        await client.send_json_auto_id({"type": command, **values})
        answer = await client.receive_json()
        assert answer["success"], answer
        return answer["result"]

    await call("energy/save_prefs", energy_sources=[SOURCE])
    await hass.async_block_till_done()
    await async_wait_recording_done(hass)
    do_adhoc_statistics(hass, start=get_start_time(dt_util.utcnow()))
    await async_wait_recording_done(hass)
    assert (await call("energy/validate"))["energy_sources"] == [[]]
    (kept,) = (await call("energy/get_prefs"))["energy_sources"]
    assert kept["capacity"] == SOURCE["capacity"]

    began = dt_util.utcnow()
    packs[1].battery.override(alarms=CELL_UNDERVOLTAGE, current=5.2)
    await read(*entries)
    await publish(hass, bank)
    silence(entries[1])
    await publish(hass, bank)
    packs[1].battery.override(alarms=0, current=5.2)
    await read(*entries)
    await publish(hass, bank)
    await async_wait_recording_done(hass)
    problem = er.async_get(hass).async_get("binary_sensor.bank_problem")
    assert problem
    lines = await call(
        "logbook/get_events",
        start_time=began.isoformat(),
        device_ids=[problem.device_id],
        entity_ids=[problem.entity_id],
    )
    assert [line["message"] for line in lines if "message" in line] == [
        "Raised: Cell undervoltage (pack_b)",
        "Cleared: Cell undervoltage (pack_b)",
    ]
    problems = [
        line["state"]
        for line in lines
        if line.get("entity_id") == "binary_sensor.bank_problem"
    ]
    assert problems[0] == "on"
    assert problems[-1] == "off"
    assert {line["name"] for line in lines if "message" in line} == {"bank"}

    states = await get_instance(hass).async_add_executor_job(
        history.state_changes_during_period,
        hass,
        begin,
        None,
        "sensor.bank_current",
    )
    recorded = states["sensor.bank_current"]
    assert recorded[-1].state == "35.3"
    assert "oldest" not in recorded[-1].attributes
    now = hass.states.get("sensor.bank_current")
    assert now
    assert "oldest" in now.attributes
