"""An event loop in which waiting takes no time: its clock jumps to the next timer."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
import selectors
import time
from typing import Any, Final, override

_real_time: Final = time.monotonic


@dataclass(slots=True)
class Clock:
    """The time of one or more loops."""

    now: float = 0.0
    """s since an arbitrary start."""


class JumpingLoop(asyncio.SelectorEventLoop):
    """Time passes only while nothing is left to do, and then at once.

    It stands still for what other threads are at: a job of an executor, or what `is_busy`
    knows of. Where it `may_jump` not, waiting takes the world's time.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        """Begin at the time of the clock."""
        self.is_busy: Callable[[], bool] = lambda: False
        self.may_jump: Callable[[], bool] = lambda: True
        self.clock = clock or Clock()
        self.jobs = 0
        """Number of unfinished executor jobs."""
        self._scheduled: list[asyncio.TimerHandle]
        super().__init__(_Selector(self))

    @override
    def time(self) -> float:
        return self.clock.now

    @override
    def run_in_executor[*Ts, T](
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        job = super().run_in_executor(executor, func, *args)
        self.jobs += 1
        job.add_done_callback(self._job_is_done)
        return job

    def _job_is_done(self, _: asyncio.Future[Any]) -> None:
        self.jobs -= 1

    @override
    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        self.jobs += 1
        try:
            await super().shutdown_default_executor(timeout)
        finally:
            self.jobs -= 1

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """Timers that are still due."""
        return [timer for timer in self._scheduled if not timer.cancelled()]


class _Selector(selectors.DefaultSelector):
    """Jumps to the next timer when the loop would wait for it."""

    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    @override
    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        loop = self._loop
        if not loop.may_jump():
            began = _real_time()
            ready = super().select(timeout)
            loop.clock.now += _real_time() - began
            return ready
        while not ready and (loop.jobs or loop.is_busy()):
            # A job wakes the loop when it is done; looking meanwhile costs time of the loop
            ready = super().select(None if loop.jobs else 0.001)
        if not ready:
            if timeout is None:
                raise RuntimeError("No timer is left: the test hangs")
            # Adding the timeout would miss the timer by a rounding error
            loop.clock.now = max(loop.time(), loop._scheduled[0].when())
        return ready


class VirtualTimeLoop(JumpingLoop):
    """Records unhandled errors instead of logging them.

    Use it for code that needs no other input or output: `asyncio.Runner(loop_factory=VirtualTimeLoop)`.
    """

    def __init__(self) -> None:
        """Begin at second 0."""
        super().__init__()
        self.mishaps: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.mishaps.append(context))
