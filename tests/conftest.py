"""What all tests share: shapes are checked at run time, one thread, small data made on the spot."""

import os
from collections.abc import Callable, Iterable

from jaxtyping import install_import_hook

# Programs that tests start compute with one thread too: on a busy machine more would wait for one another.
os.environ["OMP_NUM_THREADS"] = "1"

with install_import_hook("unsplit", "typechecked.check"):
    from unsplit import *  # noqa: F403

import pytest
import torch
from torch import Tensor

from unsplit.data import Splits, load
from unsplit.errors import InputError
from unsplit.models import build
from unsplit.protocol import SplitConfig, SplitTraining, split_training
from unsplit.randomness import generator

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_global_randomness():
    """No test leaves torch's process-wide generator other than it was."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())


@pytest.fixture(scope="session")
def digits() -> Splits:
    """The embedded digits."""
    return load("digits")


@pytest.fixture(scope="session")
def trained(digits: Splits) -> SplitTraining:
    """The paper's net, trained in setup (a) at depth 1 for three epochs; not to be changed."""
    model = build("mnist-net", generator=generator(0))
    config = SplitConfig(cut=1)
    training = split_training(model, digits.train.images, digits.train.labels, config, generator=generator(1))
    training.run(189)
    return training


def noise(samples: int = 40, shape: tuple[int, ...] = (1, 28, 28), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random inputs in [0, 1] and labels of ten classes."""
    source = generator(seed)
    return torch.rand(samples, *shape, generator=source), torch.randint(10, (samples,), generator=source)


def truth_of(training: SplitTraining, steps: Iterable[int]) -> Tensor:
    """The labels of all samples of these steps, shape [samples]."""
    return torch.cat([training.truth(step).labels for step in steps])


def refused(call: Callable[..., object], *arguments: object, **options: object) -> str:
    """The one sentence with which a call refuses its input."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith((".", "?"))
    return sentence
