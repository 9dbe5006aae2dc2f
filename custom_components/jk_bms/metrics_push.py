"""Pushes the values of a battery to a Pushgateway or to VictoriaMetrics."""

from dataclasses import replace
from datetime import datetime
import logging
from math import inf
from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.event import async_track_time_interval

from .const import DOMAIN
from .coordinator import JkBmsConfigEntry
from .issues import ISSUE_AFTER
from .jkbms.errors import ExportError
from .jkbms.export.push import DEADLINE, push
from .jkbms.models import BatteryState
from .jkbms.outage import Outage
from .options import PushOptions

_LOGGER = logging.getLogger(__name__)

# The part of the interval after which a push is given up, so that it has ended when the
# next one is due.
MAX_INTERVAL_SHARE: Final = 0.8

ISSUE: Final = "push_failed"


@callback
def async_start_push(hass: HomeAssistant, entry: JkBmsConfigEntry) -> None:
    """Push while the entry is loaded, if its options turn that on."""
    if options := entry.runtime_data.options.push:
        _Push(hass, entry, options).async_start()


class _Push:
    """Pushes one battery, and reports failures."""

    def __init__(
        self, hass: HomeAssistant, entry: JkBmsConfigEntry, options: PushOptions
    ) -> None:
        self._hass = hass
        self._entry = entry
        self._options = options
        self._outage = Outage()
        self._failing_since = inf
        """When the outage began, s of the event loop's clock."""

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
        self._entry.async_on_unload(self._async_clear_issue)
        self._async_push_in_background()

    @callback
    def _async_push_in_background(self, _now: datetime | None = None) -> None:
        self._entry.async_create_background_task(
            self._hass, self._async_push(), f"{DOMAIN} push {self._entry.title}"
        )

    async def _async_push(self) -> None:
        """Push once; only the first failure in a row is logged."""
        options = self._options
        session = async_get_clientsession(self._hass, options.verify_ssl)
        try:
            await push(
                session,
                options.target,
                [self._async_state()],
                deadline=min(
                    DEADLINE, MAX_INTERVAL_SHARE * options.interval.total_seconds()
                ),
            )
        except ExportError as error:
            self._async_handle_failure(error)
        else:
            self._async_handle_success()

    @callback
    def _async_state(self) -> BatteryState:
        """Return the state of the battery to push."""
        coordinator = self._entry.runtime_data
        state = BatteryState(
            device=self._async_device(),
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

    @callback
    def _async_device(self) -> str:
        """Return the name of the battery, numbered if another one has the same name."""
        title = self._entry.title
        namesakes = [
            entry.entry_id
            for entry in self._hass.config_entries.async_entries(DOMAIN)
            if entry.title == title
        ]
        number = namesakes.index(self._entry.entry_id)
        return f"{title} {number + 1}" if number else title

    @callback
    def _async_handle_failure(self, error: ExportError) -> None:
        """Log the first failure, and raise an issue if they last."""
        now = self._hass.loop.time()
        if self._outage.begin():
            self._failing_since = now
            _LOGGER.warning(
                "The values of %s cannot be pushed: %s", self._entry.title, error
            )
        if now - self._failing_since >= ISSUE_AFTER:
            ir.async_create_issue(
                self._hass,
                DOMAIN,
                self._issue_id,
                is_fixable=False,
                severity=ir.IssueSeverity.WARNING,
                translation_key=ISSUE,
                translation_placeholders={
                    "name": self._entry.title,
                    "reason": str(error),
                },
            )

    @callback
    def _async_handle_success(self) -> None:
        if self._outage.end():
            _LOGGER.info("The values of %s are pushed again", self._entry.title)
            self._async_clear_issue()

    @callback
    def _async_clear_issue(self) -> None:
        ir.async_delete_issue(self._hass, DOMAIN, self._issue_id)

    @property
    def _issue_id(self) -> str:
        return f"{self._entry.entry_id}_{ISSUE}"
