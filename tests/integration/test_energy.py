"""Arithmetic of energy, smoothed current and time left."""

from itertools import pairwise
from math import exp, inf, nan
from random import Random
from typing import Literal

from hypothesis import given, settings, strategies as st
import pytest

from custom_components.jk_bms.energy import SMOOTHING_TIME, EnergyMeter, SmoothedCurrent
from custom_components.jk_bms.jkbms.estimates import time_to_empty, time_to_full
from tests.thorough import THOROUGH

from .week import INTERVAL, Truth, power_of_a_week, readings_of_a_week, true_energy

KWH = 3_600_000.0
GAP = 90.0

type Samples = list[tuple[float, float | None]]

WATTS = st.floats(-20_000, 20_000)
STEPS = st.floats(0.01, 200)

many = settings(derandomize=True, deadline=None, database=None)


@pytest.fixture(autouse=True)
def bluetooth() -> None:
    """Do without Home Assistant."""


@st.composite
def samples(draw: st.DrawFn, watts: st.SearchStrategy = WATTS) -> Samples:
    """Draw moments, each later than the one before, and values."""
    time = draw(st.floats(0, 1e6))
    result = []
    for step, value in draw(st.lists(st.tuples(STEPS, watts), max_size=30)):
        time += step
        result.append((time, value))
    return result


def count(
    samples: Samples, sign: Literal[1, -1], *, max_gap: float = GAP, total: float = 0.0
) -> float:
    """Return W s counted."""
    meter = EnergyMeter(sign, total)
    for time, power in samples:
        meter.feed(time, power, max_gap=max_gap)
    return meter.total * KWH


@many
@given(samples())
def test_both_directions_make_the_signed_integral(samples: Samples) -> None:
    """Nothing is counted twice or not at all."""
    integral = sum(
        (end - begin) * (first + last) / 2
        for (begin, first), (end, last) in pairwise(samples)
        if end - begin <= GAP
    )
    charged, discharged = count(samples, 1), count(samples, -1)
    assert charged - discharged == pytest.approx(
        integral, rel=1e-9, abs=1e-9 * (charged + discharged) + 1e-6
    )


@many
@given(samples())
def test_directions_mirror_each_other(samples: Samples) -> None:
    """Charging is discharging with the other sign."""
    mirrored = [(time, -power) for time, power in samples]
    assert count(samples, -1) == count(mirrored, 1)


@many
@given(
    samples(WATTS | st.sampled_from([None, nan, inf, -inf])),
    st.sampled_from([1, -1]),
    st.lists(st.floats(allow_nan=True, allow_infinity=True)),
)
def test_counter_never_decreases(
    samples: Samples, sign: Literal[1, -1], odd: list[float]
) -> None:
    """No reading, however odd, takes anything away or makes the count odd."""
    meter = EnergyMeter(sign, 5.0)
    times = [*odd, *(time for time, _ in samples), *odd]
    values = [power for _, power in samples] or [1.0]
    for index, time in enumerate(times):
        before = meter.total
        meter.feed(time, values[index % len(values)], max_gap=GAP)
        assert before <= meter.total < inf


@many
@given(
    st.floats(0, 20_000),
    st.floats(0, 20_000),
    st.lists(st.floats(0, 1), max_size=10),
    st.sampled_from([1, -1]),
)
def test_more_readings_of_a_line_count_the_same(
    begin: float, end: float, cuts: list[float], sign: Literal[1, -1]
) -> None:
    """Where power is linear, and of one sign, it does not matter how often it is read."""
    line: Samples = [
        (60 * part, sign * (begin + (end - begin) * part))
        for part in sorted({0.0, 1.0, *cuts})
    ]
    assert count(line, sign) == pytest.approx(
        count([line[0], line[-1]], sign), rel=1e-6, abs=1e-3
    )


@many
@given(samples(), st.floats(-1e6, 1e6), st.sampled_from([1, -1]))
def test_origin_of_the_clock_does_not_matter(
    samples: Samples, shift: float, sign: Literal[1, -1]
) -> None:
    """Where the clock began does not matter."""
    shifted = [(time + shift, power) for time, power in samples]
    # Sums of floats are not exact: no gap may be just at the limit.
    assert count(shifted, sign, max_gap=300) == pytest.approx(
        count(samples, sign, max_gap=300), rel=1e-6, abs=1e-2
    )


@many
@given(samples(), st.data(), st.sampled_from([1, -1]))
def test_counter_continues_from_a_total(
    samples: Samples, data: st.DataObject, sign: Literal[1, -1]
) -> None:
    """A total taken over continues, and what lies in between is all that is missing."""
    cut = data.draw(st.integers(0, len(samples)))
    first = count(samples[:cut], sign)
    both = count(samples[cut:], sign, total=first / KWH)
    between = count(samples[max(cut - 1, 0) : cut + 1], sign)
    assert both + between == pytest.approx(count(samples, sign), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    ("samples", "charged", "discharged"),
    [
        ([], 0, 0),
        ([(0, 100)], 0, 0),
        ([(0, 100), (30, 100)], 3000, 0),
        ([(0, 0), (30, -100)], 0, 1500),
        ([(0, 300), (40, -100)], 6000, 2000),
        ([(0, 100), (90, 100)], 9000, 0),
        ([(0, 100), (90.001, 100), (100.001, 100)], 1000, 0),
        ([(0, 100), (30, None), (60, 100), (70, 100)], 1000, 0),
        ([(0, 100), (30, nan), (60, 100)], 6000, 0),
        ([(0, 100), (30, -inf), (60, 100)], 6000, 0),
        ([(0, 100), (nan, 100), (inf, 100), (-inf, 100), (60, 100)], 6000, 0),
        ([(0, 100), (30, 100), (30, 900), (29, 900), (60, 100)], 6000, 0),
        ([(0, 100), (30, None), (10, 100), (30, 100), (40, 100)], 0, 0),
    ],
)
def test_energy_of_sample_days_is_counted(
    samples: Samples, charged: float, discharged: float
) -> None:
    """Each direction gets its part of what is known."""
    assert count(samples, 1) == pytest.approx(charged)
    assert count(samples, -1) == pytest.approx(discharged)


@pytest.mark.parametrize("seed", range(3 if THOROUGH else 1))
def test_a_week_matches_the_exact_integral(seed: int) -> None:
    """Restarts, outages and reboots lose no energy of the time with readings."""
    random = Random(seed)
    power = power_of_a_week(random)
    readings = list(readings_of_a_week(random, power))
    for sign in (1, -1):
        meter = EnergyMeter(sign)
        clock = 0.0
        for reading in readings:
            if reading.after in {"restart", "reboot"}:
                meter = EnergyMeter(sign, meter.total)
                # The clock starts at zero with the machine.
                clock = reading.time if reading.after == "reboot" else clock
            meter.feed(reading.time - clock, reading.power, max_gap=3 * INTERVAL)
        true = true_energy(readings, Truth(power, sign))
        assert true > 15
        assert meter.total == pytest.approx(true, rel=0.005)


@many
@given(st.floats(-300, 300), st.lists(st.floats(0.1, 80), min_size=1, max_size=20))
def test_smoothing_depends_on_time_not_on_readings(
    current: float, steps: list[float]
) -> None:
    """How often a current is read does not matter."""
    smoothed = SmoothedCurrent()
    smoothed.feed(0, 0.0, max_gap=GAP)
    time = 0.0
    for step in steps:
        time += step
        smoothed.feed(time, current, max_gap=GAP)
    assert smoothed.value == pytest.approx(
        current * (1 - exp(-time / SMOOTHING_TIME)), abs=1e-9
    )


@pytest.mark.parametrize(
    ("samples", "value"),
    [
        ([], None),
        ([(0, 10)], 10),
        ([(0, None)], None),
        ([(0, 10), (30, None)], None),
        ([(0, 10), (30, None), (60, 20)], 20),
        ([(0, 10), (90, 20)], 20 - 10 * exp(-0.3)),
        ([(0, 10), (90.001, 20)], 20),
        ([(0, 10), (30, nan), (30, 10), (20, 99), (nan, 99), (inf, 99)], 10),
    ],
)
def test_smoothing_restarts_after_a_gap(samples: Samples, value: float | None) -> None:
    """A gap ends the past, and so does a missing value; odd ones are ignored."""
    smoothed = SmoothedCurrent()
    for time, current in samples:
        smoothed.feed(time, current, max_gap=GAP)
    assert smoothed.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("remaining", "nominal", "current", "to_empty", "to_full"),
    [
        (50, 200, -10, 5 * 3600, None),
        (50, 200, 10, None, 15 * 3600),
        (50, 200, 0, None, None),
        (50, 200, 0.999, None, None),
        (50, 200, -0.999, None, None),
        (200, 200, -1, 200 * 3600, None),
        (0, 200, 1, None, 200 * 3600),
        (200, 200, 5, None, 0),
        (201, 200, 5, None, 0),
        (0, 200, -5, 0, None),
        (50.1, 200, -10, 18_060, None),
        (50, 0, -10, None, None),
        (50, 0, 0, None, None),
        (50, nan, -10, None, None),
        (nan, 200, -10, None, None),
        (50, 200, nan, None, None),
        (inf, 200, -10, None, None),
    ],
)
def test_time_left_follows_current_and_capacity(
    remaining: float,
    nominal: float,
    current: float,
    to_empty: int | None,
    to_full: int | None,
) -> None:
    """The time is known only for the direction in which current flows."""
    assert time_to_empty(remaining, nominal, current) == to_empty
    assert time_to_full(remaining, nominal, current) == to_full
