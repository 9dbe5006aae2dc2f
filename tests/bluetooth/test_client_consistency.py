"""Tests of frames that are damaged although their checksum is right."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest

from custom_components.jk_bms.jkbms.models import Reading

from .harness import (
    CADENCE,
    CELLS,
    COMPLETE,
    INFO,
    STEADY,
    Harness,
    PowerOn,
    assert_read,
    exactly,
)

SETTINGS_FRAME, CELL_FRAME, INFO_FRAME = (
    bytes.fromhex("55AAEB90") + bytes((kind,)) for kind in (0x01, 0x02, 0x03)
)
CELL_OVP, NAME, RESISTANCE = 18, 46, 80
"""Their offsets in a frame."""


def swap_bytes_once(
    start: bytes, place: int, due: Callable[[], bool] = lambda: True
) -> Callable[[bytes], bytes]:
    """Swap two neighbouring bytes once, which the checksum does not detect."""
    hit = False

    def forge(data: bytes) -> bytes:
        nonlocal hit
        if hit or not data.startswith(start) or not due():
            return data
        hit = True
        pair = data[place : place + 2]
        assert pair[0] != pair[1]
        return data[:place] + pair[::-1] + data[place + 2 :]

    return forge


@pytest.fixture
def harness(power_on: PowerOn) -> Harness:
    """Return a battery with fixed delays."""
    return power_on(habits=STEADY)


def test_battery_that_contradicts_itself_is_believed_with_its_second_frame(
    harness: Harness,
) -> None:
    """Both frames say the same, so that is how this battery is."""
    harness.bms.battery.override(soc=61, remaining=210.0)

    reading = harness.read()

    assert harness.elapsed == exactly(COMPLETE)
    assert reading.cell_data.remain_percent == 61
    assert harness.client.statistics.rejected == 0


def test_frame_that_contradicts_the_last_reading_is_not_published(
    harness: Harness,
) -> None:
    """The next frame is published instead."""
    harness.read()
    harness.read()
    usual = harness.elapsed
    harness.alter = swap_bytes_once(CELL_FRAME, RESISTANCE)

    assert_read(harness.read(), harness.bms)

    assert harness.elapsed == exactly(usual + CADENCE)
    assert harness.client.statistics.rejected == 1


def test_held_link_publishes_the_frame_after_a_damaged_one(harness: Harness) -> None:
    """On a held link the reading comes half a second later, and is right."""
    readings: list[Reading] = []
    harness.alter = swap_bytes_once(CELL_FRAME, RESISTANCE, lambda: len(readings) == 10)

    harness.run(harness.client.hold(readings.append, interval=0.1, lifetime=20.0))

    pauses = [two.time - one.time for one, two in pairwise(readings)]
    late = [2 * CADENCE if number == 9 else CADENCE for number in range(len(pauses))]
    assert pauses == exactly(late)
    assert len({reading.cell_data.cell_resistance for reading in readings}) == 1
    assert harness.client.statistics.rejected == 1


def test_change_between_two_readings_causes_no_delay(harness: Harness) -> None:
    """A change that has lasted since a skipped frame delays no reading."""
    readings: list[Reading] = []

    async def hold() -> None:
        loop = asyncio.get_running_loop()
        override = partial(harness.bms.battery.override, soc=41, remaining=82.0)
        loop.call_later(COMPLETE + 2.0, override)
        await harness.client.hold(readings.append, interval=5.0, lifetime=20.0)

    harness.run(hold())

    assert [reading.cell_data.remain_percent for reading in readings[:2]] == [60, 41]
    pauses = [two.time - one.time for one, two in pairwise(readings)]
    assert pauses == exactly([10 * CADENCE] * len(pauses))


def test_different_device_information_is_requested_again(harness: Harness) -> None:
    """Device information that differs from the last is requested once more."""
    harness.read()
    harness.read()
    usual, asked = harness.elapsed, len(harness.sent_at(INFO))
    harness.alter = swap_bytes_once(INFO_FRAME, NAME)

    assert_read(harness.read(), harness.bms)

    assert len(harness.sent_at(INFO)) == asked + 2
    assert usual < harness.elapsed < usual + 1.0


def test_new_device_name_is_believed_when_read_twice(harness: Harness) -> None:
    """A real change is read twice and then believed."""
    harness.read()
    harness.bms.battery.spec = replace(harness.bms.spec, name="Garden")

    assert harness.read().device_info.device_name == "Garden"
    assert len(harness.sent_at(INFO)) == 3
    assert harness.read().device_info.device_name == "Garden"
    assert len(harness.sent_at(INFO)) == 4


@pytest.mark.parametrize("reads_before", [0, 1])
def test_doubtful_settings_are_requested_again(
    harness: Harness, reads_before: int
) -> None:
    """Settings that are odd, or differ from the last ones, are requested once more."""
    for _ in range(reads_before):
        harness.read()
    harness.alter = swap_bytes_once(SETTINGS_FRAME, CELL_OVP)

    assert_read(reading := harness.read(), harness.bms)

    assert reading.settings
    assert reading.settings.cell_ovp == harness.bms.battery.settings.cell_ovp
    assert len(harness.sent_at(CELLS)) == reads_before + 2


def test_new_settings_are_believed_when_read_twice(harness: Harness) -> None:
    """Settings that the owner has changed are believed on the same connection."""
    harness.read()
    harness.bms.battery.settings = replace(harness.bms.battery.settings, cell_ovp=3.6)

    for sent in (3, 4):
        reading = harness.read()
        assert reading.settings
        assert reading.settings.cell_ovp == 3.6
        assert len(harness.sent_at(CELLS)) == sent


def test_settings_read_only_once_are_left_out(harness: Harness) -> None:
    """If the second answer is lost, there are no settings until the next connection."""
    harness.read()
    harness.alter = swap_bytes_once(SETTINGS_FRAME, CELL_OVP)
    losses = iter((False, True))
    harness.is_lost = lambda data: (
        data.startswith(SETTINGS_FRAME) and next(losses, False)
    )

    reading = harness.read()

    assert reading.settings is None
    assert_read(harness.read(), harness.bms)


def test_implausible_settings_are_not_requested_again(harness: Harness) -> None:
    """A second request would beep, and the reading does not depend on them."""
    harness.read()
    harness.bms.battery.settings = replace(harness.bms.battery.settings, cell_ovp=3.6)
    losses = iter((False, True))
    harness.is_lost = lambda data: (
        data.startswith(SETTINGS_FRAME) and next(losses, False)
    )
    harness.read()
    harness.bms.battery.settings = replace(harness.bms.battery.settings, cell_count=40)
    asked = len(harness.sent_at(CELLS))

    assert harness.read().settings is None
    assert len(harness.sent_at(CELLS)) == asked + 1

    readings: list[Reading] = []
    harness.run(harness.client.hold(readings.append, interval=1.0, lifetime=5.0))
    assert len(readings) > 3
    assert len(harness.sent_at(CELLS)) == asked + 2


def test_first_frame_after_many_damaged_ones_is_not_believed(harness: Harness) -> None:
    """After a row of damaged frames the first good checksum does not count."""
    readings: list[Reading] = []
    since = 0

    def spoil(data: bytes) -> bytes:
        nonlocal since
        if len(readings) != 10 or not data.startswith(CELL_FRAME) or since == 8:
            return data
        since += 1
        return data[:90] + bytes((data[90] ^ 1,)) + data[91:]

    harness.alter = spoil

    harness.run(harness.client.hold(readings.append, interval=0.1, lifetime=20.0))

    pauses = [two.time - one.time for one, two in pairwise(readings)]
    late = [10 * CADENCE if number == 9 else CADENCE for number in range(len(pauses))]
    assert pauses == exactly(late)
    assert harness.client.statistics.rejected == 9
