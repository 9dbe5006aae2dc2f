"""Settings with a fixed list of choices."""

from dataclasses import dataclass
from typing import override

from homeassistant.components.select import SelectEntity, SelectEntityDescription
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
from .jkbms.protocol.changes import accepted_register, choices
from .jkbms.protocol.registers import Kind, settings_of_kind
from .setting_texts import CHOICES, choice_name

# There is only one link.
PARALLEL_UPDATES = 1


@dataclass(frozen=True, kw_only=True)
class JkBmsSelectDescription(SelectEntityDescription, JkBmsControlDescription[int]):
    """A setting with a fixed list of choices."""


SELECTS: tuple[JkBmsSelectDescription, ...] = tuple(
    JkBmsSelectDescription(**control(setting))
    for setting in settings_of_kind(Kind.CHOICE)
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the selects of a battery."""
    async_setup_controls(
        hass, entry, async_add_entities, Platform.SELECT, JkBmsSelect, SELECTS
    )


class JkBmsSelect(JkBmsControl[int], SelectEntity):
    """A setting with a fixed list of choices."""

    @property
    @override
    def options(self) -> list[str]:
        """Return the names of the choices that this battery allows."""
        reading = self.coordinator.data
        register = accepted_register(self._setting, reading)
        if not register:
            return []
        return [choice_name(self._setting, n) for n in choices(register, reading)]

    @property
    @override
    def current_option(self) -> str | None:
        """Return the name of the choice that the battery reports."""
        number = self._value
        return None if number is None else choice_name(self._setting, number)

    @override
    async def async_select_option(self, option: str) -> None:
        """Change the setting, and read it back."""
        await self._async_write(CHOICES[self._setting].index(option))
