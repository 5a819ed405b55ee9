"""The code that the paper's authors released, read from a checkout and never copied."""

import importlib.util
import sys
import types
from pathlib import Path

_NAME = "code_of_the_paper"


def released_code(folder: Path) -> types.SimpleNamespace:
    """Its `models` and `attacks` under another name than ours, without torchvision, which only its data loading needs;
    the folder's name is taken out of the command that results are written with.
    """
    sys.argv = ["DIR" if argument == str(folder) else argument for argument in sys.argv]
    vision = types.ModuleType("torchvision")
    vision.datasets = vision.transforms = None  # type: ignore[attr-defined]
    sys.modules.setdefault("torchvision", vision)
    package = folder / "unsplit"
    spec = importlib.util.spec_from_file_location(
        _NAME, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None or not package.is_dir():
        sys.exit(f"There is no package 'unsplit' in {folder}; name a checkout of the paper's code.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    spec.loader.exec_module(module)
    return types.SimpleNamespace(
        models=importlib.import_module(f"{_NAME}.models"), attacks=importlib.import_module(f"{_NAME}.attacks")
    )
