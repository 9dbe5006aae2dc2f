"""One household on the bench, in a process of its own: `python -m tests.bench.household '{…}'`.

It prints what was measured as JSON. The process is its own as its time jumps, and as
what one household leaves behind is not to be measured with the next.
"""

# The clock first: all other modules keep the function that they import.
from .clock import BenchLoop, now  # isort: skip

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
import gc
from itertools import batched
import json
import sys
from time import thread_time
import tracemalloc
from typing import Any

from sqlalchemy import func, select

from homeassistant.components.recorder.db_schema import StateAttributes, States
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import EVENT_STATE_CHANGED, EVENT_STATE_REPORTED
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.recorder import get_instance, session_scope
from tests.demo.home import DOMAIN
from tests.virtual_bms import Battery, Faults, VirtualBms
from tests.virtual_bms.models import MODELS
from tests.virtual_bms.scanner import VirtualProxy

from .home import MODEL, async_add, async_switch_on, home, loaded, make_batteries
from .meter import METER, STAND_IN, MeteredProxy, Owner

WARM_UP = 120.0
FOREIGNERS = 100
ROUNDS = 30


@dataclass(frozen=True, kw_only=True)
class Household:
    """What is measured."""

    released: int = 0
    held: int = 0
    dead: int = 0
    """Of the released ones, as many are in range and refuse every connection."""
    slots: int = 3
    """Connections that a proxy can hold."""
    near: int = 3
    """Batteries in reach of each proxy."""
    minutes: float = 5.0
    memory: bool = False
    """Measure memory, which slows everything else down."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came out, for all batteries together unless it says otherwise."""

    loaded: int
    """Batteries that are set up at the end."""
    cpu: float
    """s of the event loop a minute, less what it spends while the batteries are off."""
    collections: float
    """s a minute."""
    longest_collection: float
    """s, of all from the begin on."""
    longest: float
    """s of the longest block."""
    longest_at_setup: float
    writes: float
    """State changes and reports a minute."""
    rows: float
    """Rows of states and attributes an hour."""
    memory: float
    """Bytes."""
    readings: int
    """Those of the battery that had the fewest."""
    gap: float
    """s, the longest time that a battery was not read, the dead ones apart."""
    connections: int
    issues: list[str]
    """Keys of the repairs issues."""
    foreign_advert: float
    """s more for an advertisement of something else, than without the integration."""
    own_advert: float
    """s more for an advertisement of a battery whose read is not due."""


class Ledger:
    """When each battery was read."""

    def __init__(self, entries: Iterable[ConfigEntry]) -> None:
        """Begin now."""
        self.times: dict[str, list[float]] = {}
        for entry in entries:
            times = self.times[entry.entry_id] = [now()]

            def note(entry: ConfigEntry = entry, times: list[float] = times) -> None:
                coordinator = entry.runtime_data
                if coordinator.data.time > times[-1]:
                    times.append(coordinator.data.time)

            if hasattr(entry, "runtime_data"):
                entry.runtime_data.async_add_listener(note)

    def gaps(self) -> list[float]:
        """Return the longest of each, the end included."""
        end = now()
        return [
            max(b - a for a, b in zip(times, [*times[1:], end], strict=True))
            for times in self.times.values()
        ]


async def measure(household: Household) -> Measured:
    """Let a household live, first without the integration, then with it."""
    count = household.released + household.held
    batteries = make_batteries(count, VirtualBms)
    dead = batteries[household.held : household.held + household.dead]
    async with home() as hass:
        proxies = start_proxies(household, batteries)
        held = await async_add(hass, batteries[: household.held], link="held")
        released = await async_add(hass, batteries[household.held :], link="released")
        entries = held + released
        for proxy in proxies:
            proxy.start_advertising()
        with METER.running():
            await asyncio.sleep(WARM_UP)
            idle = await spend(household.minutes)
            adverts = _time_adverts(proxies, batteries)
            memory = _memory(household)
            METER.reset()
            await async_switch_on(hass, entries)
            longest_at_setup = METER.longest
            for bms in dead:
                bms.faults = Faults(hang_connection=True)
            await asyncio.sleep(WARM_UP)

            writes = _count_writes(hass)
            rows = await _rows(hass)
            connections = _connections(batteries)
            ledger = Ledger(entry for entry in entries if _is_alive(entry, dead))
            spent = await spend(household.minutes)
            result = Measured(
                loaded=loaded(entries),
                cpu=spent - idle,
                collections=METER.collections / household.minutes,
                longest_collection=METER.longest_collection,
                longest=METER.longest,
                longest_at_setup=longest_at_setup,
                writes=writes[0] / household.minutes,
                rows=(await _rows(hass) - rows) * 60 / household.minutes,
                memory=_memory(household) - memory,
                readings=min(len(times) - 1 for times in ledger.times.values()),
                gap=max(ledger.gaps()),
                connections=_connections(batteries) - connections,
                issues=[
                    issue.translation_key or ""
                    for issue in ir.async_get(hass).issues.values()
                    if issue.domain == DOMAIN
                ],
                **_more(adverts, _time_adverts(proxies, batteries)),
            )
        for proxy in proxies:
            proxy.stop()
    return result


def start_proxies(
    household: Household, batteries: list[VirtualBms]
) -> list[MeteredProxy]:
    """Start as many as it takes to reach all batteries."""
    proxies = []
    for number, near in enumerate(batched(batteries, household.near), 1):
        proxy = MeteredProxy(
            f"02:00:00:00:00:{number:02X}", f"Proxy {number}", household.slots
        )
        for bms in near:
            proxy.place(bms)
        proxy.start()
        proxies.append(proxy)
    return proxies


def _is_alive(entry: ConfigEntry, dead: list[VirtualBms]) -> bool:
    return entry.unique_id not in {bms.address for bms in dead}


async def spend(minutes: float) -> float:
    """Let time pass; return s of CPU a minute."""
    METER.switch(Owner.HOME)
    METER.reset()
    await asyncio.sleep(60 * minutes)
    METER.switch(Owner.HOME)
    return METER.spent[Owner.HOME] / minutes


def _connections(batteries: list[VirtualBms]) -> int:
    return sum(len(bms.connections) for bms in batteries)


def _count_writes(hass: HomeAssistant) -> list[int]:
    count = [0]

    @callback
    def add(_: Any) -> None:
        count[0] += 1

    @callback
    def wanted(_: Any) -> bool:
        return True

    hass.bus.async_listen(EVENT_STATE_CHANGED, add, event_filter=wanted)
    hass.bus.async_listen(EVENT_STATE_REPORTED, add, event_filter=wanted)
    return count


async def _rows(hass: HomeAssistant) -> int:
    recorder = get_instance(hass)
    await recorder.async_block_till_done()

    def count() -> int:
        with session_scope(hass=hass, read_only=True) as session:
            return sum(
                session.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (States, StateAttributes)
            )

    return await recorder.async_add_executor_job(count)


def _memory(household: Household) -> float:
    """Return what is in use, but for the stand-in; begin to count if asked."""
    if not household.memory:
        return 0.0
    if not tracemalloc.is_tracing():
        tracemalloc.start()
        return 0.0
    gc.collect()
    kept = tracemalloc.take_snapshot().filter_traces(
        (
            tracemalloc.Filter(False, f"{STAND_IN}/*"),
            tracemalloc.Filter(False, tracemalloc.__file__),
        )
    )
    return float(sum(trace.size for trace in kept.traces))


def _time_adverts(
    proxies: list[MeteredProxy], batteries: list[VirtualBms]
) -> tuple[float, float]:
    """Return s for an advertisement of a foreign device, and of a battery."""
    spec = replace(MODELS[MODEL], advert="unrelated")
    foreigners = [
        VirtualBms(
            Battery(
                replace(spec, name="lamp", address=f"AA:BB:CC:00:00:{number:02X}"),
                soc=0.5,
            )
        )
        for number in range(FOREIGNERS)
    ]
    proxy = proxies[0]
    ours = [bms for bms in batteries if bms.address in proxy.radio.reach]
    for bms in foreigners:
        proxy.place(bms)
    try:
        return _time_of(proxy, foreigners), _time_of(proxy, ours)
    finally:
        for bms in foreigners:
            proxy.remove(bms)


def _time_of(proxy: VirtualProxy, devices: list[VirtualBms]) -> float:
    """Return the least that one took on average of a round, as load only adds."""
    times = []
    for _ in range(ROUNDS):
        began = thread_time()
        for _ in range(FOREIGNERS // len(devices)):
            for bms in devices:
                proxy.advertise(bms)
        times.append((thread_time() - began) / FOREIGNERS)
    return min(times)


def _more(
    without: tuple[float, float], with_it: tuple[float, float]
) -> dict[str, float]:
    return {
        name: after - before
        for name, before, after in zip(
            ("foreign_advert", "own_advert"), without, with_it, strict=True
        )
    }


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=BenchLoop) as runner:
        asked = Household(**json.loads(sys.argv[1]))
        print(json.dumps(asdict(runner.run(measure(asked)))))
