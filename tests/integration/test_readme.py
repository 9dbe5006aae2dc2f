"""What the documentation says can be pasted works when it is pasted."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import async_mock_service
import yaml

from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.entity import Pace
from homeassistant.components.energy.data import ENERGY_SOURCE_SCHEMA
from homeassistant.core import Context, HomeAssistant, ServiceCall
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.script import Script
from homeassistant.setup import async_setup_component
from tests.docs.examples import blocks
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import pass_time, setup_integration

EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    (block.page, yaml.safe_load(block.text)) for block in blocks("yaml")
]
AUTOMATIONS: dict[str, dict[str, Any]] = {
    example["alias"]: example for _, example in EXAMPLES if "triggers" in example
}
ACTIONS = [
    pytest.param(example, id=f"{page} {example['action']}")
    for page, example in EXAMPLES
    if str(example.get("action", "")).startswith(f"{DOMAIN}.")
]
NOTIFICATIONS = [
    pytest.param(example, id=f"{page} {example['action']}")
    for page, example in EXAMPLES
    if str(example.get("action", "")).startswith("notify.")
]
OTHERS = {"bluetooth_proxy", "scrape_configs", "type"}
"""First keys of examples for ESPHome and Prometheus (tests/test_docs.py), and
dashboards (frontend/browser) or the Energy dashboard."""
CELL_UNDERVOLTAGE = 1 << 11


@pytest.fixture
async def house(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: Callable[..., VirtualBms]
) -> VirtualBms:
    """Set up the automations, and place a battery called House."""
    assert await async_setup_component(
        hass, "automation", {"automation": list(AUTOMATIONS.values())}
    )
    assert len(hass.states.async_all("automation")) == len(AUTOMATIONS)
    bms = make_bms("JK_B2A8S20P 11.48", name="House")
    proxy.advertise(bms)
    return bms


def _messages(calls: Iterable[ServiceCall]) -> list[str]:
    return [call.data["message"].strip() for call in calls]


async def test_drifting_cells_example_notifies_after_a_minute(
    hass: HomeAssistant, house: VirtualBms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the lowest cell."""
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
    """Each fault is one notification; its end is none."""
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
    """Between both limits nothing is switched."""
    await setup_integration(hass, house)
    switched = [
        async_mock_service(hass, "switch", name) for name in ("turn_on", "turn_off")
    ]
    for soc, counts in ((30, [0, 0]), (19, [1, 0]), (18, [1, 0]), (61, [1, 1])):
        house.battery.override(soc=soc)
        await pass_time(hass)
        assert [len(calls) for calls in switched] == counts
    assert switched[0][0].data["entity_id"] == ["switch.charger"]


@pytest.mark.parametrize("action", ACTIONS)
async def test_action_example_returns_something(
    hass: HomeAssistant, house: VirtualBms, action: dict[str, Any]
) -> None:
    """The example is run as a step of a script, with the battery that it names."""
    await setup_integration(hass, house)
    sequence = cv.SCRIPT_SCHEMA([action])
    script = Script(hass, sequence, "example", "test")
    result = await script.async_run(context=Context())
    assert result
    assert result.variables[action["response_variable"]]


@pytest.mark.parametrize("action", NOTIFICATIONS)
async def test_notification_example_sends_the_variables_of_a_blueprint(
    hass: HomeAssistant, action: dict[str, Any]
) -> None:
    """The example takes the place of the blueprint's own notification."""
    calls = async_mock_service(hass, *action["action"].split("."))
    script = Script(hass, cv.SCRIPT_SCHEMA([action]), "example", "test")
    await script.async_run({"title": "House", "message": "Low"}, context=Context())
    assert [call.data for call in calls] == [{"title": "House", "message": "Low"}]


def test_energy_example_is_a_source_of_the_energy_dashboard() -> None:
    """Home Assistant accepts it as it stores its own."""
    sources = [example for _, example in EXAMPLES if example.get("type") == "battery"]
    assert sources
    assert ENERGY_SOURCE_SCHEMA(sources) == sources


@pytest.mark.parametrize(("page", "example"), EXAMPLES)
def test_every_example_is_of_a_known_kind(page: str, example: dict[str, Any]) -> None:
    """An example of a new kind needs a test that runs it."""
    known = "triggers" in example or "action" in example or OTHERS & example.keys()
    assert known, f"{page}: no test runs {example}"
