"""Tests of the card and the dashboard in a real browser."""
