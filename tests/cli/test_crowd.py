"""Many devices in range, most of them meant to be in the way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
import logging
from typing import Any
from unittest.mock import patch

import pytest

from custom_components.jk_bms.jkbms.bluetooth import scanner
from custom_components.jk_bms.jkbms.bluetooth.scanner import Scan
from custom_components.jk_bms.jkbms.cli import monitor as monitors
from custom_components.jk_bms.jkbms.cli.adapter_slots import AdapterSlots
from custom_components.jk_bms.jkbms.cli.monitor import Monitor
from custom_components.jk_bms.jkbms.cli.polling import Poller
from custom_components.jk_bms.jkbms.errors import (
    NoFreeSlotError,
    NotReachableError,
    SilentError,
)
from custom_components.jk_bms.jkbms.models import DeviceInfo, Reading
from tests.virtual_bms import MODELS, Battery, Faults, Spec, VirtualBms, VirtualRadio
from tests.virtual_time import VirtualTimeLoop

UPS = replace(MODELS["JK_BD4A8S4P 15.26"], name="UPS_BMS")
TWIN = replace(UPS, address="C8:47:8C:99:00:01", serial="3040100099")
FAKES = 40


@pytest.fixture
def radio() -> Iterator[VirtualRadio]:
    """Stand in for the adapter of this machine, which has three connections."""
    with VirtualRadio("adapter", slots=3) as radio:
        yield radio


def place(
    radio: VirtualRadio, spec: Spec = UPS, faults: Faults | None = None
) -> VirtualBms:
    """Bring a battery into range."""
    bms = VirtualBms(Battery(spec, soc=0.6, time_scale=0.0), faults=faults)
    radio.place(bms)
    return bms


def place_fakes(radio: VirtualRadio, count: int = FAKES, name: str = "") -> None:
    """Bring devices into range that advertise as a battery, connect and stay silent."""
    for number in range(count):
        address = f"C8:00:00:00:{number // 256:02X}:{number % 256:02X}"
        spec = replace(UPS, address=address, name=name or f"F{number}")
        place(radio, spec, Faults(silent=True))


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Do it in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(work())  # type: ignore[arg-type]


@asynccontextmanager
async def reading(monitor: Monitor, interval: float) -> AsyncIterator[None]:
    """Read again and again for a while."""
    task = asyncio.create_task(Poller(monitor).read_every(interval))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def labels(monitor: Monitor) -> dict[str, bool]:
    """Return what each battery is called, and whether it was read and is up."""
    return {
        name: battery.up and battery.reading is not None
        for name, battery in monitor.named()
    }


async def until(is_so: Callable[[], Any], timeout: float) -> float:
    """Wait until it is so; return how long it took."""
    clock = asyncio.get_running_loop().time
    begin = clock()
    async with asyncio.timeout(timeout):
        while not is_so():
            await asyncio.sleep(0.1)
    return clock() - begin


def test_fakes_do_not_starve_a_battery_that_was_read(radio: VirtualRadio) -> None:
    """The battery gets the next free slot; no fake holds one for more than 25 s."""

    async def work() -> None:
        place(radio)
        monitor = Monitor()
        async with reading(monitor, 60):
            await until(lambda: labels(monitor).get("UPS_BMS"), 20)
            place_fakes(radio)
            (battery,) = monitor.batteries
            times = set()
            for _ in range(1200):
                await asyncio.sleep(1)
                assert battery.up
                times.add(battery.read_at)
            assert len(monitor.batteries) == 1 + FAKES
        assert len(times) >= 19

    run(work)


def test_battery_among_fakes_is_read_for_the_first_time(radio: VirtualRadio) -> None:
    """Devices that have failed are retried only after the new battery."""

    async def work() -> None:
        place_fakes(radio)
        monitor = Monitor()
        async with reading(monitor, 60):
            await asyncio.sleep(30)
            place(radio)
            others = (FAKES / 3 + 1) * 25
            await until(lambda: labels(monitor).get("UPS_BMS"), 30 + others)

    run(work)


def test_fakes_do_not_starve_a_one_shot_read(radio: VirtualRadio) -> None:
    """Each has its turn, and each that failed has one only."""

    async def work() -> None:
        place_fakes(radio)
        place(radio)
        monitor = Monitor()
        await Poller(monitor, scan_timeout=5).read_once()
        assert sum(labels(monitor).values()) == 1
        assert {type(b.error) for b in monitor.batteries} >= {type(None)}
        assert not any(isinstance(b.error, NoFreeSlotError) for b in monitor.batteries)

    run(work)


def test_fakes_do_not_starve_a_watched_battery(radio: VirtualRadio) -> None:
    """On held links, too."""

    async def work() -> None:
        place_fakes(radio)
        place(radio)
        monitor = Monitor()
        following = asyncio.create_task(Poller(monitor).follow(1))
        await until(lambda: labels(monitor).get("UPS_BMS"), (FAKES / 3 + 1) * 25)
        await asyncio.sleep(300)
        assert labels(monitor)["UPS_BMS"]
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    run(work)


@pytest.mark.parametrize("is_battery", [True, False], ids=["twin", "fake"])
def test_label_stays_when_a_namesake_appears(
    radio: VirtualRadio, is_battery: bool
) -> None:
    """The newcomer has its address as label; neither changes, whoever goes."""

    async def work() -> None:
        bms = place(radio)
        monitor = Monitor()
        async with reading(monitor, 10):
            await until(lambda: labels(monitor).get("UPS_BMS"), 20)
            place(radio, TWIN, None if is_battery else Faults(silent=True))
            await until(lambda: len(monitor.batteries) == 2, 40)
            for _ in range(120):
                assert labels(monitor).keys() == {"UPS_BMS", TWIN.address}
                assert labels(monitor)["UPS_BMS"]
                await asyncio.sleep(1)
            assert labels(monitor)[TWIN.address] is is_battery
            radio.remove(bms)
            await asyncio.sleep(120)
            assert labels(monitor) == {"UPS_BMS": False, TWIN.address: is_battery}

    run(work)


def test_twins_that_are_there_from_the_start_have_their_addresses(
    radio: VirtualRadio,
) -> None:
    """Whichever is read first: after a restart it may be the other."""

    async def work() -> None:
        place(radio)
        place(radio, TWIN)
        monitor = Monitor()
        async with reading(monitor, 10):
            await until(lambda: [*labels(monitor).values()] == [True, True], 40)
            assert labels(monitor).keys() == {UPS.address, TWIN.address}

    run(work)


def test_battery_keeps_its_name_beside_a_fake_that_failed_before(
    radio: VirtualRadio,
) -> None:
    """The fake was never exported under the name, so the name is still free."""

    async def work() -> None:
        place(radio, TWIN, Faults(silent=True))
        monitor = Monitor()
        async with reading(monitor, 60):
            await until(lambda: monitor.batteries and monitor.batteries[0].error, 60)
            place(radio)
            await until(lambda: labels(monitor).get("UPS_BMS"), 120)
            assert labels(monitor).keys() == {"UPS_BMS", TWIN.address}

    run(work)


# Bounds


def advertise(radio: VirtualRadio, count: int, **spec: Any) -> None:
    """Bring this many strangers into range."""
    for number in range(count):
        address = f"D0:00:00:00:{number // 256:02X}:{number % 256:02X}"
        place(radio, replace(UPS, address=address, name=f"S{number}", **spec))


def test_scan_for_an_absent_battery_remembers_few_strangers(
    radio: VirtualRadio,
) -> None:
    """The scan searches its memory only when the battery might have appeared."""

    async def work() -> None:
        advertise(radio, 2000, advert="unrelated")
        looks = 0
        matching = Scan._matching

        def look(scan: Scan, target: str) -> Any:
            nonlocal looks
            looks += 1
            return matching(scan, target)

        with patch.object(Scan, "_matching", look):
            async with Scan() as scan:
                with pytest.raises(NotReachableError):
                    await scan.find("UPS_BMS", 10)
                assert len(scan._others) == scanner._MAX_SEEN
                assert len(scan._searches) == 1
                assert looks == 1
                place(radio)
                assert (await scan.find("ups_bms".upper(), 10)).address == UPS.address
        assert looks <= 4

    run(work)


def test_strangers_do_not_hide_a_listed_battery(radio: VirtualRadio) -> None:
    """Each battery is yielded once, however many devices advertise between."""

    async def work() -> None:
        place(radio)
        advertise(radio, 500, advert="unrelated")
        place(radio, TWIN)
        async with Scan() as scan:
            seen = [each.address async for each in scan.batteries(5)]
            assert seen == sorted([UPS.address, TWIN.address])
            assert scan._batteries.keys() == {UPS.address, TWIN.address}

    run(work)


def test_fakes_that_never_answer_are_dropped_for_newcomers(
    radio: VirtualRadio,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A thousand take no more memory and no more log than a few, and hide no battery."""
    monkeypatch.setattr(monitors, "FORGET_AFTER", 60)
    monkeypatch.setattr(monitors, "_MAX_UNREAD", 4)

    async def work() -> None:
        place_fakes(radio)
        monitor = Monitor()
        async with reading(monitor, 60):
            await asyncio.sleep(300)
            place(radio)
            await until(lambda: labels(monitor).get("UPS_BMS"), 600)
            for _ in range(300):
                await asyncio.sleep(1)
                assert len(monitor.batteries) <= 5
                assert labels(monitor)["UPS_BMS"]
            # A dropped one stays until its next attempt would be due
            assert len(monitor._clients) <= 16
            assert len(monitor._seen) <= 16
            for bms, _ in [*radio.reach.values()]:
                radio.remove(bms)
            await asyncio.sleep(300)
            assert monitor.batteries == []

    run(work)
    unread, lost, dropped = (
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING
    )
    assert "cannot be read: Connected, but" in unread
    assert lost.startswith("UPS_BMS is lost: ")
    assert dropped.startswith("UPS_BMS is dropped: ")


# Slots of an adapter


def test_batteries_that_failed_wait_for_the_others() -> None:
    """Batteries that were read come first, and the latest failure comes last."""

    async def work() -> None:
        monitor = Monitor(["failed last", "failed first", "new", "read"])
        *failed, _, read = monitor.batteries
        for battery in reversed(failed):
            await asyncio.sleep(1)
            monitor.fail(battery, SilentError("silent"))
        info = DeviceInfo(device_model="BMS", software_version="11.48")
        monitor.succeed(read, Reading.without_values(info, time=0.0))
        assert [b.target for b in sorted(monitor.batteries, key=lambda b: b.rank)] == [
            "read",
            "new",
            "failed first",
            "failed last",
        ]

    run(work)


def test_slot_goes_to_the_lowest_rank() -> None:
    """Batteries that were read come first, and the latest failure comes last."""
    order: list[str] = []

    async def work() -> None:
        slots = AdapterSlots()

        async def use(name: str, rank: tuple[bool, float]) -> None:
            async with slots.slot(rank):
                order.append(name)
                await asyncio.sleep(1)

        with patch("custom_components.jk_bms.jkbms.cli.adapter_slots._MAX_SLOTS", 1):
            slots = AdapterSlots()
            async with asyncio.TaskGroup() as tasks:
                for name, rank in (
                    ("first", (True, 9.0)),
                    ("failed late", (True, 8.0)),
                    ("failed early", (True, 7.0)),
                    ("new", (True, float("-inf"))),
                    ("read, failed", (False, 5.0)),
                    ("read", (False, float("-inf"))),
                ):
                    tasks.create_task(use(name, rank))
        assert (slots.active, slots.ended) == (0, 6)

    run(work)
    assert order == [
        "first",
        "read",
        "read, failed",
        "new",
        "failed early",
        "failed late",
    ]


def test_cancelled_waiter_leaves_its_slot_to_the_next() -> None:
    """Whether it waits, or has just been granted the slot."""

    async def work() -> None:
        with patch("custom_components.jk_bms.jkbms.cli.adapter_slots._MAX_SLOTS", 1):
            slots = AdapterSlots()
            used: list[int] = []

            async def use(number: int) -> None:
                async with slots.slot((True, number)):
                    used.append(number)

            async with slots.slot((True, 0)):
                tasks = [asyncio.create_task(use(number)) for number in range(3)]
                await asyncio.sleep(0)
                tasks[0].cancel()
                await asyncio.sleep(0)
            # The second one has its slot, but has not run yet
            tasks[1].cancel()
            await asyncio.wait(tasks)
            assert used == [2]
            assert (slots.active, slots.ended) == (0, 2)

    run(work)


def test_refused_slot_lowers_the_number_of_slots() -> None:
    """Until others end: then there may be room again."""

    async def work() -> None:
        slots = AdapterSlots()
        gate = asyncio.Event()

        async def hold() -> None:
            async with slots.slot((True, 0)):
                await gate.wait()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(hold())
            await asyncio.sleep(0)
            with pytest.raises(NoFreeSlotError):
                async with slots.slot((True, 0)):
                    raise NoFreeSlotError("none")
            third = asyncio.create_task(hold())
            await asyncio.sleep(1)
            assert slots.active == 2
            gate.set()
            await third
        assert (slots.active, slots.ended) == (0, 3)

    run(work)
