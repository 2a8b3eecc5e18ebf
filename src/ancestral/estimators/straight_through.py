r"""The straight-through estimator: the value of a discrete draw with the gradient of a relaxed one.

With the draw written :math:`z = \mathrm{argmax}_k(\log\pi_k + g_k)`, :math:`g_k` Gumbel noise, its
gradient is replaced by that of :math:`\tilde z = \mathrm{softmax}((\log\pi + g)/\tau)`, the same
noise. The value is exact; the gradient is **biased**, and prints so: its bias falls and its
variance grows as the temperature :math:`\tau` does down.

Source: Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax (2017), section 2.2;
Bengio, Leonard and Courville (2013), arXiv:1308.3432.
"""

from dataclasses import dataclass
from typing import ClassVar

from ancestral.estimators.base import Estimator, check_temperature


@dataclass(frozen=True)
class StraightThrough(Estimator):
    """Discrete values forward, the gradient of their relaxation back: biased.

    Args:
        temperature: Of the relaxation, positive.
        draws: How many draws estimate the expectation.

    Raises:
        OptionError: If the temperature is no positive number.

    Example:
        >>> import torch
        >>> from ancestral.distributions import Categorical
        >>> from ancestral.losses import E, Function, values
        >>> q = Categorical(logits=torch.nn.Parameter(torch.zeros(3)), var=["z"], name="q")
        >>> first = Function(lambda z: z[:, 0], name="first")
        >>> loss = E(q, first(values("z"))).estimate({q: StraightThrough(0.5)})
        >>> print(str(loss.program()).splitlines()[1])
        z   ~ q(z), gradient of its relaxation at temperature 0.5 (biased)  (n)  -> t1
    """

    how: ClassVar[str] = "through"
    biased: ClassVar[bool] = True
    temperature: float = 1.0

    def __init__(self, temperature: float = 1.0, draws: int | None = None) -> None:
        object.__setattr__(self, "temperature", temperature)
        object.__setattr__(self, "draws", draws)
        self.__post_init__()
        check_temperature(self)
