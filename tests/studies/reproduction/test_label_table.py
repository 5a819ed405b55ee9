"""The table "labels": its cells, its rows, and the section that is made of them."""

import dataclasses

import pytest
import torch

from unsplit.data import Splits
from unsplit.defenses import GradientNoise
from unsplit.errors import InputError
from unsplit.models import build
from unsplit.randomness import generator
from unsplit.studies.reproduction import ExecutorConfig, Selection, Store, collect, page_markdown, plan, plots, run
from unsplit.studies.reproduction.tables.labels.cells import EPOCH, FIRST, SHUFFLED, CutGradientCell, HandedOverCell
from unsplit.studies.reproduction.tables.labels.family import LabelSetting, run_label_family


def family(splits, setting, *, rivals=False):
    model = build("mnist-net", generator=generator(0))
    return run_label_family(model, splits, setting, rivals=rivals, seed=0, device=torch.device("cpu"))


def attacks(scores):
    return {(row["attack"], row["known"]): row for row in scores["attacks"]}


@pytest.fixture(scope="module")
def few(digits: Splits) -> Splits:
    """Some of the digits, so that an epoch is short."""
    return Splits(train=digits.train.subset(torch.arange(1280)), test=digits.test.subset(torch.arange(200)))


def test_every_attack_is_scored_with_names_or_up_to_them_and_never_one_as_the_other(few):
    scores = family(few, LabelSetting(steps=10), rivals=True)
    found = attacks(scores)
    assert {name for name, _ in found} == {
        "surrogate", "nearest known sample", "k-means of gradients", "spectral of gradients", "k-means of features",
    }  # fmt: skip
    for (name, known), row in found.items():
        assert (row["accuracy"] is None) == (known == 0), name
        assert 0 <= row["up_to_names"] <= 1
    assert found["surrogate", 1]["accuracy"] == 1
    assert [count for count, _ in scores["prefixes"]] == [1, 2, 5]


def test_an_epoch_has_a_curve_and_a_stolen_head(few):
    scores = family(few, LabelSetting(steps=None, batch_size=8, head=2))
    assert [point[0] for point in scores["curve"]] == [0, 50, 100]
    assert all(0.8 < point[1] <= 1 for point in scores["curve"])
    assert scores["clone_accuracy"] > scores["task_accuracy"] - 0.15
    assert 0 <= scores["clone_agreement"] <= 1


def test_on_shuffled_labels_every_attack_on_gradients_is_at_chance(few):
    scores = family(few, LabelSetting(steps=15, shuffled=True), rivals=True)
    for (name, known), row in attacks(scores).items():
        if "features" not in name:
            assert (row["accuracy"] if known else row["up_to_names"]) < scores["chance"] + 0.08, name


def test_defences_hide_labels_and_imbalance_is_what_it_says(few):
    plain = LabelSetting(steps=12)
    open_, private, noisy = (
        family(few, setting)
        for setting in (
            plain,
            dataclasses.replace(plain, label_epsilon=1.0),
            dataclasses.replace(plain, gradient_noise=GradientNoise(scale=4.0)),
        )
    )
    for hidden in (private, noisy):
        assert attacks(hidden)["surrogate", 0]["up_to_names"] < attacks(open_)["surrogate", 0]["up_to_names"] - 0.3
    assert family(few, dataclasses.replace(plain, steps=8, rarest=0.1))["chance"] > open_["chance"] + 0.03


@pytest.mark.parametrize("changes", [{"steps": 0}, {"batch_size": 0}, {"rarest": 0.0}, {"head": 0}])
def test_a_setting_out_of_range_is_one_sentence(changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        LabelSetting(**changes)


def test_the_plan_has_every_head_and_what_is_only_for_the_shallowest():
    cells = plan(Selection(tables=("labels",), budget="full", datasets=("mnist", "cifar-10"), seeds=(0,)))
    cut = [cell for cell in cells if isinstance(cell, CutGradientCell)]
    assert {(cell.dataset, cell.setting.head) for cell in cut} == {
        (n, h) for n in ("mnist", "cifar-10") for h in (1, 2, 3)
    }
    assert {cell.situation for cell in cut if cell.dataset == "cifar-10"} == {FIRST, EPOCH, SHUFFLED}
    assert {cell.setting.head for cell in cut if cell.setting.gradient_noise is not None} == {1}
    handed = [cell for cell in cells if isinstance(cell, HandedOverCell)]
    assert {cell.batch_size for cell in handed if cell.head == 2} == {1}
    assert {cell.batch_size for cell in handed if cell.head == 1 and cell.dataset == "mnist"} == {1, 8, 64, 84, 168}
    assert len({cell.key for cell in cells}) == len(cells)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A few cells of the digits."""
    folder = tmp_path_factory.mktemp("store")
    cells = plan(Selection(tables=("labels",), budget="smoke", depths=(1,)))
    wanted = [
        cell
        for cell in cells
        if getattr(cell, "situation", "")
        in (FIRST, SHUFFLED, "BCE loss", "no defence", "aligned noise 4", "batch 1, sgd")
    ]
    with Store(folder) as opened:
        summary = run(opened, wanted, ExecutorConfig(jobs=1))
    assert summary.failed == 0
    return folder


def test_rows_say_what_was_measured_and_how(store):
    with Store(store, write=False) as opened:
        rows = [row for row in collect(opened) if row.table == "labels" and row.value is not None]
    assert len({(row.dataset, row.depth, row.state, row.preset, row.metric) for row in rows}) == len(rows)
    by_name = {(row.state, row.preset, row.metric): row for row in rows}
    unnamed = by_name[FIRST, "surrogate, 0 known", "label_accuracy_up_to_names"]
    assert unnamed.value > 0.99
    assert 0.08 < unnamed.trivial < 0.2
    assert (FIRST, "surrogate, 0 known", "label_accuracy") not in by_name
    assert by_name[FIRST, "surrogate, 1 known", "label_accuracy"].value > 0.99
    assert by_name["batch 1, sgd, weights seen", "sign rule", "label_accuracy"].value == 1
    assert by_name["aligned noise 4", "client", "task_accuracy"].trivial is None
    assert {row.command.split(" --seeds")[0] for row in rows} == {
        "unsplit reproduce labels --datasets digits --depths 1"
    }


def test_the_section_shows_every_row_and_the_curve_is_drawn(store):
    with Store(store, write=False) as opened:
        rows = collect(opened)
    page = page_markdown(rows, [])
    section = page.partition("## Labels, in the settings")[2].partition("## Commands")[0]
    for words in ("first 50 steps", "How many steps must be seen", "Weights that pass", "BCE loss", "aligned noise 4"):
        assert words in section
    assert "labels.png" not in section
    drawn = next(row for row in rows if (row.table, row.state, row.metric) == ("labels", FIRST, "label_accuracy"))
    curve = [
        drawn.model_copy(update={"state": f"from step {step}", "preset": f"{attack}, 1 known"})
        for step in (0, 50)
        for attack in ("surrogate", "nearest known sample")
    ]
    assert plots([*rows, *curve])["labels.png"][:4] == b"\x89PNG"
