r"""The autoregressive normal law, AR(1), :math:`x_t = c + \phi x_{t-1} + \sigma\epsilon_t`."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.errors import OptionError, SupportError
from ancestral.distributions.constraints import autoregression, identity, positive, real
from ancestral.distributions.elementary import log
from ancestral.distributions.gamma_function import double
from ancestral.distributions.law import Law, Parameter
from ancestral.distributions.normal import HALF_LOG_TWO_PI


class AutoregressiveNormal(Law):
    r"""The law of a normal sequence of T steps in which each depends on the one before,
    :math:`x_t = c + \phi x_{t-1} + \sigma\epsilon_t`,

    .. math:: \log p(x) = \log N(x_1; m, s^2) + \sum_{t=2}^T \log N(x_t; c + \phi x_{t-1},
        \sigma^2).

    Without an initial law it is stationary, :math:`m = \frac c{1-\phi}` and :math:`s^2 =
    \frac{\sigma^2}{1-\phi^2}`: every step has this law. With one, it starts there: with
    :math:`\phi = 1` it is a random walk.

    Draws, means and variances take :math:`\log_2 T` steps of all times at once, densities one.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, T)``.
        steps: T, unless ``features_shape`` tells it.
        drift: c, shape ``(*event)``: a number, a tensor, an ``nn.Parameter``, or a condition's
            name.
        coefficient: :math:`\phi`, likewise; between -1 and 1 if there is no initial law.
        scale: :math:`\sigma > 0`, likewise.
        initial_loc: m, likewise; not given for a stationary sequence.
        initial_scale: s > 0, likewise.
        net: A network of the conditions; of one output tensor the thirds of the last axis are
            drift, coefficient through tanh, and scale through softplus.

    Raises:
        OptionError: If T is not given, or is not that of ``features_shape``.
        SupportError: If a stationary sequence has a coefficient of 1 or more.

    Example:
        >>> walk = AutoregressiveNormal(steps=3, drift=0.0, coefficient=1.0, scale=1.0,
        ...                             initial_loc=0.0, initial_scale=1.0)
        >>> walk.sample_variance()
        tensor([[1., 2., 3.]])
    """

    domains = {
        "drift": real,
        "coefficient": autoregression,
        "scale": positive,
        "initial_loc": real,
        "initial_scale": positive,
    }
    parametrisations = (
        ("drift", "coefficient", "scale"),
        ("drift", "coefficient", "scale", "initial_loc", "initial_scale"),
    )
    split = {"drift": identity, "coefficient": torch.tanh, "scale": F.softplus}
    reparametrised = True
    noise = "normal"
    value_dims = 1
    length: ClassVar[int] = 1  # T, of the moves

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | int | None = None,
        steps: int | None = None,
        drift: Parameter = None,
        coefficient: Parameter = None,
        scale: Parameter = None,
        initial_loc: Parameter = None,
        initial_scale: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        shape = (features_shape,) if isinstance(features_shape, int) else features_shape
        found = tuple(shape or ())[-1:]
        steps = found[0] if steps is None and found else steps
        if not isinstance(steps, int) or steps < 1 or found not in ((), (steps,)):
            told = "" if shape is None else f", features_shape={list(shape)}"
            raise OptionError(
                f"AutoregressiveNormal: steps={steps}{told}: give the number of steps, e.g. "
                "steps=100; features_shape, if given, ends in it."
            )
        self.steps = steps
        given = {
            "drift": drift,
            "coefficient": coefficient,
            "scale": scale,
            "initial_loc": initial_loc,
            "initial_scale": initial_scale,
        }
        super().__init__(var, cond_var, name, shape, net, given)

    @property
    def moves(self) -> type["AutoregressiveNormal"]:
        """Those of sequences of its length."""
        return _of_length(self.steps)

    @classmethod
    def check_together(cls, params: Mapping[str, Any], what: str) -> None:
        """Raise if a stationary sequence has a coefficient of 1 or more."""
        if set(params) != set(cls.parametrisations[0]):
            return
        phi = torch.as_tensor(params["coefficient"]).detach()
        if not phi.is_meta and not bool((phi.abs() < 1).all()):
            raise SupportError(
                f"{what}: a stationary sequence has a coefficient between -1 and 1, got "
                f"{phi.flatten()[phi.abs().argmax()]:g}. Give initial_loc and initial_scale, or "
                "map it through torch.tanh."
            )

    @classmethod
    def value_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """A sequence for each set of parameters."""
        return (*event, cls.length)

    @classmethod
    def noise_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """A number for each step."""
        return cls.value_shape(event)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Three sequences of two steps, stationary or not."""
        made = {
            "drift": [0.3, -0.7, 0.1],
            "coefficient": [0.5, -0.8, 0.2],
            "scale": [0.7, 1.4, 0.4],
            "initial_loc": [-0.4, 0.2, 1.1],
            "initial_scale": [1.2, 0.5, 0.9],
        }
        rows = {k: torch.tensor(v, dtype=torch.float64) for k, v in made.items()}
        return [{"steps": 2, **{k: rows[k] for k in way}} for way in cls.parametrisations]

    @staticmethod
    def draw(noise: Tensor, **params: Any) -> Tensor:
        """The sequence that these normal numbers drive."""
        c, phi, sigma, m, s = (_column(v, noise) for v in _chain(**params))
        first = m + s * noise[..., :1]
        return _run(phi, torch.cat([first, c + sigma * noise[..., 1:]], -1))

    @staticmethod
    def log_density(x: Tensor, **params: Any) -> Tensor:
        """The log density of each sequence."""
        chain = _chain(**params)
        c, phi, sigma, m, s = (_column(v, x) for v in chain)
        first = ((x[..., :1] - m) / s).square().squeeze(-1)
        later = ((x[..., 1:] - c - phi * x[..., :-1]) / sigma).square().sum(-1)
        logs = _log_scales(chain, x.shape[-1])
        return -0.5 * (first + later) - logs - HALF_LOG_TWO_PI * x.shape[-1]

    @classmethod
    def mean_of(cls, **params: Any) -> Any:
        r""":math:`m_t = c + \phi m_{t-1}`."""
        return _moments(_chain(**params), cls.length)[0]

    @classmethod
    def variance_of(cls, **params: Any) -> Any:
        r""":math:`v_t = \sigma^2 + \phi^2 v_{t-1}`."""
        return _moments(_chain(**params), cls.length)[1]

    @classmethod
    def entropy_of(cls, **params: Any) -> Any:
        r""":math:`\frac T2\log 2\pi e + \log s + (T-1)\log\sigma`."""
        logs = _log_scales(_chain(**params), cls.length)
        return torch.as_tensor(logs + (HALF_LOG_TWO_PI + 0.5) * cls.length)


@functools.cache
def _of_length(steps: int) -> type[AutoregressiveNormal]:
    """The moves of sequences of T steps: those without a value need to know T."""

    def kl(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
        return kl_autoregressive(_chain(**q), _chain(**p), steps)

    moves: type[AutoregressiveNormal] = type(
        AutoregressiveNormal.__name__, (AutoregressiveNormal,), {"length": steps}
    )
    moves.closed_kl = {AutoregressiveNormal: kl}
    return moves


def _chain(
    drift: Any,
    coefficient: Any,
    scale: Any,
    initial_loc: Any = None,
    initial_scale: Any = None,
) -> tuple[Any, Any, Any, Any, Any]:
    """Drift, coefficient, scale, and mean and scale of the first step."""
    if initial_loc is None:
        initial_loc = drift / (1.0 - coefficient)
        initial_scale = scale / ((1.0 - coefficient) * (1.0 + coefficient)) ** 0.5
    return drift, coefficient, scale, initial_loc, initial_scale


def _column(value: Any, like: Tensor) -> Tensor:
    """A parameter with an axis for time."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).unsqueeze(-1)


def _log_scales(chain: tuple[Any, ...], steps: int) -> Any:
    return log(chain[4]) + (steps - 1.0) * log(chain[2])


def _run(phi: Tensor, driven: Tensor) -> Tensor:
    r""":math:`x_t = \phi x_{t-1} + b_t` from :math:`x_1 = b_1`.

    After k rounds a step holds its last :math:`2^k` terms, and the coefficient of what is before
    them: sums and products, no division, so that it is exact for small coefficients too.
    """
    power, reach, steps = phi, 1, driven.shape[-1]
    while reach < steps:
        driven = driven + power * F.pad(driven[..., :-reach], (reach, 0))
        power, reach = power * power, 2 * reach
    return driven


def _moments(chain: tuple[Any, ...], steps: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each step, shape ``(*event, T)``."""
    like = next((v for v in chain if isinstance(v, Tensor)), double(0.0))
    c, phi, sigma, m, s = torch.broadcast_tensors(*(_column(v, like) for v in chain))
    rest = (*c.shape[:-1], steps - 1)
    mean = _run(phi, torch.cat([m, c.expand(rest)], -1))
    variance = _run(phi.square(), torch.cat([s.square(), sigma.square().expand(rest)], -1))
    return mean, variance


def kl_autoregressive(q: tuple[Any, ...], p: tuple[Any, ...], steps: int) -> Tensor:
    r"""By the chain rule: that of the first steps, and for each t of the others
    :math:`\frac{(\Delta c + \Delta\phi\,m_{t-1})^2 + \Delta\phi^2v_{t-1}}{2\sigma_p^2} +
    \frac12\left(\frac{\sigma_q^2}{\sigma_p^2} - 1\right) - \log\frac{\sigma_q}{\sigma_p}`, with
    the mean and variance under q.
    """
    mean, variance = _moments(q, steps)
    (c, phi, sigma, m, s), (c_p, phi_p, sigma_p, m_p, s_p) = q, p
    turn, shift = (_column(v, mean) for v in (phi - phi_p, c - c_p))
    away = (shift + turn * mean[..., :-1]).square() + turn.square() * variance[..., :-1]
    later = 0.5 * away.sum(-1) / sigma_p**2 + (steps - 1.0) * _scales(sigma, sigma_p)
    out: Tensor = 0.5 * ((m - m_p) / s_p) ** 2 + _scales(s, s_p) + later
    return out


def _scales(mine: Any, its: Any) -> Any:
    r""":math:`\frac12(r^2 - 1) - \log r` with r the ratio of two scales."""
    ratio = mine / its
    return 0.5 * (ratio * ratio - 1.0) - log(ratio)
