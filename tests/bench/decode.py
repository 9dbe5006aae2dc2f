"""Notifications in, finished values out: the time it takes, beside aiobmsble's for the same bytes."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
import gc
from itertools import count, islice
from math import inf
from statistics import median
from time import process_time
from typing import Any, Final, override

from aiobmsble.bms.jikong_bms import BMS
from bleak.backends.device import BLEDevice

from custom_components.jk_bms.jkbms.bluetooth.memory import Memory
from custom_components.jk_bms.jkbms.bluetooth.session import Session
from custom_components.jk_bms.jkbms.models import Reading
from custom_components.jk_bms.jkbms.protocol.decode import decode_cell_data
from custom_components.jk_bms.jkbms.protocol.frames import Frame
from custom_components.jk_bms.jkbms.protocol.profile import Profile, choose_profile
from tests.virtual_bms import MODELS, Battery, Spec, frames

from .figure import Figure, Options, at_most

_BATTERIES: Final = {
    "24S": replace(MODELS["JK-B2A24S15P 10.07"], cells=24),
    "32S": MODELS["JK_PB2A16S20P 15.41"],
}
_CHUNKS: Final = {
    "128+22+128+22": (128, 22),
    "20 bytes": (20,),
    "244 bytes": (244, 56),
}
_FRAMES: Final = 200
_ROUNDS: Final = 41
_CADENCE: Final = 0.5
"""s between two frames of a stream."""

type Notifications = Sequence[bytearray]
type Take = Callable[[Iterable[Notifications]], Coroutine[Any, Any, object]]
"""A way for some frames, each in its notifications; returns what became of the last."""


class _Loop(asyncio.SelectorEventLoop):
    """Its time is that of the stream, however fast the stream is run through."""

    now = 0.0

    @override
    def time(self) -> float:
        return self.now


def measure(_: Options) -> Iterator[Figure]:
    """Yield the time of a frame on its ways, and what it is to the peer's."""
    for layout, spec in _BATTERIES.items():
        for who, way in (("ours", _decoding), ("peer", _peer)):
            last = asyncio.run(way(spec)(islice(_stream(spec, (300,)), 1)))
            values = len(list(_flat(last)))
            compares = "values of one frame, each cell's among them"
            yield Figure(f"values {layout}: {who}", values, "values", None, compares)
        for sizes, pattern in _CHUNKS.items():
            yield from _measured(f"decode {layout}, {sizes}", spec, pattern)


def _measured(name: str, spec: Spec, pattern: Sequence[int]) -> Iterator[Figure]:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        rounds = runner.run(_timed(spec, _stream(spec, pattern)))
    for what, times, compares in zip(
        ("ours", "peer", "checked", "counted", "published"),
        zip(*rounds, strict=True),
        (
            "notifications to `CellData`",
            "notifications to `BMSSample`",
            "a frame inside the publish interval: all that the command does for it",
            "the same with its current and power counted, as Home Assistant does",
            "a frame that is due: decoded, judged by the checks, yielded by a woken task",
        ),
        strict=True,
    ):
        yield Figure(f"{name}: {what}", median(times), "µs", None, compares)
    for what, ratios, target, compares in (
        (
            "",
            [decoded / peer for decoded, peer, *_ in rounds],
            at_most(0.6),
            "our time for all values : aiobmsble's for its own",
        ),
        (
            ", checked : published",
            [checked / published for _, _, checked, _, published in rounds],
            None,
            "a frame inside the publish interval : one that is published",
        ),
        (
            ", checked : decoded",
            [checked / decoded for decoded, _, checked, *_ in rounds],
            at_most(0.2),
            "the same : notifications to `CellData`, no waking and no checks",
        ),
        (
            ", counted : published",
            [counted / published for *_, counted, published in rounds],
            None,
            "a frame inside the publish interval, counted : one that is published",
        ),
        (
            ", published : peer",
            [published / peer for _, peer, *_, published in rounds],
            None,
            "waking and checks with it : a frame that aiobmsble decodes, without waking",
        ),
        (
            ", checked : peer",
            [checked / peer for _, peer, checked, *_ in rounds],
            None,
            "a frame inside the publish interval : a frame that aiobmsble decodes",
        ),
    ):
        yield Figure(f"{name}{what}", median(ratios), "x", target, compares)


async def _timed(
    spec: Spec, stream: Iterator[Notifications]
) -> list[tuple[float, ...]]:
    """Return the µs a frame of every way in each round; the ways take turns."""
    ways = (_decoding, _peer, _checking, _counting, _publishing)
    takes = [way(spec) for way in ways]
    rounds = [list(islice(stream, _FRAMES)) for _ in range(_ROUNDS)]
    gc.collect()
    gc.freeze()
    times = [tuple([await _time(take, sent) for take in takes]) for sent in rounds]
    gc.unfreeze()
    return times


async def _time(take: Take, sent: Sequence[Notifications]) -> float:
    began = process_time()
    await take(sent)
    return (process_time() - began) / len(sent) * 1e6


def _decoding(spec: Spec) -> Take:
    """Take the way of a held link: its handler, its queue, the decoder."""
    session, profile = _session(spec), _profile(spec)

    async def take(sent: Iterable[Notifications]) -> object:
        for notifications in sent:
            for chunk in notifications:
                session.on_data(chunk)
            frame = session._frames.get_nowait()
            assert frame
            last = decode_cell_data(frame, profile)
        return last

    return take


def _checking(spec: Spec) -> Take:
    """Take the way of a frame inside the interval, which ends in the handler."""
    return _inside_the_interval(_session(spec))


def _counting(spec: Spec) -> Take:
    """Take the same way while every frame is counted."""
    session = _session(spec)
    session.count(_first(spec), lambda _: None)
    return _inside_the_interval(session)


def _inside_the_interval(session: Session) -> Take:
    session._due = inf
    now = 0.0

    async def take(sent: Iterable[Notifications]) -> object:
        nonlocal now
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _Loop)
        # No time passes for the ways that take turns with this one
        elsewhere, loop.now = loop.now, now
        for notifications in sent:
            loop.now += _CADENCE
            for chunk in notifications:
                session.on_data(chunk)
        assert session._frames.empty()
        now, loop.now = loop.now, elsewhere
        return session._checker

    return take


def _publishing(spec: Spec) -> Take:
    """Take the whole way of a frame that is due, to the task that awaits the reading."""
    session = _session(spec)
    newest = _first(spec)

    async def hold() -> None:
        nonlocal newest
        async for reading in session.follow(newest, 0.0, -inf):
            newest = reading

    holding = asyncio.create_task(hold())

    async def take(sent: Iterable[Notifications]) -> object:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _Loop)
        for notifications in sent:
            loop.now += _CADENCE
            for chunk in notifications:
                session.on_data(chunk)
            # It is woken in the next turn of the loop
            await asyncio.sleep(0)
            assert newest.time == loop.now
        assert not holding.done()
        return newest

    return take


def _peer(spec: Spec) -> Take:
    """Take the way of `async_update` of a link that is kept: its handler, its decoder."""
    bms = BMS(BLEDevice("C8:47:8C:00:00:01", "battery", {"path": ""}))
    # What its device information would have shown
    bms._sw_version = int(_profile(spec).firmware)
    bms._prot_offset = -32 if bms._sw_version < 11 else 0

    async def take(sent: Iterable[Notifications]) -> object:
        for notifications in sent:
            for chunk in notifications:
                bms._notification_handler(_NOBODY, chunk)
            assert bms._msg_event.is_set(), "It did not accept the frame"
            last = await bms._async_update()
            bms._add_missing_values(last, bms._raw_values())
        return last

    return take


_NOBODY: Any = None
"""Bytes that are not decoded."""


def _session(spec: Spec) -> Session:
    """Return a session that has published a first reading."""
    session, profile = Session("battery", Memory()), _profile(spec)
    # The second frame confirms the first
    for counter, time in ((254, -_CADENCE), (255, 0.0)):
        frame = _frame_at_first(spec, counter)
        cell_data = decode_cell_data(frame, profile)
        session._checker.accept(frame, cell_data, profile, time)
    session._cells.believe(profile, cell_data)
    session._device_info = _NOBODY
    return session


def _first(spec: Spec) -> Reading:
    profile = _profile(spec)
    return Reading(
        layout=profile.layout,
        device_info=_NOBODY,
        settings=None,
        cell_data=decode_cell_data(_frame_at_first(spec, 255), profile),
        time=0.0,
    )


def _frame_at_first(spec: Spec, counter: int) -> Frame:
    battery = Battery(spec, hour=9.0).advance(0.0)
    return Frame.parse(frames.cell_frame(spec, battery, counter))


def _profile(spec: Spec) -> Profile:
    return choose_profile(spec.model, spec.software)


def _flat(value: object) -> Iterator[object]:
    """Yield all that is known, one by one."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from _flat(part)
    elif value is not None:
        yield value


def _stream(spec: Spec, pattern: Sequence[int]) -> Iterator[Notifications]:
    """Yield the frames of a battery as they stream, each in notifications of these sizes."""
    battery = Battery(spec, hour=9.0)
    for counter in count():
        measured = battery.advance(_CADENCE)
        yield _cut(frames.cell_frame(spec, measured, counter % 256), pattern)


def _cut(frame: bytes, pattern: Sequence[int]) -> Notifications:
    chunks = []
    while frame:
        for size in pattern:
            chunks.append(bytearray(frame[:size]))
            frame = frame[size:]
    return chunks
