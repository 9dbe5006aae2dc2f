"""What a battery costs the recorder."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import sin
from random import Random
from typing import Any

import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)
from pytest_homeassistant_custom_component.typing import WebSocketGenerator
from sqlalchemy import func, select

from custom_components.jk_bms.jkbms.models import Reading
from homeassistant.components.recorder import Recorder
from homeassistant.components.recorder.db_schema import States, StatesMeta
from homeassistant.components.recorder.util import session_scope
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from tests.thorough import THOROUGH
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import setup_integration

HOUR = 3600.0
SAG = 0.0004
"""Ohm, of a cell."""


@pytest.fixture(autouse=True)
async def bluetooth(
    recorder_mock: Recorder, enable_custom_integrations: None, enable_bluetooth: None
) -> None:
    """Run Bluetooth and, before anything else, the recorder."""


def an_hour(first: Reading, interval: float, rest: float) -> Iterator[Reading]:
    """Read a battery under a moving load, its last digits flickering."""
    random = Random(0)
    cells = first.cell_data
    amount, moved = 200.0, 0.0
    warmth = [random.uniform(20, 22) for _ in range(5)]
    for number in range(1, int(HOUR / interval) + 1):
        now = number * interval
        current = -random.uniform(5, 60)
        amount += current * interval / HOUR
        moved -= current * interval / HOUR
        volts = tuple(
            round(rest + 0.0005 * cell + current * SAG + random.uniform(-1, 1) / 1e3, 3)
            for cell in range(16)
        )
        *battery, mosfet = (
            round(degrees + sin(now / HOUR) + random.uniform(-0.1, 0.1), 1)
            for degrees in warmth
        )
        pack = round(sum(volts), 3)
        # A read takes its time, and not always the same.
        late = random.uniform(0, min(4, interval / 2))
        yield replace(
            first,
            time=first.time + now + late,
            cell_data=replace(
                cells,
                cell_voltage=volts,
                average_cell_voltage=round(pack / 16, 3),
                delta_cell_voltage=round(max(volts) - min(volts), 3),
                min_cell_voltage=min(volts),
                max_cell_voltage=max(volts),
                min_cell=volts.index(min(volts)) + 1,
                max_cell=volts.index(max(volts)) + 1,
                battery_voltage=pack,
                battery_current=round(current, 3),
                battery_power=round(pack * current, 3),
                battery_temperature=tuple(battery),
                mosfet_temperature=mosfet,
                remain_capacity=round(amount, 3),
                remain_percent=int(amount / 2.8),
                cycle_capacity=round(1000 + moved, 3),
                up_time=int(now),
                frame_counter=number % 256,
            ),
        )


async def rows(hass: HomeAssistant) -> Counter[str]:
    """Count what the recorder has written, by entity."""
    await async_wait_recording_done(hass)

    def count() -> Counter[str]:
        with session_scope(hass=hass, read_only=True) as session:
            return Counter(
                dict(
                    session.execute(
                        select(StatesMeta.entity_id, func.count())
                        .join(States, States.metadata_id == StatesMeta.metadata_id)
                        .group_by(StatesMeta.entity_id)
                    ).all()
                )
            )

    return await hass.async_add_executor_job(count)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("interval", "most"), [(30, 2100), (5, 6000)] if THOROUGH else [(30, 2100)]
)
@pytest.mark.parametrize("rest", [3.31, 3.55] if THOROUGH else [3.31])
@pytest.mark.parametrize("model", ["JK_PB2A16S20P 15.41"])
async def test_an_hour_under_load_stays_within_the_row_limit(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    interval: float,
    most: int,
    rest: float,
) -> None:
    """Sixteen cells cost less than 2,500 and 12,000 rows, with room for more entities."""
    proxy.advertise(bms)
    # No read of its own may fall into the test, however slow the machine is.
    entry: Any = await setup_integration(hass, bms, interval=HOUR)
    coordinator = entry.runtime_data
    before = await rows(hass)
    for reading in an_hour(coordinator.data, interval, rest):
        coordinator._async_publish(reading)
    written = await rows(hass) - before
    assert {f"sensor.garage_cell_voltage_{cell}" for cell in range(1, 17)} < set(
        written
    )
    assert written["sensor.garage_current"] == HOUR / interval
    assert written.total() <= most


@pytest.mark.parametrize("model", ["JK_B2A8S20P 19.10"])
async def test_reload_leaves_activity_quiet(
    hass: HomeAssistant,
    hass_ws_client: WebSocketGenerator,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entity_registry_enabled_by_default: None,
) -> None:
    """Nothing happened to the battery; what happens to it afterwards is shown."""
    assert await async_setup_component(hass, "logbook", {})
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    await async_wait_recording_done(hass)
    began = dt_util.utcnow()
    client = await hass_ws_client()

    async def shown() -> list[tuple[str, str]]:
        await async_wait_recording_done(hass)
        await client.send_json_auto_id(
            {"type": "logbook/get_events", "start_time": began.isoformat()}
        )
        events = (await client.receive_json())["result"]
        return [(event["entity_id"], event["state"]) for event in events]

    for _ in range(2):
        await hass.config_entries.async_reload(entry.entry_id)
        await hass.async_block_till_done(wait_background_tasks=True)
        assert hass.states.get("sensor.boat_battery_type").state == "lfp"
    assert await shown() == []
    bms.battery.override(balancer=1, balance_current=0.5)
    await entry.runtime_data.async_refresh()
    await hass.async_block_till_done()
    assert ("binary_sensor.boat_balancing", "on") in await shown()
    await hass.config_entries.async_unload(entry.entry_id)
    assert hass.states.get("sensor.boat_battery_type").state == STATE_UNAVAILABLE
