"""Combines the readings of several packs without connecting to any of them itself."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from operator import attrgetter
from typing import Any, Final, Self, TypeIs

from bluetooth_data_tools import human_readable_name

from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
    ConfigEntryState,
)
from homeassistant.const import ATTR_DEVICE_ID, CONF_ADDRESS
from homeassistant.core import CALLBACK_TYPE, Event, HassJob, HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, issue_registry as ir
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.event import async_call_later
from homeassistant.util import dt as dt_util

from .bank_energy import BankEnergyStore
from .const import DOMAIN
from .coordinator import JkBmsConfigEntry, JkBmsCoordinator
from .device import async_find_device
from .diagnosis import UNKNOWN
from .energy import SmoothedCurrent
from .energy_store import EnergyStore
from .jkbms.bank import Bank, Pack, Wiring, combine
from .jkbms.models import BatteryState, Reading
from .options import CONF_PUSH, PushOptions

CONF_PACKS: Final = "packs"
"""In the data of a bank's entry: the ids of the entries of its packs."""
CONF_WIRING: Final = "wiring"
CONF_MISSING: Final = "count_missing"

# The minimum time, in seconds, between two values of a bank, unless a state of a pack
# changes. Its packs are read one after the other; without it, a bank of 16 would write 16
# times as many states as a battery.
PUBLISH_INTERVAL: Final = 10.0
_STATES: Final = attrgetter("faults", "implausible", "charging", "discharging")
"""States of a pack that a bank publishes at once: a fault may last for seconds."""

ISSUE_PACK_REMOVED: Final = "pack_removed"
EVENT_PACK_FAULT: Final = f"{DOMAIN}_pack_fault"
"""Fired when a fault of a pack is raised or cleared."""

type BankConfigEntry = ConfigEntry[BankCoordinator]
type AnyConfigEntry = JkBmsConfigEntry | BankConfigEntry


def is_bank(entry: AnyConfigEntry) -> TypeIs[BankConfigEntry]:
    """Return whether an entry of this integration is a bank, else it is a battery."""
    return CONF_PACKS in entry.data


@callback
def async_name_packs(
    hass: HomeAssistant, entries: Iterable[JkBmsConfigEntry]
) -> dict[str, str]:
    """Return unique names of batteries, by the ids of their entries.

    Namesakes have the end of their address as well: factory names are model names, so
    many batteries share theirs.
    """
    names: dict[str, tuple[str, str]] = {}
    for entry in entries:
        device = async_find_device(hass, entry)
        name = (device and device.name_by_user) or entry.title
        names[entry.entry_id] = name, entry.data[CONF_ADDRESS]
    count = Counter(name for name, _ in names.values())
    return {
        entry_id: name if count[name] == 1 else human_readable_name(None, name, address)
        for entry_id, (name, address) in names.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class BankOptions:
    """How to treat a missing pack, and where to push the values."""

    count_missing_for: timedelta = timedelta(0)
    """Maximum age at which the last values of a pack still count in the sums."""
    push: PushOptions | None = None
    """`None` does not push."""

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """Parse the options of a config entry; what is missing has its default."""
        return cls(
            count_missing_for=timedelta(minutes=options.get(CONF_MISSING, 0)),
            push=PushOptions.parse(options.get(CONF_PUSH, {})),
        )


class BankCoordinator:
    """Follows the coordinators of the packs as they are set up and unloaded."""

    def __init__(self, hass: HomeAssistant, entry: BankConfigEntry) -> None:
        """Remember the packs by the ids of their entries, since their addresses may change."""
        self.hass = hass
        self.config_entry = entry
        self.options = BankOptions.parse(entry.options)
        self.wiring = Wiring(entry.data[CONF_WIRING])
        self.energy = BankEnergyStore.async_get(hass, entry.entry_id)
        self.last_update: datetime | None = None
        """When a pack was last read."""
        self._pack_ids: tuple[str, ...] = tuple(entry.data[CONF_PACKS])
        self._followed: dict[str, tuple[JkBmsCoordinator, list[CALLBACK_TYPE]]] = {}
        self._readings: dict[str, Reading] = {}
        """Last reading of each pack; it survives a reload of the pack's entry."""
        self._faults: dict[str, set[str]] = {}
        """Last known faults of each pack, by its name."""
        self._current = SmoothedCurrent()
        self._listeners: list[CALLBACK_TYPE] = []
        self._published_at = -inf
        self._publish_job = HassJob(self._async_publish, cancel_on_shutdown=True)
        self._expire_job = HassJob(self._async_expire, cancel_on_shutdown=True)
        self._cancel_timer: CALLBACK_TYPE | None = None
        self._cancel_expiry: CALLBACK_TYPE | None = None
        self._async_name_packs()
        self.data: Bank = self.combine(self.packs())
        self.energy.keep(self._pack_ids)

    @property
    def available(self) -> bool:
        """Whether any pack has valid values."""
        return bool(self.data.online)

    @property
    def time_to_empty(self) -> int | None:
        """The time until empty at the smoothed current, s."""
        return self.data.time_to_empty(self._current.value)

    @property
    def time_to_full(self) -> int | None:
        """The time until full at the smoothed current, s."""
        return self.data.time_to_full(self._current.value)

    def packs(self, names: Mapping[str, str] | None = None) -> list[Pack]:
        """Return all packs as they are now, also those that are not set up.

        Their names are those of Home Assistant, or others by the ids of their entries.
        """
        names = names or self._names
        now = self.hass.loop.time()
        packs = []
        for pack_id in self._pack_ids:
            reading = self._readings.get(pack_id)
            followed = self._followed.get(pack_id)
            packs.append(
                Pack(
                    name=names.get(pack_id, UNKNOWN),
                    cell_data=reading.cell_data if reading else None,
                    settings=reading.settings if reading else None,
                    age=now - reading.time if reading else None,
                    is_fresh=followed is not None and followed[0].available,
                )
            )
        return packs

    def combine(self, packs: Iterable[Pack]) -> Bank:
        """Return the values of these packs as a bank."""
        limit = self.options.count_missing_for.total_seconds()
        return combine(packs, self.wiring, count_missing_for=limit)

    def battery_state(self, device: str) -> BatteryState:
        """Return the values that a battery has as well, as metrics."""
        return BatteryState(
            device=device,
            up=self.available,
            last_update=self.last_update.timestamp() if self.last_update else None,
            cell_data=self.data.cell_data,
        )

    @callback
    def async_start(self) -> None:
        """Follow the packs that are set up, and watch for packs being set up or removed."""
        self.config_entry.async_on_unload(
            async_dispatcher_connect(
                self.hass, SIGNAL_CONFIG_ENTRY_CHANGED, self._async_entry_changed
            )
        )
        self.config_entry.async_on_unload(
            self.hass.bus.async_listen(
                dr.EVENT_DEVICE_REGISTRY_UPDATED, self._async_name_packs
            )
        )
        self.config_entry.async_on_unload(self._async_stop)
        self._async_follow_packs()

    @callback
    def async_add_listener(self, listener: CALLBACK_TYPE) -> CALLBACK_TYPE:
        """Call the listener with each new value; the result removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @property
    def _entries(self) -> dict[str, JkBmsConfigEntry]:
        """The entries of the packs by their ids, without those that were removed."""
        get = self.hass.config_entries.async_get_entry
        return {pack_id: entry for pack_id in self._pack_ids if (entry := get(pack_id))}

    @callback
    def _async_entry_changed(
        self, _change: ConfigEntryChange, entry: ConfigEntry[Any]
    ) -> None:
        if entry.entry_id in self._pack_ids:
            self._async_follow_packs()

    @callback
    def _async_name_packs(self, _event: Event[Any] | None = None) -> None:
        """Cache the names of the packs: a lookup for every value is expensive."""
        self._names = async_name_packs(self.hass, self._entries.values())

    @callback
    def _async_follow_packs(self) -> None:
        """Follow the coordinators of the packs that are loaded now, and no others."""
        entries = self._entries
        for pack_id in self._pack_ids:
            entry = entries.get(pack_id)
            is_loaded = entry is not None and entry.state is ConfigEntryState.LOADED
            coordinator = entry.runtime_data if entry and is_loaded else None
            followed = self._followed.get(pack_id)
            if followed and followed[0] is not coordinator:
                self._async_unfollow(pack_id)
            if coordinator and pack_id not in self._followed:
                self._async_follow(pack_id, coordinator)
        self._async_name_packs()
        self._async_update_issue(len(entries) < len(self._pack_ids))
        self._async_schedule()

    @callback
    def _async_follow(self, pack_id: str, coordinator: JkBmsCoordinator) -> None:
        store = EnergyStore.async_get(self.hass, pack_id)

        @callback
        def count() -> None:
            self.energy.async_count(pack_id, store.counters)

        @callback
        def read() -> None:
            before = self._readings.get(pack_id)
            if coordinator.last_update:
                self._readings[pack_id] = coordinator.data
            now = self._readings.get(pack_id)
            if before and now and _STATES(before.cell_data) != _STATES(now.cell_data):
                self._async_publish()
            else:
                self._async_schedule()

        self._followed[pack_id] = (
            coordinator,
            [store.async_add_listener(count), coordinator.async_add_listener(read)],
        )
        count()
        read()

    @callback
    def _async_unfollow(self, pack_id: str) -> None:
        _, unsubscribe = self._followed.pop(pack_id)
        for each in unsubscribe:
            each()

    @callback
    def _async_stop(self) -> None:
        for pack_id in tuple(self._followed):
            self._async_unfollow(pack_id)
        for cancel in (self._cancel_timer, self._cancel_expiry):
            if cancel:
                cancel()

    @callback
    def _async_schedule(self) -> None:
        """Schedule a publish that also covers readings of other packs until then."""
        if not self._cancel_timer:
            wait = self._published_at + PUBLISH_INTERVAL - self.hass.loop.time()
            self._cancel_timer = async_call_later(
                self.hass, max(wait, 0.0), self._publish_job
            )

    @callback
    def _async_publish(self, _now: datetime | None = None) -> None:
        """Combine the readings and call the listeners."""
        if self._cancel_timer:
            self._cancel_timer()
            self._cancel_timer = None
        now = self._published_at = self.hass.loop.time()
        limit = self.options.count_missing_for.total_seconds()
        packs = self.packs()
        self.data = self.combine(packs)
        ages = [pack.age for pack in packs if pack.age is not None]
        if ages:
            self.last_update = dt_util.utcnow() - timedelta(seconds=min(ages))
        self._current.feed(now, self.data.current, max_gap=self._max_gap)
        self._async_report_faults()
        # Nothing notifies us when a pack's last values become too old to be counted.
        if self._cancel_expiry:
            self._cancel_expiry()
            self._cancel_expiry = None
        expiries = [
            limit - pack.age
            for pack in packs
            if pack.age is not None and not pack.is_fresh and pack.age < limit
        ]
        if expiries:
            self._cancel_expiry = async_call_later(
                self.hass, min(expiries), self._expire_job
            )
        for listener in tuple(self._listeners):
            listener()

    @callback
    def _async_report_faults(self) -> None:
        """Fire an event for each fault that was raised or cleared since the last read."""
        device = dr.async_get(self.hass).async_get_device_by_identifier(
            (DOMAIN, self.config_entry.entry_id), self.config_entry.entry_id
        )
        for name in self.data.online:
            faults = {fault for pack, fault in self.data.faults if pack == name}
            for fault in sorted(faults ^ self._faults.get(name, faults)):
                self.hass.bus.async_fire(
                    EVENT_PACK_FAULT,
                    {
                        ATTR_DEVICE_ID: device.id if device else None,
                        "pack": name,
                        "fault": fault,
                        "raised": fault in faults,
                    },
                )
            self._faults[name] = faults

    @callback
    def _async_expire(self, _now: datetime) -> None:
        self._cancel_expiry = None
        self._async_schedule()

    @property
    def _max_gap(self) -> float:
        """The maximum time between two values of one smoothed current, s."""
        return max(
            (
                coordinator.options.max_age.total_seconds()
                for coordinator, _ in self._followed.values()
            ),
            default=0.0,
        )

    @callback
    def _async_update_issue(self, is_removed: bool) -> None:
        if not is_removed:
            async_clear_bank_issue(self.hass, self.config_entry)
            return
        ir.async_create_issue(
            self.hass,
            DOMAIN,
            _issue_id(self.config_entry),
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key=ISSUE_PACK_REMOVED,
            translation_placeholders={"name": self.config_entry.title},
        )


@callback
def async_clear_bank_issue(hass: HomeAssistant, entry: BankConfigEntry) -> None:
    """Delete the issue about a removed pack."""
    ir.async_delete_issue(hass, DOMAIN, _issue_id(entry))


def _issue_id(entry: BankConfigEntry) -> str:
    return f"{entry.entry_id}_{ISSUE_PACK_REMOVED}"
