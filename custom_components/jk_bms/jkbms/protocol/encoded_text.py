"""Read the bytes that a text holds as string literals or in base64. All take linear time."""

from base64 import b64decode
from collections.abc import Iterator, Sequence
import re
from typing import Final, NamedTuple

_MIN_BASE64: Final = 24
"""Characters, which are 18 bytes: words of prose are shorter."""
_BASE64_ALPHABETS: Final = (b"+/", b"-_")
"""The last two characters: of base64, and of its variant for URLs."""
_OPENING_QUOTES: Final = (re.compile(r"\bb[\"']"), re.compile('"'), re.compile("'"))
_CONTENT: Final = {
    quote: re.compile(rf"(?:[^\\{quote}]+|\\.)*+", re.DOTALL) for quote in "\"'"
}
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9A-Fa-f]{2})|u00([0-9A-Fa-f]{2})|u\{([0-9A-Fa-f]{1,2})\}"
    r"|([0-7]{1,3})|(.))",
)
_NAMED_ESCAPES: Final = dict(zip("abtnvfre", "\a\b\t\n\v\f\r\x1b", strict=True))


class Chunk(NamedTuple):
    """Bytes, and where they stand in the text."""

    begin: int
    end: int
    data: bytes


type Reading = Sequence[Chunk]
"""The bytes of a text in one notation."""


def literals(text: str) -> Iterator[Reading]:
    """Yield the byte strings of Python, then all strings with escapes of each quote."""
    for opening in _OPENING_QUOTES:
        chunks = []
        position = 0
        while match := opening.search(text, position):
            content = _CONTENT[match[0][-1]].match(text, match.end())
            assert content
            position = content.end() + 1
            if match[0][0] == "b" or "\\" in content[0]:
                # A line break inside a literal is where the text was wrapped
                literal = content[0].replace("\r", "").replace("\n", "")
                data = _ESCAPE.sub(_unescape, literal).encode("latin-1", "replace")
                chunks.append(Chunk(match.start(), content.end(), data))
        yield chunks


def _unescape(match: re.Match[str]) -> str:
    *hexadecimal, octal, other = match.groups()
    for digits in filter(None, hexadecimal):
        return chr(int(digits, 16))
    if octal:
        return chr(int(octal, 8) & 0xFF)
    return _NAMED_ESCAPES.get(other, str(other))


def base64(text: str) -> Iterator[Reading]:
    """Yield the long words of each alphabet, and its short ones alone on a line."""
    for alphabet in _BASE64_ALPHABETS:
        yield [
            Chunk(match.start(), match.end(), _decode_base64(match[0], alphabet))
            for match in _base64_words(alphabet).finditer(text)
        ]


def _base64_words(alphabet: bytes) -> re.Pattern[str]:
    """Return what finds long words, and short ones that are a line of their own."""
    one = f"[A-Za-z0-9{re.escape(alphabet.decode())}]"
    return re.compile(
        rf"{one}{{{_MIN_BASE64},}}"
        rf"|^(?:{one}{{4}}){{0,5}}(?:{one}{{2}}==|{one}{{3}}=|{one}{{4}})(?=\r?$)",
        re.MULTILINE,
    )


def _decode_base64(word: str, alphabet: bytes) -> bytes:
    word = word.rstrip("=")
    # A single character behind the last group holds no byte
    word = word[:-1] if len(word) % 4 == 1 else word
    return b64decode(word + "=" * (-len(word) % 4), alphabet)
