"""Work of steps, alone and side by side."""

import threading

import pytest
import torch

from unsplit.stepping import Work, perform, repeated, side_by_side, together

CPU = torch.device("cpu")


class Overlapping:
    """A step of a device that computes while others are launched, as CUDA does; it writes down when it was called."""

    overlaps = True

    def __init__(self, name, log):
        self.name, self.log = name, log

    def begin(self):
        self.log.append(f"{self.name} begins")

    def __call__(self):
        self.log.append(self.name)

    def end(self):
        self.log.append(f"{self.name} ends")


def test_on_the_processor_work_is_done_piece_by_piece():
    log = []
    perform(
        [
            Work(step=repeated(lambda: log.append("a"), CPU), times=2, after=lambda: log.append("after a")),
            Work(step=repeated(lambda: log.append("b"), CPU), times=1, after=lambda: log.append("after b")),
        ]
    )
    assert log == ["a", "a", "after a", "b", "after b"]


def test_where_steps_overlap_pieces_of_work_take_turns():
    log = []
    a, b = (Work(step=Overlapping(name, log), times=times) for name, times in (("a", 1), ("b", 3)))
    perform([a, b])
    assert log == ["a begins", "b begins", "a", "b", "b", "b", "a ends", "b ends"]


def job(name, log, kind):
    """Two stretches of work with the host's own between them; gives what it has done."""

    def run():
        own = []
        for stretch in range(2):
            log.append(f"{name} plans")
            step = Overlapping(name, log) if kind == "overlapping" else repeated(lambda: log.append(name), CPU)
            perform([Work(step=step, times=2, after=lambda stretch=stretch: own.append(f"{name}{stretch}"))])
        return own

    return run


def test_calls_take_turns_where_steps_overlap():
    log = []
    assert together([job("a", log, "overlapping"), job("b", log, "overlapping")]) == [["a0", "a1"], ["b0", "b1"]]
    steps = [entry for entry in log if len(entry) == 1]
    assert steps == ["a", "b"] * 4
    assert log.index("b plans") < log.index("a ends")


def test_elsewhere_one_call_ends_before_the_next_begins():
    log = []
    assert together([job("a", log, "eager"), job("b", log, "eager")]) == [["a0", "a1"], ["b0", "b1"]]
    assert log == ["a plans", "a", "a", "a plans", "a", "a", "b plans", "b", "b", "b plans", "b", "b"]


@pytest.mark.parametrize("at_once", [1, 2, None])
def test_no_more_calls_than_allowed_have_begun_and_not_ended(at_once):
    open_calls, most = set(), []

    def call(number):
        def run():
            open_calls.add(number)
            most.append(len(open_calls))
            perform([Work(step=Overlapping("x", []), times=3)])
            open_calls.remove(number)
            return number

        return run

    assert together([call(number) for number in range(4)], at_once=at_once) == [0, 1, 2, 3]
    assert max(most) == (at_once or 4)


class Failing(Overlapping):
    """One that cannot be done."""

    def __call__(self):
        raise ValueError("a step failed")


def test_an_error_of_a_step_is_raised_where_the_work_was_given_away_and_harms_no_other_call():
    log = []

    def caught():
        try:
            perform([Work(step=Failing("x", []), times=1)])
        except ValueError as error:
            return str(error)

    def raised():
        perform([Work(step=Failing("x", []), times=1)])

    ended = {one.index: one for one in side_by_side([caught, raised, job("a", log, "overlapping")])}
    assert ended[0].result == "a step failed"
    assert isinstance(ended[1].error, ValueError)
    assert ended[2].result == ["a0", "a1"]
    with pytest.raises(ValueError, match="a step failed"):
        together([raised])


def test_calls_that_nobody_waits_for_end():
    before, unwound = threading.active_count(), []

    def left():
        try:
            perform([Work(step=Overlapping("x", []), times=9)])
        finally:
            unwound.append("left")

    calls = side_by_side([lambda: 1, left])
    assert next(calls).result == 1
    next_turn = side_by_side([left, lambda: 2])
    assert next(next_turn).result == 2
    calls.close()
    next_turn.close()
    assert unwound == ["left"]
    assert threading.active_count() == before
