"""How the command speaks: values to stdout, all else to stderr."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import sys

from ..errors import OutputError
from ..text import one_line
from .formats import WRITERS, Report


def open_streams() -> None:
    """Have all three, for they may be closed; what goes there goes nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))


def complain(text: str) -> None:
    """Say something to people, if they listen; it is one line whatever it quotes."""
    with suppress(OSError):
        print(f"jkbms: {one_line(text)}", file=sys.stderr)


def show(report: Report, name: str | None) -> None:
    """Print a report in a format, by default the one that suits whoever reads it.

    Raises `OutputError`.
    """
    name = name or ("table" if sys.stdout.isatty() else "json-pretty")
    with printing():
        if name == "table":
            from rich.console import Console

            Console(highlight=False).print(report.table())
        else:
            print(WRITERS[name](report).removesuffix("\n"))


@contextmanager
def printing() -> Iterator[None]:
    """See that what is printed arrives, as long as anybody reads it.

    Raises `OutputError`.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough
        _give_up()
    except OSError as err:
        _give_up()
        raise OutputError(f"The output cannot be written: {err.strerror}") from err


def _give_up() -> None:
    """See that Python does not try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
