"""The button that reads the battery at once."""

from typing import override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import JkBmsConfigEntry
from .entity import JkBmsLinkEntity

# There is one link.
PARALLEL_UPDATES = 1

REFRESH = ButtonEntityDescription(key="refresh")


async def async_setup_entry(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the button of a battery."""
    async_add_entities([JkBmsRefreshButton(entry.runtime_data, REFRESH)])


class JkBmsRefreshButton(JkBmsLinkEntity, ButtonEntity):
    """Reads the battery now, whatever the interval."""

    @override
    async def async_press(self) -> None:
        """Read, and say so if it fails."""
        await self.coordinator.async_refresh()
