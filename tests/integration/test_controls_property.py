"""Whatever is requested of Home Assistant, no harmful byte leaves."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from math import inf, nan
from typing import Any, Final

from hypothesis import (
    HealthCheck,
    given,
    settings as hypothesis_settings,
    strategies as st,
)
import probatio
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, MockUser

from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.jkbms.protocol.changes import PROTECTED
from custom_components.jk_bms.jkbms.protocol.codes import CAN_PROTOCOLS, TRIGGERS
from custom_components.jk_bms.jkbms.protocol.registers import REGISTERS
from custom_components.jk_bms.number import NUMBERS
from custom_components.jk_bms.options import JkBmsOptions
from custom_components.jk_bms.select import SELECTS
from custom_components.jk_bms.switch import SWITCHES
from custom_components.jk_bms.timed_changes import TimedChanges
from homeassistant.const import ATTR_CONFIG_ENTRY_ID, ATTR_ENTITY_ID
from homeassistant.core import Context, HomeAssistant
from homeassistant.data_entry_flow import InvalidData, UnknownFlow
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import setup_integration

type Request = tuple[str, str, dict[str, Any]]
"""Domain, action and data."""

NAMES: Final = sorted(
    {name for registers in REGISTERS.values() for name in registers}
    | PROTECTED
    | {"", "0x65", "emergency"}
)
NUMERIC: Final = st.one_of(
    st.integers(-5, 300),
    st.integers(0, 5000).map(lambda raw: raw / 1000),
    st.sampled_from([3.3, 3.4, 3.5, 3.65, 3.7, 2.0, 4.2, 1e9, -0.0, inf, -inf, nan]),
)
VALUES: Final = st.one_of(
    st.booleans(), NUMERIC, st.text(max_size=15), st.none(), st.just([1]), st.just({})
)


def _entity(rows: Any) -> st.SearchStrategy[str]:
    return st.sampled_from([row.key for row in rows])


ALMOST: Final = st.one_of(
    st.tuples(
        st.sampled_from(
            [
                "soc_100",
                "soc_0",
                "request_charge_voltage",
                "request_float_voltage",
                "balance_start_voltage",
            ]
        ),
        st.integers(2450, 3700).map(lambda raw: raw / 1000),
    ),
    st.tuples(
        st.sampled_from(["max_charge_current", "max_discharge_current"]),
        st.integers(0, 230),
    ),
    st.tuples(
        st.sampled_from(["heating_start_temperature", "heating_stop_temperature"]),
        st.integers(-25, 30),
    ),
    st.tuples(
        st.sampled_from(["max_balance_current", "balance_trigger"]),
        st.integers(0, 5000).map(lambda raw: raw / 1000),
    ),
)
"""A setting and a value on either side of its limits."""

REQUESTS: Final[st.SearchStrategy[Request]] = st.one_of(
    st.builds(
        lambda key, action: ("switch", action, {ATTR_ENTITY_ID: key}),
        _entity(SWITCHES),
        st.sampled_from(["turn_on", "turn_off", "toggle"]),
    ),
    st.builds(
        lambda key, value: (
            "number",
            "set_value",
            {ATTR_ENTITY_ID: key, "value": value},
        ),
        _entity(NUMBERS),
        NUMERIC,
    ),
    st.builds(
        lambda key, option: (
            "select",
            "select_option",
            {ATTR_ENTITY_ID: key, "option": option},
        ),
        _entity(SELECTS),
        st.sampled_from([*TRIGGERS, *CAN_PROTOCOLS, "", "99"]),
    ),
    st.builds(
        lambda changes: (
            DOMAIN,
            "set_settings",
            {"settings": dict(changes), "confirmed": [name for name, _ in changes]},
        ),
        st.lists(ALMOST, min_size=1, max_size=3),
    ),
    st.builds(
        lambda settings, confirmed, more: (
            DOMAIN,
            "set_settings",
            {"settings": settings, "confirmed": confirmed} | more,
        ),
        st.dictionaries(
            st.sampled_from(NAMES),
            VALUES | st.builds(lambda value: {"value": value}, VALUES),
            max_size=4,
        ),
        st.lists(st.sampled_from(NAMES), max_size=3),
        st.sampled_from([{}, {}, {"dry_run": True}, {"for": 60}, {"for": "soon"}]),
    ),
)

FAULTS: Final = st.sampled_from(
    [
        Faults(),
        Faults(),
        Faults(ignore_writes=True),
        Faults(lose_acknowledgements=True),
        # At once: one that is taken back after its proof, while the next one is on its
        # way, looks like a change in the app, and which comes first is chance.
        Faults(revert_after=0.0),
        Faults(drop_at_write="during"),
        Faults(drop_at_write="after"),
    ]
)


@pytest.fixture(params=["JK_PB2A16S20P 15.41", "JK-B2A24S15P 10.07", "JK-B2A16S 3.3.0"])
def model(request: pytest.FixtureRequest) -> str:
    """Take a battery of each layout."""
    return str(request.param)


@pytest.fixture
async def entry(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entity_registry_enabled_by_default: None,
) -> MockConfigEntry:
    """Set up a battery that may be tuned."""
    proxy.advertise(bms)
    return await setup_integration(hass, bms, controls="tuning")


@pytest.mark.timeout(240)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=5), faults=FAULTS)
@hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_no_request_makes_a_harmful_byte_leave(
    hass: HomeAssistant,
    hass_admin_user: MockUser,
    bms: VirtualBms,
    entry: MockConfigEntry,
    requests: list[Request],
    faults: Faults,
) -> None:
    """The battery notes every harm; each request writes a register once at most."""
    original = bms.battery.settings
    bms.faults = faults
    name = next(
        entity_id.partition(".")[2].removesuffix("_bluetooth_link")
        for entity_id in hass.states.async_entity_ids("switch")
        if entity_id.endswith("_bluetooth_link")
    )
    for domain, action, data in requests:
        sent = len(bms.writes)
        if ATTR_ENTITY_ID in data:
            data = {**data, ATTR_ENTITY_ID: f"{domain}.{name}_{data[ATTR_ENTITY_ID]}"}
        else:
            data = {**data, ATTR_CONFIG_ENTRY_ID: entry.entry_id}
        with suppress(HomeAssistantError, probatio.Invalid):
            await hass.services.async_call(
                domain,
                action,
                data,
                blocking=True,
                context=Context(user_id=hass_admin_user.id),
            )
        assert bms.harms == []
        registers = [command.register for command in bms.writes[sent:]]
        assert len(registers) == len(set(registers))
    bms.faults = Faults()
    # A slow machine must not undo them during a later request.
    timed = TimedChanges.async_get(hass, entry.entry_id)
    timed.async_cancel([*timed.changes])
    bms.battery.settings = replace(original)
    await asyncio.sleep(0)
    await hass.async_block_till_done(wait_background_tasks=True)
    await entry.runtime_data.async_refresh()


CHOICES: Final = st.sampled_from(
    ["read_only", "everyday", "tuning", "all", "", None, 1]
)
PASSCODES: Final = st.text(max_size=12) | st.sampled_from([None, 0, True, [], "123456"])


@pytest.mark.parametrize("model", ["JK_PB2A16S20P 15.41"])
@pytest.mark.timeout(240)
@given(choice=CHOICES, passcodes=st.lists(PASSCODES, max_size=3), more=st.booleans())
@hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_no_input_of_the_options_allows_tuning_without_the_passcode(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    choice: Any,
    passcodes: list[Any],
    more: bool,
) -> None:
    """Whatever is submitted, in whichever order, and nothing is written by it."""
    # Not with a reload for each example: what counts is read for each request.
    hass.config_entries.async_update_entry(entry, options={})
    entry.runtime_data.options = JkBmsOptions.parse(entry.options)
    options = hass.config_entries.options
    flow = await options.async_init(entry.entry_id)
    values = {"controls": choice} | (
        {"found": {"max_charge_current": 9e9}} if more else {}
    )
    for user_input in (values, *({"passcode": each} for each in passcodes)):
        with suppress(InvalidData, UnknownFlow):
            await options.async_configure(flow["flow_id"], user_input)
    with suppress(UnknownFlow):
        options.async_abort(flow["flow_id"])
    assert bms.spec.setup_passcode not in passcodes
    assert entry.options.get("controls") != "tuning"
    assert "found" not in entry.options
    with suppress(HomeAssistantError):
        await hass.services.async_call(
            DOMAIN,
            "set_settings",
            {
                ATTR_CONFIG_ENTRY_ID: entry.entry_id,
                "settings": {"balance_trigger": 0.02},
            },
            blocking=True,
        )
    assert bms.writes == []


@pytest.mark.parametrize("model", ["JK_PB2A16S20P 15.41"])
async def test_no_input_of_a_blueprint_makes_a_harmful_byte_leave(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    automate: Callable[..., Any],
) -> None:
    """Run with any entity as the switch, and with limits that make no sense."""
    ours = sorted(
        row.entity_id
        for row in er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
        if row.domain in ("switch", "number", "select", "button")
        and not row.unique_id.endswith("bluetooth_link")
    )
    soc = next(row for row in hass.states.async_entity_ids("sensor") if "charge" in row)
    inputs = [
        {"charge": soc, "charger": charger, "low": low, "full": full}
        for charger, low, full in (
            *((charger, 101, 0) for charger in ours),
            (ours, 101, 0),
            (ours, -1, -2),
            ("{{ states.switch | map(attribute='entity_id') | list }}", 101, 0),
            (ours[0], "nan", "inf"),
            (ours[0], [], {}),
            ({"entity_id": ours}, 101, 0),
            ("cell_ovp", None, True),
            # The link's switch as well, hence the last.
            ("all", -1, -2),
            ("all", 101, 0),
        )
    ]
    path = "jk_bms/charge_low_to_full.yaml"
    automations = [
        {
            "alias": f"Hostile {number}",
            "use_blueprint": {"path": path, "input": row},
        }
        for number, row in enumerate(inputs)
    ]
    await async_setup_component(hass, "automation", {"automation": automations})
    await hass.async_block_till_done()
    for automation in hass.states.async_entity_ids("automation"):
        with suppress(HomeAssistantError, probatio.Invalid):
            await hass.services.async_call(
                "automation",
                "trigger",
                {ATTR_ENTITY_ID: automation, "skip_condition": True},
                blocking=True,
            )
    await hass.async_block_till_done(wait_background_tasks=True)
    assert hass.states.async_entity_ids("automation")
    assert bms.harms == []
