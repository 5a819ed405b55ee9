"""Attacks on tables: rows up to one affine map of their columns, and what a server may know that fixes it."""

import dataclasses

import pytest
import torch
from sklearn.datasets import load_diabetes, load_wine
from torch import nn

from helpers.checks import noise, refused
from unsplit.attacks import silent, threat_model
from unsplit.attacks.rows import RowsConfig, invert_from_known_rows, invert_from_statistics
from unsplit.attacks.rows.latent import latent_rows
from unsplit.attacks.units import Units
from unsplit.data import Splits, from_tensors
from unsplit.experiment import AuditConfig
from unsplit.experiment.auditing.fitting import fitting_rows
from unsplit.experiment.auditing.run import audit
from unsplit.knowledge import ClientArchitecture, ColumnStatistics, KnownRows
from unsplit.metrics import mse, skill, trivial_guesses
from unsplit.models import build
from unsplit.randomness import generator
from unsplit.types import Kind, Message, Transcript

QUICK = RowsConfig(steps=500, batch=96, width=64, restarts=24, rounds=40)
TARGETS = 20
"""The first rows; the others may be known."""


def rows_of(load):
    """The columns of a real table from 0 to 1, in a fixed order of rows."""
    values = torch.tensor(load().data, dtype=torch.float32)
    values = values[torch.randperm(len(values), generator=generator(0))]
    return (values - values.amin(0)) / (values.amax(0) - values.amin(0))


def net(columns, outputs=3):
    """A network for rows, with its weights as they are drawn."""
    return build(
        lambda: nn.Sequential(nn.Linear(columns, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, outputs)),
        generator=generator(0),
        input_shape=(columns,),
    )


def seen(rows, depth=1):
    """What the server sees of these rows, and the architecture that it knows."""
    bottom = net(rows.shape[1])[: depth + 1]
    message = Message(step=0, sender="client", receiver="server", kind=Kind.SMASHED, payload=bottom(rows))
    return Transcript(observer="server", messages=[message]), ClientArchitecture.of(bottom, (rows.shape[1],))


def known(rows, number):
    """So many of the rows that are not targets."""
    places = tuple(range(TARGETS, TARGETS + number))
    return KnownRows(indices=places, rows=rows[TARGETS : TARGETS + number])


def skill_of(found, rows):
    """1 for exact, 0 for no better than the mean row."""
    truth = rows[:TARGETS]
    return skill(mse(found.inputs[:TARGETS], truth), trivial_guesses(truth, rows[TARGETS:].mean(0)))


@pytest.fixture(scope="module")
def diabetes():
    return rows_of(load_diabetes)


def test_rows_are_found_up_to_one_affine_map_of_the_columns(diabetes):
    view, architecture = seen(diabetes)
    values = latent_rows(view, architecture, QUICK, generator=generator(0), progress=silent).values
    ones = torch.cat([values, torch.ones(len(values), 1)], 1).double()
    nearest = ones @ torch.linalg.lstsq(ones, diabetes.double()).solution
    spread = (diabetes - diabetes.mean(0)).square().mean()
    assert (nearest - diabetes).square().mean() < 0.03 * spread
    assert (values - diabetes).square().mean() > 0.3 * spread


def test_more_known_rows_than_columns_give_all_the_others(diabetes):
    view, architecture = seen(diabetes)
    found = invert_from_known_rows(view, architecture, known(diabetes, 20), QUICK, generator=generator(0))
    assert skill_of(found, diabetes) > 0.98
    assert torch.equal(found.inputs[TARGETS : TARGETS + 20], diabetes[TARGETS : TARGETS + 20])
    assert float(found.residual.mean()) < 0.05


def test_a_few_known_rows_give_much_of_the_others(diabetes):
    view, architecture = seen(diabetes)
    found = invert_from_known_rows(view, architecture, known(diabetes, 8), QUICK, generator=generator(0))
    assert skill_of(found, diabetes) > 0.5


def test_what_is_known_of_rows_is_in_the_client_s_units(diabetes):
    wide = 5 * diabetes - 2
    view, architecture = seen(wide)
    architecture = dataclasses.replace(architecture, low=-2.0, high=3.0)
    found = invert_from_known_rows(view, architecture, known(wide, 20), QUICK, generator=generator(0))
    assert skill_of(found, wide) > 0.9
    assert torch.allclose(found.inputs[TARGETS : TARGETS + 20], wide[TARGETS : TARGETS + 20], atol=1e-5)
    statistics = ColumnStatistics.of(wide[TARGETS:])
    found = invert_from_statistics(view, architecture, statistics, QUICK, generator=generator(0))
    assert skill_of(found, wide) > 0.4


def test_units_may_differ_between_the_columns(diabetes):
    low, span = torch.linspace(-3, 2, 10), torch.linspace(1, 6, 10)
    channels = tuple(zip(low.tolist(), (low + span).tolist(), strict=True))
    _, architecture = seen(diabetes)
    architecture = dataclasses.replace(architecture, low=-3.0, high=8.0, channels=channels)
    statistics = ColumnStatistics.of(diabetes * span + low)
    given = {"architecture": architecture, "statistics": statistics}
    inside, wanted = Units(given).entered(given)["statistics"], ColumnStatistics.of(diabetes)
    assert torch.allclose(inside.quantiles, wanted.quantiles, atol=1e-5)
    assert torch.allclose(inside.covariance, wanted.covariance, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_clone_takes_true_rows(diabetes, depth):
    view, architecture = seen(diabetes, depth)
    found = invert_from_known_rows(view, architecture, known(diabetes, 30), QUICK, generator=generator(0))
    targets = view.tensor(Kind.SMASHED)
    with torch.no_grad():
        error = (found.clones[0](diabetes) - targets).square().mean() / targets.var()
    assert error < 0.15


def test_statistics_alone_give_rows_of_which_none_is_known(diabetes):
    view, architecture = seen(diabetes)
    statistics = ColumnStatistics.of(diabetes[TARGETS:])
    found = invert_from_statistics(view, architecture, statistics, QUICK, generator=generator(0))
    assert skill_of(found, diabetes) > 0.4
    assert -1 <= found.agreement <= 1


def test_statistics_of_other_columns_give_nothing(diabetes):
    view, architecture = seen(diabetes)
    statistics = ColumnStatistics.of(diabetes[TARGETS:].flip(1))
    found = invert_from_statistics(view, architecture, statistics, QUICK, generator=generator(0))
    assert skill_of(found, diabetes) < 0.1


def test_the_same_seed_gives_the_same_rows(diabetes):
    view, architecture = seen(diabetes[:60])
    quick = dataclasses.replace(QUICK, steps=20, rounds=5)
    statistics = ColumnStatistics.of(diabetes)
    for attack, knows in ((invert_from_known_rows, known(diabetes, 5)), (invert_from_statistics, statistics)):
        one, other = (attack(view, architecture, knows, quick, generator=generator(3)).inputs for _ in range(2))
        assert torch.equal(one, other)


def test_what_is_known_is_declared():
    assert ClientArchitecture in threat_model(invert_from_known_rows).knows
    assert (
        "a few of the observed rows, put in by itself or shared with the client"
        in threat_model(invert_from_known_rows).sentences
    )
    assert threat_model(invert_from_statistics).knows == (ClientArchitecture, ColumnStatistics)


def test_what_does_not_fit_is_refused(diabetes):
    view, architecture = seen(diabetes[:60])

    def run(attack, knows, architecture=architecture):
        return refused(attack, view, architecture, knows, QUICK, generator=generator(0))

    assert "two or more" in run(invert_from_known_rows, known(diabetes, 1))
    beyond = KnownRows(indices=(1, 60), rows=diabetes[:2])
    assert "beyond the 60 rows" in run(invert_from_known_rows, beyond)
    assert "columns" in run(invert_from_known_rows, KnownRows(indices=(1, 2), rows=diabetes[:2, :4]))
    assert "columns" in run(invert_from_statistics, ColumnStatistics.of(diabetes[:, :4]))
    pictures = dataclasses.replace(architecture, input_shape=(1, 2, 5))
    assert "rows of tables" in refused(latent_rows, view, pictures, QUICK, generator=generator(0), progress=silent)
    assert "covariance" in refused(ColumnStatistics, quantiles=diabetes[:3], covariance=torch.eye(3))
    assert "steps" in refused(RowsConfig, steps=0)


@pytest.fixture(scope="module")
def wine():
    rows = rows_of(load_wine)
    labels = torch.arange(len(rows)) % 3
    return Splits(train=from_tensors(rows[40:], labels[40:]), test=from_tensors(rows[:40], labels[:40]))


def test_an_audit_of_a_table_tries_both_and_says_what_is_not_identifiable(wine, monkeypatch):
    monkeypatch.setattr("unsplit.attacks.registry.RowsConfig", lambda: dataclasses.replace(QUICK, steps=300))
    config = AuditConfig(
        model="tables:net", cuts=(1,), presets=("joint-quick",), states=("before",), label_setups=(), epochs=1,
        targets_per_class=5,
    )  # fmt: skip
    monkeypatch.setattr("unsplit.models.registry.builder_of", lambda _: lambda: net(13))
    found = audit(config, splits=wine)
    rows = {row.preset: row for row in found.result.inversion}
    assert list(rows) == ["joint-quick", "known-rows", "statistics"]
    assert rows["joint-quick"].skill < 0.1
    assert rows["known-rows"].skill > 0.5
    assert {row.attack for row in found.result.threat_models} >= {"invert_from_known_rows", "invert_from_statistics"}
    (note,) = [note for note in found.result.training.notes if "identifiable" in note]
    assert "10 known rows" in note
    assert "statistics" in note


def test_what_was_not_tried_is_said(wine):
    config = AuditConfig(cuts=(1,), presets=("joint",), row_knowledge=())
    _, notes = fitting_rows(config, wine.train)
    assert any("Nothing that could find the map was tried" in note for note in notes)
    pictures = from_tensors(*noise(20))
    fitted, notes = fitting_rows(AuditConfig(), pictures)
    assert fitted.row_knowledge == ()
    assert notes == ()
    wide = from_tensors(*noise(20, (200,)))
    fitted, notes = fitting_rows(AuditConfig(presets=("joint",)), wide)
    assert fitted.row_knowledge == ("known-rows",)
    assert any("up to 128 columns" in note for note in notes)


def test_settings_of_what_is_known_are_checked():
    assert "at least 2" in refused(AuditConfig, known_rows=1)
    assert "known-rows" in refused(AuditConfig, row_knowledge=("known-row",))
    assert AuditConfig.of({"row_knowledge": "known-rows", "known_rows": 4}).row_knowledge == ("known-rows",)
