"""When the battery is read, and when its values are believed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
import logging
import time
from typing import Any
from unittest.mock import patch

from bluetooth_data_tools import monotonic_time_coarse
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms.diagnosis import ERROR_KEYS, async_diagnose
from custom_components.jk_bms.jkbms import errors
from custom_components.jk_bms.jkbms.bluetooth.client import JkBmsClient
from custom_components.jk_bms.options import DEFAULT_INTERVAL
from homeassistant.components import bluetooth
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util
from tests.virtual_bms import Faults, VirtualBms, frames
from tests.virtual_bms.radio import VirtualBackend
from tests.virtual_bms.scanner import VirtualProxy

from . import (
    MAX_DATA_AGE,
    SPEED,
    fire_timers,
    forget,
    our_lines,
    pass_time,
    receive_advertisement,
    sentence,
    setup_integration,
    until,
)

SOC = "sensor.house_24v_state_of_charge"
LONGEST_WAIT_OF_A_BATTERY = 10 / SPEED
"""s; it takes no more than 1 s of its own time to connect and to begin its stream."""
MARGIN = timedelta(seconds=5)
"""What a busy machine may take for what needs no time here."""


@pytest.fixture
async def entry(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> MockConfigEntry:
    """Set up a battery after its first advertisement."""
    bms.battery.override(soc=40)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.LOADED
    return entry


@pytest.fixture
def waits(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note how long each timer that fires has waited for it."""
    waits: list[float] = []
    call_at = hass.loop.call_at

    def noting_call_at(
        when: float, callback: Callable[..., object], *args: Any, **kwargs: Any
    ) -> asyncio.TimerHandle:
        wait = when - hass.loop.time()

        def fire(*args: Any) -> None:
            waits.append(wait)
            callback(*args)

        # Home Assistant writes its files when it likes.
        is_store = isinstance(getattr(callback, "__self__", None), Store)
        return call_at(when, callback if is_store else fire, *args, **kwargs)

    monkeypatch.setattr(hass.loop, "call_at", noting_call_at)
    return waits


def soc(hass: HomeAssistant) -> str:
    """Return the state of charge that is shown."""
    state = hass.states.get(SOC)
    assert state
    return state.state


async def test_identical_advertisements_trigger_due_reads(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """A battery that always says the same is read at every interval all the same."""
    for number in range(1, 5):
        for _ in range(3):
            proxy.advertise(bms)
        await hass.async_block_till_done(wait_background_tasks=True)
        assert len(bms.connections) == number
        bms.battery.override(soc=40 + number)
        await pass_time(hass)
        assert soc(hass) == str(40 + number)


async def test_timer_reads_without_advertisements(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Polling does not stop with the advertisements, nor does it do so too often."""
    await pass_time(hass, DEFAULT_INTERVAL - MARGIN)
    assert len(bms.connections) == 1
    for number in range(2, 5):
        await pass_time(hass)
        assert len(bms.connections) == number


async def test_timers_of_the_tests_fire_on_a_machine_that_stalls(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Or a read would not be due now and then, on a busy machine only."""

    @callback
    def stall(_now: datetime) -> None:
        time.sleep(0.7)

    async_call_later(hass, 0, stall)
    await pass_time(hass)
    assert len(bms.connections) == 2


async def test_due_read_starts_with_an_advertisement_before_the_timer(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """A read that is due does not wait for the timer."""
    # The set-up may have taken longer than the 5 s in between
    entry.runtime_data._schedule.polled_at = monotonic_time_coarse()
    receive_advertisement(proxy, bms, later=25)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(bms.connections) == 1
    receive_advertisement(proxy, bms, later=31)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(bms.connections) == 2


async def test_reads_do_not_overlap(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """What else is a reason to read does not start a second read."""
    fire_timers(hass)
    await until(lambda: bms.connected)
    receive_advertisement(proxy, bms, later=31)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(bms.connections) == 2
    await pass_time(hass)
    assert len(bms.connections) == 3


async def test_advertisement_of_passive_scanner_starts_no_read(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """An advertisement without a way to the battery is no reason to read it."""
    info = bluetooth.async_last_service_info(hass, bms.address)
    assert info
    passive = bluetooth.BluetoothServiceInfoBleak(
        **{
            name: getattr(info, name)
            for name in (
                "name",
                "address",
                "rssi",
                "manufacturer_data",
                "service_data",
                "service_uuids",
                "device",
                "advertisement",
                "tx_power",
            )
        },
        source="AA:00:00:00:00:99",
        connectable=False,
        time=info.time + 31,
    )
    bluetooth.async_get_advertisement_callback(hass)(passive)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(bms.connections) == 1


async def test_lost_advertisements_keep_values_available(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A battery is silent while it is read, and that is no reason to lose it."""
    bms.battery.override(soc=41)
    fire_timers(hass)
    await until(lambda: bms.connected)
    states: list[str] = []
    entry.runtime_data.async_add_listener(lambda: states.append(soc(hass)))
    forget(proxy, bms)
    assert bluetooth.async_ble_device_from_address(hass, bms.address) is None
    assert bms.connected
    # Home Assistant forgets all that are held at once: there must be nothing to do
    assert states == []
    await hass.async_block_till_done(wait_background_tasks=True)
    assert soc(hass) == "41"
    assert states == ["41"]
    assert our_lines(caplog, logging.INFO) == []


async def test_battery_back_in_range_is_read_at_once(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    durations: list[float],
    waits: list[float],
) -> None:
    """A battery that comes back is read with its first advertisement."""
    forget(proxy, bms)
    await pass_time(hass)
    assert len(bms.connections) == 1
    assert len(durations) == 1
    assert soc(hass) == "40"

    bms.battery.override(soc=41)
    waits.clear()
    receive_advertisement(proxy, bms)
    await until(lambda: soc(hass) == "41")
    assert len(durations) == 2
    assert max(waits) < LONGEST_WAIT_OF_A_BATTERY


async def test_battery_that_advertises_again_is_read_at_once(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    durations: list[float],
) -> None:
    """After another client has disconnected, an advertisement starts a read at once."""
    receive_advertisement(proxy, bms, later=-40)
    bms.faults = Faults(pairing=True)
    await pass_time(hass)
    assert len(durations) == 1
    bms.faults = Faults()
    bms.battery.override(soc=41)
    receive_advertisement(proxy, bms)
    await until(lambda: soc(hass) == "41")
    assert len(durations) == 2


async def test_advertisements_do_not_retry_a_failing_battery_early(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    durations: list[float],
) -> None:
    """A battery in range that cannot be read is not tried in between."""
    bms.faults = Faults(pairing=True)
    await pass_time(hass)
    for later in range(10):
        receive_advertisement(proxy, bms, later=later)
        await hass.async_block_till_done(wait_background_tasks=True)
    assert len(durations) == 1
    bms.faults = Faults()
    await pass_time(hass)
    assert len(durations) == 2
    assert entry.runtime_data.last_poll_successful


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(pairing=True), "pairing_required"),
        (Faults(silent=True), "silent"),
        (Faults(garbage=True), "implausible"),
        (Faults(refuse_connection=True), "not_reachable"),
    ],
)
async def test_poll_failures_mark_unavailable_by_age_and_recover(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    short_deadline: float,
    caplog: pytest.LogCaptureFixture,
    faults: Faults,
    error: str,
) -> None:
    """Values are shown until they are too old; lost and back are each logged once."""
    bms.faults = faults
    await pass_time(hass, MAX_DATA_AGE - MARGIN)
    assert soc(hass) == "40"
    assert our_lines(caplog, logging.INFO) == []

    await pass_time(hass, MAX_DATA_AGE)
    assert soc(hass) == STATE_UNAVAILABLE
    for _ in range(3):
        proxy.advertise(bms)
        await pass_time(hass, MAX_DATA_AGE)
    assert soc(hass) == STATE_UNAVAILABLE
    (lost,) = our_lines(caplog, logging.INFO)
    assert lost.startswith(f"House 24V is unavailable: {sentence(error)}")
    assert our_lines(caplog, logging.WARNING) == []

    bms.faults = Faults()
    caplog.clear()
    for _ in range(3):
        await pass_time(hass)
    assert soc(hass) == "40"
    assert our_lines(caplog, logging.INFO) == ["House 24V is available again"]


async def test_values_are_valid_as_long_as_they_are_counted(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    short_deadline: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From their own time on, which a slow disconnect leaves behind."""
    monkeypatch.setattr(VirtualBackend, "disconnect", lambda _: asyncio.sleep(60))
    coordinator = entry.runtime_data
    before = coordinator.data
    fire_timers(hass)
    await until(lambda: coordinator.data is not before)
    age = timedelta(seconds=hass.loop.time() - coordinator.data.time)
    assert age > timedelta(seconds=3)
    margin = timedelta(seconds=0.5)
    fire_timers(hass, MAX_DATA_AGE - age - margin)
    assert soc(hass) == "40"
    fire_timers(hass, MAX_DATA_AGE - age + margin)
    assert soc(hass) == STATE_UNAVAILABLE


async def test_old_values_are_not_valid_again_when_settings_change(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """A write that is cut off publishes the values of before with the new settings."""
    coordinator = entry.runtime_data
    fire_timers(hass, MAX_DATA_AGE)
    assert soc(hass) == STATE_UNAVAILABLE
    old = hass.loop.time() - MAX_DATA_AGE.total_seconds()
    coordinator._async_publish(replace(coordinator.data, time=old))
    assert soc(hass) == STATE_UNAVAILABLE


@pytest.mark.parametrize(
    ("age", "error"), [(60.0, "other_client"), (0.0, "not_reachable")]
)
async def test_battery_that_stopped_advertising_is_not_in_range(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    short_deadline: float,
    age: float,
    error: str,
) -> None:
    """Home Assistant still knows the battery, but the Bluetooth stack has forgotten it."""
    receive_advertisement(proxy, bms, later=-age)
    proxy.remove(bms)
    await pass_time(hass)
    assert entry.runtime_data.diagnosis.key == error
    reason = entry.runtime_data.diagnosis.placeholders["reason"]
    assert reason.startswith(
        f"Connecting failed: Device {bms.address} was not found. In connectable history"
    )


async def test_details_are_sentences(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Each has one full stop, whether the error of the Bluetooth stack has one or not."""
    diagnosis = async_diagnose(hass, bms.address, errors.SilentError("no response."))
    reason = diagnosis.placeholders["reason"]
    assert reason.startswith("No response. In connectable history;")


async def test_loss_without_a_failed_read_has_a_reason(
    hass: HomeAssistant, entry: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    """Values may grow too old while no attempt fails, as while one waits for a slot."""
    caplog.set_level(logging.INFO)
    assert entry.runtime_data.last_exception is None
    entry.runtime_data._async_expire(dt_util.utcnow())
    assert our_lines(caplog, logging.INFO) == [
        "House 24V is unavailable: it was not read in time"
    ]
    assert our_lines(caplog, logging.WARNING) == []


async def test_unsupported_layout_is_set_up_without_values(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A battery that is set up without values is logged, and so are its first ones."""
    bms.battery.override(voltage=99.0, enabled=0b1011)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.LOADED
    await pass_time(hass)
    (lost,) = our_lines(caplog, logging.INFO)
    error = sentence("unsupported_layout")
    assert lost.startswith(f"House 24V is unavailable: {error}JK_B2A8S20P, firmware")
    assert hass.states.get(SOC) is None

    bms.battery.release()
    await pass_time(hass)
    assert soc(hass) == str(bms.battery.state.soc)
    assert our_lines(caplog, logging.INFO)[1:] == ["House 24V is available again"]


async def test_each_reading_restarts_the_maximum_age(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A lost read or two in between are nothing to speak of."""
    for _ in range(3):
        bms.faults = Faults(pairing=True)
        await pass_time(hass, 2 * DEFAULT_INTERVAL)
        bms.faults = Faults()
        await pass_time(hass)
        await pass_time(hass, MAX_DATA_AGE - MARGIN)
    assert soc(hass) == "40"
    assert our_lines(caplog, logging.INFO) == []


async def test_unplugged_proxy_is_reported_and_recovers(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
) -> None:
    """A read that breaks off is not the end of reading."""
    fire_timers(hass)
    await until(lambda: bms.connected)
    proxy.unplug()
    for _ in range(2):
        await hass.async_block_till_done(wait_background_tasks=True)
        error = str(entry.runtime_data.last_exception)
        assert error.startswith(sentence("not_in_range"))
        assert soc(hass) == "40"
        await pass_time(hass)

    bms.battery.override(soc=41)
    proxy.replug()
    receive_advertisement(proxy, bms)
    await pass_time(hass)
    assert soc(hass) == "41"


def unplug(proxy: VirtualProxy) -> None:
    """Take the power away."""
    proxy.unplug()


def fill(proxy: VirtualProxy) -> None:
    """Leave no connection for others."""
    proxy.radio.slots = 0


def crash(proxy: VirtualProxy) -> None:
    """Let it be there for Home Assistant and do nothing any more."""

    async def connect(*_: object) -> None:
        await asyncio.Event().wait()

    proxy.radio.connect = connect  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize(
    ("death", "reads"),
    [(unplug, 1), (fill, 1), (crash, 3)],
    ids=["gone", "full", "hung"],
)
async def test_second_proxy_takes_over(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    far_proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    short_deadline: float,
    caplog: pytest.LogCaptureFixture,
    death: Callable[[VirtualProxy], None],
    reads: int,
) -> None:
    """The next read uses the other proxy after two failures of the one that hangs."""
    receive_advertisement(far_proxy, bms)
    await pass_time(hass)
    assert [connection.source for connection in bms.connections] == 2 * [proxy.source]
    death(proxy)
    bms.battery.override(soc=41)
    for _ in range(reads):
        await pass_time(hass)
    assert soc(hass) == "41"
    assert bms.connections[-1].source == far_proxy.source
    assert our_lines(caplog, logging.INFO) == []


async def test_two_batteries_share_one_slot(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
    short_deadline: float,
) -> None:
    """Batteries that are due at the same time take turns."""
    proxy.radio.slots = 1
    first = make_bms("JK_B2A8S20P 11.48", name="first")
    second = make_bms("JK-B2A24S15P 10.07", name="second")
    for bms in (first, second):
        proxy.advertise(bms)
        await setup_integration(hass, bms)
    first.battery.override(soc=11)
    second.battery.override(soc=22)
    await pass_time(hass)
    assert hass.states.get("sensor.first_state_of_charge").state == "11"
    assert hass.states.get("sensor.second_state_of_charge").state == "22"
    (_, one), (_, other) = first.connections, second.connections
    assert one.closed <= other.opened or other.closed <= one.opened


async def test_read_without_free_slot_ends_by_the_deadline(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    short_deadline: float,
    durations: list[float],
) -> None:
    """A read gives up in time although the retries of the connector are not used up."""
    proxy.radio.slots = 0
    with patch("bleak_retry_connector.BLEAK_OUT_OF_SLOTS_BACKOFF_TIME", 4):
        await pass_time(hass)
    assert len(durations) == 1
    assert durations[0] <= short_deadline
    assert str(entry.runtime_data.last_exception).startswith(sentence("no_free_slot"))
    proxy.radio.slots = 3
    await pass_time(hass)
    assert entry.runtime_data.last_poll_successful


async def test_hanging_connection_ends_by_the_deadline(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    short_deadline: float,
    durations: list[float],
) -> None:
    """The same holds for a proxy that never says how its attempt went."""
    bms.faults = Faults(hang_connection=True)
    await pass_time(hass)
    assert len(durations) == 1
    assert durations[0] <= short_deadline
    assert str(entry.runtime_data.last_exception).startswith(sentence("not_reachable"))


async def test_first_reading_adds_no_delay(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, waits: list[float]
) -> None:
    """From the advertisement to the values there is only what the battery needs."""
    entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    waits.clear()
    proxy.advertise(bms)
    await until(lambda: hass.states.get(SOC))
    assert len(bms.connections) == 1
    assert max(waits) < LONGEST_WAIT_OF_A_BATTERY


async def test_unexpected_error_is_logged_once_and_polling_continues(
    hass: HomeAssistant,
    bms: VirtualBms,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unexpected exception is logged once, with a traceback; polling continues."""
    with patch.object(JkBmsClient, "read", side_effect=ZeroDivisionError):
        for _ in range(3):
            await pass_time(hass)
    (line,) = our_lines(caplog, logging.INFO)
    assert line == "House 24V: unexpected error while reading"
    assert caplog.text.count("ZeroDivisionError") == 1
    bms.battery.override(soc=41)
    await pass_time(hass)
    assert soc(hass) == "41"


async def test_settings_are_kept_when_their_frame_is_lost(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry
) -> None:
    """Settings that did not come this time are those that came before."""
    coordinator = entry.runtime_data
    assert coordinator.data.settings
    assert coordinator.data.settings.cell_count == bms.battery.settings.cell_count
    bms.battery.settings = replace(bms.battery.settings, cell_count=4)
    bms.battery.override(soc=41)
    lost = frames.damage(bytes(300), 9)
    with patch.object(frames, "settings_frame", return_value=lost):
        await pass_time(hass)
    assert soc(hass) == "41"
    assert coordinator.data.settings.cell_count == 8
    await pass_time(hass)
    assert coordinator.data.settings.cell_count == 4


async def test_log_contains_no_secrets(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Passcodes and what the owner wrote down stay out of the log at any level."""
    caplog.set_level(logging.DEBUG)
    bms = make_bms("JK_B2A8S20P 11.48", userdata="my secret", userdata2="my other")
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.LOADED
    await pass_time(hass)
    info = entry.runtime_data.data.device_info
    secrets = {getattr(info, name) for name in ("passcode", "userdata", "userdata2")}
    secrets |= {info.setup_passcode, info.device_passcode}
    assert {"my secret", "my other", bms.spec.passcode} <= secrets
    lines = "\n".join(our_lines(caplog, logging.DEBUG))
    assert "received" in lines
    for secret in secrets:
        assert secret not in lines
        assert secret.encode().hex() not in lines


def test_every_read_error_has_a_sentence() -> None:
    """Every error that the library raises when it reads has a sentence."""
    never_alone = {
        *(errors.JkBmsError, errors.LinkError, errors.FrameError),
        # The session leaves the values out
        errors.ImplausibleValuesError,
    }
    of_the_command = (
        errors.AmbiguousNameError
        | errors.ExportError
        | errors.JournalError
        | errors.NoBluetoothError
        | errors.OutputError
        | errors.PairingError
        | errors.SettingRefusedError
    )
    assert {*ERROR_KEYS, errors.LogUnansweredError} | never_alone == {
        error
        for error in vars(errors).values()
        if isinstance(error, type)
        and issubclass(error, errors.JkBmsError)
        and not issubclass(error, of_the_command)
    }
