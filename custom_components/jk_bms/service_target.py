"""The battery that an action is for: its device, or its entry as in older calls."""

from typing import Any, Final

import probatio

from homeassistant.const import ATTR_CONFIG_ENTRY_ID, ATTR_DEVICE_ID
from homeassistant.core import ServiceCall, callback
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import config_validation as cv, service

from .bank_coordinator import is_bank
from .const import DOMAIN
from .coordinator import JkBmsConfigEntry
from .diagnosis import translated_error

_TARGET: Final = {
    probatio.Exclusive(ATTR_DEVICE_ID, "battery"): cv.string,
    probatio.Exclusive(ATTR_CONFIG_ENTRY_ID, "battery"): cv.string,
}


def target_schema(fields: dict[Any, Any]) -> probatio.All[Any]:
    """Return the schema of an action that takes these fields and one battery."""
    return probatio.All(
        probatio.Schema(_TARGET | fields),
        cv.has_at_least_one_key(ATTR_DEVICE_ID, ATTR_CONFIG_ENTRY_ID),
    )


@callback
def async_get_target(call: ServiceCall) -> JkBmsConfigEntry:
    """Return the loaded entry of the battery; raises a `ServiceValidationError`."""
    entry: JkBmsConfigEntry
    if device_id := call.data.get(ATTR_DEVICE_ID):
        _, entry = service.async_get_device_and_config_entry(
            call.hass, DOMAIN, device_id
        )
    else:
        entry = service.async_get_config_entry(
            call.hass, DOMAIN, call.data[ATTR_CONFIG_ENTRY_ID]
        )
    if is_bank(entry):
        raise translated_error(ServiceValidationError, "is_bank", {"name": entry.title})
    return entry
