"""Which frames of a held link are counted: every good one, and no forged current."""

from collections.abc import Callable
from math import pi, sin
from random import Random

import pytest

from custom_components.jk_bms.energy import EnergyMeter
from custom_components.jk_bms.jkbms.models import (
    CellData,
    DeviceInfo,
    Layout,
    LiveData,
    LiveSample,
    Reading,
)
from custom_components.jk_bms.jkbms.protocol.live import LiveChecker

CADENCE = 0.5
VOLTAGE = 52.0


def frame(current: float, *, power: float | None = None) -> LiveData:
    """Return a frame; without `power` it agrees with itself."""
    return LiveData(
        battery_voltage=VOLTAGE,
        battery_current=current,
        reported_power=abs(VOLTAGE * current) if power is None else power,
    )


def count(frames: list[LiveData]) -> list[LiveSample]:
    """Return what is counted of frames, the first of which is a reading."""
    first = frames[0].battery_current or 0.0
    checker = LiveChecker(
        Reading(
            layout=Layout.JK02_32S,
            device_info=DeviceInfo(device_model="BMS", software_version="11.48"),
            settings=None,
            cell_data=CellData(
                battery_voltage=VOLTAGE,
                battery_current=first,
                battery_power=VOLTAGE * first,
            ),
            time=0.0,
        )
    )
    return [
        sample
        for number, live in enumerate(frames[1:], 1)
        for sample in checker.accept(live, number * CADENCE)
    ]


def currents(*frames: LiveData) -> list[float | None]:
    """Return the currents that are counted."""
    return [sample.current for sample in count(list(frames))]


def test_frames_that_agree_are_counted_at_once() -> None:
    """A jump that the frame's own power confirms is none to doubt."""
    assert currents(frame(10), frame(10.1), frame(200), frame(0.0)) == [10.1, 200, 0.0]


def test_jump_with_the_power_of_the_frame_before_is_counted() -> None:
    """Some models report the power of the frame before: the next frame confirms it."""
    late = frame(200, power=VOLTAGE * 10)
    assert currents(frame(10), late) == []
    assert currents(frame(10), late, frame(200)) == [200, 200]
    assert currents(frame(10), late, frame(90, power=VOLTAGE * 200)) == [200]
    assert currents(frame(10), late, frame(90, power=VOLTAGE * 200), frame(90.1)) == [
        200,
        90,
        90.1,
    ]


def test_change_of_direction_waits_for_the_next_frame() -> None:
    """The power has no sign."""
    assert currents(frame(50), frame(-50)) == []
    assert currents(frame(50), frame(-50), frame(-50.1)) == [-50, -50.1]
    assert currents(frame(50), frame(-50), frame(50)) == [50]
    assert currents(frame(20), frame(-50), frame(50), frame(50)) == [50, 50]
    assert currents(frame(50), frame(-30), frame(50), frame(50)) == [-30, 50, 50]
    assert currents(frame(50), frame(-30), frame(-45)) == [-30, -45]


@pytest.mark.parametrize("forged", [-90.0, 0.0, 1.0, 87.0, 93.0, 4000.0, -2e6])
def test_forged_current_is_not_counted(forged: float) -> None:
    """A current that neither its power nor the next frame confirms is dropped."""
    good = frame(90)
    damaged = frame(forged, power=VOLTAGE * 90)
    assert currents(good, damaged, good, good) == [90, 90]
    assert currents(good, damaged, frame(20), frame(20)) == [20, 20]


@pytest.mark.parametrize("missing", [1, 2, 3, 10])
def test_frames_without_values_are_passed_over(missing: int) -> None:
    """Some units send blank frames in between, and a loss may make neighbours of two."""
    samples = count([frame(90), *[LiveData()] * missing, frame(90), frame(90)])
    assert [sample.time for sample in samples] == [
        (missing + 1) * CADENCE,
        (missing + 2) * CADENCE,
    ]
    assert {sample.power for sample in samples} == {VOLTAGE * 90}


@pytest.mark.parametrize("lag", [0, 1])
def test_energy_of_any_load_is_counted(lag: int) -> None:
    """200 A for 15 s on and 15 s off, with ripple, noise and forged frames."""
    random = Random(2)
    load = [
        200 * (1 + random.uniform(-0.01, 0.01)) if number // 30 % 2 else 0.3
        for number in range(7200)
    ]
    frames = [
        frame(current, power=VOLTAGE * load[max(0, number - lag)])
        for number, current in enumerate(load)
    ]
    for number in range(5, 7200, 97):
        frames[number] = frame(
            random.uniform(-400, 400), power=frames[number].reported_power
        )
    meter = EnergyMeter(1)
    for sample in count(frames):
        meter.feed(sample.time, sample.power, max_gap=90.0)
    true = sum(load) * VOLTAGE * CADENCE / 3_600_000
    assert meter.total == pytest.approx(true, rel=0.005)


def _noisy(random: Random, current: float) -> float:
    """Return a current with the ripple of an inverter."""
    return current * (1 + random.gauss(0, 0.05))


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize(
    "load",
    [
        lambda time, random: _noisy(random, -30 if time % 5 < 1.5 else 10),
        lambda time, random: _noisy(random, -30 if time % 2 < 0.5 else 10),
        lambda time, random: _noisy(random, 20 if time % 2 < 1 else -20),
        lambda time, _: 30 * sin(2 * pi * time / 3.1),
        lambda time, random: 3 * sin(2 * pi * time / 13) + random.gauss(-1, 0.5),
        lambda _, random: random.gauss(0.5, 10),
    ],
    ids=["pulses", "single frames", "square", "sine", "around zero", "wild"],
)
def test_energy_of_a_load_that_changes_direction_is_counted(
    lag: int, load: Callable[[float, Random], float]
) -> None:
    """A small solar array and a motor, an inverter that regulates the grid to zero, ..."""
    random = Random(1)
    flow = [load(number * CADENCE, random) for number in range(7200)]
    frames = [
        frame(current, power=abs(VOLTAGE * flow[max(0, number - lag)]))
        for number, current in enumerate(flow)
    ]
    samples = count(frames)
    for sign in (1, -1):
        counted, true = EnergyMeter(sign), EnergyMeter(sign)
        for number, current in enumerate(flow):
            true.feed(number * CADENCE, VOLTAGE * current, max_gap=90.0)
        counted.feed(0.0, VOLTAGE * flow[0], max_gap=90.0)
        for sample in samples:
            counted.feed(sample.time, sample.power, max_gap=90.0)
        assert counted.total == pytest.approx(true.total, rel=0.005)
