"""What attacks see and know is what their signatures say, and nothing else."""

import inspect

import pytest
import torch
from torch import Tensor

from unsplit import knowledge
from unsplit.attacks import attack, threat_model
from unsplit.attacks.labels import group_by_cut_gradient, infer_from_known_samples, infer_from_weight_gradients
from unsplit.attacks.unsplit import invert_by_coordinates, invert_jointly
from unsplit.knowledge import (
    ClientArchitecture,
    HeadArchitecture,
    HeadWeightGradient,
    Knowledge,
    KnownSamples,
    LabelSpace,
)
from unsplit.types import Kind, Message, Transcript

ATTACKS = {
    invert_jointly: ({Kind.SMASHED}, (ClientArchitecture,)),
    invert_by_coordinates: ({Kind.SMASHED}, (ClientArchitecture,)),
    infer_from_weight_gradients: ({Kind.FEATURES}, (HeadWeightGradient, HeadArchitecture, LabelSpace)),
    group_by_cut_gradient: ({Kind.FEATURE_GRAD}, (LabelSpace,)),
    infer_from_known_samples: ({Kind.FEATURE_GRAD}, (KnownSamples,)),
}
SECTIONS = ("Threat model:", "Objective:", "Args:", "Returns:", "Raises:", "Reference:")


@pytest.mark.parametrize("function", ATTACKS)
def test_the_threat_model_is_the_signature(function):
    model = threat_model(function)
    assert (set(model.reads), model.knows) == ATTACKS[function]
    assert model.attack == function.__name__


@pytest.mark.parametrize("function", ATTACKS)
def test_every_attack_documents_itself(function):
    missing = [section for section in SECTIONS if section not in inspect.getdoc(function)]
    assert missing == []


def test_every_kind_of_knowledge_says_what_it_means():
    kinds = [
        kind
        for kind in vars(knowledge).values()
        if isinstance(kind, type) and issubclass(kind, Knowledge) and kind is not Knowledge
    ]
    assert len(kinds) >= 8
    assert all(len(kind.means) > 10 for kind in kinds)


def test_a_smuggled_parameter_is_refused():
    with pytest.raises(TypeError, match="'truth' is not a type of knowledge"):

        @attack(goal="to cheat", reads=(Kind.SMASHED,))
        def cheat(view: Transcript, truth: Tensor) -> Tensor:
            return truth[: len(view)]


def test_an_attack_sees_only_the_kinds_that_it_reads():
    @attack(goal="to look", reads=(Kind.FEATURES, Kind.CUT_GRAD))
    def look(view: Transcript) -> set[Kind]:
        return {header.kind for header in view.headers}

    messages = tuple(
        Message(step=0, sender="a", receiver="b", kind=kind, payload={} if kind is Kind.WEIGHTS else torch.ones(1))
        for kind in Kind
    )
    assert look(Transcript(observer="b", messages=messages)) == {Kind.FEATURES, Kind.CUT_GRAD}


def test_a_function_that_is_no_attack_has_no_threat_model():
    with pytest.raises(TypeError, match="not an attack"):
        threat_model(print)
