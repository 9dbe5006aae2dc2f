"""The form of the options, and the passcode that tuning needs."""

from collections.abc import Mapping
from typing import Any, Final

import probatio

from homeassistant.config_entries import (
    ConfigEntryState,
    ConfigFlowResult,
    OptionsFlowWithReload,
)
from homeassistant.const import CONF_URL
from homeassistant.data_entry_flow import SectionConfig, section
from homeassistant.exceptions import HomeAssistantError

from .compatibility import async_disable_group
from .const import DOMAIN
from .controls import async_read_settings
from .jkbms.errors import CredentialsError, ExportError, PushPathError, PushUrlError
from .jkbms.models import Reading
from .jkbms.protocol.changes import passcode_matches, present_currents
from .metrics_push import async_try_push
from .options import (
    CONF_COMPATIBILITY,
    CONF_CONFIRMED_CURRENTS,
    CONF_CONTROLS,
    CONF_PUSH,
    PUSH_SCHEMA,
    SCHEMA,
    SECRET,
    SECRETS,
    SHARED,
    STORED,
    Controls,
    JkBmsOptions,
    PushOptions,
    storable_push,
)

CONF_PASSCODE: Final = "passcode"
_PASSCODE_SCHEMA: Final = probatio.Schema(
    {probatio.Required(probatio.Secret(CONF_PASSCODE)): SECRET}
)


class JkBmsOptionsFlow(OptionsFlowWithReload):
    """The form of the options, a warning and the form that allows tuning."""

    schema = SCHEMA
    """The fields above the section about pushing."""
    step_id = "init"

    def __init__(self) -> None:
        """Nothing is submitted yet."""
        self._submitted: dict[str, Any] | None = None
        """The last input of the form, with masks instead of secrets."""
        self._submitted_push: dict[str, Any] = {}
        """Its section about pushing, with the secrets."""
        self._data: dict[str, Any] = {}
        """The validated options, kept until warning, trial push and passcode are done."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the form, and save valid input."""
        errors: dict[str, str] = {}
        placeholders: dict[str, str] = {}
        if user_input is not None:
            data = dict(user_input)
            self._submitted = dict(user_input)
            if CONF_PUSH in data:
                known = self._push | self._submitted_push
                push = self._submitted_push = storable_push(data[CONF_PUSH], known)
                data[CONF_PUSH], self._submitted[CONF_PUSH] = push, _masked(push)
            errors = _validate_push(data.get(CONF_PUSH, {}), placeholders)
            if not errors:
                self._data = data
                if self._new_push and self._exposed_to:
                    return await self.async_step_unencrypted()
                return await self._async_try_push()
        return self._show_options(errors, placeholders)

    def _show_options(
        self, errors: dict[str, str], placeholders: Mapping[str, str]
    ) -> ConfigFlowResult:
        """Show the form with the last input, or with the current options."""
        schema = self.schema.extend(
            {
                # Only this section can have errors, so it opens to show them.
                probatio.Optional(CONF_PUSH): section(
                    PUSH_SCHEMA, SectionConfig(collapsed=not errors)
                )
            }
        )
        return self.async_show_form(
            step_id=self.step_id,
            data_schema=self.add_suggested_values_to_schema(
                schema, self._submitted or self._suggested_values()
            ),
            errors=errors,
            description_placeholders=placeholders,
        )

    async def async_step_unencrypted(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Warn that others on the network can read the credentials."""
        if user_input is not None:
            return await self._async_try_push()
        return self.async_show_form(
            step_id="unencrypted",
            description_placeholders={"host": self._exposed_to or ""},
        )

    async def _async_try_push(self) -> ConfigFlowResult:
        """Push once if the target is new, and report the answer of the server."""
        if push := self._new_push:
            try:
                await async_try_push(self.hass, self.config_entry, push)
            except ExportError as error:
                return self._show_options(
                    {"base": "push_failed"}, {"reason": str(error)}
                )
        return await self._async_save(self._data)

    async def async_step_tuning(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the settings passcode, which prevents changes by mistake."""
        errors: dict[str, str] = {}
        if user_input is not None:
            reading = await self._async_read()
            if not reading:
                errors["base"] = "battery_not_read"
            elif not reading.device_info.setup_passcode:
                errors["base"] = "no_settings_passcode"
            elif not passcode_matches(user_input[CONF_PASSCODE], reading.device_info):
                errors["base"] = "wrong_settings_passcode"
            else:
                found = present_currents(reading)
                return self.async_create_entry(
                    data=self._data | {CONF_CONFIRMED_CURRENTS: found}
                )
        return self.async_show_form(
            step_id="tuning", data_schema=_PASSCODE_SCHEMA, errors=errors
        )

    async def _async_save(self, data: dict[str, Any]) -> ConfigFlowResult:
        """Save the options, or ask for the passcode first."""
        if self.config_entry.options.get(CONF_COMPATIBILITY) and not data.get(
            CONF_COMPATIBILITY
        ):
            async_disable_group(self.hass, self.config_entry.entry_id)
        if data.get(CONF_CONTROLS) == Controls.TUNING:
            now = JkBmsOptions.parse(self.config_entry.options)
            if now.controls is not Controls.TUNING:
                return await self.async_step_tuning()
            data[CONF_CONFIRMED_CURRENTS] = now.confirmed_currents
        return self.async_create_entry(data=data)

    async def _async_read(self) -> Reading | None:
        """Return a new reading of the battery, `None` if it cannot be read."""
        if self.config_entry.state is not ConfigEntryState.LOADED:
            return None
        try:
            return await async_read_settings(self.config_entry.runtime_data)
        except HomeAssistantError:
            return None

    @property
    def _new_push(self) -> PushOptions | None:
        """The new push target, if it differs from the saved one."""
        push = PushOptions.parse(self._data.get(CONF_PUSH, {}))
        return push if push != PushOptions.parse(self._push) else None

    @property
    def _exposed_to(self) -> str | None:
        """The machine that would get credentials unencrypted, if any."""
        push = JkBmsOptions.parse(self._data).push
        target = push.target if push else None
        return target.url.host if target and target.exposes_credentials else None

    @property
    def _push(self) -> dict[str, Any]:
        """The section as it is stored, credentials apart from the URL."""
        return storable_push(self.config_entry.options.get(CONF_PUSH, {}), {})

    def _suggested_values(self) -> dict[str, Any]:
        """Return the current options, and how another battery is pushed.

        Secrets never leave the server. The URL of another battery is left out:
        submitting the form unread must not turn pushing on.
        """
        values = dict(self.config_entry.options)
        if CONF_PUSH in values:
            values[CONF_PUSH] = _masked(self._push)
            return values
        for entry in self.hass.config_entries.async_entries(DOMAIN):
            push = entry.options.get(CONF_PUSH, {})
            if push.get(CONF_URL):
                values[CONF_PUSH] = {key: push[key] for key in SHARED if key in push}
                break
        return values


def _masked(push: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section without its secrets: it shows only that they are set."""
    return {**push, **{key: STORED for key in SECRETS if push.get(key)}}


def _validate_push(
    section_input: Mapping[str, Any], placeholders: dict[str, str]
) -> dict[str, str]:
    """Return the error to show, if the values cannot be pushed like this.

    Adds the placeholders that the error text needs.
    """
    if push := PushOptions.parse(section_input):
        try:
            _ = push.target
        except PushPathError as error:
            placeholders["path"] = error.path
            return {"base": "push_wrong_path"}
        except PushUrlError:
            return {"base": "invalid_push_url"}
        except CredentialsError:
            return {"base": "invalid_push_credentials"}
        if (push.password and not push.username) or (push.username and push.token):
            return {"base": "ambiguous_push_credentials"}
    return {}
