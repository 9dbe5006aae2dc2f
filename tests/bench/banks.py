"""What a bank costs beside its packs, and how old its values become."""

from collections.abc import Iterator
from typing import Final

from .figure import Figure, Options, at_most
from .process import run_module

COST: Final = 1.1
MAX_AGE: Final = 60.0
"""s; the packs are read every 30 s."""
TURNS: Final = 5
LONG_TURNS: Final = 15

ONE_PROXY: Final = {"packs": 16, "banks": 1, "near": 16}
SIX_PROXIES: Final = {"packs": 48, "banks": 3, "near": 8}


def measure(options: Options) -> Iterator[Figure]:
    """Yield the figures of usual packs, then of packs that are slow to connect."""
    turns = LONG_TURNS if options.long else TURNS
    for name, asked in (
        ("16 packs, 1 bank, 1 proxy", ONE_PROXY),
        ("48 packs, 3 banks, 6 proxies", SIX_PROXIES),
    ):
        found = run_module("packs", **asked, turns=turns)
        yield Figure(
            f"CPU with and without, {name}",
            found["cpu"] / found["without"],
            "",
            at_most(COST),
            "what the packs cost with their banks and without: medians of turns in one"
            " process",
        )
        yield from _ages(name, found["gap"], found["oldest"])
    if not options.long:
        return
    for connect_time in (5, 8):
        found = run_module("packs", **ONE_PROXY, turns=turns, connect_time=connect_time)
        name = f"16 packs that take {connect_time} s to connect"
        yield Figure(
            f"CPU with and without, {name}",
            found["cpu"] / found["without"],
            "",
            at_most(COST),
            "likewise",
        )
        yield from _ages(name, found["gap"], found["oldest"])


def _ages(name: str, gap: float, oldest: float) -> Iterator[Figure]:
    yield Figure(
        f"longest without a reading, {name}",
        gap,
        "s",
        at_most(MAX_AGE),
        "of any pack; released links, every 30 s, three slots in each proxy",
    )
    yield Figure(
        f"oldest value, {name}",
        oldest,
        "s",
        at_most(MAX_AGE),
        "that a bank counted, looked at every second",
    )
