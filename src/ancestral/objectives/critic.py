r"""A discriminator of two laws, as the terms that adversarial objectives are made of.

Its logit :math:`d(x)` is the output of a function or network; a law :math:`d(r|x)` of Bernoulli
gives it as :math:`\log d(r{=}1|x) - \log d(r{=}0|x)`; a deterministic law :math:`d(t|x)` gives the
probability :math:`t`, as Pixyz writes discriminators. With the best discriminator the logit is
:math:`\log p(x)/q(x)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ancestral.core.errors import OptionError, VariableError
from ancestral.core.names import listing
from ancestral.distributions import Bernoulli, Deterministic, Distribution
from ancestral.losses import E, Function, Node, Value
from ancestral.losses.adversarial import Adversarial, Inner

LEAST = 1e-37  # of a probability: where its logarithm would be -inf, it is -85 without a gradient


@dataclass(frozen=True)
class Critic:
    """A discriminator that compares two laws over the same variables.

    Args:
        p: The first law.
        q: The second law.
        discriminator: A ``Function`` or network that returns logits, a law of Bernoulli, or a
            deterministic law of a probability.
        patches: Whether it returns several logits for a row, whose terms are averaged.

    Raises:
        VariableError: If the laws are over different variables, or it asks for others.
        OptionError: If the discriminator is of no such kind.
    """

    p: Distribution
    q: Distribution
    discriminator: Any
    patches: bool = False

    def __post_init__(self) -> None:
        for law in (self.p, self.q):
            if not isinstance(law, Distribution):
                raise OptionError(
                    f"an adversarial loss compares two laws, got a {type(law).__name__}."
                )
        if set(self.p.var) != set(self.q.var):
            raise VariableError(
                f"{self.p.prob_text} and {self.q.prob_text} are over different variables: "
                f"{listing(self.p.var)} and {listing(self.q.var)}. Rename one: "
                f"{self.q.name}.replace_var({self.q.var[0]}={self.p.var[0]!r})."
            )
        d = self.discriminator
        if isinstance(d, nn.Module) and not isinstance(d, Distribution):
            object.__setattr__(self, "discriminator", Function(d, name="d"))
        elif isinstance(d, Distribution):
            self._check_law(d)
        elif not isinstance(d, Function):
            raise OptionError(
                "discriminator=... takes a Function or network that returns logits, a Bernoulli "
                f"law or a Deterministic one, got {type(d).__name__}."
            )

    def _check_law(self, d: Distribution) -> None:
        kinds = (Bernoulli, Deterministic)
        if len(d.factors) != 1 or not isinstance(d.factors[0].law, kinds) or len(d.var) != 1:
            raise OptionError(
                f"discriminator={d.prob_text}: give a Bernoulli law of one variable, or a "
                "Deterministic one that returns a probability."
            )
        unknown = [c for c in d.cond_var if c not in self.p.var]
        if unknown:
            raise VariableError(
                f"discriminator={d.prob_text} is given {listing(unknown)}, which "
                f"{self.p.prob_text} and {self.q.prob_text} do not draw."
            )

    @property
    def name(self) -> str:
        """How it prints."""
        return str(self.discriminator.name)

    # -- terms ----------------------------------------------------------------------------------
    def real(self, law: Distribution) -> Node:
        r""":math:`E[\log \sigma(d(x))]`, the log probability that a draw is the first law's."""
        return self._under(law, lambda d: d.sigmoid().log(), 1, lambda t: _log(t))

    def fake(self, law: Distribution) -> Node:
        r""":math:`E[\log (1 - \sigma(d(x)))]`, that it is the second's."""
        return self._under(law, lambda d: (1 - d.sigmoid()).log(), 0, lambda t: _log(1 - t))

    def logit(self, law: Distribution) -> Node:
        r""":math:`E[d(x)]`, which estimates :math:`E[\log p(x)/q(x)]`."""
        if self._is_bernoulli:
            return self.real(law) - self.fake(law)
        return self._under(law, lambda d: d, 1, lambda t: _log(t) - _log(1 - t))

    def score(self, law: Distribution, term: Callable[[Node], Node] = lambda d: d) -> Node:
        r""":math:`E[f(d(x))]` of an output that is any number.

        Raises:
            OptionError: If the discriminator is a law of Bernoulli.
        """
        if self._is_bernoulli:
            raise OptionError(
                f"discriminator={self.discriminator.prob_text}: here its output is any number, no "
                "probability. Give a Function, a network, or a Deterministic law."
            )
        return self._under(law, term, 1, term)

    @property
    def _is_bernoulli(self) -> bool:
        d = self.discriminator
        return isinstance(d, Distribution) and isinstance(d.factors[0].law, Bernoulli)

    def _under(
        self, law: Distribution, of_logit: Any, label: int, of_output: Callable[[Node], Node]
    ) -> Node:
        """A term under a law, averaged over its rows."""
        d, patches = self.discriminator, self.patches
        if isinstance(d, Function):
            body = of_logit(d(*(Value(v) for v in self.p.var)))
        elif self._is_bernoulli:
            body = d.log_prob().constant_var({d.var[0]: label})
        else:
            law, body, patches = d * law, of_output(Value(d.var[0])), True
        if patches:
            body = Function(over_patches, name="mean")(body)
        term = E(law, body)
        return term.mean() if law.cond_var else term

    # -- the objective --------------------------------------------------------------------------
    def objective(
        self,
        symbol: str,
        value: Node,
        dual: Node,
        optimizer: Any,
        optimizer_params: Any,
        clip_weights: float | None = None,
    ) -> Adversarial:
        """The node that stands for a value, and carries the discriminator's player."""
        d = self.discriminator
        if isinstance(d, Function) and not isinstance(d.net, nn.Module):
            over: tuple[Any, ...] = ()
        else:
            over = (d,)
        inner = Inner(self.name, dual, over, optimizer, dict(optimizer_params or {}), clip_weights)
        return Adversarial(symbol, self.p, self.q, value, inner)


def _log(probability: Node) -> Node:
    """Of a probability that may have rounded to 0."""
    return probability.clamp(min=LEAST).log()


def over_patches(terms: Tensor) -> Tensor:
    """The mean of a row's terms, ``(B, *patches)`` to ``(B,)``."""
    return terms.flatten(1).mean(1)
