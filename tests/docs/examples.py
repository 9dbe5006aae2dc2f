"""The examples of the documentation: what stands in fenced blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
import re
import shlex
from textwrap import dedent
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
_INLINE: Final = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str


def blocks(*languages: str) -> Iterator[Block]:
    """Yield the blocks in these languages, all without any."""
    for page in PAGES:
        for found in _BLOCK.finditer(page.read_text()):
            if not languages or found["language"] in languages:
                yield Block(page.name, found["language"], dedent(found["text"]))


def inline() -> Iterator[tuple[str, str]]:
    """Yield each code within the text, with its page; line breaks are blanks."""
    for page in PAGES:
        for found in _INLINE.findall(_BLOCK.sub("", page.read_text())):
            yield page.name, " ".join(found.split())


def queries() -> Iterator[tuple[str, str]]:
    """Yield each selector of PromQL, with its page; `…` stands for something."""
    for page, code in inline():
        if re.fullmatch(r"[\w:]+\{\w+[^…]+\}", code):
            yield page, code


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield each command line that is shown, with its page; comments are dropped.

    Within the text, only those of this project, with options.
    """
    for page, code in inline():
        if re.match(r"(jkbms|scripts/\w+) ", code):
            yield page, shlex.split(code.replace("ADDRESS", "A4:C1:38:12:34:56"))
    for block in blocks("console"):
        for line in block.text.splitlines():
            if line.startswith("$ "):
                words = shlex.split(line[2:], comments=True)
                yield block.page, words[: _redirection(words)]


def _redirection(words: list[str]) -> int:
    return next((n for n, word in enumerate(words) if word in {">", "|"}), len(words))
