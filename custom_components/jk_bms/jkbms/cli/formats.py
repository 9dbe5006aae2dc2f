"""Every format in which the command prints a report, except the table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from enum import Enum
import json
from math import nan
from pprint import pformat
import re
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from .report import Document, ReadReport, Report, ScanReport

# A line end within an array; the TOML strings contain none
_ARRAY_BREAK: Final = re.compile(r",\n *\]|[\[,]\n +")


def _json(report: Report) -> str:
    return json.dumps(report.document(), default=asdict, separators=(",", ":"))


def _json_pretty(report: Report) -> str:
    return json.dumps(report.document(), default=asdict, indent=2)


def _yaml(report: Report) -> str:
    import yaml

    text: str = yaml.safe_dump(
        json.loads(_json(report)), sort_keys=False, allow_unicode=True
    )
    return text


def _toml(report: Report) -> str:
    """Return TOML as `ubmsc` writes it: arrays on one line, no line between tables."""
    return _ARRAY_BREAK.sub(
        lambda found: "]" if found[0][-1] == "]" else found[0][0].replace(",", ", "),
        "".join(_toml_tables(report)),
    )


def _toml_pretty(report: Report) -> str:
    return "\n".join(_toml_tables(report))


def _toml_tables(report: Report) -> Iterator[str]:
    import tomli_w

    document = _without_null(json.loads(_json(report)))
    # Plain values must precede the first table
    plain = {
        section: models
        for section, models in document.items()
        if not models or isinstance(models[0], list)
    }
    if plain:
        yield tomli_w.dumps(plain, indent=2)
    for section, models in document.items():
        if section not in plain:
            for model in models:
                yield f"[[{section}]]\n{tomli_w.dumps(model, indent=2)}"


def _without_null(value: Any) -> Any:
    """Replace `None`, which TOML lacks: drop the key, or write NaN in a list."""
    match value:
        case dict():
            return {k: _without_null(v) for k, v in value.items() if v is not None}
        case list():
            return [_without_null(item) for item in value]
        case None:
            return nan
    return value


def _repr(report: Report) -> str:
    return repr(_named(report))


def _repr_pretty(report: Report) -> str:
    return pformat(_named(report), width=100, sort_dicts=False)


def _named(report: Report) -> dict[str, list[Any]]:
    """Return stand-ins whose `repr` shows every field: the models' own hides secrets."""
    return {
        section: [_namespace(model) for model in models]
        for section, models in report.document().items()
    }


def _namespace(model: Any) -> Any:
    if isinstance(model, Sequence):
        return [_namespace(item) for item in model]
    shown = {field.name: getattr(model, field.name) for field in fields(model)}
    return type(type(model).__name__, (SimpleNamespace,), {})(
        **{k: v.value if isinstance(v, Enum) else v for k, v in shown.items()}
    )


def _rust(report: Report) -> str:
    return _debug(_outputs(report))


def _rust_pretty(report: Report) -> str:
    return _debug(_outputs(report), indent="\n    ")


def _outputs(report: Report) -> _Struct:
    """Return the output of `ubmsc`: both of its sections, and ours where requested."""
    document: Document = {"device_info": [], "cell_data": []}
    return _Struct("Outputs", document | report.document())


class _Struct(NamedTuple):
    """A struct of Rust."""

    name: str
    fields: Mapping[str, Any]


def _debug(value: Any, indent: str = "") -> str:
    """Return a value in Rust's Debug notation.

    `indent` is a line end and the blanks of one level for the alternate form, empty for
    the form on one line.
    """
    match value:
        case _Struct(name, struct_fields):
            items = [f"{k}: {_debug(v, indent)}" for k, v in struct_fields.items()]
            return f"{name} {_enclosed('{', items, '}', indent, pad=' ')}"
        case Enum():
            return _debug(value.value, indent)
        case str():
            return _debug_string(value)
        case bool():
            return str(value).lower()
        case list() | tuple():
            items = [_debug(item, indent) for item in value]
            return _enclosed("[", items, "]", indent)
        case None | int() | float():
            return str(value)
    struct_fields = {field.name: getattr(value, field.name) for field in fields(value)}
    return _debug(_Struct(type(value).__name__, struct_fields), indent)


def _enclosed(
    begin: str, items: Sequence[str], end: str, indent: str, *, pad: str = ""
) -> str:
    if not items:
        return f"{begin}{end}"
    if not indent:
        return f"{begin}{pad}{', '.join(items)}{pad}{end}"
    lines = "".join(f"{indent}{item.replace('\n', indent)}," for item in items)
    return f"{begin}{lines}\n{end}"


_RUST_ESCAPES: Final = {
    '"': r"\"",
    "\\": r"\\",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\0": r"\0",
}


def _debug_string(text: str) -> str:
    escaped = (
        _RUST_ESCAPES.get(char)
        or (char if char.isprintable() else f"\\u{{{ord(char):x}}}")
        for char in text
    )
    return f'"{"".join(escaped)}"'


def _metrics(report: Report) -> str:
    match report:
        case ScanReport():
            return _signal_strength(report)
        case ReadReport():
            return _values(report)


def _signal_strength(report: ScanReport) -> str:
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    gauge = Gauge(
        "signal_strength", "Signal strength in dBm.", ["device"], registry=registry
    )
    for device, result in report.batteries.items():
        gauge.labels(device).set(result.rssi)
    return generate_latest(registry).decode()


def _values(report: ReadReport) -> str:
    from ..export.metrics import to_text
    from ..models import BatteryState

    # A battery that was requested twice is one series. `ubmsc` exports the counters of
    # the device information along with the cell data.
    states = {
        battery.device: BatteryState(
            device=battery.device,
            layout=battery.layout,
            device_info=battery.device_info,
            cell_data=battery.cell_data if "cell_data" in report.sections else None,
            up=battery.up,
            last_update=battery.last_update,
        )
        for battery in report.batteries
    }
    return to_text(states.values())


WRITERS: Final[dict[str, Callable[[Report], str]]] = {
    "rust": _rust,
    "rust-pretty": _rust_pretty,
    "json": _json,
    "json-pretty": _json_pretty,
    "yaml": _yaml,
    "toml": _toml,
    "toml-pretty": _toml_pretty,
    "metrics": _metrics,
    "repr": _repr,
    "repr-pretty": _repr_pretty,
}
"""The writer of each format; the table is drawn for its terminal instead."""
