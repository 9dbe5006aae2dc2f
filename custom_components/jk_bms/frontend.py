"""Serves the card and the dashboard, and loads them on every page of Home Assistant."""

from hashlib import sha256
from pathlib import Path
from typing import Final

from homeassistant.components.frontend import add_extra_js_url
from homeassistant.components.http.server import StaticPathConfig
from homeassistant.core import HomeAssistant

from .const import DOMAIN
from .jkbms import __version__

FOLDER: Final = Path(__file__).parent / "frontend"
"""Output folder of `scripts/frontend`."""
BASE_URL: Final = f"/{DOMAIN}/frontend"
ENTRY: Final = "jk-bms.js"
MAIN: Final = "main.js"


async def async_setup_frontend(hass: HomeAssistant) -> None:
    """Register the module; a Home Assistant without frontend needs none."""
    if "frontend" not in hass.config.components:
        return
    await hass.http.async_register_static_paths(
        [StaticPathConfig(BASE_URL, str(FOLDER), cache_headers=True)]
    )
    # Browsers keep the files for a month, so another build needs another address.
    build = await hass.async_add_executor_job(_hash)
    add_extra_js_url(hass, f"{BASE_URL}/{ENTRY}?v={__version__}-{build}")


def _hash() -> str:
    files = (FOLDER / name for name in (ENTRY, MAIN))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]
