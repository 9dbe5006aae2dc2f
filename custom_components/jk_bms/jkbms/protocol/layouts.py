"""The position of each value in a frame, one table per frame type (docs/protocol.md 7 to 11).

A row holds the offset (in the JK02 table of cell data one for each layout) and the field:
its name in the model, the struct code of the raw value and the conversion to the standard
unit. All numbers are little-endian.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from struct import Struct
from typing import Any, Final

from ..models import (
    MAX_CELLS,
    SECRET_FIELDS,
    BalancerState,
    BatteryType,
    ChargePhase,
    Layout,
)
from .codes import LOG_CELLS, SWITCHES, log_event
from .fields import (
    CENTI,
    DECI,
    MILLI,
    CellSlots,
    Field,
    Placed,
    Slots,
    Table,
    bit,
    each_milli,
    each_single,
    label,
    member,
    one_based,
    set_bits,
    single,
    text,
)
from .frames import FrameType

_cells: Final = partial(set_bits, first=1)


_PROTOCOL_COUNT: Final = 21


def _protocols(raw: int) -> tuple[int, ...]:
    return set_bits(raw & ((1 << _PROTOCOL_COUNT) - 1))


def _supported(raw: bytes) -> tuple[int, ...] | None:
    """Return the numbers that a mask declares, `None` if it declares nothing."""
    return set_bits(int.from_bytes(raw, "little")) or None


def _short_passcode(raw: bytes) -> str | None:
    """Return the passcode after a serial number of at most 11 characters.

    The NUL that ends a serial number of 11 characters overwrites its first character.
    """
    is_short = b"\0" in raw[:12]
    return text(raw[11:].replace(b"\0", b"")) if is_short else None


_BALANCER: Final = member(
    BalancerState.OFF,
    BalancerState.CHARGING,
    BalancerState.DISCHARGING,
    unknown=BalancerState.UNKNOWN,
)
_BATTERY_TYPE: Final = member(
    BatteryType.LFP, BatteryType.LI_ION, BatteryType.LTO, unknown=BatteryType.UNKNOWN
)
_CHARGE_PHASE: Final = member(
    ChargePhase.BULK,
    ChargePhase.ABSORPTION,
    ChargePhase.FLOAT,
    unknown=ChargePhase.UNKNOWN,
)


_NOT_CONNECTED: Final = (-2000,)
_NOT_REPORTED: Final = (0,)

# Limits that no battery exceeds, far beyond any value seen in practice
_PACK_VOLTS: Final = 0.0, 200.0
_PACK_AMPERES: Final = -2000.0, 2000.0
_BALANCE_AMPERES: Final = -20.0, 20.0
_AMPERE_HOURS: Final = -20_000.0, 20_000.0
_PERCENT: Final = 0, 100
_CYCLES: Final = 0, 100_000
_RUN_TIME: Final = 0, 50 * 366 * 86400
_CELSIUS: Final = -60.0, 150.0

_ENABLED: Final = "enabled_cells"
"""Mask of the cells in use, cell 1 in its lowest bit."""
SENSOR_MASK: Final = "temperature_sensors"
MOSFET_SENSOR: Final = 1 << 0
"""Its bit in the mask."""
BATTERY_SENSORS: Final = {f"temperature_{n}": 1 << n for n in (1, 2, 4, 5)}


def _unknown(size: int) -> Field:
    """Return a field for bytes of unknown meaning that stay the same."""
    return Field("", f"{size}s", steady=True)


def _flags(
    offset: int, code: str, names: Mapping[int, str], **kind: Any
) -> Iterator[Placed]:
    """Yield a row for each named bit of one value."""
    for number, name in names.items():
        yield offset, Field(name, code, bit(number), **kind)


# Of several rows with one name, the last one that the device carries counts
_JK02_CELL_DATA: Final[tuple[tuple[int | None, int | None, Field], ...]] = (
    # 24S   32S
    (5, 5, Field("frame_counter", "B")),
    (54, 70, Field(_ENABLED, "I", steady=True)),
    (58, 74, Field("reported_average", "H", MILLI)),
    (60, 76, Field("reported_difference", "H", MILLI)),
    (112, None, _unknown(2)),
    (114, 146, Field("wire_resistance_alarm", "I", _cells, steady=True)),
    (118, 150, Field("battery_voltage", "I", MILLI, limits=_PACK_VOLTS)),
    (122, 154, Field("reported_power", "I", MILLI)),
    (None, 234, Field("voltage_again", "H", CENTI, _NOT_REPORTED)),
    (126, 158, Field("battery_current", "i", MILLI, limits=_PACK_AMPERES)),
    (130, 162, Field("temperature_1", "h", DECI, _NOT_CONNECTED, limits=_CELSIUS)),
    (132, 164, Field("temperature_2", "h", DECI, _NOT_CONNECTED, limits=_CELSIUS)),
    (
        None,
        256,
        Field("temperature_4", "h", DECI, _NOT_CONNECTED, limits=_CELSIUS, since=(14,)),
    ),
    (
        None,
        258,
        Field("temperature_5", "h", DECI, _NOT_CONNECTED, limits=_CELSIUS, since=(14,)),
    ),
    (134, 144, Field("mosfet_temperature", "h", DECI, _NOT_CONNECTED, limits=_CELSIUS)),
    (None, 254, Field("mosfet_temperature_again", "h", DECI, _NOT_REPORTED)),
    (182, 214, Field(SENSOR_MASK, "B", steady=True)),
    (136, None, Field("alarm_mask", "H", steady=True)),
    (None, 166, Field("alarm_mask", "I", steady=True)),
    (138, 170, Field("balance_current", "h", MILLI, limits=_BALANCE_AMPERES)),
    (140, 172, Field("balancer", "B", _BALANCER)),
    (141, 173, Field("remain_percent", "B", limits=_PERCENT)),
    (142, 174, Field("remain_capacity", "i", MILLI, limits=_AMPERE_HOURS)),
    (
        146,
        178,
        Field("nominal_capacity", "I", MILLI, steady=True, limits=_AMPERE_HOURS),
    ),
    (150, 182, Field("cycle_count", "I", steady=True, limits=_CYCLES)),
    (154, 186, Field("cycle_capacity", "I", MILLI)),
    (158, None, Field("state_of_health", "B", missing=_NOT_REPORTED, steady=True)),
    (None, 190, Field("state_of_health", "B", steady=True)),
    (159, 191, Field("precharging", "?", steady=True)),
    (None, 192, _unknown(2)),
    (162, 194, Field("up_time", "I", limits=_RUN_TIME)),
    (166, 198, Field("charging", "?", steady=True)),
    (167, 199, Field("discharging", "?", steady=True)),
    (None, 200, _unknown(2)),
    (170, 202, Field("discharge_overcurrent_release_time", "H")),
    (172, 204, Field("discharge_short_circuit_release_time", "H")),
    (174, 206, Field("charge_overcurrent_release_time", "H")),
    (176, 208, Field("charge_short_circuit_release_time", "H")),
    (178, 210, Field("cell_undervoltage_release_time", "H")),
    (180, 212, Field("cell_overvoltage_release_time", "H")),
    (None, 215, Field("heating", "?", steady=True)),
    (183, None, _unknown(3)),
    (None, 216, _unknown(2)),
    (186, 218, Field("emergency_countdown", "H")),
    (188, 220, Field("discharge_current_correction", "H", steady=True)),
    (190, 222, Field("charge_current_sensor", "H", MILLI)),
    (192, 224, Field("discharge_current_sensor", "H", MILLI)),
    (194, 226, Field("voltage_correction", "f", single, steady=True)),
    (198, 230, Field("balancer_discharge_drive", "H")),
    (200, 232, Field("balancer_charge_drive", "H")),
    (None, 236, Field("heater_current", "h", MILLI)),
    (202, None, _unknown(11)),
    (None, 239, _unknown(3)),
    (None, 243, _unknown(2)),
    (213, 245, Field("charger_plugged", "?", steady=True)),
    (214, 246, Field("boot_time", "I", DECI, _NOT_REPORTED)),
    (218, None, _unknown(81)),
    (None, 250, _unknown(4)),
    (
        None,
        260,
        Field("charge_current_correction", "H", missing=_NOT_REPORTED, steady=True),
    ),
    (None, 262, Field("clock", "I", missing=_NOT_REPORTED)),
    (None, 266, Field("detail_log_count", "I", missing=_NOT_REPORTED, steady=True)),
    (None, 266, Field("detail_log_count", "I", since=(11.48,), steady=True)),
    (None, 270, Field("sleep_countdown", "I", missing=_NOT_REPORTED)),
    (None, 274, Field("parallel_limiter", "?", since=(14,), model="PB", steady=True)),
    (None, 275, Field("battery_type", "B", _BATTERY_TYPE, since=(15,), steady=True)),
    (None, 276, Field("warmest_sensor", "B", since=(15,))),
    (None, 277, Field("coldest_sensor", "B", since=(15,))),
    (None, 278, Field("charge_phase_time", "H", since=(15,))),
    (None, 280, Field("charge_phase", "B", _CHARGE_PHASE, since=(15,), steady=True)),
    *(
        (None, *row)
        for row in _flags(
            281,
            "B",
            {1: "dry_contact_1", 2: "dry_contact_2"},
            since=(14,),
            model="PB",
            steady=True,
        )
    ),
    (None, 282, _unknown(17)),
)

CELL_DATA: Final[dict[Layout, tuple[Placed, ...]]] = {
    Layout.JK04: (
        (5, Field("frame_counter", "B")),
        (202, Field("reported_average", "f")),
        (206, Field("reported_difference", "f")),
        (210, _unknown(4)),
        (214, Field(_ENABLED, "I", steady=True)),
        (220, Field("balancer", "B", _BALANCER)),
        (222, Field("balance_current", "f", single, limits=_BALANCE_AMPERES)),
        (286, Field("up_time", "I", limits=_RUN_TIME)),
        (298, _unknown(1)),
    ),
    Layout.JK02_24S: tuple(
        (offset, field) for offset, _, field in _JK02_CELL_DATA if offset is not None
    ),
    Layout.JK02_32S: tuple(
        (offset, field) for _, offset, field in _JK02_CELL_DATA if offset is not None
    ),
}


def _struct(layout: Layout, name: str) -> Struct | None:
    rows = (row for row in CELL_DATA[layout] if row[1].name == name)
    return next((Struct(f"<{at}x{field.code}") for at, field in rows), None)


def _cell_slots(layout: Layout, voltage: Slots, resistance: Slots) -> CellSlots:
    enabled = _struct(layout, _ENABLED)
    assert enabled
    return CellSlots(enabled, voltage, resistance, _struct(layout, "battery_voltage"))


CELLS: Final = {
    layout: _cell_slots(layout, voltage, resistance)
    for layout, voltage, resistance in (
        (
            Layout.JK04,
            Slots(6, 24, "f", each_single, decimals=6),
            Slots(102, 24, "f", each_single, decimals=6),
        ),
        (
            Layout.JK02_24S,
            Slots(6, 24, "H", each_milli, decimals=3),
            Slots(64, 24, "H", each_milli, decimals=3),
        ),
        (
            Layout.JK02_32S,
            Slots(6, MAX_CELLS, "H", each_milli, decimals=3),
            Slots(80, MAX_CELLS, "H", each_milli, decimals=3),
        ),
    )
}

CONTENT: Final = slice(6, -1)
"""Bytes between the frame counter and the checksum."""

LIVE_LIMITS: Final = {
    field.name: field.limits
    for rows in CELL_DATA.values()
    for _, field in rows
    if field.limits
}
"""Possible range of each value of cell data, in its unit."""

NEED_CELLS: Final = frozenset(
    {
        "battery_voltage",
        "battery_current",
        "battery_power",
        "remain_percent",
        "remain_capacity",
        "nominal_capacity",
        "state_of_health",
    }
)
"""Fields that are meaningless while no cell is connected (docs/protocol.md 7.3)."""

BALANCER_MODEL: Final = "DZ"
"""Part of the model name of balancers, which send a battery's frame with mostly zeros."""
BALANCER_FIELDS: Final = frozenset(
    {
        "frame_counter",
        "battery_voltage",
        "temperature_1",
        SENSOR_MASK,
        "alarm_mask",
        "balance_current",
        "balancer",
        "up_time",
    }
)

_VOLTS: Final = 0.0, 6.0
_AMPERES: Final = 0.0, 2000.0
_SECONDS: Final = 0, 100_000

_JK02_SETTINGS: Final[tuple[Placed, ...]] = (
    # 600 mV if smart sleep has no function
    (6, Field("smart_sleep_voltage", "I", MILLI, missing=(0, 600), limits=_VOLTS)),
    (
        6,
        Field(
            "smart_sleep_voltage", "I", MILLI, _NOT_REPORTED, since=(14,), limits=_VOLTS
        ),
    ),
    (10, Field("cell_uvp", "I", MILLI, limits=_VOLTS)),
    (14, Field("cell_uvp_recovery", "I", MILLI, limits=_VOLTS)),
    (18, Field("cell_ovp", "I", MILLI, limits=_VOLTS)),
    (22, Field("cell_ovp_recovery", "I", MILLI, limits=_VOLTS)),
    (26, Field("balance_trigger", "I", MILLI, limits=_VOLTS)),
    (30, Field("soc_100", "I", MILLI, _NOT_REPORTED, limits=_VOLTS)),
    (34, Field("soc_0", "I", MILLI, _NOT_REPORTED, limits=_VOLTS)),
    (38, Field("request_charge_voltage", "I", MILLI, _NOT_REPORTED, limits=_VOLTS)),
    (42, Field("request_float_voltage", "I", MILLI, _NOT_REPORTED, limits=_VOLTS)),
    (46, Field("power_off_voltage", "I", MILLI, limits=_VOLTS)),
    (50, Field("max_charge_current", "I", MILLI, limits=_AMPERES)),
    (54, Field("charge_overcurrent_delay", "I", limits=_SECONDS)),
    (58, Field("charge_overcurrent_recovery", "I", limits=_SECONDS)),
    (62, Field("max_discharge_current", "I", MILLI, limits=_AMPERES)),
    (66, Field("discharge_overcurrent_delay", "I", limits=_SECONDS)),
    (70, Field("discharge_overcurrent_recovery", "I", limits=_SECONDS)),
    (74, Field("short_circuit_recovery", "I", limits=_SECONDS)),
    (78, Field("max_balance_current", "I", MILLI, limits=_AMPERES)),
    (82, Field("charge_overtemperature", "i", DECI, limits=_CELSIUS)),
    (86, Field("charge_overtemperature_recovery", "i", DECI, limits=_CELSIUS)),
    (90, Field("discharge_overtemperature", "i", DECI, limits=_CELSIUS)),
    (94, Field("discharge_overtemperature_recovery", "i", DECI, limits=_CELSIUS)),
    (98, Field("charge_undertemperature", "i", DECI, limits=_CELSIUS)),
    (102, Field("charge_undertemperature_recovery", "i", DECI, limits=_CELSIUS)),
    (106, Field("mosfet_overtemperature", "i", DECI, limits=_CELSIUS)),
    (110, Field("mosfet_overtemperature_recovery", "i", DECI, limits=_CELSIUS)),
    (114, Field("cell_count", "I")),
    (118, Field("charging", "I", bool)),
    (122, Field("discharging", "I", bool)),
    (126, Field("balancer", "I", bool)),
    (130, Field("nominal_capacity", "I", MILLI, limits=(0.0, 20_000.0))),
    (134, Field("short_circuit_delay", "I", limits=(0, 10_000_000))),
    # Firmware 4.x uses these bytes for something else
    (
        138,
        Field("balance_start_voltage", "I", MILLI, since=(5,), limits=_VOLTS),
    ),
)

SETTINGS: Final[dict[Layout, tuple[Placed, ...]]] = {
    Layout.JK04: (
        (34, Field("cell_count", "I")),
        (38, Field("power_off_voltage", "f", single, limits=_VOLTS)),
        (74, Field("voltage_calibration", "f", single)),
        (98, Field("balance_start_voltage", "f", single, limits=_VOLTS)),
        (106, Field("balance_trigger", "f", single, limits=_VOLTS)),
        (110, Field("max_balance_current", "f", single, limits=_AMPERES)),
        (114, Field("balancer", "I", bool)),
    ),
    Layout.JK02_24S: _JK02_SETTINGS,
    Layout.JK02_32S: (
        *_JK02_SETTINGS,
        (270, Field("device_address", "I", limits=(0, 0xFF))),
        (274, Field("discharge_precharge_time", "I", limits=_SECONDS)),
        *_flags(282, "H", dict(enumerate(SWITCHES))),
        (284, Field("heating_start_temperature", "b", since=(15.41, 19.05))),
        (285, Field("heating_stop_temperature", "b", since=(15.41, 19.05))),
        (286, Field("smart_sleep_delay", "B", missing=_NOT_REPORTED)),
        (287, Field("register_support", "9s", _supported)),
        (296, Field("discharge_undertemperature", "b", since=(19.07,))),
        (297, Field("discharge_undertemperature_recovery", "b", since=(19.07,))),
    ),
}

_DEVICE_INFO_START: Final[tuple[Placed, ...]] = (
    (6, Field("device_model", "16s", label)),
    (22, Field("hardware_version", "8s", text)),
    (30, Field("software_version", "8s", label)),
    (38, Field("up_time", "I")),
    (42, Field("poweron_times", "I")),
    (46, Field("device_name", "16s", text)),
    (62, Field("device_passcode", "16s", text)),
    (78, Field("manufacturing_date", "8s", text)),
    (86, Field("serial_number", "16s", text)),
    (86, Field("passcode", "16s", _short_passcode)),
    (102, Field("userdata", "16s", text)),
    (118, Field("setup_passcode", "16s", text)),
)

DEVICE_INFO: Final[dict[Layout, tuple[Placed, ...]]] = {
    Layout.JK04: _DEVICE_INFO_START,
    Layout.JK02_24S: _DEVICE_INFO_START,
    Layout.JK02_32S: (
        *_DEVICE_INFO_START,
        (134, Field("userdata2", "16s", text)),
        (150, Field("command_support", "32s", _supported)),
        (184, Field("uart1_protocol", "B", since=(14,))),
        (185, Field("can_protocol", "B", since=(14,))),
        (186, Field("uart1_protocols", "I", _protocols, since=(14,))),
        (202, Field("can_protocols", "I", _protocols, since=(14,))),
        (218, Field("uart2_protocol", "B", since=(14,))),
        (219, Field("uart2_protocols", "I", _protocols, since=(14,))),
        (234, Field("buzzer_trigger", "B", since=(14,))),
        (235, Field("dry_contact_1_trigger", "B", since=(14,))),
        (236, Field("dry_contact_2_trigger", "B", since=(14,))),
        (237, Field("uart_library_version", "B", since=(14,))),
        (238, Field("buzzer_trigger_value", "i", since=(14,))),
        (242, Field("buzzer_release_value", "i", since=(14,))),
        (246, Field("dry_contact_1_trigger_value", "i", since=(14,))),
        (250, Field("dry_contact_1_release_value", "i", since=(14,))),
        (254, Field("dry_contact_2_trigger_value", "i", since=(14,))),
        (258, Field("dry_contact_2_release_value", "i", since=(14,))),
        (262, Field("data_storage_period", "i", missing=_NOT_REPORTED)),
        (266, Field("request_charge_time", "B", DECI, _NOT_REPORTED)),
        (267, Field("request_float_time", "B", DECI, _NOT_REPORTED)),
        (268, Field("can_library_version", "B", since=(14,))),
        (269, Field("emergency_duration", "B", missing=_NOT_REPORTED)),
        (270, Field("uart3_protocol", "B", since=(19,))),
        (271, Field("uart3_protocols", "I", _protocols, since=(19,))),
        (278, Field("rebulk_soc", "B", since=(19.27,))),
    ),
}


IDENTITY: Final = Table(_DEVICE_INFO_START)
"""Device information at the same place in every layout."""


def _info_spans(*names: str) -> tuple[slice, ...]:
    return tuple(
        slice(offset, offset + Struct(field.code).size)
        for offset, field in DEVICE_INFO[Layout.JK02_32S]
        if field.name in names
    )


PRIVATE: Final = _info_spans(*SECRET_FIELDS, "serial_number", "device_name")
"""Bytes of device information that identify the owner or are passcodes, in every layout."""

PASSING: Final = _info_spans("up_time")
"""Bytes of device information that change from one reading to the next."""

OLDEST_32S: Final = 11.0
"""First firmware of the 32S layout."""


@dataclass(frozen=True, slots=True)
class FirmwareSign:
    """Bytes that older firmware than `since` fills with one of the `idle` contents."""

    type: FrameType
    since: float
    span: slice
    idle: tuple[bytes, ...]


FIRMWARE_SIGNS: Final = (
    FirmwareSign(FrameType.CELL_DATA, 14.0, slice(240, 241), (bytes(1),)),
    FirmwareSign(FrameType.CELL_DATA, 15.0, slice(275, 281), (bytes(6),)),
    # In older firmware, a pair of limits: 60 and 50 °C
    FirmwareSign(FrameType.SETTINGS, 15.41, slice(284, 286), (bytes(2), b"\x3c\x32")),
    FirmwareSign(FrameType.SETTINGS, 19.07, slice(296, 298), (bytes(2),)),
)
"""Signs in frames of the minimum 32S firmware (docs/protocol.md 6.2)."""

JK04_SETTINGS_MARK: Final = Struct("<6xf")
"""Reads 1.0 in every settings frame of JK04; other layouts have a voltage in mV there."""
SETTINGS_END: Final = slice(254, 299)
"""All zero in settings of the 24S layout, but never on 32S."""

LOGBOOK_COUNT: Final = Struct("<6xI")
LOGBOOK_ENTRIES: Final = slice(11, 261)
LOGBOOK_ENTRY: Final = Struct("<IB")
"""Time and code."""

DETAIL_LOG_HEAD: Final = Struct("<6xHB")
"""Index of the first record and number of records."""
DETAIL_LOG_RECORDS: Final = slice(9, 297)
DETAIL_LOG_RECORD_SIZE: Final = 24
DETAIL_LOG_CAPACITY: Final = 12
"""Records in each frame but the last."""
DETAIL_LOG_RECORD: Final = Table(
    (
        (0, Field("clock", "I")),
        (4, Field("code", "B")),
        (4, Field("event", "B", log_event)),
        (4, Field("cell", "B", LOG_CELLS.get)),
        (5, Field("charging", "B", bit(0))),
        (5, Field("discharging", "B", bit(1))),
        (5, Field("balancing", "B", bit(2))),
        (5, Field("heating", "B", bit(3))),
        (6, Field("max_cell", "B", one_based)),
        (7, Field("min_cell", "B", one_based)),
        (8, Field("max_cell_voltage", "H", MILLI)),
        (10, Field("min_cell_voltage", "H", MILLI)),
        (12, Field("battery_voltage", "H", CENTI)),
        (14, Field("battery_current", "h", DECI)),
        (16, Field("remain_capacity", "H", DECI)),
        (18, Field("nominal_capacity", "H", DECI)),
        (20, Field("max_temperature", "b", missing=(-1,))),
        (21, Field("min_temperature", "b")),
        (22, Field("mosfet_temperature", "b")),
        (23, Field("heater_current", "b", DECI)),
    )
)


def _spans(layout: Layout) -> Iterator[tuple[int, int]]:
    """Yield offset and size of bytes that stay the same for hours on every device."""
    for offset, field in CELL_DATA[layout]:
        if field.steady:
            yield offset, Struct(f"<{field.code}").size
    slots = CELLS[layout].resistance
    yield slots.offset, slots.size * slots.room


@lru_cache(maxsize=32)
def steady_bytes(layout: Layout, enabled: int) -> int:
    """Return a mask of the bits of a frame that rarely change, including unused cells.

    The first byte of the frame is the lowest of the number.
    """
    cells = CELLS[layout].voltage
    unused = (
        (cells.offset + cells.size * cell, cells.size)
        for cell in range(cells.room)
        if not enabled >> cell & 1
    )
    places = {
        place
        for start, size in (*_spans(layout), *unused)
        for place in range(start, start + size)
    }
    return sum(0xFF << 8 * place for place in places)


def moved_bytes(layout: Layout, names: Container[str]) -> frozenset[int]:
    """Return the positions of all bytes of cell data that hold one of these fields."""
    return frozenset(
        place
        for offset, field in CELL_DATA[layout]
        if field.name in names
        for place in range(offset, offset + Struct(f"<{field.code}").size)
    )


LIMITS: Final = {
    field.name: field.limits
    for rows in SETTINGS.values()
    for _, field in rows
    if field.limits
}
"""Range that owners use for each setting."""
