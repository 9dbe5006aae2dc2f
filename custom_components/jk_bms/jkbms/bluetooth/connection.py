"""One Bluetooth connection to a battery; besides the scanner, the only user of bleak."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import re
from typing import Any, Final, override

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.backends.service import BleakGATTServiceCollection
from bleak.exc import BleakDeviceNotFoundError
from bleak.uuids import normalize_uuid_str
import bleak_retry_connector
from bleak_retry_connector import (
    BLEAK_RETRY_EXCEPTIONS,
    establish_connection,
    get_device_by_adapter,
)

from ..errors import (
    LinkError,
    NoFreeSlotError,
    NotJkBmsError,
    NotReachableError,
    PairingRequiredError,
)
from .advertisement import PAIRING_PREFIX

DISCONNECT_TIMEOUT: Final = 3.0
"""Seconds to wait for the end of a connection; some backends never confirm it."""
_SUBSCRIBE_TIMEOUT: Final = 8.0
"""Seconds to turn notifications on; leaves time in a read for a second connection."""
_WRITE_TIMEOUT: Final = 5.0
"""Seconds to write one command."""

_SERVICE: Final = normalize_uuid_str("ffe0")
_SERIAL: Final = normalize_uuid_str("ffe1")
_EXTRA_WRITE: Final = normalize_uuid_str("ffe2")
_WRITE_WITHOUT_RESPONSE: Final = "write-without-response"
_WRITE: Final = frozenset({"write", _WRITE_WITHOUT_RESPONSE})

_GENERIC_SERVICES: Final = frozenset(map(normalize_uuid_str, ("1800", "1801")))
"""Generic Bluetooth services, which do not identify the device."""

_PAIRING: Final = re.compile(
    r"insufficient (authentication|authorization|encryption|key size)"
    r"|(authentication|encryption) is insufficient"
    r"|auth(entication)? ?(fail|cancel|reject|timeout)"
    r"|not ?(authorized|paired|encrypted)"
    r"|encrypted no mitm|failed to encrypt|pairing failed|pairing information",
    re.IGNORECASE,
)
"""Error texts of BlueZ, ESPHome and macOS if security is missing or could not be set up.

The word "authenticated" alone means nothing: a proxy that is being reached again has no
"authenticated connection" to Home Assistant.
"""
_PAIRING_AT_SUBSCRIPTION: Final = re.compile(
    rf"{_PAIRING.pattern}|unlikely error", re.IGNORECASE
)
"""Also matches ATT error 0x0E ("unlikely error"): the Bluetooth stack failed to pair."""
_LINK_ENDED: Final = re.compile(r"changed connection status")
_SECURITY_REASON: Final = re.compile(r"\((5|6)\)$")
"""ESPHome names the reason for the end of a link (HCI) as if it were an ATT error.

8 is the end of a weak link, worded "insufficient authorization". 5 is a failed
authentication, 6 a bond that is missing on one side.
"""
_NO_SERVICES: Final = "Failed to get services"
"""Error text of ESPHome for an empty service list, raised while connecting."""
_STACK_ERRORS: Final = (*BLEAK_RETRY_EXCEPTIONS, OSError, KeyError)
"""Errors that bleak and D-Bus raise, also when the D-Bus daemon stops or the adapter is gone."""
_ADAPTERS: Final = 9
"""Adapters that the retry connector checks, hci0 to hci8."""
_NO_SLOT: Final = re.compile(r"available connection|connection slot")
PAIRING_REQUIRED: Final = "The battery requires pairing"
_NO_RESPONSE: Final = "the battery did not respond in time"

type FindDevice = Callable[[], BLEDevice | None]
type ClientMixin = type[BleakClient]
"""Mixin placed before bleak's client, for example to choose the path."""


class Connection:
    """Connects, subscribes, writes and disconnects; every error is a `LinkError`."""

    def __init__(
        self,
        name: str,
        on_data: Callable[[bytearray], None],
        on_disconnected: Callable[[], None],
        client_mixin: ClientMixin | None = None,
    ) -> None:
        """`name` is for the log; the callbacks are called once `open` has connected."""
        self._name = name
        self._client_mixin = client_mixin
        self._on_data = on_data
        self._on_disconnected = on_disconnected
        self._client: bleak_retry_connector.BleakClientWithServiceCache | None = None
        self._send_to: BleakGATTCharacteristic
        self._connect_error: Exception | None = None
        """Why the latest attempt to connect failed."""
        self.waited_for_slot = False
        """Whether an attempt to connect found no free connection slot."""
        self._address = ""

    @property
    def was_established(self) -> bool:
        """Whether connecting succeeded; stays true when the connection ends."""
        return self._client is not None

    @property
    def may_require_pairing(self) -> bool:
        """Whether the radio module is of the kind that sends nothing unpaired."""
        return self._address.upper().startswith(PAIRING_PREFIX)

    async def open(self, find_device: FindDevice) -> None:
        """Connect and turn notifications on (docs/protocol.md 2.3)."""
        if not (device := find_device()):
            raise NotReachableError("No Bluetooth adapter can see the battery")
        self._address = device.address
        try:
            self._client = await establish_connection(
                self._client_class(),
                device,
                self._name,
                disconnected_callback=self._on_client_disconnected,
                ble_device_callback=lambda: find_device() or device,
            )
        except _STACK_ERRORS as err:
            # The retry connector's own error adds advice that may mention slots
            self._connect_error = self._connect_error or err
            raise self.connect_failure() from err
        with _translated_errors():
            chosen = choose_characteristics(self._client.services)
        if not chosen:
            services = {service.uuid for service in self._client.services}
            if self.may_require_pairing and services <= _GENERIC_SERVICES:
                raise PairingRequiredError(PAIRING_REQUIRED)
            raise NotJkBmsError("The device has no serial service of a JK BMS")
        receive_from, self._send_to = chosen
        with _translated_errors(_PAIRING_AT_SUBSCRIPTION):
            async with asyncio.timeout(_SUBSCRIBE_TIMEOUT):
                await self._client.start_notify(
                    receive_from, lambda _, data: self._on_data(data)
                )

    async def write(self, data: bytes) -> None:
        """Write a command, without response where the device supports it."""
        assert self._client
        needs_response = _WRITE_WITHOUT_RESPONSE not in self._send_to.properties
        with _translated_errors():
            async with asyncio.timeout(_WRITE_TIMEOUT):
                await self._client.write_gatt_char(
                    self._send_to, data, response=needs_response
                )

    async def forget_services(self) -> None:
        """Clear the cached services, so that the next connection discovers them again."""
        client = self._client
        assert client
        # Plain bleak has no cache: the retry connector's method would log a warning
        base = bleak_retry_connector.BleakClientWithServiceCache
        if isinstance(client, base) and hasattr(super(base, client), "clear_cache"):
            with suppress(*_STACK_ERRORS):
                await client.clear_cache()

    async def close(self) -> None:
        """Disconnect, in any state and even if cancelled; returns within 3 s."""
        if not self._client:
            return
        disconnecting = asyncio.create_task(self._disconnect(self._client))
        cancelled: asyncio.CancelledError | None = None
        while not disconnecting.done():
            try:
                await asyncio.shield(disconnecting)
            except asyncio.CancelledError as err:
                # A battery that stays connected is invisible to every other client
                cancelled = err
        if cancelled:
            raise cancelled

    def connect_failure(self) -> LinkError:
        """Return the error for a connection that was never established."""
        reason = str(self._connect_error or "") or _NO_RESPONSE
        if _NO_SLOT.search(reason):
            return NoFreeSlotError(reason)
        is_empty = self.may_require_pairing and _NO_SERVICES in reason
        if is_empty or _lacks_security(reason):
            return PairingRequiredError(PAIRING_REQUIRED)
        is_missing = isinstance(self._connect_error, BleakDeviceNotFoundError)
        return NotReachableError(f"Connecting failed: {reason}", is_missing=is_missing)

    async def _disconnect(self, client: BleakClient) -> None:
        with suppress(*_STACK_ERRORS):
            async with asyncio.timeout(DISCONNECT_TIMEOUT):
                await client.disconnect()

    def _on_client_disconnected(self, _: BleakClient) -> None:
        # Until then only one attempt has ended, which the retry connector repeats
        if self.was_established:
            self._on_disconnected()

    def _client_class(self) -> type[bleak_retry_connector.BleakClientWithServiceCache]:
        """Return a client class that records why connecting failed and keeps bonds.

        While every slot is taken, `establish_connection` retries for longer than the
        deadline of a read and reports nothing until it gives up, and it takes no
        callback for the errors in between: only the client sees them in time.

        Home Assistant replaces the base class at start, so it is looked up at each use.
        """
        connection = self

        class Client(bleak_retry_connector.BleakClientWithServiceCache):
            @override
            async def connect(self, **kwargs: Any) -> None:
                connection._connect_error = None
                try:
                    await super().connect(**kwargs)
                except _STACK_ERRORS as err:
                    connection._connect_error = err
                    connection.waited_for_slot |= bool(_NO_SLOT.search(str(err)))
                    raise

            @override
            async def clear_cache(self) -> bool:
                # BlueZ can only forget a whole device: its services and its bond
                bonded = await _has_bond(connection._address)
                return not bonded and await super().clear_cache()

        mixin = self._client_mixin
        return type("MixedClient", (mixin, Client), {}) if mixin else Client


def choose_characteristics(
    services: BleakGATTServiceCollection,
) -> tuple[BleakGATTCharacteristic, BleakGATTCharacteristic] | None:
    """Choose the characteristics to receive from and to send to (docs/protocol.md 2.3).

    The UUID may exist twice, so the properties decide; `None` if one is missing.
    """
    characteristics = [
        characteristic
        for service in services
        if service.uuid == _SERVICE
        for characteristic in service.characteristics
    ]
    serial = [each for each in characteristics if each.uuid == _SERIAL]
    receive_from = [each for each in serial if "notify" in each.properties]
    send_to = [
        *(each for each in receive_from if _WRITE & set(each.properties)),
        *(each for each in serial if _WRITE & set(each.properties)),
        *(
            each
            for each in characteristics
            if each.uuid == _EXTRA_WRITE and _WRITE_WITHOUT_RESPONSE in each.properties
        ),
    ]
    return (receive_from[0], send_to[0]) if receive_from and send_to else None


async def _has_bond(address: str) -> bool:
    """Return whether BlueZ knows a bond with the battery, without a D-Bus call.

    bleak does not document the content of `details`; on Linux, `props` holds the
    properties of `org.bluez.Device1`.
    """
    for number in range(_ADAPTERS):
        device = await get_device_by_adapter(address, f"hci{number}")
        if device and device.details["props"].get("Paired"):
            return True
    return False


def _lacks_security(reason: str, pairing: re.Pattern[str] = _PAIRING) -> bool:
    """Return whether an error of the Bluetooth stack means that pairing is required."""
    if _LINK_ENDED.search(reason):
        return bool(_SECURITY_REASON.search(reason))
    return bool(pairing.search(reason))


@contextmanager
def _translated_errors(pairing: re.Pattern[str] = _PAIRING) -> Iterator[None]:
    try:
        yield
    except _STACK_ERRORS as err:
        if _lacks_security(str(err), pairing):
            raise PairingRequiredError(PAIRING_REQUIRED) from err
        raise NotReachableError(
            f"The connection was lost: {str(err) or _NO_RESPONSE}"
        ) from err
