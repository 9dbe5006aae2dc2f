"""What a battery says of itself is harmless on every way out of the command."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
import logging
from typing import NamedTuple

import aiohttp
import pytest
from rich.console import Console

from custom_components.jk_bms.jkbms.cli.main import main
from custom_components.jk_bms.jkbms.cli.monitor import Monitor
from custom_components.jk_bms.jkbms.cli.option_types import FORMATS
from custom_components.jk_bms.jkbms.cli.polling import Poller
from custom_components.jk_bms.jkbms.cli.watch import _screen
from custom_components.jk_bms.jkbms.export.exporter import Endpoint, Exporter
from custom_components.jk_bms.jkbms.models import BatteryState
from tests.virtual_bms import MODELS, Battery, Faults, VirtualBms, VirtualRadio, frames
from tests.virtual_time import VirtualTimeLoop

NAME = "A\nB\x1b[31m\u202eC"
SHOWN = "A B [31m C"
EVIL = replace(
    MODELS["JK_B2A8S20P 11.48"],
    name=NAME,
    hardware="1\x1b[2J",
    serial="3\r4",
    userdata="u\x9b2J\u200f",
    manufactured="24\x0708",
)
"""A battery of which every free text would harm a terminal or forge a line of a log."""


class Output(NamedTuple):
    """What the command printed."""

    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Return all lines."""
        return f"{self.out}\n{self.err}".split("\n")


type Run = Callable[..., Output]


@pytest.fixture
def radio() -> Iterator[VirtualRadio]:
    """Stand in for the adapter of this machine."""
    with VirtualRadio("adapter") as radio:
        yield radio


@pytest.fixture
def run(
    radio: VirtualRadio,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Return what runs the command in virtual time."""
    monkeypatch.setattr(
        asyncio, "Runner", partial(asyncio.Runner, loop_factory=VirtualTimeLoop)
    )

    def run(*arguments: str) -> Output:
        main(arguments)
        return Output(*capsys.readouterr())

    return run


def place(radio: VirtualRadio, faults: Faults | None = None) -> VirtualBms:
    """Bring the battery into range."""
    bms = VirtualBms(Battery(EVIL, soc=0.6, time_scale=0.0), faults=faults, speed=20)
    radio.place(bms)
    return bms


@pytest.fixture
def open_log() -> Iterator[Callable[[], None]]:
    """Return what takes the log from pytest, so that the command sets up its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def clear() -> None:
        root.handlers.clear()

    yield clear
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("name", FORMATS.values())
@pytest.mark.parametrize(
    "arguments",
    [(), ("-i", "-c", "--secrets"), ("-c", "-d", EVIL.address), ("-c", "-d", NAME)],
    ids=["list", "read", "address", "name"],
)
def test_every_format_shows_one_printable_line_per_text(
    radio: VirtualRadio, run: Run, name: str, arguments: tuple[str, ...]
) -> None:
    """Neither a raw character nor an escape that a reader turns back into one."""
    place(radio)
    output = run("-t", "2", *arguments, "-f", name)
    assert all(line.isprintable() for line in output.lines), output
    for escape in ("\\u001b", "\\u202e", "\\u{1b}", "\\x1b", "\\n", "\\e"):
        assert escape not in output.out
    if arguments == () or "--secrets" in arguments:
        assert SHOWN in output.out


def test_captured_frame_shows_printable_text(
    run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A posted dump is untrusted text as well."""
    battery = Battery(EVIL, soc=0.6, time_scale=0.0)
    dump = tmp_path_factory.mktemp("dump") / "a.txt"
    dump.write_text(
        frames.info_frame(EVIL, battery.settings, battery.state, 1).hex(), "utf-8"
    )
    for name in FORMATS.values():
        if name != "metrics":
            output = run("--decode", str(dump), "--secrets", "-i", "-f", name)
            assert all(line.isprintable() for line in output.lines), output
            assert SHOWN in output.out


def test_log_and_errors_have_one_printable_line_per_message(
    radio: VirtualRadio, run: Run, open_log: Callable[[], None]
) -> None:
    """With every log open, read and refused."""
    bms = place(radio)
    open_log()
    output = run("-t", "2", "-c", "-l", "debug")
    assert f"jkbms.bluetooth.session: {SHOWN}: " in output.err.replace(
        "custom_components.jk_bms.", ""
    )
    bms.faults = Faults(refuse_connection=True)
    open_log()
    refused = run("-t", "2", "-c", "-l", "debug")
    assert f"jkbms: {SHOWN}: " in refused.err
    for line in (*output.lines, *refused.lines):
        assert line.isprintable()
        assert not line.startswith(("B", "[31m"))


async def test_served_and_watched_names_are_printable(
    radio: VirtualRadio, socket_enabled: None
) -> None:
    """The label of metrics, and the title on the live screen."""
    place(radio)
    poller = Poller(Monitor(), scan_timeout=0.5)
    await poller.read_once()
    ((name, battery),) = poller.monitor.named()
    assert (name, battery.up) == (SHOWN, True)
    console = Console(record=True, width=200)
    console.print(_screen(poller.monitor, []))
    shown = console.export_text()
    assert SHOWN in shown
    assert all(line.isprintable() for line in shown.split("\n"))
    states = [BatteryState(device=name, up=True)]
    async with (
        Exporter(Endpoint(port=0), lambda: states) as exporter,
        aiohttp.ClientSession() as session,
    ):
        host, port = exporter.addresses[0]
        async with session.get(f"http://{host}:{port}/metrics") as response:
            assert f'up{{device="{SHOWN}"}} 1\n' in await response.text()


def test_name_that_is_an_address_is_no_name(radio: VirtualRadio, run: Run) -> None:
    """Otherwise the device would pass for the battery at that address."""
    radio.place(
        VirtualBms(Battery(replace(EVIL, name="C8:47:8C:00:00:99"), time_scale=0.0))
    )
    output = run("-t", "2", "-c", "-d", "C8:47:8C:00:00:99")
    assert "Not found within 2 s" in output.err
    assert '"name": null' in run("-t", "2").out
