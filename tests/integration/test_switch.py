"""The switch that lets others have the battery for a while."""

from dataclasses import replace
from datetime import timedelta
import logging
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms.options import DEFAULT_PAUSE
from homeassistant.components.switch import DOMAIN as SWITCH_DOMAIN
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import (
    ATTR_ENTITY_ID,
    SERVICE_TURN_OFF,
    SERVICE_TURN_ON,
    STATE_OFF,
    STATE_ON,
    STATE_UNAVAILABLE,
)
from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import (
    MAX_DATA_AGE,
    fire_timers,
    our_lines,
    pass_time,
    receive_advertisement,
    setup_integration,
    until,
    until_held,
)

LINK = "switch.house_24v_bluetooth_link"
SOC = "sensor.house_24v_state_of_charge"
HELD = {"link": "held", "interval": 0.2}
"""Published more often than the form allows."""


@pytest.fixture
def options() -> dict[str, Any]:
    """Give options; tests override them by parameters."""
    return {}


@pytest.fixture
async def entry(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, options: dict[str, Any]
) -> MockConfigEntry:
    """Set up a battery."""
    bms.battery.override(soc=40)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, **options)
    if options.get("link") == "held":
        await until_held(bms, entry)
    assert hass.states.get(LINK).state == STATE_ON
    assert hass.states.get(LINK).attributes["resumes_at"] is None
    return entry


async def switch(hass: HomeAssistant, service: str) -> None:
    """Use the switch."""
    await hass.services.async_call(
        SWITCH_DOMAIN, service, {ATTR_ENTITY_ID: LINK}, blocking=True
    )


@pytest.mark.parametrize("options", [HELD, {"link": "released"}])
async def test_off_leaves_the_battery_alone_until_the_pause_ends(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    options: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While off, nothing connects to the battery until the pause is over."""
    before = dt_util.utcnow()
    await switch(hass, SERVICE_TURN_OFF)
    assert not bms.connected
    assert bms.connections[-1].reason == "by the central"
    state = hass.states.get(LINK)
    assert state.state == STATE_OFF
    assert (
        before + DEFAULT_PAUSE
        <= state.attributes["resumes_at"]
        <= dt_util.utcnow() + DEFAULT_PAUSE
    )

    connections = len(bms.connections)
    bms.battery.override(soc=41)
    await pass_time(hass)
    receive_advertisement(proxy, bms, later=60)
    await pass_time(hass)
    assert hass.states.get(SOC).state == "40"
    await pass_time(hass, MAX_DATA_AGE)
    assert hass.states.get(SOC).state == STATE_UNAVAILABLE
    await pass_time(hass, DEFAULT_PAUSE - timedelta(seconds=30))
    assert hass.states.get(LINK).state == STATE_OFF
    assert len(bms.connections) == connections
    assert our_lines(caplog, logging.WARNING) == []
    assert our_lines(caplog, logging.INFO) == [
        "House 24V is unavailable: the Bluetooth link is turned off"
    ]

    fire_timers(hass, DEFAULT_PAUSE)
    await until(lambda: hass.states.get(SOC).state == "41")
    assert hass.states.get(LINK).state == STATE_ON
    assert hass.states.get(LINK).attributes["resumes_at"] is None
    assert our_lines(caplog, logging.INFO)[1:] == ["House 24V is available again"]
    assert len(bms.connections) == connections + 1
    if options["link"] == "held":
        await until_held(bms, entry)


@pytest.mark.parametrize("options", [HELD, {"link": "released"}])
async def test_turning_on_ends_the_pause_at_once(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Turning it on ends the pause; nothing happens at its planned end."""
    await switch(hass, SERVICE_TURN_OFF)
    bms.battery.override(soc=41)
    await switch(hass, SERVICE_TURN_ON)
    assert hass.states.get(LINK).state == STATE_ON
    connections = len(bms.connections)
    await until(lambda: hass.states.get(SOC).state == "41")
    await switch(hass, SERVICE_TURN_ON)
    assert len(bms.connections) == connections + 1


@pytest.mark.parametrize("options", [{"pause": 2}])
async def test_pause_is_an_option_and_can_be_restarted(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The pause is an option, and turning off again restarts it."""
    await switch(hass, SERVICE_TURN_OFF)
    first = hass.states.get(LINK).attributes["resumes_at"]
    await switch(hass, SERVICE_TURN_OFF)
    assert hass.states.get(LINK).attributes["resumes_at"] > first
    await pass_time(hass, timedelta(minutes=1))
    assert hass.states.get(LINK).state == STATE_OFF
    await pass_time(hass, timedelta(minutes=2))
    assert hass.states.get(LINK).state == STATE_ON
    assert len(bms.connections) == 2


async def test_turning_off_cancels_a_read(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A running read ends at once, and that is not a failure."""
    bms.faults = Faults(silent=True)
    fire_timers(hass)
    await until(lambda: bms.connected)
    await switch(hass, SERVICE_TURN_OFF)
    assert not bms.connected
    assert bms.connections[-1].reason == "by the central"
    assert hass.states.get(SOC).state == "40"
    assert entry.runtime_data.last_exception is None
    assert entry.runtime_data.attempts.last.outcome == "cancelled"
    assert our_lines(caplog, logging.INFO) == []


@pytest.mark.parametrize("options", [HELD, {"link": "released"}])
async def test_pause_survives_a_reload(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    options: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Changing an option does not end the pause."""
    await switch(hass, SERVICE_TURN_OFF)
    end = hass.states.get(LINK).attributes["resumes_at"]
    coordinator, connections = entry.runtime_data, len(bms.connections)
    flow = await hass.config_entries.options.async_init(entry.entry_id)
    await hass.config_entries.options.async_configure(
        flow["flow_id"], {"interval": 20, "link": options["link"], "pause": 60}
    )
    await hass.async_block_till_done()
    assert entry.runtime_data is not coordinator
    assert not coordinator._timers._cancel
    state = hass.states.get(LINK)
    assert state.state == STATE_OFF
    assert abs(state.attributes["resumes_at"] - end) < timedelta(seconds=1)

    bms.battery.override(soc=41)
    await pass_time(hass)
    receive_advertisement(proxy, bms, later=60)
    await pass_time(hass, MAX_DATA_AGE)
    assert hass.states.get(SOC).state == STATE_UNAVAILABLE
    assert len(bms.connections) == connections
    assert our_lines(caplog, logging.INFO) == [
        "House 24V is unavailable: the Bluetooth link is turned off"
    ]

    fire_timers(hass, DEFAULT_PAUSE)
    await until(lambda: hass.states.get(SOC).state == "41")
    assert hass.states.get(LINK).state == STATE_ON
    assert our_lines(caplog, logging.INFO)[1:] == ["House 24V is available again"]
    await switch(hass, SERVICE_TURN_OFF)
    await switch(hass, SERVICE_TURN_ON)
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert hass.states.get(LINK).state == STATE_ON


async def test_pause_that_ended_while_disabled_has_no_effect(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """A pause that ended while the entry was disabled has no effect."""
    coordinator = entry.runtime_data
    coordinator.options = replace(coordinator.options, pause=timedelta(0))
    await entry.runtime_data.async_release_link()
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert hass.states.get(LINK).state == STATE_ON
    assert hass.states.get(SOC).state == "40"


async def test_battery_added_again_has_no_pause(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """A battery that was removed and added again is read."""
    await switch(hass, SERVICE_TURN_OFF)
    await hass.config_entries.async_remove(entry.entry_id)
    again = await setup_integration(hass, bms)
    assert again.state is ConfigEntryState.LOADED
    assert hass.states.get(LINK).state == STATE_ON
    assert hass.states.get(SOC).state == "40"
