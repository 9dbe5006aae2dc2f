"""Fills gaps in the long-term statistics from the detail log of a battery."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from homeassistant.components.recorder.const import DOMAIN as RECORDER_DOMAIN
from homeassistant.components.recorder.entity_options import is_entity_recorded
from homeassistant.components.recorder.models import (
    StatisticData,
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.components.recorder.statistics import (
    STATISTIC_UNIT_TO_UNIT_CONVERTER,
    async_import_statistics,
    get_metadata,
    statistics_during_period,
)
from homeassistant.const import ATTR_UNIT_OF_MEASUREMENT, Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util

from .coordinator import JkBmsConfigEntry
from .jkbms.models import DetailLogRecord
from .jkbms.protocol.timestamps import Timestamped
from .sensor_descriptions import SENSORS

# The minimum age of the start of an hour to import. The recorder compiles the statistics
# of an hour within minutes after its end; if the hour has none by then, none will follow.
MIN_AGE: Final = timedelta(hours=2)


def _state_of_charge(record: DetailLogRecord) -> float | None:
    if not record.nominal_capacity:
        return None
    return min(100.0, round(100 * record.remain_capacity / record.nominal_capacity))


# The highest and lowest temperature of a record are not here: it does not say which
# sensors they are from.
VALUES: Final[Mapping[str, Callable[[DetailLogRecord], float | None]]] = {
    "state_of_charge": _state_of_charge,
    "total_voltage": lambda record: record.battery_voltage,
    "current": lambda record: record.battery_current,
    "capacity_remaining": lambda record: record.remain_capacity,
    "min_cell_voltage": lambda record: record.min_cell_voltage,
    "max_cell_voltage": lambda record: record.max_cell_voltage,
    "mosfet_temperature": lambda record: record.mosfet_temperature,
}
"""The values of a record that have a sensor, by its key and in its native unit."""
_NATIVE_UNITS: Final = {
    description.key: description.native_unit_of_measurement for description in SENSORS
}


async def async_backfill(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    log: Iterable[Timestamped[DetailLogRecord]],
) -> dict[str, int]:
    """Import the hours without statistics; return their number by entity."""
    hours = _by_hour(log, until=dt_util.utcnow() - MIN_AGE)
    entities = _find_entities(hass, entry)
    recorder = get_instance(hass)
    # Wait for statistics that are queued for the database, so that they are seen and
    # not overwritten.
    await recorder.async_block_till_done()
    known = await recorder.async_add_executor_job(
        partial(get_metadata, hass, statistic_ids=set(entities))
    )
    rows = await recorder.async_add_executor_job(
        statistics_during_period,
        hass,
        min(hours, default=dt_util.utcnow()),
        None,
        set(entities),
        "hour",
        None,
        {"mean"},
    )
    imported = {}
    for entity_id, key in entities.items():
        _, metadata = known.get(entity_id, (0, _new_metadata(hass, entity_id)))
        taken = {row["start"] for row in rows.get(entity_id, ())}
        missing = {
            start: records
            for start, records in hours.items()
            if start.timestamp() not in taken
        }
        statistics = _compile(missing, key, metadata)
        if statistics:
            async_import_statistics(hass, metadata, statistics)
        imported[entity_id] = len(statistics)
    return imported


@callback
def _find_entities(hass: HomeAssistant, entry: JkBmsConfigEntry) -> dict[str, str]:
    """Return the keys of the sensors to import, by entity id."""
    return {
        entity.entity_id: key
        for entity in er.async_entries_for_config_entry(
            er.async_get(hass), entry.entry_id
        )
        if entity.domain == Platform.SENSOR
        and (key := entity.translation_key or "") in VALUES
        and hass.states.get(entity.entity_id)
        and is_entity_recorded(hass, entity.entity_id)
    }


def _by_hour(
    log: Iterable[Timestamped[DetailLogRecord]], *, until: datetime
) -> dict[datetime, list[DetailLogRecord]]:
    """Group the records by hour, leaving out hours that begin after `until`."""
    hours = defaultdict(list)
    for timestamped in log:
        if timestamped.time:
            start = dt_util.as_utc(timestamped.time).replace(minute=0, second=0)
            if start <= until:
                hours[start].append(timestamped.entry)
    return hours


@callback
def _new_metadata(hass: HomeAssistant, entity_id: str) -> StatisticMetaData:
    """Create the metadata that the recorder would create for this state."""
    state = hass.states.get(entity_id)
    assert state
    unit = state.attributes.get(ATTR_UNIT_OF_MEASUREMENT)
    converter = STATISTIC_UNIT_TO_UNIT_CONVERTER.get(unit)
    return StatisticMetaData(
        mean_type=StatisticMeanType.ARITHMETIC,
        has_sum=False,
        name=None,
        source=RECORDER_DOMAIN,
        statistic_id=entity_id,
        unit_class=converter.UNIT_CLASS if converter else None,
        unit_of_measurement=unit,
    )


def _compile(
    hours: Mapping[datetime, list[DetailLogRecord]],
    key: str,
    metadata: StatisticMetaData,
) -> list[StatisticData]:
    """Compile the statistics of one entity, in the unit of its existing statistics.

    Records that were written because of an event count for minimum and maximum, but for
    the mean only in an hour without regular records.
    """
    native_unit, unit = _NATIVE_UNITS[key], metadata["unit_of_measurement"]
    converter = STATISTIC_UNIT_TO_UNIT_CONVERTER.get(native_unit)
    if converter and unit in converter.VALID_UNITS:
        convert = converter.converter_factory(native_unit, unit)
    elif unit == native_unit:
        convert = float
    else:
        return []
    statistics = []
    for start, records in hours.items():
        values = [
            (record.code, convert(value))
            for record in records
            if (value := VALUES[key](record)) is not None
        ]
        if values:
            everything = [value for _, value in values]
            regular = [value for code, value in values if not code] or everything
            statistics.append(
                StatisticData(
                    start=start,
                    mean=sum(regular) / len(regular),
                    min=min(everything),
                    max=max(everything),
                )
            )
    return statistics
