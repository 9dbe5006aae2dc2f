"""What the tests of the command share."""

from collections.abc import Iterator
import signal

import pytest


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let Ctrl-C work: a shell keeps it from what it starts with `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
