"""Consecutive layers that belong to one party, with their optimiser."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unsplit.defenses import Defense
from unsplit.optim import OptimizerSpec, load_state_tensors, state_tensors
from unsplit.protocol.private import PrivateGradients
from unsplit.randomness import generator, numbered_seed, seeded
from unsplit.types import Message


class Segment:
    """Consecutive layers with their optimiser: forward keeps the graph, backward closes it, settle takes the step.

    Backward and step are apart so that a party can send its gradient off before it takes the step.

    Args:
        module: layers of the segment.
        optimizer: optimiser of the layers' weights.
        seed: seed of what the layers draw while training (dropout) and of a defence's noise; step n draws from
            (seed, n).
        defense: defence that acts on the output and on the training of these layers; None for none.
    """

    def __init__(
        self, module: nn.Module, optimizer: OptimizerSpec, *, seed: int = 0, defense: Defense | None = None
    ) -> None:
        self.module = module
        self.seed = seed
        self._step = 0
        self._owes_step = False
        self._defense = defense
        self._penalty: Tensor | None = None
        parameters = {name: value for name, value in module.named_parameters() if value.requires_grad}
        self.trained = tuple(parameters)
        self.optimizer = optimizer.build(parameters.values()) if parameters else None
        self._private: PrivateGradients | None = None
        if defense is not None and defense.privacy is not None and self.optimizer is not None:
            self._private = PrivateGradients(module, self.optimizer, defense.privacy)
        self._inputs: Tensor | None = None
        self._outputs: Tensor | None = None

    def forward(self, inputs: Tensor, *, step: int, needs_input_gradient: bool) -> Tensor:
        """The output for a step's batch; `inputs` are the segment's own copy from here on."""
        self.settle()
        self._step = step
        if self._private is not None:
            self._private.watch(len(inputs))
            needs_input_gradient = True
        self._inputs = inputs.detach().clone().requires_grad_(needs_input_gradient)
        with seeded(numbered_seed(self.seed, step)):
            outputs: Tensor = self.module(self._inputs)
        if self._defense is not None:
            self._penalty = self._defense.penalty(self._inputs, outputs)
            outputs = self._defense.smashed(outputs, generator=self._noise(2 * step))
        self._outputs = outputs
        return outputs

    def infer(self, inputs: Tensor, *, number: int) -> Tensor:
        """What leaves when the network is used, not trained; `number` is that of the message, for a defence's noise."""
        outputs = evaluated(self.module, inputs)
        if self._defense is None:
            return outputs
        with torch.no_grad():
            return self._defense.smashed(outputs, generator=self._noise(2 * number + 1))

    def _noise(self, number: int) -> torch.Generator:
        """What a defence draws from: a stream of its own, apart from the layers'."""
        return generator(numbered_seed(numbered_seed(self.seed, -1), number))

    def backward(self, gradient: Tensor | None = None, *, loss: Tensor | None = None) -> Tensor | None:
        """Follow the gradient at the output, or a loss computed from it; returns the gradient at the input."""
        if self._outputs is None or self._inputs is None:
            raise RuntimeError("backward without a forward pass before it")
        if self.optimizer is not None:
            self.optimizer.zero_grad()
        if loss is not None:
            torch.autograd.backward(loss)
        elif self._outputs.requires_grad:
            if self._penalty is None:
                torch.autograd.backward(self._outputs, gradient)
            else:
                torch.autograd.backward([self._outputs, self._penalty], [gradient, None])
        input_gradient = self._inputs.grad
        self._inputs = self._outputs = self._penalty = None
        self._owes_step = True
        return input_gradient

    def settle(self) -> None:
        """Take the optimiser's step that a backward pass left to do, if one did."""
        if self._owes_step and self.optimizer is not None:
            if self._private is not None:
                self._private.apply(generator=self._noise(2 * self._step))
            self.optimizer.step()
        self._owes_step = False

    def forget(self) -> None:
        """Drop a step that was begun: its graph and its gradients."""
        self._inputs = self._outputs = self._penalty = None
        self._owes_step = False
        if self._private is not None:
            self._private.forget()


def placed(message: Message, *modules: nn.Module) -> Message:
    """The message with its payload where the first module that has weights keeps them."""
    for module in modules:
        for parameter in module.parameters():
            return message if parameter.device.type == "cpu" else message.to(parameter.device)
    return message


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
        inputs: inputs of the first module, shape [n, ...].
        modules: modules to apply one after another.
        device: device of the modules, if the inputs are elsewhere.
        batch_size: number of inputs that are computed at a time.
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
