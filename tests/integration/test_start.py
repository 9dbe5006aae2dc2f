"""The start of Home Assistant does not wait for batteries, nor does a new entry read twice."""

from collections.abc import Callable
from datetime import timedelta
import logging
from typing import Any
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms import options
from custom_components.jk_bms.const import DOMAIN
from homeassistant.config_entries import SOURCE_BLUETOOTH, SOURCE_USER, ConfigEntryState
from homeassistant.const import CONF_ADDRESS, STATE_UNAVAILABLE
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import (
    MAX_DATA_AGE,
    note_events,
    our_lines,
    pass_time,
    receive_advertisement,
    sentence,
    setup_integration,
)

VOLTAGE = "sensor.house_24v_total_voltage"


async def restart(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Set the entry up again, as the next start of Home Assistant does."""
    assert await hass.config_entries.async_unload(entry.entry_id)
    hass.set_state(CoreState.starting)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED


async def test_start_sets_up_absent_battery_and_reads_it_when_back(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    entity_registry: er.EntityRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """All entities are there, unavailable, and the reason is logged once."""
    caplog.set_level(logging.INFO)
    before = {
        each.entity_id: each.id
        for each in er.async_entries_for_config_entry(entity_registry, entry.entry_id)
    }
    shown = set(hass.states.async_entity_ids())
    proxy.unplug()
    await restart(hass, entry)
    assert set(hass.states.async_entity_ids()) == shown
    state = hass.states.get(VOLTAGE)
    assert state and state.state == STATE_UNAVAILABLE
    assert "restored" not in state.attributes
    await hass.async_block_till_done(wait_background_tasks=True)
    error = entry.runtime_data.last_exception
    assert str(error).startswith(sentence("not_in_range"))
    await pass_time(hass, MAX_DATA_AGE)
    (line,) = [each for each in our_lines(caplog, logging.INFO) if "unavail" in each]
    assert line == f"{entry.title} is unavailable: {error}"

    proxy.replug()
    receive_advertisement(proxy, bms)
    await pass_time(hass)
    assert hass.states.get(VOLTAGE).state == str(bms.battery.state.voltage)
    assert before == {
        each.entity_id: each.id
        for each in er.async_entries_for_config_entry(entity_registry, entry.entry_id)
    }


async def test_start_reads_battery_in_background(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """A battery that does not respond does not delay the start; its fault stays raised."""
    bms.battery.override(alarms=1 << 12)
    await pass_time(hass)
    events = note_events(hass, "event.house_24v_alarm", "event_type")
    bms.faults = Faults(silent=True)
    connected = len(bms.connections)
    await restart(hass, entry)
    assert len(bms.connections) <= connected + 1
    assert not entry.runtime_data.available
    assert events == []
    bms.faults = Faults()
    await hass.async_block_till_done(wait_background_tasks=True)
    await pass_time(hass)
    assert entry.runtime_data.available
    assert hass.states.get(VOLTAGE).state == str(bms.battery.state.voltage)


async def test_start_does_not_wait_for_48_batteries(
    hass: HomeAssistant, proxy: VirtualProxy, device_registry: dr.DeviceRegistry
) -> None:
    """All entries are loaded at once, each with the reason why it is unavailable."""
    hass.set_state(CoreState.starting)
    entries = []
    for number in range(48):
        address = f"C8:47:8C:10:01:{number:02X}"
        entry = MockConfigEntry(
            domain=DOMAIN, unique_id=address, data={CONF_ADDRESS: address}
        )
        entry.add_to_hass(hass)
        device_registry.async_get_or_create(
            config_entry_id=entry.entry_id,
            connections={(dr.CONNECTION_BLUETOOTH, address)},
            model="JK_B2A8S20P",
            sw_version="11.48",
        )
        entries.append(entry)
    begin = hass.loop.time()
    assert await hass.config_entries.async_setup(entries[0].entry_id)
    await hass.async_block_till_done()
    assert {entry.state for entry in entries} == {ConfigEntryState.LOADED}
    assert hass.loop.time() - begin < 10
    await hass.async_block_till_done(wait_background_tasks=True)
    for entry in entries:
        assert entry.runtime_data.diagnosis.key == "not_in_range"


async def test_error_of_the_stack_before_the_first_read_retries(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """D-Bus may be gone when stale connections are closed."""
    proxy.advertise(bms)
    with patch(
        "custom_components.jk_bms.coordinator.close_stale_connections_by_address",
        side_effect=OSError,
    ):
        entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "unknown"


async def add(hass: HomeAssistant, bms: VirtualBms) -> Any:
    """Add a battery by its address."""
    flows = hass.config_entries.flow
    flow = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    await flows.async_configure(flow["flow_id"], {CONF_ADDRESS: bms.address})
    result: Any = await flows.async_configure(flow["flow_id"], {})
    await hass.async_block_till_done()
    return result["result"]


async def test_reading_of_the_dialog_becomes_the_first_data(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    make_bms: Callable[..., VirtualBms],
) -> None:
    """A new battery is connected once, and read again after the interval."""
    proxy.advertise(bms)
    await hass.async_block_till_done(wait_background_tasks=True)
    begin = hass.loop.time()
    entry = await add(hass, bms)
    assert entry.state is ConfigEntryState.LOADED
    assert hass.states.get(VOLTAGE).state == str(bms.battery.state.voltage)
    assert len(bms.connections) == 1
    age = hass.loop.time() - begin
    receive_advertisement(proxy, bms)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(bms.connections) == 1, age
    bms.battery.override(soc=63)
    await pass_time(hass)
    assert hass.states.get("sensor.house_24v_state_of_charge").state == "63"
    assert len(bms.connections) == 2


async def test_old_reading_of_the_dialog_is_not_used(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dialog that was open for long gives the newest values."""
    proxy.advertise(bms)
    flows = hass.config_entries.flow
    flow = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    await flows.async_configure(flow["flow_id"], {CONF_ADDRESS: bms.address})
    bms.battery.override(soc=63)
    monkeypatch.setattr(options, "MIN_MAX_AGE", timedelta(0))
    monkeypatch.setattr(options, "MAX_AGE_INTERVALS", 0)
    await flows.async_configure(flow["flow_id"], {})
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(bms.connections) == 2


async def test_removed_battery_that_was_added_by_hand_is_discovered(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """A battery that was discovered is offered again as well."""
    proxy.advertise(bms)
    await hass.async_block_till_done(wait_background_tasks=True)
    entry = await add(hass, bms)
    for flow in hass.config_entries.flow.async_progress_by_handler(DOMAIN):
        hass.config_entries.flow.async_abort(flow["flow_id"])
    await hass.config_entries.async_remove(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["context"]["source"] == SOURCE_BLUETOOTH


async def test_reconfigure_keeps_the_pause(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    make_bms: Callable[..., VirtualBms],
    entry: MockConfigEntry,
) -> None:
    """The link stays off when the Bluetooth module is replaced."""
    await entry.runtime_data.async_release_link()
    resumes_at = entry.runtime_data._memory.resumes_at
    moved = make_bms("JK_B2A8S20P 11.48", address="C8:47:8C:10:00:99")
    proxy.advertise(moved)
    flow = await entry.start_reconfigure_flow(hass)
    result = await hass.config_entries.flow.async_configure(
        flow["flow_id"], {CONF_ADDRESS: moved.address}
    )
    await hass.async_block_till_done(wait_background_tasks=True)
    assert result["reason"] == "reconfigure_successful"
    assert entry.runtime_data.resumes_at
    assert entry.runtime_data._memory.resumes_at == resumes_at
    assert entry.runtime_data.address == moved.address
