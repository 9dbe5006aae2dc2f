"""The target of an action: the device of a battery, or its entry as in older calls."""

from typing import Any, Final

import probatio

from homeassistant.auth.permissions.const import POLICY_CONTROL
from homeassistant.const import ATTR_CONFIG_ENTRY_ID, ATTR_DEVICE_ID
from homeassistant.core import ServiceCall, callback
from homeassistant.exceptions import ServiceValidationError, Unauthorized, UnknownUser
from homeassistant.helpers import (
    config_validation as cv,
    entity_registry as er,
    service,
)

from .bank_coordinator import AnyConfigEntry, is_bank
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
    entry: AnyConfigEntry
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


async def async_require_control(call: ServiceCall, entry: JkBmsConfigEntry) -> None:
    """Raise `Unauthorized` unless the user may control each entity of a battery.

    Entities that are disabled or have no control count as well: an action reaches more
    than an entity does. Calls without a user, such as from an automation, are allowed.
    """
    context = call.context
    if not context.user_id:
        return
    if not (user := await call.hass.auth.async_get_user(context.user_id)):
        raise UnknownUser(context=context)
    registry = er.async_get(call.hass)
    for entity in er.async_entries_for_config_entry(registry, entry.entry_id):
        if not user.permissions.check_entity(entity.entity_id, POLICY_CONTROL):
            raise Unauthorized(
                context=context,
                entity_id=entity.entity_id,
                permission=POLICY_CONTROL,
            )
