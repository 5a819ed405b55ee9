"""Every attack on its tiny view, and what its name brings: settings, a page, and a place in an audit."""

import dataclasses
from pathlib import Path

import pytest
import torch

from helpers.attacks import TABLE, called, whole_view
from helpers.checks import refused
from unsplit import AuditConfig, audit
from unsplit.attacks import Progress, attack, threat_model
from unsplit.attacks.labels import LABEL_ATTACKS, LabelAttack
from unsplit.attacks.registry import ATTACKS, ClientForm, NamedAttack, named, passive_with
from unsplit.attacks.settings import AttackSettings, Limits
from unsplit.data import Splits
from unsplit.experiment.label_attacker import LabelAttacker
from unsplit.experiment.server_knowledge import ServerKnowledge
from unsplit.knowledge import AuxiliaryData, ClientLoss, ClientOptimizer, ClientWeights, HeadArchitecture, LabelSpace
from unsplit.losses import LossSpec
from unsplit.models import build, split_head
from unsplit.optim import OptimizerSpec
from unsplit.randomness import generator, own_stream
from unsplit.tensors import fingerprint
from unsplit.types import InferredLabels, Kind, Reconstruction, Transcript

DOCS = Path(__file__).parents[2] / "docs"
FORM = ClientForm(depth=1)
CPU = torch.device("cpu")


def numbers(messages):
    """All that messages hold, as a hash of each."""
    tensors = [dict(one.tensors) if one.kind is Kind.WEIGHTS else {"": one.tensor} for one in messages]
    return [(one.header, fingerprint(values)) for one, values in zip(messages, tensors, strict=True)]


@pytest.mark.parametrize("function", TABLE)
def test_an_attack_leaves_what_it_sees_and_its_seed_decides(function):
    seen = Transcript(observer="server", messages=whole_view())
    before = numbers(seen)
    found, again = (called(function, seen) for _ in range(2))
    assert numbers(seen) == before
    for part in ("inputs", "residual", "labels"):
        if hasattr(found, part):
            assert torch.equal(getattr(found, part).nan_to_num(), getattr(again, part).nan_to_num())


@pytest.mark.parametrize("function", TABLE)
def test_an_attack_has_a_page(function):
    assert (DOCS / TABLE[function].page).is_file()


def plain(text: str) -> str:
    return text.lower().replace("-", " ")


@pytest.mark.parametrize("name", ATTACKS)
def test_a_name_stands_for_an_attack_of_the_table_its_settings_and_its_page(name):
    one = named(name)
    settings = one.settings(FORM)
    assert isinstance(settings, type(TABLE[one.attack].config))
    assert one.knows == threat_model(one.attack).knows == tuple(map(type, TABLE[one.attack].knows))
    assert one.adaptive is None or one.adaptive in TABLE
    pages = [(DOCS / TABLE[one.attack].page).read_text(), (DOCS / "presets.md").read_text()]
    assert plain(name) in plain("\n".join(pages))


@pytest.mark.parametrize("name", ATTACKS)
def test_settings_say_what_whoever_runs_them_asks(name):
    settings = named(name).settings(FORM)
    assert settings.samples_wanted >= 0
    assert settings.takes((1, 28, 28))
    assert settings.within(Limits()) == settings
    least = settings.within(Limits(rounds=1, steps=1, decoder_steps=1, restarts=2, batch=1))
    assert least.within(Limits(rounds=1, steps=1, decoder_steps=1, restarts=2, batch=1)) == least
    assert settings.computing("on").computing("auto").computing("on") == settings.computing("on")


def test_an_unknown_name_is_one_sentence():
    assert "attack" in refused(named, "joynt")


def test_what_a_server_lacks_is_one_sentence(digits):
    wanted = (ClientWeights,), build("mnist-net", generator=generator(0)), 1, digits.test.subset(torch.arange(2))
    assert ClientWeights.means in refused(ServerKnowledge().of_kinds, *wanted, (torch.ones(0), torch.ones(0)), CPU)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanConfig(AttackSettings):
    """Hardly anything to set."""

    times: int = 1


@attack(goal="the private inputs", reads=(Kind.SMASHED,))
def guess_mean(
    view: Transcript, data: AuxiliaryData, config: MeanConfig, *, generator: torch.Generator, progress: Progress
) -> Reconstruction:
    """The mean of one's own data for every input."""
    number = config.times * len(view.tensor(Kind.SMASHED))
    progress(1, 1, 0.0)
    clone = build("mnist-net", generator=generator)[:2]
    inputs = data.inputs.mean(0).expand(number, -1, -1, -1)
    return Reconstruction(inputs=inputs, clones=(clone,), residual=torch.zeros(number))


@pytest.fixture
def small(digits):
    """Enough to see that everything runs."""
    return Splits(train=digits.train.subset(torch.arange(200)), test=digits.test.subset(torch.arange(100)))


def test_an_attack_of_a_new_family_needs_a_row_of_the_registry_alone(small, monkeypatch, tmp_path):
    row = NamedAttack(attack=guess_mean, settings=lambda _: MeanConfig())
    monkeypatch.setattr("unsplit.attacks.registry.ATTACKS", {"mean": row})
    config = AuditConfig(cuts=(1,), presets=(), states=("before",), epochs=1, label_setups=(), auxiliary="test")
    runs = [audit(config, splits=small, folder=tmp_path) for _ in range(2)]
    assert [row.preset for row in runs[0].result.inversion] == ["mean"]
    assert [row.attack for row in runs[0].result.threat_models] == ["guess_mean"]
    # The second time it is read from the folder, the seconds that it took among it.
    assert runs[1].result.inversion == runs[0].result.inversion
    assert torch.equal(runs[1].reconstructions[0], runs[0].reconstructions[0])


def test_no_audit_runs_what_does_not_follow_the_protocol():
    assert "hijack" in ATTACKS
    assert passive_with(AuxiliaryData) == ("sdar", "fora", "similar-pictures")


@pytest.mark.parametrize("name", LABEL_ATTACKS)
def test_a_name_stands_for_a_label_attack_of_the_table_and_its_settings(name):
    one = LABEL_ATTACKS[name]
    row = TABLE[one.attack]
    assert one.threat_model.knows == tuple(map(type, row.knows))
    settings = None if one.settings is None else one.settings(OptimizerSpec())
    assert isinstance(settings, type(row.config))


@attack(goal="the client's labels", reads=(Kind.FEATURES,))
def guess_labels(
    view: Transcript,
    space: LabelSpace,
    head: HeadArchitecture,
    optimizer: ClientOptimizer,
    loss: ClientLoss,
    config: MeanConfig,
    *,
    generator: torch.Generator,
) -> InferredLabels:
    """A class drawn for each sample, among so many of the first ones."""
    assert head.blueprint is not None
    assert (optimizer.spec.lr, loss.spec.name) == (0.5, "bce")
    most, samples = min(space.classes, config.times), len(view.tensor(Kind.FEATURES))
    return InferredLabels(labels=torch.randint(most, (samples,), generator=generator), named=True)


def test_a_new_label_attack_needs_a_row_of_the_registry_alone(monkeypatch):
    row = LabelAttack(guess_labels, lambda optimizer: MeanConfig(times=5 if optimizer.lr == 0.5 else 1))
    monkeypatch.setitem(LABEL_ATTACKS, "guess", row)
    seen, model = Transcript(observer="server", messages=whole_view()), build("mnist-net", generator=generator(0))
    attacker = LabelAttacker(
        view=seen, head=lambda: split_head(model, 1)[1], classes=10, optimizer=OptimizerSpec(lr=0.5),
        loss=LossSpec(name="bce"), seed=3,
    )  # fmt: skip
    found = attacker.infer("guess")
    assert found.labels.tolist() == torch.randint(5, (20,), generator=own_stream(generator(3), "attacker")).tolist()
    assert attacker.infer("guess", MeanConfig(times=1)).labels.tolist() == [0] * 20
    assert attacker.steps("guess") == tuple(range(20))


@attack(goal="the client's labels", reads=(Kind.FEATURES,))
def guess_from_own_data(view: Transcript, data: AuxiliaryData) -> InferredLabels:
    """It asks for what nobody who infers labels has."""
    raise AssertionError(view, data)


def test_what_an_attacker_of_labels_lacks_is_one_sentence(monkeypatch):
    monkeypatch.setitem(LABEL_ATTACKS, "own data", LabelAttack(guess_from_own_data))
    attacker = LabelAttacker(view=Transcript(observer="server", messages=()), head=torch.nn.Identity, classes=2)
    assert AuxiliaryData.means in refused(attacker.infer, "own data")
    assert "known samples" in refused(attacker.infer, "nearest")
