"""Frame + layout -> model, and which layout it is (docs/protocol.md 6 to 13)."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from math import fsum
from typing import Any, Final

from ..errors import ImplausibleFrameError, UnsupportedLayoutError
from ..models import CellData, DetailLogRecord, DeviceInfo, LiveData, LogEntry, Settings
from ..text import printable
from .codes import LOG_CELLS, LOG_EVENTS, alarm_names
from .fields import CellSlots
from .frames import Frame, FrameType, checksum
from .layouts import (
    DETAIL_LOG_HEAD,
    DETAIL_LOG_RECORD,
    DETAIL_LOG_RECORD_SIZE,
    DETAIL_LOG_RECORDS,
    IDENTITY,
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
_TEMPERATURE: Final = -60.0, 150.0
_FULL: Final = 100
_PLAUSIBLE_WITHIN: Final = 0.5, 0.02
"""V and part of the pack voltage by which a believable frame may be off."""


def decode_device_info(frame: Frame) -> DeviceInfo:
    """Decode frame type 0x03 (docs/protocol.md 9).

    If the version does not give the layout, only fields common to all layouts are read. Raises
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
    values = table.read(frame.data)
    for name, value in values.items():
        if isinstance(value, str):
            values[name] = printable(value).strip() or None
    return DeviceInfo(**values)


def decode_cell_data(frame: Frame, profile: Profile) -> CellData:
    """Decode frame type 0x02 (docs/protocol.md 7).

    With no cell and no voltage, what is measured on cells is absent, not 0. Raises
    `ImplausibleFrameError` if no battery can be in such a state.
    """
    data, slots = frame.data, profile.cells
    enabled = _enabled_cells(data, slots)
    fitted = profile.cell_data.values(data)
    cell_data = CellData(*fitted[: len(CELL_DATA_FIELDS)])
    cell_data.cell_voltage = cells = slots.voltage.read(data, enabled)
    cell_data.cell_resistance = slots.resistance.read(data, enabled)
    mask, *readings = fitted[len(CELL_DATA_FIELDS) :]
    _add_temperatures(cell_data, profile.battery_sensors, mask, readings)
    total = _add_summary(cell_data, slots, enabled)
    if not slots.pack_voltage and cells:
        cell_data.battery_voltage = round(total, slots.voltage.decimals)
    if not cell_data.heating:
        cell_data.heater_current = None
    if cell_data.alarm_mask is not None:
        cell_data.alarms = alarm_names(cell_data.alarm_mask)
    voltage, current = cell_data.battery_voltage, cell_data.battery_current
    if voltage is not None and current is not None:
        cell_data.battery_power = _power(voltage, current)
    _check(cell_data, total)
    if not cells and not voltage:
        return replace(cell_data, **_NO_CELLS)
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
    }
)
"""Fields of `CellData` that are made of others or of the slots of the cells."""
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


def _add_summary(cell_data: CellData, slots: CellSlots, enabled: int) -> float:
    """Compute what the BMS sends as well, but up to a second late; return the sum."""
    if not enabled:
        return 0.0
    voltage = cell_data.cell_voltage
    cells = [volts for volts in voltage if volts is not None]
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
    """Return voltage x current in whole mW, the rest cut off as the BMS does."""
    return int(round(voltage * current * 1e6) / 1000) / 1000


def _add_temperatures(
    cell_data: CellData,
    sensors: Sequence[int],
    mask: int | None,
    readings: Sequence[float | None],
) -> None:
    """Add the temperatures of the sensors that the device has, each with its bit.

    A cleared bit in the mask proves an absence, a set one proves nothing; the second
    pair is left out where neither of the two is connected.
    """
    absent = ~(mask or 0)
    if absent & MOSFET_SENSOR:
        cell_data.mosfet_temperature = None
    if absent & sum(sensors):
        pairs = zip(sensors, readings, strict=True)
        readings = [None if absent & bit else reading for bit, reading in pairs]
    is_pair = [*readings[2:]] == [None, None]
    cell_data.battery_temperature = tuple(readings[:2] if is_pair else readings)


def _check(cell_data: CellData, total: float) -> None:
    """Refuse what an 8-bit checksum let through (docs/protocol.md 13).

    `total` is the sum of the cells, V.
    """
    lowest, highest = cell_data.min_cell_voltage, cell_data.max_cell_voltage
    if lowest is not None and highest is not None:
        if not (lowest >= 0 and 0 < highest <= LIVE_CELL[1]):
            raise ImplausibleFrameError("No cell has such a voltage")
    if (cell_data.remain_percent or 0) > _FULL:
        raise ImplausibleFrameError("The state of charge exceeds 100 %")
    low, high = _TEMPERATURE
    for reading in (*cell_data.battery_temperature, cell_data.mosfet_temperature):
        if reading is not None and not low <= reading <= high:
            raise ImplausibleFrameError("No battery is at such a temperature")
    pack = cell_data.battery_voltage or 0.0
    volts, part = _PLAUSIBLE_WITHIN
    if lowest is not None and abs(total - pack) > volts + part * pack:
        raise ImplausibleFrameError("The cells do not add up to the pack voltage")
