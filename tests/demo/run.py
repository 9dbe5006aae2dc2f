"""Run Home Assistant from start to stop."""

from argparse import Namespace
import asyncio
from functools import partial
import logging
from pathlib import Path
import signal
from tempfile import TemporaryDirectory
from unittest.mock import patch

from yarl import URL

from homeassistant import bootstrap
from homeassistant.components import bluetooth, usb
from homeassistant.const import RESTART_EXIT_CODE
from homeassistant.core import HomeAssistant, async_get_hass_or_none
from homeassistant.helpers.start import async_at_started
from homeassistant.runner import RuntimeConfig, create_event_loop
from tests.virtual_bms import VirtualBms

from . import incidents
from .batteries import KINDS, PACKS, PASSCODE, make_batteries, start_proxies
from .faults import FaultSwitch
from .home import CACHE, INTEGRATIONS, ROOT, NoAdapters, furnish, keep_logins
from .owner import async_add, async_add_bank, async_allow_controls, async_discover
from .past import async_remember

_LOGGER = logging.getLogger("demo")


def run(options: Namespace) -> int:
    """Run it in a temporary folder; return the exit code."""
    log = CACHE / f"demo-{options.port}.log"
    if not options.verbose:
        # Home Assistant logs to the terminal unless the log has a handler already.
        logging.getLogger().addHandler(logging.NullHandler())
    with TemporaryDirectory(prefix="demo-", dir=CACHE) as name:
        folder = Path(name)
        furnish(
            folder,
            options.host,
            options.port,
            yaml_resources=options.yaml_resources,
        )
        config = RuntimeConfig(name, skip_pip=True, verbose=True, log_file=str(log))
        try:
            with asyncio.Runner(loop_factory=create_event_loop) as loop:
                code = loop.run(_async_run(config, options))
        except KeyboardInterrupt:
            # A second Ctrl-C stops at once.
            return 128 + signal.SIGINT
        keep_logins(folder)
    result = "ended" if code == 0 else "failed"
    print(f"demo: {result}; the log is {log.relative_to(ROOT)}", flush=True)
    return code


async def _async_run(config: RuntimeConfig, options: Namespace) -> int:
    """Run it until it is stopped; return the exit code."""
    task = asyncio.current_task()
    assert task
    for number in (signal.SIGINT, signal.SIGTERM):
        # Until Home Assistant has started and handles them.
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    proxies = []
    try:
        with (
            # The rest needs programs and packages that no battery needs.
            patch.object(bootstrap, "DEFAULT_INTEGRATIONS", INTEGRATIONS),
            # Hardware of this machine is not discovered.
            patch.object(bluetooth, "get_adapters", NoAdapters),
            patch.object(usb, "scan_serial_ports", list),
        ):
            if not (hass := await bootstrap.async_setup_hass(config)):
                return 1
            batteries = make_batteries(
                options.batteries,
                PACKS if options.bank else KINDS,
                options.cells,
            )
            proxies = start_proxies(batteries)
            fault_switch = FaultSwitch(batteries, proxies)
            async_at_started(
                hass, partial(_async_prepare, batteries, fault_switch, options)
            )
            code = await hass.async_run()
    except asyncio.CancelledError:
        if half := async_get_hass_or_none():
            await half.async_stop(force=True)
        return 0
    finally:
        for proxy in proxies:
            proxy.stop()
    # It does not restart: its folder is temporary.
    return 0 if code == RESTART_EXIT_CODE else code


async def _async_prepare(
    batteries: list[VirtualBms],
    fault_switch: FaultSwitch,
    options: Namespace,
    hass: HomeAssistant,
) -> None:
    """Bring Home Assistant to the requested state, and report it."""
    incidents.async_register(hass, batteries)
    try:
        flows = await async_discover(hass, len(batteries))
        if options.added or options.bank:
            await asyncio.gather(*(async_add(hass, flow) for flow in flows))
            await async_allow_controls(hass)
            bank = await async_add_bank(hass) if options.bank else None
            await async_remember(hass, batteries, bank)
        await fault_switch.async_start(hass, options.fault)
    except Exception:
        _LOGGER.exception("The demo could not be prepared")
        hass.async_create_task(hass.async_stop(1))
    else:
        url = URL.build(scheme="http", host=options.host, port=options.port)
        print(
            f"demo: ready at {url} (settings passcode {PASSCODE}; Ctrl-C stops it)",
            flush=True,
        )
