"""Measurements of the battery and its cells."""

from dataclasses import dataclass
from typing import override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import (
    STATE_UNKNOWN,
    Platform,
    UnitOfElectricCurrent,
    UnitOfElectricPotential,
    UnitOfPower,
    UnitOfRatio,
    UnitOfTemperature,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.typing import StateType

from .const import MAX_CELLS, UNIT_AMPERE_HOUR
from .coordinator import JkBmsConfigEntry
from .energy_sensor import (
    ENERGY_SENSORS,
    TIME_LEFT_SENSORS,
    JkBmsEnergySensor,
    JkBmsTimeLeftSensor,
)
from .entity import JkBmsEntity, JkBmsEntityDescription, async_setup_entities
from .jkbms.client import Reading
from .jkbms.models import BalancerState, ChargePhase

# All values come with the one read of the coordinator.
PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class JkBmsSensorDescription(
    SensorEntityDescription, JkBmsEntityDescription[StateType]
):
    """A sensor; an enum value that is not among the options shows as unknown."""


def _part(value: float | None, sign: int) -> float | None:
    """Return how much of the value has this sign, 0 if it has the other."""
    return None if value is None else max(sign * value, 0)


def _nth[ValueT](values: tuple[ValueT, ...], index: int) -> ValueT | None:
    """Return one of the values, or `None` where there are not that many."""
    return values[index] if index < len(values) else None


def _temperature_sensor(number: int, index: int) -> JkBmsSensorDescription:
    """Describe a battery temperature sensor by its name and its place."""
    return JkBmsSensorDescription(
        key=f"temperature_sensor_{number}",
        device_class=SensorDeviceClass.TEMPERATURE,
        native_unit_of_measurement=UnitOfTemperature.CELSIUS,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=1,
        value_fn=lambda reading: _nth(reading.cell_data.battery_temperature, index),
    )


def _cell_voltage(cell: int) -> JkBmsSensorDescription:
    """Describe the voltage of a cell, counted from 1."""

    def gone(reading: Reading) -> bool:
        # No cell at all is a loose connector, not a smaller battery.
        return 0 < len(reading.cell_data.cell_voltage) < cell

    return JkBmsSensorDescription(
        key=f"cell_voltage_{cell}",
        translation_key="cell_voltage",
        translation_placeholders={"cell": str(cell)},
        device_class=SensorDeviceClass.VOLTAGE,
        native_unit_of_measurement=UnitOfElectricPotential.VOLT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=3,
        value_fn=lambda reading: _nth(reading.cell_data.cell_voltage, cell - 1),
        gone_fn=gone,
    )


LIVE_SENSORS: tuple[JkBmsSensorDescription, ...] = (
    JkBmsSensorDescription(
        key="total_voltage",
        device_class=SensorDeviceClass.VOLTAGE,
        native_unit_of_measurement=UnitOfElectricPotential.VOLT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=2,
        value_fn=lambda reading: reading.cell_data.battery_voltage,
    ),
    JkBmsSensorDescription(
        key="current",
        device_class=SensorDeviceClass.CURRENT,
        native_unit_of_measurement=UnitOfElectricCurrent.AMPERE,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=2,
        value_fn=lambda reading: reading.cell_data.battery_current,
    ),
    JkBmsSensorDescription(
        key="power",
        device_class=SensorDeviceClass.POWER,
        native_unit_of_measurement=UnitOfPower.WATT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
        value_fn=lambda reading: reading.cell_data.battery_power,
    ),
    JkBmsSensorDescription(
        key="charging_power",
        device_class=SensorDeviceClass.POWER,
        entity_registry_enabled_default=False,
        native_unit_of_measurement=UnitOfPower.WATT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
        value_fn=lambda reading: _part(reading.cell_data.battery_power, +1),
    ),
    JkBmsSensorDescription(
        key="discharging_power",
        device_class=SensorDeviceClass.POWER,
        entity_registry_enabled_default=False,
        native_unit_of_measurement=UnitOfPower.WATT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
        value_fn=lambda reading: _part(reading.cell_data.battery_power, -1),
    ),
    JkBmsSensorDescription(
        key="state_of_charge",
        device_class=SensorDeviceClass.BATTERY,
        native_unit_of_measurement=UnitOfRatio.PERCENTAGE,
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda reading: reading.cell_data.remain_percent,
    ),
    JkBmsSensorDescription(
        key="capacity_remaining",
        native_unit_of_measurement=UNIT_AMPERE_HOUR,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=1,
        value_fn=lambda reading: reading.cell_data.remain_capacity,
    ),
    JkBmsSensorDescription(
        key="delta_cell_voltage",
        device_class=SensorDeviceClass.VOLTAGE,
        native_unit_of_measurement=UnitOfElectricPotential.VOLT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=3,
        value_fn=lambda reading: reading.cell_data.delta_cell_voltage,
    ),
    JkBmsSensorDescription(
        key="balancing_current",
        device_class=SensorDeviceClass.CURRENT,
        native_unit_of_measurement=UnitOfElectricCurrent.AMPERE,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=2,
        value_fn=lambda reading: reading.cell_data.balance_current,
    ),
    JkBmsSensorDescription(
        key="balancer_state",
        device_class=SensorDeviceClass.ENUM,
        options=[state for state in BalancerState if state != STATE_UNKNOWN],
        value_fn=lambda reading: reading.cell_data.balancer,
    ),
    JkBmsSensorDescription(
        key="mosfet_temperature",
        device_class=SensorDeviceClass.TEMPERATURE,
        native_unit_of_measurement=UnitOfTemperature.CELSIUS,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=1,
        value_fn=lambda reading: reading.cell_data.mosfet_temperature,
    ),
    # There is no sensor 3: that one sits at the MOSFETs.
    *(_temperature_sensor(n, i) for i, n in enumerate((1, 2, 4, 5))),
    JkBmsSensorDescription(
        key="charge_status",
        device_class=SensorDeviceClass.ENUM,
        options=[phase for phase in ChargePhase if phase != STATE_UNKNOWN],
        value_fn=lambda reading: reading.cell_data.charge_phase,
    ),
    JkBmsSensorDescription(
        key="heating_current",
        device_class=SensorDeviceClass.CURRENT,
        entity_registry_enabled_default=False,
        native_unit_of_measurement=UnitOfElectricCurrent.AMPERE,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=2,
        value_fn=lambda reading: reading.cell_data.heater_current,
    ),
)

CELL_SENSORS: tuple[JkBmsSensorDescription, ...] = (
    *(_cell_voltage(cell) for cell in range(1, MAX_CELLS + 1)),
    JkBmsSensorDescription(
        key="average_cell_voltage",
        device_class=SensorDeviceClass.VOLTAGE,
        native_unit_of_measurement=UnitOfElectricPotential.VOLT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=3,
        value_fn=lambda reading: reading.cell_data.average_cell_voltage,
    ),
    JkBmsSensorDescription(
        key="min_cell_voltage",
        device_class=SensorDeviceClass.VOLTAGE,
        native_unit_of_measurement=UnitOfElectricPotential.VOLT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=3,
        value_fn=lambda reading: reading.cell_data.min_cell_voltage,
    ),
    JkBmsSensorDescription(
        key="max_cell_voltage",
        device_class=SensorDeviceClass.VOLTAGE,
        native_unit_of_measurement=UnitOfElectricPotential.VOLT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=3,
        value_fn=lambda reading: reading.cell_data.max_cell_voltage,
    ),
    # A state class keeps every change of these out of the device's activity.
    JkBmsSensorDescription(
        key="min_voltage_cell",
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda reading: reading.cell_data.min_cell,
    ),
    JkBmsSensorDescription(
        key="max_voltage_cell",
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda reading: reading.cell_data.max_cell,
    ),
)

SENSORS = LIVE_SENSORS + CELL_SENSORS


async def async_setup_entry(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the sensors of a battery."""
    async_setup_entities(
        hass,
        entry,
        async_add_entities,
        platform=Platform.SENSOR,
        descriptions=SENSORS,
        entity_class=JkBmsSensor,
    )
    async_setup_entities(
        hass,
        entry,
        async_add_entities,
        platform=Platform.SENSOR,
        descriptions=ENERGY_SENSORS,
        entity_class=JkBmsEnergySensor,
    )
    async_setup_entities(
        hass,
        entry,
        async_add_entities,
        platform=Platform.SENSOR,
        descriptions=TIME_LEFT_SENSORS,
        entity_class=JkBmsTimeLeftSensor,
    )


class JkBmsSensor(JkBmsEntity[StateType], SensorEntity):
    """A measurement."""

    @property
    @override
    def native_value(self) -> StateType:
        """Return the value; a code that nobody knows is no value."""
        return None if self._value == STATE_UNKNOWN else self._value
