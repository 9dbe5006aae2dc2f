"""Blank out text around the numbers of a dump: tags, prefixes, casts."""

import re
from typing import Final

_TAG: Final = re.compile(
    r"</?(?:a|b|br|code|div|em|i|li|p|pre|span|strong|td|th|tr)(?:\s[^<>]{0,200})?/?>"
    r"|&nbsp;|&#160;|\\[nrt]|\"[0-9]{1,3}\"\s{0,4}:",
    re.ASCII | re.IGNORECASE,
)
"""Text around numbers in HTML and JSON: tags, blanks, line breaks, indexes."""
_AFFIX: Final = re.compile(
    r"\\x|(?:(?<!\w)|(?<=0[xX][0-9A-Fa-f]{2}))0[xX](?=[0-9A-Fa-f])|&(?:[hH]|#[xX])(?=[0-9A-Fa-f])"
    r"|[%$#](?=[0-9A-Fa-f])|\b0(?=[A-Fa-f][0-9A-Fa-f][hH]\b)|(?<=[0-9A-Fa-f]{2})[hH]\b"
    r"|\b0[bB](?=[01]{8}\b)",
    re.ASCII,
)
"""Prefix or suffix that gives the base of a number."""
_CAST: Final = re.compile(
    r"(?:\([A-Za-z_]\w{0,20}\)|\b[A-Za-z_]\w{0,20}(?:<\w{1,20}>)?\()(?=\s{0,4}-?[0-9A-Fa-f]{1,4}\b)"
    r"|(?<=[0-9A-Fa-f]{2})\.[A-Za-z_]\w{0,20}\(\)|(?<=\b[0-9A-Fa-f]{2})_?[ui]8\b",
    re.ASCII,
)
"""Casts to a byte in source code: `(byte)`, `static_cast<char>(`, `.toByte()`."""
_HALVES: Final = re.compile(
    r"(?<=[0-9A-Fa-f]{2} [0-9A-Fa-f]{2}) ?[-|] ?(?=[0-9A-Fa-f]{2} [0-9A-Fa-f]{2})"
)
"""Separator between the halves of a row."""
_UNDERSCORES: Final = re.compile(r"\b[0-9A-Fa-f]{2}(?:_[0-9A-Fa-f]{2})+\b", re.ASCII)
"""Bytes with underscores between them."""


def without_markup(text: str) -> str:
    """Return a text of the same length with blanks instead of text around its numbers."""
    text = _UNDERSCORES.sub(lambda match: match[0].replace("_", " "), text)
    for pattern in (_TAG, _AFFIX, _CAST, _HALVES):
        text = pattern.sub(_mask, text)
    return text


def _mask(match: re.Match[str]) -> str:
    """Return blanks of the same length."""
    return " " * len(match[0])
