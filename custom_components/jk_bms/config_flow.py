"""Add a battery: discovered, picked from a list or typed in, and read before."""

import logging
import re
from typing import Any, Final, override

from bluetooth_data_tools import human_readable_name
import probatio

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import BluetoothServiceInfoBleak
from homeassistant.config_entries import (
    SOURCE_IGNORE,
    ConfigEntry,
    ConfigFlow,
    ConfigFlowResult,
    OptionsFlowWithReload,
)
from homeassistant.const import (
    CONF_ADDRESS,
    CONF_PASSWORD,
    CONF_TOKEN,
    CONF_URL,
    CONF_USERNAME,
    CONF_VERIFY_SSL,
    EVENT_HOMEASSISTANT_STOP,
    UnitOfTime,
)
from homeassistant.core import Event, callback
from homeassistant.data_entry_flow import SectionConfig, section
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.device_registry import format_mac
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)

from .connection_slots import async_get_turns
from .const import (
    CONF_INTERVAL,
    CONF_JOB,
    CONF_KIND,
    CONF_LINK,
    CONF_PAUSE,
    CONF_PUSH,
    DOMAIN,
    KIND_AUTO,
    MAX_INTERVAL,
    MAX_PAUSE,
    MIN_INTERVAL,
    MIN_PUSH_INTERVAL,
    PAUSE,
    PUSH_INTERVAL,
    SERVICE_UUID,
    UPDATE_INTERVAL,
    USUAL_NAME,
    LinkBehaviour,
)
from .coordinator import async_create_client
from .diagnosis import async_diagnose
from .entity import async_move_entities
from .jkbms.bluetooth.advertisement import LISTED_IDS, MANUFACTURER_IDS
from .jkbms.bluetooth.client import JkBmsClient
from .jkbms.errors import CredentialsError, JkBmsError, PushUrlError
from .jkbms.export.push import DEFAULT_JOB, PushKind
from .jkbms.models import Reading
from .metrics_push import parse_target

_LOGGER = logging.getLogger(__name__)

_PASSWORD: Final = TextSelector(
    TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="new-password")
)
_OPTIONS: Final = probatio.Schema(
    {
        probatio.Required(
            CONF_INTERVAL, default=UPDATE_INTERVAL.total_seconds()
        ): NumberSelector(
            NumberSelectorConfig(
                min=MIN_INTERVAL.total_seconds(),
                max=MAX_INTERVAL.total_seconds(),
                mode=NumberSelectorMode.BOX,
                unit_of_measurement=UnitOfTime.SECONDS,
            )
        ),
        probatio.Required(CONF_LINK, default=LinkBehaviour.RELEASED): SelectSelector(
            SelectSelectorConfig(
                options=list(LinkBehaviour),
                mode=SelectSelectorMode.LIST,
                translation_key=CONF_LINK,
            )
        ),
        probatio.Required(
            CONF_PAUSE, default=PAUSE.total_seconds() / 60
        ): NumberSelector(
            NumberSelectorConfig(
                min=1,
                max=MAX_PAUSE.total_seconds() / 60,
                mode=NumberSelectorMode.BOX,
                unit_of_measurement=UnitOfTime.MINUTES,
            )
        ),
    }
)
_PUSH: Final = probatio.Schema(
    {
        probatio.Optional(probatio.Secret(CONF_URL)): TextSelector(
            TextSelectorConfig(type=TextSelectorType.URL)
        ),
        probatio.Required(CONF_KIND, default=KIND_AUTO): SelectSelector(
            SelectSelectorConfig(
                options=[KIND_AUTO, *PushKind],
                mode=SelectSelectorMode.DROPDOWN,
                translation_key="push_kind",
            )
        ),
        probatio.Required(
            CONF_INTERVAL, default=PUSH_INTERVAL.total_seconds()
        ): NumberSelector(
            NumberSelectorConfig(
                min=MIN_PUSH_INTERVAL.total_seconds(),
                max=MAX_INTERVAL.total_seconds(),
                mode=NumberSelectorMode.BOX,
                unit_of_measurement=UnitOfTime.SECONDS,
            )
        ),
        probatio.Optional(CONF_JOB, default=DEFAULT_JOB): TextSelector(),
        probatio.Optional(CONF_USERNAME): TextSelector(
            TextSelectorConfig(autocomplete="username")
        ),
        probatio.Optional(probatio.Secret(CONF_PASSWORD)): _PASSWORD,
        probatio.Optional(probatio.Secret(CONF_TOKEN)): _PASSWORD,
        probatio.Required(CONF_VERIFY_SSL, default=True): BooleanSelector(),
    }
)

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

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> JkBmsOptionsFlow:
        """Return the options flow."""
        return JkBmsOptionsFlow()

    @callback
    @override
    def async_remove(self) -> None:
        """Let go of the battery when the dialog is closed during a read."""
        if self._client:
            self.hass.async_create_task(self._async_let_go(self._client))

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
        errors = await self._async_read_chosen(user_input)
        if not errors and user_input is not None:
            return await self.async_step_confirm()
        return self._show_choice("user", user_input, errors)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Follow the battery to a new Bluetooth module, and so to a new address."""
        entry = self._get_reconfigure_entry()
        self._placeholders["name"] = entry.title
        errors = await self._async_read_chosen(user_input)
        if not errors and user_input is not None:
            known, read = self._known(entry), self._reading.device_info
            if known and (known.serial_number, known.model) != (
                read.serial_number,
                read.device_model,
            ):
                errors = {"base": "other_battery"}
            elif known and known.serial_number:
                return await self._async_move(entry)
            else:
                return await self.async_step_compare()
        return self._show_choice("reconfigure", user_input, errors)

    async def async_step_compare(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Let the user tell whether it is the battery, where no serial number does."""
        entry = self._get_reconfigure_entry()
        if user_input is not None:
            return await self._async_move(entry)
        known = self._known(entry)
        return self.async_show_form(
            step_id="compare",
            description_placeholders=self._description
            | {
                "name": entry.title,
                "known_model": (known and known.model) or "?",
                "known_hardware": (known and known.hw_version) or "?",
                "known_firmware": (known and known.sw_version) or "?",
            },
        )

    async def async_step_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show what was read, then add the battery."""
        description = self._description
        if user_input is not None:
            # It may have been added elsewhere while this form was open.
            self._abort_if_unique_id_configured()
            return self.async_create_entry(
                title=description["name"], data={CONF_ADDRESS: self.unique_id}
            )
        return self.async_show_form(
            step_id="confirm", description_placeholders=description
        )

    @property
    def _description(self) -> dict[str, str]:
        """Tell what was read in words."""
        info, values = self._reading.device_info, self._reading.cell_data
        cells = [cell for cell in values.cell_voltage if cell is not None]
        voltage = values.battery_voltage
        return {
            "name": info.device_name or info.device_model,
            "model": info.device_model,
            "hardware": info.hardware_version or "?",
            "firmware": info.software_version,
            "layout": self._reading.layout,
            "cells": str(len(cells)),
            "voltage": "?" if voltage is None else f"{voltage:.2f}",
        }

    async def _async_read_chosen(
        self, user_input: dict[str, Any] | None
    ) -> dict[str, str]:
        """Read the battery at the address, or prepare to ask for one."""
        if user_input is None:
            await bluetooth.async_request_active_scan(self.hass)
            return {}
        if not (address := _parse_address(user_input[CONF_ADDRESS])):
            return {CONF_ADDRESS: "invalid_address"}
        await self.async_set_unique_id(address, raise_on_progress=False)
        self._abort_if_added()
        return await self._async_read_battery()

    def _abort_if_added(self) -> ConfigEntry | None:
        """Abort if the battery was added; return the entry of one that was ignored."""
        existing = self.hass.config_entries.async_entry_for_domain_unique_id(
            DOMAIN, self.unique_id or ""
        )
        if existing and existing.source != SOURCE_IGNORE:
            self._abort_if_unique_id_configured()
        return existing

    def _show_choice(
        self, step_id: str, user_input: dict[str, Any] | None, errors: dict[str, str]
    ) -> ConfigFlowResult:
        """Ask which battery it is."""
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(
                probatio.Schema({probatio.Required(CONF_ADDRESS): self._selector()}),
                user_input,
            ),
            errors=errors,
            description_placeholders=self._placeholders,
        )

    def _known(self, entry: ConfigEntry) -> dr.DeviceEntry | None:
        """Return what is known of the battery of the entry, if it was ever read."""
        return dr.async_get(self.hass).async_get_device_by_connection(
            (dr.CONNECTION_BLUETOOTH, entry.data[CONF_ADDRESS]), entry.entry_id
        )

    async def _async_move(self, entry: ConfigEntry) -> ConfigFlowResult:
        """Give the entry the new address; device and entities stay what they are."""
        address = self.unique_id
        assert address
        entries = self.hass.config_entries
        if ignored := self._abort_if_added():
            await entries.async_remove(ignored.entry_id)
        async with entry.setup_lock:
            # An entry that is being set up right now cannot be unloaded.
            pass
        await entries.async_unload(entry.entry_id)
        await async_move_entities(self.hass, entry, address)
        for flow in entries.flow.async_progress_by_handler(
            DOMAIN, match_context={"unique_id": address}
        ):
            if flow["flow_id"] != self.flow_id:
                entries.flow.async_abort(flow["flow_id"])
        entries.async_update_entry(
            entry, unique_id=address, data={CONF_ADDRESS: address}
        )
        entries.async_schedule_reload(entry.entry_id)
        return self.async_abort(
            reason="reconfigure_successful", description_placeholders=self._placeholders
        )

    async def _async_read_battery(self) -> dict[str, str]:
        """Read the battery; return the error to show, if there is one."""
        address = self.unique_id
        assert address
        client = self._client = async_create_client(self.hass, address, address)

        async def disconnect(_event: Event) -> None:
            await self._async_let_go(client)

        forget_stop = self.hass.bus.async_listen(EVENT_HOMEASSISTANT_STOP, disconnect)
        try:
            async with async_get_turns(self.hass).turn(address):
                self._reading = await client.read()
        except JkBmsError as error:
            trouble = async_diagnose(self.hass, address, error)
            self._placeholders |= trouble.placeholders
            return {"base": trouble.key}
        except Exception:
            _LOGGER.exception("Unexpected error while reading %s", address)
            return {"base": "unknown"}
        finally:
            forget_stop()
        return {}

    async def _async_let_go(self, client: JkBmsClient) -> None:
        """End a read, or the wait for the turn to make it."""
        async_get_turns(self.hass).async_give_up(self.unique_id or "")
        await client.disconnect()

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


class JkBmsOptionsFlow(OptionsFlowWithReload):
    """How often to read a battery, and what becomes of the link."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the options and take what was chosen."""
        errors: dict[str, str] = {}
        if user_input is not None:
            if not (errors := _check_push(user_input.get(CONF_PUSH, {}))):
                return self.async_create_entry(data=user_input)
        return self.async_show_form(
            step_id="init",
            data_schema=self.add_suggested_values_to_schema(
                _OPTIONS.extend(
                    {
                        probatio.Optional(CONF_PUSH): section(
                            # What is wrong can only be there.
                            _PUSH,
                            SectionConfig(collapsed=not errors),
                        )
                    }
                ),
                user_input or self._suggestions(),
            ),
            errors=errors,
        )

    def _suggestions(self) -> dict[str, Any]:
        """Return the options so far; how to push is mostly the same for all.

        The URL is not, since who sends the form would begin to push without a look.
        """
        suggestions = dict(self.config_entry.options)
        for entry in self.hass.config_entries.async_entries(DOMAIN):
            push = dict(entry.options.get(CONF_PUSH, {}))
            if push.pop(CONF_URL, None):
                suggestions.setdefault(CONF_PUSH, push)
        return suggestions


def _check_push(options: dict[str, Any]) -> dict[str, str]:
    """Return the error to show, if it cannot be pushed there."""
    if options.get(CONF_URL):
        try:
            parse_target(options)
        except PushUrlError:
            return {"base": "invalid_push_url"}
        except CredentialsError:
            return {"base": "invalid_push_credentials"}
        user, password = options.get(CONF_USERNAME), options.get(CONF_PASSWORD)
        if (password and not user) or (user and options.get(CONF_TOKEN)):
            return {"base": "ambiguous_push_credentials"}
    return {}


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
