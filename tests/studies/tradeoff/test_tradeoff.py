"""The trade-off: cells that attack through defences, rows, the Pareto set, the recommendation, and the pages."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from unsplit.attacks.inversion import AmortisedConfig, LearningConfig, invert_by_decoder, invert_through_defense
from unsplit.attacks.labels import correct_labels
from unsplit.data import load
from unsplit.defenses import DEFENSES, Dropout
from unsplit.errors import InputError
from unsplit.experiment.inversion import scores_against
from unsplit.knowledge import ClientArchitecture, KnownDefense
from unsplit.models import build
from unsplit.protocol import SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.studies.grid.rows import read_rows
from unsplit.studies.reproduction import ExecutorConfig, Store
from unsplit.studies.reproduction import run as run_cells
from unsplit.studies.tradeoff import (
    BUDGETS,
    STRENGTHS,
    USUAL,
    Measure,
    Point,
    TradeoffCell,
    TradeoffSelection,
    advise,
    pareto,
    plan_tradeoff,
    points,
    tradeoff_markdown,
    tradeoff_rows,
    with_catalogue,
    write_tradeoff,
)
from unsplit.types import InferredLabels, Kind, Message, Transcript

ROOT = Path(__file__).parents[3]


def point(defense, accuracy, skill, labels=1.0, *, spread=0.01, aware=None, seeds=3):
    def measure(value):
        return Measure(value=value, low=value - spread, high=value + spread, seeds=seeds)

    return Point(
        dataset="digits", defense=defense, depth=1, guess=0.1,
        measures={
            ("task_accuracy", ""): measure(accuracy), ("skill", "unaware"): measure(skill),
            ("skill", "aware"): measure(skill if aware is None else aware),
            ("skill", "stronger"): measure(max(skill, skill if aware is None else aware)),
            ("label_accuracy_up_to_names", "stronger"): measure(labels),
            ("label_accuracy_up_to_names", "unaware"): measure(labels),
            ("label_accuracy_up_to_names", "aware"): measure(labels),
        },
    )  # fmt: skip


NONE = point("none", 0.9, 0.8)


def test_the_pareto_set_is_what_nothing_beats():
    better, worse, costly = point("clip:limit=1", 0.9, 0.5), point("top-k:keep=0.1", 0.8, 0.6), point("x", 0.5, 0.1)
    assert pareto([NONE, better, worse, costly], "skill") == [better, costly]
    assert pareto([NONE], "skill") == [NONE]


def test_the_advice_takes_the_stronger_attack_and_the_price_into_account():
    fooled = point("dropout:rate=0.9", 0.89, 0.1, aware=0.7)
    costly = point("gaussian:scale=9", 0.5, 0.0)
    helps = point("clip:limit=0.1", 0.88, 0.4)
    advice = advise([NONE, fooled, costly, helps], "inputs")
    assert advice.chosen is helps
    assert "lie apart" in advice.text
    assert "clip:limit=0.1" in advice.text
    assert advise([NONE, fooled, costly], "inputs").chosen is fooled
    assert "one who does 70%" in advise([NONE, fooled], "inputs").text
    assert "hides little" in advise([NONE, fooled], "inputs").text


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([point("clip:limit=1", 0.9, 0.79)], "overlap: that it helps at all is not sure"),
        ([point("clip:limit=1", 0.5, 0.1)], "No defence that was tried lowers that"),
        (
            [point("clip:limit=1", 0.9, 0.2), point("top-k:keep=1", 0.9, 0.205)],
            "Not to be told from it: `top-k:keep=1`",
        ),
        ([], "No defence"),
    ],
)
def test_the_advice_says_how_sure_it_is(others, words):
    assert words in advise([NONE, *others], "inputs").text


def test_one_seed_gives_no_certainty():
    lone = dataclasses.replace(
        NONE, defense="clip:limit=1",
        measures={
            name: Measure(value=one.value - (0.3 if name[0] == "skill" else 0), low=None, high=None, seeds=1)
            for name, one in NONE.measures.items()
        },
    )  # fmt: skip
    assert "no telling" in advise([NONE, lone], "inputs").text
    assert "nothing" not in advise([lone], "inputs").text
    assert advise([lone], "inputs").chosen is None


def test_no_text_calls_anything_safe():
    texts = [advise([NONE, point("clip:limit=1", 0.9, 0.0)], asset).text for asset in ("inputs", "labels")]
    texts += [(ROOT / "docs" / name).read_text() for name in ("defenses.md", "tradeoff.md")]
    for text in texts:
        # Titles of papers may say what they like.
        said = re.sub(r'"[^"]*"', "", text).lower()
        assert " safe" not in said
        assert "secure" not in said


def test_the_plan_has_every_defence_at_three_strengths_and_whole_seeds_first():
    cells = plan_tradeoff(TradeoffSelection(datasets=("digits",)))
    assert len(USUAL) >= 8
    assert len(cells) == 3 * (1 + 3 * len(USUAL))
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    assert all(len(set(strengths)) == 3 for strengths in STRENGTHS.values())
    assert set(STRENGTHS) <= set(DEFENSES)
    assert len({cell.key for cell in cells}) == len(cells)
    named = TradeoffSelection(defenses=("clip:0.5+gaussian:1", "dropout"), seeds=(0,))
    assert named.texts()[:2] == ["none", "clip:limit=0.5 + gaussian:scale=1"]


@pytest.mark.slow
def test_cells_are_stored_and_make_a_page(tmp_path):
    chosen = TradeoffSelection(
        datasets=("digits",), defenses=("dropout:0.9", "label-dp:0.5"), seeds=(0, 1), budget="smoke"
    )
    cells = plan_tradeoff(chosen)
    with Store(tmp_path / "store") as store:
        first = run_cells(store, cells, ExecutorConfig(jobs=1))
        again = run_cells(store, cells, ExecutorConfig(jobs=1))
        rows = tradeoff_rows(store, cells, "unsplit tradeoff")
        stored = store.get(cells[0].key)
    assert (first.ran, first.failed, again.ran, again.kept) == (6, 0, 0, 6)
    made = {one.defense: one for one in points(rows)}
    assert set(made) == {"none", "dropout:rate=0.9", "label-dp:epsilon=0.5"}
    plain, hidden = made["none"], made["label-dp:epsilon=0.5"]
    assert plain.leak("label_accuracy_up_to_names").value > 0.9
    assert hidden.leak("label_accuracy_up_to_names").value < 0.5
    assert made["dropout:rate=0.9"].get("bytes").value < 0.3 * plain.get("bytes").value
    row, _ = cells[0].run({})
    assert {**row, "seconds": 0} == {**stored.row, "seconds": 0}
    page = write_tradeoff(rows, tmp_path / "out")
    assert "dropout:rate=0.9" in page.read_text()
    for name in ("inputs", "labels"):
        with Image.open(tmp_path / "out" / "pictures" / f"tradeoff-digits-{name}.png") as chart:
            assert chart.size[0] > 600
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {row["table"] for row in kept} == {"tradeoff"}
    assert {row["defense"] for row in kept} == set(made)


@pytest.mark.slow
def test_knowing_that_dropout_takes_numbers_away_helps():
    digits = load("digits")
    model = build("mnist-net", generator=generator(0))
    config = SplitConfig(cut=1, batch_size=64, defenses=(Dropout(rate=0.7),))
    training = split_training(model, digits.train.images, digits.train.labels, config, generator=generator(0))
    training.run(60)
    targets = digits.test.one_per_class().images
    view = training.infer(torch.cat([targets, digits.train.images[:400]]))
    architecture = ClientArchitecture.of(training.clients[0].bottom.module, (1, 28, 28))
    learning = LearningConfig(batch=32)
    settings = AmortisedConfig(candidates=2, finalists=1, trial=0.3, steps=200, refit_steps=5, learning=learning)
    plain = invert_by_decoder(view, architecture, settings, generator=generator(1))
    known = KnownDefense(misfit=Dropout(rate=0.7).misfit)
    aware = invert_through_defense(view, architecture, known, settings, generator=generator(1))
    mean = digits.train.images.mean(0)
    errors = [scores_against(one.inputs[:10], targets, mean) for one in (plain, aware)]
    assert errors[1]["mse"] < 0.8 * errors[0]["mse"]
    assert errors[1]["skill"] > 0.3


def noisy(flip):
    """Features of three classes, labels of which some are flipped, and a head that has learned the truth."""
    truth = torch.arange(600) % 3
    features = 4 * torch.nn.functional.one_hot(truth, 3).float() + 0.3 * torch.randn((600, 3), generator=generator(0))
    wrong = torch.rand(600, generator=generator(1)) < flip
    read = torch.where(wrong, (truth + 1) % 3, truth)
    messages = [
        Message(step=step, sender="server", receiver="client0", kind=Kind.FEATURES, payload=part)
        for step, part in enumerate(features.split(60))
    ]
    found = InferredLabels(labels=read, named=False, clone=torch.nn.Identity())
    return truth, found, Transcript(observer="server", messages=messages)


@pytest.mark.parametrize("flip", [0.0, 0.4])
def test_a_head_that_has_learned_the_truth_corrects_noisy_labels(flip):
    truth, found, view = noisy(flip)
    corrected = correct_labels(view, found, last=5)
    assert len(corrected.labels) == 300
    right = float((corrected.labels == truth[-300:]).float().mean())
    assert right > 0.99
    assert right >= float((found.labels[-300:] == truth[-300:]).float().mean())


def test_correcting_needs_a_clone_and_the_right_transcript():
    _, found, view = noisy(0.1)
    with pytest.raises(InputError, match="without a clone"):
        correct_labels(view, InferredLabels(labels=found.labels, named=False), last=5)
    with pytest.raises(InputError, match="give the labels that were inferred from this transcript"):
        correct_labels(view, InferredLabels(labels=found.labels[:9], named=False, clone=found.clone), last=5)
    with pytest.raises(InputError, match="at least 1"):
        correct_labels(view, found, last=0)


def test_the_documents_are_what_their_sources_say():
    page = (ROOT / "docs" / "defenses.md").read_text()
    assert page == with_catalogue(page), "docs/defenses.md says at its end how to update its table."
    rows = [row for row in read_rows(ROOT / "docs" / "results.json") if row.table == "tradeoff"]
    assert (ROOT / "docs" / "tradeoff.md").read_text() == tradeoff_markdown(rows)
    for dataset in ("mnist", "cifar-10"):
        made = [one for one in points(rows) if one.dataset == dataset]
        assert len({one.family for one in made}) >= 9
        assert sum(one.defense != "none" for one in made) >= 24


def test_a_cell_says_what_it_is():
    cell = TradeoffCell(dataset="digits", seed=0, defense="none", work=BUDGETS["smoke"])
    assert cell.label == "digits, none, seed 0"
    assert cell.config["defense"] == "none"
    assert cell.defenses == ()
