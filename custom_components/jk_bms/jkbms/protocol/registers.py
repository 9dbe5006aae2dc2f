"""The settings that may be written, one row per register (docs/protocol.md 4.3).

This software cannot write registers that are not listed here: protections, calibrations and
everything that resets, restarts or turns off the battery (docs/protocol.md 4.5).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
import re
from struct import pack
from typing import Any, Final

from ..models import Layout, Reading
from .codes import SETTING_NAMES
from .frames import (
    COMMAND_HEADER,
    COMMAND_SIZE,
    MAX_VALUE_SIZE,
    FrameType,
    ReadCommand,
    checksum,
)

type Value = bool | float | str
"""Value of a setting: a switch, a number, the number of a choice or a text."""

RECORDS: Final = {
    FrameType.SETTINGS: "settings",
    FrameType.DEVICE_INFO: "device_info",
    FrameType.CELL_DATA: "cell_data",
}
"""Fields of `Reading` by the frame type that they come from."""


class Tier(StrEnum):
    """The tier that the options must allow before a setting is written."""

    EVERYDAY = "everyday"
    TUNING = "tuning"


class Kind(StrEnum):
    """The kind of value of a setting."""

    SWITCH = "switch"
    NUMBER = "number"
    CHOICE = "choice"
    """A number from a fixed list."""
    TEXT = "text"


class Bound(StrEnum):
    """An additional limit of a number besides its own range."""

    CELL_VOLTAGE = "cell voltage"
    """The chemistry of the cells and the over-voltage protection."""
    PACK_CURRENT = "pack current"
    """The rating of the model."""
    BALANCE_CURRENT = "balance current"
    """The rating of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """One setting that may be written, on one layout."""

    name: str
    number: int
    code: str = "I"
    """`struct` code: size and sign of the raw value; empty for text."""
    kind: Kind = Kind.NUMBER
    tier: Tier = Tier.TUNING
    scale: int = 1
    """Raw value of one unit; steps of a float value in one unit."""
    unit: str = ""
    minimum: float = 0
    maximum: float = 1
    """The vendor's limits."""
    bound: Bound | None = None
    allowed: str = ""
    """Field of `DeviceInfo` with the choices of the unit; empty allows all in range."""
    proof: FrameType = FrameType.SETTINGS
    """Type of the frame that shows the value."""
    field: str
    """Field in the model of that frame."""
    moves: frozenset[str] = frozenset()
    """Fields and checks of cell data that a write may move at once."""

    @property
    def step(self) -> float:
        """Smallest difference between two values, in the unit."""
        return 1 / self.scale

    @property
    def is_current(self) -> bool:
        """Whether a higher value strains the battery and its wiring."""
        return self.bound in (Bound.PACK_CURRENT, Bound.BALANCE_CURRENT)

    def present(self, reading: Reading) -> Any:
        """Return the value that the battery reported, `None` if it reported none."""
        return getattr(getattr(reading, RECORDS[self.proof]), self.field, None)

    def encode(self, value: Value) -> bytes:
        """Return the raw bytes of a value.

        Raises `ValueError` where its type, its precision or the vendor's limits do not
        allow it.
        """
        if self.kind is Kind.TEXT:
            return _encode_text(value)
        if self.kind is Kind.SWITCH:
            if not isinstance(value, bool):
                raise ValueError("The value must be on or off")
            return pack(f"<{self.code}", value)
        # Exact types only: a subclass could override comparisons
        if isinstance(value, str) or type(value) not in (int, float):
            raise ValueError("The value must be a number")
        if not self.minimum <= value <= self.maximum:
            raise ValueError(
                f"The value must be between {self.minimum:g} and {self.maximum:g}"
            )
        raw = round(value * self.scale)
        if raw / self.scale != value:
            raise ValueError(f"The value must be a multiple of {self.step:g}")
        return pack(f"<{self.code}", value if self.code == "f" else raw)


def _encode_text(value: Value) -> bytes:
    if (
        not isinstance(value, str)
        or not value.isascii()
        or not value.isprintable()
        or value != value.strip()
        or not 0 < len(value) <= MAX_VALUE_SIZE
    ):
        raise ValueError(
            f"The value must be text of 1 to {MAX_VALUE_SIZE} printable ASCII characters"
        )
    return value.encode()


def _switch(name: str, number: int, **row: Any) -> Register:
    return Register(name=name, field=name, number=number, kind=Kind.SWITCH, **row)


def _number(
    name: str, number: int, minimum: float, maximum: float, unit: str, **row: Any
) -> Register:
    row.setdefault("field", name)
    return Register(
        name=name, number=number, minimum=minimum, maximum=maximum, unit=unit, **row
    )


def _milli(
    name: str, number: int, minimum: float, maximum: float, unit: str, **row: Any
) -> Register:
    return _number(name, number, minimum, maximum, unit, scale=1000, **row)


def _float(
    name: str, number: int, minimum: float, maximum: float, unit: str, **row: Any
) -> Register:
    return _milli(name, number, minimum, maximum, unit, code="f", **row)


def _choice(name: str, number: int, maximum: int, allowed: str = "") -> Register:
    return Register(
        name=name,
        field=name,
        number=number,
        code="H",
        kind=Kind.CHOICE,
        maximum=maximum,
        allowed=allowed,
        proof=FrameType.DEVICE_INFO,
    )


_EVERYDAY: Final[dict[str, Any]] = {"tier": Tier.EVERYDAY}
_CELL: Final[dict[str, Any]] = {"bound": Bound.CELL_VOLTAGE}
_SOC: Final = frozenset({"remain_percent", "remain_capacity", "soc", "remaining"})
_LIFE: Final = _SOC | {
    "nominal_capacity",
    "cycle_count",
    "cycle_capacity",
    "state_of_health",
    "throughput",
}
_LAST_PROTOCOL: Final = 20
_LAST_TRIGGER: Final = 14

_JK02: Final = (
    _switch(
        "charging",
        0x1D,
        moves=frozenset({"charging", "charge_phase", "phase_time"}),
        **_EVERYDAY,
    ),
    _switch(
        "discharging",
        0x1E,
        moves=frozenset({"discharging", "precharging"}),
        **_EVERYDAY,
    ),
    _switch("balancer", 0x1F, **_EVERYDAY),
    _milli("balance_trigger", 0x06, 0.003, 1.0, "V"),
    _milli("max_charge_current", 0x0C, 1, 600, "A", bound=Bound.PACK_CURRENT),
    _milli("max_discharge_current", 0x0F, 1, 1200, "A", bound=Bound.PACK_CURRENT),
    _milli("max_balance_current", 0x13, 0.3, 15, "A", bound=Bound.BALANCE_CURRENT),
    # Writing it restarts the statistics of the battery
    _milli("nominal_capacity", 0x20, 2, 20_000, "Ah", moves=_LIFE),
)

_ROWS: Final[dict[Layout, Iterable[Register]]] = {
    Layout.JK04: (
        _switch("balancer", 0x6C, code="B", **_EVERYDAY),
        _float("balance_start_voltage", 0x58, 1.0, 4.2, "V", **_CELL),
        _float("balance_trigger", 0x64, 0.002, 1.0, "V"),
        _float("max_balance_current", 0x68, 0.1, 10, "A", bound=Bound.BALANCE_CURRENT),
    ),
    Layout.JK02_24S: (
        *_JK02,
        _milli("balance_start_voltage", 0x26, 1.2, 4.25, "V", **_CELL),
    ),
    Layout.JK02_32S: (
        *_JK02,
        _milli("balance_start_voltage", 0x22, 1.2, 4.25, "V", **_CELL),
        _milli("smart_sleep_voltage", 0x01, 1.2, 4.4, "V"),
        _milli("soc_100", 0x07, 1.2, 4.4, "V", **_CELL),
        _milli("soc_0", 0x08, 1.2, 4.4, "V", **_CELL),
        _milli("request_charge_voltage", 0x09, 1.2, 4.4, "V", **_CELL),
        _milli("request_float_voltage", 0x0A, 1.2, 4.4, "V", **_CELL),
        _switch("heating", 0x27, moves=frozenset({"heating", "heater"})),
        _switch("port_rs485", 0x2A),
        _switch("display_always_on", 0x2B),
        _switch("smart_sleep", 0x2D, moves=frozenset({"sleep"})),
        _switch("timed_storage", 0x2F),
        _switch("charging_float_mode", 0x30, moves=frozenset({"charge_phase"})),
        _switch("dry_contact_intermittent", 0x32),
        _number("heating_start_temperature", 0x37, -20, 20, "°C", code="b"),
        _number("heating_stop_temperature", 0x38, -40, 25, "°C", code="b"),
        _number(
            "smart_sleep_delay",
            0x39,
            1,
            100,
            "h",
            code="B",
            moves=frozenset({"sleep"}),
        ),
        _number(
            "state_of_charge",
            0x6E,
            0,
            100,
            "%",
            code="B",
            proof=FrameType.CELL_DATA,
            field="remain_percent",
            moves=_SOC,
        ),
        Register(
            name="userdata",
            field="userdata",
            number=0x9F,
            code="",
            kind=Kind.TEXT,
            proof=FrameType.DEVICE_INFO,
        ),
        _choice("uart1_protocol", 0xA5, _LAST_PROTOCOL, "uart1_protocols"),
        _choice("can_protocol", 0xA6, _LAST_PROTOCOL, "can_protocols"),
        _choice("uart2_protocol", 0xA8, _LAST_PROTOCOL, "uart2_protocols"),
        _choice("uart3_protocol", 0xB6, _LAST_PROTOCOL, "uart3_protocols"),
        _choice("buzzer_trigger", 0xA9, _LAST_TRIGGER),
        _choice("dry_contact_1_trigger", 0xAA, _LAST_TRIGGER),
        _choice("dry_contact_2_trigger", 0xAB, _LAST_TRIGGER),
        # 0 h looks the same as a missing setting
        *(
            _number(
                name,
                number,
                0.1,
                25,
                "h",
                code="B",
                scale=10,
                proof=FrameType.DEVICE_INFO,
            )
            for name, number in (
                ("request_charge_time", 0xB3),
                ("request_float_time", 0xB4),
            )
        ),
        _number("rebulk_soc", 0xB7, 0, 50, "%", code="B", proof=FrameType.DEVICE_INFO),
    ),
}

REGISTERS: Final = {
    layout: {row.name: row for row in rows} for layout, rows in _ROWS.items()
}
"""All registers that may be written, by layout and name."""
_ALL: Final = tuple(row for rows in REGISTERS.values() for row in rows.values())
SETTING_REGISTERS: Final = {
    name: number
    for number, name in enumerate(SETTING_NAMES, 0x01)
    # Set by DIP switches; never written, whatever the firmware accepts
    if name != "device_address"
}
"""Numbers of 32S registers by the field of the settings, writable or not."""
TIERS: Final = {row.name: row.tier for row in _ALL}
"""The tier of each setting, the same on all layouts."""


def settings_of_kind(kind: Kind) -> tuple[str, ...]:
    """Return the names of all settings of a kind, on all layouts."""
    return tuple(dict.fromkeys(row.name for row in _ALL if row.kind is kind))


def unit_of(setting: str) -> str | None:
    """Return the unit of a setting, the same on all layouts; `None` if it has none."""
    return next((row.unit for row in _ALL if row.name == setting and row.unit), None)


@dataclass(frozen=True, slots=True)
class Order:
    """Two settings, one of which must stay below the other."""

    lower: str
    upper: str
    apart: float = 0.0
    """Minimum difference; 0 allows equal values."""
    strict: bool = False
    """Whether to enforce the order even if the battery's own settings violate it."""


ORDER: Final = (
    Order("cell_uvp", "soc_0", apart=0.001),
    Order("soc_0", "soc_100", apart=0.001),
    Order("soc_100", "cell_ovp", strict=True),
    Order("request_float_voltage", "request_charge_voltage"),
    Order("request_float_voltage", "cell_ovp", strict=True),
    Order("request_charge_voltage", "cell_ovp", strict=True),
    Order("soc_0", "cell_ovp", strict=True),
    Order("balance_start_voltage", "cell_ovp", strict=True),
    Order("heating_start_temperature", "heating_stop_temperature", apart=1),
    Order("heating_stop_temperature", "charge_overtemperature_recovery", apart=1),
)

LAST_DECLARED: Final = 0x47
"""The last register for which the settings declare whether the battery uses it."""
MAY_BE_UNUSED: Final = frozenset(
    ("soc_0", "soc_100", "request_charge_voltage", "request_float_voltage")
)
"""Voltages that are 0 if the battery does not use them; no order applies to these."""

WRITE_ORDER: Final = (
    "soc_0",
    "soc_100",
    "request_float_voltage",
    "request_charge_voltage",
    "heating_start_temperature",
    "heating_stop_temperature",
)
"""Settings of `ORDER` that may be written, each after those that must stay below it."""
WRITE_LAST: Final = ("uart1_protocol", "charging", "discharging")
"""Settings that may cut the power or the link of the machine that reads the battery."""

RESTARTING: Final = frozenset({"nominal_capacity"})
"""Settings that restart the statistics of the battery when written."""

_CURRENT_RATING: Final = re.compile(r"\d+S(\d{1,3})P", re.ASCII)
_BALANCE_RATING: Final = re.compile(r"B(D?)(\d{1,2})A\d+S", re.ASCII)


def current_rating(device_model: str) -> float | None:
    """Return the rated current of a model in A; 200 for `JK_B2A8S20P`."""
    match = _CURRENT_RATING.search(device_model)
    return 10.0 * int(match[1]) if match else None


def balance_rating(device_model: str) -> float | None:
    """Return the balance current of a model in A; 2 for `JK_B2A8S20P`, 0.4 for BD4A."""
    match = _BALANCE_RATING.search(device_model)
    return int(match[2]) / (10 if match[1] else 1) if match else None


def build_command(command: ReadCommand | Register, value: Value | None = None) -> bytes:
    """Return the 20 bytes of a read command or a write to a register (docs/protocol.md 4.1).

    Raises `ValueError` for anything but a read command or a row of `REGISTERS` with a
    value that its row allows.
    """
    if isinstance(command, ReadCommand):
        if value is not None:
            raise ValueError("A read command has no value")
        number, content = command.value, b""
    elif isinstance(command, Register) and command in _ALL and value is not None:
        number, content = command.number, command.encode(value)
    else:
        raise ValueError("This software does not send such a command")
    head = COMMAND_HEADER + bytes((number, len(content))) + content
    body = head.ljust(COMMAND_SIZE - 1, b"\0")
    return body + bytes((checksum(body),))
