"""A week of a battery's life, second by second, and the readings of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import pi, sin
from random import Random

DAY = 86_400
WEEK = 7 * DAY
FULL = 10_000 * 3600.0
"""W s."""
INTERVAL = 30.0


def power_of_a_week(random: Random) -> list[float]:
    """Return W for each second: sun, clouds, and a household, + charging."""
    load = [260.0] * (WEEK + 1)

    def switch_on(begin: float, seconds: float, watts: float) -> None:
        for second in range(int(begin), min(int(begin + seconds), WEEK)):
            load[second] += watts

    begin = 0.0
    while begin < WEEK:  # the fridge, with the surge of its motor
        switch_on(begin, 1, 600)
        run = random.uniform(8, 14) * 60
        switch_on(begin, run, 85)
        begin += run + random.uniform(18, 30) * 60
    for day in range(0, WEEK, DAY):
        for _ in range(random.randrange(3, 7)):  # the kettle
            switch_on(
                day + random.uniform(6, 22) * 3600, random.uniform(120, 240), 2000
            )
        for hour in (12, 18):  # the cooker, switched by its thermostat
            start = day + random.uniform(hour, hour + 1) * 3600
            for cycle in range(40):
                switch_on(start + 40 * cycle, random.uniform(8, 25), 1500)
        for _ in range(8):  # a motor that starts and stops
            switch_on(day + random.uniform(7, 21) * 3600, random.uniform(3, 40), 1100)

    power = []
    charge = FULL / 2
    clouds, goal = 0.5, 0.5
    for second in range(WEEK + 1):
        hour = second % DAY / 3600
        if random.random() < 1 / 120:
            goal = random.uniform(0.15, 1.0)
        clouds += (goal - clouds) / 20
        sun = (
            3400 * max(0.0, sin(pi * (hour - 6) / 14)) * clouds if 6 < hour < 20 else 0
        )
        # Full batteries take what they need, empty ones give nothing.
        watts = min(sun - load[second], max(0.0, (FULL - charge) / 1800))
        watts = watts if charge > 0 else max(0.0, watts)
        charge += watts
        power.append(watts)
    return power


class Truth:
    """The energy of one direction, from every second."""

    def __init__(self, power: list[float], sign: int) -> None:
        """Add up the line between the seconds, in steps of its own."""
        self._parts = [
            sum(max(0.0, sign * (a + (b - a) * (step + 0.5) / 4)) for step in range(4))
            / 4
            for a, b in pairwise(power)
        ]
        self._sums = [0.0, *accumulate(self._parts)]

    def until(self, time: float) -> float:
        """Return kWh since the begin of the week."""
        second = int(time)
        rest = (time - second) * self._parts[second] if time > second else 0.0
        return (self._sums[second] + rest) / 3_600_000


@dataclass(frozen=True)
class TimedReading:
    """A reading, and what interrupted the readings before it."""

    time: float
    """s since the beginning of the week."""
    power: float
    after: str | None = None
    """`outage`, `reload`, `restart` (of Home Assistant) or `reboot` (of its machine)."""


def readings_of_a_week(random: Random, power: list[float]) -> Iterator[TimedReading]:
    """Yield the readings: jitter, single failures, and ten outages of each kind."""
    kinds = {"outage": (180, 20_000), "reload": (2, 8), "restart": (25, 80)}
    kinds["reboot"] = (60, 300)
    interruptions = sorted(
        (random.uniform(0, WEEK), kind) for kind in kinds for _ in range(10)
    )
    time = random.uniform(0, 5)
    after: str | None = None
    while time < WEEK:
        second = int(time)
        watts = power[second] + (power[second + 1] - power[second]) * (time - second)
        # What the wire carries at 52 V.
        yield TimedReading(time, round(watts, 1), after)
        after = None
        time += INTERVAL + random.uniform(-3, 3)
        if random.random() < 0.01:
            time += INTERVAL
        while interruptions and interruptions[0][0] < time:
            _, kind = interruptions.pop(0)
            time += random.uniform(*kinds[kind])
            # A reload in an outage does not end it.
            after = kind if kind != "reload" else after or kind


def true_energy(readings: list[TimedReading], truth: Truth) -> float:
    """Return kWh of the time with readings."""
    return sum(
        truth.until(end.time) - truth.until(begin.time)
        for begin, end in pairwise(readings)
        if end.after in {None, "reload"}
    )
