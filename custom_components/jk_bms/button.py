"""The button that reads the battery now."""

from typing import override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import JkBmsConfigEntry
from .entity import JkBmsLinkEntity

# There is only one link.
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
    """Reads the battery now, independent of the interval."""

    @override
    async def async_press(self) -> None:
        """Read the battery; raise an error if that fails."""
        await self.coordinator.async_refresh()
