"""What the tests of the library share."""

from collections.abc import Iterator
import signal

import pytest

from .bench import switch_on

__all__ = ["switch_on"]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let Ctrl-C work: a shell keeps it from what it starts with `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
