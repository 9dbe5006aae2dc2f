"""A battery bank on real packs: read over the virtual radio, combined, shown."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_capture_events,
)
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)
from pytest_homeassistant_custom_component.typing import (
    ClientSessionGenerator,
    WebSocketGenerator,
)

from custom_components.jk_bms.bank_coordinator import (
    CONF_MISSING,
    CONF_PACKS,
    CONF_WIRING,
    EVENT_PACK_FAULT,
    PUBLISH_INTERVAL,
    BankCoordinator,
)
from custom_components.jk_bms.bank_energy import KEYS
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.energy_store import EnergyStore
from custom_components.jk_bms.entry_store import _STORES
from custom_components.jk_bms.jkbms.models import Alarm
from homeassistant.config_entries import (
    SOURCE_USER,
    ConfigEntryDisabler,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.const import (
    CONF_ADDRESS,
    STATE_OFF,
    STATE_ON,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import (
    device_registry as dr,
    entity_registry as er,
    issue_registry as ir,
)
from homeassistant.helpers.event import async_track_state_change_event
from homeassistant.helpers.template import Template
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from tests.servers import groups
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import SPEED, TRANSLATIONS, mock_entry, pass_time, setup_integration, until_held
from .test_websocket import Page

type MakeBms = Callable[..., VirtualBms]

BANK_ID = "01BANK"
SOON = timedelta(seconds=PUBLISH_INTERVAL)


@pytest.fixture(autouse=True)
def storage(hass_storage: dict[str, Any]) -> None:
    """Store in memory."""


@pytest.fixture
def packs(proxy: VirtualProxy, make_bms: MakeBms) -> list[VirtualBms]:
    """Place two packs of different sizes in range."""
    made = [
        make_bms(
            "JK_PB2A16S20P 15.41",
            name=f"pack_{letter}",
            address=f"C8:47:80:77:00:0{number}",
            serial=f"507700000{number}",
            capacity=capacity,
            dip_address=None,
        )
        for number, (letter, capacity) in enumerate((("a", 280.0), ("b", 100.0)), 1)
    ]
    for bms, current in zip(made, (30.1, 5.2), strict=True):
        bms.battery.override(current=current)
        proxy.advertise(bms)
    return made


def bank_entry(
    packs: list[VirtualBms], wiring: str = "parallel", **options: Any
) -> MockConfigEntry:
    """Return the entry that the flow makes for these packs."""
    return MockConfigEntry(
        domain=DOMAIN,
        entry_id=BANK_ID,
        title="bank",
        data={CONF_PACKS: [bms.address for bms in packs], CONF_WIRING: wiring},
        options=options,
    )


async def add_bank(hass: HomeAssistant, bank: MockConfigEntry) -> MockConfigEntry:
    """Set up a bank, and let it publish."""
    bank.add_to_hass(hass)
    assert await hass.config_entries.async_setup(bank.entry_id)
    await hass.async_block_till_done()
    await pass_time(hass, SOON)
    return bank


@pytest.fixture
async def entries(
    hass: HomeAssistant, packs: list[VirtualBms]
) -> list[MockConfigEntry]:
    """Set up the packs."""
    return [await setup_integration(hass, bms) for bms in packs]


@pytest.fixture
async def bank(
    hass: HomeAssistant, packs: list[VirtualBms], entries: list[MockConfigEntry]
) -> MockConfigEntry:
    """Set up a bank of the packs, which are set up already."""
    return await add_bank(hass, bank_entry(packs))


def shown(hass: HomeAssistant, key: str, platform: str = "sensor") -> str:
    """Return a state of the bank."""
    state = hass.states.get(f"{platform}.bank_{key}")
    assert state, key
    return state.state


def attributes(hass: HomeAssistant, key: str, platform: str = "sensor") -> Any:
    """Return the attributes of an entity of the bank."""
    state = hass.states.get(f"{platform}.bank_{key}")
    assert state, key
    return state.attributes


async def publish(hass: HomeAssistant, bank: MockConfigEntry) -> None:
    """Let the bank combine what is known now, and save its energy."""
    coordinator: BankCoordinator = bank.runtime_data
    await coordinator.energy.async_save()
    coordinator._async_publish()
    await hass.async_block_till_done()


def silence(*entries: MockConfigEntry) -> None:
    """Let the values of packs become too old."""
    for entry in entries:
        entry.runtime_data._async_expire(dt_util.utcnow())


async def read(*entries: MockConfigEntry) -> None:
    """Read the packs now."""
    for entry in entries:
        await entry.runtime_data.async_refresh()


async def test_bank_shows_two_packs_as_one(
    hass: HomeAssistant,
    packs: list[VirtualBms],
    bank: MockConfigEntry,
    device_registry: dr.DeviceRegistry,
) -> None:
    """Sums, extremes with their place, and one device."""
    first, second = (bms.battery.state for bms in packs)
    assert float(shown(hass, "current")) == 35.3
    assert float(shown(hass, "capacity_remaining")) == pytest.approx(
        first.remaining + second.remaining, abs=0.01
    )
    assert float(shown(hass, "full_charge_capacity")) == 380
    lowest = min(*first.cells, *second.cells)
    assert float(shown(hass, "min_cell_voltage")) == pytest.approx(lowest, abs=0.001)
    place = attributes(hass, "min_cell_voltage")
    assert place["pack"] in {"pack_a", "pack_b"}
    assert place["incomplete"] is False
    assert shown(hass, "charging", "binary_sensor") == "on"
    assert attributes(hass, "charging", "binary_sensor")["packs"] == [
        "pack_a",
        "pack_b",
    ]
    assert shown(hass, "problem", "binary_sensor") == "off"
    assert shown(hass, "packs_online") == "2"
    assert attributes(hass, "packs_online")["packs"] == 2
    # B has 26.3 % of the capacity and carries 14.7 % of the current.
    assert shown(hass, "current_sharing_deviation") == "44.0"
    shares = attributes(hass, "current_sharing_deviation")["shares"]
    assert shares["pack_b"] == {"current": 14.7, "capacity": 26.3}
    assert attributes(hass, "current")["oldest"] >= 0
    device = device_registry.async_get_device_by_identifier((DOMAIN, BANK_ID), BANK_ID)
    assert device
    assert device.name == "bank"


async def test_namesakes_are_told_apart(
    hass: HomeAssistant,
    packs: list[VirtualBms],
    entries: list[MockConfigEntry],
    device_registry: dr.DeviceRegistry,
) -> None:
    """Factory names are model names; packs that are renamed have their new names."""
    for entry in entries:
        hass.config_entries.async_update_entry(entry, title="JK_PB2A16S20P")
    flow = await submit(hass, await start(hass), {"next_step_id": "bank"})
    assert flow["data_schema"]
    labels = [
        option["label"]
        for option in flow["data_schema"].schema[CONF_PACKS].config["options"]
    ]
    assert labels == ["JK_PB2A16S20P (0001)", "JK_PB2A16S20P (0002)"]
    bank = await add_bank(hass, bank_entry(packs))
    shares = attributes(hass, "current_sharing_deviation")["shares"]
    assert list(shares) == labels
    device = device_registry.async_get_device_by_connection(
        (dr.CONNECTION_BLUETOOTH, packs[0].address), entries[0].entry_id
    )
    assert device
    device_registry.async_update_device(device.id, name_by_user="Left")
    await publish(hass, bank)
    assert attributes(hass, "packs_online")["online"] == ["JK_PB2A16S20P", "Left"]


@pytest.mark.parametrize(
    ("key", "fault", "usual"),
    [
        ("problem", {"alarms": int(Alarm.DISCHARGE_OVERCURRENT)}, STATE_OFF),
        ("charging", {"charging": False, "current": 0.0}, STATE_ON),
    ],
)
async def test_short_state_of_a_held_pack_is_not_missed(
    hass: HomeAssistant,
    packs: list[VirtualBms],
    key: str,
    fault: dict[str, Any],
    usual: str,
) -> None:
    """Three seconds between two publishes of the bank, whose values come every ten."""
    # The bank shows the MOSFET of the other pack.
    packs[0].battery.override(charging=False, current=0.0)
    bank = bank_entry(packs)
    for bms in packs:
        bms.battery.override(alarms=0)
        entry = await setup_integration(hass, bms, link="held", interval=60)
        await until_held(bms, entry)
    bank.add_to_hass(hass)
    assert await hass.config_entries.async_setup(bank.entry_id)
    await publish(hass, bank)
    states = [shown(hass, key, "binary_sensor")]
    events = async_capture_events(hass, EVENT_PACK_FAULT)

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        assert event.data["new_state"]
        states.append(event.data["new_state"].state)

    async_track_state_change_event(hass, f"binary_sensor.bank_{key}", note)
    before = packs[1].battery.state
    packs[1].battery.override(**fault)
    await asyncio.sleep(3 / SPEED)
    packs[1].battery.override(alarms=0, charging=before.charging, current=5.2)
    await asyncio.sleep(3 / SPEED)
    assert states == [usual, STATE_ON if usual == STATE_OFF else STATE_OFF, usual]
    if key == "problem":
        assert [(each.data["pack"], each.data["raised"]) for each in events] == [
            ("pack_b", True),
            ("pack_b", False),
        ]


async def test_impossible_values_of_a_pack_are_a_problem_of_the_bank(
    hass: HomeAssistant,
    packs: list[VirtualBms],
    entries: list[MockConfigEntry],
    bank: MockConfigEntry,
    hass_ws_client: WebSocketGenerator,
    socket_enabled: None,
) -> None:
    """The attribute names the pack; its card and that of the bank show it as a fault."""
    page = Page(await hass_ws_client(hass))
    event = await page.subscribe()
    devices = {each["title"]: each["device_id"] for each in event["batteries"]}
    packs[1].battery.override(soc=101)
    await read(entries[1])
    live = event["live"]
    while not (live[devices["bank"]]["faults"] and live[devices["pack_b"]]["faults"]):
        live |= (await page.until(lambda event: event["live"]))["live"]
    assert live[devices["pack_a"]]["faults"] == []
    for title in ("bank", "pack_b"):
        (fault,) = live[devices[title]]["faults"]
        text: Any = TRANSLATIONS["entity"]["binary_sensor"]
        for part in f"{fault}.name".split("."):
            text = text[part]
        assert text == "Implausible values"
    assert shown(hass, "problem", "binary_sensor") == STATE_ON
    assert attributes(hass, "problem", "binary_sensor")["implausible"] == [
        {"pack": "pack_b", "field": "remain_percent"}
    ]
    packs[1].battery.release("soc")
    await read(entries[1])
    assert shown(hass, "problem", "binary_sensor") == STATE_OFF
    while live[devices["bank"]]["faults"] or live[devices["pack_b"]]["faults"]:
        live |= (await page.until(lambda event: event["live"]))["live"]
    await page.unsubscribe()


async def test_only_the_energy_follows_a_save(bank: MockConfigEntry) -> None:
    """All other entities show the readings, which cause no save."""
    assert len(bank.runtime_data.energy._listeners) == len(KEYS)


async def test_bank_agrees_with_template_sensors_over_a_day(
    hass: HomeAssistant,
    packs: list[VirtualBms],
    entries: list[MockConfigEntry],
    bank: MockConfigEntry,
) -> None:
    """What an owner writes by hand gives the same, to the last digit."""
    a, b = "states('sensor.pack_a_{0}')|float", "states('sensor.pack_b_{0}')|float"
    both = f"(({a}) + ({b}))|round(3)"
    templates = {
        "current": both,
        "power": both,
        "total_voltage": f"((({a}) + ({b})) / 2)|round(3)",
        "state_of_charge": f"((({a}) * 280 + ({b}) * 100) / 380)|round(1)",
    }
    values = set()
    for bms in packs:
        bms.battery.release()
    for _half_hour in range(48):
        for bms in packs:
            bms.battery.advance(1800)
        await read(*entries)
        await publish(hass, bank)
        for key, template in templates.items():
            by_hand = Template("{{ " + template.format(key) + " }}", hass)
            assert float(shown(hass, key)) == by_hand.async_render(), key
        values.add(shown(hass, "current"))
    # A day went by.
    assert len(values) > 20


@pytest.mark.parametrize("wiring", ["parallel", "series"])
async def test_silent_pack_leaves_no_sum_of_a_part(
    hass: HomeAssistant,
    packs: list[VirtualBms],
    entries: list[MockConfigEntry],
    wiring: str,
) -> None:
    """Sums are unavailable; cells say that they are incomplete; then all is back."""
    bank = await add_bank(hass, bank_entry(packs, wiring))
    energy = shown(hass, "energy_charged")
    silence(entries[1])
    await publish(hass, bank)
    for key in ("current", "power", "capacity_remaining", "pack_voltage_spread"):
        assert shown(hass, key) == STATE_UNAVAILABLE, key
    assert (shown(hass, "total_voltage") == STATE_UNAVAILABLE) is (wiring == "series")
    assert (shown(hass, "state_of_charge") == STATE_UNAVAILABLE) is (wiring == "series")
    assert shown(hass, "max_cell_voltage") != STATE_UNAVAILABLE
    assert attributes(hass, "max_cell_voltage")["incomplete"] is True
    assert shown(hass, "packs_online") == "1"
    assert shown(hass, "energy_charged") == energy
    await read(entries[1])
    await publish(hass, bank)
    assert shown(hass, "current") != STATE_UNAVAILABLE
    assert shown(hass, "packs_online") == "2"


async def test_bank_is_unavailable_when_all_packs_are_away(
    hass: HomeAssistant, entries: list[MockConfigEntry], bank: MockConfigEntry
) -> None:
    """The number of packs and the counted energy remain available."""
    silence(*entries)
    await publish(hass, bank)
    available = {
        state.entity_id
        for state in hass.states.async_all()
        if ".bank_" in state.entity_id and state.state != STATE_UNAVAILABLE
    }
    assert available == {
        "sensor.bank_packs_online",
        "sensor.bank_energy_charged",
        "sensor.bank_energy_discharged",
    }
    assert shown(hass, "packs_online") == "0"


async def test_missing_pack_is_counted_for_a_while(
    hass: HomeAssistant, packs: list[VirtualBms], entries: list[MockConfigEntry]
) -> None:
    """With its last values, also while its entry is disabled, until they are too old."""
    bank = await add_bank(hass, bank_entry(packs, **{CONF_MISSING: 10}))
    await hass.config_entries.async_set_disabled_by(
        entries[1].entry_id, ConfigEntryDisabler.USER
    )
    await hass.async_block_till_done()
    await publish(hass, bank)
    assert shown(hass, "current") == "35.3"
    assert shown(hass, "packs_online") == "1"
    coordinator: BankCoordinator = bank.runtime_data
    assert coordinator._cancel_expiry
    before = coordinator._readings[packs[1].address]
    coordinator._readings[packs[1].address] = replace(before, time=before.time - 600)
    coordinator._async_expire(dt_util.utcnow())
    await pass_time(hass, SOON)
    assert shown(hass, "current") == STATE_UNAVAILABLE


async def test_packs_are_followed_whenever_they_are_set_up(
    hass: HomeAssistant, packs: list[VirtualBms]
) -> None:
    """A bank that is set up first, as at a start, waits for its packs."""
    bank = bank_entry(packs)
    for entry in (bank, *(mock_entry(bms) for bms in packs)):
        entry.add_to_hass(hass)
    # Setting up one sets up the integration, and so all.
    assert await hass.config_entries.async_setup(BANK_ID)
    await hass.async_block_till_done(wait_background_tasks=True)
    await pass_time(hass, SOON)
    assert bank.state is ConfigEntryState.LOADED
    assert shown(hass, "current") == "35.3"
    assert shown(hass, "packs_online") == "2"


async def test_restart_with_a_pack_away(
    hass: HomeAssistant,
    packs: list[VirtualBms],
    entries: list[MockConfigEntry],
    bank: MockConfigEntry,
) -> None:
    """Entities keep their place, energy its total; nothing is summed up of one pack."""
    meter = EnergyStore.async_get(hass, packs[0].address)._meters["energy_charged"]
    meter.total += 1.0
    await EnergyStore.async_get(hass, packs[0].address).async_save()
    await publish(hass, bank)
    before = float(shown(hass, "energy_charged"))
    for entry in (bank, *entries):
        assert await hass.config_entries.async_unload(entry.entry_id)
    hass.data[_STORES].clear()
    assert await hass.config_entries.async_setup(BANK_ID)
    assert await hass.config_entries.async_setup(packs[0].address)
    await hass.async_block_till_done()
    await pass_time(hass, SOON)
    assert shown(hass, "current") == STATE_UNAVAILABLE
    assert shown(hass, "state_of_charge") != STATE_UNAVAILABLE
    assert float(shown(hass, "energy_charged")) >= before


async def test_energy_grows_by_what_the_members_count(
    hass: HomeAssistant,
    packs: list[VirtualBms],
    entries: list[MockConfigEntry],
) -> None:
    """The history of a pack is no jump, and a reload loses nothing."""
    stores = [EnergyStore.async_get(hass, bms.address) for bms in packs]
    for store in stores:
        meter = store._meters["energy_discharged"]
        meter.total += 5000.0
        await store.async_save()
    bank = await add_bank(hass, bank_entry(packs))
    await publish(hass, bank)
    assert shown(hass, "energy_discharged") == "0.0"
    stores[0]._meters["energy_discharged"].total += 1.5
    stores[1]._meters["energy_discharged"].total += 0.5
    for store in stores:
        await store.async_save()
    await publish(hass, bank)
    assert shown(hass, "energy_discharged") == "2.0"
    assert await hass.config_entries.async_reload(BANK_ID)
    await hass.async_block_till_done()
    assert shown(hass, "energy_discharged") == "2.0"
    hass.config_entries.async_update_entry(
        bank, data={**bank.data, CONF_PACKS: [packs[0].address]}
    )
    assert await hass.config_entries.async_reload(BANK_ID)
    stores[1]._meters["energy_discharged"].total += 100
    await stores[1].async_save()
    await publish(hass, bank)
    assert shown(hass, "energy_discharged") == "2.0"


async def test_address_of_a_pack_may_change(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    packs: list[VirtualBms],
    entries: list[MockConfigEntry],
    bank: MockConfigEntry,
    make_bms: MakeBms,
) -> None:
    """A new Bluetooth module changes the address, not the membership.

    The pack is reconfigured in its dialog.
    """
    moved = make_bms(
        "JK_PB2A16S20P 15.41",
        name="pack_b",
        address="C8:47:80:77:00:09",
        serial="5077000002",
        capacity=100.0,
        dip_address=None,
    )
    moved.battery.override(current=7.2)
    proxy.advertise(moved)
    packs[1].power_off()
    flow = await entries[1].start_reconfigure_flow(hass)
    result = await submit(hass, flow, {CONF_ADDRESS: moved.address})
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()
    assert entries[1].unique_id == moved.address
    await publish(hass, bank)
    assert shown(hass, "current") == "37.3"


async def test_removed_pack_raises_an_issue(
    hass: HomeAssistant,
    packs: list[VirtualBms],
    entries: list[MockConfigEntry],
    bank: MockConfigEntry,
) -> None:
    """The bank stays, without sums, until its packs are chosen again."""
    issue_id = f"{BANK_ID}_pack_removed"
    issues = ir.async_get(hass)
    assert not issues.async_get_issue(DOMAIN, issue_id)
    await hass.config_entries.async_remove(entries[1].entry_id)
    await publish(hass, bank)
    issue = issues.async_get_issue(DOMAIN, issue_id)
    assert issue
    assert issue.translation_placeholders == {"name": "bank"}
    assert shown(hass, "current") == STATE_UNAVAILABLE
    assert shown(hass, "state_of_charge") != STATE_UNAVAILABLE
    await hass.config_entries.async_remove(BANK_ID)
    await hass.async_block_till_done()
    assert not issues.async_get_issue(DOMAIN, issue_id)
    assert not hass.states.get("sensor.bank_current")


# The dialogs


async def start(hass: HomeAssistant) -> ConfigFlowResult:
    """Choose to add the integration."""
    return await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )


async def submit(
    hass: HomeAssistant, flow: Any, user_input: dict[str, Any]
) -> ConfigFlowResult:
    """Submit what the flow shows."""
    return await hass.config_entries.flow.async_configure(flow["flow_id"], user_input)


async def test_bank_is_added_in_the_ui(
    hass: HomeAssistant, packs: list[VirtualBms], entries: list[MockConfigEntry]
) -> None:
    """From the menu; at least two packs; a pack is in one bank only."""
    flow = await start(hass)
    assert (flow["type"], flow["step_id"]) == (FlowResultType.MENU, "add")
    assert flow["menu_options"] == ["battery", "bank"]
    flow = await submit(hass, flow, {"next_step_id": "bank"})
    assert (flow["type"], flow["step_id"]) == (FlowResultType.FORM, "bank")
    other = await submit(hass, await start(hass), {"next_step_id": "bank"})
    addresses = [bms.address for bms in packs]
    chosen = {"name": "bank", CONF_PACKS: addresses, CONF_WIRING: "series"}
    one = await submit(hass, flow, chosen | {CONF_PACKS: addresses[:1]})
    assert one["errors"] == {CONF_PACKS: "too_few_packs"}
    result = await submit(hass, flow, chosen)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "bank"
    assert result["data"] == {CONF_PACKS: addresses, CONF_WIRING: "series"}
    assert result["description"] == "with_energy"
    await hass.async_block_till_done()
    assert result["result"].state is ConfigEntryState.LOADED
    late = await submit(hass, other, chosen)
    assert late["errors"] == {CONF_PACKS: "pack_taken"}
    # No packs are left for another bank: what is added is a battery.
    assert (await start(hass))["step_id"] == "user"


async def test_packs_of_different_size_are_not_wired_in_parallel(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    packs: list[VirtualBms],
    entries: list[MockConfigEntry],
    make_bms: MakeBms,
) -> None:
    """In parallel they would short each other; in series they are allowed."""
    small = make_bms(
        "JK_PB2A16S20P 15.41", name="small", address="C8:47:80:77:00:04", cells=4
    )
    proxy.advertise(small)
    await setup_integration(hass, small)
    flow = await submit(hass, await start(hass), {"next_step_id": "bank"})
    chosen = {
        "name": "bank",
        CONF_PACKS: [packs[0].address, small.address],
        CONF_WIRING: "parallel",
    }
    flow = await submit(hass, flow, chosen)
    assert flow["errors"] == {CONF_PACKS: "different_cells"}
    assert flow["description_placeholders"]["cells"] == "pack_a 16, small 4"
    result = await submit(hass, flow, chosen | {CONF_WIRING: "series"})
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_menu_leads_to_a_battery_as_well(
    hass: HomeAssistant, entries: list[MockConfigEntry]
) -> None:
    """Its form is the one that a home without packs shows at once."""
    flow = await submit(hass, await start(hass), {"next_step_id": "battery"})
    assert (flow["type"], flow["step_id"]) == (FlowResultType.FORM, "user")
    flow = await submit(hass, flow, {CONF_ADDRESS: "nonsense"})
    assert flow["errors"] == {CONF_ADDRESS: "invalid_address"}


async def test_reconfigure_changes_the_packs(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    packs: list[VirtualBms],
    entries: list[MockConfigEntry],
    make_bms: MakeBms,
    bank: MockConfigEntry,
) -> None:
    """A removed pack is no choice; the bank is set up again."""
    third = make_bms(
        "JK_PB2A16S20P 15.41",
        name="pack_c",
        address="C8:47:80:77:00:03",
        dip_address=None,
    )
    proxy.advertise(third)
    third.battery.override(current=1.0)
    await setup_integration(hass, third)
    await hass.config_entries.async_remove(entries[1].entry_id)
    flow = await bank.start_reconfigure_flow(hass)
    assert flow["step_id"] == "reconfigure_bank"
    few = {CONF_PACKS: [packs[0].address], CONF_WIRING: "parallel"}
    flow = await submit(hass, flow, few)
    assert flow["errors"] == {CONF_PACKS: "too_few_packs"}
    result = await submit(
        hass, flow, few | {CONF_PACKS: [packs[0].address, third.address]}
    )
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "bank_changed"
    await hass.async_block_till_done()
    await publish(hass, bank)
    assert shown(hass, "current") == "31.1"
    assert not ir.async_get(hass).async_get_issue(DOMAIN, f"{BANK_ID}_pack_removed")


async def test_options_of_a_bank(
    hass: HomeAssistant, bank: MockConfigEntry, pushgateway: str
) -> None:
    """What is counted, and pushing, which is tried; the bank is reloaded."""
    flow = await hass.config_entries.options.async_init(BANK_ID)
    for path, errors in (("/wrong", {"base": "push_failed"}), ("", None)):
        assert flow["step_id"] == "bank"
        flow = await hass.config_entries.options.async_configure(
            flow["flow_id"],
            {CONF_MISSING: 5, "push": {"url": f"{pushgateway}{path}"}},
        )
        assert flow.get("errors") == errors
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done(wait_background_tasks=True)
    held = (await groups(pushgateway))[bank.title]
    assert held["battery_current"][0][1] == 35.3
    assert bank.runtime_data.options.count_missing_for == timedelta(minutes=5)


# Everywhere else


async def test_bank_has_diagnostics_without_names(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    bank: MockConfigEntry,
    socket_enabled: None,
) -> None:
    """Packs are numbered."""
    assert await async_setup_component(hass, "diagnostics", {})
    report: Any = await get_diagnostics_for_config_entry(hass, hass_client, bank)
    assert report["packs"] == {"Pack 1": "loaded", "Pack 2": "loaded"}
    assert report["bank"]["current"] == 35.3
    assert report["energy"].keys() == {"energy_charged", "energy_discharged"}
    assert "pack_a" not in str(report)
    await hass.config_entries.async_unload(bank.entry_id)
    await get_diagnostics_for_config_entry(hass, hass_client, bank)


async def test_bank_is_pushed_to_a_pushgateway(
    hass: HomeAssistant,
    packs: list[VirtualBms],
    entries: list[MockConfigEntry],
    pushgateway: str,
) -> None:
    """Its metrics are those of a battery; without a pack there is no sum."""

    async def pushed() -> dict[str, list[float]]:
        await pass_time(hass, timedelta(seconds=60))
        held = (await groups(pushgateway))["bank"]
        assert held["up"][0][0]["device"] == "bank"
        return {name: [value for _, value in held[name]] for name in held}

    bank = await add_bank(hass, bank_entry(packs, push={"url": pushgateway}))
    metrics = await pushed()
    assert metrics["battery_current"] == [35.3]
    assert metrics["nominal_capacity"] == [380]
    silence(entries[1])
    await publish(hass, bank)
    metrics = await pushed()
    assert "battery_current" not in metrics
    assert len(metrics["battery_voltage"]) == 1
    silence(*entries)
    await publish(hass, bank)
    metrics = await pushed()
    assert metrics["up"] == [0]
    assert "battery_voltage" not in metrics


async def test_page_is_sent_the_bank(
    hass: HomeAssistant,
    bank: MockConfigEntry,
    entries: list[MockConfigEntry],
    hass_ws_client: WebSocketGenerator,
    socket_enabled: None,
) -> None:
    """Cards find its entities by the keys of a battery."""
    page = Page(await hass_ws_client(hass))
    event = await page.subscribe()
    (card,) = [each for each in event["batteries"] if each["title"] == "bank"]
    assert card["entities"]["sensor.current"] == "sensor.bank_current"
    assert card["cell_count"] is None
    assert card["packs"] == [entry.entry_id for entry in entries]
    live = event["live"][card["device_id"]]
    assert live["available"] is True
    assert live["faults"] == []
    silence(*entries)
    await publish(hass, bank)
    event = await page.until(lambda event: card["device_id"] in event["live"])
    assert event["live"][card["device_id"]]["available"] is False
    await hass.config_entries.async_unload(bank.entry_id)
    await page.unsubscribe()


async def test_actions_ask_for_a_pack(
    hass: HomeAssistant, bank: MockConfigEntry
) -> None:
    """A bank has no logbook of its own."""
    with pytest.raises(ServiceValidationError) as error:
        await hass.services.async_call(
            DOMAIN,
            "get_logbook",
            {"config_entry_id": BANK_ID},
            blocking=True,
            return_response=True,
        )
    assert error.value.translation_key == "is_bank"


async def test_bank_of_packs_without_current_lacks_the_entity(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    entity_registry: er.EntityRegistry,
) -> None:
    """What no pack can report is no entity; what one lacks for now is unknown."""
    made = [
        make_bms("JK-B2A16S 3.3.0", address=f"C8:47:80:77:00:1{n}", name=f"old {n}")
        for n in (1, 2)
    ]
    for bms in made:
        proxy.advertise(bms)
        await setup_integration(hass, bms)
    await add_bank(hass, bank_entry(made))
    assert shown(hass, "total_voltage") not in {STATE_UNAVAILABLE, STATE_UNKNOWN}
    for key in ("current", "energy_charged", "energy_discharged"):
        assert not entity_registry.async_get(f"sensor.bank_{key}"), key


async def test_energy_of_a_part_is_not_shown(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    packs: list[VirtualBms],
    entries: list[MockConfigEntry],
    make_bms: MakeBms,
) -> None:
    """A pack without a current has no counter; without it as a member, all is well."""
    silent = make_bms("JK-B2A16S 3.3.0", address="C8:47:80:77:00:10", name="old")
    proxy.advertise(silent)
    await setup_integration(hass, silent)
    bank = await add_bank(hass, bank_entry(packs))
    assert shown(hass, "energy_charged") == "0.0"
    hass.config_entries.async_update_entry(
        bank, data={**bank.data, CONF_PACKS: [packs[0].address, silent.address]}
    )
    assert await hass.config_entries.async_reload(BANK_ID)
    await hass.async_block_till_done()
    assert shown(hass, "energy_charged") == STATE_UNKNOWN
    hass.config_entries.async_update_entry(
        bank, data={**bank.data, CONF_PACKS: [bms.address for bms in packs]}
    )
    assert await hass.config_entries.async_reload(BANK_ID)
    await hass.async_block_till_done()
    assert shown(hass, "energy_charged") == "0.0"
