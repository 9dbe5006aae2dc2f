"""The battery as a Bluetooth peripheral: connections and their history."""

import asyncio
from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from random import Random

from bleak.exc import BleakError

from .battery import Battery
from .behaviour import Behaviour
from .faults import Faults
from .gatt import FFE1, VARIANTS, Service, Variant, without
from .guard import in_range
from .link import READS, Command, Connection, Link
from .registers import apply
from .spec import Spec


class VirtualBms:
    """A battery that can be connected to.

    All its delays are divided by `speed`, but not `idle_drop`: a busy machine takes its time
    to send the first command.
    """

    def __init__(
        self,
        battery: Battery,
        *,
        faults: Faults | None = None,
        behaviour: Behaviour | None = None,
        speed: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Needs no running loop before the first connection."""
        self.battery = battery
        self.behaviour = behaviour or Behaviour.of(battery.spec)
        self.speed = speed
        self.random = Random(f"{seed} {battery.spec.address}")
        self.commands: list[Command] = []
        self.connections: list[Connection] = []
        self.beeps = 0
        """How often 0x96 came while the stream was running: a real one beeps."""
        self.counter = 0
        """Counter of the next cell frame."""
        self.guards = True
        """Whether a write that could do harm fails the test at once."""
        self.harms: list[str] = []
        """Why, of each of them."""
        self.powered = True
        self.attempts: Counter[int] = Counter()
        self.forged = 0
        """Cell frames that were forged since the faults were set."""
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._link: Link | None = None
        self._freed = asyncio.Event()
        self._freed.set()
        self._refused = 0
        self._discoveries = 0
        self._seen_at: float | None = None
        self._faults = faults or Faults()

    # Identity

    @property
    def spec(self) -> Spec:
        """The unit."""
        return self.battery.spec

    @property
    def address(self) -> str:
        """Its Bluetooth address."""
        return self.spec.address

    @property
    def variant(self) -> Variant:
        """Its radio module."""
        return VARIANTS[self.spec.gatt]

    # Inspection by tests

    @property
    def connected(self) -> bool:
        """Whether a central holds the link."""
        return self._link is not None

    @property
    def streaming(self) -> bool:
        """Whether cell frames are being sent."""
        return self._link is not None and self._link.streaming

    @property
    def advertising(self) -> bool:
        """It does not advertise while connected or turned off."""
        return self.powered and self._link is None

    @property
    def registers(self) -> list[int]:
        """Registers of the accepted commands, in order."""
        return [c.register for c in self.commands if c.accepted and c.register]

    @property
    def writes(self) -> list[Command]:
        """Accepted commands that are not reads."""
        return [c for c in self.commands if c.accepted and c.register not in READS]

    # Control by tests

    @property
    def faults(self) -> Faults:
        """The present faults."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._refused = self._discoveries = self.forged = 0
        self.attempts.clear()

    def drop(self, reason: str = "dropped by the test") -> None:
        """Break the link now."""
        if self._link:
            self._link.close(reason)

    def power_off(self) -> None:
        """Turn off: no link, no advertisement."""
        self.powered = False
        self.drop("powered off")

    def power_on(self) -> None:
        """Turn on with a new counter."""
        self.powered = True
        self.counter = 0

    def stop(self) -> None:
        """Stop everything."""
        self.drop("stopped")

    # Called by the radio

    async def connect(
        self, source: str, on_close: Callable[[str], None], limit: float = 20.0
    ) -> Link:
        """Accept a central; BleakError or TimeoutError (after `limit` s) where a real one would not respond."""
        loop = asyncio.get_running_loop()
        if self._faults.hang_connection:
            await loop.create_future()
        if _first(self._faults.refuse_connection, self._refused):
            self._refused += 1
            raise BleakError(self._faults.refuse_error)
        async with asyncio.timeout(limit / self.speed):
            while not self.powered:
                # No response: only the time limit ends this.
                await loop.create_future()
            while self._link is not None:
                self._freed.clear()
                await self._freed.wait()
            await asyncio.sleep(self.behaviour.connect_time / self.speed)
        if self._link is not None or not self.powered:
            raise BleakError("Disconnected during connection")
        connection = Connection(source, loop.time())
        self.connections.append(connection)
        self._link = Link(self, connection, on_close)
        return self._link

    def discover(self) -> tuple[Service, ...]:
        """The services a central finds now."""
        number = self._discoveries
        self._discoveries += 1
        is_refused = self._link is not None and self._link.refuses("empty")
        if is_refused or number < self._faults.no_services_first:
            return ()
        if _first(self._faults.missing_characteristic, number):
            return without(self.variant, FFE1)
        return self.variant.services

    # Called by the link

    def takes(self, register: int, value: bytes) -> bool:
        """Whether this firmware does not ignore a write."""
        spec = self.spec
        declared = int.from_bytes(spec.firmware.info_masks, "little")
        is_known = spec.layout != "JK02_32S" or declared >> register & 1
        if self._faults.ignore_writes or not is_known:
            return False
        return in_range(spec.layout, register, value)

    def write(self, register: int, value: bytes) -> None:
        """Let a write take effect now or later, and another program undo it."""
        battery, faults = self.battery, self._faults
        before = battery.settings

        def take_effect() -> None:
            if register == 0x6E:
                part = value[0] / 100
                remaining = round(part * self.spec.capacity, 3)
                battery.override(soc=value[0], remaining=remaining)
            after = apply(battery.settings, self.spec.layout, register, value)
            battery.settings = after or battery.settings
            if faults.revert_after is not None:
                self._later(faults.revert_after, undo)

        def undo() -> None:
            battery.settings = before

        if faults.write_takes:
            self._later(faults.write_takes, take_effect)
        else:
            take_effect()

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        """Do something although the link may end; the next connection finds it done."""
        self._due.append((asyncio.get_running_loop().time() + delay, action))

    def released(self, link: Link) -> None:
        """The link is gone; advertise again."""
        if self._link is link:
            self._link = None
            self._freed.set()

    def live(self, now: float) -> None:
        """Simulate the battery up to loop time `now`."""
        while self._due and min(self._due, key=itemgetter(0))[0] <= now:
            first = min(self._due, key=itemgetter(0))
            self._due.remove(first)
            first[1]()
        if self._seen_at is not None:
            elapsed = (now - self._seen_at) * self.speed
            self.battery.advance(elapsed * self.battery.time_scale)
        self._seen_at = now


def _first(fault: bool | int, done: int) -> bool:
    """Whether a fault given as True or 'the first n' applies now."""
    return fault if isinstance(fault, bool) else done < fault
