"""Where Home Assistant meets the library: when to read, and what an error means."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
import logging
from math import inf
from typing import Final, override

from bleak.backends.device import BLEDevice
from bleak_retry_connector import close_stale_connections_by_address
from bluetooth_data_tools import monotonic_time_coarse

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import (
    BluetoothChange,
    BluetoothReachabilityIntent,
    BluetoothScanningMode,
    BluetoothServiceInfoBleak,
)
from homeassistant.components.bluetooth.active_update_coordinator import (
    ActiveBluetoothDataUpdateCoordinator,
)
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import CALLBACK_TYPE, Event, HomeAssistant, callback
from homeassistant.exceptions import ConfigEntryNotReady
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.event import async_call_later

from .const import DOMAIN, MANUFACTURER, MAX_DATA_AGE, UPDATE_INTERVAL
from .jkbms.client import JkBmsClient, Reading
from .jkbms.errors import (
    ImplausibleFrameError,
    JkBmsError,
    NoFreeSlotError,
    NotJkBmsError,
    NotReachableError,
    PairingRequiredError,
    SilentError,
    UnsupportedLayoutError,
)

_LOGGER = logging.getLogger(__name__)

type JkBmsConfigEntry = ConfigEntry[JkBmsCoordinator]

ERROR_KEYS: Final[dict[type[JkBmsError], str]] = {
    ImplausibleFrameError: "implausible",
    NoFreeSlotError: "no_free_slot",
    NotJkBmsError: "not_jk_bms",
    NotReachableError: "not_reachable",
    PairingRequiredError: "pairing_required",
    SilentError: "silent",
    UnsupportedLayoutError: "unsupported_layout",
}
"""The sentence for each way a read fails: `exceptions` and `config.error` alike."""


@callback
def async_find_device(hass: HomeAssistant, address: str) -> BLEDevice | None:
    """Return the best path to a battery, `None` if there is no way to connect to it."""
    # The last path is remembered for minutes after the proxy is gone. Trying it would
    # take all the time there is, to end in "no free connection slot".
    if not bluetooth.async_scanner_devices_by_address(hass, address, connectable=True):
        return None
    return bluetooth.async_ble_device_from_address(hass, address, connectable=True)


@callback
def async_create_client(hass: HomeAssistant, address: str, name: str) -> JkBmsClient:
    """Make the client for a battery; it asks for the best path at every attempt."""
    return JkBmsClient(partial(async_find_device, hass, address), name=name)


@callback
def async_error_placeholders(
    hass: HomeAssistant, address: str, error: JkBmsError
) -> dict[str, str]:
    """Collect the facts for the sentences of `ERROR_KEYS`."""
    info = error.device_info if isinstance(error, UnsupportedLayoutError) else None
    reachability = bluetooth.async_address_reachability_diagnostics(
        hass, address, BluetoothReachabilityIntent.CONNECTION
    )
    return {
        "address": address,
        "reason": f"{error}. {reachability}",
        "model": info.device_model if info else "?",
        "firmware": info.software_version if info else "?",
    }


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
        self.client = async_create_client(hass, self.address, config_entry.title)
        self.last_exception: Exception | None = None
        self._fresh = False
        self._poll_task: asyncio.Task[None] | None = None
        self._last_heard = -inf
        self._timers: dict[Callable[[datetime], None], CALLBACK_TYPE] = {}

    @property
    @override
    def available(self) -> bool:
        """Whether the values are young enough; advertisements have no say.

        A battery is silent while anyone is connected to it, us included.
        """
        return self._fresh

    async def async_first_refresh(self) -> None:
        """Read the battery before the platforms ask for its values."""
        # A crashed Home Assistant may have left the local adapter connected.
        await close_stale_connections_by_address(self.address)
        self._last_poll = monotonic_time_coarse()
        try:
            reading = await self.client.read()
        except JkBmsError as error:
            raise self._async_translated(error) from error
        self._async_publish(reading)

    async def async_shutdown(self, _event: Event | None = None) -> None:
        """Let go of the battery: no timer, no callback, no link."""
        self._async_stop()
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
        self._async_run_in(UPDATE_INTERVAL, self._async_start_poll)

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
        interval = UPDATE_INTERVAL.total_seconds()
        silence = service_info.time - self._last_heard
        return (
            seconds_since_last_poll is None
            or seconds_since_last_poll >= interval
            or (not self.last_poll_successful and silence >= interval)
        )

    @callback
    def _async_start_poll(self, _now: datetime | None = None) -> None:
        """Start a read unless one is under way, and the wait for the next."""
        self._async_run_in(UPDATE_INTERVAL, self._async_start_poll)
        if self._poll_task and not self._poll_task.done():
            return
        self._last_poll = monotonic_time_coarse()
        self._poll_task = self.config_entry.async_create_background_task(
            self.hass,
            self._async_poll(),
            f"{DOMAIN} read {self.address}",
            # Not within the callback: Bluetooth has yet to note this advertisement,
            # so a battery that comes back would have no path to it.
            eager_start=False,
        )

    @override
    async def _async_poll(self) -> None:
        """Read the battery once; a failure is told when the values get too old."""
        title = self.config_entry.title
        try:
            reading = await self.client.read()
        except JkBmsError as error:
            _LOGGER.debug("%s was not read: %s", title, error)
            self.last_exception = self._async_translated(error)
            self.last_poll_successful = False
        except Exception as error:
            if self.last_poll_successful:
                _LOGGER.exception("%s: unexpected error while reading", title)
            self.last_exception = error
            self.last_poll_successful = False
        else:
            if not self._fresh:
                _LOGGER.info("%s is available again", title)
            self.last_exception = None
            self.last_poll_successful = True
            self._async_publish(
                replace(reading, settings=reading.settings or self.data.settings)
            )

    @callback
    def _async_translated(self, error: JkBmsError) -> ConfigEntryNotReady:
        """Put an error of the library into words."""
        return ConfigEntryNotReady(
            translation_domain=DOMAIN,
            translation_key=ERROR_KEYS[type(error)],
            translation_placeholders=async_error_placeholders(
                self.hass, self.address, error
            ),
        )

    @callback
    def _async_publish(self, reading: Reading) -> None:
        """Make a reading the current one."""
        self.data = reading
        self._fresh = True
        self._async_run_in(MAX_DATA_AGE, self._async_outdated)
        self._async_update_device()
        self.async_update_listeners()

    @callback
    def _async_outdated(self, _now: datetime) -> None:
        """Take the values back when they are too old to be believed."""
        self._fresh = False
        _LOGGER.warning(
            "%s is unavailable: %s", self.config_entry.title, self.last_exception
        )
        self.async_update_listeners()

    @callback
    def _async_update_device(self) -> None:
        """Keep the device registry in step, also when the firmware is updated."""
        info = self.data.device_info
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
