"""Finds batteries by their advertisements (docs/protocol.md 3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
import re
from typing import Final, Self

from bleak import BleakScanner
from bleak.args.bluez import BlueZScannerArgs
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason as Reason,
    BleakDBusError,
    BleakError,
)

from ..errors import AmbiguousNameError, NoBluetoothError, NotReachableError
from ..text import printable
from .advertisement import LISTED_IDS

_SAME_NAME_WAIT: Final = 1.0
"""Seconds to wait for a second battery with the same name."""
_BLUETOOTH_TIMEOUT: Final = 10.0
"""Seconds to start or stop a scan, which normally takes far less than one."""

_STACK_ERRORS: Final = (BleakError, OSError, EOFError, KeyError)
"""Errors that bleak and D-Bus raise; a `KeyError` while bleak still counts an adapter that is
gone since D-Bus was restarted."""
_MAX_SEEN: Final = 200
"""Devices that are remembered during a scan; phones change their address every quarter
of an hour, and a scan may go on for years."""
_ADDRESS: Final = re.compile(r"(?:[0-9A-F]{2}[:-]){5}[0-9A-F]{2}", re.IGNORECASE)
"""A name that is an address: BlueZ makes one up until it knows the name, and another
device could use it to impersonate the battery at that address."""

_DENIED: Final = "this user may not use Bluetooth: add it to the group bluetooth"
_REASONS: Final = {
    Reason.NO_BLUETOOTH: "there is no Bluetooth adapter: plug one in",
    Reason.NO_BLE_CENTRAL_ROLE: (
        "the Bluetooth adapter does not support Low Energy: use another one"
    ),
    Reason.POWERED_OFF: "Bluetooth is turned off: `bluetoothctl power on`",
    Reason.DENIED_BY_USER: _DENIED,
    Reason.DENIED_BY_SYSTEM: _DENIED,
    Reason.DENIED_BY_UNKNOWN: _DENIED,
}
_NO_BLUEZ: Final = "bluetoothd is not running: `systemctl start bluetooth`"
_DBUS_ERRORS: Final = {
    "org.freedesktop.DBus.Error.AccessDenied": _DENIED,
    "org.freedesktop.DBus.Error.NameHasNoOwner": _NO_BLUEZ,
    "org.freedesktop.DBus.Error.ServiceUnknown": _NO_BLUEZ,
    "org.freedesktop.DBus.Error.Spawn.ServiceNotFound": _NO_BLUEZ,
    "org.bluez.Error.NotReady": _REASONS[Reason.POWERED_OFF],
}


@dataclass(slots=True)
class SeenDevice:
    """A device in range; the scan updates it with each advertisement."""

    address: str
    name: str | None
    rssi: int
    """dBm."""
    device: BLEDevice


class Scan:
    """What one adapter can see; scans while it is used by at least one `async with`."""

    def __init__(self, adapter: str | None = None) -> None:
        """`adapter` is its name in BlueZ, such as `hci1`; `None` is the first one."""
        self._adapter = adapter
        self._scanner: BleakScanner
        self._users = 0
        self._lock = asyncio.Lock()
        self._batteries: dict[str, SeenDevice] = {}
        """Devices that advertise as a JK BMS, by address; the latest last, `_MAX_SEEN` at most."""
        self._others: dict[str, SeenDevice] = {}
        """All other devices, likewise."""
        self._searches: dict[str, asyncio.Event] = {}
        """Events by name or address, in capitals; set by the next such advertisement."""
        self._found_battery = asyncio.Event()
        """Set when the next new battery is found, then replaced."""

    async def __aenter__(self) -> Self:
        """Start scanning for the first user; raises `NoBluetoothError`."""
        async with self._lock:
            if not self._users:
                await self._start()
            self._users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop scanning after the last user."""
        async with self._lock:
            self._users -= 1
            if not self._users:
                # If stopping fails, the scan has ended anyway and its results are valid
                with suppress(*_STACK_ERRORS):
                    await asyncio.wait_for(self._scanner.stop(), _BLUETOOTH_TIMEOUT)

    async def _start(self) -> None:
        self._batteries.clear()
        self._others.clear()
        adapter: BlueZScannerArgs = {"adapter": self._adapter} if self._adapter else {}
        try:
            self._scanner = BleakScanner(self._on_advertisement, bluez=adapter)
            await asyncio.wait_for(self._scanner.start(), _BLUETOOTH_TIMEOUT)
        except _STACK_ERRORS as err:
            raise NoBluetoothError(_reason(err)) from err

    async def find(self, target: str, timeout: float) -> SeenDevice:
        """Wait up to `timeout` seconds for a device with this name or address.

        Raises `NotReachableError` or `AmbiguousNameError`.
        """
        try:
            async with asyncio.timeout(timeout):
                while not (matching := self._matching(target)):
                    key = target.upper()
                    await self._searches.setdefault(key, asyncio.Event()).wait()
        except TimeoutError as err:
            raise not_found(timeout) from err
        if matching[0].address.upper() != target.upper():
            await asyncio.sleep(_SAME_NAME_WAIT)
            matching = self._matching(target)
        if len(matching) > 1:
            addresses = " and ".join(seen.address for seen in matching)
            raise AmbiguousNameError(f"several batteries have this name: {addresses}")
        return matching[0]

    async def batteries(self, timeout: float) -> AsyncIterator[SeenDevice]:
        """Yield each battery once, as soon as it is seen, for `timeout` seconds."""
        yielded = set[str]()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while True:
                    for address in sorted(self._batteries.keys() - yielded):
                        yielded.add(address)
                        yield self._batteries[address]
                    await self._found_battery.wait()

    def _matching(self, target: str) -> list[SeenDevice]:
        """Return the device with this address, or else those with this name."""
        devices = [*self._batteries.values(), *self._others.values()]
        return [d for d in devices if d.address.upper() == target.upper()] or sorted(
            (d for d in devices if d.name == target), key=lambda d: d.address
        )

    def _on_advertisement(self, device: BLEDevice, advert: AdvertisementData) -> None:
        address = device.address
        is_known = address in self._batteries
        is_battery = is_known or not LISTED_IDS.isdisjoint(advert.manufacturer_data)
        seen = (
            self._batteries.pop(address, None)
            or self._others.pop(address, None)
            or SeenDevice(address, None, advert.rssi, device)
        )
        devices = self._batteries if is_battery else self._others
        devices[address] = seen
        if len(devices) > _MAX_SEEN:
            del devices[next(iter(devices))]
        # An advertisement may have no room for the name
        name = printable(advert.local_name or seen.name or device.name or "").strip()
        if not _ADDRESS.fullmatch(name):
            seen.name = name or None
        seen.rssi, seen.device = advert.rssi, device
        for key in (address.upper(), (seen.name or "").upper()):
            if search := self._searches.pop(key, None):
                search.set()
        if is_battery and not is_known:
            found, self._found_battery = self._found_battery, asyncio.Event()
            found.set()


def not_found(timeout: float) -> NotReachableError:
    """Return the error for a battery that was not seen within `timeout` seconds."""
    return NotReachableError(f"Not found within {timeout:g} s")


def _reason(err: Exception) -> str:
    """Return why Bluetooth does not work and what to do about it."""
    match err:
        case BleakBluetoothNotAvailableError():
            return _REASONS.get(err.reason, str(err.args[0]))
        case KeyError():
            return _REASONS[Reason.NO_BLUETOOTH]
        case BleakDBusError() if err.dbus_error in _DBUS_ERRORS:
            return _DBUS_ERRORS[err.dbus_error]
        case TimeoutError():
            return "Bluetooth does not respond: `systemctl restart bluetooth`"
        case PermissionError():
            return f"access to D-Bus is denied ({err.strerror}): ask the administrator"
        case OSError() | EOFError():
            reason = getattr(err, "strerror", None) or str(err) or "it disconnected"
            return f"D-Bus is not running ({reason}): `systemctl start dbus`"
    return f"Bluetooth does not work: {err}"
