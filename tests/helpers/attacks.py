"""Every attack with its smallest settings and all that it knows, and everything that a server may have seen."""

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
    JointConfig,
    invert_by_coordinates,
    invert_by_decoder,
    invert_jointly,
    invert_jointly_through_defense,
    invert_through_defense,
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
    ClientQueries,
    ClientWeights,
    ColumnStatistics,
    HeadArchitecture,
    HeadWeightGradient,
    KnownDefense,
    KnownRows,
    KnownSamples,
    KnownTargets,
    LabelSpace,
    OwnTop,
)
from unsplit.models import build, split, split_head
from unsplit.protocol import Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import Kind, Message, Setup

MODEL = build("mnist-net", generator=generator(0))
BOTTOM, TOP = split(MODEL, 1)
ARCHITECTURE = ClientArchitecture.of(BOTTOM, (1, 28, 28))
FLAT = ClientArchitecture.of(torch.nn.Sequential(torch.nn.Unflatten(1, (1, 28, 28)), *BOTTOM), (784,))
FEW_ROWS = RowsConfig(steps=1, batch=2, width=4, restarts=1, rounds=1)
ROWS = torch.rand(4, 784, generator=generator(3))
OWN = OwnTop(top=TOP, classes=10)
DEFENSE = KnownDefense(misfit=lambda made, seen: (made - seen).square())
DATA = AuxiliaryData(inputs=torch.rand(4, 1, 28, 28, generator=generator(3)), labels=torch.arange(4))
QUERIES = {"queries": ClientQueries(BOTTOM, 8), "data": DATA, "architecture": ARCHITECTURE}
SDAR = SdarConfig(iterations=1, batch_size=2, feature_width=8, picture_width=2)
SHADOW = ShadowConfig(epochs=1, noise_samples=4, inversion=WhiteBoxConfig(steps=1))
HEAD = HeadArchitecture.of(split_head(MODEL, 1)[1])
GRADIENTS = HeadWeightGradient(
    gradients={"fc3.weight": torch.ones(2, 10, 84), "fc3.bias": torch.ones(2, 10)}, steps=(1, 2)
)
TEN, TWO = LabelSpace(classes=10), LabelSpace(classes=2)
KNOWN_BUT_LABELS = {"architecture": HEAD, "space": TEN, "loss": ClientLoss()}
ARGUMENTS = {
    invert_jointly: {"architecture": ARCHITECTURE, "config": JointConfig(steps=1)},
    invert_by_coordinates: {
        "architecture": ARCHITECTURE, "config": CoordinateConfig(rounds=1, input_steps=1, weight_steps=1)
    },
    invert_by_decoder: {"architecture": ARCHITECTURE, "config": AmortisedConfig(candidates=2, steps=2, refit_steps=1)},
    invert_jointly_through_defense: {
        "architecture": ARCHITECTURE, "defense": DEFENSE, "config": JointConfig(steps=1)
    },
    invert_through_defense: {
        "architecture": ARCHITECTURE, "defense": DEFENSE,
        "config": AmortisedConfig(candidates=2, steps=2, refit_steps=1),
    },
    invert_from_known_rows: {
        "architecture": FLAT, "known": KnownRows(indices=(0, 1, 2, 3), rows=ROWS), "config": FEW_ROWS
    },
    invert_from_statistics: {"architecture": FLAT, "statistics": ColumnStatistics.of(ROWS), "config": FEW_ROWS},
    infer_from_weight_gradients: {
        "gradients": GRADIENTS, "architecture": HEAD, "space": TEN, "config": MatchingConfig(),
    },
    group_by_features: {"space": LabelSpace(classes=4), "config": GroupingConfig(restarts=1)},
    infer_by_surrogate: {**KNOWN_BUT_LABELS, "config": SurrogateConfig(window=10, passes=1, steps=1)},
    infer_from_handed_weights: KNOWN_BUT_LABELS,
    infer_by_sign: {"gradients": GRADIENTS, "space": TEN},
    infer_from_batch_gradients: {"gradients": GRADIENTS, "space": TEN},
    infer_targets: {
        "known": KnownTargets(indices=(0, 1, 2), values=(0.0, 1.0, 2.0)),
        "architecture": HeadArchitecture.of(torch.nn.Linear(84, 1)), "config": TargetsConfig(passes=1),
    },
    infer_from_gradient_norm: {"space": TWO},
    infer_from_gradient_direction: {"space": TWO},
    group_by_cut_gradient: {"space": LabelSpace(classes=4), "config": GroupingConfig(restarts=1)},
    infer_from_known_samples: {"known": KnownSamples(indices=(0, 1), labels=(0, 1))},
    invert_white_box: {
        "weights": ClientWeights(bottom=BOTTOM, input_shape=(1, 28, 28)), "config": WhiteBoxConfig(steps=1)
    },
    invert_black_box: {**QUERIES, "config": BlackBoxConfig(epochs=1)},
    stream_black_box: {**QUERIES, "config": StreamConfig(replays=1)},
    invert_by_shadow: {"architecture": ARCHITECTURE, "top": OWN, "data": DATA, "config": SHADOW},
    invert_by_shadow_without_data: {"architecture": ARCHITECTURE, "top": OWN, "config": SHADOW},
    hijack_feature_space: {  # Pictures of twice the size of the feature maps, as this attack wants them.
        "data": AuxiliaryData(inputs=torch.zeros(2, 1, 48, 48)), "config": HijackConfig(width=2)
    },
    invert_by_simulation: {"architecture": ARCHITECTURE, "top": OWN, "data": DATA, "config": SDAR},
    invert_by_simulation_without_labels: {"architecture": ARCHITECTURE, "top": OWN, "data": DATA, "config": SDAR},
    invert_by_feature_matching: {
        "data": DATA, "config": ForaConfig(iterations=1, inverse_iterations=1, batch_size=2, critic_width=4)
    },
}  # fmt: skip


def called(function, view):
    """What the attack makes of a view."""
    arguments = dict(ARGUMENTS[function])
    if "queries" in arguments:
        arguments["queries"] = ClientQueries(BOTTOM, 8)
    if "generator" in inspect.signature(function).parameters:
        arguments["generator"] = generator(2)
    return function(view, **arguments)


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
