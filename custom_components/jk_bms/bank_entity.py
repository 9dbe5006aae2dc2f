"""The entities of a bank: one table for each platform, and how they are added."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import (
    EntityCategory,
    Platform,
    UnitOfElectricPotential,
    UnitOfRatio,
    UnitOfTemperature,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import Entity, EntityDescription
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .bank_coordinator import BankConfigEntry, BankCoordinator
from .bank_energy import KEYS
from .const import DOMAIN, MANUFACTURER
from .energy_sensor import (
    ENERGY_SENSORS,
    SHOWN_DECIMALS,
    TIME_LEFT_SENSORS,
    JkBmsEnergyDescription,
    JkBmsTimeLeftDescription,
)
from .entity import Pace, object_id_of
from .jkbms.bank import Bank, PackValue
from .sensor_descriptions import SENSORS, JkBmsSensorDescription

type Attributes = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class BankEntityDescription[ValueT](EntityDescription):
    """One value of a bank; `key` is the key of the same value of a pack."""

    value_fn: Callable[[BankCoordinator], ValueT | None]
    attributes_fn: Callable[[Bank], Attributes] | None = None
    pace: Pace = Pace.LIVE


@dataclass(frozen=True, kw_only=True)
class BankSensorDescription(SensorEntityDescription, BankEntityDescription[float]):
    """A sensor."""


@dataclass(frozen=True, kw_only=True)
class BankBinarySensorDescription(
    BinarySensorEntityDescription, BankEntityDescription[bool]
):
    """A binary sensor."""


def _oldest(bank: Bank) -> Attributes:
    """Return the age of the oldest counted reading in seconds."""
    return {"oldest": None if bank.oldest is None else round(bank.oldest)}


def _place(place: PackValue | None, bank: Bank) -> Attributes:
    """Return the pack and cell of a minimum or maximum, and whether a pack is missing."""
    found = {"pack": place.pack, "cell": place.cell} if place else {}
    return {
        **{key: value for key, value in found.items() if value is not None},
        "incomplete": bank.is_incomplete,
    }


def _value(place: PackValue | None) -> float | None:
    return place.value if place else None


_OF_THE_PACKS: Final[
    tuple[
        JkBmsSensorDescription | JkBmsEnergyDescription | JkBmsTimeLeftDescription, ...
    ]
] = (*SENSORS, *ENERGY_SENSORS, *TIME_LEFT_SENSORS)


def _sensor(
    key: str,
    value_fn: Callable[[BankCoordinator], float | None],
    *,
    attributes_fn: Callable[[Bank], Attributes] | None = None,
    decimals: int | None = None,
) -> BankSensorDescription:
    """Describe a value as the packs show theirs, maybe with fewer decimals."""
    pack = next(each for each in _OF_THE_PACKS if each.key == key)
    if decimals is None:
        decimals = pack.suggested_display_precision
    return BankSensorDescription(
        key=key,
        device_class=pack.device_class,
        entity_category=pack.entity_category,
        entity_registry_enabled_default=pack.entity_registry_enabled_default,
        native_unit_of_measurement=pack.native_unit_of_measurement,
        state_class=pack.state_class,
        suggested_display_precision=decimals,
        suggested_unit_of_measurement=pack.suggested_unit_of_measurement,
        value_fn=value_fn,
        attributes_fn=attributes_fn,
        pace=pack.pace,
    )


def _energy(key: str) -> BankSensorDescription:
    def saved(coordinator: BankCoordinator) -> float | None:
        # Shown only once it is saved.
        total = coordinator.energy.totals.get(key)
        return None if total is None else round(total, SHOWN_DECIMALS)

    return _sensor(key, saved)


def _temperature(
    key: str, place_fn: Callable[[Bank], PackValue | None]
) -> BankSensorDescription:
    return BankSensorDescription(
        key=key,
        device_class=SensorDeviceClass.TEMPERATURE,
        native_unit_of_measurement=UnitOfTemperature.CELSIUS,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=1,
        value_fn=lambda coordinator: _value(place_fn(coordinator.data)),
        attributes_fn=lambda bank: _place(place_fn(bank), bank),
        pace=Pace.CELLS,
    )


BANK_SENSORS: Final[tuple[BankSensorDescription, ...]] = (
    _sensor("total_voltage", lambda coordinator: coordinator.data.voltage),
    _sensor("current", lambda coordinator: coordinator.data.current),
    _sensor("power", lambda coordinator: coordinator.data.power),
    _sensor(
        "state_of_charge",
        lambda coordinator: coordinator.data.state_of_charge,
        decimals=0,
    ),
    _sensor(
        "capacity_remaining", lambda coordinator: coordinator.data.remaining_capacity
    ),
    _sensor("full_charge_capacity", lambda coordinator: coordinator.data.full_capacity),
    _sensor(
        "energy_remaining",
        lambda coordinator: coordinator.data.remaining_energy,
        decimals=1,
    ),
    *(_energy(key) for key in KEYS),
    _sensor("time_to_empty", lambda coordinator: coordinator.time_to_empty),
    _sensor("time_to_full", lambda coordinator: coordinator.time_to_full),
    _sensor(
        "min_cell_voltage",
        lambda coordinator: _value(coordinator.data.lowest_cell),
        attributes_fn=lambda bank: _place(bank.lowest_cell, bank),
    ),
    _sensor(
        "max_cell_voltage",
        lambda coordinator: _value(coordinator.data.highest_cell),
        attributes_fn=lambda bank: _place(bank.highest_cell, bank),
    ),
    _sensor(
        "delta_cell_voltage",
        lambda coordinator: coordinator.data.cell_difference,
        attributes_fn=lambda bank: _place(None, bank),
    ),
    _temperature("min_temperature", lambda bank: bank.lowest_temperature),
    _temperature("max_temperature", lambda bank: bank.highest_temperature),
    BankSensorDescription(
        key="current_sharing_deviation",
        native_unit_of_measurement=UnitOfRatio.PERCENTAGE,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
        value_fn=lambda coordinator: coordinator.data.sharing_deviation,
        attributes_fn=lambda bank: {
            "shares": {
                share.pack: {
                    "current": round(share.current * 100, 1),
                    "capacity": round(share.capacity * 100, 1),
                }
                for share in bank.shares
            }
        },
        pace=Pace.CELLS,
    ),
    BankSensorDescription(
        key="pack_voltage_spread",
        device_class=SensorDeviceClass.VOLTAGE,
        native_unit_of_measurement=UnitOfElectricPotential.VOLT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=2,
        value_fn=lambda coordinator: coordinator.data.voltage_spread,
        pace=Pace.CELLS,
    ),
    BankSensorDescription(
        key="packs_online",
        entity_category=EntityCategory.DIAGNOSTIC,
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda coordinator: len(coordinator.data.online),
        attributes_fn=lambda bank: {
            "packs": bank.pack_count,
            "online": list(bank.online),
        },
    ),
)

BANK_BINARY_SENSORS: Final[tuple[BankBinarySensorDescription, ...]] = (
    BankBinarySensorDescription(
        key="charging",
        value_fn=lambda coordinator: coordinator.data.charging,
        attributes_fn=lambda bank: {"packs": list(bank.charging_packs)},
    ),
    BankBinarySensorDescription(
        key="discharging",
        value_fn=lambda coordinator: coordinator.data.discharging,
        attributes_fn=lambda bank: {"packs": list(bank.discharging_packs)},
    ),
    BankBinarySensorDescription(
        key="problem",
        device_class=BinarySensorDeviceClass.PROBLEM,
        value_fn=lambda coordinator: coordinator.data.problem,
        attributes_fn=lambda bank: {
            "alarms": [{"pack": pack, "alarm": alarm} for pack, alarm in bank.faults],
            "implausible": [
                {"pack": pack, "field": field} for pack, field in bank.implausible
            ],
        },
    ),
)


class BankEntity[ValueT](Entity):
    """An entity that shows one value of a bank."""

    _attr_has_entity_name = True
    _attr_should_poll = False
    # The age of the readings changes all the time and is not worth recording.
    _unrecorded_attributes = frozenset({"oldest"})

    def __init__(
        self, coordinator: BankCoordinator, description: BankEntityDescription[ValueT]
    ) -> None:
        """Initialise the entity from its description."""
        entry = coordinator.config_entry
        self.coordinator = coordinator
        self.entity_description = description
        self._description = description
        self._attr_unique_id = _unique_id(entry, description)
        self._attr_translation_key = description.key
        self._attr_device_info = DeviceInfo(
            identifiers={(DOMAIN, entry.entry_id)},
            name=entry.title,
            manufacturer=MANUFACTURER,
            model="Battery bank",
        )
        self._written: tuple[ValueT | None, bool, bool, Attributes | None]
        self._written_at = 0.0

    @property
    @override
    def suggested_object_id(self) -> str:
        """Return the entity id after the bank's name, in English."""
        return object_id_of(self.coordinator.config_entry.title, self._description.key)

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the values."""
        # As for batteries: yield to the event loop between two entities.
        await asyncio.sleep(0)
        is_energy = self._description.key in KEYS
        source = self.coordinator.energy if is_energy else self.coordinator
        self.async_on_remove(source.async_add_listener(self._async_handle_update))
        self._written, self._written_at = self._to_write, self.hass.loop.time()

    @callback
    def async_entity_id_changed(self, old_entity_id: str) -> None:
        """Allow Home Assistant to change the entity id in place."""

    @property
    @override
    def available(self) -> bool:
        """Return false while a pack is missing that the value needs."""
        return self._value is not None or self.coordinator.data.is_complete

    @property
    @override
    def extra_state_attributes(self) -> Attributes:
        """Return the details and the age of the oldest reading."""
        return {**(self._details or {}), **_oldest(self.coordinator.data)}

    @property
    def _value(self) -> ValueT | None:
        return self._description.value_fn(self.coordinator)

    @property
    def _details(self) -> Attributes | None:
        attributes_fn = self._description.attributes_fn
        return attributes_fn(self.coordinator.data) if attributes_fn else None

    @property
    def _to_write(self) -> tuple[ValueT | None, bool, bool, Attributes | None]:
        is_incomplete = self.coordinator.data.is_incomplete
        return self._value, self.available, is_incomplete, self._details

    @callback
    def _async_handle_update(self) -> None:
        """Write the state only if it changed and its pace allows it."""
        to_write, now = self._to_write, self.hass.loop.time()
        was_none, is_none = self._written[0] is None, to_write[0] is None
        is_same_kind = was_none == is_none and self._written[1:3] == to_write[1:3]
        pace = self._description.pace if is_same_kind else Pace.LIVE
        if not pace.allows_write(self._written_at, now):
            return
        self._written_at = now
        if to_write != self._written:
            self._written = to_write
            self.async_write_ha_state()


class BankSensor(BankEntity[float], SensorEntity):
    """A sensor."""

    @property
    @override
    def native_value(self) -> float | None:
        """Return the value."""
        return self._value


class BankBinarySensor(BankEntity[bool], BinarySensorEntity):
    """A binary sensor."""

    @property
    @override
    def is_on(self) -> bool | None:
        """Return whether it is on."""
        return self._value


def _unique_id(entry: BankConfigEntry, description: EntityDescription) -> str:
    return f"{entry.entry_id}_{description.key}"


@callback
def async_setup_bank_entities[ValueT](
    hass: HomeAssistant,
    entry: BankConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    platform: Platform,
    entity_class: type[BankEntity[ValueT]],
    descriptions: Iterable[BankEntityDescription[ValueT]],
) -> None:
    """Keep an entity for every value that the packs provide or have provided."""
    coordinator = entry.runtime_data
    registry = er.async_get(hass)
    absent = list(descriptions)

    @callback
    def add_new() -> None:
        nonlocal absent
        candidates, absent, new = absent, [], []
        for description in candidates:
            if description.value_fn(coordinator) is None and not (
                registry.async_get_entity_id(
                    platform, DOMAIN, _unique_id(entry, description)
                )
            ):
                absent.append(description)
            else:
                new.append(entity_class(coordinator, description))
        if new:
            async_add_entities(new)

    add_new()
    entry.async_on_unload(coordinator.async_add_listener(add_new))
