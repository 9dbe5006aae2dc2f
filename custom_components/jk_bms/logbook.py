"""How a change of a setting reads in Activity."""

from collections.abc import Callable
from typing import Any

from homeassistant.components.logbook.const import (
    LOGBOOK_ENTRY_CONTEXT_ID,
    LOGBOOK_ENTRY_MESSAGE,
    LOGBOOK_ENTRY_NAME,
)
from homeassistant.components.logbook.models import LazyEventPartialState
from homeassistant.const import ATTR_DEVICE_ID
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr

from .const import DOMAIN
from .jkbms.bluetooth.writing import Outcome
from .ledger import EVENT_SETTING_CHANGED

_ENDINGS = {
    Outcome.CONFIRMED: "",
    Outcome.NOT_CONFIRMED: ", but the battery reports {answer}",
    Outcome.UNKNOWN: ", but the battery did not report the value since",
}


@callback
def async_describe_events(
    hass: HomeAssistant,
    async_describe_event: Callable[
        [str, str, Callable[[LazyEventPartialState], dict[str, Any]]], None
    ],
) -> None:
    """Describe the event of a changed setting."""

    @callback
    def describe(event: LazyEventPartialState) -> dict[str, Any]:
        data = event.data
        device = dr.async_get(hass).async_get(data[ATTR_DEVICE_ID] or "")
        name = device and (device.name_by_user or device.name)
        old, new, answer = (_text(data[key]) for key in ("old", "new", "answer"))
        ending = _ENDINGS[Outcome(data["outcome"])].format(answer=answer)
        return {
            LOGBOOK_ENTRY_NAME: name or "JK BMS",
            LOGBOOK_ENTRY_MESSAGE: (
                f"was set: {data['setting']} from {old} to {new}{ending}"
            ),
            LOGBOOK_ENTRY_CONTEXT_ID: event.context_id,
        }

    async_describe_event(DOMAIN, EVENT_SETTING_CHANGED, describe)


def _text(value: Any) -> str:
    match value:
        case None:
            return "unknown"
        case True:
            return "on"
        case False:
            return "off"
        case float():
            return f"{value:.10g}"
        case _:
            return str(value)
