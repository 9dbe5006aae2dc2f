"""No secret of a battery leaves the integration, with every log at debug."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
import json
import logging
import re
from typing import Any

from aiohttp.test_utils import TestClient
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.jk_bms import coordinator as coordinators, issues
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.jkbms.bluetooth import client
from homeassistant.const import EVENT_STATE_CHANGED, MATCH_ALL
from homeassistant.core import Event, HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr, issue_registry as ir
from homeassistant.setup import async_setup_component
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import MAX_DATA_AGE, TRANSLATIONS, pass_time, until, until_held

SECRETS = {
    "passcode": "Open-Sesame-1",
    "short_passcode": "zq74x",
    "setup_passcode": "Alohomora-22",
    "userdata": "Uncle Bob 555",
    "userdata2": "Under the mat",
    "serial": "80912345678",
}
HEX = re.compile(r"(?:[0-9a-f]{2}[ :-]?){4,}", re.IGNORECASE)
FAILURES = [
    Faults(silent=True),
    Faults(garbage=True),
    Faults(pairing=True),
    Faults(foreign="neey"),
    Faults(disconnect_in=0x03),
    Faults(missing_characteristic=True),
    Faults(refuse_connection=True),
]
NOISE = Faults(lose=0.1, damage=0.1)


@pytest.fixture(autouse=True)
def fail_fast(short_deadline: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no failing read take long, and raise an issue for each."""
    monkeypatch.setattr(issues, "ISSUE_AFTER", 0.0)
    monkeypatch.setattr(issues, "MIN_FAILURES", 1)
    monkeypatch.setitem(
        client.JkBmsClient.hold.__kwdefaults__, "deadline", short_deadline
    )


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Open every log there is."""
    caplog.set_level(logging.DEBUG)
    levels = {
        logger: logger.level
        for logger in logging.root.manager.loggerDict.values()
        if isinstance(logger, logging.Logger)
    }
    for logger in levels:
        logger.setLevel(logging.NOTSET)
    yield caplog
    for logger, level in levels.items():
        logger.setLevel(level)


def unfolded(text: str) -> str:
    """Return a text together with what its hexadecimal digits stand for."""
    digits = (re.sub("[ :-]", "", found) for found in HEX.findall(text))
    return "\n".join(
        [text, *(bytes.fromhex(found).decode("latin-1") for found in digits)]
    )


def leaks(texts: Iterable[str]) -> set[tuple[str, str]]:
    """Return every secret that can be read, with the text that holds it."""
    return {
        (name, text)
        for text in texts
        for name, secret in SECRETS.items()
        if secret in unfolded(text)
    }


def test_leak_detector_finds_every_encoding() -> None:
    """The search finds a secret in any of the ways it might be written."""
    for name, secret in SECRETS.items():
        raw = b"\x00\x01" + secret.encode() + b"\x00"
        for text in (secret, str(raw), raw.hex(), raw.hex(" "), raw.hex(":").upper()):
            assert leaks([f"it is {text}!"]) == {(name, f"it is {text}!")}
    assert leaks(["nothing", "C8:47:8C:10:00:01", "deadbeef"]) == set()


@pytest.mark.parametrize("model", ["JK_B2A8S20P 11.48", "JK_PB2A16S20P 15.41"])
@pytest.mark.timeout(240)
async def test_life_cycle_reveals_no_secrets(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
    model: str,
    entity_registry_enabled_by_default: None,
    log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No log, state, attribute, event, error, issue or download holds a secret."""
    bms = make_bms(model, **SECRETS)
    texts: list[str] = []
    downloads: list[Any] = []
    states: set[str] = set()

    def note(event: Event) -> None:
        if event.event_type == EVENT_STATE_CHANGED:
            states.add(event.data["entity_id"])
        # The registry of devices has a field for the serial number.
        if event.event_type != "device_registry_updated":
            texts.append(f"{event.event_type} {event.data}")

    hass.bus.async_listen(MATCH_ALL, note)
    assert await async_setup_component(hass, "diagnostics", {})

    async def download(entry: MockConfigEntry) -> None:
        clients: list[TestClient[Any, Any]] = []

        async def connect() -> TestClient[Any, Any]:
            clients.append(await hass_client())
            return clients[-1]

        report = await get_diagnostics_for_config_entry(hass, connect, entry)
        for each in clients:
            # Time does not jump while a socket is open.
            await each.close()
        downloads.append(report)
        texts.append(json.dumps(report))

    # The dialog, with each error that it can show
    proxy.advertise(bms)
    await hass.async_block_till_done(wait_background_tasks=True)
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    configure = hass.config_entries.flow.async_configure
    for faults in FAILURES:
        bms.faults = faults
        proxy.radio.cache.clear()
        result: Any = await configure(flow["flow_id"], {})
        assert result["errors"]
        texts.append(str(result))
    bms.faults = Faults()
    for _ in ("read", "add"):
        result = await configure(flow["flow_id"], {})
        texts.append(str(result))
    await hass.async_block_till_done()
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    coordinator: Any = entry.runtime_data
    await download(entry)

    # All of it was there to be leaked
    received = b"".join(frame.data for frame in coordinator.client.last_frames.values())
    kept = {name for name, secret in SECRETS.items() if secret.encode() in received}
    assert {"passcode", "setup_passcode", "userdata", "serial"} <= kept

    # Reads that fail in every way, each with its issue, and the logbook
    for faults in (NOISE, *FAILURES):
        bms.faults = faults
        proxy.radio.cache.clear()
        await pass_time(hass)
        texts.append(str(coordinator.last_exception))
        await download(entry)
        for issue in ir.async_get(hass).issues.values():
            if issue.domain == DOMAIN:
                words = TRANSLATIONS["issues"][issue.translation_key]
                texts += [
                    text.format(**issue.translation_placeholders)
                    for text in words.values()
                ]
    with pytest.raises(HomeAssistantError) as raised:
        await coordinator.async_refresh()
    texts.append(str(raised.value))
    bms.faults = Faults()
    bms.battery.override(voltage=99.0, enabled=0b1011)
    await pass_time(hass)
    texts.append(str(coordinator.last_exception))
    # Lost and found, the logs, and the switch
    await pass_time(hass, MAX_DATA_AGE)
    assert not coordinator.available
    bms.battery.release()
    logs = coordinator.logs
    texts.append(str(await coordinator.async_use_now(logs.async_read_logbook)))
    with suppress(HomeAssistantError):
        texts.append(str(await coordinator.async_use_now(logs.async_read_detail_log)))
    await coordinator.async_refresh()
    assert coordinator.available
    await coordinator.async_release_link()
    coordinator.async_resume_link()
    await hass.async_block_till_done(wait_background_tasks=True)

    # A held link: renewed before it gets old, lost and re-established
    monkeypatch.setattr(coordinators, "MIN_LINK_LIFETIME", 0.0)
    monkeypatch.setitem(client.JkBmsClient.hold.__kwdefaults__, "lifetime", 0.5)
    flow = await hass.config_entries.options.async_init(entry.entry_id)
    await hass.config_entries.options.async_configure(
        flow["flow_id"], {"interval": 5, "link": "held", "pause": 15}
    )
    await until_held(bms, entry)
    coordinator = entry.runtime_data

    def renewals() -> int:
        # Not by their messages: there are thousands, which are put together for each look
        return [record.msg for record in log.records].count(
            "%s: re-establishing the held link"
        )

    await until(lambda: renewals() > 1)
    await until_held(bms, entry)
    # The last renewal: this link is held from now on
    before = renewals()
    monkeypatch.setitem(
        client.JkBmsClient.hold.__kwdefaults__, "lifetime", client.LINK_LIFETIME
    )
    await until(lambda: renewals() > before)
    await until_held(bms, entry)
    monkeypatch.setattr(coordinators, "MIN_LINK_LIFETIME", 1000.0)
    await until_held(bms, entry)
    bms.drop()
    await hass.async_block_till_done(wait_background_tasks=True)
    bms.battery.spec = replace(bms.spec, software="beta")
    await coordinator.async_refresh()
    await until_held(bms, entry)
    await download(entry)
    texts += [str(state.as_dict()) for state in hass.states.async_all()]
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    assert device.serial_number == SECRETS["serial"]
    shown = {k: v for k, v in device.dict_repr.items() if k != "serial_number"}
    texts.append(str(shown))
    assert await hass.config_entries.async_unload(entry.entry_id)
    await hass.config_entries.async_remove(entry.entry_id)
    await hass.async_block_till_done()

    lines = [
        logging.Formatter().format(record)
        for record in log.records
        # With `pytest -v` Home Assistant logs each event, this one with the serial number.
        if "device_registry_updated" not in record.getMessage()
    ]
    debugged = {
        record.name.partition(".")[0]
        for record in log.records
        if record.levelno == logging.DEBUG
    }
    assert debugged >= {"custom_components", "habluetooth", "bleak_retry_connector"}
    assert all(download["frames"] for download in downloads)
    assert len(states) > 40
    assert leaks(texts + lines) == set()
