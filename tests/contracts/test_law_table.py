"""The golden table of laws and checks: each is run, or what it asks of a law is refused.

``tests/golden/laws.txt`` has one line for each law and check, and for each function that a law may
have. A check that a law does not run shows in the diff. The refusals are errors with a type of
their own, which checks of the contract ask for: absent functions, draws, densities, gradients of
draws. ``python -m tests.contracts.test_law_table
--write`` rewrites the table.
"""

import sys
from pathlib import Path
from typing import Any

from ancestral.distributions import Sequence
from ancestral.testing import LAW_CHECKS, cases_of
from ancestral.testing.case import has_move, is_reparametrised
from tests.contracts.test_distributions import members

TABLE = Path(__file__).parents[1] / "golden" / "laws.txt"
FUNCTIONS = ("log_density", "log_cdf", "log_sf", "icdf", "mean_of", "variance_of", "entropy_of")


def lines(family: type[Any]) -> list[str]:
    """What is run of a law, and what is refused."""
    cases = cases_of(family)
    laws = [case.build() for case in cases]
    answers = {
        name: any(check.applies(case) for case in cases) for name, check in LAW_CHECKS.items()
    }
    answers |= {
        which.removesuffix("_of").replace("_", " "): any(_has(q, which) for q in laws)
        for which in FUNCTIONS
    }
    answers["gradient of a draw"] = any(is_reparametrised(case) for case in cases)
    return [f"{family.__name__}: {k}: {'ran' if v else 'refused'}" for k, v in answers.items()]


def _has(law: Any, which: str) -> bool:
    """Laws of sequences have the density of their steps, others a function or a move."""
    whole = which == "log_density" and any(
        f.law.density_net or isinstance(f.law, Sequence) for f in law.factors
    )
    return whole or has_move(law, which)


def table() -> str:
    """The whole table."""
    families = sorted(members(), key=lambda family: family.__name__)
    return "\n".join(line for family in families for line in lines(family)) + "\n"


def test_table_is_the_golden_one():
    """``make golden`` rewrites it; read the diff."""
    assert table() == TABLE.read_text("utf-8")


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    TABLE.write_text(table(), "utf-8")
