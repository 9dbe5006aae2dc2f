"""A simulated battery and its day: load at night, sun in the morning, full at noon, load in the evening."""

from bisect import bisect
from dataclasses import fields, replace
from math import cos, exp, pi, sin
from random import Random
from typing import Any

from .chemistry import CURVES, REST_VOLTAGE, SETTINGS, default_settings
from .firmware import Firmware
from .spec import Spec
from .state import DetailRecord, LogEntry, Settings, State, Temperature

WARM_UP_STEP = 120.0
DAY = 86400.0
MIDNIGHT = 2363 * 86400
"""Clock value of the simulated day's first second (2026-06-21)."""
FIRST_SAMPLE_PERIOD = 3601
DETAIL_LOG = 0xA7
DETAIL_RECORDS = 836
FEWER_DETAIL_RECORDS = 417


def _detail_records(firmware: Firmware) -> int:
    return DETAIL_RECORDS if firmware.full_detail_log else FEWER_DETAIL_RECORDS


class Battery:
    """One simulated battery; equal arguments and equal `advance` totals give equal states."""

    def __init__(
        self,
        spec: Spec,
        *,
        hour: float = 8.0,
        soc: float | None = None,
        time_scale: float = 1.0,
        seed: int = 0,
        settings: Settings | None = None,
        step: float = 1.0,
    ) -> None:
        """Start at `hour` (0..24); without `soc` (0..1) the day before determines it.

        `step`: simulated seconds at a time; a larger one is faster and a little coarser.
        """
        self.spec = spec
        self.settings = settings or default_settings(spec)
        self.time_scale = time_scale
        self.seed = seed
        self.alarms = 0
        """Alarm bits to set in addition to those that the simulation raises."""
        self.log: list[LogEntry] = [
            LogEntry(0, 0x01),
            LogEntry(27, 0x3C),
            LogEntry(3079, 0x44),
        ]
        self._curve = CURVES[spec.chemistry]
        self._dt = step
        self._overrides: dict[str, Any] = {}
        self._logged_alarms = 0
        self._clock_offset = MIDNIGHT + hour * 3600.0 if spec.clock_set else 0.0
        random = Random(f"{seed} {spec.address}")
        n = spec.cells
        self._soc_offsets = [random.gauss(0.0, 0.003) for _ in range(n)]
        # Unequal self-discharge per second: it undoes what the balancer equalises by day.
        self._drift = [random.gauss(0.0, 0.003) / DAY for _ in range(n)]
        self._resistance = [
            0.16 / spec.capacity * random.uniform(0.95, 1.1) for _ in range(n)
        ]
        self._wires = [round(random.uniform(0.048, 0.11), 3) for _ in range(n)]
        self._phases = [random.uniform(0, 2 * pi) for _ in range(6)]

        self._elapsed = 0.0
        self._carry = 0.0
        self._start = hour * 3600.0
        self._soc = 1.0 if soc is None else soc
        self._current = 0.0
        self._moved = 0.0
        self._battery_rise = 1.0
        self._mosfet_rise = 2.0
        self._rested = 0.5
        self._full = self._soc >= 0.999
        self._phase_since = 0.0
        self._phase = 0
        self._idle_since = 0.0
        self._open = self._open_voltages()
        if soc is None:
            self._warm_up()

    # Time

    def advance(self, seconds: float) -> State:
        """Advance simulated time by `seconds` and return the state."""
        self._carry += seconds
        steps = int(self._carry / self._dt + 1e-9)
        self._carry -= steps * self._dt
        for _ in range(steps):
            self._elapsed += self._dt
            self._step(self._dt)
        state = self.state
        self._write_log(state)
        return state

    @property
    def now(self) -> float:
        """Seconds of simulated time since the beginning."""
        return self._elapsed + self._carry

    @property
    def hour(self) -> float:
        """Time of day, 0..24."""
        return (self._start + self.now) % DAY / 3600

    # Controls for tests

    def override(self, **values: Any) -> None:
        """Pin fields of the state; dependent fields are adapted unless they are given too."""
        unknown = values.keys() - {f.name for f in fields(State)}
        if unknown:
            raise TypeError(f"no such field: {', '.join(sorted(unknown))}")
        self._overrides |= values

    def release(self, *names: str) -> None:
        """Return these fields to the simulation; without names, all."""
        for name in names or tuple(self._overrides):
            self._overrides.pop(name, None)

    def set_clock(self, clock: int) -> None:
        """Set the clock, as the app does with register 0x6C."""
        self._clock_offset = clock - self.now

    # Output

    @property
    def state(self) -> State:
        """The measurements of this moment, overrides included."""
        state = self._simulated()
        if not self._overrides:
            return state
        derived = _consequences(self._overrides, state.current)
        state = replace(state, **derived, **self._overrides)
        if "power" in self._overrides:
            return state
        return replace(state, power=round(abs(state.voltage * state.current), 3))

    @property
    def detail_log(self) -> list[DetailRecord]:
        """One sample an hour, oldest first."""
        firmware = self.spec.firmware
        if not firmware.declares(DETAIL_LOG):
            return []
        clock = self._clock()
        return [
            self._sample(clock - FIRST_SAMPLE_PERIOD * age)
            for age in reversed(range(_detail_records(firmware)))
        ]

    # The simulation

    def _warm_up(self) -> None:
        """Simulate from yesterday's full battery up to the wanted time of day."""
        start, begin = self._start, 14.0 * 3600.0
        self._start = begin
        for _ in range(int((start - begin) % DAY / WARM_UP_STEP)):
            self._elapsed += WARM_UP_STEP
            self._step(WARM_UP_STEP)
        self._start, self._elapsed, self._moved = start, 0.0, 0.0
        self._phase_since = self._idle_since = 0.0

    def _step(self, dt: float) -> None:
        spec = self.spec
        self._open = self._open_voltages()
        wanted = self._wanted_current()
        # The inertia of a real charger keeps the readings from jumping.
        self._current += (wanted - self._current) * min(1.0, dt / 8.0)
        if abs(self._current) < 0.02:
            self._current = 0.0
        change = self._current * dt / 3600.0
        self._moved += max(0.0, -change)
        self._soc = min(1.008, max(0.0, self._soc + change / spec.capacity))
        self._soc_offsets = [
            offset + drift * dt
            for offset, drift in zip(self._soc_offsets, self._drift, strict=True)
        ]
        self._rest(dt)
        self._balance(dt)
        self._charge_control()
        c_rate = abs(self._current) / spec.capacity
        self._battery_rise += (60.0 * c_rate**2 + 8.0 * c_rate - self._battery_rise) * (
            1 - exp(-dt / 2400.0)
        )
        self._mosfet_rise += (
            160.0 * c_rate**2 + 25.0 * c_rate + 1.0 - self._mosfet_rise
        ) * (1 - exp(-dt / 300.0))
        if abs(self._current) > 0.5:
            self._idle_since = self._elapsed

    def _wanted_current(self) -> float:
        """Sun minus load, limited by the switches and the charge control."""
        spec, settings = self.spec, self.settings
        hour = self.hour
        wish = self._household * (self._sun(hour) - self._load(hour))
        if wish > 0:
            if not self._charge_mosfet():
                return 0.0
            if self._phase == 2 and spec.firmware.phases:
                # A charger in float lets the battery settle to the float voltage.
                settling = max(self._open) > settings.request_float_voltage
                return -0.003 * spec.capacity if settling else 0.0
            return min(wish, settings.max_charge_current) * self._taper()
        if not self._overrides.get("discharging", settings.discharging):
            return 0.0
        if self._soc <= 0.002:
            return 0.0
        return max(wish, -settings.max_discharge_current)

    @property
    def _household(self) -> float:
        """A: the unit of sun and loads in this installation."""
        return min(self.spec.max_current, 0.4 * self.spec.capacity)

    def _sun(self, hour: float) -> float:
        height = sin(pi * (hour - 6.0) / 12.5) if 6.0 < hour < 18.5 else 0.0
        clouds = 0.85 + 0.15 * self._wobble(hour * 3600.0, 0)
        return 0.65 * max(0.0, height) * clouds

    def _load(self, hour: float) -> float:
        evening = 0.30 * exp(-(((hour - 20.0) / 2.2) ** 2))
        breakfast = 0.12 * exp(-(((hour - 7.2) / 0.7) ** 2))
        kettle = 0.25 if int(hour * 60) % 97 in (11, 12, 13) and hour > 6 else 0.0
        return (0.06 + evening + breakfast + kettle) * (
            1.0 + 0.08 * self._wobble(hour * 3600.0, 3)
        )

    def _wobble(self, seconds: float, voice: int) -> float:
        """Smooth noise in -1..1 that depends on the time alone."""
        p = self._phases[voice : voice + 3]
        return (
            sin(seconds / 41.0 + p[0])
            + sin(seconds / 173.0 + p[1])
            + sin(seconds / 911.0 + p[2])
        ) / 3.0

    def _open_voltages(self) -> list[float]:
        rest = REST_VOLTAGE[self.spec.chemistry]
        voltages = [self._ocv(self._soc + offset) for offset in self._soc_offsets]
        return [v - max(0.0, v - rest) * self._rested for v in voltages]

    def _rest(self, dt: float) -> None:
        """Relax a full cell to its rest voltage within an hour after charging ends."""
        charging = min(1.0, max(0.0, self._current / (0.01 * self.spec.capacity)))
        time_constant = 300.0 if charging else 3000.0
        self._rested += (1.0 - charging - self._rested) * (1 - exp(-dt / time_constant))

    def _ocv(self, soc: float) -> float:
        # Beyond either end the outermost piece is prolonged.
        i = min(max(bisect(self._curve, (soc,)), 1), len(self._curve) - 1)
        (s0, v0), (s1, v1) = self._curve[i - 1], self._curve[i]
        return v0 + (v1 - v0) * (soc - s0) / (s1 - s0)

    def _taper(self) -> float:
        """Share of the charge current left when the highest cell comes near its limit."""
        settings = self.settings
        if self.spec.firmware.phases:
            limit = settings.request_charge_voltage + 0.05
        else:
            limit = settings.cell_ovp - 0.05
        return min(1.0, max(0.0, (limit - max(self._open)) / 0.12))

    def _charge_mosfet(self) -> bool:
        if not self._overrides.get("charging", self.settings.charging):
            return False
        return self.spec.firmware.phases or not self._full

    def _charge_control(self) -> None:
        """Bulk, absorption, float; boards without phases open the charge MOSFET instead."""
        average = sum(self._open) / len(self._open)
        if self._full:
            if self._soc < 0.95:
                self._full = False
                self._enter_phase(0)
            elif (
                self._phase == 1
                and self._elapsed - self._phase_since
                > self.settings.request_charge_time * 3600
            ):
                self._enter_phase(2)
        elif average >= (
            self.settings.soc_100 or SETTINGS[self.spec.chemistry].soc_100
        ):
            self._full = True
            self._soc = max(self._soc, 1.0)
            self._enter_phase(1)

    def _enter_phase(self, phase: int) -> None:
        self._phase, self._phase_since = phase, self._elapsed

    def _balancer(self) -> int:
        """0, 1 or 2: charge moves in periods of ten seconds."""
        settings = self.settings
        cells = self._open
        if (
            not settings.balancer
            or max(cells) < settings.balance_start_voltage
            or max(cells) - min(cells) < settings.balance_trigger
        ):
            return 0
        return 1 + int(self._elapsed / 10.0) % 2

    def _balance(self, dt: float) -> None:
        if not self._balancer():
            return
        cells = self._open
        share = (
            self.settings.max_balance_current * dt / 3600.0 / self.spec.capacity / 2.0
        )
        self._soc_offsets[cells.index(max(cells))] -= share
        self._soc_offsets[cells.index(min(cells))] += share

    # From the physics to the readings

    def _simulated(self) -> State:
        spec = self.spec
        noise = Random(f"{self.seed} {int(self.now)}")
        cells = tuple(
            round(v + self._current * r + noise.choice((-0.001, 0.0, 0.0, 0.001)), 3)
            for v, r in zip(self._open, self._resistance, strict=True)
        )
        voltage = round(sum(cells), 3)
        balancer = self._balancer()
        current = round(self._current, 3)
        balance_current = round(
            self.settings.max_balance_current * noise.uniform(0.88, 1.0), 3
        )
        t1, t2, t4, t5, mosfet = self._temperatures()
        heating = spec.heater and t1 is not None and t1 < self.settings.heat_start
        soc = min(100, round(self._soc * 100))
        state = State(
            hour=self.hour,
            cells=cells,
            resistances=tuple(self._wires),
            enabled=(1 << len(cells)) - 1,
            voltage=voltage,
            current=current,
            power=round(abs(voltage * current), 3),
            temperatures=(t1, t2, t4, t5),
            mosfet_temperature=mosfet,
            balancer=balancer,
            balance_current=(0.0, balance_current, -balance_current)[balancer],
            soc=soc,
            remaining=round(min(1.0, self._soc) * spec.capacity, 3),
            full=spec.capacity,
            cycles=spec.cycles + int(self._moved / spec.capacity),
            cycle_capacity=round(spec.cycles * spec.capacity + self._moved, 3),
            soh=spec.soh,
            charging=self._charge_mosfet(),
            discharging=self.settings.discharging and soc > 0,
            alarms=self._alarms(cells),
            run_time=spec.run_time + self.now,
            uptime=spec.uptime + self.now,
            heating=heating,
            heater_current=4.2 if heating else 0.0,
            clock=self._clock(),
            detail_records=_detail_records(spec.firmware),
            sleep=max(0, 86400 - int(self._elapsed - self._idle_since)),
            phase=self._phase if spec.firmware.phases else 0,
            phase_time=self._phase_time(),
            dry_contacts=0x02 if spec.dry_contacts and soc < 20 else 0,
        )
        if spec.balancer_only:
            return replace(state, temperatures=(t1, 0.0, 0.0, 0.0), **_BALANCER_ZEROS)
        return state

    def _phase_time(self) -> int:
        if not self.spec.firmware.phases or not self._phase:
            return 0
        return min(65535, int(self._elapsed - self._phase_since))

    def _temperatures(
        self,
    ) -> tuple[Temperature, Temperature, Temperature, Temperature, Temperature]:
        ambient = 21.0 - 6.0 * cos(2 * pi * (self.hour - 3.5) / 24.0)
        cell = ambient + self._battery_rise
        readings = (cell, cell + 0.4, cell - 0.3, cell + 0.7)
        t1, t2, t4, t5 = (
            round(value, 1) if fitted else None
            for value, fitted in zip(readings, self.spec.sensors, strict=True)
        )
        mosfet = round(ambient + self._mosfet_rise, 1)
        return t1, t2, t4, t5, mosfet if self.spec.mosfet_sensor else None

    def _alarms(self, cells: tuple[float, ...]) -> int:
        settings = self.settings
        mask = self.alarms
        if self._full and not (self.spec.firmware.phases or self.spec.balancer_only):
            mask |= 1 << 4  # these boards report overvoltage when full
        if max(cells) > settings.cell_ovp:
            mask |= 1 << 4
        if min(cells) < settings.cell_uvp:
            mask |= 1 << 11
        return mask

    def _clock(self) -> int:
        """If it was never set, it counts from the beginning of the simulation."""
        return int(self._clock_offset + self.now)

    def _write_log(self, state: State) -> None:
        for bit, (raised, cleared) in ALARM_CODES.items():
            was, is_ = self._logged_alarms >> bit & 1, state.alarms >> bit & 1
            if was != is_:
                self.log.append(
                    LogEntry(int(state.run_time), raised if is_ else cleared)
                )
        self._logged_alarms = state.alarms
        del self.log[:-50]

    def _sample(self, clock: int) -> DetailRecord:
        """A sample of the past: every day looked like this one."""
        hour = (clock - self._clock() + (self._start + self.now)) % DAY / 3600.0
        fraction = 0.65 - 0.33 * cos(2 * pi * (hour - 5.5) / 24.0)
        current = self._household * (self._sun(hour) - self._load(hour))
        cells = [self._ocv(fraction + o) for o in self._soc_offsets]
        highest, lowest = cells.index(max(cells)), cells.index(min(cells))
        warm = round(21.0 - 6.0 * cos(2 * pi * (hour - 3.5) / 24.0))
        return DetailRecord(
            clock=clock,
            highest=highest,
            lowest=lowest,
            highest_voltage=cells[highest],
            lowest_voltage=cells[lowest],
            voltage=sum(cells),
            current=current,
            remaining=fraction * self.spec.capacity,
            full=self.spec.capacity,
            temperatures=(warm + 1, warm, warm + 3),
        )


# Alarm bit -> log codes for "set" and "released".
ALARM_CODES: dict[int, tuple[int, int]] = {
    1: (0x0B, 0x0C),
    3: (0x0D, 0x0E),
    4: (0x11, 0x12),
    5: (0x13, 0x14),
    6: (0x15, 0x16),
    7: (0x17, 0x18),
    8: (0x19, 0x1A),
    9: (0x1B, 0x1C),
    10: (0x0F, 0x10),
    11: (0x1D, 0x1E),
    12: (0x1F, 0x20),
    13: (0x21, 0x22),
    14: (0x23, 0x24),
    15: (0x25, 0x26),
    27: (0x48, 0x49),
}

# A balancer on the 32S layout measures cells only and sends zeros for everything else.
_BALANCER_ZEROS: dict[str, Any] = {
    "current": 0.0,
    "power": 0.0,
    "soc": 0,
    "remaining": 0.0,
    "full": 0.0,
    "cycles": 0,
    "cycle_capacity": 0.0,
    "soh": 0,
    "charging": False,
    "discharging": False,
    "uptime": 0.0,
    "clock": 0,
    "sleep": 0,
    "detail_records": 0,
    "mosfet_temperature": 0.0,
}


def _consequences(given: dict[str, Any], current: float) -> dict[str, Any]:
    """Fields that must change with the given ones, unless they are given."""
    derived: dict[str, Any] = {}
    blocking = "charging" if current > 0 else "discharging"
    if not given.get(blocking, True):
        derived["current"] = 0.0
    if "cells" in given:
        cells = given["cells"]
        derived["enabled"] = (1 << len(cells)) - 1
        derived["voltage"] = round(sum(cells), 3)
        derived["resistances"] = (0.06,) * len(cells)
        if not cells:
            derived |= _NOTHING_CONNECTED
    return {name: value for name, value in derived.items() if name not in given}


_NOTHING_CONNECTED: dict[str, Any] = {
    "current": 0.0,
    "power": 0.0,
    "soc": 0,
    "remaining": 0.0,
    "full": 0.0,
    "balancer": 0,
    "balance_current": 0.0,
    "charging": False,
    "discharging": False,
    "alarms": 1 << 2,
}
