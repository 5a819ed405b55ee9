"""The inversion attacks: what they reach, that they are repeatable, and that bad input is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from unsplit import metrics
from unsplit.attacks.inversion import (
    PRESETS,
    AmortisedConfig,
    CoordinateConfig,
    JointConfig,
    attack_of,
    invert,
    invert_by_coordinates,
    invert_by_decoder,
    invert_jointly,
    preset,
)
from unsplit.attacks.objectives import relative_residual
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


def test_what_is_returned_is_in_range_and_explains_what_was_seen(recovered, observed):
    view, _, targets, _ = observed
    assert recovered.inputs.shape == targets.images.shape
    assert recovered.inputs.min() >= 0
    assert recovered.inputs.max() <= 1
    (clone,) = recovered.clones
    with torch.no_grad():
        residual = relative_residual(clone(recovered.inputs), view.tensor(Kind.SMASHED))
    torch.testing.assert_close(recovered.residual, residual)
    assert residual.max() < 1e-3
    assert recovered.rounds == (1500,) * 10


def test_an_untrained_client_is_recovered_as_well(digits):
    targets = digits.test.one_per_class()
    model = build("mnist-net", generator=generator(1))
    view = observe_inference(model, 1, targets, torch.device("cpu"))
    architecture = ClientArchitecture.of(split(model, 1)[0], (1, 28, 28))
    found = invert_jointly(view, architecture, JointConfig(steps=2500), generator=generator(6))
    assert metrics.mse_scale_free(found.inputs, targets.images) <= 0.005
    assert metrics.mse(found.inputs, targets.images) <= 0.005
    assert found.sign is Sign.RESOLVED


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


@pytest.mark.parametrize("partition", ["inputs-weights", "layers", "merged"])
def test_the_closed_form_case_one_input_at_a_time(partition):
    """Only the product of weight and picture is known: each picture is recovered up to a scale of its own."""
    with seeded(0):
        client = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    client[0].weight.data.fill_(1.7)
    truth = torch.rand(2, 1, 8, 8, generator=generator(0))
    fast = OptimizerSpec(lr=0.02)
    config = CoordinateConfig(
        rounds=20, input_steps=20, weight_steps=20, partition=partition, input_optimizer=fast, weight_optimizer=fast,
        variation_weight=0.0, tolerance=None,
    )  # fmt: skip
    found = invert_by_coordinates(
        view_of(client(truth)), ClientArchitecture.of(client, (1, 8, 8)), config, generator=generator(3)
    )
    assert found.residual.max() < 1e-6
    for picture, clone, true in zip(found.inputs, found.clones, truth, strict=True):
        assert metrics.mse_scale_free(picture, true) < 1e-6
        torch.testing.assert_close(clone[0].weight.detach() * picture, 1.7 * true[None], rtol=1e-2, atol=1e-3)


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
        generator=generator(3),
        progress=lambda _done, _total, loss: losses.append(loss),
    )
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]


def test_inputs_and_weights_each_follow_their_own_objective():
    bottom, _ = split(build("mnist-net", generator=generator(0)), 1)
    view = view_of(bottom(torch.rand(1, 1, 28, 28, generator=generator(1))))
    found = {}
    for pair in (("l1", "mse"), ("l1", "l1"), ("mse", "mse")):
        config = CoordinateConfig(rounds=1, input_steps=5, weight_steps=5, input_objective=pair[0],
                                  weight_objective=pair[1])  # fmt: skip
        found[pair] = invert_by_coordinates(view, ARCHITECTURE, config, generator=generator(2))
    assert torch.equal(found["l1", "mse"].inputs, found["l1", "l1"].inputs)
    assert not torch.equal(found["l1", "mse"].inputs, found["mse", "mse"].inputs)
    weights = {pair: result.clones[0][0].weight for pair, result in found.items()}
    assert not torch.equal(weights["l1", "mse"], weights["l1", "l1"])


def test_clones_are_new_for_each_input_or_go_on():
    bottom, _ = split(build("mnist-net", generator=generator(0)), 1)
    view = view_of(bottom(torch.rand(3, 1, 28, 28, generator=generator(1))))
    architecture = ClientArchitecture.of(bottom, (1, 28, 28))
    found = {
        new: invert_by_coordinates(view, architecture, CoordinateConfig(**SMALL, new_clone=new), generator=generator(2))
        for new in (True, False)
    }
    assert len({id(clone) for clone in found[True].clones}) == 3
    (shared,) = found[False].clones
    with torch.no_grad():
        last = relative_residual(shared(found[False].inputs[2:]), view.tensor(Kind.SMASHED)[2:])
    torch.testing.assert_close(found[False].residual[2:], last)


def test_convergence_ends_an_input_early():
    bottom, _ = split(build("mnist-net", generator=generator(0)), 1)
    view = view_of(bottom(torch.rand(1, 1, 28, 28, generator=generator(1))))
    architecture = ClientArchitecture.of(bottom, (1, 28, 28))
    settings = {"rounds": 40, "input_steps": 1, "weight_steps": 1, "patience": 3}
    early = CoordinateConfig(**settings, tolerance=0.9)
    never = CoordinateConfig(**settings, tolerance=None)
    assert invert_by_coordinates(view, architecture, early, generator=generator(2)).rounds == (4,)
    assert invert_by_coordinates(view, architecture, never, generator=generator(2)).rounds == (40,)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_changes_nothing_but_its_own_clones_and_draws_on_its_own_generator_only(attack, observed, trained):
    view, architecture, _, _ = observed
    function, config = ATTACKS[attack]

    def surroundings():
        blueprint = architecture.blueprint.instantiate(generator=generator(4)).state_dict()
        tensors = {**trained.model().state_dict(), **{f"blueprint.{name}": value for name, value in blueprint.items()}}
        tensors |= {"seen": view.tensor(Kind.SMASHED), "torch": torch.get_rng_state()}
        tensors["numpy"] = torch.as_tensor(np.random.get_state()[1].astype(np.int64))  # noqa: NPY002 - who else draws?
        return {name: value.clone() for name, value in tensors.items()}

    before = surroundings()
    found = function(view, architecture, config, generator=generator(0))
    after = surroundings()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    own = {value.data_ptr() for clone in found.clones for value in clone.parameters()}
    assert own.isdisjoint({value.data_ptr() for value in trained.model().parameters()})
    assert not found.inputs.requires_grad
    assert not found.residual.requires_grad


@pytest.mark.parametrize(("start", "low", "high"), [("half", 0.0, 1.0), ("half", -1.0, 3.0), ("uniform", -1.0, 3.0)])
def test_the_first_input_is_half_the_range_or_noise_over_it(start, low, high):
    still = OptimizerSpec(name="sgd", lr=1e-30)
    config = CoordinateConfig(rounds=1, input_steps=1, weight_steps=1, start=start, input_optimizer=still)
    architecture = replace(ARCHITECTURE, low=low, high=high)
    found = invert_by_coordinates(view_of(torch.rand(1, 8, 24, 24, generator=generator(0))), architecture, config,
                                  generator=generator(2)).inputs  # fmt: skip
    if start == "half":
        assert torch.equal(found, torch.full_like(found, (low + high) / 2))
    else:
        assert low <= found.min() < low + 0.1
        assert high - 0.1 < found.max() <= high


@pytest.mark.parametrize(
    ("start", "end", "middle"), [(1.0, 0.01, 0.1), (0.3, 0.3, 0.3), (1.0, 0.0, 0.5), (0.0, 0.0, 0.0)]
)
def test_the_weight_of_total_variation_falls_geometrically_or_to_zero(start, end, middle):
    config = JointConfig(variation_start=start, variation_end=end)
    assert [config.variation_weight(done) for done in (0.0, 0.5, 1.0)] == pytest.approx([start, middle, end])


def test_pictures_are_kept_in_range_along_the_way():
    architecture = replace(ARCHITECTURE, low=-0.1, high=0.2)
    config = JointConfig(steps=30, input_rate=0.5, stretch=False, resolve_sign=False)
    found = invert_jointly(view_of(torch.rand(2, 8, 24, 24, generator=generator(0))), architecture, config,
                           generator=generator(2))  # fmt: skip
    assert found.inputs.min().item() == pytest.approx(-0.1)
    assert found.inputs.max().item() == pytest.approx(0.2)
    assert found.sign is Sign.UNTESTED


@pytest.mark.parametrize("attack", ATTACKS)
def test_progress_rises_to_the_whole(attack, observed):
    view, architecture, _, _ = observed
    function, config = ATTACKS[attack]
    told = []
    function(view, architecture, config, generator=generator(0), progress=lambda *state: told.append(state))
    shares = [done / total for done, total, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert all(math.isfinite(loss) for _, _, loss in told)


ADAM = OptimizerSpec(name="adam", lr=0.001)
AMSGRAD = OptimizerSpec(name="adam", lr=0.001, options={"amsgrad": True})
ROUNDS = {"rounds": 1000, "input_steps": 100, "weight_steps": 100, "partition": "inputs-weights", "start": "half",
          "input_objective": "mse", "weight_objective": "mse"}  # fmt: skip
PAPER = {**ROUNDS, "input_optimizer": ADAM, "weight_optimizer": ADAM, "norm_weight": 0.0, "new_clone": True,
         "tolerance": 0.001, "patience": 50}  # fmt: skip
SETTINGS = {
    "paper": PAPER | {"variation": "isotropic"},
    "paper-literal": PAPER | {"variation": "isotropic-sum"},
    "released": ROUNDS | {"input_optimizer": AMSGRAD, "weight_optimizer": AMSGRAD, "norm_weight": 1.0,
                          "new_clone": False, "tolerance": None, "variation": "squared"},
    "joint": {"input_rate": 0.02, "weight_rate": 0.004, "betas": (0.9, 0.99), "variation_end": 0.01, "hinge": True,
              "stretch": True, "resolve_sign": True},
    "joint-quick": {"steps": 600, "input_rate": 0.02, "hinge": True},
    "strong": {"candidates": 5, "tilts": (-1.5, 0.0, 1.5), "finalists": 2, "steps": 800},
    "strong-quick": {"candidates": 3, "tilts": (-1.5, 0.0, 1.5), "finalists": 2, "steps": 400},
}  # fmt: skip
"""What each preset sets; what depends on the depth is added by the kind of settings."""
ATTACK_OF = {JointConfig: invert_jointly, AmortisedConfig: invert_by_decoder, CoordinateConfig: invert_by_coordinates}


@pytest.mark.parametrize("depth", range(9))
@pytest.mark.parametrize("name", SETTINGS)
def test_the_presets_are_what_their_sources_say(name, depth):
    """Section 5.1: Adam at 0.001, alpha 0.1 for depths 1 to 3 and 1 after; the released code's own choices."""
    config = preset(name, depth)
    by_depth = {
        JointConfig: {"variation_start": 1.0 if depth < 3 else 0.3},
        CoordinateConfig: {"variation_weight": 0.1 if depth <= 3 else 1.0},
    }
    expected = SETTINGS[name] | by_depth.get(type(config), {})
    assert {key: getattr(config, key) for key in expected} == expected
    assert attack_of(config) is ATTACK_OF[type(config)]


def test_no_preset_is_left_out_of_the_table():
    assert set(PRESETS) == set(SETTINGS), "Say in SETTINGS above what the preset sets."


@pytest.mark.parametrize("attack", ATTACKS)
def test_invert_runs_the_attack_of_its_settings(attack, observed):
    view, architecture, _, _ = observed
    function, config = ATTACKS[attack]
    expected = function(view, architecture, config, generator=generator(1))
    assert torch.equal(invert(view, architecture, config, generator=generator(1)).inputs, expected.inputs)


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
    "a dead client": (lambda: view_of(torch.zeros(2, 8, 24, 24)), ARCHITECTURE, "one value everywhere"),
}


@pytest.mark.parametrize("case", BAD_VIEWS)
@pytest.mark.parametrize("attack", ["joint", "coordinate"])
def test_views_that_do_not_fit_are_one_sentence(case, attack):
    view, architecture, words = BAD_VIEWS[case]
    function, config = ATTACKS[attack]
    with pytest.raises(InputError, match=words) as caught:
        function(view(), architecture, config, generator=generator(0))
    assert "\n" not in str(caught.value)


NUMBERS = [
    *[(CoordinateConfig, name, value) for name in ("rounds", "input_steps", "weight_steps", "patience")
      for value in (0, -1)],
    *[(CoordinateConfig, name, value) for name in ("variation_weight", "norm_weight") for value in (-0.1, math.nan)],
    (JointConfig, "steps", 0),
    *[(JointConfig, name, value) for name in ("input_rate", "weight_rate") for value in (0.0, -0.02, math.nan)],
    *[(JointConfig, "variation_start", value) for value in (0.001, -1.0, math.nan)],
    *[(JointConfig, "variation_end", value) for value in (-0.1, 2.0, math.nan)],
    (CoordinateConfig, "input_objective", "mes"),
    (CoordinateConfig, "weight_objective", "cosin"),
    (CoordinateConfig, "variation_weight", math.inf),
    (CoordinateConfig, "tolerance", -0.1),
    (CoordinateConfig, "tolerance", math.nan),
    (JointConfig, "betas", (2.0, 0.9)),
    (JointConfig, "input_rate", math.inf),
    (JointConfig, "variation_start", math.inf),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "value"), NUMBERS)
def test_settings_out_of_range_are_one_sentence(kind, name, value):
    with pytest.raises(InputError) as caught:
        kind(**{name: value})
    assert "\n" not in str(caught.value)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("partition", "layer"),
        ("start", "hlaf"),
        ("variation", "isotropc"),
    ],
)
def test_unknown_words_are_one_sentence(name, value):
    """Asked of the settings' own check: the type checker of the tests would refuse them before it."""
    config = CoordinateConfig()
    object.__setattr__(config, name, value)
    with pytest.raises(InputError, match=value):
        config.__post_init__()


def test_an_unknown_preset_suggests_one():
    with pytest.raises(InputError, match="did you mean 'released'"):
        preset("realeased", 1)


@pytest.mark.parametrize("partition", ["inputs-weights", "layers", "merged"])
def test_searching_side_by_side_finds_what_searching_one_by_one_finds(partition):
    bottom, _ = split(build("mnist-net", generator=generator(3)), 3)
    smashed = bottom(torch.rand(5, 1, 28, 28, generator=generator(5)))
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=smashed)
    view = Transcript(observer="server", messages=[message])
    architecture = ClientArchitecture.of(bottom, (1, 28, 28))
    config = CoordinateConfig(
        rounds=12, input_steps=5, weight_steps=5, tolerance=0.2, patience=2, start="uniform", partition=partition
    )
    together, alone = (
        invert_by_coordinates(view, architecture, replace(config, at_once=size), generator=generator(4))
        for size in (3, 1)
    )
    assert together.rounds == alone.rounds
    assert len(set(alone.rounds)) > 1, "some must end before others for this to test anything"
    torch.testing.assert_close(together.inputs, alone.inputs, atol=2e-3, rtol=0)
    torch.testing.assert_close(together.residual, alone.residual, atol=1e-3, rtol=1e-2)
    for one, other in zip(together.clones, alone.clones, strict=True):
        for name, value in one.state_dict().items():
            torch.testing.assert_close(value, other.state_dict()[name], atol=2e-3, rtol=0)
