"""Numbers and choices of the battery: their limits, their confirmation, their states."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, MockUser

from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.control_entity import CONFIRM_WITHIN
from custom_components.jk_bms.jkbms.protocol.codes import (
    CAN_PROTOCOLS,
    TRIGGERS,
    UART_PROTOCOLS,
)
from custom_components.jk_bms.jkbms.protocol.registers import REGISTERS, Kind, Layout
from custom_components.jk_bms.number import NUMBERS
from homeassistant.const import ATTR_CONFIG_ENTRY_ID, STATE_UNAVAILABLE
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import TRANSLATIONS, setup_integration, until, until_held
from .controls import TUNING, act, controls, written

CHARGE = "number.garage_requested_charge_voltage"
FLOAT = "number.garage_requested_float_voltage"
CURRENT = "number.garage_max_charge_current"
CAN = "select.garage_can_protocol"
BUZZER = "select.garage_buzzer_trigger"
FOUND = {"found": {"max_charge_current": 150.0}}

pytestmark = pytest.mark.usefixtures("entity_registry_enabled_by_default")


@pytest.fixture
def model() -> str:
    """Take a battery that accepts most settings."""
    return "JK_PB2A16S20P 15.41"


@pytest.fixture
async def entry(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> MockConfigEntry:
    """Set up a battery that may be tuned."""
    proxy.advertise(bms)
    return await setup_integration(hass, bms, **TUNING, **FOUND)


type Press = Callable[[], Context]


@pytest.fixture
def user(hass_admin_user: MockUser) -> Press:
    """Return what makes the context of the next thing that a person does."""
    return lambda: Context(user_id=hass_admin_user.id)


async def test_number_is_written_as_entered(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Step and unit are those of the wire, and the state is what came back."""
    state = hass.states.get(CHARGE)
    assert state.attributes["step"] == 0.001
    assert state.attributes["mode"] == "box"
    assert state.attributes["unit_of_measurement"] == "V"
    await act(hass, CHARGE, "set_value", value=3.479)
    assert written(bms) == [(0x09, "970d0000")]
    assert float(hass.states.get(CHARGE).state) == 3.479


async def test_limits_follow_the_other_settings(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The float voltage never exceeds the charge voltage, whichever of both changes."""
    await act(hass, CHARGE, "set_value", value=3.4)
    assert hass.states.get(FLOAT).attributes["max"] == 3.4
    with pytest.raises(ServiceValidationError):
        await act(hass, FLOAT, "set_value", value=3.401)
    before = written(bms)
    await act(hass, FLOAT, "set_value", value=3.3)
    assert hass.states.get(CHARGE).attributes["min"] == 3.3
    assert written(bms)[: len(before)] == before
    assert len(written(bms)) == len(before) + 1


def test_home_assistant_rounds_no_number() -> None:
    """Only numbers with a device class are converted and rounded; these have none."""
    assert {description.device_class for description in NUMBERS} == {None}
    assert {description.setting for description in NUMBERS} == {
        name
        for registers in REGISTERS.values()
        for name, register in registers.items()
        if register.kind is Kind.NUMBER
    }


@pytest.mark.parametrize("value", [3.651, 2.4, 3.4567])
async def test_number_outside_its_limits_or_steps_is_refused(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, value: float
) -> None:
    """Rounding it would write a value that nobody requested."""
    with pytest.raises(ServiceValidationError):
        await act(hass, CHARGE, "set_value", value=value)
    assert written(bms) == []


async def test_higher_current_takes_a_person_to_request_it_twice(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, user: Press
) -> None:
    """Above the value found when tuning was allowed; below it nobody is asked."""
    await act(hass, CURRENT, "set_value", value=120)
    await act(hass, CURRENT, "set_value", value=150)
    lower = written(bms)
    assert len(lower) == 2
    for value in (151, 152):
        with pytest.raises(ServiceValidationError, match="To confirm, set the same"):
            await act(hass, CURRENT, "set_value", user(), value=value)
    assert written(bms) == lower
    await act(hass, CURRENT, "set_value", user(), value=152)
    assert written(bms)[2:] == [(0x0C, (152_000).to_bytes(4, "little").hex())]


async def test_old_request_confirms_nothing(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, user: Press
) -> None:
    """After a minute the same request is a new one."""
    for _ in range(2):
        with pytest.raises(ServiceValidationError, match="To confirm"):
            await act(hass, CURRENT, "set_value", user(), value=160)
        await asyncio.sleep(CONFIRM_WITHIN + 1)
    assert written(bms) == []


async def test_automation_cannot_confirm(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """An automation that ran twice would otherwise confirm its own change."""
    for _ in range(3):
        with pytest.raises(ServiceValidationError, match="To confirm"):
            await act(hass, CURRENT, "set_value", value=160)
    assert written(bms) == []


async def test_script_of_a_person_cannot_confirm(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, user: Press
) -> None:
    """A script runs without anybody reading the warning in between."""
    context = user()
    for _ in range(3):
        with pytest.raises(ServiceValidationError, match="To confirm"):
            await act(hass, CURRENT, "set_value", context, value=160)
    assert written(bms) == []


async def test_other_person_cannot_confirm(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, user: Press
) -> None:
    """Only the person who was shown the warning can confirm."""
    other = await hass.auth.async_create_user("other", group_ids=["system-admin"])
    for context in (user(), Context(user_id=other.id), user()):
        with pytest.raises(ServiceValidationError, match="To confirm"):
            await act(hass, CURRENT, "set_value", context, value=160)
    assert written(bms) == []


async def test_request_that_failed_confirms_nothing(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    user: Press,
    short_deadline: float,
) -> None:
    """The first request ended before the warning was shown."""
    bms.faults = Faults(refuse_connection=True)
    with pytest.raises(HomeAssistantError):
        await act(hass, CURRENT, "set_value", user(), value=160)
    bms.faults = Faults()
    with pytest.raises(ServiceValidationError, match="To confirm"):
        await act(hass, CURRENT, "set_value", user(), value=160)
    assert written(bms) == []


@pytest.mark.parametrize(
    ("setting", "value", "elsewhere"),
    [
        ("nominal_capacity", 280.0, 100.0),
        ("max_charge_current", 180.0, 100.0),
        ("can_protocol", 4, 2),
    ],
)
@pytest.mark.parametrize("is_held", [False, True])
async def test_confirmation_is_decided_by_the_settings_of_now(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    setting: str,
    value: float,
    elsewhere: float,
    is_held: bool,
) -> None:
    """What the last reading shows may have been changed in the app since."""
    bms.battery.settings = replace(bms.battery.settings, **{setting: value})
    if is_held:
        held = {**entry.options, "link": "held", "interval": 3600}
        hass.config_entries.async_update_entry(entry, options=held)
        assert await hass.config_entries.async_reload(entry.entry_id)
        await until_held(bms, entry)
    await entry.runtime_data.async_refresh()
    bms.battery.settings = replace(bms.battery.settings, **{setting: elsewhere})
    with pytest.raises(ServiceValidationError, match="To confirm"):
        await hass.services.async_call(
            DOMAIN,
            "set_settings",
            {ATTR_CONFIG_ENTRY_ID: entry.entry_id, "settings": {setting: value}},
            blocking=True,
        )
    assert written(bms) == []


async def test_trigger_is_chosen_by_name(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Proven by the device information."""
    assert hass.states.get(BUZZER).attributes["options"] == list(TRIGGERS)
    await act(hass, BUZZER, "select_option", option="low_state_of_charge")
    assert written(bms) == [(0xA9, "0100")]
    assert hass.states.get(BUZZER).state == "low_state_of_charge"


async def test_port_protocol_takes_a_confirmation(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, user: Press
) -> None:
    """Only protocols that the battery allows are offered."""
    options = hass.states.get(CAN).attributes["options"]
    assert set(options) <= set(CAN_PROTOCOLS)
    other = next(name for name in options if name != hass.states.get(CAN).state)
    with pytest.raises(ServiceValidationError, match="To confirm"):
        await act(hass, CAN, "select_option", user(), option=other)
    assert written(bms) == []
    await act(hass, CAN, "select_option", user(), option=other)
    assert written(bms) == [
        (0xA6, CAN_PROTOCOLS.index(other).to_bytes(2, "little").hex())
    ]
    assert hass.states.get(CAN).state == other
    # What it has already is no change
    await act(hass, CAN, "select_option", option=other)
    assert len(written(bms)) == 1


def test_every_choice_has_a_name() -> None:
    """There are as many names as numbers, and translated choices have their texts."""
    registers = REGISTERS[Layout.JK02_32S]
    for setting, names in (
        ("can_protocol", CAN_PROTOCOLS),
        ("uart1_protocol", UART_PROTOCOLS),
        ("buzzer_trigger", TRIGGERS),
    ):
        assert len(set(names)) == registers[setting].maximum + 1
    for name in ("buzzer", "dry_contact_1", "dry_contact_2"):
        texts = TRANSLATIONS["entity"]["select"][f"{name}_trigger"]["state"]
        assert set(texts) == set(TRIGGERS)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            "JK-B2A16S 3.3.0",
            {"balance_start_voltage", "balance_trigger_voltage", "max_balance_current"},
        ),
        (
            "JK-B2A24S15P 10.07",
            {
                "balance_start_voltage",
                "balance_trigger_voltage",
                "max_balance_current",
                "max_charge_current",
                "max_discharge_current",
                "nominal_capacity",
            },
        ),
    ],
)
async def test_numbers_are_those_that_the_battery_accepts(
    hass: HomeAssistant, entry: MockConfigEntry, expected: set[str]
) -> None:
    """Layouts that declare nothing have what was captured."""
    numbers = [row for row in controls(hass, entry) if row.startswith("number.")]
    assert len(numbers) == len(expected)
    assert all(any(row.endswith(key) for row in numbers) for key in expected)


@pytest.mark.parametrize("setting", [CHARGE, BUZZER])
async def test_tuning_is_unavailable_while_the_layout_is_not_proven(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, setting: Any
) -> None:
    """Without cells there is nothing to prove it."""
    bms.faults = Faults(blank_every=1)
    await entry.runtime_data.async_refresh()
    await until(lambda: hass.states.get(setting).state == STATE_UNAVAILABLE)
