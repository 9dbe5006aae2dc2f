"""The servers that metrics are made for, Debian's builds of them, on loopback."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
import json
from pathlib import Path
import shutil
import socket
import subprocess
import time
from typing import Any, Final, override
from urllib.error import HTTPError
from urllib.request import urlopen

import aiohttp
import pytest
import pytest_socket

from custom_components.jk_bms.jkbms.export.push import DEFAULT_JOB

ROOT: Final = Path(__file__).parents[2]
UNPACKED: Final = ROOT / ".cache" / "servers" / "usr" / "bin"
"""Where `scripts/servers` puts them."""
TIMEOUT: Final = 90.0
"""s for a server to start, to stop, or to show what it received."""

type Labels = dict[str, str]
type Samples = dict[str, dict[frozenset[tuple[str, str]], float]]
"""Values by name and labels."""


def find(program: str) -> str:
    """Return the path of a server; skip the test where there is none."""
    unpacked = UNPACKED / program
    if path := str(unpacked) if unpacked.exists() else shutil.which(program):
        return path
    pytest.skip(f"{program} is not here, and scripts/servers could not fetch it")


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    # Home Assistant's plug-in for pytest blocks sockets before the fixtures run
    pytest_socket.enable_socket()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(folder: Path, program: str, *arguments: str, port: int) -> Iterator[None]:
    """Run a server until it is not needed any more."""
    log = folder / f"{program}.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*leash(), find(program), *arguments],
            cwd=folder,
            stdout=output,
            stderr=output,
        ) as server,
    ):
        try:
            _wait_for_port(server, port, log)
            yield
        finally:
            server.terminate()
            try:
                server.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                server.kill()


def leash() -> list[str]:
    """Return what lets a server end even if the tests are killed."""
    if setpriv := shutil.which("setpriv"):
        return [setpriv, "--pdeathsig", "TERM"]
    return []


def _wait_for_port(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    pytest_socket.enable_socket()
    until = time.monotonic() + TIMEOUT
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{server.args!r} does not start:\n{log.read_text()}")
        time.sleep(0.02)


def _wait_until_ready(url: str) -> None:
    """Wait until Prometheus has opened its storage; it refuses a query until then."""
    until = time.monotonic() + TIMEOUT
    while True:
        try:
            with urlopen(f"{url}/-/ready", timeout=TIMEOUT):
                return
        except HTTPError:
            if time.monotonic() > until:
                pytest.fail("Prometheus does not get ready")
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Server:
    """One that answers PromQL."""

    url: str
    folder: Path

    async def query(self, expression: str) -> list[tuple[Labels, float]]:
        """Return what an expression comes to now."""
        answer = await get_json(
            f"{self.url}/api/v1/query", query=expression, nocache="1"
        )
        assert answer["status"] == "success", answer
        result = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return [({}, float(result[1]))]
        return [(series["metric"], float(series["value"][1])) for series in result]

    async def samples(self, device: str, *ignored: str) -> Samples:
        """Return all that is known of a device, without these labels."""
        found: Samples = {}
        for labels, value in await self.query(f'{{device="{device}"}}'):
            name = labels.pop("__name__")
            del labels["device"]
            rest = frozenset(
                (key, text) for key, text in labels.items() if key not in ignored
            )
            found.setdefault(name, {})[rest] = value
        return found

    async def until(
        self, expression: str, wanted: Callable[[list[float]], object]
    ) -> list[float]:
        """Wait until the values of an expression are what is wanted."""
        values: list[float] = []
        try:
            async with asyncio.timeout(TIMEOUT):
                while True:
                    values = [value for _, value in await self.query(expression)]
                    if wanted(values):
                        return values
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"{expression} is {values}")

    async def until_known(self, device: str, wanted: Samples, *ignored: str) -> None:
        """Wait until exactly this is known of a device, but for some labels."""
        found: Samples = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT):
                # A busy machine may miss a scrape, and then nothing is known for a while
                while found != wanted:
                    found = await self.samples(device, *ignored)
        assert found == wanted


class Prometheus(Server):
    """Prometheus itself, which scrapes its targets every second."""

    def scrape(self, job: str, address: str, path: str = "/metrics") -> None:
        """Scrape from now on, or no more where the address is empty."""
        targets = [address] if address else []
        target = {"targets": targets, "labels": {"job": job, "__metrics_path__": path}}
        file = self.folder / "targets" / f"{job}.json"
        part = file.with_suffix(".part")
        part.write_text(json.dumps([target]))
        part.rename(file)


class VictoriaMetrics(Server):
    """A VictoriaMetrics, which shows at once what it received."""

    @override
    async def until(
        self, expression: str, wanted: Callable[[list[float]], object]
    ) -> list[float]:
        """Do not wait for it to write things down in its own time."""
        await get(f"{self.url}/internal/force_flush")
        return await super().until(expression, wanted)


async def get(url: str, **parameters: str) -> str:
    """Get a text."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, params=parameters) as response,
    ):
        return await response.text()


async def get_json(url: str, **parameters: str) -> Any:
    """Get something that is JSON."""
    return json.loads(await get(url, **parameters))


@pytest.fixture(scope="session")
def _prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "targets").mkdir()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        "scrape_configs:\n"
        "- job_name: files\n"
        "  honor_labels: true\n"
        "  file_sd_configs: [{files: [targets/*.json]}]\n"
    )
    port = free_port()
    with running(
        folder,
        "prometheus",
        f"--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        port=port,
    ):
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url)
        yield Prometheus(url, folder)


@contextmanager
def pushgateway_running(folder: Path, *arguments: str) -> Iterator[int]:
    """Run a Pushgateway and yield its port."""
    port = free_port()
    with running(
        folder,
        "prometheus-pushgateway",
        f"--web.listen-address=127.0.0.1:{port}",
        "--persistence.file=",
        *arguments,
        port=port,
    ):
        yield port


@contextmanager
def victoria_metrics_running(folder: Path, *arguments: str) -> Iterator[int]:
    """Run a VictoriaMetrics and yield its port."""
    port = free_port()
    with running(
        folder,
        "victoria-metrics",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-storageDataPath=data",
        "-search.latencyOffset=0s",
        "-memory.allowedBytes=64MB",
        *arguments,
        port=port,
    ):
        yield port


@pytest.fixture(scope="session")
def _pushgateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pushgateway_running(tmp_path_factory.mktemp("pushgateway")) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def _victoria_metrics(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[VictoriaMetrics]:
    folder = tmp_path_factory.mktemp("victoria-metrics")
    with victoria_metrics_running(folder) as port:
        yield VictoriaMetrics(f"http://127.0.0.1:{port}", folder)


@pytest.fixture
def prometheus(_prometheus: Prometheus, socket_enabled: None) -> Prometheus:
    """Return a Prometheus."""
    return _prometheus


@pytest.fixture
def pushgateway(_pushgateway: str, socket_enabled: None) -> str:
    """Return the address of a Pushgateway."""
    return _pushgateway


@pytest.fixture
def victoria_metrics(
    _victoria_metrics: VictoriaMetrics, socket_enabled: None
) -> VictoriaMetrics:
    """Return a VictoriaMetrics."""
    return _victoria_metrics


async def groups(gateway: str) -> dict[str, dict[str, list[tuple[Labels, float]]]]:
    """Return what a Pushgateway holds, by instance and name."""
    return {
        group["labels"]["instance"]: {
            name: [
                (metric["labels"], float(metric["value"]))
                for metric in family["metrics"]
            ]
            for name, family in group.items()
            if isinstance(family, dict) and "metrics" in family
        }
        for group in await _groups(gateway)
    }


async def until_deleted(gateway: str, instance: str, job: str = DEFAULT_JOB) -> None:
    """Wait until a Pushgateway has no such group.

    It responds to a PUT once that is applied, to a DELETE before.
    """
    labels = {"job": job, "instance": instance}
    try:
        async with asyncio.timeout(TIMEOUT):
            while labels in [each["labels"] for each in await _groups(gateway)]:
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{labels} is still there")


async def _groups(gateway: str) -> list[dict[str, Any]]:
    answer = await get_json(f"{gateway}/api/v1/metrics")
    found: list[dict[str, Any]] = answer["data"]
    return found
