"""The one configuration that both sides of a training share, read from a YAML file."""

import difflib
import hashlib
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from unsplit.errors import InputError, UnsplitError
from unsplit.files import explained
from unsplit.losses import LossSpec
from unsplit.optim import OptimizerSpec
from unsplit.protocol.config import SplitConfig
from unsplit.types import Setup

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
MOST_CLIENTS = 16


class RunConfig(BaseModel):
    """What a server and its clients agree on.

    Args:
        run: a name for the training.
        setup: which party holds inputs, labels and head (the paper's Figure 1): a, b or c.
        mode: "turns", clients one after another as in the paper; "splitfed", all at once, each with a copy of the
            server's layers, averaged after every turn (Thapa et al. 2022, SplitFedV1).
        clients: names of 1 to 16 clients in the order of their turns; a certificate or token bears its client's name.
        model: name of a model, or "module:function"; both sides must have it.
        input_shape: shape of one input, without the batch.
        classes: number of scores that the network gives.
        cut: depth or name of the last module of the client's bottom (setups a and c).
        head: number of layers with weights in the client's head (setups b and c).
        data: for a trial, a data set that every party has and that is dealt out among the clients by `seed`; left
            out, each client brings its own.
        batch_size: number of samples in a step.
        turn: number of steps in a turn (in SplitFed, a round); may be left out with a single client that takes turns.
        steps: number of steps of the whole training, all clients together; in SplitFed, those of each client.
        hand_off: "server", weights go through the server, which reads them; "peer", encrypted from client to client.
        hand_off_optimizer: whether to hand on the optimiser's state as well.
        client_optimizer, server_optimizer: optimiser of each client, and that of the server.
        loss: loss of the network's outputs and the labels.
        wire: dtype of floating-point numbers on the wire: float32 as they are, or rounded to float16 or bfloat16.
        seed: seed of the server's first weights and, in a trial, of everything.
        checkpoint_every: number of steps between two states that both sides keep.
        wait: number of seconds after which an absent client's turn is skipped, or the training stops if all are absent.

    Raises:
        InputError: an optimiser or a loss that does not exist.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: Annotated[str, Field(pattern=f"^{NAME.pattern}$")] = "training"
    setup: Setup = Setup.A
    mode: Literal["turns", "splitfed"] = "turns"
    clients: Annotated[
        tuple[Annotated[str, Field(pattern=f"^{NAME.pattern}$")], ...], Field(min_length=1, max_length=MOST_CLIENTS)
    ] = ("client0",)
    model: str = "mnist-net"
    input_shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 28, 28)
    classes: Annotated[int, Field(ge=1)] = 10
    cut: int | str = 1
    head: Annotated[int, Field(ge=1)] = 1
    data: str | None = None
    batch_size: Annotated[int, Field(ge=1)] = 64
    turn: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=1)] = 100
    hand_off: Literal["server", "peer"] = "server"
    hand_off_optimizer: bool = False
    client_optimizer: OptimizerSpec = OptimizerSpec()
    server_optimizer: OptimizerSpec = OptimizerSpec()
    loss: LossSpec = LossSpec()
    wire: Literal["float32", "float16", "bfloat16"] = "float32"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    checkpoint_every: Annotated[int, Field(ge=1)] = 100
    wait: Annotated[float, Field(gt=0, le=86400)] = 60.0

    @model_validator(mode="after")
    def _fits_together(self) -> "RunConfig":
        if len(set(self.clients)) != len(self.clients):
            raise ValueError("two clients have the same name; give each its own")
        if "server" in self.clients:
            raise ValueError("a client is called 'server', which is the server's name; rename it")
        if self.turn is None and (len(self.clients) > 1 or self.mode == "splitfed"):
            raise ValueError("several clients, or SplitFed, need turns of a stated length; add for example 'turn: 20'")
        if self.mode == "splitfed" and self.hand_off == "peer":
            raise ValueError("SplitFed averages the clients' weights at the server; use 'hand_off: server', or turns")
        if self.mode == "splitfed" and self.hand_off_optimizer:
            raise ValueError("SplitFed averages weights only; leave out 'hand_off_optimizer', or use turns")
        if self.mode == "splitfed" and self.setup is Setup.B:
            raise ValueError("SplitFed needs clients with inputs of their own; use setup a or c, or turns")
        return self

    @property
    def length(self) -> int:
        """Steps of a turn or a round."""
        return self.turn or self.steps

    def split(self) -> SplitConfig:
        """How the network is split and trained."""
        return SplitConfig(
            setup=self.setup,
            cut=self.cut,
            head=self.head,
            clients=len(self.clients),
            batch_size=self.batch_size,
            turn=self.length,
            hand_off=self.hand_off,
            hand_off_optimizer=self.hand_off_optimizer,
            client_optimizer=self.client_optimizer,
            server_optimizer=self.server_optimizer,
            loss=self.loss,
        )

    def canonical(self) -> str:
        """The configuration as text that is the same wherever the settings are."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """SHA-256 of that text, in hex."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def differences(self, other: str) -> list[str]:
        """What differs from another side's canonical text, as "setting is this here and that there"."""
        theirs = json.loads(other)
        ours = self.model_dump(mode="json")
        return [
            f"{key} is {ours.get(key)!r} here and {theirs.get(key)!r} at the server"
            for key in sorted({*ours, *theirs})
            if ours.get(key) != theirs.get(key)
        ]


def read_config(path: Path) -> RunConfig:
    """The configuration in a YAML file.

    Raises:
        InputError: no such file, not YAML, a value out of range, or an unknown setting: the nearest right one is named.
    """
    if not path.is_file():
        raise InputError(f"There is no configuration {path}; write one, or name another.")
    try:
        with explained(path):
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = str(getattr(error, "problem_mark", "")).strip()
        raise InputError(
            f"{path} is not YAML ({place or 'not text'}); write one 'setting: value' on each line."
        ) from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a list of settings; write one 'setting: value' on each line.")
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error)}") from error
    except UnsplitError as error:
        raise InputError(f"{path}: {error}") from error


_SECTIONS: dict[str, type[OptimizerSpec | LossSpec]] = {
    "client_optimizer": OptimizerSpec,
    "server_optimizer": OptimizerSpec,
    "loss": LossSpec,
}


def _sentence(error: ValidationError) -> str:
    """The first of pydantic's findings in one sentence."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if not str(part).startswith("function-")]
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        section = _SECTIONS.get(place[0]) if len(place) > 1 else None
        known = sorted(RunConfig.model_fields if section is None else (part.name for part in fields(section)))
        close = difflib.get_close_matches(place[-1].lower(), known, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}."
        return f"there is no setting '{'.'.join(place)}': {hint}"
    what = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{'.'.join(place)}: {what}; got {first['input']!r}." if place else f"{what}."
