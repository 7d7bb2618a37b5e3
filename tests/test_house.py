"""The house: arrows point down, no circles, no long files, and the README maps every file."""

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "spectrafm"

#: Rooms from the ground up; a module imports from its own room and from those below it.
FLOORS = (
    ("spectrafm", "errors", "plugs"),
    ("locks", "workspaces", "signals", "children"),
    (
        "strict_yaml",
        "options",
        "labels",
        "spectra",
        "reading",
        "seal",
        "files",
        "progress",
        "integrity",
        "outputs",
        "models",
    ),
    ("archive", "continuum"),
    ("store",),
    ("surveys", "readers"),
    ("networks",),
    ("inference",),
    ("training",),
    ("evaluation",),
    ("figures",),
    ("report",),
    ("resources", "layers", "agreement", "config"),
    ("cli", "__main__"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

#: Rooms of the same floor or below that a room has no business with.
APART = {"networks": {"store", "surveys", "archive"}, "training": {"surveys", "archive"}}

LONGEST = 400


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("spectrafm", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in inner}
    return {name for name in found if name in MODULES}


ARROWS = {name: imports(path) - {name} for name, path in MODULES.items()}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def test_every_room_has_a_floor():
    assert {room_of(name) for name in MODULES} == set(FLOOR)


def test_arrows_point_down():
    wrong = [
        f"{name} -> {other}"
        for name, others in ARROWS.items()
        for other in others
        if FLOOR[room_of(other)] > FLOOR[room_of(name)]
        or room_of(other) in APART.get(room_of(name), ())
    ]
    assert not wrong


def test_there_are_no_circles():
    left = {name: set(others) for name, others in ARROWS.items()}
    while free := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in free}
    assert not left


def test_nothing_in_the_package_imports_snakemake():
    assert not [
        n for n, path in MODULES.items() if re.search(r"import snakemake", path.read_text())
    ]


def test_no_file_is_longer_than_can_be_read_in_a_sitting():
    long = {str(p): n for p in MODULES.values() if (n := len(p.read_text().splitlines())) > LONGEST}
    assert not long


def test_the_readme_maps_every_file():
    """One line a file: its name, and what it is."""
    text = (REPOSITORY / "README.md").read_text()
    source_map = text.split("## Source map")[1].split("```")[1]
    named, folder = set(), Path()
    for line in source_map.strip().splitlines():
        name, _, meaning = line.strip().partition("  ")
        assert meaning.strip(), line
        if name.endswith("/"):
            folder = REPOSITORY / name
        elif name.endswith(".py"):
            named.add(folder / name)
    files = {path for path in MODULES.values() if path.name != "__init__.py"}
    assert named == files, sorted(map(str, named ^ files))
