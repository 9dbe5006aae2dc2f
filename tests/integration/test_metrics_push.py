"""Pushing beside reading, to the real servers and to such as fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import BasicAuth, web
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.jk_bms import metrics_push as push
from custom_components.jk_bms.const import DOMAIN
from custom_components.jk_bms.jkbms.errors import PushUnreachableError
from custom_components.jk_bms.jkbms.export import push as export_push
from custom_components.jk_bms.jkbms.export.push import DEADLINE
from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
from tests.servers import (
    VictoriaMetrics,
    free_port,
    groups,
    pushgateway_running,
    until_deleted,
)
from tests.servers.certificate import write_certificate
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy

from . import (
    MAX_DATA_AGE,
    TRANSLATIONS,
    fire_timers,
    forget,
    mock_entry,
    pass_time,
    until,
)

INTERVAL = timedelta(seconds=60)
IMPORT = "/api/v1/import/prometheus"
SECRET = "pa-ss:w0rd"


async def set_up(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    *,
    title: str,
    **options: Any,
) -> MockConfigEntry:
    """Set up a battery that is in reach, with these options for pushing."""
    proxy.advertise(bms)
    entry = mock_entry(bms)
    entry.add_to_hass(hass)
    hass.config_entries.async_update_entry(
        entry, title=title, options={"push": options}
    )
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.state is ConfigEntryState.LOADED
    return entry


class Receiver:
    """A server that takes what is pushed, or does not."""

    def __init__(self) -> None:
        """Take everything at first."""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.got: list[web.Request] = []
        self.silence = asyncio.Event()
        self.silence.set()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer after the silence."""
        self.got.append(request)
        await self.silence.wait()
        return web.Response(
            status=self.status, headers=self.headers, text=f"echo {SECRET}"
        )

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def start(self) -> None:
        """Serve on loopback."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()


@pytest.fixture
async def receiver(socket_enabled: None) -> AsyncIterator[Receiver]:
    """Run a server that can be made to fail."""
    receiver = Receiver()
    await receiver.start()
    yield receiver
    receiver.silence.set()
    await receiver.runner.cleanup()


# The real servers


async def test_values_are_pushed_to_a_pushgateway(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, pushgateway: str
) -> None:
    """A battery that is lost has `up 0` there and no values."""
    entry = await set_up(hass, proxy, bms, title="pushed", url=pushgateway, job="home")
    cells = entry.runtime_data.data.cell_data
    held = (await groups(pushgateway))["pushed"]
    ((labels, voltage),) = held["battery_voltage"]
    assert labels == {"job": "home", "instance": "pushed", "device": "pushed"}
    assert voltage == cells.battery_voltage
    assert {
        int(labels["cell"]): value for labels, value in held["cell_voltage"]
    } == dict(enumerate(cells.cell_voltage))
    assert len(held["alarm"]) == 32
    assert [value for _, value in held["up"]] == [1.0]
    ((_, last_update),) = held["last_update_timestamp_seconds"]
    assert last_update == entry.runtime_data.last_update.timestamp()

    bms.battery.override(soc=42)
    await pass_time(hass)
    await pass_time(hass, INTERVAL)
    held = (await groups(pushgateway))["pushed"]
    assert [value for _, value in held["remain_percent"]] == [42.0]

    bms.power_off()
    forget(proxy, bms)
    await pass_time(hass, MAX_DATA_AGE)
    await pass_time(hass, INTERVAL)
    held = (await groups(pushgateway))["pushed"]
    assert "remain_percent" not in held
    assert [value for _, value in held["up"]] == [0.0]


async def test_values_are_pushed_to_victoria_metrics(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    victoria_metrics: VictoriaMetrics,
) -> None:
    """The series there have the values of the battery."""
    entry = await set_up(
        hass, proxy, bms, title="imported", url=f"{victoria_metrics.url}{IMPORT}"
    )
    await victoria_metrics.until('up{device="imported"}', lambda values: values == [1])
    cells = entry.runtime_data.data.cell_data
    found = await victoria_metrics.samples("imported")
    assert found["remain_percent"] == {frozenset(): cells.remain_percent}
    assert found["cycle_count"] == {frozenset(): cells.cycle_count}
    assert found["cell_voltage"] == {
        frozenset({("cell", str(number))}): value
        for number, value in enumerate(cells.cell_voltage)
    }

    bms.power_off()
    forget(proxy, bms)
    await pass_time(hass, MAX_DATA_AGE)
    await pass_time(hass, INTERVAL)
    await victoria_metrics.until('up{device="imported"}', lambda values: values == [0])


@pytest.mark.parametrize("verify_ssl", [True, False])
async def test_certificate_is_verified_unless_turned_off(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    tmp_path: Path,
    socket_enabled: None,
    caplog: pytest.LogCaptureFixture,
    verify_ssl: bool,
) -> None:
    """A self-signed certificate is accepted only if the option says so."""
    cert, key = write_certificate(tmp_path)
    (tmp_path / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {cert}, key_file: {key}}}\n"
    )
    with pushgateway_running(tmp_path, "--web.config.file=web.yml") as port:
        url = f"https://127.0.0.1:{port}"
        await set_up(hass, proxy, bms, title="x", url=url, verify_ssl=verify_ssl)
        assert ("certificate is not trusted" in caplog.text) is verify_ssl


# How it goes


async def test_values_are_pushed_at_the_interval(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, receiver: Receiver
) -> None:
    """The first push is sent at once, and none after the entry is unloaded."""
    entry = await set_up(hass, proxy, bms, title="x", url=receiver.url, interval=600)
    assert len(receiver.got) == 1
    await pass_time(hass, timedelta(seconds=590))
    assert len(receiver.got) == 1
    await pass_time(hass, timedelta(seconds=610))
    assert len(receiver.got) == 2
    await hass.config_entries.async_unload(entry.entry_id)
    await pass_time(hass, timedelta(seconds=3000))
    assert len(receiver.got) == 2


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({}, None),
        ({"username": "me", "password": SECRET}, "Basic bWU6cGEtc3M6dzByZA=="),
        ({"username": "key"}, "Basic a2V5Og=="),
        ({"token": "t0ken"}, "Bearer t0ken"),
    ],
)
async def test_credentials_are_sent(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    receiver: Receiver,
    options: dict[str, str],
    header: str | None,
) -> None:
    """The push uses the chosen kind of server, too."""
    await set_up(
        hass, proxy, bms, title="x", url=f"{receiver.url}/in", kind="import", **options
    )
    (request,) = receiver.got
    assert (request.method, request.path) == ("POST", "/in")
    assert request.headers.get("Authorization") == header


async def test_nothing_is_pushed_without_url(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, receiver: Receiver
) -> None:
    """Without a URL nothing is pushed."""
    await set_up(hass, proxy, bms, title="x", job="jkbms")
    await pass_time(hass, timedelta(hours=1))
    assert receiver.got == []


# Labels and what is left behind


async def test_label_stays_when_a_namesake_is_removed_or_the_battery_renamed(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
    pushgateway: str,
) -> None:
    """No series goes on with the data of another battery, and none stays behind."""
    first, second = [
        await set_up(hass, proxy, make_bms(model), title="twin", url=pushgateway)
        for model in ("JK_B2A8S20P 11.48", "JK_PB2A16S20P 15.41")
    ]

    async def labels() -> set[str]:
        await hass.async_block_till_done(wait_background_tasks=True)
        return {each for each in await groups(pushgateway) if each.startswith("twin")}

    assert await labels() == {"twin", "twin 2"}
    await hass.config_entries.async_remove(first.entry_id)
    await until_deleted(pushgateway, "twin")
    assert await labels() == {"twin 2"}
    hass.config_entries.async_update_entry(second, title="renamed")
    await hass.config_entries.async_reload(second.entry_id)
    await pass_time(hass, INTERVAL)
    assert await labels() == {"twin 2"}
    assert "renamed" not in await groups(pushgateway)


@pytest.mark.parametrize(
    ("serials", "labels"),
    [
        (("111", "12345678"), ["same", "same 5678"]),
        (("111", ""), ["same", "same ADDR"]),
        (("111", "12345678", "99995678"), ["same", "same 5678", "same ADDR"]),
    ],
)
async def test_new_namesake_gets_a_number_of_its_own(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
    receiver: Receiver,
    serials: tuple[str, ...],
    labels: list[str],
) -> None:
    """Entries that were added after the update do not depend on their position."""
    expected = []
    models = ("JK_B2A8S20P 11.48", "JK_PB2A16S20P 15.41", "JK_B2A8S20P 19.10")
    for model, serial, label in zip(models, serials, labels, strict=False):
        bms = make_bms(model, serial=serial)
        proxy.advertise(bms)
        entry = mock_entry(bms, push={"url": receiver.url})
        entry.add_to_hass(hass)
        hass.config_entries.async_update_entry(entry, title="same", minor_version=2)
        await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done(wait_background_tasks=True)
        expected.append(label.replace("ADDR", bms.address.replace(":", "")[-4:]))
    pushed = [request.path.rpartition("/")[2] for request in receiver.got]
    assert pushed == expected


async def test_label_of_a_namesake_that_was_numbered_by_hand_is_not_shared(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
    receiver: Receiver,
) -> None:
    """Two batteries must not overwrite each other, whatever they are called."""
    for model, title in (
        ("JK_B2A8S20P 11.48", "same"),
        ("JK_PB2A16S20P 15.41", "same 2"),
        ("JK_B2A8S20P 19.10", "same"),
    ):
        await set_up(hass, proxy, make_bms(model), title=title, url=receiver.url)
    first, second, third = [request.path.rpartition("/")[2] for request in receiver.got]
    assert (first, second) == ("same", "same 2")
    assert third.startswith("same ")
    assert third != "same 2"


@pytest.mark.parametrize(
    "then", ["removed", "disabled", "no URL", "other job", "stopped"]
)
async def test_group_that_is_no_longer_filled_is_deleted(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    pushgateway: str,
    then: str,
) -> None:
    """A Pushgateway would show `up 1` for ever."""
    entry = await set_up(hass, proxy, bms, title=then, url=pushgateway)
    entries = hass.config_entries
    assert [value for _, value in (await groups(pushgateway))[then]["up"]] == [1]
    if then == "removed":
        await entries.async_remove(entry.entry_id)
    elif then == "disabled":
        await entries.async_set_disabled_by(entry.entry_id, ConfigEntryDisabler.USER)
    elif then == "stopped":
        hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    else:
        push_options = {"url": pushgateway, "job": "other"} if "job" in then else {}
        entries.async_update_entry(entry, options={"push": push_options})
        await entries.async_reload(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    await until_deleted(pushgateway, then)
    held = await groups(pushgateway)
    jobs = {labels["job"] for labels, _ in held.get(then, {}).get("up", [])}
    assert jobs == ({"other"} if "job" in then else set())


@pytest.mark.parametrize("then", ["removed", "disabled", "stopped"])
async def test_push_under_way_ends_before_its_group_is_deleted(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    then: str,
) -> None:
    """A server that applies it afterwards would show `up 1` for ever."""
    monkeypatch.setattr(export_push, "SETTLE_DEADLINE", 60.0)
    entry = await set_up(hass, proxy, bms, title="x", url=receiver.url)
    receiver.silence.clear()
    fire_timers(hass, INTERVAL)
    await until(lambda: len(receiver.got) == 2)
    if then == "removed":
        await hass.config_entries.async_remove(entry.entry_id)
    elif then == "disabled":
        await hass.config_entries.async_set_disabled_by(
            entry.entry_id, ConfigEntryDisabler.USER
        )
    else:
        hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    # Long enough for a DELETE that does not wait
    await asyncio.sleep(0.3)
    assert len(receiver.got) == 2
    assert receiver.got[1].transport
    receiver.silence.set()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert [request.method for request in receiver.got] == ["PUT", "PUT", "DELETE"]


async def test_reload_and_new_password_keep_the_group(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, receiver: Receiver
) -> None:
    """Only what is no longer filled is cleared."""
    entry = await set_up(
        hass, proxy, bms, title="x", url=receiver.url, username="me", password="old"
    )
    hass.config_entries.async_update_entry(
        entry,
        options={"push": {"url": receiver.url, "username": "me", "password": "new"}},
    )
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert {request.method for request in receiver.got} == {"PUT"}


async def test_removed_battery_is_pushed_as_down_where_nothing_can_be_deleted(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    victoria_metrics: VictoriaMetrics,
) -> None:
    """VictoriaMetrics gets `up 0`."""
    entry = await set_up(
        hass, proxy, bms, title="leaving", url=f"{victoria_metrics.url}{IMPORT}"
    )
    await victoria_metrics.until('up{device="leaving"}', lambda values: values == [1])
    await hass.config_entries.async_remove(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    await victoria_metrics.until('up{device="leaving"}', lambda values: values == [0])


async def test_server_that_does_not_respond_does_not_delay_the_removal(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The entry is gone at once; the log reports what is left behind."""
    entry = await set_up(hass, proxy, bms, title="x", url=receiver.url)
    receiver.silence.clear()
    began = hass.loop.time()
    await hass.config_entries.async_remove(entry.entry_id)
    assert hass.loop.time() - began < 1
    await hass.async_block_till_done(wait_background_tasks=True)
    assert "The pushed values of x were not cleared: " in caplog.text


async def test_removal_without_push_sends_nothing(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, receiver: Receiver
) -> None:
    """There is nothing to clear where nothing was pushed, or where it cannot be."""
    entry = await set_up(hass, proxy, bms, title="x", url="ftp://nowhere")
    hass.config_entries.async_update_entry(entry, options={})
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.config_entries.async_remove(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert receiver.got == []


async def test_server_that_is_off_is_an_issue_after_a_day(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    issue_registry: ir.IssueRegistry,
) -> None:
    """A server may return before that without the user's help."""
    monkeypatch.setattr(push, "DEADLINE", 0.2)
    receiver.status = 503
    entry = await set_up(hass, proxy, bms, title="x", url=receiver.url)
    issue_id = f"{entry.entry_id}_{push.ISSUE_PUSH_FAILED}"
    clock, passed = hass.loop.time, [0.0]
    monkeypatch.setattr(hass.loop, "time", lambda: clock() + passed[-1])
    for later, is_there in ((86000.0, False), (86500.0, True)):
        passed.append(later)
        await pass_time(hass, INTERVAL)
        assert bool(issue_registry.async_get_issue(DOMAIN, issue_id)) is is_there


@pytest.mark.parametrize(("retry_after", "pause"), [("300", 300), (str(10**9), 3600)])
async def test_retry_after_is_kept_across_intervals(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    issue_registry: ir.IssueRegistry,
    retry_after: str,
    pause: float,
) -> None:
    """A server that wants no request for a while gets none, but not for ever."""
    receiver.status, receiver.headers = 429, {"Retry-After": retry_after}
    await set_up(hass, proxy, bms, title="x", url=receiver.url)
    assert len(receiver.got) == 1
    clock, passed = hass.loop.time, [0.0]
    monkeypatch.setattr(hass.loop, "time", lambda: clock() + passed[-1])
    passed.append(pause - 10)
    await pass_time(hass, INTERVAL)
    assert len(receiver.got) == 1
    assert not issue_registry.issues
    receiver.status = 200
    passed.append(pause + 1)
    await pass_time(hass, INTERVAL)
    assert len(receiver.got) == 2
    await pass_time(hass, INTERVAL)
    assert len(receiver.got) == 3


async def test_battery_with_unsupported_layout_is_pushed_as_down(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, pushgateway: str
) -> None:
    """One that is there without values is down."""
    bms.battery.override(voltage=99.0, enabled=0b1011)
    entry = await set_up(hass, proxy, bms, title="odd", url=pushgateway)
    assert entry.runtime_data.last_update is None
    held = (await groups(pushgateway))["odd"]
    assert [value for _, value in held["up"]] == [0.0]
    assert "last_update_timestamp_seconds" not in held


async def test_push_failure_is_logged_once_and_raises_an_issue(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    issue_registry: ir.IssueRegistry,
) -> None:
    """One line when it fails, an issue when that lasts, one line when it works again."""
    caplog.set_level(logging.INFO, push.__name__)
    receiver.status = 404
    entry = await set_up(
        hass, proxy, bms, title="x", url=receiver.url, username="me", password=SECRET
    )
    issue_id = f"{entry.entry_id}_{push.ISSUE_PUSH_FAILED}"

    def logged() -> list[str]:
        return [r.message for r in caplog.records if r.name == push.__name__]

    for _ in range(2):
        await pass_time(hass, INTERVAL)
        assert logged() == [
            f"The values of x cannot be pushed: {receiver.url}: HTTP 404 Not Found; is the path correct?",
        ]
        assert issue_registry.async_get_issue(DOMAIN, issue_id) is None
    assert entry.runtime_data.available

    clock, passed = hass.loop.time, [0.0]
    monkeypatch.setattr(hass.loop, "time", lambda: clock() + passed[-1])
    for later, is_there in ((200.0, False), (300.0, True)):
        passed.append(later)
        await pass_time(hass, INTERVAL)
        assert bool(issue_registry.async_get_issue(DOMAIN, issue_id)) is is_there
    issue = issue_registry.async_get_issue(DOMAIN, issue_id)
    assert issue
    assert issue.translation_key == "push_failed"
    assert issue.translation_placeholders == {
        "name": "x",
        "reason": f"{receiver.url}: HTTP 404 Not Found; is the path correct?",
    }
    assert SECRET not in caplog.text

    receiver.status = 200
    await pass_time(hass, INTERVAL)
    assert issue_registry.async_get_issue(DOMAIN, issue_id) is None
    assert logged()[1:] == ["The values of x are pushed again"]

    receiver.status = 404
    await pass_time(hass, INTERVAL)
    assert not issue_registry.async_get_issue(DOMAIN, issue_id)
    passed.append(600.0)
    await pass_time(hass, INTERVAL)
    assert issue_registry.async_get_issue(DOMAIN, issue_id)
    await hass.config_entries.async_unload(entry.entry_id)
    assert issue_registry.async_get_issue(DOMAIN, issue_id) is None


async def test_silent_server_fails_by_the_deadline(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, receiver: Receiver
) -> None:
    """A server that does not answer delays neither the reads nor the unloading."""
    receiver.silence.clear()
    proxy.advertise(bms)
    entry = mock_entry(bms)
    entry.add_to_hass(hass)
    hass.config_entries.async_update_entry(
        entry, options={"push": {"url": receiver.url}}
    )
    await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: receiver.got)

    first = entry.runtime_data.data
    bms.battery.override(soc=42)
    entry.runtime_data._async_start_poll()
    await until(lambda: entry.runtime_data.data is not first)
    assert entry.runtime_data.data.cell_data.remain_percent == 42

    assert await hass.config_entries.async_unload(entry.entry_id)
    assert entry.state is ConfigEntryState.NOT_LOADED
    await until(lambda: receiver.got[0].transport is None)


async def test_push_is_given_up_before_the_next(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A push that gets no answer ends before the next one is due."""
    deadlines: list[float] = []

    async def note(*_: Any, deadline: float) -> None:
        deadlines.append(deadline)

    monkeypatch.setattr(push, "push", note)
    for interval in (10.0, 60.0, 3600.0):
        await set_up(hass, proxy, bms, title="x", url=receiver.url, interval=interval)
        (entry,) = hass.config_entries.async_entries(DOMAIN)
        await hass.config_entries.async_remove(entry.entry_id)
    assert deadlines == [8.0, DEADLINE, DEADLINE]
    assert DEADLINE < 60.0


async def test_invalid_stored_options_are_logged(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The battery is read all the same, and no secret is logged."""
    await set_up(hass, proxy, bms, title="x", url=f"ftp://me:{SECRET}@host")
    assert (
        "The values of x cannot be pushed: The URL must begin with http" in caplog.text
    )
    assert SECRET not in caplog.text


async def test_diagnostics_contain_no_push_secrets(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    bms: VirtualBms,
    receiver: Receiver,
) -> None:
    """The download shows that pushing is on, but neither server nor user."""
    url = receiver.url.replace("//", f"//me:{SECRET}@")
    entry = await set_up(
        hass,
        proxy,
        bms,
        title="x",
        url=url,
        username="other-me",
        password=SECRET,
        token=f"t0ken-{SECRET}",
        job="home",
    )
    assert await async_setup_component(hass, "diagnostics", {})
    report = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert report["entry"]["options"]["push"]["job"] == "home"
    text = json.dumps(report)
    for private in (SECRET, "other-me", receiver.url.partition("//")[2], "t0ken"):
        assert private not in text


# The form


def fields(result: Any) -> dict[str, Any]:
    """Return what the section of the form suggests."""
    section = result["data_schema"].schema["push"]
    assert section.options["collapsed"] is not bool(result["errors"])
    return {
        str(key.schema): key.description["suggested_value"]
        for key in section.schema.schema
        if key.description
    }


async def test_push_options_are_validated(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, receiver: Receiver
) -> None:
    """What is typed is checked, kept, and pushed to at once."""
    entry = await set_up(hass, proxy, bms, title="x")
    result = await hass.config_entries.options.async_init(entry.entry_id)
    assert fields(result) == {}
    for wrong, error in (
        ({"url": "nowhere"}, "invalid_push_url"),
        ({"url": f"{receiver.url}/metrics/job/a/instance/b"}, "invalid_push_url"),
        ({"url": f"{receiver.url}/api/v1/import"}, "push_wrong_path"),
        (
            {"url": f"{receiver.url}/api/v1/import", "kind": "import"},
            "push_wrong_path",
        ),
        ({"url": receiver.url, "username": "a:b"}, "invalid_push_credentials"),
        ({"url": receiver.url, "password": "a\nb"}, "invalid_push_credentials"),
        ({"url": receiver.url, "password": SECRET}, "ambiguous_push_credentials"),
        (
            {"url": receiver.url, "username": "me", "token": "t0ken"},
            "ambiguous_push_credentials",
        ),
        (
            {"url": receiver.url, "password": SECRET, "token": "t0ken"},
            "ambiguous_push_credentials",
        ),
    ):
        result = await hass.config_entries.options.async_configure(
            result["flow_id"], {"interval": 20, "push": wrong}
        )
        assert result["type"] is FlowResultType.FORM
        assert result["errors"] == {"base": error}
        masks = dict.fromkeys({"password", "token"} & wrong.keys(), "********")
        assert (wrong | masks).items() <= fields(result).items()
    result = await hass.config_entries.options.async_configure(
        result["flow_id"],
        {"interval": 20, "push": {"url": receiver.url, "username": "me"}},
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options["interval"] == 20
    assert entry.options["push"] == {
        "url": receiver.url,
        "kind": "auto",
        "interval": 60.0,
        "job": "jkbms",
        "username": "me",
        "verify_ssl": True,
    }
    await hass.async_block_till_done(wait_background_tasks=True)
    assert [each.method for each in receiver.got] == ["PUT", "DELETE", "PUT"]


@pytest.fixture
def brief_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try once only: a server that is off may be starting, so the dialog waits for it."""
    monkeypatch.setattr(push, "TRIAL_DEADLINE", 0.4)


@pytest.mark.usefixtures("brief_trial")
async def test_push_form_reports_what_the_server_answers(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    pushgateway: str,
    victoria_metrics: VictoriaMetrics,
    receiver: Receiver,
) -> None:
    """Nothing is saved until a push succeeds, and the input stays in the form."""
    entry = await set_up(hass, proxy, bms, title="tried")
    flow = hass.config_entries.options
    result = await flow.async_init(entry.entry_id)
    receiver.status = 401
    off = f"http://127.0.0.1:{free_port()}"
    for url, reason in (
        (f"{pushgateway}/wrong", "HTTP 404 Not Found; is the path correct?"),
        (victoria_metrics.url, "For single-node VictoriaMetrics it is /api/v1/import"),
        (receiver.url, "401 Unauthorized; check the user name and password"),
        (off, f"{off}: Connection refused; is the server running?"),
    ):
        result = await flow.async_configure(result["flow_id"], {"push": {"url": url}})
        assert result["errors"] == {"base": "push_failed"}
        assert reason in result["description_placeholders"]["reason"]
        assert fields(result)["url"] == url
        assert not entry.options.get("push")
    result = await flow.async_configure(
        result["flow_id"], {"push": {"url": f"{victoria_metrics.url}{IMPORT}"}}
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await victoria_metrics.until('up{device="tried"}', lambda values: values == [1])


async def test_trial_push_leaves_no_group_behind(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, pushgateway: str
) -> None:
    """A dialog that is closed before anything is saved must not leave `up 1` for ever."""
    entry = await set_up(hass, proxy, bms, title="closed")
    flow = hass.config_entries.options

    async def submit(controls: str, interval: int) -> Any:
        result = await flow.async_init(entry.entry_id)
        return await flow.async_configure(
            result["flow_id"],
            {"controls": controls, "push": {"url": pushgateway, "interval": interval}},
        )

    result = await submit("tuning", 30)
    assert result["step_id"] == "tuning"
    flow.async_abort(result["flow_id"])
    await until_deleted(pushgateway, "closed")
    await submit("read_only", 30)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert (await groups(pushgateway))["closed"]["up"][0][1] == 1
    # Of an entry that is not loaded, no more than that is true
    await hass.config_entries.async_unload(entry.entry_id)
    assert (await submit("read_only", 45))["type"] is FlowResultType.CREATE_ENTRY
    assert (await groups(pushgateway))["closed"]["up"][0][1] == 0


async def test_push_form_names_the_path_of_the_text_import(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms
) -> None:
    """The path is completed, so that it can be copied."""
    entry = await set_up(hass, proxy, bms, title="x")
    result = await hass.config_entries.options.async_init(entry.entry_id)
    url = "http://127.0.0.1:8428/insert/0/api/v1/import"
    result = await hass.config_entries.options.async_configure(
        result["flow_id"], {"push": {"url": url}}
    )
    assert result["errors"] == {"base": "push_wrong_path"}
    assert result["description_placeholders"] == {
        "path": "/insert/0/api/v1/import/prometheus"
    }


async def test_push_form_is_serialised_for_the_browser(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: VirtualProxy,
    bms: VirtualBms,
) -> None:
    """What the frontend gets has the fields, each with its texts."""
    entry = await set_up(hass, proxy, bms, title="x")
    assert await async_setup_component(hass, "config", {})
    client = await hass_client()
    response = await client.post(
        "/api/config/config_entries/options/flow", json={"handler": entry.entry_id}
    )
    form = await response.json()
    (section,) = [field for field in form["data_schema"] if field["name"] == "push"]
    assert section["type"] == "expandable"
    assert section["expanded"] is False
    names = [field["name"] for field in section["schema"]]
    texts = TRANSLATIONS["options"]["step"]["init"]["sections"]["push"]
    assert names == list(texts["data"])
    assert names == list(texts["data_description"])
    assert [field["name"] for field in section["schema"] if field.get("required")] == [
        "kind",
        "interval",
        "verify_ssl",
    ]
    kinds = section["schema"][1]["selector"]["select"]
    assert kinds["options"] == list(
        TRANSLATIONS["selector"][kinds["translation_key"]]["options"]
    )


@pytest.mark.parametrize(
    "push_options", [{"push": {}}, {"push": {"url": "", "job": "x"}}, {}]
)
async def test_push_form_may_stay_empty(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    push_options: dict[str, Any],
) -> None:
    """Without a push, every field can stay empty."""
    entry = await set_up(hass, proxy, bms, title="x", url="ftp://nowhere")
    result = await hass.config_entries.options.async_init(entry.entry_id)
    assert fields(result) == {"url": "ftp://nowhere"}
    result = await hass.config_entries.options.async_configure(
        result["flow_id"], push_options
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done(wait_background_tasks=True)
    assert not entry.options.get("push", {}).get("url")


async def test_push_form_suggests_no_credentials_of_another_battery(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    make_bms: Callable[..., VirtualBms],
    receiver: Receiver,
) -> None:
    """Kind and job are suggested; the URL may contain credentials and is not."""
    first = make_bms("JK_B2A8S20P 11.48")
    secrets = {"username": "me", "password": SECRET, "token": "t0ken"}
    await set_up(
        hass, proxy, first, title="first", url=receiver.url, job="home", **secrets
    )
    proxy.advertise(second := make_bms("JK_PB2A16S20P 15.41"))
    entry = mock_entry(second)
    entry.add_to_hass(hass)
    await hass.config_entries.async_setup(entry.entry_id)

    result = await hass.config_entries.options.async_init(entry.entry_id)
    assert fields(result) == {"job": "home"}
    result = await hass.config_entries.options.async_configure(
        result["flow_id"], {"push": secrets}
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert not secrets.keys() & entry.options["push"].keys()
    result = await hass.config_entries.options.async_init(entry.entry_id)
    assert fields(result)["job"] == "jkbms"


async def test_push_form_keeps_a_stored_secret_without_showing_it(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, receiver: Receiver
) -> None:
    """A mask stands for a secret; the mask keeps it, an empty field removes it."""
    url = f"http://me:{quote(SECRET)}@{receiver.url.partition('//')[2]}"
    entry = await set_up(hass, proxy, bms, title="x", url=url)
    shown = {"url": receiver.url, "username": "me", "password": "********"}

    async def submit(push: dict[str, Any]) -> Any:
        result = await hass.config_entries.options.async_init(entry.entry_id)
        suggested = fields(result)
        assert SECRET not in str(suggested) and quote(SECRET) not in str(suggested)
        assert shown.items() <= suggested.items()
        result = await hass.config_entries.options.async_configure(
            result["flow_id"], {"push": push}
        )
        assert result["type"] is FlowResultType.CREATE_ENTRY
        await hass.async_block_till_done(wait_background_tasks=True)
        return entry.options["push"]

    for _ in range(2):
        stored = await submit(shown)
        assert shown | {"password": SECRET} | stored == stored
        assert receiver.got[-1].headers["Authorization"] == (
            BasicAuth("me", SECRET).encode()
        )
    stored = await submit({"url": receiver.url, "username": "me"})
    assert "password" not in stored
    shown = {"url": receiver.url, "username": "me"}
    await submit({"url": receiver.url, "token": "t0ken"})
    shown = {"url": receiver.url, "token": "********"}
    stored = await submit({"url": "", "token": "********"})
    assert "token" not in stored


async def test_push_form_with_an_error_keeps_a_typed_secret_without_showing_it(
    hass: HomeAssistant, proxy: VirtualProxy, bms: VirtualBms, receiver: Receiver
) -> None:
    """What was typed is not lost, but only its mask is sent back."""
    entry = await set_up(hass, proxy, bms, title="x", url="")
    result = await hass.config_entries.options.async_init(entry.entry_id)
    wrong = f"ftp://me:{quote(SECRET)}@gateway.example"
    for typed in ({"url": wrong}, {"url": "ftp://x", "username": "me"}):
        if "username" in typed:
            typed["password"] = "********"
        result = await hass.config_entries.options.async_configure(
            result["flow_id"], {"push": typed}
        )
        assert result["errors"] == {"base": "invalid_push_url"}
        suggested = fields(result)
        assert SECRET not in str(suggested) and quote(SECRET) not in str(suggested)
        assert suggested["username"] == "me"
        assert suggested["password"] == "********"
    result = await hass.config_entries.options.async_configure(
        result["flow_id"], {"push": suggested | {"url": receiver.url}}
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options["push"]["password"] == SECRET


@pytest.mark.parametrize(
    ("push_options", "warns"),
    [
        ({"url": "http://192.0.2.1:9091", "username": "me", "password": SECRET}, True),
        ({"url": "http://gateway.example", "token": "t0ken"}, True),
        ({"url": "http://me:secret@gateway.example"}, True),
        ({"url": "https://gateway.example", "token": "t0ken"}, False),
        ({"url": "http://127.0.0.2:9091", "token": "t0ken"}, False),
        ({"url": "http://[::1]:9091", "token": "t0ken"}, False),
        ({"url": "http://localhost:9091", "token": "t0ken"}, False),
        ({"url": "http://192.0.2.1:9091"}, False),
    ],
)
async def test_credentials_without_encryption_are_a_warning(
    hass: HomeAssistant,
    proxy: VirtualProxy,
    bms: VirtualBms,
    monkeypatch: pytest.MonkeyPatch,
    push_options: dict[str, str],
    warns: bool,
) -> None:
    """Others on the way to another machine could read them; once warned is enough."""

    results: list[Exception | None] = [None]

    async def push_nowhere(*_: Any, **__: Any) -> None:
        """Send nothing."""
        if error := results[-1]:
            raise error

    monkeypatch.setattr(push, "push", push_nowhere)
    monkeypatch.setattr(push, "clear", push_nowhere)
    entry = await set_up(hass, proxy, bms, title="x")
    flow = hass.config_entries.options

    async def submit(options: dict[str, Any]) -> Any:
        result = await flow.async_init(entry.entry_id)
        return await flow.async_configure(result["flow_id"], options)

    result = await submit({"interval": 20, "push": push_options})
    if warns:
        assert result["type"] is FlowResultType.FORM
        assert result["step_id"] == "unencrypted"
        assert result["description_placeholders"] == {
            "host": push_options["url"]
            .partition("//")[2]
            .rpartition("@")[2]
            .partition(":")[0]
        }
        results.append(PushUnreachableError("off"))
        result = await flow.async_configure(result["flow_id"], {})
        assert (result["step_id"], result["errors"]) == (
            "init",
            {"base": "push_failed"},
        )
        assert entry.options.get("interval") is None
        results.append(None)
        result = await flow.async_configure(
            result["flow_id"], {"interval": 20, "push": push_options}
        )
        result = await flow.async_configure(result["flow_id"], {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.options["interval"] == 20
    stored = dict(entry.options["push"])
    stored |= {key: "********" for key in ("password", "token") if stored.get(key)}
    result = await submit({"interval": 25, "push": stored})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done(wait_background_tasks=True)
