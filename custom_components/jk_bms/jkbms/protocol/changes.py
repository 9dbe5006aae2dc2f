"""Rules for changing settings: which ones, within which limits and in which order.

Pure functions of a reading (docs/protocol.md 4.3 and 4.4). Nothing here is sent.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from hmac import compare_digest
from math import inf
from typing import Any, Final, NamedTuple

from ..errors import Refusal, SettingRefusedError, UnsupportedLayoutError
from ..models import SECRET_FIELDS, BatteryType, DeviceInfo, Layout, Reading, Settings
from .profile import choose_profile
from .registers import (
    LAST_DECLARED,
    MAY_BE_UNUSED,
    ORDER,
    RECORDS,
    REGISTERS,
    SETTING_REGISTERS,
    TIERS,
    WRITE_LAST,
    WRITE_ORDER,
    Bound,
    Kind,
    Register,
    Tier,
    Value,
    balance_rating,
    current_rating,
)

_CELL_VOLTAGE: Final = {
    BatteryType.LFP: (2.5, 3.65),
    BatteryType.LI_ION: (2.5, 4.25),
    BatteryType.LTO: (1.5, 2.8),
}
"""Range of cell voltage settings in volts, by chemistry."""
HIGHEST_LFP_OVP: Final = 3.75
"""Volts of over-voltage protection up to which cells of an unknown type count as LFP."""

PROTECTED: Final = frozenset(field.name for field in fields(Settings)) - TIERS.keys()
"""Names of settings that this software never writes."""

TEMPERATURE_LIMITS: Final = (
    "charge_overtemperature",
    "charge_undertemperature",
    "discharge_overtemperature",
    "discharge_undertemperature",
    "mosfet_overtemperature",
)
"""Names of settings, each of which has another one, `…_recovery`."""
UNITS: Final = {
    **dict.fromkeys(
        (
            "cell_uvp",
            "cell_uvp_recovery",
            "cell_ovp",
            "cell_ovp_recovery",
            "power_off_voltage",
            "voltage_calibration",
        ),
        "V",
    ),
    **dict.fromkeys(
        (
            "charge_overcurrent_delay",
            "charge_overcurrent_recovery",
            "discharge_overcurrent_delay",
            "discharge_overcurrent_recovery",
            "short_circuit_recovery",
            "discharge_precharge_time",
        ),
        "s",
    ),
    "short_circuit_delay": "μs",
    **{
        f"{limit}{suffix}": "°C"
        for limit in TEMPERATURE_LIMITS
        for suffix in ("", "_recovery")
    },
}
"""Limits of settings that this software never writes."""


class Limits(NamedTuple):
    """Lowest and highest allowed value; no value is allowed if minimum > maximum."""

    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Change:
    """One register to be written."""

    register: Register
    old: Value | None
    """The value that the battery reported before."""
    new: Value

    @property
    def setting(self) -> str:
        """Name of the setting."""
        return self.register.name

    @property
    def is_secret(self) -> bool:
        """Whether the values must not be logged or shown unasked."""
        return self.register.field in SECRET_FIELDS


# Settings that the battery accepts


def declares(number: int, reading: Reading) -> bool | None:
    """Return whether a 32S battery declares a command or register, `None` if unknown.

    Commands of other layouts, and of a 32S battery that declares nothing, are unknown.
    If the device information declares nothing, the settings count, which declare the
    registers that the battery uses.
    """
    if reading.layout is not Layout.JK02_32S:
        return None
    if accepted := reading.device_info.command_support:
        return number in accepted
    used = reading.settings and reading.settings.register_support
    if used and number <= LAST_DECLARED:
        return number in used
    return None


def is_meaningful(field: str, reading: Reading) -> bool:
    """Return whether a battery uses one of its settings, as far as it declares that.

    A 32S battery declares it in two places that differ in a few registers; one suffices.
    """
    number = SETTING_REGISTERS.get(field)
    if number is None or reading.layout is not Layout.JK02_32S:
        return True
    accepted = reading.device_info.command_support or ()
    used = (reading.settings and reading.settings.register_support) or ()
    return number in accepted or number in used or not (accepted or used)


def is_proven(reading: Reading) -> bool:
    """Return whether the data confirm the layout that the version implies."""
    info = reading.device_info
    try:
        implied = choose_profile(info.device_model, info.software_version).layout
    except UnsupportedLayoutError:
        return False
    # With no cell connected, or with impossible values, the data confirm nothing
    cell_data = reading.cell_data
    return (
        implied is reading.layout
        and bool(cell_data.cell_voltage)
        and not cell_data.implausible
    )


def accepted_registers(reading: Reading) -> dict[str, Register]:
    """Return the registers that this battery accepts, by the name of the setting."""
    return {
        name: register
        for name, register in REGISTERS[reading.layout].items()
        if not _unavailable(register, reading)
    }


def accepted_register(name: str, reading: Reading) -> Register | None:
    """Return the register of a setting, `None` if this battery does not accept it."""
    register = REGISTERS[reading.layout].get(name)
    return None if not register or _unavailable(register, reading) else register


def _unavailable(register: Register, reading: Reading) -> Refusal | None:
    """Return why a register cannot be written whatever the value, if so."""
    if reading.settings is None or not is_proven(reading):
        return Refusal.NOT_PROVEN
    if reading.layout is Layout.JK02_32S and not declares(register.number, reading):
        return Refusal.NOT_ACCEPTED
    is_reported = register.present(reading) is not None
    if not is_reported and register.kind is not Kind.TEXT:
        return Refusal.NOT_ACCEPTED
    return None


def present_currents(reading: Reading) -> dict[str, float]:
    """Return the present currents in A of the settings that the battery accepts."""
    return {
        name: register.present(reading)
        for name, register in accepted_registers(reading).items()
        if register.is_current
    }


def choices(register: Register, reading: Reading) -> tuple[int, ...]:
    """Return the numbers that may be chosen on this battery."""
    numbers = tuple(range(int(register.minimum), int(register.maximum) + 1))
    if not register.allowed:
        return numbers
    allowed = getattr(reading.device_info, register.allowed) or ()
    return tuple(number for number in numbers if number in allowed)


def limits(register: Register, reading: Reading) -> Limits:
    """Return the limits of a number on this battery: the tightest ones apply."""
    low, high = register.minimum, register.maximum
    now = register.present(reading)
    match register.bound:
        case Bound.CELL_VOLTAGE:
            lowest, highest = _chemistry_limits(reading)
            low, high = max(low, lowest), min(high, highest)
        case Bound.PACK_CURRENT:
            high = min(high, _rated(current_rating, reading, now))
        case Bound.BALANCE_CURRENT:
            high = min(high, _rated(balance_rating, reading, now))
    settings = reading.settings
    # If the battery already violates the order, allow changes that reduce the violation
    at_most, at_least = (-inf, inf) if _is_unused(register.name, now) else (now, now)
    for order in ORDER:
        if register.name == order.lower:
            other = getattr(settings, order.upper)
            if other is not None and not _is_unused(order.upper, other):
                bound = _on_grid(other - order.apart, register)
                high = min(high, bound if order.strict else max(bound, at_most))
        elif register.name == order.upper:
            other = getattr(settings, order.lower)
            if other is not None and not _is_unused(order.lower, other):
                bound = _on_grid(other + order.apart, register)
                low = max(low, min(bound, at_least))
    return Limits(low, high)


def _is_unused(name: str, value: float) -> bool:
    """Return whether the battery does not use this voltage (reported as 0)."""
    return value == 0 and name in MAY_BE_UNUSED


def _on_grid(value: float, register: Register) -> float:
    return round(value * register.scale) / register.scale


def _chemistry_limits(reading: Reading) -> tuple[float, float]:
    kind = reading.cell_data.battery_type
    ovp = reading.settings.cell_ovp if reading.settings else None
    if kind in _CELL_VOLTAGE:
        return _CELL_VOLTAGE[kind]
    if ovp is None:
        # JK04: only the vendor's own limits are known
        return 0.0, inf
    is_lfp = ovp <= HIGHEST_LFP_OVP
    return _CELL_VOLTAGE[BatteryType.LFP if is_lfp else BatteryType.LI_ION]


def _rated(
    rating: Callable[[str], float | None], reading: Reading, now: float
) -> float:
    """Return the rated current, or the present value if there is none."""
    rated = rating(reading.device_info.device_model)
    return now if rated is None else rated


# Allowed changes and their order


def check(name: str, value: Value, reading: Reading) -> Register:
    """Return the register of a setting that may have this value.

    Raises `SettingRefusedError` where it may not.
    """
    register = _find(name, reading)
    try:
        register.encode(value)
    except ValueError as err:
        raise SettingRefusedError(name, Refusal.NOT_A_VALUE, str(err)) from err
    if register.kind is Kind.CHOICE:
        allowed = choices(register, reading)
        if value not in allowed:
            listed = ", ".join(map(str, allowed)) or "none"
            raise SettingRefusedError(name, Refusal.OUT_OF_RANGE, f"allowed: {listed}")
    elif register.kind is Kind.NUMBER:
        low, high = limits(register, reading)
        assert isinstance(value, int | float)
        if not low <= value <= high:
            raise SettingRefusedError(
                name, Refusal.OUT_OF_RANGE, _range(low, high, register.unit)
            )
    return register


def _find(name: str, reading: Reading) -> Register:
    if not (register := REGISTERS[reading.layout].get(name)):
        raise SettingRefusedError(name, _why_unknown(name))
    if refusal := _unavailable(register, reading):
        raise SettingRefusedError(name, refusal)
    return register


def _range(low: float, high: float, unit: str) -> str:
    if low > high:
        return "its other settings do not allow any other value"
    return f"allowed: {low:g} to {high:g} {unit}".rstrip()


def _why_unknown(name: str) -> Refusal:
    if name in PROTECTED:
        return Refusal.PROTECTED
    if name in TIERS:
        return Refusal.NOT_ACCEPTED
    return Refusal.UNKNOWN


def plan(target: Mapping[str, Value], reading: Reading) -> tuple[Change, ...]:
    """Return the writes that lead to a target, each valid after the previous ones.

    Changes that lower a value come first, from the lowest setting up, then changes that
    raise one, from the highest down. Settings that already have their value are left
    out. Raises `SettingRefusedError` if any step is not allowed.
    """
    changes = []
    for name, value in target.items():
        now = _find(name, reading).present(reading)
        if isinstance(now, bool) is not isinstance(value, bool) or now != value:
            changes.append((name, now, value))
    planned = []
    for name, now, value in sorted(changes, key=_turn):
        register = check(name, value, reading)
        if register.kind is Kind.CHOICE:
            # An integer, as the battery reports it: 4, not 4.0
            value = int(value)
        change = Change(register, now, value)
        planned.append(change)
        reading = changed(reading, change)
    return tuple(planned)


def _turn(change: tuple[str, Any, Value]) -> tuple[int, int]:
    name, now, value = change
    if name in WRITE_LAST:
        return 2, WRITE_LAST.index(name)
    place = WRITE_ORDER.index(name) if name in WRITE_ORDER else 0
    is_raised = _is_number(now) and _is_number(value) and value > now
    return (1, -place) if is_raised else (0, place)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def changed(reading: Reading, change: Change) -> Reading:
    """Return the reading as it will be after the change."""
    return _with(reading, change.register, change.new)


def forgotten(reading: Reading, change: Change) -> Reading:
    """Return the reading while it is unknown whether the change was made."""
    return _with(reading, change.register, None)


def _with(reading: Reading, register: Register, value: Value | None) -> Reading:
    record = RECORDS[register.proof]
    values: dict[str, Any] = {register.field: value}
    return replace(reading, **{record: replace(getattr(reading, record), **values)})


def needs_passcode(changes: Iterable[Change]) -> bool:
    """Return whether any of the changes needs the settings passcode."""
    return any(change.register.tier is Tier.TUNING for change in changes)


def passcode_matches(typed: str, info: DeviceInfo) -> bool:
    """Compare a passcode with the settings passcode; an empty one matches nothing.

    It prevents changes by mistake, as in the vendor's app. It is no protection: the
    battery itself requires no passcode.
    """
    expected = info.setup_passcode or ""
    return compare_digest(typed.encode(), expected.encode()) and bool(expected)
