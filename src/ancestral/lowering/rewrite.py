"""Pass 1, rewrite: an expression of the same meaning in the nodes that lowering knows.

Divergences become closed forms and expectations (chain rule), whole powers of a Monte Carlo
expectation become factors, so that each is a draw of its own, and logarithms of means of
exponentials and of probabilities by their logits become one stable function. The sign of a mean of
a sum goes into the sum.
"""

from dataclasses import replace

from ancestral.losses.adversarial import Adversarial
from ancestral.losses.chain import LogMeanExp, expand
from ancestral.losses.game import Game
from ancestral.losses.globals import over_data_set
from ancestral.losses.node import Add, Constant, Div, Mul, Neg, Node, Pow, Reduce, Sub, Unary
from ancestral.losses.over import OverRows
from ancestral.losses.prob import (
    CrossEntropy,
    Entropy,
    Expectation,
    KullbackLeibler,
    LogProb,
    Prob,
)


def rewrite(node: Node) -> Node:
    """The expression in the nodes that lowering knows."""
    if isinstance(node, (KullbackLeibler, CrossEntropy, Entropy)):
        return rewrite(expand(node))
    if isinstance(node, Adversarial):
        return rewrite(node.value)
    node = node.with_children([rewrite(child) for child in node.children])
    if isinstance(node, Pow) and node.is_whole and has_expectation(node.base):
        product = node.base
        for _ in range(int(node.exponent) - 1):
            product = Mul(product, node.base)
        return product
    if isinstance(node, Reduce):
        whole = over_data_set(node)
        if whole is not node:
            return whole
    if isinstance(node, Unary) and node.kind == "log":
        return _log(node)
    if isinstance(node, Neg) and isinstance(node.arg, Reduce) and is_sum(node.arg.arg):
        inner = node.arg  # the sign costs nothing in a sum, and a step of its own behind the mean
        return replace(inner, arg=Neg(inner.arg))
    return node


def _log(node: Unary) -> Node:
    """log of a mean of exponentials, log of a density, log of an exponential."""
    arg = node.arg
    if isinstance(arg, Reduce):
        inside = logarithm(arg.arg)
        if inside is not None:
            return LogMeanExp(f"log{arg.how}exp", arg.axis, inside)
    if _is_sigmoid(arg):
        return Unary("logsigmoid", arg.children[0])
    if isinstance(arg, Sub) and _is_one(arg.left) and _is_sigmoid(arg.right):
        return Unary("logsigmoid", Neg(arg.right.children[0]))  # 1 - σ(l) = σ(-l)
    direct = logarithm(arg)
    return node if direct is None else direct


def _is_one(node: Node) -> bool:
    return isinstance(node, Constant) and isinstance(node.value, float) and node.value == 1.0


def _is_sigmoid(node: Node) -> bool:
    return isinstance(node, Unary) and node.kind == "sigmoid"


def logarithm(node: Node) -> Node | None:
    """The logarithm of an exponential, a density, or a product of such; else ``None``."""
    if isinstance(node, Unary) and node.kind == "exp":
        return node.arg
    if isinstance(node, Prob):
        return LogProb(node.law)
    if isinstance(node, OverRows):
        inside = logarithm(node.arg)
        return None if inside is None else replace(node, arg=inside)
    if isinstance(node, (Mul, Div)):
        left, right = logarithm(node.left), logarithm(node.right)
        if left is None or right is None:
            return None
        return Add(left, right) if isinstance(node, Mul) else Sub(left, right)
    if isinstance(node, Pow):
        inside = logarithm(node.base)
        return None if inside is None else Mul(Constant(float(node.exponent)), inside)
    return None


def has_expectation(node: Node) -> bool:
    """Whether an expectation stands in the expression."""
    return isinstance(node, Expectation) or any(has_expectation(c) for c in node.children)


def is_sum(node: Node) -> bool:
    """Whether expectations under different children of a node may share a draw."""
    return isinstance(node, (Add, Sub, Neg, Game))
