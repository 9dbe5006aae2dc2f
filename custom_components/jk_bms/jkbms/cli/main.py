"""The command `jkbms`: what batteries say, without Home Assistant.

What it needs for one thing is imported when that is asked for: help comes at once.
"""

from collections.abc import Sequence
from io import TextIOWrapper
import sys

from ..errors import JournalError, OutputError
from .arguments import ExitCode, parse
from .terminal import complain, open_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    open_streams()
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _run(argv: Sequence[str] | None) -> ExitCode:
    # What a terminal has no characters for is no reason to show nothing
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        options = parse(argv)
        from .log_setup import set_up

        set_up(options.log, to_journal=options.journal)
        if options.decode is not None:
            from .capture import decode_capture

            return decode_capture(options.decode, options)
        from .commands import act

        return act(options)
    except (JournalError, OutputError) as err:
        complain(str(err))
        return ExitCode.FAILED
