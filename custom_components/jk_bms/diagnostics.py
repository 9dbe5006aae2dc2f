"""The diagnostics to attach to an issue report, without private data."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
import re
from typing import Any, Final

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import BluetoothServiceInfoBleak
from homeassistant.components.diagnostics import REDACTED, async_redact_data
from homeassistant.const import (
    CONF_ADDRESS,
    CONF_PASSWORD,
    CONF_TOKEN,
    CONF_URL,
    CONF_USERNAME,
)
from homeassistant.core import HomeAssistant

from .bank_coordinator import (
    CONF_PACKS,
    CONF_WIRING,
    AnyConfigEntry,
    BankConfigEntry,
    BankCoordinator,
    is_bank,
)
from .coordinator import JkBmsConfigEntry, JkBmsCoordinator
from .diagnosis import UNKNOWN
from .jkbms.models import SECRET_FIELDS
from .jkbms.protocol.decode import redact
from .jkbms.text import printable
from .ledger import Ledger
from .push_label import CONF_LABEL

_PRIVATE: Final = SECRET_FIELDS | {
    CONF_ADDRESS,
    CONF_PASSWORD,
    CONF_TOKEN,
    CONF_URL,
    CONF_USERNAME,
    "serial_number",
    "device_name",
    CONF_LABEL,
}
_ADDRESS: Final = re.compile(r"([0-9A-F]{2}:){5}[0-9A-F]{2}", re.IGNORECASE)


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: AnyConfigEntry
) -> dict[str, Any]:
    """Return the data that help to analyse how a battery is read."""
    if is_bank(entry):
        return _bank(hass, entry)
    coordinator: JkBmsCoordinator | None = getattr(entry, "runtime_data", None)
    seen = bluetooth.async_last_service_info(hass, entry.data[CONF_ADDRESS])
    error = coordinator.last_exception if coordinator else None
    info = coordinator.device_info if coordinator else None
    private = tuple(
        {
            *_private_texts(hass, entry, seen),
            # The entry may have been renamed.
            (info and info.device_name) or "",
            *_slot_holders(entry.error_reason_translation_placeholders),
            *_slot_holders(getattr(error, "translation_placeholders", None)),
        }
    )
    report: dict[str, Any] = {
        "entry": {
            "state": entry.state.value,
            "reason": _scrubbed(entry.reason, private),
            "data": dict(entry.data),
            "options": dict(entry.options),
        },
        "advertisement": _advertisement(seen, private) if seen else None,
    }
    if coordinator:
        report |= {
            "link": _link(coordinator, private),
            "frames": {
                kind.name.lower(): redact(frame).data.hex()
                for kind, frame in coordinator.client.last_frames.items()
            },
            **_values(coordinator),
            "changes": [
                asdict(record)
                for record in Ledger.async_get(hass, entry.entry_id).records
            ],
        }
    return async_redact_data(report, _PRIVATE)


def _advertisement(
    seen: BluetoothServiceInfoBleak, private: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "rssi": seen.rssi,
        "service_uuids": seen.service_uuids,
        "manufacturer_data": {
            f"0x{company:04X}": _scrubbed(payload.hex(), private)
            for company, payload in seen.manufacturer_data.items()
        },
    }


def _link(coordinator: JkBmsCoordinator, private: tuple[str, ...]) -> dict[str, Any]:
    # The addresses of the scanners are private, but must stay distinguishable.
    attempts = list(coordinator.attempts)
    sources = dict.fromkeys(attempt.path for attempt in attempts)
    paths = {
        source: f"scanner {n}" for n, source in enumerate(filter(None, sources), 1)
    }
    return {
        "available": coordinator.available,
        "last_update": coordinator.last_update,
        "resumes_at": coordinator.resumes_at,
        "last_error": _scrubbed(str(coordinator.last_exception or ""), private),
        "statistics": asdict(coordinator.client.statistics),
        "history": [
            asdict(attempt)
            | {
                "outcome": _scrubbed(attempt.outcome, private),
                "path": attempt.path and paths[attempt.path],
            }
            for attempt in attempts
        ],
    }


def _values(coordinator: JkBmsCoordinator) -> dict[str, Any]:
    info, reading = coordinator.device_info, coordinator.data
    values: dict[str, Any] = {"device_info": asdict(info) if info else None}
    if coordinator.last_update:
        values |= {
            "layout": reading.layout,
            "cell_data": asdict(reading.cell_data),
            "settings": asdict(reading.settings) if reading.settings else None,
        }
    return values


def _private_texts(
    hass: HomeAssistant,
    entry: JkBmsConfigEntry,
    seen: BluetoothServiceInfoBleak | None,
) -> Iterator[str]:
    """Yield the names and addresses that other texts may contain."""
    scanners = bluetooth.async_current_scanners(hass)
    for address in (entry.data[CONF_ADDRESS], *(s.source for s in scanners)):
        digits = address.replace(":", "").lower()
        # Some batteries advertise their address as text.
        yield from (address, digits, digits.encode().hex())
    yield from (scanner.adapter for scanner in scanners)
    yield entry.title
    if seen:
        yield from {seen.name, printable(seen.name).strip()}


def _slot_holders(placeholders: Mapping[str, str] | None) -> list[str]:
    """Return the names of the devices that use the connection slots."""
    holders = (placeholders or {}).get("holders", UNKNOWN)
    return [] if holders == UNKNOWN else [holders]


def _scrubbed(text: str | None, private: tuple[str, ...]) -> str | None:
    if not text:
        return text
    # Longest first, because a long text may contain a short one.
    for secret in sorted(filter(None, private), key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return _ADDRESS.sub(REDACTED, text)


def _bank(hass: HomeAssistant, entry: BankConfigEntry) -> dict[str, Any]:
    """Return the data that help to analyse a bank; each pack has its own diagnostics."""
    coordinator: BankCoordinator | None = getattr(entry, "runtime_data", None)
    pack_ids = entry.data[CONF_PACKS]
    numbers = {pack: f"Pack {number}" for number, pack in enumerate(pack_ids, 1)}
    report: dict[str, Any] = {
        "entry": {
            "state": entry.state.value,
            "data": {CONF_WIRING: entry.data[CONF_WIRING]},
            "options": dict(entry.options),
        },
        "packs": {
            name: (pack := hass.config_entries.async_get_entry(pack_id))
            and pack.state.value
            for pack_id, name in numbers.items()
        },
    }
    if coordinator:
        packs = coordinator.packs(numbers)
        report["bank"] = asdict(coordinator.combine(packs))
        report["ages"] = {pack.name: pack.age for pack in packs}
        report["energy"] = dict(coordinator.energy.totals)
    return async_redact_data(report, _PRIVATE)
