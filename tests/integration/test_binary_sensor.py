"""What is on, what is off, and what is wrong."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from custom_components.jk_bms.binary_sensor import BINARY_SENSORS, UNNAMED
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.jkbms.models import Alarm, Settings
from homeassistant.components.binary_sensor import DOMAIN as BINARY_SENSOR_DOMAIN
from homeassistant.const import (
    ATTR_DEVICE_CLASS,
    STATE_OFF,
    STATE_ON,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er, issue_registry as ir
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.firmware import FIRMWARES
from tests.virtual_bms.scanner import VirtualProxy

from . import MAX_DATA_AGE, pass_time, setup_integration

type MakeBms = Callable[..., VirtualBms]

SWITCHES = {"charging", "discharging"}
FAULTS = {"problem"}
ALARMS = [str(alarm.name).lower() for alarm in Alarm]
"""In the order of their bits."""


def key_of(entity_id: str) -> str:
    """Return the key that an entity id is made of."""
    return entity_id.removeprefix("binary_sensor.battery_").removesuffix("_alarm")


def shown(hass: HomeAssistant) -> dict[str, str]:
    """Return what the binary sensors show, by their key."""
    return {
        key_of(state.entity_id): state.state
        for state in hass.states.async_all(BINARY_SENSOR_DOMAIN)
    }


@pytest.mark.parametrize(
    ("model", "carried"),
    [
        ("JK-B2A16S 3.3.0", {"balancing"}),
        ("JK_DZ11B2A24S 11.55", {"balancing"} | FAULTS),
        ("JK-B2A24S15P 10.07", {"balancing"} | FAULTS | SWITCHES),
        ("JK_B2A8S20P 11.48", {"balancing", "heating"} | FAULTS | SWITCHES),
        ("JK_B2A20S20P 11.288H", {"balancing", "heating"} | FAULTS | SWITCHES),
        (
            "JK_PB2A16S20P 15.41",
            {"balancing", "heating"} | FAULTS | SWITCHES,
        ),
    ],
)
async def test_each_layout_has_entities_for_what_it_carries(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    model: str,
    carried: set[str],
) -> None:
    """Only what a unit reports has an entity."""
    bms = make_bms(model, name="battery", dip_address=None)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    assert set(shown(hass)) == carried


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
@pytest.mark.parametrize("model", ["JK_PB2A16S20P 15.41"])
async def test_each_state_shows_its_own_value(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """Each state shows its value and does not affect the others."""
    bms = make_bms(model, name="battery", dip_address=None)
    bms.battery.override(charging=True, discharging=True, balancer=0, heating=False)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    expected = {
        "charging": STATE_ON,
        "discharging": STATE_ON,
        "balancing": STATE_OFF,
        "heating": STATE_OFF,
        "precharging": STATE_OFF,
        "charger_connected": STATE_OFF,
        "dry_contact_1": STATE_OFF,
        "dry_contact_2": STATE_OFF,
        "problem": STATE_OFF,
    }

    def states() -> dict[str, str]:
        now = shown(hass)
        return {key: now[key] for key in expected}

    assert states() == expected
    for field, value, key, state in (
        ("charging", False, "charging", STATE_OFF),
        ("discharging", False, "discharging", STATE_OFF),
        ("balancer", 1, "balancing", STATE_ON),
        ("charging", True, "charging", STATE_ON),
        ("balancer", 2, "balancing", STATE_ON),
        ("heating", True, "heating", STATE_ON),
        ("balancer", 0, "balancing", STATE_OFF),
        ("heating", False, "heating", STATE_OFF),
        ("precharging", True, "precharging", STATE_ON),
        ("charger_plugged", True, "charger_connected", STATE_ON),
        ("dry_contacts", 0b010, "dry_contact_1", STATE_ON),
        ("dry_contacts", 0b110, "dry_contact_2", STATE_ON),
        ("dry_contacts", 0b100, "dry_contact_1", STATE_OFF),
        ("alarms", 1 << 11, "problem", STATE_ON),
        ("alarms", 0, "problem", STATE_OFF),
    ):
        bms.battery.override(**{field: value})
        await pass_time(hass)
        expected[key] = state
        assert states() == expected


async def test_unknown_code_is_unknown_and_old_data_unavailable(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """A code without a name is unknown; outdated values are unavailable."""
    bms = make_bms(model, name="battery")
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    bms.battery.override(balancer=9)
    await pass_time(hass)
    assert shown(hass)["balancing"] == STATE_UNKNOWN
    proxy.unplug()
    await pass_time(hass, MAX_DATA_AGE)
    assert set(shown(hass).values()) == {STATE_UNAVAILABLE}


def attributes(hass: HomeAssistant, key: str) -> Any:
    """Return the attributes of a binary sensor."""
    (found,) = (
        state
        for state in hass.states.async_all(BINARY_SENSOR_DOMAIN)
        if key_of(state.entity_id) == key
    )
    return found.attributes


@pytest.mark.parametrize(
    ("alarms", "values", "faults"),
    [
        (0, {}, []),
        (1 << 11, {}, ["cell_undervoltage"]),
        (1 << 11 | 1 << 0, {}, ["wire_resistance", "cell_undervoltage"]),
        # Information.
        (1 << 18 | 1 << 19, {}, []),
        (1 << 18 | 1 << 13, {}, ["discharge_overcurrent"]),
        # Full, and nothing wrong about it.
        (1 << 4, {"charging": False, "soc": 100}, []),
        (1 << 4, {"charging": False, "soc": 99}, []),
        (1 << 4, {"charging": True, "soc": 100}, ["cell_overvoltage"]),
        (1 << 4, {"charging": False, "soc": 98}, ["cell_overvoltage"]),
        (1 << 5, {"charging": False, "soc": 100}, ["pack_overvoltage"]),
    ],
)
async def test_problem_is_on_for_faults_only(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    model: str,
    alarms: int,
    values: dict[str, Any],
    faults: list[str],
) -> None:
    """Faults turn it on and are named; information and a full battery do not."""
    bms = make_bms(model, name="battery")
    bms.battery.override(alarms=alarms, **values)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    assert shown(hass)["problem"] == (STATE_ON if faults else STATE_OFF)
    assert attributes(hass, "problem")["alarms"] == faults


async def test_impossible_value_is_a_problem_with_an_issue(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """A sensor that fails hides nothing else; the issue goes when it is mended."""
    bms = make_bms(model, name="battery")
    bms.battery.override(temperatures=(160.0, 25.0, None, None))
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    issue_id = f"{entry.entry_id}_implausible_values"
    assert shown(hass)["problem"] == STATE_ON
    assert attributes(hass, "problem")["implausible"] == ["battery_temperature_1"]
    issue = ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
    assert issue
    assert issue.translation_placeholders == {
        "name": entry.title,
        "fields": "Temperature 1",
    }

    bms.battery.override(temperatures=(25.0, 25.0, None, None))
    await pass_time(hass)
    assert shown(hass)["problem"] == STATE_OFF
    assert attributes(hass, "problem")["implausible"] == []
    assert not ir.async_get(hass).async_get_issue(DOMAIN, issue_id)


async def test_second_fault_changes_the_attribute(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """The names change even though the state does not."""
    bms = make_bms(model, name="battery")
    bms.battery.override(alarms=1 << 11)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    bms.battery.override(alarms=1 << 12)
    await pass_time(hass)
    assert attributes(hass, "problem")["alarms"] == ["pack_undervoltage"]


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
@pytest.mark.parametrize(
    ("model", "alarms"),
    [
        ("JK-B2A16S 3.3.0", []),
        ("JK-B2A24S15P 10.07", ALARMS[:16]),
        ("JK_B2A8S20P 11.48", ALARMS),
    ],
)
async def test_each_alarm_has_its_own_entity(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    model: str,
    alarms: list[str],
) -> None:
    """Each alarm that the layout has a bit for has its own state.

    What a bit without a name means is not known, so it appears when it is first raised.
    """
    bms = make_bms(model, name="battery")
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    named = [key for key in alarms if key not in UNNAMED]
    assert [key for key in ALARMS if key in shown(hass)] == named
    coordinator: Any = entry.runtime_data
    for name in alarms:
        reading = coordinator.data
        coordinator._async_publish(
            replace(reading, cell_data=replace(reading.cell_data, alarms=(name,)))
        )
        await hass.async_block_till_done()
        states = shown(hass)
        assert [key for key in alarms if states.get(key) == STATE_ON] == [name]
    assert [key for key in ALARMS if key in shown(hass)] == alarms


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
async def test_alarms_are_problems_unless_informative(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """All alarms but the informative ones are problems; one names its cells."""
    bms = make_bms(model, name="battery")
    bms.battery.override(alarms=1 | 7 << 29, wire_alarm=0b101)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    assert {
        key for key in ALARMS if attributes(hass, key).get(ATTR_DEVICE_CLASS) is None
    } == {"gps_disconnected", "default_password"}
    assert {
        attributes(hass, key).get(ATTR_DEVICE_CLASS)
        for key in {*ALARMS, "problem"} - {"gps_disconnected", "default_password"}
    } == {"problem"}
    assert attributes(hass, "charger_connected")[ATTR_DEVICE_CLASS] == "plug"
    assert attributes(hass, "wire_resistance")["cells"] == [1, 3]
    assert {key for key in ALARMS if "cells" in attributes(hass, key)} == {
        "wire_resistance"
    }


SWITCH_BITS = {
    "heating_allowed": 0,
    "temperature_sensors_disabled": 1,
    "gps_heartbeat": 2,
    "shared_port": 3,
    "display_always_on": 4,
    "special_charger": 5,
    "smart_sleep": 6,
    "parallel_limiter_disabled": 7,
    "timed_storage": 8,
    "charging_float_mode": 9,
    "emergency_trigger": 10,
    "dry_contact_intermittent": 11,
    "discharge_overcurrent_protection_2": 12,
    "discharge_overcurrent_protection_3": 13,
    "gps_lock_charging": 14,
    "gps_lock_discharging": 15,
}
ALLOWED = {
    "charging_allowed": "charging",
    "discharging_allowed": "discharging",
    "balancing_allowed": "balancer",
}
SETTINGS = [*ALLOWED, *SWITCH_BITS]
OFF: dict[str, Any] = {**dict.fromkeys(ALLOWED.values(), False), "switches": 0}


DECLARES_NOTHING = "declares nothing"


@pytest.fixture
def _declares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a firmware that shows all settings, since it does not say which it uses."""
    monkeypatch.setitem(
        FIRMWARES,
        DECLARES_NOTHING,
        replace(FIRMWARES["11.48"], info_masks=bytes(32), settings_masks=bytes(9)),
    )


@pytest.mark.usefixtures("entity_registry_enabled_by_default", "_declares_nothing")
@pytest.mark.parametrize(
    ("changes", "on"),
    [
        ({}, None),
        *(({field: True}, key) for key, field in ALLOWED.items()),
        *(({"switches": 1 << bit}, key) for key, bit in SWITCH_BITS.items()),
    ],
)
async def test_each_setting_shows_its_own_value(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    model: str,
    changes: dict[str, Any],
    on: str | None,
) -> None:
    """A setting is apart from the state that it allows, and from other settings."""
    bms = make_bms(model, name="battery", family=DECLARES_NOTHING)
    bms.battery.settings = replace(bms.battery.settings, **OFF | changes)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    states = shown(hass)
    assert {key: states[key] for key in SETTINGS} == {
        key: STATE_ON if key == on else STATE_OFF for key in SETTINGS
    }


def test_every_setting_has_an_entity() -> None:
    """Switches are here; test_sensor.py covers the numbers. No key is used twice."""
    switches = [field for field in fields(Settings) if "bool" in str(field.type)]
    assert len(switches) == len(SETTINGS)
    keys = [description.key for description in BINARY_SENSORS]
    assert len(set(keys)) == len(keys)


async def test_rarely_needed_entities_are_disabled_or_diagnostic(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    entity_registry: er.EntityRegistry,
) -> None:
    """Entities that few users need are disabled; those that are no state are diagnostic."""
    bms = make_bms("JK_PB2A16S20P 15.41", name="battery", dip_address=None)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    off = {
        key_of(entity.entity_id): entity.entity_category
        for entity in er.async_entries_for_config_entry(entity_registry, entry.entry_id)
        if entity.domain == BINARY_SENSOR_DOMAIN and entity.disabled
    }
    # It declares none of these.
    absent = {
        "emergency_trigger",
        "gps_heartbeat",
        "gps_lock_charging",
        "gps_lock_discharging",
        "shared_port",
        "special_charger",
    }
    assert off == {
        "precharging": None,
        "charger_connected": None,
        "dry_contact_1": None,
        "dry_contact_2": None,
        **dict.fromkeys({*ALARMS, *SETTINGS} - UNNAMED - absent, "diagnostic"),
    }
