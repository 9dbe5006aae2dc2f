"""Creates the clients of batteries on the adapters and proxies of Home Assistant."""

from dataclasses import dataclass
from functools import partial

from bleak.backends.device import BLEDevice

from homeassistant.components import bluetooth
from homeassistant.core import HomeAssistant, callback
from homeassistant.util.hass_dict import HassKey

from .connection_paths import async_create_client_mixin
from .const import DOMAIN
from .jkbms.bluetooth.client import JkBmsClient
from .jkbms.models import Reading


@dataclass(frozen=True, slots=True)
class FirstRead:
    """The reading of the config flow, and the client that read it."""

    client: JkBmsClient
    reading: Reading


_FIRST_READS: HassKey[dict[str, FirstRead]] = HassKey(f"{DOMAIN}_first_reads")
"""First readings by address, kept from the end of the dialog until the entry is set up."""


@callback
def async_hand_over(hass: HomeAssistant, address: str, first: FirstRead) -> None:
    """Keep a reading for the entry that is about to be set up."""
    hass.data.setdefault(_FIRST_READS, {})[address] = first


@callback
def async_take_over(hass: HomeAssistant, address: str) -> FirstRead | None:
    """Return the reading of the dialog, once."""
    return hass.data.get(_FIRST_READS, {}).pop(address, None)


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
        client_mixin=async_create_client_mixin(hass, address, adapter),
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
