"""Pair with a battery that requires a code, through BlueZ (docs/protocol.md 2.6).

Linux only: import it where it is needed. The code is never logged or stored.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
import logging
import re
from secrets import token_hex
from typing import Any, Final

from bleak.backends.bluezdbus.utils import get_dbus_authenticator
from dbus_fast import AuthError, BusType, Message, MessageType, Variant, unpack_variants
from dbus_fast.aio import MessageBus

from ..errors import (
    PairingCancelledError,
    PairingCodeError,
    PairingError,
    PairingGoneError,
    PairingNotReadyError,
    PairingRefusedError,
    PairingTimeoutError,
)

_LOGGER = logging.getLogger(__name__)

CODE: Final = re.compile(r"[0-9]{6}", re.ASCII)
"""The format of a pairing code."""

_PAIR_TIMEOUT: Final = 35.0
"""Seconds for the pairing itself; Bluetooth allows 30 s for each of its steps."""
_CALL_TIMEOUT: Final = 5.0
"""Seconds for BlueZ calls that use no radio."""
_DISCONNECT_TIMEOUT: Final = 10.0
"""Seconds until BlueZ reports the end of a link."""
_DISCOVERY_TIMEOUT: Final = 20.0
"""Seconds to wait for an advertisement of a battery that BlueZ does not know."""
_POLL_INTERVAL: Final = 0.1
"""Seconds between two checks of a property in BlueZ."""

_BLUEZ: Final = "org.bluez"
_ROOT: Final = "/org/bluez"
_ADAPTER: Final = "org.bluez.Adapter1"
_AGENT: Final = "org.bluez.Agent1"
_AGENT_MANAGER: Final = "org.bluez.AgentManager1"
_DEVICE: Final = "org.bluez.Device1"
_OBJECT_MANAGER: Final = "org.freedesktop.DBus.ObjectManager"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"

_NO_AGENT: Final = re.compile(r"no agent|agent ?not ?available", re.IGNORECASE)
_ERRORS: Final[dict[str, type[PairingError]]] = {
    "org.bluez.Error.AuthenticationCanceled": PairingCancelledError,
    "org.bluez.Error.AuthenticationFailed": PairingRefusedError,
    "org.bluez.Error.AuthenticationRejected": PairingRefusedError,
    "org.bluez.Error.AuthenticationTimeout": PairingTimeoutError,
    "org.bluez.Error.ConnectionAttemptFailed": PairingGoneError,
    "org.bluez.Error.DoesNotExist": PairingGoneError,
    "org.bluez.Error.Failed": PairingGoneError,
    "org.freedesktop.DBus.Error.UnknownMethod": PairingGoneError,
    "org.freedesktop.DBus.Error.UnknownObject": PairingGoneError,
}
"""Errors by BlueZ's error name; any other means that it cannot pair at the moment."""


@dataclass(frozen=True, slots=True)
class Bond:
    """A battery that an adapter of this machine is paired with."""

    adapter: str
    """Bluetooth address of the adapter."""
    path: str
    """BlueZ object path of the battery, as in `BLEDevice.details["path"]`."""


async def pair(path: str, code: str) -> None:
    """Pair with the device at this BlueZ path, using a six-digit code.

    Only for a battery that has just refused to be read: an existing bond is useless,
    since BlueZ created it without a code, and is removed first. The link is down at the
    end. Raises a `PairingError`.
    """
    if not CODE.fullmatch(code):
        raise PairingCodeError("A pairing code has six digits")
    async with _connect() as bus:
        bluez = _Bluez(bus, path)
        # On an existing link, BlueZ may have answered the battery without a code
        await bluez.disconnect()
        if await bluez.get("Paired"):
            _LOGGER.debug("%s: removing a bond that does not work", path)
            await bluez.remove()
        await bluez.discover()
        try:
            await _pair(bluez, int(code))
        finally:
            # A connected battery does not advertise
            await bluez.disconnect()


async def unpair(path: str) -> None:
    """Remove the bond with the device at this path, if there is one."""
    async with _connect() as bus:
        bluez = _Bluez(bus, path)
        if await bluez.get("Paired"):
            await bluez.remove()


async def find_bonds(address: str) -> list[Bond]:
    """Return the bonds with the battery at this Bluetooth address."""
    async with _connect() as bus:
        (objects,) = await _call(bus, "/", _OBJECT_MANAGER, "GetManagedObjects")
    devices = {
        path: unpack_variants(interfaces[_DEVICE])
        for path, interfaces in objects.items()
        if _DEVICE in interfaces
    }
    return [
        Bond(objects[device["Adapter"]][_ADAPTER]["Address"].value, path)
        for path, device in devices.items()
        if device["Address"] == address and device["Paired"]
    ]


async def _pair(bluez: _Bluez, code: int) -> None:
    async with _agent(bluez, code) as agent:
        try:
            await bluez.pair()
        except _NoAgentError:
            # There is no agent that this one could replace
            await bluez.disconnect()
            await bluez.call(_ROOT, _AGENT_MANAGER, "RequestDefaultAgent", "o", agent)
            await bluez.pair()
    if not await bluez.get("Paired"):
        raise PairingRefusedError("BlueZ reports a pairing that left no bond")
    await bluez.call(
        bluez.path,
        _PROPERTIES,
        "Set",
        "ssv",
        _DEVICE,
        "Trusted",
        Variant("b", value=True),
    )


@asynccontextmanager
async def _agent(bluez: _Bluez, code: int) -> AsyncIterator[str]:
    """Answer BlueZ, and nobody else, with the code for this one device."""
    path = f"/jkbms/agent_{token_hex(8)}"
    (bluetoothd,) = await _call(
        bluez.bus,
        "/org/freedesktop/DBus",
        "org.freedesktop.DBus",
        "GetNameOwner",
        "s",
        _BLUEZ,
        destination="org.freedesktop.DBus",
    )

    def answer(message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL or message.path != path:
            return None
        if message.sender == bluetoothd and message.interface == _AGENT:
            if message.member in {"Cancel", "Release"}:
                return Message.new_method_return(message)
            if message.member == "RequestPasskey" and message.body == [bluez.path]:
                _LOGGER.debug("%s: the battery asks for the code", bluez.path)
                return Message.new_method_return(message, "u", [code])
        return Message.new_error(message, "org.bluez.Error.Rejected", "Not this")

    bluez.bus.add_message_handler(answer)
    try:
        await bluez.call(
            _ROOT, _AGENT_MANAGER, "RegisterAgent", "os", path, "KeyboardOnly"
        )
        try:
            yield path
        finally:
            with suppress(PairingError):
                await bluez.call(_ROOT, _AGENT_MANAGER, "UnregisterAgent", "o", path)
    finally:
        bluez.bus.remove_message_handler(answer)


class _NoAgentError(PairingNotReadyError):
    """BlueZ has no agent, not even one that is not the default."""


@dataclass(frozen=True, slots=True)
class _Bluez:
    """One device in BlueZ."""

    bus: MessageBus
    path: str

    async def call(
        self, path: str, interface: str, member: str, signature: str = "", *body: Any
    ) -> list[Any]:
        """Call a method that BlueZ answers at once."""
        return await _call(self.bus, path, interface, member, signature, *body)

    async def get(self, name: str) -> Any:
        """Return a property of the device, `None` while BlueZ does not know the device."""
        try:
            (value,) = await self.call(
                self.path, _PROPERTIES, "Get", "ss", _DEVICE, name
            )
        except PairingGoneError:
            return None
        return value.value

    async def pair(self) -> None:
        """Connect and pair; it takes as long as the battery does."""
        await _call(self.bus, self.path, _DEVICE, "Pair", timeout=_PAIR_TIMEOUT)

    async def disconnect(self) -> None:
        """End the link, and the pairing on it, and wait until it is down.

        `CancelPairing` would delete the bond if the pairing had just succeeded.
        """
        if not await self.get("Connected"):
            return
        with suppress(PairingError):
            await _call(
                self.bus,
                self.path,
                _DEVICE,
                "Disconnect",
                timeout=_DISCONNECT_TIMEOUT,
            )
        try:
            async with asyncio.timeout(_DISCONNECT_TIMEOUT):
                while await self.get("Connected"):
                    await asyncio.sleep(_POLL_INTERVAL)
        except TimeoutError as err:
            raise PairingNotReadyError("BlueZ does not end the connection") from err

    async def remove(self) -> None:
        """Remove the device together with its bond."""
        with suppress(PairingGoneError):
            await self.call(self._adapter, _ADAPTER, "RemoveDevice", "o", self.path)

    async def discover(self) -> None:
        """Wait until BlueZ knows the device."""
        if await self._is_known():
            return
        transport = {"Transport": Variant("s", "le")}
        await self.call(
            self._adapter, _ADAPTER, "SetDiscoveryFilter", "a{sv}", transport
        )
        await self.call(self._adapter, _ADAPTER, "StartDiscovery")
        try:
            async with asyncio.timeout(_DISCOVERY_TIMEOUT):
                while not await self._is_known():
                    await asyncio.sleep(_POLL_INTERVAL)
        except TimeoutError as err:
            raise PairingGoneError("The adapter does not see the battery") from err
        finally:
            with suppress(PairingError):
                await self.call(self._adapter, _ADAPTER, "StopDiscovery")

    async def _is_known(self) -> bool:
        return await self.get("Address") is not None

    @property
    def _adapter(self) -> str:
        return self.path.rpartition("/")[0]


@asynccontextmanager
async def _connect() -> AsyncIterator[MessageBus]:
    """Connect to the system bus for as long as it is needed."""
    bus = MessageBus(bus_type=BusType.SYSTEM, auth=get_dbus_authenticator())
    try:
        await bus.connect()
    except (AuthError, EOFError, OSError) as err:
        bus.disconnect()
        raise PairingNotReadyError(f"No connection to the system bus: {err}") from err
    try:
        yield bus
    finally:
        bus.disconnect()


async def _call(
    bus: MessageBus,
    path: str,
    interface: str,
    member: str,
    signature: str = "",
    *body: Any,
    destination: str = _BLUEZ,
    timeout: float = _CALL_TIMEOUT,
) -> list[Any]:
    message = Message(
        destination=destination,
        path=path,
        interface=interface,
        member=member,
        signature=signature,
        body=list(body),
    )
    try:
        async with asyncio.timeout(timeout):
            reply = await bus.call(message)
    except TimeoutError as err:
        raise PairingTimeoutError(f"{member} took longer than {timeout:.0f} s") from err
    except (OSError, EOFError) as err:
        raise PairingNotReadyError(
            f"The connection to the system bus was lost: {err}"
        ) from err
    if reply.message_type is MessageType.ERROR:
        name = reply.error_name or ""
        reason = f"[{name}] {' '.join(map(str, reply.body))}"
        if _NO_AGENT.search(reason):
            raise _NoAgentError(reason)
        raise _ERRORS.get(name, PairingNotReadyError)(reason)
    return reply.body
