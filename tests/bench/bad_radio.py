"""A battery's day as real ones send it, and a radio that loses notifications and damages frames."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle
from math import inf
from random import Random
from typing import Final, Protocol

from custom_components.jk_bms.jkbms.errors import FrameError, ImplausibleFrameError
from custom_components.jk_bms.jkbms.models import CellData, DeviceInfo, Settings
from custom_components.jk_bms.jkbms.protocol.confirmation import Confirmation
from custom_components.jk_bms.jkbms.protocol.consistency import ConsistencyChecker
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_device_info,
    decode_settings,
    lasting_content,
)
from custom_components.jk_bms.jkbms.protocol.frames import (
    Frame,
    FrameAssembler,
    FrameType,
)
from custom_components.jk_bms.jkbms.protocol.profile import Profile, choose_profile
from tests.virtual_bms import MODELS, Battery, Spec, State, frames
from tests.virtual_bms.chemistry import default_settings

CADENCE: Final = 0.53
"""s from one frame to the next (docs/protocol.md 2.5)."""
_LAGGING: Final = {
    "JK04": ((202, 210), (218, 220)),
    "JK02_24S": ((58, 64),),
    "JK02_32S": ((74, 80),),
}
"""Average, difference, highest, lowest: they may be of the frame before."""
_POWER: Final = {"JK02_24S": 122, "JK02_32S": 154}
CHUNKS: Final = {
    "20 bytes": (20,),
    "128+22 bytes": (128, 22),
    "150 bytes": (150,),
    "244 bytes": (244, 56),
}
"""How different radio modules cut a frame."""
SPECS: Final = {
    "32S": MODELS["JK_PB2A16S20P 15.41"],
    "24S": MODELS["JK-B2A24S15P 10.07"],
    "JK04": MODELS["JK-B2A16S 3.3.0"],
}
_DAMAGED_BYTES: Final = 8
"""At most, of a damaged frame."""


def day(
    spec: Spec, count: int, *, seed: int, rough: bool = True, hour: float = 5.0
) -> Iterator[bytes]:
    """Yield the frames of a battery's day, as rough as captures of real ones are.

    Loads are switched, an inverter ripples, cells and pack are not measured at the same
    instant, what is derived from them lags, and the power is of another moment.
    """
    rng = Random(f"{spec.address} {seed}")
    battery = Battery(spec, hour=hour, seed=seed)
    wires = [0.16 / spec.capacity * rng.uniform(0.8, 1.4) for _ in range(spec.cells)]
    loads = [amperes * spec.max_current / 100 for amperes in (2, 9, 35)]
    running: set[float] = set()
    before = b""
    for counter in range(count):
        state = battery.advance(CADENCE * (rng.uniform(0.97, 1.03) if rough else 1.0))
        if rough:
            for load in loads:
                if rng.random() < CADENCE / 60:
                    running ^= {load}
            state = _shaken(state, -sum(running), wires, rng)
        raw = bytearray(frames.cell_frame(spec, state, counter & 0xFF))
        if rough and before:
            _let_lag(raw, before, spec.layout, rng)
        yield (before := frames.seal(raw))


def _shaken(state: State, extra: float, wires: list[float], rng: Random) -> State:
    current = state.current + extra if state.current or state.soc else 0.0
    current = round(current * rng.gauss(1.0, 0.01), 3)
    change = current - state.current
    cells = tuple(
        round(volts + change * wire + rng.gauss(0.0, 0.0015), 3)
        for volts, wire in zip(state.cells, wires, strict=True)
    )
    voltage = round(sum(cells) + rng.gauss(0.0, 0.003), 3)
    power = round(abs(voltage * current), 3)
    return replace(state, cells=cells, voltage=voltage, current=current, power=power)


def _let_lag(raw: bytearray, before: bytes, layout: str, rng: Random) -> None:
    if rng.random() < 0.5:
        for start, end in _LAGGING[layout]:
            raw[start:end] = before[start:end]
    if layout in _POWER and rng.random() < 0.1:
        at = _POWER[layout]
        raw[at : at + 4] = before[at : at + 4]


def damaged(raw: bytes, rng: Random, *, count: int = 0, mend: bool = False) -> bytes:
    """Return a frame with 1 to 8 or `count` bytes exchanged; `mend` its checksum."""
    bad = bytearray(raw)
    for place in rng.sample(range(300), count or rng.randint(1, _DAMAGED_BYTES)):
        bad[place] ^= rng.randint(1, 255)
    return frames.seal(bad) if mend else bytes(bad)


@dataclass(slots=True)
class Outcome:
    """What came of a stream."""

    whole: int = 0
    """Frames all of whose notifications arrived undamaged: what the best assembler gets."""
    kept: int = 0
    """Of these, those that came out."""
    held: int = 0
    """Of these, those that had to wait for the next one."""
    unchecked: int = 0
    """Frames with wrong values that would have been believed without the checks."""
    wrong: int = 0
    """Frames with wrong values that were believed."""
    peer_kept: int = 0
    peer_wrong: int = 0


class Peer(Protocol):
    """Another assembler that gets the same notifications."""

    def feed(self, chunk: bytes, sent: bytes) -> bool | None:
        """Return whether he now believes what was sent or else; `None` if nothing new."""


class _Ours:
    """Assembler, decoder, checks."""

    def __init__(self, spec: Spec) -> None:
        self.profile = choose_profile(spec.model, spec.software)
        self._assembler = FrameAssembler()
        self.checker = ConsistencyChecker(self._assembler.statistics)
        self.confirmation = Confirmation(self._assembler.statistics)
        settings = default_settings(spec)
        for raw in (
            frames.info_frame(spec, settings, State(run_time=spec.run_time), 0),
            frames.settings_frame(spec, settings, 0),
        ):
            assert self.judge(Frame.parse(raw), -1.0)

    def feed(self, chunk: bytes, time: float) -> Iterator[tuple[Frame, bool | None]]:
        """Yield each frame and whether it is believed, `None` if it cannot be decoded."""
        for frame in self._assembler.feed(chunk):
            if self.checker.line_is_reliable():
                yield frame, self.judge(frame, time)

    def judge(self, frame: Frame, time: float) -> bool | None:
        said = decoded(frame, self.profile)
        if isinstance(said, CellData):
            return self.checker.accept(frame, said, self.profile, time)
        if said is None:
            return None
        return self.confirmation.accept(said, time, lasting_content(frame))


def decoded(frame: Frame, profile: Profile) -> CellData | Settings | DeviceInfo | None:
    """Return what a frame says if it is plausible, and what is read of each battery."""
    try:
        match frame.type:
            case FrameType.CELL_DATA:
                return decode_cell_data(frame, profile)
            case FrameType.SETTINGS:
                return decode_settings(frame, profile)
            case FrameType.DEVICE_INFO:
                return decode_device_info(frame)
    except ImplausibleFrameError:
        pass
    return None


def transmit(
    stream: Sequence[bytes],
    sizes: Sequence[int],
    *,
    lose: float = 0.0,
    damage: float = 0.0,
    seed: int = 0,
) -> Iterator[tuple[int, list[bytes], bool]]:
    """Yield number, notifications that arrive and whether that is all of it, by frame."""
    rng = Random(seed)
    for number, raw in enumerate(stream):
        sent, whole = raw, True
        if rng.random() < damage:
            sent, whole = damaged(raw, rng), False
        arrived, start, pattern = [], 0, cycle(sizes)
        while start < len(sent):
            size = next(pattern)
            if rng.random() < lose:
                whole = False
            else:
                arrived.append(sent[start : start + size])
            start += size
        yield number, arrived, whole


def campaign(
    spec: Spec,
    stream: Sequence[bytes],
    sizes: Sequence[int],
    *,
    lose: float = 0.0,
    damage: float = 0.0,
    seed: int = 0,
    peer: Peer | None = None,
) -> Outcome:
    """Send a stream through a bad radio, and judge what is made of it."""
    outcome, ours = Outcome(), _Ours(spec)
    for number, chunks, whole in transmit(
        stream, sizes, lose=lose, damage=damage, seed=seed
    ):
        outcome.whole += whole
        for chunk in chunks:
            for frame, believed in ours.feed(chunk, number * CADENCE):
                if frame.data == stream[number]:
                    outcome.kept += whole
                    outcome.held += believed is not True
                elif believed is not None and not _is_harmless(
                    frame, stream[number], ours.profile
                ):
                    outcome.unchecked += 1
                    outcome.wrong += believed
            match peer and peer.feed(chunk, stream[number]):
                case True:
                    outcome.peer_kept += whole
                case False:
                    outcome.peer_wrong += 1
    return outcome


def late_readings(
    spec: Spec, stream: Iterable[bytes], *, every: int, held: bool
) -> Iterator[bool]:
    """Yield of each reading of a good radio whether it had to wait for another frame.

    One is taken every so many frames, on a link that is held or made anew for each.
    """
    ours, waiting = _Ours(spec), 0
    for number, raw in enumerate(stream):
        frame, time = Frame.parse(raw), number * CADENCE
        if number % every == 0:
            waiting = 1
            if not held:
                ours.checker.begin_link()
        if not waiting:
            if held:
                ours.checker.note(frame, ours.profile, time)
        elif ours.judge(frame, time):
            yield waiting > 1
            waiting = 0
        else:
            waiting += 1


def _is_harmless(frame: Frame, sent: bytes, profile: Profile) -> bool:
    """Return whether a frame equals what was sent, except for bytes without a meaning."""
    return decoded(frame, profile) == decoded(Frame.parse(sent), profile)


@dataclass(slots=True)
class Stress:
    """What became of damaged frames whose checksum is right nevertheless."""

    tried: int = 0
    """Frames that would have shown a wrong value."""
    believed: int = 0
    gross: int = 0
    """Of the believed ones, those that are off by more than a battery's own noise."""
    fields: Counter[str] = field(default_factory=Counter)
    """Wrong values believed, by field."""


def stress(
    spec: Spec, stream: Sequence[bytes], count: int, *, seed: int, byte_count: int = 0
) -> Stress:
    """Offer damaged frames with a right checksum in the place of good ones.

    The checker forgets each of them, so that what it learns is from the good ones. 1 to 8
    bytes of a frame are exchanged, or `byte_count`.
    """
    rng, outcome, ours = Random(seed), Stress(), _Ours(spec)
    first = len(stream) // 5
    tries = -(-count // (len(stream) - first))
    for number, good in enumerate(stream):
        for _ in range(tries if number >= first else 0):
            bad = damaged(good, rng, count=byte_count, mend=True)
            _offer(bad, good, number * CADENCE, ours, outcome)
        ours.judge(Frame.parse(good), number * CADENCE)
    return outcome


def _offer(bad: bytes, good: bytes, time: float, ours: _Ours, outcome: Stress) -> None:
    try:
        frame = Frame.parse(bad)
    except FrameError:
        return
    if _is_harmless(frame, good, ours.profile):
        return
    outcome.tried += 1
    if not _believes(ours, frame, time):
        return
    outcome.believed += 1
    said, truth = (decoded(f, ours.profile) for f in (frame, Frame.parse(good)))
    assert said
    if type(said) is not type(truth):
        outcome.gross += 1
        return
    wrong = {
        name: off
        for name, value in asdict(said).items()
        if name not in _DERIVED and (off := _distance(value, getattr(truth, name)))
    }
    outcome.gross += any(off > _NOISE.get(name, 0.0) for name, off in wrong.items())
    outcome.fields.update(wrong.keys())


def _believes(ours: _Ours, frame: Frame, time: float) -> bool | None:
    kept = ours.checker, ours.confirmation
    shared = {id(ours.profile): ours.profile}
    ours.checker, ours.confirmation = deepcopy(kept, shared)
    try:
        return ours.judge(frame, time)
    finally:
        ours.checker, ours.confirmation = kept


_DERIVED: Final = frozenset(
    {
        "battery_power",
        "average_cell_voltage",
        "delta_cell_voltage",
        "min_cell_voltage",
        "max_cell_voltage",
        "min_cell",
        "max_cell",
    }
)
_NOISE: Final = {
    "cell_voltage": 0.005,
    "battery_voltage": 0.02,
    "battery_current": 0.25,
    "battery_temperature": 0.3,
    "mosfet_temperature": 0.3,
    "balance_current": 0.25,
    "balancer_charge_drive": 60,
    "balancer_discharge_drive": 60,
    "remain_capacity": 0.02,
    "cycle_capacity": 0.02,
    "up_time": 1,
    "clock": 1,
    "sleep_countdown": 1,
    "charge_phase_time": 1,
    "boot_time": 0.2,
    "charge_current_sensor": 0.02,
    "discharge_current_sensor": 0.02,
}
"""By how much these differ between two good frames in a row anyway."""


def _distance(one: object, other: object) -> float:
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return max(map(_distance, one, other), default=0.0)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other)
    return inf if one != other else 0.0
