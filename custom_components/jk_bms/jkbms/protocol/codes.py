"""Alarms by layout and names of log events (docs/protocol.md 12).

The alarms and their names are in `models.Alarm`.
"""

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
"""Alarms that a battery of each layout can raise, in the order of the bits."""

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
"""1-based cell of the event codes that name one (docs/protocol.md 12.4)."""
LOG_EVENTS: Final = dict(enumerate(_EVENTS, start=1)) | {
    first + cell: name for first, name in _CELL_EVENTS for cell in range(MAX_CELLS)
}
"""Names of the event codes (docs/protocol.md 12.4)."""


def log_event(code: int) -> str:
    """Return the name of an event code; in the detail log 0 is a plain sample."""
    return LOG_EVENTS.get(code, "unknown") if code else "sample"


SETTING_NAMES: Final = (
    "smart_sleep_voltage",
    "cell_uvp",
    "cell_uvp_recovery",
    "cell_ovp",
    "cell_ovp_recovery",
    "balance_trigger",
    "soc_100",
    "soc_0",
    "request_charge_voltage",
    "request_float_voltage",
    "power_off_voltage",
    "max_charge_current",
    "charge_overcurrent_delay",
    "charge_overcurrent_recovery",
    "max_discharge_current",
    "discharge_overcurrent_delay",
    "discharge_overcurrent_recovery",
    "short_circuit_recovery",
    "max_balance_current",
    "charge_overtemperature",
    "charge_overtemperature_recovery",
    "discharge_overtemperature",
    "discharge_overtemperature_recovery",
    "charge_undertemperature",
    "charge_undertemperature_recovery",
    "mosfet_overtemperature",
    "mosfet_overtemperature_recovery",
    "cell_count",
    "charging",
    "discharging",
    "balancer",
    "nominal_capacity",
    "short_circuit_delay",
    "balance_start_voltage",
    "wire_resistances",
    "device_address",
    "discharge_precharge_time",
    "current_range",
    "heating",
    "temperature_sensors_disabled",
    "gps_heartbeat",
    "port_rs485",
    "display_always_on",
    "special_charger",
    "smart_sleep",
    "parallel_limiter_disabled",
    "timed_storage",
    "charging_float_mode",
    "emergency_trigger",
    "dry_contact_intermittent",
    "discharge_overcurrent_2",
    "discharge_overcurrent_3",
    "gps_lock_charging",
    "gps_lock_discharging",
    "heating_start_temperature",
    "heating_stop_temperature",
    "smart_sleep_delay",
    "discharge_undertemperature",
    "discharge_undertemperature_recovery",
)
"""Names of the registers of 32S from 0x01 on (docs/protocol.md 4.4)."""
SWITCHES: Final = SETTING_NAMES[0x27 - 1 : 0x36]
"""Names of registers 0x27 to 0x36, the bits of one value in the settings."""
_COMMANDS: Final = dict(enumerate(SETTING_NAMES, 0x01)) | {
    0x64: "voltage_calibration",
    0x67: "current_calibration",
    0x68: "li_ion_preset",
    0x69: "lfp_preset",
    0x6A: "lto_preset",
    0x6B: "emergency",
    0x6C: "clock",
    0x6E: "state_of_charge",
    0x6F: "state_of_health",
    0x96: "read_cell_data",
    0x97: "read_device_info",
    0x9F: "userdata",
    0xA1: "read_logbook",
    0xA5: "uart1_protocol",
    0xA6: "can_protocol",
    0xA7: "read_detail_log",
    0xA8: "uart2_protocol",
    0xA9: "buzzer_trigger",
    0xAA: "dry_contact_1_trigger",
    0xAB: "dry_contact_2_trigger",
    0xB2: "data_storage_period",
    0xB3: "request_charge_time",
    0xB4: "request_float_time",
    0xB5: "emergency_duration",
    0xB6: "uart3_protocol",
    0xB7: "rebulk_soc",
    0xC8: "acknowledgement",
}


def command_name(number: int) -> str:
    """Return the name of a command or register of 32S, or its number in hexadecimal."""
    return _COMMANDS.get(number, f"0x{number:02X}")


UART_PROTOCOLS: Final = (
    "4G/GPS V4.2",
    "JK RS485 Modbus V1.0",
    "NIU U",
    "China tower V1.1",
    "PACE Modbus V1.3",
    "Pylon RS485 V3.5",
    "Growatt RS485 V2.01",
    "Voltronic",
    "China tower V2.0",
    "WOW Modbus V1.3",
    "JK LCD V2.0",
    "User 1",
    "User 2",
    "JK Modbus 9600",
    "Pylon 9600",
    "JK PB LCD V1.0",
    "JK LIN V1.0",
    *(f"Reserved {number}" for number in range(17, 21)),
)
"""Names of the numbers from 0 on (docs/protocol.md 12.3); proper names, not translated."""
CAN_PROTOCOLS: Final = (
    "JK 250k V2.0",
    "Deye",
    "Pylon V1.2",
    "Growatt Rev 05",
    "Victron",
    "Megarevo",
    "JK 500k V2.0",
    "INVT V1.02",
    "GoodWe",
    "FSS",
    "MUST",
    "Luxpower",
    "User 1",
    "User 2",
    *(f"Reserved {number}" for number in range(14, 21)),
)
"""Likewise."""
TRIGGERS: Final = (
    "off",
    "low_state_of_charge",
    "pack_overvoltage",
    "pack_undervoltage",
    "cell_overvoltage",
    "cell_undervoltage",
    "charge_overcurrent",
    "discharge_overcurrent",
    "battery_overtemperature",
    "mosfet_overtemperature",
    "system_alarm",
    "battery_undertemperature",
    "remote_control",
    "high_state_of_charge",
    "mosfet_fault",
)
"""Events that trigger the buzzer or a dry contact, from 0 on (docs/protocol.md 12.3)."""
