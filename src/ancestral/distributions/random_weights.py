r"""The weights of a network as one random variable, :math:`p(y \mid x, w)\,p(w)`.

.. math:: \log p(y_{1:N}, w \mid x_{1:N}) = \sum_n \log p(y_n \mid f(x_n, w)) + \log p(w)

The weights are one vector w, an event of |w| numbers, and not a tree of tensors: so that every law
of vectors is a posterior of them (diagonal, low-rank or full normal, a flow, particles), with one
draw, one noise tensor and one closed form each. ``unflatten`` tells a vector's tensors by name.
They are global: one draw for all rows, and beside it a batch stands for the data set, as
:mod:`ancestral.losses.globals` says.

Source: MacKay, A practical Bayesian framework for backpropagation networks (1992); Blundell et
al., Weight uncertainty in neural networks (2015), section 3.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ancestral.core.errors import NetworkError, OptionError, VariableError
from ancestral.core.names import listing
from ancestral.distributions.eager import make_global
from ancestral.distributions.law import Law
from ancestral.distributions.net_of_weights import NetOfWeights

Prior = Law | Mapping[str, Law]


@dataclass(frozen=True, eq=False, repr=False)
class Weights:
    """The weights of a network as a random variable: what :func:`weights` returns.

    Args:
        name: The variable's name.
        prior: Their law, :math:`p(w)`; it prints as ``p(w)``.
        apply: The network as a function of inputs and weights, ``net=w.apply``.
    """

    name: str
    prior: Law
    apply: NetOfWeights

    @property
    def size(self) -> int:
        """How many weights there are, ``|w|``."""
        return self.apply.size

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Their shapes by the names that the network has for them, in the order of the vector."""
        return dict(self.apply.shapes)

    @property
    def init(self) -> Tensor:
        """The weights that the network had, shape ``(|w|,)``."""
        return self.flatten({k: self.apply.net.get_buffer(k) for k in self.shapes})

    def unflatten(self, w: Tensor) -> dict[str, Tensor]:
        """The tensors of weights ``(*lead, |w|)`` by name, shape ``(*lead, *shape)`` each."""
        return self.apply.unflatten(w)

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The vector of weights given by name, the inverse of :meth:`unflatten`.

        Raises:
            VariableError: If there are not all of them, or others.
        """
        if set(tensors) != set(self.shapes):
            raise VariableError(
                f"the weights {self.name} are {listing(list(self.shapes))}; "
                f"got {listing(list(tensors))}."
            )
        parts = []
        for name, shape in self.shapes.items():
            value = tensors[name]
            lead = value.shape[: value.dim() - len(shape)]
            parts.append(value.reshape(*lead, shape.numel()))
        return torch.cat(parts, -1)

    def __repr__(self) -> str:
        """The variable, its size and its law."""
        return f"Weights({self.name}: {self.size} numbers, prior {self.prior.distribution_name})"


def weights(
    net: nn.Module,
    prior: Prior,
    *,
    names: str | Iterable[str] | None = None,
    name: str = "w",
) -> Weights:
    r"""The weights of a network as one global random variable w with the law :math:`p(w)`.

    The network is copied: the one that is given is neither trained nor changed by what is built
    here. Weights are one variable, a vector; parameters that are not among them stay parameters of
    ``w.apply``, and so of the law whose ``net`` it is, which trains them; those that are frozen
    (``requires_grad=False``) stay as they are.

    A draw of w goes through the network with one vmapped call for all draws; each draw has its own
    dropout masks.

    Args:
        net: The network.
        prior: A law of numbers, without conditions, for each weight by itself,
            ``Normal(loc=0.0, scale=1.0)``; or a dict of such laws of one family, by names or
            patterns of names (``{"*.bias": ..., "*": ...}``, of which the first that fits holds).
            Its tensors are broadcast to a parameter's shape; an ``nn.Parameter`` of a law for all
            is trained with ``w.prior``.
        names: Names or patterns of the parameters that are random; by default all that are not
            frozen.
        name: The variable's name.

    Raises:
        NetworkError: If the network keeps running statistics (batch normalisation), which mix rows
            and depend on the order of evaluations.
        OptionError: If names or patterns fit no parameter, or the prior is none.

    Example:
        >>> from ancestral.distributions import MeanField, Normal
        >>> from ancestral.losses import KL, E
        >>> w = weights(nn.Linear(2, 1), prior=Normal(loc=0.0, scale=1.0))
        >>> p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=0.1)
        >>> q = MeanField(w)
        >>> print((E(q, p.log_prob()) - KL(q, w.prior)).mean())
        mean(E_{q(w)}[log p(y|x,w)] - KL[q(w) || p(w)] / N)
        >>> {k: tuple(v.shape) for k, v in w.unflatten(q.sample()["w"]).items()}
        {'weight': (1, 2), 'bias': (1,)}
        >>> p.sample({"x": torch.zeros(5, 2), "w": q.sample(sample_shape=[3])["w"]})["y"].shape
        torch.Size([3, 5, 1])
    """
    if not isinstance(net, nn.Module):
        raise OptionError(
            f"weights({type(net).__name__}): give the network itself, an nn.Module with parameters."
        )
    for path, module in net.named_modules():
        if isinstance(module, _NormBase) and module.track_running_stats:
            raise NetworkError(
                f"weights: {path or 'the network'} is a {type(module).__name__} with running "
                "statistics, which change at each evaluation and are those of no single draw of "
                "the weights. Use GroupNorm or LayerNorm, or statistics of the batch alone: "
                "torch.func.replace_all_batch_norm_modules_(net)."
            )
    chosen = _chosen(net, names)
    own = NetOfWeights(_emptied(net, chosen), {k: p.shape for k, p in chosen.items()}, name)
    return Weights(name, _prior(prior, own), own)


def _chosen(net: nn.Module, names: str | Iterable[str] | None) -> dict[str, nn.Parameter]:
    """The parameters that are random, by name; one that is tied stands once."""
    every = dict(net.named_parameters())
    if names is None:
        found = {k: p for k, p in every.items() if p.requires_grad}
    else:
        patterns = [names] if isinstance(names, str) else list(names)
        for pattern in patterns:
            _check_used(pattern, every, "names")
        found = {k: p for k, p in every.items() if any(fnmatchcase(k, m) for m in patterns)}
    if not found:
        raise OptionError(
            "weights: the network has no parameter to be random. Frozen ones are left as they "
            "are; name those that are meant, names=[...]."
        )
    return found


def _check_used(pattern: str, names: Iterable[str], what: str) -> None:
    if not any(fnmatchcase(name, pattern) for name in names):
        raise OptionError(
            f"weights: {what} has {pattern!r}, which fits no parameter of the network "
            f"({listing(list(names))})."
        )


def _emptied(net: nn.Module, chosen: Mapping[str, nn.Parameter]) -> nn.Module:
    """A copy of a network that holds some parameters as buffers: they are given at each call."""
    net, every = copy.deepcopy(net), set(chosen)
    mine = {id(p): p.detach().clone() for k, p in net.named_parameters() if k in every}
    for module in net.modules():
        for leaf, p in list(module._parameters.items()):
            if p is not None and id(p) in mine:  # tied ones share the buffer, too
                del module._parameters[leaf]
                module.register_buffer(leaf, mine[id(p)], persistent=False)
    return net


# -- the prior ------------------------------------------------------------------------------------
def _prior(prior: Prior, net: NetOfWeights) -> Law:
    """The law of the vector, from that of each number."""
    if not isinstance(prior, Mapping):
        _check_prior(prior)
        known, numbers = prior.given, prior.numbers
        given = {k: numbers.get(k, getattr(prior, k)) for k in known}
        wide = {k: v for k, v in given.items() if isinstance(v, Tensor) and v.dim()}
        if wide:
            each = {name: prior for name in net.shapes}
            given = {**given, **{k: _spread(each, net, k) for k in wide}}
        return _of_vector(prior, given, net)
    for pattern, law in prior.items():
        _check_used(pattern, net.shapes, "prior")
        _check_prior(law)
    laws: dict[str, Law] = {}
    for name in net.shapes:
        fits = [law for pattern, law in prior.items() if fnmatchcase(name, pattern)]
        if not fits:
            raise OptionError(f"weights: prior has no law for {name}. Add one, or '*' at the end.")
        laws[name] = fits[0]
    first = next(iter(laws.values()))
    for law in laws.values():
        if type(law) is not type(first) or law.given != first.given:
            raise OptionError(
                f"weights: prior has a {first.distribution_name}({', '.join(first.given)}) and a "
                f"{law.distribution_name}({', '.join(law.given)}). Give laws of one family with "
                "the same parameters, or two variables: weights(net, names=..., name=...)."
            )
    return _of_vector(first, {k: _spread(laws, net, k) for k in first.given}, net)


def _check_prior(law: Any) -> None:
    if isinstance(law, Law) and not law.cond_var and law.is_complete and not law.param_dims:
        return
    told = law.prob_text if isinstance(law, Law) else repr(law)
    raise OptionError(
        f"weights: prior={told} must be a law of single numbers without conditions, e.g. "
        "Normal(loc=0.0, scale=1.0). Any other law of the vector stands in the loss by itself: "
        "Normal(var=['w'], ..., features_shape=[w.size], plate=None)."
    )


def _spread(laws: Mapping[str, Law], net: NetOfWeights, key: str) -> Tensor:
    """A parameter of the laws of all weights as one vector."""
    found = []
    for name, law in laws.items():
        value, shape = getattr(law, key).detach(), net.shapes[name]
        try:
            found.append(value.expand(shape).reshape(-1))
        except RuntimeError:
            raise OptionError(
                f"weights: the prior's {key} of shape {tuple(value.shape)} does not broadcast to "
                f"{name} of shape {tuple(shape)}."
            ) from None
    return torch.cat(found)


def _of_vector(law: Law, given: Mapping[str, Any], net: NetOfWeights) -> Law:
    family: Any = type(law)  # its constructor takes what it was given, by these names
    found: Law = family(var=[net.variable], name=law.name, features_shape=[net.size], **given)
    make_global(found, None)
    return found
