"""Small data, the truth of a training, and the one sentence of a refusal."""

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor

from unsplit.errors import InputError
from unsplit.protocol import SplitTraining
from unsplit.randomness import generator


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
