"""Bad input to label inference: one sentence each."""

import math

import pytest
import torch

from helpers.labels import (
    CLASSES,
    EMPTY,
    ONE,
    SGD,
    SPACE,
    TEN,
    TWO,
    ZERO_AMONG,
    group,
    head_of,
    known,
    match,
    observed,
    pairs,
    surrogate,
    train_head,
    view_of,
)
from unsplit.attacks.labels import (
    UNDECIDED,
    GroupingConfig,
    SurrogateConfig,
    group_by_cut_gradient,
    group_by_features,
    head_weight_gradients,
    infer_by_sign,
    infer_from_batch_gradients,
    infer_from_gradient_direction,
    infer_from_gradient_norm,
    infer_from_handed_weights,
    infer_from_known_samples,
    name_groups,
)
from unsplit.errors import InputError
from unsplit.knowledge import ClientLoss, ClientOptimizer, KnownSamples, LabelSpace
from unsplit.protocol import SERVER
from unsplit.randomness import generator
from unsplit.types import InferredLabels, Kind, Transcript

EYE = view_of(torch.eye(CLASSES).repeat(2, 1), Kind.FEATURE_GRAD)


MATCHED_OR_GROUPED = {
    "no cut gradients to group": (lambda: group(EMPTY), "holds no feature_grad message"),
    "no cut gradients to compare": (lambda: infer_from_known_samples(EMPTY, known(0)), "holds no feature_grad"),
    "no features to match": (lambda: match(EMPTY, observed()), "holds no features"),
    "no hand-offs": (lambda: head_weight_gradients(EMPTY, ClientOptimizer(spec=SGD)), "no two hand-offs"),
    "fewer samples than classes": (lambda: group(EYE, classes=9), "Only 8 samples .* 9 groups"),
    "too few gradients that are not zero": (lambda: group(ZERO_AMONG, classes=5), "Only 4 samples"),
    "NaN among cut gradients": (lambda: group(view_of(torch.full((4, 4), math.nan), Kind.FEATURE_GRAD)), "NaN"),
    "a known sample out of range": (lambda: infer_from_known_samples(EYE, known(8)), "not among the 8"),
    "a known sample of zero gradient": (lambda: infer_from_known_samples(ZERO_AMONG, known(4)), "gradient is zero"),
    "a batch": (lambda: match(view_of(torch.rand(2, 8, generator=generator(0)), Kind.FEATURES), observed()),
                "batch of 2 samples"),
    "features of another width": (lambda: match(view_of(torch.ones(1, 5), Kind.FEATURES), observed()),
                                  "does not take features of shape"),
    "another head": (lambda: match(view_of(torch.ones(1, 16), Kind.FEATURES), observed(), architecture=head_of(2)),
                     "'fc2.weight' of shape"),
    "another number of classes": (lambda: match(ONE, observed(), space=LabelSpace(classes=7)), "for 7 classes"),
    "a weight of another shape": (lambda: match(ONE, observed(**{"fc3.bias": torch.ones(1, 3)})), "'fc3.bias'"),
    "features of another step": (lambda: match(ONE, observed(steps=(5,))), "lacks the features of step 5"),
    "labels for other features": (lambda: train_head(ONE, torch.zeros(3).long()), "3 labels for 1"),
    "no decided label": (lambda: train_head(ONE, torch.tensor([UNDECIDED])), "No label was decided"),
    "features that no clone head takes": (
        lambda: train_head(view_of(torch.ones(1, 5), Kind.FEATURES), torch.tensor([0])), "does not take features"
    ),
    "one class": (lambda: LabelSpace(classes=1), "at least 2 classes"),
    "no restart": (lambda: GroupingConfig(restarts=0), "restarts is 0; it must be at least 1"),
    "no features for a clone head": (lambda: train_head(EYE, torch.zeros(8).long()), "holds no features"),
    "infinity among cut gradients": (
        lambda: infer_from_known_samples(view_of(torch.full((2, 2), math.inf), Kind.FEATURE_GRAD), known(0)),
        "NaN or infinity",
    ),
    "a known sample before the first": (lambda: infer_from_known_samples(EYE, known(-1)), "known sample"),
    "a known sample far before the first": (lambda: infer_from_known_samples(EYE, known(-50)), "known sample"),
    "no known sample": (lambda: infer_from_known_samples(EYE, known()), "known sample"),
    "fewer labels than known samples": (lambda: infer_from_known_samples(EYE, known(0, 1, labels=(2,))), "label"),
    "more labels than known samples": (lambda: infer_from_known_samples(EYE, known(0, labels=(2, 1))), "label"),
    "NaN among weight gradients": (lambda: match(ONE, observed(math.nan)), "NaN"),
    "NaN among features": (lambda: match(view_of(torch.full((1, 8), math.nan), Kind.FEATURES), observed()), "NaN"),
    "no step": (lambda: match(ONE, observed(rows=0, steps=())), "step"),
    "fewer gradients than steps": (lambda: match(ONE, observed(steps=(0, 0))), "gradient"),
    "no epoch": (lambda: train_head(ONE, torch.tensor([0]), epochs=0), "epochs is 0"),
    "no batch": (lambda: train_head(ONE, torch.tensor([0]), batch_size=0), "batch_size is 0"),
}  # fmt: skip


FEATURES = torch.rand(8, 8, generator=generator(0))
GOOD = pairs(FEATURES, torch.eye(8))
GROUPS = InferredLabels(labels=torch.tensor([0, 1, 2, 3]), named=False)
ONE_STEP = Transcript(observer=SERVER, messages=(*GOOD, view_of(FEATURES, Kind.FEATURES, step=1).messages[0]))
FOLLOWED_OR_READ = {
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
    "the sign rule at another step": (lambda: infer_by_sign(GOOD, observed(steps=(7,)), SPACE), "features of step 7"),
    "NaN weights": (lambda: infer_by_sign(view_of(FEATURES[:1], Kind.FEATURES), observed(math.nan), SPACE), "NaN"),
    "a deeper head for least squares": (lambda: infer_from_batch_gradients(view_of(torch.ones(2, 16), Kind.FEATURES),
                                                                           observed(), SPACE), "a head of one layer"),
    "three classes by length": (lambda: infer_from_gradient_norm(GOOD, SPACE), "there are 4"),
    "three classes by direction": (lambda: infer_from_gradient_direction(GOOD, SPACE), "there are 4"),
    "nothing to measure": (lambda: infer_from_gradient_norm(EMPTY, TWO), "holds no feature_grad"),
    "names for names": (lambda: name_groups(InferredLabels(labels=torch.tensor([0]), named=True),
                                            KnownSamples(indices=(0,), labels=(0,)), SPACE), "their names already"),
    "a known sample elsewhere": (lambda: name_groups(GROUPS, KnownSamples(indices=(4,), labels=(0,)), SPACE), "among"),
    "a known class elsewhere": (lambda: name_groups(GROUPS, KnownSamples(indices=(0,), labels=(4,)), SPACE), "among"),
}  # fmt: skip


REFUSED = MATCHED_OR_GROUPED | FOLLOWED_OR_READ
assert len(REFUSED) == len(MATCHED_OR_GROUPED) + len(FOLLOWED_OR_READ)


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_sentence(case):
    call, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
