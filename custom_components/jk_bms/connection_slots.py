"""Whose turn it is to connect, where there are more batteries than connection slots."""

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
from homeassistant.core import HomeAssistant, callback
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
from .jkbms.errors import NoFreeSlotError

PATIENCE: Final = 25.0
"""s to wait while nobody gets a slot that would do."""


@dataclass(eq=False, slots=True)
class _Asker:
    """Somebody who wants to connect to a battery, or does so."""

    address: str
    last_turn: float
    """s of the event loop's clock when the battery had its last one."""
    sources: set[str] = field(default_factory=set)
    """The adapters and proxies that could connect, when that was last of interest."""
    has_turn: asyncio.Event = field(default_factory=asyncio.Event)
    limit: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(PATIENCE))

    def put_off(self, seconds: float) -> None:
        """Let the waiting end in so many seconds, if it has not ended."""
        if not self.limit.expired():
            self.limit.reschedule(asyncio.get_running_loop().time() + seconds)


class Turns:
    """Lets batteries connect when there is a slot: first who has waited for a turn longest.

    Who tries without a free slot is put off for seconds by each refusal, while the
    slots stay empty or go to whoever tries at the right moment.
    """

    def __init__(self, hass: HomeAssistant) -> None:
        """Follow the slots of all adapters and proxies."""
        self._hass = hass
        self._waiting: list[_Asker] = []
        """In the order of their turns."""
        self._served: set[_Asker] = set()
        """Those whose turn it is."""
        self._last_turns: dict[str, float] = {}
        get_manager().async_register_allocation_callback(self._async_give_turns)

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncGenerator[None]:
        """Wait until there is a slot to connect to a battery with, and keep it.

        Who cannot connect at all, or is connected, does not wait. Raises
        `NoFreeSlotError` if the slots stay taken.
        """
        asker = _Asker(address, self._last_turns.get(address, -inf))
        insort(self._waiting, asker, key=attrgetter("last_turn"))
        try:
            await self._async_wait(asker)
            self._last_turns[address] = asyncio.get_running_loop().time()
            yield
        finally:
            if asker.has_turn.is_set():
                self._served.remove(asker)
            else:
                self._waiting.remove(asker)
            self._async_give_turns()

    @callback
    def async_give_up(self, address: str) -> None:
        """Let nobody wait for this battery any more."""
        for asker in self._waiting:
            if asker.address == address:
                asker.put_off(0)

    async def _async_wait(self, asker: _Asker) -> None:
        try:
            async with asker.limit:
                self._async_give_turns()
                await asker.has_turn.wait()
        except TimeoutError as err:
            reachability = bluetooth.async_address_reachability_diagnostics(
                self._hass, asker.address, BluetoothReachabilityIntent.CONNECTION
            )
            raise NoFreeSlotError(
                f"No connection slot became free. {reachability}"
            ) from err

    @callback
    def _async_give_turns(self, _: HaBluetoothSlotAllocations | None = None) -> None:
        """Let those go on for whom there is a slot, and the others hope."""
        # Nearly always nobody does, and with many batteries this is called often
        if not self._waiting:
            return
        allocations = get_manager().async_current_allocations() or ()
        connected = {address for each in allocations for address in each.allocated}
        # Not all of them tell
        telling = {each.source: each for each in allocations if each.slots}
        # Who has the turn and is about to connect has a slot that still counts as free
        reserved = Counter(
            source
            for asker in self._served
            if asker.address not in connected
            for source in asker.sources
        )
        given = Counter[str]()

        def has_slot(source: str) -> bool:
            if not (slots := telling.get(source)):
                return True
            ours = max(0, reserved[source] - _nameless(slots))
            return slots.free - ours > given[source]

        for asker in self._waiting.copy():
            asker.sources = {
                found.scanner.source
                for found in bluetooth.async_scanner_devices_by_address(
                    self._hass, asker.address, connectable=True
                )
            }
            if asker.address not in connected:
                if asker.sources and not any(map(has_slot, asker.sources)):
                    continue
                given.update(asker.sources)
            self._waiting.remove(asker)
            self._served.add(asker)
            asker.has_turn.set()
        for asker in self._waiting:
            if not asker.sources.isdisjoint(given):
                asker.put_off(PATIENCE)


def _nameless(allocations: HaBluetoothSlotAllocations) -> int:
    """Count the taken slots of which it is not told who has them."""
    return allocations.slots - allocations.free - len(allocations.allocated)


_TURNS: HassKey[Turns] = HassKey(f"{DOMAIN}_turns")


@callback
def async_get_turns(hass: HomeAssistant) -> Turns:
    """Return the one queue for all batteries."""
    if _TURNS not in hass.data:
        hass.data[_TURNS] = Turns(hass)
    return hass.data[_TURNS]
