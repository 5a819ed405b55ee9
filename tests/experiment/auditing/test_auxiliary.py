"""An audit with data of the server's own: which attacks run, what they may not have, and what is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from unsplit.attacks.auxiliary import FORA_PRESETS, SDAR_PRESETS, fora_preset, sdar_preset
from unsplit.attacks.inversion import ExamplesInversionConfig, LearningConfig
from unsplit.attacks.registry import ATTACKS
from unsplit.data import load
from unsplit.errors import InputError
from unsplit.experiment import AuditConfig, audit
from unsplit.experiment.auditing.fitting import auxiliary_data
from unsplit.knowledge import KnownPictures


@pytest.fixture
def short(monkeypatch):
    """All attacks with a few iterations of small networks."""
    sdar = dataclasses.replace(sdar_preset("quick"), iterations=4, feature_width=8, picture_width=4, batch_size=8)
    fora = dataclasses.replace(
        fora_preset("quick"), iterations=4, inverse_iterations=4, substitute_width=4, inverse_width=4
    )
    monkeypatch.setitem(SDAR_PRESETS, "quick", sdar)
    monkeypatch.setitem(FORA_PRESETS, "quick", fora)
    few = ExamplesInversionConfig(
        steps=3, restarts=2, refit_steps=1, learning=LearningConfig(width=4, blocks=1, batch=4)
    )
    for name in ("known-pictures", "similar-pictures"):
        row = dataclasses.replace(ATTACKS[name], settings=lambda _: few)
        monkeypatch.setitem(ATTACKS, name, row)


@pytest.mark.usefixtures("short")
def test_attacks_with_data_stand_beside_the_presets():
    config = AuditConfig(
        cuts=(2,), states=("after",), epochs=1, presets=("joint-quick",), label_setups=(), auxiliary="test"
    )
    found = audit(config)
    rows = {row.preset: row for row in found.result.inversion}
    assert list(rows) == ["joint-quick", "sdar", "fora", "similar-pictures"]
    assert all(picture.shape == found.originals.shape for picture in found.reconstructions)
    assert rows["sdar"].guesses == rows["joint-quick"].guesses
    threats = {row.attack for row in found.result.threat_models}
    assert threats >= {
        "invert_by_simulation_without_labels", "invert_by_feature_matching", "invert_from_similar_pictures",
    }  # fmt: skip


@pytest.mark.usefixtures("short")
def test_an_audit_whose_server_knows_pictures(tmp_path):
    config = AuditConfig(
        cuts=(6,), states=("before",), epochs=1, presets=("joint-quick",), label_setups=(), known_pictures=5
    )
    runs = [
        audit(changed, folder=tmp_path) for changed in (config, config, dataclasses.replace(config, known_pictures=6))
    ]
    names = [row.preset for row in runs[0].result.inversion]
    assert names == ["joint-quick", "known-pictures"]
    assert KnownPictures.means in {sentence for row in runs[0].result.threat_models for sentence in row.knows}
    # What was measured with five pictures is read again, and not taken for what six would give.
    first, again, more = (run.reconstructions[1] for run in runs)
    assert torch.equal(first, again)
    assert not torch.equal(first, more)


def test_no_target_is_among_the_server_s_own_data():
    splits = load("digits")
    targets = splits.test.one_per_class()
    own = auxiliary_data("test", splits, targets, None)
    assert len(own) == len(splits.test) - len(targets)
    flat = targets.images.flatten(1)
    assert not any(bool((flat == image).all(1).any()) for image in own.images.flatten(1))


def test_data_of_another_form_are_refused(tmp_path):
    splits = load("digits")
    np.savez(tmp_path / "other.npz", x=torch.zeros(6, 1, 8, 8).numpy(), y=np.arange(6) % 2)
    with pytest.raises(InputError, match="name data of the same form, or 'test'"):
        auxiliary_data(str(tmp_path / "other.npz"), splits, splits.test.one_per_class(), None)
