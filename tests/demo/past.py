"""Statistics of the day before, as if Home Assistant had been running."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from math import copysign, fsum
from statistics import fmean
from typing import Final

from homeassistant.components.energy.data import (
    BatterySourceType,
    EnergyManager,
    PowerConfig,
    SourceType,
    async_get_manager,
)
from homeassistant.components.recorder.models import (
    StatisticData,
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.components.recorder.statistics import (
    STATISTIC_UNIT_TO_UNIT_CONVERTER,
    async_import_statistics,
)
from homeassistant.const import ATTR_UNIT_OF_MEASUREMENT, Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util
from tests.virtual_bms import Battery, Spec, State, VirtualBms

from .batteries import HOUR
from .home import DOMAIN

PAST_HOURS: Final = 24


def _power(state: State) -> float:
    return copysign(state.power, state.current)


MEASUREMENTS: Final[dict[str, Callable[[State], float]]] = {
    "state_of_charge": lambda state: state.soc,
    "power": _power,
    "total_voltage": lambda state: state.voltage,
    "current": lambda state: state.current,
    "min_cell_voltage": lambda state: min(state.cells),
    "max_cell_voltage": lambda state: max(state.cells),
    # Where a sensor is missing, the entity is as well.
    "temperature_sensor_1": lambda state: state.temperatures[0] or 0.0,
    "temperature_sensor_2": lambda state: state.temperatures[1] or 0.0,
    "temperature_sensor_4": lambda state: state.temperatures[2] or 0.0,
    "temperature_sensor_5": lambda state: state.temperatures[3] or 0.0,
    "mosfet_temperature": lambda state: state.mosfet_temperature or 0.0,
}
ENERGIES: Final[dict[str, Callable[[State], float]]] = {
    "energy_charged": lambda state: max(_power(state), 0) / 1000,
    "energy_discharged": lambda state: max(-_power(state), 0) / 1000,
}
"""kWh of an hour that begins with this state."""


OF_A_BANK: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "state_of_charge": fmean,
    "power": fsum,
    "total_voltage": fmean,
    "current": fsum,
    "min_cell_voltage": min,
    "max_cell_voltage": max,
    "energy_charged": fsum,
    "energy_discharged": fsum,
}
"""Its value of those of its packs, which are of one size."""


async def async_remember(
    hass: HomeAssistant, batteries: Iterable[VirtualBms], bank: str | None
) -> None:
    """Give the added batteries hourly statistics, which the graphs show as well.

    `bank` is the id of the entry of a bank of all batteries, if there is one.
    """
    sources: list[SourceType] = []
    days = []
    for bms in batteries:
        day = await hass.async_add_executor_job(_day, bms.spec)
        days.append(day)
        for key, value in (MEASUREMENTS | _cells(bms.spec)).items():
            _remember_mean(hass, bms.address, key, map(value, day))
        for key, energy in ENERGIES.items():
            _remember_sum(hass, bms.address, key, map(energy, day))
        # An older battery reports less.
        if _entity_id(hass, bms.address, "energy_charged"):
            sources.append(_energy_source(hass, bms.address, bms.spec.name))
    if bank:
        for key, combine in OF_A_BANK.items():
            value = (MEASUREMENTS | ENERGIES)[key]
            of_packs = [
                combine([value(state) for state in states])
                for states in zip(*days, strict=True)
            ]
            remember = _remember_sum if key in ENERGIES else _remember_mean
            remember(hass, bank, key, of_packs)
        sources = [_energy_source(hass, bank, "Bank")]
    preferences = EnergyManager.default_preferences()
    preferences["energy_sources"] = sources
    manager = await async_get_manager(hass)
    await manager.async_update(preferences)
    await get_instance(hass).async_block_till_done()


def _cells(spec: Spec) -> dict[str, Callable[[State], float]]:
    def voltage_of(cell: int) -> Callable[[State], float]:
        return lambda state: state.cells[cell]

    return {f"cell_voltage_{cell + 1}": voltage_of(cell) for cell in range(spec.cells)}


def _remember_mean(
    hass: HomeAssistant, owner: str, key: str, values: Iterable[float]
) -> None:
    data = [
        StatisticData(start=start, mean=mean, min=mean, max=mean)
        for start, mean in _hourly(values)
    ]
    _remember(hass, _entity_id(hass, owner, key), data)


def _remember_sum(
    hass: HomeAssistant, owner: str, key: str, values: Iterable[float]
) -> None:
    data = [
        StatisticData(start=start, state=total, sum=total)
        for start, total in _hourly(accumulate(values))
    ]
    _remember(hass, _entity_id(hass, owner, key), data)


def _remember(hass: HomeAssistant, entity_id: str, data: list[StatisticData]) -> None:
    if not (shown := hass.states.get(entity_id)):
        return
    unit = shown.attributes[ATTR_UNIT_OF_MEASUREMENT]
    has_sum = "sum" in data[0]
    async_import_statistics(
        hass,
        StatisticMetaData(
            mean_type=StatisticMeanType(not has_sum),
            has_sum=has_sum,
            name=None,
            source="recorder",
            statistic_id=entity_id,
            unit_class=STATISTIC_UNIT_TO_UNIT_CONVERTER[unit].UNIT_CLASS,
            unit_of_measurement=unit,
        ),
        data,
    )


def _hourly(values: Iterable[float]) -> Iterable[tuple[datetime, float]]:
    """Assign the values of a day to the hours that have just passed."""
    now = dt_util.utcnow().replace(minute=0, second=0, microsecond=0)
    for ago, value in zip(range(PAST_HOURS, 0, -1), values, strict=True):
        yield now - timedelta(hours=ago), value


def _entity_id(hass: HomeAssistant, owner: str, key: str) -> str:
    """Return the id of an entity, empty if its owner does not have it.

    The owner is the address of a battery or the id of the entry of a bank.
    """
    registry = er.async_get(hass)
    unique_id = f"{owner}_{key}"
    return registry.async_get_entity_id(Platform.SENSOR, DOMAIN, unique_id) or ""


def _energy_source(hass: HomeAssistant, owner: str, name: str) -> BatterySourceType:
    """Configure a battery in the Energy dashboard, as its owner would."""
    return BatterySourceType(
        type="battery",
        stat_energy_from=_entity_id(hass, owner, "energy_discharged"),
        stat_energy_to=_entity_id(hass, owner, "energy_charged"),
        power_config=PowerConfig(stat_rate_inverted=_entity_id(hass, owner, "power")),
        stat_soc=_entity_id(hass, owner, "state_of_charge"),
        name=name,
    )


def _day(spec: Spec) -> list[State]:
    """Return the state at the beginning of each of the hours before."""
    return [
        Battery(spec, hour=(HOUR - ago) % 24).state for ago in range(PAST_HOURS, 0, -1)
    ]
