"""What batteries say as Prometheus metrics, for every way that they leave the house."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
import re
from typing import Final, override

from prometheus_client.exposition import generate_latest
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
    """Return the metrics in the text format 0.0.4, the names as `ubmsc` has them."""
    text = generate_latest(_registry(states)).decode()
    return _SUFFIX.sub(r"\1", text)


def to_openmetrics(states: Iterable[BatteryState]) -> str:
    """Return the metrics as OpenMetrics 1.0.0, where every counter ends in `_total`."""
    text: bytes = generate_openmetrics(_registry(states))  # type: ignore[no-untyped-call]
    return text.decode()


type _Samples = Iterable[tuple[tuple[str, ...], float | None]]
"""Values with what labels they have besides `device`; `None` is no sample."""


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
    """Describe a value, by default that of `CellData` of the same name."""
    value = value or (lambda state: getattr(state.cell_data, name, None))
    return _Metric(name=name, help=text, samples=lambda state: [((), value(state))])


def _counter(name: str, text: str, value: _Value | None = None) -> _Metric:
    return replace(_gauge(name, text, value), family=CounterMetricFamily)


def _gauges(name: str, text: str, label: str) -> _Metric:
    """Describe a list in `CellData` of the same name, counted from 0 in the label."""

    def samples(state: BatteryState) -> _Samples:
        for index, value in enumerate(getattr(state.cell_data, name, ())):
            yield (str(index),), value

    return _Metric(name=name, help=text, samples=samples, labels=(label,))


def _alarms(state: BatteryState) -> _Samples:
    if state.cell_data and state.cell_data.alarms is not None:
        for name in ALARMS[state.layout]:
            yield (name,), name in state.cell_data.alarms


def _up_time(state: BatteryState) -> float | None:
    live = getattr(state.cell_data, "up_time", None)
    return getattr(state.device_info, "up_time", None) if live is None else live


_VALUES: Final = (
    _gauges("cell_voltage", "Voltage of the cell in V.", "cell"),
    _gauge("average_cell_voltage", "Average voltage of the cells in V."),
    _gauge("delta_cell_voltage", "Difference of the highest and the lowest cell in V."),
    _gauges("cell_resistance", "Resistance of the wire to the cell in Ohm.", "cell"),
    _gauge(
        "balance_current",
        "Current of the balancer in A, positive while its store is charged.",
    ),
    _gauge("battery_voltage", "Voltage of the battery in V."),
    _gauge("battery_power", "Power in W, positive while the battery is charged."),
    _gauge("battery_current", "Current in A, positive while the battery is charged."),
    _gauges(
        "battery_temperature", "Temperature of the battery in degrees C.", "sensor"
    ),
    _gauge("mosfet_temperature", "Temperature of the power switches in degrees C."),
    _gauge("remain_percent", "State of charge in percent."),
    _gauge("remain_capacity", "Charge left in Ah."),
    _gauge("nominal_capacity", "Full capacity in Ah, as the BMS has learned it."),
    _gauge("state_of_health", "State of health in percent."),
    _gauge("charging", "Whether the charge switch is on (1) or off (0)."),
    _gauge("discharging", "Whether the discharge switch is on (1) or off (0)."),
    _gauge("balancing", "Whether the balancer works (1) or rests (0)."),
    _Metric(
        name="alarm",
        help="Whether the alarm is raised (1) or not (0).",
        samples=_alarms,
        labels=("alarm",),
    ),
    _counter("cycle_count", "Full charge cycles so far."),
    _counter("cycle_capacity", "Charge moved so far in Ah."),
    _counter("up_time", "Run time so far in s.", _up_time),
    _counter(
        "poweron_times",
        "How often the BMS was switched on.",
        lambda state: getattr(state.device_info, "poweron_times", None),
    ),
)
"""What a battery says, and loses when it stops answering."""

_LINK: Final = (
    _gauge("up", "Whether the battery answers (1) or not (0).", lambda state: state.up),
    _gauge(
        "last_update_timestamp_seconds",
        "Unix time of the latest values in s.",
        lambda state: state.last_update,
    ),
    _counter(
        "rejected_frames_total",
        "Frames refused because they were damaged or made no sense.",
        lambda state: state.rejected_frames,
    ),
)

# At the start of a line stands nothing but our names: line ends in labels are escaped.
_SUFFIX: Final = re.compile(
    rf"^((?:# (?:HELP|TYPE) )?(?:{
        '|'.join(m.name for m in _VALUES if m.family is CounterMetricFamily)
    }))_total(?=[ {{])",
    re.MULTILINE,
)


class _Batteries(Collector):
    """The metrics of some batteries, once."""

    def __init__(self, states: Sequence[BatteryState]) -> None:
        self._states = states

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield each metric that has a sample."""
        answering = [state for state in self._states if state.up is not False]
        for metrics, states in ((_LINK, self._states), (_VALUES, answering)):
            for metric in metrics:
                family = metric.family(
                    metric.name, metric.help, labels=("device", *metric.labels)
                )
                for state in states:
                    for labels, value in metric.samples(state):
                        if value is not None:
                            family.add_metric((state.device, *labels), value)
                if family.samples:
                    yield family


def _registry(states: Iterable[BatteryState]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Batteries(tuple(states)))
    return registry
