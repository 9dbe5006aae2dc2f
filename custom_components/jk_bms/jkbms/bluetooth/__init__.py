"""The link to a battery: find, connect, read."""
