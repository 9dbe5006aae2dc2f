"""A dashboard for all batteries, built from the registries."""

from collections.abc import Iterable
from typing import Any, Final

from homeassistant.config_entries import SOURCE_BLUETOOTH
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er

from .home import DOMAIN

type Config = dict[str, Any]
type Entities = dict[str, str]
"""The entity ids of a battery by key: what follows the address in the unique id."""

# Only entities that the battery has are shown.
LIVE: Final = (
    "power",
    "current",
    "total_voltage",
    "capacity_remaining",
    "balancing_current",
)
CELLS: Final = (
    "max_cell_voltage",
    "min_cell_voltage",
    "average_cell_voltage",
    "delta_cell_voltage",
)
STATES: Final = (
    "charging",
    "discharging",
    "balancing",
    "heating",
    "balancer_state",
    "charge_status",
)
TEMPERATURES: Final = (
    "temperature_sensor_1",
    "temperature_sensor_2",
    "temperature_sensor_4",
    "temperature_sensor_5",
    "mosfet_temperature",
)
SHORT_NAMES: Final = {
    "capacity_remaining": "Capacity left",
    "average_cell_voltage": "Avg cell voltage",
    **{f"temperature_sensor_{n}": f"Sensor {n}" for n in (1, 2, 4, 5)},
    "mosfet_temperature": "MOSFET",
}
"""A shorter heading, for half a line on a phone."""
GRAPHS: Final = (
    ("state_of_charge",),
    ("power",),
    ("max_cell_voltage", "min_cell_voltage"),
    ("total_voltage",),
)


def make_dashboard(hass: HomeAssistant, hours: int) -> Config:
    """Show each battery that was added, with this much history, and the discovered ones."""
    batteries = _batteries(hass)
    views = [_battery(name, entities, hours) for name, entities in batteries.items()]
    if len(batteries) > 1:
        views.insert(0, _overview(batteries))
    flows = hass.config_entries.flow.async_progress_by_handler(
        DOMAIN, match_context={"source": SOURCE_BLUETOOTH}
    )
    waiting = [
        flow["context"]["title_placeholders"]["name"]
        for flow in sorted(flows, key=lambda flow: flow["context"]["unique_id"] or "")
    ]
    if waiting:
        views.append(_discovered(waiting))
    return {"views": views}


def _batteries(hass: HomeAssistant) -> dict[str, Entities]:
    devices = dr.async_get(hass)
    entities = er.async_get(hass)
    entries = hass.config_entries.async_entries(DOMAIN)
    return {
        device.name or "": {
            # The address has no underscore.
            entity.unique_id.partition("_")[2]: entity.entity_id
            for entity in er.async_entries_for_device(entities, device.id)
        }
        for entry in sorted(entries, key=lambda entry: entry.unique_id or "")
        for device in dr.async_entries_for_config_entry(devices, entry.entry_id)
    }


def _discovered(names: Iterable[str]) -> Config:
    cards = [
        {
            "type": "shortcut",
            "label": "Discovered: JK BMS",
            "description": name,
            "icon": "mdi:battery-bluetooth-variant",
            "tap_action": {
                "action": "navigate",
                "navigation_path": "/config/integrations/dashboard",
            },
            "grid_options": {"columns": "full"},
        }
        for name in names
    ]
    text = {
        "type": "markdown",
        "text_only": True,
        "content": "This is a real Home Assistant; the batteries, and the Bluetooth"
        " proxies that hear them, are software. Add one as you would add your own:"
        " its values then appear here.",
    }
    return _view("Discovered", _group("Found nearby", "mdi:bluetooth", *cards, text))


def _overview(batteries: dict[str, Entities]) -> Config:
    return _view(
        "All",
        *(
            _group(
                name,
                "mdi:home-battery",
                *_gauge(entities),
                *_tiles(entities, LIVE),
                *_tiles(entities, ("min_cell_voltage", "max_cell_voltage")),
                path=_path(name),
            )
            for name, entities in batteries.items()
        ),
    )


def _battery(name: str, entities: Entities, hours: int) -> Config:
    graphs = [graph for keys in GRAPHS for graph in _graph(entities, keys, hours)]
    return _view(
        name,
        _group(
            name,
            "mdi:home-battery",
            *_gauge(entities),
            *_tiles(entities, LIVE),
            *graphs[:2],
        ),
        [
            *_group(
                "Cells",
                "mdi:battery-outline",
                *_tiles(entities, CELLS),
                *_cells(entities),
            ),
            *_group("State", "mdi:toggle-switch-outline", *_tiles(entities, STATES)),
        ],
        [
            *_group("Temperatures", "mdi:thermometer", *_tiles(entities, TEMPERATURES)),
            *_group("Voltages", "mdi:chart-line", *graphs[2:]),
        ],
    )


def _cells(entities: Entities) -> Iterable[Config]:
    """Mark the cell with the highest voltage, and the one with the lowest."""
    for cell in range(1, len(entities)):
        if not (entity := entities.get(f"cell_voltage_{cell}")):
            return
        highest = _is(entities["max_voltage_cell"], cell)
        lowest = _is(entities["min_voltage_cell"], cell)
        for name, conditions in (
            (f"{cell} ▲", [highest]),
            (f"{cell} ▼", [lowest]),
            (f"{cell}", [_not(highest), _not(lowest)]),
        ):
            yield {
                "type": "button",
                "entity": entity,
                "name": name,
                "show_icon": False,
                "show_state": True,
                "tap_action": {"action": "more-info"},
                "visibility": conditions,
                "grid_options": {"columns": 3, "rows": 1},
            }


def _is(entity: str, cell: int) -> Config:
    return {"condition": "state", "entity": entity, "state": str(cell)}


def _not(condition: Config) -> Config:
    return {"condition": "not", "conditions": [condition]}


def _gauge(entities: Entities) -> Iterable[Config]:
    if "state_of_charge" in entities:
        yield {
            "type": "gauge",
            "entity": entities["state_of_charge"],
            "name": "State of charge",
            "needle": True,
            "severity": {"red": 0, "yellow": 20, "green": 40},
            "grid_options": {"columns": 6, "rows": 3},
        }


def _tiles(entities: Entities, keys: Iterable[str]) -> Iterable[Config]:
    for key in keys:
        if key in entities:
            yield {
                "type": "tile",
                "entity": entities[key],
                "name": SHORT_NAMES.get(key, {"type": "entity"}),
                "grid_options": {"columns": 6},
            }


def _graph(entities: Entities, keys: Iterable[str], hours: int) -> Iterable[Config]:
    if shown := [entities[key] for key in keys if key in entities]:
        yield {
            "type": "history-graph",
            "hours_to_show": hours,
            "entities": [
                {"entity": entity, "name": {"type": "entity"}} for entity in shown
            ],
            "grid_options": {"columns": 12, "rows": 3},
        }


def _group(
    title: str, icon: str, *cards: Config, path: str | None = None
) -> list[Config]:
    """Put a heading above the cards, if there are any."""
    heading: Config = {"type": "heading", "heading": title, "icon": icon}
    if path:
        heading["tap_action"] = {"action": "navigate", "navigation_path": path}
    return [heading, *cards] if cards else []


def _view(title: str, *sections: list[Config]) -> Config:
    return {
        "title": title,
        "path": _path(title),
        "type": "sections",
        "max_columns": 3,
        "sections": [{"type": "grid", "cards": cards} for cards in sections if cards],
    }


def _path(title: str) -> str:
    return title.lower().replace(" ", "-")
