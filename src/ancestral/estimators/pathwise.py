r"""The pathwise derivative, :math:`\nabla E_q[f] = E_\epsilon[\nabla f(z(\epsilon))]`.

Source: Kingma and Welling, Auto-Encoding Variational Bayes (2014), section 2.4.
"""

from dataclasses import dataclass

from ancestral.estimators.base import Estimator


@dataclass(frozen=True)
class Pathwise(Estimator):
    """Differentiate through the draw; the default wherever the law allows it."""
