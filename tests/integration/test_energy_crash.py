"""The counters of a real Home Assistant that is killed, on a real disk."""

import pytest

from tests.bench.process import run_module


@pytest.fixture(autouse=True)
def bluetooth() -> None:
    """Do without Home Assistant in this process."""


@pytest.mark.timeout(240)
def test_killed_home_assistant_counts_on_from_its_last_state() -> None:
    """Killed while it writes the file; `scripts/bench faults` kills it at other moments."""
    found = run_module("crash", rounds=0, minutes=2)
    assert found["lives"] == 2
    assert (found["lower"], found["lost"], found["resets"]) == ([], [], [])
    assert 0.1 < found["counted"] == pytest.approx(found["true"], rel=0.005)
