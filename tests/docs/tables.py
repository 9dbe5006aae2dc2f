"""The tables of docs/entities.md: what the code says, and what only a person can say.

Names, units and defaults come from the code and from the English translation. Meanings and
sources are written by hand in the page itself; a new row gets empty cells for them.
"""

from importlib import import_module
import json
from pathlib import Path
import re
from typing import Final

from custom_components import jk_bms
from custom_components.jk_bms import PLATFORMS
from custom_components.jk_bms.bank_entity import BANK_BINARY_SENSORS, BANK_SENSORS
from custom_components.jk_bms.event import LOG_ENTRY
from custom_components.jk_bms.jkbms.models import INFORMATION, Alarm
from homeassistant.helpers.entity import EntityDescription

PAGE: Final = Path(__file__).parents[2] / "docs" / "entities.md"
ALARMS: Final = [str(alarm.name).lower() for alarm in Alarm]
TITLES: Final = {
    "binary_sensor": "Binary sensors",
    "button": "Button",
    "event": "Events",
    "number": "Numbers",
    "select": "Selects",
    "sensor": "Sensors",
    "switch": "Switches",
}
"""The heading of each platform."""
BANKS: Final = "Battery banks"
PER_CELL: Final = re.compile(r"_\d+$")
_SEPARATOR: Final = "|---"

type Row = tuple[str, ...]
"""The cells of a row that the code gives, its key first."""


def entities(platform: str) -> dict[str, EntityDescription]:
    """Return what describes the entities of a platform, by the key in the docs.

    The entities of single cells share one row; alarms and banks have tables of their own.
    """
    module = import_module(f"{jk_bms.__name__}.{platform}")
    found: dict[str, EntityDescription] = {}
    for value in vars(module).values():
        for description in value if isinstance(value, tuple) else (value,):
            # isinstance() is false for the descriptions that are Home Assistant's own.
            kind = type(description).__name__
            if kind.endswith("Description") and not kind.startswith("Bank"):
                key = description.key
                if description.translation_placeholders:
                    key = PER_CELL.sub("_n", key)
                found.setdefault(key, description)
    return {
        key: description
        for key, description in found.items()
        if platform != "binary_sensor" or key not in ALARMS
    }


def _texts() -> dict[str, dict[str, dict[str, object]]]:
    folder = Path(jk_bms.__path__[0]) / "translations"
    texts: dict[str, dict[str, dict[str, object]]] = json.loads(
        (folder / "en.json").read_text()
    )["entity"]
    return texts


def _entity_row(platform: str, key: str, description: EntityDescription) -> Row:
    name = _name(platform, description.translation_key or description.key)
    return (
        key,
        re.sub(r"\{\w+\}", "n", name),
        _unit(description),
        "on" if description.entity_registry_enabled_default else "off",
    )


def _name(platform: str, key: str) -> str:
    texts = _texts()[platform].get(key)
    if not texts:
        raise LookupError(f"{platform}.{key} has no name in translations/en.json")
    return str(texts["name"])


def _unit(description: EntityDescription) -> str:
    """Return the unit that a new entity has, empty if it has none."""
    names = "suggested_unit_of_measurement", "native_unit_of_measurement"
    units = (getattr(description, name, None) for name in names)
    return next((str(unit) for unit in units if unit), "")


def _alarm_row(alarm: str) -> Row:
    kind = "information" if alarm in INFORMATION else "fault"
    return alarm, _name("binary_sensor", alarm), kind


def log_events() -> dict[str, str]:
    """Return how Home Assistant shows each event of the battery's logbook."""
    attributes = _texts()["event"]["log_entry"]["state_attributes"]
    shown: dict[str, str] = attributes["event_type"]["state"]  # type: ignore[index]
    return {event: shown[event] for event in LOG_ENTRY.event_types or ()}


def tables() -> dict[str, tuple[Row, list[Row], Row]]:
    """Return columns, rows and the columns that are written by hand, by heading."""
    result: dict[str, tuple[Row, list[Row], Row]] = {}
    for platform in PLATFORMS:
        rows = [
            _entity_row(platform, key, description)
            for key, description in entities(platform).items()
        ]
        result[TITLES[platform]] = (
            ("key", "name", "unit", "default"),
            rows,
            ("meaning", "reported by"),
        )
    result[BANKS] = (
        ("key", "name", "unit", "default"),
        [
            _entity_row(platform, description.key, description)
            for platform, descriptions in (
                ("sensor", BANK_SENSORS),
                ("binary_sensor", BANK_BINARY_SENSORS),
            )
            for description in descriptions
        ],
        ("meaning", "attributes"),
    )
    result["Alarms"] = (
        ("key", "name", "kind"),
        [_alarm_row(alarm) for alarm in ALARMS],
        ("meaning",),
    )
    result["Log events"] = (
        ("event", "shown as"),
        [*log_events().items()],
        (),
    )
    return result


def rows_below(text: str, heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table below a heading, by their first cell."""
    _, _, section = text.partition(f"\n## {heading}\n")
    rows: dict[str, list[str]] = {}
    for line in _table(section).splitlines()[2:]:
        key, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[key.strip("`")] = cells
    return rows


def _table(section: str) -> str:
    """Return the first table of a section, empty if it has none."""
    section = re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    found = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return found[0] if found else ""


def render(text: str) -> str:
    """Return the page with current tables; what is written by hand is kept."""
    for heading, (columns, rows, by_hand) in tables().items():
        before, mark, section = text.partition(f"\n## {heading}\n")
        if not mark:
            raise ValueError(f"{PAGE.name} has no heading {heading}")
        written = rows_below(text, heading)
        lines = [[*columns, *by_hand]]
        # The order of the page is kept; new rows come last.
        place = {key: number for number, key in enumerate(written)}
        for row in sorted(rows, key=lambda row: place.get(row[0], len(place))):
            cells = written.get(row[0], [])
            # Without hand-written columns there is nothing to keep.
            kept = cells[-len(by_hand) :] if by_hand and cells else [""] * len(by_hand)
            lines.append([f"`{row[0]}`", *row[1:], *kept])
        made = [f"| {' | '.join(line)} |" for line in lines]
        made.insert(1, _SEPARATOR * len(lines[0]) + "|")
        table = "\n".join(made) + "\n"
        old = _table(section)
        section = section.replace(old, table, 1) if old else f"\n{table}{section}"
        text = before + mark + section
    return text


def incomplete(text: str) -> list[str]:
    """Name the rows that lack something only a person can write."""
    return [
        f"{heading}: {key}"
        for heading, (_, _, by_hand) in tables().items()
        for key, cells in rows_below(text, heading).items()
        if by_hand and "" in cells[-len(by_hand) :]
    ]
