"""Set up the command's log: its destination and its filter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
import logging
import re
from types import TracebackType
from typing import Final, Self, override

from ..errors import JournalError
from ..text import one_line, printable

_IDENTIFIER: Final = "jkbms"
_LIBRARY: Final = __name__.rsplit(".", 2)[0]
"""Logger of the library: `jkbms`, or its name inside Home Assistant's integration."""
_LOGS_NOTIFICATIONS: Final = "bleak.backends.bluezdbus.manager"
"""Logs the body of every D-Bus signal: every notification, passcodes included."""

_LEVELS: Final = {
    "off": logging.CRITICAL + 1,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}
_MAX_LEVEL: Final = "trace"
"""Level of a target without a level."""

type _ExcInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """A filter in the syntax of Rust's env_logger, which `ubmsc` uses."""

    levels: Mapping[str, int] = field(default_factory=dict)
    """Levels by the name of the logger; the empty name is the root logger."""
    pattern: re.Pattern[str] | None = None
    """Only messages that match it are logged."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `level`, `target` and `target=level`, separated by commas, then `/regex`.

        Raises `ValueError` with the part that is wrong and what is expected.
        """
        directives, slash, regex = text.partition("/")
        levels = {}
        for directive in filter(None, map(str.strip, directives.split(","))):
            target, equals, level = map(str.strip, directive.partition("="))
            if not equals and target.lower() in _LEVELS:
                target, level = "", target
            if (name := level.lower() or _MAX_LEVEL) not in _LEVELS:
                raise ValueError(f"{level!r} is not a level: {', '.join(_LEVELS)}")
            levels[_logger_name(target)] = _LEVELS[name]
        try:
            return cls(levels, re.compile(regex) if slash else None)
        except re.error as err:
            raise ValueError(f"{regex!r} is not a regular expression: {err}") from err

    def matches(self, record: logging.LogRecord) -> bool:
        """Return whether the message of a record has a match of the pattern."""
        return not self.pattern or bool(self.pattern.search(record.getMessage()))


def _logger_name(target: str) -> str:
    """Return the name of the logger of a target.

    `jkbms` and `jk_bms` are the library, with its modules below them. So is `ubmsc`
    with all its modules: they have no counterpart here.
    """
    head, *modules = target.replace("::", ".").split(".")
    match head:
        case "ubmsc":
            return _LIBRARY
        case "jkbms" | "jk_bms":
            return ".".join((_LIBRARY, *modules))
    return target


class _Formatter(logging.Formatter):
    """Formats each message as one line: it may quote text received over the air."""

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))

    @override
    def formatException(self, ei: _ExcInfo) -> str:
        return "\n".join(map(printable, super().formatException(ei).splitlines()))


def set_up(log_filter: LogFilter, *, to_journal: bool) -> None:
    """Log what the filter selects to stderr or to journald; without one, warnings.

    As with env_logger, targets that a filter does not name are off.
    Messages that would contain passcodes are never logged. Raises `JournalError`.
    """
    if to_journal:
        handler, form = _journal_handler(), "%(message)s"
    else:
        handler, form = logging.StreamHandler(), "%(levelname)s %(name)s: %(message)s"
    handler.setFormatter(_Formatter(form))
    handler.addFilter(log_filter.matches)
    others = _LEVELS["off"] if log_filter.levels else logging.WARNING
    logging.basicConfig(handlers=[handler], level=others)
    for name, level in log_filter.levels.items():
        logging.getLogger(name).setLevel(level)
    logger = logging.getLogger(_LOGS_NOTIFICATIONS)
    logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))


def _journal_handler() -> logging.Handler:
    from logging_journald import JournaldLogHandler

    try:
        return JournaldLogHandler(identifier=_IDENTIFIER)
    except OSError as err:
        raise JournalError(
            f"Cannot log to journald ({JournaldLogHandler.SOCKET_PATH}: "
            f"{err.strerror}); without -j the log goes to stderr"
        ) from err
