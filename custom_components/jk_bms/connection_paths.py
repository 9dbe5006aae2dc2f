"""Which adapter or proxy a connection to a battery goes through."""

from typing import TYPE_CHECKING, NamedTuple, override

from bleak.backends.device import BLEDevice
from bleak.exc import BleakError
from habluetooth import BaseHaScanner, BluetoothManager, HaBleakClientWrapper

from homeassistant.core import HomeAssistant, callback
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
from .jkbms.bluetooth.connection import ClientMixin

if TYPE_CHECKING:
    from habluetooth.wrappers import _HaWrappedBleakBackend


class Path(NamedTuple):
    """An adapter or proxy that was chosen to connect to a battery."""

    source: str
    rssi: int | None
    """Signal strength of the last advertisement that it received, in dBm."""


_CHOSEN: HassKey[dict[str, Path]] = HassKey(f"{DOMAIN}_paths")
"""Chosen paths by address of the battery."""


@callback
def async_last_path(hass: HomeAssistant, address: str) -> Path | None:
    """Return the path of the last attempt to connect, unless it was forgotten since."""
    return hass.data.get(_CHOSEN, {}).get(address)


@callback
def async_forget_path(hass: HomeAssistant, address: str) -> None:
    """Forget the path before another attempt, which may fail before it chooses one."""
    hass.data.get(_CHOSEN, {}).pop(address, None)


@callback
def async_create_client_mixin(
    hass: HomeAssistant, address: str, adapter: str | None
) -> ClientMixin:
    """Return a mixin that records the path of a client and keeps it to `adapter`, if given.

    Home Assistant's client chooses the path at each attempt, by signal strength and free
    slots; it does not report which, and cannot be restricted to one. An adapter that
    holds a bond is the only path: over any other the battery sends nothing.

    There is no public way to take part in that choice. The overridden method is private to
    habluetooth, and so is the class that it returns, which is imported for type checking
    only. In a release without the method, any adapter is used and no path is recorded.
    """

    class PathClient(HaBleakClientWrapper):
        @override
        def _async_get_backend_for_ble_device(
            self,
            manager: BluetoothManager,
            scanner: BaseHaScanner,
            ble_device: BLEDevice,
        ) -> _HaWrappedBleakBackend | None:
            """Return the backend for this path; the best path comes first."""
            paths = {
                path.scanner.source: path.advertisement.rssi
                for path in manager.async_scanner_devices_by_address(address, True)
            }
            if adapter and adapter not in paths:
                raise BleakError(f"Adapter {adapter} cannot see the battery")
            if adapter and scanner.source != adapter:
                return None
            backend = super()._async_get_backend_for_ble_device(
                manager, scanner, ble_device
            )
            if adapter and not backend:
                raise BleakError(f"Adapter {adapter} has no free connection slot")
            if backend:
                hass.data.setdefault(_CHOSEN, {})[address] = Path(
                    scanner.source, paths.get(scanner.source)
                )
            return backend

    return PathClient
