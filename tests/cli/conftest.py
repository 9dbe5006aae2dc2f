"""What the tests of the command share."""

from collections.abc import Iterator
import signal

import pytest


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
