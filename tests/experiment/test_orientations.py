"""Where the eight flips and quarter turns are one answer, and how they are scored."""

import pytest
import torch
from torch import nn

from unsplit.attacks.he2019 import WhiteBoxConfig
from unsplit.attacks.inversion import JointConfig
from unsplit.experiment.inversion import Evaluation, run_inversion
from unsplit.experiment.orientations import ends_dense, scores_of_orientations
from unsplit.experiment.server_knowledge import ServerKnowledge
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, ClientOptimizer, KnownPictures, OwnTop
from unsplit.metrics import mse, mse_best_of_eight
from unsplit.models import build
from unsplit.randomness import generator, seeded
from unsplit.results import InversionRow


class Gate(nn.Module):
    """Channels weighed by two dense layers, as squeeze and excitation has them."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 4)

    def forward(self, maps):
        return maps * self.dense(maps.mean((2, 3)))[:, :, None, None]


with seeded(0):
    CONVOLUTION = (nn.Conv2d(1, 4, 3), nn.ReLU())
    DENSE = nn.Linear(144, 5)
    GATED = (*CONVOLUTION, Gate(), nn.Conv2d(4, 2, 3), nn.Flatten())
    FLAT = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    TOKENS = (nn.Flatten(1, 2), nn.Linear(8, 3))


@pytest.mark.parametrize(
    ("layers", "dense"),
    [
        (CONVOLUTION, False),
        ((*CONVOLUTION, nn.Flatten()), False),
        ((*CONVOLUTION, nn.Flatten(), DENSE), True),
        ((*CONVOLUTION, nn.Flatten(), DENSE, nn.BatchNorm1d(5), nn.ReLU()), True),
        (GATED, False),
        # Rows of a picture as tokens: their places are kept.
        (TOKENS, False),
        ((nn.Flatten(),), False),
    ],
)
def test_what_is_behind_a_dense_layer(layers, dense):
    assert ends_dense(nn.Sequential(*layers), torch.zeros(2, 1, 8, 8)) is dense


@pytest.mark.parametrize(
    ("shape", "kinds", "scored"),
    [
        ((1, 8, 8), [ClientArchitecture], True),
        ((1, 8, 8), [ClientArchitecture, OwnTop], True),
        ((1, 8, 8), [ClientArchitecture, ClientOptimizer], True),
        ((1, 8, 8), [ClientArchitecture, AuxiliaryData], False),
        ((1, 8, 8), [ClientArchitecture, OwnTop, KnownPictures], False),
        ((1, 4, 16), [ClientArchitecture], False),
        ((64,), [ClientArchitecture], False),
    ],
)
def test_it_applies_to_square_pictures_that_nothing_turns_upright(shape, kinds, scored):
    truth = torch.rand(3, *shape, generator=generator(0))
    assert bool(scores_of_orientations(truth, truth, truth[0], FLAT, kinds)) is scored


def test_the_guess_has_its_best_of_eight_too():
    truth = torch.rand(3, 1, 8, 8, generator=generator(0))
    turned = truth.mean(0).rot90(1, (-2, -1))
    found = scores_of_orientations(truth.flip(-1), truth, turned, FLAT, [ClientArchitecture])
    best = mse(truth.mean(0).expand_as(truth), truth)
    assert found == {"mse_best_of_eight": 0, "mse_best_of_eight_best_trivial": pytest.approx(best)}


@pytest.fixture(scope="module")
def judged(digits):
    few = digits.test.one_per_class()
    return Evaluation(targets=few, test=few, mean_input=digits.train.images.mean(0))


@pytest.mark.parametrize(
    ("depth", "name", "settings", "scored"),
    [
        (5, "joint", JointConfig(steps=1), False),
        (6, "joint", JointConfig(steps=1), True),
        (6, "white-box", WhiteBoxConfig(steps=1), False),
    ],
)
def test_a_row_has_it_where_it_applies(judged, depth, name, settings, scored):
    network = build("mnist-net", generator=generator(0))
    row, pictures = run_inversion(
        network, depth, name, judged, state="before", seed=0, device=torch.device("cpu"), settings=settings,
        server=ServerKnowledge(published=network),
    )  # fmt: skip
    if scored:
        assert row.mse_best_of_eight == pytest.approx(mse_best_of_eight(pictures, judged.targets.images))
        assert row.mse_best_of_eight <= row.mse
        assert row.mse_best_of_eight_best_trivial <= row.mse_best_trivial
    else:
        assert row.mse_best_of_eight is row.mse_best_of_eight_best_trivial is None
    earlier = row.model_dump(exclude={"mse_best_of_eight", "mse_best_of_eight_best_trivial"})
    assert InversionRow.model_validate(earlier).mse_best_of_eight is None
