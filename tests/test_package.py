"""Tests of what a release contains."""

import json
from pathlib import Path
import shutil
import subprocess
import sys
import tarfile
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]


# A fresh process imports Home Assistant, which takes long on a busy machine
@pytest.mark.timeout(180)
def test_release_holds_the_integration_without_the_command(tmp_path: Path) -> None:
    """Every module of the integration can be imported from the release alone."""
    packed = tmp_path / "jk_bms.zip"
    subprocess.run([ROOT / "scripts" / "package", packed], check=True)
    with ZipFile(packed) as archive:
        archive.extractall(tmp_path / "custom_components" / "jk_bms")
        names = archive.namelist()
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["domain"] == "jk_bms"
    assert {"LICENSE", "jkbms/py.typed", "translations/en.json"} <= {*names}
    assert {"frontend/main.js", "frontend/main.js.gz"} <= {*names}
    assert not [name for name in names if "/cli/" in name or "__pycache__" in name]
    assert not {"jkbms/__main__.py", "jkbms/export/exporter.py"} & {*names}

    modules = [
        ".".join(("custom_components.jk_bms", *Path(name).with_suffix("").parts))
        for name in names
        if name.endswith(".py")
    ]
    code = "import sys\nfor name in sys.argv[1:]: __import__(name); print(name)"
    done = subprocess.run(
        [sys.executable, "-c", code, *modules],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.split() == modules


def test_source_distribution_builds_itself_and_holds_no_tests(tmp_path: Path) -> None:
    """Library, licence and changelog are in it; the tests are not."""
    source = tmp_path / "source"
    shutil.copytree(
        ROOT,
        source,
        ignore=lambda folder, names: (
            {name for name in names if name.startswith(".")}
            if folder == str(ROOT)
            else {"node_modules", "__pycache__"}
        ),
    )
    code = "from setuptools.build_meta import build_sdist; build_sdist('..')"
    subprocess.run(
        [sys.executable, "-c", code], cwd=source, check=True, capture_output=True
    )
    (packed,) = tmp_path.glob("jkbms-*.tar.gz")
    with tarfile.open(packed) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "README.md", "pyproject.toml"} <= names
    assert "custom_components/jk_bms/jkbms/protocol/frames.py" in names
    assert [name for name in names if name.startswith(("tests", ".github"))] == []
