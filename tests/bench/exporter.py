"""The exporter with many batteries: how long a scrape takes, and what stays of it."""

from array import array
import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
import resource
from statistics import median
import time
from typing import Final

from custom_components.jk_bms.jkbms.export.exporter import Endpoint, Exporter
from custom_components.jk_bms.jkbms.models import BatteryState
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_device_info,
)
from custom_components.jk_bms.jkbms.protocol.detect import find_profile
from custom_components.jk_bms.jkbms.protocol.frames import Frame
from tests.virtual_bms import MODELS, Battery, frames

from .figure import Figure, Options, at_most

BATTERIES: Final = 50
MODEL: Final = "JK_PB2A16S20P 15.41"
CYCLES: Final = 1_000
LONG_CYCLES: Final = 10_000
WARM_UP: Final = 300
"""Cycles in which Python takes what it is going to keep."""
REQUEST: Final = (
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n"
    b"Accept: text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n\r\n"
)


def measure(options: Options) -> Iterator[Figure]:
    """Yield what a scrape of 50 batteries takes, and what memory grows by."""
    cycles = LONG_CYCLES if options.long else CYCLES
    durations, work, growth = asyncio.run(_run(cycles))
    scrape = f"GET of {BATTERIES} batteries of 16 cells over HTTP on loopback, gzip"
    yield Figure(
        "exporter: scrape, work",
        1e3 * median(work),
        "ms",
        at_most(50.0),
        f"{scrape}: time of the processor, the client included, median; what it takes "
        "where nothing else runs",
    )
    yield Figure(
        "exporter: scrape", 1e3 * median(durations), "ms", None, f"{scrape}: median"
    )
    yield Figure(
        "exporter: memory grown",
        growth / 1e6,
        "MB",
        at_most(1.0),
        f"resident memory after {cycles:,} cycles with that after {WARM_UP}; in each, "
        "all batteries are decoded anew, one is lost and comes back, and it is scraped",
    )


async def _run(cycles: int) -> tuple[array[float], array[float], int]:
    """Return s each scrape took, and of the processor, and how many bytes stayed."""
    batteries = _Batteries()
    # No lists, whose growth would be taken for that of the exporter
    durations, work = (array("d", bytes(8 * cycles)) for _ in range(2))
    before = 0
    async with (
        Exporter(Endpoint(port=0), lambda: batteries.states) as exporter,
        _connection(*exporter.addresses[0]) as (reader, writer),
    ):
        for cycle in range(WARM_UP + cycles):
            if cycle == WARM_UP:
                before = _resident()
            batteries.read(cycle)
            begin, worked = time.perf_counter(), time.process_time()
            writer.write(REQUEST)
            await _answer(reader)
            # The times of warming up are written over
            durations[cycle - WARM_UP] = time.perf_counter() - begin
            work[cycle - WARM_UP] = time.process_time() - worked
    return durations, work, _resident() - before


class _Batteries:
    """As many batteries as there are to be, of which each is another one."""

    def __init__(self) -> None:
        virtual = Battery(MODELS[MODEL], time_scale=0.0)
        spec, state = virtual.spec, virtual.state
        info = Frame.parse(frames.info_frame(spec, virtual.settings, state, 1))
        self._frames = [
            Frame.parse(frames.cell_frame(spec, state, counter))
            for counter in range(256)
        ]
        self._info = decode_device_info(info)
        self._profile = find_profile([info, self._frames[0]])
        self.states: list[BatteryState] = []

    def read(self, cycle: int) -> None:
        """Read all, and lose one."""
        self.states = [
            BatteryState(
                device=f"battery {number}",
                device_info=self._info,
                cell_data=decode_cell_data(
                    self._frames[(cycle + number) % 256], self._profile
                ),
                layout=self._profile.layout,
                up=True,
                last_update=time.time(),
                rejected_frames=cycle,
            )
            for number in range(BATTERIES)
        ]
        lost = cycle % BATTERIES
        self.states[lost] = replace(self.states[lost], up=False)


@asynccontextmanager
async def _connection(
    host: str, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Stay connected, as Prometheus does."""
    reader, writer = await asyncio.open_connection(host, port)
    yield reader, writer
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    return await reader.readexactly(int(length))


def _resident() -> int:
    """Return the bytes of memory that the process has now."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * resource.getpagesize()
