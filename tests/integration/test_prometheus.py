"""Home Assistant's own Prometheus integration exports every value."""

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families
import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from homeassistant.components.sensor import ATTR_STATE_CLASS, DOMAIN as SENSOR_DOMAIN
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import MAX_DATA_AGE, pass_time, setup_integration

PREFIX = "homeassistant_sensor_"
METRICS = {
    "total_voltage": "voltage_v",
    "current": "current_a",
    "power": "power_w",
    "state_of_charge": "battery_percent",
    "capacity_remaining": "unit_ah",
    "energy_remaining": "energy_storage_kwh",
    "energy_charged": "energy_kwh",
    "energy_discharged": "energy_kwh",
    "delta_cell_voltage": "voltage_v",
    "balancing_current": "current_a",
    "mosfet_temperature": "temperature_celsius",
    "temperature_sensor_1": "temperature_celsius",
    "temperature_sensor_2": "temperature_celsius",
    "temperature_sensor_4": "temperature_celsius",
    "temperature_sensor_5": "temperature_celsius",
    **{f"cell_voltage_{cell}": "voltage_v" for cell in range(1, 17)},
    "min_cell_voltage": "voltage_v",
    "max_cell_voltage": "voltage_v",
    "min_voltage_cell": "state",
    "max_voltage_cell": "state",
    "state_of_health": "unit_percent",
    "full_charge_capacity": "unit_ah",
    "charging_cycles": "state",
    "total_charging_cycle_capacity": "unit_ah",
}
"""Of each sensor that is on by default and shows a number."""

type Samples = dict[str, dict[str, float]]


async def scrape(client: ClientSessionGenerator) -> Samples:
    """Return the values by entity and metric, as Prometheus gets them."""
    response = await (await client()).get("/api/prometheus")
    assert response.status == 200
    samples: Samples = {}
    for family in text_string_to_metric_families(await response.text()):
        for sample in family.samples:
            if "entity" in sample.labels:
                of_entity = samples.setdefault(sample.labels["entity"], {})
                assert sample.name not in of_entity
                of_entity[sample.name] = sample.value
    return samples


async def test_every_numeric_sensor_has_a_metric(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
) -> None:
    """Each numeric sensor has its metric, its unit in the name, and its own label."""
    assert await async_setup_component(hass, "prometheus", {"prometheus": {}})
    bms = make_bms("JK_PB2A16S20P 15.41", name="battery", dip_address=None)
    bms.battery.override(temperatures=(21.5, 22.5, 23.5, 24.5))
    proxy.advertise(bms)
    await setup_integration(hass, bms)

    samples = await scrape(hass_client)
    shown = {
        state.entity_id.removeprefix("sensor.battery_"): state
        for state in hass.states.async_all(SENSOR_DOMAIN)
        if state.attributes.get(ATTR_STATE_CLASS)
    }
    assert set(shown) == set(METRICS)
    exported = {
        key: samples[f"sensor.battery_{key}"].get(PREFIX + metric)
        for key, metric in METRICS.items()
    }
    assert exported == {key: pytest.approx(float(s.state)) for key, s in shown.items()}
    assert samples["binary_sensor.battery_charging"][
        "homeassistant_binary_sensor_state"
    ] in {0.0, 1.0}

    proxy.unplug()
    await pass_time(hass, MAX_DATA_AGE)
    samples = await scrape(hass_client)
    assert shown
    for key, metric in METRICS.items():
        of_entity = samples[f"sensor.battery_{key}"]
        assert PREFIX + metric not in of_entity
        assert of_entity["homeassistant_entity_available"] == 0.0


async def test_no_metric_without_a_unit(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entity_registry_enabled_by_default: None,
) -> None:
    """No number lacks its unit, which would make a metric named None."""
    assert await async_setup_component(hass, "prometheus", {"prometheus": {}})
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    samples = await scrape(hass_client)
    assert len(samples) > 40
    for entity_id, of_entity in samples.items():
        odd = [name for name in of_entity if name.lower().endswith("_none")]
        # The state "off" of a choice passes for 0 there
        kind = hass.states.get(entity_id).attributes.get("device_class")
        assert not odd or kind == "enum", entity_id
