"""Life of an entry: set up, retried, reloaded, removed; it always disconnects."""

import asyncio
from dataclasses import replace
from datetime import timedelta
import logging
from types import MappingProxyType
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.jkbms.bluetooth.client import JkBmsClient
from custom_components.jk_bms.options import DEFAULT_INTERVAL
from homeassistant.config_entries import SOURCE_BLUETOOTH, ConfigEntryState
from homeassistant.const import (
    EVENT_HOMEASSISTANT_STARTED,
    EVENT_HOMEASSISTANT_STOP,
    STATE_UNAVAILABLE,
)
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er
from tests.virtual_bms import Faults, VirtualBackend, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import (
    MAX_DATA_AGE,
    fire_timers,
    mock_entry,
    our_lines,
    pass_time,
    receive_advertisement,
    sentence,
    setup_integration,
    until,
)

VOLTAGE = "sensor.house_24v_total_voltage"


async def start_poll(hass: HomeAssistant, bms: VirtualBms) -> None:
    """Let a read begin, and return in the middle of it."""
    fire_timers(hass)
    await until(lambda: bms.streaming)


async def test_setup_reads_and_unload_disconnects(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The link is there for the read only, and nothing is read after unloading."""
    assert hass.states.get(VOLTAGE).state == str(bms.battery.state.voltage)
    assert [connection.reason for connection in bms.connections] == ["by the central"]

    assert await hass.config_entries.async_unload(entry.entry_id)
    assert entry.state is ConfigEntryState.NOT_LOADED
    assert hass.states.get(VOLTAGE).state == STATE_UNAVAILABLE
    await pass_time(hass, 10 * DEFAULT_INTERVAL)
    assert len(bms.connections) == 1


async def test_setup_retries_when_battery_advertises(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """A battery that is out of range at first is set up at its first advertisement."""
    entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "not_in_range"
    assert entry.reason
    assert "never seen by any scanner" in entry.reason
    assert hass.states.get(VOLTAGE) is None

    proxy.advertise(bms)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.state is ConfigEntryState.LOADED
    assert hass.states.get(VOLTAGE).state == str(bms.battery.state.voltage)


@pytest.mark.parametrize(
    ("faults", "slots", "error"),
    [
        (Faults(refuse_connection=True), 3, "not_reachable"),
        (Faults(), 0, "no_free_slot"),
        (Faults(silent=True), 3, "silent"),
        (Faults(foreign="neey"), 3, "not_jk_bms"),
        (Faults(pairing=True), 3, "pairing_required"),
    ],
)
async def test_setup_retries_after_failed_read(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    short_deadline: float,
    faults: Faults,
    slots: int,
    error: str,
) -> None:
    """Home Assistant says why it cannot read the battery, and tries again."""
    proxy.advertise(bms)
    bms.faults = faults
    proxy.radio.slots = slots
    entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == error
    assert entry.reason
    assert entry.reason.startswith(sentence(error))
    assert not bms.connected

    bms.faults = Faults()
    proxy.radio.slots = 3
    await pass_time(hass, timedelta(seconds=10))
    assert entry.state is ConfigEntryState.LOADED


async def test_unexpected_error_in_first_read_retries_and_logs_once(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error that the library does not translate delays the setup as any other does."""
    proxy.advertise(bms)
    with patch.object(JkBmsClient, "read", side_effect=ZeroDivisionError):
        entry = await setup_integration(hass, bms)
        assert entry.state is ConfigEntryState.SETUP_RETRY
        assert entry.error_reason_translation_key == "unknown"
        await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert our_lines(caplog, logging.WARNING) == [
        f"{entry.title}: unexpected error while reading"
    ]
    assert "ZeroDivisionError" in caplog.text

    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED


async def test_failed_platform_setup_cancels_timers(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Values that were read for nothing do not get too old later on."""
    proxy.advertise(bms)
    with patch.object(
        hass.config_entries, "async_forward_entry_setups", side_effect=ZeroDivisionError
    ):
        entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert len(bms.connections) == 1
    await pass_time(hass, MAX_DATA_AGE)
    assert "is unavailable" not in caplog.text


async def test_unload_cancels_setup_retry(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """An entry that could not be set up leaves nothing behind."""
    entry = await setup_integration(hass, bms)
    assert await hass.config_entries.async_unload(entry.entry_id)
    proxy.advertise(bms)
    await pass_time(hass)
    assert bms.connections == []


async def test_restart_waits_for_the_proxy(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """Home Assistant starts faster than its proxies, and reads when it has started."""
    proxy.unplug()
    hass.set_state(CoreState.starting)
    entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.SETUP_RETRY

    proxy.replug()
    proxy.advertise(bms)
    hass.set_state(CoreState.running)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.state is ConfigEntryState.LOADED
    assert hass.states.get(VOLTAGE).state == str(bms.battery.state.voltage)


async def test_unload_ends_running_read(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """A read under way ends with the entry, and so does its link."""
    await start_poll(hass, bms)
    assert await hass.config_entries.async_unload(entry.entry_id)
    assert not bms.connected
    assert bms.connections[-1].reason == "by the central"


async def test_reload_ends_running_read(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The battery can be read again at once: the old link is gone by then."""
    await start_poll(hass, bms)
    bms.battery.override(soc=63)
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert hass.states.get("sensor.house_24v_state_of_charge").state == "63"
    assert not bms.connected
    assert len(bms.connections) == 3


async def test_remove_ends_running_read(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    device_registry: dr.DeviceRegistry,
    entity_registry: er.EntityRegistry,
) -> None:
    """A removed battery leaves nothing behind and is offered again."""
    await start_poll(hass, bms)
    await hass.config_entries.async_remove(entry.entry_id)
    assert not bms.connected
    assert hass.states.async_entity_ids("sensor") == []
    assert not er.async_entries_for_config_entry(entity_registry, entry.entry_id)
    assert not dr.async_entries_for_config_entry(device_registry, entry.entry_id)


async def test_removed_battery_is_rediscovered(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """A battery that is removed is discovered again."""
    proxy.advertise(bms)
    await hass.async_block_till_done(wait_background_tasks=True)
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    for _ in ("read", "add"):
        result = await hass.config_entries.flow.async_configure(flow["flow_id"], {})
    await hass.async_block_till_done()
    assert not hass.config_entries.flow.async_progress_by_handler(DOMAIN)

    await hass.config_entries.async_remove(result["result"].entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["context"]["source"] == SOURCE_BLUETOOTH
    assert flow["context"]["unique_id"] == bms.address


async def test_removed_battery_that_was_added_by_hand_is_discovered(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """An advertisement with the same content as before is enough."""
    hass.config_entries.async_update_entry(entry, discovery_keys=MappingProxyType({}))
    for flow in hass.config_entries.flow.async_progress_by_handler(DOMAIN):
        hass.config_entries.flow.async_abort(flow["flow_id"])
    await hass.config_entries.async_remove(entry.entry_id)
    receive_advertisement(proxy, bms)
    await hass.async_block_till_done(wait_background_tasks=True)
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["context"]["source"] == SOURCE_BLUETOOTH
    assert flow["context"]["unique_id"] == bms.address


async def test_stop_ends_running_read(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    durations: list[float],
) -> None:
    """Home Assistant does not take the link along when it stops."""
    await start_poll(hass, bms)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await hass.async_block_till_done()
    assert not bms.connected
    assert bms.connections[-1].reason == "by the central"
    await pass_time(hass, 10 * DEFAULT_INTERVAL)
    assert len(durations) == 1


async def test_stop_waits_for_disconnection(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole end of Home Assistant, which cancels what runs, waits for the link."""
    releasing = asyncio.Event()
    disconnect = VirtualBackend.disconnect

    async def slow_disconnect(backend: VirtualBackend) -> None:
        releasing.set()
        await asyncio.sleep(0.2)
        await disconnect(backend)

    monkeypatch.setattr(VirtualBackend, "disconnect", slow_disconnect)
    await start_poll(hass, bms)
    await releasing.wait()
    assert bms.connected
    await hass.async_stop(force=True)
    assert not bms.connected
    assert bms.connections[-1].reason == "by the central"


async def test_setup_closes_stale_connections(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """What an earlier life left connected is freed before the first read."""
    proxy.advertise(bms)
    links_before: list[int] = []
    with patch(
        "custom_components.jk_bms.coordinator.close_stale_connections_by_address",
        side_effect=lambda _: links_before.append(len(bms.connections)),
    ) as free:
        await setup_integration(hass, bms)
    free.assert_awaited_once_with(bms.address)
    assert links_before == [0]
    assert len(bms.connections) == 1


async def test_stop_ends_first_read(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """The same holds while the entry is being set up."""
    proxy.advertise(bms)
    bms.faults = Faults(silent=True)
    entry = mock_entry(bms)
    entry.add_to_hass(hass)
    setup = hass.async_create_task(hass.config_entries.async_setup(entry.entry_id))
    await until(lambda: bms.connected)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await until(lambda: not bms.connected)
    assert not await setup
    assert entry.state is ConfigEntryState.SETUP_RETRY


async def test_device_registry_follows_the_battery(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    device_registry: dr.DeviceRegistry,
) -> None:
    """The device shows model and firmware, also after an update."""
    connection = (dr.CONNECTION_BLUETOOTH, bms.address)
    device = device_registry.async_get_device_by_connection(connection, entry.entry_id)
    assert device
    assert device.name == "House 24V"
    assert device.manufacturer == "JiKong"
    assert device.model == "JK_B2A8S20P"
    assert device.hw_version == "11.XA"
    assert device.sw_version == "11.48"
    assert device.serial_number == "3040100001"

    bms.battery.spec = replace(bms.spec, software="11.54")
    await pass_time(hass)
    updated = device_registry.async_get_device_by_connection(connection, entry.entry_id)
    assert updated
    assert updated.id == device.id
    assert updated.sw_version == "11.54"
