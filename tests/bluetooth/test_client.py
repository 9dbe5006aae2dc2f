"""Tests of the link to one battery: how it is chosen, what is read on it and how it ends."""

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
    ImplausibleFrameError,
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

from .bench import (
    CADENCE,
    CELLS,
    CELLS_COMPLETE,
    COMPLETE,
    DEADLINE,
    FIRST_COMMAND,
    GARAGE,
    HOUSE,
    INFO,
    MUTE,
    RIGHT_AWAY,
    SECOND_COMMAND,
    SETTLE,
    STEADY,
    Bench,
    StickyBackend,
    SwitchOn,
    TappedBackend,
    assert_read,
    exactly,
)


class CacheClearingWrapper(BleakClient):
    """As in Home Assistant: the backend knows where services are remembered."""

    async def clear_cache(self) -> bool:
        """Forget them."""
        return bool(await self._backend.clear_cache())


class CacheClearingClient(CacheClearingWrapper):
    """What Home Assistant puts in the place of the retry connector's class."""


@pytest.fixture
def home_assistant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exchange the class of the clients, as Home Assistant does when it starts."""
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
    """Only the serial service counts."""
    characteristic = Characteristic(3, FFE1, WRITE_BOTH_NOTIFY)
    service = Service(1, FFE2, (characteristic,))

    assert choose_characteristics(collection((service,))) is None


# What is read


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_read(switch_on: SwitchOn, model: str) -> None:
    """Each model is read completely with two commands on one connection, without a beep."""
    bench = switch_on(model)

    reading = bench.read()

    assert_read(reading, bench.bms)
    assert bench.commands == [INFO, CELLS]
    assert bench.bms.beeps == 0
    assert bench.reasons == ["by the central"]
    assert bench.found == 1
    assert bench.client.statistics.rejected == 0


@pytest.mark.parametrize("gatt", VARIANTS)
@pytest.mark.parametrize("model", ["JK-B2A16S 3.3.0", "JK-B2A24S15P 10.07", GARAGE])
def test_every_radio_module_is_read(switch_on: SwitchOn, model: str, gatt: str) -> None:
    """Any layout is read through any radio module, however it splits the frames."""
    bench = switch_on(model, changes={"gatt": gatt})

    assert_read(bench.read(), bench.bms)
    assert bench.bms.beeps == 0


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
    switch_on: SwitchOn, gatt: str, receive: int, send: int
) -> None:
    """Commands use write-without-response where it exists, and there is one subscription."""
    bench = switch_on(changes={"gatt": gatt})

    bench.read()

    assert bench.written == [(send, False)] * 2
    assert [handle for _, handle in bench.subscribed] == [receive]


def test_commands_are_written_with_response_if_required(
    switch_on: SwitchOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A characteristic that has only `write` is written with response."""
    service = Service(
        7, FFE0, (Characteristic(9, FFE1, ("write", "notify"), "uart", cccd=10),)
    )
    monkeypatch.setitem(VARIANTS, "F", replace(VARIANTS["F"], services=(service,)))
    bench = switch_on(changes={"gatt": "F"})

    assert_read(bench.read(), bench.bms)
    assert bench.written == [(9, True)] * 2


def test_data_overrule_the_version(
    switch_on: SwitchOn, caplog: pytest.LogCaptureFixture
) -> None:
    """If the version implies one layout and the data prove another, the data win."""
    bench = switch_on(changes={"software": "10.99"})

    reading = bench.read()

    assert reading.layout == "JK02_32S"
    assert reading.cell_data.remain_percent == bench.bms.battery.state.soc
    assert "battery: the data are JK02_32S" in caplog.text


@pytest.mark.parametrize("model", [HOUSE, "JK-B2A24S15P 10.07", "JK-B2A16S 3.3.0"])
def test_data_decide_without_a_version(switch_on: SwitchOn, model: str) -> None:
    """Without a usable version the data alone decide."""
    bench = switch_on(model)
    bench.bms.battery.spec = replace(bench.bms.spec, software="beta")

    reading = bench.read()

    assert reading.layout == MODELS[model].layout
    assert reading.device_info.software_version == "beta"


@pytest.mark.parametrize("double", [False, True])
def test_each_read_has_its_own_connection(switch_on: SwitchOn, double: bool) -> None:
    """Each read returns current values on a new connection; the statistics cover both."""
    bench = switch_on(faults=Faults(double=double))

    assert_read(bench.read(), bench.bms)
    bench.bms.battery.override(current=-12.5)
    assert bench.read().cell_data.battery_current == -12.5

    assert len(bench.bms.connections) == 2
    assert bench.client.statistics.good == 6
    assert bench.found == 2


# The sequence on the air


@pytest.mark.parametrize("model", sorted(MODELS.keys() - {"JK-B5A24S 8.0.3M"}))
def test_cell_command_follows_the_acknowledgement(
    switch_on: SwitchOn, model: str
) -> None:
    """0x97 is sent when the link has settled, 0x96 as soon as 0x97 is acknowledged."""
    bench = switch_on(model)

    bench.read()

    ((subscribed, _),) = bench.subscribed
    (first,), (second,) = bench.sent_at(INFO), bench.sent_at(CELLS)
    acknowledged = next(at for at, data in bench.heard if b"\xeb\xc8" in data)
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
    switch_on: SwitchOn, changes: dict[str, str], habits: dict[str, Any], wait: float
) -> None:
    """The second command waits up to 0.5 s for the acknowledgement."""
    bench = switch_on(changes=changes, habits=STEADY | habits)

    bench.read()

    # The info is complete with the last notification before the second command
    # that is not the acknowledgement alone
    (second,) = bench.sent_at(CELLS)
    complete = max(at for at, data in bench.heard if at <= second and len(data) > 20)
    assert second == exactly(complete + wait)


def test_wait_is_shorter_after_a_missing_acknowledgement(switch_on: SwitchOn) -> None:
    """If it did not come, the next connection waits only as long as it normally takes."""
    bench = switch_on(
        changes={"gatt": "A_OLD"}, habits=STEADY | {"acknowledges": False}
    )
    took = []
    for acknowledges in (False, False, True, True, False):
        bench.bms.behaviour = replace(
            bench.bms.behaviour, acknowledgement="own", acknowledges=acknowledges
        )
        bench.bms.commands.clear()
        bench.read()
        (first,), (second,) = bench.sent_at(INFO), bench.sent_at(CELLS)
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
    switch_on: SwitchOn, gatt: str, answer: float, first_cells: float
) -> None:
    """All the time is the radio's and the battery's, except for the settling time."""
    bench = switch_on(changes={"gatt": gatt}, habits=STEADY)

    bench.read()

    link = 0.4 + GATT_TIME + GATT_TIME + GATT_TIME
    assert bench.elapsed == exactly(link + SETTLE + answer + first_cells)


@pytest.mark.parametrize("delay", [0.2, 1.5, 3.0])
def test_slow_stream_is_not_requested_again(switch_on: SwitchOn, delay: float) -> None:
    """0x96 is not a poll: it is sent once, however late a proxy forwards the stream."""
    bench = switch_on(GARAGE, faults=Faults(delay=delay))

    assert_read(bench.read(), bench.bms)
    assert bench.commands == [INFO, CELLS]
    assert bench.bms.beeps == 0


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
    switch_on: SwitchOn, leftover: Callable[[Spec, tuple[Any, State, int]], bytes]
) -> None:
    """What an earlier session left in the module is not decoded."""
    bench = switch_on(habits=STEADY)
    spec, battery = bench.bms.spec, bench.bms.battery
    old = replace(battery.state, soc=1, current=-77.0)
    stale = leftover(spec, (battery.settings, old, 7))
    bench.bms.faults = Faults(stale=tuple(chunks(bench.bms.variant, stale)))

    assert_read(bench.read(), bench.bms)
    assert bench.elapsed == exactly(COMPLETE)
    assert bench.client.statistics.rejected == 0


def test_running_stream_is_not_device_information(switch_on: SwitchOn) -> None:
    """Cell data that still stream from an earlier session are skipped."""
    bench = switch_on(habits=STEADY)
    battery = bench.bms.battery

    async def read() -> Reading:
        frame = frames.cell_frame(bench.bms.spec, replace(battery.state, soc=1), 9)
        loop = asyncio.get_running_loop()
        for moment in (SETTLE / 2, SETTLE, SETTLE + 0.05):
            loop.call_later(
                FIRST_COMMAND - SETTLE + moment, lambda: bench.tell(bytearray(frame))
            )
        return await bench.client.read()

    assert_read(bench.run(read()), bench.bms)
    assert bench.elapsed == exactly(COMPLETE)


@pytest.mark.parametrize("count", [1, 2])
def test_running_stream_does_not_cost_the_settings(
    switch_on: SwitchOn, count: int
) -> None:
    """Cell data that arrive before the settings do not end the read without them."""
    bench = switch_on(habits=STEADY)
    battery = bench.bms.battery

    async def read() -> Reading:
        frame = frames.cell_frame(bench.bms.spec, replace(battery.state, soc=1), 9)
        loop = asyncio.get_running_loop()
        for number in range(count):
            loop.call_later(
                SECOND_COMMAND + (number + 1) * 0.02,
                lambda: bench.tell(bytearray(frame)),
            )
        return await bench.client.read()

    assert_read(bench.run(read()), bench.bms)
    assert bench.elapsed == exactly(COMPLETE)


# Silence


def test_unanswered_commands_are_repeated_once(switch_on: SwitchOn) -> None:
    """Each command is repeated once after its own timeout."""
    bench = switch_on(habits=STEADY, faults=Faults(answer_after_attempts=1))

    assert_read(bench.read(), bench.bms)
    assert bench.commands == [INFO, INFO, CELLS, CELLS]
    assert [c.at for c in bench.bms.commands] == exactly(
        [
            FIRST_COMMAND,
            FIRST_COMMAND + 5,
            SECOND_COMMAND + 5,
            SECOND_COMMAND + 5 + 6,
        ]
    )
    assert bench.elapsed == exactly(COMPLETE + 5 + 6)
    assert len(bench.bms.connections) == 1


def test_silent_battery_fails_after_two_connections(switch_on: SwitchOn) -> None:
    """A connection without any data is closed, and so is the second one."""
    bench = switch_on(faults=Faults(silent=True))

    with pytest.raises(SilentError):
        bench.read()

    assert bench.commands == [INFO, INFO] * 2
    begins = [connection.opened for connection in bench.bms.connections]
    offsets = [
        command.at - begin
        for command, begin in zip(
            bench.bms.commands, [b for b in begins for _ in (1, 2)], strict=True
        )
    ]
    # The services are known the second time
    first = 2 * GATT_TIME + SETTLE
    again = GATT_TIME + SETTLE
    assert offsets == exactly([first, first + 5, again, again + 5])
    assert bench.reasons == ["by the central"] * 2
    assert bench.elapsed == exactly(2 * (0.4 + 10 + GATT_TIME) + first + again)


@pytest.mark.parametrize("model", [HOUSE, GARAGE])
def test_battery_that_disconnects_without_answering_is_silent(
    switch_on: SwitchOn, model: str
) -> None:
    """A battery that answers nothing and disconnects first is still a silent one."""
    bench = switch_on(model, faults=MUTE)

    with pytest.raises(SilentError):
        bench.read()

    assert bench.reasons == ["no command"] * 2
    assert bench.elapsed == exactly(2 * (0.4 + 10))


def test_second_connection_succeeds_after_a_silent_one(switch_on: SwitchOn) -> None:
    """The first connection gets no answer and drops after 10 s, the second one works."""
    bench = switch_on(habits=STEADY, faults=MUTE)
    bench.before[2] = lambda: setattr(bench.bms, "faults", Faults())

    assert_read(bench.read(), bench.bms)
    assert bench.reasons == ["no command", "by the central"]
    assert bench.elapsed == exactly(0.4 + 10 + COMPLETE - GATT_TIME)


def test_missing_stream_fails_after_twelve_seconds(switch_on: SwitchOn) -> None:
    """0x96 is repeated after 6 s; after 12 s the connection is closed."""
    bench = switch_on(habits=STEADY, faults=Faults(never_answer={CELLS}))

    with pytest.raises(SilentError):
        bench.read()

    first, again = bench.bms.connections
    assert bench.commands == [INFO, CELLS, CELLS] * 2
    assert bench.sent_at(CELLS)[:2] == exactly([SECOND_COMMAND, SECOND_COMMAND + 6])
    assert first.closed == exactly(SECOND_COMMAND + 12 + GATT_TIME)
    assert again.closed == exactly(DEADLINE - 3 + GATT_TIME)


def test_settings_alone_are_no_stream(switch_on: SwitchOn) -> None:
    """A battery that answers 0x96 but does not stream is given up."""
    bench = switch_on(habits=STEADY, faults=Faults(stream_stops_after=0))
    bench.before[2] = lambda: setattr(bench.bms, "faults", Faults())

    assert_read(bench.read(), bench.bms)
    assert bench.commands == [INFO, CELLS, CELLS, INFO, CELLS]
    # 6 s after each settings frame, which takes four notifications
    settings = 0.08 + 3 * 0.025
    first, _ = bench.bms.connections
    assert first.closed == exactly(SECOND_COMMAND + 2 * (settings + 6) + GATT_TIME)


@pytest.mark.parametrize("habits", [{}, {"reply_gap": 0.3}, {"acknowledges": False}])
def test_cell_command_is_not_too_early(
    switch_on: SwitchOn, habits: dict[str, Any]
) -> None:
    """Inverter boards never stream after an early 0x96: ours is not early."""
    bench = switch_on(GARAGE, habits=habits)

    assert bench.bms.behaviour.early_96_is_fatal
    assert_read(bench.read(), bench.bms)
    assert len(bench.bms.connections) == 1


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
    switch_on: SwitchOn, faults: Faults, late: float
) -> None:
    """One bad notification costs the time to the next frame, not the reading."""
    bench = switch_on(habits=STEADY, faults=faults)

    assert_read(bench.read(), bench.bms)
    assert bench.elapsed == exactly(COMPLETE + late)
    assert len(bench.bms.connections) == 1


@pytest.mark.parametrize("hit", ["lose", "damage"])
@pytest.mark.parametrize("number", [6, 8])
def test_lost_settings_are_left_out(switch_on: SwitchOn, hit: str, number: int) -> None:
    """Lost settings cost two frames of waiting, but no reconnect and no beep."""
    bench = switch_on(habits=STEADY, faults=Faults(**{hit: {number}}))

    reading = bench.read()

    assert reading.settings is None
    assert reading.cell_data.remain_percent == bench.bms.battery.state.soc
    assert bench.commands == [INFO, CELLS]
    assert bench.elapsed == exactly(COMPLETE + 2 * CADENCE)


def test_implausible_settings_are_left_out(switch_on: SwitchOn) -> None:
    """Impossible settings are counted and left out."""
    bench = switch_on()
    battery = bench.bms.battery
    battery.settings = replace(battery.settings, cell_count=99)

    reading = bench.read()

    assert reading.settings is None
    assert reading.cell_data.cell_voltage == exactly(battery.state.cells, abs=0.0006)
    assert bench.client.statistics.rejected == 1


@pytest.mark.parametrize("gatt", ["A", "B", "C", "D"])
def test_reading_on_a_bad_radio_is_right(switch_on: SwitchOn, gatt: str) -> None:
    """On a bad link a reading is late, perhaps without settings, never wrong."""
    settings = switch_on(GARAGE, changes={"gatt": gatt}).read().settings

    for seed in range(12):
        faults = Faults(lose=0.02, damage=0.02, seed=seed)
        bench = switch_on(GARAGE, changes={"gatt": gatt}, faults=faults)
        reading = bench.read()
        assert reading.settings in (settings, None)
        assert_read(replace(reading, settings=settings), bench.bms)


# Errors


def test_battery_out_of_range_is_not_connected(switch_on: SwitchOn) -> None:
    """Without a path to the battery no connection is attempted."""
    bench = switch_on()
    bench.device = None

    with pytest.raises(
        NotReachableError, match="No Bluetooth adapter can see the battery"
    ):
        bench.read()

    assert bench.elapsed == 0
    assert bench.connecting == []


def test_path_is_looked_up_for_the_second_connection(switch_on: SwitchOn) -> None:
    """The device is looked up again before the second connection."""
    bench = switch_on(faults=MUTE)
    bench.before[2] = lambda: setattr(bench, "device", None)

    with pytest.raises(
        NotReachableError, match="No Bluetooth adapter can see the battery"
    ):
        bench.read()

    assert len(bench.connecting) == 1


def test_refused_connection_is_not_retried_by_the_client(switch_on: SwitchOn) -> None:
    """Only the retry connector repeats refused connections."""
    bench = switch_on(faults=Faults(refuse_connection=True))

    with pytest.raises(NotReachableError, match="Connection refused"):
        bench.read()

    assert len(bench.connecting) == 4
    assert bench.found == 1
    assert bench.elapsed < 1


def test_one_refused_connection_is_harmless(switch_on: SwitchOn) -> None:
    """A single refusal is retried and the read succeeds."""
    bench = switch_on(faults=Faults(refuse_connection=1))

    assert_read(bench.read(), bench.bms)


def test_hanging_connection_ends_with_the_deadline(switch_on: SwitchOn) -> None:
    """A connection attempt that never returns ends with the deadline."""
    bench = switch_on(faults=Faults(hang_connection=True))

    with pytest.raises(NotReachableError, match="did not respond in time"):
        bench.read()

    assert bench.elapsed == exactly(DEADLINE - 3)


def test_battery_without_power_is_not_reachable(switch_on: SwitchOn) -> None:
    """A battery that does not respond is not reachable, and the message gives the reason."""
    bench = switch_on()
    bench.bms.power_off()

    with pytest.raises(NotReachableError, match="did not respond in time"):
        bench.read()

    assert len(bench.connecting) == 2


def test_full_adapter_fails_as_no_free_slot(switch_on: SwitchOn) -> None:
    """The retry connector would retry for 36 s: the reason is known before."""
    bench = switch_on()
    bench.radio.slots = 0

    with pytest.raises(NoFreeSlotError, match="slot"):
        bench.read()

    assert bench.elapsed == exactly(DEADLINE - 3)


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
    switch_on: SwitchOn, text: str, deadline: float
) -> None:
    """Home Assistant and its proxies word it differently."""
    bench = switch_on(faults=Faults(refuse_connection=True, refuse_error=text))

    with pytest.raises(NoFreeSlotError, match="slot|available connection"):
        bench.read(deadline=deadline)


def test_slot_that_becomes_free_is_used(switch_on: SwitchOn) -> None:
    """While all slots are taken, connecting is retried."""
    bench = switch_on(habits=STEADY)
    bench.radio.slots = 0

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        loop.call_later(5, setattr, bench.radio, "slots", 1)
        return await bench.client.read()

    assert_read(bench.run(read()), bench.bms)
    assert bench.elapsed == exactly(8 + COMPLETE)


def test_latest_connect_error_is_reported(switch_on: SwitchOn) -> None:
    """The last obstacle counts, not the first."""
    bench = switch_on()
    bench.radio.slots = 0

    async def read() -> Reading:
        def free() -> None:
            bench.radio.slots = 1
            bench.bms.faults = Faults(hang_connection=True)

        asyncio.get_running_loop().call_later(5, free)
        return await bench.client.read()

    with pytest.raises(NotReachableError, match="in time"):
        bench.run(read())


def test_pairing_error_while_connecting_is_recognised(switch_on: SwitchOn) -> None:
    """Some adapters pair before they report the connection."""
    bench = switch_on(
        faults=Faults(refuse_connection=True, refuse_error="Authentication Failed")
    )

    with pytest.raises(PairingRequiredError):
        bench.read()


def test_advice_about_slots_is_not_taken_for_the_reason(switch_on: SwitchOn) -> None:
    """The advice of the retry connector mentions slots although there are enough."""
    bench = switch_on(
        faults=Faults(
            refuse_connection=True, refuse_error="error: ESP_GATT_CONN_CONN_CANCEL"
        )
    )

    with pytest.raises(NotReachableError, match="ESP_GATT_CONN_CONN_CANCEL"):
        bench.read(deadline=60)


@pytest.mark.parametrize("faults", [Faults(foreign="neey"), Faults(garbage=True)])
@pytest.mark.parametrize("gatt", ["A", "B", "C"])
def test_device_with_another_protocol_is_no_jk_bms(
    switch_on: SwitchOn, faults: Faults, gatt: str
) -> None:
    """A device that answers with another protocol is not a JK BMS."""
    bench = switch_on(changes={"gatt": gatt}, faults=faults)

    with pytest.raises(NotJkBmsError):
        bench.read()


@pytest.mark.parametrize("drops", [False, True])
def test_good_frame_proves_a_jk_bms(switch_on: SwitchOn, drops: bool) -> None:
    """A good frame proves a JK BMS, however it was split and whatever follows."""
    bench = switch_on(changes={"gatt": "D"}, faults=Faults(never_answer={INFO, CELLS}))
    frame = frames.info_frame(
        bench.bms.spec, bench.bms.battery.settings, bench.bms.battery.state, 7
    )

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        pieces = (frame[:2], frame[2:150], frame[150:])
        for number, piece in enumerate(pieces):
            loop.call_later(
                FIRST_COMMAND + 0.1 + number * 0.01,
                lambda piece=piece: bench.tell(bytearray(piece)),
            )
        if drops:
            loop.call_later(FIRST_COMMAND + 1, bench.bms.drop)
        return await bench.client.read(deadline=9)

    with pytest.raises(SilentError):
        bench.run(read())


@pytest.mark.parametrize("deadline", [4, 8, 12])
def test_other_protocol_is_recognised_at_the_deadline(
    switch_on: SwitchOn, deadline: float
) -> None:
    """It is also recognised if the deadline comes first."""
    bench = switch_on(faults=Faults(foreign="neey"))

    with pytest.raises(NotJkBmsError):
        bench.read(deadline=deadline)


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
    switch_on: SwitchOn, said: list[bytes], expected: type[JkBmsError]
) -> None:
    """One sign of the protocol among other bytes is enough."""
    bench = switch_on(faults=Faults(silent=True))

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        for data in said:
            loop.call_later(
                FIRST_COMMAND + 0.1, lambda data=data: bench.tell(bytearray(data))
            )
        return await bench.client.read(deadline=8)

    with pytest.raises(expected):
        bench.run(read())


def test_pairing_requirement_is_not_retried(switch_on: SwitchOn) -> None:
    """A battery that requires a passkey is not connected twice."""
    bench = switch_on(faults=Faults(pairing=True))

    with pytest.raises(PairingRequiredError):
        bench.read()

    assert bench.reasons == ["by the central"]


def test_unpaired_battery_that_disconnects_is_silent(switch_on: SwitchOn) -> None:
    """Some batteries only disconnect an unpaired client: to the client that is silence."""
    bench = switch_on(faults=Faults(pairing="drop"))

    with pytest.raises(SilentError):
        bench.read()

    assert bench.reasons == ["not paired"] * 2


ERROR_CODES = BleakGATTProtocolErrorCode
BLUEZ = "org.bluez.Error."
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
        BleakError("GATT Error handle=18 error=5 Insufficient authentication"),
        PairingRequiredError,
        id="ESPHome",
    ),
    pytest.param(
        BleakError("Pairing failed due to error: 97"), PairingRequiredError, id="proxy"
    ),
    pytest.param(
        BleakGATTProtocolError(ERROR_CODES.UNLIKELY_ERROR),
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
    switch_on: SwitchOn, method: str, cause: Exception, expected: type[JkBmsError]
) -> None:
    """Whatever bleak raises during use becomes an error of the library."""

    async def fail(*args: Any, **kwargs: Any) -> None:
        raise cause

    bench = switch_on()
    bench.use(type("Failing", (TappedBackend,), {method: fail}))

    with pytest.raises(expected) as caught:
        bench.read()

    assert caught.value.__cause__ is cause


@pytest.mark.usefixtures("home_assistant")
def test_missing_characteristic_clears_the_cached_services(switch_on: SwitchOn) -> None:
    """If the characteristic is missing, the services are discovered again."""
    bench = switch_on(habits=STEADY, faults=Faults(missing_characteristic=1))

    assert_read(bench.read(), bench.bms)
    assert bench.reasons == ["by the central"] * 2
    assert bench.elapsed == exactly(0.4 + 2 * GATT_TIME + COMPLETE)


@pytest.mark.usefixtures("home_assistant")
def test_device_without_the_serial_service_is_no_jk_bms(switch_on: SwitchOn) -> None:
    """Without the serial service it is another device."""
    bench = switch_on(faults=Faults(missing_characteristic=True))

    with pytest.raises(NotJkBmsError, match="no serial service"):
        bench.read()

    assert len(bench.bms.connections) == 2
    assert bench.commands == []


@pytest.mark.usefixtures("home_assistant")
def test_failed_subscription_clears_the_cached_services(switch_on: SwitchOn) -> None:
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

    bench = switch_on()
    bench.use(Outdated)

    assert_read(bench.read(), bench.bms)
    assert bench.reasons == ["by the central"] * 2
    assert Outdated.clears == 1


@pytest.mark.usefixtures("home_assistant")
@pytest.mark.parametrize("gatt", ["B", "C", "D", "E"])
def test_replaced_radio_module_is_read(switch_on: SwitchOn, gatt: str) -> None:
    """Cached handles of another radio module make the battery appear silent."""
    bench = switch_on(GARAGE)
    bench.read()
    bench.bms.battery.spec = replace(bench.bms.spec, gatt=gatt)

    assert_read(bench.read(), bench.bms)
    bench.read()
    assert len(bench.bms.connections) == 4


def test_missing_services_cache_logs_no_warning(
    switch_on: SwitchOn, caplog: pytest.LogCaptureFixture
) -> None:
    """Outside Home Assistant there is no cache to clear, which is no warning."""
    bench = switch_on(GARAGE, faults=Faults(silent=True))

    with pytest.raises(SilentError):
        bench.read()

    assert len(bench.bms.connections) == 2
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_hanging_subscription_leaves_time_to_reconnect(switch_on: SwitchOn) -> None:
    """A subscription that hangs times out early enough for a second connection."""

    class Hanging(TappedBackend):
        hangs = True

        @override
        async def start_notify(self, *args: Any, **kwargs: Any) -> None:
            if Hanging.hangs:
                Hanging.hangs = False
                await asyncio.get_running_loop().create_future()
            await super().start_notify(*args, **kwargs)

    bench = switch_on(habits=STEADY)
    bench.use(Hanging)

    assert_read(bench.read(), bench.bms)
    assert len(bench.bms.connections) == 2


def test_empty_service_list_is_retried(switch_on: SwitchOn) -> None:
    """An empty service list on the first connection is retried."""
    bench = switch_on(faults=Faults(no_services_first=1))

    assert_read(bench.read(), bench.bms)
    assert bench.reasons == ["by the central"] * 2


def test_connection_lost_before_the_services_are_read(
    switch_on: SwitchOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection may be lost right after it was established."""
    bench = switch_on()

    class Unlucky(bleak_retry_connector.BleakClientWithServiceCache):
        @override
        async def connect(self, **kwargs: Any) -> None:
            await super().connect(**kwargs)
            bench.bms.drop()

    monkeypatch.setattr(bleak_retry_connector, "BleakClientWithServiceCache", Unlucky)

    with pytest.raises(NotReachableError, match="connection was lost"):
        bench.read()

    assert len(bench.bms.connections) == 2


@pytest.mark.parametrize("lost", [{1}, {1, 3}])
def test_failed_connect_attempt_does_not_end_the_next(
    switch_on: SwitchOn, monkeypatch: pytest.MonkeyPatch, lost: set[int]
) -> None:
    """The disconnect of a failed attempt does not end the connection after it."""
    bench = switch_on()

    class Unlucky(bleak_retry_connector.BleakClientWithServiceCache):
        @override
        async def connect(self, **kwargs: Any) -> None:
            await super().connect(**kwargs)
            if len(bench.bms.connections) in lost:
                bench.bms.drop()
                await asyncio.sleep(0)
                raise BleakError("failed to discover services")

    monkeypatch.setattr(bleak_retry_connector, "BleakClientWithServiceCache", Unlucky)

    assert_read(bench.read(), bench.bms)
    assert len(bench.bms.connections) == 2


@pytest.mark.parametrize("kind", [0x01, 0x02, 0x03])
def test_lost_connection_is_retried_once(switch_on: SwitchOn, kind: int) -> None:
    """A read reconnects once after a lost connection, and not again."""
    bench = switch_on(faults=Faults(disconnect_in=kind))

    with pytest.raises(NotReachableError, match="connection was lost"):
        bench.read()

    assert bench.reasons == ["fault: disconnect_in"] * 2
    assert bench.found == 2


@pytest.mark.parametrize("number", range(1, 14))
def test_connection_lost_at_any_notification_is_retried(
    switch_on: SwitchOn, number: int
) -> None:
    """A connection lost at any notification costs the time so far."""
    bench = switch_on(habits=STEADY, faults=Faults(disconnect_after=number))
    bench.before[2] = lambda: setattr(bench.bms, "faults", Faults())

    assert_read(bench.read(), bench.bms)
    first, _ = bench.bms.connections
    assert first.reason == "fault: disconnect_after"
    assert bench.elapsed <= (first.closed or 0) + COMPLETE + 0.5


def test_nothing_is_sent_on_a_lost_connection(switch_on: SwitchOn) -> None:
    """No command is sent after the connection is lost."""
    bench = switch_on(habits=STEADY)

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        loop.call_later(FIRST_COMMAND - 0.1, bench.bms.drop)
        return await bench.client.read()

    assert_read(bench.run(read()), bench.bms)
    assert bench.commands == [INFO, CELLS]


def test_unknown_layout_fails_after_three_frames(switch_on: SwitchOn) -> None:
    """Three frames that match no layout fail the read; the device information is kept."""
    bench = switch_on(habits=STEADY)
    bench.bms.battery.override(voltage=99.0, enabled=0b1011)

    with pytest.raises(UnsupportedLayoutError) as caught:
        bench.read()

    assert caught.value.device_info
    assert caught.value.device_info.device_model == bench.bms.spec.model
    assert bench.client.statistics.rejected == 3
    assert bench.elapsed == exactly(COMPLETE + 2 * CADENCE)
    assert len(bench.bms.connections) == 1


def test_implausible_data_fail_after_three_frames(switch_on: SwitchOn) -> None:
    """Three frames with impossible values fail the read."""
    bench = switch_on(habits=STEADY)
    bench.bms.battery.override(soc=120)

    with pytest.raises(ImplausibleFrameError):
        bench.read()

    assert bench.client.statistics.rejected == 3
    assert bench.elapsed == exactly(COMPLETE + 2 * CADENCE)
    assert len(bench.bms.connections) == 1


@pytest.mark.parametrize("nonsense", [{"voltage": 99.0}, {"soc": 120}])
def test_one_implausible_frame_is_skipped(
    switch_on: SwitchOn, nonsense: dict[str, Any]
) -> None:
    """One frame with impossible values is skipped."""
    bench = switch_on(habits=STEADY)
    bench.bms.battery.override(**nonsense)

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        loop.call_later(CELLS_COMPLETE + CADENCE / 2, bench.bms.battery.release)
        return await bench.client.read()

    assert_read(bench.run(read()), bench.bms)
    assert bench.client.statistics.rejected == 1
    assert bench.elapsed == exactly(COMPLETE + CADENCE)


@pytest.mark.parametrize("blanks", [1, 2])
def test_blank_frames_are_skipped(switch_on: SwitchOn, blanks: int) -> None:
    """One or two frames of zeros do not make a battery without cells."""
    bench = switch_on(habits=STEADY, faults=Faults(blank_every=1))

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        over = CELLS_COMPLETE + (blanks - 0.5) * CADENCE
        loop.call_later(over, setattr, bench.bms, "faults", Faults())
        return await bench.client.read()

    assert_read(bench.run(read()), bench.bms)
    assert bench.elapsed == exactly(COMPLETE + blanks * CADENCE)


def test_implausible_frame_does_not_count_as_blank(switch_on: SwitchOn) -> None:
    """An implausible frame between two blank ones is not the third blank one."""
    bench = switch_on(habits=STEADY, faults=Faults(blank_every=1))
    later = (Faults(glitch_every=1), Faults(blank_every=1), Faults())

    async def read() -> Reading:
        loop = asyncio.get_running_loop()
        for number, faults in enumerate(later):
            at = CELLS_COMPLETE + (number + 0.5) * CADENCE
            loop.call_later(at, setattr, bench.bms, "faults", faults)
        return await bench.client.read()

    assert_read(bench.run(read()), bench.bms)
    assert bench.elapsed == exactly(COMPLETE + 3 * CADENCE)


def test_board_without_cells_is_believed_after_three_frames(
    switch_on: SwitchOn,
) -> None:
    """A board without cells is believed when three frames show none."""
    bench = switch_on(habits=STEADY, faults=Faults(blank_every=1))

    reading = bench.read()

    assert reading.cell_data.cell_voltage == ()
    assert reading.cell_data.remain_percent is None
    assert bench.elapsed == exactly(COMPLETE + 2 * CADENCE)


def test_device_information_without_a_model_is_no_answer(switch_on: SwitchOn) -> None:
    """Device information without a model name is rejected and requested again."""
    bench = switch_on(changes={"model": ""})

    with pytest.raises(SilentError):
        bench.read()

    assert bench.commands == [INFO, INFO] * 2
    assert bench.client.statistics.rejected == 4


# The path to the battery


@pytest.mark.parametrize("found", [True, False])
def test_retry_connector_gets_the_current_path(
    switch_on: SwitchOn, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    """The retry connector may look up the device again; without one it keeps the last."""
    bench = switch_on()
    given: dict[str, Any] = {}

    async def establish(*args: Any, **kwargs: Any) -> Any:
        given.update(kwargs)
        return await bleak_retry_connector.establish_connection(*args, **kwargs)

    monkeypatch.setattr(connection_module, "establish_connection", establish)
    bench.read()
    old = bench.device
    new = bench.radio.device(bench.bms)
    bench.device = {True: new, False: None}[found]

    assert given["ble_device_callback"]() is {True: new, False: old}[found]


# Deadlines

SCENARIOS = {
    "hanging connection": Faults(hang_connection=True),
    "refused": Faults(refuse_connection=True),
    "no slot": Faults(refuse_connection=True, refuse_error="No free connection slot"),
    "silent": Faults(silent=True),
    "mute": MUTE,
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


@pytest.mark.parametrize("backend", [TappedBackend, StickyBackend])
@pytest.mark.parametrize("faults", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_every_fault_ends_by_the_deadline(
    switch_on: SwitchOn, faults: Faults, backend: type[TappedBackend]
) -> None:
    """Whatever goes wrong, also while disconnecting, the deadline holds."""
    for deadline in (DEADLINE, 12.0, 4.5, 3.0, 1.0, 0.0):
        bench = switch_on(faults=faults)
        bench.use(backend)
        with pytest.raises(LinkError):
            bench.read(deadline=deadline)


MOMENTS = [round(0.07 + 0.12 * step, 2) for step in range(15)]
"""From the beginning of a steady read until its end."""
CLOSING = CELLS_COMPLETE + GATT_TIME / 2


@pytest.mark.parametrize("backend", [TappedBackend, StickyBackend])
@pytest.mark.parametrize("moment", MOMENTS)
def test_deadline_at_any_moment_disconnects(
    switch_on: SwitchOn, moment: float, backend: type[TappedBackend]
) -> None:
    """The battery is disconnected wherever the read is at the deadline."""
    bench = switch_on(habits=STEADY)
    bench.use(backend)

    with pytest.raises(LinkError):
        bench.read(deadline=moment + 3)


@pytest.mark.parametrize("backend", [TappedBackend, StickyBackend])
def test_slow_disconnect_does_not_cost_the_reading(
    switch_on: SwitchOn, backend: type[TappedBackend]
) -> None:
    """A complete reading is returned although disconnecting takes longer than the deadline."""
    bench = switch_on(habits=STEADY)
    bench.use(backend)

    assert_read(bench.read(deadline=CLOSING + 3), bench.bms)
    assert bench.reasons == ["by the central"]


def test_no_second_connection_after_the_deadline(switch_on: SwitchOn) -> None:
    """A deadline that passes while the first connection closes prevents a second one."""
    bench = switch_on(habits=STEADY, faults=Faults(missing_characteristic=True))
    moment = 0.4 + GATT_TIME + GATT_TIME / 2

    with pytest.raises(LinkError):
        bench.read(deadline=moment + 3)

    assert bench.reasons == ["by the central"]
    assert bench.found == 1


def test_unconfirmed_disconnect_is_abandoned(switch_on: SwitchOn) -> None:
    """A disconnect that is never confirmed is abandoned after 3 s."""
    bench = switch_on(habits=STEADY)
    bench.use(StickyBackend)

    assert_read(bench.read(), bench.bms)
    assert bench.elapsed == exactly(CELLS_COMPLETE + 3)


def test_disconnect_error_does_not_cost_the_reading(switch_on: SwitchOn) -> None:
    """An error while disconnecting does not cost the reading."""

    class Failing(TappedBackend):
        @override
        async def disconnect(self) -> None:
            await super().disconnect()
            raise BleakError("Not connected")

    bench = switch_on()
    bench.use(Failing)

    assert_read(bench.read(), bench.bms)


# Ending a read from outside


async def interrupted(
    bench: Bench, moment: float, *interruptions: Callable[[], Awaitable[object]]
) -> tuple[list[Any], float]:
    """Read, and interrupt that; return what came of all and how long it took."""
    loop = asyncio.get_running_loop()
    reading = asyncio.create_task(bench.client.read())
    await asyncio.sleep(moment)
    began = loop.time()
    results = await asyncio.gather(
        reading, *(act() for act in interruptions), return_exceptions=True
    )
    return results, loop.time() - began


@pytest.mark.parametrize("moment", MOMENTS)
def test_disconnect_ends_a_running_read(switch_on: SwitchOn, moment: float) -> None:
    """A running read fails at once, and then the battery is disconnected."""
    bench = switch_on(habits=STEADY)

    (failed, ended), took = bench.run(
        interrupted(bench, moment, bench.client.disconnect)
    )

    assert isinstance(failed, LinkError)
    assert ended is None
    assert took <= GATT_TIME + RIGHT_AWAY
    assert len(bench.bms.connections) <= 1
    assert_read(bench.read(), bench.bms)


@pytest.mark.parametrize("moment", [0.2, 1.0, CLOSING])
@pytest.mark.parametrize("backend", [TappedBackend, StickyBackend])
def test_disconnect_may_be_called_repeatedly(
    switch_on: SwitchOn, moment: float, backend: type[TappedBackend]
) -> None:
    """Unloading and stopping Home Assistant may both disconnect."""
    bench = switch_on(habits=STEADY)
    bench.use(backend)
    disconnect = bench.client.disconnect

    async def later() -> None:
        await asyncio.sleep(GATT_TIME / 4)
        await disconnect()

    (_, *ended), took = bench.run(
        interrupted(bench, moment, disconnect, disconnect, later)
    )

    assert ended == [None] * 3
    assert took <= 3 + RIGHT_AWAY


def test_no_second_connection_after_disconnect(switch_on: SwitchOn) -> None:
    """A read that was ended does not reconnect."""
    bench = switch_on(faults=Faults(missing_characteristic=True))
    moment = 0.4 + GATT_TIME + GATT_TIME / 2

    (failed, ended), _ = bench.run(interrupted(bench, moment, bench.client.disconnect))

    assert isinstance(failed, LinkError)
    assert ended is None
    assert bench.reasons == ["by the central"]
    assert bench.found == 1


def test_disconnect_ends_a_hanging_connection_attempt(switch_on: SwitchOn) -> None:
    """A connection attempt that hangs is ended at once."""
    bench = switch_on(faults=Faults(hang_connection=True))

    (failed, _), took = bench.run(interrupted(bench, 7, bench.client.disconnect))

    assert isinstance(failed, NotReachableError)
    assert took <= RIGHT_AWAY


def test_disconnect_without_a_connection_returns_at_once(switch_on: SwitchOn) -> None:
    """There may be nothing to disconnect."""
    bench = switch_on()

    bench.run(bench.client.disconnect())
    assert bench.elapsed == 0
    bench.read()
    bench.run(bench.client.disconnect())
    assert bench.elapsed == 0


@pytest.mark.parametrize("backend", [TappedBackend, StickyBackend])
@pytest.mark.parametrize("moment", [*MOMENTS, CLOSING])
def test_cancelled_read_disconnects(
    switch_on: SwitchOn, moment: float, backend: type[TappedBackend]
) -> None:
    """A cancelled read disconnects the battery, also if cancelled while disconnecting."""
    bench = switch_on(habits=STEADY)
    bench.use(backend)

    async def read() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(moment):
                await bench.client.read()

    bench.run(read())

    assert bench.elapsed <= moment + 3 + RIGHT_AWAY
    assert set(bench.reasons) <= {"by the central", "failed after connecting"}
    bench.use(TappedBackend)
    assert_read(bench.read(), bench.bms)


def test_second_read_waits_for_the_first(switch_on: SwitchOn) -> None:
    """A battery accepts one connection: the reads run one after the other."""
    bench = switch_on(habits=STEADY)

    async def read_both() -> list[Reading]:
        return await asyncio.gather(bench.client.read(), bench.client.read())

    first, second = bench.run(read_both())

    earlier, later = bench.bms.connections
    assert earlier.closed is not None
    assert later.opened == exactly(earlier.closed + 0.4)
    assert first.cell_data.frame_counter != second.cell_data.frame_counter
    assert_read(second, bench.bms)


# The log


@pytest.mark.parametrize("model", MODELS)
def test_debug_log_has_no_secrets(
    switch_on: SwitchOn, caplog: pytest.LogCaptureFixture, model: str
) -> None:
    """The debug log shows what happens, and no secret."""
    caplog.set_level(logging.DEBUG)
    bench = switch_on(model, faults=Faults(answer_after_attempts=1))

    bench.read()

    assert "battery: sending DEVICE_INFO" in caplog.text
    assert "battery: received Frame(type=<FrameType.CELL_DATA" in caplog.text
    spec = bench.bms.spec
    secrets = {
        spec.passcode,
        spec.short_passcode,
        spec.setup_passcode,
        spec.userdata,
        spec.userdata2,
    } - {""}
    told = caplog.text.lower()
    forms = [
        form
        for secret in secrets
        for form in (secret.lower(), secret.encode().hex(), secret.encode().hex(" "))
    ]
    assert forms
    assert [form for form in forms if form in told] == []


def test_client_logs_at_debug_only(
    switch_on: SwitchOn, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing above DEBUG is logged, even if a connection is lost: the caller decides."""
    caplog.set_level(logging.DEBUG)
    bench = switch_on(faults=Faults(disconnect_in=0x03))

    with pytest.raises(NotReachableError):
        bench.read()

    ours = [r for r in caplog.records if r.name.startswith("custom_components.jk_bms")]
    assert {record.levelno for record in ours} == {logging.DEBUG}
    assert "battery: reconnecting once: The connection was lost" in caplog.text


def test_read_cancelled_twice_disconnects(switch_on: SwitchOn) -> None:
    """Home Assistant cancels the task when it stops, and may cancel it again."""
    closing = asyncio.Event()

    class Slow(TappedBackend):
        @override
        async def disconnect(self) -> None:
            closing.set()
            await asyncio.sleep(1)
            await super().disconnect()

    bench = switch_on()
    bench.use(Slow)

    async def stop() -> None:
        task = asyncio.create_task(bench.client.read())
        await closing.wait()
        task.cancel()
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not bench.bms.connected

    bench.run(stop())
    assert bench.reasons == ["by the central"]
