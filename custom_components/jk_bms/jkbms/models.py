"""The values of a frame, in standard units; `None` where the device does not report one.

Names and units are the contract for JSON output, metrics and entities. Voltages are in
V, currents in A (+ charging, - discharging), capacities in Ah, temperatures in °C,
durations in s unless a field says otherwise.
"""

from dataclasses import dataclass, field, replace
from enum import IntFlag, StrEnum
from typing import Any, Final, NamedTuple, Self

MAX_CELLS = 32
"""Cell slots of the largest layout."""


class Layout(StrEnum):
    """The positions of the values in a frame (docs/protocol.md 6)."""

    JK04 = "JK04"
    JK02_24S = "JK02_24S"
    JK02_32S = "JK02_32S"


class BalancerState(StrEnum):
    """State of the active balancer (docs/protocol.md 12.5)."""

    OFF = "off"
    CHARGING = "charging"
    """It takes charge from the highest cell."""
    DISCHARGING = "discharging"
    """It passes charge to the lowest cell."""
    UNKNOWN = "unknown"


class BatteryType(StrEnum):
    """Cell chemistry (docs/protocol.md 12.5)."""

    LFP = "lfp"
    LI_ION = "li_ion"
    LTO = "lto"
    UNKNOWN = "unknown"


class ChargePhase(StrEnum):
    """Phase of the charge that the battery requests (docs/protocol.md 12.5)."""

    BULK = "bulk"
    ABSORPTION = "absorption"
    FLOAT = "float"
    UNKNOWN = "unknown"


class Alarm(IntFlag):
    """Alarm bits (docs/protocol.md 12.1); the lower-case names are the contract."""

    WIRE_RESISTANCE = 1 << 0
    MOSFET_OVERTEMPERATURE = 1 << 1
    CELL_COUNT = 1 << 2
    CURRENT_SENSOR = 1 << 3
    CELL_OVERVOLTAGE = 1 << 4
    PACK_OVERVOLTAGE = 1 << 5
    CHARGE_OVERCURRENT = 1 << 6
    CHARGE_SHORT_CIRCUIT = 1 << 7
    CHARGE_OVERTEMPERATURE = 1 << 8
    CHARGE_UNDERTEMPERATURE = 1 << 9
    INTERNAL_COMMUNICATION = 1 << 10
    CELL_UNDERVOLTAGE = 1 << 11
    PACK_UNDERVOLTAGE = 1 << 12
    DISCHARGE_OVERCURRENT = 1 << 13
    DISCHARGE_SHORT_CIRCUIT = 1 << 14
    DISCHARGE_OVERTEMPERATURE = 1 << 15
    CHARGE_MOSFET = 1 << 16
    DISCHARGE_MOSFET = 1 << 17
    GPS_DISCONNECTED = 1 << 18
    DEFAULT_PASSWORD = 1 << 19
    DISCHARGE_ON_FAILED = 1 << 20
    BATTERY_OVERTEMPERATURE = 1 << 21
    TEMPERATURE_SENSOR = 1 << 22
    PARALLEL_MODULE = 1 << 23
    SHORT_CIRCUIT_RELEASE_FAILED = 1 << 24
    DISCHARGE_OVERCURRENT_2 = 1 << 25
    DISCHARGE_OVERCURRENT_3 = 1 << 26
    DISCHARGE_UNDERTEMPERATURE = 1 << 27
    GPS_LOCKED = 1 << 28
    BIT_29 = 1 << 29
    BIT_30 = 1 << 30
    BIT_31 = 1 << 31


INFORMATION = frozenset({"gps_disconnected", "default_password"})
"""Names of `Alarm` that do not count as faults (docs/protocol.md 12.1)."""
_NORMAL_WHEN_FULL = frozenset({"cell_overvoltage"})
_ALMOST_FULL = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """Device information, frame type 0x03 (docs/protocol.md 9).

    The passcodes and the user data are secrets; they stay out of `repr`.
    """

    device_model: str
    hardware_version: str | None = None
    software_version: str
    up_time: int | None = None
    """Accumulated run time in seconds."""
    poweron_times: int | None = None
    device_name: str | None = None
    device_passcode: str | None = field(default=None, repr=False)
    manufacturing_date: str | None = None
    """YYMMDD."""
    serial_number: str | None = None
    passcode: str | None = field(default=None, repr=False)
    userdata: str | None = field(default=None, repr=False)
    setup_passcode: str | None = field(default=None, repr=False)
    userdata2: str | None = field(default=None, repr=False)
    uart1_protocol: int | None = None
    can_protocol: int | None = None
    uart2_protocol: int | None = None
    uart3_protocol: int | None = None
    uart1_protocols: tuple[int, ...] | None = None
    """Numbers that may be chosen (docs/protocol.md 12.3)."""
    can_protocols: tuple[int, ...] | None = None
    uart2_protocols: tuple[int, ...] | None = None
    uart3_protocols: tuple[int, ...] | None = None
    uart_library_version: int | None = None
    can_library_version: int | None = None
    buzzer_trigger: int | None = None
    """Number of the event (docs/protocol.md 12.3)."""
    dry_contact_1_trigger: int | None = None
    dry_contact_2_trigger: int | None = None
    buzzer_trigger_value: int | None = None
    buzzer_release_value: int | None = None
    dry_contact_1_trigger_value: int | None = None
    dry_contact_1_release_value: int | None = None
    dry_contact_2_trigger_value: int | None = None
    dry_contact_2_release_value: int | None = None
    data_storage_period: int | None = None
    """Seconds."""
    request_charge_time: float | None = None
    """Hours."""
    request_float_time: float | None = None
    """Hours."""
    emergency_duration: int | None = None
    """Minutes."""
    rebulk_soc: int | None = None
    """Percent."""
    command_support: tuple[int, ...] | None = None
    """Commands and registers that the battery accepts (docs/protocol.md 4.4)."""


SECRET_FIELDS = frozenset(
    {"device_passcode", "passcode", "setup_passcode", "userdata", "userdata2"}
)
"""Fields of `DeviceInfo` that are never logged, exported or shown unasked."""
MASK: Final = "********"
"""Stands for a secret value."""


def masked(info: DeviceInfo) -> DeviceInfo:
    """Return device information with its passcodes and user data masked."""
    masks: dict[str, Any] = {
        name: MASK for name in SECRET_FIELDS if getattr(info, name) is not None
    }
    return replace(info, **masks)


@dataclass(slots=True)
class CellData:
    """Live values, frame type 0x02 (docs/protocol.md 7).

    Only the decoder assigns fields. It is not frozen, since that makes decoding a frame
    slower by a quarter; it has no hash.
    """

    cell_voltage: tuple[float | None, ...] = ()
    """Cell 1 first, up to the last enabled one; `None` for one that is not enabled,
    empty when no cell is connected."""
    average_cell_voltage: float | None = None
    delta_cell_voltage: float | None = None
    balance_current: float | None = None
    """Amperes, + while the balancer's store charges, - while it discharges."""
    cell_resistance: tuple[float | None, ...] = ()
    """Resistance of the balance wires in ohms, cell 1 first; `None` is not measured yet."""
    battery_voltage: float | None = None
    battery_power: float | None = None
    """Watts, voltage x current, + charging, - discharging."""
    battery_current: float | None = None
    battery_temperature: tuple[float | None, ...] = ()
    """T1, T2 and, where the device has them, T4, T5; `None` where not connected."""
    mosfet_temperature: float | None = None
    remain_percent: int | None = None
    """State of charge, 0..100 %."""
    remain_capacity: float | None = None
    nominal_capacity: float | None = None
    """Full capacity in Ah as the BMS learned it, not as configured."""
    cycle_count: int | None = None
    cycle_capacity: float | None = None
    """Charge moved over the battery's life, in Ah."""
    up_time: int | None = None
    """Run time over life in seconds; on JK04 since power-on."""
    # Above this line the fields of ubmsc in its order, below ours
    min_cell_voltage: float | None = None
    max_cell_voltage: float | None = None
    min_cell: int | None = None
    """1-based number of the lowest cell."""
    max_cell: int | None = None
    """1-based number of the highest cell."""
    balancer: BalancerState | None = None
    state_of_health: int | None = None
    """Percent."""
    boot_time: float | None = None
    """Run time since power-on in seconds."""
    charging: bool | None = None
    """The charge MOSFET is on."""
    discharging: bool | None = None
    """The discharge MOSFET is on."""
    precharging: bool | None = None
    heating: bool | None = None
    heater_current: float | None = None
    """Amperes; only while heating."""
    charger_plugged: bool | None = None
    alarms: tuple[str, ...] | None = None
    """Lower-case names of `Alarm`."""
    alarm_mask: int | None = None
    wire_resistance_alarm: tuple[int, ...] | None = None
    """1-based numbers of the cells whose balance wire has too much resistance."""
    charge_phase: ChargePhase | None = None
    charge_phase_time: int | None = None
    dry_contact_1: bool | None = None
    """Whether the contact is closed."""
    dry_contact_2: bool | None = None
    emergency_countdown: int | None = None
    """Seconds; 0 when not in emergency mode."""
    sleep_countdown: int | None = None
    detail_log_count: int | None = None
    battery_type: BatteryType | None = None
    frame_counter: int | None = None
    """0..255, one more with each frame."""
    clock: int | None = None
    """Seconds since 2020-01-01 00:00 by the device's own clock; not a Unix time."""
    discharge_overcurrent_release_time: int | None = None
    discharge_short_circuit_release_time: int | None = None
    charge_overcurrent_release_time: int | None = None
    charge_short_circuit_release_time: int | None = None
    cell_undervoltage_release_time: int | None = None
    cell_overvoltage_release_time: int | None = None
    discharge_current_correction: int | None = None
    charge_current_correction: int | None = None
    voltage_correction: float | None = None
    charge_current_sensor: float | None = None
    """Volts; non-zero only while charging."""
    discharge_current_sensor: float | None = None
    """Volts; non-zero only while discharging."""
    balancer_charge_drive: int | None = None
    balancer_discharge_drive: int | None = None
    parallel_limiter: bool | None = None
    """The parallel current limiter is active."""
    warmest_sensor: int | None = None
    """Index into the fitted battery temperature sensors."""
    coldest_sensor: int | None = None
    implausible: tuple[str, ...] = ()
    """Fields with impossible values in several frames in a row, and therefore `None`.

    Cells and temperature sensors have their number after the name, as in
    `cell_voltage_3` and `battery_temperature_1` (docs/protocol.md 13).
    """

    @property
    def balancing(self) -> bool | None:
        """Whether the balancer works, `None` where that is unknown."""
        if self.balancer in {None, BalancerState.UNKNOWN}:
            return None
        return self.balancer is not BalancerState.OFF

    @property
    def faults(self) -> tuple[str, ...] | None:
        """The `alarms` that are faults (docs/protocol.md 12.1)."""
        if self.alarms is None:
            return None
        full = self.charging is False and (self.remain_percent or 0) >= _ALMOST_FULL
        harmless = INFORMATION | _NORMAL_WHEN_FULL if full else INFORMATION
        return tuple(name for name in self.alarms if name not in harmless)


class LiveData(NamedTuple):
    """The few values of cell data that are counted from every frame of a held link.

    A tuple, which is constructed of the decoded values in one call.
    """

    battery_voltage: float | None = None
    """Volts; `None` on JK04, which reports only cell voltages."""
    battery_current: float | None = None
    reported_power: float | None = None
    """Watts without a sign, as the BMS reports it; often that of the previous frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Configuration, frame type 0x01 (docs/protocol.md 8)."""

    smart_sleep_voltage: float | None = None
    cell_uvp: float | None = None
    cell_uvp_recovery: float | None = None
    cell_ovp: float | None = None
    cell_ovp_recovery: float | None = None
    balance_trigger: float | None = None
    soc_100: float | None = None
    soc_0: float | None = None
    request_charge_voltage: float | None = None
    request_float_voltage: float | None = None
    power_off_voltage: float | None = None
    max_charge_current: float | None = None
    charge_overcurrent_delay: int | None = None
    charge_overcurrent_recovery: int | None = None
    max_discharge_current: float | None = None
    discharge_overcurrent_delay: int | None = None
    discharge_overcurrent_recovery: int | None = None
    short_circuit_recovery: int | None = None
    max_balance_current: float | None = None
    charge_overtemperature: float | None = None
    charge_overtemperature_recovery: float | None = None
    discharge_overtemperature: float | None = None
    discharge_overtemperature_recovery: float | None = None
    charge_undertemperature: float | None = None
    charge_undertemperature_recovery: float | None = None
    mosfet_overtemperature: float | None = None
    mosfet_overtemperature_recovery: float | None = None
    cell_count: int | None = None
    charging: bool | None = None
    """Charging is allowed; the state of the MOSFET is in `CellData`."""
    discharging: bool | None = None
    balancer: bool | None = None
    nominal_capacity: float | None = None
    """Configured capacity in Ah."""
    short_circuit_delay: int | None = None
    """Microseconds."""
    balance_start_voltage: float | None = None
    device_address: int | None = None
    """Setting of the DIP switches."""
    discharge_precharge_time: int | None = None
    heating: bool | None = None
    temperature_sensors_disabled: bool | None = None
    gps_heartbeat: bool | None = None
    port_rs485: bool | None = None
    """The shared port uses RS485, otherwise CAN."""
    display_always_on: bool | None = None
    special_charger: bool | None = None
    smart_sleep: bool | None = None
    parallel_limiter_disabled: bool | None = None
    timed_storage: bool | None = None
    charging_float_mode: bool | None = None
    emergency_trigger: bool | None = None
    dry_contact_intermittent: bool | None = None
    discharge_overcurrent_2: bool | None = None
    discharge_overcurrent_3: bool | None = None
    gps_lock_charging: bool | None = None
    gps_lock_discharging: bool | None = None
    heating_start_temperature: int | None = None
    heating_stop_temperature: int | None = None
    smart_sleep_delay: int | None = None
    """Hours."""
    discharge_undertemperature: int | None = None
    discharge_undertemperature_recovery: int | None = None
    voltage_calibration: float | None = None
    """Reference voltage in V (JK04)."""
    register_support: tuple[int, ...] | None = None
    """Registers that this battery uses (docs/protocol.md 4.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of the logbook, frame type 0x05 (docs/protocol.md 10)."""

    time: int
    """Seconds since the first power-on."""
    code: int
    event: str
    """Name of the code (docs/protocol.md 12.4), `unknown` where it has none."""
    cell: int | None = None
    """1-based number of the cell, where the code names one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailLogRecord:
    """One sample of the detail log, frame type 0x06 (docs/protocol.md 11)."""

    index: int
    """Position in the log, 0 is the oldest."""
    clock: int
    """Seconds since 2020-01-01 00:00 by the device's own clock."""
    code: int
    """0 is a scheduled sample."""
    event: str
    cell: int | None
    """1-based number of the cell, where the code names one."""
    charging: bool
    discharging: bool
    balancing: bool
    heating: bool
    max_cell: int
    """1-based."""
    min_cell: int
    max_cell_voltage: float
    min_cell_voltage: float
    battery_voltage: float
    battery_current: float
    remain_capacity: float
    nominal_capacity: float
    max_temperature: int | None
    min_temperature: int | None
    mosfet_temperature: int
    heater_current: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The result of one read of the battery."""

    layout: Layout
    device_info: DeviceInfo
    settings: Settings | None
    """`None` if the settings frame was lost."""
    cell_data: CellData
    time: float
    """When the cell data arrived, in seconds of the event loop's clock."""

    @classmethod
    def without_values(cls, device_info: DeviceInfo, time: float) -> Self:
        """Return a placeholder to use until the first reading."""
        return cls(
            layout=Layout.JK02_32S,
            device_info=device_info,
            settings=None,
            cell_data=CellData(),
            time=time,
        )


@dataclass(slots=True)
class LiveSample:
    """Current and power at one moment; one of many between two readings of a held link.

    Not frozen, as `CellData`: constructing a frozen one takes three times as long.
    """

    time: float
    """Seconds of the event loop's clock."""
    current: float | None
    """Amperes, + charging, - discharging; `None` if the battery does not measure it."""
    power: float | None
    """Watts, with the same sign."""

    @classmethod
    def of(cls, reading: Reading) -> Self:
        """Return the sample of a reading."""
        cell_data = reading.cell_data
        return cls(
            time=reading.time,
            current=cell_data.battery_current,
            power=cell_data.battery_power,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Log[EntryT]:
    """One of the battery's own logs, and a reading of the same link to timestamp it."""

    reading: Reading
    entries: tuple[EntryT, ...]
    """Oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryState:
    """The current state of one battery."""

    device: str
    """The label `device`: the unique name that the user gave."""
    device_info: DeviceInfo | None = None
    cell_data: CellData | None = None
    layout: Layout | None = None
    """Layout, which decides which alarms the battery can raise; `None` allows any."""
    up: bool | None = None
    """Whether it answers; if not, it has no values. `None` in output that is written
    once."""
    last_update: float | None = None
    """Unix time of the values in seconds."""
    rejected_frames: int | None = None
