r"""Weights of a network that are drawn layer by layer, for each row by itself.

Independent normal weights :math:`W_{ij} \sim N(M_{ij}, S_{ij}^2)` of a linear layer make its
pre-activations a normal vector, so that a plan may draw these in place of the weights. A network
sees such weights as their means, and each of its linear layers is computed by the plan.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from ancestral.core.errors import NetworkError, ShapeError

# what may be asked of weights without reading them
SHAPES = ("shape", "dtype", "device", "ndim", "requires_grad")


@dataclass(frozen=True)
class Layer:
    """A linear layer with random weights: their names, its widths, and where its noise starts."""

    name: str
    weight: str | None
    bias: str | None
    inputs: int
    outputs: int
    start: int = 0


def linear_layers(net: Any, plan: object) -> list[Layer]:
    """The layers of a network of weights.

    Args:
        net: The network of weights.
        plan: How the message calls the plan.

    Raises:
        NetworkError: If random parameters belong to other modules, or to several.
    """
    held: dict[int, list[tuple[str, nn.Module, str]]] = {}
    for path, module in net.net.named_modules():
        for leaf, buffer in module._buffers.items():
            held.setdefault(id(buffer), []).append((path, module, leaf))
    own: dict[str, dict[str, str]] = {}
    for name in net.shapes:
        places = held[id(net.net.get_buffer(name))]
        path, module, leaf = places[0]
        linear = isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward
        if len(places) > 1 or not linear:
            told = f"belongs to a {type(module).__name__}"
            if len(places) > 1:
                told = "is shared by " + " and ".join(p or "the network" for p, _, _ in places)
            raise NetworkError(
                f"{plan} for {net.variable}: {name} {told}, but it is for layers nn.Linear with "
                "weights of their own. Leave these parameters out, weights(net, names=[...]), or "
                "use Pathwise()."
            )
        own.setdefault(path, {})[leaf] = name
    modules = dict(net.net.named_modules())
    return [
        Layer(path, names.get("weight"), names.get("bias"), m.in_features, m.out_features)
        for path, names in own.items()
        if (m := modules[path])
    ]


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """Weights as a network of them is given: it calls :meth:`through` in place of itself.

    Args:
        means: Shape ``(|w|,)``.
        spreads: What stands beside the means, likewise.
        noise: For each row, shape ``(rows, S)``.
        layers: With where the noise of each starts.
        activate: The pre-activations: a function of the layer, the inputs, the means of weight and
            bias, what stands beside them, and the noise of all layers.
        plan: How the message calls the plan.
    """

    means: Tensor
    spreads: Tensor
    noise: Tensor
    layers: tuple[Layer, ...]
    activate: Callable[..., Tensor]
    plan: object

    @property
    def shape(self) -> torch.Size:
        """That of a vector of weights."""
        return self.means.shape

    @property
    def dtype(self) -> torch.dtype:
        """That of the weights."""
        return self.means.dtype

    def dim(self) -> int:
        """That of a vector."""
        return 1

    def through(self, net: Any, rows: tuple[Tensor, ...]) -> Any:
        """What a network returns at inputs, each row with weights of its own."""
        means, spreads = net.unflatten(self.means), net.unflatten(self.spreads)
        with _ByLayer(self, means, spreads):
            return functional_call(net.net, means, rows)


class _ByLayer(TorchFunctionMode):
    """While it lasts the linear layers are those of a plan, and nothing else reads weights."""

    def __init__(
        self, weights: LayerWeights, means: dict[str, Tensor], spreads: dict[str, Tensor]
    ) -> None:
        super().__init__()
        self.weights, self.means, self.spreads = weights, means, spreads
        self.seen: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear:
            given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
            for layer in self.weights.layers:
                if self._is(given["weight"], layer.weight) or self._is(given["bias"], layer.bias):
                    return self._linear(layer, **given)
        told = getattr(getattr(func, "__self__", None), "__name__", "")
        if told not in SHAPES:
            for name in self.means:
                if any(self._is(v, name) for v in _flat((args, kwargs))):
                    raise NetworkError(
                        f"{self.weights.plan}: {getattr(func, '__name__', func)} reads {name}, "
                        "which has no one value: its layer is drawn for each row. Use Pathwise()."
                    )
        return func(*args, **kwargs)

    def _is(self, value: Any, name: str | None) -> bool:
        return name is not None and value is self.means[name]

    def _linear(
        self, layer: Layer, input: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        noise = self.weights.noise
        if layer.name in self.seen or input.shape[0] != noise.shape[0]:
            told = "runs twice" if layer.name in self.seen else f"sees {input.shape[0]} rows"
            raise ShapeError(
                f"{self.weights.plan}: the layer {layer.name or 'of the network'} {told}, where "
                f"each of {noise.shape[0]} rows has one draw of it. Use Pathwise()."
            )
        self.seen.append(layer.name)
        spread = tuple(None if n is None else self.spreads[n] for n in (layer.weight, layer.bias))
        return self.weights.activate(layer, input, (weight, bias), spread, noise)


def _flat(values: Any) -> Iterator[Any]:
    if isinstance(values, (tuple, list)):
        for v in values:
            yield from _flat(v)
    elif isinstance(values, dict):
        yield from _flat(tuple(values.values()))
    else:
        yield values
