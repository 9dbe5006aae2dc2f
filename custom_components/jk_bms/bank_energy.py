"""Stores the energy counters of a bank, and what they saw of the packs' counters."""

from collections.abc import Collection, Mapping
from typing import Final, override

from homeassistant.core import HomeAssistant, callback

from .energy_store import EnergyStore, async_get_energy, async_load_energy
from .jkbms.bank import EnergyCounter

KEYS: Final = ("energy_charged", "energy_discharged")
"""Of the counters, in the stores of the packs as well."""


class BankEnergyStore(EnergyStore):
    """The counters of one bank.

    They grow by what the packs have saved, so no crash makes a bank count twice.
    """

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Start without counters."""
        super().__init__(hass, entry_id)
        self._counters = {key: EnergyCounter() for key in KEYS}

    @override
    async def async_load(self) -> None:
        """Load the totals and the counters that were last seen."""
        await super().async_load()
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
        """Forget the packs that are no members any more."""
        for counter in self._counters.values():
            counter.keep(packs)

    @callback
    def async_count(self, pack: str, saved: Mapping[str, float]) -> None:
        """Count by what a pack has saved; a pack without a counter is not counted."""
        for key, counter in self._counters.items():
            if key in saved:
                counter.feed(pack, saved[key])
        self.async_schedule_save()

    @property
    def totals(self) -> dict[str, float]:
        """The energy as it was saved last, in kWh."""
        return {key: self.saved.get(key, 0.0) for key in KEYS}

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


async def async_load_bank_energy(hass: HomeAssistant, entry_id: str) -> None:
    """Load the counters of a bank unless this was done before a reload."""
    await async_load_energy(hass, entry_id, BankEnergyStore)


@callback
def async_get_bank_energy(hass: HomeAssistant, entry_id: str) -> BankEnergyStore:
    """Return the counters of a bank that were loaded."""
    store = async_get_energy(hass, entry_id)
    assert isinstance(store, BankEnergyStore)
    return store
