"""Changes that are to be undone after a while; they outlive restarts."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
from .jkbms.protocol.registers import Kind, Value, settings_of_kind

TIMED: Final = frozenset(
    (*settings_of_kind(Kind.SWITCH), "request_charge_voltage", "request_float_voltage")
)
"""Names of settings that may be changed for a while."""

_VERSION: Final = 1
_TIMED: HassKey[dict[str, TimedChanges]] = HassKey(f"{DOMAIN}_timed_changes")
"""By config entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedChange:
    """A value that is to be undone."""

    value: Value
    before: Value
    """What is written back."""
    due: float
    """When, s since the epoch."""

    @property
    def due_at(self) -> datetime:
        """When, in UTC."""
        return dt_util.utc_from_timestamp(self.due)


class TimedChanges:
    """The changes of one battery that are to be undone."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Start without any; the entry id outlives a change of the address."""
        self.changes: Mapping[str, TimedChange] = {}
        """By the name of the setting."""
        self._store = Store[dict[str, dict[str, Any]]](
            hass, _VERSION, f"{DOMAIN}.timed_changes.{entry_id}", atomic_writes=True
        )

    async def async_load(self) -> None:
        """Load them; what is damaged is left out."""
        stored: object = await self._store.async_load()
        self.changes = {
            name: TimedChange(**row)
            for name, row in (stored.items() if isinstance(stored, dict) else ())
            if name in TIMED
            and isinstance(row, dict)
            and row.keys() == {"value", "before", "due"}
            and isinstance(row["due"], int | float)
        }

    @callback
    def async_add(
        self, changes: Mapping[str, tuple[Value, Value]], duration: timedelta
    ) -> None:
        """Undo changes after a while: values, and those to write back, by name."""
        due = (dt_util.utcnow() + duration).timestamp()
        self._async_save(
            {
                **self.changes,
                **{
                    name: TimedChange(value=value, before=before, due=due)
                    for name, (value, before) in changes.items()
                },
            }
        )

    @callback
    def async_cancel(self, names: Iterable[str]) -> None:
        """Undo these no more."""
        gone = {*names}
        if gone & self.changes.keys():
            self._async_save(
                {
                    name: change
                    for name, change in self.changes.items()
                    if name not in gone
                }
            )

    async def async_remove(self) -> None:
        """Remove what was saved."""
        await self._store.async_remove()

    @callback
    def _async_save(self, changes: Mapping[str, TimedChange]) -> None:
        self.changes = changes
        self._store.async_delay_save(
            lambda: {name: asdict(change) for name, change in self.changes.items()}, 0
        )


async def async_load_timed_changes(hass: HomeAssistant, entry_id: str) -> None:
    """Load the changes of an entry unless this was done before a reload."""
    loaded = hass.data.setdefault(_TIMED, {})
    if entry_id not in loaded:
        timed = TimedChanges(hass, entry_id)
        await timed.async_load()
        loaded[entry_id] = timed


@callback
def async_get_timed_changes(hass: HomeAssistant, entry_id: str) -> TimedChanges:
    """Return the changes of an entry that were loaded."""
    return hass.data[_TIMED][entry_id]


async def async_remove_timed_changes(hass: HomeAssistant, entry_id: str) -> None:
    """Remove the changes of an entry, loaded or not."""
    timed = hass.data.get(_TIMED, {}).pop(entry_id, None)
    await (timed or TimedChanges(hass, entry_id)).async_remove()
