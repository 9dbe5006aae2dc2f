"""How a change of a setting reads in Activity, in the language of the server."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from homeassistant.components.logbook.const import (
    LOGBOOK_ENTRY_CONTEXT_ID,
    LOGBOOK_ENTRY_MESSAGE,
    LOGBOOK_ENTRY_NAME,
)
from homeassistant.components.logbook.models import LazyEventPartialState
from homeassistant.const import ATTR_DEVICE_ID
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.translation import async_get_cached_translations

from .const import DOMAIN
from .ledger import EVENT_SETTING_CHANGED, SOURCE_ELSEWHERE
from .setting_texts import async_setting_name, async_value_text

_UNTRANSLATED: Final = "{setting}: {old} → {new}"


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
        return {
            LOGBOOK_ENTRY_NAME: name or "JK BMS",
            LOGBOOK_ENTRY_MESSAGE: _message(hass, data),
            LOGBOOK_ENTRY_CONTEXT_ID: event.context_id,
        }

    async_describe_event(DOMAIN, EVENT_SETTING_CHANGED, describe)


def _message(hass: HomeAssistant, data: Mapping[str, Any]) -> str:
    setting = data["setting"]
    old, new, answer = (
        async_value_text(hass, setting, data[key]) for key in ("old", "new", "answer")
    )
    is_ours = data["source"] != SOURCE_ELSEWHERE
    key = data["outcome"] if is_ours else SOURCE_ELSEWHERE
    texts = async_get_cached_translations(
        hass, hass.config.language, "selector", DOMAIN
    )
    template = texts.get(
        f"component.{DOMAIN}.selector.activity.options.{key}", _UNTRANSLATED
    )
    return template.format(
        setting=async_setting_name(hass, setting), old=old, new=new, answer=answer
    )
