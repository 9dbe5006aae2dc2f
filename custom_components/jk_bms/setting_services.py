"""Actions: return all settings of a battery, and change several of them at once."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

import probatio

from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import config_validation as cv

from .const import DOMAIN
from .controls import (
    CONFIRMATION_REQUIRED,
    async_read_settings,
    async_write_settings,
    described,
    refused_error,
    require_allowed,
    require_permitted,
    setting_error,
    shown,
)
from .coordinator import JkBmsCoordinator
from .diagnosis import translated_error
from .jkbms.bluetooth.writing import Outcome, WriteReport
from .jkbms.errors import SettingRefusedError
from .jkbms.models import SECRET_FIELDS, Reading
from .jkbms.protocol.changes import (
    PROTECTED,
    UNITS,
    Change,
    accepted_registers,
    choices,
    limits,
    plan,
)
from .jkbms.protocol.registers import RESTARTING, Kind, Register, unit_of
from .service_target import async_get_target, async_require_control, target_schema
from .setting_texts import async_setting_label
from .timed_changes import MAX_DURATION, TIMED

GET_SETTINGS: Final = "get_settings"
SET_SETTINGS: Final = "set_settings"

ATTR_SETTINGS: Final = "settings"
ATTR_CONFIRMED: Final = "confirmed"
ATTR_DRY_RUN: Final = "dry_run"
ATTR_FOR: Final = "for"
ATTR_VALUE: Final = "value"

GET_SCHEMA: Final = target_schema({})
SET_SCHEMA: Final = target_schema(
    {
        probatio.Required(ATTR_SETTINGS): probatio.All(
            {cv.string: object}, probatio.Length(min=1, max=200)
        ),
        probatio.Optional(ATTR_CONFIRMED, default=list): probatio.All(
            cv.ensure_list, [cv.string]
        ),
        probatio.Optional(ATTR_DRY_RUN, default=False): cv.boolean,
        probatio.Optional(ATTR_FOR): probatio.All(
            cv.positive_time_period,
            probatio.Range(min=timedelta(seconds=1), max=MAX_DURATION),
        ),
    }
)


@callback
def async_setup_setting_services(hass: HomeAssistant) -> None:
    """Register the actions."""
    hass.services.async_register(
        DOMAIN,
        GET_SETTINGS,
        _async_get_settings,
        schema=GET_SCHEMA,
        supports_response=SupportsResponse.ONLY,
    )
    hass.services.async_register(
        DOMAIN,
        SET_SETTINGS,
        _async_set_settings,
        schema=SET_SCHEMA,
        supports_response=SupportsResponse.OPTIONAL,
    )


async def _async_get_settings(call: ServiceCall) -> ServiceResponse:
    """Return every setting with its unit, its limits and whether it can be changed."""
    coordinator = async_get_target(call).runtime_data
    reading = await async_read_settings(coordinator)
    registers = accepted_registers(reading)
    values = asdict(reading.settings) if reading.settings else {}
    values |= {name: each.present(reading) for name, each in registers.items()}
    return {
        ATTR_SETTINGS: {
            name: {ATTR_VALUE: value, "unit": UNITS.get(name) or unit_of(name)}
            | _what_is_possible(coordinator, registers.get(name), reading)
            for name, value in values.items()
            if value is not None and name not in SECRET_FIELDS | {"register_support"}
        }
    }


def _what_is_possible(
    coordinator: JkBmsCoordinator, register: Register | None, reading: Reading
) -> dict[str, Any]:
    if not register or not coordinator.options.allows(register.tier):
        return {"writable": False}
    match register.kind:
        case Kind.NUMBER:
            low, high = limits(register, reading)
            return {
                "writable": low <= high,
                "minimum": low,
                "maximum": high,
                "step": register.step,
            }
        case Kind.CHOICE:
            return {"writable": True, "choices": [*choices(register, reading)]}
        case _:
            return {"writable": True}


async def _async_set_settings(call: ServiceCall) -> ServiceResponse:
    """Change settings in an order in which each step is valid; stop at a failure."""
    entry = async_get_target(call)
    await async_require_control(call, entry)
    coordinator = entry.runtime_data
    confirmed = frozenset(call.data[ATTR_CONFIRMED])
    duration: timedelta | None = call.data.get(ATTR_FOR)
    for name in call.data[ATTR_SETTINGS].keys() - TIMED if duration else ():
        raise setting_error(call.hass, "not_timed", name)
    reading = coordinator.data
    if call.data[ATTR_DRY_RUN] or not (reading and reading.settings):
        reading = await async_read_settings(coordinator)
    target, ignored = _sorted_out(
        call.hass, call.data[ATTR_SETTINGS], reading, confirmed
    )
    if call.data[ATTR_DRY_RUN]:
        require_allowed(coordinator, target)
        try:
            changes = plan(target, reading)
            for change in changes:
                require_permitted(coordinator, change, confirmed)
        except SettingRefusedError as error:
            raise refused_error(call.hass, error) from error
        return _response(call.hass, changes, ignored)
    if not target:
        return _response(call.hass, (), ignored)
    report = await async_write_settings(
        coordinator, target, call.context, confirmed, duration=duration
    )
    _require_all_confirmed(call.hass, report)
    return _response(call.hass, (result.change for result in report.results), ignored)


def _response(
    hass: HomeAssistant, changes: Iterable[Change], ignored: list[str]
) -> ServiceResponse:
    return {
        "changes": [_described(hass, change) for change in changes],
        "ignored": [*ignored],
    }


def _sorted_out(
    hass: HomeAssistant,
    requested: Mapping[str, Any],
    reading: Reading,
    confirmed: frozenset[str],
) -> tuple[dict[str, Any], list[str]]:
    """Return the values to write, and the names of settings that differ but are never written.

    The answer of `get_settings` can be passed as it is. Raises a
    `ServiceValidationError` if nothing remains of the request.
    """
    accepted = accepted_registers(reading)
    target: dict[str, Any] = {}
    ignored: dict[str, str] = {}
    is_asked_for_more = False
    for name, given in requested.items():
        value = given.get(ATTR_VALUE) if isinstance(given, Mapping) else given
        now = getattr(reading.settings, name, None)
        if name in PROTECTED:
            is_asked_for_more |= now == value
            if now != value:
                ignored[name] = "setting_protected"
        elif name in RESTARTING and name not in confirmed and now != value:
            ignored[name] = CONFIRMATION_REQUIRED
        elif name in accepted or now is None or now != value:
            # An unsupported setting is an error unless the battery already has that value.
            target[name] = value
        else:
            is_asked_for_more = True
    if ignored and not target and not is_asked_for_more:
        name, key = next(iter(ignored.items()))
        raise setting_error(hass, key, name)
    return target, sorted(ignored)


def _described(hass: HomeAssistant, change: Change) -> dict[str, Any]:
    unit = change.register.unit
    old, new = change.old, change.new
    if change.is_secret:
        old, new = shown(hass, change, old), shown(hass, change, new)
    return {"setting": change.setting, "old": old, "new": new, "unit": unit or None}


def _require_all_confirmed(hass: HomeAssistant, report: WriteReport) -> None:
    """Raise a `HomeAssistantError` that says what was changed and what was not."""
    if report.is_confirmed:
        return
    names: dict[Outcome, list[str]] = {outcome: [] for outcome in Outcome}
    for result in report.results:
        names[result.outcome].append(async_setting_label(hass, result.change.setting))
    failed = next(
        result
        for result in report.results
        if result.outcome not in (Outcome.CONFIRMED, Outcome.NOT_TRIED)
    )
    raise translated_error(
        HomeAssistantError,
        "settings_not_confirmed",
        described(hass, failed)
        | {
            "changed": ", ".join(names[Outcome.CONFIRMED]) or "-",
            "not_tried": ", ".join(names[Outcome.NOT_TRIED]) or "-",
        },
    )
