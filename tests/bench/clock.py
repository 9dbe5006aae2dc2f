"""Virtual time for a whole Home Assistant: an hour takes only as long as its work.

Import this before anything that reads the time: most modules keep a reference to the function.
"""

from datetime import UTC, datetime, tzinfo
from functools import partial
import time
from typing import Final

import bluetooth_data_tools
import bluetooth_data_tools.time

from homeassistant.util import dt as dt_util
from tests.virtual_time import Clock, JumpingLoop

EPOCH: Final = datetime(2026, 11, 2, 8, tzinfo=UTC).timestamp()
_clock: Final = Clock(1000.0)
"""Starts as if the machine had been running for some minutes."""
_boot: Final = Clock(EPOCH)
"""The wall time at second 0 of it."""


def now() -> float:
    """Replace every monotonic clock."""
    return _clock.now


def set_time(timestamp: float) -> None:
    """Set the wall clock, in Unix s."""
    _boot.now = timestamp - _clock.now


def _time() -> float:
    return _boot.now + _clock.now


def _local(time_zone: tzinfo | None = None) -> datetime:
    return datetime.fromtimestamp(_time(), time_zone or dt_util.get_default_time_zone())


time.time = _time
time.monotonic = now
bluetooth_data_tools.monotonic_time_coarse = now
bluetooth_data_tools.time.monotonic_time_coarse = now
dt_util.utcnow = partial(_local, UTC)
dt_util.now = _local


class BenchLoop(JumpingLoop):
    """Follows real time until `jumps` is set."""

    def __init__(self) -> None:
        """Begin at the time of the shared clock."""
        super().__init__(_clock)
        self.jumps = False
        self.may_jump = lambda: self.jumps
