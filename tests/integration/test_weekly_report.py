"""The blueprint of the weekly report, with the statistics of a real recorder."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)

from homeassistant.components.recorder import Recorder
from homeassistant.components.recorder.models import (
    StatisticData,
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.components.recorder.statistics import async_import_statistics
from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.util import dt as dt_util
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import notification_texts, setup_integration


@pytest.fixture(autouse=True)
async def bluetooth(
    recorder_mock: Recorder, enable_custom_integrations: None, enable_bluetooth: None
) -> None:
    """Run the recorder as well; it must be there before Home Assistant."""


async def test_weekly_report_sums_the_week(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
    notifications: list[ServiceCall],
    automate: Callable[..., Any],
) -> None:
    """Exactly the last seven days count."""
    bms = make_bms("JK_B2A8S20P 11.48", name="House")
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    now = dt_util.utcnow().replace(minute=0, second=0, microsecond=0)

    def remember(key: str, unit: str, values: list[StatisticData]) -> None:
        total = "sum" in values[0]
        async_import_statistics(
            hass,
            StatisticMetaData(
                has_sum=total,
                mean_type=StatisticMeanType.NONE
                if total
                else StatisticMeanType.ARITHMETIC,
                name=None,
                source="recorder",
                statistic_id=f"sensor.house_{key}",
                unit_of_measurement=unit,
                unit_class={"kWh": "energy", "V": "voltage"}.get(unit),
            ),
            values,
        )

    def hour(days: int) -> datetime:
        # An hour later, to be sure that the first of the seven days counts.
        return now - timedelta(days=days, hours=-1)

    for key, daily in (("energy_charged", 2.0), ("energy_discharged", 1.5)):
        remember(
            key,
            "kWh",
            [
                StatisticData(start=hour(day), sum=(10 - day) * daily, state=0)
                for day in range(10, 0, -1)
            ],
        )
    for key, unit, low, high in (
        ("state_of_charge", "%", 20.0, 90.0),
        ("delta_cell_voltage", "V", 0.004, 0.032),
    ):
        remember(
            key,
            unit,
            [
                StatisticData(start=hour(9), mean=0, min=0, max=999),
                StatisticData(start=hour(2), mean=low, min=low, max=high),
            ],
        )
    await async_wait_recording_done(hass)
    await automate(
        "weekly_report",
        charge="sensor.house_state_of_charge",
        charged="sensor.house_energy_charged",
        discharged="sensor.house_energy_discharged",
        spread="sensor.house_delta_cell_voltage",
        cycles="sensor.house_charging_cycles",
    )
    await hass.services.async_call(
        "automation",
        "trigger",
        {"entity_id": "automation.weekly_report", "skip_condition": True},
        blocking=True,
    )
    cycles = hass.states.get("sensor.house_charging_cycles")
    assert cycles
    assert notification_texts(notifications) == [
        (
            "House",
            (
                "14.0 kWh charged, 10.5 kWh discharged."
                " State of charge from 20 % to 90 %."
                " The cells were at most 0.032 V apart."
                f" {cycles.state} cycles so far."
            ),
        )
    ]
