"""Plug-in estimates: a non-linear function of a Monte Carlo expectation, whose mean is biased.

So is a mean over K copies by self-normalised weights, as one under the law that they weigh for: K
stands in its formula, so that it is meant, and marked. A whole power is that many factors, each
with a draw of its own, so it is none of them. What was rewritten is looked at: the logarithm of a
density or of an exponential has become linear.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ancestral.core.errors import PlugInWarning, warn
from ancestral.losses.apply import Apply, Grad, Jvp, Norm
from ancestral.losses.chain import LogMeanExp
from ancestral.losses.node import Clamp, Div, Extremum, Node, Planned, Pow, Unary
from ancestral.losses.prob import Expectation
from ancestral.lowering.rewrite import is_self_normalised
from ancestral.printing import loss as loss_text

Choices = Mapping[int, Any]  # the identity of a law, and its estimator


def warn_plug_in(tree: Node) -> None:
    """Warn of each non-linear function of an expectation with an unspoken number of draws.

    Args:
        tree: The loss, rewritten.
    """
    for function, expectation in _plug_ins(tree, {}):
        warn(
            PlugInWarning(
                f"{loss_text.text(function)} is a non-linear function of the Monte Carlo estimate "
                f"of {loss_text.text(expectation)}: its mean is not the formula's value. Use a "
                "closed form (.simplify()), .estimate({law: Enumerate()}) for a discrete law, or "
                'put the function inside, E(q.iid(k=10), (...).mean("k").log()). If it is meant, '
                "write the number of draws: E(q, f, sample_shape=[1])."
            )
        )


def is_plug_in(node: Node, choices: Choices) -> bool:
    """Whether a node is a non-linear function of a Monte Carlo expectation, meant or not; or of
    one over copies.
    """
    if is_self_normalised(node):
        return True
    return any(True for child in _curved(node) for _ in _monte_carlo(child, choices, meant=True))


def _plug_ins(node: Node, choices: Choices) -> Iterable[tuple[Node, Node]]:
    choices = _with(node, choices)
    for child in _curved(node):
        found = next(iter(_monte_carlo(child, choices, meant=False)), None)
        if found is not None:
            yield node, found
    for child in node.children:
        yield from _plug_ins(child, choices)


def _curved(node: Node) -> tuple[Node, ...]:
    """The children in which a node is not linear."""
    if isinstance(node, (Unary, Clamp, Extremum, Norm, LogMeanExp, Apply, Grad, Jvp)):
        return node.children
    if isinstance(node, Div):
        return (node.right,)
    return (node.base,) if isinstance(node, Pow) and not node.is_whole else ()


def _monte_carlo(node: Node, choices: Choices, *, meant: bool) -> Iterable[Node]:
    """The expectations that are estimated; with ``meant``, those with a written number too."""
    choices = _with(node, choices)
    if isinstance(node, Expectation) and (meant or node.draws is None):
        random = [
            f for f in node.law.factors if f.law.is_random and not f.law.has_points
        ]  # the mean over all points is exact
        chosen = [choices.get(id(f.law)) for f in random]
        if any(c is None or (c.how != "table" and (meant or c.draws is None)) for c in chosen):
            yield node
    for child in node.children:
        yield from _monte_carlo(child, choices, meant=meant)


def _with(node: Node, choices: Choices) -> Choices:
    if isinstance(node, Planned):
        return {**choices, **{id(law): c for law, c in node.choices if c.how != "rows"}}
    return choices
