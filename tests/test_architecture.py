"""Tests that hold the wings of the package apart (docs/architecture.md).

They parse the imports of every module, those for type checking only and those inside
functions included, and import nothing. Each check is itself tested on a small tree that
breaks its rule.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "custom_components" / "jk_bms"

MAX_LINES = 500
"""Lines of a module, except those that are tables."""
TABLES = {"jkbms.protocol.layouts"}
NOT_FOR_PROTOCOL = {
    "aiohttp",
    "bleak",
    "bleak_retry_connector",
    "habluetooth",
    "homeassistant",
    "rich",
}
NOT_FOR_THE_INTEGRATION = ("jkbms.cli", "jkbms.export.exporter")
PLATFORMS = {
    "bank_entity",
    "binary_sensor",
    "button",
    "compatibility_sensors",
    "control_entity",
    "energy_sensor",
    "event",
    "number",
    "select",
    "sensor",
    "sensor_descriptions",
    "switch",
}
CHANGES = {"controls", "ledger", "undo"}
"""What changes settings, and keeps what was changed."""
COORDINATORS = {"bank_coordinator", "coordinator"}
LEVELS: tuple[Callable[[str], bool], ...] = (
    lambda name: name in PLATFORMS,
    lambda name: name == "entity",
    lambda name: name in CHANGES,
    lambda name: name in COORDINATORS,
    lambda name: is_within(name, "jkbms.bluetooth"),
    lambda name: is_within(name, "jkbms.protocol"),
    lambda name: name == "jkbms.models",
)
"""From top to bottom; a module imports none of a level above its own."""


@dataclass(frozen=True)
class Module:
    """One module, and what it imports."""

    lines: int
    imports: frozenset[str]
    """Names within the package: `coordinator`, `jkbms.protocol.frames`; empty is the root."""
    external: frozenset[str]
    """Top-level names of other packages."""


type Tree = Mapping[str, Module]


def is_within(name: str, package: str) -> bool:
    """Return whether a module is a package or lies in it."""
    return name == package or name.startswith(f"{package}.")


def read_tree(root: Path) -> Tree:
    """Parse every module below a folder; a package has the name of its folder."""
    paths = {_name(path.relative_to(root)): path for path in root.rglob("*.py")}
    return {name: _parse(name, path, paths) for name, path in paths.items()}


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _parse(name: str, path: Path, modules: Mapping[str, Path]) -> Module:
    source = path.read_text("utf-8")
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imports, external = set[str](), set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            external |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            external.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            imports |= set(_targets(node, package, modules))
    return Module(len(source.splitlines()), frozenset(imports), frozenset(external))


def _targets(
    node: ast.ImportFrom, package: str, modules: Mapping[str, Path]
) -> Iterator[str]:
    """Yield what a relative import names: a submodule, or else where the name is from."""
    parts = package.split(".") if package else []
    parts = parts[: len(parts) - node.level + 1]
    source = ".".join([*parts, *([node.module] if node.module else [])])
    for alias in node.names:
        submodule = f"{source}.{alias.name}".removeprefix(".")
        yield submodule if submodule in modules else source


# The rules: each returns what breaks it


def heavy_protocol(tree: Tree) -> list[str]:
    """Bytes need no radio, no server, no terminal and no Home Assistant."""
    wings = ("jkbms.bluetooth", "jkbms.export", "jkbms.cli")
    protocol = {n: m for n, m in tree.items() if is_within(n, "jkbms.protocol")}
    return [
        f"{name} imports {target}"
        for name, module in protocol.items()
        for target in sorted(module.external | module.imports)
        if target in NOT_FOR_PROTOCOL or any(is_within(target, w) for w in wings)
    ]


def library_that_needs_the_integration(tree: Tree) -> list[str]:
    """The library works without Home Assistant and without the integration."""
    library = {n: m for n, m in tree.items() if is_within(n, "jkbms")}
    return [
        f"{name} imports {target}"
        for name, module in library.items()
        for target in sorted(
            (module.external & {"homeassistant", "custom_components"})
            | {t for t in module.imports if not is_within(t, "jkbms")}
        )
    ]


def integration_that_needs_the_command(tree: Tree) -> list[str]:
    """The release has neither the command nor the exporter."""
    allowed = {"jkbms.__main__"}
    return [
        f"{name} imports {target}"
        for name, module in tree.items()
        if name not in allowed
        if not any(is_within(name, each) for each in NOT_FOR_THE_INTEGRATION)
        for target in sorted(module.imports)
        if any(is_within(target, each) for each in NOT_FOR_THE_INTEGRATION)
    ]


def arrows_upwards(tree: Tree) -> list[str]:
    """Platforms, entity, changes, coordinator, bluetooth, protocol, models: downwards."""
    level = {
        name: number
        for name in tree
        for number, contains in enumerate(LEVELS)
        if contains(name)
    }
    return [
        f"{name} imports {target}"
        for name, module in tree.items()
        for target in sorted(module.imports)
        if level.get(target, len(LEVELS)) < level.get(name, 0)
    ]


def circles(tree: Tree) -> list[str]:
    """No module needs itself through others, not even for type checking."""
    graph = {name: set(module.imports - {name}) for name, module in tree.items()}
    found = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as err:
            # In the error each module is imported by the one after it
            *_, last, first = circle = err.args[1][::-1]
            found.append(" -> ".join(circle))
            graph[last].discard(first)
        else:
            return found


def long_modules(tree: Tree) -> list[str]:
    """A module has one subject, and so an end."""
    return [
        f"{name} has {module.lines} lines"
        for name, module in tree.items()
        if module.lines > MAX_LINES and name not in TABLES
    ]


def shared_names(tree: Tree) -> list[str]:
    """No module of the library has the name of one of the integration."""
    ours = {name for name in tree if name and "." not in name and name != "jkbms"}
    return [
        name
        for name in tree
        if is_within(name, "jkbms") and name.rpartition(".")[2] in ours
    ]


RULES = (
    heavy_protocol,
    library_that_needs_the_integration,
    integration_that_needs_the_command,
    arrows_upwards,
    circles,
    long_modules,
    shared_names,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule: Callable[[Tree], list[str]]) -> None:
    """The package as it is breaks no rule."""
    assert rule(read_tree(PACKAGE)) == []


def test_every_level_has_modules() -> None:
    """A renamed package would otherwise escape the rules unnoticed."""
    tree = read_tree(PACKAGE)
    for contains in LEVELS:
        assert any(map(contains, tree))
    assert tree.keys() >= PLATFORMS | CHANGES | COORDINATORS
    for name in NOT_FOR_THE_INTEGRATION:
        assert name in tree


GOOD = {
    "__init__.py": "from .coordinator import Coordinator",
    "sensor.py": "from .entity import Entity\nfrom .jkbms.models import Reading",
    "entity.py": "from .coordinator import Coordinator",
    "controls.py": "",
    "coordinator.py": "from .jkbms.bluetooth.client import Client\nimport homeassistant",
    "jkbms/__init__.py": "def client():\n    from .bluetooth.client import Client",
    "jkbms/__main__.py": "from .cli.main import main",
    "jkbms/models.py": "",
    "jkbms/bluetooth/__init__.py": "",
    "jkbms/bluetooth/client.py": "from ..protocol import frames\nimport bleak",
    "jkbms/protocol/__init__.py": "",
    "jkbms/protocol/frames.py": "from ..models import Reading",
    "jkbms/protocol/layouts.py": "\n" * 2 * MAX_LINES,
    "jkbms/export/__init__.py": "",
    "jkbms/export/exporter.py": "import aiohttp",
    "jkbms/cli/__init__.py": "",
    "jkbms/cli/main.py": "from ..export.exporter import serve\nimport rich",
}

type MakeTree = Callable[[Mapping[str, str]], Tree]


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    """Return what writes a good package with some modules replaced, and parses it."""

    def make(changes: Mapping[str, str]) -> Tree:
        for name, source in (GOOD | changes).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, "utf-8")
        return read_tree(tmp_path)

    return make


def test_good_tree_keeps_all_rules(make_tree: MakeTree) -> None:
    """What the package may do is not refused."""
    tree = make_tree({})
    assert {rule.__name__: rule(tree) for rule in RULES} == {
        rule.__name__: [] for rule in RULES
    }


FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.mark.parametrize(
    ("rule", "path", "source", "broken"),
    [
        *(
            (heavy_protocol, "jkbms/protocol/frames.py", source, f"imports {target}")
            for source, target in (
                *((f"import {name}.sub", name) for name in sorted(NOT_FOR_PROTOCOL)),
                ("from bleak.exc import BleakError", "bleak"),
                ("from ..bluetooth.client import Client", "jkbms.bluetooth.client"),
                ("from .. import export", "jkbms.export"),
                ("def late():\n    from ..cli import main", "jkbms.cli.main"),
            )
        ),
        (
            library_that_needs_the_integration,
            "jkbms/bluetooth/client.py",
            "from homeassistant.core import callback",
            "imports homeassistant",
        ),
        (
            library_that_needs_the_integration,
            "jkbms/bluetooth/client.py",
            "from ...coordinator import Coordinator",
            "imports coordinator",
        ),
        (
            library_that_needs_the_integration,
            "jkbms/models.py",
            "import custom_components.jk_bms.const",
            "imports custom_components",
        ),
        (
            integration_that_needs_the_command,
            "coordinator.py",
            "from .jkbms.cli.main import main",
            "imports jkbms.cli.main",
        ),
        (
            integration_that_needs_the_command,
            "sensor.py",
            "from .jkbms.export import exporter",
            "imports jkbms.export.exporter",
        ),
        (
            integration_that_needs_the_command,
            "jkbms/bluetooth/client.py",
            "from ..cli import main",
            "imports jkbms.cli.main",
        ),
        *(
            (arrows_upwards, path, source, f"imports {target}")
            for path, source, target in (
                ("entity.py", "from .sensor import X", "sensor"),
                ("coordinator.py", f"{FOR_TYPES}from .entity import X", "entity"),
                ("coordinator.py", "from . import sensor", "sensor"),
                ("coordinator.py", "from .controls import X", "controls"),
                ("controls.py", "from .entity import X", "entity"),
                (
                    "jkbms/bluetooth/client.py",
                    "from ...coordinator import X",
                    "coordinator",
                ),
                (
                    "jkbms/protocol/frames.py",
                    "from ..bluetooth import client",
                    "jkbms.bluetooth.client",
                ),
                (
                    "jkbms/models.py",
                    f"{FOR_TYPES}from .protocol.frames import Frame",
                    "jkbms.protocol.frames",
                ),
            )
        ),
        (
            circles,
            "jkbms/models.py",
            f"{FOR_TYPES}from .protocol.frames import Frame",
            "jkbms.protocol.frames",
        ),
        (circles, "coordinator.py", "def late():\n    from . import entity", "entity"),
        (
            long_modules,
            "sensor.py",
            "\n" * (MAX_LINES + 1),
            f"sensor has {MAX_LINES + 1} lines",
        ),
        (shared_names, "jkbms/sensor.py", "", "jkbms.sensor"),
        (shared_names, "jkbms/export/entity.py", "", "jkbms.export.entity"),
    ],
)
def test_broken_rule_is_found(
    make_tree: MakeTree,
    rule: Callable[[Tree], list[str]],
    path: str,
    source: str,
    broken: str,
) -> None:
    """One module that breaks a rule is named."""
    (found,) = rule(make_tree({path: source}))
    assert broken in found


def test_every_circle_is_found(make_tree: MakeTree) -> None:
    """One circle does not hide another."""
    tree = make_tree(
        {
            "coordinator.py": "from .entity import Entity",
            "jkbms/models.py": "from .protocol.frames import Frame",
        }
    )
    assert len(circles(tree)) == 2
