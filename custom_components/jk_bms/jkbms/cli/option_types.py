"""Parsers of option values: each function converts a text.

Each raises `ArgumentTypeError` for invalid text.
"""

import argparse
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final

from ..bank import Wiring
from ..models import Layout
from ..text import printable
from .log_setup import LogFilter

FORMATS: Final = {
    "r": "rust",
    "R": "rust-pretty",
    "j": "json",
    "J": "json-pretty",
    "y": "yaml",
    "t": "toml",
    "T": "toml-pretty",
    "m": "metrics",
    "repr": "repr",
    "repr-pretty": "repr-pretty",
    "table": "table",
}
"""The formats by their short names."""
FORMAT_NAMES: Final = ", ".join(
    name if letter == name else f"{name} ({letter})" for letter, name in FORMATS.items()
)

_MIN_PACKS: Final = 2
_MIN_INTERVAL: Final = 1.0
"""Seconds; reading a battery takes about as long."""


def output_format(text: str) -> str:
    """Parse the short or long name of a format."""
    if text in FORMATS:
        return FORMATS[text]
    if text in FORMATS.values():
        return text
    raise argparse.ArgumentTypeError(
        f"invalid choice: {text!r} (choose from {FORMAT_NAMES})"
    )


def frame_layout(text: str) -> Layout:
    """Parse the name of a layout."""
    try:
        return Layout(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(
            f"invalid choice: {text!r} (choose from {', '.join(Layout)})"
        ) from err


def filled_text(text: str) -> str:
    """Accept any text except an empty one."""
    # An empty text is usually a shell variable that is not set
    if not text:
        raise argparse.ArgumentTypeError("its value is empty")
    return text


def utf8_text(text: str) -> str:
    """Accept text that can be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError as err:
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8") from err
    return filled_text(text)


def file_path(text: str) -> Path:
    """Parse the path of a file."""
    return Path(filled_text(text))


def device_names(text: str) -> list[str]:
    """Parse names or addresses separated by commas, as a scan lists them."""
    return [name.strip() for name in printable(utf8_text(text)).split(",")]


@dataclass(frozen=True, slots=True)
class BankOption:
    """A bank and the batteries that it consists of."""

    name: str
    packs: tuple[str, ...]
    """Names or addresses."""
    wiring: Wiring


def bank(text: str) -> BankOption:
    """Parse a bank: NAME=A,B,C, or NAME=A+B in series."""
    text = printable(utf8_text(text))
    name, _, listed = text.partition("=")
    wiring = Wiring.PARALLEL if "," in listed else Wiring.SERIES
    separator = "," if wiring is Wiring.PARALLEL else "+"
    packs = [pack.strip() for pack in listed.split(separator)]
    name = name.strip()
    if not name or not all(packs) or len(packs) < _MIN_PACKS:
        raise argparse.ArgumentTypeError(
            f"{text}: not a bank such as NAME=A,B, of at least two batteries"
        )
    if twice := [pack for pack in packs if packs.count(pack) > 1]:
        raise argparse.ArgumentTypeError(f"{name} has {twice[0]} twice")
    return BankOption(name, tuple(packs), wiring)


def seconds(text: str) -> float:
    """Parse a number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def interval(text: str) -> float:
    """Parse an interval between readings in seconds."""
    value = seconds(text)
    if value < _MIN_INTERVAL:
        raise argparse.ArgumentTypeError(
            f"a battery cannot be read every {value:g} s; the minimum is {_MIN_INTERVAL:g}"
        )
    return value


def log_filter(text: str) -> LogFilter:
    """Parse levels and targets of the log, and a pattern."""
    try:
        return LogFilter.parse(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err
