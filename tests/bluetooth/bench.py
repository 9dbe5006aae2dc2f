"""A battery on the bench: the real client, bleak and its retry connector above a battery in software.

All of it runs in virtual time, so that every pause is measured exactly and none is waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, override

from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import NotifyCallback
from bleak.backends.device import BLEDevice
import pytest

from custom_components.jk_bms.jkbms.bluetooth.client import JkBmsClient
from custom_components.jk_bms.jkbms.models import Reading
from tests.virtual_bms import (
    MODELS,
    Battery,
    Behaviour,
    Faults,
    Spec,
    State,
    VirtualBackend,
    VirtualBms,
    VirtualRadio,
)
from tests.virtual_bms.radio import GATT_TIME
from tests.virtual_time import VirtualTimeLoop

HOUSE = "JK_B2A8S20P 11.48"
GARAGE = "JK_PB2A16S20P 15.41"
"""An inverter board: AT lines, a second 0x03, and an early 0x96 is its end."""

INFO, CELLS = 0x97, 0x96
DEADLINE = 25.0
SETTLE = 0.3
CADENCE = 0.53
STEADY = {
    "info_delay": (0.1, 0.1),
    "settings_delay": (0.08, 0.08),
    "stream_delay": (0.7, 0.7),
}
"""A battery that takes the same time for everything every day, to compare exactly."""
FIRST_COMMAND = 0.4 + 2 * GATT_TIME + SETTLE
"""Connecting, finding the services, subscribing, settling."""
INFO_COMPLETE = FIRST_COMMAND + 0.1 + 3 * 0.025
SECOND_COMMAND = INFO_COMPLETE + 0.09
CELLS_COMPLETE = SECOND_COMMAND + 0.7 + 3 * 0.025
COMPLETE = CELLS_COMPLETE + GATT_TIME
"""Of a steady `HOUSE`: four notifications a frame, and the acknowledgement behind it."""

MUTE = Faults(never_answer={INFO})
RIGHT_AWAY = 1e-6

exactly = pytest.approx


class Bench:
    """One battery in reach of a radio, the client under test, and a listener on the line between."""

    def __init__(
        self, runner: asyncio.Runner, radio: VirtualRadio, bms: RememberingBms
    ) -> None:
        """Nothing happens before `run`."""
        self.runner = runner
        self.radio = radio
        self.bms = bms
        self.client = JkBmsClient(self.find, name="battery")
        self.device: BLEDevice | None = radio.device(bms)
        self.found = 0
        """How often it was looked for."""
        self.before: dict[int, Callable[[], object]] = {}
        """What happens before it is found for the n-th time."""
        self.connecting: list[float] = []
        self.subscribed: list[tuple[float, int]] = []
        self.written: list[tuple[int, bool]] = []
        self.heard: list[tuple[float, bytes]] = []
        self.lost: Callable[[bytes], bool] = lambda _: False
        """Whether a notification is lost on the way."""
        self.forged: Callable[[bytes], bytes] = bytes
        """What becomes of a notification on the way."""
        self.tell: Callable[[bytearray], None]
        """Makes a notification out of thin air."""
        self.elapsed = 0.0
        self.use(TappedBackend)

    def use(self, backend: type[TappedBackend]) -> None:
        """Talk to the battery through this backend from now on."""
        self.backend = type(backend.__name__, (backend,), {"bench": self})

    def find(self) -> BLEDevice | None:
        """Stand in for whoever knows the best path to the battery."""
        self.found += 1
        self.before.get(self.found, lambda: None)()
        return self.device

    @property
    def commands(self) -> list[int | None]:
        """All that was sent, whether the battery liked it or not."""
        return [command.register for command in self.bms.commands]

    def sent_at(self, register: int) -> list[float]:
        """When a command was sent."""
        return [c.at for c in self.bms.commands if c.register == register]

    @property
    def reasons(self) -> list[str]:
        """Who ended each link."""
        return [connection.reason for connection in self.bms.connections]

    def read(self, **options: float) -> Reading:
        """Read the battery, within the deadline whatever comes."""
        try:
            return self.run(self.client.read(**options))
        finally:
            assert self.elapsed <= options.get("deadline", DEADLINE) + RIGHT_AWAY

    def run[T](self, awaitable: Awaitable[T]) -> T:
        """Do it, take the time, and see that no task, timer or link is left behind."""
        return self.runner.run(self._watch(awaitable))

    async def _watch[T](self, awaitable: Awaitable[T]) -> T:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        began = loop.time()
        try:
            return await awaitable
        finally:
            self.elapsed = loop.time() - began
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert loop.timers == []
            assert loop.mishaps == []
            assert self.radio.taken == []
            assert not self.bms.connected


class RememberingBms(VirtualBms):
    """Knows what it said in which frame of cell data."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Remember from the first frame on."""
        super().__init__(*args, **kwargs)
        self.states: dict[int, State] = {}

    @override
    def live(self, now: float) -> None:
        super().live(now)
        self.states[self.counter] = self.battery.state


class TappedBackend(VirtualBackend):
    """Tells the bench what goes over the line."""

    bench: Bench

    @property
    def now(self) -> float:
        """Time on the bench."""
        return asyncio.get_running_loop().time()

    @override
    async def connect(
        self, pair: bool, dangerous_use_bleak_cache: bool = False, **kwargs: Any
    ) -> None:
        self.bench.connecting.append(self.now)
        await super().connect(pair, dangerous_use_bleak_cache, **kwargs)

    @override
    async def start_notify(
        self,
        characteristic: BleakGATTCharacteristic,
        callback: NotifyCallback,
        **kwargs: Any,
    ) -> None:
        def listen(data: bytearray) -> None:
            data = bytearray(self.bench.forged(bytes(data)))
            if not self.bench.lost(bytes(data)):
                self.bench.heard.append((self.now, bytes(data)))
                callback(data)

        self.bench.tell = listen
        await super().start_notify(characteristic, listen, **kwargs)
        self.bench.subscribed.append((self.now, characteristic.handle))

    @override
    async def write_gatt_char(
        self, characteristic: BleakGATTCharacteristic, data: Any, response: bool
    ) -> None:
        await super().write_gatt_char(characteristic, data, response)
        self.bench.written.append((characteristic.handle, response))


class StickyBackend(TappedBackend):
    """The link is released, and nobody tells."""

    @override
    async def disconnect(self) -> None:
        await super().disconnect()
        await asyncio.get_running_loop().create_future()


type SwitchOn = Callable[..., Bench]


@pytest.fixture
def switch_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[SwitchOn]:
    """Switch a battery on; it may differ from its model in specification, habits and faults."""
    with (
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
        VirtualRadio("bench", slots=1) as radio,
    ):

        def switch_on(
            model: str = HOUSE,
            *,
            faults: Faults | None = None,
            habits: dict[str, Any] | None = None,
            changes: dict[str, Any] | None = None,
        ) -> Bench:
            spec = replace(MODELS[model], **(changes or {}))
            behaviour = replace(Behaviour.of(spec), **(habits or {}))
            bms = RememberingBms(
                Battery(spec, soc=0.6), faults=faults, behaviour=behaviour
            )
            radio.place(bms)
            bench = Bench(runner, radio, bms)
            monkeypatch.setattr(
                "bleak.get_platform_client_backend_type",
                lambda: (bench.backend, "tapped"),
            )
            return bench

        yield switch_on


def measured(spec: Spec, state: State) -> dict[str, Any]:
    """What must be read of a battery in this state, by layout."""
    balancer = {
        "cell_voltage": state.cells,
        "cell_resistance": state.resistances[: len(state.cells)],
        "min_cell": state.lowest + 1,
        "max_cell": state.highest + 1,
        "battery_voltage": state.voltage,
        "remain_percent": None,
        "battery_current": None,
        "mosfet_temperature": None,
    }
    battery = balancer | {
        "battery_current": state.current,
        "remain_percent": state.soc,
        "remain_capacity": state.remaining,
        "nominal_capacity": state.full,
        "cycle_count": state.cycles,
        "mosfet_temperature": state.mosfet_temperature,
        "up_time": int(state.run_time),
        "charging": state.charging,
        "discharging": state.discharging,
    }
    is_balancer = spec.balancer_only or spec.layout == "JK04"
    return balancer if is_balancer else battery


def assert_read(reading: Reading, bms: RememberingBms) -> None:
    """See that the reading says what the battery knew when it sent the frame."""
    spec, settings = bms.spec, bms.battery.settings
    assert reading.cell_data.frame_counter is not None
    state = bms.states[reading.cell_data.frame_counter]
    expected = measured(spec, state)
    found = {name: getattr(reading.cell_data, name) for name in expected}
    wrong = {
        name
        for name, value in found.items()
        if value != exactly(expected[name], abs=0.0006)
    }
    assert {name: found[name] for name in wrong} == {
        name: expected[name] for name in wrong
    }
    assert reading.layout == spec.layout
    info = reading.device_info
    assert info.device_model == spec.model
    assert info.software_version == spec.software
    assert info.hardware_version == spec.hardware
    assert info.device_name == spec.name
    assert info.serial_number == (spec.serial or None)
    assert info.device_passcode == spec.passcode
    assert reading.settings
    assert reading.settings.cell_count == settings.cell_count
    assert reading.settings.balance_trigger == exactly(settings.balance_trigger)
