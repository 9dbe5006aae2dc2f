"""Stores the energy counters of a bank and the pack totals that they last saw."""

from collections.abc import Collection, Mapping
from typing import Final, override

from homeassistant.core import HomeAssistant, callback

from .energy_store import EnergyStore
from .jkbms.bank import EnergyCounter

KEYS: Final = ("energy_charged", "energy_discharged")
"""Keys of the counters, the same as in the stores of the packs."""


class BankEnergyStore(EnergyStore):
    """The counters of one bank.

    They grow by what the packs have saved, so no crash makes a bank count twice.
    """

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Start without counters."""
        super().__init__(hass, entry_id)
        self._counters = {key: EnergyCounter() for key in KEYS}
        self._packs: Collection[str] = ()

    @override
    def _restore(self, stored: object) -> None:
        """Take the totals and the counters that were last seen."""
        super()._restore(stored)
        for key, counter in self._counters.items():
            counter.total = self.saved.get(key, 0.0)
            prefix = f"{key}."
            counter.seen = {
                name.removeprefix(prefix): seen
                for name, seen in self.saved.items()
                if name.startswith(prefix)
            }

    @callback
    def keep(self, packs: Collection[str]) -> None:
        """Keep the counters of these members, and forget those of all others."""
        self._packs = packs
        for counter in self._counters.values():
            counter.keep(packs)

    @callback
    def async_count(self, pack: str, counters: Mapping[str, float]) -> None:
        """Count the growth of a pack's counters, as they were saved; it may have none."""
        for key, counter in self._counters.items():
            if key in counters:
                counter.feed(pack, counters[key])
        self.async_schedule_save()

    @property
    def totals(self) -> dict[str, float]:
        """The energy as it was saved last, in kWh.

        A total is left out if a pack has no counter, such as one that does not measure
        its current: it would be the energy of only some packs.
        """
        return {
            key: self.saved.get(key, 0.0)
            for key, counter in self._counters.items()
            if counter.seen.keys() >= set(self._packs)
        }

    @property
    @override
    def _totals(self) -> dict[str, float]:
        return {
            name: value
            for key, counter in self._counters.items()
            for name, value in (
                (key, counter.total),
                *((f"{key}.{pack}", seen) for pack, seen in counter.seen.items()),
            )
        }
