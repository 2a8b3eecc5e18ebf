r"""The closed set of nodes, divergences that a discriminator estimates.

In a sum such a node stands for the value of the player who minimises it. It carries the player who
trains the discriminator as data: a model adds that player to its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch

from ancestral.core.errors import TrainingError
from ancestral.distributions import Distribution
from ancestral.losses.node import Neg, Node


@dataclass(frozen=True)
class Inner:
    """The player whom an adversarial loss carries: a discriminator that maximises an objective.

    Args:
        name: Of the discriminator.
        objective: What it maximises.
        over: What is trained.
        optimizer: As in a model.
        optimizer_params: Its options.
        clip_weights: Largest absolute value of a trained weight.
    """

    name: str
    objective: Node
    over: tuple[Any, ...]
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam
    optimizer_params: Mapping[str, Any] = field(default_factory=dict)
    clip_weights: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Adversarial(Node):
    """A divergence of two laws by a discriminator; made by a function of ``objectives``.

    Args:
        symbol: How it prints: ``JS``, ``KL``, ``W``.
        p: The first law.
        q: The second law.
        value: What it stands for in a sum: what the player who trains the laws minimises.
        inner: The player who trains the discriminator.
    """

    symbol: str
    p: Distribution
    q: Distribution
    value: Node
    inner: Inner

    def dual(self) -> Node:
        """What the discriminator maximises."""
        return self.inner.objective

    def eval(self, x_dict: Any = None, *, discriminator: bool = False, **options: Any) -> Any:
        """The value at given data; see ``Loss.eval``.

        Args:
            x_dict: Values of ``input_var``.
            discriminator: The discriminator's loss in its place: minus :meth:`dual`.
            options: Those of ``Loss.eval``.
        """
        if discriminator:
            return Neg(self.dual()).eval(x_dict, **options)
        return super().eval(x_dict, **options)

    def loss_train(self, *args: Any, **options: Any) -> NoReturn:
        """A word of Pixyz; here a model trains the discriminator.

        Raises:
            TrainingError: With the two lines that stand in its place.
        """
        raise TrainingError(
            f"{self}.loss_train: a loss is an equation and owns no optimizer. A model trains its "
            "discriminator too, before the laws:\n"
            "    model = Model(loss=loss, distributions=[...])  # the laws, without it\n"
            "    model.train({...})"
        )

    def loss_test(self, *args: Any, **options: Any) -> NoReturn:
        """A word of Pixyz; here the discriminator's loss has a value like any other.

        Raises:
            TrainingError: With the line that stands in its place.
        """
        raise TrainingError(
            f"{self}.loss_test: the discriminator's loss is loss.eval({{...}}, discriminator=True)."
        )
