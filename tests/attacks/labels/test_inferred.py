"""What is made of inferred labels: names of groups, and a stolen head."""

import torch

from helpers.labels import SGD, SPACE, TEN, digits_head, head_of, heaps, match, observe
from unsplit import metrics
from unsplit.attacks.labels import UNDECIDED, CloneHeadConfig, head_weight_gradients, name_groups, train_clone_head
from unsplit.knowledge import ClientOptimizer, KnownSamples
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, evaluated
from unsplit.randomness import generator
from unsplit.types import InferredLabels, Kind, Message, Setup, Transcript


def test_groups_get_the_names_that_most_known_samples_vote_for():
    groups = InferredLabels(labels=torch.tensor([0, 0, 0, 1, 1, 1, 2, 3, UNDECIDED]), named=False)
    known = KnownSamples(indices=(0, 1, 2, 3, 4, 5), labels=(3, 3, 1, 1, 1, 3))
    named = name_groups(groups, known, SPACE).labels.tolist()
    assert named[:6] == [3, 3, 3, 1, 1, 1]
    assert sorted(named[6:8]) == [0, 2]
    assert named[8] == UNDECIDED


def test_a_clone_head_learns_from_inferred_labels():
    """On features that tell the classes apart, and only from samples whose label was decided."""
    source = generator(0)
    labels = torch.randint(10, (300,), generator=source)
    features = torch.randn(10, 84, generator=source)[labels] + 0.3 * torch.randn(300, 84, generator=source)
    message = Message(step=0, sender=SERVER, receiver="client0", kind=Kind.FEATURES, payload=features)
    view = Transcript(observer=SERVER, messages=(message,))
    config = CloneHeadConfig(epochs=20)
    clone = train_clone_head(view, labels, digits_head(), TEN, config, generator=generator(3))
    assert metrics.accuracy(clone(features), labels) > 0.95
    undecided = torch.where(labels < 5, labels, UNDECIDED)
    clone = train_clone_head(view, undecided, digits_head(), TEN, config, generator=generator(3))
    assert metrics.accuracy(clone(features), labels) < 0.7


def test_a_stolen_head_from_inferred_labels_does_nearly_as_well_as_the_client_s():
    training, view = observe(setup=Setup.C, steps=402)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    labels = match(view, gradients).labels
    seen = view.between(gradients.steps[0], gradients.steps[-1])
    config = CloneHeadConfig(optimizer=OptimizerSpec(lr=0.01))
    clone = train_clone_head(seen, labels, head_of(), SPACE, config, generator=generator(3))
    inputs, truth = heaps()
    stolen = metrics.accuracy(evaluated(clone, evaluated(training.model()[:-1], inputs)), truth)
    own = metrics.accuracy(training.predict(inputs), truth)
    assert own > 0.9
    assert stolen > own - 0.05
