"""What the README says can be pasted works when it is pasted."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
import re
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import async_mock_service
import yaml

from custom_components.jk_bms.entity import Pace
from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.setup import async_setup_component
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import pass_time, setup_integration

README = (Path(__file__).parents[2] / "README.md").read_text()
AUTOMATIONS: dict[str, dict[str, Any]] = {
    automation["alias"]: automation
    for automation in map(
        yaml.safe_load,
        re.findall(r"^```yaml\n(.*?)^```", README, re.DOTALL | re.MULTILINE),
    )
    if "triggers" in automation
}
CELL_UNDERVOLTAGE = 1 << 11


@pytest.fixture
async def house(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: Callable[..., VirtualBms]
) -> VirtualBms:
    """Set up the automations, and place a battery called House."""
    assert await async_setup_component(
        hass, "automation", {"automation": list(AUTOMATIONS.values())}
    )
    assert len(hass.states.async_all("automation")) == len(AUTOMATIONS) == 3
    bms = make_bms("JK_B2A8S20P 11.48", name="House")
    proxy.advertise(bms)
    return bms


def _messages(calls: Iterable[ServiceCall]) -> list[str]:
    return [call.data["message"].strip() for call in calls]


async def test_drifting_cells_example_notifies_after_a_minute(
    hass: HomeAssistant, house: VirtualBms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It notifies after a minute and names the lowest cell."""
    # A minute of this test takes no time by the clock that paces the cells.
    monkeypatch.setattr(Pace, "allows_write", lambda *_: True)
    calls = async_mock_service(hass, "persistent_notification", "create")
    await setup_integration(hass, house)
    house.battery.override(cells=(3.31, 3.3, 3.15, *[3.3] * 13))
    await pass_time(hass)
    assert not calls
    await pass_time(hass, timedelta(seconds=70))
    assert _messages(calls) == ["The cells are 0.16 V apart; cell 3 is the lowest."]


async def test_fault_example_notifies_once(
    hass: HomeAssistant, house: VirtualBms
) -> None:
    """It notifies once for each fault, and not when it is cleared."""
    calls = async_mock_service(hass, "persistent_notification", "create")
    await setup_integration(hass, house)
    house.battery.override(alarms=CELL_UNDERVOLTAGE)
    await pass_time(hass)
    house.battery.override(alarms=0)
    await pass_time(hass)
    assert _messages(calls) == ["cell_undervoltage"]


async def test_low_battery_example_turns_the_charger_on_and_off(
    hass: HomeAssistant, house: VirtualBms
) -> None:
    """It turns the charger on, and off again."""
    await setup_integration(hass, house)
    switched = [
        async_mock_service(hass, "switch", name) for name in ("turn_on", "turn_off")
    ]
    for soc, counts in ((30, [0, 0]), (19, [1, 0]), (18, [1, 0]), (61, [1, 1])):
        house.battery.override(soc=soc)
        await pass_time(hass)
        assert [len(calls) for calls in switched] == counts
    assert switched[0][0].data["entity_id"] == ["switch.charger"]
