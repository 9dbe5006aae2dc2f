"""Remembers the labels pushed by earlier runs of `--push`: a Pushgateway never forgets.

Another machine may push to the same job, so only series pushed from here may be ended.
"""

from contextlib import suppress
from hashlib import sha256
import json
import os
from pathlib import Path

from ..export.push import PushTarget


def load(target: PushTarget) -> dict[str, float]:
    """Return the labels that were pushed, with the Unix time in seconds when each was last up."""
    labels: dict[str, float] = {}
    with suppress(OSError, ValueError, RuntimeError):
        known = json.loads(_path(target).read_text("utf-8"))
        labels = {str(label): float(at) for label, at in known.items()}
    return labels


def store(target: PushTarget, labels: dict[str, float]) -> None:
    """Replace the remembered labels; ignored where no state folder is writable."""
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
