"""Batteries that require a pairing code, over an emulated BlueZ and over a proxy."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
import json
import logging
import subprocess
import sys
from typing import Any

from bleak.backends.bluezdbus import manager as bluez_manager
from bleak.backends.bluezdbus.version import BlueZFeatures
from habluetooth import BluetoothManager, HaBleakClientWrapper
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.jk_bms import issues as lasting_issues
from custom_components.jk_bms.bonds import CONF_ADAPTER, async_find_bond, async_pair
from custom_components.jk_bms.connection_paths import (
    async_create_client_mixin,
    async_last_path,
)
from custom_components.jk_bms.connection_slots import ConnectionSlots
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.jkbms.bluetooth.client import JkBmsClient
from custom_components.jk_bms.jkbms.errors import (
    NoFreeSlotError,
    NotReachableError,
    PairingGoneError,
)
from custom_components.jk_bms.pairing_flow import CONF_CODE
from homeassistant.components.repairs import repairs_flow_manager
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    SOURCE_USER,
    ConfigEntryState,
)
from homeassistant.const import CONF_ADDRESS, EVENT_HOMEASSISTANT_FINAL_WRITE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
from tests.bluez import Adapter, Bluez, Lock
from tests.bluez.scanner import LocalScanner
from tests.virtual_bms import MODELS, Battery, Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import SPEED, receive_advertisement

ADAPTER = "00:1A:7D:DA:71:13"
OTHER_ADAPTER = "00:1A:7D:DA:71:14"
CODE = "803471"
WRONG_CODE = "803472"
SHARED_DIGITS = "80347"
"""Of both codes."""
ADDRESS = "A4:C1:38:10:00:01"


@pytest.fixture
def bms() -> VirtualBms:
    """Return a battery that sends nothing to a client that is not paired."""
    spec = replace(MODELS["JK_PB2A16S20P 15.41"], address=ADDRESS)
    battery = Battery(spec, time_scale=0.0)
    faults = Faults(pairing=True)
    return VirtualBms(battery, faults=faults, speed=SPEED)


@pytest.fixture
async def bluez(
    bus_address: str, bms: VirtualBms, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Bluez]:
    """Run BlueZ."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus_address)
    monkeypatch.setattr(BlueZFeatures, "checked_bluez_version", True)
    async with Bluez(bus_address) as bluez:
        bluez.locks[bms.address] = Lock(code=int(CODE))
        yield bluez
        loop = asyncio.get_running_loop()
        if manager := bluez_manager._global_instances.pop(loop, None):
            manager._bus.disconnect()


@pytest.fixture
def adapter(bluez: Bluez, bms: VirtualBms) -> Adapter:
    """Plug an adapter in, with the battery in range."""
    adapter = bluez.add_adapter("hci1", ADAPTER)
    adapter.place(bms)
    return adapter


@pytest.fixture
async def scanner(
    hass: HomeAssistant, bluetooth: None, bluez: Bluez, adapter: Adapter
) -> AsyncGenerator[LocalScanner]:
    """Let Home Assistant use the adapter."""
    scanner = LocalScanner(bluez, adapter)
    yield scanner
    scanner.stop()


async def start(hass: HomeAssistant, bms: VirtualBms) -> Any:
    """Type the address of the battery."""
    flows = hass.config_entries.flow
    result = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    return await flows.async_configure(result["flow_id"], {CONF_ADDRESS: bms.address})


async def enter(hass: HomeAssistant, result: Any, code: str = CODE) -> Any:
    """Enter a code in the dialog."""
    flows = hass.config_entries.flow
    return await flows.async_configure(result["flow_id"], {CONF_CODE: code})


async def add(hass: HomeAssistant, bms: VirtualBms) -> MockConfigEntry:
    """Add the battery with its code."""
    result = await enter(hass, await start(hass, bms))
    assert result["step_id"] == "confirm"
    result = await hass.config_entries.flow.async_configure(result["flow_id"], {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done(wait_background_tasks=True)
    entry = result["result"]
    assert isinstance(entry, MockConfigEntry) or entry.state is ConfigEntryState.LOADED
    return entry


def issues(hass: HomeAssistant) -> dict[str, ir.IssueEntry]:
    """Return the issues of the integration by what they are about."""
    return {
        issue.translation_key or "": issue
        for issue in ir.async_get(hass).issues.values()
        if issue.domain == DOMAIN
    }


async def fail_until_issue(
    hass: HomeAssistant, entry: MockConfigEntry, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Let reads fail until an issue is raised, and return what it is about."""
    at_once = dict.fromkeys(lasting_issues.RAISED_AFTER, 0.0)
    monkeypatch.setattr(lasting_issues, "RAISED_AFTER", at_once)
    for _ in range(lasting_issues.MIN_FAILURES):
        if entry.state is ConfigEntryState.LOADED:
            entry.runtime_data._async_start_poll()
            await hass.async_block_till_done(wait_background_tasks=True)
        else:
            await hass.config_entries.async_reload(entry.entry_id)
    (key,) = issues(hass)
    return key


def move_away(bluez: Bluez, adapter: Adapter) -> None:
    """Move the battery out of the range of an adapter, which forgets the device."""
    adapter.reach.clear()
    for device in tuple(bluez.devices.values()):
        if device.adapter is adapter:
            bluez._forget(device)


async def test_code_is_asked_for_and_the_battery_added(
    hass: HomeAssistant, scanner: LocalScanner, bluez: Bluez, bms: VirtualBms
) -> None:
    """The dialog pairs, reads and adds; a wrong code can be corrected."""
    await scanner.see(bms)
    result = await start(hass, bms)
    assert result["step_id"] == "pair"
    assert result["errors"] == {}
    (code,) = result["data_schema"].schema
    assert code.description == {"suggested_value": "123456"}
    result = await enter(hass, result, "12345")
    assert result["errors"] == {"base": "invalid_code"}
    result = await enter(hass, result, "123456")
    assert result["errors"] == {"base": "pairing_refused"}
    assert "AuthenticationFailed" in result["description_placeholders"]["reason"]
    result = await enter(hass, result)
    assert result["step_id"] == "confirm"
    result = await hass.config_entries.flow.async_configure(result["flow_id"], {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == {CONF_ADDRESS: ADDRESS, CONF_ADAPTER: ADAPTER}
    await hass.async_block_till_done(wait_background_tasks=True)
    assert result["result"].state is ConfigEntryState.LOADED
    assert bluez.bonds == {(ADAPTER, ADDRESS): True}
    assert bluez.removed == []
    assert bluez.agents == {}


async def test_paired_battery_is_read_over_its_adapter_only(
    hass: HomeAssistant,
    scanner: LocalScanner,
    proxy: VirtualProxy,
    bms: VirtualBms,
) -> None:
    """A proxy that is nearer has no bond, so it is not used."""
    await scanner.see(bms)
    entry = await add(hass, bms)
    proxy.place(bms, rssi=-30)
    receive_advertisement(proxy, bms)
    bms.connections.clear()
    await entry.runtime_data.async_refresh()
    assert [connection.source for connection in bms.connections] == [ADAPTER]


async def test_removing_the_entry_removes_the_bond(
    hass: HomeAssistant, scanner: LocalScanner, bluez: Bluez, bms: VirtualBms
) -> None:
    """Neither a reload nor a failure does."""
    await scanner.see(bms)
    entry = await add(hass, bms)
    bms.faults = Faults(silent=True)
    await hass.config_entries.async_reload(entry.entry_id)
    bms.faults = Faults(pairing="drop")
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert bluez.removed == []
    await hass.config_entries.async_remove(entry.entry_id)
    assert bluez.removed == [(ADDRESS, True)]
    assert bluez.bonds == {}


async def test_bond_that_cannot_be_removed_is_logged(
    hass: HomeAssistant,
    scanner: LocalScanner,
    bluez: Bluez,
    bms: VirtualBms,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The entry is removed all the same."""
    await scanner.see(bms)
    entry = await add(hass, bms)
    bluez.failures["RemoveDevice"] = "org.bluez.Error.NotReady", "Not Ready"
    await hass.config_entries.async_remove(entry.entry_id)
    assert "could not be removed" in caplog.text


async def test_lost_bond_is_repaired(
    hass: HomeAssistant,
    scanner: LocalScanner,
    bluez: Bluez,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A battery that was reset gets its code in the repairs."""
    assert await async_setup_component(hass, "repairs", {})
    await scanner.see(bms)
    entry = await add(hass, bms)
    bluez.locks[ADDRESS].knows.clear()
    assert await fail_until_issue(hass, entry, monkeypatch) == "pairing_possible"
    ((_, issue),) = issues(hass).items()
    assert issue.is_fixable

    manager = repairs_flow_manager(hass)
    assert manager
    result: Any = await manager.async_init(
        DOMAIN, context={"issue_id": issue.issue_id}, data={}
    )
    assert result["step_id"] == "pair"
    result = await manager.async_configure(result["flow_id"], {CONF_CODE: "000000"})
    assert result["errors"] == {"base": "pairing_refused"}
    await hass.async_block_till_done(wait_background_tasks=True)
    result = await manager.async_configure(result["flow_id"], {CONF_CODE: CODE})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.state is ConfigEntryState.LOADED
    assert entry.data[CONF_ADAPTER] == ADAPTER
    assert bluez.bonds == {(ADAPTER, ADDRESS): True}
    assert issues(hass) == {}


async def test_repair_of_a_battery_that_works_again_keeps_its_bond(
    hass: HomeAssistant,
    scanner: LocalScanner,
    bluez: Bluez,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The dialog may be open for long; the entry may also be gone by then."""
    assert await async_setup_component(hass, "repairs", {})
    await scanner.see(bms)
    entry = await add(hass, bms)
    bluez.locks[ADDRESS].knows.clear()
    await fail_until_issue(hass, entry, monkeypatch)
    ((_, issue),) = issues(hass).items()
    manager = repairs_flow_manager(hass)
    assert manager
    flows: list[Any] = [
        await manager.async_init(DOMAIN, context={"issue_id": issue.issue_id}, data={})
        for _ in range(2)
    ]
    bluez.locks[ADDRESS].knows.add(ADAPTER)
    await entry.runtime_data.async_refresh()
    result: Any = await manager.async_configure(flows[0]["flow_id"], {CONF_CODE: CODE})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert bluez.removed == []

    await hass.config_entries.async_remove(entry.entry_id)
    result = await manager.async_configure(flows[1]["flow_id"], {CONF_CODE: CODE})
    assert result["reason"] == "entry_removed"


async def test_missing_adapter_is_named(
    hass: HomeAssistant,
    scanner: LocalScanner,
    proxy: VirtualProxy,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the adapter that holds the bond, proxies are no way out."""
    await scanner.see(bms)
    entry = await add(hass, bms)
    scanner.stop()
    proxy.place(bms, rssi=-30)
    receive_advertisement(proxy, bms)
    bms.connections.clear()
    assert await fail_until_issue(hass, entry, monkeypatch) == "adapter_missing"
    ((_, issue),) = issues(hass).items()
    assert not issue.is_fixable
    assert issue.translation_placeholders
    assert issue.translation_placeholders["adapter"] == ADAPTER
    assert bms.connections == []


async def test_adapter_out_of_range_is_named(
    hass: HomeAssistant,
    scanner: LocalScanner,
    proxy: VirtualProxy,
    bluez: Bluez,
    adapter: Adapter,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The battery was moved: a proxy sees it, the paired adapter does not."""
    await scanner.see(bms)
    entry = await add(hass, bms)
    move_away(bluez, adapter)
    proxy.place(bms, rssi=-30)
    receive_advertisement(proxy, bms)
    assert await fail_until_issue(hass, entry, monkeypatch) == "adapter_missing"


async def test_battery_that_was_moved_is_paired_with_the_adapter_that_sees_it(
    hass: HomeAssistant,
    scanner: LocalScanner,
    bluez: Bluez,
    adapter: Adapter,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bond of the adapter that was used before is removed, since nothing uses it."""
    assert await async_setup_component(hass, "repairs", {})
    await scanner.see(bms)
    entry = await add(hass, bms)
    other = bluez.add_adapter("hci2", OTHER_ADAPTER)
    other.place(bms)
    other_scanner = LocalScanner(bluez, other)
    await other_scanner.see(bms)
    move_away(bluez, adapter)
    assert await fail_until_issue(hass, entry, monkeypatch) == "pairing_possible"
    ((_, issue),) = issues(hass).items()
    manager = repairs_flow_manager(hass)
    assert manager
    result: Any = await manager.async_init(
        DOMAIN, context={"issue_id": issue.issue_id}, data={}
    )
    bluez._know(adapter, bms, -99)
    result = await manager.async_configure(result["flow_id"], {CONF_CODE: CODE})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.state is ConfigEntryState.LOADED
    assert entry.data[CONF_ADAPTER] == OTHER_ADAPTER
    assert bluez.bonds == {(OTHER_ADAPTER, ADDRESS): True}
    other_scanner.stop()


async def test_battery_that_is_paired_already_is_added_without_a_code(
    hass: HomeAssistant,
    scanner: LocalScanner,
    proxy: VirtualProxy,
    bluez: Bluez,
    bms: VirtualBms,
) -> None:
    """Home Assistant chose the proxy; the adapter has the bond."""
    bluez.bonds[ADAPTER, ADDRESS] = True
    bluez.locks[ADDRESS].knows.add(ADAPTER)
    await scanner.see(bms)
    proxy.place(bms, rssi=-30)
    receive_advertisement(proxy, bms)
    result = await start(hass, bms)
    assert result["step_id"] == "confirm"
    assert bluez.count("Pair") == 0


async def test_bond_of_a_farther_adapter_is_found(
    hass: HomeAssistant, scanner: LocalScanner, bluez: Bluez, bms: VirtualBms
) -> None:
    """The nearest adapter need not be the one that is paired."""
    bluez.bonds[ADAPTER, ADDRESS] = True
    bluez.locks[ADDRESS].knows.add(ADAPTER)
    await scanner.see(bms)
    near = bluez.add_adapter("hci2", OTHER_ADAPTER)
    near.place(bms, rssi=-30)
    near_scanner = LocalScanner(bluez, near)
    await near_scanner.see(bms)
    assert await async_find_bond(hass, ADDRESS) == ADAPTER
    near_scanner.stop()


async def test_failed_read_after_pairing_does_not_pair_again(
    hass: HomeAssistant, scanner: LocalScanner, bluez: Bluez, bms: VirtualBms
) -> None:
    """Pairing again would remove a good bond."""
    await scanner.see(bms)
    result = await start(hass, bms)
    bms.faults = Faults(pairing="drop", never_answer={0x97})
    result = await enter(hass, result)
    assert result["errors"] == {"base": "silent"}
    bms.faults = Faults(pairing="drop")
    result = await enter(hass, result)
    assert result["step_id"] == "confirm"
    assert bluez.count("Pair") == 1
    assert bluez.removed == []


async def test_useless_bond_is_replaced(
    hass: HomeAssistant, scanner: LocalScanner, bluez: Bluez, bms: VirtualBms
) -> None:
    """BlueZ bonds without a code when the battery asks for it while being read."""
    bluez.locks[ADDRESS].asks = True
    await scanner.see(bms)
    result = await start(hass, bms)
    assert result["step_id"] == "pair"
    assert bluez.bonds == {(ADAPTER, ADDRESS): False}
    result = await enter(hass, result)
    assert result["step_id"] == "confirm"
    assert bluez.bonds == {(ADAPTER, ADDRESS): True}


async def test_code_is_neither_logged_nor_stored(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    scanner: LocalScanner,
    bms: VirtualBms,
    caplog: pytest.LogCaptureFixture,
    hass_storage: dict[str, Any],
) -> None:
    """At no level, in no file, not in the diagnostics; a wrong code neither."""
    caplog.set_level(logging.DEBUG)
    await scanner.see(bms)
    result = await enter(hass, await start(hass, bms), WRONG_CODE)
    assert result["errors"] == {"base": "pairing_refused"}
    assert SHARED_DIGITS not in str(result["description_placeholders"])
    entry = await add(hass, bms)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_FINAL_WRITE)
    await hass.async_block_till_done(wait_background_tasks=True)
    stored = json.dumps(hass_storage, default=str)
    assert ADDRESS in stored
    assert SHARED_DIGITS not in stored
    report = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert SHARED_DIGITS not in json.dumps(report)
    assert SHARED_DIGITS not in repr(entry.as_dict())
    assert ADDRESS in caplog.text
    assert SHARED_DIGITS not in caplog.text


@pytest.mark.parametrize(
    "faults",
    [
        Faults(pairing=True),
        Faults(pairing="drop"),
        Faults(pairing="empty"),
        Faults(pairing="unlikely"),
        Faults(pairing="writes"),
        # The errors of a real proxy
        Faults(refuse_connection=True, refuse_error="Pairing failed due to error: 97"),
        Faults(
            refuse_connection=True,
            refuse_error="Failed to get services from remote esp",
        ),
    ],
)
async def test_proxies_cannot_enter_the_code(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, faults: Faults
) -> None:
    """One reading gives the sentence, and the slot of the proxy is free again."""
    bms.faults = faults
    proxy.place(bms)
    receive_advertisement(proxy, bms)
    result = await start(hass, bms)
    assert result["step_id"] == "user"
    assert result["errors"] == {"base": "pairing_required"}
    assert len(bms.connections) <= 2
    assert proxy.free_slots == 3
    assert not bms.connected


async def test_bond_of_another_adapter_is_left_alone(
    hass: HomeAssistant, scanner: LocalScanner, bluez: Bluez, bms: VirtualBms
) -> None:
    """Another program may use it."""
    await scanner.see(bms)
    entry = await add(hass, bms)
    other = bluez.add_adapter("hci2", OTHER_ADAPTER)
    other.place(bms)
    bluez.bonds[other.address, ADDRESS] = True
    await bluez.until_seen(other, bms)
    await hass.config_entries.async_remove(entry.entry_id)
    assert bluez.bonds == {(other.address, ADDRESS): True}


async def test_adapter_out_of_slots_or_range(
    hass: HomeAssistant,
    scanner: LocalScanner,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says what the one adapter lacks, whatever others could do."""
    await scanner.see(bms)
    device = scanner.discovered_devices[0]

    async def read(adapter: str) -> None:
        mixin = async_create_client_mixin(hass, ADDRESS, adapter)
        client = JkBmsClient(lambda: device, name="battery", client_mixin=mixin)
        await client.read(deadline=4)

    with pytest.raises(NotReachableError, match="cannot see"):
        await read("00:00:00:00:00:09")
    monkeypatch.setattr(
        HaBleakClientWrapper, "_async_get_backend_for_ble_device", lambda *_: None
    )
    with pytest.raises(NoFreeSlotError, match=ADAPTER):
        await read(ADAPTER)


async def test_path_is_unknown_where_the_client_does_not_ask(
    hass: HomeAssistant,
    scanner: LocalScanner,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a release whose private parts have other names, the battery is still read."""
    bms.faults = Faults()
    await scanner.see(bms)
    device = scanner.discovered_devices[0]
    choose = HaBleakClientWrapper._async_get_backend_for_ble_device
    monkeypatch.delattr(HaBleakClientWrapper, "_async_get_backend_for_ble_device")

    def renamed(client: HaBleakClientWrapper, manager: BluetoothManager) -> object:
        (path,) = manager.async_scanner_devices_by_address(ADDRESS, True)
        return choose(client, manager, path.scanner, path.ble_device)

    monkeypatch.setattr(
        HaBleakClientWrapper, "_async_get_best_available_backend_and_device", renamed
    )
    mixin = async_create_client_mixin(hass, ADDRESS, None)
    client = JkBmsClient(lambda: device, name="battery", client_mixin=mixin)

    reading = await client.read()

    assert reading.cell_data.cell_voltage
    assert async_last_path(hass, ADDRESS) is None


def test_private_class_of_habluetooth_is_not_needed() -> None:
    """A release that renames it loads the integration."""
    code = (
        "from habluetooth import wrappers\n"
        "del wrappers._HaWrappedBleakBackend\n"
        "import custom_components.jk_bms.config_flow\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_pairing_waits_for_a_connection_slot(
    hass: HomeAssistant,
    scanner: LocalScanner,
    bluez: Bluez,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If none becomes free in time, nothing is paired and the dialog says so."""
    await scanner.see(bms)
    result = await start(hass, bms)

    @asynccontextmanager
    async def slot(_slots: ConnectionSlots, address: str) -> AsyncGenerator[None]:
        assert address == ADDRESS
        raise NoFreeSlotError("Every connection is in use")
        yield

    monkeypatch.setattr(ConnectionSlots, "slot", slot)
    result = await enter(hass, result)
    assert result["errors"] == {"base": "pairing_not_ready"}
    assert bluez.count("Pair") == 0


async def test_no_adapter_in_range(hass: HomeAssistant, bms: VirtualBms) -> None:
    """Without one there is nothing to pair over, and no bond to use."""
    with pytest.raises(PairingGoneError):
        await async_pair(hass, ADDRESS, CODE)
    assert await async_find_bond(hass, ADDRESS) is None


async def test_bluez_that_does_not_list_its_bonds(
    hass: HomeAssistant, scanner: LocalScanner, bluez: Bluez, bms: VirtualBms
) -> None:
    """The dialog asks for the code as if there were none."""
    await scanner.see(bms)
    bluez.failures["GetManagedObjects"] = "org.bluez.Error.NotReady", "Not Ready"
    assert await async_find_bond(hass, ADDRESS) is None


async def test_discovered_battery_is_paired(
    hass: HomeAssistant, scanner: LocalScanner, bms: VirtualBms
) -> None:
    """The dialog of a discovery asks for the code as well."""
    await scanner.see(bms)
    await hass.async_block_till_done(wait_background_tasks=True)
    flows = hass.config_entries.flow
    (flow,) = flows.async_progress_by_handler(DOMAIN)
    result: Any = await flows.async_configure(flow["flow_id"], {})
    assert result["step_id"] == "pair"
    result = await enter(hass, result)
    assert result["step_id"] == "confirm"


async def test_entry_moves_to_a_battery_that_requires_pairing(
    hass: HomeAssistant, scanner: LocalScanner, bluez: Bluez, bms: VirtualBms
) -> None:
    """A new radio module may require what the old one did not."""
    old = "C8:47:8C:10:00:99"
    entry = MockConfigEntry(domain=DOMAIN, unique_id=old, data={CONF_ADDRESS: old})
    entry.add_to_hass(hass)
    await scanner.see(bms)
    result: Any = await entry.start_reconfigure_flow(hass)
    flows = hass.config_entries.flow
    result = await flows.async_configure(result["flow_id"], {CONF_ADDRESS: ADDRESS})
    assert result["step_id"] == "pair"
    result = await enter(hass, result)
    assert result["step_id"] == "compare"
    result = await flows.async_configure(result["flow_id"], {})
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.data == {CONF_ADDRESS: ADDRESS, CONF_ADAPTER: ADAPTER}
    assert entry.state is ConfigEntryState.LOADED
    assert bluez.count("Pair") == 1


async def test_moved_entry_leaves_no_bond(
    hass: HomeAssistant,
    scanner: LocalScanner,
    bluez: Bluez,
    adapter: Adapter,
    bms: VirtualBms,
) -> None:
    """The radio module that was replaced is paired with nothing any more."""
    await scanner.see(bms)
    entry = await add(hass, bms)
    spec = replace(bms.spec, address="C8:47:8C:10:00:99")
    renewed = VirtualBms(Battery(spec, time_scale=0.0), speed=SPEED)
    adapter.place(renewed)
    await scanner.see(renewed)
    flows = hass.config_entries.flow
    context = {"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    result: Any = await flows.async_init(DOMAIN, context=context)
    result = await flows.async_configure(
        result["flow_id"], {CONF_ADDRESS: renewed.address}
    )
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.state is ConfigEntryState.LOADED
    assert entry.data == {CONF_ADDRESS: renewed.address}
    assert bluez.removed == [(ADDRESS, True)]
    assert bluez.bonds == {}
