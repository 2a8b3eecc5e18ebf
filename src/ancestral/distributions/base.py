"""The Distribution API: a law over named variables, which may encapsulate a network.

Every law, elementary or built from others, is a product of *factors*: elementary laws under the
names that their variables have outside. A joint law has several; renaming, marginalising,
detaching and copying only rewrite them. What can be asked of a law is written here once, over
its factors; :mod:`ancestral.distributions.sampling` and :mod:`ancestral.distributions.density` do
the work.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ancestral.core.names import as_names
from ancestral.core.rng import Generator
from ancestral.distributions import density, eager, sampling
from ancestral.distributions.factor import Factor, prob_text
from ancestral.distributions.rows import given_names

if TYPE_CHECKING:
    from ancestral.distributions.joint import Joint
    from ancestral.distributions.law import Law
    from ancestral.losses.prob import LogProb, Prob

__all__ = ["Distribution", "Factor", "Inputs", "prob_text"]

DENSITY_OPTIONS = ("x_dict", "sum_features", "feature_dims")
Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor] | None


class Distribution(nn.Module):
    """A law p(var | cond_var) over named variables.

    Elementary laws derive from :class:`~ancestral.distributions.law.Law`; products, renamed,
    marginalised, detached and copied laws are :class:`~ancestral.distributions.joint.Joint`.
    """

    plate: str | None = "rows"  # None: one draw for all rows, a global variable
    has_points: bool = False  # whether it is a law of points, which a plan may move

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the constructor say which word is meant where one is misspelt."""
        super().__init_subclass__(**options)
        eager.name_words(cls)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    # -- what a law is over ---------------------------------------------------------------------
    @property
    def factors(self) -> tuple[Factor, ...]:
        """The elementary laws whose product this is, in the order they were written."""
        raise NotImplementedError(
            f"{type(self).__name__} says of no factors what it is: derive a law of one family from "
            "ancestral.distributions.Law, and make others of laws, e.g. by a product."
        )

    @property
    def integrated(self) -> tuple[str, ...]:
        """The variables that are integrated out."""
        return ()

    @property
    def all_var(self) -> list[str]:
        """The variables of all factors, hidden ones too."""
        return [v for f in self.factors for v in f.var]

    @property
    def var(self) -> list[str]:
        """The variables that the law is over."""
        return [v for v in self.all_var if v not in self.integrated]

    @property
    def cond_var(self) -> list[str]:
        """The variables that the law is conditioned on."""
        drawn = set(self.all_var)
        names = [c for f in self.factors for c in f.cond_var if c not in drawn]
        return list(dict.fromkeys(names))

    @property
    def input_var(self) -> list[str]:
        """The variables whose values must be given to draw: conditions, and the data's own."""
        return self.cond_var + [v for v in given_names(self.factors) if v not in self.cond_var]

    @property
    def features_shape(self) -> torch.Size:
        """The event shape, of a law with one factor."""
        return eager.only_factor(self, "features_shape").law.features_shape

    @property
    def distribution_name(self) -> str:
        """The name of the family: ``Normal``, ``Joint``; also of a class derived from it."""
        own = (c.__name__ for c in type(self).__mro__ if c.__module__.startswith("ancestral."))
        return next(own, type(self).__name__)

    @property
    def prob_text(self) -> str:
        """``p(x|z)``, as a formula refers to the law."""
        return prob_text(self.name, self.var, self.cond_var)

    @property
    def has_reparam(self) -> bool:
        """Whether every factor's draw is a differentiable function of its parameters."""
        return all(f.law.moves.reparametrised for f in self.factors)

    # -- what can be asked of it ----------------------------------------------------------------
    def sample(
        self,
        x_dict: Inputs = None,
        batch_n: int | None = None,
        sample_shape: int | Sequence[int] = (),
        return_all: bool = True,
        reparam: bool = False,
        *,
        sample_mean: bool = False,
        length: int | None = None,
        generator: Generator = None,
        **unknown: Any,
    ) -> dict[str, Tensor]:
        """Ancestral sampling: each factor is drawn after its parents.

        Args:
            x_dict: Values of ``input_var``: a dict, a tensor if there is one, or a list in order.
            batch_n: Number of rows, for laws without conditions (default 1, or as many as given).
            sample_shape: Leading axes of independent draws.
            return_all: Whether the other values in ``x_dict`` are returned too.
            reparam: Keep the gradient from a draw to its parameters (the pathwise derivative).
                Without it the networks of random factors run without gradient.
            sample_mean: Return means in place of draws, factor by factor, with their gradient.
            length: Number of steps of laws of sequences, where nothing that is given says it.
            generator: Source of randomness; torch's default generator if not given.

        Returns:
            Variable to tensor, shape ``(*sample_shape, batch, *event)``; of a global law, which
            has one draw for all rows, ``(*sample_shape, *event)``; data of an empirical law as it
            was given.

        Raises:
            MissingVariableError: If a condition is missing.
            OptionError: If an option is unknown, or a size is no whole number.
            SamplingError: If a factor cannot be drawn from, or not with ``reparam=True``.
            ShapeError: If parameters, declared event shapes or numbers of rows do not fit.
        """
        eager.refuse_options("sample", unknown, sampling.SAMPLE_OPTIONS)
        rows = None if batch_n is None else eager.as_count(batch_n, "batch_n")
        shape = eager.as_shape(sample_shape, "sample_shape")
        size = None if length is None else eager.as_count(length, "length")
        options = sampling.SampleOptions(rows, shape, reparam, sample_mean, size, generator)
        return sampling.sample(self, x_dict, options, return_all=return_all)

    def sample_mean(self, x_dict: Inputs = None) -> Tensor:
        """The mean of a law with one factor and one variable, shape ``(batch, *event)``."""
        return density.moment(self, x_dict, "mean_of")

    def sample_variance(self, x_dict: Inputs = None) -> Tensor:
        """The variance of a law with one factor and one variable, shape ``(batch, *event)``."""
        return density.moment(self, x_dict, "variance_of")

    def get_log_prob(
        self,
        x_dict: Inputs,
        sum_features: bool = True,
        feature_dims: Sequence[int] | None = None,
        **unknown: Any,
    ) -> Tensor:
        """The log density at given values; of a joint law, the sum over its factors.

        Args:
            x_dict: Values of ``var`` and ``cond_var``; others are ignored.
            sum_features: Sum over the event axes. Without a declared ``features_shape`` these
                are all axes but the first of the parameters; a batch is never summed.
            feature_dims: Sum over these axes instead; none if it is empty.

        Returns:
            Shape ``(*sample_shape, batch)``.

        Raises:
            MissingVariableError: If a value is missing.
            DensityError: If a factor has no density, or a variable is integrated out.
            ShapeError: If a value does not have the event shape, or terms differ in their rows.
        """
        eager.refuse_options("get_log_prob", unknown, DENSITY_OPTIONS)
        return density.log_prob(self, x_dict, sum_features=sum_features, feature_dims=feature_dims)

    def get_cdf(
        self,
        x_dict: Inputs,
        sum_features: bool = True,
        feature_dims: Sequence[int] | None = None,
        **unknown: Any,
    ) -> Tensor:
        """The probability that no component is above its value; see :meth:`get_log_cdf`."""
        eager.refuse_options("get_cdf", unknown, DENSITY_OPTIONS)
        return self.get_log_cdf(x_dict, sum_features, feature_dims).exp()

    def get_log_cdf(
        self,
        x_dict: Inputs,
        sum_features: bool = True,
        feature_dims: Sequence[int] | None = None,
        **unknown: Any,
    ) -> Tensor:
        """The log probability that a draw is at most a value, of a law with one factor.

        Components are independent, so that sums over event axes are log probabilities of the
        whole event: that no component is above its value. Far in the lower tail it is exact where
        the logarithm of ``get_cdf`` is not.

        Args:
            x_dict: Values of ``var`` and ``cond_var``; others are ignored.
            sum_features: Sum over the event axes.
            feature_dims: Sum over these axes instead; none if it is empty.

        Returns:
            Shape ``(*sample_shape, batch)``.

        Raises:
            MissingVariableError: If a value is missing.
            DensityError: If the distribution function has no form that can be evaluated.
            ShapeError: If a value does not have the event shape.
        """
        eager.refuse_options("get_log_cdf", unknown, DENSITY_OPTIONS)
        return density.log_distribution(
            self, x_dict, "log_cdf", sum_features=sum_features, feature_dims=feature_dims
        )

    def get_log_sf(
        self,
        x_dict: Inputs,
        sum_features: bool = True,
        feature_dims: Sequence[int] | None = None,
        **unknown: Any,
    ) -> Tensor:
        """The log probability that every component is above its value (log survival function).

        Arguments and errors are those of :meth:`get_log_cdf`; exact far in the upper tail.
        """
        eager.refuse_options("get_log_sf", unknown, DENSITY_OPTIONS)
        return density.log_distribution(
            self, x_dict, "log_sf", sum_features=sum_features, feature_dims=feature_dims
        )

    def get_icdf(self, probability: Tensor, x_dict: Inputs = None) -> Tensor:
        """The inverse of the distribution function of each component, of a law with one factor.

        Args:
            probability: Probabilities u, shape ``(*sample_shape, batch, *event)``.
            x_dict: Values of ``cond_var``.

        Returns:
            The smallest x with P(X <= x) >= u, component by component, of the same shape.

        Raises:
            MissingVariableError: If a condition is missing.
            DensityError: If the inverse has no form that can be evaluated.
            ShapeError: If the probabilities do not have the event shape.
        """
        return density.quantile(self, probability, x_dict)

    def get_entropy(
        self,
        x_dict: Inputs = None,
        sum_features: bool = True,
        feature_dims: Sequence[int] | None = None,
        **unknown: Any,
    ) -> Tensor:
        """The entropy in nats, shape ``(batch,)``; of independent factors, the sum.

        Args:
            x_dict: Values of ``cond_var``.
            sum_features: Sum over the event axes.
            feature_dims: Sum over these axes instead; none if it is empty.

        Raises:
            MissingVariableError: If a condition is missing.
            DensityError: If a factor has no density, or its conditions are drawn by another.
            SamplingError: If the entropy of a factor has no closed form.
        """
        eager.refuse_options("get_entropy", unknown, DENSITY_OPTIONS)
        return density.entropy(self, x_dict, sum_features=sum_features, feature_dims=feature_dims)

    def get_params(self, x_dict: Inputs = None) -> dict[str, Tensor]:
        """The parameters given the conditions, of a law with one factor."""
        return density.get_params(self, x_dict)

    # -- new laws from it -----------------------------------------------------------------------
    def __mul__(self, other: "Distribution") -> "Joint":
        """The product law by the chain rule, e.g. ``p(x|z)p(z) = p(x,z)``."""
        from ancestral.distributions.joint import product

        return product(self, other)

    def replace_var(self, **renaming: str) -> "Joint":
        """The same law with variables renamed outside; networks keep their argument names."""
        from ancestral.distributions.rename import rename

        return rename(self, renaming)

    def marginalize_var(self, marginalize_list: str | Sequence[str]) -> "Joint":
        """The law of the other variables, these integrated out. It can be drawn from."""
        from ancestral.distributions.marginal import marginalize

        return marginalize(self, as_names(marginalize_list, "marginalize_list"))

    def detach(self) -> "Joint":
        """The same law with gradients to its parameters cut; its draws are the uncut law's."""
        from ancestral.distributions.joint import detach

        return detach(self)

    def ema(self, decay: float, name: str | None = None) -> "Joint":
        """The same law of weights averaged over training steps; a model moves and saves them.

        Raises:
            OptionError: If the decay is none, or the law has no parameter.
        """
        from ancestral.distributions.ema import ema

        return ema(self, decay, name)

    def factorized(self) -> "Law":
        r"""The product of its entries' marginals, :math:`\prod_j q(z_j)`, of one variable."""
        from ancestral.distributions.factorized import factorized

        return factorized(self)

    def _rebuilt(self, factors: Sequence[Factor]) -> "Joint":
        from ancestral.distributions.joint import as_joint

        return as_joint(self).rebuilt(factors)

    def iid(self, *count: int, **copies: int) -> "Joint":
        """K independent draws along a named axis, e.g. ``q.iid(k=50)``, as in IWAE.

        Raises:
            OptionError: If there is not one axis with a name, or K is no whole number.
        """
        from ancestral.distributions.iid import iid

        return iid(self, count, copies)

    # -- the Loss API, one floor up -------------------------------------------------------------
    def log_prob(self, *value: object, mask: str | None = None) -> "LogProb":
        """The log density as a loss: ``log p(x|z)``; for numbers, :meth:`get_log_prob`.

        Raises:
            OptionError: If it is given a value.
        """
        from ancestral.losses.prob import LogProb

        return LogProb(eager.without_value(self, "log_prob", value), mask)

    def prob(self, *value: object) -> "Prob":
        """The density as a loss: ``p(x|z)``.

        Raises:
            OptionError: If it is given a value.
        """
        from ancestral.losses.prob import Prob

        return Prob(eager.without_value(self, "prob", value))

    # -- how it reads ---------------------------------------------------------------------------
    def latex(self) -> str:
        """The law's formula in LaTeX: ``p(x,z) = p(x|z)p_{prior}(z)``."""
        from ancestral.printing.law import latex

        return latex(self)

    def mathml(self) -> str:
        """The law's formula as presentation MathML, one ``math`` element."""
        from ancestral.printing.law import mathml

        return mathml(self)

    def graph(self) -> str:
        """The law's graphical model as SVG: what it is given is shaded."""
        from ancestral.printing.graph import of_law

        return of_law(self)

    def __str__(self) -> str:
        """The law's formula and the networks under it."""
        from ancestral.printing.law import describe

        return describe(self)

    def _repr_latex_(self) -> str:
        from ancestral.printing.law import latex

        return f"${latex(self)}$"

    def _repr_html_(self) -> str:
        from ancestral.printing import notebook

        return notebook.of_law(self)
