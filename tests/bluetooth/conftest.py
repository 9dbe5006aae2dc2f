"""What the tests of the link share."""

from .harness import power_on

__all__ = ["power_on"]
