"""Tests of the integration, on the real Bluetooth stack of Home Assistant."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from bluetooth_data_tools import monotonic_time_coarse
import pytest
from pytest_homeassistant_custom_component import common
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components import jk_bms
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.options import DEFAULT_INTERVAL
from homeassistant.const import CONF_ADDRESS, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import (
    Event,
    EventStateChangedData,
    HomeAssistant,
    ServiceCall,
    callback,
)
from homeassistant.helpers.event import async_track_state_change_event
from homeassistant.util import dt as dt_util
from homeassistant.util.async_ import get_scheduled_timer_handles
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.adverts import advertisement
from tests.virtual_bms.scanner import VirtualProxy

SPEED = 50.0
"""How much faster than a real one a battery is here."""
MAX_DATA_AGE = timedelta(seconds=90)
"""Of values read at the default interval."""
ROOT = Path(__file__).parents[2]
BLUEPRINTS = ROOT / "blueprints" / "automation" / "jk_bms"
TRANSLATIONS = json.loads(
    (Path(jk_bms.__path__[0]) / "translations" / "en.json").read_text()
)


def sentence(error: str) -> str:
    """Return the sentence of an error, up to its first variable part."""
    message: str = TRANSLATIONS["exceptions"][error]["message"]
    return message.partition("{")[0].removesuffix(".")


def mock_entry(bms: VirtualBms, **options: Any) -> MockConfigEntry:
    """Return the entry that the flows make for this battery."""
    return MockConfigEntry(
        domain=DOMAIN,
        entry_id=bms.address,
        title=bms.spec.name,
        unique_id=bms.address,
        data={CONF_ADDRESS: bms.address},
        options=options,
    )


async def setup_integration(
    hass: HomeAssistant, bms: VirtualBms, **options: Any
) -> MockConfigEntry:
    """Add a battery and set it up."""
    entry = mock_entry(bms, **options)
    entry.add_to_hass(hass)
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


@callback
def timers_by_due_time(loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
    """Return the timers of a loop, the next one first."""
    return sorted(get_scheduled_timer_handles(loop), key=asyncio.TimerHandle.when)


def fire_timers(hass: HomeAssistant, delay: timedelta = DEFAULT_INTERVAL) -> None:
    """Fire the timers of this time span, in the order in which they are due.

    The plug-in of Home Assistant fires them in that of the heap of the loop, and takes
    the time of the machine for each of them. On a busy one the last were no longer due,
    since the clock of the loop stands still.
    """
    now = dt_util.utcnow()
    clock = SimpleNamespace(time=now.timestamp)
    with (
        patch.object(common, "time", clock),
        patch.object(common, "get_scheduled_timer_handles", timers_by_due_time),
    ):
        async_fire_time_changed(hass, now + delay)


async def pass_time(hass: HomeAssistant, delay: timedelta = DEFAULT_INTERVAL) -> None:
    """Fire the timers of this time span, and wait until their work is done."""
    fire_timers(hass, delay)
    await hass.async_block_till_done(wait_background_tasks=True)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition during a read."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


def notification_texts(calls: Iterable[ServiceCall]) -> list[tuple[str, str]]:
    """Return title and message of each notification, without line breaks."""
    return [
        (call.data["title"], " ".join(call.data["message"].split())) for call in calls
    ]


def our_lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """Return what we have logged at this level or above."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= level and record.name.startswith("custom_components.")
    ]


def note_events(
    hass: HomeAssistant, entity_id: str, *attributes: str
) -> list[dict[str, Any]]:
    """Record these attributes of an event entity at each new event."""
    noted: list[dict[str, Any]] = []
    seen = {STATE_UNAVAILABLE, STATE_UNKNOWN}

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        state = event.data["new_state"]
        if state and state.state not in seen:
            seen.add(state.state)
            noted.append({k: v for k, v in state.attributes.items() if k in attributes})

    async_track_state_change_event(hass, entity_id, note)
    return noted


async def until_held(bms: VirtualBms, entry: MockConfigEntry) -> None:
    """Wait until the link is held and the battery streams."""
    await until(lambda: bms.connected and entry.runtime_data.client._held)


def receive_advertisement(
    proxy: VirtualProxy, bms: VirtualBms, *, later: float = 0.0
) -> None:
    """Receive an advertisement with a time `later` s from now, or before."""
    _, rssi = proxy.radio.reach[bms.address]
    data = advertisement(bms.spec, rssi)
    proxy._async_on_advertisement(
        bms.address,
        data.rssi,
        data.local_name,
        data.service_uuids,
        data.service_data,
        data.manufacturer_data,
        data.tx_power,
        {},
        monotonic_time_coarse() + later,
    )


def forget(proxy: VirtualProxy, bms: VirtualBms) -> None:
    """Let Home Assistant drop a battery out of range, as it does after some minutes."""
    receive_advertisement(proxy, bms, later=-200)
    proxy._async_expire_devices()
    for handle in get_scheduled_timer_handles(asyncio.get_running_loop()):
        if "_async_check_unavailable" in repr(handle) and not handle.cancelled():
            handle._run()
            handle.cancel()
