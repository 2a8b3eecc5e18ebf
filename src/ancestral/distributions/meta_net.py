r"""Models written as functions, that are built anew for each set of observations.

A builder is a function that adds nodes to a net and returns it. Decorated, a call of it binds its
arguments and runs nothing; :meth:`MetaBayesianNet.observe` runs it.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from ancestral.core.errors import OptionError, VariableError, did_you_mean
from ancestral.core.names import listing
from ancestral.distributions.base import Distribution
from ancestral.distributions.bayesian_net import BUILD, BayesianNet, Build, Reached
from ancestral.distributions.net_law import Trace, law_of, refuse_unknown
from ancestral.distributions.stochastic_tensor import StochasticTensor

Builder = Callable[..., BayesianNet]
Override = Callable[[BayesianNet], Tensor]


class MetaBayesianNet:
    """A model as a function, with some of its arguments bound.

    Arguments that are not bound are conditions of the model: ``observe`` takes their values beside
    those of nodes.

    Args:
        builder: Adds the nodes, and returns the net.
        bound: The arguments that it is called with.

    Attributes:
        log_joint: What ``bn.log_joint()`` is in place of the sum over the nodes: a function of
            the net, e.g. of ``bn.cond_log_prob``, that is taken as written. Nothing is scaled by
            N/B then but by this function.

    Example:
        >>> @meta_bayesian_net()
        ... def model(n):
        ...     bn = BayesianNet()
        ...     z = bn.normal("z", torch.zeros(n), std=1.0)
        ...     bn.normal("x", z, std=0.1)
        ...     return bn
        >>> import torch
        >>> net = model(n=2).observe(x=torch.tensor([0.3, -0.1]))
        >>> net["z"].is_observed(), net["x"].is_observed(), net.log_joint().shape
        (False, True, torch.Size([2]))
    """

    def __init__(self, builder: Builder, bound: inspect.BoundArguments) -> None:
        self.builder = builder
        self.bound = bound
        self.log_joint: Override | None = None

    @property
    def name(self) -> str:
        """What the builder is called."""
        return getattr(self.builder, "__name__", type(self.builder).__name__)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments that are not bound: conditions of the model."""
        every = self.bound.signature.parameters
        optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return tuple(
            name
            for name, p in every.items()
            if name not in self.bound.arguments and p.default is p.empty and p.kind not in optional
        )

    def observe(self, **observed: Any) -> BayesianNet:
        """The net of these observations; each call runs the builder, with the weights as they are.

        Raises:
            VariableError: If there is no such node, or an argument has no value.
            OptionError: If the builder returns no net.
        """
        bn = self._run(Build(self._of_nodes(observed)), observed)
        unknown = [n for n in observed if n not in bn.nodes and n not in self.arguments]
        if unknown:
            known = [k for k, v in bn.nodes.items() if isinstance(v, StochasticTensor)]
            raise VariableError(
                f"{self.name}: observe({unknown[0]}=...), but there is no such node; "
                f"{did_you_mean(unknown[0], [*known, *self.arguments])}"
            )
        bn._override = self.log_joint
        return bn

    def at(self, name: str, observed: Mapping[str, Any]) -> Any:
        """The law of a node given values of those before it; the builder runs no further."""
        try:
            self._run(Build(self._of_nodes(observed), until=name), observed)
        except Reached as reached:
            return reached.dist
        raise VariableError(
            f"{self.name}: at these values there is no node {name!r}. Nodes that stand in a law "
            "are added whatever the values are."
        )

    def trace(self, observed: Mapping[str, Any]) -> Trace:
        """The nodes of one run, with their parents."""
        refuse_unknown(self, observed)
        trace = Trace()
        values = {k: trace.mark(k, v) if isinstance(v, Tensor) else v for k, v in observed.items()}
        self._run(Build(self._of_nodes(values), visit=trace.visit), values)
        return trace

    def law(
        self,
        given: Mapping[str, Any] | None = None,
        *,
        modules: Iterable[nn.Module] = (),
        name: str = "p",
    ) -> Distribution:
        """The model as a distribution over its nodes: it stands in any loss.

        It is the product of its nodes, each a law of its family whose network is the builder, run
        up to that node: every evaluation of a loss runs it once for each node. In a loss values
        have one axis of rows in front, that of the draws and copies folded into it: builders
        take the number of rows from their arguments or parents. How many draws there are and how
        their gradient is found (``n_samples``, ``is_reparameterized``, ``use_path_derivative``) is
        the loss's affair. With an override :attr:`log_joint` it is one log density of all nodes,
        with one number per row.

        Args:
            given: An example of the arguments that are conditions, one row or more; of nodes, too,
                where they are to have another shape or type than a draw.
            modules: The modules that the builder calls and is not given as arguments, so that
                their weights are parameters of the law.
            name: How it prints.

        Raises:
            VariableError: If the example lacks an argument.
            GradientError: If a node depends on weights that no module has.
            ShapeError: If a node has more axes than rows and its event.

        Example:
            >>> import torch
            >>> from ancestral.distributions import Normal
            >>> from ancestral.losses import E
            >>> decoder = nn.Linear(2, 3)
            >>> @meta_bayesian_net()
            ... def model(decoder):
            ...     bn = BayesianNet()
            ...     z = bn.normal("z", torch.zeros(2), std=1.0, group_ndims=1)
            ...     bn.bernoulli("x", decoder(z), group_ndims=1)
            ...     return bn
            >>> p = model(decoder).law()
            >>> q = Normal(var=["z"], cond_var=["x"], name="q", net=nn.Linear(3, 4))
            >>> print(E(q, p.log_prob() - q.log_prob()))
            E_{q(z|x)}[log p(x,z) - log q(z|x)]
        """
        return law_of(self, given, modules, name)

    def _of_nodes(self, observed: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in observed.items() if k not in self.arguments}

    def _run(self, build: Build, observed: Mapping[str, Any]) -> BayesianNet:
        missing = [name for name in self.arguments if name not in observed]
        if missing:
            raise VariableError(
                f"{self.name} needs a value for {listing(missing)}: its arguments that are not "
                f"given at the call, {self.name}({missing[0]}=...), are conditions, "
                f"observe({missing[0]}=...)."
            )
        given = {name: observed[name] for name in self.arguments}
        token = BUILD.set(build)
        try:
            bn = self.builder(*self.bound.args, **{**self.bound.kwargs, **given})
        finally:
            BUILD.reset(token)
        if not isinstance(bn, BayesianNet):
            raise OptionError(
                f"{self.name} returned a {type(bn).__name__}: a builder returns its BayesianNet."
            )
        return bn

    def __repr__(self) -> str:
        """The builder, and the arguments that are conditions."""
        given = f"|{','.join(self.arguments)}" if self.arguments else ""
        return f"MetaBayesianNet({self.name}{given})"


def meta_bayesian_net(
    scope: str | None = None, reuse_variables: bool = False
) -> Callable[[Builder], Callable[..., MetaBayesianNet]]:
    """A decorator of builders: a call binds arguments and gives a :class:`MetaBayesianNet`.

    Weights live in modules that the builder calls, made once outside of it, so that they are
    shared by all nets; a module that is made inside has new weights at each ``observe``.

    Args:
        scope: A name, for scripts of ZhuSuan, where it named variables.
        reuse_variables: Likewise; modules are always reused.

    Raises:
        OptionError: If it is written without parentheses, or the builder is no function.
    """
    if callable(scope):
        raise OptionError("write @meta_bayesian_net(), with parentheses.")
    if reuse_variables and scope is None:
        raise OptionError(
            "meta_bayesian_net(reuse_variables=True) needs a scope=, as in ZhuSuan; leave both "
            "out: modules are reused in any case."
        )

    def decorate(builder: Builder) -> Callable[..., MetaBayesianNet]:
        signature = inspect.signature(builder)

        @functools.wraps(builder)
        def model(*args: Any, **given: Any) -> MetaBayesianNet:
            return MetaBayesianNet(builder, signature.bind_partial(*args, **given))

        return model

    return decorate
