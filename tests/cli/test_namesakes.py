"""Another device advertises the name of a battery that an earlier run has pushed."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
import json
from math import inf
from pathlib import Path
from time import time

import pytest

from custom_components.jk_bms.jkbms.cli.arguments import ExitCode, parse
from custom_components.jk_bms.jkbms.cli.serve import plan
from custom_components.jk_bms.jkbms.errors import PushUnreachableError
from custom_components.jk_bms.jkbms.export import push as push_module
from tests.servers import TIMEOUT, free_port, get_json
from tests.virtual_bms import MODELS, Battery, Faults, Spec, VirtualBms, VirtualRadio

UPS = replace(MODELS["JK_BD4A8S4P 15.26"], name="UPS_BMS")
OTHER = replace(UPS, address="C8:47:80:55:00:01", serial="3040100099")
"""Answers like a battery, and has the same name."""


@pytest.fixture
def radio() -> Iterator[VirtualRadio]:
    """Stand in for the adapter of this machine."""
    with VirtualRadio("adapter") as radio:
        yield radio


@pytest.fixture
def job(pushgateway: str, state_home: Path) -> list[str]:
    """Return the options of a push to a job that no other test has."""
    return ["-p", "-t", "0.3", "-u", pushgateway, "--job", str(state_home.parent.name)]


def place(radio: VirtualRadio, spec: Spec, soc: float = 0.6) -> VirtualBms:
    """Bring a fast battery into range."""
    bms = VirtualBms(Battery(spec, soc=soc, time_scale=0.0), speed=20)
    radio.place(bms)
    return bms


async def push(job: list[str], *arguments: str) -> ExitCode | None:
    """Push once."""
    return await plan(parse([*job, *arguments]))()


async def push_for_a_while(
    job: list[str], wanted: dict[str, float | None], *arguments: str
) -> None:
    """Push again and again, and kill it once the Pushgateway shows what is wanted."""
    options = parse(["-e", "-s", "1", *job, *arguments])
    task = asyncio.ensure_future(plan(options)())
    try:
        async with asyncio.timeout(TIMEOUT):
            while await shown(job) != wanted:
                assert not task.done()
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def shown(job: list[str]) -> dict[str, float | None]:
    """Return the charge of each battery that is up, and `None` for each that is down."""
    answer = await get_json(f"{job[4]}/api/v1/metrics")
    found: dict[str, float | None] = {}
    for group in answer["data"]:
        labels = group["labels"]
        if labels["job"] == job[6]:
            name = "remain_percent"
            charge = group[name]["metrics"][0]["value"] if name in group else None
            is_up = group["up"]["metrics"][0]["value"] == "1"
            assert is_up is (charge is not None)
            found[labels["instance"]] = None if charge is None else float(charge)
    return found


async def test_requested_name_is_read_where_an_earlier_run_read_it(
    radio: VirtualRadio, job: list[str]
) -> None:
    """A namesake does not silence the battery, however often it runs."""
    place(radio, UPS)
    assert await push(job, "-d", "UPS_BMS") == ExitCode.GOOD
    place(radio, OTHER, soc=0.1)
    for _ in range(2):
        assert await push(job, "-d", "UPS_BMS") == ExitCode.GOOD
        assert await shown(job) == {"UPS_BMS": 60.0}


async def test_found_battery_keeps_the_label_of_an_earlier_run(
    radio: VirtualRadio, job: list[str]
) -> None:
    """A namesake has its address as label, and no label moves when one of them goes."""
    ups = place(radio, UPS)
    assert await push(job) == ExitCode.GOOD
    other = place(radio, OTHER, soc=0.1)
    assert await push(job) == ExitCode.GOOD
    assert await shown(job) == {"UPS_BMS": 60.0, OTHER.address: 10.0}
    radio.remove(ups)
    assert await push(job) == ExitCode.FAILED
    assert await shown(job) == {"UPS_BMS": None, OTHER.address: 10.0}
    radio.place(ups)
    radio.remove(other)
    assert await push(job) == ExitCode.FAILED
    assert await shown(job) == {"UPS_BMS": 60.0, OTHER.address: None}


@pytest.mark.parametrize("is_requested", [True, False], ids=["-d", "all"])
async def test_continuous_push_keeps_labels_across_a_restart(
    radio: VirtualRadio, job: list[str], is_requested: bool
) -> None:
    """The battery has its label again, whether the namesake is a stranger or not."""
    arguments = ["-d", "UPS_BMS"] if is_requested else []
    ups = place(radio, UPS)
    await push_for_a_while(job, {"UPS_BMS": 60.0}, *arguments)
    place(radio, OTHER, soc=0.1)
    others = {} if is_requested else {OTHER.address: 10.0}
    await push_for_a_while(job, {"UPS_BMS": 60.0, **others}, *arguments)
    if not is_requested:
        radio.remove(ups)
        await push_for_a_while(job, {"UPS_BMS": None, **others})


async def test_replaced_module_is_read_by_its_name(
    radio: VirtualRadio, job: list[str], state_home: Path
) -> None:
    """It takes the name over after a day; until then the known address goes first."""
    ups = place(radio, UPS)
    assert await push(job, "-d", "UPS_BMS") == ExitCode.GOOD
    radio.remove(ups)
    place(radio, OTHER, soc=0.1)
    assert await push(job, "-d", "UPS_BMS") == ExitCode.GOOD
    assert await shown(job) == {"UPS_BMS": 10.0}
    radio.place(ups)
    assert await push(job, "-d", "UPS_BMS") == ExitCode.GOOD
    assert await shown(job) == {"UPS_BMS": 60.0}

    (path,) = (state_home / "jkbms").iterdir()
    path.write_text(json.dumps({"UPS_BMS": [time() - 90_000, UPS.address]}))
    radio.remove(ups)
    assert await push(job, "-d", "UPS_BMS") == ExitCode.GOOD
    radio.place(ups)
    assert await push(job, "-d", "UPS_BMS") == ExitCode.GOOD
    assert await shown(job) == {"UPS_BMS": 10.0}


async def test_device_that_was_never_read_is_deleted_when_it_is_gone(
    radio: VirtualRadio, job: list[str]
) -> None:
    """Each stranger in passing would otherwise be a failure for a day."""
    place(radio, UPS)
    stranger = place(radio, replace(OTHER, name="STRANGER"))
    stranger.faults = Faults(missing_characteristic=True)
    assert await push(job) == ExitCode.FAILED
    assert await shown(job) == {"UPS_BMS": 60.0, "STRANGER": None}
    radio.remove(stranger)
    assert await push(job) == ExitCode.GOOD
    async with asyncio.timeout(TIMEOUT):
        while await shown(job) != {"UPS_BMS": 60.0}:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "known",
    [
        '{"UPS_BMS": NOW, "AWAY": NOW}',
        '{"UPS_BMS": [NOW, null], "AWAY": [NOW, "C8:00:00:00:00:01"]}',
        '{"UPS_BMS": "x", "AWAY": [NOW, ""], "A": [], "B": {}, "C": [1, 2, 3], "D": [[]]}',
    ],
    ids=["labels only", "addresses", "damaged"],
)
async def test_state_of_earlier_versions_is_read(
    radio: VirtualRadio, job: list[str], state_home: Path, known: str
) -> None:
    """A battery that is gone is down; entries that make no sense are ignored."""
    place(radio, UPS)
    assert await push(job) == ExitCode.GOOD
    (path,) = (state_home / "jkbms").iterdir()
    path.write_text(known.replace("NOW", str(time())))
    assert await push(job) == ExitCode.FAILED
    assert await shown(job) == {"UPS_BMS": 60.0, "AWAY": None}
    assert json.loads(path.read_text())["UPS_BMS"][1] == UPS.address


@pytest.mark.parametrize("known", ["[]", "[", "1", "\udcff"])
async def test_damaged_state_is_replaced(
    radio: VirtualRadio, job: list[str], state_home: Path, known: str
) -> None:
    """The push works as without any."""
    place(radio, UPS)
    assert await push(job) == ExitCode.GOOD
    (path,) = (state_home / "jkbms").iterdir()
    path.write_bytes(known.encode(errors="surrogateescape"))
    assert await push(job) == ExitCode.GOOD
    assert json.loads(path.read_text()).keys() == {"UPS_BMS"}


async def test_series_is_not_forgotten_before_it_is_deleted(
    radio: VirtualRadio,
    job: list[str],
    state_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the server is off, nothing can be deleted there."""
    place(radio, UPS)
    monkeypatch.setattr(push_module, "_FIRST_PAUSE", inf)
    job[4] = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(PushUnreachableError):
        await push(job)
    (path,) = (state_home / "jkbms").iterdir()
    path.write_text('{"AWAY": 1}')
    with pytest.raises(PushUnreachableError):
        await push(job)
    assert json.loads(path.read_text()).keys() == {"UPS_BMS", "AWAY"}
