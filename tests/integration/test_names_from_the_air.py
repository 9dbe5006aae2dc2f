"""What a battery says of itself is harmless everywhere in Home Assistant."""

from collections.abc import Callable, Iterator, Mapping
import logging
from typing import Any

import pytest
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.diagnosis import async_diagnose
from custom_components.jk_bms.jkbms.errors import NoFreeSlotError
from custom_components.jk_bms.services import ATTR_DUMP, DECODE
from homeassistant.config_entries import SOURCE_USER
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.setup import async_setup_component
from tests.virtual_bms import VirtualBms, frames
from tests.virtual_bms.scanner import VirtualProxy

from . import pass_time, setup_integration

type MakeBms = Callable[..., VirtualBms]

MODEL = "JK_B2A8S20P 11.48"
NAME = "A\nB\x1b[31m\u202eC"
SHOWN = "A B [31m C"
EVIL = {
    "name": NAME,
    "hardware": "1\x1b[2J",
    "serial": "3\r4",
    "userdata": "u\x9b2J\u200f",
    "manufactured": "24\x0708",
}
"""Texts that would forge a line of a log, or show another text than they are."""


@pytest.fixture(autouse=True)
def _open_log(reads_only: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "custom_components.jk_bms")


def unprintable(value: Any) -> Iterator[str]:
    """Yield each text within a value that is more than one visible line."""
    match value:
        case str():
            if not value.isprintable():
                yield value
        case Mapping():
            for key, item in value.items():
                yield from unprintable(key)
                yield from unprintable(item)
        case list() | tuple() | set() | frozenset():
            for item in value:
                yield from unprintable(item)


def own_log_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the integration logged."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("custom_components.jk_bms")
    ]


async def test_dialogs_registries_states_and_logs_have_printable_texts(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: MakeBms,
    hass_client: ClientSessionGenerator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From discovery to diagnostics."""
    bms = make_bms(MODEL, **EVIL)
    assert proxy.advertise(bms)
    await hass.async_block_till_done(wait_background_tasks=True)
    flows = hass.config_entries.flow
    (flow,) = flows.async_progress_by_handler(DOMAIN)
    assert flow["context"]["title_placeholders"]["name"].startswith(SHOWN)
    typed = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    assert typed["data_schema"]
    (selector,) = typed["data_schema"].schema.values()
    assert selector.config["options"] == [
        {"value": bms.address, "label": f"{SHOWN} ({bms.address})"}
    ]
    flows.async_abort(typed["flow_id"])
    shown: list[Any] = [flow["context"]]
    for _ in ("read", "add"):
        result: Any = await flows.async_configure(flow["flow_id"], {})
        shown.append(result["description_placeholders"])
    await hass.async_block_till_done()
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    assert entry.title == SHOWN
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    shown.append([device.name, device.hw_version, device.serial_number, device.model])
    shown += [
        [state.name, state.state, state.attributes] for state in hass.states.async_all()
    ]
    assert len(shown) > 40
    await pass_time(hass)
    assert await async_setup_component(hass, "diagnostics", {})
    shown.append(await get_diagnostics_for_config_entry(hass, hass_client, entry))
    shown.append(own_log_lines(caplog))
    assert any(SHOWN in line for line in shown[-1])
    assert [*unprintable(shown)] == []


async def test_decoded_dump_has_printable_texts(
    hass: HomeAssistant, make_bms: MakeBms
) -> None:
    """A dump that another person posted."""
    battery = make_bms(MODEL, **EVIL).battery
    dump = frames.info_frame(battery.spec, battery.settings, battery.state, 1).hex()
    assert await async_setup_component(hass, DOMAIN, {})
    response = await hass.services.async_call(
        DOMAIN, DECODE, {ATTR_DUMP: dump}, blocking=True, return_response=True
    )
    assert response
    assert SHOWN in str(response)
    assert [*unprintable(response)] == []


async def test_holder_of_a_slot_is_named_in_printable_text(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms
) -> None:
    """The holder may be any device in range, with any name."""
    holder = make_bms(MODEL, **EVIL)
    bms = make_bms(MODEL, address="C8:47:8C:99:00:01")
    proxy.advertise(holder)
    proxy.advertise(bms)
    proxy.radio.taken.append(holder.address)
    proxy.radio.on_slots()
    try:
        diagnosis = async_diagnose(hass, bms.address, NoFreeSlotError("none"))
    finally:
        proxy.radio.taken.remove(holder.address)
    assert SHOWN in str(diagnosis.placeholders)
    assert [*unprintable(diagnosis.placeholders)] == []


@pytest.mark.parametrize("name", ["\U0001f50b", "\U0001f50b\U0001f50b"])
async def test_name_without_a_letter_gives_entity_ids_of_the_domain(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, name: str
) -> None:
    """An id such as `sensor.total_voltage` would not say whose voltage it is."""
    bms = make_bms(MODEL, name=name)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    assert entry.title == name
    entities = er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
    assert len(entities) > 40
    ids = [each.entity_id.partition(".")[2] for each in entities]
    assert [each for each in ids if not each.startswith("jk_bms_")] == []
    assert "jk_bms_total_voltage" in ids


@pytest.mark.parametrize("name", ["Unknown", "Boot 2"])
async def test_name_with_a_letter_is_the_start_of_its_entity_ids(
    hass: HomeAssistant, proxy: VirtualProxy, make_bms: MakeBms, name: str
) -> None:
    """`Unknown`, which Home Assistant shows instead of no name, is a name like others."""
    bms = make_bms(MODEL, name=name)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    slug = name.lower().replace(" ", "_")
    assert hass.states.get(f"sensor.{slug}_total_voltage")
