r"""The empirical law of trained points, :math:`q(w) = \frac1P \sum_{i=1}^P \delta(w - w_i)`.

An expectation under it is the mean over all points, exactly; a draw is one of them. It has no
density, so that its divergence from another law is infinite: Stein variational gradient descent
moves the points all the same, towards laws that are near in the space of a kernel.

Source: Liu and Wang, Stein variational gradient descent (2016).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, ShapeError
from ancestral.core.rng import Generator, blank, normal
from ancestral.distributions.constraints import real
from ancestral.distributions.eager import as_count, make_global
from ancestral.distributions.law import Law, Parameter
from ancestral.distributions.random_weights import Weights


class Points(Law):
    r"""The law of P points with equal probabilities,
    :math:`q(z) = \frac1P \sum_i \delta(z - z_i)`.

    In a loss ``E(q, f)`` is the mean of f over all points, in one pass of the networks. Its
    divergence and entropy have a gradient under ``.estimate({q: SVGD(RBF())})``, and no value.

    Args:
        points: The points, shape ``(P, *event)``: an ``nn.Parameter`` is trained.
        var: Name of its variable.
        name: How it prints.

    Raises:
        ShapeError: If the points have no axis that counts them.

    Example:
        >>> q = Points(torch.tensor([[0.0], [2.0]]), var=["z"], name="q")
        >>> q.sample_mean(), q.sample_variance()
        (tensor([[1.]]), tensor([[1.]]))
    """

    domains = {"points": real}
    reparametrised = True
    noise = "uniform"
    has_density = False
    has_points = True
    composite = True  # its points are its own: they stand for no independent components
    points: Tensor

    def __init__(
        self, points: Parameter, var: str | Iterable[str] | None = None, name: str = "q"
    ) -> None:
        if not isinstance(points, Tensor) or points.dim() == 0 or not points.shape[0]:
            told = tuple(points.shape) if isinstance(points, Tensor) else repr(points)
            raise ShapeError(f"Points({told}): give points of the shape (P, *event), P >= 1.")
        super().__init__(var, (), name, None, None, {"points": points})

    @classmethod
    def value_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """That of a point."""
        return event[1:]

    @classmethod
    def noise_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """One number, whatever the event: it chooses a point."""
        return ()

    @staticmethod
    def draw(noise: Tensor, points: Any) -> Tensor:
        r"""The point number :math:`\lfloor P u \rfloor`."""
        last = points.shape[0] - 1
        out: Tensor = points[(noise * points.shape[0]).long().clamp(max=last)]
        return out

    @staticmethod
    def mean_of(points: Any) -> Any:
        """The mean of the points."""
        return points.mean(0)

    @staticmethod
    def variance_of(points: Any) -> Any:
        """The mean square of what separates the points from their mean."""
        return points.var(0, correction=0)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Four points of three numbers."""
        steps = torch.linspace(-1.2, 1.7, 12, dtype=torch.float64)
        return [{"points": (2 * steps).sin().reshape(4, 3)}]


def Particles(
    w: Weights,
    count: int,
    name: str = "q",
    *,
    init: Tensor | None = None,
    init_scale: float = 0.1,
    generator: Generator = None,
) -> Points:
    r"""A law of P vectors of the weights of a network: global, all of them in one vmapped pass.

    Args:
        w: The weights.
        count: P.
        name: How it prints.
        init: The particles at first, shape ``(P, |w|)``, e.g. draws of the prior; by default the
            network's weights with normal noise.
        init_scale: The standard deviation of that noise.
        generator: Its source; torch's default generator if not given.

    Raises:
        OptionError: If the number is none, or ``init`` is of another shape.

    Example:
        >>> from ancestral.distributions import Normal, weights
        >>> from ancestral.losses import KL, RBF, SVGD, E
        >>> w = weights(nn.Linear(2, 1), prior=Normal(loc=0.0, scale=1.0))
        >>> p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=0.1)
        >>> q = Particles(w, 20)
        >>> elbo = E(q, p.log_prob()) - KL(q, w.prior)
        >>> povi = elbo.estimate({q: SVGD(RBF())})
        >>> print(povi.mean())
        mean(E_{q(w)}[log p(y|x,w)] - KL[q(w) || p(w)] / N)
    """
    size, start = as_count(count, "count"), w.init
    if init is None:
        init = start + init_scale * normal(blank((size, w.size), start), generator)
    if tuple(init.shape) != (size, w.size):
        raise OptionError(
            f"Particles(init=...) has shape {tuple(init.shape)}; {size} particles of the "
            f"{w.size} weights {w.name} are {(size, w.size)}."
        )
    q = Points(nn.Parameter(init.detach().to(start).clone()), var=[w.name], name=name)
    make_global(q, None)
    return q
