"""What is on and what is off in the battery."""

from dataclasses import dataclass
from typing import Final, override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import JkBmsConfigEntry
from .entity import JkBmsEntity, JkBmsEntityDescription, async_setup_entities
from .jkbms.models import BalancerState

# All values come with the one read of the coordinator.
PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class JkBmsBinarySensorDescription(
    BinarySensorEntityDescription, JkBmsEntityDescription[bool]
):
    """Something that is on or off."""


BALANCING: Final[dict[BalancerState | None, bool]] = {
    BalancerState.OFF: False,
    BalancerState.CHARGING: True,
    BalancerState.DISCHARGING: True,
}

BINARY_SENSORS: tuple[JkBmsBinarySensorDescription, ...] = (
    JkBmsBinarySensorDescription(
        key="charging",
        value_fn=lambda reading: reading.cell_data.charging,
    ),
    JkBmsBinarySensorDescription(
        key="discharging",
        value_fn=lambda reading: reading.cell_data.discharging,
    ),
    JkBmsBinarySensorDescription(
        key="balancing",
        value_fn=lambda reading: BALANCING.get(reading.cell_data.balancer),
    ),
    JkBmsBinarySensorDescription(
        key="heating",
        value_fn=lambda reading: reading.cell_data.heating,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the binary sensors of a battery."""
    async_setup_entities(
        hass,
        entry,
        async_add_entities,
        platform=Platform.BINARY_SENSOR,
        descriptions=BINARY_SENSORS,
        entity_class=JkBmsBinarySensor,
    )


class JkBmsBinarySensor(JkBmsEntity[bool], BinarySensorEntity):
    """Something that is on or off."""

    @property
    @override
    def is_on(self) -> bool | None:
        """Return whether it is on."""
        return self._value
