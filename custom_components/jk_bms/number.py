"""Settings that are numbers, within the limits that the battery's other settings leave."""

from dataclasses import dataclass
from typing import Any, Final, override

from homeassistant.components.number import NumberEntity, NumberEntityDescription
from homeassistant.components.number.const import NumberMode
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .control_entity import (
    JkBmsControl,
    JkBmsControlDescription,
    async_setup_controls,
    control,
)
from .coordinator import JkBmsConfigEntry
from .jkbms.protocol.changes import Limits, accepted_register, limits
from .jkbms.protocol.registers import Kind, settings_of_kind, unit_of

# There is only one link.
PARALLEL_UPDATES = 1

_CLOSED: Final = Limits(0.0, 0.0)
"""Limits while the battery does not accept the setting."""


@dataclass(frozen=True, kw_only=True)
class JkBmsNumberDescription(NumberEntityDescription, JkBmsControlDescription[float]):
    """A setting that is a number."""


# Without a device class: with one, Home Assistant converts °C to the unit of the user, and
# V and A to any unit that the user chooses. A converted value may lie between two steps of
# the battery, where it is refused.
NUMBERS: tuple[JkBmsNumberDescription, ...] = tuple(
    JkBmsNumberDescription(
        mode=NumberMode.BOX,
        native_unit_of_measurement=unit_of(setting),
        **control(setting),
    )
    for setting in settings_of_kind(Kind.NUMBER)
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the numbers of a battery."""
    async_setup_controls(
        hass, entry, async_add_entities, Platform.NUMBER, JkBmsNumber, NUMBERS
    )


class JkBmsNumber(JkBmsControl[float], NumberEntity):
    """A setting that is a number."""

    @property
    @override
    def native_value(self) -> float | None:
        """Return what the battery reports."""
        return self._value

    @property
    @override
    def native_min_value(self) -> float:
        """Return the lowest value that the other settings allow."""
        return self._limits.minimum

    @property
    @override
    def native_max_value(self) -> float:
        """Return the highest value that the other settings allow."""
        return self._limits.maximum

    @property
    @override
    def native_step(self) -> float:
        """Return the step of the register."""
        register = accepted_register(self._setting, self.coordinator.data)
        return register.step if register else 1.0

    @override
    async def async_set_native_value(self, value: float) -> None:
        """Change the setting, and read it back."""
        await self._async_write(value)

    @property
    @override
    def _to_write(self) -> tuple[bool, float | None, dict[str, Any] | None]:
        """Return all that the state would contain now, including the limits."""
        is_available, value, attributes = super()._to_write
        return is_available, value, self._limits._asdict() | (attributes or {})

    @property
    def _limits(self) -> Limits:
        reading = self.coordinator.data
        register = accepted_register(self._setting, reading)
        return limits(register, reading) if register else _CLOSED
