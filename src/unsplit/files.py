"""Writing files so that nothing is lost: to a temporary name, flushed, then moved into place."""

import errno
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .errors import InputError, StorageError

if sys.platform != "win32":
    import fcntl

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
_swept: set[Path] = set()


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Give a temporary path to write; on success move it over `path`, on any failure leave `path` as it was. What a
    killed process left half written in that folder is removed.

    Args:
        path: file to replace.
        private: whether only the owner may read the file, from the moment it exists.

    Raises:
        StorageError: the folder cannot be created or written, or the disk is full.
    """
    with explained(path, writes=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        _is_ours(handle)
        try:
            yield temporary
            _flush_to_disk(temporary)
            if not private:  # mkstemp's own mode is 0600
                temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            os.close(handle)
            temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove temporary files here that no living process writes; once in a process, as folders may be large."""
    if folder.resolve() in _swept:
        return
    _swept.add(folder.resolve())
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with suppress(OSError), path.open("rb") as stream:
                if _is_ours(stream.fileno()):
                    path.unlink()


def _is_ours(handle: int) -> bool:
    """Lock a file until its handle is closed; False where another process has, or nobody can tell."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as safetensors, whole or not at all.

    Raises:
        StorageError: the place cannot be written, or the disk is full.
    """
    on_disk = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(on_disk, temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:
            # The library reports the system's refusals in words only, ending in "(os error NUMBER)".
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write `text` as UTF-8, whole or not at all; if `private`, for the owner's eyes only."""
    with replacing(path, private=private) as temporary:
        temporary.write_text(text, encoding="utf-8")


def writable_folder(path: Path) -> Path:
    """Create `path` if need be and prove that a file can be written there, before hours of work depend on it."""
    with explained(path, writes=True):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    return path


def locked(folder: Path) -> AbstractContextManager[object]:
    """Create `folder` if need be, and keep other processes of this program out of it until the context ends.

    Raises:
        InputError: another process uses it.
        StorageError: it cannot be written.
    """
    from filelock import FileLock, Timeout  # which most uses of this package need not load

    lock = FileLock(writable_folder(folder) / ".lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"Another process uses {folder}; name another folder, or stop that process first.") from error


@contextmanager
def explained(path: Path, *, writes: bool = False) -> Iterator[None]:
    """Turn an operating system's refusal to read or write `path` into a `StorageError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"No space left to write {path}; free some space and run the command again.") from error
        if error.errno == errno.ENOENT and not writes:
            raise StorageError(f"There is no {path}; check the name.") from error
        if error.errno == errno.EISDIR:
            raise StorageError(f"{path} is a folder; name a file.") from error
        reason = error.strerror or str(error)
        raise StorageError(f"Cannot use {path}: {reason}; choose a place that can be written.") from error


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
