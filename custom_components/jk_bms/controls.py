"""Changes settings of a battery at a user's request, and records what became of it."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial, reduce
from typing import Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import Context, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import issue_registry as ir

from .battery_logs import Publish
from .const import DOMAIN
from .coordinator import JkBmsCoordinator
from .diagnosis import translated_error
from .jkbms.bluetooth.client import READ_DEADLINE
from .jkbms.bluetooth.writing import Outcome, WriteReport, WriteResult
from .jkbms.errors import Refusal, SettingRefusedError
from .jkbms.models import Reading
from .jkbms.protocol.changes import Change, forgotten, plan
from .jkbms.protocol.registers import REGISTERS, RESTARTING, TIERS, Value
from .ledger import MASKED, async_record_write
from .timed_changes import async_get_timed_changes

WRITE_TIME: Final = 15.0
"""s for one write and reading it back."""

_REFUSED: Final = {
    Refusal.UNKNOWN: "setting_unknown",
    Refusal.PROTECTED: "setting_protected",
    Refusal.NOT_ACCEPTED: "setting_not_accepted",
    Refusal.NOT_PROVEN: "setting_not_proven",
    Refusal.NOT_A_VALUE: "setting_not_a_value",
    Refusal.OUT_OF_RANGE: "setting_out_of_range",
}
_NOT_CONFIRMED: Final = {
    Outcome.NOT_CONFIRMED: "write_not_confirmed",
    Outcome.UNKNOWN: "write_unknown",
    Outcome.REFUSED: "write_refused",
}
_SENT: Final = {Outcome.CONFIRMED, Outcome.NOT_CONFIRMED, Outcome.UNKNOWN}


async def async_write_settings(
    coordinator: JkBmsCoordinator,
    target: Mapping[str, Value],
    context: Context | None,
    confirmed: Collection[str] = (),
    *,
    source: str | None = None,
) -> WriteReport:
    """Write settings, each once and read back, and record each that was sent.

    `target` are the values by name; `confirmed` names those that the user was warned
    about. Raises a `ServiceValidationError` before anything
    is sent, or a `HomeAssistantError` if the battery cannot be reached.
    """
    require_allowed(coordinator, target, confirmed)
    finish = partial(_async_finish, coordinator, context, source)

    async def write(publish: Publish) -> WriteReport:
        try:
            report = await coordinator.client.write(
                target, publish, deadline=READ_DEADLINE + WRITE_TIME * len(target)
            )
        except SettingRefusedError as error:
            raise refused_error(error) from error
        except asyncio.CancelledError:
            finish(publish, _interrupted(coordinator, target))
            raise
        if not any(map(_is_unknown, report.results)):
            publish(_newest(coordinator.data, report.reading))
        finish(publish, report.results)
        _async_end_timed_changes(coordinator, target, report)
        return report

    return await coordinator.async_use_now(write)


async def async_read_settings(coordinator: JkBmsCoordinator) -> Reading:
    """Read device information and settings now, on a held link as well.

    Raises a `HomeAssistantError`.
    """

    async def read(publish: Publish) -> Reading:
        report = await coordinator.client.write({}, publish)
        publish(_newest(coordinator.data, report.reading))
        return report.reading

    return await coordinator.async_use_now(read)


def require_confirmed(report: WriteReport) -> None:
    """Raise a `HomeAssistantError` for the first change that is not confirmed."""
    for result in report.results:
        if result.outcome is not Outcome.CONFIRMED:
            raise translated_error(
                HomeAssistantError,
                _NOT_CONFIRMED[result.outcome],
                {
                    "setting": result.change.setting,
                    "value": shown(result.change, result.change.new),
                    "answer": shown(result.change, result.answer),
                    "reason": result.reason,
                },
            )


def refused_error(error: SettingRefusedError) -> ServiceValidationError:
    """Return the error that says why a setting is not written."""
    return translated_error(
        ServiceValidationError,
        _REFUSED[error.refusal],
        {"setting": error.setting, "detail": error.detail},
    )


def shown(change: Change, value: Value | None) -> str:
    """Return a value as a sentence shows it, a secret one masked."""
    if value is None:
        return "?"
    if change.is_secret:
        return MASKED
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value
    return f"{value:.10g} {change.register.unit}".rstrip()


def require_allowed(
    coordinator: JkBmsCoordinator,
    target: Mapping[str, Value],
    confirmed: Collection[str] = (),
) -> None:
    """Raise a `ServiceValidationError` for what the owner has not allowed."""
    for name, value in target.items():
        # The plan refuses a name without a tier, and says why.
        if (tier := TIERS.get(name)) and not coordinator.options.allows(tier):
            raise translated_error(
                ServiceValidationError, "controls_not_allowed", {"setting": name}
            )
        if name not in confirmed and _takes_confirmation(coordinator, name, value):
            raise translated_error(
                ServiceValidationError, "confirmation_required", {"setting": name}
            )


def _takes_confirmation(coordinator: JkBmsCoordinator, name: str, value: Value) -> bool:
    """Return whether a change is one to warn about; what is equal is no change."""
    rows = [registers[name] for registers in REGISTERS.values() if name in registers]
    reading = coordinator.data
    if not rows or (reading and rows[0].present(reading) == value):
        return False
    if rows[0].is_current:
        found = coordinator.options.found.get(name, 0.0)
        return isinstance(value, int | float) and value > found
    return name in RESTARTING or bool(rows[0].allowed)


def _newest(shown: Reading, written: Reading) -> Reading:
    """Return the newest values, with the settings that were read after a write."""
    if written.time >= shown.time:
        return written
    return replace(shown, settings=written.settings, device_info=written.device_info)


def _interrupted(
    coordinator: JkBmsCoordinator, target: Mapping[str, Value]
) -> tuple[WriteResult, ...]:
    """Return what a write may have sent that was cancelled."""
    try:
        changes = plan(target, coordinator.data)
    except SettingRefusedError:
        # Then nothing was sent.
        return ()
    return tuple(
        WriteResult(change=change, outcome=Outcome.UNKNOWN) for change in changes
    )


def _is_unknown(result: WriteResult) -> bool:
    return result.outcome is Outcome.UNKNOWN


@callback
def _async_finish(
    coordinator: JkBmsCoordinator,
    context: Context | None,
    source: str | None,
    publish: Publish,
    results: Iterable[WriteResult],
) -> None:
    """Record what was sent, and show no value that may be wrong."""
    entry = coordinator.config_entry
    for result in results:
        if result.outcome in _SENT:
            async_record_write(
                coordinator.hass,
                entry,
                context,
                result.change,
                result.outcome,
                result.answer,
                source,
            )
    unknown = [each.change for each in results if _is_unknown(each)]
    if not unknown or entry.state is not ConfigEntryState.LOADED:
        # After an unload nobody would cancel what this starts.
        return
    publish(reduce(forgotten, unknown, coordinator.data))
    entry.async_create_background_task(
        coordinator.hass,
        _async_read_again(coordinator),
        f"{DOMAIN} read settings {coordinator.address}",
    )


@callback
def _async_end_timed_changes(
    coordinator: JkBmsCoordinator, target: Iterable[str], report: WriteReport
) -> None:
    """Undo no older change of what was requested anew."""
    hass, entry_id = coordinator.hass, coordinator.config_entry.entry_id
    unsent = {
        result.change.setting
        for result in report.results
        if result.outcome not in _SENT
    }
    names = {*target} - unsent
    async_get_timed_changes(hass, entry_id).async_cancel(names)
    for name in names:
        ir.async_delete_issue(hass, DOMAIN, lapsed_issue_id(entry_id, name))


def lapsed_issue_id(entry_id: str, setting: str) -> str:
    """Return the id of the issue that a change was not undone."""
    return f"{entry_id}_lapsed_{setting}"


async def _async_read_again(coordinator: JkBmsCoordinator) -> None:
    """Read settings that are not known; if this fails, the next reading shows them."""
    with suppress(HomeAssistantError):
        await async_read_settings(coordinator)
