"""What inversions minimise, on cases that can be worked out on paper."""

import itertools
import math

import pytest
import torch
from torch import nn

from unsplit.attacks.hinge import HingeMisfit, without_last_relu
from unsplit.attacks.inversion import JointConfig, invert_jointly_through_defense
from unsplit.attacks.objectives import objective, relative_residual, total_variation, variation_gradient
from unsplit.errors import InputError
from unsplit.knowledge import ClientArchitecture, KnownDefense
from unsplit.models import mnist_net, split
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Message, Transcript


def edge(height=5, width=8, jump=0.5):
    picture = torch.zeros(1, 1, height, width)
    picture[..., width // 2 :] = jump
    return picture


@pytest.mark.parametrize(("height", "width", "jump"), [(5, 8, 0.5), (7, 4, -1.0)])
@pytest.mark.parametrize("turned", [False, True])
def test_total_variation_of_a_step_edge(height, width, jump, turned):
    """Each row crosses the edge once, whichever way the edge lies."""
    picture = edge(height, width, jump)
    picture = picture.mT if turned else picture
    expected = {
        "isotropic-sum": height * abs(jump),
        "isotropic": abs(jump) / width,
        "squared": jump**2 / (width - 1),
    }
    found = {kind: total_variation(picture, kind).item() for kind in expected}
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [(2, 2, 2 + 2**0.5), (0, 0, 2**0.5), (4, 4, 2), (4, 0, 2), (0, 2, 1 + 2**0.5)],
)
def test_total_variation_of_a_dot(row, column, expected):
    """The dot differs from the pixels below and right of it (one root of two), and the two above and left of it
    differ from the dot; what lies across the border counts as equal.
    """
    picture = torch.zeros(1, 1, 5, 5)
    picture[0, 0, row, column] = 1
    neighbours = sum(0 <= value <= 4 for value in (row - 1, row + 1, column - 1, column + 1))
    assert total_variation(picture, "isotropic-sum").item() == pytest.approx(expected, abs=1e-4)
    assert total_variation(picture, "isotropic").item() == pytest.approx(expected / 25, abs=1e-5)
    assert total_variation(picture, "squared").item() == pytest.approx(neighbours / 20, abs=1e-6)


def test_total_variation_as_the_paper_s_formula_has_it():
    picture = torch.rand(4, 6, generator=generator(0))
    expected = 0.0
    for i, j in itertools.product(range(4), range(6)):
        down = picture[i + 1, j] - picture[i, j] if i < 3 else torch.tensor(0.0)
        right = picture[i, j + 1] - picture[i, j] if j < 5 else torch.tensor(0.0)
        expected += math.hypot(down, right)
    assert total_variation(picture[None, None], "isotropic-sum").item() == pytest.approx(expected, abs=1e-4)


def test_total_variation_averages_over_pictures_and_adds_over_channels():
    two = torch.cat([edge(), torch.zeros_like(edge())])
    assert total_variation(two, "isotropic-sum").item() == pytest.approx(1.25, abs=1e-4)
    assert total_variation(edge().expand(1, 3, -1, -1), "isotropic-sum").item() == pytest.approx(7.5, abs=1e-3)


@pytest.mark.parametrize("kind", ["isotropic-sum", "isotropic", "squared"])
def test_total_variation_of_a_flat_picture_is_none_and_has_a_finite_gradient(kind):
    flat = torch.full((1, 1, 4, 4), 0.3, requires_grad=True)
    value = total_variation(flat, kind)
    value.backward()
    assert value.item() == pytest.approx(0, abs=2e-5)
    assert torch.equal(flat.grad, torch.zeros_like(flat))
    assert torch.equal(variation_gradient(flat.detach()), torch.zeros_like(flat))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_closed_gradient_of_total_variation_is_autograd_s(channels):
    images = torch.rand(4, channels, 7, 9, generator=generator(0)).requires_grad_()
    total_variation(images).backward()
    torch.testing.assert_close(variation_gradient(images.detach()), images.grad, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("kind", ["isotropic", "isotropic-sum", "squared"])
def test_total_variation_of_a_step_in_a_signal(kind):
    """One direction: a step of height 2 in one of 3 channels of 8 samples."""
    signal = torch.zeros(1, 3, 8)
    signal[0, 1, 4:] = 2.0
    expected = {"isotropic": 2 / 24, "isotropic-sum": 2.0, "squared": 4 / 21}
    assert total_variation(signal, kind).item() == pytest.approx(expected[kind], abs=1e-4)


def test_what_has_no_neighbours_has_no_total_variation():
    rows = torch.rand((4, 7), generator=generator(0))
    assert total_variation(rows).item() == 0
    assert not variation_gradient(rows).any()
    assert total_variation(edge(), "none").item() == 0


def test_the_gradient_of_a_signal_s_variation_points_down():
    signals = torch.rand((2, 1, 30), generator=generator(0))
    lower = signals - 5 * variation_gradient(signals)
    assert total_variation(lower) < 0.9 * total_variation(signals)
    volume = torch.zeros(1, 1, 2, 2, 2)
    volume[..., 1] = 1.0
    assert total_variation(volume, "isotropic-sum").item() == pytest.approx(4.0, abs=1e-4)


@pytest.mark.parametrize("hinge", [False, True])
def test_the_closed_gradient_of_the_misfit_is_autograd_s(hinge):
    target = torch.randn(3, 4, generator=generator(0)).clamp_min(0)
    output = torch.randn(3, 4, generator=generator(1)).requires_grad_()
    misfit = HingeMisfit(target, hinge=hinge)
    kept = torch.where(target > 0, output - target, output.clamp_min(0)) if hinge else output - target
    loss = kept.square().mean() / target.var(unbiased=False)
    loss.backward()
    excess = misfit.excess(output.detach())
    assert misfit.value(excess) == pytest.approx(loss.item(), rel=1e-6)
    torch.testing.assert_close(misfit.gradient(excess), output.grad)


def test_the_hinge_by_hand():
    misfit = HingeMisfit(torch.tensor([[2.0, 0.0, 0.0]]), hinge=True)
    assert misfit.excess(torch.tensor([[1.5, -4.0, 0.5]])).tolist() == [[-0.5, 0.0, 0.5]]


@pytest.mark.parametrize(("depth", "names"), [(1, ["Conv2d"]), (2, ["Conv2d", "MaxPool2d"]), (0, None), (3, None)])
def test_which_cuts_end_in_a_relu(depth, names):
    with seeded(0):
        bottom, _ = split(mnist_net(), depth)
    before = without_last_relu(bottom)
    assert (before and [type(layer).__name__ for layer in before]) == names
    if before is not None:
        inputs = torch.rand(2, 1, 28, 28, generator=generator(0))
        assert torch.equal(before(inputs).relu(), bottom(inputs))


@pytest.mark.parametrize(
    "behind",
    [nn.Flatten(), nn.Identity(), nn.Sequential(nn.MaxPool2d(2), nn.Flatten()), nn.Dropout().eval(),
     nn.Sequential(nn.Flatten(), nn.Unflatten(1, (4, 8, 8)))],
)  # fmt: skip
def test_the_hinge_steps_over_what_commutes_with_relu(behind):
    with seeded(0):
        bottom = nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), behind)
    before, inputs = without_last_relu(bottom), torch.rand(2, 1, 10, 10, generator=generator(0))
    assert before is not None
    assert torch.equal(before(inputs).relu(), bottom(inputs))
    assert bool((before(inputs) < 0).any())


@pytest.mark.parametrize(
    "module",
    [
        nn.ReLU(),
        nn.Sequential(nn.ReLU()),
        nn.Sequential(nn.MaxPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Tanh()),
        nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Dropout()),  # on, it makes zeros of its own
        nn.Sequential(nn.Identity(), nn.ReLU(), nn.AvgPool2d(2)),  # does not commute with ReLU
    ],
)
def test_modules_that_do_not_end_in_a_relu_are_fitted_as_they_are(module):
    assert without_last_relu(module) is None


@pytest.mark.parametrize("depth", [1, 2, 4, 5])
def test_the_hinge_is_zero_at_the_client_s_own_pictures_and_weights(depth):
    with seeded(0):
        bottom, _ = split(mnist_net(), depth)
    inputs = torch.rand(3, 1, 28, 28, generator=generator(0))
    before = without_last_relu(bottom)
    misfit = HingeMisfit(bottom(inputs), hinge=True)
    assert not misfit.excess(before(inputs)).any()
    assert misfit.excess(before(1 - inputs)).any()
    assert {id(value) for value in before.parameters()} == {id(value) for value in bottom.parameters()}


def test_the_relative_residual_by_hand():
    target = torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    assert relative_residual(target, target).tolist() == [0, 0]
    assert relative_residual(torch.ones(2, 2), target).tolist() == [1, 1]


def test_the_relative_residual_is_each_sample_s_own():
    source = generator(0)
    output, target = torch.rand(2, 3, 2, 4, 4, generator=source)
    expected = ((output - target) ** 2).numpy().mean(axis=(1, 2, 3)) / target.numpy().var()
    assert relative_residual(output, target).tolist() == pytest.approx(expected.tolist(), rel=1e-5)


@pytest.mark.parametrize(("name", "expected"), [("mse", 18 / 4), ("l1", 6 / 4), ("cosine", (1 / 25 + 2) / 2)])
def test_objectives_by_hand(name, expected):
    """The differences are 1, 1, 4 and 0; the cosines 24/25 and -1."""
    output, target = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [-3.0, 0.0]])
    assert objective(name)(output, target).item() == pytest.approx(expected, abs=1e-6)
    assert objective(name)(target, target).item() == pytest.approx(0, abs=1e-6)


def test_an_unknown_objective_suggests_one():
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        objective("cosin")


def test_a_known_defence_leaves_the_kind_of_total_variation_as_it_is_set():
    smashed = Message(
        step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=torch.rand(3, 4, generator=generator(1))
    )
    view = Transcript(observer="server", messages=(smashed,))
    with seeded(0):
        architecture = ClientArchitecture.of(nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), (1, 4, 4))
    defense = KnownDefense(misfit=lambda made, seen: (made - seen).square())
    found = [
        invert_jointly_through_defense(
            view, architecture, defense, JointConfig(steps=4, variation=kind), generator=generator(0)
        ).inputs
        for kind in ("isotropic", "signal")
    ]
    assert not torch.equal(*found)
