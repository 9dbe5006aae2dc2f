"""The last uses of the link to a battery, for the diagnostics."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bluetooth_data_tools import monotonic_time_coarse

from homeassistant.components import bluetooth
from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util

from .connection_paths import Path, async_forget_path, async_last_path
from .jkbms.errors import JkBmsError
from .jkbms.protocol.frames import FrameStatistics

# The number of attempts to keep. At the default interval they cover ten minutes, longer
# than it takes to open the diagnostics after noticing a problem.
MAX_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One use of the link."""

    started: datetime
    duration: float
    """Seconds."""
    outcome: str
    """`read`, the error, `cancelled`, or `in progress`."""
    frames: int
    """The number of valid frames received."""
    path: str | None
    """The adapter or proxy that was used, `None` if none could connect."""
    rssi: int | None
    """Signal strength at that adapter or proxy, else of the last advertisement, in dBm."""


class AttemptRecord:
    """Records each use of the link to one battery."""

    def __init__(
        self, hass: HomeAssistant, address: str, statistics: FrameStatistics
    ) -> None:
        """Start empty; `statistics` count the frames of the client."""
        self.last_seen: Path | None = None
        """The adapter or proxy that saw the battery last, and how strong its signal was."""
        self._hass = hass
        self._address = address
        self._statistics = statistics
        self._finished: deque[Attempt] = deque(maxlen=MAX_ATTEMPTS)
        self._current: Callable[[str], Attempt] | None = None

    def __iter__(self) -> Iterator[Attempt]:
        """Iterate over the attempts, oldest first; the last may be in progress."""
        yield from self._finished
        if self._current:
            yield self._current("in progress")

    @property
    def last(self) -> Attempt:
        """The last attempt that has finished."""
        return self._finished[-1]

    @contextmanager
    def record(self) -> Iterator[None]:
        """Record what happens within; errors pass through."""
        started, begin = dt_util.utcnow(), monotonic_time_coarse()
        frames = self._statistics.good
        seen = bluetooth.async_last_service_info(self._hass, self._address)
        if seen:
            self.last_seen = Path(seen.source, seen.rssi)
        async_forget_path(self._hass, self._address)

        def attempt(outcome: str) -> Attempt:
            path = async_last_path(self._hass, self._address)
            best = seen.rssi if seen else None
            return Attempt(
                started=started,
                duration=round(monotonic_time_coarse() - begin, 1),
                outcome=outcome,
                frames=self._statistics.good - frames,
                path=path.source if path else None,
                rssi=path.rssi if path else best,
            )

        self._current, outcome = attempt, "read"
        try:
            yield
        except JkBmsError as error:
            outcome = f"{type(error).__name__}: {error}"
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except Exception as error:
            outcome = repr(error)
            raise
        finally:
            self._current = None
            self._finished.append(attempt(outcome))
