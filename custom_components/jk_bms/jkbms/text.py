"""Sanitise untrusted text before printing or logging it."""

import re


def url_failure(err: ValueError) -> str:
    """Return why a text is not a URL, without quoting it: it may contain a password."""
    if str(err).startswith("Port out of range"):
        return "The port of the URL is out of range, which is 0 to 65535"
    return "This is not a URL"


def shown_url(text: str) -> str:
    """Return text that may be a URL without its user, password and query."""
    _, at, host = text.rpartition("@")
    return one_line(re.split(r"[?#]", host if at else text, maxsplit=1)[0])


def printable(text: str) -> str:
    """Return a text in which every character is printable.

    All text received over the air passes here on arrival: control characters, line
    breaks and characters that reverse or hide others become blanks.
    """
    return "".join(char if char.isprintable() else " " for char in text)


def one_line(text: str) -> str:
    """Return a text as one line, with single blanks."""
    return " ".join(printable(text).split())
