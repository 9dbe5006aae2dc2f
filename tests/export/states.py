"""Batteries as the exporter and the push client get them, and what has to come out."""

from typing import Any, Final

from custom_components.jk_bms.jkbms.models import BatteryState
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_device_info,
)
from custom_components.jk_bms.jkbms.protocol.detect import find_profile
from custom_components.jk_bms.jkbms.protocol.frames import Frame
from tests.servers import Samples
from tests.virtual_bms import MODELS, Battery, frames

HOUSE: Final = "JK_B2A8S20P 11.48"
GARAGE: Final = "JK_PB2A16S20P 15.41"
OLD: Final = "JK-B2A24S15P 10.07"
OLDEST: Final = "JK-B2A16S 3.3.0"
LAST_UPDATE: Final = 1_795_500_000.125

GAUGES: Final = (
    "average_cell_voltage",
    "delta_cell_voltage",
    "balance_current",
    "battery_voltage",
    "battery_power",
    "battery_current",
    "mosfet_temperature",
    "remain_percent",
    "remain_capacity",
    "nominal_capacity",
    "state_of_health",
    "charging",
    "discharging",
)
COUNTERS: Final = ("cycle_capacity", "cycle_count")
LISTS: Final = {
    "cell_voltage": "cell",
    "cell_resistance": "cell",
    "battery_temperature": "cell",
}


def battery(
    device: str, model: str, *, up: bool | None = True, **values: Any
) -> BatteryState:
    """Return a battery that was read, with these measurements."""
    virtual = Battery(MODELS[model], time_scale=0.0)
    virtual.override(**values)
    spec, state = virtual.spec, virtual.state
    info = Frame.parse(frames.info_frame(spec, virtual.settings, state, 1))
    cells = Frame.parse(frames.cell_frame(spec, state, 2))
    return BatteryState(
        device=device,
        device_info=decode_device_info(info),
        cell_data=decode_cell_data(cells, find_profile([info, cells])),
        layout=find_profile([info, cells]).layout,
        up=up,
        last_update=LAST_UPDATE,
        rejected_frames=3,
    )


def expected(state: BatteryState, *, openmetrics: bool = False) -> Samples:
    """Return the samples of one battery, without its label."""
    cells, info = state.cell_data, state.device_info
    assert cells
    assert info
    suffix = "_total" if openmetrics else ""
    values: dict[str, Any] = {name: getattr(cells, name) for name in GAUGES}
    values |= {f"{name}{suffix}": getattr(cells, name) for name in COUNTERS}
    values[f"up_time{suffix}"] = cells.up_time
    values[f"poweron_times{suffix}"] = info.poweron_times
    values["balancing"] = cells.balancer and cells.balancer != "off"
    values["rejected_frames_total"] = state.rejected_frames
    values["last_update_timestamp_seconds"] = state.last_update
    values["up"] = state.up
    samples: Samples = {
        name: {frozenset(): float(value)}
        for name, value in values.items()
        if value is not None
    }
    for name, label in LISTS.items():
        samples[name] = {
            frozenset({(label, str(index))}): value
            for index, value in enumerate(getattr(cells, name))
            if value is not None
        }
    bits = {"JK02_32S": 32, "JK02_24S": 16}.get(str(state.layout))
    if bits:
        assert cells.alarm_mask is not None
        samples["alarm"] = {
            frozenset({("alarm", name)}): float(cells.alarm_mask >> bit & 1)
            for bit, name in enumerate(ALARMS[:bits])
        }
    return {name: of_name for name, of_name in samples.items() if of_name}


ALARMS: Final = (
    "wire_resistance",
    "mosfet_overtemperature",
    "cell_count",
    "current_sensor",
    "cell_overvoltage",
    "pack_overvoltage",
    "charge_overcurrent",
    "charge_short_circuit",
    "charge_overtemperature",
    "charge_undertemperature",
    "internal_communication",
    "cell_undervoltage",
    "pack_undervoltage",
    "discharge_overcurrent",
    "discharge_short_circuit",
    "discharge_overtemperature",
    "charge_mosfet",
    "discharge_mosfet",
    "gps_disconnected",
    "default_password",
    "discharge_on_failed",
    "battery_overtemperature",
    "temperature_sensor",
    "parallel_module",
    "short_circuit_release_failed",
    "discharge_overcurrent_2",
    "discharge_overcurrent_3",
    "discharge_undertemperature",
    "gps_locked",
    "bit_29",
    "bit_30",
    "bit_31",
)
