"""The board for what Home Assistant's own Prometheus integration exports."""

from collections.abc import Callable
import re

from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from tests.docs.examples import queries
from tests.servers import Prometheus, grafana
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import setup_integration

BOARD = grafana.load("home-assistant.json")


async def test_every_query_of_the_board_has_an_answer(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    prometheus: Prometheus,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
) -> None:
    """The board can be imported, and Prometheus answers its queries and those of the docs."""
    grafana.check(BOARD)
    assert await async_setup_component(
        hass, "prometheus", {"prometheus": {"requires_auth": False}}
    )
    bms = make_bms("JK_PB2A16S20P 15.41", name="My boat", dip_address=None)
    bms.battery.override(alarms=1 << 2)
    proxy.advertise(bms)
    await setup_integration(hass, bms)
    client = await hass_client()
    address = f"{client.server.host}:{client.server.port}"

    prometheus.scrape("home-assistant", address, "/api/prometheus")
    energy = 'homeassistant_sensor_energy_kwh{entity=~"sensor.my_boat_.+"}'
    await prometheus.until(
        f"count_over_time({energy}[1m])", lambda counts: max(counts, default=0) > 2
    )
    await grafana.check_answers(BOARD, prometheus)
    for _, query in queries():
        assert await prometheus.query(query.replace("sensor.house_", "sensor.my_boat_"))

    # The batteries to choose from
    (variable,) = BOARD["templating"]["list"]
    found = re.fullmatch(r"label_values\((.+), entity\)", variable["query"]["query"])
    assert found
    ((labels, _),) = await prometheus.query(found[1])
    name = re.fullmatch(variable["regex"].strip("/"), labels["entity"])
    assert name
    assert name[1] == "my_boat"
    prometheus.scrape("home-assistant", "")
