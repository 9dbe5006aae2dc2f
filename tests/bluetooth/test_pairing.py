"""Pairing with a code, on a real D-Bus daemon and an emulated BlueZ."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
import logging

from bleak import BleakClient
from bleak.backends.bluezdbus.version import BlueZFeatures
from bleak.backends.device import BLEDevice
import bleak_retry_connector
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus
import pytest

from custom_components.jk_bms.jkbms.bluetooth import pairing
from custom_components.jk_bms.jkbms.bluetooth.client import JkBmsClient
from custom_components.jk_bms.jkbms.bluetooth.pairing import (
    Bond,
    find_bonds,
    pair,
    unpair,
)
from custom_components.jk_bms.jkbms.errors import (
    LinkError,
    PairingCancelledError,
    PairingCodeError,
    PairingError,
    PairingGoneError,
    PairingNotReadyError,
    PairingRefusedError,
    PairingTimeoutError,
)
from tests.bluez import Adapter, Bluez, Lock
from tests.virtual_bms import MODELS, Battery, Faults, VirtualBms, link

CODE = "123456"
SPEED = 20.0
ADAPTER = "00:1A:7D:DA:71:13"


@pytest.fixture
async def bluez(
    bus_address: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Bluez]:
    """Run BlueZ."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus_address)
    monkeypatch.setattr(BlueZFeatures, "checked_bluez_version", True)
    async with Bluez(bus_address) as bluez:
        yield bluez


@pytest.fixture
def adapter(bluez: Bluez) -> Adapter:
    """Plug an adapter in."""
    return bluez.add_adapter("hci0", ADAPTER)


type Make = Callable[..., VirtualBms]


@pytest.fixture(autouse=True)
def slow_pairing_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a link stay up for the 5 s that an unpaired battery allows, in real time."""
    monkeypatch.setattr(link, "PAIRING_DROP", SPEED * link.PAIRING_DROP)


@pytest.fixture
def make(bluez: Bluez, adapter: Adapter) -> Make:
    """Return a function that creates batteries that send nothing unpaired."""

    def make(
        model: str = "JK_PB2A16S20P 15.41",
        *,
        refuses: bool | str = "drop",
        lock: Lock | None = None,
    ) -> VirtualBms:
        battery = Battery(MODELS[model], time_scale=0.0)
        faults = Faults(pairing=refuses)
        bms = VirtualBms(battery, faults=faults, speed=SPEED)
        bluez.locks[bms.address] = lock or Lock()
        adapter.place(bms)
        return bms

    return make


@pytest.fixture
def bms(make: Make) -> VirtualBms:
    """Place a battery in range that asks for a code."""
    return make()


class Program:
    """Another program with an agent, such as the settings of the desktop."""

    def __init__(self, bus: MessageBus) -> None:
        """Use `program` to get one."""
        self._bus = bus
        self.asked: list[str] = []
        bus.add_message_handler(self._answer)

    async def call(self, path: str, interface: str, member: str, *body: str) -> Message:
        """Call a method of BlueZ that takes texts and paths."""
        signatures = {"RegisterAgent": "os", "RequestDefaultAgent": "o"}
        return await self._bus.call(
            Message(
                destination="org.bluez",
                path=path,
                interface=interface,
                member=member,
                signature=signatures.get(member, ""),
                body=list(body),
            )
        )

    async def become_default(self) -> None:
        """Register the agent that BlueZ asks for everything."""
        manager = "/org/bluez", "org.bluez.AgentManager1"
        await self.call(*manager, "RegisterAgent", "/agent", "KeyboardDisplay")
        await self.call(*manager, "RequestDefaultAgent", "/agent")

    async def ask(self, agent: tuple[str, str], member: str, device: str) -> Message:
        """Ask an agent as if it were BlueZ."""
        destination, path = agent
        return await self._bus.call(
            Message(
                destination=destination,
                path=path,
                interface="org.bluez.Agent1",
                member=member,
                signature="o",
                body=[device],
            )
        )

    def _answer(self, message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        self.asked.append(message.member or "")
        return Message.new_method_return(message, "u", [111111])


@pytest.fixture
async def program(bluez: Bluez, bus_address: str) -> AsyncGenerator[Program]:
    """Run another program."""
    bus = await MessageBus(bus_address=bus_address).connect()
    yield Program(bus)
    bus.disconnect()


async def read(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms, *, answer_timeout: float = 15.0
) -> str:
    """Read over the adapter, and return the model; expect silence to be brief."""
    path = await bluez.until_seen(adapter, bms)
    props = {"Adapter": adapter.path, "Alias": bms.spec.name}
    device = BLEDevice(bms.address, bms.spec.name, {"path": path, "props": props})
    client = JkBmsClient(lambda: device, name="battery", answer_timeout=answer_timeout)
    return (await client.read(deadline=30)).device_info.device_model


def assert_clean(bluez: Bluez, *bms: VirtualBms) -> None:
    """See that nothing is left behind but bonds."""
    assert bluez.agents == {}
    assert bluez.default_agents == []
    assert bluez.count("CancelPairing") == 0
    assert not any(device.connected for device in bluez.devices.values())
    assert not any(battery.connected for battery in bms)
    assert not any(adapter.discovering for adapter in bluez.adapters)


@pytest.mark.parametrize("refuses", [True, "drop", "empty", "unlikely", "writes"])
async def test_right_code_gives_data(
    bluez: Bluez,
    adapter: Adapter,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    refuses: bool | str,
) -> None:
    """Whatever the battery does unpaired, it is read with the bond and not before."""
    bms = make(refuses=refuses)
    with monkeypatch.context() as patch:
        patch.setattr(link, "PAIRING_DROP", link.PAIRING_DROP / SPEED)
        with pytest.raises(LinkError):
            await read(bluez, adapter, bms, answer_timeout=0.3)
    await pair(await bluez.until_seen(adapter, bms), CODE)
    assert bluez.bonds == {(ADAPTER, bms.address): True}
    assert bluez.devices[bluez.path(adapter, bms)].trusted
    assert_clean(bluez, bms)
    assert await read(bluez, adapter, bms) == bms.spec.model
    assert await find_bonds(bms.address) == [Bond(ADAPTER, bluez.path(adapter, bms))]
    assert bluez.removed == []
    assert_clean(bluez, bms)


async def test_wrong_code_is_refused_and_the_next_try_works(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms
) -> None:
    """The failure leaves no bond and no agent that would be in the way."""
    path = await bluez.until_seen(adapter, bms)
    with pytest.raises(PairingRefusedError, match="AuthenticationFailed"):
        await pair(path, "000000")
    assert bluez.bonds == {}
    assert_clean(bluez, bms)
    await pair(path, CODE)
    assert bluez.bonds == {(ADAPTER, bms.address): True}
    assert bluez.removed == []


async def test_battery_bound_elsewhere_is_refused(
    bluez: Bluez, adapter: Adapter, make: Make
) -> None:
    """The right code is not enough for a battery that keeps to its first phone."""
    bms = make(lock=Lock(bound_to="a phone"))
    path = await bluez.until_seen(adapter, bms)
    with pytest.raises(PairingRefusedError):
        await pair(path, CODE)
    assert bluez.bonds == {}
    assert_clean(bluez, bms)


async def test_silent_bond_is_removed_before_pairing(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms
) -> None:
    """A bond without a code is good for nothing and stands in the way."""
    path = await bluez.until_seen(adapter, bms)
    bluez.bonds[ADAPTER, bms.address] = False
    with pytest.raises(LinkError):
        await read(bluez, adapter, bms, answer_timeout=0.3)
    assert bluez.removed == []
    await pair(path, CODE)
    assert bluez.removed == [(bms.address, True)]
    assert bluez.bonds == {(ADAPTER, bms.address): True}
    assert_clean(bluez, bms)
    assert await read(bluez, adapter, bms) == bms.spec.model


async def test_security_request_of_its_own_does_not_spoil_the_pairing(
    bluez: Bluez, adapter: Adapter, make: Make
) -> None:
    """BlueZ bonds without a code while the battery is read; the pairing does better."""
    bms = make(lock=Lock(asks=True))
    with pytest.raises(LinkError):
        await read(bluez, adapter, bms, answer_timeout=0.3)
    assert bluez.bonds == {(ADAPTER, bms.address): False}
    await pair(bluez.path(adapter, bms), CODE)
    assert bluez.bonds == {(ADAPTER, bms.address): True}
    assert await read(bluez, adapter, bms) == bms.spec.model


async def test_link_that_is_up_is_ended_first(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms, program: Program
) -> None:
    """On that link BlueZ could have answered the battery already."""
    path = await bluez.until_seen(adapter, bms)
    await program.call(path, "org.bluez.Device1", "Connect")
    await pair(path, CODE)
    members = bluez.members()
    assert members.index("Disconnect") < members.index("Pair")
    assert bluez.bonds == {(ADAPTER, bms.address): True}


async def test_agent_of_another_program_is_neither_asked_nor_replaced(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms, program: Program
) -> None:
    """The desktop keeps its agent and shows no dialog."""
    await program.become_default()
    before = list(bluez.default_agents)
    await pair(await bluez.until_seen(adapter, bms), CODE)
    assert program.asked == []
    assert bluez.default_agents == before
    assert bluez.count("RequestDefaultAgent") == 1


async def test_agent_becomes_the_default_only_where_there_is_none(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms
) -> None:
    """A BlueZ that answers that it has no agent is given this one, for the pairing."""
    bluez.only_default_agents = True
    await pair(await bluez.until_seen(adapter, bms), CODE)
    assert bluez.count("Pair") == 2
    assert bluez.count("RequestDefaultAgent") == 1
    assert bluez.bonds == {(ADAPTER, bms.address): True}
    assert_clean(bluez, bms)


async def test_agent_answers_nobody_else_and_for_nothing_else(
    bluez: Bluez,
    adapter: Adapter,
    bms: VirtualBms,
    program: Program,
) -> None:
    """The code goes to BlueZ, for this battery, and nowhere else."""
    path = await bluez.until_seen(adapter, bms)
    bluez.locks[bms.address].mood = "hangs"
    task = asyncio.create_task(pair(path, CODE))
    async with asyncio.timeout(60):
        while not (bluez.agents and bms.connected):
            await asyncio.sleep(0.01)
    (agent,) = bluez.agents.values()
    ours = agent.sender, agent.path
    assert agent.capability == "KeyboardOnly"
    replies = [
        await program.ask(ours, "RequestPasskey", path),
        await bluez.ask(agent, "RequestPasskey", f"{path}0"),
        await bluez.ask(agent, "RequestPinCode", path),
        await bluez.ask(agent, "RequestAuthorization", path),
    ]
    assert [reply.error_name for reply in replies] == ["org.bluez.Error.Rejected"] * 4
    assert (await bluez.ask(agent, "Cancel")).error_name is None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_clean(bluez, bms)


async def test_two_batteries_pair_at_once(
    bluez: Bluez, adapter: Adapter, make: Make
) -> None:
    """Each gets its own code."""
    first = make(lock=Lock(code=111111))
    second = make("JK_B2A8S20P 11.48", lock=Lock(code=222222))
    paths = [await bluez.until_seen(adapter, bms) for bms in (first, second)]
    await asyncio.gather(pair(paths[0], "111111"), pair(paths[1], "222222"))
    assert set(bluez.bonds.values()) == {True}
    assert len(bluez.bonds) == 2
    assert_clean(bluez, first, second)


async def test_bond_survives_a_restart_of_bluez_and_failed_reads(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms
) -> None:
    """Nothing that happens while reading removes a bond."""
    await pair(await bluez.until_seen(adapter, bms), CODE)
    await bluez.restart()
    assert await read(bluez, adapter, bms) == bms.spec.model
    for faults in (
        Faults(silent=True),
        Faults(no_services_first=2),
        Faults(missing_characteristic=True),
        Faults(disconnect_after=1),
        Faults(refuse_connection=1),
    ):
        bms.faults = faults
        with suppress(LinkError):
            await read(bluez, adapter, bms, answer_timeout=0.3)
    assert bluez.bonds == {(ADAPTER, bms.address): True}
    assert bluez.removed == []


class CacheClearingClient(BleakClient):
    """Clears cached services as Home Assistant's client does over a local adapter."""

    async def clear_cache(self) -> bool:
        """Let BlueZ forget the device."""
        return await bleak_retry_connector.clear_cache(self.address)


class ServiceCacheClient(CacheClearingClient):
    """Stands between that and the client of the library, as in Home Assistant."""


@pytest.mark.parametrize(
    ("bond", "is_removed"), [(True, False), (False, False), (None, True)]
)
async def test_clearing_cached_services_keeps_a_bond(
    bluez: Bluez,
    adapter: Adapter,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
    bond: bool | None,
    is_removed: bool,
) -> None:
    """BlueZ would forget it with the services; without a bond, nothing is lost."""
    monkeypatch.setattr(
        bleak_retry_connector, "BleakClientWithServiceCache", ServiceCacheClient
    )
    if bond is not None:
        bluez.bonds[ADAPTER, bms.address] = bond
    with pytest.raises(LinkError):
        await read(bluez, adapter, bms, answer_timeout=0.3)
    if is_removed:
        async with asyncio.timeout(60):
            while not bluez.removed:
                await asyncio.sleep(0.01)
    else:
        await asyncio.sleep(0.1)
        assert not bluez.removed


async def test_bond_that_the_battery_forgot_is_replaced(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms
) -> None:
    """A battery that was reset takes the code again."""
    path = await bluez.until_seen(adapter, bms)
    await pair(path, CODE)
    bluez.locks[bms.address].knows.clear()
    with pytest.raises(LinkError):
        await read(bluez, adapter, bms, answer_timeout=0.3)
    await pair(path, CODE)
    assert await read(bluez, adapter, bms) == bms.spec.model


async def test_unpair_removes_a_bond_and_nothing_else(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms
) -> None:
    """A battery without a bond stays known, and one that is gone is no error."""
    path = await bluez.until_seen(adapter, bms)
    await unpair(path)
    assert bluez.removed == []
    await pair(path, CODE)
    await unpair(path)
    assert bluez.removed == [(bms.address, True)]
    assert await find_bonds(bms.address) == []
    await unpair(path)
    assert len(bluez.removed) == 1


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        ("org.bluez.Error.AuthenticationFailed", PairingRefusedError),
        ("org.bluez.Error.AuthenticationRejected", PairingRefusedError),
        ("org.bluez.Error.AuthenticationCanceled", PairingCancelledError),
        ("org.bluez.Error.AuthenticationTimeout", PairingTimeoutError),
        ("org.bluez.Error.ConnectionAttemptFailed", PairingGoneError),
        ("org.bluez.Error.Failed", PairingGoneError),
        ("org.bluez.Error.NotReady", PairingNotReadyError),
        ("org.bluez.Error.InProgress", PairingNotReadyError),
        ("org.freedesktop.DBus.Error.AccessDenied", PairingNotReadyError),
        ("org.freedesktop.DBus.Error.UnknownObject", PairingGoneError),
    ],
)
async def test_each_answer_of_bluez_has_its_error(
    bluez: Bluez,
    adapter: Adapter,
    bms: VirtualBms,
    error: str,
    raised: type[PairingError],
) -> None:
    """Each kind of error asks for something else from the user."""
    path = await bluez.until_seen(adapter, bms)
    bluez.failures["Pair"] = error, "the reason"
    with pytest.raises(raised, match="the reason"):
        await pair(path, CODE)
    assert_clean(bluez, bms)


@pytest.mark.parametrize(
    ("lock", "raised"),
    [
        (Lock(mood="drops"), PairingCancelledError),
        (Lock(mood="hangs"), PairingTimeoutError),
    ],
)
async def test_battery_that_ends_or_delays_the_pairing(
    bluez: Bluez,
    adapter: Adapter,
    make: Make,
    lock: Lock,
    raised: type[PairingError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The link is down afterwards, without a call that could delete a bond."""
    monkeypatch.setattr(pairing, "_PAIR_TIMEOUT", 0.5)
    bms = make(lock=lock)
    with pytest.raises(raised):
        await pair(await bluez.until_seen(adapter, bms), CODE)
    assert bluez.bonds == {}
    assert_clean(bluez, bms)


async def test_pairing_a_battery_out_of_range_fails(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The battery is gone, whether BlueZ has known it before or not."""
    monkeypatch.setattr(pairing, "_DISCOVERY_TIMEOUT", 0.5)
    path = await bluez.until_seen(adapter, bms)
    adapter.reach.clear()
    with pytest.raises(PairingGoneError):
        await pair(path, CODE)
    with pytest.raises(PairingGoneError, match="does not see"):
        await pair(f"{adapter.path}/dev_00_00_00_00_00_00", CODE)
    assert_clean(bluez, bms)


async def test_cancelled_pairing_leaves_nothing_behind(
    bluez: Bluez, adapter: Adapter, make: Make
) -> None:
    """A dialog that is closed takes the agent and the link with it."""
    bms = make(lock=Lock(mood="hangs"))
    task = asyncio.create_task(pair(await bluez.until_seen(adapter, bms), CODE))
    async with asyncio.timeout(60):
        while not bms.connected:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bluez.bonds == {}
    assert_clean(bluez, bms)


async def test_pairing_without_a_bond_is_a_failure(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BlueZ may report success without having stored a bond."""
    path = await bluez.until_seen(adapter, bms)
    monkeypatch.setattr(bluez, "_bond", lambda *_, **__: None)
    with pytest.raises(PairingRefusedError, match="no bond"):
        await pair(path, CODE)


async def test_link_that_does_not_end(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BlueZ that does not disconnect is not asked to pair."""
    monkeypatch.setattr(pairing, "_DISCONNECT_TIMEOUT", 0.3)
    path = await bluez.until_seen(adapter, bms)
    bluez.devices[path].connected = True
    with pytest.raises(PairingNotReadyError, match="does not end"):
        await pair(path, CODE)
    assert bluez.count("Pair") == 0
    bluez.devices[path].connected = False


async def test_no_system_bus(bus_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without D-Bus there is nothing to pair with."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus")
    with pytest.raises(PairingNotReadyError, match="system bus"):
        await pair("/org/bluez/hci0/dev_00", CODE)


async def test_pairing_without_bluez_fails_at_once(
    bus_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the service that is missing on the bus."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus_address)
    with pytest.raises(PairingNotReadyError, match="org.bluez"):
        await pair("/org/bluez/hci0/dev_00", CODE)


async def test_bus_that_breaks_down_is_no_failure_of_the_battery(
    bluez: Bluez, adapter: Adapter, bms: VirtualBms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D-Bus belongs to this machine: pairing is not ready, the battery not at fault."""
    path = await bluez.until_seen(adapter, bms)

    async def call(_bus: MessageBus, _message: Message) -> Message:
        raise EOFError

    monkeypatch.setattr(MessageBus, "call", call)
    with pytest.raises(PairingNotReadyError, match="system bus was lost"):
        await pair(path, CODE)


@pytest.mark.parametrize("code", ["", "12345", "1234567", "12345a", "１２３４５６"])
async def test_code_has_six_digits(code: str) -> None:
    """Anything else is no code."""
    with pytest.raises(PairingCodeError, match="six digits"):
        await pair("/org/bluez/hci0/dev_00", code)


async def test_code_is_never_logged(
    bluez: Bluez, adapter: Adapter, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the right code nor a wrong one appears, at any level."""
    caplog.set_level(logging.DEBUG)
    bms = make(lock=Lock(code=803471))
    path = await bluez.until_seen(adapter, bms)
    with pytest.raises(PairingRefusedError):
        await pair(path, "803472")
    await pair(path, "803471")
    assert bluez.bonds == {(ADAPTER, bms.address): True}
    assert caplog.text
    assert "80347" not in caplog.text


async def test_battery_without_a_code_costs_no_pairing(
    bluez: Bluez, adapter: Adapter, make: Make
) -> None:
    """Such a battery is read without registering an agent."""
    bms = make("JK_B2A8S20P 11.48", refuses=False)
    del bluez.locks[bms.address]
    assert await read(bluez, adapter, bms) == bms.spec.model
    link = [
        call.member
        for call in bluez.calls
        if call.interface != "org.freedesktop.DBus.ObjectManager"
        and not call.interface.startswith("org.bluez.Adapter1")
    ]
    assert link == ["Connect", "StartNotify", "WriteValue", "WriteValue", "Disconnect"]
