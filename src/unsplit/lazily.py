"""Packages whose names are loaded when they are first asked for: `unsplit --help` is to load no torch."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec


def loading(package: str, homes: Mapping[str, tuple[str, ...]]) -> Callable[[str], object]:
    """The `__getattr__` of a package that loads a public name, or one of its modules, when it is first asked for.

    Args:
        package: the package's full name.
        homes: for each module, by its full name, the public names that it gives to the package.
    """

    def load(name: str) -> object:
        for home, names in homes.items():
            if name in names:
                found = getattr(import_module(home), name)
                setattr(sys.modules[package], name, found)
                return found
        if find_spec(f"{package}.{name}") is not None:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
