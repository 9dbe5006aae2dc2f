"""Lets pytest's plug-in for Home Assistant 2026.10 run on 2026.11: `-p tests.newest`.

It is loaded before that plug-in, and goes once there is one for 2026.11.
"""

# Home Assistant replaces httpx when it is imported, which has to happen before anything
# else imports httpx.
from homeassistant.components import logger
from homeassistant.components.logger import helpers

# The plug-in imports this from where it was in 2026.10.
logger._clear_logger_overwrites = helpers._clear_logger_overwrites
