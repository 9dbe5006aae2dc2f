"""Timers of one battery, one for each action; setting one again restarts it."""

from collections.abc import Callable
from datetime import datetime, timedelta

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.event import async_call_later

type TimedAction = Callable[[datetime], None]


class Timers:
    """Runs actions later, until they are cancelled."""

    def __init__(self, hass: HomeAssistant) -> None:
        """No timer is set yet."""
        self._hass = hass
        self._cancel: dict[TimedAction, CALLBACK_TYPE] = {}

    @callback
    def async_set(self, delay: timedelta, action: TimedAction) -> None:
        """Run the action once, `delay` from now; this replaces an earlier time."""
        self.async_cancel(action)
        self._cancel[action] = async_call_later(self._hass, delay, action)

    @callback
    def async_cancel(self, action: TimedAction) -> None:
        """Cancel the timer of the action, if there is one."""
        if cancel := self._cancel.pop(action, None):
            cancel()

    @callback
    def async_cancel_all(self) -> None:
        """Cancel all timers."""
        while self._cancel:
            self._cancel.popitem()[1]()
