r"""Laws given by a program that draws, :math:`x \sim p(x|\theta)`: no density, and no gradient.

Simulation-based inference trains on their draws (Cranmer, Brehmer, Louppe, The frontier of
simulation-based inference, 2020).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.core.names import as_names
from ancestral.distributions.deterministic import Deterministic
from ancestral.distributions.implicit_law import InOrder
from ancestral.distributions.joint import Joint
from ancestral.distributions.uniform import Uniform


class Simulator(Joint):
    r"""The law of what a program returns, :math:`x \sim p(x|\theta)`.

    The program runs without gradient, once for all rows of a draw, and draws by torch's default
    generator, which is seeded for it from a number :math:`s_x \sim U(0, 1)` that is drawn with the
    rest of the noise and then put back: so a run with ``generator=`` or with given noise repeats
    its draws. A program whose gradient is wanted, and which is a function of noise, is an
    :class:`Implicit` law.

    If the program is an ``nn.Module`` or a method of one (a chain of Langevin steps, say), its
    weights are the law's: a loss that trains them is refused, since their gradient would be lost.
    Weights behind any other function nobody sees.

    Args:
        simulate: Takes a tensor ``(rows, *event)`` for each condition, in order, and returns a
            tensor or an array with the same rows; without conditions, the number of rows.
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.

    Raises:
        GradientError: In a loss, where a trained parameter is behind a condition or in the
            program: the gradient would be lost. ``.detach()`` of either law says that none is
            meant.

    Example:
        >>> from ancestral.distributions import Normal
        >>> def drop(height):  # metres to seconds, with an error of 10 ms
        ...     return (2 * height / 9.81).sqrt() + 0.01 * torch.randn_like(height)
        >>> p = Simulator(drop, var=["t"], cond_var=["h"])
        >>> p.sample({"h": torch.full((3, 1), 10.0)})["t"].shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        simulate: Callable[..., Any],
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
    ) -> None:
        (x,) = as_names(["x"] if var is None else var, "var")
        seed = Uniform(low=0.0, high=1.0, var=[f"seed_{x}"], name="p", features_shape=[])
        names = [*seed.var, *as_names(cond_var, "cond_var")]
        program = _Program([x], names, name, features_shape, net=InOrder(_Seeded(simulate)))
        super().__init__((*program.factors, *seed.factors), tuple(seed.var), name, (x, *seed.var))

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """A program of a condition, and one of nothing but the number of rows."""
        return [{"simulate": _walk, "cond_var": ["y"]}, {"simulate": _coins}]


def _walk(y: Tensor) -> Tensor:
    return y + torch.randn_like(y).cumsum(-1)


def _coins(rows: int) -> Tensor:
    return torch.rand(rows, 2)


class _Program(Deterministic):
    """A value without gradient: lowering refuses trained parameters behind it."""

    reparametrised = False


class _Seeded(nn.Module):
    """A program as a function of a seed in [0, 1) for each row, of which one counts."""

    def __init__(self, simulate: Callable[..., Any]) -> None:
        super().__init__()
        self.simulate = simulate
        owner = getattr(simulate, "__self__", None)
        if isinstance(owner, nn.Module):  # a method: the weights that it reads are this law's
            self.owner = owner

    def forward(self, seed: Tensor, *given: Tensor) -> Tensor:
        """What the program returns."""
        with torch.no_grad(), torch.random.fork_rng(devices=_devices(seed)):
            torch.manual_seed(int(2.0**52 * seed.flatten()[0].double().item()))
            found = self.simulate(*given) if given else self.simulate(len(seed))
            return torch.as_tensor(found, device=seed.device).detach()


def _devices(like: Tensor) -> list[int]:
    """The accelerator whose generator a program may use."""
    return [like.device.index or 0] if like.is_cuda else []
