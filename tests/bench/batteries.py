"""Batteries that are cheap to simulate."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final, override

from tests.virtual_bms import MODELS, Battery, Spec, State

HOUR: Final = 10.5
SECONDS: Final = 1200


class CannedBattery(Battery):
    """Repeats a part of its day that was simulated once."""

    def __init__(self, spec: Spec, *, begin: int = 0, **kwargs: Any) -> None:
        """Begin at this second of it."""
        super().__init__(spec, soc=0.6, hour=HOUR, **kwargs)
        self.defects: list[Callable[[State], State]] = []
        """What fails in it, such as a sensor: each changes what it measures."""
        self._carry = begin
        self._states = _states(spec.model, spec.software)

    @property
    def day(self) -> tuple[State, ...]:
        """Its states, second by second; then they start again."""
        return self._states

    @property
    def moment(self) -> float:
        """Its time, in s since its first day began."""
        return self._carry

    @override
    def advance(self, seconds: float) -> State:
        self._carry += seconds
        return self.state

    @property
    @override
    def state(self) -> State:
        state = self._states[int(self._carry) % SECONDS]
        for defect in self.defects:
            state = defect(state)
        return state


@cache
def _states(model: str, software: str) -> tuple[State, ...]:
    """Return the states of a model, second by second."""
    original = Battery(MODELS[f"{model} {software}"], soc=0.6, hour=HOUR)
    return tuple(original.advance(1) for _ in range(SECONDS))
