"""Remembers the series pushed by earlier runs of `--push`, and where their batteries were read.

A Pushgateway never forgets. Another machine may push to the same job, so only series
pushed from here may be ended. Labels stay with their address: anyone can advertise a name.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from hashlib import sha256
import json
import os
from pathlib import Path
from time import time

from ..export.push import PushTarget
from .monitor import FORGET_AFTER


@dataclass(frozen=True, slots=True)
class Series:
    """What is known of a label that was pushed."""

    up_at: float
    """Unix time in seconds when it was last up; 0 for never."""
    address: str | None = None
    """Where its battery was read, if known."""

    @property
    def is_expired(self) -> bool:
        """Whether it was last up more than a day ago."""
        return time() - self.up_at > FORGET_AFTER


def load(target: PushTarget) -> dict[str, Series]:
    """Return the series that were pushed, by label."""
    series: dict[str, Series] = {}
    with suppress(OSError, ValueError, RuntimeError):
        known = json.loads(_path(target).read_text("utf-8"))
        for label, stored in known.items() if isinstance(known, dict) else ():
            with suppress(TypeError, ValueError):
                series[label] = _parse(stored)
    return series


def store(target: PushTarget, series: Mapping[str, Series]) -> None:
    """Replace the remembered series; ignored where no state folder is writable."""
    with suppress(OSError, RuntimeError):
        path = _path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        stored = {label: astuple(each) for label, each in series.items()}
        new.write_text(json.dumps(stored), "utf-8")
        new.replace(path)


def forget(target: PushTarget, labels: Collection[str]) -> None:
    """Drop labels whose series were ended."""
    if labels:
        known = load(target)
        store(target, {label: known[label] for label in known.keys() - labels})


def _parse(stored: object) -> Series:
    # Earlier versions stored the time only
    up_at, address = stored if isinstance(stored, list) else (stored, None)
    return Series(float(up_at), str(address) if address else None)  # type: ignore[arg-type]


def _path(target: PushTarget) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    name = sha256(f"{target.job} {target.url}".encode()).hexdigest()[:16]
    return Path(state).expanduser() / "jkbms" / f"pushed-{name}.json"
