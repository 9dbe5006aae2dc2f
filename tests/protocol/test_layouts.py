"""No byte has two rows, every row a field or a check, and every field may move alone."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import fields
from itertools import pairwise
from struct import Struct
from typing import Any

import pytest

from custom_components.jk_bms.jkbms.models import (
    CellData,
    DeviceInfo,
    Layout,
    LiveData,
    Settings,
)
from custom_components.jk_bms.jkbms.protocol.checks import CheckValues
from custom_components.jk_bms.jkbms.protocol.consistency import ConsistencyChecker
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_live,
    decode_settings,
)
from custom_components.jk_bms.jkbms.protocol.fields import Field, text
from custom_components.jk_bms.jkbms.protocol.frames import Frame
from custom_components.jk_bms.jkbms.protocol.layouts import (
    BATTERY_SENSORS,
    CELL_DATA,
    CELLS,
    DEVICE_INFO,
    LIMITS,
    SENSOR_MASK,
    SETTINGS,
)
from custom_components.jk_bms.jkbms.protocol.profile import choose_profile
from tests.virtual_bms import MODELS, Battery, Spec, frames

from . import mended

CADENCE = 0.53
SPECS = {
    Layout.JK04: MODELS["JK-B2A16S 3.3.0"],
    Layout.JK02_24S: MODELS["JK-B2A24S15P 10.07"],
    Layout.JK02_32S: MODELS["JK_PB2A16S20P 15.41"],
}
COMPUTED = {
    "cell_voltage",
    "cell_resistance",
    "average_cell_voltage",
    "delta_cell_voltage",
    "min_cell_voltage",
    "max_cell_voltage",
    "min_cell",
    "max_cell",
    "battery_temperature",
    "battery_power",
    "alarms",
    "implausible",
}
"""Fields of `CellData` computed from other fields, the slots of the cells or the checks."""
TABLES: dict[str, tuple[type, Any, set[str], set[str]]] = {
    # Model, rows by layout, fields without a row, rows without a field
    "cell data": (
        CellData,
        CELL_DATA,
        COMPUTED,
        {*CheckValues._fields, *BATTERY_SENSORS, SENSOR_MASK, ""},
    ),
    "settings": (Settings, SETTINGS, set(), set()),
    "device information": (DeviceInfo, DEVICE_INFO, set(), set()),
}
INSIDE_ANOTHER = {("serial_number", "passcode")}
"""Old units keep the passcode behind a short serial number."""


@pytest.mark.parametrize("table", TABLES)
def test_every_field_has_a_row_and_every_row_a_field(table: str) -> None:
    """What is missing is named."""
    model, rows, without_row, without_field = TABLES[table]
    names = {field.name for placed in rows.values() for _, field in placed}
    known = {field.name for field in fields(model)}

    found = [
        *(f"{each} has no row in layouts.py" for each in known - names - without_row),
        *(
            f"{each} has no field in {model.__name__}"
            for each in names - known - without_field
        ),
        *(f"{each} is computed, but has a row" for each in names & without_row),
        *(f"{each}, of the checks, has no row" for each in without_field - names),
    ]
    assert not found, "\n".join(found)


def spans(rows: Iterable[tuple[int, Field]]) -> list[tuple[int, int, str]]:
    """Return start, end and names of each span that a table reads."""
    named = defaultdict(dict[str, None])
    for offset, field in rows:
        named[offset, offset + Struct(f"<{field.code}").size][field.name] = None
    return sorted((*span, " ".join(names)) for span, names in named.items())


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("table", TABLES)
def test_no_byte_stands_in_two_rows(table: str, layout: Layout) -> None:
    """Only bits of one value, and one field of several firmwares, share a span."""
    found = spans(TABLES[table][1][layout])
    if table == "cell data":
        slots = CELLS[layout].voltage, CELLS[layout].resistance
        found += [(s.offset, s.offset + s.size * s.room, "cells") for s in slots]

    overlaps = {
        (one[2], other[2])
        for one, other in pairwise(sorted(found))
        if one[1] > other[0]
    }
    assert overlaps <= {("serial_number passcode", "userdata")} | INSIDE_ANOTHER
    for layout_rows in (TABLES[table][1][layout],):
        by_name = defaultdict(set)
        for offset, field in layout_rows:
            by_name[field.name].add((offset, field.code))
        by_name.pop("", None)
        assert {name for name, at in by_name.items() if len(at) > 1} == set()


# One field moves alone

type Move = Callable[[int, int], int]
"""From the raw value at first and the number of the frame to that of now."""


def count_down(_: int, number: int) -> int:
    """Count once a second, from 200 s to 0 and no further."""
    return max(0, 200 - int(number * CADENCE))


def count_up(_: int, number: int) -> int:
    """Count once a second."""
    return 50 + int(number * CADENCE)


def grow(first: int, number: int) -> int:
    """Grow by the smallest step now and then."""
    return first + number // 8


def waver(first: int, number: int) -> int:
    """Change by the smallest step and back."""
    return first ^ (number // 4 & 1)


def step(first: int, number: int) -> int:
    """Change once, for good."""
    return first ^ (number >= 20)


MOVES: dict[str, Move] = {
    "sleep_countdown": count_down,
    "emergency_countdown": count_down,
    "discharge_overcurrent_release_time": count_down,
    "discharge_short_circuit_release_time": count_down,
    "charge_overcurrent_release_time": count_down,
    "charge_short_circuit_release_time": count_down,
    "cell_undervoltage_release_time": count_down,
    "cell_overvoltage_release_time": count_down,
    "charge_phase_time": count_up,
    "cycle_capacity": grow,
}
STEADY = {
    "",  # unknown bytes, which stay the same in every capture
    *("alarm_mask", "wire_resistance_alarm", "temperature_sensors"),
    *("nominal_capacity", "cycle_count", "state_of_health", "detail_log_count"),
    *("charging", "discharging", "heating", "precharging", "charger_plugged"),
    *("dry_contact_1", "dry_contact_2", "parallel_limiter"),
    *("battery_type", "charge_phase"),
    *("discharge_current_correction", "charge_current_correction"),
    "voltage_correction",
}
"""Fields that change when something is switched, counted or adjusted, and then stay.

The rows say so as well: one that is made steady by mistake, or no longer is, fails here.
"""
NEVER_ALONE = {
    # These move in every stream, each with another
    *("frame_counter", "up_time", "boot_time", "clock", "remain_percent"),
    # A cell comes with its voltage
    "enabled_cells",
    # These belong to one another
    *("balancer", "balancer_charge_drive", "balancer_discharge_drive"),
    # These follow the temperatures
    *("warmest_sensor", "coldest_sensor"),
}
ROWS = {
    f"{layout}: {field.name or 'unknown'} at {offset}": (layout, offset, field)
    for layout in Layout
    for offset, field in CELL_DATA[layout]
    if field.name not in NEVER_ALONE
}


@pytest.mark.parametrize("row", ROWS)
def test_no_good_frame_is_held_back_while_one_field_moves(row: str) -> None:
    """What counts or wavers never waits; what is steady waits once when it changes.

    The first frame of all waits for a second one, whatever moves.
    """
    layout, offset, field = ROWS[row]
    move = MOVES.get(field.name, step if field.name in STEADY else waver)
    size = Struct(f"<{field.code}").size
    first: int | None = None
    judged = []
    checker = ConsistencyChecker()
    for number, raw in enumerate(stream(layout)):
        frame = bytearray(raw)
        if first is None:
            first = int.from_bytes(frame[offset : offset + size], "little")
        moved = move(first, number).to_bytes(size, "little")
        frame[offset : offset + size] = moved
        sent = Frame.parse(mended(bytes(frame)))
        cell_data = decode_cell_data(sent, PROFILES[layout])
        time = 1000.0 + number * CADENCE
        judged.append(checker.accept(sent, cell_data, PROFILES[layout], time))

    waited = judged[1:].count(False)
    if move is not step:
        assert not waited, f"{row} moves and waits: not steady, or not in STEADY?"
    assert waited == (move is step), f"{row} must wait once: steady, or in STEADY?"
    assert checker.statistics.rejected == 0


def profile_of(spec: Spec) -> Any:
    """Return the profile of a virtual battery."""
    return choose_profile(spec.model, spec.software)


PROFILES = {layout: profile_of(spec) for layout, spec in SPECS.items()}
STREAMS: dict[Layout, list[bytes]] = {}


def stream(layout: Layout) -> list[bytes]:
    """Return the frames of more than three minutes, in which nothing is switched."""
    if layout not in STREAMS:
        battery = Battery(SPECS[layout], hour=2.0)
        STREAMS[layout] = [
            frames.cell_frame(SPECS[layout], battery.advance(CADENCE), number & 0xFF)
            for number in range(400)
        ]
    return STREAMS[layout]


# The live values, and text


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("hour", [2.0, 12.0, 19.0])
def test_live_data_are_those_of_the_whole_frame(model: str, hour: float) -> None:
    """Only the voltage of JK04, a sum, is absent."""
    spec = MODELS[model]
    profile = profile_of(spec)
    raw = frames.cell_frame(spec, Battery(spec, hour=hour).advance(1.0), 7)
    live = decode_live(Frame.parse(raw), profile)
    cell_data = decode_cell_data(Frame.parse(raw), profile)

    for name in LiveData._fields:
        if name == "reported_power":
            continue
        expected = getattr(cell_data, name)
        if profile.layout is Layout.JK04 and name == "battery_voltage":
            expected = None
        assert getattr(live, name) == expected
    power = cell_data.battery_power
    if power is None:
        assert live.reported_power is None or not live.reported_power
    else:
        assert live.reported_power == pytest.approx(abs(power), abs=0.002)


@pytest.mark.parametrize(
    "measured", [{"cells": ()}, {"current": -40_000.0}, {"voltage": 600.0}]
)
def test_live_data_that_cannot_be_have_no_voltage(measured: dict[str, Any]) -> None:
    """What is measured on cells is absent with none connected, or out of all bounds."""
    spec = SPECS[Layout.JK02_32S]
    battery = Battery(spec)
    battery.override(**measured)
    live = decode_live(
        Frame.parse(frames.cell_frame(spec, battery.state, 7)), profile_of(spec)
    )

    assert (live.battery_voltage, live.battery_current) == (None, None)
    assert live.reported_power is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("FFFFFFFFFFFFFFFF", None),
        ("FFFF000000000000", None),
        ("323630373038FFFF", "260708"),
        ("3236303730380000", "260708"),
        ("0000000000000000", None),
    ],
)
def test_text_that_was_never_programmed_is_absent(
    raw: str, expected: str | None
) -> None:
    """0xFF is erased memory, no letter."""
    assert text(bytes.fromhex(raw)) == expected


@pytest.mark.parametrize("model", MODELS)
def test_settings_of_every_virtual_battery_are_within_limits(model: str) -> None:
    """The first ones are believed at once; others would have to be read twice."""
    spec = MODELS[model]
    frame = Frame.parse(frames.settings_frame(spec, Battery(spec).settings, 1))
    settings = decode_settings(frame, choose_profile(spec.model, spec.software))
    odd = {
        name: value
        for name, (low, high) in LIMITS.items()
        if (value := getattr(settings, name)) is not None and not low <= value <= high
    }
    assert not odd, f"{model} sends settings outside the limits of layouts.py: {odd}"
