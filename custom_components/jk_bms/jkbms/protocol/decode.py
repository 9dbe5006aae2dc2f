"""Decodes frames into models by layout (docs/protocol.md 6 to 13)."""

from collections.abc import Collection, Iterable, Sequence
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
from ..text import printable
from .codes import LOG_CELLS, LOG_EVENTS, alarm_names
from .fields import CellSlots
from .frames import Frame, FrameType, checksum
from .layouts import (
    BATTERY_SENSORS,
    CONTENT,
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
    PASSING,
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

INVALID_FRAMES: Final = 3
"""Frames in a row in which a value is impossible; the last is accepted without it."""
_MAX_INVALID_FRAMES: Final = 2 * INVALID_FRAMES
"""Frames in a row with such a value and others that come and go; the last is accepted."""
LIVE_CELL: Final = 0.3, 6.0
"""Possible volts of a cell in use; a dead one may read 0."""
_TEMPERATURE: Final = LIVE_LIMITS["temperature_1"]
_LIMITS: Final = tuple(
    (name, *limits)
    for name, limits in LIVE_LIMITS.items()
    if name not in BATTERY_SENSORS
)
_MAX_VOLTAGE: Final = LIVE_LIMITS["battery_voltage"][1]
_MAX_CURRENT: Final = LIVE_LIMITS["battery_current"][1]
_PLAUSIBLE_WITHIN: Final = 0.5, 0.02
"""Volts and fraction of the pack voltage by which a plausible frame may be off."""


def decode_device_info(frame: Frame) -> DeviceInfo:
    """Decode frame type 0x03 (docs/protocol.md 9).

    If the version does not give the layout, only fields common to all layouts are read.
    Raises `ImplausibleFrameError` without a model and software version.
    """
    identity = IDENTITY.read(frame.data)
    model, version = identity["device_model"], identity["software_version"]
    if not model or not version or not (model + version).isprintable():
        raise ImplausibleFrameError("The device information names no device")
    try:
        table = device_info_table(choose_profile(model, version))
    except UnsupportedLayoutError:
        table = IDENTITY
    values = table.read(frame.data)
    for name, value in values.items():
        if isinstance(value, str):
            values[name] = printable(value).strip() or None
    return DeviceInfo(**values)


def require_values(frame: Frame) -> None:
    """Raise `ImplausibleFrameError` for cell data in which everything is 0.

    Even with no cell connected, some byte differs from 0.
    """
    if not any(frame.data[CONTENT]):
        raise ImplausibleFrameError("Every value is 0")


def decode_cell_data(frame: Frame, profile: Profile) -> CellData:
    """Decode frame type 0x02 (docs/protocol.md 7).

    With no cell and no voltage, values measured on cells are absent, not 0. Raises
    `ImplausibleValuesError` with all other values if some are impossible, and
    `ImplausibleFrameError` if the frame is empty or enables too many cells.
    """
    data, slots = frame.data, profile.cells
    require_values(frame)
    enabled = _enabled_cells(data, slots)
    fitted = profile.cell_data.values(data)
    cell_data = CellData(*fitted[: len(CELL_DATA_FIELDS)])
    cell_data.implausible = ()
    cell_data.cell_voltage = cells = slots.voltage.read(data, enabled)
    cell_data.cell_resistance = ohms = slots.resistance.read(data, enabled)
    if not all(ohms):
        cell_data.cell_resistance = tuple([ohm or None for ohm in ohms])
    mask, *readings = fitted[len(CELL_DATA_FIELDS) :]
    _add_temperatures(cell_data, profile.battery_sensors, mask, readings)
    total = _add_summary(cell_data, slots)
    if not slots.pack_voltage and cells:
        cell_data.battery_voltage = round(total, slots.voltage.decimals)
    if not cell_data.heating:
        cell_data.heater_current = None
    if cell_data.alarm_mask is not None:
        cell_data.alarms = alarm_names(cell_data.alarm_mask)
    voltage, current = cell_data.battery_voltage, cell_data.battery_current
    if voltage is not None and current is not None:
        cell_data.battery_power = _power(voltage, current)
    if reasons := _find_implausible(cell_data, total, profile.battery_sensors):
        _leave_out(cell_data, reasons, profile)
    if not cells and not voltage:
        cell_data = replace(cell_data, **_NO_CELLS)
    if reasons:
        raise ImplausibleValuesError(next(iter(reasons.values())), cell_data)
    return cell_data


_NO_CELLS: Final[dict[str, Any]] = dict.fromkeys(NEED_CELLS)


class LastingFaults:
    """Tells the impossible values of a failed sensor from damage (docs/protocol.md 13)."""

    def __init__(self) -> None:
        """Start before the first frame."""
        self._frames: dict[str, int] = {}
        """For each value that is impossible in the last frame, in how many in a row it is."""
        self._refused = 0

    @property
    def repeat(self) -> bool:
        """Whether a value was impossible twice in a row; damage hits others each time."""
        return any(frames > 1 for frames in self._frames.values())

    def may_leave_out(
        self, names: Collection[str], known: Collection[str] = ()
    ) -> bool:
        """Return whether to accept a frame without these impossible values.

        `known` were left out before. Call it for each frame, also for those without any.
        """
        self._frames = {name: self._frames.get(name, 0) + 1 for name in names}
        last = [
            name in known or frames >= INVALID_FRAMES
            for name, frames in self._frames.items()
        ]
        self._refused += 1
        if all(last) or (any(last) and self._refused >= _MAX_INVALID_FRAMES):
            self._refused = 0
            return True
        return False


def decode_live(frame: Frame, profile: Profile) -> LiveData:
    """Decode the few values of cell data that may change from one frame to the next.

    Values measured on cells are absent if the voltage is missing or impossible, or the
    current is impossible. Nothing else is checked.
    """
    live = LiveData._make(profile.live.values(frame.data))
    voltage, current = live.battery_voltage or 0.0, live.battery_current or 0.0
    if 0 < voltage <= _MAX_VOLTAGE and abs(current) <= _MAX_CURRENT:
        return live
    return LiveData()


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

    Raises `ImplausibleFrameError` for more records than fit into a frame.
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


def lasting_content(frame: Frame) -> bytes:
    """Return all bytes of a record that stay the same, including unknown ones."""
    data = bytearray(frame.data)
    if frame.type is FrameType.DEVICE_INFO:
        for span in PASSING:
            data[span] = bytes(len(data[span]))
    return bytes(data[CONTENT])


def redact(frame: Frame) -> Frame:
    """Mask private data in device information; everything else can still be decoded.

    Left-overs after the end of a text are masked as well; only its length is kept.
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
        # On JK04, slots after the last voltage are unused, whatever the mask says
        volts = slots.voltage.raw(data)
        used = sum(1 << cell for cell, volt in enumerate(volts) if volt)
        return (mask or used) & ((1 << used.bit_length()) - 1)
    return mask


def _add_summary(cell_data: CellData, slots: CellSlots) -> float:
    """Compute the values that the BMS also sends, but up to a second late; return the sum."""
    voltage = cell_data.cell_voltage
    cells = [volts for volts in voltage if volts is not None]
    if not cells:
        return 0.0
    low, high, total = min(cells), max(cells), fsum(cells)
    decimals = slots.voltage.decimals
    cell_data.average_cell_voltage = round(total / len(cells), decimals)
    cell_data.delta_cell_voltage = round(high - low, decimals)
    cell_data.min_cell_voltage = low
    cell_data.max_cell_voltage = high
    cell_data.min_cell = voltage.index(low) + 1
    cell_data.max_cell = voltage.index(high) + 1
    return total


def _power(voltage: float, current: float) -> float:
    """Return voltage x current, truncated to whole mW like the BMS does."""
    return int(round(voltage * current * 1e6) / 1000) / 1000


def _add_temperatures(
    cell_data: CellData,
    sensors: Sequence[int],
    mask: int | None,
    readings: Sequence[float | None],
) -> None:
    """Add the temperatures of the fitted sensors; each has a bit in the mask.

    A cleared bit means that the sensor is absent, a set one means nothing. The second
    pair is left out if neither of the two is connected.
    """
    absent = ~(mask or 0)
    if absent & MOSFET_SENSOR:
        cell_data.mosfet_temperature = None
    if absent & sum(sensors):
        pairs = zip(sensors, readings, strict=True)
        readings = [None if absent & bit else reading for bit, reading in pairs]
    is_pair = [*readings[2:]] == [None, None]
    cell_data.battery_temperature = tuple(readings[:2] if is_pair else readings)


type _Reasons = dict[str, str]
"""Reasons why values are impossible, by their names in `CellData.implausible`."""


def _find_implausible(
    cell_data: CellData, total: float, sensors: Sequence[int]
) -> _Reasons:
    """Return the impossible values (docs/protocol.md 13); `total` is the sum of the cells, V."""
    reasons = _implausible_cells(cell_data, total)
    for name, low, high in _LIMITS:
        value = getattr(cell_data, name)
        if value is not None and not low <= value <= high:
            reasons[name] = f"{name} is {value:g}, not {low:g} to {high:g}"
    low, high = _TEMPERATURE
    for bit, reading in zip(sensors, cell_data.battery_temperature, strict=False):
        if reading is not None and not low <= reading <= high:
            name = f"battery_temperature_{bit.bit_length() - 1}"
            reasons[name] = f"{name} is {reading:g} °C, not {low:g} to {high:g} °C"
    return reasons


def _implausible_cells(cell_data: CellData, total: float) -> _Reasons:
    """Return the impossible cells, or else the impossible pack voltage."""
    lowest, highest = cell_data.min_cell_voltage, cell_data.max_cell_voltage
    if lowest is None or highest is None:
        return {}
    cells = cell_data.cell_voltage
    pack = cell_data.battery_voltage or 0.0
    low, high = LIVE_CELL
    if not (lowest >= 0 and 0 < highest <= high):
        # If one cell reads an impossible voltage, cells that read 0 are dropped as well
        odd = [i for i, volts in enumerate(cells) if not _is_live(volts)]
        return _name_cells(odd, f"A cell is not at {low:g} to {high:g} V")
    if _adds_up(total, pack):
        return {}
    reason = f"The cells add up to {total:.3f} V, the pack to {pack:.3f} V"
    if lowest < low:
        odd = [i for i, volts in enumerate(cells) if not _is_live(volts)]
        return _name_cells(odd, reason)
    # Find a cell whose reading the rest of the pack rules out
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


def _leave_out(cell_data: CellData, names: _Reasons, profile: Profile) -> None:
    """Replace impossible values, and values computed from them, by `None`."""
    cell_data.implausible = tuple(names)
    for name in names:
        if name in CELL_DATA_FIELDS:
            setattr(cell_data, name, None)
    cell_data.battery_temperature = tuple(
        None if f"battery_temperature_{bit.bit_length() - 1}" in names else reading
        for bit, reading in zip(
            profile.battery_sensors, cell_data.battery_temperature, strict=False
        )
    )
    cells = cell_data.cell_voltage
    cell_data.cell_voltage = tuple(
        None if f"cell_voltage_{cell}" in names else volts
        for cell, volts in enumerate(cells, 1)
    )
    if cell_data.cell_voltage != cells:
        for name in _OF_CELLS:
            setattr(cell_data, name, None)
        _add_summary(cell_data, profile.cells)
        if not profile.cells.pack_voltage:
            cell_data.battery_voltage = None
    if cell_data.battery_voltage is None or cell_data.battery_current is None:
        cell_data.battery_power = None
