"""What inlined text is made of: tensors as expressions, and Python values that are known."""

import ast
import builtins
import inspect
import math
import operator
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F


class NotInlineError(Exception):
    """A function has something in it that does not come to straight-line text."""


@dataclass(frozen=True)
class Code:
    """A tensor, as the expression that computes it.

    Args:
        node: The expression.
        kind: Its axes, event shape and dtype, where they are known: two tensors of one kind need
            no broadcasting.
    """

    node: ast.expr
    kind: Any = None

    @property
    def is_name(self) -> bool:
        """Whether it is a name, which may stand in several places."""
        return isinstance(self.node, ast.Name)


@dataclass(frozen=True)
class Known:
    """A Python value that is known now: a number, ``None``, a function, a dict of operands."""

    value: Any


Operand = Code | Known

BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
UNARY: dict[type, Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
NAMESPACES: dict[str, Any] = {
    "torch": torch,
    "F": F,
    "math": math,
    "torch.linalg": torch.linalg,
    "torch.special": torch.special,
}
NUMBER = ("number",)  # the kind of a Python number that is known only when the step runs
PURE = (math, (all, float, int, abs, len, max, min, tuple, range, torch.finfo))
# methods whose result has the kind of their floating tensor
ENTRYWISE = {"abs", "clamp", "exp", "expm1", "log", "log1p", "log_softmax", "sigmoid", "square"}


def source_of(
    function: Callable[..., Any],
) -> tuple[list[ast.stmt], inspect.Signature, Mapping[str, Any]]:
    """The statements of a function, its signature, and the names that it sees."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError) as error:
        raise NotInlineError(f"no source: {error}") from error
    if not isinstance(tree, ast.FunctionDef):
        raise NotInlineError("not a function")
    nonlocals = inspect.getclosurevars(function).nonlocals
    outer = {**vars(builtins), **function.__globals__, **nonlocals}
    return tree.body, inspect.signature(function), outer


def code(operand: Operand) -> ast.expr:
    """An operand as an expression: a number stands as itself."""
    if isinstance(operand, Code):
        return operand.node
    value = operand.value
    if isinstance(value, float) and not math.isfinite(value):
        return ast.Call(ast.Name("float", ast.Load()), [ast.Constant(repr(value))], [])
    if value is None or isinstance(value, (bool, int, float, str)):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
            return ast.UnaryOp(ast.USub(), ast.Constant(-value))
        return ast.Constant(value)
    if isinstance(value, torch.dtype):
        return ast.Attribute(ast.Name("torch", ast.Load()), str(value).split(".")[1], ast.Load())
    if isinstance(value, tuple):
        parts = [code(v if isinstance(v, (Code, Known)) else Known(v)) for v in value]
        return ast.Tuple(parts, ast.Load())
    raise NotInlineError(f"{value!r} in the text")


def event_of(operand: Operand) -> tuple[int, ...]:
    """The last sizes of a tensor, as far as they are known."""
    if not isinstance(operand, Code) or operand.kind in (None, NUMBER):
        return ()
    event: tuple[int, ...] = operand.kind[1]
    return event


def same_rows(a: Operand, b: Operand) -> bool:
    """Whether two tensors are known to have the same axis in front."""
    kinds = [o.kind for o in (a, b) if isinstance(o, Code) and o.kind not in (None, NUMBER)]
    fronts = [kind[0][0] for kind in kinds if kind[0]]
    return len(fronts) == 2 and fronts[0] is not None and fronts[0] == fronts[1]


def together(*operands: Operand) -> Any:
    """The kind of what is computed entry by entry; unknown if it is not that of all tensors."""
    kinds = {o.kind for o in operands if isinstance(o, Code)}
    kind = kinds.pop() if len(kinds) == 1 else None
    return kind if kind in (None, NUMBER) or kind[-1].is_floating_point else None


def is_neutral_right(op: ast.operator, right: Operand) -> bool:
    """Whether an operation leaves its left side as it is: minus 0, times 1, divided by 1."""
    if not isinstance(right, Known) or not isinstance(right.value, float):
        return False
    return (isinstance(op, ast.Sub) and right.value == 0.0) or (
        isinstance(op, (ast.Mult, ast.Div)) and right.value == 1.0
    )


def is_neutral_left(op: ast.operator, left: Operand) -> bool:
    """Whether an operation leaves its right side as it is: 0 plus, 1 times."""
    if not isinstance(left, Known) or not isinstance(left.value, float):
        return False
    return (isinstance(op, ast.Add) and left.value == 0.0) or (
        isinstance(op, ast.Mult) and left.value == 1.0
    )


QUALIFIED: dict[int, tuple[str, str]] = {
    id(value): (short, name)
    for short, space in reversed(NAMESPACES.items())
    for name, value in vars(space).items()
    if callable(value) and not name.startswith("_") and not inspect.isclass(value)
}


def qualified(function: Any) -> ast.expr | None:
    """The name of a function of torch in the text."""
    if id(function) not in QUALIFIED and function is not torch.finfo:
        return None
    short, name = QUALIFIED.get(id(function), ("torch", "finfo"))
    return ast.Attribute(ast.parse(short, mode="eval").body, name, ast.Load())
