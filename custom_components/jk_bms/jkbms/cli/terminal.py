"""Print values to stdout and everything else to stderr."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import sys

from ..errors import OutputError
from ..text import one_line
from .formats import WRITERS
from .report import Report


def open_streams() -> None:
    """Replace each standard stream that is closed: stdin is empty, stdout fails."""
    for name, mode in (("stdin", "r"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))
    if sys.stdout is None:
        unwritable = os.open(os.devnull, os.O_RDONLY)
        sys.stdout = os.fdopen(unwritable, "w", encoding="utf-8")


def print_error(text: str) -> None:
    """Print a message as one line to stderr, if anything reads it."""
    with suppress(OSError):
        print(f"jkbms: {one_line(text)}", file=sys.stderr)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines to stdout. Raises `OutputError`."""
    with printing():
        print("\n".join(lines))


def is_confirmed(question: str) -> bool:
    """Ask a question on the terminal; only yes confirms it."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def show(report: Report, name: str | None) -> None:
    """Print a report in a format, by default a table on a terminal, else JSON.

    Raises `OutputError`.
    """
    name = name or ("table" if sys.stdout.isatty() else "json-pretty")
    with printing():
        if name == "table":
            from rich.console import Console

            from .table import draw

            Console(highlight=False).print(draw(report))
        else:
            print(WRITERS[name](report).removesuffix("\n"))


@contextmanager
def printing() -> Iterator[None]:
    """Flush stdout at the end; a closed pipe is not an error.

    Raises `OutputError`.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    except OSError as err:
        _discard_output()
        raise OutputError(f"Cannot write the output: {err.strerror}") from err


def _discard_output() -> None:
    """Discard buffered output, which Python would otherwise flush again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
