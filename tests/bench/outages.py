"""A campaign of outages in a whole Home Assistant: `python -m tests.bench.outages '{…}'`.

It prints the result as JSON. It is a separate process because its clock jumps.
"""

# The clock first: other modules keep a reference to the time function.
from .clock import BenchLoop, now  # isort: skip

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
import gc
from itertools import batched, chain, cycle, islice
import json
import logging
from random import Random
import re
import sys
import tracemalloc
from typing import Final, override

from custom_components import jk_bms
from custom_components.jk_bms.energy_store import EnergyStore
from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from tests.virtual_bms import Faults, VirtualRadio
from tests.virtual_bms.scanner import VirtualProxy

from .campaign import (
    ALONE,
    DAMAGED,
    INTERVAL,
    Outage,
    ReadingChecker,
    Report,
    mixtures,
    run_outages,
)
from .home import async_add, async_switch_on, home, loaded, make_batteries
from .truth import CountedBms, TrueEnergy

LOGGER: Final = "custom_components.jk_bms"
LOST, BACK = " is unavailable: ", " is available again"
SLOTS: Final = 3
MAX_GAP: Final = 3 * INTERVAL
"""s between two samples that are counted."""
OURS: Final = ("JkBms", "jk_bms/", "bleak", "Timeout")
PACKAGE: Final = next(iter(jk_bms.__path__))


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """Parameters."""

    batteries: int = 24
    """Every second link is held."""
    mixtures: int = 50
    damaged: int = 0
    """Outages in which frames are damaged in several places, instead of all others."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class CampaignResult:
    """What the campaign found."""

    report: Report
    hours: float
    loaded: int
    lost: int
    """Log lines that report a lost battery."""
    unpaired: list[str]
    """Lost or back reported twice in a row, or lost at the end."""
    unexpected: list[str]
    """Other warnings of ours, and errors of anyone."""
    tasks: list[str]
    """Those that remain and did not exist before."""
    timers: list[str]
    """Of batteries and links, likewise."""
    slots: int
    """Taken after everything was unloaded."""
    growth: int
    """Bytes of the integration, over the second half of the campaign."""
    counted: float
    """kWh on the held links."""
    true: float
    """kWh of those batteries in the time that was counted."""


@dataclass
class _Lines(logging.Handler):
    """Reads the log."""

    lost: int = 0
    unpaired: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._out: set[str] = set()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        ours = record.name.startswith(LOGGER)
        if ours and LOST in line:
            name = line.partition(LOST)[0]
            self.lost += 1
            if name in self._out:
                self.unpaired.append(line)
            self._out.add(name)
        elif ours and line.endswith(BACK):
            name = line.removesuffix(BACK)
            if name not in self._out:
                self.unpaired.append(line)
            self._out.discard(name)
        elif record.levelno >= (logging.WARNING if ours else logging.ERROR):
            self.unexpected.append(f"{record.name}: {line}")

    def finish(self) -> None:
        """Report batteries that are still lost."""
        self.unpaired += [f"{name} is still lost" for name in self._out]

    __hash__ = object.__hash__


async def run(campaign: Campaign) -> CampaignResult:
    """Let batteries fail in a Home Assistant, and report what remains."""
    report, lines = Report(), _Lines()
    batteries = make_batteries(campaign.batteries, CountedBms)
    for bms in batteries:
        # With nothing to compare it with
        bms.faults = Faults(forge_cells=1)
    radios: dict[str, VirtualRadio] = {}
    async with home() as hass:
        proxies = []
        for number, near in enumerate(batched(batteries, SLOTS, strict=False), 1):
            source = f"02:00:00:00:00:{number:02X}"
            proxy = VirtualProxy(source, f"Proxy {number}", SLOTS)
            for bms in near:
                proxy.place(bms)
                radios[bms.address] = proxy.radio
            proxy.start()
            proxies.append(proxy)
        held = await async_add(hass, batteries[::2], link="held")
        released = await async_add(hass, batteries[1::2], link="released")
        entries = sorted(held + released, key=lambda entry: entry.data["address"])
        for proxy in proxies:
            proxy.start_advertising()
        await async_switch_on(hass, entries)
        checkers = [
            _watch(entry, ReadingChecker(bms, report))
            for entry, bms in zip(entries, batteries, strict=True)
        ]
        for bms in batteries:
            bms.faults = Faults()
        truths = {}
        for entry, bms in zip(entries[::2], batteries[::2], strict=True):
            truths[entry.entry_id] = TrueEnergy(bms, MAX_GAP)
            entry.runtime_data.live.add_listener(truths[entry.entry_id].feed)
        counted = -_counted(hass, truths)
        logging.getLogger(LOGGER).setLevel(logging.INFO)
        logging.getLogger().addHandler(lines)

        async def run_outage(outages: Iterator[Outage], seed: int) -> int:
            await run_outages(
                checkers,
                outages,
                lambda bms: radios[bms.address],
                seed=seed,
            )
            await asyncio.sleep(2 * INTERVAL)
            while any(bms.connected for bms in batteries[1::2]):
                await asyncio.sleep(0.1)
            gc.collect()
            kept = tracemalloc.take_snapshot().filter_traces(
                [tracemalloc.Filter(True, f"{PACKAGE}/*", all_frames=True)]
            )
            return sum(trace.size for trace in kept.traces)

        began = now()
        tracemalloc.start()
        outages: Iterator[Outage]
        if campaign.damaged:
            outages = islice(cycle(DAMAGED), campaign.damaged)
        else:
            mixed = islice(mixtures(Random(campaign.seed)), campaign.mixtures)
            outages = chain(ALONE, mixed)
        first, second = batched(outages, _half(campaign), strict=False)
        memory = await run_outage(iter(first), campaign.seed)
        tasks, timers = _tasks(), _timers()
        growth = await run_outage(iter(second), campaign.seed + 1) - memory
        found_tasks, found_timers = _tasks() - tasks, _timers() - timers
        tracemalloc.stop()
        hours = (now() - began) / 3600
        lines.finish()
        still_loaded = loaded(entries)
        counted += _counted(hass, truths)
        for entry in entries:
            await hass.config_entries.async_unload(entry.entry_id)
        slots = sum(len(proxy.radio.taken) for proxy in proxies)
        for proxy in proxies:
            proxy.stop()
        logging.getLogger().removeHandler(lines)
    return CampaignResult(
        report=report,
        hours=hours,
        loaded=still_loaded,
        lost=lines.lost,
        unpaired=lines.unpaired,
        unexpected=lines.unexpected,
        tasks=sorted(found_tasks.elements()),
        timers=sorted(found_timers.elements()),
        slots=slots,
        growth=growth,
        counted=counted,
        true=sum(each.charged + each.discharged for each in truths.values()),
    )


def _counted(hass: HomeAssistant, entry_ids: Iterable[str]) -> float:
    """Return kWh that the counters of these entries have counted."""
    return sum(
        meter.total
        for entry_id in entry_ids
        for meter in EnergyStore.async_get(hass, entry_id)._meters.values()
    )


def _watch(entry: ConfigEntry, checker: ReadingChecker) -> ReadingChecker:
    coordinator = entry.runtime_data

    @callback
    def see() -> None:
        checker.check(coordinator.data)

    see()
    coordinator.async_add_listener(see)
    return checker


def _tasks() -> Counter[str]:
    return Counter(task.get_name().rstrip("0123456789") for task in asyncio.all_tasks())


def _timers() -> Counter[str]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, BenchLoop)
    # What Home Assistant calls for us has our name in its callback only
    names = (repr(getattr(timer, "_callback")) for timer in loop.timers)  # noqa: B009
    # Without the addresses of objects
    return Counter(
        re.sub(r"0x\w+|[\d.]{5,}", "…", name)
        for name in names
        if any(part in name for part in OURS)
    )


def _half(campaign: Campaign) -> int:
    return ((campaign.damaged or len(ALONE) + campaign.mixtures) + 1) // 2


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=BenchLoop) as runner:
        asked = Campaign(**json.loads(sys.argv[1]))
        print(json.dumps(asdict(runner.run(run(asked)))))
