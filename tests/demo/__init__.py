"""A real Home Assistant with this integration and virtual batteries."""
