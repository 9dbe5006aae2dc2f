"""Every format in which the command prints a report, except the table."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from enum import Enum
import json
from math import nan
from pprint import pformat
import re
from types import SimpleNamespace
from typing import Any, Final

from .report import ReadReport, Report, ScanReport

# No string in TOML holds a line end, so these are in arrays
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
    return _ARRAY_BREAK.sub(
        lambda found: "]" if found[0][-1] == "]" else found[0][0].replace(",", ", "),
        _toml_pretty(report),
    )


def _toml_pretty(report: Report) -> str:
    import tomli_w

    document = _without_null(json.loads(_json(report)))
    # Plain values must precede the first table
    plain = {
        section: models
        for section, models in document.items()
        if not models or isinstance(models[0], list)
    }
    tables = [
        f"[[{section}]]\n{tomli_w.dumps(model, indent=2)}"
        for section, models in document.items()
        if section not in plain
        for model in models
    ]
    return "\n".join(filter(None, (tomli_w.dumps(plain, indent=2), *tables)))


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
    """Return stand-ins whose `repr` shows every field; that of the models hides secrets."""
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

    # A battery that was requested twice is one series
    states = {
        battery.device: BatteryState(
            device=battery.device,
            layout=battery.layout,
            device_info=battery.device_info,
            cell_data=battery.cell_data,
            up=battery.up,
            last_update=battery.last_update,
        )
        for battery in report.shown()
    }
    return to_text(states.values())


WRITERS: Final[dict[str, Callable[[Report], str]]] = {
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
