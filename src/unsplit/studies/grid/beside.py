"""Running tasks side by side in this process, for cells that share one GPU."""

import gc
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch

from unsplit.stepping import Ended, side_by_side
from unsplit.studies.grid.execute import TaskResult, said

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 8
"""Tasks at a time, unless told: enough to keep a large card busy."""


def execute_beside(
    work: Callable[[T], R],
    tasks: Sequence[Callable[[], T]],
    jobs: int | None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[TaskResult[R]]:
    """Run `work` on every task; outcomes come as they end, each exactly once.

    Tasks for which the card's memory did not suffice beside others are run again, half as many at a time as before,
    down to one.

    Args:
        work: is called with a task; what it has `stepping.perform` do advances beside that of other tasks.
        tasks: functions that give the tasks, in the order in which they begin; each is called when its turn comes, so
            that what waits takes no memory.
        jobs: tasks at a time; None for as many as a large card has use for.
        say: called with a sentence when fewer go on.
    """
    indices, at_once = list(range(len(tasks))), min(jobs or _AT_ONCE, max(len(tasks), 1))
    while indices:
        again: list[int] | None = None if at_once == 1 else []
        yield from _once(work, tasks, indices, at_once, again)
        indices, at_once = again or [], max(at_once // 2, 1)
        if indices:
            say(
                f"The GPU's memory did not suffice for {len(indices)} of the cells that ran side by side; these run "
                f"again, {at_once} at a time."
            )
            # An error holds what the failed task had on the card, in a circle.
            gc.collect()
            torch.cuda.empty_cache()


def _once(
    work: Callable[[T], R],
    tasks: Sequence[Callable[[], T]],
    indices: Sequence[int],
    at_once: int,
    again: list[int] | None,
) -> Iterator[TaskResult[R]]:
    """The outcomes of some tasks; instead of one for which memory did not suffice its index, if there is a list."""
    calls = (partial(work, tasks[index]()) for index in indices)
    for ended in side_by_side(calls, at_once=at_once):
        if again is not None and isinstance(ended.error, torch.cuda.OutOfMemoryError):
            again.append(indices[ended.index])
        else:
            yield _result(ended, indices[ended.index])


def _result(ended: Ended[R], index: int) -> TaskResult[R]:
    if ended.error is None:
        return TaskResult(index=index, result=ended.result)
    details = "".join(traceback.format_exception(ended.error))
    return TaskResult(index=index, error=said(ended.error), details=details)
