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

Cell = tuple[InversionRow, Tensor]
"""The row of one inversion and its pictures."""


class Cells:
    """A folder with one file for each finished cell, named by a hash of everything that determines it.

    Args:
        folder: made when the first cell is kept; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get_or_run(self, key: Mapping[str, object], run: Callable[[], Cell]) -> Cell:
        """The cell for this key, from the folder or by running it; a damaged file is run again."""
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


def _read(path: Path) -> Cell | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as stream:
            row = InversionRow.model_validate_json((stream.metadata() or {})["row"])
            return row, stream.get_tensor("inputs")
    except (SafetensorError, ValidationError, KeyError):
        return None


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A hash of named tensors: names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name, value in tensors.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
