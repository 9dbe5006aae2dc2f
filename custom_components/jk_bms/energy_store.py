"""Stores the energy counters so that neither a crash nor a winter out of use decreases them."""

from collections.abc import Callable, Mapping
from datetime import datetime
import logging
from math import inf
from typing import Final, Literal, override

from homeassistant.const import EVENT_HOMEASSISTANT_FINAL_WRITE
from homeassistant.core import CALLBACK_TYPE, CoreState, Event, HomeAssistant, callback
from homeassistant.helpers.event import async_call_later

from .energy import EnergyMeter
from .entry_store import EntryStore

_LOGGER = logging.getLogger(__name__)

# The minimum time between two saves, in seconds, and so the most that a crash can lose:
# short compared with an hour of statistics, and long enough to spare an SD card.
SAVE_INTERVAL: Final = 60.0


class EnergyStore(EntryStore[dict[str, float]]):
    """The counters of one battery; they outlive a reload of its entry.

    A total is shown only once it is saved. After a crash a counter thus never starts
    below a state that was recorded, which statistics would take for a new meter.
    """

    kind = "energy"

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Start without counters."""
        super().__init__(hass, entry_id)
        self.saved: Mapping[str, float] = {}
        """The totals in kWh that are on the disk."""
        self._meters: dict[str, EnergyMeter] = {}
        self._counts: set[Callable[[], None]] = set()
        self._listeners: set[Callable[[], None]] = set()
        self._saved_at = -inf
        self._cancel_timer: CALLBACK_TYPE | None = None
        self._unsubscribe = hass.bus.async_listen_once(
            EVENT_HOMEASSISTANT_FINAL_WRITE, self.async_save
        )

    @override
    def _restore(self, stored: object) -> None:
        """Take the totals; damaged ones are ignored."""
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
    def async_count_before_save(self, count: Callable[[], None]) -> CALLBACK_TYPE:
        """Call `count` before each save: it counts what has arrived until then."""
        self._counts.add(count)
        return lambda: self._counts.discard(count)

    @callback
    def async_schedule_save(self) -> None:
        """Save what was counted, a minute after the last save."""
        if not self._cancel_timer:
            passed = self._hass.loop.time() - self._saved_at
            self._cancel_timer = async_call_later(
                self._hass, max(0.0, SAVE_INTERVAL - passed), self.async_save
            )

    async def async_save(self, _reason: datetime | Event | None = None) -> None:
        """Save the totals if they changed, then call the listeners.

        After a failed write, another one is scheduled.
        """
        for count in tuple(self._counts):
            try:
                count()
            except Exception:
                _LOGGER.exception("Error while counting energy")
        self._async_cancel_timer()
        totals = self._totals
        # While Home Assistant stops, a store only schedules the save; the final write
        # does it.
        if totals == self.saved or self._hass.state is CoreState.stopping:
            return
        self._saved_at = self._hass.loop.time()
        if await self._async_save(totals) != totals:
            self.async_schedule_save()
            return
        self.saved = totals
        for listener in tuple(self._listeners):
            listener()

    @override
    async def async_remove(self) -> None:
        """Remove what was saved."""
        self._async_cancel_timer()
        self._unsubscribe()
        await super().async_remove()

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
