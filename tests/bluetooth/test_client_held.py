"""Tests of held links and of reading the battery's own logs."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import ceil
from typing import Any, override

from bleak.backends.characteristic import BleakGATTCharacteristic
import pytest

from custom_components.jk_bms.jkbms.bluetooth import cell_decoder
from custom_components.jk_bms.jkbms.bluetooth.client import READ_DEADLINE
from custom_components.jk_bms.jkbms.errors import (
    ConnectionLostError,
    LinkError,
    LogUnansweredError,
    NotReachableError,
    SilentError,
)
from custom_components.jk_bms.jkbms.models import (
    DetailLogRecord,
    LiveSample,
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

from .harness import (
    CADENCE,
    CELLS,
    CELLS_COMPLETE,
    COMPLETE,
    FIRST_CELLS,
    FIRST_COMMAND,
    GARAGE,
    HOUSE,
    INFO,
    ROUNDING,
    SECOND_COMMAND,
    STEADY,
    HangingDisconnectBackend,
    Harness,
    PowerOn,
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
"""Records in a full detail log."""


class HeldLink:
    """Holds a link, and checks each reading when it is published."""

    def __init__(self, harness: Harness, **options: Any) -> None:
        """Nothing happens until `hold`."""
        self.harness = harness
        self.options = {"interval": 5.0, "lifetime": LIFETIME} | options
        self.readings: list[Reading] = []
        self.publishing = asyncio.Event()
        self.then: Callable[[Reading], None] = lambda _: None
        """Called with each reading."""

    def publish(self, reading: Reading) -> None:
        """Check that the reading is of the latest frame."""
        bms = self.harness.bms
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
        """Return when readings were published, s."""
        return [reading.time for reading in self.readings]

    @property
    def pauses(self) -> list[float]:
        """Return the times between them, s."""
        return [later - earlier for earlier, later in pairwise(self.times)]

    async def hold(self) -> None:
        """Hold the link."""
        await self.harness.client.hold(self.publish, **self.options)

    def run(self) -> None:
        """Hold the link until it ends."""
        self.harness.run(self.hold())

    async def meanwhile[T](self, act: Callable[[], Awaitable[T]]) -> T:
        """Act while the link is held, and check that it stays held."""
        task = asyncio.create_task(self.hold())
        try:
            await self.publishing.wait()
            result = await act()
            self.publishing.clear()
            await self.publishing.wait()
            assert not task.done()
            assert len(self.harness.bms.connections) == 1
            return result
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def at(*actions: tuple[float, Callable[[], object]]) -> None:
    """Schedule actions at times of the loop."""
    loop = asyncio.get_running_loop()
    for moment, action in actions:
        loop.call_at(moment, action)


async def after[T](moment: float, act: Callable[[], Awaitable[T]]) -> T:
    """Act after a delay, s."""
    await asyncio.sleep(moment)
    return await act()


def set_faults(harness: Harness, **faults: Any) -> Callable[[], None]:
    """Return an action that gives the battery these faults."""
    return lambda: setattr(harness.bms, "faults", Faults(**faults))


# Published


@pytest.mark.parametrize("interval", [0.0, 5.0, 30.0])
def test_held_link_publishes_every_interval(power_on: PowerOn, interval: float) -> None:
    """A reading at once and then one per interval, all on one connection without a beep."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness, interval=interval, lifetime=LONG)

    held_link.run()

    step = max(1, ceil(interval / CADENCE)) * CADENCE
    count = int(LONG / step) + 1
    assert held_link.times == exactly([CELLS_COMPLETE + n * step for n in range(count)])
    assert harness.commands == [INFO, CELLS]
    assert harness.bms.beeps == 0
    assert harness.lookups == 1
    assert harness.close_reasons == ["by the central"]
    assert harness.elapsed == exactly(CELLS_COMPLETE + LONG + GATT_TIME)


def test_every_frame_of_a_held_link_is_counted(power_on: PowerOn) -> None:
    """A load that is on for 15 s and off for 15 s, published every 30 s."""
    harness = power_on(habits=STEADY)
    samples: list[LiveSample] = []
    held_link = HeldLink(harness, interval=30.0, lifetime=LONG, on_live=samples.append)

    def draw(current: float) -> None:
        battery = harness.bms.battery
        power = abs(current) * battery.state.voltage
        battery.override(current=current, power=power)

    async def hold() -> None:
        at(*((15.0 * n, partial(draw, -200.0 * (n % 2))) for n in range(21)))
        await held_link.hold()

    harness.run(hold())

    assert [sample.time for sample in samples] == exactly(
        [CELLS_COMPLETE + n * CADENCE for n in range(len(samples))]
    )
    assert samples[-1].time == exactly(CELLS_COMPLETE + LONG, abs=2 * CADENCE)
    loaded = [sample for sample in samples if sample.current == -200.0]
    assert len(loaded) / len(samples) == exactly(0.5, abs=0.02)
    assert all(sample.power and sample.power < -1000 for sample in loaded)


@pytest.mark.parametrize("frames", [4, 15, 16, 17, 33])
def test_all_frames_up_to_a_reading_and_to_the_end_are_counted(
    power_on: PowerOn, frames: int
) -> None:
    """However many came since the reading before."""
    harness = power_on(habits=STEADY)
    samples: list[LiveSample] = []
    counted: list[float] = []
    held_link = HeldLink(
        harness,
        interval=(frames - 0.5) * CADENCE,
        lifetime=(10 * frames + 3.5) * CADENCE,
        on_live=samples.append,
    )
    held_link.then = lambda _: counted.append(samples[-1].time)

    held_link.run()

    assert counted == exactly(held_link.times)
    assert len(counted) == 11
    assert samples[-1].time == exactly(CELLS_COMPLETE + (10 * frames + 3) * CADENCE)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_can_be_held(power_on: PowerOn, model: str) -> None:
    """Readings are never closer together than the interval."""
    harness = power_on(model)
    held_link = HeldLink(harness)

    held_link.run()

    assert min(held_link.pauses) >= 5.0
    assert max(held_link.pauses) <= 5.0 + 3 * CADENCE
    assert harness.bms.beeps == 0
    assert harness.client.statistics.rejected == 0


def test_frames_inside_the_interval_are_not_decoded(
    power_on: PowerOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of some hundred frames only the due ones are decoded."""
    decoded: list[int] = []
    decode = cell_decoder.decode_cell_data

    def count(frame: Any, profile: Any) -> Any:
        decoded.append(frame.counter)
        return decode(frame, profile)

    monkeypatch.setattr(cell_decoder, "decode_cell_data", count)
    harness = power_on()
    held_link = HeldLink(harness, interval=30.0)

    held_link.run()

    # The first is decoded to be compared with the second
    assert decoded[1:] == [r.cell_data.frame_counter for r in held_link.readings]
    assert len(decoded) == 3
    assert harness.client.statistics.good > 100


def test_frames_inside_the_interval_wake_no_task(
    power_on: PowerOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session only wakes every six seconds to check that frames still come."""
    waits: list[float] = []
    get = asyncio.Queue.get

    async def count(queue: asyncio.Queue[Any]) -> Any:
        waits.append(asyncio.get_running_loop().time())
        return await get(queue)

    monkeypatch.setattr(asyncio.Queue, "get", count)
    harness = power_on(habits=STEADY)

    HeldLink(harness, interval=30.0).run()

    held = [moment for moment in waits if moment >= CELLS_COMPLETE]
    assert len(held) <= LIFETIME / SILENCE + 3
    assert harness.client.statistics.good > 100


@pytest.mark.parametrize(("interval", "passed_over"), [(5.0, 10), (0.0, 0)])
def test_second_of_two_frames_in_a_notification_is_skipped(
    power_on: PowerOn, interval: float, passed_over: int
) -> None:
    """Of two frames in one notification the second is inside the interval, if there is one."""
    harness = power_on(habits=STEADY)
    readings: list[Reading] = []
    due = CELLS_COMPLETE + 10 * CADENCE
    jam: list[bytes] = []

    def hold_up(data: bytes) -> bytes:
        if asyncio.get_running_loop().time() < due - CADENCE / 2 or len(jam) == 8:
            return data
        jam.append(data)
        return b"".join(jam) if len(jam) == 8 else b""

    harness.alter = hold_up
    harness.run(
        harness.client.hold(readings.append, interval=interval, lifetime=LIFETIME)
    )

    assert len(b"".join(jam)) == 600
    late = due + CADENCE
    first, second = [r for r in readings if r.time > late - CADENCE / 2][:2]
    assert first.time == exactly(late)
    assert second.time == exactly(late + passed_over * CADENCE)
    counters = [r.cell_data.frame_counter or 0 for r in (first, second)]
    assert counters[1] - counters[0] == 1 + passed_over


def test_held_link_publishes_current_values(power_on: PowerOn) -> None:
    """A change in the battery is in the next reading."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness)

    async def hold() -> None:
        at((20.0, lambda: harness.bms.battery.override(current=-12.5)))
        await held_link.hold()

    harness.run(hold())

    changed = [r.time > 20.0 for r in held_link.readings]
    assert changed == [r.cell_data.battery_current == -12.5 for r in held_link.readings]


def test_reconnecting_does_not_shorten_the_interval(power_on: PowerOn) -> None:
    """The first reading of a new connection waits for the rest of the interval."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness, interval=30.0, since=-10.0)

    held_link.run()

    first = CELLS_COMPLETE + ceil((20.0 - CELLS_COMPLETE) / CADENCE) * CADENCE
    assert held_link.times[0] == exactly(first)
    assert held_link.times[1] - held_link.times[0] == exactly(57 * CADENCE)


def test_overdue_reading_is_published_at_once(power_on: PowerOn) -> None:
    """A reading that is due is published as soon as the link is established."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness, since=-4.0)

    held_link.run()

    assert held_link.times[0] == exactly(CELLS_COMPLETE)


def test_publish_next_restarts_the_interval(power_on: PowerOn) -> None:
    """The next frame is published, and the interval counts from there."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness, interval=30.0)

    async def hold() -> None:
        at((10.0, harness.client.publish_next), (10.01, harness.client.publish_next))
        await held_link.hold()

    harness.run(hold())

    hurried = CELLS_COMPLETE + ceil((10.0 - CELLS_COMPLETE) / CADENCE) * CADENCE
    assert held_link.times[:3] == exactly(
        [CELLS_COMPLETE, hurried, hurried + 57 * CADENCE]
    )


@pytest.mark.parametrize("before", ["no link", "another link", "a link that fails"])
def test_publish_next_outlives_a_connection(power_on: PowerOn, before: str) -> None:
    """The request outlives the connection that it was made on, and is fulfilled once."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness, interval=30.0, since=0.0, lifetime=LONG)
    if before == "another link":
        harness.read()
        held_link.options["since"] = COMPLETE
    if before == "a link that fails":
        harness.bms.faults = Faults(disconnect_in=0x03)
        harness.before_lookup[2] = set_faults(harness)

    async def hold() -> None:
        harness.client.publish_next()
        await held_link.hold()

    harness.run(hold())

    assert len(held_link.times) == 10
    # The services are known the second time, and the battery after a reading
    known = 0.0 if before == "no link" else GATT_TIME
    known += CADENCE if before == "another link" else 0.0
    opened = harness.bms.connections[-1].opened
    assert held_link.times[0] == exactly(opened - 0.4 + CELLS_COMPLETE - known)


def test_client_can_read_and_hold_in_turn(power_on: PowerOn) -> None:
    """One client can do both, one after the other."""
    harness = power_on()

    assert_read(harness.read(), harness.bms)
    HeldLink(harness).run()
    HeldLink(harness).run()
    assert_read(harness.read(), harness.bms)

    assert harness.close_reasons == ["by the central"] * 4


def test_lifetime_begins_with_the_first_reading(power_on: PowerOn) -> None:
    """The lifetime of a link begins with its first reading."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness, lifetime=0.0)

    held_link.run()

    assert harness.elapsed <= COMPLETE + ROUNDING
    assert harness.close_reasons == ["by the central"]


def test_error_in_publish_ends_the_link(power_on: PowerOn) -> None:
    """An error of the callback ends the link and is raised."""
    harness = power_on()
    held_link = HeldLink(harness)

    def fail(reading: Reading) -> None:
        raise ValueError(reading.time)

    held_link.then = fail

    with pytest.raises(ValueError, match="2"):
        held_link.run()

    assert harness.close_reasons == ["by the central"]


# Settings


def change_settings(harness: Harness, **changes: Any) -> Callable[[], None]:
    """Return an action that makes the battery send changed settings unasked."""

    def tell() -> None:
        battery = harness.bms.battery
        battery.settings = replace(battery.settings, **changes)
        frame = frames.settings_frame(harness.bms.spec, battery.settings, 0)
        harness.notify(bytearray(frame))

    return tell


def test_changed_settings_are_published_when_read_twice(power_on: PowerOn) -> None:
    """Settings that change in the stream are in the next reading, once received twice."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness)

    async def hold() -> None:
        # Between two frames
        between = CELLS_COMPLETE + 37.5 * CADENCE
        at((between, change_settings(harness, balance_trigger=0.025)))
        await held_link.hold()

    harness.run(hold())

    changed = CELLS_COMPLETE + 37.5 * CADENCE
    assert [
        (reading.settings and reading.settings.balance_trigger) == exactly(0.025)
        for reading in held_link.readings
    ] == [moment > changed for moment in held_link.times]
    assert harness.bms.beeps == 1


def test_implausible_settings_do_not_replace_known_ones(power_on: PowerOn) -> None:
    """Impossible settings are counted, and the known ones stay."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness)
    known = harness.bms.battery.settings

    def restore() -> None:
        harness.bms.battery.settings = known

    async def hold() -> None:
        between = CELLS_COMPLETE + 37.5 * CADENCE
        at(
            (between, change_settings(harness, cell_count=99)),
            (between + 0.01, restore),
        )
        await held_link.hold()

    harness.run(hold())

    assert len({reading.settings for reading in held_link.readings}) == 1
    assert harness.client.statistics.rejected == 1


def test_settings_lost_at_first_are_published_later(power_on: PowerOn) -> None:
    """Settings that were lost are published when they come."""
    harness = power_on(habits=STEADY, faults=Faults(lose={6}))
    readings: list[Reading] = []

    async def hold() -> None:
        between = CELLS_COMPLETE + 37.5 * CADENCE
        at((between, change_settings(harness)))
        await harness.client.hold(readings.append, interval=5.0, lifetime=60.0)

    harness.run(hold())

    assert readings[0].settings is None
    assert readings[-1].settings
    assert readings[-1].settings.cell_count == harness.bms.battery.settings.cell_count


# Loss


@pytest.mark.parametrize("moment", [0.0, 0.01, 0.3, 4.0, 50.0])
def test_dropped_held_link_fails_at_once(power_on: PowerOn, moment: float) -> None:
    """A held link that drops fails at once and does not reconnect by itself."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness)

    async def hold() -> None:
        at((CELLS_COMPLETE + moment, harness.bms.drop))
        await held_link.hold()

    with pytest.raises(NotReachableError, match="connection was lost"):
        harness.run(hold())

    assert harness.elapsed == exactly(CELLS_COMPLETE + moment)
    assert len(harness.bms.connections) == 1


def test_hold_without_a_first_reading_fails_by_the_deadline(
    power_on: PowerOn,
) -> None:
    """Without a first reading it fails like a read, by the deadline."""
    for fault in ("hang_connection", "silent", "garbage"):
        harness = power_on(faults=Faults(**{fault: True}))
        with pytest.raises(LinkError):
            HeldLink(harness, deadline=12.0).run()
        assert harness.elapsed <= 12.0 + ROUNDING


def test_hold_reconnects_once_before_the_first_reading(power_on: PowerOn) -> None:
    """A first connection that does not work is retried once, as for a read."""
    harness = power_on(faults=Faults(disconnect_in=0x03))
    harness.before_lookup[2] = set_faults(harness)
    held_link = HeldLink(harness)

    held_link.run()

    assert len(harness.bms.connections) == 2
    assert len(held_link.readings) == int(LIFETIME / (10 * CADENCE)) + 1


@pytest.mark.parametrize("backend", [TappedBackend, HangingDisconnectBackend])
def test_silent_held_link_fails_after_twelve_seconds(
    power_on: PowerOn, backend: type[TappedBackend]
) -> None:
    """0x96 is repeated after 6 s; 12 s after the last frame the link is closed."""
    harness = power_on(habits=STEADY)
    harness.use_backend(backend)
    held_link = HeldLink(harness)

    async def hold() -> None:
        at((30.0, set_faults(harness, silent=True)))
        await held_link.hold()

    with pytest.raises(SilentError):
        harness.run(hold())

    last = max(moment for moment, data in harness.notifications if len(data) > 20)
    assert last < 30.0
    # The last frame may have been cut short
    last = CELLS_COMPLETE + int((last + 0.001 - CELLS_COMPLETE) / CADENCE) * CADENCE
    assert harness.sent_at(CELLS)[1:] == exactly([last + SILENCE])
    assert harness.bms.connections[0].closed == exactly(last + 2 * SILENCE + GATT_TIME)
    assert harness.commands == [INFO, CELLS, CELLS]


def test_hanging_write_does_not_delay_the_failure(power_on: PowerOn) -> None:
    """A write that never returns does not delay the end of a silent link."""

    class Hanging(TappedBackend):
        @override
        async def write_gatt_char(
            self, characteristic: BleakGATTCharacteristic, data: Any, response: bool
        ) -> None:
            if self.harness.bms.faults.silent:
                await asyncio.get_running_loop().create_future()
            await super().write_gatt_char(characteristic, data, response)

    harness = power_on(habits=STEADY)
    harness.use_backend(Hanging)
    held_link = HeldLink(harness)

    async def hold() -> None:
        at((30.0, set_faults(harness, silent=True)))
        await held_link.hold()

    with pytest.raises(LinkError):
        harness.run(hold())

    assert harness.elapsed <= 30.0 + 2 * SILENCE


@pytest.mark.parametrize("count", [1, 9, 40])
def test_stream_that_stops_is_restarted(power_on: PowerOn, count: int) -> None:
    """A stream that stops repeatedly is restarted each time, on the same connection."""
    harness = power_on(habits=STEADY, faults=Faults(stream_stops_after=count))
    held_link = HeldLink(harness, lifetime=LONG)

    held_link.run()

    sent = harness.sent_at(CELLS)
    # The frames, and the silence behind them, until the answer to the next command
    period = 0.7 + (count - 1) * CADENCE + 3 * 0.025 + SILENCE
    repeated = [later - earlier for earlier, later in pairwise(sent)]
    assert repeated == exactly([period] * len(repeated))
    began = FIRST_CELLS + (period if count == 1 else CADENCE)
    assert len(repeated) == int((began + LONG - sent[0]) / period)
    assert harness.bms.beeps == 0
    assert harness.close_reasons == ["by the central"]
    assert min(held_link.pauses) >= 5.0
    assert max(held_link.pauses) <= 5.0 + SILENCE + 1.5


@pytest.mark.parametrize("count", [1, 9, 40])
def test_stream_that_stops_inside_the_interval_is_restarted(
    power_on: PowerOn, count: int
) -> None:
    """A stream that stops is noticed just as fast while no reading is due."""
    harness = power_on(habits=STEADY, faults=Faults(stream_stops_after=count))
    held_link = HeldLink(harness, interval=2 * LONG, lifetime=LONG)

    held_link.run()

    sent = harness.sent_at(CELLS)
    period = 0.7 + (count - 1) * CADENCE + 3 * 0.025 + SILENCE
    repeated = [later - earlier for earlier, later in pairwise(sent)]
    assert repeated == exactly([period] * len(repeated))
    began = FIRST_CELLS + (period if count == 1 else CADENCE)
    assert len(repeated) == int((began + LONG - sent[0]) / period)
    assert len(held_link.readings) == 1
    assert harness.close_reasons == ["by the central"]


def test_silence_inside_the_interval_fails_as_fast(power_on: PowerOn) -> None:
    """The link is closed just as fast if no reading is due."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness, interval=LONG)

    async def hold() -> None:
        at((30.0, set_faults(harness, silent=True)))
        await held_link.hold()

    with pytest.raises(SilentError):
        harness.run(hold())

    last = CELLS_COMPLETE + int((30.0 - CELLS_COMPLETE) / CADENCE) * CADENCE
    assert harness.sent_at(CELLS)[1:] == exactly([last + SILENCE])
    assert harness.elapsed == exactly(last + 2 * SILENCE + GATT_TIME)


def test_settings_alone_are_no_stream(power_on: PowerOn) -> None:
    """Answering 0x96 is no stream: the link is closed 6 s after the settings."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness)

    async def hold() -> None:
        at((30.0, set_faults(harness, stream_stops_after=0)))
        await held_link.hold()

    with pytest.raises(SilentError):
        harness.run(hold())

    _, again = harness.sent_at(CELLS)
    assert harness.elapsed == exactly(again + 0.08 + 3 * 0.025 + SILENCE + GATT_TIME)


IMPOSSIBLE = {"soc": 120}


@pytest.mark.parametrize("frames_hit", [1, 2])
def test_implausible_due_frame_is_replaced_by_the_next(
    power_on: PowerOn, frames_hit: int
) -> None:
    """Impossible values are counted, and the next good frame is published instead."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness)
    due = CELLS_COMPLETE + 10 * CADENCE

    async def hold() -> None:
        battery = harness.bms.battery
        at(
            (due - CADENCE / 2, lambda: battery.override(**IMPOSSIBLE)),
            (due + (frames_hit - 0.5) * CADENCE, battery.release),
        )
        await held_link.hold()

    harness.run(hold())

    late = due + frames_hit * CADENCE
    assert held_link.times[:3] == exactly([CELLS_COMPLETE, late, late + 10 * CADENCE])
    assert harness.client.statistics.rejected == frames_hit


def test_implausible_frame_inside_the_interval_is_ignored(power_on: PowerOn) -> None:
    """Impossible values in a frame that is not due are not even noticed."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness)

    async def hold() -> None:
        battery = harness.bms.battery
        at(
            (CELLS_COMPLETE + 0.3, lambda: battery.override(**IMPOSSIBLE)),
            (CELLS_COMPLETE + 4.5, battery.release),
        )
        await held_link.hold()

    harness.run(hold())

    assert held_link.times[1] == exactly(CELLS_COMPLETE + 10 * CADENCE)
    assert harness.client.statistics.rejected == 0


def test_separate_implausible_frames_do_not_add_up(power_on: PowerOn) -> None:
    """Only implausible frames in a row end the link."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness, lifetime=100.0)

    def toggle(reading: Reading) -> None:
        # The next two frames that are due
        due, battery = reading.time + 10 * CADENCE, harness.bms.battery
        if due < 95.0:
            at(
                (due - CADENCE / 2, lambda: battery.override(**IMPOSSIBLE)),
                (due + 1.5 * CADENCE, battery.release),
            )

    held_link.then = toggle

    held_link.run()

    assert held_link.pauses[:14] == exactly([12 * CADENCE] * 14)
    assert harness.client.statistics.rejected == 2 * 14


@pytest.mark.parametrize("blanks", [1, 2, 3])
def test_blank_frames_are_believed_after_three(power_on: PowerOn, blanks: int) -> None:
    """Frames of zeros are believed when three in a row are due."""
    harness = power_on(habits=STEADY)
    readings: list[Reading] = []
    due = CELLS_COMPLETE + 10 * CADENCE

    def blank(every: int | None) -> None:
        harness.bms.faults = Faults(blank_every=every)

    async def hold() -> None:
        at(
            (due - CADENCE / 2, lambda: blank(1)),
            (due + (blanks - 0.5) * CADENCE, lambda: blank(None)),
        )
        await harness.client.hold(readings.append, interval=5.0, lifetime=LIFETIME)

    harness.run(hold())

    late = due + min(blanks, 2) * CADENCE
    assert [r.time for r in readings[:2]] == exactly([CELLS_COMPLETE, late])
    shown = [bool(reading.cell_data.cell_voltage) for reading in readings[:3]]
    assert shown == [True, blanks < 3, True]


@pytest.mark.parametrize("seed", range(4))
def test_held_link_on_a_bad_radio_is_right(power_on: PowerOn, seed: int) -> None:
    """On a bad radio readings are late, never wrong, and nothing beeps."""
    harness = power_on(GARAGE, faults=Faults(lose=0.02, damage=0.02, seed=seed))
    readings: list[Reading] = []

    def publish(reading: Reading) -> None:
        readings.append(reading)
        if reading.settings:
            assert_read(reading, harness.bms)

    harness.run(harness.client.hold(publish, interval=5.0, lifetime=LONG))

    assert len(readings) > 40
    assert harness.bms.beeps == 0


# Disconnecting and cancelling

MOMENTS = [round(0.07 + 0.21 * step, 2) for step in range(12)] + [50.0, LIFETIME]
CLOSING = CELLS_COMPLETE + LIFETIME + GATT_TIME / 2


@pytest.mark.parametrize("backend", [TappedBackend, HangingDisconnectBackend])
@pytest.mark.parametrize("moment", [*MOMENTS, CLOSING])
def test_disconnect_ends_a_held_link(
    power_on: PowerOn, moment: float, backend: type[TappedBackend]
) -> None:
    """Wherever it is, the battery is disconnected when the call returns."""
    harness = power_on(habits=STEADY)
    harness.use_backend(backend)
    held_link = HeldLink(harness)

    async def end() -> tuple[Any, float]:
        task = asyncio.create_task(held_link.hold())
        await asyncio.sleep(moment)
        began = asyncio.get_running_loop().time()
        await harness.client.disconnect()
        assert not harness.bms.connected
        took = asyncio.get_running_loop().time() - began
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        return outcome, took

    outcome, took = harness.run(end())

    assert isinstance(outcome, LinkError)
    assert took <= 3 + ROUNDING
    assert len(harness.bms.connections) <= 1
    harness.use_backend(TappedBackend)
    assert_read(harness.read(), harness.bms)


def test_disconnect_with_the_first_reading_is_not_lost(power_on: PowerOn) -> None:
    """Lifting the first deadline does not undo a disconnect."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness)
    ending: list[asyncio.Task[None]] = []
    nothing_lost = harness.is_lost

    async def hold() -> Any:
        task = asyncio.create_task(held_link.hold())
        await asyncio.sleep(CELLS_COMPLETE - 0.01)

        def lost(data: bytes) -> bool:
            # In the same round of the loop, right behind the last piece
            asyncio.get_running_loop().call_soon(
                lambda: ending.append(
                    asyncio.Task(harness.client.disconnect(), eager_start=True)
                )
            )
            harness.is_lost = nothing_lost
            return False

        harness.is_lost = lost
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        await ending[0]
        return outcome

    assert isinstance(harness.run(hold()), LinkError)
    assert harness.elapsed <= COMPLETE + ROUNDING


@pytest.mark.parametrize("backend", [TappedBackend, HangingDisconnectBackend])
@pytest.mark.parametrize("moment", [*MOMENTS, CLOSING])
def test_cancelled_hold_disconnects(
    power_on: PowerOn, moment: float, backend: type[TappedBackend]
) -> None:
    """A cancelled hold disconnects the battery, also if cancelled while disconnecting."""
    harness = power_on(habits=STEADY)
    harness.use_backend(backend)
    held_link = HeldLink(harness)

    async def end() -> None:
        task = asyncio.create_task(held_link.hold())
        await asyncio.sleep(moment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    harness.run(end())

    assert harness.elapsed <= moment + 3 + ROUNDING
    assert set(harness.close_reasons) <= {"by the central", "failed after connecting"}
    harness.use_backend(TappedBackend)
    assert_read(harness.read(), harness.bms)


def test_hold_may_be_cancelled_and_disconnected(power_on: PowerOn) -> None:
    """Home Assistant does both when it stops."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness)

    async def end() -> None:
        task = asyncio.create_task(held_link.hold())
        await asyncio.sleep(50)
        task.cancel()
        await harness.client.disconnect()
        assert not harness.bms.connected
        with pytest.raises(asyncio.CancelledError):
            await task

    harness.run(end())
    assert harness.elapsed == exactly(50 + GATT_TIME)


def test_read_waits_for_the_held_link(power_on: PowerOn) -> None:
    """There is one connection: a read waits until the held link is closed."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness)

    async def both() -> Reading:
        _, reading = await asyncio.gather(
            held_link.hold(), after(10.0, harness.client.read)
        )
        return reading

    assert_read(harness.run(both()), harness.bms)
    held, own = harness.bms.connections
    assert held.closed == exactly(CELLS_COMPLETE + LIFETIME + GATT_TIME)
    assert own.opened == exactly(held.closed + 0.4)


def test_hold_waits_for_a_read(power_on: PowerOn) -> None:
    """There is one connection: a held link waits until a read is complete."""
    harness = power_on(habits=STEADY)
    held_link = HeldLink(harness)

    async def both() -> None:
        await asyncio.gather(harness.client.read(), held_link.hold())

    harness.run(both())
    own, held = harness.bms.connections
    assert own.closed is not None
    assert held.opened == exactly(own.closed + 0.4)


def test_frames_are_counted_and_kept(power_on: PowerOn) -> None:
    """Frames are counted, and the last one of each type is kept."""
    harness = power_on(LOGGER)

    HeldLink(harness).run()

    good = harness.client.statistics.good
    assert good > 100
    assert harness.client.statistics.acknowledged == 2
    assert set(harness.client.last_frames) == {
        FrameType.DEVICE_INFO,
        FrameType.SETTINGS,
        FrameType.CELL_DATA,
    }
    last = harness.client.last_frames[FrameType.CELL_DATA]
    assert last.counter == (harness.bms.counter - 1) & 0xFF

    harness.run(harness.client.read_detail_log())
    harness.run(harness.client.read_logbook())

    assert harness.client.statistics.good > good + RING / 12
    assert set(harness.client.last_frames) == set(FrameType)
    assert harness.client.statistics.rejected == 0


# The logs

KINDS = {LOGBOOK: "read_logbook", DETAIL_LOG: "read_detail_log"}


class BatteryWithLogs:
    """A battery with known logs."""

    def __init__(
        self,
        power_on: PowerOn,
        monkeypatch: pytest.MonkeyPatch,
        *,
        count: int = RING,
        **options: Any,
    ) -> None:
        """`count`: records of the detail log."""
        habits = STEADY | options.pop("habits", {})
        self.harness = power_on(LOGGER, habits=habits, **options)
        battery = self.harness.bms.battery
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
        self.held_link = HeldLink(self.harness)

    async def read(self, kind: int, **options: float) -> Log[Any]:
        """Read one of the logs."""
        return await getattr(self.harness.client, KINDS[kind])(**options)

    def check(self, kind: int, log: Log[Any]) -> None:
        """Check that the log is the battery's."""
        assert log.reading.device_info.serial_number == self.harness.bms.spec.serial
        if kind == LOGBOOK:
            stored = self.harness.bms.battery.log
            assert [(e.time, e.code) for e in log.entries] == [
                (entry.time, entry.code) for entry in stored
            ]
            assert {type(entry) for entry in log.entries} == {LogEntry}
        else:
            assert len(log.entries) == len(self.records)
            for index, record in enumerate(self.records):
                check_record(log.entries[index], index, record)


def check_record(found: DetailLogRecord, index: int, record: DetailRecord) -> None:
    """Check one record of the detail log against what the battery stored."""
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


type PowerOnWithLogs = Callable[..., BatteryWithLogs]


@pytest.fixture
def power_on_with_logs(
    power_on: PowerOn, monkeypatch: pytest.MonkeyPatch
) -> PowerOnWithLogs:
    """Return what powers on a battery with logs."""
    return lambda **options: BatteryWithLogs(power_on, monkeypatch, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_log_connects_without_a_held_link(
    power_on_with_logs: PowerOnWithLogs, kind: int
) -> None:
    """Without a held link it connects for the log and disconnects."""
    battery = power_on_with_logs()
    harness = battery.harness

    battery.check(kind, harness.run(battery.read(kind)))

    assert harness.commands == [INFO, CELLS, kind]
    assert harness.close_reasons == ["by the central"]
    assert harness.bms.beeps == 0
    assert harness.client.statistics.rejected == 0
    assert harness.elapsed < {LOGBOOK: 3.5, DETAIL_LOG: 10.0}[kind]
    assert_read(harness.read(), harness.bms)


@pytest.mark.parametrize("model", MODELS)
def test_logbook_of_every_model_is_read(power_on: PowerOn, model: str) -> None:
    """Every model has a logbook."""
    harness = power_on(model)

    log = harness.run(harness.client.read_logbook())

    assert [(e.time, e.code) for e in log.entries] == [(0, 1), (27, 60), (3079, 68)]
    assert_read(log.reading, harness.bms)


@pytest.mark.parametrize("kind", KINDS)
def test_log_uses_the_held_link(power_on_with_logs: PowerOnWithLogs, kind: int) -> None:
    """The held link is used and stays: no second connection, no 0x96, no beep."""
    battery = power_on_with_logs()
    harness, held_link = battery.harness, battery.held_link
    took: list[float] = []

    async def read() -> Log[Any]:
        began = asyncio.get_running_loop().time()
        log = await battery.read(kind)
        took.append(asyncio.get_running_loop().time() - began)
        return log

    log = harness.run(held_link.meanwhile(read))

    battery.check(kind, log)
    assert log.reading is held_link.readings[0]
    assert harness.commands == [INFO, CELLS, kind]
    assert harness.bms.beeps == 0
    assert len(held_link.readings) >= 2
    # A detail log takes longer than the silence that a stream may have
    assert took[0] > SILENCE if kind == DETAIL_LOG else took[0] < 0.5


def test_log_comes_with_the_newest_reading(power_on_with_logs: PowerOnWithLogs) -> None:
    """A log comes with the latest reading of the held link."""
    battery = power_on_with_logs()

    async def read() -> Log[Any]:
        return await after(12.0, lambda: battery.read(LOGBOOK))

    log = battery.harness.run(battery.held_link.meanwhile(read))

    assert log.reading is battery.held_link.readings[2]


def test_logs_can_be_read_repeatedly(power_on_with_logs: PowerOnWithLogs) -> None:
    """Each log is read completely, however often."""
    battery = power_on_with_logs(count=30)

    async def read() -> None:
        for kind in (LOGBOOK, DETAIL_LOG, DETAIL_LOG, LOGBOOK):
            battery.check(kind, await battery.read(kind))

    battery.harness.run(battery.held_link.meanwhile(read))

    assert battery.harness.commands[2:] == [LOGBOOK, DETAIL_LOG, DETAIL_LOG, LOGBOOK]


@pytest.mark.parametrize("kinds", [(LOGBOOK, DETAIL_LOG), (DETAIL_LOG, DETAIL_LOG)])
@pytest.mark.parametrize("held", [False, True])
def test_two_logs_are_read_one_after_the_other(
    power_on_with_logs: PowerOnWithLogs, kinds: tuple[int, int], held: bool
) -> None:
    """Two requests at the same time do not mix."""
    battery = power_on_with_logs(count=100)
    harness = battery.harness

    async def both() -> list[Log[Any]]:
        return await asyncio.gather(*(battery.read(kind) for kind in kinds))

    logs = harness.run(battery.held_link.meanwhile(both) if held else both())

    for kind, log in zip(kinds, logs, strict=True):
        battery.check(kind, log)
    own = [INFO, CELLS]
    first, second = kinds
    expected = [*own, first, second] if held else [*own, first, *own, second]
    assert harness.commands == expected
    assert len(harness.bms.connections) == (1 if held else 2)


@pytest.mark.parametrize("moment", [0.0, 0.2, FIRST_COMMAND, SECOND_COMMAND + 0.3])
@pytest.mark.parametrize("since", [0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_log_waits_for_a_link_that_connects(
    power_on_with_logs: PowerOnWithLogs, kind: int, moment: float, since: float
) -> None:
    """A link that is being established is waited for, even if nothing is published yet."""
    battery = power_on_with_logs()
    battery.held_link.options["since"] = since

    async def both() -> Log[Any]:
        holding = asyncio.create_task(battery.held_link.hold())
        log = await after(moment, lambda: battery.read(kind))
        assert battery.harness.bms.connected
        await holding
        return log

    battery.check(kind, battery.harness.run(both()))
    assert len(battery.harness.bms.connections) == 1
    assert battery.harness.bms.beeps == 0


def test_log_connects_if_the_held_link_fails(
    power_on_with_logs: PowerOnWithLogs,
) -> None:
    """If the held link cannot be established, the log connects by itself."""
    battery = power_on_with_logs(faults=Faults(refuse_connection=True))

    async def both() -> Log[Any]:
        holding = asyncio.create_task(battery.held_link.hold())
        at((0.3, set_faults(battery.harness, refuse_connection=2)))
        log = await after(0.1, lambda: battery.read(LOGBOOK))
        await asyncio.gather(holding, return_exceptions=True)
        return log

    battery.check(LOGBOOK, battery.harness.run(both()))


def test_log_does_not_share_the_link_of_a_read(
    power_on_with_logs: PowerOnWithLogs,
) -> None:
    """The connection of a read is not shared."""
    battery = power_on_with_logs()

    async def both() -> Log[Any]:
        _, log = await asyncio.gather(
            battery.harness.client.read(), after(1.0, lambda: battery.read(LOGBOOK))
        )
        return log

    battery.check(LOGBOOK, battery.harness.run(both()))
    assert len(battery.harness.bms.connections) == 2


def test_log_does_not_use_a_link_that_closes(
    power_on_with_logs: PowerOnWithLogs,
) -> None:
    """A link that is closing is not used."""
    battery = power_on_with_logs()

    async def both() -> Log[Any]:
        _, log = await asyncio.gather(
            battery.held_link.hold(), after(CLOSING, lambda: battery.read(LOGBOOK))
        )
        return log

    battery.check(LOGBOOK, battery.harness.run(both()))
    assert battery.harness.close_reasons == ["by the central"] * 2


# Lost frames


def lose_frames(
    kind: int, indexes: set[int], times: int = 1
) -> Callable[[bytes], bool]:
    """Return a filter that loses the beginnings of some log frames, `times` each."""
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
def test_lost_logbook_is_requested_again(
    power_on_with_logs: PowerOnWithLogs, held: bool
) -> None:
    """The logbook is requested once more after 5 s."""
    battery = power_on_with_logs()
    harness = battery.harness
    harness.is_lost = lose_frames(0x05, {0})

    async def read() -> Log[Any]:
        return await battery.read(LOGBOOK)

    battery.check(
        LOGBOOK, harness.run(battery.held_link.meanwhile(read) if held else read())
    )

    first, second = harness.sent_at(LOGBOOK)
    assert second - first == exactly(5.0)
    assert harness.commands == [INFO, CELLS, LOGBOOK, LOGBOOK]


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    "lost",
    [{0}, {12}, {0, 12, 24}, {48}, {36, 48}, {0, 12, 24, 36}, {0, 12, 24, 36, 48}],
    ids=str,
)
def test_missing_detail_log_records_are_requested_again(
    power_on_with_logs: PowerOnWithLogs, lost: set[int], held: bool
) -> None:
    """A second request completes the log, however many records were lost."""
    battery = power_on_with_logs(count=50)
    harness = battery.harness
    harness.is_lost = lose_frames(0x06, lost)

    async def read() -> Log[Any]:
        return await battery.read(DETAIL_LOG)

    log = harness.run(battery.held_link.meanwhile(read) if held else read())

    battery.check(DETAIL_LOG, log)
    assert harness.commands == [INFO, CELLS, DETAIL_LOG, DETAIL_LOG]
    assert harness.bms.beeps == 0


def test_two_incomplete_detail_logs_are_merged(
    power_on_with_logs: PowerOnWithLogs,
) -> None:
    """Two answers with gaps are merged."""
    battery = power_on_with_logs(count=50)
    harness = battery.harness
    first, second = lose_frames(0x06, {12}), lose_frames(0x06, {0, 48})
    harness.is_lost = lambda data: (
        first(data) if harness.commands.count(DETAIL_LOG) < 2 else second(data)
    )

    battery.check(DETAIL_LOG, harness.run(battery.read(DETAIL_LOG)))
    assert harness.commands.count(DETAIL_LOG) == 2


def test_incomplete_detail_log_is_returned(power_on_with_logs: PowerOnWithLogs) -> None:
    """Records that stay missing are left out."""
    battery = power_on_with_logs(count=50)
    harness = battery.harness
    harness.is_lost = lose_frames(0x06, {12}, times=2)

    log = harness.run(battery.read(DETAIL_LOG))

    assert [e.index for e in log.entries] == [*range(12), *range(24, 50)]
    assert harness.commands.count(DETAIL_LOG) == 2


@pytest.mark.parametrize("lost", [set(), {12}, {0, 36}], ids=str)
def test_detail_log_of_unknown_length_is_requested_again_for_gaps(
    power_on_with_logs: PowerOnWithLogs, lost: set[int]
) -> None:
    """A battery that does not count its records is asked again only for a visible gap."""
    battery = power_on_with_logs(count=50)
    harness = battery.harness
    harness.is_lost = lose_frames(0x06, lost)
    harness.bms.battery.override(detail_records=0)

    battery.check(DETAIL_LOG, harness.run(battery.read(DETAIL_LOG)))

    assert harness.commands.count(DETAIL_LOG) == 1 + bool(lost)


@pytest.mark.parametrize("count", [1, 11, 12, 13, 24])
def test_short_detail_log_is_read_at_once(
    power_on_with_logs: PowerOnWithLogs, count: int
) -> None:
    """A log that is not full is read with one request, although it has no end mark."""
    battery = power_on_with_logs(count=count)
    harness = battery.harness

    battery.check(DETAIL_LOG, harness.run(battery.read(DETAIL_LOG)))

    (asked,) = harness.sent_at(DETAIL_LOG)
    came = 0.1 + ceil(count / 12) * 4 * 0.025
    # Nothing in a last frame that is full marks it as the last
    silence = 0.0 if count % 12 else 2.0
    assert harness.elapsed == exactly(asked + came + silence + GATT_TIME, abs=0.2)


def test_implausible_detail_log_frame_is_requested_again(
    power_on_with_logs: PowerOnWithLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that claims more records than it can hold is counted and requested again."""
    battery = power_on_with_logs(count=50)
    harness = battery.harness
    whole = frames.detail_log_frame

    def frame(first: int, part: Any, counter: int) -> bytes:
        data = bytearray(whole(first, part, counter))
        if first == 24 and harness.commands.count(DETAIL_LOG) == 1:
            data[8] = 99
            data[-1] = frames.checksum(bytes(data[:-1]))
        return bytes(data)

    monkeypatch.setattr(frames, "detail_log_frame", frame)

    battery.check(DETAIL_LOG, harness.run(battery.read(DETAIL_LOG)))

    assert harness.client.statistics.rejected == 1
    assert harness.commands.count(DETAIL_LOG) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_late_log_is_not_the_next_answer(
    power_on_with_logs: PowerOnWithLogs, kind: int
) -> None:
    """Frames of another request, or of one that has failed, are ignored."""
    battery = power_on_with_logs(count=50, faults=Faults(never_answer={kind}))
    harness = battery.harness
    late = [
        frames.logbook_frame([StoredEntry(1, 2)], 0),
        frames.detail_log_frame(0, battery.records[1:3], 0),
    ]

    def come() -> None:
        for frame in late:
            harness.notify(bytearray(frame))

    async def read() -> Log[Any]:
        with pytest.raises(SilentError):
            await battery.read(kind)
        come()
        late.pop([*KINDS].index(kind))
        harness.bms.faults = Faults()
        await asyncio.sleep(0.1)
        # The answer to another question in between is none either
        at((asyncio.get_running_loop().time() + 0.05, come))
        return await battery.read(kind)

    battery.check(kind, harness.run(battery.held_link.meanwhile(read)))
    assert harness.commands[2:] == [kind] * 3


# No log


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held", [False, True])
def test_unanswered_log_fails_after_two_requests(
    power_on_with_logs: PowerOnWithLogs, kind: int, held: bool
) -> None:
    """Each request waits 5 s; a held link goes on meanwhile."""
    battery = power_on_with_logs(faults=Faults(never_answer={kind}))
    harness = battery.harness

    async def read() -> None:
        with pytest.raises(LogUnansweredError, match="log"):
            await battery.read(kind)
        assert asyncio.get_running_loop().time() == exactly(
            harness.sent_at(kind)[0] + 10.0 + (0.0 if held else GATT_TIME)
        )

    harness.run(battery.held_link.meanwhile(read) if held else read())

    first, second = harness.sent_at(kind)
    assert second - first == exactly(5.0)
    assert len(harness.bms.connections) == 1
    assert harness.bms.beeps == 0


def test_detail_log_that_is_only_acknowledged_is_requested_once(
    power_on: PowerOn,
) -> None:
    """The request was not lost, so there is nothing to repeat."""
    harness = power_on(HOUSE, faults=Faults(only_acknowledge={DETAIL_LOG}))

    with pytest.raises(LogUnansweredError, match="log") as error:
        harness.run(harness.client.read_detail_log())

    assert error.value.is_kept
    assert harness.commands == [INFO, CELLS, DETAIL_LOG]
    assert harness.close_reasons == ["by the central"]


@pytest.mark.parametrize("model", [HOUSE, "JK_PB2A16S20P 15.41"])
def test_declared_detail_log_is_read_from_older_firmware(
    power_on: PowerOn, model: str
) -> None:
    """A battery has the log that it declares, whatever its version."""
    harness = power_on(model)

    log = harness.run(harness.client.read_detail_log())

    assert len(log.entries) == log.reading.cell_data.detail_log_count
    assert harness.commands == [INFO, CELLS, DETAIL_LOG]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held", [False, True])
def test_reading_is_published_before_an_unanswered_log(
    power_on_with_logs: PowerOnWithLogs, kind: int, held: bool
) -> None:
    """A connection made for a log publishes its reading first; a held link does so anyway."""
    battery = power_on_with_logs(faults=Faults(never_answer={kind}))
    harness = battery.harness
    readings: list[Reading] = []

    async def read() -> None:
        with pytest.raises(LogUnansweredError):
            await getattr(harness.client, KINDS[kind])(readings.append)

    harness.run(battery.held_link.meanwhile(read) if held else read())

    assert len(readings) == (not held)
    for reading in readings:
        assert_read(reading, harness.bms)
        assert reading.time <= harness.sent_at(kind)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held", [False, True])
def test_link_lost_during_a_log_fails_all_users(
    power_on_with_logs: PowerOnWithLogs, kind: int, held: bool
) -> None:
    """A link that breaks fails at once for everything that uses it."""
    battery = power_on_with_logs(
        faults=Faults(disconnect_in={LOGBOOK: 5, DETAIL_LOG: 6}[kind])
    )
    harness = battery.harness

    async def read() -> list[Any]:
        tasks: list[Awaitable[Any]] = [battery.read(kind)]
        if held:
            tasks.append(battery.held_link.hold())
        return await asyncio.gather(*reversed(tasks), return_exceptions=True)

    outcomes = harness.run(read())

    assert [type(outcome) for outcome in outcomes] == [ConnectionLostError] * len(
        outcomes
    )
    assert harness.close_reasons == ["fault: disconnect_in"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noticed", [False, True])
def test_log_after_a_lost_link_reconnects(
    power_on_with_logs: PowerOnWithLogs, kind: int, noticed: bool
) -> None:
    """A log reconnects if the loss of the held link is already known."""
    battery = power_on_with_logs()
    harness = battery.harness

    async def read() -> list[Any]:
        holding = asyncio.create_task(battery.held_link.hold())
        await asyncio.sleep(20.0)
        if noticed:
            harness.bms.drop()
        reading = asyncio.create_task(battery.read(kind))
        if not noticed:
            harness.bms.drop()
        return await asyncio.gather(holding, reading, return_exceptions=True)

    held, log = harness.run(read())

    assert isinstance(held, NotReachableError)
    if noticed:
        battery.check(kind, log)
    else:
        assert isinstance(log, NotReachableError)
    assert len(harness.bms.connections) == 1 + noticed


@pytest.mark.parametrize("kind", KINDS)
def test_log_fails_when_the_held_link_is_re_established(
    power_on_with_logs: PowerOnWithLogs, kind: int
) -> None:
    """A log that is being read when the lifetime ends fails at once."""
    battery = power_on_with_logs(faults=Faults(never_answer={kind}))
    harness = battery.harness
    moment = CELLS_COMPLETE + LIFETIME - 1.0

    async def read() -> list[Any]:
        return await asyncio.gather(
            battery.held_link.hold(),
            after(moment, lambda: battery.read(kind)),
            return_exceptions=True,
        )

    held, log = harness.run(read())

    assert held is None
    assert isinstance(log, NotReachableError)
    assert harness.elapsed == exactly(CELLS_COMPLETE + LIFETIME + GATT_TIME)


# Deadlines and cancelling of a log

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


@pytest.mark.parametrize("backend", [TappedBackend, HangingDisconnectBackend])
@pytest.mark.parametrize("faults", LOG_FAULTS.values(), ids=LOG_FAULTS.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_log_ends_by_the_deadline(
    power_on_with_logs: PowerOnWithLogs,
    kind: int,
    faults: Faults,
    backend: type[TappedBackend],
) -> None:
    """Whatever fault occurs, reading a log ends in time, the disconnection included."""
    for deadline in (25.0, 9.0, 5.0, 3.0, 0.0):
        battery = power_on_with_logs(faults=faults)
        battery.harness.use_backend(backend)
        with suppress(LinkError):
            battery.check(
                kind, battery.harness.run(battery.read(kind, deadline=deadline))
            )
        assert battery.harness.elapsed <= deadline + ROUNDING


@pytest.mark.parametrize("backend", [TappedBackend, HangingDisconnectBackend])
@pytest.mark.parametrize("deadline", [4.0, 7.0, 9.0, 12.0])
def test_log_deadline_includes_waiting(
    power_on_with_logs: PowerOnWithLogs, deadline: float, backend: type[TappedBackend]
) -> None:
    """Waiting for the connection and for another log counts."""
    battery = power_on_with_logs()
    harness = battery.harness
    harness.use_backend(backend)
    ended: list[float] = []

    async def read(kind: int) -> None:
        with suppress(LinkError):
            battery.check(kind, await battery.read(kind, deadline=deadline))
        ended.append(asyncio.get_running_loop().time())

    async def read_all() -> None:
        reading = asyncio.create_task(harness.client.read())
        await asyncio.sleep(0)
        await asyncio.gather(reading, read(DETAIL_LOG), read(LOGBOOK))

    harness.run(read_all())

    assert max(ended) <= deadline + ROUNDING


@pytest.mark.parametrize("kind", KINDS)
def test_log_deadline_does_not_end_the_held_link(
    power_on_with_logs: PowerOnWithLogs, kind: int
) -> None:
    """A log that takes too long does not end the held link."""
    battery = power_on_with_logs(faults=Faults(never_answer={kind}))

    async def read() -> None:
        began = asyncio.get_running_loop().time()
        with pytest.raises(LinkError):
            await battery.read(kind, deadline=5.0)
        assert asyncio.get_running_loop().time() - began <= 5.0

    battery.harness.run(battery.held_link.meanwhile(read))


def test_slow_disconnect_does_not_cost_the_log(
    power_on_with_logs: PowerOnWithLogs,
) -> None:
    """A complete log is returned although disconnecting is slow."""
    battery = power_on_with_logs()
    harness = battery.harness
    harness.use_backend(HangingDisconnectBackend)

    battery.check(LOGBOOK, harness.run(battery.read(LOGBOOK)))
    # With the services known, and just about in time
    deadline = harness.elapsed - GATT_TIME + 0.01
    battery.check(LOGBOOK, harness.run(battery.read(LOGBOOK, deadline=deadline)))


LOG_MOMENTS = [0.1, 0.6, 1.5, 2.0, 2.2, 2.5, 4.0, 8.0]


@pytest.mark.parametrize("moment", LOG_MOMENTS)
@pytest.mark.parametrize("held", [False, True])
def test_disconnect_ends_every_waiting_log(
    power_on_with_logs: PowerOnWithLogs, moment: float, held: bool
) -> None:
    """Disconnecting fails everything that waits, and nothing reconnects."""
    battery = power_on_with_logs()
    harness = battery.harness

    async def end() -> list[Any]:
        tasks = []
        if held:
            tasks.append(asyncio.create_task(battery.held_link.hold()))
            await asyncio.sleep(0)
        tasks += [
            asyncio.create_task(battery.read(kind)) for kind in (DETAIL_LOG, LOGBOOK)
        ]
        await asyncio.sleep(moment)
        began = asyncio.get_running_loop().time()
        await harness.client.disconnect()
        assert not harness.bms.connected
        assert asyncio.get_running_loop().time() - began <= GATT_TIME + ROUNDING
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = harness.run(end())

    assert all(isinstance(outcome, LinkError) for outcome in outcomes)
    assert len(harness.bms.connections) <= 1
    assert harness.elapsed <= moment + GATT_TIME + ROUNDING
    assert_read(harness.read(), harness.bms)


@pytest.mark.parametrize("moment", LOG_MOMENTS)
@pytest.mark.parametrize("held", [False, True])
def test_cancelled_log_leaves_the_held_link_alone(
    power_on_with_logs: PowerOnWithLogs, moment: float, held: bool
) -> None:
    """A cancelled log closes its own connection, and leaves the held one alone."""
    battery = power_on_with_logs()
    harness = battery.harness

    async def cancel() -> None:
        holding = asyncio.create_task(battery.held_link.hold()) if held else None
        await asyncio.sleep(0)
        reading = asyncio.create_task(battery.read(DETAIL_LOG))
        await asyncio.sleep(moment)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        if holding:
            await asyncio.sleep(20)
            battery.check(LOGBOOK, await battery.read(LOGBOOK))
            await holding
        else:
            assert not harness.bms.connected

    harness.run(cancel())

    assert len(harness.bms.connections) <= 1
    assert harness.bms.beeps == 0


@pytest.mark.parametrize("pulse", [5, 6, 14])
def test_log_on_a_bad_radio_is_right(
    power_on_with_logs: PowerOnWithLogs, pulse: int
) -> None:
    """No wrong record is returned, and at least nine in ten are."""
    battery = power_on_with_logs(faults=Faults(lose=0.01, damage=0.01, seed=pulse))

    log = battery.harness.run(battery.read(DETAIL_LOG))

    for record in log.entries:
        check_record(record, record.index, battery.records[record.index])
    assert len(log.entries) > 0.9 * RING


def test_default_lifetime_is_under_an_hour(power_on: PowerOn) -> None:
    """Settings are read again within the hour, connecting included."""
    harness = power_on(habits=STEADY)

    harness.run(harness.client.hold(lambda _: None, interval=600.0))

    assert 3000 < harness.elapsed < 3600 - READ_DEADLINE


def test_log_that_the_battery_does_not_declare_is_not_requested(
    power_on: PowerOn,
) -> None:
    """A battery that says what it supports is believed."""
    harness = power_on("JK_B2A8S20P 11.17")
    with pytest.raises(LogUnansweredError, match="no such log"):
        harness.run(harness.client.read_detail_log())
    assert 0xA7 not in harness.commands
    assert harness.run(harness.client.read_logbook()).entries
