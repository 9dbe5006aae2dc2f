"""Run a module of this package in its own process."""

import json
import subprocess
import sys
from typing import Any


def run_module(name: str, **asked: Any) -> dict[str, Any]:
    """Run it with its arguments as JSON; return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"{__package__}.{name}", json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name} {asked} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
