"""JiKong (JK) battery management systems over Bluetooth LE."""

from homeassistant.components import bluetooth
from homeassistant.const import CONF_ADDRESS, EVENT_HOMEASSISTANT_STOP, Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.typing import ConfigType

from .bank_coordinator import (
    AnyConfigEntry,
    BankConfigEntry,
    BankCoordinator,
    async_clear_bank_issue,
    is_bank,
)
from .bank_energy import BankEnergyStore
from .battery_memory import async_forget_battery
from .bonds import async_remove_bond
from .compatibility import async_enable_group
from .const import DOMAIN
from .coordinator import JkBmsConfigEntry, JkBmsCoordinator
from .dashboard_link import async_setup_dashboard_link
from .energy_store import EnergyStore
from .frontend import async_setup_frontend
from .issues import async_clear_issue, async_track_failures
from .ledger import Ledger, async_follow_settings
from .metrics_push import async_end_push, async_start_push
from .options import JkBmsOptions
from .push_label import async_keep_numbered_label
from .services import async_setup_services
from .timed_changes import TimedChanges
from .undo import async_follow_timed_changes
from .websocket import async_setup_websocket

PLATFORMS = [
    Platform.BINARY_SENSOR,
    Platform.BUTTON,
    Platform.EVENT,
    Platform.NUMBER,
    Platform.SELECT,
    Platform.SENSOR,
    Platform.SWITCH,
]

BANK_PLATFORMS = [Platform.BINARY_SENSOR, Platform.SENSOR]

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Register the actions, the websocket commands and the frontend: they need no entry."""
    async_setup_services(hass)
    async_setup_websocket(hass)
    await async_setup_frontend(hass)
    await async_setup_dashboard_link(hass)
    return True


async def async_setup_entry(hass: HomeAssistant, entry: AnyConfigEntry) -> bool:
    """Set up an entry from a first reading or the cached device data, then start polling."""
    if is_bank(entry):
        return await _async_setup_bank(hass, entry)
    coordinator = entry.runtime_data = JkBmsCoordinator(hass, entry)

    # Before the first read, so that it also ends when Home Assistant stops.
    entry.async_on_unload(coordinator.async_shutdown)
    entry.async_on_unload(
        hass.bus.async_listen(EVENT_HOMEASSISTANT_STOP, coordinator.async_shutdown)
    )

    async_track_failures(hass, entry)
    await Ledger.async_open(hass, entry.entry_id)
    await TimedChanges.async_open(hass, entry.entry_id)
    await coordinator.async_first_refresh()
    if coordinator.options.compatibility:
        async_enable_group(hass, entry.entry_id)
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    entry.async_on_unload(coordinator.async_start())
    async_follow_settings(hass, entry)
    async_follow_timed_changes(hass, entry)
    async_start_push(hass, entry)
    return True


async def async_migrate_entry(hass: HomeAssistant, entry: JkBmsConfigEntry) -> bool:
    """Bring an entry of version 1.1 to 1.2, which stores its label."""
    if entry.minor_version < 2:
        if JkBmsOptions.parse(entry.options).push:
            async_keep_numbered_label(hass, entry)
        hass.config_entries.async_update_entry(entry, minor_version=2)
    return True


async def _async_setup_bank(hass: HomeAssistant, entry: BankConfigEntry) -> bool:
    """Set up a bank; its packs may be set up before or afterwards."""
    await BankEnergyStore.async_open(hass, entry.entry_id)
    coordinator = entry.runtime_data = BankCoordinator(hass, entry)
    coordinator.async_start()
    await hass.config_entries.async_forward_entry_setups(entry, BANK_PLATFORMS)
    async_start_push(hass, entry)
    return True


async def async_unload_entry(hass: HomeAssistant, entry: AnyConfigEntry) -> bool:
    """Remove the entities; `async_on_unload` undoes the rest of the setup."""
    platforms = BANK_PLATFORMS
    if not is_bank(entry):
        async_clear_issue(hass, entry)
        platforms = PLATFORMS
    if energy := EnergyStore.async_find(hass, entry.entry_id):
        # Before the sensors that count are removed
        await energy.async_save()
    return await hass.config_entries.async_unload_platforms(entry, platforms)


async def async_remove_entry(hass: HomeAssistant, entry: AnyConfigEntry) -> None:
    """Drop stored state so that the battery can be added afresh."""
    # Do not wait for a server that may not respond.
    hass.async_create_task(
        async_end_push(hass, entry), f"{DOMAIN} clear push {entry.title}"
    )
    await EnergyStore.async_delete(hass, entry.entry_id)
    if is_bank(entry):
        async_clear_bank_issue(hass, entry)
        return
    async_clear_issue(hass, entry)
    await Ledger.async_delete(hass, entry.entry_id)
    await TimedChanges.async_delete(hass, entry.entry_id)
    async_forget_battery(hass, entry.entry_id)
    # The discovery of a battery that was added by hand has ended; start it again.
    bluetooth.async_rediscover_address(hass, entry.data[CONF_ADDRESS])
    await async_remove_bond(hass, entry.data)
