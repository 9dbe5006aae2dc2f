"""Tests of what the command does over the air: real bleak above a radio in software, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
import gc
import io
from itertools import pairwise
import json
import logging
import signal
import sys
import threading
from typing import Any, NamedTuple, override
import weakref

from bleak.backends.scanner import BaseBleakScanner
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason as Reason,
    BleakDBusError,
    BleakError,
)
import pytest
from rich.live import _RefreshThread

from custom_components.jk_bms.jkbms.bluetooth.client import JkBmsClient
from custom_components.jk_bms.jkbms.bluetooth.scanner import Scan
from custom_components.jk_bms.jkbms.cli.main import main
from custom_components.jk_bms.jkbms.cli.monitor import Monitor
from custom_components.jk_bms.jkbms.cli.polling import Poller
from custom_components.jk_bms.jkbms.errors import NotReachableError, SilentError
from custom_components.jk_bms.jkbms.models import BatteryState
from tests.virtual_bms import MODELS, Battery, Faults, Spec, VirtualBms, VirtualRadio
from tests.virtual_bms.radio import VirtualScanner
from tests.virtual_time import VirtualTimeLoop

UPS = replace(MODELS["JK_BD4A8S4P 15.26"], name="UPS_BMS")
HOME = replace(MODELS["JK_B2A8S20P 11.48"], name="HOME_BMS")
BOAT = replace(MODELS["JK_B2A8S20P 19.10"], name="BOAT_BMS")
SPARE = replace(HOME, address="C8:47:8C:99:00:01", serial="3040100099")

NO_ANSWER = "Bluetooth does not respond: `systemctl restart bluetooth`"
UNREACHABLE = "check that it is on, close the JK app on every phone, move closer"


class Result(NamedTuple):
    """What a run of the command left."""

    code: int
    out: str
    err: str
    elapsed: float
    """s of virtual time."""

    @property
    def output(self) -> dict[str, list[Any]]:
        """Return what it printed."""
        return json.loads(self.out)

    @property
    def complaints(self) -> list[str]:
        """Return the lines on stderr."""
        return self.err.splitlines()


type Run = Callable[..., Result]


@pytest.fixture
def radio() -> Iterator[VirtualRadio]:
    """Stand in for the adapter of this machine."""
    with VirtualRadio("adapter", slots=3) as radio:
        yield radio


@pytest.fixture
def run(
    radio: VirtualRadio,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Return what runs the command and sees that nothing is left behind."""
    loops: list[VirtualTimeLoop] = []

    def new_loop() -> VirtualTimeLoop:
        loops.append(VirtualTimeLoop())
        return loops[-1]

    monkeypatch.setattr(
        asyncio, "Runner", partial(asyncio.Runner, loop_factory=new_loop)
    )

    def run(*arguments: str) -> Result:
        code = main(arguments)
        assert radio.taken == []
        assert [loop.mishaps for loop in loops] == [[]] * len(loops)
        elapsed = loops[-1].time() if loops else 0
        return Result(code, *capsys.readouterr(), elapsed)

    return run


def place(
    radio: VirtualRadio, *specs: Spec, faults: Faults | None = None, rssi: int = -60
) -> VirtualBms:
    """Bring batteries into reach; return the last."""
    for spec in specs:
        bms = VirtualBms(Battery(spec, soc=0.6), faults=faults)
        radio.place(bms, rssi)
    return bms


# Discovery


def test_without_options_batteries_in_range_are_listed(
    radio: VirtualRadio, run: Run
) -> None:
    """Without options it lists the batteries in range, and no other device."""
    place(radio, UPS, rssi=-70)
    place(radio, HOME, rssi=-50)
    place(radio, replace(BOAT, advert="unrelated"))
    result = run()
    assert (result.code, result.err) == (0, "")
    assert result.output == {
        "devices": [
            {"address": UPS.address, "name": "UPS_BMS", "rssi": -70},
            {"address": HOME.address, "name": "HOME_BMS", "rssi": -50},
        ]
    }
    assert result.elapsed == pytest.approx(30)
    assert run("-t", "2.5").elapsed == pytest.approx(2.5)


def test_empty_scan_fails_with_advice(run: Run) -> None:
    """The output is an empty list; the advice goes to stderr."""
    result = run("-t", "4")
    assert (result.code, result.output) == (1, {"devices": []})
    assert result.complaints == [
        f"jkbms: no battery in range within 4 s; {UNREACHABLE}"
    ]


def test_name_from_a_later_advertisement_is_kept(radio: VirtualRadio, run: Run) -> None:
    """An advertisement may be without a name; it is remembered from another."""
    bms = place(radio, UPS)
    names = iter([UPS.address.replace(":", "-"), "UPS_BMS"])

    class Scanner(VirtualScanner):
        def _receive(self, bms: VirtualBms, rssi: int) -> None:
            spec = bms.spec
            bms.battery.spec = replace(spec, name=next(names, ""))
            super()._receive(bms, rssi)
            bms.battery.spec = spec

    assert bms
    with pytest.MonkeyPatch.context() as patch:
        scanner = type("Bound", (Scanner,), {"radio": radio})
        patch.setattr(
            "bleak.get_platform_scanner_backend_type", lambda: (scanner, "late")
        )
        (device,) = run("-t", "1").output["devices"]
    assert device["name"] == "UPS_BMS"


# Reading


@pytest.mark.parametrize(
    ("arguments", "sections"),
    [
        (["-i"], "device_info"),
        (["-c"], "cell_data"),
        (["--settings"], "settings"),
        (["-c", "-i", "--settings"], "device_info cell_data settings"),
        (["-d", "UPS_BMS"], "device_info cell_data"),
    ],
)
def test_requested_sections_are_read_of_every_battery(
    radio: VirtualRadio, run: Run, arguments: list[str], sections: str
) -> None:
    """What is asked for is read of every battery; of one that is named, the main two."""
    place(radio, UPS)
    result = run(*arguments)
    assert (result.code, result.err) == (0, "")
    assert [*result.output] == sections.split()
    assert [len(section) for section in result.output.values()] == [1] * len(
        result.output
    )


@pytest.mark.parametrize(
    "devices",
    [
        ["-d", "HOME_BMS", "-d", "UPS_BMS"],
        ["-d", "HOME_BMS,UPS_BMS"],
        ["-d", f"{HOME.address.lower()}, UPS_BMS", "-d", "UPS_BMS"],
    ],
)
def test_batteries_are_printed_in_the_order_requested(
    radio: VirtualRadio, run: Run, devices: list[str]
) -> None:
    """The batteries come in the order asked for, by name or address."""
    place(radio, UPS, HOME, BOAT)
    result = run(*devices, "-i")
    assert result.code == 0
    assert [info["device_name"] for info in result.output["device_info"]] == [
        "HOME_BMS",
        "UPS_BMS",
    ]
    # Nothing waits for what was not requested
    assert result.elapsed < 8


def test_three_batteries_take_little_longer_than_one(
    radio: VirtualRadio, run: Run
) -> None:
    """Three batteries take little longer than one."""
    place(radio, UPS, HOME, BOAT)
    one = run("-c", "-d", "UPS_BMS").elapsed
    three = run("-c", "-d", "UPS_BMS,HOME_BMS,BOAT_BMS")
    assert len(three.output["cell_data"]) == 3
    assert three.elapsed < one + 1.5


def test_batteries_without_a_slot_are_read_after_the_others(
    radio: VirtualRadio, run: Run
) -> None:
    """Batteries without a free slot wait for their turn."""
    radio.slots = 1
    specs = [
        replace(UPS, name=f"B{n}", address=f"20:25:03:99:00:{n:02X}") for n in range(9)
    ]
    place(radio, *specs)
    result = run("-c", *(word for spec in specs for word in ("-d", spec.name)))
    assert (result.code, result.err) == (0, "")
    assert len(result.output["cell_data"]) == 9


def test_adapter_without_any_slot_fails_at_once(radio: VirtualRadio, run: Run) -> None:
    """If others have taken them all, there is no use in waiting."""
    radio.slots = 0
    place(radio, UPS, HOME)
    result = run("-c", "-d", "UPS_BMS", "-d", "HOME_BMS")
    assert (result.code, result.output) == (1, {"cell_data": []})
    assert len(result.complaints) == 2
    assert "close another connection of the adapter" in result.complaints[0]


def test_battery_requested_twice_is_printed_twice_but_one_series(
    radio: VirtualRadio, run: Run
) -> None:
    """A battery that is named twice, by name and by address, is reported twice."""
    place(radio, UPS)
    result = run("-i", "-d", "UPS_BMS", "-d", UPS.address)
    assert result.code == 0
    assert len(result.output["device_info"]) == 2
    lines = run("-f", "m", "-d", "UPS_BMS", "-d", UPS.address).out.splitlines()
    assert [line for line in lines if line.startswith("up{")] == [
        'up{device="UPS_BMS"} 1'
    ]


@pytest.fixture(autouse=True)
def no_server_to_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pushed here goes to no server, so that none has to be cleared at the end."""

    async def clear(*_: object, **__: object) -> None:
        pass

    monkeypatch.setattr("custom_components.jk_bms.jkbms.cli.serve.clear", clear)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["-c", "-f", "m"], "remain_percent"),
        (["-i", "-f", "m"], "poweron_times"),
        (["-c", "-f", "table"], "on average"),
        (["-i", "-f", "table"], "manufacturing_date"),
        (["--settings", "-f", "table"], "device_address"),
    ],
)
def test_metrics_and_table_show_requested_sections_only(
    radio: VirtualRadio, run: Run, arguments: list[str], texts: str
) -> None:
    """The other formats have an element for each section anyway."""
    place(radio, UPS)
    out = run(*arguments, "-d", "UPS_BMS").out
    everything = (
        "remain_percent",
        "poweron_times",
        "on average",
        "manufacturing_date",
        "device_address",
    )
    shown = {text for text in everything if text in out}
    # ubmsc exports this counter along with the cell data
    assert shown - {"poweron_times"} == {texts} - {"poweron_times"}
    assert ("poweron_times" in shown) is ("-i" in arguments or "m" in arguments)


@pytest.mark.parametrize("answer", ["5", "8"])
def test_request_timeout_is_applied_to_each_command(
    radio: VirtualRadio, run: Run, answer: str
) -> None:
    """A slow battery is given the time that is asked for."""
    bms = place(radio, UPS, faults=Faults(answer_after_attempts=1))
    result = run("-c", "-d", UPS.address, "-r", answer)
    assert result.code == 0
    first, second = (c.at for c in bms.commands if c.register == 0x97)
    assert second - first == pytest.approx(float(answer), abs=0.1)


# What fails


def test_battery_out_of_range_costs_the_others_no_more_than_the_scan(
    radio: VirtualRadio, run: Run
) -> None:
    """A battery out of range costs the others no more than the scan."""
    place(radio, UPS)
    result = run("-i", "-d", "NOBODY", "-d", "UPS_BMS", "-t", "7")
    assert result.code == 1
    assert [info["device_name"] for info in result.output["device_info"]] == ["UPS_BMS"]
    assert result.complaints == [
        f"jkbms: NOBODY: Not found within 7 s; {UNREACHABLE}",
    ]
    assert result.elapsed == pytest.approx(7)


def test_ambiguous_name_fails_and_lists_the_addresses(
    radio: VirtualRadio, run: Run
) -> None:
    """A name of two batteries is an error that lists their addresses."""
    place(radio, UPS, HOME, SPARE)
    result = run("-i", "-d", "HOME_BMS", "-d", "UPS_BMS")
    assert result.code == 1
    assert [info["device_name"] for info in result.output["device_info"]] == ["UPS_BMS"]
    assert result.complaints == [
        (
            f"jkbms: HOME_BMS: several batteries have this name: "
            f"{HOME.address} and {SPARE.address}; "
            "select one by its address"
        )
    ]
    (info,) = run("-i", "-d", SPARE.address).output["device_info"]
    assert info["serial_number"] == SPARE.serial
    # In metrics they must not be taken for each other
    text = run("-f", "m", "-c", "-t", "3").out
    for device in (HOME.address, SPARE.address, "UPS_BMS"):
        assert f'up{{device="{device}"}} 1' in text


@pytest.mark.parametrize(
    ("faults", "advice"),
    [
        (Faults(silent=True), "turn its Bluetooth off and on in the JK app"),
        (Faults(foreign="neey"), "select another device"),
        (Faults(refuse_connection=True), UNREACHABLE),
        (Faults(pairing=True), "pair with it: jkbms --pair -d ADDRESS"),
        (Faults(zeros=True), "please report its model and firmware"),
    ],
)
def test_each_failure_has_its_advice(
    radio: VirtualRadio, run: Run, faults: Faults, advice: str
) -> None:
    """Each failure has its line and its advice, and the others are printed."""
    place(radio, HOME, faults=faults)
    place(radio, UPS)
    result = run("-c", "-d", "HOME_BMS", "-d", "UPS_BMS")
    assert result.code == 1
    assert len(result.output["cell_data"]) == 1
    (complaint,) = result.complaints
    assert complaint.startswith("jkbms: HOME_BMS: ")
    assert complaint.endswith(f"; {advice}")


def test_names_from_the_air(radio: VirtualRadio, run: Run) -> None:
    """A name is asked for as it is, and shown without what a terminal would obey."""
    evil = "[/x]\x1b[2J\nB"
    place(radio, replace(UPS, name=evil), faults=Faults(refuse_connection=True))
    (complaint,) = run("-c", "-d", evil).complaints
    assert complaint.startswith("jkbms: [/x] [2J B: ")
    result = run("-t", "1", "-f", "table")
    assert (result.code, result.err) == (0, "")
    assert "[/x] [2J B  -60 dBm" in result.out


def test_unknown_layout_prints_device_info_and_fails(
    radio: VirtualRadio, run: Run
) -> None:
    """Without a layout there are no values, but the model helps in a bug report."""
    bms = place(radio, UPS)
    bms.battery.override(voltage=99.0, enabled=0b1011)
    result = run("-i", "-c", "-d", "UPS_BMS")
    assert result.code == 1
    (info,) = result.output["device_info"]
    assert (info["device_model"], info["device_passcode"]) == (UPS.model, "********")
    assert result.output["cell_data"] == []
    assert "please report" in result.err


def test_sensor_that_fails_is_named_and_all_else_is_shown(
    radio: VirtualRadio, run: Run
) -> None:
    """Its value is absent, and stderr says what to check; it is no failure."""
    bms = place(radio, UPS)
    bms.battery.override(temperatures=(160.0, 20.0, None, None))
    result = run("-c", "-d", "UPS_BMS")
    (shown,) = result.output["cell_data"]
    assert shown["implausible"] == ["battery_temperature_1"]
    assert shown["battery_temperature"] == [None, 20.0]
    assert shown["battery_voltage"] > 20
    assert (result.code, result.complaints) == (
        0,
        [
            (
                "jkbms: UPS_BMS: impossible values are left out: battery_temperature_1; "
                "check the wire and the connector of each of them"
            )
        ],
    )
    shown = run("-c", "-d", "UPS_BMS", "-f", "metrics").out.splitlines()
    name = 'device="UPS_BMS",field="battery_temperature_1"'
    assert f"implausible{{{name}}} 1" in shown
    assert 'battery_temperature{cell="1",device="UPS_BMS"} 20' in shown
    assert not any(line.startswith('battery_temperature{cell="0"') for line in shown)


def test_frames_of_zeros_are_a_failure(radio: VirtualRadio, run: Run) -> None:
    """No battery reports 0 in everything: nothing of it is shown."""
    place(radio, UPS, faults=Faults(zeros=True))
    result = run("-c", "-d", "UPS_BMS")
    assert (result.code, result.output["cell_data"]) == (1, [])


def test_lost_settings_are_a_failure(radio: VirtualRadio, run: Run) -> None:
    """Settings that are asked for and do not come are a failure."""
    place(radio, HOME, faults=Faults(lose={6}))
    result = run("--settings", "-d", "HOME_BMS")
    assert run("-c", "-d", "HOME_BMS").code == 0
    assert (result.code, result.output) == (1, {"settings": []})
    assert result.complaints == ["jkbms: HOME_BMS: its settings were lost; try again"]


def test_battery_that_was_found_once_is_expected_again(radio: VirtualRadio) -> None:
    """A battery that was found once is expected in every reading."""
    place(radio, UPS)
    gone = place(radio, HOME)

    async def read_twice() -> Monitor:
        monitor = Monitor()
        poller = Poller(monitor)
        await poller.read_once()
        assert [battery.error for battery in monitor.batteries] == [None, None]
        radio.remove(gone)
        place(radio, BOAT)
        await poller.read_once()
        return monitor

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        monitor = runner.run(read_twice())
    assert {name: str(battery.error) for name, battery in monitor.named()} == {
        "UPS_BMS": "None",
        "HOME_BMS": "Not found within 30 s",
        "BOAT_BMS": "None",
    }


# Again and again


def readings(radio: VirtualRadio, monitor: Monitor, interval: float) -> list[float]:
    """Read for 200 s; return when UPS_BMS gave a reading."""
    times: list[float] = []

    def note() -> None:
        for name, battery in monitor.named():
            if name == "UPS_BMS" and battery.reading not in seen:
                seen.append(battery.reading)
                times.append(asyncio.get_running_loop().time())

    async def read() -> None:
        monitor.on_change = note
        with suppress(TimeoutError):
            async with asyncio.timeout(200):
                await Poller(monitor).read_every(interval)

    seen: list[Any] = [None]
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(read())
    assert radio.taken == []
    return times


@pytest.mark.parametrize("targets", [[], ["UPS_BMS", "HOME_BMS", "NOBODY"]])
def test_silent_battery_delays_no_other(
    radio: VirtualRadio, targets: list[str]
) -> None:
    """The others are read on time while one is silent or gone."""
    place(radio, UPS)
    place(radio, HOME, faults=Faults(silent=True))
    monitor = Monitor(targets)
    times = readings(radio, monitor, 5)
    assert len(times) == 40
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # The first reading takes half a second longer: it waits for a second frame
    assert gaps == pytest.approx([5] * 39, abs=2)
    errors = {name: battery.error for name, battery in monitor.named()}
    assert errors["UPS_BMS"] is None
    assert isinstance(errors["HOME_BMS"], SilentError)


@pytest.mark.parametrize(
    ("arguments", "advertised", "label"),
    [
        pytest.param(["-d", UPS.address], ["", UPS.name], UPS.address, id="asked for"),
        pytest.param([], [UPS.name] * 2, UPS.name, id="found"),
    ],
)
def test_label_does_not_change_with_the_advertised_name(
    radio: VirtualRadio,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    advertised: list[str],
    label: str,
) -> None:
    """A battery keeps its label, whichever name a scan receives."""
    names = iter(advertised)
    labels: list[str] = []
    receive = VirtualScanner._receive

    def receive_seldom(scanner: VirtualScanner, bms: VirtualBms, rssi: int) -> None:
        spec = bms.spec
        bms.battery.spec = replace(spec, name=next(names, ""))
        receive(scanner, bms, rssi)
        bms.battery.spec = spec

    async def push(_: object, target: object, states: list[Any], **kwargs: Any) -> None:
        labels.extend(state.device for state in states)
        if len(labels) == 4:
            signal.raise_signal(signal.SIGTERM)

    place(radio, UPS)
    monkeypatch.setattr(VirtualScanner, "_receive", receive_seldom)
    monkeypatch.setattr("custom_components.jk_bms.jkbms.cli.serve.push", push)
    run("-ep", "-s", "10", "-u", "http://127.0.0.1/gate", *arguments)
    assert labels == [label] * 4


def test_read_waits_for_a_slot_until_the_next_one_is_due(
    radio: VirtualRadio, caplog: pytest.LogCaptureFixture
) -> None:
    """A battery without a free connection gets one before the next reading is due."""
    radio.slots = 1
    place(radio, UPS, HOME, BOAT)
    monitor = Monitor(["UPS_BMS", "HOME_BMS", "BOAT_BMS"])
    assert len(readings(radio, monitor, 50)) == 4
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert all(battery.reading and not battery.error for battery in monitor.batteries)


def test_battery_without_a_slot_until_the_next_read_is_lost(
    radio: VirtualRadio, caplog: pytest.LogCaptureFixture
) -> None:
    """If there is none until then, it is lost."""
    radio.slots = 0
    place(radio, UPS)
    assert readings(radio, Monitor(["UPS_BMS"]), 50) == []
    (lost, *_) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert lost.getMessage().startswith("UPS_BMS is lost: No free")


def test_pushes_have_their_own_timer(
    radio: VirtualRadio, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-way between two readings, whichever battery is silent."""
    times: list[float] = []
    place(radio, UPS)
    place(radio, HOME, faults=Faults(silent=True))

    async def push(_: object, target: object, states: list[Any], **kwargs: Any) -> None:
        loop = asyncio.get_running_loop()
        times.append(loop.time())
        assert kwargs == {"deadline": 10}
        assert [state.device for state in states if state.up] == ["UPS_BMS"]
        if len(times) == 5:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("custom_components.jk_bms.jkbms.cli.serve.push", push)
    devices = ["-d", "UPS_BMS", "-d", "HOME_BMS"]
    result = run("-ep", "-s", "10", "-u", "http://127.0.0.1/gate", *devices)
    assert result.code == 0
    assert times == pytest.approx([5, 15, 25, 35, 45])


# For ever

type States = dict[str, BatteryState]
type Serve = Callable[..., dict[float, States]]

DAY = 24 * 3600


@pytest.fixture
def serve(run: Run, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Return an action that runs for some time and records what was known when.

    That is half-way between two readings. Something may happen behind the first.
    """

    def serve(
        duration: float, events: Mapping[float, Callable[[], object]], *arguments: str
    ) -> dict[float, States]:
        known: dict[float, States] = {}

        async def push(
            _: object, target: object, states: list[BatteryState], **kwargs: object
        ) -> None:
            loop = asyncio.get_running_loop()
            if not known:
                for at, event in events.items():
                    loop.call_at(at, event)
            known[round(loop.time(), 6)] = {state.device: state for state in states}
            if loop.time() >= duration:
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr("custom_components.jk_bms.jkbms.cli.serve.push", push)
        assert run("-ep", "-u", "http://127.0.0.1/gate", *arguments).code == 0
        return known

    return serve


def ups(known: dict[float, States], device: str) -> dict[float, bool | None]:
    """Return when a battery was up, when it was not, and when it was none."""
    return {
        at: states[device].up if device in states else None
        for at, states in known.items()
    }


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log says."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_bluetooth_that_stops_responding_is_retried(
    radio: VirtualRadio,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A Bluetooth stack that hangs counts as none until it responds again."""
    place(radio, UPS)
    start = VirtualScanner.start
    events = {
        100: partial(monkeypatch.setattr, VirtualScanner, "start", hang),
        280: partial(monkeypatch.setattr, VirtualScanner, "start", start),
    }
    known = serve(300, events, "-d", "UPS_BMS")
    assert ups(known, "UPS_BMS") == {
        30: True,
        90: True,
        150: False,
        210: False,
        270: False,
        330: True,
    }
    assert warnings(caplog) == [
        f"Bluetooth is not available, will retry: {NO_ANSWER}",
        "Bluetooth is available again",
    ]


def test_stale_values_are_not_up(
    radio: VirtualRadio, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if reading itself hangs, old values are not reported as current."""
    place(radio, UPS)
    events = {
        40: partial(monkeypatch.setattr, JkBmsClient, "read", lambda *_, **__: hang())
    }
    known = serve(300, events, "-d", "UPS_BMS")
    assert ups(known, "UPS_BMS") == {
        30: True,
        90: True,
        150: True,
        210: False,
        270: False,
        330: False,
    }
    assert len({states["UPS_BMS"].last_update for states in known.values()}) == 1


def test_loss_is_logged_once_with_advice(
    radio: VirtualRadio, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """The return of the battery is logged once as well."""
    bms = place(radio, UPS)
    serve(400, {50: bms.power_off, 290: bms.power_on}, "-d", "UPS_BMS")
    assert warnings(caplog) == [
        f"UPS_BMS is lost: Not found within 30 s; {UNREACHABLE}",
        "UPS_BMS is back",
    ]


def test_namesakes_are_logged_once_with_advice(
    radio: VirtualRadio, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Two batteries with the requested name can only be told apart by address."""
    place(radio, HOME, SPARE)
    serve(200, {}, "-d", "HOME_BMS")
    assert warnings(caplog) == [
        (
            f"HOME_BMS is lost: several batteries have this name: "
            f"{HOME.address} and {SPARE.address}; "
            "select one by its address"
        )
    ]


def test_damaged_frames_are_counted(radio: VirtualRadio, serve: Serve) -> None:
    """A frame that came damaged is counted."""
    bms = place(radio, UPS, faults=Faults(damage={3}))

    def mend() -> None:
        bms.faults = Faults()

    known = serve(100, {40: mend}, "-d", "UPS_BMS")
    assert [
        (states["UPS_BMS"].up, states["UPS_BMS"].rejected_frames)
        for states in known.values()
    ] == [(True, 1)] * 3


@pytest.fixture
def weak_advertisements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let days pass quickly."""
    monkeypatch.setattr("tests.virtual_bms.radio.SCAN_INTERVAL", 20.0)


@pytest.mark.usefixtures("weak_advertisements")
@pytest.mark.parametrize("asked", [False, True])
def test_found_battery_is_dropped_after_a_day_but_no_requested_one(
    radio: VirtualRadio, serve: Serve, caplog: pytest.LogCaptureFixture, asked: bool
) -> None:
    """A passing battery is dropped after a day; a target or one in range never is."""
    place(radio, UPS)
    place(radio, BOAT, faults=Faults(silent=True))
    home = place(radio, HOME)
    events = {5000: partial(radio.remove, home), 95000: partial(radio.place, home)}
    devices = ["-d", "UPS_BMS,BOAT_BMS,HOME_BMS"] if asked else []
    known = serve(100000, events, "-s", "3600", *devices)
    assert {*ups(known, "UPS_BMS").values()} == {True}
    assert {*ups(known, "BOAT_BMS").values()} == {False}
    found = ups(known, "HOME_BMS")
    assert {found[at] for at in (1800, 5400)} == {True}
    assert {up for at, up in found.items() if 5400 < at < DAY + 3600} == {False}
    assert {found[at] for at in (91800, 95400)} == {False if asked else None}
    assert found[99000] is True
    assert [text for text in warnings(caplog) if "HOME" in text] == [
        f"HOME_BMS is lost: Not found within 30 s; {UNREACHABLE}",
        "HOME_BMS is back" if asked else "HOME_BMS is dropped: not seen for 24 h",
    ]


def test_nothing_is_left_of_who_is_forgotten(
    radio: VirtualRadio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand batteries may pass by."""
    monkeypatch.setattr("custom_components.jk_bms.jkbms.cli.monitor.FORGET_AFTER", 100)
    bms = place(radio, UPS)
    place(radio, HOME)

    async def pass_by() -> None:
        monitor = Monitor()
        reading = asyncio.create_task(Poller(monitor).read_every(20))
        await asyncio.sleep(30)
        client = weakref.ref(monitor.batteries[0].client)
        assert client()
        assert len(monitor.batteries) == 2
        radio.remove(bms)
        await asyncio.sleep(200)
        gc.collect()
        assert [battery.name for battery in monitor.batteries] == ["HOME_BMS"]
        assert client() is None
        reading.cancel()
        await asyncio.wait([reading])

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(pass_by())


@pytest.mark.usefixtures("weak_advertisements")
def test_forgotten_before_it_was_read(
    radio: VirtualRadio, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A battery that was seen only once is kept for a day as well."""

    async def find(*_: object) -> None:
        raise NotReachableError("Not found")

    monkeypatch.setattr(Scan, "find", find)
    bms = place(radio, UPS)
    known = serve(2 * DAY, {1801: partial(radio.remove, bms)}, "-s", "3600")
    assert list(ups(known, "UPS_BMS").values()) == [False] * 25 + [None] * 24


@pytest.mark.usefixtures("weak_advertisements")
def test_battery_is_not_forgotten_without_bluetooth(
    radio: VirtualRadio, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an adapter nobody knows whether the battery is still in range."""
    place(radio, UPS)
    events = {5000: partial(monkeypatch.setattr, VirtualScanner, "start", hang)}
    known = serve(2 * DAY, events, "-s", "3600")
    assert list(ups(known, "UPS_BMS").values()) == [True] * 2 + [False] * 47


# Secrets


def test_secrets_are_printed_only_with_the_option(
    radio: VirtualRadio, run: Run
) -> None:
    """Passcodes are shown only with --secrets."""
    place(radio, UPS)
    for name in ("j", "J", "y", "t", "T", "m", "r", "R", "table"):
        assert UPS.passcode not in run("-f", name, "-i", "-d", "UPS_BMS").out
        shown = UPS.passcode in run("-f", name, "-i", "-d", "UPS_BMS", "--secrets").out
        assert shown is (name != "m")


# No Bluetooth


@pytest.mark.parametrize(
    ("err", "text"),
    [
        *(
            (BleakBluetoothNotAvailableError("?", reason), text)
            for reason, text in (
                (Reason.NO_BLUETOOTH, "there is no Bluetooth adapter: plug one in"),
                (Reason.POWERED_OFF, "Bluetooth is turned off: `bluetoothctl power"),
                (Reason.DENIED_BY_SYSTEM, "this user may not use Bluetooth: add it to"),
                (Reason.NO_BLE_CENTRAL_ROLE, "the Bluetooth adapter does not support"),
                (Reason.UNKNOWN, "?"),
            )
        ),
        (
            BleakDBusError("org.freedesktop.DBus.Error.ServiceUnknown", ["?"]),
            "bluetoothd is not running: `systemctl start bluetooth`",
        ),
        (
            BleakDBusError("org.freedesktop.DBus.Error.AccessDenied", ["?"]),
            "this user may not use Bluetooth",
        ),
        (
            BleakDBusError("org.bluez.Error.Failed", ["No\nidea"]),
            "Bluetooth does not work: [org.bluez.Error.Failed] No idea",
        ),
        (BleakError("adapter 'hci7' not found"), "Bluetooth does not work: adapter"),
        (FileNotFoundError(2, "No such file"), "D-Bus is not running (No such file)"),
        (PermissionError(13, "Permission denied"), "access to D-Bus is denied (Perm"),
        (EOFError("end of file"), "D-Bus is not running (end of file)"),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["-c"], ["-d", "UPS_BMS"]])
def test_missing_bluetooth_is_reported_with_advice(
    run: Run, monkeypatch: pytest.MonkeyPatch, err: Exception, text: str, arguments: Any
) -> None:
    """One line says what is missing and what to do."""

    async def start(_: BaseBleakScanner) -> None:
        raise err

    monkeypatch.setattr(VirtualScanner, "start", start)
    result = run(*arguments)
    assert (result.code, result.out) == (1, "")
    (complaint,) = result.complaints
    assert complaint.startswith(f"jkbms: {text}")


async def hang(*_: object) -> None:
    """Never return."""
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("arguments", [[], ["-c"], ["-d", "UPS_BMS"]])
def test_bluetooth_does_not_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Every wait ends."""
    monkeypatch.setattr(VirtualScanner, "start", hang)
    result = run(*arguments)
    assert (result.code, result.complaints) == (1, [f"jkbms: {NO_ANSWER}"])
    assert result.elapsed == 10


async def _unplugged() -> None:
    raise BleakDBusError("org.bluez.Error.NotReady", ["Resource Not Ready"])


async def _bus_ends() -> None:
    raise EOFError


@pytest.mark.parametrize("end", [_unplugged, _bus_ends, hang])
def test_battery_found_by_a_scan_that_cannot_be_stopped_is_read(
    radio: VirtualRadio,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[], Awaitable[None]],
) -> None:
    """The adapter, or the bus, may be gone when the scan ends."""
    place(radio, UPS)
    stop = VirtualScanner.stop

    async def fail(scanner: VirtualScanner) -> None:
        await stop(scanner)
        await end()

    monkeypatch.setattr(VirtualScanner, "stop", fail)
    assert run("-c", "-d", "UPS_BMS").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["-t", "1"],
        ["-c", "-t", "1"],
        ["-d", "UPS_BMS"],
        ["-p", "-u", "http://127.0.0.1/gate", "-t", "1"],
        ["-e", "-u", "http://127.0.0.1:0"],
        ["-e", "-u", "http://127.0.0.1:0", "-d", "UPS_BMS"],
        ["-ep", "-u", "http://127.0.0.1/gate"],
    ],
)
@pytest.mark.parametrize(
    ("adapter", "used"),
    [([], {}), (["--adapter", "hci1"], {"adapter": "hci1"})],
)
@pytest.mark.usefixtures("socket_enabled")
def test_requested_adapter_is_used(
    radio: VirtualRadio,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    adapter: list[str],
    used: dict[str, str],
) -> None:
    """The adapter that is asked for is used."""
    asked = []
    real = VirtualScanner.__init__

    def watched(*args: Any, **kwargs: Any) -> None:
        asked.append(kwargs["bluez"])
        if "e" in arguments[0]:
            end = partial(signal.raise_signal, signal.SIGTERM)
            asyncio.get_running_loop().call_later(1, end)
        real(*args, **kwargs)

    async def push(*_: object, **__: object) -> None:
        """Take it."""

    monkeypatch.setattr("custom_components.jk_bms.jkbms.cli.serve.push", push)
    monkeypatch.setattr(VirtualScanner, "__init__", watched)
    place(radio, UPS)
    assert run(*arguments, *adapter).code == 0
    assert asked == [used]


# Signals


@pytest.mark.parametrize(
    ("number", "arguments", "code"),
    [
        (signal.SIGINT, ["-c"], 130),
        (signal.SIGTERM, ["-c"], 143),
        (signal.SIGHUP, ["-c"], 143),
        (signal.SIGTERM, ["-e", "-u", "http://127.0.0.1:0/metrics"], 0),
    ],
)
@pytest.mark.usefixtures("socket_enabled", "interruptible")
def test_signal_closes_all_connections_and_sets_the_exit_code(
    radio: VirtualRadio,
    run: Run,
    number: signal.Signals,
    arguments: list[str],
    code: int,
) -> None:
    """A signal, or one after the other, ends it with all links released."""
    place(radio, UPS, HOME)
    bms = place(radio, BOAT)

    def interrupt() -> nullcontext[None]:
        asyncio.get_running_loop().call_later(1.5, partial(signal.raise_signal, number))
        return nullcontext()

    radio.connecting = interrupt
    result = run(*arguments)
    assert (result.code, result.out) == (code, "")
    assert "Traceback" not in result.err
    assert [connection.reason for connection in bms.connections] == ["by the central"]


def test_ignored_hangup_does_not_end_the_command(
    radio: VirtualRadio, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`nohup` starts a command that way, to outlive its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        place(radio, UPS)
        radio.connecting = lambda: nullcontext(signal.raise_signal(signal.SIGHUP))
        assert run("-c", "-d", "UPS_BMS").code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


# At a terminal


class Terminal(io.StringIO):
    """A terminal that keeps what it shows."""

    @override
    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Stand in for a terminal of 100 columns."""
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}.items():
        monkeypatch.setenv(name, value)
    return Terminal()


def test_table_is_the_default_on_a_terminal(
    radio: VirtualRadio,
    run: Run,
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pipes and files get JSON instead."""
    place(radio, UPS)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert run("-t", "1").code == 0
    assert "20:25:03:10:00:0E" in terminal.getvalue()
    assert "{" not in terminal.getvalue()


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["-t", "1"], ["0 found, 0 read", "1 found, 0 read"]),
        (["-d", "UPS_BMS", "-c"], ["0 of 1 found, 0 read", "1 of 1 found, 1 read"]),
    ],
)
def test_progress_is_shown_on_a_terminal_only(
    radio: VirtualRadio,
    run: Run,
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    texts: list[str],
) -> None:
    """People see how far it has come; others do not."""
    place(radio, UPS)
    said: list[str] = []
    monkeypatch.setattr(
        "rich.status.Status.update", lambda _, text, **kwargs: said.append(text)
    )
    assert run(*arguments).err == ""
    assert said == []
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run(*arguments).code == 0
    assert (said[0], said[-1]) == (texts[0], texts[-1])
    # rich leaves its thread alone after telling it to end
    for thread in threading.enumerate():
        if isinstance(thread, _RefreshThread):
            thread.join()


# Logging


@pytest.fixture
def levels() -> Iterator[Callable[[str], int]]:
    """Return a function that reports levels of loggers, and restore them."""
    names = ("", "bleak", "custom_components.jk_bms.jkbms", "jkbms")
    before = {name: logging.getLogger(name).level for name in names}
    yield lambda name: logging.getLogger(name).level
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_log_option_sets_the_levels_of_loggers(
    run: Run, levels: Callable[[str], int]
) -> None:
    """One level is that of all, and more by logger; `jkbms` is wherever the library is."""
    run("-t", "1", "-l", "jkbms=debug,bleak=info")
    assert levels("custom_components.jk_bms.jkbms") == logging.DEBUG
    assert levels("bleak") == logging.INFO
    run("-t", "1", "-l", "error,jkbms=off")
    assert levels("") == logging.ERROR
    assert levels("custom_components.jk_bms.jkbms") > logging.CRITICAL


# Banks


@pytest.mark.parametrize(
    ("bank", "voltage", "current"),
    [("UPS_BMS,SPARE_BMS", 30.0, -10.5), ("UPS_BMS+SPARE_BMS", 60.0, -5.25)],
    ids=["parallel", "series"],
)
def test_bank_is_printed_below_its_batteries(
    radio: VirtualRadio, run: Run, bank: str, voltage: float, current: float
) -> None:
    """Every format that names batteries has the bank as one more element."""
    spare = replace(UPS, name="SPARE_BMS", address=SPARE.address)
    for spec, amperes in ((UPS, -8.5), (spare, -2.0)):
        place(radio, spec).battery.override(current=amperes)
    option = f"HOUSE={bank}"
    output = run("--bank", option, "-f", "json").output
    assert len(output["device_info"]) == 2
    *packs, house = output["cell_data"]
    assert [pack["battery_current"] for pack in packs] == [-8.5, -2.0]
    assert house["battery_current"] == current
    assert house["battery_voltage"] == pytest.approx(voltage, rel=0.1)
    metrics = run("--bank", option, "-f", "metrics").out.splitlines()
    assert f'battery_current{{device="HOUSE"}} {current}' in metrics
    assert "HOUSE\n" in run("--bank", option, "-f", "table").out


def test_bank_without_a_pack_has_no_sums(radio: VirtualRadio, run: Run) -> None:
    """The pack that is not found is a failure as any other."""
    place(radio, UPS)
    result = run("-t", "2", "--bank", "HOUSE=UPS_BMS,HOME_BMS", "-f", "json")
    assert result.code == 1
    assert result.complaints[0].startswith("jkbms: HOME_BMS: Not found")
    ups, house = result.output["cell_data"]
    assert house["battery_voltage"] == ups["battery_voltage"]
    assert house["battery_current"] is None
    assert house["remain_capacity"] is None


def test_battery_by_two_names_is_one_pack(radio: VirtualRadio, run: Run) -> None:
    """Its current is not counted twice."""
    place(radio, UPS).battery.override(current=-8.5)
    output = run("--bank", f"HOUSE=UPS_BMS,{UPS.address}", "-f", "json").output
    assert output["cell_data"][-1]["battery_current"] == -8.5


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--bank A", "argument --bank: A: not a bank such as NAME=A,B, of at least"),
        ("--bank =A,B", "argument --bank: =A,B: not a bank"),
        ("--bank X=A", "argument --bank: X=A: not a bank"),
        ("--bank X=A,", "argument --bank: X=A,: not a bank"),
        ("--bank X=A,B,A", "argument --bank: X has A twice"),
        ("--bank A=A,B", "--bank: a battery or another bank is called A as well"),
        ("--bank X=A,B --bank X=C,D", "another bank is called X as well"),
        ("--bank X=A,B --bank Y=B,C", "--bank: B is in two banks"),
        ("-d X --bank X=A,B", "--bank: a battery or another bank is called X as well"),
        ("--decode x --bank X=A,B", "--decode takes no --bank"),
        ("--set charging=off -d A --bank X=A,B", "--set takes no --bank"),
        ("--unpair --bank X=A,B", "--unpair takes no --bank"),
    ],
)
def test_wrong_bank_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], arguments: str, complaint: str
) -> None:
    """The message names the mistake."""
    with pytest.raises(SystemExit) as error:
        main(arguments.split())
    assert error.value.code == 2
    assert complaint in capsys.readouterr().err
