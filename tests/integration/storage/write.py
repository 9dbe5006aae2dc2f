"""Write what an older version stores, for the test of the update from it.

    python tests/integration/storage/write.py [COMMIT]

It runs that version with its own virtual batteries, in the environment of this one.
`COMMIT` is the last one before the energy counters had a store of their own.
"""

import json
from pathlib import Path
import shutil
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import Any, Final

HERE: Final = Path(__file__).parent
STORES: Final = (
    "core.config_entries",
    "core.device_registry",
    "core.entity_registry",
    "core.restore_state",
)
LAST_BEFORE: Final = "73a114f"
RUN: Final = '''
"""Runs an older version, and leaves what it stores."""

from datetime import timedelta
import json
import os
from pathlib import Path
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers import restore_state
from homeassistant.helpers.json import json_dumps
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, flush_store

from tests.virtual_bms import VirtualBms
from tests.virtual_bms.scanner import VirtualProxy
from . import pass_time

OPTIONS: list[dict[str, Any]] = [
    {
        "interval": 10.0,
        "link": "released",
        "pause": 30.0,
        "push": {
            "url": "http://me:s3cret@127.0.0.1:9/metrics/job/home",
            "kind": "auto",
            "interval": 600.0,
            "job": "jkbms",
            "verify_ssl": True,
        },
    },
    {
        "push": {
            "url": "http://127.0.0.1:9",
            "kind": "pushgateway",
            "interval": 600.0,
            "job": "boat",
            "username": "you",
            "password": "pa55",
            "verify_ssl": False,
        },
    },
    {},
]


@pytest.mark.usefixtures("socket_enabled")
async def test_write(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    proxy: VirtualProxy,
    make_bms: Any,
) -> None:
    entries = []
    models = ("JK_B2A8S20P 11.48", "JK_PB2A16S20P 15.41", "JK-B2A16S 3.3.0")
    for number, (model, options) in enumerate(zip(models, OPTIONS)):
        bms = make_bms(model)
        bms.battery.override(current=50.0)
        proxy.advertise(bms)
        entry = MockConfigEntry(
            domain="jk_bms",
            entry_id=f"01JK00000000000000000000{number:02}",
            title="House" if number < 2 else "Boat",
            unique_id=bms.address,
            data={"address": bms.address},
            options=options,
        )
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done(wait_background_tasks=True)
        entries.append(entry)
    for _ in range(4):
        await pass_time(hass, timedelta(seconds=31))
    for entry in entries:
        for sensor in hass.data["entity_components"]["sensor"].entities:
            if "energy_charged" in sensor.entity_id:
                sensor._meter.total = 12.3456789 + len(sensor.entity_id)
    registry = er.async_get(hass)
    registry.async_update_entity(
        "sensor.house_total_voltage", new_entity_id="sensor.mine", name="Mine"
    )
    registry.async_update_entity(
        "sensor.house_cell_voltage_1", disabled_by=er.RegistryEntryDisabler.USER
    )
    registry.async_update_entity("sensor.house_signal_strength", disabled_by=None)
    devices = dr.async_get(hass)
    device = dr.async_entries_for_config_entry(devices, entries[0].entry_id)[0]
    devices.async_update_device(device.id, name_by_user="My house")
    await restore_state.async_get(hass).async_dump_states()
    hass.config_entries._async_schedule_save()
    for store in (hass.config_entries._store, devices._store, registry._store):
        await flush_store(store)
    Path(os.environ["WRITE_TO"]).write_text(json_dumps(dict(hass_storage)))
'''


def main(commit: str) -> None:
    """Write the stores of a version."""
    with TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        subprocess.run(["git", "worktree", "add", "--detach", tree, commit], check=True)
        try:
            Path(tree, "tests", "integration", "test_write.py").write_text(RUN)
            target = Path(folder, "stores.json")
            subprocess.run(
                [
                    *(sys.executable, "-m", "pytest", "-q", "--no-cov"),
                    *("-p", "no:cacheprovider", "tests/integration/test_write.py"),
                ],
                cwd=tree,
                env={"WRITE_TO": str(target), "PATH": "/usr/bin:/bin"},
                check=True,
            )
            stored: dict[str, Any] = json.loads(target.read_text())
        finally:
            shutil.rmtree(tree)
            subprocess.run(["git", "worktree", "prune"], check=True)
    entries = stored["core.config_entries"]["data"]
    entries["entries"] = [each for each in entries["entries"] if _is_ours(each)]
    entities = stored["core.entity_registry"]["data"]
    entities["entities"] = [each for each in entities["entities"] if _is_kept(each)]
    for name in STORES:
        # A line for each entity
        lines = json.dumps(stored[name]).replace("}, {", "},\n{")
        Path(HERE, f"{name}.json").write_text(f"{lines}\n")


def _is_ours(entry: dict[str, Any]) -> bool:
    return bool(entry["domain"] == "jk_bms")


def _is_kept(entity: dict[str, Any]) -> bool:
    """Return whether to keep an entity: all of the first battery, energy of the others."""
    is_of_first = entity["config_entry_id"].endswith("0")
    return is_of_first or "energy" in entity["unique_id"]


if __name__ == "__main__":
    main(*sys.argv[1:] or [LAST_BEFORE])
