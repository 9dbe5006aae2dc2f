"""The day before: what the batteries would have shown, had Home Assistant been there."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from math import copysign
from typing import Final

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
from homeassistant.util import dt as dt_util
from tests.virtual_bms import Battery, Spec, State, VirtualBms

from .batteries import HOUR
from .home import DOMAIN

PAST_HOURS: Final = 24

VALUES: Final[dict[str, Callable[[State], float]]] = {
    "state_of_charge": lambda state: state.soc,
    "power": lambda state: copysign(state.power, state.current),
    "total_voltage": lambda state: state.voltage,
    "min_cell_voltage": lambda state: min(state.cells),
    "max_cell_voltage": lambda state: max(state.cells),
}


async def async_remember(hass: HomeAssistant, batteries: Iterable[VirtualBms]) -> None:
    """Give the added batteries hourly statistics, which the graphs show as well."""
    registry = er.async_get(hass)
    now = dt_util.utcnow().replace(minute=0, second=0, microsecond=0)
    for bms in batteries:
        day = await hass.async_add_executor_job(_day, bms.spec)
        for key, value in VALUES.items():
            entity_id = registry.async_get_entity_id(
                Platform.SENSOR, DOMAIN, f"{bms.address}_{key}"
            )
            # An older battery knows less.
            if not entity_id or not (shown := hass.states.get(entity_id)):
                continue
            unit = shown.attributes[ATTR_UNIT_OF_MEASUREMENT]
            async_import_statistics(
                hass,
                StatisticMetaData(
                    mean_type=StatisticMeanType.ARITHMETIC,
                    has_sum=False,
                    name=None,
                    source="recorder",
                    statistic_id=entity_id,
                    unit_class=STATISTIC_UNIT_TO_UNIT_CONVERTER[unit].UNIT_CLASS,
                    unit_of_measurement=unit,
                ),
                [
                    StatisticData(
                        start=now - timedelta(hours=ago),
                        mean=value(state),
                        min=value(state),
                        max=value(state),
                    )
                    for ago, state in enumerate(day, 1)
                ],
            )


def _day(spec: Spec) -> list[State]:
    """Return the state in each of the hours before, the last one first."""
    return [
        Battery(spec, hour=(HOUR - ago) % 24).state for ago in range(1, PAST_HOURS + 1)
    ]
