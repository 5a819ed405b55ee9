"""The results of a reproduction: rows in SQLite, tensors in safetensors files named by what they hold.

A cell is stored in one transaction after its tensors are in place, so whatever ends the program, a cell is either whole
or not there.
"""

import datetime
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unsplit.errors import FormatError, InputError, StorageError
from unsplit.files import explained, writable_folder, write_tensors
from unsplit.tensors import fingerprint

STORE_VERSION = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS cells (
    key TEXT PRIMARY KEY,
    config TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
    row TEXT NOT NULL,
    tensors TEXT,
    seconds REAL NOT NULL,
    finished TEXT NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One finished cell.

    Args:
        key: the key that the cell is stored under.
        config: everything that determines the cell's results.
        status: "done", or "failed" with `row["error"]`.
        row: the cell's numbers.
        tensors: the name of its tensors' file, None if it has none.
        seconds: how long the cell took.
    """

    key: str
    config: dict[str, Any]
    status: str
    row: dict[str, Any]
    tensors: str | None
    seconds: float


class Store:
    """A folder with `results.sqlite` and `tensors/`. Open it in a `with` block; one run at a time may write to it.

    Args:
        folder: the store's folder, which is made if need be.
        write: take the store for this run; without, it is only read.

    Raises:
        StorageError: it cannot be written.
        FormatError: it is damaged, or was written by a newer version.
        InputError: another run is writing to it.
    """

    def __init__(self, folder: Path, *, write: bool = True) -> None:
        self.folder = folder
        self._lock: FileLock | None = None
        path = folder / "results.sqlite"
        if write:
            self._lock = FileLock(writable_folder(folder) / ".lock")
            try:
                self._lock.acquire(timeout=0)
            except Timeout as error:
                raise InputError(
                    f"Another run is writing to {folder}; wait until it has ended, or name another folder (`store`)."
                ) from error
        elif not path.is_file():
            raise StorageError(f"There are no results in {folder}; run for example `unsplit reproduce table2` first.")
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            self._open(path)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        if hasattr(self, "_database"):
            self._database.close()
        if self._lock is not None:
            self._lock.release()

    def get(self, key: str) -> Stored | None:
        """The cell stored under this key, whose tensors are where they should be; else None."""
        with self._explained():
            found = self._database.execute("SELECT * FROM cells WHERE key = ?", (key,)).fetchone()
        cell = _cell(found) if found else None
        if cell is not None and cell.tensors is not None and not self._path(cell.tensors).is_file():
            return None
        return cell

    def put(
        self,
        key: str,
        config: Mapping[str, object],
        row: Mapping[str, object],
        *,
        seconds: float,
        tensors: Mapping[str, Tensor] | None = None,
        status: str = "done",
    ) -> None:
        """Store a cell, in place of an older one with this key."""
        digest = None
        if tensors:
            digest = fingerprint(tensors)
            if not self._path(digest).is_file():
                write_tensors(self._path(digest), tensors)
        finished = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        values = (key, _json(config), status, _json(row), digest, seconds, finished)
        with self._explained():
            self._database.execute("INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def tensors(self, cell: Stored) -> dict[str, Tensor]:
        """The tensors of a cell.

        Raises:
            FormatError: their file is damaged or gone.
        """
        if cell.tensors is None:
            return {}
        path = self._path(cell.tensors)
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise FormatError(f"{path} is damaged or missing; delete it and run the command again.") from error

    def __iter__(self) -> Iterator[Stored]:
        with self._explained():
            rows = self._database.execute("SELECT * FROM cells ORDER BY key").fetchall()
        return map(_cell, rows)

    def _path(self, digest: str) -> Path:
        return self.folder / "tensors" / digest[:2] / f"{digest}.safetensors"

    def _open(self, path: Path) -> None:
        with self._explained():
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version > STORE_VERSION:
                raise FormatError(
                    f"{path} is of version {version}, and this program reads up to {STORE_VERSION}; update unsplit."
                )
            if version == 0 and self._lock is not None:
                self._database.execute("PRAGMA journal_mode = DELETE")
                self._database.execute(_TABLES)
                self._database.execute(f"PRAGMA user_version = {STORE_VERSION}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        path = self.folder / "results.sqlite"
        try:
            with explained(path):
                yield
        except sqlite3.OperationalError as error:
            reason = str(error)
            todo = "free some space" if "full" in reason else "choose a place that can be written"
            raise StorageError(f"Cannot write {path}: {reason}; {todo} and run the command again.") from error
        except sqlite3.DatabaseError as error:
            raise FormatError(f"{path} is damaged ({error}); move it away and run the command again.") from error


def _cell(found: tuple[str, str, str, str, str | None, float, str]) -> Stored:
    key, config, status, row, tensors, seconds, _ = found
    return Stored(
        key=key, config=json.loads(config), status=status, row=json.loads(row), tensors=tensors, seconds=seconds
    )


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, sort_keys=True)
