"""Tests of `jkbms.export`."""
