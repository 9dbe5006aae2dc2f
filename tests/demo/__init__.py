"""A real Home Assistant to look at, with this integration and batteries in software."""
