"""BlueZ in software, on a real D-Bus daemon of its own, for batteries that ask for a code."""

from .daemon import _bus_address, bus_address
from .stack import Adapter, Bluez, Lock

__all__ = ["Adapter", "Bluez", "Lock", "_bus_address", "bus_address"]
