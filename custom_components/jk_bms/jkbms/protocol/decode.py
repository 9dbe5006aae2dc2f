"""Frame + layout -> model, and which layout it is (docs/protocol.md 6 to 13)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from math import fsum
from statistics import median
from typing import Any, Final

from ..errors import (
    ImplausibleFrameError,
    ImplausibleValuesError,
    UnsupportedLayoutError,
)
from ..models import CellData, DetailLogRecord, DeviceInfo, LiveData, LogEntry, Settings
from .codes import LOG_CELLS, LOG_EVENTS, alarm_names
from .fields import CellSlots
from .frames import Frame, FrameType, checksum
from .layouts import (
    BATTERY_SENSORS,
    CELL_DATA_VALUES,
    DETAIL_LOG_HEAD,
    DETAIL_LOG_RECORD,
    DETAIL_LOG_RECORD_SIZE,
    DETAIL_LOG_RECORDS,
    IDENTITY,
    LIVE_LIMITS,
    LOGBOOK_COUNT,
    LOGBOOK_ENTRIES,
    LOGBOOK_ENTRY,
    MOSFET_SENSOR,
    NEED_CELLS,
    PRIVATE,
)
from .profile import (
    CELL_DATA_FIELDS,
    Profile,
    choose_profile,
    device_info_table,
    settings_table,
)

_ASTERISK: Final = ord("*")

LIVE_CELL: Final = 0.3, 6.0
"""V a cell in use can have; a dead one may read 0."""
_TEMPERATURE: Final = LIVE_LIMITS["temperature_1"]
_LIMITS: Final = tuple(
    (name, *limits)
    for name, limits in LIVE_LIMITS.items()
    if name not in BATTERY_SENSORS
)
_PLAUSIBLE_WITHIN: Final = 0.5, 0.02
"""V and part of the pack voltage by which a believable frame may be off."""


def decode_device_info(frame: Frame) -> DeviceInfo:
    """Decode frame type 0x03 (docs/protocol.md 9).

    With a version that tells no layout, only what stands in every layout is read. Raises
    `ImplausibleFrameError` if it names no model and software version.
    """
    identity = IDENTITY.read(frame.data)
    model, version = identity["device_model"], identity["software_version"]
    if not model or not version or not (model + version).isprintable():
        raise ImplausibleFrameError("The device information names no device")
    try:
        table = device_info_table(choose_profile(model, version))
    except UnsupportedLayoutError:
        table = IDENTITY
    return DeviceInfo(**table.read(frame.data))


def require_values(frame: Frame) -> None:
    """Raise `ImplausibleFrameError` for cell data in which everything is 0."""
    if not any(frame.data[CELL_DATA_VALUES]):
        raise ImplausibleFrameError("Every value is 0")


def decode_cell_data(frame: Frame, profile: Profile) -> CellData:
    """Decode frame type 0x02 (docs/protocol.md 7).

    With no cell and no voltage, what is measured on cells is absent, not 0. Raises
    `ImplausibleValuesError` with all other values if some are impossible, and
    `ImplausibleFrameError` if it says nothing or enables too many cells.
    """
    data, slots = frame.data, profile.cells
    require_values(frame)
    enabled = _enabled_cells(data, slots)
    fitted = profile.cell_data.values(data)
    # In the order of the fields: 58 keyword arguments cost more than all the rest
    values = dict(zip(CELL_DATA_FIELDS, fitted, strict=False))
    cells = values["cell_voltage"] = slots.voltage.read(data, enabled)
    ohms = slots.resistance.read(data, enabled)
    values["cell_resistance"] = tuple([ohm or None for ohm in ohms])
    _add_temperatures(values, profile.battery_sensors, fitted[len(values) :])
    total = _add_summary(values, slots)
    if not slots.pack_voltage and cells:
        values["battery_voltage"] = round(total, slots.voltage.decimals)
    if not values["heating"]:
        values["heater_current"] = None
    if (mask := values["alarm_mask"]) is not None:
        values["alarms"] = alarm_names(mask)
    voltage, current = values["battery_voltage"], values["battery_current"]
    if voltage is not None and current is not None:
        values["battery_power"] = _power(voltage, current)
    values["implausible"] = ()
    if reasons := _find_implausible(values, total, profile.battery_sensors):
        _leave_out(values, reasons, profile)
    cell_data = CellData(*values.values())
    if not cells and not voltage:
        cell_data = replace(cell_data, **_NO_CELLS)
    if reasons:
        raise ImplausibleValuesError(next(iter(reasons.values())), cell_data)
    return cell_data


COMPUTED: Final = frozenset(
    {
        "cell_voltage",
        "cell_resistance",
        "average_cell_voltage",
        "delta_cell_voltage",
        "min_cell_voltage",
        "max_cell_voltage",
        "min_cell",
        "max_cell",
        "battery_temperature",
        "battery_power",
        "alarms",
        "implausible",
    }
)
"""Fields of `CellData` that are made of others, of the slots of the cells or of the checks."""
_NO_CELLS: Final[dict[str, Any]] = dict.fromkeys(NEED_CELLS)


def decode_live(frame: Frame, profile: Profile) -> LiveData:
    """Decode the few values of cell data that may change from one frame to the next.

    Nothing is checked; what is measured on cells is absent where there is no voltage.
    """
    live = LiveData(*profile.live.values(frame.data))
    if live.battery_voltage:
        return live
    return replace(
        live, battery_voltage=None, battery_current=None, reported_power=None
    )


def decode_settings(frame: Frame, profile: Profile) -> Settings:
    """Decode frame type 0x01 (docs/protocol.md 8).

    Raises `ImplausibleFrameError` for more cells than the layout has.
    """
    values = settings_table(profile).read(frame.data)
    if values["cell_count"] > profile.cells.voltage.room:
        raise ImplausibleFrameError("More cells are configured than the layout has")
    return Settings(**values)


def decode_logbook(frame: Frame) -> tuple[LogEntry, ...]:
    """Decode frame type 0x05, oldest entry first (docs/protocol.md 10)."""
    (count,) = LOGBOOK_COUNT.unpack_from(frame.data)
    entries = LOGBOOK_ENTRY.iter_unpack(frame.data[LOGBOOK_ENTRIES])
    return tuple(
        LogEntry(
            time=time,
            code=code,
            event=LOG_EVENTS.get(code, "unknown"),
            cell=LOG_CELLS.get(code),
        )
        for time, code in islice(entries, count)
        if code
    )


def decode_detail_log(frame: Frame) -> tuple[DetailLogRecord, ...]:
    """Decode frame type 0x06, up to 12 records, oldest first (docs/protocol.md 11).

    Raises `ImplausibleFrameError` for more records than there is room for.
    """
    first, count = DETAIL_LOG_HEAD.unpack_from(frame.data)
    data = frame.data[DETAIL_LOG_RECORDS]
    if count * DETAIL_LOG_RECORD_SIZE > len(data):
        raise ImplausibleFrameError("More records than a frame has room for")
    return tuple(
        DetailLogRecord(
            index=first + i,
            **DETAIL_LOG_RECORD.read(data[i * DETAIL_LOG_RECORD_SIZE :]),
        )
        for i in range(count)
    )


def redact(frame: Frame) -> Frame:
    """Mask what is private in device information; all else can still be decoded.

    Not even left-overs behind the end of a text are kept, only its length.
    """
    if frame.type is not FrameType.DEVICE_INFO:
        return frame
    data = bytearray(frame.data)
    for span in PRIVATE:
        data[span] = bytes(byte and _ASTERISK for byte in data[span])
    data[-1] = checksum(bytes(data[:-1]))
    return replace(frame, data=bytes(data))


def _enabled_cells(data: bytes, slots: CellSlots) -> int:
    """Return the mask of enabled cells, cell 1 in its lowest bit."""
    mask: int
    (mask,) = slots.enabled.unpack_from(data)
    if mask.bit_length() > slots.voltage.room:
        raise ImplausibleFrameError("More cells are enabled than the layout has")
    if not slots.pack_voltage:
        # There the slots behind the last voltage are not used, whatever the mask claims
        volts = slots.voltage.raw(data)
        used = sum(1 << cell for cell, volt in enumerate(volts) if volt)
        return (mask or used) & ((1 << used.bit_length()) - 1)
    return mask


def _add_summary(values: dict[str, Any], slots: CellSlots) -> float:
    """Compute what the BMS sends as well, but up to a second late; return the sum."""
    voltage = cells = values["cell_voltage"]
    if None in voltage:
        cells = [volts for volts in voltage if volts is not None]
    if not cells:
        return 0.0
    low, high, total = min(cells), max(cells), fsum(cells)
    decimals = slots.voltage.decimals
    values["average_cell_voltage"] = round(total / len(cells), decimals)
    values["delta_cell_voltage"] = round(high - low, decimals)
    values["min_cell_voltage"] = low
    values["max_cell_voltage"] = high
    values["min_cell"] = voltage.index(low) + 1
    values["max_cell"] = voltage.index(high) + 1
    return total


def _power(voltage: float, current: float) -> float:
    """Return voltage x current in whole mW, the rest cut off as the BMS does."""
    return int(round(voltage * current * 1e6) / 1000) / 1000


def _add_temperatures(
    values: dict[str, Any], sensors: Sequence[int], fitted: Sequence[Any]
) -> None:
    """Add the temperatures of the sensors that the device has, each with its bit.

    `fitted` is the mask of sensors, then their readings. A cleared bit in the mask
    proves an absence, a set one proves nothing; the second pair is left out where
    neither of the two is connected.
    """
    absent, readings = ~(fitted[0] or 0), fitted[1:]
    if absent & MOSFET_SENSOR:
        values["mosfet_temperature"] = None
    if absent & sum(sensors):
        pairs = zip(sensors, readings, strict=True)
        readings = [None if absent & bit else reading for bit, reading in pairs]
    is_pair = [*readings[2:]] == [None, None]
    values["battery_temperature"] = tuple(readings[:2] if is_pair else readings)


type _Reasons = dict[str, str]
"""Why a value is impossible, by its name in `CellData.implausible`."""


def _find_implausible(
    values: dict[str, Any], total: float, sensors: Sequence[int]
) -> _Reasons:
    """Return what cannot be (docs/protocol.md 13); `total` is the sum of the cells, V."""
    reasons = _implausible_cells(values, total)
    for name, low, high in _LIMITS:
        value = values[name]
        if value is not None and not low <= value <= high:
            reasons[name] = f"No battery has such a value: {name}"
    low, high = _TEMPERATURE
    for bit, reading in zip(sensors, values["battery_temperature"], strict=False):
        if reading is not None and not low <= reading <= high:
            name = f"battery_temperature_{bit.bit_length() - 1}"
            reasons[name] = "No battery is at such a temperature"
    return reasons


def _implausible_cells(values: dict[str, Any], total: float) -> _Reasons:
    """Return the cells, or else the pack voltage, that cannot be."""
    lowest, highest = values["min_cell_voltage"], values["max_cell_voltage"]
    if lowest is None:
        return {}
    cells = values["cell_voltage"]
    pack = values["battery_voltage"] or 0.0
    low, high = LIVE_CELL
    if not (lowest >= 0 and 0 < highest <= high):
        # What is no voltage at all takes the cells that read 0 beside it with it
        odd = [i for i, volts in enumerate(cells) if not _is_live(volts)]
        return _name_cells(odd, "No cell has such a voltage")
    if _adds_up(total, pack):
        return {}
    reason = "The cells do not add up to the pack voltage"
    if lowest < low:
        odd = [i for i, volts in enumerate(cells) if not _is_live(volts)]
        return _name_cells(odd, reason)
    # One that reads anything, but all others account for the pack
    usual = median(volts for volts in cells if volts is not None)
    for number, volts in enumerate(cells):
        if volts is not None and _adds_up(total - volts + usual, pack):
            return _name_cells([number], reason)
    return {"battery_voltage": reason}


def _is_live(volts: float | None) -> bool:
    """Return whether a cell in use can have this voltage, or is not enabled."""
    low, high = LIVE_CELL
    return volts is None or low <= volts <= high


def _adds_up(total: float, pack: float) -> bool:
    volts, part = _PLAUSIBLE_WITHIN
    return abs(total - pack) <= volts + part * pack


def _name_cells(cells: Iterable[int], reason: str) -> _Reasons:
    return {f"cell_voltage_{cell + 1}": reason for cell in cells}


_OF_CELLS: Final = (
    "average_cell_voltage",
    "delta_cell_voltage",
    "min_cell_voltage",
    "max_cell_voltage",
    "min_cell",
    "max_cell",
)


def _leave_out(values: dict[str, Any], names: _Reasons, profile: Profile) -> None:
    """Replace what is impossible, and what is computed from it, by `None`."""
    values["implausible"] = tuple(names)
    values |= {name: None for name in names if name in values}
    values["battery_temperature"] = tuple(
        None if f"battery_temperature_{bit.bit_length() - 1}" in names else reading
        for bit, reading in zip(
            profile.battery_sensors, values["battery_temperature"], strict=False
        )
    )
    cells = values["cell_voltage"]
    values["cell_voltage"] = tuple(
        None if f"cell_voltage_{cell}" in names else volts
        for cell, volts in enumerate(cells, 1)
    )
    if values["cell_voltage"] != cells:
        values |= dict.fromkeys(_OF_CELLS)
        _add_summary(values, profile.cells)
        if not profile.cells.pack_voltage:
            values["battery_voltage"] = None
    if values["battery_voltage"] is None or values["battery_current"] is None:
        values["battery_power"] = None
