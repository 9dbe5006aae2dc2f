"""Every fault of the battery in software, alone and mixed: what is read is right, and reads go on."""

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
    Report,
    Witness,
    live,
    mixtures,
)
from tests.virtual_bms import MODELS, Faults, VirtualBackend, VirtualRadio
from tests.virtual_time import VirtualTimeLoop

from .bench import RememberingBms

KINDS = ("JK_B2A8S20P 11.48", "JK_PB2A16S20P 15.41", "JK-B2A24S15P 10.07")
BATTERIES = 12
MIXTURES = 16


@pytest.fixture
def loop_runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Runner]:
    """Run what the test says in virtual time, with batteries for all that is heard."""
    monkeypatch.setattr(
        "bleak.get_platform_client_backend_type", lambda: (VirtualBackend, "virtual")
    )
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        yield runner


def test_campaign_has_every_fault() -> None:
    """A fault that is added to the virtual battery is added to the campaign."""
    known = {field.name for field in fields(Faults)} - {"seed"}
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
    witnesses = [_make_witness(number, report) for number in range(BATTERIES)]
    for witness in witnesses:
        radio.place(witness.bms)
    readers = [
        asyncio.create_task(_keep_reading(radio, witness, held=held))
        for witness in witnesses
    ]
    outages = chain(ALONE, islice(mixtures(Random(1)), MIXTURES))
    await live(witnesses, outages, lambda _: radio, seed=1)
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert loop.timers == []
    assert loop.mishaps == []


def _make_witness(number: int, report: Report) -> Witness:
    spec = replace(
        MODELS[KINDS[number % len(KINDS)]],
        address=f"C8:47:8C:30:00:{number:02X}",
        advert="common",
    )
    battery = CannedBattery(spec, begin=37 * number)
    return Witness(RememberingBms(battery, seed=number), report)


async def _keep_reading(radio: VirtualRadio, witness: Witness, *, held: bool) -> None:
    """Read at every interval, as the integration does."""
    bms = witness.bms
    client = JkBmsClient(
        lambda: radio.device(bms) if radio.hears(bms.address) else None, name="battery"
    )
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL
        try:
            if held:
                await client.hold(witness.see, interval=INTERVAL, since=witness.last)
            else:
                witness.see(await client.read())
        except JkBmsError:
            await asyncio.sleep(max(0, due - loop.time()))
        else:
            await asyncio.sleep(max(0, due - loop.time()))
