"""An adapter of the emulated BlueZ as Home Assistant sees it."""

from collections.abc import Iterable
from typing import override

from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bluetooth_data_tools import monotonic_time_coarse
from habluetooth import BaseHaScanner, BluetoothServiceInfoBleak, get_manager

from tests.virtual_bms import VirtualBms
from tests.virtual_bms.adverts import advertisement

from .stack import Adapter, Bluez


class LocalScanner(BaseHaScanner):
    """Shows what BlueZ knows. Clients use the real BlueZ backend of bleak."""

    def __init__(self, bluez: Bluez, adapter: Adapter) -> None:
        """Create it when Bluetooth is set up in Home Assistant."""
        super().__init__(adapter.address, adapter.path.rpartition("/")[2])
        self.connectable = True
        self._bluez = bluez
        self._adapter = adapter
        self._unsetup_scanner = self.async_setup()
        self._unregister = get_manager().async_register_scanner(self)

    def stop(self) -> None:
        """Unplug the adapter."""
        self._unregister()
        self._unsetup_scanner()

    async def see(self, bms: VirtualBms) -> None:
        """Receive an advertisement of a battery."""
        await self._bluez.until_seen(self._adapter, bms)
        device, advert = self.discovered_devices_and_advertisement_data[bms.address]
        get_manager().scanner_adv_received(
            BluetoothServiceInfoBleak(
                name=device.name or bms.address,
                address=bms.address,
                rssi=advert.rssi,
                manufacturer_data=advert.manufacturer_data,
                service_data=advert.service_data,
                service_uuids=advert.service_uuids,
                source=self.source,
                device=device,
                advertisement=advert,
                connectable=True,
                time=monotonic_time_coarse(),
                tx_power=advert.tx_power,
            )
        )

    @property
    @override
    def discovered_devices(self) -> list[BLEDevice]:
        found = self.discovered_devices_and_advertisement_data.values()
        return [device for device, _ in found]

    @property
    @override
    def discovered_devices_and_advertisement_data(
        self,
    ) -> dict[str, tuple[BLEDevice, AdvertisementData]]:
        return {
            device.bms.address: (
                BLEDevice(
                    device.bms.address,
                    device.bms.spec.advertised_name,
                    {"path": device.path, "props": {"Adapter": self._adapter.path}},
                ),
                advertisement(device.bms.spec, device.rssi),
            )
            for device in self._bluez.devices.values()
            if device.adapter is self._adapter
        }

    @property
    @override
    def discovered_addresses(self) -> Iterable[str]:
        return self.discovered_devices_and_advertisement_data

    @override
    def get_discovered_device_advertisement_data(
        self, address: str
    ) -> tuple[BLEDevice, AdvertisementData] | None:
        return self.discovered_devices_and_advertisement_data.get(address)
