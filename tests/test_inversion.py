"""The inversion attacks: what they reach, that they are repeatable, and that bad input is refused."""

import pytest
import torch
from torch import nn

from unsplit import metrics
from unsplit.attacks.unsplit import CoordinateConfig, JointConfig, invert_by_coordinates, invert_jointly, preset
from unsplit.data import Splits
from unsplit.errors import InputError
from unsplit.experiment.inversion import observe_inference
from unsplit.knowledge import ClientArchitecture
from unsplit.models import build, split
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SplitTraining
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Message, Sign, Transcript


def view_of(smashed):
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=smashed)
    return Transcript(observer="server", messages=(message,))


@pytest.fixture(scope="module")
def observed(trained: SplitTraining, digits: Splits):
    """Ten targets through the trained client at depth 1: what the server sees, and what only the scores may see."""
    targets = digits.test.one_per_class()
    bottom, top = split(trained.model(), 1)
    view = observe_inference(trained.model(), 1, targets, torch.device("cpu"))
    return view, ClientArchitecture.of(bottom, (1, 28, 28)), targets, top


@pytest.fixture(scope="module")
def recovered(observed):
    view, architecture, _, _ = observed
    return invert_jointly(view, architecture, JointConfig(steps=1500), generator=generator(0))


def test_depth_one_of_a_trained_client_is_recovered(recovered, observed, trained, digits):
    """Twenty times better than the best guess that has seen nothing, and a clone as good as the client's own."""
    _, _, targets, top = observed
    guesses = metrics.trivial_guesses(targets.images, digits.train.images.mean(0))
    error = metrics.mse(recovered.inputs, targets.images)
    assert error <= 0.005
    assert error <= min(guesses.values()) / 20
    assert recovered.sign is Sign.RESOLVED
    with torch.no_grad():
        stolen = metrics.accuracy(top(recovered.clones[0](digits.test.images)), digits.test.labels)
    own = metrics.accuracy(trained.predict(digits.test.images), digits.test.labels)
    assert own > 0.85
    assert abs(stolen - own) <= 0.02


def test_against_other_pictures_the_reconstruction_is_no_better_than_a_guess(recovered, observed, digits):
    """Null: the same pictures scored against other ones of the same classes, and against shuffled targets."""
    _, _, targets, _ = observed
    guesses = metrics.trivial_guesses(targets.images, digits.train.images.mean(0))
    for other in (targets.images.roll(1, 0), digits.test.one_per_class(2).images[1::2]):
        assert metrics.mse(recovered.inputs, other) > min(guesses.values())


def test_a_closed_form_case():
    """A 1x1 convolution without bias scales the picture: one unknown weight, so pictures are known up to scale."""
    with seeded(0):
        client = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    client[0].weight.data.fill_(1.7)
    truth = torch.rand(4, 1, 8, 8, generator=generator(0))
    truth[0, 0, 0, :4], truth[1, 0, 0, :4] = 0, 1
    config = JointConfig(steps=1500, variation_start=0.0, variation_end=0.0)
    found = invert_jointly(
        view_of(client(truth)), ClientArchitecture.of(client, (1, 8, 8)), config, generator=generator(3)
    )
    assert found.residual.max() < 1e-4
    assert metrics.mse_scale_free(found.inputs, truth) < 1e-4
    assert metrics.mse(found.inputs, truth) < 1e-3
    assert found.clones[0][0].weight.item() == pytest.approx(1.7, abs=0.1)
    assert found.sign is Sign.RESOLVED


SMALL = {"rounds": 3, "input_steps": 5, "weight_steps": 5}
ATTACKS = {
    "joint": (invert_jointly, JointConfig(steps=20)),
    "coordinate": (invert_by_coordinates, CoordinateConfig(**SMALL)),
    "released": (invert_by_coordinates, CoordinateConfig(**SMALL, new_clone=False, start="uniform", norm_weight=1.0)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_same_seed_gives_the_same_pictures_and_another_seed_others(attack, observed):
    view, architecture, _, _ = observed
    function, config = ATTACKS[attack]
    one, same, other = (function(view, architecture, config, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.inputs, same.inputs)
    assert not torch.equal(one.inputs, other.inputs)
    for left, right in zip(one.clones, same.clones, strict=True):
        assert all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


@pytest.mark.parametrize("partition", ["inputs-weights", "layers", "merged"])
@pytest.mark.parametrize("name", ["mse", "l1", "cosine"])
def test_every_partition_and_objective_descends(partition, name):
    model = build("mnist-net", generator=generator(0))
    bottom, _ = split(model, 3)
    truth = torch.rand(1, 1, 28, 28, generator=generator(1))
    config = CoordinateConfig(
        rounds=8, input_steps=10, weight_steps=10, partition=partition, input_objective=name, weight_objective=name,
        variation_weight=0.0, input_optimizer=OptimizerSpec(lr=0.01), weight_optimizer=OptimizerSpec(lr=0.01),
    )  # fmt: skip
    losses = []
    invert_by_coordinates(
        view_of(bottom(truth)),
        ClientArchitecture.of(bottom, (1, 28, 28)),
        config,
        generator=generator(2),
        progress=lambda _done, _total, loss: losses.append(loss),
    )
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]


def test_clones_are_new_for_each_input_or_go_on():
    bottom, _ = split(build("mnist-net", generator=generator(0)), 1)
    view = view_of(bottom(torch.rand(3, 1, 28, 28, generator=generator(1))))
    architecture = ClientArchitecture.of(bottom, (1, 28, 28))
    found = {
        new: invert_by_coordinates(view, architecture, CoordinateConfig(**SMALL, new_clone=new), generator=generator(2))
        for new in (True, False)
    }
    assert len(found[True].clones) == 3
    assert len(found[False].clones) == 1


def test_convergence_ends_an_input_early():
    bottom, _ = split(build("mnist-net", generator=generator(0)), 1)
    view = view_of(bottom(torch.rand(1, 1, 28, 28, generator=generator(1))))
    architecture = ClientArchitecture.of(bottom, (1, 28, 28))
    settings = {"rounds": 40, "input_steps": 1, "weight_steps": 1, "patience": 3}
    early = CoordinateConfig(**settings, tolerance=0.9)
    never = CoordinateConfig(**settings, tolerance=None)
    assert invert_by_coordinates(view, architecture, early, generator=generator(2)).rounds == (4,)
    assert invert_by_coordinates(view, architecture, never, generator=generator(2)).rounds == (40,)


def test_the_client_is_not_changed(observed, trained):
    view, architecture, _, _ = observed
    before = {name: value.clone() for name, value in trained.model().state_dict().items()}
    invert_jointly(view, architecture, JointConfig(steps=5), generator=generator(0))
    assert all(torch.equal(value, before[name]) for name, value in trained.model().state_dict().items())


@pytest.mark.parametrize(
    ("name", "depth", "expected"),
    [
        ("paper", 1, {"variation_weight": 0.1, "variation": "isotropic", "norm_weight": 0, "new_clone": True}),
        ("paper", 3, {"variation_weight": 0.1, "rounds": 1000, "input_steps": 100, "weight_steps": 100}),
        ("paper", 4, {"variation_weight": 1.0, "input_optimizer": OptimizerSpec(name="adam", lr=0.001)}),
        ("paper-literal", 1, {"variation": "isotropic-sum", "variation_weight": 0.1}),
        ("released", 1, {"variation": "squared", "norm_weight": 1.0, "new_clone": False, "tolerance": None}),
        ("released", 6, {"variation_weight": 1.0, "weight_optimizer": OptimizerSpec(options={"amsgrad": True})}),
        ("joint", 1, {"betas": (0.9, 0.99), "input_rate": 0.02, "variation_start": 1.0, "variation_end": 0.01}),
        ("joint", 3, {"variation_start": 0.3}),
    ],
)
def test_the_presets_are_what_their_sources_say(name, depth, expected):
    config = preset(name, depth)
    assert {key: getattr(config, key) for key in expected} == expected


def nan_view():
    return view_of(torch.full((1, 8, 24, 24), float("nan")))


ARCHITECTURE = ClientArchitecture.of(split(build("mnist-net", generator=generator(0)), 1)[0], (1, 28, 28))
BAD_VIEWS = {
    "empty": (lambda: Transcript(observer="server", messages=()), ARCHITECTURE, "holds no smashed message"),
    "not finite": (nan_view, ARCHITECTURE, "NaN or infinity"),
    "another cut": (lambda: view_of(torch.zeros(1, 16, 8, 8)), ARCHITECTURE, r"\(8, 24, 24\) .* \(16, 8, 8\)"),
    "another shape": (
        lambda: view_of(torch.zeros(1, 8, 24, 24)),
        ClientArchitecture(blueprint=ARCHITECTURE.blueprint, input_shape=(3, 28, 28)),
        r"inputs of shape \(3, 28, 28\)",
    ),
}


@pytest.mark.parametrize("case", BAD_VIEWS)
@pytest.mark.parametrize("attack", ["joint", "coordinate"])
def test_views_that_do_not_fit_are_one_sentence(case, attack):
    view, architecture, words = BAD_VIEWS[case]
    function, config = ATTACKS[attack]
    with pytest.raises(InputError, match=words) as caught:
        function(view(), architecture, config, generator=generator(0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (CoordinateConfig, {"rounds": 0}),
        (CoordinateConfig, {"input_steps": -1}),
        (CoordinateConfig, {"variation_weight": -0.1}),
        (CoordinateConfig, {"norm_weight": float("nan")}),
        (CoordinateConfig, {"input_objective": "mes"}),
        (JointConfig, {"steps": 0}),
        (JointConfig, {"input_rate": 0.0}),
        (JointConfig, {"variation_start": 0.001}),
    ],
)
def test_settings_out_of_range_are_refused(kind, wrong):
    with pytest.raises(InputError):
        kind(**wrong)


def test_an_unknown_preset_suggests_one():
    with pytest.raises(InputError, match="did you mean 'released'"):
        preset("realeased", 1)
