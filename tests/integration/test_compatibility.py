"""The option that enables what cards written for esphome-jk-bms read."""

from collections.abc import Callable
from dataclasses import replace
import re
from typing import Any, Final

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
import yaml

from custom_components.jk_bms.binary_sensor import BINARY_SENSORS
from custom_components.jk_bms.compatibility import COMPATIBILITY_KEYS, ONLY_FOR_CARDS
from custom_components.jk_bms.compatibility_sensors import COMPATIBILITY_SENSORS
from custom_components.jk_bms.jkbms.models import (
    Alarm,
    BalancerState,
    CellData,
    DeviceInfo,
    Layout,
    Reading,
)
from custom_components.jk_bms.sensor_descriptions import SENSORS
from custom_components.jk_bms.switch import SWITCHES
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity_registry import RegistryEntryDisabler
from tests.docs.examples import blocks
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import setup_integration

MODEL: Final = "JK-PB2A16S20P 19.27"
CELLS: Final = range(1, 17)

READ_BY_CARD: Final = {
    *(f"sensor.{{}}_cell_voltage_{cell}" for cell in CELLS),
    *(f"sensor.{{}}_cell_resistance_{cell}" for cell in CELLS),
    "sensor.{}_average_cell_voltage",
    "sensor.{}_balancer_status_bitmask",
    "sensor.{}_balancing_current",
    "sensor.{}_capacity_remaining",
    "sensor.{}_charging_cycles",
    "sensor.{}_charging_power",
    "sensor.{}_current",
    "sensor.{}_delta_cell_voltage",
    "sensor.{}_discharging_power",
    "sensor.{}_errors",
    "sensor.{}_full_charge_capacity",
    "sensor.{}_hardware_version",
    "sensor.{}_max_voltage_cell",
    "sensor.{}_min_voltage_cell",
    "sensor.{}_mosfet_temperature",
    "sensor.{}_power",
    "sensor.{}_software_version",
    "sensor.{}_state_of_charge",
    "sensor.{}_temperature_sensor_1",
    "sensor.{}_temperature_sensor_2",
    "sensor.{}_temperature_sensor_4",
    "sensor.{}_total_charging_cycle_capacity",
    "sensor.{}_total_runtime_formatted",
    "sensor.{}_total_voltage",
    # The older names of two of them, for older releases of the card.
    "sensor.{}_power_tube_temperature",
    "sensor.{}_total_battery_capacity_setting",
    "binary_sensor.{}_balancing",
    # With tuning allowed.
    "number.{}_balance_trigger_voltage",
    "switch.{}_balancer",
    "switch.{}_charging",
    "switch.{}_discharging",
    "switch.{}_heating",
}
"""Entity ids that jk-bms-card reads of a battery with 16 cells, by its prefix."""

ROWS: Final = SENSORS + COMPATIBILITY_SENSORS + BINARY_SENSORS
RECIPES: Final = [
    yaml.safe_load(block.text)
    for block in blocks("yaml")
    if re.search(r"custom:jk-?bms-card", block.text)
]
"""Those of docs/dashboard.md for a battery named House."""
CARD: Final = RECIPES[0]


@pytest.fixture
def bms(make_bms: Callable[..., VirtualBms]) -> VirtualBms:
    """Return a battery that has everything the card shows."""
    return make_bms(MODEL, name="House")


async def set_option(hass: HomeAssistant, entry: MockConfigEntry, *, on: bool) -> None:
    """Change the option by the form, which loads the entry again."""
    flow = await hass.config_entries.options.async_init(entry.entry_id)
    await hass.config_entries.options.async_configure(
        flow["flow_id"], {"compatibility": on}
    )
    await hass.async_block_till_done(wait_background_tasks=True)


def reading(**values: Any) -> Reading:
    """Return a reading with these values of the cells."""
    return Reading(
        time=0.0,
        layout=Layout.JK02_32S,
        device_info=DeviceInfo(
            device_model="JK", software_version="19.27", hardware_version="19A"
        ),
        cell_data=CellData(**values),
        settings=None,
    )


def value(key: str, **values: Any) -> Any:
    """Return what the sensor shows of a reading with these values."""
    row = next(row for row in COMPATIBILITY_SENSORS if row.key == key)
    return row.value_fn(reading(**values))


async def test_every_entity_that_the_card_reads_exists_with_the_option(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """The entity ids have the name of the battery as prefix, and all have a state."""
    proxy.advertise(bms)
    await setup_integration(hass, bms, compatibility=True, controls="tuning")
    missing = {
        entity_id
        for entity_id in READ_BY_CARD
        if not (state := hass.states.get(entity_id.format(CARD["prefix"])))
        or state.state in {"unavailable", "unknown"}
    }
    assert missing == set()


@pytest.mark.parametrize("controls", ["read_only", "tuning"])
async def test_every_entity_that_a_recipe_names_exists_with_the_option(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, controls: str
) -> None:
    """A recipe without switches is for a battery without controls."""
    proxy.advertise(bms)
    await setup_integration(hass, bms, compatibility=True, controls=controls)
    named = {
        entity_id
        for recipe in RECIPES
        for entity_id in (
            *recipe.get("entities", {}).values(),
            *(value for key, value in recipe.items() if key.startswith("entity_")),
        )
        if controls == "tuning" or not entity_id.startswith("switch.")
    }
    assert len(named) > 4
    assert {
        entity_id
        for entity_id in named
        if not (state := hass.states.get(entity_id)) or state.state == "unavailable"
    } == set()


async def test_option_enables_and_disables_the_group(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """Off by default; what other uses may need by then stays enabled."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    registry = er.async_get(hass)

    def enabled() -> set[str]:
        return {
            key
            for entity in er.async_entries_for_config_entry(registry, entry.entry_id)
            if (key := entity.unique_id.partition("_")[2]) in COMPATIBILITY_KEYS
            and entity.disabled_by is None
        }

    # Of the binary sensor with the key of a switch.
    assert enabled() == {"heating"}
    assert hass.states.get("sensor.house_errors") is None
    await set_option(hass, entry, on=True)
    existing = {row.key for row in ROWS if row.exists(entry.runtime_data.data)}
    assert enabled() == COMPATIBILITY_KEYS & existing
    state = hass.states.get("sensor.house_errors")
    assert state
    assert state.state == ""

    await set_option(hass, entry, on=False)
    assert enabled() == (COMPATIBILITY_KEYS - ONLY_FOR_CARDS) & existing
    assert hass.states.get("sensor.house_errors") is None


async def test_option_respects_what_the_user_disabled_or_enabled(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """What the user disabled stays disabled; saving other options disables nothing."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    registry = er.async_get(hass)
    registry.async_update_entity("sensor.house_errors", disabled_by=None)
    await set_option(hass, entry, on=False)
    assert hass.states.get("sensor.house_errors")

    registry.async_update_entity(
        "sensor.house_errors", disabled_by=RegistryEntryDisabler.USER
    )
    await set_option(hass, entry, on=True)
    assert hass.states.get("sensor.house_errors") is None
    assert hass.states.get("sensor.house_software_version")
    await set_option(hass, entry, on=False)
    errors = registry.async_get("sensor.house_errors")
    assert errors
    assert errors.disabled_by is RegistryEntryDisabler.USER


def test_the_group_is_that_of_the_table() -> None:
    """Each row is a diagnostic that is off by default, and so is the rest of the group."""
    assert {row.key for row in COMPATIBILITY_SENSORS} == ONLY_FOR_CARDS
    for row in COMPATIBILITY_SENSORS:
        assert row.entity_category is EntityCategory.DIAGNOSTIC
    default = {row.key: row.entity_registry_enabled_default for row in ROWS}
    assert [key for key in COMPATIBILITY_KEYS if default[key]] == ["heating"]
    switches = {row.key: row.entity_registry_enabled_default for row in SWITCHES}
    assert not switches["heating"]


def test_errors_are_words_that_fit_into_a_state() -> None:
    """A card shows the text as it is, and nothing while it is empty."""
    assert value("errors") is None
    assert value("errors", alarms=()) == ""
    assert value("errors", alarms=("default_password",)) == ""
    two = ("cell_overvoltage", "wire_resistance")
    assert value("errors", alarms=two) == "Cell overvoltage; Wire resistance"
    all_names = tuple(str(alarm.name).lower() for alarm in Alarm)
    text = value("errors", alarms=all_names)
    assert len(text) <= 255
    assert text.endswith("…")


@pytest.mark.parametrize(
    ("balancer", "mask"),
    [
        (None, None),
        (BalancerState.UNKNOWN, None),
        (BalancerState.OFF, 0),
        (BalancerState.CHARGING, 0b1000),
        (BalancerState.DISCHARGING, 0b10),
    ],
)
def test_balancer_bitmask_has_the_cell_that_is_balanced(
    balancer: BalancerState | None, mask: int | None
) -> None:
    """The balancer takes from the highest cell, or gives to the lowest."""
    cells = {"max_cell": 4, "min_cell": 2}
    assert value("balancer_status_bitmask", balancer=balancer, **cells) == mask


def test_balancer_bitmask_is_zero_without_a_cell() -> None:
    """A loose connector leaves no cell to name."""
    assert value("balancer_status_bitmask", balancer=BalancerState.CHARGING) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0, "0h"),
        (3599, "0h"),
        (86_400, "1d 0h"),
        (365 * 86_400 + 7200, "1y 2h"),
        (2 * 365 * 86_400 + 12 * 86_400 + 5 * 3600, "2y 12d 5h"),
    ],
)
def test_total_runtime_is_formatted(seconds: int | None, text: str | None) -> None:
    """Years, days and hours, without those that are zero."""
    assert value("total_runtime_formatted", up_time=seconds) == text


def test_versions_are_those_of_the_device() -> None:
    """Their source is the device information."""
    assert value("software_version") == "19.27"
    assert value("hardware_version") == "19A"


def test_settings_may_be_missing() -> None:
    """Some batteries do not send them."""
    assert value("total_battery_capacity_setting") is None
    row = COMPATIBILITY_SENSORS[-1]
    assert not row.exists(replace(reading(), settings=None))
