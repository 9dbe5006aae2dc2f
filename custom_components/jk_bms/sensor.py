"""Sensors: measurements of the battery and its cells, settings, and the link."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import (
    SIGNAL_STRENGTH_DECIBELS_MILLIWATT,
    STATE_UNKNOWN,
    EntityCategory,
    Platform,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.typing import StateType

from .bank_coordinator import AnyConfigEntry, is_bank
from .bank_entity import BANK_SENSORS, BankSensor, async_setup_bank_entities
from .compatibility_sensors import COMPATIBILITY_SENSORS
from .coordinator import JkBmsCoordinator
from .energy_sensor import (
    AVERAGE_SENSORS,
    ENERGY_SENSORS,
    TIME_LEFT_SENSORS,
    JkBmsAverageSensor,
    JkBmsEnergySensor,
    JkBmsTimeLeftSensor,
)
from .energy_store import EnergyStore
from .entity import JkBmsEntity, JkBmsLinkEntity, Pace, async_setup_entities
from .sensor_descriptions import SENSORS

# Read only: all values come from the coordinator.
PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class JkBmsLinkSensorDescription(SensorEntityDescription):
    """A value about the link."""

    link_fn: Callable[[JkBmsCoordinator], StateType | datetime]


LINK_SENSORS: tuple[JkBmsLinkSensorDescription, ...] = (
    JkBmsLinkSensorDescription(
        key="signal_strength",
        device_class=SensorDeviceClass.SIGNAL_STRENGTH,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        native_unit_of_measurement=SIGNAL_STRENGTH_DECIBELS_MILLIWATT,
        state_class=SensorStateClass.MEASUREMENT,
        link_fn=lambda coordinator: coordinator.rssi,
    ),
    JkBmsLinkSensorDescription(
        key="last_update",
        device_class=SensorDeviceClass.TIMESTAMP,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        link_fn=lambda coordinator: coordinator.last_update,
    ),
    JkBmsLinkSensorDescription(
        key="rejected_frames",
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        state_class=SensorStateClass.TOTAL_INCREASING,
        link_fn=lambda coordinator: coordinator.client.statistics.rejected,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: AnyConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the sensors of a battery or a bank."""
    if is_bank(entry):
        async_setup_bank_entities(
            hass, entry, async_add_entities, Platform.SENSOR, BankSensor, BANK_SENSORS
        )
        return
    energy = await EnergyStore.async_open(hass, entry.entry_id)
    entry.async_on_unload(
        energy.async_count_before_save(entry.runtime_data.client.count_frames)
    )
    async_setup_entities(
        hass,
        entry,
        async_add_entities,
        Platform.SENSOR,
        (
            (JkBmsSensor, SENSORS),
            (JkBmsSensor, COMPATIBILITY_SENSORS),
            (JkBmsEnergySensor, ENERGY_SENSORS),
            (JkBmsAverageSensor, AVERAGE_SENSORS),
            (JkBmsTimeLeftSensor, TIME_LEFT_SENSORS),
        ),
        [JkBmsLinkSensor(entry.runtime_data, each) for each in LINK_SENSORS],
    )


class JkBmsLinkSensor(JkBmsLinkEntity, SensorEntity):
    """A value about the link."""

    def __init__(
        self, coordinator: JkBmsCoordinator, description: JkBmsLinkSensorDescription
    ) -> None:
        """Start with the current value."""
        super().__init__(coordinator, description)
        self._link_fn = description.link_fn
        self._attr_native_value = self._link_fn(coordinator)
        self._written_at = -1.0

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state only if it changed and the slow pace allows it."""
        value = self._link_fn(self.coordinator)
        now = self.hass.loop.time()
        if value != self._attr_native_value and Pace.SLOW.allows_write(
            self._written_at, now
        ):
            self._attr_native_value, self._written_at = value, now
            self.async_write_ha_state()


class JkBmsSensor(JkBmsEntity[StateType], SensorEntity):
    """A measurement or a setting."""

    @property
    @override
    def native_value(self) -> StateType:
        """Return the value; a code without a name is shown as unknown."""
        return None if self._value == STATE_UNKNOWN else self._value
