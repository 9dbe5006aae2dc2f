"""A value that was added to a model has everything that Home Assistant shows of it."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from custom_components import jk_bms
from custom_components.jk_bms.bank_entity import BANK_BINARY_SENSORS, BANK_SENSORS
from custom_components.jk_bms.binary_sensor import BINARY_SENSORS, UNNAMED
from custom_components.jk_bms.button import REFRESH
from custom_components.jk_bms.compatibility_sensors import COMPATIBILITY_SENSORS
from custom_components.jk_bms.energy_sensor import (
    AVERAGE_SENSORS,
    ENERGY_SENSORS,
    TIME_LEFT_SENSORS,
)
from custom_components.jk_bms.entity import JkBmsEntityDescription
from custom_components.jk_bms.event import ALARM, LOG_ENTRY
from custom_components.jk_bms.jkbms.models import (
    Alarm,
    CellData,
    DeviceInfo,
    Layout,
    Settings,
)
from custom_components.jk_bms.number import NUMBERS
from custom_components.jk_bms.select import SELECTS
from custom_components.jk_bms.sensor import LINK_SENSORS
from custom_components.jk_bms.sensor_descriptions import SENSORS, JkBmsSensorDescription
from custom_components.jk_bms.switch import BLUETOOTH_LINK, SWITCHES
from homeassistant import components
from homeassistant.helpers.entity import EntityDescription
from tests.docs.tables import BANKS, PAGE, PER_CELL, TITLES, rows_below

FOLDER: Final = Path(jk_bms.__path__[0])
LANGUAGES: Final[dict[str, Any]] = {
    path.stem: json.loads(path.read_text("utf-8"))["entity"]
    for path in sorted((FOLDER / "translations").glob("*.json"))
}
ICONS: Final[dict[str, Any]] = json.loads((FOLDER / "icons.json").read_text())["entity"]
ALARM_KEYS: Final = {str(alarm.name).lower() for alarm in Alarm}

type Rows = list[tuple[str, EntityDescription]]

ROWS: Final[Rows] = [
    *(("sensor", row) for row in SENSORS),
    *(("sensor", row) for row in BANK_SENSORS),
    *(("binary_sensor", row) for row in BANK_BINARY_SENSORS),
    *(("sensor", row) for row in COMPATIBILITY_SENSORS),
    *(("sensor", row) for row in ENERGY_SENSORS),
    *(("sensor", row) for row in AVERAGE_SENSORS),
    *(("sensor", row) for row in TIME_LEFT_SENSORS),
    *(("sensor", row) for row in LINK_SENSORS),
    *(("binary_sensor", row) for row in BINARY_SENSORS),
    ("event", ALARM),
    ("event", LOG_ENTRY),
    ("switch", BLUETOOTH_LINK),
    *(("switch", row) for row in SWITCHES),
    *(("number", row) for row in NUMBERS),
    *(("select", row) for row in SELECTS),
    ("button", REFRESH),
]

WITHOUT_ENTITY: Final = {
    # The names of the alarms say the same.
    "alarm_mask",
    # Raw material of the timestamps of the logs.
    "boot_time",
    "clock",
    # Which settings there are is no setting.
    "register_support",
    # How long each protection still waits: of use only while testing a device.
    "discharge_overcurrent_release_time",
    "discharge_short_circuit_release_time",
    "charge_overcurrent_release_time",
    "charge_short_circuit_release_time",
    "cell_undervoltage_release_time",
    "cell_overvoltage_release_time",
    # Calibration and the electronics of the device.
    "discharge_current_correction",
    "charge_current_correction",
    "voltage_correction",
    "charge_current_sensor",
    "discharge_current_sensor",
    "balancer_charge_drive",
    "balancer_discharge_drive",
    "parallel_limiter",
    # The sensors themselves are shown.
    "warmest_sensor",
    "coldest_sensor",
}
"""Fields of `CellData` and `Settings` that deliberately have no entity."""


class Recorder:
    """A model that notes which of its fields are read."""

    def __init__(self, model: object, read: set[str]) -> None:
        """Note the fields in the set."""
        self._model = model
        self._read = read

    def __getattr__(self, name: str) -> Any:
        """Note a field; look into a property."""
        value = getattr(type(self._model), name, None)
        if isinstance(value, property):
            return value.fget(self) if value.fget else None
        self._read.add(name)
        return getattr(self._model, name)


def fields_read(rows: Rows) -> set[str]:
    """Return the fields of the models that the rows show."""
    read: set[str] = set()
    for layout in Layout:
        reading: Any = SimpleNamespace(
            layout=layout,
            cell_data=Recorder(CellData(alarms=("wire_resistance",)), read),
            settings=Recorder(Settings(), read),
            device_info=Recorder(
                DeviceInfo(device_model="", software_version=""), set()
            ),
        )
        for _, row in rows:
            if isinstance(row, JkBmsEntityDescription):
                row.value_fn(reading)
                row.exists(reading)
                if row.attributes_fn:
                    row.attributes_fn(reading)
    return read


def fields_without_entity(read: set[str], *models: type) -> Iterator[str]:
    """Yield the fields that no row shows."""
    for model in models:
        for field in fields(model):
            if field.name not in read | WITHOUT_ENTITY:
                yield f"{model.__name__}.{field.name} has no entity"


def without_meaning(*models: type) -> Iterator[str]:
    """Yield the fields and alarms that docs/protocol.md does not name."""
    page = (PAGE.parent / "protocol.md").read_text()
    for alarm in sorted(ALARM_KEYS - UNNAMED):
        if f"`{alarm}`" not in page:
            yield f"the alarm {alarm} is not in docs/protocol.md"
    for model in models:
        for field in fields(model):
            if f"`{field.name}`" not in page:
                yield f"{model.__name__}.{field.name} is not in docs/protocol.md"


def translation_key(row: EntityDescription) -> str:
    """Return the key of name and icon."""
    return row.translation_key or row.key


def rows_without_name(rows: Rows) -> Iterator[str]:
    """Yield the rows that lack a name in a language."""
    for platform, row in rows:
        for language, texts in LANGUAGES.items():
            if not texts[platform].get(translation_key(row), {}).get("name"):
                yield f"{platform}.{row.key} has no name in {language}.json"


def rows_without_icon(rows: Rows) -> Iterator[str]:
    """Yield the rows that have neither an icon nor a device class that gives one."""
    for platform, row in rows:
        path = Path(components.__path__[0]) / platform / "icons.json"
        classes = json.loads(path.read_text())["entity_component"]
        icon = ICONS.get(platform, {}).get(translation_key(row), {}).get("default")
        if not icon and row.device_class not in classes:
            yield f"{platform}.{row.key} has no icon"


def rows_without_documentation(rows: Rows) -> Iterator[str]:
    """Yield the rows that docs/entities.md does not have."""
    page = PAGE.read_text()
    documented = {
        platform: rows_below(page, title) | rows_below(page, BANKS)
        for platform, title in TITLES.items()
    }
    alarms = rows_below(page, "Alarms")
    for platform, row in rows:
        if platform == "binary_sensor" and row.key in ALARM_KEYS:
            is_documented = row.key in alarms
        else:
            key = (
                PER_CELL.sub("_n", row.key) if row.translation_placeholders else row.key
            )
            is_documented = key in documented[platform]
        if not is_documented:
            yield f"{platform}.{row.key} has no row in docs/entities.md"


def missing(rows: Rows) -> list[str]:
    """Name everything that is missing."""
    return [
        *without_meaning(CellData, Settings, DeviceInfo),
        *fields_without_entity(fields_read(rows), CellData, Settings),
        *rows_without_name(rows),
        *rows_without_icon(rows),
        *rows_without_documentation(rows),
    ]


def test_nothing_is_missing() -> None:
    """Each field has an entity, and each entity a name, an icon and a row in the docs."""
    found = missing(ROWS)
    assert not found, "\n".join(found)


def test_every_missing_part_of_an_added_value_is_named() -> None:
    """A field without a row, and a row without anything else, are reported in full."""

    row = JkBmsSensorDescription(key="humidity_9", value_fn=lambda _: None)
    without_row = [each for each in ROWS if each[1].key != "state_of_health"]
    before = missing(ROWS)
    found = missing([*without_row, ("sensor", row)])
    assert [each for each in found if each not in before] == [
        "CellData.state_of_health has no entity",
        *(
            f"sensor.humidity_9 has no name in {language}.json"
            for language in LANGUAGES
        ),
        "sensor.humidity_9 has no icon",
        "sensor.humidity_9 has no row in docs/entities.md",
    ]


def test_deliberate_exceptions_are_current() -> None:
    """No field that deliberately has no entity is gone, or has one after all."""
    names = {field.name for model in (CellData, Settings) for field in fields(model)}
    assert names >= WITHOUT_ENTITY
    assert not WITHOUT_ENTITY & fields_read(ROWS)
    named = UNNAMED - ALARM_KEYS
    assert not named, f"UNNAMED has alarms that have a name now: {sorted(named)}"


def leftovers(texts: dict[str, Any], rows: Rows) -> set[str]:
    """Return what belongs to no entity."""
    known = {f"{platform}.{translation_key(row)}" for platform, row in rows}
    return {
        f"{platform}.{key}" for platform in texts for key in texts[platform]
    } - known


@pytest.mark.parametrize(
    "texts", [*LANGUAGES.values(), ICONS], ids=[*LANGUAGES, "icons"]
)
def test_no_name_or_icon_is_left_over(texts: dict[str, Any]) -> None:
    """Names and icons belong to entities that exist."""
    found = leftovers(texts, ROWS)
    assert not found, f"texts or icons of no entity: {sorted(found)}"


def test_every_code_has_a_name() -> None:
    """The values of an enum sensor have texts, and no text is left over.

    A sensor without a name is one of the missing parts above.
    """
    names = LANGUAGES["en"]["sensor"]
    for row in SENSORS:
        states: Iterable[str] = names.get(translation_key(row), {}).get("state", {})
        assert set(states) == set(row.options or []), row.key
