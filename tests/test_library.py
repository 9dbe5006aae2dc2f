"""Tests of the library's face: what `import jkbms` offers."""

import inspect
import subprocess
import sys

import pytest

from custom_components.jk_bms import jkbms
from custom_components.jk_bms.jkbms import errors, models
from custom_components.jk_bms.jkbms.bluetooth.client import JkBmsClient

from .test_architecture import PACKAGE


def test_face_offers_client_models_and_errors() -> None:
    """Every public class of models and errors is there: a new one cannot be forgotten."""
    public = {
        name
        for module in (models, errors)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
        if not name.startswith("_")
    }
    assert set(jkbms.__all__) == public | {"JkBmsClient", "__version__"}
    for name in public:
        defined_in = models if hasattr(models, name) else errors
        assert getattr(jkbms, name) is getattr(defined_in, name)
    assert jkbms.JkBmsClient is JkBmsClient


def test_face_refuses_unknown_names() -> None:
    """The lazy import does not hide a spelling mistake."""
    name = "JkBmsCleint"
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
        getattr(jkbms, name)


def test_import_of_the_library_needs_no_bluetooth() -> None:
    """Only the client does, and the models are lazy too: `jkbms --help` stays fast."""
    code = (
        "import sys, jkbms\n"
        "assert not {'asyncio', 'bleak', 'jkbms.models'} & sys.modules.keys()\n"
        "from jkbms import JkBmsClient, Reading\n"
        "assert {'bleak', 'jkbms.models'} <= sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE)
