r"""Contrastive divergence: chains over an energy that start at the data.

.. math::
    \nabla \log p(x) \approx -\nabla E(x) + \nabla E(x^-), \qquad x^- = \text{k steps from } x

The mean over :math:`x^-` is under where the chains end, not under p: the gradient is **biased**,
the less so the more steps there are.

Source: Hinton, Training products of experts by minimizing contrastive divergence (2002), section 3.
"""

from dataclasses import dataclass
from typing import ClassVar

from ancestral.core.errors import OptionError
from ancestral.samplers import Sampler


@dataclass(frozen=True)
class ChainPlan:
    """A plan for an energy: which chains draw from it, and where they start.

    It gives ``log_prob()`` of the law its gradient, and no value; an expectation under the law
    is taken where the chains end.
    """

    how: ClassVar[str] = "chain"
    draws: ClassVar[None] = None
    start: ClassVar[str]
    sampler: Sampler

    def __post_init__(self) -> None:
        """Raise if the sampler is none."""
        if not isinstance(self.sampler, Sampler):
            raise OptionError(
                f"{type(self).__name__}({self.sampler!r}): give a sampler, e.g. Langevin(steps=60)."
            )


@dataclass(frozen=True)
class ContrastiveDivergence(ChainPlan):
    """CD-k: chains of a few steps, one from each row of the data.

    Args:
        sampler: The chains, whose ``steps`` are k.

    Raises:
        OptionError: If the sampler is none.

    Example:
        >>> import torch
        >>> from ancestral.distributions import EmpiricalDistribution, EnergyModel
        >>> from ancestral.losses import E
        >>> from ancestral.models import Model
        >>> from ancestral.samplers import Langevin
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1))
        >>> p = EnergyModel(var=["x"], net=net)
        >>> ml = E(EmpiricalDistribution(["x"]), p.log_prob())
        >>> model = Model(loss=-ml.estimate({p: ContrastiveDivergence(Langevin(steps=1))}))
        >>> model.train({"x": torch.randn(16, 2)}).shape
        torch.Size([])
    """

    start: ClassVar[str] = "data"
