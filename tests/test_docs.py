"""The documentation describes everything that exists, and nothing else."""

from collections.abc import Iterable, Iterator
from importlib import import_module
import json
from pathlib import Path
import re
from typing import Final

import pytest

from custom_components import jk_bms
from custom_components.jk_bms import PLATFORMS
from custom_components.jk_bms.event import LOG_ENTRY
from custom_components.jk_bms.jkbms.models import INFORMATION, Alarm
from custom_components.jk_bms.options import _PUSH_SCHEMA as _PUSH, _SCHEMA as _OPTIONS
from homeassistant.helpers.entity import EntityDescription

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *(ROOT / "docs").glob("*.md"),
]
TEXTS: Final = json.loads(
    (Path(jk_bms.__path__[0]) / "translations" / "en.json").read_text()
)
ALARMS: Final = [str(alarm.name).lower() for alarm in Alarm]
TITLES: Final = {
    "binary_sensor": "Binary sensors",
    "button": "Button",
    "event": "Events",
    "sensor": "Sensors",
    "switch": "Switch",
}
PER_CELL: Final = re.compile(r"_\d+$")


def entities(platform: str) -> dict[str, EntityDescription]:
    """Return what describes the entities of a platform, by the key in the docs.

    The entities of single cells share one row, and alarms have a table of their own.
    """
    module = import_module(f"{jk_bms.__name__}.{platform}")
    found: dict[str, EntityDescription] = {}
    for value in vars(module).values():
        for description in value if isinstance(value, tuple) else (value,):
            # isinstance() is false for the descriptions that are Home Assistant's own.
            if type(description).__name__.endswith("Description"):
                key = description.key
                if description.translation_placeholders:
                    key = PER_CELL.sub("_n", key)
                found.setdefault(key, description)
    return {
        key: description
        for key, description in found.items()
        if platform != "binary_sensor" or key not in ALARMS
    }


def table(page: str, heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table below a heading, by their first cell."""
    text = (ROOT / "docs" / page).read_text()
    assert text.count(f"\n{heading}\n") == 1, f"{page} has no heading {heading}"
    _, _, section = text.partition(f"\n{heading}\n")
    section = re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    rows: dict[str, list[str]] = {}
    for line in re.findall(r"^\|(.+)\|$", section, re.MULTILINE)[2:]:
        name, *cells = (cell.strip() for cell in line.split("|"))
        assert name not in rows, f"{page} has two rows for {name}"
        rows[name.strip("`")] = cells
    return rows


def assert_rows(page: str, rows: Iterable[str], names: Iterable[str]) -> None:
    """Fail with the names of missing rows and of rows without a subject."""
    documented, existing = set(rows), set(names)
    missing, left_over = sorted(existing - documented), sorted(documented - existing)
    assert not missing, f"missing in docs/{page}: {missing}"
    assert not left_over, f"in docs/{page}, but not in the code: {left_over}"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_entity_has_a_current_row(platform: str) -> None:
    """Key, unit and default are those of the code; meaning and source are given."""
    rows = table("entities.md", f"## {TITLES[platform]}")
    described = entities(platform)
    assert_rows("entities.md", rows, described)
    for key, description in described.items():
        unit, default, meaning, source = rows[key]
        assert unit == (getattr(description, "native_unit_of_measurement", "") or "")
        enabled = description.entity_registry_enabled_default
        assert default == ("on" if enabled else "off"), key
        assert meaning, key
        assert source, key


def test_every_alarm_has_a_current_row() -> None:
    """The names are those that automations compare with."""
    rows = table("entities.md", "## Alarms")
    assert_rows("entities.md", rows, ALARMS)
    for alarm, (kind, meaning) in rows.items():
        assert kind == ("information" if alarm in INFORMATION else "fault"), alarm
        assert meaning, alarm


def test_every_log_event_has_a_current_row() -> None:
    """The names are the event types, the texts those that Home Assistant shows."""
    rows = table("entities.md", "## Log events")
    assert_rows("entities.md", rows, LOG_ENTRY.event_types or ())
    attributes = TEXTS["entity"]["event"]["log_entry"]["state_attributes"]
    shown = attributes["event_type"]["state"]
    assert {event: text for event, (text,) in rows.items()} == shown


def test_every_option_has_a_current_row() -> None:
    """Names are those of the form, keys those of the schema."""
    step = TEXTS["options"]["step"]["init"]
    for heading, schema, texts in (
        ("## Options", _OPTIONS, step["data"]),
        ("## Push to Prometheus", _PUSH, step["sections"]["push"]["data"]),
    ):
        rows = table("options.md", heading)
        keys = {str(key.schema) for key in schema.schema}
        assert_rows("options.md", (key.strip("`") for key, *_ in rows.values()), keys)
        assert {key.strip("`"): name for name, (key, *_) in rows.items()} == texts


def test_every_set_up_field_has_a_row() -> None:
    """One row for each field of each step that asks for something."""
    rows = table("options.md", "## Set-up")
    fields = {
        name
        for step in TEXTS["config"]["step"].values()
        for name in step.get("data", {}).values()
    }
    assert_rows("options.md", rows, fields)


def links() -> Iterator[tuple[Path, str]]:
    """Yield every link to a file or a heading, with the page that it is on."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" not in target:
                yield page, target


def anchors(page: Path) -> set[str]:
    """Return what links to the headings of a page look like."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize(
    ("page", "target"),
    [pytest.param(*link, id=f"{link[0].name}-{link[1]}") for link in links()],
)
def test_links_lead_somewhere(page: Path, target: str) -> None:
    """Files exist, and so do the headings in them."""
    name, _, anchor = target.partition("#")
    file = page.parent / name if name else page
    assert file.exists()
    assert not anchor or anchor in anchors(file)


def test_named_paths_exist() -> None:
    """What the pages for contributors name in the tree is there."""
    # A hyphen or a dot may be part of a name; `…` and `<…>` stand for others.
    path = re.compile(
        r"`((?:custom_components|tests|scripts|docs|blueprints)/[\w./-]+)`"
    )
    for page in PAGES:
        for named in path.findall(page.read_text()):
            assert (ROOT / named).exists(), f"{page.name} names {named}"
