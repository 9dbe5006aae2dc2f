"""The effect of a write on the settings of each layout."""

from dataclasses import dataclass, replace
from struct import calcsize, unpack
from typing import Any

from .firmware import Layout
from .state import Settings


@dataclass(frozen=True)
class Register:
    """A number in the settings: raw value = `factor` x setting."""

    setting: str
    format: str = "<I"
    factor: int = 1


def _v(setting: str) -> Register:
    return Register(setting, factor=1000)


def _t(setting: str) -> Register:
    return Register(setting, "<i", 10)


def _switch(setting: str) -> Register:
    return Register(setting)


_COMMON: dict[int, Register] = {
    0x01: _v("smart_sleep_voltage"),
    0x02: _v("cell_uvp"),
    0x03: _v("cell_uvp_recovery"),
    0x04: _v("cell_ovp"),
    0x05: _v("cell_ovp_recovery"),
    0x06: _v("balance_trigger"),
    0x07: _v("soc_100"),
    0x08: _v("soc_0"),
    0x09: _v("request_charge_voltage"),
    0x0A: _v("request_float_voltage"),
    0x0B: _v("power_off_voltage"),
    0x0C: _v("max_charge_current"),
    0x0D: Register("charge_ocp_delay"),
    0x0E: Register("charge_ocp_recovery"),
    0x0F: _v("max_discharge_current"),
    0x10: Register("discharge_ocp_delay"),
    0x11: Register("discharge_ocp_recovery"),
    0x12: Register("short_circuit_recovery"),
    0x13: _v("max_balance_current"),
    0x14: _t("charge_otp"),
    0x15: _t("charge_otp_recovery"),
    0x16: _t("discharge_otp"),
    0x17: _t("discharge_otp_recovery"),
    0x18: _t("charge_utp"),
    0x19: _t("charge_utp_recovery"),
    0x1A: _t("mosfet_otp"),
    0x1B: _t("mosfet_otp_recovery"),
    0x1C: Register("cell_count"),
    0x1D: _switch("charging"),
    0x1E: _switch("discharging"),
    0x1F: _switch("balancer"),
    0x20: _v("nominal_capacity"),
}

REGISTERS: dict[Layout, dict[int, Register]] = {
    "JK02_24S": _COMMON
    | {
        0x25: Register("short_circuit_delay"),
        0x26: _v("balance_start_voltage"),
    },
    "JK02_32S": _COMMON
    | {
        0x21: Register("short_circuit_delay"),
        0x22: _v("balance_start_voltage"),
        0x25: Register("precharge_time"),
        0x37: Register("heat_start", "<b"),
        0x38: Register("heat_stop", "<b"),
        0x39: Register("smart_sleep_delay", "<B"),
        0x3A: Register("discharge_utp", "<b"),
        0x3B: Register("discharge_utp_recovery", "<b"),
        0xA5: Register("uart1_protocol", "<H"),
        0xA6: Register("can_protocol", "<H"),
        0xA8: Register("uart2_protocol", "<H"),
        0xA9: Register("buzzer_trigger", "<H"),
        0xAA: Register("dry1_trigger", "<H"),
        0xAB: Register("dry2_trigger", "<H"),
        0xB3: Register("request_charge_time", "<B", 10),
        0xB4: Register("request_float_time", "<B", 10),
        0xB5: Register("emergency_duration", "<B"),
        0xB6: Register("uart3_protocol", "<H"),
        0xB7: Register("rebulk_soc", "<B"),
    },
    "JK04": {
        0x1C: Register("cell_count", "<H"),
        0x20: Register("power_off_voltage", "<f"),
        0x44: Register("reference_voltage", "<f"),
        0x58: Register("balance_start_voltage", "<f"),
        0x64: Register("balance_trigger", "<f"),
        0x68: Register("max_balance_current", "<f"),
        0x6C: Register("balancer", "<B"),
    },
}

SWITCH_BITS: dict[int, int] = {
    register: register - 0x27 for register in range(0x27, 0x37)
}
"""32S registers that set one bit of the switch word (offset 282)."""


def apply(
    settings: Settings, layout: Layout, register: int, value: bytes
) -> Settings | None:
    """The settings after a write; None when this layout has no such register or the length is wrong."""
    if layout == "JK02_32S" and register in SWITCH_BITS and len(value) == 4:
        bit = 1 << SWITCH_BITS[register]
        word = settings.switches | bit if any(value) else settings.switches & ~bit
        return replace(settings, switches=word)
    if layout == "JK02_32S" and register == 0x9F:
        return replace(settings, userdata=value.rstrip(b"\0").decode(errors="replace"))
    if layout == "JK02_24S" and 0x27 <= register <= 0x3E and len(value) == 4:
        return _wire_resistance(settings, register - 0x27, value)
    row = REGISTERS[layout].get(register)
    if row is None or len(value) != calcsize(row.format):
        return None
    (raw,) = unpack(row.format, value)
    return replace(settings, **{row.setting: _converted(settings, row, raw)})


def _converted(settings: Settings, row: Register, raw: float) -> Any:
    if isinstance(getattr(settings, row.setting), bool):
        return bool(raw)
    return raw if row.factor == 1 else raw / row.factor


def _wire_resistance(settings: Settings, cell: int, value: bytes) -> Settings:
    (raw,) = unpack("<I", value)
    wires = list(settings.wire_resistances) + [0.0] * 24
    wires[cell] = raw / 1000
    return replace(settings, wire_resistances=tuple(wires[:24]))
