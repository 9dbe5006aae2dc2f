"""Find batteries by what they advertise (docs/protocol.md 3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
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
from .advertisement import LISTED_IDS

_NAMESAKE_TIME: Final = 1.0
"""s in which a second battery of the same name would be heard as well."""
_DEADLINE: Final = 10.0
"""s for Bluetooth to begin or to end a scan, which takes it far less than one."""

_DENIED: Final = "this user may not use Bluetooth: add it to the group bluetooth"
_REASONS: Final = {
    Reason.NO_BLUETOOTH: "there is no Bluetooth adapter: plug one in",
    Reason.NO_BLE_CENTRAL_ROLE: "the Bluetooth adapter has no Low Energy: use another",
    Reason.POWERED_OFF: "Bluetooth is switched off: `bluetoothctl power on`",
    Reason.DENIED_BY_USER: _DENIED,
    Reason.DENIED_BY_SYSTEM: _DENIED,
    Reason.DENIED_BY_UNKNOWN: _DENIED,
}
_NO_BLUEZ: Final = "bluetoothd does not run: `systemctl start bluetooth`"
_DBUS_ERRORS: Final = {
    "org.freedesktop.DBus.Error.AccessDenied": _DENIED,
    "org.freedesktop.DBus.Error.NameHasNoOwner": _NO_BLUEZ,
    "org.freedesktop.DBus.Error.ServiceUnknown": _NO_BLUEZ,
    "org.freedesktop.DBus.Error.Spawn.ServiceNotFound": _NO_BLUEZ,
    "org.bluez.Error.NotReady": _REASONS[Reason.POWERED_OFF],
}


@dataclass(slots=True)
class Heard:
    """A battery, as it was last heard: a scan keeps it up to date."""

    address: str
    name: str | None
    rssi: int
    """dBm."""
    device: BLEDevice


class Scan:
    """What an adapter hears while anybody is in here."""

    def __init__(self, adapter: str | None = None) -> None:
        """`adapter` is as BlueZ names it, such as `hci1`; `None` is the first."""
        self._adapter = adapter
        self._scanner: BleakScanner
        self._listeners = 0
        self._lock = asyncio.Lock()
        self._heard: dict[str, Heard] = {}
        self._batteries: set[str] = set()
        """Addresses of those that are batteries by their advertisement."""
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start to listen, unless another has; raises `NoBluetoothError`."""
        async with self._lock:
            if not self._listeners:
                await self._start()
            self._listeners += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop to listen, unless another still does."""
        async with self._lock:
            self._listeners -= 1
            if not self._listeners:
                # What is no longer there need not be stopped, and what was heard counts
                with suppress(BleakError, OSError, EOFError):
                    await asyncio.wait_for(self._scanner.stop(), _DEADLINE)

    async def _start(self) -> None:
        self._heard.clear()
        self._batteries.clear()
        adapter: BlueZScannerArgs = {"adapter": self._adapter} if self._adapter else {}
        try:
            self._scanner = BleakScanner(self._on_advertisement, bluez=adapter)
            await asyncio.wait_for(self._scanner.start(), _DEADLINE)
        except (BleakError, OSError, EOFError) as err:
            raise NoBluetoothError(_explain(err)) from err

    async def find(self, asked: str, timeout: float) -> Heard:
        """Wait for a device of this name or address.

        Raises `NotReachableError` or `AmbiguousNameError`.
        """
        try:
            async with asyncio.timeout(timeout):
                while not (found := self._meant(asked)):
                    await self._news.wait()
        except TimeoutError as err:
            raise not_heard(timeout) from err
        if found[0].name == asked:
            await asyncio.sleep(_NAMESAKE_TIME)
            found = self._meant(asked)
        if len(found) > 1:
            addresses = " and ".join(heard.address for heard in found)
            raise AmbiguousNameError(f"{addresses} have this name")
        return found[0]

    async def batteries(self, timeout: float) -> AsyncIterator[Heard]:
        """Yield each battery when it is first heard, for so many seconds."""
        told = set[str]()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while True:
                    for address in sorted(self._batteries - told):
                        told.add(address)
                        yield self._heard[address]
                    await self._news.wait()

    def _meant(self, asked: str) -> list[Heard]:
        """Return those of this address, or else of this name."""
        everyone = self._heard.values()
        return [h for h in everyone if h.address.upper() == asked.upper()] or sorted(
            (h for h in everyone if h.name == asked), key=lambda h: h.address
        )

    def _on_advertisement(self, device: BLEDevice, advert: AdvertisementData) -> None:
        heard = self._heard.setdefault(
            device.address, Heard(device.address, None, advert.rssi, device)
        )
        # An advertisement has a name only if there is room for one, and BlueZ makes up
        # one of the address until it knows better
        name = advert.local_name or heard.name or device.name
        if name != device.address.replace(":", "-"):
            heard.name = name
        heard.rssi, heard.device = advert.rssi, device
        if not LISTED_IDS.isdisjoint(advert.manufacturer_data):
            self._batteries.add(device.address)
        news, self._news = self._news, asyncio.Event()
        news.set()


def not_heard(timeout: float) -> NotReachableError:
    """Return the error of a battery that was waited for in vain."""
    return NotReachableError(f"Not heard within {timeout:g} s")


def _explain(err: Exception) -> str:
    """Say why there is no Bluetooth and what to do about it."""
    match err:
        case BleakBluetoothNotAvailableError():
            return _REASONS.get(err.reason, str(err.args[0]))
        case BleakDBusError() if err.dbus_error in _DBUS_ERRORS:
            return _DBUS_ERRORS[err.dbus_error]
        case TimeoutError():
            return "Bluetooth does not answer: `systemctl restart bluetooth`"
        case PermissionError():
            return f"D-Bus may not be used ({err.strerror}): ask the administrator"
        case OSError() | EOFError():
            reason = getattr(err, "strerror", None) or err
            return f"D-Bus does not run ({reason}): `systemctl start dbus`"
    return f"Bluetooth does not work: {err}"
