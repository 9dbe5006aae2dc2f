"""Frame + layout -> model, and which layout it is (docs/protocol.md 6 to 13)."""

from collections.abc import Iterable, Sequence
from dataclasses import make_dataclass, replace
from itertools import islice
from math import fsum
import re
from typing import Any, Final

from ..errors import ImplausibleFrameError, UnsupportedLayoutError
from ..models import CellData, DetailLogRecord, DeviceInfo, Layout, LogEntry, Settings
from .frames import Frame, FrameType, checksum
from .layouts import (
    CELL_DATA_FIELDS,
    CELLS,
    DETAIL_LOG_HEAD,
    DETAIL_LOG_RECORD,
    DETAIL_LOG_RECORD_SIZE,
    DETAIL_LOG_RECORDS,
    FIRMWARE_SIGNS,
    IDENTITY,
    JK04_SETTINGS_MARK,
    LOG_CELLS,
    LOG_EVENTS,
    LOGBOOK_COUNT,
    LOGBOOK_ENTRIES,
    LOGBOOK_ENTRY,
    MOSFET_SENSOR,
    NEED_CELLS,
    OLDEST_32S,
    PRIVATE,
    SETTINGS_END,
    CellSlots,
    Profile,
    device_info_table,
    has_gaps,
    settings_table,
)

_FIRMWARE: Final = re.compile(r"[vV]?(\d{1,3})(?:\.(\d{1,6}))?", re.ASCII)
_JK04_MODEL: Final = re.compile(r"JK-B\dA\d+S", re.ASCII)

_ASTERISK: Final = ord("*")

_LIVE_CELL: Final = 0.3, 6.0
"""V a cell in use can have; a dead one may read 0."""
_TEMPERATURE: Final = -60.0, 150.0
_FULL: Final = 100
_CONFIRMED_WITHIN: Final = 0.5
"""V between the sum of the cells and the pack voltage that prove a layout."""
_PLAUSIBLE_WITHIN: Final = 0.5, 0.02
"""V and part of the pack voltage by which a believable frame may be off."""


def parse_firmware(software_version: str) -> float:
    """Return the software version as a number, 11.288 for `11.288H`.

    Raises `UnsupportedLayoutError` if it does not start with a number.
    """
    if not (match := _FIRMWARE.match(software_version)):
        raise UnsupportedLayoutError("The software version is not a version")
    return float(f"{match[1]}.{match[2] or 0}")


def choose_profile(device_model: str, software_version: str) -> Profile:
    """Choose layout and fields by model and firmware (docs/protocol.md 6.1).

    Raises `UnsupportedLayoutError` if the version is none.
    """
    firmware = parse_firmware(software_version)
    if firmware >= OLDEST_32S:
        layout = Layout.JK02_32S
    elif _JK04_MODEL.fullmatch(device_model):
        layout = Layout.JK04
    else:
        layout = Layout.JK02_24S
    return Profile(layout, firmware, device_model)


def confirm_profile(frame: Frame, expected: Profile | None = None) -> Profile:
    """Let cell data prove or correct the layout (docs/protocol.md 6.2).

    Data win over the version. Without device information the firmware is taken as the
    oldest that the frame allows. Raises `UnsupportedLayoutError` if no layout fits, and
    `ImplausibleFrameError` if the expected one does, but not the values.
    """
    if expected and _proves(expected.layout, frame):
        return expected
    for layout in Layout:
        if _proves(layout, frame):
            return _with_layout(expected, layout, [frame])
    # A dead cell or no cell at all proves nothing, but does not contradict either
    if expected and _allows(expected, frame):
        return expected
    for layout, slots in CELLS.items():
        if not expected and _adds_up(slots, frame):
            return _with_layout(None, layout, [frame])
    raise UnsupportedLayoutError("The cell data fit no known layout")


def find_profile(frames: Iterable[Frame], layout: Layout | None = None) -> Profile:
    """Find the profile of the one device that all these frames come from.

    Device information decides and cell data confirm; settings alone do as well. Raises
    `UnsupportedLayoutError` if the frames tell no layout or contradict it, unless the
    layout is given.
    """
    frames = tuple(frames)
    expected = _told_by_device_info(frames)
    return _with_layout(expected, layout or _find_layout(frames, expected), frames)


def _find_layout(frames: Sequence[Frame], expected: Profile | None) -> Layout:
    cell_data = [frame for frame in frames if frame.type is FrameType.CELL_DATA]
    settings = [frame for frame in frames if frame.type is FrameType.SETTINGS]
    fits = not cell_data
    for frame in cell_data:
        try:
            return confirm_profile(frame, expected).layout
        except ImplausibleFrameError:
            fits = True
        except UnsupportedLayoutError:
            continue
    if not fits:
        raise UnsupportedLayoutError("The cell data fit no known layout")
    told = expected and expected.layout
    for frame in settings:
        if not told or (_layout_of_settings(frame) is Layout.JK04):
            return _layout_of_settings(frame)
    if told:
        return told
    raise UnsupportedLayoutError("No frame tells the layout")


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


class _Draft(CellData):
    """Cell data that can be written to until `__class__` makes them what they are for.

    Nothing but the class differs. To fill a frozen data class in its own way takes half
    as long as all the rest of decoding.
    """

    __slots__ = ()
    __init__: Any = vars(make_dataclass("Mutable", CELL_DATA_FIELDS))["__init__"]
    __setattr__ = object.__setattr__
    # Only both together bring back the short way of the interpreter
    __delattr__ = object.__delattr__


_FIELDS: Final = len(CELL_DATA_FIELDS)


def decode_cell_data(frame: Frame, profile: Profile) -> CellData:
    """Decode frame type 0x02 (docs/protocol.md 7).

    With no cell and no voltage, what is measured on cells is absent, not 0. Raises
    `ImplausibleFrameError` if no battery can be in such a state.
    """
    data, slots = frame.data, profile.cells
    enabled = _enabled_cells(data, slots)
    voltage = slots.voltage.read(data, enabled)
    resistance = slots.resistance.read(data, enabled)
    values = profile.cell_data.values(data)
    draft: Any = _Draft(*values[:_FIELDS])
    draft.cell_voltage = voltage
    draft.cell_resistance = resistance
    mask, readings = values[_FIELDS], values[_FIELDS + 1 :]
    _add_temperatures(draft, profile.battery_sensors, mask, readings)
    total = _add_summary(draft, slots, enabled)
    if not slots.pack_voltage and voltage:
        draft.battery_voltage = round(total, slots.decimals)
    if not draft.heating:
        draft.heater_current = None
    if draft.battery_voltage is not None and draft.battery_current is not None:
        draft.battery_power = _power(draft.battery_voltage, draft.battery_current)
    _check(draft, total)
    if not voltage and not draft.battery_voltage:
        for name in NEED_CELLS:
            setattr(draft, name, None)
    draft.__class__ = CellData
    cell_data: CellData = draft
    return cell_data


def decode_settings(frame: Frame, profile: Profile) -> Settings:
    """Decode frame type 0x01 (docs/protocol.md 8).

    Raises `ImplausibleFrameError` for more cells than the layout has.
    """
    values = settings_table(profile).read(frame.data)
    if values["cell_count"] > profile.cells.room:
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


def _told_by_device_info(frames: Iterable[Frame]) -> Profile | None:
    told = None
    for frame in frames:
        if frame.type is not FrameType.DEVICE_INFO:
            continue
        try:
            info = decode_device_info(frame)
            told = choose_profile(info.device_model, info.software_version)
        except ImplausibleFrameError, UnsupportedLayoutError:
            continue
    return told


def _layout_of_settings(frame: Frame) -> Layout:
    if JK04_SETTINGS_MARK.unpack_from(frame.data) == (1.0,):
        return Layout.JK04
    return Layout.JK02_32S if any(frame.data[SETTINGS_END]) else Layout.JK02_24S


def _with_layout(
    expected: Profile | None, layout: Layout, frames: Iterable[Frame]
) -> Profile:
    """Exchange the layout, or else tell the rest from the frames themselves."""
    if expected:
        return replace(expected, layout=layout)
    if layout is not Layout.JK02_32S:
        return Profile(layout)
    signs = (
        sign.since
        for frame in frames
        for sign in FIRMWARE_SIGNS
        if frame.type is sign.type and frame.data[sign.span] not in sign.idle
    )
    return Profile(layout, max(signs, default=OLDEST_32S))


def _proves(layout: Layout, frame: Frame) -> bool:
    """Tell whether cell data are surely of this layout."""
    slots = CELLS[layout]
    volts = slots.voltage.raw(frame.data)
    if not slots.pack_voltage:
        low, high = _LIVE_CELL
        return any(volts) and all(not volt or low <= volt <= high for volt in volts)
    (pack,) = slots.pack_voltage.unpack_from(frame.data)
    (difference,) = slots.voltage.convert_each((abs(sum(volts) - pack),))
    return (
        _row_of_cells(slots, frame) == sum(map(bool, volts)) > 0
        and difference < _CONFIRMED_WITHIN
    )


def _adds_up(slots: CellSlots, frame: Frame) -> bool:
    """Tell whether the cells make the pack, be one of them dead or left out."""
    if not slots.pack_voltage:
        return False
    (mask,) = slots.enabled.unpack_from(frame.data)
    (pack,) = slots.pack_voltage.unpack_from(frame.data)
    volts = slots.voltage.raw(frame.data)
    (difference,) = slots.voltage.convert_each((abs(sum(volts) - pack),))
    unused = (volt for cell, volt in enumerate(volts) if not mask >> cell & 1)
    return (
        mask.bit_length() <= slots.room
        and any(volts)
        and not any(unused)
        and difference < _CONFIRMED_WITHIN
    )


def _row_of_cells(slots: CellSlots, frame: Frame) -> int:
    """Return how many cells are enabled, 0 unless they are the first ones, no gap."""
    (mask,) = slots.enabled.unpack_from(frame.data)
    count: int = mask.bit_count()
    return count if count <= slots.room and mask == (1 << count) - 1 else 0


def _allows(expected: Profile, frame: Frame) -> bool:
    """Tell whether cell data make sense in the layout that the version told.

    Raises `ImplausibleFrameError` if it is that layout, but the values make none.
    """
    slots = expected.cells
    try:
        cell_data = decode_cell_data(frame, expected)
    except ImplausibleFrameError:
        # The mask alone tells little where no pack voltage could contradict
        if slots.pack_voltage and _row_of_cells(slots, frame):
            raise
        return False
    volts = slots.voltage.raw(frame.data)
    return bool(cell_data.cell_voltage) or not any(volts)


def _enabled_cells(data: bytes, slots: CellSlots) -> int:
    """Return the mask of enabled cells, cell 1 in its lowest bit."""
    mask: int
    (mask,) = slots.enabled.unpack_from(data)
    if mask.bit_length() > slots.room:
        raise ImplausibleFrameError("More cells are enabled than the layout has")
    if not slots.pack_voltage:
        # There the slots behind the last voltage are not used, whatever the mask claims
        volts = slots.voltage.raw(data)
        used = sum(1 << cell for cell, volt in enumerate(volts) if volt)
        return (mask or used) & ((1 << used.bit_length()) - 1)
    return mask


def _add_summary(draft: Any, slots: CellSlots, enabled: int) -> float:
    """Compute what the BMS sends as well, but up to a second late; return the sum."""
    if not enabled:
        return 0.0
    voltage = cells = draft.cell_voltage
    if has_gaps(enabled):
        cells = [volts for volts in voltage if volts is not None]
    low, high, total = min(cells), max(cells), fsum(cells)
    draft.average_cell_voltage = round(total / len(cells), slots.decimals)
    draft.delta_cell_voltage = round(high - low, slots.decimals)
    draft.min_cell_voltage = low
    draft.max_cell_voltage = high
    draft.min_cell = voltage.index(low) + 1
    draft.max_cell = voltage.index(high) + 1
    return total


def _power(voltage: float, current: float) -> float:
    """Return voltage x current in whole mW, the rest cut off as the BMS does."""
    return int(round(voltage * current * 1e6) / 1000) / 1000


def _add_temperatures(
    draft: Any,
    sensors: Sequence[int],
    mask: int | None,
    readings: Sequence[float | None],
) -> None:
    """Add what the sensors say that the device has, each with its bit in the mask.

    A cleared bit in the mask of sensors proves an absence, a set one proves nothing;
    the second pair is left out where neither of the two is connected.
    """
    absent = ~(mask or 0)
    if absent & MOSFET_SENSOR:
        draft.mosfet_temperature = None
    if absent & sum(sensors):
        readings = tuple(
            None if absent & bit else reading
            for bit, reading in zip(sensors, readings, strict=True)
        )
    is_pair = readings[2:] == (None, None)
    draft.battery_temperature = readings[:2] if is_pair else readings


def _check(cell_data: CellData, total: float) -> None:
    """Refuse what an 8-bit checksum let through (docs/protocol.md 13).

    `total` is the sum of the cells, V.
    """
    lowest, highest = cell_data.min_cell_voltage, cell_data.max_cell_voltage
    if lowest is not None and highest is not None:
        if not (lowest >= 0 and 0 < highest <= _LIVE_CELL[1]):
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
