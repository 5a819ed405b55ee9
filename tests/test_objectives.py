"""What inversions minimise, on cases that can be worked out on paper."""

import pytest
import torch
from torch import nn

from unsplit.attacks.unsplit.hinge import Misfit, without_last_relu
from unsplit.attacks.unsplit.objectives import objective, relative_residual, total_variation, variation_gradient
from unsplit.errors import InputError
from unsplit.models import mnist_net, split
from unsplit.randomness import generator, seeded


def edge(height=5, width=8, jump=0.5):
    picture = torch.zeros(1, 1, height, width)
    picture[..., width // 2 :] = jump
    return picture


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("isotropic-sum", 5 * 0.5), ("isotropic", 5 * 0.5 / 40), ("squared", 5 * 0.25 / (5 * 7))],
)
def test_total_variation_of_a_step_edge(kind, expected):
    """Each of the five rows crosses the edge once."""
    assert total_variation(edge(), kind).item() == pytest.approx(expected, abs=1e-4)


def test_total_variation_of_a_dot():
    """The dot differs from the pixels below and right of it (one root of two), and two pixels differ from it."""
    picture = torch.zeros(1, 1, 5, 5)
    picture[0, 0, 2, 2] = 1
    assert total_variation(picture, "isotropic-sum").item() == pytest.approx(2**0.5 + 2, abs=1e-4)


def test_total_variation_averages_over_pictures_and_adds_over_channels():
    two = torch.cat([edge(), torch.zeros_like(edge())])
    assert total_variation(two, "isotropic-sum").item() == pytest.approx(1.25, abs=1e-4)
    assert total_variation(edge().expand(1, 3, -1, -1), "isotropic-sum").item() == pytest.approx(7.5, abs=1e-3)


def test_total_variation_of_a_flat_picture_has_a_finite_gradient():
    flat = torch.full((1, 1, 4, 4), 0.3, requires_grad=True)
    total_variation(flat).backward()
    assert torch.equal(flat.grad, torch.zeros_like(flat))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_closed_gradient_of_total_variation_is_autograd_s(channels):
    images = torch.rand(4, channels, 7, 9, generator=generator(0)).requires_grad_()
    total_variation(images).backward()
    torch.testing.assert_close(variation_gradient(images.detach()), images.grad, rtol=1e-4, atol=1e-8)


def test_total_variation_wants_pictures():
    for function in (total_variation, variation_gradient):
        with pytest.raises(Exception, match=r"n c h w|defined for pictures"):
            function(torch.zeros(2, 5))


@pytest.mark.parametrize("hinge", [False, True])
def test_the_closed_gradient_of_the_misfit_is_autograd_s(hinge):
    target = torch.randn(3, 4, generator=generator(0)).clamp_min(0)
    output = torch.randn(3, 4, generator=generator(1)).requires_grad_()
    misfit = Misfit(target, hinge=hinge)
    kept = torch.where(target > 0, output - target, output.clamp_min(0)) if hinge else output - target
    loss = kept.square().mean() / target.var(unbiased=False)
    loss.backward()
    excess = misfit.excess(output.detach())
    assert misfit.value(excess) == pytest.approx(loss.item(), rel=1e-6)
    torch.testing.assert_close(misfit.gradient(excess), output.grad)


def test_the_hinge_by_hand():
    misfit = Misfit(torch.tensor([[2.0, 0.0, 0.0]]), hinge=True)
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


def test_a_module_that_is_not_a_sequence_has_no_last_relu():
    assert without_last_relu(nn.ReLU()) is None
    assert without_last_relu(nn.Sequential(nn.ReLU())) is None


def test_the_relative_residual_by_hand():
    target = torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    assert relative_residual(target, target).tolist() == [0, 0]
    assert relative_residual(torch.ones(2, 2), target).tolist() == [1, 1]


def test_an_unknown_objective_suggests_one():
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        objective("cosin")
