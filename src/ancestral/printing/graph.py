"""The graphical model of a law or a loss: its variables, and which depends on which.

A loss mentions laws that it draws from and laws whose density it takes. Read together they are a
generative model and an inference model over the same variables. The generative one is grown from
what needs no law (roots, given values): a factor belongs to it if its conditions are in it and
its variables are not; laws that are only scored come before those that are drawn from. What is
left is inference: it draws what the generative model has already, such as q(z|x), or reads what
that model only scores, such as an auxiliary q(a|x).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import networkx as nx

from ancestral.distributions import Deterministic, Distribution
from ancestral.distributions.base import Factor
from ancestral.losses.chain import ClosedForm
from ancestral.losses.node import Constant, Let, Value
from ancestral.losses.prob import (
    CrossEntropy,
    Entropy,
    Expectation,
    KullbackLeibler,
    LogProb,
    Prob,
)
from ancestral.losses.scope import inputs
from ancestral.printing.dialect import number
from ancestral.printing.drawing import draw
from ancestral.printing.loss import text


class Variable(NamedTuple):
    """A variable by its name, with its value if it is set to a number."""

    name: str
    value: str = ""


Names = Mapping[str, Variable]  # names that stand for another variable


@dataclass(frozen=True)
class Mention:
    """A factor as it stands in a loss."""

    factor: Factor
    names: Names
    drawn: bool

    @property
    def var(self) -> tuple[Variable, ...]:
        """Its variables."""
        return tuple(self.names.get(v, Variable(v)) for v in self.factor.var)

    @property
    def is_deterministic(self) -> bool:
        """Whether its variables are a function of the conditions."""
        return isinstance(self.factor.law, Deterministic)

    @property
    def given(self) -> tuple[Variable, ...]:
        """Its conditions."""
        return tuple(self.names.get(c, Variable(c)) for c in self.factor.cond_var)


def of_law(law: Distribution) -> str:
    """A law's graphical model as SVG; conditions and data are given, so they are shaded."""
    mentions = [Mention(f, {}, drawn=False) for f in law.factors]
    return draw({"": build(mentions, law.input_var)})


def of_losses(losses: Mapping[str, Any]) -> str:
    """The graphical models of losses as one SVG, side by side under their titles.

    Args:
        losses: Title (such as a player's name, or nothing) -> loss.
    """
    return draw({title: of_loss(loss) for title, loss in losses.items()})


def of_loss(loss: Any) -> "nx.MultiDiGraph[Variable]":
    """The graphical model of a loss: what must be given to evaluate it is observed."""
    return build(list(_mentions(loss, {})), inputs(loss))


def build(mentions: Sequence[Mention], observed: Sequence[str]) -> "nx.MultiDiGraph[Variable]":
    """The graph over the variables of some factors.

    Nodes have ``observed``, ``deterministic``, ``copies`` (an axis and its size, or nothing) and
    ``plate`` (a number, or nothing for a variable without rows); edges have ``inference``; the
    graph has the names of its laws, ``generative`` and ``inference``.
    """
    graph: nx.MultiDiGraph[Variable] = nx.MultiDiGraph()
    generative, inference = _split(_distinct(mentions))
    for v in (v for m in mentions for v in (*m.var, *m.given)):
        given = v.name in observed or v.value != ""
        graph.add_node(v, observed=given, deterministic=False, copies=None)
    for mention in mentions:
        for v in mention.var:
            graph.nodes[v]["copies"] = mention.factor.copies or graph.nodes[v]["copies"]
            graph.nodes[v]["deterministic"] |= mention.is_deterministic
    for group, dashed in ((generative, False), (inference, True)):
        for c, v in (edge for m in group for edge in product(m.given, m.var)):
            graph.add_edge(c, v, key=dashed, inference=dashed)
    names = (list(dict.fromkeys(m.factor.law.name for m in g)) for g in (generative, inference))
    graph.graph["generative"], graph.graph["inference"] = names
    _set_plates(graph, mentions)
    return graph


def _distinct(mentions: Sequence[Mention]) -> list[Mention]:
    """Each law over the same variables once; it counts as drawn if it is drawn anywhere."""
    found: dict[tuple[object, ...], Mention] = {}
    for mention in mentions:
        if mention.factor.law.is_data:
            continue
        key = (id(mention.factor.law), mention.var, mention.given)
        drawn = mention.drawn or (key in found and found[key].drawn)
        found[key] = Mention(mention.factor, mention.names, drawn)
    return list(found.values())


def _split(mentions: Sequence[Mention]) -> tuple[list[Mention], list[Mention]]:
    """The factors of the generative model, and those of inference."""
    rest = sorted(mentions, key=lambda m: m.drawn)
    has_law = {v for m in rest for v in m.var}
    known = {c for m in rest for c in m.given} - has_law
    generative: list[Mention] = []

    def reads(m: Mention, scored: set[Variable]) -> bool:
        return m.drawn and not m.is_deterministic and not scored.isdisjoint(m.given)

    while True:
        scored = {v for m in generative if not m.drawn for v in m.var}
        new = [m for m in rest if not known.intersection(m.var) and not reads(m, scored)]
        chosen = next((m for m in new if known.issuperset(m.given)), None)
        if chosen is None:  # a decoder without a prior: its latent variable needs no law
            chosen = next((m for m in new if not m.drawn), None)
        if chosen is None:
            return generative, rest
        generative.append(chosen)
        rest.remove(chosen)
        known.update(chosen.given, chosen.var)


def _set_plates(graph: "nx.MultiDiGraph[Variable]", mentions: Sequence[Mention]) -> None:
    """Number the plates: variables that meet in a law share one; globals are in none."""
    shared = {v for m in mentions if getattr(m.factor.law, "plate", "rows") is None for v in m.var}
    rows: nx.Graph[Variable] = nx.Graph()
    rows.add_nodes_from(v for v in graph if v not in shared)
    for mention in mentions:
        members = [v for v in (*mention.var, *mention.given) if v not in shared]
        rows.add_edges_from((members[0], v) for v in members[1:])
    plate = {v: i for i, part in enumerate(nx.connected_components(rows)) for v in part}
    for v in graph:
        graph.nodes[v]["plate"] = plate.get(v)


def _mentions(node: Any, names: Names) -> Iterator[Mention]:
    """Every factor that a loss mentions, under the names that its variables have outside."""
    if isinstance(node, Let):
        yield from _mentions(node.arg, {**names, **_bound(node, names)})
        return
    if isinstance(node, Expectation):
        inside = _hidden(names, node.law.all_var)
        yield from (Mention(f, inside, drawn=True) for f in node.law.factors)
        yield from _mentions(node.body, inside)
        return
    if isinstance(node, (KullbackLeibler, CrossEntropy, Entropy)):
        inside = _hidden(names, node.q.all_var)
        yield from (Mention(f, inside, drawn=True) for f in node.q.factors)
        if not isinstance(node, Entropy):
            yield from (Mention(f, inside, drawn=False) for f in node.p.factors)
    elif isinstance(node, ClosedForm):
        inside = _hidden(names, node.q.var)
        yield Mention(node.q, inside, drawn=True)
        if node.p is not None:
            yield Mention(node.p, inside, drawn=False)
    elif isinstance(node, (LogProb, Prob)):
        yield from (Mention(f, names, drawn=False) for f in node.law.factors)
    for child in node.children:
        yield from _mentions(child, names)


def _bound(node: Let, names: Names) -> dict[str, Variable]:
    out: dict[str, Variable] = {}
    for name, binding in zip(node.names, node.bindings, strict=True):
        if isinstance(binding, Value):
            out[name] = names.get(binding.name, Variable(binding.name))
        elif isinstance(binding, Constant):
            out[name] = Variable(name, number(binding.number))
        else:
            out[name] = Variable(text(binding))
    return out


def _hidden(names: Names, bound: Sequence[str]) -> Names:
    return {k: v for k, v in names.items() if k not in bound}
