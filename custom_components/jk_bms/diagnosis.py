"""Turns an error of the library into the message that helps the user most."""

from dataclasses import dataclass
from typing import Final

from bluetooth_data_tools import monotonic_time_coarse
from habluetooth import get_manager

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import (
    BluetoothReachabilityIntent,
    BluetoothServiceInfoBleak,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr

from .bonds import CONF_ADAPTER, async_local_path
from .connection_paths import Path
from .const import DOMAIN
from .jkbms.errors import (
    ConnectionLostError,
    ImplausibleFrameError,
    JkBmsError,
    LogUnansweredError,
    NoFreeSlotError,
    NotJkBmsError,
    NotReachableError,
    PairingRequiredError,
    SilentError,
    UnsupportedLayoutError,
)
from .jkbms.text import printable

# The signal strength, in dBm, at or below which a failed connection is blamed on the
# signal. Advertisements still arrive at this level, but connections hardly ever succeed.
WEAK_SIGNAL: Final = -90

# In seconds. A battery advertises about once a second unless a client is connected.
SILENT_AFTER: Final = 10.0

PAIRING_POSSIBLE: Final = "pairing_possible"
"""The battery requires pairing, and an adapter that can do so is in range."""
UNKNOWN: Final = "?"
"""Placeholder text for an unknown value."""

ERROR_KEYS: Final[dict[type[JkBmsError], str]] = {
    ConnectionLostError: "connection_lost",
    ImplausibleFrameError: "implausible",
    NoFreeSlotError: "no_free_slot",
    NotJkBmsError: "not_jk_bms",
    NotReachableError: "not_reachable",
    PairingRequiredError: "pairing_required",
    SilentError: "silent",
    UnsupportedLayoutError: "unsupported_layout",
}
"""The message key for each kind of error; `async_diagnose` may refine it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One message, under the same key in `config.error`, `exceptions` and `issues`."""

    key: str
    placeholders: dict[str, str]


def translated_error[ErrorT: HomeAssistantError](
    error: type[ErrorT], key: str, placeholders: dict[str, str] | None = None
) -> ErrorT:
    """Create an error with the message of this key in `exceptions`."""
    return error(
        translation_domain=DOMAIN,
        translation_key=key,
        translation_placeholders=placeholders,
    )


@callback
def async_diagnose(
    hass: HomeAssistant,
    address: str,
    error: JkBmsError,
    *,
    entry_id: str | None = None,
    last_seen: Path | None = None,
) -> Diagnosis:
    """Choose the message that explains best why the battery was not read.

    The entry of a battery that was added gives its model and firmware; `last_seen` is
    the path of its last advertisement, which scanners forget after some minutes.
    """
    model, firmware = _identity(hass, address, error, entry_id)
    reachability = bluetooth.async_address_reachability_diagnostics(
        hass, address, BluetoothReachabilityIntent.CONNECTION
    )
    seen = bluetooth.async_last_service_info(hass, address, connectable=True)
    local_path = async_local_path(hass, address)
    adapter = _adapter(hass, entry_id)
    if adapter and _only_others_see(hass, address, adapter):
        key = PAIRING_POSSIBLE if local_path else "adapter_missing"
    elif isinstance(error, PairingRequiredError) and local_path:
        key = PAIRING_POSSIBLE
    elif isinstance(error, LogUnansweredError):
        key = "log_not_sent" if error.is_kept else "log_unanswered"
    elif isinstance(error, ConnectionLostError):
        key = "connection_lost"
    elif isinstance(error, NotReachableError):
        is_gone = error.is_missing and not _advertises(seen)
        key = _why_not_reachable(hass, address, seen, last_seen, is_gone=is_gone)
    elif isinstance(error, NotJkBmsError) and model:
        # It was a JK BMS before, so this time the data were disturbed.
        key = "implausible"
    else:
        key = ERROR_KEYS[type(error)]
    return Diagnosis(
        key=key,
        placeholders={
            "address": address,
            "adapter": adapter or UNKNOWN,
            # The error about slots includes the reachability already.
            "reason": str(error)
            if isinstance(error, NoFreeSlotError)
            else _sentences(str(error), reachability),
            "holders": ", ".join(_slot_holders(hass, address)) or UNKNOWN,
            "rssi": str(seen.rssi) if seen else UNKNOWN,
            "model": model or UNKNOWN,
            "firmware": firmware or UNKNOWN,
        },
    )


def _sentences(*texts: str) -> str:
    """Join texts as sentences, adding missing capitals and full stops."""
    return ". ".join(text[:1].upper() + text[1:].rstrip(". ") for text in texts)


def _identity(
    hass: HomeAssistant, address: str, error: JkBmsError, entry_id: str | None
) -> tuple[str | None, str | None]:
    """Return model and firmware, if the battery has ever reported them."""
    if isinstance(error, UnsupportedLayoutError) and (info := error.device_info):
        return info.device_model, info.software_version
    device = entry_id and dr.async_get(hass).async_get_device_by_connection(
        (dr.CONNECTION_BLUETOOTH, address), entry_id
    )
    return (device.model, device.sw_version) if device else (None, None)


def _adapter(hass: HomeAssistant, entry_id: str | None) -> str | None:
    """Return the adapter that the battery of the entry is paired with, if any."""
    entry = hass.config_entries.async_get_entry(entry_id) if entry_id else None
    return entry.data.get(CONF_ADAPTER) if entry else None


def _only_others_see(hass: HomeAssistant, address: str, adapter: str) -> bool:
    """Return whether the adapter is missing, or out of range while others are not."""
    if not bluetooth.async_scanner_by_source(hass, adapter):
        return True
    found = bluetooth.async_scanner_devices_by_address(hass, address, connectable=True)
    return bool(found) and all(device.scanner.source != adapter for device in found)


def _advertises(seen: BluetoothServiceInfoBleak | None) -> bool:
    """Return whether the battery has advertised lately."""
    return seen is not None and _is_recent(seen.time)


def _is_recent(time: float) -> bool:
    return monotonic_time_coarse() - time <= SILENT_AFTER


def _why_not_reachable(
    hass: HomeAssistant,
    address: str,
    seen: BluetoothServiceInfoBleak | None,
    last_seen: Path | None,
    *,
    is_gone: bool,
) -> str:
    if seen and seen.rssi <= WEAK_SIGNAL:
        return "weak_signal"
    # Scanners keep a device for minutes after its last advertisement.
    devices = bluetooth.async_scanner_devices_by_address(
        hass, address, connectable=False
    )
    if not is_gone and any(device.scanner.connectable for device in devices):
        return "not_reachable"
    if any(
        not device.scanner.connectable
        and _is_recent(device.scanner.discovered_device_timestamps[address])
        for device in devices
    ):
        return "not_in_range"
    # A battery stops advertising while a client is connected, when it is turned off and
    # when it moves away; only then does its signal fade before. While the scanner that saw
    # it last is still there, assume a client, which is the one that a user can disconnect.
    last = Path(seen.source, seen.rssi) if seen else last_seen
    if not last or (last.rssi or 0) <= WEAK_SIGNAL:
        return "not_in_range"
    is_there = bluetooth.async_scanner_by_source(hass, last.source)
    return "other_client" if is_there else "not_in_range"


def _slot_holders(hass: HomeAssistant, address: str) -> list[str]:
    """Name the devices that use the slots of the scanners that can see the battery."""
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
    return f"{printable(info.name).strip()} ({address})" if info else address
