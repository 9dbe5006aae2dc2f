"""Data for the card: entity ids by key, and values that have no entity."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
import logging
from typing import Any, Final

import probatio

from homeassistant.components.websocket_api import async_register_command
from homeassistant.components.websocket_api.connection import ActiveConnection
from homeassistant.components.websocket_api.decorators import websocket_command
from homeassistant.components.websocket_api.messages import event_message
from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
    ConfigEntryState,
)
from homeassistant.core import CALLBACK_TYPE, Event, HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.debounce import Debouncer
from homeassistant.helpers.dispatcher import async_dispatcher_connect

from .bank_coordinator import CONF_PACKS, BankCoordinator
from .const import DOMAIN
from .coordinator import JkBmsConfigEntry, JkBmsCoordinator
from .dashboard_link import view_paths
from .energy import SmoothedCurrent
from .jkbms import __version__
from .jkbms.estimates import time_to_empty, time_to_full
from .jkbms.models import BatteryType
from .options import JkBmsOptions
from .sensor_descriptions import total_runtime

_LOGGER = logging.getLogger(__name__)

_COOLDOWN: Final = 0.5
"""Seconds over which registry events are collected: a new battery causes dozens."""
_IMPLAUSIBLE: Final = ("problem.state_attributes.implausible",)
"""The fault that a battery with impossible values has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLimits:
    """Cell voltages at which the battery acts, in V; `None` where not reported."""

    undervoltage: float | None
    empty: float | None
    balance_start: float | None
    balance_trigger: float | None
    """A difference between cells, unlike the other values."""
    full: float | None
    overvoltage: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a battery is not read: a key of the translations' `exceptions`."""

    key: str
    placeholders: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Values of each reading that have no entity, or one that is disabled by default."""

    available: bool = False
    last_read: datetime | None = None
    resumes_at: datetime | None = None
    """When a paused link is resumed."""
    reason: Reason | None = None
    faults: tuple[str, ...] = ()
    """Names of `Alarm`, lower case; the card shows `entity.binary_sensor.<name>.name`."""
    wire_resistance_cells: tuple[int, ...] = ()
    """1-based numbers of the cells that the wire resistance alarm is about."""
    cell_resistance: tuple[float | None, ...] = ()
    """Ohm, cell 1 first; `None` is not measured yet."""
    time_to_full: int | None = None
    """Seconds, by the current since the page was opened; its sensor is disabled by default."""
    time_to_empty: int | None = None
    total_runtime: int | None = None
    """Seconds over the life of the BMS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryCard:
    """What a card needs to know of one battery, apart from its states."""

    entry_id: str
    device_id: str
    title: str
    path: str
    """Path of its view of the dashboard."""
    entities: dict[str, str]
    """Entity ids of the enabled entities, by platform and key: `sensor.cell_voltage_7`."""
    cell_count: int | None
    chemistry: BatteryType | None
    limits: CellLimits | None
    holds_link: bool
    packs: tuple[str, ...] = ()
    """Ids of the entries of the packs that a bank combines."""


@callback
def async_setup_websocket(hass: HomeAssistant) -> None:
    """Register the commands."""
    async_register_command(hass, subscribe_batteries)


@callback
@websocket_command({probatio.Required("type"): f"{DOMAIN}/batteries"})
def subscribe_batteries(
    hass: HomeAssistant,
    connection: ActiveConnection,
    message: dict[str, Any],
) -> None:
    """Send all batteries, again when one changes, and `live` of each that is read."""
    subscription = _Subscription(hass, connection, message["id"])
    connection.subscriptions[message["id"]] = subscription.stop
    connection.send_result(message["id"])
    subscription.start()


class _Subscription:
    """One page that shows batteries."""

    def __init__(
        self,
        hass: HomeAssistant,
        connection: ActiveConnection,
        message_id: int,
    ) -> None:
        self._hass = hass
        self._connection = connection
        self._id = message_id
        self._batteries: list[BatteryCard] | None = None
        """The batteries as last sent; likewise `_live`."""
        self._live: dict[str, Live] = {}
        self._debouncer = Debouncer(
            hass,
            _LOGGER,
            cooldown=_COOLDOWN,
            immediate=False,
            function=self._send_batteries,
        )
        self._unsubscribe: list[CALLBACK_TYPE] = []
        self._followed: dict[JkBmsCoordinator | BankCoordinator, CALLBACK_TYPE] = {}
        self._currents: dict[JkBmsCoordinator, SmoothedCurrent] = {}

    @callback
    def start(self) -> None:
        """Send the first event and follow what changes."""
        listen = self._hass.bus.async_listen
        self._unsubscribe = [
            listen(er.EVENT_ENTITY_REGISTRY_UPDATED, self._schedule),
            listen(dr.EVENT_DEVICE_REGISTRY_UPDATED, self._schedule),
            async_dispatcher_connect(
                self._hass, SIGNAL_CONFIG_ENTRY_CHANGED, self._on_entry_changed
            ),
        ]
        self._send_batteries()

    @callback
    def stop(self) -> None:
        """Unsubscribe from everything."""
        self._debouncer.async_shutdown()
        for unsubscribe in (*self._unsubscribe, *self._followed.values()):
            unsubscribe()

    @callback
    def _schedule(self, _event: Event[Any] | None = None) -> None:
        self._debouncer.async_schedule_call()

    @callback
    def _on_entry_changed(
        self, _change: ConfigEntryChange, entry: ConfigEntry[Any]
    ) -> None:
        """Send again if the entry, which may be of any integration, is a battery."""
        if entry.domain == DOMAIN:
            self._schedule()

    @callback
    def _send_batteries(self) -> None:
        """Send everything, unless it was already sent."""
        self._follow_coordinators()
        found = self._find_batteries()
        batteries = [battery for battery, _ in found]
        live = {battery.device_id: live for battery, live in found}
        if (batteries, live) != (self._batteries, self._live):
            self._batteries, self._live = batteries, live
            self._send(version=__version__, batteries=batteries, live=live)

    @callback
    def _send_live(self) -> None:
        """Send the values that changed; the limits may have changed as well."""
        live = {battery.device_id: now for battery, now in self._find_batteries()}
        changed = {
            device_id: now
            for device_id, now in live.items()
            if now != self._live.get(device_id)
        }
        if changed:
            self._live |= changed
            self._send(live=changed)
        self._schedule()

    @callback
    def _follow_coordinators(self) -> None:
        """Listen to the coordinators of the entries that are loaded now."""
        loaded = {
            entry.runtime_data
            for entry in self._hass.config_entries.async_loaded_entries(DOMAIN)
        }
        for coordinator in self._followed.keys() - loaded:
            self._followed.pop(coordinator)()
            if isinstance(coordinator, JkBmsCoordinator):
                self._currents.pop(coordinator, None)
        for coordinator in loaded - self._followed.keys():
            self._followed[coordinator] = coordinator.async_add_listener(
                self._send_live
            )

    def _find_batteries(self) -> list[tuple[BatteryCard, Live]]:
        """Return the batteries that were ever read, sorted by name."""
        devices = dr.async_get(self._hass)
        paths = view_paths(self._hass)
        entries = self._hass.config_entries.async_entries(
            DOMAIN, include_disabled=False
        )
        found = [
            (
                _battery(
                    self._hass, entry, device, paths[device.id], _coordinator(entry)
                ),
                self._live_of(entry),
            )
            for entry in entries
            for device in dr.async_entries_for_config_entry(devices, entry.entry_id)
        ]
        return sorted(found, key=lambda each: each[0].title.casefold())

    def _live_of(self, entry: JkBmsConfigEntry) -> Live:
        if not (coordinator := _coordinator(entry)):
            return _not_loaded(entry)
        if isinstance(coordinator, BankCoordinator):
            return _live_bank(coordinator)
        current = self._currents.setdefault(coordinator, SmoothedCurrent())
        return _live(coordinator, current)

    @callback
    def _send(self, **event: Any) -> None:
        self._connection.send_message(event_message(self._id, event))


def _coordinator(entry: JkBmsConfigEntry) -> JkBmsCoordinator | BankCoordinator | None:
    return entry.runtime_data if entry.state is ConfigEntryState.LOADED else None


def _battery(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    device: dr.DeviceEntry,
    path: str,
    coordinator: JkBmsCoordinator | BankCoordinator | None,
) -> BatteryCard:
    entities = er.async_entries_for_device(er.async_get(hass), device.id)
    reading = (
        coordinator.data
        if isinstance(coordinator, JkBmsCoordinator) and coordinator.last_update
        else None
    )
    settings = reading.settings if reading else None
    return BatteryCard(
        entry_id=entry.entry_id,
        device_id=device.id,
        title=device.name_by_user or device.name or entry.title,
        path=path,
        entities={
            # A unique id is the address, which has no underscore, and the key.
            f"{entity.domain}.{entity.unique_id.partition('_')[2]}": entity.entity_id
            for entity in entities
            if entity.platform == DOMAIN
        },
        cell_count=len(reading.cell_data.cell_voltage) if reading else None,
        chemistry=reading.cell_data.battery_type if reading else None,
        limits=CellLimits(
            undervoltage=settings.cell_uvp,
            empty=settings.soc_0,
            balance_start=settings.balance_start_voltage,
            balance_trigger=settings.balance_trigger,
            full=settings.soc_100,
            overvoltage=settings.cell_ovp,
        )
        if settings
        else None,
        holds_link=JkBmsOptions.parse(entry.options).is_link_held,
        packs=tuple(entry.data.get(CONF_PACKS, ())),
    )


def _live_bank(bank: BankCoordinator) -> Live:
    """Return the combined values of the packs of a bank."""
    return Live(
        available=bank.available,
        last_read=bank.last_update,
        faults=(
            *sorted({alarm for _, alarm in bank.data.faults}),
            *(_IMPLAUSIBLE if bank.data.implausible else ()),
        ),
        time_to_full=bank.time_to_full,
        time_to_empty=bank.time_to_empty,
    )


def _live(coordinator: JkBmsCoordinator, current: SmoothedCurrent) -> Live:
    """Return the values of the last reading, and why there is none since."""
    error = coordinator.last_exception
    live = Live(
        available=coordinator.available,
        last_read=coordinator.last_update,
        resumes_at=coordinator.resumes_at,
        reason=_reason(error.translation_key, error.translation_placeholders)
        if error
        else None,
    )
    if not coordinator.last_update:
        return live
    reading = coordinator.data
    cells = reading.cell_data
    max_gap = coordinator.options.max_age.total_seconds()
    current.feed(reading.time, cells.battery_current, max_gap=max_gap)
    capacities = cells.remain_capacity, cells.nominal_capacity
    return replace(
        live,
        faults=(*(cells.faults or ()), *(_IMPLAUSIBLE if cells.implausible else ())),
        wire_resistance_cells=cells.wire_resistance_alarm or (),
        cell_resistance=cells.cell_resistance,
        time_to_full=time_to_full(*capacities, current.value),
        time_to_empty=time_to_empty(*capacities, current.value),
        total_runtime=total_runtime(reading),
    )


def _not_loaded(entry: JkBmsConfigEntry) -> Live:
    """Return the reason why Home Assistant keeps retrying the setup of an entry."""
    return Live(
        reason=_reason(
            entry.error_reason_translation_key,
            entry.error_reason_translation_placeholders,
        )
    )


def _reason(key: str | None, placeholders: Mapping[str, str] | None) -> Reason | None:
    return Reason(key=key, placeholders=dict(placeholders or {})) if key else None
