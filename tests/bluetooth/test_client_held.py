"""Tests of a link that is held, and of the battery's own logs, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from math import ceil
from typing import Any, override

from bleak.backends.characteristic import BleakGATTCharacteristic
import pytest

from custom_components.jk_bms.jkbms.bluetooth import session as session_module
from custom_components.jk_bms.jkbms.bluetooth.client import READ_DEADLINE
from custom_components.jk_bms.jkbms.errors import (
    ImplausibleFrameError,
    LinkError,
    LogUnansweredError,
    NotReachableError,
    SilentError,
)
from custom_components.jk_bms.jkbms.models import (
    DetailLogRecord,
    Log,
    LogEntry,
    Reading,
)
from custom_components.jk_bms.jkbms.protocol.frames import FrameType
from tests.virtual_bms import (
    MODELS,
    Battery,
    DetailRecord,
    Faults,
    LogEntry as StoredEntry,
    frames,
)
from tests.virtual_bms.radio import GATT_TIME

from .bench import (
    CADENCE,
    CELLS,
    CELLS_COMPLETE,
    COMPLETE,
    FIRST_COMMAND,
    GARAGE,
    HOUSE,
    INFO,
    RIGHT_AWAY,
    SECOND_COMMAND,
    STEADY,
    Bench,
    StickyBackend,
    SwitchOn,
    TappedBackend,
    assert_read,
    exactly,
)

LOGGER = "JK_B2A8S20P 19.10"
"""A battery with a detail log."""
LOGBOOK, DETAIL_LOG = 0xA1, 0xA7
LIFETIME = 60.0
LONG = 300.0
SILENCE = 6.0
RING = 836
"""Records of a detail log that is full."""


class Holder:
    """Holds a link, and looks at each reading at the moment it is published."""

    def __init__(self, bench: Bench, **options: Any) -> None:
        """Nothing happens before `hold`."""
        self.bench = bench
        self.options = {"interval": 5.0, "lifetime": LIFETIME} | options
        self.readings: list[Reading] = []
        self.publishing = asyncio.Event()
        self.then: Callable[[Reading], None] = lambda _: None
        """What else happens with a reading."""

    def publish(self, reading: Reading) -> None:
        """See that the reading is of the frame that has just come."""
        bms = self.bench.bms
        assert_read(reading, bms)
        # In one radio module the end of each frame waits for what comes next
        age = 2 if bms.spec.gatt == "D" else 1
        assert reading.cell_data.frame_counter == (bms.counter - age) & 0xFF
        assert reading.time == asyncio.get_running_loop().time()
        self.readings.append(reading)
        self.publishing.set()
        self.then(reading)

    @property
    def times(self) -> list[float]:
        """When something was published."""
        return [reading.time for reading in self.readings]

    @property
    def pauses(self) -> list[float]:
        """What was between."""
        return [later - earlier for earlier, later in pairwise(self.times)]

    async def hold(self) -> None:
        """Hold the link."""
        await self.bench.client.hold(self.publish, **self.options)

    def run(self) -> None:
        """Hold the link to its end."""
        self.bench.run(self.hold())

    async def meanwhile[T](self, act: Callable[[], Awaitable[T]]) -> T:
        """Do it while the link is held, and see that the link is held on afterwards."""
        task = asyncio.create_task(self.hold())
        try:
            await self.publishing.wait()
            result = await act()
            self.publishing.clear()
            await self.publishing.wait()
            assert not task.done()
            assert len(self.bench.bms.connections) == 1
            return result
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def at(*actions: tuple[float, Callable[[], object]]) -> None:
    """Let things happen at their times."""
    loop = asyncio.get_running_loop()
    for moment, action in actions:
        loop.call_at(moment, action)


async def after[T](moment: float, act: Callable[[], Awaitable[T]]) -> T:
    """Do something later."""
    await asyncio.sleep(moment)
    return await act()


def become(bench: Bench, **faults: Any) -> Callable[[], None]:
    """Return what gives the battery these faults."""
    return lambda: setattr(bench.bms, "faults", Faults(**faults))


# Published


@pytest.mark.parametrize("interval", [0.0, 5.0, 30.0])
def test_held_link_publishes_every_interval(
    switch_on: SwitchOn, interval: float
) -> None:
    """A reading at once and then one per interval, all on one connection without a beep."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench, interval=interval, lifetime=LONG)

    holder.run()

    step = max(1, ceil(interval / CADENCE)) * CADENCE
    count = int(LONG / step) + 1
    assert holder.times == exactly([CELLS_COMPLETE + n * step for n in range(count)])
    assert bench.commands == [INFO, CELLS]
    assert bench.bms.beeps == 0
    assert bench.found == 1
    assert bench.reasons == ["by the central"]
    assert bench.elapsed == exactly(CELLS_COMPLETE + LONG + GATT_TIME)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_can_be_held(switch_on: SwitchOn, model: str) -> None:
    """Readings are never closer together than the interval."""
    bench = switch_on(model)
    holder = Holder(bench)

    holder.run()

    assert min(holder.pauses) >= 5.0
    assert max(holder.pauses) <= 5.0 + 3 * CADENCE
    assert bench.bms.beeps == 0
    assert bench.client.statistics.rejected == 0


def test_frames_inside_the_interval_are_not_decoded(
    switch_on: SwitchOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of some hundred frames only the due ones are decoded."""
    decoded: list[int] = []
    decode = session_module.decode_cell_data

    def count(frame: Any, profile: Any) -> Any:
        decoded.append(frame.counter)
        return decode(frame, profile)

    monkeypatch.setattr(session_module, "decode_cell_data", count)
    bench = switch_on()
    holder = Holder(bench, interval=30.0)

    holder.run()

    assert decoded == [r.cell_data.frame_counter for r in holder.readings]
    assert len(decoded) == 2
    assert bench.client.statistics.good > 100


def test_frames_inside_the_interval_wake_no_task(
    switch_on: SwitchOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session only wakes every six seconds to check that frames still come."""
    waits: list[float] = []
    get = asyncio.Queue.get

    async def count(queue: asyncio.Queue[Any]) -> Any:
        waits.append(asyncio.get_running_loop().time())
        return await get(queue)

    monkeypatch.setattr(asyncio.Queue, "get", count)
    bench = switch_on(habits=STEADY)

    Holder(bench, interval=30.0).run()

    held = [moment for moment in waits if moment >= CELLS_COMPLETE]
    assert len(held) <= LIFETIME / SILENCE + 3
    assert bench.client.statistics.good > 100


@pytest.mark.parametrize(("interval", "passed_over"), [(5.0, 10), (0.0, 0)])
def test_second_of_two_frames_in_a_notification_is_skipped(
    switch_on: SwitchOn, interval: float, passed_over: int
) -> None:
    """Of two frames in one notification the second is inside the interval, if there is one."""
    bench = switch_on(habits=STEADY)
    readings: list[Reading] = []
    due = CELLS_COMPLETE + 10 * CADENCE
    jam: list[bytes] = []

    def hold_up(data: bytes) -> bytes:
        if asyncio.get_running_loop().time() < due - CADENCE / 2 or len(jam) == 8:
            return data
        jam.append(data)
        return b"".join(jam) if len(jam) == 8 else b""

    bench.forged = hold_up
    bench.run(bench.client.hold(readings.append, interval=interval, lifetime=LIFETIME))

    assert len(b"".join(jam)) == 600
    late = due + CADENCE
    first, second = [r for r in readings if r.time > late - CADENCE / 2][:2]
    assert first.time == exactly(late)
    assert second.time == exactly(late + passed_over * CADENCE)
    counters = [r.cell_data.frame_counter or 0 for r in (first, second)]
    assert counters[1] - counters[0] == 1 + passed_over


def test_held_link_publishes_current_values(switch_on: SwitchOn) -> None:
    """A change in the battery is in the next reading."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench)

    async def hold() -> None:
        at((20.0, lambda: bench.bms.battery.override(current=-12.5)))
        await holder.hold()

    bench.run(hold())

    changed = [r.time > 20.0 for r in holder.readings]
    assert changed == [r.cell_data.battery_current == -12.5 for r in holder.readings]


def test_reconnecting_does_not_shorten_the_interval(switch_on: SwitchOn) -> None:
    """The first reading of a new connection waits for the rest of the interval."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench, interval=30.0, since=-10.0)

    holder.run()

    first = CELLS_COMPLETE + ceil((20.0 - CELLS_COMPLETE) / CADENCE) * CADENCE
    assert holder.times[0] == exactly(first)
    assert holder.times[1] - holder.times[0] == exactly(57 * CADENCE)


def test_overdue_reading_is_published_at_once(switch_on: SwitchOn) -> None:
    """A reading that is due is published as soon as the link is established."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench, since=-4.0)

    holder.run()

    assert holder.times[0] == exactly(CELLS_COMPLETE)


def test_publish_next_restarts_the_interval(switch_on: SwitchOn) -> None:
    """The next frame is published, and the interval counts from there."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench, interval=30.0)

    async def hold() -> None:
        at((10.0, bench.client.publish_next), (10.01, bench.client.publish_next))
        await holder.hold()

    bench.run(hold())

    hurried = CELLS_COMPLETE + ceil((10.0 - CELLS_COMPLETE) / CADENCE) * CADENCE
    assert holder.times[:3] == exactly(
        [CELLS_COMPLETE, hurried, hurried + 57 * CADENCE]
    )


@pytest.mark.parametrize("before", ["no link", "another link", "a link that fails"])
def test_publish_next_outlives_a_connection(switch_on: SwitchOn, before: str) -> None:
    """The request outlives the connection that it was made on, and is fulfilled once."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench, interval=30.0, since=0.0, lifetime=LONG)
    if before == "another link":
        bench.read()
        holder.options["since"] = COMPLETE
    if before == "a link that fails":
        bench.bms.faults = Faults(disconnect_in=0x03)
        bench.before[2] = become(bench)

    async def hold() -> None:
        bench.client.publish_next()
        await holder.hold()

    bench.run(hold())

    assert len(holder.times) == 10
    # The services are known the second time
    known = 0.0 if before == "no link" else GATT_TIME
    opened = bench.bms.connections[-1].opened
    assert holder.times[0] == exactly(opened - 0.4 + CELLS_COMPLETE - known)


def test_client_can_read_and_hold_in_turn(switch_on: SwitchOn) -> None:
    """One client can do both, one after the other."""
    bench = switch_on()

    assert_read(bench.read(), bench.bms)
    Holder(bench).run()
    Holder(bench).run()
    assert_read(bench.read(), bench.bms)

    assert bench.reasons == ["by the central"] * 4


def test_lifetime_begins_with_the_first_reading(switch_on: SwitchOn) -> None:
    """The lifetime of a link begins with its first reading."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench, lifetime=0.0)

    holder.run()

    assert bench.elapsed <= COMPLETE + RIGHT_AWAY
    assert bench.reasons == ["by the central"]


def test_error_in_publish_ends_the_link(switch_on: SwitchOn) -> None:
    """An error of the callback ends the link and is raised."""
    bench = switch_on()
    holder = Holder(bench)

    def fail(reading: Reading) -> None:
        raise ValueError(reading.time)

    holder.then = fail

    with pytest.raises(ValueError, match="2"):
        holder.run()

    assert bench.reasons == ["by the central"]


# Settings


def settings_of(bench: Bench, **changes: Any) -> Callable[[], None]:
    """Return what makes the battery tell changed settings of its own accord."""

    def tell() -> None:
        battery = bench.bms.battery
        battery.settings = replace(battery.settings, **changes)
        frame = frames.settings_frame(bench.bms.spec, battery.settings, 0)
        bench.tell(bytearray(frame))

    return tell


def test_changed_settings_are_published_when_read_twice(switch_on: SwitchOn) -> None:
    """Settings that change in the stream are in the next reading, once received twice."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench)

    async def hold() -> None:
        # Between two frames
        between = CELLS_COMPLETE + 37.5 * CADENCE
        at((between, settings_of(bench, balance_trigger=0.025)))
        await holder.hold()

    bench.run(hold())

    changed = CELLS_COMPLETE + 37.5 * CADENCE
    assert [
        (reading.settings and reading.settings.balance_trigger) == exactly(0.025)
        for reading in holder.readings
    ] == [moment > changed for moment in holder.times]
    assert bench.bms.beeps == 1


def test_implausible_settings_do_not_replace_known_ones(switch_on: SwitchOn) -> None:
    """Impossible settings are counted, and the known ones stay."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench)
    known = bench.bms.battery.settings

    def restore() -> None:
        bench.bms.battery.settings = known

    async def hold() -> None:
        between = CELLS_COMPLETE + 37.5 * CADENCE
        at((between, settings_of(bench, cell_count=99)), (between + 0.01, restore))
        await holder.hold()

    bench.run(hold())

    assert len({reading.settings for reading in holder.readings}) == 1
    assert bench.client.statistics.rejected == 1


def test_settings_lost_at_first_are_published_later(switch_on: SwitchOn) -> None:
    """Settings that were lost are published when they come."""
    bench = switch_on(habits=STEADY, faults=Faults(lose={6}))
    readings: list[Reading] = []

    async def hold() -> None:
        between = CELLS_COMPLETE + 37.5 * CADENCE
        at((between, settings_of(bench)))
        await bench.client.hold(readings.append, interval=5.0, lifetime=60.0)

    bench.run(hold())

    assert readings[0].settings is None
    assert readings[-1].settings
    assert readings[-1].settings.cell_count == bench.bms.battery.settings.cell_count


# Loss


@pytest.mark.parametrize("moment", [0.0, 0.01, 0.3, 4.0, 50.0])
def test_dropped_held_link_fails_at_once(switch_on: SwitchOn, moment: float) -> None:
    """A held link that drops fails at once and does not reconnect by itself."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench)

    async def hold() -> None:
        at((CELLS_COMPLETE + moment, bench.bms.drop))
        await holder.hold()

    with pytest.raises(NotReachableError, match="connection was lost"):
        bench.run(hold())

    assert bench.elapsed == exactly(CELLS_COMPLETE + moment)
    assert len(bench.bms.connections) == 1


def test_hold_without_a_first_reading_fails_by_the_deadline(
    switch_on: SwitchOn,
) -> None:
    """Without a first reading it fails like a read, by the deadline."""
    for fault in ("hang_connection", "silent", "garbage"):
        bench = switch_on(faults=Faults(**{fault: True}))
        with pytest.raises(LinkError):
            Holder(bench, deadline=12.0).run()
        assert bench.elapsed <= 12.0 + RIGHT_AWAY


def test_hold_reconnects_once_before_the_first_reading(switch_on: SwitchOn) -> None:
    """A first connection that does not work is retried once, as for a read."""
    bench = switch_on(faults=Faults(disconnect_in=0x03))
    bench.before[2] = become(bench)
    holder = Holder(bench)

    holder.run()

    assert len(bench.bms.connections) == 2
    assert len(holder.readings) == int(LIFETIME / (10 * CADENCE)) + 1


@pytest.mark.parametrize("backend", [TappedBackend, StickyBackend])
def test_silent_held_link_fails_after_twelve_seconds(
    switch_on: SwitchOn, backend: type[TappedBackend]
) -> None:
    """0x96 is repeated after 6 s; 12 s after the last frame the link is closed."""
    bench = switch_on(habits=STEADY)
    bench.use(backend)
    holder = Holder(bench)

    async def hold() -> None:
        at((30.0, become(bench, silent=True)))
        await holder.hold()

    with pytest.raises(SilentError):
        bench.run(hold())

    last = max(moment for moment, data in bench.heard if len(data) > 20)
    assert last < 30.0
    # The last frame may have been cut short
    last = CELLS_COMPLETE + int((last + 0.001 - CELLS_COMPLETE) / CADENCE) * CADENCE
    assert bench.sent_at(CELLS)[1:] == exactly([last + SILENCE])
    assert bench.bms.connections[0].closed == exactly(last + 2 * SILENCE + GATT_TIME)
    assert bench.commands == [INFO, CELLS, CELLS]


def test_hanging_write_does_not_delay_the_failure(switch_on: SwitchOn) -> None:
    """A write that never returns does not delay the end of a silent link."""

    class Hanging(TappedBackend):
        @override
        async def write_gatt_char(
            self, characteristic: BleakGATTCharacteristic, data: Any, response: bool
        ) -> None:
            if self.bench.bms.faults.silent:
                await asyncio.get_running_loop().create_future()
            await super().write_gatt_char(characteristic, data, response)

    bench = switch_on(habits=STEADY)
    bench.use(Hanging)
    holder = Holder(bench)

    async def hold() -> None:
        at((30.0, become(bench, silent=True)))
        await holder.hold()

    with pytest.raises(LinkError):
        bench.run(hold())

    assert bench.elapsed <= 30.0 + 2 * SILENCE


@pytest.mark.parametrize("count", [1, 9, 40])
def test_stream_that_stops_is_restarted(switch_on: SwitchOn, count: int) -> None:
    """A stream that stops repeatedly is restarted each time, on the same connection."""
    bench = switch_on(habits=STEADY, faults=Faults(stream_stops_after=count))
    holder = Holder(bench, lifetime=LONG)

    holder.run()

    sent = bench.sent_at(CELLS)
    # The frames, and the silence behind them, until the answer to the next command
    period = 0.7 + (count - 1) * CADENCE + 3 * 0.025 + SILENCE
    repeated = [later - earlier for earlier, later in pairwise(sent)]
    assert repeated == exactly([period] * len(repeated))
    assert len(repeated) == int((CELLS_COMPLETE + LONG - sent[0]) / period)
    assert bench.bms.beeps == 0
    assert bench.reasons == ["by the central"]
    assert min(holder.pauses) >= 5.0
    assert max(holder.pauses) <= 5.0 + SILENCE + 1.5


@pytest.mark.parametrize("count", [1, 9, 40])
def test_stream_that_stops_inside_the_interval_is_restarted(
    switch_on: SwitchOn, count: int
) -> None:
    """It is noticed just as fast if no reading is due."""
    bench = switch_on(habits=STEADY, faults=Faults(stream_stops_after=count))
    holder = Holder(bench, interval=2 * LONG, lifetime=LONG)

    holder.run()

    sent = bench.sent_at(CELLS)
    period = 0.7 + (count - 1) * CADENCE + 3 * 0.025 + SILENCE
    repeated = [later - earlier for earlier, later in pairwise(sent)]
    assert repeated == exactly([period] * len(repeated))
    assert len(repeated) == int((CELLS_COMPLETE + LONG - sent[0]) / period)
    assert len(holder.readings) == 1
    assert bench.reasons == ["by the central"]


def test_silence_inside_the_interval_fails_as_fast(switch_on: SwitchOn) -> None:
    """The link is closed just as fast if no reading is due."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench, interval=LONG)

    async def hold() -> None:
        at((30.0, become(bench, silent=True)))
        await holder.hold()

    with pytest.raises(SilentError):
        bench.run(hold())

    last = CELLS_COMPLETE + int((30.0 - CELLS_COMPLETE) / CADENCE) * CADENCE
    assert bench.sent_at(CELLS)[1:] == exactly([last + SILENCE])
    assert bench.elapsed == exactly(last + 2 * SILENCE + GATT_TIME)


def test_settings_alone_are_no_stream(switch_on: SwitchOn) -> None:
    """Answering 0x96 is no stream: the link is closed 6 s after the settings."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench)

    async def hold() -> None:
        at((30.0, become(bench, stream_stops_after=0)))
        await holder.hold()

    with pytest.raises(SilentError):
        bench.run(hold())

    _, again = bench.sent_at(CELLS)
    assert bench.elapsed == exactly(again + 0.08 + 3 * 0.025 + SILENCE + GATT_TIME)


NONSENSE = {"soc": 120}


@pytest.mark.parametrize("frames_hit", [1, 2])
def test_implausible_due_frame_is_replaced_by_the_next(
    switch_on: SwitchOn, frames_hit: int
) -> None:
    """Impossible values are counted, and the next good frame is published instead."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench)
    due = CELLS_COMPLETE + 10 * CADENCE

    async def hold() -> None:
        battery = bench.bms.battery
        at(
            (due - CADENCE / 2, lambda: battery.override(**NONSENSE)),
            (due + (frames_hit - 0.5) * CADENCE, battery.release),
        )
        await holder.hold()

    bench.run(hold())

    late = due + frames_hit * CADENCE
    assert holder.times[:3] == exactly([CELLS_COMPLETE, late, late + 10 * CADENCE])
    assert bench.client.statistics.rejected == frames_hit


def test_implausible_frame_inside_the_interval_is_ignored(switch_on: SwitchOn) -> None:
    """Impossible values in a frame that is not due are not even noticed."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench)

    async def hold() -> None:
        battery = bench.bms.battery
        at(
            (CELLS_COMPLETE + 0.3, lambda: battery.override(**NONSENSE)),
            (CELLS_COMPLETE + 4.5, battery.release),
        )
        await holder.hold()

    bench.run(hold())

    assert holder.times[1] == exactly(CELLS_COMPLETE + 10 * CADENCE)
    assert bench.client.statistics.rejected == 0


def test_separate_implausible_frames_do_not_add_up(switch_on: SwitchOn) -> None:
    """Only implausible frames in a row end the link."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench, lifetime=100.0)

    def toggle(reading: Reading) -> None:
        # The next two frames that are due
        due, battery = reading.time + 10 * CADENCE, bench.bms.battery
        if due < 95.0:
            at(
                (due - CADENCE / 2, lambda: battery.override(**NONSENSE)),
                (due + 1.5 * CADENCE, battery.release),
            )

    holder.then = toggle

    holder.run()

    assert holder.pauses[:14] == exactly([12 * CADENCE] * 14)
    assert bench.client.statistics.rejected == 2 * 14


def test_three_implausible_frames_end_the_link(switch_on: SwitchOn) -> None:
    """Three due frames with impossible values end the link."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench)

    async def hold() -> None:
        at((20.0, lambda: bench.bms.battery.override(**NONSENSE)))
        await holder.hold()

    with pytest.raises(ImplausibleFrameError):
        bench.run(hold())

    assert bench.client.statistics.rejected == 3
    due = holder.times[-1] + 10 * CADENCE
    assert bench.elapsed == exactly(due + 2 * CADENCE + GATT_TIME)
    assert bench.reasons == ["by the central"]


@pytest.mark.parametrize("blanks", [1, 2, 3])
def test_blank_frames_are_believed_after_three(
    switch_on: SwitchOn, blanks: int
) -> None:
    """Frames of zeros are believed when three in a row are due."""
    bench = switch_on(habits=STEADY)
    readings: list[Reading] = []
    due = CELLS_COMPLETE + 10 * CADENCE

    def blank(every: int | None) -> None:
        bench.bms.faults = Faults(blank_every=every)

    async def hold() -> None:
        at(
            (due - CADENCE / 2, lambda: blank(1)),
            (due + (blanks - 0.5) * CADENCE, lambda: blank(None)),
        )
        await bench.client.hold(readings.append, interval=5.0, lifetime=LIFETIME)

    bench.run(hold())

    late = due + min(blanks, 2) * CADENCE
    assert [r.time for r in readings[:2]] == exactly([CELLS_COMPLETE, late])
    shown = [bool(reading.cell_data.cell_voltage) for reading in readings[:3]]
    assert shown == [True, blanks < 3, True]


@pytest.mark.parametrize("seed", range(4))
def test_held_link_on_a_bad_radio_is_right(switch_on: SwitchOn, seed: int) -> None:
    """On a bad radio readings are late, never wrong, and nothing beeps."""
    bench = switch_on(GARAGE, faults=Faults(lose=0.02, damage=0.02, seed=seed))
    readings: list[Reading] = []

    def publish(reading: Reading) -> None:
        readings.append(reading)
        if reading.settings:
            assert_read(reading, bench.bms)

    bench.run(bench.client.hold(publish, interval=5.0, lifetime=LONG))

    assert len(readings) > 40
    assert bench.bms.beeps == 0


# Ending it from outside

MOMENTS = [round(0.07 + 0.21 * step, 2) for step in range(12)] + [50.0, LIFETIME]
CLOSING = CELLS_COMPLETE + LIFETIME + GATT_TIME / 2


@pytest.mark.parametrize("backend", [TappedBackend, StickyBackend])
@pytest.mark.parametrize("moment", [*MOMENTS, CLOSING])
def test_disconnect_ends_a_held_link(
    switch_on: SwitchOn, moment: float, backend: type[TappedBackend]
) -> None:
    """Wherever it is, the battery is disconnected when the call returns."""
    bench = switch_on(habits=STEADY)
    bench.use(backend)
    holder = Holder(bench)

    async def end() -> tuple[Any, float]:
        task = asyncio.create_task(holder.hold())
        await asyncio.sleep(moment)
        began = asyncio.get_running_loop().time()
        await bench.client.disconnect()
        assert not bench.bms.connected
        took = asyncio.get_running_loop().time() - began
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        return outcome, took

    outcome, took = bench.run(end())

    assert isinstance(outcome, LinkError)
    assert took <= 3 + RIGHT_AWAY
    assert len(bench.bms.connections) <= 1
    bench.use(TappedBackend)
    assert_read(bench.read(), bench.bms)


def test_disconnect_with_the_first_reading_is_not_lost(switch_on: SwitchOn) -> None:
    """Lifting the first deadline does not undo a disconnect."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench)
    ending: list[asyncio.Task[None]] = []
    nothing_lost = bench.lost

    async def hold() -> Any:
        task = asyncio.create_task(holder.hold())
        await asyncio.sleep(CELLS_COMPLETE - 0.01)

        def lost(data: bytes) -> bool:
            # In the same round of the loop, right behind the last piece
            asyncio.get_running_loop().call_soon(
                lambda: ending.append(
                    asyncio.Task(bench.client.disconnect(), eager_start=True)
                )
            )
            bench.lost = nothing_lost
            return False

        bench.lost = lost
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        await ending[0]
        return outcome

    assert isinstance(bench.run(hold()), LinkError)
    assert bench.elapsed <= COMPLETE + RIGHT_AWAY


@pytest.mark.parametrize("backend", [TappedBackend, StickyBackend])
@pytest.mark.parametrize("moment", [*MOMENTS, CLOSING])
def test_cancelled_hold_disconnects(
    switch_on: SwitchOn, moment: float, backend: type[TappedBackend]
) -> None:
    """A cancelled hold disconnects the battery, also if cancelled while disconnecting."""
    bench = switch_on(habits=STEADY)
    bench.use(backend)
    holder = Holder(bench)

    async def end() -> None:
        task = asyncio.create_task(holder.hold())
        await asyncio.sleep(moment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    bench.run(end())

    assert bench.elapsed <= moment + 3 + RIGHT_AWAY
    assert set(bench.reasons) <= {"by the central", "failed after connecting"}
    bench.use(TappedBackend)
    assert_read(bench.read(), bench.bms)


def test_hold_may_be_cancelled_and_disconnected(switch_on: SwitchOn) -> None:
    """Home Assistant does both when it stops."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench)

    async def end() -> None:
        task = asyncio.create_task(holder.hold())
        await asyncio.sleep(50)
        task.cancel()
        await bench.client.disconnect()
        assert not bench.bms.connected
        with pytest.raises(asyncio.CancelledError):
            await task

    bench.run(end())
    assert bench.elapsed == exactly(50 + GATT_TIME)


def test_read_waits_for_the_held_link(switch_on: SwitchOn) -> None:
    """There is one connection: a read waits until the held link is closed."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench)

    async def both() -> Reading:
        _, reading = await asyncio.gather(holder.hold(), after(10.0, bench.client.read))
        return reading

    assert_read(bench.run(both()), bench.bms)
    held, own = bench.bms.connections
    assert held.closed == exactly(CELLS_COMPLETE + LIFETIME + GATT_TIME)
    assert own.opened == exactly(held.closed + 0.4)


def test_hold_waits_for_a_read(switch_on: SwitchOn) -> None:
    """There is one connection: a held link waits until a read is complete."""
    bench = switch_on(habits=STEADY)
    holder = Holder(bench)

    async def both() -> None:
        await asyncio.gather(bench.client.read(), holder.hold())

    bench.run(both())
    own, held = bench.bms.connections
    assert own.closed is not None
    assert held.opened == exactly(own.closed + 0.4)


def test_frames_are_counted_and_kept(switch_on: SwitchOn) -> None:
    """Frames are counted, and the last one of each type is kept."""
    bench = switch_on(LOGGER)

    Holder(bench).run()

    good = bench.client.statistics.good
    assert good > 100
    assert bench.client.statistics.acknowledged == 2
    assert set(bench.client.last_frames) == {
        FrameType.DEVICE_INFO,
        FrameType.SETTINGS,
        FrameType.CELL_DATA,
    }
    last = bench.client.last_frames[FrameType.CELL_DATA]
    assert last.counter == (bench.bms.counter - 1) & 0xFF

    bench.run(bench.client.read_detail_log())
    bench.run(bench.client.read_logbook())

    assert bench.client.statistics.good > good + RING / 12
    assert set(bench.client.last_frames) == set(FrameType)
    assert bench.client.statistics.rejected == 0


# The logs

KINDS = {LOGBOOK: "read_logbook", DETAIL_LOG: "read_detail_log"}


class Library:
    """A battery with logs of known content."""

    def __init__(
        self,
        switch_on: SwitchOn,
        monkeypatch: pytest.MonkeyPatch,
        *,
        count: int = RING,
        **options: Any,
    ) -> None:
        """`count`: records of the detail log."""
        habits = STEADY | options.pop("habits", {})
        self.bench = switch_on(LOGGER, habits=habits, **options)
        battery = self.bench.bms.battery
        battery.log = [
            *battery.log,
            *(StoredEntry(4000 + 60 * n, 0x0B + n % 30) for n in range(40)),
        ]
        self.records = [
            replace(record, code=n % 5, balancing=bool(n & 1))
            for n, record in enumerate(battery.detail_log[:count])
        ]
        battery.override(detail_records=count)
        monkeypatch.setattr(Battery, "detail_log", property(lambda _: self.records))
        self.holder = Holder(self.bench)

    async def read(self, kind: int, **options: float) -> Log[Any]:
        """Read one of the logs."""
        return await getattr(self.bench.client, KINDS[kind])(**options)

    def check(self, kind: int, log: Log[Any]) -> None:
        """See that the log is the battery's."""
        assert log.reading.device_info.serial_number == self.bench.bms.spec.serial
        if kind == LOGBOOK:
            stored = self.bench.bms.battery.log
            assert [(e.time, e.code) for e in log.entries] == [
                (entry.time, entry.code) for entry in stored
            ]
            assert {type(entry) for entry in log.entries} == {LogEntry}
        else:
            assert len(log.entries) == len(self.records)
            for index, record in enumerate(self.records):
                check_record(log.entries[index], index, record)


def check_record(found: DetailLogRecord, index: int, record: DetailRecord) -> None:
    """See that one record of the detail log is what the battery stored."""
    assert found.index == index
    assert (found.clock, found.code) == (record.clock, record.code)
    assert (found.charging, found.balancing) == (record.charging, record.balancing)
    assert (found.max_cell, found.min_cell) == (record.highest + 1, record.lowest + 1)
    assert found.max_cell_voltage == exactly(record.highest_voltage, abs=0.0006)
    assert found.battery_voltage == exactly(record.voltage, abs=0.006)
    assert found.battery_current == exactly(record.current, abs=0.06)
    assert found.remain_capacity == exactly(record.remaining, abs=0.06)
    temperatures = (
        found.max_temperature,
        found.min_temperature,
        found.mosfet_temperature,
    )
    assert temperatures == record.temperatures


type OpenLibrary = Callable[..., Library]


@pytest.fixture
def library(switch_on: SwitchOn, monkeypatch: pytest.MonkeyPatch) -> OpenLibrary:
    """Switch a battery on that has logs."""
    return lambda **options: Library(switch_on, monkeypatch, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_log_connects_without_a_held_link(library: OpenLibrary, kind: int) -> None:
    """Without a held link it connects for the log and disconnects."""
    shelf = library()
    bench = shelf.bench

    shelf.check(kind, bench.run(shelf.read(kind)))

    assert bench.commands == [INFO, CELLS, kind]
    assert bench.reasons == ["by the central"]
    assert bench.bms.beeps == 0
    assert bench.client.statistics.rejected == 0
    assert bench.elapsed < {LOGBOOK: 3.5, DETAIL_LOG: 10.0}[kind]
    assert_read(bench.read(), bench.bms)


@pytest.mark.parametrize("model", MODELS)
def test_logbook_of_every_model_is_read(switch_on: SwitchOn, model: str) -> None:
    """Every model has a logbook."""
    bench = switch_on(model)

    log = bench.run(bench.client.read_logbook())

    assert [(e.time, e.code) for e in log.entries] == [(0, 1), (27, 60), (3079, 68)]
    assert_read(log.reading, bench.bms)


@pytest.mark.parametrize("kind", KINDS)
def test_log_uses_the_held_link(library: OpenLibrary, kind: int) -> None:
    """The held link is used and stays: no second connection, no 0x96, no beep."""
    shelf = library()
    bench, holder = shelf.bench, shelf.holder
    took: list[float] = []

    async def read() -> Log[Any]:
        began = asyncio.get_running_loop().time()
        log = await shelf.read(kind)
        took.append(asyncio.get_running_loop().time() - began)
        return log

    log = bench.run(holder.meanwhile(read))

    shelf.check(kind, log)
    assert log.reading is holder.readings[0]
    assert bench.commands == [INFO, CELLS, kind]
    assert bench.bms.beeps == 0
    assert len(holder.readings) >= 2
    # A detail log takes longer than the silence that a stream may have
    assert took[0] > SILENCE if kind == DETAIL_LOG else took[0] < 0.5


def test_log_comes_with_the_newest_reading(library: OpenLibrary) -> None:
    """A log comes with the latest reading of the held link."""
    shelf = library()

    async def read() -> Log[Any]:
        return await after(12.0, lambda: shelf.read(LOGBOOK))

    log = shelf.bench.run(shelf.holder.meanwhile(read))

    assert log.reading is shelf.holder.readings[2]


def test_logs_can_be_read_repeatedly(library: OpenLibrary) -> None:
    """Each log is read completely, however often."""
    shelf = library(count=30)

    async def read() -> None:
        for kind in (LOGBOOK, DETAIL_LOG, DETAIL_LOG, LOGBOOK):
            shelf.check(kind, await shelf.read(kind))

    shelf.bench.run(shelf.holder.meanwhile(read))

    assert shelf.bench.commands[2:] == [LOGBOOK, DETAIL_LOG, DETAIL_LOG, LOGBOOK]


@pytest.mark.parametrize("kinds", [(LOGBOOK, DETAIL_LOG), (DETAIL_LOG, DETAIL_LOG)])
@pytest.mark.parametrize("held", [False, True])
def test_two_logs_are_read_one_after_the_other(
    library: OpenLibrary, kinds: tuple[int, int], held: bool
) -> None:
    """Two requests at the same time do not mix."""
    shelf = library(count=100)
    bench = shelf.bench

    async def both() -> list[Log[Any]]:
        return await asyncio.gather(*(shelf.read(kind) for kind in kinds))

    logs = bench.run(shelf.holder.meanwhile(both) if held else both())

    for kind, log in zip(kinds, logs, strict=True):
        shelf.check(kind, log)
    own = [INFO, CELLS]
    first, second = kinds
    expected = [*own, first, second] if held else [*own, first, *own, second]
    assert bench.commands == expected
    assert len(bench.bms.connections) == (1 if held else 2)


@pytest.mark.parametrize("moment", [0.0, 0.2, FIRST_COMMAND, SECOND_COMMAND + 0.3])
@pytest.mark.parametrize("since", [0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_log_waits_for_a_link_that_connects(
    library: OpenLibrary, kind: int, moment: float, since: float
) -> None:
    """A link that is being established is waited for, even if nothing is published yet."""
    shelf = library()
    shelf.holder.options["since"] = since

    async def both() -> Log[Any]:
        holding = asyncio.create_task(shelf.holder.hold())
        log = await after(moment, lambda: shelf.read(kind))
        assert shelf.bench.bms.connected
        await holding
        return log

    shelf.check(kind, shelf.bench.run(both()))
    assert len(shelf.bench.bms.connections) == 1
    assert shelf.bench.bms.beeps == 0


def test_log_connects_if_the_held_link_fails(library: OpenLibrary) -> None:
    """If the held link cannot be established, the log connects by itself."""
    shelf = library(faults=Faults(refuse_connection=True))

    async def both() -> Log[Any]:
        holding = asyncio.create_task(shelf.holder.hold())
        at((0.3, become(shelf.bench, refuse_connection=2)))
        log = await after(0.1, lambda: shelf.read(LOGBOOK))
        await asyncio.gather(holding, return_exceptions=True)
        return log

    shelf.check(LOGBOOK, shelf.bench.run(both()))


def test_log_does_not_share_the_link_of_a_read(library: OpenLibrary) -> None:
    """The connection of a read is not shared."""
    shelf = library()

    async def both() -> Log[Any]:
        _, log = await asyncio.gather(
            shelf.bench.client.read(), after(1.0, lambda: shelf.read(LOGBOOK))
        )
        return log

    shelf.check(LOGBOOK, shelf.bench.run(both()))
    assert len(shelf.bench.bms.connections) == 2


def test_log_does_not_use_a_link_that_closes(library: OpenLibrary) -> None:
    """A link that is closing is not used."""
    shelf = library()

    async def both() -> Log[Any]:
        _, log = await asyncio.gather(
            shelf.holder.hold(), after(CLOSING, lambda: shelf.read(LOGBOOK))
        )
        return log

    shelf.check(LOGBOOK, shelf.bench.run(both()))
    assert shelf.bench.reasons == ["by the central"] * 2


# Lost pieces


def loses(kind: int, indexes: set[int], times: int = 1) -> Callable[[bytes], bool]:
    """Return what loses the beginnings of some frames of a log, so many times."""
    lost = dict.fromkeys(indexes, times)

    def is_lost(data: bytes) -> bool:
        start = data.find(frames.FRAME_HEADER)
        if start < 0 or len(data) < start + 8 or data[start + 4] != kind:
            return False
        index = int.from_bytes(data[start + 6 : start + 8], "little")
        if kind == 0x05:
            index = 0
        if not lost.get(index):
            return False
        lost[index] -= 1
        return True

    return is_lost


@pytest.mark.parametrize("held", [False, True])
def test_lost_logbook_is_requested_again(library: OpenLibrary, held: bool) -> None:
    """The logbook is requested once more after 5 s."""
    shelf = library()
    bench = shelf.bench
    bench.lost = loses(0x05, {0})

    async def read() -> Log[Any]:
        return await shelf.read(LOGBOOK)

    shelf.check(LOGBOOK, bench.run(shelf.holder.meanwhile(read) if held else read()))

    first, second = bench.sent_at(LOGBOOK)
    assert second - first == exactly(5.0)
    assert bench.commands == [INFO, CELLS, LOGBOOK, LOGBOOK]


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    "lost",
    [{0}, {12}, {0, 12, 24}, {48}, {36, 48}, {0, 12, 24, 36}, {0, 12, 24, 36, 48}],
    ids=str,
)
def test_missing_detail_log_records_are_requested_again(
    library: OpenLibrary, lost: set[int], held: bool
) -> None:
    """What is missing comes with a second request, however much it is."""
    shelf = library(count=50)
    bench = shelf.bench
    bench.lost = loses(0x06, lost)

    async def read() -> Log[Any]:
        return await shelf.read(DETAIL_LOG)

    log = bench.run(shelf.holder.meanwhile(read) if held else read())

    shelf.check(DETAIL_LOG, log)
    assert bench.commands == [INFO, CELLS, DETAIL_LOG, DETAIL_LOG]
    assert bench.bms.beeps == 0


def test_two_incomplete_detail_logs_are_merged(library: OpenLibrary) -> None:
    """Two answers with gaps are merged."""
    shelf = library(count=50)
    bench = shelf.bench
    first, second = loses(0x06, {12}), loses(0x06, {0, 48})
    bench.lost = lambda data: (
        first(data) if bench.commands.count(DETAIL_LOG) < 2 else second(data)
    )

    shelf.check(DETAIL_LOG, bench.run(shelf.read(DETAIL_LOG)))
    assert bench.commands.count(DETAIL_LOG) == 2


def test_incomplete_detail_log_is_returned(library: OpenLibrary) -> None:
    """Records that stay missing are left out."""
    shelf = library(count=50)
    bench = shelf.bench
    bench.lost = loses(0x06, {12}, times=2)

    log = bench.run(shelf.read(DETAIL_LOG))

    assert [e.index for e in log.entries] == [*range(12), *range(24, 50)]
    assert bench.commands.count(DETAIL_LOG) == 2


@pytest.mark.parametrize("lost", [set(), {12}, {0, 36}], ids=str)
def test_detail_log_of_unknown_length_is_requested_again_for_gaps(
    library: OpenLibrary, lost: set[int]
) -> None:
    """A battery that does not count its records is asked again only for a visible gap."""
    shelf = library(count=50)
    bench = shelf.bench
    bench.lost = loses(0x06, lost)
    bench.bms.battery.override(detail_records=0)

    shelf.check(DETAIL_LOG, bench.run(shelf.read(DETAIL_LOG)))

    assert bench.commands.count(DETAIL_LOG) == 1 + bool(lost)


@pytest.mark.parametrize("count", [1, 11, 12, 13, 24])
def test_short_detail_log_is_read_at_once(library: OpenLibrary, count: int) -> None:
    """A log that is not full is read with one request, although it has no end mark."""
    shelf = library(count=count)
    bench = shelf.bench

    shelf.check(DETAIL_LOG, bench.run(shelf.read(DETAIL_LOG)))

    (asked,) = bench.sent_at(DETAIL_LOG)
    came = 0.1 + ceil(count / 12) * 4 * 0.025
    # A last frame that is full does not tell that it is the last
    silence = 0.0 if count % 12 else 2.0
    assert bench.elapsed == exactly(asked + came + silence + GATT_TIME, abs=0.2)


def test_implausible_detail_log_frame_is_requested_again(
    library: OpenLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that claims more records than it can hold is counted and requested again."""
    shelf = library(count=50)
    bench = shelf.bench
    whole = frames.detail_log_frame

    def frame(first: int, part: Any, counter: int) -> bytes:
        data = bytearray(whole(first, part, counter))
        if first == 24 and bench.commands.count(DETAIL_LOG) == 1:
            data[8] = 99
            data[-1] = frames.checksum(bytes(data[:-1]))
        return bytes(data)

    monkeypatch.setattr(frames, "detail_log_frame", frame)

    shelf.check(DETAIL_LOG, bench.run(shelf.read(DETAIL_LOG)))

    assert bench.client.statistics.rejected == 1
    assert bench.commands.count(DETAIL_LOG) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_late_log_is_not_the_next_answer(library: OpenLibrary, kind: int) -> None:
    """What arrives late is not taken for the answer to the next request."""
    shelf = library(count=50, faults=Faults(never_answer={kind}))
    bench = shelf.bench
    late = [
        frames.logbook_frame([StoredEntry(1, 2)], 0),
        frames.detail_log_frame(0, shelf.records[1:3], 0),
    ]

    def come() -> None:
        for frame in late:
            bench.tell(bytearray(frame))

    async def read() -> Log[Any]:
        with pytest.raises(SilentError):
            await shelf.read(kind)
        come()
        late.pop([*KINDS].index(kind))
        bench.bms.faults = Faults()
        await asyncio.sleep(0.1)
        # The answer to another question in between is none either
        at((asyncio.get_running_loop().time() + 0.05, come))
        return await shelf.read(kind)

    shelf.check(kind, bench.run(shelf.holder.meanwhile(read)))
    assert bench.commands[2:] == [kind] * 3


# No log


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held", [False, True])
def test_unanswered_log_fails_after_two_requests(
    library: OpenLibrary, kind: int, held: bool
) -> None:
    """It fails after twice 5 s; a held link is not affected."""
    shelf = library(faults=Faults(never_answer={kind}))
    bench = shelf.bench

    async def read() -> None:
        with pytest.raises(LogUnansweredError, match="log"):
            await shelf.read(kind)
        assert asyncio.get_running_loop().time() == exactly(
            bench.sent_at(kind)[0] + 10.0 + (0.0 if held else GATT_TIME)
        )

    bench.run(shelf.holder.meanwhile(read) if held else read())

    first, second = bench.sent_at(kind)
    assert second - first == exactly(5.0)
    assert len(bench.bms.connections) == 1
    assert bench.bms.beeps == 0


def test_firmware_without_a_detail_log_fails(switch_on: SwitchOn) -> None:
    """Older firmware only acknowledges the command."""
    bench = switch_on(HOUSE)

    with pytest.raises(LogUnansweredError, match="log"):
        bench.run(bench.client.read_detail_log())

    assert bench.commands == [INFO, CELLS, DETAIL_LOG, DETAIL_LOG]
    assert bench.reasons == ["by the central"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held", [False, True])
def test_reading_is_published_before_an_unanswered_log(
    library: OpenLibrary, kind: int, held: bool
) -> None:
    """A connection made for a log publishes its reading first; a held link does so anyway."""
    shelf = library(faults=Faults(never_answer={kind}))
    bench = shelf.bench
    told: list[Reading] = []

    async def read() -> None:
        with pytest.raises(LogUnansweredError):
            await getattr(bench.client, KINDS[kind])(told.append)

    bench.run(shelf.holder.meanwhile(read) if held else read())

    assert len(told) == (not held)
    for reading in told:
        assert_read(reading, bench.bms)
        assert reading.time <= bench.sent_at(kind)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held", [False, True])
def test_link_lost_during_a_log_fails_all_users(
    library: OpenLibrary, kind: int, held: bool
) -> None:
    """A link that breaks fails at once for everything that uses it."""
    shelf = library(faults=Faults(disconnect_in={LOGBOOK: 5, DETAIL_LOG: 6}[kind]))
    bench = shelf.bench

    async def read() -> list[Any]:
        tasks: list[Awaitable[Any]] = [shelf.read(kind)]
        if held:
            tasks.append(shelf.holder.hold())
        return await asyncio.gather(*reversed(tasks), return_exceptions=True)

    outcomes = bench.run(read())

    assert [type(outcome) for outcome in outcomes] == [NotReachableError] * len(
        outcomes
    )
    assert bench.reasons == ["fault: disconnect_in"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noticed", [False, True])
def test_log_after_a_lost_link_reconnects(
    library: OpenLibrary, kind: int, noticed: bool
) -> None:
    """A log reconnects if the loss of the held link is already known."""
    shelf = library()
    bench = shelf.bench

    async def read() -> list[Any]:
        holding = asyncio.create_task(shelf.holder.hold())
        await asyncio.sleep(20.0)
        if noticed:
            bench.bms.drop()
        reading = asyncio.create_task(shelf.read(kind))
        if not noticed:
            bench.bms.drop()
        return await asyncio.gather(holding, reading, return_exceptions=True)

    held, log = bench.run(read())

    assert isinstance(held, NotReachableError)
    if noticed:
        shelf.check(kind, log)
    else:
        assert isinstance(log, NotReachableError)
    assert len(bench.bms.connections) == 1 + noticed


@pytest.mark.parametrize("kind", KINDS)
def test_log_fails_when_the_held_link_is_re_established(
    library: OpenLibrary, kind: int
) -> None:
    """A log that is being read when the lifetime ends fails at once."""
    shelf = library(faults=Faults(never_answer={kind}))
    bench = shelf.bench
    moment = CELLS_COMPLETE + LIFETIME - 1.0

    async def read() -> list[Any]:
        return await asyncio.gather(
            shelf.holder.hold(),
            after(moment, lambda: shelf.read(kind)),
            return_exceptions=True,
        )

    held, log = bench.run(read())

    assert held is None
    assert isinstance(log, NotReachableError)
    assert bench.elapsed == exactly(CELLS_COMPLETE + LIFETIME + GATT_TIME)


# Time limits and ends of a log

LOG_FAULTS = {
    "none": Faults(),
    "hanging connection": Faults(hang_connection=True),
    "silent": Faults(silent=True),
    "mute": Faults(never_answer={INFO}),
    "no stream": Faults(never_answer={CELLS}),
    "no log": Faults(never_answer={LOGBOOK, DETAIL_LOG}),
    "lost in the logbook": Faults(disconnect_in=0x05),
    "everything lost": Faults(lose=1.0),
    "late": Faults(delay=4.0),
}


@pytest.mark.parametrize("backend", [TappedBackend, StickyBackend])
@pytest.mark.parametrize("faults", LOG_FAULTS.values(), ids=LOG_FAULTS.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_log_ends_by_the_deadline(
    library: OpenLibrary, kind: int, faults: Faults, backend: type[TappedBackend]
) -> None:
    """Whatever goes wrong, it ends in time, and the battery is disconnected by then."""
    for deadline in (25.0, 9.0, 5.0, 3.0, 0.0):
        shelf = library(faults=faults)
        shelf.bench.use(backend)
        with suppress(LinkError):
            shelf.check(kind, shelf.bench.run(shelf.read(kind, deadline=deadline)))
        assert shelf.bench.elapsed <= deadline + RIGHT_AWAY


@pytest.mark.parametrize("backend", [TappedBackend, StickyBackend])
@pytest.mark.parametrize("deadline", [4.0, 7.0, 9.0, 12.0])
def test_log_deadline_includes_waiting(
    library: OpenLibrary, deadline: float, backend: type[TappedBackend]
) -> None:
    """Waiting for the connection and for another log counts."""
    shelf = library()
    bench = shelf.bench
    bench.use(backend)
    ended: list[float] = []

    async def read(kind: int) -> None:
        with suppress(LinkError):
            shelf.check(kind, await shelf.read(kind, deadline=deadline))
        ended.append(asyncio.get_running_loop().time())

    async def read_all() -> None:
        reading = asyncio.create_task(bench.client.read())
        await asyncio.sleep(0)
        await asyncio.gather(reading, read(DETAIL_LOG), read(LOGBOOK))

    bench.run(read_all())

    assert max(ended) <= deadline + RIGHT_AWAY


@pytest.mark.parametrize("kind", KINDS)
def test_log_deadline_does_not_end_the_held_link(
    library: OpenLibrary, kind: int
) -> None:
    """A log that takes too long does not end the held link."""
    shelf = library(faults=Faults(never_answer={kind}))

    async def read() -> None:
        began = asyncio.get_running_loop().time()
        with pytest.raises(LinkError):
            await shelf.read(kind, deadline=5.0)
        assert asyncio.get_running_loop().time() - began <= 5.0

    shelf.bench.run(shelf.holder.meanwhile(read))


def test_slow_disconnect_does_not_cost_the_log(library: OpenLibrary) -> None:
    """A complete log is returned although disconnecting is slow."""
    shelf = library()
    bench = shelf.bench
    bench.use(StickyBackend)

    shelf.check(LOGBOOK, bench.run(shelf.read(LOGBOOK)))
    # With the services known, and just about in time
    deadline = bench.elapsed - GATT_TIME + 0.01
    shelf.check(LOGBOOK, bench.run(shelf.read(LOGBOOK, deadline=deadline)))


LOG_MOMENTS = [0.1, 0.6, 1.5, 2.0, 2.2, 2.5, 4.0, 8.0]


@pytest.mark.parametrize("moment", LOG_MOMENTS)
@pytest.mark.parametrize("held", [False, True])
def test_disconnect_ends_every_waiting_log(
    library: OpenLibrary, moment: float, held: bool
) -> None:
    """Disconnecting fails everything that waits, and nothing reconnects."""
    shelf = library()
    bench = shelf.bench

    async def end() -> list[Any]:
        tasks = []
        if held:
            tasks.append(asyncio.create_task(shelf.holder.hold()))
            await asyncio.sleep(0)
        tasks += [
            asyncio.create_task(shelf.read(kind)) for kind in (DETAIL_LOG, LOGBOOK)
        ]
        await asyncio.sleep(moment)
        began = asyncio.get_running_loop().time()
        await bench.client.disconnect()
        assert not bench.bms.connected
        assert asyncio.get_running_loop().time() - began <= GATT_TIME + RIGHT_AWAY
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = bench.run(end())

    assert all(isinstance(outcome, LinkError) for outcome in outcomes)
    assert len(bench.bms.connections) <= 1
    assert bench.elapsed <= moment + GATT_TIME + RIGHT_AWAY
    assert_read(bench.read(), bench.bms)


@pytest.mark.parametrize("moment", LOG_MOMENTS)
@pytest.mark.parametrize("held", [False, True])
def test_cancelled_log_leaves_the_held_link_alone(
    library: OpenLibrary, moment: float, held: bool
) -> None:
    """A cancelled log closes its own connection, and leaves the held one alone."""
    shelf = library()
    bench = shelf.bench

    async def cancel() -> None:
        holding = asyncio.create_task(shelf.holder.hold()) if held else None
        await asyncio.sleep(0)
        reading = asyncio.create_task(shelf.read(DETAIL_LOG))
        await asyncio.sleep(moment)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        if holding:
            await asyncio.sleep(20)
            shelf.check(LOGBOOK, await shelf.read(LOGBOOK))
            await holding
        else:
            assert not bench.bms.connected

    bench.run(cancel())

    assert len(bench.bms.connections) <= 1
    assert bench.bms.beeps == 0


@pytest.mark.parametrize("pulse", [5, 6, 14])
def test_log_on_a_bad_radio_is_right(library: OpenLibrary, pulse: int) -> None:
    """What is read is right, and most of it is read."""
    shelf = library(faults=Faults(lose=0.01, damage=0.01, seed=pulse))

    log = shelf.bench.run(shelf.read(DETAIL_LOG))

    for record in log.entries:
        check_record(record, record.index, shelf.records[record.index])
    assert len(log.entries) > 0.9 * RING


def test_default_lifetime_is_under_an_hour(switch_on: SwitchOn) -> None:
    """Settings are read again within the hour, connecting included."""
    bench = switch_on(habits=STEADY)

    bench.run(bench.client.hold(lambda _: None, interval=600.0))

    assert 3000 < bench.elapsed < 3600 - READ_DEADLINE
