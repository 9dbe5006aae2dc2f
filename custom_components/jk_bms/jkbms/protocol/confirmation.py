"""Settings and device information, believed when read twice (docs/protocol.md 13)."""

from dataclasses import replace
from typing import Final

from ..models import DeviceInfo, Settings

_VOLTS: Final = 0.0, 6.0
_AMPERES: Final = 0.0, 2000.0
_SECONDS: Final = 0, 100_000
_CELSIUS: Final = -60.0, 150.0
_SETTINGS: Final[dict[str, tuple[float, float]]] = {
    "smart_sleep_voltage": _VOLTS,
    "cell_uvp": _VOLTS,
    "cell_uvp_recovery": _VOLTS,
    "cell_ovp": _VOLTS,
    "cell_ovp_recovery": _VOLTS,
    "balance_trigger": _VOLTS,
    "soc_100": _VOLTS,
    "soc_0": _VOLTS,
    "request_charge_voltage": _VOLTS,
    "request_float_voltage": _VOLTS,
    "power_off_voltage": _VOLTS,
    "balance_start_voltage": _VOLTS,
    "max_charge_current": _AMPERES,
    "max_discharge_current": _AMPERES,
    "max_balance_current": _AMPERES,
    "charge_overcurrent_delay": _SECONDS,
    "charge_overcurrent_recovery": _SECONDS,
    "discharge_overcurrent_delay": _SECONDS,
    "discharge_overcurrent_recovery": _SECONDS,
    "short_circuit_recovery": _SECONDS,
    "charge_overtemperature": _CELSIUS,
    "charge_overtemperature_recovery": _CELSIUS,
    "discharge_overtemperature": _CELSIUS,
    "discharge_overtemperature_recovery": _CELSIUS,
    "charge_undertemperature": _CELSIUS,
    "charge_undertemperature_recovery": _CELSIUS,
    "mosfet_overtemperature": _CELSIUS,
    "mosfet_overtemperature_recovery": _CELSIUS,
    "nominal_capacity": (0.0, 20_000.0),
    "short_circuit_delay": (0, 10_000_000),
    "device_address": (0, 0xFF),
    "discharge_precharge_time": _SECONDS,
}
"""Between what owners set; one reading beyond it is not believed without a second."""
_UNSURE_AT_MOST: Final = 4
"""Readings on one link that differ from each other; the next one is believed."""
_INFO_STEP: Final = 600.0
"""s; the run time in the device information is stored now and then only."""

type Record = DeviceInfo | Settings


def _is_sound(read: Record) -> bool:
    """Tell whether a first reading may be believed at once."""
    if isinstance(read, DeviceInfo):
        return True
    values = ((getattr(read, name), limits) for name, limits in _SETTINGS.items())
    return all(value is None or low <= value <= high for value, (low, high) in values)


def _is_same(read: Record, before: Record, passed: float) -> bool:
    """Tell whether two readings say the same, but for the time between them."""
    if not isinstance(read, DeviceInfo) or not isinstance(before, DeviceInfo):
        return read == before
    run = (read.up_time or 0) - (before.up_time or 0)
    is_later = 0 <= run <= passed + _INFO_STEP
    return is_later and replace(read, up_time=before.up_time) == before


class Confirmation:
    """Settings or device information: what is known, or was read twice on one link."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: tuple[Record, float] | None = None
        self._unsure: list[tuple[Record, float]] = []

    def begin_link(self) -> None:
        """Expect it from a new link: what was odd on bad ones does not add up."""
        self._unsure = []

    def accept(self, read: Record, time: float) -> bool:
        """Judge a decoded record; `time` is s of a clock that never jumps.

        Where it returns False, ask for it again: no more than four are held back on one
        link.
        """
        earlier = [*self._unsure, *([self._known] if self._known else ())]
        if (
            any(_is_same(read, before, time - then) for before, then in earlier)
            or (not self._known and _is_sound(read))
            or len(self._unsure) == _UNSURE_AT_MOST
        ):
            self._known, self._unsure = (read, time), []
            return True
        self._unsure.append((read, time))
        return False
