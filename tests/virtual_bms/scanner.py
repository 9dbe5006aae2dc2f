"""Virtual batteries inside Home Assistant: a Bluetooth proxy that scans and connects."""

import asyncio
from collections.abc import Callable
from typing import override

from bleak_retry_connector.bluez import Allocations
from bluetooth_data_tools import monotonic_time_coarse
from habluetooth import (
    BaseHaRemoteScanner,
    BluetoothScanningMode,
    HaBluetoothConnector,
    get_manager,
)

from .adverts import advertisement
from .peripheral import VirtualBms
from .radio import VirtualBackend, VirtualRadio


class VirtualProxy(BaseHaRemoteScanner):
    """A remote scanner with a limited number of connection slots. Create it when bluetooth is set up."""

    def __init__(self, source: str, name: str, slots: int = 3) -> None:
        """`source` is its own Bluetooth address."""
        self.radio = VirtualRadio(source, slots)
        self.radio.working = False
        super().__init__(
            source,
            name,
            HaBluetoothConnector(
                client=VirtualBackend, source=source, can_connect=self._can_connect
            ),
            True,
            BluetoothScanningMode.ACTIVE,
            BluetoothScanningMode.ACTIVE,
        )
        self.radio.connecting = self.connecting
        self.radio.on_slots = self._report_slots
        self._cancel: list[Callable[[], None]] = []
        self._advert_timer: asyncio.TimerHandle | None = None

    @property
    def free_slots(self) -> int:
        """Connections that could still be made."""
        return self.radio.free_slots

    @property
    def plugged(self) -> bool:
        """Whether Home Assistant can reach the proxy."""
        return self.radio.working

    def start(self) -> None:
        """Register with Home Assistant."""
        if self._cancel:
            return
        self.radio.start()
        unsetup = self.async_setup()
        self._cancel = [get_manager().async_register_scanner(self), unsetup]
        self._report_slots()

    def stop(self) -> None:
        """Break all links, unregister, cancel all timers."""
        self.stop_advertising()
        self.unplug()

    def unplug(self) -> None:
        """Power failure of the proxy: links die, adverts stop."""
        self.radio.stop()
        for cancel in self._cancel:
            cancel()
        self._cancel.clear()

    def replug(self) -> None:
        """The proxy is back; periodic advertising continues if it was on."""
        self.start()

    def place(self, bms: VirtualBms, rssi: int = -60) -> None:
        """Bring a battery into range (or change its RSSI)."""
        self.radio.place(bms, rssi)

    def remove(self, bms: VirtualBms) -> None:
        """Move a battery out of range; a link through this proxy breaks."""
        self.radio.remove(bms)

    def advertise(self, bms: VirtualBms) -> bool:
        """Deliver one advert of a battery in range; False if it was not received."""
        received = (
            self.plugged
            and bms.advertising
            and bms.address in self.radio.reach
            and not self.connecting_count  # a connecting proxy does not scan
        )
        if not received:
            return False
        _, rssi = self.radio.reach[bms.address]
        data = advertisement(bms.spec, rssi)
        self._async_on_advertisement(
            bms.address,
            data.rssi,
            data.local_name,
            data.service_uuids,
            data.service_data,
            data.manufacturer_data,
            data.tx_power,
            {},
            monotonic_time_coarse(),
        )
        return True

    def start_advertising(self, interval: float = 1.0) -> None:
        """Receive adverts of all batteries in range now and every `interval` s."""
        self.stop_advertising()
        for bms, _ in tuple(self.radio.reach.values()):
            self.advertise(bms)
        self._advert_timer = asyncio.get_running_loop().call_later(
            interval, self.start_advertising, interval
        )

    def stop_advertising(self) -> None:
        """Stop periodic adverts."""
        if self._advert_timer:
            self._advert_timer.cancel()
            self._advert_timer = None

    @override
    def get_allocations(self) -> Allocations:
        return Allocations(
            adapter=self.source,
            slots=self.radio.slots,
            free=self.radio.free_slots,
            allocated=list(self.radio.taken),
        )

    def _can_connect(self) -> bool:
        return self.plugged and self.radio.free_slots > 0

    def _report_slots(self) -> None:
        if self.plugged:
            get_manager().async_on_allocation_changed(self.get_allocations())
