"""Checks of an expression and its plan: names, plug-in estimates, gradient paths."""

import warnings
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from ancestral.core.errors import GradientError, PlugInWarning, VariableError
from ancestral.losses.node import Clamp, Div, Extremum, Node, Norm, Planned, Pow, Unary
from ancestral.losses.prob import (
    CrossEntropy,
    Entropy,
    Expectation,
    KullbackLeibler,
    LogProb,
    Prob,
)
from ancestral.lowering.build import CutPath, Flow, law_key
from ancestral.lowering.rewrite import logarithm, rewrite
from ancestral.printing import law as law_text
from ancestral.printing import loss as loss_text
from ancestral.printing.dialect import TEXT
from ancestral.program.instructions import Program


def factors_of(node: Any) -> list[Any]:
    """All factors that an expression mentions."""
    found: list[Any] = []
    if isinstance(node, (LogProb, Prob, Expectation)):
        found += node.law.factors
    elif isinstance(node, (KullbackLeibler, CrossEntropy)):
        found += [*node.q.factors, *node.p.factors]
    elif isinstance(node, Entropy):
        found += node.q.factors
    for child in node.children:
        found += factors_of(child)
    return found


def laws_of(node: Any) -> list[Any]:
    """All elementary laws that an expression mentions, each once."""
    return list({id(f.law): f.law for f in factors_of(node)}.values())


def check_names(node: Node) -> None:
    """Raise if two different laws print alike."""
    seen: dict[str, Any] = {}
    for f in factors_of(node):
        text = law_text.factor(f, TEXT)
        other = seen.setdefault(text, f)
        if other.law is not f.law and law_key(other.law) != law_key(f.law):
            raise VariableError(
                f"two different laws print as {text}: a {other.law.distribution_name} and a "
                f"{f.law.distribution_name} with other parameters. Give one of them another name, "
                f"e.g. name='{f.law.name}_2'."
            )


# -- plug-in estimates ----------------------------------------------------------------------------
def warn_plug_in(node: Node) -> None:
    """Warn of each non-linear function of a Monte Carlo expectation."""
    for function, expectation in _plug_ins(rewrite(node), {}):
        warnings.warn(
            PlugInWarning(
                f"{loss_text.text(function)} is a non-linear function of the Monte Carlo "
                "estimate of "
                f"{loss_text.text(expectation)}: its mean is not the formula's value. Use a "
                "closed "
                "form (.simplify()), .estimate({law: Enumerate()}) for a discrete law, or put the "
                'function inside, E(q.iid(k=10), (...).mean("k").log()). If it is meant, write '
                "the "
                "number of draws: E(q, f, sample_shape=[1])."
            ),
            stacklevel=4,
        )


def _plug_ins(node: Node, choices: dict[int, Any]) -> Iterable[tuple[Node, Node]]:
    if isinstance(node, Planned):
        choices = {**choices, **{id(law): c for law, c in node.choices}}
    inside: list[Node] = []
    if isinstance(node, (Unary, Clamp, Extremum, Norm)):
        if not (isinstance(node, Unary) and node.kind == "log" and logarithm(node.arg)):
            inside = list(node.children)
    elif isinstance(node, Div):
        inside = [node.right]
    elif isinstance(node, Pow) and not node.is_whole:
        inside = [node.base]
    for child in inside:
        found = next(iter(_monte_carlo(child, choices)), None)
        if found is not None:
            yield node, found
    for child in node.children:
        yield from _plug_ins(child, choices)


def _monte_carlo(node: Node, choices: dict[int, Any]) -> Iterable[Node]:
    """The expectations that are estimated with an unspoken number of draws."""
    if isinstance(node, Planned):
        choices = {**choices, **{id(law): c for law, c in node.choices}}
    if isinstance(node, Expectation) and node.draws is None:
        random = [f for f in node.law.factors if f.law.domains or f.law.is_data]
        chosen = [choices.get(id(f.law)) for f in random]
        if any(c is None or (c.how != "table" and c.draws is None) for c in chosen):
            yield node
    for child in node.children:
        yield from _monte_carlo(child, choices)


# -- gradient paths -------------------------------------------------------------------------------
def check_gradients(
    node: Node, program: Program, flow: Flow, trained: set[int] | None = None
) -> None:
    """Raise if a path from a trained parameter is cut without a word.

    Args:
        node: The loss.
        program: Its program.
        flow: Where the gradient of its result comes from.
        trained: Identities of the trained parameters; all that require a gradient if not given.
    """
    for cut in sorted(flow.cuts, key=lambda c: c.draw):
        behind = [s for s in cut.sources if _trains(program, s, trained)]
        if behind:
            raise GradientError(_cut_message(node, program, cut))


def _trains(program: Program, source: Any, trained: set[int] | None) -> bool:
    kind, slot = source
    if kind == "tensor":
        return True
    module: Any = program.laws[slot] if kind == "law" else program.functions[slot].net
    if not isinstance(module, nn.Module):
        return False
    found: Iterable[Tensor] = nn.Module.parameters(module)
    return any(p.requires_grad and (trained is None or id(p) in trained) for p in found)


def _cut_message(node: Node, program: Program, cut: CutPath) -> str:
    law = program.laws[cut.law]
    choices = ["Score(LeaveOneOut(), draws=4)"]
    if hasattr(law.moves, "values"):
        choices.insert(0, "Enumerate() (exact)")
    return (
        f"in {loss_text.text(node)}: {cut.draw} is drawn from {law.prob_text}, a "
        f"{law.distribution_name}, whose draws have no pathwise derivative, so the gradient to "
        "the "
        f"parameters behind {law.prob_text} would be lost. Choose how to estimate it: "
        f".estimate({{{law.name}: ...}}) with {' or '.join(choices)}; or write "
        f"{law.name}.detach() "
        "if no gradient is meant."
    )
