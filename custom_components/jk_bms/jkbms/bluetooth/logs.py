"""Read the battery's own logs on one connection (docs/protocol.md 10 and 11)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from ..errors import ImplausibleFrameError, LogUnansweredError
from ..models import DetailLogRecord, LogEntry, Reading
from ..protocol.changes import declares
from ..protocol.decode import decode_detail_log, decode_logbook
from ..protocol.frames import FrameType, ReadCommand
from ..protocol.layouts import DETAIL_LOG_CAPACITY
from .session import COMMAND_ATTEMPTS, Session

_DETAIL_LOG_END_TIMEOUT: Final = 2.0
"""Seconds of silence that end a detail log, which has no end mark."""
_NO_LOG: Final = "Connected, but the battery does not send its log"
_NOT_DECLARED: Final = "The battery has no such log"


async def read_logbook(session: Session, reading: Reading) -> tuple[LogEntry, ...]:
    """Request the logbook."""
    _check_declared(ReadCommand.LOGBOOK, reading)
    session.drop_log_frames()
    for _ in range(COMMAND_ATTEMPTS):
        await session.send(ReadCommand.LOGBOOK)
        with suppress(TimeoutError):
            async with asyncio.timeout(session.answer_timeout):
                frame = await session.next_log_frame(FrameType.LOGBOOK)
                return decode_logbook(frame)
    raise LogUnansweredError(_NO_LOG, has_logbook(reading))


async def read_detail_log(
    session: Session, reading: Reading
) -> tuple[DetailLogRecord, ...]:
    """Request the detail log, twice if a part is missing."""
    _check_declared(ReadCommand.DETAIL_LOG, reading)
    session.drop_log_frames()
    records: dict[int, DetailLogRecord] = {}
    for _ in range(COMMAND_ATTEMPTS):
        acknowledged = session.statistics.acknowledged
        await session.send(ReadCommand.DETAIL_LOG)
        with suppress(TimeoutError):
            async for record in _detail_log_records(session):
                records[record.index] = record
        stored = reading.cell_data.detail_log_count or max(records, default=0) + 1
        if len(records) >= stored:
            break
        if not records and session.statistics.acknowledged > acknowledged:
            # The request was not lost: the battery has nothing to send
            break
    if not records:
        raise LogUnansweredError(_NO_LOG, has_detail_log(reading))
    return tuple(records[index] for index in sorted(records))


def has_logbook(reading: Reading) -> bool | None:
    """Return whether the battery has a logbook, `None` if it does not report that."""
    return declares(ReadCommand.LOGBOOK, reading)


def has_detail_log(reading: Reading) -> bool | None:
    """Return whether the battery has a detail log, `None` if it does not report that.

    It has one if it counts records, unless it declares that it has none.
    """
    if not reading.cell_data.detail_log_count:
        return False
    return declares(ReadCommand.DETAIL_LOG, reading)


def _check_declared(command: ReadCommand, reading: Reading) -> None:
    """Raise if the battery declares its commands and this is not among them."""
    if declares(command, reading) is False:
        raise LogUnansweredError(_NOT_DECLARED, is_kept=False)


async def _detail_log_records(session: Session) -> AsyncIterator[DetailLogRecord]:
    timeout = session.answer_timeout
    while True:
        async with asyncio.timeout(timeout):
            frame = await session.next_log_frame(FrameType.DETAIL_LOG)
        try:
            records = decode_detail_log(frame)
        except ImplausibleFrameError:
            session.statistics.rejected += 1
            continue
        for record in records:
            yield record
        if len(records) < DETAIL_LOG_CAPACITY:
            return
        timeout = _DETAIL_LOG_END_TIMEOUT
