"""Scale, offset and sign: what the stretch and the choice of sign change, and what they leave."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from unsplit.attacks import symmetry
from unsplit.attacks.symmetry import first_layer, resolve_sign, stretch
from unsplit.knowledge import ClientArchitecture
from unsplit.models import build, dense_note, split
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


@torch.no_grad()
def mirror(clone, high=1.0):
    """The first layer that gives for `high - x` what it gave for x."""
    layer = first_layer(clone)
    layer.bias.add_(high * layer.sums)
    layer.weight.neg_()


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


CONVOLUTIONS = [
    {"in_channels": 1, "kernel_size": 3},
    {"in_channels": 3, "kernel_size": 5, "stride": 2},
    {"in_channels": 3, "kernel_size": 3, "dilation": 2},
    {"in_channels": 4, "kernel_size": 3, "groups": 4},
]


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
@pytest.mark.parametrize("seed", range(4))
def test_neither_stretch_nor_sign_changes_what_a_random_convolution_gives(convolution, seed):
    """Whichever sign is chosen; where it is turned, pictures and weights turn together."""
    with seeded(seed):
        clone = nn.Sequential(nn.Conv2d(out_channels=8, **convolution), nn.ReLU())
    if seed % 2:
        mirror(clone)
    shape = (convolution["in_channels"], 12, 12)
    inputs = 0.3 + 0.3 * torch.rand(3, *shape, generator=generator(seed))
    inputs[0, 0, 0, :3], inputs[1, 0, 0, :3] = 0.3, 0.6
    architecture = ClientArchitecture.of(clone, shape)
    smashed = clone(inputs)
    stretched = stretch(inputs, clone, architecture)
    assert (stretched.min().item(), stretched.max().item()) == pytest.approx((0, 1), abs=1e-5)
    torch.testing.assert_close(clone(stretched), smashed, rtol=1e-4, atol=1e-5)
    weight = first_layer(clone).weight.detach().clone()
    chosen, _ = resolve_sign(stretched, clone, architecture)
    torch.testing.assert_close(clone(chosen), smashed, rtol=1e-4, atol=1e-5)
    turned = not torch.equal(first_layer(clone).weight, weight)
    torch.testing.assert_close(chosen, 1 - stretched if turned else stretched)


def test_the_range_may_end_elsewhere():
    inputs, clone, architecture = case("conv", 0.2, 0.7)
    inputs[0, 0, 0, :3], inputs[1, 0, 0, :3] = 0.2, 0.7
    architecture = replace(architecture, high=4.0)
    smashed = clone(inputs)
    stretched = stretch(inputs, clone, architecture)
    assert (stretched.min().item(), stretched.max().item()) == pytest.approx((0, 4), abs=1e-5)
    mirror(clone, high=4.0)
    turned, _ = resolve_sign(4 - stretched, clone, architecture)
    torch.testing.assert_close(turned, stretched)
    torch.testing.assert_close(clone(turned), smashed, rtol=1e-4, atol=1e-5)


def test_flat_pictures_and_ranges_that_do_not_start_at_zero_are_left_alone():
    inputs, clone, architecture = case("conv")
    before = first_layer(clone).weight.detach().clone()
    flat = torch.full_like(inputs, 0.4)
    assert torch.equal(stretch(flat, clone, architecture), flat)
    signed = replace(architecture, low=-1.0)
    assert torch.equal(stretch(inputs, clone, signed), inputs)
    kept, sign = resolve_sign(inputs, clone, signed)
    assert torch.equal(kept, inputs)
    assert sign is Sign.AMBIGUOUS
    assert torch.equal(first_layer(clone).weight, before)


def test_a_few_stray_pixels_do_not_set_the_scale():
    inputs, clone, architecture = case("conv", 0.0, 0.5)
    inputs = torch.cat([inputs] * 5)
    inputs[0, 0, 0, 0] = 1.0
    assert stretch(inputs, clone, architecture).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_a_negative_is_turned_back(kind):
    """The true pictures and weights, and their exact mirror, explain the smashed data alike; the biases tell them."""
    inputs, clone, architecture = case(kind, 0.0, 1.0)
    truth = {name: value.clone() for name, value in clone.state_dict().items()}
    smashed = clone(inputs)
    kept, sign = resolve_sign(inputs, clone, architecture)
    assert sign is (Sign.AMBIGUOUS if kind == "dense" else Sign.RESOLVED)  # a mixture would explain them too
    assert torch.equal(kept, inputs)
    mirror(clone)
    torch.testing.assert_close(clone(1 - inputs), smashed, rtol=1e-4, atol=1e-5)
    turned, sign = resolve_sign(1 - inputs, clone, architecture)
    assert sign is (Sign.AMBIGUOUS if kind == "dense" else Sign.RESOLVED)
    torch.testing.assert_close(turned, inputs)
    for name, value in clone.state_dict().items():
        torch.testing.assert_close(value, truth[name], rtol=1e-4, atol=1e-5)


def test_the_negative_of_a_trained_client_s_pictures_is_turned_back(trained, digits):
    """Training has moved the biases from where they started, and they still tell."""
    bottom, _ = split(trained.model(), 1)
    clone = copy.deepcopy(bottom)
    architecture = ClientArchitecture.of(bottom, (1, 28, 28))
    pictures = digits.test.images[:10]
    mirror(clone)
    turned, sign = resolve_sign(1 - pictures, clone, architecture)
    assert sign is Sign.RESOLVED
    torch.testing.assert_close(turned, pictures)
    torch.testing.assert_close(clone(turned), bottom(pictures), rtol=1e-4, atol=1e-5)


def test_behind_zero_padding_a_picture_is_not_turned():
    """The zeros of the border would have to turn as well: the negative does not explain the smashed data."""
    inputs, clone, architecture = case("padded")
    mirror(clone)
    smashed = clone(inputs)
    kept, sign = resolve_sign(inputs, clone, architecture)
    assert torch.equal(kept, inputs)
    assert torch.equal(clone(kept), smashed)
    assert sign is Sign.AMBIGUOUS


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


class Normalised(nn.Module):
    """A normalisation by constants, as many a network begins with."""

    def forward(self, inputs):
        return (inputs - 0.13) / 0.31


@pytest.mark.parametrize("before", [Normalised(), nn.Sigmoid(), nn.ZeroPad2d(1)])
def test_layers_without_weights_before_the_first_do_not_break_the_clone(before):
    inputs, clone, _ = case("conv")
    clone = nn.Sequential(before, *clone)
    architecture = ClientArchitecture.of(clone, (1, 12, 12))
    smashed = clone(inputs)
    torch.testing.assert_close(clone(stretch(inputs, clone, architecture)), smashed, rtol=1e-2, atol=1e-2)


FLIPS = {
    "left-right": lambda maps: maps.flip(-1),
    "upside down": lambda maps: maps.flip(-2),
    "turned": lambda maps: maps.rot90(1, (-2, -1)),
}


@pytest.mark.parametrize("name", FLIPS)
@torch.no_grad()
def test_behind_a_dense_layer_a_flipped_picture_gives_the_same_smashed_data(name):
    """Filters flipped and dense columns reordered undo it, so no attack on smashed data can tell."""
    flip = FLIPS[name]
    bottom, _ = split(build("mnist-net", generator=generator(0)), 6)
    other = copy.deepcopy(bottom)
    for layer in (other.conv1, other.conv2):
        layer.weight.copy_(flip(layer.weight))
    other.fc1.weight.copy_(flip(other.fc1.weight.reshape(120, 16, 4, 4)).reshape(120, 256))
    pictures = torch.rand(3, 1, 28, 28, generator=generator(1))
    torch.testing.assert_close(other(flip(pictures)), bottom(pictures))
    assert (other(pictures) - bottom(pictures)).abs().max() > 1e-3


@pytest.mark.parametrize("bias", [True, False])
def test_behind_a_dense_first_layer_no_sign_is_resolved(bias):
    """A mixture of an input's numbers, undone in its weights, fits as well."""
    with seeded(0):
        clone = nn.Sequential(nn.Flatten(), nn.Linear(144, 20, bias=bias), nn.ReLU())
    inputs = torch.rand(4, 1, 12, 12, generator=generator(1))
    mixing = torch.linalg.qr(torch.randn(144, 144, generator=generator(2)))[0]
    mixed = copy.deepcopy(clone)
    with torch.no_grad():
        mixed[1].weight.copy_(clone[1].weight @ mixing.T)
        torch.testing.assert_close(mixed(inputs.flatten(1) @ mixing.T), clone(inputs), rtol=1e-4, atol=1e-5)
    _, sign = resolve_sign(inputs, clone, ClientArchitecture.of(clone, (1, 12, 12)))
    assert sign is Sign.AMBIGUOUS
    assert "up to a linear map only" in dense_note(clone)
    assert dense_note(layers("conv")) is None


def test_labels_cannot_tell_a_picture_from_its_negative(trained, digits):
    """The exact mirror gives the same smashed data, so the server's own top gives the same logits and the same loss on
    the labels that it holds: no use of them decides.
    """
    bottom, top = split(trained.model(), 4)
    pictures, labels = digits.test.images[:50], digits.test.labels[:50]
    clone = copy.deepcopy(bottom)
    negative = symmetry.mirror(pictures, clone, ClientArchitecture.of(bottom, (1, 28, 28)))
    torch.testing.assert_close(negative, 1 - pictures)
    with torch.no_grad():
        logits, own = top(clone(negative)), top(bottom(pictures))
    torch.testing.assert_close(logits, own, rtol=1e-3, atol=1e-3)
    loss = torch.nn.functional.cross_entropy
    torch.testing.assert_close(loss(logits, labels), loss(own, labels), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["without bias", "padded"])
def test_where_no_negative_explains_the_smashed_data_none_is_made(kind):
    inputs, clone, architecture = case(kind)
    before = clone(inputs)
    assert torch.equal(symmetry.mirror(inputs, clone, architecture), inputs)
    assert torch.equal(clone(inputs), before)
