"""The base of what is stored for each config entry, one file for each kind and entry."""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Mapping, Sequence
import logging
from typing import Any, ClassVar, Final, Self

from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN

_LOGGER = logging.getLogger(__name__)
_VERSION: Final = 1
_STORES: HassKey[dict[tuple[str, str], EntryStore[Any]]] = HassKey(f"{DOMAIN}_stores")
"""Stores by kind and config entry id."""


class EntryStore[DataT: Mapping[str, Any] | Sequence[Any]](ABC):
    """A store of one entry; it outlives a reload of the entry."""

    kind: ClassVar[str]
    """Part of the name of the file."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Start empty; the entry id outlives a change of the address."""
        self._hass = hass
        self._key = f"{DOMAIN}.{self.kind}.{entry_id}"
        self._store = self._new_store()
        self._save_lock = asyncio.Lock()

    @classmethod
    async def async_open(cls, hass: HomeAssistant, entry_id: str) -> Self:
        """Return the store of an entry; load it unless this was done before a reload."""
        if not (opened := cls.async_find(hass, entry_id)):
            opened = cls(hass, entry_id)
            await opened.async_load()
            hass.data.setdefault(_STORES, {})[cls.kind, entry_id] = opened
        return opened

    @classmethod
    @callback
    def async_find(cls, hass: HomeAssistant, entry_id: str) -> Self | None:
        """Return the store of an entry if it was opened."""
        found = hass.data.get(_STORES, {}).get((cls.kind, entry_id))
        assert found is None or isinstance(found, cls)
        return found

    @classmethod
    @callback
    def async_get(cls, hass: HomeAssistant, entry_id: str) -> Self:
        """Return the store of an entry, which was opened."""
        found = cls.async_find(hass, entry_id)
        assert found
        return found

    @classmethod
    async def async_delete(cls, hass: HomeAssistant, entry_id: str) -> None:
        """Remove the store of an entry and its file, opened or not."""
        opened = hass.data.get(_STORES, {}).pop((cls.kind, entry_id), None)
        await (opened or cls(hass, entry_id)).async_remove()

    async def async_load(self) -> None:
        """Load what was saved; damaged data are ignored."""
        self._restore(await self._store.async_load())

    async def _async_save(self, data: DataT) -> object:
        """Save, and return what is on the disk now: older data if the write failed.

        A `Store` only logs that. Returns `None` if there is nothing to read.
        """
        async with self._save_lock:
            try:
                await self._store.async_save(data)
                # A store that is waiting to write returns that, so ask another one.
                return await self._new_store().async_load()
            except (OSError, HomeAssistantError) as error:
                _LOGGER.error("%s was not saved: %s", self._key, error)
                return None

    def _new_store(self) -> Store[DataT]:
        return Store(self._hass, _VERSION, self._key, atomic_writes=True)

    async def async_remove(self) -> None:
        """Remove what was saved."""
        await self._store.async_remove()

    @abstractmethod
    def _restore(self, stored: object) -> None:
        """Take what was saved, which may be damaged; `None` if there is nothing."""
