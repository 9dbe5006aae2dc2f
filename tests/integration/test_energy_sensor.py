"""Counted energy and time left: what is shown, when, and after whatever came between."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from math import inf, pi, sin
from random import Random
from typing import Any
from unittest.mock import patch

from freezegun.api import FrozenDateTimeFactory
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.jk_bms.coordinator import JkBmsCoordinator
from custom_components.jk_bms.energy import EnergyMeter
from custom_components.jk_bms.energy_store import EnergyStore
from custom_components.jk_bms.entry_store import _STORES
from custom_components.jk_bms.jkbms.bluetooth.client import JkBmsClient
from custom_components.jk_bms.jkbms.models import (
    CellData,
    DeviceInfo,
    Layout,
    LiveData,
    LiveSample,
    Reading,
)
from custom_components.jk_bms.jkbms.protocol.live import LiveChecker
from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import (
    EVENT_HOMEASSISTANT_FINAL_WRITE,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import CoreState, HomeAssistant, State
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.restore_state import STORAGE_KEY
from homeassistant.util import dt as dt_util
from tests.thorough import THOROUGH
from tests.virtual_bms import MODELS, Faults, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import pass_time, setup_integration, until, until_held
from .restore import dump_extra_data, full_disk, load_states, store_extra_data
from .week import Truth, power_of_a_week, readings_of_a_week, true_energy

CHARGED = "sensor.house_24v_energy_charged"
DISCHARGED = "sensor.house_24v_energy_discharged"
TO_EMPTY = "sensor.house_24v_time_to_empty"
TO_FULL = "sensor.house_24v_time_to_full"


class House:
    """A battery whose readings are made up, each at its own moment."""

    def __init__(
        self, hass: HomeAssistant, hass_storage: dict[str, Any], bms: VirtualBms
    ) -> None:
        """Start without a reading."""
        self.hass = hass
        self.hass_storage = hass_storage
        self.bms = bms
        self.entry: MockConfigEntry
        self.next: Reading
        self.begin = hass.loop.time()
        """When the clock of the readings was at 0."""
        self.expect(0.0, 0.0)

    @property
    def coordinator(self) -> JkBmsCoordinator:
        """Return what hands the readings out."""
        coordinator: JkBmsCoordinator = self.entry.runtime_data
        return coordinator

    def expect(self, time: float, power: float | None, **values: Any) -> None:
        """Choose what the next read gives."""
        values = {
            "battery_voltage": 50.0,
            "battery_power": power,
            "battery_current": None if power is None else power / 50,
            "remain_capacity": 140.0,
            "nominal_capacity": 280.0,
        } | values
        self.next = Reading(
            layout=Layout.JK02_32S,
            device_info=DeviceInfo(device_model="BMS", software_version="11.48"),
            settings=None,
            cell_data=CellData(**values),
            time=self.begin + time,
        )

    async def read(self) -> Reading:
        """Read it, in place of the client."""
        return self.next

    async def set_up(self) -> None:
        """Add the battery; the first reading is the one chosen."""
        self.entry = await setup_integration(self.hass, self.bms)
        assert self.entry.state is ConfigEntryState.LOADED

    async def save(self) -> None:
        """Let the minute until the next save pass."""
        await EnergyStore.async_get(self.hass, self.entry.entry_id).async_save()

    async def publish_and_save(
        self, time: float, power: float | None, **values: Any
    ) -> None:
        """Let a reading come in, and the next save."""
        self.publish(time, power, **values)
        await self.save()

    def publish(self, time: float, power: float | None, **values: Any) -> None:
        """Let a reading come in."""
        self.expect(time, power, **values)
        self.coordinator._async_publish(self.next)

    def miss(self) -> None:
        """Let the values become too old."""
        self.coordinator._async_expire(dt_util.utcnow())

    async def reload(self, time: float, power: float | None) -> None:
        """Reload the entry, as a change of its options does."""
        self.expect(time, power)
        assert await self.hass.config_entries.async_reload(self.entry.entry_id)
        await self.hass.async_block_till_done()
        await self.save()

    async def restart(self, time: float, power: float | None) -> None:
        """Store and load what outlives Home Assistant, and nothing else."""
        await dump_extra_data(self.hass, self.hass_storage)
        assert await self.hass.config_entries.async_unload(self.entry.entry_id)
        self.hass.data[_STORES].clear()
        await self._start(time, power)

    async def crash(self, time: float, power: float | None) -> None:
        """Lose all that was not saved, and start again."""
        EnergyStore.async_get(self.hass, self.entry.entry_id)._async_cancel_timer()
        self.hass.data[_STORES].clear()
        assert await self.hass.config_entries.async_unload(self.entry.entry_id)
        await self._start(time, power)

    async def _start(self, time: float, power: float | None) -> None:
        await load_states(self.hass)
        self.begin = self.hass.loop.time()
        self.expect(time, power)
        assert await self.hass.config_entries.async_setup(self.entry.entry_id)
        await self.hass.async_block_till_done()
        await self.save()

    def shown(self, entity_id: str) -> str:
        """Return the state of an entity."""
        state = self.hass.states.get(entity_id)
        assert state
        return state.state

    @property
    def energies(self) -> tuple[str, str]:
        """Return what is shown as charged and as discharged."""
        return self.shown(CHARGED), self.shown(DISCHARGED)


@pytest.fixture
def house(
    hass: HomeAssistant, hass_storage: dict[str, Any], bms: VirtualBms
) -> Iterator[House]:
    """Put made-up readings in place of those of the client."""
    house = House(hass, hass_storage, bms)
    with patch.object(JkBmsClient, "read", house.read):
        yield house


async def test_energy_is_counted_between_readings(house: House) -> None:
    """Each direction is counted by itself, from the first reading on."""
    house.expect(1000, 3600)
    await house.set_up()
    assert house.energies == ("0.0", "0.0")
    await house.publish_and_save(1060, 3600)
    assert house.energies == ("0.06", "0.0")
    await house.publish_and_save(1120, -3600)
    assert house.energies == ("0.09", "0.03")
    await house.publish_and_save(1180, -3600)
    assert house.energies == ("0.09", "0.09")


async def test_energy_of_long_gaps_is_not_counted(house: House) -> None:
    """Three intervals are bridged, more are not; nor is a missing value."""
    house.expect(1000, 3600)
    await house.set_up()
    await house.publish_and_save(1090, 3600)
    assert house.shown(CHARGED) == "0.09"
    await house.publish_and_save(1180.1, 3600)
    assert house.shown(CHARGED) == "0.09"
    await house.publish_and_save(1210, None)
    await house.publish_and_save(1240, 3600)
    await house.publish_and_save(1300, 3600)
    assert house.shown(CHARGED) == "0.15"


async def test_energy_state_is_written_after_the_save(
    house: House, hass_storage: dict[str, Any]
) -> None:
    """Saved once a minute while counting; the state never is ahead of what is saved."""
    house.expect(1020, 3600)
    await house.set_up()
    key = f"jk_bms.energy.{house.entry.entry_id}"
    house.publish(1050, 3600)
    assert (house.shown(CHARGED), key in hass_storage) == ("0.0", False)
    await pass_time(house.hass, timedelta(seconds=0.1))
    assert house.shown(CHARGED) == "0.03"
    assert hass_storage[key]["data"]["energy_charged"] == pytest.approx(0.03)

    house.publish(1080, 3600)
    await pass_time(house.hass, timedelta(seconds=50))
    assert house.shown(CHARGED) == "0.03"
    await pass_time(house.hass, timedelta(seconds=61))
    assert house.shown(CHARGED) == "0.06"

    house.publish(1110, 3600)
    house.miss()
    assert house.energies == (STATE_UNAVAILABLE, STATE_UNAVAILABLE)
    house.publish(1110.5, 3600)
    assert house.shown(CHARGED) == "0.06"


async def test_failed_save_shows_nothing_and_is_tried_again(
    house: House, hass_storage: dict[str, Any]
) -> None:
    """Also of a battery that is idle since; a crash before that lowers no counter."""
    house.expect(1000, 3600)
    await house.set_up()
    await house.publish_and_save(1060, 3600)
    key = f"jk_bms.energy.{house.entry.entry_id}"
    saved = hass_storage[key]["data"]

    with full_disk():
        await house.publish_and_save(1120, 0)
        assert house.shown(CHARGED) == "0.06"
        await pass_time(house.hass, timedelta(seconds=61))
        assert house.shown(CHARGED) == "0.06"
        assert hass_storage[key]["data"] == saved
    await pass_time(house.hass, timedelta(seconds=61))
    assert house.shown(CHARGED) == "0.09"
    await house.crash(10, 0)
    assert house.shown(CHARGED) == "0.09"


async def test_error_while_counting_stops_no_save(house: House) -> None:
    """Neither that of a client nor that of another listener."""
    house.expect(1000, 3600)
    await house.set_up()
    with patch.object(JkBmsClient, "count_frames", side_effect=RuntimeError):
        await house.reload(1030, 3600)
        house.publish(1060, 3600)
        await pass_time(house.hass, timedelta(seconds=61))
    assert house.shown(CHARGED) == "0.06"


async def test_idle_battery_writes_no_state(house: House) -> None:
    """A total that stays the same is neither saved nor written."""
    house.expect(1020, 0)
    await house.set_up()
    state = house.hass.states.get(CHARGED)
    for time in range(1050, 3000, 30):
        await house.publish_and_save(time, 0)
    idle = house.hass.states.get(CHARGED)
    assert idle
    assert state
    assert idle.last_reported == state.last_reported


async def test_what_is_valid_is_counted(hass: HomeAssistant, house: House) -> None:
    """At the shortest interval, values are valid for a minute, and so counted."""
    house.expect(1000, 3600)
    house.entry = await setup_integration(hass, house.bms, interval=5)
    await house.publish_and_save(1018, 3600)
    assert house.shown(CHARGED) == "0.018"
    await house.publish_and_save(1078, 3600)
    assert house.shown(CHARGED) == "0.078"
    await house.publish_and_save(1138.1, 3600)
    assert house.shown(CHARGED) == "0.078"


async def test_counter_starts_at_its_last_state_after_a_crash(house: House) -> None:
    """A lower total would be a new meter to the statistics; at most a minute is lost."""
    house.expect(1000, 3600)
    await house.set_up()
    await house.publish_and_save(1060, 3600)
    house.publish(1090, 3600)
    assert house.shown(CHARGED) == "0.06"
    await house.crash(10, 3600)
    assert house.shown(CHARGED) == "0.06"
    await house.publish_and_save(40, 3600)
    assert house.shown(CHARGED) == "0.09"


async def test_counter_survives_weeks_away(
    hass: HomeAssistant, house: House, hass_storage: dict[str, Any]
) -> None:
    """Home Assistant forgets the states of entities that nothing claims for a week."""
    house.expect(1000, 3600)
    await house.set_up()
    await house.publish_and_save(1060, 3600)
    await hass.config_entries.async_unload(house.entry.entry_id)
    hass.data[_STORES].clear()
    hass_storage.pop(STORAGE_KEY, None)
    await house._start(10, 3600)
    assert house.energies == ("0.06", "0.0")


async def test_counter_of_the_version_before_is_saved_at_once(
    hass: HomeAssistant, hass_storage: dict[str, Any], house: House
) -> None:
    """That version had no store; a crash right after the update loses nothing."""
    extra = {"owner": house.bms.address, "total": 12.3456}
    await store_extra_data(hass, hass_storage, State(CHARGED, "12.3"), extra)
    house.expect(1000, 0)
    await house.set_up()
    hass_storage.pop(STORAGE_KEY)
    await house.crash(10, 0)
    assert house.energies == ("12.346", "0.0")


@pytest.mark.parametrize("damage", [None, "total", {"energy_charged": "1"}])
async def test_damaged_store_is_ignored(
    house: House, hass_storage: dict[str, Any], damage: Any
) -> None:
    """The copy in the states of Home Assistant takes its place."""
    house.expect(1000, 3600)
    await house.set_up()
    await house.publish_and_save(1060, 3600)
    await dump_extra_data(house.hass, hass_storage)
    hass_storage[f"jk_bms.energy.{house.entry.entry_id}"]["data"] = damage
    await house.crash(10, 3600)
    assert house.energies == ("0.06", "0.0")


@pytest.mark.parametrize("is_loaded", [True, False])
async def test_removed_battery_leaves_no_store(
    hass: HomeAssistant, house: House, hass_storage: dict[str, Any], is_loaded: bool
) -> None:
    """Added again, it starts at 0."""
    house.expect(1000, 3600)
    await house.set_up()
    house.publish(1060, 3600)
    if not is_loaded:
        await house.save()
        assert await hass.config_entries.async_unload(house.entry.entry_id)
        hass.data[_STORES].clear()
    await hass.config_entries.async_remove(house.entry.entry_id)
    await hass.async_block_till_done()
    assert not [key for key in hass_storage if key.startswith("jk_bms.energy")]


async def test_frames_between_two_publishes_are_counted(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """On a held link, a load that no published reading shows."""
    bms.battery.override(current=0.0)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, link="held", interval=30)
    await until_held(bms, entry)
    published = entry.runtime_data.data

    bms.battery.override(current=-200.0)
    meter = EnergyStore.async_get(hass, entry.entry_id).meter("energy_discharged", -1)
    await until(lambda: meter.total > 0.0002)
    assert entry.runtime_data.data is published
    assert published.cell_data.battery_current == 0


@pytest.mark.parametrize("waiting", range(1, 5))
@pytest.mark.parametrize("end", ["crash", "unload"])
async def test_a_save_covers_every_frame_that_has_arrived(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, waiting: int, end: str
) -> None:
    """Also those of a held link that are not counted yet, a few at a time."""
    bms.battery.override(current=-200.0)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, link="held", interval=30)
    await until_held(bms, entry)
    client, live = entry.runtime_data.client, entry.runtime_data.live
    store = EnergyStore.async_get(hass, entry.entry_id)
    meter = store.meter("energy_discharged", -1)
    samples: list[LiveSample] = []
    live.add_listener(samples.append)
    await until(lambda: samples)
    begin, begun = samples[-1], meter.total
    arrived = client.statistics.good + waiting
    await until(lambda: client.statistics.good == arrived)

    if end == "crash":
        await store.async_save()
        client.count_frames()
    else:
        assert await hass.config_entries.async_unload(entry.entry_id)

    truth = EnergyMeter(-1, begun)
    for sample in samples[samples.index(begin) :]:
        truth.feed(sample.time, sample.power, max_gap=inf)
    assert truth.total > begun
    assert store.saved["energy_discharged"] == pytest.approx(truth.total, rel=1e-9)


async def test_frames_of_zeros_cost_no_energy(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """Such frames are rejected as a whole, so energy is counted across them."""
    bms.battery.override(current=-200.0)
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms, link="held", interval=30)
    await until_held(bms, entry)
    coordinator = entry.runtime_data
    samples: list[LiveSample] = []
    coordinator.live.add_listener(samples.append)
    meter = EnergyStore.async_get(hass, entry.entry_id).meter("energy_discharged", -1)
    await until(lambda: samples)
    begin = meter.total

    good = coordinator.client.statistics.good
    bms.faults = Faults(zeros=True)
    await until(lambda: coordinator.client.statistics.good >= good + 6)
    bms.faults = Faults()
    count = len(samples)
    await until(lambda: len(samples) > count + 1)

    duration = samples[-1].time - samples[0].time
    true = -(samples[0].power or 0.0) * duration / 3.6e6
    assert meter.total - begin == pytest.approx(true, rel=0.01)


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
async def test_averages_cover_the_time_between_readings(house: House) -> None:
    """On a released link, of the two readings at its ends; after a gap, of the last."""
    current, power = (
        "sensor.house_24v_average_current",
        "sensor.house_24v_average_power",
    )
    house.expect(1000, 1000)
    await house.set_up()
    assert (house.shown(current), house.shown(power)) == ("20.0", "1000")
    await house.publish_and_save(1030, -500)
    assert (house.shown(current), house.shown(power)) == ("5.0", "250.0")
    await house.publish_and_save(2000, -100)
    assert (house.shown(current), house.shown(power)) == ("-2.0", "-100")
    await house.publish_and_save(2030, None)
    assert house.shown(power) == STATE_UNKNOWN


@pytest.mark.parametrize("link", ["released", "held"])
async def test_a_year_is_counted_and_never_goes_down(
    house: House,
    entity_registry: er.EntityRegistry,
    freezer: FrozenDateTimeFactory,
    link: str,
) -> None:
    """Outages, crashes at any moment, restarts, clocks, weeks away: within 0.5 %.

    Held with any load, released with one that changes slowly.
    """
    random = Random(11)
    day = 86_400.0

    def slow(time: float) -> float:
        return 2500 * sin(2 * pi * time / day) + 400 * sin(2 * pi * time / 3000)

    def switched(time: float) -> float:
        return slow(time) + (10_000 if time % 30 < 15 else -10_000)

    power, samples, pause, to_save = {
        "released": (slow, 60, (45.0, 90.0), 0.5),
        "held": (switched, 400, (0.5, 0.56), 0.01),
    }[link]

    def count(time: float, watts: float) -> None:
        if link == "released":
            house.publish(time, watts)
            return
        frame = LiveData(
            battery_voltage=50.0,
            battery_current=watts / 50,
            reported_power=abs(watts),
        )
        for sample in checker.accept(frame, house.begin + time):
            house.coordinator.live.feed(sample)

    house.expect(1.0, power(0))
    await house.set_up()
    for entity in er.async_entries_for_config_entry(
        entity_registry, house.entry.entry_id
    ):
        if entity.entity_id not in {CHARGED, DISCHARGED}:
            entity_registry.async_update_entity(
                entity.entity_id, disabled_by=er.RegistryEntryDisabler.USER
            )
    await house.restart(1.0, power(0))
    now, clock, highest = 0.0, -1.0, [0.0, 0.0]
    true, unsaved = [0.0, 0.0], [0.0, 0.0]
    for _ in range(26):
        event = random.choice(["crash", "restart", "outage", "clock"])
        if event == "crash":
            true = [all_ - lost for all_, lost in zip(true, unsaved, strict=True)]
        unsaved = [0.0, 0.0]
        now += random.uniform(1, 25) * day
        if event in {"crash", "restart"}:
            clock = now - random.uniform(5, 100)
            await getattr(house, event)(now - clock, power(now))
        else:
            if event == "clock":
                freezer.move_to(
                    dt_util.utcnow() + timedelta(hours=random.choice([1, -1, -30]))
                )
            house.miss()
            await house.publish_and_save(now - clock, power(now))
        checker = LiveChecker(house.next)
        for _ in range(samples):
            before, now = now, now + random.uniform(*pause)
            count(now - clock, power(now))
            for part in range(8):
                middle = before + (part + 0.5) * (now - before) / 8
                kwh = power(middle) * (now - before) / 8 / 3.6e6
                true[kwh < 0] += abs(kwh)
                unsaved[kwh < 0] += abs(kwh)
            if random.random() < to_save:
                await house.save()
                unsaved = [0.0, 0.0]
            shown = [float(state) for state in house.energies]
            assert all(new >= old for new, old in zip(shown, highest, strict=True))
            highest = shown
    await house.save()
    highest = [float(state) for state in house.energies]
    assert highest == pytest.approx(true, rel=0.005)


async def test_counter_continues_after_reload(house: House) -> None:
    """What had been counted before the reload is kept."""
    house.expect(1000, 3600)
    await house.set_up()
    await house.publish_and_save(1030.0001, 3600)
    await house.reload(1060, 3600)
    assert house.energies == ("0.06", "0.0")
    await house.reload(1180, 3600)
    assert house.energies == ("0.06", "0.0")
    await house.publish_and_save(1240, 3600)
    assert house.energies == ("0.12", "0.0")


@pytest.mark.parametrize("time", [10, 1000, 1031, 1e6])
async def test_counter_continues_after_restart(house: House, time: float) -> None:
    """A total goes on to the last digit, whatever clock the machine has then."""
    house.expect(1000, 3600)
    await house.set_up()
    await house.publish_and_save(1030.4999, 3600)
    for _ in range(3):
        await house.restart(time, 3600)
        assert house.energies == ("0.03", "0.0")
    await house.publish_and_save(time + 60.0002, 3600)
    assert house.energies == ("0.091", "0.0")


async def test_stop_stores_the_exact_total(
    hass: HomeAssistant, house: House, hass_storage: dict[str, Any]
) -> None:
    """What is saved when Home Assistant stops is what was counted."""
    house.expect(1020, -3600)
    await house.set_up()
    house.publish(1050.4999, -3600)
    hass.set_state(CoreState.stopping)
    await house.save()
    assert house.shown(DISCHARGED) == "0.0"
    hass.set_state(CoreState.final_write)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_FINAL_WRITE)
    await hass.async_block_till_done()
    assert hass_storage[f"jk_bms.energy.{house.entry.entry_id}"]["data"] == {
        "energy_charged": 0.0,
        "energy_discharged": pytest.approx(0.0304999),
    }


@pytest.mark.parametrize(
    ("extra", "shown"),
    [
        ({"total": 12.3456}, "12.346"),
        ({"total": 0.0}, "0.0"),
        ({}, "0.0"),
        ({"total": None}, "0.0"),
        ({"total": "12.3456"}, "0.0"),
        ({"total": True}, "0.0"),
        ({"total": -1.0}, "0.0"),
        ({"total": float("nan")}, "0.0"),
        ({"total": float("inf")}, "0.0"),
        ({"total": {"total": 1.0}}, "0.0"),
        ({"total": 12.3456, "owner": "another battery"}, "0.0"),
        ([1.0], "0.0"),
        ("total", "0.0"),
        (None, "0.0"),
    ],
)
async def test_damaged_stored_total_is_ignored(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    house: House,
    caplog: pytest.LogCaptureFixture,
    extra: Any,
    shown: str,
) -> None:
    """Damaged data, and those of another battery, are no reason to fail."""
    if isinstance(extra, dict):
        extra = {"owner": house.bms.address} | extra
    await store_extra_data(hass, hass_storage, State(CHARGED, "9.9"), extra)
    house.expect(1000, 3600)
    await house.set_up()
    assert house.energies == (shown, "0.0")
    await house.publish_and_save(1060, 3600)
    assert float(house.shown(CHARGED)) == pytest.approx(float(shown) + 0.06)
    assert "Traceback" not in caplog.text


async def test_counter_continues_after_the_entity_was_disabled(
    hass: HomeAssistant, house: House, entity_registry: er.EntityRegistry
) -> None:
    """What flows while the counter is off is not counted, the rest is kept."""
    house.expect(1000, 3600)
    await house.set_up()
    await house.publish_and_save(1060, 3600)
    entity_registry.async_update_entity(
        CHARGED, disabled_by=er.RegistryEntryDisabler.USER
    )
    await hass.async_block_till_done()
    assert hass.states.get(CHARGED) is None
    await house.publish_and_save(1120, 3600)
    await house.restart(10, 3600)
    await house.publish_and_save(70, 3600)
    assert hass.states.get(CHARGED) is None
    entity_registry.async_update_entity(CHARGED, disabled_by=None)
    await house.reload(130, 3600)
    assert house.energies == ("0.06", "0.0")
    await house.publish_and_save(190, 3600)
    assert house.energies == ("0.12", "0.0")


async def test_counter_continues_after_the_entry_was_disabled(
    hass: HomeAssistant, house: House
) -> None:
    """The same holds for the whole battery."""
    house.expect(1000, 3600)
    await house.set_up()
    await house.publish_and_save(1060, 3600)
    entry_id = house.entry.entry_id
    await hass.config_entries.async_set_disabled_by(entry_id, ConfigEntryDisabler.USER)
    house.expect(5000, 3600)
    await hass.config_entries.async_set_disabled_by(entry_id, None)
    await hass.async_block_till_done()
    assert house.energies == ("0.06", "0.0")


async def test_counter_continues_under_a_new_entity_id(
    hass: HomeAssistant, house: House, entity_registry: er.EntityRegistry
) -> None:
    """A counter goes on under another id, and back under the old one."""
    house.expect(1000, 3600)
    await house.set_up()
    await house.publish_and_save(1060, 3600)
    new_id = "sensor.into_the_battery"
    entity_registry.async_update_entity(CHARGED, new_entity_id=new_id)
    await hass.async_block_till_done()
    assert house.shown(new_id) == "0.06"
    await house.publish_and_save(1120, 3600)
    assert house.shown(new_id) == "0.12"
    await house.restart(10, 3600)
    assert house.shown(new_id) == "0.12"
    await house.publish_and_save(70, 3600)
    # What was stored under the old id is older by now.
    entity_registry.async_update_entity(new_id, new_entity_id=CHARGED)
    await hass.async_block_till_done()
    assert house.shown(CHARGED) == "0.18"
    await house.publish_and_save(130, 3600)
    assert house.shown(CHARGED) == "0.24"


@pytest.mark.parametrize(
    "model", [name for name in MODELS if "B2A16S 3" in name or "DZ11" in name]
)
async def test_device_without_power_has_no_energy_sensors(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """Balancers have nothing to count."""
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    assert hass.states.async_entity_ids("sensor")
    assert not [
        entity_id
        for entity_id in er.async_get(hass).entities
        if "energy" in entity_id or "time_to" in entity_id
    ]


async def test_energy_uses_the_time_of_the_reading(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """Readings of the real client carry the time of the event loop."""
    proxy.advertise(bms)
    begin = hass.loop.time()
    entry = await setup_integration(hass, bms)
    first = entry.runtime_data.data.time
    await pass_time(hass)
    assert begin < first < entry.runtime_data.data.time < hass.loop.time()


@pytest.mark.timeout(300)
async def test_a_week_of_readings_is_counted_exactly(
    house: House,
    entity_registry: er.EntityRegistry,
    freezer: FrozenDateTimeFactory,
) -> None:
    """Energy is complete across changes of the clock, restarts and lost batteries.

    A week of readings takes long: its first days have some interruptions of every kind.
    """
    random = Random(1)
    power = power_of_a_week(random)
    readings = list(readings_of_a_week(random, power))
    if not THOROUGH:
        del readings[4600:]
    kinds = {reading.after for reading in readings}
    assert kinds == {None, "outage", "reload", "restart", "reboot"}
    house.expect(1.0, readings[0].power)
    await house.set_up()
    # What is not looked at here would only take time.
    for entity in er.async_entries_for_config_entry(
        entity_registry, house.entry.entry_id
    ):
        if entity.entity_id not in {CHARGED, DISCHARGED}:
            entity_registry.async_update_entity(
                entity.entity_id, disabled_by=er.RegistryEntryDisabler.USER
            )
    clock = readings[0].time - 1.0
    steps: dict[str, Callable[[float, float], Any]] = {
        "reload": house.reload,
        "restart": house.restart,
        "reboot": house.restart,
    }
    highest = [0.0, 0.0]
    for number, reading in enumerate(readings[1:]):
        if number % 1500 == 0:
            # Summer time, a wrong time from the router, and the right one again.
            hours = random.choice([1, -1, 7.3, -30])
            freezer.move_to(dt_util.utcnow() + timedelta(hours=hours))
        if reading.after == "reboot":
            clock = reading.time - random.uniform(5, 100)
        moment = reading.time - clock
        if reading.after in steps:
            await steps[reading.after](moment, reading.power)
        else:
            if reading.after == "outage":
                house.miss()
            await house.publish_and_save(moment, reading.power)
        shown = [float(state) for state in house.energies]
        assert all(now >= before for now, before in zip(shown, highest, strict=True))
        highest = shown
    for sign, kwh in zip((1, -1), highest, strict=True):
        true = true_energy(readings, Truth(power, sign))
        # What is lost around each interruption weighs more in a few days than in a week
        assert kwh == pytest.approx(true, rel=0.005 if THOROUGH else 0.015)


@pytest.mark.usefixtures("entity_registry_enabled_by_default")
async def test_time_left_uses_the_smoothed_current(house: House) -> None:
    """The time is shown for the direction in which the charge moves."""
    house.expect(1000, 0)
    await house.set_up()
    assert house.shown(TO_EMPTY) == house.shown(TO_FULL) == STATE_UNKNOWN

    await house.publish_and_save(2000, -50 * 28)
    assert float(house.shown(TO_EMPTY)) == pytest.approx(5)
    assert house.shown(TO_FULL) == STATE_UNKNOWN

    # A load that comes for a moment does not turn everything over.
    await house.publish_and_save(2060, 50 * 28)
    assert 5 < float(house.shown(TO_EMPTY)) < 9

    await house.publish_and_save(3000, 50 * 14, remain_capacity=210.0)
    assert house.shown(TO_EMPTY) == STATE_UNKNOWN
    assert float(house.shown(TO_FULL)) == pytest.approx(5)

    await house.publish_and_save(4000, None)
    assert house.shown(TO_EMPTY) == house.shown(TO_FULL) == STATE_UNKNOWN

    await house.publish_and_save(5000, 50 * 14, nominal_capacity=None)
    assert house.shown(TO_FULL) == STATE_UNKNOWN

    await house.publish_and_save(6000, 50 * 14, remain_capacity=None)
    assert house.shown(TO_FULL) == STATE_UNKNOWN

    house.miss()
    assert house.shown(TO_EMPTY) == house.shown(TO_FULL) == STATE_UNAVAILABLE
