"""The first steps of an owner: find batteries, add them, look at them."""

import asyncio
import logging

from homeassistant.components.lovelace.const import LOVELACE_DATA
from homeassistant.config_entries import SOURCE_BLUETOOTH
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.debounce import Debouncer

from .dashboard import make_dashboard
from .home import DASHBOARD, DOMAIN

_LOGGER = logging.getLogger("demo")


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


async def async_keep_dashboard(hass: HomeAssistant, hours: int) -> None:
    """Create the dashboard, and rebuild it whenever a battery is added or removed."""

    async def save() -> None:
        dashboard = hass.data[LOVELACE_DATA].dashboards[DASHBOARD]
        await dashboard.async_save(make_dashboard(hass, hours))

    # A battery adds dozens of entities, one after another.
    debouncer = Debouncer(hass, _LOGGER, cooldown=1, immediate=False, function=save)

    @callback
    def follow(event: Event[er.EventEntityRegistryUpdatedData]) -> None:
        if event.data["action"] != "update":
            debouncer.async_schedule_call()

    await save()
    hass.bus.async_listen(er.EVENT_ENTITY_REGISTRY_UPDATED, follow)
