"""Tests of what a release contains."""

import json
from pathlib import Path
import subprocess
import sys
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
    assert {"jkbms/py.typed", "translations/en.json"} <= {*names}
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
