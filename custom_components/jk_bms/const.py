"""Constants of the JK BMS integration."""

from datetime import timedelta
from enum import StrEnum
from typing import Final

DOMAIN: Final = "jk_bms"
MANUFACTURER: Final = "JiKong"

SERVICE_UUID: Final = "0000ffe0-0000-1000-8000-00805f9b34fb"
USUAL_NAME: Final = "JK"
"""Signs of a JK BMS that other devices show as well."""

CONF_INTERVAL: Final = "interval"
CONF_LINK: Final = "link"
CONF_PAUSE: Final = "pause"

CONF_PUSH: Final = "push"
"""The section of the options that are about pushing."""
CONF_KIND: Final = "kind"
CONF_JOB: Final = "job"
KIND_AUTO: Final = "auto"
"""The path of the URL tells what the server is."""


class LinkBehaviour(StrEnum):
    """What becomes of the link after a reading."""

    RELEASED = "released"
    """Others get in between two readings."""
    HELD = "held"
    """It stays, for live values and for nobody else."""


UPDATE_INTERVAL: Final = timedelta(seconds=30)
MIN_INTERVAL: Final = timedelta(seconds=5)
MAX_INTERVAL: Final = timedelta(hours=1)
RETRY_INTERVAL: Final = timedelta(seconds=30)
"""Until a held link that could not be made is tried again, at most."""
MIN_DATA_AGE: Final = timedelta(seconds=60)
"""Values younger than this are always shown."""

PAUSE: Final = timedelta(minutes=15)
MAX_PAUSE: Final = timedelta(hours=24)
"""For how long others may have the battery."""

PUSH_INTERVAL: Final = timedelta(seconds=60)
MIN_PUSH_INTERVAL: Final = timedelta(seconds=10)

# Home Assistant knows no unit of electric charge.
UNIT_AMPERE_HOUR: Final = "Ah"
