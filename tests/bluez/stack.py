"""An object tree that behaves like bluetoothd, as far as batteries and their codes go."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from bleak.exc import BleakError, BleakGATTProtocolError, BleakGATTProtocolErrorCode
from dbus_fast import DBusError, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from tests.virtual_bms import VirtualBms
from tests.virtual_bms.adverts import advertisement
from tests.virtual_bms.link import Link

ADAPTER = "org.bluez.Adapter1"
AGENT = "org.bluez.Agent1"
AGENT_MANAGER = "org.bluez.AgentManager1"
DEVICE = "org.bluez.Device1"
SERVICE = "org.bluez.GattService1"
CHARACTERISTIC = "org.bluez.GattCharacteristic1"
DESCRIPTOR = "org.bluez.GattDescriptor1"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
CCCD = "00002902-0000-1000-8000-00805f9b34fb"

ADVERT_INTERVAL = 0.05
"""s between two advertisements of a battery."""
ASK_TIMEOUT = 60.0
"""s for an agent to answer."""

NOT_PAIRED = {
    BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHENTICATION,
    BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION,
    BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION_KEY_SIZE,
}
"""ATT errors that BlueZ words "Not paired"."""

type Interfaces = dict[str, dict[str, Variant]]


@dataclass
class Lock:
    """What the radio module of a battery asks for. `Faults.pairing` says what it is like without."""

    code: int = 123456
    bound_to: str | None = None
    """The only central that it accepts a code from."""
    asks: bool = False
    """It sends a Security Request as soon as it is connected."""
    mood: Literal["good", "drops", "hangs"] = "good"
    """What it does when it has been given the code."""
    knows: set[str] = field(default_factory=set)
    """Adapters that it has a bond with by code; it forgets them when it is reset."""


@dataclass(frozen=True)
class Call:
    """One call of a method."""

    sender: str
    path: str
    interface: str
    member: str


@dataclass(frozen=True)
class Agent:
    """A program that may be asked."""

    sender: str
    path: str
    capability: str


@dataclass
class Device:
    """A battery as one adapter knows it."""

    path: str
    adapter: Adapter
    bms: VirtualBms
    rssi: int
    connected: bool = False
    resolved: bool = False
    trusted: bool = False
    link: Link | None = None
    gatt: dict[str, Interfaces] = field(default_factory=dict)
    handles: dict[str, int] = field(default_factory=dict)
    """Handle of the characteristic at each path."""
    paired_by: str | None = None
    """The program that requested the pairing in progress."""
    pairing: asyncio.Task[None] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Where its bond is stored."""
        return self.adapter.address, self.bms.address


@dataclass
class Adapter:
    """A Bluetooth adapter of the machine, and the batteries in its range."""

    path: str
    address: str
    reach: dict[str, tuple[VirtualBms, int]] = field(default_factory=dict)
    discovering: set[str] = field(default_factory=set)

    def place(self, bms: VirtualBms, rssi: int = -60) -> None:
        """Bring a battery in range."""
        self.reach[bms.address] = bms, rssi


class Bluez:
    """`async with Bluez(bus_address) as bluez` owns org.bluez."""

    def __init__(self, address: str) -> None:
        """Nothing happens before it is entered."""
        self._address = address
        self._bus: MessageBus
        self._tasks: set[asyncio.Task[None]] = set()
        self.adapters: list[Adapter] = []
        self.devices: dict[str, Device] = {}
        self.locks: dict[str, Lock] = {}
        """By address of the battery; one without a lock is read by everybody."""
        self.bonds: dict[tuple[str, str], bool] = {}
        """Stored on disk: adapter and battery, and whether a code was entered."""
        self.agents: dict[str, Agent] = {}
        self.default_agents: list[Agent] = []
        self.only_default_agents = False
        """Whether it forgets that the program that pairs has an agent of its own."""
        self.calls: list[Call] = []
        self.removed: list[tuple[str, bool]] = []
        """Batteries that were removed, and whether a bond went with them."""
        self.failures: dict[str, tuple[str, str]] = {}
        """Methods that fail, with what error."""

    async def __aenter__(self) -> Self:
        """Appear on the bus."""
        bus = self._bus = await MessageBus(bus_address=self._address).connect()
        bus.add_message_handler(self._on_message)
        await bus.call(
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="AddMatch",
                signature="s",
                body=["type='signal',member='NameOwnerChanged'"],
            )
        )
        await bus.request_name("org.bluez")
        self._run(self._advertise())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the bus."""
        for device in tuple(self.devices.values()):
            self._drop(device)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._bus.disconnect()

    # What tests do

    def add_adapter(self, name: str, address: str) -> Adapter:
        """Plug an adapter in."""
        adapter = Adapter(f"/org/bluez/{name}", address)
        self.adapters.append(adapter)
        self._signal_added(adapter.path, self._adapter_interfaces(adapter))
        return adapter

    async def restart(self) -> None:
        """Restart bluetoothd: only what is on disk remains."""
        for device in tuple(self.devices.values()):
            self._forget(device)
        self.agents.clear()
        self.default_agents.clear()
        await self._bus.release_name("org.bluez")
        await self._bus.request_name("org.bluez")
        for adapter in self.adapters:
            adapter.discovering.clear()
            for bms, rssi in adapter.reach.values():
                if (adapter.address, bms.address) in self.bonds:
                    self._know(adapter, bms, rssi)

    def members(self, *, of: str = "") -> list[str]:
        """Return what was called, by everybody but `of`."""
        return [call.member for call in self.calls if call.sender != of]

    def count(self, member: str) -> int:
        """Return how often a method was called."""
        return self.members().count(member)

    def path(self, adapter: Adapter, bms: VirtualBms) -> str:
        """Return where a battery is, once it was seen."""
        return f"{adapter.path}/dev_{bms.address.replace(':', '_')}"

    async def until_seen(self, adapter: Adapter, bms: VirtualBms) -> str:
        """Let an adapter find a battery, and return where."""
        adapter.discovering.add("the tests")
        path = self.path(adapter, bms)
        async with asyncio.timeout(60):
            while path not in self.devices:
                await asyncio.sleep(ADVERT_INTERVAL)
        adapter.discovering.remove("the tests")
        return path

    async def ask(self, agent: Agent, member: str, *devices: str) -> Message:
        """Ask an agent."""
        return await self._bus.call(
            Message(
                destination=agent.sender,
                path=agent.path,
                interface=AGENT,
                member=member,
                signature="o" * len(devices),
                body=list(devices),
            )
        )

    # Objects

    def _objects(self) -> dict[str, Interfaces]:
        objects: dict[str, Interfaces] = {"/org/bluez": {AGENT_MANAGER: {}}}
        for adapter in self.adapters:
            objects[adapter.path] = self._adapter_interfaces(adapter)
        for device in self.devices.values():
            objects[device.path] = {DEVICE: self._device_properties(device)}
            objects |= device.gatt
        return objects

    def _adapter_interfaces(self, adapter: Adapter) -> Interfaces:
        return {
            ADAPTER: {
                "Address": Variant("s", adapter.address),
                "AddressType": Variant("s", "public"),
                "Name": Variant("s", "machine"),
                "Alias": Variant("s", "machine"),
                "Modalias": Variant("s", "usb:v1D6Bp0246d0540"),
                "Powered": Variant("b", value=True),
                "Discovering": Variant("b", value=bool(adapter.discovering)),
                "Roles": Variant("as", ["central", "peripheral"]),
            }
        }

    def _device_properties(self, device: Device) -> dict[str, Variant]:
        advert = advertisement(device.bms.spec, device.rssi)
        return {
            "Address": Variant("s", device.bms.address),
            "AddressType": Variant("s", "public"),
            "Adapter": Variant("o", device.adapter.path),
            "Name": Variant("s", advert.local_name or ""),
            "Alias": Variant("s", advert.local_name or ""),
            "RSSI": Variant("n", device.rssi),
            "UUIDs": Variant("as", advert.service_uuids),
            "ManufacturerData": Variant(
                "a{qv}",
                {
                    company: Variant("ay", payload)
                    for company, payload in advert.manufacturer_data.items()
                },
            ),
            "Blocked": Variant("b", value=False),
            "Bonded": Variant("b", value=device.key in self.bonds),
            "Connected": Variant("b", value=device.connected),
            "LegacyPairing": Variant("b", value=False),
            "Paired": Variant("b", value=device.key in self.bonds),
            "ServicesResolved": Variant("b", value=device.resolved),
            "Trusted": Variant("b", value=device.trusted),
        }

    def _know(self, adapter: Adapter, bms: VirtualBms, rssi: int) -> None:
        device = Device(self.path(adapter, bms), adapter, bms, rssi)
        self.devices[device.path] = device
        self._signal_added(device.path, {DEVICE: self._device_properties(device)})

    def _forget(self, device: Device) -> None:
        self._drop(device)
        del self.devices[device.path]
        self._signal_removed(device.path, [DEVICE])

    async def _advertise(self) -> None:
        while True:
            for adapter in self.adapters:
                for bms, rssi in tuple(adapter.reach.values()):
                    if adapter.discovering and bms.advertising:
                        self._receive(adapter, bms, rssi)
            await asyncio.sleep(ADVERT_INTERVAL)

    def _receive(self, adapter: Adapter, bms: VirtualBms, rssi: int) -> None:
        if device := self.devices.get(self.path(adapter, bms)):
            device.rssi = rssi
            self._signal_changed(device, "RSSI", "ManufacturerData")
        else:
            self._know(adapter, bms, rssi)

    # Links

    async def _connect(self, device: Device) -> None:
        """Connect; what the battery asks for at once is answered without the user."""
        if device.connected:
            return
        if device.bms.address not in device.adapter.reach:
            raise TimeoutError
        link = await device.bms.connect(
            device.adapter.address, lambda _: self._on_close(device)
        )
        device.link, device.connected = link, True
        lock = self.locks.get(device.bms.address)
        if lock and lock.asks and device.key not in self.bonds and not device.pairing:
            if self.default_agents:
                with suppress(DBusError):
                    await self._enter_code(device, lock, self.default_agents[0])
            else:
                self._bond(device, with_code=False)
        self._set_security(device)
        self._signal_changed(device, "Connected")

    def _set_security(self, device: Device) -> None:
        lock = self.locks.get(device.bms.address)
        assert device.link
        device.link.paired = not lock or (
            self.bonds.get(device.key, False) and device.adapter.address in lock.knows
        )

    async def _resolve(self, device: Device) -> None:
        """Publish the services."""
        await asyncio.sleep(0.03 / device.bms.speed)
        if not device.link:
            return
        for service in device.bms.discover():
            path = f"{device.path}/service{service.handle:04x}"
            device.gatt[path] = {
                SERVICE: {
                    "UUID": Variant("s", service.uuid),
                    "Device": Variant("o", device.path),
                    "Primary": Variant("b", value=True),
                    "Includes": Variant("ao", []),
                }
            }
            for char in service.characteristics:
                char_path = f"{path}/char{char.handle:04x}"
                device.handles[char_path] = char.handle
                device.gatt[char_path] = {
                    CHARACTERISTIC: {
                        "UUID": Variant("s", char.uuid),
                        "Service": Variant("o", path),
                        "Flags": Variant("as", list(char.properties)),
                        "Notifying": Variant("b", value=False),
                        "MTU": Variant("q", device.bms.variant.mtu),
                    }
                }
                if char.cccd is not None:
                    device.gatt[f"{char_path}/desc{char.cccd:04x}"] = {
                        DESCRIPTOR: {
                            "UUID": Variant("s", CCCD),
                            "Characteristic": Variant("o", char_path),
                        }
                    }
        for path, interfaces in device.gatt.items():
            self._signal_added(path, interfaces)
        device.resolved = True
        self._signal_changed(device, "ServicesResolved")

    def _drop(self, device: Device) -> None:
        """End the link, and the pairing on it."""
        if device.pairing:
            device.pairing.cancel()
        if device.link:
            device.link.close("by the central")

    def _on_close(self, device: Device) -> None:
        device.link = None
        device.connected = device.resolved = False
        for path, interfaces in reversed(device.gatt.items()):
            self._signal_removed(path, list(interfaces))
        device.gatt.clear()
        device.handles.clear()
        self._signal_changed(device, "ServicesResolved", "Connected")

    # Pairing

    def _bond(self, device: Device, *, with_code: bool) -> None:
        self.bonds[device.key] = with_code
        self._signal_changed(device, "Paired", "Bonded")

    async def _pair(self, device: Device, sender: str) -> None:
        if device.key in self.bonds:
            raise DBusError("org.bluez.Error.AlreadyExists", "Already Exists")
        if device.pairing:
            raise DBusError("org.bluez.Error.InProgress", "In Progress")
        device.paired_by, device.pairing = sender, asyncio.current_task()
        try:
            await self._connect(device)
            await self._bond_by_agent(device, self._agent_of(sender))
        except asyncio.CancelledError:
            raise DBusError(
                "org.bluez.Error.AuthenticationCanceled", "Authentication Canceled"
            ) from None
        except TimeoutError:
            raise DBusError(
                "org.bluez.Error.ConnectionAttemptFailed", "Page Timeout"
            ) from None
        except DBusError:
            if device.link:
                device.link.close("pairing failed")
            raise
        finally:
            device.paired_by = device.pairing = None
        await self._resolve(device)

    def _agent_of(self, sender: str) -> Agent | None:
        if not self.only_default_agents and sender in self.agents:
            return self.agents[sender]
        return self.default_agents[0] if self.default_agents else None

    async def _bond_by_agent(self, device: Device, agent: Agent | None) -> None:
        lock = self.locks.get(device.bms.address)
        if self.only_default_agents and not agent:
            raise DBusError("org.bluez.Error.AgentNotAvailable", "No agent available")
        if not lock or not agent or agent.capability == "NoInputNoOutput":
            self._bond(device, with_code=False)
        else:
            await self._enter_code(device, lock, agent)
        self._set_security(device)

    async def _enter_code(self, device: Device, lock: Lock, agent: Agent) -> None:
        refused = DBusError(
            "org.bluez.Error.AuthenticationFailed", "Authentication Failed"
        )
        async with asyncio.timeout(ASK_TIMEOUT):
            reply = await self.ask(agent, "RequestPasskey", device.path)
        if lock.mood == "hangs":
            await asyncio.get_running_loop().create_future()
        if lock.mood == "drops":
            raise DBusError(
                "org.bluez.Error.AuthenticationCanceled", "Authentication Canceled"
            )
        here = device.adapter.address
        if reply.message_type is MessageType.ERROR or reply.body[0] != lock.code:
            raise refused
        if lock.bound_to not in {None, here}:
            raise refused
        lock.knows.add(here)
        self._bond(device, with_code=True)

    # Calls

    def _on_message(self, message: Message) -> Message | bool | None:
        if message.member == "NameOwnerChanged" and not message.body[2]:
            self._lose(message.body[0])
            return None
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        self.calls.append(
            Call(
                message.sender or "",
                message.path or "",
                message.interface or "",
                message.member or "",
            )
        )
        self._run(self._answer(message))
        return True

    def _lose(self, name: str) -> None:
        """Clean up behind a program that has left the bus."""
        if agent := self.agents.pop(name, None):
            with suppress(ValueError):
                self.default_agents.remove(agent)
        for adapter in self.adapters:
            adapter.discovering.discard(name)
        for device in self.devices.values():
            if device.pairing and device.paired_by == name:
                device.pairing.cancel()

    async def _answer(self, message: Message) -> None:
        try:
            signature, body = await self._do(message)
        except DBusError as err:
            reply = Message.new_error(message, err.type, err.text)
        except TimeoutError:
            reply = Message.new_error(
                message, "org.bluez.Error.Failed", "le-connection-abort-by-local"
            )
        except BleakGATTProtocolError as err:
            reply = _att_error(message, err.code)
        except BleakError as err:
            reply = Message.new_error(message, "org.bluez.Error.Failed", str(err))
        else:
            reply = Message.new_method_return(message, signature, body)
        self._send(reply)

    async def _do(self, message: Message) -> tuple[str, list[Any]]:
        member = message.member or ""
        if failure := self.failures.get(member):
            raise DBusError(*failure)
        if message.interface == OBJECT_MANAGER:
            return "a{oa{sa{sv}}}", [self._objects()]
        path = message.path or ""
        interfaces = self._objects().get(path)
        if interfaces is None:
            raise DBusError(
                "org.freedesktop.DBus.Error.UnknownObject", "No such object"
            )
        if message.interface == PROPERTIES:
            return self._property(message, interfaces)
        handlers: dict[str | None, Callable[..., Coroutine[Any, Any, None]]] = {
            ADAPTER: self._do_adapter,
            AGENT_MANAGER: self._do_agents,
            DEVICE: self._do_device,
            CHARACTERISTIC: self._do_characteristic,
        }
        await handlers[message.interface](member, path, message)
        return "", []

    def _property(
        self, message: Message, interfaces: Interfaces
    ) -> tuple[str, list[Any]]:
        properties = interfaces[message.body[0]]
        if message.member == "GetAll":
            return "a{sv}", [properties]
        if message.member == "Get":
            return "v", [properties[message.body[1]]]
        assert message.body[1] == "Trusted"
        device = self.devices[message.path or ""]
        device.trusted = message.body[2].value
        self._signal_changed(device, "Trusted")
        return "", []

    async def _do_agents(self, member: str, path: str, message: Message) -> None:
        sender = message.sender or ""
        agent = self.agents.get(sender)
        if member == "RegisterAgent":
            if agent:
                raise DBusError("org.bluez.Error.AlreadyExists", "Already Exists")
            self.agents[sender] = Agent(sender, *message.body)
            return
        if not agent or agent.path != message.body[0]:
            raise DBusError("org.bluez.Error.DoesNotExist", "Does Not Exist")
        if member == "RequestDefaultAgent":
            self.default_agents.insert(0, agent)
        else:
            assert member == "UnregisterAgent"
            self._lose(sender)

    async def _do_adapter(self, member: str, path: str, message: Message) -> None:
        adapter = next(a for a in self.adapters if a.path == path)
        if member == "StartDiscovery":
            adapter.discovering.add(message.sender or "")
        elif member == "StopDiscovery":
            adapter.discovering.discard(message.sender or "")
        elif member == "RemoveDevice":
            device = self.devices.get(message.body[0])
            if not device:
                raise DBusError("org.bluez.Error.DoesNotExist", "Does Not Exist")
            had_bond = self.bonds.pop(device.key, None) is not None
            self.removed.append((device.bms.address, had_bond))
            self._forget(device)
        else:
            assert member == "SetDiscoveryFilter"

    async def _do_device(self, member: str, path: str, message: Message) -> None:
        device = self.devices[path]
        if member == "Connect":
            await self._connect(device)
            self._run(self._resolve(device))
        elif member == "Disconnect":
            self._drop(device)
        elif member == "Pair":
            await self._pair(device, message.sender or "")
        else:
            assert member == "CancelPairing"
            if device.pairing:
                self._drop(device)
            else:
                self.bonds.pop(device.key, None)

    async def _do_characteristic(
        self, member: str, path: str, message: Message
    ) -> None:
        device = next(d for d in self.devices.values() if path in d.handles)
        characteristic = device.bms.variant.characteristics[device.handles[path]]
        if member == "WriteValue":
            value, options = message.body
            await asyncio.sleep(0)
            _require(device).write(
                characteristic, bytes(value), options["type"].value == "request"
            )
        elif member == "StartNotify":
            await asyncio.sleep(0.03 / device.bms.speed)
            _require(device).subscribe(
                characteristic, lambda data: self._signal_value(path, bytes(data))
            )
        else:
            assert member == "StopNotify"
            _require(device).unsubscribe(characteristic)

    # Signals

    def _signal_added(self, path: str, interfaces: Interfaces) -> None:
        self._signal(
            "/", OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", path, interfaces
        )

    def _signal_removed(self, path: str, interfaces: list[str]) -> None:
        self._signal("/", OBJECT_MANAGER, "InterfacesRemoved", "oas", path, interfaces)

    def _signal_changed(self, device: Device, *names: str) -> None:
        properties = self._device_properties(device)
        changed = {name: properties[name] for name in names}
        self._signal(
            device.path,
            PROPERTIES,
            "PropertiesChanged",
            "sa{sv}as",
            DEVICE,
            changed,
            [],
        )

    def _signal_value(self, path: str, value: bytes) -> None:
        changed = {"Value": Variant("ay", value)}
        self._signal(
            path,
            PROPERTIES,
            "PropertiesChanged",
            "sa{sv}as",
            CHARACTERISTIC,
            changed,
            [],
        )

    def _signal(
        self, path: str, interface: str, member: str, signature: str, *body: Any
    ) -> None:
        self._send(Message.new_signal(path, interface, member, signature, list(body)))

    def _send(self, message: Message) -> None:
        """Send, unless the D-Bus daemon has ended."""
        with suppress(OSError):
            self._bus.send(message).add_done_callback(asyncio.Future.exception)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _require(device: Device) -> Link:
    if not device.link:
        raise BleakError("Not connected")
    return device.link


def _att_error(message: Message, code: BleakGATTProtocolErrorCode) -> Message:
    """Word an ATT error as BlueZ does."""
    if code in NOT_PAIRED:
        return Message.new_error(message, "org.bluez.Error.NotPermitted", "Not paired")
    return Message.new_error(
        message,
        "org.bluez.Error.Failed",
        f"Operation failed with ATT error: 0x{code:02x}",
    )
