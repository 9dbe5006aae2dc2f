"""The results and the options of a benchmark."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, override


@dataclass(frozen=True, slots=True)
class Target:
    """The limit of a figure."""

    limit: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Return whether this value meets it."""
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
    """`None` for a figure that is only reported."""
    compares: str
    """What is compared with what, in words."""

    @property
    def is_met(self) -> bool | None:
        """Return whether the target is met, `None` without a target."""
        return self.target.is_met(self.value) if self.target else None


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line."""

    long: bool = False
    """Run the long form, if a benchmark has one."""
    cases: int | None = None
    """Number of cases, for benchmarks that run cases."""


type Measure = Callable[[Options], Iterator[Figure]]
"""The function `measure` of each benchmark's module."""

BENCHMARKS: Final = (
    # Each is a module of this package.
    "decode",
    "exporter",
    "fuzz",
    "loss",
    "faults",
    "house",
    "banks",
    "latency",
    "startup",
)
