"""Tests that the owner's name and the repository's address are the same everywhere."""

import json
from pathlib import Path
import re
import tomllib

import pytest
import yaml

ROOT = Path(__file__).parents[1]
OWNERS = (ROOT / ".github" / "CODEOWNERS").read_text()
(ADDRESS,) = re.findall(r"^# (https://github\.com/\S+)$", OWNERS, re.MULTILINE)
(OWNER,) = re.findall(r"^\* (@\S+)$", OWNERS, re.MULTILINE)
MANIFEST = json.loads(
    (ROOT / "custom_components" / "jk_bms" / "manifest.json").read_text()
)
REPOSITORY = ADDRESS.removeprefix("https://github.com/")

TEXTS = [
    path
    for pattern in (
        "*.md",
        "*.yml",
        "docs/**/*.md",
        "docs/**/*.json",
        "blueprints/**/*.yaml",
        ".github/**/*.md",
        ".github/**/*.yml",
        "frontend/src/**/*.ts",
        "custom_components/jk_bms/**/*.py",
        "custom_components/jk_bms/**/*.json",
    )
    for path in sorted(ROOT.glob(pattern))
]


def test_address_belongs_to_the_owner() -> None:
    """The owner in CODEOWNERS is the one whose repository stands beside."""
    assert REPOSITORY.split("/")[0] == OWNER.removeprefix("@")


def test_manifest_and_package_name_owner_and_address() -> None:
    """What Home Assistant, HACS and PyPI show leads here."""
    assert MANIFEST["codeowners"] == [OWNER]
    assert MANIFEST["documentation"].startswith(ADDRESS)
    assert MANIFEST["issue_tracker"] == f"{ADDRESS}/issues"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [
        url for url in project["urls"].values() if not url.startswith(ADDRESS)
    ] == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_the_address(path: Path) -> None:
    """A link to a repository of this name, or of this owner, is one to this repository."""
    text = path.read_text()
    owner, name = map(re.escape, REPOSITORY.split("/"))
    for pattern in (
        rf"github\.com/(?:{owner}/[\w.-]+|[\w.-]+/{name}\b)",
        rf"raw\.githubusercontent\.com/(?:{owner}/[\w.-]+|[\w.-]+/{name}\b)",
    ):
        for link in re.findall(pattern, text):
            assert link.partition("/")[2] == REPOSITORY
    for found in re.findall(r"owner=([\w.-]+)&(?:amp;)?repository=([\w.-]+)", text):
        assert "/".join(found) == REPOSITORY


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / ".github" / "workflows").glob("*.yml")),
    ids=lambda path: path.stem,
)
def test_workflows_run_scripts_that_exist(path: Path) -> None:
    """Each step is an action or runs something, and has no more rights than it needs."""
    workflow = yaml.safe_load(path.read_text())
    assert "permissions" in workflow
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    for script in re.findall(r"scripts/\w+", path.read_text()):
        assert (ROOT / script).stat().st_mode & 0o111


def test_site_is_published_where_its_pages_say() -> None:
    """GitHub gives the site of a repository this address; only a push to main changes it."""
    text = (ROOT / "mkdocs.yml").read_text()
    (address,) = re.findall(r"^site_url: (\S+)$", text, re.MULTILINE)
    owner, name = REPOSITORY.split("/")
    assert address == f"https://{owner}.github.io/{name}/"
    (folder,) = re.findall(r"^site_dir: (\S+)$", text, re.MULTILINE)
    jobs = yaml.safe_load((ROOT / ".github/workflows/docs.yml").read_text())["jobs"]
    *_, upload = jobs["site"]["steps"]
    assert upload["with"]["path"] == folder
    assert upload["if"] == jobs["publish"]["if"] == "github.event_name == 'push'"


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")),
    ids=lambda path: path.stem,
)
def test_issue_forms_are_what_github_reads(path: Path) -> None:
    """A form has a name, a description and fields of the known types."""
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert form["contact_links"]
        return
    assert form["name"]
    assert form["description"]
    for field in form["body"]:
        assert field["type"] in {"checkboxes", "dropdown", "input", "textarea"}
        assert field["attributes"]["label"]


def test_bug_report_requires_diagnostics() -> None:
    """Without them a bug can hardly be investigated."""
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text())
    (required,) = (
        field["validations"]["required"]
        for field in form["body"]
        if field["attributes"]["label"] == "Diagnostics"
    )
    assert required is True
