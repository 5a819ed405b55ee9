"""What an attacker may know, as types. An attack that does not list one in its signature cannot have it.

Each class says in `means` what knowing it amounts to; the report's "attacker knows" column is made from these
sentences and the attacks' signatures, never typed by hand.
"""

from unsplit.knowledge._base import Knowledge
from unsplit.knowledge._blueprint import Blueprint
from unsplit.knowledge._data import (
    AuxiliaryData,
    ColumnStatistics,
    KnownPictures,
    KnownRows,
    KnownSamples,
    KnownTargets,
    LabelSpace,
)
from unsplit.knowledge._network import (
    ClientArchitecture,
    ClientLoss,
    ClientOptimizer,
    ClientQueries,
    ClientWeights,
    GradientsByStep,
    HeadArchitecture,
    HeadWeightGradient,
    KnownDefense,
    OwnTop,
)

__all__ = [
    "AuxiliaryData",
    "Blueprint",
    "ClientArchitecture",
    "ClientLoss",
    "ClientOptimizer",
    "ClientQueries",
    "ClientWeights",
    "ColumnStatistics",
    "GradientsByStep",
    "HeadArchitecture",
    "HeadWeightGradient",
    "Knowledge",
    "KnownDefense",
    "KnownPictures",
    "KnownRows",
    "KnownSamples",
    "KnownTargets",
    "LabelSpace",
    "OwnTop",
]
