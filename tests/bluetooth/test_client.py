"""Tests of reading a battery: connecting, the commands, errors, deadlines and disconnecting."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
import logging
from typing import Any, override

from bleak import BleakClient
from bleak.exc import (
    BleakDBusError,
    BleakError,
    BleakGATTProtocolError,
    BleakGATTProtocolErrorCode,
)
import bleak_retry_connector
import pytest

from custom_components.jk_bms.jkbms.bluetooth import connection as connection_module
from custom_components.jk_bms.jkbms.bluetooth.connection import choose_characteristics
from custom_components.jk_bms.jkbms.errors import (
    JkBmsError,
    LinkError,
    NoFreeSlotError,
    NotJkBmsError,
    NotReachableError,
    PairingRequiredError,
    SilentError,
    UnsupportedLayoutError,
)
from custom_components.jk_bms.jkbms.models import Reading
from tests.virtual_bms import MODELS, Faults, Spec, State, frames
from tests.virtual_bms.gatt import (
    COMMAND,
    FFE0,
    FFE1,
    FFE2,
    FFE3,
    NOTIFY,
    READ_NOTIFY,
    VARIANTS,
    WRITE,
    WRITE_BOTH,
    WRITE_BOTH_NOTIFY,
    Characteristic,
    Service,
    chunks,
    collection,
)
from tests.virtual_bms.radio import GATT_TIME

from .harness import (
    CADENCE,
    CELLS,
    CELLS_COMPLETE,
    COMPLETE,
    DEADLINE,
    FIRST_CELLS,
    FIRST_COMMAND,
    GARAGE,
    HOUSE,
    IGNORES_INFO,
    INFO,
    ROUNDING,
    SECOND_COMMAND,
    SETTLE,
    STEADY,
    HangingDisconnectBackend,
    Harness,
    PowerOn,
    TappedBackend,
    assert_read,
    exactly,
)


class CacheClearingWrapper(BleakClient):
    """As in Home Assistant: the backend can clear its cached services."""

    async def clear_cache(self) -> bool:
        """Clear them."""
        return bool(await self._backend.clear_cache())


class CacheClearingClient(CacheClearingWrapper):
    """What Home Assistant replaces the retry connector's class with."""


@pytest.fixture
def home_assistant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the class of the clients, as Home Assistant does when it starts."""
    monkeypatch.setattr(
        bleak_retry_connector, "BleakClientWithServiceCache", CacheClearingClient
    )


# Characteristics


@pytest.mark.parametrize(
    ("variant", "receive", "send"),
    [
        ("A", 0x12, 0x12),
        ("A_OLD", 0x12, 0x12),
        ("B", 0x05, 0x03),
        ("C", 0x0A, 0x0A),
        ("D", 0x10, 0x10),
        ("E", 0x11, 0x11),
        ("F", 0x09, 0x09),
    ],
)
def test_characteristics_of_known_modules_are_chosen(
    variant: str, receive: int, send: int
) -> None:
    """Every known radio module is used by handle."""
    chosen = choose_characteristics(collection(VARIANTS[variant].services))

    assert chosen
    assert [characteristic.handle for characteristic in chosen] == [receive, send]


@pytest.mark.parametrize(
    ("characteristics", "expected"),
    [
        pytest.param(
            [(3, FFE1, WRITE_BOTH), (5, FFE1, READ_NOTIFY)], (5, 3), id="doubled"
        ),
        pytest.param(
            [(3, FFE1, READ_NOTIFY), (5, FFE1, WRITE)], (3, 5), id="other way round"
        ),
        pytest.param(
            [(3, FFE1, WRITE_BOTH), (5, FFE1, WRITE_BOTH_NOTIFY)],
            (5, 5),
            id="the one that notifies is preferred",
        ),
        pytest.param(
            [(3, FFE1, NOTIFY), (5, FFE1, WRITE_BOTH_NOTIFY)],
            (3, 5),
            id="two that notify",
        ),
        pytest.param(
            [(3, FFE2, COMMAND), (5, FFE1, READ_NOTIFY)], (5, 3), id="last resort"
        ),
        pytest.param(
            [(3, FFE2, COMMAND), (5, FFE1, READ_NOTIFY), (7, FFE1, WRITE)],
            (5, 7),
            id="last resort not needed",
        ),
        pytest.param(
            [(3, FFE2, WRITE), (4, FFE3, COMMAND), (5, FFE1, READ_NOTIFY)],
            None,
            id="nothing to write to",
        ),
        pytest.param([(3, FFE1, WRITE_BOTH)], None, id="nothing that notifies"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_properties_decide_between_characteristics(
    characteristics: list[tuple[int, str, Any]], expected: tuple[int, int] | None
) -> None:
    """The UUID may exist twice: the properties decide."""
    service = Service(1, FFE0, tuple(Characteristic(*row) for row in characteristics))

    chosen = choose_characteristics(collection((service,)))

    assert expected == (chosen and tuple(found.handle for found in chosen))


def test_same_uuid_in_another_service_is_ignored() -> None:
    """The characteristic counts only within the serial service."""
    characteristic = Characteristic(3, FFE1, WRITE_BOTH_NOTIFY)
    service = Service(1, FFE2, (characteristic,))

    assert choose_characteristics(collection((service,))) is None


# Readings


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_read(power_on: PowerOn, model: str) -> None:
    """Each model is read completely with two commands on one connection, without a beep."""
    harness = power_on(model)

    reading = harness.read()

    assert_read(reading, harness.bms)
    assert harness.commands == [INFO, CELLS]
    assert harness.bms.beeps == 0
    assert harness.close_reasons == ["by the central"]
    assert harness.lookups == 1
    assert harness.client.statistics.rejected == 0


@pytest.mark.parametrize("gatt", VARIANTS)
@pytest.mark.parametrize("model", ["JK-B2A16S 3.3.0", "JK-B2A24S15P 10.07", GARAGE])
def test_every_radio_module_is_read(power_on: PowerOn, model: str, gatt: str) -> None:
    """Any layout is read through any radio module, however it splits the frames."""
    harness = power_on(model, changes={"gatt": gatt})

    assert_read(harness.read(), harness.bms)
    assert harness.bms.beeps == 0


@pytest.mark.parametrize(
    ("gatt", "receive", "send"),
    [
        ("A", 0x12, 0x12),
        ("B", 0x05, 0x03),
        ("C", 0x0A, 0x0A),
        ("D", 0x10, 0x10),
        ("E", 0x11, 0x11),
        ("F", 0x09, 0x09),
    ],
)
def test_commands_are_written_without_response(
    power_on: PowerOn, gatt: str, receive: int, send: int
) -> None:
    """Commands use write-without-response where it exists, and there is one subscription."""
    harness = power_on(changes={"gatt": gatt})

    harness.read()

    assert harness.writes == [(send, False)] * 2
    assert [handle for _, handle in harness.subscriptions] == [receive]


def test_commands_are_written_with_response_if_required(
    power_on: PowerOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A characteristic that has only `write` is written with response."""
    service = Service(
        7, FFE0, (Characteristic(9, FFE1, ("write", "notify"), "uart", cccd=10),)
    )
    monkeypatch.setitem(VARIANTS, "F", replace(VARIANTS["F"], services=(service,)))
    harness = power_on(changes={"gatt": "F"})

    assert_read(harness.read(), harness.bms)
    assert harness.writes == [(9, True)] * 2


def test_data_overrule_the_version(
    power_on: PowerOn, caplog: pytest.LogCaptureFixture
) -> None:
    """If the version implies one layout and the data prove another, the data win."""
    harness = power_on(changes={"software": "10.99"})

    reading = harness.read()

    assert reading.layout == "JK02_32S"
    assert reading.cell_data.remain_percent == harness.bms.battery.state.soc
    assert "battery: the data are JK02_32S" in caplog.text


@pytest.mark.parametrize("model", [HOUSE, "JK-B2A24S15P 10.07", "JK-B2A16S 3.3.0"])
def test_data_decide_without_a_version(power_on: PowerOn, model: str) -> None:
    """Without a usable version the data alone decide."""
    harness = power_on(model)
    harness.bms.battery.spec = replace(harness.bms.spec, software="beta")

    reading = harness.read()

    assert reading.layout == MODELS[model].layout
    assert reading.device_info.software_version == "beta"


@pytest.mark.parametrize("double", [False, True])
def test_each_read_has_its_own_connection(power_on: PowerOn, double: bool) -> None:
    """Each read returns current values on a new connection; the statistics cover both."""
    harness = power_on(faults=Faults(double=double))

    assert_read(harness.read(), harness.bms)
    harness.bms.battery.override(current=-12.5)
    assert harness.read().cell_data.battery_current == -12.5

    assert len(harness.bms.connections) == 2
    # Two frames of cell data confirm each other in the first
    assert harness.client.statistics.good == 7
    assert harness.lookups == 2


# Commands


@pytest.mark.parametrize("model", sorted(MODELS.keys() - {"JK-B5A24S 8.0.3M"}))
def test_cell_command_follows_the_acknowledgement(
    power_on: PowerOn, model: str
) -> None:
    """0x97 is sent when the link has settled, 0x96 as soon as 0x97 is acknowledged."""
    harness = power_on(model)

    harness.read()

    ((subscribed, _),) = harness.subscriptions
    (first,), (second,) = harness.sent_at(INFO), harness.sent_at(CELLS)
    acknowledged = next(at for at, data in harness.notifications if b"\xeb\xc8" in data)
    assert first == exactly(subscribed + SETTLE)
    assert first < acknowledged
    assert second == exactly(acknowledged)


@pytest.mark.parametrize(
    ("changes", "habits", "wait"),
    [
        pytest.param({}, {"acknowledges": False}, 0.5, id="never"),
        # Its last five bytes stay in the module until there is more to send
        pytest.param({"gatt": "D"}, {}, 0.5, id="incomplete"),
        pytest.param({}, {"reply_gap": 0.45}, 0.45, id="late"),
        pytest.param({}, {"reply_gap": 0.7}, 0.5, id="too late"),
        pytest.param({"gatt": "A_OLD"}, {}, 0.0, id="with the frame"),
    ],
)
def test_wait_for_the_acknowledgement_is_bounded(
    power_on: PowerOn, changes: dict[str, str], habits: dict[str, Any], wait: float
) -> None:
    """The second command waits up to 0.5 s for the acknowledgement."""
    harness = power_on(changes=changes, habits=STEADY | habits)

    harness.read()

    # The info is complete with the last notification before the second command
    # that is not the acknowledgement alone
    (second,) = harness.sent_at(CELLS)
    complete = max(
        at for at, data in harness.notifications if at <= second and len(data) > 20
    )
    assert second == exactly(complete + wait)


def test_wait_is_shorter_after_a_missing_acknowledgement(power_on: PowerOn) -> None:
    """If it did not come, the next connection waits only as long as it normally takes."""
    harness = power_on(
        changes={"gatt": "A_OLD"}, habits=STEADY | {"acknowledges": False}
    )
    took = []
    for acknowledges in (False, False, True, True, False):
        harness.bms.behaviour = replace(
            harness.bms.behaviour, acknowledgement="own", acknowledges=acknowledges
        )
        harness.bms.commands.clear()
        harness.read()
        (first,), (second,) = harness.sent_at(INFO), harness.sent_at(CELLS)
        took.append(second - first - 0.1 - 2 * 0.025)

    assert took == exactly([0.5, 0.12, 0.09, 0.09, 0.5])


@pytest.mark.parametrize(
    ("gatt", "answer", "first_cells"),
    [
        pytest.param("A", 0.1 + 3 * 0.025 + 0.09, 0.7 + 3 * 0.025, id="A"),
        pytest.param("A_OLD", 0.1 + 2 * 0.025, 0.7 + 2 * 0.025, id="A, old firmware"),
        pytest.param("B", 0.1 + 1 * 0.025 + 0.09, 0.7 + 1 * 0.025, id="B"),
        # Fifteen notifications in quick succession
        pytest.param("C", 0.1 + 14 * 0.004 + 0.09, 0.7 + 14 * 0.004, id="C"),
        # The end of each frame waits in the module for what comes next
        pytest.param("D", 0.1 + 2 * 0.025 + 0.09 + 0.5, 0.7 + CADENCE, id="D"),
        pytest.param("E", 0.1 + 3 * 0.025 + 0.09, 0.7 + 3 * 0.025, id="E"),
        pytest.param("F", 0.1 + 3 * 0.025 + 0.09, 0.7 + 3 * 0.025, id="F"),
    ],
)
def test_read_waits_for_nothing_but_the_battery(
    power_on: PowerOn, gatt: str, answer: float, first_cells: float
) -> None:
    """All the time is the radio's and the battery's, except for the settling time."""
    harness = power_on(changes={"gatt": gatt}, habits=STEADY)

    harness.read()

    link = 0.4 + GATT_TIME + GATT_TIME + GATT_TIME
    assert harness.elapsed == exactly(link + SETTLE + answer + first_cells + CADENCE)


@pytest.mark.parametrize("delay", [0.2, 1.5, 3.0])
def test_slow_stream_is_not_requested_again(power_on: PowerOn, delay: float) -> None:
    """0x96 is not a poll: it is sent once, however late a proxy forwards the stream."""
    harness = power_on(GARAGE, faults=Faults(delay=delay))

    assert_read(harness.read(), harness.bms)
    assert harness.commands == [INFO, CELLS]
    assert harness.bms.beeps == 0


STALE = [
    pytest.param(
        lambda spec, old: frames.info_frame(replace(spec, model="JK_OLD"), *old),
        id="device information",
    ),
    pytest.param(lambda spec, old: frames.cell_frame(spec, old[1], 9), id="cell data"),
    pytest.param(
        lambda spec, old: (
            frames.info_frame(replace(spec, model="JK_OLD"), *old)
            + frames.cell_frame(spec, old[1], 9)
        ),
        id="both",
    ),
    pytest.param(
        lambda spec, old: frames.cell_frame(spec, old[1], 9)[:200], id="half a frame"
    ),
    pytest.param(lambda spec, old: frames.ACKNOWLEDGEMENT, id="acknowledgement"),
]


@pytest.mark.parametrize("leftover", STALE)
def test_data_of_an_earlier_session_are_dropped(
    power_on: PowerOn, leftover: Callable[[Spec, tuple[Any, State, int]], bytes]
) -> None:
    """What an earlier session left in the module is not decoded."""
    harness = power_on(habits=STEADY)
    spec, battery = harness.bms.spec, harness.bms.battery
    old = replace(battery.state, soc=1, current=-77.0)
    stale = leftover(spec, (battery.settings, old, 7))
    harness.bms.faults = Faults(stale=tuple(chunks(harness.bms.variant, stale)))

    assert_read(harness.read(), harness.bms)
    assert harness.elapsed == exactly(COMPLETE)
    assert harness.client.statistics.rejected == 0


def test_running_stream_is_not_device_information(power_on: PowerOn) -> None:
    """Cell data that still stream from an earlier session are skipped."""
    harness = power_on(habits=STEADY)
    battery = harness.bms.battery

    async def read() -> Reading:
        frame = frames.cell_frame(harness.bms.spec, replace(battery.state, soc=1), 9)
        loop = asyncio.get_running_loop()
        for moment in (SETTLE / 2, SETTLE, SETTLE + 0.05):
            loop.call_later(
                FIRST_COMMAND - SETTLE + moment,
                lambda: harness.notify(bytearray(frame)),
            )
        return await harness.client.read()

    assert_read(harness.run(read()), harness.bms)
    assert harness.elapsed == exactly(COMPLETE)


@pytest.mark.parametrize("count", [1, 2])
def test_running_stream_does_not_cost_the_settings(
    power_on: PowerOn, count: int
) -> None:
    """Cell data that arrive before the settings do not end the read without them."""
    harness = power_on(habits=STEADY)
    battery = harness.bms.battery

    async def read() -> Reading:
        frame = frames.cell_frame(harness.bms.spec, replace(battery.state, soc=1), 9)
        loop = asyncio.get_running_loop()
        for number in range(count):
            loop.call_later(
                SECOND_COMMAND + (number + 1) * 0.02,
                lambda: harness.notify(bytearray(frame)),
            )
        return await harness.client.read()

    assert_read(harness.run(read()), harness.bms)
    assert harness.elapsed == exactly(COMPLETE)


# Silence


def test_unanswered_commands_are_repeated_once(power_on: PowerOn) -> None:
    """Each command is repeated once after its own timeout."""
    harness = power_on(habits=STEADY, faults=Faults(answer_after_attempts=1))

    assert_read(harness.read(), harness.bms)
    assert harness.commands == [INFO, INFO, CELLS, CELLS]
    assert [c.at for c in harness.bms.commands] == exactly(
        [
            FIRST_COMMAND,
            FIRST_COMMAND + 5,
            SECOND_COMMAND + 5,
            SECOND_COMMAND + 5 + 6,
        ]
    )
    assert harness.elapsed == exactly(COMPLETE + 5 + 6)
    assert len(harness.bms.connections) == 1


def test_silent_battery_fails_after_two_connections(power_on: PowerOn) -> None:
    """A connection without any data is closed, and so is the second one."""
    harness = power_on(faults=Faults(silent=True))

    with pytest.raises(SilentError):
        harness.read()

    assert harness.commands == [INFO, INFO] * 2
    begins = [connection.opened for connection in harness.bms.connections]
    offsets = [
        command.at - begin
        for command, begin in zip(
            harness.bms.commands, [b for b in begins for _ in (1, 2)], strict=True
        )
    ]
    # The services are cached the second time
    first = 2 * GATT_TIME + SETTLE
    again = GATT_TIME + SETTLE
    assert offsets == exactly([first, first + 5, again, again + 5])
    assert harness.close_reasons == ["by the central"] * 2
    assert harness.elapsed == exactly(2 * (0.4 + 10 + GATT_TIME) + first + again)


@pytest.mark.parametrize("model", [HOUSE, GARAGE])
def test_battery_that_disconnects_without_answering_is_silent(
    power_on: PowerOn, model: str
) -> None:
    """A battery that answers nothing and disconnects first is still a silent one."""
    harness = power_on(model, faults=IGNORES_INFO)

    with pytest.raises(SilentError):
        harness.read()

    assert harness.close_reasons == ["no command"] * 2
    assert harness.elapsed == exactly(2 * (0.4 + 10))


def test_second_connection_succeeds_after_a_silent_one(power_on: PowerOn) -> None:
    """The first connection gets no answer and drops after 10 s, the second one works."""
    harness = power_on(habits=STEADY, faults=IGNORES_INFO)
    harness.before_lookup[2] = lambda: setattr(harness.bms, "faults", Faults())

    assert_read(harness.read(), harness.bms)
    assert harness.close_reasons == ["no command", "by the central"]
    assert harness.elapsed == exactly(0.4 + 10 + COMPLETE - GATT_TIME)


def test_missing_stream_fails_after_twelve_seconds(power_on: PowerOn) -> None:
    """0x96 is repeated after 6 s; after 12 s the connection is closed."""
    harness = power_on(habits=STEADY, faults=Faults(never_answer={CELLS}))

    with pytest.raises(SilentError):
        harness.read()

    first, again = harness.bms.connections
    assert harness.commands == [INFO, CELLS, CELLS] * 2
    assert harness.sent_at(CELLS)[:2] == exactly([SECOND_COMMAND, SECOND_COMMAND + 6])
    assert first.closed == exactly(SECOND_COMMAND + 12 + GATT_TIME)
    assert again.closed == exactly(DEADLINE - 3 + GATT_TIME)


def test_settings_alone_are_no_stream(power_on: PowerOn) -> None:
    """A battery that answers 0x96 but does not stream is given up."""
    harness = power_on(habits=STEADY, faults=Faults(stream_stops_after=0))
    harness.before_lookup[2] = lambda: setattr(harness.bms, "faults", Faults())

    assert_read(harness.read(), harness.bms)
    assert harness.commands == [INFO, CELLS, CELLS, INFO, CELLS]
    # 6 s after each settings frame, which takes four notifications
    settings = 0.08 + 3 * 0.025
    first, _ = harness.bms.connections
    assert first.closed == exactly(SECOND_COMMAND + 2 * (settings + 6) + GATT_TIME)


@pytest.mark.parametrize("habits", [{}, {"reply_gap": 0.3}, {"acknowledges": False}])
def test_cell_command_is_not_too_early(
    power_on: PowerOn, habits: dict[str, Any]
) -> None:
    """Inverter boards never stream after an early 0x96: ours is not early."""
    harness = power_on(GARAGE, habits=habits)

    assert harness.bms.behaviour.early_96_is_fatal
    assert_read(harness.read(), harness.bms)
    assert len(harness.bms.connections) == 1


# Of a link of HOUSE: 1 to 4 are the device information, 5 its acknowledgement, 6 to 9
# the settings, 10 their acknowledgement, 11 to 14 the first cell data


@pytest.mark.parametrize(
    ("faults", "late"),
    [
        pytest.param(Faults(lose={1}), 5.0, id="begin of information lost"),
        pytest.param(Faults(damage={1}), 5.0, id="begin of information damaged"),
        # The first acknowledgement fills the gap and is found with the second answer
        pytest.param(Faults(lose={4}), 5.0 - 0.09, id="end of information lost"),
        pytest.param(Faults(damage={4}), 5.0, id="end of information damaged"),
        pytest.param(Faults(lose={5}), 0.5 - 0.09, id="acknowledgement lost"),
        pytest.param(Faults(damage={5}), 0.5 - 0.09, id="acknowledgement damaged"),
        pytest.param(Faults(lose={10}), 0.0, id="second acknowledgement lost"),
        pytest.param(Faults(damage={10}), 0.0, id="second acknowledgement damaged"),
        pytest.param(Faults(lose={11}), CADENCE, id="begin of cell data lost"),
        pytest.param(Faults(damage={11}), CADENCE, id="begin of cell data damaged"),
        pytest.param(Faults(lose={14}), CADENCE, id="end of cell data lost"),
        pytest.param(Faults(damage={14}), CADENCE, id="end of cell data damaged"),
    ],
)
def test_one_bad_notification_delays_the_reading(
    power_on: PowerOn, faults: Faults, late: float
) -> None:
    """One bad notification costs the time to the next frame, not the reading."""
    harness = power_on(habits=STEADY, faults=faults)

    assert_read(harness.read(), harness.bms)
    assert harness.elapsed == exactly(COMPLETE + late)
    assert len(harness.bms.connections) == 1


@pytest.mark.parametrize("hit", ["lose", "damage"])
@pytest.mark.parametrize("number", [6, 8])
def test_lost_settings_are_left_out(power_on: PowerOn, hit: str, number: int) -> None:
    """Lost settings cost two frames of waiting, but no reconnect and no beep."""
    harness = power_on(habits=STEADY, faults=Faults(**{hit: {number}}))

    reading = harness.read()

    assert reading.settings is None
    assert reading.cell_data.remain_percent == harness.bms.battery.state.soc
    assert harness.commands == [INFO, CELLS]
    assert harness.elapsed == exactly(COMPLETE + 2 * CADENCE)


def test_implausible_settings_are_left_out(power_on: PowerOn) -> None:
    """Impossible settings are counted and left out."""
    harness = power_on()
    battery = harness.bms.battery
    battery.settings = replace(battery.settings, cell_count=99)

    reading = harness.read()

    assert reading.settings is None
    assert reading.cell_data.cell_voltage == exactly(battery.state.cells, abs=0.0006)
    assert harness.client.statistics.rejected == 1


@pytest.mark.parametrize("gatt", ["A", "B", "C", "D"])
def test_reading_on_a_bad_radio_is_right(power_on: PowerOn, gatt: str) -> None:
    """On a bad link a reading is late, perhaps without settings, never wrong."""
    settings = power_on(GARAGE, changes={"gatt": gatt}).read().settings

    for seed in range(12):
        faults = Faults(lose=0.02, damage=0.02, seed=seed)
        harness = power_on(GARAGE, changes={"gatt": gatt}, faults=faults)
        reading = harness.read()
        assert reading.settings in (settings, None)
        assert_read(replace(reading, settings=settings), harness.bms)


# Errors


def test_battery_out_of_range_is_not_connected(power_on: PowerOn) -> None:
    """Without a path to the battery no connection is attempted."""
    harness = power_on()
    harness.device = None

    with pytest.raises(
        NotReachableError, match="No Bluetooth adapter can see the battery"
    ):
        harness.read()

    assert harness.elapsed == 0
    assert harness.connect_times == []


def test_path_is_looked_up_for_the_second_connection(power_on: PowerOn) -> None:
    """The device is looked up again before the second connection."""
    harness = power_on(faults=IGNORES_INFO)
    harness.before_lookup[2] = lambda: setattr(harness, "device", None)

    with pytest.raises(
        NotReachableError, match="No Bluetooth adapter can see the battery"
    ):
        harness.read()

    assert len(harness.connect_times) == 1


def test_refused_connection_is_not_retried_by_the_client(power_on: PowerOn) -> None:
    """Only the retry connector repeats refused connections."""
    harness = power_on(faults=Faults(refuse_connection=True))

    with pytest.raises(NotReachableError, match="Connection refused"):
        harness.read()

    assert len(harness.connect_times) == 4
    assert harness.lookups == 1
    assert harness.elapsed < 1


def test_one_refused_connection_is_harmless(power_on: PowerOn) -> None:
    """A single refusal is retried and the read succeeds."""
    harness = power_on(faults=Faults(refuse_connection=1))

    assert_read(harness.read(), harness.bms)


def test_hanging_connection_ends_with_the_deadline(power_on: PowerOn) -> None:
    """A connection attempt that never returns ends with the deadline."""
    harness = power_on(faults=Faults(hang_connection=True))

    with pytest.raises(NotReachableError, match="did not respond in time"):
        harness.read()

    assert harness.elapsed == exactly(DEADLINE - 3)


def test_battery_without_power_is_not_reachable(power_on: PowerOn) -> None:
    """A battery that does not respond is not reachable, and the message gives the reason."""
    harness = power_on()
    harness.bms.power_off()

    with pytest.raises(NotReachableError, match="did not respond in time"):
        harness.read()

    assert len(harness.connect_times) == 2


def test_full_adapter_fails_as_no_free_slot(power_on: PowerOn) -> None:
    """The retry connector would retry for 36 s: the reason is known before."""
    harness = power_on()
    harness.radio.slots = 0

    with pytest.raises(NoFreeSlotError, match="slot"):
        harness.read()

    assert harness.elapsed == exactly(DEADLINE - 3)


@pytest.mark.parametrize(
    "text",
    [
        "No backend with an available connection slot that can reach address X was found",
        "Proxy [X]: No free BLE connection slot became available (limit=3, in use=3)",
        "No available connection",
    ],
)
@pytest.mark.parametrize("deadline", [10, 60])
def test_no_free_slot_is_recognised_in_every_wording(
    power_on: PowerOn, text: str, deadline: float
) -> None:
    """Home Assistant and its proxies word it differently."""
    harness = power_on(faults=Faults(refuse_connection=True, refuse_error=text))

    with pytest.raises(NoFreeSlotError, match="slot|available connection"):
        harness.read(deadline=deadline)


def test_slot_that_becomes_free_is_used(power_on: PowerOn) -> None:
    """While all slots are taken, connecting is retried."""
    harness = power_on(habits=STEADY)
    harness.radio.slots = 0

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        loop.call_later(5, setattr, harness.radio, "slots", 1)
        return await harness.client.read()

    assert_read(harness.run(read()), harness.bms)
    assert harness.elapsed == exactly(8 + COMPLETE)


def test_latest_connect_error_is_reported(power_on: PowerOn) -> None:
    """The last obstacle counts, not the first."""
    harness = power_on()
    harness.radio.slots = 0

    async def read() -> Reading:
        def free() -> None:
            harness.radio.slots = 1
            harness.bms.faults = Faults(hang_connection=True)

        asyncio.get_running_loop().call_later(5, free)
        return await harness.client.read()

    with pytest.raises(NotReachableError, match="in time"):
        harness.run(read())


def test_pairing_error_while_connecting_is_recognised(power_on: PowerOn) -> None:
    """Some adapters pair before they report the connection."""
    harness = power_on(
        faults=Faults(refuse_connection=True, refuse_error="Authentication Failed")
    )

    with pytest.raises(PairingRequiredError):
        harness.read()


def test_advice_about_slots_is_not_taken_for_the_reason(power_on: PowerOn) -> None:
    """The advice of the retry connector mentions slots although there are enough."""
    harness = power_on(
        faults=Faults(
            refuse_connection=True, refuse_error="error: ESP_GATT_CONN_CONN_CANCEL"
        )
    )

    with pytest.raises(NotReachableError, match="ESP_GATT_CONN_CONN_CANCEL"):
        harness.read(deadline=60)


@pytest.mark.parametrize("faults", [Faults(foreign="neey"), Faults(garbage=True)])
@pytest.mark.parametrize("gatt", ["A", "B", "C"])
def test_device_with_another_protocol_is_no_jk_bms(
    power_on: PowerOn, faults: Faults, gatt: str
) -> None:
    """A device that answers with another protocol is not a JK BMS."""
    harness = power_on(changes={"gatt": gatt}, faults=faults)

    with pytest.raises(NotJkBmsError):
        harness.read()


@pytest.mark.parametrize("drops", [False, True])
def test_good_frame_proves_a_jk_bms(power_on: PowerOn, drops: bool) -> None:
    """A good frame proves a JK BMS, however it was split and whatever follows."""
    harness = power_on(changes={"gatt": "D"}, faults=Faults(never_answer={INFO, CELLS}))
    frame = frames.info_frame(
        harness.bms.spec, harness.bms.battery.settings, harness.bms.battery.state, 7
    )

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        pieces = (frame[:2], frame[2:150], frame[150:])
        for number, piece in enumerate(pieces):
            loop.call_later(
                FIRST_COMMAND + 0.1 + number * 0.01,
                lambda piece=piece: harness.notify(bytearray(piece)),
            )
        if drops:
            loop.call_later(FIRST_COMMAND + 1, harness.bms.drop)
        return await harness.client.read(deadline=9)

    with pytest.raises(SilentError):
        harness.run(read())


@pytest.mark.parametrize("deadline", [4, 8, 12])
def test_other_protocol_is_recognised_at_the_deadline(
    power_on: PowerOn, deadline: float
) -> None:
    """An early deadline does not turn a foreign device into a silent battery."""
    harness = power_on(faults=Faults(foreign="neey"))

    with pytest.raises(NotJkBmsError):
        harness.read(deadline=deadline)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param([], SilentError, id="nothing"),
        pytest.param([bytes(20)], NotJkBmsError, id="something"),
        pytest.param([bytes(20), frames.AT_LINE], SilentError, id="idle line"),
        pytest.param(
            [frames.ACKNOWLEDGEMENT, bytes(20)], SilentError, id="acknowledgement"
        ),
        pytest.param(
            [bytes(20), frames.FRAME_HEADER + bytes(46)], SilentError, id="half a frame"
        ),
        pytest.param([frames.command(INFO)], SilentError, id="echo"),
    ],
)
def test_any_sign_of_the_protocol_proves_a_jk_bms(
    power_on: PowerOn, said: list[bytes], expected: type[JkBmsError]
) -> None:
    """One sign of the protocol among other bytes is enough."""
    harness = power_on(faults=Faults(silent=True))

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        for data in said:
            loop.call_later(
                FIRST_COMMAND + 0.1, lambda data=data: harness.notify(bytearray(data))
            )
        return await harness.client.read(deadline=8)

    with pytest.raises(expected):
        harness.run(read())


def test_pairing_requirement_is_not_retried(power_on: PowerOn) -> None:
    """A battery that requires a passkey is not connected twice."""
    harness = power_on(faults=Faults(pairing=True))

    with pytest.raises(PairingRequiredError):
        harness.read()

    assert harness.close_reasons == ["by the central"]


def test_unpaired_battery_that_disconnects_is_silent(power_on: PowerOn) -> None:
    """Some batteries only disconnect an unpaired client: to the client that is silence."""
    harness = power_on(faults=Faults(pairing="drop"))

    with pytest.raises(SilentError):
        harness.read()

    assert harness.close_reasons == ["not paired"] * 2


PAIRING_MODULE = {"address": "A4:C1:38:10:00:01"}
"""The radio module that sends nothing unpaired."""
NO_SERVICES_OVER_A_PROXY = Faults(
    refuse_connection=True, refuse_error="Failed to get services from remote esp"
)
"""For ESPHome an empty service list is a failed connection."""


@pytest.mark.parametrize(
    ("faults", "connections"),
    [
        (Faults(pairing="drop"), 2),
        (Faults(pairing="writes"), 2),
        (Faults(pairing="empty"), 1),
        (Faults(pairing="unlikely"), 1),
        (Faults(pairing=True), 1),
        (Faults(silent=True), 1),
        (NO_SERVICES_OVER_A_PROXY, 0),
    ],
)
def test_module_that_sends_nothing_unpaired_requires_pairing(
    power_on: PowerOn, faults: Faults, connections: int
) -> None:
    """Each form of its silence is recognised within one reading."""
    harness = power_on(faults=faults, changes=PAIRING_MODULE)

    with pytest.raises(PairingRequiredError):
        harness.read()

    assert min(1, connections) <= len(harness.close_reasons) <= connections


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (Faults(garbage=True), NotJkBmsError),
        (Faults(missing_characteristic=True), NotJkBmsError),
        (Faults(disconnect_after=3), NotReachableError),
        (Faults(refuse_connection=True), NotReachableError),
    ],
)
def test_other_failures_of_that_module_are_not_mistaken_for_it(
    power_on: PowerOn, faults: Faults, expected: type[JkBmsError]
) -> None:
    """Once anything arrives, pairing is not what is missing."""
    harness = power_on(faults=faults, changes=PAIRING_MODULE)

    with pytest.raises(expected):
        harness.read()


def test_missing_services_of_another_module_do_not_mean_pairing(
    power_on: PowerOn,
) -> None:
    """Every other module is read unpaired: what failed is the connection."""
    harness = power_on(faults=NO_SERVICES_OVER_A_PROXY)
    with pytest.raises(NotReachableError, match="Failed to get services"):
        harness.read()


def test_unlikely_error_means_pairing_only_at_the_subscription(
    power_on: PowerOn,
) -> None:
    """At the subscription it is what remains of a pairing that the Bluetooth stack tried."""
    harness = power_on(faults=Faults(pairing="unlikely"))
    with pytest.raises(PairingRequiredError):
        harness.read()

    harness = power_on(faults=Faults(pairing="writes"))
    with pytest.raises(NotReachableError):
        harness.read()


ERROR_CODES = BleakGATTProtocolErrorCode
BLUEZ = "org.bluez.Error."
ENDED = (
    "Peripheral A4:C1:38:10:00:01 changed connection status while waiting for "
    "BluetoothGATTWriteResponse, BluetoothGATTErrorResponse"
)
"""As aioesphomeapi 46.6 words the end of a link; the reason follows."""
GATT_ERRORS = [
    pytest.param(
        BleakGATTProtocolError(ERROR_CODES.INSUFFICIENT_ENCRYPTION),
        PairingRequiredError,
        id="encryption",
    ),
    pytest.param(
        BleakGATTProtocolError(ERROR_CODES.INSUFFICIENT_AUTHORIZATION),
        PairingRequiredError,
        id="authorization",
    ),
    pytest.param(
        BleakDBusError(f"{BLUEZ}NotAuthorized", ["Not authorized"]),
        PairingRequiredError,
        id="BlueZ",
    ),
    pytest.param(
        BleakError(
            "Bluetooth GATT Error address=A4:C1:38:10:00:01 handle=18 error=5 "
            "description=Insufficient authentication"
        ),
        PairingRequiredError,
        id="ESPHome",
    ),
    pytest.param(
        BleakError(
            "Bluetooth GATT Error address=A4:C1:38:10:00:01 handle=18 error=12 "
            "description=Insufficient key size"
        ),
        PairingRequiredError,
        id="ESPHome, key size",
    ),
    pytest.param(
        BleakError(f"{ENDED}: Insufficient authentication (5)"),
        PairingRequiredError,
        id="ESPHome, authentication failed",
    ),
    pytest.param(
        BleakError(f"{ENDED}: Request not supported (6)"),
        PairingRequiredError,
        id="ESPHome, bond missing",
    ),
    pytest.param(
        BleakError(f"{ENDED}: Insufficient authorization (8)"),
        NotReachableError,
        id="ESPHome, link lost",
    ),
    pytest.param(
        BleakError(
            "Authenticated connection not ready yet for garage; "
            "current state is ConnectionState.INITIALIZED!"
        ),
        NotReachableError,
        id="ESPHome, proxy not connected",
    ),
    pytest.param(
        BleakError("Pairing failed due to error: 97"), PairingRequiredError, id="proxy"
    ),
    pytest.param(
        BleakDBusError(f"{BLUEZ}NotPermitted", ["Not paired"]),
        PairingRequiredError,
        id="BlueZ, not paired",
    ),
    pytest.param(BleakError("auth fail reason=102"), PairingRequiredError, id="ESP32"),
    pytest.param(
        BleakGATTProtocolError(ERROR_CODES.INVALID_HANDLE),
        NotReachableError,
        id="something else",
    ),
    pytest.param(
        BleakDBusError(f"{BLUEZ}Failed", ["Not connected"]),
        NotReachableError,
        id="BlueZ, link lost",
    ),
    pytest.param(TimeoutError(), NotReachableError, id="timeout"),
    pytest.param(BrokenPipeError(), NotReachableError, id="D-Bus gone"),
    pytest.param(EOFError(), NotReachableError, id="D-Bus closed"),
    pytest.param(
        AttributeError("'NoneType' has no attribute"), NotReachableError, id="race"
    ),
]


@pytest.mark.parametrize("method", ["start_notify", "write_gatt_char"])
@pytest.mark.parametrize(("cause", "expected"), GATT_ERRORS)
def test_bleak_errors_are_translated(
    power_on: PowerOn, method: str, cause: Exception, expected: type[JkBmsError]
) -> None:
    """Whatever bleak raises during use becomes an error of the library."""

    async def fail(*args: Any, **kwargs: Any) -> None:
        raise cause

    harness = power_on()
    harness.use_backend(type("Failing", (TappedBackend,), {method: fail}))

    with pytest.raises(expected) as caught:
        harness.read()

    assert caught.value.__cause__ is cause


@pytest.mark.usefixtures("home_assistant")
def test_missing_characteristic_clears_the_cached_services(power_on: PowerOn) -> None:
    """If the characteristic is missing, the services are discovered again."""
    harness = power_on(habits=STEADY, faults=Faults(missing_characteristic=1))

    assert_read(harness.read(), harness.bms)
    assert harness.close_reasons == ["by the central"] * 2
    assert harness.elapsed == exactly(0.4 + 2 * GATT_TIME + COMPLETE)


@pytest.mark.usefixtures("home_assistant")
def test_device_without_the_serial_service_is_no_jk_bms(power_on: PowerOn) -> None:
    """Without the serial service it is another device."""
    harness = power_on(faults=Faults(missing_characteristic=True))

    with pytest.raises(NotJkBmsError, match="no serial service"):
        harness.read()

    assert len(harness.bms.connections) == 2
    assert harness.commands == []


@pytest.mark.usefixtures("home_assistant")
def test_failed_subscription_clears_the_cached_services(power_on: PowerOn) -> None:
    """If subscribing fails, the cached services are cleared as well."""

    class Outdated(TappedBackend):
        clears = 0

        @override
        async def start_notify(self, *args: Any, **kwargs: Any) -> None:
            if not Outdated.clears:
                raise BleakGATTProtocolError(ERROR_CODES.INVALID_HANDLE)
            await super().start_notify(*args, **kwargs)

        @override
        async def clear_cache(self) -> bool:
            Outdated.clears += 1
            return await super().clear_cache()

    harness = power_on()
    harness.use_backend(Outdated)

    assert_read(harness.read(), harness.bms)
    assert harness.close_reasons == ["by the central"] * 2
    assert Outdated.clears == 1


@pytest.mark.usefixtures("home_assistant")
@pytest.mark.parametrize("fails", ["silent", "subscription"])
def test_cached_services_are_cleared_at_most_once_an_hour(
    power_on: PowerOn, fails: str
) -> None:
    """A battery that keeps failing does not get slower with every attempt."""

    class Failing(TappedBackend):
        clears = 0

        @override
        async def start_notify(self, *args: Any, **kwargs: Any) -> None:
            if fails == "subscription":
                raise BleakGATTProtocolError(ERROR_CODES.INVALID_HANDLE)
            await super().start_notify(*args, **kwargs)

        @override
        async def clear_cache(self) -> bool:
            Failing.clears += 1
            return await super().clear_cache()

    harness = power_on(faults=Faults(silent=fails == "silent"))
    harness.use_backend(Failing)

    for pause, clears in ((0.0, 1), (600.0, 1), (3600.0, 2)):
        harness.run(asyncio.sleep(pause))
        with pytest.raises(LinkError):
            harness.read()
        assert Failing.clears == clears


@pytest.mark.usefixtures("home_assistant")
@pytest.mark.parametrize("fault", [{"silent": True}, {"foreign": "neey"}])
def test_services_cached_while_incomplete_are_cleared_soon(
    power_on: PowerOn, fault: dict[str, Any]
) -> None:
    """Even within an hour of another clearing of the cache."""
    harness = power_on(habits=STEADY)
    assert_read(harness.read(), harness.bms)
    # Once they were cleared, they are discovered anew, and not completely
    harness.bms.faults = Faults(missing_characteristic=1, **fault)
    with pytest.raises(LinkError):
        harness.read()
    harness.bms.faults = Faults()

    assert_read(harness.read(), harness.bms)


@pytest.mark.usefixtures("home_assistant")
@pytest.mark.parametrize("gatt", ["B", "C", "D", "E"])
def test_replaced_radio_module_is_read(power_on: PowerOn, gatt: str) -> None:
    """Cached handles of another radio module make the battery appear silent."""
    harness = power_on(GARAGE)
    harness.read()
    harness.bms.battery.spec = replace(harness.bms.spec, gatt=gatt)

    assert_read(harness.read(), harness.bms)
    harness.read()
    assert len(harness.bms.connections) == 4


def test_missing_services_cache_logs_no_warning(
    power_on: PowerOn, caplog: pytest.LogCaptureFixture
) -> None:
    """Outside Home Assistant there is no cache to clear, which is no warning."""
    harness = power_on(GARAGE, faults=Faults(silent=True))

    with pytest.raises(SilentError):
        harness.read()

    assert len(harness.bms.connections) == 2
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_hanging_subscription_leaves_time_to_reconnect(power_on: PowerOn) -> None:
    """A subscription that hangs times out early enough for a second connection."""

    class Hanging(TappedBackend):
        hangs = True

        @override
        async def start_notify(self, *args: Any, **kwargs: Any) -> None:
            if Hanging.hangs:
                Hanging.hangs = False
                await asyncio.get_running_loop().create_future()
            await super().start_notify(*args, **kwargs)

    harness = power_on(habits=STEADY)
    harness.use_backend(Hanging)

    assert_read(harness.read(), harness.bms)
    assert len(harness.bms.connections) == 2


def test_empty_service_list_is_retried(power_on: PowerOn) -> None:
    """An empty service list on the first connection is retried."""
    harness = power_on(faults=Faults(no_services_first=1))

    assert_read(harness.read(), harness.bms)
    assert harness.close_reasons == ["by the central"] * 2


def test_connection_lost_before_the_services_are_read(
    power_on: PowerOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection may be lost right after it was established."""
    harness = power_on()

    class Unlucky(bleak_retry_connector.BleakClientWithServiceCache):
        @override
        async def connect(self, **kwargs: Any) -> None:
            await super().connect(**kwargs)
            harness.bms.drop()

    monkeypatch.setattr(bleak_retry_connector, "BleakClientWithServiceCache", Unlucky)

    with pytest.raises(NotReachableError, match="connection was lost"):
        harness.read()

    assert len(harness.bms.connections) == 2


@pytest.mark.parametrize("lost", [{1}, {1, 3}])
def test_failed_connect_attempt_does_not_end_the_next(
    power_on: PowerOn, monkeypatch: pytest.MonkeyPatch, lost: set[int]
) -> None:
    """The disconnect of a failed attempt does not end the connection after it."""
    harness = power_on()

    class Unlucky(bleak_retry_connector.BleakClientWithServiceCache):
        @override
        async def connect(self, **kwargs: Any) -> None:
            await super().connect(**kwargs)
            if len(harness.bms.connections) in lost:
                harness.bms.drop()
                await asyncio.sleep(0)
                raise BleakError("failed to discover services")

    monkeypatch.setattr(bleak_retry_connector, "BleakClientWithServiceCache", Unlucky)

    assert_read(harness.read(), harness.bms)
    assert len(harness.bms.connections) == 2


@pytest.mark.parametrize("kind", [0x01, 0x02, 0x03])
def test_lost_connection_is_retried_once(power_on: PowerOn, kind: int) -> None:
    """A read reconnects once after a lost connection, and not again."""
    harness = power_on(faults=Faults(disconnect_in=kind))

    with pytest.raises(NotReachableError, match="connection was lost"):
        harness.read()

    assert harness.close_reasons == ["fault: disconnect_in"] * 2
    assert harness.lookups == 2


@pytest.mark.parametrize("number", range(1, 14))
def test_connection_lost_at_any_notification_is_retried(
    power_on: PowerOn, number: int
) -> None:
    """A connection lost at any notification costs the time so far."""
    harness = power_on(habits=STEADY, faults=Faults(disconnect_after=number))
    harness.before_lookup[2] = lambda: setattr(harness.bms, "faults", Faults())

    assert_read(harness.read(), harness.bms)
    first, _ = harness.bms.connections
    assert first.reason == "fault: disconnect_after"
    assert harness.elapsed <= (first.closed or 0) + COMPLETE + 0.5


def test_nothing_is_sent_on_a_lost_connection(power_on: PowerOn) -> None:
    """No command is sent after the connection is lost."""
    harness = power_on(habits=STEADY)

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        loop.call_later(FIRST_COMMAND - 0.1, harness.bms.drop)
        return await harness.client.read()

    assert_read(harness.run(read()), harness.bms)
    assert harness.commands == [INFO, CELLS]


def test_unknown_layout_fails_after_three_frames(power_on: PowerOn) -> None:
    """Three frames that match no layout fail the read; the device information is kept."""
    harness = power_on(habits=STEADY)
    harness.bms.battery.override(voltage=99.0, enabled=0b1011)

    with pytest.raises(UnsupportedLayoutError) as caught:
        harness.read()

    assert caught.value.device_info
    assert caught.value.device_info.device_model == harness.bms.spec.model
    assert harness.client.statistics.rejected == 3
    assert harness.elapsed == exactly(COMPLETE + CADENCE)
    assert len(harness.bms.connections) == 1


@pytest.mark.parametrize("nonsense", [{"voltage": 99.0}, {"soc": 120}])
def test_one_implausible_frame_is_skipped(
    power_on: PowerOn, nonsense: dict[str, Any]
) -> None:
    """One frame with impossible values is skipped."""
    harness = power_on(habits=STEADY)
    harness.bms.battery.override(**nonsense)

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        loop.call_later(FIRST_CELLS + CADENCE / 2, harness.bms.battery.release)
        return await harness.client.read()

    assert_read(harness.run(read()), harness.bms)
    assert harness.client.statistics.rejected == 1
    assert harness.elapsed == exactly(COMPLETE + CADENCE)


@pytest.mark.parametrize("blanks", [1, 2])
def test_blank_frames_are_skipped(power_on: PowerOn, blanks: int) -> None:
    """One or two frames of zeros do not make a battery without cells."""
    harness = power_on(habits=STEADY, faults=Faults(blank_every=1))

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        over = FIRST_CELLS + (blanks - 0.5) * CADENCE
        loop.call_later(over, setattr, harness.bms, "faults", Faults())
        return await harness.client.read()

    assert_read(harness.run(read()), harness.bms)
    assert harness.elapsed == exactly(COMPLETE + blanks * CADENCE)


def test_implausible_frame_does_not_count_as_blank(power_on: PowerOn) -> None:
    """An implausible frame between two blank ones is not the third blank one."""
    harness = power_on(habits=STEADY, faults=Faults(blank_every=1))
    later = (Faults(glitch_every=1), Faults(blank_every=1), Faults())

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        for number, faults in enumerate(later):
            at = FIRST_CELLS + (number + 0.5) * CADENCE
            loop.call_later(at, setattr, harness.bms, "faults", faults)
        return await harness.client.read()

    assert_read(harness.run(read()), harness.bms)
    assert harness.elapsed == exactly(COMPLETE + 3 * CADENCE)


def test_board_without_cells_is_believed_after_three_frames(
    power_on: PowerOn,
) -> None:
    """A board without cells is believed when three frames show none."""
    harness = power_on(habits=STEADY, faults=Faults(blank_every=1))

    reading = harness.read()

    assert reading.cell_data.cell_voltage == ()
    assert reading.cell_data.remain_percent is None
    assert harness.elapsed == exactly(COMPLETE + 2 * CADENCE)


def test_device_information_without_a_model_is_no_answer(power_on: PowerOn) -> None:
    """Device information without a model name is rejected and requested again."""
    harness = power_on(changes={"model": ""})

    with pytest.raises(SilentError):
        harness.read()

    assert harness.commands == [INFO, INFO] * 2
    assert harness.client.statistics.rejected == 4


# Device lookup


@pytest.mark.parametrize("found", [True, False])
def test_retry_connector_gets_the_current_path(
    power_on: PowerOn, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    """The retry connector may look up the device again; without one it keeps the last."""
    harness = power_on()
    given: dict[str, Any] = {}

    async def establish(*args: Any, **kwargs: Any) -> Any:
        given.update(kwargs)
        return await bleak_retry_connector.establish_connection(*args, **kwargs)

    monkeypatch.setattr(connection_module, "establish_connection", establish)
    harness.read()
    old = harness.device
    new = harness.radio.device(harness.bms)
    harness.device = {True: new, False: None}[found]

    assert given["ble_device_callback"]() is {True: new, False: old}[found]


# Deadlines

SCENARIOS = {
    "hanging connection": Faults(hang_connection=True),
    "refused": Faults(refuse_connection=True),
    "no slot": Faults(refuse_connection=True, refuse_error="No free connection slot"),
    "silent": Faults(silent=True),
    "mute": IGNORES_INFO,
    "no stream": Faults(never_answer={CELLS}),
    "settings only": Faults(stream_stops_after=0),
    "foreign": Faults(foreign="neey"),
    "garbage": Faults(garbage=True),
    "pairing": Faults(pairing=True),
    "dropped": Faults(pairing="drop"),
    "no services": Faults(no_services_first=99),
    "missing characteristic": Faults(missing_characteristic=True),
    "lost in a frame": Faults(disconnect_in=0x02),
    "everything lost": Faults(lose=1.0),
    "everything late": Faults(delay=30.0),
}


@pytest.mark.parametrize("backend", [TappedBackend, HangingDisconnectBackend])
@pytest.mark.parametrize("faults", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_every_fault_ends_by_the_deadline(
    power_on: PowerOn, faults: Faults, backend: type[TappedBackend]
) -> None:
    """Whatever goes wrong, also while disconnecting, the deadline holds."""
    for deadline in (DEADLINE, 12.0, 4.5, 3.0, 1.0, 0.0):
        harness = power_on(faults=faults)
        harness.use_backend(backend)
        with pytest.raises(LinkError):
            harness.read(deadline=deadline)


MOMENTS = [round(0.07 + 0.12 * step, 2) for step in range(15)]
"""s from the start of a steady read to its end."""
CLOSING = CELLS_COMPLETE + GATT_TIME / 2


@pytest.mark.parametrize("backend", [TappedBackend, HangingDisconnectBackend])
@pytest.mark.parametrize("moment", MOMENTS)
def test_deadline_at_any_moment_disconnects(
    power_on: PowerOn, moment: float, backend: type[TappedBackend]
) -> None:
    """The battery is disconnected wherever the read is at the deadline."""
    harness = power_on(habits=STEADY)
    harness.use_backend(backend)

    with pytest.raises(LinkError):
        harness.read(deadline=moment + 3)


@pytest.mark.parametrize("backend", [TappedBackend, HangingDisconnectBackend])
def test_slow_disconnect_does_not_cost_the_reading(
    power_on: PowerOn, backend: type[TappedBackend]
) -> None:
    """A complete reading is returned although disconnecting takes longer than the deadline."""
    harness = power_on(habits=STEADY)
    harness.use_backend(backend)

    assert_read(harness.read(deadline=CLOSING + 3), harness.bms)
    assert harness.close_reasons == ["by the central"]


def test_no_second_connection_after_the_deadline(power_on: PowerOn) -> None:
    """A deadline that passes while the first connection closes prevents a second one."""
    harness = power_on(habits=STEADY, faults=Faults(missing_characteristic=True))
    moment = 0.4 + GATT_TIME + GATT_TIME / 2

    with pytest.raises(LinkError):
        harness.read(deadline=moment + 3)

    assert harness.close_reasons == ["by the central"]
    assert harness.lookups == 1


def test_unconfirmed_disconnect_is_abandoned(power_on: PowerOn) -> None:
    """A disconnect that is never confirmed is abandoned after 3 s."""
    harness = power_on(habits=STEADY)
    harness.use_backend(HangingDisconnectBackend)

    assert_read(harness.read(), harness.bms)
    assert harness.elapsed == exactly(CELLS_COMPLETE + 3)


def test_disconnect_error_does_not_cost_the_reading(power_on: PowerOn) -> None:
    """An error while disconnecting does not cost the reading."""

    class Failing(TappedBackend):
        @override
        async def disconnect(self) -> None:
            await super().disconnect()
            raise BleakError("Not connected")

    harness = power_on()
    harness.use_backend(Failing)

    assert_read(harness.read(), harness.bms)


# Disconnecting and cancelling


async def interrupted(
    harness: Harness, moment: float, *interruptions: Callable[[], Awaitable[object]]
) -> tuple[list[Any], float]:
    """Interrupt a read; return all results and how long they took."""
    loop = asyncio.get_running_loop()
    reading = asyncio.create_task(harness.client.read())
    await asyncio.sleep(moment)
    began = loop.time()
    results = await asyncio.gather(
        reading, *(act() for act in interruptions), return_exceptions=True
    )
    return results, loop.time() - began


@pytest.mark.parametrize("moment", MOMENTS)
def test_disconnect_ends_a_running_read(power_on: PowerOn, moment: float) -> None:
    """A running read fails at once, and then the battery is disconnected."""
    harness = power_on(habits=STEADY)

    (failed, ended), took = harness.run(
        interrupted(harness, moment, harness.client.disconnect)
    )

    assert isinstance(failed, LinkError)
    assert ended is None
    assert took <= GATT_TIME + ROUNDING
    assert len(harness.bms.connections) <= 1
    assert_read(harness.read(), harness.bms)


@pytest.mark.parametrize("moment", [0.2, 1.0, CLOSING])
@pytest.mark.parametrize("backend", [TappedBackend, HangingDisconnectBackend])
def test_disconnect_may_be_called_repeatedly(
    power_on: PowerOn, moment: float, backend: type[TappedBackend]
) -> None:
    """Unloading and stopping Home Assistant may both disconnect."""
    harness = power_on(habits=STEADY)
    harness.use_backend(backend)
    disconnect = harness.client.disconnect

    async def later() -> None:
        await asyncio.sleep(GATT_TIME / 4)
        await disconnect()

    (_, *ended), took = harness.run(
        interrupted(harness, moment, disconnect, disconnect, later)
    )

    assert ended == [None] * 3
    assert took <= 3 + ROUNDING


def test_no_second_connection_after_disconnect(power_on: PowerOn) -> None:
    """A read that was ended does not reconnect."""
    harness = power_on(faults=Faults(missing_characteristic=True))
    moment = 0.4 + GATT_TIME + GATT_TIME / 2

    (failed, ended), _ = harness.run(
        interrupted(harness, moment, harness.client.disconnect)
    )

    assert isinstance(failed, LinkError)
    assert ended is None
    assert harness.close_reasons == ["by the central"]
    assert harness.lookups == 1


def test_disconnect_ends_a_hanging_connection_attempt(power_on: PowerOn) -> None:
    """A connection attempt that hangs is ended at once."""
    harness = power_on(faults=Faults(hang_connection=True))

    (failed, _), took = harness.run(interrupted(harness, 7, harness.client.disconnect))

    assert isinstance(failed, NotReachableError)
    assert took <= ROUNDING


def test_disconnect_without_a_connection_returns_at_once(power_on: PowerOn) -> None:
    """Nothing needs to be disconnected before the first read or after one."""
    harness = power_on()

    harness.run(harness.client.disconnect())
    assert harness.elapsed == 0
    harness.read()
    harness.run(harness.client.disconnect())
    assert harness.elapsed == 0


@pytest.mark.parametrize("backend", [TappedBackend, HangingDisconnectBackend])
@pytest.mark.parametrize("moment", [*MOMENTS, CLOSING])
def test_cancelled_read_disconnects(
    power_on: PowerOn, moment: float, backend: type[TappedBackend]
) -> None:
    """A cancelled read disconnects the battery, also if cancelled while disconnecting."""
    harness = power_on(habits=STEADY)
    harness.use_backend(backend)

    async def read() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(moment):
                await harness.client.read()

    harness.run(read())

    assert harness.elapsed <= moment + 3 + ROUNDING
    assert set(harness.close_reasons) <= {"by the central", "failed after connecting"}
    harness.use_backend(TappedBackend)
    assert_read(harness.read(), harness.bms)


def test_second_read_waits_for_the_first(power_on: PowerOn) -> None:
    """A battery accepts one connection: the reads run one after the other."""
    harness = power_on(habits=STEADY)

    async def read_both() -> list[Reading]:
        return await asyncio.gather(harness.client.read(), harness.client.read())

    first, second = harness.run(read_both())

    earlier, later = harness.bms.connections
    assert earlier.closed is not None
    assert later.opened == exactly(earlier.closed + 0.4)
    assert first.cell_data.frame_counter != second.cell_data.frame_counter
    assert_read(second, harness.bms)


# The log


@pytest.mark.parametrize("model", MODELS)
def test_debug_log_has_no_secrets(
    power_on: PowerOn, caplog: pytest.LogCaptureFixture, model: str
) -> None:
    """The debug log shows what happens, and no secret."""
    caplog.set_level(logging.DEBUG)
    harness = power_on(model, faults=Faults(answer_after_attempts=1))

    harness.read()

    assert "battery: sending DEVICE_INFO" in caplog.text
    assert "battery: received Frame(type=<FrameType.CELL_DATA" in caplog.text
    spec = harness.bms.spec
    secrets = {
        spec.passcode,
        spec.short_passcode,
        spec.setup_passcode,
        spec.userdata,
        spec.userdata2,
    } - {""}
    logged = caplog.text.lower()
    forms = [
        form
        for secret in secrets
        for form in (secret.lower(), secret.encode().hex(), secret.encode().hex(" "))
    ]
    assert forms
    assert [form for form in forms if form in logged] == []


def test_client_logs_at_debug_only(
    power_on: PowerOn, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing above DEBUG is logged, even if a connection is lost: the caller decides."""
    caplog.set_level(logging.DEBUG)
    harness = power_on(faults=Faults(disconnect_in=0x03))

    with pytest.raises(NotReachableError):
        harness.read()

    ours = [r for r in caplog.records if r.name.startswith("custom_components.jk_bms")]
    assert {record.levelno for record in ours} == {logging.DEBUG}
    assert "battery: reconnecting once: The connection was lost" in caplog.text


def test_read_cancelled_twice_disconnects(power_on: PowerOn) -> None:
    """Home Assistant cancels the task when it stops, and may cancel it again."""
    closing = asyncio.Event()

    class Slow(TappedBackend):
        @override
        async def disconnect(self) -> None:
            closing.set()
            await asyncio.sleep(1)
            await super().disconnect()

    harness = power_on()
    harness.use_backend(Slow)

    async def stop() -> None:
        task = asyncio.create_task(harness.client.read())
        await closing.wait()
        task.cancel()
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not harness.bms.connected

    harness.run(stop())
    assert harness.close_reasons == ["by the central"]
