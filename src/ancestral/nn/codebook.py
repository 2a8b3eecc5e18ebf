r"""A codebook: the nearest of K vectors, which gradient descent or averages fit to what they stand
for.

.. math::
    e(z) = e_k, \qquad k = \mathrm{argmin}_j \lVert z - e_j \rVert^2

The choice of k has no gradient, and none is made up here: a loss says what stands in for it, e.g.
``z + (e - z).detach()``, the value of e with the gradient of z.
"""

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError


class Codebook(nn.Module):
    r"""The nearest of K vectors.

    By default the vectors are parameters, which a loss such as :math:`\lVert sg[z] - e\rVert^2`
    trains. With a decay :math:`\gamma` they are buffers, as the statistics of a batch norm are: in
    training mode each call moves them to the mean of what is nearest to them,

    .. math::
        N_k \leftarrow \gamma N_k + (1-\gamma) n_k, \qquad
        m_k \leftarrow \gamma m_k + (1-\gamma) \sum_{i:\,k_i = k} z_i, \qquad
        e_k = m_k / N_k

    and a code that is hardly chosen starts again at a row of the batch; so do all at the first.

    Args:
        codes: K.
        features: D, the length of a code.
        decay: :math:`\gamma`, in [0, 1).
        rarest: With a decay: a code starts again where fewer rows of a batch choose it, on average.

    Raises:
        OptionError: If the decay or the number of rows is none.

    Source: van den Oord, Vinyals, Kavukcuoglu, "Neural discrete representation learning", 2017,
    equations 1 and 2, and 6 to 8 in its appendix; the new start: Dhariwal et al., "Jukebox", 2020,
    section 3.1.

    Example:
        >>> book = Codebook(3, 1)
        >>> with torch.no_grad():
        ...     _ = book.weight.copy_(torch.tensor([[0.0], [1.0], [5.0]]))
        >>> book(torch.tensor([[0.7], [4.0]])).tolist()
        [[1.0], [5.0]]
    """

    weight: Tensor
    count: Tensor

    def __init__(
        self, codes: int, features: int, decay: float | None = None, rarest: float = 0.1
    ) -> None:
        super().__init__()
        if decay is not None and not 0.0 <= decay < 1.0:
            raise OptionError(
                f"Codebook(decay={decay!r}): a number in [0, 1), e.g. 0.99, or None."
            )
        if rarest < 0.0:
            raise OptionError(f"Codebook(rarest={rarest!r}): a number of rows, e.g. 0.1, or 0.")
        self.decay, self.rarest = decay, rarest
        weight = torch.randn(codes, features)
        if decay is None:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)
            self.register_buffer("count", torch.zeros(codes))

    def nearest(self, z: Tensor) -> Tensor:
        """The index of the nearest code.

        Args:
            z: Shape ``(*shape, D)``.

        Returns:
            Shape ``(*shape)``.
        """
        # |z - e|^2 without |z|^2, which all codes share
        return (self.weight.square().sum(-1) - 2 * z @ self.weight.T).argmin(-1)

    def lookup(self, k: Tensor) -> Tensor:
        """The codes of one-hot indices, shape ``(*shape, K)``, as ``Categorical`` draws them."""
        return k @ self.weight

    def forward(self, z: Tensor) -> Tensor:
        """The nearest code, shape ``(*shape, D)`` as z."""
        moves = self.decay is not None and self.training
        if moves:
            self._restart(z.detach().flatten(0, -2))
        k = self.nearest(z.detach())
        e = self.weight[k]
        if moves:
            self._follow(z.detach().flatten(0, -2), k.flatten())
        return e

    @torch.no_grad()
    def _restart(self, rows: Tensor) -> None:
        """Codes that are hardly chosen start again at rows of the batch."""
        rare = self.count <= self.rarest
        chosen = rows[torch.randint(len(rows), (len(self.count),), device=rows.device)]
        self.weight.copy_(torch.where(rare[:, None], chosen, self.weight))
        self.count.copy_(torch.where(rare, 1.0, self.count))

    @torch.no_grad()
    def _follow(self, rows: Tensor, k: Tensor) -> None:
        """The averages of one more batch."""
        assert self.decay is not None
        of = nn.functional.one_hot(k, len(self.count)).to(rows.dtype)  # (S, K)
        total = self.decay * self.count[:, None] * self.weight + (1 - self.decay) * of.T @ rows
        self.count.lerp_(of.sum(0), 1 - self.decay)
        # a count of zero: nothing has ever chosen it, and it stays where it is
        self.weight.copy_(
            torch.where(self.count[:, None] > 0, total / self.count[:, None], self.weight)
        )

    def extra_repr(self) -> str:
        """Its sizes."""
        codes, features = self.weight.shape
        return f"codes={codes}, features={features}, decay={self.decay}"
