"""The command `jkbms`: reads batteries without Home Assistant.

Modules are imported when an option needs them, so that help appears at once.
"""

from collections.abc import Sequence
from io import TextIOWrapper
import sys

from ..errors import JournalError, OutputError
from .arguments import ExitCode, parse
from .terminal import open_streams, print_error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    open_streams()
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _run(argv: Sequence[str] | None) -> ExitCode:
    # Show a question mark for a character that the terminal lacks
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        options = parse(argv)
        from .log_setup import set_up

        set_up(options.log, to_journal=options.journal)
        if options.decode is not None:
            from .capture import decode_capture

            return decode_capture(options.decode, options)
        from .commands import execute

        return execute(options)
    except (JournalError, OutputError) as err:
        print_error(str(err))
        return ExitCode.FAILED
