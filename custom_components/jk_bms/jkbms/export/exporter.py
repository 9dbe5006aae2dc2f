"""Serve the metrics of batteries over HTTP, for Prometheus to scrape."""

import asyncio
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
import errno
from functools import partial
from hmac import compare_digest
from ipaddress import IPv4Address, IPv6Address, ip_address
import logging
from math import inf
import os
from pathlib import Path
import re
from socket import gethostname
import ssl
from time import monotonic
from typing import Final, Self, override

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from yarl import URL

from ..errors import EndpointError
from ..models import BatteryState
from ..text import shown_url, url_failure
from .credentials import Credentials, is_loopback
from .metrics import OPENMETRICS_TYPE, TEXT_TYPE, to_openmetrics, to_text

_LOGGER = logging.getLogger(__name__)

DEFAULT_URL: Final = "http://127.0.0.1:9889/metrics"
DEFAULT_PORT: Final = 9889
"""Port of a URL that names none; the same as in `ubmsc`."""
DEFAULT_PATH: Final = "/metrics"
HEALTH_PATH: Final = "/healthz"
"""Reports, without a password, whether batteries can be read at all."""

_SHUTDOWN_TIMEOUT: Final = 1.0
_MAX_CONNECTIONS: Final = 64
"""Connections at a time; the oldest is closed for a new one."""
_HEAD_TIMEOUT: Final = 12.0
"""Seconds for the head of a request and for a TLS handshake."""
_MALFORMED_INTERVAL: Final = 60.0
"""Seconds between two log lines about malformed requests."""
_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Cipher suites of TLS 1.2 with forward secrecy; TLS 1.3 has no others."""
_TEXT: Final = "text/plain"
_OPENMETRICS: Final = "application/openmetrics-text"
_UNWANTED: Final = re.compile(r";\s*q=0(\.0*)?\s*(;|$)")
"""The `q` value of a media type that a client rejects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where to serve, and which credentials clients need."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    """0 selects a free port."""
    path: str = DEFAULT_PATH
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    credentials: Credentials | None = field(default=None, repr=False)
    allowed_hosts: frozenset[str] = frozenset()
    """Further names and addresses that clients may use for the server, in lower case."""

    @classmethod
    def parse(
        cls,
        url: str = DEFAULT_URL,
        *,
        allowed_hosts: Iterable[str] = (),
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        basic_auth: Path | None = None,
    ) -> Self:
        """Return the endpoint of a URL such as `http://[::1]:9889/metrics`.

        `tls_cert` may contain the key; `basic_auth` contains `user:password`. Raises
        `EndpointError` or `CredentialsError`.
        """
        host, port, path, scheme = _parse_url(url)
        if (scheme == "https") != bool(tls_cert):
            raise EndpointError(
                f"{shown_url(url)}: https needs a certificate: --tls-cert"
                if scheme == "https"
                else f"{shown_url(url)}: with a certificate, the URL must start with https"
            )
        if tls_key and not tls_cert:
            raise EndpointError(f"{tls_key}: --tls-key also needs --tls-cert")
        credentials = Credentials.from_file(basic_auth) if basic_auth else None
        if credentials and credentials.token:
            raise EndpointError(f"{basic_auth}: must be user:password")
        return cls(
            host=host,
            port=port,
            path=path,
            tls=_Certificate(tls_cert, tls_key).serving if tls_cert else None,
            credentials=credentials,
            allowed_hosts=frozenset(each.lower().strip("[]") for each in allowed_hosts),
        )

    @property
    def exposes_credentials(self) -> bool:
        """Whether other machines must send their password in clear."""
        return bool(self.credentials) and not self.tls and not is_loopback(self.host)

    def serves(self, host: str, bound: Iterable[str]) -> bool:
        """Return whether a request with this `Host` is for this server.

        `bound` are the addresses that it listens on. A web page can send requests to any
        address that its own name resolves to, and read the response (DNS rebinding). Such
        a name is not one of the server's. Only on a wildcard, any address may lead here.
        """
        try:
            name = (URL(f"http://{host}").host or "").lower()
        except ValueError:
            return False
        if name in self.allowed_hosts | {self.host.lower()}:
            return True
        addresses = [_without_zone(each) for each in bound]
        is_wildcard = any(each.is_unspecified for each in addresses)
        with suppress(ValueError):
            return _without_zone(name) in addresses or is_wildcard
        if is_wildcard and name == gethostname().lower():
            return True
        is_local = is_wildcard or any(each.is_loopback for each in addresses)
        return is_local and is_loopback(name)

    def accepts(self, authorization: str | None) -> bool:
        """Return whether a request with this `Authorization` may read the metrics."""
        if not self.credentials:
            return True
        scheme, _, encoded = (authorization or "").partition(" ")
        try:
            given = b64decode(encoded)
        except ValueError:
            return False
        expected = f"{self.credentials.user}:{self.credentials.password}".encode()
        return scheme.lower() == "basic" and compare_digest(given, expected)


class Exporter:
    """A server of the latest known values; a scrape does not read a battery."""

    def __init__(
        self,
        endpoint: Endpoint,
        states: Callable[[], Sequence[BatteryState]],
        failure: Callable[[], Exception | None] = lambda: None,
    ) -> None:
        """`states` is called for every scrape and returns at once.

        `failure` returns why no battery can be read at the moment, if none can.
        """
        self._endpoint = endpoint
        self._states = states
        self._failure = failure
        self._connections = _Connections()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start the server. Raises `EndpointError` if it cannot start."""
        endpoint = self._endpoint
        app = web.Application(middlewares=[self._check_host])
        app.router.add_get(endpoint.path, self._handle_metrics)
        app.router.add_get(HEALTH_PATH, self._handle_health)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=_SHUTDOWN_TIMEOUT,
            keepalive_timeout=_HEAD_TIMEOUT,
            logger=_requests_logger(),
        )
        async with AsyncExitStack() as stack:
            stack.callback(self._connections.close)
            stack.push_async_callback(self._runner.cleanup)
            await self._runner.setup()
            server = self._runner.server
            assert server
            try:
                self._server = await asyncio.get_running_loop().create_server(
                    partial(_Entrance, self._connections, server, endpoint.tls),
                    endpoint.host,
                    endpoint.port,
                )
            except OSError as err:
                raise EndpointError(
                    f"Cannot serve on port {endpoint.port} of {endpoint.host}: "
                    f"{_reason(err)}"
                ) from err
            self._bound = [address for address, _ in self.addresses]
            stack.callback(self._server.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the server."""
        await self._stack.aclose()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The hosts and ports that it listens on."""
        return [each.getsockname()[:2] for each in self._server.sockets]

    @web.middleware
    async def _check_host(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        host = request.headers.get(hdrs.HOST)
        if host is not None and not self._endpoint.serves(host, self._bound):
            return web.Response(
                status=421,
                text="421: Not a name or address of this server: see --allow-host\n",
            )
        return await handler(request)

    async def _handle_metrics(self, request: web.Request) -> web.Response:
        if not self._endpoint.accepts(request.headers.get(hdrs.AUTHORIZATION)):
            return web.Response(
                status=401,
                text="401: A user name and a password are required\n",
                headers={hdrs.WWW_AUTHENTICATE: 'Basic realm="jkbms", charset="UTF-8"'},
            )
        states = self._states()
        if _wants_openmetrics(request.headers.get(hdrs.ACCEPT, "")):
            text, media_type = to_openmetrics(states), OPENMETRICS_TYPE
        else:
            text, media_type = to_text(states), TEXT_TYPE
        response = web.Response(
            body=text.encode(),
            headers={
                hdrs.CONTENT_TYPE: media_type,
                hdrs.VARY: f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}",
            },
        )
        response.enable_compression()
        return response

    async def _handle_health(self, _request: web.Request) -> web.Response:
        if failure := self._failure():
            return web.Response(status=503, text=f"{failure}\n")
        return web.Response(text="ok\n")


def _without_zone(address: str) -> IPv4Address | IPv6Address:
    """Return an address without the zone of a link-local one, which clients do not send."""
    return ip_address(address.partition("%")[0])


class _Connections:
    """The open TCP connections, including those without a finished TLS handshake."""

    def __init__(self) -> None:
        self._open: list[asyncio.Transport] = []
        """The oldest first."""

    def add(self, transport: asyncio.Transport) -> None:
        """Add a new connection; close the oldest ones for it."""
        still_open = [each for each in self._open if not each.is_closing()]
        for oldest in still_open[: len(still_open) - _MAX_CONNECTIONS + 1]:
            oldest.abort()
        self._open = [*still_open[1 - _MAX_CONNECTIONS :], transport]

    def close(self) -> None:
        """Close all connections."""
        for each in self._open:
            each.abort()


class _Entrance(asyncio.Protocol):
    """Counts a new connection and passes it on to a handler, after the TLS handshake if any."""

    def __init__(
        self,
        connections: _Connections,
        new_handler: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._connections = connections
        self._new_handler = new_handler
        self._tls = tls
        self._early = b""
        """What the client sent with the last message of the handshake."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._connections.add(transport)
        if self._tls:
            transport.pause_reading()
            # The event loop refers to a task only weakly
            self._handshake = asyncio.create_task(self._encrypt(transport, self._tls))
        else:
            self._pass_on(transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._early += data

    async def _encrypt(
        self, transport: asyncio.Transport, context: ssl.SSLContext
    ) -> None:
        encrypted = None
        # A client that does not complete the handshake is not worth a log line
        with suppress(OSError):
            encrypted = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=_HEAD_TIMEOUT,
            )
        if encrypted:
            self._pass_on(encrypted)

    def _pass_on(self, transport: asyncio.Transport) -> None:
        handler = self._new_handler()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        if self._early:
            handler.data_received(self._early)


def _wants_openmetrics(accept: str) -> bool:
    """Return whether a client accepts OpenMetrics but not the classic text format.

    Prometheus accepts both and prefers OpenMetrics. But OpenMetrics renames counters,
    and dashboards made for `ubmsc` would not find them.
    """
    accepted = {
        part.partition(";")[0].strip()
        for part in accept.lower().split(",")
        if not _UNWANTED.search(part)
    }
    return _OPENMETRICS in accepted and _TEXT not in accepted


def _parse_url(text: str) -> tuple[str, int, str, str]:
    try:
        url = URL(text)
        host, port = url.host, url.explicit_port
        # Reject a host name that cannot be looked up
        (host or "").encode("idna")
    except ValueError as err:
        raise EndpointError(f"{url_failure(err)}; one is {DEFAULT_URL}") from err
    if "@" in text:
        raise EndpointError(
            "A password in the URL is visible to all users: use --basic-auth"
        )
    if url.scheme not in {"http", "https"} or not host:
        raise EndpointError(f"{shown_url(text)}: not a URL such as {DEFAULT_URL}")
    if url.raw_query_string or url.raw_fragment or set(url.path) & set("{}"):
        raise EndpointError(f"{shown_url(text)}: only a plain path may follow the host")
    path = DEFAULT_PATH if url.path == "/" else url.path
    if path == HEALTH_PATH:
        raise EndpointError(
            f"{shown_url(text)}: {HEALTH_PATH} is reserved, choose another path"
        )
    return host, DEFAULT_PORT if port is None else port, path, url.scheme


class _Certificate:
    """A certificate that is loaded again when its files change."""

    def __init__(self, cert: Path, key: Path | None) -> None:
        """Raises `EndpointError`."""
        self._files = cert, key
        self._loaded = self._stamp()
        self._context = _load_certificate(*self._files)
        self.serving = self._context
        """The context of the server."""
        self.serving.sni_callback = self._on_connection

    def _on_connection(
        self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        stamp = self._stamp()
        if stamp != self._loaded:
            self._loaded = stamp
            try:
                self._context = _load_certificate(*self._files)
            except EndpointError as err:
                _LOGGER.warning("The new certificate cannot be used: %s", err)
        connection.context = self._context

    def _stamp(self) -> list[tuple[int, int] | None]:
        """Return values that change whenever a file does."""
        stamps: list[tuple[int, int] | None] = []
        for path in filter(None, self._files):
            try:
                status = path.stat()
            except OSError:
                stamps.append(None)
            else:
                stamps.append((status.st_ino, status.st_mtime_ns))
        return stamps


def _load_certificate(cert: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_ciphers(_SUITES)
    for path in filter(None, (cert, key)):
        # The error of the ssl module does not name the file
        if not os.access(path, os.R_OK):
            raise EndpointError(f"{path}: cannot be read")
    try:
        # Without a password, OpenSSL would ask for one on the terminal
        context.load_cert_chain(cert, key, password="")
    except OSError as err:
        raise EndpointError(
            f"{cert}: not a certificate with its key, unencrypted, in PEM: "
            f"{_reason(err)}"
        ) from err
    return context


def _requests_logger() -> logging.Logger:
    """Return a logger for aiohttp that writes one line per flood of bad requests."""
    logger = logging.getLogger(f"{__name__}.requests")
    if not logger.filters:
        logger.addFilter(_MalformedRequests())
    return logger


class _MalformedRequests(logging.Filter):
    """Logs only the first of many malformed requests, without its traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._next = -inf

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        is_due = monotonic() >= self._next
        if is_due:
            self._next = monotonic() + _MALFORMED_INTERVAL
        return is_due


def _reason(err: OSError) -> str:
    if isinstance(err, ssl.SSLError):
        return err.reason or "not PEM"
    if err.errno is None:
        # asyncio tried all addresses of the name, so there is no errno
        return "this machine has no such address: use one that `ip address` lists"
    if err.errno < 0:
        return str(err.strerror)
    # asyncio's text repeats the address
    reason = os.strerror(err.errno)
    if err.errno == errno.EADDRINUSE:
        reason += ": choose another port in --url, or stop the process that uses it"
    return reason
