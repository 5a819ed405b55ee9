"""One table of options: every setting of an audit is declared once, in the field of its configuration."""

import inspect
import typing
from dataclasses import dataclass, fields

import pytest

from helpers.programs import run
from unsplit import AuditConfig
from unsplit.cli import options
from unsplit.cli.audit import audit
from unsplit.experiment import load_audit_config
from unsplit.settings import NUMBER, option_name, setting, shown_default, with_options

WITHOUT_OPTION = {"most_targets", "label_optimizers"}


def test_every_setting_of_an_audit_is_an_option():
    offered = inspect.signature(audit).parameters
    assert {each.name for each in fields(AuditConfig)} - {each.name for each in with_options(AuditConfig)} == (
        WITHOUT_OPTION
    )
    assert all(offered[option_name(each)].default == shown_default(each) for each in with_options(AuditConfig))


def test_the_types_of_settings_can_be_asked_for():
    assert set(typing.get_type_hints(AuditConfig)) == {each.name for each in fields(AuditConfig)}


def test_a_default_that_is_shown_is_the_default_of_the_configuration():
    shown = {each.name: shown_default(each) for each in with_options(AuditConfig) if each.name != "loss"}
    assert AuditConfig.of({name: value for name, value in shown.items() if value is not None}) == AuditConfig()
    assert all(getattr(AuditConfig(), name) in (None, ()) for name, value in shown.items() if value is None)


def test_a_new_setting_is_an_option_by_its_field_alone(monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Longer(AuditConfig):
        patience: int = setting(7, "Epochs without progress before it ends.", NUMBER, min=1)

    added = next(each for each in with_options(Longer) if each.name == "patience")
    monkeypatch.setitem(options._AUDIT, "patience", added)
    parameters = inspect.signature(options.settings_of_audits(lambda **_: None)).parameters
    assert parameters["patience"].default == 7
    assert Longer.of({"patience": 9}).patience == 9


def test_what_is_given_on_the_command_line_wins_over_the_file(tmp_path, monkeypatch):
    file, seen = tmp_path / "audit.yaml", []
    file.write_text("data: digits\nepochs: 3\ntargets_per_class: 2\nloss: bce\n")
    monkeypatch.setattr("unsplit.cli.trained.audit_training", lambda config, **_: seen.append(config))
    found = run("audit", "--config", str(file), "--epochs", "10", "--label-smoothing", "0.1", "--defense", "clip:1")
    assert found.exit_code == 0, found.output
    assert (seen[0].epochs, seen[0].targets_per_class) == (10, 2)
    assert seen[0].loss.label_smoothing == 0.1
    assert [str(one) for one in seen[0].defenses] == [
        str(one) for one in AuditConfig.of({"defenses": "clip:1"}).defenses
    ]
    assert load_audit_config(file).epochs == 3


@pytest.mark.parametrize(("words", "sentence"), [
    ("--u-shape 1", "--u-shape takes a cut and the layers of the head, for example 1:1; not '1'."),
    ("--label-heads one", "--label-heads takes whole numbers with commas between them, for example 1,2,3; not 'one'."),
    ("--loss bce:x=1", "--loss takes the name of a loss, or for example bce:label_smoothing=0.1; not 'bce:x=1'."),
])  # fmt: skip
def test_a_text_that_an_option_cannot_have_is_one_sentence(words, sentence):
    found = run("audit", *words.split())
    assert found.exception is not None
    assert sentence in str(found.exception) or sentence in found.output
