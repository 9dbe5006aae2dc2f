"""What a page is sent about the batteries that it shows."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.jk_bms.jkbms import __version__
from custom_components.jk_bms.jkbms.estimates import time_to_empty, time_to_full
from custom_components.jk_bms.options import CONF_LINK, LinkBehaviour
from custom_components.jk_bms.sensor_descriptions import total_runtime
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import MAX_DATA_AGE, pass_time, setup_integration

pytestmark = pytest.mark.usefixtures("socket_enabled")

SWITCH = "switch.house_24v_bluetooth_link"


class Page:
    """A page of Home Assistant that follows the batteries."""

    def __init__(self, client: Any) -> None:
        """Take the connection of the page."""
        self._client = client

    async def subscribe(self) -> dict[str, Any]:
        """Subscribe, and return the first event."""
        await self._client.send_json_auto_id({"type": "jk_bms/batteries"})
        answer = await self._client.receive_json()
        assert answer["success"]
        self.subscription = answer["id"]
        return await self.next_event()

    async def next_event(self) -> dict[str, Any]:
        """Wait for the next event."""
        message = await self._client.receive_json()
        assert (message["id"], message["type"]) == (self.subscription, "event")
        return message["event"]

    async def until(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the first event that is like this."""
        while not wanted(event := await self.next_event()):
            pass
        return event

    async def ping(self) -> str:
        """Return the type of the next message that is sent once a ping was."""
        await self._client.send_json_auto_id({"type": "ping"})
        return (await self._client.receive_json())["type"]

    async def unsubscribe(self) -> None:
        """Leave the page."""
        await self._client.send_json_auto_id(
            {"type": "unsubscribe_events", "subscription": self.subscription}
        )
        assert (await self._client.receive_json())["success"]


@pytest.fixture
async def page(
    hass: HomeAssistant, entry: MockConfigEntry, hass_ws_client: WebSocketGenerator
) -> Page:
    """Open a page when a battery is set up."""
    return Page(await hass_ws_client(hass))


def device_of(hass: HomeAssistant, entry: MockConfigEntry) -> dr.DeviceEntry:
    """Return the device of the battery."""
    [device] = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    return device


async def test_batteries_with_their_entities_and_limits(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, page: Page
) -> None:
    """The first event has all that a card needs to find and to draw a battery."""
    event = await page.subscribe()
    assert event["version"] == __version__
    [battery] = event["batteries"]
    device = device_of(hass, entry)
    assert battery["path"] == "house-24v"
    assert battery["device_id"] == device.id
    assert battery["entry_id"] == entry.entry_id
    assert battery["title"] == entry.title
    assert battery["cell_count"] == 8
    assert battery["holds_link"] is False
    reading = entry.runtime_data.data
    assert battery["chemistry"] == reading.cell_data.battery_type
    assert battery["limits"] == {
        "undervoltage": reading.settings.cell_uvp,
        "empty": reading.settings.soc_0,
        "balance_start": reading.settings.balance_start_voltage,
        "balance_trigger": reading.settings.balance_trigger,
        "full": reading.settings.soc_100,
        "overvoltage": reading.settings.cell_ovp,
    }
    entities = battery["entities"]
    assert entities["sensor.cell_voltage_8"] == "sensor.house_24v_cell_voltage_8"
    assert entities["binary_sensor.charging"] == "binary_sensor.house_24v_charging"
    assert entities["switch.bluetooth_link"] == SWITCH
    assert entities["button.refresh"] == "button.house_24v_refresh"
    # Those that are off by default are not shown.
    assert "sensor.cell_resistance_1" not in entities

    live = event["live"][device.id]
    assert live["available"] is True
    assert live["last_read"] == entry.runtime_data.last_update.isoformat()
    assert live["reason"] is None
    assert live["cell_resistance"] == list(reading.cell_data.cell_resistance)
    assert live["faults"] == []
    cells = reading.cell_data
    amounts = (cells.remain_capacity, cells.nominal_capacity, cells.battery_current)
    assert live["time_to_full"] == time_to_full(*amounts)
    assert live["time_to_empty"] == time_to_empty(*amounts)
    assert live["time_to_full"] or live["time_to_empty"]
    assert live["total_runtime"] == total_runtime(reading)
    assert live["total_runtime"]


async def test_renamed_and_disabled_entities_are_followed(
    hass: HomeAssistant, entry: MockConfigEntry, page: Page
) -> None:
    """Entity ids and names are the user's; what is disabled is not there."""
    await page.subscribe()
    registry = er.async_get(hass)
    registry.async_update_entity(
        "sensor.house_24v_cell_voltage_7", new_entity_id="sensor.weak_one"
    )
    registry.async_update_entity(
        "sensor.house_24v_cell_voltage_3", disabled_by=er.RegistryEntryDisabler.USER
    )
    dr.async_get(hass).async_update_device(
        device_of(hass, entry).id, name_by_user="Cellar"
    )
    event = await page.until(
        lambda event: event.get("batteries", [{}])[0].get("title") == "Cellar"
    )
    entities = event["batteries"][0]["entities"]
    assert entities["sensor.cell_voltage_7"] == "sensor.weak_one"
    assert "sensor.cell_voltage_3" not in entities
    assert "sensor.cell_voltage_4" in entities


async def test_a_change_that_no_card_shows_is_not_sent(
    hass: HomeAssistant, page: Page
) -> None:
    """Areas and icons change without a new event."""
    await page.subscribe()
    er.async_get(hass).async_update_entity(
        "sensor.house_24v_cell_voltage_7", icon="mdi:flash"
    )
    await pass_time(hass, MAX_DATA_AGE / 180)
    assert await page.ping() == "pong"


async def test_live_values_follow_each_reading(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, page: Page
) -> None:
    """A reading brings its time and the faults."""
    first = await page.subscribe()
    device = device_of(hass, entry)
    bms.battery.alarms |= 1
    await entry.runtime_data.async_refresh()
    event = await page.until(lambda event: event.get("live"))
    assert "batteries" not in event
    live = event["live"][device.id]
    assert live["last_read"] > first["live"][device.id]["last_read"]
    assert live["faults"] == ["wire_resistance"]


async def test_released_link_says_until_when(
    hass: HomeAssistant, entry: MockConfigEntry, page: Page
) -> None:
    """While others have the battery, the time at which it is taken back is known."""
    await page.subscribe()
    device = device_of(hass, entry)
    await hass.services.async_call(
        "switch", "turn_off", {"entity_id": SWITCH}, blocking=True
    )
    event = await page.until(lambda event: "live" in event)
    resumes_at = entry.runtime_data.resumes_at
    assert event["live"][device.id]["resumes_at"] == resumes_at.isoformat()


async def test_a_failed_read_gives_its_reason(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    page: Page,
) -> None:
    """Why the battery is not read comes as a key with placeholders, loaded or not."""
    await page.subscribe()
    device = device_of(hass, entry)
    bms.faults = Faults(refuse_connection=True)
    await pass_time(hass)
    event = await page.until(lambda event: event["live"][device.id]["reason"])
    reason = event["live"][device.id]["reason"]
    assert reason["key"] == "not_reachable"
    assert reason["placeholders"]["address"] == bms.address

    await hass.config_entries.async_reload(entry.entry_id)
    event = await page.until(lambda event: "batteries" in event)
    [battery] = event["batteries"]
    assert battery["limits"] is battery["cell_count"] is None
    assert event["live"][device.id]["reason"]["key"] == "not_reachable"
    assert event["live"][device.id]["available"] is False


async def test_a_removed_battery_is_gone_and_nothing_is_followed_after_leaving(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, page: Page
) -> None:
    """The list ends up empty; a page that was left leaves no listener behind."""
    await page.subscribe()
    coordinator = entry.runtime_data
    listeners = len(coordinator._listeners)
    await page.unsubscribe()
    assert len(coordinator._listeners) == listeners - 1

    await page.subscribe()
    await hass.config_entries.async_remove(entry.entry_id)
    event = await page.until(lambda event: event.get("batteries") == [])
    assert event["live"] == {}


async def test_held_link_is_named(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    hass_ws_client: WebSocketGenerator,
) -> None:
    """The card says how the link is used."""
    proxy.advertise(bms)
    await setup_integration(hass, bms, **{CONF_LINK: LinkBehaviour.HELD})
    page = Page(await hass_ws_client(hass))
    event = await page.subscribe()
    assert event["batteries"][0]["holds_link"] is True
