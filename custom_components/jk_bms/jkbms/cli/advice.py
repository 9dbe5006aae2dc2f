"""What a person can do about what went wrong with a battery."""

from typing import Final

from ..errors import (
    AmbiguousNameError,
    ImplausibleFrameError,
    JkBmsError,
    NoFreeSlotError,
    NotJkBmsError,
    NotReachableError,
    PairingRequiredError,
    SilentError,
    UnsupportedLayoutError,
)

_REPORT: Final = "please report its model and firmware"
ADVICE: Final[dict[type[JkBmsError], str]] = {
    AmbiguousNameError: "ask for one by its address",
    ImplausibleFrameError: _REPORT,
    NoFreeSlotError: "end another connection of the adapter, or use another adapter",
    NotJkBmsError: "ask for another device",
    NotReachableError: "see that it is on, close the JK app on every phone, come closer",
    PairingRequiredError: "pair it with bluetoothctl",
    SilentError: "switch its Bluetooth off and on in the JK app",
    UnsupportedLayoutError: _REPORT,
}


def explain(err: JkBmsError) -> str:
    """Say what is wrong and what to do about it."""
    advice = ADVICE.get(type(err))
    return f"{err}; {advice}" if advice else str(err)
