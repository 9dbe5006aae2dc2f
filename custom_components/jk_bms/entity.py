"""What all entities of a battery have in common."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from itertools import batched
from typing import Any, Final, override

from homeassistant.components.bluetooth.passive_update_coordinator import (
    PassiveBluetoothCoordinatorEntity,
)
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_ADDRESS, EntityCategory, Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import Entity, EntityDescription
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.typing import UNDEFINED

from .const import DOMAIN
from .coordinator import JkBmsConfigEntry, JkBmsCoordinator
from .jkbms.models import Reading


class Pace(IntEnum):
    """Of how many seconds an entity shows one value only, the first.

    The times are the same for all, so that what they show was read together.
    """

    LIVE = 0
    CELLS = 60
    """Live while a cell is at one of its limits."""
    SLOW = 300

    def lets_go_on(self, shown_at: float, now: float) -> bool:
        """Tell whether something else may be shown now; both are s of one clock."""
        return self is Pace.LIVE or now // self > shown_at // self


WIRE_RESISTANCE: Final = "wire_resistance"
"""The alarm that names its cells."""
NEAR_LIMIT: Final = 0.02
"""V from a protection within which a cell is watched closely."""
_ADDED_AT_ONCE: Final = 20
"""Entities; many more would keep all of Home Assistant waiting."""


@dataclass(frozen=True, kw_only=True)
class JkBmsEntityDescription[ValueT](EntityDescription):
    """One value of a reading; `key` is its unique id suffix and translation key."""

    value_fn: Callable[[Reading], ValueT | None]
    """The value, `None` where the battery does not carry it."""
    attributes_fn: Callable[[Reading], dict[str, Any] | None] | None = None
    """What belongs to the value."""
    exists_fn: Callable[[Reading], bool] | None = None
    """Whether the battery carries the value, if that is not for the value to say."""
    gone_fn: Callable[[Reading], bool] | None = None
    """Whether the entity is to be forgotten, since its subject is no more."""
    pace: Pace = Pace.LIVE
    noise: float = 0.0
    """A smaller change than this may mean nothing: it is shown at the slow pace."""

    def is_gone(self, reading: Reading) -> bool:
        """Tell whether there is nothing any more that an entity could be about."""
        return self.gone_fn is not None and self.gone_fn(reading)

    def exists(self, reading: Reading) -> bool:
        """Tell whether the battery carries the value."""
        if self.exists_fn:
            return self.exists_fn(reading)
        return self.value_fn(reading) is not None


class _BatteryEntity(Entity):
    """An entity of a battery, named and described alike.

    Home Assistant's properties keep their answers in each entity, and with more than 29
    attributes an object takes 1.3 KB more: what is the same for all entities is said
    here once, and what is hardly ever asked is not kept at all.
    """

    __slots__ = ("coordinator",)

    coordinator: JkBmsCoordinator

    assumed_state = False
    attribution = None
    entity_picture = None
    entity_registry_visible_default = True
    force_update = False
    has_entity_name = True
    icon = None
    should_poll = False
    supported_features = None

    @property
    @override
    def unique_id(self) -> str:
        """Return the id among all entities of this integration."""
        return _unique_id(self.coordinator, self.entity_description)

    @property
    @override
    def translation_key(self) -> str:
        """Return the key, but where several share the translations."""
        description = self.entity_description
        return description.translation_key or description.key

    @property
    @override
    def entity_category(self) -> EntityCategory | None:
        """Return the category that the description gives."""
        return self.entity_description.entity_category

    @property
    @override
    def device_info(self) -> DeviceInfo:
        """Return the battery; the coordinator keeps the rest of it in the registry."""
        return DeviceInfo(
            connections={(dr.CONNECTION_BLUETOOTH, self.coordinator.address)}
        )

    @property
    @override
    def suggested_object_id(self) -> str | None:
        """Return the English name, whatever language the name is shown in.

        So are the entity ids the same in every language, as dashboards and boards need.
        """
        platform = self.platform_data
        name = self._name_internal(
            None, platform.default_language_platform_translations
        )
        return None if name is UNDEFINED else name


class JkBmsEntity[ValueT](
    _BatteryEntity, PassiveBluetoothCoordinatorEntity[JkBmsCoordinator]
):
    """An entity that shows one value of the latest reading."""

    __slots__ = (
        "_description",
        "_shown",
        "_shown_at",
        "_value_fn",
        "coordinator_context",
    )

    _description: JkBmsEntityDescription[ValueT]
    _shown: tuple[bool, ValueT | None, dict[str, Any] | None]
    _shown_at: float

    def __init__(
        self, coordinator: JkBmsCoordinator, description: JkBmsEntityDescription[ValueT]
    ) -> None:
        """Take all that is particular to the entity from its description."""
        super().__init__(coordinator)
        self.entity_description = self._description = description
        self._value_fn = description.value_fn

    @override
    async def async_added_to_hass(self) -> None:
        """Note what the state is going to show first."""
        await super().async_added_to_hass()
        self._shown, self._shown_at = self._to_show, self.coordinator.data.time

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state only if it would show something else, and not too often."""
        to_show, now = self._to_show, self.coordinator.data.time
        if not self._pace(to_show).lets_go_on(self._shown_at, now):
            return
        # Its turn is over even where nothing has changed.
        self._shown_at = now
        if to_show != self._shown:
            self._shown = to_show
            super()._handle_coordinator_update()

    @callback
    @override
    def async_registry_entry_updated(self) -> None:
        """Note what is written now, since the user renamed the entity or the like."""
        super().async_registry_entry_updated()
        self._shown, self._shown_at = self._to_show, self.coordinator.data.time

    def _pace(self, to_show: tuple[bool, ValueT | None, dict[str, Any] | None]) -> Pace:
        """Return how long what is shown has to stay before this."""
        is_available, value, _ = to_show
        was_available, shown, _ = self._shown
        if is_available != was_available or (value is None) != (shown is None):
            return Pace.LIVE
        if self._description.pace is Pace.CELLS and _is_at_limit(self.coordinator.data):
            return Pace.LIVE
        if (
            isinstance(value, int | float)
            and isinstance(shown, int | float)
            and abs(value - shown) < self._description.noise
        ):
            return Pace.SLOW
        return self._description.pace

    @property
    def _to_show(self) -> tuple[bool, ValueT | None, dict[str, Any] | None]:
        """Return all that a state says."""
        return self.available, self._value, self.extra_state_attributes

    @property
    def _value(self) -> ValueT | None:
        """Return the value in the latest reading."""
        return self._value_fn(self.coordinator.data)

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any] | None:
        """Return what belongs to the value in the latest reading."""
        attributes_fn = self._description.attributes_fn
        return attributes_fn(self.coordinator.data) if attributes_fn else None


def alarm_attributes(alarm: str, reading: Reading) -> dict[str, Any]:
    """Return what else the battery tells about one of its alarms."""
    if alarm != WIRE_RESISTANCE:
        return {}
    return {"cells": list(reading.cell_data.wire_resistance_alarm or ())}


def _is_at_limit(reading: Reading) -> bool:
    """Tell whether a cell is where the protections are, so that every mV matters."""
    cells, limits = reading.cell_data, reading.settings
    return limits is not None and (
        _reaches(limits.cell_uvp, cells.min_cell_voltage)
        or _reaches(cells.max_cell_voltage, limits.cell_ovp)
    )


def _reaches(higher: float | None, lower: float | None) -> bool:
    return higher is not None and lower is not None and higher >= lower - NEAR_LIMIT


class JkBmsLinkEntity(_BatteryEntity):
    """An entity about the link, which is there whether the battery is or not."""

    def __init__(
        self, coordinator: JkBmsCoordinator, description: EntityDescription
    ) -> None:
        """Take all that is particular to the entity from its description."""
        self.coordinator = coordinator
        self.entity_description = description


def _unique_id(coordinator: JkBmsCoordinator, description: EntityDescription) -> str:
    """Return the id of an entity among all of this integration."""
    return f"{coordinator.address}_{description.key}"


async def async_setup_entities[ValueT](
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
    absent = list(descriptions)
    """Those that have no entity; they are few, once the first are found."""
    mortal: list[JkBmsEntityDescription[ValueT]] = []
    """Those that have one and may lose it."""

    def registered(description: JkBmsEntityDescription[ValueT]) -> str | None:
        return registry.async_get_entity_id(
            platform, DOMAIN, _unique_id(coordinator, description)
        )

    def find_new() -> list[JkBmsEntityDescription[ValueT]]:
        """Return what is new in the latest reading, forget what is gone."""
        nonlocal absent, mortal
        if not coordinator.last_update:
            return []
        reading = coordinator.data
        if any(description.is_gone(reading) for description in mortal):
            absent += (each for each in mortal if each.is_gone(reading))
            mortal = [each for each in mortal if not each.is_gone(reading)]
        candidates, absent, new = absent, [], []
        for description in candidates:
            entity_id = registered(description)
            # One seen before keeps its entity while its value is missing.
            if not description.is_gone(reading) and (
                entity_id or description.exists(reading)
            ):
                new.append(description)
                continue
            absent.append(description)
            if entity_id:
                registry.async_remove(entity_id)
        mortal += (description for description in new if description.gone_fn)
        return new

    @callback
    def add(new: Iterable[JkBmsEntityDescription[ValueT]]) -> None:
        # One by one: an object has room for as many attributes as those before it had,
        # and one that has just been made has next to none.
        for description in new:
            async_add_entities([entity_class(coordinator, description)])

    @callback
    def follow_reading() -> None:
        add(find_new())

    first = find_new()
    entry.async_on_unload(coordinator.async_add_listener(follow_reading))
    for batch in batched(first, _ADDED_AT_ONCE):
        # Others may want to do something meanwhile.
        await asyncio.sleep(0)
        add(batch)


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
