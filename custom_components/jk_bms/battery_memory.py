"""State of a battery that survives reloads and retries of its setup."""

from collections import defaultdict
from dataclasses import dataclass, field
from math import inf

from homeassistant.core import HomeAssistant, callback
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
from .jkbms.outage import Outage


@dataclass(slots=True)
class BatteryMemory:
    """State that outlives the coordinator, but not Home Assistant."""

    resumes_at: float = -inf
    """When to use the link again, in seconds of the event loop's clock.

    Changing an option reloads the entry; that must not shut out the phone app.
    """
    unexpected_errors: Outage = field(default_factory=Outage)


_MEMORY: HassKey[defaultdict[str, BatteryMemory]] = HassKey(f"{DOMAIN}_memory")
"""Memories by entry id, which stays the same with a new Bluetooth module."""


@callback
def async_get_memory(hass: HomeAssistant, entry_id: str) -> BatteryMemory:
    """Return the memory of the battery of an entry."""
    return hass.data.setdefault(_MEMORY, defaultdict(BatteryMemory))[entry_id]


@callback
def async_forget_battery(hass: HomeAssistant, entry_id: str) -> None:
    """Drop the memory so that the battery can be added afresh."""
    if _MEMORY in hass.data:
        hass.data[_MEMORY].pop(entry_id, None)
