"""An event loop in which waiting takes no time: its clock jumps to whatever is due next."""

import asyncio
import selectors
from typing import Any, override


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Time passes only here, and only when nothing is left to do at the present moment.

    Use it for what has no other business with the world: `asyncio.Runner(loop_factory=VirtualTimeLoop)`.
    """

    def __init__(self) -> None:
        """Begin at second 0."""
        self.now = 0.0
        self.mishaps: list[dict[str, Any]] = []
        """What would have been logged as an unhandled error."""
        super().__init__(_JumpingSelector(self))
        self.set_exception_handler(lambda _, context: self.mishaps.append(context))

    @override
    def time(self) -> float:
        return self.now

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """What is still to happen."""
        return [timer for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]


class _JumpingSelector(selectors.DefaultSelector):
    """The loop asks it to wait for the next timer: then is now."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    @override
    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if timeout is None and not ready:
            raise RuntimeError("Nothing will ever happen again: the test hangs")
        if timeout and not ready:
            # Adding the timeout up would miss the moment by a rounding error.
            self._loop.now = self._loop._scheduled[0].when()  # type: ignore[attr-defined]
        return ready
