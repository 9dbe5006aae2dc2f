"""The battery in software is itself tested, against the bytes of the protocol and not against a decoder."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import replace
from itertools import pairwise
from struct import unpack_from
from typing import Any

from bleak import BleakClient, BleakScanner
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.exc import BleakError, BleakGATTProtocolError
import bleak_retry_connector
from bleak_retry_connector import BleakOutOfConnectionSlotsError, establish_connection
from freezegun.api import FrozenDateTimeFactory
import pytest

from homeassistant.components import bluetooth
from homeassistant.core import HomeAssistant
from tests.virtual_bms import (
    MODELS,
    Battery,
    Behaviour,
    DetailRecord,
    Faults,
    LogEntry,
    Spec,
    VirtualBackend,
    VirtualBms,
    VirtualRadio,
    ble_device,
    finish,
    frames,
    pass_time,
)
from tests.virtual_bms.adverts import advertisement
from tests.virtual_bms.gatt import FFE1, FFE2, VARIANTS, chunks
from tests.virtual_bms.radio import RADIOS
from tests.virtual_bms.registers import apply
from tests.virtual_bms.scanner import VirtualProxy

STOP_SCANNING = BleakScanner.stop

BMS_8S = "JK_B2A8S20P 11.48"
BMS_24S = "JK-B2A24S15P 10.07"
BMS_PB = "JK_PB2A16S20P 15.41"
BMS_JK04 = "JK-B2A16S 3.3.0"
BALANCER = "JK-B5A24S 8.0.3M"
BMS_BD6 = "JK-BD6A24S10P 8.0.6G"
BMS_19 = "JK_B2A8S20P 19.10"
BMS_HEATER = "JK_B2A20S20P 11.288H"
DZ11 = "JK_DZ11B2A24S 11.55"

HEADER = bytes.fromhex("55aaeb90")
ACK = bytes.fromhex("aa5590ebc8010100000000000000000000000044")


def u8(frame: bytes, offset: int) -> int:
    """Unsigned byte."""
    return frame[offset]


def u16(frame: bytes, offset: int) -> int:
    """Unsigned, little-endian."""
    return int(unpack_from("<H", frame, offset)[0])


def i16(frame: bytes, offset: int) -> int:
    """Signed, little-endian."""
    return int(unpack_from("<h", frame, offset)[0])


def u32(frame: bytes, offset: int) -> int:
    """Unsigned, little-endian."""
    return int(unpack_from("<I", frame, offset)[0])


def i32(frame: bytes, offset: int) -> int:
    """Signed, little-endian."""
    return int(unpack_from("<i", frame, offset)[0])


def f32(frame: bytes, offset: int) -> float:
    """Single precision."""
    return float(unpack_from("<f", frame, offset)[0])


def cells_of(battery: Battery, counter: int = 7) -> bytes:
    """The cell frame of a battery as it is now."""
    return frames.cell_frame(battery.spec, battery.state, counter)


def settings_of(battery: Battery) -> bytes:
    """The settings frame of a battery."""
    return frames.settings_frame(battery.spec, battery.settings, 7)


def info_of(battery: Battery) -> bytes:
    """The device information frame of a battery."""
    return frames.info_frame(battery.spec, battery.settings, battery.state, 7)


# Commands and frames in general


@pytest.mark.parametrize(
    ("register", "value", "expected"),
    [
        (0x97, "", "aa5590eb9700 0000000000000000000000000011"),
        (0x96, "", "aa5590eb9600 0000000000000000000000000010"),
        (0x1D, "01000000", "aa5590eb1d0401000000 0000000000000000009c"),
        (0x20, "cdcc4c40", "aa5590eb2004cdcc4c40 000000000000000000c3"),
        (0x64, "6f12033c", "aa5590eb64046f12033c 000000000000000000a2"),
        (0x6C, "01", "aa5590eb6c0101 000000000000000000000000e8"),
    ],
)
def test_command_frames_match_the_published_bytes(
    register: int, value: str, expected: str
) -> None:
    """Commands are the published ones, byte for byte."""
    assert frames.command(register, bytes.fromhex(value)) == bytes.fromhex(expected)


def test_acknowledgement_has_a_correct_checksum() -> None:
    """The acknowledgement is a command frame with a good checksum."""
    assert frames.ACKNOWLEDGEMENT == ACK
    assert sum(ACK[:19]) & 0xFF == ACK[19]


@pytest.mark.parametrize("key", MODELS)
def test_frames_are_well_formed(key: str) -> None:
    """Every unit sends 300 bytes with header, type, counter and checksum."""
    battery = Battery(MODELS[key])
    for kind, frame in (
        (0x01, settings_of(battery)),
        (0x02, cells_of(battery)),
        (0x03, info_of(battery)),
        (0x05, frames.logbook_frame(battery.log, 7)),
        (0x06, frames.detail_log_frame(0, battery.detail_log[:12], 7)),
    ):
        assert len(frame) == 300
        assert frame[:6] == HEADER + bytes([kind, 7])
        assert frame[299] == sum(frame[:299]) & 0xFF
        assert HEADER not in frame[4:]


def test_damage_breaks_the_checksum_unless_resealed() -> None:
    """Damage breaks the checksum unless asked to hide."""
    frame = cells_of(Battery(MODELS[BMS_8S]))
    broken = frames.damage(frame, 10)
    assert [i for i in range(300) if broken[i] != frame[i]] == [10]
    assert broken[299] != sum(broken[:299]) & 0xFF
    hidden = frames.damage(frame, 10, reseal=True)
    assert hidden[299] == sum(hidden[:299]) & 0xFF


# Cell information


def test_cell_frame_of_32s_has_each_value_at_its_offset() -> None:
    """Each value of the 32-slot layout stands where the protocol says, in its unit."""
    battery = Battery(MODELS[BMS_PB])
    battery.override(
        cells=(3.301, 3.299, *[3.3] * 13, 3.311),
        resistances=(0.051,) * 16,
        current=-12.5,
        temperatures=(21.5, -3.2, 22.0, None),
        mosfet_temperature=24.9,
        balancer=2,
        balance_current=-1.754,
        soc=76,
        remaining=212.34,
        full=280.0,
        cycles=1234,
        cycle_capacity=345678.9,
        soh=99,
        precharging=True,
        charging=True,
        discharging=False,
        alarms=0x80010,
        wire_alarm=0x3,
        run_time=31_557_600.9,
        uptime=12.34,
        heating=True,
        heater_current=4.2,
        charger_plugged=True,
        emergency=90,
        clock=200_000_000,
        detail_records=411,
        sleep=76770,
        phase=1,
        phase_time=677,
        dry_contacts=6,
    )
    frame = cells_of(battery)
    assert [u16(frame, 6 + 2 * i) for i in range(32)] == [
        3301,
        3299,
        *[3300] * 13,
        3311,
        *[0] * 16,
    ]
    assert u32(frame, 70) == 0xFFFF
    assert u16(frame, 74) == 3301
    assert u16(frame, 76) == 12
    assert (u8(frame, 78), u8(frame, 79)) == (15, 1)
    assert [u16(frame, 80 + 2 * i) for i in (0, 15, 16)] == [51, 51, 0]
    assert i16(frame, 144) == 249
    assert u32(frame, 146) == 3
    assert u32(frame, 150) == 52811
    assert u32(frame, 154) == 660138  # a magnitude, although it discharges
    assert i32(frame, 158) == -12500
    assert (i16(frame, 162), i16(frame, 164)) == (215, -32)
    assert u32(frame, 166) == 0x80010
    assert i16(frame, 170) == -1754
    assert (u8(frame, 172), u8(frame, 173)) == (2, 76)
    assert i32(frame, 174) == 212340
    assert u32(frame, 178) == 280000
    assert u32(frame, 182) == 1234
    assert u32(frame, 186) == 345678900
    assert (u8(frame, 190), u8(frame, 191)) == (99, 1)
    assert u32(frame, 194) == 31557600
    assert (u8(frame, 198), u8(frame, 199)) == (1, 0)
    assert (u8(frame, 214), u8(frame, 215)) == (0xFF, 1)
    assert u16(frame, 218) == 90
    assert (u16(frame, 222), u16(frame, 224)) == (0, 12)
    assert u16(frame, 234) == 5281
    assert i16(frame, 236) == 4200
    assert u8(frame, 245) == 1
    assert u32(frame, 246) == 123
    assert i16(frame, 254) == 249
    assert (i16(frame, 256), i16(frame, 258)) == (220, -2000)
    assert u32(frame, 262) == 200_000_000
    assert u32(frame, 266) == 411
    assert u32(frame, 270) == 76770
    assert (u8(frame, 275), u8(frame, 276), u8(frame, 277)) == (0, 2, 1)
    assert u16(frame, 278) == 677
    assert (u8(frame, 280), u8(frame, 281)) == (1, 6)
    assert frame[287:293] == bytes.fromhex("feff7fdc2f01")


def test_cell_frame_of_24s_has_each_value_at_its_offset() -> None:
    """Each value of the 24-slot layout stands where the protocol says, in its unit."""
    battery = Battery(MODELS[BMS_24S])
    battery.override(
        cells=(3.301, 3.299, *[3.3] * 13, 3.311),
        current=20.0,
        temperatures=(21.5, None, None, None),
        mosfet_temperature=24.9,
        balancer=1,
        balance_current=1.754,
        soc=76,
        remaining=76.0,
        full=100.0,
        cycles=1234,
        cycle_capacity=123.4,
        alarms=0x8_0810,
        run_time=1000.0,
        uptime=12.34,
        discharging=False,
    )
    frame = cells_of(battery)
    assert [u16(frame, 6 + 2 * i) for i in (0, 1, 15, 16)] == [3301, 3299, 3311, 0]
    assert u32(frame, 54) == 0xFFFF
    assert (u16(frame, 58), u16(frame, 60)) == (3301, 12)
    assert (u8(frame, 62), u8(frame, 63)) == (15, 1)
    assert u16(frame, 64) == 60
    assert u32(frame, 114) == 0
    assert u32(frame, 118) == 52811
    assert u32(frame, 122) == 1056220
    assert i32(frame, 126) == 20000
    assert [i16(frame, o) for o in (130, 132, 134)] == [215, -2000, 249]
    assert u16(frame, 136) == 0x0810  # no room for bit 19
    assert i16(frame, 138) == 1754
    assert (u8(frame, 140), u8(frame, 141)) == (1, 76)
    assert (i32(frame, 142), u32(frame, 146)) == (76000, 100000)
    assert (u32(frame, 150), u32(frame, 154)) == (1234, 123400)
    assert u8(frame, 158) == 100
    assert u32(frame, 162) == 1000
    assert (u8(frame, 166), u8(frame, 167)) == (1, 0)
    assert u8(frame, 182) == 0x07
    assert u32(frame, 214) == 123
    assert not any(frame[218:299])


def test_cell_frame_of_jk04_has_only_cells_and_balancer() -> None:
    """The float layout holds cells, wires and the balancer, and nothing else."""
    battery = Battery(MODELS[BMS_JK04])
    battery.override(
        cells=(3.25, *[3.5] * 15),
        resistances=(0.125,) * 16,
        balancer=2,
        balance_current=-2.0,
        uptime=522904.0,
    )
    frame = cells_of(battery)
    assert [f32(frame, 6 + 4 * i) for i in (0, 1, 15, 16)] == [3.25, 3.5, 3.5, 0.0]
    assert [f32(frame, 102 + 4 * i) for i in (0, 15, 16, 24)] == [
        0.125,
        0.125,
        0.0,
        0.0,
    ]
    assert f32(frame, 202) == pytest.approx(3.484375)
    assert f32(frame, 206) == 0.25
    assert u32(frame, 214) == 0xFFFF
    assert (u8(frame, 218), u8(frame, 219), u8(frame, 220)) == (1, 0, 2)
    assert f32(frame, 222) == -2.0
    assert u32(frame, 286) == 522904
    assert not any(frame[238:260])


@pytest.mark.parametrize(
    ("key", "copy", "t4", "t5", "clock"),
    [
        ("JK_B2A8S20P 11.17", 0, 0, 0, False),
        (BMS_8S, 249, 0, 0, True),
        ("JK_PB2A16S15P 14.20", 249, 220, 230, True),
        (BMS_19, 249, -2000, -2000, True),
    ],
)
def test_firmware_decides_which_fields_are_filled(
    key: str, copy: int, t4: int, t5: int, clock: bool
) -> None:
    """The MOSFET copy, T4, T5 and the clock depend on the firmware."""
    battery = Battery(MODELS[key])
    fitted = any(MODELS[key].sensors[2:])
    battery.override(
        mosfet_temperature=24.9,
        temperatures=(21.0, 22.0, 22.0 if fitted else None, 23.0 if fitted else None),
    )
    frame = cells_of(battery)
    assert (i16(frame, 254), i16(frame, 256), i16(frame, 258)) == (copy, t4, t5)
    assert bool(u32(frame, 262)) is clock
    assert bool(u32(frame, 270)) is clock


def test_heater_current_is_noise_while_not_heating() -> None:
    """A number stands in the heater's field although nothing heats."""
    battery = Battery(MODELS[BMS_HEATER])
    assert i16(cells_of(battery), 236) == 7080
    assert u8(cells_of(battery), 215) == 0
    battery.override(heating=True, heater_current=4.2)
    assert i16(cells_of(battery), 236) == 4200
    assert u8(cells_of(battery), 215) == 1


def test_no_cells_connected_sends_zeros_and_alarm() -> None:
    """Without cells: mask, voltage, capacities zero, alarm bit 2."""
    battery = Battery(MODELS[BMS_8S])
    battery.override(cells=())
    frame = cells_of(battery)
    assert not any(frame[6:80])
    assert [u32(frame, o) for o in (150, 154, 174, 178)] == [0, 0, 0, 0]
    assert u32(frame, 166) == 1 << 2


def test_25_cells_fit_into_32s() -> None:
    """More cells than 24 fit into the wide layout."""
    frame = cells_of(Battery(MODELS["JK_B2A25SRP 11.55"]))
    assert u32(frame, 70) == (1 << 25) - 1
    assert u16(frame, 6 + 2 * 24) > 3000
    assert u16(frame, 6 + 2 * 25) == 0
    assert [i16(frame, o) for o in (144, 162, 164, 254)] == [-2000] * 4
    assert u8(frame, 214) == 0xF0


def test_clock_counts_from_zero_until_set() -> None:
    """Writing register 0x6C sets it."""
    battery = Battery(replace(MODELS[BMS_PB], clock_set=False))
    battery.advance(60.0)
    assert u32(cells_of(battery), 262) == 60
    battery.set_clock(200_000_000)
    battery.advance(60.0)
    assert u32(cells_of(battery), 262) == 200_000_060


def test_dead_cell_keeps_its_slot() -> None:
    """A cell of 0 V is enabled, and the lowest one."""
    battery = Battery(MODELS[BMS_8S])
    battery.override(cells=(3.3, 0.0, *[3.3] * 6))
    frame = cells_of(battery)
    assert (u16(frame, 8), u32(frame, 70), u8(frame, 79)) == (0, 0xFF, 1)


def test_balancer_measures_cells_only() -> None:
    """The DZ11 fills a handful of fields, yet claims all sensors."""
    frame = cells_of(Battery(MODELS[DZ11]))
    assert u32(frame, 70) == 0xFFFF
    assert u32(frame, 150) > 48000
    assert i16(frame, 162) > 100
    assert u32(frame, 194) > 0
    assert u8(frame, 214) == 0xFF
    assert not any(frame[154:162])
    assert not any(frame[173:194])
    assert not any(frame[215:230])
    assert not any(frame[234:287])


# Settings, device information, logs


def test_settings_frame_of_32s_has_each_value_at_its_offset() -> None:
    """Settings stand where the protocol says; a negative temperature is signed over 32 bits."""
    battery = Battery(MODELS[BMS_19])
    battery.settings = replace(
        battery.settings,
        cell_ovp=3.65,
        charge_utp=-10.0,
        discharging=False,
        switches=0x1191,
    )
    frame = settings_of(battery)
    assert u32(frame, 6) == 3500
    assert u32(frame, 18) == 3650
    assert u32(frame, 50) == 200_000
    assert (i32(frame, 98), i32(frame, 102)) == (-100, 20)
    assert u32(frame, 114) == 4
    assert [u32(frame, o) for o in (118, 122, 126)] == [1, 0, 1]
    assert u32(frame, 130) == 315_000
    assert (u32(frame, 134), u32(frame, 138)) == (1500, 3400)
    assert u32(frame, 278) == 500_000
    assert u16(frame, 282) == 0x1191
    assert (frame[284], frame[285], frame[286]) == (0, 10, 24)
    assert unpack_from("<bb", frame, 296) == (-20, -10)


def test_settings_24s_ends_early() -> None:
    """The narrow layout has nothing behind the wire resistances."""
    frame = settings_of(Battery(MODELS[BMS_24S]))
    assert u32(frame, 6) == 600
    assert u32(frame, 138) == 3400
    assert not any(frame[142:299])


def test_settings_frame_of_jk04_has_each_value_at_its_offset() -> None:
    """The float layout."""
    frame = settings_of(Battery(MODELS[BMS_JK04]))
    assert f32(frame, 6) == 1.0
    assert u32(frame, 34) == 16
    assert f32(frame, 38) == pytest.approx(2.45)
    assert f32(frame, 98) == pytest.approx(3.4)
    assert f32(frame, 106) == pytest.approx(0.01)
    assert f32(frame, 110) == pytest.approx(2.0)
    assert u32(frame, 114) == 1


def test_heating_temperatures_need_new_firmware() -> None:
    """Older boards have another pair of temperatures at 284."""
    assert settings_of(Battery(MODELS[BMS_8S]))[284:286] == bytes([60, 50])
    assert settings_of(Battery(MODELS[BMS_PB]))[284:286] == bytes([0, 10])


def test_short_serial_leaves_room_for_the_passcode() -> None:
    """A serial of ten characters leaves room for the short passcode."""
    spec = MODELS[BMS_24S]
    frame = info_of(Battery(spec))
    assert frame[6:22] == b"JK-B2A24S15P\0\0\0\0"
    assert frame[22:30] == b"10.XW\0\0\0"
    assert frame[30:38] == b"10.07\0\0\0"
    assert u32(frame, 38) == spec.run_time // 300 * 300
    assert u32(frame, 42) == spec.power_on_count
    assert frame[46:58] == b"JK-B2A24S15P"
    assert frame[62:74] == spec.passcode.encode()
    assert frame[78:86] == b"220407\0\0"
    assert frame[86:97] == spec.serial.encode() + b"\0"
    assert frame[97:102] == spec.short_passcode.encode()
    assert frame[102:116] == b"Input Userdata"
    assert frame[118:130] == spec.setup_passcode.encode()
    assert not any(frame[134:299])


def test_long_serial_covers_the_short_passcode() -> None:
    """A serial of 15 characters covers the short passcode; the cell limit follows the model."""
    spec = MODELS["JK-PB2A16S20P 19.27"]
    frame = info_of(Battery(spec))
    assert frame[6:22] == b"JK-PB2A16S20P\0\0\x10"
    assert frame[86:102] == spec.serial.encode() + b"\0"
    assert u32(frame, 162) == 0x1F90
    assert (frame[184], frame[185]) == (1, 4)
    assert frame[278] == 5
    assert frame[298] == 2


def test_serial_of_eleven_overwrites_one_character() -> None:
    """The NUL of the serial eats the first character of what stood there before."""
    frame = info_of(Battery(MODELS[BMS_PB]))
    assert frame[86:102] == MODELS[BMS_PB].serial.encode() + b"\x000000"


def test_logbook_frame_holds_the_newest_50_entries() -> None:
    """Count, then five bytes an entry; only the newest 50."""
    entries = [LogEntry(1000 + i, 0x11 + i % 2) for i in range(60)]
    frame = frames.logbook_frame(entries, 7)
    assert u32(frame, 6) == 50
    assert (u32(frame, 11), frame[15]) == (1010, 0x11)
    assert (u32(frame, 11 + 5 * 49), frame[15 + 5 * 49]) == (1059, 0x12)


def test_detail_log_frame_holds_24_byte_records() -> None:
    """Records of 24 bytes behind index and count."""
    record = DetailRecord(
        clock=204_912_345,
        code=0x11,
        discharging=False,
        balancing=True,
        highest=3,
        lowest=1,
        highest_voltage=3.409,
        lowest_voltage=3.39,
        voltage=13.59,
        current=-2.4,
        remaining=309.7,
        full=315.0,
        temperatures=(35, -2, 40),
        heater_current=4.2,
    )
    frame = frames.detail_log_frame(828, [record] * 8, 7)
    assert (u16(frame, 6), frame[8]) == (828, 8)
    at = 9 + 24 * 7
    assert u32(frame, at) == 204_912_345
    assert (frame[at + 4], frame[at + 5]) == (0x11, 0b0101)
    assert (frame[at + 6], frame[at + 7]) == (3, 1)
    assert [u16(frame, at + o) for o in (8, 10, 12)] == [3409, 3390, 1359]
    assert i16(frame, at + 14) == -24
    assert (u16(frame, at + 16), u16(frame, at + 18)) == (3097, 3150)
    assert unpack_from("<bbbb", frame, at + 20) == (35, -2, 40, 42)
    assert not any(frame[at + 24 : 299])


# Writing


@pytest.mark.parametrize(
    ("key", "register", "value", "setting", "expected"),
    [
        (BMS_24S, 0x1D, "00000000", "charging", False),
        (BMS_8S, 0x1E, "00000000", "discharging", False),
        (BMS_8S, 0x0C, "50c30000", "max_charge_current", 50.0),
        (BMS_8S, 0x18, "9cffffff", "charge_utp", -10.0),
        (BMS_24S, 0x26, "c4090000", "balance_start_voltage", 2.5),
        (BMS_8S, 0x22, "c4090000", "balance_start_voltage", 2.5),
        (BMS_PB, 0x37, "fb", "heat_start", -5),
        (BMS_PB, 0xA6, "0400", "can_protocol", 4),
        (BMS_PB, 0x2A, "01000000", "switches", 0x3208),
        (BMS_PB, 0x33, "00000000", "switches", 0x2200),
        (BMS_PB, 0x9F, "476172616765", "userdata", "Garage"),
        (BMS_JK04, 0x6C, "00", "balancer", False),
        (BMS_JK04, 0x20, "00004040", "power_off_voltage", 3.0),
    ],
)
def test_write_changes_the_register_of_its_layout(
    key: str, register: int, value: str, setting: str, expected: Any
) -> None:
    """The layout decides what a register is."""
    battery = Battery(MODELS[key])
    settings = apply(
        battery.settings, battery.spec.layout, register, bytes.fromhex(value)
    )
    assert getattr(settings, setting) == expected


def test_registers_from_0x27_are_cells_on_24s() -> None:
    """Registers 0x27 on are cells there, not switches."""
    battery = Battery(MODELS[BMS_24S])
    settings = apply(battery.settings, "JK02_24S", 0x29, b"\x64\0\0\0")
    assert settings is not None
    battery.settings = settings
    frame = settings_of(battery)
    assert [u32(frame, 158 + 4 * i) for i in (0, 2, 3)] == [0, 100, 0]


@pytest.mark.parametrize(
    ("key", "register", "value"),
    [
        (BMS_JK04, 0x1D, "00000000"),
        (BMS_8S, 0x1D, "00"),
        (BMS_8S, 0x6C, "01000000"),
        (BMS_24S, 0x37, "01"),
    ],
)
def test_unknown_registers_and_wrong_lengths_change_nothing(
    key: str, register: int, value: str
) -> None:
    """Unknown registers and wrong lengths change nothing."""
    battery = Battery(MODELS[key])
    assert (
        apply(battery.settings, battery.spec.layout, register, bytes.fromhex(value))
        is None
    )


# The simulated day


def test_equal_arguments_give_equal_frames() -> None:
    """Equal totals of time give equal frames, however they were cut."""
    one, other = (Battery(MODELS[BMS_8S], hour=11.0, seed=3) for _ in range(2))
    one.advance(600.0)
    for _ in range(2400):
        other.advance(0.25)
    assert cells_of(one) == cells_of(other)


def test_day_charges_balances_and_discharges() -> None:
    """Load at night, charge in the morning, balancing and full at noon, load in the evening."""
    battery = Battery(MODELS[BMS_8S], hour=0.0, step=10.0)
    # Some more than 15 min, to see the balancer at both of its turns
    states = [battery.state, *(battery.advance(910.0) for _ in range(95))]
    night = states[8]
    assert night.current < -2.0
    assert 1.0 < night.average < 3.3
    morning = states[40]
    assert morning.current > 20.0
    assert {s.balancer for s in states} == {0, 1, 2}
    assert all(s.balance_current > 0 for s in states if s.balancer == 1)
    assert all(s.balance_current < 0 for s in states if s.balancer == 2)
    full = [s for s in states if s.soc == 100]
    assert full
    assert all(not s.charging and s.alarms == 1 << 4 for s in full[1:])
    assert states[80].current < -20.0
    assert 0.0 < max(s.delta for s in states) < 0.2
    assert all(abs(sum(s.cells) - s.voltage) < 0.002 for s in states)
    assert 10 <= min(s.soc for s in states) < 40
    assert states[-1].cycle_capacity > states[0].cycle_capacity
    assert battery.log[-2].code == 0x11
    assert battery.log[-1].code == 0x12


def test_day_passes_absorption_and_float() -> None:
    """Newer boards go through absorption and float with the MOSFET on and no alarm."""
    battery = Battery(MODELS[BMS_PB], hour=10.0, step=10.0)
    states = [battery.advance(600.0) for _ in range(60)]
    phases = [s.phase for s in states]
    assert [q for p, q in pairwise(phases) if p != q] == [1, 2, 0]
    assert sorted(set(phases)) == [0, 1, 2]
    assert all(s.charging and not s.alarms for s in states)
    assert all(s.phase_time for s in states if s.phase == 2)


def test_switches_stop_the_current() -> None:
    """Charging or discharging forbidden: the MOSFET opens, the current dies away."""
    battery = Battery(MODELS[BMS_8S], hour=10.0)
    assert battery.state.current > 10.0
    battery.settings = replace(battery.settings, charging=False)
    state = battery.advance(120.0)
    assert (state.charging, state.current) == (False, 0.0)
    battery = Battery(MODELS[BMS_8S], hour=20.0)
    battery.settings = replace(battery.settings, discharging=False)
    state = battery.advance(120.0)
    assert (state.discharging, state.current) == (False, 0.0)


def test_overrides_stay_and_adapt_dependent_fields() -> None:
    """What a test pins stays pinned, what follows is adapted, the rest lives on."""
    battery = Battery(MODELS[BMS_8S], hour=8.0)
    battery.override(current=-12.5, cells=(3.2,) * 8)
    assert battery.state.voltage == 25.6
    assert battery.state.power == 320.0
    assert battery.advance(3600.0).current == -12.5
    battery.release("current")
    assert battery.state.current > 0.0
    assert battery.state.voltage == 25.6
    battery.release()
    assert battery.state.voltage != 25.6
    with pytest.raises(TypeError):
        battery.override(curent=1.0)


@pytest.mark.parametrize(
    ("hour", "mosfet"), [(12.0, "charging"), (20.0, "discharging")]
)
def test_pinned_mosfet_stops_its_current(hour: float, mosfet: str) -> None:
    """At once, and the charge stays where it is; a current that is given as well wins."""
    battery = Battery(MODELS[BMS_PB], hour=hour, soc=0.5)
    before = battery.advance(60)
    assert abs(before.current) > 1
    battery.override(**{mosfet: False})
    assert (battery.state.current, battery.state.power) == (0, 0)
    battery.advance(60)
    settled = battery.state.remaining
    assert battery.advance(600).remaining == settled
    battery.override(current=before.current)
    assert battery.state.current == before.current


def test_set_alarms_are_sent_and_logged() -> None:
    """Bits set by a test are added, and logged when time passes."""
    battery = Battery(MODELS[BMS_8S], hour=3.0)
    battery.alarms = 1 << 8 | 1 << 19
    assert battery.advance(1.0).alarms == 1 << 8 | 1 << 19
    battery.alarms = 0
    battery.advance(1.0)
    assert [entry.code for entry in battery.log[-2:]] == [0x19, 0x1A]


# The radio module


@pytest.mark.parametrize(
    ("gatt", "frame_chunks", "with_at"),
    [
        ("A", [128, 22, 128, 22], [128, 26, 128, 22]),
        ("A_OLD", [128, 128, 44], [128, 128, 48]),
        ("B", [150, 150], [154, 150]),
        ("C", [20] * 15, [20] * 15 + [4]),
        ("E", [128, 22, 128, 22], [128, 26, 128, 22]),
        ("F", [128, 22, 128, 22], [128, 26, 128, 22]),
    ],
)
def test_each_module_splits_frames_its_own_way(
    gatt: str, frame_chunks: list[int], with_at: list[int]
) -> None:
    """Each module cuts frames its own way."""
    data = bytes(range(256)) + bytes(44)
    variant = VARIANTS[gatt]
    assert [len(c) for c in chunks(variant, data)] == frame_chunks
    assert [len(c) for c in chunks(variant, b"AT\r\n" + data)] == with_at
    assert b"".join(chunks(variant, data)) == data
    assert [len(c) for c in chunks(variant, ACK)] == [20]


# Links, by a clock that stands still unless it is moved


class Central:
    """A plain client that records what it receives."""

    def __init__(
        self, bms: VirtualBms, freezer: FrozenDateTimeFactory, radio: VirtualRadio
    ) -> None:
        """Use the given radio."""
        self.bms = bms
        self.freezer = freezer
        self.received: list[tuple[float, bytes]] = []
        self.lost = 0
        self.client = BleakClient(
            radio.device(bms), self._on_lost, backend=VirtualBackend
        )

    @property
    def chunks(self) -> list[bytes]:
        """Notifications without the AT noise."""
        return [data for _, data in self.received if data != b"AT\r\n"]

    @property
    def frames(self) -> list[bytes]:
        """Frames with a good checksum in the order of their arrival."""
        data = b"".join(data for _, data in self.received)
        found = []
        at = data.find(HEADER)
        while at >= 0 and at + 300 <= len(data):
            frame = data[at : at + 300]
            if frame[299] == sum(frame[:299]) & 0xFF:
                found.append(frame)
            at = data.find(HEADER, at + 4)
        return found

    @property
    def kinds(self) -> list[int]:
        """Types of the frames."""
        return [frame[4] for frame in self.frames]

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        await pass_time(self.freezer.tick, seconds, 0.02)

    async def open(self, subscribe: bool = True) -> None:
        """Connect and switch notifications on."""
        await finish(self.freezer.tick, self.client.connect())
        if subscribe:
            await finish(
                self.freezer.tick,
                self.client.start_notify(self.uart(), self._on_data),
            )

    async def close(self) -> None:
        """Disconnect."""
        await finish(self.freezer.tick, self.client.disconnect())

    async def write(self, register: int, value: bytes = b"") -> None:
        """Send a command to whatever can be written to."""
        await self.client.write_gatt_char(
            self.sink(), frames.command(register, value), response=False
        )

    def uart(self) -> BleakGATTCharacteristic:
        """The 0xFFE1 that notifies."""
        return self._find("notify")

    def sink(self) -> BleakGATTCharacteristic:
        """The 0xFFE1 that takes commands."""
        return self._find("write-without-response")

    def _find(self, wanted: Any) -> BleakGATTCharacteristic:
        return next(
            c
            for service in self.client.services
            for c in service.characteristics
            if c.uuid == FFE1 and wanted in c.properties
        )

    def _on_data(self, _: BleakGATTCharacteristic, data: bytearray) -> None:
        self.received.append((asyncio.get_running_loop().time(), bytes(data)))

    def _on_lost(self, _: BleakClient) -> None:
        self.lost += 1


type MakeCentral = Callable[..., Central]


@pytest.fixture
async def central(freezer: FrozenDateTimeFactory) -> AsyncGenerator[MakeCentral]:
    """Clients of batteries that are turned off afterwards."""
    radio = VirtualRadio("test", slots=3)
    made: list[Central] = []

    def make(
        key: str | Spec = BMS_8S, bms: VirtualBms | None = None, **kwargs: Any
    ) -> Central:
        spec = MODELS[key] if isinstance(key, str) else key
        bms = bms or VirtualBms(Battery(spec), **kwargs)
        radio.place(bms)
        made.append(Central(bms, freezer, radio))
        return made[-1]

    yield make
    for one in made:
        one.bms.stop()


async def test_commands_bring_replies_stream_and_acknowledgements(
    central: MakeCentral,
) -> None:
    """0x97 brings 0x03, 0x96 brings 0x01 and the stream, each reply with an acknowledgement."""
    c = central(BMS_8S)
    await c.open()
    start = asyncio.get_running_loop().time()
    await c.write(0x97)
    await c.wait(0.6)
    assert [len(chunk) for chunk in c.chunks] == [128, 22, 128, 22, 20]
    assert c.chunks[-1] == ACK
    assert c.received[0][0] - start >= 0.05
    assert c.received[3][0] - start <= 0.3
    assert c.kinds == [3]

    c.received.clear()
    start = asyncio.get_running_loop().time()
    await c.write(0x96)
    await c.wait(3.0)
    assert c.kinds == [1, 2, 2, 2, 2, 2]
    assert c.chunks[4] == ACK
    assert 0.04 <= c.received[0][0] - start <= 0.15
    starts = [t for t, data in c.received if data[:5] == HEADER + b"\x02"]
    assert 0.45 <= starts[0] - start <= 0.9
    assert all(b - a == pytest.approx(0.53, abs=0.03) for a, b in pairwise(starts))
    assert c.bms.registers == [0x97, 0x96]
    assert c.bms.streaming
    assert c.bms.beeps == 0


async def test_replies_carry_the_next_frame_counter(central: MakeCentral) -> None:
    """Replies carry the number of the next cell frame, the second 0x03 carries 0xA5."""
    c = central(BMS_PB)
    await c.open()
    c.bms.counter = 254
    await c.write(0x97)
    await c.wait(0.6)
    await c.write(0x96)
    await c.wait(3.0)
    assert [(f[4], f[5]) for f in c.frames[:7]] == [
        (3, 254),
        (1, 254),
        (3, 0xA5),
        (2, 254),
        (2, 255),
        (2, 0),
        (2, 1),
    ]
    await c.write(0x96)
    await c.wait(2.0)
    assert c.kinds[7:].count(1) == 1
    assert c.kinds[7:].count(3) == 1
    assert c.bms.beeps == 1


@pytest.mark.parametrize(
    ("key", "sizes"),
    [
        (BMS_BD6, [128, 128, 64]),
        (BMS_HEATER, [150, 150, 20]),
        (BMS_JK04, [20] * 16),
        (BALANCER, [80, 80, 80, 80]),
        (DZ11, [128, 22, 128, 22, 20]),
        (BMS_19, [128, 22, 128, 22, 24]),
    ],
)
async def test_reply_is_split_at_the_module_borders(
    central: MakeCentral, key: str, sizes: list[int]
) -> None:
    """Where the borders of the notifications fall, the acknowledgement included."""
    c = central(key)
    c.bms.behaviour = replace(c.bms.behaviour, at_glued=0.0)
    await c.open()
    await c.write(0x97)
    await c.wait(0.8)
    assert [len(chunk) for chunk in c.chunks] == sizes
    assert c.kinds == [3]


async def test_module_that_counts_splits_anywhere(central: MakeCentral) -> None:
    """A module that counts to 80 starts frames anywhere in a notification."""
    c = central(BALANCER)
    await c.open()
    await c.write(0x97)
    await c.wait(0.6)
    await c.write(0x96)
    await c.wait(5.0)
    assert {len(chunk) for chunk in c.chunks} == {80}
    assert any(chunk.find(HEADER) > 0 for chunk in c.chunks)
    assert c.kinds[:2] == [3, 1]
    assert set(c.kinds[2:]) == {2}


async def test_idle_line_sends_at_lines(central: MakeCentral) -> None:
    """An idle line sends AT about every 200 ms, twice between frames, sometimes joined to one."""
    c = central(BMS_PB)
    await c.open()
    await c.wait(2.0)
    assert 8 <= len(c.received) <= 11
    assert {data for _, data in c.received} == {b"AT\r\n"}
    c.bms.behaviour = replace(c.bms.behaviour, at_glued=1.0)
    await c.write(0x97)
    await c.wait(0.6)
    assert [len(chunk) for chunk in c.chunks] == [128, 26, 128, 22, 24]
    assert c.chunks[0][:8] == b"AT\r\n" + HEADER
    assert c.chunks[4] == ACK + b"AT\r\n"
    await c.write(0x96)
    await c.wait(3.0)
    before = len(c.received)
    first = len(c.frames)
    await c.wait(0.53 * 6)
    lines = [data for _, data in c.received[before:] if data == b"AT\r\n"]
    assert len(c.frames) - first == 6
    assert 9 <= len(lines) <= 13


async def test_96_right_after_97_prevents_the_stream(central: MakeCentral) -> None:
    """Newer boards then never stream, and drop the link after ten seconds."""
    c = central(BMS_PB)
    await c.open()
    await c.write(0x97)
    await c.write(0x96)
    await c.wait(2.0)
    assert c.kinds == [3]
    await c.write(0x96)
    await c.wait(2.0)
    assert c.kinds == [3]
    await c.wait(7.0)
    assert not c.client.is_connected
    assert c.lost == 1
    assert c.bms.connections[0].reason == "no stream started"
    assert [command.accepted for command in c.bms.commands] == [True, False, False]


async def test_96_right_after_97_works_on_old_boards(central: MakeCentral) -> None:
    """Older boards stream all the same."""
    c = central(BMS_24S)
    await c.open()
    await c.write(0x97)
    await c.write(0x96)
    await c.wait(3.0)
    assert sorted(c.kinds[:2]) == [1, 3]
    assert c.kinds.count(2) >= 3


async def test_newer_boards_do_not_stream_without_97(central: MakeCentral) -> None:
    """Newer boards answer 0x96 with the settings and stay silent then."""
    c = central(BMS_19)
    await c.open()
    await c.write(0x96)
    await c.wait(5.0)
    assert c.kinds == [1, 3]
    assert not c.bms.streaming
    c = central(BMS_24S)
    await c.open()
    await c.write(0x96)
    await c.wait(2.0)
    assert c.kinds[:2] == [1, 2]


async def test_idle_link_is_dropped(central: MakeCentral) -> None:
    """Ten seconds without an accepted command end the link."""
    c = central(BMS_8S)
    await c.open()
    await c.client.write_gatt_char(c.sink(), b"hello", response=False)
    await c.wait(9.0)
    assert c.client.is_connected
    await c.wait(1.5)
    assert not c.client.is_connected
    assert c.bms.connections[0].reason == "no command"
    assert c.bms.commands[0].register is None


async def test_second_central_waits_for_the_first(central: MakeCentral) -> None:
    """The second one times out, unless the first goes in time; nothing is advertised meanwhile."""
    c = central(BMS_8S)
    await c.open()
    assert not c.bms.advertising
    other = central(bms=c.bms)
    with pytest.raises(TimeoutError):
        await finish(c.freezer.tick, other.client.connect(timeout=3.0))
    waiting = asyncio.ensure_future(other.client.connect(timeout=20.0))
    await c.wait(1.0)
    await c.close()
    await c.wait(1.0)
    assert waiting.done()
    assert other.client.is_connected
    assert len(c.bms.connections) == 2
    assert c.bms.connections[0].closed is not None
    assert c.bms.connections[1].closed is None
    await other.close()
    assert c.bms.advertising


async def test_logbook_is_one_frame_and_detail_log_seventy(
    central: MakeCentral,
) -> None:
    """0xA1 brings one frame, 0xA7 seventy of them."""
    c = central(BMS_19)
    await c.open()
    await c.write(0xA1)
    await c.wait(1.0)
    assert c.kinds == [5]
    assert any(ACK in chunk for chunk in c.chunks)
    c.received.clear()
    await c.write(0xA7)
    await c.wait(12.0)
    records = [f for f in c.frames if f[4] == 6]
    assert len(records) == 70
    assert [u16(f, 6) for f in records] == list(range(0, 840, 12))
    assert [f[8] for f in records] == [12] * 69 + [8]
    clocks = [u32(f, 9) for f in records]
    assert clocks == sorted(clocks)


async def test_write_is_recorded_acknowledged_and_applied(central: MakeCentral) -> None:
    """A write is recorded, acknowledged and seen in settings and MOSFET."""
    c = central(BMS_8S)
    await c.open()
    await c.write(0x97)
    await c.wait(0.6)
    await c.write(0x96)
    await c.wait(1.5)
    c.received.clear()
    await c.write(0x1D, bytes(4))
    await c.wait(2.0)
    assert c.chunks.count(ACK) == 1
    await c.write(0x96)
    await c.wait(2.0)
    settings = [f for f in c.frames if f[4] == 1]
    assert u32(settings[0], 118) == 0
    assert u8(c.frames[-1], 198) == 0
    assert [(w.register, w.value) for w in c.bms.writes] == [(0x1D, bytes(4))]


async def test_shutdown_register_turns_the_battery_off(central: MakeCentral) -> None:
    """Register 0x65 turns the pack off."""
    c = central(BMS_8S)
    c.bms.guards = False
    await c.open()
    await c.write(0x65)
    await c.wait(1.0)
    assert not c.client.is_connected
    assert not c.bms.advertising
    with pytest.raises(TimeoutError):
        await finish(c.freezer.tick, c.client.connect(timeout=1.0))
    c.bms.power_on()
    await c.open()


async def test_speed_divides_delays_but_not_the_battery_time(
    central: MakeCentral,
) -> None:
    """Twice the speed, half the time; the battery ages just as fast."""
    c = central(BMS_24S, speed=10.0)
    await c.open()
    before = c.bms.battery.now
    await c.write(0x97)
    await c.wait(0.1)
    await c.write(0x96)
    await c.wait(0.5)
    assert c.kinds.count(2) >= 7
    assert c.bms.battery.now - before == pytest.approx(6.0, abs=1.0)


async def test_two_ffe1_of_module_b_have_one_property_each(
    central: MakeCentral,
) -> None:
    """On module B each of the two 0xFFE1 can do one thing only."""
    c = central(BMS_HEATER)
    await c.open()
    services = c.client.services
    with pytest.raises(BleakError, match="Multiple Characteristics"):
        services.get_characteristic(FFE1)
    assert c.sink().handle == 0x03
    assert c.uart().handle == 0x05
    assert [d.handle for d in c.uart().descriptors] == [0x06]
    with pytest.raises(BleakError):
        await c.client.write_gatt_char(0x05, frames.command(0x97), response=False)
    with pytest.raises(BleakError):
        await finish(c.freezer.tick, c.client.start_notify(0x03, lambda _, __: None))


async def test_module_d_refuses_a_subscription(central: MakeCentral) -> None:
    """Module D answers a subscription of 0xFFE2 with an application error."""
    c = central(BALANCER)
    await c.open()
    with pytest.raises(BleakGATTProtocolError) as error:
        await finish(c.freezer.tick, c.client.start_notify(FFE2, lambda _, __: None))
    assert error.value.code == 0x80


async def test_standard_services_hold_the_module_values(central: MakeCentral) -> None:
    """Standard services hold what the module's maker wrote, and limits are the module's."""
    c = central(BMS_8S)
    await c.open()
    level = await finish(
        c.freezer.tick,
        c.client.read_gatt_char("00002a19-0000-1000-8000-00805f9b34fb"),
    )
    assert level == b"\x63"
    assert c.client.mtu_size == 131
    assert c.uart().max_write_without_response_size == 128
    with pytest.raises(BleakGATTProtocolError):
        await finish(c.freezer.tick, c.client.read_gatt_char(c.uart()))


# Faults


async def read_all(c: Central, seconds: float = 5.0) -> None:
    """The usual conversation."""
    await c.open()
    await c.write(0x97)
    await c.wait(0.8)
    await c.write(0x96)
    await c.wait(seconds)


async def test_lost_notification_costs_one_frame(central: MakeCentral) -> None:
    """One lost notification costs one frame."""
    c = central(BMS_24S, faults=Faults(lose=[2]))
    await read_all(c)
    assert c.kinds[:2] == [1, 2]
    c.bms.faults = Faults(lose=1.0)
    received = len(c.received)
    await c.wait(2.0)
    assert len(c.received) == received


async def test_flipped_bit_breaks_the_checksum(central: MakeCentral) -> None:
    """A flipped bit breaks the checksum."""
    c = central(BMS_24S, faults=Faults(damage=[1]))
    await read_all(c)
    assert 3 not in c.kinds
    assert len(c.chunks[0]) == 128


async def test_delayed_notifications_keep_their_order(central: MakeCentral) -> None:
    """Late, but in order."""
    c = central(BMS_24S, faults=Faults(delay=2.0))
    await c.open()
    await c.write(0x97)
    await c.wait(1.9)
    assert not c.received
    c.bms.faults = Faults()
    await c.write(0x96)
    await c.wait(3.0)
    assert c.kinds[:3] == [3, 1, 2]


async def test_doubled_notifications_arrive_twice(central: MakeCentral) -> None:
    """Each one comes twice in a row."""
    c = central(BMS_24S, faults=Faults(double=True))
    await c.open()
    await c.write(0x97)
    await c.wait(0.6)
    assert c.chunks[::2] == c.chunks[1::2]
    assert len(c.chunks) == 6


@pytest.mark.parametrize(
    ("faults", "received"),
    [(Faults(disconnect_after=2), 2), (Faults(disconnect_in=3), 1)],
)
async def test_link_breaks_in_the_middle_of_a_frame(
    central: MakeCentral, faults: Faults, received: int
) -> None:
    """Neither notifications nor writes pass after that."""
    c = central(BMS_24S, faults=faults)
    await c.open()
    await c.write(0x97)
    await c.wait(1.0)
    assert len(c.received) == received
    assert not c.client.is_connected
    assert c.lost == 1
    with pytest.raises(BleakError):
        await c.client.write_gatt_char(0x12, frames.command(0x97), response=False)


async def test_silent_battery_keeps_the_link(central: MakeCentral) -> None:
    """The link stays up, nothing is sent."""
    c = central(BMS_PB, faults=Faults(silent=True))
    await read_all(c, 15.0)
    assert not c.received
    assert c.client.is_connected


async def test_ignored_command_does_not_count_as_accepted(central: MakeCentral) -> None:
    """A command that is never answered counts as none."""
    c = central(BMS_8S, faults=Faults(never_answer={0x97}))
    await c.open()
    await c.write(0x97)
    await c.wait(11.0)
    assert not c.received
    assert not c.client.is_connected


async def test_third_attempt_is_answered_across_links(central: MakeCentral) -> None:
    """The third time works, also on the next link."""
    c = central(BMS_8S, faults=Faults(answer_after_attempts=2))
    await c.open()
    await c.write(0x97)
    await c.write(0x97)
    await c.close()
    await c.open()
    await c.write(0x97)
    await c.wait(0.6)
    assert c.kinds == [3]


async def test_refused_connections_fail_with_their_text(central: MakeCentral) -> None:
    """The first ones fail with the text asked for."""
    c = central(
        BMS_8S, faults=Faults(refuse_connection=2, refuse_error="le-connection-abort")
    )
    for _ in range(2):
        with pytest.raises(BleakError, match="le-connection-abort"):
            await c.open()
    await c.open()
    assert c.client.is_connected


async def test_hanging_connection_can_be_cancelled(central: MakeCentral) -> None:
    """Connecting never returns, and can be cancelled."""
    c = central(BMS_8S, faults=Faults(hang_connection=True))
    with pytest.raises(TimeoutError):
        await finish(c.freezer.tick, c.client.connect(), limit=30.0)
    c.bms.faults = Faults()
    await c.open()


async def test_first_discovery_finds_no_services(central: MakeCentral) -> None:
    """The first discovery finds nothing."""
    c = central(BMS_8S, faults=Faults(no_services_first=1))
    await c.open(subscribe=False)
    assert list(c.client.services) == []
    await c.close()
    await c.open()
    await c.close()


async def test_missing_characteristic_is_cached(central: MakeCentral) -> None:
    """An incomplete list sticks to the radio until its cache is cleared."""
    c = central(BMS_8S, faults=Faults(missing_characteristic=1))

    async def connect() -> bool:
        await finish(c.freezer.tick, c.client.connect(dangerous_use_bleak_cache=True))
        return c.client.services.get_characteristic(FFE1) is not None

    assert not await connect()
    await c.close()
    assert not await connect()
    assert await c.client._backend.clear_cache()  # type: ignore[attr-defined]
    await c.close()
    assert await connect()


async def test_pairing_fault_refuses_unauthenticated_access(
    central: MakeCentral,
) -> None:
    """Subscribing and writing require authentication that is impossible here."""
    c = central(BMS_19, faults=Faults(pairing=True))
    with pytest.raises(BleakGATTProtocolError, match="Insufficient Authentication"):
        await c.open()
    with pytest.raises(BleakGATTProtocolError):
        await c.write(0x97)
    with pytest.raises(BleakError, match="passkey"):
        await finish(c.freezer.tick, c.client.pair())


async def test_pairing_succeeds_without_the_fault(central: MakeCentral) -> None:
    """Without the fault it simply works."""
    c = central(BMS_8S)
    await finish(c.freezer.tick, c.client.connect())
    await finish(c.freezer.tick, c.client.pair())
    await c.client.unpair()
    assert c.client.is_connected


async def test_unsubscribing_stops_notifications(central: MakeCentral) -> None:
    """The CCCD is cleared, and nothing is sent."""
    c = central(BMS_PB)
    await c.open()
    cccd = c.uart().descriptors[0]
    read = c.client.read_gatt_descriptor
    assert await finish(c.freezer.tick, read(cccd)) == b"\1\0"
    await finish(c.freezer.tick, c.client.stop_notify(c.uart()))
    assert await finish(c.freezer.tick, read(cccd)) == b"\0\0"
    received = len(c.received)
    await c.wait(1.0)
    assert len(c.received) == received


async def test_restart_register_drops_the_link(central: MakeCentral) -> None:
    """Register 0x66 costs the link only."""
    c = central(BMS_8S)
    c.bms.guards = False
    await c.open()
    await c.write(0x66)
    await c.wait(1.0)
    assert c.bms.connections[0].reason == "restarted"
    assert c.bms.advertising


async def test_failed_connection_frees_its_slot(central: MakeCentral) -> None:
    """The slot is free again and no link is left."""
    c = central(BMS_8S)
    radio = RADIOS["test"]
    connecting = asyncio.ensure_future(c.client.connect())
    await c.wait(0.1)
    assert radio.free_slots == 2
    radio.stop()
    await c.wait(1.0)
    with pytest.raises(BleakError):
        await connecting
    assert radio.free_slots == 3
    assert not c.bms.connected


async def test_silent_pairing_fault_drops_the_link(central: MakeCentral) -> None:
    """Accepted, silent, dropped."""
    c = central(BMS_19, faults=Faults(pairing="drop"))
    await c.open()
    await c.write(0x97)
    await c.wait(6.0)
    assert not c.received
    assert not c.client.is_connected


async def test_garbage_and_foreign_frames_are_not_ours(central: MakeCentral) -> None:
    """Bytes come, but none of ours."""
    c = central(BMS_24S, faults=Faults(garbage=True))
    await read_all(c)
    assert len(c.received) > 10
    assert not c.frames
    c = central(BMS_8S, faults=Faults(foreign="neey"))
    await c.open()
    await c.write(0x97)
    await c.wait(0.6)
    assert c.chunks[0][:4] == bytes.fromhex("55aa1101")
    assert not c.frames


async def test_stale_notifications_arrive_while_subscribing(
    central: MakeCentral,
) -> None:
    """Leftovers arrive before subscribing returns."""
    c = central(BMS_8S, faults=Faults(stale=(b"AT\r\n", bytes(22))))
    await c.open()
    assert [data for _, data in c.received] == [b"AT\r\n", bytes(22)]


async def test_stopped_stream_restarts_with_96(central: MakeCentral) -> None:
    """The link stays; 0x96 brings the stream back."""
    c = central(BMS_24S, faults=Faults(stream_stops_after=2))
    await read_all(c, 8.0)
    assert c.kinds == [3, 1, 2, 2]
    assert c.client.is_connected
    assert not c.bms.streaming
    await c.write(0x96)
    await c.wait(4.0)
    assert c.kinds == [3, 1, 2, 2, 1, 2, 2]
    assert c.bms.beeps == 0


async def test_glitched_frames_have_a_correct_checksum(central: MakeCentral) -> None:
    """Every second frame is nonsense with a good checksum."""
    c = central(BMS_24S, faults=Faults(glitch_every=2))
    await read_all(c)
    volts = [u32(f, 118) for f in c.frames if f[4] == 2]
    assert volts[0] > 40_000
    assert volts[1::2] == [0] * len(volts[1::2])


@pytest.mark.parametrize(
    ("model", "mask", "pack", "charge", "up_time"),
    [(BMS_24S, 54, 118, 141, 162), (BMS_PB, 70, 150, 173, 194)],
)
async def test_blank_frames_report_no_cells_and_count(
    central: MakeCentral, model: str, mask: int, pack: int, charge: int, up_time: int
) -> None:
    """Every second frame has no cells and measures nothing, but still counts."""
    c = central(model, faults=Faults(blank_every=2))
    await read_all(c)
    found = [f for f in c.frames if f[4] == 2]
    assert len(found) > 1
    for number, frame in enumerate(found):
        blank = bool(number % 2)
        values = u32(frame, mask), u32(frame, pack), frame[charge], any(frame[6:54])
        assert values == (0, 0, 0, False) if blank else all(values)
        assert u32(frame, up_time)


async def test_behaviour_can_be_replaced(central: MakeCentral) -> None:
    """A test may change a unit's behaviour."""
    calm = replace(
        Behaviour.of(MODELS[BMS_PB]),
        at_interval=None,
        at_glued=0.0,
        acknowledges=False,
        early_96_is_fatal=False,
    )
    c = central(BMS_PB, behaviour=calm)
    await read_all(c)
    assert not any(ACK in data for _, data in c.received)
    assert all(data != b"AT\r\n" for _, data in c.received)


# Radios


def test_each_advertisement_style_has_its_content() -> None:
    """One row per style of advertisement."""
    spec = MODELS[BMS_PB]
    mac = bytes.fromhex(spec.address.replace(":", ""))
    data = advertisement(spec, -60)
    assert data.local_name == "Garage-03"
    assert data.manufacturer_data == {0x0B65: b"\x88\xa0" + mac}
    assert data.service_uuids == [
        "0000ffe0-0000-1000-8000-00805f9b34fb",
        "0000fee7-0000-1000-8000-00805f9b34fb",
    ]
    styled = {
        style: advertisement(replace(spec, advert=style), -60)
        for style in ("jk_id", "fad6", "hex_text", "joined_uuid", "foreign")
    }
    assert styled["jk_id"].manufacturer_data == {0x4B4A: b"\x00\x01"}
    assert styled["fad6"].manufacturer_data == {0xFAD6: b"\x88\xa0" + mac}
    assert styled["hex_text"].manufacturer_data == {0x0B65: b"88a0c84780100003"}
    assert styled["joined_uuid"].service_uuids == [
        "0000fee7ffe0-0000-1000-8000-00805f9b34fb"
    ]
    assert 0x0B65 not in styled["foreign"].manufacturer_data


async def test_device_works_with_plain_bleak() -> None:
    """A battery works with plain bleak without set-up."""
    bms = VirtualBms(Battery(MODELS[BMS_8S]), speed=100.0)
    async with BleakClient(ble_device(bms), backend=VirtualBackend) as client:
        assert client.is_connected
        assert client.name == "House 24V"
    assert bms.connections[0].reason == "by the central"


async def test_plain_bleak_uses_the_bound_radio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plain bleak scans and connects through the virtual radio."""
    # The plug-in's Bluetooth fixture puts a mock in its place and leaves it there.
    monkeypatch.setattr(BleakScanner, "stop", STOP_SCANNING)
    near = VirtualBms(Battery(MODELS[BMS_8S]), speed=100.0)
    # Radios of other tests that are not gone yet may have one of the usual address.
    spec = replace(MODELS[BMS_24S], address="C8:47:8C:99:99:99")
    far = VirtualBms(Battery(spec), speed=100.0)
    with VirtualRadio("hci0") as radio:
        radio.place(near, rssi=-50)
        radio.place(far, rssi=-90)
        found = await BleakScanner.discover(timeout=0.05, return_adv=True)
        assert {a: adv.rssi for a, (_, adv) in found.items()} == {
            near.address: -50,
            far.address: -90,
        }
        device = await BleakScanner.find_device_by_address(near.address, timeout=1.0)
        assert device is not None
        client = await establish_connection(
            bleak_retry_connector.BleakClientWithServiceCache, device, "near"
        )
        assert near.connected
        # While connected it does not advertise.
        found = await BleakScanner.discover(timeout=0.05, return_adv=True)
        assert list(found) == [far.address]
        radio.remove(near)
        assert not client.is_connected
    with pytest.raises(BleakError):
        await BleakClient(radio.device(far), backend=VirtualBackend).connect()
    with pytest.raises(BleakError):
        await BleakClient(far.address, backend=VirtualBackend).connect()
    radio.start()
    await BleakClient(far.address, backend=VirtualBackend).connect()
    far.stop()


# Home Assistant


@pytest.fixture
async def proxies(
    hass: HomeAssistant, enable_bluetooth: None
) -> AsyncGenerator[Callable[..., VirtualProxy]]:
    """Proxies that are gone afterwards."""
    made: list[VirtualProxy] = []

    def make(name: str, slots: int = 3) -> VirtualProxy:
        proxy = VirtualProxy(f"AA:BB:CC:00:00:{len(made):02X}", name, slots)
        made.append(proxy)
        proxy.start()
        return proxy

    yield make
    for proxy in made:
        proxy.stop()
    await hass.async_block_till_done(wait_background_tasks=True)


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine waits for a free slot would take half a minute."""
    for name in ("BLEAK_OUT_OF_SLOTS_BACKOFF_TIME", "BLEAK_BACKOFF_TIME"):
        monkeypatch.setattr(bleak_retry_connector, name, 0.001)


async def connect(
    hass: HomeAssistant, bms: VirtualBms, lost: list[str] | None = None
) -> BleakClient:
    """Connect the way an integration does."""
    device = bluetooth.async_ble_device_from_address(hass, bms.address, True)
    assert device is not None
    return await establish_connection(
        bleak_retry_connector.BleakClientWithServiceCache,
        device,
        bms.spec.name,
        lambda _: lost.append(bms.address) if lost is not None else None,
        max_attempts=1,
    )


async def until(condition: Callable[[], bool]) -> None:
    """Wait in real time, as long as a busy machine may need."""
    async with asyncio.timeout(60.0):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def fast() -> Generator[Callable[[str], VirtualBms]]:
    """Fast batteries."""
    made: list[VirtualBms] = []

    def make(key: str) -> VirtualBms:
        made.append(VirtualBms(Battery(MODELS[key]), speed=20.0))
        return made[-1]

    yield make
    for bms in made:
        bms.stop()


async def test_home_assistant_connects_and_counts_slots(
    hass: HomeAssistant,
    proxies: Callable[..., VirtualProxy],
    fast: Callable[[str], VirtualBms],
) -> None:
    """Home Assistant's own client connects, subscribes and receives frames; slots are counted."""
    proxy = proxies("garage")
    bms = fast(BMS_PB)
    proxy.place(bms, rssi=-55)
    assert proxy.advertise(bms)
    info = bluetooth.async_last_service_info(hass, bms.address, True)
    assert info is not None
    assert (info.name, info.rssi) == ("Garage-03", -55)
    assert info.manufacturer_data[0x0B65][:2] == b"\x88\xa0"

    lost: list[str] = []
    client = await connect(hass, bms, lost)
    assert type(client).__name__ == "HaBleakClientWithServiceCache"
    assert proxy.free_slots == 2
    assert proxy.get_allocations().allocated == [bms.address]
    assert not proxy.advertise(bms)
    received = bytearray()
    await client.start_notify(FFE1, lambda _, data: received.extend(data))
    await client.write_gatt_char(FFE1, frames.command(0x97), response=False)
    await until(lambda: ACK in received)
    await client.write_gatt_char(FFE1, frames.command(0x96), response=False)
    await until(lambda: received.count(HEADER + b"\x02") == 2)
    assert received.count(HEADER + b"\x03") == 2
    assert received.count(HEADER + b"\x01") == 1
    assert await client.clear_cache()  # type: ignore[attr-defined]
    await client.disconnect()
    assert lost == [bms.address]
    assert proxy.free_slots == 3
    assert proxy.advertise(bms)


async def test_second_proxy_serves_when_slots_are_used(
    hass: HomeAssistant,
    proxies: Callable[..., VirtualProxy],
    fast: Callable[[str], VirtualBms],
    no_backoff: None,
) -> None:
    """One slot serves one battery; a second proxy helps."""
    proxy = proxies("garage", slots=1)
    first, second = fast(BMS_8S), fast(BMS_24S)
    for bms in (first, second):
        proxy.place(bms)
        proxy.advertise(bms)
    client = await connect(hass, first)
    with pytest.raises(BleakOutOfConnectionSlotsError):
        await connect(hass, second)
    other = proxies("kitchen", slots=1)
    other.place(second, rssi=-90)
    other.advertise(second)
    assert (await connect(hass, second)).is_connected
    assert second.connections[0].source == other.source
    await client.disconnect()
    assert proxy.free_slots == 1


async def test_links_break_and_recover_with_the_proxy(
    hass: HomeAssistant,
    proxies: Callable[..., VirtualProxy],
    fast: Callable[[str], VirtualBms],
    no_backoff: None,
) -> None:
    """Links die with the proxy and come back through it."""
    proxy = proxies("garage")
    bms = fast(BMS_8S)
    proxy.place(bms)
    proxy.start_advertising(interval=0.05)
    lost: list[str] = []
    client = await connect(hass, bms, lost)
    proxy.unplug()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert lost == [bms.address]
    assert not client.is_connected
    assert not proxy.advertise(bms)
    proxy.replug()
    assert proxy.advertise(bms)
    client = await connect(hass, bms)
    assert client.is_connected
    assert len(bms.connections) == 2


async def test_connection_uses_the_proxy_with_the_better_signal(
    hass: HomeAssistant,
    proxies: Callable[..., VirtualProxy],
    fast: Callable[[str], VirtualBms],
) -> None:
    """With two proxies in range, the one with the better signal is used."""
    near, far = proxies("near"), proxies("far")
    bms = fast(BMS_8S)
    far.place(bms, rssi=-85)
    near.place(bms, rssi=-45)
    far.advertise(bms)
    near.advertise(bms)
    await connect(hass, bms)
    assert bms.connections[0].source == near.source
