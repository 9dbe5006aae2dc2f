"""Runs the command as `python -m jkbms`."""

import sys

from .cli.main import main

sys.exit(main())
