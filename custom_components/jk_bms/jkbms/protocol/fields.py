"""Reads the rows of a layout table: one value, all values of a frame, all cells."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import Placeholder, partial
from itertools import compress, repeat
from operator import call, itemgetter, truediv
from struct import Struct
from typing import Any, Final

from ..errors import ImplausibleFrameError

type Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Divided:
    """Converts whole numbers of a small unit to the standard unit."""

    by: int


MILLI: Final = Divided(1000)
CENTI: Final = Divided(100)
DECI: Final = Divided(10)


def bit(number: int) -> Convert:
    """Return a converter that reads one bit as a flag; 0 is the lowest."""
    return lambda raw: bool(raw >> number & 1)


def set_bits(raw: int, first: int = 0) -> tuple[int, ...]:
    """Return the numbers of the bits that are set; the lowest is `first`."""
    if not raw:
        # The usual case for alarms
        return ()
    return tuple(i + first for i in range(raw.bit_length()) if raw >> i & 1)


def member[E](*members: E, unknown: E) -> Convert:
    """Return a converter that names the codes of one byte."""
    return (members + (unknown,) * (0x100 - len(members))).__getitem__


_MAX_SINGLE: Final = 1e6
"""More than any value of a battery; random bytes read as a float mostly exceed it."""


def single(raw: float) -> float:
    """Round to the precision of 32 bits: 2.384, not 2.384000062942505."""
    if not abs(raw) < _MAX_SINGLE:
        raise ImplausibleFrameError("A value is not a number, or too large for one")
    # Adding 0.0 turns -0.0 into 0.0
    return round(raw, 6) + 0.0


_UNPROGRAMMED: Final = b"\xff"


def text(raw: bytes) -> str | None:
    """Return text up to its NUL, `None` if it is empty or was never programmed."""
    used = raw.partition(b"\0")[0].rstrip(_UNPROGRAMMED)
    return used.decode(errors="replace").strip() or None


_CONTROLS: Final = bytes(range(0x20))


def label(raw: bytes) -> str | None:
    """Return text without a binary byte at the end, such as the cell count after a model."""
    return text(raw.rstrip(_CONTROLS))


def one_based(raw: int) -> int:
    """Convert a number that the wire counts from 0 to counting from 1."""
    return raw + 1


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a frame."""

    name: str
    code: str
    """`struct` code: size and sign of the raw value."""
    convert: Convert | Divided | None = None
    """`None` if the raw value is the value."""
    missing: tuple[int, ...] = ()
    """Raw values that stand for a missing value."""
    since: tuple[float, ...] = ()
    """First firmware that fills it; several if it was added to several series."""
    model: str = ""
    """Part of the model name of the devices that have it, if only some have."""
    steady: bool = False
    """Whether it stays the same for hours: a frame that changes it must be confirmed."""
    limits: tuple[float, float] | None = None
    """Possible range; for a setting, the range that owners use."""


type Placed = tuple[int, Field]
"""Offset in the frame and the field there."""


def _picking(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return a function that picks the values at these places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple([values[place] for place in places])


class Table:
    """Fields compiled to be read in one go; several fields may share one raw value.

    For speed, `struct`, `map` and `itemgetter` do the common work; only fields that may
    be missing need a Python loop.
    """

    def __init__(self, rows: Iterable[Placed], names: Iterable[str] = ()) -> None:
        """Compile; raw values must not overlap unless they are the same.

        The last of several rows with one name counts. The values come in the order of
        `names`, which may include names without a row, or else of the rows. A field
        that may be missing and is not converted must not share its raw value.
        """
        fields = {field.name: (offset, field) for offset, field in rows}
        self.names = tuple(names) or tuple(fields)
        fields = {name: fields[name] for name in self.names if name in fields}
        codes, end = ["<"], 0
        places = sorted({(offset, field.code) for offset, field in fields.values()})
        for offset, code in places:
            codes.append(f"{offset - end}x{code}")
            end = offset + Struct(f"<{code}").size
        self._unpack = Struct("".join(codes)).unpack_from

        raw: dict[str, int] = {}
        divisors: dict[str, int] = {}
        converts: dict[str, Convert] = {}
        for name, (offset, field) in fields.items():
            raw[name] = places.index((offset, field.code))
            if isinstance(field.convert, Divided):
                divisors[name] = field.convert.by
            elif field.convert:
                converts[name] = field.convert
        self._divided = _picking([raw[name] for name in divisors])
        self._divisors = tuple(divisors.values())
        self._converted = _picking([raw[name] for name in converts])
        self._converts = tuple(converts.values())
        # All values that `values` can choose from; the raw values come first
        found = [*range(len(places)), *divisors, *converts, None]
        where = raw | {name: found.index(name) for name in (*divisors, *converts)}
        self._missing = tuple(
            (raw[name], field.missing, where[name])
            for name, (_, field) in fields.items()
            if field.missing
        )
        nothing = found.index(None)
        self._arranged = _picking([where.get(name, nothing) for name in self.names])

    def raw(self, data: bytes) -> tuple[Any, ...]:
        """Return the raw values in the order of their offsets, each once."""
        return self._unpack(data)

    def values(self, data: bytes) -> tuple[Any, ...]:
        """Return the values in the order of `names`, `None` where absent."""
        raw = self._unpack(data)
        divided = map(truediv, self._divided(raw), self._divisors)
        converted = map(call, self._converts, self._converted(raw))
        found = [*raw, *divided, *converted, None]
        for place, missing, where in self._missing:
            if raw[place] in missing:
                found[where] = None
        return self._arranged(found)

    def read(self, data: bytes) -> dict[str, Any]:
        """Return the values by name, `None` where absent."""
        return dict(zip(self.names, self.values(data), strict=True))


def has_gaps(enabled: int) -> bool:
    """Return whether a cell before the last enabled one is not enabled."""
    return enabled & (enabled + 1) != 0


type ConvertEach = Callable[[Iterable[Any]], Iterator[float]]

each_milli: Final[ConvertEach] = partial(map, truediv, Placeholder, repeat(MILLI.by))
each_single: Final[ConvertEach] = partial(map, single)


class Slots:
    """The slots of a frame that hold one value per cell."""

    def __init__(
        self,
        offset: int,
        room: int,
        code: str,
        convert_each: ConvertEach,
        *,
        decimals: int,
    ) -> None:
        """Compile for any number of cells.

        `code` is the `struct` code of one; `decimals` is the precision on the wire.
        """
        self.offset: Final = offset
        self.room: Final = room
        self.size: Final = Struct(f"<{code}").size
        self.decimals: Final = decimals
        self.convert_each = convert_each
        self._unpack = tuple(
            Struct(f"<{count}{code}").unpack_from for count in range(room + 1)
        )

    def raw(self, data: bytes) -> tuple[Any, ...]:
        """Return the raw values of all slots, used or not."""
        return self._unpack[-1](data, self.offset)

    def read(self, data: bytes, enabled: int) -> tuple[float | None, ...]:
        """Return the values up to the last cell in the mask, `None` for cells not in it."""
        count = enabled.bit_length()
        raw = self._unpack[count](data, self.offset)
        if not has_gaps(enabled):
            return tuple(self.convert_each(raw))
        used = [bool(enabled >> i & 1) for i in range(count)]
        values = self.convert_each(compress(raw, used))
        return tuple(next(values) if is_used else None for is_used in used)


@dataclass(frozen=True, slots=True)
class CellSlots:
    """Positions of the values of single cells, and of the mask of enabled cells."""

    enabled: Struct
    """Position of the mask of enabled cells."""
    voltage: Slots
    resistance: Slots
    """Wire resistances; they stay the same for hours."""
    pack_voltage: Struct | None
    """In the unit of the cells; JK04 has none."""
