"""The fields that a unit has, by layout, firmware and model (docs/protocol.md 6)."""

from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from math import inf
import re
from typing import Final

from ..errors import UnsupportedLayoutError
from ..models import CellData, Layout, LiveData
from .fields import CellSlots, Field, Placed, Table
from .layouts import (
    BALANCER_FIELDS,
    BALANCER_MODEL,
    BATTERY_SENSORS,
    CELL_DATA,
    CELLS,
    DEVICE_INFO,
    OLDEST_32S,
    SENSOR_MASK,
    SETTINGS,
)

CELL_DATA_FIELDS: Final = tuple(field.name for field in fields(CellData))
STATE_FIELDS: Final = (
    "alarm_mask",
    "charging",
    "discharging",
    "heating",
    "precharging",
)
"""Fields of `CellData` that are published as soon as they change."""

_FIRMWARE: Final = re.compile(r"[vV]?(\d{1,3})(?:\.(\d{1,6}))?", re.ASCII)
_JK04_MODEL: Final = re.compile(r"JK-B\dA\d+S", re.ASCII)


@dataclass(frozen=True)
class Profile:
    """The properties that decide which fields a device carries."""

    layout: Layout
    firmware: float = 0.0
    """Version as a decimal number: 11.288 < 11.48; 0 if unknown."""
    model: str = ""
    """Empty if unknown."""

    @cached_property
    def cells(self) -> CellSlots:
        """The positions of the values of single cells."""
        return CELLS[self.layout]

    @cached_property
    def cell_data(self) -> Table:
        """`CELL_DATA_FIELDS`, then the mask of sensors, then the `battery_sensors`."""
        return _cell_data_table(self)

    @cached_property
    def battery_sensors(self) -> tuple[int, ...]:
        """Bits in the mask of the temperature sensors that the battery may have."""
        names = self.cell_data.names[len(CELL_DATA_FIELDS) + 1 :]
        return tuple(BATTERY_SENSORS[name] for name in names)

    @cached_property
    def live(self) -> Table:
        """The values of `LiveData`, in its order."""
        return Table(_carried(self), LiveData._fields)

    @cached_property
    def states(self) -> Table:
        """The `STATE_FIELDS`."""
        return Table(_carried(self), STATE_FIELDS)

    def select(self, names: tuple[str, ...]) -> Table:
        """Return a table of some values of cell data, whatever the model carries."""
        return _selected(self.layout, names)

    def carries(self, field: Field) -> bool:
        """Return whether the device has the field (docs/protocol.md 6.3)."""
        series = [first for first in field.since if int(first) <= int(self.firmware)]
        return (not self.model or field.model in self.model) and (
            not field.since or self.firmware >= max(series, default=inf)
        )


def _carried(profile: Profile) -> list[Placed]:
    is_balancer = BALANCER_MODEL in profile.model
    return [
        (offset, field)
        for offset, field in CELL_DATA[profile.layout]
        if profile.carries(field) and (not is_balancer or field.name in BALANCER_FIELDS)
    ]


@lru_cache(maxsize=32)
def _cell_data_table(profile: Profile) -> Table:
    rows = _carried(profile)
    fitted = [field.name for _, field in rows if field.name in BATTERY_SENSORS]
    return Table(rows, (*CELL_DATA_FIELDS, SENSOR_MASK, *dict.fromkeys(fitted)))


@lru_cache(maxsize=8)
def _selected(layout: Layout, names: tuple[str, ...]) -> Table:
    return Table(CELL_DATA[layout], names)


@lru_cache(maxsize=32)
def settings_table(profile: Profile) -> Table:
    """Return the settings that the device carries."""
    return Table(row for row in SETTINGS[profile.layout] if profile.carries(row[1]))


@lru_cache(maxsize=32)
def device_info_table(profile: Profile) -> Table:
    """Return the fields of device information that the device carries."""
    return Table(row for row in DEVICE_INFO[profile.layout] if profile.carries(row[1]))


def parse_firmware(software_version: str) -> float:
    """Return the software version as a number, 11.288 for `11.288H`.

    Raises `UnsupportedLayoutError` if it does not start with a number.
    """
    if not (match := _FIRMWARE.match(software_version)):
        raise UnsupportedLayoutError("The software version is not a version")
    return float(f"{match[1]}.{match[2] or 0}")


def choose_profile(device_model: str, software_version: str) -> Profile:
    """Choose layout and fields by model and firmware (docs/protocol.md 6.1).

    Raises `UnsupportedLayoutError` if the version is invalid.
    """
    firmware = parse_firmware(software_version)
    if firmware >= OLDEST_32S:
        layout = Layout.JK02_32S
    elif _JK04_MODEL.fullmatch(device_model):
        layout = Layout.JK04
    else:
        layout = Layout.JK02_24S
    return Profile(layout, firmware, device_model)
