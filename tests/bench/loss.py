"""What a bad radio costs: good frames lost, and wrong values believed, beside aiobmsble on the same notifications."""

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from itertools import batched, cycle
from random import Random
from struct import pack_into
from typing import Any, Final

from custom_components.jk_bms.jkbms.decode import choose_profile, decode_cell_data
from custom_components.jk_bms.jkbms.errors import FrameError, ImplausibleFrameError
from custom_components.jk_bms.jkbms.frames import Frame, FrameAssembler, FrameType
from custom_components.jk_bms.jkbms.guard import Guard
from custom_components.jk_bms.jkbms.layouts import Profile
from custom_components.jk_bms.jkbms.models import CellData
from tests.virtual_bms import MODELS, Battery, Spec, State, frames

from .figure import Figure, Options, at_least, at_most

CADENCE: Final = 0.53
"""s from one frame to the next (docs/protocol.md 2.5)."""
_WITNESSES: Final = {
    "JK04": ((202, 210), (218, 220)),
    "JK02_24S": ((58, 64),),
    "JK02_32S": ((74, 80),),
}
"""Average, difference, highest, lowest: they may be of the frame before."""
_POWER: Final = {"JK02_24S": 122, "JK02_32S": 154}
_CHUNKS: Final = {
    "20 bytes": (20,),
    "128+22": (128, 22),
    "150 bytes": (150,),
    "244 bytes": (244, 56),
}
_SPECS: Final = {
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
    loads = {amperes * spec.max_current / 100: False for amperes in (2, 9, 35)}
    before = b""
    for counter in range(count):
        state = battery.advance(CADENCE * (rng.uniform(0.97, 1.03) if rough else 1.0))
        if rough:
            for load in loads:
                if rng.random() < CADENCE / 60:
                    loads[load] = not loads[load]
            extra = -sum(load for load, on in loads.items() if on)
            state = _shaken(state, extra, wires, rng)
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
        for start, end in _WITNESSES[layout]:
            raw[start:end] = before[start:end]
    if layout in _POWER and rng.random() < 0.1:
        at = _POWER[layout]
        raw[at : at + 4] = before[at : at + 4]


def damaged(raw: bytes, rng: Random, *, count: int = 0, mend: bool = False) -> bytes:
    """Return a frame with some bytes exchanged, all of its checksum's as well to `mend`."""
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
    unguarded: int = 0
    """Frames with wrong values that would have been believed without the guard."""
    wrong: int = 0
    """Frames with wrong values that were believed."""
    peer_kept: int = 0
    peer_wrong: int = 0


class _Ours:
    """Assembler, decoder, guard."""

    def __init__(self, spec: Spec) -> None:
        self.profile = choose_profile(spec.model, spec.software)
        self.guard = Guard()
        self._assembler = FrameAssembler()

    def feed(self, chunk: bytes, time: float) -> Iterator[tuple[Frame, bool | None]]:
        """Yield each frame and whether it is believed, `None` if it cannot be decoded."""
        for frame in self._assembler.feed(chunk):
            if frame.type is FrameType.CELL_DATA:
                yield frame, self.judge(frame, time)

    def judge(self, frame: Frame, time: float) -> bool | None:
        if decoded(frame, self.profile) is None:
            return None
        return self.guard.admits(frame, self.profile.layout, time)


def decoded(frame: Frame, profile: Profile) -> CellData | None:
    """Return what a frame says if it is plausible."""
    try:
        return decode_cell_data(frame, profile)
    except ImplausibleFrameError:
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
    peer: Any = None,
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
                    outcome.unguarded += 1
                    outcome.wrong += believed
            if peer:
                _count_peer(peer.feed(chunk), stream[number], whole, outcome)
    return outcome


def _is_harmless(frame: Frame, sent: bytes, profile: Profile) -> bool:
    """Tell whether a frame says the same as what was sent, but for what nobody reads."""
    return decoded(frame, profile) == decoded(Frame.parse(sent), profile)


@dataclass(slots=True)
class Stress:
    """What became of damaged frames whose checksum is right nevertheless."""

    tried: int = 0
    """Frames that would have shown a wrong value."""
    stopped: int = 0
    believed: int = 0
    gross: int = 0
    """Of the believed ones, those that are off by more than noise."""
    fields: Counter[str] = field(default_factory=Counter)
    """Wrong values believed, by field."""


def stress(
    spec: Spec, stream: Sequence[bytes], count: int, *, seed: int, byte_count: int = 0
) -> Stress:
    """Offer damaged frames with a right checksum in the place of good ones."""
    rng, outcome, ours = Random(seed), Stress(), _Ours(spec)
    settled = len(stream) // 10
    for number in range(settled):
        ours.judge(Frame.parse(stream[number]), number * CADENCE)
    tries = cycle([count // (len(stream) - settled) + 1])
    for number in range(settled, len(stream)):
        good = stream[number]
        for _ in range(min(next(tries), count)):
            count -= 1
            bad = damaged(good, rng, count=byte_count, mend=True)
            try:
                frame = Frame.parse(bad)
            except FrameError:
                continue
            if frame.type is not FrameType.CELL_DATA or _is_harmless(
                frame, good, ours.profile
            ):
                continue
            outcome.tried += 1
            trial = deepcopy(ours.guard)
            said = decoded(frame, ours.profile)
            if said is None or not trial.admits(
                frame, ours.profile.layout, number * CADENCE
            ):
                outcome.stopped += 1
                continue
            outcome.believed += 1
            truth = decoded(Frame.parse(good), ours.profile)
            assert truth
            wrong = _wrong(said, truth)
            outcome.gross += any(off > _NOISE.get(name, 0) for name, off in wrong.items())
            outcome.fields.update(wrong.keys() - _DERIVED)
        ours.judge(Frame.parse(good), number * CADENCE)
    return outcome
