"""The ways to add a battery, each error followed to the entry."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import NoneType
from typing import Any
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_capture_events,
)

from custom_components.jk_bms import connection_slots
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.controls import lapsed_issue_id
from custom_components.jk_bms.jkbms.bluetooth.client import JkBmsClient
from custom_components.jk_bms.ledger import EVENT_SETTING_CHANGED
from custom_components.jk_bms.options import (
    CONF_CONTROLS,
    CONF_INTERVAL,
    CONF_LINK,
    CONF_PAUSE,
    LinkBehaviour,
)
from custom_components.jk_bms.push_label import CONF_LABEL
from custom_components.jk_bms.timed_changes import TimedChanges
from homeassistant.components import bluetooth
from homeassistant.config_entries import (
    SOURCE_BLUETOOTH,
    SOURCE_IGNORE,
    SOURCE_USER,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.const import CONF_ADDRESS, EVENT_HOMEASSISTANT_STOP
from homeassistant.core import HomeAssistant, State
from homeassistant.data_entry_flow import FlowResultType, InvalidData, UnknownFlow
from homeassistant.helpers import (
    device_registry as dr,
    entity_registry as er,
    issue_registry as ir,
)
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import TRANSLATIONS, mock_entry, pass_time, setup_integration, until, until_held
from .restore import store_extra_data

type MakeBms = Callable[..., VirtualBms]

SERIALS = [("JK_B2A8S20P 11.48", True), ("JK-B2A16S 3.3.0", False)]
"""Models, and whether they report a serial number."""


@pytest.fixture(autouse=True)
def fail_fast(short_deadline: None) -> None:
    """Let no failing read take long."""


async def discover(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> list[Any]:
    """Receive an advertisement and return the flows in progress."""
    assert proxy.advertise(bms)
    await hass.async_block_till_done(wait_background_tasks=True)
    return hass.config_entries.flow.async_progress_by_handler(DOMAIN)


async def start_user_flow(hass: HomeAssistant) -> ConfigFlowResult:
    """Choose to add the integration by hand."""
    result = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] == "user"
    return result


async def submit(
    hass: HomeAssistant, flow: Any, user_input: dict[str, Any] | None = None
) -> ConfigFlowResult:
    """Submit the form that the flow shows."""
    return await hass.config_entries.flow.async_configure(
        flow["flow_id"], user_input or {}
    )


async def finish(hass: HomeAssistant, result: ConfigFlowResult, bms: VirtualBms) -> Any:
    """Confirm what was found and check the entry that comes of it."""
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] == "confirm"
    result = await submit(hass, result)
    await hass.async_block_till_done()
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == bms.spec.name
    assert result["data"] == {CONF_ADDRESS: bms.address}
    entry = result["result"]
    assert entry.unique_id == bms.address
    assert entry.state is ConfigEntryState.LOADED
    return entry


def offered(result: ConfigFlowResult) -> dict[str, str]:
    """Return the choices of the form, label by address."""
    assert result["data_schema"]
    (selector,) = result["data_schema"].schema.values()
    assert selector.config["custom_value"] is True
    return {choice["value"]: choice["label"] for choice in selector.config["options"]}


async def test_discovery_creates_entry_after_confirmation(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """A battery in range is offered, read on request, shown and added."""
    (flow,) = await discover(hass, proxy, bms)
    assert flow["step_id"] == "bluetooth_confirm"
    assert flow["context"]["source"] == SOURCE_BLUETOOTH
    assert flow["context"]["title_placeholders"] == {"name": "House 24V (0001)"}
    assert bms.connections == []

    result = await submit(hass, flow)
    assert len(bms.connections) == 1
    assert not bms.connected
    assert result["description_placeholders"] == {
        "name": "House 24V",
        "model": "JK_B2A8S20P",
        "hardware": "11.XA",
        "firmware": "11.48",
        "layout": "JK02_32S",
        "cells": "8",
        "voltage": f"{bms.battery.state.voltage:.2f}",
    }
    await finish(hass, result, bms)


@pytest.mark.parametrize(
    "advert", ["common", "jk_id", "hex_text", "joined_uuid", "joined_uuid_short"]
)
async def test_any_jk_advertisement_is_discovered(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str, advert: str
) -> None:
    """The company id is enough; proxies that garble the service do not matter."""
    (flow,) = await discover(hass, proxy, make_bms(model, advert=advert))
    assert flow["step_id"] == "bluetooth_confirm"


async def test_other_devices_are_not_discovered(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """A battery of another manufacturer starts no flow, and a forced flow ends."""
    foreigner = make_bms(model, advert="foreign")
    assert await discover(hass, proxy, foreigner) == []
    info = bluetooth.async_last_service_info(hass, foreigner.address)
    result = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_BLUETOOTH}, data=info
    )
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "not_supported"


async def test_configured_battery_is_not_discovered(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """What is set up already is not offered again."""
    mock_entry(bms).add_to_hass(hass)
    assert await discover(hass, proxy, bms) == []
    info = bluetooth.async_last_service_info(hass, bms.address)
    result = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_BLUETOOTH}, data=info
    )
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"


@pytest.mark.parametrize(
    ("faults", "slots", "error", "cause"),
    [
        (Faults(refuse_connection=True), 3, "not_reachable", "Connection refused"),
        (Faults(), 0, "no_free_slot", "connection slot"),
        (Faults(silent=True), 3, "silent", "does not respond"),
        (Faults(foreign="neey"), 3, "not_jk_bms", "does not use the JK BMS"),
        (Faults(missing_characteristic=True), 3, "not_jk_bms", "no serial service"),
        (Faults(pairing=True), 3, "pairing_required", "requires pairing"),
    ],
)
@pytest.mark.parametrize("way", ["discovered", "typed"])
async def test_read_error_keeps_the_form_open_and_retry_succeeds(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    faults: Faults,
    slots: int,
    error: str,
    cause: str,
    way: str,
) -> None:
    """Each failure has its own sentence, and the next try may work."""
    (flow,) = await discover(hass, proxy, bms)
    user_input = {}
    if way == "typed":
        flow = await start_user_flow(hass)
        user_input = {CONF_ADDRESS: bms.address}
    bms.faults = faults
    proxy.radio.slots = slots

    result = await submit(hass, flow, user_input)
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] == flow["step_id"]
    assert result["errors"] == {"base": error}
    assert result["description_placeholders"]
    assert result["description_placeholders"]["address"] == bms.address
    assert cause in result["description_placeholders"]["reason"]
    assert "garage" in result["description_placeholders"]["reason"]
    assert not bms.connected

    bms.faults = Faults()
    proxy.radio.slots = 3
    await finish(hass, await submit(hass, flow, user_input), bms)


@pytest.mark.parametrize("end", ["closed", "stopped"])
async def test_closing_the_dialog_disconnects(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    """A closed dialog or the end of Home Assistant does not leave the battery taken."""
    (flow,) = await discover(hass, proxy, bms)
    bms.faults = Faults(silent=True)
    monkeypatch.setitem(JkBmsClient.read.__kwdefaults__, "deadline", 60)
    reading = hass.async_create_task(submit(hass, flow))
    await until(lambda: bms.connected)

    if end == "closed":
        hass.config_entries.flow.async_abort(flow["flow_id"])
    else:
        hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await asyncio.wait([reading], timeout=3)
    assert not bms.connected
    assert type(reading.exception()) is (UnknownFlow if end == "closed" else NoneType)
    await hass.async_block_till_done()


@pytest.mark.parametrize("end", ["closed", "stopped"])
async def test_closing_the_dialog_ends_the_wait_for_a_slot(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    """A closed dialog no longer waits for a connection."""
    (flow,) = await discover(hass, proxy, bms)
    proxy.radio.slots = 0
    proxy._report_slots()
    monkeypatch.setattr(connection_slots, "WAIT_TIMEOUT", 60.0)
    reading = hass.async_create_task(submit(hass, flow))
    await until(lambda: connection_slots.async_get_connection_slots(hass)._granted)

    if end == "closed":
        hass.config_entries.flow.async_abort(flow["flow_id"])
    else:
        hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await asyncio.wait([reading], timeout=10)
    assert type(reading.exception()) is (UnknownFlow if end == "closed" else NoneType)
    assert not bms.connections
    await hass.async_block_till_done()


async def test_unsupported_layout_is_an_error(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """A battery whose values stand elsewhere is named, so that it can be reported."""
    (flow,) = await discover(hass, proxy, bms)
    bms.battery.override(voltage=99.0, enabled=0b1011)
    result = await submit(hass, flow)
    assert result["errors"] == {"base": "unsupported_layout"}
    assert result["description_placeholders"]
    assert result["description_placeholders"]["model"] == "JK_B2A8S20P"
    assert result["description_placeholders"]["firmware"] == "11.48"
    bms.battery.release()
    await finish(hass, await submit(hass, flow), bms)


async def test_implausible_values_are_an_error(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """Values that no battery has are not taken for values."""
    (flow,) = await discover(hass, proxy, bms)
    bms.faults = Faults(zeros=True)
    result = await submit(hass, flow)
    assert result["errors"] == {"base": "implausible"}
    bms.faults = Faults()
    await finish(hass, await submit(hass, flow), bms)


@pytest.mark.parametrize("way", ["discovered", "typed"])
async def test_unexpected_error_is_logged_and_retry_succeeds(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    caplog: pytest.LogCaptureFixture,
    way: str,
) -> None:
    """A mistake of ours goes to the log, and the form stays open as well."""
    (flow,) = await discover(hass, proxy, bms)
    user_input = {}
    if way == "typed":
        flow = await start_user_flow(hass)
        user_input = {CONF_ADDRESS: bms.address}
    with patch.object(JkBmsClient, "read", side_effect=ZeroDivisionError):
        result = await submit(hass, flow, user_input)
    assert result["errors"] == {"base": "unknown"}
    assert "ZeroDivisionError" in caplog.text
    await finish(hass, await submit(hass, flow, user_input), bms)


async def test_list_offers_batteries_nearest_first(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms
) -> None:
    """The list has the batteries in range, nearest first, without known ones."""
    far = make_bms("JK_B2A8S20P 11.48")
    near = make_bms("JK-B2A24S15P 10.07")
    rare = make_bms("JK-B2A16S 3.3.0")
    known = make_bms("JK_B2A20S20P 11.288H")
    foreign = make_bms("JK_B2A8S20P 19.10", advert="unrelated", name="TV")
    for bms, rssi in ((far, -80), (near, -40), (rare, -60), (known, -50)):
        proxy.place(bms, rssi)
    mock_entry(known).add_to_hass(hass)
    for bms in (far, near, rare, known, foreign):
        assert proxy.advertise(bms)

    result = await start_user_flow(hass)
    assert offered(result) == {
        near.address: f"JK-B2A24S15P ({near.address})",
        rare.address: f"BMS ({rare.address})",
        far.address: f"House 24V ({far.address})",
    }
    assert list(offered(result)) == [near.address, rare.address, far.address]
    await finish(hass, await submit(hass, result, {CONF_ADDRESS: near.address}), near)


@pytest.mark.parametrize(
    ("signs", "is_offered"),
    [
        ({"advert": "fad6", "name": "Camper"}, True),
        ({"advert": "foreign", "name": "Camper"}, True),
        ({"advert": "unrelated", "name": "JK-B2A8S20P"}, True),
        ({"advert": "unrelated", "name": "Camper"}, False),
    ],
)
async def test_list_recognises_batteries_by_any_sign(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    signs: dict[str, str],
    is_offered: bool,
) -> None:
    """What only looks like a battery is not announced, but it can be picked."""
    bms = make_bms("JK_B2A8S20P 11.48", **signs)
    assert await discover(hass, proxy, bms) == []
    result = await start_user_flow(hass)
    assert (bms.address in offered(result)) is is_offered


async def test_battery_added_by_another_flow_aborts(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """An entry made elsewhere in the meantime is not overwritten."""
    (flow,) = await discover(hass, proxy, bms)
    await submit(hass, flow)
    entry = mock_entry(bms)
    entry.add_to_hass(hass)
    result = await submit(hass, flow)
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"
    assert hass.config_entries.async_entries(DOMAIN) == [entry]


async def test_list_scans_once(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """One active scan finds batteries that send their name only on request."""
    with patch.object(
        bluetooth,
        "async_request_active_scan",
        side_effect=lambda _: proxy.advertise(bms),
    ) as scan:
        result = await start_user_flow(hass)
        assert list(offered(result)) == [bms.address]
        result = await submit(hass, result, {CONF_ADDRESS: "here"})
    assert scan.call_count == 1
    assert list(offered(result)) == [bms.address]


@pytest.mark.parametrize(
    "typed",
    [
        "C8:47:8C:10:00:01",
        "c8:47:8c:10:00:01",
        "C8-47-8C-10-00-01",
        "  c8478c100001 ",
        "c847.8c10.0001",
    ],
)
async def test_address_is_accepted_in_any_notation(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, typed: str
) -> None:
    """An address can be written in any of the usual ways."""
    proxy.advertise(bms)
    result = await start_user_flow(hass)
    await finish(hass, await submit(hass, result, {CONF_ADDRESS: typed}), bms)


@pytest.mark.parametrize("typed", ["", "House 24V", "C8:47:8C:10:00", "GG478C100001"])
async def test_invalid_address_is_an_error(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, typed: str
) -> None:
    """The form works without any battery in its list, and keeps what was typed."""
    result = await start_user_flow(hass)
    assert offered(result) == {}
    result = await submit(hass, result, {CONF_ADDRESS: typed})
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == {CONF_ADDRESS: "invalid_address"}
    assert result["data_schema"]
    (field,) = result["data_schema"].schema
    assert field.description == {"suggested_value": typed}

    result = await submit(hass, result, {CONF_ADDRESS: bms.address})
    assert result["errors"] == {"base": "not_in_range"}
    assert result["description_placeholders"]
    assert "never seen" in result["description_placeholders"]["reason"]

    proxy.advertise(bms)
    result = await submit(hass, result, {CONF_ADDRESS: bms.address})
    await finish(hass, result, bms)


async def test_address_of_configured_battery_aborts(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """A battery is added once, and not read for it."""
    mock_entry(bms).add_to_hass(hass)
    proxy.advertise(bms)
    result = await start_user_flow(hass)
    result = await submit(hass, result, {CONF_ADDRESS: bms.address.lower()})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"
    assert bms.connections == []


async def test_ignored_battery_can_be_added(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """A discovery that was ignored can still be added."""
    MockConfigEntry(
        domain=DOMAIN, unique_id=bms.address, source=SOURCE_IGNORE
    ).add_to_hass(hass)
    assert await discover(hass, proxy, bms) == []
    result = await start_user_flow(hass)
    assert list(offered(result)) == [bms.address]
    await finish(hass, await submit(hass, result, {CONF_ADDRESS: bms.address}), bms)


async def test_adding_by_address_ends_the_discovery_flow(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """The offer goes once the battery is added in the other way."""
    (flow,) = await discover(hass, proxy, bms)
    result = await start_user_flow(hass)
    await finish(hass, await submit(hass, result, {CONF_ADDRESS: bms.address}), bms)
    assert flow["flow_id"] not in {
        flow["flow_id"] for flow in hass.config_entries.flow.async_progress()
    }


@pytest.mark.parametrize("model", ["JK-B2A16S 3.3.0"])
async def test_device_without_cells_can_be_added(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """What such a device does not know is not invented."""
    bms.battery.override(cells=())
    proxy.advertise(bms)
    result = await start_user_flow(hass)
    result = await submit(hass, result, {CONF_ADDRESS: bms.address})
    assert result["description_placeholders"]
    assert result["description_placeholders"]["layout"] == "JK04"
    assert result["description_placeholders"]["cells"] == "0"
    assert result["description_placeholders"]["voltage"] == "?"
    await finish(hass, result, bms)


@pytest.mark.parametrize(
    ("model", "text"),
    [("JK_B2A8S20P 11.48", "with_energy"), ("JK-B2A16S 3.3.0", "default")],
)
async def test_end_of_dialog_leads_to_the_dashboards(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, text: str
) -> None:
    """The energy of a battery that does not report its current is not offered."""
    proxy.advertise(bms)
    result = await start_user_flow(hass)
    result = await submit(hass, result, {CONF_ADDRESS: bms.address})
    result = await submit(hass, result)
    await hass.async_block_till_done()
    assert result["type"] is FlowResultType.CREATE_ENTRY
    # Home Assistant shows the default where the description is empty.
    assert (result["description"] or "default") == text
    pages = result["description_placeholders"]
    assert pages
    shown = TRANSLATIONS["config"]["create_entry"][text].format(**pages)
    assert "[Dashboards](/config/lovelace/dashboards)" in shown
    assert ("[Energy](/config/energy/electricity)" in shown) == (text == "with_energy")


async def test_battery_without_name_is_named_after_its_model(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """The model stands in for a name that was deleted in the app."""
    bms = make_bms(model)
    proxy.advertise(bms)
    bms.battery.spec = replace(bms.spec, name="")
    result = await start_user_flow(hass)
    result = await submit(hass, result, {CONF_ADDRESS: bms.address})
    result = await submit(hass, result)
    assert result["title"] == "JK_B2A8S20P"


NEW_ADDRESS = "C8:47:8C:99:99:99"


async def start_reconfigure(
    hass: HomeAssistant, entry: MockConfigEntry
) -> ConfigFlowResult:
    """Choose to reconfigure the entry."""
    result = await entry.start_reconfigure_flow(hass)
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] == "reconfigure"
    assert result["description_placeholders"] == {"name": "House 24V"}
    return result


def discovered(hass: HomeAssistant) -> set[str | None]:
    """Return the addresses of the batteries that are offered."""
    return {
        flow["context"]["unique_id"]
        for flow in hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    }


def replace_module(
    proxy: VirtualProxy, make_bms: MakeBms, bms: VirtualBms, **spec: Any
) -> VirtualBms:
    """Give a battery another Bluetooth module."""
    bms.power_off()
    key = f"{bms.spec.model} {bms.spec.software}"
    renewed = make_bms(key, address=NEW_ADDRESS, **spec)
    proxy.advertise(renewed)
    return renewed


@pytest.mark.parametrize("link", [LinkBehaviour.RELEASED, LinkBehaviour.HELD])
async def test_reconfigure_keeps_device_and_entities(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    proxy: VirtualProxy,
    make_bms: MakeBms,
    bms: VirtualBms,
    entity_registry: er.EntityRegistry,
    device_registry: dr.DeviceRegistry,
    link: str,
) -> None:
    """The entry follows the battery, and what the user made of it stays."""
    energy = "sensor.house_24v_energy_charged"
    counted = {"owner": mock_entry(bms).entry_id, "total": 12.5}
    await store_extra_data(hass, hass_storage, State(energy, "12.5"), counted)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, link=link)
    assert hass.states.get(energy).state == "12.5"
    if link == LinkBehaviour.HELD:
        await until_held(bms, entry)
    entity_registry.async_update_entity(
        "sensor.house_24v_total_voltage", new_entity_id="sensor.mine"
    )
    (device,) = dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    device_registry.async_update_device(device.id, name_by_user="My house")
    before = er.async_entries_for_config_entry(entity_registry, entry.entry_id)

    renewed = replace_module(proxy, make_bms, bms)
    await hass.async_block_till_done()
    assert NEW_ADDRESS in discovered(hass)
    flow = await start_reconfigure(hass, entry)
    assert list(offered(flow)) == [NEW_ADDRESS]
    result = await submit(hass, flow, {CONF_ADDRESS: NEW_ADDRESS})
    await hass.async_block_till_done()
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "reconfigure_successful"
    assert result.get("translation_domain") is None
    text = TRANSLATIONS["config"]["abort"]["reconfigure_successful"]
    assert text.format(**result["description_placeholders"]).startswith("House 24V now")
    assert NEW_ADDRESS not in discovered(hass)

    assert hass.config_entries.async_entries(DOMAIN) == [entry]
    assert entry.state is ConfigEntryState.LOADED
    assert entry.unique_id == NEW_ADDRESS
    assert entry.data == {CONF_ADDRESS: NEW_ADDRESS}
    assert entry.options == {CONF_LINK: link}
    (moved,) = dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    assert moved.id == device.id
    assert moved.connections == {(dr.CONNECTION_BLUETOOTH, NEW_ADDRESS)}
    assert moved.name_by_user == "My house"
    after = er.async_entries_for_config_entry(entity_registry, entry.entry_id)
    # The id in the registry is what history and statistics hang on.
    assert [(entity.id, entity.entity_id) for entity in before] == [
        (entity.id, entity.entity_id) for entity in after
    ]
    for old, new in zip(before, after, strict=True):
        assert new.unique_id == old.unique_id.replace(bms.address, NEW_ADDRESS)
    voltage = hass.states.get("sensor.mine")
    assert voltage.state == str(renewed.battery.state.voltage)
    if link == LinkBehaviour.RELEASED:
        # The reading of the dialog is the first one.
        assert len(renewed.connections) == 1
    assert hass.states.get(energy).state == "12.5"


async def test_reconfigure_keeps_the_pause_and_the_push_label(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, bms: VirtualBms
) -> None:
    """The phone app keeps its turn, and the server the name of the series."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, CONF_LABEL: "House"}
    )
    await entry.runtime_data.async_release_link()
    resumes_at = entry.runtime_data.resumes_at
    renewed = replace_module(proxy, make_bms, bms)
    await hass.async_block_till_done()
    flow = await start_reconfigure(hass, entry)
    result = await submit(hass, flow, {CONF_ADDRESS: NEW_ADDRESS})
    await hass.async_block_till_done()
    assert result["reason"] == "reconfigure_successful"
    assert entry.state is ConfigEntryState.LOADED
    assert abs((entry.runtime_data.resumes_at - resumes_at).total_seconds()) < 5
    links = len(renewed.connections)
    await pass_time(hass)
    assert len(renewed.connections) == links
    assert entry.data == {CONF_ADDRESS: NEW_ADDRESS, CONF_LABEL: "House"}


@pytest.mark.parametrize(
    "other", [{"serial": "3040100099"}, {"model": "JK_B2A20S20P"}, {"serial": ""}]
)
async def test_reconfigure_rejects_a_different_battery(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    bms: VirtualBms,
    other: dict[str, str],
) -> None:
    """An entry keeps to its battery; the right one is accepted afterwards."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    renewed = replace_module(proxy, make_bms, bms)
    renewed.battery.spec = replace(renewed.spec, **other)
    flow = await start_reconfigure(hass, entry)
    result = await submit(hass, flow, {CONF_ADDRESS: NEW_ADDRESS})
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == {"base": "other_battery"}
    assert result["description_placeholders"]["name"] == "House 24V"
    assert entry.data == {CONF_ADDRESS: bms.address}
    assert not renewed.connected

    renewed.battery.spec = bms.spec
    result = await submit(hass, flow, {CONF_ADDRESS: NEW_ADDRESS})
    await hass.async_block_till_done()
    assert result["reason"] == "reconfigure_successful"
    assert entry.state is ConfigEntryState.LOADED


async def test_reconfigure_read_error_keeps_the_form_open(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, bms: VirtualBms
) -> None:
    """What is typed wrong, or cannot be read now, can be tried again."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    renewed = replace_module(proxy, make_bms, bms)
    flow = await start_reconfigure(hass, entry)
    result = await submit(hass, flow, {CONF_ADDRESS: "somewhere"})
    assert result["errors"] == {CONF_ADDRESS: "invalid_address"}
    renewed.faults = Faults(pairing=True)
    result = await submit(hass, flow, {CONF_ADDRESS: NEW_ADDRESS})
    assert result["errors"] == {"base": "pairing_required"}
    assert result["step_id"] == "reconfigure"
    assert result["description_placeholders"]["name"] == "House 24V"

    renewed.faults = Faults()
    result = await submit(hass, flow, {CONF_ADDRESS: NEW_ADDRESS})
    await hass.async_block_till_done()
    assert result["reason"] == "reconfigure_successful"
    assert entry.unique_id == NEW_ADDRESS


@pytest.mark.parametrize("whose", ["its own", "another's"])
async def test_reconfigure_to_configured_address_aborts(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    bms: VirtualBms,
    whose: str,
) -> None:
    """Two entries do not share an address."""
    entry = mock_entry(bms)
    entry.add_to_hass(hass)
    other = make_bms("JK-B2A24S15P 10.07")
    mock_entry(other).add_to_hass(hass)
    flow = await start_reconfigure(hass, entry)
    address = bms.address if whose == "its own" else other.address
    result = await submit(hass, flow, {CONF_ADDRESS: address})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"
    assert entry.data == {CONF_ADDRESS: bms.address}


async def test_reconfigure_to_ignored_address_replaces_its_entry(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, bms: VirtualBms
) -> None:
    """A new module that was ignored as a new battery can still be chosen."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    ignored = MockConfigEntry(
        domain=DOMAIN, unique_id=NEW_ADDRESS, source=SOURCE_IGNORE
    )
    ignored.add_to_hass(hass)
    replace_module(proxy, make_bms, bms)
    flow = await start_reconfigure(hass, entry)
    assert list(offered(flow)) == [NEW_ADDRESS]
    result = await submit(hass, flow, {CONF_ADDRESS: NEW_ADDRESS})
    await hass.async_block_till_done()
    assert result["reason"] == "reconfigure_successful"
    assert hass.config_entries.async_entries(DOMAIN) == [entry]
    assert entry.unique_id == NEW_ADDRESS


async def test_reconfigure_aborts_if_address_was_added_meanwhile(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, bms: VirtualBms
) -> None:
    """The first flow gets the address."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    renewed = replace_module(proxy, make_bms, bms)
    flow = await start_reconfigure(hass, entry)
    moving = hass.async_create_task(submit(hass, flow, {CONF_ADDRESS: NEW_ADDRESS}))
    await until(lambda: renewed.connected)
    mock_entry(renewed).add_to_hass(hass)
    result = await moving
    assert result["reason"] == "already_configured"
    assert entry.data == {CONF_ADDRESS: bms.address}
    assert entry.state is ConfigEntryState.LOADED


@pytest.mark.parametrize(
    ("model", "is_read", "asked"),
    [
        (
            "JK-B2A16S 3.3.0",
            True,
            {
                "model": "JK-B2A16S",
                "hardware": "4.0",
                "firmware": "3.3.0",
                "cells": "16",
                "known_model": "JK-B2A16S",
                "known_hardware": "3.0",
                "known_firmware": "3.3.0",
            },
        ),
        (
            "JK_B2A8S20P 11.48",
            False,
            {
                "model": "JK_B2A8S20P",
                "hardware": "4.0",
                "firmware": "11.48",
                "cells": "8",
                "known_model": "?",
                "known_hardware": "?",
                "known_firmware": "?",
            },
        ),
    ],
)
async def test_reconfigure_without_serial_number_asks_to_compare(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    bms: VirtualBms,
    is_read: bool,
    asked: dict[str, str],
) -> None:
    """The user is shown what there is to compare, and decides."""
    if is_read:
        proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    assert (entry.state is ConfigEntryState.LOADED) is is_read
    hass.config_entries.async_update_entry(entry, title="House 24V")
    renewed = replace_module(proxy, make_bms, bms)
    renewed.battery.spec = replace(renewed.spec, hardware="4.0")
    flow = await start_reconfigure(hass, entry)
    result = await submit(hass, flow, {CONF_ADDRESS: NEW_ADDRESS})
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] == "compare"
    shown = result["description_placeholders"]
    assert shown
    assert (asked | {"name": "House 24V"}).items() <= shown.items()
    assert float(shown["voltage"]) > 20
    TRANSLATIONS["config"]["step"]["compare"]["description"].format(**shown)
    assert entry.data == {CONF_ADDRESS: bms.address}
    assert not renewed.connected

    result = await submit(hass, flow)
    await hass.async_block_till_done()
    assert result["reason"] == "reconfigure_successful"
    assert entry.data == {CONF_ADDRESS: NEW_ADDRESS}
    assert entry.state is ConfigEntryState.LOADED
    assert not renewed.connected


@pytest.mark.parametrize(("model", "is_kept"), SERIALS)
async def test_reconfigure_takes_the_controls_back_without_a_serial_number(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    bms: VirtualBms,
    is_kept: bool,
) -> None:
    """What was allowed and started for one battery does not reach another one."""
    proxy.advertise(bms)
    allowed = {"controls": "tuning", "found": {"max_balance_current": 2.0}}
    entry = await setup_integration(hass, bms, **allowed, interval=60)
    hass.config_entries.async_update_entry(entry, title="House 24V")
    await hass.services.async_call(
        DOMAIN,
        "set_settings",
        {
            "config_entry_id": entry.entry_id,
            "settings": {"balancer": False},
            "for": "01:00:00",
        },
        blocking=True,
    )
    timed = TimedChanges.async_get(hass, entry.entry_id)
    assert {*timed.changes} == {"balancer"}
    events = async_capture_events(hass, EVENT_SETTING_CHANGED)
    renewed = replace_module(proxy, make_bms, bms)
    renewed.battery.settings = replace(renewed.battery.settings, balance_trigger=0.5)
    if is_kept:
        renewed.battery.settings = replace(bms.battery.settings)
    flow = await start_reconfigure(hass, entry)
    result = await submit(hass, flow, {CONF_ADDRESS: NEW_ADDRESS})
    if not is_kept:
        result = await submit(hass, flow)
    await hass.async_block_till_done()
    assert result["reason"] == "reconfigure_successful"
    assert entry.state is ConfigEntryState.LOADED
    assert entry.options == ({"interval": 60} | (allowed if is_kept else {}))
    assert {*timed.changes} == ({"balancer"} if is_kept else set())
    issue = ir.async_get(hass).async_get_issue(
        DOMAIN, lapsed_issue_id(entry.entry_id, "balancer")
    )
    assert (issue is None) is is_kept
    assert events == []
    assert renewed.writes == []


async def test_reconfigure_waits_for_running_setup(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, bms: VirtualBms
) -> None:
    """A last try to read the battery at its old address does not spoil it."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    renewed = make_bms("JK_B2A8S20P 11.48", address=NEW_ADDRESS)
    proxy.advertise(renewed)
    flow = await start_reconfigure(hass, entry)
    bms.faults = Faults(silent=True)
    reloading = hass.async_create_task(hass.config_entries.async_reload(entry.entry_id))
    await until(lambda: entry.state is ConfigEntryState.SETUP_IN_PROGRESS)
    result = await submit(hass, flow, {CONF_ADDRESS: NEW_ADDRESS})
    await reloading
    await hass.async_block_till_done()
    assert result["reason"] == "reconfigure_successful"
    assert entry.state is ConfigEntryState.LOADED
    assert not renewed.connected


async def test_options_are_saved_and_applied(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """The form shows what is in force, and what is chosen comes into force."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    coordinator = entry.runtime_data
    flow = await hass.config_entries.options.async_init(entry.entry_id)
    assert flow["type"] is FlowResultType.FORM
    assert flow["step_id"] == "init"
    assert flow["data_schema"]({}) == {
        CONF_INTERVAL: 30,
        CONF_LINK: "released",
        CONF_PAUSE: 15,
        CONF_CONTROLS: "read_only",
    }
    fields = {str(field) for field in flow["data_schema"].schema}
    texts = TRANSLATIONS["options"]["step"]["init"]
    assert fields - {"push"} == set(texts["data"]) == set(texts["data_description"])
    assert set(TRANSLATIONS["selector"][CONF_LINK]["options"]) == set(LinkBehaviour)

    rest = {CONF_CONTROLS: "read_only"}
    chosen = {CONF_INTERVAL: 7.5, CONF_LINK: "held", CONF_PAUSE: 0.5 + 1, **rest}
    result = await hass.config_entries.options.async_configure(flow["flow_id"], chosen)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await until_held(bms, entry)
    assert entry.options == chosen
    assert entry.runtime_data is not coordinator
    assert entry.runtime_data.options.interval.total_seconds() == 7.5
    assert entry.runtime_data.options.pause.total_seconds() == 90

    flow = await hass.config_entries.options.async_init(entry.entry_id)
    shown = {
        str(field): field.description["suggested_value"]
        for field in flow["data_schema"].schema
        if field.description
    }
    assert shown == chosen
    chosen = {CONF_INTERVAL: 3600, CONF_LINK: "released", CONF_PAUSE: 1440, **rest}
    await hass.config_entries.options.async_configure(flow["flow_id"], chosen)
    await hass.async_block_till_done()
    assert entry.options == chosen
    assert entry.state is ConfigEntryState.LOADED
    assert not bms.connected
    assert bms.connections[-2].reason == "by the central"


@pytest.mark.parametrize(
    "wrong",
    [
        {CONF_INTERVAL: 4.9},
        {CONF_INTERVAL: 3601},
        {CONF_INTERVAL: "soon"},
        {CONF_INTERVAL: None},
        {CONF_LINK: "borrowed"},
        {CONF_PAUSE: 0},
        {CONF_PAUSE: 1441},
        {CONF_CONTROLS: "everything"},
    ],
)
async def test_options_out_of_range_are_rejected(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    wrong: dict[str, Any],
) -> None:
    """What does not fit is refused, and the form can be sent again."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    flow = await hass.config_entries.options.async_init(entry.entry_id)
    good = {
        CONF_INTERVAL: 10,
        CONF_LINK: "released",
        CONF_PAUSE: 15,
        CONF_CONTROLS: "everyday",
    }
    with pytest.raises(InvalidData) as raised:
        await hass.config_entries.options.async_configure(flow["flow_id"], good | wrong)
    assert list(raised.value.schema_errors) == list(wrong)
    assert entry.options == {}
    await hass.config_entries.options.async_configure(flow["flow_id"], good)
    await hass.async_block_till_done()
    assert entry.options == good
    assert entry.state is ConfigEntryState.LOADED
