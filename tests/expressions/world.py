"""A world: elementary laws of every family with small networks, weights and data, from a seed.

The laws stand twice: as plain data for the independent evaluation, and as Ancestral's objects
with the same weights.
"""

import functools
import random
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import ancestral.distributions as ad
from ancestral.losses import Function
from tests.oracles.plain import children

REAL = ("x", "z", "w", "h")
KINDS = {**dict.fromkeys(REAL, "real"), "b": "binary", "y": "onehot", "c": "index"}
SCALARS = ("beta", "gamma")
FAMILIES = ("normal", "laplace", "bernoulli", "onehot", "index", "deterministic", "data")
ROWS = (2, 3)


def twin(name: str) -> str:
    """Another variable of the same kind and shape."""
    return name[:-1] if name.endswith("1") else name + "1"


def base(name: str) -> str:
    """The variable that a twin is of."""
    return name.removesuffix("1")


class Linear(nn.Module):
    """A linear layer on the conditions side by side."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())

    def forward(self, *conditions: Tensor) -> Tensor:
        flat = [c if c.is_floating_point() else c.double()[..., None] for c in conditions]
        return nn.functional.linear(torch.cat(flat, -1), self.weight, self.bias)


class Tanh(Linear):
    """``tanh`` of a linear layer; one number per row, if it has one output."""

    def __init__(self, weight: Tensor, bias: Tensor, squeeze: bool) -> None:
        super().__init__(weight, bias)
        self.squeeze = squeeze

    def forward(self, *conditions: Tensor) -> Tensor:
        out = super().forward(*conditions).tanh()
        return out.squeeze(-1) if self.squeeze else out


@dataclass
class World:
    """Laws, functions, weights and data of one seed."""

    seed: int
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    classes: int = 2
    rows: int = 2
    laws: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    functions: dict[str, dict[str, Any]] = field(default_factory=dict)
    callables: dict[str, Function] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)
    data: dict[str, Tensor] = field(default_factory=dict)

    def width(self, name: str) -> int:
        """How many inputs a variable is to a network."""
        shape = self.shapes[name]
        return shape[0] if shape else 1

    def of_family(self, family: str) -> list[str]:
        """The elementary laws of a family."""
        return [k for k, law in self.laws.items() if law["family"] == family]

    def weights_of(self, e: tuple[Any, ...]) -> list[str]:
        """The weights of the laws and functions that an expression mentions."""
        names = mentioned(e)
        return [k for k in self.weights if k.rpartition(".")[0] in names]

    def unflattened(self, keys: list[str], flat: Tensor) -> dict[str, Tensor]:
        """Weights from one vector."""
        sizes = [self.weights[k].numel() for k in keys]
        parts = flat.split(sizes) if keys else ()
        return {
            k: p.reshape(self.weights[k].shape).clone() for k, p in zip(keys, parts, strict=True)
        }

    def set_weights(self, weights: dict[str, Tensor]) -> None:
        """Give Ancestral's parameters these values, in place."""
        with torch.no_grad():
            for key, value in weights.items():
                self.parameters[key].copy_(value)


def mentioned(e: tuple[Any, ...]) -> set[str]:
    """The keys of the laws and functions in an expression."""
    found = {e[1]} if e[0] == "apply" else set()
    for a in e[1:]:
        if isinstance(a, dict):
            found |= {f["law"] for f in a["factors"]}
    return found.union(*(mentioned(c) for c in children(e)))


@functools.lru_cache(maxsize=4)
def world(seed: int) -> World:
    """The world of a seed."""
    return Maker(seed).made()


class Maker:
    """Makes a world: its variables and data, then its laws one by one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"world {seed}")
        self.generator = torch.Generator().manual_seed(seed)
        self.w = World(seed)

    def variables(self) -> World:
        """Shapes, data and scalars."""
        w, r = self.w, self.random
        w.rows, w.classes = r.choice(ROWS), r.choice((2, 3))
        for name, kind in KINDS.items():
            shape = {"real": (r.randint(1, 3),), "binary": (r.randint(1, 2),), "index": ()}
            w.shapes[name] = shape.get(kind, (w.classes,))
            w.shapes[twin(name)] = w.shapes[name]
        for name in w.shapes:
            w.data[name] = self._data(name)
        for name in SCALARS:
            w.data[name] = torch.tensor(r.uniform(0.3, 1.5), dtype=torch.float64)
        return w

    def made(self) -> World:
        """A world with laws of every family, and functions."""
        w, r = self.variables(), self.random
        self._laws()
        for key, outputs, squeeze in (("f", 1, True), ("g", 2, False), ("e", 1, False)):
            arg = r.choice(REAL)
            weights = self._layer(key, w.width(arg), outputs)
            w.functions[key] = {"arg": arg, "scalar": outputs == 1}
            net = Tanh(*weights, squeeze)
            self._keep(key, net)
            w.callables[key] = Function(net, name=key)
        return w

    def _data(self, name: str) -> Tensor:
        shape = (self.w.rows, *self.w.shapes[name])
        kind = KINDS[base(name)]
        if kind == "real":
            return torch.randn(shape, dtype=torch.float64, generator=self.generator)
        if kind == "binary":
            return torch.randint(2, shape, generator=self.generator).double()
        index = torch.randint(self.w.classes, (self.w.rows,), generator=self.generator)
        return index if kind == "index" else torch.eye(self.w.classes, dtype=torch.float64)[index]

    def _layer(self, key: str, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
        w = self.w.weights
        scale = 0.6 / inputs**0.5
        for name, shape in ((".w", (outputs, inputs)), (".b", (outputs,))):
            drawn = torch.randn(shape, dtype=torch.float64, generator=self.generator)
            w[key + name] = scale * drawn
        return w[key + ".w"], w[key + ".b"]

    def _keep(self, key: str, net: Linear) -> None:
        self.w.parameters[key + ".w"], self.w.parameters[key + ".b"] = net.weight, net.bias

    def _laws(self) -> None:
        r = self.random
        for family in ("normal", "laplace"):
            for var in ("x", "z", "w"):
                others = [v for v in KINDS if v != var]
                self.law(family, var, ())
                self.law(family, var, (r.choice([v for v in REAL if v != var]),))
                self.law(family, var, tuple(r.sample(others, r.choice((1, 1, 2)))))
        for family, var in (("bernoulli", "b"), ("onehot", "y"), ("index", "c")):
            others = [v for v in KINDS if v != var]
            self.law(family, var, ())
            self.law(family, var, (r.choice(REAL),))
            self.law(family, var, tuple(r.sample(others, r.choice((1, 2)))))
        for var in ("h", "w", "x"):
            others = [v for v in KINDS if v != var]
            self.law("deterministic", var, tuple(r.sample(others, r.choice((1, 1, 2)))))
        for names in (("x",), ("x", "y"), ("b",)):
            self.data_law("d" + "".join(names), names)

    def data_law(self, key: str, names: tuple[str, ...]) -> Any:
        """The empirical law of some variables."""
        self.w.laws[key] = {"family": "data", "var": names, "cond": ()}
        self.w.objects[key] = ad.EmpiricalDistribution(list(names), name=f"p_{{{key}}}")
        return self.w.objects[key]

    def law(self, family: str, var: str, cond: tuple[str, ...], key: str = "") -> Any:
        """One elementary law, added to the world under a key that is its name."""
        w, r = self.w, self.random
        key = key or f"{family[0].upper()}{len(w.laws)}"
        event = w.shapes[var]
        law: dict[str, Any] = {"family": family, "var": (var,), "cond": cond, "event": event}
        law["params"] = {}
        if family == "index":
            law["classes"] = w.classes
        given: dict[str, Any] = {}
        sources = law["params"]
        if family in ("normal", "laplace"):
            self._location_scale(key, law, given)
        elif family != "deterministic":
            self._discrete(key, law, given)
        w.laws[key] = law
        learnt = [k for k, s in sources.items() if s[0] == "net"]
        net = None
        if learnt or family == "deterministic":
            parts = max(len(learnt), 1)
            size = w.classes if family == "index" else event[0]
            inputs = sum(w.width(c) for c in cond)
            net = Linear(*self._layer(key, inputs, size * parts))
            self._keep(key, net)
        kind = {
            "normal": ad.Normal,
            "laplace": ad.Laplace,
            "bernoulli": ad.Bernoulli,
            "onehot": ad.Categorical,
            "index": ad.Categorical,
            "deterministic": ad.Deterministic,
        }[family]
        options: dict[str, Any] = {"onehot": False} if family == "index" else {}
        declare = not cond or r.random() < 0.3
        w.objects[key] = kind(
            var=[var],
            cond_var=list(cond),
            name=key,
            features_shape=list(event) if declare else None,
            net=net,
            **given,
            **options,
        )
        return w.objects[key]

    def _location_scale(self, key: str, law: dict[str, Any], given: dict[str, Any]) -> None:
        w, r, event = self.w, self.random, law["event"]
        same = [c for c in law["cond"] if w.shapes[c] == event and KINDS[c] == "real"]
        if not law["cond"]:
            for name, low in (("loc", -0.5), ("scale", 0.5)):
                how = r.choice(("number", "weight"))
                if how == "number":
                    given[name] = r.uniform(low, 1.5)
                    law["params"][name] = ("number", given[name])
                else:
                    drawn = torch.rand(event, dtype=torch.float64, generator=self.generator)
                    self._weight(key, name, low + 1.5 * drawn, law, given)
        elif len(law["cond"]) == 1 and same and r.random() < 0.4:
            given.update(loc=same[0], scale=r.uniform(0.5, 1.5))
            law["params"] |= {"loc": ("condition", same[0]), "scale": ("number", given["scale"])}
        elif r.random() < 0.3:
            given["scale"] = r.uniform(0.5, 1.5)
            law["params"] |= {"loc": ("net",), "scale": ("number", given["scale"])}
        else:
            law["params"] |= {"loc": ("net",), "scale": ("net",)}

    def _weight(
        self, key: str, name: str, value: Tensor, law: dict[str, Any], given: dict[str, Any]
    ) -> None:
        given[name] = nn.Parameter(value.clone())
        self.w.weights[f"{key}.{name}"] = value
        self.w.parameters[f"{key}.{name}"] = given[name]
        law["params"][name] = ("weight", f"{key}.{name}")

    def _discrete(self, key: str, law: dict[str, Any], given: dict[str, Any]) -> None:
        r, family = self.random, law["family"]
        if law["cond"]:
            law["params"]["logits"] = ("net",)
            return
        shape = (self.w.classes,) if family == "index" else law["event"]
        if r.random() < 0.6:
            drawn = torch.randn(shape, dtype=torch.float64, generator=self.generator)
            self._weight(key, "logits", drawn, law, given)
            return
        probs = torch.rand(shape, dtype=torch.float64, generator=self.generator) * 0.6 + 0.2
        if family != "bernoulli":
            probs = probs / probs.sum()
        given["probs"] = probs
        law["params"]["probs"] = ("number", probs)
