"""Outages in a real Home Assistant: readings are right and resume, and nothing leaks."""

from collections.abc import Iterator
from typing import Final

from .figure import Figure, Options, at_least, at_most
from .process import run_module

SEEDS: Final = range(3)


def measure(options: Options) -> Iterator[Figure]:
    """Yield what a campaign of outages finds; the long form has thousands of reads."""
    for seed in SEEDS if options.long else SEEDS[:1]:
        yield from _campaign(seed, 200 if options.long else 24)
    yield from _damage(120 if options.long else 24)
    yield from _crashes(3 if options.long else 1)
    yield from _attacks(5 if options.long else 1)


def _campaign(seed: int, mixtures: int) -> Iterator[Figure]:
    found = run_module("outages", seed=seed, mixtures=mixtures)
    report = found["report"]
    of = f"seed {seed}"
    what = (
        f"every fault alone and {mixtures} mixtures, {found['hours']:.1f} h of 24"
        " batteries, every second link held"
    )
    yield Figure(f"outages, {of}", report["outages"], "", None, what)
    yield Figure(f"readings published, {of}", report["readings"], "", None, what)
    yield Figure(f"lines that one is lost, {of}", found["lost"], "", at_least(1), what)
    for name, failures, compares in (
        ("wrong values", report["wrong"], "published, and not what the battery sent"),
        ("late", report["late"], "not read at the first read due after the outage"),
        (
            "log lines too many or few",
            found["unpaired"],
            "one lost, one back, each time",
        ),
        ("other log lines", found["unexpected"], "warnings of ours, errors of anyone"),
        ("tasks left", found["tasks"], "after the second half, less after the first"),
        ("timers left", found["timers"], "likewise, those of batteries and links"),
    ):
        yield Figure(f"{name}, {of}", len(failures), "", at_most(0), compares)
    yield Figure(
        f"energy off, {of}",
        100 * abs(found["counted"] / found["true"] - 1),
        "%",
        at_most(0.5),
        "counted on the held links : true energy of the same time",
    )
    yield Figure(
        f"connections left, {of}", found["slots"], "", at_most(0), "after unloading all"
    )
    yield Figure(
        f"memory left, {of}",
        found["growth"] / 1000,
        "kB",
        at_most(200),
        "what the integration's own lines have allocated and keep, second half less first;"
        " the notes on the last 20 attempts of each battery may take 150 kB of it while"
        " they fill",
    )


def _damage(outages: int) -> Iterator[Figure]:
    report = run_module("outages", damaged=outages)["report"]
    yield Figure(
        "wrong values, frames damaged in several places",
        len(report["wrong"]),
        "",
        at_most(0),
        f"{outages} outages in which 10, 30 or 100 % of the notifications have one bit"
        f" turned, {report['readings']} readings published",
    )


def _crashes(rounds: int) -> Iterator[Figure]:
    """Kill a Home Assistant that counts energy on a held and on a released link."""
    found = run_module("crash", rounds=rounds)
    what = (
        f"{found['lives']} lives of one Home Assistant on a disk, killed before, during"
        " and after a save and between two, stopped, and without a battery for 8 days"
    )
    for name, failures in (
        ("counters lower after a start", found["lower"]),
        ("more than a minute lost", found["lost"]),
        ("resets in statistics", found["resets"]),
    ):
        yield Figure(f"{name}, crashes", len(failures), "", at_most(0), what)
    yield Figure(
        "energy off, crashes",
        100 * abs(found["counted"] / found["true"] - 1),
        "%",
        at_most(0.5),
        "counted on the held link : true energy of the same time",
    )


def _attacks(rounds: int) -> Iterator[Figure]:
    found = run_module("command", rounds=rounds)
    what = (
        f"{found['attacks']} attacks on `jkbms --exporter` of two batteries, each of 5 s:"
        " the D-Bus daemon killed, a namesake that never answers, 1,000 idle clients;"
        f" {found['scrapes']} scrapes meanwhile"
    )
    for name, failures in (
        ("wrong values, attacks", found["wrong"]),
        ("late, attacks", found["late"]),
        ("lost scrapes or batteries, attacks", found["lost"]),
    ):
        yield Figure(name, len(failures), "", at_most(0), what)
