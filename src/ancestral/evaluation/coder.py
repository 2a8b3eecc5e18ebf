r"""A coder of symbols that is a stack: asymmetric numeral systems, and bits back with it.

A symbol with :math:`f` of :math:`2^r` parts, which begin at :math:`c`, is pushed on a number s, and
popped from it, by

.. math::
    s' = 2^r \lfloor s / f \rfloor + c + (s \bmod f), \qquad
    s = f \lfloor s' / 2^r \rfloor + (s' \bmod 2^r) - c,

so that :math:`\log_2 s` grows by :math:`-\log_2 f 2^{-r}`, what the symbol is worth; the low words
of a long s wait on a list. Popping from random bits draws a symbol, and pushing it gives the same
bits back: a latent variable is drawn with the bits that the message has already, and costs
:math:`-\log_2 p(x|z)\,p(z)/q(z|x)` bits with its row, on average minus the evidence lower bound.

Source: Duda, "Asymmetric numeral systems", 2013; Townsend, Bird, Barber, "Practical lossless
compression with latent variables using bits back coding", 2019, section 2 and appendix A.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ancestral.core.errors import DataError, OptionError, ParameterError, ShapeError, SupportError

WORD = 32  # bits that are moved at once; s has 32 to 64 but at the bottom of the stack
PRECISION = 24  # r


def parts(probabilities: Tensor) -> Tensor:
    r"""Where the symbols' parts begin, :math:`c_k = k + \lfloor F_k (2^r - K) \rfloor`, r = 24.

    Each symbol has at least one, so that any can be coded.

    Args:
        probabilities: (..., K) that sum to 1, up to their rounding.

    Returns:
        (..., K + 1) int64, from 0 to 2^r.

    Raises:
        ParameterError: If one is negative or nan, or they do not sum to 1.
        OptionError: If there are more symbols than parts.

    Example:
        >>> (parts(torch.tensor([0.25, 0.75])) / 2**24).tolist()
        [0.0, 0.25, 1.0]
    """
    p, count = probabilities.double(), probabilities.shape[-1]
    if count > 2**PRECISION:
        raise OptionError(f"{count} symbols have no part of 2^{PRECISION} each: take fewer.")
    below = torch.nn.functional.pad(p.cumsum(-1), (1, 0))
    total = below[..., -1:]
    if not (bool((p >= 0).all()) and bool(((total - 1).abs() < 1e-3).all())):
        raise ParameterError(
            "probabilities to code with: at least 0, with a sum of 1 over symbols."
        )
    share = (below / total * (2**PRECISION - count)).floor().long()
    return share + torch.arange(count + 1, device=p.device)


class BitStack:
    """Bits, the last in the first out.

    Args:
        words: Random words that it begins with, which bits back takes its first draws from.
        seed: Of these words.

    Example:
        >>> stack, table = BitStack(), parts(torch.full((5, 8), 1 / 8))
        >>> before = stack.bits
        >>> stack.push(torch.tensor([3, 1, 4, 1, 5]), table)
        >>> f"{stack.bits - before:.3f}"
        '15.000'
        >>> stack.pop(table)
        tensor([3, 1, 4, 1, 5])
    """

    def __init__(self, words: int = 0, seed: int = 0) -> None:
        source = random.Random(seed)
        self._head = 1 << WORD
        self._tail = [source.getrandbits(WORD) for _ in range(words)]

    @property
    def bits(self) -> float:
        """How many it holds."""
        return math.log2(self._head) + WORD * len(self._tail)

    def push(self, symbols: Tensor, table: Tensor) -> None:
        """Add symbols, the last of them first, so that they are popped in order.

        Args:
            symbols: (S,) indices.
            table: (S, K + 1), :func:`parts` of each.

        Raises:
            ShapeError: If there is not one row of the table for each symbol.
            SupportError: If a symbol is not in 0..K-1.
        """
        if table.ndim != 2 or symbols.shape != table.shape[:1]:
            raise ShapeError(
                f"push(symbols, table): shapes {tuple(symbols.shape)} and {tuple(table.shape)}; "
                "give (S,) and (S, K + 1)."
            )
        k = symbols.long()[:, None]
        if not bool(((k >= 0) & (k < table.shape[1] - 1)).all()):
            raise SupportError(f"symbols to code are indices in 0..{table.shape[1] - 2}.")
        begins, ends = table.gather(1, k)[:, 0].tolist(), table.gather(1, k + 1)[:, 0].tolist()
        for begin, end in zip(reversed(begins), reversed(ends), strict=True):
            width = end - begin
            # what a symbol would push out of 64 bits goes to the list before
            if self._head >= width << (2 * WORD - PRECISION):
                self._tail.append(self._head & ((1 << WORD) - 1))
                self._head >>= WORD
            self._head = (self._head // width << PRECISION) + begin + self._head % width

    def pop(self, table: Tensor) -> Tensor:
        """Take symbols off, one for each row of a table.

        Args:
            table: (S, K + 1), :func:`parts` of each.

        Returns:
            (S,) indices.

        Raises:
            DataError: If the bits are used up.
        """
        return torch.tensor([self._pop(row) for row in table.cpu().numpy()], dtype=torch.long)

    def _pop(self, row: np.ndarray) -> int:
        at = self._head & ((1 << PRECISION) - 1)
        symbol = int(row.searchsorted(at, side="right")) - 1
        begin, end = row[symbol : symbol + 2].tolist()
        head = (end - begin) * (self._head >> PRECISION) + at - begin
        if head < 1 << WORD:
            if not self._tail:
                raise DataError(
                    "the stack has no bits left to draw from: begin with more, BitStack(words=...)."
                )
            head = (head << WORD) | self._tail.pop()
        self._head = head
        return symbol


@dataclass(frozen=True)
class LatentCode:
    """Tables of a model whose latent variables are indices.

    A row may be a block of several, of which D, S and the tables are those of all: the networks
    then run once for it, and it draws more bits at once.

    Args:
        posterior: Of a row x of shape (D,), those of its S indices: (S, K + 1).
        likelihood: Of indices (S,), those of a row: (D, V + 1).
        prior: Those of the indices, (S, K + 1).
    """

    posterior: Callable[[Tensor], Tensor]
    likelihood: Callable[[Tensor], Tensor]
    prior: Tensor

    def push(self, rows: Iterable[Tensor], stack: BitStack) -> None:
        """Add rows: draw z with the stack's bits, then push x given z, and z.

        Args:
            rows: Each (D,), symbols 0..V-1.
            stack: What they are added to.
        """
        for x in rows:
            z = stack.pop(self.posterior(x))
            stack.push(x, self.likelihood(z))
            stack.push(z, self.prior)

    def pop(self, stack: BitStack) -> Iterator[Tensor]:
        """Take rows off, the last that was added first, and give their bits back.

        A stack of random bits gives draws of the model.

        Args:
            stack: What they are taken from.
        """
        while True:
            z = stack.pop(self.prior)
            x = stack.pop(self.likelihood(z))
            stack.push(z, self.posterior(x))
            yield x
