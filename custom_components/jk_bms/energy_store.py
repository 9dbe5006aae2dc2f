"""Stores the energy counters so that neither a crash nor a winter out of use decreases them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from math import inf
from typing import Final, Literal

from homeassistant.const import EVENT_HOMEASSISTANT_FINAL_WRITE
from homeassistant.core import CALLBACK_TYPE, CoreState, Event, HomeAssistant, callback
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.storage import Store
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
from .energy import EnergyMeter

# The minimum time between two saves, in seconds, and so the most that a crash can lose:
# short compared with an hour of statistics, and long enough to spare an SD card.
SAVE_INTERVAL: Final = 60.0

_VERSION: Final = 1
_STORES: HassKey[dict[str, EnergyStore]] = HassKey(f"{DOMAIN}_energy")
"""Stores by config entry id."""


class EnergyStore:
    """The counters of one battery; they outlive a reload of its entry.

    A total is shown only once it is saved. After a crash a counter thus never starts
    below a state that was recorded, which statistics would take for a new meter.
    """

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Start without counters; the entry id outlives a change of the address."""
        self.saved: Mapping[str, float] = {}
        """The totals in kWh as of the last save."""
        self._hass = hass
        self._store = Store[dict[str, float]](
            hass, _VERSION, f"{DOMAIN}.energy.{entry_id}", atomic_writes=True
        )
        self._meters: dict[str, EnergyMeter] = {}
        self._listeners: set[Callable[[], None]] = set()
        self._saved_at = -inf
        self._cancel_timer: CALLBACK_TYPE | None = None
        self._unsubscribe = hass.bus.async_listen_once(
            EVENT_HOMEASSISTANT_FINAL_WRITE, self.async_save
        )

    async def async_load(self) -> None:
        """Load the totals; damaged ones are ignored."""
        stored: object = await self._store.async_load()
        if isinstance(stored, dict):
            self.saved = {
                key: total
                for key, total in stored.items()
                if isinstance(total, float) and 0 <= total < inf
            }

    def meter(self, key: str, sign: Literal[1, -1]) -> EnergyMeter:
        """Return the counter with this key, from now on saved with the others."""
        if key not in self._meters:
            self._meters[key] = EnergyMeter(sign, self.saved.get(key, 0.0))
        return self._meters[key]

    @property
    def counters(self) -> dict[str, float]:
        """The saved total of each counter; one that was never saved is at 0."""
        return {**dict.fromkeys(self._meters, 0.0), **self.saved}

    @callback
    def async_add_listener(self, listener: Callable[[], None]) -> CALLBACK_TYPE:
        """Call the listener after each save."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    @callback
    def async_schedule_save(self) -> None:
        """Save what was counted, a minute after the last save."""
        if not self._cancel_timer:
            passed = self._hass.loop.time() - self._saved_at
            self._cancel_timer = async_call_later(
                self._hass, max(0.0, SAVE_INTERVAL - passed), self.async_save
            )

    async def async_save(self, _reason: datetime | Event | None = None) -> None:
        """Save the totals if they changed, then call the listeners."""
        self._async_cancel_timer()
        totals = self._totals
        # While Home Assistant stops, a store only schedules the save; the final write
        # does it.
        if totals == self.saved or self._hass.state is CoreState.stopping:
            return
        self._saved_at = self._hass.loop.time()
        await self._store.async_save(totals)
        self.saved = totals
        for listener in tuple(self._listeners):
            listener()

    async def async_remove(self) -> None:
        """Remove what was saved."""
        self._async_cancel_timer()
        self._unsubscribe()
        await self._store.async_remove()

    @property
    def _totals(self) -> dict[str, float]:
        """Return what to save."""
        meters = {key: meter.total for key, meter in self._meters.items()}
        return {**self.saved, **meters}

    @callback
    def _async_cancel_timer(self) -> None:
        if self._cancel_timer:
            self._cancel_timer()
            self._cancel_timer = None


async def async_load_energy(
    hass: HomeAssistant, entry_id: str, kind: type[EnergyStore] = EnergyStore
) -> None:
    """Load the counters of an entry unless this was done before a reload."""
    stores = hass.data.setdefault(_STORES, {})
    if entry_id not in stores:
        store = kind(hass, entry_id)
        await store.async_load()
        stores[entry_id] = store


@callback
def async_get_energy(hass: HomeAssistant, entry_id: str) -> EnergyStore:
    """Return the counters of an entry that were loaded."""
    return hass.data[_STORES][entry_id]


async def async_save_energy(hass: HomeAssistant, entry_id: str) -> None:
    """Save the counters of an entry that is unloaded."""
    if store := hass.data.get(_STORES, {}).get(entry_id):
        await store.async_save()


async def async_remove_energy(hass: HomeAssistant, entry_id: str) -> None:
    """Remove the counters of an entry, loaded or not."""
    store = hass.data.get(_STORES, {}).pop(entry_id, None)
    await (store or EnergyStore(hass, entry_id)).async_remove()
