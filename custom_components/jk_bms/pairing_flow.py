"""The form that asks for a pairing code, in the config flow and the repairs."""

from typing import Final

import probatio

from homeassistant.helpers.selector import TextSelector

from .jkbms.errors import (
    JkBmsError,
    NoFreeSlotError,
    PairingCancelledError,
    PairingCodeError,
    PairingGoneError,
    PairingNotReadyError,
    PairingRefusedError,
    PairingTimeoutError,
)

CONF_CODE: Final = "code"
SUGGESTED: Final = {CONF_CODE: "123456"}
"""The only code ever seen on a JK BMS."""

CODE_SCHEMA: Final = probatio.Schema(
    {probatio.Required(probatio.Secret(CONF_CODE)): TextSelector()}
)

PAIRING_ERROR_KEYS: Final[dict[type[JkBmsError], str]] = {
    NoFreeSlotError: "pairing_not_ready",
    PairingCancelledError: "pairing_cancelled",
    PairingCodeError: "invalid_code",
    PairingGoneError: "pairing_gone",
    PairingNotReadyError: "pairing_not_ready",
    PairingRefusedError: "pairing_refused",
    PairingTimeoutError: "pairing_timeout",
}
"""The message key for each way that pairing fails."""


def pairing_error_key(error: JkBmsError) -> str:
    """Return the message key of an error; subclasses share that of their base."""
    return next(
        key for kind, key in PAIRING_ERROR_KEYS.items() if isinstance(error, kind)
    )
