"""The tables of sensors: one row for each measurement of the battery, cell or setting."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import (
    STATE_UNKNOWN,
    EntityCategory,
    UnitOfElectricCurrent,
    UnitOfElectricPotential,
    UnitOfEnergy,
    UnitOfPower,
    UnitOfRatio,
    UnitOfTemperature,
    UnitOfTime,
)
from homeassistant.helpers.typing import StateType

from .const import UNIT_AMPERE_HOUR
from .entity import JkBmsEntityDescription, Pace, has_setting
from .jkbms.estimates import energy_remaining
from .jkbms.models import (
    MAX_CELLS,
    BalancerState,
    BatteryType,
    ChargePhase,
    Layout,
    Reading,
)
from .jkbms.protocol.changes import TEMPERATURE_LIMITS
from .setting_texts import KEYS

# The last digit of these flickers, so a change by one digit may be noise.
TEMPERATURE_NOISE: Final = 0.15
"""°C."""
CAPACITY_NOISE: Final = 0.1
"""Ah."""

# Home Assistant has no unit of resistance.
UNIT_OHM: Final = "Ω"


@dataclass(frozen=True, kw_only=True)
class JkBmsSensorDescription(
    SensorEntityDescription, JkBmsEntityDescription[StateType]
):
    """A sensor; an enum value without a name is shown as unknown."""


def _part(value: float | None, sign: int) -> float | None:
    """Return the value without its sign, 0 if it has the other sign."""
    return None if value is None else max(0.0, sign * value)


def _nth[ValueT](values: tuple[ValueT, ...], index: int) -> ValueT | None:
    """Return one of the values, or `None` where there are not that many."""
    return values[index] if index < len(values) else None


def _temperature_sensor(number: int, index: int) -> JkBmsSensorDescription:
    """Describe a temperature sensor by its number and its index in the reading."""
    return JkBmsSensorDescription(
        key=f"temperature_sensor_{number}",
        device_class=SensorDeviceClass.TEMPERATURE,
        native_unit_of_measurement=UnitOfTemperature.CELSIUS,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=1,
        value_fn=lambda reading: _nth(reading.cell_data.battery_temperature, index),
        noise=TEMPERATURE_NOISE,
    )


def _cell(cell: int) -> tuple[JkBmsSensorDescription, JkBmsSensorDescription]:
    """Describe voltage and wire resistance of a cell, counted from 1."""

    def gone(reading: Reading) -> bool:
        # No cell at all means a loose connector, not a smaller battery.
        return 0 < len(reading.cell_data.cell_voltage) < cell

    def exists(reading: Reading) -> bool:
        # Whether the cell is enabled or connected: its values may be missing.
        return _nth(reading.cell_data.cell_resistance, cell - 1) is not None or (
            f"cell_voltage_{cell}" in reading.cell_data.implausible
            or _nth(reading.cell_data.cell_voltage, cell - 1) is not None
        )

    voltage = JkBmsSensorDescription(
        key=f"cell_voltage_{cell}",
        translation_key="cell_voltage",
        translation_placeholders={"cell": str(cell)},
        device_class=SensorDeviceClass.VOLTAGE,
        native_unit_of_measurement=UnitOfElectricPotential.VOLT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=3,
        value_fn=lambda reading: _nth(reading.cell_data.cell_voltage, cell - 1),
        exists_fn=exists,
        gone_fn=gone,
        pace=Pace.CELLS,
    )
    wire = JkBmsSensorDescription(
        key=f"cell_resistance_{cell}",
        translation_key="cell_resistance",
        translation_placeholders={"cell": str(cell)},
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        native_unit_of_measurement=UNIT_OHM,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=3,
        value_fn=lambda reading: _nth(reading.cell_data.cell_resistance, cell - 1),
        exists_fn=exists,
        gone_fn=gone,
        pace=Pace.SLOW,
    )
    return voltage, wire


CELL_VOLTAGES, CELL_RESISTANCES = zip(
    *(_cell(cell) for cell in range(1, MAX_CELLS + 1)), strict=True
)


def _voltage_of_cells(key: str, *, enabled: bool = True) -> JkBmsSensorDescription:
    """Describe a voltage that comes from all cells; its key is that of its field."""
    return JkBmsSensorDescription(
        key=key,
        device_class=SensorDeviceClass.VOLTAGE,
        entity_registry_enabled_default=enabled,
        native_unit_of_measurement=UnitOfElectricPotential.VOLT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=3,
        value_fn=lambda reading: getattr(reading.cell_data, key),
        pace=Pace.CELLS,
    )


def _duration(key: str, field: str, *, shown_in: UnitOfTime) -> JkBmsSensorDescription:
    """Describe a time of a state of the battery, in s, by its key and its field."""
    return JkBmsSensorDescription(
        key=key,
        device_class=SensorDeviceClass.DURATION,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        native_unit_of_measurement=UnitOfTime.SECONDS,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=1,
        suggested_unit_of_measurement=shown_in,
        value_fn=lambda reading: getattr(reading.cell_data, field),
        pace=Pace.SLOW,
    )


def total_runtime(reading: Reading) -> int | None:
    """Return the total run time, which JK04 sends in the device information."""
    if reading.layout is Layout.JK04:
        return reading.device_info.up_time
    return reading.cell_data.up_time


def _settings(
    fields: Iterable[str],
    *,
    device_class: SensorDeviceClass | None = None,
    unit: str | None = None,
    precision: int | None = None,
) -> tuple[JkBmsSensorDescription, ...]:
    """Describe settings of one kind by their fields; `KEYS` has the keys that differ."""

    def describe(field: str) -> JkBmsSensorDescription:
        return JkBmsSensorDescription(
            key=KEYS.get(field, field),
            device_class=device_class,
            entity_category=EntityCategory.DIAGNOSTIC,
            entity_registry_enabled_default=False,
            native_unit_of_measurement=unit,
            suggested_display_precision=precision,
            # A reading may have no settings at all.
            value_fn=lambda reading: getattr(reading.settings, field, None),
            exists_fn=lambda reading: has_setting(field, reading),
        )

    return tuple(map(describe, fields))


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
        noise=CAPACITY_NOISE,
    ),
    JkBmsSensorDescription(
        key="energy_remaining",
        device_class=SensorDeviceClass.ENERGY_STORAGE,
        native_unit_of_measurement=UnitOfEnergy.KILO_WATT_HOUR,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=2,
        value_fn=lambda reading: energy_remaining(reading.cell_data, reading.settings),
        pace=Pace.CELLS,
    ),
    _voltage_of_cells("delta_cell_voltage"),
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
        entity_registry_enabled_default=False,
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
        noise=TEMPERATURE_NOISE,
    ),
    # There is no sensor 3: that one is at the MOSFETs.
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
        exists_fn=lambda reading: reading.cell_data.heating is not None,
    ),
)

CELL_SENSORS: tuple[JkBmsSensorDescription, ...] = (
    *CELL_VOLTAGES,
    _voltage_of_cells("average_cell_voltage", enabled=False),
    _voltage_of_cells("min_cell_voltage"),
    _voltage_of_cells("max_cell_voltage"),
    # A state class keeps changes of these out of Activity.
    JkBmsSensorDescription(
        key="min_voltage_cell",
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda reading: reading.cell_data.min_cell,
        pace=Pace.CELLS,
    ),
    JkBmsSensorDescription(
        key="max_voltage_cell",
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda reading: reading.cell_data.max_cell,
        pace=Pace.CELLS,
    ),
)

SLOW_SENSORS: tuple[JkBmsSensorDescription, ...] = (
    *CELL_RESISTANCES,
    JkBmsSensorDescription(
        key="state_of_health",
        entity_category=EntityCategory.DIAGNOSTIC,
        native_unit_of_measurement=UnitOfRatio.PERCENTAGE,
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda reading: reading.cell_data.state_of_health,
        pace=Pace.SLOW,
    ),
    JkBmsSensorDescription(
        key="full_charge_capacity",
        entity_category=EntityCategory.DIAGNOSTIC,
        native_unit_of_measurement=UNIT_AMPERE_HOUR,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=1,
        value_fn=lambda reading: reading.cell_data.nominal_capacity,
        pace=Pace.SLOW,
    ),
    JkBmsSensorDescription(
        key="charging_cycles",
        state_class=SensorStateClass.TOTAL_INCREASING,
        value_fn=lambda reading: reading.cell_data.cycle_count,
        pace=Pace.SLOW,
    ),
    JkBmsSensorDescription(
        key="total_charging_cycle_capacity",
        entity_category=EntityCategory.DIAGNOSTIC,
        native_unit_of_measurement=UNIT_AMPERE_HOUR,
        state_class=SensorStateClass.TOTAL_INCREASING,
        suggested_display_precision=0,
        value_fn=lambda reading: reading.cell_data.cycle_capacity,
        pace=Pace.SLOW,
    ),
    JkBmsSensorDescription(
        key="total_runtime",
        device_class=SensorDeviceClass.DURATION,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        native_unit_of_measurement=UnitOfTime.SECONDS,
        state_class=SensorStateClass.TOTAL_INCREASING,
        suggested_display_precision=1,
        suggested_unit_of_measurement=UnitOfTime.DAYS,
        value_fn=total_runtime,
        pace=Pace.SLOW,
    ),
    _duration(
        "emergency_time_countdown", "emergency_countdown", shown_in=UnitOfTime.MINUTES
    ),
    _duration("smart_sleep_countdown", "sleep_countdown", shown_in=UnitOfTime.HOURS),
    _duration(
        "charge_status_time_elapsed", "charge_phase_time", shown_in=UnitOfTime.HOURS
    ),
    JkBmsSensorDescription(
        key="detail_log_entry_count",
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda reading: reading.cell_data.detail_log_count,
        pace=Pace.SLOW,
    ),
    JkBmsSensorDescription(
        key="battery_type",
        device_class=SensorDeviceClass.ENUM,
        entity_category=EntityCategory.DIAGNOSTIC,
        options=[kind for kind in BatteryType if kind != STATE_UNKNOWN],
        value_fn=lambda reading: reading.cell_data.battery_type,
        pace=Pace.SLOW,
    ),
)

SETTING_SENSORS: tuple[JkBmsSensorDescription, ...] = (
    *_settings(
        (
            "smart_sleep_voltage",
            "cell_uvp",
            "cell_uvp_recovery",
            "cell_ovp",
            "cell_ovp_recovery",
            "balance_trigger",
            "soc_100",
            "soc_0",
            "request_charge_voltage",
            "request_float_voltage",
            "power_off_voltage",
            "balance_start_voltage",
            "voltage_calibration",
        ),
        device_class=SensorDeviceClass.VOLTAGE,
        unit=UnitOfElectricPotential.VOLT,
        precision=3,
    ),
    *_settings(
        ("max_charge_current", "max_discharge_current", "max_balance_current"),
        device_class=SensorDeviceClass.CURRENT,
        unit=UnitOfElectricCurrent.AMPERE,
        precision=1,
    ),
    *_settings(
        ("nominal_capacity",),
        unit=UNIT_AMPERE_HOUR,
        precision=0,
    ),
    *_settings(
        (
            "charge_overcurrent_delay",
            "charge_overcurrent_recovery",
            "discharge_overcurrent_delay",
            "discharge_overcurrent_recovery",
            "short_circuit_recovery",
            "discharge_precharge_time",
        ),
        device_class=SensorDeviceClass.DURATION,
        unit=UnitOfTime.SECONDS,
        precision=0,
    ),
    *_settings(
        ("short_circuit_delay",),
        device_class=SensorDeviceClass.DURATION,
        unit=UnitOfTime.MICROSECONDS,
        precision=0,
    ),
    *_settings(
        ("smart_sleep_delay",),
        device_class=SensorDeviceClass.DURATION,
        unit=UnitOfTime.HOURS,
        precision=0,
    ),
    *_settings(
        (
            *(
                f"{limit}{suffix}"
                for limit in TEMPERATURE_LIMITS
                for suffix in ("", "_recovery")
            ),
            "heating_start_temperature",
            "heating_stop_temperature",
        ),
        device_class=SensorDeviceClass.TEMPERATURE,
        unit=UnitOfTemperature.CELSIUS,
        precision=1,
    ),
    *_settings(("cell_count", "device_address")),
)


SENSORS = LIVE_SENSORS + CELL_SENSORS + SLOW_SENSORS + SETTING_SENSORS
