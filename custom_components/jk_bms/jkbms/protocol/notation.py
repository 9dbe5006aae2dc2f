"""Read the bytes in a text, in any notation of numbers (strings: `encoded_text`).

Lines contain more than data: times, offsets, addresses, a column of text. Numbers with the
same separator between any two of them are a run. These runs of a line are data:

- each run of 20 bytes or more, and each run that holds the header of a frame;
- a shorter run if it is where other lines have such a run, or where the last data began.

Only the header of a frame is known here. All steps take linear time.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
import re
from typing import Final

from .encoded_text import Chunk, Reading, base64, literals
from .frames import COMMAND_SIZE
from .hex_dump_rows import (
    HEADER_DIGITS,
    Line,
    Run,
    Word,
    drop_counts,
    drop_labels,
    drop_offsets,
    drop_text_column,
    is_group,
    swapped,
    with_omitted_rows,
)
from .markup import without_markup

_MAX_STYLES: Final = 4
"""Maximum separators to try, those with the most bytes first."""
_MAX_SEPARATOR: Final = 5
"""Maximum characters between two bytes; `", "` with both quotes are four."""
_DIGITS: Final = re.compile("[0-9A-Fa-f]+")
_LABEL_SOURCE: Final = 16
_LABEL_SIZE: Final = 6
"""Characters of a label before the data; a number of any length counts as one."""


def readings(text: str) -> Iterator[Reading]:
    """Yield the bytes of a text in each notation that could hold a frame."""
    yield from literals(text)
    masked = without_markup(text)
    for notation in _NOTATIONS:
        if notation.sign.search(masked):
            yield from notation.readings(masked)
    yield from base64(text)


def readings_of_bytes(text: str) -> Iterator[Reading]:
    """Yield the bytes of a text in the usual notations, whether or not it could hold a frame."""
    yield from literals(text)
    yield from _NOTATIONS[0].readings(without_markup(text))


@dataclass(frozen=True, slots=True)
class _Notation:
    """Bytes as numbers of one base."""

    base: int
    sign: re.Pattern[str]
    """Text that must occur for the header of a frame to be present."""
    word: re.Pattern[str]
    """A word. Its group is a number of `size` bytes; in base 16 it may have any length."""
    size: int = 1

    def readings(self, text: str) -> Iterator[Reading]:
        """Yield the text with each of the separators that are used the most."""
        lines = []
        begin = 0
        for part in text.splitlines(keepends=True):
            end = begin + len(part)
            lines.append(Line(begin, end, self._runs(text, begin, end)))
            begin = end
        lines = with_omitted_rows(text, lines)
        sizes = Counter[str | None]()
        for line in lines:
            for run in line.runs:
                sizes[None if run.is_wide else run.separator] += run.size
        del sizes[""]
        for style, _ in sizes.most_common(_MAX_STYLES) or [("", 0)]:
            yield from _read(text, lines, style)

    def _runs(self, text: str, begin: int, end: int) -> list[Run]:
        """Return the runs of a line."""
        runs: list[Run] = []
        run: Run | None = None
        for match in self.word.finditer(text, begin, end):
            if not (match[1] and (digits := self._digits(match[1]))):
                run = None
                continue
            word = Word(*match.span(), digits)
            is_wide = len(digits) > 2
            # The last number of a row may be a single byte
            is_last = run is not None and run.is_grouped and len(digits) == 2
            if run and (run.is_wide is is_wide or is_last):
                last = run.words[-1]
                separator = text[last.end : word.begin].strip() or " "
                is_close = len(separator) <= _MAX_SEPARATOR
                if is_close and run.separator in ("", separator):
                    run.separator = separator
                    run.words.append(word)
                    continue
                if is_close and len(run.words) == 2:
                    first = run.words[0]
                    gaps = last.begin - first.end, word.begin - last.end
                    is_tighter = gaps[0] == gaps[1] and run.separator == " "
                    if gaps[0] > gaps[1] or is_tighter:
                        # `0: 55 AA` or `0 55:AA`: the second belongs to those after it
                        runs[-1] = Run([first], run.is_wide)
                        run = Run([last, word], run.is_wide, separator)
                        runs.append(run)
                        continue
            run = Run([word], is_wide)
            runs.append(run)
        for run in runs:
            run.is_data = run.size >= COMMAND_SIZE or HEADER_DIGITS in run.digits
        return runs

    def _digits(self, number: str) -> str:
        """Return a number in base 16, empty if it is not a byte."""
        if self.base == 16:
            return number.lower()
        value, limit = int(number, self.base), 1 << 8 * self.size
        is_number = -limit // 2 <= value < limit
        return f"{value % limit:0{2 * self.size}x}" if is_number else ""


_NOTATIONS: Final = (
    _Notation(
        16,
        re.compile("e.{0,8}b", re.IGNORECASE | re.DOTALL),
        re.compile(r"([0-9A-Fa-f]++)(?!\w)|\w+"),
    ),
    _Notation(
        10,
        re.compile("235|-21"),
        re.compile(r"((?<!\w)-?[0-9]{1,3}(?!\w))|\w+"),
    ),
    _Notation(8, re.compile("353"), re.compile(r"([0-7]{3}(?!\w))|\w+")),
    # od without an option, and od -d: the low byte of each number comes first
    _Notation(8, re.compile("125125"), re.compile(r"([0-7]{6}(?!\w))|\w+"), size=2),
    _Notation(10, re.compile("43605"), re.compile(r"([0-9]{1,5}(?!\w))|\w+"), size=2),
    _Notation(2, re.compile("11101011"), re.compile(r"([01]{8}(?!\w))|\w+")),
)


def _read(text: str, lines: Sequence[Line], style: str | None) -> Iterator[Reading]:
    """Yield the data of all lines; the style is a separator, `None` for wide numbers."""
    rows = [
        [
            run
            for run in line.runs
            if (run.is_wide if style is None else run.separator in ("", style))
            and run.is_wide is (style is None)
        ]
        for line in lines
    ]
    selection = [*_select(lines, rows)]
    labelled = [*_select_labelled(text, lines, rows)]
    is_wide = style is None
    # The stricter one first: one in 256 wrong frames has a correct checksum by chance
    if labelled != selection:
        yield from _read_selection(text, lines, labelled, is_wide)
    yield from _read_selection(text, lines, selection, is_wide)


def _read_selection(
    text: str, lines: Sequence[Line], selection: Sequence[list[Run]], is_wide: bool
) -> Iterator[Reading]:
    """Yield the data of some runs of each line, without the text beside them."""
    data = [
        Line(line.begin, line.end, [replace(run, words=[*run.words]) for run in runs])
        for line, runs in zip(lines, selection, strict=True)
    ]
    for line in data:
        for run in line.runs:
            drop_text_column(text, line.end, run)
    drop_offsets([run for line in data for run in line.runs])
    drop_labels(data)
    drop_counts(text, data)
    words = [*_words(data)]
    yield _chunks(words)
    if is_wide and 2 * sum(map(is_group, words)) > len(words):
        # hexdump and gdb print words of two or four bytes, the low one last
        yield _chunks(swapped(words))


def _select(
    lines: Sequence[Line], rows: Sequence[Sequence[Run]]
) -> Iterator[list[Run]]:
    """Yield the runs of each line that are data."""
    sizes = Counter[tuple[int, int]]()
    places = set[tuple[int, int]]()
    for row in rows:
        for number, run in enumerate(row):
            sizes[len(row), number] += run.size
            if run.is_data:
                places.add((len(row), number))
    # Rows of a few bytes each, with the header on several of them
    is_split = not places
    places = places or {place for place, _ in sizes.most_common(1)}
    column = -1
    for line, row in zip(lines, rows, strict=True):
        data = [run for run in row if run.is_data]
        if not data:
            data = [
                run
                for number, run in enumerate(row)
                if run.words[0].begin - line.begin == column
                or (
                    (len(row), number) in places
                    and (run.separator or run.is_wide or is_split)
                )
            ][:1]
        if data:
            column = data[0].words[0].begin - line.begin
        yield data


def _select_labelled(
    text: str, lines: Sequence[Line], rows: Sequence[Sequence[Run]]
) -> Iterator[list[Run]]:
    """Yield the runs of each line that are data, or have the same text before them."""

    def label(line: Line, run: Run) -> str:
        begin = run.words[0].begin
        before = text[max(line.begin, begin - _LABEL_SOURCE) : begin]
        return _DIGITS.sub("0", before)[-_LABEL_SIZE:]

    labels = {
        label(line, run)
        for line, row in zip(lines, rows, strict=True)
        for run in row
        if run.is_data
    }
    for line, row in zip(lines, rows, strict=True):
        yield [run for run in row if run.is_data or label(line, run) in labels]


def _words(lines: Sequence[Line]) -> Iterator[Word]:
    """Yield each word of wide numbers, and each run of others as one word."""
    runs = [run for line in lines for run in line.runs if not run.is_wide]
    is_unpadded = all(len(run.words) < 2 for run in runs) or any(
        len(word.digits) == 1 for run in runs for word in run.words[1:-1]
    )
    for run in (run for line in lines for run in line.runs if run.words):
        if run.is_wide:
            yield from run.words
        else:
            # Otherwise a single digit at either end is half of a byte
            halves = "".join(word.digits for word in run.words)
            digits = run.digits if is_unpadded else halves
            yield Word(run.words[0].begin, run.words[-1].end, digits)


def _chunks(words: Sequence[Word]) -> Reading:
    """Return the bytes; two successive halves of a byte are joined."""
    chunks = []
    half: Word | None = None
    for word in words:
        if half and len(word.digits) % 2:
            word = Word(half.begin, word.end, half.digits + word.digits)
            half = None
        elif half:
            chunks += _padded(half)
            half = None
        if len(word.digits) % 2:
            half = word
        else:
            chunks.append(Chunk(word.begin, word.end, bytes.fromhex(word.digits)))
    return chunks + (_padded(half) if half else [])


def _padded(half: Word) -> list[Chunk]:
    """Return a single digit as a byte; other odd numbers of digits are not bytes."""
    if len(half.digits) > 1:
        return []
    return [Chunk(half.begin, half.end, bytes.fromhex(half.digits.zfill(2)))]
