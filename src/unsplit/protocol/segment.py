"""Consecutive layers that belong to one party, with their optimiser."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unsplit.optim import OptimizerSpec, load_state_tensors, state_tensors


class Segment:
    """Consecutive layers with their optimiser: forward keeps the graph, backward closes it and takes the step."""

    def __init__(self, module: nn.Module, optimizer: OptimizerSpec) -> None:
        self.module = module
        parameters = {name: value for name, value in module.named_parameters() if value.requires_grad}
        self.trained = tuple(parameters)
        self.optimizer = optimizer.build(parameters.values()) if parameters else None
        self._inputs: Tensor | None = None
        self._outputs: Tensor | None = None

    def forward(self, inputs: Tensor, *, needs_input_gradient: bool) -> Tensor:
        """The output for a batch; `inputs` are the segment's own copy from here on."""
        self._inputs = inputs.detach().clone().requires_grad_(needs_input_gradient)
        outputs: Tensor = self.module(self._inputs)
        self._outputs = outputs
        return outputs

    def backward(self, gradient: Tensor | None = None, *, loss: Tensor | None = None) -> Tensor | None:
        """Step on the gradient at the output, or on a loss computed from it; returns the gradient at the input."""
        if self._outputs is None or self._inputs is None:
            raise RuntimeError("backward without a forward pass before it")
        if self.optimizer is not None:
            self.optimizer.zero_grad()
        if loss is not None:
            torch.autograd.backward(loss)
        elif self._outputs.requires_grad:
            torch.autograd.backward(self._outputs, gradient)
        if self.optimizer is not None:
            self.optimizer.step()
        input_gradient = self._inputs.grad
        self._inputs = self._outputs = None
        return input_gradient


def evaluated(module: nn.Module, inputs: Tensor) -> Tensor:
    """The module's output in evaluation mode, leaving mode, statistics and gradients as they were."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            outputs: Tensor = module(inputs)
    finally:
        module.train(training)
    return outputs


def predicted(
    inputs: Tensor, *modules: nn.Module, device: torch.device | str | None = None, batch_size: int = 512
) -> Tensor:
    """The output of modules one after another, in evaluation mode and in batches.

    Args:
        inputs: shape [n, ...].
        modules: the first takes the inputs.
        device: where the modules are, if the inputs are elsewhere.
        batch_size: inputs at a time.
    """
    outputs = []
    for batch in torch.split(inputs, batch_size):
        values = batch if device is None else batch.to(device)
        for module in modules:
            values = evaluated(module, values)
        outputs.append(values)
    return torch.cat(outputs)


def optimizer_tensors(segments: Mapping[str, Segment]) -> dict[str, Tensor]:
    """The state of the segments' optimisers as "optimizer.ROLE.PARAMETER/KEY"."""
    found = {}
    for role, segment in segments.items():
        if segment.optimizer is not None:
            for name, value in state_tensors(segment.optimizer).items():
                index, _, key = name.partition("/")
                found[f"optimizer.{role}.{segment.trained[int(index)]}/{key}"] = value
    return found


def load_optimizer_tensors(segment: Segment, role: str, tensors: Mapping[str, Tensor]) -> None:
    """Put the state written by `optimizer_tensors` for this role back, where there is one."""
    prefix = f"optimizer.{role}."
    state = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            parameter, _, key = name.removeprefix(prefix).rpartition("/")
            state[f"{segment.trained.index(parameter)}/{key}"] = value
    if segment.optimizer is not None:
        load_state_tensors(segment.optimizer, state)
