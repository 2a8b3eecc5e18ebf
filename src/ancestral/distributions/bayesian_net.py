r"""A directed model written as a function: nodes that are added one by one.

.. math:: \log p(x, z) = \sum_i \log p(v_i \mid \mathrm{parents}(v_i))

A net is one evaluation of a model: its values are tensors, some of them observed. What is built
again and again, for other observations and with the weights as they are then, is a
:class:`~ancestral.distributions.meta_net.MetaBayesianNet`.

Source: Shi et al., ZhuSuan: A library for Bayesian deep learning (2017), section 3.
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor

from ancestral.core.errors import (
    DataError,
    MissingVariableError,
    OptionError,
    VariableError,
    did_you_mean,
)
from ancestral.core.names import as_names, listing
from ancestral.distributions.base import Distribution
from ancestral.distributions.net_families import Families, Options
from ancestral.distributions.net_node import NodeLaw, blank, node_law
from ancestral.distributions.stochastic_tensor import StochasticTensor, check_terms, plain


@dataclass(eq=False)
class Build:
    """What a builder runs with: observations, the node at which its run ends, and what looks at
    each node and says what its value is.
    """

    observed: Mapping[str, Any] = field(default_factory=dict)
    until: str | None = None
    visit: Callable[[str, Any, Tensor | None, int | None], Tensor] | None = None


class Reached(Exception):
    """The node at which a builder's run ends."""

    def __init__(self, dist: Any) -> None:
        super().__init__(dist.name)
        self.dist = dist


# a builder writes BayesianNet() in its body: what it is observed at is known around it alone
BUILD: ContextVar[Build | None] = ContextVar("build", default=None)


class BayesianNet(Families):
    """Named nodes: each a law whose parameters are computed from those before it.

    A node is observed or drawn, once, when its value is first asked for; so is its log density.
    Drawn along a first axis where it has ``n_samples``.

    Args:
        observed: Values of nodes by name; inside of a builder those of ``observe`` besides.

    Raises:
        VariableError: If a node is added twice.

    Example:
        >>> bn = BayesianNet(observed={"x": torch.tensor([[0.5], [2.0]])})
        >>> z = bn.normal("z", torch.zeros(2, 1), std=1.0, group_ndims=1)
        >>> x = bn.normal("x", 2.0 * z, std=0.5, group_ndims=1)
        >>> bn["z"].shape, bn.log_joint().shape, list(bn.nodes)
        (torch.Size([2, 1]), torch.Size([2]), ['z', 'x'])
    """

    def __init__(self, observed: Mapping[str, Any] | None = None) -> None:
        self._build = BUILD.get()
        around = {} if self._build is None else self._build.observed
        self._observed: dict[str, Any] = {**(observed or {}), **around}
        self._nodes: dict[str, StochasticTensor | Tensor] = {}
        self._log_joint: Tensor | None = None
        self._override: Any = None

    # -- nodes ----------------------------------------------------------------------------------
    @property
    def nodes(self) -> dict[str, "StochasticTensor | Tensor"]:
        """All nodes by name, in the order in which they were added."""
        return dict(self._nodes)

    def stochastic(
        self,
        name: str,
        dist: Distribution,
        n_samples: int | None = None,
        **options: Any,
    ) -> StochasticTensor:
        """A node of any law of one variable without conditions, a mixture or a flow, say.

        Args:
            name: The node; the law's own name of its variable does not matter.
            dist: The law.
            n_samples: How many draws are made, along a first axis.
            options: As of other nodes, :class:`~ancestral.distributions.net_families.Options`.

        Raises:
            OptionError: If it is no such law.
            VariableError: If there is a node of this name.
        """
        self._check_new(name)
        return self._added(name, node_law(name, dist, **options), n_samples)

    def deterministic(self, name: str, tensor: "Tensor | StochasticTensor") -> Tensor:
        """A node whose value is computed: it can be asked for, and has no density."""
        self._check_new(name)
        value: Tensor = plain(tensor)
        if name in self._observed:
            raise VariableError(
                f"node {name} is observed, but it is deterministic: a function of other nodes. "
                "Observe these."
            )
        self._nodes[name] = value
        return value

    def _family(
        self, name: str, family: Any, params: dict[str, Any], options: Options, **how: Any
    ) -> StochasticTensor:
        self._check_new(name)
        unknown = [key for key in options if key not in Options.__annotations__]
        if unknown:
            known = Options.__annotations__
            raise OptionError(
                f"node {name} has no option {unknown[0]!r}; {did_you_mean(unknown[0], known)}"
            )
        own = {k: v for k, v in options.items() if k != "n_samples"}
        values = {k: plain(v) for k, v in params.items()}
        law = blank(family, tuple(how.items()))
        dist = NodeLaw(name, law, values, options=how, **own)  # type: ignore[arg-type]
        return self._added(name, dist, options.get("n_samples"))

    def _check_new(self, name: str) -> None:
        as_names([name], "name")
        if name in self._nodes:
            raise VariableError(f"there is a node {name} already: each name stands for one node.")

    def _added(self, name: str, dist: Any, n_samples: int | None) -> StochasticTensor:
        if n_samples is not None and (not isinstance(n_samples, int) or n_samples < 1):
            raise OptionError(f"node {name}: n_samples={n_samples!r}; give a whole number >= 1.")
        if self._build is not None and self._build.until == name:
            raise Reached(dist)
        seen = plain(self._observed.get(name))
        if seen is not None and not isinstance(seen, Tensor):
            raise DataError(
                f"node {name}: what is observed must be a tensor, got {type(seen).__name__}; wrap "
                "it in torch.as_tensor(...)."
            )
        if self._build is not None and self._build.visit is not None:
            seen, n_samples = self._build.visit(name, dist, seen, n_samples), None
        node = StochasticTensor(self, name, dist, seen, n_samples)
        self._nodes[name] = node
        self._log_joint = None
        return node

    def __setitem__(self, name: str, value: object) -> NoReturn:
        raise OptionError(
            f"bn[{name!r}] = ...: the value of a node is not set. Give it before the net is built: "
            f"model.observe({name}=...), or BayesianNet(observed={{{name!r}: ...}})."
        )

    # -- queries --------------------------------------------------------------------------------
    def __getitem__(self, name: str) -> "StochasticTensor | Tensor":
        if name not in self._nodes:
            raise MissingVariableError(
                f"the net has no node {name!r}; {did_you_mean(str(name), self._nodes)}"
            )
        return self._nodes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __iter__(self) -> NoReturn:
        raise OptionError("a net is not walked along; its nodes are bn.nodes.")

    def get(self, names: str | Sequence[str]) -> Any:
        """A node, or the list of several."""
        return self[names] if isinstance(names, str) else [self[name] for name in names]

    def cond_log_prob(self, names: str | Sequence[str]) -> Any:
        """The log density of a node given its parents, or the list of those of several.

        Raises:
            VariableError: If there is no such node, or it is deterministic.
        """
        if not isinstance(names, str):
            return [self.cond_log_prob(name) for name in names]
        node = self[names]
        if not isinstance(node, StochasticTensor):
            raise VariableError(
                f"node {names} is deterministic: it has no density. Those that have one are "
                f"{listing(list(self._stochastic))}."
            )
        return node.cond_log_p

    @property
    def _stochastic(self) -> dict[str, StochasticTensor]:
        return {k: v for k, v in self._nodes.items() if isinstance(v, StochasticTensor)}

    def log_joint(self) -> Tensor:
        """The sum of the log densities of all nodes, or what the model's override says.

        Raises:
            ShapeError: If terms do not stand on the same axes, naming the nodes.
        """
        if self._log_joint is None:
            override = self._override
            self._log_joint = self._sum() if override is None else torch.as_tensor(override(self))
        return self._log_joint

    def _sum(self) -> Tensor:
        nodes = self._stochastic
        terms = {name: node.cond_log_p for name, node in nodes.items()}
        check_terms(terms, nodes)
        return sum(terms.values(), torch.zeros(()))

    def __repr__(self) -> str:
        """The nodes, which of them are observed, and their families."""
        told = [repr(v) if isinstance(v, StochasticTensor) else k for k, v in self._nodes.items()]
        return f"BayesianNet({', '.join(told)})"
