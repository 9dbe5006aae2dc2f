"""The server that Prometheus scrapes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
import gzip
from pathlib import Path
from socket import gethostname
import ssl

import aiohttp
from cryptography.hazmat.primitives.asymmetric import rsa
import pytest
import pytest_socket

from custom_components.jk_bms.jkbms.errors import CredentialsError, EndpointError
from custom_components.jk_bms.jkbms.export import exporter as module
from custom_components.jk_bms.jkbms.export.credentials import Credentials
from custom_components.jk_bms.jkbms.export.exporter import Endpoint, Exporter
from custom_components.jk_bms.jkbms.export.metrics import to_openmetrics, to_text
from custom_components.jk_bms.jkbms.models import BatteryState
from tests.servers import Prometheus
from tests.servers.certificate import trusting, write_certificate

from .states import GARAGE, HOUSE, battery, expected

ANYWHERE = Endpoint(port=0)
STATES = [battery("UPS_BMS", HOUSE), battery("garage", GARAGE)]
LIKE_PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,"
    "application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.fixture
async def session(socket_enabled: None) -> AsyncIterator[aiohttp.ClientSession]:
    """Return a client that leaves compressed answers as they are."""
    async with aiohttp.ClientSession(
        auto_decompress=False, skip_auto_headers=["Accept", "Accept-Encoding"]
    ) as session:
        yield session


def url_of(exporter: Exporter, path: str = "/metrics", scheme: str = "http") -> str:
    """Return where it serves."""
    host, port = exporter.addresses[0]
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{port}{path}"


async def test_scrape_returns_the_metrics_of_all_batteries(
    session: aiohttp.ClientSession,
) -> None:
    """Without a wish it is the classic text, and it is what is known at that moment."""
    states = list(STATES)
    async with Exporter(ANYWHERE, lambda: states) as exporter:
        for _ in range(2):
            async with session.get(url_of(exporter)) as response:
                assert response.status == 200
                assert response.headers["Content-Type"] == (
                    "text/plain; version=0.0.4; charset=utf-8"
                )
                assert await response.text() == to_text(states)
            states[0] = replace(states[0], up=False)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("application/openmetrics-text; version=1.0.0", True),
        ("application/openmetrics-text;version=1.0.0,*/*;q=0.1", True),
        ("Application/OpenMetrics-Text", True),
        ("application/openmetrics-text,text/plain;q=0", True),
        ("application/openmetrics-text; Q=0.000 ,*/*", False),
        ("application/openmetrics-text;q=0.05;version=1.0.0", True),
        # There the counters would get names that no dashboard uses
        (LIKE_PROMETHEUS, False),
        ("text/plain", False),
        ("text/html,*/*;q=0.8", False),
        ("*/*", False),
        ("", False),
    ],
)
async def test_openmetrics_is_served_only_to_clients_that_accept_nothing_else(
    session: aiohttp.ClientSession, accept: str, openmetrics: bool
) -> None:
    """OpenMetrics is sent only on request, since it renames the counters."""
    async with (
        Exporter(ANYWHERE, lambda: STATES) as exporter,
        session.get(url_of(exporter), headers={"Accept": accept}) as response,
    ):
        text = await response.text()
        if openmetrics:
            assert response.content_type == "application/openmetrics-text"
            assert text == to_openmetrics(STATES)
        else:
            assert response.content_type == "text/plain"
            assert text == to_text(STATES)
        assert response.headers["Vary"] == "Accept, Accept-Encoding"


async def test_response_is_compressed_on_request(
    session: aiohttp.ClientSession,
) -> None:
    """It is compressed for clients that accept it."""
    async with Exporter(ANYWHERE, lambda: STATES) as exporter:
        wishes = {"Accept-Encoding": "gzip"}
        async with session.get(url_of(exporter), headers=wishes) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            packed = await response.read()
        async with session.get(url_of(exporter)) as response:
            assert "Content-Encoding" not in response.headers
            plain = await response.read()
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 4


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/metrics", 200),
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("POST", "/metrics", 405),
        ("DELETE", "/healthz", 405),
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
    ],
)
async def test_other_paths_and_methods_are_refused(
    session: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """Everything else has the answer that HTTP has for it."""
    async with (
        Exporter(ANYWHERE, lambda: STATES) as exporter,
        session.request(method, url_of(exporter, path)) as response,
    ):
        assert response.status == status
        body = await response.read()
        assert (method == "HEAD") is (body == b"")
        if path == "/metrics" and method == "HEAD":
            assert response.headers["Content-Length"] == str(
                len(to_text(STATES).encode())
            )
        if status == 405:
            assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}


async def test_metrics_are_served_on_the_path_of_the_url(
    session: aiohttp.ClientSession,
) -> None:
    """Any plain path will do, not only /metrics."""
    endpoint = Endpoint.parse("http://127.0.0.1:0/my/batteries")
    async with Exporter(endpoint, lambda: STATES) as exporter:
        for path, status in (("/my/batteries", 200), ("/metrics", 404)):
            async with session.get(url_of(exporter, path)) as response:
                assert response.status == status


async def test_exporter_listens_on_ipv6(session: aiohttp.ClientSession) -> None:
    """It serves over IPv6 as well."""
    pytest_socket.socket_allow_hosts(["::1"])
    endpoint = Endpoint.parse("http://[::1]:0/metrics")
    async with Exporter(endpoint, lambda: STATES) as exporter:
        assert exporter.addresses[0][0] == "::1"
        async with session.get(url_of(exporter)) as response:
            assert await response.text() == to_text(STATES)


@pytest.mark.parametrize("together", [False, True])
async def test_exporter_serves_tls(
    session: aiohttp.ClientSession, tmp_path: Path, together: bool
) -> None:
    """The key may be in a file of its own or with the certificate."""
    cert, key = write_certificate(tmp_path)
    context = trusting(cert)
    if together:
        cert.write_bytes(cert.read_bytes() + key.read_bytes())
    endpoint = Endpoint.parse(
        "https://127.0.0.1:0/metrics", tls_cert=cert, tls_key=None if together else key
    )
    async with Exporter(endpoint, lambda: STATES) as exporter:
        url = url_of(exporter, scheme="https")
        async with session.get(url, ssl=context) as response:
            assert await response.text() == to_text(STATES)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(url)


async def test_renewed_certificate_is_used_without_a_restart(
    session: aiohttp.ClientSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It applies from the next connection on; one that is unusable is logged once."""
    cert, key = write_certificate(tmp_path)
    endpoint = Endpoint.parse("https://127.0.0.1:0", tls_cert=cert, tls_key=key)
    async with Exporter(endpoint, lambda: STATES) as exporter:
        url = url_of(exporter, scheme="https")

        async def scrape_trusting(context: ssl.SSLContext) -> None:
            # A connection that is kept goes on with what it began with
            close = {"Connection": "close"}
            async with session.get(url, ssl=context, headers=close) as response:
                assert response.status == 200

        def said() -> list[str]:
            return [r.getMessage() for r in caplog.records if r.name.endswith("porter")]

        first = trusting(cert)
        await scrape_trusting(first)
        write_certificate(tmp_path)
        second = trusting(cert)
        await scrape_trusting(second)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await scrape_trusting(first)
        assert said() == []

        cert.write_text("half")
        for _ in range(2):
            await scrape_trusting(second)
        key.unlink()
        await scrape_trusting(second)
        assert said() == [
            f"The new certificate cannot be used: {reason}"
            for reason in (
                f"{cert}: not a certificate with its key, unencrypted, in PEM: not PEM",
                f"{key}: cannot be read",
            )
        ]


@pytest.mark.parametrize(
    ("user", "password", "status"),
    [
        ("reader", "pass:wörd", 200),
        ("reader", "pass", 401),
        ("reader", "", 401),
        ("", "pass:wörd", 401),
    ],
)
async def test_request_without_credentials_is_refused(
    session: aiohttp.ClientSession,
    tmp_path: Path,
    user: str,
    password: str,
    status: int,
) -> None:
    """Metrics need the password; the health check does not."""
    secret = tmp_path / "secret"
    secret.write_text("reader:pass:wörd\n", "utf-8")
    endpoint = Endpoint.parse("http://127.0.0.1:0/metrics", basic_auth=secret)
    async with Exporter(endpoint, lambda: STATES) as exporter:
        given = {"Authorization": Credentials(user=user, password=password).header}
        async with session.get(url_of(exporter), headers=given) as response:
            assert response.status == status
            body = await response.text()
            assert ("battery_voltage" in body) is (status == 200)
            assert ("WWW-Authenticate" in response.headers) is (status == 401)
        async with session.get(url_of(exporter, "/healthz")) as response:
            assert response.status == 200
    assert "reader" not in repr(endpoint)
    assert "wörd" not in repr(endpoint)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic a",
        "Basic /w==",
        "Bearer reader:pass",
        "Bearer cmVhZGVyOnBhc3M=",
        "cmVhZGVyOnBhc3M=",
    ],
)
def test_malformed_authorization_is_refused(
    authorization: str | None,
) -> None:
    """Only the Basic scheme with the right user and password is accepted."""
    endpoint = Endpoint(credentials=Credentials(user="reader", password="pass"))
    assert not endpoint.accepts(authorization)
    assert endpoint.accepts("basic cmVhZGVyOnBhc3M=")


async def test_port_in_use_is_an_endpoint_error(session: aiohttp.ClientSession) -> None:
    """One line says that the port is in use, and nothing is left behind."""
    async with Exporter(ANYWHERE, lambda: STATES) as exporter:
        port = exporter.addresses[0][1]
        with pytest.raises(EndpointError) as caught:
            await Exporter(Endpoint(port=port), lambda: STATES).__aenter__()
    assert str(caught.value) == (
        f"Cannot serve on port {port} of 127.0.0.1: Address already in use: "
        "choose another port in --url, or stop the process that uses it"
    )


async def test_host_of_another_machine_is_an_endpoint_error(
    session: aiohttp.ClientSession,
) -> None:
    """A server can only listen on addresses of its own machine."""
    with pytest.raises(EndpointError, match="no such address") as caught:
        await Exporter(Endpoint(host="192.0.2.1", port=0), lambda: STATES).__aenter__()
    assert str(caught.value) == (
        "Cannot serve on port 0 of 192.0.2.1: this machine has no such address: "
        "use one that `ip address` lists"
    )


async def test_unknown_host_is_an_endpoint_error(
    session: aiohttp.ClientSession,
) -> None:
    """The message is that of the system."""
    with pytest.raises(EndpointError, match="Name or service not known"):
        await Exporter(
            Endpoint(host="fe80::1%nothing", port=0), lambda: STATES
        ).__aenter__()


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("http://127.0.0.1:9889/metrics", "127.0.0.1", 9889, "/metrics"),
        ("http://[::1]:9889/metrics", "::1", 9889, "/metrics"),
        ("http://[fe80::1%25eth0]/x", "fe80::1%eth0", 9889, "/x"),
        ("http://0.0.0.0", "0.0.0.0", 9889, "/metrics"),
        ("http://localhost:80/", "localhost", 80, "/metrics"),
        ("http://localhost:0/a%20b/c", "localhost", 0, "/a b/c"),
    ],
)
def test_url_gives_host_port_and_path(
    url: str, host: str, port: int, path: str
) -> None:
    """A URL says where to serve; what it leaves out is as usual."""
    assert Endpoint.parse(url) == Endpoint(host=host, port=port, path=path)


def test_default_url_is_that_of_ubmsc() -> None:
    """Without a URL it is for this machine only."""
    assert Endpoint.parse() == Endpoint()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "http://me:secret@127.0.0.1:99999/metrics",
            "The port of the URL is out of range, which is 0 to 65535; one is http://",
        ),
        ("http://[::1/metrics", "This is not a URL; one is http://127.0.0.1:9889/me"),
        ("http://a..b/", "This is not a URL; one is http://127.0.0.1:9889/metrics"),
        (f"http://{'a' * 64}.org/", "This is not a URL; one is http://127.0.0.1:9889"),
        ("", ": not a URL such as"),
        ("127.0.0.1:9889", "not a URL such as"),
        ("http:///metrics", "not a URL such as"),
        ("ftp://127.0.0.1/metrics", "ftp://127.0.0.1/metrics: not a URL such as"),
        (
            "http://me:secret@127.0.0.1/metrics",
            "A password in the URL is visible to all users",
        ),
        ("http://127.0.0.1/metrics?a=b", "only a plain path"),
        ("http://127.0.0.1/metrics#a", "only a plain path"),
        ("http://127.0.0.1/{metrics}", "only a plain path"),
        ("http://127.0.0.1/healthz", "/healthz is reserved, choose another path"),
        ("https://127.0.0.1/metrics", "https needs a certificate"),
    ],
)
def test_url_that_cannot_be_served_is_rejected(url: str, message: str) -> None:
    """The message says what is wrong, without a password of the URL."""
    with pytest.raises(EndpointError) as caught:
        Endpoint.parse(url)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_certificate_requires_https(tmp_path: Path) -> None:
    """With http nothing is encrypted, and a certificate would suggest that it is."""
    cert, key = write_certificate(tmp_path)
    with pytest.raises(EndpointError, match="must start with https"):
        Endpoint.parse("http://127.0.0.1/metrics", tls_cert=cert, tls_key=key)
    with pytest.raises(
        EndpointError, match=r"key\.pem: --tls-key also needs --tls-cert"
    ):
        Endpoint.parse("http://127.0.0.1/metrics", tls_key=key)


@pytest.mark.parametrize(
    ("cert", "key", "message"),
    [
        ("nothing.pem", "key.pem", "nothing.pem: cannot be read"),
        ("cert.pem", "nothing.pem", "nothing.pem: cannot be read"),
        ("cert.pem", None, "cert.pem: not a certificate with its key"),
        ("key.pem", "cert.pem", "key.pem: not a certificate with its key"),
        ("cert.pem", "locked.pem", "unencrypted"),
        ("empty.pem", "key.pem", "empty.pem: not a certificate"),
        (".", "key.pem", "not a certificate"),
    ],
)
def test_certificate_that_cannot_be_used_is_rejected(
    tmp_path: Path, cert: str, key: str | None, message: str
) -> None:
    """The wrong file is named, and no password is requested."""
    write_certificate(tmp_path)
    (tmp_path / "empty.pem").touch()
    with pytest.raises(EndpointError) as caught:
        Endpoint.parse(
            "https://127.0.0.1",
            tls_cert=tmp_path / cert,
            tls_key=tmp_path / key if key else None,
        )
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, CredentialsError, "No such file"),
        (b"\xff", CredentialsError, "not a text"),
        (b"", CredentialsError, "must be one line"),
        (b"a:b\nc:d\n", CredentialsError, "must be one line"),
        (b"token\n", EndpointError, "must be user:password"),
    ],
)
def test_unusable_credentials_file_is_rejected(
    tmp_path: Path, content: bytes | None, error: type[Exception], message: str
) -> None:
    """Without a password it does not serve at all."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error) as caught:
        Endpoint.parse(basic_auth=path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


async def test_prometheus_stores_the_values(prometheus: Prometheus) -> None:
    """The real one reads the values of the batteries, under the names of the seed."""
    states = [battery("scraped-a", HOUSE), battery("scraped-b", GARAGE)]
    async with Exporter(ANYWHERE, lambda: states) as exporter:
        host, port = exporter.addresses[0]
        prometheus.scrape("scraped", f"{host}:{port}")
        for state in states:
            await prometheus.until_known(
                state.device, expected(state), "job", "instance"
            )

        # A battery that is gone loses its values at the next scrape
        states[0] = BatteryState(device="scraped-a", up=False)
        await prometheus.until('up{device="scraped-a"}', lambda values: values == [0.0])
        assert await prometheus.query('cell_voltage{device="scraped-a"}') == []
        prometheus.scrape("scraped", "")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_idle_connections_are_bounded(
    session: aiohttp.ClientSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    """The oldest one is closed for a new one, and a scrape succeeds meanwhile."""
    # Otherwise time closes them as well
    monkeypatch.setattr(module, "_HEAD_TIMEOUT", 3600.0)
    cert, key = write_certificate(tmp_path)
    files = {"tls_cert": cert, "tls_key": key} if scheme == "https" else {}
    endpoint = Endpoint.parse(f"{scheme}://127.0.0.1:0", **files)
    async with Exporter(endpoint, lambda: STATES) as exporter:
        address = exporter.addresses[0]

        async def scrape() -> None:
            url = url_of(exporter, scheme=scheme)
            close = {"Connection": "close"}
            async with session.get(url, ssl=trusting(cert), headers=close) as response:
                assert response.status == 200

        open_before = open_sockets()
        idle = []
        for number in range(300):
            idle.append(await asyncio.open_connection(*address))
            if number % 60 == 30:
                await scrape()
        await scrape()
        async with asyncio.timeout(60):
            closed = [await reader.read() for reader, _ in idle[:237]]
        assert closed == [b""] * 237
        assert not idle[-1][0].at_eof()
        # Each idle client has one too, as this process is both sides
        assert open_sockets() - open_before <= len(idle) + 64
        for _, writer in idle:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in idle))


def open_sockets() -> int:
    """Return the number of sockets of this process."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += each.readlink().name.startswith("socket:")
    return found


async def test_half_open_connections_end_with_the_exporter(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A handshake that never comes does not outlive it."""
    cert, key = write_certificate(tmp_path)
    endpoint = Endpoint.parse("https://127.0.0.1:0", tls_cert=cert, tls_key=key)
    async with Exporter(endpoint, lambda: STATES) as exporter:
        reader, writer = await asyncio.open_connection(*exporter.addresses[0])
        await asyncio.sleep(0.1)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_connection_without_a_request_is_closed(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head of a request has to come in time."""
    monkeypatch.setattr(module, "_HEAD_TIMEOUT", 0.1)
    async with Exporter(ANYWHERE, lambda: STATES) as exporter:
        reader, writer = await asyncio.open_connection(*exporter.addresses[0])
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.")
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()


async def test_connection_without_a_tls_handshake_is_closed(
    session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handshake has the same deadline as the head of a request."""
    monkeypatch.setattr(module, "_HEAD_TIMEOUT", 0.1)
    cert, key = write_certificate(tmp_path)
    endpoint = Endpoint.parse("https://127.0.0.1:0", tls_cert=cert, tls_key=key)
    async with Exporter(endpoint, lambda: STATES) as exporter:
        reader, writer = await asyncio.open_connection(*exporter.addresses[0])
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()


async def test_flood_of_malformed_requests_is_one_log_line(
    session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """A traceback for each request would fill the log."""
    module._requests_logger().filters[:] = []
    async with Exporter(ANYWHERE, lambda: STATES) as exporter:
        for _ in range(20):
            reader, writer = await asyncio.open_connection(*exporter.addresses[0])
            writer.write(b"GET / HTTP/9\r\nx\r\n\r\n")
            assert b"400" in await reader.readline()
            writer.close()
    (record,) = [each for each in caplog.records if "requests" in each.name]
    assert (record.levelname, record.exc_text) == ("WARNING", None)


async def test_tls_without_forward_secrecy_is_refused(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A key that leaks later does not decrypt what was recorded."""
    # Only an RSA key can do without
    cert, key = write_certificate(tmp_path, rsa.generate_private_key(65537, 2048))
    endpoint = Endpoint.parse("https://127.0.0.1:0", tls_cert=cert, tls_key=key)
    context = trusting(cert)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-GCM-SHA256:AES256-GCM-SHA384")
    async with Exporter(endpoint, lambda: STATES) as exporter:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url_of(exporter, scheme="https"), ssl=context)


@pytest.mark.parametrize(
    "url",
    [
        "admin:secret@host",
        "admin:secret@host/?a#b",
        "//admin:secret@h",
        "x://a:secret@h",
        "x://host/metrics?token=secret",
        "https://host/metrics?token=secret",
        "http://host/metrics?token=secret",
    ],
)
def test_secret_in_a_url_is_never_shown(url: str) -> None:
    """However it is spelled."""
    with pytest.raises(EndpointError) as caught:
        Endpoint.parse(url)
    assert "secret" not in str(caught.value)


LOOPBACK = ["127.0.0.1", "127.0.0.1:9889", "localhost:9889", "LOCALHOST", "a.localhost"]
MACHINE = [gethostname(), "192.0.2.7", "[2001:db8::1]:9889"]
"""Ways to reach a machine, and not its loopback addresses."""
ALLOWED = ["Bms.example", "192.0.2.9:9889", "[2001:DB8::9]:9889"]
STRANGERS = [
    "evil.example",
    "127.0.0.1.evil.example:9889",
    "evil.localhost.example",
    "",
    "a b",
    "[::1",
]


@pytest.mark.parametrize(
    ("bound", "served", "refused"),
    [
        ("127.0.0.1", LOOPBACK, ["127.0.0.2", "[::1]", "0.0.0.0", *MACHINE]),
        ("localhost", LOOPBACK, ["127.0.0.2", *MACHINE]),
        ("127.0.0.2", ["127.0.0.2", "localhost"], ["127.0.0.1", *MACHINE]),
        ("0.0.0.0", [*LOOPBACK, "[::1]", *MACHINE], []),
        ("[::]", [*LOOPBACK, "[::1]", *MACHINE], []),
        ("[::1]", ["[::1]", "[0::1]:9889", "localhost"], ["127.0.0.1", *MACHINE]),
    ],
)
@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
async def test_request_for_another_host_is_refused(
    session: aiohttp.ClientSession,
    bound: str,
    served: list[str],
    refused: list[str],
    path: str,
) -> None:
    """A web page whose name resolves to this machine must not read anything."""
    pytest_socket.socket_allow_hosts(["127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "::"])
    endpoint = Endpoint.parse(
        f"http://{bound}:0",
        allowed_hosts=["bms.example", "192.0.2.9", "[2001:db8::9]"],
    )
    async with Exporter(endpoint, lambda: STATES) as exporter:

        async def status(host: str) -> str:
            reader, writer = await asyncio.open_connection(*exporter.addresses[0])
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            line = (await reader.readline()).decode()
            writer.close()
            return line.split()[1]

        for host in (*served, *ALLOWED):
            assert (host, await status(host)) == (host, "200")
        for host in (*refused, *STRANGERS):
            assert (host, await status(host)) == (host, "421")


@pytest.mark.parametrize(
    ("host", "is_served"),
    [
        ("192.0.2.7:9889", True),
        ("[FE80::1]:9889", True),
        ("[fe80::1%25eth0]:9889", True),
        ("bms.lan", True),
        ("192.0.2.8", False),
        ("localhost", False),
        (gethostname(), False),
    ],
)
def test_machine_is_served_under_the_addresses_of_its_name(
    host: str, is_served: bool
) -> None:
    """Bound to a name, that is the name itself and what it resolves to."""
    bound = ["192.0.2.7", "fe80::1%eth0"]
    assert Endpoint(host="Bms.lan").serves(host, bound) is is_served


async def test_old_client_without_a_host_is_served(
    session: aiohttp.ClientSession,
) -> None:
    """HTTP 1.0 knows none, and no browser uses it."""
    async with Exporter(ANYWHERE, lambda: STATES) as exporter:
        reader, writer = await asyncio.open_connection(*exporter.addresses[0])
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b"200" in await reader.readline()
        writer.close()


async def test_head_that_drips_is_closed_in_time(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte does not start the time anew."""
    monkeypatch.setattr(module, "_HEAD_TIMEOUT", 0.5)
    async with Exporter(ANYWHERE, lambda: STATES) as exporter:
        reader, writer = await asyncio.open_connection(*exporter.addresses[0])
        ended = asyncio.create_task(reader.read())
        clock = asyncio.get_running_loop().time
        begin = clock()
        async with asyncio.timeout(60):
            while not ended.done():
                with suppress(ConnectionError):
                    writer.write(b"x")
                await asyncio.sleep(0.05)
        assert clock() - begin < 10
        writer.close()
