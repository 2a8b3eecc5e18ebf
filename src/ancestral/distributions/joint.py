"""Laws made from laws: products, and the rewriting of a product's factors.

A :class:`Joint` is a product of factors with some variables integrated out. Renaming,
marginalising, detaching and copying return a new one over the same elementary laws.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ancestral.core.errors import OptionError, VariableError
from ancestral.core.names import as_names, listing
from ancestral.distributions.base import Distribution, Factor
from ancestral.distributions.normal import Normal
from ancestral.distributions.posterior import posterior


class Joint(Distribution):
    r"""A product of elementary laws, :math:`p(x,z) = p(x|z)\,p(z)`, by the chain rule.

    Made by ``p * prior``; not built by hand.

    Args:
        factors: The elementary laws under their outer names.
        hidden: The variables that are integrated out.
        name: How the product prints; by default the factors' common name, else ``p``.
        order: The order in which the variables print.

    Raises:
        VariableError: If two factors draw one variable, or the factors form a cycle.

    Example:
        >>> from ancestral.distributions import Normal
        >>> p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
        >>> prior = Normal(var=["z"], loc=0.0, scale=1.0, name="p_{prior}")
        >>> (p * prior).latex()
        'p(x,z) = p(x|z)p_{prior}(z)'
    """

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Two chains of three normal laws, one of which was renamed, and their marginals."""
        found: list[dict[str, Any]] = []
        for loc, scale in ((0.5, 0.7), (-0.4, 1.2)):
            start = torch.tensor([loc, 1.0], dtype=torch.float64)
            prior = Normal(var=["z"], loc=start, scale=scale, name="p")
            p = Normal(var=["x"], cond_var=["z"], loc="z", scale=0.5 * scale, name="p")
            far = p.replace_var(x="y", z="x")
            chain = cls([*far.factors, *p.factors, *prior.factors])
            found += [{"factors": chain.factors}, {"factors": chain.factors, "hidden": ("z",)}]
        return found

    def __init__(
        self,
        factors: Iterable[Factor],
        hidden: tuple[str, ...] = (),
        name: str | None = None,
        order: tuple[str, ...] | None = None,
    ) -> None:
        factors = tuple(factors)
        names = {f.law.name for f in factors if not f.law.is_data}
        names = names or {f.law.name for f in factors}
        super().__init__(name or (names.pop() if len(names) == 1 else "p"))
        check_product(factors)
        self._factors = factors
        self._integrated = hidden
        self._order = order
        laws = list({id(f.law): f.law for f in factors}.values())
        self.laws = nn.ModuleList(laws)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The elementary laws whose product this is, in the order they were written."""
        return self._factors

    @property
    def integrated(self) -> tuple[str, ...]:
        """The variables that are integrated out."""
        return self._integrated

    @property
    def all_var(self) -> list[str]:
        """The variables of all factors, hidden ones too."""
        written = [v for f in self._factors for v in f.var]
        return sorted(written, key=self._order.index) if self._order else written

    def condition(self, given: str | Sequence[str], *, name: str | None = None) -> Distribution:
        r"""The posterior law :math:`p(z|x) \propto p(x|z)\,p(z)`, exact for conjugate pairs.

        A likelihood has z itself as the parameter that its pair is about (``probs="z"``) and its
        others from constants, trained tensors or conditions; the prior may have a network. The
        result is an elementary law of the prior's family, with x as a condition; both laws stay
        in it, with their gradients. ``python -m ancestral.distributions.kl`` lists the pairs.

        There is one observation for each row. For n independent observations of one z give z an
        axis of size 1 where x has n entries: ``features_shape=[1]`` and ``[n]``. Observations of
        several kinds are several factors, ``(p_x * p_y * prior).condition(["x", "y"])``.

        Args:
            given: The variables that are observed: all but one.
            name: How the law prints; as this one, if not given.

        Raises:
            VariableError: If a variable is not drawn here, or not just one is left.
            DensityError: If the prior and a likelihood are no conjugate pair that is known.
            ShapeError: If the event of x does not fit that of z.

        Example:
            >>> import torch
            >>> from ancestral.distributions import Bernoulli, Beta
            >>> p = Bernoulli(var=["x"], cond_var=["z"], probs="z", features_shape=[3])
            >>> prior = Beta(var=["z"], concentration1=1.0, concentration0=1.0,
            ...              features_shape=[1], name="p_{prior}")
            >>> q = (p * prior).condition("x", name="q")
            >>> q.latex()
            'q(z|x) \\propto p(x|z)p_{prior}(z)'
            >>> q.sample_mean({"x": torch.tensor([[1.0, 1.0, 0.0]])})
            tensor([[0.6000]])
        """
        factor = posterior(self, as_names(given, "condition"), name)
        return Joint([factor]) if factor in self._factors else factor.law

    def extra_repr(self) -> str:
        """What ``repr`` shows beside the laws: the product, with renamed and copied factors."""
        told = [
            f.text + (f" iid({f.copies[0]}={f.copies[1]})" if f.copies else "")
            for f in self._factors
        ]
        return f"{self.prob_text} = {' '.join(told)}"

    def rebuilt(self, factors: Iterable[Factor]) -> "Joint":
        """The same product over other factors."""
        return Joint(factors, self._integrated, self.name, self._order)


def as_joint(dist: Distribution) -> Joint:
    """An elementary law as a product of one factor."""
    return dist if isinstance(dist, Joint) else Joint(dist.factors, name=dist.name)


def product(left: Distribution, right: Distribution) -> Joint:
    """The product of two laws that share no drawn variable."""
    if not isinstance(right, Distribution):
        raise OptionError(
            f"{left.prob_text} * {right!r}: a law is multiplied by a law, to make a joint law. To "
            f"scale its density write {left.name}.prob() * ..., a loss."
        )
    right = _apart(right, left.all_var)
    left = _apart(left, right.all_var)
    twice = sorted(set(left.all_var) & set(right.all_var))
    if twice:
        raise VariableError(
            f"{left.prob_text} * {right.prob_text}: both draw {listing(twice)}. A product draws "
            f"each variable once; rename one with replace_var({twice[0]}='...')."
        )
    hidden = (*left.integrated, *right.integrated)
    seen = sorted(set(hidden) & {*left.cond_var, *right.cond_var})
    if seen:
        raise VariableError(
            f"{left.prob_text} * {right.prob_text}: {listing(seen)} is integrated out in one and "
            f"a condition of the other. Rename it with replace_var({seen[0]}='...')."
        )
    order = (*left.all_var, *right.all_var)
    factors = (
        replace(f, of=f.of or (d.name if d.integrated else "")) if hidden else f
        for d in (left, right)
        for f in d.factors
    )
    return Joint(factors, hidden, order=order)


def _apart(dist: Distribution, other: Iterable[str]) -> Distribution:
    """The law, with other names for what it integrates out under one of these names."""
    clash = [v for v in dist.integrated if v in set(other)]
    taken = {*dist.all_var, *dist.cond_var, *other}
    fresh: dict[str, str] = {}
    for name in clash:
        new = f"{name}'"
        while new in taken:
            new += "'"
        fresh[name] = new
        taken.add(new)
    return _renamed(dist, fresh) if fresh else dist


def _renamed(dist: Distribution, names: dict[str, str]) -> Joint:
    """The law with other names for what it integrates out; data is read by its own names."""
    joint = as_joint(dist)

    def new(old: Iterable[str]) -> tuple[str, ...]:
        return tuple(names.get(v, v) for v in old)

    return Joint(
        (
            replace(
                f,
                var=new(f.var),
                cond_var=new(f.cond_var),
                given=(f.given or f.var) if f.law.is_data else None,
            )
            for f in joint.factors
        ),
        new(joint.integrated),
        joint.name,
        new(joint.all_var),
    )


def detach(dist: Distribution) -> Joint:
    """The law with gradients to its parameters cut."""
    return as_joint(dist).rebuilt(replace(f, detached=True) for f in dist.factors)


def check_product(factors: tuple[Factor, ...]) -> None:
    """Raise if the conditions of the factors form a cycle."""
    parents = {v: f for f in factors for v in f.var}
    state: dict[int, str] = {}
    for factor in factors:
        _visit(factor, (), parents, state)


def _visit(
    factor: Factor, path: tuple[Factor, ...], parents: dict[str, Factor], state: dict[int, str]
) -> None:
    if state.get(id(factor)) == "done":
        return
    if state.get(id(factor)) == "open":
        loop = path[path.index(factor) :]
        raise VariableError(
            f"{' '.join(f.text for f in loop)} is a cycle: "
            f"{' needs '.join([*(f.var[0] for f in loop), loop[0].var[0]])}. In a product "
            "each variable is drawn after its conditions; drop or rename one of these laws."
        )
    state[id(factor)] = "open"
    for c in factor.cond_var:
        if c in parents:
            _visit(parents[c], (*path, factor), parents, state)
    state[id(factor)] = "done"
