"""The first steps of an owner: find batteries, add them, look at them."""

import asyncio

from homeassistant.config_entries import SOURCE_BLUETOOTH, SOURCE_USER
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .home import DOMAIN


async def async_discover(hass: HomeAssistant, count: int) -> list[str]:
    """Wait until this many batteries are discovered; return their flows."""
    async with asyncio.timeout(30):
        while True:
            found = hass.config_entries.flow.async_progress_by_handler(
                DOMAIN, match_context={"source": SOURCE_BLUETOOTH}
            )
            if len(found) == count:
                return [flow["flow_id"] for flow in found]
            await asyncio.sleep(0.1)


async def async_add(hass: HomeAssistant, flow_id: str) -> None:
    """Confirm each form of a discovered battery."""
    while True:
        result = await hass.config_entries.flow.async_configure(flow_id, {})
        if result["type"] is FlowResultType.CREATE_ENTRY:
            return
        if result["type"] is not FlowResultType.FORM or result["errors"]:
            raise RuntimeError(f"a battery could not be added: {result}")


async def async_allow_controls(hass: HomeAssistant) -> None:
    """Choose in the options that everything may be tuned, but for the passcode."""
    for entry in hass.config_entries.async_entries(DOMAIN):
        hass.config_entries.async_update_entry(entry, options={"controls": "tuning"})
        await hass.config_entries.async_reload(entry.entry_id)


async def async_add_bank(hass: HomeAssistant) -> str:
    """Add a bank of all batteries; return the id of its entry."""
    packs = [entry.entry_id for entry in hass.config_entries.async_entries(DOMAIN)]
    flow = hass.config_entries.flow
    result = await flow.async_init(DOMAIN, context={"source": SOURCE_USER})
    for user_input in (
        {"next_step_id": "bank"},
        {"name": "Bank", "packs": packs, "wiring": "parallel"},
    ):
        result = await flow.async_configure(result["flow_id"], user_input)
    if result["type"] is not FlowResultType.CREATE_ENTRY:
        raise RuntimeError(f"a bank could not be added: {result}")
    return result["result"].entry_id
