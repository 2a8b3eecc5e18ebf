"""``python -m ancestral.distributions.kl``: the table is what the lookup says."""

import subprocess
import sys

from ancestral.distributions import Gamma, Laplace, Normal
from ancestral.distributions.closed_forms import closed_entropy, closed_kl
from ancestral.distributions.kl import families, pairs, rows, table
from tests.contracts.test_distributions import elementary


def test_every_law_is_in_the_table():
    assert set(families()) == {f for f in elementary() if f.domains}
    closed, _, _ = table().partition("\n\n")
    assert len(closed.splitlines()) == 1 + len(families())


def test_every_conjugate_pair_is_in_the_table():
    """Looked up law by law they are what the families list."""
    listed = {
        (f.__name__, prior.__name__) for f in families() for prior in vars(f).get("conjugate", {})
    }
    found = pairs(families())
    assert {(likelihood, prior) for likelihood, _, prior in found} == listed
    assert ("Bernoulli", "probs", "Beta") in found
    assert len(table().partition("\n\n")[2].splitlines()) == 1 + len(found)


def test_table_is_what_the_lookup_says():
    laws = [Gamma, Laplace, Normal]
    for name, entropy, others in rows(laws):
        q = next(f(**f.examples()[0]) for f in laws if f.__name__ == name)
        assert entropy == (closed_entropy(q) is not None)
        for f in laws:
            assert (f.__name__ in others) == (closed_kl(q, f(**f.examples()[0])) is not None)


def test_table_is_printed():
    command = [sys.executable, "-m", "ancestral.distributions.kl"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == table()
    assert done.stderr == ""
