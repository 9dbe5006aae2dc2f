"""Whether the slow variants of tests run as well: `scripts/test --all`, and once a week."""

import os
from typing import Final

THOROUGH: Final = bool(os.environ.get("ALL_VIEWS"))
