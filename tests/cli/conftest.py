"""What the tests of the command share."""

from collections.abc import Iterator
from pathlib import Path
import signal

import pytest


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the command remembers things, which no test shares with another."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let signals work: a shell ignores Ctrl-C for what it starts with `&`, nohup a hang-up."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
