"""Manifest, translations and icons fit the code they belong to."""

from collections.abc import Iterator
import json
from pathlib import Path
import re
from string import Formatter
from typing import Any

import pytest

from custom_components import jk_bms
from custom_components.jk_bms.bank_coordinator import ISSUE_PACK_REMOVED
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.diagnosis import ERROR_KEYS, PAIRING_POSSIBLE
from custom_components.jk_bms.issues import IMPLAUSIBLE_VALUES, RAISED_AFTER
from custom_components.jk_bms.jkbms import __version__
from custom_components.jk_bms.jkbms.bluetooth.advertisement import MANUFACTURER_IDS
from custom_components.jk_bms.metrics_push import ISSUE_PUSH_FAILED
from custom_components.jk_bms.pairing_flow import PAIRING_ERROR_KEYS
from custom_components.jk_bms.undo import ISSUE_TIMED_CHANGE_LAPSED
from homeassistant.core import HomeAssistant
from homeassistant.loader import async_get_bluetooth

from . import TRANSLATIONS

FOLDER = Path(jk_bms.__path__[0])
LANGUAGES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((FOLDER / "translations").glob("*.json"))
}
WORDS = FOLDER.parents[1] / "frontend" / "src" / "words"
QUOTED = re.compile(r"'[^' ]*{[^}]*}[^' ]*'")


async def test_manifest_matchers_match_the_config_flow(hass: HomeAssistant) -> None:
    """The manifest discovers exactly what the config flow accepts as a battery."""
    matchers = [
        matcher
        for matcher in await async_get_bluetooth(hass)
        if matcher["domain"] == DOMAIN
    ]
    assert {matcher["manufacturer_id"] for matcher in matchers} == MANUFACTURER_IDS
    for matcher in matchers:
        assert matcher["connectable"] is True
        assert "service_uuid" not in matcher


def test_integration_and_library_have_the_same_version() -> None:
    """Integration and library are released together."""
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    assert manifest["version"] == __version__


@pytest.mark.parametrize("texts", LANGUAGES.values(), ids=LANGUAGES)
def test_each_diagnosis_reads_the_same_everywhere(texts: dict[str, Any]) -> None:
    """A diagnosis reads the same in the config flow, the entry and the repairs."""
    expected = {
        key: text["description"]
        for key, text in texts["issues"].items()
        if key
        not in {
            ISSUE_PUSH_FAILED,
            ISSUE_PACK_REMOVED,
            PAIRING_POSSIBLE,
            IMPLAUSIBLE_VALUES,
            ISSUE_TIMED_CHANGE_LAPSED,
        }
    }
    shown = texts["config"]["error"]
    raised = {key: text["message"] for key, text in texts["exceptions"].items()}
    assert set(expected) == RAISED_AFTER.keys() - {PAIRING_POSSIBLE}
    # Failures such as a weak signal have no issue.
    expected |= {
        key: raised[key]
        for key in {*ERROR_KEYS.values(), "not_in_range", "other_client", "weak_signal"}
        - expected.keys()
    }
    assert {key: shown[key] for key in expected} == expected
    assert {key: raised[key] for key in expected} == expected
    # Its issue is a dialog, which has the words of the config flow.
    assert shown[PAIRING_POSSIBLE] == raised[PAIRING_POSSIBLE]
    dialog = texts["issues"][PAIRING_POSSIBLE]["fix_flow"]
    assert dialog["step"]["pair"] == texts["config"]["step"]["pair"]
    assert dialog["error"] == {key: shown[key] for key in PAIRING_ERROR_KEYS.values()}
    assert set(shown) - set(expected) - set(dialog["error"]) == {
        "different_cells",
        "invalid_address",
        "other_battery",
        "pack_taken",
        "too_few_packs",
        PAIRING_POSSIBLE,
        "unknown",
    }


def strings(texts: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text with the path to it."""
    for key, value in texts.items():
        if isinstance(value, dict):
            yield from strings(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def test_all_fourteen_languages_exist() -> None:
    """A file that is deleted or misnamed would otherwise go unnoticed."""
    assert set(LANGUAGES) == set(
        "cs de en es fr it ja nl pl pt-BR sv tr uk zh-Hans".split()  # noqa: SIM905
    )


@pytest.mark.parametrize("texts", LANGUAGES.values(), ids=LANGUAGES)
def test_translations_are_complete(texts: dict[str, Any]) -> None:
    """Every language has every text, with the same placeholders, and no other."""
    english = dict(strings(TRANSLATIONS))
    other = dict(strings(texts))
    assert set(other) == set(english)
    assert {path: placeholders(text) for path, text in other.items()} == {
        path: placeholders(text) for path, text in english.items()
    }
    for path, text in other.items():
        assert text == text.strip(), path
        assert text, path
        assert "<" not in text, path
        assert "://" not in text, path
        assert not QUOTED.search(text), path


def test_chinese_and_japanese_have_no_blanks_between_their_characters() -> None:
    """Blanks stand beside Latin letters and figures only."""
    blank = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff] [\u3040-\u30ff\u4e00-\u9fff]")
    for language in ("ja", "zh-Hans"):
        texts = dict(strings(LANGUAGES[language]))
        assert [path for path, text in texts.items() if blank.search(text)] == []


def placeholders(text: str) -> list[str]:
    """Return the placeholders of a text, which may stand in any order."""
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name)


@pytest.mark.parametrize("texts", LANGUAGES.values(), ids=LANGUAGES)
def test_entity_names_are_unique(texts: dict[str, Any]) -> None:
    """No two entities of a platform share a name."""
    for entities in texts["entity"].values():
        names = [entity["name"] for entity in entities.values()]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("language", LANGUAGES)
def test_entity_names_fit_half_a_line_of_a_phone(language: str) -> None:
    """The other half is for the value.

    Of a phone's 390 px, half are 195: 28 letters of Home Assistant's font in English, less the distance to
    the value. Other languages take more words, and the icon's side of the line.
    """
    longest = 25 if language == "en" else 32
    names = [
        entity["name"].replace("{cell}", "24")
        for entities in LANGUAGES[language]["entity"].values()
        for entity in entities.values()
    ]
    assert [name for name in names if len(name) > longest] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_end_of_dialog_names_what_the_other_dialogs_show(language: str) -> None:
    """The dashboard and the sensors have the names that the user looks for."""
    texts = LANGUAGES[language]
    end = texts["config"]["create_entry"]
    words = json.loads((WORDS / f"{language}.json").read_text("utf-8"))
    sensors = texts["entity"]["sensor"]
    assert words["dashboard_name"] in end["default"]
    assert end["with_energy"].startswith(end["default"])
    for key in ("energy_charged", "energy_discharged", "power", "state_of_charge"):
        assert f"*{sensors[key]['name']}*" in end["with_energy"]
