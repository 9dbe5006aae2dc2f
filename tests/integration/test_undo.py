"""Changes for a while: undone once, proven, and only if nothing speaks against it."""

import asyncio
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms import undo
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.controls import async_read_settings
from custom_components.jk_bms.coordinator import JkBmsCoordinator
from custom_components.jk_bms.jkbms.bluetooth.session import Session
from custom_components.jk_bms.jkbms.bluetooth.writing import Writer
from custom_components.jk_bms.jkbms.models import Reading
from custom_components.jk_bms.jkbms.protocol.frames import FrameType
from custom_components.jk_bms.ledger import Ledger
from custom_components.jk_bms.timed_changes import TimedChanges
from custom_components.jk_bms.undo import ISSUE_TIMED_CHANGE_LAPSED
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import (
    ATTR_CONFIG_ENTRY_ID,
    EVENT_HOMEASSISTANT_STOP,
    SERVICE_TURN_OFF,
    SERVICE_TURN_ON,
    STATE_OFF,
    STATE_ON,
)
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import fire_timers, setup_integration, until
from .controls import TUNING, act, written
from .restore import full_disk

CHARGING = "switch.garage_charging"
CHARGE = "number.garage_requested_charge_voltage"
OFF, ON = (0x1D, "00000000"), (0x1D, "01000000")
HOUR = timedelta(hours=1)
SOUND = {
    "values": [False],
    "before": True,
    "due": 9e9,
    "lasts": 3600.0,
    "is_sent": False,
}
"""A stored change."""
DAMAGED_TIMES = [1e308, -1, -1e308, 10**30, inf, nan, "1", None, True, [], {}]

pytestmark = pytest.mark.usefixtures("entity_registry_enabled_by_default")

type Later = Callable[[timedelta], None]


@pytest.fixture
def model() -> str:
    """Take a battery that accepts most settings."""
    return "JK_PB2A16S20P 15.41"


@pytest.fixture
async def entry(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> MockConfigEntry:
    """Set up a battery whose settings may be changed."""
    proxy.advertise(bms)
    return await setup_integration(hass, bms, **TUNING)


@pytest.fixture
def later(hass: HomeAssistant, entry: MockConfigEntry) -> Later:
    """Return what lets time pass for the changes and the timers.

    The clocks themselves are Bluetooth's as well, which would lose the battery.
    """

    def move(delay: timedelta) -> None:
        timed = TimedChanges.async_get(hass, entry.entry_id)
        timed.async_save(
            {
                name: replace(change, due=change.due - delay.total_seconds())
                for name, change in timed.changes.items()
            }
        )
        fire_timers(hass, delay)

    return move


async def change(
    hass: HomeAssistant, entry: MockConfigEntry, hours: int = 1, **settings: Any
) -> dict[str, Any]:
    """Change settings for some hours."""
    response: Any = await hass.services.async_call(
        DOMAIN,
        "set_settings",
        {
            ATTR_CONFIG_ENTRY_ID: entry.entry_id,
            "settings": settings,
            "for": {"hours": hours},
        },
        blocking=True,
        return_response=True,
    )
    return dict(response)


def pending(hass: HomeAssistant, entry: MockConfigEntry) -> set[str]:
    """Return what is still to be undone."""
    return {*TimedChanges.async_get(hass, entry.entry_id).changes}


def lapsed(hass: HomeAssistant) -> list[str]:
    """Return the settings whose change was given up."""
    return [
        issue.issue_id.rpartition("_lapsed_")[2]
        for issue in ir.async_get(hass).issues.values()
        if issue.translation_key == ISSUE_TIMED_CHANGE_LAPSED
    ]


async def test_value_before_is_written_back_after_the_time(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """Announced in the attributes, written once, and recorded as the timer's."""
    charge = bms.battery.settings.request_charge_voltage
    before = dt_util.utcnow()
    await change(hass, entry, charging=False, request_charge_voltage=3.4)
    attributes = hass.states.get(CHARGING).attributes
    assert attributes["returns_to"] is True
    assert before + HOUR <= attributes["returns_at"] <= dt_util.utcnow() + HOUR
    assert hass.states.get(CHARGE).attributes["returns_to"] == charge
    later(HOUR / 2)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(written(bms)) == 2
    later(HOUR / 2 + timedelta(seconds=5))
    await until(lambda: not pending(hass, entry))
    await until(lambda: hass.states.get(CHARGING).state == STATE_ON)
    assert len(written(bms)) == 4
    assert bms.battery.settings.charging
    assert bms.battery.settings.request_charge_voltage == charge
    assert "returns_at" not in hass.states.get(CHARGING).attributes
    assert [
        record.source for record in Ledger.async_get(hass, entry.entry_id).records
    ] == [None, None, "timer", "timer"]


async def test_pending_change_survives_a_restart(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    bms: VirtualBms,
    entry: MockConfigEntry,
    later: Later,
) -> None:
    """What became due meanwhile is undone at the next reading."""
    await change(hass, entry, charging=False)
    key = f"jk_bms.timed_changes.{entry.entry_id}"
    (timer,) = TimedChanges.async_get(hass, entry.entry_id).changes.values()
    await until(lambda: hass_storage[key]["data"]["charging"]["due"] == timer.due)
    stored = TimedChanges(hass, entry.entry_id)
    await stored.async_load()
    assert stored.changes == TimedChanges.async_get(hass, entry.entry_id).changes
    assert await hass.config_entries.async_unload(entry.entry_id)
    later(2 * HOUR)
    assert written(bms) == [OFF]
    assert await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: written(bms) == [OFF, ON])
    await until(lambda: not pending(hass, entry))
    await hass.config_entries.async_remove(entry.entry_id)
    assert key not in hass_storage


async def test_change_made_since_is_kept(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """Neither a newer request nor a change in the app is undone."""
    await change(hass, entry, charging=False, discharging=False)
    await act(hass, CHARGING, SERVICE_TURN_ON)
    assert pending(hass, entry) == {"discharging"}
    bms.battery.settings = replace(bms.battery.settings, discharging=True)
    sent = written(bms)
    later(HOUR + timedelta(seconds=5))
    await until(lambda: not pending(hass, entry))
    await hass.async_block_till_done()
    assert written(bms) == sent


async def test_same_request_again_extends_the_time(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """The value to return to is still the one from before; without a time it stays."""
    await change(hass, entry, charging=False)
    first = hass.states.get(CHARGING).attributes["returns_at"]
    later(timedelta(minutes=10))
    await change(hass, entry, charging=False)
    attributes = hass.states.get(CHARGING).attributes
    assert attributes["returns_at"] > first
    assert attributes["returns_to"] is True
    await act(hass, CHARGING, SERVICE_TURN_OFF)
    assert pending(hass, entry) == set()
    assert written(bms) == [OFF]


async def test_charge_alarm_keeps_charging_off(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """Undoing waits until the alarm is cleared, and lapses after a day."""
    await change(hass, entry, charging=False)
    bms.battery.override(alarms=1 << 9)
    await entry.runtime_data.async_refresh()
    later(HOUR + timedelta(seconds=5))
    await hass.async_block_till_done(wait_background_tasks=True)
    assert written(bms) == [OFF]
    assert pending(hass, entry) == {"charging"}
    later(timedelta(hours=25))
    await hass.async_block_till_done(wait_background_tasks=True)
    assert pending(hass, entry) == set()
    assert lapsed(hass) == ["charging"]
    assert written(bms) == [OFF]
    await act(hass, CHARGING, SERVICE_TURN_ON)
    assert lapsed(hass) == []


async def test_undoing_that_is_not_confirmed_is_not_repeated(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """The value is written back once; if that is not confirmed, an issue says so."""
    await change(hass, entry, charging=False)
    bms.faults = Faults(ignore_writes=True)
    later(HOUR + timedelta(seconds=5))
    await until(lambda: lapsed(hass) == ["charging"])
    await hass.async_block_till_done(wait_background_tasks=True)
    assert written(bms) == [OFF, ON]
    assert hass.states.get(CHARGING).state == STATE_OFF


async def test_unconfirmed_change_is_undone_if_it_was_made(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """A lost link must not leave charging off for ever."""
    bms.faults = Faults(drop_at_write="during")
    with pytest.raises(HomeAssistantError):
        await change(hass, entry, charging=False)
    bms.faults = Faults()
    assert pending(hass, entry) == {"charging"}
    await until(lambda: hass.states.get(CHARGING).state == STATE_OFF)
    later(HOUR + timedelta(seconds=5))
    await until(lambda: written(bms) == [OFF, ON])
    await until(lambda: not pending(hass, entry))


async def test_controls_that_are_off_undo_nothing(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """The owner decides; the issue names the setting."""
    await change(hass, entry, charging=False)
    hass.config_entries.async_update_entry(entry, options={"controls": "read_only"})
    assert await hass.config_entries.async_reload(entry.entry_id)
    later(HOUR + timedelta(seconds=5))
    await until(lambda: lapsed(hass) == ["charging"])
    assert written(bms) == [OFF]


async def test_undoing_waits_while_the_link_is_turned_off(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """The change is undone once the link is used again."""
    await change(hass, entry, charging=False)
    later(HOUR - timedelta(minutes=1))
    await entry.runtime_data.async_release_link()
    later(timedelta(minutes=2))
    await hass.async_block_till_done()
    assert written(bms) == [OFF]
    entry.runtime_data.async_resume_link()
    await until(lambda: written(bms) == [OFF, ON])
    await until(lambda: not pending(hass, entry))


@pytest.mark.parametrize("is_in_app", [False, True])
async def test_change_made_while_undoing_waits_for_the_link_is_kept(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    later: Later,
    monkeypatch: pytest.MonkeyPatch,
    is_in_app: bool,
) -> None:
    """Between the reading that finds our value and the write, somebody decides."""
    await change(hass, entry, request_charge_voltage=3.4)

    async def read_and_decide(coordinator: JkBmsCoordinator) -> Reading:
        reading = await async_read_settings(coordinator)
        if is_in_app:
            settings = replace(bms.battery.settings, request_charge_voltage=3.42)
            bms.battery.settings = settings
        else:
            # It lasts from now on
            await hass.services.async_call(
                DOMAIN,
                "set_settings",
                {
                    ATTR_CONFIG_ENTRY_ID: entry.entry_id,
                    "settings": {"request_charge_voltage": 3.4},
                },
                blocking=True,
            )
        return reading

    monkeypatch.setattr(undo, "async_read_settings", read_and_decide)
    later(HOUR + timedelta(seconds=5))
    await until(lambda: not pending(hass, entry))
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(written(bms)) == 1
    assert pending(hass, entry) == set()
    assert lapsed(hass) == []


async def test_undoing_that_is_due_when_everything_stops_is_kept(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """Nothing was sent, so it is sent at the next start."""
    await change(hass, entry, charging=False)
    entry.runtime_data.is_shut_down = True
    later(HOUR + timedelta(seconds=5))
    await hass.async_block_till_done(wait_background_tasks=True)
    (timer,) = TimedChanges.async_get(hass, entry.entry_id).changes.values()
    assert not timer.is_sent
    assert lapsed(hass) == []
    assert written(bms) == [OFF]


async def test_only_some_settings_can_be_changed_for_a_while(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The sentence says which."""
    with pytest.raises(
        ServiceValidationError, match=r"\(soc_0\) cannot be changed temporarily"
    ):
        await change(hass, entry, soc_0=2.6)
    assert written(bms) == []


@pytest.mark.parametrize(
    "stored",
    [
        [],
        {"charging": 1},
        {"cell_ovp": {}},
        {"charging": SOUND | {"values": 1}},
        {"charging": SOUND | {"values": [1]}},
        {"charging": SOUND | {"values": [[]]}},
        {"charging": SOUND | {"before": 1}},
        {"charging": SOUND | {"before": None}},
        {"charging": SOUND | {"is_sent": None}},
        *({"charging": SOUND | {"due": due}} for due in DAMAGED_TIMES),
        *({"charging": SOUND | {"lasts": lasts}} for lasts in DAMAGED_TIMES),
        {"request_charge_voltage": SOUND},
        {"request_charge_voltage": SOUND | {"values": [3.4], "before": inf}},
        {"request_charge_voltage": SOUND | {"values": [nan], "before": 3.4}},
        {"cell_ovp": SOUND},
        {"charging": {}},
        None,
    ],
)
async def test_damaged_store_undoes_nothing(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    proxy: VirtualProxy,
    bms: VirtualBms,
    stored: Any,
) -> None:
    """Damaged rows are left out, and the entry is set up all the same."""
    key = f"jk_bms.timed_changes.{bms.address}"
    hass_storage[key] = {"version": 1, "minor_version": 1, "key": key, "data": stored}
    bms.battery.settings = replace(bms.battery.settings, charging=False)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, **TUNING)
    assert entry.state is ConfigEntryState.LOADED
    assert pending(hass, entry) == set()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert written(bms) == []


async def test_sound_store_is_loaded(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    proxy: VirtualProxy,
    bms: VirtualBms,
) -> None:
    """Or the test of the damaged one would prove nothing."""
    key = f"jk_bms.timed_changes.{bms.address}"
    data = {"charging": SOUND, "cell_ovp": SOUND}
    hass_storage[key] = {"version": 1, "minor_version": 1, "key": key, "data": data}
    bms.battery.settings = replace(bms.battery.settings, charging=False)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, **TUNING)
    assert pending(hass, entry) == {"charging"}


async def test_clock_that_is_set_back_does_not_extend_the_time(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """A clock that was a year ahead when charging was turned off keeps it off an hour."""
    await change(hass, entry, charging=False)
    later(timedelta(days=-365))
    await entry.runtime_data.async_refresh()
    (timer,) = TimedChanges.async_get(hass, entry.entry_id).changes.values()
    assert timer.due_at <= dt_util.utcnow() + HOUR
    later(HOUR + timedelta(seconds=5))
    await until(lambda: not pending(hass, entry))
    assert written(bms) == [OFF, ON]


@pytest.mark.parametrize(
    ("first", "second", "early", "late"),
    [
        # Lowered again: charge at its time, and float with it
        (("charge", 3.55), ("float", 3.5), {"charge", "float"}, set()),
        # Raised again: float waits for charge
        (("float", 3.2), ("charge", 3.25), set(), {"charge", "float"}),
        # Neither is in the way of the other
        (("charge", 3.55), ("float", 3.3), {"charge"}, {"float"}),
    ],
)
async def test_voltages_return_in_their_order(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    later: Later,
    first: tuple[str, float],
    second: tuple[str, float],
    early: set[str],
    late: set[str],
) -> None:
    """The one that is due first may have to take the other along, or to wait for it."""
    original = replace(
        bms.battery.settings, request_charge_voltage=3.45, request_float_voltage=3.35
    )
    bms.battery.settings = original
    await entry.runtime_data.async_refresh()
    for (name, value), hours in ((first, 1), (second, 2)):
        await change(hass, entry, hours, **{f"request_{name}_voltage": value})
    sent = len(written(bms))
    later(HOUR + timedelta(seconds=5))
    await until(lambda: len(written(bms)) == sent + len(early))
    await hass.async_block_till_done(wait_background_tasks=True)
    assert pending(hass, entry) == {f"request_{name}_voltage" for name in late}
    later(HOUR)
    await until(lambda: not pending(hass, entry))
    await hass.async_block_till_done(wait_background_tasks=True)
    assert bms.battery.settings == original
    assert lapsed(hass) == []
    assert len(written(bms)) == sent + 2


@pytest.mark.parametrize(("before", "is_undone"), [(3.4, True), (3.6, False)])
async def test_charge_alarm_lets_the_charge_voltage_down(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    later: Later,
    before: float,
    is_undone: bool,
) -> None:
    """Only writing back a higher voltage waits for the alarm to end."""
    bms.battery.settings = replace(bms.battery.settings, request_charge_voltage=before)
    await change(hass, entry, request_charge_voltage=3.5)
    bms.battery.override(alarms=1 << 9)
    await entry.runtime_data.async_refresh()
    later(HOUR + timedelta(seconds=5))
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(written(bms)) == (2 if is_undone else 1)
    assert pending(hass, entry) == (set() if is_undone else {"request_charge_voltage"})


# Cut off in the middle


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Stuck:
    """Return what can make proofs fail: by silence, or by an error nobody expects."""
    stuck = Stuck()
    read_back = Writer._read_back

    async def hang(writer: Writer, session: Session, proof: FrameType) -> bool:
        stuck.proofs += 1
        if stuck.proofs < stuck.at:
            return await read_back(writer, session, proof)
        if stuck.error:
            raise stuck.error
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(Writer, "_read_back", hang)
    return stuck


class Stuck:
    """From which proof on none comes."""

    proofs = 0
    at: float = inf
    error: Exception | None = None


async def test_nothing_is_sent_before_the_timer_is_saved(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request that is cancelled while saving sends nothing and leaves no timer."""
    saving = asyncio.Event()

    async def hang(*_: object) -> None:
        saving.set()
        await asyncio.Event().wait()

    timed = TimedChanges.async_get(hass, entry.entry_id)
    monkeypatch.setattr(timed._store, "async_save", hang)
    task = hass.async_create_task(change(hass, entry, charging=False))
    await saving.wait()
    assert pending(hass, entry) == {"charging"}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pending(hass, entry) == set()
    assert written(bms) == []
    assert Ledger.async_get(hass, entry.entry_id).records == ()


@pytest.mark.parametrize("is_pending", [False, True])
async def test_nothing_is_sent_if_the_timer_is_not_saved(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    is_pending: bool,
) -> None:
    """The refusal says why; a change that was saved before is undone at its time."""
    if is_pending:
        await change(hass, entry, charging=False)
    before, sent = TimedChanges.async_get(hass, entry.entry_id).changes, written(bms)
    with (
        full_disk(),
        pytest.raises(ServiceValidationError, match="could not be saved"),
    ):
        await change(hass, entry, hours=2, charging=is_pending, discharging=False)
    assert written(bms) == sent
    assert TimedChanges.async_get(hass, entry.entry_id).changes == before


async def test_undoing_waits_until_it_can_be_saved(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """Or a crash could repeat it; turning discharging off may be that crash."""
    await change(hass, entry, charging=False)
    coordinator: JkBmsCoordinator = entry.runtime_data
    with full_disk():
        later(HOUR)
        await hass.async_block_till_done(wait_background_tasks=True)
        await coordinator.async_refresh()
        await hass.async_block_till_done(wait_background_tasks=True)
    assert (written(bms), pending(hass, entry)) == ([OFF], {"charging"})
    await coordinator.async_refresh()
    await until(lambda: not pending(hass, entry))
    assert written(bms) == [OFF, ON]
    assert lapsed(hass) == []


@pytest.mark.parametrize("cut", ["cancelled", "failed", "stopped"])
async def test_change_that_is_cut_off_is_undone(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    later: Later,
    stuck: Stuck,
    cut: str,
) -> None:
    """The value may have been written: the timer stays, whatever ended the request."""
    stuck.at = 1
    if cut == "failed":
        stuck.error = RuntimeError("nobody expects this")
    task = hass.async_create_task(change(hass, entry, charging=False))
    await until(lambda: stuck.proofs)
    if cut == "cancelled":
        task.cancel()
    elif cut == "stopped":
        hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    with pytest.raises((asyncio.CancelledError, RuntimeError, HomeAssistantError)):
        await task
    stuck.at = inf
    assert pending(hass, entry) == {"charging"}
    (record,) = Ledger.async_get(hass, entry.entry_id).records
    assert record.outcome == "unknown"
    if cut == "stopped":
        # Bluetooth has stopped as well.
        return
    await until(lambda: hass.states.get(CHARGING).state == STATE_OFF)
    later(HOUR + timedelta(seconds=5))
    await until(lambda: not pending(hass, entry))
    assert written(bms) == [OFF, ON]


async def test_chain_that_is_cut_off_undoes_what_was_sent(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, stuck: Stuck
) -> None:
    """Confirmed and possibly received values are undone; the rest was never sent."""
    stuck.at = 2
    task = hass.async_create_task(
        change(
            hass, entry, request_charge_voltage=3.4, charging=False, discharging=False
        )
    )
    await until(lambda: stuck.proofs == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pending(hass, entry) == {"request_charge_voltage", "charging"}
    records = Ledger.async_get(hass, entry.entry_id).records
    assert [(record.setting, record.outcome) for record in records] == [
        ("request_charge_voltage", "confirmed"),
        ("charging", "unknown"),
    ]
    assert float(hass.states.get(CHARGE).state) == 3.4
    assert len(written(bms)) == 2


@pytest.mark.parametrize("is_taken", [True, False])
async def test_crash_after_a_value_was_sent_undoes_it(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    bms: VirtualBms,
    entry: MockConfigEntry,
    later: Later,
    monkeypatch: pytest.MonkeyPatch,
    is_taken: bool,
) -> None:
    """What is stored at the moment of the write suffices, if the battery took it."""
    key = f"jk_bms.timed_changes.{entry.entry_id}"
    write, stored = bms.write, []

    def note(register: int, value: bytes) -> None:
        stored.append(deepcopy(hass_storage[key]))
        write(register, value)

    monkeypatch.setattr(bms, "write", note)
    await change(hass, entry, charging=False)
    if not is_taken:
        bms.battery.settings = replace(bms.battery.settings, charging=True)
    assert await hass.config_entries.async_unload(entry.entry_id)
    timed = TimedChanges.async_get(hass, entry.entry_id)
    timed.changes = {}
    hass_storage[key] = stored[0]
    timed._store = TimedChanges(hass, entry.entry_id)._store
    await timed.async_load()
    assert pending(hass, entry) == {"charging"}
    assert await hass.config_entries.async_setup(entry.entry_id)
    later(HOUR + timedelta(seconds=5))
    await until(lambda: not pending(hass, entry))
    assert written(bms) == ([OFF, ON] if is_taken else [OFF])
    assert lapsed(hass) == []


@pytest.mark.parametrize("is_taken", [True, False])
async def test_undoing_that_is_cut_off_is_not_repeated(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    later: Later,
    stuck: Stuck,
    is_taken: bool,
) -> None:
    """If it cut the power of this machine, doing so at each start would never end."""
    await change(hass, entry, charging=False)
    stuck.proofs, stuck.at = 0, 1
    bms.faults = Faults(ignore_writes=not is_taken)
    later(HOUR + timedelta(seconds=5))
    await until(lambda: stuck.proofs)
    assert await hass.config_entries.async_unload(entry.entry_id)
    stuck.at = inf
    assert pending(hass, entry) == {"charging"}
    assert await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: not pending(hass, entry))
    await hass.async_block_till_done(wait_background_tasks=True)
    assert written(bms) == [OFF, ON]
    assert lapsed(hass) == ([] if is_taken else ["charging"])


async def test_value_returns_to_the_one_before_all_changes_for_a_while(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """A second change for a while does not make the first one last."""
    charge = bms.battery.settings.request_charge_voltage
    await change(hass, entry, request_charge_voltage=3.4)
    bms.faults = Faults(ignore_writes=True)
    with pytest.raises(HomeAssistantError):
        await change(hass, entry, request_charge_voltage=3.43)
    bms.faults = Faults()
    assert hass.states.get(CHARGE).attributes["returns_to"] == charge
    await change(hass, entry, request_charge_voltage=3.42)
    assert hass.states.get(CHARGE).attributes["returns_to"] == charge
    await change(hass, entry, request_charge_voltage=charge)
    assert pending(hass, entry) == set()
    assert bms.battery.settings.request_charge_voltage == charge


async def test_refused_undoing_does_not_stop_the_others(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, later: Later
) -> None:
    """What is not allowed any more has an issue, and charging is on again."""
    await change(hass, entry, charging=False, request_charge_voltage=3.4)
    hass.config_entries.async_update_entry(entry, options={"controls": "everyday"})
    assert await hass.config_entries.async_reload(entry.entry_id)
    later(HOUR + timedelta(seconds=5))
    await until(lambda: lapsed(hass) == ["request_charge_voltage"])
    await until(lambda: not pending(hass, entry))
    assert written(bms)[2:] == [ON]
