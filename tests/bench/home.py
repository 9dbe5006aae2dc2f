"""A real Home Assistant whose time jumps: recorder, Bluetooth, proxies and batteries."""

# The clock first: all other modules keep the function that they import.
from .clock import BenchLoop  # isort: skip

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
import socket
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Final
from unittest.mock import patch

from homeassistant import bootstrap
from homeassistant.components import bluetooth, usb
from homeassistant.config_entries import (
    SOURCE_USER,
    ConfigEntry,
    ConfigEntryDisabler,
    ConfigEntryState,
)
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance
from homeassistant.runner import RuntimeConfig
from tests.demo.home import DOMAIN, INTEGRATIONS, NoAdapters, furnish
from tests.virtual_bms import MODELS, Spec, VirtualBms

from .batteries import CannedBattery

MODEL: Final = "JK_PB2A16S20P 15.41"
"""The unit with the most values, and with idle lines between them."""
CONFIGURATION: Final = """\
bluetooth:
recorder:
logger:
  default: warning
"""


@asynccontextmanager
async def home() -> AsyncGenerator[HomeAssistant]:
    """Start a new Home Assistant, let time jump, and stop it again."""
    with TemporaryDirectory(prefix="bench-") as name:
        async with home_in(Path(name)) as hass:
            yield hass


@asynccontextmanager
async def home_in(folder: Path) -> AsyncGenerator[HomeAssistant]:
    """The same in a folder that is empty or that an earlier one has left."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, BenchLoop)
    with (
        patch.object(bootstrap, "DEFAULT_INTEGRATIONS", INTEGRATIONS),
        patch.object(bluetooth, "get_adapters", NoAdapters),
        patch.object(usb, "scan_serial_ports", list),
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        port = server.getsockname()[1]
        server.close()
        if not (folder / ".storage").exists():
            furnish(folder, "127.0.0.1", port)
            (folder / "configuration.yaml").write_text(CONFIGURATION)
        hass = await bootstrap.async_setup_hass(
            RuntimeConfig(
                str(folder), skip_pip=True, log_file=str(folder / "bench.log")
            )
        )
        assert hass
        await hass.async_start()
        await hass.async_block_till_done()
        recorder = get_instance(hass)
        loop.is_busy = lambda: recorder.backlog > 0
        loop.jumps = True
        try:
            yield hass
        finally:
            loop.jumps = False
            await hass.async_stop(force=True)


def make_batteries[BmsT: VirtualBms](count: int, kind: type[BmsT]) -> list[BmsT]:
    """Make so many of one kind, each at another moment of the same day."""
    return [
        kind(CannedBattery(_spec(number), begin=37 * number), seed=number)
        for number in range(1, count + 1)
    ]


def _spec(number: int) -> Spec:
    return replace(
        MODELS[MODEL],
        name=f"Battery {number}",
        address=f"C8:47:8C:20:00:{number:02X}",
        dip_address=None,
    )


async def async_add(
    hass: HomeAssistant, batteries: Iterable[VirtualBms], **options: Any
) -> list[ConfigEntry]:
    """Add batteries, switched off."""
    entries = []
    for bms in batteries:
        entry: ConfigEntry = ConfigEntry(
            version=1,
            minor_version=1,
            domain=DOMAIN,
            title=bms.spec.name,
            data={CONF_ADDRESS: bms.address},
            options=options,
            source=SOURCE_USER,
            unique_id=bms.address,
            disabled_by=ConfigEntryDisabler.USER,
            discovery_keys=MappingProxyType({}),
            subentries_data=None,
        )
        await hass.config_entries.async_add(entry)
        entries.append(entry)
    return entries


async def async_switch_on(hass: HomeAssistant, entries: Iterable[ConfigEntry]) -> None:
    """Set the added batteries up, all at once."""
    await asyncio.gather(
        *(
            hass.config_entries.async_set_disabled_by(entry.entry_id, None)
            for entry in entries
        )
    )
    await hass.async_block_till_done()


def loaded(entries: Iterable[ConfigEntry]) -> int:
    """Count those that are set up."""
    return sum(entry.state is ConfigEntryState.LOADED for entry in entries)
