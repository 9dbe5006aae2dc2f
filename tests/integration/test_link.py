"""The held link: live values, and what becomes of it when it dies or is not wanted."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise
import logging
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms import coordinator
from custom_components.jk_bms.const import RETRY_INTERVAL
from custom_components.jk_bms.jkbms.bluetooth import client, session
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import HomeAssistant
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import (
    fire_timers,
    our_lines,
    receive_advertisement,
    setup_integration,
    until,
    until_held,
)

SOC = "sensor.house_24v_state_of_charge"
INTERVAL = 0.2
"""s; the form offers no less than 5."""


@pytest.fixture
def interval() -> float:
    """Publish often."""
    return INTERVAL


@pytest.fixture(autouse=True)
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a link for one that lasts, however short it lived."""
    monkeypatch.setattr(coordinator, "MIN_LINK_LIFETIME", 0.0)


@pytest.fixture
async def entry(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, interval: float
) -> MockConfigEntry:
    """Set up a battery and wait until its link is held."""
    bms.battery.override(soc=40)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, link="held", interval=interval)
    assert entry.state is ConfigEntryState.LOADED
    await until_held(bms, entry)
    assert len(bms.connections) == 2
    return entry


async def until_shown(hass: HomeAssistant, soc: int) -> None:
    """Wait for a state of charge."""
    await until(lambda: hass.states.get(SOC).state == str(soc))


async def test_held_link_streams_values(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """What changes is shown without a new connection, at most once an interval."""
    times: list[float] = [entry.runtime_data.data.time]
    entry.async_on_unload(
        entry.runtime_data.async_add_listener(
            lambda: times.append(entry.runtime_data.data.time)
        )
    )
    for soc in range(41, 46):
        bms.battery.override(soc=soc)
        await until_shown(hass, soc)
    assert len(bms.connections) == 2
    assert bms.beeps == 0
    assert len(times) > 5
    for before, after in pairwise(times):
        assert after - before >= INTERVAL


@pytest.mark.parametrize("end", ["dropped", "unplugged", "silent"])
async def test_lost_link_is_reestablished_at_once(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    end: str,
) -> None:
    """A link that ends or falls silent is re-established at once."""
    monkeypatch.setattr(session, "SILENCE_TIMEOUT", 1.0)
    match end:
        case "dropped":
            bms.drop()
        case "unplugged":
            proxy.unplug()
            proxy.replug()
            proxy.advertise(bms)
        case "silent":
            # The shorter timeout applies from the next frame on.
            bms.battery.override(soc=41)
            await until_shown(hass, 41)
            bms.faults = Faults(silent=True)
            await until(lambda: not bms.connected)
            bms.faults = Faults()
    bms.battery.override(soc=42)
    await until_shown(hass, 42)
    assert len(bms.connections) == 3
    coordinator = entry.runtime_data
    first, second, *_ = coordinator.attempts
    assert first.outcome == "read"
    assert second.outcome != "read"
    assert coordinator.last_poll_successful
    assert our_lines(caplog, logging.INFO) == []


async def test_lost_link_reconnects_through_another_proxy(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    far_proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
) -> None:
    """When the proxy dies that the link goes through, the next one does not."""
    receive_advertisement(far_proxy, bms)
    assert bms.connections[-1].source == proxy.source
    proxy.unplug()
    bms.battery.override(soc=41)
    await until_shown(hass, 41)
    assert bms.connections[-1].source == far_proxy.source


async def test_short_lived_link_is_retried_after_a_pause(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reconnecting at once each time would keep battery and proxy busy."""
    monkeypatch.setattr(coordinator, "MIN_LINK_LIFETIME", 1000.0)
    bms.battery.override(soc=41)
    await until_shown(hass, 41)
    bms.drop()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(bms.connections) == 2
    fire_timers(hass, RETRY_INTERVAL)
    await until_held(bms, entry)
    assert len(bms.connections) == 3


async def test_failed_connection_is_retried_after_a_pause(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Attempts without a pause would occupy a slot of the proxy all the time."""
    monkeypatch.setitem(client.JkBmsClient.hold.__kwdefaults__, "deadline", 4.0)
    bms.battery.override(soc=41)
    await until_shown(hass, 41)
    bms.faults = Faults(hang_connection=True)
    bms.drop()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(list(entry.runtime_data.attempts)) == 3
    bms.faults = Faults()
    bms.battery.override(soc=42)
    fire_timers(hass, RETRY_INTERVAL)
    await until_shown(hass, 42)


@pytest.mark.parametrize("interval", [900.0])
async def test_reestablished_link_publishes_before_the_interval(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """A link that was lost shows at once that it is back."""
    bms.faults = Faults(refuse_connection=True)
    bms.drop()
    await until(lambda: not entry.runtime_data.last_poll_successful)
    bms.battery.override(soc=41)
    bms.faults = Faults()
    fire_timers(hass, RETRY_INTERVAL)
    await until_shown(hass, 41)
    assert entry.runtime_data.last_poll_successful


async def test_held_link_is_renewed_at_its_maximum_age(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An old link makes place for a new one, which reads the settings again."""
    monkeypatch.setitem(client.JkBmsClient.hold.__kwdefaults__, "lifetime", 0.5)
    bms.drop()
    await until(lambda: len(bms.connections) >= 5)
    reasons = [connection.reason for connection in bms.connections]
    assert reasons[2:4] == ["by the central", "by the central"]
    assert entry.runtime_data.attempts.last.outcome == "read"
    bms.battery.override(soc=41)
    await until_shown(hass, 41)


type End = Callable[[HomeAssistant, MockConfigEntry], Awaitable[Any]]


async def unload(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Unload the entry."""
    assert await hass.config_entries.async_unload(entry.entry_id)


async def reload(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Reload the entry."""
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()


async def remove(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Remove the entry."""
    await hass.config_entries.async_remove(entry.entry_id)


async def stop(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Stop Home Assistant."""
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await hass.async_block_till_done()


@pytest.mark.parametrize("end", [unload, reload, remove, stop])
async def test_unload_disconnects_held_link(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, end: End
) -> None:
    """A battery that stays connected would be lost to every other client."""
    await end(hass, entry)
    assert bms.connections[1].reason == "by the central"
    if end is reload:
        await until_held(bms, entry)
        assert len(bms.connections) == 4
    else:
        await hass.async_block_till_done(wait_background_tasks=True)
        fire_timers(hass, timedelta(hours=1))
        await hass.async_block_till_done(wait_background_tasks=True)
        assert not bms.connected
        assert len(bms.connections) == 2
