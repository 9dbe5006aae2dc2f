"""The update from the version before energy counters had a store: nothing is lost.

`storage/write.py` has written what that version stored.
"""

from collections.abc import Callable
from copy import deepcopy
import json
from pathlib import Path
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms import metrics_push
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.jkbms.export.push import PushTarget
from custom_components.jk_bms.jkbms.models import BatteryState
from custom_components.jk_bms.options import LinkBehaviour
from custom_components.jk_bms.push_label import CONF_LABEL
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.restore_state import STORAGE_KEY
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import pass_time
from .restore import load_states

STORED = {
    path.stem: json.loads(path.read_text())
    for path in Path(__file__).parent.joinpath("storage").glob("core.*.json")
}
ENTRIES = STORED["core.config_entries"]["data"]["entries"]
ENTITIES = STORED["core.entity_registry"]["data"]["entities"]
DEVICES = STORED["core.device_registry"]["data"]["devices"]
MODELS = ("JK_B2A8S20P 11.48", "JK_PB2A16S20P 15.41", "JK-B2A16S 3.3.0")
KEPT_OF_ENTITY = ("unique_id", "id", "name", "disabled_by", "unit_of_measurement")

type Pushed = list[tuple[PushTarget, BatteryState]]


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> Pushed:
    """Note what is pushed where; there is no server."""
    pushed: Pushed = []

    async def note(
        _: Any, target: PushTarget, states: list[BatteryState], **__: Any
    ) -> None:
        pushed.extend((target, state) for state in states)

    monkeypatch.setattr(metrics_push, "push", note)
    return pushed


@pytest.fixture
async def entries(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
    pushed: Pushed,
) -> list[MockConfigEntry]:
    """Start Home Assistant with what the older version stored."""
    hass_storage.update(deepcopy(STORED))
    for registry in (dr, er):
        del hass.data[registry.DATA_REGISTRY]
    # It remembers the registry that the test's Home Assistant began with
    er.async_get.cache_clear()  # type: ignore[attr-defined]
    dr.async_setup(hass)
    await dr.async_load(hass)
    await er.async_load(hass)
    await load_states(hass)
    for model in MODELS:
        bms = make_bms(model)
        assert bms.address in {entry["unique_id"] for entry in ENTRIES}
        proxy.advertise(bms)
    entries = [
        MockConfigEntry(
            **{
                key: entry[key]
                for key in (
                    "data",
                    "domain",
                    "entry_id",
                    "minor_version",
                    "options",
                    "title",
                    "unique_id",
                    "version",
                )
            }
        )
        for entry in ENTRIES
    ]
    for entry in entries:
        entry.add_to_hass(hass)
    hass.set_state(CoreState.starting)
    for entry in entries:
        if entry.state is ConfigEntryState.NOT_LOADED:
            await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    hass.set_state(CoreState.running)
    await pass_time(hass)
    assert {entry.state for entry in entries} == {ConfigEntryState.LOADED}
    return entries


async def test_update_keeps_entries_and_options(
    hass: HomeAssistant, entries: list[MockConfigEntry], pushed: Pushed
) -> None:
    """What was chosen applies: interval, link, pause, and where values are pushed."""
    for entry, stored in zip(entries, ENTRIES, strict=True):
        assert entry.options == stored["options"]
        assert stored["data"].items() <= entry.data.items()
        assert (entry.title, entry.unique_id) == (stored["title"], stored["unique_id"])
    options = entries[0].runtime_data.options
    assert options.interval.total_seconds() == 10
    assert options.pause.total_seconds() == 30 * 60
    assert options.link is LinkBehaviour.RELEASED
    by_label = {state.device: target for target, state in pushed}
    assert set(by_label) == {"House", "House 2"}
    assert by_label["House"].job == "home"
    assert by_label["House 2"].job == "boat"
    assert {target.url.port for target in by_label.values()} == {9}
    for label, header in (
        ("House", "Basic bWU6czNjcmV0"),
        ("House 2", "Basic eW91OnBhNTU="),
    ):
        credentials = by_label[label].credentials
        assert credentials
        assert credentials.header == header
    assert [entry.data.get(CONF_LABEL) for entry in entries] == [
        "House",
        "House 2",
        None,
    ]


async def test_update_keeps_entities_and_what_statistics_hang_on(
    hass: HomeAssistant,
    entries: list[MockConfigEntry],
    entity_registry: er.EntityRegistry,
    device_registry: dr.DeviceRegistry,
) -> None:
    """Ids, names, units and what was enabled or disabled are as they were."""
    for stored in ENTITIES:
        entity = entity_registry.async_get(stored["entity_id"])
        assert entity, stored["entity_id"]
        for key in KEPT_OF_ENTITY:
            assert getattr(entity, key) == stored[key], (stored["entity_id"], key)
        capabilities = stored["capabilities"] or {}
        assert (entity.capabilities or {}).items() >= capabilities.items()
    assert entity_registry.async_get("sensor.mine").name == "Mine"
    assert hass.states.get("sensor.mine").state not in ("unknown", "unavailable")
    assert hass.states.get("sensor.house_cell_voltage_1") is None
    assert hass.states.get("sensor.house_signal_strength")
    for stored in DEVICES:
        if stored["manufacturer"] != "JiKong":
            continue
        device = device_registry.async_get(stored["id"])
        assert device
        assert device.name_by_user == stored["name_by_user"]
        assert device.model == stored["model"]


async def test_update_continues_the_energy_counters(
    hass: HomeAssistant, entries: list[MockConfigEntry], hass_storage: dict[str, Any]
) -> None:
    """The totals that Home Assistant had stored move to the integration's own store."""
    totals = {
        item["state"]["entity_id"]: item["extra_data"]["total"]
        for item in STORED[STORAGE_KEY]["data"]
        if "energy" in item["state"]["entity_id"]
    }
    charged = sorted(total for total in totals.values() if total)
    assert charged == pytest.approx([39.3456789, 41.3456789])
    for entity_id, total in totals.items():
        shown = float(hass.states.get(entity_id).state)
        assert total - 0.0005 <= shown < total + 0.1
    for entry in entries[:2]:
        kept = hass_storage[f"{DOMAIN}.energy.{entry.entry_id}"]["data"]
        assert kept["energy_charged"] > 39


async def test_update_finds_the_battery_of_each_entry(
    hass: HomeAssistant, entries: list[MockConfigEntry]
) -> None:
    """Each one is read."""
    for entry in entries:
        assert entry.runtime_data.available
        assert entry.runtime_data.address == entry.data[CONF_ADDRESS]
