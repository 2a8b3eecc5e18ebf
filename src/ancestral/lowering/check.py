"""Checks of an expression and its plan: names, gradient paths."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from ancestral.core.errors import GradientError, VariableError
from ancestral.distributions.net_of_weights import places_in_call, places_of_weights
from ancestral.losses.apply import Apply
from ancestral.losses.node import Node, Value
from ancestral.losses.prob import (
    CrossEntropy,
    Entropy,
    Expectation,
    KullbackLeibler,
    LogProb,
    Prob,
)
from ancestral.lowering.build import CutPath, Flow, law_key
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


def shared_by_rows(node: Node) -> frozenset[str]:
    """The names of values that all rows share: of globals, and of weights of networks."""
    found = {v for f in factors_of(node) if f.law.plate is None for v in (*f.var, *f.cond_var)}
    weights = {f.cond_var[i] for f in factors_of(node) for i in places_of_weights(f.law)}
    return frozenset(found | weights | _in_functions(node))


def _in_functions(node: Any) -> set[str]:
    """The names of values that are weights of a network which is applied as a function."""
    found = set().union(*map(_in_functions, node.children)) if node.children else set[str]()
    if isinstance(node, Apply):
        args = [node.args[i] for i in places_in_call(node.fn.net, len(node.args))]
        found |= {a.name for a in args if isinstance(a, Value)}
    return found


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
    if cut.why:
        return f"in {loss_text.text(node)}: {cut.why}"
    if not law.is_random:
        return (
            f"in {loss_text.text(node)}: {cut.draw} is what a program returns, without gradient, "
            "so the gradient to the parameters in it or behind its conditions would be lost. Write "
            ".detach() on the law that draws these, or on the law of the program, if none is "
            "meant; if the program is a differentiable function of noise, make it an Implicit law."
        )
    choices = ["Score(LeaveOneOut(), draws=4)"]
    if hasattr(law.moves, "values"):
        choices.insert(0, "Enumerate() (exact)")
    if hasattr(law.moves, "relaxed"):
        choices.append("StraightThrough() (biased)")
    return (
        f"in {loss_text.text(node)}: {cut.draw} is drawn from {law.prob_text}, a "
        f"{law.distribution_name}, whose draws have no pathwise derivative, so the gradient to "
        f"the parameters behind {law.prob_text} would be lost. Choose how to estimate it: "
        f".estimate({{{law.name}: ...}}) with {' or '.join(choices)}; or write "
        f"{law.name}.detach() if no gradient is meant."
    )
