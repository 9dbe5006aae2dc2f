"""Estimates from a reading and an assumption: the time left and the energy left."""

from math import isfinite
from typing import Final

from .models import BatteryType, CellData, Settings
from .protocol.changes import HIGHEST_LFP_OVP

# The maximum time, in hours, from empty to full that still counts as charging or
# discharging. Below that current the battery is at rest, and a time left would jump.
REST_TIME: Final = 200.0

MEAN_DISCHARGE_VOLTAGE: Final = {
    BatteryType.LFP: 3.2,
    BatteryType.LI_ION: 3.65,
    BatteryType.LTO: 2.3,
}
"""Volts of a cell, averaged over a discharge at a moderate current."""
_HIGHEST_LTO_OVP: Final = 3.0
"""Volts; an LTO cell is full at 2.8 V, an LFP cell at no less than 3.4 V."""
_LOWEST_LI_ION_OVP: Final = 4.1
"""Volts; between this and the highest of LFP, it can be sodium ion as well."""


def time_to_empty(
    remaining: float | None, nominal: float | None, current: float | None
) -> int | None:
    """Return the seconds until empty, to the minute; `None` unless the battery discharges.

    Capacities are in Ah, the current in A (+ charging, - discharging).
    """
    if remaining is None or nominal is None or current is None:
        return None
    return _time_to_move(remaining, nominal, -current)


def time_to_full(
    remaining: float | None, nominal: float | None, current: float | None
) -> int | None:
    """Return the seconds until full, to the minute; `None` unless the battery charges.

    Capacities are in Ah, the current in A (+ charging, - discharging).
    """
    if remaining is None or nominal is None or current is None:
        return None
    return _time_to_move(nominal - remaining, nominal, current)


def _time_to_move(charge: float, nominal: float, current: float) -> int | None:
    """Return the seconds to move a charge in Ah, `None` at rest or in the other direction."""
    if not 0 < nominal / REST_TIME <= current:
        return None
    minutes = max(charge, 0) / current * 60
    return round(minutes) * 60 if isfinite(minutes) else None


def chemistry(cells: CellData, settings: Settings | None) -> BatteryType | None:
    """Return the reported chemistry, else the only one that the protection fits.

    Most units do not report it. Their over-voltage protection is set just above a full
    cell, and full cells of different chemistries are more than 0.4 V apart.
    """
    ovp = settings and settings.cell_ovp
    if cells.battery_type or not ovp:
        return cells.battery_type
    if ovp <= _HIGHEST_LTO_OVP:
        return BatteryType.LTO
    if ovp <= HIGHEST_LFP_OVP:
        return BatteryType.LFP
    return BatteryType.LI_ION if ovp >= _LOWEST_LI_ION_OVP else None


def energy_remaining(cells: CellData, settings: Settings | None) -> float | None:
    """Return the estimated kWh until empty; `None` if the chemistry is unknown.

    It is the remaining charge at the mean discharge voltage of the connected cells.
    """
    kind = chemistry(cells, settings)
    voltage = kind and MEAN_DISCHARGE_VOLTAGE.get(kind)
    # A cell with an impossible voltage is still connected
    hidden = sum(name.startswith("cell_voltage_") for name in cells.implausible)
    count = len(cells.cell_voltage) - cells.cell_voltage.count(None) + hidden
    if not voltage or not count or cells.remain_capacity is None:
        return None
    return round(cells.remain_capacity * voltage * count / 1000, 3)
