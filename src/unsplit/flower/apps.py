"""The two apps that Flower runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from torch import Tensor

from unsplit.defenses import Defense
from unsplit.errors import InputError
from unsplit.flower.client import FlowerClient
from unsplit.flower.server import FlowerServer
from unsplit.protocol.remote import RunConfig


def server_app(
    config: RunConfig,
    *,
    folder: Path | None = None,
    inputs: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
) -> ServerApp:
    """The server of a training as an app of Flower.

    It needs as many nodes as the configuration has clients. At the end the server's layers are in the app's context as
    the array record "body".

    Args:
        config: the configuration that both sides agree on.
        folder: keeps the server's transcript and its state; a run with the folder of an earlier one goes on from
            there. None keeps nothing.
        inputs: in setup (b), the inputs by client's name, shape [n, *input shape]; None for those of a trial.
        device: device on which the server computes.

    Raises:
        InputError: a configuration that Flower cannot carry, or one that does not fit together.
    """
    _check(config)
    server = FlowerServer(config=config, folder=folder, inputs=inputs, device=str(device))
    app = ServerApp()
    app.main()(server.main)
    return app


def client_app(
    config: RunConfig,
    *,
    folder: Path | None = None,
    device: torch.device | str = "cpu",
    defenses: Sequence[Defense] = (),
) -> ClientApp:
    """A client of a training as an app of Flower.

    Which client a node is, and with which data, its node config says: `client`, one of the configuration's names, or
    else the number `partition-id`, which a simulation gives; `data`, its own data set, unless the configuration deals
    one out; `seed`, of its first weights and its order of batches, known to it alone.

    Args:
        config: the configuration that both sides agree on.
        folder: keeps the client's state under its name, at the end of each turn and every `checkpoint_every` steps;
            None keeps nothing.
        device: device on which the client computes.
        defenses: defences of the client, applied one after another.

    Raises:
        InputError: a configuration that Flower cannot carry, or one that does not fit together.
    """
    _check(config)
    client = FlowerClient(
        config=config,
        folder=folder,
        device=str(device),
        defenses=tuple(defenses),
    )
    app = ClientApp()
    app.query()(client.hello)
    app.train()(client.train)
    return app


def _check(config: RunConfig) -> None:
    if config.hand_off == "peer":
        raise InputError(
            "Flower sends no messages from client to client; set 'hand_off: server', or use `unsplit serve`."
        )
