"""Fixes issues in a dialog: asks for the pairing code of a battery."""

from homeassistant.components.repairs import RepairsFlow, RepairsFlowResult
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant

from .bonds import CONF_ADAPTER, async_pair, async_remove_bond
from .issues import ENTRY_ID
from .jkbms.errors import NoFreeSlotError, PairingError
from .pairing_flow import CODE_SCHEMA, CONF_CODE, SUGGESTED, pairing_error_key


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, str | int | float | None] | None
) -> RepairsFlow:
    """Create the dialog of the only issue that can be fixed in one."""
    assert data
    return PairingRepairFlow(str(data[ENTRY_ID]))


class PairingRepairFlow(RepairsFlow):
    """Pairs with the battery of an entry."""

    def __init__(self, entry_id: str) -> None:
        """Nothing happens before the code is entered."""
        self._entry_id = entry_id

    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Begin with the form."""
        return await self.async_step_pair()

    async def async_step_pair(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask for the code and pair."""
        entry = self.hass.config_entries.async_get_entry(self._entry_id)
        if not entry:
            return self.async_abort(reason="entry_removed")
        errors: dict[str, str] = {}
        placeholders = {"name": entry.title}
        if user_input is not None:
            if entry.state is ConfigEntryState.LOADED and (
                not entry.runtime_data.diagnosis
            ):
                # The battery was read since: pairing again would remove a good bond.
                return self.async_create_entry(data={})
            entries = self.hass.config_entries
            async with entry.setup_lock:
                # An entry cannot be unloaded while it is being set up.
                pass
            await entries.async_unload(entry.entry_id)
            try:
                adapter = await async_pair(
                    self.hass, entry.data[CONF_ADDRESS], user_input[CONF_CODE]
                )
            except (NoFreeSlotError, PairingError) as error:
                errors = {"base": pairing_error_key(error)}
                placeholders["reason"] = str(error)
            else:
                old_data = entry.data
                new_data = {**old_data, CONF_ADAPTER: adapter}
                entries.async_update_entry(entry, data=new_data)
                if new_data != old_data:
                    await async_remove_bond(self.hass, old_data)
                return self.async_create_entry(data={})
            finally:
                entries.async_schedule_reload(entry.entry_id)
        return self.async_show_form(
            step_id="pair",
            data_schema=self.add_suggested_values_to_schema(CODE_SCHEMA, SUGGESTED),
            errors=errors,
            description_placeholders=placeholders,
        )
