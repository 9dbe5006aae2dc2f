"""Constants of the JK BMS integration."""

from datetime import timedelta
from typing import Final

DOMAIN: Final = "jk_bms"
MANUFACTURER: Final = "JiKong"

MANUFACTURER_IDS: Final = frozenset({0x0B65, 0x4B4A})
"""Bluetooth company ids that a JK BMS advertises; the manifest names the same."""
LISTED_IDS: Final = MANUFACTURER_IDS | {0xFAD6}
"""Those, and one too rare to discover by, which a person may choose from a list."""

SERVICE_UUID: Final = "0000ffe0-0000-1000-8000-00805f9b34fb"
USUAL_NAME: Final = "JK"
"""Signs of a JK BMS that other devices show as well."""

MAX_CELLS: Final = 32

UPDATE_INTERVAL: Final = timedelta(seconds=30)
MAX_DATA_AGE: Final = max(3 * UPDATE_INTERVAL, timedelta(seconds=60))
"""Older values are not shown any more."""

# Home Assistant knows no unit of electric charge.
UNIT_AMPERE_HOUR: Final = "Ah"
