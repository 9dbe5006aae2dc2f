"""What is on and what is off."""

from collections.abc import Callable

import pytest

from homeassistant.components.binary_sensor import DOMAIN as BINARY_SENSOR_DOMAIN
from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import MAX_DATA_AGE, pass_time, setup_integration

type MakeBms = Callable[..., VirtualBms]

SWITCHES = {"charging", "discharging"}


def shown(hass: HomeAssistant) -> dict[str, str]:
    """Return what the binary sensors show, by the part of their id after the name."""
    prefix = f"{BINARY_SENSOR_DOMAIN}.battery_"
    return {
        state.entity_id.removeprefix(prefix): state.state
        for state in hass.states.async_all(BINARY_SENSOR_DOMAIN)
    }


@pytest.mark.parametrize(
    ("model", "carried"),
    [
        ("JK-B2A16S 3.3.0", {"balancing"}),
        ("JK_DZ11B2A24S 11.55", {"balancing"}),
        ("JK-B2A24S15P 10.07", {"balancing"} | SWITCHES),
        ("JK_B2A8S20P 11.48", {"balancing"} | SWITCHES),
        ("JK_B2A20S20P 11.288H", {"balancing", "heating"} | SWITCHES),
        ("JK_PB2A16S20P 15.41", {"balancing", "heating"} | SWITCHES),
    ],
)
async def test_what_each_layout_carries(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    model: str,
    carried: set[str],
) -> None:
    """Only what a unit tells has an entity."""
    bms = make_bms(model, name="battery", dip_address=None)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    assert set(shown(hass)) == carried


@pytest.mark.parametrize("model", ["JK_B2A20S20P 11.288H", "JK_PB2A16S20P 15.41"])
async def test_states(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """Each state shows, and does not touch the others."""
    bms = make_bms(model, name="battery", dip_address=None)
    bms.battery.override(charging=True, discharging=True, balancer=0, heating=False)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    expected = {
        "charging": STATE_ON,
        "discharging": STATE_ON,
        "balancing": STATE_OFF,
        "heating": STATE_OFF,
    }
    assert shown(hass) == expected
    for field, value, key, state in (
        ("charging", False, "charging", STATE_OFF),
        ("discharging", False, "discharging", STATE_OFF),
        ("balancer", 1, "balancing", STATE_ON),
        ("charging", True, "charging", STATE_ON),
        ("balancer", 2, "balancing", STATE_ON),
        ("heating", True, "heating", STATE_ON),
        ("balancer", 0, "balancing", STATE_OFF),
        ("heating", False, "heating", STATE_OFF),
    ):
        bms.battery.override(**{field: value})
        await pass_time(hass)
        expected[key] = state
        assert shown(hass) == expected


async def test_unknown_and_unavailable(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, model: str
) -> None:
    """A code that nobody knows is unknown, values that are too old are unavailable."""
    bms = make_bms(model, name="battery")
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    bms.battery.override(balancer=9)
    await pass_time(hass)
    assert shown(hass)["balancing"] == STATE_UNKNOWN
    proxy.unplug()
    await pass_time(hass, MAX_DATA_AGE)
    assert set(shown(hass).values()) == {STATE_UNAVAILABLE}
