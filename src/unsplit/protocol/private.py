"""DP-SGD of a client's own weights, by Opacus."""

import torch
from torch import nn

from unsplit.defenses import Privacy
from unsplit.errors import InputError


class PrivateGradients:
    """Turns the gradients of a step into clipped and noisy ones.

    Opacus hooks into layers to get each sample's gradient; the hooks are there from a forward pass to its step only, so
    that the layers can be copied and looked at like any others.

    Args:
        module: layers to train.
        optimizer: optimiser of the layers' weights; taking its step is left to the caller.
        privacy: norm to which gradients are clipped, and the noise that is added.

    Raises:
        InputError: Opacus is not installed, or cannot tell samples apart in one of the layers.
    """

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, privacy: Privacy) -> None:
        try:
            from opacus import GradSampleModule
            from opacus.optimizers import DPOptimizer
        except ImportError as error:
            raise InputError("dp-sgd needs Opacus, which is not installed; pip install 'unsplit[dp]'.") from error
        try:
            self._watched = GradSampleModule(module)
        except NotImplementedError as error:
            raise InputError(
                "dp-sgd needs each sample's own gradient, and a layer with running statistics, such as batch norm, "
                "mixes the samples of a batch; replace it by group norm in the client's layers."
            ) from error
        self._watched.remove_hooks()
        self._private = DPOptimizer(
            optimizer, noise_multiplier=privacy.noise, max_grad_norm=privacy.clip, expected_batch_size=1
        )

    def watch(self, samples: int) -> None:
        """Begin a step of so many samples."""
        self.forget()
        self._watched.add_hooks()
        self._private.expected_batch_size = samples

    def apply(self, *, generator: torch.Generator) -> None:
        """Put clipped and noisy gradients where the optimiser looks for them."""
        self._private.generator = generator
        self._private.pre_step()
        self.forget()

    def forget(self) -> None:
        """Drop what was noted since `watch`."""
        if hasattr(self._watched, "autograd_grad_sample_hooks"):
            self._watched.remove_hooks()
        for value in self._private.params:
            value.grad_sample = value.summed_grad = None
