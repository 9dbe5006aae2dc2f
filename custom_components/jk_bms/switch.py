"""The switch that lets others have the battery for a while."""

from datetime import datetime
from typing import Any, override

from homeassistant.components.switch import SwitchEntity, SwitchEntityDescription
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import JkBmsConfigEntry
from .entity import JkBmsLinkEntity

# It takes its time until a link is released.
PARALLEL_UPDATES = 1

BLUETOOTH_LINK = SwitchEntityDescription(
    key="bluetooth_link", entity_category=EntityCategory.CONFIG
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the switch of a battery."""
    async_add_entities([JkBmsLinkSwitch(entry.runtime_data, BLUETOOTH_LINK)])


class JkBmsLinkSwitch(JkBmsLinkEntity, SwitchEntity):
    """On while Home Assistant uses the link; off lets the phone app in."""

    _resumes_at: datetime | None = None

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the coordinator, which takes the link back by itself."""
        self._resumes_at = self.coordinator.resumes_at
        self.async_on_remove(self.coordinator.async_add_listener(self._follow))

    @callback
    def _follow(self) -> None:
        """Write the state only if it would show something else."""
        if self._resumes_at != self.coordinator.resumes_at:
            self._resumes_at = self.coordinator.resumes_at
            self.async_write_ha_state()

    @property
    @override
    def is_on(self) -> bool:
        """Return whether the link is used."""
        return self._resumes_at is None

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        """Tell when the link is taken back."""
        return {"resumes_at": self._resumes_at}

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Take the link back now."""
        self.coordinator.async_resume_link()

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Release the link for a while."""
        await self.coordinator.async_release_link()
