"""The command `jkbms`."""
