"""Everything at once from the U-shape, and how the report shows it."""

import dataclasses

import pytest
import torch

from unsplit import AuditConfig, Pictures, audit, write_report
from unsplit.data import Splits
from unsplit.errors import InputError
from unsplit.report import read_report


@pytest.fixture(scope="module")
def small(digits: Splits) -> Splits:
    """A third of the digits: enough to learn from."""
    return Splits(train=digits.train.subset(torch.arange(1500)), test=digits.test.subset(torch.arange(300)))


CONFIG = AuditConfig(cuts=(), label_setups=(), presets=("joint",), epochs=4, u_shape=("relu1", 1))


@pytest.fixture(scope="module")
def found(small):
    return audit(CONFIG, splits=small)


def test_inputs_labels_and_both_parts_are_taken_together(found):
    row = found.result.whole
    assert (row.depth, row.cut, row.head, row.steps) == (1, "relu1", 1, 96)
    assert row.label_accuracy > 0.99 > row.label_chance
    assert row.mse < row.mse_best_trivial / 4
    assert row.reference_accuracy > 0.75
    assert row.head_accuracy > row.reference_accuracy - 0.1
    assert row.bottom_accuracy > row.reference_accuracy - 0.1
    assert row.whole_accuracy > row.reference_accuracy - 0.15
    assert row.whole_agreement > 0.8
    assert found.whole.shape == found.originals.shape


def test_the_threat_model_has_the_known_samples(found):
    knows = {row.attack: row.knows for row in found.result.threat_models}
    assert set(knows) == {"invert_jointly", "infer_by_surrogate"}
    assert any("true labels of a few" in sentence for sentence in knows["infer_by_surrogate"])
    assert not any("true labels of a few" in sentence for sentence in knows["invert_jointly"])


def test_the_report_shows_it(found, tmp_path):
    pictures = Pictures(originals=found.originals, reconstructions=(), whole=found.whole)
    page = write_report(tmp_path, found.result, pictures).read_text()
    assert "Everything at once" in page
    assert f"{found.result.whole.whole_accuracy:.1%}" in page
    assert (tmp_path / "pictures" / "whole.png").read_bytes()[:4] == b"\x89PNG"
    assert read_report(tmp_path / "report.json").whole == found.result.whole


def test_one_seed_gives_one_result(small):
    quick = dataclasses.replace(CONFIG, epochs=1)
    one, same = (audit(quick, splits=small) for _ in range(2))
    assert one.result.whole == same.result.whole
    assert torch.equal(one.whole, same.whole)


def test_a_cut_that_leaves_nothing_for_the_server_is_one_sentence(small):
    with pytest.raises(InputError, match="leave nothing for the server"):
        audit(dataclasses.replace(CONFIG, u_shape=("relu4", 1)), splits=small)
