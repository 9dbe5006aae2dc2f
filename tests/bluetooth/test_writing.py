"""Writing settings: once, proven, and honest about whatever goes wrong."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import (
    HealthCheck,
    given,
    settings as hypothesis_settings,
    strategies as st,
)
import pytest

from custom_components.jk_bms.jkbms.bluetooth.client import WRITE_DEADLINE
from custom_components.jk_bms.jkbms.bluetooth.writing import Outcome, WriteReport
from custom_components.jk_bms.jkbms.errors import (
    LinkError,
    NotReachableError,
    Refusal,
    SettingRefusedError,
    SilentError,
)
from custom_components.jk_bms.jkbms.models import Reading
from custom_components.jk_bms.jkbms.protocol.changes import PROTECTED
from custom_components.jk_bms.jkbms.protocol.registers import REGISTERS, Value
from tests.virtual_bms import MODELS, Battery, Faults
from tests.virtual_bms.guard import harm

from .harness import CELLS, GARAGE, HOUSE, INFO, Harness, PowerOn

OLD = "JK-B2A24S15P 10.07"
BALANCER = "JK-B2A16S 3.3.0"
HEADER_01 = bytes.fromhex("55AAEB9001")


def write(harness: Harness, target: Mapping[str, Value]) -> WriteReport:
    """Write on a link of its own and check that this ends by the deadline."""
    try:
        return harness.run(harness.client.write(target))
    finally:
        assert harness.elapsed <= WRITE_DEADLINE
        assert harness.bms.harms == []


def outcomes(report: WriteReport) -> list[tuple[str, str]]:
    """Return the settings and what became of them."""
    return [(result.change.setting, result.outcome) for result in report.results]


def written(harness: Harness) -> list[tuple[int | None, bytes]]:
    """Return registers and values of all writes, in order."""
    return [(command.register, command.value) for command in harness.bms.writes]


@pytest.mark.parametrize(
    ("model", "name", "value", "expected"),
    [
        (HOUSE, "charging", False, (0x1D, "00000000")),
        (GARAGE, "request_charge_voltage", 3.5, (0x09, "ac0d0000")),
        (GARAGE, "heating_start_temperature", -5, (0x37, "fb")),
        (GARAGE, "heating", True, (0x27, "01000000")),
        (GARAGE, "request_float_time", 7.5, (0xB4, "4b")),
        (GARAGE, "can_protocol", 2, (0xA6, "0200")),
        (GARAGE, "buzzer_trigger", 3, (0xA9, "0300")),
        (GARAGE, "userdata", "Garage", (0x9F, "476172616765")),
        (OLD, "balance_start_voltage", 3.3, (0x26, "e40c0000")),
        (OLD, "discharging", False, (0x1E, "00000000")),
        (BALANCER, "balancer", False, (0x6C, "00")),
        (BALANCER, "balance_trigger", 0.008, (0x64, "6f12033c")),
    ],
)
def test_write_is_sent_once_and_proven(
    power_on: PowerOn, model: str, name: str, value: Value, expected: tuple[int, str]
) -> None:
    """The bytes are those of the layout, and the report shows what came back."""
    harness = power_on(model)
    published: list[Reading] = []
    report = harness.run(harness.client.write({name: value}, published.append))
    register, content = expected
    assert written(harness) == [(register, bytes.fromhex(content))]
    assert report.is_confirmed
    (result,) = report.results
    assert (result.outcome, result.answer) == (Outcome.CONFIRMED, value)
    assert result.change.register.present(report.reading) == value
    assert len(published) == 1
    assert not harness.bms.connected


def test_equal_value_is_not_written(power_on: PowerOn) -> None:
    """A value that the battery already has costs no write."""
    harness = power_on(HOUSE)
    assert write(harness, {"charging": True, "balance_trigger": 0.01}).results == ()
    assert written(harness) == []


@pytest.mark.parametrize(
    ("model", "target", "refusal"),
    [
        (HOUSE, {"request_charge_voltage": 3.4}, Refusal.NOT_ACCEPTED),
        (HOUSE, {"state_of_charge": 50}, Refusal.NOT_ACCEPTED),
        (BALANCER, {"charging": False}, Refusal.NOT_ACCEPTED),
        (OLD, {"heating": True}, Refusal.NOT_ACCEPTED),
        (GARAGE, {"charging": False, "cell_ovp": 4.2}, Refusal.PROTECTED),
        (GARAGE, {"charging": False, "soc_0": 3.6}, Refusal.OUT_OF_RANGE),
        (GARAGE, {"request_charge_voltage": 3.7}, Refusal.OUT_OF_RANGE),
        (GARAGE, {"max_charge_current": 201}, Refusal.OUT_OF_RANGE),
        (GARAGE, {"anything": 1}, Refusal.UNKNOWN),
        (GARAGE, {"charging": 0}, Refusal.NOT_A_VALUE),
    ],
)
def test_refused_target_sends_nothing(
    power_on: PowerOn, model: str, target: dict[str, Value], refusal: Refusal
) -> None:
    """One setting that is not allowed stops all of them."""
    harness = power_on(model)
    with pytest.raises(SettingRefusedError) as caught:
        write(harness, target)
    assert caught.value.refusal is refusal
    assert written(harness) == []


def test_nothing_is_written_without_cells(power_on: PowerOn) -> None:
    """With no cell connected the data prove no layout."""
    harness = power_on(HOUSE, faults=Faults(blank_every=1))
    with pytest.raises(SettingRefusedError) as caught:
        write(harness, {"charging": False})
    assert caught.value.refusal is Refusal.NOT_PROVEN
    assert written(harness) == []


def test_limits_do_not_depend_on_one_damaged_frame(power_on: PowerOn) -> None:
    """Settings with a good checksum by chance allow nothing that the true ones do not."""
    harness = power_on(HOUSE)
    spoilt: list[bytes] = []

    def spoil(data: bytes) -> bytes:
        if data[:5] == HEADER_01 and not spoilt:
            spoilt.append(data)
            # The over-voltage protection 512 mV higher, and its recovery as much
            # lower, so that the checksum stays right
            return (
                data[:19]
                + bytes((data[19] + 2,))
                + data[20:23]
                + bytes((data[23] - 2,))
                + data[24:]
            )
        return data

    harness.alter = spoil
    with pytest.raises(SettingRefusedError, match=r"2\.5 to 3\.65 V"):
        write(harness, {"balance_start_voltage": 3.9})
    assert spoilt
    assert written(harness) == []


def test_chain_keeps_the_order(power_on: PowerOn) -> None:
    """Several settings are written so that each state on the way is valid."""
    harness = power_on(GARAGE)
    up = write(harness, {"request_float_voltage": 3.5, "request_charge_voltage": 3.55})
    assert [name for name, _ in outcomes(up)] == [
        "request_charge_voltage",
        "request_float_voltage",
    ]
    down = write(harness, {"request_charge_voltage": 3.3, "request_float_voltage": 3.2})
    assert [name for name, _ in outcomes(down)] == [
        "request_float_voltage",
        "request_charge_voltage",
    ]
    assert up.is_confirmed
    assert down.is_confirmed


def test_chain_stops_where_another_program_moves_a_limit(power_on: PowerOn) -> None:
    """Each change is checked against the settings that the last proof showed."""
    harness = power_on(GARAGE)
    lowered: list[bool] = []

    def lower(data: bytes) -> bytes:
        if harness.bms.writes and not lowered:
            battery = harness.bms.battery
            battery.settings = replace(battery.settings, cell_ovp=3.5)
            lowered.append(True)
        return data

    harness.alter = lower
    report = write(
        harness,
        {
            "soc_0": 2.6,
            "request_charge_voltage": 3.55,
            "request_float_voltage": 3.3,
            "charging": False,
        },
    )
    assert outcomes(report) == [
        ("soc_0", Outcome.CONFIRMED),
        ("request_float_voltage", Outcome.CONFIRMED),
        ("request_charge_voltage", Outcome.REFUSED),
        ("charging", Outcome.NOT_TRIED),
    ]
    assert "3.3 to 3.5 V" in report.results[2].reason
    assert len(written(harness)) == 2


def test_implausible_settings_prove_nothing(power_on: PowerOn) -> None:
    """A frame that no battery can send is requested again."""
    harness = power_on(GARAGE)
    spoilt: list[bytes] = []

    def spoil(data: bytes) -> bytes:
        # An AT line may come before it in the same notification
        at = data.find(HEADER_01)
        if harness.bms.writes and at >= 0 and not spoilt:
            spoilt.append(data)
            changed = bytearray(data)
            # 64 more cells, and as much less in the byte of the charging switch
            changed[at + 114] += 64
            changed[at + 118] = changed[at + 118] - 64 & 0xFF
            return bytes(changed)
        return data

    harness.alter = spoil
    assert write(harness, {"discharging": False}).is_confirmed
    assert spoilt
    assert harness.client.statistics.rejected == 1
    assert len(written(harness)) == 1


def test_late_effect_is_confirmed(power_on: PowerOn) -> None:
    """The value is read again, and not written again."""
    harness = power_on(GARAGE, faults=Faults(write_takes=2.5))
    assert write(harness, {"charging": False}).is_confirmed
    assert len(written(harness)) == 1


@pytest.mark.parametrize("model", [HOUSE, GARAGE, OLD])
def test_acknowledgement_is_not_needed(power_on: PowerOn, model: str) -> None:
    """19.x and 20.x send none."""
    for kind in (
        {"faults": Faults(lose_acknowledgements=True)},
        {"habits": {"acknowledges": False}},
    ):
        harness = power_on(model, **kind)
        assert write(harness, {"charging": False}).is_confirmed
        assert len(written(harness)) == 1


def test_ignored_write_is_not_confirmed(power_on: PowerOn) -> None:
    """The report has the battery's own value and stops there."""
    harness = power_on(GARAGE, faults=Faults(ignore_writes=True))
    report = write(harness, {"charging": False, "soc_0": 2.9})
    assert outcomes(report) == [
        ("soc_0", Outcome.NOT_CONFIRMED),
        ("charging", Outcome.NOT_TRIED),
    ]
    assert report.results[0].answer == 2.7
    assert "passcode" in report.results[0].reason
    assert report.reading.settings
    assert report.reading.settings.soc_0 == 2.7
    assert [register for register, _ in written(harness)] == [0x08]
    # Once more after each pause
    assert harness.commands.count(CELLS) == 1 + 1 + 4


def test_value_that_is_undone_before_it_is_read_is_not_confirmed(
    power_on: PowerOn,
) -> None:
    """Another program writes the old value back."""
    harness = power_on(GARAGE, faults=Faults(revert_after=0.05))
    report = write(harness, {"charging": False})
    assert outcomes(report) == [("charging", Outcome.NOT_CONFIRMED)]
    assert report.results[0].answer is True


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_lost_link_leaves_the_outcome_unknown(power_on: PowerOn, when: Any) -> None:
    """The report says so, and nothing is written a second time."""
    harness = power_on(GARAGE, faults=Faults(drop_at_write=when))
    report = write(harness, {"soc_0": 2.9, "charging": False})
    assert outcomes(report) == [
        ("soc_0", Outcome.UNKNOWN),
        ("charging", Outcome.NOT_TRIED),
    ]
    assert "lost" in report.results[0].reason
    assert len(written(harness)) == 1


def test_silence_after_a_write_leaves_the_outcome_unknown(power_on: PowerOn) -> None:
    """Without an answer the result is unknown."""
    harness = power_on(GARAGE)

    def mute(data: bytes) -> bool:
        return bool(harness.bms.writes)

    harness.is_lost = mute
    report = write(harness, {"charging": False})
    assert outcomes(report) == [("charging", Outcome.UNKNOWN)]
    assert len(written(harness)) == 1


def test_chain_stops_where_another_program_undoes_a_change(
    power_on: PowerOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was confirmed and is undone before the next proof is not reported as made."""
    harness = power_on(GARAGE)
    take = harness.bms.write

    def undo(register: int, value: bytes) -> None:
        take(register, value)
        if register == 0x09:
            battery = harness.bms.battery
            battery.settings = replace(battery.settings, soc_100=3.445)

    monkeypatch.setattr(harness.bms, "write", undo)
    target = {"soc_100": 3.4, "request_charge_voltage": 3.4, "charging": False}
    report = write(harness, target)
    assert outcomes(report) == [
        ("soc_100", Outcome.NOT_CONFIRMED),
        ("request_charge_voltage", Outcome.CONFIRMED),
        ("charging", Outcome.NOT_TRIED),
    ]
    assert report.results[0].answer == 3.445
    assert len(written(harness)) == 2


def test_link_that_cannot_be_opened_raises(power_on: PowerOn) -> None:
    """Before anything is sent, the errors are those of a reading."""
    harness = power_on(HOUSE, faults=Faults(refuse_connection=True))
    with pytest.raises(NotReachableError):
        write(harness, {"charging": False})


def test_disconnecting_ends_a_write(power_on: PowerOn) -> None:
    """Turning the link off reports how far the write came."""
    harness = power_on(GARAGE, faults=Faults(ignore_writes=True))

    async def turn_off() -> WriteReport:
        task = asyncio.create_task(harness.client.write({"charging": False}))
        while not harness.bms.writes:
            await asyncio.sleep(0.1)
        await harness.client.disconnect()
        return await task

    report = harness.run(turn_off())
    assert outcomes(report) == [("charging", Outcome.UNKNOWN)]


# On a held link


async def hold(harness: Harness, published: list[Reading]) -> None:
    """Hold the link until cancelled."""
    await harness.client.hold(published.append, interval=5.0)


def on_held_link(
    harness: Harness, target: Mapping[str, Value], meanwhile: Any = None
) -> tuple[WriteReport, list[Reading]]:
    """Write while the link is held, and wait for the next reading."""
    published: list[Reading] = []

    async def run() -> WriteReport:
        task = asyncio.create_task(hold(harness, published))
        while not published:
            await asyncio.sleep(0.1)
        await asyncio.sleep(20.0)
        if meanwhile:
            meanwhile()
        try:
            report = await harness.client.write(target)
            await asyncio.sleep(2.0)
            return report
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, LinkError):
                await task

    return harness.run(run()), published


def test_write_uses_the_held_link(power_on: PowerOn) -> None:
    """No second connection is made, and the next reading has the new values."""
    harness = power_on(GARAGE)
    report, published = on_held_link(harness, {"charging": False, "can_protocol": 2})
    assert report.is_confirmed
    assert len(harness.bms.connections) == 1
    settings = published[-1].settings
    assert settings
    assert settings.charging is False
    assert published[-1].cell_data.charging is False
    assert published[-1].device_info.can_protocol == 2
    assert harness.client.statistics.rejected == 0


def test_held_link_reads_the_settings_before_it_writes(power_on: PowerOn) -> None:
    """A limit that another program moved since counts."""
    harness = power_on(GARAGE)

    def lower() -> None:
        battery = harness.bms.battery
        battery.settings = replace(battery.settings, cell_ovp=3.5)

    with pytest.raises(SettingRefusedError, match=r"2\.701 to 3\.5 V"):
        on_held_link(harness, {"soc_100": 3.6}, lower)
    assert written(harness) == []


def test_silent_held_link_writes_nothing(power_on: PowerOn) -> None:
    """Without settings of now there is no write."""
    harness = power_on(GARAGE)

    def mute() -> None:
        harness.is_lost = lambda _: True

    with pytest.raises(SilentError):
        on_held_link(harness, {"charging": False}, mute)
    assert written(harness) == []


def test_state_of_charge_is_proven_by_cell_data(power_on: PowerOn) -> None:
    """The battery reports it in its cell data only; its jump is believed at once."""
    changes = {"family": "19.34", "software": "19.34"}
    harness = power_on("JK-PB2A16S20P 19.27", changes=changes)
    report, published = on_held_link(harness, {"state_of_charge": 90})
    assert report.is_confirmed
    assert written(harness) == [(0x6E, bytes((90,)))]
    assert published[-1].cell_data.remain_percent == 90


def test_two_writes_wait_for_each_other(power_on: PowerOn) -> None:
    """Writes and readings share the link."""
    harness = power_on(HOUSE)

    async def both() -> list[Any]:
        return await asyncio.gather(
            harness.client.write({"charging": False}),
            harness.client.write({"discharging": False}),
            harness.client.read(deadline=60.0),
        )

    first, second, reading = harness.run(both())
    assert first.is_confirmed
    assert second.is_confirmed
    assert isinstance(reading, Reading)
    assert harness.commands.count(INFO) == 2 + 2 + 1


# Whatever is asked for


NAMES = sorted(
    {name for registers in REGISTERS.values() for name in registers}
    | PROTECTED
    | {"", "0x65", "userdata "}
)
VALUES = st.one_of(
    st.booleans(),
    st.integers(-5, 300),
    st.integers(0, 5000).map(lambda raw: raw / 1000),
    st.floats(),
    st.text(max_size=15),
    st.none(),
)


@given(
    model=st.sampled_from([HOUSE, GARAGE, OLD, BALANCER, "JK-PB2A16S20P 19.27"]),
    targets=st.lists(
        st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    ),
    faults=st.builds(
        Faults,
        ignore_writes=st.booleans(),
        write_takes=st.sampled_from([0.0, 1.5]),
        revert_after=st.sampled_from([None, 0.05, 3.0]),
        lose_acknowledgements=st.booleans(),
        drop_at_write=st.sampled_from([None, None, "before", "during", "after"]),
        damage=st.sampled_from([0.0, 0.02]),
    ),
)
@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_request_makes_a_harmful_byte_leave(
    power_on: PowerOn, model: str, targets: list[Any], faults: Faults
) -> None:
    """The battery fails the test on sight of one; and no value is written twice."""
    harness = power_on(model, faults=faults)
    for target in targets:
        sent = len(harness.bms.writes)
        try:
            report = harness.run(harness.client.write(target))
        except LinkError, SettingRefusedError:
            assert len(harness.bms.writes) == sent
            continue
        finally:
            assert harness.bms.harms == []
        new = [command.register for command in harness.bms.writes[sent:]]
        tried = [
            result.change.register.number
            for result in report.results
            if result.outcome not in {Outcome.NOT_TRIED, Outcome.REFUSED}
        ]
        assert new == tried


def test_guard_sees_harm() -> None:
    """The battery that fails the tests does see what it has to."""
    battery = Battery(MODELS[GARAGE], soc=0.5)
    for register, content in (
        (0x04, "100e0000"),
        (0x65, ""),
        (0x6B, "01000000"),
        (0x09, "a00f0000"),
        (0x08, "740e0000"),
        (0x0C, "28110300"),
        (0x13, "d1070000"),
    ):
        assert harm(battery.spec, battery.settings, register, bytes.fromhex(content)), (
            hex(register)
        )
    assert harm(battery.spec, battery.settings, 0x1D, bytes(4)) is None
