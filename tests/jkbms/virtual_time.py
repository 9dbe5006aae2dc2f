"""Virtual time for the library alone, which has nobody to tell of what goes wrong in a loop."""

from typing import Any

from tests.virtual_time import JumpingLoop


class VirtualTimeLoop(JumpingLoop):
    """Notes what would have been logged as an unhandled error.

    Use it for what has no other business with the world: `asyncio.Runner(loop_factory=VirtualTimeLoop)`.
    """

    def __init__(self) -> None:
        """Begin at second 0."""
        super().__init__()
        self.mishaps: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.mishaps.append(context))
