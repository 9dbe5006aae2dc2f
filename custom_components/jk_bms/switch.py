"""On/off settings, and the switch that frees the battery for other clients."""

from dataclasses import dataclass
from typing import Any, override

from homeassistant.components.switch import SwitchEntity, SwitchEntityDescription
from homeassistant.const import EntityCategory, Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .control_entity import (
    JkBmsControl,
    JkBmsControlDescription,
    async_setup_controls,
    control,
)
from .coordinator import JkBmsConfigEntry, JkBmsCoordinator
from .entity import JkBmsLinkEntity
from .jkbms.protocol.registers import Kind, settings_of_kind

# There is only one link: two calls at once would only wait for each other.
PARALLEL_UPDATES = 1

BLUETOOTH_LINK = SwitchEntityDescription(
    key="bluetooth_link", entity_category=EntityCategory.CONFIG
)


@dataclass(frozen=True, kw_only=True)
class JkBmsSwitchDescription(SwitchEntityDescription, JkBmsControlDescription[bool]):
    """An on/off setting."""


SWITCHES: tuple[JkBmsSwitchDescription, ...] = tuple(
    JkBmsSwitchDescription(**control(setting))
    for setting in settings_of_kind(Kind.SWITCH)
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the switches of a battery."""
    async_setup_controls(
        hass,
        entry,
        async_add_entities,
        Platform.SWITCH,
        JkBmsSwitch,
        SWITCHES,
        (JkBmsLinkSwitch(entry.runtime_data, BLUETOOTH_LINK),),
    )


class JkBmsSwitch(JkBmsControl[bool], SwitchEntity):
    """An on/off setting."""

    @property
    @override
    def is_on(self) -> bool | None:
        """Return what the battery reports."""
        return self._value

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Turn it on, and read it back."""
        await self._async_write(True)

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Turn it off, and read it back."""
        await self._async_write(False)


class JkBmsLinkSwitch(JkBmsLinkEntity, SwitchEntity):
    """On while Home Assistant uses the link; off frees it for the phone app."""

    def __init__(
        self, coordinator: JkBmsCoordinator, description: SwitchEntityDescription
    ) -> None:
        """Start with the current state."""
        super().__init__(coordinator, description)
        self._resumes_at = coordinator.resumes_at

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state only if it changed; the link resumes by itself."""
        if self._resumes_at != self.coordinator.resumes_at:
            self._resumes_at = self.coordinator.resumes_at
            self.async_write_ha_state()

    @property
    @override
    def is_on(self) -> bool:
        """Return whether Home Assistant uses the link."""
        return self._resumes_at is None

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        """Return when Home Assistant uses the link again."""
        return {"resumes_at": self._resumes_at}

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Use the link again now."""
        self.coordinator.async_resume_link()

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Disconnect, and stay disconnected until the pause is over."""
        await self.coordinator.async_release_link()
