"""The known batteries and the state of each."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
import logging
from math import inf
from time import time
from typing import Final

from bleak.backends.device import BLEDevice

from ..bluetooth.client import JkBmsClient
from ..bluetooth.scanner import SeenDevice
from ..bluetooth.session import ANSWER_TIMEOUT
from ..errors import JkBmsError, NoBluetoothError, NoFreeSlotError, NotReachableError
from ..models import Reading
from ..outage import Outage
from .adapter_slots import Rank
from .advice import failure_text, implausible_text

_LOGGER = logging.getLogger(__name__)

FORGET_AFTER: Final = 86400.0
"""Seconds after its last advertisement until a battery found by a scan is dropped.

Exporting `up 0` for a day leaves time to notice it.
"""
_MAX_UNREAD: Final = 64
"""Maximum batteries found by a scan but never read: anyone can advertise any number."""


@dataclass(slots=True, eq=False)
class Battery:
    """One battery that was requested or found, and its state."""

    target: str
    """The name or address to scan for."""
    is_requested: bool = True
    """Whether the target comes from the command line, not from a scan."""
    address: str | None = None
    """Address at which this run read it; from then on no other device can take over its name."""
    earlier_address: str | None = None
    """Address at which an earlier run read it; only if that is not in range, its name counts."""
    seen: SeenDevice | None = None
    """Its latest advertisement."""
    seen_at: float = -inf
    """When that was received, in seconds of the loop's clock."""
    client: JkBmsClient | None = None
    """`None` until it is first seen."""
    reading: Reading | None = None
    """The latest reading."""
    read_at: float | None = None
    """Unix time of the reading in seconds."""
    stale_at: float = inf
    """When the reading becomes too old, in seconds of the loop's clock."""
    error: JkBmsError | None = None
    """Why the latest attempt failed."""
    failed_at: float = -inf
    """When an attempt last failed, in seconds of the loop's clock."""
    label: str | None = None
    """Its name, once that must no longer change."""
    outage: Outage = field(default_factory=Outage)
    """Whether its loss was logged."""
    logged_left_out: tuple[str, ...] = ()
    """The impossible values that were logged last."""

    @property
    def name(self) -> str:
        """The requested name or address, else the advertised name or the address."""
        return self.label or self.advertised_name or self.target

    @property
    def advertised_name(self) -> str | None:
        """The advertised name of a battery that was found."""
        return self.seen.name if self.seen and not self.is_requested else None

    @property
    def scan_target(self) -> str:
        """The name or address to scan for: its address once it was read."""
        return self.address or self.earlier_address or self.target

    @property
    def rank(self) -> Rank:
        """Its place in the queue: a battery that was read goes first, a failed one last."""
        return not self.was_read, self.failed_at

    @property
    def was_read(self) -> bool:
        """Whether it was read, by this run or an earlier one."""
        return bool(self.reading or self.address or self.earlier_address)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The impossible values of the latest reading."""
        return self.reading.cell_data.implausible if self.reading else ()

    @property
    def is_proven(self) -> bool:
        """Whether it was requested or read: a scan finds anything that advertises as a JK BMS."""
        return self.is_requested or self.was_read

    @property
    def up(self) -> bool:
        """Whether the latest attempt succeeded, and is recent."""
        return not self.error and asyncio.get_running_loop().time() < self.stale_at


class Monitor:
    """The requested batteries, or all that are found."""

    def __init__(
        self,
        targets: Sequence[str] = (),
        *,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        """Expect batteries by name or address; without targets, every battery."""
        self.targets = targets
        self.batteries = [Battery(target) for target in targets]
        """In the order requested, else in the order found."""
        self.on_change: Callable[[], None] = lambda: None
        """Called whenever the state of a battery changes."""
        self.max_age = inf
        """Seconds after which a reading is stale."""
        self.no_bluetooth: NoBluetoothError | None = None
        """Why no battery can be read at the moment."""
        self._answer_timeout = answer_timeout
        self._unproven = Outage()
        """Whether a battery that a scan found but that was never read was logged."""
        # By address: one battery may be requested by its name and by its address
        self._clients: dict[str, JkBmsClient] = {}
        self._seen: dict[str, SeenDevice] = {}

    def named(self) -> list[tuple[str, Battery]]:
        """Return each battery with a name that no other battery has.

        For a requested battery that is its first target, whatever it advertises later.
        For a battery that was found it is its label; until it has one, the advertised
        name, or the address if another battery has that name.
        """
        shared = Counter(
            name
            for battery in self.batteries
            for name in {battery.name, battery.advertised_name}
        )
        by_address: dict[str, str] = {}
        named = []
        for battery in self.batteries:
            name = battery.name
            if battery.seen:
                address = battery.seen.address
                if shared[name] > 1 and not battery.label:
                    name = address
                name = by_address.setdefault(address, name)
            named.append((name, battery))
        return named

    def keep_label(self, battery: Battery) -> None:
        """Fix the label of a battery found by a scan.

        Batteries with the same name are labelled with their addresses. One that takes
        the name of a battery that was read, or cannot be read, does not change the
        label of the other.
        """
        if battery.is_requested or battery.label:
            return
        has_twin = any(
            battery.name in (other.name, other.advertised_name)
            and (other.label or not other.error)
            for other in self.batteries
            if other is not battery
        )
        battery.label = battery.target if has_twin else battery.name

    def keep_labels(self) -> None:
        """Fix the labels of all batteries that have been read."""
        for battery in self.batteries:
            if battery.reading:
                self.keep_label(battery)

    def has(self, seen: SeenDevice) -> bool:
        """Return whether a battery that a scan found is known."""
        return any(battery.target == seen.address for battery in self.batteries)

    def make_room(self) -> bool:
        """Return whether there is room for a battery that a scan found.

        If there is none, the battery that failed first of those never read is dropped;
        its state is forgotten at the end of its current attempt.
        """
        unread = [battery for battery in self.batteries if not battery.is_proven]
        if len(unread) < _MAX_UNREAD:
            return True
        if failed := [battery for battery in unread if battery.error]:
            self.batteries.remove(min(failed, key=lambda each: each.failed_at))
        return bool(failed)

    def add(self, seen: SeenDevice) -> Battery:
        """Add a battery that a scan found."""
        battery = Battery(seen.address, is_requested=False, seen=seen)
        self.batteries.append(battery)
        return battery

    def expect(self, label: str, address: str, unseen_for: float) -> None:
        """Add a battery that an earlier run read, `unseen_for` seconds ago."""
        self.batteries.append(
            Battery(
                address,
                is_requested=False,
                earlier_address=address,
                label=label,
                seen_at=asyncio.get_running_loop().time() - unseen_for,
            )
        )

    def register(self, battery: Battery, seen: SeenDevice) -> JkBmsClient:
        """Store where a battery was seen; return the client that reads it."""
        address = seen.address
        # Not every scan receives the name, but a label must not change
        if not seen.name and (before := self._seen.get(address)):
            seen.name = before.name
        self._seen[address] = seen
        if address not in self._clients:

            def find_device() -> BLEDevice | None:
                seen = self._seen.get(address)
                return seen.device if seen else None

            self._clients[address] = JkBmsClient(
                find_device,
                name=seen.name or "battery",
                answer_timeout=self._answer_timeout,
            )
        battery.seen, battery.client = seen, self._clients[address]
        battery.seen_at = asyncio.get_running_loop().time()
        self.on_change()
        return battery.client

    def succeed(self, battery: Battery, reading: Reading) -> None:
        """Store a reading."""
        battery.reading, battery.read_at, battery.error = reading, time(), None
        if battery.seen:
            battery.address = battery.seen.address
        battery.stale_at = asyncio.get_running_loop().time() + self.max_age
        self.on_change()

    def fail(self, battery: Battery, err: JkBmsError) -> None:
        """Store why an attempt failed."""
        battery.error = err
        if not isinstance(err, NoFreeSlotError):
            battery.failed_at = asyncio.get_running_loop().time()
        self.on_change()

    def fail_untried(self, err: JkBmsError) -> None:
        """Store why the batteries that were neither read nor failed could not be read."""
        for battery in self.batteries:
            if not battery.reading and not battery.error:
                self.fail(battery, err)

    def log_change(self, battery: Battery) -> None:
        """Log once that a battery is lost or back, and which values it leaves out.

        Missing Bluetooth is logged once for all batteries, not here. Of the batteries
        found by a scan that were never read, only the first is logged: there may be any
        number.
        """
        if isinstance(battery.error, NoBluetoothError):
            return
        if battery.error and not battery.is_proven:
            if self._unproven.begin():
                _LOGGER.warning(
                    "%s cannot be read: %s; failures of other found batteries are not"
                    " logged until they have been read once",
                    battery.name,
                    failure_text(battery.error),
                )
            return
        if battery.error and battery.outage.begin():
            _LOGGER.warning("%s is lost: %s", battery.name, failure_text(battery.error))
        if not battery.error and battery.outage.end():
            _LOGGER.warning("%s is back", battery.name)
        left_out = battery.left_out
        if left_out and left_out != battery.logged_left_out:
            _LOGGER.warning("%s: %s", battery.name, implausible_text(left_out))
        battery.logged_left_out = left_out

    def forget_if_gone(self, battery: Battery) -> bool:
        """Drop a battery found by a scan that was not seen for a day.

        Without Bluetooth it stays: no scan could have seen it. Return whether it was
        dropped.
        """
        unseen_for = asyncio.get_running_loop().time() - battery.seen_at
        if (
            battery.is_requested
            or not isinstance(battery.error, NotReachableError)
            or unseen_for <= FORGET_AFTER
        ):
            return False
        self.forget(battery)
        if battery.is_proven:
            hours = FORGET_AFTER / 3600
            _LOGGER.warning("%s is dropped: not seen for %g h", battery.name, hours)
        return True

    def forget(self, battery: Battery) -> None:
        """Drop all state of a battery that a scan found."""
        if battery in self.batteries:
            self.batteries.remove(battery)
        # It may have been found again since it was dropped
        if all(battery.target != other.target for other in self.batteries):
            self._clients.pop(battery.target, None)
            self._seen.pop(battery.target, None)
