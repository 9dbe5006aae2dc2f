"""The actions over Bluetooth: choose the action, list or read batteries."""

from functools import partial

from ..errors import ExportError, UnsupportedLayoutError
from ..models import masked
from .arguments import ExitCode, Options
from .banks import bank_state, banks
from .monitor import Battery
from .polling import Poller
from .report import BatteryReport, ReadReport, ScanReport, ScanResult
from .run import Action, exit_code, progress, run
from .terminal import print_error, show


def execute(options: Options) -> ExitCode:
    """Run the action of the options until it is done or a signal ends it."""
    if options.set or options.apply is not None:
        from .change import change_settings

        return change_settings(options)
    try:
        action = _choose(options)
    except ExportError as err:
        print_error(str(err))
        return ExitCode.USAGE
    return run(action, options)


def _choose(options: Options) -> Action:
    """Return the action of the options; raises an `ExportError` for a wrong target."""
    if options.pair:
        from .pair import ask_code, pair_battery

        return partial(
            _pair_and_read, options, partial(pair_battery, options, ask_code())
        )
    if options.unpair:
        from .pair import unpair_batteries

        return partial(unpair_batteries, options)
    if options.watch:
        from .watch import watch

        return partial(watch, options)
    if options.exporter or options.push:
        from .serve import plan

        return plan(options)
    if options.sections or options.targets:
        return partial(_read, options)
    return partial(_scan, options)


async def _pair_and_read(options: Options, pair: Action) -> ExitCode:
    """Pair, then read the battery and print its values."""
    return await pair() or await _read(options)


async def _scan(options: Options) -> ExitCode:
    """List the batteries in range."""
    poller = Poller.from_options(options)

    async def skip(_: Battery) -> None:
        pass

    with progress(poller):
        await poller.find_each(skip)
    results = {
        name: ScanResult(address=seen.address, name=seen.name, rssi=seen.rssi)
        for name, battery in poller.monitor.named()
        if (seen := battery.seen)
    }
    show(ScanReport(results), options.format)
    return exit_code(poller)


async def _read(options: Options) -> ExitCode:
    """Read the batteries once and print their values."""
    poller = Poller.from_options(options)
    monitor = poller.monitor
    with progress(poller):
        await poller.read_once()
    sections = options.sections or ["device_info", "cell_data"]
    reports = [_report(name, battery, options) for name, battery in monitor.named()]
    for name, bank in banks(monitor, options.bank):
        state = bank_state(name, bank)
        reports.append(
            BatteryReport(
                device=name,
                cell_data=state.cell_data,
                up=state.up,
                last_update=state.last_update,
            )
        )
    show(ReadReport(reports, sections), options.format)
    code = exit_code(poller)
    if "settings" in sections:
        for battery in monitor.batteries:
            if battery.reading and not battery.reading.settings:
                print_error(f"{battery.name}: its settings were lost; try again")
                code = ExitCode.FAILED
    return code


def _report(name: str, battery: Battery, options: Options) -> BatteryReport:
    """Return the report of what a battery has just sent."""
    err, reading = battery.error, None if battery.error else battery.reading
    if isinstance(err, UnsupportedLayoutError):
        info = err.device_info
    else:
        info = reading.device_info if reading else None
    if info and not options.secrets:
        info = masked(info)
    return BatteryReport(
        device=name,
        layout=reading.layout if reading else None,
        device_info=info,
        cell_data=reading.cell_data if reading else None,
        settings=reading.settings if reading else None,
        up=reading is not None,
        last_update=battery.read_at,
    )
