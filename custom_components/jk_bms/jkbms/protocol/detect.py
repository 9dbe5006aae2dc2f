"""Detects the layout from the data (docs/protocol.md 6.2)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from ..errors import ImplausibleFrameError, UnsupportedLayoutError
from ..models import Layout
from .decode import LIVE_CELL, decode_cell_data, decode_device_info, require_values
from .fields import CellSlots
from .frames import Frame, FrameType
from .layouts import CELLS, FIRMWARE_SIGNS, JK04_SETTINGS_MARK, OLDEST_32S, SETTINGS_END
from .profile import Profile, choose_profile

_CONFIRMED_WITHIN: Final = 0.5
"""Maximum volts between the sum of the cells and the pack voltage that confirm a layout."""


def confirm_profile(frame: Frame, expected: Profile | None = None) -> Profile:
    """Confirm or correct the layout by cell data (docs/protocol.md 6.2).

    Data take precedence over the version. Without device information, the oldest
    firmware that the frame allows is assumed. Raises `UnsupportedLayoutError` if no
    layout fits, and `ImplausibleFrameError` if the expected layout fits but the values
    are impossible, or if all of them are 0.
    """
    require_values(frame)
    if expected and _proves(expected.layout, frame):
        return expected
    for layout in Layout:
        if _proves(layout, frame):
            return _with_layout(expected, layout, [frame])
    # A dead cell, or no cell at all, neither confirms nor contradicts the layout
    if expected and _allows(expected, frame):
        return expected
    for layout, slots in CELLS.items():
        if not expected and _adds_up(slots, frame):
            return _with_layout(None, layout, [frame])
    raise UnsupportedLayoutError("The cell data fit no known layout")


def find_profile(frames: Iterable[Frame], layout: Layout | None = None) -> Profile:
    """Find the profile of the one device that all these frames come from.

    Device information decides and cell data confirm; settings alone are enough. Raises
    `UnsupportedLayoutError` if the frames give no layout or contradict it, unless the
    layout is given.
    """
    frames = tuple(frames)
    expected = _proposed_by_device_info(frames)
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
    proposed = expected and expected.layout
    for frame in settings:
        if not proposed or (_layout_of_settings(frame) is Layout.JK04):
            return _layout_of_settings(frame)
    if proposed:
        return proposed
    raise UnsupportedLayoutError("No frame gives the layout")


def _proposed_by_device_info(frames: Iterable[Frame]) -> Profile | None:
    proposed = None
    for frame in frames:
        if frame.type is not FrameType.DEVICE_INFO:
            continue
        try:
            info = decode_device_info(frame)
            proposed = choose_profile(info.device_model, info.software_version)
        except ImplausibleFrameError, UnsupportedLayoutError:
            continue
    return proposed


def _layout_of_settings(frame: Frame) -> Layout:
    if JK04_SETTINGS_MARK.unpack_from(frame.data) == (1.0,):
        return Layout.JK04
    return Layout.JK02_32S if any(frame.data[SETTINGS_END]) else Layout.JK02_24S


def _with_layout(
    expected: Profile | None, layout: Layout, frames: Iterable[Frame]
) -> Profile:
    """Replace the layout, or else derive the rest from the frames."""
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
    """Return whether cell data certainly have this layout."""
    slots = CELLS[layout]
    volts = slots.voltage.raw(frame.data)
    if not slots.pack_voltage:
        low, high = LIVE_CELL
        return any(volts) and all(not volt or low <= volt <= high for volt in volts)
    (pack,) = slots.pack_voltage.unpack_from(frame.data)
    (difference,) = slots.voltage.convert_each((abs(sum(volts) - pack),))
    return (
        _row_of_cells(slots, frame) == sum(map(bool, volts)) > 0
        and difference < _CONFIRMED_WITHIN
    )


def _adds_up(slots: CellSlots, frame: Frame) -> bool:
    """Return whether the cells add up to the pack, even if one is dead or left out."""
    if not slots.pack_voltage:
        return False
    (mask,) = slots.enabled.unpack_from(frame.data)
    (pack,) = slots.pack_voltage.unpack_from(frame.data)
    volts = slots.voltage.raw(frame.data)
    (difference,) = slots.voltage.convert_each((abs(sum(volts) - pack),))
    unused = (volt for cell, volt in enumerate(volts) if not mask >> cell & 1)
    return (
        mask.bit_length() <= slots.voltage.room
        and any(volts)
        and not any(unused)
        and difference < _CONFIRMED_WITHIN
    )


def _row_of_cells(slots: CellSlots, frame: Frame) -> int:
    """Return the number of enabled cells, 0 unless they are the first ones without a gap."""
    (mask,) = slots.enabled.unpack_from(frame.data)
    count: int = mask.bit_count()
    return count if count <= slots.voltage.room and mask == (1 << count) - 1 else 0


def _allows(expected: Profile, frame: Frame) -> bool:
    """Return whether cell data make sense in the layout that the version proposes.

    Raises `ImplausibleFrameError` if the layout fits but the values make no sense.
    """
    slots = expected.cells
    try:
        cell_data = decode_cell_data(frame, expected)
    except ImplausibleFrameError:
        # Without a pack voltage to check against, the mask alone confirms little
        if slots.pack_voltage and _row_of_cells(slots, frame):
            raise
        return False
    volts = slots.voltage.raw(frame.data)
    return bool(cell_data.cell_voltage) or not any(volts)
