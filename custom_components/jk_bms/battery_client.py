"""Creates the clients of batteries on the adapters and proxies of Home Assistant."""

from functools import partial

from bleak.backends.device import BLEDevice

from homeassistant.components import bluetooth
from homeassistant.core import HomeAssistant, callback

from .bonds import async_keep_to_adapter
from .jkbms.bluetooth.client import JkBmsClient


@callback
def async_create_client(
    hass: HomeAssistant, address: str, name: str, adapter: str | None
) -> JkBmsClient:
    """Create the client of a battery; it looks up the best path at every attempt.

    A battery that is paired with an adapter is reached over that adapter only.
    """
    return JkBmsClient(
        partial(_async_find_device, hass, address, adapter),
        name=name,
        client_mixin=async_keep_to_adapter(address, adapter) if adapter else None,
    )


@callback
def _async_find_device(
    hass: HomeAssistant, address: str, adapter: str | None
) -> BLEDevice | None:
    """Return the best path to a battery, `None` if no scanner can connect to it."""
    # Home Assistant remembers the last path for minutes after the proxy is gone. Trying
    # it takes until the deadline and then fails with "no free connection slot".
    found = bluetooth.async_scanner_devices_by_address(hass, address, connectable=True)
    if adapter:
        paths = (path for path in found if path.scanner.source == adapter)
        return next((path.ble_device for path in paths), None)
    if not found:
        return None
    return bluetooth.async_ble_device_from_address(hass, address, connectable=True)
