"""Faults as data: `bms.faults = replace(bms.faults, lose=0.1)` at any time."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

type Hits = float | Collection[int]
"""A rate 0..1, or the numbers of the notifications concerned (1 = first of a link)."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Everything off by default; assigning a new object restarts the 'first n' counters."""

    lose: Hits = 0.0
    """Notifications that never arrive."""
    damage: Hits = 0.0
    """Notifications that arrive with one bit flipped."""
    delay: float = 0.0
    """s added to every notification (order is kept)."""
    double: bool = False
    """Every notification is delivered twice in a row."""
    disconnect_after: int | None = None
    """Drop the link right after this many notifications of it."""
    disconnect_in: int | None = None
    """Drop the link after the first chunk of a frame of this type."""
    silent: bool = False
    """The link stays up and nothing is sent."""
    never_answer: Collection[int] = ()
    """Registers that are ignored."""
    only_acknowledge: Collection[int] = ()
    """Registers that are acknowledged and not answered."""
    answer_after_attempts: int = 0
    """Ignore this many commands of each register, also across links, before answering."""
    refuse_connection: bool | int = False
    """All connections (True) or the first n fail at once."""
    refuse_error: str = "Connection refused"
    """Text of that BleakError; bleak_retry_connector sorts errors by their text."""
    hang_connection: bool = False
    """Connecting never returns."""
    no_services_first: int = 0
    """The first n discoveries find an empty list."""
    missing_characteristic: bool | int = False
    """All discoveries (True) or the first n lack 0xFFE1; the radio caches what it saw."""
    pairing: bool | Literal["drop", "empty", "unlikely", "writes"] = False
    """What a central gets that is not paired.

    True: ATT error 'insufficient authentication'; drop: accepted, silent, dropped after 5 s; empty:
    no services; unlikely: ATT error 'unlikely' at the subscription; writes: two errors by turns.
    """
    garbage: bool = False
    """Everything sent is replaced by other bytes of the same length."""
    foreign: Literal["neey"] | None = None
    """A device from another manufacturer with the same service: frames start 55 AA 11 01."""
    ignore_writes: bool = False
    """Writes are acknowledged and ignored, as after a change of the settings passcode."""
    write_takes: float = 0.0
    """s until a written value takes effect and is shown."""
    revert_after: float | None = None
    """s after which another program writes the value back."""
    lose_acknowledgements: bool = False
    """Writes take effect and are not acknowledged."""
    drop_at_write: Literal["before", "during", "after"] | None = None
    """Break the link instead of a write, once it took effect, or after its acknowledgement."""
    stale: tuple[bytes, ...] = ()
    """Notifications left over from an earlier session, pushed while the CCCD is being written."""
    stream_stops_after: int | None = None
    """The cell stream stops after n frames; 0x96 starts another n."""
    glitch_every: int | None = None
    """Every n-th cell frame reports 0 V and 0 %, with a correct checksum."""
    blank_every: int | None = None
    """Every n-th cell frame reports no cell and no measurement, with a correct checksum."""
    zeros: bool = False
    """Every cell frame has 0 in all its values, with a correct checksum."""
    forge_cells: int = 0
    """The first n cell frames raise an overvoltage that is none, with a correct checksum."""
    seed: int = 0
