"""Events: faults raised and cleared, and new entries of the battery's own logbook."""

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
from .jkbms.bluetooth.logs import has_logbook
from .jkbms.models import LogEntry
from .jkbms.protocol.codes import LOG_EVENTS
from .jkbms.protocol.timestamps import Timestamped

# Read only: all values come from the coordinator.
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
    """A kind of event."""


ALARM = JkBmsEventDescription[Faults](
    key="alarm",
    event_types=[RAISED, CLEARED],
    value_fn=lambda reading: reading.cell_data.faults,
)
LOG_ENTRY = JkBmsEventDescription[None](
    key="log_entry",
    entity_registry_enabled_default=False,
    event_types=[*dict.fromkeys(LOG_EVENTS.values()), UNKNOWN],
    value_fn=lambda _: None,
    # Unless the battery reports it, only a request shows whether it has a logbook.
    exists_fn=lambda reading: (
        reading.cell_data.frame_counter is not None
        and has_logbook(reading) is not False
    ),
    gone_fn=lambda reading: has_logbook(reading) is False,
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
        Platform.EVENT,
        ((JkBmsAlarmEvent, (ALARM,)), (JkBmsLogEvent, (LOG_ENTRY,))),
    )


@dataclass
class StoredFaults(EventExtraStoredData):
    """The faults already reported, kept across a restart."""

    faults: list[str]


class JkBmsAlarmEvent(JkBmsEntity[Faults], EventEntity):
    """The faults: one event when a fault is raised, one when it is cleared."""

    _reported: Faults = ()

    @override
    async def _async_restore(self) -> None:
        """Restore the faults that were reported before the restart."""
        if stored := await self.async_get_last_extra_data():
            self._reported = tuple(stored.as_dict().get(ATTR_FAULTS, ()))
        # Events can only be written once the entity is added.
        self.hass.loop.call_soon(self._report_changes)

    @property
    @override
    def extra_restore_state_data(self) -> StoredFaults:
        """Return the last event and the faults already reported."""
        return StoredFaults(
            **super().extra_restore_state_data.as_dict(), faults=list(self._reported)
        )

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the availability of a battery that is back first, then the changes."""
        super()._handle_coordinator_update()
        self._report_changes()

    @callback
    def _report_changes(self) -> None:
        """Write one state for each fault raised or cleared since the last reading."""
        if (now := self._value) is None:
            # Not read yet since the start: a fault may still be present.
            return
        before, self._reported = self._reported, now
        self._report(CLEARED, (alarm for alarm in before if alarm not in now))
        self._report(RAISED, (alarm for alarm in now if alarm not in before))

    @callback
    def _report(self, event_type: str, alarms: Iterable[str]) -> None:
        for alarm in alarms:
            details: dict[str, Any] = alarm_attributes(alarm, self.coordinator.data)
            self._trigger_event(event_type, {"alarm": alarm} | details)
            self.async_write_ha_state()


@dataclass
class StoredLog(EventExtraStoredData):
    """The entries of the logbook when last read, `None` if it never was."""

    known: list[tuple[int, int]] | None


class JkBmsLogEvent(JkBmsEntity[None], EventEntity):
    """The entries of the battery's logbook: one event for each new one."""

    _known: list[tuple[int, int]] | None = None

    @override
    async def _async_restore(self) -> None:
        """Restore the known entries, then follow the logbook."""
        if stored := await self.async_get_last_extra_data():
            known = stored.as_dict().get(ATTR_KNOWN)
            self._known = known and [(time, code) for time, code in known]
        self.async_on_remove(self.coordinator.logs.async_add_listener(self._report_new))

    @property
    @override
    def extra_restore_state_data(self) -> StoredLog:
        """Return the last event and the known entries."""
        return StoredLog(
            **super().extra_restore_state_data.as_dict(), known=self._known
        )

    @callback
    def _report_new(self, log: tuple[Timestamped[LogEntry], ...]) -> None:
        """Write one state for each new entry; entries of the first read are not new."""
        known = self._known
        self._known = [
            (timestamped.entry.time, timestamped.entry.code) for timestamped in log
        ]
        if known is None:
            return
        old = Counter(known)
        for timestamped, key in zip(log, self._known, strict=True):
            if old[key]:
                # The same event can be logged twice within one second.
                old[key] -= 1
                continue
            entry = timestamped.entry
            self._trigger_event(entry.event, _details(timestamped))
            self.async_write_ha_state()


def _details(timestamped: Timestamped[LogEntry]) -> dict[str, Any]:
    entry = timestamped.entry
    of_cell = {} if entry.cell is None else {"cell": entry.cell}
    return {"time": timestamped.isoformat, "code": entry.code} | of_cell
