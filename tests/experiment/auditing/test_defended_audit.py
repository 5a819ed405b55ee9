"""Audits of clients that defend themselves: where defences act, what knowing them changes, and what is said of it."""

import dataclasses

import pytest
import torch
from torch import nn

from unsplit import AuditConfig, Pictures, audit, write_report
from unsplit.attacks.inversion import CoordinateConfig, JointConfig, presets
from unsplit.attacks.labels import LABEL_ATTACKS, LabelAttack, SurrogateConfig, infer_by_surrogate
from unsplit.data import Splits, from_tensors
from unsplit.defenses import DEFENSES, Clip, GaussianNoise, LabelDP, TopK, parse_defense, parse_defenses, together
from unsplit.errors import InputError
from unsplit.experiment.auditing import labels as label_runs
from unsplit.experiment.auditing import u_shape as u_shape_runs
from unsplit.models import registry
from unsplit.optim import OptimizerSpec
from unsplit.randomness import generator
from unsplit.report import Side, as_markdown, compare, comparison_markdown
from unsplit.tensors import fingerprint
from unsplit.types import Kind
from unsplit.verdict import verdict

SGD = OptimizerSpec(name="sgd", lr=0.05)
CONFIG = AuditConfig(
    model="tiny", cuts=(0, 1), presets=("joint",), states=("after",), epochs=1, batch_size=12, optimizer=SGD,
    label_steps=24, label_heads=(1,), label_optimizers=(SGD,),
)  # fmt: skip
PARTS = ("inversion", "labels in setup (b)", "labels in setup (c)", "U-shape")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """A net of a few weights, and attacks of a few steps: what is tested is what happens around them."""
    net = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(432, 6), nn.ReLU(), nn.Linear(6, 3)
    )
    briefly = SurrogateConfig(starts=1, rounds=1, passes=2, steps=2)
    monkeypatch.setitem(LABEL_ATTACKS, "surrogate", LabelAttack(infer_by_surrogate, lambda _: briefly))
    monkeypatch.setitem(registry.MODELS, "tiny", net)
    monkeypatch.setitem(presets.PRESETS, "joint", lambda _: JointConfig(steps=3))
    monkeypatch.setitem(presets.PRESETS, "paper", lambda _: CoordinateConfig(rounds=1, input_steps=1, weight_steps=1))


@pytest.fixture(scope="module")
def splits():
    inputs, labels = torch.rand(72, 1, 12, 12, generator=generator(0)), torch.arange(72) % 3
    inputs += labels[:, None, None, None] / 3
    parts = [
        from_tensors(inputs[part] / 2, labels[part], classes=("a", "b", "c")) for part in (slice(48), slice(48, 72))
    ]
    return Splits(train=parts[0], test=parts[1])


def numbers(found):
    """Everything measured, without times."""
    rows = [row.model_dump(exclude={"seconds_per_image"}) for row in found.result.inversion]
    u_shapes = [row.model_dump() for row in found.result.u_shapes]
    return rows, [row.model_dump() for row in found.result.labels], u_shapes, found.result.training.losses


def test_a_defence_that_does_nothing_changes_no_number(splits):
    """A training for every cut, noise of no strength: all as in the one training without a defence."""
    config = dataclasses.replace(CONFIG, u_shape=(1, 1))
    plain = audit(config, splits=splits)
    same = audit(dataclasses.replace(config, defenses=(GaussianNoise(scale=0.0),)), splits=splits)
    assert numbers(same) == numbers(plain)
    assert plain.result.defended is None
    assert [(cost.setup, cost.depth) for cost in same.result.defended.costs] == [("a", 0), ("a", 1), ("c", 1)]
    assert {cost.accuracy for cost in same.result.defended.costs[:2]} == {plain.result.training.accuracy}
    assert not any(row.aware for row in same.result.inversion)


def test_one_seed_gives_one_defended_result(splits):
    config = dataclasses.replace(CONFIG, defenses=(GaussianNoise(scale=0.5), LabelDP(epsilon=1.0)), aware=True)
    assert numbers(audit(config, splits=splits)) == numbers(audit(config, splits=splits))
    assert numbers(audit(config, splits=splits)) != numbers(audit(dataclasses.replace(config, seed=1), splits=splits))


def traces(monkeypatch, splits, **changes):
    """What crossed in each part of an audit, as a hash, and its result."""
    found = {}
    watch, whole = label_runs.watch_hand_offs, u_shape_runs._Attack

    def watched(model, splits, how, *args, **settings):
        training, view = watch(model, splits, how, *args, **settings)
        found[f"labels in setup ({how.setup})"] = hashed(view)
        return training, view

    def attacked(training, view, *args, **settings):
        found["U-shape"] = hashed(view) + hashed(training.infer(splits.test.images), Kind.SMASHED)
        return whole(training, view, *args, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(label_runs, "watch_hand_offs", watched)
        patch.setattr(u_shape_runs, "_Attack", attacked)
        made = audit(dataclasses.replace(CONFIG, u_shape=(1, 1), **changes), splits=splits)
    pictures = dict(enumerate(made.reconstructions))
    found["inversion"] = fingerprint({str(at): values for at, values in pictures.items()})
    return found, made.result


def hashed(view, *kinds):
    """What label attacks read of a view, or the messages of these kinds."""
    seen = view.of(*(kinds or (Kind.FEATURES, Kind.FEATURE_GRAD)))
    return fingerprint({f"{message.step}{message.kind}": message.tensor for message in seen})


@pytest.fixture(scope="module")
def undefended():
    """Traces without a defence, by the samples of label steps; made when they are first wanted."""
    return {}


@pytest.mark.parametrize("name", DEFENSES)
def test_every_defence_acts_where_the_report_says_and_nowhere_else(name, splits, monkeypatch, undefended):
    defense = DEFENSES[name]() if name != "clip" else Clip(limit=0.1)
    batch = 12 if defense.within_batches and defense.changes("gradients") else 1
    if batch not in undefended:
        undefended[batch], _ = traces(monkeypatch, splits, label_batch_size=batch)
    before = undefended[batch]
    after, result = traces(monkeypatch, splits, defenses=(defense,))
    acts = {part for part in PARTS if before[part] != after[part]}
    (row,) = result.defended.defenses
    assert row.defense == str(defense)
    assert set(row.acts) == acts
    assert acts
    assert {label.batch_size for label in result.labels} == {batch}
    assert [inversion.depth for inversion in result.inversion] == ([1, 2] if name == "deeper-cut" else [0, 1])


INERT = {
    "gradients without labels": ({"label_setups": ()}, "sign", "cut gradients"),
    "labels of a checkpoint": (
        {"label_setups": (), "states": ("before",)},
        "label-dp:1",
        "labels that clients train on",
    ),
    "single samples": ({"label_batch_size": 1}, "max-norm", "in steps of several samples"),
    "an untrained client": ({"label_setups": (), "states": ("before",)}, "nopeek", "training of the client's layers"),
    "no cut": ({"cuts": (), "label_setups": ("b",)}, "gaussian", "smashed data"),
}


@pytest.mark.parametrize("case", INERT)
def test_a_defence_that_changes_nothing_here_is_refused(case, splits):
    changes, text, words = INERT[case]
    config = dataclasses.replace(CONFIG, defenses=(parse_defense(text),), **changes)
    with pytest.raises(InputError, match=words) as caught:
        audit(config, splits=splits)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no defence to be aware of"):
        AuditConfig(aware=True)


def test_attacks_that_know_the_defence_stand_beside_those_that_do_not(splits):
    config = dataclasses.replace(
        CONFIG, presets=("joint", "paper"), cuts=(1,), u_shape=(1, 1), defenses=(TopK(keep=0.2), LabelDP(epsilon=1.0)),
        aware=True,
    )  # fmt: skip
    found = audit(config, splits=splits)
    result = found.result
    assert [row.attack for row in result.inversion] == ["joint", "joint, aware", "paper"]
    assert len({row.pictures for row in result.inversion}) == 3
    assert result.inversion[0].mse != result.inversion[1].mse
    assert any("paper has no form that knows a defence" in note for note in result.training.notes)
    assert [row.aware for row in result.u_shapes] == [False, True]
    assert {(row.setup, row.known_samples) for row in result.labels if row.aware} == {
        ("b", 0), ("b", 1), ("c", 0), ("c", 1),
    }  # fmt: skip
    assert len(result.labels) == 2 * (4 + 3)
    knows = {row.attack: row.knows for row in result.threat_models}
    assert "the client's defence and its strength" in knows["invert_jointly_through_defense"]
    assert "the client's defence and its strength" not in knows["invert_jointly"]
    assert any(
        row.attack == "group_by_cut_gradient" and "the client's defence and its strength" in row.knows
        for row in result.threat_models
    )
    assert found.whole_aware.shape == found.originals.shape


def test_the_page_and_the_verdict_say_what_the_clients_did(splits, tmp_path):
    found = audit(dataclasses.replace(CONFIG, cuts=(0,), defenses=(GaussianNoise(scale=3.0),)), splits=splits)
    page = write_report(
        tmp_path, found.result, Pictures(originals=found.originals, reconstructions=found.reconstructions)
    ).read_text()
    assert "gaussian:scale=3" in page
    assert "No attack knew the defences" in page
    judged = verdict(found.result, targets=3)
    assert (judged.defenses, judged.aware) == (("gaussian:scale=3",), False)
    assert judged.of("inputs").score < 0.1
    assert judged.of("inputs").sure == "low"
    assert "no attack knew of gaussian:scale=3" in judged.of("inputs").sure_why
    assert "no attack knew" not in judged.of("labels").sure_why
    assert "defended by gaussian:scale=3" in as_markdown(found.result, judged, page="report.html")


def test_a_comparison_says_that_the_defences_differ(splits, tmp_path):
    config = dataclasses.replace(CONFIG, label_setups=())
    sides = []
    for changes in (
        {},
        {"defenses": (GaussianNoise(scale=0.5),)},
        {"defenses": (GaussianNoise(scale=0.5),), "aware": True},
    ):
        result = audit(dataclasses.replace(config, **changes), splits=splits).result
        sides.append(Side(folder=tmp_path, result=result, verdict=verdict(result, targets=3)))
    plain, unaware, aware = sides
    found = compare(plain, unaware)
    assert found.defenses == ("none", "gaussian:scale=0.5")
    assert any("No attack knew the defence after, gaussian:scale=0.5" in words for words in found.warnings)
    assert "Defences: none before, gaussian:scale=0.5 after." in comparison_markdown(found).replace("\\", "")
    costs = {name: values for name, *values in found.costs}
    assert costs["accuracy of the task, cut at depth 1 (1)"][0] == f"{plain.result.training.accuracy:.1%}"
    known = compare(plain, aware)
    assert "with and without knowing it" in known.defenses[1]
    assert not any("knew the defence" in words or "did not run the same" in words for words in known.warnings)
    assert compare(unaware, unaware).defenses is None


def test_what_ended_is_kept_by_defence(splits, tmp_path):
    config = dataclasses.replace(CONFIG, cuts=(1,), states=("before",), label_setups=())
    audit(config, folder=tmp_path, splits=splits)
    plain = set((tmp_path / "cells").iterdir())
    defended = dataclasses.replace(config, defenses=(GaussianNoise(scale=0.5),), aware=True)
    first = audit(defended, folder=tmp_path, splits=splits)
    kept = set((tmp_path / "cells").iterdir())
    assert len(kept - plain) == 2
    again = audit(defended, folder=tmp_path, splits=splits)
    audit(dataclasses.replace(defended, defenses=(GaussianNoise(scale=0.50000001),)), folder=tmp_path, splits=splits)
    assert numbers(again) == numbers(first)
    assert len(set((tmp_path / "cells").iterdir()) - kept) == 2


def test_settings_name_defences():
    both = (GaussianNoise(scale=0.5), TopK(keep=0.2))
    for written in ("gaussian:0.5 + top-k:keep=0.2", ["gaussian:scale=0.5", "top-k:0.2"], list(both)):
        config = AuditConfig.of({"defenses": written, "aware": True})
        assert (config.defenses, config.aware) == (both, True)
    assert AuditConfig.of({"defenses": "none"}).defenses == ()
    assert AuditConfig.of({"defenses": None}).defenses == ()
    assert str(AuditConfig(defenses=(together(both),)).defense) == "gaussian:scale=0.5 + top-k:keep=0.2"
    assert parse_defenses("gaussian:0.5") == parse_defenses("gaussian:scale=0.5")
    for wrong, words in (({"defenses": [3]}, "gaussian:scale=0.5"), ({"defenses": "gausian"}, "did you mean"),
                         ({"defenses": "sign", "aware": "yes"}, "true or false")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            AuditConfig.of(wrong)
