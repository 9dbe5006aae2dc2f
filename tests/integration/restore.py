"""What outlives a restart of Home Assistant, through its store."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import json
from typing import Any
from unittest.mock import patch

from homeassistant.core import HomeAssistant, State
from homeassistant.helpers.json import json_dumps
from homeassistant.helpers.restore_state import STORAGE_KEY, STORAGE_VERSION, async_get
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util
from homeassistant.util.file import WriteError


async def store_extra_data(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    state: State,
    extra_data: Mapping[str, Any] | None,
) -> None:
    """Let this state be the one that the last run of Home Assistant stored."""
    hass_storage[STORAGE_KEY] = {
        "key": STORAGE_KEY,
        "version": STORAGE_VERSION,
        "minor_version": 1,
        "data": [
            {
                "state": json.loads(json_dumps(state.as_dict())),
                "extra_data": extra_data,
                "last_seen": dt_util.utcnow().isoformat(),
            }
        ],
    }
    await load_states(hass)


async def load_states(hass: HomeAssistant) -> None:
    """Load what was stored, as a start of Home Assistant does."""
    await async_get(hass).async_load()


async def dump_extra_data(
    hass: HomeAssistant, hass_storage: dict[str, Any]
) -> dict[str, Any]:
    """Store the states, as a stop does, and return their extra data by entity id."""
    await async_get(hass).async_dump_states()
    stored = json.loads(json_dumps(hass_storage[STORAGE_KEY]["data"]))
    return {item["state"]["entity_id"]: item["extra_data"] for item in stored}


@contextmanager
def full_disk() -> Iterator[None]:
    """Let every write of a store fail, which Home Assistant only logs."""
    error = WriteError("No space left on device")
    with patch.object(Store, "_async_write_data", side_effect=error):
        yield
