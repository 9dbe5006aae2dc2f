"""Tests of decoding: literal bytes at the offsets of docs/protocol.md, no table between."""

import ast
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from custom_components import jk_bms
from custom_components.jk_bms.jkbms.errors import (
    ImplausibleFrameError,
    ImplausibleValuesError,
    JkBmsError,
    UnsupportedLayoutError,
)
from custom_components.jk_bms.jkbms.models import (
    SECRET_FIELDS,
    Alarm,
    BalancerState,
    BatteryType,
    CellData,
    ChargePhase,
    DetailLogRecord,
    DeviceInfo,
    Layout,
    LogEntry,
    Settings,
)
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_detail_log,
    decode_device_info,
    decode_logbook,
    decode_settings,
    redact,
)
from custom_components.jk_bms.jkbms.protocol.detect import confirm_profile, find_profile
from custom_components.jk_bms.jkbms.protocol.frames import Frame
from custom_components.jk_bms.jkbms.protocol.profile import (
    Profile,
    choose_profile,
    parse_firmware,
)

from ..export.states import ALARMS
from . import (
    CELL_DATA,
    DETAIL_LOG,
    DEVICE_INFO,
    LOGBOOK,
    SETTINGS,
    Content,
    build_frame,
)

JK04 = choose_profile("JK-B2A16S", "3.3.0")
OLD = choose_profile("JK-B2A24S15P", "10.07")
NEW = choose_profile("JK_PB2A16S20P", "19.31")
BALANCER = choose_profile("JK_DZ11B2A24S", "11.55")


NOT_BLANK: Content = {290: "01"}
"""A byte without a meaning in any layout; a frame of nothing but zeros is refused."""


def cells(profile: Profile, *contents: Content) -> CellData:
    """Decode cell data."""
    return decode_cell_data(build_frame(CELL_DATA, NOT_BLANK, *contents), profile)


def settings(profile: Profile, *contents: Content) -> Settings:
    """Decode settings."""
    return decode_settings(build_frame(SETTINGS, *contents), profile)


def info(*contents: Content) -> DeviceInfo:
    """Decode device information."""
    return decode_device_info(build_frame(DEVICE_INFO, *contents))


def mv(*volts: int) -> bytes:
    """Return cells in mV as JK02 has them."""
    return b"".join(value.to_bytes(2, "little") for value in volts)


# Frames without a zero where it counts: 65.793 A, 257 cycles
FULL_24S = {5: "01" * 294, 126: "01010100", 150: "01010000", 182: "FF"}
FULL_32S = {5: "01" * 294, 158: "01010100", 182: "01010000", 214: "FF"}

# Four cells of 3.3 V in each layout, all temperature sensors in place
FOUR = {
    Layout.JK04: {6: "33335340" * 4, 214: "0F000000"},
    Layout.JK02_24S: {6: "E40C" * 4, 54: "0F000000", 118: "90330000", 182: "FF"},
    Layout.JK02_32S: {6: "E40C" * 4, 70: "0F000000", 150: "90330000", 214: "FF"},
}


# Every field of every table. A row: what stands where, and all that it changes against
# a frame of zeros, but for a voltage: without one nothing is measured

type Row = tuple[Content, dict[str, Any]]

CELL_DATA_24S: list[Row] = [
    ({5: "A7"}, {"frame_counter": 167}),
    ({114: "05000080"}, {"wire_resistance_alarm": (1, 3, 32)}),
    ({118: "04030200"}, {"battery_voltage": 131.844}),
    ({126: "04031200"}, {"battery_current": 1180.42, "battery_power": 1.18}),
    ({126: "9DD6FFFF"}, {"battery_current": -10.595, "battery_power": -0.01}),
    (
        {118: "90D00000", 126: "9DD6FFFF"},
        {
            "battery_voltage": 53.392,
            "battery_current": -10.595,
            "battery_power": -565.688,
        },
    ),
    (
        {118: "90D00000", 126: "9C000000"},
        {"battery_voltage": 53.392, "battery_current": 0.156, "battery_power": 8.329},
    ),
    ({130: "CD00", 182: "02"}, {"battery_temperature": (20.5, None)}),
    ({132: "E1FF", 182: "04"}, {"battery_temperature": (None, -3.1)}),
    ({134: "0B01", 182: "01"}, {"mosfet_temperature": 26.7}),
    (
        {136: "0180"},
        {
            "alarm_mask": 0x8001,
            "alarms": ("wire_resistance", "discharge_overtemperature"),
        },
    ),
    ({138: "26F9"}, {"balance_current": -1.754}),
    ({138: "E803"}, {"balance_current": 1.0}),
    ({140: "01"}, {"balancer": BalancerState.CHARGING}),
    ({140: "02"}, {"balancer": BalancerState.DISCHARGING}),
    ({140: "03"}, {"balancer": BalancerState.UNKNOWN}),
    ({140: "FF"}, {"balancer": BalancerState.UNKNOWN}),
    ({141: "55"}, {"remain_percent": 85}),
    ({142: "04030201"}, {"remain_capacity": 16909.06}),
    ({142: "FEFFFFFF"}, {"remain_capacity": -0.002}),
    ({146: "04030201"}, {"nominal_capacity": 16909.06}),
    ({150: "04030100"}, {"cycle_count": 66308}),
    ({154: "04030281"}, {"cycle_capacity": 2164392.708}),
    ({158: "C8"}, {"state_of_health": 200}),
    ({159: "01"}, {"precharging": True}),
    ({162: "04030241"}, {"up_time": 1090650884}),
    ({166: "01"}, {"charging": True}),
    ({167: "01"}, {"discharging": True}),
    ({170: "0182"}, {"discharge_overcurrent_release_time": 33281}),
    ({172: "0182"}, {"discharge_short_circuit_release_time": 33281}),
    ({174: "0182"}, {"charge_overcurrent_release_time": 33281}),
    ({176: "0182"}, {"charge_short_circuit_release_time": 33281}),
    ({178: "0182"}, {"cell_undervoltage_release_time": 33281}),
    ({180: "0182"}, {"cell_overvoltage_release_time": 33281}),
    ({186: "0182"}, {"emergency_countdown": 33281}),
    ({188: "0182"}, {"discharge_current_correction": 33281}),
    ({190: "0182"}, {"charge_current_sensor": 33.281}),
    ({192: "0182"}, {"discharge_current_sensor": 33.281}),
    ({194: "295C2F40"}, {"voltage_correction": 2.74}),
    ({198: "0182"}, {"balancer_discharge_drive": 33281}),
    ({200: "0182"}, {"balancer_charge_drive": 33281}),
    ({213: "01"}, {"charger_plugged": True}),
    ({214: "04030281"}, {"boot_time": 216439270.8}),
]

CELL_DATA_32S: list[Row] = [
    ({5: "A7"}, {"frame_counter": 167}),
    ({144: "0B01", 214: "01"}, {"mosfet_temperature": 26.7}),
    ({146: "05000080"}, {"wire_resistance_alarm": (1, 3, 32)}),
    ({150: "04030200"}, {"battery_voltage": 131.844}),
    ({158: "04031200"}, {"battery_current": 1180.42, "battery_power": 1.18}),
    ({158: "9DD6FFFF"}, {"battery_current": -10.595, "battery_power": -0.01}),
    (
        {150: "90D00000", 158: "9DD6FFFF"},
        {
            "battery_voltage": 53.392,
            "battery_current": -10.595,
            "battery_power": -565.688,
        },
    ),
    ({162: "CD00", 214: "02"}, {"battery_temperature": (20.5, None)}),
    ({164: "E1FF", 214: "04"}, {"battery_temperature": (None, -3.1)}),
    (
        {166: "04030281"},
        {
            "alarm_mask": 0x81020304,
            "alarms": (
                "cell_count",
                "charge_overtemperature",
                "charge_undertemperature",
                "discharge_mosfet",
                "short_circuit_release_failed",
                "bit_31",
            ),
        },
    ),
    ({170: "26F9"}, {"balance_current": -1.754}),
    ({170: "E803"}, {"balance_current": 1.0}),
    ({172: "01"}, {"balancer": BalancerState.CHARGING}),
    ({172: "02"}, {"balancer": BalancerState.DISCHARGING}),
    ({172: "03"}, {"balancer": BalancerState.UNKNOWN}),
    ({172: "FF"}, {"balancer": BalancerState.UNKNOWN}),
    ({173: "55"}, {"remain_percent": 85}),
    ({174: "04030201"}, {"remain_capacity": 16909.06}),
    ({174: "FEFFFFFF"}, {"remain_capacity": -0.002}),
    ({178: "04030201"}, {"nominal_capacity": 16909.06}),
    ({182: "04030100"}, {"cycle_count": 66308}),
    ({186: "04030281"}, {"cycle_capacity": 2164392.708}),
    ({190: "C8"}, {"state_of_health": 200}),
    ({191: "01"}, {"precharging": True}),
    ({194: "04030241"}, {"up_time": 1090650884}),
    ({198: "01"}, {"charging": True}),
    ({199: "01"}, {"discharging": True}),
    ({202: "0182"}, {"discharge_overcurrent_release_time": 33281}),
    ({204: "0182"}, {"discharge_short_circuit_release_time": 33281}),
    ({206: "0182"}, {"charge_overcurrent_release_time": 33281}),
    ({208: "0182"}, {"charge_short_circuit_release_time": 33281}),
    ({210: "0182"}, {"cell_undervoltage_release_time": 33281}),
    ({212: "0182"}, {"cell_overvoltage_release_time": 33281}),
    ({215: "01"}, {"heating": True, "heater_current": 0.0}),
    ({215: "01", 236: "18FC"}, {"heating": True, "heater_current": -1.0}),
    ({215: "01", 236: "C21D"}, {"heating": True, "heater_current": 7.618}),
    ({218: "0182"}, {"emergency_countdown": 33281}),
    ({220: "0182"}, {"discharge_current_correction": 33281}),
    ({222: "0182"}, {"charge_current_sensor": 33.281}),
    ({224: "0182"}, {"discharge_current_sensor": 33.281}),
    ({226: "295C2F40"}, {"voltage_correction": 2.74}),
    ({230: "0182"}, {"balancer_discharge_drive": 33281}),
    ({232: "0182"}, {"balancer_charge_drive": 33281}),
    ({245: "01"}, {"charger_plugged": True}),
    ({246: "04030281"}, {"boot_time": 216439270.8}),
    ({256: "7B00", 214: "10"}, {"battery_temperature": (None, None, 12.3, None)}),
    ({258: "F8FF", 214: "20"}, {"battery_temperature": (None, None, None, -0.8)}),
    ({260: "0182"}, {"charge_current_correction": 33281}),
    ({262: "04030281"}, {"clock": 2164392708}),
    ({266: "04030281"}, {"detail_log_count": 2164392708}),
    ({270: "04030281"}, {"sleep_countdown": 2164392708}),
    ({274: "01"}, {"parallel_limiter": True}),
    ({275: "01"}, {"battery_type": BatteryType.LI_ION}),
    ({275: "02"}, {"battery_type": BatteryType.LTO}),
    ({275: "03"}, {"battery_type": BatteryType.UNKNOWN}),
    ({276: "C8"}, {"warmest_sensor": 200}),
    ({277: "C8"}, {"coldest_sensor": 200}),
    ({278: "0182"}, {"charge_phase_time": 33281}),
    ({280: "01"}, {"charge_phase": ChargePhase.ABSORPTION}),
    ({280: "02"}, {"charge_phase": ChargePhase.FLOAT}),
    ({280: "03"}, {"charge_phase": ChargePhase.UNKNOWN}),
    ({281: "02"}, {"dry_contact_1": True}),
    ({281: "04"}, {"dry_contact_2": True}),
    ({281: "06"}, {"dry_contact_1": True, "dry_contact_2": True}),
]

CELL_DATA_JK04: list[Row] = [
    ({5: "A7"}, {"frame_counter": 167}),
    ({220: "01"}, {"balancer": BalancerState.CHARGING}),
    ({220: "02"}, {"balancer": BalancerState.DISCHARGING}),
    ({220: "03"}, {"balancer": BalancerState.UNKNOWN}),
    ({222: "1283E0BF"}, {"balance_current": -1.754}),
    ({286: "04030241"}, {"up_time": 1090650884}),
]

SETTINGS_JK02: list[Row] = [
    ({6: "04030281"}, {"smart_sleep_voltage": 2164392.708}),
    ({10: "04030281"}, {"cell_uvp": 2164392.708}),
    ({14: "04030281"}, {"cell_uvp_recovery": 2164392.708}),
    ({18: "04030281"}, {"cell_ovp": 2164392.708}),
    ({22: "04030281"}, {"cell_ovp_recovery": 2164392.708}),
    ({26: "04030281"}, {"balance_trigger": 2164392.708}),
    ({30: "04030281"}, {"soc_100": 2164392.708}),
    ({34: "04030281"}, {"soc_0": 2164392.708}),
    ({38: "04030281"}, {"request_charge_voltage": 2164392.708}),
    ({42: "04030281"}, {"request_float_voltage": 2164392.708}),
    ({46: "04030281"}, {"power_off_voltage": 2164392.708}),
    ({50: "04030281"}, {"max_charge_current": 2164392.708}),
    ({54: "04030281"}, {"charge_overcurrent_delay": 2164392708}),
    ({58: "04030281"}, {"charge_overcurrent_recovery": 2164392708}),
    ({62: "04030281"}, {"max_discharge_current": 2164392.708}),
    ({66: "04030281"}, {"discharge_overcurrent_delay": 2164392708}),
    ({70: "04030281"}, {"discharge_overcurrent_recovery": 2164392708}),
    ({74: "04030281"}, {"short_circuit_recovery": 2164392708}),
    ({78: "04030281"}, {"max_balance_current": 2164392.708}),
    ({82: "04030201"}, {"charge_overtemperature": 1690906.0}),
    ({82: "38FFFFFF"}, {"charge_overtemperature": -20.0}),
    ({86: "04030201"}, {"charge_overtemperature_recovery": 1690906.0}),
    ({86: "38FFFFFF"}, {"charge_overtemperature_recovery": -20.0}),
    ({90: "04030201"}, {"discharge_overtemperature": 1690906.0}),
    ({90: "38FFFFFF"}, {"discharge_overtemperature": -20.0}),
    ({94: "04030201"}, {"discharge_overtemperature_recovery": 1690906.0}),
    ({94: "38FFFFFF"}, {"discharge_overtemperature_recovery": -20.0}),
    ({98: "04030201"}, {"charge_undertemperature": 1690906.0}),
    ({98: "38FFFFFF"}, {"charge_undertemperature": -20.0}),
    ({102: "04030201"}, {"charge_undertemperature_recovery": 1690906.0}),
    ({102: "38FFFFFF"}, {"charge_undertemperature_recovery": -20.0}),
    ({106: "04030201"}, {"mosfet_overtemperature": 1690906.0}),
    ({106: "38FFFFFF"}, {"mosfet_overtemperature": -20.0}),
    ({110: "04030201"}, {"mosfet_overtemperature_recovery": 1690906.0}),
    ({110: "38FFFFFF"}, {"mosfet_overtemperature_recovery": -20.0}),
    ({114: "18"}, {"cell_count": 24}),
    ({118: "01000000"}, {"charging": True}),
    ({122: "01000000"}, {"discharging": True}),
    ({126: "01000000"}, {"balancer": True}),
    ({130: "04030281"}, {"nominal_capacity": 2164392.708}),
    ({134: "04030281"}, {"short_circuit_delay": 2164392708}),
    ({138: "04030281"}, {"balance_start_voltage": 2164392.708}),
]

SETTINGS_32S: list[Row] = [
    *SETTINGS_JK02,
    ({114: "20"}, {"cell_count": 32}),
    ({270: "04030281"}, {"device_address": 2164392708}),
    ({274: "04030281"}, {"discharge_precharge_time": 2164392708}),
    ({282: "0100"}, {"heating": True}),
    ({282: "0200"}, {"temperature_sensors_disabled": True}),
    ({282: "0400"}, {"gps_heartbeat": True}),
    ({282: "0800"}, {"port_rs485": True}),
    ({282: "1000"}, {"display_always_on": True}),
    ({282: "2000"}, {"special_charger": True}),
    ({282: "4000"}, {"smart_sleep": True}),
    ({282: "8000"}, {"parallel_limiter_disabled": True}),
    ({282: "0001"}, {"timed_storage": True}),
    ({282: "0002"}, {"charging_float_mode": True}),
    ({282: "0004"}, {"emergency_trigger": True}),
    ({282: "0008"}, {"dry_contact_intermittent": True}),
    ({282: "0010"}, {"discharge_overcurrent_2": True}),
    ({282: "0020"}, {"discharge_overcurrent_3": True}),
    ({282: "0040"}, {"gps_lock_charging": True}),
    ({282: "0080"}, {"gps_lock_discharging": True}),
    ({284: "EC"}, {"heating_start_temperature": -20}),
    ({285: "05"}, {"heating_stop_temperature": 5}),
    ({285: "FB"}, {"heating_stop_temperature": -5}),
    ({286: "C8"}, {"smart_sleep_delay": 200}),
    ({287: "01" + 7 * "00" + "80"}, {"register_support": (0, 71)}),
    ({296: "EC"}, {"discharge_undertemperature": -20}),
    ({297: "F6"}, {"discharge_undertemperature_recovery": -10}),
]

SETTINGS_JK04: list[Row] = [
    ({34: "18"}, {"cell_count": 24}),
    ({38: "33333340"}, {"power_off_voltage": 2.8}),
    ({74: "CDCC4C40"}, {"voltage_calibration": 3.2}),
    ({98: "00004040"}, {"balance_start_voltage": 3.0}),
    ({106: "6F12033C"}, {"balance_trigger": 0.008}),
    ({110: "00000040"}, {"max_balance_current": 2.0}),
    ({114: "01000000"}, {"balancer": True}),
]

DEVICE_INFO_START: list[Row] = [
    ({6: b"JK-B2A24S15PL"}, {"device_model": "JK-B2A24S15PL"}),
    ({22: b"10.XW"}, {"hardware_version": "10.XW"}),
    ({22: b"10.X-W_8"}, {"hardware_version": "10.X-W_8"}),
    ({38: "04030281"}, {"up_time": 2164392708}),
    ({42: "04030281"}, {"poweron_times": 2164392708}),
    ({46: b"sixteen letters!"}, {"device_name": "sixteen letters!"}),
    ({62: b"sixteen letters!"}, {"device_passcode": "sixteen letters!"}),
    ({78: b"22040799"}, {"manufacturing_date": "22040799"}),
    ({86: b"2021602096"}, {"serial_number": "2021602096"}),
    (
        {86: b"2021602096", 97: b"12345"},
        {"serial_number": "2021602096", "passcode": "12345"},
    ),
    # Left-overs behind the NUL
    (
        {86: b"40531310629\x00000"},
        {"serial_number": "40531310629", "passcode": "000"},
    ),
    ({86: b"503214849000643"}, {"serial_number": "503214849000643"}),
    ({86: b"5032148490006430"}, {"serial_number": "5032148490006430"}),
    ({102: b"sixteen letters!"}, {"userdata": "sixteen letters!"}),
    ({118: b"sixteen letters!"}, {"setup_passcode": "sixteen letters!"}),
    # Typed by a person
    ({46: "42C3BC726F"}, {"device_name": "Büro"}),
    ({46: "42FC726F"}, {"device_name": "B\N{REPLACEMENT CHARACTER}ro"}),
    ({46: b"  van  "}, {"device_name": "van"}),
    ({46: b"BMS\0left-over"}, {"device_name": "BMS"}),
]

DEVICE_INFO_32S: list[Row] = [
    *DEVICE_INFO_START[1:],
    # The maximum cell count stands behind the NUL
    ({6: b"JK-PB2A16S20P\0\0\x10"}, {"device_model": "JK-PB2A16S20P"}),
    ({134: b"sixteen letters!"}, {"userdata2": "sixteen letters!"}),
    ({150: "80" + 30 * "00" + "01"}, {"command_support": (7, 248)}),
    ({184: "C8"}, {"uart1_protocol": 200}),
    ({185: "C8"}, {"can_protocol": 200}),
    ({186: "0300"}, {"uart1_protocols": (0, 1)}),
    ({186: "00001000"}, {"uart1_protocols": (20,)}),
    ({202: "0500"}, {"can_protocols": (0, 2)}),
    ({202: "00001000"}, {"can_protocols": (20,)}),
    ({218: "C8"}, {"uart2_protocol": 200}),
    ({219: "0900"}, {"uart2_protocols": (0, 3)}),
    ({219: "00001000"}, {"uart2_protocols": (20,)}),
    ({234: "C8"}, {"buzzer_trigger": 200}),
    ({235: "C8"}, {"dry_contact_1_trigger": 200}),
    ({236: "C8"}, {"dry_contact_2_trigger": 200}),
    ({237: "C8"}, {"uart_library_version": 200}),
    ({238: "04030201"}, {"buzzer_trigger_value": 16909060}),
    ({238: "38FFFFFF"}, {"buzzer_trigger_value": -200}),
    ({242: "04030201"}, {"buzzer_release_value": 16909060}),
    ({242: "38FFFFFF"}, {"buzzer_release_value": -200}),
    ({246: "04030201"}, {"dry_contact_1_trigger_value": 16909060}),
    ({246: "38FFFFFF"}, {"dry_contact_1_trigger_value": -200}),
    ({250: "04030201"}, {"dry_contact_1_release_value": 16909060}),
    ({250: "38FFFFFF"}, {"dry_contact_1_release_value": -200}),
    ({254: "04030201"}, {"dry_contact_2_trigger_value": 16909060}),
    ({254: "38FFFFFF"}, {"dry_contact_2_trigger_value": -200}),
    ({258: "04030201"}, {"dry_contact_2_release_value": 16909060}),
    ({258: "38FFFFFF"}, {"dry_contact_2_release_value": -200}),
    ({262: "04030201"}, {"data_storage_period": 16909060}),
    ({262: "38FFFFFF"}, {"data_storage_period": -200}),
    ({266: "C9"}, {"request_charge_time": 20.1}),
    ({267: "C9"}, {"request_float_time": 20.1}),
    ({268: "C8"}, {"can_library_version": 200}),
    ({269: "C8"}, {"emergency_duration": 200}),
    ({270: "C8"}, {"uart3_protocol": 200}),
    ({271: "1100"}, {"uart3_protocols": (0, 4)}),
    ({271: "00001000"}, {"uart3_protocols": (20,)}),
    ({278: "C8"}, {"rebulk_soc": 200}),
]

type Decode = Callable[[Content], object]

TABLES: dict[str, tuple[Decode, list[Row]]] = {
    "cell data, 24S": (
        lambda content: cells(OLD, {118: "01"}, content),
        CELL_DATA_24S,
    ),
    "cell data, 32S": (
        lambda content: cells(NEW, {150: "01"}, content),
        CELL_DATA_32S,
    ),
    "cell data, JK04": (lambda content: cells(JK04, content), CELL_DATA_JK04),
    "settings, 24S": (lambda content: settings(OLD, content), SETTINGS_JK02),
    "settings, 32S": (lambda content: settings(NEW, content), SETTINGS_32S),
    "settings, JK04": (lambda content: settings(JK04, content), SETTINGS_JK04),
    "device information, 24S": (
        lambda content: info({6: b"JK-B2A24S15P", 30: b"10.07"}, content),
        DEVICE_INFO_START,
    ),
    "device information, JK04": (
        lambda content: info({6: b"JK-B2A16S", 30: b"3.3.0"}, content),
        DEVICE_INFO_START[1:],
    ),
    "device information, 32S": (
        lambda content: info({6: b"JK_PB2A16S20P", 30: b"19.31"}, content),
        DEVICE_INFO_32S,
    ),
}

# What else has a meaning: cells and masks, tested below, model and version
ELSEWHERE = {
    "cell data, 24S": [*range(6, 58), *range(64, 112), 182],
    "cell data, 32S": [*range(6, 74), *range(80, 144), 214],
    "cell data, JK04": [*range(6, 198), *range(214, 218)],
    "settings, 24S": [*range(114, 118)],
    "settings, 32S": [*range(114, 118)],
    "settings, JK04": [*range(34, 38)],
    "device information, 24S": [*range(6, 22), *range(30, 38)],
    "device information, JK04": [*range(6, 22), *range(30, 38)],
    "device information, 32S": [*range(6, 22), *range(30, 38)],
}


def changed(decode: Decode, content: Content) -> dict[str, Any]:
    """Return what differs from the same frame without this content."""
    before, after = (vars_of(decode(given)) for given in ({}, content))
    return {name: value for name, value in after.items() if value != before[name]}


def vars_of(model: Any) -> dict[str, Any]:
    """Return the values of a model by name."""
    return {field.name: getattr(model, field.name) for field in fields(model)}


@pytest.mark.parametrize(
    ("table", "content", "expected"),
    [
        pytest.param(table, content, expected, id=f"{table}: {'+'.join(expected)}")
        for table, (_, rows) in TABLES.items()
        for content, expected in rows
    ],
)
def test_field_is_decoded_from_its_own_bytes_only(
    table: str, content: Content, expected: dict[str, Any]
) -> None:
    """Each field comes from its bytes, has its scale, sign and type, and is alone."""
    decode, _ = TABLES[table]
    found = changed(decode, content)
    assert found == expected
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in expected.items()
    }


@pytest.mark.parametrize("table", TABLES)
def test_bytes_outside_the_table_change_no_value(table: str) -> None:
    """A byte that does is missing in the table of expected values."""
    decode, rows = TABLES[table]
    used = {
        offset + i
        for content, _ in rows
        for offset, value in content.items()
        for i in range(len(bytes.fromhex(value) if isinstance(value, str) else value))
    }
    idle = sorted({*range(5, 299)} - used - {*ELSEWHERE[table]})
    assert len(idle) > 20
    for offset in idle:
        found = changed(decode, {offset: "FF"})
        assert not found, f"no row of {table} expects what byte {offset} sets: {found}"
    assert changed(decode, dict.fromkeys(idle, "2A")) == {}


@pytest.mark.parametrize(
    ("table", "others"),
    [
        (
            "cell data, 32S",
            (
                "cell_voltage average_cell_voltage delta_cell_voltage min_cell_voltage "
                "max_cell_voltage min_cell max_cell cell_resistance implausible"
            ),
        ),
        ("settings, 32S", "voltage_calibration"),
        ("device information, 32S", "software_version"),
    ],
)
def test_every_field_has_a_row(table: str, others: str) -> None:
    """A new field needs a new row; those left out here are tested below."""
    decode, rows = TABLES[table]
    tested = {name for _, expected in rows for name in expected}
    untested = {*vars_of(decode({}))} - tested - {*others.split()}
    assert not untested, f"no row of {table} expects {sorted(untested)}"
    assert tested.isdisjoint(others.split())


def test_value_without_a_place_in_the_layout_is_none() -> None:
    """What a layout has no place for is None, not 0."""
    empty = cells(JK04, FOUR[Layout.JK04])
    assert {name for name, value in vars_of(empty).items() if value is not None} == {
        *("cell_voltage", "average_cell_voltage", "delta_cell_voltage"),
        *("min_cell_voltage", "max_cell_voltage", "min_cell", "max_cell"),
        *("cell_resistance", "balance_current", "balancer", "battery_voltage"),
        *("battery_temperature", "up_time", "frame_counter", "implausible"),
    }
    assert empty.battery_temperature == ()
    only_32s = {
        *("heating", "heater_current", "charge_current_correction", "clock"),
        *("detail_log_count", "sleep_countdown", "parallel_limiter", "battery_type"),
        *("warmest_sensor", "coldest_sensor", "charge_phase", "charge_phase_time"),
        *("dry_contact_1", "dry_contact_2"),
    }
    full = cells(OLD, FULL_24S, FOUR[Layout.JK02_24S], {130: "0100" * 3})
    absent = {name for name, value in vars_of(full).items() if value is None}
    assert absent == only_32s, f"{sorted(absent ^ only_32s)}: of 32S only, or not?"


def test_models_default_to_absent_values() -> None:
    """A model has every value that its profile does not exclude."""
    assert set(vars_of(CellData()).values()) == {(), None}
    assert set(vars_of(Settings()).values()) == {None}


# Single cells


@pytest.mark.parametrize(
    ("profile", "count", "resistances", "content"),
    [
        # 72.276 V and 96.496 V
        pytest.param(OLD, 24, 64, {54: "FFFFFF00", 118: "541A0100"}, id="24S"),
        pytest.param(NEW, 32, 80, {70: "FFFFFFFF", 150: "F0780100"}, id="32S"),
    ],
)
def test_cells_of_jk02(
    profile: Profile, count: int, resistances: int, content: Content
) -> None:
    """Slot i belongs to cell i + 1, up to the last one."""
    voltage = {6 + 2 * i: mv(3000 + i) for i in range(count)}
    resistance = {resistances + 2 * i: mv(257 + i) for i in range(count)}
    decoded = cells(profile, voltage, resistance, content)
    assert decoded.cell_voltage == tuple((3000 + i) / 1000 for i in range(count))
    assert decoded.cell_resistance == tuple((257 + i) / 1000 for i in range(count))
    assert (decoded.min_cell, decoded.max_cell) == (1, count)
    assert decoded.min_cell_voltage == 3.0
    assert decoded.max_cell_voltage == (2999 + count) / 1000


def test_full_mask_with_all_cells_at_0_v_is_rejected() -> None:
    """Such frames were reported by users; they are a glitch, not a battery."""
    frame = build_frame(CELL_DATA, {70: "FF"})
    with pytest.raises(ImplausibleFrameError, match="A cell is not at"):
        decode_cell_data(frame, Profile(Layout.JK02_32S, 11.48))


def test_current_that_rounds_to_zero_has_no_sign() -> None:
    """It would be shown as -0.0."""
    cell_data = decode_cell_data(
        build_frame(CELL_DATA, {222: "5F7089B0"}), Profile(Layout.JK04)
    )
    assert str(cell_data.balance_current) == "0.0"


def test_cells_of_jk04() -> None:
    """Floats are rounded to the precision of 32 bits."""
    values = {6 + 4 * i: "75931840" for i in range(24)}
    values |= {102 + 4 * i: "DF4F0D3E" for i in range(24)}
    values |= {6 + 4 * 9: "12831840", 102 + 4 * 9: "BA490C3E"}
    decoded = cells(JK04, values, {198: "0000803F", 214: "FFFFFF"})
    assert decoded.cell_voltage == (*(2.384,) * 9, 2.383, *(2.384,) * 14)
    assert decoded.cell_resistance == (*(0.138,) * 9, 0.137, *(0.138,) * 14)
    assert (decoded.min_cell, decoded.min_cell_voltage) == (10, 2.383)
    assert (decoded.max_cell, decoded.max_cell_voltage) == (1, 2.384)
    assert decoded.delta_cell_voltage == 0.001
    assert decoded.average_cell_voltage == 2.383958
    assert decoded.battery_voltage == 57.215


ALL_SLOTS = {
    Layout.JK04: {6: "33335340" * 24, 102: "DF4F0D3E" * 24},
    Layout.JK02_24S: {6: "E40C" * 24, 64: "8A00" * 24, 118: "AC26"},
    Layout.JK02_32S: {6: "E40C" * 32, 80: "8A00" * 32, 150: "AC26"},
}
MASK = {Layout.JK04: 214, Layout.JK02_24S: 54, Layout.JK02_32S: 70}


@pytest.mark.parametrize("profile", [JK04, OLD, NEW])
def test_mask_tells_how_many_cells(profile: Profile) -> None:
    """Slots beyond the mask are nothing, whatever they hold."""
    # 9.9 V in the pack: three of the cells
    decoded = cells(profile, ALL_SLOTS[profile.layout], {MASK[profile.layout]: "07"})
    assert decoded.cell_voltage == (3.3, 3.3, 3.3)
    assert decoded.cell_resistance == (0.138, 0.138, 0.138)
    assert decoded.battery_voltage == 9.9


@pytest.mark.parametrize(
    ("profile", "content"),
    [
        (OLD, {6: mv(3300, 3300, 3300, 3360), 54: "0A", 64: "8A00" * 4, 118: mv(6660)}),
        (NEW, {6: mv(3300, 3300, 3300, 3360), 70: "0A", 80: "8A00" * 4, 150: mv(6660)}),
        (JK04, {6: "33335340" * 3 + "3D0A5740", 102: "DF4F0D3E" * 4, 214: "0A"}),
    ],
)
def test_mask_with_hole(profile: Profile, content: Content) -> None:
    """A cell that is not enabled does not shift the numbers of the others."""
    decoded = cells(profile, content)
    assert decoded.cell_voltage == (None, 3.3, None, 3.36)
    assert decoded.cell_resistance == (None, 0.138, None, 0.138)
    assert (decoded.min_cell, decoded.max_cell) == (2, 4)
    assert (decoded.average_cell_voltage, decoded.delta_cell_voltage) == (3.33, 0.06)
    assert decoded.battery_voltage == 6.66


@pytest.mark.parametrize(
    ("profile", "content"),
    [
        (OLD, {6: mv(3300, 0, 3300), 54: "07", 118: mv(6600)}),
        (NEW, {6: mv(3300, 0, 3300), 70: "07", 150: mv(6600)}),
        (JK04, {6: "33335340", 14: "33335340", 214: "07"}),
    ],
)
def test_enabled_cell_at_zero_is_decoded_as_zero_volts(
    profile: Profile, content: Content
) -> None:
    """A dead cell or a broken wire must not disappear from the pack."""
    decoded = cells(profile, content)
    assert decoded.cell_voltage == (3.3, 0.0, 3.3)
    assert (decoded.min_cell, decoded.min_cell_voltage) == (2, 0.0)
    assert decoded.average_cell_voltage == 2.2
    assert decoded.delta_cell_voltage == 3.3
    assert decoded.battery_voltage == 6.6


@pytest.mark.parametrize("profile", [JK04, OLD, NEW])
def test_frame_without_cells_gives_no_cell_statistics(profile: Profile) -> None:
    """With no cell connected there is no average, and no division by 0."""
    decoded = cells(profile)
    assert decoded.cell_voltage == decoded.cell_resistance == ()
    assert {
        decoded.average_cell_voltage,
        decoded.delta_cell_voltage,
        decoded.min_cell_voltage,
        decoded.max_cell_voltage,
        decoded.min_cell,
        decoded.max_cell,
    } == {None}
    assert cells(JK04).battery_voltage is None


MEASURED_ON_CELLS = {
    "battery_voltage",
    "battery_current",
    "battery_power",
    "remain_percent",
    "remain_capacity",
    "nominal_capacity",
    "state_of_health",
}


@pytest.mark.parametrize(("profile", "mask", "pack"), [(OLD, 54, 118), (NEW, 70, 150)])
def test_zero_pack_voltage_without_cells_is_not_measured(
    profile: Profile, mask: int, pack: int
) -> None:
    """0 V without cells is no empty battery; values that are not measured on cells remain."""
    full = FULL_24S if profile is OLD else FULL_32S
    content = full | {mask: "00000000"}
    blank = vars_of(cells(profile, content, {pack: "00000000"}))
    measured = vars_of(cells(profile, content, {pack: "01000000"}))
    changes = {name: blank[name] for name in blank if blank[name] != measured[name]}
    assert changes == dict.fromkeys(MEASURED_ON_CELLS)


@pytest.mark.parametrize("profile", [JK04, OLD, NEW])
def test_frame_of_zeros_is_rejected_as_a_whole(profile: Profile) -> None:
    """No battery reports 0 in everything, even if no cell is connected."""
    frame = build_frame(CELL_DATA, {5: "07"})
    for decode in (partial(decode_cell_data, frame), partial(confirm_profile, frame)):
        with pytest.raises(ImplausibleFrameError, match="Every value is 0") as refusal:
            decode(profile)
        assert not isinstance(refusal.value, ImplausibleValuesError)


def test_nothing_measured_but_implausible() -> None:
    """What no battery can be in is refused there as well."""
    assert refused(NEW, {173: "65"})


MIXED = mv(3300, 3360, 3360, 3300)


@pytest.mark.parametrize(
    ("profile", "content", "late"),
    [
        (OLD, {6: MIXED, 54: "0F", 118: mv(13320)}, {58: "E80307000300"}),
        (NEW, {6: MIXED, 70: "0F", 150: mv(13320)}, {74: "E80307000300"}),
        (
            JK04,
            {6: "333353403D0A57403D0A574033335340", 214: "0F"},
            {202: "0000803F0AD7233C", 218: "0300"},
        ),
    ],
)
def test_late_summary_is_computed_anew(
    profile: Profile, content: Content, late: Content
) -> None:
    """The frame's own average, difference, highest and lowest lag behind its cells."""
    decoded = cells(profile, content, late)
    assert decoded == cells(profile, content)
    assert (decoded.average_cell_voltage, decoded.delta_cell_voltage) == (3.33, 0.06)
    assert (decoded.min_cell_voltage, decoded.max_cell_voltage) == (3.3, 3.36)
    # The first of equal ones
    assert (decoded.min_cell, decoded.max_cell) == (1, 2)


@pytest.mark.parametrize(
    ("profile", "content"),
    [
        (OLD, {6: mv(3333, 3320, 3321), 54: "07", 118: mv(9974)}),
        (NEW, {6: mv(3333, 3320, 3321), 70: "07", 150: mv(9974)}),
    ],
)
def test_differences_have_no_noise(profile: Profile, content: Content) -> None:
    """3.333 - 3.32 is 0.013, and an average has as many digits as a cell."""
    decoded = cells(profile, content)
    assert decoded.delta_cell_voltage == 0.013
    assert decoded.average_cell_voltage == 3.325


# Temperature sensors

SENSORS = {
    Layout.JK02_24S: {130: "6400C8002C01"},
    # T1, T2; MOSFET; what is no sensor; T4, T5
    Layout.JK02_32S: {162: "6400C800", 144: "2C01", 254: "0F279001F401"},
}


@pytest.mark.parametrize(
    ("profile", "mask", "battery", "mosfet"),
    [
        (OLD, "FF", (10.0, 20.0), 30.0),
        (OLD, "07", (10.0, 20.0), 30.0),
        (OLD, "01", (None, None), 30.0),
        (OLD, "02", (10.0, None), None),
        (OLD, "04", (None, 20.0), None),
        (OLD, "F8", (None, None), None),
        (NEW, "FF", (10.0, 20.0, 40.0, 50.0), 30.0),
        (NEW, "37", (10.0, 20.0, 40.0, 50.0), 30.0),
        (NEW, "F0", (None, None, 40.0, 50.0), None),
        (NEW, "17", (10.0, 20.0, 40.0, None), 30.0),
        (NEW, "27", (10.0, 20.0, None, 50.0), 30.0),
        (NEW, "0F", (10.0, 20.0), 30.0),
        (NEW, "C7", (10.0, 20.0), 30.0),
        (NEW, "08", (None, None), None),
        (NEW, "01", (None, None), 30.0),
    ],
)
def test_temperature_is_absent_where_its_sensor_bit_is_cleared(
    profile: Profile,
    mask: str,
    battery: tuple[float | None, ...],
    mosfet: float | None,
) -> None:
    """The value of an absent sensor means nothing, even a plausible one."""
    content = {182 if profile is OLD else 214: mask}
    decoded = cells(profile, SENSORS[profile.layout], content)
    assert decoded.battery_temperature == battery
    assert decoded.mosfet_temperature == mosfet


@pytest.mark.parametrize(
    ("profile", "content", "battery", "mosfet"),
    [
        (OLD, {130: "30F8"}, (None, 20.0), 30.0),
        (OLD, {132: "30F8"}, (10.0, None), 30.0),
        (OLD, {134: "30F8"}, (10.0, 20.0), None),
        (NEW, {162: "30F8"}, (None, 20.0, 40.0, 50.0), 30.0),
        (NEW, {164: "30F8"}, (10.0, None, 40.0, 50.0), 30.0),
        (NEW, {144: "30F8"}, (10.0, 20.0, 40.0, 50.0), None),
        (NEW, {256: "30F8"}, (10.0, 20.0, None, 50.0), 30.0),
        (NEW, {258: "30F8"}, (10.0, 20.0, 40.0, None), 30.0),
        # The small 15.x boards claim them
        (NEW, {256: "30F830F8", 214: "3F"}, (10.0, 20.0), 30.0),
        # A real 0.0 °C, a real frost
        (NEW, {162: "0000", 256: "38FF"}, (0.0, 20.0, -20.0, 50.0), 30.0),
        # The 25-cell board
        (NEW, {162: "30F830F8", 144: "30F8", 256: "30F830F8"}, (None, None), None),
    ],
)  # fmt: skip
def test_sensor_not_connected(
    profile: Profile,
    content: Content,
    battery: tuple[float | None, ...],
    mosfet: float | None,
) -> None:
    """-200.0 is no temperature, even where the mask claims the sensor."""
    everything = {182: "FF"} if profile is OLD else {214: "FF"}
    decoded = cells(profile, SENSORS[profile.layout], everything, content)
    assert decoded.battery_temperature == battery
    assert decoded.mosfet_temperature == mosfet


# Firmware and model


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("10.07", 10.07),
        ("11.288H", 11.288),
        ("10.07D30", 10.07),
        ("8.0.6G", 8.0),
        ("8.14U", 8.14),
        ("3.3.0", 3.3),
        ("9.01M3", 9.01),
        ("V19", 19.0),
        ("V19.10", 19.1),
        ("v11.48", 11.48),
        ("15", 15.0),
        ("19.", 19.0),
    ],
)
def test_firmware_is_the_first_two_numbers(version: str, expected: float) -> None:
    """A version is its first two numbers."""
    assert parse_firmware(version) == expected


@pytest.mark.parametrize(
    "version",
    ["", "V", "x10.07", "H11.2", ".5", "-3.1", " 11.17", "\N{SUPERSCRIPT TWO}.1"],
)
def test_version_without_a_leading_number_is_refused(version: str) -> None:
    """No layout can be chosen by such a version."""
    for parse in (parse_firmware, partial(choose_profile, "JK_B2A20S20P")):
        with pytest.raises(UnsupportedLayoutError, match="not a version"):
            parse(version)


# A frame without a zero, but for four cells
FULL = FULL_32S | FOUR[Layout.JK02_32S]


@pytest.mark.parametrize(
    ("model", "version", "expected"),
    [
        ("JK_B2A8S20P", "11.17", False),
        ("JK_B2A20S20P", "11.288H", False),
        ("JK_B2A20S20P", "11.54", False),
        ("JK_PB2A16S15P", "13.99", False),
        ("JK_PB2A16S15P", "14.00", True),
        ("JK_PB2A16S15P", "14.20", True),
        ("JK_BD4A8S4P", "15.26", True),
        ("JK-BD6A20S6P", "20.20", True),
    ],
)
def test_second_pair_of_sensors(model: str, version: str, expected: bool) -> None:
    """T4 and T5 read 0 up to 13: that is no temperature."""
    profile = choose_profile(model, version)
    zero = {256: "00000000", 162: "C800C800", 144: "C800"}
    decoded = cells(profile, FULL, zero)
    assert decoded.battery_temperature == (
        (20.0, 20.0, 0.0, 0.0) if expected else (20.0, 20.0)
    )


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("11.17", False),
        ("11.48", False),
        ("14.20", False),
        ("15.10", True),
        ("15.41", True),
        ("19.04", True),
        ("V19", True),
        ("20.20", True),
    ],
)
def test_fields_from_15(version: str, expected: bool) -> None:
    """Charge phase, battery type and the sensor indices are zeros before 15."""
    profile = choose_profile("JK_PB2A16S20P", version)
    decoded = cells(profile, FULL, {275: "00" * 6})
    present = {
        decoded.charge_phase is ChargePhase.BULK,
        decoded.charge_phase_time == 0,
        decoded.battery_type is BatteryType.LFP,
        decoded.warmest_sensor == 0,
        decoded.coldest_sensor == 0,
    }
    absent = {
        decoded.charge_phase is None,
        decoded.charge_phase_time is None,
        decoded.battery_type is None,
        decoded.warmest_sensor is None,
        decoded.coldest_sensor is None,
    }
    assert (present, absent) == ({expected}, {not expected})


@pytest.mark.parametrize(
    ("model", "version", "expected"),
    [
        ("JK_PB2A16S15P", "14.20", False),
        ("JK_PB2A16S20P", "15.37", False),
        ("JK_PB2A16S20P", "15.38", False),
        ("JK_BD4A8S4P", "15.26", False),
        ("JK_PB2A16S20P", "15.41", True),
        ("JK_PB2A16S20P", "15.50", True),
        ("JK_B2A8S30P", "19.04", False),
        ("JK_PB2A16S20P", "19.05", True),
        ("JK_B2A8S20P", "19.10", True),
        ("JK-BD6A20S6P", "20.20", True),
        ("JK_B2A20S20P", "11.48", False),
        ("JK_B2A20S20P", "11.288H", False),
    ],
)
def test_heating_temperatures_exist_from_their_firmware_on(
    model: str, version: str, expected: bool
) -> None:
    """Before 15.41, and in 19 before 19.05, their bytes hold other values."""
    decoded = settings(choose_profile(model, version), {284: "3C32"})
    assert (decoded.heating_start_temperature, decoded.heating_stop_temperature) == (
        (60, 50) if expected else (None, None)
    )


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("11.48", False),
        ("15.41", False),
        ("19.05", False),
        ("19.06", False),
        ("19.07", True),
        ("19.10", True),
        ("19.31", True),
        ("20.20", True),
    ],
)
def test_discharge_undertemperature_exists_from_its_firmware_on(
    version: str, expected: bool
) -> None:
    """The zeros of firmware before 19.07 are no limit of 0 °C."""
    decoded = settings(choose_profile("JK_B2A8S20P", version))
    assert {
        decoded.discharge_undertemperature,
        decoded.discharge_undertemperature_recovery,
    } == {0 if expected else None}


@pytest.mark.parametrize(
    ("version", "expected"),
    [("15.41", None), ("19.10", None), ("19.27", 0), ("19.31", 0), ("20.20", 0)],
)
def test_rebulk_soc_is_a_setting_from_its_firmware_on(
    version: str, expected: int | None
) -> None:
    """A zero before 19.27 is no setting."""
    decoded = info({6: b"JK_PB2A16S20P", 30: version.encode()})
    assert decoded.rebulk_soc == expected


@pytest.mark.parametrize(
    ("model", "version", "expected"),
    [
        ("JK_PB2A16S15P", "14.20", True),
        ("JK_PB2A16S20P", "15.37", True),
        ("JK-PB2A16S20P", "19.27", True),
        ("JK_BD4A8S4P", "15.26", False),
        ("JK-BD4A20S4P", "19.27", False),
        ("JK_B2A20S20P", "11.48", False),
    ],
)
def test_only_inverter_boards_have_dry_contacts_and_limiter(
    model: str, version: str, expected: bool
) -> None:
    """PB in the model name marks a board for inverters."""
    decoded = cells(choose_profile(model, version), FULL, {281: "01", 274: "00"})
    assert {decoded.dry_contact_1, decoded.dry_contact_2, decoded.parallel_limiter} == {
        False if expected else None
    }
    device = info({6: model.encode(), 30: version.encode()})
    assert device.emergency_duration is None


PORTS = [
    "uart1_protocol",
    "can_protocol",
    "uart2_protocol",
    "uart1_protocols",
    "can_protocols",
    "uart2_protocols",
    "uart_library_version",
    "can_library_version",
    "buzzer_trigger",
    "buzzer_trigger_value",
    "buzzer_release_value",
]
PORTS_OF_19 = ["uart3_protocol", "uart3_protocols"]


@pytest.mark.parametrize(
    ("version", "present"),
    [
        ("10.07", []),
        ("11.48", []),
        ("14.20", PORTS),
        ("15.41", PORTS),
        ("19.05", PORTS + PORTS_OF_19),
        ("20.20", PORTS + PORTS_OF_19),
    ],
)
def test_missing_ports_are_none(version: str, present: list[str]) -> None:
    """Ports that a device does not have are absent, not protocol 0."""
    decoded = vars_of(info({6: b"JK_PB2A16S15P", 30: version.encode()}))
    assert {name for name in PORTS + PORTS_OF_19 if decoded[name] is not None} == {
        *present
    }


def test_protocol_bits_without_a_meaning_are_ignored() -> None:
    """Only the first 21 bits stand for a protocol."""
    decoded = info({6: b"JK_PB2A16S15P", 30: b"14.20", 186: "FFFFFFFF"})
    assert decoded.uart1_protocols == tuple(range(21))


@pytest.mark.parametrize(
    ("field", "offset", "expected"),
    [
        ("boot_time", 246, 0.1),
        ("charge_current_correction", 260, 1),
        ("clock", 262, 1),
        ("sleep_countdown", 270, 1),
    ],
)
def test_zero_is_not_reported(field: str, offset: int, expected: float) -> None:
    """Firmware without the field sends 0 there."""
    assert getattr(cells(NEW, {offset: "00"}), field) is None
    assert getattr(cells(NEW, {offset: "01"}), field) == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("11.17", None),
        ("11.288H", None),
        ("11.48", 0),
        ("11.55", 0),
        ("14.20", 0),
        ("15.26", 0),
        ("19.05", 0),
    ],
)
def test_empty_detail_log(version: str, expected: int | None) -> None:
    """No record is a count of 0 where there is a log, and some are always some."""
    profile = choose_profile("JK_B2A8S20P", version)
    assert cells(profile, {266: "00"}).detail_log_count == expected
    assert cells(profile, {266: "3E"}).detail_log_count == 62
    unknown = Profile(Layout.JK02_32S)
    assert cells(unknown, {266: "00"}).detail_log_count is None
    assert cells(unknown, {266: "3E"}).detail_log_count == 62


def test_state_of_health() -> None:
    """Some 24S do not report it and send 0; a 32S that does is worn out."""
    assert cells(OLD, {118: "01", 158: "00"}).state_of_health is None
    assert cells(OLD, {118: "01", 158: "01"}).state_of_health == 1
    assert cells(NEW, {150: "01", 190: "00"}).state_of_health == 0


@pytest.mark.parametrize(
    "version",
    ["11.17", "11.48", "11.288H", "11.21h", "13.99", "14.20", "15.26", "19.05"],
)
def test_heater_current_only_while_heating(version: str) -> None:
    """Every 32S reports whether it heats; without heating the current is noise."""
    profile = choose_profile("JK_B2A20S20P", version)
    decoded = cells(profile, {236: "C21D"})
    assert (decoded.heating, decoded.heater_current) == (False, None)
    decoded = cells(profile, {215: "01", 236: "C21D"})
    assert (decoded.heating, decoded.heater_current) == (True, 7.618)


def test_no_heater_on_24s() -> None:
    """An H there is no sign of one."""
    profile = choose_profile("JK-BD6A17S6P", "7.1.0H")
    assert cells(profile, {183: "01", 215: "01"}).heating is None


@pytest.mark.parametrize("profile", [OLD, NEW])
def test_settings_not_supported(profile: Profile) -> None:
    """Voltages of 0 are not supported."""
    decoded = settings(profile)
    assert {
        decoded.smart_sleep_voltage,
        decoded.soc_100,
        decoded.soc_0,
        decoded.request_charge_voltage,
        decoded.request_float_voltage,
    } == {None}
    assert decoded.smart_sleep_delay is None
    assert settings(profile, {6: "59020000"}).smart_sleep_voltage == 0.601


@pytest.mark.parametrize(
    ("model", "version", "expected"),
    [
        ("JK-B2A24S15P", "10.07", None),
        ("JK_B2A8S20P", "11.17", None),
        ("JK_B2A8S20P", "13.99", None),
        ("JK_PB2A16S15P", "14.20", 0.6),
        ("JK_B2A8S20P", "19.10", 0.6),
    ],
)
def test_smart_sleep_voltage_is_unknown_where_it_has_no_function(
    model: str, version: str, expected: float | None
) -> None:
    """Firmware without the function reports 600 mV; from 14 on they were chosen."""
    decoded = settings(choose_profile(model, version), {6: "58020000"})
    assert decoded.smart_sleep_voltage == expected


def test_device_information_not_reported() -> None:
    """Durations of 0 are none, on the newest firmware as well."""
    decoded = info({6: b"JK_PB2A16S20P", 30: b"19.31"})
    assert {
        decoded.data_storage_period,
        decoded.request_charge_time,
        decoded.request_float_time,
        decoded.emergency_duration,
    } == {None}


def test_heater_current_is_noise_unless_heating() -> None:
    """Units without a heater send anything there."""
    decoded = cells(NEW, {236: "C21D"})
    assert (decoded.heating, decoded.heater_current) == (False, None)


BALANCER_FIELDS = (
    "cell_voltage average_cell_voltage delta_cell_voltage min_cell_voltage "
    "max_cell_voltage min_cell max_cell cell_resistance balance_current balancer "
    "battery_voltage battery_temperature up_time alarms alarm_mask frame_counter "
    "implausible"
)


@pytest.mark.parametrize("model", ["JK_DZ11B2A24S", "JK_DZ08B1A24S"])
def test_balancer_decodes_only_what_it_measures(model: str) -> None:
    """The other fields of its frames are absent, not 0 % or 0 A."""
    profile = choose_profile(model, "11.55")
    content = {166: "04000000", 170: "26F9", 172: "02", 194: "04030241"}
    decoded = cells(profile, FULL, {162: "C800C800"}, content)
    assert {name for name, value in vars_of(decoded).items() if value is not None} == {
        *BALANCER_FIELDS.split()
    }
    assert decoded.battery_temperature == (20.0,)
    assert decoded.battery_voltage == 13.2
    assert decoded.alarms == ("cell_count",)
    assert decoded.balance_current == -1.754
    assert decoded.balancer is BalancerState.DISCHARGING
    assert decoded.up_time == 0x41020304


def test_balancer_with_settings_and_device_information() -> None:
    """These frames say of such a balancer what they say of others."""
    decoded = settings(BALANCER, {10: "C4090000", 114: "10"})
    assert (decoded.cell_uvp, decoded.cell_count) == (2.5, 16)
    device = info({6: b"JK_DZ11B2A24S", 22: b"11U", 30: b"11.55", 46: b"BAL"})
    assert (device.device_model, device.software_version) == ("JK_DZ11B2A24S", "11.55")
    assert (device.hardware_version, device.device_name) == ("11U", "BAL")


# Device information


def test_empty_texts_of_device_information_are_absent() -> None:
    """Numbers are not: 0 is a run time."""
    decoded = vars_of(info({6: b"JK-B2A16S", 30: b"3.3.0"}))
    assert {name for name, value in decoded.items() if value is not None} == {
        *("device_model", "software_version", "up_time", "poweron_times")
    }


def test_text_that_fills_its_place_ends_there() -> None:
    """No byte 0 separates it from the next one."""
    decoded = info(
        {6: b"ABCDEFGHIJKLMNOP", 22: b"abcdefgh", 30: b"11.48XYZ"},
        {46: b"name567890123456", 62: b"pass567890123456", 78: b"date5678"},
        {86: b"serial7890123456", 102: b"user567890123456"},
        {118: b"setup67890123456", 134: b"more567890123456"},
    )
    assert decoded.device_model == "ABCDEFGHIJKLMNOP"
    assert decoded.hardware_version == "abcdefgh"
    assert decoded.software_version == "11.48XYZ"
    assert decoded.device_name == "name567890123456"
    assert decoded.device_passcode == "pass567890123456"
    assert decoded.manufacturing_date == "date5678"
    assert decoded.serial_number == "serial7890123456"
    assert decoded.passcode is None
    assert decoded.userdata == "user567890123456"
    assert decoded.setup_passcode == "setup67890123456"
    assert decoded.userdata2 == "more567890123456"


def test_secrets_are_not_in_repr() -> None:
    """What must not be logged does not get there by accident."""
    decoded = info(
        {6: b"JK_PB2A16S15P", 30: b"14.20", 62: b"secret1", 86: b"2021602096"},
        {97: b"sec2", 102: b"secret3", 118: b"secret4", 134: b"secret5"},
    )
    secrets = {
        name: value for name, value in vars_of(decoded).items() if "sec" in str(value)
    }
    assert {*secrets} == SECRET_FIELDS
    assert "sec" not in repr(decoded)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {6: b"JK-B2A16S"},
        {30: b"3.3.0"},
        {6: b"   ", 30: b"3.3.0"},
        {6: b"JK\x01-B2A16S", 30: b"3.3.0"},
        {6: b"JK-B2A16S", 30: b"be\x01ta"},
        {6: b"JK-B2A16S", 30: b"\0003.3.0"},
    ],
)
def test_device_information_without_model_or_version_is_rejected(
    content: Content,
) -> None:
    """Neither may contain unprintable characters."""
    with pytest.raises(ImplausibleFrameError):
        info(content)


@pytest.mark.parametrize("version", ["beta", "H11.2", "?"])
def test_version_of_no_layout(version: str) -> None:
    """The device is identified by what stands in the same place everywhere."""
    content = {6: b"JK_B2A20S20P", 30: version.encode(), 46: b"van", 62: b"secret"}
    decoded = vars_of(info(content, {42: "05", 86: b"2021602096", 134: b"\1" * 160}))
    assert {name: value for name, value in decoded.items() if value is not None} == {
        "device_model": "JK_B2A20S20P",
        "software_version": version,
        "up_time": 0,
        "poweron_times": 5,
        "device_name": "van",
        "device_passcode": "secret",
        "serial_number": "2021602096",
    }


@pytest.mark.parametrize("limit", [b"\x10", b"\x14", b"\x18", b" "])
def test_model_runs_into_cell_limit(limit: bytes) -> None:
    """A name of 15 characters leaves no room for its NUL."""
    decoded = info({6: b"JK_PB2A16S20P12" + limit, 30: b"19.27"})
    assert decoded.device_model == "JK_PB2A16S20P12"
    # A version that fills its place is safe from what follows
    assert info({6: b"JK", 30: b"11.288H\x10"}).software_version == "11.288H"


# Choosing the layout

DEVICES = [
    ("JK-B1A24S", "3.1.2", Layout.JK04),
    ("JK-B2A24S", "3.2.3", Layout.JK04),
    ("JK-B2A16S", "3.3.0", Layout.JK04),
    ("JK-B5A24S", "8.0.3M", Layout.JK04),
    # Not seen; the number of digits is no rule
    ("JK-B1A8S", "3.1.2", Layout.JK04),
    ("JK-BD6A20S10P", "4.1.7", Layout.JK02_24S),
    ("JK-B2A24S15P", "4.2.1", Layout.JK02_24S),
    ("JK-B2A24S15P", "6.1.3S", Layout.JK02_24S),
    ("JK-B2A24S15P", "8.21W", Layout.JK02_24S),
    ("JK-B2A24S15P", "10.07", Layout.JK02_24S),
    ("JK-B2A24S15P", "10.08", Layout.JK02_24S),
    ("JK-B2A24S15P", "10.10", Layout.JK02_24S),
    ("JK-BD6A24S6P", "6.10S", Layout.JK02_24S),
    ("JK-BD6A17S6P", "7.1.0H", Layout.JK02_24S),
    ("JK-BD6A24S10P", "8.0.6G", Layout.JK02_24S),
    ("JK-BD6A24S10P", "10.09", Layout.JK02_24S),
    ("JK-B1A24S15P", "8.1.0H", Layout.JK02_24S),
    ("JK-B1A20S15P", "8.14U", Layout.JK02_24S),
    ("JK-B1A20S15P", "10.07", Layout.JK02_24S),
    ("JK-B1A20S15P", "10.10", Layout.JK02_24S),
    ("JK-B2A24S20P", "8.1.2H", Layout.JK02_24S),
    ("JK-B2A24S20P", "8.20G", Layout.JK02_24S),
    ("JK-B2A24S20P", "10.02", Layout.JK02_24S),
    ("JK-B2A24S20P", "10.07", Layout.JK02_24S),
    ("JK-B2A24S20P", "10.07D30", Layout.JK02_24S),
    ("JK-B2A24S20P", "10.09", Layout.JK02_24S),
    ("JK-BD6A17S8P", "9.01G", Layout.JK02_24S),
    ("JK-B2A8S20P", "9.01M3", Layout.JK02_24S),
    ("JK-B2A8S20P", "9.08W", Layout.JK02_24S),
    ("JK-B2A20S20P", "10.08", Layout.JK02_24S),
    ("JK-B2A20S20P", "10.09", Layout.JK02_24S),
    ("JK-B2A20S20P", "10.10", Layout.JK02_24S),
    ("JK-B2A20S20P", "11.21h", Layout.JK02_32S),
    ("JK-BD6A20S10P", "10.07", Layout.JK02_24S),
    ("JK-BD4A17S4P", "11.01", Layout.JK02_32S),
    ("JK-BD4A17S4P", "11.27", Layout.JK02_32S),
    ("JK_B2A8S20P", "11.17", Layout.JK02_32S),
    ("JK_B2A8S20P", "11.26", Layout.JK02_32S),
    ("JK_B2A8S20P", "11.48", Layout.JK02_32S),
    ("JK_B2A8S20P", "11.50", Layout.JK02_32S),
    ("JK_BD4A8S4P", "11.24", Layout.JK02_32S),
    ("JK_BD4A20S4P", "11.25", Layout.JK02_32S),
    ("JK_B2A20S20P", "11.24H", Layout.JK02_32S),
    ("JK_B2A20S20P", "11.25H", Layout.JK02_32S),
    ("JK_B2A20S20P", "11.284", Layout.JK02_32S),
    ("JK_B2A20S20P", "11.288H", Layout.JK02_32S),
    ("JK_B2A20S20P", "11.48", Layout.JK02_32S),
    ("JK_B2A20S20P", "11.54", Layout.JK02_32S),
    ("JK_B1A8S10P", "11.261", Layout.JK02_32S),
    ("JK_B1A16S15P", "11.261", Layout.JK02_32S),
    ("JK_BD6A24S12P", "11.36", Layout.JK02_32S),
    ("JK_BD6A24S12P", "11.42", Layout.JK02_32S),
    ("JK_B1A20S15P", "11.52", Layout.JK02_32S),
    ("JK_B2A25SRP", "11.55", Layout.JK02_32S),
    ("JK_DZ11B2A24S", "11.55", Layout.JK02_32S),
    ("JK_PB2A16S15P", "14.20", Layout.JK02_32S),
    ("JK_PB2A16S15P", "15.10", Layout.JK02_32S),
    ("JK_PB2A16S15P", "15.38", Layout.JK02_32S),
    ("JK_PB1A16S15P", "15.21", Layout.JK02_32S),
    ("JK_PB1A16S15P", "19.16", Layout.JK02_32S),
    ("JK_PB2A16S20P", "15.37", Layout.JK02_32S),
    ("JK_PB2A16S20P", "15.38", Layout.JK02_32S),
    ("JK_PB2A16S20P", "15.41", Layout.JK02_32S),
    ("JK_BD4A8S4P", "15.24", Layout.JK02_32S),
    ("JK_BD4A8S4P", "15.26", Layout.JK02_32S),
    ("JK_BD6A20S6P", "17.02", Layout.JK02_32S),
    ("JK_B1A20S15P", "18.00", Layout.JK02_32S),
    ("JK_PB1A16S10P", "19.10", Layout.JK02_32S),
    ("JK_PB1A16S10P", "V19", Layout.JK02_32S),
    ("JK_PB2A16S20P", "19.05", Layout.JK02_32S),
    ("JK-PB2A16S20P", "19.27", Layout.JK02_32S),
    ("JK_PB2A16S20P", "19.30", Layout.JK02_32S),
    ("JK_PB2A16S20P", "19.31", Layout.JK02_32S),
    ("JK_B2A8S30P", "19.04", Layout.JK02_32S),
    ("JK_B2A8S30P", "19.07", Layout.JK02_32S),
    ("JK_B2A8S20P", "19.10", Layout.JK02_32S),
    ("JK_B1A8S20P", "19.31", Layout.JK02_32S),
    ("JK_B2A20S20P", "19.07", Layout.JK02_32S),
    ("JK-BD4A20S4P", "19.27", Layout.JK02_32S),
    ("JK-BD6A24S20P", "19.13", Layout.JK02_32S),
    ("JK-BD6A20S6P", "20.20", Layout.JK02_32S),
    # The border
    ("JK-B2A24S15P", "10.99", Layout.JK02_24S),
    ("JK_B2A8S20P", "11.00", Layout.JK02_32S),
    ("JK-B2A16S", "10.99", Layout.JK04),
    ("JK-B2A16S", "11.00", Layout.JK02_32S),
    # Sold under other names
    ("HW-B2A", "10.07", Layout.JK02_24S),
    ("SQ-B1A24S15P", "11.48", Layout.JK02_32S),
]


@pytest.mark.parametrize(("model", "version", "layout"), DEVICES)
def test_layout_is_chosen_by_firmware_then_by_the_form_of_the_model(
    model: str, version: str, layout: Layout
) -> None:
    """Hardware version and name do not matter."""
    assert choose_profile(model, version).layout is layout
    assert choose_profile(model, version).model == model
    frame = build_frame(DEVICE_INFO, {6: model.encode(), 30: version.encode()})
    assert find_profile([frame]) == choose_profile(model, version)


def test_versions_are_ordered() -> None:
    """11.288 came before 11.48, 19.05 before 19.27."""
    order = ["3.3.0", "8.14U", "10.07", "11.17", "11.261", "11.288H", "11.48", "19.05"]
    numbers = [parse_firmware(version) for version in order]
    assert numbers == sorted(numbers)


# Confirmation by data

PROFILES = {Layout.JK04: JK04, Layout.JK02_24S: OLD, Layout.JK02_32S: NEW}


def four(layout: Layout, *contents: Content) -> Frame:
    """Return cell data of four cells."""
    return build_frame(CELL_DATA, FOUR[layout], *contents)


def layout_of(frame: Frame) -> Layout | None:
    """Return the layout that cell data prove by themselves."""
    try:
        return confirm_profile(frame).layout
    except UnsupportedLayoutError:
        return None


@pytest.mark.parametrize("layout", Layout)
def test_announced_layout_is_kept_where_the_data_fit(layout: Layout) -> None:
    """The very same profile is returned, not a copy."""
    assert confirm_profile(four(layout), PROFILES[layout]) is PROFILES[layout]


@pytest.mark.parametrize("announced", [JK04, OLD, NEW])
@pytest.mark.parametrize("layout", Layout)
def test_data_correct_a_wrongly_announced_layout(
    layout: Layout, announced: Profile
) -> None:
    """Firmware and model remain as announced."""
    found = confirm_profile(four(layout), announced)
    assert found == Profile(layout, announced.firmware, announced.model)
    decoded = decode_cell_data(four(layout), found)
    assert decoded.cell_voltage == (3.3,) * 4
    assert decoded.battery_voltage == 13.2


@pytest.mark.parametrize("layout", Layout)
def test_data_choose_the_layout_without_device_information(layout: Layout) -> None:
    """The model remains unknown."""
    found = confirm_profile(four(layout))
    assert (found.layout, found.model) == (layout, "")


@pytest.mark.parametrize(
    ("marks", "temperatures", "phase", "contact"),
    [
        ({}, (20.0, 20.0), None, None),
        ({240: "01"}, (20.0, 20.0, 0.0, 0.0), None, True),
        ({240: "01", 280: "02"}, (20.0, 20.0, 0.0, 0.0), "float", True),
        ({275: "01"}, (20.0, 20.0, 0.0, 0.0), "bulk", True),
    ],
)
def test_filled_fields_prove_a_lowest_firmware(
    marks: Content,
    temperatures: tuple[float, ...],
    phase: str | None,
    contact: bool | None,
) -> None:
    """Without device information they decide which values are decoded."""
    frame = four(Layout.JK02_32S, {162: "C800C800", 281: "06"}, marks)
    decoded = decode_cell_data(frame, confirm_profile(frame))
    assert decoded.battery_temperature == temperatures
    assert (decoded.charge_phase, decoded.dry_contact_1) == (phase, contact)


def test_firmware_floor_is_of_32s() -> None:
    """In another layout the byte means nothing, nor does it against the version."""
    assert confirm_profile(four(Layout.JK02_24S, {240: "01"})).firmware == 0
    assert confirm_profile(four(Layout.JK04, {240: "01"})).firmware == 0
    assert confirm_profile(four(Layout.JK02_32S, {240: "01"}), OLD).firmware == 10.07


def test_pack_of_25_cells_fits_32s_only() -> None:
    """It might pass for a 24S pack with a strange mask."""
    content = {6: "E40C" * 25, 70: "FFFFFF01", 150: mv(82500 & 0xFFFF, 1), 80: "8A00"}
    frame = build_frame(CELL_DATA, content)
    for announced in (None, OLD, NEW):
        found = confirm_profile(frame, announced)
        assert found.layout is Layout.JK02_32S
    assert len(decode_cell_data(frame, found).cell_voltage) == 25


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("content", [NOT_BLANK, {5: "07", 200: "01"}])
def test_version_decides_the_layout_without_cells(
    layout: Layout, content: Content
) -> None:
    """Without connected cells the data prove no layout."""
    frame = build_frame(CELL_DATA, content)
    assert confirm_profile(frame, PROFILES[layout]) is PROFILES[layout]
    with pytest.raises(UnsupportedLayoutError):
        confirm_profile(frame)


@pytest.mark.parametrize("layout", [Layout.JK02_24S, Layout.JK02_32S])
def test_dead_cell_does_not_change_the_layout(layout: Layout) -> None:
    """Without a version, it must be the one in which the sum is right."""
    pack = 118 if layout is Layout.JK02_24S else 150
    frame = four(layout, {8: "0000", pack: "AC26"})
    assert confirm_profile(frame, PROFILES[layout]) is PROFILES[layout]
    assert confirm_profile(frame).layout is layout
    wrong = NEW if layout is Layout.JK02_24S else OLD
    with pytest.raises(UnsupportedLayoutError):
        confirm_profile(frame, wrong)


@pytest.mark.parametrize("layout", [Layout.JK02_24S, Layout.JK02_32S])
def test_hole_in_the_mask_keeps_the_numbers_of_the_cells(layout: Layout) -> None:
    """A cell that is not enabled is absent, not skipped."""
    pack, mask = (118, 54) if layout is Layout.JK02_24S else (150, 70)
    frame = four(layout, {8: "0000", pack: "AC26", mask: "0D"})
    profile = confirm_profile(frame)
    assert profile.layout is layout
    assert decode_cell_data(frame, profile).cell_voltage == (3.3, None, 3.3, 3.3)


@pytest.mark.parametrize("layout", [Layout.JK02_24S, Layout.JK02_32S])
def test_implausible_values_do_not_change_the_layout(layout: Layout) -> None:
    """A broken wire makes a cell read 0 V in a full pack; the layout is still the same."""
    silent = four(layout, {6: "00" * 8})
    with pytest.raises(ImplausibleFrameError):
        confirm_profile(silent, PROFILES[layout])
    frame = four(layout, {8: "0000"})
    with pytest.raises(ImplausibleFrameError):
        confirm_profile(frame, PROFILES[layout])
    for announced in (
        None,
        *(p for place, p in PROFILES.items() if place is not layout),
    ):
        with pytest.raises(UnsupportedLayoutError):
            confirm_profile(frame, announced)


@pytest.mark.parametrize("mask", ["1B", "1E", "0F000001", "FFFFFF01"])
def test_senseless_values_and_mask(mask: str) -> None:
    """With a mask that does not begin at the first cell, has a gap or is too long, it is."""
    frame = four(Layout.JK02_24S, {8: "0000", 54: mask})
    with pytest.raises(UnsupportedLayoutError):
        confirm_profile(frame, OLD)


@pytest.mark.parametrize("layout", [Layout.JK02_24S, Layout.JK02_32S])
@pytest.mark.parametrize(
    ("content", "fits"),
    [
        pytest.param({"pack": 13200}, True, id="exact"),
        pytest.param({"pack": 13699}, True, id="within"),
        pytest.param({"pack": 12701}, True, id="within, below"),
        pytest.param({"pack": 13701}, False, id="pack too high"),
        pytest.param({"pack": 12699}, False, id="pack too low"),
        pytest.param({"mask": "07"}, False, id="a cell too many"),
        pytest.param({"mask": "1F"}, True, id="a dead cell"),
        pytest.param({"mask": "1B"}, False, id="a gap"),
        pytest.param({"mask": "1E"}, False, id="not from the first"),
        pytest.param({"mask": "00"}, False, id="no cell enabled"),
    ],
)
def test_layout_fits_when_its_cells_add_up_to_the_pack(
    layout: Layout, content: dict[str, Any], fits: bool
) -> None:
    """The mask must also name exactly the cells that have a voltage, without a gap."""
    mask, pack = (54, 118) if layout is Layout.JK02_24S else (70, 150)
    frame = four(
        layout,
        {mask: content.get("mask", "0F")},
        {pack: content.get("pack", 13200).to_bytes(4, "little")},
    )
    assert layout_of(frame) is (layout if fits else None)


@pytest.mark.parametrize(
    ("layout", "content"),
    [
        (Layout.JK02_24S, {6: mv(3300), 54: "01", 118: mv(3300)}),
        (Layout.JK02_32S, {6: mv(3300), 70: "01", 150: mv(3300)}),
    ],
)
def test_battery_of_one_cell_fits_its_layout(layout: Layout, content: Content) -> None:
    """Even a single cell adds up to the pack."""
    assert layout_of(build_frame(CELL_DATA, content)) is layout


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        pytest.param({6: "33335340"}, True, id="one cell"),
        pytest.param({6: "9A99993E0000C040"}, True, id="0.3 and 6.0"),
        pytest.param({6 + 4 * 23: "33335340"}, True, id="the last slot"),
        pytest.param({6: "33335340", 6 + 4 * 24: "EC51C040"}, True, id="no slot"),
        pytest.param({6: "33335340E17A943E"}, False, id="0.29"),
        pytest.param({6: "33335340EC51C040"}, False, id="6.01"),
        pytest.param({6: "33335340", 6 + 4 * 23: "EC51C040"}, False, id="last 6.01"),
        pytest.param({6: "33335340333353C0"}, False, id="negative"),
        pytest.param({6: "333353400000C07F"}, False, id="not a number"),
        pytest.param({6: "333353400000807F"}, False, id="infinite"),
        pytest.param({}, False, id="no cell"),
    ],
)
def test_what_fits_jk04(content: Content, fits: bool) -> None:
    """Each cell is 0 or within 0.3 to 6.0 V, and one at least is not 0."""
    frame = build_frame(CELL_DATA, NOT_BLANK, content)
    assert layout_of(frame) is (Layout.JK04 if fits else None)


@pytest.mark.parametrize("announced", [None, JK04, OLD, NEW])
def test_frame_of_no_known_layout_is_refused(announced: Profile | None) -> None:
    """No announced layout helps, as the bytes contradict each of them."""
    frame = build_frame(CELL_DATA, {6: "A5" * 293})
    with pytest.raises(UnsupportedLayoutError, match="fit no known layout") as refusal:
        confirm_profile(frame, announced)
    assert refusal.value.device_info is None
    assert isinstance(refusal.value, JkBmsError)


def device(model: bytes, version: bytes) -> Frame:
    """Return device information."""
    return build_frame(DEVICE_INFO, {6: model, 30: version})


OLD_DEVICE = device(b"JK-B2A24S15P", b"10.07")
NEW_DEVICE = device(b"JK_PB2A16S20P", b"19.31")
BAD_DEVICE = device(b"JK-B2A24S15P", b"")
ODD_DEVICE = device(b"JK-B2A24S15P", b"?")
OEM_DEVICE = device(b"PXZK-01", b"3.3.0")
OEM = Profile(Layout.JK04, 3.3, "PXZK-01")
NO_CELLS, ZEROS = build_frame(CELL_DATA, NOT_BLANK), build_frame(CELL_DATA)
NONSENSE = build_frame(CELL_DATA, {6: "A5" * 293})
OLD_CELLS, NEW_CELLS = four(Layout.JK02_24S), four(Layout.JK02_32S)
SENSELESS_CELLS = four(Layout.JK02_24S, {8: "0000"})
SETTINGS_FRAMES = {
    Layout.JK04: build_frame(SETTINGS, {6: "0000803F", 34: "10"}),
    Layout.JK02_24S: build_frame(SETTINGS, {6: "58020000", 114: "10"}),
    Layout.JK02_32S: build_frame(SETTINGS, {6: "58020000", 114: "10", 278: "20A107"}),
}


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([OLD_DEVICE], OLD),
        ([NEW_DEVICE], NEW),
        ([OLD_DEVICE, OLD_CELLS], OLD),
        ([OLD_CELLS, OLD_DEVICE], OLD),
        ([OLD_CELLS], Profile(Layout.JK02_24S)),
        ([NEW_CELLS], Profile(Layout.JK02_32S, 11.0)),
        # Data win, even the second frame of them
        ([OLD_DEVICE, NEW_CELLS], Profile(Layout.JK02_32S, 10.07, "JK-B2A24S15P")),
        ([OLD_DEVICE, NONSENSE, OLD_CELLS], OLD),
        ([NO_CELLS, OLD_CELLS], Profile(Layout.JK02_24S)),
        ([OLD_DEVICE, NO_CELLS], OLD),
        ([OLD_DEVICE, ZEROS], OLD),
        ([BAD_DEVICE, OLD_CELLS], Profile(Layout.JK02_24S)),
        ([OLD_DEVICE, BAD_DEVICE], OLD),
        ([ODD_DEVICE, OLD_CELLS], Profile(Layout.JK02_24S)),
        ([OLD_DEVICE, ODD_DEVICE], OLD),
        # The layout is right, only the values are not
        ([OLD_DEVICE, SENSELESS_CELLS], OLD),
        ([NEW_DEVICE, SENSELESS_CELLS, NEW_CELLS], NEW),
        ([OLD_DEVICE, NEW_DEVICE], NEW),
        ([SETTINGS_FRAMES[Layout.JK04]], Profile(Layout.JK04)),
        ([SETTINGS_FRAMES[Layout.JK02_24S]], Profile(Layout.JK02_24S)),
        ([SETTINGS_FRAMES[Layout.JK02_32S]], Profile(Layout.JK02_32S, 11.0)),
        # Of another brand
        ([OEM_DEVICE, SETTINGS_FRAMES[Layout.JK04]], OEM),
        ([SETTINGS_FRAMES[Layout.JK02_32S], OLD_DEVICE], OLD),
        ([SETTINGS_FRAMES[Layout.JK02_32S], OLD_CELLS], Profile(Layout.JK02_24S)),
    ],
)
def test_profile_is_found_in_any_mix_of_frames(
    frames: list[Frame], expected: Profile
) -> None:
    """Device information decides, data confirm, settings are the last resort."""
    assert find_profile(iter(frames)) == expected


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "No frame gives the layout"),
        ([BAD_DEVICE], "No frame gives the layout"),
        ([ODD_DEVICE], "No frame gives the layout"),
        ([SENSELESS_CELLS], "fit no known layout"),
        ([NEW_DEVICE, SENSELESS_CELLS], "fit no known layout"),
        ([build_frame(LOGBOOK), build_frame(DETAIL_LOG)], "No frame gives the layout"),
        ([NO_CELLS], "fit no known layout"),
        ([ZEROS], "No frame gives the layout"),
        ([OLD_DEVICE, NONSENSE], "fit no known layout"),
        ([NONSENSE, SETTINGS_FRAMES[Layout.JK04]], "fit no known layout"),
    ],
)
def test_frames_that_prove_no_layout_give_no_profile(
    frames: list[Frame], reason: str
) -> None:
    """A wrong layout would give wrong values, which is worse than none."""
    with pytest.raises(UnsupportedLayoutError, match=reason):
        find_profile(frames)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([], Profile(Layout.JK02_32S, 11.0)),
        ([OLD_DEVICE], Profile(Layout.JK02_32S, 10.07, "JK-B2A24S15P")),
        ([OLD_CELLS], Profile(Layout.JK02_32S, 11.0)),
        ([NEW_CELLS], Profile(Layout.JK02_32S, 11.0)),
        ([four(Layout.JK02_32S, {240: "01"})], Profile(Layout.JK02_32S, 14.0)),
        ([four(Layout.JK02_32S, {275: "01"})], Profile(Layout.JK02_32S, 15.0)),
        ([four(Layout.JK02_32S, {280: "02"})], Profile(Layout.JK02_32S, 15.0)),
        ([build_frame(SETTINGS, {284: "3C32"})], Profile(Layout.JK02_32S, 11.0)),
        ([build_frame(SETTINGS, {284: "050A"})], Profile(Layout.JK02_32S, 15.41)),
        ([build_frame(SETTINGS, {297: "E2"})], Profile(Layout.JK02_32S, 19.07)),
        # The most recent sign counts
        (
            [four(Layout.JK02_32S, {240: "01"}), NEW_CELLS],
            Profile(Layout.JK02_32S, 14.0),
        ),
    ],
)
def test_given_layout_holds_against_all_frames(
    frames: list[Frame], expected: Profile
) -> None:
    """The frames still give firmware and model."""
    assert find_profile(frames, Layout.JK02_32S) == expected


# Plausibility


def refused(profile: Profile, *contents: Content, decode: Any = cells) -> bool:
    """Return whether cell data, or what else is decoded, are refused."""
    try:
        decode(profile, *contents)
    except ImplausibleFrameError:
        return True
    return False


OLD_FOUR, NEW_FOUR = FOUR[Layout.JK02_24S], FOUR[Layout.JK02_32S]
JK04_FOUR = FOUR[Layout.JK04]


@pytest.mark.parametrize(
    ("profile", "content", "expected"),
    [
        pytest.param(OLD, OLD_FOUR | {141: "64"}, False, id="100 %"),
        pytest.param(OLD, OLD_FOUR | {141: "65"}, True, id="101 %"),
        pytest.param(NEW, NEW_FOUR | {173: "65"}, True, id="101 %, 32S"),
        pytest.param(NEW, NEW_FOUR | {173: "FF"}, True, id="255 %"),
        pytest.param(NEW, NEW_FOUR | {173: "00"}, False, id="a real 0 %"),
        # 13.2 V of cells; 0.5 V and 2 % of the pack voltage
        pytest.param(OLD, OLD_FOUR | {118: mv(12452)}, False, id="cells 0.748 more"),
        pytest.param(OLD, OLD_FOUR | {118: mv(12450)}, True, id="cells 0.750 more"),
        pytest.param(OLD, OLD_FOUR | {118: mv(13979)}, False, id="cells 0.779 less"),
        pytest.param(OLD, OLD_FOUR | {118: mv(13981)}, True, id="cells 0.781 less"),
        pytest.param(NEW, NEW_FOUR | {150: mv(12452)}, False, id="32S 0.748 more"),
        pytest.param(NEW, NEW_FOUR | {150: mv(12450)}, True, id="32S 0.750 more"),
        pytest.param(NEW, NEW_FOUR | {150: mv(0)}, True, id="0 V"),
        pytest.param(NEW, {150: mv(48000)}, False, id="no cells, 48 V"),
        pytest.param(OLD, OLD_FOUR | {54: "07"}, True, id="a cell missing"),
        pytest.param(OLD, OLD_FOUR | {54: "0F000001"}, True, id="cell 25 of 24"),
        pytest.param(JK04, JK04_FOUR | {214: "0F000001"}, True, id="cell 25 on JK04"),
        pytest.param(NEW, NEW_FOUR | {70: "0F000080"}, False, id="cell 32 dead"),
        pytest.param(OLD, {6: mv(6000), 54: "01", 118: mv(6000)}, False, id="6.0 V"),
        pytest.param(OLD, {6: mv(6001), 54: "01", 118: mv(6001)}, True, id="6.001 V"),
        pytest.param(JK04, {6: "0000C040", 214: "01"}, False, id="6.0 V, JK04"),
        pytest.param(JK04, {6: "EC51C040", 214: "01"}, True, id="6.01 V, JK04"),
        pytest.param(JK04, {6: "000000BF", 214: "01"}, True, id="-0.5 V, JK04"),
        pytest.param(JK04, {6: "8716993E", 214: "01"}, False, id="0.299 V, JK04"),
        pytest.param(JK04, JK04_FOUR | {18: "0000C07F"}, True, id="a cell of NaN"),
        pytest.param(JK04, JK04_FOUR | {18: "0000807F"}, True, id="an infinite cell"),
        pytest.param(JK04, JK04_FOUR | {22: "0000C07F"}, False, id="NaN in no cell"),
        pytest.param(JK04, JK04_FOUR | {102: "0000C07F"}, True, id="NaN Ohm"),
        pytest.param(JK04, JK04_FOUR | {222: "0000C07F"}, True, id="NaN A"),
        pytest.param(JK04, JK04_FOUR | {222: "000080FF"}, True, id="-inf A"),
        pytest.param(OLD, OLD_FOUR | {194: "0000C07F"}, True, id="NaN correction"),
        pytest.param(NEW, NEW_FOUR | {226: "0000807F"}, True, id="inf correction"),
        pytest.param(NEW, NEW_FOUR | {158: "40D8F6FF"}, False, id="-600 A"),
        pytest.param(NEW, NEW_FOUR | {158: "C0270900"}, False, id="600 A"),
        pytest.param(NEW, NEW_FOUR | {174: "FFFFFFFF"}, False, id="-0.001 Ah left"),
        pytest.param(NEW, NEW_FOUR | {178: "00000000"}, False, id="0 Ah of capacity"),
    ],
)
def test_impossible_cell_data_are_rejected(
    profile: Profile, content: Content, expected: bool
) -> None:
    """What no battery can be in is refused, what is only bad is not."""
    assert refused(profile, content) is expected


@pytest.mark.parametrize(
    ("profile", "offset", "bit"),
    [
        (OLD, 130, 1),
        (OLD, 132, 2),
        (OLD, 134, 0),
        (NEW, 162, 1),
        (NEW, 164, 2),
        (NEW, 144, 0),
        (NEW, 256, 4),
        (NEW, 258, 5),
    ],
)
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("A8FD", False),  # -60.0
        ("A7FD", True),
        ("38FF", False),  # -20.0
        ("DC05", False),  # 150.0
        ("DD05", True),
        ("30F8", False),  # not connected
        ("31F8", True),
    ],
)
def test_temperature_beyond_its_range_is_refused_if_its_sensor_is_there(
    profile: Profile, offset: int, bit: int, raw: str, expected: bool
) -> None:
    """The range is -60 to 150 °C; the value of an absent sensor does not matter."""
    mask, everything = (182 if profile is OLD else 214), 0xFF
    four = FOUR[profile.layout]
    assert refused(profile, four, {offset: raw}) is expected
    absent = bytes((everything ^ 1 << bit,))
    assert refused(profile, four, {offset: raw, mask: absent}) is False


def test_bytes_that_hold_no_temperature_are_not_checked_as_one() -> None:
    """On 11.48 these are 254 to 259, on newer firmware 254 and 255."""
    profile = choose_profile("JK_B2A20S20P", "11.48")
    assert refused(profile, FOUR[Layout.JK02_32S], {254: "0F27" * 3}) is False
    assert refused(NEW, FOUR[Layout.JK02_32S], {254: "0F27"}) is False


def test_extreme_but_possible_values_are_decoded() -> None:
    """The battery is empty, cold and under the heaviest load."""
    content = {173: "00", 158: "40D8F6FF", 162: "38FF30FF", 144: "70FF"}
    decoded = cells(NEW, FOUR[Layout.JK02_32S], content)
    assert decoded.remain_percent == 0
    assert decoded.battery_current == -600.0
    assert decoded.battery_power == -7920.0
    assert decoded.battery_temperature[:2] == (-20.0, -20.8)
    assert decoded.mosfet_temperature == -14.4


def test_power_is_whole_milliwatts() -> None:
    """The BMS cuts the rest off, toward 0, and so does the library."""
    for current, power in (("9C000000", 2.231), ("64FFFFFF", -2.231)):
        decoded = cells(NEW, {150: "E2370000", 158: current})
        assert decoded.battery_voltage == 14.306
        assert decoded.battery_power == power
    # 13.0 V and 0.123 A; the product of the floats is a little less
    assert cells(NEW, {150: "C8320000", 158: "7B000000"}).battery_power == 1.599


@pytest.mark.parametrize(
    ("profile", "content", "expected"),
    [
        (OLD, {114: "18"}, False),
        (OLD, {114: "19"}, True),
        (NEW, {114: "20"}, False),
        (NEW, {114: "21"}, True),
        (NEW, {114: "00000001"}, True),
        (NEW, {114: "FFFFFFFF"}, True),
        (BALANCER, {114: "20"}, False),
        (BALANCER, {114: "21"}, True),
        (JK04, {34: "18"}, False),
        (JK04, {34: "19"}, True),
        (JK04, {34: "FFFFFFFF"}, True),
        (JK04, {38: "0000C07F"}, True),
        (JK04, {74: "0000807F"}, True),
        (JK04, {98: "000080FF"}, True),
        (JK04, {106: "0000C07F"}, True),
        (JK04, {110: "0000C07F"}, True),
        (JK04, {102: "0000C07F"}, False),
    ],
)
def test_settings_with_impossible_values_are_refused(
    profile: Profile, content: Content, expected: bool
) -> None:
    """JK04 has floats, which may be NaN or infinite; cells are limited by the layout."""
    assert refused(profile, content, decode=settings) is expected


# Alarms


@pytest.mark.parametrize(("bit", "name"), list(enumerate(ALARMS)))
def test_alarm_bit_has_its_name(bit: int, name: str) -> None:
    """Each bit has its name."""
    decoded = cells(NEW, {166: (1 << bit).to_bytes(4, "little")})
    assert (decoded.alarms, decoded.alarm_mask) == ((name,), 1 << bit)
    assert Alarm[name.upper()] == 1 << bit
    decoded = cells(OLD, {136: (1 << bit).to_bytes(4, "little")[:2]})
    assert decoded.alarms == ((name,) if bit < 16 else ())


def test_alarms_are_in_the_order_of_their_bits() -> None:
    """Several are in the order of their bits."""
    alarms = cells(NEW, {166: "FFFFFFFF"}).alarms
    assert alarms == ALARMS, f"not as in ALARMS: {sorted({*alarms} ^ {*ALARMS})}"
    assert cells(NEW).alarms == ()
    assert cells(NEW, {146: "FFFFFFFF"}).wire_resistance_alarm == tuple(range(1, 33))
    assert cells(NEW).wire_resistance_alarm == ()


@pytest.mark.parametrize(
    ("charging", "percent", "full"),
    [("00", 100, True), ("00", 99, True), ("00", 98, False), ("01", 100, False)],
)
def test_information_and_a_full_battery_are_no_faults(
    charging: str, percent: int, full: bool
) -> None:
    """Two alarms inform, and one is normal on a full battery; the others are faults."""
    content = {198: charging, 173: bytes((percent,)), 150: "01"}
    decoded = cells(NEW, content, {166: "FFFFFFFF"})
    assert decoded.alarms == ALARMS
    harmless = {"gps_disconnected", "default_password"}
    if full:
        harmless.add("cell_overvoltage")
    assert decoded.faults == tuple(name for name in ALARMS if name not in harmless)
    assert cells(NEW, content, {166: "00000C00"}).faults == ()
    assert cells(NEW, content).faults == ()


def test_faults_are_unknown_without_alarms() -> None:
    """Where it is unknown whether the battery is full, overvoltage is a fault."""
    assert CellData().faults is None
    assert cells(JK04).faults is None
    decoded = cells(NEW, {166: "10"})
    assert (decoded.remain_percent, decoded.faults) == (None, ("cell_overvoltage",))
    unknown = CellData(alarms=("cell_overvoltage",), remain_percent=100)
    assert unknown.faults == ("cell_overvoltage",)


def test_faults_are_no_field() -> None:
    """Faults are computed from other fields and must not be printed among them."""
    assert "faults" not in asdict(CellData())


# Redaction

IDENTIFYING = SECRET_FIELDS | {"serial_number", "device_name"}
SPANS = [(46, 78), (86, 150)]
"""First and behind the last byte: name and passcode; serial number to user data."""


@pytest.mark.parametrize(
    "start",
    [
        {6: b"JK_PB2A16S20P", 30: b"19.31"},
        {6: b"JK-B2A24S15P", 30: b"10.07"},
        {6: b"JK-B2A16S", 30: b"3.3.0"},
        {6: b"JK-B2A16S", 30: b"beta"},
    ],
)
def test_redact_masks_private_bytes_only(start: Content) -> None:
    """Each byte that is private is masked, no other byte is touched."""
    frame = build_frame(DEVICE_INFO, {38: "41" * 261}, start, {50: "00", 107: "0000"})
    redacted = redact(frame)
    assert Frame.parse(redacted.data) == redacted
    for offset, (before, after) in enumerate(
        zip(frame.data[:299], redacted.data[:299], strict=True)
    ):
        private = any(first <= offset < end for first, end in SPANS)
        assert after == (ord("*") if private and before else before), offset
    known, masked = (vars_of(decode_device_info(one)) for one in (frame, redacted))
    assert {name for name in known if known[name] != masked[name]} <= IDENTIFYING
    assert {name for name in IDENTIFYING if set(masked[name] or "*") != {"*"}} == set()
    assert {
        name for name in known if (known[name] is None) != (masked[name] is None)
    } == (set())
    assert redact(redacted) == redacted


@pytest.mark.parametrize(
    ("content", "serial_number", "passcode"),
    [
        ({86: b"2021602096\x0012345"}, "**********", "*****"),
        ({86: b"40531310629\x00000"}, "***********", "***"),
        ({86: b"503214849000643"}, "***************", None),
    ],
)
def test_redaction_keeps_the_lengths_of_serial_number_and_passcode(
    content: Content, serial_number: str, passcode: str | None
) -> None:
    """On some units a short passcode stands in the same place, behind it."""
    frame = build_frame(DEVICE_INFO, {6: b"JK_B2A8S20P", 30: b"11.17"}, content)
    decoded = decode_device_info(redact(frame))
    assert (decoded.serial_number, decoded.passcode) == (serial_number, passcode)


def test_redact_left_overs() -> None:
    """Old text behind the end of a new one is masked as well."""
    frame = build_frame(DEVICE_INFO, {46: b"van\0old name", 102: b"\0secret"})
    assert redact(frame).data[46:62] == b"***\0********\0\0\0\0"
    assert redact(frame).data[102:118] == b"\0******" + bytes(9)


@pytest.mark.parametrize("kind", [SETTINGS, CELL_DATA, LOGBOOK, DETAIL_LOG])
def test_redaction_leaves_frames_without_secrets_unchanged(kind: int) -> None:
    """Only the device information holds private data."""
    frame = build_frame(kind, {6: "01" * 293})
    assert redact(frame) is frame


# Logs

EVENTS = [
    "01",
    "boot",
    "02",
    "shutdown",
    "03",
    "app_charging_off",
    "04",
    "app_charging_on",
    "05",
    "app_discharging_off",
    "06",
    "app_discharging_on",
    "07",
    "remote_charging_off",
    "08",
    "remote_charging_on",
    "09",
    "remote_discharging_off",
    "0A",
    "remote_discharging_on",
    "0B",
    "mosfet_overtemperature",
    "0C",
    "mosfet_overtemperature_released",
    "0D",
    "current_sensor",
    "0E",
    "current_sensor_released",
    "0F",
    "internal_communication",
    "10",
    "internal_communication_released",
    "11",
    "cell_overvoltage",
    "12",
    "cell_overvoltage_released",
    "13",
    "pack_overvoltage",
    "14",
    "pack_overvoltage_released",
    "15",
    "charge_overcurrent",
    "16",
    "charge_overcurrent_released",
    "17",
    "charge_short_circuit",
    "18",
    "charge_short_circuit_released",
    "19",
    "charge_overtemperature",
    "1A",
    "charge_overtemperature_released",
    "1B",
    "charge_undertemperature",
    "1C",
    "charge_undertemperature_released",
    "1D",
    "cell_undervoltage",
    "1E",
    "cell_undervoltage_released",
    "1F",
    "pack_undervoltage",
    "20",
    "pack_undervoltage_released",
    "21",
    "discharge_overcurrent",
    "22",
    "discharge_overcurrent_released",
    "23",
    "discharge_short_circuit",
    "24",
    "discharge_short_circuit_released",
    "25",
    "discharge_overtemperature",
    "26",
    "discharge_overtemperature_released",
    "27",
    "watchdog_reset",
    "28",
    "short_circuit_2",
    "29",
    "emergency_on",
    "2A",
    "emergency_off",
    "2B",
    "emergency_ended",
    "2C",
    "app_power_off",
    "2D",
    "button_power_off",
    "2E",
    "discharge_on_failed",
    "2F",
    "rs485_power_off",
    "30",
    "can_charging_off",
    "31",
    "can_charging_on",
    "32",
    "can_discharging_off",
    "33",
    "can_discharging_on",
    "34",
    "rs485_charging_off",
    "35",
    "rs485_charging_on",
    "36",
    "rs485_discharging_off",
    "37",
    "rs485_discharging_on",
    "38",
    "sleep",
    "39",
    "charge_mosfet",
    "3A",
    "discharge_mosfet",
    "3B",
    "clock_set",
    "3C",
    "cell_count",
    "3D",
    "emergency_button_on",
    "3E",
    "emergency_button_off",
    "3F",
    "button_heating",
    "40",
    "discharge_overcurrent_2",
    "41",
    "discharge_overcurrent_3",
    "42",
    "short_circuit_release_failed",
    "43",
    "preset_li_ion",
    "44",
    "preset_lfp",
    "45",
    "preset_lto",
    "46",
    "remote_emergency_on",
    "47",
    "remote_emergency_off",
    "48",
    "discharge_undertemperature",
    "49",
    "discharge_undertemperature_released",
    "4A",
    "unknown",
    "63",
    "unknown",
    "64",
    "cell_overvoltage",
    "65",
    "cell_overvoltage",
    "83",
    "cell_overvoltage",
    "84",
    "unknown",
    "C7",
    "unknown",
    "C8",
    "cell_undervoltage",
    "E7",
    "cell_undervoltage",
    "E8",
    "unknown",
    "FF",
    "unknown",
]
EVENT_NAMES = list(zip(EVENTS[::2], EVENTS[1::2], strict=True))
CELLS_OF_EVENTS = {"64": 1, "65": 2, "83": 32, "C8": 1, "E7": 32}


def log(*contents: Content) -> tuple[LogEntry, ...]:
    """Decode a logbook."""
    return decode_logbook(build_frame(LOGBOOK, *contents))


def records(*contents: Content) -> tuple[DetailLogRecord, ...]:
    """Decode a detail log."""
    return decode_detail_log(build_frame(DETAIL_LOG, *contents))


@pytest.mark.parametrize(("code", "name"), EVENT_NAMES)
def test_event_code_has_its_name_and_cell_in_both_logs(code: str, name: str) -> None:
    """The codes next to them remain unknown."""
    cell = CELLS_OF_EVENTS.get(code)
    entry = LogEntry(time=1, code=int(code, 16), event=name, cell=cell)
    assert log({6: "01", 11: "01000000" + code}) == (entry,)
    (record,) = records({8: "01", 13: code})
    assert (record.code, record.event, record.cell) == (int(code, 16), name, cell)


def test_logbook_starts_with_the_oldest_entry() -> None:
    """The oldest entry stands first, and what is behind the count is stale."""
    content = {6: "03000000", 10: "FF", 11: "0000000001", 16: "0403028144"}
    assert log(content, {21: "010000001B", 26: "020000001C"}) == (
        LogEntry(time=0, code=0x01, event="boot"),
        LogEntry(time=0x81020304, code=0x44, event="preset_lfp"),
        LogEntry(time=1, code=0x1B, event="charge_undertemperature"),
    )


@pytest.mark.parametrize("count", ["00000000", "01000000", "FFFFFFFF"])
def test_empty_slots_of_the_logbook_are_left_out(count: str) -> None:
    """A slot is empty if both its time and its code are 0."""
    assert log({6: count}) == ()


@pytest.mark.parametrize(
    ("count", "expected"),
    [("31000000", 49), ("32000000", 50), ("33000000", 50), ("00000001", 50)],
)
def test_logbook_has_50_entries_at_most(count: str, expected: int) -> None:
    """The frame has room for more, and its count may exceed 50."""
    entries = log({6: count, 11: "0001000002" * 57})
    assert [entry.time for entry in entries] == [256] * expected


def test_last_entry_of_logbook() -> None:
    """The 50th stands at 256."""
    entries = log({6: "32000000", 256: "0500000027", 261: "0600000028"})
    assert entries == (LogEntry(time=5, code=0x27, event="watchdog_reset"),)


DETAIL: list[tuple[Content, dict[str, Any]]] = [
    ({0: "04030281"}, {"clock": 2164392708}),
    ({4: "1B"}, {"code": 0x1B, "event": "charge_undertemperature"}),
    ({4: "66"}, {"code": 0x66, "event": "cell_overvoltage", "cell": 3}),
    ({5: "01"}, {"charging": True}),
    ({5: "02"}, {"discharging": True}),
    ({5: "04"}, {"balancing": True}),
    ({5: "08"}, {"heating": True}),
    ({5: "F0"}, {}),
    ({6: "0F"}, {"max_cell": 16}),
    ({7: "0F"}, {"min_cell": 16}),
    ({8: "0182"}, {"max_cell_voltage": 33.281}),
    ({10: "0182"}, {"min_cell_voltage": 33.281}),
    ({12: "0182"}, {"battery_voltage": 332.81}),
    ({14: "FD00"}, {"battery_current": 25.3}),
    ({14: "18FC"}, {"battery_current": -100.0}),
    ({16: "0182"}, {"remain_capacity": 3328.1}),
    ({18: "0182"}, {"nominal_capacity": 3328.1}),
    ({20: "FE"}, {"max_temperature": -2}),
    ({20: "FF"}, {"max_temperature": None}),
    ({21: "FE"}, {"min_temperature": -2}),
    ({22: "FE"}, {"mosfet_temperature": -2}),
    ({23: "9C"}, {"heater_current": -10.0}),
]


@pytest.mark.parametrize("place", [0, 1, 11])
@pytest.mark.parametrize(("content", "expected"), DETAIL)
def test_detail_log_field(
    content: Content, expected: dict[str, Any], place: int
) -> None:
    """Each field of a record comes from its bytes, in each record of a frame."""
    at = 9 + 24 * place
    shifted = {at + offset: value for offset, value in content.items()}
    before, after = records({8: "0C"}), records({8: "0C"}, shifted)
    assert [i for i in range(12) if before[i] != after[i]] == [place] * bool(expected)
    found = {
        name: value
        for name, value in vars_of(after[place]).items()
        if value != getattr(before[place], name)
    }
    assert found == expected
    assert [type(value) for value in found.values()] == [
        type(value) for value in expected.values()
    ]


def test_detail_log_is_complete() -> None:
    """Every field of a record is tested, its index below."""
    tested = {name for _, expected in DETAIL for name in expected} | {"index"}
    assert tested == {field.name for field in fields(DetailLogRecord)}
    assert records({8: "01"})[0].event == "sample"


@pytest.mark.parametrize(
    ("content", "indices"),
    [
        ({6: "0000", 8: "00"}, []),
        ({6: "0000", 8: "01"}, [0]),
        ({6: "3C03", 8: "0C"}, list(range(828, 840))),
        ({6: "FFFF", 8: "02"}, [65535, 65536]),
    ],
)
def test_detail_log_index(content: Content, indices: list[int]) -> None:
    """Records count on from the first of their frame."""
    assert [record.index for record in records(content, {5: "FF"})] == indices


@pytest.mark.parametrize("count", ["0D", "FF"])
def test_detail_log_with_more_records_than_fit_is_rejected(count: str) -> None:
    """A frame has room for twelve."""
    with pytest.raises(ImplausibleFrameError):
        records({8: count})


def test_equal_bytes_give_equal_cell_data() -> None:
    """Two decodings of one frame are equal, and can be taken apart."""
    decoded = cells(NEW, FOUR[Layout.JK02_32S])
    assert decoded == cells(NEW, FOUR[Layout.JK02_32S])
    assert asdict(decoded)["cell_voltage"] == (3.3,) * 4


def test_only_the_decoder_assigns_fields_of_cell_data() -> None:
    """Cell data are not frozen, and many share them: no other module changes them."""
    names = {field.name for field in fields(CellData)}
    assigning = {
        path.stem
        for path in Path(jk_bms.__path__[0]).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if node.attr in names and ast.unparse(node.value) != "self"
    }
    assert assigning == {"decode"}
