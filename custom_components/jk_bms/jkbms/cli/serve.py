"""Hand values on to those who keep them: `--exporter` and `--push`."""

import asyncio
from dataclasses import replace
from functools import partial
import logging

import aiohttp
from yarl import URL

from ..errors import PushError, PushUrlError
from ..export.credentials import Credentials
from ..export.exporter import DEFAULT_URL, Endpoint, Exporter
from ..export.push import DEADLINE, DEFAULT_JOB, PushKind, PushTarget, push
from ..models import BatteryState
from .arguments import ExitCode, Options
from .commands import Action, judge, make_survey, progress
from .monitor import Survey, ticks
from .terminal import complain

_LOGGER = logging.getLogger(__name__)


def plan(options: Options) -> Action:
    """Return what to do; raises an `ExportError` where that cannot be done."""
    if not options.push:
        endpoint = Endpoint.parse(
            options.url or DEFAULT_URL,
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
            basic_auth=options.basic_auth,
        )
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
            "A password in the URL is seen by all: use JKBMS_PUSH_USER and "
            "JKBMS_PUSH_PASSWORD, or --auth-file"
        )
    return partial(_push_on if options.exporter else _push_once, options, target)


async def _serve(options: Options, endpoint: Endpoint) -> None:
    """Serve what the batteries say, for ever."""
    survey = _make_survey(options)
    async with Exporter(
        endpoint, partial(_states, survey, options), lambda: survey.no_bluetooth
    ) as exporter:
        scheme = "https" if endpoint.tls else "http"
        for host, port in exporter.addresses:
            where = f"[{host}]" if ":" in host else host
            complain(f"serving on {scheme}://{where}:{port}{endpoint.path}")
        await survey.read_on(options.scrape_interval)


async def _push_on(options: Options, target: PushTarget) -> None:
    """Push what was last read of the batteries on a timer of its own, for ever."""
    survey = _make_survey(options)
    complain(f"pushing to {target} every {options.scrape_interval:g} s")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(survey.read_on(options.scrape_interval))
        tasks.create_task(_keep_pushing(survey, options, target))


async def _keep_pushing(survey: Survey, options: Options, target: PushTarget) -> None:
    interval = options.scrape_interval
    works = True
    # Half-way between two readings those that go well are done: nothing old is pushed
    await asyncio.sleep(interval / 2)
    async with aiohttp.ClientSession() as session:
        async for _ in ticks(interval):
            try:
                await push(
                    session,
                    target,
                    _states(survey, options),
                    deadline=min(DEADLINE, interval),
                )
            except PushError as err:
                if works:
                    _LOGGER.warning("Pushing fails, and is tried again: %s", err)
                works = False
                continue
            if not works:
                _LOGGER.warning("Pushing works again")
            works = True


async def _push_once(options: Options, target: PushTarget) -> ExitCode:
    """Read the batteries and push what they say."""
    survey = make_survey(options)
    with progress(survey):
        await survey.read()
    verdict = judge(survey)
    if states := _states(survey, options):
        async with aiohttp.ClientSession() as session:
            await push(session, target, states, deadline=DEADLINE)
    return verdict


def _make_survey(options: Options) -> Survey:
    """Return a survey that is not still looking when it is time to read again."""
    survey = make_survey(options)
    survey.scan_timeout = min(survey.scan_timeout, options.scrape_interval)
    return survey


def _states(survey: Survey, options: Options) -> list[BatteryState]:
    """Return what is known of the batteries that were read or tried to be."""
    takes_all = not options.sections
    states = {}
    for name, battery in survey.named():
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
            state = replace(state, layout=reading.layout)
            if takes_all or options.device_info:
                state = replace(state, device_info=reading.device_info)
            if takes_all or options.cell_data:
                state = replace(state, cell_data=reading.cell_data)
        # One that was asked for twice is one battery
        states[name] = state
    return list(states.values())
