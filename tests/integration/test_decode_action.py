"""Tests of the action that decodes a dump: it needs no battery."""

from pathlib import Path
from typing import Any

import pytest

from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.services import ATTR_DUMP, DECODE
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ServiceValidationError
from homeassistant.setup import async_setup_component
from tests.virtual_bms import MODELS, Battery, frames

PASTED = Path(__file__).parents[3] / "shared" / "pasted"
BATTERY = Battery(MODELS["JK_PB2A16S20P 15.41"], hour=10.0)
STATE = BATTERY.advance(1.0)
INFO = frames.info_frame(BATTERY.spec, BATTERY.settings, STATE, 1)
CELLS = frames.cell_frame(BATTERY.spec, STATE, 2)
SETTINGS = frames.settings_frame(BATTERY.spec, BATTERY.settings, 3)
LOG = frames.logbook_frame(BATTERY.log, 4)


@pytest.fixture(autouse=True)
async def integration(hass: HomeAssistant, reads_only: None) -> None:
    """Set up the integration without any battery."""
    assert await async_setup_component(hass, DOMAIN, {})


async def decode(hass: HomeAssistant, dump: str) -> dict[str, Any]:
    """Call the action."""
    response = await hass.services.async_call(
        DOMAIN, DECODE, {ATTR_DUMP: dump}, blocking=True, return_response=True
    )
    assert response
    return response


async def test_values_of_all_frames_are_returned(hass: HomeAssistant) -> None:
    """In the sections and with the names of the command."""
    dump = "\n".join(frame.hex(" ") for frame in (INFO, SETTINGS, CELLS, LOG))
    response = await decode(hass, dump)
    assert response["layout"] == "JK02_32S"
    assert response["remarks"] == []
    (info,), (cells,) = response["device_info"], response["cell_data"]
    (settings,), (log,) = response["settings"], response["logbook"]
    assert info["device_model"] == "JK_PB2A16S20P"
    assert len(cells["cell_voltage"]) == 16
    assert settings["cell_count"] == 16
    assert log[0]["event"] == "boot"
    assert response["detail_log"] == []


async def test_secrets_are_masked(hass: HomeAssistant) -> None:
    """A bug report may hold the response."""
    response = await decode(hass, INFO.hex())
    (info,) = response["device_info"]
    assert {info["device_passcode"], info["passcode"], info["setup_passcode"]} <= {
        "********",
        None,
    }
    assert BATTERY.spec.passcode not in str(response)


async def test_damaged_frame_has_a_remark_and_others_are_decoded(
    hass: HomeAssistant,
) -> None:
    """The remark names the place and both sums."""
    broken = bytearray(INFO)
    broken[60] ^= 1
    response = await decode(hass, f"{broken.hex()}\n{CELLS.hex()}")
    assert response["device_info"] == []
    assert len(response["cell_data"]) == 1
    (remark,) = response["remarks"]
    assert remark.startswith("line 1: wrong checksum: ")


@pytest.mark.parametrize(
    ("dump", "reason"),
    [
        ("hello", "a frame has 300 bytes and starts with 55 AA EB 90"),
        (CELLS[:200].hex(), "line 1: the frame has 200 bytes instead of 300"),
        (LOG[:40].hex() + "00" * 260, "line 1: wrong checksum"),
    ],
)
async def test_dump_without_a_frame_is_refused_with_the_reason(
    hass: HomeAssistant, dump: str, reason: str
) -> None:
    """A ServiceValidationError marks it as a mistake of the user."""
    with pytest.raises(ServiceValidationError) as error:
        await decode(hass, dump)
    assert error.value.translation_key == "nothing_decoded"
    assert error.value.translation_placeholders
    assert reason in error.value.translation_placeholders["reason"]


@pytest.mark.skipif(not PASTED.is_dir(), reason="../shared/pasted is not here")
async def test_posted_dumps_give_the_same_values(hass: HomeAssistant) -> None:
    """Eight dumps of one frame, as owners posted them."""
    paths = sorted(PASTED.glob("*.txt"))
    responses = [await decode(hass, path.read_text("utf-8")) for path in paths]
    assert len(responses) == 8
    assert all(response == responses[0] for response in responses)
    assert len(responses[0]["cell_data"]) == 1
