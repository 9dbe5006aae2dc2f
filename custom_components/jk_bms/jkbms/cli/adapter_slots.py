"""Chooses which battery to read next when there are more batteries than connection slots."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from typing import Final

from ..errors import NoFreeSlotError

_MAX_SLOTS: Final = 8
"""Maximum connections at a time; few adapters support more."""

type Rank = tuple[bool, float]
"""Whether it was never read, and when it last failed, in seconds; the lowest goes first."""


class AdapterSlots:
    """Grants the connection slots of an adapter, the lowest rank first.

    Only the adapter knows how many it has: each refused connection lowers the number of
    slots, and each use that ends otherwise raises it by one.
    """

    def __init__(self) -> None:
        """Start with all slots free."""
        self.active = 0
        """Slots in use."""
        self.ended = 0
        """Uses that have ended without being refused."""
        self._limit = _MAX_SLOTS
        self._waiting: list[tuple[Rank, int, asyncio.Future[None]]] = []
        self._numbers = count()

    @asynccontextmanager
    async def slot(self, rank: Rank) -> AsyncIterator[None]:
        """Wait for a slot and hold it; `NoFreeSlotError` in the body means it was refused."""
        if self.active < self._limit:
            self.active += 1
        else:
            await self._wait(rank)
        is_refused = False
        try:
            yield
        except NoFreeSlotError:
            is_refused = True
            raise
        finally:
            self.active -= 1
            self.ended += not is_refused
            limit = self.active if is_refused else self._limit + 1
            self._limit = max(1, min(limit, _MAX_SLOTS))
            self._grant()

    async def _wait(self, rank: Rank) -> None:
        granted = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (rank, next(self._numbers), granted))
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled():
                # Granted and cancelled at the same moment
                self.active -= 1
                self._grant()
            raise

    def _grant(self) -> None:
        while self._waiting and self.active < self._limit:
            _, _, granted = heappop(self._waiting)
            if not granted.done():
                self.active += 1
                granted.set_result(None)
