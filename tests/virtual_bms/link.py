"""One connection to a virtual battery: commands, answers, the cell stream, and faults on the way."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from bleak.exc import BleakError, BleakGATTProtocolError, BleakGATTProtocolErrorCode

from . import frames
from .faults import Hits
from .gatt import Characteristic
from .guard import harm
from .line import Line
from .registers import apply

if TYPE_CHECKING:
    from .peripheral import VirtualBms

READ_INFO = 0x97
READ_CELLS = 0x96
READ_LOGBOOK = 0xA1
READ_DETAIL_LOG = 0xA7
SHUT_DOWN = 0x65
RESTART = 0x66
SET_CLOCK = 0x6C
READS = (READ_INFO, READ_CELLS, READ_LOGBOOK, READ_DETAIL_LOG)
SECOND_INFO_COUNTER = 0xA5
PAIRING_DROP = 5.0

_CELL_OVERVOLTAGE = 1 << 4
"""The bit of that alarm."""


@dataclass(frozen=True)
class Command:
    """Something a central wrote."""

    at: float
    """Loop time."""
    register: int | None
    """None when the bytes are no command frame."""
    value: bytes
    accepted: bool
    raw: bytes


@dataclass
class Connection:
    """One link from its beginning to its end, in loop time."""

    source: str
    opened: float
    closed: float | None = None
    reason: str = ""


class Link:
    """One connection: subscriptions, commands and their effects."""

    def __init__(
        self, bms: VirtualBms, connection: Connection, on_close: Callable[[str], None]
    ) -> None:
        """Starts the timer that drops a link without commands."""
        self.bms = bms
        self.connection = connection
        self.streaming = False
        self.paired = False
        self.notifications = 0
        """Delivered so far, lost ones included."""
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._callbacks: dict[int, Callable[[bytearray], None]] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._random = Random(f"{bms.faults.seed} {len(bms.connections)}")
        self._open = True
        self._accepted = False
        self._doomed = False
        self._refused_writes = 0
        self._info_sent = False
        self._info_pending = False
        self._stream_timer: asyncio.TimerHandle | None = None
        self._stream_left: int | None = None
        self._stream_count = 0
        self._replying_until = 0.0
        self._arrival = 0.0
        self._under_way: deque[bytes] = deque()
        behaviour = bms.behaviour
        self._line = Line(
            bms.variant,
            self._emit,
            gap=behaviour.chunk_gap / bms.speed,
            at_interval=(
                None
                if behaviour.at_interval is None
                else behaviour.at_interval / bms.speed
            ),
            preload=frames.ACKNOWLEDGEMENT[-5:],
        )
        self._loop_at(self._loop.time() + behaviour.idle_drop, self._drop_if_idle)
        if bms.faults.pairing == "drop":
            self._later(PAIRING_DROP, self._drop_if_not_paired)

    # What the central does

    def subscribe(
        self, characteristic: Characteristic, callback: Callable[[bytearray], None]
    ) -> None:
        """Write the CCCD; leftovers of the last session come at once."""
        self._check(characteristic)
        if self.refuses("unlikely"):
            raise BleakGATTProtocolError(BleakGATTProtocolErrorCode.UNLIKELY_ERROR)
        if not {"notify", "indicate"} & set(characteristic.properties):
            raise BleakError(
                f"Characteristic {characteristic.handle} does not support notifications"
            )
        if characteristic.subscribe_error is not None:
            raise BleakGATTProtocolError(characteristic.subscribe_error)
        self._callbacks[characteristic.handle] = callback
        if characteristic is self.bms.variant.uart:
            for chunk in self.bms.faults.stale:
                callback(bytearray(chunk))

    def unsubscribe(self, characteristic: Characteristic) -> None:
        """Clear the CCCD."""
        self._callbacks.pop(characteristic.handle, None)

    def subscribed(self, handle: int) -> bool:
        """Whether the CCCD of this characteristic is set."""
        return handle in self._callbacks

    def read(self, characteristic: Characteristic) -> bytes:
        """Value of a readable characteristic."""
        self._check(characteristic)
        if "read" not in characteristic.properties:
            raise BleakGATTProtocolError(BleakGATTProtocolErrorCode.READ_NOT_PERMITTED)
        return characteristic.value

    def write(
        self, characteristic: Characteristic, data: bytes, response: bool
    ) -> None:
        """Accept a value; bytes that reach the serial line are parsed as a command."""
        self._check(characteristic)
        if self.refuses("writes"):
            self._refused_writes += 1
            if self._refused_writes % 2:
                raise BleakError("[org.bluez.Error.Failed] Not connected")
            raise BleakGATTProtocolError(BleakGATTProtocolErrorCode.UNLIKELY_ERROR)
        needed = "write" if response else "write-without-response"
        if needed not in characteristic.properties:
            raise BleakGATTProtocolError(BleakGATTProtocolErrorCode.WRITE_NOT_PERMITTED)
        if not response and len(data) > self.bms.variant.mtu - 3:
            raise BleakGATTProtocolError(
                BleakGATTProtocolErrorCode.INVALID_ATTRIBUTE_VALUE_LENGTH
            )
        if characteristic.role in ("uart", "command"):
            self._command(data)

    def close(self, reason: str) -> None:
        """End the link, from either side."""
        if not self._open:
            return
        self._open = False
        self.streaming = False
        self._line.close()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._stream_timer:
            self._stream_timer.cancel()
        self.connection.closed = self._loop.time()
        self.connection.reason = reason
        self.bms.released(self)
        self._on_close(reason)

    def refuses(self, shape: bool | str) -> bool:
        """Whether the central is refused in this way until it is paired."""
        return self.bms.faults.pairing == shape and not self.paired

    def _drop_if_not_paired(self) -> None:
        if not self.paired:
            self.close("not paired")

    def _check(self, characteristic: Characteristic) -> None:
        if not self._open:
            raise BleakError("Not connected")
        protected = characteristic.role != "none"
        if self.refuses(True) and protected:
            raise BleakGATTProtocolError(
                BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHENTICATION
            )

    # Commands

    def _command(self, raw: bytes) -> None:
        register, value = _parse(raw)
        accepted = register is not None and self._accepts(register)
        self.bms.commands.append(
            Command(self._loop.time(), register, value, accepted, raw)
        )
        if register is None or not accepted:
            return
        self._accepted = True
        if register in self.bms.faults.only_acknowledge:
            self._later(0.1, self._acknowledge)
            return
        if self.bms.faults.foreign:
            self._later(0.1, self._answer_as_foreigner)
            return
        reads = {
            READ_INFO: self._answer_info,
            READ_CELLS: self._answer_cells,
            READ_LOGBOOK: self._answer_logbook,
            READ_DETAIL_LOG: self._answer_detail_log,
        }
        if answer := reads.get(register):
            answer()
        else:
            self._write_register(register, value)

    def _accepts(self, register: int) -> bool:
        bms = self.bms
        faults = bms.faults
        if self.refuses("drop") or register in faults.never_answer:
            return False
        bms.attempts[register] += 1
        if bms.attempts[register] <= faults.answer_after_attempts:
            return False
        if register == READ_CELLS and bms.behaviour.early_96_is_fatal:
            if self._info_pending:
                self._doomed = True
                end = self._loop.time() + bms.behaviour.idle_drop
                self._loop_at(end, lambda: self.close("no stream started"))
            return not self._doomed
        return True

    def _answer_as_foreigner(self) -> None:
        self._send(frames.neey_frame(self.bms.counter))

    def _answer_info(self) -> None:
        self._info_pending = True
        self._hold_stream()

        def reply() -> None:
            end = self._reply(self._info(self.bms.counter))
            self._loop_at(end, self._info_is_out)

        self._later(self._between(self.bms.behaviour.info_delay), reply)

    def _info_is_out(self) -> None:
        self._info_pending = False
        self._info_sent = True

    def _answer_cells(self) -> None:
        behaviour = self.bms.behaviour
        if self.streaming:
            self.bms.beeps += 1
        starts = self._info_sent or not behaviour.needs_info_first
        first = self._between(behaviour.stream_delay)

        def reply() -> None:
            self.bms.live(self._loop.time())
            settings = frames.settings_frame(
                self.bms.spec, self.bms.battery.settings, self.bms.counter
            )
            if behaviour.second_info:
                self._send(settings)
                self._reply(self._info(SECOND_INFO_COUNTER))
            else:
                self._reply(settings)

        self._replying_until = self._loop.time() + first / self.bms.speed
        self._later(self._between(behaviour.settings_delay), reply)
        if starts:
            self._start_stream(first)

    def _answer_logbook(self) -> None:
        self._hold_stream()

        def reply() -> None:
            self._reply(frames.logbook_frame(self.bms.battery.log, self.bms.counter))

        self._later(self._between(self.bms.behaviour.info_delay), reply)

    def _answer_detail_log(self) -> None:
        records = self.bms.battery.detail_log
        if not records:
            self._later(0.1, self._acknowledge)

        def reply() -> None:
            for first in range(0, len(records), 12):
                part = records[first : first + 12]
                frame = frames.detail_log_frame(first, part, self.bms.counter)
                self._replying_until = self._send(frame)

        self._later(self._between(self.bms.behaviour.info_delay), reply)

    def _write_register(self, register: int, value: bytes) -> None:
        bms = self.bms
        faults = bms.faults
        if bms.guards and (
            why := harm(bms.spec, bms.battery.settings, register, value)
        ):
            bms.harms.append(why)
            raise AssertionError(why)
        if faults.drop_at_write == "before":
            self.close("fault: before a write")
            return
        self._hold_stream()
        if not faults.lose_acknowledgements:
            self._later(0.1, self._acknowledge)
        settings = apply(bms.battery.settings, bms.spec.layout, register, value)
        if settings is not None or (register, bms.spec.layout) == (0x6E, "JK02_32S"):
            if bms.takes(register, value):
                bms.write(register, value)
            if faults.drop_at_write == "during":
                self.close("fault: during a write")
            elif faults.drop_at_write == "after":
                self._later(0.15, lambda: self.close("fault: after a write"))
        elif register == SHUT_DOWN:
            self._later(0.5, bms.power_off)
        elif register == RESTART:
            self._later(0.5, lambda: self.close("restarted"))
        elif register == SET_CLOCK and len(value) == 4:
            bms.battery.set_clock(int.from_bytes(value, "little"))

    # Sending

    def _info(self, counter: int) -> bytes:
        self.bms.live(self._loop.time())
        battery = self.bms.battery
        return frames.info_frame(battery.spec, battery.settings, battery.state, counter)

    def _reply(self, frame: bytes) -> float:
        """Send a frame and the acknowledgement after it; returns when the frame is out."""
        behaviour = self.bms.behaviour
        if behaviour.acknowledgement == "glued" and behaviour.acknowledges:
            return self._send(frame + frames.ACKNOWLEDGEMENT)
        end = self._send(frame)
        self._loop_at(end + behaviour.reply_gap / self.bms.speed, self._acknowledge)
        return end

    def _acknowledge(self) -> None:
        behaviour = self.bms.behaviour
        if not behaviour.acknowledges:
            return
        tail = frames.AT_LINE if behaviour.acknowledgement == "with_at" else b""
        self._send(frames.ACKNOWLEDGEMENT + tail)

    def _send(self, data: bytes) -> float:
        """Put bytes on the line; returns the loop time of the last notification."""
        behaviour = self.bms.behaviour
        if data[:4] == frames.FRAME_HEADER and behaviour.at_glued:
            if self.bms.random.random() < behaviour.at_glued:
                data = frames.AT_LINE + data
        if self.bms.faults.garbage:
            data = self._random.randbytes(len(data))
        return self._line.send(data)

    # The cell stream

    def _start_stream(self, first: float) -> None:
        if self._stream_timer:
            self._stream_timer.cancel()
        self.streaming = True
        self._stream_left = self.bms.faults.stream_stops_after
        self._stream_timer = self._loop.call_later(
            first / self.bms.speed, self._cell_frame
        )

    def _hold_stream(self) -> None:
        """The answer to a command takes the place of a cell frame."""
        self._replying_until = self._loop.time() + 0.3 / self.bms.speed

    def _cell_frame(self) -> None:
        now = self._loop.time()
        self._stream_timer = self._loop.call_later(
            self.bms.behaviour.cadence / self.bms.speed, self._cell_frame
        )
        if now < self._replying_until:
            return
        if not self._may_go_on():
            self.streaming = False
            self._stream_timer.cancel()
            return
        self._stream_count += 1
        self._send(self._cells())

    def _may_go_on(self) -> bool:
        limit = self.bms.faults.stream_stops_after
        if limit is None:
            self._stream_left = None
            return True
        left = limit if self._stream_left is None else self._stream_left
        self._stream_left = left - 1
        return left > 0

    def _is_nth(self, every: int | None) -> bool:
        return every is not None and self._stream_count % every == 0

    def _cells(self) -> bytes:
        bms = self.bms
        bms.live(self._loop.time())
        state = bms.battery.state
        if self._is_nth(bms.faults.glitch_every):
            state = replace(state, voltage=0.0, soc=0)
        if self._is_nth(bms.faults.blank_every):
            state = replace(state, cells=(), resistances=(), enabled=0)
            state = replace(state, voltage=0.0, power=0.0, current=0.0)
            state = replace(state, soc=0, remaining=0.0, full=0.0)
        if bms.forged < bms.faults.forge_cells:
            bms.forged += 1
            state = replace(state, alarms=state.alarms | _CELL_OVERVOLTAGE)
        frame = frames.cell_frame(bms.spec, state, bms.counter)
        if bms.faults.zeros:
            frame = frames.without_values(frame)
        bms.counter = (bms.counter + 1) & 0xFF
        return frame

    # From the line to the central, with faults

    def _emit(self, chunk: bytes) -> None:
        faults = self.bms.faults
        if faults.silent or self.refuses("drop") or self.refuses("writes"):
            return
        if not self.subscribed(self.bms.variant.uart.handle):
            return
        self.notifications += 1
        number = self.notifications
        if not self._hit(faults.lose, number):
            if self._hit(faults.damage, number):
                position = self._random.randrange(len(chunk))
                chunk = frames.damage(chunk, position)
            for _ in range(2 if faults.double else 1):
                self._deliver(chunk)
        if faults.disconnect_after is not None and number >= faults.disconnect_after:
            self.close("fault: disconnect_after")
        elif faults.disconnect_in is not None and _begins(chunk, faults.disconnect_in):
            self.close("fault: disconnect_in")

    def _deliver(self, chunk: bytes) -> None:
        now = self._loop.time()
        # Never earlier than the one before, even if the delay is shortened meanwhile.
        self._arrival = max(now + self.bms.faults.delay / self.bms.speed, self._arrival)
        self._under_way.append(chunk)
        if self._arrival <= now and len(self._under_way) == 1:
            self._arrive()
        else:
            self._loop_at(self._arrival, self._arrive)

    def _arrive(self) -> None:
        """Deliver the oldest pending notification."""
        chunk = self._under_way.popleft()
        callback = self._callbacks.get(self.bms.variant.uart.handle)
        if callback and self._open:
            callback(bytearray(chunk))

    def _hit(self, hits: Hits, number: int) -> bool:
        if isinstance(hits, Collection):
            return number in hits
        return self._random.random() < hits

    # Timers

    def _drop_if_idle(self) -> None:
        if not self._accepted and not self.bms.faults.silent:
            self.close("no command")

    def _between(self, limits: tuple[float, float]) -> float:
        return self.bms.random.uniform(*limits)

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        self._loop_at(self._loop.time() + delay / self.bms.speed, action)

    def _loop_at(self, when: float, action: Callable[[], None]) -> None:
        if not self._open:
            return

        def run() -> None:
            self._timers.discard(timer)
            action()

        timer = self._loop.call_at(when, run)
        self._timers.add(timer)


def _parse(raw: bytes) -> tuple[int | None, bytes]:
    """Register and value of a command frame; (None, b"") for anything else."""
    good = (
        len(raw) == 20
        and raw[:4] == frames.COMMAND_HEADER
        and raw[5] <= 13
        and raw[19] == frames.checksum(raw[:19])
    )
    return (raw[4], raw[6 : 6 + raw[5]]) if good else (None, b"")


def _begins(chunk: bytes, kind: int) -> bool:
    """Whether a frame of this type begins in the chunk and does not end in it."""
    start = chunk.find(frames.FRAME_HEADER)
    return 0 <= start < len(chunk) - 4 and chunk[start + 4] == kind
