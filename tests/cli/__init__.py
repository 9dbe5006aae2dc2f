"""Tests of `jkbms.cli`."""
