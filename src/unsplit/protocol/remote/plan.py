"""What each side works out from the shared configuration: its own party, and what may cross the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unsplit.data import as_read, load
from unsplit.errors import InputError, unknown_name
from unsplit.models import build_for, cuts, depth_of, head_start
from unsplit.protocol.build import Seeds, deal, make_client, make_server, taught_labels
from unsplit.protocol.client import Client
from unsplit.protocol.config import SplitConfig
from unsplit.protocol.parties import Server
from unsplit.protocol.remote.settings import RunConfig
from unsplit.protocol.schedule import Turns
from unsplit.randomness import generator
from unsplit.types import Kind, Setup


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A configuration with what follows from it.

    Args:
        config: the configuration that both sides agreed on.
        split: how the network is split and trained, with a client's own defences where it has some.
        turns: which client trains at which step; in SplitFed each client counts its own steps.
        shapes: shape of one sample, without the batch, by kind of message.
    """

    config: RunConfig
    split: SplitConfig
    turns: Turns
    shapes: Mapping[Kind, tuple[int, ...]]

    def model(self, seed: int) -> nn.Sequential:
        """The whole network with first weights of this seed; each side takes its own parts of it."""
        return build_for(self.config.model, self.config.input_shape, self.config.classes, generator=generator(seed))[0]

    def make_server(self, inputs: Mapping[str, Tensor], *, device: torch.device | str = "cpu") -> Server:
        """A server; in setup (b) with the inputs of each client by name, shape [n, *input shape]."""
        _, seeds = self._dealt() if self.config.data is not None else (None, Seeds.draw(generator(self.config.seed)))
        model = self.model(self.config.seed)
        return make_server(model, self.split, inputs=inputs, turns=self.turns, seeds=seeds, device=device)

    def server_inputs(self) -> dict[str, Tensor]:
        """Setup (b) of a trial: the inputs that were dealt out, by client's name."""
        if self.config.setup is not Setup.B or self.config.data is None:
            return {}
        images = load(self.config.data).train.images
        return {name: images[share] for name, share in zip(self.config.clients, self._dealt()[0], strict=True)}

    def make_client(
        self, name: str, *, data: str | None = None, seed: int | None = None, device: torch.device | str = "cpu"
    ) -> Client:
        """A client.

        Args:
            name: name of the client in the configuration.
            data: name or folder of the client's own data set; None for its share of the trial's.
            seed: seed of its first weights, of the order of its batches and of its defences, known to it alone; None
                for the configuration's, with which a trial gives the numbers of a training in one process.
            device: device on which the client computes.

        Raises:
            InputError: a name that is not in the configuration, no data, or data that do not fit the network.
        """
        config = self.config
        if name not in config.clients:
            raise unknown_name("client", name, config.clients)
        if data is not None and config.data is not None:
            raise InputError(
                f"The configuration deals out the data '{config.data}' among the clients; leave out `data`."
            )
        number = config.clients.index(name)
        source = data if data is not None else config.data
        if source is None:
            raise InputError("The configuration names no data; give this client its own with `data`.")
        train = load(source).train
        if train.input_shape != config.input_shape or len(train.classes) > config.classes:
            raise InputError(
                f"The data '{source}' have inputs of shape {train.input_shape} in {len(train.classes)} classes, and "
                f"the configuration says {config.input_shape} in {config.classes}; make both alike."
            )
        model = self.model(config.seed if seed is None else seed)
        (train,) = as_read(model, train)
        drawn = generator(config.seed if seed is None else seed)
        if data is None:
            shares, seeds = deal(train.images, train.labels, len(config.clients), generator=drawn)
            share = shares[number]
        else:
            share, seeds = torch.arange(len(train)), Seeds.draw(drawn)
            if config.setup is Setup.B:
                # Both sides know which sample a step uses; what a defence draws, the client alone.
                seeds = replace(seeds, order=Seeds.draw(generator(config.seed)).order)
        taught = taught_labels(train.labels, self.split, generator=drawn)
        return make_client(
            model,
            train.images[share],
            train.labels[share],
            self.split,
            name=name,
            number=number,
            turns=self.turns,
            seeds=seeds,
            taught=taught[share],
            device=device,
        )

    def _dealt(self) -> tuple[tuple[Tensor, ...], Seeds]:
        train = load(self.config.data or "").train
        clients = len(self.config.clients)
        return deal(train.images, train.labels, clients, generator=generator(self.config.seed))


def make_plan(config: RunConfig, split: SplitConfig | None = None) -> Plan:
    """The plan of a configuration.

    Raises:
        InputError: a model, a cut or a head that does not exist.
    """
    split = config.split() if split is None else split
    model, _ = build_for(config.model, config.input_shape, config.classes, generator=generator(0))
    split.parts(model)
    places = cuts(model, config.input_shape)
    shapes: dict[Kind, tuple[int, ...]] = {}
    if config.setup is not Setup.B:
        shapes[Kind.SMASHED] = shapes[Kind.CUT_GRAD] = places[depth_of(model, config.cut)].shape
    if config.setup is Setup.A:
        shapes[Kind.LABELS] = ()
    else:
        shapes[Kind.FEATURES] = shapes[Kind.FEATURE_GRAD] = places[head_start(model, config.head) - 1].shape
    clients = len(config.clients) if config.mode == "turns" else 1
    return Plan(config=config, split=split, turns=Turns(clients=clients, length=config.length), shapes=shapes)
