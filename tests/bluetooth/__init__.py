"""Tests of `jkbms.bluetooth`."""
