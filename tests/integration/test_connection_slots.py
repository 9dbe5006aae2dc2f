"""Connections where there are more batteries than connection slots."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import patch

from bleak_retry_connector import Allocations
from habluetooth import get_manager
import pytest

from custom_components.jk_bms import connection_slots
from custom_components.jk_bms.connection_slots import (
    ConnectionSlots,
    async_get_connection_slots,
)
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.jkbms.errors import NoFreeSlotError
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import mock_entry, pass_time

ADDRESSES = [f"C8:47:8C:20:00:{number:02X}" for number in range(1, 6)]


@pytest.fixture
async def proxy(hass: HomeAssistant, bluetooth: None) -> AsyncGenerator[VirtualProxy]:
    """Register a proxy with one slot."""
    proxy = VirtualProxy("AA:00:00:00:00:01", "garage", slots=1)
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
def batteries(
    proxy: VirtualProxy, make_bms: Callable[..., VirtualBms], model: str
) -> list[VirtualBms]:
    """Place five batteries in range of the proxy."""
    batteries = [
        make_bms(model, name=address[-2:], address=address) for address in ADDRESSES
    ]
    for bms in batteries:
        assert proxy.advertise(bms)
    return batteries


@pytest.fixture
def slots(hass: HomeAssistant) -> ConnectionSlots:
    """Return the queue."""
    return async_get_connection_slots(hass)


class Queue:
    """Requests slots and records which battery has one."""

    def __init__(self, slots: ConnectionSlots) -> None:
        """Begin without a battery."""
        self.now: list[str] = []
        self.served: list[str] = []
        self._slots = slots
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, *addresses: str) -> None:
        """Let them ask, in this order."""
        for address in addresses:
            self._ends[address] = asyncio.Event()
            self._tasks[address] = asyncio.create_task(self._take(address))
        await asyncio.sleep(0)

    async def end(self, address: str) -> None:
        """End the turn, and wait for the next battery."""
        self._ends[address].set()
        await self._tasks[address]
        await asyncio.sleep(0)

    async def _take(self, address: str) -> None:
        async with self._slots.slot(address):
            self.now.append(address)
            self.served.append(address)
            await self._ends[address].wait()
        self.now.remove(address)


def report(proxy: VirtualProxy, slots: int, free: int, *allocated: str) -> None:
    """Let a proxy report its slots."""
    get_manager().async_on_allocation_changed(
        Allocations(proxy.source, slots, free, list(allocated))
    )


async def test_more_batteries_than_slots_are_all_read(
    hass: HomeAssistant, proxy: VirtualProxy, batteries: list[VirtualBms]
) -> None:
    """All are read, one after the other, without a failed attempt."""
    entries = [mock_entry(bms) for bms in batteries]
    for entry in entries:
        entry.add_to_hass(hass)
    # All of them at once
    assert await async_setup_component(hass, DOMAIN, {})
    await hass.async_block_till_done()
    for number in range(2, 5):
        await pass_time(hass)
        assert [len(bms.connections) for bms in batteries] == [number] * 5
    for entry in entries:
        assert entry.state is ConfigEntryState.LOADED
        history = entry.runtime_data.attempts
        assert {attempt.outcome for attempt in history} == {"read"}
    assert proxy.free_slots == 1


@pytest.mark.usefixtures("batteries")
async def test_granted_slot_stays_reserved_until_returned(
    slots: ConnectionSlots,
) -> None:
    """A turn reserves the slot, also while not connected; the order is kept."""
    queue = Queue(slots)
    await queue.ask(*ADDRESSES[:3])
    assert queue.now == ADDRESSES[:1]
    await queue.end(ADDRESSES[0])
    assert queue.now == ADDRESSES[1:2]
    await queue.end(ADDRESSES[1])
    assert queue.now == ADDRESSES[2:3]
    await queue.end(ADDRESSES[2])
    assert queue.now == []


@pytest.mark.usefixtures("batteries")
async def test_battery_served_longest_ago_goes_first(slots: ConnectionSlots) -> None:
    """The longest wait wins, whatever the order of the requests."""
    a, b, c, d, _ = ADDRESSES
    queue = Queue(slots)
    for address in (b, c, a):
        await queue.ask(address)
        await queue.end(address)
        await asyncio.sleep(1)
    await queue.ask(d)
    await queue.ask(a, c, b)
    for address in (d, b, c, a):
        assert queue.now == [address]
        await queue.end(address)


@pytest.mark.usefixtures("batteries")
async def test_freed_slot_is_granted_to_the_next_waiter(
    slots: ConnectionSlots, proxy: VirtualProxy
) -> None:
    """Slots that others take and free count as well."""
    queue = Queue(slots)
    report(proxy, 2, 0, "AA", "BB")
    await queue.ask(*ADDRESSES[:2])
    assert queue.now == []
    report(proxy, 2, 1, "AA")
    await asyncio.sleep(0)
    assert queue.now == ADDRESSES[:1]
    # Its slot is no longer free, nor reserved any more
    report(proxy, 2, 0, "AA", ADDRESSES[0])
    await asyncio.sleep(0)
    assert queue.now == ADDRESSES[:1]
    report(proxy, 2, 1, ADDRESSES[0])
    await asyncio.sleep(0)
    assert queue.now == ADDRESSES[:2]
    await queue.end(ADDRESSES[0])
    await queue.end(ADDRESSES[1])


@pytest.mark.usefixtures("batteries")
async def test_connected_battery_does_not_wait(
    slots: ConnectionSlots, proxy: VirtualProxy
) -> None:
    """On a held link there is no slot to wait for."""
    queue = Queue(slots)
    report(proxy, 1, 0, ADDRESSES[1])
    await queue.ask(*ADDRESSES[:2])
    assert queue.now == ADDRESSES[1:2]
    await queue.end(ADDRESSES[1])
    assert queue.now == []
    report(proxy, 1, 1)
    await asyncio.sleep(0)
    await queue.end(ADDRESSES[0])


@pytest.mark.usefixtures("batteries")
async def test_slot_without_address_is_not_reserved_twice(
    slots: ConnectionSlots, proxy: VirtualProxy
) -> None:
    """A taken slot is not reserved again for the battery that may have taken it."""
    queue = Queue(slots)
    report(proxy, 3, 3)
    await queue.ask(ADDRESSES[0])
    report(proxy, 3, 2)
    await queue.ask(*ADDRESSES[1:4])
    assert queue.now == ADDRESSES[:3]
    for address in ADDRESSES[:4]:
        await queue.end(address)


@pytest.mark.usefixtures("batteries")
async def test_slot_of_any_proxy_in_range_is_granted(
    hass: HomeAssistant, slots: ConnectionSlots, batteries: list[VirtualBms]
) -> None:
    """A slot of any proxy in range of the battery will do; no other slot helps."""
    attic = VirtualProxy("AA:00:00:00:00:02", "attic", slots=1)
    attic.place(batteries[1])
    attic.start()
    attic.advertise(batteries[1])
    queue = Queue(slots)
    await queue.ask(ADDRESSES[0], ADDRESSES[2], ADDRESSES[1])
    assert queue.now == [ADDRESSES[0], ADDRESSES[1]]
    await queue.end(ADDRESSES[1])
    assert queue.now == [ADDRESSES[0]]
    await queue.end(ADDRESSES[0])
    await queue.end(ADDRESSES[2])
    attic.stop()


@pytest.mark.usefixtures("batteries")
@pytest.mark.parametrize("address", [ADDRESSES[1], "C8:47:8C:99:99:99"])
async def test_unreachable_battery_does_not_wait(
    slots: ConnectionSlots, proxy: VirtualProxy, address: str
) -> None:
    """A battery out of range, or on a proxy without a slot report, connects at once."""
    if address in ADDRESSES:
        report(proxy, 0, 0)
    queue = Queue(slots)
    await queue.ask(ADDRESSES[0], address)
    assert address in queue.now
    await queue.end(ADDRESSES[0])
    await queue.end(address)


@pytest.mark.usefixtures("batteries")
async def test_wait_times_out_with_the_holders(
    slots: ConnectionSlots, proxy: VirtualProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots that stay taken are an error that names their users; the wait is over."""
    report(proxy, 1, 0, "AA")
    monkeypatch.setattr(connection_slots, "WAIT_TIMEOUT", 0)
    with pytest.raises(NoFreeSlotError, match=r"became free\. .+garage"):
        async with slots.slot(ADDRESSES[0]):
            pytest.fail("has a turn")
    report(proxy, 1, 1)
    async with slots.slot(ADDRESSES[1]):
        pass


@pytest.mark.usefixtures("batteries")
async def test_slots_are_only_tracked_while_someone_waits(
    slots: ConnectionSlots, proxy: VirtualProxy
) -> None:
    """The callback for slot changes is registered with the first waiter and released."""
    manager = type(get_manager())
    register = manager.async_register_allocation_callback
    active = 0

    def counting_register(*args: Any) -> Callable[[], None]:
        nonlocal active
        unregister = register(*args)
        active += 1

        def counting_unregister() -> None:
            nonlocal active
            active -= 1
            unregister()

        return counting_unregister

    queue = Queue(slots)
    with patch.object(manager, "async_register_allocation_callback", counting_register):
        report(proxy, 1, 1)
        await queue.ask(ADDRESSES[0])
        assert active == 0
        await queue.ask(*ADDRESSES[1:3])
        assert active == 1
        await queue.end(ADDRESSES[0])
        assert active == 1
        await queue.end(ADDRESSES[1])
        assert queue.now == [ADDRESSES[2]]
        assert active == 0
        await queue.end(ADDRESSES[2])


@pytest.mark.usefixtures("batteries")
async def test_timeout_restarts_when_a_usable_slot_is_granted(
    slots: ConnectionSlots, proxy: VirtualProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timeout starts again when another battery gets a usable slot."""
    queue = Queue(slots)
    await queue.ask(*ADDRESSES[:3])
    second, third = slots._waiters
    monkeypatch.setattr(connection_slots, "WAIT_TIMEOUT", 1000)
    until = [second.timeout.when(), third.timeout.when()]
    await queue.end(ADDRESSES[0])
    assert second.timeout.when() == until[0]
    before, after = until[1], third.timeout.when()
    assert before
    assert after
    assert after > before + 900
    await queue.end(ADDRESSES[1])
    await queue.end(ADDRESSES[2])


async def test_cancel_ends_all_waits_of_the_battery(
    hass: HomeAssistant, proxy: VirtualProxy, batteries: list[VirtualBms]
) -> None:
    """A battery that is given up waits for no slot any more."""
    entry = mock_entry(batteries[0])
    entry.add_to_hass(hass)
    report(proxy, 1, 0, "AA")
    setup = hass.async_create_task(hass.config_entries.async_setup(entry.entry_id))
    async with AsyncExitStack() as stack:
        stack.callback(setup.cancel)
        slots = async_get_connection_slots(hass)
        while not slots._waiters:
            await asyncio.sleep(0)
        slots.async_cancel("C8:47:8C:99:99:99")
        await asyncio.sleep(0)
        assert slots._waiters
        slots.async_cancel(batteries[0].address)
        # Twice, as it may be unloaded while the first is on its way
        slots.async_cancel(batteries[0].address)
        await asyncio.sleep(0)
        assert slots._waiters
        slots.async_cancel(batteries[0].address)
        await setup
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert not slots._waiters
    assert not batteries[0].connections
