"""The card and the dashboard in Chromium: alone, and in the Home Assistant of the demo."""

import asyncio
import os
from pathlib import Path
import shutil

import pytest

from tests.test_demo import demo

FRONTEND = Path(__file__).parents[2] / "frontend"
NODE = shutil.which(
    "node", path=f"{os.environ['PATH']}:{FRONTEND.parent}/.cache/node/bin"
)
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)

VIEWS = range(4 if os.environ.get("ALL_VIEWS") else 1)
"""Those of browser.mjs."""

pytestmark = [
    pytest.mark.usefixtures("socket_enabled"),
    # In a fresh checkout Python has to compile all of Home Assistant.
    pytest.mark.timeout(900),
    pytest.mark.skipif(not NODE, reason="Node.js is missing"),
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is missing"),
    pytest.mark.skipif(
        not (FRONTEND / "node_modules").exists(),
        reason="scripts/frontend has not installed what the tests need",
    ),
]


async def run_node(tests: str, **environment: str) -> None:
    """Run a file of tests, and report what it reports if one of them fails."""
    process = await asyncio.create_subprocess_exec(
        *(NODE or "", "--test", "--test-reporter=spec", f"browser/{tests}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=FRONTEND,
        env=os.environ | {"CHROMIUM": CHROMIUM or ""} | environment,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def test_cards_work_with_a_simulated_home_assistant() -> None:
    """Every part of the cards, with a Home Assistant made of plain objects."""
    await run_node("card.test.mjs")


@pytest.mark.parametrize("view", VIEWS)
async def test_dashboard_in_home_assistant(view: int) -> None:
    """The dashboard of three batteries in a real Home Assistant."""
    async with demo("--added", "--batteries", "3") as ready:
        await run_node("home-assistant.test.mjs", DEMO_URL=ready.url, VIEW=str(view))


async def test_bank_in_home_assistant() -> None:
    """A bank of four packs of 32 cells, and the heat map of a pack."""
    async with demo("--batteries", "4", "--bank", "--cells", "32") as ready:
        await run_node("bank.test.mjs", DEMO_URL=ready.url)


async def test_whatever_happens_to_a_battery_is_shown() -> None:
    """Faults, controls, the link and a lost battery, where resources are kept in YAML."""
    async with demo("--added", "--batteries", "4", "--yaml-resources") as ready:
        await run_node("scenarios.test.mjs", DEMO_URL=ready.url)
