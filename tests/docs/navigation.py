"""What MkDocs asks of this project: a navigation of the pages that exist."""

from pathlib import Path
from typing import Any


def on_config(config: Any) -> None:
    """Leave out the pages that are not written yet."""
    config.nav = _existing(config.nav, Path(config.docs_dir))


def _existing(entries: list[Any], folder: Path) -> list[Any]:
    return [
        {title: _existing(pages, folder) for title, pages in entry.items()}
        if isinstance(entry, dict)
        else entry
        for entry in entries
        if isinstance(entry, dict) or (folder / entry).exists()
    ]
