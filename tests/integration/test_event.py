"""Faults as events: each once, whatever happens in between."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms.event import ALARM as ALARM_EVENT, LOG_ENTRY
from homeassistant.const import STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import (
    Event,
    EventStateChangedData,
    HomeAssistant,
    State,
    callback,
)
from homeassistant.helpers.event import async_track_state_change_event
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import TRANSLATIONS, note_events, pass_time, setup_integration
from .restore import store_extra_data

type MakeBms = Callable[..., VirtualBms]
type Events = list[dict[str, Any]]

ALARM = "event.house_24v_alarm"
WIRE_RESISTANCE = 1 << 0
CELL_OVERVOLTAGE = 1 << 4
CELL_UNDERVOLTAGE = 1 << 11
PACK_UNDERVOLTAGE = 1 << 12
INFORMATION = 1 << 18 | 1 << 19


def raised(alarm: str) -> dict[str, Any]:
    """Return the event of an alarm that was raised."""
    return {"event_type": "raised", "alarm": alarm}


def cleared(alarm: str) -> dict[str, Any]:
    """Return the event of an alarm that was cleared."""
    return {"event_type": "cleared", "alarm": alarm}


@pytest.fixture
def events(hass: HomeAssistant) -> Events:
    """Record each new event."""
    return note_events(hass, ALARM, "event_type", "alarm")


@pytest.fixture
async def entry(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, events: Events
) -> MockConfigEntry:
    """Set up a battery without alarms."""
    bms.battery.override(alarms=0)
    proxy.advertise(bms)
    return await setup_integration(hass, bms)


async def test_each_change_of_a_fault_is_one_event(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, events: Events
) -> None:
    """Each change of each fault is an event, and nothing else is."""
    assert hass.states.get(ALARM).state == STATE_UNKNOWN
    for alarms, changes in (
        (CELL_UNDERVOLTAGE, [raised("cell_undervoltage")]),
        (CELL_UNDERVOLTAGE, []),
        (CELL_UNDERVOLTAGE | PACK_UNDERVOLTAGE, [raised("pack_undervoltage")]),
        (
            CELL_OVERVOLTAGE,
            [
                cleared("cell_undervoltage"),
                cleared("pack_undervoltage"),
                raised("cell_overvoltage"),
            ],
        ),
        (CELL_OVERVOLTAGE | INFORMATION, []),
        (0, [cleared("cell_overvoltage")]),
    ):
        events.clear()
        bms.battery.override(alarms=alarms)
        await pass_time(hass)
        assert events == changes


async def test_alarm_of_a_full_battery_is_no_event(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, events: Events
) -> None:
    """A full battery raises an alarm that is not an event."""
    bms.battery.override(alarms=CELL_OVERVOLTAGE, charging=False, soc=100)
    await pass_time(hass)
    bms.battery.override(alarms=0)
    await pass_time(hass)
    assert events == []


async def test_event_names_the_cells_of_the_alarm(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The event names the cells where the battery does."""
    bms.battery.override(alarms=WIRE_RESISTANCE, wire_alarm=0b110)
    await pass_time(hass)
    attributes = hass.states.get(ALARM).attributes
    assert attributes["alarm"] == "wire_resistance"
    assert attributes["cells"] == [2, 3]
    bms.battery.override(alarms=WIRE_RESISTANCE | CELL_UNDERVOLTAGE)
    await pass_time(hass)
    assert "cells" not in hass.states.get(ALARM).attributes


async def test_battery_that_is_back_reports_new_faults_only(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    events: Events,
) -> None:
    """A battery that was lost and is back reports only what is new."""
    bms.battery.override(alarms=CELL_UNDERVOLTAGE)
    await pass_time(hass)
    events.clear()
    coordinator: Any = entry.runtime_data
    coordinator.async_update_listeners()
    proxy.unplug()
    await pass_time(hass, timedelta(minutes=3))
    assert hass.states.get(ALARM).state == STATE_UNAVAILABLE
    coordinator._async_publish(coordinator.data)
    assert hass.states.get(ALARM).state != STATE_UNAVAILABLE
    assert events == []


async def test_battery_is_available_before_its_new_faults(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The entity is available first: automations ignore changes from unavailable."""
    states: list[str] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        state = event.data["new_state"]
        assert state
        states.append(state.state)

    async_track_state_change_event(hass, ALARM, note)
    proxy.unplug()
    await pass_time(hass, timedelta(minutes=3))
    coordinator: Any = entry.runtime_data
    cell_data = replace(coordinator.data.cell_data, alarms=("cell_undervoltage",))
    coordinator._async_publish(replace(coordinator.data, cell_data=cell_data))
    await hass.async_block_till_done()
    away, back, events = states
    assert (away, back) == (STATE_UNAVAILABLE, STATE_UNKNOWN)
    assert hass.states.get(ALARM).state == events


@pytest.mark.parametrize(
    ("alarms", "changes"),
    [
        (CELL_UNDERVOLTAGE, []),
        (0, [cleared("cell_undervoltage")]),
        (
            PACK_UNDERVOLTAGE | CELL_OVERVOLTAGE,
            [
                cleared("cell_undervoltage"),
                raised("cell_overvoltage"),
                raised("pack_undervoltage"),
            ],
        ),
    ],
)
async def test_faults_changed_during_a_stop_are_reported(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    proxy: VirtualProxy,
    bms: VirtualBms,
    events: Events,
    alarms: int,
    changes: Events,
) -> None:
    """Changes while Home Assistant was off are reported, and nothing else."""
    before = "2026-11-01T12:00:00.000+00:00"
    await store_extra_data(
        hass,
        hass_storage,
        State(ALARM, before),
        {
            "last_event_type": "raised",
            "last_event_attributes": {"alarm": "cell_undervoltage"},
            "faults": ["cell_undervoltage"],
        },
    )
    bms.battery.override(alarms=alarms)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    assert events == [raised("cell_undervoltage"), *changes]


async def test_reported_faults_survive_a_reload(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, events: Events
) -> None:
    """Faults that were reported before a reload are not reported again."""
    bms.battery.override(alarms=CELL_UNDERVOLTAGE)
    await pass_time(hass)
    last = hass.states.get(ALARM).state
    events.clear()
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert hass.states.get(ALARM).state == last
    assert hass.states.get(ALARM).attributes["event_type"] == "raised"
    assert events == []


async def test_faults_of_a_new_battery_are_reported(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, events: Events
) -> None:
    """A battery added with faults reports all of them."""
    bms.battery.override(alarms=CELL_UNDERVOLTAGE | PACK_UNDERVOLTAGE | INFORMATION)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    assert events == [raised("cell_undervoltage"), raised("pack_undervoltage")]


async def test_layout_without_alarms_has_no_events(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms
) -> None:
    """A layout without alarms has no events."""
    bms = make_bms("JK-B2A16S 3.3.0", name="battery")
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    assert hass.states.async_all("event") == []


async def test_same_reading_is_reported_once(
    hass: HomeAssistant, entry: MockConfigEntry, events: Events
) -> None:
    """The same reading published again is not a new event."""
    coordinator: Any = entry.runtime_data
    reading = coordinator.data
    cell_data = replace(reading.cell_data, alarms=("pack_overvoltage",))
    coordinator._async_publish(replace(reading, cell_data=cell_data))
    coordinator.async_update_listeners()
    coordinator._async_publish(coordinator.data)
    await hass.async_block_till_done()
    assert events == [raised("pack_overvoltage")]


def test_every_event_type_has_a_text() -> None:
    """Every event and each of its types has a text."""
    names = TRANSLATIONS["entity"]["event"]
    descriptions = (ALARM_EVENT, LOG_ENTRY)
    assert set(names) == {description.key for description in descriptions}
    for description in descriptions:
        types = names[description.key]["state_attributes"]["event_type"]["state"]
        assert set(types) == set(description.event_types or [])
