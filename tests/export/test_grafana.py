"""The boards for what the exporter and the push client give."""

import re

from custom_components.jk_bms.jkbms.bank import Pack, Wiring, combine
from custom_components.jk_bms.jkbms.export.exporter import Endpoint, Exporter
from custom_components.jk_bms.jkbms.export.metrics import to_openmetrics, to_text
from custom_components.jk_bms.jkbms.models import BatteryState
from tests.servers import Prometheus, grafana

from .states import GARAGE, HOUSE, battery

BOARD = grafana.load("jkbms.json")
FLEET = grafana.load("fleet.json")
STATES = [battery("boat", GARAGE, alarms=1 << 2), battery("home", HOUSE)]
PACKS = [
    Pack(name=state.device, cell_data=state.cell_data, is_fresh=True)
    for state in STATES
]
BANK = BatteryState(
    device="bank", up=True, cell_data=combine(PACKS, Wiring.PARALLEL).cell_data
)


def test_board_can_be_imported_and_shows_every_metric() -> None:
    """The board queries every metric that exists and no other."""
    grafana.check(BOARD)
    exported = {
        name
        for text in (to_text(STATES), to_openmetrics(STATES))
        for name in re.findall(r"^(\w+)\{", text, re.MULTILINE)
    }
    used = {
        name
        for expression in grafana.expressions(BOARD)
        for name in grafana.metrics(expression)
    }
    assert used == exported


def test_board_of_a_fleet_can_be_imported() -> None:
    """One line for each battery and each bank."""
    grafana.check(FLEET)


async def test_prometheus_answers_every_query_of_the_boards(
    prometheus: Prometheus,
) -> None:
    """Prometheus has an answer to every question; a bank stands beside its packs."""
    async with Exporter(Endpoint(port=0), lambda: [*STATES, BANK]) as exporter:
        host, port = exporter.addresses[0]
        prometheus.scrape("grafana", f"{host}:{port}")
        # A rate needs two scrapes
        await prometheus.until(
            'count_over_time(up{device="home"}[1m])',
            lambda counts: max(counts, default=0) > 2,
        )
        await grafana.check_answers(BOARD, prometheus)
        for expression in grafana.expressions(FLEET):
            if expression.startswith("alarm"):
                continue
            # A busy machine may miss a scrape, and then nothing is known for a while
            await prometheus.until(expression, lambda values: len(values) >= 3)
            found = await prometheus.query(expression)
            assert {labels["device"] for labels, _ in found} == {
                "boat",
                "home",
                "bank",
            }, expression
        prometheus.scrape("grafana", "")
