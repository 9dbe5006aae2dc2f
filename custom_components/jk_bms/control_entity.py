"""The base of the entities that change a setting: one for each register."""

from dataclasses import dataclass
from typing import Any, Final, override

from homeassistant.const import EntityCategory, Platform
from homeassistant.core import Context, HomeAssistant, callback
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import DOMAIN
from .controls import CONFIRMATION_REQUIRED, async_write_settings, require_confirmed
from .coordinator import JkBmsConfigEntry, JkBmsCoordinator
from .entity import (
    JkBmsEntity,
    JkBmsEntityDescription,
    JkBmsLinkEntity,
    async_setup_entities,
    unique_id,
)
from .jkbms.models import Reading
from .jkbms.protocol.changes import accepted_register
from .jkbms.protocol.registers import TIERS, Tier, Value
from .setting_texts import KEYS
from .timed_changes import TimedChanges

CONFIRM_WITHIN: Final = 60.0
"""Seconds within which a user must repeat a request to confirm it."""


@dataclass(frozen=True, kw_only=True)
class JkBmsControlDescription[ValueT](JkBmsEntityDescription[ValueT]):
    """A setting that may be changed."""

    setting: str

    @property
    def tier(self) -> Tier:
        """The tier that the options must allow."""
        return TIERS[self.setting]


def control(setting: str) -> dict[str, Any]:
    """Return what the descriptions of all controls share."""

    def value(reading: Reading) -> Any:
        register = accepted_register(setting, reading)
        return register.present(reading) if register else None

    return {
        "key": KEYS.get(setting, setting),
        "setting": setting,
        "entity_category": EntityCategory.CONFIG,
        "entity_registry_enabled_default": TIERS[setting] is Tier.EVERYDAY,
        "value_fn": value,
        "exists_fn": lambda reading: accepted_register(setting, reading) is not None,
    }


class JkBmsControl[ValueT](JkBmsEntity[ValueT]):
    """A setting; it always shows what the battery reports."""

    def __init__(
        self,
        coordinator: JkBmsCoordinator,
        description: JkBmsControlDescription[ValueT],
    ) -> None:
        """Initialise the entity from its description."""
        super().__init__(coordinator, description)
        self._setting = description.setting
        self._refused: tuple[Value, Context, float] | None = None
        """Refused request that needs confirmation: its value, its context, and when it
        was refused, in seconds of the event loop's clock."""

    @property
    @override
    def available(self) -> bool:
        """Return whether the battery accepts the setting now."""
        return super().available and self._description.exists(self.coordinator.data)

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any] | None:
        """Return when the value will be undone and to what, if it was changed temporarily."""
        entry_id = self.coordinator.config_entry.entry_id
        timed = TimedChanges.async_get(self.coordinator.hass, entry_id)
        if not (change := timed.changes.get(self._setting)):
            return None
        return {"returns_to": change.before, "returns_at": change.due_at}

    async def _async_write(self, value: Value) -> None:
        """Change the setting. Raises a `HomeAssistantError` unless it is confirmed."""
        context = self._context
        confirmed = (self._setting,) if self._is_repeated(value) else ()
        try:
            report = await async_write_settings(
                self.coordinator, {self._setting: value}, context, confirmed
            )
        except ServiceValidationError as error:
            if error.translation_key == CONFIRMATION_REQUIRED and context:
                self._refused = value, context, self.hass.loop.time()
            raise
        require_confirmed(self.hass, report)

    def _is_repeated(self, value: Value) -> bool:
        """Return whether a user who was warned requests the same again.

        An automation cannot confirm: it would do so by running twice. Nor can a script
        that a user starts: both requests would share one context.
        """
        refused, self._refused = self._refused, None
        if not (refused and self._context and self._context.user_id):
            return False
        warned_of, warned, refused_at = refused
        return (
            warned_of == value
            and warned.user_id == self._context.user_id
            and warned.id != self._context.id
            and self.hass.loop.time() - refused_at <= CONFIRM_WITHIN
        )


@callback
def async_setup_controls(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    platform: Platform,
    control_class: type[JkBmsControl[Any]],
    descriptions: tuple[JkBmsControlDescription[Any], ...],
    others: tuple[JkBmsLinkEntity, ...] = (),
) -> None:
    """Add the controls that the options allow, and remove the others."""
    coordinator, registry = entry.runtime_data, er.async_get(hass)
    allowed = []
    for description in descriptions:
        if coordinator.options.allows(description.tier):
            allowed.append(description)
        elif entity_id := registry.async_get_entity_id(
            platform, DOMAIN, unique_id(coordinator, description)
        ):
            registry.async_remove(entity_id)
    async_setup_entities(
        hass,
        entry,
        async_add_entities,
        platform,
        ((control_class, allowed),),
        others,
    )
