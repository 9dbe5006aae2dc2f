"""Where each value stands in a frame, one table a frame type (docs/protocol.md 7 to 11).

A row holds the offset (in the JK02 table of cell data one for each layout) and the
field: its name in the model, the struct code of the raw value and what turns that into
the standard unit. All numbers are little-endian.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import Placeholder, cached_property, lru_cache, partial
from itertools import compress, repeat
from math import inf, isfinite
from operator import itemgetter, truediv
from struct import Struct
from typing import Any, Final, NamedTuple

from ..errors import ImplausibleFrameError
from ..models import (
    SECRET_FIELDS,
    Alarm,
    BalancerState,
    BatteryType,
    CellData,
    ChargePhase,
    Layout,
)
from .frames import FrameType

type Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Divided:
    """Turns whole numbers of a small unit into the standard unit."""

    by: int


def _bit(number: int) -> Convert:
    return lambda raw: bool(raw >> number & 1)


def _set_bits(raw: int, first: int = 0) -> tuple[int, ...]:
    if not raw:
        # Where the bits are alarms, it is nearly always so
        return ()
    return tuple(i + first for i in range(raw.bit_length()) if raw >> i & 1)


_cells: Final = partial(_set_bits, first=1)


_ALARM_NAMES: Final = tuple(str(alarm.name).lower() for alarm in Alarm)


def _alarm_names(raw: int) -> tuple[str, ...]:
    return tuple([_ALARM_NAMES[bit] for bit in _set_bits(raw)]) if raw else ()


ALARMS: Final[dict[Layout | None, tuple[str, ...]]] = {
    None: _alarm_names(0xFFFFFFFF),
    Layout.JK04: (),
    Layout.JK02_24S: _alarm_names(0xFFFF),
    Layout.JK02_32S: _alarm_names(0xFFFFFFFF),
}
"""What a battery of each layout can raise, in the order of the bits."""

_PROTOCOL_COUNT: Final = 21


def _protocols(raw: int) -> tuple[int, ...]:
    return _set_bits(raw & ((1 << _PROTOCOL_COUNT) - 1))


def _member[E](*members: E, unknown: E) -> Convert:
    """Name the codes of one byte."""
    return (members + (unknown,) * (0x100 - len(members))).__getitem__


def _single(raw: float) -> float:
    """Drop the digits that 32 bits never had: 2.384, not 2.384000062942505."""
    if not isfinite(raw):
        raise ImplausibleFrameError("A value is not a number")
    # The sum makes 0.0 of -0.0
    return round(raw, 6) + 0.0


def _text(raw: bytes) -> str | None:
    return raw.partition(b"\0")[0].decode(errors="replace").strip() or None


_CONTROLS: Final = bytes(range(0x20))


def _label(raw: bytes) -> str | None:
    """Drop a binary byte at the end, such as the maximum cell count behind a model."""
    return _text(raw.rstrip(_CONTROLS))


def _short_passcode(raw: bytes) -> str | None:
    """Take the passcode that old units keep behind a short serial number."""
    serial_number, passcode = raw[:11], raw[11:]
    return _text(passcode) if b"\0" in serial_number else None


def _one_based(raw: int) -> int:
    return raw + 1


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
MAX_CELLS: Final = 32
"""Of the layout with the most room."""

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


_MILLI: Final = Divided(1000)
_CENTI: Final = Divided(100)
_DECI: Final = Divided(10)
_BALANCER: Final = _member(
    BalancerState.OFF,
    BalancerState.CHARGING,
    BalancerState.DISCHARGING,
    unknown=BalancerState.UNKNOWN,
)
_BATTERY_TYPE: Final = _member(
    BatteryType.LFP, BatteryType.LI_ION, BatteryType.LTO, unknown=BatteryType.UNKNOWN
)
_CHARGE_PHASE: Final = _member(
    ChargePhase.BULK,
    ChargePhase.ABSORPTION,
    ChargePhase.FLOAT,
    unknown=ChargePhase.UNKNOWN,
)


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a frame."""

    name: str
    code: str
    """Of `struct`: size and sign of the raw value."""
    convert: Convert | Divided | None = None
    """`None` where the raw value says it all."""
    missing: tuple[int, ...] = ()
    """Raw values that mean that there is nothing."""
    since: tuple[float, ...] = ()
    """First firmware that fills it; several where several series gained it."""
    model: str = ""
    """Part of the model name of the devices that have it, if only some have."""


type Placed = tuple[int, Field]
"""Offset in the frame and what stands there."""


def _picking(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return what takes the values at these places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(values[place] for place in places)


class Table:
    """Fields compiled to be read in one go; several fields may share one raw value.

    Whatever every field needs is done by `struct`, `map` and `itemgetter`; only what a
    function converts, or what may be missing, costs a turn of a loop.
    """

    def __init__(self, rows: Iterable[Placed], names: Iterable[str] = ()) -> None:
        """Compile; raw values must not overlap unless they are the same.

        The last of several rows of one name counts. The values come in the order of
        `names`, among which may be some without a row, or else of the rows. What may
        be missing and is not converted has its raw value to itself.
        """
        fields = {field.name: (offset, field) for offset, field in rows}
        self.names = tuple(names) or tuple(fields)
        codes, end = ["<"], 0
        places = sorted({(offset, field.code) for offset, field in fields.values()})
        for offset, code in places:
            codes.append(f"{offset - end}x{code}")
            end = offset + Struct(f"<{code}").size
        self._unpack = Struct("".join(codes)).unpack_from

        raw: dict[str, int] = {}
        divisors: dict[str, int] = {}
        converts: dict[str, Convert] = {}
        for name, (offset, field) in fields.items():
            raw[name] = places.index((offset, field.code))
            if isinstance(field.convert, Divided):
                divisors[name] = field.convert.by
            elif field.convert:
                converts[name] = field.convert
        self._divided = _picking([raw[name] for name in divisors])
        self._divisors = tuple(divisors.values())
        self._converted = _picking([raw[name] for name in converts])
        self._converts = tuple(converts.values())
        # All that `values` has to choose from: the raw values come first
        found = [*range(len(places)), *divisors, *converts, None]
        where = raw | {name: found.index(name) for name in (*divisors, *converts)}
        self._missing = tuple(
            (raw[name], field.missing, where[name])
            for name, (_, field) in fields.items()
            if field.missing
        )
        nothing = found.index(None)
        self._arranged = _picking([where.get(name, nothing) for name in self.names])

    def values(self, data: bytes) -> tuple[Any, ...]:
        """Return the values in the order of `names`, `None` where there is nothing."""
        raw = self._unpack(data)
        divided = map(truediv, self._divided(raw), self._divisors)
        pairs = zip(self._converts, self._converted(raw), strict=True)
        converted = [convert(value) for convert, value in pairs]
        found = [*raw, *divided, *converted, None]
        for place, missing, where in self._missing:
            if raw[place] in missing:
                found[where] = None
        return self._arranged(found)

    def read(self, data: bytes) -> dict[str, Any]:
        """Return the values by name, `None` where there is nothing."""
        return dict(zip(self.names, self.values(data), strict=True))


def has_gaps(enabled: int) -> bool:
    """Tell whether a mask of cells has some that are not enabled before the last one."""
    return enabled & (enabled + 1) != 0


type ConvertEach = Callable[[Iterable[Any]], Iterator[float]]

_each_milli: Final[ConvertEach] = partial(map, truediv, Placeholder, repeat(_MILLI.by))
_each_single: Final[ConvertEach] = partial(map, _single)


class Slots:
    """Room for one value a cell."""

    def __init__(
        self, offset: int, room: int, code: str, convert_each: ConvertEach
    ) -> None:
        """Compile for any number of cells; `code` is that of `struct` for one."""
        self.convert_each = convert_each
        self._offset = offset
        self._unpack = tuple(
            Struct(f"<{count}{code}").unpack_from for count in range(room + 1)
        )

    def raw(self, data: bytes) -> tuple[Any, ...]:
        """Return the raw values of all slots, used or not."""
        return self._unpack[-1](data, self._offset)

    def read(self, data: bytes, enabled: int) -> tuple[float | None, ...]:
        """Return the values up to the last cell in the mask, `None` for one not in it."""
        count = enabled.bit_length()
        raw = self._unpack[count](data, self._offset)
        if not has_gaps(enabled):
            return tuple(self.convert_each(raw))
        used = [bool(enabled >> i & 1) for i in range(count)]
        values = self.convert_each(compress(raw, used))
        return tuple(next(values) if is_used else None for is_used in used)


@dataclass(frozen=True, slots=True)
class CellSlots:
    """Where the values of single cells stand, and which of them count."""

    enabled: Struct
    """Of the mask of enabled cells, with its offset as padding."""
    voltage: Slots
    resistance: Slots
    pack_voltage: Struct | None
    """In the unit of the cells; JK04 has none."""
    room: int
    decimals: int
    """Of a voltage in V, as many as the wire carries."""


_PACK_VOLTAGE: Final = 118, 150

CELLS: Final = {
    Layout.JK04: CellSlots(
        Struct("<214xI"),
        Slots(6, 24, "f", _each_single),
        Slots(102, 24, "f", _each_single),
        pack_voltage=None,
        room=24,
        decimals=6,
    ),
    Layout.JK02_24S: CellSlots(
        Struct("<54xI"),
        Slots(6, 24, "H", _each_milli),
        Slots(64, 24, "H", _each_milli),
        pack_voltage=Struct(f"<{_PACK_VOLTAGE[0]}xI"),
        room=24,
        decimals=3,
    ),
    Layout.JK02_32S: CellSlots(
        Struct("<70xI"),
        Slots(6, MAX_CELLS, "H", _each_milli),
        Slots(80, MAX_CELLS, "H", _each_milli),
        pack_voltage=Struct(f"<{_PACK_VOLTAGE[1]}xI"),
        room=MAX_CELLS,
        decimals=3,
    ),
}

_NOT_CONNECTED: Final = (-2000,)
_NOT_REPORTED: Final = (0,)

_SENSOR_MASK: Final = "temperature_sensors"
MOSFET_SENSOR: Final = 1 << 0
"""In the mask."""
_BATTERY_SENSORS: Final = {f"temperature_{n}": 1 << n for n in (1, 2, 4, 5)}

# The last of several rows of one name counts, of those that the device carries
_JK02_CELL_DATA: Final[tuple[tuple[int | None, int | None, Field], ...]] = (
    # 24S   32S
    (5, 5, Field("frame_counter", "B")),
    (114, 146, Field("wire_resistance_alarm", "I", _cells)),
    (*_PACK_VOLTAGE, Field("battery_voltage", "I", _MILLI)),
    (126, 158, Field("battery_current", "i", _MILLI)),
    (130, 162, Field("temperature_1", "h", _DECI, _NOT_CONNECTED)),
    (132, 164, Field("temperature_2", "h", _DECI, _NOT_CONNECTED)),
    (None, 256, Field("temperature_4", "h", _DECI, _NOT_CONNECTED, since=(14,))),
    (None, 258, Field("temperature_5", "h", _DECI, _NOT_CONNECTED, since=(14,))),
    (134, 144, Field("mosfet_temperature", "h", _DECI, _NOT_CONNECTED)),
    (182, 214, Field(_SENSOR_MASK, "B")),
    (136, None, Field("alarms", "H", _alarm_names)),
    (136, None, Field("alarm_mask", "H")),
    (None, 166, Field("alarms", "I", _alarm_names)),
    (None, 166, Field("alarm_mask", "I")),
    (138, 170, Field("balance_current", "h", _MILLI)),
    (140, 172, Field("balancer", "B", _BALANCER)),
    (141, 173, Field("remain_percent", "B")),
    (142, 174, Field("remain_capacity", "i", _MILLI)),
    (146, 178, Field("nominal_capacity", "I", _MILLI)),
    (150, 182, Field("cycle_count", "I")),
    (154, 186, Field("cycle_capacity", "I", _MILLI)),
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
    (190, 222, Field("charge_current_sensor", "H", _MILLI)),
    (192, 224, Field("discharge_current_sensor", "H", _MILLI)),
    (194, 226, Field("voltage_correction", "f", _single)),
    (198, 230, Field("balancer_discharge_drive", "H")),
    (200, 232, Field("balancer_charge_drive", "H")),
    (None, 236, Field("heater_current", "h", _MILLI)),
    (213, 245, Field("charger_plugged", "?")),
    (214, 246, Field("boot_time", "I", _DECI, _NOT_REPORTED)),
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
    (None, 281, Field("dry_contact_1", "B", _bit(1), since=(14,), model="PB")),
    (None, 281, Field("dry_contact_2", "B", _bit(2), since=(14,), model="PB")),
)

_CELL_DATA: Final[dict[Layout, tuple[Placed, ...]]] = {
    Layout.JK04: (
        (5, Field("frame_counter", "B")),
        (220, Field("balancer", "B", _BALANCER)),
        (222, Field("balance_current", "f", _single)),
        (286, Field("up_time", "I")),
    ),
    Layout.JK02_24S: tuple(
        (offset, field) for offset, _, field in _JK02_CELL_DATA if offset is not None
    ),
    Layout.JK02_32S: tuple(
        (offset, field) for _, offset, field in _JK02_CELL_DATA if offset is not None
    ),
}
CELL_DATA_FIELDS: Final = tuple(field.name for field in fields(CellData))

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
_BALANCER_FIELDS: Final = frozenset(
    {
        "frame_counter",
        "battery_voltage",
        "temperature_1",
        _SENSOR_MASK,
        "alarms",
        "alarm_mask",
        "balance_current",
        "balancer",
        "up_time",
    }
)

_JK02_SETTINGS: Final[tuple[Placed, ...]] = (
    # 600 mV where smart sleep has no function
    (6, Field("smart_sleep_voltage", "I", _MILLI, missing=(0, 600))),
    (6, Field("smart_sleep_voltage", "I", _MILLI, _NOT_REPORTED, since=(14,))),
    (10, Field("cell_uvp", "I", _MILLI)),
    (14, Field("cell_uvp_recovery", "I", _MILLI)),
    (18, Field("cell_ovp", "I", _MILLI)),
    (22, Field("cell_ovp_recovery", "I", _MILLI)),
    (26, Field("balance_trigger", "I", _MILLI)),
    (30, Field("soc_100", "I", _MILLI, _NOT_REPORTED)),
    (34, Field("soc_0", "I", _MILLI, _NOT_REPORTED)),
    (38, Field("request_charge_voltage", "I", _MILLI, _NOT_REPORTED)),
    (42, Field("request_float_voltage", "I", _MILLI, _NOT_REPORTED)),
    (46, Field("power_off_voltage", "I", _MILLI)),
    (50, Field("max_charge_current", "I", _MILLI)),
    (54, Field("charge_overcurrent_delay", "I")),
    (58, Field("charge_overcurrent_recovery", "I")),
    (62, Field("max_discharge_current", "I", _MILLI)),
    (66, Field("discharge_overcurrent_delay", "I")),
    (70, Field("discharge_overcurrent_recovery", "I")),
    (74, Field("short_circuit_recovery", "I")),
    (78, Field("max_balance_current", "I", _MILLI)),
    (82, Field("charge_overtemperature", "i", _DECI)),
    (86, Field("charge_overtemperature_recovery", "i", _DECI)),
    (90, Field("discharge_overtemperature", "i", _DECI)),
    (94, Field("discharge_overtemperature_recovery", "i", _DECI)),
    (98, Field("charge_undertemperature", "i", _DECI)),
    (102, Field("charge_undertemperature_recovery", "i", _DECI)),
    (106, Field("mosfet_overtemperature", "i", _DECI)),
    (110, Field("mosfet_overtemperature_recovery", "i", _DECI)),
    (114, Field("cell_count", "I")),
    (118, Field("charging", "I", bool)),
    (122, Field("discharging", "I", bool)),
    (126, Field("balancer", "I", bool)),
    (130, Field("nominal_capacity", "I", _MILLI)),
    (134, Field("short_circuit_delay", "I")),
    (138, Field("balance_start_voltage", "I", _MILLI)),
)

_SETTINGS: Final[dict[Layout, tuple[Placed, ...]]] = {
    Layout.JK04: (
        (34, Field("cell_count", "I")),
        (38, Field("power_off_voltage", "f", _single)),
        (74, Field("voltage_calibration", "f", _single)),
        (98, Field("balance_start_voltage", "f", _single)),
        (106, Field("balance_trigger", "f", _single)),
        (110, Field("max_balance_current", "f", _single)),
        (114, Field("balancer", "I", bool)),
    ),
    Layout.JK02_24S: _JK02_SETTINGS,
    Layout.JK02_32S: (
        *_JK02_SETTINGS,
        (270, Field("device_address", "I")),
        (274, Field("discharge_precharge_time", "I")),
        (282, Field("heating", "H", _bit(0))),
        (282, Field("temperature_sensors_disabled", "H", _bit(1))),
        (282, Field("gps_heartbeat", "H", _bit(2))),
        (282, Field("port_rs485", "H", _bit(3))),
        (282, Field("display_always_on", "H", _bit(4))),
        (282, Field("special_charger", "H", _bit(5))),
        (282, Field("smart_sleep", "H", _bit(6))),
        (282, Field("parallel_limiter_disabled", "H", _bit(7))),
        (282, Field("timed_storage", "H", _bit(8))),
        (282, Field("charging_float_mode", "H", _bit(9))),
        (282, Field("emergency_trigger", "H", _bit(10))),
        (282, Field("dry_contact_intermittent", "H", _bit(11))),
        (282, Field("discharge_overcurrent_2", "H", _bit(12))),
        (282, Field("discharge_overcurrent_3", "H", _bit(13))),
        (282, Field("gps_lock_charging", "H", _bit(14))),
        (282, Field("gps_lock_discharging", "H", _bit(15))),
        (284, Field("heating_start_temperature", "b", since=(15.41, 19.05))),
        (285, Field("heating_stop_temperature", "b", since=(15.41, 19.05))),
        (286, Field("smart_sleep_delay", "B", missing=_NOT_REPORTED)),
        (296, Field("discharge_undertemperature", "b", since=(19.07,))),
        (297, Field("discharge_undertemperature_recovery", "b", since=(19.07,))),
    ),
}

_DEVICE_INFO_START: Final[tuple[Placed, ...]] = (
    (6, Field("device_model", "16s", _label)),
    (22, Field("hardware_version", "8s", _text)),
    (30, Field("software_version", "8s", _label)),
    (38, Field("up_time", "I")),
    (42, Field("poweron_times", "I")),
    (46, Field("device_name", "16s", _text)),
    (62, Field("device_passcode", "16s", _text)),
    (78, Field("manufacturing_date", "8s", _text)),
    (86, Field("serial_number", "16s", _text)),
    (86, Field("passcode", "16s", _short_passcode)),
    (102, Field("userdata", "16s", _text)),
    (118, Field("setup_passcode", "16s", _text)),
)

_DEVICE_INFO: Final[dict[Layout, tuple[Placed, ...]]] = {
    Layout.JK04: _DEVICE_INFO_START,
    Layout.JK02_24S: _DEVICE_INFO_START,
    Layout.JK02_32S: (
        *_DEVICE_INFO_START,
        (134, Field("userdata2", "16s", _text)),
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
        (266, Field("request_charge_time", "B", _DECI, _NOT_REPORTED)),
        (267, Field("request_float_time", "B", _DECI, _NOT_REPORTED)),
        (268, Field("can_library_version", "B", since=(14,))),
        (269, Field("emergency_duration", "B", missing=_NOT_REPORTED)),
        (270, Field("uart3_protocol", "B", since=(19,))),
        (271, Field("uart3_protocols", "I", _protocols, since=(19,))),
        (278, Field("rebulk_soc", "B", since=(19.27,))),
    ),
}


@dataclass(frozen=True)
class Profile:
    """What decides which fields a device carries."""

    layout: Layout
    firmware: float = 0.0
    """As printed, read as a number: 11.288 is older than 11.48; 0 is unknown."""
    model: str = ""
    """Empty is unknown."""

    @cached_property
    def cells(self) -> CellSlots:
        """Where the values of single cells stand."""
        return CELLS[self.layout]

    @cached_property
    def cell_data(self) -> Table:
        """`CELL_DATA_FIELDS`, then the mask of sensors, then the `battery_sensors`."""
        return _cell_data_table(self)

    @cached_property
    def battery_sensors(self) -> tuple[int, ...]:
        """Bits, in the mask, of the temperature sensors that the battery may have."""
        names = self.cell_data.names[len(CELL_DATA_FIELDS) + 1 :]
        return tuple(_BATTERY_SENSORS[name] for name in names)

    def carries(self, field: Field) -> bool:
        """Tell whether the device has the field (docs/protocol.md 6.3)."""
        series = [first for first in field.since if int(first) <= int(self.firmware)]
        return (not self.model or field.model in self.model) and (
            not field.since or self.firmware >= max(series, default=inf)
        )


@lru_cache(maxsize=32)
def _cell_data_table(profile: Profile) -> Table:
    balancer = BALANCER_MODEL in profile.model
    rows = [
        (offset, field)
        for offset, field in _CELL_DATA[profile.layout]
        if profile.carries(field) and (not balancer or field.name in _BALANCER_FIELDS)
    ]
    carried = [field.name for _, field in rows if field.name in _BATTERY_SENSORS]
    return Table(rows, (*CELL_DATA_FIELDS, _SENSOR_MASK, *carried))


@lru_cache(maxsize=32)
def settings_table(profile: Profile) -> Table:
    """Return the settings that the device carries."""
    return Table(row for row in _SETTINGS[profile.layout] if profile.carries(row[1]))


@lru_cache(maxsize=32)
def device_info_table(profile: Profile) -> Table:
    """Return the fields of device information that the device carries."""
    return Table(row for row in _DEVICE_INFO[profile.layout] if profile.carries(row[1]))


IDENTITY: Final = Table(_DEVICE_INFO_START)
"""Device information that stands in the same place for every layout."""

PRIVATE: Final = tuple(
    slice(offset, offset + Struct(field.code).size)
    for offset, field in _DEVICE_INFO[Layout.JK02_32S]
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
        (5, Field("charging", "B", _bit(0))),
        (5, Field("discharging", "B", _bit(1))),
        (5, Field("balancing", "B", _bit(2))),
        (5, Field("heating", "B", _bit(3))),
        (6, Field("max_cell", "B", _one_based)),
        (7, Field("min_cell", "B", _one_based)),
        (8, Field("max_cell_voltage", "H", _MILLI)),
        (10, Field("min_cell_voltage", "H", _MILLI)),
        (12, Field("battery_voltage", "H", _CENTI)),
        (14, Field("battery_current", "h", _DECI)),
        (16, Field("remain_capacity", "H", _DECI)),
        (18, Field("nominal_capacity", "H", _DECI)),
        (20, Field("max_temperature", "b", missing=(-1,))),
        (21, Field("min_temperature", "b")),
        (22, Field("mosfet_temperature", "b")),
        (23, Field("heater_current", "b", _DECI)),
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
