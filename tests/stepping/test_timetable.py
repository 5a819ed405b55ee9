"""What changes from step to step lies on the device."""

import pytest
import torch

from unsplit.stepping import Timetable

CPU = torch.device("cpu")


def test_each_step_has_its_row():
    batches = torch.tensor([[3, 1], [2, 2], [0, 4]])
    table = Timetable([(0.1, 0.7), (0.2, 0.8), (0.3, 0.9)], {"a": (1, 2, 3), "b": (-1, -2, -3)}, batches, CPU)
    rates = table.rates
    for step in range(3):
        weights, batch = table.start_step()
        assert rates.tolist() == [(0.1, 0.2, 0.3)[step], (0.7, 0.8, 0.9)[step]]
        assert {name: float(value) for name, value in weights.items()} == {"a": step + 1, "b": -step - 1}
        assert torch.equal(batch, batches[step])
        table.end_step()
    with pytest.raises((RuntimeError, IndexError)):
        table.start_step()


def test_weights_do_not_make_a_loss_of_double_precision():
    weights, _ = Timetable([(0.1,)], {"a": (0.3,)}, torch.zeros(1, 2, dtype=torch.long), CPU).start_step()
    assert (weights["a"] * torch.ones(())).dtype == torch.float32
