"""Push the metrics of batteries to a Pushgateway or a Prometheus import URL."""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
import errno
from http import HTTPStatus
import os
import re
from time import time
from typing import Final, Self, override
from urllib.parse import quote

import aiohttp
from yarl import URL

from ..errors import (
    PushError,
    PushPathError,
    PushRefusedError,
    PushServerError,
    PushTlsError,
    PushUnauthorizedError,
    PushUnreachableError,
    PushUrlError,
)
from ..models import BatteryState
from ..text import url_failure
from .credentials import Credentials, is_loopback
from .metrics import TEXT_TYPE, to_text

DEFAULT_JOB: Final = "jkbms"
DEADLINE: Final = 20.0
"""Seconds for one push, including retries."""

SETTLE_DEADLINE: Final = 2.0
"""Seconds to wait for a running push before its series are cleared."""

_FIRST_PAUSE: Final = 0.5
"""Seconds until the first retry; each pause is twice as long as the last."""
_MAX_PAUSE: Final = 8.0
_MAX_RETRY_AFTER: Final = 3600.0
"""Maximum seconds that a server can delay the next push; a proxy may ask for a year."""
_MAX_BODY: Final = 1000
"""Bytes to read of an error response."""
_HTTPS_ONLY: Final = b"HTTPS server"
"""How a TLS server reports plain HTTP, with the status of a bad request."""
_PHRASES: Final = {int(status): status.phrase for status in HTTPStatus}
_WRONG_PATHS: Final = frozenset({404, 405, 501})
_UNSUPPORTED: Final = b"unsupported path"
"""How VictoriaMetrics reports a wrong path, with the status of a bad request."""
_IMPORT_PATH: Final = "/api/v1/import/prometheus"
_IMPORT: Final = re.compile(
    r"(?P<prefix>.*?)/api/v1/import(?P<takes_text>/prometheus(?=/|$))?(?:/.*)?"
)
"""The path of an import; endpoints for other formats silently drop the text format."""
_GATEWAY_PATH: Final = re.compile(
    r"(?P<prefix>.*?)(?:/metrics(?:/job/(?P<job>[^/]+))?)?/*"
)


class PushKind(StrEnum):
    """The protocol that a server accepts."""

    PUSHGATEWAY = "pushgateway"
    """PUT, one group per battery, which replaces its earlier values."""
    IMPORT = "import"
    """POST, all batteries at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTarget:
    """Where to push."""

    url: URL
    """Without credentials; for a Pushgateway, what precedes `/metrics/job/…`."""
    kind: PushKind
    job: str = DEFAULT_JOB
    credentials: Credentials | None = field(default=None, repr=False)

    @classmethod
    def parse(
        cls,
        url: str,
        *,
        kind: PushKind | None = None,
        job: str = DEFAULT_JOB,
        credentials: Credentials | None = None,
    ) -> Self:
        """Return the target of a URL; without a kind, its path decides.

        `…/api/v1/import/prometheus` is an import; anything else is a Pushgateway. Imports
        of other formats are rejected. Given credentials override those in the URL.
        Raises `PushUrlError` or `CredentialsError`.
        """
        try:
            parsed = URL(url.strip())
            # An invalid port raises only when it is read
            _ = parsed.port
        except ValueError as err:
            raise PushUrlError(url_failure(err)) from err
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise PushUrlError(
                "The URL must begin with http:// or https:// and include a host"
            )
        if not credentials and (parsed.user or parsed.password):
            credentials = Credentials(
                user=parsed.user or "", password=parsed.password or ""
            )
        parsed = parsed.with_user(None).with_fragment(None)
        if kind is None:
            is_import = _IMPORT.fullmatch(parsed.path)
            kind = PushKind.IMPORT if is_import else PushKind.PUSHGATEWAY
        if kind is PushKind.IMPORT:
            parsed = _import_url(parsed)
            return cls(url=parsed, kind=kind, job=job, credentials=credentials)
        match = _GATEWAY_PATH.fullmatch(parsed.path)
        assert match
        if "/metrics/job" in match["prefix"]:
            raise PushUrlError(
                f"{_shown(parsed)}: nothing may follow the job: the instance is the battery"
            )
        return cls(
            url=parsed.with_path(match["prefix"], keep_query=True),
            kind=kind,
            job=match["job"] or job,
            credentials=credentials,
        )

    @property
    def exposes_credentials(self) -> bool:
        """Whether credentials travel unencrypted to another machine."""
        return (
            self.credentials is not None
            and self.url.scheme == "http"
            and not is_loopback(self.url.host or "")
        )

    @override
    def __str__(self) -> str:
        """Return the URL without anything private."""
        return _shown(self.url)


def _import_url(url: URL) -> URL:
    """Return the URL of the text import; raises `PushUrlError`."""
    if url.path == "/":
        return url.with_path(_IMPORT_PATH, keep_query=True)
    if not (match := _IMPORT.fullmatch(url.path)):
        return url
    if not match["takes_text"]:
        path = f"{match['prefix']}{_IMPORT_PATH}"
        raise PushPathError(
            f"{_shown(url)}: that import accepts another format; the path must be {path}",
            path,
        )
    # VictoriaMetrics rejects a trailing slash
    path = url.raw_path.rstrip("/")
    return url.with_path(path, encoded=True, keep_query=True)


async def push(
    session: aiohttp.ClientSession,
    target: PushTarget,
    states: Sequence[BatteryState],
    *,
    deadline: float = DEADLINE,
) -> None:
    """Push the states; retry until it succeeds or `deadline` seconds have passed.

    The deadline should end before the next push is due. Raises a `PushError`. One
    failed request does not stop the others.
    """
    await _send_all(session, target, _requests(target, states), deadline)


async def clear(
    session: aiohttp.ClientSession,
    target: PushTarget,
    devices: Collection[str],
    *,
    deadline: float = DEADLINE,
) -> None:
    """End the series of devices that are no longer pushed; raises like `push`.

    A Pushgateway never deletes anything by itself, so their groups are deleted. Other
    servers get `up 0`.
    """
    if not devices:
        return
    if target.kind is PushKind.IMPORT:
        states = [BatteryState(device=device, up=False) for device in sorted(devices)]
        requests = [*_requests(target, states)]
    else:
        requests = [("DELETE", _group_url(target, device), "") for device in devices]
    await _send_all(session, target, requests, deadline)


async def settle(pushing: asyncio.Task[None]) -> None:
    """Wait for a running push to end, before `clear` or in its place.

    A server that has received a request applies it even if it was cancelled here,
    possibly after the next one: the cleared series would be back for good.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_DEADLINE):
            await asyncio.gather(pushing, return_exceptions=True)


def _requests(
    target: PushTarget, states: Sequence[BatteryState]
) -> Iterator[tuple[str, URL, str]]:
    if target.kind is PushKind.IMPORT:
        yield "POST", target.url, to_text(states)
        return
    for state in states:
        yield "PUT", _group_url(target, state.device), to_text([state])


async def _send_all(
    session: aiohttp.ClientSession,
    target: PushTarget,
    requests: Iterable[tuple[str, URL, str]],
    deadline: float,
) -> None:
    until = asyncio.get_running_loop().time() + deadline
    results = await asyncio.gather(
        *(
            _send(session, target, method, url, body, until)
            for method, url, body in requests
        ),
        return_exceptions=True,
    )
    for result in results:
        if result is not None:
            raise result


def _group_url(target: PushTarget, device: str) -> URL:
    """Return the URL of the group of a device in a Pushgateway."""
    parts = _group("job", target.job), _group("instance", device)
    path = "".join((target.url.raw_path.rstrip("/"), "/metrics", *parts))
    return target.url.with_path(path, encoded=True, keep_query=True)


def _group(label: str, value: str) -> str:
    """Return a label as part of a Pushgateway path."""
    if "/" in value or not value.strip("."):
        encoded = urlsafe_b64encode(value.encode()).decode()
        return f"/{label}@base64/{encoded or '='}"
    return f"/{label}/{quote(value)}"


async def _send(
    session: aiohttp.ClientSession,
    target: PushTarget,
    method: str,
    url: URL,
    body: str,
    until: float,
) -> None:
    """Send one request; retry temporary failures until the time is up."""
    clock = asyncio.get_running_loop().time
    pause = _FIRST_PAUSE
    error: PushError = PushUnreachableError(f"{target}: no response in time")
    try:
        async with asyncio.timeout_at(until):
            while True:
                try:
                    await _send_once(session, target, method, url, body)
                except (PushUnreachableError, PushServerError) as err:
                    error = err
                else:
                    return
                wait = max(pause, error.retry_after)
                if clock() + wait >= until:
                    break
                await asyncio.sleep(wait)
                pause = min(2 * pause, _MAX_PAUSE)
    except TimeoutError:
        pass
    raise error


async def _send_once(
    session: aiohttp.ClientSession,
    target: PushTarget,
    method: str,
    url: URL,
    body: str,
) -> None:
    headers = {"Content-Type": TEXT_TYPE}
    if target.credentials:
        headers["Authorization"] = target.credentials.header
    try:
        async with session.request(
            method,
            url,
            data=body.encode(),
            headers=headers,
            # A redirect would become a GET and send the credentials elsewhere
            allow_redirects=False,
        ) as response:
            if response.status >= 300:
                raise _refusal(
                    target,
                    response.status,
                    await response.content.read(_MAX_BODY),
                    _retry_after(response.headers.get("Retry-After", "")),
                )
    except TimeoutError as err:
        raise PushUnreachableError(f"{target}: no response in time") from err
    except aiohttp.ClientSSLError as err:
        raise PushTlsError(f"{target}: {_tls_reason(err)}") from err
    except aiohttp.ClientConnectorDNSError as err:
        raise PushUnreachableError(f"{target}: no such host") from err
    except aiohttp.ClientError as err:
        number = getattr(err, "errno", None)
        reason = os.strerror(number) if number else "The connection was lost"
        if number == errno.ECONNREFUSED:
            reason += "; is the server running?"
        raise PushUnreachableError(f"{target}: {reason}") from err


def _retry_after(text: str) -> float:
    """Return the seconds of a `Retry-After` header; 0 if it is missing or invalid."""
    seconds = 0.0
    with suppress(ValueError, OverflowError):
        seconds = parsedate_to_datetime(text).timestamp() - time()
    with suppress(ValueError):
        seconds = min(int(text), _MAX_RETRY_AFTER)
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER)


def _refusal(
    target: PushTarget, status: int, body: bytes, retry_after: float
) -> PushError:
    """Return the error for a response that is not a success.

    It quotes nothing from the server, which may echo the credentials in any encoding.
    """
    text = f"{target}: HTTP {status}"
    if phrase := _PHRASES.get(status):
        text += f" {phrase}"
    if status in {401, 403}:
        return PushUnauthorizedError(
            f"{text}; check the user name and password or the token"
        )
    if status < 400:
        return PushRefusedError(f"{text}; use the URL that it redirects to")
    if status in _WRONG_PATHS:
        text += "; is the path correct?"
    if status == HTTPStatus.BAD_REQUEST and _UNSUPPORTED in body:
        text += f"; is the path correct? For single-node VictoriaMetrics it is {_IMPORT_PATH}"
    if status == HTTPStatus.BAD_REQUEST and _HTTPS_ONLY in body:
        text += "; does the server use HTTPS?"
    if status >= 500 or status == HTTPStatus.TOO_MANY_REQUESTS:
        return PushServerError(text, retry_after)
    return PushRefusedError(text)


def _tls_reason(err: aiohttp.ClientSSLError) -> str:
    if isinstance(err, aiohttp.ClientConnectorCertificateError):
        reason = getattr(err.certificate_error, "verify_message", "")
        return f"its certificate is not trusted: {reason}"
    return "TLS failed; does the server use HTTPS?"


def _shown(url: URL) -> str:
    return str(url.with_query(None))
