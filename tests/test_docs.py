"""The documentation describes everything that exists, and nothing else."""

from collections.abc import Iterable, Iterator
import json
from pathlib import Path
import re
from typing import Final

import pytest

from custom_components import jk_bms
from custom_components.jk_bms.options import PUSH_SCHEMA, SCHEMA
from tests.docs.tables import PAGE, incomplete, render

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *(ROOT / "docs").glob("*.md"),
]
TEXTS: Final = json.loads(
    (Path(jk_bms.__path__[0]) / "translations" / "en.json").read_text()
)


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


def test_tables_of_entities_are_current() -> None:
    """They are what `scripts/docs` writes, and every row has its words."""
    text = PAGE.read_text()
    assert render(text) == text, "run scripts/docs"
    assert incomplete(text) == []


def test_new_row_keeps_the_words_of_the_others() -> None:
    """A row that is missing or outdated is written, and asks for its meaning."""
    text = PAGE.read_text()
    line = next(line for line in text.splitlines() if line.startswith("| `power` "))
    assert render(text.replace(line, line.replace("| W |", "| kW |"))) == text
    made = render(text.replace(f"{line}\n", ""))
    assert "| `power` | Power | W | on |  |  |\n" in made
    assert incomplete(made) == ["Sensors: power"]


def test_every_option_has_a_current_row() -> None:
    """Names are those of the form, keys those of the schema."""
    step = TEXTS["options"]["step"]["init"]
    for heading, schema, texts in (
        ("## Options", SCHEMA, step["data"]),
        ("## Push to Prometheus", PUSH_SCHEMA, step["sections"]["push"]["data"]),
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
