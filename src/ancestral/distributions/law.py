"""Elementary laws: a family with parameters, each a constant, trained, bound to a condition, or from a network.

To add a family, write one file with a class that declares ``domains`` and the *moves*: static
functions of tensors, which the interpreter, the generated step and the eager API all call.

========================  =====================================================================
``draw(noise, **params)``  a value as a function of base noise of the declared kind
``log_density(x, ...)``    the log density, before event axes are summed
``mean_of``, ``variance_of``, ``entropy_of``    moments and entropy (nats), where they exist
========================  =====================================================================
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ancestral.core.errors import (
    OptionError,
    ParameterError,
    ShapeError,
    VariableError,
    did_you_mean,
)
from ancestral.core.names import as_names, listing
from ancestral.distributions.base import Distribution, Factor
from ancestral.distributions.constraints import Constraint

Parameter = float | Tensor | str | None
Params = dict[str, Any]  # name to tensor, or to a number known when the law was built


def identity(x: Tensor) -> Tensor:
    """The link of an unconstrained parameter."""
    return x


class Law(Distribution):
    """An elementary law: one family, one or more variables, parameters from four sources.

    Args:
        var: Names of its variables.
        cond_var: Names of its conditions; for good, the argument names of the network.
        name: How it prints.
        features_shape: Event shape of a value; found from the parameters if not given.
        net: A callable of the conditions that returns a dict of parameters, or one tensor whose
            last axis splits into the parameters of :attr:`split`.
        given: The family's parameters: a number or tensor (a constant), an ``nn.Parameter``
            (trained), the name of a condition, or ``None`` (from the network).
    """

    domains: ClassVar[Mapping[str, Constraint]] = {}
    split: ClassVar[Mapping[str, Callable[[Tensor], Tensor]]] = {}
    parametrisations: ClassVar[tuple[tuple[str, ...], ...]] = ()
    reparametrised: ClassVar[bool] = False
    noise: ClassVar[str | None] = None
    is_data: ClassVar[bool] = False
    has_density: ClassVar[bool] = True
    value_dims: ClassVar[int] = 0  # event axes of a value that the density itself reduces
    param_dims: ClassVar[int] = 0  # the same of a parameter
    closed_kl: ClassVar[Mapping[type["Law"], Callable[..., Tensor]]] = {}

    def __init__(
        self,
        var: str | Iterable[str] | None,
        cond_var: str | Iterable[str],
        name: str,
        features_shape: Sequence[int] | None,
        net: Callable[..., Any] | None,
        given: Mapping[str, Parameter],
    ) -> None:
        super().__init__(name)
        self._var = as_names(["x"] if var is None else var, "var")
        self._cond_var = as_names(cond_var, "cond_var")
        both = sorted(set(self._var) & set(self._cond_var))
        if both:
            raise VariableError(
                f"{self.prob_text}: {listing(both)} is both drawn and conditioned on. "
                "A law cannot be conditioned on its own variable: rename one of them."
            )
        self.net = net if isinstance(net, nn.Module) or net is None else None
        self._call = None if isinstance(net, nn.Module) else net
        self._known: dict[str, float] = {}
        self._bound: dict[str, str] = {}
        self._given = tuple(k for k, v in given.items() if v is not None)
        for key, value in given.items():
            if value is not None:
                self._bind(key, value)
        self._check_parametrisation()
        self._features_shape = self._find_features_shape(features_shape)
        self._by_name = self._check_signature(net)

    # -- names ----------------------------------------------------------------------------------
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

    # -- parameters -----------------------------------------------------------------------------
    def _bind(self, key: str, value: Parameter) -> None:
        if isinstance(value, str):
            if value not in self._cond_var:
                raise VariableError(
                    f"{self.prob_text}: {key}={value!r} names a variable that is not in "
                    f"cond_var=[{', '.join(map(repr, self._cond_var))}]. Add it to cond_var."
                )
            self._bound[key] = value
        elif isinstance(value, nn.Parameter):
            self.register_parameter(key, value)
        else:
            tensor = torch.as_tensor(value)
            if not tensor.is_floating_point():
                tensor = tensor.to(torch.get_default_dtype())
            self.register_buffer(key, tensor.detach().clone(memory_format=torch.contiguous_format))
            self._read_known(key)

    def _read_known(self, key: str) -> None:
        buffer = self._buffers.get(key)
        if buffer is not None and buffer.dim() == 0 and buffer.device.type != "meta":
            self._known[key] = buffer.item()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        for key in tuple(self._known):
            self._read_known(key)

    def _check_parametrisation(self) -> None:
        for one in self.parametrisations:
            for other in self.parametrisations:
                clash = [k for k in self._given if k in set(one) ^ set(other)]
                if set(clash) & set(one) and set(clash) & set(other):
                    raise ParameterError(
                        f"{self.prob_text}: {' and '.join(clash)} were both given; "
                        f"a {type(self).__name__} takes one of them."
                    )

    def _find_features_shape(self, given: Sequence[int] | None) -> tuple[int, ...] | None:
        sizes = [tuple(getattr(self, k).shape) for k in self._given if k not in self._bound]
        sizes = [s for s in sizes if s]
        found = self.event_shape(dict(zip(self._given, sizes, strict=False))) if sizes else None
        if given is None or (not tuple(given) and found):
            complete = self._given and not self._bound and not self._cond_var
            return found if found is not None else (() if complete else None)
        shape = tuple(int(n) for n in given)
        if found is not None:
            try:
                fits = torch.broadcast_shapes(shape, found) == shape
            except RuntimeError:
                fits = False
            if not fits:
                raise ShapeError(
                    f"{self.prob_text}: features_shape={list(shape)} does not fit its constants, "
                    f"whose event shape is {list(found)}. Drop features_shape, or give numbers."
                )
        return shape

    def noise_event(self, params: Params) -> tuple[int, ...]:
        """The event shape of one draw's noise as far as the law itself knows it."""
        return tuple(self.features_shape)

    def event_shape(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """The event shape of a value from those of its parameters."""
        try:
            return tuple(torch.broadcast_shapes(*shapes.values()))
        except RuntimeError:
            told = ", ".join(f"{k} {list(s)}" for k, s in shapes.items())
            raise ShapeError(
                f"{self.prob_text}: parameters do not fit one another: {told}."
            ) from None

    def _check_signature(self, net: Callable[..., Any] | None) -> bool:
        """Whether the network takes its conditions by name; refuses a mixture."""
        overridden = type(self).forward is not Law.forward
        if net is not None and overridden:
            raise OptionError(
                f"{self.prob_text}: {type(self).__name__} has a forward of its own, and net= was "
                "given too. Keep one of them."
            )
        target = type(self).forward if overridden else getattr(net, "forward", net)
        if target is None:
            return True
        try:
            params = list(inspect.signature(target).parameters.values())
        except (TypeError, ValueError):
            return overridden
        params = params[1:] if overridden else params
        if any(p.kind is p.VAR_KEYWORD for p in params):
            return True
        names = [p.name for p in params if p.kind is not p.VAR_POSITIONAL]
        required = [p.name for p in params if p.default is p.empty and p.name in names]
        wanted = set(self._cond_var)
        if wanted <= set(names) and set(required) <= wanted:
            return True
        if not overridden and not (wanted & set(names)):
            return False  # a network with argument names of its own: in the order of cond_var
        what = f"{type(self).__name__}.forward" if overridden else "net"
        raise VariableError(
            f"{self.prob_text}: {what} takes ({', '.join(names)}), but the conditions are "
            f"({', '.join(self._cond_var)}). Name the arguments of {what} as in cond_var="
            f"{list(self._cond_var)}."
        )

    def forward(self, **conditions: Tensor) -> Params:
        """Run ``net`` on the conditions; a subclass may override it to be the network itself."""
        net = self.net if self.net is not None else self._call
        if net is None:
            missing = [k for k in (self.split or self.domains) if k not in self._given]
            raise ParameterError(
                f"{self.prob_text} has no value for {listing(missing)}. Give numbers or tensors "
                f"({missing[0] if missing else 'loc'}=...), a network (net=...), or write forward."
            )
        out = net(**conditions) if self._by_name else net(*(conditions[c] for c in self._cond_var))
        if isinstance(out, Mapping):
            return dict(out)
        return self.split_output(out)

    @property
    def given(self) -> tuple[str, ...]:
        """The parameters that the constructor was given."""
        return self._given

    @property
    def bound(self) -> Mapping[str, str]:
        """The parameters that are the value of a condition, with its name."""
        return self._bound

    @property
    def from_net(self) -> tuple[str, ...]:
        """The parameters that one output tensor of the network is split into, in order."""
        if any(k in self._given for k in self.domains if k not in self.split):
            return ()
        return tuple(k for k in self.split if k not in self._given)

    def split_output(self, out: Tensor) -> Params:
        """One tensor of the network as parameters: equal parts of the last axis, through their links."""
        names = self.from_net
        if not isinstance(out, Tensor) or not names:
            raise ParameterError(
                f"{self.prob_text}: the network must return a dict of parameters or one tensor, "
                f"got {type(out).__name__}."
            )
        if out.dim() == 0 or out.shape[-1] % len(names):
            raise ShapeError(
                f"{self.prob_text}: the network's output of shape {tuple(out.shape)} does not split "
                f"into {listing(names)}: the last axis must be a multiple of {len(names)}."
            )
        parts = out.chunk(len(names), -1) if len(names) > 1 else (out,)
        return {k: self.split[k](part) for k, part in zip(names, parts, strict=True)}

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """All parameters: the one call into the law object. Known constants stay numbers.

        Args:
            conditions: Values in the order of the law's own ``cond_var``.
        """
        local = dict(zip(self._cond_var, conditions, strict=True))
        out: Params = {}
        if not self._complete():
            out = self(**local)
            self._check_returned(out)
        for key in self._given:
            bound = self._bound.get(key)
            out[key] = local[bound] if bound else self._known.get(key, getattr(self, key, None))
        return out

    def _complete(self) -> bool:
        options = self.parametrisations or (tuple(self.domains),)
        return any(set(option) <= set(self._given) for option in options)

    def _check_returned(self, out: Params) -> None:
        again = [k for k in out if k in self._given]
        if again:
            raise ParameterError(
                f"{self.prob_text}: the network returned {listing(again)}, which the constructor "
                "was given too. Leave it out of one of them."
            )
        for key in out:
            if key not in self.domains:
                hint = did_you_mean(key, self.domains)
                raise ParameterError(
                    f"{self.prob_text}: the network returned {key!r}, which is no parameter of "
                    f"{type(self).__name__}; {hint}"
                )
        have = set(out) | set(self._given)
        options = self.parametrisations or (tuple(self.domains),)
        if not any(set(option) <= have for option in options):
            need = " or ".join(f"({', '.join(option)})" for option in options)
            raise ParameterError(
                f"{self.prob_text}: the network returned {listing(sorted(out))}, but a "
                f"{type(self).__name__} needs {need}."
            )

    def constants(self) -> dict[str, float] | None:
        """All parameters, if each is a number known when the law was built, else ``None``."""
        if len(self._known) == len(self._given) and self._complete():
            return dict(self._known)
        return None

    def anchor(self) -> Tensor:
        """A tensor with the law's dtype and device, for noise where no parameter is a tensor."""
        for tensor in (*self.parameters_and_buffers(),):
            if tensor.is_floating_point():
                return tensor
        return torch.empty(())

    def parameters_and_buffers(self) -> Iterable[Tensor]:
        """The law's tensors, parameters first."""
        yield from nn.Module.parameters(self)
        yield from self.buffers()

    def extra_repr(self) -> str:
        """What ``repr`` shows: names, shape, and where each parameter comes from."""
        lines = [f"name={self.name}, var={list(self._var)}, cond_var={list(self._cond_var)}"]
        if self._features_shape is not None:
            lines[0] += f", features_shape={list(self._features_shape)}"
        lines += [f"{k}: {self._source(k)}" for k in self._sources()]
        return "\n".join(lines)

    def _sources(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._given, *self.from_net)))

    def _source(self, key: str) -> str:
        if key in self._bound:
            return f"the value of {self._bound[key]}"
        if key in self._known:
            return f"{self._known[key]:g}"
        if key in self._given:
            kind = "trained" if key in self._parameters else "constant"
            return f"{kind}, shape {list(getattr(self, key).shape)}"
        link = self.split.get(key, identity)
        through = "" if link is identity else f" through {link.__name__}"
        if type(self).forward is not Law.forward:
            return "from forward"
        names = self.from_net
        part = f", part {names.index(key) + 1} of {len(names)}" if len(names) > 1 else ""
        return f"from net{part}{through}" if (self.net or self._call) else "not given"

    # -- moves; a family overrides them ---------------------------------------------------------
    @property
    def moves(self) -> type["Law"]:
        """Where the static moves stand: the class, unless an option of the law chooses others."""
        return type(self)

    def support(self, params: Params) -> Constraint | None:
        """What a value may be, or ``None`` if anything finite."""
        return None

    @staticmethod
    def draw(noise: Tensor, **params: Any) -> Tensor:
        """A value as a function of base noise."""
        raise NotImplementedError

    @staticmethod
    def log_density(x: Tensor, **params: Any) -> Tensor:
        """The log density, before event axes are summed."""
        raise NotImplementedError
