"""What every label attack has in common: chance on shuffled labels, and one result for one seed."""

import numpy as np
import torch

from helpers.checks import truth_of
from helpers.labels import (
    BATCHES,
    CLASSES,
    SGD,
    SPACE,
    at_chance,
    head_of,
    heaps,
    match,
    observe,
    surrogate,
    up_to_names,
)
from unsplit import metrics
from unsplit.attacks.labels import (
    CloneHeadConfig,
    GroupingConfig,
    group_by_cut_gradient,
    head_weight_gradients,
    infer_from_known_samples,
    name_groups,
    train_clone_head,
)
from unsplit.knowledge import ClientOptimizer, KnownSamples
from unsplit.randomness import generator


def test_against_shuffled_truth_and_after_training_on_shuffled_labels_every_attack_is_at_chance():
    """Null: an attack that reads labels from the gradients reads those of the training, and no others."""
    _, labels = heaps()
    shuffled = labels[torch.randperm(len(labels), generator=generator(9))]
    original, _ = observe(steps=0)
    for trained_on in (labels, shuffled):
        training, view = observe(labels=trained_on, steps=402)
        gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
        truth = truth_of(training, range(402))
        first = tuple(int((truth == label).nonzero()[0]) for label in range(CLASSES))
        named = infer_from_known_samples(view, KnownSamples(indices=first, labels=tuple(range(CLASSES)))).labels
        groups = group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(3)).labels
        matched = match(view, gradients).labels
        assert torch.equal(matched, truth[1:-1])
        assert metrics.label_accuracy(named, truth).value > 0.5
        if trained_on is labels:
            other = truth[torch.randperm(402, generator=generator(5))]
        else:
            other = truth_of(original, range(402))
        assert at_chance(matched, other[1:-1])
        assert at_chance(named, other)
        assert metrics.accuracy_up_to_names(groups, other, CLASSES).value < 0.25 + 0.12


def test_on_shuffled_labels_and_against_shuffled_truth_an_attack_is_at_chance():
    _, labels = heaps()
    shuffled = labels[torch.randperm(len(labels), generator=generator(9))]
    training, view = observe(labels=shuffled, steps=60, batch_size=16, **BATCHES)
    original, _ = observe(steps=0, batch_size=16, **BATCHES)
    truth, other = truth_of(training, range(60)), truth_of(original, range(60))
    for attack in (
        lambda: surrogate(view),
        lambda: group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(3)),
    ):
        found = attack()
        assert up_to_names(found, truth) > 0.95
        first = tuple(int((truth == label).nonzero()[0]) for label in range(CLASSES))
        named = name_groups(found, KnownSamples(indices=first, labels=tuple(range(CLASSES))), SPACE)
        assert at_chance(named.labels, other)
        assert up_to_names(found, other) < 0.25 + 0.12


def test_one_seed_gives_one_result_and_nothing_else_changes():
    _, view = observe(steps=60)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    architecture = head_of()

    def surroundings():
        state = np.random.get_state()[1].astype(np.int64)  # noqa: NPY002 - k-means must not draw from it
        tensors = [torch.as_tensor(state), torch.get_rng_state(), *gradients.gradients.values()]
        tensors += [value for message in view for value in message.tensors.values()]
        tensors += architecture.blueprint.instantiate(generator=generator(0)).parameters()
        return [value.detach().clone() for value in tensors]

    def results(seed):
        matched = match(view, gradients, architecture=architecture, seed=seed)
        groups = group_by_cut_gradient(view, SPACE, GroupingConfig(restarts=1), generator=generator(seed))
        config = CloneHeadConfig(epochs=2)
        trained = train_clone_head(
            view.between(1, 58), matched.labels, architecture, SPACE, config, generator=generator(seed)
        )
        return [matched.labels, groups.labels, *matched.clone.parameters(), *trained.parameters()]

    before = surroundings()
    one, same, other = results(1), results(1), results(2)
    assert all(torch.equal(*pair) for pair in zip(one, same, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(one[2:], other[2:], strict=True))
    assert all(torch.equal(*pair) for pair in zip(before, surroundings(), strict=True))
