"""Keeps the device of a battery in the device registry up to date."""

from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr

from .const import MANUFACTURER
from .jkbms.models import DeviceInfo


@callback
def async_find_device(
    hass: HomeAssistant, entry: ConfigEntry[Any]
) -> dr.DeviceEntry | None:
    """Return the device of a battery, `None` if it was never read."""
    return dr.async_get(hass).async_get_device_by_connection(
        (dr.CONNECTION_BLUETOOTH, entry.data[CONF_ADDRESS]), entry.entry_id
    )


class BatteryDevice:
    """The device of a battery; the registry is only used when something changed."""

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
        """Nothing is registered before the first update."""
        self._hass = hass
        self._entry = entry
        self._registered: tuple[str | None, ...] = ()

    @property
    def known(self) -> DeviceInfo | None:
        """The device information of the last reading, if there was ever one."""
        device = async_find_device(self._hass, self._entry)
        if not device or not device.model:
            return None
        return DeviceInfo(
            device_model=device.model,
            hardware_version=device.hw_version,
            software_version=device.sw_version or "",
            serial_number=device.serial_number,
        )

    @callback
    def async_update(self, info: DeviceInfo) -> None:
        """Register the device, or update it, for example after a firmware update."""
        registered = (
            self._entry.title,
            info.device_model,
            info.hardware_version,
            info.software_version,
            info.serial_number,
        )
        if registered == self._registered:
            return
        self._registered = registered
        dr.async_get(self._hass).async_get_or_create(
            config_entry_id=self._entry.entry_id,
            connections={(dr.CONNECTION_BLUETOOTH, self._entry.data[CONF_ADDRESS])},
            name=self._entry.title,
            manufacturer=MANUFACTURER,
            model=info.device_model,
            hw_version=info.hardware_version,
            sw_version=info.software_version,
            serial_number=info.serial_number,
        )
