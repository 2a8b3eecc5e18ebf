r"""Persistent contrastive divergence: chains over an energy that go on where they ended.

.. math::
    \nabla \log p(x) \approx -\nabla E(x) + E_{x^-}[\nabla E(x^-)], \qquad
    x^- = \text{k steps from an entry of the buffer}

Chains that were not forgotten are near :math:`p` after few steps, as the energy changes slowly: the
gradient is biased, but not towards the data as that of contrastive divergence is.

Sources: Tieleman, Training restricted Boltzmann machines using approximations to the likelihood
gradient (2008); the buffer: Du and Mordatch, Implicit generation and modeling with energy-based
models (2019), section 3.2.
"""

from dataclasses import dataclass
from typing import ClassVar

from ancestral.core.errors import OptionError
from ancestral.estimators.contrastive_divergence import ChainPlan


@dataclass(frozen=True)
class PersistentCD(ChainPlan):
    """Chains that start at entries of a replay buffer, which takes up where they end.

    The buffer is state of the model: it is saved with it, moves with it, and is in
    ``model.state``. Before the first step it is drawn from the law's ``initial=``. Each step takes
    as many different entries as the batch has rows, by chance.

    Args:
        sampler: The chains.
        buffer: How many chains are kept.
        reinit: The probability that a chain starts anew from ``initial=``; Du and Mordatch take
            0.05.

    Raises:
        OptionError: If the sampler is none, the buffer has no entry, or ``reinit`` is no
            probability; in a loss if the law has conditions.

    Example:
        >>> import torch
        >>> from ancestral.distributions import EmpiricalDistribution, EnergyModel
        >>> from ancestral.losses import E
        >>> from ancestral.models import Model
        >>> from ancestral.samplers import Langevin
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1))
        >>> p = EnergyModel(var=["x"], net=net)
        >>> ml = E(EmpiricalDistribution(["x"]), p.log_prob())
        >>> plan = PersistentCD(Langevin(steps=20), buffer=100)
        >>> model = Model(loss=-ml.estimate({p: plan}))
        >>> value = model.train({"x": torch.randn(16, 2)})
        >>> model.state["p(x).buffer"].shape
        torch.Size([100, 2])
    """

    start: ClassVar[str] = "buffer"
    buffer: int = 10_000
    reinit: float = 0.0

    def __post_init__(self) -> None:
        """Raise if an option has no meaning."""
        super().__post_init__()
        whole = isinstance(self.buffer, int) and not isinstance(self.buffer, bool)
        if not whole or self.buffer < 1:
            raise OptionError(f"PersistentCD(buffer={self.buffer!r}): give a whole number >= 1.")
        number = isinstance(self.reinit, (int, float)) and not isinstance(self.reinit, bool)
        if not number or not 0.0 <= self.reinit <= 1.0:
            raise OptionError(f"PersistentCD(reinit={self.reinit!r}): a probability, e.g. 0.05.")
