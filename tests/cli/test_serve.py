"""Tests of `--exporter` and `--push`: real HTTP, and bleak above a radio in software."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import logging
from math import inf
from pathlib import Path
import ssl
from threading import Thread
from typing import Self, override

import aiohttp
from aiohttp import web
from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason
import pytest
from yarl import URL

from custom_components.jk_bms.jkbms.cli import monitor
from custom_components.jk_bms.jkbms.cli.arguments import ExitCode, parse
from custom_components.jk_bms.jkbms.cli.main import main
from custom_components.jk_bms.jkbms.cli.serve import plan
from custom_components.jk_bms.jkbms.errors import (
    CredentialsError,
    EndpointError,
    PushUnauthorizedError,
    PushUrlError,
)
from custom_components.jk_bms.jkbms.export import push as push_module
from tests.servers import free_port, get, until_deleted
from tests.servers.certificate import write_certificate
from tests.virtual_bms import MODELS, Battery, Spec, VirtualBms, VirtualRadio
from tests.virtual_bms.radio import VirtualScanner

UPS = replace(MODELS["JK_BD4A8S4P 15.26"], name="UPS_BMS")
HOME = replace(MODELS["JK_B2A8S20P 11.48"], name="HOME_BMS")
TWIN = replace(UPS, name="TWIN_BMS", address="C8:47:80:55:00:01", capacity=100.0)
INTERVAL = "1"
TIMEOUT = 90
"""s of real time, of which hardly any is needed."""

pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.fixture
def radio() -> Iterator[VirtualRadio]:
    """Stand in for the adapter of this machine."""
    with VirtualRadio("adapter") as radio:
        yield radio


def place(radio: VirtualRadio, spec: Spec) -> VirtualBms:
    """Bring a fast battery into reach."""
    bms = VirtualBms(Battery(spec, soc=0.6, time_scale=0.0), speed=20)
    radio.place(bms)
    return bms


@asynccontextmanager
async def doing(*arguments: str) -> AsyncIterator[None]:
    """Run an endless action for a while."""
    task = asyncio.ensure_future(plan(parse([*arguments, "-s", INTERVAL]))())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something has happened."""
    async with asyncio.timeout(TIMEOUT):
        while not await happened():
            await asyncio.sleep(0.02)


# Serving


@dataclass
class Served:
    """The exporter, as a scraper sees it."""

    url: str

    async def lines(self) -> list[str]:
        """Scrape once."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url) as response,
        ):
            return (await response.text()).splitlines()

    async def has_health(self, status: int, text: str) -> None:
        """Wait until this is how it says that it is."""

        async def happened() -> bool:
            async with (
                aiohttp.ClientSession() as session,
                session.get(URL(self.url).with_path("/healthz")) as response,
            ):
                return (response.status, await response.text()) == (status, f"{text}\n")

        await until(happened)

    async def shows(self, *wanted: str) -> list[str]:
        """Wait until all of these lines are served, and return what else is."""
        lines: list[str] = []

        async def happened() -> bool:
            lines[:] = await self.lines()
            return set(wanted) <= set(lines)

        await until(happened)
        return lines


@asynccontextmanager
async def serving(
    capsys: pytest.CaptureFixture[str], *arguments: str
) -> AsyncIterator[Served]:
    """Serve on some port until it is not needed any more."""
    said = ""

    async def is_ready() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return said.endswith("\n")

    async with doing("-e", "-u", "http://127.0.0.1:0/values", *arguments):
        await until(is_ready)
        prefix, url = said.split("serving on ")
        assert (prefix, url.endswith("/values\n")) == ("jkbms: ", True)
        yield Served(url.strip())


async def test_sensor_that_fails_is_named_until_it_is_mended(
    radio: VirtualRadio,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its value is left out of the metrics, and it is logged once."""
    ups = place(radio, UPS)
    ups.battery.override(temperatures=(160.0, 20.0, None, None))
    name = f'implausible{{device="{UPS.address}",field="battery_temperature_1"}} 1'
    read = f'up{{device="{UPS.address}"}} 1'
    async with serving(capsys, "-d", UPS.address) as served:
        first = await served.shows(read, name)
        assert f'battery_temperature{{cell="1",device="{UPS.address}"}} 20' in first
        counter = next(line for line in first if line.startswith("last_update"))
        await until(lambda: _has_no(served, counter))
        ups.battery.override(temperatures=(21.0, 20.0, None, None))
        await until(lambda: _has_no(served, name))
    logged = [r for r in caplog.records if "impossible values" in r.getMessage()]
    assert len(logged) == 1


async def _has_no(served: Served, line: str) -> bool:
    return line not in await served.lines()


async def test_battery_that_is_gone_loses_its_values_and_recovers(
    radio: VirtualRadio,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A battery that is gone loses its values, and comes back by itself."""
    ups = place(radio, UPS)
    place(radio, HOME)
    async with serving(capsys, "-d", f"{UPS.address},{HOME.address}") as served:
        lines = await served.shows(
            f'up{{device="{UPS.address}"}} 1',
            f'remain_percent{{device="{UPS.address}"}} 60',
            f'poweron_times{{device="{UPS.address}"}} 12',
            f'up{{device="{HOME.address}"}} 1',
        )
        rejected = f'rejected_frames_total{{device="{UPS.address}"}} '
        assert any(line.startswith(rejected) for line in lines)
        # Between the readings others find it
        await until(lambda: asyncio.sleep(0, not ups.connected))

        ups.power_off()
        lines = await served.shows(
            f'up{{device="{UPS.address}"}} 0',
            f'remain_percent{{device="{HOME.address}"}} 60',
        )
        assert not any("remain" in line for line in lines if UPS.address in line)

        ups.power_on()
        await served.shows(f'up{{device="{UPS.address}"}} 1')
    assert not ups.connected
    assert radio.taken == []
    said = [
        text
        for record in caplog.records
        if f"{UPS.address} is" in (text := record.getMessage())
    ]
    # A machine that has much else to do may lose it more often
    assert {text.partition(" is lost: ")[0] for text in said[::2]} == {UPS.address}
    assert {*said[1::2]} == {f"{UPS.address} is back"}
    assert len(said) % 2 == 0


async def test_without_targets_new_batteries_are_served_as_they_appear(
    radio: VirtualRadio, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without names every battery is served, and new ones as they appear."""
    ups = place(radio, UPS)
    async with serving(capsys) as served:
        await served.shows('up{device="UPS_BMS"} 1')
        place(radio, HOME)
        await served.shows('up{device="HOME_BMS"} 1')
        ups.power_off()
        await served.shows('up{device="UPS_BMS"} 0', 'up{device="HOME_BMS"} 1')


async def test_serve_battery_that_was_never_in_range(
    radio: VirtualRadio, capsys: pytest.CaptureFixture[str]
) -> None:
    """The targets are known from the beginning."""
    async with serving(capsys, "-d", "UPS_BMS") as served:
        lines = await served.shows('up{device="UPS_BMS"} 0')
        assert [line for line in lines if line[0] != "#"] == ['up{device="UPS_BMS"} 0']


async def test_battery_requested_twice_is_served_once(
    radio: VirtualRadio, capsys: pytest.CaptureFixture[str]
) -> None:
    """A series must not be there twice."""
    place(radio, UPS)
    async with serving(capsys, "-d", UPS.address, "-d", "UPS_BMS") as served:
        lines = await served.shows(f'up{{device="{UPS.address}"}} 1')
    assert len(lines) == len(set(lines))


async def test_namesake_does_not_silence_a_battery_that_was_read(
    radio: VirtualRadio, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anyone in range can advertise its name."""
    place(radio, UPS)
    async with serving(capsys, "-d", "UPS_BMS") as served:
        await served.shows('up{device="UPS_BMS"} 1')
        place(radio, replace(HOME, name="UPS_BMS"))
        deadline = asyncio.get_running_loop().time() + 4 * float(INTERVAL)
        while asyncio.get_running_loop().time() < deadline:
            assert 'up{device="UPS_BMS"} 1' in await served.lines()
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("option", "shown", "hidden"),
    [
        ("-i", "poweron_times", "remain_percent"),
        ("-c", "remain_percent", "no such metric"),
    ],
)
async def test_only_requested_sections_are_served(
    radio: VirtualRadio,
    capsys: pytest.CaptureFixture[str],
    option: str,
    shown: str,
    hidden: str,
) -> None:
    """What is asked for is served."""
    place(radio, UPS)
    async with serving(capsys, option, "-d", UPS.address) as served:
        text = "\n".join(await served.shows(f'up{{device="{UPS.address}"}} 1'))
    assert shown in text
    assert hidden not in text


@pytest.mark.parametrize("asked", [True, False])
async def test_exporter_waits_for_bluetooth_that_comes_and_goes(
    radio: VirtualRadio,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    asked: bool,
) -> None:
    """Every request is answered meanwhile; the log mentions each change once."""
    start = VirtualScanner.start

    async def fail(_: VirtualScanner) -> None:
        raise BleakBluetoothNotAvailableError(
            "?", BleakBluetoothNotAvailableReason.NO_BLUETOOTH
        )

    names = [spec.address if asked else spec.name for spec in (UPS, HOME)]
    up, down = ([f'up{{device="{n}"}} {x}' for n in names] for x in ("1", "0"))
    reason = "there is no Bluetooth adapter: plug one in"
    place(radio, UPS)
    place(radio, HOME)
    monkeypatch.setattr(VirtualScanner, "start", fail)
    async with serving(capsys, *(["-d", ",".join(names)] if asked else [])) as served:
        await served.has_health(503, reason)
        await served.shows(*(down if asked else []))
        monkeypatch.setattr(VirtualScanner, "start", start)
        await served.shows(*up)
        await served.has_health(200, "ok")
        monkeypatch.setattr(VirtualScanner, "start", fail)
        await served.shows(*down)
        await served.has_health(503, reason)
    assert [
        text
        for record in caplog.records
        if "Bluetooth" in (text := record.getMessage())
    ] == [
        f"Bluetooth is not available, will retry: {reason}",
        "Bluetooth is available again",
        f"Bluetooth is not available, will retry: {reason}",
    ]


async def test_serve_over_tls_and_ipv6(
    radio: VirtualRadio,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line that says where is a URL to be clicked."""

    class Exporter:
        addresses = (("::1", 9889), ("127.0.0.1", 9889))

        def __init__(self, *_: object) -> None:
            pass

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

    module = "custom_components.jk_bms.jkbms.cli.serve"
    monkeypatch.setattr(f"{module}.Exporter", Exporter)
    async with doing("-e", "-u", "http://localhost"):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert capsys.readouterr().err.splitlines() == [
        "jkbms: serving on http://[::1]:9889/metrics",
        "jkbms: serving on http://127.0.0.1:9889/metrics",
    ]


# Pushing


@dataclass
class Taker:
    """A server that takes what is pushed."""

    status: int = 204
    pushed: list[tuple[str, str, str, str | None]] = field(default_factory=list)
    """Method, path, body and authorization of each request."""
    times: list[float] = field(default_factory=list)
    """When each request came, s of the event loop's clock."""
    url: str = ""
    retry_after: str = ""

    async def take(self, request: web.Request) -> web.Response:
        """Keep a request."""
        self.times.append(asyncio.get_running_loop().time())
        self.pushed.append(
            (
                request.method,
                request.path,
                await request.text(),
                request.headers.get("Authorization"),
            )
        )
        headers = {"Retry-After": self.retry_after} if self.retry_after else None
        return web.Response(status=self.status, headers=headers)


@pytest.fixture
async def taker() -> AsyncIterator[Taker]:
    """Run a server."""
    taker = Taker()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", taker.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _, port = runner.addresses[0]
    taker.url = f"http://127.0.0.1:{port}"
    yield taker
    await runner.cleanup()


async def test_push_reads_once_and_uses_credentials_of_the_environment(
    radio: VirtualRadio, taker: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All batteries are read and pushed, with the credentials of the environment."""
    place(radio, UPS)
    monkeypatch.setenv("JKBMS_PUSH_TOKEN", "t0ken")
    url = f"{taker.url}/api/v1/import/prometheus"
    options = parse(["-p", "-u", url, "-d", UPS.address])
    assert await plan(options)() == ExitCode.GOOD
    ((method, path, body, authorization),) = taker.pushed
    assert (method, path) == ("POST", "/api/v1/import/prometheus")
    assert f'remain_percent{{device="{UPS.address}"}} 60' in body.splitlines()
    assert authorization == "Bearer t0ken"


async def test_push_options_choose_kind_job_and_credentials(
    radio: VirtualRadio, taker: Taker, tmp_path: Path
) -> None:
    """A Pushgateway under a path of its own, a job, and credentials of a file."""
    place(radio, UPS)
    auth = tmp_path / "auth"
    auth.write_text("me:secret\n")
    arguments = ["--push-kind", "pushgateway", "--job", "boat", "--auth-file", auth]
    url = f"{taker.url}/gate"
    options = parse(["-p", "-u", url, "-d", UPS.address, *map(str, arguments)])
    assert await plan(options)() == ExitCode.GOOD
    ((method, path, _, authorization),) = taker.pushed
    assert (method, path) == ("PUT", f"/gate/metrics/job/boat/instance/{UPS.address}")
    assert authorization == "Basic bWU6c2VjcmV0"


async def test_push_reports_a_failed_battery_as_down(
    radio: VirtualRadio, taker: Taker, capsys: pytest.CaptureFixture[str]
) -> None:
    """The values of the others are pushed, and the exit code is that of a failure."""
    place(radio, UPS)
    arguments = ["-p", "-u", taker.url, "-t", "0.3"]
    options = parse([*arguments, "-d", UPS.address, "-d", "NOBODY"])
    assert await plan(options)() == ExitCode.FAILED
    bodies = "".join(body for _, _, body, _ in taker.pushed)
    assert f'up{{device="{UPS.address}"}} 1' in bodies
    assert 'up{device="NOBODY"} 0' in bodies
    assert capsys.readouterr().err.startswith("jkbms: NOBODY: Not found within 0.3 s;")


async def test_push_without_batteries_sends_nothing_and_fails(
    radio: VirtualRadio, taker: Taker, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no battery is there is nothing to push."""
    options = parse(["-p", "-u", taker.url, "-t", "0.3"])
    assert await plan(options)() == ExitCode.FAILED
    assert taker.pushed == []
    assert "no battery in range" in capsys.readouterr().err


async def test_push_reports_a_battery_that_an_earlier_run_pushed(
    radio: VirtualRadio, taker: Taker, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Pushgateway would show it as up for ever."""
    ups = place(radio, UPS)
    arguments = ["-p", "-u", taker.url, "-t", "0.3"]
    assert await plan(parse(arguments))() == ExitCode.GOOD
    radio.remove(ups)
    taker.pushed.clear()
    assert await plan(parse(arguments))() == ExitCode.FAILED
    ((method, path, body, _),) = taker.pushed
    assert (method, path) == ("PUT", "/metrics/job/jkbms/instance/UPS_BMS")
    assert [line for line in body.splitlines() if line[0] != "#"] == [
        'up{device="UPS_BMS"} 0'
    ]
    assert "jkbms: UPS_BMS: Not found within 0.3 s" in capsys.readouterr().err
    # Another job is none of it
    taker.pushed.clear()
    assert await plan(parse([*arguments, "--job", "x"]))() == ExitCode.FAILED
    assert taker.pushed == []


async def test_push_deletes_a_battery_that_is_gone_for_a_day(
    radio: VirtualRadio, taker: Taker, state_home: Path
) -> None:
    """The battery is then forgotten; a damaged file is replaced."""
    ups = place(radio, UPS)
    arguments = ["-p", "-u", taker.url, "-t", "0.3"]
    assert await plan(parse(arguments))() == ExitCode.GOOD
    radio.remove(ups)
    place(radio, HOME)
    (path,) = (state_home / "jkbms").iterdir()
    path.write_text('{"UPS_BMS": 1}')
    taker.pushed.clear()
    assert await plan(parse(arguments))() == ExitCode.GOOD
    assert [(method, path) for method, path, _, _ in taker.pushed] == [
        ("PUT", "/metrics/job/jkbms/instance/HOME_BMS"),
        ("DELETE", "/metrics/job/jkbms/instance/UPS_BMS"),
    ]
    assert json.loads(path.read_text()).keys() == {"HOME_BMS"}
    path.write_text("[")
    assert await plan(parse(arguments))() == ExitCode.GOOD
    assert json.loads(path.read_text()).keys() == {"HOME_BMS"}


async def test_push_works_where_nothing_can_be_remembered(
    radio: VirtualRadio, taker: Taker, state_home: Path
) -> None:
    """A service may have no writable folder."""
    state_home.write_text("a file, not a folder")
    place(radio, UPS)
    assert await plan(parse(["-p", "-u", taker.url, "-t", "0.3"]))() == ExitCode.GOOD
    assert len(taker.pushed) == 1


async def test_server_that_asks_for_a_pause_gets_it(
    radio: VirtualRadio, taker: Taker
) -> None:
    """Across pushes: the next ones are left out."""
    taker.status, taker.retry_after = 429, "3"
    place(radio, UPS)

    async def are_pushed() -> bool:
        return len(taker.pushed) >= 2

    async with doing("-e", "-p", "-u", taker.url, "-d", UPS.address):
        await until(are_pushed)
    # The server counts from its answer, the pushes are due every second
    first, second, *_ = taker.times
    assert second - first > 2.5


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        (
            ["-p", "-u", "http://10.0.0.1/x"],
            "the credentials go to http://10.0.0.1/x in",
        ),
        (["-p", "-u", "https://10.0.0.1/x"], ""),
        (["-p", "-u", "http://localhost/x"], ""),
        (["-p", "-u", "http://[::1]/x"], ""),
        (
            ["-e", "-u", "http://0.0.0.0:1", "--basic-auth"],
            "scrapers send their password",
        ),
        (["-e", "-u", "http://127.0.0.1:1", "--basic-auth"], ""),
    ],
)
def test_credentials_in_clear_to_another_machine_are_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    warning: str,
) -> None:
    """One line warns, and the command goes on."""
    monkeypatch.setenv("JKBMS_PUSH_TOKEN", "t0ken")
    secret = tmp_path / "secret"
    secret.write_text("me:secret")
    if arguments[-1] == "--basic-auth":
        arguments = [*arguments, str(secret)]
    plan(parse(arguments))
    shown = capsys.readouterr().err
    assert shown.startswith(f"jkbms: {warning}" if warning else "")
    assert len(shown.splitlines()) == bool(warning)
    assert "t0ken" not in shown


async def test_refused_push_fails(radio: VirtualRadio, taker: Taker) -> None:
    """A failure of a single push is reported."""
    place(radio, UPS)
    taker.status = 401
    options = parse(["-p", "-u", taker.url, "-d", UPS.address])
    with pytest.raises(PushUnauthorizedError):
        await plan(options)()


async def test_failed_push_does_not_stop_the_next_one(
    radio: VirtualRadio,
    taker: Taker,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A push that fails does not keep the next from being made."""
    place(radio, UPS)
    taker.status = 401

    up = f'up{{device="{UPS.address}"}} 1'
    url = f"{taker.url}/api/v1/import/prometheus"

    def logged() -> list[str]:
        records = [r for r in caplog.records if r.name.endswith("cli.serve")]
        return [record.getMessage() for record in records]

    async def has_failed_twice() -> bool:
        return len(taker.pushed) >= 2

    async def is_pushed() -> bool:
        return len(logged()) > 1 and taker.pushed[-1][2].count(up) == 1

    with caplog.at_level(logging.WARNING):
        async with doing("-e", "-p", "-u", url, "-d", UPS.address):
            await until(has_failed_twice)
            taker.status = 204
            await until(is_pushed)
    assert capsys.readouterr().err == f"jkbms: pushing to {url} every 1 s\n"
    failed, works = logged()
    assert failed.startswith("Pushing fails, will retry: ")
    assert works == "Pushing works again"
    *_, (_, _, cleared, _) = taker.pushed
    assert cleared.count(f'up{{device="{UPS.address}"}} 0') == 1


# What cannot be done


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["-e", "-u", "nonsense"], EndpointError),
        (["-e", "-u", "https://127.0.0.1"], EndpointError),
        (["-e", "--basic-auth", "/nothing/here"], CredentialsError),
        (["-p", "-u", "nonsense"], PushUrlError),
        (["-e", "-p", "-u", "ftp://127.0.0.1"], PushUrlError),
        (["-p", "-u", "http://127.0.0.1", "--auth-file", "/no"], CredentialsError),
    ],
)
def test_unusable_target_is_reported_before_anything_is_done(
    arguments: list[str], error: type[Exception]
) -> None:
    """The command fails before its first scan."""
    with pytest.raises(error):
        plan(parse(arguments))


class _Handler(BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_POST(self) -> None:
        """Take what is sent and answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(int(self.path.rpartition("/")[2]))
        self.end_headers()
        self.wfile.write(b"because\n")

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path, socket_enabled: None) -> Iterator[ThreadingHTTPServer]:
    """Run a server in a thread of its own; it speaks TLS if it gets a certificate."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("import/prometheus/401", "401"),
        ("import/prometheus/403", "403"),
        ("import/prometheus/404", "404"),
        ("import/prometheus/500", "500"),
    ],
)
def test_refusal_of_the_server_is_one_line_without_credentials(
    radio: VirtualRadio,
    server: ThreadingHTTPServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    text: str,
) -> None:
    """The server's answer is reported in one line, without the credentials."""
    place(radio, UPS)
    monkeypatch.setenv("JKBMS_PUSH_TOKEN", "t0ken")
    monkeypatch.setattr(push_module, "_FIRST_PAUSE", inf)
    url = f"http://127.0.0.1:{server.server_port}/api/v1/{path}"
    assert main(["-p", "-u", url, "-d", UPS.address]) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(f"jkbms: {url}: ")
    assert text in err
    assert "t0ken" not in err


def test_unreachable_server_is_one_line(
    radio: VirtualRadio,
    server: ThreadingHTTPServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """No server listens, or its certificate is wrong."""
    place(radio, UPS)
    monkeypatch.setattr(push_module, "_FIRST_PAUSE", inf)
    url = f"http://127.0.0.1:{free_port()}"
    assert main(["-p", "-u", url, "-d", UPS.address]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"jkbms: {url}: ")
    assert "refused" in line.lower()

    certificate, key = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}"
    assert main(["-p", "-u", url, "-d", UPS.address]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"jkbms: {url}: ")
    assert "certificate" in line


def test_port_in_use_is_a_failure(
    server: ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the port."""
    url = f"http://127.0.0.1:{server.server_port}"
    assert main(["-e", "-u", url]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"jkbms: Cannot serve on port {server.server_port} of ")


@pytest.mark.parametrize("login", ["me:s3cret@", "me@", ":s3cret@"])
def test_password_in_the_url(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    """Everybody could read it in the list of processes, whatever else is given."""
    monkeypatch.setenv("JKBMS_PUSH_TOKEN", "t0ken")
    for mode in ("-p", "-ep"):
        assert main([mode, "-u", f"http://{login}127.0.0.1/gate"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "JKBMS_PUSH_USER and JKBMS_PUSH_PASSWORD, or --auth-file" in line
        assert "s3cret" not in line


def test_malformed_url_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """One line names the mistake."""
    for option, url in (
        ("-e", "nonsense"),
        ("-e", "http://a..b/"),
        ("-p", "http://[::1"),
        ("-p", "http://127.0.0.1:8428/api/v1/import"),
    ):
        assert main([option, "-u", url]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("jkbms: ")


async def test_stopped_push_leaves_no_groups(
    radio: VirtualRadio, pushgateway: str
) -> None:
    """A battery that is no longer read must not stay `up 1`."""
    place(radio, UPS)
    labels = f'device="{UPS.address}",instance="{UPS.address}",job="stopped"'

    async def is_there() -> bool:
        return f"up{{{labels}}} 1" in await get(f"{pushgateway}/metrics")

    arguments = ["-e", "-p", "-u", pushgateway, "--job", "stopped", "-d", UPS.address]
    async with doing(*arguments):
        await until(is_there)
    await until_deleted(pushgateway, UPS.address, "stopped")


async def test_push_under_way_ends_before_its_groups_are_deleted(
    radio: VirtualRadio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that applies it afterwards would show `up 1` for ever."""
    begun, end = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def push(*_: object, **__: object) -> None:
        begun.set()
        await end.wait()
        done.append("push")

    async def clear(*_: object, **__: object) -> None:
        done.append("clear")

    module = "custom_components.jk_bms.jkbms.cli.serve"
    monkeypatch.setattr(f"{module}.push", push)
    monkeypatch.setattr(f"{module}.clear", clear)
    monkeypatch.setattr(push_module, "SETTLE_DEADLINE", TIMEOUT)
    async with doing("-e", "-p", "-u", "http://127.0.0.1", "-d", "UPS_BMS"):
        await until(lambda: asyncio.sleep(0, begun.is_set()))
        asyncio.get_running_loop().call_later(0.1, end.set)
    assert done == ["push", "clear"]


async def test_push_deletes_a_battery_that_is_dropped_while_it_runs(
    radio: VirtualRadio, pushgateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label that is no longer filled must not stay `up 1`."""
    monkeypatch.setattr(monitor, "FORGET_AFTER", 1.0)
    place(radio, UPS)
    home = place(radio, HOME)
    labels = {"UPS_BMS", "HOME_BMS"}

    async def are_there(wanted: set[str]) -> bool:
        text = await get(f"{pushgateway}/metrics")
        return wanted == {
            label
            for label in labels
            if f'up{{device="{label}",instance="{label}",job="dropped"}}' in text
        }

    async with doing("-e", "-p", "-u", pushgateway, "--job", "dropped"):
        await until(partial(are_there, labels))
        radio.remove(home)
        await until(partial(are_there, {"UPS_BMS"}))


# Banks


async def test_bank_is_served_as_one_more_battery(
    radio: VirtualRadio, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its packs need no --devices; without one of them there is no sum."""
    ups, twin = place(radio, UPS), place(radio, TWIN)
    ups.battery.override(current=-8.5)
    twin.battery.override(current=-2.0)
    bank = f"HOUSE=UPS_BMS,{TWIN.address}"
    async with serving(capsys, "-t", "0.2", "--bank", bank) as served:
        await served.shows(
            'battery_current{device="UPS_BMS"} -8.5',
            'battery_current{device="HOUSE"} -10.5',
            'up{device="HOUSE"} 1',
        )
        radio.remove(twin)
        lines = await served.shows(
            f'up{{device="{TWIN.address}"}} 0', 'up{device="HOUSE"} 1'
        )
    assert any(line.startswith('remain_percent{device="HOUSE"}') for line in lines)
    assert not any(line.startswith('battery_current{device="HOUSE"}') for line in lines)


async def test_bank_has_no_values_where_none_are_requested(
    radio: VirtualRadio, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -i alone it is up or down."""
    place(radio, UPS), place(radio, TWIN)
    async with serving(capsys, "-i", "--bank", "HOUSE=UPS_BMS,TWIN_BMS") as served:
        lines = await served.shows('up{device="HOUSE"} 1')
    assert not any(line.startswith("remain_percent") for line in lines)
