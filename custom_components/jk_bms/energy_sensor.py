"""Sensors that depend on earlier readings: energy and time left."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Literal, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import UnitOfEnergy, UnitOfTime
from homeassistant.core import callback
from homeassistant.helpers.restore_state import ExtraStoredData, RestoreEntity

from .coordinator import JkBmsCoordinator
from .energy import EnergyMeter, SmoothedCurrent, time_to_empty, time_to_full
from .entity import JkBmsEntity, JkBmsEntityDescription, Pace
from .jkbms.models import Reading
from .options import MAX_AGE_INTERVALS

# The maximum gap between two readings, in intervals, over which energy is counted. As
# long as that, values are valid; what happened in a longer gap is unknown.
MAX_GAP: Final = MAX_AGE_INTERVALS

# The number of decimals of kWh in the state. With two, an hour of a small load would be
# one or two steps.
SHOWN_DECIMALS: Final = 3


@dataclass(frozen=True, kw_only=True)
class JkBmsEnergyDescription(SensorEntityDescription, JkBmsEntityDescription[float]):
    """The energy of one direction; `value_fn` is the power, in W."""

    sign: Literal[1, -1]
    """Of the power that is counted."""


@dataclass(frozen=True, kw_only=True)
class JkBmsTimeLeftDescription(SensorEntityDescription, JkBmsEntityDescription[float]):
    """A time left; `value_fn` is the remaining capacity, in Ah."""

    time_fn: Callable[[float, float, float], int | None]
    """Returns s from the remaining capacity, the full capacity and the smoothed current."""


def _energy(key: str, sign: Literal[1, -1]) -> JkBmsEnergyDescription:
    """Create the description of an energy counter."""
    return JkBmsEnergyDescription(
        key=key,
        device_class=SensorDeviceClass.ENERGY,
        native_unit_of_measurement=UnitOfEnergy.KILO_WATT_HOUR,
        state_class=SensorStateClass.TOTAL_INCREASING,
        suggested_display_precision=2,
        pace=Pace.CELLS,
        sign=sign,
        value_fn=lambda reading: reading.cell_data.battery_power,
    )


def _time_left(
    key: str, time_fn: Callable[[float, float, float], int | None]
) -> JkBmsTimeLeftDescription:
    """Create the description of a time left."""
    return JkBmsTimeLeftDescription(
        key=key,
        device_class=SensorDeviceClass.DURATION,
        entity_registry_enabled_default=False,
        native_unit_of_measurement=UnitOfTime.SECONDS,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=2,
        suggested_unit_of_measurement=UnitOfTime.HOURS,
        pace=Pace.CELLS,
        time_fn=time_fn,
        value_fn=lambda reading: reading.cell_data.remain_capacity,
    )


ENERGY_SENSORS: tuple[JkBmsEnergyDescription, ...] = (
    _energy("energy_charged", +1),
    _energy("energy_discharged", -1),
)
TIME_LEFT_SENSORS: tuple[JkBmsTimeLeftDescription, ...] = (
    _time_left("time_to_empty", time_to_empty),
    _time_left("time_to_full", time_to_full),
)


class _FollowingSensor(JkBmsEntity[float], SensorEntity):
    """A sensor that uses every reading, also those that cause no new state."""

    @override
    async def _async_restore(self) -> None:
        """Start with the current reading."""
        self._follow(self.coordinator.data)

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Use the new reading."""
        self._follow(self.coordinator.data)
        super()._handle_coordinator_update()

    @property
    @override
    def native_value(self) -> float | None:
        """Return the value as of the latest reading."""
        return self._value

    @property
    def _max_gap(self) -> float:
        """Return the maximum gap in s."""
        return MAX_GAP * self.coordinator.options.interval.total_seconds()

    @abstractmethod
    def _follow(self, reading: Reading) -> None:
        """Use a reading; it may be the same as last time."""


@dataclass(frozen=True, slots=True)
class _StoredMeter(ExtraStoredData):
    """A meter that is passed to the next entity; only its total survives a restart."""

    owner: str
    meter: EnergyMeter

    @override
    def as_dict(self) -> dict[str, Any]:
        """Return the total in full precision."""
        return {"owner": self.owner, "total": self.meter.total}


class JkBmsEnergySensor(_FollowingSensor, RestoreEntity):
    """An energy counter."""

    def __init__(
        self, coordinator: JkBmsCoordinator, description: JkBmsEnergyDescription
    ) -> None:
        """Start at 0; the stored total is restored later."""
        super().__init__(coordinator, description)
        self._meter = EnergyMeter(description.sign)
        # Not the unique id, which changes with the Bluetooth module.
        self._owner = coordinator.config_entry.entry_id

    @override
    async def _async_restore(self) -> None:
        """Restore the counter before it counts on."""
        if stored := await self.async_get_last_extra_data():
            self._restore(stored)
        await super()._async_restore()

    @property
    @override
    def extra_restore_state_data(self) -> ExtraStoredData:
        """Return the meter to continue with."""
        return _StoredMeter(self._owner, self._meter)

    @property
    @override
    def _value(self) -> float:
        """Return the energy in kWh."""
        return round(self._meter.total, SHOWN_DECIMALS)

    @override
    def _follow(self, reading: Reading) -> None:
        """Count the energy up to this reading."""
        self._meter.feed(
            reading.time,
            self._description.value_fn(reading),
            max_gap=self._max_gap,
        )

    def _restore(self, stored: ExtraStoredData) -> None:
        """Restore the meter, unless the data are damaged or of another battery."""
        facts: object = stored.as_dict()
        match facts:
            # After a change of its entity id an entity is added again, and its own value is newer.
            case {"owner": self._owner, "total": float(total)} if (
                self._meter.total <= total < inf
            ):
                if isinstance(stored, _StoredMeter):
                    # The clock is the same, so the time since then can be counted.
                    self._meter = stored.meter
                else:
                    self._meter.total = total


class JkBmsTimeLeftSensor(_FollowingSensor):
    """The time until the battery is empty or full at the present current."""

    def __init__(
        self, coordinator: JkBmsCoordinator, description: JkBmsTimeLeftDescription
    ) -> None:
        """Start without a current."""
        super().__init__(coordinator, description)
        self._current = SmoothedCurrent()
        self._time_fn = description.time_fn

    @property
    @override
    def _value(self) -> int | None:
        """Return the time in s, `None` if it is unknown."""
        reading = self.coordinator.data
        remaining = self._description.value_fn(reading)
        nominal = reading.cell_data.nominal_capacity
        current = self._current.value
        if remaining is None or nominal is None or current is None:
            return None
        return self._time_fn(remaining, nominal, current)

    @override
    def _follow(self, reading: Reading) -> None:
        """Smooth the current up to this reading."""
        self._current.feed(
            reading.time, reading.cell_data.battery_current, max_gap=self._max_gap
        )
