"""Read the bytes in a text, in any notation of numbers (strings: `encoded_text`).

Lines hold more than data: times, offsets, addresses, a column of text. Numbers with the
same separator between any two of them are a run. Of each line, these runs are data:

- each run of 20 bytes or more, and each run that holds the header of a frame;
- a shorter run if it is where other lines have such a run, or where the last data began.

Nothing is known of frames but their header. All steps take linear time.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
import re
from typing import Final, NamedTuple

from .encoded_text import Chunk, Reading, base64, literals
from .frames import COMMAND_SIZE, FRAME_SIZE, HEADER
from .markup import without_markup

_MAX_STYLES: Final = 4
"""Separators that are tried, those with the most bytes first."""
_MAX_SEPARATOR: Final = 5
"""Characters between two bytes; `", "` with both quotes are four."""
_MAX_COLUMNS: Final = 96
"""Numbers on one line of a hex dump, those that its column of text looks like included."""
_BORDER: Final = " \t\r\n|"
"""What stands around the column of text."""
_MAX_BORDER: Final = 80
"""Characters behind the last number: the rest of the column, and what stands around it."""
_MAX_GROUP: Final = 8
"""Digits of one number in a hex dump that groups bytes; longer ones stand alone."""
_MIN_OFFSETS: Final = 4
"""Rows in a row whose first number counts the bytes: no data do that by chance."""
_MAX_LABELS: Final = 8
"""Numbers in front of the bytes of a line: its own, a handle, an address, the count of bytes."""
_SWAPPED: Final = frozenset({4, 8})
"""Digits of numbers that a little-endian machine prints with the low byte last."""
_DIGITS: Final = re.compile("[0-9A-Fa-f]+")
_LABEL_SOURCE: Final = 16
_LABEL_SIZE: Final = 6
"""Characters in front of data that say what they are, numbers of any length as one."""
_HEADER_DIGITS: Final = HEADER.hex()
_FRAME_START: Final = HEADER[1:].hex()
"""What is left of a header that has lost its first byte."""


def readings(text: str) -> Iterator[Reading]:
    """Yield what a text says in each notation that could hold a frame."""
    yield from literals(text)
    masked = without_markup(text)
    for notation in _NOTATIONS:
        if notation.sign.search(masked):
            yield from notation.readings(masked)
    yield from base64(text)


def readings_of_bytes(text: str) -> Iterator[Reading]:
    """Yield what a text says in the usual notations, whether it could hold a frame."""
    yield from literals(text)
    yield from _NOTATIONS[0].readings(without_markup(text))


class _Word(NamedTuple):
    """A number, and where it stands."""

    begin: int
    end: int
    digits: str
    """Hexadecimal; an odd count where the text was wrapped within a byte."""


@dataclass(slots=True)
class _Run:
    """Numbers in a row on one line, with the same separator between any two."""

    words: list[_Word]
    is_wide: bool
    """Whether the numbers have several bytes each."""
    separator: str = ""
    """Empty for a single number."""
    is_data: bool = False
    """Whether nothing but data is that long, or it holds a header."""

    @property
    def size(self) -> int:
        """Bytes, those of which a digit is missing included."""
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
class _Line:
    """One line, and its runs."""

    begin: int
    end: int
    runs: list[_Run]


@dataclass(frozen=True, slots=True)
class _Notation:
    """Bytes as numbers of one base."""

    base: int
    sign: re.Pattern[str]
    """What a text must contain to hold the header of a frame."""
    word: re.Pattern[str]
    """A word; its group is a number of `size` bytes, with base 16 of any number of digits."""
    size: int = 1

    def readings(self, text: str) -> Iterator[Reading]:
        """Yield the text with each of the separators that are used the most."""
        lines = []
        begin = 0
        for part in text.splitlines(keepends=True):
            end = begin + len(part)
            lines.append(_Line(begin, end, self._runs(text, begin, end)))
            begin = end
        lines = _with_omitted_rows(text, lines)
        sizes = Counter[str | None]()
        for line in lines:
            for run in line.runs:
                sizes[None if run.is_wide else run.separator] += run.size
        del sizes[""]
        for style, _ in sizes.most_common(_MAX_STYLES) or [("", 0)]:
            yield from _read(text, lines, style)

    def _runs(self, text: str, begin: int, end: int) -> list[_Run]:
        """Return the runs of a line."""
        runs: list[_Run] = []
        run: _Run | None = None
        for match in self.word.finditer(text, begin, end):
            if not (match[1] and (digits := self._digits(match[1]))):
                run = None
                continue
            word = _Word(*match.span(), digits)
            is_wide = len(digits) > 2
            # The last number of a row may have a single byte
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
                        # `0: 55 AA` or `0 55:AA`: the second belongs to those behind it
                        runs[-1] = _Run([first], run.is_wide)
                        run = _Run([last, word], run.is_wide, separator)
                        runs.append(run)
                        continue
            run = _Run([word], is_wide)
            runs.append(run)
        for run in runs:
            run.is_data = run.size >= COMMAND_SIZE or _HEADER_DIGITS in run.digits
        return runs

    def _digits(self, number: str) -> str:
        """Return a number in base 16, empty for one that is no byte."""
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
    # od without an option, and od -d: the low byte of each number first
    _Notation(8, re.compile("125125"), re.compile(r"([0-7]{6}(?!\w))|\w+"), size=2),
    _Notation(10, re.compile("43605"), re.compile(r"([0-9]{1,5}(?!\w))|\w+"), size=2),
    _Notation(2, re.compile("11101011"), re.compile(r"([01]{8}(?!\w))|\w+")),
)


_OFFSET: Final = re.compile(r"\s*([0-9A-Fa-f]+)\b")


def _with_omitted_rows(text: str, lines: Sequence[_Line]) -> list[_Line]:
    """Return the lines with the rows of a hex dump for which an asterisk stands.

    Each is equal to the row before it, but for its offset.
    """
    stars = [text[line.begin : line.end].strip() == "*" for line in lines]
    if not any(stars):
        return [*lines]
    offsets = [_OFFSET.match(text, line.begin, line.end) for line in lines]
    base, size = max(
        (_row_size(lines, offsets, base) for base in (16, 10, 8)),
        key=lambda found: found[0],
    )[1]
    expanded: list[_Line] = []
    for number, (line, is_star) in enumerate(zip(lines, stars, strict=True)):
        if not is_star:
            expanded.append(line)
            continue
        around = offsets[max(0, number - 1)], offsets[min(number + 1, len(lines) - 1)]
        first, last = (_value(match[1], base) if match else None for match in around)
        if first is None or last is None or not 0 < last - first <= 2 * FRAME_SIZE:
            continue
        expanded += [
            _moved(lines[number - 1], around[0], offset, base)
            for offset in range(first + size, last, size)
        ]
    return expanded


def _row_size(
    lines: Sequence[_Line], offsets: Sequence[re.Match[str] | None], base: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how well a base explains the offsets, and with it the bytes of a row."""
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


def _moved(line: _Line, printed: re.Match[str] | None, offset: int, base: int) -> _Line:
    """Return a row of a hex dump as if it stood at this offset."""
    code = {8: "o", 10: "d", 16: "x"}[base]
    runs = []
    for run in line.runs:
        words = [*run.words]
        if printed and words[0].begin == printed.start(1):
            digits = format(offset, f"0{len(printed[1])}{code}")
            words[0] = words[0]._replace(digits=digits)
        runs.append(replace(run, words=words))
    return _Line(line.begin, line.end, runs)


def _read(text: str, lines: Sequence[_Line], style: str | None) -> Iterator[Reading]:
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
    # The stricter one first: of 256 wrong frames, one has the right checksum by chance
    if labelled != selection:
        yield from _read_selection(text, lines, labelled, is_wide)
    yield from _read_selection(text, lines, selection, is_wide)


def _read_selection(
    text: str, lines: Sequence[_Line], selection: Sequence[list[_Run]], is_wide: bool
) -> Iterator[Reading]:
    """Yield the data of some runs of each line, without what is printed beside them."""
    data = [
        _Line(line.begin, line.end, [replace(run, words=[*run.words]) for run in runs])
        for line, runs in zip(lines, selection, strict=True)
    ]
    for line in data:
        for run in line.runs:
            _drop_text_column(text, line.end, run)
    _drop_offsets([run for line in data for run in line.runs])
    _drop_labels(data)
    words = [*_words(data)]
    yield _chunks(words)
    if is_wide and all(len(word.digits) <= _MAX_GROUP for word in words):
        # hexdump and gdb print words of two or four bytes, the low one last
        yield _chunks(_swapped(words))


def _select(
    lines: Sequence[_Line], rows: Sequence[Sequence[_Run]]
) -> Iterator[list[_Run]]:
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
    text: str, lines: Sequence[_Line], rows: Sequence[Sequence[_Run]]
) -> Iterator[list[_Run]]:
    """Yield the runs of each line that are data, or have the same text in front."""

    def label(line: _Line, run: _Run) -> str:
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


def _drop_text_column(text: str, line_end: int, run: _Run) -> None:
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
            # Longer than what it would show, and the more so with fewer words
            return
        shown = shown or (_shown(run.words), _shown(_swapped(run.words)))
        column = text[run.words[count - 1].end : column_end].lstrip(_BORDER)
        if any(column == each[:size].strip(_BORDER) for each in shown):
            del run.words[count:]
            return


def _shown(words: Sequence[_Word]) -> str:
    """Return the bytes as the column of text of a hex dump shows them."""
    digits = "".join(word.digits.zfill(2) for word in words)
    data = bytes.fromhex(digits[: len(digits) // 2 * 2])
    shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    # The text has been masked as well
    return without_markup(shown)


def _swapped(words: Sequence[_Word]) -> list[_Word]:
    """Return numbers of two or four bytes with the last byte first."""
    return [
        word._replace(digits=bytes.fromhex(word.digits)[::-1].hex())
        if len(word.digits) in _SWAPPED
        else word
        for word in words
    ]


def _drop_offsets(runs: Sequence[_Run]) -> None:
    """Drop the first number of each run where it counts the bytes before it."""
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


def _drop_labels(lines: Sequence[_Line]) -> None:
    """Drop what each line begins with: its number, a handle, the count of its bytes.

    Where a line begins with a frame, nothing stands in front of the bytes.
    """
    runs = [line.runs[0] for line in lines if line.runs]
    for _ in range(_MAX_LABELS):
        runs = [run for run in runs if run.words]
        starts = [digits for run in runs if _FRAME_START in (digits := run.digits)]
        is_bare = any(
            each.startswith((_HEADER_DIGITS, _FRAME_START)) for each in starts
        )
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


def _is_count(numbers: Sequence[int | None]) -> bool:
    """Whether each number is by one greater than the last one."""
    first = numbers[0]
    return first is not None and [*numbers] == [*range(first, first + len(numbers))]


def _value(digits: str, base: int) -> int | None:
    try:
        return int(digits, base)
    except ValueError:
        return None


def _words(lines: Sequence[_Line]) -> Iterator[_Word]:
    """Yield each word of wide numbers, and each run of others as one word."""
    runs = [run for line in lines for run in line.runs if not run.is_wide]
    is_unpadded = all(len(run.words) < 2 for run in runs) or any(
        len(word.digits) == 1 for run in runs for word in run.words[1:-1]
    )
    for run in (run for line in lines for run in line.runs if run.words):
        if run.is_wide:
            yield from run.words
        else:
            digits = run.digits if is_unpadded else _unpadded(run)
            yield _Word(run.words[0].begin, run.words[-1].end, digits)


def _unpadded(run: _Run) -> str:
    """Return the digits; a single one at either end is half of a byte."""
    first, *others = (word.digits for word in run.words)
    if not others:
        return first
    *middle, last = others
    return "".join((first, *middle, last))


def _chunks(words: Sequence[_Word]) -> Reading:
    """Return the bytes; two halves of a byte that follow each other are one."""
    chunks = []
    half: _Word | None = None
    for word in words:
        if half and len(word.digits) % 2:
            word = _Word(half.begin, word.end, half.digits + word.digits)
            half = None
        elif half:
            chunks += _padded(half)
            half = None
        if len(word.digits) % 2:
            half = word
        else:
            chunks.append(Chunk(word.begin, word.end, bytes.fromhex(word.digits)))
    return chunks + (_padded(half) if half else [])


def _padded(half: _Word) -> list[Chunk]:
    """Return a single digit as a byte; other odd numbers are no bytes."""
    if len(half.digits) > 1:
        return []
    return [Chunk(half.begin, half.end, bytes.fromhex(half.digits.zfill(2)))]
