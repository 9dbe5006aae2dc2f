"""Find and read many batteries concurrently, once or continuously."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
import logging
from typing import Any, Final, Self

from ..bluetooth.client import READ_DEADLINE
from ..bluetooth.scanner import Scan, SeenDevice, not_found
from ..bluetooth.session import ANSWER_TIMEOUT
from ..errors import (
    JkBmsError,
    LinkError,
    NoBluetoothError,
    NoFreeSlotError,
    NotReachableError,
)
from ..models import Reading
from .adapter_slots import AdapterSlots
from .arguments import Options
from .monitor import Battery, Monitor

_LOGGER = logging.getLogger(__name__)

SCAN_TIMEOUT: Final = 30.0
"""Seconds until the scan for a battery ends."""
_RETRY_INTERVAL: Final = 3.0
"""Seconds until a held link, or a read without a free connection slot, is tried again."""
_MAX_MISSED: Final = 3
"""Intervals without a reading after which the last one is stale, whatever hangs."""
_ANSWERS: Final = READ_DEADLINE / ANSWER_TIMEOUT
"""Answers that must fit into the deadline of one reading."""


class Poller:
    """Finds and reads the batteries of a monitor."""

    def __init__(
        self,
        monitor: Monitor,
        *,
        adapter: str | None = None,
        scan_timeout: float = SCAN_TIMEOUT,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        """`adapter` is a BlueZ name such as `hci1`; timeouts are in seconds."""
        self.monitor = monitor
        self.scan_timeout = scan_timeout
        self._adapter = adapter
        self._deadline = max(READ_DEADLINE, answer_timeout * _ANSWERS)
        self._slots = AdapterSlots()

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Return a poller of the requested batteries."""
        return cls(
            Monitor(options.targets, answer_timeout=options.request_timeout),
            adapter=options.adapter,
            scan_timeout=options.scan_timeout,
            answer_timeout=options.request_timeout,
        )

    # Read once

    async def find_each(
        self, use: Callable[[Battery], Coroutine[Any, Any, None]]
    ) -> None:
        """Scan for the batteries, and use each as soon as it is found.

        Returns when all have been used; raises `NoBluetoothError`.
        """
        monitor = self.monitor
        async with AsyncExitStack() as scanning:
            scan = await scanning.enter_async_context(Scan(self._adapter))
            async with asyncio.TaskGroup() as uses:

                def found(battery: Battery, seen: SeenDevice) -> None:
                    monitor.register(battery, seen)
                    uses.create_task(use(battery))

                async with asyncio.TaskGroup() as searches:
                    if not monitor.targets:
                        searches.create_task(self._find_all(scan, found))
                    else:
                        for battery in monitor.batteries:
                            searches.create_task(self._find(scan, battery, found))
                await scanning.aclose()

    async def _find(
        self, scan: Scan, battery: Battery, found: Callable[[Battery, SeenDevice], None]
    ) -> None:
        try:
            seen = await self._look_for(battery, scan)
        except LinkError as err:
            self.monitor.fail(battery, err)
        else:
            found(battery, seen)

    async def _look_for(self, battery: Battery, scan: Scan) -> SeenDevice:
        """Find a battery at the address where it was read, else by its name.

        Once this run has read it, only its address counts.
        """
        try:
            return await scan.find(battery.scan_target, self.scan_timeout)
        except NotReachableError:
            if battery.earlier_address and not battery.address:
                # Its Bluetooth module may have been replaced since
                with suppress(NotReachableError):
                    return await scan.find(battery.target, 0)
            raise

    async def _find_all(
        self, scan: Scan, found: Callable[[Battery, SeenDevice], None]
    ) -> None:
        missing = {battery.target: battery for battery in self.monitor.batteries}
        async for seen in scan.batteries(self.scan_timeout):
            battery = missing.pop(seen.address, None)
            found(battery or self.monitor.add(seen), seen)
        for battery in missing.values():
            self.monitor.fail(battery, not_found(self.scan_timeout))

    async def read_once(self) -> None:
        """Find and read each battery once; a battery that fails keeps its error.

        The first are read while the scan for others goes on. Raises `NoBluetoothError`.
        """
        await self.find_each(self._read)

    async def _read(self, battery: Battery) -> None:
        try:
            reading = await self._read_in_slot(battery)
        except JkBmsError as err:
            self.monitor.fail(battery, err)
        else:
            self.monitor.succeed(battery, reading)

    async def _read_in_slot(self, battery: Battery) -> Reading:
        """Read a battery; wait for a connection slot while other reads hold them."""
        assert battery.client
        slots, ended = self._slots, -1
        while True:
            before, ended = ended, slots.ended
            try:
                async with slots.slot(battery.rank):
                    return await battery.client.read(deadline=self._deadline)
            except NoFreeSlotError:
                # Do not wait for reads that are refused too
                if slots.ended == before or not (slots.active or slots.ended > ended):
                    raise

    # Read on a timer

    async def read_every(self, interval: float) -> None:
        """Read each battery every `interval` seconds until cancelled.

        No battery delays another. Lost batteries are logged. Bluetooth may come and go.
        A battery that was found by a scan and not seen for a day is dropped.
        """
        self.monitor.max_age = _MAX_MISSED * interval + self._deadline
        scan = Scan(self._adapter)
        async with asyncio.TaskGroup() as readings:

            def found(battery: Battery) -> None:
                readings.create_task(self._read_every(battery, scan, interval))

            for battery in self.monitor.batteries:
                found(battery)
            if not self.monitor.targets:
                await self._scan_every(scan, interval, found)

    async def _scan_every(
        self, scan: Scan, interval: float, found: Callable[[Battery], None]
    ) -> None:
        """Scan for other batteries every `interval` seconds until cancelled."""
        times = ticks(interval)
        while True:
            await anext(times)
            with suppress(NoBluetoothError):
                async with self._scanning(scan):
                    async for seen in scan.batteries(self.scan_timeout):
                        if not self.monitor.has(seen) and self.monitor.make_room():
                            battery = self.monitor.add(seen)
                            self.monitor.register(battery, seen)
                            found(battery)

    @asynccontextmanager
    async def _scanning(self, scan: Scan) -> AsyncIterator[None]:
        """Scan; log once that Bluetooth is missing, and once that it is back."""
        monitor = self.monitor
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(scan)
            except NoBluetoothError as err:
                if not monitor.no_bluetooth:
                    _LOGGER.warning("Bluetooth is not available, will retry: %s", err)
                monitor.no_bluetooth = err
                raise
            if monitor.no_bluetooth:
                _LOGGER.warning("Bluetooth is available again")
                monitor.no_bluetooth = None
            yield

    async def _read_every(self, battery: Battery, scan: Scan, interval: float) -> None:
        monitor = self.monitor
        async for due in ticks(interval):
            if battery not in monitor.batteries:
                # Dropped since the last read
                monitor.forget(battery)
                return
            try:
                reading = await self._read_with_slot(battery, scan, due + interval)
            except JkBmsError as err:
                monitor.fail(battery, err)
            else:
                monitor.succeed(battery, reading)
                monitor.keep_label(battery)
            monitor.log_change(battery)
            if monitor.forget_if_gone(battery):
                return

    async def _read_with_slot(
        self, battery: Battery, scan: Scan, until: float
    ) -> Reading:
        """Find and read a battery; retry while no connection slot is free."""
        clock = asyncio.get_running_loop().time
        while True:
            async with self._scanning(scan):
                seen = await self._look_for(battery, scan)
            self.monitor.register(battery, seen)
            try:
                return await self._read_in_slot(battery)
            except NoFreeSlotError:
                if clock() + _RETRY_INTERVAL >= until:
                    raise
            await asyncio.sleep(_RETRY_INTERVAL)

    # Read on held links

    async def follow(self, interval: float) -> None:
        """Hold a link to each battery and read every `interval` seconds until cancelled.

        Raises `NoBluetoothError` if there is none at the start.
        """
        scan = Scan(self._adapter)
        async with scan:
            # Without Bluetooth, this raises
            pass
        async with asyncio.TaskGroup() as links:
            for battery in self.monitor.batteries:
                links.create_task(self._follow(battery, scan, interval))
            if not self.monitor.targets:
                async with scan:
                    async for seen in scan.batteries(self.scan_timeout):
                        battery = self.monitor.add(seen)
                        links.create_task(self._follow(battery, scan, interval))

    async def _follow(self, battery: Battery, scan: Scan, interval: float) -> None:
        def show(reading: Reading) -> None:
            self.monitor.keep_label(battery)
            self.monitor.succeed(battery, reading)

        while True:
            try:
                async with scan:
                    seen = await scan.find(battery.scan_target, self.scan_timeout)
                client = self.monitor.register(battery, seen)
                async with self._slots.slot(battery.rank):
                    await client.hold(show, interval=interval, deadline=self._deadline)
            except JkBmsError as err:
                self.monitor.fail(battery, err)
                await asyncio.sleep(_RETRY_INTERVAL)


async def ticks(interval: float) -> AsyncIterator[float]:
    """Yield the time at once and every `interval` seconds; a late tick delays the next ones."""
    clock = asyncio.get_running_loop().time
    due = clock()
    while True:
        yield due
        due = max(due + interval, clock())
        await asyncio.sleep(due - clock())
