"""Advance a stopped clock (freezegun's `freezer.tick`, a loop with virtual time)."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

TURNS = 8
"""Loop turns per step: enough for a notification to pass a handful of awaits."""


async def pass_time(
    tick: Callable[[float], object], seconds: float, step: float = 0.05
) -> None:
    """Advance by `seconds` in steps, so that timers fire one after the other, as in real time."""
    for _ in range(round(seconds / step)):
        tick(step)
        for _ in range(TURNS):
            await asyncio.sleep(0)


async def finish[T](
    tick: Callable[[float], object],
    work: Coroutine[Any, Any, T],
    limit: float = 60.0,
    step: float = 0.05,
) -> T:
    """Advance time until `work` is done, at most `limit` seconds of it (then TimeoutError)."""
    task = asyncio.ensure_future(work)
    try:
        for _ in range(round(limit / step)):
            await pass_time(tick, step, step)
            if task.done():
                return task.result()
    finally:
        task.cancel()
    raise TimeoutError
