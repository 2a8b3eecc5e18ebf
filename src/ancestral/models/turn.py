"""A step of one player: its objective's value, its gradient, its update.

The other players' parameters are held fixed while it is evaluated, so that nothing is kept for a
gradient that nobody asks for: a generator that is not trained runs without a graph, and a
discriminator that is not trained passes the gradient on and receives none.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ancestral.core.errors import AncestralError, TrainingError
from ancestral.distributions.ema import average_of, follow
from ancestral.losses import Node
from ancestral.lowering.function import LossFunction, execute
from ancestral.models.carried import CARRIED
from ancestral.models.faults import check_value, clip_norm, update
from ancestral.models.gradient import check_one_process, clear, receive
from ancestral.models.parameters import (
    check_leaves,
    check_reached,
    label,
    modules_in,
    owner,
)
from ancestral.runtime.compiled import GRADIENT


class Given(NamedTuple):
    """What a step is given: the arguments of ``Model.train``."""

    batch: Mapping[str, Tensor] | None
    generator: torch.Generator | None = None
    noise: Mapping[str, Tensor] | None = None
    batch_n: int | None = None
    scalars: Mapping[str, Any] = {}


@dataclass
class Ways:
    """How a model makes its steps: the options that all players share."""

    clip_grad_norm: float | None = None
    clip_grad_value: float | None = None
    retain_graph: bool = False
    compile: bool | str = False


def option(name: str) -> property:
    """An option of a model, which all its players read."""

    def read(self: Any) -> Any:
        return getattr(self._ways, name)

    def write(self: Any, value: Any) -> None:
        setattr(self._ways, name, value)

    return property(read, write)


@dataclass
class Turn:
    """A player in a model: what it trains, and with what.

    Args:
        name: Of the player; empty if it is the only one.
        objective: What it minimises or maximises.
        loss: What it minimises.
        modules: What it trains.
        everyone: What all players train.
        ways: The options of the model.
        optimizer: Of its parameters.
        steps: How many steps it makes in a round.
        clip_weights: Largest absolute value of a trained weight.
    """

    name: str
    objective: Node
    loss: Node
    modules: nn.ModuleList
    everyone: nn.ModuleList
    ways: Ways
    optimizer: Any = None
    steps: int = 1
    clip_weights: float | None = None
    probed: bool = False
    others: list[nn.Parameter] = field(default_factory=list)
    averages: list[nn.Module] = field(default_factory=list)
    unreached: set[int] = field(default_factory=set)
    partners: list["Turn"] = field(default_factory=list)
    carried: Any = None

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that it trains, each once."""
        return [p for p in self.modules.parameters() if p.requires_grad]

    def look(self, turns: Sequence["Turn"]) -> None:
        """Find the parameters of other players that its loss mentions, and who trains its own.

        Raises:
            TrainingError: If all of its own were frozen.
        """
        if self.name and not self.trained:
            raise TrainingError(
                f"player {self.name!r}: every parameter that it trains is frozen. Free one with "
                "requires_grad_(True), or build a Model without this player."
            )
        own = {id(p) for p in self.modules.parameters()}
        self.partners = [
            t for t in turns if t is not self and own & {id(p) for p in t.modules.parameters()}
        ]
        rivals = {id(p) for p in self.everyone.parameters()} - own
        mentioned = (p for m in modules_in(self.loss) for p in m.parameters())
        found = {id(p): p for p in mentioned if p.requires_grad and id(p) in rivals}
        self.others, self.probed = list(found.values()), False

    def look_after(self, state: nn.ModuleDict) -> None:
        """Find the averages of what it trains, which follow its steps, and what these hand on."""
        self.carried = state[CARRIED]
        own = {id(p) for p in self.modules.parameters()}
        self.averages = [
            module
            for module in state.modules()
            if (found := average_of(module)) is not None
            and any(id(p) in own for p in nn.Module.parameters(found.source))
        ]

    def value(self, loss: Tensor) -> Tensor:
        """Its objective, from the loss that it minimises; without gradient."""
        loss = loss.detach() if loss.requires_grad else loss
        return loss if self.loss is self.objective else -loss

    def told(self, between: str = ", ") -> str:
        """What it trains, for a message."""
        trains = (m for m in self.modules if any(p.requires_grad for p in m.parameters()))
        return between.join(map(label, trains))

    # -- a step of its own ----------------------------------------------------------------------
    def play(self, function: LossFunction, given: Given) -> Tensor:
        """One step on one evaluation of its own; returns its objective before the step."""
        for p in self.others:
            p.requires_grad_(False)
        try:
            return self._play(function, given)
        except AncestralError as error:
            if not self.name:
                raise
            raise named(error, self.name) from error
        finally:
            for p in self.others:
                p.requires_grad_(True)

    def _play(self, function: LossFunction, given: Given) -> Tensor:
        ways = self.ways
        run, watch = function.prepare(*given)
        function.check_gradients(run.program.scalars)
        if run.program.kept:
            run.state = self.carried.of(self.trained)
        run.wants_gradient = self.probed
        if ways.compile == GRADIENT and not self.probed:
            run.noise = run.noise or run.drawn
            run.step = None  # which parameters the loss reaches is seen in a backward pass
        clear(self.optimizer)  # first: the memory of the last gradient serves this one
        loss = execute(run, watch)
        check_value(self.loss, loss, self.everyone, run)
        if not self.probed:
            self._probe(loss, (*run.data.values(), *(given.noise or {}).values()))
        elif run.gradient is not None:
            receive(function.weights, run.gradient)
        else:
            loss.backward(retain_graph=ways.retain_graph)
        self.update()
        if run.program.kept:
            self.carried.keep(run.kept)
        return self.value(loss)

    def _probe(self, loss: Tensor, given: Iterable[Tensor]) -> None:
        """The first backward pass: it must reach every trained parameter, and no other."""
        if self.ways.compile == GRADIENT:  # a network may have been wrapped since
            check_one_process(self.loss, modules_in(self.loss))
        check_leaves(self.loss, loss, given, list(self.everyone.parameters()))
        loss.backward(retain_graph=self.ways.retain_graph)
        self.reached()

    def reached(self) -> None:
        """Raise if the first backward pass has left out a parameter that no other player reaches.

        One that several players train may have a part in the loss of one of them only.
        """
        excused = {
            id(p)
            for partner in self.partners
            for p in partner.modules.parameters()
            if not partner.probed or id(p) not in partner.unreached
        }
        self.unreached = check_reached(self.loss, self.modules, excused)
        self.probed = True

    def update(self) -> None:
        """Clip the gradient, and make a step with it."""
        if self.ways.clip_grad_norm is not None:
            clip_norm(self.loss, self.modules, self.ways.clip_grad_norm)
        if self.ways.clip_grad_value is not None:
            nn.utils.clip_grad_value_(self.trained, self.ways.clip_grad_value)
        update(self.loss, self.optimizer, self.modules)
        if self.clip_weights is not None:
            with torch.no_grad():
                for p in self.trained:
                    p.clamp_(-self.clip_weights, self.clip_weights)
        for module in self.averages:
            follow(module)

    def check_updated(self) -> None:
        """Raise if the optimizer does not hold a trained parameter."""
        optimizer: Optimizer = self.optimizer
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, p in self.modules.named_parameters():
            if p.requires_grad and id(p) not in held:
                raise TrainingError(
                    f"{self.loss}: the optimizer does not hold {owner(self.modules, name)}, so it "
                    "would never be updated. Give it to the optimizer, or freeze it with "
                    "requires_grad_(False)."
                )


def play_together(turns: Sequence[Turn], function: LossFunction, given: Given) -> list[Tensor]:
    """One step of all players: one evaluation, all gradients at its weights, then all updates.

    Args:
        turns: The players, who train different parameters.
        function: Their game, in which each minimises.
        given: What it is evaluated on.

    Returns:
        The objective of each before the step.
    """
    run, watch = function.prepare(*given)
    function.check_gradients(run.program.scalars)
    if run.program.kept:
        run.state = turns[0].carried.of(turns[0].trained)
    run.wants_gradient = all(turn.probed for turn in turns)
    if turns[0].ways.compile and not run.wants_gradient:
        run.noise, run.step = run.noise or run.drawn, None  # as in a turn of its own
    for turn in turns:
        clear(turn.optimizer)
    losses = execute(run, watch)
    for turn, loss in zip(turns, losses, strict=True):
        with naming(turn):
            check_value(turn.loss, loss, turn.everyone, run)
    if run.gradient is not None:
        receive([w for weights in function.weights for w in weights], run.gradient)
    else:
        _backward(turns, losses, (*run.data.values(), *(given.noise or {}).values()))
    for turn in turns:
        with naming(turn):
            turn.update()
    if run.program.kept:
        turns[0].carried.keep(run.kept)
    return [turn.value(loss) for turn, loss in zip(turns, losses, strict=True)]


def _backward(turns: Sequence[Turn], losses: Sequence[Tensor], given: Sequence[Tensor]) -> None:
    """The gradient of each player, in its own parameters; the first time they are looked at."""
    for i, (turn, loss) in enumerate(zip(turns, losses, strict=True)):
        keep = turn.ways.retain_graph or i + 1 < len(turns)  # the players share their graph
        with naming(turn):
            if not turn.probed:
                check_leaves(turn.loss, loss, given, list(turn.everyone.parameters()))
            loss.backward(inputs=turn.trained, retain_graph=keep)
            if not turn.probed:
                turn.reached()


def evaluate(
    function: LossFunction, state: nn.Module, batch: Any, options: Mapping[str, Any]
) -> Any:
    """The value of a loss in eval mode of all that it computes with, and without gradient."""
    modes = [(m, m.training) for m in state.modules()]
    try:
        state.eval()
        with torch.no_grad():
            return function(batch, **options)
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def naming(turn: Turn) -> Iterator[None]:
    """Errors inside name the player."""
    try:
        yield
    except AncestralError as error:
        if not turn.name:
            raise
        raise named(error, turn.name) from error


def named(error: AncestralError, player: str) -> AncestralError:
    """An error that says which player it is about."""
    return type(error)(f"player {player!r}: {error}")
