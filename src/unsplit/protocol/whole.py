"""Split training without its messages: the same steps of the whole network, for whoever needs the weights alone."""

import torch
from torch import Tensor, nn

from unsplit.errors import InputError
from unsplit.protocol.engine import SplitTraining
from unsplit.protocol.parties import check_loss
from unsplit.stepping import Timetable, Work, perform, repeated
from unsplit.types import Setup


class WholeTraining:
    """The layers of a training's parties, trained as one network; the weights are those of split training.

    On the processor they are the same bit for bit, since the same kernels work on the same values. A step needs nothing
    from the host, so on CUDA it is a graph, and several trainings advance side by side (`stepping.side_by_side`).
    Layers that draw at random (dropout) draw other numbers than in split training.

    Args:
        training: parties of setup (a) with one client, without a defence, a guard and recorders; it goes on from where
            it is, and has done the steps afterwards.

    Raises:
        InputError: a training of another kind, whose messages make a difference.
    """

    def __init__(self, training: SplitTraining) -> None:
        if training.setup is not Setup.A or len(training.clients) != 1 or training.observed:
            raise InputError(
                "Only a training in setup (a) with one client, without defences, guards and recorders, is the same "
                "without messages; use `split_training`."
            )
        self._training, self._model, client = training, training.model(), training.clients[0]
        self._client, (inputs, self._labels) = client, client.data
        if inputs is None:
            raise RuntimeError("in setup (a) the client has the inputs")
        self._inputs, self._loss, device = inputs, training.server.loss, inputs.device
        segments = training.segments().values()
        self._optimizers = [segment.optimizer for segment in segments if segment.optimizer is not None]
        for optimizer in self._optimizers if device.type == "cuda" else ():
            for group in optimizer.param_groups:
                # Its state then lies on the device; optimisers without the option keep none that changes.
                group.update({"capturable": True} if "capturable" in group else {})
        self._whole_batches = client.samples // client.batch_size
        nothing = [()] * self._whole_batches
        batches = torch.zeros(self._whole_batches, client.batch_size, dtype=torch.long)
        self._table = Timetable(nothing, {}, batches, device)
        self._step = repeated(self._step_by_table, device)
        double = torch.float64 if device.type in ("cpu", "cuda") else torch.float32
        self._total = torch.zeros((), dtype=double, device=device)

    def run(self, steps: int) -> float:
        """Train until `steps` steps are done in all; returns the mean loss of the steps run now.

        Raises:
            InputError: the loss is no longer a finite number.
        """
        begun = self._training.steps_done
        self._total.zero_()
        while self._training.steps_done < steps:
            self._run_epoch(steps)
        ran, total = self._training.steps_done - begun, float(self._total)
        check_loss(total, self._training.steps_done)
        return total / ran if ran else float("nan")

    def model(self) -> nn.Sequential:
        """The whole network as it stands."""
        return self._model

    def _run_epoch(self, steps: int) -> None:
        """The steps up to the end of the epoch, or up to `steps`."""
        begun, client = self._training.steps_done, self._client
        end = min(steps, (begun // client.steps_an_epoch + 1) * client.steps_an_epoch)
        batches = [client.batch_of(step) for step in range(begun, end)]
        whole = [batch for batch in batches if len(batch) == client.batch_size]
        if whole:
            self._table.refill(torch.stack(whole))
            perform([Work(step=self._step, times=len(whole))])
        # The last of an epoch may be smaller, and is no row of the table.
        for batch in batches[len(whole) :]:
            self._train_on(batch.to(self._inputs.device))
        self._training.steps_done = end

    def _step_by_table(self) -> None:
        _, batch = self._table.start_step()
        self._train_on(batch)
        self._table.end_step()

    def _train_on(self, batch: Tensor) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self._model(self._inputs.index_select(0, batch)), self._labels.index_select(0, batch))
        torch.autograd.backward(loss)
        for optimizer in self._optimizers:
            optimizer.step()
        self._total.add_(loss.detach())
