"""What all entities of a battery have in common."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import override

from homeassistant.components.bluetooth.passive_update_coordinator import (
    PassiveBluetoothCoordinatorEntity,
)
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_ADDRESS, Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import Entity, EntityDescription
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import DOMAIN
from .coordinator import JkBmsConfigEntry, JkBmsCoordinator
from .jkbms.client import Reading


@dataclass(frozen=True, kw_only=True)
class JkBmsEntityDescription[ValueT](EntityDescription):
    """One value of a reading; `key` is its unique id suffix and translation key."""

    value_fn: Callable[[Reading], ValueT | None]
    """The value, `None` where the battery does not carry it."""
    gone_fn: Callable[[Reading], bool] = lambda _: False
    """Whether the entity is to be forgotten, since its subject is no more."""


class JkBmsEntity[ValueT](PassiveBluetoothCoordinatorEntity[JkBmsCoordinator]):
    """An entity that shows one value of the latest reading."""

    _attr_has_entity_name = True
    _shown: tuple[bool, ValueT | None]

    def __init__(
        self, coordinator: JkBmsCoordinator, description: JkBmsEntityDescription[ValueT]
    ) -> None:
        """Take all that is particular to the entity from its description."""
        super().__init__(coordinator)
        self.entity_description = description
        self._value_fn = description.value_fn
        self._attr_unique_id = _unique_id(coordinator, description)
        self._attr_translation_key = description.translation_key or description.key
        # The coordinator keeps the rest of the device in the registry.
        self._attr_device_info = DeviceInfo(
            connections={(dr.CONNECTION_BLUETOOTH, coordinator.address)}
        )

    @override
    async def async_added_to_hass(self) -> None:
        """Note what the state is going to show first."""
        await super().async_added_to_hass()
        self._shown = self.available, self._value

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state only if it would show something else."""
        if (to_show := (self.available, self._value)) != self._shown:
            self._shown = to_show
            super()._handle_coordinator_update()

    @property
    def _value(self) -> ValueT | None:
        """Return the value in the latest reading."""
        return self._value_fn(self.coordinator.data)


class JkBmsLinkEntity(Entity):
    """An entity about the link, which is there whether the battery is or not."""

    _attr_has_entity_name = True
    _attr_should_poll = False

    def __init__(
        self, coordinator: JkBmsCoordinator, description: EntityDescription
    ) -> None:
        """Take all that is particular to the entity from its description."""
        self.coordinator = coordinator
        self.entity_description = description
        self._attr_unique_id = _unique_id(coordinator, description)
        self._attr_translation_key = description.key
        self._attr_device_info = DeviceInfo(
            connections={(dr.CONNECTION_BLUETOOTH, coordinator.address)}
        )


def _unique_id(coordinator: JkBmsCoordinator, description: EntityDescription) -> str:
    """Return the id of an entity among all of this integration."""
    return f"{coordinator.address}_{description.key}"


@callback
def async_setup_entities[ValueT](
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    *,
    platform: Platform,
    descriptions: Iterable[JkBmsEntityDescription[ValueT]],
    entity_class: type[JkBmsEntity[ValueT]],
) -> None:
    """Keep an entity for every value that the battery carries or used to carry."""
    coordinator = entry.runtime_data
    registry = er.async_get(hass)
    added: set[str] = set()

    @callback
    def follow_reading() -> None:
        """Add what is new in the latest reading, forget what is gone."""
        if not coordinator.last_update:
            return
        reading = coordinator.data
        new = []
        for description in descriptions:
            entity_id = registry.async_get_entity_id(
                platform, DOMAIN, _unique_id(coordinator, description)
            )
            if description.gone_fn(reading):
                added.discard(description.key)
                if entity_id:
                    registry.async_remove(entity_id)
            elif description.key not in added and (
                # One seen before keeps its entity while its value is missing.
                entity_id or description.value_fn(reading) is not None
            ):
                added.add(description.key)
                new.append(entity_class(coordinator, description))
        if new:
            async_add_entities(new)

    follow_reading()
    entry.async_on_unload(coordinator.async_add_listener(follow_reading))


async def async_move_entities(
    hass: HomeAssistant, entry: ConfigEntry, address: str
) -> None:
    """Let device and entities of an unloaded entry follow it to a new address."""
    old = entry.data[CONF_ADDRESS]
    devices = dr.async_get(hass)
    if device := devices.async_get_device_by_connection(
        (dr.CONNECTION_BLUETOOTH, old), entry.entry_id
    ):
        devices.async_update_device(
            device.id, new_connections={(dr.CONNECTION_BLUETOOTH, address)}
        )
    await er.async_migrate_entries(
        hass,
        entry.entry_id,
        lambda entity: {
            "new_unique_id": f"{address}{entity.unique_id.removeprefix(old)}"
        },
    )
