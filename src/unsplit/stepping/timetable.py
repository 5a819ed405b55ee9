"""What changes from step to step, on the device, so that a step needs nothing from the host."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Timetable:
    """A row for each step, and a counter, both on the device. Every step reads its row and moves the counter on.

    Args:
        rates: the optimiser's learning rates, a row of one for each of its groups for each step.
        weights: other numbers by name, one for each step.
        batches: indices of the samples of each step, shape [steps, batch].
        device: where the steps are computed.
    """

    def __init__(
        self,
        rates: Sequence[Sequence[float]],
        weights: Mapping[str, Sequence[float]],
        batches: Int[Tensor, "steps batch"],
        device: torch.device,
    ) -> None:
        # On the processor an optimiser takes a rate as a Python float; on CUDA it insists on single precision.
        exact = torch.float64 if device.type == "cpu" else torch.float32
        self._rates = torch.tensor(rates, dtype=torch.float64).to(device, exact)
        self._names = tuple(weights)
        columns = torch.tensor(list(weights.values()), dtype=torch.float32).reshape(len(weights), len(rates))
        self._weights = columns.T.contiguous().to(device)
        self._batches = batches.to(device)
        self._step = torch.zeros(1, dtype=torch.long, device=device)
        self.rates = torch.zeros_like(self._rates[0])
        """The rates of the present step, shape [groups]: an optimiser's groups take its elements as they are."""

    def start_step(self) -> tuple[dict[str, Float[Tensor, ""]], Int[Tensor, " batch"]]:
        """Set `rates`; gives the step's weights by name and the indices of its samples."""
        self.rates.copy_(self._rates.index_select(0, self._step)[0])
        weights = self._weights.index_select(0, self._step)[0]
        batch = self._batches.index_select(0, self._step)[0]
        return dict(zip(self._names, weights.unbind(), strict=True)), batch

    def refill(self, batches: Int[Tensor, "rows batch"]) -> None:
        """Begin again with these batches, for as many steps as they are (at most those of the table)."""
        self._batches[: len(batches)].copy_(batches)
        self._step.zero_()

    def end_step(self) -> None:
        """Move on to the next row."""
        self._step.add_(1)


def adam(
    groups: Sequence[Iterable[nn.Parameter]], rates: Float[Tensor, " groups"], betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.Adam:
    """Adam over groups of parameters, which takes its rates from where a `Timetable` puts them."""
    kind = rates.device.type
    chosen = [{"params": list(group), "lr": rate} for group, rate in zip(groups, rates.unbind(), strict=True)]
    return torch.optim.Adam(chosen, betas=betas, fused=kind in ("cpu", "cuda"), capturable=kind == "cuda")
