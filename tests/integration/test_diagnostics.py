"""The diagnostics that an owner attaches to a report."""

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.jkbms.cli.main import main
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import (
    forget,
    mock_entry,
    pass_time,
    receive_advertisement,
    setup_integration,
    until,
    until_held,
)

MODELS = ["JK-B2A16S 3.3.0", "JK-B2A24S15P 10.07", "JK_PB2A16S20P 15.41"]


async def download(
    hass: HomeAssistant, hass_client: ClientSessionGenerator, entry: MockConfigEntry
) -> dict[str, Any]:
    """Download the diagnostics as a browser does."""
    assert await async_setup_component(hass, "diagnostics", {})
    report: dict[str, Any] = await get_diagnostics_for_config_entry(
        hass, hass_client, entry
    )
    return report


@pytest.mark.parametrize("model", MODELS)
async def test_download_describes_entry_link_and_values(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    bms: VirtualBms,
) -> None:
    """They show how the battery is read, over which path, and its values."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    bms.faults = Faults(pairing=True)
    await pass_time(hass)
    report = await download(hass, hass_client, entry)

    assert report["entry"]["state"] == "loaded"
    good, bad = report["link"]["history"]
    assert good["outcome"] == "read"
    assert bad["outcome"].startswith("PairingRequiredError")
    assert good["path"] == bad["path"] == "scanner 1"
    assert good["rssi"] == -60
    assert good["duration"] >= 0
    assert good["frames"] >= 3
    assert bad["frames"] == 0
    assert "pairing code" in report["link"]["last_error"]
    assert report["link"]["available"] is True
    assert report["link"]["statistics"]["good"] >= 3
    assert report["device_info"]["device_model"] == bms.spec.model
    assert report["cell_data"]["cell_voltage"]
    assert report["settings"]["cell_count"] == bms.spec.cells
    assert report["layout"]
    assert report["advertisement"]["rssi"] == -60


async def test_path_is_the_one_that_was_used(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    far_proxy: VirtualProxy,
    bms: VirtualBms,
) -> None:
    """The proxy with the best signal may have no free slot, or be gone."""
    proxy.radio.slots = 0
    proxy.advertise(bms)
    far_proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.LOADED
    proxy.radio.slots = 3
    await pass_time(hass)
    forget(proxy, bms)
    forget(far_proxy, bms)
    await pass_time(hass)
    history = (await download(hass, hass_client, entry))["link"]["history"]
    used = [(attempt["path"], attempt["rssi"]) for attempt in history]
    assert used[:2] == [("scanner 1", -75), ("scanner 2", -60)]
    assert used[2][0] is None
    attempts = list(entry.runtime_data.attempts)
    assert [each.path for each in attempts] == [far_proxy.source, proxy.source, None]


async def test_held_link_is_an_attempt_in_progress(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    bms: VirtualBms,
) -> None:
    """A link that is up shows as such, and that it brings frames."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, link="held")
    await until_held(bms, entry)
    before = entry.runtime_data.client.statistics.good
    await until(lambda: entry.runtime_data.client.statistics.good > before + 5)
    report = await download(hass, hass_client, entry)
    read, held = report["link"]["history"]
    assert read["outcome"] == "read"
    assert held["outcome"] == "in progress"
    assert held["started"] > read["started"]
    assert held["frames"] > 5
    assert held["path"] == "scanner 1"

    await entry.runtime_data.async_release_link()
    report = await download(hass, hass_client, entry)
    _, ended = report["link"]["history"]
    assert ended["outcome"] == "cancelled"
    assert ended["started"] == held["started"]
    assert ended["frames"] >= held["frames"]


@pytest.mark.parametrize("model", MODELS)
async def test_downloaded_frames_can_be_decoded(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    bms: VirtualBms,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`jkbms --decode` takes the frames of a download and reads the same values."""
    proxy.advertise(bms)
    report = await download(hass, hass_client, await setup_integration(hass, bms))
    frames = tmp_path / "frames.txt"
    frames.write_text("\n".join(report["frames"].values()))
    assert set(report["frames"]) >= {"device_info", "settings", "cell_data"}

    assert main(["--decode", str(frames), "-f", "json", "--secrets"]) == 0
    decoded = json.loads(capsys.readouterr().out)
    (cells,) = decoded["cell_data"]
    # The battery may have counted on until the link was released.
    for counted in ("frame_counter", "up_time"):
        cells.pop(counted)
        report["cell_data"].pop(counted)
    assert cells == report["cell_data"]
    assert decoded["settings"] == [report["settings"]]
    (info,) = decoded["device_info"]
    assert info["device_model"] == bms.spec.model
    assert set(info["device_name"]) == {"*"}


@pytest.mark.parametrize("model", MODELS)
async def test_private_data_are_redacted(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
    model: str,
) -> None:
    """Passcodes, names, numbers and addresses are in none of it, nor in the frames."""
    bms = make_bms(model, name="Camper", dip_address=None)
    spec = bms.spec
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    bms.faults = Faults(
        refuse_connection=True, refuse_error=f"{spec.address} {spec.name} refused"
    )
    await pass_time(hass)
    text = json.dumps(await download(hass, hass_client, entry)).lower()

    assert "refused" in text
    secrets = {
        spec.passcode,
        spec.short_passcode,
        spec.setup_passcode,
        spec.userdata,
        spec.userdata2,
        spec.serial,
        spec.name,
        spec.address,
        spec.address.replace(":", ""),
        proxy.source,
        proxy.adapter,
    } - {""}
    assert secrets
    for secret in secrets:
        assert secret.lower() not in text
        assert secret.encode().hex() not in text


@pytest.mark.parametrize("loaded", [True, False])
async def test_slot_holders_are_redacted(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
    bms: VirtualBms,
    short_deadline: float,
    loaded: bool,
) -> None:
    """The issue names the users of the slots; the diagnostics do not."""
    neighbour = make_bms("JK-B2A24S15P 10.07", name="Neighbour")
    receive_advertisement(proxy, neighbour)
    proxy.advertise(bms)
    if loaded:
        entry = await setup_integration(hass, bms)
    proxy.radio.slots = 2
    proxy.radio._occupy(neighbour.address)
    proxy.radio._occupy("AA:BB:CC:00:00:01")
    if loaded:
        await pass_time(hass)
        reason = str(entry.runtime_data.last_exception)
    else:
        entry = await setup_integration(hass, bms)
        reason = entry.reason
    assert f"Neighbour ({neighbour.address}), AA:BB:CC:00:00:01" in reason

    # They have gone before the owner asks
    for address in list(proxy.radio.taken):
        proxy.radio._vacate(address)
    text = json.dumps(await download(hass, hass_client, entry))
    assert "in use, by: **REDACTED**. Disconnect" in text
    assert "Neighbour" not in text
    assert neighbour.address not in text
    assert "AA:BB:CC:00:00:01" not in text


async def test_battery_out_of_range_has_diagnostics(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    bms: VirtualBms,
) -> None:
    """There is something to say about a battery that was never read."""
    entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    report = await download(hass, hass_client, entry)
    assert report["advertisement"] is None
    assert report["entry"]["state"] == "setup_retry"
    assert report["link"]["history"][0]["path"] is None
    assert report["device_info"] is None
    assert report["frames"] == {}


async def test_entry_that_was_never_set_up_has_diagnostics(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    bms: VirtualBms,
) -> None:
    """A disabled entry has nothing but itself."""
    entry = mock_entry(bms)
    entry.add_to_hass(hass)
    assert await async_setup_component(hass, DOMAIN, {})
    await hass.config_entries.async_unload(entry.entry_id)
    del entry.runtime_data
    report = await download(hass, hass_client, entry)
    assert set(report) == {"entry", "advertisement"}


async def test_unsupported_layout_has_frames(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    bms: VirtualBms,
) -> None:
    """Unknown frames are what the report is for."""
    bms.battery.spec = replace(bms.spec, software="beta")
    bms.battery.override(voltage=99.0, enabled=0b1011)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.LOADED
    report = await download(hass, hass_client, entry)
    assert report["device_info"]["software_version"] == "beta"
    assert "cell_data" not in report
    assert set(report["frames"]) >= {"device_info", "cell_data"}
