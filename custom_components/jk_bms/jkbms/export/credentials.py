"""HTTP credentials, read from a file or the environment, never from the command line."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
import os
from pathlib import Path
from typing import Self

from ..errors import CredentialsError


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address or name of this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user name with a password, or a token."""

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Reject credentials that HTTP cannot carry. Raises `CredentialsError`."""
        if not f"{self.user}{self.password}{self.token}".isprintable():
            raise CredentialsError("Credentials must not contain control characters")
        if ":" in self.user:
            raise CredentialsError("A user name must not contain a colon")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self | None:
        """Read `JKBMS_PUSH_USER` and `JKBMS_PUSH_PASSWORD`, or `JKBMS_PUSH_TOKEN`.

        Returns `None` if none is set. Raises `CredentialsError`.
        """
        found = cls(
            **{
                key: environ.get(f"JKBMS_PUSH_{key.upper()}", "").strip()
                for key in ("user", "password", "token")
            }
        )
        return found if found != cls() else None

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read `user:password`, or a token, which is one line without a colon.

        Raises `CredentialsError`.
        """
        try:
            text = path.read_text("utf-8-sig").strip()
        except OSError as err:
            raise CredentialsError(f"{path}: {err.strerror}") from err
        except UnicodeDecodeError as err:
            raise CredentialsError(f"{path}: not a text file") from err
        if not text or not text.isprintable():
            raise CredentialsError(
                f"{path}: must be one line, user:password or a token"
            )
        user, colon, password = text.partition(":")
        if not colon:
            return cls(token=text)
        return cls(user=user, password=password)

    @property
    def header(self) -> str:
        """The value of the header `Authorization`."""
        if self.token:
            return f"Bearer {self.token}"
        return f"Basic {b64encode(f'{self.user}:{self.password}'.encode()).decode()}"
