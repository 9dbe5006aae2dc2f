"""The base of all entities of a battery, and how they are added."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, override

from homeassistant.components.bluetooth.passive_update_coordinator import (
    PassiveBluetoothCoordinatorEntity,
)
from homeassistant.const import CONF_ADDRESS, Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import EntityDescription
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.util import slugify

from .compatibility import COMPATIBILITY_KEYS
from .const import DOMAIN
from .coordinator import JkBmsConfigEntry, JkBmsCoordinator
from .device import async_find_device
from .jkbms.models import Reading
from .jkbms.protocol.changes import is_meaningful


class Pace(IntEnum):
    """Minimum seconds between two state writes of an entity.

    The periods start at the same moments for all entities, so the values of one pace
    always come from the same reading.
    """

    LIVE = 0
    CELLS = 60
    """Live while a cell is close to one of its limits."""
    SLOW = 300

    def allows_write(self, written_at: float, now: float) -> bool:
        """Return whether a new period has started; both are seconds of the same clock."""
        return self is Pace.LIVE or now // self > written_at // self


WIRE_RESISTANCE: Final = "wire_resistance"
"""The alarm that names its cells."""
NEAR_LIMIT: Final = 0.02
"""Volts between a cell and a protection limit, below which cell values are live."""


@dataclass(frozen=True, kw_only=True)
class JkBmsEntityDescription[ValueT](EntityDescription):
    """One value of a reading; `key` is the suffix of its unique id.

    It is the translation key and the entity id as well, unless the description names
    others.
    """

    value_fn: Callable[[Reading], ValueT | None]
    """The value, `None` where the battery does not carry it."""
    attributes_fn: Callable[[Reading], dict[str, Any] | None] | None = None
    """The state attributes."""
    exists_fn: Callable[[Reading], bool] | None = None
    """Whether the battery carries the value, where `value_fn` cannot say."""
    gone_fn: Callable[[Reading], bool] | None = None
    """Whether to remove the entity because its cell or log does not exist."""
    pace: Pace = Pace.LIVE
    noise: float = 0.0
    """A change smaller than this may be noise and is written at the slow pace."""
    object_id: str | None = None
    """The entity id after the battery's name, where it is not the key."""

    def is_gone(self, reading: Reading) -> bool:
        """Return whether to remove the entity because its cell or log does not exist."""
        return self.gone_fn is not None and self.gone_fn(reading)

    def exists(self, reading: Reading) -> bool:
        """Return whether the battery carries the value."""
        if self.exists_fn:
            return self.exists_fn(reading)
        return self.value_fn(reading) is not None


class _BatteryEntity(PassiveBluetoothCoordinatorEntity[JkBmsCoordinator]):
    """An entity of a battery."""

    _attr_has_entity_name = True

    def __init__(
        self, coordinator: JkBmsCoordinator, description: EntityDescription
    ) -> None:
        """Initialise the entity from its description."""
        super().__init__(coordinator)
        self.entity_description = description
        self._attr_unique_id = unique_id(coordinator, description)
        self._attr_translation_key = description.translation_key or description.key
        # The coordinator keeps the rest of the device in the registry.
        self._attr_device_info = DeviceInfo(
            connections={(dr.CONNECTION_BLUETOOTH, coordinator.address)}
        )

    @override
    async def async_added_to_hass(self) -> None:
        """Restore the state, then subscribe to readings."""
        # Home Assistant adds all entities of a platform in one go. Let other tasks run
        # between two of them, or the event loop is blocked for longer than 20 ms.
        await asyncio.sleep(0)
        await self._async_restore()
        self._leave_activity_quiet()
        await super().async_added_to_hass()
        self._note_written()

    @override
    async def async_will_remove_from_hass(self) -> None:
        """Leave no "unavailable" line in Activity."""
        await super().async_will_remove_from_hass()
        self._leave_activity_quiet()

    @callback
    def _leave_activity_quiet(self) -> None:
        """Remove the current state so that Activity shows no transition.

        Otherwise each reload adds two lines to Activity for each entity without a unit,
        although nothing happened to the battery: one for becoming unavailable and one
        for its value.
        """
        self.hass.states.async_remove(self.entity_id)

    async def _async_restore(self) -> None:
        """Restore data from before a restart; runs before the first state is written.

        Subclasses extend it instead of `async_added_to_hass`: each class that extends
        that one would need an `async_entity_id_changed` of its own.
        """

    @callback
    def _note_written(self) -> None:
        """Note the state that Home Assistant is about to write."""

    @callback
    def async_entity_id_changed(self, old_entity_id: str) -> None:
        """Allow Home Assistant 2026.11 and later to change the entity id in place.

        Nothing here depends on the entity id. Without this method the entity would be
        removed and added again.
        """

    @property
    @override
    def entity_registry_enabled_default(self) -> bool:
        """Return whether a new entity is enabled; an option enables a whole group."""
        return super().entity_registry_enabled_default or (
            self.entity_description.key in COMPATIBILITY_KEYS
            and self.coordinator.options.compatibility
        )

    @property
    @override
    def suggested_object_id(self) -> str:
        """Return the entity id after the battery's name, in English.

        The default would depend on the language that Home Assistant was set up in.
        Dashboards need the same entity ids in every language. A name that yields no
        entity id, such as an emoji, is replaced by the domain.
        """
        return object_id_of(self.coordinator.config_entry.title, self._object_id)

    @property
    def _object_id(self) -> str:
        return self.entity_description.key


class JkBmsEntity[ValueT](_BatteryEntity):
    """An entity that shows one value of the latest reading."""

    def __init__(
        self, coordinator: JkBmsCoordinator, description: JkBmsEntityDescription[ValueT]
    ) -> None:
        """Initialise the entity from its description."""
        super().__init__(coordinator, description)
        self._description = description
        self._written: tuple[bool, ValueT | None, dict[str, Any] | None]
        self._written_at: float

    @property
    @override
    def _object_id(self) -> str:
        return self._description.object_id or super()._object_id

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state only if it changed and its pace allows it."""
        to_write, now = self._to_write, self.coordinator.data.time
        if not self._pace(to_write).allows_write(self._written_at, now):
            return
        # The period is used up even where nothing has changed.
        self._written_at = now
        if to_write != self._written:
            self._written = to_write
            super()._handle_coordinator_update()

    @callback
    @override
    def async_registry_entry_updated(self) -> None:
        """Note the value that Home Assistant writes after a change of name or id."""
        super().async_registry_entry_updated()
        self._note_written()

    @callback
    @override
    def _note_written(self) -> None:
        self._written, self._written_at = self._to_write, self.coordinator.data.time

    def _pace(
        self, to_write: tuple[bool, ValueT | None, dict[str, Any] | None]
    ) -> Pace:
        """Return the pace at which this state may replace the written one."""
        is_available, value, _ = to_write
        was_available, written, _ = self._written
        description = self._description
        if is_available != was_available or (value is None) != (written is None):
            return Pace.LIVE
        if description.pace is Pace.CELLS and _is_near_limit(self.coordinator.data):
            return Pace.LIVE
        if (
            isinstance(value, int | float)
            and isinstance(written, int | float)
            and abs(value - written) < description.noise
        ):
            return Pace.SLOW
        return description.pace

    @property
    def _to_write(self) -> tuple[bool, ValueT | None, dict[str, Any] | None]:
        """Return all that the state would contain now."""
        return self.available, self._value, self.extra_state_attributes

    @property
    def _value(self) -> ValueT | None:
        """Return the value in the latest reading."""
        return self._description.value_fn(self.coordinator.data)

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any] | None:
        """Return the attributes in the latest reading."""
        attributes_fn = self._description.attributes_fn
        return attributes_fn(self.coordinator.data) if attributes_fn else None


def has_setting(field: str, reading: Reading) -> bool:
    """Return whether the battery reports a setting and uses it."""
    value = getattr(reading.settings, field, None)
    return value is not None and is_meaningful(field, reading)


def object_id_of(title: str, object_id: str) -> str:
    """Return the English object id, prefixed with the domain if the title yields no slug."""
    has_slug = slugify(f"{title} {object_id}") != object_id
    return object_id if has_slug else f"{DOMAIN}_{object_id}"


def alarm_attributes(alarm: str, reading: Reading) -> dict[str, Any]:
    """Return the details that the battery reports with one of its alarms."""
    if alarm != WIRE_RESISTANCE:
        return {}
    return {"cells": list(reading.cell_data.wire_resistance_alarm or ())}


def _is_near_limit(reading: Reading) -> bool:
    """Return whether a cell is close to a protection limit, where every mV matters."""
    cells, limits = reading.cell_data, reading.settings
    return limits is not None and (
        _reaches(limits.cell_uvp, cells.min_cell_voltage)
        or _reaches(cells.max_cell_voltage, limits.cell_ovp)
    )


def _reaches(higher: float | None, lower: float | None) -> bool:
    return higher is not None and lower is not None and higher >= lower - NEAR_LIMIT


class JkBmsLinkEntity(_BatteryEntity):
    """An entity about the link: available even when the battery is not."""

    @property
    @override
    def available(self) -> bool:
        """Return true: the state of the link is always known."""
        return True

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state if it changed; that of a button never does."""


def unique_id(coordinator: JkBmsCoordinator, description: EntityDescription) -> str:
    """Return the id of an entity, unique among all entities of this integration."""
    return f"{coordinator.address}_{description.key}"


type EntityTable = tuple[type[JkBmsEntity[Any]], Iterable[JkBmsEntityDescription[Any]]]
"""Descriptions, and the class of their entities."""


@callback
def async_setup_entities(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    platform: Platform,
    tables: Iterable[EntityTable],
    others: Iterable[JkBmsLinkEntity] = (),
) -> None:
    """Keep an entity for every value that the battery carries or used to carry.

    The entities known so far are added in one call. Each reading can add more, and
    remove those whose cell or log does not exist.
    """
    coordinator = entry.runtime_data
    registry = er.async_get(hass)
    absent = [
        (entity_class, description)
        for entity_class, descriptions in tables
        for description in descriptions
    ]
    """Values without an entity; few, once the first reading is in."""
    removable: list[tuple[type[JkBmsEntity[Any]], JkBmsEntityDescription[Any]]] = []
    """Values with an entity that may have to be removed."""

    def find_new() -> list[JkBmsEntity[Any]]:
        """Return the new entities of the latest reading, remove those that are gone."""
        nonlocal absent, removable
        reading: Reading | None = coordinator.data
        if not reading:
            return []
        if any(description.is_gone(reading) for _, description in removable):
            absent += (row for row in removable if row[1].is_gone(reading))
            removable = [row for row in removable if not row[1].is_gone(reading)]
        candidates, absent, new = absent, [], []
        for entity_class, description in candidates:
            entity_id = registry.async_get_entity_id(
                platform, DOMAIN, unique_id(coordinator, description)
            )
            # A value seen before keeps its entity while it is missing.
            if not description.is_gone(reading) and (
                entity_id or description.exists(reading)
            ):
                new.append(entity_class(coordinator, description))
                if description.gone_fn:
                    removable.append((entity_class, description))
                continue
            absent.append((entity_class, description))
            if entity_id:
                registry.async_remove(entity_id)
        return new

    @callback
    def follow_reading() -> None:
        if new := find_new():
            async_add_entities(new)

    async_add_entities([*find_new(), *others])
    entry.async_on_unload(coordinator.async_add_listener(follow_reading))


async def async_move_entities(
    hass: HomeAssistant, entry: JkBmsConfigEntry, address: str
) -> None:
    """Move the device and the entities of an unloaded entry to a new address."""
    old = entry.data[CONF_ADDRESS]
    if device := async_find_device(hass, entry):
        dr.async_get(hass).async_update_device(
            device.id, new_connections={(dr.CONNECTION_BLUETOOTH, address)}
        )
    await er.async_migrate_entries(
        hass,
        entry.entry_id,
        lambda entity: {
            "new_unique_id": f"{address}{entity.unique_id.removeprefix(old)}"
        },
    )
