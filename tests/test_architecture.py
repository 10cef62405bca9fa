"""The arrows between the rooms: who may import whom, and what is imported at one door alone.

Import-linter cannot hold these: it looks for packages by their folders, and ``api`` and ``oscar``
lie at the top of the tree while they install below ``pi10_classifier``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "pi10_classifier"
MOST_MODULES = 13  # in one folder
MOST_LINES = 400  # in one file

# from the ground floor up: a room imports from the levels below its own, never beside or above
LEVELS = (
    ("errors",),
    ("foundation", "instrument"),
    ("taxonomy",),
    ("imaging", "abundance", "drift"),
    ("sources", "model", "simulate", "sizes"),
    ("results", "report", "registry"),
    ("inference", "labelling", "underway"),
    ("datasets",),
    ("classify", "evaluation", "export"),
    ("doctor", "packaging", "training", "watch", "oscar", "shore"),
    ("tracking", "embedding"),
    ("search", "retraining"),
    ("api",),
    ("cli",),
    ("__main__",),
)
FACES = ("api", "oscar", "watch", "shore")
# library -> the rooms that may import it
DOORS = {
    "torch": ("training", "search"),
    "transformers": ("training", "search"),
    "click": ("cli",),
    "mlflow": ("tracking",),
    "optuna": ("search",),
    "deepaas": ("api",),
    "netCDF4": ("export",),
    "openvino": ("model",),
    "psycopg": ("shore",),
}


def folders() -> Iterator[tuple[str, Path]]:
    """Package and folder, as setup.cfg maps them."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    for line in setup["options"]["package_dir"].strip().splitlines():
        package, folder = (part.strip() for part in line.split("="))
        yield package, ROOT / folder


def modules() -> dict[str, str]:
    """Dotted name -> source text of each module of the package."""
    found = {}
    for package, folder in folders():
        for path in folder.rglob("*.py"):
            name = ".".join((package, *path.relative_to(folder).with_suffix("").parts))
            found[name.removesuffix(".__init__")] = path.read_text("utf-8")
    return found


def imports(text: str, known: Mapping[str, str]) -> Iterator[str]:
    """What a module imports, wherever in it, but for what types alone need."""
    tree = ast.parse(text)
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in set(ast.walk(tree)) - for_types:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in known else node.module


def room_of(module: str) -> str:
    """The room of a module: the first part of its name below the package; "" for the package."""
    return [*module.split("."), ""][1]


def wrong_arrows(sources: Mapping[str, str]) -> list[str]:
    """Imports against the levels, between faces, or of a library outside its door."""
    level = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
    found = []
    for module, text in sorted(sources.items()):
        room = room_of(module)
        if not room:
            continue
        for target in sorted(set(imports(text, sources))):
            other, library = room_of(target), target.split(".")[0]
            if library != PACKAGE:
                if room not in DOORS.get(library, (room,)):
                    found.append(f"{module} imports {library}")
            elif other and other != room:
                upwards = level[other] >= level[room]
                if upwards or (room in FACES and other in FACES):
                    found.append(f"{module} imports {target}")
    return found


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    return {
        module: {name for name in imports(text, sources) if name in sources and name != module}
        for module, text in sources.items()
    }


def test_arrows_point_down() -> None:
    assert wrong_arrows(modules()) == []


def test_every_room_has_its_level() -> None:
    rooms = {room_of(module) for module in modules()} - {""}
    assert rooms == {room for level in LEVELS for room in level}


def test_no_circles() -> None:
    try:
        TopologicalSorter(graph(modules())).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_torch_is_reached_from_training_and_search_alone() -> None:
    """Through whatever chain of imports; the command line and the API import those rooms late."""
    sources = modules()
    arrows = graph(sources)
    reaching = {
        module for module, text in sources.items()
        if {name.split(".")[0] for name in imports(text, sources)} & {"torch", "transformers"}
    }  # fmt: skip
    assert reaching
    while True:
        more = {module for module, targets in arrows.items() if targets & reaching} - reaching
        if not more:
            break
        reaching |= more
    # tracking reads a training's folder by a module that needs no torch
    assert {room_of(module) for module in reaching} <= {"training", "search", "cli", "__main__"}


def test_folders_and_files_can_be_taken_in() -> None:
    for _, folder in folders():
        for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            held = [path for path in place.glob("*.py") if path.name != "__init__.py"]
            assert len(held) <= MOST_MODULES, place
            for path in held:
                assert len(path.read_text("utf-8").splitlines()) <= MOST_LINES, path


def test_every_package_is_installed() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    listed = set(setup["options"]["packages"].split())
    there = set()
    for package, folder in folders():
        for path in folder.rglob("__init__.py"):
            there.add(".".join((package, *path.parent.relative_to(folder).parts)))
    assert listed == there


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("sources.local", "from pi10_classifier.results.columns import Row"),
        ("imaging.decode", "from pi10_classifier.sources.base import Item"),
        ("watch.watcher", "from pi10_classifier.oscar.bucket import Bucket"),
        ("api.serve", "from pi10_classifier.watch import watcher"),
        ("evaluation.metrics", "def late():\n    import torch"),
        ("results.tables", "import click"),
    ],
)
def test_an_arrow_against_the_order_is_seen(module: str, line: str) -> None:
    sources = modules()
    name = f"{PACKAGE}.{module}"
    sources[name] += f"\n\n{line}\n"
    assert [arrow.split()[0] for arrow in wrong_arrows(sources)] == [name]


def test_a_circle_is_seen() -> None:
    sources = modules()
    sources[f"{PACKAGE}.errors"] += "\nfrom pi10_classifier.classify import classify\n"
    with pytest.raises(CycleError):
        TopologicalSorter(graph(sources)).prepare()


def test_models_are_found_in_the_registry_too() -> None:
    """Only ``registry.resolve.find`` knows ``models:/NAME@ALIAS``; faces must not pass it by."""
    direct = re.compile(r"from pi10_classifier\.model\.package import [^\n]*\bfind\b")
    passed_by = [
        str(path.relative_to(ROOT))
        for room in ("pi10_classifier", "api", "oscar")
        for path in sorted((ROOT / room).rglob("*.py"))
        if "registry" not in path.parts and direct.search(path.read_text("utf-8"))
    ]
    assert passed_by == []
