"""What a client may write: literal registers and limits, so that this package can test a client.

A test fails on sight of anything else: a protection, a calibration, a reset, a value that harms.
"""

import re
from struct import calcsize, unpack

from .firmware import Layout
from .spec import Chemistry, Spec
from .state import Settings

type Row = tuple[str, int, float, float]
"""struct code, factor, lowest and highest value."""

_SWITCH: Row = ("<I", 1, 0, 1)
_COMMON: dict[int, Row] = {
    0x06: ("<I", 1000, 0.003, 1.0),
    0x0C: ("<I", 1000, 1, 600),
    0x0F: ("<I", 1000, 1, 1200),
    0x13: ("<I", 1000, 0.3, 15),
    0x1D: _SWITCH,
    0x1E: _SWITCH,
    0x1F: _SWITCH,
    0x20: ("<I", 1000, 2, 20000),
}
SAFE: dict[Layout, dict[int, Row]] = {
    "JK04": {
        0x58: ("<f", 1, 1.0, 4.2),
        0x64: ("<f", 1, 0.00199, 1.0),
        0x68: ("<f", 1, 0.09999, 10),
        0x6C: ("<B", 1, 0, 1),
    },
    "JK02_24S": _COMMON | {0x26: ("<I", 1000, 1.2, 4.25)},
    "JK02_32S": _COMMON
    | dict.fromkeys((0x27, 0x2A, 0x2B, 0x2D, 0x2F, 0x30, 0x32), _SWITCH)
    | dict.fromkeys((0xA5, 0xA6, 0xA8, 0xB6), ("<H", 1, 0, 20))
    | dict.fromkeys((0xA9, 0xAA, 0xAB), ("<H", 1, 0, 14))
    | dict.fromkeys((0xB3, 0xB4), ("<B", 10, 0, 25))
    | {
        0x01: ("<I", 1000, 1.2, 4.4),
        0x07: ("<I", 1000, 1.2, 4.4),
        0x08: ("<I", 1000, 1.2, 4.4),
        0x09: ("<I", 1000, 1.2, 4.4),
        0x0A: ("<I", 1000, 1.2, 4.4),
        0x22: ("<I", 1000, 1.2, 4.25),
        0x37: ("<b", 1, -20, 20),
        0x38: ("<b", 1, -40, 25),
        0x39: ("<B", 1, 1, 100),
        0x6E: ("<B", 1, 0, 100),
        0xB7: ("<B", 1, 0, 50),
    },
}
"""Numbers and switches by layout; text may be written to 0x9F of 32S."""

CELL_VOLTAGES = {
    "JK04": (0x58,),
    "JK02_24S": (0x26,),
    "JK02_32S": (0x07, 0x08, 0x09, 0x0A, 0x22),
}
CHEMISTRY: dict[Chemistry, tuple[float, float]] = {
    "LFP": (2.5, 3.65),
    "LION": (2.5, 4.25),
    "LTO": (1.5, 2.8),
}


def decoded(layout: Layout, register: int, content: bytes) -> float | None:
    """Return the value that was written, None where the register or the length is wrong."""
    row = SAFE[layout].get(register)
    if row is None or len(content) != calcsize(row[0]):
        return None
    raw: float
    (raw,) = unpack(row[0], content)
    return raw / row[1]


def in_range(layout: Layout, register: int, content: bytes) -> bool:
    """Return whether the firmware itself takes the value; what is not known here, it takes."""
    value = decoded(layout, register, content)
    _, _, low, high = SAFE[layout].get(register, ("", 1, 0, 0))
    return value is None or low <= value <= high


def harm(spec: Spec, settings: Settings, register: int, content: bytes) -> str | None:
    """Return why this write could do harm, None for one that cannot."""
    layout = spec.layout
    if layout == "JK02_32S" and register == 0x9F:
        return None if 0 < len(content) <= 13 else "text too long"
    if (value := decoded(layout, register, content)) is None:
        return f"register 0x{register:02X} must never be written"
    if not in_range(layout, register, content):
        return f"0x{register:02X}: {value} is out of range"
    if register in CELL_VOLTAGES[layout] and layout != "JK04":
        low, high = CHEMISTRY[spec.chemistry]
        if not low <= value <= min(high, settings.cell_ovp):
            return f"0x{register:02X}: {value} V harms these cells"
    if register in (0x0C, 0x0F) and layout != "JK04":
        rated = re.search(r"S(\d+)P", spec.model)
        now = settings.max_charge_current
        now = now if register == 0x0C else settings.max_discharge_current
        if value > (10 * int(rated[1]) if rated else now):
            return f"0x{register:02X}: {value} A is more than the model carries"
    if register == (0x68 if layout == "JK04" else 0x13):
        model = re.search(r"B(D?)(\d+)A", spec.model)
        assert model
        if value > int(model[2]) / (10 if model[1] else 1):
            return f"0x{register:02X}: {value} A is more than the balancer carries"
    return _disorder(settings, layout, register, value)


def _disorder(
    settings: Settings, layout: Layout, register: int, value: float
) -> str | None:
    """Return which order this value breaks that was not broken before."""
    if layout != "JK02_32S":
        return None
    names = {
        0x07: "soc_100",
        0x08: "soc_0",
        0x09: "charge",
        0x0A: "float",
        0x37: "start",
        0x38: "stop",
    }
    before = {
        "soc_100": settings.soc_100,
        "soc_0": settings.soc_0,
        "charge": settings.request_charge_voltage,
        "float": settings.request_float_voltage,
        "start": settings.heat_start,
        "stop": settings.heat_stop,
    }
    if register not in names:
        return None
    after = before | {names[register]: value}

    def broken(state: dict[str, float]) -> set[str]:
        rules = {
            "SoC-0 < SoC-100": state["soc_0"] < state["soc_100"],
            "SoC-0 > UVP": state["soc_0"] > settings.cell_uvp,
            "float <= charge": state["float"] <= state["charge"],
            "heating start < stop": state["start"] < state["stop"],
        }
        return {rule for rule, holds in rules.items() if not holds}

    new = broken(after) - broken(before)
    return f"0x{register:02X}: {value} breaks {', '.join(sorted(new))}" if new else None
