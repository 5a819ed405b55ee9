"""What all tests share: shapes are checked at run time, one thread, small data made on the spot."""

import os

import pytest
from jaxtyping import install_import_hook

pytest.register_assert_rewrite("helpers")
# Programs that tests start compute with one thread too: on a busy machine more would wait for one another.
os.environ["OMP_NUM_THREADS"] = "1"

with install_import_hook("unsplit", "typechecked.check"):
    from unsplit import *  # noqa: F403

# After the hook, which sees what is loaded while it is installed.
import torch  # noqa: E402

from unsplit.data import Splits, load  # noqa: E402
from unsplit.models import build  # noqa: E402
from unsplit.protocol import SplitConfig, SplitTraining, split_training  # noqa: E402
from unsplit.randomness import generator  # noqa: E402

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
