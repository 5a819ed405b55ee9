"""Finished parts of a long run, kept so that an interrupted one goes on where it stopped."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unsplit.files import write_tensors
from unsplit.results import InversionRow

CachedInversion = tuple[InversionRow, Tensor]
"""The row of one inversion and its pictures."""


class InversionCache:
    """A folder with one file for each finished inversion, named by a hash of everything that determines it.

    Args:
        folder: the folder, which is made when the first inversion is kept; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get_or_run(self, key: Mapping[str, object], run: Callable[[], CachedInversion]) -> CachedInversion:
        """The inversion for this key, from the folder or by running it; a damaged file is run again."""
        if self._folder is None:
            return run()
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:20]
        path = self._folder / f"{digest}.safetensors"
        kept = _read(path)
        if kept is not None:
            return kept
        row, pictures = run()
        write_tensors(path, {"inputs": pictures}, {"row": row.model_dump_json()})
        return row, pictures


def _read(path: Path) -> CachedInversion | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as stream:
            row = InversionRow.model_validate_json((stream.metadata() or {})["row"])
            return row, stream.get_tensor("inputs")
    except (SafetensorError, ValidationError, KeyError):
        return None
