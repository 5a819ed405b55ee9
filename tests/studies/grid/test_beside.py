"""Cells that share a GPU run within one process; what it computed is found and named wherever it was measured."""

import os
from dataclasses import dataclass, replace

import pytest
import torch

from unsplit import devices
from unsplit.stepping import Work, perform
from unsplit.studies.grid import Cell, _run
from unsplit.studies.grid.beside import execute_beside
from unsplit.studies.reproduction import ExecutorConfig, Store, run

LOG = []


class Overlapping:
    """A step of a device that computes while others are launched."""

    overlaps = True

    def __init__(self, name):
        self.name = name

    def begin(self):
        pass

    def __call__(self):
        LOG.append(self.name)

    def end(self):
        pass


@dataclass(frozen=True, kw_only=True)
class Shared(Cell):
    """A cell that gives way, or fails; it tells by which process it was run."""

    kind = "shared"
    device: str = "cuda"
    fails: bool = False

    @property
    def label(self):
        return f"shared cell {self.seed}"

    @property
    def gives_way(self):
        return self.device == "cuda"

    def run(self, needed):  # noqa: ARG002
        perform([Work(step=Overlapping(self.seed), times=2)])
        if self.fails:
            raise ValueError("as told")
        return {"process": os.getpid()}, {"value": torch.ones(2)}


@pytest.fixture
def a_card(monkeypatch):
    monkeypatch.setattr(_run, "card", lambda name: None if name == "cpu" else "Card 5000")


@pytest.mark.usefixtures("a_card")
def test_cells_of_a_gpu_take_turns_in_this_process_and_name_the_card(tmp_path):
    LOG.clear()
    cells = [Shared(dataset="digits", seed=seed) for seed in range(3)]
    cells.append(replace(cells[0], seed=3, fails=True))
    with Store(tmp_path) as store:
        summary = run(store, cells, ExecutorConfig(jobs=2))
        stored = [store.get(cell.key) for cell in cells]
    assert (summary.ran, summary.failed) == (4, 1)
    assert LOG == [0, 1, 0, 1, 2, 3, 2, 3]
    assert [cell.row for cell in stored[:3]] == [{"process": os.getpid(), "device": "Card 5000"}] * 3
    assert "ValueError: as told" in stored[3].row["error"]


def test_cells_of_the_processor_have_processes_of_their_own(tmp_path):
    cell = Shared(dataset="digits", seed=0, device="cpu")
    with Store(tmp_path) as store:
        run(store, [cell], ExecutorConfig(jobs=1))
        row = store.get(cell.key).row
    assert row.keys() == {"process"}
    assert row["process"] != os.getpid()


def made(*tasks):
    return [lambda task=task: task for task in tasks]


def test_a_task_is_made_when_its_turn_comes():
    begun = []

    def task(number):
        begun.append(number)
        return number

    outcomes = execute_beside(lambda number: number, [lambda number=number: task(number) for number in range(4)], 1)
    assert next(outcomes).result == 0
    assert begun == [0]
    assert [outcome.result for outcome in outcomes] == [1, 2, 3]


def test_a_task_for_which_memory_did_not_suffice_beside_others_is_run_again_alone():
    running, calls = [], []

    def work(task):
        running.append(task)
        perform([Work(step=Overlapping(task), times=2)])
        calls.append((task, len(running)))
        if task == "large" and len(running) > 1:
            running.remove(task)
            raise torch.OutOfMemoryError("CUDA out of memory")
        running.remove(task)
        return task

    found = {outcome.index: outcome.result for outcome in execute_beside(work, made("large", "small", "other"), None)}
    assert found == {0: "large", 1: "small", 2: "other"}
    assert calls[-1] == ("large", 1)


def test_a_task_too_large_for_the_card_fails():
    def work(task):
        raise torch.OutOfMemoryError(f"CUDA out of memory: {task}")

    (outcome,) = execute_beside(work, made("huge"), None)
    assert outcome.error == "OutOfMemoryError: CUDA out of memory: huge"
    assert "Traceback" in outcome.details


def test_the_processor_has_no_model_that_torch_could_tell():
    assert devices.card("cpu") is None
    assert devices.is_cuda("cuda:1")
    assert not devices.is_cuda("cpu")
