"""The names of groups: which of them is which class, where a few labels are known."""

import torch

from unsplit.errors import InputError
from unsplit.knowledge import KnownSamples, LabelSpace
from unsplit.renaming import best_names
from unsplit.types import InferredLabels


def name_groups(found: InferredLabels, known: KnownSamples, space: LabelSpace) -> InferredLabels:
    """Give each group the class that most of its known samples have, no class twice (Hungarian assignment).

    Where no known sample speaks for a group, it gets one of the classes that are left over.

    Args:
        found: groups of samples, unnamed.
        known: the labels of a few of these samples, at best of every class.
        space: the number of classes.

    Returns:
        The same with names, and the clone's outputs (if any) still in the order of the groups.

    Raises:
        InputError: labels that have names already, a known sample outside of them, or a label outside the classes.
    """
    if found.named:
        raise InputError("These labels have their names already; only groups can be named.")
    indices, classes = torch.tensor(known.indices), torch.tensor(known.labels)
    if int(indices.max()) >= len(found.labels) or int(classes.max()) >= space.classes or int(classes.min()) < 0:
        raise InputError(
            f"A known sample is not among the {len(found.labels)} judged ones or its label not among {space.classes} "
            "classes; positions and labels are counted from 0."
        )
    names, _ = best_names(found.labels[indices], classes, space.classes)
    labels = torch.where(found.labels >= 0, names[found.labels.clamp_min(0)], found.labels)
    return InferredLabels(labels=labels, named=True, clone=found.clone, margin=found.margin)
