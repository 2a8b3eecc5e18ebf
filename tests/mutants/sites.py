"""Where a bug can be planted, and what it is: one change in the syntax tree of one function.

Sites are in all code of densities, divergences, entropies, log-determinants, in the lowering and in
the objectives. A change is a wrong sign, a factor of two, a log-determinant left out, another
reduction, another axis, or another comparison.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "ancestral"
MOVES = ("log_density", "entropy_of", "log_cdf", "log_sf", "cdf", "mean_of", "variance_of")
FLIPPED: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add}
OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


@dataclass(frozen=True)
class Site:
    """One change.

    Args:
        path: The file, below ``src/ancestral``.
        function: The function that it is in.
        number: The node, counted in the order of a walk over the file's tree.
        kind: What is changed.
        line: Where it stands.
    """

    path: str
    function: str
    number: int
    kind: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.function}: {self.kind}"

    def mutated(self) -> str:
        """The text of the file with the change."""
        tree = ast.parse((SOURCE / self.path).read_text("utf-8"))
        node = list(ast.walk(tree))[self.number]
        _change(node, self.kind)
        return ast.unparse(ast.fix_missing_locations(tree))


def _is_chosen(path: Path, function: ast.FunctionDef) -> bool:
    folder = path.relative_to(SOURCE).parts[0]
    if folder in ("lowering", "objectives"):
        return True
    if folder == "bijections":
        return function.name in ("forward_and_log_det", "inverse_and_log_det")
    return function.name in MOVES or function.name.startswith(("kl_", "log_"))


def sites() -> list[Site]:
    """All places, in a fixed order."""
    found: list[Site] = []
    for folder in ("distributions", "bijections", "lowering", "objectives"):
        for path in sorted((SOURCE / folder).glob("*.py")):
            found.extend(_in_file(path))
    return found


def _in_file(path: Path) -> Iterator[Site]:
    tree = ast.parse(path.read_text("utf-8"))
    numbers = {id(node): i for i, node in enumerate(ast.walk(tree))}
    name = path.relative_to(SOURCE).as_posix()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or not _is_chosen(path, function):
            continue
        if any(isinstance(n, ast.Raise) for n in function.body):
            continue
        messages = {id(n) for r in ast.walk(function) if isinstance(r, (ast.Raise, ast.JoinedStr))
                    for n in ast.walk(r)}  # fmt: skip
        for node in ast.walk(function):
            if id(node) in messages:
                continue
            for kind in _kinds(node):
                yield Site(name, function.name, numbers[id(node)], kind, node.lineno)  # type: ignore[attr-defined]


def _kinds(node: ast.AST) -> Iterator[str]:
    """What can be changed about a node."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        if not isinstance(node.operand, ast.Constant):
            yield "sign"
    elif isinstance(node, ast.BinOp) and type(node.op) in FLIPPED:
        yield "sign"
    elif isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value != 0.0:
        yield "factor of two"
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in OPPOSITE:
        yield "comparison"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in ("sum", "mean") and _is_tensor(node.func.value):
            yield "reduction"
            if node.args and isinstance(node.args[0], (ast.UnaryOp, ast.Constant)):
                yield "axis"
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        if len(node.value.elts) == 2:
            yield "second result left out"


def _is_tensor(node: ast.expr) -> bool:
    return not (isinstance(node, ast.Name) and node.id in ("torch", "math"))


def _change(node: ast.AST, kind: str) -> None:
    if isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd()
    elif isinstance(node, ast.BinOp):
        node.op = FLIPPED[type(node.op)]()
    elif isinstance(node, ast.Constant):
        node.value = 2.0 * node.value  # type: ignore[operator]
    elif isinstance(node, ast.Compare):
        node.ops[0] = OPPOSITE[type(node.ops[0])]()
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if kind == "axis":
            node.args[0] = ast.Constant(0)
        else:
            node.func.attr = "mean" if node.func.attr == "sum" else "sum"
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        second = node.value.elts[1]
        zero = ast.BinOp(ast.Constant(0.0), ast.Mult(), copy.deepcopy(second))
        node.value.elts[1] = zero
