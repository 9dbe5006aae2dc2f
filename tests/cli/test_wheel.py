"""What `pip install .` installs: the command alone, without the checkout around it."""

import json
from pathlib import Path
import shutil
import subprocess
import sys
from zipfile import ZipFile

from custom_components.jk_bms.jkbms import __version__
from tests.virtual_bms import MODELS, Battery, frames

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "custom_components")


def test_wheel_decodes_without_the_checkout(tmp_path: Path) -> None:
    """The wheel contains all that the command needs, and nothing of Home Assistant's part."""
    source, installed = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    for name in SOURCES:
        if (path := ROOT / name).is_dir():
            shutil.copytree(path, source / name)
        else:
            shutil.copy(path, source)
    code = "from setuptools.build_meta import build_wheel; build_wheel('..')"
    subprocess.run(
        [sys.executable, "-c", code], cwd=source, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("jkbms-*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(installed)
        names = archive.namelist()
        (points,) = (name for name in names if name.endswith("/entry_points.txt"))
        assert "jkbms = jkbms.cli.main:main" in archive.read(points).decode()
    assert {name.split("/")[0] for name in names} == {
        "jkbms",
        f"jkbms-{__version__}.dist-info",
    }

    spec = MODELS["JK_PB2A16S20P 15.41"]
    state = Battery(spec, hour=10.0).advance(1.0)
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); from jkbms.cli import main as cli\n"
        f"assert cli.__file__.startswith({str(installed)!r})\n"
        "sys.exit(cli.main())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "--decode", "-"],
        cwd=tmp_path,
        input=frames.cell_frame(spec, state, 1).hex(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "jkbms: 1 frame good, 0 rejected\n")
    (cells,) = json.loads(done.stdout)["cell_data"]
    assert len(cells["cell_voltage"]) == 16
