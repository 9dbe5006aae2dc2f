"""Tests of `--watch` at a terminal, with bleak above a radio in software."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
import os
import signal
import sys
import termios
from threading import Event, Thread
from typing import Any

from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason
import pytest

from custom_components.jk_bms.jkbms.cli.main import main
from tests.virtual_bms import MODELS, Battery, Spec, VirtualBms, VirtualRadio
from tests.virtual_bms.radio import VirtualScanner

UPS = replace(MODELS["JK_BD4A8S4P 15.26"], name="UPS_BMS")
HOME = replace(MODELS["JK_B2A8S20P 11.48"], name="HOME_BMS")
TIMEOUT = 30
"""s of real time, of which hardly any is needed."""

type Step = tuple[str, Callable[[], object]]
"""What has to be shown, and what is done then."""


@dataclass
class Terminal:
    """A terminal, and a person who looks at it from another thread."""

    monkeypatch: pytest.MonkeyPatch
    loop: asyncio.AbstractEventLoop | None = None
    shown: str = ""
    missing: list[str] = field(default_factory=list)
    """What did not appear in time."""

    def __post_init__(self) -> None:
        """Plug it in."""
        self.master, slave = os.openpty()
        termios.tcsetwinsize(slave, (40, 100))
        self.keyboard = self.own = os.fdopen(slave, "r")
        self.screen = os.fdopen(os.dup(slave), "w")
        self.before = termios.tcgetattr(slave)
        self.monkeypatch.setenv("TERM", "xterm-256color")
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            self.monkeypatch.delenv(name, raising=False)

    def press(self, keys: bytes) -> Callable[[], object]:
        """Return what presses keys."""
        return lambda: os.write(self.master, keys)

    def call(self, function: Callable[[], object]) -> Callable[[], object]:
        """Return what does something where the batteries are."""

        def call() -> None:
            assert self.loop
            self.loop.call_soon_threadsafe(function)

        return call

    def watch(self, *arguments: str, steps: list[Step]) -> int:
        """Run the command while the person goes through the steps."""
        self.monkeypatch.setattr(sys, "stdin", self.keyboard)
        self.monkeypatch.setattr(sys, "stdout", self.screen)
        over = Event()
        person = Thread(target=self._look, args=(steps, over), daemon=True)
        person.start()
        try:
            return main(["--watch", *arguments])
        finally:
            over.set()
            self.screen.flush()
            self.screen.write("\0")
            self.screen.flush()
            person.join(TIMEOUT)
            assert self.missing == []

    def _look(self, steps: list[Step], over: Event) -> None:
        steps = steps.copy()
        seen = 0
        with suppress(OSError):
            while data := os.read(self.master, 4096):
                self.shown += data.decode(errors="replace")
                while steps and (at := self.shown.find(steps[0][0], seen)) >= 0:
                    seen = at + len(steps[0][0])
                    steps.pop(0)[1]()
                if over.is_set() and self.shown.endswith("\0"):
                    break
        self.missing = [text for text, _ in steps]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Return a terminal of 100 columns."""
    terminal = Terminal(monkeypatch)
    monkeypatch.setattr(
        "custom_components.jk_bms.jkbms.cli.polling._RETRY_INTERVAL", 0.1
    )
    yield terminal
    assert termios.tcgetattr(terminal.keyboard) == terminal.before
    terminal.keyboard.close()
    terminal.screen.close()
    with suppress(OSError):
        os.close(terminal.master)


@pytest.fixture
def radio(terminal: Terminal) -> Iterator[VirtualRadio]:
    """Stand in for the adapter of this machine."""

    def connecting() -> nullcontext[None]:
        terminal.loop = asyncio.get_running_loop()
        return nullcontext()

    with VirtualRadio("adapter") as radio:
        radio.connecting = connecting
        yield radio
        assert radio.taken == []


def place(radio: VirtualRadio, spec: Spec) -> VirtualBms:
    """Bring a fast battery into reach."""
    bms = VirtualBms(Battery(spec, soc=0.6, time_scale=0.0), speed=20)
    radio.place(bms)
    return bms


def test_values_are_shown_until_q_is_pressed(
    radio: VirtualRadio, terminal: Terminal
) -> None:
    """The values of a battery are shown until q is pressed."""
    bms = place(radio, UPS)
    steps = [
        ("scanning", terminal.press(b"x")),
        ("UPS_BMS", lambda: None),
        ("JK_BD4A8S4P 15.26", lambda: None),
        ("3.814 V", terminal.press(b"xQ")),
    ]
    assert terminal.watch("-d", "UPS_BMS", steps=steps) == 0
    assert "connecting" in terminal.shown
    assert "▼" in terminal.shown
    assert [connection.reason for connection in bms.connections] == ["by the central"]


@pytest.mark.usefixtures("interruptible")
def test_without_targets_every_battery_is_shown(
    radio: VirtualRadio, terminal: Terminal
) -> None:
    """Without names every battery is shown as it is found; Ctrl-C interrupts it."""
    place(radio, UPS)
    place(radio, HOME)

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    steps: list[Step] = [
        ("scanning for batteries", lambda: None),
        ("JK_BD4A8S4P 15.26", lambda: None),
        ("JK_B2A8S20P 11.48", interrupt),
    ]
    assert terminal.watch("-t", "60", steps=steps) == 130


def test_requested_adapter_is_used_for_every_scan(
    radio: VirtualRadio, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chosen adapter is used for every scan."""
    place(radio, UPS)
    used = []
    real = VirtualScanner.__init__

    def watched(*args: Any, **kwargs: Any) -> None:
        used.append(kwargs["bluez"])
        real(*args, **kwargs)

    monkeypatch.setattr(VirtualScanner, "__init__", watched)
    steps: list[Step] = [("3.814 V", terminal.press(b"q"))]
    assert terminal.watch("--adapter", "hci1", steps=steps) == 0
    assert used == [{"adapter": "hci1"}] * 2


def test_watch_neutralises_a_name_from_the_air(
    radio: VirtualRadio, terminal: Terminal
) -> None:
    """A name may contain terminal commands and markup."""
    place(radio, replace(UPS, name="[/x]\x1b[2J\nB"))
    steps = [("[/x] [2J B", lambda: None), ("3.814 V", terminal.press(b"q"))]
    assert terminal.watch(steps=steps) == 0


def test_watching_continues_after_the_scan_has_ended(
    radio: VirtualRadio, terminal: Terminal
) -> None:
    """The search for others ends, the watch does not."""
    bms = place(radio, UPS)
    steps: list[Step] = [
        ("3.814 V", terminal.call(lambda: bms.battery.override(soc=33))),
        ("33 %", terminal.press(b"q")),
    ]
    assert terminal.watch("-t", "0.3", steps=steps) == 0


def test_lost_battery_shows_the_reason_and_recovers(
    radio: VirtualRadio, terminal: Terminal
) -> None:
    """A battery that is lost says why, and comes back by itself."""
    bms = place(radio, UPS)
    steps = [
        ("3.814 V", terminal.call(bms.power_off)),
        ("Not found within 0.3 s; check that it is on", terminal.call(bms.power_on)),
        ("3.814 V", terminal.press(b"q")),
    ]
    assert terminal.watch("-d", UPS.address, "-t", "0.3", steps=steps) == 0


def test_closed_terminal_ends_the_watch(
    radio: VirtualRadio, terminal: Terminal
) -> None:
    """The output is closed."""
    place(radio, UPS)
    master, slave = os.openpty()
    steps: list[Step] = [("3.814 V", lambda: os.close(master))]
    with os.fdopen(slave, "r") as terminal.keyboard:
        assert terminal.watch("-d", UPS.address, steps=steps) == 0
    terminal.keyboard = terminal.own


def test_missing_bluetooth_ends_the_watch(
    radio: VirtualRadio,
    terminal: Terminal,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message says why there is nothing to watch."""

    async def fail(*_: Any) -> None:
        raise BleakBluetoothNotAvailableError(
            "?", BleakBluetoothNotAvailableReason.POWERED_OFF
        )

    monkeypatch.setattr(VirtualScanner, "start", fail)
    assert terminal.watch(steps=[]) == 1
    assert "Bluetooth is turned off" in capsys.readouterr().err


def test_bank_is_shown_below_its_batteries(
    radio: VirtualRadio, terminal: Terminal
) -> None:
    """The sum appears once both were read."""
    twin = replace(UPS, name="TWIN_BMS", address="C8:47:80:55:00:01")
    for spec, current in ((UPS, -8.5), (twin, -2.0)):
        place(radio, spec).battery.override(current=current)
    steps = [
        ("HOUSE", lambda: None),
        ("2 of 2 packs online", lambda: None),
        ("-10.50 A", terminal.press(b"q")),
    ]
    assert terminal.watch("--bank", "HOUSE=UPS_BMS,TWIN_BMS", steps=steps) == 0
