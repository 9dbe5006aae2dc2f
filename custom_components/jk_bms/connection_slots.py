"""Fair use of the connection slots where there are more batteries than slots."""

import asyncio
from bisect import insort
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from typing import Final

from habluetooth import HaBluetoothSlotAllocations, get_manager

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import BluetoothReachabilityIntent
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.singleton import singleton
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
from .jkbms.errors import NoFreeSlotError

# The maximum time, in seconds, that a waiter stays in the queue while no slot that it
# could use is granted to anyone. A read takes a few seconds, so when nobody gets a slot
# for this long, the slots are held by others and waiting longer would not help. It is
# as long as the deadline of a read.
WAIT_TIMEOUT: Final = 25.0


@dataclass(eq=False, slots=True)
class _Waiter:
    """A request to connect to a battery, until its slot is returned."""

    address: str
    last_granted: float
    """When the battery was last granted a slot, in seconds of the event loop's clock."""
    sources: set[str] = field(default_factory=set)
    """The adapters and proxies that could connect at the last check."""
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    timeout: asyncio.Timeout = field(
        default_factory=lambda: asyncio.timeout(WAIT_TIMEOUT)
    )

    def extend(self, seconds: float) -> None:
        """Let the wait time out in `seconds` from now, if it has not done so yet."""
        if not self.timeout.expired():
            self.timeout.reschedule(asyncio.get_running_loop().time() + seconds)


class ConnectionSlots:
    """Queues connection attempts; the battery served longest ago goes first.

    Retrying without a free slot backs off for seconds, so freed slots go unused or to
    whichever device retries first.
    """

    def __init__(self, hass: HomeAssistant) -> None:
        """Start with an empty queue."""
        self._hass = hass
        self._waiters: list[_Waiter] = []
        """Sorted by `last_granted`."""
        self._granted: set[_Waiter] = set()
        self._last_granted: dict[str, float] = {}
        """When each battery was last granted a slot, by address."""
        self._stop_tracking: CALLBACK_TYPE | None = None
        """Set while there are waiters."""

    @asynccontextmanager
    async def slot(self, address: str) -> AsyncGenerator[None]:
        """Wait for a slot to connect to a battery with, and reserve it.

        Does not wait for a battery that no scanner can connect to, or that is connected.
        Raises `NoFreeSlotError` if no slot becomes free.
        """
        waiter = _Waiter(address, self._last_granted.get(address, -inf))
        insort(self._waiters, waiter, key=attrgetter("last_granted"))
        try:
            await self._async_wait(waiter)
            self._last_granted[address] = asyncio.get_running_loop().time()
            yield
        finally:
            if waiter.granted.is_set():
                self._granted.remove(waiter)
            else:
                self._waiters.remove(waiter)
            self._async_grant_slots()

    @callback
    def async_cancel(self, address: str) -> None:
        """Cancel all waits for this battery."""
        for waiter in self._waiters:
            if waiter.address == address:
                waiter.extend(0)

    async def _async_wait(self, waiter: _Waiter) -> None:
        try:
            async with waiter.timeout:
                self._async_grant_slots()
                await waiter.granted.wait()
        except TimeoutError as err:
            reachability = bluetooth.async_address_reachability_diagnostics(
                self._hass, waiter.address, BluetoothReachabilityIntent.CONNECTION
            )
            raise NoFreeSlotError(
                f"No connection slot became free. {reachability}"
            ) from err

    @callback
    def _async_grant_slots(self, _: HaBluetoothSlotAllocations | None = None) -> None:
        """Grant a slot to every waiter that can connect now."""
        if self._waiters:
            self._async_grant_free_slots()
        if self._waiters and not self._stop_tracking:
            self._stop_tracking = get_manager().async_register_allocation_callback(
                self._async_grant_slots
            )
        elif not self._waiters and self._stop_tracking:
            self._stop_tracking()
            self._stop_tracking = None

    @callback
    def _async_grant_free_slots(self) -> None:
        allocations = get_manager().async_current_allocations() or ()
        connected = {address for each in allocations for address in each.allocated}
        # Some scanners do not report their slots.
        reporting = {each.source: each for each in allocations if each.slots}
        # A waiter that is about to connect has a slot that is still counted as free.
        reserved = Counter(
            source
            for waiter in self._granted
            if waiter.address not in connected
            for source in waiter.sources
        )
        granted = Counter[str]()

        def has_slot(source: str) -> bool:
            if not (slots := reporting.get(source)):
                return True
            ours = max(0, reserved[source] - _unnamed(slots))
            return slots.free - ours > granted[source]

        for waiter in self._waiters.copy():
            waiter.sources = {
                device.scanner.source
                for device in bluetooth.async_scanner_devices_by_address(
                    self._hass, waiter.address, connectable=True
                )
            }
            if waiter.address not in connected:
                if waiter.sources and not any(map(has_slot, waiter.sources)):
                    continue
                granted.update(waiter.sources)
            self._waiters.remove(waiter)
            self._granted.add(waiter)
            waiter.granted.set()
        for waiter in self._waiters:
            if not waiter.sources.isdisjoint(granted):
                waiter.extend(WAIT_TIMEOUT)


def _unnamed(allocations: HaBluetoothSlotAllocations) -> int:
    """Count the slots in use whose addresses the scanner does not report."""
    return allocations.slots - allocations.free - len(allocations.allocated)


_CONNECTION_SLOTS: HassKey[ConnectionSlots] = HassKey(f"{DOMAIN}_connection_slots")


@singleton(_CONNECTION_SLOTS)
@callback
def async_get_connection_slots(hass: HomeAssistant) -> ConnectionSlots:
    """Return the one queue for all batteries."""
    return ConnectionSlots(hass)
