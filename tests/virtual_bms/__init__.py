"""A virtual JK BMS: physics, frames, radio module, faults.

It shares no code with the integration, so that it can judge it: every frame is written from literal offsets.
`scanner.VirtualProxy` plugs it into Home Assistant and is not imported here, for tests without Home Assistant.
"""

from . import frames
from .battery import Battery
from .behaviour import Behaviour
from .clock import finish, pass_time
from .faults import Faults
from .link import Command, Connection, Link
from .models import MODELS
from .peripheral import VirtualBms
from .radio import VirtualBackend, VirtualRadio, ble_device
from .spec import Spec
from .state import DetailRecord, LogEntry, Settings, State

__all__ = [
    "MODELS",
    "Battery",
    "Behaviour",
    "Command",
    "Connection",
    "DetailRecord",
    "Faults",
    "Link",
    "LogEntry",
    "Settings",
    "Spec",
    "State",
    "VirtualBackend",
    "VirtualBms",
    "VirtualRadio",
    "ble_device",
    "finish",
    "frames",
    "pass_time",
]
