"""What can be wrong with a battery of the demo, chosen at the start or while it runs."""

from collections.abc import Callable, Iterable
from typing import Final

from homeassistant.components.input_select import DOMAIN as INPUT_SELECT_DOMAIN
from homeassistant.const import ATTR_ENTITY_ID, ATTR_OPTION, SERVICE_SELECT_OPTION
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.helpers.event import async_track_state_change_event
from tests.virtual_bms import VirtualBms
from tests.virtual_bms.faults import Faults
from tests.virtual_bms.scanner import VirtualProxy

NONE: Final = "none"
SWITCH: Final = "input_select.demo_fault"
_WEAK: Final = -97
"""dBm at which no connection succeeds."""

type Fault = Callable[[VirtualBms, VirtualProxy], None]


def _alarm(bms: VirtualBms, _proxy: VirtualProxy) -> None:
    """Stop charging because it is too hot."""
    bms.battery.override(alarms=1 << 8, charging=False)


def _silent(bms: VirtualBms, _proxy: VirtualProxy) -> None:
    """Accept connections and send nothing."""
    bms.faults = Faults(silent=True)


def _busy(bms: VirtualBms, proxy: VirtualProxy) -> None:
    """Do what a battery does while a phone is connected: stop advertising."""
    proxy.remove(bms)


def _weak(bms: VirtualBms, proxy: VirtualProxy) -> None:
    """Be too far away for a connection."""
    bms.faults = Faults(refuse_connection=True)
    bms.drop()
    proxy.place(bms, _WEAK)


def _wire_off(bms: VirtualBms, _proxy: VirtualProxy) -> None:
    """Have a bad wire to cell 2."""
    bms.battery.override(alarms=1, wire_alarm=0b10)


FAULTS: Final[dict[str, Fault]] = {
    "alarm": _alarm,
    "silent": _silent,
    "busy": _busy,
    "weak": _weak,
    "wire-off": _wire_off,
}


class FaultSwitch:
    """Gives the first battery the fault that the switch of the demo shows."""

    def __init__(
        self, batteries: list[VirtualBms], proxies: Iterable[VirtualProxy]
    ) -> None:
        """Remember how well the battery is received."""
        self._bms = batteries[0]
        self._proxy = next(p for p in proxies if self._bms.address in p.radio.reach)
        _, self._rssi = self._proxy.radio.reach[self._bms.address]

    async def async_start(self, hass: HomeAssistant, fault: str) -> None:
        """Follow the switch, and turn it to this fault."""
        async_track_state_change_event(hass, SWITCH, self._async_apply)
        await hass.services.async_call(
            INPUT_SELECT_DOMAIN,
            SERVICE_SELECT_OPTION,
            {ATTR_ENTITY_ID: SWITCH, ATTR_OPTION: fault},
        )

    @callback
    def _async_apply(self, event: Event[EventStateChangedData]) -> None:
        """End the last fault and begin the chosen one."""
        self._bms.battery.release()
        self._bms.faults = Faults()
        self._proxy.place(self._bms, self._rssi)
        state = event.data["new_state"]
        if state and (fault := FAULTS.get(state.state)):
            fault(self._bms, self._proxy)
