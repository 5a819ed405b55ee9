"""Label inference beyond the paper: whole batches, deeper heads, other losses, and what cannot be known."""

import math

import pytest
import torch
from torch import nn

from helpers.checks import truth_of
from helpers.labels import (
    ADAM,
    CLASSES,
    EMPTY,
    SGD,
    SPACE,
    ZERO_AMONG,
    at_chance,
    dense,
    head_of,
    heaps,
    observe,
    observed,
    pairs,
    train_dense,
    view_of,
)  # fmt: skip
from unsplit import metrics
from unsplit.attacks.labels import (
    UNDECIDED,
    GroupingConfig,
    SurrogateConfig,
    group_by_cut_gradient,
    group_by_features,
    head_weight_gradients,
    infer_by_sign,
    infer_by_surrogate,
    infer_from_batch_gradients,
    infer_from_gradient_direction,
    infer_from_gradient_norm,
    infer_from_handed_weights,
    name_groups,
)
from unsplit.attacks.labels._simulated import simulated, simulated_for_each_label
from unsplit.errors import InputError
from unsplit.knowledge import ClientLoss, ClientOptimizer, HeadArchitecture, KnownSamples, LabelSpace
from unsplit.losses import LossSpec
from unsplit.models import build, split_head
from unsplit.protocol import SERVER, Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import InferredLabels, Kind, Setup, Transcript

BATCHES = {"clients": 1, "turn": None, "optimizer": ADAM}
TEN, TWO = LabelSpace(classes=10), LabelSpace(classes=2)
STEPS = {1: 24, 2: 24, 3: 50}
"""Of a training with a head of so many layers."""
QUICK = {"rounds": 3, "passes": 12, "steps": 10}
"""Less of everything than the attack's own settings, which on these data changes nothing but the time."""


def surrogate(view, *, head=1, space=SPACE, loss=None, architecture=None, seed=3, **changes):
    return infer_by_surrogate(
        view, architecture or head_of(head), space, ClientLoss(spec=loss or LossSpec()), SurrogateConfig(**changes),
        generator=generator(seed),
    )  # fmt: skip


def up_to_names(found, truth, classes=CLASSES):
    return metrics.accuracy_up_to_names(found.labels, truth, classes).value


def on_digits(digits, *, head, steps, labels=None, **changes):
    """The paper's net on the digits in setup (b), what the server saw, and the head's architecture."""
    model = build("mnist-net", generator=generator(0))
    settings = {"setup": Setup.B, "head": head, "batch_size": 64, "client_optimizer": ADAM, "server_optimizer": ADAM}
    images, true = digits.train.images, digits.train.labels
    training = split_training(
        model, images, true if labels is None else labels, SplitConfig(**settings | changes), generator=generator(0)
    )
    recorder = training.record(Recorder(observer=SERVER))
    training.run(steps)
    return training, recorder.transcript(), HeadArchitecture.of(split_head(model, head)[1])


@pytest.mark.parametrize(("head", "least"), [(1, 1.0), (2, 0.99), (3, 0.95)])
def test_cut_gradients_of_whole_batches_give_the_labels_at_every_depth(digits, head, least):
    """The first steps of batches of 64; the plain grouping falls behind as the head deepens."""
    training, view, architecture = on_digits(digits, head=head, steps=STEPS[head])
    truth = truth_of(training, range(STEPS[head]))
    found = surrogate(view, architecture=architecture, space=TEN, **QUICK)
    assert not found.named
    assert up_to_names(found, truth, 10) >= least
    first = tuple(int((truth == label).nonzero()[0]) for label in range(10))
    named = name_groups(found, KnownSamples(indices=first, labels=tuple(range(10))), TEN)
    assert named.named
    assert metrics.label_accuracy(named.labels, truth).value >= least
    if head == 3:
        plain = group_by_cut_gradient(view, TEN, GroupingConfig(), generator=generator(3))
        assert up_to_names(plain, truth, 10) < up_to_names(found, truth, 10) - 0.02


@pytest.mark.parametrize(("batch_size", "least"), [(1, 0.9), (256, 0.99)])
def test_the_size_of_the_batches_does_not_matter_much(digits, batch_size, least):
    """As many samples each time, so in steps of one the head moves 64 times as far as in batches of 64."""
    training, view, architecture = on_digits(digits, head=2, steps=1024 // batch_size, batch_size=batch_size)
    truth = truth_of(training, range(1024 // batch_size))
    assert up_to_names(surrogate(view, architecture=architecture, space=TEN, **QUICK), truth, 10) > least


LOSSES = {
    "cross-entropy, summed": (LossSpec(reduction="sum"), 2),
    "cross-entropy, weighted": (LossSpec(weights=tuple(range(1, 11))), 2),
    "cross-entropy, smoothed": (LossSpec(label_smoothing=0.1), 2),
    "mse": (LossSpec(name="mse"), 2),
    "bce": (LossSpec(name="bce"), 1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_client_s_loss_does_not_protect(digits, name):
    loss, head = LOSSES[name]
    training, view, architecture = on_digits(digits, head=head, steps=16, loss=loss)
    found = surrogate(view, architecture=architecture, space=TEN, loss=loss, **QUICK)
    assert up_to_names(found, truth_of(training, range(16)), 10) > 0.99


@pytest.mark.parametrize(("classes", "optimizer", "window"), [(2, SGD, 768), (100, ADAM, 2048)])
def test_two_classes_and_a_hundred(classes, optimizer, window):
    source = generator(0)
    labels = torch.randint(classes, (4000,), generator=source)
    inputs = torch.randn(classes, 32, generator=source)[labels] + 0.3 * torch.randn(4000, 32, generator=source)
    layers = (dense(32, 128), nn.ReLU, dense(128, classes))
    training, view, architecture = train_dense(inputs, labels, *layers, steps=40, client_optimizer=optimizer)
    space = LabelSpace(classes=classes)
    found = surrogate(view, architecture=architecture, space=space, window=window, rounds=2, passes=10, steps=10)
    assert up_to_names(found, truth_of(training, range(40)), classes) > 0.95


def test_a_head_with_one_output_is_followed_too():
    inputs, labels = heaps()
    loss = LossSpec(name="bce")
    layers = (dense(12, 8), nn.ReLU, dense(8, 1))
    training, view, architecture = train_dense(inputs, labels % 2, *layers, steps=60, batch_size=20, loss=loss)
    found = surrogate(view, architecture=architecture, space=TWO, loss=loss)
    assert up_to_names(found, truth_of(training, range(60)), 2) == 1


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


def test_features_alone_tell_groups_and_nothing_of_shuffled_labels():
    _, labels = heaps()
    shuffled = labels[torch.randperm(len(labels), generator=generator(9))]
    for trained_on, least, most in ((labels, 0.6, 1.0), (shuffled, 0.0, 0.37)):
        training, view = observe(labels=trained_on, steps=40, batch_size=16, **BATCHES)
        found = group_by_features(view, SPACE, GroupingConfig(), generator=generator(3))
        assert least <= up_to_names(found, truth_of(training, range(40))) <= most


@pytest.mark.parametrize("head", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_weights_handed_over_give_every_label_with_its_name(head, batch_size, optimizer):
    training, view = observe(head=head, batch_size=batch_size, optimizer=optimizer, steps=30)
    found = infer_from_handed_weights(view, head_of(head), SPACE, ClientLoss())
    truth = truth_of(training, range(30))
    assert found.named
    assert found.labels[:batch_size].tolist() == batch_size * [UNDECIDED]
    decided = found.labels >= 0
    assert torch.equal(found.labels[decided], truth[decided])
    assert decided[batch_size:].float().mean() > 0.95


def test_weights_that_have_grown_old_still_tell():
    training, view = observe(head=2, batch_size=8, optimizer=ADAM, turn=10, steps=60)
    found = infer_from_handed_weights(view, head_of(2), SPACE, ClientLoss())
    truth, decided = truth_of(training, range(60)), found.labels >= 0
    assert decided[:80].sum() == 0
    assert metrics.label_accuracy(found.labels[decided], truth[decided]).value > 0.95


@pytest.mark.parametrize("head", [1, 2, 3])
@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_the_sign_rule_is_exact_at_any_depth(digits, head, optimizer):
    training, view, _ = on_digits(
        digits, head=head, steps=120, batch_size=1, clients=2, turn=1, client_optimizer=optimizer,
        hand_off_optimizer=optimizer is ADAM,
    )  # fmt: skip
    gradients = head_weight_gradients(view, ClientOptimizer(spec=optimizer))
    found = infer_by_sign(view, gradients, TEN)
    assert found.named
    assert torch.equal(found.labels, truth_of(training, gradients.steps))


@pytest.mark.parametrize(("batch_size", "least", "most"), [(1, 1.0, 1.0), (8, 1.0, 1.0), (9, 0.99, 1.0), (100, 0, 0.8)])
def test_least_squares_gives_batches_up_to_the_width_of_the_features(batch_size, least, most):
    """The head takes eight numbers and has a bias, so nine samples are the most that can be told apart. No ReLU before
    it, whose dead units would leave fewer; labels at random, which the features themselves do not tell.
    """
    inputs, labels = heaps()[0], torch.randint(CLASSES, (600,), generator=generator(5))
    layers = (dense(12, 8), nn.Sigmoid, dense(8, CLASSES))
    training, view, _ = train_dense(
        inputs.double(), labels, *layers, steps=12, clients=2, turn=1, batch_size=batch_size, client_optimizer=SGD
    )
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    found = infer_from_batch_gradients(view, gradients, SPACE)
    share = metrics.label_accuracy(found.labels, truth_of(training, gradients.steps)).value
    assert least <= share <= most


def test_a_linear_head_s_closed_form_is_its_backward_pass():
    loss = LossSpec()
    for net in (head_of().blueprint, head_of(2).blueprint):
        net = net.instantiate(generator=generator(1))
        features = torch.randn(6, 8 if len(net) == 1 else 16, generator=generator(0))
        every = simulated_for_each_label(net, features, CLASSES, loss)
        for label in range(CLASSES):
            alone, outputs = simulated(net, features, torch.full((6,), label), loss)
            torch.testing.assert_close(every[label], alone.detach(), rtol=1e-4, atol=1e-6)
            probabilities = outputs.detach().softmax(1)
            torch.testing.assert_close(outputs.detach(), net(features).detach())
            if len(net) == 1:
                error = probabilities - torch.eye(CLASSES)[label]
                by_hand = error @ net[0].weight.detach()
                cosine = nn.functional.cosine_similarity(by_hand, every[label])
                assert cosine.min() > 1 - 1e-5


def test_two_rare_classes_are_told_by_length_and_by_direction():
    source = generator(0)
    labels = (torch.rand(3000, generator=source) < 0.1).long()
    inputs = torch.randn(2, 12, generator=source)[labels] + torch.randn(3000, 12, generator=source)
    training, whole, _ = train_dense(inputs, labels, dense(12, 8), nn.ReLU, dense(8, 2), steps=300)
    view, truth = whole.between(200, 299), truth_of(training, range(200, 300))
    long = infer_from_gradient_norm(view, TWO).labels.float()
    assert long[truth == 1].mean() > long[truth == 0].mean() + 0.3
    assert up_to_names(infer_from_gradient_direction(view, TWO), truth, 2) == 1


def test_groups_get_the_names_that_most_known_samples_vote_for():
    groups = InferredLabels(labels=torch.tensor([0, 0, 0, 1, 1, 1, 2, 3, UNDECIDED]), named=False)
    known = KnownSamples(indices=(0, 1, 2, 3, 4, 5), labels=(3, 3, 1, 1, 1, 3))
    named = name_groups(groups, known, SPACE).labels.tolist()
    assert named[:6] == [3, 3, 3, 1, 1, 1]
    assert sorted(named[6:8]) == [0, 2]
    assert named[8] == UNDECIDED


@pytest.mark.parametrize("gradients", [torch.zeros(20, 8), torch.ones(20, 8)])
def test_gradients_that_say_nothing_are_undecided(gradients):
    view = pairs(torch.rand(20, 8, generator=generator(0)), gradients)
    found = surrogate(view)
    assert found.labels.tolist() == 20 * [UNDECIDED]
    assert found.clone is None
    assert group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(0)).labels.max() == UNDECIDED
    assert infer_from_gradient_norm(view, TWO).labels.max() == UNDECIDED
    assert infer_from_gradient_direction(view, TWO).labels.max() == UNDECIDED
    assert infer_by_sign(view_of(FEATURES[:1], Kind.FEATURES), observed(0.0), SPACE).labels.tolist() == [UNDECIDED]


def test_zero_gradients_among_others_are_undecided():
    _, view = observe(steps=30, batch_size=16, **BATCHES)
    features, gradients = view.tensor(Kind.FEATURES), view.tensor(Kind.FEATURE_GRAD).clone()
    gradients[::3] = 0
    found = surrogate(pairs(features, gradients))
    assert (found.labels[::3] == UNDECIDED).all()
    assert (found.labels[1::3] >= 0).all()
    assert (found.margin[::3] == 0).all()


def test_one_seed_gives_one_result_and_leaves_the_transcript_alone():
    _, view = observe(steps=30, batch_size=16, **BATCHES)
    before = [message.tensor.clone() for message in view]
    one, same = surrogate(view, seed=1, **QUICK), surrogate(view, seed=1, **QUICK)
    assert torch.equal(one.labels, same.labels)
    assert all(torch.equal(*pair) for pair in zip(one.clone.parameters(), same.clone.parameters(), strict=True))
    other = surrogate(view, seed=2, **QUICK)
    assert not torch.equal(next(one.clone.parameters()), next(other.clone.parameters()))
    assert all(torch.equal(old, message.tensor) for old, message in zip(before, view, strict=True))


def test_progress_is_told_by_steps():
    told = []
    _, view = observe(steps=30, batch_size=16, **BATCHES)
    infer_by_surrogate(
        view, head_of(), SPACE, ClientLoss(), SurrogateConfig(window=64), generator=generator(0),
        progress=lambda *at: told.append(at),
    )  # fmt: skip
    assert [done for done, _, _ in told] == [8, 12, 16, 20, 24, 28, 30]
    assert {total for _, total, _ in told} == {30}
    assert all(0 <= misfit < 2 for _, _, misfit in told)


FEATURES = torch.rand(8, 8, generator=generator(0))
GOOD = pairs(FEATURES, torch.eye(8))
GROUPS = InferredLabels(labels=torch.tensor([0, 1, 2, 3]), named=False)
ONE_STEP = Transcript(observer=SERVER, messages=(*GOOD, view_of(FEATURES, Kind.FEATURES, step=1).messages[0]))
REFUSED = {
    "nothing": (lambda: surrogate(EMPTY), "holds no features and no cut gradients"),
    "a step without gradients": (lambda: surrogate(ONE_STEP), "lacks the cut gradients of step 1"),
    "a step without features": (lambda: surrogate(view_of(FEATURES, Kind.FEATURE_GRAD)), "lacks the features of step"),
    "gradients of another shape": (lambda: surrogate(pairs(FEATURES, torch.eye(4))), r"\(8, 8\) and the cut gradients"),
    "NaN": (lambda: surrogate(pairs(FEATURES, torch.full((8, 8), math.nan))), "cut gradients hold NaN"),
    "NaN features": (lambda: surrogate(pairs(torch.full((8, 8), math.nan), torch.eye(8))), "features hold NaN"),
    "a wrong number of classes": (lambda: surrogate(GOOD, space=TEN), "for 10 classes"),
    "a head of other inputs": (lambda: surrogate(GOOD, head=2), "does not take features of shape"),
    "no window": (lambda: SurrogateConfig(window=0), "window is 0"),
    "a negative prior": (lambda: SurrogateConfig(prior=-1.0), "prior is -1.0"),
    "an unknown grouping": (lambda: GroupingConfig(method="k-mean"), "did you mean 'k-means'"),
    "too few features": (lambda: group_by_features(view_of(torch.ones(2, 8), Kind.FEATURES), SPACE, GroupingConfig(),
                                                   generator=generator(0)), "too few for 4 groups"),
    "too few gradients": (lambda: group_by_cut_gradient(ZERO_AMONG, LabelSpace(classes=5), GroupingConfig(),
                                                        generator=generator(0)), "Only 4 samples have cut gradients"),
    "no weights": (lambda: infer_from_handed_weights(GOOD, head_of(), SPACE, ClientLoss()), "no hand-off of a head"),
    "a batch for the sign rule": (lambda: infer_by_sign(GOOD, observed(), SPACE), "batch of 8 samples"),
    "another last layer": (lambda: infer_by_sign(view_of(FEATURES[:1], Kind.FEATURES), observed(), TEN), "10 outputs"),
    "no step for the sign rule": (lambda: infer_by_sign(GOOD, observed(rows=0, steps=()), SPACE), "of no step"),
    "features of another step": (lambda: infer_by_sign(GOOD, observed(steps=(7,)), SPACE), "features of step 7"),
    "NaN weights": (lambda: infer_by_sign(view_of(FEATURES[:1], Kind.FEATURES), observed(math.nan), SPACE), "NaN"),
    "a deeper head for least squares": (lambda: infer_from_batch_gradients(view_of(torch.ones(2, 16), Kind.FEATURES),
                                                                           observed(), SPACE), "be that one layer"),
    "three classes by length": (lambda: infer_from_gradient_norm(GOOD, SPACE), "there are 4"),
    "three classes by direction": (lambda: infer_from_gradient_direction(GOOD, SPACE), "there are 4"),
    "nothing to measure": (lambda: infer_from_gradient_norm(EMPTY, TWO), "holds no feature_grad"),
    "names for names": (lambda: name_groups(InferredLabels(labels=torch.tensor([0]), named=True),
                                            KnownSamples(indices=(0,), labels=(0,)), SPACE), "their names already"),
    "a known sample elsewhere": (lambda: name_groups(GROUPS, KnownSamples(indices=(4,), labels=(0,)), SPACE), "among"),
    "a known class elsewhere": (lambda: name_groups(GROUPS, KnownSamples(indices=(0,), labels=(4,)), SPACE), "among"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_sentence(case):
    call, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
