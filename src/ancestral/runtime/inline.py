"""Inlining: a law's static move as the lines of PyTorch that it comes to for given parameters.

A move is a small Python function of tensors with branches on what it is given (``logits`` or
``probs``, a number or a tensor). With that known, the branches fall away and numbers fold: what is
left is the straight-line text that an expert would write. A function with anything else in it (a
loop, a branch on a tensor's value) is refused, and is then called as it is.
"""

import ast
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.runtime.operands import (
    BINARY,
    COMPARE,
    ENTRYWISE,
    NUMBER,
    PURE,
    UNARY,
    Code,
    Known,
    NotInlineError,
    Operand,
    code,
    event_of,
    is_neutral_left,
    is_neutral_right,
    qualified,
    same_rows,
    source_of,
    together,
)


class Inliner:
    """Writes functions as text.

    Args:
        fresh: Makes a new local name.
        emit: Receives each statement.
    """

    def __init__(self, fresh: Callable[[], str], emit: Callable[[ast.stmt], None]) -> None:
        self._fresh = fresh
        self._emit = emit

    def call(
        self, function: Callable[..., Any], args: Sequence[Operand], named: Mapping[str, Operand]
    ) -> Operand:
        """The result of a function as an operand, its statements emitted.

        Raises:
            NotInlineError: If it does not come to straight-line text.
        """
        owner = getattr(function, "__self__", None)
        if inspect.ismethod(function):
            function, args = function.__func__, [Known(owner), *args]
        body, scope, outer = source_of(function)
        try:
            bound = scope.bind(*args, **named)
        except TypeError as error:
            raise NotInlineError(str(error)) from error
        local: dict[str, Operand] = {}
        for name, parameter in scope.parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                local[name] = Known(tuple(bound.arguments.get(name, ())))
            elif parameter.kind is parameter.VAR_KEYWORD:
                local[name] = Known(dict(bound.arguments.get(name, {})))
            elif name in bound.arguments:
                local[name] = self._named(bound.arguments[name])
            else:
                local[name] = Known(parameter.default)
        frame = _Frame(self, local, outer)
        for statement in body:
            result = frame.run(statement)
            if result is not None:
                return result
        raise NotInlineError(f"{function.__name__} returns nothing")

    def _named(self, operand: Operand) -> Operand:
        """An operand that may be mentioned twice: an expression is given a name first."""
        if isinstance(operand, Known) or operand.is_name:
            return operand
        name = self._fresh()
        self._emit(ast.Assign([ast.Name(name, ast.Store())], operand.node))
        return Code(ast.Name(name, ast.Load()), operand.kind)

    def assign(self, operand: Operand) -> Operand:
        """The same operand under a name of its own."""
        return self._named(operand)


class _Frame:
    """One call: its local names and the names outside."""

    def __init__(
        self, inliner: Inliner, local: dict[str, Operand], outer: Mapping[str, Any]
    ) -> None:
        self.inliner = inliner
        self.local = local
        self.outer = outer

    # -- statements -----------------------------------------------------------------------------
    def run(self, statement: ast.stmt) -> Operand | None:
        """Run a statement; the operand that it returns, if it does."""
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return None
        if isinstance(statement, ast.Return) and statement.value is not None:
            return self.value(statement.value)
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            self._assign(statement.targets[0], self.value(statement.value))
            return None
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            self._assign(statement.target, self.value(statement.value))
            return None
        if isinstance(statement, ast.If):
            branch = statement.body if self._truth(statement.test) else statement.orelse
            for inner in branch:
                result = self.run(inner)
                if result is not None:
                    return result
            return None
        raise NotInlineError(f"a {type(statement).__name__} statement")

    def _assign(self, target: ast.expr, value: Operand) -> None:
        if isinstance(target, ast.Name):
            self.local[target.id] = self.inliner.assign(value)
        elif isinstance(target, ast.Tuple) and isinstance(value, Known):
            for one, part in zip(target.elts, value.value, strict=True):
                self._assign(one, _known(part))
        elif isinstance(target, ast.Tuple) and isinstance(value, Code):
            names = [self.inliner._fresh() for _ in target.elts]
            stores: list[ast.expr] = [ast.Name(n, ast.Store()) for n in names]
            self.inliner._emit(ast.Assign([ast.Tuple(stores, ast.Store())], value.node))
            for one, name in zip(target.elts, names, strict=True):
                self._assign(one, Code(ast.Name(name, ast.Load())))
        else:
            raise NotInlineError("an assignment to something else than a name")

    def _truth(self, test: ast.expr) -> bool:
        value = self.value(test)
        if isinstance(value, Code):
            raise NotInlineError("a branch on a tensor")
        return bool(value.value)

    # -- expressions ----------------------------------------------------------------------------
    def value(self, node: ast.expr) -> Operand:
        """An expression as an operand."""
        rule = EXPRESSIONS.get(type(node))
        if rule is None:
            raise NotInlineError(f"a {type(node).__name__} expression")
        return rule(self, node)

    def name(self, node: ast.Name) -> Operand:
        """A local or an outer name."""
        if node.id in self.local:
            return self.local[node.id]
        if node.id in self.outer:
            return Known(self.outer[node.id])
        raise NotInlineError(f"the name {node.id}")

    def binary(self, node: ast.BinOp) -> Operand:
        """An arithmetic operation, folded if both sides are numbers."""
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(left, Known) and isinstance(right, Known) and type(node.op) in BINARY:
            return Known(BINARY[type(node.op)](left.value, right.value))
        if isinstance(left, Code) and is_neutral_right(node.op, right):
            return left
        if isinstance(right, Code) and is_neutral_left(node.op, left):
            return right
        return Code(ast.BinOp(code(left), node.op, code(right)), together(left, right))

    def unary(self, node: ast.UnaryOp) -> Operand:
        """A sign or a negation."""
        inside = self.value(node.operand)
        if isinstance(inside, Known) and type(node.op) in UNARY:
            return Known(UNARY[type(node.op)](inside.value))
        return Code(ast.UnaryOp(node.op, code(inside)), together(inside))

    def boolean(self, node: ast.BoolOp) -> Operand:
        """``and`` and ``or`` of things that are known, left to right."""
        stop = isinstance(node.op, ast.Or)
        result: Operand = Known(not stop)
        for part in node.values:
            result = self.value(part)
            if isinstance(result, Code):
                raise NotInlineError("a truth value of a tensor")
            if bool(result.value) is stop:
                return result
        return result

    def compare(self, node: ast.Compare) -> Operand:
        """A comparison; of ``None`` with a tensor it is known."""
        if len(node.ops) != 1:
            raise NotInlineError("a chain of comparisons")
        sides, op = [node.left, node.comparators[0]], node.ops[0]
        match sides:
            case [
                ast.Subscript(ast.Attribute(a, "shape"), ast.Constant(0)),
                ast.Subscript(ast.Attribute(b, "shape"), ast.Constant(0)),
            ] if isinstance(op, ast.Eq) and same_rows(self.value(a), self.value(b)):
                return Known(True)
        left, right = map(self.value, sides)
        if isinstance(left, Known) and isinstance(right, Known):
            return Known(COMPARE[type(op)](left.value, right.value))
        if isinstance(op, (ast.Is, ast.IsNot)):
            return Known(isinstance(op, ast.IsNot))
        return Code(ast.Compare(code(left), [op], [code(right)]))

    def choice(self, node: ast.IfExp) -> Operand:
        """``a if test else b`` with a test that is known."""
        return self.value(node.body if self._truth(node.test) else node.orelse)

    def item(self, node: ast.Subscript) -> Operand:
        """An entry of a dict or tuple that is known, or of a tensor."""
        index = self.value(node.slice)
        if isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            sizes = event_of(self.value(node.value.value))
            if isinstance(index, Known) and isinstance(index.value, int) and index.value < 0:
                if -index.value <= len(sizes):
                    return Known(sizes[index.value])
        base = self.value(node.value)
        if isinstance(base, Known) and isinstance(index, Known):
            found = base.value[index.value]
            return _known(found)
        return Code(ast.Subscript(code(base), code(index), ast.Load()))

    def attribute(self, node: ast.Attribute) -> Operand:
        """An attribute of something known, or of a tensor."""
        base = self.value(node.value)
        if isinstance(base, Known):
            return Known(getattr(base.value, node.attr))
        if node.attr == "dtype" and base.kind not in (None, NUMBER):
            return Known(base.kind[-1])
        return Code(ast.Attribute(base.node, node.attr, ast.Load()))

    def group(self, node: ast.Tuple) -> Operand:
        """A tuple of operands."""
        return Known(tuple(self._values(node.elts)))

    def each(self, node: ast.GeneratorExp | ast.ListComp) -> Operand:
        """Operands made from each of those in a known tuple."""
        return Known(tuple(frame.value(node.elt) for frame in self._rounds(node.generators)))

    def table(self, node: ast.DictComp) -> Operand:
        """A dict made from the entries of a known one."""
        rounds = self._rounds(node.generators)
        return Known({_plain(f.value(node.key)): f.value(node.value) for f in rounds})

    def _rounds(self, generators: list[ast.comprehension]) -> Iterator["_Frame"]:
        """A frame for each round of a comprehension over something known."""
        over = self.value(generators[0].iter)
        if len(generators) > 1 or not isinstance(over, Known):
            raise NotInlineError("a comprehension over a tensor")
        for item in over.value:
            frame = _Frame(self.inliner, dict(self.local), self.outer)
            frame._assign(generators[0].target, _known(item))
            if all(frame._truth(test) for test in generators[0].ifs):
                yield frame

    def _values(self, nodes: Sequence[ast.expr]) -> list[Operand]:
        """Operands in a row; a known tuple behind a star stands for what it holds."""
        found: list[Operand] = []
        for node in nodes:
            value = self.value(node.value if isinstance(node, ast.Starred) else node)
            if not isinstance(node, ast.Starred):
                found.append(value)
            elif isinstance(value, Known):
                found += map(_known, value.value)
            else:
                raise NotInlineError("a starred argument")
        return found

    def called(self, node: ast.Call) -> Operand:
        """A call: of a tensor's method, of torch, of a function that is inlined in its turn."""
        args = self._values(node.args)
        named: dict[str, Operand] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value)
            if keyword.arg is not None:
                named[keyword.arg] = value
            elif isinstance(value, Known) and isinstance(value.value, dict):
                named.update(value.value)
            else:
                raise NotInlineError("a starred argument")
        if isinstance(node.func, ast.Attribute):
            base = self.value(node.func.value)
            if isinstance(base, Code):
                return _method(base, node.func.attr, args, named)
            if isinstance(base.value, dict) and node.func.attr == "get":
                fallback = args[1] if len(args) > 1 else Known(None)
                found: Operand = base.value.get(_plain(args[0]), fallback)
                return found
            if isinstance(base.value, dict) and node.func.attr in ("items", "values"):
                return Known(tuple(getattr(base.value, node.func.attr)()))
        function = self.value(node.func)
        if isinstance(function, Code):
            raise NotInlineError("a call of a tensor")
        return self._apply(function.value, args, named)

    def _apply(self, function: Any, args: list[Operand], named: dict[str, Operand]) -> Operand:
        if function is getattr:
            return Known(getattr(_plain(args[0]), _plain(args[1])))
        if function is isinstance:
            return Known(_is_instance(args[0], _plain(args[1])))
        is_tensor = isinstance(args[0], Code) and args[0].kind != NUMBER if args else False
        if function is torch.as_tensor and "dtype" not in named and is_tensor:
            return args[0]
        kinds = [a.kind for a in args if isinstance(a, Code)]
        if len(kinds) == len(args) > 1 and None not in kinds:
            if function is torch.broadcast_tensors and len(set(kinds)) == 1:
                return Known(tuple(args))
        known = all(isinstance(a, Known) for a in (*args, *named.values()))
        if known and (
            function in PURE[1]
            or getattr(math, getattr(function, "__name__", ""), None) is function
        ):
            return Known(function(*map(_plain, args), **{k: _plain(v) for k, v in named.items()}))
        text = qualified(function)
        if text is not None:
            return Code(_call(text, args, named))
        if inspect.isfunction(function) or isinstance(getattr(function, "__self__", 0), type):
            return self.inliner.call(function, args, named)
        raise NotInlineError(f"a call of {function!r}")


SHORT = {torch.float32: "float", torch.float64: "double", torch.int64: "long"}
EXPRESSIONS: dict[type, Callable[[_Frame, Any], Operand]] = {
    ast.Constant: lambda frame, node: Known(node.value),
    ast.Name: _Frame.name,
    ast.BinOp: _Frame.binary,
    ast.UnaryOp: _Frame.unary,
    ast.BoolOp: _Frame.boolean,
    ast.Compare: _Frame.compare,
    ast.IfExp: _Frame.choice,
    ast.Subscript: _Frame.item,
    ast.Attribute: _Frame.attribute,
    ast.Tuple: _Frame.group,
    ast.GeneratorExp: _Frame.each,
    ast.ListComp: _Frame.each,
    ast.DictComp: _Frame.table,
    ast.Call: _Frame.called,
}


def _method(base: Code, attr: str, args: list[Operand], named: Mapping[str, Operand]) -> Operand:
    """A call of a tensor's method."""
    known = base.kind not in (None, NUMBER)
    if known and attr == "is_floating_point":
        return Known(base.kind[-1].is_floating_point)
    if known and attr == "dim":
        return Known(len(base.kind[0]) + len(base.kind[1]))
    if attr == "to" and len(args) == 1 and isinstance(args[0], Known) and not named:
        if known and args[0].value == base.kind[-1]:
            return base
        if args[0].value in SHORT:  # the same, and quicker
            attr, args = SHORT[args[0].value], []
    if known and not args and SHORT.get(base.kind[-1]) == attr:
        return base
    text = _call(ast.Attribute(base.node, attr, ast.Load()), args, named)
    numbers = all(isinstance(a, Known) for a in (*args, *named.values()))
    return Code(text, together(base) if numbers and attr in ENTRYWISE else None)


def _known(value: Any) -> Operand:
    return value if isinstance(value, (Code, Known)) else Known(value)


def _plain(operand: Operand) -> Any:
    if isinstance(operand, Code):
        raise NotInlineError("a tensor where a Python value is needed")
    return operand.value


def _is_instance(operand: Operand, kinds: Any) -> bool:
    if isinstance(operand, Known):
        return isinstance(operand.value, kinds)
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    return (float if operand.kind == NUMBER else Tensor) in kinds


def _call(function: ast.expr, args: Sequence[Operand], named: Mapping[str, Operand]) -> ast.expr:
    keywords = [ast.keyword(k, code(v)) for k, v in named.items()]
    return ast.Call(function, [code(a) for a in args], keywords)
