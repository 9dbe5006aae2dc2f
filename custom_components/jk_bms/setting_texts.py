"""Names and values of settings, as shown to users in the language of the server."""

from typing import Final

from homeassistant.const import STATE_OFF, STATE_ON, Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.translation import (
    async_get_cached_translations,
    async_translate_state,
)

from .const import DOMAIN
from .jkbms.protocol.changes import TEMPERATURE_LIMITS, UNITS
from .jkbms.protocol.codes import CAN_PROTOCOLS, TRIGGERS, UART_PROTOCOLS
from .jkbms.protocol.registers import Value, unit_of

KEYS: Final = {
    "balance_trigger": "balance_trigger_voltage",
    "port_rs485": "shared_port",
    "request_charge_time": "requested_charge_time",
    "request_charge_voltage": "requested_charge_voltage",
    "request_float_time": "requested_float_time",
    "request_float_voltage": "requested_float_voltage",
    "soc_0": "empty_cell_voltage",
    "soc_100": "full_cell_voltage",
    # Protections, which are never written
    **{
        f"cell_{short}{suffix}": f"cell_{name}_{what}"
        for short, name in (("uvp", "undervoltage"), ("ovp", "overvoltage"))
        for suffix, what in (("", "protection"), ("_recovery", "recovery"))
    },
    **{
        f"{limit}_recovery": f"{limit}_recovery_time"
        for limit in ("charge_overcurrent", "discharge_overcurrent", "short_circuit")
    },
    **{limit: f"{limit}_protection" for limit in TEMPERATURE_LIMITS},
    **{
        f"discharge_overcurrent_{n}": f"discharge_overcurrent_protection_{n}"
        for n in (2, 3)
    },
}
"""Keys of settings whose name is not clear among the other entities."""

CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "can_protocol": CAN_PROTOCOLS,
    **dict.fromkeys(
        ("uart1_protocol", "uart2_protocol", "uart3_protocol"), UART_PROTOCOLS
    ),
    **dict.fromkeys(
        ("buzzer_trigger", "dry_contact_1_trigger", "dry_contact_2_trigger"), TRIGGERS
    ),
}
"""Names of the numbers of a setting; those of ports are shown as they are."""

_PLATFORMS: Final = (
    Platform.SWITCH,
    Platform.NUMBER,
    Platform.SELECT,
    Platform.SENSOR,
    Platform.BINARY_SENSOR,
)


@callback
def async_setting_name(hass: HomeAssistant, setting: str) -> str:
    """Return the name of the entity of a setting, or the setting's own name without one."""
    key = KEYS.get(setting, setting)
    names = async_get_cached_translations(hass, hass.config.language, "entity", DOMAIN)
    for platform in _PLATFORMS:
        if name := names.get(f"component.{DOMAIN}.entity.{platform}.{key}.name"):
            return name
    return setting


@callback
def async_setting_label(hass: HomeAssistant, setting: str) -> str:
    """Return the name of a setting together with the name that actions use."""
    name = async_setting_name(hass, setting)
    return setting if name == setting else f"{name} ({setting})"


@callback
def async_value_text(hass: HomeAssistant, setting: str, value: Value | None) -> str:
    """Return a value as text for a sentence."""
    if value is None:
        return "?"
    if isinstance(value, str):
        return value
    key = KEYS.get(setting, setting)
    if isinstance(value, bool):
        state = STATE_ON if value else STATE_OFF
        return async_translate_state(hass, state, Platform.SWITCH, DOMAIN, key, None)
    if setting in CHOICES:
        option = choice_name(setting, int(value))
        return async_translate_state(hass, option, Platform.SELECT, DOMAIN, key, None)
    unit = UNITS.get(setting) or unit_of(setting) or ""
    return f"{value:.10g} {unit}".rstrip()


def choice_name(setting: str, number: int) -> str:
    """Return the name of a number of a setting, or an unknown number as it is."""
    names = CHOICES[setting]
    return names[number] if number < len(names) else str(number)
