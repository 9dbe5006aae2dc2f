"""A Home Assistant that is killed again and again: `python -m tests.bench.crash '{…}'`.

It prints the result as JSON. Each life is a process of its own, forked from one that has
imported everything; folder, database and stored counters are on the disk.
"""

# The clock first: other modules keep a reference to the time function.
from .clock import EPOCH, BenchLoop, now, set_time  # isort: skip

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import pairwise
import json
import os
from pathlib import Path
from random import Random
from signal import SIGKILL
import sqlite3
import sys
from tempfile import TemporaryDirectory
import time
import traceback
from typing import Any, Final
from unittest.mock import patch

from custom_components.jk_bms.energy_store import SAVE_INTERVAL, EnergyStore
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.storage import Store
from tests.demo.home import DOMAIN
from tests.virtual_bms.scanner import VirtualProxy

from .home import async_add, async_switch_on, home_in, make_batteries
from .truth import CountedBms, TrueEnergy

INTERVAL: Final = 30.0
MAX_GAP: Final = 3 * INTERVAL
"""s between two samples that are counted."""
LINKS: Final = ("held", "released")
COUNTERS: Final = ("energy_charged", "energy_discharged")
STORED: Final = f"{DOMAIN}.energy."
"""How the names of the stored counters begin."""
COMMIT: Final = 6.0
"""s that a save takes here, in which the recorder commits what was shown before."""
ROUNDING: Final = 0.001
"""kWh that a state may be off: it has three decimals."""
STATISTICS: Final = 310.0
"""s of the last life, in which the recorder compiles them at least once."""
STATES: Final = """
    SELECT states_meta.entity_id, state FROM states
    JOIN states_meta ON states.metadata_id = states_meta.metadata_id
    WHERE states_meta.entity_id LIKE 'sensor.%energy_%charged' ORDER BY state_id
"""
SUMS: Final = """
    SELECT statistic_id, state, sum FROM statistics_short_term
    JOIN statistics_meta ON metadata_id = statistics_meta.id
    WHERE statistic_id LIKE 'sensor.%energy_%charged' ORDER BY start_ts
"""
AWAY: Final = 8 * 86_400.0
"""s; Home Assistant forgets states that nothing claims for a week."""


class Moment(StrEnum):
    """When a life ends."""

    MINUTE = "in the middle of a minute"
    SAVING = "before a save"
    WRITING = "while the file is written"
    SAVED = "between save and state"
    SHOWN = "after the state"
    STOP = "stopped"
    AWAY = "stopped after a week without a battery in range"


@dataclass(frozen=True, kw_only=True)
class Crashes:
    """Parameters."""

    rounds: int = 1
    """How often each `Moment` has its turn, between a first and a last life."""
    minutes: float = 4.0
    """Of a life, at most."""
    seed: int = 0


@dataclass(kw_only=True)
class Result:
    """What was found."""

    lives: int = 0
    lower: list[str] = field(default_factory=list)
    """Counters that started below their last recorded state, or went down."""
    lost: list[str] = field(default_factory=list)
    """Counters that lost more than a minute."""
    resets: list[str] = field(default_factory=list)
    """Statistics that do not add up to what the states have gained."""
    counted: float = 0.0
    """kWh on the held link."""
    true: float = 0.0
    """kWh of that battery in the time that was counted."""


@dataclass(frozen=True, kw_only=True)
class Life:
    """One start of Home Assistant, and how it ends."""

    folder: Path
    moment: Moment
    is_first: bool
    begin: float
    """Unix s."""
    seconds: float


@dataclass(kw_only=True)
class Note:
    """What a life leaves beside its folder, by entity id."""

    started: dict[str, float] = field(default_factory=dict)
    """First state, kWh."""
    totals: dict[str, float] = field(default_factory=dict)
    """kWh at the end."""
    minute: dict[str, float] = field(default_factory=dict)
    """kWh that a crash may lose."""
    counted: float = 0.0
    true: float = 0.0
    end: float = 0.0
    """Unix s."""


class Watch:
    """Follows the counters of one life, and kills it at its moment."""

    def __init__(
        self, hass: HomeAssistant, life: Life, batteries: list[CountedBms]
    ) -> None:
        """Begin with what the life before has left."""
        self.is_armed = False
        self._hass = hass
        self._life = life
        self._batteries = batteries
        self._entries: list[ConfigEntry] = sorted(
            hass.config_entries.async_entries(DOMAIN), key=lambda each: each.title
        )
        self._ids = {
            (entry.entry_id, entity.translation_key): entity.entity_id
            for entry in self._entries
            for entity in er.async_entries_for_config_entry(
                er.async_get(hass), entry.entry_id
            )
            if entity.translation_key in COUNTERS
        }
        self._note = Note()
        self._truth = TrueEnergy(batteries[0], MAX_GAP)
        self._begun = self._totals()
        held = self._entries[0].runtime_data
        held.live.add_listener(self._truth.feed)
        for entity_id in self._ids.values():
            self._see(hass.states.get(entity_id))
        hass.bus.async_listen(EVENT_STATE_CHANGED, self._see_event)

    def leave_note(self) -> None:
        """Write down how far it has come."""
        note, held = self._note, self._entries[0].entry_id
        note.totals = self._totals()
        for bms, entry, link in zip(self._batteries, self._entries, LINKS, strict=True):
            # A reading brings the energy since the one before
            lost = SAVE_INTERVAL + COMMIT + (1.0 if link == "held" else INTERVAL)
            energies = bms.energy(now() - lost, now()) if bms.has_begun else (0.0, 0.0)
            for key, energy in zip(COUNTERS, energies, strict=True):
                note.minute[self._ids[entry.entry_id, key]] = energy
        gained = {each: note.totals[each] - self._begun[each] for each in note.totals}
        note.counted = sum(gained[self._ids[held, key]] for key in COUNTERS)
        note.true = self._truth.charged + self._truth.discharged
        note.end = time.time()
        _note_path(self._life.folder).write_text(json.dumps(asdict(note)))

    def kill(self) -> None:
        """End as in a power failure."""
        self.leave_note()
        os.kill(os.getpid(), SIGKILL)

    def set_traps(self) -> None:
        """Kill at a moment of the next save, once armed."""
        save, moment = Store.async_save, self._life.moment

        async def save_or_kill(store: Store[Any], data: Any) -> None:
            if not (self.is_armed and store.key.startswith(STORED)):
                await save(store, data)
                return
            # What is shown is in the database before the worst happens
            await asyncio.sleep(COMMIT)
            if moment is Moment.SAVING:
                self.kill()
            await save(store, data)
            if moment is Moment.SAVED:
                self.kill()
            if moment is Moment.SHOWN:
                asyncio.get_running_loop().call_later(COMMIT, self.kill)

        def replace_or_kill(written: str, path: str) -> None:
            is_ours = Path(path).name.startswith(STORED)
            if self.is_armed and is_ours and moment is Moment.WRITING:
                self.kill()
            Path(written).replace(path)

        patch.object(Store, "async_save", save_or_kill).start()
        # What the atomic writes of a store end with
        patch("atomicwrites.replace_atomic", replace_or_kill).start()

    def _totals(self) -> dict[str, float]:
        return {
            entity_id: EnergyStore.async_get(self._hass, entry_id)._meters[key].total
            for (entry_id, key), entity_id in self._ids.items()
        }

    @callback
    def _see_event(self, event: Event[Any]) -> None:
        if event.data["entity_id"] in self._ids.values():
            self._see(event.data["new_state"])

    def _see(self, state: Any) -> None:
        if state and (number := _number(state.state)) is not None:
            self._note.started.setdefault(state.entity_id, number)


def _number(state: str) -> float | None:
    return float(state) if state[:1].isdigit() else None


def _note_path(folder: Path) -> Path:
    return folder / "note.json"


async def live(life: Life) -> None:
    """Run one life; it returns if it is not killed."""
    set_time(life.begin)
    batteries = make_batteries(len(LINKS), CountedBms)
    proxy: VirtualProxy | None = None
    async with home_in(life.folder) as hass:
        if life.moment is not Moment.AWAY:
            proxy = VirtualProxy("02:00:00:00:00:01", "Proxy")
            proxy.start()
            for bms in batteries:
                proxy.place(bms)
            proxy.start_advertising()
        if life.is_first:
            for bms, link in zip(batteries, LINKS, strict=True):
                entries = await async_add(hass, [bms], link=link)
                await async_switch_on(hass, entries)
        watch = Watch(hass, life, batteries)
        watch.set_traps()
        await asyncio.sleep(life.seconds)
        match life.moment:
            case Moment.MINUTE:
                watch.kill()
            case Moment.STOP | Moment.AWAY:
                set_time(time.time() + (AWAY if life.moment is Moment.AWAY else 0))
                await asyncio.sleep(INTERVAL)
                watch.leave_note()
            case _:
                watch.is_armed = True
                await asyncio.sleep(3 * SAVE_INTERVAL)
                raise RuntimeError(f"It was not killed {life.moment}")
        if proxy:
            proxy.stop()


def run(crashes: Crashes) -> Result:
    """Run all lives and report what they did to the counters."""
    result = Result()
    with TemporaryDirectory(prefix="crash-") as name:
        folder = Path(name)
        before, recorded = Note(), dict[str, list[float]]()
        for life in _lives(crashes, folder):
            _run_in_fork(life)
            note = _note(folder)
            result.lives += 1
            result.counted += note.counted
            result.true += note.true
            for entity_id, started in note.started.items() if recorded else ():
                where = f"{entity_id}, life {result.lives} ({life.moment})"
                if started < (last := recorded[entity_id][-1]):
                    result.lower.append(f"{where}: {started} after {last}")
                lost = before.totals[entity_id] - started
                if lost > before.minute[entity_id] + ROUNDING:
                    result.lost.append(f"{where}: {lost:.4f} kWh")
            before, recorded = note, _recorded(folder)
        _check_history(folder, result)
    return result


def _lives(crashes: Crashes, folder: Path) -> Iterator[Life]:
    """Yield the lives, each some time after the end of the one before."""
    random = Random(crashes.seed)
    moments = [Moment.WRITING]
    for _ in range(crashes.rounds):
        moments += random.sample(list(Moment), len(Moment))
    moments.append(Moment.STOP)
    begin, last = EPOCH, len(moments) - 1
    for number, moment in enumerate(moments):
        minutes = random.uniform(1.1, crashes.minutes)
        yield Life(
            folder=folder,
            moment=moment,
            is_first=number == 0,
            begin=begin,
            seconds=STATISTICS if number == last else 60 * minutes,
        )
        begin = _note(folder).end + random.uniform(5, 300)


def _run_in_fork(life: Life) -> None:
    """Run it in a process that can be killed; raises if it fails otherwise."""
    if not (child := os.fork()):
        try:
            with asyncio.Runner(loop_factory=BenchLoop) as runner:
                runner.run(live(life))
        except BaseException:  # noqa: BLE001 - the process ends here
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) not in (0, -SIGKILL):
        raise RuntimeError(f"A life failed that was to end {life.moment}")


def _note(folder: Path) -> Note:
    return Note(**json.loads(_note_path(folder).read_text()))


def _query(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "home-assistant_v2.db")) as database:
        return database.execute(query).fetchall()


def _recorded(folder: Path) -> dict[str, list[float]]:
    """Return the recorded states of each counter in kWh, in order."""
    states: dict[str, list[float]] = defaultdict(list)
    for entity_id, state in _query(folder, STATES):
        if (number := _number(state)) is not None:
            states[entity_id].append(number)
    return states


def _check_history(folder: Path, result: Result) -> None:
    """Report counters that go down, and statistics that take a crash for a reset."""
    for entity_id, states in _recorded(folder).items():
        result.lower += [
            f"{entity_id}: {after} after {before}"
            for before, after in pairwise(states)
            if after < before
        ]
    gained: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for entity_id, state, total in _query(folder, SUMS):
        gained[entity_id].append((state, total))
    for entity_id in gained.keys() | _recorded(folder).keys():
        (state, total), *_, (last_state, last_total) = gained[entity_id]
        if abs(off := (last_total - total) - (last_state - state)) > ROUNDING:
            result.resets.append(f"{entity_id}: {off:.4f} kWh too much")


if __name__ == "__main__":
    print(json.dumps(asdict(run(Crashes(**json.loads(sys.argv[1]))))))
