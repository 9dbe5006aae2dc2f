"""Pushing to a Pushgateway, to VictoriaMetrics, and to servers that fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from math import inf
from pathlib import Path
import time

import aiohttp
from aiohttp import web
import bcrypt
import pytest

from custom_components.jk_bms.jkbms.errors import (
    CredentialsError,
    PushError,
    PushRefusedError,
    PushServerError,
    PushTlsError,
    PushUnauthorizedError,
    PushUnreachableError,
    PushUrlError,
)
from custom_components.jk_bms.jkbms.export import push as push_module
from custom_components.jk_bms.jkbms.export.credentials import Credentials
from custom_components.jk_bms.jkbms.export.metrics import to_text
from custom_components.jk_bms.jkbms.export.push import (
    DEADLINE,
    PushKind,
    PushTarget,
    clear,
    push,
)
from custom_components.jk_bms.jkbms.models import BatteryState
from tests.servers import (
    VictoriaMetrics,
    free_port,
    groups,
    pushgateway_running,
    until_deleted,
    victoria_metrics_running,
)
from tests.servers.certificate import trusting, write_certificate

from .states import GARAGE, HOUSE, battery, expected

USER = Credentials(user="writer", password="pa:ss-wörd")
TOKEN = Credentials(token="t0ken-7919")
IMPORT = "/api/v1/import/prometheus"
CLUSTER = f"/insert/42:7/prometheus{IMPORT}"
STATES = [battery("UPS_BMS", HOUSE), battery("garage", GARAGE)]

type Handler = Callable[[web.Request], Awaitable[web.Response]]


@pytest.fixture
async def session(socket_enabled: None) -> AsyncIterator[aiohttp.ClientSession]:
    """Return a session as the command has one."""
    async with aiohttp.ClientSession() as session:
        yield session


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Run a server for the test and yield its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no push be tried again."""
    monkeypatch.setattr(push_module, "_FIRST_PAUSE", inf)


# The real servers


async def test_pushgateway_keeps_one_group_per_battery(
    session: aiohttp.ClientSession, pushgateway: str
) -> None:
    """Each battery is a group, which is replaced by the next push."""
    states = [battery("push-a", HOUSE), battery("push/b ü", GARAGE)]
    target = PushTarget.parse(pushgateway, job="my batteries")
    assert target.kind is PushKind.PUSHGATEWAY
    await push(session, target, states)
    held = await groups(pushgateway)
    for state in states:
        group = held[state.device]
        found = {
            name: {
                frozenset(labels.items() - grouping(state, "my batteries")): value
                for labels, value in samples
            }
            for name, samples in group.items()
            if not name.startswith("push_")
        }
        assert found == expected(state)

    # A battery that is gone loses its values
    await push(session, target, [replace(states[0], up=False)])
    held = await groups(pushgateway)
    assert [value for _, value in held["push-a"]["up"]] == [0.0]
    assert "cell_voltage" not in held["push-a"]
    assert len(held["push/b ü"]["cell_voltage"]) == 16


def grouping(state: BatteryState, job: str) -> set[tuple[str, str]]:
    """Return the labels that say whose sample it is."""
    return {("job", job), ("instance", state.device), ("device", state.device)}


async def test_victoria_metrics_stores_the_values(
    session: aiohttp.ClientSession, victoria_metrics: VictoriaMetrics
) -> None:
    """All batteries come with one request, labelled as the exporter does."""
    states = [battery("import-a", HOUSE), battery("import-b", GARAGE)]
    target = PushTarget.parse(f"{victoria_metrics.url}{IMPORT}?extra_label=site=boat")
    assert target.kind is PushKind.IMPORT
    await push(session, target, states)
    await victoria_metrics.until('up{device="import-b"}', lambda values: values == [1])
    for state in states:
        await victoria_metrics.until_known(state.device, expected(state), "site")
    ((labels, _),) = await victoria_metrics.query('up{device="import-a"}')
    assert labels["site"] == "boat"

    await push(session, target, [replace(states[0], up=False)])
    await victoria_metrics.until('up{device="import-a"}', lambda values: values == [0])


@pytest.mark.parametrize("path", ["", f"/insert/0/prometheus{IMPORT}"])
async def test_victoria_metrics_has_no_such_path(
    session: aiohttp.ClientSession, victoria_metrics: VictoriaMetrics, path: str
) -> None:
    """To its bad request the path is added that it has."""
    target = PushTarget.parse(f"{victoria_metrics.url}{path}")
    with pytest.raises(PushRefusedError, match="HTTP 400") as caught:
        await push(session, target, STATES)
    assert str(caught.value).endswith(
        f"; is the path correct? For single-node VictoriaMetrics it is {IMPORT}"
    )


@pytest.mark.parametrize("kind", [None, PushKind.IMPORT])
@pytest.mark.parametrize("prefix", ["", "/insert/42:7/prometheus"])
@pytest.mark.parametrize("form", ["", "/", "/csv", "/native", "/prometheus2"])
def test_import_path_of_another_format_is_rejected(
    prefix: str, form: str, kind: PushKind | None
) -> None:
    """VictoriaMetrics would accept the text there, report nothing, and store nothing."""
    url = f"http://host:8428{prefix}/api/v1/import{form}"
    with pytest.raises(PushUrlError) as caught:
        PushTarget.parse(f"{url}?token=pa-ss", kind=kind)
    assert str(caught.value) == (
        f"{url}: that import accepts another format; the path must be {prefix}{IMPORT}"
    )


async def test_victoria_metrics_cluster_with_password(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The URL of a tenant in a cluster works the same, and so does a password."""
    with victoria_metrics_running(
        tmp_path,
        "-http.pathPrefix=/insert/42:7/prometheus",
        f"-httpAuth.username={USER.user}",
        f"-httpAuth.password={USER.password}",
    ) as port:
        url = f"http://127.0.0.1:{port}{CLUSTER}"
        target = PushTarget.parse(url, credentials=USER)
        assert target.kind is PushKind.IMPORT
        await push(session, target, STATES)
        for wrong in (None, TOKEN, replace(USER, password="other")):
            with pytest.raises(PushUnauthorizedError, match="HTTP 401"):
                await push(session, replace(target, credentials=wrong), STATES)


async def test_push_over_tls_needs_a_trusted_certificate(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A Pushgateway with TLS, a password and a prefix accepts it."""
    cert, key = write_certificate(tmp_path)
    secret = bcrypt.hashpw(USER.password.encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {cert}, key_file: {key}}}\n"
        f"basic_auth_users: {{{USER.user}: '{secret}'}}\n"
    )
    with pushgateway_running(
        tmp_path, "--web.config.file=web.yml", "--web.route-prefix=/gateway"
    ) as port:
        where = f"127.0.0.1:{port}/gateway"
        target = PushTarget.parse(f"https://{where}/", credentials=USER)
        connector = aiohttp.TCPConnector(ssl=trusting(cert))
        async with aiohttp.ClientSession(connector=connector) as trustful:
            await push(trustful, target, STATES)
            with pytest.raises(PushUnauthorizedError, match="HTTP 401"):
                await push(trustful, replace(target, credentials=None), STATES)
        with pytest.raises(PushTlsError) as caught:
            await push(session, target, STATES)
        assert str(caught.value) == (
            f"https://{where}: its certificate is not trusted: self-signed certificate"
        )
        plain = PushTarget.parse(f"http://{where}", credentials=USER)
        with pytest.raises(PushRefusedError, match=r"HTTP 400 Bad Request; .* HTTPS\?"):
            await push(session, plain, STATES)


async def test_refusal_of_the_pushgateway_is_raised(
    session: aiohttp.ClientSession, pushgateway: str
) -> None:
    """The status is reported, not the words of the server."""
    target = PushTarget.parse(pushgateway, job="")
    with pytest.raises(PushRefusedError, match="HTTP 400 Bad Request$"):
        await push(session, target, STATES)


# What is sent


async def requests_of(
    session: aiohttp.ClientSession, url: str, credentials: Credentials | None = None
) -> list[tuple[str, str, str, str | None]]:
    """Push to a server that takes it, and return what it got."""
    got = []

    async def take(request: web.Request) -> web.Response:
        assert request.headers["Content-Type"] == (
            "text/plain; version=0.0.4; charset=utf-8"
        )
        got.append(
            (
                request.method,
                request.raw_path,
                await request.text(),
                request.headers.get("Authorization"),
            )
        )
        return web.Response(status=204)

    async with serving(take) as address:
        target = PushTarget.parse(url.format(address), credentials=credentials)
        await push(session, target, STATES)
    return sorted(got)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://{}", "/metrics/job/jkbms"),
        ("http://{}/", "/metrics/job/jkbms"),
        ("http://{}/metrics", "/metrics/job/jkbms"),
        ("http://{}/metrics/", "/metrics/job/jkbms"),
        ("http://{}/metrics/job/boat", "/metrics/job/boat"),
        ("http://{}/push%20it/metrics/job/a%20b/", "/push%20it/metrics/job/a%20b"),
        ("http://{}/gateway", "/gateway/metrics/job/jkbms"),
    ],
)
async def test_path_of_a_pushgateway_url_gives_prefix_and_job(
    session: aiohttp.ClientSession, url: str, path: str
) -> None:
    """The address alone will do, and so will the path to the job."""
    assert await requests_of(session, url) == [
        ("PUT", f"{path}/instance/UPS_BMS", to_text([STATES[0]]), None),
        ("PUT", f"{path}/instance/garage", to_text([STATES[1]]), None),
    ]


@pytest.mark.parametrize(
    "path",
    [
        IMPORT,
        CLUSTER,
        f"/a%20b{IMPORT}?extra_label=a=b",
        f"{IMPORT}/metrics/job/boat",
    ],
)
async def test_path_of_an_import_url_is_kept(
    session: aiohttp.ClientSession, path: str
) -> None:
    """No job or instance is added; the query may add labels."""
    assert await requests_of(session, f"http://{{}}{path}") == [
        ("POST", path, to_text(STATES), None)
    ]


@pytest.mark.parametrize("path", [IMPORT, CLUSTER])
async def test_slash_behind_an_import_path_is_removed(
    session: aiohttp.ClientSession, path: str
) -> None:
    """VictoriaMetrics does not accept it."""
    assert await requests_of(session, f"http://{{}}{path}/?extra_label=a=b") == [
        ("POST", f"{path}?extra_label=a=b", to_text(STATES), None)
    ]


@pytest.mark.parametrize(
    ("device", "path"),
    [
        ("a b", "a%20b"),
        ("ü", "%C3%BC"),
        ("a/b", "@base64/YS9i"),
        ("..", "@base64/Li4="),
        ("", "@base64/="),
    ],
)
async def test_pushgateway_keeps_instances_of_any_name(
    session: aiohttp.ClientSession, pushgateway: str, device: str, path: str
) -> None:
    """Names that no path can hold are sent in base64."""
    target = PushTarget.parse(pushgateway, job=f"names {device}")
    await push(session, target, [BatteryState(device=device, up=True)])
    held = await groups(pushgateway)
    assert [value for _, value in held[device]["up"]] == [1.0]


async def test_kind_can_be_chosen(session: aiohttp.ClientSession) -> None:
    """Where the path does not decide."""
    chosen = PushTarget.parse("http://host:8428", kind=PushKind.IMPORT)
    assert str(chosen) == f"http://host:8428{IMPORT}"
    other = PushTarget.parse("http://host/other/way?a=b", kind=PushKind.IMPORT)
    assert str(other.url) == "http://host/other/way?a=b"
    gateway = PushTarget.parse(f"http://host{IMPORT}", kind=PushKind.PUSHGATEWAY)
    assert gateway.kind is PushKind.PUSHGATEWAY


@pytest.mark.parametrize(
    ("url", "credentials", "header"),
    [
        ("http://{}", USER, "Basic d3JpdGVyOnBhOnNzLXfDtnJk"),
        ("http://{}", TOKEN, "Bearer t0ken-7919"),
        ("http://writer:pa%3Ass-w%C3%B6rd@{}", None, "Basic d3JpdGVyOnBhOnNzLXfDtnJk"),
        ("http://writer:other@{}", TOKEN, "Bearer t0ken-7919"),
        ("http://writer@{}", None, "Basic d3JpdGVyOg=="),
        ("http://{}", None, None),
    ],
)
async def test_credentials_are_sent_in_the_header(
    session: aiohttp.ClientSession,
    url: str,
    credentials: Credentials | None,
    header: str | None,
) -> None:
    """Credentials that are given take precedence over those in the URL."""
    for request in await requests_of(session, url, credentials):
        assert request[3] == header


def test_credentials_from_the_environment() -> None:
    """A user with a password, a token, or nothing."""
    assert Credentials.from_environment({"HOME": "/"}) is None
    assert (
        Credentials.from_environment(
            {"JKBMS_PUSH_USER": "writer", "JKBMS_PUSH_PASSWORD": "pa:ss-wörd\n"}
        )
        == USER
    )
    assert Credentials.from_environment({"JKBMS_PUSH_TOKEN": "t0ken-7919"}) == TOKEN


def test_credentials_from_a_file(tmp_path: Path) -> None:
    """A line with a colon is a user with a password."""
    path = tmp_path / "secret"
    path.write_text("writer:pa:ss-wörd\n", "utf-8")
    assert Credentials.from_file(path) == USER
    path.write_text("t0ken-7919", "utf-8")
    assert Credentials.from_file(path) == TOKEN
    path.write_text("t0ken-7919", "utf-8-sig")
    assert Credentials.from_file(path) == TOKEN


@pytest.mark.parametrize(
    "given", [{"token": "pa\nss"}, {"password": "pass\0"}, {"user": "pa:ss"}]
)
def test_credentials_that_cannot_be_sent_are_refused(given: dict[str, str]) -> None:
    """They are refused before anything is sent, and the message does not contain them."""
    with pytest.raises(CredentialsError) as caught:
        Credentials(**given)
    assert "pa" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "The URL must begin with http"),
        ("127.0.0.1:9091", "The URL must begin with http"),
        ("host:9091/path", "The URL must begin with http"),
        ("ftp://writer:pa-ss@host", "The URL must begin with http"),
        ("http:///path", "The URL must begin with http"),
        ("http://writer:pa-ss@host:port", "This is not a URL"),
        ("http://writer:pa-ss@host:99999", "The port of the URL is out of range"),
        ("http://writer:pa-ss@[::1", "This is not a URL"),
        (
            "http://writer:pa-ss@host/metrics/job/a/instance/b?token=pa-ss",
            "http://host/metrics/job/a/instance/b: nothing may follow the job",
        ),
    ],
)
def test_malformed_url_is_rejected(url: str, message: str) -> None:
    """The error holds nothing private."""
    with pytest.raises(PushUrlError) as caught:
        PushTarget.parse(url)
    assert str(caught.value).startswith(message)
    assert "pa-ss" not in str(caught.value)


def test_errors_contain_no_credentials() -> None:
    """No text of a target shows a password."""
    url = "http://writer:pa-ss@host/path?token=pa-ss"
    for target in (
        PushTarget.parse(url),
        PushTarget.parse(url, credentials=replace(TOKEN, password="pa-ss")),
    ):
        assert "pa-ss" not in f"{target} {target.credentials!r}"
        assert str(target) == "http://host/path"


# Servers that fail


@pytest.mark.parametrize(
    ("status", "error", "advice"),
    [
        (301, PushRefusedError, "; use the URL that it redirects to"),
        (307, PushRefusedError, "; use the URL that it redirects to"),
        (400, PushRefusedError, ""),
        (401, PushUnauthorizedError, "; check the user name and password or the token"),
        (403, PushUnauthorizedError, "; check the user name and password or the token"),
        (404, PushRefusedError, "; is the path correct?"),
        (405, PushRefusedError, "; is the path correct?"),
        (429, PushServerError, ""),
        (500, PushServerError, ""),
        (501, PushServerError, "; is the path correct?"),
        (503, PushServerError, ""),
    ],
)
async def test_status_decides_the_error(
    session: aiohttp.ClientSession,
    once: None,
    status: int,
    error: type[PushError],
    advice: str,
) -> None:
    """Each refusal is one line that quotes nothing from the server."""

    async def refuse(request: web.Request) -> web.Response:
        said = f"no \x1b[31m good:\n {request.headers['Authorization']} {'x' * 5000}"
        return web.Response(
            status=status,
            reason=f"echo {request.headers['Authorization']}",
            text=said,
            headers={"Location": "http://127.0.0.1:1/"},
        )

    async with serving(refuse) as address:
        for credentials in (USER, TOKEN):
            target = PushTarget.parse(
                f"http://{address}{IMPORT}", credentials=credentials
            )
            with pytest.raises(error) as caught:
                await push(session, target, STATES)
            assert type(caught.value) is error
            text = str(caught.value)
            known = {status.value: f" {status.phrase}" for status in HTTPStatus}
            phrase = known.get(status, "")
            assert text == (f"http://{address}{IMPORT}: HTTP {status}{phrase}{advice}")


async def test_refusal_without_a_text_is_explained_by_its_status(
    session: aiohttp.ClientSession,
) -> None:
    """Some servers and proxies send no body."""

    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=404)

    async with serving(refuse) as address:
        with pytest.raises(PushRefusedError) as caught:
            await push(session, PushTarget.parse(f"http://{address}"), STATES)
    assert (
        str(caught.value)
        == f"http://{address}: HTTP 404 Not Found; is the path correct?"
    )


@pytest.mark.parametrize("status", [429, 500, 503, None])
async def test_temporary_failures_are_retried(
    session: aiohttp.ClientSession, status: int | None
) -> None:
    """A failure that passes costs nothing."""
    tries = 0

    async def fail_once(request: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        if tries > 1:
            return web.Response()
        if status:
            return web.Response(status=status)
        assert request.transport
        request.transport.abort()
        return web.Response()

    async with serving(fail_once) as address:
        await push(session, PushTarget.parse(f"http://{address}{IMPORT}"), STATES)
    assert tries == 2


@pytest.mark.parametrize("status", [302, 400, 401, 404])
async def test_permanent_failures_are_not_retried(
    session: aiohttp.ClientSession, status: int
) -> None:
    """What is refused for good is asked for once."""
    tries = 0

    async def refuse(_request: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        return web.Response(status=status)

    async with serving(refuse) as address:
        target = PushTarget.parse(f"http://{address}{IMPORT}")
        with pytest.raises(PushError, match=f"HTTP {status}"):
            await push(session, target, STATES)
    assert tries == 1


async def test_push_is_retried_until_its_deadline(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the deadline the last error is raised, as the next push is due."""
    monkeypatch.setattr(push_module, "_FIRST_PAUSE", 0.001)
    tries = 0

    async def refuse(_request: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        return web.Response(status=500)

    async with serving(refuse) as address:
        target = PushTarget.parse(f"http://{address}{IMPORT}")
        with pytest.raises(PushServerError, match="HTTP 500"):
            await push(session, target, STATES, deadline=5.0)
    # The pauses grow: else it would be thousands
    assert 1 < tries < 15


async def test_push_does_not_pause_beyond_its_deadline(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no time is left to retry, the error is raised at once."""
    monkeypatch.setattr(push_module, "_FIRST_PAUSE", 1000.0)

    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=500)

    async with serving(refuse) as address, asyncio.timeout(90):
        target = PushTarget.parse(f"http://{address}{IMPORT}")
        with pytest.raises(PushServerError, match="HTTP 500"):
            await push(session, target, STATES, deadline=1000.0)


async def test_refused_connection_is_unreachable(
    session: aiohttp.ClientSession, once: None
) -> None:
    """No server listens there."""
    port = free_port()
    with pytest.raises(PushUnreachableError) as caught:
        await push(session, PushTarget.parse(f"http://127.0.0.1:{port}"), STATES)
    assert str(caught.value) == (
        f"http://127.0.0.1:{port}: Connection refused; is the server running?"
    )


async def test_lost_connection_is_unreachable(
    session: aiohttp.ClientSession, once: None
) -> None:
    """A server that closes each connection."""

    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport
        request.transport.abort()
        return web.Response()

    async with serving(hang_up) as address:
        with pytest.raises(PushUnreachableError) as caught:
            await push(session, PushTarget.parse(f"http://{address}"), STATES)
    assert str(caught.value).startswith(f"http://{address}: ")
    assert str(caught.value).endswith(
        ("The connection was lost", "Connection reset by peer")
    )


async def test_unknown_host_is_unreachable(
    session: aiohttp.ClientSession, once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says that the host does not exist."""

    async def resolve(*_: object, **__: object) -> list[object]:
        raise OSError(-2, "Name or service not known")

    assert isinstance(session.connector, aiohttp.TCPConnector)
    monkeypatch.setattr(session.connector._resolver, "resolve", resolve)
    with pytest.raises(PushUnreachableError) as caught:
        await push(session, PushTarget.parse("http://nowhere"), STATES)
    assert str(caught.value) == "http://nowhere: no such host"


async def test_server_without_tls_is_a_tls_error(
    session: aiohttp.ClientSession,
) -> None:
    """The server does not speak it."""

    async def take(_request: web.Request) -> web.Response:
        return web.Response()

    async with serving(take) as address:
        with pytest.raises(PushTlsError) as caught:
            await push(session, PushTarget.parse(f"https://{address}"), STATES)
    assert str(caught.value) == (
        f"https://{address}: TLS failed; does the server use HTTPS?"
    )


@pytest.mark.parametrize("total", [60.0, 0.05])
async def test_server_without_response_times_out(
    socket_enabled: None, total: float
) -> None:
    """A server that keeps silent costs no more than the deadline."""
    silent = asyncio.Event()

    async def keep_silent(_request: web.Request) -> web.Response:
        await silent.wait()
        return web.Response()

    timeout = aiohttp.ClientTimeout(total=total)
    async with (
        serving(keep_silent) as address,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        begin = time.monotonic()
        with pytest.raises(PushUnreachableError) as caught:
            await push(
                session, PushTarget.parse(f"http://{address}"), STATES, deadline=0.3
            )
        assert time.monotonic() - begin < 30
        assert str(caught.value) == f"http://{address}: no response in time"
        silent.set()


async def test_last_failure_is_raised(session: aiohttp.ClientSession) -> None:
    """Time that runs out during another try does not hide what was wrong before."""
    silent = asyncio.Event()
    tries = 0

    async def fail_then_keep_silent(_request: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        if tries > 1:
            await silent.wait()
        return web.Response(status=500)

    async with serving(fail_then_keep_silent) as address:
        with pytest.raises(PushServerError, match="HTTP 500"):
            await push(
                session,
                PushTarget.parse(f"http://{address}{IMPORT}"),
                STATES,
                deadline=5.0,
            )
        silent.set()
    assert tries == 2


async def test_failed_push_of_one_battery_does_not_stop_the_others(
    session: aiohttp.ClientSession,
) -> None:
    """The failure is raised after all batteries have been pushed."""
    taken = []

    async def refuse_one(request: web.Request) -> web.Response:
        if "UPS_BMS" in request.path:
            return web.Response(status=400, text="not this one")
        taken.append(request.path)
        return web.Response()

    async with serving(refuse_one) as address:
        with pytest.raises(PushRefusedError, match="HTTP 400"):
            await push(session, PushTarget.parse(f"http://{address}"), STATES)
    assert taken == ["/metrics/job/jkbms/instance/garage"]


async def test_cancelling_a_push_stops_it(session: aiohttp.ClientSession) -> None:
    """Ctrl-C does not wait for a server."""
    asked, silent = asyncio.Event(), asyncio.Event()

    async def keep_silent(_request: web.Request) -> web.Response:
        asked.set()
        await silent.wait()
        return web.Response()

    async with serving(keep_silent) as address:
        task = asyncio.create_task(
            push(session, PushTarget.parse(f"http://{address}"), STATES)
        )
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        silent.set()


async def test_cleared_device_leaves_no_group_in_the_pushgateway(
    session: aiohttp.ClientSession, pushgateway: str
) -> None:
    """A Pushgateway would keep its last values."""
    target = PushTarget.parse(pushgateway, job="cleared")
    await push(session, target, [battery("gone", HOUSE), battery("here", HOUSE)])
    await clear(session, target, {"gone"})
    await until_deleted(pushgateway, "gone", "cleared")
    assert "here" in await groups(pushgateway)
    await clear(session, target, set())


async def test_cleared_device_is_down_for_an_import(
    session: aiohttp.ClientSession, victoria_metrics: VictoriaMetrics
) -> None:
    """An import API cannot delete series, so a last `up 0` is sent."""
    target = PushTarget.parse(f"{victoria_metrics.url}/api/v1/import/prometheus")
    await push(session, target, [battery("sold", HOUSE)])
    await clear(session, target, {"sold"})
    up = 'up{device="sold"}'
    assert await victoria_metrics.until(up, lambda values: values == [0])


@pytest.mark.parametrize(("after", "pause"), [("1", 1.0), ("soon", 0.0), ("", 0.0)])
async def test_retry_after_is_kept(
    session: aiohttp.ClientSession, after: str, pause: float
) -> None:
    """A server that is overloaded says for how long."""
    seen: list[float] = []

    async def handle(_: web.Request) -> web.Response:
        seen.append(asyncio.get_running_loop().time())
        status = 503 if len(seen) == 1 else 200
        return web.Response(status=status, headers={"Retry-After": after})

    async with serving(handle) as address:
        await push(session, PushTarget.parse(f"http://{address}"), STATES[:1])
    first, second = seen
    assert second - first >= pause


@pytest.mark.parametrize("after", ["9" * 400, "Thu, 01 Jan 2099 00:00:00 GMT"])
async def test_retry_after_the_deadline_is_left_to_the_next_push(
    session: aiohttp.ClientSession, after: str
) -> None:
    """The error says for how long, an hour at most."""

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": after})

    async with serving(refuse) as address, asyncio.timeout(DEADLINE / 2):
        with pytest.raises(PushServerError) as caught:
            await push(session, PushTarget.parse(f"http://{address}"), STATES[:1])
    assert caught.value.retry_after == 3600
