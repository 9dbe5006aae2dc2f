"""How the command speaks: values to stdout, all else to stderr."""

import os
import sys

from .errors import OutputError
from .formats import WRITERS, Report
from .plain import one_line


def complain(text: str) -> None:
    """Say something to people; it is one line whatever it quotes."""
    print(f"jkbms: {one_line(text)}", file=sys.stderr)


def show(report: Report, name: str | None) -> None:
    """Print a report in a format, by default the one that suits whoever reads it.

    Raises `OutputError`.
    """
    name = name or ("table" if sys.stdout.isatty() else "json-pretty")
    try:
        if name == "table":
            from rich.console import Console

            Console(highlight=False).print(report.table())
            sys.stdout.flush()
        else:
            print(WRITERS[name](report).removesuffix("\n"), flush=True)
    except BrokenPipeError:
        # Whoever reads has seen enough
        _give_up()
    except OSError as err:
        _give_up()
        raise OutputError(f"The output cannot be written: {err.strerror}") from err


def _give_up() -> None:
    """See that Python does not try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
