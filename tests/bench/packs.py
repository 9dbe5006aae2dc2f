"""Packs and their banks on the bench, in a process of their own: `python -m tests.bench.packs '{…}'`."""

# The clock first: all other modules keep the function that they import.
from .clock import BenchLoop  # isort: skip

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from itertools import batched
import json
from statistics import median
import sys
from types import MappingProxyType
from typing import Any, Final

from homeassistant.config_entries import (
    SOURCE_USER,
    ConfigEntry,
    ConfigEntryDisabler,
    ConfigEntryState,
)
from homeassistant.core import HomeAssistant
from tests.demo.home import DOMAIN
from tests.virtual_bms import VirtualBms

from .home import async_add, async_switch_on, home, loaded, make_batteries
from .household import WARM_UP, Household, Ledger, spend, start_proxies
from .meter import METER

MINUTES: Final = 5.0
"""Of each turn: the slow values are written once in it."""
SETTLE: Final = 60.0
"""s after the banks were switched on or off."""
WATCHED: Final = 900.0
"""s for which the ages of readings and values are watched."""
SAMPLE_INTERVAL: Final = 1.0
"""s between two looks at how old the values of a bank are."""


@dataclass(frozen=True, kw_only=True)
class Banks:
    """What is measured: packs in range of proxies with three slots, in equal banks."""

    packs: int
    banks: int
    near: int
    """Packs in range of each proxy."""
    turns: int
    """With and without the banks in turn, so that noise hits both alike."""
    connect_time: float = 0.4
    """s that a pack takes to connect."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came out."""

    loaded: int
    """Packs and banks that are set up."""
    without: float
    """s of CPU a minute that the packs cost, the median of the turns."""
    cpu: float
    """The same with the banks."""
    gap: float
    """s, the longest time that a pack was not read."""
    oldest: float
    """s, the age of the oldest value that a bank counted, seen every second."""
    incomplete: int
    """How often a bank was seen without one of its packs."""


async def measure(asked: Banks) -> Measured:
    """Let packs live without and with their banks, in turn."""
    batteries = make_batteries(asked.packs, VirtualBms)
    for bms in batteries:
        bms.behaviour = replace(bms.behaviour, connect_time=asked.connect_time)
    household = Household(released=asked.packs, near=asked.near)
    async with home() as hass:
        proxies = start_proxies(household, batteries)
        packs = await async_add(hass, batteries, link="released")
        banks = await _async_add_banks(hass, packs, asked.banks)
        for proxy in proxies:
            proxy.start_advertising()
        with METER.running():
            await asyncio.sleep(WARM_UP)
            idle = await spend(MINUTES)
            await async_switch_on(hass, packs)
            await asyncio.sleep(WARM_UP)
            without, with_banks = [], []
            for _ in range(asked.turns):
                await asyncio.sleep(SETTLE)
                without.append(await spend(MINUTES) - idle)
                async with _switched_on(hass, banks):
                    await asyncio.sleep(SETTLE)
                    with_banks.append(await spend(MINUTES) - idle)
            async with _switched_on(hass, banks):
                await asyncio.sleep(WARM_UP)
                ledger = Ledger(packs)
                oldest, incomplete = await _watch(banks)
                result = Measured(
                    loaded=loaded(packs) + loaded(banks),
                    without=median(without),
                    cpu=median(with_banks),
                    gap=max(ledger.gaps()),
                    oldest=oldest,
                    incomplete=incomplete,
                )
        for proxy in proxies:
            proxy.stop()
    return result


async def _async_add_banks(
    hass: HomeAssistant, packs: list[ConfigEntry], count: int
) -> list[ConfigEntry]:
    """Add banks of equal size, switched off."""
    banks = []
    for number, members in enumerate(batched(packs, len(packs) // count), 1):
        entry: ConfigEntry = ConfigEntry(
            version=1,
            minor_version=1,
            domain=DOMAIN,
            title=f"Bank {number}",
            data={
                "packs": [member.entry_id for member in members],
                "wiring": "parallel",
            },
            options={},
            source=SOURCE_USER,
            unique_id=None,
            disabled_by=ConfigEntryDisabler.USER,
            discovery_keys=MappingProxyType({}),
            subentries_data=None,
        )
        await hass.config_entries.async_add(entry)
        banks.append(entry)
    return banks


@asynccontextmanager
async def _switched_on(
    hass: HomeAssistant, banks: list[ConfigEntry]
) -> AsyncGenerator[None]:
    await async_switch_on(hass, banks)
    try:
        yield
    finally:
        for bank in banks:
            await hass.config_entries.async_set_disabled_by(
                bank.entry_id, ConfigEntryDisabler.USER
            )
        await hass.async_block_till_done()


async def _watch(banks: list[ConfigEntry]) -> tuple[float, int]:
    """Return how old the values of the banks became, and how often one lacked a pack."""
    oldest, incomplete = 0.0, 0
    for _ in range(int(WATCHED / SAMPLE_INTERVAL)):
        await asyncio.sleep(SAMPLE_INTERVAL)
        for bank in banks:
            assert bank.state is ConfigEntryState.LOADED
            now: Any = bank.runtime_data.combine(bank.runtime_data.packs())
            oldest = max(oldest, now.oldest)
            incomplete += now.is_incomplete
    return oldest, incomplete


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=BenchLoop) as runner:
        asked = Banks(**json.loads(sys.argv[1]))
        print(json.dumps(asdict(runner.run(measure(asked)))))
