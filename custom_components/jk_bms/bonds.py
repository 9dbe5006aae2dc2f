"""Bonds of batteries with local adapters: find, create and remove them."""

from collections.abc import Mapping
import logging
from types import ModuleType
from typing import Any, Final, NamedTuple

from homeassistant.components import bluetooth
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.importlib import async_import_module

from .connection_slots import async_get_connection_slots
from .jkbms.errors import PairingError, PairingGoneError

_LOGGER = logging.getLogger(__name__)

CONF_ADAPTER: Final = "adapter"
"""Bluetooth address of the adapter that holds the bond, in the data of an entry."""


class LocalPath(NamedTuple):
    """How an adapter of this machine reaches a battery."""

    adapter: str
    """Bluetooth address of the adapter."""
    path: str
    """BlueZ object path of the battery."""


@callback
def async_local_path(hass: HomeAssistant, address: str) -> LocalPath | None:
    """Return the best adapter in BlueZ that can see the battery, if any."""
    return next(iter(_local_paths(hass, address)), None)


def _local_paths(hass: HomeAssistant, address: str) -> list[LocalPath]:
    """Return the adapters that can see the battery, best first; proxies have no path."""
    paths = [
        (device.advertisement.rssi, LocalPath(device.scanner.source, path))
        for device in bluetooth.async_scanner_devices_by_address(
            hass, address, connectable=True
        )
        if (path := device.ble_device.details.get("path"))
    ]
    return [path for _, path in sorted(paths, reverse=True)]


async def async_pair(hass: HomeAssistant, address: str, code: str) -> str:
    """Pair over the best local adapter and return its address.

    Nothing may use the link meanwhile. Raises a `PairingError` or `NoFreeSlotError`.
    """
    if not (local := async_local_path(hass, address)):
        raise PairingGoneError("No Bluetooth adapter of this machine sees the battery")
    pairing = await _async_import_pairing(hass)
    async with async_get_connection_slots(hass).slot(address):
        await pairing.pair(local.path, code)
    return local.adapter


async def async_find_bond(hass: HomeAssistant, address: str) -> str | None:
    """Return the adapter that is paired with the battery and can see it, if any."""
    if not (paths := _local_paths(hass, address)):
        return None
    pairing = await _async_import_pairing(hass)
    try:
        bonds = await pairing.find_bonds(address)
    except PairingError as err:
        _LOGGER.debug("The bonds of %s cannot be read: %s", address, err)
        return None
    paired = {bond.adapter for bond in bonds}
    return next((path.adapter for path in paths if path.adapter in paired), None)


async def async_remove_bond(hass: HomeAssistant, data: Mapping[str, Any]) -> None:
    """Remove the bond with the battery of an entry that has or had these data, if any."""
    address, adapter = data[CONF_ADDRESS], data.get(CONF_ADAPTER)
    if not adapter:
        return
    pairing = await _async_import_pairing(hass)
    try:
        for bond in await pairing.find_bonds(address):
            if bond.adapter == adapter:
                await pairing.unpair(bond.path)
    except PairingError as err:
        _LOGGER.warning("The pairing with %s could not be removed: %s", address, err)


async def _async_import_pairing(hass: HomeAssistant) -> ModuleType:
    """Import the pairing module, which works only on Linux and which few users need."""
    return await async_import_module(hass, f"{__package__}.jkbms.bluetooth.pairing")
