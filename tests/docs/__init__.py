"""The documentation: its generated tables and its site."""
