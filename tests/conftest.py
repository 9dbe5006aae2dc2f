"""What every test needs, with or without Home Assistant."""

# The test plug-in of Home Assistant has a package of this name as well; the first wins.
import custom_components.jk_bms  # noqa: F401
