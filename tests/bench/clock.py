"""Time that jumps, for a whole Home Assistant: an hour in it takes as long as the work of an hour.

Import this before anything that asks what time it is, as most modules keep the function they ask.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime, tzinfo
from functools import partial
import selectors
import time
from typing import Any, Final, override

import bluetooth_data_tools
import bluetooth_data_tools.time

from homeassistant.util import dt as dt_util

EPOCH: Final = datetime(2026, 11, 2, 8, tzinfo=UTC).timestamp()
_real_time: Final = time.monotonic
_now = 1000.0
"""s since the machine would have been switched on."""


def now() -> float:
    """Stand in for every clock that only goes forward."""
    return _now


def _time() -> float:
    return EPOCH + _now


def _local(time_zone: tzinfo | None = None) -> datetime:
    return datetime.fromtimestamp(_time(), time_zone or dt_util.get_default_time_zone())


time.time = _time
time.monotonic = now
bluetooth_data_tools.monotonic_time_coarse = now
bluetooth_data_tools.time.monotonic_time_coarse = now
dt_util.utcnow = partial(_local, UTC)
dt_util.now = _local


class JumpingLoop(asyncio.SelectorEventLoop):
    """Goes with the world's time until it is told to jump to whatever is due next.

    It never jumps over what other threads are still at: a job of an executor, or what
    `is_busy` knows of.
    """

    def __init__(self) -> None:
        """Begin in the world's time."""
        self.jumps = False
        self.is_busy: Callable[[], bool] = lambda: False
        self._jobs = 0
        self._scheduled: list[asyncio.TimerHandle]
        super().__init__(_Selector(self))

    @override
    def time(self) -> float:
        return _now

    @override
    def run_in_executor[*Ts, T](
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        job = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        job.add_done_callback(self._job_is_done)
        return job

    def _job_is_done(self, _: asyncio.Future[Any]) -> None:
        self._jobs -= 1

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """What is still to happen."""
        return [timer for timer in self._scheduled if not timer.cancelled()]

    @property
    def waits_for_others(self) -> bool:
        """Whether another thread may soon have something to say."""
        return bool(self._jobs) or self.is_busy()


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    @override
    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        global _now  # noqa: PLW0603 - there is one time
        if not self._loop.jumps:
            began = _real_time()
            ready = super().select(timeout)
            _now += _real_time() - began
            return ready
        ready = super().select(0)
        while timeout != 0 and not ready and self._loop.waits_for_others:
            ready = super().select(0.001)
        if timeout and not ready:
            # Adding the timeout up would miss the moment by a rounding error
            _now = max(_now, self._loop._scheduled[0].when())
        return ready
