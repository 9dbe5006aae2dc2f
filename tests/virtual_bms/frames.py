"""Frames as they leave the battery: literal formats at literal offsets, so that this package can test a decoder.

All integers are little-endian; every frame is 300 bytes, closed by the low 8 bits of the sum of the 299 before.
"""

from collections.abc import Sequence
from struct import pack_into

from .spec import Spec
from .state import DetailRecord, LogEntry, Settings, State, Temperature

FRAME_HEADER = bytes.fromhex("55aaeb90")
COMMAND_HEADER = bytes.fromhex("aa5590eb")
ACKNOWLEDGEMENT = bytes.fromhex("aa5590ebc8010100000000000000000000000044")
AT_LINE = b"AT\r\n"
NEEY_HEADER = bytes.fromhex("55aa1101")


def checksum(data: bytes) -> int:
    """Sum of all bytes, low 8 bits."""
    return sum(data) & 0xFF


def seal(frame: bytearray) -> bytes:
    """Write the checksum into the last byte."""
    frame[-1] = checksum(bytes(frame[:-1]))
    return bytes(frame)


def command(register: int, value: bytes = b"", filler: int = 0) -> bytes:
    """A 20-byte command as a client sends it."""
    raw = bytearray([filler] * 20)
    raw[0:4] = COMMAND_HEADER
    raw[4] = register
    raw[5] = len(value)
    raw[6 : 6 + len(value)] = value
    return seal(raw)


def without_values(frame: bytes) -> bytes:
    """Set everything behind the frame counter to 0, with a correct checksum."""
    head = frame[:6] + bytes(len(frame) - 7)
    return head + bytes((sum(head) & 0xFF,))


def damage(frame: bytes, *positions: int, reseal: bool = False) -> bytes:
    """Flip one bit of the bytes at `positions` (default: the middle); `reseal` corrects the checksum."""
    broken = bytearray(frame)
    for position in positions or (len(frame) // 2,):
        broken[position] ^= 0x10
    return seal(broken) if reseal else bytes(broken)


def cell_frame(spec: Spec, state: State, counter: int) -> bytes:
    """Type 0x02 in the layout of the unit."""
    f = _frame(0x02, counter)
    match spec.layout:
        case "JK04":
            _cells_jk04(f, state)
        case "JK02_24S":
            _cells_24s(f, spec, state)
        case "JK02_32S":
            _cells_32s(f, spec, state)
            if spec.balancer_only:
                _blank_balancer(f)
    return seal(f)


def settings_frame(spec: Spec, settings: Settings, counter: int) -> bytes:
    """Type 0x01 in the layout of the unit."""
    f = _frame(0x01, counter)
    match spec.layout:
        case "JK04":
            _settings_jk04(f, settings)
        case "JK02_24S":
            _settings_common(f, settings)
            for i, ohm in enumerate(settings.wire_resistances[:24]):
                pack_into("<I", f, 158 + 4 * i, round(ohm * 1000))
        case "JK02_32S":
            _settings_common(f, settings)
            _settings_32s(f, spec, settings)
    return seal(f)


def info_frame(spec: Spec, settings: Settings, state: State, counter: int) -> bytes:
    """Type 0x03."""
    f = _frame(0x03, counter)
    _text(f, 6, 16, spec.model)
    if spec.firmware.cell_limit:
        pack_into("<B", f, 21, spec.firmware.cell_limit)
    _text(f, 22, 8, spec.hardware)
    _text(f, 30, 8, spec.software)
    if spec.layout == "JK04":
        pack_into("<I", f, 38, int(state.run_time))
    else:
        # Written to memory every five minutes only.
        pack_into("<I", f, 38, int(state.run_time) // 300 * 300)
    pack_into("<I", f, 42, spec.power_on_count)
    _text(f, 46, 16, spec.name)
    _text(f, 62, 16, spec.passcode)
    _text(f, 78, 8, spec.manufactured)
    _text(f, 97, 5, spec.short_passcode)
    # The serial number is written last, with its NUL: 11 characters overwrite the first one of the short passcode.
    serial = (spec.serial.encode() + b"\0")[:16] if spec.serial else b""
    f[86 : 86 + len(serial)] = serial
    _text(
        f,
        102,
        16,
        settings.userdata if settings.userdata is not None else spec.userdata,
    )
    _text(f, 118, 16, spec.setup_passcode)
    if spec.layout == "JK02_32S":
        _info_32s(f, spec, settings)
    return seal(f)


def logbook_frame(entries: Sequence[LogEntry], counter: int) -> bytes:
    """Type 0x05: at most 50 entries, oldest first."""
    f = _frame(0x05, counter)
    kept = entries[-50:]
    pack_into("<I", f, 6, len(kept))
    for i, entry in enumerate(kept):
        pack_into("<IB", f, 11 + 5 * i, entry.time, entry.code)
    return seal(f)


def detail_log_frame(
    first: int, records: Sequence[DetailRecord], counter: int
) -> bytes:
    """Type 0x06: at most 12 records, `first` = index of the first."""
    f = _frame(0x06, counter)
    pack_into("<HB", f, 6, first, len(records))
    for k, record in enumerate(records[:12]):
        _record(f, 9 + 24 * k, record)
    return seal(f)


def neey_frame(counter: int) -> bytes:
    """300 bytes of a balancer from another manufacturer."""
    f = bytearray(300)
    f[0:4] = NEEY_HEADER
    pack_into("<BBH", f, 4, 0x02, counter, 300)
    for i in range(16):
        pack_into("<f", f, 9 + 4 * i, 3.3)
    return bytes(f)


def _frame(kind: int, counter: int) -> bytearray:
    f = bytearray(300)
    f[0:4] = FRAME_HEADER
    f[4] = kind
    f[5] = counter & 0xFF
    return f


def _text(f: bytearray, offset: int, size: int, text: str) -> None:
    raw = text.encode()[:size]
    f[offset : offset + len(raw)] = raw


def _milli(value: float) -> int:
    return round(value * 1000)


def _degrees(value: Temperature) -> int:
    """Tenths of a degree, -2000 for a sensor that is not there."""
    return -2000 if value is None else round(value * 10)


def _tenths(value: float) -> int:
    return round(value * 10)


def _cells_24s(f: bytearray, spec: Spec, s: State) -> None:
    t1, t2, _, _ = s.temperatures
    firmware = spec.firmware
    for i, volts in enumerate(s.cells[:24]):
        pack_into("<H", f, 6 + 2 * i, _milli(volts))
    pack_into("<I", f, 54, s.enabled & 0xFFFFFF)
    pack_into("<H", f, 58, _milli(s.average))
    pack_into("<H", f, 60, _milli(s.delta))
    pack_into("<B", f, 62, s.highest)
    pack_into("<B", f, 63, s.lowest)
    for i, ohm in enumerate(s.resistances[:24]):
        pack_into("<H", f, 64 + 2 * i, _milli(ohm))
    pack_into("<I", f, 114, s.wire_alarm)
    pack_into("<I", f, 118, _milli(s.voltage))
    pack_into("<I", f, 122, _milli(s.power))
    pack_into("<i", f, 126, _milli(s.current))
    pack_into("<h", f, 130, _degrees(t1))
    pack_into("<h", f, 132, _degrees(t2))
    pack_into("<h", f, 134, _degrees(s.mosfet_temperature))
    pack_into("<H", f, 136, s.alarms & 0xFFFF)
    pack_into("<h", f, 138, _milli(s.balance_current))
    pack_into("<B", f, 140, s.balancer)
    pack_into("<B", f, 141, s.soc)
    pack_into("<i", f, 142, _milli(s.remaining))
    pack_into("<I", f, 146, _milli(s.full))
    pack_into("<I", f, 150, s.cycles)
    pack_into("<I", f, 154, _milli(s.cycle_capacity))
    pack_into("<B", f, 158, s.soh)
    pack_into("<B", f, 159, s.precharging)
    pack_into("<H", f, 160, 1490 + int(s.run_time) % 7)
    pack_into("<I", f, 162, int(s.run_time))
    pack_into("<B", f, 166, s.charging)
    pack_into("<B", f, 167, s.discharging)
    pack_into("<H", f, 168, 1679)
    pack_into("<B", f, 182, _sensor_mask(spec))
    pack_into("<H", f, 184, firmware.constant)
    pack_into("<H", f, 186, s.emergency)
    pack_into("<H", f, 188, firmware.correction)
    pack_into("<H", f, 190, max(0, round(s.current)))
    pack_into("<H", f, 192, max(0, round(-s.current)))
    pack_into("<f", f, 194, firmware.voltage_factor)
    pack_into("<H", f, 198, 150 if s.balancer == 2 else 0)
    pack_into("<H", f, 200, 150 if s.balancer == 1 else 0)
    pack_into("<i", f, 202, firmware.unit_constant)
    f[209 : 209 + len(firmware.flags)] = firmware.flags
    pack_into("<B", f, 213, s.charger_plugged)
    pack_into("<I", f, 214, int(s.uptime * 10) & 0xFFFFFFFF)


def _cells_32s(f: bytearray, spec: Spec, s: State) -> None:
    t1, t2, t4, t5 = s.temperatures
    firmware = spec.firmware
    for i, volts in enumerate(s.cells[:32]):
        pack_into("<H", f, 6 + 2 * i, _milli(volts))
    pack_into("<I", f, 70, s.enabled)
    pack_into("<H", f, 74, _milli(s.average))
    pack_into("<H", f, 76, _milli(s.delta))
    pack_into("<B", f, 78, s.highest)
    pack_into("<B", f, 79, s.lowest)
    for i, ohm in enumerate(s.resistances[:32]):
        pack_into("<H", f, 80 + 2 * i, _milli(ohm))
    pack_into("<h", f, 144, _degrees(s.mosfet_temperature))
    pack_into("<I", f, 146, s.wire_alarm)
    pack_into("<I", f, 150, _milli(s.voltage))
    pack_into("<I", f, 154, _milli(s.power))
    pack_into("<i", f, 158, _milli(s.current))
    pack_into("<h", f, 162, _degrees(t1))
    pack_into("<h", f, 164, _degrees(t2))
    pack_into("<I", f, 166, s.alarms)
    pack_into("<h", f, 170, _milli(s.balance_current))
    pack_into("<B", f, 172, s.balancer)
    pack_into("<B", f, 173, s.soc)
    pack_into("<i", f, 174, _milli(s.remaining))
    pack_into("<I", f, 178, _milli(s.full))
    pack_into("<I", f, 182, s.cycles)
    pack_into("<I", f, 186, _milli(s.cycle_capacity))
    pack_into("<B", f, 190, s.soh)
    pack_into("<B", f, 191, s.precharging)
    pack_into("<I", f, 194, int(s.run_time))
    pack_into("<B", f, 198, s.charging)
    pack_into("<B", f, 199, s.discharging)
    pack_into("<B", f, 214, _sensor_mask(spec))
    pack_into("<B", f, 215, s.heating)
    pack_into("<H", f, 216, firmware.constant)
    pack_into("<H", f, 218, s.emergency)
    pack_into("<H", f, 220, firmware.correction)
    pack_into("<H", f, 222, max(0, round(s.current)))
    pack_into("<H", f, 224, max(0, round(-s.current)))
    pack_into("<f", f, 226, firmware.voltage_factor)
    pack_into("<H", f, 230, 150 if s.balancer == 2 else 0)
    pack_into("<H", f, 232, 150 if s.balancer == 1 else 0)
    pack_into("<H", f, 234, round(s.voltage * 100))
    # Boards without a heater leave noise here; the value is valid only if byte 215 is set.
    heater = _milli(s.heater_current) if s.heating else firmware.heater_noise
    pack_into("<h", f, 236, heater)
    f[239 : 239 + len(firmware.flags)] = firmware.flags
    pack_into("<B", f, 245, s.charger_plugged)
    pack_into("<I", f, 246, int(s.uptime * 10) & 0xFFFFFFFF)
    if firmware.mosfet_copy:
        pack_into("<h", f, 254, _degrees(s.mosfet_temperature))
    if firmware.extra_sensors:
        pack_into("<h", f, 256, _degrees(t4))
        pack_into("<h", f, 258, _degrees(t5))
    pack_into("<H", f, 260, firmware.second_correction)
    if firmware.clock:
        pack_into("<I", f, 262, s.clock)
        pack_into("<I", f, 266, s.detail_records)
        pack_into("<I", f, 270, s.sleep)
    if firmware.phases:
        pack_into("<B", f, 275, {"LFP": 0, "LION": 1, "LTO": 2}[spec.chemistry])
        pack_into("<H", f, 278, s.phase_time)
        pack_into("<B", f, 280, s.phase)
    if firmware.ranks:
        warmest, coldest = _ranks(s.temperatures)
        pack_into("<B", f, 276, warmest)
        pack_into("<B", f, 277, coldest)
    pack_into("<B", f, 281, s.dry_contacts)
    pack_into("<B", f, 286, firmware.odd_byte)
    f[287:299] = firmware.cell_masks


def _sensor_mask(spec: Spec) -> int:
    mask = spec.sensor_mask
    return spec.firmware.sensor_mask if mask is None else mask


def _ranks(temperatures: tuple[Temperature, ...]) -> tuple[int, int]:
    """Numbers of the warmest and the coldest fitted sensor."""
    fitted = [(value, n) for n, value in enumerate(temperatures) if value is not None]
    if not fitted:
        return 0, 0
    return max(fitted)[1], min(fitted)[1]


def _blank_balancer(f: bytearray) -> None:
    """A balancer leaves zeros where a BMS measures, but claims all sensors and the constant masks."""
    pack_into("<h", f, 144, 0)
    pack_into("<I", f, 154, 0)
    pack_into("<H", f, 216, 0)
    f[220:230] = bytes(10)
    f[234:287] = bytes(53)


def _cells_jk04(f: bytearray, s: State) -> None:
    for i, volts in enumerate(s.cells[:24]):
        pack_into("<f", f, 6 + 4 * i, volts)
    for i, ohm in enumerate(s.resistances[:25]):
        pack_into("<f", f, 102 + 4 * i, ohm)
    pack_into("<f", f, 202, s.average)
    pack_into("<f", f, 206, s.delta)
    pack_into("<I", f, 214, s.enabled & 0xFFFFFF)
    pack_into("<B", f, 218, s.highest)
    pack_into("<B", f, 219, s.lowest)
    pack_into("<B", f, 220, s.balancer)
    pack_into("<B", f, 221, 1)
    pack_into("<f", f, 222, s.balance_current)
    pack_into("<f", f, 234, 3.17)
    f[260:262] = b"\x01\x01"
    pack_into("<I", f, 286, int(s.uptime))
    pack_into("<f", f, 294, 2.53)


def _settings_common(f: bytearray, s: Settings) -> None:
    pack_into("<I", f, 6, _milli(s.smart_sleep_voltage))
    pack_into("<I", f, 10, _milli(s.cell_uvp))
    pack_into("<I", f, 14, _milli(s.cell_uvp_recovery))
    pack_into("<I", f, 18, _milli(s.cell_ovp))
    pack_into("<I", f, 22, _milli(s.cell_ovp_recovery))
    pack_into("<I", f, 26, _milli(s.balance_trigger))
    pack_into("<I", f, 30, _milli(s.soc_100))
    pack_into("<I", f, 34, _milli(s.soc_0))
    pack_into("<I", f, 38, _milli(s.request_charge_voltage))
    pack_into("<I", f, 42, _milli(s.request_float_voltage))
    pack_into("<I", f, 46, _milli(s.power_off_voltage))
    pack_into("<I", f, 50, _milli(s.max_charge_current))
    pack_into("<I", f, 54, s.charge_ocp_delay)
    pack_into("<I", f, 58, s.charge_ocp_recovery)
    pack_into("<I", f, 62, _milli(s.max_discharge_current))
    pack_into("<I", f, 66, s.discharge_ocp_delay)
    pack_into("<I", f, 70, s.discharge_ocp_recovery)
    pack_into("<I", f, 74, s.short_circuit_recovery)
    pack_into("<I", f, 78, _milli(s.max_balance_current))
    pack_into("<i", f, 82, _tenths(s.charge_otp))
    pack_into("<i", f, 86, _tenths(s.charge_otp_recovery))
    pack_into("<i", f, 90, _tenths(s.discharge_otp))
    pack_into("<i", f, 94, _tenths(s.discharge_otp_recovery))
    pack_into("<i", f, 98, _tenths(s.charge_utp))
    pack_into("<i", f, 102, _tenths(s.charge_utp_recovery))
    pack_into("<i", f, 106, _tenths(s.mosfet_otp))
    pack_into("<i", f, 110, _tenths(s.mosfet_otp_recovery))
    pack_into("<I", f, 114, s.cell_count)
    pack_into("<I", f, 118, s.charging)
    pack_into("<I", f, 122, s.discharging)
    pack_into("<I", f, 126, s.balancer)
    pack_into("<I", f, 130, _milli(s.nominal_capacity))
    pack_into("<I", f, 134, s.short_circuit_delay)
    pack_into("<I", f, 138, _milli(s.balance_start_voltage))


def _settings_32s(f: bytearray, spec: Spec, s: Settings) -> None:
    firmware = spec.firmware
    for i, ohm in enumerate(s.wire_resistances[:32]):
        pack_into("<I", f, 142 + 4 * i, _milli(ohm))
    pack_into("<I", f, 270, s.device_address)
    pack_into("<I", f, 274, s.precharge_time)
    pack_into("<I", f, 278, firmware.unit_constant)
    pack_into("<H", f, 282, s.switches)
    if firmware.heat_temperatures:
        pack_into("<bb", f, 284, s.heat_start, s.heat_stop)
    elif firmware.clock:
        # Not the heater's: alarm temperature of the battery and its recovery.
        pack_into("<bb", f, 284, 60, 50)
    if firmware.clock:
        pack_into("<B", f, 286, s.smart_sleep_delay)
    f[287:296] = firmware.settings_masks
    if firmware.discharge_utp:
        pack_into("<bb", f, 296, s.discharge_utp, s.discharge_utp_recovery)


def _settings_jk04(f: bytearray, s: Settings) -> None:
    pack_into("<f", f, 6, 1.0)
    pack_into("<I", f, 34, s.cell_count)
    pack_into("<f", f, 38, s.power_off_voltage)
    pack_into("<f", f, 74, s.reference_voltage)
    pack_into("<f", f, 98, s.balance_start_voltage)
    pack_into("<f", f, 102, 3.4)
    pack_into("<f", f, 106, s.balance_trigger)
    pack_into("<f", f, 110, s.max_balance_current)
    pack_into("<I", f, 114, s.balancer)


def _info_32s(f: bytearray, spec: Spec, s: Settings) -> None:
    firmware = spec.firmware
    _text(f, 134, 16, spec.userdata2)
    f[150:182] = firmware.info_masks
    if firmware.protocols:
        pack_into("<BB", f, 184, s.uart1_protocol, s.can_protocol)
        f[186:189] = bytes.fromhex("ff6700")
        f[202:204] = bytes.fromhex("ff0f")
        pack_into("<B", f, 218, s.uart2_protocol)
        f[219:221] = bytes.fromhex("ff67")
        pack_into("<BBB", f, 234, s.buzzer_trigger, s.dry1_trigger, s.dry2_trigger)
        pack_into("<B", f, 237, 1)
        pack_into("<ii", f, 238, 100, 95)
        pack_into("<ii", f, 246, 60, 50)
        pack_into("<i", f, 262, s.storage_period)
        pack_into("<B", f, 266, round(s.request_charge_time * 10))
        pack_into("<B", f, 267, round(s.request_float_time * 10))
        pack_into("<B", f, 268, 1)
    if firmware.phases:
        pack_into("<BB", f, 269, s.emergency_duration, s.uart3_protocol)
    if firmware.cell_limit:
        f[190:197] = b"CEHMPRT"  # letters of the options this unit was sold with
        pack_into("<B", f, 278, s.rebulk_soc)
    f[287:299] = firmware.info_tail


def _record(f: bytearray, at: int, r: DetailRecord) -> None:
    warm, cold, mosfet = r.temperatures
    flags = r.charging | r.discharging << 1 | r.balancing << 2 | r.heating << 3
    pack_into("<IBB", f, at, r.clock, r.code, flags)
    pack_into("<BB", f, at + 6, r.highest, r.lowest)
    pack_into("<HH", f, at + 8, _milli(r.highest_voltage), _milli(r.lowest_voltage))
    pack_into("<H", f, at + 12, round(r.voltage * 100))
    pack_into("<h", f, at + 14, round(r.current * 10))
    pack_into("<HH", f, at + 16, round(r.remaining * 10), round(r.full * 10))
    pack_into("<bbb", f, at + 20, warm, cold, mosfet)
    pack_into("<b", f, at + 23, round(r.heater_current * 10))
