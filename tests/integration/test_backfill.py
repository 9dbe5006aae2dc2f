"""Gaps in the long-term statistics, filled with what the battery remembers."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_block_recorder,
    async_wait_recording_done,
)

from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.services import IMPORT_DETAIL_LOG
from homeassistant.components.recorder import Recorder
from homeassistant.components.recorder.models import (
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.components.recorder.statistics import (
    async_import_statistics,
    get_metadata,
    statistics_during_period,
    validate_statistics,
)
from homeassistant.const import ATTR_CONFIG_ENTRY_ID, UnitOfTemperature
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
from homeassistant.util.unit_conversion import TemperatureConverter
from tests.thorough import THOROUGH
from tests.virtual_bms import Battery, VirtualBms
from tests.virtual_bms.state import DetailRecord

pytestmark = pytest.mark.usefixtures("reads_only")

SOC = "sensor.boat_state_of_charge"
CURRENT = "sensor.boat_current"
CAPACITY = "sensor.boat_capacity_remaining"
MOSFET = "sensor.boat_mosfet_temperature"
IMPORTED = {
    SOC,
    CURRENT,
    CAPACITY,
    MOSFET,
    "sensor.boat_total_voltage",
    "sensor.boat_min_cell_voltage",
    "sensor.boat_max_cell_voltage",
}
HOUR = timedelta(hours=1)
CELSIUS = StatisticMetaData(
    mean_type=StatisticMeanType.ARITHMETIC,
    has_sum=False,
    name=None,
    source="recorder",
    statistic_id=MOSFET,
    unit_class=TemperatureConverter.UNIT_CLASS,
    unit_of_measurement=UnitOfTemperature.CELSIUS,
)


@pytest.fixture(autouse=True)
async def bluetooth(
    recorder_mock: Recorder, enable_custom_integrations: None, enable_bluetooth: None
) -> None:
    """Run Bluetooth and, before anything else, the recorder."""


@pytest.fixture
def model() -> str:
    """Take a battery with a detail log."""
    return "JK_B2A8S20P 19.10"


@pytest.fixture
def top() -> datetime:
    """Return the top of this hour."""
    return dt_util.utcnow().replace(minute=0, second=0, microsecond=0)


class Memory:
    """The detail log, by how long a record was before the top of this hour."""

    def __init__(
        self, bms: VirtualBms, top: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Empty the battery's own."""
        self.bms = bms
        self.top = top
        self.records: list[DetailRecord] = []
        monkeypatch.setattr(Battery, "detail_log", property(lambda _: self.records))

    def keep(self, before: timedelta, **values: Any) -> None:
        """Let it keep one more record, the next newer one."""
        ago = (dt_util.utcnow() - self.top + before).total_seconds()
        record: dict[str, Any] = {
            "clock": int(self.bms.battery.state.clock - ago),
            "highest_voltage": 3.4,
            "lowest_voltage": 3.3,
            "voltage": 13.4,
            "current": -10.0,
            "remaining": 157.5,
            "full": 315.0,
            "temperatures": (25, 24, 31),
        }
        self.records.append(DetailRecord(**(record | values)))
        self.bms.battery.override(detail_records=len(self.records))


@pytest.fixture
def memory(bms: VirtualBms, top: datetime, monkeypatch: pytest.MonkeyPatch) -> Memory:
    """Give the battery a memory of its own."""
    return Memory(bms, top, monkeypatch)


async def fill(hass: HomeAssistant, entry: MockConfigEntry) -> dict[str, int]:
    """Call the action, and wait until the recorder has done its part."""
    response: Any = await hass.services.async_call(
        DOMAIN,
        IMPORT_DETAIL_LOG,
        {ATTR_CONFIG_ENTRY_ID: entry.entry_id},
        blocking=True,
        return_response=True,
    )
    await async_wait_recording_done(hass)
    imported: dict[str, int] = response["imported_hours"]
    return imported


async def rows(hass: HomeAssistant, entity_id: str, top: datetime) -> dict[float, Any]:
    """Return mean, min and max, by how many hours before the top of this hour."""
    await async_wait_recording_done(hass)
    found = await hass.async_add_executor_job(
        statistics_during_period,
        hass,
        top - 2000 * HOUR,
        None,
        {entity_id},
        "hour",
        None,
        {"mean", "min", "max"},
    )
    return {
        (top.timestamp() - row["start"]) / 3600: (row["mean"], row["min"], row["max"])
        for row in found.get(entity_id, ())
    }


def have(top: datetime, hours: Iterable[int], value: float) -> list[Any]:
    """Return statistics of so many hours before the top of this hour."""
    return [
        {"start": top - hour * HOUR, "mean": value, "min": value, "max": value}
        for hour in hours
    ]


async def test_missing_hours_are_imported(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory, top: datetime
) -> None:
    """Each hour of which there is nothing gets what the battery wrote down in it."""
    half = HOUR / 2
    memory.keep(5 * HOUR - half, current=-20.0, remaining=63.0)
    memory.keep(4 * HOUR - half, current=5.0, remaining=315.0)
    memory.keep(3 * HOUR - half)
    assert await fill(hass, entry) == dict.fromkeys(IMPORTED, 3)
    assert await rows(hass, CURRENT, top) == {
        5: (-20.0, -20.0, -20.0),
        4: (5.0, 5.0, 5.0),
        3: (-10.0, -10.0, -10.0),
    }
    assert await rows(hass, SOC, top) == {
        5: (20.0, 20.0, 20.0),
        4: (100.0, 100.0, 100.0),
        3: (50.0, 50.0, 50.0),
    }
    for entity_id, value in (
        (CAPACITY, 157.5),
        (MOSFET, 31.0),
        ("sensor.boat_total_voltage", 13.4),
        ("sensor.boat_min_cell_voltage", 3.3),
        ("sensor.boat_max_cell_voltage", 3.4),
    ):
        assert (await rows(hass, entity_id, top))[3] == (value, value, value)
    # Home Assistant is content with them.
    issues = await hass.async_add_executor_job(validate_statistics, hass)
    assert not set(issues) & IMPORTED


async def test_second_import_changes_nothing(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory, top: datetime
) -> None:
    """What was imported is not imported again, and what is new is."""
    memory.keep(5 * HOUR - HOUR / 2)
    assert await fill(hass, entry) == dict.fromkeys(IMPORTED, 1)
    before = await rows(hass, CURRENT, top)
    memory.records.clear()
    memory.keep(5 * HOUR - HOUR / 2, current=99.0)
    assert await fill(hass, entry) == dict.fromkeys(IMPORTED, 0)
    assert await rows(hass, CURRENT, top) == before
    memory.keep(4 * HOUR - HOUR / 2, current=99.0)
    assert await fill(hass, entry) == dict.fromkeys(IMPORTED, 1)
    assert await rows(hass, CURRENT, top) == before | {4: (99.0, 99.0, 99.0)}


async def test_existing_statistics_are_kept(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory, top: datetime
) -> None:
    """Rows that are there stay what they are; those of others do not count."""
    async_import_statistics(hass, CELSIUS, have(top, (6, 5, 3), 20.0))
    for hour in (7, 6, 5, 4, 3):
        memory.keep(hour * HOUR - HOUR / 2)
    imported = await fill(hass, entry)
    assert imported == dict.fromkeys(IMPORTED, 5) | {MOSFET: 2}
    kept, new = (20.0, 20.0, 20.0), (31.0, 31.0, 31.0)
    assert await rows(hass, MOSFET, top) == {7: new, 6: kept, 5: kept, 4: new, 3: kept}


async def test_statistics_in_the_queue_are_kept(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory, top: datetime
) -> None:
    """What the recorder has still to write is not overwritten."""
    memory.keep(5 * HOUR - HOUR / 2)
    await async_block_recorder(hass, 2)
    async_import_statistics(hass, CELSIUS, have(top, [5], 20.0))
    assert (await fill(hass, entry))[MOSFET] == 0
    assert await rows(hass, MOSFET, top) == {5: (20.0, 20.0, 20.0)}


async def test_hours_without_records_stay_empty(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory, top: datetime
) -> None:
    """An hour in which the battery was off stays a gap."""
    memory.keep(900 * HOUR - HOUR / 2)
    memory.keep(5 * HOUR - HOUR / 2)
    assert await fill(hass, entry) == dict.fromkeys(IMPORTED, 2)
    assert set(await rows(hass, CURRENT, top)) == {900, 5}


async def test_recent_hours_are_left_to_the_recorder(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory, top: datetime
) -> None:
    """The latest hours are the recorder's own to make statistics of."""
    for before in (3 * HOUR, 2 * HOUR, HOUR):
        memory.keep(before - timedelta(minutes=10))
    with patch.object(dt_util, "utcnow", return_value=top + HOUR / 2):
        await fill(hass, entry)
    assert set(await rows(hass, CURRENT, top)) == {3, 2}


async def test_records_of_an_hour_give_mean_and_limits(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory, top: datetime
) -> None:
    """The mean is that of the regular ones; the extremes are those of all."""
    for minutes, code, current in ((50, 0, 10.0), (40, 0x15, 90.0), (30, 0, 20.0)):
        memory.keep(4 * HOUR + timedelta(minutes=minutes), code=code, current=current)
    for minutes, current in ((50, 30.0), (40, 40.0)):
        memory.keep(3 * HOUR + timedelta(minutes=minutes), code=0x15, current=current)
    await fill(hass, entry)
    assert await rows(hass, CURRENT, top) == {
        5: (15.0, 10.0, 90.0),
        4: (35.0, 30.0, 40.0),
    }


async def test_values_are_converted_to_the_unit_of_the_user(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory, top: datetime
) -> None:
    """Values are in the unit that the statistics have."""
    er.async_get(hass).async_update_entity_options(
        MOSFET, "sensor", {"unit_of_measurement": "°F"}
    )
    await hass.async_block_till_done()
    memory.keep(5 * HOUR - HOUR / 2, temperatures=(25, 24, 100))
    await fill(hass, entry)
    fahrenheit = await hass.async_add_executor_job(
        lambda: get_metadata(hass, statistic_ids={MOSFET})
    )
    assert fahrenheit[MOSFET][1]["unit_of_measurement"] == "°F"
    (row,) = (await rows(hass, MOSFET, top)).values()
    assert row == pytest.approx((212.0, 212.0, 212.0))


async def test_values_are_converted_to_the_unit_of_the_statistics(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory, top: datetime
) -> None:
    """Statistics in another unit than the sensor keep it."""
    fahrenheit = {**CELSIUS, "unit_of_measurement": UnitOfTemperature.FAHRENHEIT}
    async_import_statistics(hass, fahrenheit, have(top, [6], 68.0))  # type: ignore[arg-type]
    memory.keep(6 * HOUR - HOUR / 2)
    memory.keep(5 * HOUR - HOUR / 2, temperatures=(25, 24, 100))
    assert (await fill(hass, entry))[MOSFET] == 1
    # They are shown in the unit of the state.
    found = await rows(hass, MOSFET, top)
    assert found[6] == pytest.approx((20.0, 20.0, 20.0))
    assert found[5] == pytest.approx((100.0, 100.0, 100.0))


async def test_incompatible_unit_is_not_imported(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory, top: datetime
) -> None:
    """Where there is no way between the units nothing is imported."""
    foreign = {
        **CELSIUS,
        "statistic_id": CAPACITY,
        "unit_class": None,
        "unit_of_measurement": "mAh",
    }
    async_import_statistics(hass, foreign, have(top, [6], 1.0))  # type: ignore[arg-type]
    memory.keep(5 * HOUR - HOUR / 2)
    assert await fill(hass, entry) == dict.fromkeys(IMPORTED, 1) | {CAPACITY: 0}
    assert await rows(hass, CAPACITY, top) == {6: (1.0, 1.0, 1.0)}


async def test_unknown_capacity_gives_no_state_of_charge(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory
) -> None:
    """An unknown state of charge is not 0."""
    memory.keep(5 * HOUR - HOUR / 2, full=0.0)
    assert await fill(hass, entry) == dict.fromkeys(IMPORTED, 1) | {SOC: 0}


async def test_sensors_that_are_not_recorded_are_skipped(
    hass: HomeAssistant,
    recorder_mock: Recorder,
    entry: MockConfigEntry,
    memory: Memory,
) -> None:
    """What is off, or kept out of the recorder, is left alone."""
    er.async_get(hass).async_update_entity(
        SOC, disabled_by=er.RegistryEntryDisabler.USER
    )
    await hass.async_block_till_done()
    recorder_mock.entity_filter = lambda entity_id: entity_id != CURRENT
    memory.keep(5 * HOUR - HOUR / 2)
    assert await fill(hass, entry) == dict.fromkeys(IMPORTED - {SOC, CURRENT}, 1)


async def test_renamed_entities_are_imported(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory, top: datetime
) -> None:
    """Statistics follow the entity id."""
    er.async_get(hass).async_update_entity(SOC, new_entity_id="sensor.fuel")
    await hass.async_block_till_done()
    memory.keep(5 * HOUR - HOUR / 2)
    assert (await fill(hass, entry))["sensor.fuel"] == 1
    assert set(await rows(hass, "sensor.fuel", top)) == {5}


async def test_records_before_a_clock_change_are_skipped(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory, top: datetime
) -> None:
    """What is older than a change of the clock is left out."""
    memory.keep(-24 * HOUR)
    memory.keep(5 * HOUR - HOUR / 2)
    await fill(hass, entry)
    assert set(await rows(hass, CURRENT, top)) == {5}


async def test_unset_clock_is_an_error(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, memory: Memory
) -> None:
    """A battery without a clock cannot fill anything."""
    memory.keep(5 * HOUR - HOUR / 2)
    bms.battery.override(clock=0)
    with pytest.raises(HomeAssistantError) as error:
        await fill(hass, entry)
    assert error.value.translation_key == "no_clock"


async def test_only_recent_records_import_nothing(
    hass: HomeAssistant, entry: MockConfigEntry, memory: Memory
) -> None:
    """A battery that has just been connected has no records."""
    memory.keep(timedelta(0))
    assert await fill(hass, entry) == dict.fromkeys(IMPORTED, 0)


@pytest.mark.skipif(not THOROUGH, reason="takes a quarter of a minute")
async def test_full_detail_log_is_imported(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, top: datetime
) -> None:
    """The whole log of five weeks; without an answer the action is as well done."""
    with patch.object(dt_util, "utcnow", return_value=top + HOUR / 2):
        await hass.services.async_call(
            DOMAIN,
            IMPORT_DETAIL_LOG,
            {ATTR_CONFIG_ENTRY_ID: entry.entry_id},
            blocking=True,
        )
    found = await rows(hass, CURRENT, top)
    assert 832 <= len(found) <= 835
    assert min(found) == 2
