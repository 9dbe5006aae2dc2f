"""Describes setting changes and pack faults in Activity, in the language of the server."""

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

from .bank_coordinator import EVENT_PACK_FAULT
from .const import DOMAIN
from .event import CLEARED, RAISED
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
    """Register the Activity descriptions of our events."""

    def name(event: LazyEventPartialState) -> str:
        device = dr.async_get(hass).async_get(event.data[ATTR_DEVICE_ID] or "")
        return (device and (device.name_by_user or device.name)) or "JK BMS"

    @callback
    def describe_setting(event: LazyEventPartialState) -> dict[str, Any]:
        data = event.data
        return {
            LOGBOOK_ENTRY_NAME: name(event),
            LOGBOOK_ENTRY_MESSAGE: _message(hass, data),
            LOGBOOK_ENTRY_CONTEXT_ID: event.context_id,
        }

    @callback
    def describe_fault(event: LazyEventPartialState) -> dict[str, Any]:
        data = event.data
        texts = async_get_cached_translations(
            hass, hass.config.language, "entity", DOMAIN
        )
        fault, change = data["fault"], RAISED if data["raised"] else CLEARED
        name_key = f"component.{DOMAIN}.entity.binary_sensor.{fault}.name"
        change_key = (
            f"component.{DOMAIN}.entity.event.alarm.state_attributes.event_type.state."
            f"{change}"
        )
        return {
            LOGBOOK_ENTRY_NAME: name(event),
            LOGBOOK_ENTRY_MESSAGE: (
                f"{texts.get(change_key, change)}: {texts.get(name_key, fault)} "
                f"({data['pack']})"
            ),
        }

    async_describe_event(DOMAIN, EVENT_SETTING_CHANGED, describe_setting)
    async_describe_event(DOMAIN, EVENT_PACK_FAULT, describe_fault)


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
