"""When the entities of a battery are written: live, or at the pace of cells and counters."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from custom_components.jk_bms.entity import Pace
from homeassistant.const import STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import pass_time, setup_integration

type Publish = Callable[..., None]


@pytest.fixture
def model() -> str:
    """Take the unit with the most values."""
    return "JK_PB2A16S20P 15.41"


@pytest.fixture
async def coordinator(hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms) -> Any:
    """Set up a battery and return what publishes its readings."""
    proxy.advertise(bms)
    entry: Any = await setup_integration(hass, bms)
    return entry.runtime_data


@pytest.fixture
def publish(coordinator: Any) -> Publish:
    """Let a reading come at a time, with other values than the first one."""
    first = coordinator.data
    begin = (first.time // Pace.SLOW + 1) * Pace.SLOW

    def publish(now: float, **values: Any) -> None:
        cell_data = replace(first.cell_data, **values)
        coordinator._async_publish(
            replace(first, cell_data=cell_data, time=begin + now)
        )

    return publish


def shown(hass: HomeAssistant, key: str) -> str:
    """Return what a sensor shows."""
    state = hass.states.get(f"sensor.garage_{key}")
    assert state
    return state.state


SECONDS = {
    "total_runtime": 86400,
    "emergency_time_countdown": 60,
    "smart_sleep_countdown": 3600,
    "charge_status_time_elapsed": 3600,
}
"""s of the unit in which a duration is shown."""


@pytest.mark.parametrize(
    ("key", "field", "pace"),
    [
        ("total_voltage", "battery_voltage", 0),
        ("delta_cell_voltage", "delta_cell_voltage", 60),
        ("average_cell_voltage", "average_cell_voltage", 60),
        ("min_cell_voltage", "min_cell_voltage", 60),
        ("max_cell_voltage", "max_cell_voltage", 60),
        ("min_voltage_cell", "min_cell", 60),
        ("max_voltage_cell", "max_cell", 60),
        ("state_of_health", "state_of_health", 300),
        ("full_charge_capacity", "nominal_capacity", 300),
        ("charging_cycles", "cycle_count", 300),
        ("total_charging_cycle_capacity", "cycle_capacity", 300),
        ("cell_resistance_1", "cell_resistance", 300),
        ("total_runtime", "up_time", 300),
        ("emergency_time_countdown", "emergency_countdown", 300),
        ("smart_sleep_countdown", "sleep_countdown", 300),
        ("charge_status_time_elapsed", "charge_phase_time", 300),
        ("detail_log_entry_count", "detail_log_count", 300),
    ],
)
@pytest.mark.usefixtures("entity_registry_enabled_by_default")
async def test_value_waits_for_its_pace(
    hass: HomeAssistant, publish: Publish, key: str, field: str, pace: float
) -> None:
    """A value waits for its period; then the latest one is written."""

    def of(value: float) -> Any:
        value *= SECONDS.get(key, 1)
        return (value,) if field == "cell_resistance" else value

    publish(1200, **{field: of(3.2)})
    assert float(shown(hass, key)) == 3.2
    for wait in (5, 0.99 * pace):
        publish(1200 + wait, **{field: of(3.1)})
        assert float(shown(hass, key)) == (3.2 if pace else 3.1)
    publish(1200 + max(10, pace), **{field: of(3.0)})
    assert float(shown(hass, key)) == 3.0


async def test_cell_values_come_from_the_same_reading(
    hass: HomeAssistant, publish: Publish
) -> None:
    """All cell values come from one reading, whichever of them changed."""
    publish(1200, cell_voltage=(3.2,) * 16, max_cell_voltage=3.2)
    publish(1230, cell_voltage=(*(3.2,) * 15, 3.1), max_cell_voltage=3.2)
    assert shown(hass, "cell_voltage_16") == "3.2"
    publish(1290, cell_voltage=(*(3.2,) * 15, 3.1), max_cell_voltage=3.2)
    assert shown(hass, "cell_voltage_16") == "3.1"
    publish(1310, cell_voltage=(*(3.2,) * 14, 3.3, 3.1), max_cell_voltage=3.3)
    assert shown(hass, "cell_voltage_15") == "3.2"
    assert shown(hass, "max_cell_voltage") == "3.2"
    publish(1325, cell_voltage=(*(3.2,) * 14, 3.3, 3.0), max_cell_voltage=3.3)
    assert shown(hass, "cell_voltage_15") == "3.3"
    assert shown(hass, "cell_voltage_16") == "3.0"
    assert shown(hass, "max_cell_voltage") == "3.3"


@pytest.mark.parametrize(
    ("field", "at_limit", "within"),
    [("min_cell_voltage", 2.52, 2.521), ("max_cell_voltage", 3.63, 3.629)],
)
async def test_cells_near_a_limit_are_live(
    hass: HomeAssistant,
    publish: Publish,
    coordinator: Any,
    field: str,
    at_limit: float,
    within: float,
) -> None:
    """Cells follow every reading while one of them is near a limit."""
    limits = coordinator.data.settings
    assert (limits.cell_uvp, limits.cell_ovp) == (2.5, 3.65)
    others = {"min_cell_voltage": 3.2, "max_cell_voltage": 3.3}
    publish(1000, cell_voltage=(3.2,) * 16)
    publish(1010, cell_voltage=(3.25,) * 16, **others | {field: within})
    assert shown(hass, "cell_voltage_1") == "3.2"
    publish(1011, cell_voltage=(3.25,) * 16, **others | {field: at_limit})
    assert shown(hass, "cell_voltage_1") == "3.25"
    publish(1012, cell_voltage=(3.251,) * 16, **others | {field: at_limit})
    assert shown(hass, "cell_voltage_1") == "3.251"


async def test_value_written_on_a_rename_counts_as_written(
    hass: HomeAssistant, entity_registry: er.EntityRegistry, publish: Publish
) -> None:
    """The value written with a new name is the one to compare with."""
    key, entity_id = "full_charge_capacity", "sensor.garage_full_charge_capacity"
    publish(1000, nominal_capacity=280.0)
    publish(1010, nominal_capacity=279.0)
    assert shown(hass, key) == "280.0"
    entity_registry.async_update_entity(entity_id, name="Capacity")
    await hass.async_block_till_done()
    assert shown(hass, key) == "279.0"
    publish(2000, nominal_capacity=280.0)
    assert shown(hass, key) == "280.0"


async def test_cells_keep_their_pace_without_limits(
    hass: HomeAssistant, coordinator: Any
) -> None:
    """Cells keep their pace where the limits are not known."""
    first = coordinator.data = replace(coordinator.data, settings=None)
    begin = (first.time // Pace.SLOW + 1) * Pace.SLOW
    for later, volts in ((1200, 2.6), (1210, 2.5)):
        cell_data = replace(
            first.cell_data, cell_voltage=(volts,) * 16, min_cell_voltage=volts
        )
        coordinator._async_publish(
            replace(first, cell_data=cell_data, time=begin + later)
        )
    assert shown(hass, "cell_voltage_1") == "2.6"


@pytest.mark.parametrize(
    ("key", "field", "values"),
    [
        ("mosfet_temperature", "mosfet_temperature", (30.0, 29.9, 29.8)),
        ("temperature_sensor_1", "battery_temperature", ((30.0,), (30.1,), (30.2,))),
        ("capacity_remaining", "remain_capacity", (200.0, 199.95, 199.85)),
    ],
)
async def test_noise_is_written_at_the_slow_pace(
    hass: HomeAssistant, publish: Publish, key: str, field: str, values: tuple[Any, ...]
) -> None:
    """A change of the last digit is written slowly, a larger one at the usual pace."""
    first, flicker, change = values
    before, little, more = (
        value[0] if isinstance(value, tuple) else value for value in values
    )
    publish(1200, **{field: first})
    publish(1300, **{field: flicker})
    assert float(shown(hass, key)) == before
    publish(1330, **{field: change})
    assert float(shown(hass, key)) == more
    publish(1490, **{field: flicker})
    assert float(shown(hass, key)) == more
    publish(1500, **{field: flicker})
    assert float(shown(hass, key)) == little


async def test_lost_and_found_values_are_written_at_once(
    hass: HomeAssistant, publish: Publish, coordinator: Any, proxy: VirtualProxy
) -> None:
    """A value or a battery that is lost or found is written at once."""
    publish(1000, cycle_count=7)
    publish(1001, cycle_count=None)
    assert shown(hass, "charging_cycles") == STATE_UNKNOWN
    publish(1002, cycle_count=8)
    assert shown(hass, "charging_cycles") == "8"
    proxy.unplug()
    await pass_time(hass, timedelta(hours=1))
    assert shown(hass, "charging_cycles") == STATE_UNAVAILABLE
    publish(1003, cycle_count=9)
    assert shown(hass, "charging_cycles") == "9"
