"""Whatever is requested of Home Assistant, no harmful byte leaves."""

import asyncio
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
from custom_components.jk_bms.select import SELECTS
from custom_components.jk_bms.switch import SWITCHES
from homeassistant.const import ATTR_CONFIG_ENTRY_ID, ATTR_ENTITY_ID
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import HomeAssistantError
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
        Faults(revert_after=0.05),
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
    bms.battery.settings = replace(original)
    await asyncio.sleep(0)
    await hass.async_block_till_done(wait_background_tasks=True)
    await entry.runtime_data.async_refresh()
