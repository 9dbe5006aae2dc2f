"""Add a battery: discovered, picked from a list or typed in, and read before."""

import logging
import re
from typing import Any, Final, override

from bluetooth_data_tools import human_readable_name
import probatio

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import BluetoothServiceInfoBleak
from homeassistant.config_entries import ConfigFlow, ConfigFlowResult
from homeassistant.const import CONF_ADDRESS, EVENT_HOMEASSISTANT_STOP
from homeassistant.core import Event, callback
from homeassistant.helpers.device_registry import format_mac
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)

from .const import DOMAIN, LISTED_IDS, MANUFACTURER_IDS, SERVICE_UUID, USUAL_NAME
from .coordinator import ERROR_KEYS, async_create_client, async_error_placeholders
from .jkbms.client import JkBmsClient, Reading
from .jkbms.errors import JkBmsError

_LOGGER = logging.getLogger(__name__)

_ADDRESS: Final = re.compile(r"([0-9A-F]{2}:){5}[0-9A-F]{2}", re.ASCII)


class JkBmsConfigFlow(ConfigFlow, domain=DOMAIN):
    """The way from an address to a config entry."""

    VERSION = 1
    MINOR_VERSION = 1

    _reading: Reading

    def __init__(self) -> None:
        """Start with nothing known."""
        self._placeholders: dict[str, str] = {}
        self._client: JkBmsClient | None = None

    @callback
    @override
    def async_remove(self) -> None:
        """Let go of the battery when the dialog is closed during a read."""
        if self._client:
            self.hass.async_create_task(self._client.disconnect())

    @override
    async def async_step_bluetooth(
        self, discovery_info: BluetoothServiceInfoBleak
    ) -> ConfigFlowResult:
        """Offer a battery that was heard; it may be a neighbour's, so do not connect."""
        if MANUFACTURER_IDS.isdisjoint(discovery_info.manufacturer_data):
            return self.async_abort(reason="not_supported")
        await self.async_set_unique_id(discovery_info.address)
        self._abort_if_unique_id_configured()
        name = human_readable_name(None, discovery_info.name, discovery_info.address)
        self._placeholders = {"name": name}
        self.context["title_placeholders"] = {"name": name}
        return await self.async_step_bluetooth_confirm()

    async def async_step_bluetooth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Read the discovered battery when the user says that it is theirs."""
        errors: dict[str, str] = {}
        if user_input is not None:
            if not (errors := await self._async_read_battery()):
                return await self.async_step_confirm()
        return self.async_show_form(
            step_id="bluetooth_confirm",
            errors=errors,
            description_placeholders=self._placeholders,
        )

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Let the user pick a battery that is heard, or type an address."""
        errors: dict[str, str] = {}
        if user_input is None:
            await bluetooth.async_request_active_scan(self.hass)
        elif not (address := _parse_address(user_input[CONF_ADDRESS])):
            errors[CONF_ADDRESS] = "invalid_address"
        else:
            await self.async_set_unique_id(address, raise_on_progress=False)
            self._abort_if_unique_id_configured()
            if not (errors := await self._async_read_battery()):
                return await self.async_step_confirm()
        return self.async_show_form(
            step_id="user",
            data_schema=self.add_suggested_values_to_schema(
                probatio.Schema({probatio.Required(CONF_ADDRESS): self._selector()}),
                user_input,
            ),
            errors=errors,
            description_placeholders=self._placeholders,
        )

    async def async_step_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show what was read, then add the battery."""
        info = self._reading.device_info
        voltage = self._reading.cell_data.battery_voltage
        cells = [
            cell for cell in self._reading.cell_data.cell_voltage if cell is not None
        ]
        name = info.device_name or info.device_model
        if user_input is not None:
            # It may have been added elsewhere while this form was open.
            self._abort_if_unique_id_configured()
            return self.async_create_entry(
                title=name, data={CONF_ADDRESS: self.unique_id}
            )
        return self.async_show_form(
            step_id="confirm",
            description_placeholders={
                "name": name,
                "model": info.device_model,
                "hardware": info.hardware_version or "?",
                "firmware": info.software_version,
                "layout": self._reading.layout,
                "cells": str(len(cells)),
                "voltage": "?" if voltage is None else f"{voltage:.2f}",
            },
        )

    async def _async_read_battery(self) -> dict[str, str]:
        """Read the battery; return the error to show, if there is one."""
        address = self.unique_id
        assert address
        client = self._client = async_create_client(self.hass, address, address)

        async def disconnect(_event: Event) -> None:
            await client.disconnect()

        forget_stop = self.hass.bus.async_listen(EVENT_HOMEASSISTANT_STOP, disconnect)
        try:
            self._reading = await client.read()
        except JkBmsError as error:
            self._placeholders |= async_error_placeholders(self.hass, address, error)
            return {"base": ERROR_KEYS[type(error)]}
        except Exception:
            _LOGGER.exception("Unexpected error while reading %s", address)
            return {"base": "unknown"}
        finally:
            forget_stop()
        return {}

    def _selector(self) -> SelectSelector:
        """Offer the batteries that are heard and not yet added, the nearest first."""
        configured = self._async_current_ids(include_ignore=False)
        heard = bluetooth.async_discovered_service_info(self.hass, connectable=True)
        return SelectSelector(
            SelectSelectorConfig(
                options=[
                    SelectOptionDict(
                        value=info.address, label=f"{info.name} ({info.address})"
                    )
                    for info in sorted(heard, key=lambda info: -info.rssi)
                    if info.address not in configured and _may_be_battery(info)
                ],
                custom_value=True,
                mode=SelectSelectorMode.DROPDOWN,
            )
        )


def _may_be_battery(info: BluetoothServiceInfoBleak) -> bool:
    """Return whether to list it for someone who looks for a battery."""
    return (
        not LISTED_IDS.isdisjoint(info.manufacturer_data)
        or SERVICE_UUID in info.service_uuids
        or info.name.startswith(USUAL_NAME)
    )


def _parse_address(text: str) -> str | None:
    """Return the address as Bluetooth writes it, however it was typed."""
    address = format_mac(text.strip()).upper()
    return address if _ADDRESS.fullmatch(address) else None
