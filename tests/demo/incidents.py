"""An action of the demo that lets something happen to a battery, as in a test."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import probatio

from homeassistant.core import HomeAssistant, ServiceCall, callback
from homeassistant.helpers import config_validation as cv
from tests.virtual_bms import VirtualBms

SCHEMA: Final = probatio.Schema(
    {
        probatio.Required("battery"): cv.string,
        probatio.Optional("silent", default=False): cv.boolean,
        probatio.Optional("state", default={}): dict,
    }
)


@callback
def async_register(hass: HomeAssistant, batteries: Iterable[VirtualBms]) -> None:
    """Register `demo_battery.let`: pins values of the battery, or lets it fall silent.

    What is not given goes back to normal.
    """
    by_name = {bms.battery.spec.name: bms for bms in batteries}

    @callback
    def let(call: ServiceCall) -> None:
        bms = by_name[call.data["battery"]]
        state: dict[str, Any] = call.data["state"]
        if "soc" in state:
            # So that the card shows no contradiction.
            remaining = state["soc"] / 100 * bms.battery.spec.capacity
            state = {"remaining": round(remaining, 3), **state}
        bms.battery.release()
        bms.battery.override(**state)
        bms.faults = replace(bms.faults, silent=call.data["silent"])

    hass.services.async_register("demo_battery", "let", let, SCHEMA)
