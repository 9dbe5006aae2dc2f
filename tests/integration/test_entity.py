"""Names and ids of the entities, and what a user's change of them does."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.entity import Pace
from custom_components.jk_bms.jkbms.models import INFORMATION, Alarm
from homeassistant.const import STATE_ON, EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity import Entity
from homeassistant.helpers.translation import async_get_translations
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import pass_time, setup_integration

type MakeBms = Callable[..., VirtualBms]

CELL_OVERVOLTAGE = 1 << 4
FAULTS = {str(alarm.name).lower() for alarm in Alarm} - INFORMATION
IN_PLACE = hasattr(Entity, "async_entity_id_changed")
"""Whether this Home Assistant renames entities without removing them."""


@pytest.fixture
def model() -> str:
    """Take the unit with the most entities."""
    return "JK-PB2A16S20P 19.27"


@pytest.fixture(autouse=True)
def no_paces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every reading be written."""
    monkeypatch.setattr(Pace, "allows_write", lambda *_: True)


async def set_up(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> list[er.RegistryEntry]:
    """Set a battery up and return its entities."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    return er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)


@pytest.mark.parametrize("language", ["en", "de", "ja", "tr", "uk", "zh-Hans"])
async def test_entity_id_comes_from_the_key_in_every_language(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    model: str,
    language: str,
) -> None:
    """The shown name is translated; the entity id is not."""
    hass.config.language = language
    bms = make_bms(model, name="battery", dip_address=None)
    entities = await set_up(hass, proxy, bms)
    assert len(entities) > 150
    for entity in entities:
        key = entity.unique_id.removeprefix(f"{bms.address}_")
        is_fault = entity.domain == "binary_sensor" and key in FAULTS
        suffix = "_alarm" if is_fault else ""
        assert entity.entity_id == f"{entity.domain}.battery_{key}{suffix}"


@pytest.mark.parametrize("language", ["en", "de"])
async def test_every_entity_has_an_entity_name(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, language: str
) -> None:
    """Each has a translated name of its own, without that of the battery."""
    hass.config.language = language
    entities = await set_up(hass, proxy, bms)
    texts = await async_get_translations(hass, language, "entity", [DOMAIN])
    names = set()
    for entity in entities:
        assert entity.has_entity_name, entity.entity_id
        path = f"component.{DOMAIN}.entity.{entity.domain}.{entity.translation_key}"
        number = entity.unique_id.rpartition("_")[2]
        name = texts.get(f"{path}.name")
        assert name, f"{path} has no name"
        assert entity.original_name == name.format(cell=number)
        assert bms.spec.name not in str(entity.original_name)
        names.add((entity.domain, entity.original_name))
    assert len(names) == len(entities)


async def test_live_values_are_no_diagnostics(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """The category comes from the description."""
    categories = {
        entity.translation_key: entity.entity_category
        for entity in await set_up(hass, proxy, bms)
    }
    assert categories["total_voltage"] is None
    assert categories["total_runtime"] is EntityCategory.DIAGNOSTIC
    assert categories["bluetooth_link"] is EntityCategory.CONFIG


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note the entities that are removed."""
    removed: list[str] = []

    async def note(entity: Entity) -> None:
        removed.append(entity.entity_id)

    monkeypatch.setattr(Entity, "async_will_remove_from_hass", note)
    return removed


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
async def test_rename_while_running_keeps_every_entity_alive(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entity_registry: er.EntityRegistry,
    removed: list[str],
) -> None:
    """Each platform goes on under the new id; 2026.11 need not remove anything."""
    prefix = f"{bms.address}_"
    entities = {
        f"{entity.domain}.{entity.unique_id.removeprefix(prefix)}": entity.entity_id
        for entity in await set_up(hass, proxy, bms)
    }
    renamed = (
        "sensor.current",
        "sensor.energy_charged",
        "sensor.time_to_empty",
        "sensor.signal_strength",
        "binary_sensor.cell_overvoltage",
        "event.alarm",
        "event.log_entry",
        "switch.bluetooth_link",
        "button.refresh",
    )
    for name in renamed:
        domain, _, key = name.partition(".")
        entity_registry.async_update_entity(
            entities[name], new_entity_id=f"{domain}.my_{key}"
        )
    await hass.async_block_till_done()
    assert bool(removed) is not IN_PLACE
    for name in renamed:
        domain, _, key = name.partition(".")
        assert hass.states.get(entities[name]) is None
        assert hass.states.get(f"{domain}.my_{key}"), name

    def shown(entity_id: str) -> Any:
        state = hass.states.get(entity_id)
        assert state
        return state

    bms.battery.override(current=-12.5, alarms=CELL_OVERVOLTAGE)
    proxy.place(bms, rssi=-71)
    proxy.advertise(bms)
    await pass_time(hass)
    assert shown("sensor.my_current").state == "-12.5"
    assert shown("sensor.my_signal_strength").state == "-71"
    assert shown("binary_sensor.my_cell_overvoltage").state == STATE_ON
    assert shown("event.my_alarm").attributes["alarm"] == "cell_overvoltage"
    reads = len(bms.connections)
    await hass.services.async_call(
        "button", "press", {"entity_id": "button.my_refresh"}, blocking=True
    )
    assert len(bms.connections) == reads + 1
    await hass.services.async_call(
        "switch", "turn_off", {"entity_id": "switch.my_bluetooth_link"}, blocking=True
    )
    assert shown("switch.my_bluetooth_link").state == "off"


async def test_renamed_alarm_event_is_not_reported_again(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entity_registry: er.EntityRegistry,
) -> None:
    """The state under the new id is the event that was the last before."""
    bms.battery.override(alarms=CELL_OVERVOLTAGE)
    await set_up(hass, proxy, bms)
    (old_id,) = hass.states.async_entity_ids("event")
    before = hass.states.get(old_id)
    assert before
    entity_registry.async_update_entity(old_id, new_entity_id="event.mine")
    await hass.async_block_till_done()
    await pass_time(hass)
    after = hass.states.get("event.mine")
    assert after
    assert after.state == before.state
    assert after.attributes["alarm"] == "cell_overvoltage"
