"""The link from the page of a device to its view of the dashboard, if there is one."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
import re
from typing import Any
import unicodedata

from homeassistant.components.lovelace.const import LOVELACE_DATA
from homeassistant.const import EVENT_LOVELACE_UPDATED
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr

from .bank_coordinator import is_bank
from .const import DOMAIN


async def async_setup_dashboard_link(hass: HomeAssistant) -> None:
    """Link the devices, now and when a dashboard or a device changes."""
    if LOVELACE_DATA not in hass.data:
        return
    links = _DashboardLinks(hass)
    hass.bus.async_listen(
        EVENT_LOVELACE_UPDATED, links.async_on_dashboard, event_filter=links.is_news
    )
    hass.bus.async_listen(dr.EVENT_DEVICE_REGISTRY_UPDATED, links.async_update)
    await links.async_load(*hass.data[LOVELACE_DATA].dashboards)


class _DashboardLinks:
    """The known dashboards, and the links of devices into those that show batteries."""

    def __init__(self, hass: HomeAssistant) -> None:
        self._hass = hass
        self._configs: dict[str | None, dict[str, Any]] = {}
        """Configurations by the path of the dashboard."""
        self._loading: str | None = ""
        """The path of the dashboard that is being loaded; empty if none is."""

    @callback
    def is_news(self, event_data: Mapping[str, Any]) -> bool:
        """Return false for change events that loading a dashboard itself causes."""
        url_path: str | None = event_data["url_path"]
        return url_path != self._loading

    async def async_on_dashboard(self, event: Event[Any]) -> None:
        """Load a dashboard that was changed or deleted."""
        await self.async_load(event.data["url_path"])

    async def async_load(self, *url_paths: str | None) -> None:
        """Load these dashboards, and link the devices."""
        for url_path in url_paths:
            self._configs.pop(url_path, None)
            if dashboard := self._hass.data[LOVELACE_DATA].dashboards.get(url_path):
                self._loading = url_path
                # The dashboard may be empty, or its file missing or damaged.
                with suppress(HomeAssistantError, OSError):
                    self._configs[url_path] = await dashboard.async_load(False)
                self._loading = ""
        self.async_update()

    @callback
    def async_update(self, _event: Event[Any] | None = None) -> None:
        """Link each device to its view; the registry only reports what changed."""
        registry = dr.async_get(self._hass)
        for device_id, path in view_paths(self._hass).items():
            registry.async_update_device(
                device_id, configuration_url=self._url(device_id, path)
            )

    def _url(self, device_id: str, path: str) -> str | None:
        for url_path, config in self._configs.items():
            if _shows(config, device_id, path):
                return f"homeassistant://{url_path or 'lovelace'}/{path}"
        return None


def _shows(config: dict[str, Any], device_id: str, path: str) -> bool:
    """Return whether a dashboard is ours, or was ours and still has the view."""
    match config:
        case {"strategy": {"type": "custom:jk-bms"}}:
            return True
        case {"views": [*views]}:
            return any(
                isinstance(view, dict)
                and view.get("path") == path
                and device_id in str(view)
                for view in views
            )
    return False


@callback
def view_paths(hass: HomeAssistant) -> dict[str, str]:
    """Return the unique path of the view of each device, by device id.

    It is derived from the name that the battery itself reports, so the address of a
    page stays the same when the user renames the device.
    """
    paths: dict[str, str] = {}
    for device in _devices(hass):
        path = slug = _slug(device.name or "")
        number = 2
        while path in paths.values():
            path, number = f"{slug}-{number}", number + 1
        paths[device.id] = path
    return paths


def _devices(hass: HomeAssistant) -> Iterator[dr.DeviceEntry]:
    """Return the devices in the order in which they choose their paths, banks first."""
    registry = dr.async_get(hass)
    entries = hass.config_entries.async_entries(DOMAIN, include_disabled=False)
    for entry in sorted(entries, key=lambda entry: not is_bank(entry)):
        yield from dr.async_entries_for_config_entry(registry, entry.entry_id)


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "battery"
    # A number alone would be taken for the index of a view.
    return f"battery-{slug}" if slug.isdecimal() or slug == "all" else slug
