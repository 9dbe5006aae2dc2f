"""The JK protocol (docs/protocol.md): bytes and their meaning, without link or output."""
