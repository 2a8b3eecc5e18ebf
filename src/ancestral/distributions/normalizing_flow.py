r"""Flows: the law of :math:`x = f(z)`, :math:`z \sim p_0`, for a bijection f of a base law.

Its density is that of the base at :math:`z = f^{-1}(x)`, by the change of variables

.. math:: \log p(x) = \log p_0(z) - \log\left|\det\frac{\partial f}{\partial z}\right|.

Where x is the flow's own draw, z is known and f is not inverted (Rezende and Mohamed, 2015,
arXiv:1505.05770, equation 13).

Given conditions y, the base may be a law :math:`p_0(z|y)`, and the bijection one for each context,
:math:`f(z; c)` with :math:`c = h(y)`: the network h runs once, for all layers and both directions.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.bijections import Affine, Bijection, Chain, ConditionalAffine, Exp, Tanh
from ancestral.core.errors import OptionError, ShapeError, VariableError
from ancestral.core.names import as_names, listing
from ancestral.distributions.constraints import Constraint, identity
from ancestral.distributions.flow_moves import flow_moves, pulled
from ancestral.distributions.law import Law, Params
from ancestral.distributions.layout import spanned
from ancestral.distributions.network import takes_by_name
from ancestral.distributions.normal import Normal
from ancestral.distributions.pushforward import At, ByName, Pieces, Pushforward, beside


class NormalizingFlow(Law):
    r"""The law of :math:`x = f(z)`, where z follows a base law.

    It stands wherever a law may: as prior, posterior (with conditions of its base, or of its
    bijection), likelihood, in products. Its draws have the gradient that those of the base have,
    and that of the bijection. Over several variables it is no product of laws: they stand side by
    side in one vector, and where one has draws that another has not, the other is repeated.

    Args:
        base: The law of z: one with a density on numbers, constant, trained, or from a network.
        bijections: The bijection f, or several in the order in which they are applied to z.
        var: Name of x, or names of several variables.
        name: How it prints.
        cond_var: Names of the conditions, those of the base among them, which they are if not
            given. The others are read by bijections that take a context.
        context: The network of the conditions that returns the context, shape ``(rows, C)``; the
            conditions themselves side by side if not given.
        sizes: Of several variables, how many entries each has in the vector. A density reads it
            from the values; a draw must be told.

    Raises:
        OptionError: If the base is no elementary law of a continuous variable, or a context is
            given to no bijection, or missing.
        VariableError: If the base has conditions that ``cond_var`` leaves out.
        ShapeError: If sizes do not fit the base.

    Source:
        Rezende and Mohamed (2015), Variational inference with normalizing flows, arXiv:1505.05770;
        of several variables, one of them latent: Chen et al. (2020), VFlow, arXiv:2002.09741.

    Example:
        >>> p = NormalizingFlow(Normal(loc=0.0, scale=1.0, features_shape=[2]), Exp(), var=["x"])
        >>> p.get_log_prob({"x": torch.ones(1, 2)})  # log-normal
        tensor([-1.8379])
        >>> tuple(p.sample(batch_n=3)["x"].shape)
        (3, 2)
        >>> q = NormalizingFlow(Normal(loc=0.0, scale=1.0, features_shape=[2]),
        ...     [ConditionalAffine(nn.Linear(8, 4))], var=["z"], cond_var=["x"], name="q",
        ...     context=nn.Linear(3, 8))
        >>> q.prob_text, tuple(q.sample({"x": torch.ones(5, 3)})["z"].shape)
        ('q(z|x)', (5, 2))
    """

    composite = True
    several = True
    inner: Law
    bijection: Bijection

    def __init__(
        self,
        base: Law,
        bijections: Bijection | Iterable[Bijection],
        var: str | Iterable[str] | None = None,
        name: str = "p",
        *,
        cond_var: str | Iterable[str] | None = None,
        context: Callable[..., Tensor] | None = None,
        sizes: Sequence[int] | None = None,
    ) -> None:
        _check_base(base)
        parts: list[Any] = list(bijections) if isinstance(bijections, Iterable) else [bijections]
        own = base.cond_var if cond_var is None else as_names(cond_var, "cond_var")
        missing = [c for c in base.cond_var if c not in own]
        if missing:
            raise VariableError(
                f"NormalizingFlow: cond_var={list(own)} leaves out {listing(missing)}, which the "
                f"base {base.prob_text} is conditioned on. Name all conditions, or leave cond_var "
                "out."
            )
        super().__init__(var, own, name, base.declared_shape, None, {})
        if isinstance(base, NormalizingFlow):  # a flow of a flow is one
            parts = [base.bijection, *parts]
            context = _one_context(base, context)
            base = base.inner
        self.inner = base
        chain = Chain(parts)
        self.bijection = parts[0] if len(parts) == 1 else chain
        self._check_event(base.declared_shape, sizes)
        self.context_net = context
        self._asked = (self._network(context),)  # in a tuple: no second name of its parameters
        one = len(self._var) == 1
        self._pieces = None if one else Pieces(self._var, sizes, self.prob_text)
        self._made: type[Law] | None = None

    def _check_event(self, event: Sequence[int] | None, sizes: Sequence[int] | None) -> None:
        """Refuse a bijection, or variables side by side, that need other axes than there are."""
        several = len(self._var) > 1
        if event is not None and len(event) < self.bijection.event_dims:
            raise ShapeError(
                f"{self.prob_text}: its bijection moves vectors, but {self.inner.prob_text} is a "
                "law of one number. Give the base features_shape=[D]."
            )
        if several and event is not None and len(event) != 1:
            raise ShapeError(
                f"{self.prob_text}: several variables stand side by side in one vector, but the "
                f"event shape of {self.inner.prob_text} is {list(event)}. Give the base "
                "features_shape=[D] with the entries of all."
            )
        if sizes is None:
            return
        if not several:
            raise OptionError(
                f"{self.prob_text}: sizes= says how a vector is split into several variables; it "
                "is over one."
            )
        fits = event is None or sum(sizes) == event[0]
        if len(sizes) != len(self._var) or not fits:
            raise ShapeError(
                f"{self.prob_text}: sizes={list(sizes)} must have one number for each of "
                f"{listing(list(self._var))}"
                + ("." if event is None else f", together the {event[0]} entries of the base.")
            )

    def _network(self, context: Callable[..., Tensor] | None) -> Callable[..., Tensor] | None:
        """What returns the context of conditions in their order, if a bijection takes one."""
        extra = [c for c in self._cond_var if c not in self.inner.cond_var]
        if not self.bijection.takes_context:
            if context is not None or extra:
                told = "context=" if context is not None else f"the condition {listing(extra)}"
                raise OptionError(
                    f"{self.prob_text}: none of its bijections takes a context, so that nothing "
                    f"reads {told}. Take conditional ones, e.g. AffineCoupling(net, "
                    "conditional=True) or ConditionalAffine(net)."
                )
            return None
        if not self._cond_var:
            raise OptionError(
                f"{self.prob_text}: its bijections take a context, but it has no conditions that "
                "one could be made of. Give it some: cond_var=['y']."
            )
        if context is None:
            return beside
        call = getattr(context, "forward", context)
        by_name = takes_by_name(call, self._cond_var, "context", self.prob_text)
        return ByName(context, self._cond_var) if by_name else context

    def context(self, *conditions: Tensor) -> Tensor:
        """The context that the bijections read: one pass of the network.

        Args:
            conditions: Values in the order of the law's own ``cond_var``.

        Returns:
            Shape ``(rows, C)``.

        Raises:
            OptionError: If no bijection takes one.
        """
        (net,) = self._asked
        if net is None:
            raise OptionError(f"{self.prob_text}: none of its bijections takes a context.")
        return net(*conditions)

    @property
    def pushforward(self) -> Pushforward:
        """The base, the bijection, the network of its context, and the variables side by side."""
        return Pushforward(self.inner, self.bijection, self._asked[0], self._pieces)

    @property
    def moves(self) -> type[Law]:
        """Those of the base, through the bijection."""
        if self._made is None:
            sign = torch.as_tensor(self.bijection.sign())
            rises = sign.is_meta or bool((sign > 0).all())
            self._made = flow_moves(self.inner.moves, self.bijection.event_dims, rises=rises)
        return self._made

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle has; it makes its moves anew."""
        return {**self.__dict__, "_made": None}

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """Those of the base, and the bijection, at its context."""
        local = dict(zip(self._cond_var, conditions, strict=True))
        out = self.inner.params([local[c] for c in self.inner.cond_var])
        if self._asked[0] is None:
            return {**out, "bijection": self.bijection}
        context = self.context(*conditions)
        return {**out, "bijection": At(self.bijection, context, self._rank(out, context))}

    def _rank(self, params: Params, context: Tensor) -> int:
        """How many axes the event of a value has."""
        shape = self.inner.declared_shape
        if shape is not None:
            return len(shape)
        moves = self.inner.moves
        ranks = [len(spanned(moves, k, tuple(v.shape))) for k, v in params.items()
                 if isinstance(v, Tensor)]  # fmt: skip
        extra = moves.param_dims - moves.value_dims
        return max(max(ranks, default=1) - extra - (context.dim() - 1), 0)

    def support(self, params: Params) -> Constraint | None:
        """The image of the base's."""
        bijection: Bijection = params["bijection"]
        within = self.inner.support({k: v for k, v in params.items() if k != "bijection"})

        def holds(x: Tensor) -> Tensor:
            _, inside, _, z = pulled(bijection, x)
            inside = inside & torch.isfinite(z)
            return inside if within is None else inside & within.holds(z)

        def of_real(y: Tensor) -> Tensor:
            onto = within.of_real if within is not None and within.of_real else identity
            x: Tensor = bijection(onto(y * bijection.sign()))  # increasing, as other charts are
            return x

        return Constraint(f"in the image of {self.prob_text}", holds, of_real=of_real)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """A log-normal law, a squashed one, one with a trained map, one given a condition."""
        loc = torch.tensor([-0.5, 0.3, 1.0], dtype=torch.float64)
        scale = torch.tensor([0.7, 1.0, 0.4], dtype=torch.float64)
        maps: list[Any] = [Exp(), Tanh(), [Affine(loc, -scale), Exp(), Affine(0.0, 3.0)]]
        plain = [{"base": Normal(loc=loc, scale=scale), "bijections": f} for f in maps]
        (affine,), context = ConditionalAffine.examples(), nn.Linear(2, 2)
        with torch.no_grad():
            context.weight.copy_(torch.tensor([[0.5, -0.4], [0.3, 0.8]]))
            context.bias.zero_()
        conditional = {
            "base": Normal(loc=loc, scale=scale),
            "bijections": [ConditionalAffine(affine["net"]), Exp()],
            "cond_var": ["y"],
            "context": context,
            "given": {"y": torch.tensor([[0.4, -0.3]])},
        }
        return [*plain, conditional]


def _one_context(
    base: NormalizingFlow, context: Callable[..., Tensor] | None
) -> Callable[..., Tensor] | None:
    """The network of the context of a flow of a flow."""
    if base.context_net is not None and context is not None:
        raise OptionError(
            f"NormalizingFlow: {base.prob_text} has a context of its own, and so has what is put "
            "on it. Make one flow of all bijections, with one context."
        )
    return base.context_net if context is None else context


def _check_base(base: object) -> None:
    if not isinstance(base, Law):
        raise OptionError(
            f"NormalizingFlow takes one elementary law as its base, got {type(base).__name__}. "
            "Of a product, give the flow one factor and multiply by the others."
        )
    listed = hasattr(base.moves, "values")
    if not base.is_random or base.is_data or not base.moves.has_density or listed:
        raise OptionError(
            f"NormalizingFlow: {base.prob_text} is a {base.distribution_name}, which has no "
            "density on real numbers that a bijection could move. Take e.g. a Normal as base."
        )


TransformedDistribution = NormalizingFlow  # as Pixyz calls it
