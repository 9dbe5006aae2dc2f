"""What batteries say, as Prometheus metrics."""

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
import re
import subprocess

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
import pytest

from custom_components.jk_bms.jkbms.cli.formats import WRITERS
from custom_components.jk_bms.jkbms.cli.report import ScanReport, ScanResult
from custom_components.jk_bms.jkbms.export.metrics import to_openmetrics, to_text
from custom_components.jk_bms.jkbms.models import (
    SECRET_FIELDS,
    BalancerState,
    BatteryState,
    CellData,
    DeviceInfo,
    Layout,
)
from tests.servers import Samples, find

from .states import ALARMS, GARAGE, HOUSE, OLD, OLDEST, battery, expected

SEED_COUNTERS = {"cycle_capacity", "cycle_count", "poweron_times", "up_time"}
SEED = """\
# TYPE average_cell_voltage gauge
average_cell_voltage{device="UPS_BMS"}
# TYPE cell_voltage gauge
cell_voltage{cell="0",device="UPS_BMS"}
cell_voltage{cell="7",device="UPS_BMS"}
# TYPE cell_resistance gauge
cell_resistance{cell="0",device="UPS_BMS"}
# TYPE delta_cell_voltage gauge
delta_cell_voltage{device="UPS_BMS"}
# TYPE balance_current gauge
balance_current{device="UPS_BMS"}
# TYPE battery_voltage gauge
battery_voltage{device="UPS_BMS"}
# TYPE battery_power gauge
battery_power{device="UPS_BMS"}
# TYPE battery_current gauge
battery_current{device="UPS_BMS"}
# TYPE battery_temperature gauge
battery_temperature{cell="0",device="UPS_BMS"}
# TYPE mosfet_temperature gauge
mosfet_temperature{device="UPS_BMS"}
# TYPE remain_percent gauge
remain_percent{device="UPS_BMS"}
# TYPE remain_capacity gauge
remain_capacity{device="UPS_BMS"}
# TYPE cycle_capacity counter
cycle_capacity{device="UPS_BMS"}
# TYPE cycle_count counter
cycle_count{device="UPS_BMS"}
# TYPE poweron_times counter
poweron_times{device="UPS_BMS"}
# TYPE up_time counter
up_time{device="UPS_BMS"}
"""


def samples(text: str, device: str, *, openmetrics: bool = False) -> Samples:
    """Return the samples of a device as an independent parser reads them."""
    found: Samples = {}
    for family in (parse_openmetrics if openmetrics else parse_text)(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            if labels.pop("device") == device:
                # This parser gives every counter the suffix, whether it has it or not
                bare = sample.name.removesuffix("_total")
                name = bare if f"\n{bare}{{" in text else sample.name
                of_name = found.setdefault(name, {})
                key = frozenset(labels.items())
                assert key not in of_name
                of_name[key] = sample.value
    return found


@pytest.mark.parametrize("model", [HOUSE, GARAGE, OLD, OLDEST])
def test_every_value_is_one_sample(model: str) -> None:
    """Each value that the battery carries is there once, and nothing else is."""
    state = battery("UPS_BMS", model)
    assert samples(to_text([state]), "UPS_BMS") == expected(state)
    text = to_openmetrics([state])
    assert samples(text, "UPS_BMS", openmetrics=True) == expected(
        state, openmetrics=True
    )


def test_names_labels_and_types_are_those_of_ubmsc() -> None:
    """Names, labels and types are those that boards for ubmsc know."""
    text = to_text([battery("UPS_BMS", HOUSE)])
    lines = {re.sub(r"(?<=\}) .*", "", line) for line in text.splitlines()}
    assert set(SEED.splitlines()) <= lines
    helped = {line.split()[2] for line in lines if line.startswith("# HELP")}
    assert helped == {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert helped == {
        re.split("[{ ]", line)[0] for line in lines if not line.startswith("#")
    }


def test_only_our_own_counter_has_a_suffix_in_text() -> None:
    """Only our own counter has it in the text, all have it in OpenMetrics."""
    state = battery("UPS_BMS", HOUSE)
    assert set(re.findall(r"\w+_total", to_text([state]))) == {"rejected_frames_total"}
    names = re.findall(r"^\w+_total", to_openmetrics([state]), re.MULTILINE)
    assert set(names) == {
        f"{name}_total" for name in SEED_COUNTERS | {"rejected_frames"}
    }


def test_each_metric_has_one_head() -> None:
    """Each metric has one head, for all batteries."""
    states = [battery("a", HOUSE), battery("b", GARAGE)]
    text = to_text(states)
    heads = re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)
    assert len(heads) == len(set(heads))
    for state in states:
        assert samples(text, state.device) == expected(state)


def test_battery_that_stopped_answering_has_no_values() -> None:
    """Only `up 0`, the time of the last values and our own counter remain."""
    lost = battery("lost", HOUSE, up=False)
    text = to_text([lost, battery("here", HOUSE)])
    assert samples(text, "lost") == {
        "up": {frozenset(): 0.0},
        "last_update_timestamp_seconds": expected(lost)[
            "last_update_timestamp_seconds"
        ],
        "rejected_frames_total": {frozenset(): 3.0},
    }
    assert len(samples(text, "here")) > 20
    never = BatteryState(device="never", up=False)
    assert to_text([never]).splitlines()[2:] == ['up{device="never"} 0']


def test_single_output_has_no_series_about_the_link() -> None:
    """A command that reads once does not watch the link."""
    state = battery("UPS_BMS", HOUSE)
    once = replace(state, up=None, last_update=None, rejected_frames=None)
    wanted = expected(state)
    for name in ("up", "last_update_timestamp_seconds", "rejected_frames_total"):
        del wanted[name]
    assert samples(to_text([once]), "UPS_BMS") == wanted


def test_absent_values_have_no_sample() -> None:
    """What the battery does not carry gives no sample, and cells keep their number."""
    cells = CellData(
        cell_voltage=(3.3, None, 3.301),
        battery_temperature=(None, 20.5),
        balancer=BalancerState.UNKNOWN,
    )
    text = to_text([BatteryState(device="x", cell_data=cells)])
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        'battery_temperature{cell="1",device="x"} 20.5',
        'cell_voltage{cell="0",device="x"} 3.3',
        'cell_voltage{cell="2",device="x"} 3.301',
    ]
    assert to_text([BatteryState(device="x")]) == ""
    assert to_text([]) == ""
    assert to_openmetrics([]) == "# EOF\n"


def test_no_noise_of_single_floats() -> None:
    """A value has the digits that the wire carries."""
    text = to_text([battery("x", GARAGE, cells=(2.384,) * 16, voltage=38.144)])
    assert 'cell_voltage{cell="0",device="x"} 2.384\n' in text
    assert all(
        len(value.partition(".")[2]) <= 7
        for value in re.findall(r"\} ([0-9.-]+)$", text, re.MULTILINE)
    )


def test_run_time_is_exported_once() -> None:
    """The live one wins over that of the device information."""
    info = DeviceInfo(device_model="x", software_version="11.0", up_time=7)
    for cells, up_time in ((CellData(up_time=9), "9"), (CellData(), "7")):
        state = BatteryState(device="x", device_info=info, cell_data=cells)
        assert re.findall(r"^up_time.*", to_text([state]), re.MULTILINE) == [
            f'up_time{{device="x"}} {up_time}'
        ]


@pytest.mark.parametrize(
    ("balancer", "balancing"),
    [("off", 0.0), ("charging", 1.0), ("discharging", 1.0)],
)
def test_balancing_is_1_in_either_direction(balancer: str, balancing: float) -> None:
    """The balancer works whichever way its store goes."""
    state = BatteryState(
        device="x", cell_data=CellData(balancer=BalancerState(balancer))
    )
    assert samples(to_text([state]), "x") == {"balancing": {frozenset(): balancing}}


@pytest.mark.parametrize(
    ("layout", "count"),
    [(None, 32), (Layout.JK02_32S, 32), (Layout.JK02_24S, 16), (Layout.JK04, 0)],
)
def test_every_alarm_of_the_layout_is_a_series(
    layout: Layout | None, count: int
) -> None:
    """Each alarm that the layout knows is there, raised or not."""
    cells = CellData(alarms=("cell_count",))
    state = BatteryState(device="x", cell_data=cells, layout=layout)
    alarms = samples(to_text([state]), "x").get("alarm", {})
    assert alarms == {
        frozenset({("alarm", name)}): float(name == "cell_count")
        for name in ALARMS[:count]
    }


def test_labels_of_any_name() -> None:
    """A name may hold whatever a person types."""
    name = 'the "old" \\ one_total\nup_time_total{ ü'
    state = battery(name, HOUSE)
    assert samples(to_text([state]), name) == expected(state)
    assert samples(to_openmetrics([state]), name, openmetrics=True) == expected(
        state, openmetrics=True
    )


@pytest.mark.parametrize("render", [to_text, to_openmetrics])
def test_private_fields_are_not_exported(
    render: Callable[[Iterable[BatteryState]], str],
) -> None:
    """Neither passcodes nor serial numbers are metrics."""
    info = DeviceInfo(
        **{
            field.name: f"private-{field.name}"
            for field in fields(DeviceInfo)
            if field.name in {*SECRET_FIELDS, "serial_number", "device_name"}
        },
        device_model="private-model",
        software_version="private-version",
        poweron_times=4,
    )
    text = render([replace(battery("x", GARAGE), device_info=info)])
    assert "poweron_times" in text
    assert "private" not in text


def lint(text: str) -> list[str]:
    """Return what Prometheus' own checker finds."""
    done = subprocess.run(
        [find("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    return sorted((done.stdout + done.stderr).splitlines())


@pytest.mark.parametrize(
    ("state", "counters"),
    [
        *((battery("a", model), SEED_COUNTERS) for model in (HOUSE, GARAGE, OLD)),
        (battery("a", OLDEST), {"poweron_times", "up_time"}),
        (battery("a", OLD, up=False), set()),
        (BatteryState(device="a", up=False), set()),
        (BatteryState(device="a"), set()),
    ],
)
def test_promtool_reports_nothing_but_names_of_ubmsc(
    state: BatteryState, counters: set[str]
) -> None:
    """These names break its conventions, but have to stay as ubmsc has them."""
    wanted = [
        f'{name} counter metrics should have "_total" suffix' for name in counters
    ]
    if "cycle_count" in counters:
        # It takes the name for a part of a histogram
        wanted.append(
            "cycle_count non-histogram and non-summary metrics "
            'should not have "_count" suffix'
        )
    assert lint(to_text([state])) == sorted(wanted)
    # It knows the classic text only, where each name has to have its own help
    own = {"rejected_frames"} if state.rejected_frames is not None else set()
    assert lint(to_openmetrics([state])) == sorted(
        f"{name}_total no help text" for name in counters | own
    )


def test_promtool_accepts_the_metrics_of_a_scan() -> None:
    """A scan knows only names and signal strengths."""
    found = ScanResult(address="C8:47:8C:12:34:56", name="UPS_BMS", rssi=-60)
    assert lint(WRITERS["metrics"](ScanReport({"UPS_BMS": found}))) == []
