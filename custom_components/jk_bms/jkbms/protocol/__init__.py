"""Bytes and what they mean (docs/protocol.md): no link, no output."""
