"""The actions for settings: a backup, its restore, and several changes at once."""

from dataclasses import fields, replace
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, MockUser

from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.jkbms.models import Settings
from custom_components.jk_bms.jkbms.protocol.changes import UNITS
from custom_components.jk_bms.jkbms.protocol.registers import unit_of
from homeassistant.const import ATTR_CONFIG_ENTRY_ID
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import (
    HomeAssistantError,
    ServiceValidationError,
    Unauthorized,
    UnknownUser,
)
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import sentence, setup_integration, until_held
from .controls import EVERYDAY, TUNING, written

HELD = {"link": "held", "interval": 0.2}
FOUND = {"found": {"max_charge_current": 150.0}}


@pytest.fixture
def model() -> str:
    """Take a battery that accepts most settings."""
    return "JK_PB2A16S20P 15.41"


@pytest.fixture
def options() -> dict[str, Any]:
    """Allow tuning; tests override it by parameters."""
    return TUNING | FOUND


@pytest.fixture
async def entry(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, options: dict[str, Any]
) -> MockConfigEntry:
    """Set up a battery whose settings may be changed."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, **options)
    if options.get("link") == "held":
        await until_held(bms, entry)
    return entry


async def call(
    hass: HomeAssistant, entry: MockConfigEntry, action: str, **data: Any
) -> dict[str, Any]:
    """Call an action and return its answer."""
    response: Any = await hass.services.async_call(
        DOMAIN,
        action,
        {ATTR_CONFIG_ENTRY_ID: entry.entry_id, **data},
        blocking=True,
        return_response=True,
    )
    return dict(response)


async def test_all_settings_are_returned_with_what_is_possible(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Values, units and limits; protections are there and not writable."""
    bms.battery.settings = replace(bms.battery.settings, request_charge_voltage=3.41)
    settings = (await call(hass, entry, "get_settings"))["settings"]
    assert settings["request_charge_voltage"] == {
        "value": 3.41,
        "unit": "V",
        "writable": True,
        "minimum": settings["request_float_voltage"]["value"],
        "maximum": settings["cell_ovp"]["value"],
        "step": 0.001,
    }
    assert settings["cell_ovp"]["writable"] is False
    assert settings["cell_ovp"]["unit"] == "V"
    assert settings["charging"] == {"value": True, "unit": None, "writable": True}
    assert settings["can_protocol"]["writable"] is True
    assert settings["can_protocol"]["value"] in settings["can_protocol"]["choices"]
    assert not {"userdata", "register_support"} & settings.keys()
    assert written(bms) == []


@pytest.mark.parametrize("options", [EVERYDAY, {}])
async def test_what_is_not_allowed_is_not_writable(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    options: dict[str, Any],
) -> None:
    """Reading is always possible, changing only what the options allow."""
    settings = (await call(hass, entry, "get_settings"))["settings"]
    writable = {name for name, row in settings.items() if row["writable"]}
    everyday = {"charging", "discharging", "balancer"}
    assert writable == (everyday if options else set())
    for dry_run in (True, False):
        with pytest.raises(
            ServiceValidationError,
            match=r"Changing Full cell voltage \(soc_100\) is not allowed",
        ):
            await call(
                hass, entry, "set_settings", settings={"soc_100": 3.4}, dry_run=dry_run
            )
    assert written(bms) == []


def test_every_number_has_a_unit() -> None:
    """A value without its unit is no backup that a person can check."""
    without = {
        field.name
        for field in fields(Settings)
        if "bool" not in str(field.type)
        and not (UNITS.get(field.name) or unit_of(field.name))
    }
    bare = {"cell_count", "device_address", "register_support"}
    assert without == bare, f"without a unit in UNITS: {sorted(without - bare)}"


@pytest.mark.parametrize("options", [TUNING | FOUND, TUNING | FOUND | HELD])
async def test_settings_are_restored_in_a_valid_order(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The answer of one action is what the other takes; protections are named."""
    backup = (await call(hass, entry, "get_settings"))["settings"]
    before = bms.battery.settings
    changed = replace(
        before,
        request_charge_voltage=3.3,
        request_float_voltage=3.2,
        charging=False,
        cell_ovp=before.cell_ovp - 0.01,
        nominal_capacity=100.0,
    )
    bms.battery.settings = changed
    await call(hass, entry, "get_settings")
    plan = await call(hass, entry, "set_settings", settings=backup, dry_run=True)
    assert written(bms) == []
    assert [change["setting"] for change in plan["changes"]] == [
        "request_charge_voltage",
        "request_float_voltage",
        "charging",
    ]
    assert plan["ignored"] == ["cell_ovp", "nominal_capacity"]
    answer = await call(
        hass, entry, "set_settings", settings=backup, confirmed=["nominal_capacity"]
    )
    assert answer["ignored"] == ["cell_ovp"]
    assert {change["setting"] for change in answer["changes"]} == {
        "charging",
        "nominal_capacity",
        "request_charge_voltage",
        "request_float_voltage",
    }
    assert bms.battery.settings == replace(before, cell_ovp=changed.cell_ovp)
    assert len(written(bms)) == 4
    again = await call(hass, entry, "set_settings", settings=backup)
    assert again == {"changes": [], "ignored": ["cell_ovp"]}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"cell_ovp": 3.7}, r"Cell overvoltage limit \(cell_ovp\) protects the"),
        (
            {"nominal_capacity": 100},
            r"Changing Nominal capacity \(nominal_capacity\) like",
        ),
        (
            {"max_charge_current": 160},
            r"Changing Max charge current \(max_charge_current\) like",
        ),
        ({"can_protocol": 2}, r"Changing CAN protocol \(can_protocol\) like this"),
        ({"can_protocol": 99}, "This value is not valid for CAN protocol"),
        ({"anything": 1}, "There is no setting anything"),
        ({"state_of_charge": 50}, "does not accept changes of State of charge"),
        ({"request_charge_voltage": 3.66}, "This value of Requested charge voltage"),
        ({"request_charge_voltage": "3.4"}, "This value is not valid for"),
        ({"request_charge_voltage": None}, "This value is not valid for"),
        ({"request_charge_voltage": [3.4]}, "This value is not valid for"),
        ({"request_charge_voltage": {"unit": "V"}}, "This value is not valid for"),
        ({"charging": 0}, "This value is not valid for Charging allowed"),
        ({"userdata": "Ünïcode"}, "This value is not valid for userdata"),
        (
            {"request_charge_voltage": 3.3, "request_float_voltage": 3.4},
            "This value of Requested ",
        ),
    ],
)
async def test_refused_target_sends_nothing(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    settings: dict[str, Any],
    text: str,
) -> None:
    """The sentence names the setting; a dry run says the same."""
    for dry_run in (True, False):
        with pytest.raises(ServiceValidationError, match=text):
            await call(hass, entry, "set_settings", settings=settings, dry_run=dry_run)
    assert written(bms) == []


async def test_confirmed_changes_are_made(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Naming a setting again confirms it; a secret is not shown."""
    answer = await call(
        hass,
        entry,
        "set_settings",
        settings={"max_charge_current": 160, "userdata": "Winter 25"},
        confirmed="max_charge_current",
    )
    masked = {"setting": "userdata", "old": "********", "new": "********", "unit": None}
    assert masked in answer["changes"]
    assert "Winter" not in str(answer)
    assert bms.battery.settings.max_charge_current == 160
    assert bms.battery.settings.userdata == "Winter 25"


async def test_chain_stops_at_the_first_change_that_is_not_confirmed(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The error says what was changed, what was not, and what was not tried."""
    bms.faults = Faults(ignore_writes=True)
    with pytest.raises(HomeAssistantError) as caught:
        await call(
            hass,
            entry,
            "set_settings",
            settings={
                "balance_trigger": 0.02,
                "request_float_voltage": 3.3,
                "charging": False,
            },
        )
    text = str(caught.value)
    assert "(request_float_voltage): 3.3 V was requested" in text
    assert (
        "Changed before: -. Not tried: Balance trigger voltage (balance_trigger),"
        " Charging allowed (charging)." in text
    )
    assert len(written(bms)) == 1


POLICIES = [
    ({}, False),
    ({"entities": {"all": {"read": True}}}, False),
    ({"entities": {"domains": {"switch": True}}}, False),
    ({"entities": True}, True),
    ({"entities": {"all": {"read": True, "control": True}}}, True),
]


@pytest.mark.parametrize(("policy", "is_allowed"), POLICIES)
async def test_user_needs_the_permission_to_control(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    policy: dict[str, Any],
    is_allowed: bool,
) -> None:
    """The actions need it as the entities do, even for a dry run."""
    user = MockUser(is_owner=False).add_to_hass(hass)
    user.mock_policy(policy)
    for action, data in (
        ("set_settings", {"settings": {"charging": False}}),
        ("set_settings", {"settings": {"charging": False}, "dry_run": True}),
        ("import_detail_log", {}),
    ):
        request = hass.services.async_call(
            DOMAIN,
            action,
            {ATTR_CONFIG_ENTRY_ID: entry.entry_id, **data},
            blocking=True,
            context=Context(user_id=user.id),
        )
        if not is_allowed:
            with pytest.raises(Unauthorized):
                await request
        elif data:
            await request
        else:
            with pytest.raises(ServiceValidationError, match=sentence("no_recorder")):
                await request
    assert written(bms) == ([(0x1D, "00000000")] if is_allowed else [])


async def test_user_who_does_not_exist_controls_nothing(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Such as one that was removed meanwhile."""
    with pytest.raises(UnknownUser):
        await hass.services.async_call(
            DOMAIN,
            "set_settings",
            {
                ATTR_CONFIG_ENTRY_ID: entry.entry_id,
                "settings": {"charging": False},
            },
            blocking=True,
            context=Context(user_id="nobody"),
        )
    assert written(bms) == []


async def test_actions_need_the_link(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """While it is turned off, both say so."""
    await entry.runtime_data.async_release_link()
    with pytest.raises(ServiceValidationError, match=sentence("link_released")):
        await call(hass, entry, "get_settings")
    with pytest.raises(ServiceValidationError, match=sentence("link_released")):
        await call(hass, entry, "set_settings", settings={"charging": False})
    assert written(bms) == []
