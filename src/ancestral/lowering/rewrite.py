"""Pass 1, rewrite: an expression of the same meaning in the nodes that lowering knows.

Divergences become closed forms and expectations (chain rule), whole powers of a Monte Carlo
expectation become factors, so that each is a draw of its own, and logarithms of means of
exponentials and of probabilities by their logits become one stable function. So does a mean over
copies by self-normalised weights, whose weights may all be too small for a float. The sign of a
mean of a sum goes into the sum.
"""

from dataclasses import replace

from ancestral.losses.adversarial import Adversarial
from ancestral.losses.chain import LogMeanExp, expand
from ancestral.losses.game import Game
from ancestral.losses.globals import over_data_set
from ancestral.losses.node import (
    Add,
    Constant,
    Detach,
    Div,
    Mul,
    Neg,
    Node,
    Pow,
    Reduce,
    Sub,
    Unary,
)
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
    if isinstance(node, Div):
        node = self_normalised(node)
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


def self_normalised(node: Div) -> Node:
    r""":math:`\sum_k w_k f_k / \sum_k w_k` by :math:`e^{\log w_k - \log\sum_j w_j}`; others as
    they are.
    """
    top, bottom = node.left, node.right
    if isinstance(top, Neg):
        inside = self_normalised(Div(top.arg, bottom))
        return node if isinstance(inside, Div) else Neg(inside)
    if not (isinstance(top, Reduce) and isinstance(bottom, Reduce)):
        return node
    if bottom.axis is None or (top.axis, top.how) != (bottom.axis, bottom.how):
        return node
    weighed = _divided(top.arg, bottom.arg)
    cut = isinstance(bottom.arg, Detach)
    log_w = logarithm(bottom.arg.arg if isinstance(bottom.arg, Detach) else bottom.arg)
    if weighed is None or log_w is None:
        return node
    log_w = Detach(log_w) if cut else log_w  # before all that is computed from it
    weight = Unary("exp", Sub(log_w, LogMeanExp("logsumexp", bottom.axis, log_w)))
    return Reduce("sum", bottom.axis, Mul(weight, weighed))


def _divided(product: Node, factor: Node) -> Node | None:
    """A product without one of its factors; ``None`` where that is none."""
    if _same(product, factor):
        return Constant(1.0)
    if isinstance(product, Neg):
        rest = _divided(product.arg, factor)
        return None if rest is None else Neg(rest)
    if isinstance(product, Mul):
        for one, other in ((product.left, product.right), (product.right, product.left)):
            rest = _divided(one, factor)
            if rest is not None:
                return (
                    other if isinstance(rest, Constant) and rest.value == 1 else Mul(rest, other)
                )
    return None


def _same(one: object, other: object) -> bool:
    """Whether two expressions are built alike over the same laws."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Node) and type(one) is type(other):
        return all(map(_same, vars(one).values(), vars(other).values()))
    return one is other or (isinstance(one, (str, float, int)) and one == other)


def is_self_normalised(node: Node) -> bool:
    """Whether a rewritten node is a mean over copies by self-normalised weights."""
    if not isinstance(node, Reduce) or not isinstance(node.arg, Mul):
        return False
    weight = node.arg.left
    if not isinstance(weight, Unary) or not isinstance(weight.arg, Sub):
        return False
    total = weight.arg.right
    return isinstance(total, LogMeanExp) and total.how == "logsumexp" and total.axis == node.axis


def has_expectation(node: Node) -> bool:
    """Whether an expectation stands in the expression."""
    return isinstance(node, Expectation) or any(has_expectation(c) for c in node.children)


def is_sum(node: Node) -> bool:
    """Whether expectations under different children of a node may share a draw."""
    return isinstance(node, (Add, Sub, Neg, Game))
