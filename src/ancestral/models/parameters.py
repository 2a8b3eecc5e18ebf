"""Which parameters a model trains: found in the loss, and checked so that none is forgotten."""

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from ancestral.core.errors import GradientError, OptionError, TrainingError
from ancestral.core.names import listing
from ancestral.distributions import Distribution
from ancestral.losses import Function, Node
from ancestral.losses.apply import Apply, Grad, Jvp
from ancestral.losses.node import Constant, Detach, Planned
from ancestral.lowering.check import factors_of, laws_of

Parameters = list[nn.Parameter]


def modules_in(*losses: Node) -> list[nn.Module]:
    """The laws, networks of functions and trained numbers that losses mention, each once."""
    return _modules([law for loss in losses for law in laws_of(loss)], losses)


def _of_plans(loss: Node, trained: Container[int] | None = None) -> Iterator[nn.Module]:
    """The networks of the estimators of laws that a loss mentions, such as baselines.

    Args:
        loss: The loss.
        trained: Identities of parameters: those of laws that have one of them; else of all.
    """
    mentioned = {id(law) for law in laws_of(loss)}
    for node in _nodes(loss):
        for law, choice in node.choices if isinstance(node, Planned) else ():
            own = nn.Module.parameters(law)
            if id(law) in mentioned and (trained is None or any(id(p) in trained for p in own)):
                yield from getattr(choice, "networks", ())


def modules_reached(loss: Node) -> list[nn.Module]:
    """Those of :func:`modules_in` that are mentioned where no written ``.detach()`` cuts them."""
    loss = _uncut(loss)
    return _modules([f.law for f in factors_of(loss) if not f.detached], [loss])


def _uncut(node: Node) -> Node:
    """The loss with a number in place of each term whose gradient is cut."""
    if isinstance(node, Detach):
        return Constant(0.0)
    return node.with_children([_uncut(child) for child in node.children])


def _modules(laws: Sequence[nn.Module], losses: Sequence[Node]) -> list[nn.Module]:
    nets = [net for loss in losses for net in (*_networks(loss), *_of_plans(loss))]
    numbers = [p for loss in losses for p in _numbers(loss)]
    found = {id(m): m for m in [*laws, *nets]}
    written = list({id(p): p for p in numbers}.values())
    return [*found.values(), *([nn.ParameterList(written)] if written else [])]


def modules_to_train(loss: Any, given: Sequence[Any] | None) -> list[nn.Module]:
    """What ``Model(distributions=...)`` names, or all that the loss mentions.

    Raises:
        OptionError: If the loss is no loss, or an entry is neither law, network nor parameter.
    """
    if not isinstance(loss, Node):
        raise OptionError(
            f"Model(loss=...) takes a loss, e.g. -p.log_prob().mean(), got {type(loss).__name__}."
        )
    if given is None:
        return modules_reached(loss)
    found = [_module(item) for item in several(given)]
    trained = {id(p) for m in found for p in nn.Module.parameters(m) if p.requires_grad}
    with_plans = [*found, *_of_plans(loss, trained)]  # a baseline is trained with its law
    return list({id(m): m for m in with_plans}.values())


def several(given: Any) -> list[Any]:
    """A list of what may be one law, network or parameter."""
    return [given] if isinstance(given, (nn.Module, Function, Tensor)) else list(given)


def _module(item: Any) -> nn.Module:
    item = item.net if isinstance(item, Function) else item
    if isinstance(item, nn.Parameter):
        return nn.ParameterList([item])
    if not isinstance(item, nn.Module):
        raise OptionError(
            "distributions=[...] takes laws, networks and nn.Parameters, got "
            f"{type(item).__name__}."
        )
    return item


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for child in node.children:
        yield from _nodes(child)


def _networks(loss: Node) -> list[nn.Module]:
    applied = [n.fn.net for n in _nodes(loss) if isinstance(n, (Apply, Grad, Jvp))]
    return [net for net in applied if isinstance(net, nn.Module)]


def _numbers(loss: Node) -> Parameters:
    """The parameters that are written in the loss as numbers."""
    tensors = [n.value for n in _nodes(loss) if isinstance(n, Constant)]
    found = [t for t in tensors if isinstance(t, Tensor)]
    if not all(isinstance(t, nn.Parameter) for t in found):
        raise TrainingError(
            f"{loss}: a tensor that requires a gradient is written in the loss, but is no "
            "nn.Parameter, so it cannot be trained. Make it one, nn.Parameter(...), or write its "
            ".detach()."
        )
    return [t for t in found if isinstance(t, nn.Parameter)]


def label(module: nn.Module) -> str:
    """How a message calls what is trained."""
    if isinstance(module, nn.ParameterList):
        return "the numbers written in the loss"
    return module.prob_text if isinstance(module, Distribution) else type(module).__name__


def owner(modules: nn.ModuleList, name: str) -> str:
    """A parameter's name in ``modules`` as a message reads it: ``net.weight of q(z|x)``."""
    index, _, rest = name.partition(".")
    return f"{rest} of {label(modules[int(index)])}"


def check_all_trained(loss: Node, modules: Iterable[nn.Module]) -> None:
    """Raise if the loss mentions parameters that nobody trains, nobody froze and no written
    ``.detach()`` cuts.
    """
    own = {id(p) for m in modules for p in nn.Module.parameters(m)}
    for module in modules_reached(loss):
        left = [
            n
            for n, p in nn.Module.named_parameters(module)
            if p.requires_grad and id(p) not in own
        ]
        if left:
            name = module.name if isinstance(module, Distribution) else "it"
            raise TrainingError(
                f"{loss}: {label(module)} is in the loss, but not in distributions=[...], so its "
                f"parameters ({listing(left[:3])}{', ...' if len(left) > 3 else ''}) would never "
                f"be updated. Add {name} to distributions, or freeze it with "
                f"{name}.requires_grad_(False)."
            )


def is_mentioned(law: nn.Module, loss: Node) -> bool:
    """Whether a loss has a part in a law: only then can it give it a gradient.

    A network that is no law may stand inside a law where nobody sees it, so it counts always.
    """
    if not isinstance(law, Distribution):
        return True
    own = {id(p) for p in nn.Module.parameters(law)}
    return any(id(p) in own for m in modules_in(loss) for p in nn.Module.parameters(m))


def check_all_mentioned(loss: Node, modules: Iterable[nn.Module]) -> None:
    """Raise if a law is given to be trained, and the loss does not mention it."""
    for module in modules:
        trained = any(p.requires_grad for p in nn.Module.parameters(module))
        if trained and not is_mentioned(module, loss):
            raise TrainingError(
                f"{loss}: {label(module)} is in distributions=[...], but not in the loss, so it "
                "would never be updated. Put it into the loss, or leave it out of distributions."
            )


def check_leaves(loss: Node, value: Tensor, given: Iterable[Tensor], known: Parameters) -> None:
    """Raise if a gradient reaches a parameter that the model does not train.

    Such a parameter is hidden where no law shows it: in a function that is no ``nn.Module``.

    Args:
        loss: The expression, for the message.
        value: Its value, with its graph.
        given: Tensors that the caller brought; what lies behind them is the caller's.
        known: The parameters that the model trains.
    """
    given = list(given)
    ours = {id(p) for p in [*known, *given]}
    stop = {v.grad_fn for v in given if v.grad_fn is not None}
    seen, open_ = set(stop), [value.grad_fn]
    while open_:
        node = open_.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)  # of the nodes where a gradient is accumulated
        if isinstance(leaf, nn.Parameter) and id(leaf) not in ours:
            raise TrainingError(
                f"{loss}: a parameter of shape {list(leaf.shape)} takes part in the loss, but no "
                "law or network of distributions=[...] holds it, so it would never be updated. "
                "It is hidden in a function that is no nn.Module (a lambda, a method). Give the "
                "nn.Module itself, add it to distributions, or freeze it with "
                "requires_grad_(False)."
            )
        open_ += [following for following, _ in node.next_functions]


def check_reached(loss: Node, modules: nn.ModuleList, excused: Container[int] = ()) -> set[int]:
    """Raise if the backward pass has left out a trained parameter of what the loss mentions.

    Args:
        loss: The expression.
        modules: What is trained.
        excused: Identities of parameters that another player may reach, who trains them too.

    Returns:
        Identities of those that it has left out.
    """
    ours = {id(p) for m in modules if is_mentioned(m, loss) for p in m.parameters()}
    left = {
        n: id(p)
        for n, p in modules.named_parameters()
        if p.requires_grad and p.grad is None and id(p) in ours
    }
    missed = [n for n, key in left.items() if key not in excused]
    if missed:
        told = ", ".join(owner(modules, n) for n in missed[:5])
        raise GradientError(
            f"{loss}: no gradient reaches {told}{' and others' if len(missed) > 5 else ''}. "
            "A trained parameter has no part in the loss: a layer that forward does not use, or a "
            "value cut by .detach(), argmax or .item(). Use it, or freeze it with "
            "requires_grad_(False)."
        )
    return set(left.values())
