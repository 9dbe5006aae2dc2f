"""Entries of the battery's logs find their place in time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from custom_components.jk_bms.jkbms.models import (
    CellData,
    DetailLogRecord,
    DeviceInfo,
    Layout,
    LogEntry,
    Reading,
)
from custom_components.jk_bms.jkbms.protocol.decode import decode_detail_log
from custom_components.jk_bms.jkbms.protocol.timestamps import (
    Timestamped,
    run_time,
    timestamp_detail_log,
    timestamp_logbook,
)

from . import DETAIL_LOG, build_frame

NOW = datetime(2026, 11, 1, 12, 0, 0, 600_000, UTC)
CLOCK = 200_000_000
HOUR = 3600
YEAR = 365 * 24 * HOUR
(BLANK,) = decode_detail_log(build_frame(DETAIL_LOG, {8: "01"}))


def info(up_time: int | None) -> DeviceInfo:
    """Return device information with this run time."""
    return DeviceInfo(device_model="JK", software_version="11", up_time=up_time)


@pytest.mark.parametrize(
    ("layout", "stored", "live", "expected"),
    [
        (Layout.JK02_32S, 900, 1000, 1000),
        (Layout.JK02_24S, 900, 1000, 1000),
        (Layout.JK02_24S, 900, None, 900),
        (Layout.JK04, 900, 10, 900),
        (Layout.JK04, None, 10, None),
    ],
)
def test_run_time_is_that_over_life(
    layout: Layout, stored: int | None, live: int | None, expected: int | None
) -> None:
    """Where the cell data have one too, it is more recent; that of JK04 restarts."""
    reading = Reading(
        layout=layout,
        device_info=info(stored),
        settings=None,
        cell_data=CellData(up_time=live),
        time=0.0,
    )
    assert run_time(reading) == expected


def test_run_time_of_an_entry_becomes_a_time() -> None:
    """Run time counts back from now, in whole seconds."""
    entries = (
        LogEntry(time=1000, code=1, event="boot"),
        LogEntry(time=4000, code=2, event="shutdown"),
    )
    timestamped = timestamp_logbook(entries, run_time=4600.25, now=NOW)
    assert [entry.entry for entry in timestamped] == list(entries)
    assert [entry.isoformat for entry in timestamped] == [
        "2026-11-01T11:00:00+00:00",
        "2026-11-01T11:50:00+00:00",
    ]


def test_logbook_without_a_run_time() -> None:
    """An entry without a known time has none."""
    entry = LogEntry(time=1000, code=1, event="boot")
    (timestamped,) = timestamp_logbook([entry], run_time=None, now=NOW)
    assert timestamped == Timestamped(time=None, entry=entry)
    assert timestamped.isoformat is None


def test_nothing_happens_in_the_future() -> None:
    """A run time that is reported late does not put an event in the future."""
    entry = LogEntry(time=1000, code=1, event="boot")
    (timestamped,) = timestamp_logbook([entry], run_time=800, now=NOW)
    assert timestamped.time == NOW.replace(microsecond=0)


def test_time_before_a_change_to_winter_time_has_its_own_offset() -> None:
    """The hours in between are counted as they passed."""
    now = datetime(2026, 10, 25, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    entry = LogEntry(time=0, code=1, event="boot")
    (timestamped,) = timestamp_logbook([entry], run_time=12 * HOUR, now=now)
    assert timestamped.isoformat == "2026-10-25T01:00:00+02:00"


def records(*entries: tuple[int, str]) -> list[DetailLogRecord]:
    """Return a detail log: how many s ago, by the clock, and what happened."""
    return [
        replace(BLANK, index=index, clock=CLOCK - ago, event=event)
        for index, (ago, event) in enumerate(entries)
    ]


def ages(*entries: tuple[int, str], clock: float | None = CLOCK) -> list[float | None]:
    """Return the age of each record in seconds."""
    log = records(*entries)
    timestamped = timestamp_detail_log(log, clock=clock, now=NOW)
    assert [entry.entry for entry in timestamped] == log
    now = NOW.replace(microsecond=0)
    return [
        None if entry.time is None else (now - entry.time) / timedelta(seconds=1)
        for entry in timestamped
    ]


def test_detail_log_gets_its_times_by_its_clock() -> None:
    """Ages count back from the clock's present time, so it may be set wrong."""
    log = (8 * HOUR, "sample"), (2 * HOUR, "boot"), (HOUR, "sample"), (60, "sleep")
    assert ages(*log) == [8 * HOUR, 2 * HOUR, HOUR, 60]
    assert ages(*log, clock=CLOCK + 10) == [8 * HOUR + 10, 2 * HOUR + 10, HOUR + 10, 70]
    assert ages() == []


@pytest.mark.parametrize("clock", [None, 0.0])
def test_records_without_a_clock_have_no_time(clock: float | None) -> None:
    """A clock that reads 0 counts as none."""
    assert ages((0, "sample"), (0, "sample"), clock=clock) == [None, None]


def test_small_correction_of_the_clock_keeps_earlier_times() -> None:
    """The app sets the clock at each visit, usually by some minutes."""
    assert ages((HOUR, "sample"), (0, "sample"), (500, "clock_set"), (100, "sample"))[
        1:
    ] == [0, 500, 100]
    assert None not in ages((2 * HOUR, "sample"), (HOUR, "clock_set"), (60, "sample"))
    assert ages((HOUR, "sample"), (-500, "sample")) == [HOUR, 0]


@pytest.mark.parametrize(
    "log",
    [
        # Set back
        [(-HOUR, "sample"), (HOUR, "sample"), (60, "sample")],
        [(-HOUR, "sample"), (HOUR, "clock_set"), (60, "sample")],
        # Never set before; the record of it may be older or newer than the change
        [(5 * YEAR + HOUR, "sample"), (HOUR, "clock_set"), (60, "sample")],
    ],
)
def test_records_before_a_change_of_the_clock_have_no_time(
    log: list[tuple[int, str]],
) -> None:
    """Nobody knows by how much the clock was wrong before."""
    assert ages(*log) == [None, HOUR, 60]
    assert ages((HOUR, "sample"), *log) == [None, None, HOUR, 60]


def test_another_clock_after_the_record_of_it() -> None:
    """The same, by the old clock."""
    log = (5 * YEAR + HOUR, "sample"), (5 * YEAR, "clock_set"), (60, "sample")
    assert ages(*log) == [None, None, 60]
    assert ages((5 * YEAR, "clock_set")) == [None]


def test_clock_that_is_behind_the_log_gives_no_time() -> None:
    """It was set back after the last record."""
    assert ages((HOUR, "sample"), (60, "sample"), clock=CLOCK - YEAR) == [None, None]
