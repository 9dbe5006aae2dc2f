"""What tests of the controls share."""

from typing import Any

from pytest_homeassistant_custom_component.common import MockConfigEntry

from homeassistant.const import ATTR_ENTITY_ID
from homeassistant.core import Context, HomeAssistant
from homeassistant.helpers import entity_registry as er
from tests.virtual_bms import VirtualBms

EVERYDAY = {"controls": "everyday"}
TUNING = {"controls": "tuning"}


def written(bms: VirtualBms) -> list[tuple[int | None, str]]:
    """Return registers and values of all writes, in order."""
    assert bms.harms == []
    return [(command.register, command.value.hex()) for command in bms.writes]


async def act(
    hass: HomeAssistant,
    entity_id: str,
    action: str,
    context: Context | None = None,
    **data: Any,
) -> None:
    """Use a control."""
    await hass.services.async_call(
        entity_id.partition(".")[0],
        action,
        {ATTR_ENTITY_ID: entity_id, **data},
        blocking=True,
        context=context,
    )


def controls(hass: HomeAssistant, entry: MockConfigEntry) -> set[str]:
    """Return the entity ids of all controls, but for the link's."""
    return {
        row.entity_id
        for row in er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
        if row.domain in ("switch", "number", "select")
        and not row.unique_id.endswith("bluetooth_link")
    }
