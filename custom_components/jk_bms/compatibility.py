"""The entities that cards written for esphome-jk-bms read, enabled by one option."""

from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity_registry import RegistryEntry, RegistryEntryDisabler

from .jkbms.models import MAX_CELLS

ONLY_FOR_CARDS: Final = frozenset(
    {
        "balancer_status_bitmask",
        "errors",
        "hardware_version",
        "power_tube_temperature",
        "software_version",
        "total_battery_capacity_setting",
        "total_runtime_formatted",
    }
)
"""Keys of entities that duplicate other entities in the form that such cards expect."""
COMPATIBILITY_KEYS: Final = (
    ONLY_FOR_CARDS
    | {
        "average_cell_voltage",
        "balance_trigger_voltage",
        "balancing_allowed",
        "charging_allowed",
        "charging_power",
        "discharging_allowed",
        "discharging_power",
        # The switch; the binary sensor is on by default.
        "heating",
        "heating_allowed",
    }
    | {f"cell_resistance_{cell}" for cell in range(1, MAX_CELLS + 1)}
)
"""Keys of all entities that such cards read and that are off by default."""


@callback
def async_enable_group(hass: HomeAssistant, entry_id: str) -> None:
    """Enable the known entities of the group, except those that the user disabled."""
    registry = er.async_get(hass)
    for entity in er.async_entries_for_config_entry(registry, entry_id):
        if (
            entity.disabled_by is RegistryEntryDisabler.INTEGRATION
            and _key(entity) in COMPATIBILITY_KEYS
        ):
            registry.async_update_entity(entity.entity_id, disabled_by=None)


@callback
def async_disable_group(hass: HomeAssistant, entry_id: str) -> None:
    """Disable the entities only for cards; the others may be in use elsewhere by now."""
    registry = er.async_get(hass)
    for entity in er.async_entries_for_config_entry(registry, entry_id):
        if entity.disabled_by is None and _key(entity) in ONLY_FOR_CARDS:
            registry.async_update_entity(
                entity.entity_id, disabled_by=RegistryEntryDisabler.INTEGRATION
            )


def _key(entity: RegistryEntry) -> str:
    """Return the key of an entity; its unique id is the address and the key."""
    return entity.unique_id.partition("_")[2]
