"""The pages of a reproduction: rows, verdicts, claims, and a page that is what its JSON renders to."""

import io
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from helpers.programs import program
from helpers.rows import row
from unsplit.cli import main
from unsplit.errors import FormatError
from unsplit.studies.grid import REVISION
from unsplit.studies.grid.rows import (
    began_as_the_client,
    dump_rows,
    interval,
    no_better_than_a_guess,
    paper_verdict,
    read_rows,
    updated,
)
from unsplit.studies.reproduction import (
    ExecutorConfig,
    Selection,
    Store,
    claims,
    collect,
    front_table,
    page_html,
    page_markdown,
    paper,
    plan,
    run,
    with_front_table,
)
from unsplit.studies.reproduction.drawing import grid
from unsplit.studies.reproduction.tables._seeds import SEEDS, seeds_section
from unsplit.studies.reproduction.write import write_results

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"value": 0.050}, "reproduced"),
        ({"value": 0.010}, "better"),
        ({"value": 0.090}, "not reproduced"),
        ({"value": 0.065, "low": 0.05, "high": 0.08}, "reproduced"),
        ({"value": 0.090, "low": 0.05, "high": 0.13}, "undecided"),
        ({"value": 0.090, "low": 0.06, "high": 0.12}, "not reproduced"),
        ({"metric": "clone_accuracy", "value": 0.96, "paper": 0.9745}, "reproduced"),
        ({"metric": "clone_accuracy", "value": 0.99, "paper": 0.91}, "better"),
        ({"metric": "clone_accuracy", "value": 0.50, "paper": 0.91}, "not reproduced"),
        ({"metric": "queries", "value": 20.0, "paper": 9.5}, "not reproduced"),
        ({"paper": None}, None),
        ({"note": "short budget"}, None),
        ({"value": None}, None),
    ],
)
def test_the_verdict_follows_the_stated_rule(fields, expected):
    assert paper_verdict(row(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"value": 0.05}, False),
        ({"value": 0.08}, True),
        ({"value": 0.05, "low": 0.02, "high": 0.08}, True),
        ({"metric": "clone_accuracy", "value": 0.11, "trivial": 0.1135}, True),
        ({"metric": "clone_accuracy", "value": 0.60, "trivial": 0.1135}, False),
        ({"metric": "clone_accuracy", "value": 0.60, "low": 0.10, "trivial": 0.1135}, True),
        ({"trivial": None}, False),
    ],
)
def test_what_a_guess_would_have_done_is_marked(fields, expected):
    assert no_better_than_a_guess(row(**fields)) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"revision": None}, True),
        ({"revision": None, "preset": "strong, seed 1", "metric": "residual"}, True),
        ({"preset": "query-free, own data", "revision": 2}, True),
        ({"revision": None, "table": "tradeoff", "preset": "aware", "metric": "skill"}, False),
        ({"revision": 3}, False),
        ({"revision": None, "value": None}, False),
        ({"revision": None, "preset": "white box"}, False),
        ({"revision": None, "preset": "feature-space hijacking"}, False),
        ({"revision": None, "metric": "label_accuracy"}, False),
    ],
)
def test_what_may_have_begun_as_the_client_is_marked_until_it_is_measured_again(fields, expected):
    """Before revision 3 an attack of the client's seed drew the client's own first weights."""
    assert began_as_the_client(row(**fields)) is expected


def test_the_pages_say_which_numbers_may_have_begun_as_the_client():
    for revision, marks in ((None, True), (2, True), (3, False)):
        rows = [row(revision=revision), row(metric="clone_accuracy", value=0.9, paper=0.97, revision=revision)]
        page, front = page_markdown(rows, []), front_table(rows)
        assert ("| 0.0500 ‡ |" in page, "| 90.0% ‡ |" in page, "first weights" in page) == (marks,) * 3
        assert ("| 0.0500 ‡, 90.0% |" in front, "first weights" in front) == (marks,) * 2


def test_a_row_says_of_which_revision_it_is(tmp_path):
    old, new = row(revision=None), row()
    assert '"revision"' not in dump_rows([old])
    (tmp_path / "results.json").write_text(dump_rows([old, new]))
    assert [one.revision for one in read_rows(tmp_path / "results.json")] == [None, REVISION]
    assert updated([old], [new]) == [new]


def test_the_interval_is_students():
    values = [0.1, 0.15, 0.11]
    mean, low, high = interval(values)
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert mean == pytest.approx(np.mean(values))
    assert interval([0.3]) == (0.3, None, None)


def test_rows_survive_the_file(tmp_path):
    rows = [row(), row(value=None, note="not run"), row(value=1 / 3)]
    (tmp_path / "results.json").write_text(dump_rows(rows))
    again = read_rows(tmp_path / "results.json")
    assert again[:2] == rows[:2]
    assert again[2].value == 0.333333
    (tmp_path / "results.json").write_text('[{"table": 3}]')
    with pytest.raises(FormatError, match="run `unsplit reproduce report` again"):
        read_rows(tmp_path / "results.json")


def curve(dataset="mnist", **means):
    """Rows of Table 2 and Figure 3a with these mean errors by attack."""
    return [
        row(table="table2" if name in ("joint", "paper") else "figure3a", preset=name, dataset=dataset, value=value)
        for name, value in means.items()
    ]


def outcome(rows, words):
    return [claim.outcome for claim in claims(rows) if words in claim.text]


def test_claims_hold_or_not_by_the_numbers():
    better = curve(**{"white box": 0.02, "joint": 0.05, "query-free, no data": 0.1})
    worse = curve(**{"white box": 0.08, "joint": 0.05, "query-free, no data": 0.03})
    for words in ("White-box estimates", "than the query-free attack's"):
        assert outcome(better, words) == ["held"]
        assert outcome(worse, words) == ["did not hold"]
    assert "+60%" in next(claim.seen for claim in claims(better) if "White-box" in claim.text)


@pytest.mark.parametrize(
    ("errors", "expected"), [((0.2, 0.1, 0.1, 0.1), "held"), ((0.1, 0.1, 0.2, 0.2), "did not hold")]
)
def test_the_claim_of_figure_2(errors, expected):
    rows = [row(table="figure2", depth=None, state=f"epoch {epoch}", value=value) for epoch, value in enumerate(errors)]
    assert outcome(rows, "more accurate as the client") == [expected]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ({0: 0.2, 500: 0.1, 1500: 0.01}, "held"),
        ({0: 0.2, 500: 0.01}, "did not hold"),
        ({0: 0.2, 500: 0.1}, "cannot be told"),
        ({0: 0.2, 1000: 0.1}, "held"),
    ],
)
def test_the_claim_of_figure_3b(points, expected):
    rows = [row(table="figure3b", depth=7, value=0.05)]
    rows += [
        row(table="figure3b", depth=7, state=f"iteration {number}", preset="feature-space hijacking", value=value)
        for number, value in points.items()
    ]
    assert outcome(rows, "hijacking") == [expected]


def test_a_row_of_the_page_says_all_that_its_row_does():
    rows = [
        row(value=0.0512, low=0.04, high=0.08),
        row(metric="clone_accuracy", value=0.981, paper=0.9745, trivial=0.1135),
        row(metric="mse_scale_free", value=0.0312, paper=None),
        row(state="before", value=None, paper=0.077, note="not run"),
    ]
    page = page_markdown(rows, [])
    line = next(line for line in page.splitlines() if line.startswith("| 1 |"))
    for text in ("0.077", "—", "0.0512 [0.0400, 0.0800] †", "reproduced", "98.1%", "97.45%", "0.0312"):
        assert text in line
    assert line.endswith("| before training: not run |")
    assert "<table>" in page_html(page)
    assert "0.0512 [0.0400, 0.0800] †" in page_html(page)


def test_the_papers_numbers():
    assert {name: len(depths) for name, depths in paper.TABLE2.items()} == {
        "mnist": 6, "fashion-mnist": 6, "cifar-10": 8
    }  # fmt: skip
    means = {name: np.mean([after for _, after, _ in depths.values()]) for name, depths in paper.TABLE2.items()}
    # Section 5.2 prints these averages.
    assert means == pytest.approx({"mnist": 0.087, "fashion-mnist": 0.13, "cifar-10": 0.0733}, abs=5e-4)
    early = {name: np.mean([depths[depth][2] for depth in (1, 2, 3)]) for name, depths in paper.TABLE2.items()}
    assert early == pytest.approx({"mnist": 0.9563, "fashion-mnist": 0.8390, "cifar-10": 0.5573}, abs=1e-4)


def test_a_grid_shows_every_picture():
    pictures = torch.zeros(3, 1, 4, 4)
    pictures[1] = 1.0
    content = grid([("above", pictures), ("below", None)], [("above", pictures), ("below", 1 - pictures)])
    image = np.asarray(Image.open(io.BytesIO(content)))
    row_height, tile = image.shape[0] // 2, 4 * 2 + 4
    assert image.shape == (2 * tile, 150 + 7 * tile, 3)
    middle = [int(image[row_height // 2, 150 + tile * number + tile // 2, 0]) for number in range(7)]
    assert middle == [0, 255, 0, 255, 0, 255, 0]


@pytest.fixture(scope="module")
def smoked(tmp_path_factory):
    """A store with a few cells of every kind that the pages show."""
    folder = tmp_path_factory.mktemp("store")
    chosen = plan(Selection(tables=("table2", "table3", "figure2", "table5"), budget="smoke", depths=(1,)))
    chosen += plan(Selection(tables=("table2",), presets=("strong",), budget="smoke", depths=(1,), states=("after",)))
    with Store(folder) as store:
        summary = run(store, chosen, ExecutorConfig())
    assert summary.failed == 0
    return folder


def test_the_rows_are_what_the_cells_found(smoked):
    with Store(smoked, write=False) as store:
        rows = collect(store)
        cells = {cell.config.get("preset"): cell.row for cell in store if cell.config.get("epoch") == 1}
    found = {
        (one.table, one.metric): one for one in rows if (one.depth, one.state, one.preset) == (1, "after", "joint")
    }
    assert {one.revision for one in rows if one.value is not None} == {REVISION}
    stored = cells["joint"]
    assert found["table2", "mse"].value == stored["mse"]
    assert found["table2", "mse"].trivial == stored["mse_best_trivial"]
    assert found["table2", "clone_accuracy"].value == stored["clone_accuracy"]
    assert found["table2", "clone_accuracy"].trivial == stored["clone_chance"]
    strong = {one.metric: one.value for one in rows if one.table == SEEDS}
    assert strong == {metric: cells["strong"][metric] for metric in strong}
    assert strong.keys() == {"mse", "mse_scale_free", "clone_accuracy", "residual", "agreement", "sure"}
    missing = [one for one in rows if one.table == "figure3a"]
    assert missing
    assert all(one.value is None and one.note == "not run" for one in missing)
    labels = [one for one in rows if one.table == "table3" and one.value is not None]
    assert {one.depth for one in labels} == {1}
    assert all(0 <= one.value <= 1 and one.trivial is not None for one in labels)


def test_a_failed_cell_gives_its_reason(tmp_path):
    wanted = plan(Selection(tables=("white-box",), budget="smoke"))[0]
    with Store(tmp_path) as store:
        store.put(wanted.key, wanted.config, {"error": "no luck", "details": ""}, seconds=0.0, status="failed")
        assert [one.note for one in collect(store) if one.table == "white-box"] == ["failed: no luck"]


def test_the_report_of_a_store(smoked, tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "table6-mnist-joint.png").write_bytes(b"of an earlier report")
    arguments = ["unsplit", "reproduce", "report", "--store", str(smoked), "--out", str(tmp_path), "--quiet"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    rows = read_rows(tmp_path / "results.json")
    pictures = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert pictures == ["figure2.png", "table2.png", "table6-digits-joint.png", "table6-digits-strong.png"]
    assert "strongest attack, seed by seed" in (tmp_path / "results.md").read_text()
    assert (tmp_path / "results.md").read_text() == page_markdown(rows, pictures)
    for picture in (tmp_path / "pictures").iterdir():
        assert np.asarray(Image.open(picture)).std() > 1


def test_an_update_keeps_what_the_store_did_not_run(smoked, tmp_path):
    with Store(smoked, write=False) as store:
        write_results(store, tmp_path)
        ran = read_rows(tmp_path / "results.json")
        elsewhere = row(dataset="mnist", depth=3, value=0.125)
        (tmp_path / "results.json").write_text(dump_rows([*ran, elsewhere]))
        (tmp_path / "pictures" / "table6-mnist-joint.png").write_bytes(b"of an earlier report")
        write_results(store, tmp_path, update=True)
    rows = read_rows(tmp_path / "results.json")
    assert elsewhere in rows
    assert [one for one in rows if one != elsewhere] == ran
    assert (tmp_path / "pictures" / "table6-mnist-joint.png").exists()


def test_of_two_rows_for_the_same_the_later_counts_if_it_has_a_value():
    old, new, empty = row(value=0.2), row(value=0.1), row(value=None, note="not run")
    assert updated([old], [new]) == [new]
    assert updated([old], [empty]) == [old]
    assert updated([], [empty]) == [empty]
    other = row(table="table3", metric="label_accuracy", value=0.9)
    assert updated([old, other], [row(depth=2)]) == [old, row(depth=2), other]


def seed_rows(depth, mse, agreement):
    names = {"table": SEEDS, "preset": "strong, seed 0", "depth": depth, "paper": None}
    values = {"mse": mse, "mse_scale_free": mse, "clone_accuracy": 0.9, "residual": mse / 10, "agreement": agreement}
    return [row(metric=metric, value=value, trivial=0.07, **names) for metric, value in values.items()]


def test_the_self_estimate_is_judged_by_the_errors():
    """Three right, of which one is doubted; two wrong, of which one gave no warning."""
    told = [(1, 0.001, 0.99), (2, 0.01, 0.9), (3, 0.02, 0.2), (4, 0.3, -0.8), (5, 0.2, 0.6)]
    text = seeds_section([one for cell in told for one in seed_rows(*cell)])
    assert "Of 5 attacks, 2 ended no better than the best guess" in text
    assert "gave warning in 1 of them, and in 1 of the 3 others" in text
    assert "correlation of agreement and error: -0.90" in text
    assert "correlation of residual and error: 1.00" in text
    assert "| MNIST | after | 4 | 0 | 0.3000 † | 0.3000 | 90.0% | 0.0300 | -0.80 |  |" in text
    assert seeds_section([row()]) == ""


def test_the_best_of_eight_stands_beside_its_own_guess_where_it_was_measured():
    told = [*seed_rows(5, 0.01, 0.9), *seed_rows(6, 0.2, 0.9)]
    assert "best of eight" not in seeds_section(told)
    names = {"table": SEEDS, "preset": "strong, seed 0", "depth": 6, "paper": None, "metric": "mse_best_of_eight"}
    text = seeds_section([*told, row(value=0.11, trivial=0.065, **names)])
    assert "| MNIST | after | 6 | 0 | 0.2000 † | 0.2000 | 0.1100 (guess 0.0650) | 90.0% |" in text
    assert "| MNIST | after | 5 | 0 | 0.0100 | 0.0100 |  | 90.0% |" in text


def test_the_front_table_has_the_presets_that_were_run():
    rows = [
        row(preset=preset, metric=metric, value=value, paper=paper)
        for preset, error in (("joint", 0.03), ("strong", 0.01))
        for metric, value, paper in (("mse", error, 0.054), ("clone_accuracy", 0.98, 0.9745))
    ]
    table = front_table(rows).splitlines()
    assert table[0] == "| data, depth | paper: MSE, clone | `strong`: MSE, clone | `joint`: MSE, clone | best guess |"
    assert table[2] == "| MNIST, 1 | 0.054, 97.45% | 0.0100, 98.0% | 0.0300, 98.0% | 0.0700 |"
    assert len(front_table(rows[:2]).splitlines()[0].split("|")) == 6


def committed():
    rows = read_rows(DOCS / "results.json")
    return rows, sorted(path.name for path in (DOCS / "pictures").glob("*.png"))


def test_the_committed_page_is_what_its_json_renders_to():
    made = page_markdown(*committed())
    assert (DOCS / "results.md").read_text(encoding="utf-8") == made, (
        "Render it again: unsplit reproduce report --update --out docs --readme README.md"
    )


def test_a_page_is_rendered_again_from_its_json_without_a_store(tmp_path, monkeypatch, capsys):
    for name in ("results.json", "pictures"):
        (shutil.copytree if (DOCS / name).is_dir() else shutil.copy)(DOCS / name, tmp_path / name)
    told = ("reproduce", "report", "--update", "--out", tmp_path, "--store", tmp_path / "none")
    assert program(monkeypatch, capsys, *told)[0] == 0
    for name in ("results.md", "results.json", "browse.html"):
        assert (tmp_path / name).read_bytes() == (DOCS / name).read_bytes()
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {
        path.name for path in (DOCS / "pictures").iterdir()
    }
    assert not (tmp_path / "none").exists()


def test_the_readmes_table_is_what_the_json_renders_to():
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    rows, _ = committed()
    assert with_front_table(text, rows) == text
    assert front_table(rows) in text
    with pytest.raises(FormatError, match="no place for the table"):
        with_front_table("no marks here", rows)


def test_every_committed_number_has_a_command_or_a_reason():
    for one in json.loads((DOCS / "results.json").read_text()):
        assert one["command"].startswith("unsplit ")
        assert one["note"] if one["value"] is None else math.isfinite(one["value"])
