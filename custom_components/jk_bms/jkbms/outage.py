"""Report a loss once and a recovery once, however often either is noticed."""


class Outage:
    """A latch: only the first `begin` and the first `end` after it return true."""

    def __init__(self) -> None:
        """Start without an outage."""
        self.is_on = False

    def begin(self) -> bool:
        """Note a failure; return whether it starts an outage and should be reported."""
        is_first, self.is_on = not self.is_on, True
        return is_first

    def end(self) -> bool:
        """Note a success; return whether it ends an outage and should be reported."""
        was_on, self.is_on = self.is_on, False
        return was_on
