"""The mean of an objective over a data set.

An objective with rows, such as the ELBO, has one value per row; this is their mean over all rows,
not over batches (batches of unequal size would weigh rows unequally).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ancestral.core.errors import ScopeError
from ancestral.evaluation.estimate import Estimate, evaluation_mode, placed, rows_of
from ancestral.losses import Node


@torch.no_grad()
def bound(
    objective: Node,
    data: Mapping[str, Tensor],
    *,
    laws: tuple[nn.Module, ...] = (),
    draws: int = 1,
    batch_size: int = 1024,
) -> Estimate:
    """Evaluate an objective for every row of a data set.

    Args:
        objective: A loss that keeps rows: `elbo`, not `elbo.mean()`.
        data: {"x": (N, ...)}; other keys are ignored.
        laws: The laws in it, which are put in evaluation mode meanwhile; each batch goes where
            their parameters are.
        draws: Independent evaluations that are averaged, each with fresh draws.
        batch_size: Rows that are evaluated at once.

    Returns:
        One value per row, in nats.

    Raises:
        ScopeError: If the objective does not have one value per row.
        MissingVariableError: If the data lacks a variable of the objective.
        DataError: If the data has no rows, or unequal numbers of them.

    Example:
        >>> import torch
        >>> from ancestral.distributions import Normal
        >>> p = Normal(loc=0.0, scale=1.0, var=["x"], features_shape=[1])
        >>> bound(p.log_prob(), {"x": torch.zeros(2, 1)}).values
        tensor([-0.9189, -0.9189], dtype=torch.float64)
    """
    chosen = rows_of(data, list(objective.input_var))
    run = objective.function()
    total = len(next(iter(chosen.values())))
    values: list[Tensor] = []
    with evaluation_mode(*laws):
        for first in range(0, total, batch_size):
            rows = {name: value[first : first + batch_size] for name, value in chosen.items()}
            count, rows = min(batch_size, total - first), placed(rows, laws)
            each = [run(rows).double().cpu() for _ in range(draws)]
            if each[0].shape != (count,):
                raise ScopeError(
                    f"{objective} has shape {tuple(each[0].shape)} on {count} rows, not one value "
                    "per row: give the objective without .mean() or .sum()"
                )
            values.append(torch.stack(each).mean(0))
    return Estimate(torch.cat(values), "Monte Carlo over z", draws)
