"""What the command does over the air."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
import signal
import sys

from ..errors import (
    ExportError,
    NoBluetoothError,
    NotReachableError,
    UnsupportedLayoutError,
)
from .advice import ADVICE, explain
from .arguments import ExitCode, Options
from .formats import Answers, Findings, Found, Told, masked
from .monitor import Battery, Survey
from .terminal import complain, show

type Action = Callable[[], Awaitable[ExitCode | None]]
"""Something to do, which may go on until it is cancelled."""


def act(options: Options) -> ExitCode:
    """Do what the options say, until it is done or a signal ends it."""
    try:
        action = _plan(options)
    except ExportError as err:
        complain(str(err))
        return ExitCode.USAGE
    try:
        with asyncio.Runner() as runner:
            return runner.run(_until_ended(action, options)) or ExitCode.GOOD
    except (NoBluetoothError, ExportError) as err:
        complain(str(err))
        return ExitCode.FAILED


def _plan(options: Options) -> Action:
    """Return what to do; raises an `ExportError` where that cannot be done."""
    if options.watch:
        from .watch import watch

        return partial(watch, options)
    if options.exporter or options.push:
        from .serve import plan

        return plan(options)
    if options.sections or options.asked:
        return partial(_read, options)
    return partial(_discover, options)


async def _until_ended(action: Action, options: Options) -> ExitCode | None:
    """Do it; a signal ends it, but not before every connection is released."""
    task = asyncio.current_task()
    assert task
    ending = ExitCode.GOOD

    def end(code: ExitCode) -> None:
        nonlocal ending
        ending = code
        task.cancel()

    # For a service to be told to stop is no failure
    told = ExitCode.GOOD if options.exporter else ExitCode.TERMINATED
    codes = {
        signal.SIGINT: ExitCode.INTERRUPTED,
        signal.SIGTERM: told,
        signal.SIGHUP: told,
    }
    for number, code in codes.items():
        # Whoever starts this with nohup wants it to go on
        if signal.getsignal(number) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, end, code)
    try:
        return await action()
    except asyncio.CancelledError:
        return ending


async def _discover(options: Options) -> ExitCode:
    """List the batteries in reach."""
    survey = make_survey(options)

    async def leave_alone(_: Battery) -> None:
        pass

    with progress(survey):
        await survey.find_each(leave_alone)
    found = {
        name: Found(address=heard.address, name=heard.name, rssi=heard.rssi)
        for name, battery in survey.named()
        if (heard := battery.heard)
    }
    show(Findings(found), options.format)
    return judge(survey)


async def _read(options: Options) -> ExitCode:
    """Print what the batteries say."""
    survey = make_survey(options)
    with progress(survey):
        await survey.read()
    sections = options.sections or ["device_info", "cell_data"]
    answers = [_told(name, battery, options) for name, battery in survey.named()]
    show(Answers(answers, sections), options.format)
    verdict = judge(survey)
    if "settings" in sections:
        for battery in survey.batteries:
            if battery.reading and not battery.reading.settings:
                complain(f"{battery.name}: its settings did not come; try again")
                verdict = ExitCode.FAILED
    return verdict


def make_survey(options: Options) -> Survey:
    """Return the survey that is asked for."""
    return Survey(
        options.asked,
        adapter=options.adapter,
        scan_timeout=options.scan_timeout,
        answer_timeout=options.request_timeout,
    )


def _told(name: str, battery: Battery, options: Options) -> Told:
    """Return what a battery told just now."""
    err, reading = battery.error, None if battery.error else battery.reading
    if isinstance(err, UnsupportedLayoutError):
        info = err.device_info
    else:
        info = reading.device_info if reading else None
    if info and not options.secrets:
        info = masked(info)
    return Told(
        device=name,
        layout=reading.layout if reading else None,
        device_info=info,
        cell_data=reading.cell_data if reading else None,
        settings=reading.settings if reading else None,
        up=reading is not None,
        last_update=battery.read_at,
    )


def judge(survey: Survey) -> ExitCode:
    """Say who failed and why."""
    if not survey.batteries:
        complain(
            f"no battery was heard within {survey.scan_timeout:g} s; "
            f"{ADVICE[NotReachableError]}"
        )
        return ExitCode.FAILED
    failed = {name: b.error for name, b in survey.named() if b.error}
    for name, err in failed.items():
        complain(f"{name}: {explain(err)}")
    return ExitCode.FAILED if failed else ExitCode.GOOD


@contextmanager
def progress(survey: Survey) -> Iterator[None]:
    """Tell people at a terminal how far it has come."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:

        def tell() -> None:
            batteries = survey.batteries
            heard = sum(battery.heard is not None for battery in batteries)
            wanted = f" of {len(batteries)}" if survey.asked else ""
            read = sum(battery.reading is not None for battery in batteries)
            status.update(f"{heard}{wanted} heard, {read} read")

        survey.on_news = tell
        tell()
        yield
