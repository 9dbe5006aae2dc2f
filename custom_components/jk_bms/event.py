"""What happens to the battery: its faults, and what it writes into its own logbook."""

from collections import Counter
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
from .jkbms.models import LogEntry
from .jkbms.protocol.codes import LOG_EVENTS
from .jkbms.protocol.timestamps import Dated

# All values come with the one read of the coordinator.
PARALLEL_UPDATES = 0

type Faults = tuple[str, ...]

RAISED: Final = "raised"
CLEARED: Final = "cleared"
UNKNOWN: Final = "unknown"
ATTR_FAULTS: Final = "faults"
ATTR_KNOWN: Final = "known"


@dataclass(frozen=True, kw_only=True)
class JkBmsEventDescription[ValueT](
    EventEntityDescription, JkBmsEntityDescription[ValueT]
):
    """Something that happens."""


ALARM = JkBmsEventDescription[Faults](
    key="alarm",
    event_types=[RAISED, CLEARED],
    value_fn=lambda reading: reading.cell_data.faults,
)
LOG_ENTRY = JkBmsEventDescription[None](
    key="log_entry",
    entity_registry_enabled_default=False,
    event_types=[*dict.fromkeys(LOG_EVENTS.values()), UNKNOWN],
    # Only asking tells whether there is a logbook.
    value_fn=lambda _: None,
    exists_fn=lambda _: True,
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the events of a battery."""
    await async_setup_entities(
        hass,
        entry,
        async_add_entities,
        platform=Platform.EVENT,
        descriptions=(ALARM,),
        entity_class=JkBmsAlarmEvent,
    )
    await async_setup_entities(
        hass,
        entry,
        async_add_entities,
        platform=Platform.EVENT,
        descriptions=(LOG_ENTRY,),
        entity_class=JkBmsLogEvent,
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
        """Tell what has changed, of a battery that is back first that it is."""
        super()._handle_coordinator_update()
        self._tell_changes()

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


@dataclass
class StoredLog(EventExtraStoredData):
    """What stood in the logbook when it was read last, `None` if it never was."""

    known: list[tuple[int, int]] | None


class JkBmsLogEvent(JkBmsEntity[None], EventEntity):
    """The entries of the battery's logbook, each when it is found."""

    _known: list[tuple[int, int]] | None = None

    @override
    async def async_added_to_hass(self) -> None:
        """Take up where the last run has ended."""
        await super().async_added_to_hass()
        if stored := await self.async_get_last_extra_data():
            known = stored.as_dict().get(ATTR_KNOWN)
            self._known = known and [(time, code) for time, code in known]
        self.async_on_remove(self.coordinator.async_follow_logbook(self._tell_new))

    @property
    @override
    def extra_restore_state_data(self) -> StoredLog:
        """Return the last event and the entries that are known."""
        return StoredLog(
            **super().extra_restore_state_data.as_dict(), known=self._known
        )

    @callback
    def _tell_new(self, log: tuple[Dated[LogEntry], ...]) -> None:
        """Let each new entry be a state of its own; at first, all are old."""
        known = self._known
        self._known = [(dated.entry.time, dated.entry.code) for dated in log]
        if known is None:
            return
        old = Counter(known)
        for dated, key in zip(log, self._known, strict=True):
            if old[key]:
                # Two equal ones may stand in one second.
                old[key] -= 1
                continue
            entry = dated.entry
            self._trigger_event(entry.event, _details(dated))
            self.async_write_ha_state()


def _details(dated: Dated[LogEntry]) -> dict[str, Any]:
    entry = dated.entry
    of_cell = {} if entry.cell is None else {"cell": entry.cell}
    return {"time": dated.isoformat, "code": entry.code} | of_cell
