"""Which stored result counts as a cell's own: that of its own device, or where that is asked for of any."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from unsplit.devices import card
from unsplit.studies.grid.cell import Cell
from unsplit.studies.grid.store import Store, Stored


class Found:
    """Finds the results of cells in a store.

    A card's name is no part of a cell's key, since a plan is made without it; so what another card computed under the
    same key is told by its row.

    Args:
        store: the store.
        any_device: let a result of another device, or of another build of torch, count where there is none of its own.
    """

    def __init__(self, store: Store, *, any_device: bool = False) -> None:
        self._store = store
        self._elsewhere: dict[str, Stored] = {}
        for stored in store if any_device else ():
            if stored.status == "done":
                self._elsewhere.setdefault(wherever(stored.config), stored)

    def get(self, cell: Cell) -> Stored | None:
        """What counts as this cell's result, failed or not; None where nothing does."""
        found = next((own for key in self._keys(cell) if (own := self._own(key, cell)) is not None), None)
        if found is not None and found.status == "done":
            return found
        other = self._elsewhere.get(wherever(cell.config)) if self._elsewhere else None
        return found if other is None else self._store.get(other.key) or found

    def key(self, cell: Cell) -> str:
        """The key for this cell's result: its own, unless what another device computed is stored under it."""
        keys = self._keys(cell)
        free = (key for key in keys if self._store.get(key) is None or self._own(key, cell) is not None)
        return next(free, keys[-1])

    def _own(self, key: str, cell: Cell) -> Stored | None:
        stored, here = self._store.get(key), _card(cell.device)
        if stored is None or stored.status == "failed" or here is None:
            return stored
        return stored if computed_by(stored) in (here, cell.device) else None

    def _keys(self, cell: Cell) -> tuple[str, ...]:
        here = _card(cell.device)
        return (cell.key,) if here is None else (cell.key, beside(cell.key, here))


def wherever(config: Mapping[str, Any]) -> str:
    """What determines a result but for the machine, as text."""
    code = {name: value for name, value in config["code"].items() if name != "torch"}
    return json.dumps({**config, "code": code, "device": None}, sort_keys=True)


def computed_by(stored: Stored) -> str | None:
    """The model of the GPU that computed a result; None of a processor."""
    name = str(stored.config.get("device", "cpu"))
    return None if name == "cpu" else str(stored.row.get("device", name))


def built_with(stored: Stored) -> str:
    """The versions of this program and of torch that computed a result."""
    code = stored.config.get("code", {})
    return ", ".join(f"{name} {code[name]}" for name in ("unsplit", "torch") if name in code)


def beside(key: str, device: str | None) -> str:
    """The key for what this device computed, where another one's result has the key itself."""
    return hashlib.sha256(f"{key} {device or 'processor'}".encode()).hexdigest()


def _card(name: str) -> str | None:
    """The model of this machine's device of this name; None of the processor, and where it has none."""
    try:
        return card(name)
    except (RuntimeError, AssertionError):
        return None
