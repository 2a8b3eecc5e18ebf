r"""The pathwise derivative, :math:`\nabla E_q[f] = E_\epsilon[\nabla f(z(\epsilon))]`.

It holds where :math:`f` is continuous: a jump of :math:`f`, such as a step or a rounding inside of
it, has no derivative to pass on, so that the gradient lacks what the jump adds. Nothing shows that
from outside; take :class:`Score` or :class:`MeasureValued` there.

Source: Kingma and Welling, Auto-Encoding Variational Bayes (2014), section 2.4.
"""

from dataclasses import dataclass

from ancestral.estimators.base import Estimator


@dataclass(frozen=True)
class Pathwise(Estimator):
    """Differentiate through the draw; the default wherever the law allows it."""
