"""Tests of scripts/release."""

from pathlib import Path
import re
import shutil
import subprocess

import pytest

ROOT = Path(__file__).parents[1]
MANIFEST = "custom_components/jk_bms/manifest.json"
OWNERS = ".github/CODEOWNERS"
LIBRARY = "custom_components/jk_bms/jkbms/__init__.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the files that a release changes, and something unreleased."""
    for name in (MANIFEST, LIBRARY, OWNERS, "scripts/release"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing ([docs](docs/a.md#b), [PyPI](https://pypi.org)).\n"
        "\n## [0.0.9] - 2026-01-02\n\n- Older.\n"
    )
    return tmp_path


def release(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a folder."""
    return subprocess.run(
        [folder / "scripts" / "release", *args],
        check=False,
        capture_output=True,
        text=True,
    )


def files(folder: Path) -> dict[str, str]:
    """Return what a release may change."""
    return {
        name: (folder / name).read_text()
        for name in (MANIFEST, LIBRARY, "CHANGELOG.md")
    }


def test_release_sets_all_versions_and_dates_the_changes(checkout: Path) -> None:
    """After it the check passes, and the notes are the section of the changelog."""
    done = release(checkout, "7.8.9")
    assert (done.returncode, done.stderr) == (0, "")
    found = files(checkout)
    assert '"version": "7.8.9"' in found[MANIFEST]
    assert '\n__version__ = "7.8.9"\n' in found[LIBRARY]
    assert re.search(
        r"## \[Unreleased\]\n\n## \[7\.8\.9\] - \d{4}-\d\d-\d\d\n\n### Added",
        found["CHANGELOG.md"],
    )
    assert release(checkout, "--check", "7.8.9").returncode == 0
    assert release(checkout, "--notes", "7.8.9").stdout == (
        "### Added\n\n- A thing ([docs](https://github.com/jk-bms/ha-jk-bms/blob/7.8.9/docs/a.md#b),"
        " [PyPI](https://pypi.org)).\n"
    )


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "1.2.3-rc1", ""])
def test_release_refuses_what_is_no_version(checkout: Path, version: str) -> None:
    """The message shows what a version looks like, and nothing is changed."""
    before = files(checkout)
    done = release(checkout, version)
    assert done.returncode == 2
    assert "1.2.3" in done.stderr
    assert files(checkout) == before


def test_release_without_changes_is_refused(checkout: Path) -> None:
    """A version says something new: no file changes where there is nothing."""
    (checkout / "CHANGELOG.md").write_text(
        "## [Unreleased]\n\n## [0.0.9] - 2026-01-02\n"
    )
    before = files(checkout)
    done = release(checkout, "7.8.9")
    assert (done.returncode, files(checkout)) == (1, before)
    assert "nothing unreleased" in done.stderr


def test_release_of_a_version_twice_is_refused(checkout: Path) -> None:
    """The section of a version that is out is never written again."""
    done = release(checkout, "0.0.9")
    assert done.returncode == 1
    assert "already has a section" in done.stderr


@pytest.mark.parametrize("name", [MANIFEST, LIBRARY])
def test_check_names_the_file_that_has_another_version(
    checkout: Path, name: str
) -> None:
    """The workflow stops before it builds anything."""
    release(checkout, "7.8.9")
    path = checkout / name
    path.write_text(path.read_text().replace("7.8.9", "7.8.8"))
    done = release(checkout, "--check", "7.8.9")
    assert done.returncode == 1
    assert f"{name} has the version 7.8.8" in done.stderr


def test_check_needs_a_section(checkout: Path) -> None:
    """A release without notes is not published."""
    release(checkout, "7.8.9")
    path = checkout / "CHANGELOG.md"
    path.write_text(path.read_text().replace("[7.8.9]", "[7.8.0]"))
    assert "no section for 7.8.9" in release(checkout, "--check", "7.8.9").stderr
