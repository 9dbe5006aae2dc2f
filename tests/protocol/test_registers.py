"""What may be written: the bytes, the limits, the order, and what is refused."""

from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import permutations
from typing import Any, override

from hypothesis import given, settings as hypothesis_settings, strategies as st
import pytest

from custom_components.jk_bms.jkbms.errors import Refusal, SettingRefusedError
from custom_components.jk_bms.jkbms.models import (
    BatteryType,
    CellData,
    DeviceInfo,
    Layout,
    Reading,
    Settings,
)
from custom_components.jk_bms.jkbms.protocol.changes import (
    accepted_registers,
    changed,
    check,
    choices,
    is_meaningful,
    limits,
    needs_passcode,
    passcode_matches,
    plan,
)
from custom_components.jk_bms.jkbms.protocol.codes import command_name
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_device_info,
    decode_settings,
)
from custom_components.jk_bms.jkbms.protocol.frames import FrameType, ReadCommand
from custom_components.jk_bms.jkbms.protocol.profile import Profile
from custom_components.jk_bms.jkbms.protocol.registers import (
    RECORDS,
    REGISTERS,
    SETTING_REGISTERS,
    Kind,
    Register,
    Tier,
    Value,
    balance_rating,
    build_command,
    current_rating,
)
from tests.virtual_bms.guard import SAFE
from tests.virtual_bms.registers import REGISTERS as MEMORY, SWITCH_BITS

from . import build_frame

NEVER = {
    Layout.JK04: {0x1C, 0x20, 0x44},
    Layout.JK02_24S: {
        *range(0x01, 0x06),
        *range(0x07, 0x0C),
        *(0x0D, 0x0E, 0x10, 0x11, 0x12),
        *range(0x14, 0x1D),
        *range(0x21, 0x26),
        *range(0x27, 0x40),
    },
    Layout.JK02_32S: {
        *(0x02, 0x03, 0x04, 0x05, 0x0B, 0x0D, 0x0E, 0x10, 0x11, 0x12),
        *range(0x14, 0x1D),
        *(0x21, 0x23, 0x24, 0x25, 0x26, 0x28, 0x29, 0x2C, 0x2E, 0x31),
        *(0x33, 0x34, 0x35, 0x36, 0x3A, 0x3B),
        *range(0x64, 0x6E),
        *(0x6F, 0xB5),
    },
}
"""Danger registers by layout, written out (docs/protocol.md 4.3)."""
NEVER_ANYWHERE = {
    *(0x65, 0x66, 0x69, 0x6A, 0x6B, 0x6F, 0x9B, 0x9C, 0x9D, 0x9E),
    *(0xA0, 0xA2, 0xA3, 0xA4, 0xB5, 0xFF),
}

ALL = [
    pytest.param(layout, register, id=f"{layout} {register.name}")
    for layout, registers in REGISTERS.items()
    for register in registers.values()
]

RANGES = {
    (row.scale, row.minimum, row.maximum, row.code): row
    for registers in REGISTERS.values()
    for row in registers.values()
    if row.kind is Kind.NUMBER
}.values()
"""Numbers of all layouts, each range once."""


def reading(
    model: str = "JK_PB2A16S20P", version: str = "15.41", **changes: Any
) -> Reading:
    """Return a reading of a 16-cell LFP battery that accepts all registers."""
    layout = Layout.JK02_32S
    if version.startswith(("10", "4.")):
        layout = Layout.JK02_24S
    elif version.startswith("3."):
        layout = Layout.JK04
    info = DeviceInfo(
        device_model=model,
        software_version=version,
        setup_passcode="secret",
        userdata="Input Userdata",
        command_support=tuple(range(256)),
        uart1_protocol=0,
        uart1_protocols=(0, 1, 4),
        can_protocol=4,
        can_protocols=(2, 4),
        uart2_protocol=1,
        uart2_protocols=(),
        uart3_protocol=0,
        uart3_protocols=None,
        buzzer_trigger=9,
        dry_contact_1_trigger=0,
        dry_contact_2_trigger=1,
        request_charge_time=1.0,
        request_float_time=5.0,
        rebulk_soc=5,
    )
    settings = Settings(
        smart_sleep_voltage=3.5,
        cell_uvp=2.6,
        cell_ovp=3.65,
        balance_trigger=0.01,
        soc_100=3.445,
        soc_0=2.7,
        request_charge_voltage=3.45,
        request_float_voltage=3.35,
        max_charge_current=100.0,
        max_discharge_current=100.0,
        max_balance_current=1.0,
        charge_overtemperature_recovery=22.0,
        nominal_capacity=280.0,
        balance_start_voltage=3.4,
        heating_start_temperature=0,
        heating_stop_temperature=10,
        smart_sleep_delay=24,
        **dict.fromkeys(
            [
                "charging",
                "discharging",
                "balancer",
                "heating",
                "port_rs485",
                "display_always_on",
                "smart_sleep",
                "timed_storage",
                "charging_float_mode",
                "dry_contact_intermittent",
            ],
            True,
        ),
    )
    cell_data = CellData(
        cell_voltage=(3.3,) * 16, battery_type=BatteryType.LFP, remain_percent=60
    )
    values = {"settings": settings, "device_info": info, "cell_data": cell_data}
    for name, value in changes.items():
        record = next(
            kind
            for kind, model in values.items()
            if name in {field.name for field in fields(model)}
        )
        values[record] = replace(values[record], **{name: value})
    return Reading(layout=layout, time=0.0, **values)


def refusal(name: str, value: Any, of: Reading) -> Refusal:
    """Return why a value is refused, and that no plan has it."""
    with pytest.raises(SettingRefusedError) as caught:
        check(name, value, of)
    with pytest.raises(SettingRefusedError):
        plan({name: value}, of)
    assert str(caught.value).startswith(name)
    return caught.value.refusal


# The bytes


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (ReadCommand.DEVICE_INFO, "97 00 00000000000000000000000000 11"),
        (ReadCommand.CELL_DATA, "96 00 00000000000000000000000000 10"),
    ],
)
def test_read_command_is_built_without_a_value(
    command: ReadCommand, expected: str
) -> None:
    """The bytes are those that the app sends; a value is refused."""
    assert build_command(command) == bytes.fromhex("AA5590EB" + expected)
    with pytest.raises(ValueError, match="no value"):
        build_command(command, 1)


@pytest.mark.parametrize(
    ("layout", "name", "value", "expected"),
    [
        (Layout.JK02_24S, "charging", True, "1D 04 01000000000000000000000000 9C"),
        (Layout.JK02_32S, "charging", True, "1D 04 01000000000000000000000000 9C"),
        (Layout.JK02_32S, "discharging", False, "1E 04 00000000000000000000000000 9C"),
        (Layout.JK02_32S, "heating", True, "27 04 01000000000000000000000000 A6"),
        (Layout.JK02_24S, "balance_start_voltage", 2.5,
         "26 04 C4090000000000000000000000 71"),
        (Layout.JK02_32S, "balance_start_voltage", 3.4,
         "22 04 480D0000000000000000000000 F5"),
        (Layout.JK02_32S, "heating_start_temperature", -10,
         "37 01 F6000000000000000000000000 A8"),
        (Layout.JK02_32S, "heating_start_temperature", -1,
         "37 01 FF000000000000000000000000 B1"),
        (Layout.JK02_32S, "request_charge_time", 1.5,
         "B3 01 0F000000000000000000000000 3D"),
        (Layout.JK02_32S, "can_protocol", 4, "A6 02 04000000000000000000000000 26"),
        (Layout.JK02_32S, "userdata", "thirteen char",
         "9F 0D 746869727465656E2063686172 47"),
        (Layout.JK04, "balance_trigger", 0.008, "64 04 6F12033C000000000000000000 A2"),
        (Layout.JK04, "balancer", True, "6C 01 01000000000000000000000000 E8"),
    ],
)  # fmt: skip
def test_write_command_has_register_length_value_and_checksum(
    layout: Layout, name: str, value: Value, expected: str
) -> None:
    """Lengths and number formats differ from layout to layout."""
    command = build_command(REGISTERS[layout][name], value)
    assert command == bytes.fromhex("AA5590EB" + expected)


@pytest.mark.parametrize("layout", Layout)
def test_danger_registers_have_no_row(layout: Layout) -> None:
    """Protections, calibrations and what resets the battery cannot be built."""
    numbers = {register.number for register in REGISTERS[layout].values()}
    never = NEVER[layout] | NEVER_ANYWHERE
    if layout is Layout.JK04:
        never -= {0x6C}
    assert numbers & never == set()
    assert len(numbers) == len(REGISTERS[layout])


@pytest.mark.parametrize(
    "command",
    [
        0x65,
        0x96,
        None,
        Register(name="off", field="off", number=0x65),
        replace(REGISTERS[Layout.JK02_32S]["charging"], number=0x04),
    ],
)
def test_only_rows_of_the_table_become_a_command(command: Any) -> None:
    """A bare number, or a row that is not in the table, is refused."""
    with pytest.raises(ValueError, match="does not send"):
        build_command(command, True)
    with pytest.raises(ValueError, match="does not send"):
        build_command(REGISTERS[Layout.JK04]["balancer"])


class Agreeable(float):
    """Says that it lies within any limits."""

    @override
    def __le__(self, other: object) -> bool:
        return True

    __ge__ = __le__


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("soc_0", Agreeable(9.9)),
        ("charging", 1),
        ("charging", "on"),
        ("soc_0", True),
        ("soc_0", "3"),
        ("soc_0", 3.0005),
        ("soc_0", float("nan")),
        ("soc_0", float("inf")),
        ("soc_0", 10**400),
        ("soc_0", 1.199),
        ("heating_stop_temperature", 5.5),
        ("userdata", ""),
        ("userdata", " x"),
        ("userdata", "fourteen chars"),
        ("userdata", "ä"),
        ("userdata", "a\nb"),
        ("userdata", 5),
        ("charging", [True]),
    ],
)
def test_what_is_no_value_is_refused(name: str, value: Any) -> None:
    """Wrong types, steps and sizes make no bytes."""
    with pytest.raises(ValueError, match="must be"):
        build_command(REGISTERS[Layout.JK02_32S][name], value)
    assert refusal(name, value, reading()) is Refusal.NOT_A_VALUE


# What is written comes back


PLACES: dict[Layout, dict[str, int]] = {
    Layout.JK04: {
        "balancer": 114,
        "balance_start_voltage": 98,
        "balance_trigger": 106,
        "max_balance_current": 110,
    },
    Layout.JK02_24S: {},
    Layout.JK02_32S: {
        "smart_sleep_voltage": 6,
        "soc_100": 30,
        "soc_0": 34,
        "request_charge_voltage": 38,
        "request_float_voltage": 42,
        "heating_start_temperature": 284,
        "heating_stop_temperature": 285,
        "smart_sleep_delay": 286,
        "state_of_charge": 173,
        "userdata": 102,
        "uart1_protocol": 184,
        "can_protocol": 185,
        "uart2_protocol": 218,
        "uart3_protocol": 270,
        "buzzer_trigger": 234,
        "dry_contact_1_trigger": 235,
        "dry_contact_2_trigger": 236,
        "request_charge_time": 266,
        "request_float_time": 267,
        "rebulk_soc": 278,
    },
}
COMMON = {
    "charging": 118,
    "discharging": 122,
    "balancer": 126,
    "balance_trigger": 26,
    "max_charge_current": 50,
    "max_discharge_current": 62,
    "max_balance_current": 78,
    "nominal_capacity": 130,
    "balance_start_voltage": 138,
}
BITS = {
    "heating": 0,
    "port_rs485": 3,
    "display_always_on": 4,
    "smart_sleep": 6,
    "timed_storage": 8,
    "charging_float_mode": 9,
    "dry_contact_intermittent": 11,
}
FIRMWARE = {Layout.JK04: 3.3, Layout.JK02_24S: 10.07, Layout.JK02_32S: 19.27}


def read_back(layout: Layout, register: Register, value: Value) -> Any:
    """Put the bytes of a write where the battery shows them, and decode that frame."""
    command = build_command(register, value)
    content = command[6 : 6 + command[5]]
    at = (PLACES[layout] | ({} if layout is Layout.JK04 else COMMON)).get(register.name)
    if at is None:
        at, content = 282, (content[0] << BITS[register.name]).to_bytes(2, "little")
    elif register.kind is Kind.CHOICE:
        content = content[:1]
    profile = Profile(layout, FIRMWARE[layout])
    if register.proof is FrameType.SETTINGS:
        decoded: Any = decode_settings(build_frame(0x01, {at: content}), profile)
    elif register.proof is FrameType.DEVICE_INFO:
        identity = {6: b"JK_PB2A16S20P", 30: b"19.27"}
        decoded = decode_device_info(build_frame(0x03, identity, {at: content}))
    else:
        decoded = decode_cell_data(
            build_frame(0x02, {at: content, 150: b"\1"}), profile
        )
    return getattr(decoded, register.field)


def every_value(register: Register) -> Iterator[Value]:
    """Yield each value that the register can have, of long ranges many."""
    if register.kind is Kind.TEXT:
        yield from ("a", "thirteen char")
    elif register.kind is Kind.SWITCH:
        yield from (False, True)
    else:
        low = round(register.minimum * register.scale)
        high = round(register.maximum * register.scale)
        stride = (high - low) // 5000 or 1
        for raw in (*range(low, high + 1, stride), high):
            yield raw / register.scale if register.scale > 1 else raw


@pytest.mark.parametrize(("layout", "register"), ALL)
def test_every_step_comes_back_as_entered(layout: Layout, register: Register) -> None:
    """What was written, read back, equals what was entered."""
    for value in every_value(register):
        if layout is Layout.JK02_32S and value == 0 and "voltage" in register.name:
            continue
        assert read_back(layout, register, value) == value


@pytest.mark.parametrize(("layout", "register"), ALL)
def test_field_and_tier_exist(layout: Layout, register: Register) -> None:
    """Each row names a field of the model of the frame that proves it."""
    models = {"settings": Settings, "device_info": DeviceInfo, "cell_data": CellData}
    model = models[RECORDS[register.proof]]
    assert register.field in {field.name for field in fields(model)}
    everyday = {"charging", "discharging", "balancer"}
    assert (register.tier is Tier.EVERYDAY) == (register.name in everyday)
    assert needs_passcode(plan({}, reading())) is False


@pytest.mark.parametrize("register", RANGES)
def test_every_step_is_whole_on_the_wire(register: Register) -> None:
    """Of each value the raw one is exact, and the value of that is what was entered.

    Of the 20 million steps of the nominal capacity every 31st is tried.
    """
    scale = register.scale
    low, high = round(register.minimum * scale), round(register.maximum * scale)
    assert (low / scale, high / scale) == (register.minimum, register.maximum)
    steps = range(low, high + 1, 31 if register.name == "nominal_capacity" else 1)
    assert all(round(raw / scale * scale) == raw for raw in steps)
    # A value is entered, and shown, as a decimal number.
    assert all(float(f"{raw / scale:.3f}") == raw / scale for raw in steps[::7])
    if register.code != "f":
        assert all(
            register.encode(raw / scale)
            == raw.to_bytes(len(register.encode(low / scale)), "little", signed=low < 0)
            for raw in steps[:: len(steps) // 5000 or 1]
        )


@pytest.mark.parametrize("register", REGISTERS[Layout.JK02_32S].values())
def test_register_is_listed_by_its_own_name(register: Register) -> None:
    """What a battery declares has the name under which it is set."""
    assert command_name(register.number) == register.name


def test_unknown_command_is_listed_by_its_number() -> None:
    """Batteries declare some that are unknown."""
    assert command_name(0x9B) == "0x9B"
    assert command_name(0x3B) == "discharge_undertemperature_recovery"


# What a battery accepts


def test_declared_registers_are_accepted() -> None:
    """Where the battery declares registers, exactly those are accepted."""
    some = reading(command_support=(0x1D, 0x27, 0x09))
    assert {*accepted_registers(some)} == {
        "charging",
        "heating",
        "request_charge_voltage",
    }
    assert refusal("discharging", False, some) is Refusal.NOT_ACCEPTED


def test_own_flags_of_the_settings_count_where_nothing_is_declared() -> None:
    """Device information without flags leaves the decision to the settings."""
    some = reading(command_support=None, register_support=(0x1D, 0x1E))
    assert {*accepted_registers(some)} == {"charging", "discharging"}
    assert accepted_registers(reading(command_support=None)) == {}


def test_other_layouts_accept_what_was_captured() -> None:
    """24S and JK04 declare nothing; the table decides."""
    old = reading("JK-B2A24S15P", "10.07", command_support=None)
    assert {*accepted_registers(old)} == {*REGISTERS[Layout.JK02_24S]}
    oldest = reading("JK-B2A16S", "3.3.0", command_support=None, cell_ovp=None)
    assert {*accepted_registers(oldest)} == {*REGISTERS[Layout.JK04]}
    assert refusal("charging", False, oldest) is Refusal.NOT_ACCEPTED


def test_setting_that_the_battery_does_not_report_is_not_accepted() -> None:
    """What cannot be proven is not written."""
    some = reading(heating_start_temperature=None, soc_100=None)
    assert "heating_start_temperature" not in accepted_registers(some)
    assert refusal("soc_100", 3.4, some) is Refusal.NOT_ACCEPTED


@pytest.mark.parametrize(
    "of",
    [
        reading(cell_voltage=()),
        reading(version="10.07"),
        reading("JK-B2A24S15P", "what"),
        replace(reading(), layout=Layout.JK02_24S),
        replace(reading(), settings=None),
    ],
)
def test_nothing_is_accepted_without_proof(of: Reading) -> None:
    """No cells, a version of another layout, or no settings: read only."""
    if of.settings and of.device_info.software_version == "10.07":
        of = replace(of, layout=Layout.JK02_32S)
    assert accepted_registers(of) == {}
    assert refusal("charging", False, of) is Refusal.NOT_PROVEN


@pytest.mark.parametrize(
    "name", ["cell_ovp", "cell_count", "parallel_limiter_disabled"]
)
def test_protections_are_named_as_such(name: str) -> None:
    """A setting that protects the cells is refused with that reason."""
    assert refusal(name, 3.5, reading()) is Refusal.PROTECTED
    assert refusal("nonsense", 3.5, reading()) is Refusal.UNKNOWN


# Limits


@pytest.mark.parametrize(
    ("name", "of", "expected"),
    [
        ("balance_trigger", reading(), (0.003, 1.0)),
        # Chemistry and protection, the tighter one
        ("balance_start_voltage", reading(), (2.5, 3.65)),
        ("balance_start_voltage", reading(cell_ovp=3.6), (2.5, 3.6)),
        (
            "balance_start_voltage",
            reading(battery_type=None, cell_ovp=3.75),
            (2.5, 3.65),
        ),
        (
            "balance_start_voltage",
            reading(battery_type=None, cell_ovp=3.76),
            (2.5, 3.76),
        ),
        (
            "balance_start_voltage",
            reading(battery_type=None, cell_ovp=4.2),
            (2.5, 4.2),
        ),
        (
            "balance_start_voltage",
            reading(battery_type=BatteryType.LI_ION, cell_ovp=4.3),
            (2.5, 4.25),
        ),
        (
            "balance_start_voltage",
            reading(battery_type=BatteryType.LTO, cell_ovp=2.9),
            (1.5, 2.8),
        ),
        (
            "balance_start_voltage",
            reading("JK-B2A16S", "3.3.0", battery_type=None, cell_ovp=None),
            (1.0, 4.2),
        ),
        # Order
        ("soc_0", reading(), (2.601, 3.444)),
        ("soc_100", reading(), (2.701, 3.65)),
        ("request_charge_voltage", reading(), (3.35, 3.65)),
        ("request_float_voltage", reading(), (2.5, 3.45)),
        ("heating_start_temperature", reading(), (-20, 9)),
        ("heating_stop_temperature", reading(), (1, 21)),
        # A battery that breaks it: only towards it
        ("request_float_voltage", reading(request_float_voltage=3.5), (2.5, 3.5)),
        ("request_charge_voltage", reading(request_float_voltage=3.5), (3.45, 3.65)),
        # A battery that does not use a voltage reports 0: it bounds nothing, and is no
        # reason to break the order
        ("soc_0", reading(soc_0=0), (2.601, 3.444)),
        ("soc_0", reading(soc_100=0), (2.601, 3.65)),
        ("soc_100", reading(soc_100=0), (2.701, 3.65)),
        ("request_float_voltage", reading(request_charge_voltage=0), (2.5, 3.65)),
        ("request_charge_voltage", reading(request_charge_voltage=0), (3.35, 3.65)),
        # Ratings
        ("max_charge_current", reading(), (1, 200.0)),
        ("max_charge_current", reading("JK_B2A25SRP"), (1, 100.0)),
        ("max_balance_current", reading(), (0.3, 2.0)),
        ("max_balance_current", reading("JK_BD4A8S4P"), (0.3, 0.4)),
        ("max_balance_current", reading("OEM"), (0.3, 1.0)),
    ],
)
def test_tightest_limit_wins(
    name: str, of: Reading, expected: tuple[float, float]
) -> None:
    """The tightest of all limits wins, at both ends, by one step."""
    register = REGISTERS[of.layout][name]
    low, high = limits(register, of)
    assert (low, high) == expected
    for value in expected:
        check(name, value, of)
    for value in (low - register.step, high + register.step):
        rounded = round(value, 3)
        assert refusal(name, rounded, of) in {
            Refusal.OUT_OF_RANGE,
            Refusal.NOT_A_VALUE,
        }


@pytest.mark.parametrize(
    ("model", "current", "balance"),
    [
        ("JK_B2A8S20P", 200.0, 2.0),
        ("JK-BD6A24S10P", 100.0, 0.6),
        ("JK_PB1A16S15P", 150.0, 1.0),
        ("JK_B2A25SRP", None, 2.0),
        ("JK_DZ11B2A24S", None, 2.0),
        ("PXZK-01", None, None),
    ],
)
def test_model_name_gives_the_ratings(
    model: str, current: float | None, balance: float | None
) -> None:
    """The model names what it carries."""
    assert current_rating(model) == current
    assert balance_rating(model) == balance


def test_choices_are_those_that_the_battery_allows() -> None:
    """A port has the protocols that the battery allows, a trigger all known ones."""
    of = reading()
    registers = accepted_registers(of)
    assert choices(registers["uart1_protocol"], of) == (0, 1, 4)
    assert choices(registers["uart3_protocol"], of) == ()
    assert choices(registers["buzzer_trigger"], of) == tuple(range(15))
    check("uart1_protocol", 4, of)
    assert refusal("uart1_protocol", 2, of) is Refusal.OUT_OF_RANGE
    assert refusal("uart3_protocol", 1, of) is Refusal.OUT_OF_RANGE


def test_crossed_limits_leave_no_room() -> None:
    """Settings that contradict each other refuse each value."""
    of = reading(cell_uvp=3.7, soc_0=3.8)
    assert refusal("soc_0", 3.0, of) is Refusal.OUT_OF_RANGE
    with pytest.raises(SettingRefusedError, match="do not allow any other value"):
        check("soc_0", 3.0, of)


# The order of several writes


def test_plan_lowers_from_the_bottom_and_raises_from_the_top() -> None:
    """Each intermediate state keeps the order."""
    chain = ("soc_0", "soc_100")
    down = plan({"soc_100": 2.69, "soc_0": 2.65}, reading())
    assert [change.setting for change in down] == [*chain]
    up = plan({"soc_0": 3.5, "soc_100": 3.6}, reading())
    assert [change.setting for change in up] == [*reversed(chain)]
    assert [(change.old, change.new) for change in up] == [(3.445, 3.6), (2.7, 3.5)]


def test_plan_leaves_out_what_is_already_so() -> None:
    """Equal values are not written, whether whole or not."""
    assert plan({"max_charge_current": 100, "charging": True}, reading()) == ()


def test_choice_is_planned_as_the_battery_reports_it() -> None:
    """The command passes 2.0, and templates may."""
    (change,) = plan({"buzzer_trigger": 2.0}, reading())
    assert repr(change.new) == "2"


def test_plan_cuts_the_power_last() -> None:
    """The machine that reads the battery may be powered by it."""
    target: dict[str, Value] = {"discharging": False, "charging": False, "soc_0": 3.0}
    for mixed in permutations(target):
        planned = plan({name: target[name] for name in mixed}, reading())
        assert [c.setting for c in planned] == ["soc_0", "charging", "discharging"]


def test_plan_of_a_target_that_breaks_the_order_is_refused() -> None:
    """The whole target is checked before anything is written."""
    with pytest.raises(SettingRefusedError, match="soc_0: the value is not allowed"):
        plan({"soc_0": 3.4, "soc_100": 3.3}, reading())


VOLTS = st.integers(2500, 3700).map(lambda raw: raw / 1000)


@given(
    st.dictionaries(
        st.sampled_from(
            ["soc_0", "soc_100", "request_float_voltage", "request_charge_voltage"]
        ),
        VOLTS,
    )
)
@hypothesis_settings(max_examples=300, deadline=None)
def test_every_step_of_a_plan_is_valid(target: dict[str, float]) -> None:
    """A target that keeps the order has a plan, and each state on the way keeps it."""
    of = reading()
    assert of.settings
    end = replace(of.settings, **target)

    def keeps(state: Settings) -> bool:
        volts = state.soc_0, state.soc_100, state.cell_ovp
        floats = state.request_float_voltage, state.request_charge_voltage
        assert None not in (*volts, *floats, state.cell_uvp)
        return (
            state.cell_uvp < volts[0] < volts[1] <= 3.65  # type: ignore[operator]
            and floats[0] <= floats[1] <= 3.65  # type: ignore[operator]
        )

    if not keeps(end):
        with pytest.raises(SettingRefusedError):
            plan(target, of)
        return
    for change in plan(target, of):
        of = changed(of, change)
        assert of.settings
        assert keeps(of.settings)
    assert of.settings == end


def test_settings_passcode_is_compared_whole() -> None:
    """The settings passcode is compared whole; an empty one matches nothing."""
    info = reading().device_info
    assert passcode_matches("secret", info)
    assert not passcode_matches("secre", info)
    assert not passcode_matches("", info)
    assert not passcode_matches("", replace(info, setup_passcode=None))
    assert needs_passcode(plan({"soc_0": 3.0}, reading()))
    assert not needs_passcode(plan({"charging": False}, reading()))
    (change,) = plan({"userdata": "x"}, reading())
    assert change.is_secret


def test_numbers_of_settings_are_those_of_their_registers() -> None:
    """Whether a setting is used and whether it may be written is the same question."""
    others = {
        row.name: row.number
        for row in REGISTERS[Layout.JK02_32S].values()
        if row.proof is FrameType.SETTINGS
        and SETTING_REGISTERS.get(row.field) != row.number
    }
    assert not others, f"SETTING_NAMES has not these names at these numbers: {others}"


@pytest.mark.parametrize("layout", Layout)
def test_battery_in_software_takes_every_register(layout: Layout) -> None:
    """The battery of the tests has each register, and limits of its own for it."""
    numbers = {row.number: name for name, row in REGISTERS[layout].items()}
    by_bit = SWITCH_BITS if layout is Layout.JK02_32S else {}
    # The state of charge is no setting, and the text has a length instead of limits
    unknown = numbers.keys() - MEMORY[layout.value] - by_bit.keys() - {0x6E, 0x9F}
    assert not unknown, (
        f"not in REGISTERS of tests/virtual_bms/registers.py: "
        f"{[numbers[number] for number in unknown]}"
    )
    unguarded = numbers.keys() - SAFE[layout.value] - {0x9F}
    assert not unguarded, (
        f"without limits in tests/virtual_bms/guard.py: "
        f"{[numbers[number] for number in unguarded]}"
    )


@pytest.mark.parametrize(
    ("accepted", "used", "expected"),
    [
        ((0x04,), (0x1A,), {"cell_ovp", "mosfet_overtemperature"}),
        ((), (0x07,), {"soc_100"}),
        ((), (), {"cell_ovp", "mosfet_overtemperature", "soc_100"}),
    ],
)
def test_setting_is_meaningful_where_either_frame_declares_it(
    accepted: tuple[int, ...], used: tuple[int, ...], expected: set[str]
) -> None:
    """A battery that declares nothing may use them all."""
    now = reading(register_support=used)
    now = replace(now, device_info=replace(now.device_info, command_support=accepted))
    names = ("cell_ovp", "mosfet_overtemperature", "soc_100")
    assert {name for name in names if is_meaningful(name, now)} == expected
    assert is_meaningful("device_address", now)
    assert is_meaningful("soc_100", replace(now, layout=Layout.JK02_24S))
