"""Whose rows an unconditional draw follows, where a loss reads two data sets."""

import pytest
import torch
from torch import nn

from ancestral.core.errors import MissingVariableError, OptionError, ScopeError
from ancestral.distributions import EmpiricalDistribution, Implicit, Normal
from ancestral.losses import E, Function, sqnorm, values
from ancestral.models import Model, Player
from tests.lowering.reading import draws, twice
from tests.sentences.counting import agrees, counted

LABELLED, UNLABELLED = 3, 7
x, u, g = values("x u g")


class World:
    def __init__(self):
        torch.manual_seed(0)
        self.net, self.critic = nn.Linear(2, 2).double(), nn.Linear(2, 1).double()
        self.noise = Normal(loc=0.0, scale=1.0, var=["e"], features_shape=[2], name="p").double()
        self.p_g = Implicit(self.net, var=["g"], noise=self.noise, name="p_g")
        self.labelled = EmpiricalDistribution(["x"], name="p_l")
        self.unlabelled = EmpiricalDistribution(["u"], name="p_u")
        self.d = Function(self.critic, name="d")
        self.batch = {
            "x": torch.randn(LABELLED, 2).double(),
            "u": torch.randn(UNLABELLED, 2).double(),
        }

    def real(self):
        return E(self.labelled, self.d(x)) + E(self.unlabelled, self.d(u))

    def value(self, rows_of):
        return self.real() - E(self.p_g, self.d(g), rows_of=rows_of)


@pytest.fixture
def w():
    return World()


@pytest.mark.parametrize(("rows_of", "rows"), [("x", LABELLED), ("u", UNLABELLED)])
def test_as_many_rows_as_that_data_has(w, rows_of, rows):
    eps = torch.randn(rows, 2).double()

    def hand():
        real = w.critic(w.batch["x"]).mean() + w.critic(w.batch["u"]).mean()
        return real - w.critic(w.net(eps)).mean()

    loss = w.value(rows_of)
    agrees(loss, w.batch, hand, [w.net, w.critic], noise={"e": eps})
    with counted(g=w.net) as seen:
        loss.eval(w.batch)
    assert seen == {"g": [rows]}
    assert str(loss) == str(w.value(None))  # a plan


def test_an_ambiguous_draw_is_refused_and_told(w):
    with pytest.raises(
        ScopeError, match=r"E_\{p_g\(g\)\}.*either of two.*rows_of='x'.*rows_of='u'"
    ):
        w.value(None).eval(w.batch)
    only = E(w.labelled, w.d(x)) - E(w.p_g, w.d(g))
    assert torch.isfinite(only.eval(w.batch))  # one data set


def test_draws_of_different_rows_are_different_draws(w):
    both = E(w.p_g, w.d(g), rows_of="x") + E(w.p_g, sqnorm(g), rows_of="x")
    assert draws(w.real() + both) == ["e"]
    apart = E(w.p_g, w.d(g), rows_of="x") + E(w.p_g, sqnorm(g), rows_of="u")
    assert draws(w.real() + apart) == ["e", "e#2"]


def test_two_players_over_two_data_sets(w):
    v = w.value("u")
    players = [Player("d", maximise=v, over=[w.critic]), Player("g", minimise=v, over=[w.p_g])]
    found = Model(players=players).train(w.batch)
    assert all(torch.isfinite(value) for value in found.values())


def test_a_player_who_reads_nothing_else(w):
    """The generator's own loss mentions no data: it draws as many rows as it is told."""
    own = -E(w.p_g, w.d(g).sigmoid().log(), rows_of="u")
    assert own.input_var == ["u"]
    with counted(g=w.net) as seen:
        for _ in range(2):
            twice(own, w.batch)
    assert {*seen["g"]} == {UNLABELLED}
    eps = {"e": torch.randn(UNLABELLED, 2).double()}
    agrees(own, w.batch, lambda: -w.critic(w.net(eps["e"])).sigmoid().log().mean(), [w.net],
           noise=eps)  # fmt: skip
    players = [
        Player("d", maximise=w.value("x"), over=[w.critic]),
        Player("g", minimise=own, over=[w.p_g]),
    ]
    for order in ("in turn", "together"):
        model = Model(players=players, order=order)
        with counted(g=w.net) as seen:
            model.train(w.batch)
        assert sorted({*seen["g"]}) == [LABELLED, UNLABELLED]


def test_rows_of_a_variable_that_is_bound(w):
    """Inside of an expectation over data its name is that of a draw."""
    inner = E(w.p_g, sqnorm(g - x), rows_of="x")
    loss = E(w.labelled, inner) + sqnorm(u).mean()
    assert sorted(loss.input_var) == ["u", "x"]
    eps = torch.randn(LABELLED, 2).double()
    wanted = (w.net(eps) - w.batch["x"]).square().sum(-1).mean()
    wanted = wanted + w.batch["u"].square().sum(-1).mean()
    torch.testing.assert_close(twice(loss, w.batch, noise={"e": eps}), wanted)


def test_it_may_say_what_holds_anyway(w):
    q = Normal(var=["z"], cond_var=["x"], net=nn.Linear(2, 4).double(), name="q")
    z = values("z")
    named = E(q, sqnorm(z - x), rows_of="x").mean() + sqnorm(u).mean()
    torch.manual_seed(0)
    found = twice(named, w.batch)
    torch.manual_seed(0)
    wanted = twice(E(q, sqnorm(z - x)).mean() + sqnorm(u).mean(), w.batch)
    assert torch.equal(found, wanted)


def test_draws_for_a_term_whose_rows_are_reduced(w):
    """The body reads both data sets, each under its mean: only rows_of says how many draws."""
    far = sqnorm(g - u).mean()  # meets the rows of u
    loss = E(w.p_g, far, rows_of="u") + sqnorm(x).mean()
    eps = torch.randn(UNLABELLED, 2).double()
    wanted = (w.net(eps) - w.batch["u"]).square().sum(-1).mean()
    wanted = wanted + w.batch["x"].square().sum(-1).mean()
    torch.testing.assert_close(twice(loss, w.batch, noise={"e": eps}), wanted)


def test_renamed_with_the_loss(w):
    loss = (sqnorm(x).mean() + E(w.p_g, w.d(g), rows_of="x")).replace_var(x="y")
    given = {"y": w.batch["x"], "u": w.batch["u"]}
    eps = torch.randn(LABELLED, 2).double()
    found = twice(loss + sqnorm(u).mean(), given, noise={"e": eps})
    wanted = w.critic(w.net(eps)).mean() + sum(v.square().sum(-1).mean() for v in given.values())
    torch.testing.assert_close(found, wanted)


def test_what_is_refused(w):
    with pytest.raises(MissingVariableError, match=r"needs a value for w"):
        w.value("w").eval(w.batch)
    q = Normal(var=["z"], cond_var=["x"], net=nn.Linear(2, 4).double(), name="q")
    against = E(q, sqnorm(values("z")), rows_of="u").mean() + sqnorm(u).mean()
    with pytest.raises(ScopeError, match=r"rows_of='u'.*follow those of x"):
        against.eval(w.batch)
    with pytest.raises(ScopeError, match=r"rows_of='beta'.*has no rows"):
        (values("beta") * w.value("beta")).eval(w.batch, beta=1.0)
    with pytest.raises(OptionError, match="rows_of"):
        E(w.p_g, w.d(g), rows_of=["x"])
