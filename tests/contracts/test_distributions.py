"""Every law of ``ancestral.distributions`` keeps the contract of ``ancestral.testing``.

The laws are found by walking the modules: one in a new file is tested without a word here. Values
are also compared with ``tests/oracles/scipy_laws.py``, which has one function for each law with a
density and imports nothing of ours.
"""

import ast
import importlib
import pickle
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_model, save_model
from torch._dynamo.utils import counters

import ancestral.distributions as package
from ancestral.core.errors import OptionError
from ancestral.distributions import Distribution, Law, Sequence, Simulator
from ancestral.distributions.closed_forms import closed_kl
from ancestral.losses import E, Function, KullbackLeibler, values
from ancestral.testing import LAW_CHECKS, LawCase, cases_of
from ancestral.testing.case import has_density_and_draws, has_draws, is_law
from ancestral.testing.objects import answer
from tests.oracles import scipy_laws as oracles


def classes() -> list[type[Any]]:
    """The public classes of the package's modules of which a law can be built."""
    found: list[type[Any]] = []
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        for name, thing in vars(module).items():
            own = isinstance(thing, type) and (thing.__module__, thing.__name__) == (
                info.name,
                name,
            )
            if own and issubclass(thing, Distribution) and not name.startswith("_"):
                found.append(thing)
    return [family for family in found if family not in (Distribution, Law)]


def members() -> list[type[Any]]:
    """Those with examples."""
    return [family for family in classes() if family.examples()]


def elementary() -> list[type[Law]]:
    """Those with a density and parameters that are arguments of their own."""
    laws = [family for family in members() if issubclass(family, Law)]
    return [family for family in laws if family.has_density and not family.composite]


CASES = [case for family in members() for case in cases_of(family)]
DENSE = [case for family in elementary() for case in cases_of(family)]


def oracle(case: LawCase, dtype: torch.dtype = torch.float64) -> oracles.Oracle:
    """The oracle of a case, with parameters that were rounded to a dtype."""
    params = {k: v.to(dtype).double().numpy() for k, v in case.params.items()}
    return getattr(oracles, case.family.__name__)(**params, **case.options)


def test_laws_are_found():
    names = {family.__name__ for family in members()}
    assert {"Normal", "Laplace", "Bernoulli", "Categorical", "Deterministic"} <= names
    assert {"EmpiricalDistribution", "CustomProb", "Implicit", "BetaPosterior"} <= names
    assert not {"Law", "Distribution"} & names


def test_no_law_opts_out():
    """Without examples are the bases of families, and moves: their laws are other classes."""
    for family in set(classes()) - set(members()):
        derived = [f for f in members() if issubclass(f, family)]
        assert derived or family.__name__.endswith("Moves"), family


@pytest.mark.parametrize(
    ("case", "check"),
    [
        pytest.param(case, check, id=f"{case}-{check.name}".replace(" ", "_"))
        for case in CASES
        for check in LAW_CHECKS.values()
        if check.applies(case)
    ],
)
def test_contract(case, check):
    check.run(case)


@pytest.mark.parametrize("family", elementary(), ids=lambda family: family.__name__)
def test_law_with_density_has_an_oracle(family):
    """Add a function by the name of the new law to a tests/oracles/scipy_*.py and scipy_laws."""
    assert hasattr(oracles, family.__name__)


def test_oracles_are_independent():
    for file in Path(oracles.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [m for m in modules if m.split(".")[0] == "ancestral"]


@pytest.mark.parametrize("case", DENSE, ids=str)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 2e-6), (torch.float64, 2e-15)],
    ids=["single", "double"],
)
def test_log_density_is_the_oracles(case, dtype, tolerance):
    """In units of rounding: relative to the largest number that enters the formula."""
    law, wanted = case.law(dtype), oracle(case, dtype)
    x = law.sample(batch_n=200)[law.var[0]]
    if not hasattr(law.moves, "values"):
        x, support = torch.cat([x, 30 * x, 0.03 * x, 0 * x]), law.support(law.params(()))
        rows = slice(None) if support is None else support.holds(x).flatten(1).all(1)
        x = x[rows]  # the tails too
    found = law.get_log_prob({law.var[0]: x}, sum_features=False)
    assert found.dtype == dtype
    exact = wanted.log_density(x.double().numpy() if x.is_floating_point() else x.numpy())
    held = np.abs(exact) < torch.finfo(dtype).max
    found, exact = found.double().numpy()[held], exact[held]
    np.testing.assert_allclose(found, exact, rtol=40 * tolerance, atol=tolerance)


@pytest.mark.parametrize("case", DENSE, ids=str)
def test_moments_are_the_oracles(case):
    law, wanted = case.law(), oracle(case)
    if hasattr(law.moves, "entropy_of"):
        np.testing.assert_allclose(
            law.get_entropy()[0].numpy(), np.sum(wanted.entropy), rtol=1e-12
        )
        each = law.get_entropy(sum_features=False)[0]
        np.testing.assert_allclose(each.numpy(), wanted.entropy, rtol=1e-12)
    if hasattr(law.moves, "mean_of"):
        np.testing.assert_allclose(law.sample_mean()[0].numpy(), wanted.mean, rtol=1e-12)
    if hasattr(law.moves, "variance_of"):
        np.testing.assert_allclose(law.sample_variance()[0].numpy(), wanted.variance, rtol=1e-12)


@pytest.mark.parametrize(
    "case", [c for c in DENSE if closed_kl(c.law(), c.law()) is not None], ids=str
)
def test_divergences_are_the_oracles(case):
    q, wanted = case.law(), oracle(case)
    flipped = case.other()
    found = KullbackLeibler(q, flipped.law(name="r")).eval()
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.item(), wanted.kl(oracle(flipped)).sum(), rtol=1e-9)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_law_is_pickled(case):
    law = case.build()
    twin = pickle.loads(pickle.dumps(law))
    assert repr(twin) == repr(law)
    assert [f.law.constants() for f in twin.factors] == [f.law.constants() for f in law.factors]
    assert torch.equal(answer(case, twin), answer(case, law))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_state_goes_through_safetensors(case, tmp_path):
    """Every value comes back, also those that a law and its part share."""
    law, twin = case.build(), case.build()
    for tensor in (*torch.nn.Module.parameters(twin), *twin.buffers()):
        tensor.data.fill_(0.5)
    save_model(law, str(tmp_path / "law.safetensors"))
    load_model(twin, tmp_path / "law.safetensors")
    assert torch.equal(answer(case, twin), answer(case, law))


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if has_density_and_draws(c) and not issubclass(c.family, Sequence)],
    ids=str,
)
def test_density_is_mapped_over_rows(case):
    """``torch.func.vmap`` over values is the density of a batch; sequences have that of steps."""
    law = case.law()
    x, params = law.sample(batch_n=3)[law.var[0]], law.params(())
    found = torch.func.vmap(lambda v: law.moves.log_density(v, **params))(x)
    torch.testing.assert_close(found, law.moves.log_density(x, **params), rtol=1e-12, atol=1e-12)


FIRST = [cases_of(family)[0] for family in members()]
DRAWS = [(case, "draw") for case in FIRST if has_draws(case)]
DENSITIES = [(c, "density") for c in FIRST if all(f.law.has_density for f in c.build().factors)]


def _loss(case: LawCase, what: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """The draw or the density of a law as a loss, with what it is given."""
    law = case.build().double() if case.composite or not is_law(case) else case.law()
    given = {k: v.double() for k, v in case.inputs(law).items()}
    if what == "draw":
        total = Function(lambda x: x.to(torch.float64).flatten(1).sum(-1), name="total")
        return E(law, total(values(law.var[0]))), given
    if has_draws(case):
        drawn = law.sample(given, **({} if given else {"batch_n": 2}))
        return law.log_prob(), {**given, **{v: drawn[v] for v in law.var}}
    size = law.features_shape
    x = torch.linspace(-0.8, 1.1, 2 * size.numel(), dtype=torch.float64)
    return law.log_prob(), {**given, law.var[0]: x.reshape(2, *size)}


@pytest.mark.usefixtures("compiler_is_imported")
@pytest.mark.parametrize(("case", "what"), [*DRAWS, *DENSITIES], ids=str)
def test_steps_are_one_graph(case, what, caplog):
    """Under ``torch.compile(fullgraph=True)``, equal to the plain step. A law whose noise depends
    on its parameters refuses with a typed error; a simulator seeds its program, which no graph can
    hold: it runs as it is, and the log says so.
    """
    loss, given = _loss(case, what)
    torch._dynamo.reset()
    counters.clear()
    function, plain, found = loss.function(compile="eager"), loss.function(), []
    refusal = ""
    try:
        with torch.no_grad():
            function(given)  # by the interpreter; this makes the step
    except OptionError as error:
        refusal = str(error)
    if refusal:
        assert what == "draw"
        assert "drawn by rejection" in refusal
        return
    with torch.no_grad():
        plain(given)
        for step in (function, plain):
            torch.manual_seed(0)
            found.append(step(given))
    assert torch.equal(*found)
    told = [r.getMessage() for r in caplog.records if r.name == "ancestral"]
    if case.family is Simulator:
        assert "running without compilation" in told[0]
        return
    assert not told
    assert counters["stats"]["unique_graphs"] == 1
