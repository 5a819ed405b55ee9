"""Label inference on a small dense net, where gradients can be written down, and its behaviour at the edges.

`test_labels.py` has the paper's net on the digits.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.checks import truth_of
from helpers.labels import (
    ADAM,
    CLASSES,
    EMPTY,
    SGD,
    SPACE,
    ZERO_AMONG,
    at_chance,
    head_of,
    heaps,
    observe,
    observed,
    view_of,
)
from unsplit import metrics
from unsplit.attacks.labels import (
    UNDECIDED,
    CloneHeadConfig,
    GroupingConfig,
    MatchingConfig,
    group_by_cut_gradient,
    head_weight_gradients,
    infer_from_gradient_direction,
    infer_from_gradient_norm,
    infer_from_known_samples,
    infer_from_weight_gradients,
    train_clone_head,
)
from unsplit.errors import InputError
from unsplit.knowledge import ClientOptimizer, KnownSamples, LabelSpace
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, evaluated
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Setup, Transcript

KEEPING_UP = MatchingConfig(clone_optimizer=OptimizerSpec(lr=0.01))
"""A clone that learns no slower than these clients do."""


def infer(view, gradients, *, config=KEEPING_UP, architecture=None, space=SPACE, seed=3):
    return infer_from_weight_gradients(
        view, gradients, architecture or head_of(), space, config, generator=generator(seed)
    )


def written_down(training, view, step):
    """The head's gradients at a step by the formulas: W'(p - y) and (p - y)h', and the mean of p - y."""
    handed = {message.step: message.tensors for message in view.of(Kind.WEIGHTS) if message.receiver == SERVER}
    weight, bias = handed[step - 1]["head.fc3.weight"], handed[step - 1]["head.fc3.bias"]
    features = view.between(step, step).tensor(Kind.FEATURES)
    error = (features @ weight.T + bias).softmax(1) - functional.one_hot(training.truth(step).labels, CLASSES)
    error = error / len(error)
    return {"cut": error @ weight, "fc3.weight": error.T @ features, "fc3.bias": error.sum(0)}


@pytest.mark.parametrize("setup", [Setup.B, Setup.C])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_dense_head_s_gradients_are_what_the_formulas_say(setup, batch_size):
    training, view = observe(setup=setup, batch_size=batch_size)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    assert gradients.steps == tuple(range(1, 39))
    for row, step in enumerate(gradients.steps):
        expected = written_down(training, view, step)
        cut = view.between(step, step).tensor(Kind.FEATURE_GRAD)
        torch.testing.assert_close(cut, expected["cut"], rtol=1e-4, atol=1e-7)
        for name in ("fc3.weight", "fc3.bias"):
            torch.testing.assert_close(gradients.gradients[name][row], expected[name], rtol=1e-3, atol=5e-6)


OPTIMIZERS = {
    "adam": {}, "adam amsgrad": {"amsgrad": True}, "adam decay": {"weight_decay": 0.1}, "nadam": {}, "radam": {},
    "adamax": {}, "adamw": {"weight_decay": 0.1}, "sgd momentum": {"momentum": 0.9},
    "sgd nesterov": {"momentum": 0.9, "nesterov": True}, "sgd dampening": {"momentum": 0.9, "dampening": 0.3},
    "adam maximize": {"maximize": True}, "nadam decay": {"weight_decay": 0.1}, "radam decay": {"weight_decay": 0.1},
    "adamax decay": {"weight_decay": 0.1}, "adam decoupled": {"weight_decay": 0.1, "decoupled_weight_decay": True},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_gradient_follows_from_a_handed_over_moment(name):
    options = OPTIMIZERS[name]
    spec = OptimizerSpec(name=name.split()[0], lr=0.001, options=options)
    training, view = observe(optimizer=spec, steps=12)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=spec))
    for row, step in enumerate(gradients.steps):
        expected = written_down(training, view, step)
        for part in ("fc3.weight", "fc3.bias"):
            torch.testing.assert_close(gradients.gradients[part][row], expected[part], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["rmsprop", "adagrad", "adadelta", "asgd", "rprop"])
def test_optimisers_without_a_first_moment_give_no_gradient(name):
    spec = OptimizerSpec(name=name, lr=0.001)
    _, view = observe(optimizer=spec, steps=12)
    with pytest.raises(InputError, match="holds no first moment") as caught:
        head_weight_gradients(view, ClientOptimizer(spec=spec))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setup", [Setup.B, Setup.C])
@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_the_paper_s_rule_finds_the_one_negative_entry_of_the_bias_s_gradient(setup, optimizer):
    """For one sample p - y is negative at its label only: an oracle that needs neither clone nor truth."""
    training, view = observe(setup=setup, optimizer=optimizer, steps=250)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=optimizer))
    by_sign = gradients.gradients["fc3.bias"].argmin(1)
    assert torch.equal(by_sign, truth_of(training, gradients.steps))
    assert torch.equal(infer(view, gradients).labels, by_sign)


def test_a_clone_left_untrained_falls_behind_a_client_that_grows_confident():
    """Early on it does as well; later the client's gradients vanish and the clone's own guess decides."""
    training, view = observe(steps=302)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    right = torch.zeros(300)
    for seed in range(3):
        found = infer(view, gradients, config=MatchingConfig(train_clone=False), seed=seed)
        assert found.clone is None
        right += (found.labels == truth_of(training, gradients.steps)) / 3
    assert right[:50].mean() > 0.95
    assert 0.5 < right[150:].mean() < 0.9
    assert torch.equal(infer(view, gradients).labels, truth_of(training, gradients.steps))


def test_the_clone_trained_along_learns_the_task():
    training, view = observe(steps=302, setup=Setup.C)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    inputs, labels = heaps()
    features = evaluated(training.model()[:-1], inputs)
    first = head_of().blueprint.instantiate(generator=generator(3))
    assert metrics.accuracy(first(features), labels) < 0.6
    assert metrics.accuracy(infer(view, gradients).clone(features), labels) > 0.9


def test_a_head_of_two_layers_is_matched_in_all_its_weights():
    _, view = observe(head=2, setup=Setup.B, steps=30)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    assert set(gradients.gradients) == {"fc2.weight", "fc2.bias", "fc3.weight", "fc3.bias"}
    found = infer(view, gradients, architecture=head_of(2))
    assert found.labels.shape == (28,)
    assert set(found.labels.tolist()) <= set(range(CLASSES))


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
@pytest.mark.parametrize("setup", [Setup.B, Setup.C])
def test_cut_gradients_of_whole_batches_tell_the_labels_as_well(setup, optimizer):
    """One client, batches of 16, no weights handed over: what every server of these setups sees."""
    training, view = observe(setup=setup, optimizer=optimizer, clients=1, turn=None, batch_size=16, steps=20)
    truth = truth_of(training, range(20))
    groups = group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(3))
    assert metrics.accuracy_up_to_names(groups.labels, truth, CLASSES).value == 1
    first = tuple(int((truth == label).nonzero()[0]) for label in range(CLASSES))
    found = infer_from_known_samples(view, KnownSamples(indices=first, labels=tuple(range(CLASSES))))
    assert torch.equal(found.labels, truth)


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
        matched = infer(view, gradients).labels
        assert torch.equal(matched, truth[1:-1])
        assert metrics.label_accuracy(named, truth).value > 0.5
        if trained_on is labels:
            other = truth[torch.randperm(402, generator=generator(5))]
        else:
            other = truth_of(original, range(402))
        assert at_chance(matched, other[1:-1])
        assert at_chance(named, other)
        assert metrics.accuracy_up_to_names(groups, other, CLASSES).value < 0.25 + 0.12


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
        matched = infer(view, gradients, architecture=architecture, seed=seed)
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


def test_a_stolen_head_from_inferred_labels_does_nearly_as_well_as_the_client_s():
    training, view = observe(setup=Setup.C, steps=402)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    labels = infer(view, gradients).labels
    seen = view.between(gradients.steps[0], gradients.steps[-1])
    config = CloneHeadConfig(optimizer=OptimizerSpec(lr=0.01))
    clone = train_clone_head(seen, labels, head_of(), SPACE, config, generator=generator(3))
    inputs, truth = heaps()
    stolen = metrics.accuracy(evaluated(clone, evaluated(training.model()[:-1], inputs)), truth)
    own = metrics.accuracy(training.predict(inputs), truth)
    assert own > 0.9
    assert stolen > own - 0.05


def test_samples_whose_gradient_is_zero_are_undecided():
    """Half of them; the rest are grouped as if those were not there."""
    gradients = torch.eye(CLASSES).repeat(4, 1)
    gradients[8:] = 0
    view = view_of(gradients, Kind.FEATURE_GRAD)
    groups = group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(0)).labels
    known = KnownSamples(indices=(0, 1, 2, 3), labels=(3, 2, 1, 0))
    assert infer_from_known_samples(view, known).labels.tolist() == [3, 2, 1, 0, 3, 2, 1, 0] + 8 * [UNDECIDED]
    assert groups[8:].tolist() == 8 * [UNDECIDED]
    assert torch.equal(groups[:4], groups[4:8])
    assert sorted(groups[:4].tolist()) == list(range(CLASSES))


def test_only_the_direction_of_a_cut_gradient_counts():
    """Gradients of a class that grow shorter and shorter, as a client that grows confident sends them."""
    directions = (torch.eye(CLASSES) + 0.5).repeat(4, 1)
    view = view_of(directions * torch.logspace(0, -6, 16)[:, None], Kind.FEATURE_GRAD)
    labels = torch.arange(CLASSES).repeat(4)
    known = KnownSamples(indices=(0, 1, 2, 3), labels=(0, 1, 2, 3))
    assert torch.equal(infer_from_known_samples(view, known).labels, labels)
    groups = group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(0)).labels
    assert metrics.accuracy_up_to_names(groups, labels, CLASSES).value == 1


def test_fewer_directions_than_classes_leave_groups_empty():
    view = view_of(torch.eye(2, CLASSES).repeat(4, 1), Kind.FEATURE_GRAD)
    groups = group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(0)).labels
    assert len(set(groups.tolist())) == 2


EYE = view_of(torch.eye(CLASSES).repeat(2, 1), Kind.FEATURE_GRAD)
FEATURES = view_of(torch.rand(1, 8, generator=generator(0)), Kind.FEATURES)


def group(view, classes=CLASSES):
    return group_by_cut_gradient(view, LabelSpace(classes=classes), GroupingConfig(), generator=generator(0))


def known(*indices, labels=None):
    return KnownSamples(indices=indices, labels=tuple(0 for _ in indices) if labels is None else labels)


def train(view, labels, **changes):
    return train_clone_head(view, labels, head_of(), SPACE, CloneHeadConfig(**changes), generator=generator(0))


REFUSED = {
    "no cut gradients to group": (lambda: group(EMPTY), "holds no feature_grad message"),
    "no cut gradients to compare": (lambda: infer_from_known_samples(EMPTY, known(0)), "holds no feature_grad"),
    "no features to match": (lambda: infer(EMPTY, observed()), "holds no features"),
    "no hand-offs": (lambda: head_weight_gradients(EMPTY, ClientOptimizer(spec=SGD)), "no two hand-offs"),
    "fewer samples than classes": (lambda: group(EYE, classes=9), "Only 8 samples .* 9 groups"),
    "too few gradients that are not zero": (lambda: group(ZERO_AMONG, classes=5), "Only 4 samples"),
    "NaN among cut gradients": (lambda: group(view_of(torch.full((4, 4), math.nan), Kind.FEATURE_GRAD)), "NaN"),
    "a known sample out of range": (lambda: infer_from_known_samples(EYE, known(8)), "not among the 8"),
    "a known sample of zero gradient": (lambda: infer_from_known_samples(ZERO_AMONG, known(4)), "gradient is zero"),
    "a batch": (lambda: infer(view_of(torch.rand(2, 8, generator=generator(0)), Kind.FEATURES), observed()),
                "batch of 2 samples"),
    "features of another width": (lambda: infer(view_of(torch.ones(1, 5), Kind.FEATURES), observed()),
                                  "does not take features of shape"),
    "another head": (lambda: infer(view_of(torch.ones(1, 16), Kind.FEATURES), observed(), architecture=head_of(2)),
                     "'fc2.weight' of shape"),
    "another number of classes": (lambda: infer(FEATURES, observed(), space=LabelSpace(classes=7)), "for 7 classes"),
    "a weight of another shape": (lambda: infer(FEATURES, observed(**{"fc3.bias": torch.ones(1, 3)})), "'fc3.bias'"),
    "features of another step": (lambda: infer(FEATURES, observed(steps=(5,))), "lacks the features of step 5"),
    "labels for other features": (lambda: train(FEATURES, torch.zeros(3).long()), "3 labels for 1"),
    "no decided label": (lambda: train(FEATURES, torch.tensor([UNDECIDED])), "No label was decided"),
    "features that no clone head takes": (lambda: train(view_of(torch.ones(1, 5), Kind.FEATURES), torch.tensor([0])),
                                          "does not take features"),
    "one class": (lambda: LabelSpace(classes=1), "at least 2 classes"),
    "no restart": (lambda: GroupingConfig(restarts=0), "restarts is 0"),
    "a known sample before the first": (lambda: infer_from_known_samples(EYE, known(-1)), "known sample"),
    "a known sample far before the first": (lambda: infer_from_known_samples(EYE, known(-50)), "known sample"),
    "no known sample": (lambda: infer_from_known_samples(EYE, known()), "known sample"),
    "fewer labels than known samples": (lambda: infer_from_known_samples(EYE, known(0, 1, labels=(2,))), "label"),
    "more labels than known samples": (lambda: infer_from_known_samples(EYE, known(0, labels=(2, 1))), "label"),
    "NaN among weight gradients": (lambda: infer(FEATURES, observed(math.nan)), "NaN"),
    "NaN among features": (lambda: infer(view_of(torch.full((1, 8), math.nan), Kind.FEATURES), observed()), "NaN"),
    "no step": (lambda: infer(FEATURES, observed(rows=0, steps=())), "step"),
    "fewer gradients than steps": (lambda: infer(FEATURES, observed(steps=(0, 0))), "gradient"),
    "no epoch": (lambda: train(FEATURES, torch.tensor([0]), epochs=0), "epochs is 0"),
    "no batch": (lambda: train(FEATURES, torch.tensor([0]), batch_size=0), "batch_size is 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_sentence(case):
    call, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_zero_weight_gradient_is_undecided():
    assert infer(FEATURES, observed(0.0)).labels.tolist() == [UNDECIDED]


def two_class_view(labels, layers):
    """What a client's head of so many layers sends back for these labels while it learns."""
    source = generator(4)
    features = torch.randn(len(labels), 12, generator=source) + torch.randn(2, 12, generator=source)[labels]
    with seeded(4):
        head = nn.Linear(12, 2) if layers == 1 else nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer, messages = torch.optim.Adam(head.parameters(), 1e-2), []
    for step, batch in enumerate(torch.split(torch.arange(len(labels)), 40)):
        sent = features[batch].requires_grad_()
        optimizer.zero_grad()
        functional.cross_entropy(head(sent), labels[batch]).backward()
        optimizer.step()
        messages += view_of(sent.grad, Kind.FEATURE_GRAD, step).messages
    return Transcript(observer=SERVER, messages=tuple(messages))


TWO_GROUPS = {
    "k-means": lambda view: group(view, 2),
    "spectral": lambda view: group_by_cut_gradient(
        view, LabelSpace(classes=2), GroupingConfig(method="spectral"), generator=generator(0)
    ),
    "norm": lambda view: infer_from_gradient_norm(view, LabelSpace(classes=2)),
    "direction": lambda view: infer_from_gradient_direction(view, LabelSpace(classes=2)),
}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("attack", TWO_GROUPS)
def test_samples_of_one_class_are_not_told_apart(attack, layers):
    alone = TWO_GROUPS[attack](two_class_view(torch.zeros(400, dtype=torch.int64), layers))
    assert set(alone.labels.tolist()) == {-1}
    labels = torch.randint(2, (400,), generator=generator(5))
    mixed = TWO_GROUPS[attack](two_class_view(labels, layers))
    assert set(mixed.labels.tolist()) == {0, 1}
    if attack in ("k-means", "direction"):
        assert metrics.accuracy_up_to_names(mixed.labels, labels, 2).value == 1


def test_a_rare_class_is_still_told_apart():
    labels = (torch.arange(400) % 50 == 7).long()
    found = TWO_GROUPS["k-means"](two_class_view(labels, 1)).labels
    assert metrics.accuracy_up_to_names(found, labels, 2).value == 1


def test_samples_of_one_class_of_many_are_not_told_apart():
    source = generator(6)
    residuals = torch.rand(60, CLASSES, generator=source)
    residuals[:, 3] = -residuals.sum(1)
    found = group(view_of(residuals @ torch.randn(CLASSES, 40, generator=source), Kind.FEATURE_GRAD))
    assert set(found.labels.tolist()) == {-1}
