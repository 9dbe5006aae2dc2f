"""JiKong (JK) battery management systems over Bluetooth LE: the public API of the library."""

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import (
    AmbiguousNameError,
    ConnectionLostError,
    CredentialsError,
    EndpointError,
    ExportError,
    FrameError,
    ImplausibleFrameError,
    ImplausibleValuesError,
    JkBmsError,
    JournalError,
    LinkError,
    LogUnansweredError,
    NoBluetoothError,
    NoFreeSlotError,
    NotJkBmsError,
    NotReachableError,
    OutputError,
    PairingCancelledError,
    PairingCodeError,
    PairingError,
    PairingGoneError,
    PairingNotReadyError,
    PairingRefusedError,
    PairingRequiredError,
    PairingTimeoutError,
    PushError,
    PushPathError,
    PushRefusedError,
    PushServerError,
    PushTlsError,
    PushUnauthorizedError,
    PushUnreachableError,
    PushUrlError,
    Refusal,
    SettingRefusedError,
    SilentError,
    UnsupportedLayoutError,
)

if TYPE_CHECKING:
    from .bluetooth.client import JkBmsClient
    from .models import (
        Alarm,
        BalancerState,
        BatteryState,
        BatteryType,
        CellData,
        ChargePhase,
        DetailLogRecord,
        DeviceInfo,
        Layout,
        LiveData,
        LiveSample,
        Log,
        LogEntry,
        Reading,
        Settings,
    )
else:

    def __getattr__(name):
        """Import the client or a model when it is first used (PEP 562).

        Every import of a submodule runs this file first, and `jkbms --help` needs
        neither: bleak takes a second to import, the models a tenth of one.
        """
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = ".bluetooth.client" if name == "JkBmsClient" else ".models"
        return getattr(import_module(module, __name__), name)


__version__ = "1.0.0"

__all__ = [
    "Alarm",
    "AmbiguousNameError",
    "BalancerState",
    "BatteryState",
    "BatteryType",
    "CellData",
    "ChargePhase",
    "ConnectionLostError",
    "CredentialsError",
    "DetailLogRecord",
    "DeviceInfo",
    "EndpointError",
    "ExportError",
    "FrameError",
    "ImplausibleFrameError",
    "ImplausibleValuesError",
    "JkBmsClient",
    "JkBmsError",
    "JournalError",
    "Layout",
    "LinkError",
    "LiveData",
    "LiveSample",
    "Log",
    "LogEntry",
    "LogUnansweredError",
    "NoBluetoothError",
    "NoFreeSlotError",
    "NotJkBmsError",
    "NotReachableError",
    "OutputError",
    "PairingCancelledError",
    "PairingCodeError",
    "PairingError",
    "PairingGoneError",
    "PairingNotReadyError",
    "PairingRefusedError",
    "PairingRequiredError",
    "PairingTimeoutError",
    "PushError",
    "PushPathError",
    "PushRefusedError",
    "PushServerError",
    "PushTlsError",
    "PushUnauthorizedError",
    "PushUnreachableError",
    "PushUrlError",
    "Reading",
    "Refusal",
    "SettingRefusedError",
    "Settings",
    "SilentError",
    "UnsupportedLayoutError",
    "__version__",
]
