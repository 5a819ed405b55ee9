"""What attacks see and know is what their signatures say, and nothing else."""

import importlib
import inspect
import pkgutil
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.attacks import TABLE, called, whole_view
from unsplit import attacks, knowledge
from unsplit.attacks import attack, threat_model
from unsplit.attacks.auxiliary import hijack_feature_space
from unsplit.attacks.inversion import JointConfig, invert_jointly
from unsplit.knowledge import ClientArchitecture, Knowledge
from unsplit.models import build, split
from unsplit.randomness import generator
from unsplit.types import Kind, Message, Transcript, Truth

KINDS = [
    kind
    for kind in vars(knowledge).values()
    if isinstance(kind, type) and issubclass(kind, Knowledge) and kind is not Knowledge
]
SETTINGS = {"view", "config", "generator", "progress"}
SECTIONS = ("Threat model:", "Objective:", "Args:", "Returns:", "Raises:", "Reference:")


def exported():
    """Every function that the rooms of attacks offer."""
    rooms = [importlib.import_module(f"unsplit.attacks.{room.name}") for room in pkgutil.iter_modules(attacks.__path__)]
    offered = (getattr(room, name) for room in rooms for name in getattr(room, "__all__", ()))
    return {member for member in offered if inspect.isfunction(member)}


def test_every_declared_attack_is_in_the_table():
    def declared(function):
        try:
            return threat_model(function)
        except TypeError:
            return None

    assert {function for function in exported() if declared(function)} == set(TABLE)


@pytest.mark.parametrize("function", TABLE)
def test_the_threat_model_is_the_signature(function):
    model = threat_model(function)
    row = TABLE[function]
    assert (set(model.reads), model.knows) == (row.reads, tuple(map(type, row.knows)))
    assert model.attack == function.__name__
    assert len(model.goal) > 10
    assert model.sentences == tuple(kind.means for kind in model.knows)
    parameters = inspect.signature(function, eval_str=True).parameters
    assert {name for name, parameter in parameters.items() if parameter.annotation not in model.knows} <= SETTINGS
    assert tuple(one.annotation for one in parameters.values() if one.annotation in model.knows) == model.knows


def test_only_the_hijacker_departs_from_the_protocol():
    assert {function for function in TABLE if threat_model(function).forges} == {hijack_feature_space}
    assert threat_model(hijack_feature_space).forges == (Kind.CUT_GRAD,)


@pytest.mark.parametrize("function", TABLE)
def test_every_attack_documents_itself(function):
    text = inspect.getdoc(function)
    parameters = [f"{name}:" for name in inspect.signature(function).parameters]
    assert [part for part in (*SECTIONS, *parameters) if part not in text] == []


def test_every_kind_of_knowledge_says_what_it_means():
    assert len(KINDS) >= 8
    assert all(len(kind.means) > 10 for kind in KINDS)
    assert len({kind.means for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("hint", [Tensor, nn.Module, dict, Truth, Transcript, ClientArchitecture | None, Any, None])
def test_a_smuggled_parameter_is_refused(hint):
    def cheat(view, truth):
        return truth[: len(view)]

    cheat.__annotations__ = {"view": Transcript} | ({"truth": hint} if hint else {})
    with pytest.raises(TypeError, match="cheat: the parameter 'truth' is not a type of knowledge"):
        attack(goal="to cheat", reads=(Kind.SMASHED,))(cheat)


@pytest.mark.parametrize("parameters", ["*truth", "**truth", "truth=None", "*, truth"])
def test_a_parameter_is_smuggled_in_no_other_form(parameters):
    scope: dict[str, Any] = {}
    exec(f"def cheat(view, {parameters}): return None", scope)
    with pytest.raises(TypeError, match="'truth' is not a type of knowledge"):
        attack(goal="to cheat", reads=(Kind.SMASHED,))(scope["cheat"])


@pytest.mark.parametrize("hint", [Truth, Tensor, dict])
def test_a_config_holds_settings_only(hint):
    def cheat(view, config):
        return len(view), config

    cheat.__annotations__ = {"view": Transcript, "config": hint}
    with pytest.raises(TypeError, match="'config' may hold settings only"):
        attack(goal="to cheat", reads=(Kind.SMASHED,))(cheat)


@pytest.mark.parametrize("knowledge_type", sorted(KINDS, key=lambda kind: kind.__name__))
def test_every_kind_of_knowledge_may_be_asked_for(knowledge_type):
    def probe(view, known):
        return len(view), known

    probe.__annotations__ = {"view": Transcript, "known": knowledge_type}
    assert threat_model(attack(goal="to know", reads=())(probe)).knows == (knowledge_type,)


def test_an_attack_sees_only_the_kinds_that_it_reads():
    @attack(goal="to look", reads=(Kind.FEATURES, Kind.CUT_GRAD))
    def look(view: Transcript) -> set[Kind]:
        return {header.kind for header in view.headers}

    messages = tuple(
        Message(step=0, sender="a", receiver="b", kind=kind, payload={} if kind is Kind.WEIGHTS else torch.ones(1))
        for kind in Kind
    )
    assert look(Transcript(observer="b", messages=messages)) == {Kind.FEATURES, Kind.CUT_GRAD}


@pytest.mark.parametrize("seed", [0, 1])
def test_an_attack_does_not_draw_what_a_client_of_the_same_seed_drew(seed):
    """A reproduction has one seed. A clone that starts where the client started knows more than an attacker can."""
    client = split(build("mnist-net", generator=generator(seed)), 1)[0]
    with torch.no_grad():
        smashed = client(torch.rand(3, 1, 28, 28, generator=generator(5)))
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=smashed)
    view, architecture = Transcript(observer="server", messages=(message,)), ClientArchitecture.of(client, (1, 28, 28))
    config = JointConfig(steps=1)
    clones = [invert_jointly(view, architecture, config, generator=generator(seed)).clones[0] for _ in range(2)]
    first, again, own = (next(layers.parameters()).detach().flatten() for layers in (*clones, client))
    assert torch.equal(first, again)
    assert abs(torch.corrcoef(torch.stack([first, own]))[0, 1]) < 0.5


class Tripwire(Sequence):
    """Messages of every kind that break when one of a kind not to be read is opened."""

    def __init__(self, messages, allowed):
        self._messages, self._allowed = messages, allowed
        self.opened = set()
        self.headers = [message.header for message in messages]

    def __len__(self):
        return len(self._messages)

    def __getitem__(self, index):
        kind = self.headers[index].kind
        assert kind in self._allowed, f"it opened a {kind.value} message"
        self.opened.add(kind)
        return self._messages[index]


@pytest.mark.parametrize("function", TABLE)
def test_given_everything_an_attack_opens_only_what_it_says_it_reads(function):
    messages = Tripwire(whole_view(), TABLE[function].reads)
    called(function, Transcript(observer="server", messages=messages))
    assert messages.opened == TABLE[function].reads


def test_a_function_that_is_no_attack_has_no_threat_model():
    with pytest.raises(TypeError, match="not an attack"):
        threat_model(print)
