"""Notifications in, finished values out: the time it takes, beside aiobmsble's for the same bytes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
import gc
from statistics import median
from time import process_time
from typing import Any, Final

from aiobmsble.bms.jikong_bms import BMS
from bleak.backends.device import BLEDevice

from custom_components.jk_bms.jkbms.client import _Link
from custom_components.jk_bms.jkbms.decode import choose_profile, decode_cell_data
from custom_components.jk_bms.jkbms.frames import FrameStatistics
from custom_components.jk_bms.jkbms.guard import Guard
from custom_components.jk_bms.jkbms.layouts import Profile
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

type Notifications = Sequence[bytearray]
type Take = Callable[[Notifications], object]


def measure(_: Options) -> Iterator[Figure]:
    """Yield the time of a frame, decoded and only checked, and what it is to the peer's."""
    for layout, spec in _BATTERIES.items():
        (frame,) = _frames(spec, (300,), count=1)
        for who, way in (("ours", _decoding), ("peer", _peer)):
            values = len(list(_flat(way(_profile(spec))(frame))))
            compares = "values of one frame, each cell's among them"
            yield Figure(f"values {layout}: {who}", values, "values", None, compares)
        for sizes, pattern in _CHUNKS.items():
            yield from _measured(
                f"decode {layout}, {sizes}", _frames(spec, pattern), _profile(spec)
            )


def _measured(
    name: str, notifications: Sequence[Notifications], profile: Profile
) -> Iterator[Figure]:
    ways = (_decoding(profile), _checking(), _peer(profile))
    rounds = _timed(ways, notifications)
    ours, _, theirs = (median(times) for times in zip(*rounds, strict=True))
    yield Figure(f"{name}: ours", ours, "µs", None, "notifications to `CellData`")
    yield Figure(f"{name}: peer", theirs, "µs", None, "notifications to `BMSSample`")
    for what, ratio, target, compares in (
        (
            "",
            [decoded / peer for decoded, _, peer in rounds],
            at_most(0.5),
            "our time for all values : aiobmsble's for its own",
        ),
        (
            ", checked",
            [checked / decoded for decoded, checked, _ in rounds],
            at_most(0.2),
            "a frame inside the publish interval : one that is decoded",
        ),
        (
            ", checked : peer",
            [checked / peer for _, checked, peer in rounds],
            None,
            "a frame inside the publish interval : one that aiobmsble decodes",
        ),
    ):
        yield Figure(f"{name}{what}", median(ratio), "x", target, compares)


def _timed(
    ways: Sequence[Take], notifications: Sequence[Notifications]
) -> list[tuple[float, ...]]:
    """Return the µs a frame of every way in each round; the ways take turns."""
    gc.collect()
    gc.freeze()
    times = [tuple(_time(take, notifications) for take in ways) for _ in range(_ROUNDS)]
    gc.unfreeze()
    return times


def _time(take: Take, notifications: Sequence[Notifications]) -> float:
    began = process_time()
    for frame in notifications:
        take(frame)
    return (process_time() - began) / len(notifications) * 1e6


def _decoding(profile: Profile) -> Take:
    """Take the way of a held link: its handler, its queue, the decoder."""
    link = _link()

    def take(notifications: Notifications) -> object:
        for chunk in notifications:
            link._on_notification(_NOBODY, chunk)
        frame = link._frames.get_nowait()
        assert frame
        return decode_cell_data(frame, profile)

    return take


def _checking() -> Take:
    """Take the same way to where a held link drops what is not due."""
    link = _link()

    def take(notifications: Notifications) -> object:
        for chunk in notifications:
            link._on_notification(_NOBODY, chunk)
        return link._frames.get_nowait()

    return take


def _peer(profile: Profile) -> Take:
    """Take the way of `async_update` of a link that is kept: its handler, its decoder."""
    bms = BMS(BLEDevice("C8:47:8C:00:00:01", "battery", {"path": ""}))
    # What its device information would have told
    bms._sw_version = int(profile.firmware)
    bms._prot_offset = -32 if bms._sw_version < 11 else 0

    def take(notifications: Notifications) -> object:
        for chunk in notifications:
            bms._notification_handler(_NOBODY, chunk)
        update = bms._async_update()
        try:
            update.send(None)
        except StopIteration as finished:
            sample = finished.value
            bms._add_missing_values(sample, bms._raw_values())
            return sample
        raise AssertionError("It did not accept the frame")

    return take


_NOBODY: Any = None
"""The characteristic, which neither looks at."""


def _link() -> _Link:
    return _Link("battery", FrameStatistics(), {}, Guard())


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


def _frames(
    spec: Spec, pattern: Sequence[int], *, count: int = _FRAMES
) -> list[Notifications]:
    """Return an hour of a battery's day, each frame in notifications of these sizes."""
    battery = Battery(spec, hour=9.0)
    return [
        _cut(frames.cell_frame(spec, battery.advance(18.0), counter % 256), pattern)
        for counter in range(count)
    ]


def _cut(frame: bytes, pattern: Sequence[int]) -> Notifications:
    chunks = []
    while frame:
        for size in pattern:
            chunks.append(bytearray(frame[:size]))
            frame = frame[size:]
    return chunks
