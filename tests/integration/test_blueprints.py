"""The blueprints, as Home Assistant loads them and with the values of a battery."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
import time
from typing import Any, Final

import pytest

from custom_components.jk_bms.entity import Pace
from custom_components.jk_bms.timed_changes import TimedChanges
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant, ServiceCall, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.util import dt as dt_util
from homeassistant.util.yaml import load_yaml_dict
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.faults import Faults
from tests.virtual_bms.scanner import VirtualProxy

from . import (
    BLUEPRINTS,
    MAX_DATA_AGE,
    ROOT,
    notification_texts,
    pass_time,
    setup_integration,
)
from .controls import TUNING, written

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
    await automate(
        "cells_drift_apart",
        spread=["sensor.house_delta_cell_voltage"],
        # Shorter than the time in which a battery has to be read again.
        duration={"minutes": 1},
    )
    bms.battery.override(cells=(3.31, 3.3, 3.15, *[3.3] * 13))
    await pass_time(hass)
    assert not notifications
    await pass_time(hass, timedelta(minutes=1))
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
    """A cleared fault has no cell to name."""
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


async def test_charger_follows_charge_and_temperature(
    hass: HomeAssistant, bms: VirtualBms, automate: Callable[..., Any]
) -> None:
    """The cold interrupts charging, which continues when it is warm again."""
    commands: list[str] = []

    @callback
    def switch(call: ServiceCall) -> None:
        assert call.data["entity_id"] == ["switch.charger"]
        state = call.service.removeprefix("turn_")
        hass.states.async_set("switch.charger", state)
        commands.append(state)

    bms.battery.override(soc=50, temperatures=WARM)
    await setup_integration(hass, bms)
    # Instead of those of the switches of the battery.
    for service in ("turn_on", "turn_off"):
        hass.services.async_register("switch", service, switch)
    hass.states.async_set("switch.charger", "off")
    await automate(
        "charge_low_to_full",
        charge="sensor.house_state_of_charge",
        charger="switch.charger",
        temperatures=["sensor.house_temperature_sensor_1"],
    )
    for soc, temperature, expected in (
        (30, 20.0, []),
        (19, 20.0, ["on"]),
        (50, 20.0, []),
        # Cold, and a little warmer again.
        (50, 4.0, ["off"]),
        (50, 6.0, []),
        (50, 8.5, ["on"]),
        (80, 8.5, ["off"]),
        # Neither low and cold, nor full and warm again.
        (80, 4.0, []),
        (10, 4.0, []),
        (10, 7.0, []),
        (90, 7.0, []),
        (90, 20.0, []),
    ):
        bms.battery.override(soc=soc, temperatures=(temperature, *WARM[1:]))
        await pass_time(hass)
        assert commands == expected, (soc, temperature)
        commands.clear()


async def test_battery_that_is_not_read_is_notified(
    hass: HomeAssistant,
    bms: VirtualBms,
    proxy: VirtualProxy,
    notifications: list[ServiceCall],
    automate: Callable[..., Any],
) -> None:
    """After some hours, and again when it is read."""
    await setup_integration(hass, bms)
    await automate("not_read", charge=["sensor.house_state_of_charge"])
    bms.faults = Faults(silent=True)
    await pass_time(hass, MAX_DATA_AGE)
    assert not notifications
    await pass_time(hass, timedelta(hours=2))
    ((title, message),) = notification_texts(notifications)
    assert title == "House"
    assert message.startswith("The battery has not been read since 20")
    # As if these two hours had passed by the clock as well.
    hass.states.async_remove("sensor.house_state_of_charge")
    hass.states.async_set(
        "sensor.house_state_of_charge",
        STATE_UNAVAILABLE,
        timestamp=time.time() - 2 * 3600,
    )
    bms.faults = Faults()
    proxy.advertise(bms)
    await pass_time(hass)
    assert notification_texts(notifications)[1:] == [
        ("House", "The battery is read again.")
    ]


@pytest.mark.parametrize(("days_ahead", "raised"), [(0, True), (1, False)])
async def test_battery_is_top_balanced_on_its_day_of_the_month(
    hass: HomeAssistant,
    make_bms: Callable[..., VirtualBms],
    proxy: VirtualProxy,
    automate: Callable[..., Any],
    days_ahead: int,
    raised: bool,
) -> None:
    """Once a day, as soon as the charge is high enough, and only for a while."""
    bms = make_bms("JK_PB2A16S20P 15.41", name="House")
    bms.battery.override(soc=80)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, **TUNING)
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    before = dt_util.utcnow()
    await automate(
        "monthly_top_balance",
        battery=device.id,
        charge="sensor.house_state_of_charge",
        day=(dt_util.now() + timedelta(days=days_ahead)).day,
        time="00:00:00",
        charge_voltage=3.52,
        float_voltage=3.46,
        duration={"hours": 4},
    )
    for soc, writes in ((89, 0), (90, 2), (91, 2)):
        bms.battery.override(soc=soc)
        await pass_time(hass)
        assert len(written(bms)) == (writes if raised else 0), soc
    changes = TimedChanges.async_get(hass, entry.entry_id).changes
    expected = {"request_charge_voltage": (3.52,), "request_float_voltage": (3.46,)}
    values = {name: change.values for name, change in changes.items()}
    assert values == (expected if raised else {})
    for change in changes.values():
        due = dt_util.utc_from_timestamp(change.due) - timedelta(hours=4)
        assert before <= due <= dt_util.utcnow()


@pytest.mark.parametrize("name", NAMES)
def test_blueprint_is_documented_and_can_be_imported(name: str) -> None:
    """The docs have an import button, which leads to the blueprint's source."""
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
