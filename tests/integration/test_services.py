"""What the battery remembers, asked for by an action."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import probatio
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms.connection_slots import async_get_connection_slots
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.jkbms.models import Log, Reading
from custom_components.jk_bms.options import LinkBehaviour
from custom_components.jk_bms.services import (
    ATTR_DUMP,
    DECODE,
    GET_DETAIL_LOG,
    GET_LOGBOOK,
    IMPORT_DETAIL_LOG,
)
from custom_components.jk_bms.setting_services import GET_SETTINGS, SET_SETTINGS
from homeassistant.const import ATTR_CONFIG_ENTRY_ID, ATTR_DEVICE_ID
from homeassistant.core import HomeAssistant, ServiceResponse
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.service import async_get_all_descriptions
from homeassistant.util import dt as dt_util
from tests.virtual_bms import Battery, Faults, VirtualBms, frames
from tests.virtual_bms.scanner import VirtualProxy
from tests.virtual_bms.state import DetailRecord, LogEntry

from . import TRANSLATIONS, sentence, setup_integration, until

type MakeBms = Callable[..., VirtualBms]

pytestmark = pytest.mark.usefixtures("reads_only")

SOC = "sensor.boat_state_of_charge"
LOGBOOK, DETAIL_LOG = 0xA1, 0xA7
HOUR = 3600


@pytest.fixture
def model() -> str:
    """Take a battery with both logs."""
    return "JK_B2A8S20P 19.10"


@pytest.fixture
async def held(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> MockConfigEntry:
    """Set up a battery on a held link."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, link=LinkBehaviour.HELD)
    await entry.runtime_data.async_refresh()
    return entry


async def ask(
    hass: HomeAssistant, entry: MockConfigEntry, action: str
) -> dict[str, Any]:
    """Call an action that has an answer."""
    response: ServiceResponse = await hass.services.async_call(
        DOMAIN,
        action,
        {ATTR_CONFIG_ENTRY_ID: entry.entry_id},
        blocking=True,
        return_response=True,
    )
    assert response
    return response


def keep_records(
    monkeypatch: pytest.MonkeyPatch, bms: VirtualBms, *ages: int, **values: Any
) -> None:
    """Fill the detail log with records so many s old, oldest first."""
    clock = bms.battery.state.clock
    records = [DetailRecord(clock=clock - age, **values) for age in ages]
    monkeypatch.setattr(Battery, "detail_log", property(lambda _: records))
    bms.battery.override(detail_records=len(records))


def seconds_ago(time: str) -> float:
    """Return how long ago something happened."""
    return (dt_util.utcnow() - datetime.fromisoformat(time)).total_seconds()


async def test_get_logbook_returns_entries_with_times(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """All entries, oldest first; the values of the link that was made are shown."""
    ran = bms.spec.run_time
    bms.battery.log = [LogEntry(ran - HOUR, 0x15), LogEntry(ran - 60, 0xC9)]
    bms.battery.override(soc=41)
    links = len(bms.connections)
    answer = await ask(hass, entry, GET_LOGBOOK)
    times = [seconds_ago(found.pop("time")) for found in answer["entries"]]
    assert answer == {
        "entries": [
            {
                "event": "charge_overcurrent",
                "cell": None,
                "code": 0x15,
                "run_time": ran - HOUR,
            },
            {
                "event": "cell_undervoltage",
                "cell": 2,
                "code": 0xC9,
                "run_time": ran - 60,
            },
        ]
    }
    for time, ago in zip(times, (HOUR, 60), strict=True):
        assert ago - 2 < time < ago + 30
    assert hass.states.get(SOC).state == "41"
    assert len(bms.connections) == links + 1
    assert not bms.connected


@pytest.mark.parametrize("time_zone", ["Australia/Adelaide"])
async def test_times_are_in_the_local_zone(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, time_zone: str
) -> None:
    """Times are those of the house, with their offset."""
    await hass.config.async_set_time_zone(time_zone)
    bms.battery.log = [LogEntry(bms.spec.run_time - HOUR, 0x15)]
    (found,) = (await ask(hass, entry, GET_LOGBOOK))["entries"]
    time = datetime.fromisoformat(found["time"])
    assert (
        time.utcoffset() == time.astimezone(dt_util.get_default_time_zone()).utcoffset()
    )
    assert time.utcoffset() != time.astimezone(UTC).utcoffset()


@pytest.mark.parametrize(
    ("action", "log"), [(GET_LOGBOOK, LOGBOOK), (GET_DETAIL_LOG, DETAIL_LOG)]
)
async def test_logbook_is_read_on_the_held_link(
    hass: HomeAssistant, bms: VirtualBms, held: MockConfigEntry, action: str, log: int
) -> None:
    """A held link serves the actions and is held on."""
    links = len(bms.connections)
    (found,) = (await ask(hass, held, action)).values()
    assert len(found) == {LOGBOOK: 3, DETAIL_LOG: 836}[log]
    assert bms.registers[-1] == log
    assert len(bms.connections) == links
    assert bms.connected


async def test_get_detail_log_returns_records(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All records, oldest first, with all that stands in them."""
    keep_records(
        monkeypatch,
        bms,
        HOUR + 1,
        0,
        code=0x65,
        highest=2,
        highest_voltage=3.456,
        lowest_voltage=3.4,
        voltage=13.7,
        current=-12.3,
        remaining=200.5,
        full=315.0,
        temperatures=(25, 24, 31),
        balancing=True,
    )
    answer = await ask(hass, entry, GET_DETAIL_LOG)
    older, newer = answer["records"]
    assert HOUR - 1 < seconds_ago(older.pop("time")) < HOUR + 30
    assert -1 < seconds_ago(newer["time"]) < 30
    assert older == {
        "index": 0,
        "clock": bms.battery.state.clock - HOUR - 1,
        "code": 0x65,
        "event": "cell_overvoltage",
        "cell": 2,
        "charging": True,
        "discharging": True,
        "balancing": True,
        "heating": False,
        "max_cell": 3,
        "min_cell": 1,
        "max_cell_voltage": 3.456,
        "min_cell_voltage": 3.4,
        "battery_voltage": 13.7,
        "battery_current": -12.3,
        "remain_capacity": 200.5,
        "nominal_capacity": 315.0,
        "max_temperature": 25,
        "min_temperature": 24,
        "mosfet_temperature": 31,
        "heater_current": 0.0,
    }


async def test_lost_part_of_the_detail_log_is_requested_again(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """What is lost on the way is asked for once more."""
    send, damaged = frames.detail_log_frame, 0

    def damage_once(first: int, *args: Any) -> bytes:
        nonlocal damaged
        if first == 120 and not damaged:
            damaged += 1
            return frames.damage(bytes(300), 9)
        return send(first, *args)

    with patch.object(frames, "detail_log_frame", damage_once):
        answer = await ask(hass, entry, GET_DETAIL_LOG)
    assert damaged == 1
    assert [record["index"] for record in answer["records"]] == list(range(836))
    assert bms.registers.count(DETAIL_LOG) == 2


async def test_records_without_clock_have_no_time(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Records that cannot be dated are returned without a time."""
    bms.battery.override(clock=0)
    answer = await ask(hass, entry, GET_DETAIL_LOG)
    assert {record["time"] for record in answer["records"]} == {None}


@pytest.mark.parametrize(
    ("model", "action", "sentence_key"),
    [
        ("JK-B2A16S 3.3.0", GET_LOGBOOK, "log_unanswered"),
        ("JK_B2A8S20P 11.48", GET_LOGBOOK, "log_not_sent"),
        ("JK_B2A8S20P 11.48", GET_DETAIL_LOG, "log_not_sent"),
    ],
)
async def test_unanswered_log_is_an_error(
    hass: HomeAssistant,
    short_answer_timeout: None,
    bms: VirtualBms,
    entry: MockConfigEntry,
    action: str,
    sentence_key: str,
) -> None:
    """Only a battery that does not say that it keeps a log may have none."""
    bms.faults = Faults(never_answer={LOGBOOK, DETAIL_LOG})
    with pytest.raises(HomeAssistantError) as error:
        await ask(hass, entry, action)
    assert error.value.translation_key == sentence_key
    assert str(error.value) == sentence(sentence_key)
    assert entry.runtime_data.last_poll_successful
    assert not bms.connected


@pytest.mark.parametrize("model", ["JK_B2A8S20P 11.48", "JK_PB2A16S20P 15.41"])
async def test_detail_log_of_older_firmware_is_read(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """A battery has the log that it declares, and sends it at once."""
    began = hass.loop.time()
    answer = await ask(hass, entry, GET_DETAIL_LOG)
    assert len(answer["records"]) == 417
    assert hass.loop.time() - began < 5


async def test_detail_log_that_is_only_acknowledged_fails_soon(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Its first answer decides: the request is not repeated."""
    bms.faults = Faults(only_acknowledge={DETAIL_LOG})
    began = hass.loop.time()
    with pytest.raises(HomeAssistantError) as error:
        await ask(hass, entry, GET_DETAIL_LOG)
    assert error.value.translation_key == "log_not_sent"
    assert hass.loop.time() - began < 7
    assert bms.registers.count(DETAIL_LOG) == 1


@pytest.mark.parametrize("link", LinkBehaviour)
async def test_link_lost_during_a_log_is_not_put_down_to_the_app(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, link: LinkBehaviour
) -> None:
    """The battery was connected, so nobody else had taken the connection."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, link=link)
    await entry.runtime_data.async_refresh()
    bms.faults = Faults(disconnect_in=0x06)
    with pytest.raises(HomeAssistantError) as error:
        await ask(hass, entry, GET_DETAIL_LOG)
    assert error.value.translation_key == "connection_lost"
    assert "app" not in str(error.value)
    bms.faults = Faults()


@pytest.mark.parametrize(
    ("model", "records"),
    [
        ("JK-B2A16S 3.3.0", None),
        ("JK-B2A24S15P 10.07", None),
        ("JK_B2A8S20P 11.17", None),
        ("JK_B2A8S20P 19.10", 0),
    ],
)
async def test_missing_detail_log_is_a_validation_error(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, records: int | None
) -> None:
    """A battery that is known to have none is not asked."""
    bms.battery.override(detail_records=0)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    assert entry.runtime_data.data.cell_data.detail_log_count == records
    with pytest.raises(HomeAssistantError) as error:
        await ask(hass, entry, GET_DETAIL_LOG)
    assert error.value.translation_key == "no_detail_log"
    assert str(error.value) == sentence("no_detail_log")
    assert len(bms.connections) == 1


async def test_detail_log_of_unknown_size_is_requested(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    short_answer_timeout: None,
) -> None:
    """Whether there is a detail log is found out by requesting it."""
    bms.battery.spec = replace(bms.spec, software="beta")
    bms.battery.override(voltage=99.0, enabled=0b1011)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    with pytest.raises(HomeAssistantError) as error:
        await ask(hass, entry, GET_DETAIL_LOG)
    assert error.value.translation_key == "unsupported_layout"


@pytest.mark.parametrize("action", [GET_LOGBOOK, GET_DETAIL_LOG])
async def test_unreachable_battery_is_an_error(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, action: str
) -> None:
    """The sentence is the one that a failed read has."""
    bms.faults = Faults(refuse_connection=True)
    with pytest.raises(HomeAssistantError) as error:
        await ask(hass, entry, action)
    assert error.value.translation_key == "not_reachable"


@pytest.mark.parametrize("action", [GET_LOGBOOK, GET_DETAIL_LOG])
async def test_link_turned_off_is_a_validation_error(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, action: str
) -> None:
    """A link that was handed to others is not taken back for it."""
    await hass.services.async_call(
        "switch", "turn_off", {"entity_id": "switch.boat_bluetooth_link"}, blocking=True
    )
    links = len(bms.connections)
    with pytest.raises(HomeAssistantError) as error:
        await ask(hass, entry, action)
    assert error.value.translation_key == "link_released"
    assert len(bms.connections) == links


@pytest.mark.parametrize("waits_for", ["the battery", "a slot"])
async def test_link_turned_off_during_the_action_is_an_error(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    waits_for: str,
) -> None:
    """Turning the link off does not wait, and is not logged as a failure."""
    bms.faults = Faults(never_answer={LOGBOOK})
    if waits_for == "a slot":
        proxy.radio.slots = 1
        proxy.radio._occupy("AA:BB:CC:00:00:01")
    asking = hass.async_create_task(ask(hass, entry, GET_LOGBOOK))
    await until(
        lambda: (
            async_get_connection_slots(hass)._waiters
            or bms.commands[-1].register == LOGBOOK
        )
    )
    assert bool(async_get_connection_slots(hass)._waiters) == (waits_for == "a slot")
    began = hass.loop.time()
    await hass.services.async_call(
        "switch", "turn_off", {"entity_id": "switch.boat_bluetooth_link"}, blocking=True
    )
    with pytest.raises(HomeAssistantError) as error:
        await asking
    assert error.value.translation_key == "link_released"
    assert hass.loop.time() - began < 1


async def test_slow_log_is_read_completely(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The time that a log takes has passed for its entries too."""
    bms.battery.log = [LogEntry(bms.spec.run_time - 60, 0x15)]
    client = entry.runtime_data.client
    read = client.read_logbook

    async def read_slowly(publish: Callable[[Reading], None]) -> Log[Any]:
        log: Log[Any] = await read(publish)
        await asyncio.sleep(600)
        return log

    with patch.object(client, "read_logbook", read_slowly):
        (found,) = (await ask(hass, entry, GET_LOGBOOK))["entries"]
    # The wall clock does not jump
    assert 658 < seconds_ago(found["time"]) < 690


async def test_unloaded_entry_is_a_validation_error(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """Actions are there without the battery, and say that it is not."""
    await hass.config_entries.async_unload(entry.entry_id)
    with pytest.raises(ServiceValidationError) as error:
        await ask(hass, entry, GET_LOGBOOK)
    assert error.value.translation_key == "service_config_entry_not_loaded"


async def test_import_without_recorder_is_a_validation_error(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """The battery is not even asked for its log."""
    with pytest.raises(ServiceValidationError) as error:
        await ask(hass, entry, IMPORT_DETAIL_LOG)
    assert error.value.translation_key == "no_recorder"
    assert DETAIL_LOG not in bms.registers


async def test_actions_are_described(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """Every action is described, with its field and its texts."""
    described = (await async_get_all_descriptions(hass))[DOMAIN]
    assert set(TRANSLATIONS["services"]) == set(described)
    assert set(described) == set(hass.services.async_services_for_domain(DOMAIN))
    for name, description in described.items():
        fields = list(description["fields"])
        assert fields[0] == (ATTR_DUMP if name == DECODE else ATTR_DEVICE_ID)
        assert list(TRANSLATIONS["services"][name]["fields"]) == fields
        optional = description["response"]["optional"]
        assert optional is (name in {IMPORT_DETAIL_LOG, SET_SETTINGS})


@pytest.mark.parametrize("action", [GET_LOGBOOK, GET_DETAIL_LOG, GET_SETTINGS])
async def test_actions_take_a_device(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    device_registry: dr.DeviceRegistry,
    action: str,
) -> None:
    """A battery is a device; an action finds its entry."""
    (device,) = dr.async_entries_for_config_entry(device_registry, entry.entry_id)

    async def call(data: dict[str, str]) -> ServiceResponse:
        return await hass.services.async_call(
            DOMAIN, action, data, blocking=True, return_response=True
        )

    (found,) = (await call({ATTR_DEVICE_ID: device.id})).values()
    assert found
    stranger = MockConfigEntry(domain="stranger")
    stranger.add_to_hass(hass)
    other = device_registry.async_get_or_create(
        config_entry_id=stranger.entry_id, identifiers={("stranger", "1")}
    )
    for wrong, key in (
        ("nobody", "service_device_not_found"),
        (other.id, "service_device_wrong_domain"),
    ):
        with pytest.raises(ServiceValidationError) as error:
            await call({ATTR_DEVICE_ID: wrong})
        assert error.value.translation_key == key
    for data in (
        {},
        {ATTR_DEVICE_ID: device.id, ATTR_CONFIG_ENTRY_ID: entry.entry_id},
    ):
        with pytest.raises(probatio.Invalid):
            await call(data)
