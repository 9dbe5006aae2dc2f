"""The button that reads the battery at once."""

import asyncio
import re
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms.jkbms.bluetooth import client
from homeassistant.components.button import DOMAIN as BUTTON_DOMAIN, SERVICE_PRESS
from homeassistant.components.switch import DOMAIN as SWITCH_DOMAIN
from homeassistant.const import ATTR_ENTITY_ID, SERVICE_TURN_OFF
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util import dt as dt_util
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import sentence, setup_integration, until, until_held

REFRESH = "button.house_24v_refresh"
LINK = "switch.house_24v_bluetooth_link"
SOC = "sensor.house_24v_state_of_charge"
AN_HOUR = 3600


@pytest.fixture
def link() -> str:
    """Return the link option; tests override it by parameters."""
    return "released"


@pytest.fixture
async def entry(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, link: str
) -> MockConfigEntry:
    """Set up a battery that is not read again by itself in the time of a test."""
    bms.battery.override(soc=40)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, link=link, interval=AN_HOUR)
    if link == "held":
        await until_held(bms, entry)
    return entry


async def press(hass: HomeAssistant) -> None:
    """Press the button."""
    await hass.services.async_call(
        BUTTON_DOMAIN, SERVICE_PRESS, {ATTR_ENTITY_ID: REFRESH}, blocking=True
    )


def soc(hass: HomeAssistant) -> str:
    """Return the state of charge that is shown."""
    return hass.states.get(SOC).state


@pytest.mark.parametrize(("link", "connections"), [("released", 4), ("held", 2)])
async def test_press_reads_the_battery_now(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, connections: int
) -> None:
    """After the press the values are current, independent of the interval."""
    for value in (41, 42, 43):
        bms.battery.override(soc=value)
        if bms.streaming:
            # What is on the air now was measured before.
            begun = bms.counter
            await until(lambda begun=begun: (bms.counter - begun) % 256 > 2)
        await press(hass)
        assert soc(hass) == str(value)
    assert len(bms.connections) == connections


@pytest.mark.parametrize("link", ["held"])
async def test_press_reconnects_a_lost_link(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """A press does not wait for the next try of a link that was just lost."""
    bms.drop()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert not bms.connected
    bms.battery.override(soc=41)
    await press(hass)
    assert soc(hass) == "41"
    assert bms.streaming


@pytest.mark.parametrize("link", ["released", "held"])
@pytest.mark.parametrize(
    ("faults", "error"),
    [(Faults(pairing=True), "pairing_required"), (Faults(silent=True), "silent")],
)
async def test_failed_press_raises_the_reason(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    short_deadline: float,
    monkeypatch: pytest.MonkeyPatch,
    faults: Faults,
    error: str,
) -> None:
    """The sentence is the same as elsewhere, and the next press works."""
    monkeypatch.setitem(
        client.JkBmsClient.hold.__kwdefaults__, "deadline", short_deadline
    )
    bms.drop()
    await hass.async_block_till_done(wait_background_tasks=True)
    bms.faults = faults
    with pytest.raises(HomeAssistantError, match=re.escape(sentence(error))) as raised:
        await press(hass)
    assert raised.value.translation_key == error
    assert str(raised.value) == str(entry.runtime_data.last_exception)

    bms.faults = Faults()
    bms.battery.override(soc=41)
    await press(hass)
    assert soc(hass) == "41"


@pytest.mark.parametrize("link", ["released", "held"])
async def test_press_fails_while_the_link_is_turned_off(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The button does not end the pause of the switch."""
    await hass.services.async_call(
        SWITCH_DOMAIN, SERVICE_TURN_OFF, {ATTR_ENTITY_ID: LINK}, blocking=True
    )
    connections = len(bms.connections)
    with pytest.raises(HomeAssistantError, match=sentence("link_released")):
        await press(hass)
    assert len(bms.connections) == connections


async def test_link_turned_off_during_a_press_is_the_reason(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """A read that was cancelled by the switch gives this reason."""
    bms.faults = Faults(silent=True)
    pressing = asyncio.create_task(press(hass))
    await until(lambda: bms.connected)
    await hass.services.async_call(
        SWITCH_DOMAIN, SERVICE_TURN_OFF, {ATTR_ENTITY_ID: LINK}, blocking=True
    )
    with pytest.raises(HomeAssistantError, match=sentence("link_released")):
        await pressing


async def test_outdated_values_during_a_press_are_not_a_reading(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """An update without a reading does not end the press."""
    bms.battery.override(soc=41)
    pressing = asyncio.create_task(press(hass))
    await until(lambda: bms.connected)
    entry.runtime_data._async_expire(dt_util.utcnow())
    await pressing
    assert soc(hass) == "41"


async def test_unexpected_error_is_raised_and_logged(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """An unexpected error has a sentence too, and its details are in the log."""
    with (
        patch.object(client.JkBmsClient, "read", side_effect=ZeroDivisionError),
        pytest.raises(HomeAssistantError, match=sentence("unknown")),
    ):
        await press(hass)
