"""What the command prints, in every format that it knows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
import json
from math import nan
from pprint import pformat
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from ..models import (
    SECRET_FIELDS,
    CellData,
    DetailLogRecord,
    DeviceInfo,
    Layout,
    LogEntry,
    Settings,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

_SECTIONS: Final = frozenset(
    {"device_info", "cell_data", "settings", "logbook", "detail_log"}
)
_MASK: Final = "********"
# No string in TOML holds a line end, so these are in arrays
_ARRAY_BREAK: Final = re.compile(r",\n *\]|[\[,]\n +")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A battery that was heard."""

    address: str
    name: str | None
    rssi: int
    """dBm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one battery told; `None` is what was not asked for or did not come."""

    device: str
    """A name that no other battery has."""
    layout: Layout | None = None
    device_info: DeviceInfo | None = None
    cell_data: CellData | None = None
    settings: Settings | None = None
    logbook: Sequence[LogEntry] | None = None
    detail_log: Sequence[DetailLogRecord] | None = None
    up: bool | None = None
    last_update: float | None = None
    """Unix time, s."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The batteries that were found, to be printed."""

    batteries: Mapping[str, Found]
    """By a name that no other battery has."""

    def document(self) -> Document:
        """Return them as lists by section."""
        return {"devices": list(self.batteries.values())}

    def metrics(self) -> str:
        """Return how well they are heard."""
        from prometheus_client import CollectorRegistry, Gauge, generate_latest

        registry = CollectorRegistry()
        gauge = Gauge(
            "signal_strength",
            "How well it is heard in dBm.",
            ["device"],
            registry=registry,
        )
        for device, found in self.batteries.items():
            gauge.labels(device).set(found.rssi)
        return generate_latest(registry).decode()

    def table(self) -> RenderableType:
        """Return them, the nearest first."""
        from .table import found_table

        return found_table(self.batteries.values())


@dataclass(frozen=True, slots=True)
class Answers:
    """What the batteries told, to be printed."""

    batteries: Sequence[Told]
    sections: Sequence[str]
    """What is shown of it, even if there is none."""

    def document(self) -> Document:
        """Return it as lists by section, one element a battery."""
        return {
            section: [
                told
                for battery in self.batteries
                if (told := getattr(battery, section)) is not None
            ]
            for section in self.sections
        }

    def metrics(self) -> str:
        """Return what of it is exported."""
        from ..export.metrics import to_text
        from ..models import BatteryState

        # One that was asked for twice is one battery
        states = {
            told.device: BatteryState(
                device=told.device,
                layout=told.layout,
                device_info=told.device_info,
                cell_data=told.cell_data,
                up=told.up,
                last_update=told.last_update,
            )
            for told in self._asked_for()
        }
        return to_text(states.values())

    def table(self) -> RenderableType:
        """Return it for people to read."""
        from .table import told_table

        return told_table(self._asked_for())

    def _asked_for(self) -> Iterator[Told]:
        """Yield what each told in the sections that are shown."""
        hidden: dict[str, Any] = dict.fromkeys(_SECTIONS - {*self.sections})
        for told in self.batteries:
            yield replace(told, **hidden)


type Document = dict[str, list[Any]]
"""The models by section."""
type Report = Findings | Answers


def masked(info: DeviceInfo) -> DeviceInfo:
    """Return device information that anybody may see."""
    masks: dict[str, Any] = {
        name: _MASK for name in SECRET_FIELDS if getattr(info, name) is not None
    }
    return replace(info, **masks)


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
    # What is no table has to come before the first table
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
    """Return what TOML can say: without the key, or not-a-number in a list."""
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
    """Return stand-ins that show every field, which those with secrets do not."""
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
    return report.metrics()


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
"""All formats but the table, which depends on where it is shown."""
