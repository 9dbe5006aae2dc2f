"""Where Home Assistant meets the library: when to read, and what an error means."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
import logging
from math import inf
from operator import delitem
from typing import Any, Final, override

from bleak.backends.device import BLEDevice
from bleak_retry_connector import close_stale_connections_by_address
from bluetooth_data_tools import monotonic_time_coarse

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import (
    BluetoothChange,
    BluetoothScanningMode,
    BluetoothServiceInfoBleak,
)
from homeassistant.components.bluetooth.active_update_coordinator import (
    ActiveBluetoothDataUpdateCoordinator,
)
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import CALLBACK_TYPE, Event, HomeAssistant, callback
from homeassistant.exceptions import ConfigEntryNotReady, HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.event import async_call_later
from homeassistant.util import dt as dt_util
from homeassistant.util.hass_dict import HassKey

from .connection_slots import async_get_turns
from .const import (
    CONF_INTERVAL,
    CONF_LINK,
    CONF_PAUSE,
    DOMAIN,
    MANUFACTURER,
    MIN_DATA_AGE,
    PAUSE,
    RETRY_INTERVAL,
    UPDATE_INTERVAL,
    LinkBehaviour,
)
from .diagnosis import Trouble, async_clear_trouble, async_diagnose, async_note_trouble
from .jkbms.bluetooth.client import READ_DEADLINE, JkBmsClient
from .jkbms.errors import JkBmsError, LogUnansweredError, UnsupportedLayoutError
from .jkbms.models import DetailLogRecord, DeviceInfo, Log, LogEntry, Reading
from .jkbms.protocol.timestamps import Dated, date_detail_log, date_logbook, run_time

_LOGGER = logging.getLogger(__name__)

_HISTORY: Final = 20
_LASTING: Final = 5.0
"""s a held link must have lived for to be made anew at once when it is lost."""
_LOGBOOK_INTERVAL: Final = 270.0
"""s between two looks into the logbook: 5 min, less what a read may be early."""
_LOGBOOK_RETRY: Final = 86400.0
"""s until a battery that has never answered for its logbook is asked again."""

_PAUSES: HassKey[dict[str, float]] = HassKey(f"{DOMAIN}_pauses")
"""When the links that were handed to others are taken back, by address.

s of the event loop's clock; who only changes an option keeps the phone app in.
"""
_RELEASED: Final = "the link was released"

type JkBmsConfigEntry = ConfigEntry[JkBmsCoordinator]
type Publish = Callable[[Reading], None]
type TellLogbook = Callable[[tuple[Dated[LogEntry], ...]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One use of the link, for the diagnostics."""

    started: datetime
    duration: float
    """s."""
    outcome: str
    """`read`, or why it was not; `under way` while that is not known."""
    frames: int
    """Good ones that came."""
    path: str | None
    """The adapter or proxy that heard the battery best when it began."""
    rssi: int | None
    """dBm, there and then."""


@callback
def async_find_device(hass: HomeAssistant, address: str) -> BLEDevice | None:
    """Return the best path to a battery, `None` if there is no way to connect to it."""
    # The last path is remembered for minutes after the proxy is gone. Trying it would
    # take all the time there is, to end in "no free connection slot".
    if not bluetooth.async_scanner_devices_by_address(hass, address, connectable=True):
        return None
    return bluetooth.async_ble_device_from_address(hass, address, connectable=True)


@callback
def async_forget_pause(hass: HomeAssistant, address: str) -> None:
    """Let the next coordinator of a battery read it at once."""
    hass.data.get(_PAUSES, {}).pop(address, None)


@callback
def async_create_client(hass: HomeAssistant, address: str, name: str) -> JkBmsClient:
    """Make the client for a battery; it asks for the best path at every attempt."""
    return JkBmsClient(partial(async_find_device, hass, address), name=name)


class JkBmsCoordinator(ActiveBluetoothDataUpdateCoordinator[Reading]):
    """Reads one battery: at an interval, and at once when it is heard again."""

    def __init__(self, hass: HomeAssistant, config_entry: JkBmsConfigEntry) -> None:
        """Prepare; nothing is read before `async_first_refresh`."""
        super().__init__(
            hass,
            _LOGGER,
            address=config_entry.data[CONF_ADDRESS],
            mode=BluetoothScanningMode.PASSIVE,
            needs_poll_method=self._needs_poll,
        )
        self.config_entry = config_entry
        options = config_entry.options
        self.interval = timedelta(
            seconds=options.get(CONF_INTERVAL, UPDATE_INTERVAL.total_seconds())
        )
        self.max_age = max(3 * self.interval, MIN_DATA_AGE)
        """Older values are not shown any more."""
        self.pause = timedelta(
            minutes=options.get(CONF_PAUSE, PAUSE.total_seconds() / 60)
        )
        self.holds = options.get(CONF_LINK) == LinkBehaviour.HELD
        self.client = async_create_client(hass, self.address, config_entry.title)
        self.device_info: DeviceInfo | None = None
        self.last_source: str | None = None
        """The scanner that heard the battery last."""
        self.last_update: datetime | None = None
        self.last_exception: Exception | None = None
        self.resumes_at: datetime | None = None
        """When a link that was handed to others is taken back."""
        self.history: deque[Attempt] = deque(maxlen=_HISTORY)
        self._pauses = hass.data.setdefault(_PAUSES, {})
        self._turns = async_get_turns(hass)
        self._under_way: Callable[[str], Attempt] | None = None
        self._fresh = False
        self._told_lost = False
        self._poll_task: asyncio.Task[None] | None = None
        self._last_heard = -inf
        self._timers: dict[Callable[[datetime], None], CALLBACK_TYPE] = {}
        self._tell_logbook: TellLogbook | None = None
        self._logbook_due = -inf
        self._has_logbook = False

    @property
    @override
    def available(self) -> bool:
        """Whether the values are young enough; advertisements have no say.

        A battery is silent while anyone is connected to it, us included.
        """
        return self._fresh

    @property
    def rssi(self) -> int | None:
        """How well the battery was heard last, in dBm."""
        heard = bluetooth.async_last_service_info(self.hass, self.address)
        return heard.rssi if heard else None

    @property
    def attempts(self) -> list[Attempt]:
        """The last uses of the link, and the one that is under way."""
        if not self._under_way:
            return [*self.history]
        return [*self.history, self._under_way("under way")]

    async def async_first_refresh(self) -> None:
        """Read the battery before the platforms ask for its values.

        One whose values cannot be understood is set up without them, so that its
        diagnostics can be had, and so is one that was handed to others.
        """
        left = self._pauses.get(self.address, -inf) - self.hass.loop.time()
        if left > 0:
            self._async_pause(timedelta(seconds=left))
            self._async_tell_lost(logging.INFO, _RELEASED)
            return
        # A crashed Home Assistant may have left the local adapter connected.
        await close_stale_connections_by_address(self.address)
        await self._async_use_link(self._async_read())
        if self.last_exception:
            if not self.device_info:
                raise self.last_exception
            self._async_tell_lost(logging.WARNING, self.last_exception)

    async def async_refresh(self) -> None:
        """Read the battery now; raise why if that fails."""
        self._async_require_link()
        before, published = self.data, asyncio.Event()

        @callback
        def note_reading() -> None:
            if self.data is not before:
                published.set()

        cancel = self.async_add_listener(note_reading)
        self.client.publish_next()
        self._async_start_poll()
        assert self._poll_task
        waiting = asyncio.create_task(published.wait())
        try:
            await asyncio.wait(
                {self._poll_task, waiting},
                timeout=READ_DEADLINE,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waiting.cancel()
            cancel()
        if self.data is not before:
            return
        self._async_require_link()
        error = self.last_exception
        if isinstance(error, ConfigEntryNotReady):
            raise HomeAssistantError(
                translation_domain=error.translation_domain,
                translation_key=error.translation_key,
                translation_placeholders=error.translation_placeholders,
            )
        raise HomeAssistantError(
            translation_domain=DOMAIN, translation_key="not_refreshed"
        )

    @callback
    def _async_require_link(self) -> None:
        if self.resumes_at:
            raise HomeAssistantError(
                translation_domain=DOMAIN, translation_key="link_released"
            )

    async def async_read_logbook(self) -> tuple[Dated[LogEntry], ...]:
        """Read the battery's logbook; raise in words if that fails."""
        return self._date_logbook(await self._async_read_log(self.client.read_logbook))

    async def async_read_detail_log(self) -> tuple[Dated[DetailLogRecord], ...]:
        """Read the battery's detail log; raise in words if that fails."""
        if self.data and not self.data.cell_data.detail_log_count:
            # It would be asked, and waited for, in vain.
            raise HomeAssistantError(
                translation_domain=DOMAIN, translation_key="no_detail_log"
            )
        log = await self._async_read_log(self.client.read_detail_log)
        return date_detail_log(
            log.entries,
            clock=self._by_now(log.reading, log.reading.cell_data.clock),
            now=dt_util.now(),
        )

    @callback
    def async_follow_logbook(self, tell: TellLogbook) -> CALLBACK_TYPE:
        """Read the logbook along with the values, for one who wants to know."""
        self._tell_logbook = tell

        @callback
        def unfollow() -> None:
            self._tell_logbook = None

        return unfollow

    async def async_release_link(self) -> None:
        """Let others have the battery for a while."""
        self._pauses[self.address] = self.hass.loop.time() + self.pause.total_seconds()
        self._async_pause(self.pause)
        async_clear_trouble(self.hass, self.config_entry)
        self.async_update_listeners()
        await self._async_let_go()

    @callback
    def async_resume_link(self) -> None:
        """Take the battery back."""
        if self.resumes_at:
            self._timers.pop(self._async_resume)()
            self._async_resume()

    async def async_shutdown(self, _event: Event | None = None) -> None:
        """Let go of the battery: no timer, no callback, no link."""
        self._async_stop()
        await self._async_let_go()

    async def _async_let_go(self) -> None:
        """End what runs and wait until the link is released."""
        if self._poll_task:
            self._poll_task.cancel()
        self._turns.async_give_up(self.address)
        await self.client.disconnect()

    @callback
    @override
    def _async_start(self) -> None:
        """Hear every advertisement, and do not depend on any."""
        super()._async_start()
        self._on_stop.append(
            bluetooth.async_register_advertisement_callback(
                self.hass, self._async_handle_bluetooth_event, self.address
            )
        )
        if self.holds:
            self._async_start_poll()
        else:
            self._async_run_in(self.interval, self._async_start_poll)

    @callback
    @override
    def _async_stop(self) -> None:
        """Cancel the timers too."""
        while self._timers:
            self._timers.popitem()[1]()
        super()._async_stop()

    @callback
    def _async_run_in(
        self, delay: timedelta, action: Callable[[datetime], None]
    ) -> None:
        """Run the action once, counting anew from now."""
        if cancel := self._timers.pop(action, None):
            cancel()
        self._timers[action] = async_call_later(self.hass, delay, action)

    @callback
    @override
    def _async_handle_unavailable(
        self, service_info: BluetoothServiceInfoBleak
    ) -> None:
        """Show nothing else: a battery is silent while anyone is connected to it.

        Home Assistant tells of all that have fallen silent in one go.
        """

    @callback
    @override
    def async_add_listener(
        self, update_callback: CALLBACK_TYPE, context: Any = None
    ) -> CALLBACK_TYPE:
        """Note a listener, without the closure that the base class makes for each.

        Those of all entities of a battery would take some 30 KB.
        """
        self._listeners[update_callback] = update_callback, context
        return partial(delitem, self._listeners, update_callback)

    @callback
    @override
    def _async_handle_bluetooth_event(
        self,
        service_info: BluetoothServiceInfoBleak,
        change: BluetoothChange = BluetoothChange.ADVERTISEMENT,
    ) -> None:
        """Read the battery if this advertisement is a reason to.

        The base class would tie availability to advertisements and put a cool-down
        before the next read.
        """
        if not service_info.connectable:
            return
        if self.needs_poll(service_info):
            self._async_start_poll()
        self._last_heard = service_info.time

    @callback
    def _needs_poll(
        self,
        service_info: BluetoothServiceInfoBleak,
        seconds_since_last_poll: float | None,
    ) -> bool:
        """Return whether a read is due or a battery out of reach has come back."""
        interval = self._poll_interval.total_seconds()
        silence = service_info.time - self._last_heard
        return (
            seconds_since_last_poll is None
            or seconds_since_last_poll >= interval
            or (not self.last_poll_successful and silence >= interval)
        )

    @property
    def _poll_interval(self) -> timedelta:
        """How often to see to the battery; a held link only needs that when lost."""
        return min(self.interval, RETRY_INTERVAL) if self.holds else self.interval

    @callback
    def _async_start_poll(self, _now: datetime | None = None) -> None:
        """Start a read unless one is under way, and the wait for the next."""
        if self.resumes_at:
            return
        self._async_run_in(self._poll_interval, self._async_start_poll)
        if self._poll_task and not self._poll_task.done():
            return
        self._poll_task = self.config_entry.async_create_background_task(
            self.hass,
            self._async_poll(),
            f"{DOMAIN} read {self.address}",
            # Not within the callback: Bluetooth has yet to note this advertisement,
            # so a battery that comes back would have no path to it.
            eager_start=False,
        )

    @callback
    def _async_pause(self, pause: timedelta) -> None:
        self.resumes_at = dt_util.utcnow() + pause
        self._async_run_in(pause, self._async_resume)

    @callback
    def _async_resume(self, _now: datetime | None = None) -> None:
        """Use the link again; who had the battery may have changed anything."""
        self.resumes_at = None
        async_forget_pause(self.hass, self.address)
        self.client.publish_next()
        self.async_update_listeners()
        self._async_start_poll()

    @override
    async def _async_poll(self) -> None:
        """Use the link once, or again and again as long as it can be held."""
        if not self.holds:
            await self._async_use_link(self._async_read())
            return
        while True:
            before = self.data
            await self._async_use_link(self._async_hold())
            # One that was never made, or died at once, is not to be hurried
            if self.data is before or self.history[-1].duration < _LASTING:
                return

    async def _async_read(self) -> None:
        async with self._turns.turn(self.address):
            if self._is_logbook_due:
                await self._async_look_into_logbook()
            else:
                self._async_publish(await self.client.read())

    async def _async_hold(self) -> None:
        if not self.last_poll_successful:
            # What is said to be lost shall not wait for its interval.
            self.client.publish_next()
        async with self._turns.turn(self.address):
            await self.client.hold(
                self._async_publish_held,
                interval=self.interval.total_seconds(),
                since=self.data.time if self.data else -inf,
            )

    @callback
    def _async_publish_held(self, reading: Reading) -> None:
        """Make a reading the current one; its link serves for the logbook as well."""
        self._async_publish(reading)
        if self._is_logbook_due:
            self._async_postpone_logbook(_LOGBOOK_INTERVAL)
            self.config_entry.async_create_background_task(
                self.hass,
                self._async_look_into_logbook(),
                f"{DOMAIN} logbook {self.address}",
            )

    @property
    def _is_logbook_due(self) -> bool:
        return bool(self._tell_logbook) and (
            monotonic_time_coarse() >= self._logbook_due
        )

    @callback
    def _async_postpone_logbook(self, seconds: float) -> None:
        due = monotonic_time_coarse() + seconds
        self._logbook_due = max(self._logbook_due, due)

    async def _async_look_into_logbook(self) -> None:
        """Read the logbook for the one who follows it; no reading is lost by that."""
        before = self.data

        @callback
        def publish(reading: Reading) -> None:
            self._async_postpone_logbook(_LOGBOOK_INTERVAL)
            self._async_publish(reading)

        try:
            log = await self.client.read_logbook(publish)
        except JkBmsError as error:
            if isinstance(error, LogUnansweredError) and not self._has_logbook:
                self._async_postpone_logbook(_LOGBOOK_RETRY)
            # A held link notices by itself that it is lost.
            if self.data is before and not self.holds:
                raise
            _LOGGER.debug("%s: no logbook: %s", self.config_entry.title, error)
            return
        self._has_logbook = True
        if self._tell_logbook:
            self._tell_logbook(self._date_logbook(log))

    def _date_logbook(self, log: Log[LogEntry]) -> tuple[Dated[LogEntry], ...]:
        reading = log.reading
        ran = run_time(reading.layout, reading.device_info, reading.cell_data)
        return date_logbook(
            log.entries, run_time=self._by_now(reading, ran), now=dt_util.now()
        )

    def _by_now(self, reading: Reading, seconds: int | None) -> float | None:
        """Return what a counter of seconds, read then, shows now."""
        if seconds is None:
            return None
        return seconds + self.hass.loop.time() - reading.time

    async def _async_read_log[LogT](
        self, read: Callable[[Publish], Awaitable[LogT]]
    ) -> LogT:
        self._async_require_link()
        # Else a read that is due meanwhile would wait for its turn in vain.
        self._async_postpone_logbook(_LOGBOOK_INTERVAL)
        try:
            async with self._turns.turn(self.address):
                return await read(self._async_publish)
        except LogUnansweredError as error:
            raise HomeAssistantError(
                translation_domain=DOMAIN, translation_key="log_unanswered"
            ) from error
        except JkBmsError as error:
            # It may have been switched off meanwhile.
            self._async_require_link()
            trouble = self._async_diagnose(error)
            raise HomeAssistantError(
                translation_domain=DOMAIN,
                translation_key=trouble.key,
                translation_placeholders=trouble.placeholders,
            ) from error

    async def _async_use_link(self, use: Awaitable[None]) -> None:
        """Do it and note what came of it; a failure is told when the values age."""
        title = self.config_entry.title
        begin = self._last_poll = monotonic_time_coarse()
        started = dt_util.utcnow()
        frames = self.client.statistics.good
        heard = bluetooth.async_last_service_info(self.hass, self.address)
        if heard:
            self.last_source = heard.source

        def attempt(outcome: str) -> Attempt:
            return Attempt(
                started=started,
                duration=round(monotonic_time_coarse() - begin, 1),
                outcome=outcome,
                frames=self.client.statistics.good - frames,
                path=heard.source if heard else None,
                rssi=heard.rssi if heard else None,
            )

        self._under_way = attempt
        outcome = "read"
        try:
            await use
        except JkBmsError as error:
            outcome = f"{type(error).__name__}: {error}"
            _LOGGER.debug("%s was not read: %s", title, error)
            self._async_note_failure(error)
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except Exception as error:
            outcome = repr(error)
            if self.last_poll_successful:
                _LOGGER.exception("%s: unexpected error while reading", title)
            self.last_exception = error
            self.last_poll_successful = False
        finally:
            self._under_way = None
            self.history.append(attempt(outcome))

    @callback
    def _async_diagnose(self, error: JkBmsError) -> Trouble:
        return async_diagnose(
            self.hass,
            self.address,
            error,
            entry=self.config_entry,
            last_source=self.last_source,
        )

    @callback
    def _async_note_failure(self, error: JkBmsError) -> None:
        """Put an error of the library into words, for whoever asks."""
        if isinstance(error, UnsupportedLayoutError) and error.device_info:
            self._async_update_device(error.device_info)
        trouble = self._async_diagnose(error)
        self.last_poll_successful = False
        self.last_exception = ConfigEntryNotReady(
            translation_domain=DOMAIN,
            translation_key=trouble.key,
            translation_placeholders=trouble.placeholders,
        )
        async_note_trouble(self.hass, self.config_entry, trouble)
        # The sensors about the link have something to say.
        self.async_update_listeners()

    @callback
    def _async_publish(self, reading: Reading) -> None:
        """Make a reading the current one."""
        if not reading.settings and self.data:
            reading = replace(reading, settings=self.data.settings)
        if self._told_lost:
            _LOGGER.info("%s is available again", self.config_entry.title)
            self._told_lost = False
        self.data = reading
        self.last_update = dt_util.utcnow()
        self.last_exception = None
        self.last_poll_successful = True
        self._fresh = True
        self._async_run_in(self.max_age, self._async_outdated)
        self._async_update_device(reading.device_info)
        async_clear_trouble(self.hass, self.config_entry)
        self.async_update_listeners()

    @callback
    def _async_outdated(self, _now: datetime) -> None:
        """Take the values back when they are too old to be believed."""
        self._fresh = False
        if self.resumes_at:
            self._async_tell_lost(logging.INFO, _RELEASED)
        else:
            self._async_tell_lost(logging.WARNING, self.last_exception)
        self.async_update_listeners()

    @callback
    def _async_tell_lost(self, level: int, reason: object) -> None:
        """Log that the values are gone, until they are back."""
        self._told_lost = True
        _LOGGER.log(level, "%s is unavailable: %s", self.config_entry.title, reason)

    @callback
    def _async_update_device(self, info: DeviceInfo) -> None:
        """Keep the device registry in step, also when the firmware is updated."""
        self.device_info = info
        dr.async_get(self.hass).async_get_or_create(
            config_entry_id=self.config_entry.entry_id,
            connections={(dr.CONNECTION_BLUETOOTH, self.address)},
            name=self.config_entry.title,
            manufacturer=MANUFACTURER,
            model=info.device_model,
            hw_version=info.hardware_version,
            sw_version=info.software_version,
            serial_number=info.serial_number,
        )
