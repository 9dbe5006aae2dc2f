"""Constants of the JK BMS integration."""

from datetime import timedelta
from typing import Final

DOMAIN: Final = "jk_bms"
MANUFACTURER: Final = "JiKong"

SERVICE_UUID: Final = "0000ffe0-0000-1000-8000-00805f9b34fb"
USUAL_NAME: Final = "JK"
"""The service and the name are typical of a JK BMS, but not unique to it."""

# The maximum time between two attempts to re-establish a held link. A longer interval
# between readings must not keep the values of a lost link away for longer.
RETRY_INTERVAL: Final = timedelta(seconds=30)

# Home Assistant has no unit of electric charge.
UNIT_AMPERE_HOUR: Final = "Ah"

# The minimum time, in seconds, that a held link must have lasted to be re-established
# at once. A link that breaks sooner would break again; retrying without a pause would
# keep the connection slot busy and the battery out of reach of other clients.
MIN_LINK_LIFETIME: Final = 5.0

FRONTEND_PATHS: Final = {
    "dashboards": "/config/lovelace/dashboards",
    "energy": "/config/energy/electricity",
}
"""Links to pages of Home Assistant in the last step of a dialog."""
