r"""Mixtures of joint laws, as what an expectation is over.

.. math:: E_{\sum_k w_k\,p_k(x,y)}[f] = \sum_k w_k\,E_{p_k(x,y)}[f]

The sum is exact over the components: none is drawn, and no density of them is asked, so that they
may be products over data of their own, and implicit. Triple-GAN (Li et al., 2017, eq. 3) is over
:math:`\alpha\,p_c(x,y) + (1-\alpha)\,p_g(x,y)`.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from torch import Tensor, nn

from ancestral.core.errors import ParameterError, VariableError
from ancestral.core.names import listing
from ancestral.distributions.base import Distribution, prob_text


class JointMixture:
    r"""A mixture of laws over the same variables, which an expectation may be over.

    ``MixtureModel`` builds it of components that are products, implicit laws or flows over several
    variables. It is the sentence and no law: ``E(fake, f)`` is the weighted sum of expectations,
    and prints so.

    Args:
        distributions: The components, over the same variables; their order may differ.
        weights: Their probabilities, constants with sum 1.
        name: How it prints.

    Raises:
        ParameterError: If the weights are no constants with sum 1, one for each component.
        VariableError: If components are over different variables.

    Example:
        >>> from ancestral.distributions import MixtureModel, Normal
        >>> from ancestral.losses import E, values
        >>> a, b = (Normal(loc=m, scale=1.0, name=n) for m, n in ((0.0, "p_a"), (1.0, "p_b")))
        >>> y = Normal(var=["y"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> fake = MixtureModel([y * a, y * b], weights=[0.25, 0.75])
        >>> str(E(fake, values("y")))
        '0.25 E_{q(y|x)p_a(x)}[y] + 0.75 E_{q(y|x)p_b(x)}[y]'
    """

    def __init__(
        self, distributions: Sequence[Distribution], weights: Any, name: str = "p"
    ) -> None:
        self.parts = tuple(distributions)
        self.name = name
        self.weights = _constants(weights, len(self.parts))
        first = self.parts[0]
        for part in self.parts:
            if {*part.var} != {*first.var}:
                raise VariableError(
                    "MixtureModel: the components are over different variables: "
                    f"{first.prob_text} and {part.prob_text}. Rename them with replace_var(...)."
                )

    @property
    def var(self) -> list[str]:
        """The variables that every component is over."""
        return list(self.parts[0].var)

    @property
    def cond_var(self) -> list[str]:
        """The conditions of all components."""
        return list(dict.fromkeys(c for part in self.parts for c in part.cond_var))

    @property
    def prob_text(self) -> str:
        """``p(x,y)``, as a message refers to it."""
        return prob_text(self.name, self.var, self.cond_var)

    def replace_var(self, **renaming: str) -> "JointMixture":
        """The same mixture with variables renamed in each component that has them."""
        known = {v for part in self.parts for v in (*part.all_var, *part.cond_var)}
        if not {*renaming} <= known:
            raise VariableError(
                f"{self.prob_text} has no variable {listing(sorted({*renaming} - known))} to "
                f"rename; it has {listing(sorted(known))}."
            )

        def renamed(part: Distribution) -> Distribution:
            own = {*part.all_var, *part.cond_var}
            return part.replace_var(**{k: v for k, v in renaming.items() if k in own})

        return self._each(renamed)

    def detach(self) -> "JointMixture":
        """The same mixture with gradients to its components' parameters cut."""
        return self._each(lambda part: part.detach())

    def _each(self, change: Callable[[Distribution], Distribution]) -> "JointMixture":
        return JointMixture([change(part) for part in self.parts], self.weights, self.name)

    def expectation(self, of: Callable[[Distribution], Any]) -> Any:
        """The weighted sum of what each component gives."""
        terms = [w * of(part) for w, part in zip(self.weights, self.parts, strict=True)]
        return functools.reduce(lambda a, b: a + b, terms)

    def __repr__(self) -> str:
        """The mixture as a sum."""
        written = (
            f"{w:g} {''.join(f.text for f in part.factors)}"
            for w, part in zip(self.weights, self.parts, strict=True)
        )
        return f"{self.prob_text} = {' + '.join(written)}"

    def __getattr__(self, name: str) -> NoReturn:
        """Only words that it does not have come here: say what it is for."""
        raise AttributeError(
            f"a mixture of joint laws has no {name!r}: it is what an expectation is over, "
            "E(fake, f), the weighted sum of those over its components. Draw from a component, or "
            "take its density, by itself; they are in .parts. A mixture of laws of one variable "
            "with densities has both."
        )


def _constants(weights: Any, count: int) -> tuple[float, ...]:
    """The weights as numbers."""
    if isinstance(weights, nn.Parameter):
        raise ParameterError(
            "MixtureModel: weights= of a mixture of joint laws are constants. To train them write "
            "the sum of expectations, a * E(p_0, f) + (1 - a) * E(p_1, f)."
        )
    found = weights.tolist() if isinstance(weights, Tensor) else list(weights)
    numbers = [isinstance(w, (int, float)) and not isinstance(w, bool) for w in found]
    if len(found) != count or not all(numbers):
        raise ParameterError(
            f"MixtureModel: weights={weights!r} for {count} components. Give one number for each."
        )
    if min(found) < 0 or not math.isclose(math.fsum(found), 1.0, abs_tol=1e-6):
        raise ParameterError(f"MixtureModel: weights={found} are no probabilities with sum 1.")
    return tuple(map(float, found))
