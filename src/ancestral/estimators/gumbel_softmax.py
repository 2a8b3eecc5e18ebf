r"""Gumbel-softmax: a discrete draw is replaced by its relaxation, in the value and in the gradient.

With Gumbel noise :math:`g_k` and a temperature :math:`\tau`,

.. math:: \tilde z = \mathrm{softmax}\left((\log\pi + g) / \tau\right), \qquad
    E_{q(z)}[f(z)] \approx E_g[f(\tilde z)]

(of a Bernoulli law the logistic function of its log odds plus logistic noise). The right side has a
pathwise derivative, and another value: what is optimised is a neighbour of the objective, which it
becomes as :math:`\tau` falls to 0, while the variance of the gradient grows. Both are **biased**,
and print so; :class:`StraightThrough` keeps the value, :class:`REBAR` value and gradient.

Densities of Bernoulli and one-hot categorical laws are taken at :math:`\tilde z` as they are
written, :math:`\sum_k \tilde z_k \log\pi_k`, the linear function through their values; closed forms
stay those of the discrete laws.

Source: Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax (2017), eq. 2;
Maddison, Mnih and Teh, The Concrete Distribution (2017), eq. 10.
"""

from dataclasses import dataclass
from typing import ClassVar

from ancestral.estimators.base import Estimator, check_temperature


@dataclass(frozen=True)
class GumbelSoftmax(Estimator):
    """Relaxed values in place of discrete ones, forward and back: biased in both.

    Args:
        temperature: Of the relaxation, positive.
        draws: How many draws estimate the expectation.

    Raises:
        OptionError: If the temperature is no positive number; in a loss, if the law has no
            relaxation.
        SupportError: At the first batch, if the loss asks for the density of a relaxed value by a
            law that has none between its own values.

    Example:
        >>> import torch
        >>> from ancestral.distributions import Categorical
        >>> from ancestral.losses import E, Function, values
        >>> q = Categorical(logits=torch.nn.Parameter(torch.zeros(3)), var=["z"], name="q")
        >>> first = Function(lambda z: z[:, 0], name="first")
        >>> loss = E(q, first(values("z"))).estimate({q: GumbelSoftmax(0.5)})
        >>> print(str(loss.program()).splitlines()[1])
        z   ~ q(z), relaxed at temperature 0.5 (biased)  (n)  -> t1
    """

    how: ClassVar[str] = "relaxed"
    biased: ClassVar[bool] = True
    temperature: float = 1.0

    def __init__(self, temperature: float = 1.0, draws: int | None = None) -> None:
        object.__setattr__(self, "temperature", temperature)
        object.__setattr__(self, "draws", draws)
        self.__post_init__()
        check_temperature(self)
