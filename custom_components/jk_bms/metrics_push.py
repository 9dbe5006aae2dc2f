"""Pushes the values of a battery to a Pushgateway or to VictoriaMetrics."""

import asyncio
from dataclasses import replace
from datetime import datetime
import logging
from math import inf
from typing import Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.event import async_track_time_interval
from homeassistant.util.hass_dict import HassKey

from .bank_coordinator import AnyConfigEntry, BankCoordinator
from .const import DOMAIN
from .coordinator import JkBmsCoordinator
from .issues import ISSUE_AFTER
from .jkbms.errors import ExportError, PushError, PushServerError, PushUnreachableError
from .jkbms.export.push import DEADLINE, PushKind, PushTarget, clear, push, settle
from .jkbms.models import BatteryState
from .jkbms.outage import Outage
from .options import JkBmsOptions, PushOptions
from .push_label import CONF_LABEL, async_get_label

_LOGGER = logging.getLogger(__name__)

# The part of the interval after which a push is given up, so that it has ended when the
# next one is due.
MAX_INTERVAL_SHARE: Final = 0.8

# The time, in seconds, to end the series of a battery that is no longer pushed. It delays
# the stop of Home Assistant where the server does not respond.
CLEAR_DEADLINE: Final = 5.0

# The time, in seconds, for a push while a dialog waits for its result: enough for a DNS
# lookup and a TLS handshake.
TRIAL_DEADLINE: Final = 5.0

# How long, in seconds, a server must have been off or overloaded before that is an issue.
# It may come back without the user; a request that it refuses will not succeed.
OUTAGE_ISSUE_AFTER: Final = 86400.0

ISSUE_PUSH_FAILED: Final = "push_failed"

_REQUESTS: HassKey[dict[str, asyncio.Task[None]]] = HassKey(f"{DOMAIN}_push")
"""The latest push of each entry, by its id; it may outlive the entry."""


@callback
def async_start_push(hass: HomeAssistant, entry: AnyConfigEntry) -> None:
    """Push while the entry is loaded, if its options turn that on."""
    coordinator = entry.runtime_data
    if options := coordinator.options.push:
        label = _async_label(hass, entry, coordinator)
        _Push(hass, entry, options, label).async_start()


async def async_try_push(
    hass: HomeAssistant,
    entry: AnyConfigEntry,
    options: PushOptions,
) -> None:
    """Push once with options that are not saved yet. Raises an `ExportError`.

    A new group of a Pushgateway is deleted again: the options may never be saved. Other
    servers keep one sample, which is correct.
    """
    loaded = entry.state is ConfigEntryState.LOADED
    coordinator = entry.runtime_data if loaded else None
    label = _async_label(hass, entry, coordinator)
    state = (
        _battery_state(coordinator, label)
        if coordinator
        else BatteryState(device=label, up=False)
    )
    session = async_get_clientsession(hass, options.verify_ssl)
    target = options.target
    await push(session, target, [state], deadline=TRIAL_DEADLINE)
    saved = JkBmsOptions.parse(entry.options).push
    if target.kind is PushKind.PUSHGATEWAY and (
        _destination(saved) != _destination(options)
    ):
        await _async_clear(hass, entry.title, options, label)


@callback
def _async_label(
    hass: HomeAssistant,
    entry: AnyConfigEntry,
    coordinator: JkBmsCoordinator | BankCoordinator | None,
) -> str:
    """Return the label of a battery or bank; without a coordinator it is not loaded."""
    if isinstance(coordinator, JkBmsCoordinator):
        return async_get_label(hass, entry, coordinator.device_info)
    return async_get_label(hass, entry, None)


async def async_end_push(hass: HomeAssistant, entry: AnyConfigEntry) -> None:
    """End the series of an entry that was removed."""
    await _async_settle(hass, entry.entry_id)
    options, label = JkBmsOptions.parse(entry.options).push, entry.data.get(CONF_LABEL)
    if options and label:
        await _async_clear(hass, entry.title, options, label)


async def _async_settle(hass: HomeAssistant, entry_id: str) -> None:
    """Wait for the latest push of an entry to end."""
    if pushing := hass.data.get(_REQUESTS, {}).get(entry_id):
        await settle(pushing)


async def _async_clear(
    hass: HomeAssistant, title: str, options: PushOptions, label: str
) -> None:
    """End the series of a battery; a Pushgateway would show `up 1` forever."""
    session = async_get_clientsession(hass, options.verify_ssl)
    try:
        await clear(session, options.target, [label], deadline=CLEAR_DEADLINE)
    except ExportError as error:
        _LOGGER.warning("The pushed values of %s were not cleared: %s", title, error)


def _destination(options: PushOptions | None) -> PushTarget | None:
    """Return the target of the pushes of a battery, `None` if there is none."""
    try:
        return replace(options.target, credentials=None) if options else None
    except ExportError:
        return None


def _battery_state(
    coordinator: JkBmsCoordinator | BankCoordinator, label: str
) -> BatteryState:
    """Return the state of the battery to push."""
    if isinstance(coordinator, BankCoordinator):
        return coordinator.battery_state(label)
    state = BatteryState(
        device=label,
        up=coordinator.available,
        rejected_frames=coordinator.client.statistics.rejected,
    )
    if not coordinator.last_update:
        return state
    reading = coordinator.data
    return replace(
        state,
        device_info=reading.device_info,
        cell_data=reading.cell_data,
        layout=reading.layout,
        last_update=coordinator.last_update.timestamp(),
    )


class _Push:
    """Pushes one battery or bank, and reports failures."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: AnyConfigEntry,
        options: PushOptions,
        label: str,
    ) -> None:
        self._hass = hass
        self._entry = entry
        self._options = options
        self._label = label
        self._outage = Outage()
        self._failing_since = inf
        """When the outage began, in seconds of the event loop's clock."""
        self._error: ExportError | None = None
        """Why the last push failed, `None` if it did not."""
        self._not_before = -inf
        """Earliest time of the next push (`Retry-After`), in seconds of the event loop's clock."""

    @callback
    def async_start(self) -> None:
        """Push now and at every interval until the entry is unloaded."""
        self._entry.async_on_unload(
            async_track_time_interval(
                self._hass,
                self._async_push_in_background,
                self._options.interval,
                name=f"{DOMAIN} push {self._entry.title}",
                cancel_on_shutdown=True,
            )
        )
        self._entry.async_on_unload(
            self._hass.bus.async_listen(EVENT_HOMEASSISTANT_STOP, self._async_stop)
        )
        self._entry.async_on_unload(self._async_unload)
        self._async_push_in_background()

    @callback
    def _async_push_in_background(self, _now: datetime | None = None) -> None:
        if self._error and self._hass.loop.time() < self._not_before:
            self._async_handle_failure(self._error)
            return
        self._entry.async_create_background_task(
            self._hass, self._async_push(), f"{DOMAIN} push {self._entry.title}"
        )

    async def _async_stop(self, _event: Event) -> None:
        """End the series: nothing is pushed until Home Assistant is back."""
        await self._async_clear()

    @callback
    def _async_unload(self) -> None:
        """End the series where the new options do not continue them."""
        self._async_clear_issue()
        entry = self._entry
        then = None if entry.disabled_by else JkBmsOptions.parse(entry.options).push
        ends = _destination(then) != _destination(self._options)
        self._hass.async_create_task(
            self._async_clear() if ends else _async_settle(self._hass, entry.entry_id),
            f"{DOMAIN} end push {entry.title}",
        )

    async def _async_clear(self) -> None:
        await _async_settle(self._hass, self._entry.entry_id)
        await _async_clear(self._hass, self._entry.title, self._options, self._label)

    async def _async_push(self) -> None:
        """Push once; only the first failure in a row is logged.

        This ends when the entry is unloaded; `settle` waits for a request already sent.
        """
        pushing = self._hass.async_create_background_task(
            self._async_send(), f"{DOMAIN} send {self._entry.title}"
        )
        self._hass.data.setdefault(_REQUESTS, {})[self._entry.entry_id] = pushing
        await asyncio.wait({pushing})
        try:
            pushing.result()
        except ExportError as error:
            if isinstance(error, PushError):
                self._not_before = self._hass.loop.time() + error.retry_after
            self._async_handle_failure(error)
        else:
            self._async_handle_success()

    async def _async_send(self) -> None:
        options = self._options
        await push(
            async_get_clientsession(self._hass, options.verify_ssl),
            options.target,
            [_battery_state(self._entry.runtime_data, self._label)],
            deadline=min(
                DEADLINE, MAX_INTERVAL_SHARE * options.interval.total_seconds()
            ),
        )

    @callback
    def _async_handle_failure(self, error: ExportError) -> None:
        """Log the first failure, and raise an issue if failures persist."""
        self._error = error
        now = self._hass.loop.time()
        if self._outage.begin():
            self._failing_since = now
            _LOGGER.warning(
                "The values of %s cannot be pushed: %s", self._entry.title, error
            )
        may_pass = isinstance(error, PushServerError | PushUnreachableError)
        issue_after = OUTAGE_ISSUE_AFTER if may_pass else ISSUE_AFTER
        if now - self._failing_since >= issue_after:
            ir.async_create_issue(
                self._hass,
                DOMAIN,
                self._issue_id,
                is_fixable=False,
                severity=ir.IssueSeverity.WARNING,
                translation_key=ISSUE_PUSH_FAILED,
                translation_placeholders={
                    "name": self._entry.title,
                    "reason": str(error),
                },
            )

    @callback
    def _async_handle_success(self) -> None:
        self._error = None
        if self._outage.end():
            _LOGGER.info("The values of %s are pushed again", self._entry.title)
            self._async_clear_issue()

    @callback
    def _async_clear_issue(self) -> None:
        ir.async_delete_issue(self._hass, DOMAIN, self._issue_id)

    @property
    def _issue_id(self) -> str:
        return f"{self._entry.entry_id}_{ISSUE_PUSH_FAILED}"
