"""Every attack with its smallest settings and all that it knows, and everything that a server may have seen."""

import dataclasses
import functools
import inspect

import torch

from helpers.checks import noise
from unsplit.attacks.auxiliary import (
    ForaConfig,
    HijackConfig,
    SdarConfig,
    hijack_feature_space,
    invert_by_feature_matching,
    invert_by_simulation,
    invert_by_simulation_without_labels,
)
from unsplit.attacks.he2019 import (
    BlackBoxConfig,
    ShadowConfig,
    StreamConfig,
    WhiteBoxConfig,
    invert_black_box,
    invert_by_shadow,
    invert_by_shadow_without_data,
    invert_white_box,
    stream_black_box,
)
from unsplit.attacks.inversion import (
    AmortisedConfig,
    CoordinateConfig,
    ExamplesConfig,
    ExamplesInversionConfig,
    JointConfig,
    invert_by_coordinates,
    invert_by_decoder,
    invert_from_known_pictures,
    invert_from_similar_pictures,
    invert_jointly,
    invert_jointly_through_defense,
    invert_through_defense,
    invert_with_replay,
)
from unsplit.attacks.labels import (
    GroupingConfig,
    MatchingConfig,
    SurrogateConfig,
    TargetsConfig,
    group_by_cut_gradient,
    group_by_features,
    infer_by_sign,
    infer_by_surrogate,
    infer_from_batch_gradients,
    infer_from_gradient_direction,
    infer_from_gradient_norm,
    infer_from_handed_weights,
    infer_from_known_samples,
    infer_from_weight_gradients,
    infer_targets,
)
from unsplit.attacks.rows import RowsConfig, invert_from_known_rows, invert_from_statistics
from unsplit.knowledge import (
    AuxiliaryData,
    ClientArchitecture,
    ClientLoss,
    ClientOptimizer,
    ClientQueries,
    ClientWeights,
    ColumnStatistics,
    HeadArchitecture,
    HeadWeightGradient,
    KnownDefense,
    KnownPictures,
    KnownRows,
    KnownSamples,
    KnownTargets,
    LabelSpace,
    OwnTop,
)
from unsplit.models import build, split, split_head
from unsplit.optim import OptimizerSpec
from unsplit.protocol import Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import Kind, Message, Setup

MODEL = build("mnist-net", generator=generator(0))
BOTTOM, TOP = split(MODEL, 1)
ARCHITECTURE = ClientArchitecture.of(BOTTOM, (1, 28, 28))
FLAT = ClientArchitecture.of(torch.nn.Sequential(torch.nn.Unflatten(1, (1, 28, 28)), *BOTTOM), (784,))
FEW = ExamplesInversionConfig(steps=1, restarts=2, refit_steps=1, examples=ExamplesConfig(directions=2, class_batch=2))
FEW_ROWS = RowsConfig(steps=1, batch=2, width=4, restarts=1, rounds=1)
ROWS = torch.rand(4, 784, generator=generator(3))
OWN = OwnTop(top=TOP, classes=10)
DEFENSE = KnownDefense(misfit=lambda made, seen: (made - seen).square())
DATA = AuxiliaryData(inputs=torch.rand(4, 1, 28, 28, generator=generator(3)), labels=torch.arange(4))
QUERIES = ClientQueries(BOTTOM, 8)
SDAR = SdarConfig(iterations=1, batch_size=2, feature_width=8, picture_width=2)
SHADOW = ShadowConfig(epochs=1, noise_samples=4, inversion=WhiteBoxConfig(steps=1))
HEAD = HeadArchitecture.of(split_head(MODEL, 1)[1])
GRADIENTS = HeadWeightGradient(
    gradients={"fc3.weight": torch.ones(2, 10, 84), "fc3.bias": torch.ones(2, 10)}, steps=(1, 2)
)
TEN, TWO = LabelSpace(classes=10), LabelSpace(classes=2)


@dataclasses.dataclass(frozen=True)
class Row:
    """An attack in the table.

    Args:
        knows: what it is told, in the order of its signature.
        config: its smallest settings; None where it has none.
        reads: the kinds of message that it reads.
        page: the page of the documentation that is about it.
    """

    knows: tuple
    config: object = None
    reads: frozenset = frozenset({Kind.SMASHED})
    page: str = "labels.md"


def inverting(*knows, config, page="attack.md"):
    return Row(knows, config, page=page)


def inferring(*knows, config=None, reads=(Kind.FEATURE_GRAD,)):
    return Row(knows, config, frozenset(reads))


FEATURES, BOTH = (Kind.FEATURES,), (Kind.FEATURES, Kind.FEATURE_GRAD)
AMORTISED, JOINT = AmortisedConfig(candidates=2, steps=2, refit_steps=1), JointConfig(steps=1)
TABLE = {
    invert_jointly: inverting(ARCHITECTURE, config=JOINT, page="presets.md"),
    invert_by_coordinates: inverting(
        ARCHITECTURE, config=CoordinateConfig(rounds=1, input_steps=1, weight_steps=1), page="presets.md"
    ),
    invert_by_decoder: inverting(ARCHITECTURE, config=AMORTISED),
    invert_jointly_through_defense: inverting(ARCHITECTURE, DEFENSE, config=JOINT, page="defenses.md"),
    invert_through_defense: inverting(ARCHITECTURE, DEFENSE, config=AMORTISED, page="defenses.md"),
    invert_with_replay: Row(
        (ARCHITECTURE, ClientOptimizer(spec=OptimizerSpec())),
        AMORTISED,
        frozenset({Kind.SMASHED, Kind.CUT_GRAD}),
        page="sign.md",
    ),
    invert_from_known_rows: inverting(
        FLAT, KnownRows(indices=(0, 1, 2, 3), rows=ROWS), config=FEW_ROWS, page="tables.md"
    ),
    invert_from_statistics: inverting(FLAT, ColumnStatistics.of(ROWS), config=FEW_ROWS, page="tables.md"),
    invert_from_known_pictures: inverting(
        ARCHITECTURE, OWN, KnownPictures(indices=(0, 1, 2, 3), pictures=ROWS.reshape(4, 1, 28, 28)), config=FEW,
        page="known-pictures.md",
    ),
    invert_from_similar_pictures: inverting(ARCHITECTURE, OWN, DATA, config=FEW, page="known-pictures.md"),
    invert_white_box: inverting(
        ClientWeights(bottom=BOTTOM, input_shape=(1, 28, 28)), config=WhiteBoxConfig(steps=1), page="models.md"
    ),
    invert_black_box: inverting(ARCHITECTURE, QUERIES, DATA, config=BlackBoxConfig(epochs=1), page="results.md"),
    stream_black_box: inverting(ARCHITECTURE, QUERIES, DATA, config=StreamConfig(replays=1), page="results.md"),
    invert_by_shadow: inverting(ARCHITECTURE, OWN, DATA, config=SHADOW, page="results.md"),
    invert_by_shadow_without_data: inverting(ARCHITECTURE, OWN, config=SHADOW, page="results.md"),
    invert_by_simulation: Row(
        (ARCHITECTURE, OWN, DATA), SDAR, frozenset({Kind.SMASHED, Kind.LABELS}), page="auxiliary.md"
    ),
    invert_by_simulation_without_labels: inverting(ARCHITECTURE, OWN, DATA, config=SDAR, page="auxiliary.md"),
    invert_by_feature_matching: inverting(
        DATA, config=ForaConfig(iterations=1, inverse_iterations=1, batch_size=2, critic_width=4), page="auxiliary.md"
    ),
    # Pictures of twice the size of the feature maps, as this attack wants them.
    hijack_feature_space: inverting(
        AuxiliaryData(inputs=torch.zeros(2, 1, 48, 48)), config=HijackConfig(width=2), page="results.md"
    ),
    infer_from_weight_gradients: inferring(GRADIENTS, HEAD, TEN, config=MatchingConfig(), reads=FEATURES),
    infer_by_sign: inferring(GRADIENTS, TEN, reads=FEATURES),
    infer_from_batch_gradients: inferring(GRADIENTS, TEN, reads=FEATURES),
    infer_from_handed_weights: inferring(HEAD, TEN, ClientLoss(), reads=(*BOTH, Kind.WEIGHTS)),
    infer_by_surrogate: inferring(
        HEAD, TEN, ClientLoss(), config=SurrogateConfig(window=10, passes=1, steps=1), reads=BOTH
    ),
    group_by_features: inferring(LabelSpace(classes=4), config=GroupingConfig(restarts=1), reads=FEATURES),
    group_by_cut_gradient: inferring(LabelSpace(classes=4), config=GroupingConfig(restarts=1)),
    infer_from_known_samples: inferring(KnownSamples(indices=(0, 1), labels=(0, 1))),
    infer_from_gradient_norm: inferring(TWO),
    infer_from_gradient_direction: inferring(TWO),
    infer_targets: inferring(
        KnownTargets(indices=(0, 1, 2), values=(0.0, 1.0, 2.0)), HeadArchitecture.of(torch.nn.Linear(84, 1)),
        config=TargetsConfig(passes=1), reads=BOTH,
    ),
}  # fmt: skip
"""Every attack: a new one is a row here."""


def called(function, view, seed=2):
    """What the attack makes of a view."""
    row = TABLE[function]
    # Queries are used up.
    arguments = [ClientQueries(BOTTOM, 8) if known is QUERIES else known for known in row.knows]
    arguments += [] if row.config is None else [row.config]
    draws = {"generator": generator(seed)} if "generator" in inspect.signature(function).parameters else {}
    return function(view, *arguments, **draws)


@functools.cache
def whole_view():
    """Every message that a server of the U-shape sees, and labels, as setup (a) sends them."""
    config = SplitConfig(setup=Setup.C, cut=1, clients=2, batch_size=1, turn=1)
    training = split_training(build("mnist-net", generator=generator(0)), *noise(40), config, generator=generator(1))
    recorder = training.record(Recorder(observer="server"))
    training.run(20)
    labels = [
        Message(step=step, sender="client0", receiver="server", kind=Kind.LABELS, payload=training.truth(step).labels)
        for step in range(20)
    ]
    messages = (*recorder.transcript(), *labels)
    assert {message.kind for message in messages} == set(Kind)
    return messages
