"""The state of a battery at one moment, in plain units: V, A, W, Ah, Ohm, degC, s."""

from dataclasses import dataclass

type Temperature = float | None
"""degC; None = no sensor connected."""


@dataclass(frozen=True, kw_only=True)
class State:
    """The measurements that go into a cell information frame."""

    cells: tuple[float, ...] = ()
    resistances: tuple[float, ...] = ()
    enabled: int = 0
    """Mask of the enabled cells, bit 0 = cell 1."""
    voltage: float = 0.0
    power: float = 0.0
    """Magnitude only: the firmware never sends a sign here."""
    current: float = 0.0
    """Positive while charging."""
    temperatures: tuple[Temperature, Temperature, Temperature, Temperature] = (
        25.0,
        25.0,
        None,
        None,
    )
    """Sensors T1, T2, T4, T5."""
    mosfet_temperature: Temperature = 25.0
    balance_current: float = 0.0
    """Positive in balancer state 1, negative in state 2."""
    balancer: int = 0
    """0 off, 1 charging from the highest cell, 2 discharging into the lowest."""
    soc: int = 0
    remaining: float = 0.0
    full: float = 0.0
    cycles: int = 0
    cycle_capacity: float = 0.0
    soh: int = 100
    precharging: bool = False
    charging: bool = True
    """Charge MOSFET conducts."""
    discharging: bool = True
    """Discharge MOSFET conducts."""
    alarms: int = 0
    wire_alarm: int = 0
    run_time: float = 0.0
    """Since the first power-on."""
    uptime: float = 0.0
    """Since the last power-on."""
    heating: bool = False
    heater_current: float = 0.0
    charger_plugged: bool = False
    emergency: int = 0
    clock: int = 0
    """Local seconds since 2020-01-01 00:00, 0 when it was never set."""
    detail_records: int = 0
    sleep: int = 86400
    phase: int = 0
    """0 bulk, 1 absorption, 2 float."""
    phase_time: int = 0
    dry_contacts: int = 0
    """Bit 1 = DRY1 closed, bit 2 = DRY2 closed."""
    hour: float = 0.0
    """Time of day in the simulation; not on the wire."""

    @property
    def highest(self) -> int:
        """Index of the highest enabled cell, 0 when there is none."""
        return max(self.enabled_cells, key=self.cells.__getitem__, default=0)

    @property
    def lowest(self) -> int:
        """Index of the lowest enabled cell, 0 when there is none."""
        return min(self.enabled_cells, key=self.cells.__getitem__, default=0)

    @property
    def average(self) -> float:
        """Mean of the enabled cells, 0 when there is none."""
        numbers = self.enabled_cells
        return sum(self.cells[i] for i in numbers) / len(numbers) if numbers else 0.0

    @property
    def delta(self) -> float:
        """Difference between the highest and the lowest enabled cell."""
        if not self.enabled_cells:
            return 0.0
        return self.cells[self.highest] - self.cells[self.lowest]

    @property
    def enabled_cells(self) -> tuple[int, ...]:
        """Indices of the cells whose mask bit is set."""
        return tuple(i for i in range(len(self.cells)) if self.enabled >> i & 1)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the owner configured; defaults suit LiFePO4 cells."""

    smart_sleep_voltage: float = 3.5
    cell_uvp: float = 2.5
    cell_uvp_recovery: float = 2.9
    cell_ovp: float = 3.65
    cell_ovp_recovery: float = 3.4
    balance_trigger: float = 0.01
    soc_100: float = 3.445
    soc_0: float = 2.7
    request_charge_voltage: float = 3.45
    request_float_voltage: float = 3.35
    power_off_voltage: float = 2.45
    max_charge_current: float = 100.0
    charge_ocp_delay: int = 30
    charge_ocp_recovery: int = 60
    max_discharge_current: float = 150.0
    discharge_ocp_delay: int = 300
    discharge_ocp_recovery: int = 60
    short_circuit_recovery: int = 60
    max_balance_current: float = 2.0
    charge_otp: float = 60.0
    charge_otp_recovery: float = 55.0
    discharge_otp: float = 65.0
    discharge_otp_recovery: float = 60.0
    charge_utp: float = -5.0
    charge_utp_recovery: float = 2.0
    mosfet_otp: float = 90.0
    mosfet_otp_recovery: float = 75.0
    cell_count: int = 16
    charging: bool = True
    discharging: bool = True
    balancer: bool = True
    nominal_capacity: float = 280.0
    short_circuit_delay: int = 1500
    balance_start_voltage: float = 3.4
    wire_resistances: tuple[float, ...] = ()
    device_address: int = 0
    precharge_time: int = 5
    switches: int = 0
    """Bits as at offset 282: 0 heater, 3 RS485 port, 4 display always on, 6 smart sleep, 9 float mode ..."""
    heat_start: int = 0
    heat_stop: int = 10
    smart_sleep_delay: int = 24
    discharge_utp: int = -20
    discharge_utp_recovery: int = -10
    reference_voltage: float = 3.015
    """Only on JK04: the calibrated reference."""
    uart1_protocol: int = 1
    can_protocol: int = 4
    uart2_protocol: int = 1
    uart3_protocol: int = 0
    buzzer_trigger: int = 9
    dry1_trigger: int = 8
    dry2_trigger: int = 0
    storage_period: int = 3600
    request_charge_time: float = 1.0
    """h"""
    request_float_time: float = 5.0
    """h"""
    emergency_duration: int = 30
    rebulk_soc: int = 5
    userdata: str | None = None
    """Set by register 0x9F; None is the factory's value."""


@dataclass(frozen=True)
class LogEntry:
    """One line of the logbook."""

    time: int
    """s since the first power-on"""
    code: int


@dataclass(frozen=True, kw_only=True)
class DetailRecord:
    """One sample of the detail log."""

    clock: int
    code: int = 0
    """0 = scheduled sample, else a logbook code."""
    charging: bool = True
    discharging: bool = True
    balancing: bool = False
    heating: bool = False
    highest: int = 0
    lowest: int = 0
    highest_voltage: float = 0.0
    lowest_voltage: float = 0.0
    voltage: float = 0.0
    current: float = 0.0
    remaining: float = 0.0
    full: float = 0.0
    temperatures: tuple[int, int, int] = (25, 25, 25)
    """Highest, lowest, MOSFET in whole degC."""
    heater_current: float = 0.0
