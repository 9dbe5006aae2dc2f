"""Keeps the last changes of a battery's settings, and reports each as an event."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from homeassistant.const import ATTR_DEVICE_ID, CONF_ADDRESS
from homeassistant.core import Context, HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
from .coordinator import JkBmsConfigEntry
from .jkbms.bluetooth.writing import Outcome
from .jkbms.protocol.changes import Change
from .jkbms.protocol.registers import Value

EVENT_SETTING_CHANGED: Final = f"{DOMAIN}_setting_changed"
MAX_RECORDS: Final = 100
MASKED: Final = "********"
"""Stands for a secret value."""

RUNNERS: Final = ("automation", "script")
"""Domains of what can request a change without a user."""

_VERSION: Final = 1
_LEDGERS: HassKey[dict[str, Ledger]] = HassKey(f"{DOMAIN}_ledgers")
"""By config entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRecord:
    """One value that was sent to a battery, and what became of it."""

    time: str
    """ISO 8601, UTC."""
    user_id: str | None
    source: str | None
    """Entity id of the automation or script that requested it, or `timer`."""
    setting: str
    old: Value | None
    new: Value
    outcome: str
    """Of `Outcome`."""
    answer: Value | None
    """What the battery reported last."""


class Ledger:
    """The last changes of one battery; they outlive restarts."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Start without records; the entry id outlives a change of the address."""
        self.records: tuple[WriteRecord, ...] = ()
        """Oldest first."""
        self._store = Store[list[dict[str, Any]]](
            hass, _VERSION, f"{DOMAIN}.ledger.{entry_id}", atomic_writes=True
        )

    async def async_load(self) -> None:
        """Load the records; what is damaged is left out."""
        stored: object = await self._store.async_load()
        names = {field.name for field in fields(WriteRecord)}
        self.records = tuple(
            WriteRecord(**row)
            for row in (stored if isinstance(stored, list) else ())
            if isinstance(row, dict) and row.keys() == names
        )[-MAX_RECORDS:]

    @callback
    def async_add(self, record: WriteRecord) -> None:
        """Add a record and save at once: the change may cut the power."""
        self.records = (*self.records, record)[-MAX_RECORDS:]
        self._store.async_delay_save(lambda: [asdict(each) for each in self.records], 0)

    async def async_remove(self) -> None:
        """Remove what was saved."""
        await self._store.async_remove()


async def async_load_ledger(hass: HomeAssistant, entry_id: str) -> None:
    """Load the ledger of an entry unless this was done before a reload."""
    ledgers = hass.data.setdefault(_LEDGERS, {})
    if entry_id not in ledgers:
        ledger = Ledger(hass, entry_id)
        await ledger.async_load()
        ledgers[entry_id] = ledger


@callback
def async_get_ledger(hass: HomeAssistant, entry_id: str) -> Ledger:
    """Return the ledger of an entry that was loaded."""
    return hass.data[_LEDGERS][entry_id]


async def async_remove_ledger(hass: HomeAssistant, entry_id: str) -> None:
    """Remove the ledger of an entry, loaded or not."""
    ledger = hass.data.get(_LEDGERS, {}).pop(entry_id, None)
    await (ledger or Ledger(hass, entry_id)).async_remove()


@callback
def async_record_write(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    context: Context | None,
    change: Change,
    outcome: Outcome,
    answer: Value | None,
    source: str | None = None,
) -> None:
    """Add a change that was sent to the ledger, and fire its event."""
    old, new, answer = (
        MASKED if change.is_secret and value is not None else value
        for value in (change.old, change.new, answer)
    )
    assert new is not None
    record = WriteRecord(
        time=dt_util.utcnow().isoformat(),
        user_id=context.user_id if context else None,
        source=source or _source(hass, context),
        setting=change.setting,
        old=old,
        new=new,
        outcome=outcome,
        answer=answer,
    )
    async_get_ledger(hass, entry.entry_id).async_add(record)
    device = dr.async_get(hass).async_get_device_by_connection(
        (dr.CONNECTION_BLUETOOTH, entry.data[CONF_ADDRESS]), entry.entry_id
    )
    hass.bus.async_fire(
        EVENT_SETTING_CHANGED,
        {ATTR_DEVICE_ID: device.id if device else None} | asdict(record),
        context=context,
    )


@callback
def _source(hass: HomeAssistant, context: Context | None) -> str | None:
    """Return the automation or script that runs in this context."""
    if not context:
        return None
    running = (
        state.entity_id
        for state in hass.states.async_all(RUNNERS)
        if state.context.id == context.id
    )
    return next(running, None)
