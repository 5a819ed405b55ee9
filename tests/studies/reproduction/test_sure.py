"""The self-estimate of the strongest attack against its errors."""

import io

import numpy as np
import pytest
from PIL import Image

from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.reproduction.tables._seeds import SEEDS, reliability_plot, seeds_section
from unsplit.studies.reproduction.tables._sure import fitted, reliability, right, sure, sureness

GUESS = 0.08


def cell(agreement, mse=0.01, residual=0.01, **more):
    return {"agreement": agreement, "mse": mse, "residual": residual, "guess": GUESS, **more}


def test_right_is_less_than_half_of_the_guess():
    assert right(cell(0.9, mse=0.039))
    assert not right(cell(0.9, mse=0.04))


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (cell(0.9), True),
        (cell(0.89), False),
        (cell(-0.9), False),
        (cell(0.95, residual=0.026), False),
        ({"mse": 0.01, "residual": 0.01, "guess": GUESS}, False),
        (cell(0.95, sure=0.0), False),
        (cell(0.2, sure=1.0), False),
    ],
)
def test_an_attack_is_sure_by_the_rule_unless_it_said_that_it_was_not(one, expected):
    assert sure(one) is expected


def test_the_limit_is_the_lowest_from_which_on_no_sure_attack_is_wrong():
    many = [cell(0.01 * number) for number in range(50, 100)]
    assert fitted(many) == 0.5
    assert fitted([*many, cell(0.65, mse=0.2)]) == 0.7
    assert fitted([*many, cell(0.65, mse=0.2, residual=0.2)]) == 0.5
    assert fitted([*many, cell(0.55, mse=0.2), cell(0.85, mse=0.2)]) == 0.9
    assert fitted([*many, cell(0.95, mse=0.2)]) is None


def test_an_attack_that_alone_sets_the_limit_is_called_wrong_when_it_is_left_out():
    """One wrong run at .78 makes the limit .8. Without it the rule would be .5, and sure of it."""
    text = sureness([*(cell(0.9) for _ in range(9)), cell(0.6), cell(0.78, mse=0.2), cell(0.1, mse=0.2)])
    assert "Of 12 attacks 9 were, and 9 of these have an error below half" in text
    assert "so have 1 of the 3 others" in text
    assert "gives 0.8 as the limit of the agreement" in text
    assert "it is sure 10 times and right 9 times" in text
    assert "Of 2 attacks none was." in sureness([cell(0.1), cell(0.2)])


def rows(*cells):
    return [
        ResultRow(
            table=SEEDS, dataset="mnist", depth=depth, state="after", preset="strong, seed 0", metric=metric,
            value=value, low=None, high=None, seeds=1, paper=None, trivial=GUESS if metric == "mse" else None,
            command="unsplit",
        )
        for depth, one in enumerate(cells)
        for metric, value in {"mse_scale_free": 0.01, "clone_accuracy": 0.9, **one}.items()
        if metric != "guess"
    ]  # fmt: skip


def test_the_page_marks_the_sure_ones_and_shows_the_plot():
    told = rows(cell(0.9), cell(0.6, mse=0.02, residual=0.02), cell(0.95, mse=0.03, residual=0.02, sure=1.0))
    text = seeds_section(told, ["table2.png"])
    assert text.count("| yes |") == 2
    assert "(pictures/table2.png)" in text
    assert "(pictures/" not in seeds_section(told)


def test_the_plot_follows_the_rows():
    assert reliability_plot([]) is reliability([]) is None
    good, bad = (reliability_plot(rows(cell(0.9), cell(0.6, mse=mse))) for mse in (0.01, 0.2))
    sizes = [Image.open(io.BytesIO(one)).convert("RGB") for one in (good, bad)]
    assert all(np.asarray(one).std() > 1 for one in sizes)
    assert good != bad
    assert reliability_plot(rows(cell(0.9), cell(0.6))) == good
