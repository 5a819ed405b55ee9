"""Results that a GPU of another machine computed: found in its store, merged into the page, and named."""

import pytest

from unsplit.studies.grid.rows import read_rows
from unsplit.studies.grid.select import only, select
from unsplit.studies.reproduction import ExecutorConfig, Selection, Store, collect, page_markdown, plan, run
from unsplit.studies.reproduction.write import write_results

CARD = "Card 5000"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A store of one attack on the digits, by the processor."""
    folder = tmp_path_factory.mktemp("measured")
    selection = Selection(tables=("table2",), presets=("strong",), depths=(1,), states=("before",), budget="smoke")
    with Store(folder) as store:
        assert run(store, plan(selection), ExecutorConfig(jobs=1)).failed == 0
    return folder


def elsewhere(measured, folder, *, seeds=(0,)):
    """The same as another machine would have measured it on its GPU, with its own build of torch."""
    with Store(measured, write=False) as source, Store(folder) as store:
        for cell in source:
            for seed in seeds:
                code = cell.config["code"] | {"torch": "9.9.9+cu999"}
                config = cell.config | {"device": "cuda", "code": code, "seed": seed}
                tensors, row = source.tensors(cell), cell.row | {"device": CARD}
                store.put(f"{seed}{cell.key}", config, row, seconds=1.0, tensors=tensors)
    return folder


def errors(rows):
    return select(rows, table="table2", dataset="digits", preset="strong", state="before", depth=1, metric="mse")


def test_what_a_gpu_computed_is_found_and_named(measured, tmp_path):
    with Store(measured, write=False) as store:
        (own,) = errors(collect(store))
    with Store(elsewhere(measured, tmp_path), write=False) as store:
        rows = collect(store)
    (row,) = errors(rows)
    assert own.device is None
    assert row.device == CARD
    assert row.value == own.value
    assert row.command == f"{own.command} --device cuda"
    assert only(rows, table="strong", metric="mse", preset="strong, seed 0").device == CARD


def test_it_merges_into_the_rows_of_another_machine(measured, tmp_path):
    with Store(measured, write=False) as store:
        write_results(store, tmp_path / "page")
    page = (tmp_path / "page" / "results.md").read_text()
    assert "GPU" not in page
    with Store(elsewhere(measured, tmp_path / "store"), write=False) as store:
        write_results(store, tmp_path / "page", update=True)
    (row,) = errors(read_rows(tmp_path / "page" / "results.json"))
    assert row.device == CARD
    page = (tmp_path / "page" / "results.md").read_text()
    assert f"{CARD}: rows of `table2`, `strong`" in page
    assert f"computed by {CARD}" in page
    assert f"| {CARD} |" in page


def test_of_both_the_one_with_more_seeds_counts_and_the_processor_where_they_are_even(measured, tmp_path):
    for seeds, expected in (((0,), None), ((0, 1), CARD)):
        folder = elsewhere(measured, tmp_path / str(len(seeds)), seeds=seeds)
        with Store(measured, write=False) as source, Store(folder) as store:
            for cell in source:
                store.put(cell.key, cell.config, cell.row, seconds=1.0, tensors=source.tensors(cell))
        with Store(folder, write=False) as store:
            (row,) = errors(collect(store))
        assert (row.device, row.seeds) == (expected, len(seeds))


def test_a_page_of_the_processor_alone_names_no_device(measured):
    with Store(measured, write=False) as store:
        rows = collect(store)
    assert "computed by" not in page_markdown(rows, [])
