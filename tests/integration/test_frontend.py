"""The module of the card is served and loaded, where there is a frontend."""

from http import HTTPStatus
import json
from pathlib import Path
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components import jk_bms
from custom_components.jk_bms import frontend
from custom_components.jk_bms.const import DOMAIN
from homeassistant.components.frontend import DATA_EXTRA_MODULE_URL
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

pytestmark = pytest.mark.usefixtures("socket_enabled")

MANIFEST = json.loads((Path(jk_bms.__path__[0]) / "manifest.json").read_text())


async def test_every_page_loads_the_module(
    hass: HomeAssistant, hass_client: ClientSessionGenerator
) -> None:
    """Its address changes with version and build, so it may be kept for long."""
    assert await async_setup_component(hass, "frontend", {})
    assert await async_setup_component(hass, DOMAIN, {})
    [url] = [url for url in hass.data[DATA_EXTRA_MODULE_URL].urls if DOMAIN in url]
    path, _, version = url.partition("?v=")
    assert path == "/jk_bms/frontend/jk-bms.js"
    assert version.startswith(f"{MANIFEST['version']}-")

    client = await hass_client()
    for name in ("jk-bms.js", "main.js"):
        response = await client.get(f"/jk_bms/frontend/{name}")
        assert response.status == HTTPStatus.OK
        assert "max-age" in response.headers["Cache-Control"]
        assert await response.text() == (frontend.FOLDER / name).read_text()


async def test_another_build_has_another_address(
    hass: HomeAssistant, tmp_path: Path
) -> None:
    """A browser that kept the last build asks for the new one."""
    assert await async_setup_component(hass, "frontend", {})
    urls = set()
    for code in ("one", "two"):
        (tmp_path / frontend.ENTRY).write_text("same")
        (tmp_path / frontend.MAIN).write_text(code)
        with patch.object(frontend, "FOLDER", tmp_path):
            await frontend.async_setup_frontend(hass)
        urls = {url for url in hass.data[DATA_EXTRA_MODULE_URL].urls if DOMAIN in url}
    assert len(urls) == 2


async def test_no_frontend_is_no_problem(hass: HomeAssistant) -> None:
    """A Home Assistant without frontend sets the integration up all the same."""
    assert await async_setup_component(hass, DOMAIN, {})
    assert "frontend" not in hass.config.components
    assert DATA_EXTRA_MODULE_URL not in hass.data
