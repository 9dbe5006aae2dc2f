"""Writes back the value before, once a timed change is over."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_track_point_in_utc_time
from homeassistant.util import dt as dt_util

from .const import DOMAIN
from .controls import async_read_settings, async_write_settings, lapsed_issue_id
from .coordinator import JkBmsConfigEntry
from .jkbms.models import Reading
from .jkbms.protocol.changes import accepted_register
from .jkbms.protocol.registers import Value
from .timed_changes import async_get_timed_changes

SOURCE: Final = "timer"
"""Of the ledger: nobody pressed anything."""
LAPSES_AFTER: Final = timedelta(hours=24)
"""How long after its time a value is still written back."""
ISSUE: Final = "timed_change_lapsed"

_CHARGE_PATH: Final = frozenset(
    ("charging", "request_charge_voltage", "request_float_voltage")
)
_CHARGE_ALARMS: Final = frozenset(
    (
        "battery_overtemperature",
        "cell_overvoltage",
        "charge_mosfet",
        "charge_overcurrent",
        "charge_overtemperature",
        "charge_short_circuit",
        "charge_undertemperature",
        "pack_overvoltage",
    )
)


@callback
def async_follow_timed_changes(hass: HomeAssistant, entry: JkBmsConfigEntry) -> None:
    """Undo the timed changes of an entry when they are due."""
    undo = _Undo(hass, entry)
    entry.async_on_unload(undo.async_stop)
    entry.async_on_unload(entry.runtime_data.async_add_listener(undo.async_check))
    undo.async_check()


class _Undo:
    """Looks, at the time and at each reading, for what is due."""

    def __init__(self, hass: HomeAssistant, entry: JkBmsConfigEntry) -> None:
        self._hass = hass
        self._entry = entry
        self._coordinator = entry.runtime_data
        self._timed = async_get_timed_changes(hass, entry.entry_id)
        self._task: asyncio.Task[None] | None = None
        self._cancel_timer: CALLBACK_TYPE | None = None

    @callback
    def async_stop(self) -> None:
        """Cancel the timer."""
        if self._cancel_timer:
            self._cancel_timer()
            self._cancel_timer = None

    @callback
    def async_check(self, _now: datetime | None = None) -> None:
        """Undo what is due, and set the timer for what is not."""
        self.async_stop()
        now = dt_util.utcnow()
        later = [each.due_at for each in self._timed.changes.values()]
        if coming := [due for due in later if due > now]:
            self._cancel_timer = async_track_point_in_utc_time(
                self._hass, self.async_check, min(coming)
            )
        if self._task and not self._task.done():
            return
        self._lapse(
            name
            for name, each in [*self._timed.changes.items()]
            if now - each.due_at > LAPSES_AFTER
        )
        coordinator = self._coordinator
        if coordinator.available and not coordinator.resumes_at:
            target, changed = self._sort_out(coordinator.data)
            if target or changed:
                self._task = self._entry.async_create_background_task(
                    self._hass,
                    self._async_undo(),
                    f"{DOMAIN} undo {coordinator.address}",
                )

    def _sort_out(self, reading: Reading) -> tuple[dict[str, Value], list[str]]:
        """Return what to write back now, and what somebody else changed meanwhile."""
        target: dict[str, Value] = {}
        changed = []
        now = dt_util.utcnow()
        for name, change in self._timed.changes.items():
            register = accepted_register(name, reading)
            if change.due_at > now or not register:
                continue
            if register.present(reading) != change.value:
                changed.append(name)
            elif name not in _CHARGE_PATH or _CHARGE_ALARMS.isdisjoint(
                reading.cell_data.faults or ()
            ):
                target[name] = change.before
        return target, changed

    async def _async_undo(self) -> None:
        """Read the battery again and write back what it still has of ours."""
        try:
            reading = await async_read_settings(self._coordinator)
            target, changed = self._sort_out(reading)
            self._timed.async_cancel(changed)
            if not target:
                return
            report = await async_write_settings(
                self._coordinator, target, None, source=SOURCE
            )
        except ServiceValidationError:
            # With the link turned off, it is done once that is on again.
            if not self._coordinator.resumes_at:
                self._lapse(self._sort_out(self._coordinator.data)[0])
        except HomeAssistantError:
            # Nothing was sent: the next reading is the next chance.
            return
        else:
            if not report.is_confirmed:
                self._lapse(target)
        finally:
            self._coordinator.async_update_listeners()

    @callback
    def _lapse(self, names: Iterable[str]) -> None:
        """Give up, and say so."""
        for name in names:
            self._timed.async_cancel((name,))
            ir.async_create_issue(
                self._hass,
                DOMAIN,
                lapsed_issue_id(self._entry.entry_id, name),
                is_fixable=False,
                is_persistent=True,
                severity=ir.IssueSeverity.WARNING,
                translation_key=ISSUE,
                translation_placeholders={"name": self._entry.title, "setting": name},
            )
