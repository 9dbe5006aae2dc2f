"""Issues: raised when a battery was not read for long, in the words used elsewhere."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms import issues as lasting_issues
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.options import DEFAULT_PAUSE
from homeassistant.components.switch import DOMAIN as SWITCH_DOMAIN
from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import ATTR_ENTITY_ID, SERVICE_TURN_OFF
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from tests.virtual_bms import Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import (
    TRANSLATIONS,
    forget,
    mock_entry,
    pass_time,
    receive_advertisement,
    setup_integration,
)

RETRY = timedelta(seconds=100)
"""Home Assistant waits no longer until it sets up an entry again."""


class Clock:
    """Time as the issues see it."""

    def __init__(self) -> None:
        """Begin anywhere."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time in s."""
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, short_deadline: float) -> Clock:
    """Stop the time of the issues, and let no failing read take long."""
    clock = Clock()
    monkeypatch.setattr(lasting_issues, "monotonic_time_coarse", clock)
    return clock


def issues(hass: HomeAssistant) -> dict[str, ir.IssueEntry]:
    """Return the issues of the integration by what they are about."""
    return {
        issue.translation_key or "": issue
        for issue in ir.async_get(hass).issues.values()
        if issue.domain == DOMAIN
    }


def text(issue: ir.IssueEntry) -> str:
    """Return what the user reads."""
    words: str = TRANSLATIONS["issues"][issue.translation_key]["description"]
    return words.format(**issue.translation_placeholders or {})


async def fail_for_long(
    hass: HomeAssistant, clock: Clock, after: float = lasting_issues.ISSUE_AFTER
) -> None:
    """Let reads fail, three of them too early; it has lasted with the last one."""
    for moment in (0.0, after - 2, after - 1, after):
        assert issues(hass) == {}
        clock.now = 1000 + moment
        await pass_time(hass, RETRY)


def take_slots(proxy: VirtualProxy, bms: VirtualBms) -> None:
    """Let others hold all connections of the proxy."""
    proxy.radio.slots = 1
    proxy.radio._occupy("AA:BB:CC:00:00:01")


def free_slots(proxy: VirtualProxy, bms: VirtualBms) -> None:
    """Let the others go."""
    proxy.radio._vacate("AA:BB:CC:00:00:01")


def unplug(proxy: VirtualProxy, bms: VirtualBms) -> None:
    """Take away the only proxy."""
    proxy.unplug()


def replug(proxy: VirtualProxy, bms: VirtualBms) -> None:
    """Bring it back."""
    proxy.replug()
    receive_advertisement(proxy, bms)


def fall_silent(proxy: VirtualProxy, bms: VirtualBms) -> None:
    """Let another client hold the battery, which does not advertise any more."""
    forget(proxy, bms)


def carry_away(rssi: int) -> Callable[[VirtualProxy, VirtualBms], None]:
    """Return a function that lets the battery advertise but refuse connections."""

    def carry(proxy: VirtualProxy, bms: VirtualBms) -> None:
        proxy.place(bms, rssi=rssi)
        receive_advertisement(proxy, bms)
        bms.faults = Faults(refuse_connection=True)

    return carry


def carry_back(proxy: VirtualProxy, bms: VirtualBms) -> None:
    """Let it be near."""
    proxy.place(bms)
    receive_advertisement(proxy, bms)
    bms.faults = Faults()


def fails_by(faults: Faults) -> Callable[[VirtualProxy, VirtualBms], None]:
    """Return what gives the battery these faults."""

    def set_faults(proxy: VirtualProxy, bms: VirtualBms) -> None:
        bms.faults = faults

    return set_faults


def move_values(proxy: VirtualProxy, bms: VirtualBms) -> None:
    """Let the values stand elsewhere."""
    bms.battery.override(voltage=99.0, enabled=0b1011)


def release(proxy: VirtualProxy, bms: VirtualBms) -> None:
    """Let the battery be as it was."""
    bms.battery.release()


type Change = Callable[[VirtualProxy, VirtualBms], None]
MEND = fails_by(Faults())


@pytest.mark.parametrize(
    ("harm", "mend", "error", "words"),
    [
        (take_slots, free_slots, "no_free_slot", "in use, by: AA:BB:CC:00:00:01."),
        (fall_silent, receive_advertisement, "other_client", "Close the JK app"),
        (fails_by(Faults(pairing=True)), MEND, "pairing_required", "a pairing code"),
        (fails_by(Faults(garbage=True)), MEND, "implausible", "are not plausible"),
        (fails_by(Faults(zeros=True)), MEND, "implausible", "are not plausible"),
        (move_values, release, "unsupported_layout", "JK_B2A8S20P, firmware 11.48"),
    ],
)
async def test_lasting_failure_raises_an_issue_and_recovery_clears_it(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    clock: Clock,
    harm: Change,
    mend: Change,
    error: str,
    words: str,
) -> None:
    """Each cause raises its own issue, which is deleted when the cause is gone."""
    harm(proxy, bms)
    after = {"no_free_slot": 15 * 60.0, "other_client": 24 * 3600.0}
    await fail_for_long(hass, clock, after.get(error, 300.0))
    ((key, issue),) = issues(hass).items()
    assert key == error
    assert words in text(issue)
    assert text(issue).removesuffix(".") == str(entry.runtime_data.last_exception)
    assert issue.translation_placeholders["name"] == "House 24V"
    assert issue.severity is ir.IssueSeverity.WARNING
    assert not issue.is_fixable
    assert not issue.is_persistent

    mend(proxy, bms)
    await pass_time(hass)
    assert entry.runtime_data.last_poll_successful
    assert issues(hass) == {}


@pytest.mark.parametrize(
    ("harm", "mend", "error"),
    [
        (take_slots, free_slots, "no_free_slot"),
        (fails_by(Faults(foreign="neey")), MEND, "not_jk_bms"),
        (fails_by(Faults(garbage=True)), MEND, "not_jk_bms"),
        (fails_by(Faults(zeros=True)), MEND, "implausible"),
    ],
)
async def test_failing_setup_raises_an_issue(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    clock: Clock,
    harm: Change,
    mend: Change,
    error: str,
) -> None:
    """An entry that cannot be set up has the same words for its state and its issue."""
    proxy.advertise(bms)
    harm(proxy, bms)
    entry = mock_entry(bms)
    entry.add_to_hass(hass)
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    clock.now += lasting_issues.RAISED_AFTER[error]
    for _ in range(2):
        assert issues(hass) == {}
        await pass_time(hass, RETRY)
    ((key, issue),) = issues(hass).items()
    assert key == error == entry.error_reason_translation_key
    assert text(issue).removesuffix(".") == entry.reason

    mend(proxy, bms)
    await pass_time(hass, RETRY)
    assert entry.state is ConfigEntryState.LOADED
    assert issues(hass) == {}


@pytest.mark.parametrize(
    ("age", "error"), [(0.0, "not_in_range"), (60.0, "other_client")]
)
async def test_passive_scanner_is_diagnosed_as_out_of_range(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    clock: Clock,
    age: float,
    error: str,
) -> None:
    """A proxy that only listens does not help, and the issue says so.

    If its last advertisement is old, another client has probably connected since.
    """
    shelly = VirtualProxy("AA:00:00:00:00:02", "shelly")
    shelly.connectable = False
    shelly.connector = None
    shelly.place(bms)
    shelly.start()
    try:
        forget(proxy, bms)
        receive_advertisement(shelly, bms, later=-age)
        await pass_time(hass)
        assert entry.runtime_data.diagnosis.key == error
    finally:
        shelly.stop()


async def test_issue_names_the_slot_holders(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
    bms: VirtualBms,
    entry: MockConfigEntry,
    clock: Clock,
) -> None:
    """A device that is known by name is named."""
    other = make_bms("JK-B2A24S15P 10.07", name="Camper")
    receive_advertisement(proxy, other)
    proxy.radio.slots = 1
    proxy.radio._occupy(other.address)
    await fail_for_long(hass, clock, lasting_issues.RAISED_AFTER["no_free_slot"])
    issue = issues(hass)["no_free_slot"]
    assert f"in use, by: Camper ({other.address})." in text(issue)
    proxy.radio._vacate(other.address)


async def test_few_failures_raise_no_issue(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, clock: Clock
) -> None:
    """With long intervals, a read or two may fail; a good one resets the count."""
    for _ in range(3):
        bms.faults = Faults(pairing=True)
        for _ in range(2):
            await pass_time(hass)
            clock.now += lasting_issues.ISSUE_AFTER
        assert issues(hass) == {}
        bms.faults = Faults()
        await pass_time(hass)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (unplug, "not_in_range"),
        (carry_away(-90), "weak_signal"),
        (carry_away(-89), "not_reachable"),
        (fails_by(Faults(silent=True)), "silent"),
    ],
)
async def test_absent_battery_raises_no_issue(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    clock: Clock,
    harm: Change,
    reason: str,
) -> None:
    """A battery that is away, far or silent for days is unavailable, with its reason."""
    harm(proxy, bms)
    await fail_for_long(hass, clock, 7 * 86400.0)
    assert issues(hass) == {}
    assert entry.runtime_data.diagnosis.key == reason


async def test_battery_whose_signal_faded_is_out_of_range(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    entry: MockConfigEntry,
    clock: Clock,
) -> None:
    """A camper that drives off is not taken for one that another client uses."""
    proxy.place(bms, rssi=-94)
    receive_advertisement(proxy, bms)
    await pass_time(hass)
    forget(proxy, bms)
    await fail_for_long(hass, clock, 7 * 86400.0)
    assert issues(hass) == {}
    assert entry.runtime_data.diagnosis.key == "not_in_range"


async def test_changed_diagnosis_clears_the_issue(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, clock: Clock
) -> None:
    """When the reason changes, its issue goes, and the time starts again."""
    bms.faults = Faults(pairing=True)
    await fail_for_long(hass, clock)
    assert list(issues(hass)) == ["pairing_required"]
    bms.faults = Faults(refuse_connection=True)
    await pass_time(hass)
    assert issues(hass) == {}


@pytest.mark.parametrize("end", ["unloaded", "disabled", "removed"])
@pytest.mark.parametrize("loaded", [True, False])
async def test_issue_is_deleted_with_the_entry(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    clock: Clock,
    end: str,
    loaded: bool,
) -> None:
    """A battery that is not in use has no issue."""
    entry = mock_entry(bms)
    entry.add_to_hass(hass)
    proxy.advertise(bms)
    if not loaded:
        bms.faults = Faults(pairing=True)
    await hass.config_entries.async_setup(entry.entry_id)
    bms.faults = Faults(pairing=True)
    for _ in range(3):
        clock.now += lasting_issues.ISSUE_AFTER
        await pass_time(hass, RETRY)
    assert len(issues(hass)) == 1
    match end:
        case "unloaded" if loaded:
            assert await hass.config_entries.async_unload(entry.entry_id)
        case "removed":
            await hass.config_entries.async_remove(entry.entry_id)
        case _:
            await hass.config_entries.async_set_disabled_by(
                entry.entry_id, ConfigEntryDisabler.USER
            )
    assert issues(hass) == {}


async def test_setup_retry_continues_the_failure_streak(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, clock: Clock
) -> None:
    """Home Assistant reloads a failing entry at each advertisement."""
    proxy.advertise(bms)
    bms.faults = Faults(pairing=True)
    entry = await setup_integration(hass, bms)
    for _ in range(2):
        clock.now += lasting_issues.ISSUE_AFTER
        await hass.config_entries.async_reload(entry.entry_id)
    assert list(issues(hass)) == ["pairing_required"]
    await hass.config_entries.async_reload(entry.entry_id)
    assert list(issues(hass)) == ["pairing_required"]


async def test_turning_the_link_off_clears_the_issue(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, clock: Clock
) -> None:
    """While the link is off there is no issue; then the count starts again."""
    bms.faults = Faults(pairing=True)
    await fail_for_long(hass, clock)
    await hass.services.async_call(
        SWITCH_DOMAIN,
        SERVICE_TURN_OFF,
        {ATTR_ENTITY_ID: "switch.house_24v_bluetooth_link"},
        blocking=True,
    )
    assert issues(hass) == {}
    clock.now += DEFAULT_PAUSE.total_seconds()
    await pass_time(hass, DEFAULT_PAUSE)
    assert issues(hass) == {}


async def test_alarms_raise_no_issue(
    hass: HomeAssistant, bms: VirtualBms, entry: MockConfigEntry, clock: Clock
) -> None:
    """What the battery complains of, such as its default password, is no fault of the link."""
    bms.battery.override(alarms=0xFFFFFFFF)
    for _ in range(3):
        clock.now += lasting_issues.ISSUE_AFTER
        await pass_time(hass)
    assert entry.runtime_data.data.cell_data.alarms
    assert "default_password" in entry.runtime_data.data.cell_data.alarms
    assert issues(hass) == {}
