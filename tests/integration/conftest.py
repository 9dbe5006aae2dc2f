"""Home Assistant with its own Bluetooth stack, a proxy and a battery in software."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
from os import fstat
from pathlib import Path
from shutil import copytree
from stat import S_ISSOCK
import threading
import time
from typing import Any
from unittest.mock import PropertyMock, patch

import bleak_retry_connector
from prometheus_client import REGISTRY
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_mock_service,
)

from custom_components.jk_bms import connection_slots
from custom_components.jk_bms.jkbms.bluetooth import client, session
from custom_components.jk_bms.jkbms.models import Reading
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.setup import async_setup_component
from tests.virtual_bms import MODELS, Battery, VirtualBms
from tests.virtual_bms.scanner import VirtualProxy
from tests.virtual_time import Clock, JumpingLoop

from . import BLUEPRINTS, SPEED, setup_integration


class HouseLoop(JumpingLoop):
    """Jumps unless an external event may come: over a socket, or from the recorder."""

    def __init__(self) -> None:
        """Begin with the machine's time, which Bluetooth puts on advertisements."""
        super().__init__(Clock(time.monotonic()))
        self.may_jump = self._is_alone

    def _is_alone(self) -> bool:
        sockets = sum(S_ISSOCK(fstat(fd).st_mode) for fd in self._selector.get_map())
        own = 1  # by which threads wake it
        return sockets == own and not any(
            thread.name == "Recorder" for thread in threading.enumerate()
        )


@pytest.fixture(scope="session")
def _asyncio_loop_factory() -> type[HouseLoop]:
    """Let a test end as soon as its work is done, on a busy machine as well.

    Its hook would create the loop of the session again for each test.
    """
    return HouseLoop


@pytest.fixture(autouse=True)
async def configure_event_loop(configure_event_loop: None) -> None:
    """Keep the loop's own time, which Home Assistant replaces by the machine's."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, HouseLoop)
    del loop.time


@pytest.fixture(autouse=True)
def short_settle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the client's settle time as much as the batteries' times."""
    monkeypatch.setattr(session, "SETTLE_TIME", session.SETTLE_TIME / SPEED)


@pytest.fixture(autouse=True)
def forget_metrics() -> Iterator[None]:
    """Unregister the metrics after each test; a process can register them only once."""
    before = set(REGISTRY._collector_to_names)
    yield
    for collector in set(REGISTRY._collector_to_names) - before:
        REGISTRY.unregister(collector)


@pytest.fixture(autouse=True)
async def bluetooth(enable_custom_integrations: None, enable_bluetooth: None) -> None:
    """Run Bluetooth in every test here."""


@pytest.fixture
async def proxy(hass: HomeAssistant, bluetooth: None) -> AsyncGenerator[VirtualProxy]:
    """Register a proxy; its connections end with the test."""
    proxy = VirtualProxy("AA:00:00:00:00:01", "garage")
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
async def far_proxy(
    hass: HomeAssistant, bluetooth: None, bms: VirtualBms
) -> AsyncGenerator[VirtualProxy]:
    """Register another proxy in range of the battery, with a weaker signal."""
    proxy = VirtualProxy("AA:00:00:00:00:02", "attic")
    proxy.place(bms, rssi=-75)
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
def model() -> str:
    """Return the model of `bms`; tests override it by parameters."""
    return "JK_B2A8S20P 11.48"


@pytest.fixture
def make_bms(proxy: VirtualProxy) -> Callable[..., VirtualBms]:
    """Return a function that creates batteries in range of the proxy."""

    def make(model: str, **spec: Any) -> VirtualBms:
        # Its day stands still, so that tests know its state at any moment.
        battery = Battery(replace(MODELS[model], **spec), time_scale=0.0)
        bms = VirtualBms(battery, speed=SPEED)
        proxy.place(bms)
        return bms

    return make


@pytest.fixture
def bms(make_bms: Callable[..., VirtualBms], model: str) -> VirtualBms:
    """Place a battery in range of the proxy, before its first advertisement."""
    return make_bms(model)


@pytest.fixture
async def entry(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> MockConfigEntry:
    """Set up a battery after its first advertisement."""
    proxy.advertise(bms)
    entry = await setup_integration(hass, bms)
    assert entry.state is ConfigEntryState.LOADED
    return entry


@pytest.fixture
def reads_only(proxy: VirtualProxy) -> Iterator[None]:
    """Check that a test sends only the four commands that read."""
    yield
    sent = {
        command.register
        for bms, _ in proxy.radio.reach.values()
        for command in bms.commands
    }
    assert sent <= {0x96, 0x97, 0xA1, 0xA7}


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> float:
    """Let reads fail within seconds, and retry on full proxies more often."""
    deadline = 4.5
    defaults = client.JkBmsClient.read.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "deadline", deadline)
    monkeypatch.setattr(bleak_retry_connector, "BLEAK_OUT_OF_SLOTS_BACKOFF_TIME", 0.1)
    monkeypatch.setattr(connection_slots, "WAIT_TIMEOUT", 0.5)
    return deadline


@pytest.fixture
def short_answer_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new clients wait only as long as necessary for an answer."""
    defaults = client.JkBmsClient.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "answer_timeout", 1.0)


@pytest.fixture
def entity_registry_enabled_by_default() -> Iterator[None]:
    """Enable the entities that are off by default as well."""
    with patch(
        "homeassistant.helpers.entity.Entity.entity_registry_enabled_default",
        new_callable=PropertyMock(return_value=True),
    ):
        yield


@pytest.fixture
def durations() -> Iterator[list[float]]:
    """Record how long each read takes."""
    durations: list[float] = []
    read = client.JkBmsClient.read

    async def timed_read(reader: client.JkBmsClient) -> Reading:
        clock = asyncio.get_running_loop().time
        begin = clock()
        try:
            return await read(reader)
        finally:
            durations.append(clock() - begin)

    with patch.object(client.JkBmsClient, "read", timed_read):
        yield durations


@pytest.fixture
def notifications(hass: HomeAssistant) -> list[ServiceCall]:
    """Return the notifications that are sent."""
    return async_mock_service(hass, "persistent_notification", "create")


@pytest.fixture
async def automate(
    hass: HomeAssistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Callable[..., Any]]:
    """Yield what sets up an automation from a blueprint in the folder of the user."""
    copytree(BLUEPRINTS, tmp_path / "blueprints" / "automation" / "jk_bms")
    monkeypatch.setattr(hass.config, "config_dir", str(tmp_path))

    async def automate(blueprint: str, **inputs: Any) -> None:
        used = {"path": f"jk_bms/{blueprint}.yaml", "input": inputs}
        automation = {"alias": blueprint, "use_blueprint": used}
        assert await async_setup_component(
            hass, "automation", {"automation": automation}
        )
        state = hass.states.get(f"automation.{blueprint}")
        assert state
        assert state.state == "on"

    yield automate
    # Or the end of the test makes it wait for the next time of the automation.
    await hass.services.async_call(
        "automation", "turn_off", {"entity_id": "all"}, blocking=True
    )
