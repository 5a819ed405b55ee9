"""What the server of an experiment knows beside what it sees, made as an attack's signature asks for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unsplit.data import Dataset
from unsplit.errors import InputError
from unsplit.experiment.known_weights import client_weights
from unsplit.knowledge import (
    AuxiliaryData,
    ClientArchitecture,
    ClientWeights,
    ColumnStatistics,
    Knowledge,
    KnownDefense,
    KnownPictures,
    KnownRows,
    OwnTop,
)
from unsplit.models import split


@dataclass(frozen=True, kw_only=True, eq=False)
class ServerKnowledge:
    """The knowledge of a server that knows the client's architecture and has the layers behind the cut.

    Args:
        defense: the client's defence and its strength; None for a server that does not know them.
        published: the network with the public weights from which the client's layers started; None for none.
        own: the server's own data, labelled, which resemble the client's; None for none.
        known_rows: number of the client's other rows (of a table) that the server knows.
        known_pictures: number of the client's other pictures that the server knows.
    """

    defense: KnownDefense | None = None
    published: nn.Sequential | None = None
    own: Dataset | None = None
    known_rows: int = 0
    known_pictures: int = 0

    def of_kinds(
        self,
        kinds: Sequence[type[Knowledge]],
        model: nn.Sequential,
        depth: int,
        targets: Dataset,
        others: tuple[Tensor, Tensor],
        device: torch.device,
    ) -> list[Knowledge]:
        """The knowledge of these kinds, in their order.

        Args:
            kinds: types of knowledge, as in the threat model of an attack.
            model: the whole network, cut at `depth`.
            depth: depth of the cut.
            targets: what is attacked; known rows and pictures follow it in what is observed.
            others: the client's other inputs that pass through the same weights, shape [n, *input shape]: those that
                the attack sees smashed, and all of them, which the statistics of a table's columns are of.
            device: the device that holds the tensors.

        Raises:
            InputError: a kind of knowledge that this server lacks.
        """
        (bottom, top), shape, (seen, everything) = split(model, depth), targets.input_shape, others

        def first(wanted: int) -> tuple[tuple[int, ...], Tensor]:
            number = min(wanted, len(seen))
            return tuple(range(len(targets), len(targets) + number)), seen[:number].to(device)

        def rows() -> KnownRows:
            indices, known = first(self.known_rows)
            return KnownRows(indices=indices, rows=known)

        def pictures() -> KnownPictures:
            indices, known = first(self.known_pictures)
            return KnownPictures(indices=indices, pictures=known)

        made: dict[type[Knowledge], Callable[[], Knowledge]] = {
            ClientArchitecture: lambda: ClientArchitecture.of(bottom, shape),
            OwnTop: lambda: OwnTop(top=top.to(device), classes=len(targets.classes)),
            KnownRows: rows,
            ColumnStatistics: lambda: ColumnStatistics.of(everything.to(device)),
        }
        if self.known_pictures:
            made[KnownPictures] = pictures
        defense, published, own = self.defense, self.published, self.own
        if defense is not None:
            made[KnownDefense] = lambda: defense
        if published is not None:
            made[ClientWeights] = lambda: client_weights(split(published, depth)[0].to(device), shape)
        if own is not None:
            made[AuxiliaryData] = lambda: AuxiliaryData(inputs=own.images, labels=own.labels)
        for kind in kinds:
            if kind not in made:
                raise InputError(f"The attack needs {kind.means}, which this server lacks; give the server that.")
        return [made[kind]() for kind in kinds]
