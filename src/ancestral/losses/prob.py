"""The closed set of nodes, second part: those that mention laws."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ancestral.core.errors import DensityError, OptionError, VariableError
from ancestral.core.names import as_names, listing
from ancestral.distributions import Distribution
from ancestral.distributions.eager import reads_as_init, refuse_density, refuse_sampling
from ancestral.distributions.joint_mixture import JointMixture
from ancestral.losses.node import Node


def _law(value: Any, where: str) -> Distribution:
    if not isinstance(value, Distribution):
        raise OptionError(f"{where} takes a law, got {type(value).__name__}.")
    return value


def _draws(sample_shape: Any) -> int | None:
    if sample_shape is None:
        return None
    shape = [sample_shape] if isinstance(sample_shape, int) else list(sample_shape)
    if any(not isinstance(n, int) or n < 1 for n in shape):
        raise OptionError(f"sample_shape={sample_shape!r}: give whole numbers >= 1, e.g. [10].")
    return math.prod(shape)


@dataclass(frozen=True, eq=False, repr=False)
class LogProb(Node):
    r"""The log density of a law, :math:`\log p(x|z)`; of a joint law, of all its variables.

    Discrete variables that are integrated out are summed exactly, :math:`\log\sum_z p(x,z)`,
    variable by variable: along a chain at a cost linear in its length.

    Args:
        law: The law.
        mask: The name of a variable S with an entry for each factor of the law: those where it is
            0 are left out, :math:`\sum_i S_i \log p_i`. What stands there may be NaN.

    Raises:
        DensityError: If a factor has no density, or a variable without a list of values is
            integrated out.

    Example:
        >>> from ancestral.distributions import Normal
        >>> str(LogProb(Normal(var=["z"], loc=0.0, scale=1.0)))
        'log p(z)'
    """

    law: Distribution
    mask: str | None = None

    def __post_init__(self) -> None:
        if self.mask is not None:
            as_names([self.mask], "mask")
        refuse_density(_law(self.law, "LogProb"), by_plan=True, summed=self.mask is None)
        refuse_copies(self.law, "log_prob")


@dataclass(frozen=True, eq=False, repr=False)
class Prob(Node):
    """The density of a law, :math:`p(x|z)`."""

    law: Distribution

    def __post_init__(self) -> None:
        refuse_density(_law(self.law, "Prob"), summed=True)
        refuse_copies(self.law, "prob")


def refuse_copies(law: Distribution, where: str) -> None:
    """Raise if the law stands for several copies: they are bound by an expectation."""
    if any(f.copies for f in law.factors):
        raise OptionError(
            f"{where} of {law.prob_text} with iid copies: write the one-copy law inside the "
            "expectation; its variable carries the copies there, E(q.iid(k=K), q.log_prob()...)."
        )


@reads_as_init
@dataclass(frozen=True, eq=False, repr=False, init=False)
class Expectation(Node):
    r"""The expectation of a loss under a law, :math:`E_{q(z|x)}[f]`; the law binds its variables.

    Args:
        law: The law; a joint is drawn factor by factor, parents first. Over a mixture of joint laws
            it is the weighted sum of expectations over its components.
        body: The loss inside. Each mention of a bound variable is the same draw.
        sample_shape: How many draws estimate it: a plan, not part of the equation.
        reparam: ``False`` asks for the score-function gradient where ``True`` is pathwise.
        rows_of: The variable whose rows an unconditional draw follows, where the loss reads two
            data sets: as many are drawn as that has rows, which must be given. A plan too.

    Example:
        >>> from ancestral.distributions import Normal
        >>> q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
        >>> str(Expectation(q, p.log_prob()))
        'E_{q(z|x)}[log p(x|z)]'
    """

    law: Distribution
    body: Node
    draws: int | None
    reparam: bool
    rows_of: str | None

    def __new__(cls, law: Any = None, body: Any = None, *args: Any, **options: Any) -> Any:
        """Over a mixture of joint laws, the weighted sum of those over its components."""
        if isinstance(law, JointMixture):
            return law.expectation(lambda part: cls(part, body, *args, **options))
        return super().__new__(cls)

    def __init__(
        self,
        law: Distribution,
        body: Any,
        sample_shape: int | Sequence[int] | None = None,
        reparam: bool = True,
        *,
        draws: int | None = None,
        rows_of: str | None = None,
    ) -> None:
        object.__setattr__(self, "law", _law(law, "E"))
        refuse_sampling(law)
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "draws", draws if draws is not None else _draws(sample_shape))
        object.__setattr__(self, "reparam", reparam)
        if rows_of is not None and not isinstance(rows_of, str):
            raise OptionError(f"E(..., rows_of={rows_of!r}): give the name of one variable.")
        object.__setattr__(self, "rows_of", rows_of)
        self._coerce("body")


E = Expectation


def _check_pair(symbol: str, q: Distribution, p: Distribution) -> None:
    _law(q, symbol), _law(p, symbol)
    for law in (q, p):
        refuse_density(law, by_plan=True)
        refuse_copies(law, symbol)
    if set(q.var) != set(p.var):
        if set(p.var) & set(q.cond_var):
            raise VariableError(
                f"{symbol}[{q.prob_text} || {p.prob_text}] compares laws of different variables: "
                f"{listing(q.var)} and {listing(p.var)}. Compare {q.prob_text} with a law of "
                f"{listing(q.var)}, e.g. the prior; a term for {p.prob_text} is "
                f"E({q.name}, {p.name}.log_prob())."
            )
        raise VariableError(
            f"{symbol}[{q.prob_text} || {p.prob_text}] compares laws of different variables: "
            f"{listing(q.var)} and {listing(p.var)}. Rename one: "
            f"{p.name}.replace_var({p.var[0]}={q.var[0]!r})."
        )
    if set(q.var) & set(q.cond_var):
        raise DensityError(f"{symbol}: {q.prob_text} is conditioned on its own variable.")


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Comparison(Node):
    """The base of divergences: two laws over the same variables; the first is drawn from."""

    symbol: ClassVar[str]
    q: Distribution
    p: Distribution
    analytical: bool
    draws: int | None

    def __init__(
        self,
        q: Distribution,
        p: Distribution,
        *,
        analytical: bool = True,
        sample_shape: int | Sequence[int] | None = None,
    ) -> None:
        _check_pair(self.symbol, q, p)
        object.__setattr__(self, "q", q)
        object.__setattr__(self, "p", p)
        object.__setattr__(self, "analytical", analytical)
        object.__setattr__(self, "draws", _draws(sample_shape))


@dataclass(frozen=True, eq=False, repr=False, init=False)
class KullbackLeibler(Comparison):
    r"""The Kullback-Leibler divergence :math:`KL[q\|p] = E_q[\log q - \log p]`, in nats.

    Of elementary laws the closed form is used where one is registered, else Monte Carlo; joint
    laws are decomposed by the chain rule.

    Args:
        q: The first law; the expectation is under it.
        p: The second law, over the same variables.
        analytical: ``False`` asks for Monte Carlo: :math:`E_q[\log q - \log p]`.
        sample_shape: How many draws estimate it where there is no closed form.

    Example:
        >>> from ancestral.distributions import Normal
        >>> q = Normal(var=["z"], loc=0.0, scale=1.0, name="q")
        >>> p = Normal(var=["z"], loc=1.0, scale=1.0)
        >>> KullbackLeibler(q, p).eval()
        tensor(0.5000)
    """

    symbol = "KL"


@dataclass(frozen=True, eq=False, repr=False, init=False)
class CrossEntropy(Comparison):
    r"""The cross-entropy :math:`-E_q[\log p] = KL[q\|p] + H[q]`, in nats.

    Args:
        q: The law that the expectation is under.
        p: The law whose density is taken.
        analytical: ``False`` asks for Monte Carlo: :math:`-E_q[\log p]`.
        sample_shape: How many draws estimate it where there is no closed form.
    """

    symbol = "CE"


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Entropy(Node):
    r"""The entropy :math:`H[q] = -E_q[\log q]`, in nats.

    Args:
        q: The law.
        analytical: ``False`` asks for Monte Carlo: :math:`-E_q[\log q]`.
        sample_shape: How many draws estimate it where there is no closed form.

    Example:
        >>> from ancestral.distributions import Normal
        >>> Entropy(Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[10])).eval()
        tensor(14.1894)
    """

    q: Distribution
    analytical: bool
    draws: int | None

    def __init__(
        self,
        q: Distribution,
        *,
        analytical: bool = True,
        sample_shape: int | Sequence[int] | None = None,
    ) -> None:
        refuse_density(_law(q, "H"), by_plan=True)
        refuse_copies(q, "H")
        object.__setattr__(self, "q", q)
        object.__setattr__(self, "analytical", analytical)
        object.__setattr__(self, "draws", _draws(sample_shape))


KL = KullbackLeibler
H = Entropy
