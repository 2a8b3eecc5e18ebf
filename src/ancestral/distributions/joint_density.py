r"""Laws of several variables given by one log density of all of them, :math:`\log p(x, z)`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.core.errors import ParameterError, ShapeError
from ancestral.distributions.custom_prob import Bent
from ancestral.distributions.law import Law, Params

LogJoint = Callable[[dict[str, Tensor]], Tensor]


class JointDensity(Law):
    r"""The law :math:`p(x, z) \propto e^{f(\{x, z\})}`, by a function of a dict of values.

    It may stand where a density is asked, as the model in a bound, say. What the function leaves
    out, :math:`\log Z`, is missing in the bound, too. It cannot be drawn from.

    The function is called with rows in front of each value: axes of draws and copies are rows.

    Args:
        log_joint: Takes a dict of the values of ``var`` and ``cond_var``, and returns one number
            per row. A module is a part of the law.
        var: Names of its variables.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, of one variable.
        modules: Those whose weights a function reads.

    Raises:
        ParameterError: If ``log_joint`` is no function.

    Example:
        >>> from ancestral.distributions import Normal
        >>> def log_joint(given):
        ...     z, x = given["z"], given["x"]
        ...     return (-0.5 * z.square() - (x - z).square()).sum(-1)
        >>> p = JointDensity(log_joint, var=["x", "z"])
        >>> p.get_log_prob({"x": torch.ones(3, 1), "z": torch.zeros(3, 1)})
        tensor([-1., -1., -1.])
    """

    composite = True
    several = True

    def __init__(
        self,
        log_joint: LogJoint,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        *,
        modules: Iterable[nn.Module] = (),
    ) -> None:
        if not callable(log_joint):
            raise ParameterError(
                "JointDensity: log_joint must be a function of a dict of values that returns the "
                f"log density of all, got {type(log_joint).__name__}."
            )
        super().__init__(var, cond_var, name, features_shape, None, {})
        self.energy = _OfDict(log_joint, (*self._var, *self._cond_var), modules)

    @property
    def density_net(self) -> Callable[..., Tensor]:
        """The log density of rows of values."""
        return self.energy

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Two bent normal laws of one variable, of which one has a condition."""
        given = {"cond_var": ["y"], "given": {"y": torch.tensor([[0.4, -0.9]])}}
        bent = [{"log_joint": _BentOfDict(b), "features_shape": [2]} for b in (0.6, -0.3)]
        return [bent[0], {**bent[1], **given}]

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """It has none."""
        raise ParameterError(
            f"{self.prob_text} is given by its log density: it has no parameters."
        )


class _OfDict(nn.Module):
    """A function of a dict as one of values in order, one number per row."""

    def __init__(
        self, function: LogJoint, names: tuple[str, ...], modules: Iterable[nn.Module]
    ) -> None:
        super().__init__()
        self.function = function
        self.names = names
        self.read = nn.ModuleList(modules)

    def forward(self, *values: Tensor) -> Tensor:
        out = self.function(dict(zip(self.names, values, strict=True)))
        rows = values[0].shape[0]
        if tuple(out.shape) != (rows,):
            raise ShapeError(
                f"a log joint has shape {tuple(out.shape)} for {rows} rows: in a loss it is one "
                "number per row, of the data and of each draw, which the loss then averages. Sum "
                "over what is one event, e.g. by .sum(-1), and not over rows."
            )
        return out


class _BentOfDict(nn.Module):
    """The log density of the examples."""

    def __init__(self, bend: float) -> None:
        super().__init__()
        self.bent = Bent(bend)

    def forward(self, given: dict[str, Tensor]) -> Tensor:
        """One number for each row."""
        y = [given["y"]] if "y" in given else []
        out: Tensor = self.bent(given["x"], *y).sum(-1)
        return out
