"""The cell data of one link: which layout they prove, and which of them to publish."""

import logging
from operator import attrgetter
from typing import Any, Final

from ..errors import (
    ImplausibleFrameError,
    ImplausibleValuesError,
    UnsupportedLayoutError,
)
from ..models import CellData, DeviceInfo, LiveData
from ..protocol.decode import INVALID_FRAMES, decode_cell_data, decode_live
from ..protocol.detect import confirm_profile
from ..protocol.frames import Frame
from ..protocol.profile import STATE_FIELDS, Profile, choose_profile
from .memory import Memory

_LOGGER = logging.getLogger(__name__)

_BLANK_FRAMES: Final = 2
"""Cell data in a row without any cell that are skipped; the next one is believed."""
_STATES: Final = attrgetter(*STATE_FIELDS)


class CellDecoder:
    """Decodes the cell data of one link, and rejects what makes no sense.

    It starts anew with each reading that is believed.
    """

    def __init__(self, name: str, memory: Memory) -> None:
        """`name` is for the log."""
        self._name = name
        self._memory = memory
        self._expected: Profile | None = None
        """What the device information implies, if anything."""
        self.profile: Profile | None = None
        """What the cell data confirmed; set with the first reading."""
        self._states: tuple[Any, ...] = ()
        """The `_STATES` of the last reading."""
        self._raw_states: tuple[Any, ...] = ()
        """What a frame with these states has in their places, once one was decoded."""
        self._expects_cells = True
        """Whether cell data without cells are a surprise."""
        self._invalid = self._alike = self._blank = 0
        """Frames since the last reading; `_alike` are impossible in `_suspects`."""
        self._suspects: tuple[str, ...] = ()

    def expect(self, info: DeviceInfo) -> None:
        """Take the layout that this implies; where it implies none, the data decide."""
        try:
            self._expected = choose_profile(info.device_model, info.software_version)
        except UnsupportedLayoutError:
            self._expected = None

    def live(self, frame: Frame) -> LiveData:
        """Return the live values of cell data, once a layout is confirmed."""
        assert self.profile
        return decode_live(frame, self.profile)

    def has_new_states(self, frame: Frame) -> bool:
        """Return whether an alarm or a switch differs from that of the last reading."""
        assert self.profile
        # Compared as they are sent, most frames need not be decoded
        raw = self.profile.states.raw(frame.data)
        if raw == self._raw_states:
            return False
        if self.profile.states.values(frame.data) != self._states:
            return True
        self._raw_states = raw
        return False

    def decode(self, frame: Frame, time: float) -> tuple[Profile, CellData] | None:
        """Decode cell data; `None` means to wait for the next frame.

        Raises `ImplausibleFrameError` or `UnsupportedLayoutError` with the third
        frame in a row that is rejected.
        """
        try:
            profile, cell_data = self._decode(frame)
        except ImplausibleFrameError, UnsupportedLayoutError:
            self._memory.statistics.rejected += 1
            self._invalid += 1
            if self._invalid < INVALID_FRAMES:
                return None
            raise
        if not self._may_leave_out(cell_data.implausible):
            return None
        is_blank = self._expects_cells and not cell_data.cell_voltage
        if is_blank and self._blank < _BLANK_FRAMES:
            self._memory.checker.note(frame, profile, time)
            self._blank += 1
            return None
        return profile, cell_data

    def believe(self, profile: Profile, cell_data: CellData) -> None:
        """Take cell data that all other checks have passed as the last reading."""
        if not self.profile and profile != self._expected:
            _LOGGER.debug("%s: the data are %s", self._name, profile.layout)
        self.profile = profile
        self._expects_cells = bool(cell_data.cell_voltage)
        self._memory.left_out = cell_data.implausible
        self._states, self._raw_states = _STATES(cell_data), ()
        self._invalid = self._alike = self._blank = 0
        self._suspects = ()

    def _decode(self, frame: Frame) -> tuple[Profile, CellData]:
        """Decode cell data; what is impossible in them is left out and named."""
        profile = self.profile or self._expected
        try:
            if not self.profile:
                profile = confirm_profile(frame, self._expected)
            assert profile
            return profile, decode_cell_data(frame, profile)
        except ImplausibleValuesError as err:
            assert profile
            return profile, err.cell_data

    def _may_leave_out(self, names: tuple[str, ...]) -> bool:
        """Return whether these values have been impossible long enough.

        Raises `ImplausibleFrameError` if it is others in each frame: then no sensor
        fails, but the link.
        """
        if not names or names == self._memory.left_out:
            return True
        self._alike = self._alike + 1 if names == self._suspects else 1
        self._suspects = names
        self._invalid += 1
        if self._alike >= INVALID_FRAMES:
            return True
        self._memory.statistics.rejected += 1
        if self._invalid >= INVALID_FRAMES and self._alike == 1:
            raise ImplausibleFrameError("Each frame has other impossible values")
        return False
