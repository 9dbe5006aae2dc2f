"""How long a released reading takes, compared with aiobmsble and with the battery's own time.

It runs in virtual time, so that the figures are exact: only waiting counts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from statistics import fmean
from typing import Any, Final, override

from aiobmsble import BMSConfig, BMSSample
from aiobmsble.bms.jikong_bms import BMS
from bleak.backends.device import BLEDevice
from bleak.exc import BleakError

from custom_components.jk_bms.jkbms.bluetooth.client import JkBmsClient
from custom_components.jk_bms.jkbms.protocol.frames import FrameAssembler, FrameType
from tests.virtual_bms import MODELS, Battery, Behaviour, Link, VirtualBms, VirtualRadio
from tests.virtual_bms.gatt import Characteristic
from tests.virtual_bms.link import READ_CELLS, READ_INFO
from tests.virtual_bms.radio import GATT_TIME
from tests.virtual_time import VirtualTimeLoop

from .figure import Figure, Options, Target, at_most

_BATTERIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "JK-B2A24S15P 10.07": {},
    "JK-BD6A24S10P 8.0.6G": {"acknowledges": False},
    "JK_B2A8S20P 11.48": {},
    "JK_B2A20S20P 11.288H": {},
    "JK_PB2A16S20P 15.41": {},
    "JK-B2A16S 3.3.0": {},
    "JK-B5A24S 8.0.3M": {},
}
"""One of each radio module, with what differs from the habits of its firmware."""
_READS: Final = 50
_PAUSE: Final = 30.0
_SETTLE: Final = 0.3
"""s that the protocol requires between the subscription and the first command."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What one reading took, s."""

    reading: float
    """From the start of connecting to the complete reading."""
    link: float
    """From connecting to disconnecting."""
    own: float
    """From connecting to the complete reading, for a reader without delay."""


def measure(_: Options) -> Iterator[Figure]:
    """Yield the battery's own time for a reading, and mean times of readings compared with it."""
    for model, habits in _BATTERIES.items():
        # The first waits for a second frame, once: that is its price, not the link's
        ours = _read_often(model, habits, _ours)[1:]
        # Disconnecting is one more exchange
        link = fmean(read.own for read in ours) + GATT_TIME
        connecting = Behaviour.of(MODELS[model]).connect_time
        name = f"read {model}"
        yield Figure(name, connecting + link, "s", None, _OWN)
        yield from _compared(f"{name}: ours", ours, connecting, link, at_most(1.1))
        try:
            theirs = _read_often(model, habits, _theirs)
        except TimeoutError, BleakError:
            # It does not support every model
            continue
        yield from _compared(f"{name}: peer", theirs, connecting, link, None)


_OWN: Final = "what radio, battery and protocol take to connect, read and release"


def _compared(
    name: str, reads: list[_Read], connecting: float, link: float, target: Target | None
) -> Iterator[Figure]:
    yield Figure(
        name,
        fmean(read.reading for read in reads) / (connecting + link - GATT_TIME),
        "x",
        target,
        "from connecting to the complete reading : what radio, battery and protocol take",
    )
    yield Figure(
        f"{name}, link",
        fmean(read.link for read in reads) / link,
        "x",
        target,
        "link time used for a released reading : what battery and protocol take",
    )


class _Observed(VirtualBms):
    """Records what the central received, and when."""

    received: list[tuple[float, bytes]]

    @override
    async def connect(
        self, source: str, on_close: Callable[[str], None], limit: float = 20.0
    ) -> Link:
        self.received = []
        self.commands.clear()
        link = await super().connect(source, on_close, limit)
        subscribe = link.subscribe

        def listen(
            characteristic: Characteristic, callback: Callable[[bytearray], None]
        ) -> None:
            def receive(data: bytearray) -> None:
                self.received.append((asyncio.get_running_loop().time(), bytes(data)))
                callback(data)

            subscribe(characteristic, receive)

        link.subscribe = listen  # type: ignore[method-assign]
        return link

    @property
    def own_time(self) -> float:
        """Return how long the last reading took without the delays of the reader."""
        info, cells = (
            next(c.at for c in self.commands if c.register == register)
            for register in (READ_INFO, READ_CELLS)
        )
        info_complete = self._complete(info, cells, FrameType.DEVICE_INFO)
        acknowledged = self._complete(info, cells, None)
        measured = self._complete(cells, inf, FrameType.CELL_DATA)
        # Subscribing is one exchange; the services may be cached
        return (
            GATT_TIME
            + _SETTLE
            + max(info_complete, acknowledged)
            - info
            + measured
            - cells
        )

    def _complete(self, since: float, until: float, kind: FrameType | None) -> float:
        """Return when the first such frame, or acknowledgement, was complete, else `since`."""
        assembler = FrameAssembler()
        for at, data in self.received:
            if since <= at <= until:
                kinds = [frame.type for frame in assembler.feed(data)]
                if kind in kinds or (
                    kind is None and assembler.statistics.acknowledged
                ):
                    return at
        return since


type MakeReader = Callable[[BLEDevice], Callable[[], Awaitable[float]]]
"""Creates a function that connects, reads once, disconnects, and returns when the reading was complete."""


def _read_often(
    model: str, habits: Mapping[str, Any], make_reader: MakeReader
) -> list[_Read]:
    spec = MODELS[model]
    bms = _Observed(
        Battery(spec, hour=9.0), behaviour=replace(Behaviour.of(spec), **habits)
    )
    with (
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
        VirtualRadio("bench", slots=1) as radio,
    ):
        radio.place(bms)
        return runner.run(_read_on(bms, radio.device(bms), make_reader))


async def _read_on(
    bms: _Observed, device: BLEDevice, make_reader: MakeReader
) -> list[_Read]:
    now = asyncio.get_running_loop().time
    read = make_reader(device)
    reads = []
    for _ in range(_READS):
        began = now()
        complete = await read()
        connection = bms.connections[-1]
        assert connection.closed
        reads.append(
            _Read(complete - began, connection.closed - connection.opened, bms.own_time)
        )
        await asyncio.sleep(_PAUSE)
    return reads


def _ours(device: BLEDevice) -> Callable[[], Awaitable[float]]:
    client = JkBmsClient(lambda: device, name="battery")

    async def read() -> float:
        return (await client.read()).time

    return read


class _Peer(BMS):  # type: ignore[misc]
    """Records when its reading was complete."""

    complete = 0.0

    @override
    async def _async_update(self) -> BMSSample:
        sample = await super()._async_update()
        self.complete = asyncio.get_running_loop().time()
        return sample


def _theirs(device: BLEDevice) -> Callable[[], Awaitable[float]]:
    peer = _Peer(device, BMSConfig(keep_alive=False))

    async def read() -> float:
        await peer.async_update()
        return peer.complete

    return read
