"""The first steps of an owner: find batteries, add them, look at them."""

import asyncio

from homeassistant.config_entries import SOURCE_BLUETOOTH
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
