"""How cells of each chemistry behave, and what owners set for them."""

from dataclasses import replace
from typing import Any

from .spec import Chemistry, Spec
from .state import Settings

# Open-circuit voltage by state of charge. The last point lies above 100 %: the constant-voltage end
# of a charge pushes a cell a little over the capacity that the BMS has learned.
CURVES: dict[Chemistry, tuple[tuple[float, float], ...]] = {
    "LFP": (
        (0.0, 2.50),
        (0.02, 2.85),
        (0.05, 3.05),
        (0.10, 3.17),
        (0.20, 3.225),
        (0.30, 3.253),
        (0.40, 3.275),
        (0.50, 3.288),
        (0.60, 3.297),
        (0.70, 3.318),
        (0.80, 3.330),
        (0.90, 3.334),
        (0.96, 3.345),
        (0.985, 3.390),
        (1.0, 3.480),
        (1.01, 3.650),
    ),
    "LION": (
        (0.0, 3.00),
        (0.05, 3.38),
        (0.10, 3.47),
        (0.20, 3.56),
        (0.40, 3.66),
        (0.60, 3.82),
        (0.80, 4.00),
        (0.95, 4.11),
        (1.0, 4.15),
        (1.01, 4.20),
    ),
    "LTO": (
        (0.0, 1.80),
        (0.10, 2.10),
        (0.50, 2.25),
        (0.90, 2.42),
        (1.0, 2.55),
        (1.01, 2.70),
    ),
}

# Rest voltage of a charged cell.
REST_VOLTAGE: dict[Chemistry, float] = {"LFP": 3.345, "LION": 4.15, "LTO": 2.45}

SETTINGS: dict[Chemistry, Settings] = {
    "LFP": Settings(),
    "LION": Settings(
        smart_sleep_voltage=3.7,
        cell_uvp=3.0,
        cell_uvp_recovery=3.2,
        cell_ovp=4.2,
        cell_ovp_recovery=4.1,
        soc_100=4.12,
        soc_0=3.1,
        request_charge_voltage=4.12,
        request_float_voltage=4.05,
        power_off_voltage=2.9,
        balance_start_voltage=4.0,
    ),
    "LTO": Settings(
        smart_sleep_voltage=2.3,
        cell_uvp=1.8,
        cell_uvp_recovery=2.0,
        cell_ovp=2.7,
        cell_ovp_recovery=2.6,
        soc_100=2.52,
        soc_0=1.9,
        request_charge_voltage=2.52,
        request_float_voltage=2.45,
        power_off_voltage=1.7,
        balance_start_voltage=2.3,
    ),
}


def default_settings(spec: Spec) -> Settings:
    """What a careful owner of this unit has configured."""
    settings = replace(
        SETTINGS[spec.chemistry],
        cell_count=spec.cells,
        nominal_capacity=spec.nominal_capacity or spec.capacity,
        max_charge_current=spec.max_current,
        max_discharge_current=spec.max_current * 1.5,
        device_address=spec.dip_address or 0,
        switches=(0x3200 if spec.firmware.phases else 0) | spec.heater,
    )
    if spec.layout == "JK04" or (spec.firmware.clock and spec.layout == "JK02_32S"):
        return settings
    return replace(settings, **_EARLY_SETTINGS)


# Boards up to about 11.4x do not support these values and leave them at zero; sleep at 0.6 V never happens.
_EARLY_SETTINGS: dict[str, Any] = {
    "smart_sleep_voltage": 0.6,
    "soc_100": 0.0,
    "soc_0": 0.0,
    "request_charge_voltage": 0.0,
    "request_float_voltage": 0.0,
    "precharge_time": 0,
    "charge_utp": -20.0,
    "charge_utp_recovery": -10.0,
}
