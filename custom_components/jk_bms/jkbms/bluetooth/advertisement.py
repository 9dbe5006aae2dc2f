"""What a JK BMS advertises (docs/protocol.md 3)."""

from typing import Final

MANUFACTURER_IDS: Final = frozenset({0x0B65, 0x4B4A})
"""Bluetooth company ids to discover a JK BMS by; the manifest names the same."""
LISTED_IDS: Final = MANUFACTURER_IDS | {0xFAD6}
"""Those, and one too rare to discover by, which is enough where a person asks."""
