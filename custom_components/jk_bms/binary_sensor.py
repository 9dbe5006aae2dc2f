"""Binary sensors: states, alarms and on/off settings of a battery."""

from dataclasses import dataclass
from typing import Final, override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.const import EntityCategory, Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .bank_coordinator import AnyConfigEntry, is_bank
from .bank_entity import (
    BANK_BINARY_SENSORS,
    BankBinarySensor,
    async_setup_bank_entities,
)
from .entity import (
    JkBmsEntity,
    JkBmsEntityDescription,
    alarm_attributes,
    async_setup_entities,
    has_setting,
)
from .jkbms.models import INFORMATION, Alarm, Reading
from .jkbms.protocol.codes import ALARMS

# Read only: all values come from the coordinator.
PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class JkBmsBinarySensorDescription(
    BinarySensorEntityDescription, JkBmsEntityDescription[bool]
):
    """A binary sensor."""


UNNAMED: Final = frozenset({"bit_29", "bit_30", "bit_31"})
"""Alarms that the battery may raise but whose meaning is unknown."""


def _problem(reading: Reading) -> bool | None:
    """Return whether there is a fault or an impossible value."""
    faults = reading.cell_data.faults
    if reading.cell_data.implausible:
        return True
    return None if faults is None else bool(faults)


def _problem_attributes(reading: Reading) -> dict[str, list[str]]:
    return {
        "alarms": list(reading.cell_data.faults or ()),
        "implausible": list(reading.cell_data.implausible),
    }


def _alarm(alarm: Alarm) -> JkBmsBinarySensorDescription:
    """Describe one alarm of the battery."""
    key = str(alarm.name).lower()

    def is_raised(reading: Reading) -> bool | None:
        raised = reading.cell_data.alarms
        if raised is None or key not in ALARMS[reading.layout]:
            return None
        return key in raised

    return JkBmsBinarySensorDescription(
        key=key,
        # The meaning of the unnamed bits is unknown: each appears once it is raised.
        exists_fn=(lambda reading: is_raised(reading) is True)
        if key in UNNAMED
        else None,
        # The suffix tells the alarm from a sensor with the same key, such as cell_count.
        object_id=None if key in INFORMATION else f"{key}_alarm",
        device_class=None if key in INFORMATION else BinarySensorDeviceClass.PROBLEM,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value_fn=is_raised,
        attributes_fn=lambda reading: alarm_attributes(key, reading),
    )


def _setting(key: str, field: str) -> JkBmsBinarySensorDescription:
    """Describe a setting that is on or off."""
    return JkBmsBinarySensorDescription(
        key=key,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        # A reading may have no settings at all.
        value_fn=lambda reading: getattr(reading.settings, field, None),
        exists_fn=lambda reading: has_setting(field, reading),
    )


def _state(key: str, *, enabled: bool = True) -> JkBmsBinarySensorDescription:
    """Describe a state of the battery; its key is that of its field."""
    return JkBmsBinarySensorDescription(
        key=key,
        entity_registry_enabled_default=enabled,
        value_fn=lambda reading: getattr(reading.cell_data, key),
    )


STATES: tuple[JkBmsBinarySensorDescription, ...] = (
    _state("charging"),
    _state("discharging"),
    _state("balancing"),
    _state("heating"),
    _state("precharging", enabled=False),
    JkBmsBinarySensorDescription(
        key="charger_connected",
        device_class=BinarySensorDeviceClass.PLUG,
        entity_registry_enabled_default=False,
        value_fn=lambda reading: reading.cell_data.charger_plugged,
    ),
    _state("dry_contact_1", enabled=False),
    _state("dry_contact_2", enabled=False),
    JkBmsBinarySensorDescription(
        key="problem",
        device_class=BinarySensorDeviceClass.PROBLEM,
        value_fn=_problem,
        attributes_fn=_problem_attributes,
    ),
)

# Suffixes of the keys tell "allowed" from "charging now" and "enabled" from "tripped".
SETTINGS: Final = {
    "charging_allowed": "charging",
    "discharging_allowed": "discharging",
    "balancing_allowed": "balancer",
    "heating_allowed": "heating",
    "discharge_overcurrent_protection_2": "discharge_overcurrent_2",
    "discharge_overcurrent_protection_3": "discharge_overcurrent_3",
    "temperature_sensors_disabled": "temperature_sensors_disabled",
    "gps_heartbeat": "gps_heartbeat",
    "shared_port": "port_rs485",
    "display_always_on": "display_always_on",
    "special_charger": "special_charger",
    "smart_sleep": "smart_sleep",
    "parallel_limiter_disabled": "parallel_limiter_disabled",
    "timed_storage": "timed_storage",
    "charging_float_mode": "charging_float_mode",
    "emergency_trigger": "emergency_trigger",
    "dry_contact_intermittent": "dry_contact_intermittent",
    "gps_lock_charging": "gps_lock_charging",
    "gps_lock_discharging": "gps_lock_discharging",
}

BINARY_SENSORS: tuple[JkBmsBinarySensorDescription, ...] = (
    *STATES,
    *(_alarm(alarm) for alarm in Alarm),
    *(_setting(key, field) for key, field in SETTINGS.items()),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: AnyConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the binary sensors of a battery or a bank."""
    if is_bank(entry):
        async_setup_bank_entities(
            hass,
            entry,
            async_add_entities,
            Platform.BINARY_SENSOR,
            BankBinarySensor,
            BANK_BINARY_SENSORS,
        )
        return
    async_setup_entities(
        hass,
        entry,
        async_add_entities,
        Platform.BINARY_SENSOR,
        ((JkBmsBinarySensor, BINARY_SENSORS),),
    )


class JkBmsBinarySensor(JkBmsEntity[bool], BinarySensorEntity):
    """A binary sensor."""

    @property
    @override
    def is_on(self) -> bool | None:
        """Return whether it is on."""
        return self._value
