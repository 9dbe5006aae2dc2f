"""Behaviour of a firmware: what it answers, in which order and how fast. All times in seconds."""

from dataclasses import dataclass
from typing import Literal, Self

from .spec import Spec


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """Behaviour of one unit; tests change it with `replace`."""

    connect_time: float = 0.4
    info_delay: tuple[float, float] = (0.05, 0.15)
    """0x97 to the first byte of the 0x03."""
    settings_delay: tuple[float, float] = (0.04, 0.12)
    """0x96 to the first byte of the 0x01."""
    stream_delay: tuple[float, float] = (0.62, 0.85)
    """0x96 to the first cell frame."""
    cadence: float = 0.53
    """From one cell frame to the next."""
    chunk_gap: float = 0.025
    """Between the notifications of a frame."""
    reply_gap: float = 0.09
    """Between a reply and what follows it."""
    idle_drop: float = 10.0
    """Lifetime of a link on which no command was accepted."""
    acknowledges: bool = True
    acknowledgement: Literal["own", "glued", "with_at"] = "own"
    """A transmission of its own, at the end of the frame, or with an AT line behind it."""
    at_interval: float | None = None
    """Idle time after which the line sends AT."""
    at_glued: float = 0.0
    """Share of frames that follow an AT line in the same notification."""
    second_info: bool = False
    """0x96 also brings a 0x03 with counter 0xA5."""
    needs_info_first: bool = False
    """0x96 is answered but does not start the stream before a 0x97."""
    early_96_is_fatal: bool = False
    """0x96 before the 0x03 is out: no stream on this link, dropped after `idle_drop`."""

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """Return the behaviour of this unit's firmware."""
        second = spec.major >= 14 or spec.balancer_only
        return cls(
            cadence=0.43 if spec.software in ("7.1.0H", "8.0.6G") else 0.53,
            # Notifications of 20 bytes follow each other as fast as the radio allows.
            chunk_gap=0.004 if spec.gatt == "C" else 0.025,
            acknowledgement=(
                "with_at" if spec.chatty else "glued" if spec.gatt == "A_OLD" else "own"
            ),
            at_interval=0.175 if spec.chatty else None,
            at_glued=0.15 if spec.chatty else 0.0,
            second_info=second,
            needs_info_first=spec.major >= 14,
            early_96_is_fatal=spec.major >= 14,
        )
