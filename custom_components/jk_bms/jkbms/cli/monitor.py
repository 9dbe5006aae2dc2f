"""Read many batteries side by side, once or again and again."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
import logging
from math import inf
from time import time
from typing import Any, Final

from ..bluetooth.client import READ_DEADLINE, JkBmsClient
from ..bluetooth.scanner import Heard, Scan, not_heard
from ..bluetooth.session import ANSWER_TIMEOUT
from ..errors import (
    JkBmsError,
    LinkError,
    NoBluetoothError,
    NoFreeSlotError,
    NotReachableError,
)
from ..models import Reading
from .advice import explain

_LOGGER = logging.getLogger(__name__)

SCAN_TIMEOUT: Final = 30.0
"""s until whoever is not heard is not waited for."""
_RETRY: Final = 3.0
"""s until a link that is to be held, or a full adapter, is tried again."""
_FORGOTTEN: Final = 86400.0
"""s until a battery that nobody asked for is forgotten if it is not heard again.

Whoever waits for `up 0` of a battery of one's own has a day to see it.
"""
_MISSED: Final = 3
"""Readings that a battery may miss until its values are too old, whatever hangs."""
_ANSWERS: Final = READ_DEADLINE / ANSWER_TIMEOUT
"""So many answers must have time within one reading."""


@dataclass(slots=True, eq=False)
class Battery:
    """One battery that was asked for or found, and what is known of it."""

    asked: str = ""
    """The name or address that it was asked for by; empty if it was just found."""
    heard: Heard | None = None
    """Where it was heard last."""
    heard_at: float = -inf
    """When, by the clock of the loop, s."""
    client: JkBmsClient | None = None
    """Since it was first heard."""
    reading: Reading | None = None
    """The latest that came."""
    read_at: float | None = None
    """Unix time of the reading, s."""
    good_until: float = inf
    """When the reading is too old, by the clock of the loop, s."""
    error: JkBmsError | None = None
    """Why the latest attempt brought no reading."""

    @property
    def name(self) -> str:
        """What it was asked for by, or else its own name or its address."""
        return self.asked or (self.heard and self.heard.name) or self.sought

    @property
    def sought(self) -> str:
        """The name or address to look for."""
        if self.asked:
            return self.asked
        assert self.heard
        return self.heard.address

    @property
    def up(self) -> bool:
        """Whether it answered the latest attempt, and not too long ago."""
        return not self.error and asyncio.get_running_loop().time() < self.good_until


class Survey:
    """The batteries asked for, or all that are found, and how to read them."""

    def __init__(
        self,
        asked: Sequence[str] = (),
        *,
        adapter: str | None = None,
        scan_timeout: float = SCAN_TIMEOUT,
        answer_timeout: float = ANSWER_TIMEOUT,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        """Expect batteries by name or address; none asked for is every battery.

        `on_news` is called when something about a battery has changed.
        """
        self.batteries = [Battery(name) for name in asked]
        """In the order asked for, else in the order found."""
        self.scan_timeout = scan_timeout
        self.on_news = on_news
        self.asked = asked
        self._adapter = adapter
        self._answer_timeout = answer_timeout
        self._deadline = max(READ_DEADLINE, answer_timeout * _ANSWERS)
        # By address: one battery may be asked for by its name and its address
        self._clients: dict[str, JkBmsClient] = {}
        self._heard: dict[str, Heard] = {}
        self._silent: set[Battery] = set()
        self._max_age = inf
        self.no_bluetooth: NoBluetoothError | None = None
        """Why nothing can be read at the moment, while it is read on and on."""

    def named(self) -> list[tuple[str, Battery]]:
        """Return each with a name that no other has, by which it is known elsewhere.

        That is what it was first asked for by, whatever is heard of it later. Of one
        that was found it is its own name, or its address where another has that name.
        """
        shared = Counter(battery.name for battery in self.batteries)
        by_address: dict[str, str] = {}
        named = []
        for battery in self.batteries:
            name = battery.name
            if battery.heard:
                address = battery.heard.address
                if shared[name] > 1:
                    name = address
                name = by_address.setdefault(address, name)
            named.append((name, battery))
        return named

    async def read(self) -> None:
        """Find and read each battery once; whoever fails keeps the error.

        The first are read while others are looked for. Raises `NoBluetoothError`.
        """
        await self.find_each(self._read)
        before = len(self.batteries)
        while 0 < len(crowded := self._crowded()) < before:
            before = len(crowded)
            async with asyncio.TaskGroup() as readings:
                for battery in crowded:
                    readings.create_task(self._read(battery))

    async def require_bluetooth(self) -> None:
        """Raise `NoBluetoothError` if there is none."""
        async with Scan(self._adapter):
            pass

    async def read_on(self, interval: float) -> None:
        """Read each every `interval` s, whatever the others do, for ever.

        Who is lost is logged. Bluetooth may come and go, and is waited for. One that nobody
        asked for and that is not heard for long is forgotten.
        """
        self._max_age = _MISSED * interval + self._deadline
        scan = Scan(self._adapter)
        async with asyncio.TaskGroup() as readings:

            def found(battery: Battery) -> None:
                readings.create_task(self._read_on(battery, scan, interval))

            for battery in self.batteries:
                found(battery)
            if not self.asked:
                await self._look_on(scan, interval, found)

    async def _look_on(
        self, scan: Scan, interval: float, found: Callable[[Battery], None]
    ) -> None:
        """Look for other batteries every `interval` s, for ever."""
        times = ticks(interval)
        while True:
            await anext(times)
            with suppress(NoBluetoothError):
                async with self._listening(scan):
                    async for heard in scan.batteries(self.scan_timeout):
                        if not any(b.sought == heard.address for b in self.batteries):
                            battery = Battery(heard=heard)
                            self.batteries.append(battery)
                            self._meet(battery, heard)
                            found(battery)

    @asynccontextmanager
    async def _listening(self, scan: Scan) -> AsyncIterator[None]:
        """Listen; log once that there is no Bluetooth and that it is back."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(scan)
            except NoBluetoothError as err:
                if not self.no_bluetooth:
                    _LOGGER.warning("Bluetooth fails, and is tried again: %s", err)
                self.no_bluetooth = err
                raise
            if self.no_bluetooth:
                _LOGGER.warning("Bluetooth works again")
                self.no_bluetooth = None
            yield

    async def _read_on(self, battery: Battery, scan: Scan, interval: float) -> None:
        async for due in ticks(interval):
            try:
                reading = await self._read_in_turn(battery, scan, due + interval)
            except JkBmsError as err:
                self._fail(battery, err)
            else:
                self._succeed(battery, reading)
            self._tell(battery)
            if not self.asked and self._is_gone(battery):
                self._forget(battery)
                return

    def _is_gone(self, battery: Battery) -> bool:
        """Tell whether it was not heard for long, though others might have been."""
        now = asyncio.get_running_loop().time()
        is_unheard = isinstance(battery.error, NotReachableError)
        return is_unheard and now - battery.heard_at > _FORGOTTEN

    def _forget(self, battery: Battery) -> None:
        """Leave nothing of it, so that it will be new if it ever comes back."""
        self.batteries.remove(battery)
        self._silent.discard(battery)
        del self._clients[battery.sought], self._heard[battery.sought]
        hours = _FORGOTTEN / 3600
        _LOGGER.warning("%s is forgotten: not heard for %g h", battery.name, hours)

    async def _read_in_turn(
        self, battery: Battery, scan: Scan, until: float
    ) -> Reading:
        """Find and read it; as long as others have all connections, wait for one."""
        clock = asyncio.get_running_loop().time
        while True:
            async with self._listening(scan):
                heard = await scan.find(battery.sought, self.scan_timeout)
            client = self._meet(battery, heard)
            try:
                return await client.read(deadline=self._deadline)
            except NoFreeSlotError:
                if clock() + _RETRY >= until:
                    raise
            await asyncio.sleep(_RETRY)

    async def follow(self, interval: float) -> None:
        """Hold a link to each battery and read every `interval` s, for ever.

        Raises `NoBluetoothError` if there is none at the beginning.
        """
        await self.require_bluetooth()
        scan = Scan(self._adapter)
        async with asyncio.TaskGroup() as links:
            for battery in self.batteries:
                links.create_task(self._follow(battery, scan, interval))
            if not self.asked:
                async with scan:
                    async for heard in scan.batteries(self.scan_timeout):
                        battery = Battery(heard=heard)
                        self.batteries.append(battery)
                        links.create_task(self._follow(battery, scan, interval))

    async def _follow(self, battery: Battery, scan: Scan, interval: float) -> None:
        while True:
            try:
                async with scan:
                    heard = await scan.find(battery.sought, self.scan_timeout)
                client = self._meet(battery, heard)
                await client.hold(
                    partial(self._succeed, battery),
                    interval=interval,
                    deadline=self._deadline,
                )
            except JkBmsError as err:
                self._fail(battery, err)
                await asyncio.sleep(_RETRY)

    async def find_each(
        self, use: Callable[[Battery], Coroutine[Any, Any, None]]
    ) -> None:
        """Look for the batteries, and use each as soon as it is found.

        Returns when all are used; raises `NoBluetoothError`.
        """
        async with AsyncExitStack() as scanning:
            scan = await scanning.enter_async_context(Scan(self._adapter))
            async with asyncio.TaskGroup() as uses:

                def found(battery: Battery, heard: Heard) -> None:
                    self._meet(battery, heard)
                    uses.create_task(use(battery))

                async with asyncio.TaskGroup() as searches:
                    if not self.asked:
                        searches.create_task(self._find_all(scan, found))
                    else:
                        for battery in self.batteries:
                            searches.create_task(self._find(scan, battery, found))
                await scanning.aclose()

    async def _find(
        self, scan: Scan, battery: Battery, found: Callable[[Battery, Heard], None]
    ) -> None:
        try:
            heard = await scan.find(battery.asked, self.scan_timeout)
        except LinkError as err:
            self._fail(battery, err)
        else:
            found(battery, heard)

    async def _find_all(
        self, scan: Scan, found: Callable[[Battery, Heard], None]
    ) -> None:
        missing = {b.heard.address: b for b in self.batteries if b.heard}
        async for heard in scan.batteries(self.scan_timeout):
            battery = missing.pop(heard.address, None)
            if not battery:
                battery = Battery(heard=heard)
                self.batteries.append(battery)
            found(battery, heard)
        for battery in missing.values():
            self._fail(battery, not_heard(self.scan_timeout))

    def _meet(self, battery: Battery, heard: Heard) -> JkBmsClient:
        address = heard.address
        # Not every scan hears the name, and a label must not come and go
        if not heard.name and (before := self._heard.get(address)):
            heard.name = before.name
        self._heard[address] = heard
        if address not in self._clients:
            self._clients[address] = JkBmsClient(
                lambda: self._heard[address].device,
                name=heard.name or "battery",
                answer_timeout=self._answer_timeout,
            )
        battery.heard, battery.client = heard, self._clients[address]
        battery.heard_at = asyncio.get_running_loop().time()
        self.on_news()
        return battery.client

    async def _read(self, battery: Battery) -> None:
        assert battery.client
        try:
            reading = await battery.client.read(deadline=self._deadline)
        except JkBmsError as err:
            self._fail(battery, err)
        else:
            self._succeed(battery, reading)

    def _succeed(self, battery: Battery, reading: Reading) -> None:
        """Keep a reading."""
        battery.reading, battery.read_at, battery.error = reading, time(), None
        battery.good_until = asyncio.get_running_loop().time() + self._max_age
        self.on_news()

    def _fail(self, battery: Battery, err: JkBmsError) -> None:
        """Keep why there is no reading."""
        battery.error = err
        self.on_news()

    def _crowded(self) -> list[Battery]:
        return [b for b in self.batteries if isinstance(b.error, NoFreeSlotError)]

    def _tell(self, battery: Battery) -> None:
        """Log once that it is lost and that it is back.

        That there is no Bluetooth is told once, and not of each battery.
        """
        if isinstance(battery.error, NoBluetoothError):
            return
        if battery.error and battery not in self._silent:
            self._silent.add(battery)
            _LOGGER.warning("%s is lost: %s", battery.name, explain(battery.error))
        if not battery.error and battery in self._silent:
            self._silent.remove(battery)
            _LOGGER.warning("%s is back", battery.name)


async def ticks(interval: float) -> AsyncIterator[float]:
    """Yield the time at once and every `interval` s; what is late is not made up for."""
    clock = asyncio.get_running_loop().time
    due = clock()
    while True:
        yield due
        due = max(due + interval, clock())
        await asyncio.sleep(due - clock())
