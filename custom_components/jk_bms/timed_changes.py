"""Temporary changes, to be undone later; they survive restarts and crashes."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Final, override

from homeassistant.core import HomeAssistant, callback
from homeassistant.util import dt as dt_util

from .entry_store import EntryStore
from .jkbms.bluetooth.writing import Outcome
from .jkbms.errors import Refusal, SettingRefusedError
from .jkbms.protocol.changes import Change
from .jkbms.protocol.registers import Kind, Value, settings_of_kind

TIMED: Final = frozenset(
    (*settings_of_kind(Kind.SWITCH), "request_charge_voltage", "request_float_voltage")
)
"""Names of settings that may be changed temporarily."""
MAX_DURATION: Final = timedelta(days=30)
"""Longest time until a change is undone."""

_SWITCHES: Final = frozenset(settings_of_kind(Kind.SWITCH))
_LAST_DUE: Final = 1e11
"""Upper bound in seconds since the epoch (the year 5138): the time in a damaged store may
exceed what `datetime` can represent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedChange:
    """A value that is to be undone."""

    values: tuple[Value, ...]
    """Values that were sent; several until the battery has reported the last one."""
    before: Value
    """The value to write back."""
    due: float
    """When to undo it, in seconds since the epoch."""
    lasts: float
    """Seconds from the request to the undo; a clock that was set back does not extend it."""
    is_sent: bool = False
    """Whether the previous value may have been sent already; it is sent only once."""

    @property
    def due_at(self) -> datetime:
        """When to undo it, in UTC."""
        return dt_util.utc_from_timestamp(self.due)


class TimedChanges(EntryStore[dict[str, dict[str, Any]]]):
    """The changes of one battery that are to be undone."""

    kind = "timed_changes"

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Start without any."""
        super().__init__(hass, entry_id)
        self.changes: Mapping[str, TimedChange] = {}
        """Changes by the name of the setting."""

    @override
    def _restore(self, stored: object) -> None:
        """Take the changes; damaged ones are ignored."""
        self.changes = _sound(stored)

    @callback
    def async_cancel(self, names: Iterable[str]) -> None:
        """Cancel these timed changes."""
        gone = {*names}
        if gone & self.changes.keys():
            self.async_save(
                {
                    name: change
                    for name, change in self.changes.items()
                    if name not in gone
                }
            )

    @callback
    def async_limit(self) -> None:
        """Cap the due times at the durations: the clock may have been set back."""
        now = dt_util.utcnow().timestamp()
        limited = {
            name: replace(change, due=min(change.due, now + change.lasts))
            for name, change in self.changes.items()
        }
        if limited != self.changes:
            self.async_save(limited)

    @callback
    def async_save(self, changes: Mapping[str, TimedChange]) -> None:
        """Replace all changes, and save them soon."""
        self.changes = changes
        self._store.async_delay_save(self._rows, 0)

    async def async_save_now(self, name: str, change: TimedChange) -> bool:
        """Add or replace a change, save it, and return whether that succeeded."""
        self.changes = {**self.changes, name: change}
        return _sound(await self._async_save(self._rows())).get(name) == change

    def _rows(self) -> dict[str, dict[str, Any]]:
        return {name: asdict(change) for name, change in self.changes.items()}


def _sound(stored: object) -> dict[str, TimedChange]:
    """Return what was saved, without damaged rows."""
    rows = stored.items() if isinstance(stored, dict) else ()
    return {
        name: TimedChange(**row | {"values": tuple(row["values"])})
        for name, row in rows
        if name in TIMED and _is_sound(name, row)
    }


def _is_sound(name: str, row: object) -> bool:
    return (
        isinstance(row, dict)
        and row.keys() == {field.name for field in fields(TimedChange)}
        and isinstance(row["values"], list)
        and all(_is_value(name, value) for value in (*row["values"], row["before"]))
        and _is_within(row["due"], _LAST_DUE)
        and _is_within(row["lasts"], MAX_DURATION.total_seconds())
        and isinstance(row["is_sent"], bool)
    )


def _is_value(name: str, value: object) -> bool:
    if name in _SWITCHES:
        return isinstance(value, bool)
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and isfinite(value)
    )


def _is_within(value: object, maximum: float) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value <= maximum
    )


class TimedWrite:
    """Keeps the timed changes consistent with one request, however that ends.

    The value to return to is saved before a new one is sent: after a crash, the change
    is undone if the battery has the new value.
    """

    def __init__(
        self,
        timed: TimedChanges,
        target: Mapping[str, Value],
        duration: timedelta | None,
        *,
        is_undo: bool,
    ) -> None:
        """Without a duration, the request ends the timers of the settings it changes."""
        self._timed = timed
        self._target = target
        self._duration = duration
        self._is_undo = is_undo
        self._earlier: dict[str, TimedChange | None] = {}
        """Earlier timed change of each setting that is sent."""

    def permit(self, change: Change) -> None:
        """Raise a `SettingRefusedError` to undo a setting that has another value by now.

        A newer request may have ended the timer while this one waited for the link.
        """
        timer = self._timed.changes.get(change.setting)
        if self._is_undo and (not timer or change.old not in timer.values):
            raise SettingRefusedError(change.setting, Refusal.NOT_ALLOWED)

    async def async_prepare(self, change: Change) -> None:
        """Save the value to return to, or that it is sent; it is sent afterwards.

        Raises a `SettingRefusedError` if that cannot be saved.
        """
        name = change.setting
        earlier = self._timed.changes.get(name)
        self._earlier[name] = earlier
        timer: TimedChange | None = None
        if self._is_undo and earlier:
            timer = replace(earlier, is_sent=True)
        elif self._duration:
            assert change.old is not None
            values: tuple[Value, ...] = (change.new,)
            before = change.old
            if earlier and change.old in earlier.values:
                # That value was temporary itself: return to the one before it.
                values, before = (change.new, *earlier.values), earlier.before
            timer = TimedChange(
                values=values,
                before=before,
                due=self._due,
                lasts=self._duration.total_seconds(),
            )
        if timer and not await self._timed.async_save_now(name, timer):
            raise SettingRefusedError(name, Refusal.NOT_SAVED)

    @callback
    def async_end(self, outcomes: Mapping[str, Outcome]) -> None:
        """Keep the timers of settings that are or may be changed.

        `outcomes` are those of all changes; a setting without one had its value already.
        """
        changes = {**self._timed.changes}
        for name, value in self._target.items():
            timer = changes.pop(name, None)
            match outcomes.get(name):
                case Outcome.NOT_CONFIRMED | Outcome.REFUSED | Outcome.NOT_TRIED:
                    timer = self._earlier.get(name, timer)
                case Outcome.UNKNOWN:
                    # The undo acts only if the battery has one of the values sent.
                    pass
                case _:
                    timer = self._running(timer, value)
            if timer:
                changes[name] = timer
        if changes != self._timed.changes:
            self._timed.async_save(changes)

    def _running(self, timer: TimedChange | None, value: Value) -> TimedChange | None:
        """Return the timer of a value if the battery has it."""
        if (
            not self._duration
            or not timer
            or value not in timer.values
            or value == timer.before
        ):
            return None
        return replace(
            timer,
            values=(value,),
            due=self._due,
            lasts=self._duration.total_seconds(),
        )

    @property
    def _due(self) -> float:
        assert self._duration
        return (dt_util.utcnow() + self._duration).timestamp()
