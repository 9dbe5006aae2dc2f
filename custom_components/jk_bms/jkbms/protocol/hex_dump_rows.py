"""The rows of a hex dump: bytes, and the offsets, labels, counts and text beside them.

All steps take linear time.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
import re
from typing import Final, NamedTuple

from .frames import FRAME_SIZE, HEADER
from .markup import without_markup

_MAX_COLUMNS: Final = 96
"""Maximum numbers on one line of a hex dump, including what its text column looks like."""
_BORDER: Final = " \t\r\n|"
"""Characters around the column of text."""
_MAX_BORDER: Final = 80
"""Maximum characters after the last number: the rest of the column and its border."""
_MAX_GROUP: Final = 8
"""Maximum digits of one number in a hex dump that groups bytes; longer ones stand alone."""
_MIN_ROW: Final = 8
"""Minimum bytes per row of a hex dump with an asterisk, which could stand for many rows."""
_MIN_OFFSETS: Final = 4
"""Consecutive rows whose first number counts the bytes: no data do that by chance."""
_MAX_LABELS: Final = 8
"""Maximum numbers before the bytes of a line: line number, handle, address, byte count."""
_GROUPS: Final = frozenset({4, 8})
"""Digits of numbers that a little-endian machine prints with the low byte last."""
HEADER_DIGITS: Final = HEADER.hex()
_FRAME_START: Final = HEADER[1:].hex()
"""The rest of a header that has lost its first byte."""


class Word(NamedTuple):
    """A number and its place."""

    begin: int
    end: int
    digits: str
    """Hexadecimal digits; an odd count if the text was wrapped within a byte."""


@dataclass(slots=True)
class Run:
    """Consecutive numbers on one line, with the same separator between any two."""

    words: list[Word]
    is_wide: bool
    """Whether the numbers have several bytes each."""
    separator: str = ""
    """Empty for a single number."""
    is_data: bool = False
    """Whether it must be data: only data is that long, or it holds a header."""

    @property
    def size(self) -> int:
        """Number of bytes, including those with a missing digit."""
        if not self.is_wide:
            return len(self.words)
        return sum((len(word.digits) + 1) // 2 for word in self.words)

    @property
    def is_grouped(self) -> bool:
        """Whether it is a row of a hex dump with some bytes per number."""
        return len(self.words) > 1 and 2 < len(self.words[0].digits) <= _MAX_GROUP

    @property
    def digits(self) -> str:
        """All digits, each byte with two."""
        width = 1 if self.is_wide else 2
        return "".join(word.digits.zfill(width) for word in self.words)


@dataclass(slots=True)
class Line:
    """One line and its runs."""

    begin: int
    end: int
    runs: list[Run]


_OFFSET: Final = re.compile(r"\s*([0-9A-Fa-f]+)\b")


def with_omitted_rows(text: str, lines: Sequence[Line]) -> list[Line]:
    """Return the lines, with the rows of a hex dump that an asterisk stands for.

    Each equals the previous row, except for its offset.
    """
    stars = [text[line.begin : line.end].strip() == "*" for line in lines]
    if not any(stars):
        return [*lines]
    offsets = [_OFFSET.match(text, line.begin, line.end) for line in lines]
    base, size = max(
        (_row_size(lines, offsets, base) for base in (16, 10, 8)),
        key=lambda found: found[0],
    )[1]
    expanded: list[Line] = []
    for number, (line, is_star) in enumerate(zip(lines, stars, strict=True)):
        if not is_star:
            expanded.append(line)
            continue
        around = offsets[max(0, number - 1)], offsets[min(number + 1, len(lines) - 1)]
        first, last = (_value(match[1], base) if match else None for match in around)
        if first is None or last is None or size < _MIN_ROW:
            continue
        if not 0 < last - first <= FRAME_SIZE + size or (last - first) % size:
            continue
        expanded += [
            _moved(lines[number - 1], around[0], offset, base)
            for offset in range(first + size, last, size)
        ]
    return expanded


def _row_size(
    lines: Sequence[Line], offsets: Sequence[re.Match[str] | None], base: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how well a base explains the offsets, and the bytes of a row in that base."""
    steps = Counter[int]()
    fits = 0
    for line, (match, following) in zip(lines, pairwise(offsets), strict=False):
        if not (match and following and len(match[1]) == len(following[1])):
            continue
        here, there = _value(match[1], base), _value(following[1], base)
        if here is None or there is None or there <= here:
            continue
        steps[there - here] += 1
        words = [
            word for run in line.runs for word in run.words if word.begin >= match.end()
        ]
        fits += sum((len(word.digits) + 1) // 2 for word in words) == there - here
    size, count = max(steps.items(), key=lambda step: step[1], default=(1, 0))
    return (fits, count), (base, size)


def _moved(line: Line, printed: re.Match[str] | None, offset: int, base: int) -> Line:
    """Return a row of a hex dump as if it stood at this offset."""
    code = {8: "o", 10: "d", 16: "x"}[base]
    runs = []
    for run in line.runs:
        words = [*run.words]
        if printed and words[0].begin == printed.start(1):
            digits = format(offset, f"0{len(printed[1])}{code}")
            words[0] = words[0]._replace(digits=digits)
        runs.append(replace(run, words=words))
    return Line(line.begin, line.end, runs)


def drop_text_column(text: str, line_end: int, run: Run) -> None:
    """Drop what follows the data if it shows the same bytes as characters."""
    if len(run.words) > _MAX_COLUMNS:
        return
    size = run.size
    end = min(line_end, run.words[-1].end + size + _MAX_BORDER)
    column_end = run.words[-1].end + len(text[run.words[-1].end : end].rstrip(_BORDER))
    shown: tuple[str, ...] = ()
    for count in range(len(run.words) - 1, 0, -1):
        size -= len(run.words[count].digits) // 2 if run.is_wide else 1
        if column_end - run.words[count].begin > size:
            # Longer than the text of these bytes, and even more so with fewer words
            return
        shown = shown or (_shown(run.words), _shown(swapped(run.words)))
        column = text[run.words[count - 1].end : column_end].lstrip(_BORDER)
        if any(column == each[:size].strip(_BORDER) for each in shown):
            del run.words[count:]
            return


def _shown(words: Sequence[Word]) -> str:
    """Return the bytes as the column of text of a hex dump shows them."""
    digits = "".join(word.digits.zfill(2) for word in words)
    data = bytes.fromhex(digits[: len(digits) // 2 * 2])
    shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    # The text of the dump was masked in the same way
    return without_markup(shown)


def is_group(word: Word) -> bool:
    """Return whether a number has two or four bytes."""
    return len(word.digits) in _GROUPS


def swapped(words: Sequence[Word]) -> list[Word]:
    """Return numbers of two or four bytes with the last byte first."""
    return [
        word._replace(digits=bytes.fromhex(word.digits)[::-1].hex())
        if is_group(word)
        else word
        for word in words
    ]


def drop_offsets(runs: Sequence[Run]) -> None:
    """Drop the first number of each run if it counts the bytes before it."""
    counted = set[int]()
    for base in (16, 10, 8):
        starts = [_value(run.words[0].digits, base) for run in runs]
        chain: list[int] = []
        for number, (start, following) in enumerate(pairwise(starts)):
            run = runs[number]
            size = run.size - (len(run.words[0].digits) + 1) // 2
            if start is not None and size and following == start + size:
                chain.append(number)
                continue
            if len(chain) >= _MIN_OFFSETS:
                counted |= {*chain, number}
            chain = []
        if len(chain) >= _MIN_OFFSETS:
            counted |= {*chain, len(runs) - 1}
    for number in counted:
        del runs[number].words[0]


def drop_labels(lines: Sequence[Line]) -> None:
    """Drop the labels at the start of each line: its number, a handle, its byte count.

    If a line begins with a frame, it has no labels.
    """
    runs = [line.runs[0] for line in lines if line.runs]
    for _ in range(_MAX_LABELS):
        runs = [run for run in runs if run.words]
        starts = [digits for run in runs if _FRAME_START in (digits := run.digits)]
        is_bare = any(each.startswith((HEADER_DIGITS, _FRAME_START)) for each in starts)
        if is_bare or not starts or len(runs) < 2:
            return
        labels = [run.words[0].digits for run in runs]
        sizes = [len(run.words) - 1 for run in runs]
        numbers = [[_value(label, base) for label in labels] for base in (10, 16)]
        is_counted = sizes in numbers or any(map(_is_count, numbers))
        if not is_counted and len({*labels}) > 1:
            return
        for run in runs:
            del run.words[0]


_COUNT_BEFORE: Final = re.compile(r"\b([0-9]+)[^\w\n]{1,4}$")
_COUNT_BEHIND: Final = re.compile(r"[^\w\n]{1,4}([0-9]+)\b")
_COUNT_WIDTH: Final = 10
"""Characters next to the data that may contain their count."""


def drop_counts(text: str, lines: Sequence[Line]) -> None:
    """Drop the byte count that stands on each line, before or after the bytes.

    On long lines it has three digits, so it cannot be mistaken for a byte.
    """
    lines = [line for line in lines if line.runs and line.runs[0].words]
    if len(lines) < 2:
        return
    for place in (0, -1):
        counted = []
        for line in lines:
            run = line.runs[0]
            begin, end = run.words[0].begin, run.words[-1].end
            if place:
                match = _COUNT_BEHIND.match(
                    text, end, min(line.end, end + _COUNT_WIDTH)
                )
            else:
                match = _COUNT_BEFORE.search(
                    text[max(line.begin, begin - _COUNT_WIDTH) : begin]
                )
            if match and int(match[1]) == run.size:
                continue
            if _value(run.words[place].digits, 10) != run.size - 1:
                break
            counted.append(run)
        else:
            for run in counted:
                del run.words[place]
            return


def _is_count(numbers: Sequence[int | None]) -> bool:
    """Whether each number is one greater than the last one."""
    first = numbers[0]
    return first is not None and [*numbers] == [*range(first, first + len(numbers))]


def _value(digits: str, base: int) -> int | None:
    try:
        return int(digits, base)
    except ValueError:
        return None
