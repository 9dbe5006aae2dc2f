"""Serve metrics and push them: `--exporter` and `--push`."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial
import logging
from math import inf
from time import time
from typing import Final

import aiohttp
from yarl import URL

from ..bluetooth.scanner import not_found
from ..errors import NoBluetoothError, NotReachableError, PushError, PushUrlError
from ..export.credentials import Credentials
from ..export.exporter import DEFAULT_URL, Endpoint, Exporter
from ..export.push import (
    DEADLINE,
    DEFAULT_JOB,
    PushKind,
    PushTarget,
    clear,
    push,
    settle,
)
from ..models import BatteryState
from ..outage import Outage
from . import pushed
from .arguments import ExitCode, Options
from .banks import bank_state, banks
from .monitor import Monitor
from .polling import Poller, ticks
from .pushed import Series
from .run import Action, exit_code, progress
from .terminal import print_error

_LOGGER = logging.getLogger(__name__)

_CLEAR_DEADLINE: Final = 3.0
"""Seconds to push or end series when the process is stopped."""
_REMEMBER_INTERVAL: Final = 3600.0
"""Seconds between two writes of what was read, if nothing else has changed."""


def plan(options: Options) -> Action:
    """Return the action of the options; raises an `ExportError` for a wrong target."""
    if not options.push:
        endpoint = Endpoint.parse(
            options.url or DEFAULT_URL,
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
            basic_auth=options.basic_auth,
            allowed_hosts=options.allow_host,
        )
        if endpoint.exposes_credentials:
            print_error("scrapers send their password in clear: use --tls-cert")
        return partial(_serve, options, endpoint)
    assert options.url
    target = PushTarget.parse(
        options.url,
        kind=PushKind(options.push_kind) if options.push_kind else None,
        job=options.job or DEFAULT_JOB,
        credentials=Credentials.from_file(options.auth_file)
        if options.auth_file
        else Credentials.from_environment(),
    )
    if "@" in URL(options.url.strip()).raw_authority:
        raise PushUrlError(
            "A password in the URL is visible to all users: use JKBMS_PUSH_USER and "
            "JKBMS_PUSH_PASSWORD, or --auth-file"
        )
    if target.exposes_credentials:
        print_error(f"the credentials go to {target} in clear: use https")
    return partial(
        _push_continuously if options.exporter else _push_once, options, target
    )


async def _serve(options: Options, endpoint: Endpoint) -> None:
    """Serve the values of the batteries until cancelled."""
    poller = _continuous_poller(options)
    monitor = poller.monitor
    async with Exporter(
        endpoint, partial(_states, monitor, options), lambda: monitor.no_bluetooth
    ) as exporter:
        scheme = "https" if endpoint.tls else "http"
        for host, port in exporter.addresses:
            where = f"[{host}]" if ":" in host else host
            print_error(f"serving on {scheme}://{where}:{port}{endpoint.path}")
        await poller.read_every(options.scrape_interval)


async def _push_continuously(options: Options, target: PushTarget) -> None:
    """Push the latest values on a timer of its own until cancelled."""
    poller = _continuous_poller(options)
    known = _recall(poller.monitor, target)
    interval = options.scrape_interval
    print_error(f"pushing to {target} every {interval:g} s")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(poller.read_every(interval))
        tasks.create_task(_push_every(interval, poller.monitor, options, target, known))


async def _push_every(
    interval: float,
    monitor: Monitor,
    options: Options,
    target: PushTarget,
    labels: set[str],
) -> None:
    """`labels` are those of earlier runs, which are kept or ended."""
    outage = Outage()
    # Push half-way between two readings: successful reads are done, the values are recent
    await asyncio.sleep(interval / 2)
    deadline = min(DEADLINE, interval)
    remembered: dict[str, str] = {}
    remember_again = -inf
    clock = asyncio.get_running_loop().time
    not_before = clock()
    pushing: asyncio.Task[None] | None = None
    async with aiohttp.ClientSession() as session:
        try:
            async for _ in ticks(interval):
                states = _states(monitor, options)
                devices = {state.device for state in states}
                named = monitor.named()
                gone = labels - devices - {name for name, _ in named}
                read = {name: each.address for name, each in named if each.address}
                if read != remembered or clock() >= remember_again:
                    _remember(monitor, target)
                    remembered, remember_again = read, clock() + _REMEMBER_INTERVAL
                if clock() < not_before:
                    continue
                labels |= devices
                try:
                    pushing = asyncio.create_task(
                        push(session, target, states, deadline=deadline)
                    )
                    # Cancelling only ends this wait; `settle` handles the push itself
                    await asyncio.wait({pushing})
                    pushing.result()
                    await clear(session, target, gone, deadline=deadline)
                    pushed.forget(target, gone)
                except PushError as err:
                    not_before = clock() + err.retry_after
                    if outage.begin():
                        _LOGGER.warning("Pushing fails, will retry: %s", err)
                    continue
                labels -= gone
                if outage.end():
                    _LOGGER.warning("Pushing works again")
        finally:
            if pushing:
                await settle(pushing)
            # Otherwise a Pushgateway would show `up 1` forever
            with suppress(PushError):
                await clear(session, target, labels, deadline=_CLEAR_DEADLINE)


async def _push_once(options: Options, target: PushTarget) -> ExitCode:
    """Read the batteries once and push their values.

    Those that were not read are pushed as down, also without Bluetooth and when a signal
    ends the run: a Pushgateway would show `up 1` forever.
    """
    poller = Poller.from_options(options)
    monitor = poller.monitor
    _recall(monitor, target)
    try:
        with progress(poller):
            await poller.read_once()
    except NoBluetoothError as err:
        print_error(str(err))
        monitor.fail_untried(err)
        await _deliver(monitor, options, target)
        return ExitCode.FAILED
    except asyncio.CancelledError:
        monitor.fail_untried(NotReachableError("The reading was interrupted"))
        monitor.keep_labels()
        with suppress(PushError):
            await _deliver(monitor, options, target, deadline=_CLEAR_DEADLINE)
        raise
    monitor.keep_labels()
    code = exit_code(poller)
    for device in sorted(await _deliver(monitor, options, target)):
        print_error(f"{device}: {not_found(poller.scan_timeout)}")
        code = ExitCode.FAILED
    return code


async def _deliver(
    monitor: Monitor,
    options: Options,
    target: PushTarget,
    *,
    deadline: float = DEADLINE,
) -> set[str]:
    """Push the states and end the series of expired labels; return the labels that are gone."""
    states = _states(monitor, options)
    gone, expired = _remember(monitor, target)
    states += [BatteryState(device=device, up=False) for device in sorted(gone)]
    async with aiohttp.ClientSession() as session:
        if states:
            await push(session, target, states, deadline=deadline)
        await clear(session, target, expired, deadline=deadline)
    pushed.forget(target, expired)
    return gone


def _recall(monitor: Monitor, target: PushTarget) -> set[str]:
    """Go on with the labels and addresses of earlier runs; return labels to keep or end."""
    known = pushed.load(target)
    for battery in monitor.batteries:
        if series := known.get(battery.target):
            battery.earlier_address = series.address
    if monitor.targets:
        return set()
    for label, series in known.items():
        if series.address and not series.is_expired:
            monitor.expect(label, series.address, time() - series.up_at)
    return set(known)


def _remember(monitor: Monitor, target: PushTarget) -> tuple[set[str], set[str]]:
    """Store where each battery was read; return labels of earlier runs that are gone.

    Returns the labels that were up within a day, which get `up 0`, and all others, which
    are ended. Neither are there when batteries were requested.
    """
    known = pushed.load(target)
    named = monitor.named()
    for label, battery in named:
        before = known.get(label)
        if battery.reading and battery.up:
            # Another device may use the name while the battery is away for a short time
            is_other = before and before.address not in (None, battery.address)
            if not before or not is_other or before.is_expired:
                known[label] = Series(time(), battery.address)
        elif not before and not battery.is_requested:
            known[label] = Series(0.0)
    pushed.store(target, known)
    if monitor.targets:
        return set(), set()
    missing = known.keys() - {label for label, _ in named}
    expired = {label for label in missing if known[label].is_expired}
    return missing - expired, expired


def _continuous_poller(options: Options) -> Poller:
    """Return a poller whose scan ends before the next reading is due."""
    poller = Poller.from_options(options)
    poller.scan_timeout = min(poller.scan_timeout, options.scrape_interval)
    return poller


def _states(monitor: Monitor, options: Options) -> list[BatteryState]:
    """Return the state of each battery that has been tried at least once."""
    takes_all = not options.sections
    states = {}
    for name, battery in monitor.named():
        reading, client = battery.reading, battery.client
        if not reading and not battery.error:
            continue
        state = BatteryState(
            device=name,
            up=battery.up,
            last_update=battery.read_at,
            rejected_frames=client.statistics.rejected if client else None,
        )
        if reading:
            state = replace(
                state, layout=reading.layout, device_info=reading.device_info
            )
            if takes_all or options.cell_data:
                state = replace(state, cell_data=reading.cell_data)
        # A battery that was requested twice is one series
        states[name] = state
    for name, bank in banks(monitor, options.bank):
        state = bank_state(name, bank)
        if not (takes_all or options.cell_data):
            state = replace(state, cell_data=None)
        states[name] = state
    return list(states.values())
