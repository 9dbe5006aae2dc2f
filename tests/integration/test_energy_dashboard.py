"""The Energy dashboard of Home Assistant takes the battery as it is."""

from typing import Any

import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
    get_start_time,
)
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from homeassistant.components.recorder import Recorder
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import setup_integration

SENSOR = "sensor.house_24v_"
BATTERY = {
    "type": "battery",
    "stat_energy_from": f"{SENSOR}energy_discharged",
    "stat_energy_to": f"{SENSOR}energy_charged",
    "stat_soc": f"{SENSOR}state_of_charge",
    "power_config": {"stat_rate_inverted": f"{SENSOR}power"},
}


@pytest.fixture(autouse=True)
async def bluetooth(
    recorder_mock: Recorder, enable_custom_integrations: None, enable_bluetooth: None
) -> None:
    """Run the recorder as well; it must be there before Home Assistant."""


async def test_sensors_fit_the_energy_dashboard(
    hass: HomeAssistant,
    hass_ws_client: WebSocketGenerator,
    proxy: VirtualProxy,
    bms: VirtualBms,
) -> None:
    """Its own validation finds nothing to object to."""
    assert await async_setup_component(hass, "sensor", {})
    assert await async_setup_component(hass, "energy", {})
    bms.battery.override(current=-12.5)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    client = await hass_ws_client(hass)

    async def call(command: str, **values: Any) -> Any:
        await client.send_json_auto_id({"type": command, **values})
        answer = await client.receive_json()
        assert answer["success"], answer
        return answer["result"]

    saved = await call("energy/save_prefs", energy_sources=[BATTERY])
    await hass.async_block_till_done()
    (source,) = saved["energy_sources"]
    # It turns the sign over itself, as it wants + for discharging.
    power = hass.states.get(f"{SENSOR}power")
    rate = hass.states.get(source["stat_rate"])
    assert power
    assert rate
    assert float(rate.state) == -float(power.state) > 0

    await async_wait_recording_done(hass)
    do_adhoc_statistics(hass, start=get_start_time(dt_util.utcnow()))
    await async_wait_recording_done(hass)
    assert await call("energy/validate") == {
        "energy_sources": [[]],
        "device_consumption": [],
        "device_consumption_water": [],
    }
    statistics = {
        row["statistic_id"]: row for row in await call("recorder/list_statistic_ids")
    }
    for key in ("stat_energy_from", "stat_energy_to"):
        row = statistics[str(BATTERY[key])]
        assert row["has_sum"]
        assert row["unit_class"] == "energy"
        assert row["statistics_unit_of_measurement"] == "kWh"
