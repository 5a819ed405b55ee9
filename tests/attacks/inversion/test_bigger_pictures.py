"""Pictures of more pixels, and clients that send tokens: memory does not explode, and places are known."""

import pytest
import torch
from torch import nn

from unsplit.attacks import symmetry
from unsplit.attacks.inversion import photographs
from unsplit.attacks.inversion._decoder import Decoder
from unsplit.attacks.inversion._pieces import in_pieces
from unsplit.attacks.inversion._receptive import receptive_centres
from unsplit.attacks.inversion._tokens import Tokens, tokens_of
from unsplit.attacks.symmetry import stretch
from unsplit.knowledge import ClientArchitecture
from unsplit.randomness import generator, seeded


class Transformer(nn.Module):
    """Patches with learned positions, so many tokens before them, and a block of attention."""

    def __init__(self, patch=8, extra=0, width=16, size=(32, 32)):
        super().__init__()
        self.project = nn.Conv2d(3, width, patch, stride=patch)
        self.extra = nn.Parameter(torch.randn(1, extra, width))
        self.position = nn.Parameter(0.02 * torch.randn(extra + size[0] * size[1] // patch**2, width))
        self.block = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True, norm_first=True)

    def forward(self, pictures):
        tokens = self.project(pictures).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.extra.expand(len(tokens), -1, -1), tokens], 1)
        return self.block(tokens + self.position)


def made(function):
    with seeded(0):
        return function()


@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (32, 64)])
def test_tokens_of_a_transformer_are_a_map_of_its_patches(extra, size):
    clone = made(lambda: Transformer(extra=extra, size=size))
    picture = (3, *size)
    patches = (size[0] // 8, size[1] // 8)
    shape = (extra + patches[0] * patches[1], 16)
    found = tokens_of(clone, shape, picture)
    assert found == Tokens(first=True, extra=extra, grid=patches)
    smashed = torch.arange(2.0 * shape[0]).reshape(2, -1, 1).expand(2, *shape)
    maps = found(smashed)
    assert maps.shape == (2, 16, *patches)
    assert float(maps[0, 3, 1, 2]) == extra + patches[1] + 2


def test_maps_that_were_rolled_out_are_found_too():
    clone = made(lambda: nn.Sequential(nn.Conv2d(3, 16, 8, stride=8), nn.Flatten(2)))
    assert tokens_of(clone, (16, 16), (3, 32, 32)) == Tokens(first=False, extra=0, grid=(4, 4))


def test_what_stands_for_no_patches_is_no_map():
    mixing = made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16 * 5), nn.Unflatten(1, (16, 5))))
    assert tokens_of(mixing, (16, 5), (3, 32, 32)) is None
    odd = made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7 * 5), nn.Unflatten(1, (7, 5))))
    assert tokens_of(odd, (7, 5), (3, 32, 32)) is None
    assert tokens_of(odd, (35,), (3, 32, 32)) is None


def test_a_decoder_of_tokens_has_no_dense_layer_and_looks_at_its_patch():
    clone = made(lambda: Transformer(extra=1, size=(64, 64)))
    with torch.no_grad():
        smashed = clone(torch.rand(4, 3, 64, 64, generator=generator(1)))
    decoder = made(lambda: Decoder(clone, smashed, (3, 64, 64), width=8, blocks=0))
    assert sum(value.numel() for value in decoder.parameters()) < 10_000
    assert decoder.period == 8
    pictures = decoder(smashed)
    assert pictures.shape == (4, 3, 64, 64)
    changed = smashed.clone()
    changed[:, 1 + 8 * 2 + 5] += 1  # the patch of the third row and the sixth column
    difference = (decoder(changed) - pictures).detach().abs().sum((0, 1))
    assert float(difference[16:24, 40:48].sum()) > 0.3 * float(difference.sum())
    assert float(difference[44:].sum() + difference[:, :24].sum()) == 0


def test_where_a_map_looks_is_measured_on_fewer_pictures_if_they_are_big():
    clone = made(lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2)))
    seen = []
    clone.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    stride, start = receptive_centres(clone, (3, 128, 128), 0, 64)
    assert seen == [(4, 3, 128, 128)]
    assert (stride, start) == pytest.approx((2.0, 0.5), abs=0.15)
    receptive_centres(clone, (3, 28, 28), 0, 14)
    assert len(torch.empty(seen[-1])) == 64


@pytest.mark.parametrize(
    ("number", "size"), [(1, 32), (256, 32), (257, 32), (241, 128), (33, 128), (2, 4096), (7, 4096)]
)
def test_pieces_hold_few_big_pictures_and_none_alone(number, size):
    samples = torch.arange(number)
    pieces = in_pieces(samples, (3, size, size))
    assert torch.equal(torch.cat(pieces), samples)
    assert all(len(piece) > 1 for piece in pieces) or number == 1
    assert max(len(piece) for piece in pieces) <= max(3, min(256, 256 * 32**2 // size**2))


def test_colours_of_too_many_pixels_are_those_of_every_nth_picture(monkeypatch):
    pictures = torch.rand(9, 3, 16, 16, generator=generator(2)) ** 3
    monkeypatch.setattr(photographs, "_PIXELS", 16 * 16 * 3)
    wanted = photographs.natural_colours(pictures[::3].clone(), 0.005)
    pictures[1::3] = pictures[2::3] = float("nan")
    found = photographs.natural_colours(pictures, 0.005)
    assert torch.equal(found.mixing, wanted.mixing)
    assert torch.equal(found.offset, wanted.offset)


def test_the_range_of_too_many_values_is_that_of_every_nth(monkeypatch):
    client = made(lambda: nn.Sequential(nn.Conv2d(1, 2, 3)))
    architecture = ClientArchitecture.of(client, (1, 10, 10))
    pictures = 0.25 + 0.5 * torch.rand(4, 1, 10, 10, generator=generator(1))
    pictures.flatten()[1::2] = 0.0
    monkeypatch.setattr(symmetry, "_VALUES", 200)
    seen = pictures.flatten()[::2]
    stretched = stretch(pictures, client, architecture, stray=0.0).flatten()[::2]
    assert torch.allclose(stretched, (seen - seen.min()) / (seen.max() - seen.min()), atol=1e-6)
