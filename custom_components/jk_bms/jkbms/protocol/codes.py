"""Names of alarms and log events (docs/protocol.md 12)."""

from typing import Final

from ..models import MAX_CELLS, Alarm, Layout
from .fields import set_bits

_ALARM_NAMES: Final = tuple(str(alarm.name).lower() for alarm in Alarm)


def alarm_names(raw: int) -> tuple[str, ...]:
    """Return the names of the bits of an alarm mask, lowest first."""
    return tuple([_ALARM_NAMES[bit] for bit in set_bits(raw)]) if raw else ()


ALARMS: Final[dict[Layout | None, tuple[str, ...]]] = {
    None: alarm_names(0xFFFFFFFF),
    Layout.JK04: (),
    Layout.JK02_24S: alarm_names(0xFFFF),
    Layout.JK02_32S: alarm_names(0xFFFFFFFF),
}
"""What a battery of each layout can raise, in the order of the bits."""

_SWITCHED = ("charging_off", "charging_on", "discharging_off", "discharging_on")
_PROTECTIONS = (
    "mosfet_overtemperature",
    "current_sensor",
    "internal_communication",
    "cell_overvoltage",
    "pack_overvoltage",
    "charge_overcurrent",
    "charge_short_circuit",
    "charge_overtemperature",
    "charge_undertemperature",
    "cell_undervoltage",
    "pack_undervoltage",
    "discharge_overcurrent",
    "discharge_short_circuit",
    "discharge_overtemperature",
)
_EVENTS: Final = (
    "boot",
    "shutdown",
    *(f"{who}_{what}" for who in ("app", "remote") for what in _SWITCHED),
    *(f"{name}{end}" for name in _PROTECTIONS for end in ("", "_released")),
    "watchdog_reset",
    "short_circuit_2",
    "emergency_on",
    "emergency_off",
    "emergency_ended",
    "app_power_off",
    "button_power_off",
    "discharge_on_failed",
    "rs485_power_off",
    *(f"{who}_{what}" for who in ("can", "rs485") for what in _SWITCHED),
    "sleep",
    "charge_mosfet",
    "discharge_mosfet",
    "clock_set",
    "cell_count",
    "emergency_button_on",
    "emergency_button_off",
    "button_heating",
    "discharge_overcurrent_2",
    "discharge_overcurrent_3",
    "short_circuit_release_failed",
    "preset_li_ion",
    "preset_lfp",
    "preset_lto",
    "remote_emergency_on",
    "remote_emergency_off",
    "discharge_undertemperature",
    "discharge_undertemperature_released",
)
_CELL_EVENTS: Final = ((0xC8, "cell_undervoltage"), (0x64, "cell_overvoltage"))

LOG_CELLS: Final = {
    first + cell: cell + 1 for first, _ in _CELL_EVENTS for cell in range(MAX_CELLS)
}
"""Cell, 1-based, of those event codes that name one (docs/protocol.md 12.4)."""
LOG_EVENTS: Final = dict(enumerate(_EVENTS, start=1)) | {
    first + cell: name for first, name in _CELL_EVENTS for cell in range(MAX_CELLS)
}
"""Names of the event codes (docs/protocol.md 12.4)."""


def log_event(code: int) -> str:
    """Return the name of an event code; the detail log has 0 for a plain sample."""
    return LOG_EVENTS.get(code, "unknown") if code else "sample"
