"""Folding: what is named once and read once, by the next line, is written there.

A name keeps its tensor until the step returns; the operand of an expression is freed as soon as
it was used. An expert names what is read twice, and so does the text.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence

TEMPORARY = re.compile(r"t\d+")
WIDEST = 120  # a line that nobody can read is not what an expert would write


def fold(lines: Sequence[str]) -> list[str]:
    """The lines with temporary names that are read once replaced by what they stand for.

    Only what calls nothing but torch is moved, and only to the next line, so that networks run in
    the order in which they stood.

    Example:
        >>> fold(["t0 = x0 - x1", "t1 = t0 ** 2", "return t1.sum(1)"])
        ['return ((x0 - x1) ** 2).sum(1)']
    """
    reads = Counter(name.id for line in lines for name in _reads(ast.parse(line.strip())))
    out: list[str] = []
    for line in lines:
        while out and (folded := _folded(out[-1], line, reads)) is not None:
            line = folded
            out.pop()
        out.append(line)
    return out


def _reads(tree: ast.AST) -> Iterator[ast.Name]:
    return (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    )


def _folded(line: str, after: str, reads: Counter[str]) -> str | None:
    """The next line with the value of this one in it; ``None`` if it must keep its name."""
    name, _, value = line.partition(" = ")
    if not TEMPORARY.fullmatch(name) or reads[name] != 1 or not re.search(rf"\b{name}\b", after):
        return None
    given = ast.parse(value, mode="eval").body
    statement = ast.parse(after).body[0]
    if not isinstance(statement, (ast.Assign, ast.Return)) or not _is_pure(given):
        return None
    folded = ast.unparse(_Substitute(name, given).visit(statement))
    return folded if len(folded) <= WIDEST else None


def _is_pure(value: ast.expr) -> bool:
    """Whether an expression does nothing but compute: no network, no draw, nothing in place."""
    return all(
        isinstance(call.func, ast.Attribute) and not call.func.attr.endswith("_")
        for call in ast.walk(value)
        if isinstance(call, ast.Call)
    )


class _Substitute(ast.NodeTransformer):
    """An expression in place of a name."""

    def __init__(self, name: str, value: ast.expr) -> None:
        self.name, self.value = name, value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The expression, where the name is read."""
        return self.value if node.id == self.name and isinstance(node.ctx, ast.Load) else node
