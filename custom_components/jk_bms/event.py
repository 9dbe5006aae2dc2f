"""What happens to the battery: each fault as it is raised and as it is cleared."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, override

from homeassistant.components.event import (
    EventEntity,
    EventEntityDescription,
    EventExtraStoredData,
)
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import JkBmsConfigEntry
from .entity import (
    JkBmsEntity,
    JkBmsEntityDescription,
    alarm_attributes,
    async_setup_entities,
)

# All values come with the one read of the coordinator.
PARALLEL_UPDATES = 0

type Faults = tuple[str, ...]

RAISED: Final = "raised"
CLEARED: Final = "cleared"
ATTR_FAULTS: Final = "faults"


@dataclass(frozen=True, kw_only=True)
class JkBmsEventDescription(EventEntityDescription, JkBmsEntityDescription[Faults]):
    """Something that happens when this changes."""


EVENTS: tuple[JkBmsEventDescription, ...] = (
    JkBmsEventDescription(
        key="alarm",
        event_types=[RAISED, CLEARED],
        value_fn=lambda reading: reading.cell_data.faults,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the events of a battery."""
    async_setup_entities(
        hass,
        entry,
        async_add_entities,
        platform=Platform.EVENT,
        descriptions=EVENTS,
        entity_class=JkBmsAlarmEvent,
    )


@dataclass
class StoredFaults(EventExtraStoredData):
    """What has been told, over a restart."""

    faults: list[str]


class JkBmsAlarmEvent(JkBmsEntity[Faults], EventEntity):
    """The faults, told once each when they come and when they go."""

    _told: Faults = ()

    @override
    async def async_added_to_hass(self) -> None:
        """Take up where the last run has ended."""
        await super().async_added_to_hass()
        if stored := await self.async_get_last_extra_data():
            self._told = tuple(stored.as_dict().get(ATTR_FAULTS, ()))
        # No state is written before this method has returned.
        self.hass.loop.call_soon(self._tell_changes)

    @property
    @override
    def extra_restore_state_data(self) -> StoredFaults:
        """Return the last event and the faults that have been told."""
        return StoredFaults(
            **super().extra_restore_state_data.as_dict(), faults=list(self._told)
        )

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Tell what has changed before the availability."""
        self._tell_changes()
        super()._handle_coordinator_update()

    @callback
    def _tell_changes(self) -> None:
        """Let each change since the last reading be a state of its own."""
        before, now = self._told, self._value or ()
        self._told = now
        self._tell(CLEARED, (alarm for alarm in before if alarm not in now))
        self._tell(RAISED, (alarm for alarm in now if alarm not in before))

    @callback
    def _tell(self, event_type: str, alarms: Iterable[str]) -> None:
        for alarm in alarms:
            details: dict[str, Any] = alarm_attributes(alarm, self.coordinator.data)
            self._trigger_event(event_type, {"alarm": alarm} | details)
            self.async_write_ha_state()
