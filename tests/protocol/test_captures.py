"""Tests against frames captured from real devices, and what was published about them.

The captures are no part of this repository; they lie beside it where it is developed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
import json
from pathlib import Path
from typing import Any

import pytest

from custom_components.jk_bms.jkbms.bluetooth.logs import has_logbook
from custom_components.jk_bms.jkbms.errors import FrameError
from custom_components.jk_bms.jkbms.models import (
    SECRET_FIELDS,
    BalancerState,
    BatteryType,
    CellData,
    DeviceInfo,
    Layout,
    Reading,
)
from custom_components.jk_bms.jkbms.protocol.changes import accepted_registers, declares
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_detail_log,
    decode_device_info,
    decode_logbook,
    decode_settings,
    redact,
)
from custom_components.jk_bms.jkbms.protocol.detect import find_profile
from custom_components.jk_bms.jkbms.protocol.frames import (
    Frame,
    FrameAssembler,
    FrameType,
    ReadCommand,
)
from custom_components.jk_bms.jkbms.protocol.profile import Profile
from custom_components.jk_bms.jkbms.protocol.registers import REGISTERS

from . import cut, mended

FOLDER = Path(__file__).parents[2].parent / "shared" / "frames"

if not FOLDER.is_dir():
    pytest.skip(
        "the captured frames, ../shared/frames, are not here", allow_module_level=True
    )

TYPES = {
    "settings": FrameType.SETTINGS,
    "cell_info": FrameType.CELL_DATA,
    "device_info": FrameType.DEVICE_INFO,
    "logbook": FrameType.LOGBOOK,
    "detail_log": FrameType.DETAIL_LOG,
}


@dataclass(frozen=True)
class Capture:
    """One file."""

    name: str
    content: dict[str, Any]

    def raw(self, frame_id: str) -> bytes:
        """Return the bytes of a frame as captured."""
        (found,) = (f for f in self.content["frames"] if f["id"] == frame_id)
        return bytes.fromhex(found["hex"])

    def frame(self, frame_id: str) -> Frame:
        """Return a frame, with its checksum mended if that is needed."""
        return Frame.parse(mended(self.raw(frame_id)))

    @property
    def good(self) -> list[str]:
        """Return which frames are whole and undamaged."""
        return [
            f["id"]
            for f in self.content["frames"]
            if f["type"] in TYPES and f["length"] == 300 and f["checksum_ok"]
        ]

    @property
    def profile(self) -> Profile:
        """Find the profile of the device by all good frames."""
        return find_profile(map(self.frame, self.good))


@cache
def captures() -> list[Capture]:
    """Read all files; numbers keep the digits that were published."""
    return [
        Capture(path.stem, json.loads(path.read_text("utf-8"), parse_float=Decimal))
        for path in sorted(FOLDER.glob("*.json"))
    ]


def decode(frame: Frame, profile: Profile) -> Any:
    """Decode a frame of any type."""
    match frame.type:
        case FrameType.SETTINGS:
            return decode_settings(frame, profile)
        case FrameType.CELL_DATA:
            return decode_cell_data(frame, profile)
        case FrameType.DEVICE_INFO:
            return decode_device_info(frame)
        case FrameType.LOGBOOK:
            return decode_logbook(frame)
        case FrameType.DETAIL_LOG:
            return decode_detail_log(frame)


each_capture = pytest.mark.parametrize(
    "capture", [pytest.param(capture, id=capture.name) for capture in captures()]
)
each_good_frame = pytest.mark.parametrize(
    ("capture", "frame_id"),
    [
        pytest.param(capture, frame_id, id=f"{capture.name}: {frame_id}")
        for capture in captures()
        for frame_id in capture.good
    ],
)


def test_captures_are_there() -> None:
    """An empty folder would make every test here pass."""
    assert len(captures()) >= 28
    assert sum(len(capture.good) for capture in captures()) >= 90
    assert {capture.content["variant"] for capture in captures()} == {*Layout}


# What a unit declares


@each_capture
def test_controls_and_logs_exist_where_the_bit_is_set(capture: Capture) -> None:
    """A unit that declares nothing has no controls, and its logs are tried."""
    newest = {
        frame.type: decode(frame, capture.profile)
        for frame in map(capture.frame, capture.good)
    }
    raw = {
        frame["type"]: bytes.fromhex(frame["hex"])
        for frame in capture.content["frames"]
        if frame["id"] in capture.good
    }
    layout = capture.profile.layout
    reading = Reading(
        layout=layout,
        device_info=newest.get(
            FrameType.DEVICE_INFO, DeviceInfo(device_model="", software_version="")
        ),
        settings=newest.get(FrameType.SETTINGS),
        cell_data=newest.get(FrameType.CELL_DATA, CellData()),
        time=0.0,
    )
    flags = int.from_bytes(raw.get("device_info", bytes(182))[150:182], "little")
    own = int.from_bytes(raw.get("settings", bytes(296))[287:296], "little")
    registers = accepted_registers(reading)
    if layout is not Layout.JK02_32S:
        assert not flags
        assert has_logbook(reading) is None
        return
    assert registers.keys() <= {
        name
        for name, register in REGISTERS[layout].items()
        if (flags or own) >> register.number & 1
    }
    for command in (ReadCommand.LOGBOOK, ReadCommand.DETAIL_LOG):
        expected = bool(flags >> command & 1) if flags else None
        assert declares(command, reading) is expected
    # A1 clear: no logbook, whatever else is declared.
    without = replace(reading.device_info, command_support=(0x1D, 0x97))
    assert has_logbook(replace(reading, device_info=without)) is False


# Layout and decoding


@each_capture
def test_layout_is_found(capture: Capture) -> None:
    """All frames of a device together decide the layout."""
    assert capture.profile.layout == capture.content["variant"]


@each_good_frame
def test_layout_is_found_by_one_frame(capture: Capture, frame_id: str) -> None:
    """Each frame that can decide the layout alone decides for the right one."""
    frame = capture.frame(frame_id)
    first_only = frame.type not in {FrameType.LOGBOOK, FrameType.DETAIL_LOG}
    frames = [frame] if first_only else map(capture.frame, capture.good)
    assert find_profile(frames).layout == capture.content["variant"]


@each_good_frame
def test_good_frame_decodes(capture: Capture, frame_id: str) -> None:
    """The frame is accepted with its type, and at least one value is decoded."""
    (kind,) = (f["type"] for f in capture.content["frames"] if f["id"] == frame_id)
    (frame,) = FrameAssembler().feed(capture.raw(frame_id))
    assert frame.type is TYPES[kind]
    decoded = decode(frame, capture.profile)
    assert decoded
    # What there is can be printed
    assert json.dumps(decoded, default=vars_of, allow_nan=False)


def vars_of(model: Any) -> dict[str, Any]:
    """Return the values of a model by name."""
    return {name: getattr(model, name) for name in model.__dataclass_fields__}


@each_good_frame
def test_redacted_frame_decodes(capture: Capture, frame_id: str) -> None:
    """It is a good frame and says the same, but for what is private."""
    frame = capture.frame(frame_id)
    (redacted,) = FrameAssembler().feed(redact(frame).data)
    if frame.type is not FrameType.DEVICE_INFO:
        assert redacted == frame
        return
    known, masked = (vars_of(decode_device_info(one)) for one in (frame, redacted))
    private = SECRET_FIELDS | {"serial_number", "device_name"}
    assert {name for name in known if known[name] != masked[name]} == {
        name for name in private if known[name] and {*known[name]} != {"*"}
    }
    assert {character for name in private for character in masked[name] or ""} <= {"*"}


BAD_FRAMES = {
    ("jk02_32s_b2a8s30p_sw19.04", "corrupt_cell_frame"),
    ("jk02_32s_bd4a8s4p_sw15.26", "device_info_1"),
}


@pytest.mark.parametrize(("name", "frame_id"), sorted(BAD_FRAMES))
def test_bad_frame_is_refused(name: str, frame_id: str) -> None:
    """A frame with a wrong checksum is none, the good one behind it survives."""
    (capture,) = (capture for capture in captures() if capture.name == name)
    raw = capture.raw(frame_id)
    with pytest.raises(FrameError, match="Wrong checksum|Another frame"):
        Frame.parse(raw)
    good = capture.raw("cell_1")
    assembler = FrameAssembler()
    assert [frame.data for frame in assembler.feed(raw + good)] == [good]
    assert assembler.statistics.rejected >= 1


def test_all_bad_frames_are_known() -> None:
    """No other frame is passed over for its checksum."""
    found = {
        (capture.name, frame["id"])
        for capture in captures()
        for frame in capture.content["frames"]
        if frame["type"] in TYPES and not frame["checksum_ok"]
    }
    assert found == BAD_FRAMES


@each_capture
def test_junk_is_no_frame(capture: Capture) -> None:
    """Acknowledgements and junk between frames give none and cost none."""
    others = [f["id"] for f in capture.content["frames"] if f["type"] not in TYPES]
    good = capture.raw(capture.good[0])
    assembler = FrameAssembler()
    for frame_id in others:
        assert assembler.feed(capture.raw(frame_id)) == []
        assert [frame.data for frame in assembler.feed(good)] == [good]
    assert assembler.statistics.rejected == 0


def test_stream_behind_a_frame() -> None:
    """A frame, its acknowledgement and an idle line came in one piece."""
    (capture,) = (c for c in captures() if c.name == "jk02_32s_pb2a16s20p_sw19.05")
    assembler = FrameAssembler()
    (frame,) = assembler.feed(capture.raw("device_info_stream"))
    assert frame == capture.frame("device_info_1")
    assert assembler.statistics.acknowledged == 1


# Published values

type Accessor = Callable[[Any], Any]


def plain(name: str) -> Accessor:
    """Take a field as it is."""
    return lambda model: getattr(model, name)


def item(name: str, index: int) -> Accessor:
    """Take one of a list."""
    return lambda model: getattr(model, name)[index]


def code_of(name: str, *members: Any) -> Accessor:
    """Turn a name back into the published code."""
    return lambda model: members.index(getattr(model, name))


def day_time(seconds: int) -> str:
    """Return a duration as one source writes it."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}D{hours}H{minutes}M{seconds}S"


def count_of(code: int) -> Accessor:
    """Count the entries of a logbook with this code."""
    return lambda entries: [entry.code for entry in entries].count(code)


_BALANCER = code_of(
    "balancer", BalancerState.OFF, BalancerState.CHARGING, BalancerState.DISCHARGING
)

CELL_DATA: dict[str, Accessor] = {
    "average_cell_voltage_v": plain("average_cell_voltage"),
    "balance_current_a": plain("balance_current"),
    "balancer_status": _BALANCER,
    "balancing": lambda cells: cells.balancer is not BalancerState.OFF,
    "balancing_action": _BALANCER,
    "battery_type_code": code_of(
        "battery_type", BatteryType.LFP, BatteryType.LI_ION, BatteryType.LTO
    ),
    "capacity_full_ah": plain("nominal_capacity"),
    "capacity_remaining_ah": plain("remain_capacity"),
    "cell_count": lambda cells: len(cells.cell_voltage),
    "cell_resistance_1_ohm": lambda cells: cells.cell_resistance[0] or 0,
    "cell_resistance_2_ohm": lambda cells: cells.cell_resistance[1] or 0,
    # 0 is not measured
    "cell_resistances_ohm": lambda cells: [ohm or 0 for ohm in cells.cell_resistance],
    "cell_voltage_1_v": item("cell_voltage", 0),
    "cell_voltage_2_v": item("cell_voltage", 1),
    "cell_voltage_3_v": item("cell_voltage", 2),
    "cell_voltage_4_v": item("cell_voltage", 3),
    "cell_voltage_8_v": item("cell_voltage", 7),
    "cell_voltage_11_v": item("cell_voltage", 10),
    "cell_voltage_16_v": item("cell_voltage", 15),
    "cell_voltages_v": plain("cell_voltage"),
    "charge_phase": plain("charge_phase"),
    "charge_phase_seconds": plain("charge_phase_time"),
    # Of the current, not of the MOSFET
    "charging": lambda cells: cells.battery_current > 0,
    "charging_cycles": plain("cycle_count"),
    "charging_mosfet": plain("charging"),
    "current_a": plain("battery_current"),
    "cycle_capacity_ah": plain("cycle_capacity"),
    "delta_cell_voltage_computed_v": plain("delta_cell_voltage"),
    "delta_cell_voltage_v": plain("delta_cell_voltage"),
    "detail_log_entry_count": plain("detail_log_count"),
    "discharging_mosfet": plain("discharging"),
    "enabled_cells_count": lambda cells: sum(v is not None for v in cells.cell_voltage),
    "errors_bitmask": plain("alarm_mask"),
    "full_capacity_ah": plain("nominal_capacity"),
    "heating": plain("heating"),
    "max_cell_number": plain("max_cell"),
    "max_cell_voltage_v": plain("max_cell_voltage"),
    "min_cell_number": plain("min_cell"),
    "min_cell_voltage_v": plain("min_cell_voltage"),
    "mosfet_temperature_c": plain("mosfet_temperature"),
    "offset_256_temperature_c": item("battery_temperature", 2),
    "offset_258_temperature_c": item("battery_temperature", 3),
    "power_magnitude_w": lambda cells: abs(cells.battery_power),
    "power_w": plain("battery_power"),
    "runtime": lambda cells: day_time(cells.up_time),
    "soc_percent": plain("remain_percent"),
    "soh_percent": plain("state_of_health"),
    "system_run_ticks_0.1s": lambda cells: round(cells.boot_time * 10, 6),
    "temperature_1_c": item("battery_temperature", 0),
    "temperature_2_c": item("battery_temperature", 1),
    "temperatures_c": plain("battery_temperature"),
    "time_to_sleep_s": plain("sleep_countdown"),
    "total_runtime_s": plain("up_time"),
    "total_voltage_v": plain("battery_voltage"),
    "wire_resistance_warning_mask": lambda cells: sum(
        1 << cell - 1 for cell in cells.wire_resistance_alarm
    ),
}

SETTINGS: dict[str, Accessor] = {
    "balance_start_voltage_v": plain("balance_start_voltage"),
    "balance_trigger_voltage_v": plain("balance_trigger"),
    "balancer_switch": plain("balancer"),
    "cell_count": plain("cell_count"),
    "cell_ovp_recovery_v": plain("cell_ovp_recovery"),
    "cell_ovp_v": plain("cell_ovp"),
    "cell_uvp_recovery_v": plain("cell_uvp_recovery"),
    "cell_uvp_v": plain("cell_uvp"),
    "charge_ocp_delay_s": plain("charge_overcurrent_delay"),
    "charge_ocp_recovery_s": plain("charge_overcurrent_recovery"),
    "charge_otp_c": plain("charge_overtemperature"),
    "charge_otp_recovery_c": plain("charge_overtemperature_recovery"),
    "charge_utp_c": plain("charge_undertemperature"),
    "charge_utp_recovery_c": plain("charge_undertemperature_recovery"),
    "charging_switch": plain("charging"),
    "discharge_ocp_delay_s": plain("discharge_overcurrent_delay"),
    "discharge_ocp_recovery_s": plain("discharge_overcurrent_recovery"),
    "discharging_switch": plain("discharging"),
    "max_balance_current_a": plain("max_balance_current"),
    "max_charge_current_a": plain("max_charge_current"),
    "max_discharge_current_a": plain("max_discharge_current"),
    "mosfet_otp_c": plain("mosfet_overtemperature"),
    "mosfet_otp_recovery_c": plain("mosfet_overtemperature_recovery"),
    "nominal_capacity_ah": plain("nominal_capacity"),
    "power_off_voltage_v": plain("power_off_voltage"),
    "scp_delay_us": plain("short_circuit_delay"),
    "scp_recovery_s": plain("short_circuit_recovery"),
    "smart_sleep_voltage_v": plain("smart_sleep_voltage"),
    "soc0_voltage_v": plain("soc_0"),
    "soc100_voltage_v": plain("soc_100"),
}

DEVICE_INFO: dict[str, Accessor] = {
    "device_passcode": plain("device_passcode"),
    "hw_version": plain("hardware_version"),
    "manufacturing_date": plain("manufacturing_date"),
    "model": plain("device_model"),
    "name": plain("device_name"),
    "power_on_count": plain("poweron_times"),
    "power_on_times": plain("poweron_times"),
    "serial_number": plain("serial_number"),
    "serial_number_first_8": lambda info: info.serial_number[:8],
    "setup_passcode": plain("setup_passcode"),
    "sw_version": plain("software_version"),
    "up_time_s": plain("up_time"),
    "uptime_s": plain("up_time"),
    "userdata": plain("userdata"),
    "userdata2": plain("userdata2"),
}

LOGBOOK: dict[str, Accessor] = {
    "boot_events": count_of(0x01),
    "event_count": len,
    "events": lambda entries: [[entry.time, entry.code] for entry in entries],
    "factory_setting_lfp_events": count_of(0x44),
    "first_event_code": lambda entries: entries[0].code,
    "first_event_seconds": lambda entries: entries[0].time,
}

ACCESSORS = {
    FrameType.CELL_DATA: CELL_DATA,
    FrameType.SETTINGS: SETTINGS,
    FrameType.DEVICE_INFO: DEVICE_INFO,
    FrameType.LOGBOOK: LOGBOOK,
}

# What is published but no field, with the reason
NO_FIELD = {
    "offset_254_temperature_c": "a copy of the MOSFET temperature",
    "temperature_sensor_mask": "applied, not published",
    "balance_current_a_wrong_field": (
        "read from the numbers of the highest and lowest cell; 0.0 as the right one is"
    ),
}

type Place = tuple[str, str, str]

# What is published, but is no field of this device
ABSENT: dict[Place, str] = {
    ("jk02_24s_b2a24s20p_sw10.07", "cell_1", "heating"): (
        "no flag of a heater on 24S: another one without any has 1 there"
    ),
}

# What we believe to be wrong at its source, and why
WRONG: dict[Place, str] = {
    ("jk02_32s_bd4a8s4p_sw15.26", "cell_1", "delta_cell_voltage_v"): (
        "0.0 is the frame's own, late: its cells are 2.384 and 2.383 V"
    ),
    ("jk02_32s_pb1a16s10p_v19_rs485", "cell_1", "average_cell_voltage_v"): (
        "3.288 is the frame's own: its cells have 52.599 V / 16 = 3.2874 V"
    ),
    ("jk02_32s_pb2a16s20p_sw15.38", "cell_1_composite", "delta_cell_voltage_v"): (
        "0.016 is the frame's own, late: its cells are from 3.320 to 3.337 V"
    ),
}

# Published with fewer digits than the frame has
ROUNDED: set[Place] = {
    ("jk02_24s_unknown_mpp_solar", "cell_14s_discharge", "power_magnitude_w"),
    ("jk02_32s_unknown_14s_batray", "cell_1", "power_w"),
    ("jk04_b2a16s_sw3.3.0", "cell_test", "cell_voltage_1_v"),
    ("jk04_b2a16s_sw3.3.0", "cell_test", "cell_voltage_2_v"),
    ("jk04_b2a16s_sw3.3.0", "cell_test", "total_voltage_v"),
}

PUBLISHED: dict[Place, Any] = {
    (capture.name, frame_id, key): value
    for capture in captures()
    for frame_id, values in capture.content["expected"].items()
    for key, value in values.items()
}
CAPTURES = {capture.name: capture for capture in captures()}


def read(place: Place) -> Any:
    """Return what the library reads where something was published."""
    name, frame_id, key = place
    frame = CAPTURES[name].frame(frame_id)
    value = ACCESSORS[frame.type][key](decode(frame, CAPTURES[name].profile))
    return exact(value)


def exact(value: Any) -> Any:
    """Return numbers with all their digits, so that 0.1 is 0.1 and True is not 1."""
    if isinstance(value, (list, tuple)):
        return [exact(one) for one in value]
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, (int, float)):
        return Decimal(str(value))
    return value


def places(found: Iterable[Place]) -> pytest.MarkDecorator:
    """Run a test for each of these published values."""
    params = [pytest.param(place, id=": ".join(place)) for place in sorted(found)]
    return pytest.mark.parametrize("place", params)


@places(
    place
    for place in PUBLISHED
    if place not in {*ABSENT, *WRONG, *ROUNDED} and place[2] not in NO_FIELD
)
def test_published_value_is_decoded_exactly(place: Place) -> None:
    """The library reads from a frame what others have read from it."""
    assert read(place) == exact(PUBLISHED[place])


@places(ROUNDED)
def test_rounded_value_agrees_in_its_published_digits(place: Place) -> None:
    """Some sources published fewer digits than the frame has."""
    value, published = read(place), PUBLISHED[place]
    assert value != published
    assert value.quantize(published) == published


@places(ABSENT)
def test_value_without_a_field_is_not_decoded(place: Place) -> None:
    """Others read these bytes on devices that have no such field."""
    assert read(place) == "None"


@places(WRONG)
def test_value_wrong_at_its_source(place: Place) -> None:
    """What we believe to be wrong is not what the library reads."""
    assert read(place) != exact(PUBLISHED[place])


def test_what_is_right_instead() -> None:
    """The library reads these from the same frames."""
    assert {place[0]: read(place) for place in WRONG} == {
        "jk02_32s_bd4a8s4p_sw15.26": Decimal("0.001"),
        "jk02_32s_pb1a16s10p_v19_rs485": Decimal("3.287"),
        "jk02_32s_pb2a16s20p_sw15.38": Decimal("0.017"),
    }


def test_tables_are_complete() -> None:
    """Every published key has a field or a reason, and no table is stale."""
    assert {*ABSENT, *WRONG, *ROUNDED} <= {*PUBLISHED}
    assert {*NO_FIELD} <= {key for _, _, key in PUBLISHED}
    used = {
        (CAPTURES[name].frame(frame_id).type, key)
        for name, frame_id, key in PUBLISHED
        if key not in NO_FIELD
    }
    assert used == {(kind, key) for kind, table in ACCESSORS.items() for key in table}


def test_captures_decode_to_the_facts_known_of_them() -> None:
    """These facts are documented, but not among the published values."""

    def cells(name: str, frame_id: str) -> CellData:
        capture = CAPTURES[name]
        return decode_cell_data(capture.frame(frame_id), capture.profile)

    full = cells("jk02_32s_b2a8s20p_sw11.17", "cell_alarm_bit4_state_1")
    assert (full.alarms, full.charging) == (("cell_overvoltage",), False)
    assert full.max_cell_voltage < 3.6
    # Zeros at 254 to 259 are no temperatures on 11.17
    assert len(full.battery_temperature) == 2
    lent = cells("jk02_24s_unknown_mpp_solar", "cell_14s_discharge")
    assert (lent.balancer, lent.balance_current) == (
        BalancerState.DISCHARGING,
        -1.754,
    )
    assert lent.battery_power < 0
    small = cells("jk02_32s_bd4a8s4p_sw15.26", "cell_1")
    assert len(small.battery_temperature) == 2
    noise = cells("jk02_32s_unknown_8s_jkbmscpp", "cell_1")
    assert (noise.heating, noise.heater_current) == (False, None)
    assert (noise.state_of_health, noise.balance_current) == (86, -0.599)
    empty = cells("jk02_32s_unknown_8s_mpp_solar", "cell_1")
    assert empty.remain_percent == 0
    reminder = cells("jk02_32s_unknown_16s_jkv11", "cell_1")
    assert reminder.alarms == ("default_password",)
    contacts = {
        mask: cells("jk02_32s_pb2a16s20p_sw15.37_dry_contacts", f"cell_dry_mask_{mask}")
        for mask in (0, 2, 4, 6)
    }
    assert {
        mask: (found.dry_contact_1, found.dry_contact_2)
        for mask, found in contacts.items()
    } == {0: (False, False), 2: (True, False), 4: (False, True), 6: (True, True)}
    assert {found.battery_type for found in contacts.values()} == {BatteryType.LI_ION}


# Sessions and notifications

SESSIONS = [capture for capture in captures() if "session" in capture.content]
each_session = pytest.mark.parametrize(
    "capture", [pytest.param(capture, id=capture.name) for capture in SESSIONS]
)


def received(capture: Capture) -> list[bytes]:
    """Return the notifications of a session, in order."""
    return [
        bytes.fromhex(event["hex"])
        for event in capture.content["session"]["events"]
        if event["dir"] == "rx"
    ]


def frames_of(assembler: FrameAssembler, chunks: Iterable[bytes]) -> list[Frame]:
    """Return the frames in these notifications."""
    return [frame for chunk in chunks for frame in assembler.feed(chunk)]


def test_sessions_are_there() -> None:
    """Without them the tests below would all pass."""
    assert len(SESSIONS) >= 4


@each_session
def test_captured_session_gives_its_published_frames(capture: Capture) -> None:
    """A session gives exactly the frames that it was published with."""
    assembler = FrameAssembler()
    frames = frames_of(assembler, received(capture))
    assert [frame.type for frame in frames] == capture.content["session"]["frame_types"]
    assert assembler.statistics.rejected == 0
    given = {
        capture.raw(frame["id"])
        for frame in capture.content["frames"]
        if "notifications" in frame
    }
    # It is an excerpt and need not have all of them
    common = given & {frame.data for frame in frames}
    assert {data[4] for data in common} == {0x01, 0x02, 0x03}
    # One acknowledgement for each command, save what the excerpt has cut off
    sent = [e["dir"] for e in capture.content["session"]["events"]].count("tx")
    assert 0 <= sent - assembler.statistics.acknowledged <= 1
    profile = find_profile(frames)
    assert profile.layout == capture.content["variant"]
    assert all(decode(frame, profile) for frame in frames)


@each_session
@pytest.mark.parametrize("size", [20, 80, 128, 150, 244])
def test_session_in_other_slices(capture: Capture, size: int) -> None:
    """The borders of the notifications make no difference."""
    chunks = received(capture)
    expected = frames_of(FrameAssembler(), chunks)
    assembler = FrameAssembler()
    frames = frames_of(assembler, cut(b"".join(chunks), size))
    assert frames == expected
    assert [frame.type for frame in frames] == capture.content["session"]["frame_types"]
    assert assembler.statistics.rejected == 0


@each_session
def test_session_with_doubled_notifications_gives_the_same_frames(
    capture: Capture,
) -> None:
    """After a reconnection bleak on Linux may deliver each notification twice."""
    chunks = received(capture)
    expected = frames_of(FrameAssembler(), chunks)
    twice = [chunk for chunk in chunks for _ in range(2)]
    assert frames_of(FrameAssembler(), twice) == expected


@pytest.mark.parametrize(
    ("capture", "frame"),
    [
        pytest.param(capture, frame, id=f"{capture.name}: {frame['id']}")
        for capture in captures()
        for frame in capture.content["frames"]
        if "notifications" in frame
    ],
)
def test_notifications_of_a_frame(capture: Capture, frame: dict[str, Any]) -> None:
    """The notifications that carried a frame give it back, and no other."""
    chunks = map(bytes.fromhex, frame["notifications"])
    found = frames_of(FrameAssembler(), chunks)
    assert [one.data for one in found] == [capture.raw(frame["id"])]
