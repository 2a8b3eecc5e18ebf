"""Sentences over the rows of a batch, over subsets and over time make one graph under
torch.compile.
"""

import logging

import pytest
import torch

from ancestral.losses import E, sqnorm, values
from tests.distributions import test_sequence_law as recurrent
from tests.sentences import test_04_dmm as dmm
from tests.sentences import test_06_multimodal as multimodal
from tests.sentences import test_09_mmd as mmd
from tests.sentences import test_12_atoms as atoms


def _mmd():
    laws = mmd.Laws()
    return laws.written_out(), {"x": laws.x}


def _factorized():
    laws = mmd.Laws()
    return E(laws.aggregate.factorized(), sqnorm(values("z"))), {"x": laws.x}


def _subsets():
    laws = multimodal.Laws()
    return laws.mvae().mean(), laws.batch


def _atoms():
    laws = atoms.Laws()
    return laws.atomic().mean(), laws.batch


@pytest.mark.usefixtures("compiler_is_imported")
@pytest.mark.parametrize("sentence", [_mmd, _factorized, _subsets, _atoms])
def test_one_graph(sentence):
    loss, batch = sentence()
    found = []
    for function in (loss.function(), loss.function(compile="eager")):
        function(batch)  # the interpreter; what is generated follows
        torch.manual_seed(0)
        found.append(function(batch).detach())
    torch.testing.assert_close(*found)


def _dmm():
    model = dmm.Model(dmm.Join(dmm.PIXELS, dmm.H))  # torch compiles no nn.GRU
    return -model.dmm.mean(), model.modules, model.batch, {"z": dmm.D}


def _vrnn():
    m = recurrent.VRNN()
    batch = lambda steps: {"x": torch.randn(recurrent.ROWS, steps, recurrent.D).double()}  # noqa: E731
    modules = [m.cell, m.pz, m.px, m.qz, torch.nn.ParameterList([m.h0])]
    return -E(m.q, m.p.log_prob() - m.q.log_prob()).mean(), modules, batch, {"z": m.Z}


@pytest.mark.usefixtures("compiler_is_imported")
@pytest.mark.parametrize("sentence", [_dmm, _vrnn])
def test_sequences_are_one_graph_of_their_length(sentence, caplog):
    """Value and gradient with the same noise are those that run as they are, at each length."""
    loss, modules, make, sizes = sentence()
    weights = [p for m in modules for p in m.parameters()]
    plain, compiled = loss.function(), loss.function(compile="eager")
    with caplog.at_level(logging.WARNING):
        for steps in (4, 4, 6):
            batch = make(steps)
            noise = {k: torch.randn(len(batch["x"]), steps, d).double() for k, d in sizes.items()}
            found = [f(batch, noise=noise) for f in (plain, compiled)]
            torch.testing.assert_close(*found)
            slopes = (torch.autograd.grad(v, weights) for v in found)
            torch.testing.assert_close(*slopes)
    assert "without compilation" not in caplog.text
