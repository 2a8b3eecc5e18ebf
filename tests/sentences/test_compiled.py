"""Sentences over the rows of a batch, and over subsets, make one graph under torch.compile."""

import pytest
import torch

from ancestral.losses import E, sqnorm, values
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
