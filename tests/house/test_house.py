"""The order of the house: what a package exports is not hidden by its own modules, and private modules stay private."""

import ast
import re
from pathlib import Path

import pytest

import unsplit

SOURCE = Path(unsplit.__file__).parent
PACKAGES = sorted(init.parent for init in SOURCE.rglob("__init__.py"))
MODULES = sorted(SOURCE.rglob("*.py"))


def dotted(path: Path) -> tuple[str, ...]:
    """The name of a package's folder or of a module's file, part by part."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def exported(init: Path) -> set[str]:
    """The names in `__all__` of a package."""
    for node in ast.parse(init.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def imported(module: Path) -> list[tuple[str, ...]]:
    """The modules that a module imports, and the names that it imports from them, part by part."""
    names: list[tuple[str, ...]] = []
    package = dotted(module) if module.name == "__init__.py" else dotted(module)[:-1]
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = (*base, *(node.module or "").split(".")) if node.module else base
            names += [(*origin, alias.name) for alias in node.names]
    return names


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: ".".join(dotted(package)))
def test_no_module_has_the_name_of_something_that_its_package_exports(package):
    modules = {path.stem for path in (*package.glob("*.py"), *package.glob("*/"))}
    assert exported(package / "__init__.py") & modules == set()


def test_what_starts_with_an_underscore_is_imported_by_its_own_package_only():
    strangers = [
        f"{'.'.join(dotted(module))} imports {'.'.join(name)}"
        for module in MODULES
        for name in imported(module)
        if name[0] == "unsplit"
        for depth, part in enumerate(name)
        if part.startswith("_") and not part.startswith("__") and dotted(module)[:depth] != name[:depth]
    ]
    assert strangers == []


def table_of_contributing():
    """What can be added, and the paths to touch for it, from the table in CONTRIBUTING."""
    lines = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text().partition("## Add a ...")[2].splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| a ")]
    return {what: [re.findall(r"`([^`]+)`", cell) for cell in rest] for what, *rest in cells}


def test_what_contributing_names_is_there():
    told = table_of_contributing()
    assert len(told) == 7
    named = [path for cells in told.values() for cell in cells for path in cell]
    assert [path for path in named if "NAME" not in path and not (SOURCE.parents[1] / path).exists()] == []
    assert [path for path in named if "NAME" in path and not (SOURCE.parents[1] / path).parent.is_dir()] == []


def test_nothing_takes_more_than_three_files_of_the_source():
    assert {what: len(cells[0]) for what, cells in table_of_contributing().items() if len(cells[0]) > 3} == {}


def test_the_architecture_has_every_room_and_names_nothing_that_is_gone():
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text()
    rooms = {path.stem for path in SOURCE.iterdir() if path.suffix in ("", ".py") and path.name[0] not in "_."}
    drawn = page.partition("## Rooms")[2].partition("| room | holds |")[0]
    assert {room for room in rooms - {"py"} if not re.search(rf"\b{room}\b", drawn)} == set()
    paths = re.findall(r"`([a-z_/]+\.py)`", page)
    assert [path for path in paths if not any(SOURCE.glob(f"**/{path}"))] == []
