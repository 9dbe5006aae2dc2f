"""The dialogs of a bank: choose its packs, change them, and its options."""

from collections.abc import Mapping
from typing import Any, Final

import probatio

from homeassistant.config_entries import ConfigFlow, ConfigFlowResult
from homeassistant.const import CONF_NAME, UnitOfTime
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
)

from .bank_coordinator import (
    CONF_MISSING,
    CONF_PACKS,
    CONF_WIRING,
    async_name_packs,
    is_bank,
)
from .const import DOMAIN, FRONTEND_PATHS
from .jkbms.bank import Wiring
from .options import list_selector, time_selector
from .options_flow import JkBmsOptionsFlow

MIN_PACKS: Final = 2

# The maximum time, in minutes, that a pack may be counted with its last values: a day is
# long enough for a camper; after that, the charge of a pack can only be guessed.
MAX_MISSING: Final = 1440

_WIRING: Final = list_selector(Wiring, CONF_WIRING)
OPTIONS_SCHEMA: Final = probatio.Schema(
    {
        probatio.Required(CONF_MISSING, default=0): time_selector(
            0, MAX_MISSING, UnitOfTime.MINUTES
        )
    }
)


class BankFlow(ConfigFlow):
    """The steps of the config flow that are about a bank."""

    @property
    def _can_add_bank(self) -> bool:
        """Whether there are packs for a bank."""
        return len(self._free_packs()) >= MIN_PACKS

    async def async_step_add(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Let the user choose what to add."""
        return self.async_show_menu(step_id="add", menu_options=["battery", "bank"])

    async def async_step_bank(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Let the user choose the packs of a new bank."""
        errors: dict[str, str] = {}
        if user_input is not None and not (errors := self._check(user_input)):
            data = dict(user_input)
            return self.async_create_entry(
                title=data.pop(CONF_NAME),
                data=data,
                description="with_energy",
                description_placeholders=FRONTEND_PATHS,
            )
        return self._show_packs("bank", user_input, errors)

    async def async_step_reconfigure_bank(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Let the user add and remove packs."""
        entry = self._get_reconfigure_entry()
        errors: dict[str, str] = {}
        if user_input is not None:
            if not (errors := self._check(user_input, entry.entry_id)):
                return self.async_update_reload_and_abort(
                    entry, data={**entry.data, **user_input}, reason="bank_changed"
                )
        else:
            packs = self._free_packs(entry.entry_id)
            kept = [pack for pack in entry.data[CONF_PACKS] if pack in packs]
            user_input = {**entry.data, CONF_PACKS: kept}
        return self._show_packs("reconfigure_bank", user_input, errors, entry.entry_id)

    def _show_packs(
        self,
        step_id: str,
        user_input: dict[str, Any] | None,
        errors: dict[str, str],
        bank_id: str | None = None,
    ) -> ConfigFlowResult:
        """Show the form that asks for the packs, and for the name of a new bank."""
        name = {} if bank_id else {probatio.Required(CONF_NAME): TextSelector()}
        packs = SelectSelector(
            SelectSelectorConfig(
                options=[
                    SelectOptionDict(value=entry_id, label=name)
                    for entry_id, name in self._free_packs(bank_id).items()
                ],
                multiple=True,
                mode=SelectSelectorMode.LIST,
            )
        )
        schema = probatio.Schema(
            {
                **name,
                probatio.Required(CONF_PACKS): packs,
                probatio.Required(CONF_WIRING, default=Wiring.PARALLEL): _WIRING,
            }
        )
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, user_input),
            errors=errors,
            description_placeholders={
                "cells": ", ".join(
                    f"{name} {count}"
                    for name, count in self._count_cells(user_input, bank_id).items()
                )
            },
        )

    def _check(
        self, user_input: dict[str, Any], bank_id: str | None = None
    ) -> dict[str, str]:
        """Return the errors to show."""
        if len(set(user_input[CONF_PACKS])) < MIN_PACKS:
            return {CONF_PACKS: "too_few_packs"}
        if not set(user_input[CONF_PACKS]) <= self._free_packs(bank_id).keys():
            # Another dialog has taken one of the packs in the meantime.
            return {CONF_PACKS: "pack_taken"}
        counts = self._count_cells(user_input, bank_id)
        if user_input[CONF_WIRING] == Wiring.PARALLEL and len({*counts.values()}) > 1:
            return {CONF_PACKS: "different_cells"}
        return {}

    def _count_cells(
        self, user_input: Mapping[str, Any] | None, bank_id: str | None
    ) -> dict[str, int]:
        """Return the cells of each chosen pack that was read, by its name."""
        names = self._free_packs(bank_id)
        loaded = {
            entry.entry_id: entry.runtime_data
            for entry in self.hass.config_entries.async_loaded_entries(DOMAIN)
        }
        return {
            names[pack]: len(loaded[pack].data.cell_data.cell_voltage)
            for pack in (user_input or {}).get(CONF_PACKS, ())
            if pack in names and pack in loaded and loaded[pack].last_update
        }

    def _free_packs(self, bank_id: str | None = None) -> dict[str, str]:
        """Return the names of the batteries that are in no other bank, by entry id."""
        entries = self.hass.config_entries.async_entries(DOMAIN, include_ignore=False)
        taken = {
            pack
            for entry in entries
            if is_bank(entry) and entry.entry_id != bank_id
            for pack in entry.data[CONF_PACKS]
        }
        return async_name_packs(
            self.hass,
            (
                entry
                for entry in entries
                if not is_bank(entry) and entry.entry_id not in taken
            ),
        )


class BankOptionsFlow(JkBmsOptionsFlow):
    """The form of a bank's options."""

    schema = OPTIONS_SCHEMA
    step_id = "bank"

    async def async_step_bank(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Save valid input."""
        return await self.async_step_init(user_input)
