"""Errors, one class for each thing that a user can do about it."""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import CellData, DeviceInfo


class JkBmsError(Exception):
    """Base of every error that this library raises deliberately."""


class FrameError(JkBmsError):
    """The bytes are not one whole, undamaged frame (docs/protocol.md 5.1)."""


class ImplausibleFrameError(JkBmsError):
    """A frame with a good checksum has impossible values (docs/protocol.md 13)."""


class ImplausibleValuesError(ImplausibleFrameError):
    """Some values of a frame are impossible; the others may be correct."""

    def __init__(self, message: str, cell_data: CellData) -> None:
        """`cell_data` holds the other values; its `implausible` names those left out."""
        super().__init__(message)
        self.cell_data = cell_data


class UnsupportedLayoutError(JkBmsError):
    """The frames match no known layout (docs/protocol.md 6.2)."""

    device_info: DeviceInfo | None = None
    """All that could be decoded, if anything."""


class JournalError(JkBmsError):
    """Logging to journald is not possible; the text gives the reason."""


class OutputError(JkBmsError):
    """The output cannot be written; the text gives the reason."""


class NoBluetoothError(JkBmsError):
    """Bluetooth cannot be used on this machine; the text gives the reason."""


class LinkError(JkBmsError):
    """The battery could not be read over Bluetooth."""


class NotReachableError(LinkError):
    """The battery is out of range, refuses connections or drops them."""

    def __init__(self, message: str, *, is_missing: bool = False) -> None:
        """`is_missing` is whether the Bluetooth stack does not see the battery."""
        super().__init__(message)
        self.is_missing = is_missing


class ConnectionLostError(NotReachableError):
    """The battery was connected and responding, and then no longer was."""


class AmbiguousNameError(LinkError):
    """More than one battery has this name; the text lists their addresses."""


class NoFreeSlotError(LinkError):
    """The battery is in range, but no adapter or proxy there has a free connection."""


class SilentError(LinkError):
    """Connected, but no valid frame came in time (docs/protocol.md 2.5)."""


class LogUnansweredError(SilentError):
    """The battery responds, but sends no log."""

    def __init__(self, message: str, is_kept: bool | None) -> None:
        """`is_kept` is whether the battery reports that it has this log, if known."""
        super().__init__(message)
        self.is_kept = is_kept


class NotJkBmsError(LinkError):
    """Connected, but the device does not use the JK protocol."""


class PairingRequiredError(LinkError):
    """The battery requires pairing with a passkey (docs/protocol.md 2.6)."""


class PairingError(JkBmsError):
    """The battery could not be paired with (docs/protocol.md 2.6)."""


class PairingCodeError(PairingError):
    """The text is not a pairing code."""


class PairingRefusedError(PairingError):
    """The code is wrong, or the battery is bound to another phone or computer."""


class PairingCancelledError(PairingError):
    """The battery, or another program, ended the pairing."""


class PairingTimeoutError(PairingError):
    """The pairing took too long."""


class PairingNotReadyError(PairingError):
    """Bluetooth on this machine is off or busy, or must not be used."""


class PairingGoneError(PairingError):
    """The adapter does not see the battery, or cannot connect to it."""


class Refusal(StrEnum):
    """Why a setting is not written; nothing was sent."""

    UNKNOWN = "there is no such setting"
    PROTECTED = "it protects the cells and is never changed by this software"
    NOT_ACCEPTED = "this battery does not accept it"
    NOT_PROVEN = "the layout of its data is not verified, or its settings were not read"
    NOT_A_VALUE = "not a valid value for this setting"
    OUT_OF_RANGE = "the value is not allowed"
    NOT_ALLOWED = "changing it is not allowed"
    NOT_CONFIRMED = "this change needs confirmation"
    NOT_SAVED = "the value to return to could not be saved"


class SettingRefusedError(JkBmsError):
    """A setting is not written; the text gives its name and the reason."""

    def __init__(self, setting: str, refusal: Refusal, detail: str = "") -> None:
        """`detail` is what would be allowed."""
        reason = f"{refusal}: {detail}" if detail else str(refusal)
        super().__init__(f"{setting}: {reason}")
        self.setting = setting
        self.refusal = refusal
        self.detail = detail


class ExportError(JkBmsError):
    """Values could not be exported; the text is one line without secrets."""


class EndpointError(ExportError):
    """The exporter cannot listen at the given address, or not with these options."""


class CredentialsError(ExportError):
    """The file or the environment has no usable credentials."""


class PushError(ExportError):
    """Values could not be pushed."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        """`retry_after` is the time in seconds until the server accepts another request."""
        super().__init__(message)
        self.retry_after = retry_after


class PushUrlError(PushError):
    """The URL cannot be used for pushing."""


class PushPathError(PushUrlError):
    """The path belongs to an import endpoint for another format."""

    def __init__(self, message: str, path: str) -> None:
        """`path` is the one under which the server imports the text format."""
        super().__init__(message)
        self.path = path


class PushUnreachableError(PushError):
    """The server does not respond, or not in time."""


class PushTlsError(PushError):
    """The server's certificate is not trusted, or it does not support TLS."""


class PushUnauthorizedError(PushError):
    """The server rejects the credentials or requires some."""


class PushRefusedError(PushError):
    """The server rejects the values; retrying does not help."""


class PushServerError(PushError):
    """The server failed or is overloaded; retrying may help."""
