"""The blueprints, as Home Assistant loads them and with the values of a battery."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from custom_components.jk_bms.entity import Pace
from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.helpers import device_registry as dr
from homeassistant.util.yaml import load_yaml_dict
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import BLUEPRINTS, ROOT, notification_texts, pass_time, setup_integration

NAMES: Final = sorted(path.stem for path in BLUEPRINTS.glob("*.yaml"))
CELL_OVERVOLTAGE: Final = 1 << 4
CELL_UNDERVOLTAGE: Final = 1 << 11
WARM: Final = (20.0, 20.0, 20.0, 20.0)


@pytest.fixture(autouse=True)
def every_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write each value at once: the time of a test stands still for the paces."""
    monkeypatch.setattr(Pace, "allows_write", lambda *_: True)


@pytest.fixture
def bms(make_bms: Callable[..., VirtualBms], proxy: VirtualProxy) -> VirtualBms:
    """Return a battery called House, in range."""
    bms = make_bms("JK_B2A8S20P 11.48", name="House")
    proxy.advertise(bms)
    return bms


async def test_cells_that_drift_apart_are_notified_after_a_while(
    hass: HomeAssistant,
    bms: VirtualBms,
    notifications: list[ServiceCall],
    automate: Callable[..., Any],
) -> None:
    """Highest and lowest cell are named; the name is the one of the user."""
    entry = await setup_integration(hass, bms)
    registry = dr.async_get(hass)
    (device,) = dr.async_entries_for_config_entry(registry, entry.entry_id)
    registry.async_update_device(device.id, name_by_user="Garden house")
    await automate("cells_drift_apart", spread=["sensor.house_delta_cell_voltage"])
    bms.battery.override(cells=(3.31, 3.3, 3.15, *[3.3] * 13))
    await pass_time(hass)
    assert not notifications
    await pass_time(hass, timedelta(minutes=5))
    assert notification_texts(notifications) == [
        (
            "Garden house",
            "The cells are 0.160 V apart. Cell 1 is the highest, cell 3 the lowest.",
        )
    ]


@pytest.mark.parametrize(
    ("alarms", "message"),
    [
        (1, "Wire resistance, cell 2, 5: raised"),
        (CELL_OVERVOLTAGE, "Cell overvoltage, cell 1: raised"),
        (CELL_UNDERVOLTAGE, "Cell undervoltage, cell 3: raised"),
        (1 << 6, "Charge overcurrent: raised"),
    ],
)
async def test_fault_is_notified_by_name_and_cell(
    hass: HomeAssistant,
    bms: VirtualBms,
    notifications: list[ServiceCall],
    automate: Callable[..., Any],
    alarms: int,
    message: str,
) -> None:
    """Once, and by default not when it is cleared."""
    bms.battery.override(cells=(3.31, 3.3, 3.25, *[3.3] * 13))
    await setup_integration(hass, bms)
    await automate("fault", alarm=["event.house_alarm"])
    bms.battery.override(alarms=alarms, wire_alarm=0b10010)
    await pass_time(hass)
    bms.battery.override(alarms=0, wire_alarm=0)
    await pass_time(hass)
    assert notification_texts(notifications) == [("House", message)]


async def test_cleared_fault_is_notified_on_request(
    hass: HomeAssistant,
    bms: VirtualBms,
    notifications: list[ServiceCall],
    automate: Callable[..., Any],
) -> None:
    """It has no cell then."""
    await setup_integration(hass, bms)
    await automate("fault", alarm=["event.house_alarm"], kinds=["cleared"])
    bms.battery.override(alarms=CELL_UNDERVOLTAGE)
    await pass_time(hass)
    assert not notifications
    bms.battery.override(alarms=0)
    await pass_time(hass)
    assert notification_texts(notifications) == [
        ("House", "Cell undervoltage: cleared")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_blueprint_is_documented_and_can_be_imported(name: str) -> None:
    """It has a button in the docs, and its source is where the button leads."""
    page = (ROOT / "docs" / "blueprints.md").read_text()
    head = load_yaml_dict(str(BLUEPRINTS / f"{name}.yaml"))["blueprint"]
    source = f"blob/main/blueprints/automation/jk_bms/{name}.yaml"
    assert head["source_url"].endswith(source)
    assert source.replace("/", "%2F") in page
    assert head["domain"] == "automation"


def test_every_blueprint_is_tested() -> None:
    """Each file is set up by a test."""
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*"))
    assert NAMES
    for name in NAMES:
        assert f'"{name}"' in tests, name
