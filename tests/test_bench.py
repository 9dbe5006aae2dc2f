"""Tests of what `scripts/bench` makes of its figures; what it measures needs packages of its own."""

import asyncio
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import islice
import json
from pathlib import Path
import sys
from types import ModuleType
from unittest.mock import MagicMock

import pytest

from tests.bench import __main__ as bench, exporter
from tests.bench.figure import BENCHMARKS, Figure, Options, at_least, at_most

GOOD = Figure("decode", 12.345, "µs", at_most(20), "ours : theirs")
BAD = Figure("loss", 58_000, "frames", at_least(59_000), "recovered : sent")
SEEN = Figure("machine", 1234.5, "MiB", None, "only to be seen")

type Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command on benchmarks with given results."""

    def run(*arguments: str, **found: list[Figure]) -> int:
        for name, figures in found.items():

            def measure(
                options: Options, figures: list[Figure] = figures
            ) -> Iterator[Figure]:
                yield from figures
                if options.long:
                    yield SEEN

            module = ModuleType(name)
            module.__dict__["measure"] = measure
            monkeypatch.setitem(sys.modules, f"tests.bench.{name}", module)
        monkeypatch.setattr(bench, "BENCHMARKS", tuple(found))
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        return bench.main()

    return run


def test_all_benchmarks_are_there() -> None:
    """Each name is a module's."""
    for name in BENCHMARKS:
        assert (Path(bench.__file__).parent / f"{name}.py").is_file()


def test_ways_of_decoding_take_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench knows rooms of the link from inside; all but the peer's way works."""
    for name in ("aiobmsble", "aiobmsble.bms", "aiobmsble.bms.jikong_bms"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    decode = import_module("tests.bench.decode")
    spec = decode._BATTERIES["32S"]
    with asyncio.Runner(loop_factory=decode._Loop) as runner:
        for way in ("decoding", "checking", "counting", "publishing"):

            async def take(way: str = way) -> object:
                sent = islice(decode._stream(spec, (128, 22)), 20)
                return await getattr(decode, f"_{way}")(spec)(sent)

            assert runner.run(take()), way


@pytest.mark.usefixtures("socket_enabled")
def test_exporter_answers_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape of all batteries succeeds."""
    monkeypatch.setattr(exporter, "WARM_UP", 1)
    durations, work, _ = asyncio.run(exporter._run(2))
    assert min(*durations, *work) > 0


def test_missed_target_is_shown_and_is_the_exit_code(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """All are shown, with what they had to reach; one that is missed is an exit code."""
    assert run(a=[GOOD, SEEN], b=[BAD]) == 1
    shown, progress = capsys.readouterr()
    for expected in ("12.3", "≤ 20", "met", "58,000", "≥ 59,000", "missed", "1,234"):
        assert expected in shown
    assert "decode: 12.3 µs" in progress


def test_faults_option_runs_the_long_campaign(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """The campaign of faults has an option of its own, which is its long form."""
    assert run("--faults", a=[BAD], faults=[GOOD]) == 0
    shown, _ = capsys.readouterr()
    assert "decode" in shown
    assert "machine" in shown


def test_json_prints_unrounded_figures(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same as data, unrounded."""
    assert run("--json", a=[GOOD, SEEN]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["figures"] == [
        {
            "name": "decode",
            "value": 12.345,
            "unit": "µs",
            "target": "≤ 20",
            "compares": "ours : theirs",
            "met": True,
        },
        {
            "name": "machine",
            "value": 1234.5,
            "unit": "MiB",
            "target": None,
            "compares": "only to be seen",
            "met": None,
        },
    ]
    assert "CPython" in data["machine"]


def test_only_named_benchmarks_run(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only what is named is measured, in its long form if asked for."""
    assert run("--json", "--long", "a", a=[GOOD], b=[BAD]) == 0
    names = [each["name"] for each in json.loads(capsys.readouterr().out)["figures"]]
    assert names == ["decode", "machine"]


def test_unknown_benchmark_is_a_usage_error(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """What does not exist is a usage error."""
    with pytest.raises(SystemExit, match="2"):
        run("c", a=[GOOD])
    assert "there is no benchmark c" in capsys.readouterr().err
