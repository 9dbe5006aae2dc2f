"""Read bytes from string literals or base64 in a text. All functions take linear time."""

from base64 import b64decode
from collections.abc import Iterator, Sequence
import re
from typing import Final, NamedTuple

_MIN_BASE64: Final = 24
"""Characters, for 18 bytes: words of prose are shorter."""
_BASE64_ALPHABETS: Final = (b"+/", b"-_")
"""The last two characters of base64 and of its variant for URLs."""
_BYTE_STRING: Final = re.compile(r"\bb[\"']")
_DOUBLE_QUOTE: Final = re.compile('"')
_SINGLE_QUOTE: Final = re.compile("'")
_CONTENT: Final = {
    quote: re.compile(rf"(?:[^\\{quote}]+|\\.)*+", re.DOTALL) for quote in "\"'"
}
_QUOTED: Final = re.compile(r"\\([\\\"])")
"""A backslash or a quote in a string of JSON."""
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9A-Fa-f]{2})|u00([0-9A-Fa-f]{2})|u\{([0-9A-Fa-f]{1,2})\}"
    r"|([0-7]{1,3})|(.))",
)
_NAMED_ESCAPES: Final = dict(zip("abtnvfre", "\a\b\t\n\v\f\r\x1b", strict=True))


class Chunk(NamedTuple):
    """Bytes and their place in the text."""

    begin: int
    end: int
    data: bytes


type Reading = Sequence[Chunk]
"""The bytes of a text in one notation."""


def literals(text: str) -> Iterator[Reading]:
    """Yield the byte strings of Python, then all strings with escapes of each quote.

    A log in JSON has the byte strings within strings.
    """
    yield [
        Chunk(begin, end, _unescaped(content))
        for begin, end, content in _strings(text, _BYTE_STRING)
    ]
    yield [
        Chunk(begin, end, _unescaped(inner))
        for begin, end, content in _strings(text, _DOUBLE_QUOTE)
        if "b'" in content or 'b\\"' in content
        for _, _, inner in _strings(_QUOTED.sub(r"\1", content), _BYTE_STRING)
    ]
    for opening in (_DOUBLE_QUOTE, _SINGLE_QUOTE):
        yield [
            Chunk(begin, end, _unescaped(content))
            for begin, end, content in _strings(text, opening)
            if "\\" in content
        ]


def _strings(text: str, opening: re.Pattern[str]) -> Iterator[tuple[int, int, str]]:
    """Yield begin, end and content of each string."""
    position = 0
    while match := opening.search(text, position):
        content = _CONTENT[match[0][-1]].match(text, match.end())
        assert content
        position = content.end() + 1
        yield match.start(), content.end(), content[0]


def _unescaped(content: str) -> bytes:
    # A line break inside a literal comes from wrapping the text
    literal = content.replace("\r", "").replace("\n", "")
    return _ESCAPE.sub(_unescape, literal).encode("latin-1", "replace")


def _unescape(match: re.Match[str]) -> str:
    *hexadecimal, octal, other = match.groups()
    for digits in filter(None, hexadecimal):
        return chr(int(digits, 16))
    if octal:
        return chr(int(octal, 8) & 0xFF)
    return _NAMED_ESCAPES.get(other, str(other))


def base64(text: str) -> Iterator[Reading]:
    """Yield the words of each alphabet: long ones, and short ones alone on a line."""
    for alphabet in _BASE64_ALPHABETS:
        yield [
            Chunk(match.start(), match.end(), _decode_base64(match[0], alphabet))
            for match in _base64_words(alphabet).finditer(text)
        ]


def _base64_words(alphabet: bytes) -> re.Pattern[str]:
    """Return a pattern for long words, and for short ones alone on a line."""
    one = f"[A-Za-z0-9{re.escape(alphabet.decode())}]"
    return re.compile(
        rf"{one}{{{_MIN_BASE64},}}"
        rf"|^[ \t]*+(?:{one}{{4}}){{0,5}}(?:{one}{{2}}==|{one}{{3}}=|{one}{{4}})(?=\r?$)",
        re.MULTILINE,
    )


def _decode_base64(word: str, alphabet: bytes) -> bytes:
    word = word.strip().rstrip("=")
    # A single character after the last group holds no byte
    word = word[:-1] if len(word) % 4 == 1 else word
    return b64decode(word + "=" * (-len(word) % 4), alphabet)
