"""Scale, offset and sign: what the stretch and the choice of sign change, and what they leave."""

import pytest
import torch
from torch import nn

from unsplit.attacks.unsplit.symmetry import first_layer, resolve_sign, stretch
from unsplit.knowledge import ClientArchitecture
from unsplit.models import build, split
from unsplit.randomness import generator, seeded
from unsplit.types import Sign


def layers(kind):
    with seeded(0):
        return {
            "conv": lambda: nn.Sequential(nn.Conv2d(1, 8, 5), nn.ReLU()),
            "without bias": lambda: nn.Sequential(nn.Conv2d(1, 8, 5, bias=False), nn.ReLU()),
            "padded": lambda: nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU()),
            "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 20), nn.ReLU()),
            "two layers": lambda: nn.Sequential(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.Conv2d(8, 4, 3)),
        }[kind]()


def case(kind, low=0.2, high=0.7):
    clone = layers(kind)
    inputs = low + (high - low) * torch.rand(4, 1, 12, 12, generator=generator(1))
    return inputs, clone, ClientArchitecture.of(clone, (1, 12, 12))


@pytest.mark.parametrize("kind", ["conv", "without bias", "padded", "dense", "two layers"])
def test_the_stretch_leaves_what_the_clone_gives(kind):
    inputs, clone, architecture = case(kind)
    inputs[0, 0, 0, :3], inputs[1, 0, 0, :3] = 0.2, 0.7  # so that no stray pixel is clipped
    before = clone(inputs)
    stretched = stretch(inputs, clone, architecture)
    assert stretched.max().item() == pytest.approx(1)
    assert stretched.min().item() == pytest.approx(
        0 if kind in ("conv", "dense", "two layers") else 0.2 / 0.7, abs=1e-5
    )
    torch.testing.assert_close(clone(stretched), before, rtol=1e-4, atol=1e-5)


def test_a_few_stray_pixels_do_not_set_the_scale():
    inputs, clone, architecture = case("conv", 0.0, 0.5)
    inputs = torch.cat([inputs] * 5)
    inputs[0, 0, 0, 0] = 1.0
    assert stretch(inputs, clone, architecture).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_a_negative_is_turned_back(kind):
    """The true pictures and weights, and their exact mirror, explain the smashed data alike; the biases tell them."""
    inputs, clone, architecture = case(kind, 0.0, 1.0)
    layer = first_layer(clone)
    truth = {name: value.clone() for name, value in clone.state_dict().items()}
    smashed = clone(inputs)
    kept, sign = resolve_sign(inputs, clone, architecture)
    assert sign is Sign.RESOLVED
    assert torch.equal(kept, inputs)
    with torch.no_grad():
        layer.bias.add_(layer.sums)
        layer.weight.neg_()
    torch.testing.assert_close(clone(1 - inputs), smashed, rtol=1e-4, atol=1e-5)
    turned, sign = resolve_sign(1 - inputs, clone, architecture)
    assert sign is Sign.RESOLVED
    torch.testing.assert_close(turned, inputs)
    for name, value in clone.state_dict().items():
        torch.testing.assert_close(value, truth[name], rtol=1e-4, atol=1e-5)


def test_what_is_not_decided_is_called_ambiguous():
    inputs, clone, architecture = case("two layers")
    assert resolve_sign(inputs, clone, architecture)[1] is Sign.AMBIGUOUS
    inputs, clone, architecture = case("conv")
    first_layer(clone).bias.data.fill_(3.0)
    first_layer(clone).weight.data.fill_(0.01)
    assert resolve_sign(inputs, clone, architecture)[1] is Sign.AMBIGUOUS


def test_without_biases_there_is_no_negative():
    inputs, clone, architecture = case("without bias")
    kept, sign = resolve_sign(inputs, clone, architecture)
    assert sign is Sign.RESOLVED
    assert torch.equal(kept, inputs)


def test_a_first_layer_that_is_not_affine_is_left_alone():
    model, _ = split(build("resnet", generator=generator(0)), "block1")
    assert first_layer(nn.Sequential(nn.BatchNorm2d(1), *model)) is None
    inputs = torch.rand(2, 1, 12, 12, generator=generator(0))
    clone = nn.Sequential(nn.BatchNorm2d(1))
    architecture = ClientArchitecture.of(clone, (1, 12, 12))
    assert torch.equal(stretch(inputs, clone, architecture), inputs)
    assert resolve_sign(inputs, clone, architecture)[1] is Sign.AMBIGUOUS
