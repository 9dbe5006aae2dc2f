"""What can go wrong, told apart by what a person can do about it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import DeviceInfo


class JkBmsError(Exception):
    """Base of every error that this library raises on purpose."""


class FrameError(JkBmsError):
    """The bytes are not one whole, undamaged frame (docs/protocol.md 5.1)."""


class ImplausibleFrameError(JkBmsError):
    """A frame with a good checksum says what no battery can (docs/protocol.md 13)."""


class UnsupportedLayoutError(JkBmsError):
    """The frames fit none of the known layouts (docs/protocol.md 6.2)."""

    def __init__(self, message: str, device_info: DeviceInfo | None = None) -> None:
        """Keep the device information: it is all that can be published."""
        super().__init__(message)
        self.device_info = device_info


class JournalError(JkBmsError):
    """Nothing can be logged to journald; the text says why."""


class OutputError(JkBmsError):
    """What was to be printed cannot be; the text says why."""


class NoBluetoothError(JkBmsError):
    """The machine has no Bluetooth that can be used; the text says why."""


class LinkError(JkBmsError):
    """The battery could not be read over Bluetooth."""


class NotReachableError(LinkError):
    """Nobody hears the battery, or it does not accept or keep a connection."""


class AmbiguousNameError(LinkError):
    """More than one battery has this name; the text holds their addresses."""


class NoFreeSlotError(LinkError):
    """The battery is heard, but every adapter or proxy in reach is fully taken."""


class SilentError(LinkError):
    """Connected, but no valid frame came in time (docs/protocol.md 2.5)."""


class LogUnansweredError(SilentError):
    """The battery answers, but not for its log, which it may not have."""


class NotJkBmsError(LinkError):
    """Connected to something that does not speak this protocol."""


class PairingRequiredError(LinkError):
    """The battery demands a pairing passkey first (docs/protocol.md 2.6)."""


class ExportError(JkBmsError):
    """Values could not be handed on; the text is one line and holds no secret."""


class EndpointError(ExportError):
    """The exporter cannot serve what was asked for, or not there."""


class CredentialsError(ExportError):
    """The file or the environment holds no credentials that can be used."""


class PushError(ExportError):
    """Values could not be pushed."""


class PushUrlError(PushError):
    """Nothing can be pushed to such a URL."""


class PushUnreachableError(PushError):
    """The server does not answer, or not in time."""


class PushTlsError(PushError):
    """The server's certificate is not to be trusted, or it speaks no TLS."""


class PushUnauthorizedError(PushError):
    """The server demands other credentials."""


class PushRefusedError(PushError):
    """The server does not take the values, and will not the next time."""


class PushServerError(PushError):
    """The server failed or has too much to do; the next time it may not."""
