"""Plates: which data variables have the same rows.

Variables that meet in a term have; terms that are reduced with ``.mean()`` or ``.sum()`` before
they meet may have rows of their own (labelled and unlabelled data).
"""

from ancestral.core.axes import ROW, Axis
from ancestral.losses.node import Let, Node, Reduce
from ancestral.losses.scope import free, inputs


def plates(root: Node, scalars: frozenset[str]) -> dict[str, Axis]:
    """The row axis of each given variable that is no scalar."""
    names = [n for n in inputs(root) if n not in scalars]
    parent = {n: n for n in names}

    def find(n: str) -> str:
        while parent[n] != n:
            n = parent[n]
        return n

    def meet(together: list[str]) -> None:
        known = [n for n in together if n in parent]
        for n in known[1:]:
            parent[find(n)] = find(known[0])

    _visit(root, {}, meet)
    meet(_open(root, {}))
    roots = list(dict.fromkeys(find(n) for n in names))
    axes = {r: Axis("n" if i == 0 else f"n{i + 1}", ROW) for i, r in enumerate(roots)}
    return {n: axes[find(n)] for n in names}


def _visit(node: Node, renamed: dict[str, list[str]], meet: object) -> None:
    """Join the variables that meet under each reduction of rows."""
    if isinstance(node, Let):
        inner = dict(renamed)
        for name, binding in zip(node.names, node.bindings, strict=True):
            inner[name] = _names(free(binding, data=True), renamed)
            _visit(binding, renamed, meet)
        _visit(node.arg, inner, meet)
        return
    for child in node.children:
        _visit(child, renamed, meet)
    if isinstance(node, Reduce) and node.axis is None:
        meet(_open(node.arg, renamed))  # type: ignore[operator]


def _open(node: Node, renamed: dict[str, list[str]]) -> list[str]:
    """The variables whose rows an expression still has: not those reduced inside it."""
    if isinstance(node, Reduce) and node.axis is None:
        return []
    if isinstance(node, Let):
        inner = dict(renamed)
        for name, binding in zip(node.names, node.bindings, strict=True):
            inner[name] = _names(free(binding, data=True), renamed)
        return _open(node.arg, inner)
    if not node.children:
        return _names(free(node, data=True), renamed)
    own = _names(free(node, data=True), renamed)
    below = [n for child in node.children for n in _open(child, renamed)]
    all_below = [n for child in node.children for n in _names(free(child, data=True), renamed)]
    return [n for n in own if n in below or n not in all_below]


def _names(names: tuple[str, ...], renamed: dict[str, list[str]]) -> list[str]:
    return [m for n in names for m in renamed.get(n, [n])]
