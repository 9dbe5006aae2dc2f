"""Creates the clients of batteries on the adapters and proxies of Home Assistant."""

from functools import partial

from bleak.backends.device import BLEDevice

from homeassistant.components import bluetooth
from homeassistant.core import HomeAssistant, callback

from .jkbms.bluetooth.client import JkBmsClient


@callback
def async_create_client(hass: HomeAssistant, address: str, name: str) -> JkBmsClient:
    """Create the client of a battery; it looks up the best path at every attempt."""
    return JkBmsClient(partial(_async_find_device, hass, address), name=name)


@callback
def _async_find_device(hass: HomeAssistant, address: str) -> BLEDevice | None:
    """Return the best path to a battery, `None` if no scanner can connect to it."""
    # Home Assistant remembers the last path for minutes after the proxy is gone. Trying
    # it takes until the deadline and then fails with "no free connection slot".
    if not bluetooth.async_scanner_devices_by_address(hass, address, connectable=True):
        return None
    return bluetooth.async_ble_device_from_address(hass, address, connectable=True)
