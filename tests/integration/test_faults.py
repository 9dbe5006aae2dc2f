"""Tests that faults of the battery are seen: between two publishes, and beside failed sensors."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.issues import VALUE_SENSORS
from custom_components.jk_bms.jkbms.models import Alarm
from custom_components.jk_bms.jkbms.protocol.layouts import BATTERY_SENSORS, LIVE_LIMITS
from custom_components.jk_bms.sensor_descriptions import SENSORS
from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er, issue_registry as ir
from tests.virtual_bms import Faults, Spec, State, VirtualBms, frames
from tests.virtual_bms.scanner import VirtualProxy

from . import (
    MAX_DATA_AGE,
    SPEED,
    note_events,
    pass_time,
    setup_integration,
    until,
    until_held,
)

HOUSE = "house_24v"
ALARM = f"event.{HOUSE}_alarm"
PROBLEM = f"binary_sensor.{HOUSE}_problem"
INTERVAL = 30.0
"""s; the battery of the tests is faster, the interval is not."""
FAULT_LASTS = 20.0
"""s of the battery."""


def shown(hass: HomeAssistant, key: str, platform: str = "sensor") -> str:
    """Return a state of the battery."""
    state = hass.states.get(f"{platform}.{HOUSE}_{key}")
    assert state
    return state.state


async def test_fault_between_two_publishes_is_an_event_and_a_problem(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """An overcurrent of 20 s on a held link is seen, although the interval is 30 s."""
    bms.battery.override(alarms=0)
    proxy.advertise(bms)
    events = note_events(hass, ALARM, "event_type", "alarm")
    entry = await setup_integration(hass, bms, link="held", interval=INTERVAL)
    await until_held(bms, entry)
    began = hass.loop.time()

    bms.battery.override(alarms=int(Alarm.DISCHARGE_OVERCURRENT))
    await asyncio.sleep(FAULT_LASTS / SPEED)
    assert hass.states.get(PROBLEM).state == STATE_ON
    assert hass.states.get(PROBLEM).attributes["alarms"] == ["discharge_overcurrent"]
    bms.battery.override(alarms=0)
    await until(lambda: hass.states.get(PROBLEM).state == STATE_OFF)

    assert hass.loop.time() - began < INTERVAL
    assert events == [
        {"event_type": "raised", "alarm": "discharge_overcurrent"},
        {"event_type": "cleared", "alarm": "discharge_overcurrent"},
    ]


async def test_forged_first_frame_raises_no_alarm(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With nothing to compare it with, a second frame has to agree."""
    cell_frame, forged = frames.cell_frame, list[int]()

    def forge(spec: Spec, state: State, counter: int) -> bytes:
        if not forged:
            forged.append(counter)
            state = replace(state, alarms=int(Alarm.CELL_OVERVOLTAGE))
        return cell_frame(spec, state, counter)

    monkeypatch.setattr(frames, "cell_frame", forge)
    bms.battery.override(alarms=0)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)

    assert forged
    assert hass.states.get(PROBLEM).state == STATE_OFF
    assert entry.runtime_data.client.statistics.rejected == 1


def hot_sensor(bms: VirtualBms) -> dict[str, Any]:
    """Return the state with T1 at 160 °C."""
    _, *others = bms.battery.state.temperatures
    return {"temperatures": (160.0, *others)}


def loose_wire(bms: VirtualBms) -> dict[str, Any]:
    """Return the state with cell 2 at 0 V and the pack as it was."""
    state = bms.battery.state
    first, _, *others = state.cells
    return {"cells": (first, 0.0, *others), "voltage": state.voltage}


def cold_sensor(bms: VirtualBms) -> dict[str, Any]:
    """Return the state with T2 at -70 °C."""
    first, _, *others = bms.battery.state.temperatures
    return {"temperatures": (first, -70.0, *others)}


def high_cell(bms: VirtualBms) -> dict[str, Any]:
    """Return the state with cell 3 at 6.2 V and the pack as it was."""
    state = bms.battery.state
    first, second, _, *others = state.cells
    return {"cells": (first, second, 6.2, *others), "voltage": state.voltage}


def overfull(bms: VirtualBms) -> dict[str, Any]:
    """Return the state of charge of 101 %."""
    return {"soc": 101}


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
@pytest.mark.parametrize(
    ("fault", "name", "key", "text"),
    [
        (hot_sensor, "battery_temperature_1", "temperature_sensor_1", "Temperature 1"),
        (cold_sensor, "battery_temperature_2", "temperature_sensor_2", "Temperature 2"),
        (loose_wire, "cell_voltage_2", "cell_voltage_2", "Cell voltage 2"),
        (high_cell, "cell_voltage_3", "cell_voltage_3", "Cell voltage 3"),
        (overfull, "remain_percent", "state_of_charge", "State of charge"),
    ],
)
async def test_sensor_that_fails_hides_nothing_else(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    fault: Callable[[VirtualBms], dict[str, Any]],
    name: str,
    key: str,
    text: str,
) -> None:
    """Its value is unknown, `problem` and an issue name it, alarms and the rest are shown."""
    bms.battery.override(alarms=0)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    before = {k: shown(hass, k) for k in ("total_voltage", "average_cell_voltage")}
    assert shown(hass, key) != STATE_UNKNOWN
    issue_id = f"{entry.entry_id}_implausible_values"

    bms.battery.override(**fault(bms), alarms=int(Alarm.CHARGE_OVERTEMPERATURE))
    rejected = entry.runtime_data.client.statistics.rejected
    for _ in range(3):
        # Values of cells are written once a minute
        await pass_time(hass, timedelta(minutes=1))

    assert shown(hass, key) == STATE_UNKNOWN
    assert entry.runtime_data.client.statistics.rejected == rejected + 2
    assert shown(hass, "total_voltage") == before["total_voltage"]
    average, usual = shown(hass, "average_cell_voltage"), before["average_cell_voltage"]
    assert float(average) == pytest.approx(float(usual), abs=0.02)
    assert float(shown(hass, "min_cell_voltage")) > 3.0
    assert float(shown(hass, "delta_cell_voltage")) < 0.1
    problem = hass.states.get(PROBLEM)
    assert problem.state == STATE_ON
    assert problem.attributes["alarms"] == ["charge_overtemperature"]
    assert problem.attributes["implausible"] == [name]
    issue = ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
    assert issue
    assert issue.translation_placeholders == {"name": entry.title, "fields": text}

    bms.battery.release()
    bms.battery.override(alarms=0)
    await pass_time(hass)
    assert hass.states.get(PROBLEM).state == STATE_OFF
    assert not ir.async_get(hass).async_get_issue(DOMAIN, issue_id)


async def test_loose_connector_of_all_cells_shows_the_pack_and_its_alarms(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """No cell is known, so nothing is computed of cells; the pack is measured apart."""
    bms.battery.override(alarms=0)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    state, voltage = bms.battery.state, shown(hass, "total_voltage")

    bms.battery.override(
        cells=(0.0,) * len(state.cells),
        voltage=state.voltage,
        alarms=int(Alarm.WIRE_RESISTANCE),
    )
    for _ in range(2):
        await pass_time(hass, timedelta(minutes=1))

    assert shown(hass, "total_voltage") == voltage
    for key in ("cell_voltage_1", "min_cell_voltage", "delta_cell_voltage"):
        assert shown(hass, key) == STATE_UNKNOWN
    problem = hass.states.get(PROBLEM)
    assert problem.state == STATE_ON
    assert problem.attributes["alarms"] == ["wire_resistance"]
    assert problem.attributes["implausible"] == [
        f"cell_voltage_{number}" for number in range(1, len(state.cells) + 1)
    ]


async def test_issue_names_impossible_values_as_their_entities(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """The names are in the language of the server."""
    hass.config.language = "de"
    bms.battery.override(alarms=0)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    bms.battery.override(
        **hot_sensor(bms),
        **loose_wire(bms),
        **overfull(bms),
        mosfet_temperature=200.0,
        alarms=0,
    )
    await pass_time(hass)

    issue_id = f"{entry.entry_id}_implausible_values"
    issue = ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
    assert issue
    names = set(issue.translation_placeholders["fields"].split(", "))
    registry = er.async_get(hass)
    assert hass.states.get(PROBLEM).state == STATE_ON
    assert names == {
        registry.async_get(f"sensor.{HOUSE}_{key}").original_name
        for key in (
            "cell_voltage_2",
            "mosfet_temperature",
            "state_of_charge",
            "temperature_sensor_1",
        )
    }
    assert "Zellspannung 2" in names


def test_every_value_that_can_be_impossible_has_a_sensor() -> None:
    """The issue takes the name of the value from the sensor."""
    keys = {sensor.key for sensor in SENSORS}
    for field in LIVE_LIMITS.keys() - BATTERY_SENSORS.keys():
        assert VALUE_SENSORS.get(field, field) in keys


async def test_frames_of_zeros_are_never_published(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """The values stay, and then become unavailable; none of them is 0."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    voltage = shown(hass, "total_voltage")
    mosfet = shown(hass, "charging", "binary_sensor")

    bms.faults = Faults(zeros=True)
    await pass_time(hass)
    assert shown(hass, "total_voltage") == voltage
    assert shown(hass, "charging", "binary_sensor") == mosfet
    await pass_time(hass, MAX_DATA_AGE)
    assert shown(hass, "total_voltage") == STATE_UNAVAILABLE
    assert entry.runtime_data.data.cell_data.battery_voltage

    bms.faults = Faults()
    await pass_time(hass)
    assert shown(hass, "total_voltage") == voltage
