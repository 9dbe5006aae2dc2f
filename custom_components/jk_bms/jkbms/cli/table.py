"""Draw a report as tables for a terminal."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..models import CellData, DetailLogRecord, DeviceInfo, LogEntry, Settings
from ..protocol.codes import command_name
from ..text import one_line
from .report import BatteryReport, ReadReport, Report, ScanReport, ScanResult

_BAR_WIDTH: Final = 10
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_MIN_BAR_SPAN: Final = 0.05
"""Minimum volts between an empty and a full bar, so that equal cells look equal."""
INDENT: Final = (0, 0, 0, 2)

_IN_SUMMARY: Final = frozenset(
    {
        "alarms",
        "average_cell_voltage",
        "balance_current",
        "balancer",
        "battery_current",
        "battery_power",
        "battery_temperature",
        "battery_voltage",
        "cell_resistance",
        "cell_voltage",
        "charging",
        "cycle_count",
        "delta_cell_voltage",
        "discharging",
        "implausible",
        "max_cell",
        "max_cell_voltage",
        "min_cell",
        "min_cell_voltage",
        "mosfet_temperature",
        "nominal_capacity",
        "remain_capacity",
        "remain_percent",
    }
)


def draw(report: Report) -> RenderableType:
    """Return a report as tables for a terminal."""
    match report:
        case ScanReport():
            return _scan_table(report.batteries.values())
        case ReadReport():
            return _battery_tables(report.shown())


def _scan_table(batteries: Iterable[ScanResult]) -> RenderableType:
    """Return a line for each battery, the strongest signal first."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("address", no_wrap=True)
    table.add_column("name")
    table.add_column("RSSI", justify="right", no_wrap=True)
    for result in sorted(batteries, key=lambda result: -result.rssi):
        name = Text(one_line(result.name or ""))
        table.add_row(result.address, name, f"{result.rssi} dBm")
    return table


def _battery_tables(batteries: Iterable[BatteryReport]) -> RenderableType:
    """Return everything that each battery sent; skip batteries that sent nothing."""
    parts: list[RenderableType] = []
    for battery in batteries:
        if sections := [*_sections(battery)]:
            parts += [
                Text(one_line(battery.device), "bold"),
                Padding(Group(*sections), INDENT),
            ]
    return Group(*parts)


def _sections(battery: BatteryReport) -> Iterator[RenderableType]:
    if battery.cell_data:
        yield live_view(battery.cell_data)
        yield from _values(battery.cell_data, without=_IN_SUMMARY)
    for title, model in (
        ("device information", battery.device_info),
        ("settings", battery.settings),
    ):
        if model:
            yield Text(title, "italic")
            yield from _values(model)
    for title, log in (
        ("logbook", battery.logbook),
        ("detail log", battery.detail_log),
    ):
        if log:
            yield Text(title, "italic")
            yield _log(log)


def live_view(cells: CellData) -> RenderableType:
    """Return the most important values, and the cells as bars."""
    bars = Columns(_bars(cells), column_first=True, equal=True)
    return Group(*_summary(cells), bars)


def _summary(cells: CellData) -> Iterator[Columns]:
    """Yield a few lines of known values, which may wrap between two values."""
    capacity = _quantity(cells.nominal_capacity, ".1f", "Ah")
    for style, words in (
        (
            "bold",
            (
                _quantity(cells.battery_voltage, ".2f", "V"),
                _quantity(cells.battery_current, ".2f", "A"),
                _quantity(cells.battery_power, ".0f", "W"),
                _quantity(cells.remain_percent, "", "%"),
                _quantity(cells.remain_capacity, ".1f", f"of {capacity}"),
                _quantity(cells.cycle_count, "", "cycles"),
            ),
        ),
        (
            "",
            (
                _quantity(cells.average_cell_voltage, ".3f", "V on average"),
                _quantity(cells.delta_cell_voltage, ".3f", "V difference"),
                cells.balancer and f"balancer {cells.balancer}",
                _quantity(cells.balance_current or None, ".2f", "A"),
            ),
        ),
        (
            "",
            (
                *(_quantity(value, ".1f", "°C") for value in cells.battery_temperature),
                _quantity(cells.mosfet_temperature, ".1f", "°C MOSFET"),
                _switch("charging", cells.charging),
                _switch("discharging", cells.discharging),
            ),
        ),
        ("bold red", [f"{name}!" for name in cells.alarms or ()]),
        ("yellow", [f"{name}: impossible value" for name in cells.implausible]),
    ):
        if known := [Text(word, style) for word in words if word]:
            yield Columns(known, padding=(0, 3))


def _quantity(value: float | None, form: str, unit: str) -> str | None:
    return None if value is None else f"{value:{form}} {unit}"


def _switch(name: str, state: bool | None) -> str | None:
    return None if state is None else f"{name} {'on' if state else 'off'}"


def _bars(cells: CellData) -> Iterator[Text]:
    """Yield each cell with a bar; the lowest and the highest cell have a mark."""
    known = [voltage for voltage in cells.cell_voltage if voltage is not None]
    highest, lowest = max(known, default=0), min(known, default=0)
    span = max(_MIN_BAR_SPAN, highest - lowest)
    for number, voltage in enumerate(cells.cell_voltage, 1):
        if voltage is None:
            yield Text(f"{number:2}       -", "dim")
            continue
        mark, style = " ", ""
        if highest > lowest and number == cells.max_cell:
            mark, style = "▲", "green"
        if highest > lowest and number == cells.min_cell:
            mark, style = "▼", "red"
        bar = _bar(1 - (highest - voltage) / span)
        yield Text.assemble(f"{number:2} {voltage:.3f} V ", (f"{bar} {mark}", style))


def _bar(fraction: float) -> str:
    full, eighths = divmod(round(fraction * _BAR_WIDTH * 8), 8)
    return ("█" * full + _EIGHTHS[eighths].strip()).ljust(_BAR_WIDTH, "·")


_SUPPORT: Final = frozenset({"command_support", "register_support"})
"""Fields that list commands and registers by number."""


def _values(
    model: DeviceInfo | CellData | Settings, without: frozenset[str] = frozenset()
) -> Iterator[RenderableType]:
    """Yield the fields that have a value, in as many columns as fit."""
    known = [
        Text.assemble((f"{field.name} ", "dim"), _word(value))
        for field in fields(model)
        if (value := getattr(model, field.name)) is not None
        and field.name not in without | _SUPPORT
    ]
    if known:
        yield Columns(known, column_first=True, padding=(0, 3))
    for name in sorted(_SUPPORT):
        if numbers := getattr(model, name, None):
            names = ", ".join(map(command_name, numbers))
            yield Text.assemble((f"{name} ", "dim"), names)


def _word(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case tuple():
            return (
                ", ".join("-" if item is None else str(item) for item in value)
                or "none"
            )
    return one_line(str(value))


def _log(log: Sequence[LogEntry] | Sequence[DetailLogRecord]) -> Table:
    """Return a line for each entry."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for field in fields(log[0]):
        table.add_column(field.name)
    for entry in log:
        table.add_row(
            *(Text(_word(getattr(entry, field.name))) for field in fields(entry))
        )
    return table
