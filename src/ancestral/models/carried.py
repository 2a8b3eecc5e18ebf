"""State: values that a step takes and gives back, which a model owns.

A program has no memory: what must survive its evaluation (the chains of an energy) is given to it
and given back, under a name. The model keeps it between steps, hands it to the next one after the
optimizer has made its update, and saves it beside the weights. Averages of weights, which are
networks, survive as modules instead (:mod:`ancestral.distributions.ema`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

CARRIED = "state"  # where it stands among what a model saves


class Carried(nn.Module):
    """The state of a model, by name; empty until a step has given some back.

    Attributes:
        sizes: The states that the model's programs know, and the sizes of their leading axes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Tensor] = {}
        self.sizes: dict[str, tuple[Any, ...]] = {}

    def of(self, weights: Sequence[Tensor]) -> dict[str, Tensor]:
        """The state, of precision and on the device of the first of some weights."""
        if not weights:
            return dict(self.values)
        like = weights[0]
        return {
            name: v.to(like.device, like.dtype if v.is_floating_point() else v.dtype)
            for name, v in self.values.items()
        }

    @torch.no_grad()
    def keep(self, found: Mapping[str, Tensor]) -> None:
        """Take over what a step has left."""
        self.values |= {name: value.detach() for name, value in found.items()}

    def _apply(self, fn: Any, recurse: bool = True) -> "Carried":
        super()._apply(fn, recurse)
        self.values = {name: fn(value) for name, value in self.values.items()}
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update({prefix + name: value for name, value in self.values.items()})

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, *args: Any
    ) -> None:
        """Take over what was saved; what was not is fresh at the next step."""
        names = [key for key in state_dict if key.startswith(prefix)]
        self.values = {name.removeprefix(prefix): state_dict[name].clone() for name in names}
