"""Push what a battery says to a Pushgateway or VictoriaMetrics, beside the reading."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
import logging
from typing import Any, Final

from homeassistant.const import (
    CONF_PASSWORD,
    CONF_TOKEN,
    CONF_URL,
    CONF_USERNAME,
    CONF_VERIFY_SSL,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.event import async_track_time_interval

from .const import (
    CONF_INTERVAL,
    CONF_JOB,
    CONF_KIND,
    CONF_PUSH,
    DOMAIN,
    KIND_AUTO,
    PUSH_INTERVAL,
)
from .coordinator import JkBmsConfigEntry
from .diagnosis import LASTS
from .jkbms.errors import ExportError
from .jkbms.export.credentials import Credentials
from .jkbms.export.push import DEADLINE, DEFAULT_JOB, PushKind, PushTarget, push
from .jkbms.models import BatteryState

_LOGGER = logging.getLogger(__name__)

_SHARE: Final = 0.8
"""Of the interval, after which a push that does not come through is given up."""
ISSUE: Final = "push_failed"


def parse_target(options: Mapping[str, Any]) -> PushTarget:
    """Return where these options push to. Raises an `ExportError`."""
    kind = options.get(CONF_KIND, KIND_AUTO)
    credentials = Credentials(
        user=options.get(CONF_USERNAME, ""),
        password=options.get(CONF_PASSWORD, ""),
        token=options.get(CONF_TOKEN, ""),
    )
    return PushTarget.parse(
        options[CONF_URL],
        kind=None if kind == KIND_AUTO else PushKind(kind),
        job=options.get(CONF_JOB) or DEFAULT_JOB,
        credentials=credentials if credentials != Credentials() else None,
    )


@callback
def async_start_push(hass: HomeAssistant, entry: JkBmsConfigEntry) -> None:
    """Push as long as the entry is loaded, if its options say so."""
    options = entry.options.get(CONF_PUSH, {})
    if options.get(CONF_URL):
        _Push(hass, entry, options).async_start()


class _Push:
    """What is pushed of one battery, and how that goes."""

    def __init__(
        self, hass: HomeAssistant, entry: JkBmsConfigEntry, options: Mapping[str, Any]
    ) -> None:
        self._hass = hass
        self._entry = entry
        self._options = options
        self._interval = timedelta(
            seconds=options.get(CONF_INTERVAL, PUSH_INTERVAL.total_seconds())
        )
        self._failing_since: float | None = None

    @callback
    def async_start(self) -> None:
        """Push now and at every interval until the entry is unloaded."""
        self._entry.async_on_unload(
            async_track_time_interval(
                self._hass,
                self._async_push_in_background,
                self._interval,
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
        """Push once; what goes wrong is told once."""
        session = async_get_clientsession(
            self._hass, self._options.get(CONF_VERIFY_SSL, True)
        )
        try:
            await push(
                session,
                parse_target(self._options),
                [self._async_state()],
                deadline=min(DEADLINE, _SHARE * self._interval.total_seconds()),
            )
        except ExportError as error:
            self._async_note_failure(error)
        else:
            self._async_note_success()

    @callback
    def _async_state(self) -> BatteryState:
        """Return what is known of the battery; values that are too old are not."""
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
        """Return the name of the battery, with a number where others have the same."""
        title = self._entry.title
        namesakes = [
            entry.entry_id
            for entry in self._hass.config_entries.async_entries(DOMAIN)
            if entry.title == title
        ]
        number = namesakes.index(self._entry.entry_id)
        return f"{title} {number + 1}" if number else title

    @callback
    def _async_note_failure(self, error: ExportError) -> None:
        """Tell of the first failure in the log, and of lasting failure in the repairs."""
        now = self._hass.loop.time()
        if self._failing_since is None:
            self._failing_since = now
            _LOGGER.warning("%s is not pushed: %s", self._entry.title, error)
        if now - self._failing_since >= LASTS:
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
    def _async_note_success(self) -> None:
        if self._failing_since is not None:
            self._failing_since = None
            _LOGGER.info("%s is pushed again", self._entry.title)
            self._async_clear_issue()

    @callback
    def _async_clear_issue(self) -> None:
        ir.async_delete_issue(self._hass, DOMAIN, self._issue_id)

    @property
    def _issue_id(self) -> str:
        return f"{self._entry.entry_id}_{ISSUE}"
