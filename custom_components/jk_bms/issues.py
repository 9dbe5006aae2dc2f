"""Turns a lasting failure to read a battery into a repairs issue."""

from dataclasses import dataclass
from math import inf
from typing import Final

from bluetooth_data_tools import monotonic_time_coarse

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.translation import async_get_cached_translations
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
from .coordinator import JkBmsConfigEntry
from .diagnosis import PAIRING_POSSIBLE, Diagnosis

ENTRY_ID: Final = "entry_id"
"""Key in the data of an issue: the entry that it is about."""

IMPLAUSIBLE_VALUES: Final = "implausible_values"
"""Translation key of the issue about values that are left out."""

# Keys of the sensors of values that can be impossible, where they differ.
VALUE_SENSORS: Final = {
    "balance_current": "balancing_current",
    "battery_current": "current",
    "battery_voltage": "total_voltage",
    "cycle_count": "charging_cycles",
    "nominal_capacity": "full_charge_capacity",
    "remain_capacity": "capacity_remaining",
    "remain_percent": "state_of_charge",
    "up_time": "total_runtime",
}

# How long, in seconds, failures must have lasted before an issue is raised. A battery
# that is out of range for a moment, or in use by the phone app, comes back sooner.
ISSUE_AFTER: Final = 300.0

# How long, in seconds, one of these must have lasted. Other failures, such as a battery
# out of range or a weak signal, raise no issue: it is unavailable, and its entry gives the
# reason. A battery that stops advertising while its signal is strong counts as in use
# by another client, and so raises an issue after a day (`_why_not_reachable`).
RAISED_AFTER: Final = {
    "adapter_missing": ISSUE_AFTER,
    "implausible": ISSUE_AFTER,
    "no_free_slot": 900.0,
    "not_jk_bms": ISSUE_AFTER,
    "other_client": 86400.0,
    PAIRING_POSSIBLE: ISSUE_AFTER,
    "pairing_required": ISSUE_AFTER,
    "unsupported_layout": ISSUE_AFTER,
}

# The number of consecutive failures that is also required. With an interval of many
# minutes, two failures span `ISSUE_AFTER`, and two are no pattern.
MIN_FAILURES: Final = 3


@dataclass(slots=True)
class _FailureStreak:
    """Consecutive failures for the same reason."""

    key: str
    """The translation key of the reason."""
    since: float
    """When the first happened, in seconds of a monotonic clock."""
    stop_watching: CALLBACK_TYPE
    failures: int = 0
    is_raised: bool = False
    """Whether there is an issue."""


_STREAKS: HassKey[dict[str, _FailureStreak]] = HassKey(f"{DOMAIN}_failure_streaks")
"""Failure streaks by entry id: an entry that cannot be set up keeps no coordinator
between retries."""


@callback
def async_track_failures(hass: HomeAssistant, entry: JkBmsConfigEntry) -> None:
    """Raise and clear the issue of an entry with each result of its coordinator."""
    coordinator = entry.runtime_data
    last = coordinator.diagnosis

    @callback
    def update() -> None:
        nonlocal last
        _async_track_implausible(hass, entry)
        if not (diagnosis := coordinator.diagnosis):
            async_clear_issue(hass, entry)
        elif diagnosis is not last:
            _async_record_failure(hass, entry, diagnosis)
        last = diagnosis

    entry.async_on_unload(coordinator.async_add_listener(update))
    entry.async_on_unload(
        lambda: ir.async_delete_issue(
            hass, DOMAIN, _issue_id(entry, IMPLAUSIBLE_VALUES)
        )
    )


@callback
def _async_track_implausible(hass: HomeAssistant, entry: JkBmsConfigEntry) -> None:
    """Raise or delete the issue about values that are left out of the readings."""
    if not (reading := entry.runtime_data.data):
        return
    issue_id = _issue_id(entry, IMPLAUSIBLE_VALUES)
    if not (fields := reading.cell_data.implausible):
        ir.async_delete_issue(hass, DOMAIN, issue_id)
        return
    ir.async_create_issue(
        hass,
        DOMAIN,
        issue_id,
        is_fixable=False,
        severity=ir.IssueSeverity.WARNING,
        translation_key=IMPLAUSIBLE_VALUES,
        translation_placeholders={
            "name": entry.title,
            "fields": ", ".join(_async_value_name(hass, field) for field in fields),
        },
    )


@callback
def _async_value_name(hass: HomeAssistant, field: str) -> str:
    """Return the name of the sensor of a value, or else the field name as words."""
    names = async_get_cached_translations(hass, hass.config.language, "entity", DOMAIN)
    kind, _, number = field.rpartition("_")
    keys = {
        "battery_temperature": f"temperature_sensor_{number}",
        "cell_voltage": "cell_voltage",
    }
    key = keys.get(kind) or VALUE_SENSORS.get(field, field)
    name = names.get(f"component.{DOMAIN}.entity.sensor.{key}.name")
    return name.format(cell=number) if name else field.replace("_", " ")


@callback
def async_clear_issue(hass: HomeAssistant, entry: JkBmsConfigEntry) -> None:
    """End the streak of failures and delete its issue."""
    if streak := hass.data.get(_STREAKS, {}).pop(entry.entry_id, None):
        streak.stop_watching()
        if streak.is_raised:
            ir.async_delete_issue(hass, DOMAIN, _issue_id(entry, streak.key))


@callback
def _async_record_failure(
    hass: HomeAssistant, entry: JkBmsConfigEntry, diagnosis: Diagnosis
) -> None:
    @callback
    def clear_if_disabled() -> None:
        # An entry that waits for its next setup is not unloaded when it is disabled.
        if entry.disabled_by:
            async_clear_issue(hass, entry)

    now = monotonic_time_coarse()
    streaks = hass.data.setdefault(_STREAKS, {})
    streak = streaks.get(entry.entry_id)
    if streak and streak.key != diagnosis.key:
        async_clear_issue(hass, entry)
        streak = None
    if not streak:
        streak = streaks[entry.entry_id] = _FailureStreak(
            diagnosis.key, now, entry.async_on_state_change(clear_if_disabled)
        )
    streak.failures += 1
    if streak.failures < MIN_FAILURES or now - streak.since < RAISED_AFTER.get(
        diagnosis.key, inf
    ):
        return
    streak.is_raised = True
    ir.async_create_issue(
        hass,
        DOMAIN,
        _issue_id(entry, diagnosis.key),
        data={ENTRY_ID: entry.entry_id},
        is_fixable=diagnosis.key == PAIRING_POSSIBLE,
        severity=ir.IssueSeverity.WARNING,
        translation_key=diagnosis.key,
        translation_placeholders={"name": entry.title} | diagnosis.placeholders,
    )


def _issue_id(entry: JkBmsConfigEntry, key: str) -> str:
    return f"{entry.entry_id}_{key}"
