"""What follows from a reading and an assumption: the time left, the energy left."""

from math import isfinite
from typing import Final

from .models import BatteryType, CellData

# The maximum time, in hours, from empty to full that still counts as charging or
# discharging. Below that current the battery is at rest, and a time left would jump.
REST_TIME: Final = 200.0

MEAN_DISCHARGE_VOLTAGE: Final = {
    BatteryType.LFP: 3.2,
    BatteryType.LI_ION: 3.65,
    BatteryType.LTO: 2.3,
}
"""V of a cell, averaged over a discharge at a moderate current."""


def time_to_empty(remaining: float, nominal: float, current: float) -> int | None:
    """Return s, to the minute, until empty; `None` unless the battery discharges.

    Capacities are in Ah, the current in A (+ charging, - discharging).
    """
    return _time_to_move(remaining, nominal, -current)


def time_to_full(remaining: float, nominal: float, current: float) -> int | None:
    """Return s, to the minute, until full; `None` unless the battery charges.

    Capacities are in Ah, the current in A (+ charging, - discharging).
    """
    return _time_to_move(nominal - remaining, nominal, current)


def _time_to_move(charge: float, nominal: float, current: float) -> int | None:
    """Return s to move a charge in Ah, `None` at rest or in the other direction."""
    if not 0 < nominal / REST_TIME <= current:
        return None
    minutes = max(charge, 0) / current * 60
    return round(minutes) * 60 if isfinite(minutes) else None


def energy_remaining(cells: CellData) -> float | None:
    """Return kWh until empty, estimated; `None` where the chemistry is unknown.

    It is the remaining charge at the mean discharge voltage of the connected cells.
    """
    voltage = cells.battery_type and MEAN_DISCHARGE_VOLTAGE.get(cells.battery_type)
    count = sum(cell is not None for cell in cells.cell_voltage)
    if not voltage or not count or cells.remain_capacity is None:
        return None
    return round(cells.remain_capacity * voltage * count / 1000, 3)
