"""Writes back the previous value when a timed change is over."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_track_point_in_utc_time
from homeassistant.util import dt as dt_util

from .const import DOMAIN
from .controls import (
    NOT_SAVED,
    async_read_settings,
    async_write_settings,
    lapsed_issue_id,
)
from .coordinator import JkBmsConfigEntry
from .jkbms.bluetooth.writing import Outcome
from .jkbms.models import Reading
from .jkbms.protocol.changes import accepted_register
from .jkbms.protocol.registers import WRITE_ORDER, Value
from .setting_texts import async_setting_name
from .timed_changes import TimedChange, TimedChanges

LAPSES_AFTER: Final = timedelta(hours=24)
"""How long after its time a value is still written back."""
ISSUE_TIMED_CHANGE_LAPSED: Final = "timed_change_lapsed"

_CHARGE: Final = "request_charge_voltage"
_FLOAT: Final = "request_float_voltage"
_OTHER: Final = {_CHARGE: _FLOAT, _FLOAT: _CHARGE}
"""Voltages with a required order, which may only be met if both are undone."""
_CHARGE_PATH: Final = frozenset(("charging", _CHARGE, _FLOAT))
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


@dataclass
class _Due:
    """What to do with the changes that are due."""

    target: dict[str, Value] = field(default_factory=dict)
    """Values to write back."""
    gone: list[str] = field(default_factory=list)
    """Settings with another value by now: nothing is left to undo."""
    failed: list[str] = field(default_factory=list)
    """Settings that were written back before, but still have our value."""
    later: dict[str, TimedChange] = field(default_factory=dict)
    """Changes that have to wait for another one."""

    @property
    def is_something(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.target or self.gone or self.failed or self.later)

    @property
    def targets(self) -> Iterator[dict[str, Value]]:
        """Groups of values to write back together; a refused group does not affect the others."""
        voltages = {
            name: value for name, value in self.target.items() if name in WRITE_ORDER
        }
        if voltages:
            yield voltages
        for name, value in self.target.items():
            if name not in WRITE_ORDER:
                yield {name: value}


class _Undo:
    """Checks for due changes at their time and after each reading."""

    def __init__(self, hass: HomeAssistant, entry: JkBmsConfigEntry) -> None:
        self._hass = hass
        self._entry = entry
        self._coordinator = entry.runtime_data
        self._timed = TimedChanges.async_get(hass, entry.entry_id)
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
        self._timed.async_limit()
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
            if self._sort_out(coordinator.data).is_something:
                self._task = self._entry.async_create_background_task(
                    self._hass,
                    self._async_undo(),
                    f"{DOMAIN} undo {coordinator.address}",
                )

    def _sort_out(self, reading: Reading) -> _Due:
        """Return what to do now with the changes that are due."""
        due = _Due()
        now = dt_util.utcnow()
        for name, change in self._timed.changes.items():
            register = accepted_register(name, reading)
            if change.due_at > now or not register:
                continue
            present = register.present(reading)
            if present is None:
                # Unknown until the next reading.
                continue
            if present not in change.values:
                due.gone.append(name)
            elif change.is_sent:
                due.failed.append(name)
            elif not (
                name in _CHARGE_PATH
                # Turning on charging counts as raising as well.
                and change.before > present
                and _CHARGE_ALARMS.intersection(reading.cell_data.faults or ())
            ):
                due.target[name] = change.before
        self._keep_order(due, reading)
        return due

    def _keep_order(self, due: _Due, reading: Reading) -> None:
        """Undo the other voltage with this one, or postpone, if their order requires it.

        A voltage that returns to a lower value is undone at its time, together with the
        other one. A voltage that returns to a higher value waits.
        """
        present = {name: getattr(reading.settings, name, None) for name in _OTHER}
        for name in _OTHER.keys() & due.target.keys():
            other = _OTHER[name]
            change, waiting = (self._timed.changes.get(each) for each in (name, other))
            if not (change and waiting) or other in due.target:
                continue
            after: dict[str, Any] = {**present, name: change.before}
            if present[other] not in waiting.values or after[_FLOAT] <= after[_CHARGE]:
                continue
            if after[name] < present[name]:
                due.target[other] = waiting.before
                continue
            del due.target[name]
            if waiting.due > change.due:
                due.later[name] = replace(
                    change, due=waiting.due, lasts=max(change.lasts, waiting.lasts)
                )

    async def _async_undo(self) -> None:
        """Read the battery again and write back the settings that still have our values."""
        try:
            due = self._sort_out(await async_read_settings(self._coordinator))
            self._timed.async_cancel(due.gone)
            if due.later:
                self._timed.async_save({**self._timed.changes, **due.later})
            self._lapse(due.failed)
            for target in due.targets:
                await self._async_write_back(target)
        except HomeAssistantError:
            # Nothing was sent: the next reading tries again.
            return
        finally:
            self._coordinator.async_update_listeners()

    async def _async_write_back(self, target: Mapping[str, Value]) -> None:
        try:
            report = await async_write_settings(
                self._coordinator, target, None, is_undo=True
            )
        except ServiceValidationError as error:
            # If nothing can be saved, the next reading tries again. If the link is turned
            # off, it is done once the link is on again; while Home Assistant stops, after
            # its next start.
            if error.translation_key != NOT_SAVED and not (
                self._coordinator.resumes_at or self._coordinator.is_shut_down
            ):
                due = self._sort_out(self._coordinator.data)
                self._timed.async_cancel(due.gone)
                self._lapse(target.keys() & due.target.keys())
            return
        outcomes = {result.outcome for result in report.results}
        if outcomes & {Outcome.NOT_CONFIRMED, Outcome.REFUSED}:
            self._lapse(
                result.change.setting
                for result in report.results
                if result.outcome is not Outcome.CONFIRMED
            )

    @callback
    def _lapse(self, names: Iterable[str]) -> None:
        async_lapse(self._hass, self._entry, names)


@callback
def async_lapse(
    hass: HomeAssistant, entry: JkBmsConfigEntry, names: Iterable[str]
) -> None:
    """Give up undoing these changes and raise an issue for each."""
    for name in names:
        TimedChanges.async_get(hass, entry.entry_id).async_cancel((name,))
        ir.async_create_issue(
            hass,
            DOMAIN,
            lapsed_issue_id(entry.entry_id, name),
            is_fixable=False,
            is_persistent=True,
            severity=ir.IssueSeverity.WARNING,
            translation_key=ISSUE_TIMED_CHANGE_LAPSED,
            translation_placeholders={
                "name": entry.title,
                "setting": async_setting_name(hass, name),
            },
        )
