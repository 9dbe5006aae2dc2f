"""Where the command's log goes and how much of it there is."""

from collections.abc import Mapping
import logging
from typing import Final, override

from ..errors import JournalError
from ..text import one_line

_SELF: Final = "jkbms"
_TELLS_ALL: Final = "bleak.backends.bluezdbus.manager"
"""Logs the body of every D-Bus signal: of every notification, so of passcodes."""


class _Formatter(logging.Formatter):
    """Makes one line of each message, for it may quote a name from the air."""

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))


def set_up(levels: Mapping[str, int], *, to_journal: bool) -> None:
    """Log to stderr or to journald, and of each logger what was asked for.

    The empty name is that of all other loggers. What would hold passcodes is not logged
    whoever asks for it. Raises `JournalError`.
    """
    if to_journal:
        handler, form = _journal(), "%(message)s"
    else:
        handler, form = logging.StreamHandler(), "%(levelname)s %(name)s: %(message)s"
    handler.setFormatter(_Formatter(form))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    for name, level in levels.items():
        logging.getLogger(_full_name(name)).setLevel(level)
    talker = logging.getLogger(_TELLS_ALL)
    talker.setLevel(max(talker.getEffectiveLevel(), logging.INFO))


def _full_name(name: str) -> str:
    """Return the name of a logger: our own is where the library happens to be."""
    head, dot, tail = name.partition(".")
    return f"{__package__}{dot}{tail}" if head == _SELF else name


def _journal() -> logging.Handler:
    from logging_journald import JournaldLogHandler

    try:
        return JournaldLogHandler(identifier=_SELF)
    except OSError as err:
        raise JournalError(
            f"The journal does not take a log ({JournaldLogHandler.SOCKET_PATH}: "
            f"{err.strerror}); without -j it goes to stderr"
        ) from err
