"""Sensors that depend on earlier samples: energy, averages and time left."""

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
from homeassistant.const import (
    UnitOfElectricCurrent,
    UnitOfEnergy,
    UnitOfPower,
    UnitOfTime,
)
from homeassistant.core import callback
from homeassistant.helpers.restore_state import ExtraStoredData, RestoreEntity

from .coordinator import JkBmsCoordinator
from .energy import IntervalAverage, SmoothedCurrent
from .energy_store import EnergyStore
from .entity import JkBmsEntity, JkBmsEntityDescription, Pace
from .jkbms.estimates import time_to_empty, time_to_full
from .jkbms.models import LiveSample, Reading

# The number of decimals of kWh, A and W in the state. With two of kWh, an hour of a small
# load would be one or two steps.
SHOWN_DECIMALS: Final = 3

type TimeFn = Callable[[float | None, float | None, float | None], int | None]


@dataclass(frozen=True, kw_only=True)
class JkBmsEnergyDescription(SensorEntityDescription, JkBmsEntityDescription[float]):
    """The energy of one direction; `value_fn` is the power, in W."""

    sign: Literal[1, -1]
    """Sign of the power that is counted."""


@dataclass(frozen=True, kw_only=True)
class JkBmsAverageDescription(SensorEntityDescription, JkBmsEntityDescription[float]):
    """An average; `value_fn` is the momentary value."""

    sample_fn: Callable[[LiveSample], float | None]
    """The value of a sample."""


@dataclass(frozen=True, kw_only=True)
class JkBmsTimeLeftDescription(SensorEntityDescription, JkBmsEntityDescription[float]):
    """A time left; `value_fn` is the remaining capacity, in Ah."""

    time_fn: TimeFn
    """Return seconds from the remaining capacity, the full capacity and the smoothed current."""


def _energy(key: str, sign: Literal[1, -1]) -> JkBmsEnergyDescription:
    """Create the description of an energy counter."""
    return JkBmsEnergyDescription(
        key=key,
        device_class=SensorDeviceClass.ENERGY,
        native_unit_of_measurement=UnitOfEnergy.KILO_WATT_HOUR,
        state_class=SensorStateClass.TOTAL_INCREASING,
        suggested_display_precision=2,
        sign=sign,
        value_fn=lambda reading: reading.cell_data.battery_power,
    )


def _time_left(key: str, time_fn: TimeFn) -> JkBmsTimeLeftDescription:
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
AVERAGE_SENSORS: tuple[JkBmsAverageDescription, ...] = (
    JkBmsAverageDescription(
        key="average_current",
        device_class=SensorDeviceClass.CURRENT,
        entity_registry_enabled_default=False,
        native_unit_of_measurement=UnitOfElectricCurrent.AMPERE,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=2,
        value_fn=lambda reading: reading.cell_data.battery_current,
        sample_fn=lambda sample: sample.current,
    ),
    JkBmsAverageDescription(
        key="average_power",
        device_class=SensorDeviceClass.POWER,
        entity_registry_enabled_default=False,
        native_unit_of_measurement=UnitOfPower.WATT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
        value_fn=lambda reading: reading.cell_data.battery_power,
        sample_fn=lambda sample: sample.power,
    ),
)
TIME_LEFT_SENSORS: tuple[JkBmsTimeLeftDescription, ...] = (
    _time_left("time_to_empty", time_to_empty),
    _time_left("time_to_full", time_to_full),
)


class _CountingSensor(JkBmsEntity[float], SensorEntity):
    """A sensor that uses every sample, also those that cause no new state."""

    def __init__(
        self, coordinator: JkBmsCoordinator, description: JkBmsEntityDescription[float]
    ) -> None:
        """Never count over a gap in which the values were not valid."""
        super().__init__(coordinator, description)
        self._max_gap = coordinator.options.max_age.total_seconds()

    @override
    async def _async_restore(self) -> None:
        """Start with the current reading; on a held link, more samples follow it."""
        self._count(LiveSample.of(self.coordinator.data))
        self.async_on_remove(self.coordinator.live.add_listener(self._count))

    @property
    @override
    def native_value(self) -> float | None:
        """Return the value as of the latest reading."""
        return self._value

    @abstractmethod
    def _count(self, sample: LiveSample) -> None:
        """Use a sample; it may be the same as last time."""


@dataclass(frozen=True, slots=True)
class _StoredTotal(ExtraStoredData):
    """The total in kWh that versions without an energy store saved in the restore state."""

    owner: str
    total: float

    @override
    def as_dict(self) -> dict[str, Any]:
        """Return the total in full precision."""
        return {"owner": self.owner, "total": self.total}


class JkBmsEnergySensor(_CountingSensor, RestoreEntity):
    """An energy counter; it shows what is saved."""

    def __init__(
        self, coordinator: JkBmsCoordinator, description: JkBmsEnergyDescription
    ) -> None:
        """Continue the counter of this entry."""
        super().__init__(coordinator, description)
        # By the entry id: the unique id changes with the Bluetooth module.
        self._owner = coordinator.config_entry.entry_id
        self._energy = EnergyStore.async_get(coordinator.hass, self._owner)
        self._meter = self._energy.meter(description.key, description.sign)

    @override
    async def _async_restore(self) -> None:
        """Restore the counter before it counts on."""
        if stored := await self.async_get_last_extra_data():
            await self._async_adopt(stored)
        await super()._async_restore()
        self.async_on_remove(
            self._energy.async_add_listener(self._handle_coordinator_update)
        )

    @property
    @override
    def extra_restore_state_data(self) -> ExtraStoredData:
        """Return the total, for when the store is damaged and for older versions."""
        return _StoredTotal(self._owner, self._meter.total)

    @property
    @override
    def _value(self) -> float:
        """Return the energy in kWh."""
        key = self._description.key
        return round(self._energy.saved.get(key, 0.0), SHOWN_DECIMALS)

    @override
    def _count(self, sample: LiveSample) -> None:
        """Count the energy up to this sample."""
        before = self._meter.total
        self._meter.feed(sample.time, sample.power, max_gap=self._max_gap)
        if self._meter.total > before:
            self._energy.async_schedule_save()

    async def _async_adopt(self, stored: ExtraStoredData) -> None:
        """Adopt a higher total, unless it is damaged or of another battery."""
        facts: object = stored.as_dict()
        match facts:
            case {"owner": self._owner, "total": float(total)} if (
                self._meter.total < total < inf
            ):
                self._meter.total = total
                await self._energy.async_save()


class JkBmsAverageSensor(_CountingSensor):
    """An average over the time since the previous reading."""

    def __init__(
        self, coordinator: JkBmsCoordinator, description: JkBmsAverageDescription
    ) -> None:
        """Start without a value."""
        super().__init__(coordinator, description)
        self._sample_fn = description.sample_fn
        self._average = IntervalAverage()
        self._taken: float | None = None
        self._reading: Reading | None = None

    @override
    async def _async_restore(self) -> None:
        """Start with the current reading."""
        await super()._async_restore()
        self._take()

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Show the average at each reading."""
        if self.coordinator.data is not self._reading:
            self._take()
        super()._handle_coordinator_update()

    @property
    @override
    def _value(self) -> float | None:
        """Return the average in A or W."""
        return self._taken

    @override
    def _count(self, sample: LiveSample) -> None:
        """Add a sample to the average."""
        self._average.feed(sample.time, self._sample_fn(sample), max_gap=self._max_gap)

    def _take(self) -> None:
        self._reading = self.coordinator.data
        average = self._average.take()
        self._taken = None if average is None else round(average, SHOWN_DECIMALS)


class JkBmsTimeLeftSensor(_CountingSensor):
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
        """Return the time in seconds, `None` if it is unknown."""
        reading = self.coordinator.data
        remaining = self._description.value_fn(reading)
        nominal = reading.cell_data.nominal_capacity
        return self._time_fn(remaining, nominal, self._current.value)

    @override
    def _count(self, sample: LiveSample) -> None:
        """Smooth the current up to this sample."""
        self._current.feed(sample.time, sample.current, max_gap=self._max_gap)
