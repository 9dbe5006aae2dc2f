"""Remembers what earlier runs of `--push` have pushed, since a Pushgateway never forgets.

Another machine may push to the same job: only what this one pushed is its own to end.
"""

from contextlib import suppress
from hashlib import sha256
import json
import os
from pathlib import Path

from ..export.push import PushTarget


def load(target: PushTarget) -> dict[str, float]:
    """Return the labels that were pushed, with the Unix time when each was up last, s."""
    labels: dict[str, float] = {}
    with suppress(OSError, ValueError, RuntimeError):
        known = json.loads(_path(target).read_text("utf-8"))
        labels = {str(label): float(at) for label, at in known.items()}
    return labels


def store(target: PushTarget, labels: dict[str, float]) -> None:
    """Replace what is remembered; a system without a place for it goes without."""
    with suppress(OSError, RuntimeError):
        path = _path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(labels), "utf-8")
        new.replace(path)


def _path(target: PushTarget) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    name = sha256(f"{target.job} {target.url}".encode()).hexdigest()[:16]
    return Path(state).expanduser() / "jkbms" / f"pushed-{name}.json"
