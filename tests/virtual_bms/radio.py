"""A radio that finds virtual batteries, and the bleak backends that use it. It does not use Home Assistant."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Any, Self, cast, override
from unittest.mock import patch
from weakref import WeakValueDictionary

from bleak.args import SizedBuffer
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementDataCallback, BaseBleakScanner
from bleak.exc import (
    BleakDeviceNotFoundError,
    BleakError,
    BleakGATTProtocolError,
    BleakGATTProtocolErrorCode,
)

from .adverts import advertisement
from .gatt import Characteristic, Service, collection
from .link import Link
from .peripheral import VirtualBms

GATT_TIME = 0.03
"""s for one exchange with the peripheral."""
SCAN_INTERVAL = 0.1


class VirtualRadio:
    """A radio with a number of connection slots."""

    def __init__(self, source: str = "virtual radio", slots: int = 3) -> None:
        """A later radio of the same source replaces the earlier one."""
        self.source = source
        self.slots = slots
        self.reach: dict[str, tuple[VirtualBms, int]] = {}
        """Batteries by address, each with its RSSI."""
        self.taken: list[str] = []
        """Addresses that occupy a slot, connecting ones included."""
        self.links: set[Link] = set()
        self.cache: dict[str, tuple[Service, ...]] = {}
        """Services as last discovered, for clients that accept cached ones."""
        self.working = True
        self.on_slots: Callable[[], None] = lambda: None
        self.connecting: Callable[[], AbstractContextManager[None]] = nullcontext
        self._patches = ExitStack()
        RADIOS[source] = self

    @property
    def free_slots(self) -> int:
        """Connections that could still be made."""
        return max(0, self.slots - len(self.taken))

    def place(self, bms: VirtualBms, rssi: int = -60) -> None:
        """Bring a battery into range (or change its RSSI)."""
        self.reach[bms.address] = (bms, rssi)

    def remove(self, bms: VirtualBms) -> None:
        """Move a battery out of range; a link to it breaks."""
        self.reach.pop(bms.address, None)
        for link in [link for link in self.links if link.bms is bms]:
            link.close("out of reach")

    def in_range(self, address: str) -> bool:
        """Whether this battery is in range of a working radio."""
        return self.working and address in self.reach

    def device(self, bms: VirtualBms) -> BLEDevice:
        """The BLEDevice a scan on this radio would give."""
        return BLEDevice(bms.address, bms.spec.advertised_name, {"source": self.source})

    def start(self) -> None:
        """Work (again)."""
        self.working = True
        RADIOS[self.source] = self

    def stop(self) -> None:
        """Break all links and stop responding."""
        self.working = False
        for link in tuple(self.links):
            link.close("radio stopped")

    def __enter__(self) -> Self:
        """Stand in for the radio of this machine: plain bleak uses this one."""
        self.start()
        scanner = type("BoundScanner", (VirtualScanner,), {"radio": self})
        for name, backend in (("client", VirtualBackend), ("scanner", scanner)):
            target = f"bleak.get_platform_{name}_backend_type"
            self._patches.enter_context(
                patch(target, lambda backend=backend: (backend, backend.__name__))
            )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore plain bleak's own radio and break all links."""
        self._patches.close()
        self.stop()

    async def connect(
        self, address: str, on_close: Callable[[str], None], limit: float
    ) -> Link:
        """Take a slot and connect; the slot is free again as soon as the link ends."""
        if not self.in_range(address):
            raise BleakDeviceNotFoundError(address, f"Device {address} was not found")
        if not self.free_slots:
            raise BleakError("No free connection slot")
        bms, _ = self.reach[address]
        self._occupy(address)

        def ended(reason: str) -> None:
            self.links.discard(link)
            self._vacate(address)
            on_close(reason)

        try:
            with self.connecting():
                link = await bms.connect(self.source, ended, limit)
        except BaseException:
            self._vacate(address)
            raise
        self.links.add(link)
        if not self.in_range(address):
            link.close("gone during connection")
            raise BleakError("Disconnected during connection")
        return link

    def _occupy(self, address: str) -> None:
        self.taken.append(address)
        self.on_slots()

    def _vacate(self, address: str) -> None:
        self.taken.remove(address)
        self.on_slots()


RADIOS: WeakValueDictionary[str, VirtualRadio] = WeakValueDictionary()
"""By source. A BLEDevice may carry plain data only (Home Assistant stores it), so backends look here."""

_bench = VirtualRadio("ble_device", slots=1000)


def ble_device(bms: VirtualBms) -> BLEDevice:
    """A device to use with `BleakClient(device, backend=VirtualBackend)`, without any set-up."""
    _bench.place(bms)
    return _bench.device(bms)


def _radio_for(device: BLEDevice | str) -> VirtualRadio:
    if isinstance(device, BLEDevice):
        source = device.details["source"]
        if source not in RADIOS:
            raise BleakDeviceNotFoundError(device.address, f"No radio {source}")
        return RADIOS[source]
    for radio in RADIOS.values():
        if radio.in_range(device):
            return radio
    raise BleakDeviceNotFoundError(device, f"Device {device} was not found")


class VirtualBackend(BaseBleakClient):
    """The backend of bleak, in place of the operating system's."""

    def __init__(self, address_or_ble_device: BLEDevice | str, **kwargs: Any) -> None:
        """Keep what is needed to find the radio when connecting."""
        super().__init__(address_or_ble_device, **kwargs)
        self._device = address_or_ble_device
        self._link: Link | None = None
        self._radio: VirtualRadio | None = None

    @property
    @override
    def name(self) -> str:
        if isinstance(self._device, BLEDevice) and self._device.name:
            return self._device.name
        return self.address.replace(":", "-")

    @property
    @override
    def mtu_size(self) -> int:
        return self._require_link().bms.variant.mtu

    @property
    @override
    def is_connected(self) -> bool:
        return self._link is not None

    @override
    async def connect(
        self, pair: bool, dangerous_use_bleak_cache: bool = False, **kwargs: Any
    ) -> None:
        if self._link:
            raise BleakError("Already connected")
        radio = self._radio = _radio_for(self._device)
        limit = kwargs.get("timeout", self._timeout)
        link = await radio.connect(self.address, self._on_close, limit)
        self._link = link
        try:
            if pair:
                await self.pair()
            services = await self._discover(radio, link, dangerous_use_bleak_cache)
        except BaseException:
            link.close("failed after connecting")
            raise
        self.services = collection(services, link.bms.variant.mtu)

    async def _discover(
        self, radio: VirtualRadio, link: Link, use_cache: bool
    ) -> tuple[Service, ...]:
        cached = radio.cache.get(self.address) if use_cache else None
        if cached is None:
            await self._exchange()
            cached = link.bms.discover()
            if cached:  # an empty list is not cached
                radio.cache[self.address] = cached
        self._require_link()
        return cached

    @override
    async def disconnect(self) -> None:
        if link := self._link:
            await asyncio.sleep(GATT_TIME / link.bms.speed)
            link.close("by the central")

    def _on_close(self, reason: str) -> None:
        """The link has ended, from either side."""
        connected = self._link is not None
        self._link = None
        self.services = None
        if connected and self._disconnected_callback:
            self._disconnected_callback()

    @override
    async def pair(self, *args: Any, **kwargs: Any) -> None:
        link = self._require_link()
        await self._exchange()
        if link.bms.faults.pairing:
            # It requires a passkey, which cannot be entered here.
            raise BleakError("Pairing failed: passkey required")
        link.paired = True

    @override
    async def unpair(self) -> None:
        self._require_link().paired = False

    async def clear_cache(self) -> bool:
        """Forget the discovered services (called by HaBleakClientWrapper)."""
        if self._radio is None:
            return False
        return self._radio.cache.pop(self.address, None) is not None

    @override
    async def read_gatt_char(
        self,
        characteristic: BleakGATTCharacteristic,
        *,
        use_cached: bool = False,
        **kwargs: Any,
    ) -> bytearray:
        await self._exchange()
        return bytearray(self._require_link().read(_row(characteristic)))

    @override
    async def read_gatt_descriptor(
        self,
        descriptor: BleakGATTDescriptor,
        *,
        use_cached: bool = False,
        **kwargs: Any,
    ) -> bytearray:
        await self._exchange()
        subscribed = self._require_link().subscribed(descriptor.characteristic_handle)
        return bytearray([subscribed, 0])

    @override
    async def write_gatt_char(
        self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool
    ) -> None:
        if response:
            await self._exchange()
        else:
            await asyncio.sleep(0)
        self._require_link().write(_row(characteristic), bytes(data), response)

    @override
    async def write_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, data: SizedBuffer
    ) -> None:
        raise BleakGATTProtocolError(BleakGATTProtocolErrorCode.WRITE_NOT_PERMITTED)

    @override
    async def start_notify(
        self,
        characteristic: BleakGATTCharacteristic,
        callback: NotifyCallback,
        **kwargs: Any,
    ) -> None:
        await self._exchange()
        self._require_link().subscribe(_row(characteristic), callback)

    @override
    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        await self._exchange()
        self._require_link().unsubscribe(_row(characteristic))

    async def _exchange(self) -> None:
        await asyncio.sleep(GATT_TIME / self._require_link().bms.speed)

    def _require_link(self) -> Link:
        if self._link is None:
            raise BleakError("Not connected")
        return self._link


def _row(characteristic: BleakGATTCharacteristic) -> Characteristic:
    return cast(Characteristic, characteristic.obj)


class VirtualScanner(BaseBleakScanner):
    """Scanner backend of a radio; `with radio:` binds it."""

    radio: VirtualRadio

    def __init__(
        self,
        detection_callback: AdvertisementDataCallback | None,
        service_uuids: list[str] | None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Accept the arguments of BleakScanner; the scanning mode makes no difference."""
        super().__init__(detection_callback, service_uuids)
        self._timer: asyncio.TimerHandle | None = None

    @override
    async def start(self) -> None:
        self.seen_devices = {}
        self._scan()

    @override
    async def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _scan(self) -> None:
        for bms, rssi in tuple(self.radio.reach.values()):
            if bms.advertising and self.radio.working:
                self._receive(bms, rssi)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SCAN_INTERVAL, self._scan)

    def _receive(self, bms: VirtualBms, rssi: int) -> None:
        advert = advertisement(bms.spec, rssi)
        if not self.is_allowed_uuid(advert.service_uuids):
            return
        device = self.create_or_update_device(
            bms.address,
            bms.address,
            advert.local_name,
            {"source": self.radio.source},
            advert,
        )
        self.call_detection_callbacks(device, advert)
