"""The documentation describes everything that exists, and nothing else."""

from collections.abc import Callable, Iterable, Iterator
import configparser
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
from typing import Final

import pytest

from custom_components import jk_bms
from custom_components.jk_bms.issues import RAISED_AFTER
from custom_components.jk_bms.jkbms.cli.arguments import parse
from custom_components.jk_bms.jkbms.protocol.registers import TIERS, Tier
from custom_components.jk_bms.options import PUSH_SCHEMA, SCHEMA
from tests.bench import __main__ as bench
from tests.demo import __main__ as demo
from tests.docs.examples import PAGES as EXAMPLE_PAGES, Block, blocks, commands, inline
from tests.docs.tables import PAGE, incomplete, render
from tests.servers import find

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = [
    *EXAMPLE_PAGES,
    *(ROOT / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY")),
]
REPOSITORY: Final = "https://github.com/jk-bms/ha-jk-bms"
RAW: Final = "https://raw.githubusercontent.com/jk-bms/ha-jk-bms/main/"
MANUAL: Final = {
    ("prometheus.md", "sudo"): "installs into the system",
    ("ubmsc.md", "sudo"): "test_link_of_the_old_name_starts_the_command",
    ("README.md", "git"): "fetches the repository",
    ("contributing.md", "git"): "fetches the repository",
    ("README.md", "uv"): "tests/cli/test_wheel.py builds and installs the wheel",
}
"""Commands that no test of this module runs, by page and program, and why."""
PARSERS: Final = {"scripts/bench": bench.parse, "scripts/demo": demo.parse}
"""What reads the options of a script."""
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
    """`scripts/docs` would write the same, and every row has its words."""
    text = PAGE.read_text()
    current = render(text)
    changed = {*current.splitlines()} ^ {*text.splitlines()}
    is_current = text == current
    assert is_current, "\n".join(["run scripts/docs --tables for:", *changed])
    assert incomplete(text) == [], "words are missing in docs/entities.md"


@pytest.mark.parametrize(
    ("tier", "title"), [(Tier.EVERYDAY, "switches"), (Tier.TUNING, "tuning")]
)
def test_settings_that_can_be_changed_are_listed(tier: Tier, title: str) -> None:
    """Each stands with those for which an owner allows as much."""
    (cell,) = table("controls.md", "## What can be changed")[title]
    names = (name for name, of_name in TIERS.items() if of_name is tier)
    assert_rows("controls.md", re.findall(r"`(\w+)`", cell), names)


def test_new_row_keeps_the_words_of_the_others() -> None:
    """A row that is missing or outdated is written, and asks for its meaning."""
    text = render(PAGE.read_text())
    line = next(line for line in text.splitlines() if line.startswith("| `power` "))
    assert render(text.replace(line, line.replace("| W |", "| kW |"))) == text
    made = render(text.replace(f"{line}\n", ""))
    assert "| `power` | Power | W | on |  |  |\n" in made
    assert {*incomplete(made)} - {*incomplete(text)} == {"Sensors: power"}


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
    """Yield every link to a file or a heading, with the page that it is on.

    The README is also the description on PyPI, where only absolute links lead somewhere.
    """
    target = re.compile(
        r"\]\(([^)\s]+)\)|^\[[\w-]+\]: (\S+)|(?:src|srcset)=\"([^\"]+)\"", re.MULTILINE
    )
    for page in PAGES:
        for found in target.findall(page.read_text()):
            address = "".join(found)
            for start in (f"{REPOSITORY}/blob/main/", RAW):
                if address.startswith(start):
                    depth = len(page.relative_to(ROOT).parts) - 1
                    address = "../" * depth + address.removeprefix(start)
                    break
            else:
                if "://" not in address:
                    assert page.name != "README.md", f"{address} is not absolute"
            if "://" not in address:
                yield page, address


def test_each_issue_has_a_row_with_its_time() -> None:
    """The troubleshooting page lists every repairs issue, and when it comes."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \| [A-Z]", page, re.MULTILINE))
    raising = {message: time for message, time in rows.items() if time != "none"}
    found = set()
    for key, texts in TEXTS["issues"].items():
        title = texts["title"].replace("{name}", "a bank").lower()
        (message,) = (each for each in raising if each.lower() in title)
        found.add(message)
        if key in RAISED_AFTER:
            assert minutes(raising[message]) == RAISED_AFTER[key] / 60
    assert found == raising.keys()


def minutes(duration: str) -> float:
    """Return the minutes of `5 min` or `24 h`."""
    number, unit = duration.split()
    return float(number) * {"min": 1, "h": 60}[unit]


def test_site_fetches_nothing_from_other_servers() -> None:
    """Neither pictures nor the theme's query of GitHub reveal who reads the pages."""
    foreign = re.compile(r"!\[[^\]]*\]\(\w+://|src(?:set)?=\"\w+://")
    pages = (ROOT / "docs").glob("*.md")
    assert [page.name for page in pages if foreign.search(page.read_text())] == []
    assert "\nrepo_url:" not in (ROOT / "mkdocs.yml").read_text()


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


def build_site(folder: Path) -> subprocess.CompletedProcess[str]:
    """Let MkDocs build the site of a folder strictly, as `scripts/docs` does."""
    tools = ROOT / ".cache" / "mkdocs"
    if not tools.exists():
        pytest.skip("scripts/docs has not installed MkDocs")
    (options,) = re.findall(
        r"^mkdocs (build .+)$", (ROOT / "scripts" / "docs").read_text(), re.MULTILINE
    )
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", *options.split()],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(tools), "NO_MKDOCS_2_WARNING": "1"},
        check=False,
        capture_output=True,
        text=True,
    )


def test_site_has_no_dead_link_or_picture() -> None:
    """MkDocs builds it."""
    done = build_site(ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", ["gone.md", "faq.md#gone", "images/gone.png"])
def test_dead_link_or_picture_fails_the_site(tmp_path: Path, target: str) -> None:
    """A page, a heading and a picture that are missing are each reported."""
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "index.md").open("a") as page:
        page.write(
            f"\n![dead]({target})\n" if "png" in target else f"\n[dead]({target})\n"
        )
    done = build_site(tmp_path)
    assert done.returncode == 1
    assert target.partition("#")[0] in done.stderr


def test_every_page_is_in_the_navigation() -> None:
    """A page that no menu leads to is not found."""
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    listed = set(re.findall(r"^ +- (\S+\.md)$", navigation, re.MULTILINE))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} <= listed


def test_readme_is_short() -> None:
    """Everything else is in docs/."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_every_block_has_a_language_that_is_tested() -> None:
    """`shell` and `text` are for what cannot be run: traces and drawings."""
    known = {"console", "ini", "shell", "text", "yaml"}
    assert {block.language for block in blocks()} <= known


def assert_parsed(parse: Callable[[], object]) -> None:
    """Fail where an option is wrong; `--help` exits as well."""
    code: object = None
    try:
        parse()
    except SystemExit as done:
        code = done.code
    assert not code


@pytest.mark.parametrize(
    ("page", "words"),
    [pytest.param(*each, id=f"{each[0]} {' '.join(each[1])}") for each in commands()],
)
def test_commands_are_understood(
    page: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command accepts its options on a terminal, and scripts exist."""
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    program, *arguments = words
    monkeypatch.setattr(sys, "argv", words)
    if program == "jkbms":
        assert_parsed(lambda: parse(arguments))
    elif program in PARSERS:
        assert_parsed(PARSERS[program])
    elif program.startswith("scripts/"):
        assert (ROOT / program).stat().st_mode & 0o111
        options = {word for word in arguments if word.startswith("--")}
        assert options <= set(re.findall(r"--\w+", (ROOT / program).read_text()))
    elif page != "installation.md":
        assert (page, program) in MANUAL


def test_installation_by_hand_gives_the_integration(tmp_path: Path) -> None:
    """The commands unpack a release to where Home Assistant looks for it."""
    subprocess.run([ROOT / "scripts" / "package", tmp_path / "jk_bms.zip"], check=True)
    for page, words in commands():
        if page == "installation.md":
            if not shutil.which(words[0]):
                pytest.skip(f"{words[0]} is missing")
            subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "config/custom_components/jk_bms/manifest.json").exists()


def test_link_of_the_old_name_starts_the_command(tmp_path: Path) -> None:
    """The shell can run it, and what it links shows the help of `ubmsc`."""
    (line,) = re.findall(
        r"^\$ sudo (ln .+)$", (ROOT / "docs" / "ubmsc.md").read_text(), re.MULTILINE
    )
    link = tmp_path / "ubmsc"
    assert line.endswith(" /usr/local/bin/ubmsc")
    done = subprocess.run(
        ["bash", "-c", line.replace("/usr/local/bin/ubmsc", str(link))],
        env=os.environ
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        check=False,
    )
    assert done.returncode == 0
    shown = subprocess.run(
        [link, "--help"], check=True, capture_output=True, text=True
    ).stdout
    assert "ubmsc" in shown


def test_packages_to_install_are_those_of_the_tests() -> None:
    """`scripts/servers` fetches them from the same place, so their names are right."""
    named = {
        name
        for page, code in inline()
        if code.startswith("apt install ")
        for name in code.split()[2:]
    }
    assert named
    assert named <= set(re.split(r"[\s()]", (ROOT / "scripts" / "servers").read_text()))


ESPHOME: Final = """\
esphome: {name: proxy}
esp32: {board: esp32dev, framework: {type: esp-idf}}
wifi: {ssid: home, password: "12345678"}
api:
esp32_ble_tracker:
"""
"""What a Bluetooth proxy has besides the example."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "block", [block for block in blocks("yaml") if "bluetooth_proxy:" in block.text]
)
def test_esphome_accepts_its_configuration(block: Block, tmp_path: Path) -> None:
    """`esphome config` validates a proxy with the lines of the page."""
    tools = ROOT / ".cache" / "esphome"
    if not tools.exists():
        pytest.skip("scripts/docs has not installed ESPHome")
    file = tmp_path / "proxy.yaml"
    file.write_text(ESPHOME + block.text)
    done = subprocess.run(
        [sys.executable, "-m", "esphome", "config", file],
        env=os.environ | {"PYTHONPATH": str(tools)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", blocks("ini"))
def test_units_start_the_command(block: Block, tmp_path: Path) -> None:
    """Systemd can read the unit, and the command its own line."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.text)
    program, *arguments = unit["Service"]["ExecStart"].split()
    assert Path(program).name == "jkbms"
    assert parse(arguments).exporter
    if not (analyse := shutil.which("systemd-analyze")):
        pytest.skip("systemd is missing")
    # systemd wants the command where the unit names it.
    here = Path(sys.executable).with_name("jkbms")
    file = tmp_path / "jkbms.service"
    file.write_text(block.text.replace(program, str(here)))
    done = subprocess.run(
        [analyse, "verify", file], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "block", [block for block in blocks("yaml") if "scrape_configs:" in block.text]
)
def test_prometheus_accepts_its_configuration(block: Block, tmp_path: Path) -> None:
    """Promtool reports no error."""
    file = tmp_path / "prometheus.yml"
    file.write_text(block.text)
    done = subprocess.run(
        [find("promtool"), "check", "config", file],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
