"""The seats of a model: its players with what they train, from what its constructor was given."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ancestral.core.errors import OptionError, TrainingError
from ancestral.losses import Node
from ancestral.losses.game import Game
from ancestral.models.carried import CARRIED, Carried
from ancestral.models.inner import own_modules
from ancestral.models.optimizer import make_optimizer
from ancestral.models.parameters import modules_in
from ancestral.models.player import Player, all_modules
from ancestral.models.turn import Turn, Ways
from ancestral.runtime.compiled import GRADIENT

Make = Callable[..., torch.optim.Optimizer] | torch.optim.Optimizer


def take_seats(
    loss: Node, distributions: Any, players: Sequence[Player], ways: Ways, *, is_game: bool
) -> list[Turn]:
    """The turns of a model, without optimizers; a loss alone is its last player's.

    Args:
        loss: The loss, or the game.
        distributions: What the loss's own player trains.
        players: All others.
        ways: The options that all share.
        is_game: Whether the players are all.
    """
    theirs = all_modules(players)
    modules = [] if is_game else own_modules(loss, distributions, players)
    everyone = nn.ModuleList({id(m): m for m in [*theirs, *modules]}.values())
    turns = [
        Turn(
            p.name, p.objective, p.loss, nn.ModuleList(p.over), everyone, ways,
            steps=p.steps, clip_weights=p.clip_weights,
        )
        for p in players
    ]  # fmt: skip
    if is_game:
        return turns
    own = everyone if not theirs else nn.ModuleList(modules)
    return [*turns, Turn("", loss, loss, own, everyone, ways)]


def refuse_both(loss: Any, distributions: Any) -> None:
    """Raise if a model is given a loss beside its players."""
    for name, given in (("loss", loss), ("distributions", distributions)):
        if given is not None:
            where = "minimise=" if name == "loss" else "over="
            raise OptionError(
                f"Model(players=[...]) beside {name}=...: each player says it itself, {where}..."
            )


def ways_of(
    clip_grad_norm: Any, clip_grad_value: Any, retain_graph: bool, compile: Any, order: str
) -> Ways:
    """The options that all players share, checked."""
    if retain_graph and (compile == GRADIENT or (compile and order == "together")):
        raise OptionError(
            f"retain_graph=True with compile={compile!r}: the gradient is inside the graph, and "
            "none is left to retain. "
            + ("Write compile=True." if order == "in turn" else "Leave compile out.")
        )
    return Ways(
        _limit("clip_grad_norm", clip_grad_norm),
        _limit("clip_grad_value", clip_grad_value),
        retain_graph,
        compile,
    )


def give_optimizers(
    turns: Sequence[Turn],
    players: Sequence[Player],
    optimizer: Make,
    options: Mapping[str, Any] | None,
) -> None:
    """Make the optimizer of each player: its own choice, or that of the model.

    Raises:
        TrainingError: If a player has nothing to train.
        OptionError: If one optimizer is to serve several players.
    """
    for i, turn in enumerate(turns):
        if not turn.trained:
            who = f"player {turn.name!r}: " if turn.name else ""
            raise TrainingError(
                f"{who}{turn.objective}: no parameter to train: every law in it is fixed."
            )
        make, chosen = optimizer, options
        if i < len(players):
            player = players[i]
            make = optimizer if player.optimizer is None else player.optimizer
            is_its_own = player.optimizer is not None or player.optimizer_params is not None
            chosen = player.optimizer_params if is_its_own else options
            if make is optimizer and isinstance(make, torch.optim.Optimizer) and len(turns) > 1:
                raise OptionError(
                    f"optimizer=... is one {type(make).__name__} that is built already, but each "
                    "player needs its own. Give the class, or each Player its optimizer=."
                )
        # Frozen ones too: an optimizer leaves them alone, and they may be freed later.
        sparse = any(getattr(m, "sparse", False) is True for m in turn.modules.modules())
        parameters = list(turn.modules.parameters())
        turn.optimizer = make_optimizer(make, parameters, chosen or {}, sparse=sparse)


def state_of(
    distributions: nn.ModuleList, schedules: nn.Module | None, carried: Carried, *losses: Node
) -> nn.ModuleDict:
    """All that losses compute with: what is trained, what is not, where schedules stand, and what
    steps hand to the next.
    """
    ours = {*distributions.modules(), *distributions.parameters()}
    others = [
        module
        for module in modules_in(*losses)
        if module not in ours
        and not (isinstance(module, nn.ParameterList) and ours.issuperset(module))
    ]
    fixed = nn.ModuleList(others)
    state = nn.ModuleDict({"trained": distributions, "fixed": fixed, CARRIED: carried})
    if schedules is not None:
        state["schedules"] = schedules
    return state


def told(turns: Sequence[Turn], loss: Node, order: str) -> str:
    """A model in words: laws, loss and optimizer; of a game its players."""
    if isinstance(loss, Game):
        lines = "".join(f"    {t.name}: {t.told()}\n" for t in turns)
        return f"Model(\n  players, {order}:\n{lines}  game:\n    {loss}\n)"
    laws, optimizer = turns[-1].told("\n    "), type(turns[-1].optimizer).__name__
    return f"Model(\n  trained:\n    {laws}\n  loss:\n    {loss}\n  optimizer: {optimizer}\n)"


def _limit(name: str, value: float | None) -> float | None:
    """A bound on the gradient; ``False`` is no bound, as in Pixyz."""
    if value is None or value is False:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise OptionError(f"{name}={value!r} must be a positive number, or None for no bound.")
    return float(value)
