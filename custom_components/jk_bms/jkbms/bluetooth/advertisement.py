"""Identifiers in the advertisements of a JK BMS (docs/protocol.md 3)."""

from typing import Final

MANUFACTURER_IDS: Final = frozenset({0x0B65, 0x4B4A})
"""Bluetooth company ids that identify a JK BMS; the manifest lists the same."""
LISTED_IDS: Final = MANUFACTURER_IDS | {0xFAD6}
"""Those and one that is not specific enough for automatic discovery, but fit for a list."""
PAIRING_PREFIX: Final = "A4:C1:38"
"""Address prefix of the radio module that sends nothing unpaired (docs/protocol.md 2.6)."""
