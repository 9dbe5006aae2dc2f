"""Add a battery that was discovered, picked from a list or typed in, or move an entry."""

import logging
import re
from typing import Any, Final, override

from bluetooth_data_tools import human_readable_name
import probatio

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import BluetoothServiceInfoBleak
from homeassistant.config_entries import (
    SOURCE_IGNORE,
    SOURCE_RECONFIGURE,
    ConfigFlowResult,
)
from homeassistant.const import CONF_ADDRESS, EVENT_HOMEASSISTANT_STOP
from homeassistant.core import Event, callback
from homeassistant.helpers.device_registry import format_mac
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)

from .bank_coordinator import AnyConfigEntry, is_bank
from .bank_flow import BankFlow, BankOptionsFlow
from .battery_client import FirstRead, async_create_client, async_hand_over
from .bonds import CONF_ADAPTER, async_find_bond, async_pair, async_remove_bond
from .connection_slots import async_get_connection_slots
from .const import DOMAIN, FRONTEND_PATHS, SERVICE_UUID, USUAL_NAME
from .coordinator import JkBmsConfigEntry
from .device import async_find_device
from .diagnosis import PAIRING_POSSIBLE, UNKNOWN, async_diagnose
from .entity import async_move_entities
from .jkbms.bluetooth.advertisement import LISTED_IDS, MANUFACTURER_IDS
from .jkbms.bluetooth.client import JkBmsClient
from .jkbms.errors import JkBmsError, NoFreeSlotError, PairingError
from .jkbms.models import Reading
from .jkbms.text import printable
from .ledger import Ledger
from .options import CONF_CONFIRMED_CURRENTS, CONF_CONTROLS
from .options_flow import JkBmsOptionsFlow
from .pairing_flow import CODE_SCHEMA, CONF_CODE, SUGGESTED, pairing_error_key
from .timed_changes import TimedChanges
from .undo import async_lapse

_LOGGER = logging.getLogger(__name__)

_ADDRESS: Final = re.compile(r"([0-9A-F]{2}:){5}[0-9A-F]{2}", re.ASCII)

CAN_PAIR: Final = {"base": PAIRING_POSSIBLE}


class JkBmsConfigFlow(BankFlow, domain=DOMAIN):
    """Create a config entry for an address, or give an entry a new address."""

    VERSION = 1
    MINOR_VERSION = 2

    _reading: Reading

    def __init__(self) -> None:
        """Start without a battery."""
        self._placeholders: dict[str, str] = {}
        self._client: JkBmsClient | None = None
        self._adapter: str | None = None
        """Adapter that the battery is paired with, if it requires pairing."""

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: AnyConfigEntry) -> JkBmsOptionsFlow:
        """Return the options flow."""
        return BankOptionsFlow() if is_bank(config_entry) else JkBmsOptionsFlow()

    @callback
    @override
    def async_remove(self) -> None:
        """Disconnect when the dialog is closed during a read."""
        if self._client:
            self.hass.async_create_task(self._async_disconnect(self._client))

    @override
    async def async_step_bluetooth(
        self, discovery_info: BluetoothServiceInfoBleak
    ) -> ConfigFlowResult:
        """Offer a discovered battery; do not connect, it may be a neighbour's."""
        if MANUFACTURER_IDS.isdisjoint(discovery_info.manufacturer_data):
            return self.async_abort(reason="not_supported")
        await self.async_set_unique_id(discovery_info.address)
        self._abort_if_unique_id_configured()
        name = human_readable_name(
            None, printable(discovery_info.name), discovery_info.address
        )
        self._placeholders = {"name": name}
        self.context["title_placeholders"] = {"name": name}
        return await self.async_step_bluetooth_confirm()

    async def async_step_bluetooth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Read the discovered battery once the user confirms that it is theirs."""
        errors: dict[str, str] = {}
        if user_input is not None:
            if not (errors := await self._async_read_battery()):
                return await self.async_step_confirm()
            if errors == CAN_PAIR:
                return await self.async_step_pair()
        return self.async_show_form(
            step_id="bluetooth_confirm",
            errors=errors,
            description_placeholders=self._placeholders,
        )

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Let the user choose what to add; without packs it can only be a battery."""
        if user_input is None and self._can_add_bank:
            return await self.async_step_add()
        return await self.async_step_battery(user_input)

    async def async_step_battery(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Let the user pick a battery in range, or type an address."""
        errors = await self._async_read_chosen(user_input)
        if not errors and user_input is not None:
            return await self.async_step_confirm()
        if errors == CAN_PAIR:
            return await self.async_step_pair()
        return self._show_choice("user", user_input, errors)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Move the entry to the address of a new Bluetooth module."""
        entry = self._get_reconfigure_entry()
        if is_bank(entry):
            return await self.async_step_reconfigure_bank()
        self._placeholders["name"] = entry.title
        errors = await self._async_read_chosen(user_input)
        if not errors and user_input is not None:
            return await self._async_identify(entry)
        if errors == CAN_PAIR:
            return await self.async_step_pair()
        return self._show_choice("reconfigure", user_input, errors)

    async def async_step_pair(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the code of a battery that requires pairing, pair and read."""
        address = self.unique_id
        assert address
        errors: dict[str, str] = {}
        if user_input is None:
            # The battery may already be paired with another adapter than the one just used.
            self._adapter = await async_find_bond(self.hass, address)
        elif not self._adapter:
            errors = await self._async_pair(address, user_input[CONF_CODE])
        if self._adapter and not errors:
            if not (errors := await self._async_read_battery()):
                if self.source == SOURCE_RECONFIGURE:
                    return await self._async_identify(self._get_reconfigure_entry())
                return await self.async_step_confirm()
            if errors == CAN_PAIR:
                # The bond is useless; any other failure is no reason to pair again.
                self._adapter = None
                errors = errors if user_input else {}
        return self.async_show_form(
            step_id="pair",
            data_schema=self.add_suggested_values_to_schema(CODE_SCHEMA, SUGGESTED),
            errors=errors,
            description_placeholders=self._placeholders | {"address": address},
        )

    async def _async_pair(self, address: str, code: str) -> dict[str, str]:
        """Pair with the battery; return the errors to show."""
        try:
            self._adapter = await async_pair(self.hass, address, code)
        except (NoFreeSlotError, PairingError) as error:
            self._placeholders["reason"] = str(error)
            return {"base": pairing_error_key(error)}
        return {}

    async def _async_identify(self, entry: JkBmsConfigEntry) -> ConfigFlowResult:
        """Move the entry if the battery that was read is the one of the entry."""
        known, read = async_find_device(self.hass, entry), self._reading.device_info
        if known and (known.serial_number, known.model) != (
            read.serial_number,
            read.device_model,
        ):
            user_input = {CONF_ADDRESS: self.unique_id}
            errors = {"base": "other_battery"}
            return self._show_choice("reconfigure", user_input, errors)
        if known and known.serial_number:
            await self._async_move(entry)
            return self._end_move(entry)
        return await self.async_step_compare()

    async def async_step_compare(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Let the user compare the batteries if there is no serial number."""
        entry = self._get_reconfigure_entry()
        if user_input is not None:
            await self._async_move(entry)
            await self._async_forget_controls(entry)
            return self._end_move(entry)
        known = async_find_device(self.hass, entry)
        return self.async_show_form(
            step_id="compare",
            description_placeholders=self._description
            | {
                "name": entry.title,
                "known_model": (known and known.model) or UNKNOWN,
                "known_hardware": (known and known.hw_version) or UNKNOWN,
                "known_firmware": (known and known.sw_version) or UNKNOWN,
            },
        )

    async def async_step_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show what was read, and add the battery once the user confirms."""
        description = self._description
        if user_input is not None:
            # It may have been added by another flow while this form was open.
            self._abort_if_unique_id_configured()
            self._async_hand_over()
            has_current = self._reading.cell_data.battery_current is not None
            return self.async_create_entry(
                title=description["name"],
                data=self._entry_data,
                description="with_energy" if has_current else None,
                description_placeholders=FRONTEND_PATHS,
            )
        return self.async_show_form(
            step_id="confirm", description_placeholders=description
        )

    @callback
    def _async_hand_over(self) -> None:
        """Leave client and reading to the entry: the end of the dialog must not disconnect."""
        assert self._client and self.unique_id
        first = FirstRead(self._client, self._reading)
        async_hand_over(self.hass, self.unique_id, first)
        self._client = None

    @property
    def _entry_data(self) -> dict[str, Any]:
        """Return the data that an entry stores about the battery."""
        paired = {CONF_ADAPTER: self._adapter} if self._adapter else {}
        return {CONF_ADDRESS: self.unique_id, **paired}

    @property
    def _description(self) -> dict[str, str]:
        """Return the placeholders that describe what was read."""
        info, values = self._reading.device_info, self._reading.cell_data
        cells = [cell for cell in values.cell_voltage if cell is not None]
        voltage = values.battery_voltage
        return {
            "name": info.device_name or info.device_model,
            "model": info.device_model,
            "hardware": info.hardware_version or UNKNOWN,
            "firmware": info.software_version,
            "layout": self._reading.layout,
            "cells": str(len(cells)),
            "voltage": UNKNOWN if voltage is None else f"{voltage:.2f}",
        }

    async def _async_read_chosen(
        self, user_input: dict[str, Any] | None
    ) -> dict[str, str]:
        """Read the battery at the address; without input, scan for batteries.

        Returns the errors to show.
        """
        if user_input is None:
            await bluetooth.async_request_active_scan(self.hass)
            return {}
        if not (address := _parse_address(user_input[CONF_ADDRESS])):
            return {CONF_ADDRESS: "invalid_address"}
        await self.async_set_unique_id(address, raise_on_progress=False)
        self._abort_if_added()
        return await self._async_read_battery()

    def _abort_if_added(self) -> JkBmsConfigEntry | None:
        """Abort if the battery is configured; return its entry if it is ignored."""
        existing = self.hass.config_entries.async_entry_for_domain_unique_id(
            DOMAIN, self.unique_id or ""
        )
        if existing and existing.source != SOURCE_IGNORE:
            self._abort_if_unique_id_configured()
        return existing

    def _show_choice(
        self, step_id: str, user_input: dict[str, Any] | None, errors: dict[str, str]
    ) -> ConfigFlowResult:
        """Show the form that asks for the battery."""
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(
                probatio.Schema({probatio.Required(CONF_ADDRESS): self._selector()}),
                user_input,
            ),
            errors=errors,
            description_placeholders=self._placeholders,
        )

    async def _async_move(self, entry: JkBmsConfigEntry) -> None:
        """Give the entry the new address; its device and entities are kept."""
        address = self.unique_id
        assert address
        entries = self.hass.config_entries
        if ignored := self._abort_if_added():
            await entries.async_remove(ignored.entry_id)
        async with entry.setup_lock:
            # An entry cannot be unloaded while it is being set up.
            pass
        await entries.async_unload(entry.entry_id)
        await async_move_entities(self.hass, entry, address)
        for flow in entries.flow.async_progress_by_handler(
            DOMAIN, match_context={"unique_id": address}
        ):
            if flow["flow_id"] != self.flow_id:
                entries.flow.async_abort(flow["flow_id"])
        old_data = entry.data
        kept = {key: old_data[key] for key in old_data.keys() - {CONF_ADAPTER}}
        entries.async_update_entry(
            entry, unique_id=address, data=kept | self._entry_data
        )
        await async_remove_bond(self.hass, old_data)

    @callback
    def _end_move(self, entry: JkBmsConfigEntry) -> ConfigFlowResult:
        """Set up the entry that was moved."""
        self._async_hand_over()
        self.hass.config_entries.async_schedule_reload(entry.entry_id)
        return self.async_abort(
            reason="reconfigure_successful", description_placeholders=self._placeholders
        )

    async def _async_forget_controls(self, entry: JkBmsConfigEntry) -> None:
        """Revoke controls and cancel timed changes: this may be a different battery."""
        options = {
            key: value
            for key, value in entry.options.items()
            if key not in (CONF_CONTROLS, CONF_CONFIRMED_CURRENTS)
        }
        self.hass.config_entries.async_update_entry(entry, options=options)
        timed = await TimedChanges.async_open(self.hass, entry.entry_id)
        async_lapse(self.hass, entry, [*timed.changes])
        ledger = await Ledger.async_open(self.hass, entry.entry_id)
        ledger.async_forget_seen()

    async def _async_read_battery(self) -> dict[str, str]:
        """Read the battery; return the errors to show."""
        address = self.unique_id
        assert address
        client = self._client = async_create_client(
            self.hass, address, address, self._adapter
        )

        async def disconnect(_event: Event) -> None:
            await self._async_disconnect(client)

        remove_listener = self.hass.bus.async_listen(
            EVENT_HOMEASSISTANT_STOP, disconnect
        )
        try:
            async with async_get_connection_slots(self.hass).slot(address):
                self._reading = await client.read()
        except JkBmsError as error:
            diagnosis = async_diagnose(self.hass, address, error)
            self._placeholders |= diagnosis.placeholders
            return {"base": diagnosis.key}
        except Exception:
            _LOGGER.exception("Unexpected error while reading %s", address)
            return {"base": "unknown"}
        finally:
            remove_listener()
        return {}

    async def _async_disconnect(self, client: JkBmsClient) -> None:
        """End a read, or the wait for a connection slot."""
        async_get_connection_slots(self.hass).async_cancel(self.unique_id or "")
        await client.disconnect()

    def _selector(self) -> SelectSelector:
        """List the batteries in range that are not configured, nearest first."""
        configured = self._async_current_ids(include_ignore=False)
        seen = bluetooth.async_discovered_service_info(self.hass, connectable=True)
        return SelectSelector(
            SelectSelectorConfig(
                options=[
                    SelectOptionDict(
                        value=info.address,
                        label=f"{printable(info.name)} ({info.address})",
                    )
                    for info in sorted(seen, key=lambda info: -info.rssi)
                    if info.address not in configured and _may_be_battery(info)
                ],
                custom_value=True,
                mode=SelectSelectorMode.DROPDOWN,
            )
        )


def _may_be_battery(info: BluetoothServiceInfoBleak) -> bool:
    """Return whether to list a device among the batteries in range."""
    return (
        not LISTED_IDS.isdisjoint(info.manufacturer_data)
        or SERVICE_UUID in info.service_uuids
        or info.name.startswith(USUAL_NAME)
    )


def _parse_address(text: str) -> str | None:
    """Return a typed address in the usual notation, `None` if it is not an address."""
    address = format_mac(text.strip()).upper()
    return address if _ADDRESS.fullmatch(address) else None
