"""Write settings one by one, each verified before the next (docs/protocol.md 4.3)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
import logging
from typing import TYPE_CHECKING, Any, Final

from ..errors import LinkError, SettingRefusedError, SilentError
from ..models import Reading
from ..protocol.changes import Change, check, plan
from ..protocol.frames import FrameType
from ..protocol.registers import RECORDS, Value
from .session import SETTLE_TIME

if TYPE_CHECKING:
    from .session import Session

_LOGGER = logging.getLogger(__name__)

PROOF_TIMEOUT: Final = 2.0
"""Seconds to wait for the frame that shows a value."""
PROOF_PAUSE: Final = 1.0
"""Seconds between two requests for it: the battery is busy right after a write."""
PROOF_ATTEMPTS: Final = 4
"""Maximum number of requests for it. The value itself is written once."""

type Permit = Callable[[Change], None]
"""Called with each change before the first is sent; raises `SettingRefusedError`."""
type Prepare = Callable[[Change], Awaitable[None]]
"""Awaited with each change right before it is sent; if it raises, that is not sent."""

_NOT_CONFIRMED: Final = (
    "The battery keeps another value. It may be out of the battery's own range, another "
    "app may write too, or its settings passcode was changed"
)
_NO_ANSWER: Final = "The battery did not report the value after the write"
_NOT_TRIED: Final = "An earlier change was not confirmed"


class Outcome(StrEnum):
    """The outcome of a change."""

    CONFIRMED = "confirmed"
    """The battery reports the new value."""
    NOT_CONFIRMED = "not_confirmed"
    """It was written, and the battery reports another value."""
    UNKNOWN = "unknown"
    """It may have been written; the battery has not reported the value since."""
    REFUSED = "refused"
    """It was not written: other settings, or the owner, no longer allow it."""
    NOT_TRIED = "not_tried"
    """It was not written, because an earlier change was not confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """One change and its outcome."""

    change: Change
    outcome: Outcome
    answer: Value | None = None
    """The value that the battery reported last."""
    reason: str = ""
    """Why it is not confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteReport:
    """The outcome of each change, in the order of writing."""

    reading: Reading
    """Reading with the settings that the battery reported last."""
    results: tuple[WriteResult, ...]
    """Results, without settings that already had their value."""

    @property
    def is_confirmed(self) -> bool:
        """Whether the battery reports every requested value."""
        return all(result.outcome is Outcome.CONFIRMED for result in self.results)


class Writer:
    """Changes some settings on one link; stops at the first that is not confirmed."""

    def __init__(
        self,
        target: Mapping[str, Value],
        permit: Permit | None,
        prepare: Prepare | None,
    ) -> None:
        """Prepare to write `target`, the values by the names of the settings."""
        self._target = dict(target)
        self._permit = permit
        self._prepare = prepare
        self._reading: Reading | None = None
        self._results: list[WriteResult] = []
        self._waiting: list[Change] = []
        """Changes that are not sent yet."""
        self._sent: Change | None = None
        """The change that was sent but not verified."""

    async def write(self, session: Session, reading: Reading) -> None:
        """Write the values that differ from the battery's own settings.

        `reading` is of the same link. Raises `SettingRefusedError` before anything is
        sent, and a `LinkError`.
        """
        reading = await _read_again(session, reading)
        self._reading = reading
        self._waiting = [*plan(self._target, reading)]
        if permit := self._permit:
            for change in self._waiting:
                permit(change)
        while self._waiting:
            change = self._waiting[0]
            # The acknowledgement of the command before this one may be on its way
            await asyncio.sleep(SETTLE_TIME)
            try:
                check(change.setting, change.new, self._reading)
                if self._prepare:
                    await self._prepare(change)
            except SettingRefusedError as err:
                if not self._results:
                    raise
                del self._waiting[0]
                self._end(change, Outcome.REFUSED, str(err))
                break
            is_confirmed = await self._write_one(session, change)
            self._results = [*map(self._as_of_now, self._results)]
            if not (is_confirmed and self._is_all_confirmed):
                break

    def interrupt(self, err: LinkError) -> WriteReport:
        """Report after the link was lost; raises the error if nothing was sent."""
        if not self._sent and not self._results:
            raise err
        if change := self._sent:
            self._end(change, Outcome.UNKNOWN, str(err))
        return self.report(str(err))

    def report(self, reason: str = _NOT_TRIED) -> WriteReport:
        """Report the outcome of each change; `reason` is why some were not tried."""
        assert self._reading
        rest = (
            WriteResult(change=change, outcome=Outcome.NOT_TRIED, reason=reason)
            for change in self._waiting
        )
        return WriteReport(reading=self._reading, results=(*self._results, *rest))

    async def _write_one(self, session: Session, change: Change) -> bool:
        """Write a change once, read it back and return whether it is confirmed."""
        _LOGGER.debug("Writing %s", change.setting)
        self._sent = self._waiting.pop(0)
        session.expect(change)
        is_answered = False
        try:
            await session.write(change)
            for attempt in range(PROOF_ATTEMPTS):
                if attempt:
                    await asyncio.sleep(PROOF_PAUSE)
                    session.expect(change)
                if not await self._read_back(session, change.register.proof):
                    continue
                is_answered = True
                if self._answer(change) == change.new:
                    self._end(change, Outcome.CONFIRMED)
                    return True
        finally:
            if not is_answered:
                session.forget(change)
        if is_answered:
            self._end(change, Outcome.NOT_CONFIRMED, _NOT_CONFIRMED)
        else:
            self._end(change, Outcome.UNKNOWN, _NO_ANSWER)
        return False

    async def _read_back(self, session: Session, proof: FrameType) -> bool:
        """Read the frame that shows the value; return whether it came."""
        assert self._reading
        if (record := await session.ask(proof, PROOF_TIMEOUT)) is None:
            return False
        values: dict[str, Any] = {RECORDS[proof]: record}
        self._reading = replace(self._reading, **values)
        return True

    def _answer(self, change: Change) -> Value | None:
        assert self._reading
        answer: Value | None = change.register.present(self._reading)
        return answer

    def _as_of_now(self, result: WriteResult) -> WriteResult:
        """Return a result with the value that the battery reports now: it may have changed back."""
        answer = self._answer(result.change)
        if result.outcome is not Outcome.CONFIRMED or answer == result.change.new:
            return result
        return replace(
            result, outcome=Outcome.NOT_CONFIRMED, answer=answer, reason=_NOT_CONFIRMED
        )

    @property
    def _is_all_confirmed(self) -> bool:
        return all(result.outcome is Outcome.CONFIRMED for result in self._results)

    def _end(self, change: Change, outcome: Outcome, reason: str = "") -> None:
        self._sent = None
        self._results.append(
            WriteResult(
                change=change,
                outcome=outcome,
                answer=self._answer(change),
                reason=reason,
            )
        )


async def _read_again(session: Session, reading: Reading) -> Reading:
    """Return the reading with settings and device information read again.

    On a held link another program may have changed them. On a new link they were read
    once, and the limits of a write must not depend on a damaged frame.
    """
    # Some units send device information after their settings unasked. Taken for the
    # answer, it would let the next command go out too early, which ends their link.
    await asyncio.sleep(SETTLE_TIME)
    for kind in (FrameType.DEVICE_INFO, FrameType.SETTINGS):
        for _ in range(PROOF_ATTEMPTS):
            if record := await session.ask(kind, PROOF_TIMEOUT):
                values: dict[str, Any] = {RECORDS[kind]: record}
                reading = replace(reading, **values)
                break
        else:
            raise SilentError("Connected, but the battery does not report its settings")
    return reading
