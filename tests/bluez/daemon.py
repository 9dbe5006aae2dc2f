"""A D-Bus daemon that belongs to the tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import subprocess

import pytest
import pytest_socket

from tests.servers import find, leash

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""


@contextmanager
def bus_running(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a D-Bus daemon with its socket in a folder; return address and process."""
    config = folder / "bus.conf"
    config.write_text(CONFIG.format(socket=folder / "bus"))
    with subprocess.Popen(
        [
            *leash(),
            find("dbus-daemon"),
            f"--config-file={config}",
            "--nofork",
            "--print-address",
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as daemon:
        assert daemon.stdout
        address = daemon.stdout.readline().strip()
        assert address.startswith("unix:path="), "dbus-daemon does not start"
        try:
            yield address, daemon
        finally:
            # Leaving `Popen` waits until it has ended
            daemon.terminate()


@pytest.fixture(scope="session")
def _bus_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a D-Bus daemon and return its address."""
    with bus_running(tmp_path_factory.mktemp("dbus")) as (address, _):
        yield address


@pytest.fixture
def bus_address(_bus_address: str) -> str:
    """Return the address of a D-Bus daemon, to which the test may connect."""
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    return _bus_address
