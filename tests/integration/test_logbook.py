"""The battery's logbook as events: each new entry once, whatever happens in between."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from bluetooth_data_tools import monotonic_time_coarse
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms.event import JkBmsLogEvent
from custom_components.jk_bms.jkbms.models import Log, Reading
from custom_components.jk_bms.options import LinkBehaviour
from homeassistant.components.event import DATA_COMPONENT
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_UNKNOWN
from homeassistant.core import HomeAssistant, State
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.firmware import FIRMWARES
from tests.virtual_bms.scanner import VirtualProxy
from tests.virtual_bms.state import LogEntry

from . import note_events, pass_time, setup_integration, until
from .restore import dump_extra_data, load_states, store_extra_data

type MakeBms = Callable[..., VirtualBms]
type Events = list[dict[str, Any]]

pytestmark = pytest.mark.usefixtures("reads_only")

LOG = "event.house_24v_log_entry"
SOC = "sensor.house_24v_state_of_charge"
RUN_TIME = 31_557_600
"""s that the battery has run for, which stands still here."""
LOGBOOK = 0xA1
PACE = 300
DAY = 86400
BOOT, CHARGE_OVERCURRENT, CELL_3_OVERVOLTAGE, NOBODY_KNOWS = 0x01, 0x15, 0x66, 0xFE


async def read_logbook(entry: Any) -> None:
    """Read the logbook as an action does."""
    coordinator = entry.runtime_data
    await coordinator.async_use_now(coordinator.logs.async_read_logbook)


class Later:
    """How many s later it is, for the pace of the logbook alone."""

    seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return monotonic_time_coarse() + self.seconds


@pytest.fixture
def later() -> Iterator[Later]:
    """Let the coordinator's clock be set ahead."""
    later = Later()
    with patch(
        "custom_components.jk_bms.battery_logs.monotonic_time_coarse", side_effect=later
    ):
        yield later


@pytest.fixture
def events(hass: HomeAssistant) -> Events:
    """Record each new event."""
    return note_events(hass, LOG, "event_type", "time", "code", "cell")


@pytest.fixture
async def entry(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    events: Events,
    later: Later,
    entity_registry_enabled_by_default: None,
) -> MockConfigEntry:
    """Set up a battery whose logbook is followed, and which has been read once."""
    bms.battery.override(soc=40)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.LOADED
    assert LOGBOOK not in bms.registers
    await read(hass, later)
    return entry


@pytest.fixture
async def held(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    events: Events,
    later: Later,
    entity_registry_enabled_by_default: None,
) -> MockConfigEntry:
    """Set up a battery on a held link, whose logbook has been read once."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, link=LinkBehaviour.HELD)
    await look(entry, later, lambda: known(hass))
    return entry


async def read(hass: HomeAssistant, later: Later, seconds: float = PACE) -> None:
    """Let the battery be read, so long after the last time."""
    later.seconds += seconds
    await pass_time(hass)


async def look(
    entry: MockConfigEntry, later: Later, condition: Callable[[], object]
) -> None:
    """Let the battery on a held link be read, and wait for what follows from it."""
    later.seconds += PACE
    await entry.runtime_data.async_refresh()
    await until(condition)


def entity(hass: HomeAssistant) -> JkBmsLogEvent:
    """Return what stands behind the state."""
    found = hass.data[DATA_COMPONENT].get_entity(LOG)
    assert isinstance(found, JkBmsLogEvent)
    return found


def known(hass: HomeAssistant) -> Any:
    """Return the entries that will be known after a restart."""
    return entity(hass).extra_restore_state_data.as_dict()["known"]


def write(bms: VirtualBms, *codes: int, ago: int = 60) -> None:
    """Let the battery write into its logbook."""
    bms.battery.log += [LogEntry(RUN_TIME - ago, code) for code in codes]
    del bms.battery.log[:-50]


def types(events: Events) -> list[str]:
    """Return the events so far, and clear them."""
    types = [event["event_type"] for event in events]
    events.clear()
    return types


async def test_each_new_entry_is_an_event(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    events: Events,
    later: Later,
) -> None:
    """What stood there before is no news; each new entry is, with its time."""
    assert bms.registers.count(LOGBOOK) == 1
    assert hass.states.get(LOG).state == STATE_UNKNOWN
    write(bms, CHARGE_OVERCURRENT, CHARGE_OVERCURRENT, ago=3600)
    write(bms, CELL_3_OVERVOLTAGE, NOBODY_KNOWS, ago=5)
    await read(hass, later)
    times = [dt_util.utcnow() - datetime.fromisoformat(e.pop("time")) for e in events]
    assert events == [
        {"event_type": "charge_overcurrent", "code": CHARGE_OVERCURRENT},
        {"event_type": "charge_overcurrent", "code": CHARGE_OVERCURRENT},
        {"event_type": "cell_overvoltage", "code": CELL_3_OVERVOLTAGE, "cell": 3},
        {"event_type": "unknown", "code": NOBODY_KNOWS},
    ]
    for time, ago in zip(times, (3600, 3600, 5, 5), strict=True):
        assert ago - 2 < time.total_seconds() < ago + 30
    events.clear()
    await read(hass, later)
    assert events == []
    write(bms, CHARGE_OVERCURRENT, ago=3600)
    await read(hass, later)
    assert types(events) == ["charge_overcurrent"]


async def test_logbook_is_read_on_the_same_link_as_the_values(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    events: Events,
    later: Later,
) -> None:
    """No connection of its own is made, and it is read every five minutes at most."""
    connections = len(bms.connections)
    write(bms, BOOT)
    bms.battery.override(soc=41)
    await read(hass, later, seconds=30)
    assert bms.registers.count(LOGBOOK) == 1
    assert events == []
    bms.battery.override(soc=42)
    await read(hass, later, seconds=250)
    assert bms.registers.count(LOGBOOK) == 2
    assert types(events) == ["boot"]
    assert hass.states.get(SOC).state == "42"
    assert len(bms.connections) == connections + 2


async def test_logbook_is_not_read_without_the_entity(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, later: Later
) -> None:
    """The entity is disabled by default, and then the log is not read."""
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    registered = er.async_get(hass).async_get(LOG)
    assert registered
    assert registered.disabled_by is er.RegistryEntryDisabler.INTEGRATION
    await read(hass, later)
    assert LOGBOOK not in bms.registers


async def test_entity_exists_where_the_battery_has_a_logbook(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A battery that declares its commands, and not this one, has none any more."""
    bms = make_bms("JK_B2A8S20P 11.48")
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    (log,) = (row for row in entities(hass, entry) if row.endswith("log_entry"))
    masks = bytearray(bms.spec.firmware.info_masks)
    masks[LOGBOOK // 8] &= ~(1 << LOGBOOK % 8)
    firmware = replace(bms.spec.firmware, info_masks=bytes(masks))
    monkeypatch.setitem(FIRMWARES, bms.spec.family, firmware)
    assert await hass.config_entries.async_reload(entry.entry_id)
    await pass_time(hass)
    assert log not in entities(hass, entry)
    with pytest.raises(HomeAssistantError):
        await read_logbook(entry)
    assert LOGBOOK not in bms.registers


def entities(hass: HomeAssistant, entry: MockConfigEntry) -> set[str]:
    """Return the entity ids of an entry."""
    rows = er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
    return {row.entity_id for row in rows}


async def test_logbook_is_not_read_after_the_entity_was_removed(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """Switching the entity off ends the asking, even while it is under way."""
    coordinator = entry.runtime_data
    read_logbook = coordinator.client.read_logbook

    async def remove_meanwhile(publish: Callable[[Reading], None]) -> Log[Any]:
        log: Log[Any] = await read_logbook(publish)
        await entity(hass).async_remove()
        return log

    with patch.object(coordinator.client, "read_logbook", remove_meanwhile):
        await read(hass, later)
    assert coordinator.last_poll_successful
    assert bms.registers.count(LOGBOOK) == 2
    await read(hass, later)
    assert bms.registers.count(LOGBOOK) == 2


async def test_overwritten_entries_are_no_events(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    events: Events,
    later: Later,
) -> None:
    """The oldest entries make room; if all are new, all that are left are events."""
    write(bms, *range(1, 48))
    await read(hass, later)
    assert len(types(events)) == 47
    write(bms, 0x1B, 0x1C, ago=50)
    await read(hass, later)
    assert types(events) == [
        "charge_undertemperature",
        "charge_undertemperature_released",
    ]
    write(bms, *range(1, 61), ago=40)
    await read(hass, later)
    assert len(types(events)) == 50


async def test_cleared_logbook_starts_over(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    events: Events,
    later: Later,
) -> None:
    """A log that was cleared starts again."""
    bms.battery.log.clear()
    await read(hass, later)
    assert events == []
    write(bms, BOOT)
    await read(hass, later)
    assert types(events) == ["boot"]
    bms.battery.log.clear()
    write(bms, CHARGE_OVERCURRENT, ago=10)
    await read(hass, later)
    assert types(events) == ["charge_overcurrent"]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ([[0, 1], [27, 60], [3079, 68]], ["charge_overcurrent"]),
        ([[0, 1], [27, 60]], ["preset_lfp", "charge_overcurrent"]),
        ([], ["boot", "cell_count", "preset_lfp", "charge_overcurrent"]),
        (None, []),
    ],
)
async def test_entries_written_during_a_restart_are_events(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    proxy: VirtualProxy,
    bms: VirtualBms,
    events: Events,
    later: Later,
    entity_registry_enabled_by_default: None,
    stored: list[list[int]] | None,
    expected: list[str],
) -> None:
    """Entries that were written while Home Assistant was off become events."""
    await store_extra_data(
        hass,
        hass_storage,
        State(LOG, "2026-11-01T12:00:00.000+00:00"),
        {
            "last_event_type": "sleep",
            "last_event_attributes": {"code": 0x38},
            "known": stored,
        },
    )
    write(bms, CHARGE_OVERCURRENT)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    assert types(events) == ["sleep"]
    await read(hass, later)
    assert types(events) == expected


async def test_stored_entries_are_restored(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    bms: VirtualBms,
    entry: MockConfigEntry,
    events: Events,
    later: Later,
) -> None:
    """After a restart or a reload, known entries raise no second event."""
    write(bms, CHARGE_OVERCURRENT)
    await read(hass, later)
    stored = await dump_extra_data(hass, hass_storage)
    await load_states(hass)
    assert stored[LOG]["known"][-1] == [RUN_TIME - 60, CHARGE_OVERCURRENT]
    assert types(events) == ["charge_overcurrent"]
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    write(bms, BOOT, ago=10)
    await read(hass, later)
    assert types(events) == ["boot"]


async def test_unanswered_logbook_is_retried_after_a_day(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    events: Events,
    later: Later,
    short_answer_timeout: None,
    entity_registry_enabled_by_default: None,
) -> None:
    """Firmware without a logbook costs no reading, and is asked once a day."""
    bms.faults = Faults(never_answer={LOGBOOK})
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    asked = 0
    for soc, seconds, asks in ((41, PACE, 2), (42, PACE, 0), (43, DAY, 2)):
        bms.battery.override(soc=soc)
        await read(hass, later, seconds)
        assert hass.states.get(SOC).state == str(soc)
        asked += asks
        assert [c.register for c in bms.commands].count(LOGBOOK) == asked
    assert {attempt.outcome for attempt in entry.runtime_data.attempts} == {"read"}
    with pytest.raises(HomeAssistantError) as error:
        await read_logbook(entry)
    assert error.value.translation_key == "log_not_sent"
    await read(hass, later)
    assert [c.register for c in bms.commands].count(LOGBOOK) == asked + 2
    assert hass.states.get(LOG).state == STATE_UNKNOWN
    assert events == []


async def test_lost_logbook_is_retried_at_the_next_interval(
    hass: HomeAssistant,
    short_answer_timeout: None,
    bms: VirtualBms,
    entry: MockConfigEntry,
    events: Events,
    later: Later,
) -> None:
    """A battery that has answered before is asked again in five minutes."""
    write(bms, BOOT)
    bms.faults = Faults(never_answer={LOGBOOK})
    await read(hass, later)
    assert events == []
    bms.faults = Faults()
    await read(hass, later)
    assert types(events) == ["boot"]


async def test_link_lost_in_the_logbook_keeps_the_reading(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    events: Events,
    later: Later,
) -> None:
    """The values of that link count, and the entries come with the next."""
    write(bms, BOOT)
    bms.battery.override(soc=41)
    bms.faults = Faults(disconnect_in=0x05)
    await read(hass, later)
    assert hass.states.get(SOC).state == "41"
    assert events == []
    bms.faults = Faults()
    await read(hass, later)
    assert types(events) == ["boot"]


async def test_battery_out_of_range_fails_the_read(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    events: Events,
    later: Later,
) -> None:
    """A read that fails is a failure as ever, and the logbook stays due."""
    write(bms, BOOT)
    bms.faults = Faults(refuse_connection=True)
    await read(hass, later)
    assert not entry.runtime_data.last_poll_successful
    assert events == []
    bms.faults = Faults()
    await read(hass, later, seconds=30)
    assert types(events) == ["boot"]


async def test_logbook_is_read_on_the_held_link(
    hass: HomeAssistant,
    bms: VirtualBms,
    held: MockConfigEntry,
    events: Events,
    later: Later,
) -> None:
    """The held link serves the logbook too, every five minutes at most."""
    links = len(bms.connections)
    assert events == []
    await held.runtime_data.async_refresh()
    assert bms.registers.count(LOGBOOK) == 1
    write(bms, CHARGE_OVERCURRENT)
    await look(held, later, lambda: events)
    assert types(events) == ["charge_overcurrent"]
    assert bms.registers.count(LOGBOOK) == 2
    assert len(bms.connections) == links


async def test_unanswered_logbook_keeps_the_held_link(
    hass: HomeAssistant,
    short_answer_timeout: None,
    bms: VirtualBms,
    held: MockConfigEntry,
    events: Events,
    later: Later,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Values go on while the battery does not answer for its logbook."""
    caplog.set_level("DEBUG")
    links = len(bms.connections)
    bms.faults = Faults(never_answer={LOGBOOK})
    await look(held, later, lambda: bms.commands[-1].register == LOGBOOK)
    bms.battery.override(soc=77)
    async with asyncio.timeout(10):
        while hass.states.get(SOC).state != "77":
            # The first may be a frame that was on its way before.
            await held.runtime_data.async_refresh()
    await until(lambda: "the logbook was not read" in caplog.text)
    assert len(bms.connections) == links
    assert hass.states.get(LOG).state == STATE_UNKNOWN


async def test_release_does_not_wait_for_the_logbook(
    hass: HomeAssistant,
    bms: VirtualBms,
    held: MockConfigEntry,
    events: Events,
    later: Later,
) -> None:
    """A request for the link does not wait for the logbook."""
    write(bms, BOOT)
    bms.faults = Faults(never_answer={LOGBOOK})
    await look(held, later, lambda: bms.commands[-1].register == LOGBOOK)
    await held.runtime_data.async_release_link()
    assert not bms.connected
    assert events == []
    bms.faults = Faults()
    held.runtime_data.async_resume_link()
    await look(held, later, lambda: events)
    assert types(events) == ["boot"]


async def test_logbook_is_read_every_five_minutes(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """With the clock as it is, a few reads bring the logbook once."""
    for _ in range(3):
        await pass_time(hass, timedelta(seconds=30))
    assert bms.registers.count(LOGBOOK) == 1


async def test_action_postpones_the_logbook(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    events: Events,
    later: Later,
) -> None:
    """A read while an action reads a log does not wait for the logbook as well."""
    later.seconds += PACE
    write(bms, BOOT)
    await read_logbook(entry)
    await pass_time(hass)
    assert bms.registers.count(LOGBOOK) == 2
    assert events == []
    await read(hass, later)
    assert types(events) == ["boot"]
