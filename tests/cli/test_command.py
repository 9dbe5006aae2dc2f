"""Tests of the installed command as a process: every usage line of `ubmsc`, and how it starts and ends."""

from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import tomllib
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from custom_components.jk_bms.jkbms import __version__
from tests.servers import Prometheus, VictoriaMetrics, free_port, groups
from tests.stand_in import COMMAND, HOME, UPS

ROOT = Path(__file__).parents[2]
TIMEOUT = 120
"""s for a process to end."""
HEAVY = {
    "aiohttp",
    "asyncio",
    "bleak",
    "bleak_retry_connector",
    "dbus_fast",
    "logging_journald",
    "prometheus_client",
    "rich",
    "tomli_w",
    "yaml",
}

UPS_CELLS = (3.814, 3.819, 3.821, 3.825, 3.819, 3.82, 3.817, 3.817)


def stand_in(scene: str, *arguments: str) -> list[str]:
    """Return the command line that runs the command where these batteries are."""
    return [sys.executable, "-m", "tests.stand_in", scene, *arguments]


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a process to its end."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | environment,
        timeout=TIMEOUT,
    )


@contextmanager
def running(command: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process as long as it is needed."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal; return the exit code and what more it said."""
    process.send_signal(number)
    _, err = process.communicate(timeout=TIMEOUT)
    return process.returncode, err


def ready_line(process: subprocess.Popen[str]) -> str:
    """Wait until it says that it is ready."""
    assert process.stderr
    return process.stderr.readline()


# The usage lines of ubmsc


def test_usage_line_without_action_lists_batteries() -> None:
    """`ubmsc`."""
    done = run(stand_in("two", "-t", "1"))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "devices": [
            {"address": UPS.address, "name": "UPS_BMS", "rssi": -60},
            {"address": HOME.address, "name": "HOME_BMS", "rssi": -60},
        ]
    }


def test_usage_line_prints_device_info_as_json() -> None:
    """`ubmsc -f J -i -d UPS_BMS`."""
    done = run(stand_in("two", "-f", "J", "-i", "-d", "UPS_BMS"))
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert [*document] == ["device_info"]
    (info,) = document["device_info"]
    assert (info["device_name"], info["device_model"]) == ("UPS_BMS", "JK_BD4A8S4P")
    assert done.stdout.startswith('{\n  "device_info": [\n    {\n')


def test_usage_line_prints_all_batteries_as_toml() -> None:
    """`ubmsc -f t -i -c`."""
    done = run(stand_in("two", "-f", "t", "-i", "-c", "-t", "3"))
    assert (done.returncode, done.stderr) == (0, "")
    document = tomllib.loads(done.stdout)
    assert [*document] == ["device_info", "cell_data"]
    assert {
        info["device_name"]: len(cells["cell_voltage"])
        for info, cells in zip(*document.values(), strict=True)
    } == {"UPS_BMS": 8, "HOME_BMS": 16}


def test_usage_line_prints_metrics() -> None:
    """`ubmsc -f metrics -c -d UPS_BMS`."""
    done = run(stand_in("two", "-f", "metrics", "-c", "-d", "UPS_BMS"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for number, voltage in enumerate(UPS_CELLS):
        assert f'cell_voltage{{cell="{number}",device="UPS_BMS"}} {voltage}' in lines
    assert "# TYPE cycle_count counter" in lines


async def test_usage_line_serves_metrics_to_prometheus(prometheus: Prometheus) -> None:
    """`ubmsc -e -d UPS_BMS -d HOME_BMS -u URL`."""
    address = f"127.0.0.1:{free_port()}"
    arguments = ("-e", "-d", "UPS_BMS", "-d", "HOME_BMS", "-s", "2", "-u")
    url = f"http://{address}/metrics"
    with running(stand_in("two", *arguments, url)) as process:
        assert ready_line(process) == f"jkbms: serving on {url}\n"
        prometheus.scrape("command", address)
        try:
            up = 'sum(up{job="command",device=~"UPS_BMS|HOME_BMS"})'
            assert await prometheus.until(up, lambda values: values == [2])
            cells = 'cell_voltage{job="command",device="UPS_BMS"}'
            voltages = await prometheus.until(cells, lambda values: len(values) == 8)
            assert tuple(voltages) == pytest.approx(UPS_CELLS)
        finally:
            prometheus.scrape("command", "")
        code, err = end(process, signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in err


@pytest.mark.usefixtures("interruptible")
async def test_usage_line_pushes_continuously_to_victoria_metrics(
    victoria_metrics: VictoriaMetrics,
) -> None:
    """`ubmsc -e -p -u URL`, to VictoriaMetrics."""
    url = f"{victoria_metrics.url}/api/v1/import/prometheus"
    query = 'remain_percent{device="UPS_BMS"}'
    with running(stand_in("one", "-e", "-p", "-s", "2", "-u", url)) as process:
        assert ready_line(process) == f"jkbms: pushing to {url} every 2 s\n"
        await victoria_metrics.until(query, lambda values: values == [60])
        pushes = f"count_over_time({query}[5m])"
        await victoria_metrics.until(pushes, lambda values: values and values[0] >= 2)
        code, err = end(process, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in err


async def test_usage_line_pushes_once_to_pushgateway(pushgateway: str) -> None:
    """`ubmsc -p -u URL`, to a Pushgateway."""
    done = run(stand_in("one", "-p", "-d", "UPS_BMS", "-u", pushgateway))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    held = (await groups(pushgateway))["UPS_BMS"]
    assert [value for _, value in held["remain_percent"]] == [60]


# How it starts and ends


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_process_without_traceback() -> None:
    """Ctrl-C ends it at once, without a word."""
    with running(stand_in("silent", "-c", "-d", "UPS_BMS", "-l", "debug")) as process:
        while "sending DEVICE_INFO" not in (line := ready_line(process)):
            assert line
        code, err = end(process, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in err


def test_failed_battery_is_reported_and_the_other_is_printed() -> None:
    """One failure must not hide the values of the others."""
    done = run(
        stand_in(
            "silent", "-f", "j", "-i", "-d", "UPS_BMS", "-d", "HOME_BMS", "-r", "1"
        )
    )
    assert done.returncode == 1
    (info,) = json.loads(done.stdout)["device_info"]
    assert info["device_name"] == "HOME_BMS"
    (line,) = done.stderr.splitlines()
    assert line.startswith("jkbms: UPS_BMS: ")


def test_missing_dbus_is_reported_in_one_line(tmp_path: Path) -> None:
    """Without D-Bus it says so: this is bleak's own backend."""
    nowhere = f"unix:path={tmp_path}/bus"
    done = run([str(COMMAND), "-t", "1"], DBUS_SYSTEM_BUS_ADDRESS=nowhere)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("jkbms: D-Bus is not running (")
    assert line.endswith("): `systemctl start dbus`")


def test_exporter_serves_and_retries_without_dbus(tmp_path: Path) -> None:
    """A service may start before D-Bus does: the command says so and keeps trying."""
    bus = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path}/bus"}
    url = f"http://127.0.0.1:{free_port()}"
    with running([str(COMMAND), "-e", "-d", "UPS_BMS", "-u", url], **bus) as process:
        assert ready_line(process) == f"jkbms: serving on {url}/metrics\n"
        assert ready_line(process).startswith(
            "WARNING jkbms.cli.polling: Bluetooth is not available, will retry: "
            "D-Bus is not running ("
        )
        with pytest.raises(HTTPError) as caught:
            urlopen(f"{url}/healthz")
        assert caught.value.code == 503
        assert caught.value.read().startswith(b"D-Bus is not running (")
        caught.value.close()
        with urlopen(f"{url}/metrics") as response:
            assert b'\nup{device="UPS_BMS"} 0\n' in response.read()
        assert end(process, signal.SIGTERM) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--help"], 0, "-e, --exporter"),
        (["--version"], 0, f"jkbms {__version__}"),
        (["-f", "yml"], 2, "jkbms: argument -f/--format: invalid choice: 'yml'"),
        (["-e", "-u", "nonsense"], 2, "jkbms: "),
    ],
)
def test_usage_error_is_reported_at_once_in_one_line(
    arguments: list[str], code: int, text: str
) -> None:
    """A usage error is printed at once, in one line."""
    done = run([str(COMMAND), *arguments])
    assert done.returncode == code
    assert text in (done.stderr if code else done.stdout)
    assert len(done.stderr.splitlines()) == (code != 0)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_comes_at_once(option: str) -> None:
    """None of the large modules is loaded for it."""
    code = (
        "import sys, jkbms.cli.main\n"
        f"try: jkbms.cli.main.main([{option!r}])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = run([sys.executable, "-c", code])
    assert done.stdout
    assert not HEAVY & set(done.stderr.split())


def test_decoding_needs_no_radio(tmp_path: Path) -> None:
    """Neither Bluetooth nor a web server is even loaded."""
    empty = tmp_path / "empty"
    empty.touch()
    code = (
        "import sys, jkbms.cli.main\n"
        f"jkbms.cli.main.main(['--decode', {str(empty)!r}])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    loaded = HEAVY & set(run([sys.executable, "-c", code]).stderr.split())
    assert not loaded - {"asyncio"}


def test_integration_needs_none_of_it() -> None:
    """Home Assistant has neither the command nor what only the command needs."""
    integration = ROOT / "custom_components" / "jk_bms"
    used = {
        name
        for path in integration.glob("*.py")
        for name in re.findall(
            r"from \.jkbms\.([\w.]+) import", path.read_text("utf-8")
        )
    }
    assert {"bluetooth.client", "export.push"} <= used
    code = (
        f"import sys, {', '.join(f'jkbms.{name}' for name in sorted(used))}\n"
        "print(*sys.modules)"
    )
    loaded = set(run([sys.executable, "-c", code]).stdout.split())
    assert "jkbms.bluetooth.client" in loaded
    assert not {name for name in loaded if name.startswith("jkbms.cli")}
    assert "jkbms.export.exporter" not in loaded
    assert not {"logging_journald", "rich", "tomli_w", "yaml"} & loaded
