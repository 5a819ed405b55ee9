"""A client's training, taken again by a found client: do its own steps explain how the smashed data moved?

Smashed data of one moment cannot tell a picture from its negative: an exact symmetry leaves them as they are. The steps
of an optimiser do not follow that symmetry. What the server sees of a training are the smashed data of each step and
the gradients with which it answered; with the pictures that it believes in, it can take the same steps with its clone,
and compare how the smashed data of a sample moved from one visit of that sample to the next.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unsplit.attacks.symmetry import first_layer, mirror
from unsplit.errors import InputError
from unsplit.knowledge import ClientArchitecture
from unsplit.optim import OptimizerSpec
from unsplit.types import Kind, Message, Transcript

_CLOSER = 0.5
"""A sample was seen before if the nearest earlier one is nearer than this share of the distance to the second."""
_SETTLING = 1 / 3
"""Share of the steps that only fill the optimiser's memory, whose beginning the server need not have seen."""
_UNITS = 1024
"""So many numbers of each sample's smashed data are compared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """Steps of one client's training as the server saw them.

    Args:
        smashed: smashed data of each step, shape [batch, ...] each.
        gradients: cut gradients that answered them, of the same shapes.
        samples: which sample each is, counted in the order in which they were first seen, shape [batch] each.
        places: where each sample's first visit is among all smashed data of the view, shape [samples].
    """

    smashed: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]
    samples: tuple[Tensor, ...]
    places: Tensor

    @classmethod
    def of(cls, view: Transcript) -> "Window":
        """The steps of a view that have smashed data and a cut gradient, in their order; of several clients, those of
        the one with most of them.

        Raises:
            InputError: no such step, or gradients of another shape.
        """
        answers = {message.step: message.tensor for message in view.of(Kind.CUT_GRAD)}
        places, sent, offset = [], [], 0
        for message in view.of(Kind.SMASHED):
            if message.step in answers:
                sent.append(message)
                places.append(torch.arange(offset, offset + len(message.tensor)))
            offset += len(message.tensor)
        if not sent:
            raise InputError(
                "The transcript holds no step with smashed data and a cut gradient, so there is nothing to replay; "
                "record a training in setup (a) or (c)."
            )
        kept = _most_frequent(sent)
        smashed = tuple(sent[index].tensor for index in kept)
        gradients = tuple(answers[sent[index].step] for index in kept)
        if any(one.shape != other.shape for one, other in zip(smashed, gradients, strict=True)):
            raise InputError(
                "A cut gradient has another shape than the smashed data of its step; record both at the same cut."
            )
        samples = recognised(smashed)
        order, where = torch.cat(samples), torch.cat([places[index] for index in kept]).to(smashed[0].device)
        first = torch.full((int(order.max()) + 1,), offset, device=order.device)
        return cls(
            smashed=smashed,
            gradients=gradients,
            samples=tuple(samples),
            places=first.scatter_reduce(0, order, where, "amin"),
        )


def recognised(batches: tuple[Tensor, ...]) -> list[Tensor]:
    """Which sample each of some smashed data is of, by the nearest one seen before; a new one has the next number.

    Args:
        batches: smashed data of each step, shape [batch, ...] each; no batch holds a sample twice.
    """
    known = batches[0].flatten(1).clone()
    found = [torch.arange(len(known), device=known.device)]
    for batch in batches[1:]:
        rows = batch.flatten(1)
        nearest, numbers = torch.cdist(rows, known).topk(min(2, len(known)), largest=False)
        numbers = numbers[:, 0].clone()
        again = nearest[:, 0] < _CLOSER * nearest[:, -1] if len(known) > 1 else torch.zeros_like(numbers).bool()
        # Of two that would be the same sample, the nearer one is.
        closest = torch.full((len(known),), torch.inf, device=known.device)
        closest.scatter_reduce_(0, numbers[again], nearest[again, 0], "amin")
        again &= nearest[:, 0] <= closest[numbers]
        known[numbers[again]] = rows[again]
        numbers[~again] = len(known) + torch.arange(int((~again).sum()), device=known.device)
        known = torch.cat([known, rows[~again]])
        found.append(numbers)
    return found


def explained_drift(clone: nn.Module, pictures: Tensor, window: Window, optimizer: OptimizerSpec) -> float:
    """Which share of the square of the smashed data's drift the client's own steps explain: 1 all of it, 0 no more than
    that nothing moves.

    The clone is the client's up to positive scales between its layers, which leave smashed data as they are and the
    steps not. So what the steps of each weight and each bias move is taken by itself, and how much each counts is
    fitted, from 0 on.

    Args:
        clone: the found client, which stays as it is.
        pictures: the pictures of the window's samples, shape [samples, ...].
        window: what the server saw.
        optimizer: the client's optimiser.
    """
    found = {name: value.detach() for name, value in clone.named_parameters()}
    stepped = {name: value.clone() for name, value in found.items()}
    stepper = optimizer.build(stepped.values())
    moved, before = _Moved(len(pictures)), _Moved(len(pictures))
    gram, moment, total = torch.zeros(len(found), len(found)).double(), torch.zeros(len(found)).double(), 0.0
    for step, (smashed, gradient, samples) in enumerate(
        zip(window.smashed, window.gradients, window.samples, strict=True)
    ):
        shown = pictures[samples]
        live = {name: value.clone().requires_grad_() for name, value in found.items()}
        output = functional_call(clone, live, (shown,))
        slopes = torch.autograd.grad(output, list(live.values()), gradient.reshape(output.shape))
        with torch.no_grad():
            parts = [functional_call(clone, {**found, name: stepped[name]}, (shown,)) - output for name in found]
        known = before.known(samples)
        predicted = moved.since(samples, torch.stack([_some(part) for part in parts], 1))
        drift = before.since(samples, _some(smashed))
        if step >= _SETTLING * len(window.smashed) and bool(known.any()):
            columns = predicted[known].transpose(0, 1).flatten(1).double().cpu()
            wanted = drift[known].flatten().double().cpu()
            gram += columns @ columns.T
            moment += columns @ wanted
            total += float(wanted.square().sum())
        for value, slope in zip(stepped.values(), slopes, strict=True):
            value.grad = slope
        stepper.step()
    return _explained(gram, moment, total)


def replay_witness(
    clone: nn.Module,
    pictures: Tensor,
    window: Window,
    optimizer: OptimizerSpec,
    architecture: ClientArchitecture,
) -> float:
    """How much more of the drift is explained by a clone and its pictures than by their exact mirror; 0 where there is
    no mirror (zero padding, no bias, another range) or no sample comes twice.
    """
    own, other = copy.deepcopy(clone), copy.deepcopy(clone)
    seen = pictures[window.places]
    turned = mirror(seen, other, architecture)
    if turned is seen:
        return 0.0
    explained = [
        explained_drift(one, _from_zero(shown, one, architecture.zero), window, optimizer)
        for one, shown in ((own, seen), (other, turned))
    ]
    return explained[0] - explained[1]


@torch.no_grad()
def _from_zero(pictures: Tensor, clone: nn.Module, zero: float) -> Tensor:
    """Pictures in which the client's own zero is 0, with the clone's first layer changed in place: a gradient is the
    larger, the farther an input is from the zero of the layer that takes it.
    """
    layer = first_layer(clone)
    if layer is not None and layer.bias is not None and zero:
        layer.bias.add_(zero * layer.sums)
    return pictures - zero


class _Moved:
    """The last values of each sample."""

    def __init__(self, samples: int) -> None:
        self._samples, self._last, self._seen = samples, torch.zeros(0), torch.zeros(samples).bool()

    def known(self, samples: Tensor) -> Tensor:
        """Which of these have been here before."""
        return self._seen[samples.cpu()]

    def since(self, samples: Tensor, values: Tensor) -> Tensor:
        """What has been added to the samples' values, which are kept; for a new one all of it."""
        if not len(self._last):
            self._last = values.new_zeros((self._samples, *values.shape[1:]))
        added = values - self._last[samples]
        self._last[samples] = values
        self._seen[samples.cpu()] = True
        return added


def _most_frequent(messages: list[Message]) -> list[int]:
    senders = [message.sender for message in messages]
    sender = max(dict.fromkeys(senders), key=senders.count)
    return [index for index, one in enumerate(senders) if one == sender]


def _some(values: Tensor) -> Tensor:
    """Some numbers of each sample's smashed data, at equal distances."""
    flat = values.detach().flatten(1)
    return flat[:, :: max(1, flat.shape[1] // _UNITS)]


def _explained(gram: Tensor, moment: Tensor, total: float) -> float:
    """The share of the square of what is wanted that the best combination of columns with coefficients from 0 on
    explains.

    Args:
        gram: products of the columns with each other, shape [columns, columns].
        moment: their products with what is wanted, shape [columns].
        total: the square of what is wanted.
    """
    if not total > 0 or not math.isfinite(total) or not bool(gram.isfinite().all()):
        return 0.0
    from scipy.optimize import nnls

    values, vectors = torch.linalg.eigh(gram)
    kept = values > 1e-12 * values.max().clamp_min(1e-30)
    roots, vectors = values[kept].sqrt(), vectors[:, kept]
    if not len(roots):
        return 0.0
    weights = torch.as_tensor(nnls((roots[:, None] * vectors.T).numpy(), (vectors.T @ moment / roots).numpy())[0])
    return float((2 * weights @ moment - weights @ gram @ weights) / total)
