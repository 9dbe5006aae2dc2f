"""The link to a battery: found, connected, read."""
