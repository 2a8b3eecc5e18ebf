"""Times: which sequences have the same steps.

Sequences that meet in a law of sequences have one axis of time; others may be of other lengths.
"""

from collections.abc import Iterable
from typing import Any

from ancestral.core.axes import ROW, TIME, Axis
from ancestral.distributions import Sequence
from ancestral.distributions.base import Factor
from ancestral.losses.iterative import IterativeLoss
from ancestral.losses.node import Let, Node, Value
from ancestral.lowering.check import factors_of


def sequences_of(factor: Factor) -> list[str]:
    """The outer names of all that has an axis of time in the law of a sequence."""
    law = factor.law
    assert isinstance(law, Sequence)
    outer = dict(zip((*law.var, *law.cond_var), (*factor.var, *factor.cond_var), strict=True))
    return [outer[n] for n in dict.fromkeys([*law.var, *law.carried, *law.series, *law.masks])]


def times(root: Node) -> dict[str, Axis]:
    """The axis of time of each name that a law of sequences gives one."""
    groups: list[set[str]] = []
    for names in _meetings(root):
        together = [g for g in groups if not g.isdisjoint(names)]
        groups = [g for g in groups if g not in together] + [set(names).union(*together)]
    axes = (Axis("t" if i == 0 else f"t{i + 1}", TIME) for i in range(len(groups)))
    return {name: axis for group, axis in zip(groups, axes, strict=True) for name in group}


def loop_axes(root: Any) -> dict[str, Axis]:
    """The axis of time of each series of a loss over time: it has that of rows where it is read
    whole, in front of all others.
    """
    groups: list[set[str]] = []
    for names in _series(root):
        together = [g for g in groups if not g.isdisjoint(names)]
        groups = [g for g in groups if g not in together] + [set(names).union(*together)]
    axes = (Axis("t" if i == 0 else f"t{i + 1}", ROW, age=1) for i in range(len(groups)))
    return {name: axis for group, axis in zip(groups, axes, strict=True) for name in group}


def _series(node: Any) -> Iterable[list[str]]:
    if isinstance(node, IterativeLoss):
        yield [*node.series, *([] if node.mask is None else [node.mask])]
    for child in node.children:
        yield from _series(child)


def _meetings(node: Any) -> Iterable[list[str]]:
    seen = [f for f in factors_of(node) if isinstance(f.law, Sequence)]
    if not seen:
        return
    yield from (sequences_of(f) for f in seen)
    yield from _renamed(node, {n for f in seen for n in sequences_of(f)})


def _renamed(node: Any, known: set[str]) -> Iterable[list[str]]:
    if isinstance(node, Let):
        for name, binding in zip(node.names, node.bindings, strict=True):
            if isinstance(binding, Value) and known & {name, binding.name}:
                yield [name, binding.name]
    for child in node.children:
        yield from _renamed(child, known)
