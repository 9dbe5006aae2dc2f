"""Run an action until it is done or a signal ends it; report progress and failures."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
import signal
import sys

from ..errors import ExportError, NoBluetoothError, NotReachableError
from .advice import ADVICE, failure_text, implausible_text
from .arguments import ExitCode, Options
from .polling import Poller
from .terminal import print_error

type Action = Callable[[], Awaitable[ExitCode | None]]
"""An action; it may run until it is cancelled."""


def run(action: Action, options: Options) -> ExitCode:
    """Run an action; return the exit code of the process."""
    try:
        with asyncio.Runner() as runner:
            return runner.run(_until_signal(action, options)) or ExitCode.GOOD
    except (NoBluetoothError, ExportError) as err:
        print_error(str(err))
        return ExitCode.FAILED


async def _until_signal(action: Action, options: Options) -> ExitCode | None:
    """Run an action; a signal cancels it, and all connections are closed first."""
    task = asyncio.current_task()
    assert task
    code_at_end = ExitCode.GOOD

    def end(code: ExitCode) -> None:
        nonlocal code_at_end
        code_at_end = code
        task.cancel()

    # Stopping a service is not a failure
    stopped = ExitCode.GOOD if options.exporter else ExitCode.TERMINATED
    codes = {
        signal.SIGINT: ExitCode.INTERRUPTED,
        signal.SIGTERM: stopped,
        signal.SIGHUP: stopped,
    }
    for number, code in codes.items():
        # nohup ignores SIGHUP so that the process outlives its terminal
        if signal.getsignal(number) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, end, code)
    try:
        return await action()
    except asyncio.CancelledError:
        return code_at_end


@contextmanager
def progress(poller: Poller) -> Iterator[None]:
    """Show on a terminal how many batteries have been found and read."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    monitor = poller.monitor
    with Console(stderr=True).status("") as status:

        def update() -> None:
            batteries = monitor.batteries
            found = sum(battery.seen is not None for battery in batteries)
            total = f" of {len(batteries)}" if monitor.targets else ""
            read = sum(battery.reading is not None for battery in batteries)
            status.update(f"{found}{total} found, {read} read")

        monitor.on_change = update
        update()
        yield


def exit_code(poller: Poller) -> ExitCode:
    """Print failures and left-out values; return whether all batteries were found and read."""
    if not poller.monitor.batteries:
        print_error(
            f"no battery in range within {poller.scan_timeout:g} s; "
            f"{ADVICE[NotReachableError]}"
        )
        return ExitCode.FAILED
    failed = {
        name: battery.error for name, battery in poller.monitor.named() if battery.error
    }
    for name, err in failed.items():
        print_error(f"{name}: {failure_text(err)}")
    for name, battery in poller.monitor.named():
        if left_out := battery.left_out:
            print_error(f"{name}: {implausible_text(left_out)}")
    return ExitCode.FAILED if failed else ExitCode.GOOD
