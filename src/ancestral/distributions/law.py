"""Elementary laws: a family with parameters, each a constant, trained, a condition, or from a net.

To add a family, write one file with a class that declares ``domains`` and the *moves*: static
functions of tensors, which the interpreter, the generated step and the eager API all call. Where
parameters may not be chosen one by one, it also writes :meth:`Law.examples`.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, ParameterError, VariableError
from ancestral.core.names import as_names, listing
from ancestral.distributions.base import Distribution, Factor
from ancestral.distributions.conjugate import Conjugate
from ancestral.distributions.constraints import Constraint, check, check_increasing, examples
from ancestral.distributions.formula import Formula
from ancestral.distributions.layout import declared_event
from ancestral.distributions.network import check_network, check_returned, split_output
from ancestral.distributions.noise import check_noise
from ancestral.distributions.numbers import Numbers, as_constant
from ancestral.distributions.pushforward import Pushforward
from ancestral.distributions.sources import check_given, check_variables, lines_of

Parameter = float | Tensor | str | None
Params = dict[str, Any]  # name to tensor, or to a number known when the law was built


@functools.cache
def _words() -> frozenset[str]:
    """What every law has of its own, beside what it has as a module of torch."""
    own = {name for c in (Law, Distribution) for name in (*vars(c), *c.__annotations__)}
    return frozenset(n for n in own if not n.startswith("_") and not hasattr(nn.Module, n))


class Law(Distribution):
    """An elementary law: one family, one or more variables, parameters from four sources.

    A family declares, as class attributes,

    * ``domains``: its parameters and what each may be; ``parametrisations``: the sets of them of
      which one is given, if not all are; ``split``: how one tensor of a network becomes
      parameters, in order, each through its link;
    * ``noise``: the kind of base noise that a draw is a function of, or in words what its own
      ``noise_of`` returns; ``reparametrised``: whether a draw is differentiable in parameters;
    * ``increasing``: parameters that must be in this order, as the ends of an interval are;
    * ``value_dims``, ``param_dims``: how many last axes of a value, and of a parameter, the
      density itself reduces (1 for a vector such as a one-hot value); where parameters differ in
      them, ``cores`` has a letter for each axis, ``{"loc": "d", "scale_tril": "dd"}``, and
      ``param_dims`` counts the letters, of which in alphabetical order the first are the value's;
    * its moves, static functions of tensors: ``draw(noise, **params)``, a value as a function of
      base noise; ``log_density(x, **params)``, before event axes are summed; and as far as they
      exist ``log_cdf`` and ``log_sf(x, **params)``, the logarithms of P(X <= x) and P(X > x),
      ``icdf(u, **params)``, the smallest x with P(X <= x) >= u; ``mean_of``, ``variance_of``,
      ``entropy_of`` (nats) of the parameters; and ``values(event, like)``, all values of a
      discrete event;
    * ``relaxed(noise, temperature, **params)``, of a discrete law: the draw of the same noise with
      its jumps smoothed, whose gradient stands for that of the draw in ``StraightThrough``;
    * ``noise_of(shape, like, generator, **params)``, a move of laws without fixed base noise: a
      standard draw given the parameters, to which ``draw`` attaches its (implicit) gradient;
    * ``closed_kl``: for each family with a closed form of KL[self || family], a function of both
      laws' parameters; ``conjugate``: for each family of conjugate priors how it is updated.

    Args:
        var: Names of its variables.
        cond_var: Names of its conditions; for good, the argument names of the network.
        name: How it prints.
        features_shape: Event shape of a value; found from the parameters if not given. Axes in
            front of those of the constants are independent copies, a plate.
        net: A callable of the conditions that returns a dict of parameters, or one tensor whose
            last axis splits into the parameters of ``split``.
        given: The family's parameters: a number or tensor (a constant), an ``nn.Parameter``
            (trained), the name of a condition, or ``None`` (from the network).

    Raises:
        VariableError: If names are repeated, or do not fit the network's arguments.
        ParameterError: If parameters are contradictory, or leave nothing to the network.
        SupportError: If a constant is outside its domain.
    """

    domains: ClassVar[Mapping[str, Constraint]] = {}
    split: ClassVar[Mapping[str, Callable[[Tensor], Tensor]]] = {}
    parametrisations: ClassVar[tuple[tuple[str, ...], ...]] = ()
    reparametrised: ClassVar[bool] = False
    noise: ClassVar[str | Mapping[str, str] | None] = None
    is_data: ClassVar[bool] = False
    rearranged: Distribution | None = None  # the law whose rows it mixes, if it is batch-level
    is_random: ClassVar[bool] = True  # or else a function of its conditions
    has_density: ClassVar[bool] = True
    increasing: ClassVar[tuple[str, ...]] = ()
    several: ClassVar[bool] = False  # whether it may be over several variables
    composite: ClassVar[bool] = False  # whether its parameters are those of laws it is made from
    by_steps: ClassVar[Any] = None  # what draws it and takes its density without lowering
    states: Sequence[str] = ()  # its variables that are functions of the others
    unread: Sequence[str] = ()  # its conditions that a draw does not read, but a density does
    value_dims: ClassVar[int] = 0
    param_dims: ClassVar[int] = 0
    cores: ClassVar[Mapping[str, str]] = {}
    closed_kl: ClassVar[Mapping[type["Law"], Callable[..., Tensor]]] = {}
    conjugate: ClassVar[Mapping[type["Law"], Conjugate]] = {}

    # The moves. A family that has one writes it as a static method; the others stay without.
    draw: ClassVar[Callable[..., Tensor]]
    relaxed: ClassVar[Callable[..., Tensor]]
    log_density: ClassVar[Callable[..., Tensor]]
    noise_of: ClassVar[Callable[..., Tensor]]
    log_cdf: ClassVar[Callable[..., Tensor]]
    log_sf: ClassVar[Callable[..., Tensor]]
    icdf: ClassVar[Callable[..., Tensor]]
    mean_of: ClassVar[Callable[..., Any]]
    variance_of: ClassVar[Callable[..., Any]]
    entropy_of: ClassVar[Callable[..., Any]]
    values: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        var: str | Iterable[str] | None,
        cond_var: str | Iterable[str],
        name: str,
        features_shape: Sequence[int] | int | None,
        net: Callable[..., Any] | None,
        given: Mapping[str, Parameter],
    ) -> None:
        super().__init__(name)
        self._var = as_names(["x"] if var is None else var, "var")
        self._cond_var = as_names(cond_var, "cond_var")
        check_variables(self)
        self.net = net
        self._bound: dict[str, str] = {}
        self._numbers = Numbers()
        self._given = tuple(k for k, v in given.items() if v is not None)
        for key in self._given:
            self._bind(key, given[key])
        self._numbers.read(self._buffers)
        check_given(self)
        self.check_together({**self._buffers, **self._parameters}, self.prob_text)
        if isinstance(features_shape, int):
            features_shape = (features_shape,)
        self._features_shape = declared_event(self, features_shape)
        own = type(self).forward is not Law.forward
        self._by_name = check_network(self, own=own)

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse two sources of noise in one family."""
        super().__init_subclass__(**options)
        check_noise(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse an attribute whose name the law uses itself: one would hide the other."""
        if name in _words() and name not in ("name", "net"):
            other = f"{name}_layer" if isinstance(value, nn.Module) else f"own_{name}"
            raise OptionError(
                f"{type(self).__name__}: {name!r} is a word of every law, so that no attribute "
                f"can be called so. Call it {other}."
            )
        super().__setattr__(name, value)

    # -- what it is over ------------------------------------------------------------------------
    @property
    def factors(self) -> tuple[Factor, ...]:
        """The law itself, as the only factor."""
        return (Factor(self, self._var, self._cond_var),)

    @property
    def var(self) -> list[str]:
        """The variables that the law is over."""
        return list(self._var)

    @property
    def cond_var(self) -> list[str]:
        """The variables that the law is conditioned on."""
        return list(self._cond_var)

    @property
    def features_shape(self) -> torch.Size:
        """The event shape as declared, or as the constants have it; ``()`` if neither says."""
        return torch.Size(self._features_shape or ())

    @property
    def declared_shape(self) -> torch.Size | None:
        """The event shape if it is known without running a network, else ``None``."""
        return None if self._features_shape is None else torch.Size(self._features_shape)

    # -- parameters that the constructor is given -----------------------------------------------
    def _bind(self, key: str, value: Parameter) -> None:
        what = f"{self.prob_text}: {key}"
        if isinstance(value, str):
            if value not in self._cond_var:
                raise VariableError(
                    f"{self.prob_text}: {key}={value!r} names a variable that is not in "
                    f"cond_var=[{', '.join(map(repr, self._cond_var))}]. Add it to cond_var."
                )
            self._bound[key] = value
            return
        if callable(value) and not isinstance(value, Tensor):
            raise ParameterError(
                f"{what}= takes a number, a tensor, an nn.Parameter or the name "
                f"of a condition, got {type(value).__name__}. A network is given as net=."
            )
        if isinstance(value, nn.Parameter):
            self.register_parameter(key, value)
        else:
            self.register_buffer(
                key, as_constant(f"{self.prob_text}: {key}", torch.as_tensor(value))
            )
        if key in self.domains:
            check(self.domains[key], getattr(self, key), f"{self.prob_text}: {key}")

    @property
    def ways(self) -> tuple[tuple[str, ...], ...]:
        """The sets of parameters that make the law, one of which is needed."""
        return self.parametrisations or (tuple(self.domains),)

    @property
    def given(self) -> tuple[str, ...]:
        """The parameters that the constructor was given."""
        return self._given

    @property
    def bound(self) -> Mapping[str, str]:
        """The parameters that are the value of a condition, with its name."""
        return self._bound

    @property
    def is_complete(self) -> bool:
        """Whether the constructor was given all parameters, so that no network is needed."""
        return any(set(way) == set(self._given) for way in self.ways)

    @classmethod
    def check_together(cls, params: Mapping[str, Any], what: str) -> None:
        """Raise if parameters, each in its domain, do not fit one another.

        Args:
            params: Those that are known: a law with a condition or a network has not all.
            what: How a message calls the law.

        Raises:
            SupportError: If they make no law; here if they are not ``increasing``.
        """
        check_increasing(cls.increasing, params, what)

    # -- constants that are numbers: known when a loss is lowered -------------------------------
    @property
    def numbers(self) -> dict[str, float]:
        """The constants that are single numbers and were not changed since."""
        return self._numbers.current(self._buffers)

    def constants(self) -> dict[str, float] | None:
        """All parameters, if each is a number known when the law was built, else ``None``."""
        numbers = self.numbers
        return numbers if self.is_complete and len(numbers) == len(self._given) else None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Law":
        numbers = self.numbers
        super()._apply(fn, recurse)
        self._numbers.keep(numbers, self._buffers)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._numbers.read(self._buffers)

    # -- shapes ---------------------------------------------------------------------------------
    @classmethod
    def value_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """The event shape of a value, from that which the parameters span."""
        return event[: len(event) - cls.param_dims + cls.value_dims]

    @classmethod
    def noise_shape(cls, event: tuple[int, ...]) -> Any:
        """The event shape of a draw's noise, of each part, from that which the parameters span."""
        return event

    # -- the network ----------------------------------------------------------------------------
    def forward(self, **conditions: Tensor) -> Params:
        """Run ``net`` on the conditions; a subclass may override it to be the network itself."""
        if self.net is None:
            missing = [k for k in (self.split or self.domains) if k not in self._given]
            raise ParameterError(
                f"{self.prob_text} has no value for {listing(missing)}. Give numbers or tensors "
                f"({missing[0] if missing else 'loc'}=...), a network (net=...), or write forward."
            )
        in_order = [conditions[c] for c in self._cond_var]
        out = self.net(**conditions) if self._by_name else self.net(*in_order)
        return dict(out) if isinstance(out, Mapping) else self.split_output(out)

    @property
    def takes_names(self) -> bool:
        """Whether the network is called with the conditions by name, not in their order."""
        return self._by_name

    @property
    def from_net(self) -> tuple[str, ...]:
        """The parameters that one output tensor of the network is split into, in order."""
        given, split = set(self._given), set(self.split)
        fits = (set(way) for way in self.ways if given <= set(way) <= given | split)
        chosen = next(fits, given)
        return tuple(k for k in self.split if k in chosen - given)

    def split_output(self, out: Tensor) -> Params:
        """Parameters from one tensor: equal parts of its last axis, each through its link."""
        return split_output(self, out)

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """All parameters: the one call into the law object. Known constants stay numbers.

        Args:
            conditions: Values in the order of the law's own ``cond_var``.
        """
        local = dict(zip(self._cond_var, conditions, strict=True))
        out: Params = {}
        if not self.is_complete:
            out = self(**local)
            if not isinstance(out, Mapping):
                raise ParameterError(
                    f"{self.prob_text}: forward returned a {type(out).__name__}; return a dict of "
                    f"parameters, e.g. {{{', '.join(f'{k!r}: ...' for k in self.split)}}}."
                )
            check_returned(self, out)
        numbers = self.numbers
        for key in self._given:
            bound = self._bound.get(key)
            out[key] = local[bound] if bound else numbers.get(key, getattr(self, key, None))
        return out

    # -- what the runtime asks ------------------------------------------------------------------
    @property
    def moves(self) -> type["Law"]:
        """Where the static moves stand: the class, unless an option of the law chooses others."""
        return type(self)

    @property
    def pushforward(self) -> Pushforward | None:
        """The law and the bijection of which it is the push-forward, if it is a flow's."""
        return None

    @property
    def density_net(self) -> Callable[..., Tensor] | None:
        """The log density of values and conditions, of a law that is given by it alone."""
        return None

    def support(self, params: Params) -> Constraint | None:
        """What a value may be, or ``None`` if anything finite."""
        return None

    @property
    def optional(self) -> tuple[str, ...]:
        """The conditions that need not be given: what depends on them is left out then."""
        return ()

    @property
    def masked(self) -> tuple[str, ...]:
        """The conditions that a mask leaves out in single rows, where they may be NaN."""
        return tuple(getattr(self.net, "masked", ()))

    def without(self, names: Sequence[str]) -> "Law":
        """The law that is left when some of its :attr:`optional` conditions are not given.

        Args:
            names: The conditions that are not given.

        Raises:
            VariableError: If one of them is needed; of most laws all are.
        """
        if names:
            raise VariableError(
                f"{self.prob_text}: a {self.distribution_name} needs a value for "
                f"{listing(list(names))}. Conditions that may be left out are those of the experts "
                "of a ProductOfNormal or a MixtureOfNormal."
            )
        return self

    def anchor(self) -> Tensor:
        """A tensor with the law's dtype and device, for noise where no parameter is a tensor."""
        tensors = (*nn.Module.parameters(self), *self.buffers())
        return next((t for t in tensors if t.is_floating_point()), torch.empty(()))

    # -- how it reads, and is tested ------------------------------------------------------------
    @property
    def formula(self) -> Formula | None:
        """The right side of its equation, of a law that is made from laws."""
        return None

    def extra_repr(self) -> str:
        """What ``repr`` shows: names, shape, and where each parameter comes from."""
        return "\n".join(lines_of(self, own=type(self).forward is not Law.forward))

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Arguments of the constructor that the contract checks try: three components each.

        By default they are made from ``domains``, one set for each of :attr:`ways`. A family
        whose parameters depend on each other, or that has options, writes its own; of a law with
        conditions ``given`` is a dict of their values, one row each.
        """
        ways = cls.parametrisations or (tuple(cls.domains),)
        return [examples(cls.domains, way, cls.cores, cls.param_dims) for way in ways]
