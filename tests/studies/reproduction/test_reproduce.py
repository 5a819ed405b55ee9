"""The reproduction: grids, the store that survives anything, and what it says to bad input."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from unsplit.cli.app import main
from unsplit.errors import FormatError, InputError, StorageError
from unsplit.studies.grid import Cell
from unsplit.studies.grid.execute import execute
from unsplit.studies.reproduction import TABLES, ExecutorConfig, Selection, Store, estimate, missing, plan, run
from unsplit.studies.reproduction.clients import ClientCell
from unsplit.studies.reproduction.tables._inversion import InversionCell

LOCAL = ExecutorConfig(jobs=2)


def contents(folder):
    """All that a store holds but times."""
    with Store(folder, write=False) as store:
        return {cell.key: (cell.config, cell.status, cell.row, cell.tensors) for cell in store}


def command(store, *arguments):
    return [
        sys.executable,
        "-c",
        "from unsplit.cli import main; main()",
        "reproduce",
        *arguments,
        "--store",
        str(store),
        "--jobs",
        "2",
    ]


def stored(folder):
    """How many cells a store holds by now, which another process may be making."""
    try:
        return len(contents(folder))
    except (FormatError, InputError, StorageError):  # not there yet
        return 0


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(tmp_path):
    """Killed each time when it has stored another cell, and a little later, so that it is at work on the next."""
    arguments = ("table2", "--budget", "smoke", "--preset", "joint,paper", "--depths", "1")
    subprocess.run(command(tmp_path / "calm", *arguments), check=True, capture_output=True)
    moments = random.Random(0)
    for cells in range(3):
        process = subprocess.Popen(command(tmp_path / "killed", *arguments), stderr=subprocess.DEVNULL)
        while process.poll() is None and stored(tmp_path / "killed") < cells:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()  # its workers end by themselves later, as orphans
        assert process.returncode == -signal.SIGKILL
        assert cells <= stored(tmp_path / "killed") < 5
    subprocess.run(command(tmp_path / "killed", *arguments), check=True, capture_output=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")
    assert len(contents(tmp_path / "calm")) == 5
    with Store(tmp_path / "killed", write=False) as store:
        for cell in store:
            assert store.tensors(cell)


@dataclass(frozen=True, kw_only=True)
class Quick(Cell):
    """A cell that takes no time, or goes wrong as told."""

    kind = "quick"
    number: int = 0
    fate: str = "well"
    log: str = ""

    @property
    def label(self):
        return f"quick {self.number}"

    def run(self, client):
        assert not client
        if self.log:
            with Path(self.log).open("a") as stream:
                stream.write(f"{self.number}\n")
        if self.fate == "raises":
            raise ValueError("went wrong")
        if self.fate == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return {"number": self.number}, {"value": torch.full((2,), float(self.number))}


def quick(count, **fates):
    return [
        Quick(dataset="digits", seed=0, number=number, fate=fates.get(f"n{number}", "well")) for number in range(count)
    ]


def test_finished_cells_are_not_run_again(tmp_path):
    log = tmp_path / "log"
    cells = [replace(cell, log=str(log)) for cell in quick(3)]
    with Store(tmp_path / "store") as store:
        run(store, cells[:2], LOCAL)
        summary = run(store, cells, LOCAL)
        assert (summary.ran, summary.kept, summary.failed) == (1, 2, 0)
        assert sorted(log.read_text().split()) == ["0", "1", "2"]
        run(store, cells, LOCAL, resume=False)
    assert sorted(log.read_text().split()) == ["0", "0", "1", "1", "2", "2"]


def test_a_changed_configuration_is_another_cell():
    cell = plan(Selection(tables=("table2",), budget="smoke"))[0]
    assert isinstance(cell, InversionCell)
    assert replace(cell, settings=replace(cell.settings, steps=151)).key != cell.key
    assert replace(cell, training=replace(cell.training, epochs=2)).needs.key != cell.needs.key
    assert replace(cell).key == cell.key


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(tmp_path):
    told = []
    with Store(tmp_path) as store:
        summary = run(store, quick(4, n1="raises"), LOCAL, tell=told.append)
        assert (summary.ran, summary.failed) == (4, 1)
        failed = [cell for cell in store if cell.status == "failed"]
        assert [cell.row["error"] for cell in failed] == ["ValueError: went wrong"]
        assert "Traceback" in failed[0].row["details"]
        assert len(missing(store, quick(4, n1="raises"))) == 1, "a failed cell is run again"
    assert [progress.done for progress in told] == [1, 2, 3, 4]
    assert [progress.error for progress in told if progress.error] == ["ValueError: went wrong"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_worker_killed_for_memory_takes_only_its_own_cell(tmp_path, jobs):
    with Store(tmp_path) as store:
        summary = run(store, quick(6, n2="killed"), ExecutorConfig(jobs=jobs))
        assert (summary.ran, summary.failed) == (6, 1)
        rows = {cell.config["number"]: cell for cell in store}
    assert "memory" in rows[2].row["error"]
    assert all(rows[number].status == "done" for number in (0, 1, 3, 4, 5))


def test_a_client_is_trained_once_and_its_failure_fails_its_cells(tmp_path):
    cells = plan(Selection(tables=("table2", "figure2"), budget="smoke", depths=(1,)))
    with Store(tmp_path) as store:
        assert sum(isinstance(cell, ClientCell) for cell in missing(store, cells)) == 1
        broken = [replace(cell, dataset="nothing") for cell in cells]
        summary = run(store, broken, LOCAL)
        assert summary.failed == len(broken) + 1
        errors = [cell.row["error"] for cell in store if cell.config["kind"] == "inversion"]
    assert all("What it needs (training nothing, seed 0) failed" in error for error in errors)


def test_tensors_are_kept_once_and_a_lost_file_is_made_again(tmp_path):
    cells = [*quick(1), replace(quick(1)[0], seed=1)]
    with Store(tmp_path) as store:
        run(store, cells, LOCAL)
        files = list(tmp_path.glob("tensors/*/*.safetensors"))
        assert len(files) == 1
        found = store.get(cells[0].key)
        assert torch.equal(store.tensors(found)["value"], torch.zeros(2))
        files[0].unlink()
        assert len(missing(store, cells)) == 2
        files[0].write_bytes(b"damaged")
        with pytest.raises(FormatError, match="delete it and run the command again"):
            store.tensors(found)


def test_a_cell_is_stored_whole_or_not_at_all(tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        full = OSError(28, "No space left on device")
        monkeypatch.setattr("unsplit.files.save_file", lambda *_, **__: (_ for _ in ()).throw(full))
        with pytest.raises(StorageError, match="No space left"):
            run(store, quick(1), LOCAL)
        assert not list(store)
        assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".part", ".safetensors"))]
        monkeypatch.undo()
        assert run(store, quick(1), LOCAL).ran == 1


def test_two_runs_on_one_store(tmp_path):
    with Store(tmp_path), pytest.raises(InputError, match="Another run is writing"):
        Store(tmp_path)
    with Store(tmp_path), Store(tmp_path, write=False) as reader:
        assert not list(reader)


def test_a_store_of_a_newer_version_and_a_damaged_one(tmp_path):
    with Store(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "results.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(FormatError, match="update unsplit"):
        Store(tmp_path)
    (tmp_path / "results.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(FormatError, match="damaged"):
        Store(tmp_path)
    with pytest.raises(StorageError, match="run for example"):
        Store(tmp_path / "nothing", write=False)


def test_the_estimate_comes_from_like_cells(tmp_path):
    cells = quick(4)
    with Store(tmp_path) as store:
        assert estimate(store, cells, 2) is None
        store.put(cells[0].key, cells[0].config, {}, seconds=10.0)
        assert estimate(store, cells[1:], 2) == pytest.approx(15.0)


def test_the_plan_is_the_papers_grid():
    cells = plan(Selection(tables=("table2",), presets=("joint", "paper"), budget="full"))
    assert len(cells) == (6 + 6 + 8) * 2 * 2 * 3
    assert {cell.depth for cell in cells if cell.dataset == "cifar-10"} == set(range(1, 9))
    assert all(cell.settings.rounds == 1000 for cell in cells if cell.preset == "paper")
    assert len(plan(Selection(tables=("table2", "figure2"), budget="short", datasets=("mnist",)))) == 11 * 6


def labels_of(*tables, **options):
    return [cell.label for cell in plan(Selection(tables=tables, budget="full", **options))]


def test_the_plans_of_the_comparisons():
    assert len(labels_of("table4")) == 3 * 4
    assert all("depth 3" in label for label in labels_of("table4"))
    assert len(labels_of("figure3a", seeds=(0,))) == (6 + 6 + 8) * 4
    assert [cell.runs for cell in plan(Selection(tables=("table5",), budget="full"))] == [30] * 18
    assert labels_of("white-box", datasets=("mnist", "fashion-mnist")) == [
        f"mnist, depth {depth}, after training, white box, seed 0" for depth in (0, 4)
    ]
    hijack = [label for label in labels_of("figure3b") if "hijacking" in label]
    assert hijack[0] == "hijacking mnist, iterations 0 to 500, seed 0"
    assert hijack[-1].startswith("hijacking mnist, iterations 9500 to 10000")
    assert set(labels_of("table6")) <= set(labels_of("table2"))


def test_all_tables_share_their_cells():
    one_by_one = [cell.key for name in TABLES for cell in plan(Selection(tables=(name,), budget="full"))]
    together = [cell.key for cell in plan(Selection(tables=tuple(TABLES), budget="full"))]
    assert len(together) == len(set(one_by_one)) < len(one_by_one)


def test_what_a_cell_needs_is_run_before_it(tmp_path):
    cells = plan(Selection(tables=("figure3b",), budget="smoke"))
    with Store(tmp_path) as store:
        todo = missing(store, cells[1:2])
        assert [cell.label for cell in todo] == [cell.label for cell in cells[:2]]
        assert missing(store, [replace(cell, seed=1) for cell in cells[:2]])[0].seed == 1


def test_outcomes_come_once_each():
    outcomes = list(execute(abs, [-1, -2, -3], LOCAL))
    assert sorted((outcome.index, outcome.result) for outcome in outcomes) == [(0, 1), (1, 2), (2, 3)]


BAD = {
    "table9": "did you mean 'table",
    "table2 --preset jont": "did you mean 'joint'",
    "table2 --datasets mnits": "did you mean 'mnist'",
    "table2 --depths 17": "no depth 17",
    "table2 --depths one": "whole numbers",
    "table2 --budget fll": "did you mean 'full'",
    "table2 --executor rya": "did you mean 'ray'",
    "table2 --states during": "Unknown state",
    "report": "There are no results in",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["unsplit", "reproduce", *arguments.split(), "--store", str(tmp_path / "store")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert BAD[arguments] in printed
    assert len(printed.strip().splitlines()) == 1


def test_without_the_data_the_command_that_gets_them_is_said_before_anything_is_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UNSPLIT_DATA", str(tmp_path))
    monkeypatch.setattr("unsplit.data.sources._cache", lambda: tmp_path)
    arguments = ["unsplit", "reproduce", "table2", "--datasets", "mnist", "--store", str(tmp_path / "store")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "unsplit data fetch mnist" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
