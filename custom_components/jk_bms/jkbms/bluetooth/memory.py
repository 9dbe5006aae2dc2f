"""State of a battery that is kept from one session to the next."""

from dataclasses import dataclass, field

from ..protocol.confirmation import Confirmation
from ..protocol.consistency import ConsistencyChecker
from ..protocol.frames import Frame, FrameStatistics, FrameType


@dataclass(slots=True)
class Memory:
    """State of a battery that is kept from one session to the next."""

    statistics: FrameStatistics = field(default_factory=FrameStatistics)
    last_frames: dict[FrameType, Frame] = field(default_factory=dict)
    """The last good frame of each type; they hold secrets."""
    checker: ConsistencyChecker = field(init=False)
    confirmation: Confirmation = field(init=False)
    acknowledges: bool = True
    """Whether the battery acknowledged the last first command in time."""
    left_out: tuple[str, ...] = ()
    """The impossible values of the last reading, which are `None` in it."""
    publish_next: bool = False
    """Whether the next cell data are due, whatever the interval."""

    def __post_init__(self) -> None:
        """Share the statistics with the checks, which also count rejected frames there."""
        self.checker = ConsistencyChecker(self.statistics)
        self.confirmation = Confirmation(self.statistics)
