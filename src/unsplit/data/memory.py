"""Whether a set fits into memory, asked before it is read."""

import os
from pathlib import Path

from unsplit.errors import DataError

_UNKNOWN = 8 * 2**30


def room() -> int:
    """Bytes that a set may take: half of the machine's memory, since it is copied when it is scaled and dealt out."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):  # not on every system
        return _UNKNOWN


def check_room(path: Path, needed: int, advice: str) -> None:
    """Check that so many bytes fit.

    Raises:
        DataError: they do not; the sentence ends in the advice.
    """
    if needed > room():
        raise DataError(
            f"{path} takes about {needed / 2**30:.1f} GiB of memory, more than half of what this machine has; {advice}"
        )
