r"""Players: who optimises what over which parameters, and the equation of their game.

.. math:: \min_g \max_d V(g, d)

is two players with one objective: :math:`d` maximises it, :math:`g` minimises it, each over its
own parameters. Where objectives differ by terms that a player has no part in, they are the same
game to that player.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ancestral.core.errors import OptionError, TrainingError
from ancestral.distributions.eager import name_words
from ancestral.losses import Node
from ancestral.losses.game import MAX, MIN, Game
from ancestral.losses.node import Add, Constant, Mul, Neg, Planned, Sub
from ancestral.models.fit import TAKEN
from ancestral.models.parameters import modules_in, modules_to_train
from ancestral.printing import loss as loss_text

Optimizer = Callable[..., torch.optim.Optimizer] | torch.optim.Optimizer


@dataclass(frozen=True, eq=False, init=False)
class Player:
    """One player of ``Model(players=[...])``: an objective, and what it is optimised over.

    Parameters of other players that its objective mentions are constants to it.

    Args:
        name: How it is called: in the equation, in what ``train`` returns, in messages.
        minimise: What it minimises, one number.
        maximise: What it maximises, in place of that.
        over: The laws, networks or ``nn.Parameter`` numbers that it trains.
        optimizer: As in :class:`Model`, whose it is if not given.
        optimizer_params: Its options; those of the model if neither is given.
        steps: How many steps it makes where others make one, with ``order="in turn"``.
        clip_weights: Largest absolute value of a trained weight, enforced after each step.

    Raises:
        OptionError: If it has not one objective, or an option has no meaning.

    Example:
        >>> from ancestral.distributions import Normal
        >>> p = Normal(var=["x"], loc=nn.Parameter(torch.zeros(())), scale=1.0)
        >>> Player("p", maximise=p.log_prob().mean(), over=[p]).sense
        'max'
    """

    name: str
    minimise: Node | None = None
    maximise: Node | None = None
    over: Sequence[Any] = ()
    optimizer: Optimizer | None = None
    optimizer_params: Mapping[str, Any] | None = None
    steps: int = 1
    clip_weights: float | None = None

    def __init__(
        self,
        name: str,
        *,
        minimise: Any = None,
        maximise: Any = None,
        over: Any = (),
        optimizer: Optimizer | None = None,
        optimizer_params: Mapping[str, Any] | None = None,
        steps: int = 1,
        clip_weights: float | None = None,
    ) -> None:
        if not isinstance(name, str) or not name.strip() or name in TAKEN:
            raise OptionError(
                f"Player({name!r}): the name is a non-empty string, and none of "
                f"{', '.join(TAKEN)}, which a history calls its own."
            )
        given = [o for o in (minimise, maximise) if o is not None]
        if len(given) != 1 or not isinstance(given[0], Node):
            got = ", ".join(type(o).__name__ for o in given) or "none"
            raise OptionError(
                f"Player({name!r}) takes one objective, a loss: minimise=... or maximise=..., got "
                f"{got}."
            )
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise OptionError(f"Player({name!r}): steps={steps!r} must be a whole number >= 1.")
        if clip_weights is not None and not clip_weights > 0:
            raise OptionError(f"Player({name!r}): clip_weights={clip_weights!r} must be > 0.")
        found = modules_to_train(given[0], over)
        if not found:
            raise OptionError(
                f"Player({name!r}): over=[...] names the laws and networks that it trains."
            )
        values = {
            "name": name, "minimise": minimise, "maximise": maximise, "over": tuple(found),
            "optimizer": optimizer, "optimizer_params": optimizer_params, "steps": steps,
            "clip_weights": clip_weights,
        }  # fmt: skip
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @property
    def objective(self) -> Node:
        """What it minimises or maximises."""
        found = self.maximise if self.minimise is None else self.minimise
        assert found is not None
        return found

    @property
    def sense(self) -> str:
        """``"min"`` or ``"max"``."""
        return MAX if self.minimise is None else MIN

    @property
    def loss(self) -> Node:
        """What it minimises."""
        return self.objective if self.minimise is not None else Neg(self.objective)


name_words(Player)


def as_players(players: Any) -> list[Player]:
    """What ``Model(players=...)`` was given.

    Raises:
        OptionError: If they are none.
    """
    found = [players] if isinstance(players, Player) else list(players)
    if not found or not all(isinstance(p, Player) for p in found):
        raise OptionError(
            "players=[...] takes Players, e.g. Player('d', maximise=V, over=[d]), got "
            f"{', '.join(type(p).__name__ for p in found) or 'none'}."
        )
    return found


def check_players(found: list[Player], order: str) -> list[Player]:
    """The players of a model, with those that losses carry.

    Raises:
        OptionError: If two have one name, or the order is none.
        TrainingError: If two players of one evaluation train one parameter.
    """
    names = [p.name for p in found]
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise OptionError(f"players=[...]: two are called {twice[0]!r}. Give each its own name.")
    if order not in ("in turn", "together"):
        raise OptionError(
            f"order={order!r}: give 'in turn', one evaluation for each player and step, or "
            "'together', one evaluation for all."
        )
    if order == "together":
        _check_apart(found)
        more = next((p for p in found if p.steps != 1), None)
        if more is not None:
            raise OptionError(
                f"Player({more.name!r}, steps={more.steps}) with order='together': all players "
                "make one step at the same weights. Leave steps out, or write order='in turn'."
            )
    return found


def _check_apart(players: Sequence[Player]) -> None:
    seen: dict[int, str] = {}
    for player in players:
        for p in {id(p) for m in player.over for p in m.parameters()}:
            if p in seen:
                raise TrainingError(
                    f"players {seen[p]!r} and {player.name!r} train one parameter, and make their "
                    "steps together: each would undo the other's. Give it to one of them, or "
                    "write order='in turn'."
                )
            seen[p] = player.name


def game_of(players: Sequence[Player]) -> Game:
    """The equation of a game: a saddle point where one objective is everyone's."""
    names = tuple(p.name for p in players)
    senses = tuple(p.sense for p in players)
    objectives = tuple(p.objective for p in players)
    common = None
    if set(senses) == {MIN, MAX}:
        order = sorted(range(len(players)), key=lambda i: senses[i] == MAX)
        fits = (i for i in order if all(_is_same(objectives[i], p) for p in players))
        common = next(fits, None)
    return Game(names, senses, objectives, common)


def _is_same(value: Node, player: Player) -> bool:
    """Whether an expression is a player's objective, up to terms that it has no part in."""
    own = {id(p) for m in player.over for p in m.parameters()}
    left = _terms(Sub(value, player.objective), 1.0, {})
    parts = [node for weight, node in left.values() if weight]
    return not any(own & {id(p) for p in m.parameters()} for m in modules_in(*parts))


Terms = dict[str, tuple[float, Node]]


def _terms(node: Any, weight: float, found: Terms) -> Terms:
    """The terms of a sum, each as it prints, with their weights."""
    if isinstance(node, (Add, Sub)):
        sign = -1.0 if isinstance(node, Sub) else 1.0
        return _terms(node.right, sign * weight, _terms(node.left, weight, found))
    if isinstance(node, Neg):
        return _terms(node.arg, -weight, found)
    if isinstance(node, Planned):
        return _terms(node.arg, weight, found)
    if isinstance(node, Mul):
        for factor, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(factor, Constant):
                return _terms(other, factor.number * weight, found)
    text = loss_text.text(node)
    before = found.get(text, (0.0, node))[0]
    found[text] = (before + weight, node)
    return found


def all_modules(players: Sequence[Player]) -> list[nn.Module]:
    """What any player trains, each once."""
    return list({id(m): m for p in players for m in p.over}.values())
