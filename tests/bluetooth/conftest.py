"""What the tests of the link share."""

from .bench import switch_on

__all__ = ["switch_on"]
