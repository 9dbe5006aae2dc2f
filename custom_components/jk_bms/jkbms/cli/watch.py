"""Show live values in the terminal: `jkbms --watch`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
import os
import sys
import termios
import tty
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from ..bank import Bank
from ..text import one_line
from .advice import failure_text
from .arguments import ExitCode, Options
from .banks import banks
from .monitor import Battery, Monitor
from .option_types import BankOption
from .polling import Poller
from .table import INDENT, live_view

_INTERVAL: Final = 1.0
"""Seconds between two readings of a battery."""
_MAX_KEYS: Final = 100
"""Bytes read from the keyboard at once."""


async def watch(options: Options) -> ExitCode:
    """Show the batteries until q is pressed."""
    poller = Poller.from_options(options)
    monitor = poller.monitor
    ended = asyncio.Event()
    with (
        Live(
            get_renderable=lambda: _screen(monitor, options.bank),
            console=Console(highlight=False),
            auto_refresh=False,
            screen=True,
        ) as live,
        _keys(ended),
    ):
        monitor.on_change = live.refresh
        live.refresh()
        following = asyncio.create_task(poller.follow(_INTERVAL))
        waiting = asyncio.create_task(ended.wait())
        try:
            await asyncio.wait(
                {following, waiting}, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
    return ExitCode.GOOD


@contextmanager
def _keys(ended: asyncio.Event) -> Iterator[None]:
    """Set the event when q is pressed or the terminal is closed."""
    loop = asyncio.get_running_loop()
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)

    def read_keys() -> None:
        keys = b""
        with suppress(OSError):
            keys = os.read(keyboard, _MAX_KEYS)
        if not keys or b"q" in keys.lower():
            ended.set()

    loop.add_reader(keyboard, read_keys)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        with suppress(termios.error):
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _screen(monitor: Monitor, options: list[BankOption]) -> RenderableType:
    parts: list[RenderableType] = []
    for name, battery in monitor.named():
        parts += _battery(name, battery)
    for name, bank in banks(monitor, options):
        parts += _bank(name, bank)
    if not monitor.batteries:
        parts.append(Text("scanning for batteries …", "dim"))
    return Group(*parts, Text("q quits", "dim"))


def _battery(name: str, battery: Battery) -> Iterator[RenderableType]:
    title = Text(one_line(name), "bold reverse")
    if reading := battery.reading:
        info = reading.device_info
        version = one_line(f"{info.device_model} {info.software_version}")
        title.append(f"  {version}", "not bold dim")
    yield title
    if battery.error:
        yield Padding(Text(one_line(failure_text(battery.error)), "yellow"), INDENT)
    elif reading:
        yield Padding(live_view(reading.cell_data), INDENT)
    else:
        yield Text("  connecting …" if battery.seen else "  scanning …", "dim")


def _bank(name: str, bank: Bank) -> Iterator[RenderableType]:
    title = Text(one_line(name), "bold reverse")
    online = f"  {len(bank.online)} of {bank.pack_count} packs online"
    yield title.append(online, "not bold dim")
    yield Padding(live_view(bank.cell_data), INDENT)
