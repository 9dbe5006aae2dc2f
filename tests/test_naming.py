"""Tests that every test is named after a behaviour (docs/contributing.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PREFIX = "test_"
FEWEST_WORDS = 3
"""Words behind the prefix; fewer can name a subject, but not what must hold of it."""


def short_names(source: str) -> Iterator[str]:
    """Yield the tests of a module, methods included, whose names are too short."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith(PREFIX)
            and len(node.name.removeprefix(PREFIX).split("_")) < FEWEST_WORDS
        ):
            yield node.name


@pytest.mark.parametrize(
    "path",
    sorted(TESTS.rglob("test_*.py")),
    ids=lambda path: str(path.relative_to(TESTS)),
)
def test_every_test_is_named_after_a_behaviour(path: Path) -> None:
    """A failing test should say what is broken before anybody reads it."""
    assert [*short_names(path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def test_reading(): ...", ["test_reading"]),
        ("async def test_bad_line(): ...", ["test_bad_line"]),
        ("class TestLine:\n    def test_bad_line(self): ...", ["test_bad_line"]),
        ("def test_bad_line_is_refused(): ...", []),
        ("def bad_line(): ...", []),
    ],
)
def test_short_name_of_a_test_is_found(source: str, found: list[str]) -> None:
    """Functions and methods count, and only those that are tests."""
    assert [*short_names(source)] == found
