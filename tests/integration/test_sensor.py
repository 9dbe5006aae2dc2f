"""Measurements: which there are, what they show, and when they are written."""

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import pytest

from custom_components.jk_bms.compatibility import ONLY_FOR_CARDS
from custom_components.jk_bms.entity import Pace
from custom_components.jk_bms.jkbms.models import Settings
from custom_components.jk_bms.sensor_descriptions import SENSORS, SETTING_SENSORS
from homeassistant.components.sensor import ATTR_STATE_CLASS, DOMAIN as SENSOR_DOMAIN
from homeassistant.const import (
    ATTR_DEVICE_CLASS,
    ATTR_UNIT_OF_MEASUREMENT,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from tests.docs.tables import PER_CELL
from tests.virtual_bms import MODELS, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import MAX_DATA_AGE, pass_time, setup_integration

type MakeBms = Callable[..., VirtualBms]

CELLS = {
    "balancing_current",
    "delta_cell_voltage",
    "max_cell_voltage",
    "max_voltage_cell",
    "min_cell_voltage",
    "min_voltage_cell",
    "total_voltage",
}
ENERGY = {"energy_charged", "energy_discharged"}
LIFE = {
    "charging_cycles",
    "full_charge_capacity",
    "state_of_health",
    "total_charging_cycle_capacity",
}
PACK = (
    CELLS
    | ENERGY
    | LIFE
    | {"capacity_remaining", "current", "energy_remaining", "power", "state_of_charge"}
)
MOSFET = {"mosfet_temperature"}
TWO = {"temperature_sensor_1", "temperature_sensor_2"}
FOUR = TWO | {"temperature_sensor_4", "temperature_sensor_5"}
PHASE = {"battery_type", "charge_status"}

CARRIED = {
    "JK-B2A16S 3.3.0": CELLS,
    "JK-B5A24S 8.0.3M": CELLS,
    "JK-BD6A24S10P 8.0.6G": PACK | MOSFET | TWO,
    "JK-B2A24S15P 10.07": PACK | MOSFET | TWO,
    "JK_B2A8S20P 11.17": PACK | MOSFET | TWO,
    "JK_B2A20S20P 11.288H": PACK | MOSFET | TWO,
    "JK_B2A8S20P 11.48": PACK | MOSFET | TWO,
    "JK_B2A25SRP 11.55": PACK,
    "JK_DZ11B2A24S 11.55": CELLS | {"temperature_sensor_1"},
    "JK_PB2A16S15P 14.20": PACK | MOSFET | FOUR,
    "JK_BD4A8S4P 15.26": PACK | MOSFET | TWO | PHASE,
    "JK_PB2A16S20P 15.41": PACK | MOSFET | FOUR | PHASE,
    "JK_B2A8S20P 19.10": PACK | MOSFET | TWO | PHASE,
    "JK-PB2A16S20P 19.27": PACK | MOSFET | FOUR | PHASE,
}
"""What the units have besides the voltages of their cells."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let entities follow every reading; test_recorder.py is about their paces."""
    monkeypatch.setattr(Pace, "allows_write", lambda *_: True)


async def setup(hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms) -> Any:
    """Receive an advertisement and set the battery up."""
    proxy.advertise(bms)
    return await setup_integration(hass, bms)


def shown(hass: HomeAssistant, bms: VirtualBms) -> dict[str, str]:
    """Return what the sensors of a battery show, by the part of their id after its name."""
    prefix = f"{SENSOR_DOMAIN}.battery_"
    assert bms.spec.name == "battery"
    return {
        state.entity_id.removeprefix(prefix): state.state
        for state in hass.states.async_all(SENSOR_DOMAIN)
    }


def as_number(text: str) -> float | str:
    """Return the number that a state is, or else its text."""
    try:
        return float(text)
    except ValueError:
        return text


@pytest.mark.parametrize("model", sorted(MODELS))
async def test_every_unit_shows_what_its_battery_measures(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """Every unit shows what its battery measures, and nothing that it does not."""
    bms = make_bms(model, name="battery", dip_address=None)
    bms.battery.override(balancer=2, balance_current=-0.8, current=-12.5, phase=1)
    await setup(hass, proxy, bms)
    state = bms.battery.state
    expected = {
        "battery_type": {"LFP": "lfp", "LION": "li_ion"}.get(bms.spec.chemistry),
        "balancer_state": "discharging",
        "balancing_current": -0.8,
        "capacity_remaining": state.remaining,
        "charge_status": "absorption",
        "charging_cycles": state.cycles,
        "current": -12.5,
        "delta_cell_voltage": state.delta,
        "energy_remaining": state.remaining
        * bms.spec.cells
        * {"LFP": 3.2, "LION": 3.65, "LTO": 2.3}[bms.spec.chemistry]
        / 1000,
        "energy_charged": 0.0,
        "energy_discharged": 0.0,
        "full_charge_capacity": state.full,
        "max_cell_voltage": state.cells[state.highest],
        "max_voltage_cell": state.highest + 1,
        "min_cell_voltage": state.cells[state.lowest],
        "min_voltage_cell": state.lowest + 1,
        "mosfet_temperature": state.mosfet_temperature,
        "power": state.voltage * -12.5,
        "state_of_charge": state.soc,
        "state_of_health": state.soh,
        "temperature_sensor_1": state.temperatures[0],
        "temperature_sensor_2": state.temperatures[1],
        "temperature_sensor_4": state.temperatures[2],
        "temperature_sensor_5": state.temperatures[3],
        "total_charging_cycle_capacity": state.cycle_capacity,
        "total_voltage": state.voltage,
    }
    expected = {key: expected[key] for key in CARRIED[model]} | {
        f"cell_voltage_{cell}": volts for cell, volts in enumerate(state.cells, 1)
    }
    values = {key: as_number(text) for key, text in shown(hass, bms).items()}
    assert values == pytest.approx(expected, abs=0.0011)


VOLT = ("V", "voltage", "measurement")
AMPERE = ("A", "current", "measurement")
WATT = ("W", "power", "measurement")
CELSIUS = ("°C", "temperature", "measurement")
ENUM = (None, "enum", None, None)
SECONDS = ("s", "duration", None, 0)
LIMIT_OF_CELL = ("V", "voltage", None, 3)
LIMIT_OF_CURRENT = ("A", "current", None, 1)
LIMIT_OF_TEMPERATURE = ("°C", "temperature", None, 1)
COUNTDOWN = ("duration", "measurement", 1)

KINDS = {
    "total_voltage": (*VOLT, 2),
    "current": (*AMPERE, 2),
    "power": (*WATT, 0),
    "charging_power": (*WATT, 0),
    "discharging_power": (*WATT, 0),
    "state_of_charge": ("%", "battery", "measurement", None),
    "capacity_remaining": ("Ah", None, "measurement", 1),
    "energy_remaining": ("kWh", "energy_storage", "measurement", 2),
    "energy_charged": ("kWh", "energy", "total_increasing", 2),
    "energy_discharged": ("kWh", "energy", "total_increasing", 2),
    "average_current": (*AMPERE, 2),
    "average_power": (*WATT, 0),
    "time_to_empty": ("h", "duration", "measurement", 2),
    "time_to_full": ("h", "duration", "measurement", 2),
    "delta_cell_voltage": (*VOLT, 3),
    "balancing_current": (*AMPERE, 2),
    "balancer_state": ENUM,
    "mosfet_temperature": (*CELSIUS, 1),
    "temperature_sensor_1": (*CELSIUS, 1),
    "temperature_sensor_2": (*CELSIUS, 1),
    "temperature_sensor_4": (*CELSIUS, 1),
    "temperature_sensor_5": (*CELSIUS, 1),
    "charge_status": ENUM,
    "heating_current": (*AMPERE, 2),
    **{f"cell_voltage_{cell}": (*VOLT, 3) for cell in range(1, 17)},
    "average_cell_voltage": (*VOLT, 3),
    "min_cell_voltage": (*VOLT, 3),
    "max_cell_voltage": (*VOLT, 3),
    "min_voltage_cell": (None, None, "measurement", None),
    "max_voltage_cell": (None, None, "measurement", None),
    **{
        f"cell_resistance_{cell}": ("Ω", None, "measurement", 3)
        for cell in range(1, 17)
    },
    "state_of_health": ("%", None, "measurement", None),
    "full_charge_capacity": ("Ah", None, "measurement", 1),
    "charging_cycles": (None, None, "total_increasing", None),
    "total_charging_cycle_capacity": ("Ah", None, "total_increasing", 0),
    "total_runtime": ("d", "duration", "total_increasing", 1),
    "emergency_time_countdown": ("min", *COUNTDOWN),
    "smart_sleep_countdown": ("h", *COUNTDOWN),
    "charge_status_time_elapsed": ("h", *COUNTDOWN),
    "detail_log_entry_count": (None, None, "measurement", None),
    "battery_type": ENUM,
    "smart_sleep_voltage": LIMIT_OF_CELL,
    "cell_undervoltage_protection": LIMIT_OF_CELL,
    "cell_undervoltage_recovery": LIMIT_OF_CELL,
    "cell_overvoltage_protection": LIMIT_OF_CELL,
    "cell_overvoltage_recovery": LIMIT_OF_CELL,
    "balance_trigger_voltage": LIMIT_OF_CELL,
    "full_cell_voltage": LIMIT_OF_CELL,
    "empty_cell_voltage": LIMIT_OF_CELL,
    "requested_charge_voltage": LIMIT_OF_CELL,
    "requested_float_voltage": LIMIT_OF_CELL,
    "power_off_voltage": LIMIT_OF_CELL,
    "balance_start_voltage": LIMIT_OF_CELL,
    "max_charge_current": LIMIT_OF_CURRENT,
    "max_discharge_current": LIMIT_OF_CURRENT,
    "max_balance_current": LIMIT_OF_CURRENT,
    "nominal_capacity": ("Ah", None, None, 0),
    "charge_overcurrent_delay": SECONDS,
    "charge_overcurrent_recovery_time": SECONDS,
    "discharge_overcurrent_delay": SECONDS,
    "discharge_overcurrent_recovery_time": SECONDS,
    "short_circuit_recovery_time": SECONDS,
    "discharge_precharge_time": SECONDS,
    "short_circuit_delay": ("μs", "duration", None, 0),
    "smart_sleep_delay": ("h", "duration", None, 0),
    "charge_overtemperature_protection": LIMIT_OF_TEMPERATURE,
    "charge_overtemperature_recovery": LIMIT_OF_TEMPERATURE,
    "charge_undertemperature_protection": LIMIT_OF_TEMPERATURE,
    "charge_undertemperature_recovery": LIMIT_OF_TEMPERATURE,
    "discharge_overtemperature_protection": LIMIT_OF_TEMPERATURE,
    "discharge_overtemperature_recovery": LIMIT_OF_TEMPERATURE,
    "discharge_undertemperature_protection": LIMIT_OF_TEMPERATURE,
    "discharge_undertemperature_recovery": LIMIT_OF_TEMPERATURE,
    "mosfet_overtemperature_protection": LIMIT_OF_TEMPERATURE,
    "mosfet_overtemperature_recovery": LIMIT_OF_TEMPERATURE,
    "heating_start_temperature": LIMIT_OF_TEMPERATURE,
    "heating_stop_temperature": LIMIT_OF_TEMPERATURE,
    "cell_count": (None, None, None, None),
    "device_address": (None, None, None, None),
    "errors": (None, None, None, None),
    "balancer_status_bitmask": (None, None, "measurement", None),
    "total_runtime_formatted": (None, None, None, None),
    "software_version": (None, None, None, None),
    "hardware_version": (None, None, None, None),
    "power_tube_temperature": ("°C", "temperature", None, 1),
    "total_battery_capacity_setting": ("Ah", None, None, None),
    "signal_strength": ("dBm", "signal_strength", "measurement", None),
    "last_update": (None, "timestamp", None, None),
    "rejected_frames": (None, None, "total_increasing", None),
}
"""Unit, device class, state class and decimals shown."""


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
async def test_units_and_classes_suit_statistics_and_exporters(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    entity_registry: er.EntityRegistry,
) -> None:
    """Units and classes are those that statistics and exporters rely on."""
    bms = make_bms("JK-PB2A16S20P 19.27", name="battery", dip_address=None)
    bms.battery.override(heating=True, heater_current=8.25, current=-10.0)
    entry = await setup(hass, proxy, bms)
    kinds = {}
    for entity in er.async_entries_for_config_entry(entity_registry, entry.entry_id):
        if entity.domain == SENSOR_DOMAIN:
            state = hass.states.get(entity.entity_id)
            assert state
            key = entity.unique_id.removeprefix(f"{bms.address}_")
            assert entity.entity_id == f"sensor.battery_{key}"
            kinds[key] = (
                state.attributes.get(ATTR_UNIT_OF_MEASUREMENT),
                state.attributes.get(ATTR_DEVICE_CLASS),
                state.attributes.get(ATTR_STATE_CLASS),
                entity.options.get(SENSOR_DOMAIN, {}).get(
                    "suggested_display_precision"
                ),
            )
    differing = {key for key, _ in kinds.items() ^ KINDS.items()}
    assert not differing, f"KINDS expects something else of {sorted(differing)}"


@pytest.mark.parametrize("model", ["JK_B2A20S20P 11.288H"])
@pytest.mark.usefixtures("entity_registry_enabled_by_default")
@pytest.mark.parametrize(
    ("current", "charging", "discharging"), [(10.0, 10.0, 0.0), (-10.0, 0.0, 10.0)]
)
async def test_power_of_one_direction_is_0_during_the_other(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    model: str,
    current: float,
    charging: float,
    discharging: float,
) -> None:
    """The power of one direction is 0 while it flows in the other."""
    bms = make_bms(model, name="battery")
    bms.battery.override(current=current, heating=True, heater_current=8.25)
    await setup(hass, proxy, bms)
    volts = bms.battery.state.voltage
    values = shown(hass, bms)
    assert float(values["power"]) == pytest.approx(volts * current, abs=0.001)
    assert float(values["charging_power"]) == pytest.approx(volts * charging, abs=0.001)
    assert float(values["discharging_power"]) == pytest.approx(
        volts * discharging, abs=0.001
    )
    assert values["heating_current"] == "8.25"


@pytest.mark.parametrize("model", ["JK_PB2A16S20P 15.41"])
async def test_rarely_needed_entities_are_disabled_by_default(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    model: str,
    entity_registry: er.EntityRegistry,
) -> None:
    """Entities that few users need exist, but are disabled."""
    bms = make_bms(model, name="battery", dip_address=None)
    bms.battery.override(heating=True, heater_current=8.25)
    entry = await setup(hass, proxy, bms)
    entities = er.async_entries_for_config_entry(entity_registry, entry.entry_id)
    disabled = {
        entity.entity_id.removeprefix("sensor.battery_")
        for entity in entities
        if entity.disabled and entity.domain == SENSOR_DOMAIN
    }
    settings = {description.key for description in SETTING_SENSORS}
    assert disabled - settings - ONLY_FOR_CARDS == {
        "average_cell_voltage",
        "average_current",
        "average_power",
        "balancer_state",
        "charge_status_time_elapsed",
        "charging_power",
        "detail_log_entry_count",
        "discharging_power",
        "emergency_time_countdown",
        "heating_current",
        "last_update",
        "rejected_frames",
        "signal_strength",
        "smart_sleep_countdown",
        "time_to_empty",
        "time_to_full",
        "total_runtime",
        *(f"cell_resistance_{cell}" for cell in range(1, bms.spec.cells + 1)),
    }
    assert settings - disabled == {
        "discharge_precharge_time",
        "discharge_undertemperature_protection",
        "discharge_undertemperature_recovery",
        "voltage_calibration",
    }


def cells_shown(hass: HomeAssistant, bms: VirtualBms) -> dict[int, str]:
    """Return the voltages shown, by the number of the cell."""
    prefix = "cell_voltage_"
    return {
        int(key.removeprefix(prefix)): text
        for key, text in shown(hass, bms).items()
        if key.startswith(prefix)
    }


async def test_cell_entities_follow_the_number_of_enabled_cells(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    model: str,
    entity_registry: er.EntityRegistry,
) -> None:
    """There is one entity for each enabled cell, also after a change."""
    bms = make_bms(model, name="battery")
    await setup(hass, proxy, bms)
    assert list(cells_shown(hass, bms)) == [1, 2, 3, 4, 5, 6, 7, 8]

    bms.battery.override(cells=(3.3,) * 6)
    await pass_time(hass)
    assert cells_shown(hass, bms) == dict.fromkeys(range(1, 7), "3.3")
    assert entity_registry.async_get("sensor.battery_cell_voltage_6")
    assert entity_registry.async_get("sensor.battery_cell_voltage_7") is None

    bms.battery.override(cells=(3.31,) * 12)
    await pass_time(hass)
    assert cells_shown(hass, bms) == dict.fromkeys(range(1, 13), "3.31")


async def test_entities_of_cells_removed_during_a_stop_are_removed(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    model: str,
    entity_registry: er.EntityRegistry,
) -> None:
    """Entities of an earlier run are removed as well."""
    bms = make_bms(model, name="battery")
    entry = await setup(hass, proxy, bms)
    assert await hass.config_entries.async_unload(entry.entry_id)
    bms.battery.override(cells=(3.3,) * 6)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert cells_shown(hass, bms) == dict.fromkeys(range(1, 7), "3.3")
    assert entity_registry.async_get("sensor.battery_cell_voltage_7") is None


async def test_loose_connector_keeps_the_cell_entities(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """Entities of cells stay while no cell is connected, even over a restart."""
    bms = make_bms(model, name="battery")
    entry = await setup(hass, proxy, bms)
    bms.battery.override(cells=())
    await pass_time(hass)
    unknown = dict.fromkeys(range(1, 9), STATE_UNKNOWN)
    assert cells_shown(hass, bms) == unknown
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert cells_shown(hass, bms) == unknown
    bms.battery.override(cells=(3.3,) * 8)
    await pass_time(hass)
    assert cells_shown(hass, bms) == dict.fromkeys(range(1, 9), "3.3")


async def test_disabled_cell_in_between_gets_no_entity(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """A gap gets no entity, and later cells keep their numbers."""
    bms = make_bms(model, name="battery")
    cells = (3.301, 0.0, 3.303, 3.304, 3.305, 3.306, 3.307, 3.308)
    bms.battery.override(cells=cells, enabled=0b11111101)
    await setup(hass, proxy, bms)
    assert cells_shown(hass, bms) == {
        number: str(volts) for number, volts in enumerate(cells, 1) if volts
    }


async def test_sensor_connected_later_gets_an_entity(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """A temperature gets its entity when first measured, and keeps it."""
    key = "temperature_sensor_2"
    bms = make_bms(model, name="battery")
    bms.battery.override(temperatures=(21.5, None, None, None))
    entry = await setup(hass, proxy, bms)
    assert shown(hass, bms)["temperature_sensor_1"] == "21.5"
    assert key not in shown(hass, bms)

    bms.battery.override(temperatures=(21.5, 22.5, None, None))
    await pass_time(hass)
    assert shown(hass, bms)[key] == "22.5"

    bms.battery.override(temperatures=(21.5, None, None, None))
    await pass_time(hass)
    assert shown(hass, bms)[key] == STATE_UNKNOWN
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert shown(hass, bms)[key] == STATE_UNKNOWN


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
@pytest.mark.parametrize(
    ("key", "field", "states"),
    [
        ("balancer_state", "balancer", ["off", "charging", "discharging"]),
        ("charge_status", "phase", ["bulk", "absorption", "float"]),
    ],
)
async def test_codes_have_names_and_unknown_ones_show_unknown(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    key: str,
    field: str,
    states: list[str],
) -> None:
    """Each code has a name; one without a name shows unknown."""
    bms = make_bms("JK_PB2A16S20P 15.41", name="battery", dip_address=None)
    await setup(hass, proxy, bms)
    for code, state in enumerate([*states, STATE_UNKNOWN]):
        bms.battery.override(**{field: code})
        await pass_time(hass)
        assert shown(hass, bms)[key] == state


async def test_states_are_written_only_when_they_change(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """A reading equal to the last one costs the recorder nothing."""

    def written() -> set[str]:
        now = {
            state.entity_id: state.last_reported for state in hass.states.async_all()
        }
        changed = {key for key, when in now.items() if reported.get(key) != when}
        reported.update(now)
        return changed

    reported: dict[str, Any] = {}
    bms = make_bms(model, name="battery")
    # Equal cells, so that it does not matter which of them is the highest.
    bms.battery.override(cells=(3.3,) * 8, soc=40, current=12.5)
    await setup(hass, proxy, bms)
    assert len(written()) > 20
    await pass_time(hass)
    assert len(bms.connections) == 2
    assert written() == set()

    bms.battery.override(soc=41, charging=False)
    await pass_time(hass)
    assert written() == {
        "sensor.battery_state_of_charge",
        "binary_sensor.battery_charging",
    }

    bms.battery.override(soc=42)
    await pass_time(hass)
    assert written() == {"sensor.battery_state_of_charge"}


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
@pytest.mark.parametrize("language", ["en", "de", "fr", "zh-Hans"])
async def test_entity_ids_match_cards_for_esphome_jk_bms(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    model: str,
    language: str,
) -> None:
    """Cards written for esphome-jk-bms find their entities, in any language."""
    hass.config.language = language
    await setup(hass, proxy, make_bms(model, name="battery"))
    for key in (
        *(f"cell_voltage_{cell}" for cell in range(1, 9)),
        *(f"cell_resistance_{cell}" for cell in range(1, 9)),
        "total_voltage",
        "current",
        "power",
        "state_of_charge",
        "delta_cell_voltage",
        "capacity_remaining",
        "charging_cycles",
        "min_voltage_cell",
        "max_voltage_cell",
        "balancing_current",
    ):
        assert hass.states.get(f"sensor.battery_{key}"), key
    assert hass.states.get("switch.battery_bluetooth_link")


COUNTERS = {
    "total_runtime": "240.0",
    "emergency_time_countdown": "10.0",
    "smart_sleep_countdown": "2.0",
    "charge_status_time_elapsed": "0.025",
    "detail_log_entry_count": "400",
}


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
@pytest.mark.parametrize("model", ["JK-B2A16S 3.3.0", "JK_PB2A16S20P 15.41"])
async def test_counters_show_the_values_of_their_fields(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """Run time is the total one, and each counter has its own entity."""
    bms = make_bms(model, name="battery", run_time=20_736_000, uptime=1000)
    bms.battery.override(
        emergency=600, sleep=7200, phase=1, phase_time=90, detail_records=400
    )
    await setup(hass, proxy, bms)
    values = shown(hass, bms)
    expected = COUNTERS if "PB" in model else {"total_runtime": "240.0"}
    assert {key: values[key] for key in COUNTERS if key in values} == expected


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
async def test_unmeasured_resistance_is_unknown_and_goes_with_its_cell(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """A resistance not measured yet is unknown; it is removed with its cell."""
    bms = make_bms(model, name="battery")
    bms.battery.override(resistances=(0.061, 0.0, *(0.07,) * 6))
    await setup(hass, proxy, bms)
    assert shown(hass, bms)["cell_resistance_1"] == "0.061"
    assert shown(hass, bms)["cell_resistance_2"] == STATE_UNKNOWN

    bms.battery.override(resistances=(0.061, 0.062, *(0.07,) * 6), cells=(3.3,) * 6)
    await pass_time(hass)
    values = shown(hass, bms)
    assert values["cell_resistance_2"] == "0.062"
    assert "cell_resistance_6" in values
    assert "cell_resistance_7" not in values


@pytest.mark.parametrize("model", ["JK_B2A20S20P 11.288H"])
@pytest.mark.usefixtures("entity_registry_enabled_by_default")
async def test_heating_current_exists_while_the_heater_is_off(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """The entity exists before the heater is first on."""
    bms = make_bms(model, name="battery", heater=True)
    bms.battery.override(heating=False)
    await setup(hass, proxy, bms)
    assert shown(hass, bms)["heating_current"] == STATE_UNKNOWN


SETTINGS = {
    "smart_sleep_voltage": "smart_sleep_voltage",
    "cell_undervoltage_protection": "cell_uvp",
    "cell_undervoltage_recovery": "cell_uvp_recovery",
    "cell_overvoltage_protection": "cell_ovp",
    "cell_overvoltage_recovery": "cell_ovp_recovery",
    "balance_trigger_voltage": "balance_trigger",
    "full_cell_voltage": "soc_100",
    "empty_cell_voltage": "soc_0",
    "requested_charge_voltage": "request_charge_voltage",
    "requested_float_voltage": "request_float_voltage",
    "power_off_voltage": "power_off_voltage",
    "max_charge_current": "max_charge_current",
    "charge_overcurrent_delay": "charge_ocp_delay",
    "charge_overcurrent_recovery_time": "charge_ocp_recovery",
    "max_discharge_current": "max_discharge_current",
    "discharge_overcurrent_delay": "discharge_ocp_delay",
    "discharge_overcurrent_recovery_time": "discharge_ocp_recovery",
    "short_circuit_recovery_time": "short_circuit_recovery",
    "max_balance_current": "max_balance_current",
    "charge_overtemperature_protection": "charge_otp",
    "charge_overtemperature_recovery": "charge_otp_recovery",
    "discharge_overtemperature_protection": "discharge_otp",
    "discharge_overtemperature_recovery": "discharge_otp_recovery",
    "charge_undertemperature_protection": "charge_utp",
    "charge_undertemperature_recovery": "charge_utp_recovery",
    "mosfet_overtemperature_protection": "mosfet_otp",
    "mosfet_overtemperature_recovery": "mosfet_otp_recovery",
    "cell_count": "cell_count",
    "nominal_capacity": "nominal_capacity",
    "short_circuit_delay": "short_circuit_delay",
    "balance_start_voltage": "balance_start_voltage",
    "device_address": "device_address",
    "discharge_precharge_time": "precharge_time",
    "heating_start_temperature": "heat_start",
    "heating_stop_temperature": "heat_stop",
    "smart_sleep_delay": "smart_sleep_delay",
    "discharge_undertemperature_protection": "discharge_utp",
    "discharge_undertemperature_recovery": "discharge_utp_recovery",
    "voltage_calibration": "reference_voltage",
}
"""What the settings are called in the battery."""
ONLY_JK04 = {"voltage_calibration"}
OF_JK04 = ONLY_JK04 | {
    "balance_start_voltage",
    "balance_trigger_voltage",
    "cell_count",
    "max_balance_current",
    "power_off_voltage",
}


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
@pytest.mark.parametrize(
    ("model", "carried"),
    [
        ("JK-B2A16S 3.3.0", OF_JK04),
        ("JK-PB2A16S20P 19.27", SETTINGS.keys() - ONLY_JK04),
    ],
)
async def test_each_setting_shows_its_own_value(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    model: str,
    carried: set[str],
) -> None:
    """Each setting has an entity that shows this setting and no other."""
    bms = make_bms(model, name="battery", dip_address=None)
    numbers = {key: number for number, key in enumerate(sorted(SETTINGS), 1)}
    bms.battery.settings = replace(
        bms.battery.settings, **{SETTINGS[key]: numbers[key] for key in SETTINGS}
    )
    await setup(hass, proxy, bms)
    values = {
        key: float(text) for key, text in shown(hass, bms).items() if key in SETTINGS
    }
    assert values == pytest.approx({key: numbers[key] for key in carried})


OTHER_VALUES = {
    *("charging_power", "discharging_power", "heating_current", "balancer_state"),
    *("cell_voltage_n", "cell_resistance_n"),
    # In test_faults.py
    "average_cell_voltage",
}
"""Sensors whose values have tests of their own."""


def test_a_test_expects_the_value_of_every_sensor() -> None:
    """A measurement stands in `CARRIED`, a counter in `COUNTERS`, or in a test of its own."""
    expected = {*SETTINGS, *COUNTERS, *OTHER_VALUES}.union(*CARRIED.values())
    keys = {
        PER_CELL.sub("_n", row.key) if row.translation_placeholders else row.key
        for row in SENSORS
    }
    assert not keys - expected, f"no test expects the value of {keys - expected}"
    # The battery in software sends 0 for what it does not know
    zeros = {key for key, value in COUNTERS.items() if not float(value)}
    assert not zeros, f"0 proves nothing of {zeros}"


def test_every_setting_has_an_entity() -> None:
    """Numbers are sensors; test_binary_sensor.py covers the switches.

    What a battery accepts is no value of its own.
    """
    numbers = [
        field
        for field in fields(Settings)
        if "bool" not in str(field.type) and field.name != "register_support"
    ]
    untested = {row.key for row in SETTING_SENSORS} ^ SETTINGS.keys()
    assert not untested, f"SETTINGS expects no value of {sorted(untested)}"
    assert len(numbers) == len(SETTING_SENSORS), "settings without a row, or twice"
    assert len({description.key for description in SENSORS}) == len(SENSORS)


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
async def test_reading_without_settings_keeps_their_entities(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """Entities of settings stay when a reading has none, even over a restart."""
    bms = make_bms(model, name="battery")
    entry = await setup(hass, proxy, bms)
    coordinator: Any = entry.runtime_data
    reading = coordinator.data
    assert shown(hass, bms)["cell_overvoltage_protection"] == "3.65"
    # Settings are kept over a reading that lost them.
    coordinator._async_publish(replace(reading, settings=None))
    assert shown(hass, bms)["cell_overvoltage_protection"] == "3.65"
    coordinator.data = replace(reading, settings=None)
    coordinator.async_update_listeners()
    assert shown(hass, bms)["cell_overvoltage_protection"] == STATE_UNKNOWN
    coordinator._async_publish(reading)
    assert shown(hass, bms)["cell_overvoltage_protection"] == "3.65"


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
async def test_link_sensors_stay_available_without_the_battery(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """Sensors about the link show values while the battery is out of range."""
    bms = make_bms(model, name="battery")
    entry = await setup(hass, proxy, bms)
    coordinator: Any = entry.runtime_data
    values = shown(hass, bms)
    assert values["signal_strength"] == "-60"
    assert values["rejected_frames"] == str(coordinator.client.statistics.rejected)
    before = datetime.fromisoformat(values["last_update"])
    assert before == coordinator.last_update.replace(microsecond=0)

    proxy.place(bms, rssi=-71)
    proxy.advertise(bms)
    coordinator.client.statistics.rejected = 3
    proxy.unplug()
    await pass_time(hass, MAX_DATA_AGE)
    values = shown(hass, bms)
    assert values["total_voltage"] == STATE_UNAVAILABLE
    assert values["signal_strength"] == "-71"
    assert values["rejected_frames"] == "3"
    assert datetime.fromisoformat(values["last_update"]) == before
