"""Running cells until the minutes are over; what has ended by then is stored."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from unsplit.studies.grid import Cell, CellEnded, ExecutorConfig, Store, run


class TimeIsUpError(Exception):
    """The minutes are over."""


def run_until(store: Store, cells: Sequence[Cell], jobs: int | None, deadline: float) -> float:
    """Seconds of what was not stored yet. A cell that has not ended at the deadline is given up.

    Args:
        store: the store, open for writing.
        cells: the cells of a plan.
        jobs: cells at a time; None for eight on a GPU and one a core on a processor.
        deadline: a time of `time.perf_counter()`.

    Raises:
        TimeIsUpError: the deadline has passed.
    """
    started = time.perf_counter()

    def tell(ended: CellEnded) -> None:
        passed = time.perf_counter() - started
        outcome = f"{ended.seconds:.1f} s" if ended.error is None else f"failed: {ended.error}"
        print(f"{passed:6.1f} s [{ended.done}/{ended.total}] {ended.cell.label}: {outcome}", flush=True)
        if time.perf_counter() > deadline and ended.done < ended.total:
            raise TimeIsUpError

    with _alarm(deadline - started):
        run(store, cells, ExecutorConfig(jobs=jobs), tell=tell, say=lambda sentence: print(sentence, flush=True))
    return time.perf_counter() - started


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise `TimeIsUpError` after so many seconds, whatever is being done; without alarms (Windows) at a cell's end."""
    if seconds <= 0:
        raise TimeIsUpError
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise TimeIsUpError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
