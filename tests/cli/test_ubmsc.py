"""The command in the place of `ubmsc`: its usage lines, its output, its names.

The tests of its README run each block on a battery with the values that the block shows,
and compare byte for byte; each difference is named. That README is not part of this
project: the tests behind them state the same contract in our own words.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
import json
import logging
from pathlib import Path
import re
import shlex
from struct import pack_into
import sys
from typing import Any, Final

from aiohttp import web
import pytest

from custom_components.jk_bms.jkbms.cli.arguments import parse
from custom_components.jk_bms.jkbms.cli.main import main
from custom_components.jk_bms.jkbms.cli.serve import plan
from custom_components.jk_bms.jkbms.export.exporter import Endpoint, Exporter
from custom_components.jk_bms.jkbms.models import BatteryState
from custom_components.jk_bms.jkbms.protocol.decode import (
    decode_cell_data,
    decode_device_info,
)
from custom_components.jk_bms.jkbms.protocol.detect import find_profile
from custom_components.jk_bms.jkbms.protocol.frames import Frame
from tests.servers import Prometheus, free_port, get
from tests.virtual_bms import MODELS, Battery, VirtualBms, VirtualRadio, frames
from tests.virtual_time import VirtualTimeLoop

from ..protocol import mended

README: Final = Path(__file__).parents[3] / "shared" / "seed" / "ubmsc-README.md"

UPS: Final = replace(
    MODELS["JK_BD4A8S4P 15.26"],
    name="UPS_BMS",
    cells=6,
    chemistry="LTO",
    serial="40531310629",
    passcode="1234",
    short_passcode="0000",
    setup_passcode="123456789",
    userdata="JK-BMS",
    userdata2="JK-BMS",
    manufactured="240818",
    power_on_count=1,
    run_time=1709100,
)
WIRES: Final = (0.138, 0.137, 0.14, 0.138, 0.139, 0.139)

type Run = Callable[..., str]


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Return what runs the command on one battery with these values."""
    monkeypatch.setattr(
        asyncio, "Runner", partial(asyncio.Runner, loop_factory=VirtualTimeLoop)
    )
    monkeypatch.delenv("JKBMS_FORMAT", raising=False)
    with VirtualRadio("adapter") as radio:

        def run(*arguments: str, **values: object) -> str:
            battery = Battery(UPS, soc=1.0, time_scale=0.0)
            battery.override(**values)
            bms = VirtualBms(battery)
            radio.place(bms)
            assert main(arguments) == 0
            radio.remove(bms)
            return capsys.readouterr().out

        yield run


TOML_VALUES: Final = {
    "cells": (2.384, 2.384, 2.383, 2.384, 2.384, 2.384),
    "resistances": WIRES,
    "voltage": 14.304,
    "current": 0.156,
    "power": 2.231,
    "temperatures": (23.2, 23.6, None, None),
    "mosfet_temperature": 25.4,
    "balance_current": 0.0,
    "balancer": 0,
    "soc": 100,
    "remaining": 12.0,
    "full": 12.0,
    "cycles": 1,
    "cycle_capacity": 18.464,
    "run_time": 1707600,
}
METRICS_VALUES: Final = TOML_VALUES | {
    "cells": (2.386, 2.384, 2.384, 2.384, 2.384, 2.384),
    "voltage": 14.308,
    "current": 0.078,
    "power": 1.116,
    "temperatures": (22.8, 23.2, None, None),
    "mosfet_temperature": 24.9,
    "cycle_capacity": 19.117,
    "run_time": 1770773,
}
INFO_VALUES: Final = {"run_time": 1709100}

SEED_METRICS: Final = {
    **dict.fromkeys(
        (
            "average_cell_voltage",
            "balance_current",
            "battery_current",
            "battery_power",
            "battery_temperature",
            "battery_voltage",
            "cell_resistance",
            "cell_voltage",
            "delta_cell_voltage",
            "mosfet_temperature",
            "remain_capacity",
            "remain_percent",
        ),
        "gauge",
    ),
    **dict.fromkeys(
        ("cycle_capacity", "cycle_count", "poweron_times", "up_time"), "counter"
    ),
}
BY_CELL: Final = {"battery_temperature": 2, "cell_resistance": 6, "cell_voltage": 6}
SEED_FIELDS: Final = {
    "device_info": "device_model hardware_version software_version up_time "
    "poweron_times device_name device_passcode manufacturing_date serial_number "
    "passcode userdata setup_passcode userdata2",
    "cell_data": "cell_voltage average_cell_voltage delta_cell_voltage "
    "balance_current cell_resistance battery_voltage battery_power battery_current "
    "battery_temperature mosfet_temperature remain_percent remain_capacity "
    "nominal_capacity cycle_count cycle_capacity up_time",
}


# The README of ubmsc, block by block

needs_readme = pytest.mark.skipif(
    not README.is_file(), reason="../shared/seed/ubmsc-README.md is not here"
)


def blocks() -> dict[str, str]:
    """Return each command line of the README, with the block that it prints."""
    section = README.read_text("utf-8").partition("## Command-line usage")[2]
    fences = re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)
    found = {}
    for (language, text), (other, output) in zip(
        fences, [*fences[1:], ("", "")], strict=True
    ):
        if language == "plain" and text.startswith("$ ubmsc"):
            command = text.removeprefix("$ ubmsc").strip("`\n ")
            is_output = not output.startswith("$")
            found[command] = output if is_output and other else ""
    return found


def without_noise(text: str) -> str:
    """Difference: numbers have the digits of the wire, not those of a 32-bit float."""
    return re.sub(r"\d+\.\d{7,}", lambda found: str(round(float(found[0]), 3)), text)


def only_of_seed(text: str, known: Collection[str]) -> str:
    """Difference: fields and metrics that we add, which stand behind or between."""

    def is_known(line: str) -> bool:
        name = re.match(r"(?:# (?:HELP|TYPE) )?(\w+)(?= =|[ {])", line)
        return not name or name[1] in known

    return "\n".join(line for line in text.split("\n") if is_known(line))


def without_help(text: str) -> str:
    """Difference: the HELP texts of the metrics."""
    return re.sub(r"(?m)^(# HELP \w+) .*", r"\1", text)


@needs_readme
def test_readme_has_the_blocks_that_are_tested() -> None:
    """A block that is added would need a test."""
    assert list(blocks()) == [
        "--help",
        "-f J -i -d UPS_BMS",
        "-f t -i -c",
        "-f metrics -c -d UPS_BMS",
        "-e -u http://127.0.0.1:9898/metrics -l ubmsc=debug -j -d UPS_BMS -d SOLAR_BMS",
        (
            "-e -p -u http://127.0.0.1:8428/api/v1/import/prometheus -l ubmsc=info -j "
            "-d UPS_BMS -d SOLAR_BMS"
        ),
    ]


@needs_readme
def test_readme_json_is_reproduced(run: Run) -> None:
    """Byte for byte, but for masked secrets (hence --secrets) and what we add."""
    command = "-f J -i -d UPS_BMS"
    out = run(*shlex.split(command), "--secrets", **INFO_VALUES)
    shown = re.sub(
        r'("userdata2": "JK-BMS"),\n.*?(\n    \})', r"\1\2", out, flags=re.DOTALL
    )
    assert shown == blocks()[command]


@needs_readme
def test_readme_toml_is_reproduced(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, but for masked secrets, noise, what we add, and a wrong byte.

    Difference: `balance_current` is read where it stands; ubmsc shows other bytes.
    """
    write = frames.info_frame

    def info_frame(*args: Any) -> bytes:
        # The device information is older than the cell data by 100 s
        data = bytearray(write(*args))
        pack_into("<I", data, 38, 1707500)
        return mended(bytes(data))

    monkeypatch.setattr(frames, "info_frame", info_frame)
    command = "-f t -i -c"
    out = run(*shlex.split(command), "--secrets", **TOML_VALUES)
    expected = without_noise(blocks()[command])
    assert "balance_current = 1.024\n" in expected
    fields = {name for names in SEED_FIELDS.values() for name in names.split()}
    expected = expected.replace("balance_current = 1.024\n", "balance_current = 0.0\n")
    assert only_of_seed(out, fields) == expected


def metrics_of_readme() -> str:
    """Return the block of -f metrics without HELP texts, noise, and values that lag.

    Difference: average and difference are computed from the cells of the same frame. The
    BMS sends its own up to a second late, as this block shows (docs/protocol.md 7).
    """
    expected = without_noise(without_help(blocks()["-f metrics -c -d UPS_BMS"]))
    for late, right in (
        ('\naverage_cell_voltage{device="UPS_BMS"} 2.385\n', "2.384"),
        ('\ndelta_cell_voltage{device="UPS_BMS"} 0\n', "0.002"),
    ):
        assert late in expected
        expected = expected.replace(late, f"{late.rpartition(' ')[0]} {right}\n")
    # Whole numbers have no decimal point
    return re.sub(r"\.0$", "", expected, flags=re.MULTILINE)


@needs_readme
def test_readme_metrics_are_reproduced(run: Run) -> None:
    """Byte for byte, but for what `metrics_of_readme` says, and what we add."""
    command = "-f metrics -c -d UPS_BMS"
    out = run(*shlex.split(command), **METRICS_VALUES)
    assert without_help(only_of_seed(out, SEED_METRICS)) == metrics_of_readme()


@needs_readme
def test_readme_help_is_reproduced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, but for the default format, and what we add, which stands behind."""
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/ubmsc"])
    with pytest.raises(SystemExit):
        main(["--help"])
    expected = blocks()["--help"]
    assert "rust(r) (by default) rust-pretty(R)" in expected
    expected = expected.replace("rust(r) (by default) ", "rust(r) ")
    assert capsys.readouterr().out.startswith(f"{expected}\n")


SOLAR: Final = replace(UPS, name="SOLAR_BMS", address="C8:47:8C:00:00:77")


@needs_readme
@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize("number", [4, 5], ids=["serve", "push"])
async def test_readme_service_line_exports_what_metrics_shows(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line as it is, but for the port: the block of -f metrics, for each battery.

    Differences: those of that block.
    """
    line = [*blocks()][number]
    port = free_port()
    options = parse(shlex.split(re.sub(r":(9898|8428)/", f":{port}/", line)))
    assert options.journal
    level = logging.DEBUG if number == 4 else logging.INFO
    assert [*options.log.levels.values()] == [level]
    # Its values are due every 60 s, of which the first half passes before a push
    options.scrape_interval = 1.0
    bodies: list[str] = []

    async def take(request: web.Request) -> web.Response:
        assert request.path == "/api/v1/import/prometheus"
        bodies.append(await request.text())
        return web.Response(status=204)

    with VirtualRadio("adapter") as radio:
        for spec in (UPS, SOLAR):
            battery = Battery(spec, soc=1.0, time_scale=0.0)
            battery.override(**METRICS_VALUES)
            radio.place(VirtualBms(battery, speed=20))
        app = web.Application()
        app.router.add_post("/{path:.*}", take)
        runner = web.AppRunner(app)
        await runner.setup()
        if options.push:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        serving = asyncio.ensure_future(plan(options)())
        async with asyncio.timeout(90):
            while not any(body.count("remain_percent{") == 2 for body in bodies):
                await asyncio.sleep(0.1)
                if not options.push:
                    with suppress(OSError):
                        url = f"http://127.0.0.1:{port}/metrics"
                        bodies.append(await get(url))
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        await runner.cleanup()
    (body, *_) = [each for each in bodies if each.count("remain_percent{") == 2]
    for device, other in (("UPS_BMS", "SOLAR_BMS"), ("SOLAR_BMS", "UPS_BMS")):
        own = re.sub(rf'(?m)^.*device="{other}".*\n', "", body)
        assert without_help(only_of_seed(own, SEED_METRICS)) == (
            metrics_of_readme().replace("UPS_BMS", device)
        )


# The same contract in our own words


def test_device_info_has_the_fields_of_ubmsc_first(run: Run) -> None:
    """In its order; what we add follows."""
    out = run("-f", "j", "-i", "-c", "-d", "UPS_BMS", "--secrets", **TOML_VALUES)
    for section, names in SEED_FIELDS.items():
        (model,) = json.loads(out)[section]
        assert list(model)[: len(names.split())] == names.split()
    (info,) = json.loads(out)["device_info"]
    assert info["passcode"] == "000"
    assert info["serial_number"] == "40531310629"


def test_section_that_is_not_requested_is_left_out(run: Run) -> None:
    """In JSON, YAML and TOML; in Debug notation it is empty."""
    for name in ("j", "J", "y", "t", "T"):
        assert "device_info" not in run(
            "-f", name, "-c", "-d", "UPS_BMS", **TOML_VALUES
        )
    text = run("-f", "rust", "-c", "-d", "UPS_BMS", **TOML_VALUES)
    assert text.startswith(
        "Outputs { device_info: [], cell_data: [CellData { cell_voltage: [2.384, 2.384, "
        "2.383, 2.384, 2.384, 2.384], average_cell_voltage: 2.384, "
        "delta_cell_voltage: 0.001, balance_current: 0.0, cell_resistance: [0.138, "
    )
    assert text.endswith(" }] }\n")


def test_url_without_a_use_is_ignored(run: Run) -> None:
    """A script may always pass it."""
    assert run("-u", "http://x", "-i", "-f", "j") == run("-i", "-f", "j")


def test_metrics_are_sorted_and_whole_numbers_have_no_point(run: Run) -> None:
    """Names, types and labels are those of ubmsc; -c exports poweron_times as well."""
    lines = run("-f", "m", "-c", "-d", "UPS_BMS", **METRICS_VALUES).splitlines()
    types = dict(line.split()[2:] for line in lines if line.startswith("# TYPE"))
    assert [*types] == sorted(types)
    assert types.items() >= SEED_METRICS.items()
    for name in SEED_METRICS:
        count = BY_CELL.get(name)
        labels = [f'cell="{n}",' for n in range(count)] if count else [""]
        shown = [line.split("}")[0] for line in lines if line.startswith(f"{name}{{")]
        assert shown == [f'{name}{{{label}device="UPS_BMS"' for label in labels]
    for line in ("up_time", "remain_percent", "remain_capacity", "poweron_times"):
        (value,) = (text for text in lines if text.startswith(f"{line}{{"))
        assert value.rpartition(" ")[2] in {"1770773", "100", "12", "1"}


async def test_prometheus_stores_the_series_of_ubmsc(prometheus: Prometheus) -> None:
    """A query for each of its metrics gives the same series."""
    battery = Battery(UPS, soc=1.0, time_scale=0.0)
    battery.override(**METRICS_VALUES)
    info = Frame.parse(frames.info_frame(UPS, battery.settings, battery.state, 1))
    cells = Frame.parse(frames.cell_frame(UPS, battery.state, 2))
    profile = find_profile([info, cells])
    state = BatteryState(
        device="UPS_BMS",
        device_info=decode_device_info(info),
        cell_data=decode_cell_data(cells, profile),
        layout=profile.layout,
        up=True,
    )
    async with Exporter(Endpoint(port=0), lambda: [state]) as exporter:
        host, port = exporter.addresses[0]
        prometheus.scrape("ubmsc", f"{host}:{port}")
        try:
            for name in SEED_METRICS:
                count = BY_CELL.get(name, 1)
                label = ",cell" if name in BY_CELL else ""
                query = f'{name}{{job="ubmsc",device="UPS_BMS"}}'
                await prometheus.until(query, lambda values, n=count: len(values) == n)
                # No label but these makes two series one
                query = f"count by (job,device{label}) ({query})"
                series = await prometheus.until(query, lambda values: values)
                assert series == [1] * count, name
            assert await prometheus.until(
                'battery_power{job="ubmsc"}', lambda values: values
            ) == [1.116]
        finally:
            prometheus.scrape("ubmsc", "")
