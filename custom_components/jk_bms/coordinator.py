"""Decides when to read a battery, what to publish and how long it stays valid."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
import logging
from math import inf
from typing import override

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
from homeassistant.core import CALLBACK_TYPE, CoreState, Event, HomeAssistant, callback
from homeassistant.exceptions import (
    ConfigEntryNotReady,
    HomeAssistantError,
    ServiceValidationError,
)
from homeassistant.util import dt as dt_util

from .attempts import AttemptRecord
from .battery_client import async_create_client, async_take_over
from .battery_logs import BatteryLogs, Publish
from .battery_memory import async_get_memory
from .bonds import CONF_ADAPTER
from .connection_slots import async_get_connection_slots
from .const import DOMAIN, MIN_LINK_LIFETIME
from .device import BatteryDevice
from .diagnosis import Diagnosis, async_diagnose, translated_error
from .energy import LiveSamples
from .jkbms.bluetooth.client import READ_DEADLINE
from .jkbms.errors import JkBmsError, UnsupportedLayoutError
from .jkbms.models import DeviceInfo, LiveSample, Reading
from .jkbms.outage import Outage
from .options import JkBmsOptions
from .poll_schedule import PollSchedule
from .timers import Timers

_LOGGER = logging.getLogger(__name__)

type JkBmsConfigEntry = ConfigEntry[JkBmsCoordinator]


class JkBmsCoordinator(ActiveBluetoothDataUpdateCoordinator[Reading]):
    """Reads one battery at an interval, and at once when it is back in range."""

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
        self.options = JkBmsOptions.parse(config_entry.options)
        self._first_read = async_take_over(hass, self.address)
        if self._first_read:
            self.client = self._first_read.client
            self.client.name = config_entry.title
        else:
            adapter = config_entry.data.get(CONF_ADAPTER)
            self.client = async_create_client(
                hass, self.address, config_entry.title, adapter
            )
        self.live = LiveSamples()
        """Every good frame of a held link, else every reading; also samples without power."""
        self.logs = BatteryLogs(self.client, config_entry.title)
        self.attempts = AttemptRecord(hass, self.address, self.client.statistics)
        self.device_info: DeviceInfo | None = None
        self.last_update: datetime | None = None
        self.last_exception: ConfigEntryNotReady | None = None
        """Why the last attempt failed, `None` if it did not."""
        self.diagnosis: Diagnosis | None = None
        """Diagnosis of the last failure, if the library raised it. Each failure makes a new
        object, so listeners compare by identity."""
        self.is_shut_down = False
        """Whether the entry was unloaded, or Home Assistant stops."""
        self.resumes_at: datetime | None = None
        """When a link that was turned off is used again, `None` while it is on."""
        self._memory = async_get_memory(hass, config_entry.entry_id)
        self._device = BatteryDevice(hass, config_entry)
        self._slots = async_get_connection_slots(hass)
        self._outage = Outage()
        self._is_fresh = False
        self._is_read_pending = False
        """Whether the entry was set up before the first reading."""
        self._poll_task: asyncio.Task[None] | None = None
        self._schedule = PollSchedule(self.options)
        self._unsubscribe: list[CALLBACK_TYPE] = []
        self._timers = Timers(hass)

    @property
    @override
    def available(self) -> bool:
        """Whether the values are recent enough, whatever advertisements say.

        A battery stops advertising while a client is connected, this one included.
        """
        return self._is_fresh

    @property
    def rssi(self) -> int | None:
        """The signal strength of the last advertisement in dBm."""
        seen = bluetooth.async_last_service_info(self.hass, self.address)
        return seen.rssi if seen else None

    async def async_first_refresh(self) -> None:
        """Read the battery before the platforms need its values.

        While Home Assistant starts, a battery that was set up before is read afterwards:
        the start must not wait for batteries. The reading of the dialog that added the
        battery is the first one.

        If the layout of its values is unsupported, setup continues without them, so that
        the diagnostics can be downloaded; likewise if the link was turned off. Raises
        `ConfigEntryNotReady` for any other failure.
        """
        remaining = self._memory.resumes_at - self.hass.loop.time()
        if remaining > 0:
            self._async_pause(timedelta(seconds=remaining))
            self._async_log_lost()
            return
        if self._async_publish_first_read():
            return
        if self.hass.state is not CoreState.running and (info := self._device.known):
            self._async_set_up_from(info)
            return
        await self._async_use_link(self._async_read_first())
        if self.last_exception:
            if not self.device_info:
                raise self.last_exception
            self._async_log_lost()

    @callback
    def _async_publish_first_read(self) -> bool:
        """Publish what the dialog has read; return whether it is still valid."""
        first, self._first_read = self._first_read, None
        if not first:
            return False
        age = self._age(first.reading)
        if age >= self.options.max_age:
            return False
        self._schedule.polled_at = monotonic_time_coarse() - age.total_seconds()
        self._async_publish(first.reading)
        return True

    def _age(self, reading: Reading) -> timedelta:
        return timedelta(seconds=self.hass.loop.time() - reading.time)

    @callback
    def _async_set_up_from(self, info: DeviceInfo) -> None:
        """Create the entities without values; the first reading fills them.

        Only entities in the registry are created: an empty reading has no values.
        """
        self.device_info = info
        self.data = Reading.without_values(info, self.hass.loop.time())
        self._is_read_pending = True
        # `_async_expire` logs the reason if no reading has arrived by then.
        self._timers.async_set(self.options.max_age, self._async_expire)

    async def _async_read_first(self) -> None:
        # A Home Assistant that crashed may have left the local adapter connected.
        await close_stale_connections_by_address(self.address)
        await self._async_read()

    async def async_refresh(self) -> None:
        """Read the battery now. Raises a `HomeAssistantError` that gives the reason."""
        self._async_require_link()
        before, published = self.data, asyncio.Event()

        @callback
        def notice_reading() -> None:
            if self.data is not before:
                published.set()

        remove_listener = self.async_add_listener(notice_reading)
        self.client.publish_next()
        self._async_start_poll()
        assert self._poll_task
        wait = asyncio.create_task(published.wait())
        try:
            await asyncio.wait(
                {self._poll_task, wait},
                timeout=READ_DEADLINE,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            wait.cancel()
            remove_listener()
        if self.data is not before:
            return
        self._async_require_link()
        error = self.last_exception
        raise translated_error(
            HomeAssistantError,
            (error and error.translation_key) or "not_refreshed",
            error.translation_placeholders if error else None,
        )

    async def async_release_link(self) -> None:
        """Disconnect and stay disconnected for the pause of the options."""
        pause = self.options.pause
        self._memory.resumes_at = self.hass.loop.time() + pause.total_seconds()
        self._async_pause(pause)
        self.diagnosis = None
        self.async_update_listeners()
        await self._async_disconnect()

    @callback
    def async_resume_link(self) -> None:
        """End the pause."""
        if self.resumes_at:
            self._timers.async_cancel(self._async_resume)
            self._async_resume()

    @callback
    @override
    def async_start(self) -> CALLBACK_TYPE:
        """Subscribe to every advertisement and start the poll timer, which needs none."""
        self._unsubscribe += (
            super().async_start(),
            bluetooth.async_register_advertisement_callback(
                self.hass, self._async_handle_bluetooth_event, self.address
            ),
        )
        if self.options.is_link_held or self._is_read_pending:
            self._async_start_poll()
        else:
            self._timers.async_set(self.options.interval, self._async_start_poll)
        return self._async_cancel_callbacks

    async def async_shutdown(self, _event: Event | None = None) -> None:
        """Cancel all callbacks and timers, and disconnect."""
        self.is_shut_down = True
        self._async_cancel_callbacks()
        await self._async_disconnect()

    @callback
    def _async_cancel_callbacks(self) -> None:
        self._timers.async_cancel_all()
        while self._unsubscribe:
            self._unsubscribe.pop()()

    async def _async_disconnect(self) -> None:
        """Cancel every use of the link and every wait for it, and disconnect."""
        if self._poll_task:
            self._poll_task.cancel()
        self._slots.async_cancel(self.address)
        await self.client.disconnect()

    @callback
    @override
    def _async_handle_unavailable(
        self, service_info: BluetoothServiceInfoBleak
    ) -> None:
        """Do nothing: a battery stops advertising while a client is connected."""

    @callback
    @override
    def _async_handle_bluetooth_event(
        self,
        service_info: BluetoothServiceInfoBleak,
        change: BluetoothChange = BluetoothChange.ADVERTISEMENT,
    ) -> None:
        """Read the battery if this advertisement makes a read due.

        The base class would derive availability from advertisements, and delay the next
        read by a cool-down.
        """
        if not service_info.connectable:
            return
        if self.needs_poll(service_info):
            self._async_start_poll()
        self._schedule.seen_at = service_info.time

    @callback
    def _needs_poll(
        self, service_info: BluetoothServiceInfoBleak, _base_poll_age: float | None
    ) -> bool:
        """Return whether to read now.

        The base class passes the age of its own polls, of which there are none.
        """
        return self._schedule.is_due(
            service_info.time, failed=not self.last_poll_successful
        )

    @callback
    def _async_start_poll(self, _now: datetime | None = None) -> None:
        """Start a read unless one is in progress, and the timer for the next."""
        if self.resumes_at:
            return
        self._timers.async_set(self._schedule.interval, self._async_start_poll)
        if self._poll_task and not self._poll_task.done():
            return
        self._poll_task = self.config_entry.async_create_background_task(
            self.hass,
            self._async_poll(),
            f"{DOMAIN} read {self.address}",
            # Not eagerly: this may run in the callback for an advertisement that the
            # Bluetooth manager has not stored yet. A battery that is back in range
            # would have no path then.
            eager_start=False,
        )

    @callback
    def _async_pause(self, pause: timedelta) -> None:
        self.resumes_at = dt_util.utcnow() + pause
        self._timers.async_set(pause, self._async_resume)

    @callback
    def _async_resume(self, _now: datetime | None = None) -> None:
        """Use the link again, and read at once: settings may have been changed."""
        self.resumes_at = None
        self._memory.resumes_at = -inf
        self.client.publish_next()
        self.async_update_listeners()
        self._async_start_poll()

    @override
    async def _async_poll(self) -> None:
        """Use the link once, or re-establish it as long as that works."""
        is_first, self._is_read_pending = self._is_read_pending, False
        if is_first:
            await self._async_use_link(self._async_read_first())
        elif not self.options.is_link_held:
            await self._async_use_link(self._async_read())
        if not self.options.is_link_held:
            return
        while True:
            before = self.data
            await self._async_use_link(self._async_hold())
            if self.data is before or self.attempts.last.duration < MIN_LINK_LIFETIME:
                # The timer or an advertisement starts the next attempt.
                return

    async def _async_read(self) -> None:
        async with self._slots.slot(self.address):
            if self.logs.is_logbook_due:
                await self.logs.async_update_listener(self._async_publish)
            else:
                self._async_publish(await self.client.read())

    async def _async_hold(self) -> None:
        if not self.last_poll_successful:
            # Entities may be unavailable: do not wait for the interval.
            self.client.publish_next()
        async with self._slots.slot(self.address):
            await self.client.hold(
                self._async_publish_held,
                on_live=self.live.feed,
                interval=self.options.interval.total_seconds(),
                since=self.data.time if self.last_update else -inf,
            )

    @callback
    def _async_publish_held(self, reading: Reading) -> None:
        """Publish a reading, and read the logbook on the same link if it is due."""
        self._async_publish(reading)
        if self.logs.is_logbook_due:
            self.logs.async_postpone_logbook()
            self.config_entry.async_create_background_task(
                self.hass,
                self.logs.async_update_listener_held(self._async_publish),
                f"{DOMAIN} logbook {self.address}",
            )

    async def async_use_now[ResultT](
        self, use: Callable[[Publish], Awaitable[ResultT]]
    ) -> ResultT:
        """Use the link for a request of the user. Raises a `HomeAssistantError`."""
        self._async_require_link()
        # A read that becomes due would otherwise wait for this one until it times out.
        self.logs.async_postpone_logbook()
        try:
            async with self._slots.slot(self.address):
                return await use(self._async_publish)
        except JkBmsError as error:
            # The link may have been turned off in the meantime.
            self._async_require_link()
            diagnosis = self._async_diagnose(error)
            raise translated_error(
                HomeAssistantError, diagnosis.key, diagnosis.placeholders
            ) from error

    @callback
    def _async_require_link(self) -> None:
        if self.resumes_at:
            raise translated_error(ServiceValidationError, "link_released")

    async def _async_use_link(self, use: Awaitable[None]) -> None:
        """Run one use of the link and record it.

        A failure is logged once the data are stale, an unexpected one at once.
        """
        self._schedule.polled_at = monotonic_time_coarse()
        try:
            with self.attempts.record():
                await use
        except JkBmsError as error:
            _LOGGER.debug("%s was not read: %s", self.config_entry.title, error)
            self._async_handle_failure(error)
        except Exception:
            if self._memory.unexpected_errors.begin():
                _LOGGER.exception(
                    "%s: unexpected error while reading", self.config_entry.title
                )
            self._async_set_failed("unknown")

    @callback
    def _async_diagnose(self, error: JkBmsError) -> Diagnosis:
        return async_diagnose(
            self.hass,
            self.address,
            error,
            entry_id=self.config_entry.entry_id,
            last_seen=self.attempts.last_seen,
        )

    @callback
    def _async_handle_failure(self, error: JkBmsError) -> None:
        if isinstance(error, UnsupportedLayoutError) and error.device_info:
            self._async_update_device(error.device_info)
        self.diagnosis = self._async_diagnose(error)
        self._async_set_failed(self.diagnosis.key, self.diagnosis.placeholders)
        # The link sensors and the repairs issue depend on failures too.
        self.async_update_listeners()

    @callback
    def _async_set_failed(
        self, key: str, placeholders: dict[str, str] | None = None
    ) -> None:
        self.last_poll_successful = False
        self.last_exception = translated_error(ConfigEntryNotReady, key, placeholders)

    @callback
    def _async_publish(self, reading: Reading) -> None:
        """Make a reading the current one; it is valid as long as energy counts from it."""
        if not reading.settings and self.last_update:
            reading = replace(reading, settings=self.data.settings)
        age = self._age(reading)
        self._is_fresh = age < self.options.max_age
        if self._is_fresh:
            self._timers.async_set(self.options.max_age - age, self._async_expire)
            if self._outage.end():
                _LOGGER.info("%s is available again", self.config_entry.title)
        self._memory.unexpected_errors.end()
        self.data = reading
        self.last_update = dt_util.utcnow() - age
        self.last_exception = self.diagnosis = None
        self.last_poll_successful = True
        self._async_update_device(reading.device_info)
        sample = LiveSample.of(reading)
        # On a held link the frames are fed one by one, except those without power.
        if not self.options.is_link_held or sample.power is None:
            self.live.feed(sample)
        self.async_update_listeners()

    @callback
    def _async_expire(self, _now: datetime) -> None:
        """Make the values unavailable, because they are too old."""
        self._is_fresh = False
        self._async_log_lost()
        self.async_update_listeners()

    @callback
    def _async_log_lost(self) -> None:
        if self._outage.begin():
            _LOGGER.info(
                "%s is unavailable: %s",
                self.config_entry.title,
                "the Bluetooth link is turned off"
                if self.resumes_at
                else self.last_exception or "it was not read in time",
            )

    @callback
    def _async_update_device(self, info: DeviceInfo) -> None:
        self.device_info = info
        self._device.async_update(info)
