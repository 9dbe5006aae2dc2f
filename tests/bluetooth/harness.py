"""What the tests of the link share: the real client, bleak and its retry connector on a virtual battery.

Everything runs in virtual time, so that pauses are measured exactly and take no time.
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
"""An inverter board: AT lines, a second 0x03, and no stream after an early 0x96."""

INFO, CELLS = 0x97, 0x96
DEADLINE = 25.0
SETTLE = 0.3
CADENCE = 0.53
STEADY = {
    "info_delay": (0.1, 0.1),
    "settings_delay": (0.08, 0.08),
    "stream_delay": (0.7, 0.7),
}
"""Habits with fixed delays, so that times can be compared exactly."""
FIRST_COMMAND = 0.4 + 2 * GATT_TIME + SETTLE
"""Connecting, finding the services, subscribing, settling."""
INFO_COMPLETE = FIRST_COMMAND + 0.1 + 3 * 0.025
SECOND_COMMAND = INFO_COMPLETE + 0.09
FIRST_CELLS = SECOND_COMMAND + 0.7 + 3 * 0.025
CELLS_COMPLETE = FIRST_CELLS + CADENCE
"""Of a steady `HOUSE`: four notifications a frame, of which the second confirms the first."""
COMPLETE = CELLS_COMPLETE + GATT_TIME
"""With the acknowledgement after it."""

IGNORES_INFO = Faults(never_answer={INFO})
ROUNDING = 1e-6

exactly = pytest.approx


class Harness:
    """One battery in range of a radio, the client under test, and a record of their traffic."""

    def __init__(
        self, runner: asyncio.Runner, radio: VirtualRadio, bms: RecordingBms
    ) -> None:
        """Nothing happens until `run`."""
        self.runner = runner
        self.radio = radio
        self.bms = bms
        self.client = JkBmsClient(self.find_device, name="battery")
        self.device: BLEDevice | None = radio.device(bms)
        self.lookups = 0
        """How often the client looked up the device."""
        self.before_lookup: dict[int, Callable[[], object]] = {}
        """Called before the n-th lookup."""
        self.connect_times: list[float] = []
        self.subscriptions: list[tuple[float, int]] = []
        self.writes: list[tuple[int, bool]] = []
        self.notifications: list[tuple[float, bytes]] = []
        self.is_lost: Callable[[bytes], bool] = lambda _: False
        """Whether a notification is lost."""
        self.alter: Callable[[bytes], bytes] = bytes
        """Changes a notification before the client receives it."""
        self.notify: Callable[[bytearray], None]
        """Sends the client a notification."""
        self.elapsed = 0.0
        self.use_backend(TappedBackend)

    def use_backend(self, backend: type[TappedBackend]) -> None:
        """Use this backend for the next connections."""
        self.backend = type(backend.__name__, (backend,), {"harness": self})

    def find_device(self) -> BLEDevice | None:
        """Return the device, as a scanner would."""
        self.lookups += 1
        self.before_lookup.get(self.lookups, lambda: None)()
        return self.device

    @property
    def commands(self) -> list[int | None]:
        """All commands that were sent, answered or not."""
        return [command.register for command in self.bms.commands]

    def sent_at(self, register: int) -> list[float]:
        """Return when a command was sent, s."""
        return [c.at for c in self.bms.commands if c.register == register]

    @property
    def close_reasons(self) -> list[str]:
        """Return why each connection ended."""
        return [connection.reason for connection in self.bms.connections]

    def read(self, **options: float) -> Reading:
        """Read the battery and check that this ends by the deadline."""
        try:
            return self.run(self.client.read(**options))
        finally:
            assert self.elapsed <= options.get("deadline", DEADLINE) + ROUNDING

    def run[T](self, awaitable: Awaitable[T]) -> T:
        """Await it, measure the time, and check that no task, timer or connection remains."""
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


class RecordingBms(VirtualBms):
    """Records the state of the battery for each frame of cell data."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is recorded yet."""
        super().__init__(*args, **kwargs)
        self.states: dict[int, State] = {}

    @override
    def live(self, now: float) -> None:
        super().live(now)
        self.states[self.counter] = self.battery.state


class TappedBackend(VirtualBackend):
    """Reports all traffic to the harness."""

    harness: Harness

    @property
    def now(self) -> float:
        """Virtual time, s."""
        return asyncio.get_running_loop().time()

    @override
    async def connect(
        self, pair: bool, dangerous_use_bleak_cache: bool = False, **kwargs: Any
    ) -> None:
        self.harness.connect_times.append(self.now)
        await super().connect(pair, dangerous_use_bleak_cache, **kwargs)

    @override
    async def start_notify(
        self,
        characteristic: BleakGATTCharacteristic,
        callback: NotifyCallback,
        **kwargs: Any,
    ) -> None:
        def listen(data: bytearray) -> None:
            data = bytearray(self.harness.alter(bytes(data)))
            if not self.harness.is_lost(bytes(data)):
                self.harness.notifications.append((self.now, bytes(data)))
                callback(data)

        self.harness.notify = listen
        await super().start_notify(characteristic, listen, **kwargs)
        self.harness.subscriptions.append((self.now, characteristic.handle))

    @override
    async def write_gatt_char(
        self, characteristic: BleakGATTCharacteristic, data: Any, response: bool
    ) -> None:
        await super().write_gatt_char(characteristic, data, response)
        self.harness.writes.append((characteristic.handle, response))


class HangingDisconnectBackend(TappedBackend):
    """Disconnects, but never confirms it."""

    @override
    async def disconnect(self) -> None:
        await super().disconnect()
        await asyncio.get_running_loop().create_future()


type PowerOn = Callable[..., Harness]


@pytest.fixture
def power_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[PowerOn]:
    """Return what powers a battery on; it may differ from its model in specification, habits and faults."""
    with (
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
        VirtualRadio("adapter", slots=1) as radio,
        # Undone before the radio restores the machine's own backend, not after
        monkeypatch.context() as backends,
    ):

        def power_on(
            model: str = HOUSE,
            *,
            faults: Faults | None = None,
            habits: dict[str, Any] | None = None,
            changes: dict[str, Any] | None = None,
        ) -> Harness:
            spec = replace(MODELS[model], **(changes or {}))
            behaviour = replace(Behaviour.of(spec), **(habits or {}))
            bms = RecordingBms(
                Battery(spec, soc=0.6), faults=faults, behaviour=behaviour
            )
            radio.place(bms)
            harness = Harness(runner, radio, bms)
            backends.setattr(
                "bleak.get_platform_client_backend_type",
                lambda: (harness.backend, "tapped"),
            )
            return harness

        yield power_on


def expected_values(spec: Spec, state: State) -> dict[str, Any]:
    """Return the values that a reading of a battery in this state must have, by layout."""
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


def assert_read(reading: Reading, bms: RecordingBms) -> None:
    """Check that the reading has the values that the battery had when it sent the frame."""
    spec, settings = bms.spec, bms.battery.settings
    assert reading.cell_data.frame_counter is not None
    state = bms.states[reading.cell_data.frame_counter]
    expected = expected_values(spec, state)
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
