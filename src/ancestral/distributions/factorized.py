r"""The product of a law's marginals, :math:`\prod_j q(z_j)`, drawn from the rows of a batch.

Entry j of a row is taken from row :math:`i + s_j \bmod B`, with shifts :math:`s_j` that are
different and drawn at random. Its entries then come from different rows, so that they are
independent, and each is a draw of its marginal: the estimate is unbiased. Permuting the rows of
each column anew, as FactorVAE does, may take two entries from one row.

Source: Kim and Mnih, Disentangling by factorising (2018), section 3.
"""

from typing import TYPE_CHECKING

from ancestral.core.errors import VariableError
from ancestral.distributions.law import Law

if TYPE_CHECKING:
    from ancestral.distributions.base import Distribution


class _Factorized(Law):
    """The law of rows whose entries are taken from different rows of another law's draws."""

    is_random = False
    has_density = False
    reparametrised = True

    def __init__(self, inner: "Distribution") -> None:
        super().__init__(inner.var, inner.cond_var, inner.name, None, None, {})
        self.inner = inner

    @property
    def rearranged(self) -> "Distribution":  # type: ignore[override]
        """The law whose draws are taken apart."""
        return self.inner


def factorized(dist: "Distribution") -> Law:
    r"""The law of independent entries with the marginals of a law of one variable.

    Args:
        dist: The law, often an aggregate over data: ``(q * p_data).marginalize_var("x")``.

    Raises:
        VariableError: If it is a law of several variables.
    """
    if len(dist.var) != 1:
        raise VariableError(
            f"{dist.prob_text}.factorized(): take the marginal of one variable first, with "
            "marginalize_var(...)."
        )
    return _Factorized(dist)
