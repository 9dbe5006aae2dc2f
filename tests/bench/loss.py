"""What a bad radio costs: good frames lost and wrong values believed, beside aiobmsble on the same notifications."""

from collections.abc import Iterator
from typing import Any, Final

from aiobmsble import BMSSample
from aiobmsble.bms.jikong_bms import BMS
from bleak.backends.device import BLEDevice

from custom_components.jk_bms.jkbms.protocol.profile import parse_firmware
from tests.virtual_bms import Spec

from .bad_radio import (
    CADENCE,
    CHUNKS,
    SPECS,
    Outcome,
    campaign,
    day,
    late_readings,
    stress,
)
from .figure import Figure, Options, at_least, at_most

_FRAMES: Final = 6_000, 60_000
"""In the short and the long form."""
_READINGS: Final = 100, 500
_INTERVAL: Final = 30.0
_STRESSED: Final = 4_000, 20_000
_STOPPED: Final = {"32S": 99, "24S": 99, "JK04": 98}
"""%; a float has more digits than a cell has quiet ones, and JK04 says little twice."""
_RADIOS: Final[dict[str, dict[str, float]]] = {
    "0 % lost": {},
    "1 % lost": {"lose": 0.01},
    "3 % lost": {"lose": 0.03},
    "1 % damaged": {"damage": 0.01},
}
_SPEC: Final = SPECS["32S"]
_NOBODY: Any = None


def measure(options: Options) -> Iterator[Figure]:
    """Yield what comes through each radio, and what gets past the checks."""
    stream = list(day(_SPEC, _FRAMES[options.long], seed=1))
    for radio, faults in _RADIOS.items():
        outcomes = {
            sizes: campaign(
                _SPEC, stream, pattern, seed=seed, peer=_Peer(_SPEC), **faults
            )
            for seed, (sizes, pattern) in enumerate(CHUNKS.items())
        }
        for sizes, outcome in outcomes.items():
            yield from _kept(f"loss, {radio}, {sizes}", outcome)
        yield from _believed(f"loss, {radio}", [*outcomes.values()])
    for layout, spec in SPECS.items():
        yield from _late(layout, spec, _READINGS[options.long])
        yield from _stressed(layout, spec, _STRESSED[options.long])


def _kept(name: str, outcome: Outcome) -> Iterator[Figure]:
    yield Figure(
        f"{name}: kept",
        outcome.kept / outcome.whole,
        "x",
        at_least(1),
        "our good frames, out of the assembler : those that any resynchronisation at"
        " headers can get",
    )
    yield Figure(
        f"{name}: kept by the peer",
        outcome.peer_kept / outcome.whole,
        "x",
        None,
        "aiobmsble's good frames : the same",
    )


def _believed(name: str, outcomes: list[Outcome]) -> Iterator[Figure]:
    total = sum(outcome.whole for outcome in outcomes)
    for what, count, target in (
        ("ours", sum(outcome.wrong for outcome in outcomes), at_most(0)),
        ("ours without the checks", sum(o.unchecked for o in outcomes), None),
        ("peer", sum(outcome.peer_wrong for outcome in outcomes), None),
    ):
        yield Figure(
            f"{name}: wrong, {what}",
            count,
            "frames",
            target,
            "frames believed with any value that was not sent, all sizes together",
        )
    yield Figure(
        f"{name}: delayed",
        100 * sum(outcome.held for outcome in outcomes) / total,
        "%",
        at_most(1),
        "good frames that waited for the next one",
    )


def _late(layout: str, spec: Spec, readings: int) -> Iterator[Figure]:
    every = round(_INTERVAL / CADENCE)
    stream = list(day(spec, every * readings, seed=4))
    for link, held in (("released", False), ("held", True)):
        late = [*late_readings(spec, stream, every=every, held=held)]
        yield Figure(
            f"loss, readings delayed, {layout}, {link}",
            100 * sum(late) / len(late),
            "%",
            at_most(5),
            "of a rough day without loss, one every 30 s: those that waited for another"
            " frame",
        )


def _stressed(layout: str, spec: Spec, count: int) -> Iterator[Figure]:
    name = f"loss, right checksum, {layout}"
    result = stress(spec, list(day(spec, count // 4, seed=2)), count, seed=3)
    for what, believed, target in (
        ("stopped", result.believed, None),
        ("stopped or within noise", result.gross, at_least(_STOPPED[layout])),
    ):
        yield Figure(
            f"{name}: {what}",
            100 - 100 * believed / result.tried,
            "%",
            target,
            "of frames with 1 to 8 wrong bytes, a right checksum and a wrong value",
        )


class _Peer:
    """The notification handler of aiobmsble, and its decoder."""

    def __init__(self, spec: Spec) -> None:
        self._bms, self._reference = _peer(spec), _peer(spec)

    def feed(self, chunk: bytes, sent: bytes) -> bool | None:
        """Return whether what it shows now was sent; `None` if it shows nothing new."""
        bms, before = self._bms, self._bms._msg
        bms._notification_handler(_NOBODY, bytearray(chunk))
        if bms._msg is before or not bms._msg_event.is_set():
            return None
        if bms._msg == before:
            bms._msg_event.clear()
            return None
        if bms._msg == sent:
            bms._msg_event.clear()
            return True
        self._reference._msg = sent
        self._reference._msg_event.set()
        return None if _sample(bms) == _sample(self._reference) else False


def _peer(spec: Spec) -> BMS:
    bms = BMS(BLEDevice(spec.address, "battery", {"path": ""}))
    # What its device information would have shown
    bms._sw_version = int(parse_firmware(spec.software))
    bms._prot_offset = -32 if bms._sw_version < 11 else 0
    return bms


def _sample(bms: BMS) -> BMSSample | None:
    """Return what it would show, `None` if its decoder fails."""
    update = bms._async_update()
    try:
        update.send(None)
    except StopIteration as finished:
        sample: BMSSample = finished.value
        bms._add_missing_values(sample, bms._raw_values())
        return sample
    except Exception:  # noqa: BLE001
        return None
    raise AssertionError("It did not accept the frame")
