"""The states that a party keeps on disk, each named by the number of steps that it stands for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from unsplit.errors import FormatError, InputError
from unsplit.files import explained, writable_folder, write_tensors

FORMAT = "unsplit-party-state"


class States:
    """A folder of states of one party in one training.

    Args:
        folder: folder of the states, created if need be.
        digest: hash of the training's configuration; states of another configuration are refused.

    Raises:
        InputError: the folder holds states of another training.
        StorageError: the folder cannot be written.
    """

    def __init__(self, folder: Path, *, digest: str) -> None:
        self.folder = writable_folder(folder)
        self._digest = digest
        for stamp in self.stamps():
            if self._metadata(stamp)["digest"] != digest:
                raise InputError(
                    f"{folder} holds states of a training with another configuration; name another folder, or use the "
                    "configuration of that training."
                )

    def stamps(self) -> list[int]:
        """The numbers of steps of the states that are there, ascending."""
        return sorted(int(path.stem.partition("-")[2]) for path in self.folder.glob("state-*.safetensors"))

    def save(self, stamp: int, tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> None:
        """Keep a state, whole or not at all.

        Raises:
            StorageError: the disk is full, or the folder cannot be written.
        """
        metadata = {"format": FORMAT, "digest": self._digest, "about": json.dumps(dict(about or {}))}
        write_tensors(self._path(stamp), tensors, metadata)

    def load(self, stamp: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """A state and what was noted about it.

        Raises:
            FormatError: it is missing or damaged.
        """
        about: dict[str, Any] = json.loads(self._metadata(stamp)["about"])
        try:
            with explained(self._path(stamp)), safe_open(self._path(stamp), framework="pt") as stream:
                names = stream.keys()
                return {name: stream.get_tensor(name) for name in names}, about
        except SafetensorError as error:
            raise self._damaged(stamp) from error

    def keep(self, *stamps: int) -> None:
        """Delete all other states."""
        for stamp in self.stamps():
            if stamp not in stamps:
                self._path(stamp).unlink(missing_ok=True)

    def _metadata(self, stamp: int) -> dict[str, str]:
        try:
            with explained(self._path(stamp)), safe_open(self._path(stamp), framework="pt") as stream:
                metadata = dict(stream.metadata() or {})
        except SafetensorError as error:
            raise self._damaged(stamp) from error
        if metadata.get("format") != FORMAT or not {"digest", "about"} <= metadata.keys():
            raise FormatError(f"{self._path(stamp)} is not a state of a party; name a folder that `unsplit` made.")
        return metadata

    def _damaged(self, stamp: int) -> FormatError:
        return FormatError(f"The state {self._path(stamp)} is damaged; delete it to go on from an earlier one.")

    def _path(self, stamp: int) -> Path:
        return self.folder / f"state-{stamp:09d}.safetensors"
