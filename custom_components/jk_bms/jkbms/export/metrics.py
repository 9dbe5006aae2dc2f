"""Prometheus metrics of batteries, for the exporter, the push client and the command."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, override

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import (
    generate_latest as generate_openmetrics,
)
from prometheus_client.registry import Collector, CollectorRegistry

from ..models import BatteryState
from ..protocol.codes import ALARMS

TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of `to_text`."""
OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""Media type of `to_openmetrics`."""


def to_text(states: Iterable[BatteryState]) -> str:
    """Return the metrics in the text format 0.0.4, exactly as `ubmsc` writes it.

    Families are in alphabetical order, counters get no `_total` suffix, and whole
    numbers have no decimal point. `prometheus_client` does none of that.
    """
    return "".join(
        f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {family.type}\n"
        + "".join(
            f"{metric.name}{{{_label_pairs(sample.labels)}}} {_number(sample.value)}\n"
            for sample in family.samples
        )
        for metric, family in _families(tuple(states))
    )


_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def _label_pairs(labels: Mapping[str, str]) -> str:
    return ",".join(
        f'{name}="{labels[name].translate(_ESCAPES)}"' for name in sorted(labels)
    )


def _number(value: float) -> str:
    return str(int(value) if value == int(value) else value)


def to_openmetrics(states: Iterable[BatteryState]) -> str:
    """Return the metrics as OpenMetrics 1.0.0, where every counter ends in `_total`."""
    registry = CollectorRegistry()
    registry.register(_Batteries(tuple(states)))
    text: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
    return text.decode()


type _Samples = Iterable[tuple[tuple[str, ...], float | None]]
"""Values with their labels other than `device`; `None` means no sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metric:
    """One row: a metric and where its samples come from."""

    name: str
    help: str
    samples: Callable[[BatteryState], _Samples]
    labels: tuple[str, ...] = ()
    family: type[CounterMetricFamily | GaugeMetricFamily] = GaugeMetricFamily


type _Value = Callable[[BatteryState], float | None]


def _gauge(name: str, text: str, value: _Value | None = None) -> _Metric:
    """Describe a value, by default the field of `CellData` with that name."""
    value = value or (lambda state: getattr(state.cell_data, name, None))
    return _Metric(name=name, help=text, samples=lambda state: [((), value(state))])


def _counter(name: str, text: str, value: _Value | None = None) -> _Metric:
    return replace(_gauge(name, text, value), family=CounterMetricFamily)


def _gauges(name: str, text: str) -> _Metric:
    """Describe a list in `CellData` of that name; the label `cell` counts from 0."""

    def samples(state: BatteryState) -> _Samples:
        for index, value in enumerate(getattr(state.cell_data, name, ())):
            yield (str(index),), value

    return _Metric(name=name, help=text, samples=samples, labels=("cell",))


def _alarms(state: BatteryState) -> _Samples:
    if state.cell_data and state.cell_data.alarms is not None:
        for name in ALARMS[state.layout]:
            yield (name,), name in state.cell_data.alarms


def _up_time(state: BatteryState) -> float | None:
    live = getattr(state.cell_data, "up_time", None)
    return getattr(state.device_info, "up_time", None) if live is None else live


_VALUES: Final = (
    _gauges("cell_voltage", "Voltage of the cell in V."),
    _gauge("average_cell_voltage", "Average voltage of the cells in V."),
    _gauge(
        "delta_cell_voltage",
        "Difference between the highest and the lowest cell voltage in V.",
    ),
    _gauges("cell_resistance", "Resistance of the balance wire of the cell in Ohm."),
    _gauge(
        "balance_current",
        "Current of the balancer in A, positive while its capacitor charges.",
    ),
    _gauge("battery_voltage", "Voltage of the battery in V."),
    _gauge("battery_power", "Power in W, positive while the battery charges."),
    _gauge("battery_current", "Current in A, positive while the battery charges."),
    _gauges("battery_temperature", "Temperature of the battery in degrees C."),
    _gauge("mosfet_temperature", "Temperature of the MOSFETs in degrees C."),
    _gauge("remain_percent", "State of charge in percent."),
    _gauge("remain_capacity", "Remaining charge in Ah."),
    _gauge("nominal_capacity", "Full capacity in Ah, as the BMS learned it."),
    _gauge("state_of_health", "State of health in percent."),
    _gauge("charging", "Whether the charge MOSFET is on (1) or off (0)."),
    _gauge("discharging", "Whether the discharge MOSFET is on (1) or off (0)."),
    _gauge("balancing", "Whether the balancer is active (1) or not (0)."),
    _Metric(
        name="alarm",
        help="Whether the alarm is raised (1) or not (0).",
        samples=_alarms,
        labels=("alarm",),
    ),
    _Metric(
        name="implausible",
        help="1 for each value that is left out because it cannot be true.",
        samples=lambda state: [
            ((name,), 1)
            for name in (state.cell_data.implausible if state.cell_data else ())
        ],
        labels=("field",),
    ),
    _counter("cycle_count", "Number of full charge cycles."),
    _counter("cycle_capacity", "Total charge moved in Ah."),
    _counter("up_time", "Total run time in s.", _up_time),
    _counter(
        "poweron_times",
        "Number of times the BMS was turned on.",
        lambda state: getattr(state.device_info, "poweron_times", None),
    ),
)
"""Values of a battery; a battery that no longer responds loses them."""

_LINK: Final = (
    _gauge(
        "up", "Whether the battery responds (1) or not (0).", lambda state: state.up
    ),
    _gauge(
        "last_update_timestamp_seconds",
        "Unix time of the latest values in s.",
        lambda state: state.last_update,
    ),
    _counter(
        "rejected_frames_total",
        "Number of frames rejected as damaged or implausible.",
        lambda state: state.rejected_frames,
    ),
)

_METRICS: Final = tuple(sorted((*_VALUES, *_LINK), key=lambda metric: metric.name))


def _families(
    states: Sequence[BatteryState],
) -> Iterator[tuple[_Metric, CounterMetricFamily | GaugeMetricFamily]]:
    """Yield each metric that has a sample, in alphabetical order."""
    answering = [state for state in states if state.up is not False]
    for metric in _METRICS:
        family = metric.family(
            metric.name, metric.help, labels=("device", *metric.labels)
        )
        for state in states if metric in _LINK else answering:
            for labels, value in metric.samples(state):
                if value is not None:
                    family.add_metric((state.device, *labels), value)
        if family.samples:
            yield metric, family


class _Batteries(Collector):
    """The metrics of some batteries, once."""

    def __init__(self, states: Sequence[BatteryState]) -> None:
        self._states = states

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield each metric that has a sample."""
        return (family for _, family in _families(self._states))
