"""What each message of a training must look like, from the plan: the one place that both sides check against."""

import copy

import torch
from torch import nn

from unsplit.optim import OptimizerSpec
from unsplit.protocol.remote.codec import WIRE, Layout, WireError
from unsplit.protocol.remote.plan import Plan
from unsplit.protocol.segment import Segment, optimizer_tensors
from unsplit.types import Kind, Message

SEALED = "sealed"
"""Name of the one tensor of encrypted weights."""
_MARGIN = 2**20  # names, nonce and tag of sealed weights


def layouts(plan: Plan) -> dict[Kind, Layout]:
    """Layouts of all messages that a client may send."""
    return {**batch_layouts(plan), Kind.WEIGHTS: weights_layout(plan, sealed=plan.config.hand_off == "peer")}


def check_labels(message: Message, classes: int) -> None:
    """Check the numbers in a message of labels; any other message passes.

    Raises:
        WireError: a label is not from 0 to `classes` - 1.
    """
    if message.kind is Kind.LABELS and not 0 <= int(message.tensor.min()) <= int(message.tensor.max()) < classes:
        raise WireError(f"there are labels that are not from 0 to {classes - 1}")


def batch_layouts(plan: Plan) -> dict[Kind, Layout]:
    """Layouts of the messages of a step."""
    dtype = WIRE[plan.config.wire]
    return {
        kind: Layout(
            tensors={kind.value: (torch.int64 if kind is Kind.LABELS else dtype, shape)},
            batch=plan.config.batch_size,
        )
        for kind, shape in plan.shapes.items()
    }


def weights_layout(plan: Plan, *, sealed: bool) -> Layout:
    """Layout of a client's weights on their way to the next client."""
    parts = plan.split.parts(plan.model(0))
    tensors: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    state: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    for role, module in (("bottom", parts.bottom), ("head", parts.head)):
        if module is None:
            continue
        for name, value in module.state_dict().items():
            tensors[f"{role}.{name}"] = (value.dtype, tuple(value.shape))
        if plan.config.hand_off_optimizer:
            state |= _optimizer_layout(role, module, plan.split.client_optimizer)
    if sealed:
        size = sum(dtype.itemsize * torch.Size(shape).numel() for dtype, shape in {**tensors, **state}.values())
        return Layout(tensors={SEALED: (torch.uint8, ())}, batch=size + _MARGIN)
    return Layout(tensors=tensors | state, optional=frozenset(state))


def _optimizer_layout(
    role: str, module: nn.Module, optimizer: OptimizerSpec
) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """What an optimiser keeps of these layers, seen from one step that a copy takes on gradients of zero."""
    segment = Segment(copy.deepcopy(module), optimizer)
    if segment.optimizer is None:
        return {}
    for parameter in segment.module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    segment.optimizer.step()
    return {name: (value.dtype, tuple(value.shape)) for name, value in optimizer_tensors({role: segment}).items()}
