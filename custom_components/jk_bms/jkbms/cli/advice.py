"""Advice for each failure of a battery."""

from collections.abc import Iterable
from typing import Final

from ..errors import (
    AmbiguousNameError,
    ConnectionLostError,
    ImplausibleFrameError,
    JkBmsError,
    NoFreeSlotError,
    NotJkBmsError,
    NotReachableError,
    PairingCancelledError,
    PairingGoneError,
    PairingRefusedError,
    PairingRequiredError,
    PairingTimeoutError,
    SilentError,
    UnsupportedLayoutError,
)

_REPORT: Final = "please report its model and firmware"
ADVICE: Final[dict[type[JkBmsError], str]] = {
    AmbiguousNameError: "select one by its address",
    ConnectionLostError: "move closer and try again",
    ImplausibleFrameError: _REPORT,
    NoFreeSlotError: "close another connection of the adapter, or use another adapter",
    NotJkBmsError: "select another device",
    NotReachableError: "check that it is on, close the JK app on every phone, move closer",
    PairingCancelledError: "try again",
    PairingGoneError: "close the JK app on every phone, move closer, try again",
    PairingRefusedError: "wrong code, or bound to another phone or computer",
    PairingRequiredError: "pair with it: jkbms --pair -d ADDRESS",
    PairingTimeoutError: "move closer and try again",
    SilentError: "turn its Bluetooth off and on in the JK app",
    UnsupportedLayoutError: _REPORT,
}


def failure_text(err: JkBmsError) -> str:
    """Return what is wrong and what to do about it."""
    advice = ADVICE.get(type(err))
    return f"{err}; {advice}" if advice else str(err)


def implausible_text(names: Iterable[str]) -> str:
    """Return a text with the values that are left out and what to check."""
    return (
        f"impossible values are left out: {', '.join(names)}; "
        "check the wire and the connector of each of them"
    )
