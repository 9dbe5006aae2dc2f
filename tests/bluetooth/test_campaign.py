"""Every fault of the virtual battery, alone and mixed: readings are right and resume."""

import asyncio
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import chain, islice
from random import Random

import pytest

from custom_components.jk_bms.jkbms.bluetooth.client import JkBmsClient
from custom_components.jk_bms.jkbms.errors import JkBmsError
from tests.bench.batteries import CannedBattery
from tests.bench.campaign import (
    ALONE,
    FAULTS,
    INTERVAL,
    ReadingChecker,
    Report,
    mixtures,
    run_outages,
)
from tests.virtual_bms import MODELS, Faults, VirtualBackend, VirtualRadio
from tests.virtual_time import VirtualTimeLoop

from .harness import RecordingBms

KINDS = ("JK_B2A8S20P 11.48", "JK_PB2A16S20P 15.41", "JK-B2A24S15P 10.07")
BATTERIES = 12
MIXTURES = 16


@pytest.fixture
def loop_runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Runner]:
    """Return a runner in virtual time, with virtual batteries behind bleak."""
    monkeypatch.setattr(
        "bleak.get_platform_client_backend_type", lambda: (VirtualBackend, "virtual")
    )
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        yield runner


def test_campaign_has_every_fault() -> None:
    """A fault that is added to the virtual battery is added to the campaign."""
    of_writes = {
        "ignore_writes",
        "write_takes",
        "revert_after",
        "lose_acknowledgements",
        "drop_at_write",
    }
    known = {field.name for field in fields(Faults)} - {"seed"} - of_writes
    assert {name for faults in FAULTS for name in faults} == known


@pytest.mark.parametrize("held", [False, True], ids=["released", "held"])
def test_batteries_recover_from_every_outage(
    loop_runner: asyncio.Runner, held: bool
) -> None:
    """After each outage the next due read succeeds, and every published value is right."""
    report = Report()
    with VirtualRadio("campaign", slots=BATTERIES) as radio:
        loop_runner.run(_campaign(radio, report, held=held))
        assert radio.taken == []
        assert not radio.links
    assert report.outages == len(ALONE) + MIXTURES
    assert report.readings > report.outages
    assert report.wrong == []
    assert report.late == []


async def _campaign(radio: VirtualRadio, report: Report, *, held: bool) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    checkers = [_make_checker(number, report) for number in range(BATTERIES)]
    for checker in checkers:
        radio.place(checker.bms)
    readers = [
        asyncio.create_task(_keep_reading(radio, checker, held=held))
        for checker in checkers
    ]
    outages = chain(ALONE, islice(mixtures(Random(1)), MIXTURES))
    await run_outages(checkers, outages, lambda _: radio, seed=1)
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert loop.timers == []
    assert loop.mishaps == []


def _make_checker(number: int, report: Report) -> ReadingChecker:
    spec = replace(
        MODELS[KINDS[number % len(KINDS)]],
        address=f"C8:47:8C:30:00:{number:02X}",
        advert="common",
    )
    battery = CannedBattery(spec, begin=37 * number)
    return ReadingChecker(RecordingBms(battery, seed=number), report)


async def _keep_reading(
    radio: VirtualRadio, checker: ReadingChecker, *, held: bool
) -> None:
    """Read every interval, as the integration does."""
    bms = checker.bms
    client = JkBmsClient(
        lambda: radio.device(bms) if radio.in_range(bms.address) else None,
        name="battery",
    )
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL
        try:
            if held:
                await client.hold(checker.check, interval=INTERVAL, since=checker.last)
            else:
                checker.check(await client.read())
        except JkBmsError:
            await asyncio.sleep(max(0, due - loop.time()))
        else:
            await asyncio.sleep(max(0, due - loop.time()))
