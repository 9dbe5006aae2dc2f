"""The cell data of one link: which layout they confirm, and which of them to publish."""

import logging
from operator import attrgetter
from typing import Any, Final

from ..errors import (
    ImplausibleFrameError,
    ImplausibleValuesError,
    UnsupportedLayoutError,
)
from ..models import CellData, DeviceInfo, LiveData
from ..protocol.decode import (
    INVALID_FRAMES,
    LastingFaults,
    decode_cell_data,
    decode_live,
)
from ..protocol.detect import confirm_profile
from ..protocol.frames import Frame
from ..protocol.profile import STATE_FIELDS, Profile, choose_profile
from .memory import Memory

_LOGGER = logging.getLogger(__name__)

_BLANK_FRAMES: Final = 2
"""Frames in a row without any cell that are skipped; the next one is accepted."""
_MEASURED: Final = frozenset({"battery_voltage", "battery_current"})
"""What the power is computed from."""
_STATES: Final = attrgetter(*STATE_FIELDS)


class CellDecoder:
    """Decodes the cell data of one link and rejects implausible frames.

    Each accepted reading resets the counters.
    """

    def __init__(self, name: str, memory: Memory) -> None:
        """`name` is for the log."""
        self._name = name
        self._memory = memory
        self._expected: Profile | None = None
        """Profile that the device information implies, if any."""
        self.profile: Profile | None = None
        """Profile that the cell data confirmed; set with the first reading."""
        self._states: tuple[Any, ...] = ()
        """The `_STATES` of the last reading."""
        self._raw_states: tuple[Any, ...] = ()
        """Raw values of these states in a frame, once one was decoded."""
        self._expects_cells = True
        """Whether cell data without cells would be unexpected."""
        self._invalid = self._blank = 0
        """Rejected frames since the last reading."""
        self._faults = LastingFaults()

    def expect(self, info: DeviceInfo) -> None:
        """Expect the layout that this implies; if it implies none, the data decide."""
        try:
            self._expected = choose_profile(info.device_model, info.software_version)
        except UnsupportedLayoutError:
            self._expected = None

    def live(self, frame: Frame) -> LiveData:
        """Return the live values of cell data, once a layout is confirmed.

        Those that are impossible in the last reading are not counted either.
        """
        assert self.profile
        if not _MEASURED.isdisjoint(self._memory.left_out):
            return LiveData()
        return decode_live(frame, self.profile)

    def has_new_states(self, frame: Frame) -> bool:
        """Return whether an alarm or a switch differs from that of the last reading."""
        assert self.profile
        # Compare raw values, so that most frames need not be decoded
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
        """Accept cell data that have passed all other checks as the last reading."""
        if not self.profile and profile != self._expected:
            _LOGGER.debug("%s: the data are %s", self._name, profile.layout)
        self.profile = profile
        self._expects_cells = bool(cell_data.cell_voltage)
        self._memory.left_out = cell_data.implausible
        self._states, self._raw_states = _STATES(cell_data), ()
        self._invalid = self._blank = 0

    def _decode(self, frame: Frame) -> tuple[Profile, CellData]:
        """Decode cell data; impossible values are left out and named."""
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

        Raises `ImplausibleFrameError` if they differ from frame to frame: that points to
        a bad link, not to a failed sensor.
        """
        if self._faults.may_leave_out(names, self._memory.left_out):
            return True
        self._memory.statistics.rejected += 1
        self._invalid += 1
        if self._invalid >= INVALID_FRAMES and not self._faults.repeat:
            raise ImplausibleFrameError("Each frame has other impossible values")
        return False
