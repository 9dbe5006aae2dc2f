"""Reports of the command: the batteries in range, or the values of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ..models import CellData, DetailLogRecord, DeviceInfo, Layout, LogEntry, Settings

_SECTIONS: Final = frozenset(
    {"device_info", "cell_data", "settings", "logbook", "detail_log"}
)

type Document = dict[str, list[Any]]
"""Lists of models by section."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """One battery in range."""

    address: str
    name: str | None
    rssi: int
    """dBm."""


@dataclass(frozen=True, slots=True)
class ScanReport:
    """All batteries in range."""

    batteries: Mapping[str, ScanResult]
    """Batteries by unique name."""

    def document(self) -> Document:
        """Return the batteries as one section."""
        return {"devices": list(self.batteries.values())}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryReport:
    """The data of one battery; `None` where not requested or not received."""

    device: str
    """Unique name of the battery."""
    layout: Layout | None = None
    device_info: DeviceInfo | None = None
    cell_data: CellData | None = None
    settings: Settings | None = None
    logbook: Sequence[LogEntry] | None = None
    detail_log: Sequence[DetailLogRecord] | None = None
    up: bool | None = None
    last_update: float | None = None
    """Unix time in seconds."""


@dataclass(frozen=True, slots=True)
class ReadReport:
    """The data of all batteries."""

    batteries: Sequence[BatteryReport]
    sections: Sequence[str]
    """The sections to show, even if they are empty."""

    def document(self) -> Document:
        """Return the models by section, one element per battery that sent one."""
        return {
            section: [
                model
                for battery in self.batteries
                if (model := getattr(battery, section)) is not None
            ]
            for section in self.sections
        }

    def shown(self) -> Iterator[BatteryReport]:
        """Yield the report of each battery with only the sections to show."""
        hidden: dict[str, Any] = dict.fromkeys(_SECTIONS - {*self.sections})
        for battery in self.batteries:
            yield replace(battery, **hidden)


type Report = ScanReport | ReadReport
