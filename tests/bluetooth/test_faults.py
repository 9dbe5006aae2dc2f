"""Tests that a fault of the battery is seen: held links, sensors that fail, forged frames."""

import asyncio
from collections.abc import Callable
from functools import partial
from struct import pack_into

import pytest

from custom_components.jk_bms.jkbms.errors import ImplausibleFrameError
from custom_components.jk_bms.jkbms.models import Alarm, LiveSample, Reading
from custom_components.jk_bms.jkbms.protocol.frames import FrameType

from .harness import CADENCE, COMPLETE, HOUSE, STEADY, Harness, PowerOn

CELL_FRAME = bytes.fromhex("55AAEB9002")
FRAME_SIZE = 300
_COUNTER = 5
type Edit = Callable[[bytearray], object]


class Forger:
    """Edits every frame of cell data and mends its checksum."""

    def __init__(self, edit: Edit) -> None:
        """Collect the notifications of a frame, of which the last one is sent."""
        self.edit = edit
        self._frame = bytearray()

    def __call__(self, data: bytes) -> bytes:
        """Hold back all but the last notification of a frame."""
        if data.startswith(CELL_FRAME):
            self._frame = bytearray()
        elif not self._frame:
            return data
        self._frame += data
        if len(self._frame) < FRAME_SIZE:
            return b""
        frame, self._frame = self._frame[:FRAME_SIZE], bytearray()
        self.edit(frame)
        frame[-1] = sum(frame[:-1]) & 0xFF
        return bytes(frame)


def put(code: str, offset: int, raw: int) -> Edit:
    """Return what writes one raw value into a frame."""
    return lambda frame: pack_into(f"<{code}", frame, offset, raw)


def clear(frame: bytearray) -> None:
    """Set all values to 0."""
    frame[_COUNTER + 1 : -1] = bytes(FRAME_SIZE - _COUNTER - 2)


def no_cell_voltage(frame: bytearray) -> None:
    """Set all cells to 0 V."""
    frame[6:70] = bytes(64)


@pytest.fixture
def harness(power_on: PowerOn) -> Harness:
    """Return a battery with fixed delays."""
    return power_on(habits=STEADY)


@pytest.mark.parametrize("duration", [2 * CADENCE, 20.0])
def test_alarm_between_two_publishes_is_published_at_once(
    harness: Harness, duration: float
) -> None:
    """An overcurrent of any length is seen although the interval is 30 s, its end too."""
    readings: list[Reading] = []
    mask = int(Alarm.DISCHARGE_OVERCURRENT)

    async def hold() -> None:
        loop = asyncio.get_running_loop()
        override = harness.bms.battery.override
        loop.call_later(COMPLETE + 3.0, partial(override, alarms=mask))
        loop.call_later(COMPLETE + 3.0 + duration, partial(override, alarms=0))
        await harness.client.hold(readings.append, interval=30.0, lifetime=29.0)

    harness.run(hold())

    assert [reading.cell_data.faults for reading in readings] == [
        (),
        ("discharge_overcurrent",),
        (),
    ]
    first, raised, cleared = (reading.time for reading in readings)
    assert raised - first < 3.0 + 3 * CADENCE
    assert cleared - first < 3.0 + duration + 3 * CADENCE


@pytest.mark.parametrize(
    "change",
    [
        {"charging": False},
        {"discharging": False},
        {"heating": True},
        {"precharging": True},
    ],
)
def test_switch_between_two_publishes_is_published_at_once(
    harness: Harness, change: dict[str, bool]
) -> None:
    """A change of a MOSFET or of the heater does not wait for the interval."""
    readings: list[Reading] = []

    async def hold() -> None:
        override = partial(harness.bms.battery.override, **change)
        asyncio.get_running_loop().call_later(COMPLETE + 3.0, override)
        await harness.client.hold(readings.append, interval=30.0, lifetime=10.0)

    harness.run(hold())

    (name, value), *_ = change.items()
    assert [getattr(reading.cell_data, name) for reading in readings] == [
        not value,
        value,
    ]


@pytest.mark.parametrize(
    ("edit", "implausible"),
    [
        (put("h", 162, 1600), ("battery_temperature_1",)),
        (put("h", 162, -700), ("battery_temperature_1",)),
        (put("h", 144, 1600), ("mosfet_temperature",)),
        (put("H", 8, 0), ("cell_voltage_2",)),
        (put("H", 8, 6200), ("cell_voltage_2",)),
        (put("H", 8, 1200), ("cell_voltage_2",)),
        (no_cell_voltage, tuple(f"cell_voltage_{cell}" for cell in range(1, 9))),
        (put("B", 173, 101), ("remain_percent",)),
        (put("i", 158, 3_000_000), ("battery_current",)),
        (put("I", 150, 0), ("battery_voltage",)),
    ],
)
def test_lasting_impossible_value_is_left_out(
    harness: Harness, edit: Edit, implausible: tuple[str, ...]
) -> None:
    """All the others are published, and so are the alarms."""
    harness.bms.battery.override(alarms=int(Alarm.TEMPERATURE_SENSOR))
    harness.alter = Forger(edit)

    cell_data = harness.read().cell_data

    assert cell_data.implausible == implausible
    assert cell_data.alarms == ("temperature_sensor",)
    for name in implausible:
        field, _, number = name.rpartition("_")
        if field in {"cell_voltage", "battery_temperature"}:
            assert getattr(cell_data, field)[int(number) - 1] is None
        else:
            assert getattr(cell_data, name) is None
    if implausible == ("cell_voltage_2",):
        assert cell_data.min_cell_voltage
        assert cell_data.min_cell_voltage > 3.0
        assert cell_data.delta_cell_voltage
        assert cell_data.delta_cell_voltage < 0.1
    if len(implausible) == 8:
        assert cell_data.min_cell_voltage is None
    if implausible != ("battery_voltage",):
        assert cell_data.battery_voltage
    assert harness.client.statistics.rejected >= 2


@pytest.mark.parametrize("frames", [1, 2])
def test_brief_impossible_value_is_not_published(harness: Harness, frames: int) -> None:
    """Damaged frames leave out nothing: the next one is published instead."""
    edits = [put("h", 162, 1600)] * frames
    harness.alter = Forger(lambda frame: edits and edits.pop()(frame))

    assert harness.read().cell_data.implausible == ()


@pytest.mark.parametrize("good_frames", [0, 10])
def test_frame_of_zeros_is_never_published(harness: Harness, good_frames: int) -> None:
    """No battery reports 0 in everything, however often it says so."""
    readings: list[Reading] = []

    def edit(frame: bytearray) -> None:
        if len(readings) >= good_frames:
            clear(frame)

    harness.alter = Forger(edit)

    with pytest.raises(ImplausibleFrameError):
        harness.run(harness.client.hold(readings.append, interval=0.1))

    assert len(readings) == good_frames
    assert all(reading.cell_data.battery_voltage for reading in readings)


def test_unasked_log_frames_do_not_pile_up(harness: Harness) -> None:
    """A log that nobody requested takes no memory on a held link."""
    log = bytearray(CELL_FRAME + bytes(FRAME_SIZE - len(CELL_FRAME)))
    log[4] = FrameType.LOGBOOK
    log[-1] = sum(log[:-1]) & 0xFF

    def flood(_: Reading) -> None:
        for _frame in range(200):
            harness.notify(bytearray(log))

    harness.run(harness.client.hold(flood, interval=1.0, lifetime=5.0))

    assert harness.client._session._log_frames.qsize() <= 65


def test_wire_resistance_of_0_is_not_measured(harness: Harness) -> None:
    """The library reports such a resistance as absent, as Home Assistant does."""
    harness.bms.battery.override(resistances=(0.061, 0.0, *(0.07,) * 6))

    assert harness.read().cell_data.cell_resistance[:3] == (0.061, None, 0.07)


@pytest.mark.parametrize("good_frames", [0, 10])
def test_three_frames_with_different_impossible_values_fail(
    harness: Harness, good_frames: int
) -> None:
    """A failing sensor would affect the same value each time: these frames are damaged."""
    readings: list[Reading] = []
    edits = [put("h", 162, 1600), put("B", 173, 101), put("h", 144, 1600)]

    def edit(frame: bytearray) -> None:
        if len(readings) >= good_frames:
            edits[0](frame)
            edits.append(edits.pop(0))

    harness.alter = Forger(edit)

    with pytest.raises(ImplausibleFrameError):
        harness.run(harness.client.hold(readings.append, interval=0.1))

    assert len(readings) == good_frames
    assert harness.client.statistics.rejected == 3


@pytest.mark.parametrize(
    "others",
    [
        [None, put("B", 173, 101)],
        [put("B", 173, 101), None],
        [put("B", 173, 101), put("h", 144, 1600)],
    ],
)
def test_second_fault_that_comes_and_goes_does_not_hide_the_battery(
    harness: Harness, others: list[Edit | None]
) -> None:
    """A stuck sensor is left out, whatever else is impossible in some of the frames."""
    harness.bms.battery.override(alarms=int(Alarm.DISCHARGE_OVERCURRENT))
    stuck = put("h", 162, 1600)

    def edit(frame: bytearray) -> None:
        stuck(frame)
        if other := others[0]:
            other(frame)
        others.append(others.pop(0))

    harness.alter = Forger(edit)
    readings: list[Reading] = []

    harness.run(harness.client.hold(readings.append, interval=5.0, lifetime=60.0))

    assert len(readings) > 8
    for reading in readings:
        assert "battery_temperature_1" in reading.cell_data.implausible
        assert reading.cell_data.faults == ("discharge_overcurrent",)


def test_impossible_voltage_is_not_counted(harness: Harness) -> None:
    """A held link counts no power that the last reading leaves out."""
    cells = harness.bms.battery.state.cells
    samples: list[LiveSample] = []
    readings: list[Reading] = []

    async def hold() -> None:
        battery = harness.bms.battery
        battery.override(current=-100.0)
        later = asyncio.get_running_loop().call_later
        later(10.0, partial(battery.override, cells=cells, voltage=55.0))
        later(30.0, battery.release, "cells", "voltage")
        await harness.client.hold(
            readings.append, on_live=samples.append, interval=5.0, lifetime=60.0
        )

    harness.run(hold())

    times = [
        reading.time
        for reading in readings
        if "battery_voltage" in reading.cell_data.implausible
    ]
    assert 3 <= len(times) <= 5
    assert [it for it in samples if times[0] < it.time <= times[-1]] == []
    assert samples[-1].time > times[-1] + 10.0


@pytest.mark.parametrize(
    ("model", "alarms"), [("JK-B2A24S15P 10.07", 136), (HOUSE, 166)]
)
def test_damaged_first_frame_is_not_believed(
    power_on: PowerOn, model: str, alarms: int
) -> None:
    """With nothing to compare it with, a second frame has to agree."""
    harness = power_on(model, habits=STEADY)
    forged: list[int] = []

    def edit(frame: bytearray) -> None:
        if not forged:
            forged.append(alarms)
            frame[alarms] ^= 0x10

    harness.alter = Forger(edit)

    reading = harness.read()

    assert forged
    assert reading.cell_data.alarms == ()
    assert harness.client.statistics.rejected == 1


def test_only_the_first_reading_waits_for_a_second_frame(harness: Harness) -> None:
    """Later ones are compared with it."""
    harness.read()
    assert harness.elapsed == pytest.approx(COMPLETE)
    harness.read()
    assert harness.elapsed < COMPLETE - CADENCE + 0.1
