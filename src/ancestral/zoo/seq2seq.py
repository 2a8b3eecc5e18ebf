r"""Sequence to sequence: one vector holds a sentence, from which it is written again.

.. math::
    \log p(y_{1:T}|h) = \sum_t \log p(y_t|s_t), \qquad s_t = g(y_{t-1}, s_{t-1}), \quad s_0 = h,
    \quad h = f(x_1, \dots, x_T)

with recurrent networks f and g of gated units and a categorical law of the next symbol. With y = x
it is an autoencoder of sequences; a copy that is sure of each symbol costs 0 nats.

Source: Sutskever, Vinyals, Le, "Sequence to sequence learning with neural networks", 2014,
equation 1; as an autoencoder: Dai, Le, "Semi-supervised sequence learning", 2015, section 2.

Run it alone: ``python -m ancestral.zoo.seq2seq``
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Categorical, Deterministic, Sequence
from ancestral.evaluation import Measurement, Reference, Reproduction, bound
from ancestral.losses import E
from ancestral.models import Model, Recipe
from ancestral.report import image_grid, png

SURE = Reference(0.0, "a copy that is sure of each symbol", "exact")


class Reader(nn.Module):
    """f: the last state of a recurrent network."""

    def __init__(self, symbols: int, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(symbols, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(rows, hidden)``."""
        out: Tensor = self.rnn(x)[1][-1]
        return out


class Writer(nn.Module):
    """g: the next state, of the symbol before and the state before."""

    def __init__(self, symbols: int, hidden: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(symbols, hidden)

    def forward(self, y_prev: Tensor, s_prev: Tensor) -> Tensor:
        """Shape ``(rows, hidden)``."""
        out: Tensor = self.cell(y_prev, s_prev)
        return out


def seq2seq(*, symbols: int = 8, hidden: int = 64, lr: float = 1e-2) -> Recipe:
    """E_{f(h|x)}[Σ_t log p(y_t|s_t)].

    Args:
        symbols: K, of sequences x and y of one-hot symbols, shape (N, T, K).
        hidden: Width of h and of the states.
        lr: Step size of Adam.
    """
    f = Deterministic(["h"], ["x"], net=Reader(symbols, hidden), name="f")
    g = Deterministic(["s"], ["y_prev", "s_prev"], net=Writer(symbols, hidden), name="g")
    symbol = Categorical(["y"], ["s"], net=nn.Linear(hidden, symbols), name="p")
    carry = {"y": "y_prev", "s": "s_prev"}
    p = Sequence(symbol * g, carry, init={"y": torch.zeros(symbols), "s": "h"}, name="p")

    objective = E(f, p.log_prob())

    model = Model(
        loss=-objective.mean(),
        distributions=[f, p],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
        clip_grad_norm=5.0,
    )
    return Recipe(model=model, objective=objective, generative=p * f, observed="y", latent="h")


def sentences(rows: int, *, length: int = 6, symbols: int = 8) -> dict[str, Tensor]:
    """The task of copying: y = x, symbols drawn evenly."""
    x = F.one_hot(torch.randint(symbols, (rows, length)), symbols).float()
    return {"x": x, "y": x}


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """Copies of sentences of six symbols of eight, of which it has seen a twelfth."""
    torch.manual_seed(seed)
    recipe, test = seq2seq(hidden=128, lr=3e-3).to(device), sentences(4000)
    recipe.model.fit(sentences(20_000), epochs=60, progress=progress)
    found = bound(recipe.objective, test, laws=recipe.laws)
    copies = recipe.generative.sample({"x": test["x"][:8].to(device)}, length=6)["y"].cpu()
    pairs = torch.stack([test["x"][:8], copies], 1).flatten(0, 1).mT[:, None]
    return Reproduction(
        (Measurement.of(found, "nats of a copy", sign=-1, reference=SURE, at_most=0.05),),
        png(image_grid(pairs, columns=2, size=64)),
        "Sentences, one symbol a column, and the copies that were drawn.",
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{seq2seq().objective}\n{reproduce()}\n")
