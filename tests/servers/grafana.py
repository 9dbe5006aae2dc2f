"""The boards for Grafana, as it reads them."""

from collections.abc import Iterator
from itertools import combinations
import json
import re
from typing import Any, Final

from . import ROOT, Prometheus

FOLDER: Final = ROOT / "docs" / "grafana"
SOURCE: Final = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
VARIABLES: Final = {
    "$device": ".+",
    "$__rate_interval": "1m",
    "$__range": "5m",
    # A minute may not have passed in a test
    ":1m]": ":1s]",
}


def load(name: str) -> dict[str, Any]:
    """Return a board."""
    board: dict[str, Any] = json.loads((FOLDER / name).read_text("utf-8"))
    return board


def expressions(board: dict[str, Any]) -> Iterator[str]:
    """Yield what the panels ask for, with the variables filled in."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"]
            for variable, value in VARIABLES.items():
                text = text.replace(variable, value)
            yield text


def metrics(expression: str) -> list[str]:
    """Return the names of the metrics in an expression."""
    return re.findall(r"\b[a-z_]+(?=\{)", expression)


def check(board: dict[str, Any]) -> None:
    """Check what Grafana needs to import a board."""
    (source,) = board["__inputs"]
    assert (source["name"], source["pluginId"]) == ("DS_PROMETHEUS", "prometheus")
    (variable,) = board["templating"]["list"]
    assert variable["name"] == "device"
    assert variable["datasource"] == SOURCE
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == SOURCE, panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == SOURCE
            # Each selector keeps to the batteries that were chosen
            selectors = re.findall(r"\{.*?\}", target["expr"])
            assert selectors
            assert all("$device" in selector for selector in selectors)
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert one["x"] + one["w"] <= 24


async def check_answers(board: dict[str, Any], prometheus: Prometheus) -> None:
    """Ask Prometheus all that the board asks, and have an answer each time."""
    for expression in expressions(board):
        await prometheus.until(expression, bool)
