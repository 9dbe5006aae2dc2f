"""What a benchmark says, and what it is asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, override


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure has to reach."""

    limit: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Tell whether this value reaches it."""
        return value >= self.limit if self.at_least else value <= self.limit

    @override
    def __str__(self) -> str:
        """Write it as in a table."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:,g}"


def at_most(limit: float) -> Target:
    """Return the target of a figure that is better when it is smaller."""
    return Target(limit)


def at_least(limit: float) -> Target:
    """Return the target of a figure that is better when it is larger."""
    return Target(limit, at_least=True)


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured."""

    name: str
    value: float
    unit: str
    target: Target | None
    """`None` where the figure is only there to be seen."""
    compares: str
    """What is compared with what, in words."""

    @property
    def is_met(self) -> bool | None:
        """Tell whether the target is reached, `None` where there is none."""
        return self.target.is_met(self.value) if self.target else None


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    long: bool = False
    """Take the time for the long form, where a benchmark has one."""
    cases: int | None = None
    """How many cases to run, where a benchmark runs cases."""


type Measure = Callable[[Options], Iterator[Figure]]
"""What a module of this package is for: its function `measure`."""

BENCHMARKS: Final = (
    # One name a line: each is a module of this package.
    "decode",
    "exporter",
    "fuzz",
    "loss",
    "faults",
    "house",
    "latency",
    "startup",
)
