"""The serial line behind the radio: one transmission after the other, cut into notifications."""

import asyncio
from collections import deque
from collections.abc import Callable

from .frames import AT_LINE
from .gatt import Variant, chunks


class Line:
    """Queues transmissions and hands out notifications in order and in time."""

    def __init__(
        self,
        variant: Variant,
        emit: Callable[[bytes], None],
        *,
        gap: float,
        at_interval: float | None,
        preload: bytes = b"",
    ) -> None:
        """`gap` s between notifications; `at_interval` s of silence before an AT line, None for never."""
        self._variant = variant
        self._emit = emit
        self._gap = gap
        self._at_interval = at_interval
        self._loop = asyncio.get_running_loop()
        self._free_at = self._loop.time()
        # Chunks are sent in this order even if a test fires all timers at once.
        self._waiting: deque[bytes] = deque()
        self._timers: set[asyncio.TimerHandle] = set()
        self._at_timer: asyncio.TimerHandle | None = None
        # A module that splits by count still holds the rest of the last session.
        self._rest = preload if variant.stream else b""
        self._closed = False
        self._arm_at()

    @property
    def free_at(self) -> float:
        """Loop time at which the line will be silent."""
        return max(self._loop.time(), self._free_at)

    def send(self, data: bytes) -> float:
        """Queue one transmission; returns the loop time of its last notification."""
        at = self.free_at
        for chunk in self._cut(data):
            self._later(at, chunk)
            at += self._gap
        self._free_at = at
        self._arm_at()
        return at - self._gap

    def close(self) -> None:
        """Discard everything not yet sent."""
        self._closed = True
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._at_timer:
            self._at_timer.cancel()

    def _cut(self, data: bytes) -> list[bytes]:
        if not self._variant.stream:
            return chunks(self._variant, data)
        size = self._variant.chunk
        data = self._rest + data
        whole = len(data) // size * size
        self._rest = data[whole:]
        return [data[i : i + size] for i in range(0, whole, size)]

    def _later(self, at: float, chunk: bytes) -> None:
        def out() -> None:
            self._timers.discard(timer)
            self._emit(self._waiting.popleft())

        self._waiting.append(chunk)
        timer = self._loop.call_at(at, out)
        self._timers.add(timer)

    def _arm_at(self) -> None:
        """Send AT to the radio module whenever the line has been idle for a while."""
        if self._at_interval is None or self._closed:
            return
        if self._at_timer:
            self._at_timer.cancel()
        self._at_timer = self._loop.call_at(
            self.free_at + self._at_interval, self._say_at
        )

    def _say_at(self) -> None:
        self.send(AT_LINE)
