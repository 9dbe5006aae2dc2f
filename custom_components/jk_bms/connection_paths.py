"""Which adapter or proxy a connection to a battery goes through."""

from typing import NamedTuple, override

from bleak.exc import BleakError
from habluetooth import BluetoothManager, HaBleakClientWrapper
from habluetooth.wrappers import _HaWrappedBleakBackend

from homeassistant.core import HomeAssistant, callback
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
from .jkbms.bluetooth.connection import ClientMixin


class Path(NamedTuple):
    """An adapter or proxy that was chosen to connect to a battery."""

    source: str
    rssi: int | None
    """dBm, of the last advertisement that it received."""


_CHOSEN: HassKey[dict[str, Path]] = HassKey(f"{DOMAIN}_paths")
"""By address of the battery."""


@callback
def async_last_path(hass: HomeAssistant, address: str) -> Path | None:
    """Return the path of the last attempt to connect since the last one was forgotten."""
    return hass.data.get(_CHOSEN, {}).get(address)


@callback
def async_forget_path(hass: HomeAssistant, address: str) -> None:
    """Forget the path before another attempt, which may not get as far as to choose one."""
    hass.data.get(_CHOSEN, {}).pop(address, None)


@callback
def async_create_client_mixin(
    hass: HomeAssistant, address: str, adapter: str | None
) -> ClientMixin:
    """Return what makes a client note its path, and keep to an adapter if there is one.

    Home Assistant's client chooses the path at each attempt, by signal strength and free
    slots; it does not report which, and cannot be restricted to one. An adapter that
    holds a bond is the only path: over any other the battery sends nothing.
    """

    class PathClient(HaBleakClientWrapper):
        @override
        def _async_get_best_available_backend_and_device(
            self, manager: BluetoothManager
        ) -> _HaWrappedBleakBackend:
            backend = (
                self._backend_of(manager, adapter)
                if adapter
                else super()._async_get_best_available_backend_and_device(manager)
            )
            seen = backend.scanner.get_discovered_device_advertisement_data(address)
            hass.data.setdefault(_CHOSEN, {})[address] = Path(
                backend.scanner.source, seen[1].rssi if seen else None
            )
            return backend

        def _backend_of(
            self, manager: BluetoothManager, source: str
        ) -> _HaWrappedBleakBackend:
            for device in manager.async_scanner_devices_by_address(address, True):
                if device.scanner.source != source:
                    continue
                if backend := self._async_get_backend_for_ble_device(
                    manager, device.scanner, device.ble_device
                ):
                    return backend
                raise BleakError(f"Adapter {source} has no free connection slot")
            raise BleakError(f"Adapter {source} cannot see the battery")

    return PathClient
