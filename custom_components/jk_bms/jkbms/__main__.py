"""`python -m jkbms` is the command."""

import sys

from .cli.main import main

sys.exit(main())
