"""Why a battery cannot be read: the sentence for the user, and a repairs issue if it lasts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bluetooth_data_tools import monotonic_time_coarse
from habluetooth import get_manager

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import (
    BluetoothReachabilityIntent,
    BluetoothServiceInfoBleak,
)
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, issue_registry as ir
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
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
from .jkbms.protocol.profile import parse_firmware

if TYPE_CHECKING:
    from .coordinator import JkBmsConfigEntry

LASTS: Final = 300.0
"""s of nothing but failures until an issue is raised."""
_FAILURES: Final = 3
"""As many at least, however far they are apart."""
_WEAK: Final = -90
"""dBm at or below which a connection hardly ever comes about."""
_PAIRING_FIRMWARE: Final = 19.30
"""First firmware that may demand a pairing code, by keeping silent without one."""

NOBODY: Final = "?"
"""Where nobody is known to hold a connection."""
ERROR_KEYS: Final[dict[type[JkBmsError], str]] = {
    ImplausibleFrameError: "implausible",
    NoFreeSlotError: "no_free_slot",
    NotJkBmsError: "not_jk_bms",
    NotReachableError: "not_reachable",
    PairingRequiredError: "pairing_required",
    SilentError: "silent",
    UnsupportedLayoutError: "unsupported_layout",
}
"""The sentence for each way a read fails, which `async_diagnose` may refine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One sentence: `config.error`, `exceptions` and `issues` have it alike."""

    key: str
    placeholders: dict[str, str]


@dataclass(slots=True)
class _Streak:
    """Failures in a row."""

    since: float
    end_watch: CALLBACK_TYPE
    count: int = 0
    issue: str | None = None
    """The one that was raised for them."""


_STREAKS: HassKey[dict[str, _Streak]] = HassKey(DOMAIN)
"""By entry; an entry that cannot be set up has no other memory."""


@callback
def async_diagnose(
    hass: HomeAssistant,
    address: str,
    error: JkBmsError,
    *,
    entry: JkBmsConfigEntry | None = None,
    last_source: str | None = None,
) -> Trouble:
    """Find the sentence that tells the user best why the battery was not read.

    It helps to know the battery and the scanner that heard it last.
    """
    model, firmware = _identity(hass, address, error, entry)
    reachability = bluetooth.async_address_reachability_diagnostics(
        hass, address, BluetoothReachabilityIntent.CONNECTION
    )
    heard = bluetooth.async_last_service_info(hass, address, connectable=True)
    if isinstance(error, NotReachableError):
        key = _why_not_reachable(hass, address, heard, last_source)
    elif isinstance(error, SilentError) and _may_demand_pairing(firmware):
        key = "pairing_required"
    elif isinstance(error, NotJkBmsError) and model:
        # It was one before, so what it says now is disturbed.
        key = "implausible"
    else:
        key = ERROR_KEYS[type(error)]
    return Trouble(
        key=key,
        placeholders={
            "address": address,
            # Who is out of slots has said the rest already.
            "reason": str(error)
            if isinstance(error, NoFreeSlotError)
            else f"{error}. {reachability}",
            "holders": ", ".join(_holders(hass, address)) or NOBODY,
            "rssi": str(heard.rssi) if heard else "?",
            "model": model or "?",
            "firmware": firmware or "?",
        },
    )


@callback
def async_note_trouble(
    hass: HomeAssistant, entry: JkBmsConfigEntry, trouble: Trouble
) -> None:
    """Raise an issue if the battery has not been read for long."""

    @callback
    def watch() -> None:
        # An entry that waits to be set up is not unloaded when it is disabled.
        if entry.disabled_by:
            async_clear_trouble(hass, entry)

    now = monotonic_time_coarse()
    streaks = hass.data.setdefault(_STREAKS, {})
    if not (streak := streaks.get(entry.entry_id)):
        streak = _Streak(since=now, end_watch=entry.async_on_state_change(watch))
        streaks[entry.entry_id] = streak
    streak.count += 1
    if streak.count < _FAILURES or now - streak.since < LASTS:
        return
    if streak.issue and streak.issue != trouble.key:
        ir.async_delete_issue(hass, DOMAIN, _issue_id(entry, streak.issue))
    streak.issue = trouble.key
    ir.async_create_issue(
        hass,
        DOMAIN,
        _issue_id(entry, trouble.key),
        is_fixable=False,
        severity=ir.IssueSeverity.WARNING,
        translation_key=trouble.key,
        translation_placeholders={"name": entry.title} | trouble.placeholders,
    )


@callback
def async_clear_trouble(hass: HomeAssistant, entry: JkBmsConfigEntry) -> None:
    """Take the issue back: the battery was read, or nobody wants it read."""
    if streak := hass.data.get(_STREAKS, {}).pop(entry.entry_id, None):
        streak.end_watch()
        if streak.issue:
            ir.async_delete_issue(hass, DOMAIN, _issue_id(entry, streak.issue))


def _identity(
    hass: HomeAssistant,
    address: str,
    error: JkBmsError,
    entry: JkBmsConfigEntry | None,
) -> tuple[str | None, str | None]:
    """Return model and firmware of a battery that has ever told them."""
    if isinstance(error, UnsupportedLayoutError) and (info := error.device_info):
        return info.device_model, info.software_version
    device = entry and dr.async_get(hass).async_get_device_by_connection(
        (dr.CONNECTION_BLUETOOTH, address), entry.entry_id
    )
    return (device.model, device.sw_version) if device else (None, None)


def _why_not_reachable(
    hass: HomeAssistant,
    address: str,
    heard: BluetoothServiceInfoBleak | None,
    last_source: str | None,
) -> str:
    if heard and heard.rssi <= _WEAK:
        return "weak_signal"
    if bluetooth.async_scanner_devices_by_address(hass, address, connectable=True):
        return "not_reachable"
    if bluetooth.async_scanner_devices_by_address(hass, address, connectable=False):
        return "not_heard"
    # It falls silent while a client is connected. One that was well heard by a scanner
    # which is still there has rather been taken than carried away.
    source = heard.source if heard else last_source
    if source and bluetooth.async_scanner_by_source(hass, source):
        return "other_client"
    return "not_heard"


def _may_demand_pairing(firmware: str | None) -> bool:
    try:
        return bool(firmware and parse_firmware(firmware) >= _PAIRING_FIRMWARE)
    except UnsupportedLayoutError:
        return False


def _holders(hass: HomeAssistant, address: str) -> list[str]:
    """Name the devices that hold the connection slots of those who hear the battery."""
    found = bluetooth.async_scanner_devices_by_address(hass, address, connectable=True)
    return [
        _name(hass, holder)
        for device in found
        for allocation in get_manager().async_current_allocations(device.scanner.source)
        or ()
        for holder in allocation.allocated
    ]


def _name(hass: HomeAssistant, address: str) -> str:
    info = bluetooth.async_last_service_info(hass, address, connectable=False)
    return f"{info.name} ({address})" if info else address


def _issue_id(entry: JkBmsConfigEntry, key: str) -> str:
    return f"{entry.entry_id}_{key}"
