r"""Stein variational gradient descent: particles that follow a log density and repel each other.

Of particles :math:`w_1, \dots, w_P` with :math:`g_j = \nabla_{w_j} \log p(w_j)` up to a constant,

.. math:: \phi_i = \frac1P \sum_j \left( k(w_j, w_i)\, g_j + \nabla_{w_j} k(w_j, w_i) \right)

is the direction in the space of the kernel in which :math:`KL[q \| p]` falls fastest. The plan has
this gradient and no value: the divergence of a law of points is infinite.

Source: Liu and Wang, Stein variational gradient descent (2016), algorithm 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError
from ancestral.distributions.kernels import RBF, Kernel

__all__ = ["RBF", "SVGD"]


@dataclass(frozen=True)
class SVGD:
    r"""The gradient of an ELBO in its particles is :math:`\phi_i`; one particle climbs alone.

    Each particle's gradient in the loss is smoothed by the kernel, and where the loss has the
    divergence or the entropy of the law, the kernel's slope is added with its weight. So that of
    ``-elbo.sum()`` is :math:`-\phi_i`, and that of ``-elbo.mean()`` :math:`-\phi_i / N`; that of
    one particle is the gradient of the log joint.

    Args:
        kernel: Of particles flattened to vectors, shapes ``(N, D)`` and ``(M, D)`` to ``(N, M)``:
            ``RBF()`` with the median of the distances, ``RBF(lengthscale=...)``, or a function.

    Raises:
        OptionError: If the kernel has trained parameters: nothing would train them.

    Example:
        >>> from ancestral.distributions import Normal, Points
        >>> from ancestral.losses import KL
        >>> q = Points(nn.Parameter(torch.tensor([[0.0], [2.0]])), var=["z"])
        >>> p = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[1])
        >>> print(KL(q, p).estimate({q: SVGD(RBF())}).program())
        θ_q      = parameters of q(z)
        z.points = points of θ_q                    (z)
        t1       = z.points and log q by SVGD(RBF)  (z)
        z        = the particles of t1              (z)
        t2       = log q of t1                           gradient-only
        θ_p      = parameters of p(z)
        t3       = log p(z)                         (z)
        t4       = t2 - t3                          (z)  gradient-only
        t5       = mean over z of t4                     gradient-only
        return t5, gradient-only: the mean log joint at the particles, without log q(z)
    """

    how: ClassVar[str] = "points"
    draws: ClassVar[None] = None  # every particle stands once
    kernel: Callable[[Tensor, Tensor], Tensor] = field(default_factory=RBF)

    def __post_init__(self) -> None:
        """Raise if the kernel is none, or trained."""
        trained = isinstance(self.kernel, nn.Module) and any(
            p.requires_grad for p in self.kernel.parameters()
        )
        if not callable(self.kernel) or trained:
            raise OptionError(
                f"SVGD({self.kernel!r}): give a kernel without trained parameters, e.g. RBF() or "
                "RBF(lengthscale=1.0)."
            )

    def __repr__(self) -> str:
        """The plan with its kernel."""
        name = getattr(self.kernel, "__name__", type(self.kernel).__name__)
        return f"SVGD({name})"

    def interact(self, points: Tensor) -> tuple[Tensor, Tensor]:
        r"""The particles with smoothed gradients, and what stands for :math:`\log q`.

        Args:
            points: Shape ``(P, *event)``.

        Returns:
            The particles, whose gradient g becomes :math:`\sum_j k(w_j, w_i)\, g_j`, and 0 with
            the gradient :math:`-\frac1P \sum_j \nabla_{w_j} k(w_j, w_i)`.
        """
        flat = points.detach().flatten(1) if points.dim() > 1 else points.detach()[:, None]
        values, slopes = kernel_and_slopes(self.kernel, flat)
        own = points.reshape(flat.shape)
        moved = (flat + values @ (own - flat)).reshape(points.shape)  # own - flat is 0
        repulsion = ((flat - own) * slopes).sum() / flat.shape[0]
        return moved, repulsion


def kernel_and_slopes(kernel: Any, points: Tensor) -> tuple[Tensor, Tensor]:
    r"""A kernel at all pairs of points, and its slope in the first, summed over it.

    Args:
        kernel: Of vectors.
        points: Shape ``(P, D)``, without gradient.

    Returns:
        :math:`k(w_i, w_j)`, shape ``(P, P)``, and :math:`\sum_j \nabla_{w_j} k(w_j, w_i)`,
        shape ``(P, D)``, a row for each i; both without gradient.
    """
    k = kernel.at(points) if isinstance(kernel, Kernel) else kernel

    def pull(one: Tensor) -> Tensor:
        def shifted(by: Tensor) -> Tensor:
            out: Tensor = k(points + by, one[None]).sum()
            return out

        found: Tensor = torch.func.grad(shifted)(torch.zeros_like(one))
        return found

    with torch.no_grad():
        values: Tensor = k(points, points)
    slopes: Tensor = torch.vmap(pull)(points)
    return values.detach(), slopes.detach()
