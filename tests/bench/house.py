"""What batteries cost a real Home Assistant, and whether all of them get their turn."""

from collections.abc import Iterator
from typing import Any, Final

from .figure import Figure, Options, at_least, at_most
from .process import run_module

COUNTS: Final = (1, 10, 50, 100)
FEW: Final = (1, 10, 100)
"""Those of the short form."""
FLAT: Final = 1.2
BLOCK: Final = 20.0
MEMORY: Final = 1.3
"""MB that a battery may take."""
MEGABYTE: Final = 1_000_000
INTERVAL: Final = 30.0
LINKS: Final = ("released", "held")

HOW: Final = (
    "CPU time of the event loop in Home Assistant, its Bluetooth stack and the"
    " integration; less the same Home Assistant with the batteries in range but turned"
    " off; without the batteries in software and without garbage collection"
)


def measure(options: Options) -> Iterator[Figure]:
    """Yield what batteries cost, by their number, and how they share the slots."""
    for link in LINKS:
        if options.long:
            yield from _costs(link, COUNTS, minutes=30.0)
        else:
            yield from _costs(link, FEW, minutes=3.0)
    for link in LINKS:
        yield from _memory(link)
    yield from _fairness(20.0 if options.long else 5.0)


def _costs(link: str, counts: tuple[int, ...], *, minutes: float) -> Iterator[Figure]:
    cpu: dict[int, float] = {}
    for count in counts:
        found = run_module("household", **{link: count}, minutes=minutes)
        many = f"{count} {link}"
        cpu[count] = 1000 * found["cpu"] / count
        yield Figure(f"CPU, {many}", cpu[count], "ms/battery/min", None, HOW)
        yield Figure(
            f"garbage collection, {many}",
            1000 * found["collections"] / count,
            "ms/battery/min",
            None,
            "of the whole process, the batteries in software included",
        )
        yield Figure(
            f"longest garbage collection, {many}",
            1000 * found["longest_collection"],
            "ms",
            None,
            "likewise, from before set-up on; the blocks below are without it",
        )
        yield Figure(
            f"longest block, {many}",
            1000 * found["longest"],
            "ms",
            at_most(BLOCK),
            "CPU time of one callback in the event loop, whoever's, counted likewise",
        )
        yield Figure(
            f"longest block at set-up, {many}",
            1000 * found["longest_at_setup"],
            "ms",
            at_most(BLOCK),
            "likewise, when all batteries are added at once to a home without any",
        )
        yield Figure(
            f"state writes, {many}",
            found["writes"] / count,
            "/battery/min",
            None,
            "of a 16 cell battery that is charged by the sun, read every 30 s",
        )
        yield Figure(
            f"database rows, {many}",
            found["rows"] / count,
            "/battery/h",
            None,
            "rows of states and attributes that the recorder wrote in SQLite",
        )
        if link == "released" and count == counts[-1]:
            yield from _adverts(found)
    yield Figure(
        f"CPU per battery, 100 over 10 {link}",
        cpu[100] / cpu[10],
        "",
        at_most(FLAT),
        "the figures above",
    )


def _adverts(found: dict[str, Any]) -> Iterator[Figure]:
    for name, what in (
        ("foreign_advert", "of another device"),
        ("own_advert", "of a battery that is not due"),
    ):
        yield Figure(
            f"advertisement {what}",
            1e6 * found[name],
            "µs",
            at_most(5.0),
            "what it takes more with 100 batteries set up than with them switched off",
        )


def _memory(link: str) -> Iterator[Figure]:
    few, many = (
        run_module("household", **{link: count}, minutes=2, memory=True)["memory"]
        for count in (10, 30)
    )
    yield Figure(
        f"memory, {link}",
        (many - few) / 20 / MEGABYTE,
        "MB/battery",
        at_most(MEMORY),
        "what 20 more batteries keep allocated in Python, with all that Home Assistant"
        " and the recorder keep of their entities; the batteries in software excluded",
    )
    yield Figure(
        f"memory once, {link}",
        (few - (many - few) / 2) / MEGABYTE,
        "MB",
        None,
        "what the integration takes however many batteries there are",
    )


def _fairness(minutes: float) -> Iterator[Figure]:
    behind: dict[str, Any] = {"slots": 3, "near": 100, "minutes": minutes}
    for name, limit, household in (
        ("30 batteries", 2 * INTERVAL, {"released": 30}),
        ("18 batteries, 1 link held", 2 * INTERVAL, {"released": 18, "held": 1}),
        ("20 batteries, 2 links held", 2 * INTERVAL, {"released": 20, "held": 2}),
        ("20 batteries, 1 out of order", 2 * INTERVAL, {"released": 20, "dead": 1}),
    ):
        found = run_module("household", **behind, **household)
        yield Figure(
            f"longest without a reading, {name}",
            found["gap"],
            "s",
            at_most(limit),
            "of any that can be read; all behind one proxy of 3 slots, every 30 s",
        )
    found = run_module("household", **behind | {"minutes": 15.0}, held=4, released=2)
    yield Figure(
        "issues, 4 links held and 2 released",
        sum(issue == "no_free_slot" for issue in found["issues"]),
        "",
        at_least(3),
        "repairs issues that say so; 3 of these 6 batteries find no slot",
    )
    yield Figure(
        "connections tried, 4 links held and 2 released",
        found["connections"],
        "",
        at_most(0),
        "in 15 min, once 3 links are held",
    )
