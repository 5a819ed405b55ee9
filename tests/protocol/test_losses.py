"""The client's loss as a value, and the direction of its gradient."""

import pytest
import torch
from torch.nn import functional

from unsplit.errors import InputError
from unsplit.losses import LossSpec
from unsplit.randomness import generator

LOSSES = {
    "cross-entropy": LossSpec(),
    "cross-entropy, summed": LossSpec(reduction="sum"),
    "cross-entropy, weighted": LossSpec(weights=(1.0, 2.0, 3.0)),
    "cross-entropy, smoothed": LossSpec(label_smoothing=0.2),
    "bce": LossSpec(name="bce"),
    "bce, summed and weighted": LossSpec(name="bce", reduction="sum", weights=(1.0, 2.0, 3.0)),
    "bce, smoothed": LossSpec(name="bce", label_smoothing=0.2),
    "mse": LossSpec(name="mse"),
    "mse, smoothed": LossSpec(name="mse", label_smoothing=0.1),
}


def samples(outputs=3, scale=1.0):
    source = generator(0)
    scores = scale * torch.randn(40, outputs, generator=source)
    return scores, torch.randint(max(outputs, 2), (40,), generator=source)


def unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("scale", [1.0, 20.0])
@pytest.mark.parametrize("name", LOSSES)
def test_a_residual_points_where_autograd_says(name, scale):
    loss = LOSSES[name]
    outputs, labels = samples(scale=scale)
    wanted = outputs.double().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(wanted, labels), wanted)
    residual = loss.residual(outputs, labels).double()
    told = gradient.norm(dim=1) > 1e-9  # Below that, double precision does not know p - y itself.
    assert told.sum() > 20
    residual, gradient = residual[told], gradient[told]
    assert (unit(residual) * unit(gradient)).sum(1).min() > 1 - 1e-5


@pytest.mark.parametrize("name", ["bce", "mse"])
def test_a_single_output_has_two_classes(name):
    loss = LossSpec(name=name)
    outputs, labels = samples(outputs=1)
    wanted = outputs.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(wanted, labels), wanted)
    assert torch.equal(loss.residual(outputs, labels).sign(), gradient.sign())


def test_plain_losses_are_torch_s():
    outputs, labels = samples()
    codes = functional.one_hot(labels, 3).float()
    weights = torch.tensor([1.0, 2.0, 3.0])
    assert LossSpec()(outputs, labels) == functional.cross_entropy(outputs, labels)
    weighted = functional.cross_entropy(outputs, labels, weight=weights)
    assert LossSpec(weights=(1.0, 2.0, 3.0))(outputs, labels) == weighted
    bce = functional.binary_cross_entropy_with_logits(outputs, codes)
    torch.testing.assert_close(LossSpec(name="bce")(outputs, labels), bce)
    assert LossSpec(name="mse")(outputs, labels) == functional.mse_loss(outputs, codes)
    targets = torch.linspace(0, 1, 40)
    assert LossSpec(name="mse")(outputs[:, :1], targets) == functional.mse_loss(outputs[:, 0], targets)


@pytest.mark.parametrize("name", ["cross_entropy", "bce"])
def test_a_residual_does_not_vanish_where_the_head_is_sure(name):
    """P - y is zero in single precision from a score of 104 on; its direction is still known."""
    outputs = torch.tensor([[300.0, -10.0, -20.0]])
    residual = LossSpec(name=name).residual(outputs, torch.tensor([0]))
    assert residual.isfinite().all()
    assert residual[0, 0] < 0 or name == "bce"
    assert residual[0, 1] > residual[0, 2] >= 0


REFUSED = {
    "an unknown loss": (lambda: LossSpec(name="cross_entropi"), "did you mean 'cross_entropy'"),
    "an unknown reduction": (lambda: LossSpec(reduction="total"), "known are mean, sum"),
    "too much smoothing": (lambda: LossSpec(label_smoothing=1.0), "label_smoothing is 1.0"),
    "a weight of zero": (lambda: LossSpec(weights=(1.0, 0.0)), "must be above 0"),
    "weights of squares": (lambda: LossSpec(name="mse", weights=(1.0,)), "takes no class weights"),
    "real targets": (lambda: LossSpec()(torch.zeros(2, 1), torch.zeros(2)), "use mse for regression"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_sentence(case):
    call, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_loss_says_what_it_is():
    loss = LossSpec(name="bce", reduction="sum", label_smoothing=0.1, weights=(1.0, 2.5))
    assert str(loss) == "bce, sum, label smoothing 0.1, weights 1, 2.5"
