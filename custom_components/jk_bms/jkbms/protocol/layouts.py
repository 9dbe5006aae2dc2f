"""Where each value stands in a frame, one table a frame type (docs/protocol.md 7 to 11).

A row holds the offset (in the JK02 table of cell data one for each layout) and the
field: its name in the model, the struct code of the raw value and what turns that into
the standard unit. All numbers are little-endian.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import itemgetter
from struct import Struct
from typing import Final, NamedTuple

from ..models import (
    MAX_CELLS,
    SECRET_FIELDS,
    BalancerState,
    BatteryType,
    ChargePhase,
    Layout,
)
from .codes import LOG_CELLS, alarm_names, log_event
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


def _short_passcode(raw: bytes) -> str | None:
    """Take the passcode that old units keep behind a short serial number."""
    serial_number, passcode = raw[:11], raw[11:]
    return text(passcode) if b"\0" in serial_number else None


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


_PACK_VOLTAGE: Final = 118, 150

CELLS: Final = {
    Layout.JK04: CellSlots(
        Struct("<214xI"),
        Slots(6, 24, "f", each_single),
        Slots(102, 24, "f", each_single),
        pack_voltage=None,
        room=24,
        decimals=6,
    ),
    Layout.JK02_24S: CellSlots(
        Struct("<54xI"),
        Slots(6, 24, "H", each_milli),
        Slots(64, 24, "H", each_milli),
        pack_voltage=Struct(f"<{_PACK_VOLTAGE[0]}xI"),
        room=24,
        decimals=3,
    ),
    Layout.JK02_32S: CellSlots(
        Struct("<70xI"),
        Slots(6, MAX_CELLS, "H", each_milli),
        Slots(80, MAX_CELLS, "H", each_milli),
        pack_voltage=Struct(f"<{_PACK_VOLTAGE[1]}xI"),
        room=MAX_CELLS,
        decimals=3,
    ),
}

_NOT_CONNECTED: Final = (-2000,)
_NOT_REPORTED: Final = (0,)

SENSOR_MASK: Final = "temperature_sensors"
MOSFET_SENSOR: Final = 1 << 0
"""In the mask."""
BATTERY_SENSORS: Final = {f"temperature_{n}": 1 << n for n in (1, 2, 4, 5)}

# The last of several rows of one name counts, of those that the device carries
_JK02_CELL_DATA: Final[tuple[tuple[int | None, int | None, Field], ...]] = (
    # 24S   32S
    (5, 5, Field("frame_counter", "B")),
    (114, 146, Field("wire_resistance_alarm", "I", _cells)),
    (*_PACK_VOLTAGE, Field("battery_voltage", "I", MILLI)),
    (126, 158, Field("battery_current", "i", MILLI)),
    (130, 162, Field("temperature_1", "h", DECI, _NOT_CONNECTED)),
    (132, 164, Field("temperature_2", "h", DECI, _NOT_CONNECTED)),
    (None, 256, Field("temperature_4", "h", DECI, _NOT_CONNECTED, since=(14,))),
    (None, 258, Field("temperature_5", "h", DECI, _NOT_CONNECTED, since=(14,))),
    (134, 144, Field("mosfet_temperature", "h", DECI, _NOT_CONNECTED)),
    (182, 214, Field(SENSOR_MASK, "B")),
    (136, None, Field("alarms", "H", alarm_names)),
    (136, None, Field("alarm_mask", "H")),
    (None, 166, Field("alarms", "I", alarm_names)),
    (None, 166, Field("alarm_mask", "I")),
    (138, 170, Field("balance_current", "h", MILLI)),
    (140, 172, Field("balancer", "B", _BALANCER)),
    (141, 173, Field("remain_percent", "B")),
    (142, 174, Field("remain_capacity", "i", MILLI)),
    (146, 178, Field("nominal_capacity", "I", MILLI)),
    (150, 182, Field("cycle_count", "I")),
    (154, 186, Field("cycle_capacity", "I", MILLI)),
    (158, None, Field("state_of_health", "B", missing=_NOT_REPORTED)),
    (None, 190, Field("state_of_health", "B")),
    (159, 191, Field("precharging", "?")),
    (162, 194, Field("up_time", "I")),
    (166, 198, Field("charging", "?")),
    (167, 199, Field("discharging", "?")),
    (170, 202, Field("discharge_overcurrent_release_time", "H")),
    (172, 204, Field("discharge_short_circuit_release_time", "H")),
    (174, 206, Field("charge_overcurrent_release_time", "H")),
    (176, 208, Field("charge_short_circuit_release_time", "H")),
    (178, 210, Field("cell_undervoltage_release_time", "H")),
    (180, 212, Field("cell_overvoltage_release_time", "H")),
    (None, 215, Field("heating", "?")),
    (186, 218, Field("emergency_countdown", "H")),
    (188, 220, Field("discharge_current_correction", "H")),
    (190, 222, Field("charge_current_sensor", "H", MILLI)),
    (192, 224, Field("discharge_current_sensor", "H", MILLI)),
    (194, 226, Field("voltage_correction", "f", single)),
    (198, 230, Field("balancer_discharge_drive", "H")),
    (200, 232, Field("balancer_charge_drive", "H")),
    (None, 236, Field("heater_current", "h", MILLI)),
    (213, 245, Field("charger_plugged", "?")),
    (214, 246, Field("boot_time", "I", DECI, _NOT_REPORTED)),
    (None, 260, Field("charge_current_correction", "H", missing=_NOT_REPORTED)),
    (None, 262, Field("clock", "I", missing=_NOT_REPORTED)),
    (None, 266, Field("detail_log_count", "I", missing=_NOT_REPORTED)),
    (None, 266, Field("detail_log_count", "I", since=(11.48,))),
    (None, 270, Field("sleep_countdown", "I", missing=_NOT_REPORTED)),
    (None, 274, Field("parallel_limiter", "?", since=(14,), model="PB")),
    (None, 275, Field("battery_type", "B", _BATTERY_TYPE, since=(15,))),
    (None, 276, Field("warmest_sensor", "B", since=(15,))),
    (None, 277, Field("coldest_sensor", "B", since=(15,))),
    (None, 278, Field("charge_phase_time", "H", since=(15,))),
    (None, 280, Field("charge_phase", "B", _CHARGE_PHASE, since=(15,))),
    (None, 281, Field("dry_contact_1", "B", bit(1), since=(14,), model="PB")),
    (None, 281, Field("dry_contact_2", "B", bit(2), since=(14,), model="PB")),
)

CELL_DATA: Final[dict[Layout, tuple[Placed, ...]]] = {
    Layout.JK04: (
        (5, Field("frame_counter", "B")),
        (220, Field("balancer", "B", _BALANCER)),
        (222, Field("balance_current", "f", single)),
        (286, Field("up_time", "I")),
    ),
    Layout.JK02_24S: tuple(
        (offset, field) for offset, _, field in _JK02_CELL_DATA if offset is not None
    ),
    Layout.JK02_32S: tuple(
        (offset, field) for _, offset, field in _JK02_CELL_DATA if offset is not None
    ),
}

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
"""Fields that mean nothing with no cell connected (docs/protocol.md 7.3)."""

BALANCER_MODEL: Final = "DZ"
"""Part of the model name of the balancers that send a battery's frame, mostly zero."""
BALANCER_FIELDS: Final = frozenset(
    {
        "frame_counter",
        "battery_voltage",
        "temperature_1",
        SENSOR_MASK,
        "alarms",
        "alarm_mask",
        "balance_current",
        "balancer",
        "up_time",
    }
)

_JK02_SETTINGS: Final[tuple[Placed, ...]] = (
    # 600 mV where smart sleep has no function
    (6, Field("smart_sleep_voltage", "I", MILLI, missing=(0, 600))),
    (6, Field("smart_sleep_voltage", "I", MILLI, _NOT_REPORTED, since=(14,))),
    (10, Field("cell_uvp", "I", MILLI)),
    (14, Field("cell_uvp_recovery", "I", MILLI)),
    (18, Field("cell_ovp", "I", MILLI)),
    (22, Field("cell_ovp_recovery", "I", MILLI)),
    (26, Field("balance_trigger", "I", MILLI)),
    (30, Field("soc_100", "I", MILLI, _NOT_REPORTED)),
    (34, Field("soc_0", "I", MILLI, _NOT_REPORTED)),
    (38, Field("request_charge_voltage", "I", MILLI, _NOT_REPORTED)),
    (42, Field("request_float_voltage", "I", MILLI, _NOT_REPORTED)),
    (46, Field("power_off_voltage", "I", MILLI)),
    (50, Field("max_charge_current", "I", MILLI)),
    (54, Field("charge_overcurrent_delay", "I")),
    (58, Field("charge_overcurrent_recovery", "I")),
    (62, Field("max_discharge_current", "I", MILLI)),
    (66, Field("discharge_overcurrent_delay", "I")),
    (70, Field("discharge_overcurrent_recovery", "I")),
    (74, Field("short_circuit_recovery", "I")),
    (78, Field("max_balance_current", "I", MILLI)),
    (82, Field("charge_overtemperature", "i", DECI)),
    (86, Field("charge_overtemperature_recovery", "i", DECI)),
    (90, Field("discharge_overtemperature", "i", DECI)),
    (94, Field("discharge_overtemperature_recovery", "i", DECI)),
    (98, Field("charge_undertemperature", "i", DECI)),
    (102, Field("charge_undertemperature_recovery", "i", DECI)),
    (106, Field("mosfet_overtemperature", "i", DECI)),
    (110, Field("mosfet_overtemperature_recovery", "i", DECI)),
    (114, Field("cell_count", "I")),
    (118, Field("charging", "I", bool)),
    (122, Field("discharging", "I", bool)),
    (126, Field("balancer", "I", bool)),
    (130, Field("nominal_capacity", "I", MILLI)),
    (134, Field("short_circuit_delay", "I")),
    (138, Field("balance_start_voltage", "I", MILLI)),
)

SETTINGS: Final[dict[Layout, tuple[Placed, ...]]] = {
    Layout.JK04: (
        (34, Field("cell_count", "I")),
        (38, Field("power_off_voltage", "f", single)),
        (74, Field("voltage_calibration", "f", single)),
        (98, Field("balance_start_voltage", "f", single)),
        (106, Field("balance_trigger", "f", single)),
        (110, Field("max_balance_current", "f", single)),
        (114, Field("balancer", "I", bool)),
    ),
    Layout.JK02_24S: _JK02_SETTINGS,
    Layout.JK02_32S: (
        *_JK02_SETTINGS,
        (270, Field("device_address", "I")),
        (274, Field("discharge_precharge_time", "I")),
        (282, Field("heating", "H", bit(0))),
        (282, Field("temperature_sensors_disabled", "H", bit(1))),
        (282, Field("gps_heartbeat", "H", bit(2))),
        (282, Field("port_rs485", "H", bit(3))),
        (282, Field("display_always_on", "H", bit(4))),
        (282, Field("special_charger", "H", bit(5))),
        (282, Field("smart_sleep", "H", bit(6))),
        (282, Field("parallel_limiter_disabled", "H", bit(7))),
        (282, Field("timed_storage", "H", bit(8))),
        (282, Field("charging_float_mode", "H", bit(9))),
        (282, Field("emergency_trigger", "H", bit(10))),
        (282, Field("dry_contact_intermittent", "H", bit(11))),
        (282, Field("discharge_overcurrent_2", "H", bit(12))),
        (282, Field("discharge_overcurrent_3", "H", bit(13))),
        (282, Field("gps_lock_charging", "H", bit(14))),
        (282, Field("gps_lock_discharging", "H", bit(15))),
        (284, Field("heating_start_temperature", "b", since=(15.41, 19.05))),
        (285, Field("heating_stop_temperature", "b", since=(15.41, 19.05))),
        (286, Field("smart_sleep_delay", "B", missing=_NOT_REPORTED)),
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
"""Device information that stands in the same place for every layout."""

PRIVATE: Final = tuple(
    slice(offset, offset + Struct(field.code).size)
    for offset, field in DEVICE_INFO[Layout.JK02_32S]
    if field.name in SECRET_FIELDS | {"serial_number", "device_name"}
)
"""Bytes of device information that tell whose it is or open it, whatever the layout."""

OLDEST_32S: Final = 11.0
"""First firmware of the layout."""


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
    # 60 and 50 °C are another pair of limits
    FirmwareSign(FrameType.SETTINGS, 15.41, slice(284, 286), (bytes(2), b"\x3c\x32")),
    FirmwareSign(FrameType.SETTINGS, 19.07, slice(296, 298), (bytes(2),)),
)
"""How recent a 32S firmware is at least, by its frames (docs/protocol.md 6.2)."""

JK04_SETTINGS_MARK: Final = Struct("<6xf")
"""1.0 in every settings frame of JK04, far below any voltage in mV elsewhere."""
SETTINGS_END: Final = slice(254, 299)
"""All zero in settings of the 24S layout, never on 32S."""

LOGBOOK_COUNT: Final = Struct("<6xI")
LOGBOOK_ENTRIES: Final = slice(11, 261)
LOGBOOK_ENTRY: Final = Struct("<IB")
"""Time, code."""

DETAIL_LOG_HEAD: Final = Struct("<6xHB")
"""Index of the first record, number of records."""
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


class Evidence(NamedTuple):
    """Raw values of cell data that bear each other out; 0 where a layout has none.

    mV, mA, mW, mAh, 0.1 degC, s unless said otherwise.
    """

    counter: int = 0
    enabled: int = 0
    average: float = 0
    spread: float = 0
    pack: int = 0
    pack_again: int = 0
    """10 mV"""
    power: int = 0
    current: int = 0
    temperature_1: int = 0
    temperature_2: int = 0
    temperature_4: int = 0
    temperature_5: int = 0
    mosfet: int = 0
    mosfet_again: int = 0
    warmest: int = 0
    coldest: int = 0
    balance_current: float = 0
    balancer: int = 0
    discharge_drive: int = 0
    charge_drive: int = 0
    soc: int = 0
    remaining: int = 0
    full: int = 0
    moved: int = 0
    """Over life."""
    run_time: int = 0
    ticks: int = 0
    """0.1 s since boot"""
    clock: int = 0
    sleep: int = 0
    phase_time: int = 0
    charge_sensor: int = 0
    discharge_sensor: int = 0
    heating: int = 0
    heater_current: int = 0

    @property
    def sensors(self) -> tuple[int, ...]:
        """The sensors of the battery, in the order in which the BMS numbers them."""
        return (
            self.temperature_1,
            self.temperature_2,
            self.temperature_4,
            self.temperature_5,
        )


_JK02_EVIDENCE: Final[tuple[tuple[int | None, int | None, str, str], ...]] = (
    # 24S   32S
    (5, 5, "counter", "B"),
    (54, 70, "enabled", "I"),
    (58, 74, "average", "H"),
    (60, 76, "spread", "H"),
    (*_PACK_VOLTAGE, "pack", "I"),
    (None, 234, "pack_again", "H"),
    (122, 154, "power", "I"),
    (126, 158, "current", "i"),
    (130, 162, "temperature_1", "h"),
    (132, 164, "temperature_2", "h"),
    (None, 256, "temperature_4", "h"),
    (None, 258, "temperature_5", "h"),
    (134, 144, "mosfet", "h"),
    (None, 254, "mosfet_again", "h"),
    (None, 276, "warmest", "B"),
    (None, 277, "coldest", "B"),
    (138, 170, "balance_current", "h"),
    (140, 172, "balancer", "B"),
    (198, 230, "discharge_drive", "H"),
    (200, 232, "charge_drive", "H"),
    (141, 173, "soc", "B"),
    (142, 174, "remaining", "i"),
    (146, 178, "full", "I"),
    (154, 186, "moved", "I"),
    (162, 194, "run_time", "I"),
    (214, 246, "ticks", "I"),
    (None, 262, "clock", "I"),
    (None, 270, "sleep", "I"),
    (None, 278, "phase_time", "H"),
    (190, 222, "charge_sensor", "H"),
    (192, 224, "discharge_sensor", "H"),
    (None, 215, "heating", "B"),
    (None, 236, "heater_current", "h"),
)
_EVIDENCE: Final[dict[Layout, tuple[tuple[int, str, str], ...]]] = {
    Layout.JK04: (
        (5, "counter", "B"),
        (202, "average", "f"),
        (206, "spread", "f"),
        (214, "enabled", "I"),
        (220, "balancer", "B"),
        (222, "balance_current", "f"),
        (286, "run_time", "I"),
    ),
    Layout.JK02_24S: tuple(
        (offset, name, code)
        for offset, _, name, code in _JK02_EVIDENCE
        if offset is not None
    ),
    Layout.JK02_32S: tuple(
        (offset, name, code)
        for _, offset, name, code in _JK02_EVIDENCE
        if offset is not None
    ),
}

_STEADY: Final = {
    Layout.JK04: ((102, 202), (210, 218), (298, 299)),
    Layout.JK02_24S: (
        *((54, 58), (64, 118), (136, 138), (146, 154), (158, 160), (166, 168)),
        *((170, 190), (194, 198), (202, 214), (218, 299)),
    ),
    Layout.JK02_32S: (
        *((70, 74), (80, 144), (146, 150), (166, 170), (178, 186), (190, 194)),
        *((198, 222), (226, 230), (239, 242), (243, 246), (250, 254)),
        *((260, 262), (266, 270), (274, 276), (280, 299)),
    ),
}
"""First byte and end of what stays the same for hours on every device."""
_CELL_BYTES: Final = {
    Layout.JK04: (6, 4),
    Layout.JK02_24S: (6, 2),
    Layout.JK02_32S: (6, 2),
}
"""First byte of the first cell, bytes of each."""


@lru_cache(maxsize=32)
def steady_bytes(layout: Layout, enabled: int) -> int:
    """Return all bits of a frame that change seldom, unused cells among them.

    The first byte of the frame is the lowest of the number.
    """
    first, size = _CELL_BYTES[layout]
    unused = (
        first + size * cell + byte
        for cell in range(CELLS[layout].room)
        for byte in range(size)
        if not enabled >> cell & 1
    )
    spans = (place for span in _STEADY[layout] for place in range(*span))
    return sum(0xFF << 8 * place for place in (*spans, *unused))


class EvidenceTable:
    """The evidence of one layout compiled into one `struct`."""

    def __init__(self, rows: Iterable[tuple[int, str, str]], unit: float) -> None:
        """`unit`: what turns a voltage of a cell into mV."""
        codes, end, names = ["<"], 0, []
        for offset, name, code in sorted(rows):
            codes.append(f"{offset - end}x{code}")
            names.append(name)
            end = offset + Struct(f"<{code}").size
        self._struct = Struct("".join(codes))
        nothing = len(names)
        self._order = itemgetter(
            *(
                names.index(name) if name in names else nothing
                for name in Evidence._fields
            )
        )
        self.unit: Final = unit

    def read(self, data: bytes) -> Evidence:
        """Return the raw values."""
        return Evidence._make(self._order((*self._struct.unpack_from(data), 0)))


EVIDENCE: Final = {
    layout: EvidenceTable(rows, unit=1000 if layout is Layout.JK04 else 1)
    for layout, rows in _EVIDENCE.items()
}
"""What the guard looks at in cell data (docs/protocol.md 13)."""
