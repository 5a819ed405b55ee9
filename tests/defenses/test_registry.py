"""What a new defence or guard needs: one class with a decorator, and no other line of the source."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from unsplit import AuditConfig, audit
from unsplit.attacks.inversion import JointConfig, presets
from unsplit.data import Splits, from_tensors
from unsplit.defenses import DEFENSES, Defense, parse_defense, parse_defenses, register_defense
from unsplit.defenses.detection import GUARDS, Guard, GuardConfig, register_guard
from unsplit.errors import InputError
from unsplit.models import registry
from unsplit.randomness import generator
from unsplit.studies.tradeoff import STRENGTHS, USUAL, TradeoffCell, TradeoffSelection, plan_tradeoff, with_catalogue

PAGE = Path(__file__).parents[2] / "docs" / "defenses.md"


@pytest.fixture
def shift():
    """A defence that stands in no file of the source."""

    @register_defense("shift", strengths=("by=1", "by=2", "by=4"))
    @dataclass(frozen=True, kw_only=True)
    class Shift(Defense):
        """Smashed data are moved by a number.

        Reference:
            None: it serves this test.
        """

        protects: ClassVar[str] = "nothing"
        knob: ClassVar[str] = "by: no value hides anything"
        by: float = 1.0

        def smashed(self, values, *, generator):
            return values + self.by

    yield Shift
    del DEFENSES["shift"]


def test_a_new_defence_is_known_by_its_name_and_listed(shift):
    assert parse_defense("shift:2") == shift(by=2.0)
    assert parse_defenses("clip:0.5 + shift")[1] == shift()
    assert list(DEFENSES)[-1] == "shift"
    with pytest.raises(InputError, match="did you mean 'shift'"):
        parse_defense("shft")


def test_a_new_defence_stands_in_the_table_of_the_documents(shift):
    assert "| `shift:by=1` | nothing | by: no value hides anything | None: it serves this test. |" in with_catalogue(
        PAGE.read_text()
    )
    assert "`shift:by=1`" not in PAGE.read_text()


def test_the_trade_off_tries_a_new_defence_at_its_strengths(shift):
    selection = TradeoffSelection(defenses=("shift",), seeds=(0,))
    assert selection.texts() == ["none", "shift:by=1", "shift:by=2", "shift:by=4"]
    cells = plan_tradeoff(selection)
    assert [cell.defense for cell in cells] == selection.texts()
    assert cells[2].defenses == (shift(by=2.0),)


def test_an_audit_runs_under_a_new_defence_and_says_where_it_acts(shift, monkeypatch):
    monkeypatch.setitem(registry.MODELS, "tiny", lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(),
                                                                       nn.Linear(72, 2)))  # fmt: skip
    monkeypatch.setitem(presets.PRESETS, "joint", lambda _: JointConfig(steps=2))
    data = from_tensors(torch.rand(24, 1, 8, 8, generator=generator(0)), torch.arange(24) % 2)
    config = AuditConfig(
        model="tiny", cuts=(1,), presets=("joint",), states=("after",), epochs=1, batch_size=12, label_setups=(),
        defenses=parse_defenses("shift:3"), aware=True,
    )  # fmt: skip
    found = audit(config, splits=Splits(train=data, test=data)).result
    (row,) = found.defended.defenses
    assert (row.defense, row.acts) == ("shift:by=3", ("inversion",))
    assert [inversion.aware for inversion in found.inversion] == [False, True]


def test_strengths_are_texts_as_the_defences_say_them_from_mild_to_strong():
    for name, strengths in STRENGTHS.items():
        assert DEFENSES[name].strengths == strengths
        assert [str(parse_defense(text)) for text in strengths] == list(strengths)
    assert tuple(name for name in STRENGTHS if DEFENSES[name].usual) == USUAL
    assert STRENGTHS["top-k"] == ("top-k:keep=0.2", "top-k:keep=0.1", "top-k:keep=0.05")
    cell = TradeoffCell(dataset="digits", seed=0, defense=STRENGTHS["gradient-noise"][0])
    assert cell.config["defense"] == "gradient-noise:scale=1,shape=aligned"


def test_a_name_belongs_to_one_class_and_a_class_made_again_keeps_it(shift):
    with pytest.raises(InputError, match="belongs to the defence Clip; choose another name"):
        register_defense("clip")(shift)
    again = register_defense("shift")(type("Shift", (shift,), {"__qualname__": shift.__qualname__}))
    assert DEFENSES["shift"] is again


def test_a_new_guard_is_known_by_its_name(monkeypatch):
    monkeypatch.setitem(GUARDS, "calm", GuardConfig)  # so that it is taken out again

    class CalmConfig(GuardConfig):
        def guard(self, *, classes, generator):
            return Calm()

    @register_guard("calm", CalmConfig)
    class Calm(Guard):
        def _observe(self, step, gradient, weights, labels):
            return self._verdict(step, 1.0, alarm=False)

    guard = GUARDS["calm"]().guard(classes=2, generator=generator(0))
    guard.labels(0, torch.zeros(2, dtype=torch.long))
    assert guard.observe(0, torch.ones(2, 2), weights=torch.ones(2)).guard == "calm"


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defence_that_changes_smashed_data_says_how_badly_values_explain_them(name):
    """Else the attack that knows it would count the change as noise, and the defence would look better than it is."""
    kind = DEFENSES[name]
    own = {method for base in kind.__mro__[: kind.__mro__.index(Defense)] for method in vars(base)}
    if "smashed" in own:
        assert own & {"misfit", "expected", "noise"}, "Override `misfit`, `expected` or `noise`, as the defence acts."
