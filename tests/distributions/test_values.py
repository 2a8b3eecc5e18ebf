"""What the Distribution API says of values that are no value of the law."""

import warnings

import pytest
import torch
from torch import nn

from ancestral.core.errors import DataError, LikelihoodWarning, OptionError, SupportError
from ancestral.distributions import Bernoulli, Categorical, Normal

P = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(2, 6), name="p")


def given(x: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"x": x, "z": torch.zeros(len(x), 2)}


def test_nan_is_named_with_its_place():
    x = torch.zeros(3, 6)
    x[1, 4] = torch.nan
    with pytest.raises(DataError, match=r"the value of x is NaN at index \(1, 4\)"):
        P.get_log_prob(given(x))


def test_a_value_outside_the_support_is_refused():
    with pytest.raises(SupportError, match=r"x must be 0 or 1, got 2 at index \(0, 0\)"):
        P.get_log_prob(given(torch.full((3, 6), 2.0)))
    c = Categorical(var=["y"], probs=torch.tensor([0.2, 0.8]))
    with pytest.raises(SupportError, match="one-hot"):
        c.get_log_prob({"y": torch.ones(3, 2)})


def test_grey_pixels_warn_at_the_users_line():
    with pytest.warns(LikelihoodWarning, match="is not a likelihood") as caught:
        P.get_log_prob(given(torch.full((3, 6), 0.5)))
    assert caught[0].filename == __file__
    with pytest.warns(LikelihoodWarning) as caught:
        P.log_prob().eval(given(torch.full((3, 6), 0.5)))
    assert caught[0].filename == __file__


def test_infinite_values_have_a_density():
    p = Normal(var=["x"], loc=0.0, scale=1.0)
    assert p.get_log_prob({"x": torch.tensor([[torch.inf]])}).item() == -torch.inf


def test_values_are_not_looked_at_inside_vmap():
    p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[2])
    x = torch.randn(5, 3, 2)
    each = torch.vmap(lambda row: p.get_log_prob({"x": row}))(x)
    assert torch.equal(each, p.get_log_prob({"x": x}))


@pytest.mark.parametrize("word", ["noise", "var", "values", "sample", "features_shape"])
@pytest.mark.parametrize("value", [0.1, nn.Linear(2, 2), [1, 2]], ids=["number", "layer", "list"])
def test_no_attribute_hides_a_word_of_every_law(word, value):
    with pytest.raises(OptionError, match=f"'{word}' is a word of every law"):
        setattr(Normal(var=["z"], loc=0.0, scale=1.0), word, value)


def test_other_attributes_are_the_users():
    p = Normal(var=["z"], loc=0.0, scale=1.0)
    p.temperature, p.name, p.hidden = 0.5, "q", nn.Linear(2, 2)
    assert (p.temperature, p.prob_text) == (0.5, "q(z)")


def test_warnings_off_stay_off():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LikelihoodWarning)
        P.get_log_prob(given(torch.full((3, 6), 0.5)))
