"""Work of steps, and calls that do such work side by side."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from unsplit.stepping.execution import Repeated

R = TypeVar("R")


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """A step to be done so many times.

    Args:
        step: the step.
        times: how often, 0 or more.
        after: called when all has been done.
    """

    step: Repeated
    times: int
    after: Callable[[], None] = _nothing


@dataclass(frozen=True, kw_only=True)
class Ended(Generic[R]):
    """What became of a call: its result, or the error that ended it. `index` is its number."""

    index: int
    result: R | None = None
    error: Exception | None = None


def perform(works: Sequence[Work]) -> None:
    """Do pieces of work that do not depend on each other.

    Where steps are launched and computed at different times (on CUDA) they advance side by side, a step of each in
    turn, and so do those of other calls of `side_by_side`; elsewhere one after another.
    """
    rounds = _rounds([work for work in works if work.step.overlaps])
    call: _Call[object] | None = getattr(_HERE, "call", None)
    if call is not None and any(work.step.overlaps for work in works):
        call.give_way(rounds)
    for _ in rounds:
        pass
    for work in works:
        if not work.step.overlaps:
            for _ in range(work.times):
                work.step()
            work.after()


def side_by_side(calls: Iterable[Callable[[], R]], *, at_once: int | None = None) -> Iterator[Ended[R]]:
    """Make calls, and give each as it ends, with the result that it has alone.

    Only one of them runs at a time. What they `perform` advances side by side where a device can use it; elsewhere
    the calls are made one after another.

    Args:
        calls: functions without arguments; each is begun when its turn comes.
        at_once: how many there may be that have begun and not ended, at most; None for all.
    """
    waiting = (_Call(index, function) for index, function in enumerate(calls))
    running = deque(itertools.islice(waiting, at_once))
    try:
        while running:
            call = running[0]
            call.advance()
            running.popleft()
            if call.ended is None:
                running.append(call)
            else:
                yield call.ended
                running.extend(itertools.islice(waiting, 1))
    finally:
        for call in running:
            call.abandon()


def together(calls: Iterable[Callable[[], R]], *, at_once: int | None = None) -> list[R]:
    """The results of calls, in their order; see `side_by_side`.

    Raises:
        Exception: what the first call to fail raised.
    """
    found: dict[int, R] = {}
    for ended in side_by_side(calls, at_once=at_once):
        if ended.error is not None:
            raise ended.error
        found[ended.index] = ended.result  # type: ignore[assignment]
    return [found[index] for index in sorted(found)]


def _rounds(works: Sequence[Work]) -> Iterator[None]:
    """A step of each piece of work, again and again; stops between where others could use the time."""
    for work in works:
        work.step.begin()
    for number in range(max((work.times for work in works), default=0)):
        for work in works:
            if number < work.times:
                work.step()
        yield
    for work in works:
        work.step.end()
        work.after()


_HERE = threading.local()
"""Its `call` is the call that this thread makes, if it makes one."""


class _Abandoned(BaseException):
    """Nobody waits for the call any more."""


class _Call(Generic[R]):
    """A function that is called in a thread of its own, which only runs while whoever made it waits.

    A thread, because a call can then give way from however deep within; one at a time, because the functions use
    torch's process-wide generator.
    """

    def __init__(self, index: int, function: Callable[[], R]) -> None:
        self.ended: Ended[R] | None = None
        self._index, self._function = index, function
        self._rounds: Iterator[None] | None = None
        self._error: BaseException | None = None
        self._waits = True
        self._turn, self._others_turn = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def advance(self) -> None:
        """One round of the work for which the call gave way, or the call itself until it gives way again or ends."""
        if self._rounds is not None:
            try:
                next(self._rounds)
            except StopIteration:
                self._rounds = None
            except Exception as error:
                self._rounds, self._error = None, error
            else:
                return
        if not self._thread.ident:
            self._thread.start()
        self._waits = False
        self._turn.release()
        self._others_turn.acquire()
        self._waits = True

    def give_way(self, rounds: Iterator[None]) -> None:
        """Have these rounds done, by the call's own thread no more; raises what they raise."""
        self._rounds = rounds
        self._others_turn.release()
        self._turn.acquire()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def abandon(self) -> None:
        """End a call that has given way; one that was interrupted in its own turn ends with the program."""
        if self._thread.ident and self._waits and self.ended is None:
            self._rounds, self._error = None, _Abandoned()
            self.advance()

    def _run(self) -> None:
        _HERE.call = self
        self._turn.acquire()
        try:
            self.ended = Ended(index=self._index, result=self._function())
        except Exception as error:
            self.ended = Ended(index=self._index, error=error)
        except _Abandoned as error:
            self.ended = Ended(index=self._index, error=RuntimeError(str(error)))
        finally:
            self._others_turn.release()
