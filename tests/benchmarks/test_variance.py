"""The order of the estimators' variances, exactly: nothing is sampled."""

from pathlib import Path

import pytest

from benchmarks import variance

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "gradients.md"


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("copies", [2, 4])
def test_vimco_is_below_nvil_below_plain(copies, seed):
    found = variance.variances_of_bits(copies, seed)
    plain, moving, nvil, vimco = found.values()
    assert vimco < nvil < moving < plain
    assert vimco < 0.7 * nvil
    assert nvil < 0.5 * plain


def test_leaving_one_out_is_below_plain():
    for draws in (2, 4):
        plain, less, none = variance.variances_of_draws(draws).values()
        assert none < less < plain


def test_no_noise_is_left_at_the_posterior():
    for copies, name in ((1, "`StickingTheLanding()`"), (2, "`DReG()`")):
        at_it, away = (variance.variances_of_normal(copies, gap) for gap in (0.0, 0.5))
        assert at_it[name] < 1e-20 < at_it["`Pathwise()`"]
        assert away[name] < 0.5 * away["`Pathwise()`"] < 0.5 * away["`Score()`"]


def test_the_table_of_the_guide_is_that_of_the_script():
    text = GUIDE.read_text("utf-8")
    table = text.partition(variance.BEGIN)[2].partition(variance.END)[0]
    for copies, column in ((2, 1), (4, 2)):
        for name, value in variance.variances_of_bits(copies).items():
            row = next(line for line in table.splitlines() if line.startswith(f"| {name} |"))
            assert float(row.split("|")[2 + column]) == pytest.approx(value, rel=1e-3)
