"""The page of a device leads to its view of the dashboard."""

from collections.abc import Awaitable, Callable
import os
from pathlib import Path
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.jk_bms.bank_coordinator import CONF_PACKS
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.dashboard_link import view_paths
from homeassistant.components.lovelace.const import LOVELACE_DATA
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component

pytestmark = pytest.mark.usefixtures("socket_enabled")

OURS = {"strategy": {"type": "custom:jk-bms"}}
LINK = "homeassistant://jk-bms/house"

type Ask = Callable[..., Awaitable[Any]]


@pytest.fixture(autouse=True)
def storage(hass_storage: dict[str, Any]) -> None:
    """Store in memory."""


@pytest.fixture
async def ask(hass: HomeAssistant, hass_ws_client: WebSocketGenerator) -> Ask:
    """Set up frontend and integration, and return what a page asks with."""
    assert await async_setup_component(hass, "frontend", {})
    assert await async_setup_component(hass, DOMAIN, {})
    client = await hass_ws_client(hass)

    async def ask(kind: str, **message: Any) -> Any:
        await client.send_json_auto_id({"type": f"lovelace/{kind}", **message})
        answer = await client.receive_json()
        assert answer["success"], answer
        await hass.async_block_till_done()
        return answer["result"]

    return ask


async def create(ask: Ask, config: dict[str, Any], url_path: str = "jk-bms") -> str:
    """Add a dashboard as a page does, and return its id."""
    made = await ask(
        "dashboards/create", url_path=url_path, title="Any", mode="storage"
    )
    await ask("config/save", url_path=url_path, config=config)
    return str(made["id"])


def add_device(
    hass: HomeAssistant, name: str, entry_id: str | None = None, **data: Any
) -> dr.DeviceEntry:
    """Add a battery, or a bank of these packs, that is not read."""
    entry = MockConfigEntry(domain=DOMAIN, entry_id=entry_id or name, data=data)
    entry.add_to_hass(hass)
    return dr.async_get(hass).async_get_or_create(
        config_entry_id=entry.entry_id,
        identifiers={(DOMAIN, entry.entry_id)},
        name=name,
    )


def link(hass: HomeAssistant, device: dr.DeviceEntry) -> str | None:
    """Return where the page of the device leads."""
    found = dr.async_get(hass).async_get(device.id)
    assert found
    return found.configuration_url


async def test_link_comes_and_goes_with_the_dashboard(
    hass: HomeAssistant, ask: Ask
) -> None:
    """A battery that is added later and one that the user renames have theirs too."""
    house = add_device(hass, "House")
    await create(ask, {"strategy": {"type": "home"}}, "other-one")
    assert link(hass, house) is None

    dashboard = await create(ask, OURS)
    assert link(hass, house) == LINK

    shed = add_device(hass, "Shed")
    assert link(hass, shed) == "homeassistant://jk-bms/shed"
    dr.async_get(hass).async_update_device(house.id, name_by_user="Garden house")
    assert link(hass, house) == LINK

    await ask("dashboards/delete", dashboard_id=dashboard)
    assert (link(hass, house), link(hass, shed)) == (None, None)


async def test_dashboard_under_control_keeps_the_links_to_the_views_it_has(
    hass: HomeAssistant, ask: Ask
) -> None:
    """A view of the same path that shows something else is not meant."""
    house, shed = add_device(hass, "House"), add_device(hass, "Shed")
    card = {"type": "custom:jk-bms-battery-card", "device_id": house.id}
    views = [
        {"path": "house", "sections": [{"cards": [card]}]},
        {"path": "shed", "cards": [{"type": "clock"}]},
        None,
    ]
    await create(ask, {"views": views})
    assert (link(hass, house), link(hass, shed)) == (LINK, None)

    await ask("config/save", url_path="jk-bms", config={"views": None})
    assert link(hass, house) is None


async def test_dashboard_of_the_last_run_is_found(
    hass: HomeAssistant, hass_storage: dict[str, Any]
) -> None:
    """After a restart the link is that of the dashboards there are."""
    house, key = add_device(hass, "House"), "lovelace_dashboards"
    item: dict[str, Any] = {"id": "jk", "url_path": "jk-bms", "title": "Any"}
    item |= {"require_admin": False, "show_in_sidebar": True}
    hass_storage[key] = {"version": 1, "key": key, "data": {"items": [item]}}
    key = "lovelace.jk"
    hass_storage[key] = {"version": 1, "key": key, "data": {"config": OURS}}
    assert await async_setup_component(hass, "frontend", {})
    assert await async_setup_component(hass, DOMAIN, {})
    assert link(hass, house) == LINK


async def test_dashboard_in_a_file(hass: HomeAssistant, tmp_path: Path) -> None:
    """One whose file seems to change all the time is not loaded all the time."""
    house, file = add_device(hass, "House"), tmp_path / "jk.yaml"
    file.write_text("strategy:\n  type: custom:jk-bms\n")
    os.utime(file, (4e9, 4e9))
    dashboards = {
        url_path: {"mode": "yaml", "title": "Any", "filename": str(path)}
        for url_path, path in (("jk-bms", file), ("no-file", tmp_path / "missing"))
    }
    config = {"lovelace": {"dashboards": dashboards}}
    assert await async_setup_component(hass, "lovelace", config)
    assert await async_setup_component(hass, "frontend", {})
    assert await async_setup_component(hass, DOMAIN, {})
    assert link(hass, house) == LINK

    file.write_text("views: []\n")
    os.utime(file, (4e9, 4e9))
    # As a page does that shows it.
    await hass.data[LOVELACE_DATA].dashboards["jk-bms"].async_load(False)
    await hass.async_block_till_done()
    assert link(hass, house) is None

    file.unlink()
    hass.bus.async_fire("lovelace_updated", {"url_path": "jk-bms"})
    await hass.async_block_till_done()


async def test_no_frontend_is_no_problem(hass: HomeAssistant) -> None:
    """Without dashboards no device has a link."""
    house = add_device(hass, "House")
    assert await async_setup_component(hass, DOMAIN, {})
    assert LOVELACE_DATA not in hass.data
    assert link(hass, house) is None


async def test_paths_are_legible_and_no_two_are_alike(hass: HomeAssistant) -> None:
    """A bank comes before its packs, whenever it was added."""
    names = ["Haus Süd", "Haus Süd", "12", "电池", "All"]
    devices = [add_device(hass, name, str(n)) for n, name in enumerate(names)]
    bank = add_device(hass, "Haus Süd", "bank", **{CONF_PACKS: ["0", "1"]})
    paths = view_paths(hass)
    assert paths[bank.id] == "haus-su-d"
    assert [paths[device.id] for device in devices] == [
        "haus-su-d-2",
        "haus-su-d-3",
        "battery-12",
        "battery",
        "battery-all",
    ]
