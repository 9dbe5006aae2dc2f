"""What every test needs, with or without Home Assistant."""

import asyncio
import logging

from bleak import BleakScanner
import pytest

# The test plug-in of Home Assistant has a package of this name as well; the first wins.
import custom_components.jk_bms  # noqa: F401
from homeassistant.util import executor

from .bluez import _bus_address, bus_address
from .servers import (
    _prometheus,
    _pushgateway,
    _victoria_metrics,
    prometheus,
    pushgateway,
    victoria_metrics,
)
from .thorough import THOROUGH

__all__ = [
    "_bus_address",
    "_prometheus",
    "_pushgateway",
    "_victoria_metrics",
    "bus_address",
    "prometheus",
    "pushgateway",
    "victoria_metrics",
]

# s, of which the threads of an executor share a tenth before they are interrupted, which fails
# the test: a busy machine may not run an idle thread in that time.
executor.EXECUTOR_SHUTDOWN_TIMEOUT = 600

# That plug-in lets it log every statement, which buries what a failed test has to say.
logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)


@pytest.fixture(autouse=True)
async def enable_event_loop_debug() -> None:
    """Leave out a loop's debug mode, which that plug-in enables.

    It formats the stack of each future, task and timer: 40 % of all the time.
    """
    asyncio.get_running_loop().set_debug(THOROUGH)


@pytest.fixture(autouse=True)
def keep_scanner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore what that plug-in leaves mocked once it has enabled Bluetooth.

    No later scan of the process would stop.
    """
    monkeypatch.setattr(BleakScanner, "stop", BleakScanner.stop)
