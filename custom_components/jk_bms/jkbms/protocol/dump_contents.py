"""Decode all frames of a dump, by section."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from ..errors import (
    ImplausibleFrameError,
    ImplausibleValuesError,
    UnsupportedLayoutError,
)
from ..models import DeviceInfo, Layout, masked
from .decode import (
    LastingFaults,
    decode_cell_data,
    decode_detail_log,
    decode_device_info,
    decode_logbook,
    decode_settings,
)
from .detect import find_profile
from .frames import Frame, FrameType
from .profile import Profile

SECTIONS: Final = {
    FrameType.DEVICE_INFO: "device_info",
    FrameType.CELL_DATA: "cell_data",
    FrameType.SETTINGS: "settings",
    FrameType.LOGBOOK: "logbook",
    FrameType.DETAIL_LOG: "detail_log",
}

_DECODE: Final[dict[FrameType, Callable[[Frame], Any]]] = {
    FrameType.DEVICE_INFO: decode_device_info,
    FrameType.LOGBOOK: decode_logbook,
    FrameType.DETAIL_LOG: decode_detail_log,
}
_DECODE_WITH_PROFILE: Final[dict[FrameType, Callable[[Frame, Profile], Any]]] = {
    FrameType.CELL_DATA: decode_cell_data,
    FrameType.SETTINGS: decode_settings,
}


class Rejection(NamedTuple):
    """A frame with a good checksum and bad values."""

    number: int
    """Number of the frame among all frames, from 0."""
    text: str


@dataclass(frozen=True, slots=True)
class Contents:
    """The models of all frames of one battery."""

    sections: dict[str, list[Any]]
    """Models in the order of the frames, by every name in `SECTIONS`."""
    layout: Layout | None
    """`None` if the frames confirm none."""
    rejected: tuple[Rejection, ...]
    layout_error: UnsupportedLayoutError | None
    """Why cell data or settings could not be decoded."""

    def newest(self) -> Contents:
        """Keep the last model of each section; all frames of the detail log are one log."""
        records = {
            record.index: record
            for part in self.sections["detail_log"]
            for record in part
        }
        newest = {name: models[-1:] for name, models in self.sections.items()}
        if records:
            newest["detail_log"] = [[records[index] for index in sorted(records)]]
        return replace(self, sections=newest)


def decode_all(
    frames: Iterable[Frame], *, layout: Layout | None = None, secrets: bool = False
) -> Contents:
    """Decode frames of one battery, with its passcodes masked unless `secrets`.

    The layout is detected unless it is given (docs/protocol.md 6.2). Cell data with
    impossible values are rejected until these have lasted, then decoded without them.
    Raises nothing.
    """
    frames = [*frames]
    profile, layout_error = None, None
    try:
        profile = find_profile(frames, layout)
    except UnsupportedLayoutError as err:
        if any(frame.type in _DECODE_WITH_PROFILE for frame in frames):
            layout_error = err
    sections: dict[str, list[Any]] = {name: [] for name in SECTIONS.values()}
    rejected = []
    faults = LastingFaults()
    for number, frame in enumerate(frames):
        try:
            if decode := _DECODE.get(frame.type):
                model = decode(frame)
            elif profile:
                model = _DECODE_WITH_PROFILE[frame.type](frame, profile)
            else:
                continue
            if frame.type is FrameType.CELL_DATA:
                faults.may_leave_out(())
        except ImplausibleValuesError as err:
            model = err.cell_data
            if not faults.may_leave_out(model.implausible):
                rejected.append(_rejection(number, frame, err))
                continue
        except ImplausibleFrameError as err:
            rejected.append(_rejection(number, frame, err))
            continue
        if isinstance(model, DeviceInfo) and not secrets:
            model = masked(model)
        sections[SECTIONS[frame.type]].append(model)
    return Contents(
        sections, profile.layout if profile else None, tuple(rejected), layout_error
    )


def _rejection(number: int, frame: Frame, err: ImplausibleFrameError) -> Rejection:
    return Rejection(number, f"{frame.type.name.lower()} frame rejected: {err}")
