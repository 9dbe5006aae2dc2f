"""The start of the command: how long until help and the version are there."""

from collections.abc import Iterator
import os
from pathlib import Path
import resource
import subprocess
import sys
from typing import Final

from .figure import Figure, Options, at_most

RUNS: Final = 9
COMMAND: Final = str(Path(sys.executable).with_name("jkbms"))
BARE: Final = (sys.executable, "-c", "import bleak")


def measure(_: Options) -> Iterator[Figure]:
    """Yield what starting the command takes, as a multiple of importing bleak."""
    bare = _work(*BARE)
    for option in ("--help", "--version"):
        yield Figure(
            f"start: {option}",
            _work(COMMAND, option) / bare,
            "",
            at_most(1.5),
            f"time of the processor for `jkbms {option}`, as a multiple of that for "
            f'`python -c "import bleak"`, the best of {RUNS} runs each',
        )


def _work(*command: str) -> float:
    """Return s of the processor, the fewest of several runs."""
    # Installed, Python keeps what it has compiled
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    times = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        )
    return min(times)
