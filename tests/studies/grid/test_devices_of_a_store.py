"""Stores with results of several devices and builds: whose counts, how they merge, and what is said of memory."""

import shutil
from dataclasses import dataclass, replace

import pytest
import torch

from helpers.programs import program
from unsplit.errors import InputError
from unsplit.stepping import Work, perform
from unsplit.studies.grid import Cell, Found, Store, _run, found, merge, missing
from unsplit.studies.grid.beside import execute_beside
from unsplit.studies.reproduction import ExecutorConfig, run

HERE, ELSEWHERE = "Card 5000", "Card 7000"


@dataclass(frozen=True, kw_only=True)
class Measured(Cell):
    """A cell whose number is its seed, on a device that shares this process."""

    kind = "measured"
    device: str = "cuda"
    after: int | None = None

    @property
    def label(self):
        return f"measured cell {self.seed}"

    @property
    def needs(self):
        return None if self.after is None else Measured(dataset=self.dataset, seed=self.after, device=self.device)

    @property
    def gives_way(self):
        return self.device != "cpu"

    def run(self, needed):
        return {"mse": float(self.seed) + 100 * len(needed)}, {"value": torch.full((2,), float(self.seed))}


CELL = Measured(dataset="digits", seed=1)


@pytest.fixture
def card(monkeypatch):
    """Gives this machine another GPU."""

    def put_in(model):
        for module in (_run, found):
            monkeypatch.setattr(module, "card", lambda name: None if name == "cpu" else model)

    put_in(HERE)
    return put_in


def stored(store, *cells, **config):
    return run(store, cells, ExecutorConfig(jobs=1), **config)


def test_what_another_card_computed_is_run_again_and_both_are_kept(card, tmp_path):
    with Store(tmp_path) as store:
        stored(store, CELL)
        assert missing(store, [CELL]) == []
        card(ELSEWHERE)
        assert missing(store, [CELL]) == [CELL]
        assert stored(store, CELL).ran == 1
        assert stored(store, CELL).ran == 0
        assert Found(store).get(CELL).row["device"] == ELSEWHERE
        assert sorted(cell.row["device"] for cell in store) == [HERE, ELSEWHERE]
        card(HERE)
        assert missing(store, [CELL]) == []
        assert Found(store).get(CELL).row["device"] == HERE


def test_where_it_is_asked_for_another_device_or_build_counts(card, tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        stored(store, CELL)
        card(ELSEWHERE)
        on_processor = replace(CELL, device="cpu")
        for cell in (CELL, on_processor):
            assert missing(store, [cell], any_device=True) == []
            assert missing(store, [cell]) == [cell]
        assert stored(store, CELL, on_processor, any_device=True).ran == 0
        follows = Measured(dataset="digits", seed=2, after=1)
        assert stored(store, follows, any_device=True).ran == 1
        assert Found(store).get(follows).row["mse"] == 102
        monkeypatch.setattr("unsplit.studies.grid.cell.versions", lambda: {"unsplit": "0.1.0", "torch": "9.9.9"})
        assert missing(store, [CELL], any_device=False) == [CELL]


@pytest.mark.usefixtures("card")
def test_on_a_machine_without_a_card_its_results_are_found(tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        stored(store, CELL)

        def none(_):
            raise AssertionError("Torch not compiled with CUDA enabled")

        monkeypatch.setattr(found, "card", none)
        assert Found(store).get(CELL).row["device"] == HERE


@pytest.fixture
def two(card, tmp_path):  # noqa: ARG001 - the card is there
    """Two stores with a cell each, and one that both have."""
    with Store(tmp_path / "one") as one, Store(tmp_path / "two") as other:
        stored(one, CELL, replace(CELL, seed=2))
        stored(other, CELL, replace(CELL, seed=3))
        yield one, other


def test_a_merge_takes_over_what_is_not_there(two):
    one, other = two
    merged = merge(one, other)
    assert (merged.taken, merged.kept) == (1, 1)
    assert sorted(cell.row["mse"] for cell in other) == [1, 2, 3]
    taken = next(cell for cell in other if cell.row["mse"] == 2)
    assert other.tensors(taken)["value"].tolist() == [2, 2]
    assert merge(one, other).taken == 0


def test_a_merge_stops_at_the_same_cell_with_other_numbers_and_names_both(two):
    one, other = two
    there = other.get(CELL.key)
    other.put(CELL.key, there.config, there.row | {"mse": 1.5}, seconds=1, tensors=other.tensors(there))
    with pytest.raises(InputError) as caught:
        merge(one, other)
    said = str(caught.value)
    assert f"{one.folder} (mse is 1.0) and in {other.folder} (mse is 1.5)" in said
    assert "measured, dataset digits, seed 1" in said
    assert "\n" not in said
    assert len(list(other)) == 2


def test_other_pictures_are_other_numbers(two):
    one, other = two
    there = other.get(CELL.key)
    other.put(CELL.key, there.config, there.row, seconds=1, tensors={"value": torch.zeros(2)})
    with pytest.raises(InputError, match="other tensors"):
        merge(one, other)


def test_results_of_two_cards_stand_side_by_side(card, two, tmp_path):
    _, other = two
    card(ELSEWHERE)
    with Store(tmp_path / "third") as third:
        stored(third, replace(CELL, seed=3))
        assert merge(third, other).taken == 1
        assert merge(third, other).kept == 1
        assert merge(other, third).taken == 2
    assert sorted(cell.row["device"] for cell in other) == [HERE, HERE, ELSEWHERE]


def test_a_cell_that_ended_well_takes_the_place_of_one_that_failed_and_never_the_other_way_round(two):
    one, other = two
    kept = other.get(CELL.key)
    other.put(CELL.key, kept.config, {"error": "no memory", "details": ""}, seconds=0, status="failed")
    assert merge(other, one).taken == 1
    assert one.get(CELL.key).status == "done"
    assert merge(one, other).taken == 2
    assert other.get(CELL.key).row == kept.row


def test_where_memory_does_not_suffice_fewer_run_side_by_side_and_that_is_said():
    """A card with room for two: eight are begun, then four, then two, which end."""
    running, said = [], []

    def work(task):
        running.append(task)
        try:
            perform([Work(step=Small(), times=3)])
            if len(running) > 2:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return task
        finally:
            running.remove(task)

    tasks = [lambda number=number: number for number in range(8)]
    results = {outcome.index: outcome for outcome in execute_beside(work, tasks, 8, said.append)}
    assert {index: outcome.result for index, outcome in results.items()} == {number: number for number in range(8)}
    assert said
    assert all("memory did not suffice" in sentence for sentence in said)
    assert "4 at a time" in said[0]


class Small:
    """A step of a device that computes while others are launched."""

    overlaps = True

    def begin(self):
        pass

    def __call__(self):
        pass

    def end(self):
        pass


def test_merge_is_a_command_and_a_conflict_ends_it_with_2(two, tmp_path, monkeypatch, capsys):
    one, other = two
    there = other.get(CELL.key)
    other.put(CELL.key, there.config, there.row | {"mse": 1.5}, seconds=1, tensors=other.tensors(there))
    copied = [shutil.copytree(store.folder, tmp_path / f"copy-{store.folder.name}") for store in (one, other)]
    code, said = program(monkeypatch, capsys, "reproduce", "merge", "--source", copied[0], "--store", copied[1])
    words = " ".join(said.err.replace("│", " ").split())
    assert code == 2
    assert "has other numbers in" in words
    assert "without --resume" in words
    assert program(monkeypatch, capsys, "reproduce", "merge")[0] == 2
