"""The generated step equals the interpreter to the bit, and its text is what runs."""

import ast
import gc
import re
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ancestral.distributions import (
    Bernoulli,
    BernoulliMixture,
    Categorical,
    Gamma,
    MultivariateNormal,
    Normal,
    NormalMixture,
)
from ancestral.losses import (
    KL,
    E,
    Entropy,
    KullbackLeibler,
    LeaveOneOut,
    Score,
    sqnorm,
    values,
)
from ancestral.runtime.interpret import interpret
from ancestral.runtime.run import Run
from ancestral.runtime.source import Source
from ancestral.runtime.step import Step
from tests.runtime.sentences import Case, sentences

CASES = sentences()
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script.*:DeprecationWarning"  # torch's own forward-mode derivatives
)


def runs(case: Case) -> tuple[Run, Run, Step]:
    """An interpreter's run, a run of the step on the same noise, the step."""
    loss, data, options = case
    options = dict(options)
    batch_n = options.pop("batch_n", None)
    function = loss.function()
    run, watch = function.prepare(data, None, None, batch_n, options)
    interpret(run, watch)
    step = Step(run)
    return run, Run(run.program, run.data, run.drawn, None, batch_n), step


def parameters(run: Run) -> list[nn.Parameter]:
    modules: list[Any] = [*run.program.laws, *(f.net for f in run.program.functions)]
    found = [p for m in modules if isinstance(m, nn.Module) for p in nn.Module.parameters(m)]
    return list({id(p): p for p in found}.values())


def gradients(value: Tensor, params: list[nn.Parameter]) -> list[Tensor | None]:
    if not value.requires_grad:
        return []
    return list(torch.autograd.grad(value.sum(), params, allow_unused=True))


@pytest.mark.parametrize("name", CASES)
def test_step_equals_interpreter(name: str) -> None:
    run, again, step = runs(CASES[name])
    told = run.values[run.program.result]
    value = step(again)
    assert torch.equal(value, told)
    assert value.shape == told.shape
    params = parameters(run)
    for ours, theirs in zip(gradients(value, params), gradients(told, params), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_step_takes_any_number_of_rows(name: str) -> None:
    loss, data, options = CASES[name]
    function = loss.function()
    function(data, **options)
    more = {k: torch.cat([v, v[:1]]) for k, v in data.items()}
    torch.manual_seed(1)
    function(more, **options)  # a new shape is interpreted, and checked
    torch.manual_seed(1)
    value = function(more, **options)
    assert len(function._steps) == 1
    torch.manual_seed(1)
    assert torch.equal(loss.function()(more, **options), value)


@pytest.mark.parametrize("name", CASES)
def test_text_is_straight_line(name: str) -> None:
    """No loop, no interpreter, no user's string, and one call per network and conditions."""
    step = runs(CASES[name])[2]
    tree = ast.parse(step.source.text)
    banned = (ast.For, ast.While, ast.ListComp, ast.DictComp, ast.Lambda, ast.Try, ast.Import)
    assert not [n for n in ast.walk(tree) if isinstance(n, banned)]
    strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)} - {None}
    words = {"loc", "scale", "logits", "probs", "none", "inf", "-inf"}  # not one of the user's
    assert {s for s in strings if isinstance(s, str)} <= words
    assert "interpret" not in step.source.text
    calls = re.findall(r"= (net\d+\(.*\))", step.source.text)
    assert len(calls) == len(set(calls))


def vae(x: str = "x", z: str = "z") -> Any:
    torch.manual_seed(0)
    prior = Normal(loc=0.0, scale=1.0, var=[z], features_shape=[2], name="p_0")
    p = Bernoulli(var=[x], cond_var=[z], net=nn.Linear(2, 3), name="p")
    q = Normal(var=[z], cond_var=[x], net=nn.Linear(3, 4), name="q")
    return (E(q, p.log_prob()) - KL(q, prior)).mean()


def test_text_of_a_vae() -> None:
    """What an expert would write: one fused kernel for the Bernoulli, no dead arithmetic."""
    text = vae().source({"x": torch.ones(4, 3)})
    assert text == (
        "def make(net0, net1):\n"
        "    def loss(x0, noise0):\n"
        "        loc0, scale0 = net0(x0).chunk(2, -1)\n"
        "        scale0 = F.softplus(scale0)\n"
        "        z0 = loc0 + scale0 * noise0\n"
        "        logits0 = net1(z0)\n"
        "        t0 = -F.binary_cross_entropy_with_logits(logits0, x0, "
        "reduction='none').sum(1)\n"
        "        return (t0 - (0.5 * (scale0 * scale0 + loc0 * loc0 - 1.0) - scale0.log())"
        ".sum(1)).mean()\n"
        "    return loss\n"
    )


def test_what_runs_is_the_text() -> None:
    """One constant changed in the text changes the value."""
    run, again, step = runs((vae(), {"x": torch.ones(4, 3)}, {}))
    source = step.source
    changed = Source(**{**vars(source), "text": source.text.replace("- 1.0", "- 3.0")})
    assert changed.text != source.text
    value, other = step(again), changed.compile()(run.data["x"], run.drawn["z"])
    torch.testing.assert_close(other - value, torch.tensor(2.0))


HOSTILE = [
    "x'] + evil['",
    "import os",
    "__builtins__",
    "лог",
    "a b",
    'q"""',
    "x\n    return 0",
    "lambda",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_never_reach_the_text(name: str) -> None:
    loss = vae(x=name)
    data = {name: torch.ones(4, 3)}
    function = loss.function()
    torch.manual_seed(1)
    first = function(data)
    torch.manual_seed(1)
    assert torch.equal(function(data), first)
    assert function.source() == vae().source({"x": torch.ones(4, 3)})


def test_weights_are_live_and_freed() -> None:
    loss = vae()
    function = loss.function()
    x = {"x": torch.ones(4, 3)}
    noise = {"z": torch.zeros(4, 2)}
    function(x, noise=noise)
    before = function(x, noise=noise)
    decoder = function.program().laws[1]
    with torch.no_grad():
        for p in nn.Module.parameters(decoder):
            p.add_(0.5)
    after = function(x, noise=noise)
    assert not torch.equal(before, after)
    gone = weakref.ref(decoder)
    del loss, function, decoder, p, before, after
    gc.collect()
    assert gone() is None


def test_a_constant_that_changes_is_read_again() -> None:
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2], name="p_0")
    function = prior.log_prob().function()
    z = {"z": torch.ones(3, 2)}
    function(z), function(z)
    other = Normal(loc=1.0, scale=1.0, var=["z"], features_shape=[2], name="p_0")
    prior.load_state_dict(other.state_dict())
    expected = other.log_prob().eval(z)
    assert torch.equal(function(z), expected)
    assert torch.equal(function(z), expected)


def test_an_error_in_the_text_shows_its_line() -> None:
    class Breaks(nn.Module):
        broken = False

        def forward(self, z: Tensor) -> Tensor:
            if self.broken:
                raise KeyError("broken")
            return torch.cat([z, z[:, :1]], 1)

    net = Breaks()
    p = Bernoulli(var=["x"], cond_var=["z"], net=net, name="p")
    function = p.log_prob().mean().function()
    data = {"x": torch.ones(4, 3), "z": torch.ones(4, 2)}
    function(data)
    net.broken = True
    with pytest.raises(KeyError, match="broken") as caught:
        function(data)
    lines = [str(entry.statement) for entry in caught.traceback]
    assert any("logits0 = net0(" in line for line in lines)


def test_a_hook_or_another_network_is_noticed():
    """The text calls the network itself; what is put on the law or in its place later runs too."""
    q = Normal(var=["z"], cond_var=["x"], net=nn.Linear(3, 4), name="q")
    f = q.log_prob().function()
    data = {"x": torch.ones(2, 3), "z": torch.zeros(2, 2)}
    f(data), f(data)
    seen: list[int] = []
    handle = q.register_forward_hook(lambda *_: seen.append(1))
    f(data), f(data)
    assert len(seen) == 2
    handle.remove()
    q.net = nn.Linear(3, 4)
    f(data)
    torch.testing.assert_close(f(data), q.get_log_prob(data))
    q.net.register_forward_hook(lambda *_: seen.append(1))  # of the network: always run
    f(data)
    assert len(seen) == 3


class Swapped(nn.Module):
    """Takes its conditions by name, in another order than the law has them."""

    def forward(self, y: torch.Tensor, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loc": x - 2 * y, "scale": torch.ones_like(x)}


def test_conditions_are_given_by_name_where_the_order_differs():
    q = Normal(var=["z"], cond_var=["x", "y"], net=Swapped(), name="q")
    f = q.log_prob().function()
    data = {"x": torch.ones(2, 3), "y": torch.full((2, 3), 5.0), "z": torch.zeros(2, 3)}
    assert torch.equal(f(data), f(data))
    torch.testing.assert_close(f(data), q.get_log_prob(data))


def test_closed_forms_of_numbers_are_constants_of_the_laws_precision():
    """A divergence of gamma laws is computed in double: the text gave that back."""
    q = Gamma(concentration=2.0, rate=1.0, features_shape=[3], name="q")
    p = Gamma(concentration=2.5, rate=1.5, features_shape=[3])
    function = (KullbackLeibler(q, p) + Entropy(q)).function()
    first, second = function({}), function({})
    assert first.dtype == second.dtype == torch.float32
    assert torch.equal(first, second)


A = torch.linspace(-1.0, 1.0, 12).reshape(3, 2, 2)
LAWS_OF_DATA = {
    "matrix": (MultivariateNormal, {"loc": A[..., 0], "scale_tril": A.tril() + 2 * torch.eye(2)}),
    "mixture": (NormalMixture, {"weight_logits": A[..., 0], "loc": A, "scale": A.exp()}),
    "coins": (BernoulliMixture, {"weight_logits": A[..., 0], "logits": A}),
}


@pytest.mark.parametrize("name", LAWS_OF_DATA)
def test_a_density_that_is_made_from_parts_is_written_out(name: str) -> None:
    """Class methods, comprehensions and ``torch.linalg`` come to lines of PyTorch."""
    law, params = LAWS_OF_DATA[name]
    named = {key: f"c{i}" for i, key in enumerate(params)}
    p = law(var=["x"], cond_var=list(named.values()), **named)
    data = {"x": torch.ones(3, 2), **{named[key]: value for key, value in params.items()}}
    density = p.log_prob().function()
    interpreted, written = density(data), density(data)
    assert density.source().startswith("def make():")
    torch.testing.assert_close(written, interpreted)


def test_draws_without_a_derivative_are_not_cut() -> None:
    """Of the three draws only the last could carry a gradient past the score."""
    data = {"a": torch.zeros(3, 2)}
    for law, cut in ((Bernoulli, False), (Categorical, False), (Normal, True)):
        params = {"loc": "a", "scale": 1.0} if law is Normal else {"logits": "a"}
        q = law(var=["x"], cond_var=["a"], **params)
        score = {q: Score(LeaveOneOut(), draws=4)}
        text = E(q, sqnorm(values("x"))).estimate(score).source(data)
        draw = next(line for line in text.splitlines() if " z0 = " in line)
        assert ("detach" in draw) == cut
