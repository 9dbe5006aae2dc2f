"""The command behind `scripts/bench`: which benchmarks run, and how their figures are shown."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
import json
import os
import platform
import sys

from rich.console import Console
from rich.table import Table

from .figure import BENCHMARKS, Figure, Measure, Options


def main() -> int:
    """Return the exit code of the command: 1 if a target is missed."""
    options = parse()
    figures = list(_measured(options.names, _options(options)))
    if options.json:
        json.dump(
            {"machine": _machine(), "figures": [*map(_data, figures)]}, sys.stdout
        )
        print()
    else:
        # A file needs no line breaks
        console = Console(width=None if sys.stdout.isatty() else 150)
        console.print(_table(figures))
        console.print(_machine(), highlight=False)
    return any(figure.is_met is False for figure in figures)


def parse() -> argparse.Namespace:
    """Parse the command line; exit with a message where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure what the project claims, beside aiobmsble, and print one"
        " table. Exit code: 0 all targets are met, 1 one is missed, 2 usage.",
    )
    add = parser.add_argument
    add(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"what to measure: {', '.join(BENCHMARKS)} (default: all)",
    )
    add("--json", action="store_true", help="print data instead of a table")
    add(
        "--cases", type=int, help="least number of cases, for benchmarks that run cases"
    )
    add("--long", action="store_true", help="run the long form, if there is one")
    add("--faults", action="store_true", help="the same as: faults --long")
    options = parser.parse_args()
    if options.faults:
        options.names, options.long = [*options.names, "faults"], True
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    options.names = options.names or BENCHMARKS
    return options


def _options(options: argparse.Namespace) -> Options:
    return Options(long=options.long, cases=options.cases)


def _measured(names: list[str], options: Options) -> Iterator[Figure]:
    for name in names:
        # Imported late: a benchmark may need all of Home Assistant.
        measure: Measure = import_module(f".{name}", __package__).measure
        for figure in measure(options):
            print(
                f"{figure.name}: {_number(figure.value)} {figure.unit}", file=sys.stderr
            )
            yield figure


def _table(figures: list[Figure]) -> Table:
    table = Table("what", "value", "unit", "target", "", "what is compared")
    table.columns[1].justify = "right"
    for figure in figures:
        table.add_row(
            figure.name,
            _number(figure.value),
            figure.unit,
            str(figure.target or ""),
            {None: "", True: "met", False: "[red]missed[/]"}[figure.is_met],
            figure.compares,
        )
    return table


def _data(figure: Figure) -> dict[str, object]:
    target = figure.target and str(figure.target)
    return asdict(figure) | {"target": target, "met": figure.is_met}


def _number(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _machine() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.process_cpu_count()} cores, {python}"


if __name__ == "__main__":
    sys.exit(main())
