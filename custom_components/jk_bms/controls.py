"""Changes settings of a battery at a user's request and records the outcome."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import Context, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import issue_registry as ir

from .battery_logs import Publish
from .const import DOMAIN
from .coordinator import JkBmsCoordinator
from .diagnosis import translated_error
from .jkbms.bluetooth.client import READ_DEADLINE, WRITE_TIME
from .jkbms.bluetooth.writing import Outcome, WriteReport, WriteResult
from .jkbms.errors import Refusal, SettingRefusedError
from .jkbms.models import MASK, Reading
from .jkbms.protocol.changes import Change, changed, forgotten
from .jkbms.protocol.registers import RESTARTING, TIERS, Register, Value
from .ledger import SOURCE_TIMER, Ledger, async_find_source, async_record_write
from .options import JkBmsOptions
from .setting_texts import async_setting_label, async_value_text
from .timed_changes import TimedChanges, TimedWrite

CONFIRMATION_REQUIRED: Final = "confirmation_required"
"""Translation key of the error for a change that needs confirmation."""
NOT_SAVED: Final = "setting_not_saved"
"""Translation key of the error for a change whose undo cannot be saved."""
_REFUSED: Final = {
    Refusal.UNKNOWN: "setting_unknown",
    Refusal.PROTECTED: "setting_protected",
    Refusal.NOT_ACCEPTED: "setting_not_accepted",
    Refusal.NOT_PROVEN: "setting_not_proven",
    Refusal.NOT_A_VALUE: "setting_not_a_value",
    Refusal.OUT_OF_RANGE: "setting_out_of_range",
    Refusal.NOT_ALLOWED: "controls_not_allowed",
    Refusal.NOT_CONFIRMED: CONFIRMATION_REQUIRED,
    Refusal.NOT_SAVED: NOT_SAVED,
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
    duration: timedelta | None = None,
    is_undo: bool = False,
) -> WriteReport:
    """Write settings, each once and read back, and record each that was sent.

    `target` are the values by name; `confirmed` names those that the user was warned
    about. After `duration` they are undone; `is_undo` does that. Raises a
    `ServiceValidationError` before anything is sent, or a `HomeAssistantError` if the
    battery cannot be reached.
    """
    require_allowed(coordinator, target)
    request = _Request(
        coordinator, target, context, confirmed, duration, is_undo=is_undo
    )

    async def write(publish: Publish) -> WriteReport:
        try:
            report = await coordinator.client.write(
                target,
                publish,
                permit=request.permit,
                prepare=request.async_prepare,
                deadline=READ_DEADLINE + WRITE_TIME * len(target),
            )
        except SettingRefusedError as error:
            request.async_interrupt(publish)
            raise refused_error(coordinator.hass, error) from error
        except BaseException:
            request.async_interrupt(publish)
            raise
        request.async_end(publish, report.results, report.reading)
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


def require_confirmed(hass: HomeAssistant, report: WriteReport) -> None:
    """Raise a `HomeAssistantError` for the first change that is not confirmed."""
    for result in report.results:
        if result.outcome is not Outcome.CONFIRMED:
            raise translated_error(
                HomeAssistantError,
                _NOT_CONFIRMED[result.outcome],
                described(hass, result),
            )


def described(hass: HomeAssistant, result: WriteResult) -> dict[str, str]:
    """Return the placeholders of the error about a change that is not confirmed."""
    change = result.change
    return {
        "setting": async_setting_label(hass, change.setting),
        "value": shown(hass, change, change.new),
        "answer": shown(hass, change, result.answer),
        "reason": result.reason,
    }


def refused_error(
    hass: HomeAssistant, error: SettingRefusedError
) -> ServiceValidationError:
    """Return the error with the reason why a setting is not written."""
    return translated_error(
        ServiceValidationError,
        _REFUSED[error.refusal],
        {"setting": async_setting_label(hass, error.setting), "detail": error.detail},
    )


def shown(hass: HomeAssistant, change: Change, value: Value | None) -> str:
    """Return a value as text for a sentence, masked if it is secret."""
    if change.is_secret and value is not None:
        return MASK
    return async_value_text(hass, change.setting, value)


def require_allowed(coordinator: JkBmsCoordinator, names: Iterable[str]) -> None:
    """Raise a `ServiceValidationError` for settings that the owner has not allowed."""
    options = _options(coordinator)
    for name in names:
        # The plan refuses a name without a tier and gives the reason.
        if (tier := TIERS.get(name)) and not options.allows(tier):
            raise setting_error(coordinator.hass, "controls_not_allowed", name)


def require_permitted(
    coordinator: JkBmsCoordinator, change: Change, confirmed: Collection[str]
) -> None:
    """Raise a `SettingRefusedError` for a change that the owner has not allowed.

    Its old value was read on this link: the app may have changed what was shown.
    """
    name = change.setting
    options = _options(coordinator)
    if coordinator.is_shut_down or not options.allows(change.register.tier):
        raise SettingRefusedError(name, Refusal.NOT_ALLOWED)
    if name not in confirmed and _takes_confirmation(options, change):
        raise SettingRefusedError(name, Refusal.NOT_CONFIRMED)


def _options(coordinator: JkBmsCoordinator) -> JkBmsOptions:
    """Return the options as they are now, also before the entry is reloaded."""
    return JkBmsOptions.parse(coordinator.config_entry.options)


def setting_error(
    hass: HomeAssistant, key: str, setting: str
) -> ServiceValidationError:
    """Return an error that names a setting."""
    return translated_error(
        ServiceValidationError, key, {"setting": async_setting_label(hass, setting)}
    )


def _takes_confirmation(options: JkBmsOptions, change: Change) -> bool:
    """Return whether a change needs confirmation."""
    register, new = change.register, change.new
    if register.is_current:
        assert isinstance(new, int | float)
        return new > options.confirmed_currents.get(register.name, 0.0)
    return register.name in RESTARTING or bool(register.allowed)


def _newest(shown: Reading, written: Reading) -> Reading:
    """Return the newest values, with the settings that were read after a write."""
    if written.time >= shown.time:
        return written
    return replace(shown, settings=written.settings, device_info=written.device_info)


class _Request:
    """One request to write, from before the first value is sent to its end."""

    def __init__(
        self,
        coordinator: JkBmsCoordinator,
        target: Mapping[str, Value],
        context: Context | None,
        confirmed: Collection[str],
        duration: timedelta | None,
        *,
        is_undo: bool,
    ) -> None:
        self._coordinator = coordinator
        self._target = target
        self._context = context
        self._confirmed = confirmed
        # Resolved now: if the automation runs again, its context changes.
        self._source = (
            SOURCE_TIMER if is_undo else async_find_source(coordinator.hass, context)
        )
        self._sent: list[Change] = []
        entry_id = coordinator.config_entry.entry_id
        timed = TimedChanges.async_get(coordinator.hass, entry_id)
        self._timed = TimedWrite(timed, target, duration, is_undo=is_undo)

    def permit(self, change: Change) -> None:
        """Raise a `SettingRefusedError` for a change that the owner has not allowed."""
        self._timed.permit(change)
        require_permitted(self._coordinator, change, self._confirmed)

    async def async_prepare(self, change: Change) -> None:
        """Save the data needed after a crash, then note that the change is sent.

        Raises a `SettingRefusedError` if it is no longer allowed.
        """
        await self._timed.async_prepare(change)
        self.permit(change)
        coordinator = self._coordinator
        ledger = Ledger.async_get(coordinator.hass, coordinator.config_entry.entry_id)
        ledger.async_note_sent(change)
        self._sent.append(change)

    @callback
    def async_interrupt(self, publish: Publish) -> None:
        """Record a request that was cancelled or failed unexpectedly.

        A change is only sent once the one before is confirmed.
        """
        outcomes = [Outcome.CONFIRMED] * (len(self._sent) - 1) + [Outcome.UNKNOWN]
        results = [
            WriteResult(
                change=change,
                outcome=outcome,
                answer=change.new if outcome is Outcome.CONFIRMED else None,
            )
            for change, outcome in zip(self._sent, outcomes, strict=False)
        ]
        self.async_end(publish, results)

    @callback
    def async_end(
        self,
        publish: Publish,
        results: Iterable[WriteResult],
        reading: Reading | None = None,
    ) -> None:
        """Record what was sent, update the timers, and publish confirmed values.

        Without a reading, nothing is known about settings that were not sent.
        """
        coordinator = self._coordinator
        entry = coordinator.config_entry
        outcomes = (
            {} if reading else dict.fromkeys(self._target, Outcome.NOT_TRIED)
        ) | {result.change.setting: result.outcome for result in results}
        for result in results:
            if result.outcome in _SENT:
                async_record_write(
                    coordinator.hass, entry, self._context, result, self._source
                )
        self._timed.async_end(outcomes)
        for name in self._target:
            if outcomes.get(name, Outcome.CONFIRMED) is Outcome.CONFIRMED:
                ir.async_delete_issue(
                    coordinator.hass, DOMAIN, lapsed_issue_id(entry.entry_id, name)
                )
        if entry.state is not ConfigEntryState.LOADED or coordinator.hass.is_stopping:
            # After an unload nothing would cancel the task started here.
            return
        certain = {Outcome.CONFIRMED: changed, Outcome.UNKNOWN: forgotten}
        newest = _newest(coordinator.data, reading) if reading else coordinator.data
        for result in results:
            if apply := certain.get(result.outcome):
                newest = apply(newest, result.change)
        if reading or self._sent:
            publish(newest)
        unknown = [
            result.change.register
            for result in results
            if result.outcome is Outcome.UNKNOWN
        ]
        if unknown:
            entry.async_create_background_task(
                coordinator.hass,
                _async_read_again(coordinator, unknown),
                f"{DOMAIN} read settings {coordinator.address}",
            )


def lapsed_issue_id(entry_id: str, setting: str) -> str:
    """Return the id of the issue that a change was not undone."""
    return f"{entry_id}_lapsed_{setting}"


async def _async_read_again(
    coordinator: JkBmsCoordinator, registers: Iterable[Register]
) -> None:
    """Read unknown settings until this or the next link provides them."""
    while any(register.present(coordinator.data) is None for register in registers):
        with suppress(HomeAssistantError):
            await async_read_settings(coordinator)
            return
        await asyncio.sleep(coordinator.options.interval.total_seconds())
