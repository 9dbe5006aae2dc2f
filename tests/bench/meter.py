"""CPU time of the event loop, split between Home Assistant and the virtual batteries.

Both run in one thread, so each call from one to the other is recorded. Only CPU time of that
thread counts, not that of other programs or of Home Assistant's own threads.
"""

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from enum import IntEnum
import gc
from threading import get_ident
from time import thread_time
from types import coroutine
from typing import Any, Final, Literal, override
from unittest.mock import patch

from bleak.args import SizedBuffer
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import NotifyCallback
from habluetooth import HaBluetoothConnector

from tests import virtual_bms
from tests.virtual_bms import VirtualBackend
from tests.virtual_bms.scanner import VirtualProxy

STAND_IN: Final = next(iter(virtual_bms.__path__))


class Owner(IntEnum):
    """Whose work it is."""

    HOME = 0
    """Home Assistant, its Bluetooth stack, the integration."""
    STAND_IN = 1
    """The virtual batteries and their radio."""


class Meter:
    """CPU time of each owner since the last `reset`, in s."""

    def __init__(self) -> None:
        """Begin with Home Assistant's work."""
        self._owner = Owner.HOME
        self._since = thread_time()
        self._in_gc = 0.0
        self._thread = get_ident()
        self.longest_collection = 0.0
        """s, never reset."""
        self.reset()

    def reset(self) -> None:
        """Restart the measurement."""
        self.spent = [0.0, 0.0]
        self.longest = 0.0
        """The longest time for which Home Assistant blocked the loop, in s."""
        self.collections = 0.0
        """s of garbage collection, counted for neither: the garbage is of both, and
        the whole memory is searched for it."""

    def switch(self, owner: Owner) -> Owner:
        """Count time for this owner from now on; return the previous owner."""
        now = thread_time()
        self.spent[self._owner] += now - self._since
        self._since = now
        before, self._owner = self._owner, owner
        return before

    @contextmanager
    def running(self) -> Generator[None]:
        """Measure everything that the event loop runs."""
        run = asyncio.Handle._run

        def metered_run(handle: asyncio.Handle) -> None:
            self.switch(_owner(handle))
            before = self.spent[Owner.HOME]
            run(handle)
            self.switch(Owner.HOME)
            self.longest = max(self.longest, self.spent[Owner.HOME] - before)

        gc.callbacks.append(self._note_collection)
        try:
            with patch.object(asyncio.Handle, "_run", metered_run):
                yield
        finally:
            gc.callbacks.remove(self._note_collection)

    def _note_collection(
        self, phase: Literal["start", "stop"], _: dict[str, int]
    ) -> None:
        # Other threads collect garbage as well
        if get_ident() != self._thread:
            return
        self._in_gc = thread_time() - self._in_gc
        if phase == "stop":
            self.collections += self._in_gc
            self.longest_collection = max(self.longest_collection, self._in_gc)
            self.spent[self._owner] -= self._in_gc
            self._in_gc = 0.0


METER: Final = Meter()


def _owner(handle: asyncio.Handle) -> Owner:
    """Return whose function a handle calls; a task is always Home Assistant's here."""
    called = getattr(handle, "_callback")  # noqa: B009 - not in its declaration
    function = getattr(called, "__func__", called)
    code = getattr(function, "__code__", None)
    if code and code.co_filename.startswith(STAND_IN):
        return Owner.STAND_IN
    return Owner.HOME


@coroutine
def _metered[T](work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Run the stand-in's work step by step and count it for the stand-in."""
    step, argument = work.send, None
    while True:
        before = METER.switch(Owner.STAND_IN)
        try:
            waited = step(argument)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            METER.switch(before)
        try:
            step, argument = work.send, (yield waited)
        except BaseException as err:  # noqa: BLE001 - passed on to the coroutine
            step, argument = work.throw, err


class MeteredBackend(VirtualBackend):
    """The boundary between the two on a link."""

    @override
    async def connect(
        self, pair: bool, dangerous_use_bleak_cache: bool = False, **kwargs: Any
    ) -> None:
        await _metered(super().connect(pair, dangerous_use_bleak_cache, **kwargs))

    @override
    async def disconnect(self) -> None:
        await _metered(super().disconnect())

    @override
    async def write_gatt_char(
        self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool
    ) -> None:
        await _metered(super().write_gatt_char(characteristic, data, response))

    @override
    async def start_notify(
        self,
        characteristic: BleakGATTCharacteristic,
        callback: NotifyCallback,
        **kwargs: Any,
    ) -> None:
        def receive(data: bytearray) -> None:
            before = METER.switch(Owner.HOME)
            callback(data)
            METER.switch(before)

        await _metered(super().start_notify(characteristic, receive, **kwargs))


class MeteredProxy(VirtualProxy):
    """The boundary between the two at a proxy."""

    def __init__(self, source: str, name: str, slots: int = 3) -> None:
        """Connect with the metered backend."""
        super().__init__(source, name, slots)
        self.connector = HaBluetoothConnector(
            client=MeteredBackend, source=source, can_connect=self._can_connect
        )
        report = self.radio.on_slots

        def metered_report() -> None:
            before = METER.switch(Owner.HOME)
            report()
            METER.switch(before)

        self.radio.on_slots = metered_report

    @override
    def _async_on_advertisement(self, *args: Any) -> None:
        before = METER.switch(Owner.HOME)
        super()._async_on_advertisement(*args)
        METER.switch(before)
