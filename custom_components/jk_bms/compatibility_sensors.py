"""The table of sensors that only cards written for esphome-jk-bms read."""

from collections.abc import Callable
from textwrap import shorten

from homeassistant.components.sensor import SensorDeviceClass, SensorStateClass
from homeassistant.const import (
    MAX_LENGTH_STATE_STATE,
    EntityCategory,
    UnitOfTemperature,
)
from homeassistant.helpers.typing import StateType

from .const import UNIT_AMPERE_HOUR
from .entity import Pace
from .jkbms.models import BalancerState, Reading
from .sensor_descriptions import (
    TEMPERATURE_NOISE,
    JkBmsSensorDescription,
    total_runtime,
)


def _errors(reading: Reading) -> str | None:
    """Return the faults in English; a card hides the line where the state is empty."""
    faults = reading.cell_data.faults
    if faults is None:
        return None
    text = "; ".join(fault.replace("_", " ").capitalize() for fault in faults)
    return shorten(text, MAX_LENGTH_STATE_STATE, placeholder="…")


def _balancing_cell(reading: Reading) -> int | None:
    """Return a mask of one bit: the balancer works on one cell at a time."""
    cells = reading.cell_data
    if cells.balancing is None:
        return None
    cell = {
        BalancerState.CHARGING: cells.max_cell,
        BalancerState.DISCHARGING: cells.min_cell,
    }.get(cells.balancer or BalancerState.OFF)
    return 1 << (cell - 1) if cell else 0


def _runtime_in_words(reading: Reading) -> str | None:
    """Return the total run time as esphome-jk-bms does: "1y 12d 5h"."""
    if (seconds := total_runtime(reading)) is None:
        return None
    days, seconds = divmod(seconds, 24 * 3600)
    years, days = divmod(days, 365)
    parts = {"y": years, "d": days, "h": seconds // 3600}
    return " ".join(f"{n}{unit}" for unit, n in parts.items() if n or unit == "h")


def _for_cards(
    key: str,
    value_fn: Callable[[Reading], StateType],
    *,
    device_class: SensorDeviceClass | None = None,
    unit: str | None = None,
    state_class: SensorStateClass | None = None,
    pace: Pace = Pace.SLOW,
    noise: float = 0.0,
) -> JkBmsSensorDescription:
    """Describe a sensor under the name that it has in esphome-jk-bms."""
    return JkBmsSensorDescription(
        key=key,
        device_class=device_class,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        native_unit_of_measurement=unit,
        state_class=state_class,
        value_fn=value_fn,
        pace=pace,
        noise=noise,
    )


COMPATIBILITY_SENSORS: tuple[JkBmsSensorDescription, ...] = (
    _for_cards("errors", _errors, pace=Pace.LIVE),
    # A state class keeps state changes out of Activity.
    _for_cards(
        "balancer_status_bitmask",
        _balancing_cell,
        state_class=SensorStateClass.MEASUREMENT,
        pace=Pace.LIVE,
    ),
    _for_cards("total_runtime_formatted", _runtime_in_words),
    _for_cards(
        "software_version", lambda reading: reading.device_info.software_version
    ),
    _for_cards(
        "hardware_version", lambda reading: reading.device_info.hardware_version
    ),
    _for_cards(
        "power_tube_temperature",
        lambda reading: reading.cell_data.mosfet_temperature,
        device_class=SensorDeviceClass.TEMPERATURE,
        unit=UnitOfTemperature.CELSIUS,
        pace=Pace.LIVE,
        noise=TEMPERATURE_NOISE,
    ),
    _for_cards(
        "total_battery_capacity_setting",
        # A reading may have no settings at all.
        lambda reading: getattr(reading.settings, "nominal_capacity", None),
        unit=UNIT_AMPERE_HOUR,
    ),
)
