r"""Laws given by a log density alone, which need not be normalised: energies, known posteriors."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.core.errors import ParameterError, ShapeError
from ancestral.distributions.law import Law, Params
from ancestral.distributions.normal import HALF_LOG_TWO_PI


class CustomProb(Law):
    r"""The law :math:`p(z|x) \propto e^{f(z, x)}`, by a function that returns the log density.

    It may stand where a density is asked: as a prior, or as the target of an expectation. If the
    function is not normalised, what is made of it lacks the constant :math:`\log Z`: a KL to it is
    too large by that. It cannot be drawn from.

    Args:
        log_prob_fn: Takes the value and the conditions, each with rows in front, and returns one
            number per row; further axes are summed. An ``nn.Module`` is a part of the law.
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value; all axes but the first if not given.

    Raises:
        ParameterError: If ``log_prob_fn`` is no function.

    Example:
        >>> import torch
        >>> ring = CustomProb(lambda z: -8.0 * (z.square().sum(-1) - 1.0) ** 2, var=["z"])
        >>> ring.get_log_prob({"z": torch.tensor([[1.0, 0.0], [0.0, 0.5]])})
        tensor([-0.0000, -4.5000])
    """

    composite = True

    def __init__(
        self,
        log_prob_fn: Callable[..., Tensor],
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
    ) -> None:
        if not callable(log_prob_fn):
            raise ParameterError(
                f"CustomProb: log_prob_fn must be a function of the value that returns its log "
                f"density, got {type(log_prob_fn).__name__}."
            )
        super().__init__(var, cond_var, name, features_shape, None, {})
        self.energy = _PerRow(log_prob_fn)

    @property
    def density_net(self) -> Callable[..., Tensor]:
        """The log density of rows of values."""
        return self.energy

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Two bent normal laws, whose log density is a module; one has a condition."""
        return [
            {"log_prob_fn": Bent(0.6), "features_shape": [2]},
            {
                "log_prob_fn": Bent(-0.3),
                "features_shape": [2],
                "cond_var": ["y"],
                "given": {"y": torch.tensor([[0.4, -0.9]])},
            },
        ]

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """It has none."""
        raise ParameterError(
            f"{self.prob_text} is given by its log density: it has no parameters."
        )


class Bent(nn.Module):
    r"""The log density of the examples, and of those of an energy: :math:`z_1 \sim N(m, 1)`,
    :math:`z_2 \sim N(b z_1^2, 1)`, with the mean of a condition as m.
    """

    def __init__(self, bend: float) -> None:
        super().__init__()
        self.bend = nn.Parameter(torch.tensor(bend))

    def forward(self, z: Tensor, *given: Tensor) -> Tensor:
        """One number for each entry, of which the sum is the log density."""
        first, second = z.unbind(-1)
        mean = given[0].mean(-1) if given else 0.0
        away = torch.stack([first - mean, second - self.bend * first.square()], -1)
        return -0.5 * away.square() - HALF_LOG_TWO_PI


class _PerRow(nn.Module):
    """A function whose values are one number per row, further axes summed."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, value: Tensor, *conditions: Tensor) -> Tensor:
        out = self.function(value, *conditions)
        if out.dim() == 0 or out.shape[0] != value.shape[0]:
            raise ShapeError(
                f"a custom log density has shape {tuple(out.shape)} for {value.shape[0]} rows: "
                "return one number per row, e.g. by .sum(-1)."
            )
        return out.flatten(1).sum(-1) if out.dim() > 1 else out
