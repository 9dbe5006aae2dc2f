"""Manifest, translations and icons fit the code they belong to."""

import json
from pathlib import Path

import pytest

from custom_components import jk_bms
from custom_components.jk_bms.binary_sensor import BINARY_SENSORS
from custom_components.jk_bms.const import DOMAIN, MANUFACTURER_IDS
from custom_components.jk_bms.coordinator import ERROR_KEYS
from custom_components.jk_bms.entity import JkBmsEntityDescription
from custom_components.jk_bms.jkbms import __version__
from custom_components.jk_bms.sensor import SENSORS
from homeassistant.core import HomeAssistant
from homeassistant.loader import async_get_bluetooth

from . import TRANSLATIONS

FOLDER = Path(jk_bms.__path__[0])
PLATFORMS = [("sensor", SENSORS), ("binary_sensor", BINARY_SENSORS)]


async def test_matchers(hass: HomeAssistant) -> None:
    """What the manifest discovers by is what the config flow takes for a battery."""
    matchers = [
        matcher
        for matcher in await async_get_bluetooth(hass)
        if matcher["domain"] == DOMAIN
    ]
    assert {matcher["manufacturer_id"] for matcher in matchers} == MANUFACTURER_IDS
    for matcher in matchers:
        assert matcher["connectable"] is True
        assert "service_uuid" not in matcher


def test_version() -> None:
    """Integration and library are released together."""
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    assert manifest["version"] == __version__


@pytest.mark.parametrize(("platform", "descriptions"), PLATFORMS)
def test_names(
    platform: str, descriptions: tuple[JkBmsEntityDescription[object], ...]
) -> None:
    """Every entity has a name, from which its entity id comes, and no name is left."""
    names = TRANSLATIONS["entity"][platform]
    used = set()
    for description in descriptions:
        key = description.translation_key or description.key
        name: str = names[key]["name"].format(
            **description.translation_placeholders or {}
        )
        assert name.lower().replace(" ", "_") == description.key
        used.add(key)
    assert used == set(names)


def test_names_of_states() -> None:
    """Every code has a text."""
    for description in SENSORS:
        names = TRANSLATIONS["entity"]["sensor"][
            description.translation_key or description.key
        ]
        assert set(names.get("state", {})) == set(description.options or [])


@pytest.mark.parametrize(("platform", "descriptions"), PLATFORMS)
def test_icons(
    platform: str, descriptions: tuple[JkBmsEntityDescription[object], ...]
) -> None:
    """Icons belong to entities that exist."""
    icons = json.loads((FOLDER / "icons.json").read_text())["entity"][platform]
    assert set(icons) <= {
        description.translation_key or description.key for description in descriptions
    }


def test_the_same_sentences_everywhere() -> None:
    """An error reads the same in the config flow and later on."""
    told = {key: entry["message"] for key, entry in TRANSLATIONS["exceptions"].items()}
    assert set(told) == set(ERROR_KEYS.values())
    shown = TRANSLATIONS["config"]["error"]
    assert {key: shown[key] for key in told} == told
    assert set(shown) - set(told) == {"invalid_address", "unknown"}
