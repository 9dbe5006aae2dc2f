"""Tests of the formats and of the table."""

from dataclasses import fields, replace
import io
import json
import tomllib
from typing import Any

import pytest
from rich.console import Console
import yaml

from custom_components.jk_bms.jkbms.cli.formats import WRITERS
from custom_components.jk_bms.jkbms.cli.option_types import FORMATS
from custom_components.jk_bms.jkbms.cli.report import (
    BatteryReport,
    ReadReport,
    Report,
    ScanReport,
    ScanResult,
)
from custom_components.jk_bms.jkbms.cli.table import draw
from custom_components.jk_bms.jkbms.models import (
    SECRET_FIELDS,
    BalancerState,
    CellData,
    DetailLogRecord,
    DeviceInfo,
    LogEntry,
    Settings,
    masked,
)

INFO = DeviceInfo(
    device_model="JK_BD4A8S4P",
    software_version="15.26",
    device_name="Küche [1],\n2",
    passcode="4711x",
    uart1_protocols=(0, 1, 2),
    can_protocols=(),
)
CELLS = CellData(
    cell_voltage=(3.301, None, 3.311, 3.305),
    cell_resistance=(0.062, None, 0.07, 0.0),
    average_cell_voltage=3.306,
    delta_cell_voltage=0.01,
    min_cell=1,
    max_cell=3,
    balancer=BalancerState.CHARGING,
    balance_current=0.4,
    battery_voltage=13.21,
    battery_current=-10.595,
    battery_power=-139.96,
    battery_temperature=(20.0, None),
    mosfet_temperature=25.5,
    remain_percent=63,
    remain_capacity=174.1,
    nominal_capacity=276.4,
    cycle_count=42,
    charging=True,
    discharging=False,
    alarms=("cell_undervoltage", "bit_29"),
    wire_resistance_alarm=(),
)
SETTINGS = Settings(cell_uvp=2.5, charging=True)
LOG = [LogEntry(time=5, code=1, event="boot")]
HISTORY = [
    DetailLogRecord(
        index=0,
        clock=204192000,
        code=0,
        event="sample",
        cell=None,
        charging=True,
        discharging=True,
        balancing=False,
        heating=False,
        max_cell=3,
        min_cell=1,
        max_cell_voltage=3.311,
        min_cell_voltage=3.301,
        battery_voltage=13.21,
        battery_current=-10.5,
        remain_capacity=174.1,
        nominal_capacity=276.4,
        max_temperature=None,
        min_temperature=None,
        mosfet_temperature=25,
        heater_current=0.0,
    )
]
HISTORY_WORDS = (
    "0 204192000 0 sample - yes yes no no 3 1 3.311 3.301 13.21 -10.5 174.1 276.4 - - "
    "25 0.0"
)

BATTERY = BatteryReport(
    device="UPS_BMS",
    device_info=masked(INFO),
    cell_data=CELLS,
    settings=SETTINGS,
    logbook=LOG,
    up=True,
    last_update=1.5,
)
SECTIONS = ["device_info", "cell_data", "settings", "logbook", "detail_log"]
READ = ReadReport([BATTERY], SECTIONS)
SCAN = ScanReport(
    {"UPS_BMS": ScanResult(address="C8:47:80:00:00:01", name="UPS_BMS", rssi=-60)}
)


def plain(report: Report) -> Any:
    """Return what JSON says."""
    return json.loads(WRITERS["json"](report))


def test_formats_are_those_of_the_options() -> None:
    """What can be asked for can be written."""
    assert {*WRITERS, "table"} == set(FORMATS.values())


@pytest.mark.parametrize("report", [READ, SCAN, ReadReport([], SECTIONS)])
def test_json_and_yaml_have_the_same_content(report: Report) -> None:
    """Absent values are null in both."""
    assert json.loads(WRITERS["json-pretty"](report)) == plain(report)
    assert yaml.safe_load(WRITERS["yaml"](report)) == plain(report)
    assert "\n" not in WRITERS["json"](report)


def test_section_is_a_list_with_one_element_per_battery_that_answered() -> None:
    """A section is a list with one element a battery that sent data."""
    mute = BatteryReport(device="HOME_BMS", up=False)
    document = plain(
        ReadReport([mute, BATTERY, mute, BATTERY], ["device_info", "cell_data"])
    )
    assert [*document] == ["device_info", "cell_data"]
    assert [len(section) for section in document.values()] == [2, 2]
    assert document["device_info"][0]["device_model"] == "JK_BD4A8S4P"
    assert document["cell_data"][0]["cell_voltage"] == [3.301, None, 3.311, 3.305]


@pytest.mark.parametrize("name", ["toml", "toml-pretty"])
def test_toml_omits_null_and_writes_nan_in_lists(name: str) -> None:
    """TOML has no null: the key is left out, and in a list it is not-a-number."""
    text = WRITERS[name](READ)
    document = tomllib.loads(text)
    assert [line for line in text.splitlines() if line.startswith("[[")] == [
        "[[device_info]]",
        "[[cell_data]]",
        "[[settings]]",
    ]
    assert document["detail_log"] == []
    assert document["logbook"] == [[{"time": 5, "code": 1, "event": "boot"}]]
    assert document["settings"] == [{"cell_uvp": 2.5, "charging": True}]
    (info,), (cells,) = document["device_info"], document["cell_data"]
    assert info["device_name"] == INFO.device_name
    assert (info["uart1_protocols"], info["can_protocols"]) == ([0, 1, 2], [])
    assert "hardware_version" not in info
    assert str(cells["cell_voltage"]) == "[3.301, nan, 3.311, 3.305]"
    assert cells["balancer"] == "charging"


def test_toml_for_programs_and_people() -> None:
    """Lists are on one line for the one and below each other for the other."""
    assert "uart1_protocols = [0, 1, 2]\n" in WRITERS["toml"](READ)
    assert "uart1_protocols = [\n  0,\n  1,\n  2,\n]\n" in WRITERS["toml-pretty"](READ)
    assert WRITERS["toml"](SCAN) == (
        '[[devices]]\naddress = "C8:47:80:00:00:01"\nname = "UPS_BMS"\nrssi = -60\n'
    )
    assert WRITERS["toml"](ScanReport({})) == "devices = []\n"


@pytest.mark.parametrize("name", ["repr", "repr-pretty"])
def test_repr_is_python_with_every_field(name: str) -> None:
    """The text can be evaluated; secrets are masked in it, not left out."""

    class Model(dict[str, Any]):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(attributes)

    text = WRITERS[name](READ)
    classes = ("DeviceInfo", "CellData", "Settings", "LogEntry")
    document = eval(text, dict.fromkeys(classes, Model))  # noqa: S307
    assert [*document] == SECTIONS
    (info,), (cells,) = document["device_info"], document["cell_data"]
    assert [*info] == [field.name for field in fields(DeviceInfo)]
    assert (info["passcode"], info["userdata"]) == ("********", None)
    assert (cells["balancer"], cells["cell_voltage"][1]) == ("charging", None)
    entry = {"time": 5, "code": 1, "event": "boot", "cell": None}
    assert document["logbook"] == [[entry]]
    assert (len(text.splitlines()) > 1) is (name == "repr-pretty")


RUST_INFO = replace(INFO, device_name='a "b"\\\n\x1b', uart1_protocols=(0, 1))
RUST_CELLS = CellData(cell_voltage=(2.384, None), remain_percent=100, charging=True)


def test_rust_is_the_debug_notation_on_one_line() -> None:
    """As with ubmsc, a section that was not requested is an empty list."""
    battery = BatteryReport(device="x", device_info=RUST_INFO, cell_data=RUST_CELLS)
    text = WRITERS["rust"](ReadReport([battery], ["device_info"]))
    assert text.startswith('Outputs { device_info: [DeviceInfo { device_model: "JK_BD4')
    assert r'device_name: "a \"b\"\\\n\u{1b}", device_passcode: None' in text
    assert "uart1_protocols: [0, 1], can_protocols: []" in text
    assert text.endswith(" }], cell_data: [] }")
    text = WRITERS["rust"](ReadReport([battery], ["cell_data"]))
    assert text.startswith(
        "Outputs { device_info: [], cell_data: [CellData { cell_voltage: [2.384, None], "
    )
    assert "remain_percent: 100" in text
    assert "charging: true" in text
    assert WRITERS["rust"](SCAN).endswith("rssi: -60 }] }")


def test_rust_pretty_has_four_blanks_a_level_and_a_comma_behind_each_field() -> None:
    """Rust's alternate form of debug output, `{:#?}`, looks like this."""
    battery = BatteryReport(device="x", cell_data=RUST_CELLS)
    lines = WRITERS["rust-pretty"](ReadReport([battery], ["cell_data"])).splitlines()
    assert lines[:8] == [
        "Outputs {",
        "    device_info: [],",
        "    cell_data: [",
        "        CellData {",
        "            cell_voltage: [",
        "                2.384,",
        "                None,",
        "            ],",
    ]
    assert lines[-4:] == [
        "            implausible: [],",
        "        },",
        "    ],",
        "}",
    ]


def test_absent_secrets_are_not_masked() -> None:
    """A mask would suggest that the battery has a secret."""
    shown = masked(replace(INFO, userdata="mine"))
    assert {name: getattr(shown, name) for name in SECRET_FIELDS} == {
        **dict.fromkeys(SECRET_FIELDS),
        "passcode": "********",
        "userdata": "********",
    }
    assert shown.device_name == INFO.device_name


def test_metrics_are_those_of_the_exporter() -> None:
    """A list of batteries in range has only their signal strength."""
    lost = BatteryReport(device="HOME_BMS", up=False)
    lines = WRITERS["metrics"](ReadReport([BATTERY, lost], ["cell_data"])).splitlines()
    assert 'cell_voltage{cell="0",device="UPS_BMS"} 3.301' in lines
    assert 'up{device="UPS_BMS"} 1' in lines
    assert 'up{device="HOME_BMS"} 0' in lines
    assert WRITERS["metrics"](SCAN).splitlines() == [
        "# HELP signal_strength Signal strength in dBm.",
        "# TYPE signal_strength gauge",
        'signal_strength{device="UPS_BMS"} -60.0',
    ]


# The table


def drawn(report: Report, width: int = 100) -> list[str]:
    """Return the lines that a terminal shows."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(draw(report))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_table_lists_the_strongest_signal_first() -> None:
    """The one with the best signal is first."""
    far = ScanResult(address="C8:47:80:00:00:02", name=None, rssi=-90)
    assert drawn(ScanReport({"far": far, **SCAN.batteries})) == [
        "address            name        RSSI",
        "C8:47:80:00:00:01  UPS_BMS  -60 dBm",
        "C8:47:80:00:00:02           -90 dBm",
    ]


EVIL = "[/x] \x1b[2J\nBMS [bold]"
HARMLESS = "[/x] [2J BMS [bold]"
"""A name from the air, and how it is shown."""


def test_table_neutralises_names_from_the_air() -> None:
    """Names must not act as markup or terminal commands, nor fill more than a line."""
    found = ScanResult(address="C8:47:80:00:00:01", name=EVIL, rssi=-60)
    _, line = drawn(ScanReport({EVIL: found}))
    assert line == f"C8:47:80:00:00:01  {HARMLESS}  -60 dBm"
    info = replace(INFO, device_name=EVIL, userdata="\x9b2J[/]")
    odd = [LogEntry(time=5, code=1, event="[/x]")]
    report = BatteryReport(device=EVIL, device_info=info, logbook=odd)
    lines = drawn(ReadReport([report], SECTIONS), 200)
    assert lines[0] == HARMLESS
    text = "\n".join(lines)
    assert f"device_name {HARMLESS}" in text
    assert "userdata 2J[/]" in text
    assert "5     1     [/x]" in text
    assert all(line.isprintable() for line in lines)


def test_table_shows_live_values_cells_and_the_rest() -> None:
    """What matters comes first, the cells have bars, and all the rest follows."""
    lines = drawn(READ)
    assert [line.split("   ")[0].strip() for line in lines[:4]] == [
        "UPS_BMS",
        "13.21 V",
        "3.306 V on average",
        "20.0 °C",
    ]
    assert "-10.59 A" in lines[1] or "-10.60 A" in lines[1]
    assert "174.1 of 276.4 Ah" in lines[1]
    assert "0.010 V difference   balancer charging   0.40 A" in lines[2]
    assert "25.5 °C MOSFET   charging on   discharging off" in lines[3]
    assert lines[4].split() == ["cell_undervoltage!", "bit_29!"]
    assert lines[5].split() == [
        "1",
        "3.301",
        "V",
        "████████··",
        "▼",
        "2",
        "-",
        "3",
        "3.311",
        "V",
        "██████████",
        "▲",
        "4",
        "3.305",
        "V",
        "████████▊·",
    ]
    text = "\n".join(lines)
    for words in (
        "wire_resistance_alarm none",
        "device_passcode",
        "passcode ********",
        "uart1_protocols 0, 1, 2",
        "cell_uvp 2.5",
        "charging yes",
        "boot",
    ):
        assert (words in text) is (words != "device_passcode"), words


def test_table_lists_what_the_battery_accepts_by_name() -> None:
    """Numbers stay in the other formats."""
    info = DeviceInfo(
        device_model="JK_B2A8S20P",
        software_version="11.48",
        command_support=(0x1D, 0x9B, 0xA1),
    )
    report = ReadReport(
        [BatteryReport(device="UPS", device_info=info)], ["device_info"]
    )
    assert drawn(report)[-1].strip() == "command_support charging, 0x9B, read_logbook"
    assert plain(report)["device_info"][0]["command_support"] == [0x1D, 0x9B, 0xA1]


def test_table_leaves_no_gap_for_absent_values() -> None:
    """Old units send less, and what is missing leaves no gap."""
    cells = CellData(cell_voltage=(3.3, 3.3), min_cell=1, max_cell=1)
    little = drawn(ReadReport([BatteryReport(device="Old", cell_data=cells)], SECTIONS))
    assert [line.strip() for line in little] == [
        "Old",
        "1 3.300 V ██████████    2 3.300 V ██████████",
    ]
    blank = ReadReport([BatteryReport(device="Old", cell_data=CellData())], SECTIONS)
    assert [line for line in drawn(blank) if line] == ["Old"]
    # A battery without data is reported elsewhere
    assert drawn(ReadReport([BatteryReport(device="Lost")], [])) == []


def test_table_names_impossible_values() -> None:
    """Impossible values are listed with the alarms, as in the live view of `--watch`."""
    cells = CellData(cell_voltage=(3.3, None), implausible=("cell_voltage_2",))
    report = ReadReport([BatteryReport(device="Old", cell_data=cells)], SECTIONS)
    assert [line.strip() for line in drawn(report)][:2] == [
        "Old",
        "cell_voltage_2: impossible value",
    ]


def test_table_has_a_row_per_log_entry() -> None:
    """A log is a table, and a missing value is a dash."""
    logs = BatteryReport(device="Log", logbook=LOG, detail_log=HISTORY)
    assert [line.split() for line in drawn(ReadReport([logs], SECTIONS), 300)] == [
        ["Log"],
        ["logbook"],
        [field.name for field in fields(LogEntry)],
        ["5", "1", "boot", "-"],
        ["detail", "log"],
        [field.name for field in fields(DetailLogRecord)],
        HISTORY_WORDS.split(),
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 200])
def test_values_are_not_cut_on_a_narrow_terminal(width: int) -> None:
    """Values are not cut, however narrow the terminal."""
    cells = replace(CELLS, cell_voltage=tuple(3 + n / 1000 for n in range(24)))
    report = replace(BATTERY, cell_data=cells)
    lines = drawn(ReadReport([report], SECTIONS), width)
    assert max(len(line) for line in lines) <= width
    text = " ".join(lines)
    for number in range(24):
        assert f"{3 + number / 1000:.3f} V" in text
