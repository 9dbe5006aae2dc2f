"""Keeps the last changes of a battery's settings, and reports each as an event."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Final, override

from homeassistant.const import ATTR_DEVICE_ID
from homeassistant.core import Context, HomeAssistant, callback
from homeassistant.util import dt as dt_util

from .const import DOMAIN
from .coordinator import JkBmsConfigEntry
from .device import async_find_device
from .entry_store import EntryStore
from .jkbms.bluetooth.writing import Outcome, WriteResult
from .jkbms.models import MASK, Reading, Settings
from .jkbms.protocol.changes import Change
from .jkbms.protocol.registers import Value

EVENT_SETTING_CHANGED: Final = f"{DOMAIN}_setting_changed"
MAX_RECORDS: Final = 100

SOURCE_TIMER: Final = "timer"
"""Source of a timed undo, which no user requested."""
SOURCE_ELSEWHERE: Final = "elsewhere"
"""Source of a change that Home Assistant did not make."""
RUNNERS: Final = ("automation", "script")
"""Domains that can request a change without a user."""

_COMPARED: Final = tuple(
    field.name for field in fields(Settings) if field.name != "register_support"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRecord:
    """One setting that was written from here or changed elsewhere."""

    time: str
    """ISO 8601, UTC."""
    user_id: str | None
    source: str | None
    """Entity id of the automation or script that requested it, or a source above."""
    setting: str
    old: Value | None
    new: Value
    outcome: str
    """A value of `Outcome`."""
    answer: Value | None
    """What the battery reported last."""


class Ledger(EntryStore[list[dict[str, Any]]]):
    """The last changes of one battery; they outlive restarts."""

    kind = "ledger"

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Start without records."""
        super().__init__(hass, entry_id)
        self.records: tuple[WriteRecord, ...] = ()
        """Oldest first."""
        self._seen: dict[str, Value] = {}
        """Last reported value by setting; not kept across a restart."""
        self._sent: dict[str, Value] = {}
        """Value that was sent and not reported yet, by setting."""

    @override
    def _restore(self, stored: object) -> None:
        """Take the records; damaged ones are ignored."""
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

    @callback
    def async_note_sent(self, change: Change) -> None:
        """Expect the battery to report this value later, as one that was sent from here."""
        self._sent[change.setting] = change.new

    @callback
    def async_forget_seen(self) -> None:
        """Forget the last settings: the next may come from another battery."""
        self._seen, self._sent = {}, {}

    @callback
    def async_compare(self, settings: Settings) -> list[tuple[str, Value, Value]]:
        """Return names, old and new values of settings that others changed since the last call."""
        changes = []
        for name in _COMPARED:
            if (value := getattr(settings, name)) is None:
                # Missing, or unknown since a write.
                continue
            old = self._seen.get(name)
            self._seen[name] = value
            if old is None or old == value or self._sent.pop(name, None) == value:
                continue
            changes.append((name, old, value))
        return changes


@callback
def async_record_write(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    context: Context | None,
    result: WriteResult,
    source: str | None,
) -> None:
    """Add a change that was sent to the ledger, and fire its event."""
    change = result.change
    old, new, answer = (
        MASK if change.is_secret and value is not None else value
        for value in (change.old, change.new, result.answer)
    )
    assert new is not None
    record = WriteRecord(
        time=dt_util.utcnow().isoformat(),
        user_id=context.user_id if context else None,
        source=source,
        setting=change.setting,
        old=old,
        new=new,
        outcome=result.outcome,
        answer=answer,
    )
    _async_add(hass, entry, record, context)


@callback
def async_follow_settings(hass: HomeAssistant, entry: JkBmsConfigEntry) -> None:
    """Record what another app or device changes."""
    coordinator = entry.runtime_data
    ledger = Ledger.async_get(hass, entry.entry_id)

    @callback
    def compare() -> None:
        reading: Reading | None = coordinator.data
        if not reading or not reading.settings:
            return
        for setting, old, new in ledger.async_compare(reading.settings):
            record = WriteRecord(
                time=dt_util.utcnow().isoformat(),
                user_id=None,
                source=SOURCE_ELSEWHERE,
                setting=setting,
                old=old,
                new=new,
                outcome=Outcome.CONFIRMED,
                answer=new,
            )
            _async_add(hass, entry, record, None)

    compare()
    entry.async_on_unload(coordinator.async_add_listener(compare))


@callback
def _async_add(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    record: WriteRecord,
    context: Context | None,
) -> None:
    """Add a record to the ledger, and fire its event."""
    Ledger.async_get(hass, entry.entry_id).async_add(record)
    device = async_find_device(hass, entry)
    hass.bus.async_fire(
        EVENT_SETTING_CHANGED,
        {ATTR_DEVICE_ID: device.id if device else None} | asdict(record),
        context=context,
    )


@callback
def async_find_source(hass: HomeAssistant, context: Context | None) -> str | None:
    """Return the automation or script that runs in this context."""
    if not context:
        return None
    running = (
        state.entity_id
        for state in hass.states.async_all(RUNNERS)
        if state.context.id == context.id
    )
    return next(running, None)
