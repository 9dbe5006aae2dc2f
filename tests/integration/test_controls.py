"""Settings that are changed: once, proven, recorded, and only if the owner allows it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    MockUser,
    async_capture_events,
)
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.jkbms.protocol.registers import Value
from custom_components.jk_bms.ledger import (
    EVENT_SETTING_CHANGED,
    MAX_RECORDS,
    Ledger,
    WriteRecord,
)
from custom_components.jk_bms.logbook import async_describe_events
from custom_components.jk_bms.options import Controls
from custom_components.jk_bms.switch import SWITCHES
from homeassistant.components.logbook.models import LazyEventPartialState
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import (
    ATTR_CONFIG_ENTRY_ID,
    SERVICE_TURN_OFF,
    SERVICE_TURN_ON,
    STATE_OFF,
    STATE_ON,
    STATE_UNAVAILABLE,
)
from homeassistant.core import Context, HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.translation import async_load_integrations
from homeassistant.setup import async_setup_component
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import (
    TRANSLATIONS,
    fire_timers,
    pass_time,
    sentence,
    setup_integration,
    until,
    until_held,
)
from .controls import EVERYDAY, TUNING, act, controls, written

CHARGING = "switch.house_24v_charging"
DISCHARGING = "switch.house_24v_discharging"
HELD = {"link": "held", "interval": 0.2}
OFF = (0x1D, "00000000")
ON = (0x1D, "01000000")
HOUSE = "JK_B2A8S20P 11.48"
GARAGE = "JK_PB2A16S20P 15.41"


@pytest.fixture
def options() -> dict[str, Any]:
    """Allow the everyday switches; tests override it by parameters."""
    return EVERYDAY


@pytest.fixture
async def entry(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, options: dict[str, Any]
) -> MockConfigEntry:
    """Set up a battery whose settings may be changed."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, **options)
    if options.get("link") == "held":
        await until_held(bms, entry)
    return entry


def records(hass: HomeAssistant, entry: MockConfigEntry) -> list[tuple[Any, ...]]:
    """Return what the ledger says of each write."""
    return [
        (record.setting, record.old, record.new, record.outcome, record.answer)
        for record in Ledger.async_get(hass, entry.entry_id).records
    ]


# What is allowed


@pytest.mark.parametrize("options", [{}, {"controls": "read_only"}])
async def test_nothing_can_be_changed_by_default(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """There is no control before the owner allows them."""
    assert controls(hass, entry) == set()


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("JK_B2A8S20P 11.48", EVERYDAY, {"charging", "discharging", "balancer"}),
        ("JK-B2A24S15P 10.07", EVERYDAY, {"charging", "discharging", "balancer"}),
        ("JK-B2A16S 3.3.0", EVERYDAY, {"balancer"}),
        (
            GARAGE,
            TUNING,
            {
                "balancer",
                "charging",
                "charging_float_mode",
                "discharging",
                "display_always_on",
                "dry_contact_intermittent",
                "heating",
                "smart_sleep",
                "timed_storage",
            },
        ),
    ],
)
async def test_switches_are_those_that_the_battery_accepts(
    hass: HomeAssistant, entry: MockConfigEntry, expected: set[str]
) -> None:
    """A switch exists if its tier is allowed and the battery accepts the register."""
    switches = {
        entity_id.partition("_")[2]
        for entity_id in controls(hass, entry)
        if entity_id.startswith("switch.")
    }
    assert all(any(name.endswith(key) for name in switches) for key in expected)
    assert len(switches) == len(expected)


async def test_turning_controls_off_removes_them(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """With read only again nothing is left in the registry, and writes are refused."""
    assert CHARGING in controls(hass, entry)
    hass.config_entries.async_update_entry(entry, options={"controls": "read_only"})
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert controls(hass, entry) == set()
    assert not hass.states.get(CHARGING)


@pytest.mark.parametrize(("model", "options"), [(GARAGE, TUNING)])
async def test_only_tuning_switches_are_disabled_at_first(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """Each owner enables the ones that are of use."""
    registry = er.async_get(hass)
    enabled = {
        entity_id
        for entity_id in controls(hass, entry)
        if not registry.async_get(entity_id).disabled
    }
    assert enabled == {
        f"switch.garage_{key}" for key in ("charging", "discharging", "balancer")
    }


# The passcode


async def submit(
    hass: HomeAssistant, entry: MockConfigEntry, choice: str, *passcodes: str
) -> list[dict[str, str] | None]:
    """Choose in the options, enter passcodes, and return the errors of each form."""
    flow = await hass.config_entries.options.async_init(entry.entry_id)
    values = flow["data_schema"]({}) | {"controls": choice}
    errors: list[dict[str, str] | None] = []
    result = await hass.config_entries.options.async_configure(flow["flow_id"], values)
    for passcode in passcodes:
        assert result["step_id"] == "tuning"
        result = await hass.config_entries.options.async_configure(
            flow["flow_id"], {"passcode": passcode}
        )
        errors.append(result.get("errors"))
    if result["type"] is not FlowResultType.CREATE_ENTRY:
        hass.config_entries.options.async_abort(flow["flow_id"])
    await hass.async_block_till_done()
    return errors


@pytest.mark.parametrize(("model", "options"), [(GARAGE, {})])
async def test_tuning_takes_the_settings_passcode(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The input is compared with the passcode that the battery has now, and not stored."""
    caplog.set_level(logging.DEBUG)
    old = bms.spec.setup_passcode
    bms.battery.spec = replace(bms.spec, setup_passcode="Changed-77")
    wrong = {"base": "wrong_settings_passcode"}
    errors = await submit(hass, entry, "tuning", "", old, "Changed-77 ", "Changed-77")
    assert errors == [wrong, wrong, wrong, None]
    assert entry.options["controls"] == "tuning"
    assert entry.options["found"] == {
        "max_charge_current": 150.0,
        "max_discharge_current": 225.0,
        "max_balance_current": 2.0,
    }
    assert "Changed-77" not in str(dict(entry.options)) + caplog.text
    assert "switch.garage_heating" in controls(hass, entry)
    # What was found is kept and not requested again
    found = entry.options["found"]
    bms.battery.settings = replace(bms.battery.settings, max_charge_current=10.0)
    assert await submit(hass, entry, "tuning") == []
    assert entry.options["found"] == found
    assert await submit(hass, entry, "everyday") == []
    assert "found" not in entry.options
    assert "switch.garage_heating" not in controls(hass, entry)
    assert written(bms) == []


@pytest.mark.parametrize("options", [HELD])
async def test_passcode_is_read_again_on_a_held_link(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The one that was read when the link was established may have been changed."""
    bms.battery.spec = replace(bms.spec, setup_passcode="Changed-77")
    assert await submit(hass, entry, "tuning", "Changed-77") == [None]
    assert entry.options["controls"] == "tuning"


async def test_tuning_takes_a_battery_with_a_passcode(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Without one in the battery, no passcode is right."""
    bms.battery.spec = replace(bms.spec, setup_passcode="")
    errors = await submit(hass, entry, "tuning", "", "123456")
    assert errors == [{"base": "no_settings_passcode"}] * 2
    assert entry.options == EVERYDAY


async def test_tuning_takes_a_battery_that_can_be_read(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """What was read before does not count, nor does an entry that is not set up."""
    unread = [{"base": "battery_not_read"}]
    await act(hass, "switch.house_24v_bluetooth_link", SERVICE_TURN_OFF)
    assert await submit(hass, entry, "tuning", bms.spec.setup_passcode) == unread
    await hass.config_entries.async_unload(entry.entry_id)
    assert entry.state is ConfigEntryState.NOT_LOADED
    assert await submit(hass, entry, "tuning", bms.spec.setup_passcode) == unread
    assert entry.options == EVERYDAY


def test_options_and_their_errors_have_texts() -> None:
    """Each choice and each error is explained."""
    assert set(TRANSLATIONS["selector"]["controls"]["options"]) == set(Controls)
    assert {
        "battery_not_read",
        "no_settings_passcode",
        "wrong_settings_passcode",
    } <= TRANSLATIONS["options"]["error"].keys()


# Writing


@pytest.mark.parametrize("options", [EVERYDAY, EVERYDAY | HELD])
async def test_switch_is_written_once_and_shows_what_came_back(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Off and on again; turning on what is on sends nothing."""
    assert hass.states.get(CHARGING).state == STATE_ON
    await act(hass, CHARGING, SERVICE_TURN_ON)
    assert written(bms) == []
    await act(hass, CHARGING, SERVICE_TURN_OFF)
    assert written(bms) == [OFF]
    assert hass.states.get(CHARGING).state == STATE_OFF
    assert not bms.battery.settings.charging
    await act(hass, CHARGING, SERVICE_TURN_ON)
    assert written(bms) == [OFF, ON]
    assert hass.states.get(CHARGING).state == STATE_ON
    assert records(hass, entry) == [
        ("charging", True, False, "confirmed", False),
        ("charging", False, True, "confirmed", True),
    ]


@pytest.mark.parametrize("options", [EVERYDAY, EVERYDAY | HELD])
async def test_switch_follows_a_change_in_the_app(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The state is always the battery's."""
    bms.battery.settings = replace(bms.battery.settings, charging=False)
    bms.drop()
    fire_timers(hass)
    await until(lambda: hass.states.get(CHARGING).state == STATE_OFF)
    assert written(bms) == []


async def test_switch_is_available_as_long_as_the_values_are(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """A battery out of range has no switch to turn."""
    bms.power_off()
    await pass_time(hass, timedelta(seconds=91))
    assert hass.states.get(CHARGING).state == STATE_UNAVAILABLE


@pytest.mark.parametrize("options", [EVERYDAY, EVERYDAY | HELD])
async def test_ignored_write_keeps_the_state_and_says_why(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The error names what was requested and what the battery reports."""
    bms.faults = Faults(ignore_writes=True)
    with pytest.raises(HomeAssistantError) as caught:
        await act(hass, CHARGING, SERVICE_TURN_OFF)
    assert (
        "Charging allowed (charging): Off was requested, but the battery reports On"
        in str(caught.value)
    )
    assert not isinstance(caught.value, ServiceValidationError)
    assert written(bms) == [OFF]
    assert hass.states.get(CHARGING).state == STATE_ON
    assert records(hass, entry) == [("charging", True, False, "not_confirmed", True)]


@pytest.mark.parametrize("options", [EVERYDAY, EVERYDAY | HELD])
@pytest.mark.parametrize(
    ("moment", "is_changed"), [("before", False), ("during", True), ("after", True)]
)
async def test_lost_link_shows_no_value_until_it_is_read(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    moment: Any,
    is_changed: bool,
) -> None:
    """Written once; unavailable at first, then what the battery has."""
    states: list[str] = []
    stop_listening = hass.bus.async_listen(
        "state_changed",
        lambda event: (
            event.data["entity_id"] == CHARGING
            and states.append(event.data["new_state"].state)
        ),
    )
    bms.faults = Faults(drop_at_write=moment)
    task = hass.async_create_task(act(hass, CHARGING, SERVICE_TURN_OFF))
    with pytest.raises(HomeAssistantError) as caught:
        await task
    bms.faults = Faults()
    assert "(charging): Off was sent, but the battery did not report it" in str(
        caught.value
    )
    fire_timers(hass)
    await until(
        lambda: (
            hass.states.get(CHARGING).state == (STATE_OFF if is_changed else STATE_ON)
        )
    )
    stop_listening()
    assert STATE_UNAVAILABLE in states
    assert (STATE_ON if is_changed else STATE_OFF) not in states
    assert [state for state in written(bms) if state == OFF] == written(bms)
    assert len(written(bms)) == 1
    assert records(hass, entry) == [("charging", True, False, "unknown", True)]


async def test_cancelled_write_is_recorded_as_unknown(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """A script that is stopped may have written: the answer was not received."""
    bms.faults = Faults(write_takes=3600)
    task = hass.async_create_task(act(hass, CHARGING, SERVICE_TURN_OFF))
    await until(lambda: written(bms))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert records(hass, entry) == [("charging", True, False, "unknown", None)]
    await until(lambda: hass.states.get(CHARGING).state == STATE_ON)
    assert written(bms) == [OFF]


async def test_link_that_is_turned_off_refuses_the_write(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The sentence says to turn the link on first."""
    await act(hass, "switch.house_24v_bluetooth_link", SERVICE_TURN_OFF)
    with pytest.raises(ServiceValidationError, match=sentence("link_released")):
        await act(hass, CHARGING, SERVICE_TURN_OFF)
    assert written(bms) == []
    assert records(hass, entry) == []


@pytest.mark.parametrize("options", [EVERYDAY, EVERYDAY | HELD])
@pytest.mark.parametrize("reload", [False, True])
async def test_request_that_waits_for_the_link_is_not_sent_when_controls_end(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, reload: bool
) -> None:
    """The second of two requests waits; meanwhile the owner chooses read only."""
    bms.faults = Faults(write_takes=0.05)
    first = hass.async_create_task(act(hass, CHARGING, SERVICE_TURN_OFF))
    second = hass.async_create_task(act(hass, DISCHARGING, SERVICE_TURN_OFF))
    third = hass.async_create_task(change(hass, entry, balancer=False))
    await until(lambda: written(bms))
    read_only = {**entry.options, "controls": "read_only"}
    hass.config_entries.async_update_entry(entry, options=read_only)
    if reload:
        assert await hass.config_entries.async_reload(entry.entry_id)
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert isinstance(second.exception(), HomeAssistantError)
    assert isinstance(third.exception(), HomeAssistantError)
    assert written(bms) == [OFF]


async def test_chain_stops_when_controls_end(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """What was sent before is reported, what is not allowed any more is not sent."""
    bms.faults = Faults(write_takes=0.05)
    both = {"discharging": False, "charging": False}
    task = hass.async_create_task(change(hass, entry, **both))
    await until(lambda: written(bms))
    hass.config_entries.async_update_entry(entry, options={"controls": "read_only"})
    with pytest.raises(HomeAssistantError, match="Changed before: Charging allowed"):
        await task
    assert written(bms) == [OFF]
    assert records(hass, entry) == [("charging", True, False, "confirmed", False)]


async def change(hass: HomeAssistant, entry: MockConfigEntry, **settings: Any) -> None:
    """Change settings by the action."""
    await hass.services.async_call(
        DOMAIN,
        "set_settings",
        {ATTR_CONFIG_ENTRY_ID: entry.entry_id, "settings": settings},
        blocking=True,
    )


@pytest.mark.parametrize(
    ("model", "options", "control", "action", "data", "values"),
    [
        (HOUSE, EVERYDAY | HELD, CHARGING, SERVICE_TURN_OFF, {}, ("on", "off")),
        (
            GARAGE,
            TUNING | HELD,
            "select.garage_buzzer_trigger",
            "select_option",
            {"option": "low_state_of_charge"},
            ("mosfet_overtemperature", "low_state_of_charge"),
        ),
    ],
)
async def test_held_link_shows_no_value_that_may_be_old(
    hass: HomeAssistant,
    entity_registry_enabled_by_default: None,
    bms: VirtualBms,
    entry: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
    control: str,
    action: str,
    data: dict[str, Any],
    values: tuple[str, str],
) -> None:
    """After a write without an answer it is unknown, and requested until it is known."""
    write, states = bms.write, []

    def write_and_mute(register: int, value: bytes) -> None:
        write(register, value)
        bms.faults = Faults(never_answer={0x96, 0x97})

    monkeypatch.setattr(bms, "write", write_and_mute)
    before, after = values
    assert hass.states.get(control).state == before
    with pytest.raises(HomeAssistantError, match="did not report it"):
        await act(hass, control, action, **data)
    remove = entry.runtime_data.async_add_listener(
        lambda: states.append(hass.states.get(control).state)
    )
    await until(lambda: len(states) > 5)
    remove()
    assert set(states) == {STATE_UNAVAILABLE}
    assert bms.connected
    bms.faults = Faults()
    await until(lambda: hass.states.get(control).state == after)
    assert len(bms.connections) == 2
    assert len(written(bms)) == 1


async def test_battery_out_of_reach_is_not_written(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    short_deadline: float,
) -> None:
    """The error gives the reason, as for every use of the link."""
    bms.faults = Faults(refuse_connection=True)
    with pytest.raises(HomeAssistantError, match=sentence("not_reachable")):
        await act(hass, CHARGING, SERVICE_TURN_OFF)
    assert written(bms) == []
    assert records(hass, entry) == []


async def test_battery_without_cells_is_not_written(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Data that prove no layout allow nothing."""
    bms.faults = Faults(blank_every=1)
    with pytest.raises(ServiceValidationError, match="was not changed, because"):
        await act(hass, CHARGING, SERVICE_TURN_OFF)
    assert written(bms) == []
    assert hass.states.get(CHARGING).state == STATE_UNAVAILABLE


# The ledger


async def test_each_write_is_reported_with_who_requested_it(
    hass: HomeAssistant,
    hass_admin_user: MockUser,
    bms: VirtualBms,
    entry: MockConfigEntry,
) -> None:
    """An event for users and automations, in the context of the request."""
    assert await async_setup_component(
        hass,
        "automation",
        {
            "automation": {
                "alias": "Storm",
                "triggers": {"trigger": "event", "event_type": "storm"},
                "actions": {
                    "action": "switch.turn_on",
                    "target": {"entity_id": CHARGING},
                },
            }
        },
    )
    await hass.async_block_till_done()
    events = async_capture_events(hass, EVENT_SETTING_CHANGED)
    context = Context(user_id=hass_admin_user.id)
    await act(hass, CHARGING, SERVICE_TURN_OFF, context)
    hass.bus.async_fire("storm")
    await until(lambda: len(events) == 2)
    by_user, by_automation = events
    assert by_user.context is context
    assert by_user.data["user_id"] == hass_admin_user.id
    assert by_user.data["source"] is None
    assert by_user.data["device_id"]
    assert (by_user.data["setting"], by_user.data["old"], by_user.data["new"]) == (
        "charging",
        True,
        False,
    )
    assert by_automation.data["user_id"] is None
    assert by_automation.data["source"] == "automation.storm"


async def test_requests_at_once_keep_their_users(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Each record names who requested it, in whichever order they end."""
    users = [
        await hass.auth.async_create_user(name, group_ids=["system-admin"])
        for name in ("Ann", "Bob")
    ]
    contexts = [Context(user_id=user.id) for user in users]
    events = async_capture_events(hass, EVENT_SETTING_CHANGED)
    await asyncio.gather(
        act(hass, CHARGING, SERVICE_TURN_OFF, contexts[0]),
        act(hass, CHARGING, SERVICE_TURN_ON, contexts[1]),
    )
    assert [(event.data["new"], event.context) for event in events] == [
        (False, contexts[0]),
        (True, contexts[1]),
    ]


async def test_automation_that_runs_again_is_the_source_of_both(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Its second run must not take the first one's name away."""
    turn = {"action": "switch.{{ trigger.event.data.to }}"}
    storm = {
        "alias": "Storm",
        "mode": "parallel",
        "triggers": {"trigger": "event", "event_type": "storm"},
        "actions": turn | {"target": {"entity_id": CHARGING}},
    }
    assert await async_setup_component(hass, "automation", {"automation": storm})
    await hass.async_block_till_done()
    events = async_capture_events(hass, EVENT_SETTING_CHANGED)
    for action in (SERVICE_TURN_OFF, SERVICE_TURN_ON):
        hass.bus.async_fire("storm", {"to": action})
        await asyncio.sleep(0)
    await until(lambda: len(events) == 2)
    assert [event.data["source"] for event in events] == ["automation.storm"] * 2


async def test_ledger_is_in_the_diagnostics_and_outlives_a_reload(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    hass_storage: dict[str, Any],
    entry: MockConfigEntry,
) -> None:
    """Saved at once, since turning discharging off may be the last that happens."""
    assert await async_setup_component(hass, "diagnostics", {})
    await act(hass, DISCHARGING, SERVICE_TURN_OFF)
    await until(lambda: f"jk_bms.ledger.{entry.entry_id}" in hass_storage)
    report = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    (change,) = report["changes"]
    assert change["setting"] == "discharging"
    assert change["new"] is False
    ledger = Ledger(hass, entry.entry_id)
    await ledger.async_load()
    assert ledger.records == Ledger.async_get(hass, entry.entry_id).records
    await hass.config_entries.async_remove(entry.entry_id)
    assert f"jk_bms.ledger.{entry.entry_id}" not in hass_storage


@pytest.mark.parametrize("stored", [{}, [1, {}, {"time": "now"}], None])
async def test_damaged_ledger_does_not_matter(
    hass: HomeAssistant, hass_storage: dict[str, Any], stored: Any
) -> None:
    """What cannot be understood is left out."""
    key = "jk_bms.ledger.some"
    hass_storage[key] = {"version": 1, "minor_version": 1, "key": key, "data": stored}
    ledger = Ledger(hass, "some")
    await ledger.async_load()
    assert ledger.records == ()


async def test_ledger_keeps_the_last_hundred(hass: HomeAssistant) -> None:
    """The oldest record goes first."""
    ledger = Ledger(hass, "some")
    for number in range(MAX_RECORDS + 5):
        ledger.async_add(
            WriteRecord(
                time="",
                user_id=None,
                source=None,
                setting="soc_0",
                old=None,
                new=number,
                outcome="confirmed",
                answer=number,
            )
        )
    assert [record.new for record in ledger.records] == [*range(5, MAX_RECORDS + 5)]


@pytest.mark.parametrize(
    ("language", "setting", "values", "outcome", "text"),
    [
        (
            "en",
            "charging",
            (True, False, False),
            "confirmed",
            "Charging allowed: On → Off",
        ),
        (
            "de",
            "soc_0",
            (2.5, 2.6, 2.5),
            "not_confirmed",
            "Zellspannung leer: 2.5 V → 2.6 V wurde angefordert, aber die Batterie meldet 2.5 V",
        ),
        (
            "en",
            "userdata",
            (None, "********", None),
            "unknown",
            "userdata: ? → ******** was sent, but the battery has not reported the value since",
        ),
        (
            "fr",
            "buzzer_trigger",
            (9, 0, 0),
            "confirmed",
            "Déclencheur du buzzer\N{NO-BREAK SPACE}: MOSFET trop chaud → Désactivé",
        ),
        ("en", "can_protocol", (99, 4, 4), "confirmed", "CAN protocol: 99 → "),
        (
            "en",
            "cell_ovp",
            (3.65, 3.6, 3.6),
            "elsewhere",
            "Cell overvoltage limit: 3.65 V → 3.6 V, not changed by Home Assistant",
        ),
    ],
)
async def test_changes_read_well_in_activity(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    language: str,
    setting: str,
    values: tuple[Value | None, ...],
    outcome: str,
    text: str,
) -> None:
    """The device, the setting, both values and what became of it, in one language."""
    await hass.config.async_update(language=language)
    await async_load_integrations(hass, {DOMAIN})
    describers: dict[str, Any] = {}
    async_describe_events(
        hass, lambda _domain, name, describe: describers.update({name: describe})
    )
    describe: Callable[[LazyEventPartialState], dict[str, Any]]
    describe = describers[EVENT_SETTING_CHANGED]
    entity = er.async_get(hass).async_get(CHARGING)
    assert entity
    is_elsewhere = outcome == "elsewhere"
    event: Any = SimpleNamespace(
        data={
            "device_id": entity.device_id,
            "setting": setting,
            "outcome": "confirmed" if is_elsewhere else outcome,
            "source": outcome if is_elsewhere else None,
            **dict(zip(("old", "new", "answer"), values, strict=True)),
        },
        context_id="some",
    )
    described = describe(event)
    assert described.pop("message").startswith(text)
    assert described == {"name": "House 24V", "context_id": "some"}
    event.data["device_id"] = None
    assert describe(event)["name"] == "JK BMS"


async def test_change_made_elsewhere_is_recorded(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Protections as well; what is requested here is recorded once, also if late."""
    events = async_capture_events(hass, EVENT_SETTING_CHANGED)
    bms.battery.settings = replace(
        bms.battery.settings, discharging=False, cell_ovp=3.6
    )
    await entry.runtime_data.async_refresh()
    assert {
        (event.data["setting"], event.data["old"], event.data["new"])
        for event in events
    } == {("discharging", True, False), ("cell_ovp", 3.65, 3.6)}
    assert {event.data["source"] for event in events} == {"elsewhere"}
    assert {record.source for record in records_of(hass, entry)} == {"elsewhere"}
    bms.faults = Faults(ignore_writes=True)
    with pytest.raises(HomeAssistantError):
        await act(hass, CHARGING, SERVICE_TURN_OFF)
    bms.battery.settings = replace(bms.battery.settings, charging=False)
    await entry.runtime_data.async_refresh()
    bms.faults = Faults()
    await act(hass, CHARGING, SERVICE_TURN_ON)
    assert [record.source for record in records_of(hass, entry)[2:]] == [None, None]
    bms.battery.settings = replace(bms.battery.settings, charging=False)
    await entry.runtime_data.async_refresh()
    assert records_of(hass, entry)[-1].source == "elsewhere"


def records_of(hass: HomeAssistant, entry: MockConfigEntry) -> tuple[WriteRecord, ...]:
    """Return the ledger."""
    return Ledger.async_get(hass, entry.entry_id).records


def test_names_say_what_is_allowed_and_what_is_on() -> None:
    """The switch and the MOSFET have different names; the ids are those of cards."""
    names = TRANSLATIONS["entity"]
    assert names["switch"]["charging"]["name"] == "Charging allowed"
    assert names["binary_sensor"]["charging"]["name"] == "Charge MOSFET"
    assert {"charging", "discharging", "balancer", "heating"} < {
        description.key for description in SWITCHES
    }
