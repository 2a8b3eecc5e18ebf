"""report.html of a run says the equation, graph, program and text of what ran."""

import dataclasses
import re
from html import unescape

import pytest
import torch

from ancestral.cli.train import Options, run_config, run_page
from ancestral.data import digits
from ancestral.losses import E
from ancestral.models import Model, Recipe
from ancestral.report import MetricsWriter, write_page
from ancestral.zoo.vae import vae

OPTIONS = Options("vae", "digits", None, "binary", 1, 64, 0, "cpu", "float32", None, True)


def iwae() -> Recipe:
    """The zoo's VAE with its equation replaced."""
    recipe = vae(hidden=(8,), latent=2)
    p, q = recipe.generative, recipe.posterior
    bound = E(q.iid(k=5), (p.log_prob() - q.log_prob()).exp().mean("k").log())
    laws = list(recipe.model.distributions)
    model = Model(loss=-bound.mean(), distributions=laws, optimizer=torch.optim.Adam)
    return dataclasses.replace(recipe, model=model, objective=bound)


def report(recipe: Recipe, folder) -> str:
    data = digits()
    with MetricsWriter(folder / "metrics.jsonl") as metrics:
        metrics.write("epoch", epoch=1, loss=30.0, validation=31.0)
    config = run_config(OPTIONS, data, torch.device("cpu"))
    write_page(run_page(recipe, data, config, [], {}, folder), folder / "report.html")
    return unescape((folder / "report.html").read_text("utf-8"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return {
        make.__name__: report(make(), tmp_path_factory.mktemp(make.__name__))
        for make in (vae, iwae)
    }


def test_the_equation_is_the_one_that_ran(pages):
    elbo = "E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p(z)]"
    bound = "E_{z_1..z_5 ~ q(z|x)}[log((1/5) Σ_k exp(log p(x,z_k) - log q(z_k|x)))]"
    assert elbo in pages["vae"]
    assert bound in pages["iwae"]
    assert elbo not in pages["iwae"]
    assert "<munderover>" in pages["iwae"]
    assert "<mi>KL</mi>" in pages["vae"]
    assert "<mi>KL</mi>" not in pages["iwae"]
    assert "p(x,z) = p(x|z)p(z)" in pages["iwae"]  # the laws


def test_the_graph_is_the_one_that_ran(pages):
    for page in pages.values():
        assert page.count('class="edge generative"') == page.count('class="edge inference"') == 1
    assert ">k = 1…5<" in pages["iwae"]
    assert ">k = 1…5<" not in pages["vae"]


def test_program_and_source_are_those_that_ran(pages):
    for page, steps in ((pages["vae"], "closed form"), (pages["iwae"], "logmeanexp")):
        program, source = re.search(
            r"lowers to</summary><pre>(.*?)</pre>.*that ran</summary><pre>(.*?)</pre>", page, re.S
        ).groups()
        assert steps in program
        assert "def " in source
    assert "closed form" not in pages["iwae"]
