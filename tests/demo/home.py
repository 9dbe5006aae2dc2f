"""The configuration folder of the demo: a home that has been in use for a while."""

import json
from pathlib import Path
from shutil import copyfile
from typing import Any, Final, override

from bluetooth_adapters import AdapterDetails, BluetoothAdapters

from homeassistant.components.onboarding.const import STEPS

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / ".cache"
LOGINS: Final = CACHE / "demo-logins.json"

DOMAIN: Final = "jk_bms"
DASHBOARD: Final = "jk-bms"

INTEGRATIONS: Final = {
    "application_credentials",
    "automation",
    "brands",
    "frontend",
    "hardware",
    "labs",
    "logger",
    "network",
    "scene",
    "script",
    "system_health",
    "zone",
}
"""What Home Assistant sets up by default, except what needs programs, packages or the internet."""

# Private addresses as well, for a demo in a container or on another machine.
CONFIGURATION: Final = """\
homeassistant:
  auth_providers:
    - type: trusted_networks
      trusted_networks:
        - 127.0.0.0/8
        - ::1
        - 10.0.0.0/8
        - 172.16.0.0/12
        - 192.168.0.0/16
        - fc00::/7
        - fe80::/10
      allow_bypass_login: true
automation: !include automations.yaml
bluetooth:
energy:
history:
input_select:
  demo_fault:
    name: Fault of the first battery
    icon: mdi:alert-outline
    options: ["none", alarm, silent, busy, weak, wire-off]
logbook:
logger:
  default: info
  logs:
    # Would warn about itself when many batteries are added at once.
    homeassistant.helpers.entity_registry: warning
"""

YAML_RESOURCES: Final = """\
lovelace:
  resource_mode: yaml
"""
"""In this mode no integration can add a resource to the dashboards."""

OWNER: Final = {
    "id": "0123456789abcdef0123456789abcdef",
    "name": "Demo",
    "group_ids": ["system-admin"],
    "is_owner": True,
    "is_active": True,
    "system_generated": False,
}

HOME: Final = {
    "location_name": "JK BMS demo",
    "latitude": 52.52,
    "longitude": 13.405,
    "elevation": 34,
    "radius": 100,
    "unit_system_v2": "metric",
    "time_zone": "Europe/Berlin",
    "currency": "EUR",
    "country": "DE",
    "language": "en",
}

START_PAGE: Final = {
    "id": DASHBOARD,
    "url_path": DASHBOARD,
    "title": "Batteries",
    "icon": "mdi:home-battery",
    "mode": "storage",
    "require_admin": False,
    "show_in_sidebar": True,
}


def furnish(
    folder: Path, host: str, port: int, *, yaml_resources: bool = False
) -> None:
    """Write the files of a configuration folder."""
    (folder / "configuration.yaml").write_text(
        CONFIGURATION + (YAML_RESOURCES if yaml_resources else "")
    )
    (folder / "automations.yaml").write_text("[]\n")
    (folder / "custom_components").mkdir()
    (folder / "custom_components/jk_bms").symlink_to(ROOT / "custom_components/jk_bms")

    (folder / ".storage").mkdir()

    def store(key: str, data: dict[str, Any], version: int = 1, minor: int = 1) -> None:
        content = {"version": version, "minor_version": minor, "key": key, "data": data}
        (folder / ".storage" / key).write_text(json.dumps(content))

    if LOGINS.exists():
        copyfile(LOGINS, folder / ".storage/auth")
    else:
        store("auth", {"users": [OWNER], "credentials": [], "refresh_tokens": []})
    store("core.config", HOME, minor=4)
    store("frontend.system_data", {"core": {"default_panel": DASHBOARD}})
    store("http", {"server_host": [host], "server_port": port})
    # What "Add dashboard" stores for the dashboard of the integration.
    store(f"lovelace.{DASHBOARD}", {"config": {"strategy": {"type": "custom:jk-bms"}}})
    store("lovelace_dashboards", {"items": [START_PAGE]})
    store("onboarding", {"done": STEPS}, 4)


def keep_logins(folder: Path) -> None:
    """Accept newer browsers: an unknown one raises an alarm."""
    (folder / ".storage/auth").replace(LOGINS)


class NoAdapters(BluetoothAdapters):
    """The Bluetooth adapters of a machine that has none."""

    @property
    @override
    def adapters(self) -> dict[str, AdapterDetails]:
        return {}

    @property
    @override
    def default_adapter(self) -> str:
        return "hci0"
