"""A cell: a value that says what to do, and how it is done from its inputs alone.

A cell runs in any process of any machine: it takes tensors of the one cell that it needs, and gives back a row and
tensors. It neither reads nor writes a store.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Tensor

from unsplit.experiment.provenance import versions

REVISION = 3
"""Raised when a change of the code changes numbers, so that older cells are no longer taken for the new ones."""


Values = dict[str, Any]
"""What a cell measured, by name: numbers, words and lists of them."""
Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Cell(ABC):
    """Base of all cells.

    Args:
        dataset: the data set's name.
        seed: the seed of everything random.
        device: the device that computes.
    """

    kind: ClassVar[str]
    dataset: str
    seed: int
    device: str = "cpu"

    @property
    def config(self) -> dict[str, object]:
        """All that determines the result, as plain values."""
        code = {"unsplit": versions()["unsplit"], "torch": versions()["torch"], "revision": REVISION}
        return {"kind": self.kind, "code": code, **json.loads(json.dumps(asdict(self)))}

    @property
    def key(self) -> str:
        """A hash of the configuration."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()

    @property
    @abstractmethod
    def label(self) -> str:
        """The cell in a few words."""

    @property
    def needs(self) -> "Cell | None":
        """The cell that must have ended before this one, for its tensors: as a rule the client that is attacked."""
        return None

    @property
    def gives_way(self) -> bool:
        """Whether its steps are work for `stepping.perform`, so that cells share a GPU best within one process."""
        return False

    def select(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Those of the needed cell's tensors that this one reads."""
        return tensors

    @abstractmethod
    def run(self, needed: Mapping[str, Tensor]) -> tuple[Values, Tensors]:
        """Do the work.

        Args:
            needed: the selected tensors of the cell that this one needs.
        """
